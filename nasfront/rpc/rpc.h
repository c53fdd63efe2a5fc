/*
 * ONC RPC over TCP and UDP (RFC 5531), the server's side; see nasfront/rpc/README.md.
 *
 * A program is a table of procedures. A procedure may have a fast handler, run inline in the
 * wake-up that read the call, which must not wait and may decline with RPC_AGAIN; and a slow one,
 * run in a task. Replies of one turn leave in one gathered sendmsg(). Everything of a server
 * lives on one reactor.
 */
#ifndef ISTHMUS_NASFRONT_RPC_H
#define ISTHMUS_NASFRONT_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <bsd/sys/queue.h>
#include "nasfront/rpc/xdr.h"

struct env;
struct reactor;
struct rpc_buf;
struct rpc_conn;
struct rpc_server;
struct rpc_tls_ctx;
struct drc_entry;
struct gss_ctx;
struct rpc_gss;

#define RPC_GROUPS_MAX	 16
#define RPC_REPLY_INLINE 640		       /* replies up to this need no other memory */
#define RPC_GSS_MIC_MAX	 68		       /* bytes of a signature */
#define RPC_GSS_ROOM	 (RPC_GSS_MIC_MAX + 8) /* that a reply's head may need for RPCSEC_GSS */
#define RPC_SMALL_BUF	 (64 * 1024) /* receive buffers: the classes of channel staging memory */
#define RPC_LARGE_BUF	 (1280 * 1024)
#define RPC_FRAGMENTS	 512 /* of one record, at most */
#define RPC_RECORD_MAX	 (RPC_LARGE_BUF - 4 * (RPC_FRAGMENTS + 1))

/* What a handler returns: an accept_stat of RFC 5531, or one of the last two. */
enum rpc_result {
	RPC_SUCCESS = 0,
	RPC_PROG_UNAVAIL = 1,
	RPC_PROG_MISMATCH = 2,
	RPC_PROC_UNAVAIL = 3,
	RPC_GARBAGE_ARGS = 4,
	RPC_SYSTEM_ERR = 5,
	RPC_AGAIN = 100,    /* fast handlers: cannot say without waiting; the slow one is run */
	RPC_DROP = 101,	    /* no reply at all (fenced) */
	RPC_TAKEN = 102,    /* only when rpc_once() said so: the call is running already */
	RPC_TOO_WEAK = 103, /* AUTH_ERROR, AUTH_TOOWEAK: not with this flavour */
	RPC_RELAY = 104,    /* as rpc_relay() said (rpc_relay.h): another server answers */
};

enum rpc_auth_stat {
	RPC_AUTH_OK = 0,
	RPC_AUTH_BADCRED = 1,
	RPC_AUTH_REJECTEDCRED = 2,
	RPC_AUTH_BADVERF = 3,
	RPC_AUTH_TOOWEAK = 5,
	RPC_GSS_CREDPROBLEM = 13,
	RPC_GSS_CTXPROBLEM = 14,
};

enum rpc_flavor {
	RPC_FLAVOR_NONE = 0,
	RPC_FLAVOR_SYS = 1,
	RPC_FLAVOR_GSS = 6,
	RPC_FLAVOR_TLS = 7,
};

struct rpc_cred {
	uint32_t flavor;
	uint32_t service; /* RPC_FLAVOR_GSS: enum rpc_gss_service */
	uint64_t
	    principal;	   /* of it: a number of who it is, the same in every process that serves */
	bool mapped;	   /* and whether that is a user here: */
	uint32_t uid, gid; /* RPC_FLAVOR_SYS, or mapped */
	uint32_t ngroups;
	uint32_t groups[RPC_GROUPS_MAX];
};

#define RPC_REQ_MAGIC 0x72706371

struct rpc_req {
	uint32_t magic;
	uint32_t xid, rpcvers, prog, vers, proc;
	struct rpc_cred cred;
	struct xdr_in args; /* in place in the receive buffer; valid until the handler returns */
	struct xdr_out out; /* results, after the reply header */
	struct rpc_conn *conn;
	uint64_t start_ns;

	/* Data sent in place after what was encoded, with XDR padding behind it (READ). */
	const struct iovec *body;
	int body_n;
	uint32_t body_len;
	/* Set by a fast handler that says RPC_AGAIN: how large the reply may become. Back-pressure.
	 */
	uint32_t expect;
	/* Set by a handler that did nothing: the answer is not kept for duplicates of the call. */
	bool forget;
	/* Called once, when the reply was sent or will never be; may be NULL. Must not wait. */
	void (*release)(struct rpc_req *req);

