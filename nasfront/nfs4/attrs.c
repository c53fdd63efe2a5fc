/*
 * fattr4: a bitmap of attributes and their values, one after the other in order of number
 * (RFC 8881 chapter 5).
 *
 * One table says of each attribute how it is written; what stands in it is what is supported.
 * Owners are numbers in text ("1000"), as RFC 8881 5.9 has it for servers without names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

/* ---- bitmaps ---- */

bool nfs4_get_bitmap(struct xdr_in *x, struct nfs4_bitmap *ret)
{
	uint32_t n, w;
	memset(ret, 0, sizeof(*ret));
	if (!xdr_u32(x, &n) || n > 64)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!xdr_u32(x, &w))
			return false;
		if (i < NFS4_ATTR_WORDS)
			ret->w[i] = w;
	}
	return true;
}

void nfs4_put_bitmap(struct xdr_out *x, const struct nfs4_bitmap *b)
{
	unsigned n = NFS4_ATTR_WORDS;
	while (n && !b->w[n - 1])
		n--;
	xdr_put_u32(x, n);
	for (unsigned i = 0; i < n; i++)
		xdr_put_u32(x, b->w[i]);
}

/* ---- writing ---- */

/* What an attribute is made of. */
struct put {
	const struct nfs4_call *k;
	struct xdr_out *x;
	const struct nfs4_object *o;
};

static void put_time(struct xdr_out *x, const struct fs_time *t)
{
	xdr_put_u64(x, (uint64_t)t->sec);
	xdr_put_u32(x, t->nsec);
}

static void supported(struct nfs4_bitmap *ret);

/* Version 4.0 ends with mounted_on_fileid. */
static void only_of_minor(const struct nfs4_call *k, struct nfs4_bitmap *b)
{
	if (k->minor)
		return;
	b->w[1] &= (1u << (NFS4_ATTRS_V40 - 32)) - 1;
	b->w[2] = 0;
}

static void put_supported(const struct put *p)
{
	struct nfs4_bitmap b;
	supported(&b);
	only_of_minor(p->k, &b);
	nfs4_put_bitmap(p->x, &b);
}

/* What EXCLUSIVE4_1 may set: all that can be set. */
static void put_exclcreat(const struct put *p)
{
	static const struct nfs4_bitmap b = {{1u << FATTR4_SIZE | 1u << FATTR4_ACL,
					      1u << (FATTR4_MODE - 32) | 1u << (FATTR4_OWNER - 32) |
						  1u << (FATTR4_OWNER_GROUP - 32) |
						  1u << (FATTR4_TIME_ACCESS_SET - 32) |
						  1u << (FATTR4_TIME_MODIFY_SET - 32)}};
	nfs4_put_bitmap(p->x, &b);
}

/* Major: the file system. Minor: the export, for a client must not join two of them. */
static void put_fsid(const struct put *p)
{
	const struct export *a = p->o->absent;
	xdr_put_u64(p->x, a ? a->fs_id : p->o->mount ? p->o->mount->id : NFS4_PSEUDO_FS);
	xdr_put_u64(p->x, a ? a->id : p->o->mount ? p->o->exp->id : 0);
}

static void put_filehandle(const struct put *p)
{
	struct fs_fid f = {.ino = p->o->a.ino, .generation = p->o->a.generation};
	nfs4_put_fh(p->x, p->o->mount, p->o->exp, &f);
}

static void put_mounted_on(const struct put *p)
{
	xdr_put_u64(p->x, p->o->mounted_on ? p->o->mounted_on : p->o->a.ino);
}

static void put_time_delta(const struct put *p)
{
	xdr_put_u64(p->x, 0);
	xdr_put_u32(p->x, 1);
}

static void put_rawdev(const struct put *p)
{
	xdr_put_u32(p->x, p->o->a.rdev_major);
	xdr_put_u32(p->x, p->o->a.rdev_minor);
}

#define PUT(name, statement)                                                                       \
	static void put_##name(const struct put *p)                                                \
	{                                                                                          \
		const struct fs_attr *a __attribute__((unused)) = &p->o->a;                        \
		const struct fs_statfs *s __attribute__((unused)) = &p->o->space;                  \
		statement;                                                                         \
	}
