/*
 * COPY and CLONE (RFC 7862 15.2, 15.13): from the saved file to the current one; OFFLOAD_STATUS and
 * OFFLOAD_CANCEL (15.9, 15.8).
 *
 * Whole blocks of one file system are shared by both files where both offsets allow it
 * (fs_clone_range()), SHARE_MAX at most; the rest goes from pages to pages in the head. That is
 * done before the answer when it is no more than COPY_MAX. More goes on behind the answer (copy.c),
 * if the client allows it and can be called; else the first COPY_MAX are copied, and the client
 * asks for the rest.
 *
 * A CLONE shares all of its range or changes nothing, and nobody sees a part of it (15.13.3).
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define COPY_MAX  (16u << 20)
#define SHARE_MAX (1u << 30)

struct copy {
	struct nfs4_copy_args a;
	bool consecutive, synchronous;
	uint32_t servers;
};

static enum nfs4_status get_copy(struct nfs4_call *k, struct copy *c)
{
	struct xdr_in *x = k->in;
	if (!nfs4_get_stateid(x, &c->a.from_id) || !nfs4_get_stateid(x, &c->a.to_id) ||
	    !xdr_u64(x, &c->a.from) || !xdr_u64(x, &c->a.to) || !xdr_u64(x, &c->a.count) ||
	    !xdr_bool(x, &c->consecutive) || !xdr_bool(x, &c->synchronous) ||
	    !xdr_u32(x, &c->servers))
		return NFS4ERR_BADXDR;
	if (c->servers)
		return NFS4ERR_NOTSUPP; /* from another server */
	if (k->saved.kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	return k->saved.kind == FH_PSEUDO ? NFS4ERR_WRONG_TYPE : NFS4_OK;
}

enum nfs4_status nfs4_check_regular(struct nfs4_call *k, struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, &a);
	return !rc && a.type != FS_REG ? NFS4ERR_WRONG_TYPE : nfs4_status_of(k, rc);
}

/* Both files may be read and written under what was given. */
static enum nfs4_status check_ids(struct nfs4_call *k, const struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	const struct lock_file_key from = {
	    .fs = s->mount->id, .ino = s->fid.ino, .generation = s->fid.generation};
	enum nfs4_status st = nfs4_check_regular(k, s->mount->fs, &s->fid);
	st = st ?: nfs4_check_regular(k, k->c.mount->fs, &k->c.fid);
	/* Nobody is asked for a file by who may not read it. */
	if (!st && nfs_lent(&k->c) && !nfs_may_data(s->mount->fs, &s->cred, &s->fid, false))
		st = NFS4ERR_ACCESS;
	st = st ?: nfs4_io_check_file(k, &from, &c->a.from_id, LOCK_SHARE_READ);
	return st ?: nfs4_io_check(k, &c->a.to_id, LOCK_SHARE_WRITE);
}

static enum nfs4_status check_copy(struct nfs4_call *k, struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	const struct lock_file_key from = {
	    .fs = s->mount->id, .ino = s->fid.ino, .generation = s->fid.generation};
	const struct lock_file_key to = nfs4_file_key(k);
	struct fs_attr a;
	enum nfs4_status st = check_ids(k, c);
	if (!st && nfs4_same_file(&from, &to)) /* RFC 7862 15.2.3, whatever the ranges */
		return NFS4ERR_INVAL;
	st = st ?: nfs4_status_of(k, fs_getattr(s->mount->fs, &s->fid, &a));
	if (st)
		return st;
	if (c->a.from > a.size || c->a.count > a.size - c->a.from)
		return NFS4ERR_INVAL;
	if (!c->a.count) /* to the end */
		c->a.count = a.size - c->a.from;
	return c->a.to + c->a.count < c->a.to ? NFS4ERR_INVAL : NFS4_OK;
}

static bool same_groups(const struct fs_cred *a, const struct fs_cred *b)
{
	const uint32_t *p = a->list ? a->list : a->groups, *q = b->list ? b->list : b->groups;
	uint32_t n = a->list ? a->nlist : a->ngroups;
	return !a->list == !b->list && n == (b->list ? b->nlist : b->ngroups) &&
	       (!n || memcmp(p, q, n * sizeof(*p)) == 0);
}

/* One file system, one caller: two exports of it may make different ones of him. */
static bool can_share(const struct nfs4_call *k)
{
	const struct fs_cred *a = &k->saved.cred, *b = &k->c.cred;
	return k->saved.mount->fs == k->c.mount->fs && a->uid == b->uid && a->gid == b->gid &&
	       a->no_gid0 == b->no_gid0 && same_groups(a, b);
}

/* How many bytes from the start on the files share now; whatever is refused is copied. */
static uint64_t copy_share(struct nfs4_call *k, const struct nfs4_copy_args *a)
{
	const struct nfs4_saved *s = &k->saved;
	uint64_t n = ROUND_DOWN(MIN(a->count, (uint64_t)SHARE_MAX), (uint64_t)FS_BLOCK_SIZE);
	if (!can_share(k) || !n || (a->from | a->to) % FS_BLOCK_SIZE)
		return 0;
	return fs_clone_range(s->mount->fs, &k->c.cred, &s->fid, a->from, &k->c.fid, a->to, n, NULL)
		   ? 0
		   : n;
}