	/* The server's own. */
	const struct rpc_program *program;
	const struct rpc_proc *procedure;
	struct rpc_buf *buf;
	struct xdr_in args_begin;
	struct drc_entry *drc;
	uint8_t *heap;	      /* a larger reply buffer */
	struct iovec spilled; /* the body, moved to the heap for a slow peer */
	uint8_t *wire;	      /* where the reply's head begins: its record mark */
	size_t wire_len;
	size_t head_room;    /* bytes before out for it */
	struct iovec tail;   /* behind body and padding */
	uint64_t queued_ns;  /* not after its reply was: the connection's last progress then */
	unsigned relays;     /* servers that have not answered it yet */
	struct gss_ctx *gss; /* RPCSEC_GSS: the context, held; NULL: another flavour */
	uint32_t gss_seq, gss_service;
	STAILQ_ENTRY(rpc_req) link;
	uint8_t head[RPC_REPLY_INLINE + RPC_GSS_ROOM];
	struct iovec gss_token; /* these two once a reply is protected */
	uint8_t gss_tail[RPC_GSS_ROOM];
	_Alignas(16) uint8_t area[]; /* rpc_server_opts.area_size bytes for the program */
};

typedef int rpc_handler(struct rpc_req *req, void *arg);

enum rpc_proc_flags {
	RPC_CACHED = 1, /* not idempotent: its replies go through the duplicate request cache */
};

struct rpc_proc {
	const char *name;
	rpc_handler *fast; /* Optional. Must not wait. */
	rpc_handler *slow; /* Optional where fast never says RPC_AGAIN. In a task. */
	unsigned flags;
};

struct rpc_program {
	uint32_t prog, vers;
	const struct rpc_proc *procs;
	unsigned nprocs;
	void *arg; /* of its handlers */
	bool udp;  /* is served over UDP as well; replies must be small then */
	/* After each call was handled, before its reply is sent; may be NULL. */
	void (*finished)(void *arg, struct rpc_req *req, int result);
};

/*
 * Where receive buffers come from: channel staging memory in a head, so that WRITE payloads need
 * no copy there. try_get returns NULL when there is none: the connection waits.
 */
struct rpc_memory {
	void *(*try_get)(void *arg, size_t size);
	void (*put)(void *arg, void *buf);
	void *arg;
};

struct rpc_server_opts {
	struct reactor *reactor;
	struct env *env;
	const struct rpc_memory *memory; /* NULL: the heap */
	size_t area_size;		 /* bytes of rpc_req.area */
	unsigned max_conns;		 /* 0: 1024 */
	unsigned max_inflight;		 /* requests of one connection not yet answered; 0: 128 */
	unsigned max_requests;		 /* of all connections; 0: 4096 */
	unsigned drc_entries;		 /* 0: 4096 */
	uint64_t record_timeout_ns;	 /* a record that does not come whole; 0: 30 s */
	bool hold;			 /* accept nothing before rpc_server_accept() */
	uint64_t tls_timeout_ns;	 /* from a call for TLS to the handshake's end; 0: 10 s */
	uint64_t send_timeout_ns;	 /* a peer that reads nothing; 0: 120 s */
	struct rpc_gss *gss;		 /* RPCSEC_GSS over TCP; NULL: not spoken. Outlives it */
};

int rpc_server_new(struct rpc_server **ret, const struct rpc_server_opts *o);
/* Closes listeners and connections; requests still running must have ended: see _stop. */
void rpc_server_free(struct rpc_server *s);
/* The program must outlive the server. */
int rpc_server_add(struct rpc_server *s, const struct rpc_program *p);
/* address: numeric v4 or v6 ("::" takes v4 as well). port 0: any; ret_port may be NULL. */
int rpc_server_listen(struct rpc_server *s, const char *address, uint16_t port, uint16_t *ret_port);
/* Datagrams for the programs that take them. */
int rpc_server_listen_udp(struct rpc_server *s, const char *address, uint16_t port);
/* TLS for connections that ask for it from now on (rpc_tls.h); NULL: none. Those in a handshake
 * end, and those let in by other authorities. The caller's, and may be freed when another was set.
 */
void rpc_server_set_tls(struct rpc_server *s, struct rpc_tls_ctx *ctx);
/* Listeners only bind and queue until this: connections are accepted from now on. */
void rpc_server_accept(struct rpc_server *s);
/* Waits (a task): closes the listeners, handles nothing new, lets running requests end and their
 * replies leave, at most timeout_ns. 0 or -ETIMEDOUT. */
