/* REMOVE, RMDIR, RENAME, LINK (RFC 1813 3.3.12 to 3.3.15). */
#include "nasfront/nfs/nfs3_xdr.h"

typedef int remove_fn(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
		      const char *name, uint32_t namelen, struct fs_wcc *dir_wcc);

static int remove_entry(struct rpc_req *req, void *arg, remove_fn *fn, bool dir)
{
	struct fs_wcc wcc = {0};
	struct nfs_name name;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name))
		return nfs_garbage(c);
	/* RFC 1813 3.3.13: RMDIR of "." is INVAL, of ".." EXIST. */
	nfs3_refuse_dots(c, &name, dir && name.len == 2 ? NFS3ERR_EXIST : NFS3ERR_INVAL);
	if (!dir && nfs_lent(c))
		nfs_result(c, fs_may_remove(c->mount->fs, &c->cred, &c->fid, name.p, name.len));
	if (!dir)
		nfs_change_name(c, &c->fid, name.p, name.len);
	if (!c->status)
		nfs_result(c, fn(c->mount->fs, &c->cred, &c->fid, name.p, name.len, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_wcc_of(c, &c->fid, &wcc);
	return nfs_end(c);
}

int nfs3_remove(struct rpc_req *req, void *arg)
{
	return remove_entry(req, arg, fs_remove, false);
}

int nfs3_rmdir(struct rpc_req *req, void *arg)
{
	return remove_entry(req, arg, fs_rmdir, true);
}

int nfs3_rename(struct rpc_req *req, void *arg)
{
	struct fs_wcc from_wcc = {0}, to_wcc = {0};
	struct nfs_name from, to;
	struct fs_fid to_dir = {0};
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &from) || !nfs_second(c, &to_dir) || !nfs3_get_name(c, &to))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &from, NFS3ERR_INVAL);
	nfs3_refuse_dots(c, &to, NFS3ERR_INVAL);
	if (nfs_lent(c))
		nfs_result(c, fs_may_rename(c->mount->fs, &c->cred, &c->fid, from.p, from.len,
					    &to_dir, to.p, to.len));
	nfs_change_name(c, &c->fid, from.p, from.len);
	nfs_change_name(c, &to_dir, to.p, to.len);
	if (!c->status)
		nfs_result(c, fs_rename(c->mount->fs, &c->cred, &c->fid, from.p, from.len, &to_dir,
					to.p, to.len, &from_wcc, &to_wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_wcc_of(c, &c->fid, &from_wcc);
	nfs3_put_wcc_of(c, &to_dir, &to_wcc);
	return nfs_end(c);
}

int nfs3_link(struct rpc_req *req, void *arg)
{
	struct fs_wcc wcc = {0};
	struct fs_attr post;
	struct nfs_name name;
	struct fs_fid dir = {0};
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs_second(c, &dir) || !nfs3_get_name(c, &name))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &name, NFS3ERR_EXIST);
	if (nfs_lent(c))
		nfs_result(c, fs_may_link(c->mount->fs, &c->cred, &c->fid, &dir, name.p, name.len));
	nfs_change(c);
	if (!c->status)
		nfs_result(c, fs_link(c->mount->fs, &c->cred, &c->fid, &dir, name.p, name.len,
				      &post, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_attr_of(c, &c->fid, &post, !c->status);
	nfs3_put_wcc_of(c, &dir, &wcc);
	return nfs_end(c);
}
