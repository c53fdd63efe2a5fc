/* NULL, GETATTR, SETATTR, ACCESS (RFC 1813 3.3.0, 3.3.1, 3.3.2, 3.3.4). */
#include <errno.h>
#include "nasfront/nfs/nfs3_xdr.h"

int nfs3_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

/* ---- GETATTR ---- */

static int getattr_reply(struct nfs_call *c, const struct fs_attr *a)
{
	struct xdr_out *x = &c->req->out;
	xdr_put_u32(x, c->status);
	if (!c->status)
		nfs3_put_fattr(x, a, c->mount->id);
	return nfs_end(c);
}

int nfs3_getattr_fast(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MOUNTING);
	if (!c)
		return RPC_GARBAGE_ARGS;
	nfs_look(c);
	if (!c->status) {
		int rc = fs_getattr_try(c->mount->fs, &c->fid, &a);
		if (rc == -EAGAIN)
			return nfs_again(c);
		nfs_result(c, rc);
	}
	return getattr_reply(c, &a);
}

int nfs3_getattr(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MOUNTING);
	if (!c)
		return RPC_GARBAGE_ARGS;
	nfs_look(c);
	if (!c->status)
		nfs_result(c, fs_getattr(c->mount->fs, &c->fid, &a));
	return getattr_reply(c, &a);
}

/* ---- SETATTR ---- */

int nfs3_setattr(struct rpc_req *req, void *arg)
{
	struct fs_setattr set;
	struct fs_time guard;
	struct fs_wcc wcc = {0};
	bool check;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_sattr(&req->args, &set) || !xdr_bool(&req->args, &check) ||
	    (check && !nfs3_get_time(&req->args, &guard)))
		return nfs_garbage(c);
	if (nfs_lent(c))
		nfs_result(c, fs_may_setattr(c->mount->fs, &c->cred, &c->fid, &set));
	nfs_change(c);
	if (!c->status)
		nfs_result(c, fs_setattr(c->mount->fs, &c->cred, &c->fid, &set,
					 check ? &guard : NULL, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_wcc_of(c, &c->fid, &wcc);
	return nfs_end(c);
}

/* ---- ACCESS ---- */

enum {
	ACCESS_READ = 1,
	ACCESS_LOOKUP = 2,
	ACCESS_MODIFY = 4,
	ACCESS_EXTEND = 8,
	ACCESS_DELETE = 16,
	ACCESS_EXECUTE = 32,
};

/* LOOKUP and DELETE speak of directories, EXECUTE of the others. */
static uint32_t access_bits(const struct nfs_call *c, const struct fs_attr *a, unsigned have,
			    uint32_t want)
{
	uint32_t bits = 0;
	if (have & 4)
		bits |= ACCESS_READ;
	if ((have & 2) && c->rule->read_write)
		bits |= ACCESS_MODIFY | ACCESS_EXTEND | (a->type == FS_DIR ? ACCESS_DELETE : 0);
	if (have & 1)
		bits |= a->type == FS_DIR ? ACCESS_LOOKUP : ACCESS_EXECUTE;
	return bits & want;
}

static int access_reply(struct nfs_call *c, const struct fs_attr *a, unsigned have, uint32_t want)
{
	struct xdr_out *x = &c->req->out;
	xdr_put_u32(x, c->status);
	bool show = !c->status && !nfs_attr_stale(c, a);
	nfs3_put_post_op(x, show ? a : NULL, c->mount ? c->mount->id : 0);
	if (!c->status)
		xdr_put_u32(x, access_bits(c, a, have, want));
	return nfs_end(c);
}

int nfs3_access_fast(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	unsigned have = 0;
	uint32_t want;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u32(&req->args, &want))
		return nfs_garbage(c);
	if (!c->status) {
		int rc = fs_getattr_try(c->mount->fs, &c->fid, &a);
		if (rc == -EAGAIN || (!rc && a.acl))
			return nfs_again(c);
		nfs_result(c, rc);
		if (!rc)
			have = fs_access_attr(&c->cred, &a, 7);
	}
	return access_reply(c, &a, have, want);
}

int nfs3_access(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	unsigned have = 0;
	uint32_t want;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u32(&req->args, &want))
		return nfs_garbage(c);
	if (!c->status)
		nfs_result(c, fs_getattr(c->mount->fs, &c->fid, &a));
	if (!c->status)
		nfs_result(c, fs_access(c->mount->fs, &c->cred, &c->fid, 7, &have));
	return access_reply(c, &a, have, want);
}
