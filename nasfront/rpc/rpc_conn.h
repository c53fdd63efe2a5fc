/* What rpc_conn.c and rpc_server.c know of each other; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_RPC_CONN_H
#define ISTHMUS_NASFRONT_RPC_CONN_H

#include "nasfront/rpc/drc.h"
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/env.h"
#include "runtime/reactor.h"

#define RPC_CONN_MAGIC	 0x7270636e
#define RPC_SERVER_MAGIC 0x72706373
#define RPC_STASH	 1024		   /* the start of a record kept without a buffer */
#define RPC_OUT_MAX	 (4 * 1024 * 1024) /* reply bytes of a connection before it is read on */
#define RPC_PROGRAMS_MAX 16
#define RPC_UDP_MAX	 9000 /* a datagram's call */
#define RPC_UDP_CALLS	 256  /* that run at once */
/* What slow peers hold is moved to the heap, up to this much of all connections together. */
#define RPC_SPILL_MAX	  (96 * 1024 * 1024)
#define RPC_SPILL_IN_NS	  (30 * NS_PER_MS)  /* a receive buffer is held, and others wait for one */
#define RPC_SPILL_OUT_NS  (200 * NS_PER_MS) /* a reply does not leave */
#define RPC_SPILL_END_NS  (1 * NS_PER_S)    /* and no room for it on the heap: the end */
#define RPC_STUCK_NS	  (1 * NS_PER_S) /* a reply was not taken: gives way when others need room */
#define RPC_STUCK_MAX	  (256 * 1024 * 1024) /* bytes of replies that such connections hold */
#define RPC_LISTENERS_MAX 8
#define RPC_PLACES	  4096

/* Where a peer is counted: by what it is a host by, and by its whole address. */
struct rpc_place {
	unsigned host, address;
};

/* A receive buffer; requests being handled hold references beside the connection's own. */
struct rpc_buf {
	uint8_t *data;
	uint32_t cap, fill;
	unsigned refs;
	bool spilled;		  /* on the heap, counted in spilled_bytes */
	LIST_ENTRY(rpc_buf) link; /* free headers */
};

/*
 * Received bytes lie in buf from `start`, where the mark of the first unfinished record is.
 * A record of several fragments is put together in place: `rec_len` bytes of it follow
 * start + 4, and `pos` is where the mark of its next fragment is.
 */
struct rpc_conn {
	uint32_t magic;
	unsigned refs; /* open, requests in tasks, callbacks under way */
	struct rpc_server *server;
	int fd;
	bool dead;
	bool blocked; /* the socket takes no more for now */
	bool starved; /* in the server's list: no buffer or no request was free */
	int events;
	struct watch *watch;
	struct deferred flush;
	struct sockaddr_storage peer;
	char peer_text[64];
	bool secure_port;
	enum rpc_xprt xprt;
	struct conn_tls *tls;	  /* rpc_conn_tls.c; NULL: as plain as TCP is */
	struct rpc_listener *udp; /* of one call's datagram; NULL: TCP */
	struct sockaddr_storage udp_peer, udp_local;
	socklen_t udp_peer_len;
	bool ended;		       /* of UDP: its call has ended */
	LIST_HEAD(, rpc_relay) relays; /* to servers that answer calls of it */
	bool relayed, relay_known;     /* another server's way to us; whose it is is known */
	struct sockaddr_storage relay_local;
	void *data;
	void (*data_drop)(void *);

	struct rpc_buf *buf;
	uint32_t start, pos, rec_len;
	unsigned fragments;
	uint32_t large; /* wire length of the last large record, 0: small ones */
	uint32_t stash_len;
	uint8_t stash[RPC_STASH];

	unsigned inflight; /* from decoding to the reply's last byte */
	uint64_t pending;  /* bytes of replies queued or expected */
	STAILQ_HEAD(, rpc_req) out;
	size_t out_sent;	    /* of the first */
	bool quiet;		    /* no whole record came yet */
	struct rpc_place place;	    /* rpc_room.c */
	uint64_t begin_ns;	    /* it was accepted */
	uint64_t record_wait_ns;    /* its unfinished record was waited for, in all */
	uint64_t in_ns, out_ns;	    /* last progress */
	uint64_t buf_ns;	    /* the buffer was taken, or gave a whole record */
	uint64_t head_ns;	    /* the first reply of `out` became it */
	LIST_HEAD(, rpc_back) back; /* calls to the client that wait for their replies */
	uint32_t back_xid;	    /* of the last; 0: there was none */