PUT(acl, nfs4_put_acl(p->k, p->x, p->o->acl))
PUT(aclsupport, xdr_put_u32(p->x, 3)) /* ACL4_SUPPORT_ALLOW_ACL, _DENY_ACL */
PUT(type, xdr_put_u32(p->x, a->type))
PUT(zero, xdr_put_u32(p->x, 0))
PUT(true, xdr_put_bool(p->x, true))
PUT(change, xdr_put_u64(p->x, a->change))
PUT(size, xdr_put_u64(p->x, a->size))
PUT(lease, xdr_put_u32(p->x, (uint32_t)(p->k->n->o.lease_ns / NS_PER_S)))
PUT(error, xdr_put_u32(p->x, p->o->error))
PUT(fileid, xdr_put_u64(p->x, a->ino))
PUT(files_free, xdr_put_u64(p->x, s->free_files))
PUT(files_total, xdr_put_u64(p->x, s->total_files))
PUT(maxfilesize, xdr_put_u64(p->x, FS_SIZE_MAX))
PUT(maxlink, xdr_put_u32(p->x, FS_LINK_MAX))
PUT(maxname, xdr_put_u32(p->x, FS_NAME_MAX))
PUT(maxio, xdr_put_u64(p->x, FS_IO_MAX))
PUT(mode, xdr_put_u32(p->x, a->mode & 07777))
PUT(numlinks, xdr_put_u32(p->x, a->nlink))
PUT(owner, nfs4_put_owner(p->k, p->x, p->o->owner, a->uid))
PUT(group, nfs4_put_owner(p->k, p->x, p->o->group, a->gid))
PUT(quota_hard, xdr_put_u64(p->x, p->o->quota.hard))
PUT(quota_soft, xdr_put_u64(p->x, p->o->quota.soft))
PUT(quota_used, xdr_put_u64(p->x, p->o->quota.used))
PUT(space_avail, xdr_put_u64(p->x, s->avail_bytes))
PUT(space_free, xdr_put_u64(p->x, s->free_bytes))
PUT(space_total, xdr_put_u64(p->x, s->total_bytes))
PUT(space_used, xdr_put_u64(p->x, a->used))
PUT(charset_cap, xdr_put_u32(p->x, 1)) /* FSCHARSET_CAP4_CONTAINS_NON_UTF8: names are bytes */
PUT(clone_blksize, xdr_put_u32(p->x, FS_BLOCK_SIZE))
PUT(xattr, xdr_put_bool(p->x, p->o->mount))
PUT(locations, nfs4_put_locations(p->k, p->x, p->o))
PUT(locations_info, nfs4_put_locations_info(p->k, p->x, p->o))
PUT(atime, put_time(p->x, &a->atime))
PUT(btime, put_time(p->x, &a->btime))
PUT(ctime, put_time(p->x, &a->ctime))
PUT(mtime, put_time(p->x, &a->mtime))

enum attr_kind { ATTR_NONE, ATTR_READ = 1, ATTR_SET = 2, ATTR_SPACE = 4, ATTR_QUOTA = 8 };

