/*
 * The interconnect between the two controllers of a cluster: messages over a
 * control path and a data path, each with a primary and a redundant route.
 * See blockcore/link/README.md.
 *
 * A link is up while at least one route of each path is; then messages of one path arrive once
 * each, in the order of their sending, whatever happens to its routes. When the peer's process
 * ends, or no route has carried a sign of life for `dead_ns`, the link goes down: every call under
 * way ends with -ERR_DISCONNECTED (the peer may have carried it out or not), and what was sent
 * and not yet taken is forgotten. A link that comes up again is a new session: nothing of the old
 * one arrives in it.
 */
#ifndef ISTHMUS_BLOCKCORE_LINK_H
#define ISTHMUS_BLOCKCORE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct env;
struct link;
struct link_msg;
struct link_ops;

#define LINK_VERSION  2			   /* 2: versions of services are in the hello */
#define LINK_HEAD_MAX 4096		   /* bytes of a message's head */
#define LINK_DATA_MAX (1024 * 1024 + 4096) /* bytes of its data */
#define LINK_IOV_MAX  512

enum link_path { LINK_CONTROL, LINK_DATA, LINK_PATHS };

/* What messages are about; each has one handler. Heads are protobuf messages of proto/link.proto,
 * or packed little-endian structures where a request of a host waits for them. */
enum link_service {
	LINK_SVC_LINK,	 /* the link's own */
	LINK_SVC_OWNER,	 /* ownership: give, take, hand back */
	LINK_SVC_META,	 /* array metadata changed */
	LINK_SVC_MIRROR, /* mirrored writes between hosts */
	LINK_SVC_SCSI,	 /* forwarded commands, task management, unit attentions */
	LINK_SVC_ADMIN,	 /* verbs of the CLI for the owner */
	LINK_SVC_VOLUME, /* volumes of the partner's: blockcore/far.h */
	LINK_SVC_MAX = 16
};

/* What the two tell each other when a session begins. */
struct link_hello {
	uint32_t version;
	char controller[64];
	uint8_t array_uuid[16];
	uint64_t incarnation; /* random for each start of a controller; never 0 */
	uint32_t pages;	      /* of its cache in all: own area and mirror area (README of mirror) */
	uint32_t page_size;
	uint8_t control[16]; /* name of the control memory; all zeros: none */
	uint64_t memory_id;  /* cache_layout.h */
	char segment[108];   /* path of its cache segment; empty: on another host */
	bool battery;
	/* Of each service's messages; 0: it is not used. Two that say another one do not meet. */
	uint32_t versions[LINK_SVC_MAX];
};

enum link_transport { LINK_UNIX, LINK_TCP, LINK_SIM };

struct link_route {
	enum link_path path;
	enum link_transport transport;
	const char *local;  /* unix: socket path of the listening side; tcp: "ADDRESS:PORT" */
	const char *remote; /* the same of the peer */
};
#define LINK_ROUTES_MAX 8

/* How peers between hosts prove who they are; all NULL: not asked for (unix sockets show the
 * peer's user instead). */
struct link_auth {
	const char *psk_file;			    /* TLS 1.3 pre-shared key: "identity:hex" */
	const char *cert_file, *key_file, *ca_file; /* or mutual certificates */
};

struct link_opts {
	struct env *env;
	const struct link_ops *ops; /* NULL: the real one; the simulator has its own */
	void *ops_arg;
	const char *self, *peer;		   /* names of the controllers */
	struct link_route routes[LINK_ROUTES_MAX]; /* in order of preference for each path */
	unsigned nroutes;
	struct link_auth auth;
	uint64_t heartbeat_ns; /* default 100 ms */
	uint64_t dead_ns;      /* silence on all routes: default 1 s */
	struct link_hello hello;
	/* All on the link's own reactor, in tasks (may wait), never two at once. */
	void (*up)(void *arg, struct link *l, const struct link_hello *peer);
	/* died: the peer's process has ended for certain (same host); else it may be alive. */
	void (*down)(void *arg, struct link *l, bool died);
	void *arg;
};