int rpc_server_stop(struct rpc_server *s, uint64_t timeout_ns);
/* From now on nothing is answered any more: drops every reply not yet sent and all connections. */
void rpc_server_mute(struct rpc_server *s);

/* Connection by connection that is open now. */
struct rpc_stats {
	uint64_t calls, replies, dropped, bytes_in, bytes_out, sends, receives;
	uint64_t tasks, drc_hits, drc_busy, buffer_waits, spills;
	uint64_t tls_opened, tls_failed; /* connections that went over to TLS, or ended before */
	uint64_t back_calls, back_stray; /* calls to clients; replies nobody waited for */
	unsigned connections, requests;
};
void rpc_server_stats(const struct rpc_server *s, struct rpc_stats *ret);

/* Replies larger than RPC_REPLY_INLINE: makes room for size bytes of results. False: no memory.
 * What was encoded so far is kept. */
bool rpc_reply_reserve(struct rpc_req *req, size_t size);

/*
 * For a handler whose procedure is not RPC_CACHED, when it comes to what must not be done twice:
 * the call goes through the duplicate request cache from here on. RPC_AGAIN: it is new, go on.
 * Else what the handler has to return, changing nothing: the call was answered before and its
 * results are in place (RPC_SUCCESS), or it is running (RPC_TAKEN). At most once in a call.
 */
int rpc_once(struct rpc_req *req);
/* What tells the call from all others, also to a server that takes this one's place: who asks, from
 * which address and port, and its number. 31 bytes; the last is the caller's. */
void rpc_identity(const struct rpc_req *req, uint8_t ret[32]);
/* rpc_once() was called: the reply must not have a body. */
bool rpc_is_once(const struct rpc_req *req);

/* For a handler that waits long, as it begins to and each time it looks: its arguments must not be
 * needed any more. False: nobody waits for the answer now, or the server stops; it is to end. */
bool rpc_wait_on(struct rpc_req *req);

/*
 * A call to the client over a connection it made. Waits (a task). The credential is AUTH_SYS with
 * these bytes, or AUTH_NONE when there are none. 0: accepted, with at most `size` bytes of results.
 * -ECONNRESET: the connection ended; -ETIMEDOUT; -ERR_PROTO: refused, or no reply at all; -EAGAIN:
 * no room for it now; -E2BIG; -ERR_SHUTDOWN.
 */
#define RPC_BACK_CALL_MAX 4096 /* bytes of arguments */
struct rpc_back_call {
	uint32_t prog, vers, proc;
	const void *sys; /* the body of AUTH_SYS */
	size_t sys_len;
	const void *args;
	size_t args_len;
	uint64_t timeout_ns; /* 0: 10 s */
};
int rpc_conn_call(struct rpc_conn *c, const struct rpc_back_call *call, void *ret, size_t size,
		  size_t *ret_len);
/* Who keeps a connection holds it; its memory stays then, though it may end (rpc_conn_open()). */
void rpc_conn_get(struct rpc_conn *c);
void rpc_conn_put(struct rpc_conn *c);
bool rpc_conn_open(const struct rpc_conn *c);

/* What hosts are counted by: a v4 address; of v6 the network of 64 bits, whose addresses are all
 * one host's for the asking (RFC 4291 2.5.1); of a link-local one, which all have that network, the
 * interface. */
uint64_t rpc_host_of(const struct sockaddr_storage *peer);
/* The peer of a connection. */
const struct sockaddr_storage *rpc_conn_peer(const struct rpc_conn *c);
const char *rpc_conn_peer_text(const struct rpc_conn *c); /* the address alone */
/* Our address that it reached; ss_family 0: not known (any more). */
void rpc_conn_local(const struct rpc_conn *c, struct sockaddr_storage *ret);
bool rpc_conn_is_udp(const struct rpc_conn *c);
bool rpc_conn_secure_port(const struct rpc_conn *c); /* its port is below 1024 */
/* How a connection is protected. */
enum rpc_xprt {
	RPC_XPRT_NONE,
	RPC_XPRT_TLS,
	RPC_XPRT_MTLS /* and the client showed a certificate */
};
enum rpc_xprt rpc_conn_xprt(const struct rpc_conn *c);
/* One pointer for the programs to keep with the connection; drop() runs when it ends. */
void *rpc_conn_data(const struct rpc_conn *c);
void rpc_conn_set_data(struct rpc_conn *c, void *data, void (*drop)(void *data));

#endif
