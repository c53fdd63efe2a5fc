/* ALLOCATE, DEALLOCATE, SEEK, IO_ADVISE (RFC 7862 15.1, 15.4, 15.11, 15.5). */
#include <errno.h>
#include "nasfront/nfs4/nfs4_impl.h"

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
	st = st ?: nfs4_check_regular(k, k->c.mount->fs, &k->c.fid);
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_WRITE);
	/* These have no LOCKED. */
	if (st || !len)
		return st == NFS4ERR_LOCKED ? NFS4ERR_OPENMODE : st;
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
	st = st ?: nfs4_check_regular(k, k->c.mount->fs, &k->c.fid);
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
	st = st ?: nfs4_check_regular(k, k->c.mount->fs, &k->c.fid);
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_READ);
	if (st == NFS4ERR_LOCKED) /* it has none: where nothing may be read nothing is advised */
		st = NFS4_OK;
	if (!st)
		nfs4_put_bitmap(k->out, &none);
	return st;
}
