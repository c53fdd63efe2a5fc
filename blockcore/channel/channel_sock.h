/*
 * Messages of proto/channel.proto on a SOCK_SEQPACKET unix socket, each one
 * packet, with descriptors beside it. One task receives, any task may send.
 */
#ifndef ISTHMUS_CHANNEL_SOCK_H
#define ISTHMUS_CHANNEL_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include "proto/channel.pb-c.h"

struct channel_sock;
struct reactor;

#define CHANNEL_MSG_MAX (160 * 1024)
#define CHANNEL_FDS_MAX 4

/* Takes fd (non-blocking, connected), also when it fails. */
int channel_sock_new(struct channel_sock **ret, struct reactor *r, int fd);
/* No task may be inside. Closes. */
void channel_sock_free(struct channel_sock *s);

/* Waits. 0, -ERR_DISCONNECTED, -EMSGSIZE. Sets the message's version. */
int channel_sock_send(struct channel_sock *s, Isthmus__ChannelMsg *m, const int *fds,
		      unsigned nfds);
/* Never waits: for the last word before closing. */
void channel_sock_try_send(struct channel_sock *s, Isthmus__ChannelMsg *m);
/*
 * Waits, at most timeout_ns (0: for ever). 0, -ERR_DISCONNECTED, -ERR_PROTO, -ERR_VERSION,
 * -ETIMEDOUT. fds: CHANNEL_FDS_MAX, those not sent are -1; NULL: none are taken.
 */
int channel_sock_recv(struct channel_sock *s, uint64_t timeout_ns, Isthmus__ChannelMsg **ret,
		      int *fds);
/* Ends both directions: tasks inside come out with -ERR_DISCONNECTED. */
void channel_sock_shutdown(struct channel_sock *s);
/* True while a task is inside. */
bool channel_sock_busy(const struct channel_sock *s);
int channel_sock_fd(const struct channel_sock *s);

#endif
