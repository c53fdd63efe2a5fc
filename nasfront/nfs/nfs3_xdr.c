/* Encoding and decoding of NFSv3's data types. */
#include <string.h>
#include "nasfront/nfs/nfs3_xdr.h"

static uint8_t *put_time(uint8_t *p, const struct fs_time *t)
{
	/* nfstime3 counts unsigned seconds to 2106: what lies outside is shown at the edge. */
	int64_t sec = t->sec < 0 ? 0 : MIN(t->sec, (int64_t)UINT32_MAX);
	be32_put(p, (uint32_t)sec);
	be32_put(p + 4, t->sec < 0 ? 0 : t->nsec);
	return p + 8;
}

void nfs3_put_fattr(struct xdr_out *x, const struct fs_attr *a, uint64_t fsid)
{
	uint8_t *p = xdr_take(x, NFS3_FATTR_SIZE);
	if (!p)
		return;
	be32_put(p, a->type); /* enum fs_type has ftype3's numbers */
	be32_put(p + 4, a->mode & 07777);
	be32_put(p + 8, a->nlink);
	be32_put(p + 12, a->uid);
	be32_put(p + 16, a->gid);
	be64_put(p + 20, a->size);
	be64_put(p + 28, a->used);
	be32_put(p + 36, a->rdev_major);
	be32_put(p + 40, a->rdev_minor);
	be64_put(p + 44, fsid);
	be64_put(p + 52, a->ino);
	p = put_time(p + 60, &a->atime);
	p = put_time(p, &a->mtime);
	put_time(p, &a->ctime);
}
_Static_assert(FS_REG == 1 && FS_DIR == 2 && FS_BLK == 3 && FS_CHR == 4 && FS_LNK == 5 &&
		   FS_SOCK == 6 && FS_FIFO == 7,
	       "ftype3");

void nfs3_put_post_op(struct xdr_out *x, const struct fs_attr *a, uint64_t fsid)
{
	xdr_put_bool(x, a);
	if (a)
		nfs3_put_fattr(x, a, fsid);
}

void nfs3_put_wcc(struct xdr_out *x, const struct fs_wcc *w, uint64_t fsid)
{
	xdr_put_bool(x, w->have_pre);
	uint8_t *p = w->have_pre ? xdr_take(x, 24) : NULL;
	if (p) {
		be64_put(p, w->pre.size);
		p = put_time(p + 8, &w->pre.mtime);
		put_time(p, &w->pre.ctime);
	}
	nfs3_put_post_op(x, w->have_post ? &w->post : NULL, fsid);
}

void nfs3_put_fh(struct xdr_out *x, const struct nfs_call *c, const struct fs_attr *a)
{
	struct fh fh = {.fs_id = c->mount->id,
			.export_id = c->exp->id,
			.ino = a->ino,
			.generation = a->generation};
	xdr_put_u32(x, FH_SIZE);
	uint8_t *p = xdr_take(x, FH_SIZE);
	if (p)
		fh_encode(&fh, &c->mount->key, p);
}

bool nfs3_get_time(struct xdr_in *x, struct fs_time *ret)
{
	uint32_t sec;
	if (!xdr_u32(x, &sec) || !xdr_u32(x, &ret->nsec))
		return false;
	ret->sec = sec;
	/* More than a second of nanoseconds is nonsense that some client may send: keep it in. */
	ret->nsec = MIN(ret->nsec, 999999999u);
	return true;
}

/* An optional u32: set_mode3, set_uid3, set_gid3. */
static bool get_set_u32(struct xdr_in *x, struct fs_setattr *s, unsigned bit, uint32_t *ret)
{
	bool set;
	if (!xdr_bool(x, &set))
		return false;
	if (!set)
		return true;
	s->which |= bit;
	return xdr_u32(x, ret);
}

/* time_how: 0 leave, 1 the server's clock, 2 as given. */
static bool get_set_time(struct xdr_in *x, struct fs_setattr *s, unsigned now, unsigned given,
			 struct fs_time *ret)
{
	uint32_t how;
	if (!xdr_u32(x, &how) || how > 2)
		return false;
	if (how == 1)
		s->which |= now;
	if (how != 2)
		return true;
	s->which |= given;
	return nfs3_get_time(x, ret);
}

bool nfs3_get_sattr(struct xdr_in *x, struct fs_setattr *s)
{
	bool size;
	memset(s, 0, sizeof(*s));
	if (!get_set_u32(x, s, FS_SET_MODE, &s->mode) || !get_set_u32(x, s, FS_SET_UID, &s->uid) ||
	    !get_set_u32(x, s, FS_SET_GID, &s->gid) || !xdr_bool(x, &size))
		return false;
	if (size) {
		s->which |= FS_SET_SIZE;
		if (!xdr_u64(x, &s->size))
			return false;
	}
	s->mode &= 07777;
	return get_set_time(x, s, FS_SET_ATIME_NOW, FS_SET_ATIME, &s->atime) &&
	       get_set_time(x, s, FS_SET_MTIME_NOW, FS_SET_MTIME, &s->mtime);
}

bool nfs3_get_name(struct nfs_call *c, struct nfs_name *ret)
{
	const uint8_t *p;
	if (!xdr_opaque(&c->req->args, UINT32_MAX, &p, &ret->len))
		return false;
	ret->p = (const char *)p;
	if (c->status)
		return true;
	if (ret->len > FS_NAME_MAX)
		c->status = NFS3ERR_NAMETOOLONG;
	else if (ret->len == 0 || memchr(p, '/', ret->len) || memchr(p, 0, ret->len))
		c->status = NFS3ERR_INVAL;
	return true;
}

void nfs3_refuse_dots(struct nfs_call *c, const struct nfs_name *n, enum nfsstat3 dots)
{
	bool dot = n->len == 1 && n->p[0] == '.';
	bool dotdot = n->len == 2 && n->p[0] == '.' && n->p[1] == '.';
	if (!c->status && (dot || dotdot))
		c->status = dots;
}

void nfs3_put_attr_of(struct nfs_call *c, const struct fs_fid *f, const struct fs_attr *a,
		      bool have)
{
	struct fs_attr mem;
	if (!have && c->mount && f->ino && fs_getattr_try(c->mount->fs, f, &mem) == 0) {
		a = &mem;
		have = true;
	}
	nfs3_put_post_op(&c->req->out, have ? a : NULL, c->mount ? c->mount->id : 0);
}

void nfs3_put_wcc_of(struct nfs_call *c, const struct fs_fid *f, struct fs_wcc *w)
{
	if (!w->have_post && c->mount && f->ino)
		w->have_post = fs_getattr_try(c->mount->fs, f, &w->post) == 0;
	nfs3_put_wcc(&c->req->out, w, c->mount ? c->mount->id : 0);
}
