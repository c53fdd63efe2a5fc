/* The data types of NLM on the wire (XNFS, chapters 10 and 14): version 4 has offsets of 64 bits,
 * versions 1 and 3 of 32. */
#include <string.h>
#include "nasfront/nfs/nlm_impl.h"

bool nlm_get_obj(struct xdr_in *x, struct nlm_obj *o)
{
	return xdr_opaque(x, NLM_OBJ_MAX, &o->p, &o->len);
}

/* A name of a host. */
bool nlm_get_string(struct xdr_in *x, struct nlm_obj *o)
{
	return xdr_opaque(x, NLM_NAME_MAX, &o->p, &o->len) && !memchr(o->p, 0, o->len);
}

static bool get_offset(struct xdr_in *x, uint32_t vers, uint64_t *ret)
{
	uint32_t v;
	if (vers == 4)
		return xdr_u64(x, ret);
	if (!xdr_u32(x, &v))
		return false;
	*ret = v;
	return true;
}

void nlm_make_owner(struct nlm_args *a)
{
	be32_put(a->owner, a->svid);
	if (a->oh.len)
		memcpy(a->owner + 4, a->oh.p, a->oh.len);
	a->owner_len = 4 + a->oh.len;
}

static bool get_alock(struct xdr_in *x, struct nlm_args *a)
{
	if (!nlm_get_string(x, &a->name) || !nlm_get_obj(x, &a->fh) || !nlm_get_obj(x, &a->oh) ||
	    !xdr_u32(x, &a->svid) || !get_offset(x, a->vers, &a->off) ||
	    !get_offset(x, a->vers, &a->len))
		return false;
	/* Length 0: to the end of the file. So is what 32 bits cannot say, as clients of these
	 * versions have it. */
	const uint64_t most = a->vers == 4 ? UINT64_MAX : UINT32_MAX;
	bool beyond = a->len && a->off > most - (a->len - 1);
	a->too_big = beyond && a->vers == 4;
	a->range.first = a->off;
	a->range.last = a->len && !beyond ? a->off + (a->len - 1) : UINT64_MAX;
	nlm_make_owner(a);
	return true;
}

bool nlm_get_lock(struct xdr_in *x, struct nlm_args *a, enum nlm_op op)
{
	if (!nlm_get_obj(x, &a->cookie))
		return false;
	if ((op == NLM_LOCK || op == NLM_CANCEL || op == NLM_NM_LOCK) && !xdr_bool(x, &a->block))
		return false;
	if (op != NLM_UNLOCK && !xdr_bool(x, &a->exclusive))
		return false;
	if (!get_alock(x, a))
		return false;
	return (op != NLM_LOCK && op != NLM_NM_LOCK) ||
	       (xdr_bool(x, &a->reclaim) && xdr_u32(x, &a->state));
}

bool nlm_get_share(struct xdr_in *x, struct nlm_args *a)
{
	if (!nlm_get_obj(x, &a->cookie) || !nlm_get_string(x, &a->name) ||
	    !nlm_get_obj(x, &a->fh) || !nlm_get_obj(x, &a->oh) || !xdr_u32(x, &a->mode) ||
	    !xdr_u32(x, &a->access) || a->mode > 3 || a->access > 3 || !xdr_bool(x, &a->reclaim))
		return false;
	nlm_make_owner(a);
	return true;
}

void nlm_put_obj(struct xdr_out *x, const struct nlm_obj *o)
{
	xdr_put_opaque(x, o->p, o->len);
}

static void put_offset(struct xdr_out *x, uint32_t vers, uint64_t v)
{
	if (vers == 4)
		xdr_put_u64(x, v);
	else
		xdr_put_u32(x, (uint32_t)MIN(v, (uint64_t)UINT32_MAX));
}

void nlm_put_lock(struct xdr_out *x, const struct nlm_args *a)
{
	nlm_put_obj(x, &a->name);
	nlm_put_obj(x, &a->fh);
	nlm_put_obj(x, &a->oh);
	xdr_put_u32(x, a->svid);
	put_offset(x, a->vers, a->off);
	put_offset(x, a->vers, a->len);
}

void nlm_put_holder(struct xdr_out *x, uint32_t vers, const struct lock_info *by)
{
	uint64_t len = by->range.last == UINT64_MAX ? 0 : by->range.last - by->range.first + 1;
	/* What does not fit 32 bits reaches to the end for those who know no more. */
	if (vers != 4 && by->range.last >= UINT32_MAX)
		len = 0;
	xdr_put_bool(x, by->kind == LOCK_EXCLUSIVE);
	xdr_put_u32(x, nlm_svid(by));
	/* Owners of other protocols may be shorter. */
	uint32_t svid = MIN(by->owner_len, 4u);
	xdr_put_opaque(x, (const uint8_t *)by->owner + svid, by->owner_len - svid);
	put_offset(x, vers, by->range.first);
	put_offset(x, vers, len);
}

uint32_t nlm_svid(const struct lock_info *l)
{
	return l->owner_len >= 4 ? be32_get(l->owner) : 0;
}

/* Versions 1 and 3 know fewer reasons. */
uint32_t nlm_wire_stat(uint32_t vers, enum nlm_stat st)
{
	return vers != 4 && st > NLM_DEADLCK ? NLM_DENIED_NOLOCKS : st;
}
