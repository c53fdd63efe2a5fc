/* LOOKUP and READLINK (RFC 1813 3.3.3, 3.3.5). */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs/nfs3_xdr.h"

static bool is_dotdot(const struct nfs_name *n)
{
	return n->len == 2 && n->p[0] == '.' && n->p[1] == '.';
}

/* ".." of the directory an export begins with is itself, and a directory that somebody moved out of
 * it has none: there is no way out of a subdirectory export. That takes waiting. Of whole file
 * systems the root is its own parent. */
static bool lookup_stays(struct nfs_call *c, struct nfs_name *n, bool may_wait, int *ret_rc)
{
	bool top = false;
	*ret_rc = 0;
	if (!is_dotdot(n) || strcmp(c->exp->subdir, "/") == 0)
		return false;
	*ret_rc = may_wait ? nfs_inside(c, &c->fid, &top) : -EAGAIN;
	return top;
}

static int lookup_reply(struct nfs_call *c, const struct fs_attr *a, const struct fs_attr *dir)
{
	struct xdr_out *x = &c->req->out;
	xdr_put_u32(x, c->status);
	if (!c->status) {
		nfs3_put_fh(x, c, a);
		nfs3_put_post_op(x, nfs_attr_stale(c, a) ? NULL : a, c->mount->id);
	}
	nfs3_put_attr_of(c, &c->fid, dir, !c->status);
	return nfs_end(c);
}

static int lookup(struct rpc_req *req, void *arg, bool fast)
{
	struct fs_attr a, dir;
	struct nfs_name name;
	int rc;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name))
		return nfs_garbage(c);
	if (!c->status) {
		if (lookup_stays(c, &name, !fast, &rc))
			name.len = 1; /* "." */
		if (rc == 0)
			rc = fast ? fs_lookup_try(c->mount->fs, &c->cred, &c->fid, name.p, name.len,
						  &a, &dir)
				  : fs_lookup(c->mount->fs, &c->cred, &c->fid, name.p, name.len, &a,
					      &dir);
		if (fast && rc == -EAGAIN)
			return nfs_again(c);
		nfs_result(c, rc);
	}
	return lookup_reply(c, &a, &dir);
}

int nfs3_lookup_fast(struct rpc_req *req, void *arg)
{
	return lookup(req, arg, true);
}

int nfs3_lookup(struct rpc_req *req, void *arg)
{
	return lookup(req, arg, false);
}

int nfs3_readlink(struct rpc_req *req, void *arg)
{
	struct fs_attr post;
	char target[FS_SYMLINK_MAX + 1];
	uint32_t len = 0;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!c->status)
		nfs_result(c,
			   fs_readlink(c->mount->fs, &c->fid, target, sizeof(target), &len, &post));
	if (!c->status && !rpc_reply_reserve(req, 256 + len))
		c->status = NFS3ERR_JUKEBOX;
	xdr_put_u32(&req->out, c->status);
	nfs3_put_attr_of(c, &c->fid, &post, !c->status);
	if (!c->status)
		xdr_put_opaque(&req->out, target, len);
	return nfs_end(c);
}
