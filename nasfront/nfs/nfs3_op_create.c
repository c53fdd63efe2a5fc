/* CREATE, MKDIR, SYMLINK, MKNOD (RFC 1813 3.3.8 to 3.3.11). */
#include "nasfront/nfs/nfs3_xdr.h"

/* diropres3: on success handle and attributes of what was made; always the directory's wcc. */
static int create_reply(struct nfs_call *c, const struct fs_attr *a, struct fs_wcc *dir)
{
	struct xdr_out *x = &c->req->out;
	xdr_put_u32(x, c->status);
	if (!c->status) {
		xdr_put_bool(x, true);
		nfs3_put_fh(x, c, a);
		nfs3_put_post_op(x, a, c->mount->id);
	}
	nfs3_put_wcc_of(c, &c->fid, dir);
	return nfs_end(c);
}

/* createhow3: UNCHECKED and GUARDED carry attributes, EXCLUSIVE a verifier. */
static bool get_how(struct xdr_in *x, uint32_t *ret_how, struct fs_setattr *set, uint64_t *verifier)
{
	*set = (struct fs_setattr){0};
	*verifier = 0;
	if (!xdr_u32(x, ret_how))
		return false;
	if (*ret_how == FS_CREATE_EXCLUSIVE)
		return xdr_u64(x, verifier);
	return *ret_how <= FS_CREATE_GUARDED && nfs3_get_sattr(x, set);
}
_Static_assert(FS_CREATE_UNCHECKED == 0 && FS_CREATE_GUARDED == 1 && FS_CREATE_EXCLUSIVE == 2,
	       "createmode3");

int nfs3_create(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct fs_wcc dir = {0};
	struct fs_setattr set;
	struct nfs_name name;
	uint32_t how;
	uint64_t verifier;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name) || !get_how(&req->args, &how, &set, &verifier))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &name, NFS3ERR_EXIST);
	/* One that exists may be cut. */
	if (how == FS_CREATE_UNCHECKED && (set.which & FS_SET_SIZE))
		nfs_change_named(c, name.p, name.len);
	if (!c->status)
		nfs_result(c, fs_create(c->mount->fs, &c->cred, &c->fid, name.p, name.len, how,
					&set, verifier, &a, &dir));
	return create_reply(c, &a, &dir);
}

int nfs3_mkdir(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct fs_wcc dir = {0};
	struct fs_setattr set;
	struct nfs_name name;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name) || !nfs3_get_sattr(&req->args, &set))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &name, NFS3ERR_EXIST);
	if (!c->status)
		nfs_result(
		    c, fs_mkdir(c->mount->fs, &c->cred, &c->fid, name.p, name.len, &set, &a, &dir));
	return create_reply(c, &a, &dir);
}

int nfs3_symlink(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct fs_wcc dir = {0};
	struct fs_setattr set;
	struct nfs_name name;
	const uint8_t *target;
	uint32_t len;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name) || !nfs3_get_sattr(&req->args, &set) ||
	    !xdr_opaque(&req->args, UINT32_MAX, &target, &len))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &name, NFS3ERR_EXIST);
	if (!c->status && len > FS_SYMLINK_MAX)
		c->status = NFS3ERR_NAMETOOLONG;
	if (!c->status && len == 0)
		c->status = NFS3ERR_INVAL;
	if (!c->status)
		nfs_result(c, fs_symlink(c->mount->fs, &c->cred, &c->fid, name.p, name.len,
					 (const char *)target, len, &set, &a, &dir));
	return create_reply(c, &a, &dir);
}

/* mknoddata3: devices carry numbers, sockets and pipes attributes only. */
static bool get_node(struct xdr_in *x, uint32_t *type, struct fs_setattr *set, uint32_t *major,
		     uint32_t *minor)
{
	*set = (struct fs_setattr){0};
	*major = *minor = 0;
	if (!xdr_u32(x, type))
		return false;
	switch (*type) {
	case FS_BLK:
	case FS_CHR:
		return nfs3_get_sattr(x, set) && xdr_u32(x, major) && xdr_u32(x, minor);
	case FS_SOCK:
	case FS_FIFO:
		return nfs3_get_sattr(x, set);
	default:
		return *type >= FS_REG && *type <= FS_FIFO;
	}
}

int nfs3_mknod(struct rpc_req *req, void *arg)
{
	struct fs_attr a;
	struct fs_wcc dir = {0};
	struct fs_setattr set;
	struct nfs_name name;
	uint32_t type, major, minor;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!nfs3_get_name(c, &name) || !get_node(&req->args, &type, &set, &major, &minor))
		return nfs_garbage(c);
	nfs3_refuse_dots(c, &name, NFS3ERR_EXIST);
	if (!c->status && (type == FS_REG || type == FS_DIR || type == FS_LNK))
		c->status = NFS3ERR_BADTYPE;
	/* Device nodes are the superuser's, as on the clients. */
	if (!c->status && (type == FS_BLK || type == FS_CHR) && c->cred.uid)
		c->status = NFS3ERR_PERM;
	if (!c->status)
		nfs_result(c, fs_mknod(c->mount->fs, &c->cred, &c->fid, name.p, name.len, type,
				       major, minor, &set, &a, &dir));
	return create_reply(c, &a, &dir);
}
