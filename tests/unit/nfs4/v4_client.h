/* A small NFSv4 client for tests: compounds put together by hand, sent and taken apart. */
#ifndef ISTHMUS_TESTS_V4_CLIENT_H
#define ISTHMUS_TESTS_V4_CLIENT_H

#include "nasfront/nfs4/nfs4_proto.h"
#include "nasfront/rpc/xdr.h"

#define V4_OPS_MAX 128

struct v4_stateid {
	uint8_t b[16];
};
struct v4_fh {
	uint8_t b[NFS4_FHSIZE];
	uint32_t len;
};

/* How calls of the server's are answered. */
enum v4_manner {
	V4_ANSWER,	/* as they should be */
	V4_SILENT,	/* not at all */
	V4_GARBAGE,	/* bytes that mean nothing */
	V4_DENY,	/* RPC: PROG_UNAVAIL */
	V4_LATER,	/* CB_SEQUENCE as it should be, what follows it: DELAY */
	V4_BAD_SESSION, /* CB_SEQUENCE: BADSESSION */
	V4_DEAF,	/* CB_COMPOUND not at all, CB_NULL as it should be */
};

struct v4 {
	int fd;
	/* Instead of the socket, where it is not NULL: sends a call, leaves the reply in `reply`.
	 */
	void (*exchange)(struct v4 *c, const void *call, size_t len);
	void *arg;	/* its own */
	uint32_t group; /* of the caller, beside that of his number; 0: none */
	uint32_t xid, uid, minor, nops, seq, slot, status, nres;
	uint64_t client;
	uint32_t client_seq, flags;
	uint8_t session[NFS4_SESSIONID];
	uint8_t confirm[NFS4_VERIFIER];
	bool cache;
	uint32_t max_request, max_reply, max_kept; /* of the next session; 0: much */
	struct xdr_out x;			   /* the call */
	struct xdr_in r;			   /* what is left of the reply */
	uint32_t ops[V4_OPS_MAX];		   /* what v4_op() was given */
	bool loose; /* arguments may be of other lengths than the server reads: ops may be others */
	size_t nops_at;
	uint8_t *buf, *reply;
	size_t reply_len;
	/* Calls of the server's: answered while a reply is waited for, and in v4_serve(). */
	bool back; /* the session has this connection as its back channel */
	enum v4_manner manner;
	int listen_fd;	  /* version 4.0 */
	uint16_t cb_port; /* that SETCLIENTID tells; 0: of listen_fd, or nobody's */
	uint32_t cb_seq, cb_program, cb_flavor;
	unsigned nulls, recalls, offloads, notified, fewer;
	struct v4_stateid recalled;
	struct v4_fh recalled_fh;
	/* Of the last CB_NOTIFY_LOCK and CB_RECALL_ANY. */
	struct v4_fh notified_fh;
	char notified_owner[64];
	uint32_t keep, keep_mask;
	/* Of the last CB_OFFLOAD. */
	struct v4_stateid offload;
	struct v4_fh offload_fh;
	uint32_t offload_status;
	uint64_t offload_count, offload_verifier;
	uint32_t seq_flags; /* of the last SEQUENCE */
	/* Of the last OPEN. */
	uint32_t open_flags, deleg_type, deleg_why;
	bool deleg_recall;
	struct v4_stateid deleg;
};

/* Connects; no client yet. */
void v4_open(struct v4 *c, uint16_t port);
void v4_close(struct v4 *c);
/* A new connection; client, session and all stay. */
void v4_reconnect(struct v4 *c, uint16_t port);
/* EXCHANGE_ID, CREATE_SESSION and (when asked) RECLAIM_COMPLETE. */
uint32_t v4_exchange(struct v4 *c, const char *owner, uint64_t verifier, uint32_t flags);
uint32_t v4_session(struct v4 *c);
void v4_client(struct v4 *c, const char *owner);
/* Version 4.0: SETCLIENTID and its confirmation; compounds have no SEQUENCE then. */
uint32_t v4_set_client(struct v4 *c, const char *owner, uint64_t verifier);
uint32_t v4_confirm_client(struct v4 *c);
void v4_client0(struct v4 *c, const char *owner);

/* A compound: v4_begin (with SEQUENCE: v4_seq), v4_op and arguments, v4_send, v4_res for each. */
void v4_begin(struct v4 *c);
void v4_seq(struct v4 *c);
void v4_op(struct v4 *c, uint32_t op);
/* Sends; the status of the whole. With SEQUENCE its result is taken. */
uint32_t v4_send(struct v4 *c);
/* The two halves of it. Every reply is looked at: as many results as there should be, and an error
 * that the RFCs let its operation say (v4_valid.h). */
void v4_put(struct v4 *c);
uint32_t v4_get(struct v4 *c);
/* Answers calls of the server's that come within so many ms, at least one; how many came. */
unsigned v4_serve(struct v4 *c, int ms);
/* Until there were so many CB_NULLs or CB_RECALLs in all; false: not within 10 s. */
bool v4_serve_until(struct v4 *c, const unsigned *count, unsigned n);
/* The same bytes again. */
uint32_t v4_again(struct v4 *c);
/* The next result's head: its status; fails the test when it is another operation's. */
uint32_t v4_res(struct v4 *c, uint32_t op);

uint32_t v4_u32(struct v4 *c);
uint64_t v4_u64(struct v4 *c);
void v4_take(struct v4 *c, void *to, uint32_t len);
uint32_t v4_opaque(struct v4 *c, const uint8_t **p);

/* Arguments of operations. */
void v4_root(struct v4 *c);
void v4_putfh(struct v4 *c, const struct v4_fh *fh);
void v4_name(struct v4 *c, uint32_t op, const char *name); /* LOOKUP, REMOVE, … */
void v4_path(struct v4 *c, const char *path);		   /* PUTROOTFH and LOOKUPs; for results: */
void v4_path_res(struct v4 *c, const char *path);
void v4_stateid(struct v4 *c, const struct v4_stateid *s);
void v4_get_stateid(struct v4 *c, struct v4_stateid *s);

/* Whole compounds. The status of the whole. */
uint32_t v4_lookup(struct v4 *c, const char *path, struct v4_fh *ret);
/* OPEN in a directory; how: OPEN4_NOCREATE or createmode + 1. */
uint32_t v4_open_file(struct v4 *c, const struct v4_fh *dir, const char *name, const char *owner,
		      uint32_t access, uint32_t deny, uint32_t how, struct v4_stateid *ret,
		      struct v4_fh *ret_fh);
/* What was open before a restart of the server; how it was opened. */
uint32_t v4_reclaim_open(struct v4 *c, const struct v4_fh *fh, const char *owner, uint32_t access,
			 struct v4_stateid *ret);
uint32_t v4_reclaim_done(struct v4 *c);
/* DELEGRETURN. */
uint32_t v4_return(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s);
/* The results of an OPEN, its status taken: stateid and delegation. */
void v4_get_open(struct v4 *c, struct v4_stateid *ret);
uint32_t v4_close_file(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s);
uint32_t v4_read(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		 uint32_t count, void *to, uint32_t *ret_len, bool *ret_eof);
uint32_t v4_write(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		  const void *from, uint32_t len, uint32_t stable);
/* LOCK: fresh with an open's stateid and an owner, else (owner NULL) with a lock's. */
uint32_t v4_lock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s,
		 const char *owner, uint32_t type, uint64_t off, uint64_t len, bool reclaim,
		 struct v4_stateid *ret);
uint32_t v4_unlock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		   uint64_t len, struct v4_stateid *ret);

#endif
