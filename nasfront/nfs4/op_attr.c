/* GETATTR, SETATTR, ACCESS, VERIFY, NVERIFY, READLINK (RFC 8881 18.7, 18.30, 18.1, 18.31, 18.15,
 * 18.24). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define ATTRS_MAX     4096  /* what all attributes of one object take, at most, but for a list */
#define LOCATIONS_MAX 20480 /* and for where it is: two paths in each of two */

/* ---- the object ---- */

static enum nfs4_status object_pseudo(struct nfs4_call *k, struct nfs4_object *ret)
{
	const struct nfs4_pseudo *p = nfs4_pseudo_find(k->n, k->pseudo);
	if (!p)
		return NFS4ERR_STALE;
	nfs4_pseudo_attr(k->n, p, &ret->a);
	if (ret->acl)
		nfs4_acl_pseudo(&ret->acl->acl);
	return NFS4_OK;
}

/* Where an export begins the client sees the directory of the tree above it as mounted on. */
static uint64_t mounted_on(struct nfs4_call *k, const struct fs_attr *a)
{
	bool whole = strcmp(k->c.exp->subdir, "/") == 0;
	const struct fs_fid *root = whole ? &k->c.mount->root : &k->c.exp->root;
	if ((!whole && !k->c.exp->root_known) || a->ino != root->ino)
		return 0;
	const struct nfs4_pseudo *p = nfs4_pseudo_of(k->n, k->c.exp);
	return p ? p->id : 0;
}

static enum nfs4_status object_file(struct nfs4_call *k, const struct nfs4_bitmap *want,
				    struct nfs4_object *ret)
{
	struct fs *fs = k->c.mount->fs;
	int rc = k->may_wait ? fs_getattr(fs, &k->c.fid, &ret->a)
			     : fs_getattr_try(fs, &k->c.fid, &ret->a);
	if (rc == -EAGAIN && !k->may_wait)
		return NFS4_AGAIN;
	if (rc == 0 && nfs4_attrs_need_space(want))
		rc = fs_statfs_at(fs, &k->c.fid, &ret->space);
	ret->have_quota = nfs4_attrs_need_quota(want);
	if (rc == 0 && ret->have_quota)
		rc = fs_quota_at(fs, &k->c.fid, &ret->quota);
	ret->mount = k->c.mount;
	ret->exp = k->c.exp;
	if (rc == 0 && bitmap_has(want, FATTR4_MOUNTED_ON_FILEID))
		ret->mounted_on = mounted_on(k, &ret->a);
	enum nfs4_status st = nfs4_status_of(k, rc);
	return st ?: ret->acl ? nfs4_acl_load(k, ret->acl) : NFS4_OK;
}

enum nfs4_status nfs4_object_names(struct nfs4_call *k, const struct nfs4_bitmap *want,
				   struct nfs4_object *o, bool wait)
{
	enum nfs4_status st = NFS4_OK;
	name_put(o->owner);
	name_put(o->group);
	o->owner = o->group = NULL;
	if (bitmap_has(want, FATTR4_OWNER))
		st = nfs4_owner_name(k, false, o->a.uid, wait, &o->owner);
	if (!st && bitmap_has(want, FATTR4_OWNER_GROUP))
		st = nfs4_owner_name(k, true, o->a.gid, wait, &o->group);
	return st;
}

void nfs4_object_end(struct nfs4_object *o)
{
	name_put(o->owner);
	name_put(o->group);
	nfs4_acl_free(o->acl);
	o->owner = o->group = NULL;
	o->acl = NULL;
}

