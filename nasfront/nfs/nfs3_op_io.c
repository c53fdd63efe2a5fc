/*
 * READ, WRITE, COMMIT (RFC 1813 3.3.6, 3.3.7, 3.3.21).
 *
 * READ sends file data from where fs_read() shows it and holds it, with the mount, until the
 * reply has left; what needs no wait is answered without a task. WRITE hands the payload to the
 * file system where it was received.
 */
#include <errno.h>
#include "nasfront/nfs/nfs3_xdr.h"

#define READ_HEAD (4 + 4 + NFS3_FATTR_SIZE + 4 + 4 + 4)

/* ---- READ ---- */

static void read_release(struct rpc_req *req)
{
	struct nfs_call *c = (struct nfs_call *)req->area;
	fs_read_done(c->mount->fs, &c->read);
	c->reading = false;
	nfs_end(c);
}

typedef int read_fn(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		    uint32_t len, struct fs_read *ret, struct fs_attr *post);

static int read_call(struct rpc_req *req, void *arg, read_fn *from)
{
	struct fs_attr post;
	uint64_t off;
	uint32_t count;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u64(&req->args, &off) || !xdr_u32(&req->args, &count))
		return nfs_garbage(c);
	count = MIN(count, (uint32_t)FS_IO_MAX);
	/* Should it go on in a task: so that many READs of one connection do not hold more of the
	 * cache than the connection's share. */
	if (from == fs_read_try)
		req->expect = count;
	/* Who may read is found out in a task, before the file is asked for. */
	if (from == fs_read_try && nfs_lent_to_write(c))
		return nfs_again(c);
	if (from != fs_read_try)
		nfs_check_data(c, false);
	nfs_look(c);
	if (!c->status) {
		int rc = from(c->mount->fs, &c->cred, &c->fid, off, count, &c->read, &post);
		if (rc == -EAGAIN && from == fs_read_try)
			return nfs_again(c);
		nfs_result(c, rc);
	}
	xdr_put_u32(&req->out, c->status);
	nfs3_put_attr_of(c, &c->fid, &post, !c->status);
	if (c->status)
		return nfs_end(c);
	xdr_put_u32(&req->out, c->read.len);
	xdr_put_bool(&req->out, c->read.eof);
	xdr_put_u32(&req->out, c->read.len);
	req->body = c->read.iov;
	req->body_n = c->read.iovcnt;
	req->body_len = c->read.len;
	req->release = read_release;
	c->read_bytes = c->read.len;
	c->reading = true;
	return nfs_end(c);
}

static int nfs3_read_fast(struct rpc_req *req, void *arg)
{
	return read_call(req, arg, fs_read_try);
}

int nfs3_read(struct rpc_req *req, void *arg)
{
	return read_call(req, arg, fs_read);
}

/* ---- WRITE ---- */

int nfs3_write(struct rpc_req *req, void *arg)
{
	struct fs_wcc wcc;
	uint64_t off;
	uint32_t count, stable, len;
	const uint8_t *data;
	wcc.have_pre = wcc.have_post = false;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u64(&req->args, &off) || !xdr_u32(&req->args, &count) ||
	    !xdr_u32(&req->args, &stable) || stable > FS_WRITE_FILE_SYNC ||
	    !xdr_opaque(&req->args, UINT32_MAX, &data, &len) || len < count)
		return nfs_garbage(c);
	struct iovec iov = {.iov_base = (void *)data, .iov_len = MIN(count, (uint32_t)FS_IO_MAX)};
	nfs_check_data(c, true);
	nfs_change(c);
	if (!c->status)
		nfs_result(c,
			   fs_write(c->mount->fs, &c->cred, &c->fid, off, &iov, 1, stable, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_wcc_of(c, &c->fid, &wcc);
	if (!c->status) {
		c->write_bytes = iov.iov_len;
		xdr_put_u32(&req->out, (uint32_t)iov.iov_len);
		xdr_put_u32(&req->out, stable);
		xdr_put_u64(&req->out, fs_write_verifier(c->mount->fs));
	}
	return nfs_end(c);
}

/* ---- COMMIT ---- */

int nfs3_commit(struct rpc_req *req, void *arg)
{
	struct fs_wcc wcc = {0};
	uint64_t off;
	uint32_t count;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u64(&req->args, &off) || !xdr_u32(&req->args, &count))
		return nfs_garbage(c);
	/* count 0: to the end of the file. */
	if (!c->status)
		nfs_result(c,
			   fs_commit(c->mount->fs, &c->fid, off, count ? count : UINT64_MAX, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_wcc_of(c, &c->fid, &wcc);
	if (!c->status)
		xdr_put_u64(&req->out, fs_write_verifier(c->mount->fs));
	return nfs_end(c);
}

/* ---- the table ---- */

const struct rpc_proc nfs3_procs[NFS3_PROCS] = {
    [0] = {"NULL", nfs3_null, NULL, 0},
    [1] = {"GETATTR", nfs3_getattr_fast, nfs3_getattr, 0},
    [2] = {"SETATTR", NULL, nfs3_setattr, RPC_CACHED},
    [3] = {"LOOKUP", nfs3_lookup_fast, nfs3_lookup, 0},
    [4] = {"ACCESS", nfs3_access_fast, nfs3_access, 0},
    [5] = {"READLINK", NULL, nfs3_readlink, 0},
    [6] = {"READ", nfs3_read_fast, nfs3_read, 0},
    /* Not for its reply's sake: a late duplicate must not overwrite what came after it. */
    [7] = {"WRITE", NULL, nfs3_write, RPC_CACHED},
    [8] = {"CREATE", NULL, nfs3_create, RPC_CACHED},
    [9] = {"MKDIR", NULL, nfs3_mkdir, RPC_CACHED},
    [10] = {"SYMLINK", NULL, nfs3_symlink, RPC_CACHED},
    [11] = {"MKNOD", NULL, nfs3_mknod, RPC_CACHED},
    [12] = {"REMOVE", NULL, nfs3_remove, RPC_CACHED},
    [13] = {"RMDIR", NULL, nfs3_rmdir, RPC_CACHED},
    [14] = {"RENAME", NULL, nfs3_rename, RPC_CACHED},
    [15] = {"LINK", NULL, nfs3_link, RPC_CACHED},
    [16] = {"READDIR", NULL, nfs3_readdir, 0},
    [17] = {"READDIRPLUS", NULL, nfs3_readdirplus, 0},
    [18] = {"FSSTAT", NULL, nfs3_fsstat, 0},
    [19] = {"FSINFO", NULL, nfs3_fsinfo, 0},
    [20] = {"PATHCONF", NULL, nfs3_pathconf, 0},
    [21] = {"COMMIT", NULL, nfs3_commit, 0},
};
