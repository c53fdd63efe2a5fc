/*
 * LOCK, LOCKT, LOCKU, TEST_STATEID, FREE_STATEID (RFC 8881 18.10 to 18.12, 18.48, 18.38; RFC
 * 7530 16.10 to 16.12).
 *
 * The locks are in the table that NLM's are in. A request that would have to wait is denied, also
 * the blocking kinds: the client asks again, and is told when that may help (blocked.c).
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

struct lock_args {
	uint32_t type;
	bool reclaim, fresh;
	struct lock_range range;
	enum nfs4_status bad;
	struct stateid sid; /* of the open when fresh, else of the locks */
	uint32_t seqid;	    /* of whom sid is of */
	uint32_t lock_seqid;
	uint64_t client;
	const uint8_t *owner;
	uint32_t owner_len;
};

/* ---- arguments ---- */

static bool get_range(struct xdr_in *x, struct lock_args *l)
{
	uint64_t off, len;
	if (!xdr_u64(x, &off) || !xdr_u64(x, &len))
		return false;
	l->range.first = off;
	l->range.last = len == UINT64_MAX ? UINT64_MAX : off + len - 1;
	if (len == 0 || (len != UINT64_MAX && off + (len - 1) < off))
		l->bad = NFS4ERR_INVAL;
	return true;
}

static bool get_type(struct xdr_in *x, struct lock_args *l)
{
	return xdr_u32(x, &l->type) && l->type >= READ_LT && l->type <= WRITEW_LT;
}

static bool get_owner(struct xdr_in *x, struct lock_args *l)
{
	return xdr_u64(x, &l->client) && xdr_opaque(x, NFS4_OPAQUE_LIMIT, &l->owner, &l->owner_len);
}

static enum nfs4_status get_lock(struct nfs4_call *k, struct lock_args *l)
{
	struct xdr_in *x = k->in;
	enum nfs4_status st;
	memset(l, 0, sizeof(*l));
	if (!get_type(x, l) || !xdr_bool(x, &l->reclaim) || !get_range(x, l) ||
	    !xdr_bool(x, &l->fresh) || (l->fresh && !xdr_u32(x, &l->seqid)))
		return NFS4ERR_BADXDR;
	st = nfs4_arg_stateid(k, &l->sid);
	if (st == NFS4ERR_BADXDR || !xdr_u32(x, &l->lock_seqid) || (l->fresh && !get_owner(x, l)))
		return NFS4ERR_BADXDR;
	if (!l->fresh)
		l->seqid = l->lock_seqid;
	return st;
}

static bool writes(const struct lock_args *l)
{
	return l->type == WRITE_LT || l->type == WRITEW_LT;
}

/* ---- who is in the way ---- */

static const struct nfs4_client *client_of(struct nfs4 *n, const struct lock_client *locks)
{
	const struct nfs4_client *c;
	TAILQ_FOREACH (c, &n->clients, link)
		if (c->locks == locks)
			return c;
	return NULL;
}

static enum nfs4_status denied(struct nfs4_call *k, const struct lock_info *by)
{
	const struct nfs4_client *c = client_of(k->n, by->client);
	uint32_t skip = c ? 1 : 0; /* the owner's kind */
	struct xdr_out *x = k->out;
	if (!nfs4_room(k, 48 + by->owner_len))
		return NFS4ERR_REP_TOO_BIG;
	xdr_put_u64(x, by->range.first);
	xdr_put_u64(x, by->range.last == UINT64_MAX ? UINT64_MAX
						    : by->range.last - by->range.first + 1);
	xdr_put_u32(x, by->kind == LOCK_EXCLUSIVE ? WRITE_LT : READ_LT);
	xdr_put_u64(x, c ? c->id : 0); /* 0: by another protocol */
	xdr_put_opaque(x, (const uint8_t *)by->owner + skip,
		       MIN(by->owner_len - skip, (uint32_t)NFS4_OPAQUE_LIMIT));
	k->keep_body = true;
	return NFS4ERR_DENIED;
}

/* ---- LOCK ---- */

