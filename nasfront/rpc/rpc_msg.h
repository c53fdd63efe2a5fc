/* RPC message headers (RFC 5531 section 9): decoding of calls, encoding of replies. */
#ifndef ISTHMUS_NASFRONT_RPC_MSG_H
#define ISTHMUS_NASFRONT_RPC_MSG_H

#include "nasfront/rpc/rpc.h"

#define RPC_VERSION    2
#define RPC_AUTH_MAX   400 /* bytes of a credential or verifier, RFC 5531 8.2 */
#define RPC_REPLY_HEAD 28  /* record mark and the header of an accepted reply */
#define RPC_CALL_HEAD  44  /* record mark and the header of a call without credential */

enum rpc_decoded {
	RPC_CALL_OK,
	RPC_CALL_VERSION, /* answer with RPC_MISMATCH */
	RPC_CALL_GSS,	  /* one, but its credential is RPCSEC_GSS's and not looked at */
	RPC_CALL_AUTH,	  /* answer with AUTH_ERROR and *ret_why */
	RPC_CALL_BROKEN,  /* not a call: the stream cannot be trusted any more */
};

/* Fills xid, rpcvers, prog, vers, proc, cred and args of req from one record. */
enum rpc_decoded rpc_msg_decode(struct rpc_req *req, const void *record, size_t len,
				enum rpc_auth_stat *ret_why);

/* AUTH_SYS body (RFC 5531 appendix A). */
bool rpc_cred_decode_sys(struct rpc_cred *cred, const void *body, size_t len);

/*
 * Each makes the head of req->out's buffer a whole reply, record mark included. The results that
 * a handler encoded start at RPC_REPLY_HEAD; errors throw them away.
 */
void rpc_msg_accept(struct rpc_req *req);
/* The answer to a call that asks for TLS (RFC 9289 4.1). */
void rpc_msg_starttls(struct rpc_req *req);
void rpc_msg_refuse(struct rpc_req *req, enum rpc_result stat, uint32_t low, uint32_t high);
void rpc_msg_deny_version(struct rpc_req *req);
void rpc_msg_deny_auth(struct rpc_req *req, enum rpc_auth_stat why);

/* A whole call with its mark into `size` bytes; its length. The room must suffice. */
size_t rpc_msg_call(uint8_t *to, size_t size, const struct rpc_back_call *call, uint32_t xid);
/* A reply without its mark. 0: accepted, at most `size` bytes of results; -EAGAIN: to another call;
 * -ERR_PROTO: refused or broken. */
int rpc_msg_reply(const void *msg, size_t n, uint32_t xid, void *ret, size_t size, size_t *ret_len);

#endif
