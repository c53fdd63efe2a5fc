/*
 * What carries the interconnect: pipes between two processes, made by connecting to where the
 * other listens. Bytes arrive in order and whole, or the pipe closes. Two implementations:
 * sockets (link_socket.c) and the simulator's (tests/sim/sim_link.c).
 *
 * All calls and callbacks are on the link's own reactor; callbacks are outside any task, and
 * never made from inside of a call to these operations.
 */
#ifndef ISTHMUS_BLOCKCORE_LINK_OPS_H
#define ISTHMUS_BLOCKCORE_LINK_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "blockcore/link/link.h"

struct link_listener; /* the implementation's own */
struct link_pipe;     /* the implementation's own */
struct link_process;  /* the implementation's own */

#define LINK_WHY_MAX 200

enum link_event {
	LINK_EV_READABLE = 1, /* also at the end, and after an error: recv tells */
	LINK_EV_WRITABLE = 2, /* connected, or there is room again after -EAGAIN */
};
typedef void link_pipe_fn(void *arg, int events);
typedef void link_accept_fn(void *arg, struct link_pipe *p);
typedef void link_ended_fn(void *arg);

struct link_ops {
	/* Required. Listens at r->local from now on; each new pipe goes to fn, who owns it. peer:
	 * the name that the other end has to prove, where auth asks for it. 0, or a negative error
	 * and perhaps a sentence for the admin in why. */
	int (*listen)(void *ops_arg, const struct link_route *r, const struct link_auth *auth,
		      const char *peer, link_accept_fn *fn, void *arg, struct link_listener **ret,
		      char why[LINK_WHY_MAX]);
	/* Required. */
	void (*unlisten)(struct link_listener *l);
	/* Required. Never waits: the pipe may be connected later, or fail (recv tells). */
	int (*connect)(void *ops_arg, const struct link_route *r, const struct link_auth *auth,
		       const char *peer, struct link_pipe **ret, char why[LINK_WHY_MAX]);
	/* Required, once, before anything else. Readable is told again while something is
	 * there. */
	void (*watch)(struct link_pipe *p, link_pipe_fn *fn, void *arg);
	/* Required. Bytes; 0: the peer closed it; -EAGAIN; -EACCES: it has not proved who it is;
	 * other errors: it is broken. */
	ssize_t (*recv)(struct link_pipe *p, const struct iovec *iov, int iovcnt);
	/* Required. Bytes, perhaps fewer; -EAGAIN: LINK_EV_WRITABLE follows. */
	ssize_t (*send)(struct link_pipe *p, const struct iovec *iov, int iovcnt);
	/* Required. What was sent before may still arrive. */
	void (*close)(struct link_pipe *p);
	/* Required. The process at the other end, when it is on this host: a handle that holds on
	 * to it, not to its number. NULL: not known. */
	struct link_process *(*process)(struct link_pipe *p);
	/* Required. fn(arg) once when it has ended (perhaps it has already). */
	void (*process_watch)(struct link_process *p, link_ended_fn *fn, void *arg);
	/* Required. Has it ended, nothing of it left to run? */
	bool (*process_ended)(struct link_process *p);
	/* Required. SIGKILL; the end is told by process_watch. 0, -errno. */
	int (*process_kill)(struct link_process *p);
	/* Required. Who watches is not told any more. */
	void (*process_free)(struct link_process *p);
};

/* Unix sockets and TCP, with TLS as link_auth says. ops_arg: NULL. */
extern const struct link_ops link_socket_ops;

#endif