static const struct attr_row {
	void (*put)(const struct put *p);
	unsigned kind;
} rows[NFS4_ATTR_WORDS * 32] = {
    [FATTR4_SUPPORTED_ATTRS] = {put_supported, ATTR_READ},
    [FATTR4_TYPE] = {put_type, ATTR_READ},
    [FATTR4_FH_EXPIRE_TYPE] = {put_zero, ATTR_READ}, /* FH4_PERSISTENT */
    [FATTR4_CHANGE] = {put_change, ATTR_READ},
    [FATTR4_SIZE] = {put_size, ATTR_READ | ATTR_SET},
    [FATTR4_LINK_SUPPORT] = {put_true, ATTR_READ},
    [FATTR4_SYMLINK_SUPPORT] = {put_true, ATTR_READ},
    [FATTR4_NAMED_ATTR] = {put_zero, ATTR_READ},
    [FATTR4_FSID] = {put_fsid, ATTR_READ},
    [FATTR4_UNIQUE_HANDLES] = {put_true, ATTR_READ},
    [FATTR4_LEASE_TIME] = {put_lease, ATTR_READ},
    [FATTR4_RDATTR_ERROR] = {put_error, ATTR_READ},
    [FATTR4_ACL] = {put_acl, ATTR_READ | ATTR_SET},
    [FATTR4_ACLSUPPORT] = {put_aclsupport, ATTR_READ},
    [FATTR4_CANSETTIME] = {put_true, ATTR_READ},
    [FATTR4_CASE_INSENSITIVE] = {put_zero, ATTR_READ},
    [FATTR4_CASE_PRESERVING] = {put_true, ATTR_READ},
    [FATTR4_CHOWN_RESTRICTED] = {put_true, ATTR_READ},
    [FATTR4_FILEHANDLE] = {put_filehandle, ATTR_READ},
    [FATTR4_FILEID] = {put_fileid, ATTR_READ},
    [FATTR4_FILES_AVAIL] = {put_files_free, ATTR_READ | ATTR_SPACE},
    [FATTR4_FILES_FREE] = {put_files_free, ATTR_READ | ATTR_SPACE},
    [FATTR4_FILES_TOTAL] = {put_files_total, ATTR_READ | ATTR_SPACE},
    [FATTR4_FS_LOCATIONS] = {put_locations, ATTR_READ},
    [FATTR4_HOMOGENEOUS] = {put_true, ATTR_READ},
    [FATTR4_MAXFILESIZE] = {put_maxfilesize, ATTR_READ},
    [FATTR4_MAXLINK] = {put_maxlink, ATTR_READ},
    [FATTR4_MAXNAME] = {put_maxname, ATTR_READ},
    [FATTR4_MAXREAD] = {put_maxio, ATTR_READ},
    [FATTR4_MAXWRITE] = {put_maxio, ATTR_READ},
    [FATTR4_MODE] = {put_mode, ATTR_READ | ATTR_SET},
    [FATTR4_NO_TRUNC] = {put_true, ATTR_READ},
    [FATTR4_NUMLINKS] = {put_numlinks, ATTR_READ},
    [FATTR4_OWNER] = {put_owner, ATTR_READ | ATTR_SET},
    [FATTR4_OWNER_GROUP] = {put_group, ATTR_READ | ATTR_SET},
    [FATTR4_QUOTA_AVAIL_HARD] = {put_quota_hard, ATTR_READ | ATTR_QUOTA},
    [FATTR4_QUOTA_AVAIL_SOFT] = {put_quota_soft, ATTR_READ | ATTR_QUOTA},
    [FATTR4_QUOTA_USED] = {put_quota_used, ATTR_READ | ATTR_QUOTA},
    [FATTR4_RAWDEV] = {put_rawdev, ATTR_READ},
    [FATTR4_SPACE_AVAIL] = {put_space_avail, ATTR_READ | ATTR_SPACE},
    [FATTR4_SPACE_FREE] = {put_space_free, ATTR_READ | ATTR_SPACE},
    [FATTR4_SPACE_TOTAL] = {put_space_total, ATTR_READ | ATTR_SPACE},
    [FATTR4_SPACE_USED] = {put_space_used, ATTR_READ},
    [FATTR4_TIME_ACCESS] = {put_atime, ATTR_READ},
    [FATTR4_TIME_ACCESS_SET] = {NULL, ATTR_SET},
    [FATTR4_TIME_CREATE] = {put_btime, ATTR_READ},
    [FATTR4_TIME_DELTA] = {put_time_delta, ATTR_READ},
    [FATTR4_TIME_METADATA] = {put_ctime, ATTR_READ},
    [FATTR4_TIME_MODIFY] = {put_mtime, ATTR_READ},
    [FATTR4_TIME_MODIFY_SET] = {NULL, ATTR_SET},
    [FATTR4_MOUNTED_ON_FILEID] = {put_mounted_on, ATTR_READ},
    [FATTR4_FS_LOCATIONS_INFO] = {put_locations_info, ATTR_READ},
    [FATTR4_SUPPATTR_EXCLCREAT] = {put_exclcreat, ATTR_READ},
    [FATTR4_FS_CHARSET_CAP] = {put_charset_cap, ATTR_READ},
    [FATTR4_CLONE_BLKSIZE] = {put_clone_blksize, ATTR_READ},
    /* NFS4_CHANGE_TYPE_IS_MONOTONIC_INCR (RFC 7862 12.2.3): never backwards */
    [FATTR4_CHANGE_ATTR_TYPE] = {put_zero, ATTR_READ},
    [FATTR4_XATTR_SUPPORT] = {put_xattr, ATTR_READ},
};

static void of_kind(struct nfs4_bitmap *ret, unsigned kind)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].kind & kind)
			bitmap_set(ret, i);
}

static void supported(struct nfs4_bitmap *ret)
{
	of_kind(ret, ATTR_READ | ATTR_SET);
}

void nfs4_attrs_readable(struct nfs4_bitmap *ret)
{
	of_kind(ret, ATTR_READ);
}

bool nfs4_attrs_need_space(const struct nfs4_bitmap *want)
{
	for (unsigned i = FATTR4_FILES_AVAIL; i <= FATTR4_SPACE_TOTAL; i++)
		if (bitmap_has(want, i) && (rows[i].kind & ATTR_SPACE))
			return true;
	return false;
}

bool nfs4_attrs_need_quota(const struct nfs4_bitmap *want)
{
	return bitmap_has(want, FATTR4_QUOTA_AVAIL_HARD) ||
	       bitmap_has(want, FATTR4_QUOTA_AVAIL_SOFT) || bitmap_has(want, FATTR4_QUOTA_USED);
}