enum nfs4_status nfs4_object(struct nfs4_call *k, const struct nfs4_bitmap *want,
			     struct nfs4_object *ret)
{
	bool acl = bitmap_has(want, FATTR4_ACL);
	bool room = nfs4_attrs_need_space(want) || nfs4_attrs_need_quota(want);
	ret->mount = NULL;
	ret->exp = NULL;
	ret->absent = NULL;
	ret->mounted_on = 0;
	ret->error = 0;
	ret->acl = NULL;
	ret->owner = ret->group = NULL;
	ret->have_quota = false;
	memset(&ret->space, 0, sizeof(ret->space));
	if (k->kind == FH_ABSENT) {
		nfs4_absent_object(k, ret);
		return NFS4_OK;
	}
	if ((acl || (k->kind == FH_FILE && room)) && !k->may_wait)
		return NFS4_AGAIN;
	if (acl && !(ret->acl = calloc(1, sizeof(*ret->acl))))
		return NFS4ERR_DELAY;
	enum nfs4_status st =
	    k->kind == FH_PSEUDO ? object_pseudo(k, ret) : object_file(k, want, ret);
	st = st ?: nfs4_object_names(k, want, ret, k->may_wait);
	if (st)
		nfs4_object_end(ret);
	return st;
}

static size_t object_bytes(const struct nfs4_call *k, const struct nfs4_object *o)
{
	return ATTRS_MAX + LOCATIONS_MAX + (o->acl ? nfs4_acl_bytes(k, o->acl) : 0);
}

/* ---- GETATTR ---- */

/* Who has the file to write knows better: he is asked for it (RFC 8881 10.4.3 has that as well as
 * CB_GETATTR). */
static bool written(const struct nfs4_bitmap *want)
{
	return bitmap_has(want, FATTR4_SIZE) || bitmap_has(want, FATTR4_CHANGE) ||
	       bitmap_has(want, FATTR4_SPACE_USED) || bitmap_has(want, FATTR4_TIME_METADATA) ||
	       bitmap_has(want, FATTR4_TIME_MODIFY);
}

enum nfs4_status nfs4_op_getattr(struct nfs4_call *k)
{
	struct nfs4_bitmap want;
	struct nfs4_object o;
	if (!nfs4_get_bitmap(k->in, &want))
		return NFS4ERR_BADXDR;
	if (bitmap_has(&want, FATTR4_TIME_ACCESS_SET) || bitmap_has(&want, FATTR4_TIME_MODIFY_SET))
		return NFS4ERR_INVAL; /* only for setting */
	if (k->kind == FH_ABSENT && !nfs4_absent_asked(k, &want))
		return NFS4ERR_MOVED;
	enum nfs4_status st = written(&want) ? nfs4_look(k) : NFS4_OK;
	st = st ?: nfs4_object(k, &want, &o);
	if (st)
		return st;
	size_t have = xdr_out_len(k->out), left = nfs4_reply_left(k);
	nfs4_put_fattr(k, k->out, &want, &o);
	if (k->out->full) {
		/* Once more, with room for all there is. */
		k->out->p = k->out->base + have;
		k->out->full = false;
		if (nfs4_room(k, MIN(object_bytes(k, &o), left)))
			nfs4_put_fattr(k, k->out, &want, &o);
		else
			st = NFS4ERR_DELAY;
	}
	if (!st && (k->out->full || xdr_out_len(k->out) - have > left))
		st = NFS4ERR_REP_TOO_BIG;
	nfs4_object_end(&o);
	return st;
}

/* ---- VERIFY, NVERIFY ---- */

/* The values alone: the client's bitmap may end with zero words. */
static enum nfs4_status same_values(const struct nfs4_call *k, const struct nfs4_bitmap *want,
				    const struct nfs4_object *o, const uint8_t *vals, uint32_t len,
				    bool *ret_same)
{
	size_t size = object_bytes(k, o);
	enum nfs4_status st = NFS4ERR_SERVERFAULT;
	uint8_t *buf = malloc(size);
	struct xdr_out x = xdr_out_of(buf, size);
	struct nfs4_bitmap got;
	const uint8_t *have;
	uint32_t have_len;
	if (!buf)
		return NFS4ERR_DELAY;
	nfs4_put_fattr(k, &x, want, o);
	struct xdr_in mine = xdr_in_of(buf, xdr_out_len(&x));
	if (!x.full && nfs4_get_bitmap(&mine, &got) &&
	    xdr_opaque(&mine, UINT32_MAX, &have, &have_len)) {
		*ret_same = have_len == len && memcmp(have, vals, len) == 0;
		st = NFS4_OK;
	}
	free(buf);
	return st;
}

