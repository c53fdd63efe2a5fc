/*
 * Sockets that clients come to. Whoever starts a process may hold them for it: they are its
 * descriptors from LISTEN_FIRST on when it starts, and outlive it. So while it is being replaced
 * nobody is refused: who connects waits in the kernel's queue.
 */
#ifndef ISTHMUS_RUNTIME_LISTEN_H
#define ISTHMUS_RUNTIME_LISTEN_H

#include <stdint.h>
#include <sys/socket.h>

#define LISTEN_FIRST 3 /* descriptors that are handed over begin here */
#define LISTEN_MAX   8

/* A literal IPv4 or IPv6 address and a port. -EINVAL: it is no address. */
int listen_address(const char *address, uint16_t port, struct sockaddr_storage *ret,
		   socklen_t *ret_len);
/* A socket bound there (TCP: listening), non-blocking and closed by exec; of IPv6 for both
 * families. One that was handed over for that very address, when there is one. The descriptor, or
 * -errno. */
int listen_tcp(const char *address, uint16_t port);
int listen_udp(const char *address, uint16_t port);
/*
 * The socket bound there that another process has: a descriptor of our own. `type`: SOCK_STREAM (a
 * listening one) or SOCK_DGRAM. -ENOENT: it has none; -EPERM: we may not look.
 */
int listen_borrow(int pidfd, int type, const char *address, uint16_t port);
/* Takes what was handed over: first thing in main(), before anything else is opened. */
void listen_inherit(void);
/* Before exec of another program in this process: what was handed over, and not taken, stays open.
 */
void listen_pass_on(void);
/* In a child before exec: hands these over. All other descriptors above 2 are closed by exec. */
void listen_hand_over(const int *fds, unsigned count);

#endif