void nfs4_put_fattr(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_bitmap *want,
		    const struct nfs4_object *o)
{
	const struct put p = {.k = k, .x = x, .o = o};
	struct nfs4_bitmap got = *want;
	only_of_minor(k, &got);
	if (o->absent)
		nfs4_absent_attrs(o, &got);
	if (!o->acl) /* READDIR does not ask for it */
		got.w[0] &= ~(1u << FATTR4_ACL);
	for (unsigned w = 0; w < NFS4_ATTR_WORDS; w++)
		for (uint32_t left = got.w[w]; left; left &= left - 1) {
			unsigned i = w * 32 + (unsigned)__builtin_ctz(left);
			if (!(rows[i].kind & ATTR_READ) ||
			    ((rows[i].kind & ATTR_QUOTA) && !o->have_quota))
				got.w[w] &= ~(left & -left);
		}
	nfs4_put_bitmap(x, &got);
	uint8_t *len = xdr_take(x, 4);
	for (unsigned w = 0; w < NFS4_ATTR_WORDS; w++)
		for (uint32_t left = got.w[w]; left; left &= left - 1)
			rows[w * 32 + (unsigned)__builtin_ctz(left)].put(&p);
	if (len && !x->full)
		be32_put(len, (uint32_t)(x->p - len - 4));
}

/* ---- reading ---- */

static bool get_time(struct xdr_in *x, struct fs_time *ret)
{
	uint64_t sec;
	if (!xdr_u64(x, &sec) || !xdr_u32(x, &ret->nsec))
		return false;
	ret->sec = (int64_t)sec;
	return true;
}

/* settime4: the server's clock or a time. */
static enum nfs4_status get_set_time(struct xdr_in *x, struct fs_setattr *s, unsigned now,
				     unsigned given, struct fs_time *ret)
{
	uint32_t how;
	if (!xdr_u32(x, &how) || how > 1)
		return NFS4ERR_BADXDR;
	s->which |= how ? given : now;
	if (how && !get_time(x, ret))
		return NFS4ERR_BADXDR;
	return how && ret->nsec >= NS_PER_S ? NFS4ERR_INVAL : NFS4_OK;
}

static enum nfs4_status get_one(struct nfs4_call *k, struct xdr_in *x, unsigned attr,
				struct nfs4_sattr *to)
{
	struct fs_setattr *s = &to->set;
	switch (attr) {
	case FATTR4_SIZE:
		s->which |= FS_SET_SIZE;
		return xdr_u64(x, &s->size) ? NFS4_OK : NFS4ERR_BADXDR;
	case FATTR4_ACL:
		to->have_acl = true;
		return nfs4_get_acl(k, x, &to->acl);
	case FATTR4_MODE:
		s->which |= FS_SET_MODE;
		if (!xdr_u32(x, &s->mode))
			return NFS4ERR_BADXDR;
		return s->mode > 07777 ? NFS4ERR_INVAL : NFS4_OK;
	case FATTR4_OWNER:
		s->which |= FS_SET_UID;
		return nfs4_get_owner(k, x, false, &s->uid);
	case FATTR4_OWNER_GROUP:
		s->which |= FS_SET_GID;
		return nfs4_get_owner(k, x, true, &s->gid);
	case FATTR4_TIME_ACCESS_SET:
		return get_set_time(x, s, FS_SET_ATIME_NOW, FS_SET_ATIME, &s->atime);
	case FATTR4_TIME_MODIFY_SET:
		return get_set_time(x, s, FS_SET_MTIME_NOW, FS_SET_MTIME, &s->mtime);
	default:
		return rows[attr].kind ? NFS4ERR_INVAL : NFS4ERR_ATTRNOTSUPP;
	}
}

/* Words beyond ours hold nothing we could set. */
static enum nfs4_status get_words(struct xdr_in *x, struct nfs4_bitmap *ret)
{
	uint32_t n, w, more = 0;
	memset(ret, 0, sizeof(*ret));
	if (!xdr_u32(x, &n) || n > 64)
		return NFS4ERR_BADXDR;
	for (uint32_t i = 0; i < n; i++) {
		if (!xdr_u32(x, &w))
			return NFS4ERR_BADXDR;
		if (i < NFS4_ATTR_WORDS)
			ret->w[i] = w;
		else
			more |= w;
	}
	return more ? NFS4ERR_ATTRNOTSUPP : NFS4_OK;
}

enum nfs4_status nfs4_get_sattr(struct nfs4_call *k, struct xdr_in *x, struct nfs4_sattr *ret,
				struct nfs4_bitmap *ret_got)
{
	struct nfs4_bitmap got;
	const uint8_t *p;
	uint32_t len;
	enum nfs4_status st = get_words(x, &got);
	memset(&ret->set, 0, sizeof(ret->set));
	ret->have_acl = false;
	if (st == NFS4ERR_BADXDR || !xdr_opaque(x, UINT32_MAX, &p, &len))
		return NFS4ERR_BADXDR;
	struct xdr_in v = xdr_in_of(p, len);
	for (unsigned i = 0; i < NFS4_ATTR_WORDS * 32 && !st; i++)
		if (bitmap_has(&got, i))
			st = get_one(k, &v, i, ret);
	if (!st && xdr_left(&v))
		st = NFS4ERR_BADXDR;
	*ret_got = got;
	return st;
}