static bool of_this_file(const struct nfs4_call *k, const struct nfs4_state *s)
{
	struct lock_file_key f = nfs4_file_key(k);
	return s->file.ino == f.ino && s->file.fs == f.fs && s->file.generation == f.generation;
}

/* Version 4.0: a lock-owner that exists has counted. */
static enum nfs4_status check_counted(const struct nfs4_call *k, const struct lock_args *l)
{
	const struct nfs4_owner *o = nfs4_owner_find(k->client, OWNER_LOCK, l->owner, l->owner_len);
	if (l->client != k->client->id)
		return NFS4ERR_STALE_CLIENTID;
	return o && l->lock_seqid != o->seq->seq + 1 ? NFS4ERR_BAD_SEQID : NFS4_OK;
}

/* The state of a lock-owner under an open. *ret_new: it did not exist. */
static enum nfs4_status lock_state(struct nfs4_call *k, const struct lock_args *l,
				   struct nfs4_state *open, struct nfs4_state **ret, bool *ret_new)
{
	enum nfs4_status st = k->minor ? NFS4_OK : check_counted(k, l);
	if (st)
		return st;
	struct nfs4_owner *o = nfs4_owner_get(k->client, OWNER_LOCK, l->owner, l->owner_len);
	struct nfs4_state *have = o ? nfs4_state_of(o, &open->file) : NULL;
	if (o && !have) {
		have = nfs4_state_new(o, &open->file, open);
		*ret_new = have;
	}
	if (!have) {
		nfs4_owner_check(o);
		return NFS4ERR_DELAY;
	}
	if (o->seq) {
		o->seq->seq = l->lock_seqid;
		o->seq->op = OP_ILLEGAL; /* what is said again is with the open-owner */
		nfs4_record_owner(o);
	}
	*ret = have;
	return NFS4_OK;
}

static enum nfs4_status take(struct nfs4_call *k, const struct lock_args *l, struct nfs4_state *s)
{
	struct lock_ask a = nfs4_ask(s);
	struct lock_info by;
	a.kind = writes(l) ? LOCK_EXCLUSIVE : LOCK_SHARED;
	a.range = l->range;
	if (!(s->open->access & (writes(l) ? OPEN4_SHARE_ACCESS_WRITE : OPEN4_SHARE_ACCESS_READ)))
		return NFS4ERR_OPENMODE;
	int rc = lock_set(k->n->locks, &a);
	if (rc == 0) {
		nfs4_blocked_drop(k->client, &a);
		return NFS4_OK;
	}
	if (l->reclaim && rc == -EAGAIN)
		return NFS4ERR_RECLAIM_CONFLICT;
	if (nfs4_lock_later(k->n, rc) || !lock_test(k->n->locks, &a, &by))
		return NFS4ERR_DELAY;
	if (l->type == READW_LT || l->type == WRITEW_LT)
		nfs4_blocked_add(k, &a);
	return denied(k, &by);
}

enum nfs4_status nfs4_op_lock(struct nfs4_call *k)
{
	struct lock_args l;
	struct nfs4_state *s;
	bool new = false;
	enum nfs4_status st = get_lock(k, &l);
	st = st ?: nfs4_seq_state(k, &l.sid, l.seqid, &s);
	st = st ?: l.bad;
	st = st ?: nfs4_reclaim_check(k->client, l.reclaim);
	if (!st && (!of_this_file(k, s) || s->kind != (l.fresh ? OWNER_OPEN : OWNER_LOCK)))
		st = NFS4ERR_BAD_STATEID;
	if (!st && l.fresh)
		st = lock_state(k, &l, s, &s, &new);
	if (st)
		return st;
	st = take(k, &l, s);
	if (st) {
		if (new)
			nfs4_state_free(s);
		return st;
	}
	nfs4_state_step(k, s);
	nfs4_put_stateid(k->out, &k->sid);
	return NFS4_OK;
}

/* ---- LOCKT, LOCKU ---- */

