/*
 * Call header:  xid, 0 (CALL), 2, prog, vers, proc, cred {flavor, opaque<400>}, verf {same}.
 * Reply header: mark, xid, 1 (REPLY), 0 (accepted), verf {0, 0}, accept_stat      = 28 bytes,
 *            or mark, xid, 1 (REPLY), 1 (denied), 0 (RPC_MISMATCH), 2, 2
 *                                                 1 (AUTH_ERROR), auth_stat.
 * A reply is one fragment: its mark is 0x80000000 | length.
 */
#include "nasfront/rpc/rpc_msg.h"
#include <errno.h>
#include <string.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/check.h"
#include "runtime/err.h"

enum { MSG_CALL = 0, MSG_REPLY = 1 };
enum { REPLY_ACCEPTED = 0, REPLY_DENIED = 1 };
enum { DENY_MISMATCH = 0, DENY_AUTH = 1 };

bool rpc_cred_decode_sys(struct rpc_cred *cred, const void *body, size_t len)
{
	struct xdr_in x = xdr_in_of(body, len);
	const uint8_t *machine;
	uint32_t stamp, n;
	if (!xdr_u32(&x, &stamp) || !xdr_opaque(&x, 255, &machine, &n) ||
	    !xdr_u32(&x, &cred->uid) || !xdr_u32(&x, &cred->gid) || !xdr_u32(&x, &n) ||
	    n > RPC_GROUPS_MAX)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!xdr_u32(&x, &cred->groups[i]))
			return false;
	cred->ngroups = n;
	return true;
}

enum rpc_decoded rpc_msg_decode(struct rpc_req *req, const void *record, size_t len,
				enum rpc_auth_stat *ret_why)
{
	struct xdr_in x = xdr_in_of(record, len);
	uint32_t type, flavor, n, verf_n;
	const uint8_t *body, *verf;
	if (!xdr_u32(&x, &req->xid) || !xdr_u32(&x, &type) || type != MSG_CALL ||
	    !xdr_u32(&x, &req->rpcvers))
		return RPC_CALL_BROKEN;
	if (req->rpcvers != RPC_VERSION)
		return RPC_CALL_VERSION;
	if (!xdr_u32(&x, &req->prog) || !xdr_u32(&x, &req->vers) || !xdr_u32(&x, &req->proc))
		return RPC_CALL_BROKEN;
	*ret_why = RPC_AUTH_BADCRED;
	if (!xdr_u32(&x, &flavor) || !xdr_opaque(&x, RPC_AUTH_MAX, &body, &n))
		return RPC_CALL_AUTH;
	bool relayed = req->conn && rpc_conn_relayed(req->conn), gss = flavor == RPC_FLAVOR_GSS;
	req->cred.flavor = flavor;
	req->cred.ngroups = 0;
	if (relayed) {
		if (flavor != RPC_FLAVOR_RELAY || !rpc_relayed_cred(req, body, n))
			return RPC_CALL_AUTH;
	} else if (flavor == RPC_FLAVOR_SYS) {
		if (!rpc_cred_decode_sys(&req->cred, body, n))
			return RPC_CALL_AUTH;
	} else if (flavor == RPC_FLAVOR_TLS) { /* RFC 9289 4.1: NULL only, and nothing in it */
		if (n || req->proc)
			return RPC_CALL_AUTH;
	} else if (flavor != RPC_FLAVOR_NONE && flavor != RPC_FLAVOR_GSS) {
		*ret_why = RPC_AUTH_REJECTEDCRED;
		return RPC_CALL_AUTH;
	}
	*ret_why = RPC_AUTH_BADVERF;
	if (!xdr_u32(&x, &flavor) || !xdr_opaque(&x, RPC_AUTH_MAX, &verf, &verf_n))
		return RPC_CALL_AUTH;
	if (req->cred.flavor == RPC_FLAVOR_TLS && (flavor != RPC_FLAVOR_NONE || verf_n))
		return RPC_CALL_AUTH;
	req->args = req->args_begin = x;
	return gss && !relayed ? RPC_CALL_GSS : RPC_CALL_OK;
}

static void put_mark(uint8_t *at, size_t wire_len)
{
	be32_put(at, 0x80000000u | (uint32_t)(wire_len - 4));
}