	TAILQ_ENTRY(rpc_conn) link;
	TAILQ_ENTRY(rpc_conn) starved_link;
	TAILQ_ENTRY(rpc_conn) quiet_link, shake_link;
};
TAILQ_HEAD(rpc_conn_list, rpc_conn);

#define RPC_RELAY_UIDS 64

struct rpc_listener {
	struct rpc_server *server;
	int fd;
	struct watch *watch;
	bool relay; /* for calls that others relay: who may is told by their credentials */
	uid_t uids[RPC_RELAY_UIDS];
	unsigned nuids;
};

struct rpc_server {
	uint32_t magic;
	struct rpc_server_opts o;
	struct rpc_memory memory;
	const struct rpc_program *programs[RPC_PROGRAMS_MAX];
	unsigned nprograms;
	struct rpc_listener listeners[RPC_LISTENERS_MAX];
	unsigned nlisteners;
	struct rpc_conn_list conns, starved;
	STAILQ_HEAD(, rpc_req) free_reqs;
	LIST_HEAD(, rpc_buf) free_bufs;
	struct drc *drc;
	struct deferred resume;
	struct env_timer tick, retry, unblock;
	unsigned udp_calls;
	struct rpc_tls_ctx *tls; /* NULL: not served. The caller's */
	unsigned tls_begun;	 /* connections on their way to it */
	/* rpc_room.c: connections by hash of their host, and of their address; those that said
	 * nothing, and those on their way to TLS, oldest first */
	uint64_t crowd_key[2], crowd_seen_ns;
	uint32_t crowd[RPC_PLACES], crowd_most;
	uint32_t address[RPC_PLACES], address_most;
	uint64_t held[RPC_PLACES]; /* scratch */
	struct rpc_conn_list quiet, shaking;
	bool retry_armed, unblock_armed, stopping, mute, accepting;
	bool wanted; /* a request, and there was none */
	size_t spilled_bytes;
	struct waitq drained;
	struct rpc_stats stats;
};

/* rpc_server.c */
struct rpc_req *rpc_req_get(struct rpc_server *s); /* NULL: none free */
void rpc_req_put(struct rpc_server *s, struct rpc_req *req);
struct rpc_buf *rpc_buf_get(struct rpc_server *s, uint32_t size);
struct rpc_buf *rpc_buf_spill(struct rpc_server *s, uint32_t cap); /* on the heap */
void rpc_buf_put(struct rpc_server *s, struct rpc_buf *b);
void rpc_server_starve(struct rpc_conn *c);
void rpc_listener_event(void *arg, int status, int events);
/* The peer takes no replies: what they hold is looked after. */
void rpc_server_blocked(struct rpc_server *s);
/* Heap memory within the budget; NULL: none. */
uint8_t *rpc_spill_get(struct rpc_server *s, size_t size);
void rpc_spill_put(struct rpc_server *s, uint8_t *p, size_t size);
const struct rpc_program *rpc_server_find(struct rpc_server *s, uint32_t prog, uint32_t vers,
					  uint32_t *ret_low, uint32_t *ret_high);

/* rpc_call.c: one whole record. */
void rpc_call_handle(struct rpc_conn *c, struct rpc_req *req, const uint8_t *record, uint32_t len);

/* The request ends as its handler would have ended it, and lets go of its connection. */
void rpc_call_end(struct rpc_req *req, int result);
/* Its arguments are not needed any more. */
void rpc_call_no_buf(struct rpc_req *req);

/* rpc_relay.c */
/* Its handler said RPC_RELAY. */
void rpc_relay_start(struct rpc_req *req);
void rpc_relay_close(struct rpc_conn *c);

/* rpc_relayed.c */
bool rpc_relayed_admits(const struct rpc_listener *l, int fd);
/* Takes the credential of a relayed call. False: it is none, or of another client. */
bool rpc_relayed_cred(struct rpc_req *req, const void *body, size_t len);

/* rpc_back.c */
/* Takes the reply to a call of ours. False: the record is no such thing. */
bool rpc_back_take(struct rpc_conn *c, const uint8_t *record, uint32_t len);
void rpc_back_close(struct rpc_conn *c);

/* rpc_udp.c */
void rpc_udp_reply(struct rpc_conn *c, struct rpc_req *req);
/* The one call of a datagram has ended. */
void rpc_udp_end(struct rpc_conn *c);