/* One piece; how much, 0 when the source has ended, or an error. */
static int copy_piece(struct nfs4_call *k, const struct nfs4_copy_args *a, uint64_t done,
		      uint64_t len)
{
	const struct nfs4_saved *s = &k->saved;
	const struct nfs4_copy_file from = {s->mount->fs, &s->cred, &s->fid, a->from + done};
	const struct nfs4_copy_file to = {k->c.mount->fs, &k->c.cred, &k->c.fid, a->to + done};
	return nfs4_copy_piece(&from, &to, len, &k->c.read);
}

/* COPY4resok; id: of what goes on. */
static void put_copy(struct nfs4_call *k, const struct stateid *id, uint64_t done,
		     uint64_t verifier)
{
	xdr_put_u32(k->out, id ? 1 : 0);
	if (id)
		nfs4_put_stateid(k->out, id);
	xdr_put_u64(k->out, done);
	xdr_put_u32(k->out, FS_WRITE_UNSTABLE);
	xdr_put_u64(k->out, verifier);
	xdr_put_bool(k->out, true); /* consecutive */
	xdr_put_bool(k->out, !id);  /* synchronous */
}

enum nfs4_status nfs4_op_copy(struct nfs4_call *k)
{
	struct stateid id;
	struct copy c;
	enum nfs4_status st = get_copy(k, &c);
	st = st ?: check_copy(k, &c);
	if (st)
		return st;
	/* Of before the first write: what is lost later is seen by the COMMIT. */
	uint64_t verifier = fs_write_verifier(k->c.mount->fs);
	uint64_t done = copy_share(k, &c.a), want = MIN(c.a.count, done + COPY_MAX);
	if (!done && want < c.a.count && !c.synchronous &&
	    nfs4_copy_start(k, &c.a, &id, &verifier) == NFS4_OK) {
		put_copy(k, &id, 0, verifier);
		return NFS4_OK;
	}
	int rc = 1;
	while (done < want && rc > 0) {
		rc = copy_piece(k, &c.a, done, want - done);
		if (rc > 0)
			done += (uint32_t)rc;
	}
	/* What was copied before an error counts: the next COPY meets it. */
	if (rc < 0 && !done)
		return nfs4_io_status(k, rc);
	k->c.read_bytes += done;
	k->c.write_bytes += done;
	put_copy(k, NULL, done, verifier);
	return NFS4_OK;
}

/* ---- OFFLOAD_STATUS, OFFLOAD_CANCEL ---- */

/* RFC 7862 4.8: which of several copies "the most recent" would be nobody knows. */
static enum nfs4_status find_copy(struct nfs4_call *k, struct nfs4_state **ret)
{
	struct lock_file_key f = nfs4_file_key(k);
	struct stateid sid;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (!st && !sid.seq)
		return NFS4ERR_BAD_STATEID;
	st = st ?: nfs4_state_find(k, &sid, ret);
	if (st)
		return st;
	return (*ret)->copy && nfs4_same_file(&(*ret)->file, &f) ? NFS4_OK : NFS4ERR_BAD_STATEID;
}

enum nfs4_status nfs4_op_offload_status(struct nfs4_call *k)
{
	struct nfs4_state *s;
	enum nfs4_status st = find_copy(k, &s), how;
	bool ended;
	if (st)
		return st;
	xdr_put_u64(k->out, nfs4_copy_progress(s->copy, &ended, &how));
	xdr_put_u32(k->out, ended);
	if (ended)
		xdr_put_u32(k->out, how);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_offload_cancel(struct nfs4_call *k)
{
	struct nfs4_state *s;
	enum nfs4_status st = find_copy(k, &s);
	if (!st)
		nfs4_copy_cancel(s);
	return st;
}

/* ---- CLONE ---- */

static enum nfs4_status get_clone(struct nfs4_call *k, struct copy *c)
{
	struct xdr_in *x = k->in;
	if (!nfs4_get_stateid(x, &c->a.from_id) || !nfs4_get_stateid(x, &c->a.to_id) ||
	    !xdr_u64(x, &c->a.from) || !xdr_u64(x, &c->a.to) || !xdr_u64(x, &c->a.count))
		return NFS4ERR_BADXDR;
	if (k->saved.kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	return k->saved.kind == FH_PSEUDO ? NFS4ERR_WRONG_TYPE : NFS4_OK;
}

enum nfs4_status nfs4_op_clone(struct nfs4_call *k)
{
	const struct nfs4_saved *s = &k->saved;
	struct copy c;
	enum nfs4_status st = get_clone(k, &c);
	st = st ?: check_ids(k, &c);
	if (st == NFS4ERR_LOCKED) /* it has none */
		st = NFS4ERR_OPENMODE;
	if (!st && !can_share(k))
		st = NFS4ERR_XDEV;
	return st
		   ?: nfs4_status_of(k, fs_clone_range(s->mount->fs, &k->c.cred, &s->fid, c.a.from,
						       &k->c.fid, c.a.to, c.a.count, NULL));
}
