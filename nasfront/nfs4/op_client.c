/* EXCHANGE_ID, SET_SSV, DESTROY_CLIENTID, RECLAIM_COMPLETE (RFC 8881 18.35, 18.47, 18.50, 18.51).
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/log.h"

#define NFS4ERR_ENCR_ALG_UNSUPP 10079

struct exchange {
	const uint8_t *verifier, *owner;
	uint32_t len, flags, protect;
};

static bool get_exchange(struct xdr_in *x, struct exchange *e)
{
	return xdr_fixed(x, NFS4_VERIFIER, &e->verifier) &&
	       xdr_opaque(x, NFS4_OPAQUE_LIMIT, &e->owner, &e->len) && xdr_u32(x, &e->flags) &&
	       xdr_u32(x, &e->protect) && e->protect <= SP4_SSV;
}

/* nfs_impl_id4<1>: what the client is made of; nobody needs to know. */
static bool skip_impl(struct xdr_in *x)
{
	const uint8_t *p;
	uint32_t n, len;
	if (!xdr_u32(x, &n) || n > 1)
		return false;
	return !n || (xdr_opaque(x, UINT32_MAX, &p, &len) && xdr_opaque(x, UINT32_MAX, &p, &len) &&
		      xdr_fixed(x, 12, &p));
}

static struct nfs4_who who_of(const struct exchange *e)
{
	return (struct nfs4_who){.owner = e->owner, .len = e->len, .verifier = e->verifier};
}

/* 18.35.4, cases 6 to 9. */
static enum nfs4_status update(struct nfs4_call *k, const struct exchange *e,
			       struct nfs4_client **ret)
{
	const struct nfs4_who w = who_of(e);
	struct nfs4_client *c = nfs4_client_by_owner(k->n, &w, true);
	if (!c)
		return NFS4ERR_NOENT;
	if (c->ending)
		return NFS4ERR_DELAY;
	if (memcmp(c->verifier, e->verifier, NFS4_VERIFIER))
		return NFS4ERR_NOT_SAME;
	if (!nfs4_client_is_of(c, k->req))
		return NFS4ERR_PERM;
	*ret = c;
	return NFS4_OK;
}

/* 18.35.4, cases 1 to 5. */
static enum nfs4_status make(struct nfs4_call *k, const struct exchange *e,
			     struct nfs4_client **ret)
{
	const struct nfs4_who w = who_of(e);
	struct nfs4_client *c = nfs4_client_by_owner(k->n, &w, true), *old;
	if (c && c->ending)
		return NFS4ERR_DELAY;
	if (c && !nfs4_client_is_of(c, k->req)) {
		if (!nfs4_client_replaceable(c))
			return NFS4ERR_CLID_INUSE;
		nfs4_client_forget(c);
		nfs4_client_free(c);
	} else if (c && memcmp(c->verifier, e->verifier, NFS4_VERIFIER) == 0) {
		*ret = c;
		return NFS4_OK;
	}
	old = nfs4_client_by_owner(k->n, &w, false);
	if (old)
		nfs4_client_free(old);
	return nfs4_client_new(ret, k->n, &w, k->req) ? NFS4ERR_DELAY : NFS4_OK;
}

static void put_result(struct nfs4_call *k, const struct nfs4_client *c)
{
	struct xdr_out *x = k->out;
	const char *name = k->n->o.name ? k->n->o.name : "isthmus";
	xdr_put_u64(x, c->id);
	xdr_put_u32(x, c->create_seq);
	xdr_put_u32(x, EXCHGID4_FLAG_USE_NON_PNFS | (c->confirmed ? EXCHGID4_FLAG_CONFIRMED_R : 0));
	xdr_put_u32(x, SP4_NONE);
	xdr_put_u64(x, 0); /* server_owner: every address of ours is one server's */
	xdr_put_string(x, name);
	xdr_put_string(x, name); /* server_scope */
	xdr_put_u32(x, 0);
}

enum nfs4_status nfs4_op_exchange_id(struct nfs4_call *k)
{
	struct exchange e;
	struct nfs4_client *c;
	if (!get_exchange(k->in, &e))
		return NFS4ERR_BADXDR;
	if (e.protect == SP4_MACH_CRED)
		return NFS4ERR_INVAL; /* wants RPCSEC_GSS */
	if (e.protect == SP4_SSV)
		return (enum nfs4_status)NFS4ERR_ENCR_ALG_UNSUPP;
	if (!skip_impl(k->in))
		return NFS4ERR_BADXDR;
	if (e.flags & ~(uint32_t)EXCHGID4_FLAG_MASK_A || e.len == 0)
		return NFS4ERR_INVAL;
	if (strlen(k->n->o.name ? k->n->o.name : "") > 64)
		return NFS4ERR_SERVERFAULT;
	enum nfs4_status st =
	    e.flags & EXCHGID4_FLAG_UPD_CONFIRMED_REC_A ? update(k, &e, &c) : make(k, &e, &c);
	if (!st)
		put_result(k, c);
	return st;
}

/* Of who has asked for the protection it serves; we give it to nobody (18.47.3). */
enum nfs4_status nfs4_op_set_ssv(struct nfs4_call *k)
{
	const uint8_t *p;
	uint32_t len;
	if (!xdr_opaque(k->in, UINT32_MAX, &p, &len) || !xdr_opaque(k->in, UINT32_MAX, &p, &len))
		return NFS4ERR_BADXDR;
	return NFS4ERR_INVAL;
}

enum nfs4_status nfs4_op_destroy_clientid(struct nfs4_call *k)
{
	uint64_t id;
	if (!xdr_u64(k->in, &id))
		return NFS4ERR_BADXDR;
	struct nfs4_client *c = nfs4_client_find(k->n, id, false);
	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	if (!nfs4_client_is_of(c, k->req))
		return NFS4ERR_WRONG_CRED;
	if (c->busy || c->nsessions || c->nopens || c->nlocks || c->ndelegs)
		return NFS4ERR_CLIENTID_BUSY;
	nfs4_client_forget(c);
	nfs4_client_free(c);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_reclaim_complete(struct nfs4_call *k)
{
	bool one_fs;
	if (!xdr_bool(k->in, &one_fs))
		return NFS4ERR_BADXDR;
	if (one_fs) /* of a file system that moved: none does */
		return k->kind == FH_NONE ? NFS4ERR_NOFILEHANDLE : NFS4_OK;
	if (k->client->reclaim_done)
		return NFS4ERR_COMPLETE_ALREADY;
	/* From now on it may get state: the next incarnation has to know it. */
	if (nfs4_client_keep(k->client))
		return NFS4ERR_DELAY;
	nfs4_client_reclaimed(k->client);
	return NFS4_OK;
}
