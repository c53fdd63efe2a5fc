/*
 * COPY and CLONE (RFC 7862 15.2, 15.13): from the saved file to the current one.
 *
 * A COPY is done before it is answered, at most SHARE_MAX or COPY_MAX of it: a client asks for the
 * rest. Whole blocks of one file system are shared by both files where both offsets allow it
 * (fs_clone_range()); the rest goes from pages to pages in the head.
 *
 * A CLONE shares all of its range or fails. It is not atomic, as 15.13.3 would have it: others may
 * see a beginning of it, which an error (quota, space) leaves.
 */
#include "nasfront/nfs4/nfs4_impl.h"

#define COPY_MAX  (16u << 20)
#define COPY_STEP (256u << 10)
#define SHARE_MAX (1u << 30)

struct copy {
	struct stateid from_id, to_id;
	uint64_t from, to, count;
	bool consecutive, synchronous;
	uint32_t servers;
};

static enum nfs4_status get_copy(struct nfs4_call *k, struct copy *c)
{
	struct xdr_in *x = k->in;
	if (!nfs4_get_stateid(x, &c->from_id) || !nfs4_get_stateid(x, &c->to_id) ||
	    !xdr_u64(x, &c->from) || !xdr_u64(x, &c->to) || !xdr_u64(x, &c->count) ||
	    !xdr_bool(x, &c->consecutive) || !xdr_bool(x, &c->synchronous) ||
	    !xdr_u32(x, &c->servers))
		return NFS4ERR_BADXDR;
	if (c->servers)
		return NFS4ERR_NOTSUPP; /* from another server */
	if (k->saved.kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	return k->saved.kind == FH_PSEUDO ? NFS4ERR_ISDIR : NFS4_OK;
}

/* Both files may be read and written under what was given. */
static enum nfs4_status check_ids(struct nfs4_call *k, const struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	const struct lock_file_key from = {
	    .fs = s->mount->id, .ino = s->fid.ino, .generation = s->fid.generation};
	enum nfs4_status st = nfs4_io_check_file(k, &from, &c->from_id, LOCK_SHARE_READ);
	return st ?: nfs4_io_check(k, &c->to_id, LOCK_SHARE_WRITE);
}

static enum nfs4_status check_copy(struct nfs4_call *k, struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	bool same = s->mount == k->c.mount && s->fid.ino == k->c.fid.ino;
	struct fs_attr a;
	enum nfs4_status st = check_ids(k, c);
	st = st ?: nfs4_status_of(k, fs_getattr(s->mount->fs, &s->fid, &a));
	if (st)
		return st;
	if (a.type != FS_REG)
		return a.type == FS_DIR ? NFS4ERR_ISDIR : NFS4ERR_WRONG_TYPE;
	if (c->from > a.size || c->count > a.size - c->from)
		return NFS4ERR_INVAL;
	if (!c->count) /* to the end */
		c->count = a.size - c->from;
	if (c->to + c->count < c->to ||
	    (same && c->from < c->to + c->count && c->to < c->from + c->count))
		return NFS4ERR_INVAL;
	return NFS4_OK;
}

/* One file system, one caller: two exports of it may make different ones of him. */
static bool can_share(const struct nfs4_call *k)
{
	const struct fs_cred *a = &k->saved.cred, *b = &k->c.cred;
	return k->saved.mount->fs == k->c.mount->fs && a->uid == b->uid && a->gid == b->gid &&
	       a->no_gid0 == b->no_gid0;
}

/* How many bytes from the start on the files share now; whatever is refused is copied. */
static uint64_t copy_share(struct nfs4_call *k, const struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	uint64_t n = ROUND_DOWN(MIN(c->count, (uint64_t)SHARE_MAX), (uint64_t)FS_BLOCK_SIZE);
	if (!can_share(k) || !n || (c->from | c->to) % FS_BLOCK_SIZE)
		return 0;
	return fs_clone_range(s->mount->fs, &k->c.cred, &s->fid, c->from, &k->c.fid, c->to, n, NULL)
		   ? 0
		   : n;
}

/* One piece; how much, 0 when the source has ended, or an error. */
static int copy_piece(struct nfs4_call *k, const struct copy *c, uint64_t done, uint32_t len)
{
	const struct nfs4_saved *s = &k->saved;
	struct fs_read *r = &k->c.read;
	struct fs_attr a;
	int rc = fs_read(s->mount->fs, &s->cred, &s->fid, c->from + done, len, r, &a);
	if (rc < 0)
		return rc;
	uint32_t got = r->len;
	if (got)
		rc = fs_write(k->c.mount->fs, &k->c.cred, &k->c.fid, c->to + done, r->iov,
			      r->iovcnt, FS_WRITE_UNSTABLE, NULL);
	fs_read_done(s->mount->fs, r);
	return rc < 0 ? rc : (int)got;
}

enum nfs4_status nfs4_op_copy(struct nfs4_call *k)
{
	struct copy c;
	enum nfs4_status st = get_copy(k, &c);
	st = st ?: check_copy(k, &c);
	if (st)
		return st;
	uint64_t done = copy_share(k, &c), want = MIN(c.count, done + COPY_MAX);
	int rc = 1;
	while (done < want && rc > 0) {
		rc = copy_piece(k, &c, done, (uint32_t)MIN(want - done, (uint64_t)COPY_STEP));
		if (rc > 0)
			done += (uint32_t)rc;
	}
	/* What was copied before an error counts: the next COPY meets it. */
	if (rc < 0 && !done)
		return nfs4_io_status(k, rc);
	k->c.read_bytes += done;
	k->c.write_bytes += done;
	xdr_put_u32(k->out, 0); /* nothing goes on: no stateid of it */
	xdr_put_u64(k->out, done);
	xdr_put_u32(k->out, FS_WRITE_UNSTABLE);
	xdr_put_u64(k->out, fs_write_verifier(k->c.mount->fs));
	xdr_put_bool(k->out, true);
	xdr_put_bool(k->out, true);
	return NFS4_OK;
}

/* ---- CLONE ---- */

static enum nfs4_status get_clone(struct nfs4_call *k, struct copy *c)
{
	struct xdr_in *x = k->in;
	if (!nfs4_get_stateid(x, &c->from_id) || !nfs4_get_stateid(x, &c->to_id) ||
	    !xdr_u64(x, &c->from) || !xdr_u64(x, &c->to) || !xdr_u64(x, &c->count))
		return NFS4ERR_BADXDR;
	if (k->saved.kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	return k->saved.kind == FH_PSEUDO ? NFS4ERR_WRONG_TYPE : NFS4_OK;
}

static enum nfs4_status check_regular(struct nfs4_call *k, struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, &a);
	return !rc && a.type != FS_REG ? NFS4ERR_WRONG_TYPE : nfs4_status_of(k, rc);
}

enum nfs4_status nfs4_op_clone(struct nfs4_call *k)
{
	const struct nfs4_saved *s = &k->saved;
	struct copy c;
	enum nfs4_status st = get_clone(k, &c);
	st = st ?: check_regular(k, s->mount->fs, &s->fid);
	st = st ?: check_regular(k, k->c.mount->fs, &k->c.fid);
	st = st ?: check_ids(k, &c);
	if (!st && !can_share(k))
		st = NFS4ERR_XDEV;
	return st
		   ?: nfs4_status_of(k, fs_clone_range(s->mount->fs, &k->c.cred, &s->fid, c.from,
						       &k->c.fid, c.to, c.count, NULL));
}