/* rpc_conn.c */
/* A v4 address mapped into v6 (a dual-stack listener's) becomes the v4 address. */
void rpc_address_unmap(struct sockaddr_storage *ss);
void rpc_conn_describe(struct rpc_conn *c); /* fills text and port from the peer */
int rpc_conn_new(struct rpc_server *s, int fd, const struct sockaddr_storage *peer, bool relayed);
void rpc_conn_close(struct rpc_conn *c, const char *why);
/* Handles what is already received, then asks for more. */
void rpc_conn_resume(struct rpc_conn *c);
/* Queues a message of wire_len bytes; it leaves at the end of the turn. */
void rpc_conn_queue(struct rpc_conn *c, struct rpc_req *req);
/* The same of the finished reply. */
void rpc_conn_reply(struct rpc_conn *c, struct rpc_req *req);
/* The request ends without a reply. */
void rpc_conn_drop(struct rpc_conn *c, struct rpc_req *req);
bool rpc_conn_partial(const struct rpc_conn *c);
/* Takes what is there, and what TLS holds. */
void rpc_conn_again(struct rpc_conn *c);
/* Lets go of the receive buffer, whose records are all handled. */
void rpc_conn_no_buffer(struct rpc_conn *c);
/* Drops what programs keep with it. */
void rpc_conn_forget(struct rpc_conn *c);

/* rpc_conn_tls.c */
enum rpc_tls_start {
	RPC_TLS_BEGIN,	 /* when the reply has left */
	RPC_TLS_NONE,	 /* it is not served */
	RPC_TLS_ALREADY, /* is under way, or there */
	RPC_TLS_ENDED,	 /* the connection has ended */
};
enum rpc_tls_start rpc_conn_tls_start(struct rpc_conn *c);
void rpc_conn_tls_end(struct rpc_conn *c);
/* These only where there is TLS. */
void rpc_conn_tls_step(struct rpc_conn *c); /* goes on as far as it can; the connection may end */
bool rpc_conn_tls_busy(const struct rpc_conn *c); /* not open yet */
bool rpc_conn_tls_shakes(const struct rpc_conn *c);
bool rpc_conn_tls_late(const struct rpc_conn *c, uint64_t now);
void rpc_conn_tls_again(struct rpc_conn *c); /* reads on when there is more than the socket says */
bool rpc_conn_tls_left(const struct rpc_conn *c);
const char *rpc_conn_tls_why(const struct rpc_conn *c);
ssize_t rpc_conn_tls_recv(struct rpc_conn *c, void *buf, size_t size); /* as rpc_tls_recv() */
ssize_t rpc_conn_tls_send(struct rpc_conn *c, const struct iovec *iov, size_t iovcnt);

uint64_t rpc_conn_tls_since(const struct rpc_conn *c); /* it was asked for */
/* What its peer showed does not count any more, by time: why; NULL: it does. */
const char *rpc_conn_tls_expired(const struct rpc_conn *c);

/* rpc_room.c */
void rpc_room_enter(struct rpc_conn *c);
void rpc_room_called(struct rpc_conn *c);	       /* a whole record came */
void rpc_room_shakes(struct rpc_conn *c, bool shakes); /* on its way to TLS, and no more */
void rpc_room_leave(struct rpc_conn *c);
/* False: there is no room for one more of this peer. Another may be closed for it. */
bool rpc_room_conn(struct rpc_server *s, const struct sockaddr_storage *peer);
bool rpc_room_handshake(struct rpc_conn *newcomer);
/* It has a reply that its peer did not take for RPC_STUCK_NS. */
bool rpc_room_stuck(const struct rpc_conn *c, uint64_t now);
/* Closes connections that are, of the hosts that hold most by them, until `count` requests, or so
 * many bytes of replies, are free; a bounded number at once. */
void rpc_room_requests(struct rpc_server *s, unsigned count, uint64_t now);
void rpc_room_bytes(struct rpc_server *s, uint64_t bytes, uint64_t now);

/* rpc_spill.c */
/* Moves what has waited there for long; bytes of it that find no room, and should be gone. */
uint64_t rpc_conn_spill_in(struct rpc_conn *c, uint64_t now);
/* Bytes of replies that find no room there, and should have left long ago. */
uint64_t rpc_conn_spill_out(struct rpc_conn *c, uint64_t now);

#endif