static void accept_as(struct rpc_req *req, uint32_t stat)
{
	uint8_t *h = req->wire = req->out.base - RPC_REPLY_HEAD;
	if (req->gss) {
		gss_reply(req, stat);
		return;
	}
	req->wire_len =
	    RPC_REPLY_HEAD + xdr_out_len(&req->out) + req->body_len + xdr_pad(req->body_len);
	put_mark(h, req->wire_len);
	be32_put(h + 4, req->xid);
	be32_put(h + 8, MSG_REPLY);
	be32_put(h + 12, REPLY_ACCEPTED);
	be32_put(h + 16, RPC_FLAVOR_NONE);
	be32_put(h + 20, 0);
	be32_put(h + 24, stat);
}

void rpc_msg_accept(struct rpc_req *req)
{
	accept_as(req, RPC_SUCCESS);
}

/* The verifier has 8 bytes and there are no results: 8 bytes more than the head has. */
void rpc_msg_starttls(struct rpc_req *req)
{
	uint8_t *h = req->wire = req->out.base - RPC_REPLY_HEAD;
	req->wire_len = RPC_REPLY_HEAD + 8;
	put_mark(h, req->wire_len);
	be32_put(h + 4, req->xid);
	be32_put(h + 8, MSG_REPLY);
	be32_put(h + 12, REPLY_ACCEPTED);
	be32_put(h + 16, RPC_FLAVOR_NONE);
	be32_put(h + 20, 8);
	memcpy(h + 24, "STARTTLS", 8);
	be32_put(h + 32, RPC_SUCCESS);
}

void rpc_msg_refuse(struct rpc_req *req, enum rpc_result stat, uint32_t low, uint32_t high)
{
	req->out.p = req->out.base;
	req->out.full = false;
	req->body_n = 0;
	req->body_len = 0;
	if (stat == RPC_PROG_MISMATCH) {
		xdr_put_u32(&req->out, low);
		xdr_put_u32(&req->out, high);
	}
	accept_as(req, stat);
}

static void deny(struct rpc_req *req, uint32_t what, uint32_t a, uint32_t b, unsigned nargs)
{
	uint8_t *h = req->wire = req->out.base - RPC_REPLY_HEAD;
	req->body_n = 0;
	req->body_len = 0;
	req->tail.iov_len = 0;
	req->wire_len = 20 + 4 * nargs;
	put_mark(h, req->wire_len);
	be32_put(h + 4, req->xid);
	be32_put(h + 8, MSG_REPLY);
	be32_put(h + 12, REPLY_DENIED);
	be32_put(h + 16, what);
	be32_put(h + 20, a);
	be32_put(h + 24, b);
}

void rpc_msg_deny_version(struct rpc_req *req)
{
	deny(req, DENY_MISMATCH, RPC_VERSION, RPC_VERSION, 2);
}

void rpc_msg_deny_auth(struct rpc_req *req, enum rpc_auth_stat why)
{
	deny(req, DENY_AUTH, why, 0, 1);
}

/* ---- the other way ---- */

size_t rpc_msg_call(uint8_t *to, size_t size, const struct rpc_back_call *call, uint32_t xid)
{
	struct xdr_out x = xdr_out_of(to + 4, size - 4);
	const uint32_t head[] = {xid, MSG_CALL, RPC_VERSION, call->prog, call->vers, call->proc};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_u32(&x, call->sys_len ? RPC_FLAVOR_SYS : RPC_FLAVOR_NONE);
	xdr_put_opaque(&x, call->sys, (uint32_t)call->sys_len);
	xdr_put_u32(&x, RPC_FLAVOR_NONE);
	xdr_put_u32(&x, 0);
	xdr_put_fixed(&x, call->args, (uint32_t)call->args_len);
	ASSERT(!x.full);
	put_mark(to, 4 + xdr_out_len(&x));
	return 4 + xdr_out_len(&x);
}

int rpc_msg_reply(const void *msg, size_t n, uint32_t xid, void *ret, size_t size, size_t *ret_len)
{
	struct xdr_in x = xdr_in_of(msg, n);
	uint32_t got, type, stat, flavor, len, accept;
	const uint8_t *verf;
	if (!xdr_u32(&x, &got) || got != xid || !xdr_u32(&x, &type) || type != MSG_REPLY)
		return -EAGAIN;
	if (!xdr_u32(&x, &stat) || stat != REPLY_ACCEPTED || !xdr_u32(&x, &flavor) ||
	    !xdr_opaque(&x, RPC_AUTH_MAX, &verf, &len) || !xdr_u32(&x, &accept) ||
	    accept != RPC_SUCCESS)
		return -ERR_PROTO;
	*ret_len = xdr_left(&x) < size ? xdr_left(&x) : size;
	if (*ret_len)
		memcpy(ret, x.p, *ret_len);
	return 0;
}
