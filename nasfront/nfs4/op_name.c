/* CREATE, REMOVE, RENAME, LINK (RFC 8881 18.4, 18.25, 18.26, 18.9). */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

/* change_info4: ours is always exact. */
static void put_change(struct xdr_out *x, const struct fs_wcc *w)
{
	bool have = w->have_pre && w->have_post;
	xdr_put_bool(x, have);
	xdr_put_u64(x, have ? w->pre.change : 0);
	xdr_put_u64(x, have ? w->post.change : 0);
}

/* ---- CREATE ---- */

struct create_args {
	uint32_t type, major, minor;
	const uint8_t *target;
	uint32_t target_len;
	struct nfs4_name name;
	struct nfs4_sattr attr;
	struct nfs4_bitmap got;
};

static enum nfs4_status get_create(struct nfs4_call *k, struct create_args *c)
{
	struct xdr_in *x = k->in;
	memset(c, 0, offsetof(struct create_args, attr));
	if (!xdr_u32(x, &c->type) ||
	    (c->type == FS_LNK && !xdr_opaque(x, UINT32_MAX, &c->target, &c->target_len)) ||
	    ((c->type == FS_BLK || c->type == FS_CHR) &&
	     (!xdr_u32(x, &c->major) || !xdr_u32(x, &c->minor))))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_get_name(x, &c->name);
	if (st == NFS4ERR_BADXDR)
		return st;
	enum nfs4_status at = nfs4_get_sattr(k, x, &c->attr, &c->got);
	return at == NFS4ERR_BADXDR ? at : st ? st : at;
}

static enum nfs4_status check_create(const struct nfs4_call *k, const struct create_args *c)
{
	switch (c->type) {
	case FS_LNK:
		if (c->target_len == 0)
			return NFS4ERR_INVAL;
		return c->target_len > FS_SYMLINK_MAX ? NFS4ERR_NAMETOOLONG : NFS4_OK;
	case FS_BLK:
	case FS_CHR: /* the superuser's, as on the clients */
		return k->c.cred.uid ? NFS4ERR_PERM : NFS4_OK;
	case FS_DIR:
	case FS_SOCK:
	case FS_FIFO:
		return NFS4_OK;
	default:
		return NFS4ERR_BADTYPE;
	}
}

static int create(struct nfs4_call *k, const struct create_args *c, struct fs_attr *a,
		  struct fs_wcc *dir)
{
	struct fs *fs = k->c.mount->fs;
	const struct fs_cred *cred = &k->c.cred;
	switch (c->type) {
	case FS_DIR:
		return fs_mkdir(fs, cred, &k->c.fid, c->name.p, c->name.len, &c->attr.set, a, dir);
	case FS_LNK:
		return fs_symlink(fs, cred, &k->c.fid, c->name.p, c->name.len,
				  (const char *)c->target, c->target_len, &c->attr.set, a, dir);
	default:
		return fs_mknod(fs, cred, &k->c.fid, c->name.p, c->name.len, c->type, c->major,
				c->minor, &c->attr.set, a, dir);
	}
}

enum nfs4_status nfs4_op_create(struct nfs4_call *k)
{
	struct create_args c;
	struct fs_wcc dir = {0};
	struct fs_attr a;
	enum nfs4_status st = get_create(k, &c);
	if (st == NFS4ERR_FBIG) /* a list; CREATE has no such error */
		st = NFS4ERR_INVAL;
	st = st ?: check_create(k, &c);
	if (!st && (c.attr.set.which & FS_SET_SIZE))
		st = NFS4ERR_INVAL; /* none of these has one to be set */
	st = st ?: nfs4_status_of(k, create(k, &c, &a, &dir));
	if (st)
		return st;
	const struct fs_fid made = {.ino = a.ino, .generation = a.generation};
	if (c.attr.have_acl)
		st = nfs4_acl_store(k, &made, &c.attr.acl);
	if (st)
		return st; /* what is there has the mode it was given, and is not said to have more
			    */
	put_change(k->out, &dir);
	nfs4_put_bitmap(k->out, &c.got);
	nfs4_fh_file(k, &a);
	return NFS4_OK;
}

/* ---- REMOVE ---- */

/* Of these none may say PERM: a sticky directory. */
static enum nfs4_status name_status(struct nfs4_call *k, int rc)
{
	return rc == -EPERM ? NFS4ERR_ACCESS : nfs4_status_of(k, rc);
}

/* A directory is lent to nobody. */
static enum nfs4_status check_remove(struct nfs4_call *k, const struct nfs4_name *name)
{
	int rc = nfs_lent(&k->c)
		     ? fs_may_remove(k->c.mount->fs, &k->c.cred, &k->c.fid, name->p, name->len)
		     : 0;
	return rc == -EISDIR ? NFS4_OK : name_status(k, rc);
}

