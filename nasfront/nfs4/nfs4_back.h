/* The way back to clients, and what is said to them. Inner header of nasfront/nfs4. */
#ifndef ISTHMUS_NASFRONT_NFS4_BACK_H
#define ISTHMUS_NASFRONT_NFS4_BACK_H

#include <sys/socket.h>
#include "nasfront/nfs4/nfs4_state.h"
#include "nasfront/rpc/rpc.h"

struct nfs4_session;

#define NFS4_CB_SYS	 340 /* the longest body of AUTH_SYS: RFC 5531 appendix A */
#define NFS4_CB_OP_MAX	 384 /* bytes of arguments of an operation of a client's */
#define NFS4_CB_OWNER	 256 /* bytes of a lock's owner that is told when to ask again */
#define NFS4_CB_MAX	 640 /* of a call to a client */
#define NFS4_CB_CONNS	 4   /* connections of a back channel that are kept */
#define NFS4_CALLERS_MAX 256 /* clients called at once; a quarter where nothing is lent */

/* Whether calls reach a client is found out by CB_NULL, and by what becomes of later ones. */
enum nfs4_path_state { PATH_NONE, PATH_UNKNOWN, PATH_UP, PATH_DOWN };
struct nfs4_path {
	enum nfs4_path_state state;
	uint64_t next_ns; /* down: it is tried again then */
};

/* Version 4.0: where SETCLIENTID says that calls go. */
struct nfs4_callback {
	struct sockaddr_storage to, from;
	uint16_t port;
	uint32_t program, ident;
};

/* A connection of a back channel, held; it may have ended, or be under TLS now. */
struct nfs4_back_conn {
	struct rpc_conn *conn; /* NULL: none */
	enum rpc_xprt xprt;    /* what it was when it was bound */
};

/*
 * The back channel: one slot. `seq` is the last number known to be used; when it is not known
 * whether the one behind it was, `unsure`, the next but one is tried.
 */
struct nfs4_back {
	bool usable; /* its limits suffice, and we have a credential of the client's liking */
	bool wanted; /* the client has bound a connection to it */
	bool unsure, fault;
	uint32_t minor, program, seq;
	struct nfs4_path path;
	uint32_t sys_len;
	uint8_t sys[NFS4_CB_SYS]; /* the body of AUTH_SYS; none: AUTH_NONE */
	struct nfs4_back_conn conns[NFS4_CB_CONNS];
};

/* Something to be said to a client: an operation, ready for the wire. */
struct nfs4_note {
	TAILQ_ENTRY(nfs4_note) link;
	uint64_t id;	     /* it may be gone after a wait */
	uint64_t next_ns;    /* not before */
	struct stateid copy; /* CB_OFFLOAD */
	uint32_t op, len;
	uint8_t args[];
};

/* back.c */
void nfs4_path_set(struct nfs4_client *c, struct nfs4_path *p, enum nfs4_path_state state);
/* The connection that calls of a session go by; NULL: none is there. */
struct rpc_conn *nfs4_back_conn(const struct nfs4_back *b);
/* A session by which calls arrive; one of which that is not known. */
struct nfs4_session *nfs4_session_up(const struct nfs4_client *c);
struct nfs4_session *nfs4_session_unknown(const struct nfs4_client *c);
/* Calls reach it: proven. */
bool nfs4_path_up(const struct nfs4_client *c);
/* Or it is about to be found out. */
bool nfs4_path_hoped(const struct nfs4_client *c);
const char *nfs4_path_text(const struct nfs4_client *c);
/* What was down for a while may be up again: true when it is to be found out. */
bool nfs4_path_retry(struct nfs4_client *c, uint64_t now);
/* The back channel of a session has a connection more, or this one not any more. */
void nfs4_back_bind(struct nfs4_session *s, struct rpc_conn *conn);
void nfs4_back_unbind(struct nfs4_session *s, struct rpc_conn *conn);
void nfs4_back_free(struct nfs4_session *s);
/* SEQ4_STATUS_… */
uint32_t nfs4_seq_flags(const struct nfs4_session *s);
/* callback_sec_parms4<>: the first we can use, into b. False: garbage; b->usable says whether. */
bool nfs4_get_callback_sec(struct xdr_in *x, struct nfs4_back *b);
/* cb_client4 and callback_ident of SETCLIENTID; an address we do not call leaves port 0. */
bool nfs4_get_callback(struct xdr_in *x, const struct rpc_req *req, struct nfs4_callback *ret);
void nfs4_caller_confirm(struct nfs4_client *c);

/* callback.c */
struct nfs4_cb;
/* Begins to call the client when there is something to say, or to find out. */
void nfs4_caller_start(struct nfs4_client *c);
/* The client goes: whoever calls it lets it be. */
void nfs4_caller_forget(struct nfs4_client *c);
void nfs4_caller_tick(struct nfs4 *n);
/* Says it to the client, of version 4.1 on; CB_OFFLOAD is of a copy. False: no memory. */
bool nfs4_note(struct nfs4_client *c, const struct nfs4_cb *cb, const struct stateid *copy);
/* The client need not hear of that copy any more. */
void nfs4_note_drop(struct nfs4_client *c, const struct stateid *copy);
void nfs4_notes_free(struct nfs4_client *c);

/* cb_xdr.c */
struct nfs4_cb {
	uint32_t minor, ident;
	uint8_t session[NFS4_SESSIONID]; /* from minor version 1 on: CB_SEQUENCE */
	uint32_t seq;
	uint32_t op, len;
	uint8_t args[NFS4_CB_OP_MAX];
};
size_t nfs4_cb_put(const struct nfs4_cb *cb, uint8_t *to, size_t size);
/* The operation and its arguments. */
void nfs4_cb_recall(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE]);
void nfs4_cb_offload(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE],
		     enum nfs4_status status, uint64_t count, uint64_t verifier);
/* owner: at most NFS4_CB_OWNER bytes. */
void nfs4_cb_notify_lock(struct nfs4_cb *cb, const uint8_t fh[FH_SIZE], uint64_t client,
			 const uint8_t *owner, uint32_t len);
/* mask: bits RCA4_… */
void nfs4_cb_recall_any(struct nfs4_cb *cb, uint32_t keep, uint32_t mask);
struct nfs4_cb_result {
	enum nfs4_status seq, op; /* op: when seq is NFS4_OK */
};
/* What a client answered to that. -ERR_PROTO: nothing of the kind. */
int nfs4_cb_result(const struct nfs4_cb *cb, const void *reply, size_t len,
		   struct nfs4_cb_result *ret);

#endif
