/* GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR (RFC 8276 8.4): the file system's extended
 * attributes. */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

static enum nfs4_status xattr_status(struct nfs4_call *k, int rc)
{
	struct fs_attr a;
	switch (rc) {
	case -ENODATA:
		return NFS4ERR_NOXATTR;
	case -E2BIG:
		return NFS4ERR_XATTR2BIG;
	case -EPERM: /* neither file nor directory, or a sticky one of somebody else */
		return fs_getattr(k->c.mount->fs, &k->c.fid, &a) == 0 && a.type == FS_DIR
			   ? NFS4ERR_PERM
			   : NFS4ERR_WRONG_TYPE;
	default:
		return nfs4_status_of(k, rc);
	}
}

/* Names are not of directory entries: any byte but zero. */
static enum nfs4_status get_name(struct xdr_in *x, struct nfs4_name *ret)
{
	const uint8_t *p;
	if (!xdr_opaque(x, UINT32_MAX, &p, &ret->len))
		return NFS4ERR_BADXDR;
	ret->p = (const char *)p;
	if (!ret->len)
		return NFS4ERR_INVAL;
	if (ret->len > FS_NAME_MAX)
		return NFS4ERR_NAMETOOLONG;
	return memchr(p, 0, ret->len) ? NFS4ERR_BADCHAR : NFS4_OK;
}

static void put_change(struct xdr_out *x, const struct fs_wcc *w)
{
	bool have = w->have_pre && w->have_post;
	xdr_put_bool(x, have);
	xdr_put_u64(x, have ? w->pre.change : 0);
	xdr_put_u64(x, have ? w->post.change : 0);
}

enum nfs4_status nfs4_op_getxattr(struct nfs4_call *k)
{
	struct nfs4_name name;
	uint32_t len = 0, size;
	int rc;
	enum nfs4_status st = get_name(k->in, &name);
	if (st)
		return st;
	struct fs *fs = k->c.mount->fs;
	rc = fs_xattr_get(fs, &k->c.cred, &k->c.fid, name.p, name.len, NULL, 0, &len);
	do { /* it may grow between the two */
		size = len;
		if (rc)
			return xattr_status(k, rc);
		if (!nfs4_room(k, 8 + (size_t)size))
			return NFS4ERR_REP_TOO_BIG;
		rc = fs_xattr_get(fs, &k->c.cred, &k->c.fid, name.p, name.len, k->out->p + 4, size,
				  &len);
		if (rc == -ERANGE || (rc == 0 && !size && len))
			rc = 0;
		else if (rc)
			return xattr_status(k, rc);
	} while (len > size);
	uint8_t *p = xdr_take(k->out, 4 + (size_t)len + xdr_pad(len));
	if (!p)
		return NFS4ERR_REP_TOO_BIG;
	be32_put(p, len);
	memset(p + 4 + len, 0, xdr_pad(len));
	return NFS4_OK;
}

static enum nfs4_status check_change(struct nfs4_call *k)
{
	return nfs_lent(&k->c)
		   ? xattr_status(k, fs_may_set_xattr(k->c.mount->fs, &k->c.cred, &k->c.fid))
		   : NFS4_OK;
}

enum nfs4_status nfs4_op_setxattr(struct nfs4_call *k)
{
	struct fs_wcc wcc = {0};
	struct nfs4_name name;
	const uint8_t *value;
	uint32_t how, len;
	if (!xdr_u32(k->in, &how) || how > FS_XATTR_REPLACE)
		return NFS4ERR_BADXDR;
	enum nfs4_status st = get_name(k->in, &name);
	if (st == NFS4ERR_BADXDR || !xdr_opaque(k->in, UINT32_MAX, &value, &len))
		return NFS4ERR_BADXDR;
	st = st ?: len > FS_XATTR_MAX ? NFS4ERR_XATTR2BIG : NFS4_OK;
	st = st ?: check_change(k);
	st = st ?: nfs4_change(k);
	st = st
		 ?: xattr_status(k, fs_xattr_set(k->c.mount->fs, &k->c.cred, &k->c.fid, name.p,
						 name.len, value, len, how, &wcc));
	if (!st)
		put_change(k->out, &wcc);
	return st;
}
_Static_assert(FS_XATTR_EITHER == 0 && FS_XATTR_CREATE == 1 && FS_XATTR_REPLACE == 2,
	       "setxattr_option4");

enum nfs4_status nfs4_op_removexattr(struct nfs4_call *k)
{
	struct fs_wcc wcc = {0};
	struct nfs4_name name;
	enum nfs4_status st = get_name(k->in, &name);
	st = st ?: check_change(k);
	st = st ?: nfs4_change(k);
	st = st
		 ?: xattr_status(k, fs_xattr_remove(k->c.mount->fs, &k->c.cred, &k->c.fid, name.p,
						    name.len, &wcc));
	if (!st)
		put_change(k->out, &wcc);
	return st;
}

/* ---- LISTXATTRS ---- */

struct fill {
	struct xdr_out x;
	uint32_t count;
	uint64_t cookie; /* of the last */
};

static bool emit(void *arg, const char *name, uint32_t namelen, uint32_t len, uint64_t cookie)
{
	struct fill *f = arg;
	if (xdr_room(&f->x) < 4 + (size_t)namelen + xdr_pad(namelen))
		return false;
	xdr_put_opaque(&f->x, name, namelen);
	f->count++;
	f->cookie = cookie;
	return true;
}

#define LIST_HEAD_SIZE 12 /* cookie, count */
#define LIST_TAIL_SIZE 4  /* eof */

enum nfs4_status nfs4_op_listxattrs(struct nfs4_call *k)
{
	struct fill f = {.count = 0};
	bool eof = false;
	uint32_t max;
	if (!xdr_u64(k->in, &f.cookie) || !xdr_u32(k->in, &max))
		return NFS4ERR_BADXDR;
	max = MIN(max, (uint32_t)NFS4_DIR_MAX);
	bool cut = nfs4_reply_left(k) < max;
	if (cut)
		max = (uint32_t)nfs4_reply_left(k);
	if (max < LIST_HEAD_SIZE + LIST_TAIL_SIZE)
		return cut ? NFS4ERR_REP_TOO_BIG : NFS4ERR_TOOSMALL;
	if (!nfs4_room(k, max))
		return NFS4ERR_DELAY;
	f.x = xdr_out_of(k->out->p + LIST_HEAD_SIZE, max - LIST_HEAD_SIZE - LIST_TAIL_SIZE);
	int rc = fs_xattr_list(k->c.mount->fs, &k->c.cred, &k->c.fid, f.cookie, emit, &f, &eof);
	if (rc)
		return xattr_status(k, rc);
	if (!f.count && !eof)
		return cut ? NFS4ERR_REP_TOO_BIG : NFS4ERR_TOOSMALL;
	xdr_put_u64(k->out, f.cookie);
	xdr_put_u32(k->out, f.count);
	k->out->p = f.x.p;
	xdr_put_bool(k->out, eof);
	return NFS4_OK;
}