enum nfs4_status nfs4_op_lockt(struct nfs4_call *k)
{
	uint8_t name[NFS4_OPAQUE_LIMIT + 1];
	struct lock_args l = {.bad = NFS4_OK};
	struct lock_info by;
	struct fs_attr a;
	if (!get_type(k->in, &l) || !get_range(k->in, &l) || !get_owner(k->in, &l))
		return NFS4ERR_BADXDR;
	if (l.bad)
		return l.bad;
	enum nfs4_status st = k->minor ? NFS4_OK : nfs4_client_of(k, l.client);
	st = st ?: nfs4_status_of(k, fs_getattr(k->c.mount->fs, &k->c.fid, &a));
	if (st)
		return st;
	if (a.type != FS_REG)
		return a.type == FS_DIR ? NFS4ERR_ISDIR : NFS4ERR_WRONG_TYPE;
	if (nlm_phase(k->n->o.nlm) != NLM_GRANTING)
		return NFS4ERR_GRACE;
	name[0] = OWNER_LOCK;
	memcpy(name + 1, l.owner, l.owner_len);
	struct lock_ask ask = {.file = nfs4_file_key(k),
			       .client = k->client->locks,
			       .owner = name,
			       .owner_len = l.owner_len + 1,
			       .kind = writes(&l) ? LOCK_EXCLUSIVE : LOCK_SHARED,
			       .range = l.range};
	if (!lock_test(k->n->locks, &ask, &by))
		return NFS4_OK;
	return nfs4_client_make_way(k->n, false) ? NFS4ERR_DELAY : denied(k, &by);
}

enum nfs4_status nfs4_op_locku(struct nfs4_call *k)
{
	struct lock_args l = {.bad = NFS4_OK};
	struct nfs4_state *s;
	uint32_t seqid;
	if (!get_type(k->in, &l) || !xdr_u32(k->in, &seqid))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_arg_stateid(k, &l.sid);
	if (st == NFS4ERR_BADXDR || !get_range(k->in, &l))
		return NFS4ERR_BADXDR;
	st = st ?: nfs4_seq_state(k, &l.sid, seqid, &s);
	st = st ?: l.bad;
	if (st)
		return st;
	if (s->kind != OWNER_LOCK || !of_this_file(k, s))
		return NFS4ERR_BAD_STATEID;
	struct lock_ask a = nfs4_ask(s);
	a.range = l.range;
	if (lock_unset(k->n->locks, &a))
		return NFS4ERR_DELAY; /* no room for two of one */
	nfs4_state_step(k, s);
	nfs4_put_stateid(k->out, &k->sid);
	return NFS4_OK;
}

/* ---- TEST_STATEID, FREE_STATEID ---- */

enum nfs4_status nfs4_op_test_stateid(struct nfs4_call *k)
{
	struct nfs4_state *s;
	struct stateid sid;
	uint32_t n;
	if (!xdr_u32(k->in, &n) || (uint64_t)n * 16 > xdr_left(k->in))
		return NFS4ERR_BADXDR;
	if (!nfs4_room(k, 4 + (size_t)n * 4))
		return NFS4ERR_REP_TOO_BIG;
	xdr_put_u32(k->out, n);
	for (uint32_t i = 0; i < n; i++) {
		if (!nfs4_get_stateid(k->in, &sid))
			return NFS4ERR_BADXDR;
		xdr_put_u32(k->out, nfs4_state_find(k, &sid, &s));
	}
	return NFS4_OK;
}

/* What was taken away is acknowledged so; not before it is stable that it was. */
static enum nfs4_status free_revoked(struct nfs4_state *s)
{
	if (!s->deleg->gone)
		return NFS4ERR_DELAY;
	nfs4_state_free(s);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_free_stateid(struct nfs4_call *k)
{
	struct nfs4_state *s;
	struct stateid sid;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	st = st ?: nfs4_state_find(k, &sid, &s);
	if (st == NFS4ERR_DELEG_REVOKED && nfs4_state_locate(k, &sid, &s) == NFS4_OK)
		return free_revoked(s);
	if (st)
		return st;
	if (s->deleg || s->copy)
		return NFS4ERR_LOCKS_HELD;
	struct lock_ask a = nfs4_ask(s);
	if (s->kind == OWNER_OPEN || lock_held(k->n->locks, &a))
		return NFS4ERR_LOCKS_HELD;
	nfs4_state_free(s);
	return NFS4_OK;
}