/* Are the attributes given those of the object? */
static enum nfs4_status compare(struct nfs4_call *k, bool *ret_same)
{
	struct nfs4_bitmap want, readable, got;
	struct nfs4_object o;
	const uint8_t *vals;
	uint32_t len;
	if (!nfs4_get_bitmap(k->in, &want) || !xdr_opaque(k->in, UINT32_MAX, &vals, &len))
		return NFS4ERR_BADXDR;
	nfs4_attrs_readable(&readable);
	if (bitmap_has(&want, FATTR4_RDATTR_ERROR) || bitmap_has(&want, FATTR4_TIME_ACCESS_SET) ||
	    bitmap_has(&want, FATTR4_TIME_MODIFY_SET))
		return NFS4ERR_INVAL;
	for (unsigned i = 0; i < NFS4_ATTR_WORDS; i++)
		if (want.w[i] & ~readable.w[i])
			return NFS4ERR_ATTRNOTSUPP;
	enum nfs4_status st = written(&want) ? nfs4_look(k) : NFS4_OK;
	st = st ?: nfs4_object(k, &want, &o);
	if (st)
		return st;
	got = want;
	if (o.absent)
		nfs4_absent_attrs(&o, &got);
	/* 8881 11.3.1: what is not known of it is as if it were not asked for, but not here */
	if (o.absent && (memcmp(&got, &want, sizeof(got)) != 0 || !nfs4_absent_asked(k, &want)))
		st = NFS4ERR_MOVED;
	st = st ?: same_values(k, &want, &o, vals, len, ret_same);
	nfs4_object_end(&o);
	return st;
}

enum nfs4_status nfs4_op_verify(struct nfs4_call *k)
{
	bool same;
	enum nfs4_status st = compare(k, &same);
	return st ?: same ? NFS4_OK : NFS4ERR_NOT_SAME;
}

enum nfs4_status nfs4_op_nverify(struct nfs4_call *k)
{
	bool same;
	enum nfs4_status st = compare(k, &same);
	return st ?: same ? NFS4ERR_SAME : NFS4_OK;
}

/* ---- SETATTR ---- */

/* What the file system says to it; before others are asked for the file, which it may be lent to.
 */
static enum nfs4_status check_set(struct nfs4_call *k, const struct nfs4_sattr *s)
{
	struct fs *fs = k->c.mount->fs;
	int rc = 0;
	if (!nfs_lent(&k->c))
		return NFS4_OK;
	if (s->set.which)
		rc = fs_may_setattr(fs, &k->c.cred, &k->c.fid, &s->set);
	if (!rc && s->have_acl)
		rc = fs_may_set_acl(fs, &k->c.cred, &k->c.fid);
	return nfs4_set_status(k, rc);
}

/* Sizes are files'; version 4.0 has an error for directories. */
enum nfs4_status nfs4_set_status(struct nfs4_call *k, int rc)
{
	if (rc == -EISDIR && k->minor)
		return NFS4ERR_WRONG_TYPE;
	return rc == -EOPNOTSUPP ? NFS4ERR_ATTRNOTSUPP : nfs4_status_of(k, rc);
}

enum nfs4_status nfs4_op_setattr(struct nfs4_call *k)
{
	static const struct nfs4_bitmap none;
	struct nfs4_bitmap got, done = none;
	struct nfs4_sattr s;
	struct stateid sid;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	st = st ?: nfs4_get_sattr(k, k->in, &s, &got);
	st = st ?: check_set(k, &s);
	if (!st && (s.set.which & FS_SET_SIZE))
		st = nfs4_io_check(k, &sid, LOCK_SHARE_WRITE);
	st = st ?: nfs4_change(k);
	if (!st && s.set.which)
		st = nfs4_set_status(
		    k, fs_setattr(k->c.mount->fs, &k->c.cred, &k->c.fid, &s.set, NULL, NULL));
	if (!st) {
		done = got;
		done.w[0] &= ~(1u << FATTR4_ACL);
		if (s.have_acl)
			st = nfs4_acl_store(k, &k->c.fid, &s.acl);
	}
	/* RFC 8881 18.30.2: the bitmap follows whatever the status is. */
	nfs4_put_bitmap(k->out, st ? &done : &got);
	k->keep_body = true;
	return st;
}