/* On the reactor that is to be the link's own. Connects and listens from now on, for ever. */
int link_open(struct link **ret, const struct link_opts *o);
void link_close(struct link *l); /* waits; calls under way end with -ERR_SHUTDOWN */

/*
 * Handler of a service's messages: a task of the link's own reactor for each, in order of arrival
 * (begun in order; they may overlap when they wait). For each call exactly one link_reply() must
 * follow, any time later and from any reactor; then the message is gone. One-way messages end
 * with link_done(). At any time. A peer may send a call where a one-way message belongs, or the
 * other way: either ends well with either (link_done() answers a call with -ERR_PROTO).
 */
typedef void link_handler(void *arg, struct link_msg *m);
void link_serve(struct link *l, enum link_service s, link_handler *fn, void *arg);

uint16_t link_msg_type(const struct link_msg *m); /* the service's own */
const void *link_msg_head(const struct link_msg *m, uint32_t *ret_len);
/* Does the peer wait for link_reply(), or is it link_done()'s? What a service does not expect it
 * refuses. */
bool link_msg_is_call(const struct link_msg *m);
/* Does the session in which it came last? Else nobody waits for what it asks for, who sent it has
 * been told that nobody knows, and it must change nothing any more. Any thread. */
bool link_msg_wanted(const struct link_msg *m);
/* The data, valid until link_reply() or link_done(). */
const void *link_msg_data(const struct link_msg *m, uint32_t *ret_len);
/* rc: 0 or the negative error that link_call() returns there. Never waits; the memory of head
 * and data (not the list iov itself) may be reused when sent(arg) was called, on the link's own
 * reactor, outside any task or in one: it must not wait (NULL: all is copied at once). */
void link_reply(struct link_msg *m, int rc, const void *head, uint32_t head_len,
		const struct iovec *iov, int iovcnt, void (*sent)(void *arg), void *arg);
void link_done(struct link_msg *m);

/* A reply's place. */
struct link_answer {
	void *head; /* may be NULL with head_max 0 */
	uint32_t head_max, head_len;
	const struct iovec *iov; /* where the data goes, received straight into it */
	int iovcnt;
	uint32_t data_len; /* of what came; never more than iov has room for */
};

/*
 * Waits. Any reactor. Sends a message and waits for its reply. 0, the handler's error,
 * -ERR_DISCONNECTED (not up, or went down meanwhile: carried out or not), -ERR_PROTO: the reply
 * does not fit ans; -ETIMEDOUT (carried out or not; up to dead_ns later than asked for when the
 * peer is silent); -EOPNOTSUPP: nobody serves it there. timeout_ns 0: as long as the link is up.
 * While the peer has no room for more, the call waits: its memory is bounded.
 */
int link_call(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const struct iovec *iov, int iovcnt,
	      struct link_answer *ans, uint64_t timeout_ns);
/* Never waits; copied; in order with calls of the same path from the same reactor. 0,
 * -ERR_DISCONNECTED; -ENOBUFS: the peer has not taken 8 MiB of what was sent so before. Any
 * thread. */
int link_send(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const void *data, uint32_t data_len);

bool link_is_up(const struct link *l);
/* Why the peer, or this end, refused the other lately (versions, names, keys), for an
 * administrator. False: nobody did. Any thread. */
bool link_refusal(struct link *l, char *ret, size_t size);
/* Of the session that is up: counts sessions; 0: down. */
uint64_t link_session(const struct link *l);

/*
 * Waits. Ends the peer's process on this host (SIGKILL by pidfd) and waits until it is gone: after
 * it, nothing of it answers a host or begins disk I/O. 0; -EHOSTUNREACH: it is on another host
 * and this way of fencing does not exist.
 */
int link_fence(struct link *l);

struct link_route_stats {
	bool up;
	uint64_t messages, bytes, failovers, resent;
	uint64_t silent_ns;
};
unsigned link_routes(const struct link *l); /* how many it was given */
void link_stats(const struct link *l, unsigned route, struct link_route_stats *ret);
/* Messages of a service sent, since link_open(). For counters and tests. */
uint64_t link_sent(const struct link *l, enum link_service s);

#endif