enum nfs4_status nfs4_op_remove(struct nfs4_call *k)
{
	struct fs_wcc dir = {0};
	struct nfs4_name name;
	enum nfs4_status st = nfs4_get_name(k->in, &name);
	st = st ?: check_remove(k, &name);
	st = st ?: nfs4_change_name(k, &k->c.fid, &name);
	if (st)
		return st;
	struct fs *fs = k->c.mount->fs;
	int rc = fs_remove(fs, &k->c.cred, &k->c.fid, name.p, name.len, &dir);
	/* That it was a directory is not to be seen any more. */
	if (rc == -EISDIR || (rc && fs_done_before(fs, &k->c.cred)))
		rc = fs_rmdir(fs, &k->c.cred, &k->c.fid, name.p, name.len, &dir);
	st = name_status(k, rc);
	if (!st)
		put_change(k->out, &dir);
	return st;
}

/* ---- RENAME, LINK ---- */

/* The saved object and the current one must be of one export. */
static enum nfs4_status both(const struct nfs4_call *k)
{
	if (k->saved.kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	if (k->saved.kind == FH_PSEUDO || k->saved.mount != k->c.mount ||
	    k->saved.exp->id != k->c.exp->id)
		return NFS4ERR_XDEV;
	return NFS4_OK;
}

/* RFC 8881 18.26.3: a directory and what is none do not take each other's place. */
static enum nfs4_status rename_status(struct nfs4_call *k, int rc)
{
	struct fs_attr a, b;
	if (rc == -EISDIR)
		return NFS4ERR_EXIST;
	if (rc != -ENOTDIR)
		return name_status(k, rc);
	bool dirs = fs_getattr(k->c.mount->fs, &k->saved.fid, &a) == 0 && a.type == FS_DIR &&
		    fs_getattr(k->c.mount->fs, &k->c.fid, &b) == 0 && b.type == FS_DIR;
	return dirs ? NFS4ERR_EXIST : NFS4ERR_NOTDIR;
}

static enum nfs4_status check_rename(struct nfs4_call *k, const struct nfs4_name *from,
				     const struct nfs4_name *to)
{
	return nfs_lent(&k->c)
		   ? rename_status(k, fs_may_rename(k->c.mount->fs, &k->c.cred, &k->saved.fid,
						    from->p, from->len, &k->c.fid, to->p, to->len))
		   : NFS4_OK;
}

enum nfs4_status nfs4_op_rename(struct nfs4_call *k)
{
	struct fs_wcc from_dir = {0}, to_dir = {0};
	struct nfs4_name from, to;
	enum nfs4_status st = nfs4_get_name(k->in, &from), st2;
	if (st == NFS4ERR_BADXDR)
		return st;
	st2 = nfs4_get_name(k->in, &to);
	st = st2 == NFS4ERR_BADXDR ? st2 : st ? st : st2;
	st = st ?: both(k);
	st = st ?: check_rename(k, &from, &to);
	st = st ?: nfs4_change_name(k, &k->saved.fid, &from);
	st = st ?: nfs4_change_name(k, &k->c.fid, &to);
	st = st
		 ?: rename_status(k,
				  fs_rename(k->c.mount->fs, &k->c.cred, &k->saved.fid, from.p,
					    from.len, &k->c.fid, to.p, to.len, &from_dir, &to_dir));
	if (st)
		return st;
	put_change(k->out, &from_dir);
	put_change(k->out, &to_dir);
	return NFS4_OK;
}

static enum nfs4_status change_saved(struct nfs4_call *k)
{
	const struct lock_file_key f = {.fs = k->saved.mount->id,
					.ino = k->saved.fid.ino,
					.generation = k->saved.fid.generation};
	return nfs4_use(k, &f, DELEG_USE_CHANGE, false);
}

static enum nfs4_status link_status(struct nfs4_call *k, int rc)
{
	return rc == -EPERM ? NFS4ERR_ISDIR : nfs4_status_of(k, rc);
}

static enum nfs4_status check_link(struct nfs4_call *k, const struct nfs4_name *name)
{
	return nfs_lent(&k->c)
		   ? link_status(k, fs_may_link(k->c.mount->fs, &k->c.cred, &k->saved.fid,
						&k->c.fid, name->p, name->len))
		   : NFS4_OK;
}

enum nfs4_status nfs4_op_link(struct nfs4_call *k)
{
	struct fs_wcc dir = {0};
	struct fs_attr post;
	struct nfs4_name name;
	enum nfs4_status st = nfs4_get_name(k->in, &name);
	st = st ?: both(k);
	st = st ?: check_link(k, &name);
	st = st ?: change_saved(k);
	st = st
		 ?: link_status(k, fs_link(k->c.mount->fs, &k->c.cred, &k->saved.fid, &k->c.fid,
					   name.p, name.len, &post, &dir));
	if (!st)
		put_change(k->out, &dir);
	return st;
}
