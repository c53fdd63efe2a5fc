/*
 * Calls to clients on the wire: CB_COMPOUND with CB_SEQUENCE (RFC 8881 20.9) and one operation:
 * CB_RECALL (20.2; RFC 7530 17.2), CB_OFFLOAD (RFC 7862 16.1), CB_NOTIFY_LOCK, CB_RECALL_ANY (RFC
 * 8881 20.11, 20.6).
 *
 *   call:   tag, minor version, callback_ident, number of operations,
 *           { 11, session, sequence, slot 0, highest slot 0, cachethis, referring calls: none }
 *           { operation, arguments }
 *   reply:  status, tag, number of results,
 *           { 11, status, session, sequence, slot, highest slot, target }, { operation, status }
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"

size_t nfs4_cb_put(const struct nfs4_cb *cb, uint8_t *to, size_t size)
{
	struct xdr_out x = xdr_out_of(to, size);
	xdr_put_u32(&x, 0); /* tag */
	xdr_put_u32(&x, cb->minor);
	xdr_put_u32(&x, cb->ident);
	xdr_put_u32(&x, cb->minor ? 2 : 1);
	if (cb->minor) {
		xdr_put_u32(&x, OP_CB_SEQUENCE);
		xdr_put_fixed(&x, cb->session, NFS4_SESSIONID);
		xdr_put_u32(&x, cb->seq);
		xdr_put_u32(&x, 0);
		xdr_put_u32(&x, 0);
		xdr_put_bool(&x, false);
		xdr_put_u32(&x, 0);
	}
	xdr_put_u32(&x, cb->op);
	xdr_put_fixed(&x, cb->args, cb->len);
	ASSERT(!x.full);
	return xdr_out_len(&x);
}

static void args_end(struct nfs4_cb *cb, const struct xdr_out *x)
{
	ASSERT(!x->full);
	cb->len = (uint32_t)xdr_out_len(x);
}

void nfs4_cb_recall(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE])
{
	struct xdr_out x = xdr_out_of(cb->args, sizeof(cb->args));
	cb->op = OP_CB_RECALL;
	nfs4_put_stateid(&x, sid);
	xdr_put_bool(&x, false); /* truncate */
	xdr_put_opaque(&x, fh, FH_SIZE);
	args_end(cb, &x);
}

void nfs4_cb_offload(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE],
		     enum nfs4_status status, uint64_t count, uint64_t verifier)
{
	struct xdr_out x = xdr_out_of(cb->args, sizeof(cb->args));
	cb->op = OP_CB_OFFLOAD;
	xdr_put_opaque(&x, fh, FH_SIZE);
	nfs4_put_stateid(&x, sid);
	xdr_put_u32(&x, status);
	if (!status)
		xdr_put_u32(&x, 0); /* nothing goes on: no stateid of it */
	xdr_put_u64(&x, count);
	if (!status) {
		xdr_put_u32(&x, FS_WRITE_UNSTABLE);
		xdr_put_u64(&x, verifier);
	}
	args_end(cb, &x);
}

void nfs4_cb_notify_lock(struct nfs4_cb *cb, const uint8_t fh[FH_SIZE], uint64_t client,
			 const uint8_t *owner, uint32_t len)
{
	struct xdr_out x = xdr_out_of(cb->args, sizeof(cb->args));
	cb->op = OP_CB_NOTIFY_LOCK;
	xdr_put_opaque(&x, fh, FH_SIZE);
	xdr_put_u64(&x, client);
	xdr_put_opaque(&x, owner, len);
	args_end(cb, &x);
}

void nfs4_cb_recall_any(struct nfs4_cb *cb, uint32_t keep, uint32_t mask)
{
	struct xdr_out x = xdr_out_of(cb->args, sizeof(cb->args));
	cb->op = OP_CB_RECALL_ANY;
	xdr_put_u32(&x, keep);
	xdr_put_u32(&x, 1); /* words of the bitmap */
	xdr_put_u32(&x, mask);
	args_end(cb, &x);
}

/* Not on the wire: those of our own numbers are nobody's answer. */
static bool get_status(struct xdr_in *x, enum nfs4_status *ret)
{
	uint32_t v;
	if (!xdr_u32(x, &v) || v > 19999)
		return false;
	*ret = (enum nfs4_status)v;
	return true;
}

/* False: it does not belong to what was asked. */
static bool get_sequence(struct xdr_in *x, const struct nfs4_cb *cb, enum nfs4_status *ret)
{
	const uint8_t *session;
	uint32_t op, seq, slot, highest, target;
	if (!xdr_u32(x, &op) || op != OP_CB_SEQUENCE || !get_status(x, ret))
		return false;
	if (*ret)
		return true;
	return xdr_fixed(x, NFS4_SESSIONID, &session) && xdr_u32(x, &seq) && xdr_u32(x, &slot) &&
	       xdr_u32(x, &highest) && xdr_u32(x, &target) && seq == cb->seq && slot == 0 &&
	       memcmp(session, cb->session, NFS4_SESSIONID) == 0;
}

int nfs4_cb_result(const struct nfs4_cb *cb, const void *reply, size_t len,
		   struct nfs4_cb_result *ret)
{
	struct xdr_in x = xdr_in_of(reply, len);
	struct nfs4_cb_result r = {.seq = NFS4_OK};
	enum nfs4_status all;
	const uint8_t *tag;
	uint32_t n, op;
	if (!get_status(&x, &all) || !xdr_opaque(&x, NFS4_OPAQUE_LIMIT, &tag, &n) ||
	    !xdr_u32(&x, &n) || n > (cb->minor ? 2u : 1u))
		return -ERR_PROTO;
	if (cb->minor) {
		if (n && !get_sequence(&x, cb, &r.seq))
			return -ERR_PROTO;
		if (!n)
			r.seq = all; /* refused before its first operation */
		if (r.seq && n < 2) {
			*ret = r;
			return 0;
		}
		if (r.seq || !n)
			return -ERR_PROTO;
		n--;
	}
	if (!n) {
		r.op = all;
	} else if (!xdr_u32(&x, &op) || op != cb->op || !get_status(&x, &r.op)) {
		return -ERR_PROTO;
	}
	/* The whole is as good as its last operation. */
	if (r.op != all || (!n && !all))
		return -ERR_PROTO;
	*ret = r;
	return 0;
}
