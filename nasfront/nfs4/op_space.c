/*
 * ALLOCATE, DEALLOCATE, SEEK, IO_ADVISE, COPY (RFC 7862 15.1, 15.4, 15.11, 15.5, 15.2).
 *
 * A COPY is done before it is answered, at most SHARE_MAX or COPY_MAX of it: a client asks for the
 * rest. Whole blocks of one file system are shared by both files where both offsets allow it
 * (fs_clone_range()); the rest goes from pages to pages in the head.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define COPY_MAX  (16u << 20)
#define COPY_STEP (256u << 10)
#define SHARE_MAX (1u << 30)

/* ---- blocks ---- */

typedef int space_fn(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		     uint64_t off, uint64_t len, struct fs_wcc *wcc);

static enum nfs4_status change_space(struct nfs4_call *k, space_fn *fn)
{
	struct stateid sid;
	uint64_t off, len;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u64(k->in, &off) || !xdr_u64(k->in, &len))
		return NFS4ERR_BADXDR;
	if (off + len < off)
		return NFS4ERR_INVAL;
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_WRITE);
	if (st || !len)
		return st;
	return nfs4_io_status(k, fn(k->c.mount->fs, &k->c.cred, &k->c.fid, off, len, NULL));
}

enum nfs4_status nfs4_op_allocate(struct nfs4_call *k)
{
	return change_space(k, fs_allocate);
}

enum nfs4_status nfs4_op_deallocate(struct nfs4_call *k)
{
	return change_space(k, fs_deallocate);
}

enum nfs4_status nfs4_op_seek(struct nfs4_call *k)
{
	struct stateid sid;
	struct fs_attr a;
	uint64_t off, at = 0;
	uint32_t what;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u64(k->in, &off) || !xdr_u32(k->in, &what))
		return NFS4ERR_BADXDR;
	if (what > FS_SEEK_HOLE)
		return NFS4ERR_UNION_NOTSUPP;
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_READ);
	if (st)
		return st;
	struct fs *fs = k->c.mount->fs;
	int rc = fs_getattr(fs, &k->c.fid, &a);
	if (rc == 0)
		rc = fs_seek(fs, &k->c.cred, &k->c.fid, off, what, &at);
	/* No more data, but inside the file: that is told, not refused. */
	if (rc == -ENXIO && off < a.size)
		at = a.size;
	else if (rc)
		return nfs4_io_status(k, rc);
	xdr_put_bool(k->out, at >= a.size);
	xdr_put_u64(k->out, at);
	return NFS4_OK;
}
_Static_assert(FS_SEEK_DATA == 0 && FS_SEEK_HOLE == 1, "data_content4");

/* Hints change nothing here. */
enum nfs4_status nfs4_op_io_advise(struct nfs4_call *k)
{
	static const struct nfs4_bitmap none;
	struct nfs4_bitmap hints;
	struct stateid sid;
	uint64_t off, count;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u64(k->in, &off) || !xdr_u64(k->in, &count) ||
	    !nfs4_get_bitmap(k->in, &hints))
		return NFS4ERR_BADXDR;
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_READ);
	if (!st)
		nfs4_put_bitmap(k->out, &none);
	return st;
}

/* ---- COPY ---- */

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

/* Both files may be read and written under what was given, and the ranges make sense. */
static enum nfs4_status check_copy(struct nfs4_call *k, struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	const struct lock_file_key from = {
	    .fs = s->mount->id, .ino = s->fid.ino, .generation = s->fid.generation};
	bool same = s->mount == k->c.mount && s->fid.ino == k->c.fid.ino;
	struct fs_attr a;
	enum nfs4_status st = nfs4_io_check_file(k, &from, &c->from_id, LOCK_SHARE_READ);
	st = st ?: nfs4_io_check(k, &c->to_id, LOCK_SHARE_WRITE);
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

static bool same_caller(const struct fs_cred *a, const struct fs_cred *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->no_gid0 == b->no_gid0;
}

/* How many bytes from the start on the files share now; whatever is refused is copied. */
static uint64_t copy_share(struct nfs4_call *k, const struct copy *c)
{
	const struct nfs4_saved *s = &k->saved;
	uint64_t n = ROUND_DOWN(MIN(c->count, (uint64_t)SHARE_MAX), (uint64_t)FS_BLOCK_SIZE);
	if (s->mount->fs != k->c.mount->fs || !same_caller(&s->cred, &k->c.cred) || !n ||
	    (c->from | c->to) % FS_BLOCK_SIZE)
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