/* ---- ACCESS ---- */

enum {
	ACCESS4_READ = 1,
	ACCESS4_LOOKUP = 2,
	ACCESS4_MODIFY = 4,
	ACCESS4_EXTEND = 8,
	ACCESS4_DELETE = 16,
	ACCESS4_EXECUTE = 32,
	ACCESS4_XAREAD = 64, /* RFC 8276 */
	ACCESS4_XAWRITE = 128,
	ACCESS4_XALIST = 256,
	ACCESS4_ALL = 63,
	ACCESS4_XATTRS = 448,
};

/* R=4 W=2 X=1, as fs_access() has it. */
static enum nfs4_status rights(struct nfs4_call *k, const struct fs_attr *a, unsigned *ret)
{
	static const struct fs_cred nobody = {.uid = 65534, .gid = 65534};
	if (k->kind != FH_FILE || !a->acl) {
		*ret = fs_access_attr(k->kind == FH_FILE ? &k->c.cred : &nobody, a, 7);
		return NFS4_OK;
	}
	if (!k->may_wait)
		return NFS4_AGAIN;
	return nfs4_status_of(k, fs_access(k->c.mount->fs, &k->c.cred, &k->c.fid, 7, ret));
}

static uint32_t access_bits(const struct nfs4_call *k, const struct fs_attr *a, unsigned have)
{
	bool file = k->kind == FH_FILE;
	uint32_t bits = 0;
	if (have & 4)
		bits |= ACCESS4_READ | ACCESS4_XAREAD | ACCESS4_XALIST;
	if ((have & 2) && file && k->c.rule->read_write)
		bits |= ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_XAWRITE |
			(a->type == FS_DIR ? ACCESS4_DELETE : 0);
	if (have & 1)
		bits |= a->type == FS_DIR ? ACCESS4_LOOKUP : ACCESS4_EXECUTE;
	return bits;
}

enum nfs4_status nfs4_op_access(struct nfs4_call *k)
{
	static const struct nfs4_bitmap none;
	struct nfs4_object o;
	uint32_t want;
	if (!xdr_u32(k->in, &want))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_object(k, &none, &o);
	if (st)
		return st;
	unsigned have = 0;
	st = rights(k, &o.a, &have);
	if (st)
		return st;
	want &= k->minor < 2 ? ACCESS4_ALL : ACCESS4_ALL | ACCESS4_XATTRS;
	/* What does not apply to the kind of object is not judged. */
	uint32_t known = o.a.type == FS_DIR ? want & ~(uint32_t)ACCESS4_EXECUTE
					    : want & ~(uint32_t)(ACCESS4_LOOKUP | ACCESS4_DELETE);
	xdr_put_u32(k->out, known);
	xdr_put_u32(k->out, access_bits(k, &o.a, have) & known);
	return NFS4_OK;
}

/* ---- READLINK ---- */

enum nfs4_status nfs4_op_readlink(struct nfs4_call *k)
{
	char target[FS_SYMLINK_MAX + 1];
	uint32_t len = 0;
	struct fs_attr a;
	int rc = fs_readlink(k->c.mount->fs, &k->c.fid, target, sizeof(target), &len, &a);
	if (rc == -EINVAL)
		return NFS4ERR_WRONG_TYPE;
	enum nfs4_status st = nfs4_status_of(k, rc);
	if (st)
		return st;
	if (!nfs4_room(k, 8 + len))
		return NFS4ERR_REP_TOO_BIG;
	xdr_put_opaque(k->out, target, len);
	return NFS4_OK;
}
