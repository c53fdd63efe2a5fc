/* Attributes: reading them, changing them, and the size, which frees and zeroes blocks. */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

void wcc_pre(struct fs_wcc *wcc, const struct inode *in)
{
	if (!wcc)
		return;
	inode_attr(in, &wcc->pre);
	wcc->have_pre = true;
}

void wcc_post(struct fs_wcc *wcc, const struct inode *in)
{
	if (!wcc)
		return;
	inode_attr(in, &wcc->post);
	wcc->have_post = true;
}

static int getattr_body(struct fs *fs, const struct fs_fid *f, struct fs_attr *ret)
{
	struct inode in;
	int rc = inode_get_fid(fs, f, &in);
	if (!rc)
		inode_attr(&in, ret);
	return rc;
}

int fs_getattr_try(struct fs *fs, const struct fs_fid *f, struct fs_attr *ret)
{
	CHECK(fs, FS_MAGIC);
	return fs->dead ? -ERR_SHUTDOWN : getattr_body(fs, f, ret);
}

int fs_getattr(struct fs *fs, const struct fs_fid *f, struct fs_attr *ret)
{
	struct op op;
	int rc = fs_getattr_try(fs, f, ret);
	if (rc != -EAGAIN)
		return rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, getattr_body(fs, f, ret));
	op_end(&op);
	return rc;
}

int attr_check(const struct fs_cred *c, const struct inode *in, const struct fs_setattr *set)
{
	bool owner = cred_root(c) || c->uid == IN32(in, I_UID);
	unsigned w = set->which;
	int rc = 0;
	if (w & FS_SET_UID && !cred_root(c) && set->uid != c->uid)
		return -EPERM;
	if (w & FS_SET_GID && !cred_root(c) && (!owner || set->gid != IN32(in, I_GID)) &&
	    !cred_in_group(c, set->gid))
		return -EPERM;
	if (owner)
		return 0;
	/* Others need an entry of the list that says so. */
	if (w & FS_SET_MODE)
		rc = inode_may(c, in, MAY_SET_ACL);
	if (!rc && w & (FS_SET_UID | FS_SET_GID))
		rc = inode_may(c, in, MAY_SET_OWNER);
	if (!rc && w & (FS_SET_ATIME | FS_SET_MTIME))
		rc = inode_may(c, in, MAY_SET_TIMES);
	if (rc)
		return rc == -EACCES ? -EPERM : rc;
	if (w & (FS_SET_ATIME_NOW | FS_SET_MTIME_NOW)) {
		rc = inode_may(c, in, 2);
		if (rc == -EACCES)
			rc = inode_may(c, in, MAY_SET_TIMES);
	}
	return rc;
}

static void set_time(struct inode *in, const struct fs_time *t, unsigned sec, unsigned nsec)
{
	struct fs_time v = *t;
	if (v.nsec >= NS_PER_S)
		v.nsec = NS_PER_S - 1;
	inode_time_set(in, sec, nsec, &v);
}

void attr_apply(const struct fs_cred *c, struct inode *in, const struct fs_setattr *set)
{
	unsigned w = set->which;
	uint32_t mode = IN32(in, I_MODE);
	inode_stamp(in, STAMP_CTIME);
	if (w & FS_SET_UID) {
		quota_move(in, I_UID, set->uid);
		IN_SET32(in, I_UID, set->uid);
	}
	if (w & FS_SET_GID) {
		quota_move(in, I_GID, set->gid);
		IN_SET32(in, I_GID, set->gid);
	}
	if (w & (FS_SET_UID | FS_SET_GID) && IN_TYPE(in) == FS_REG)
		mode = mode_without_setid(mode); /* POSIX chown */
	if (w & FS_SET_MODE) {
		mode = set->mode & 07777;
		if (!cred_root(c) && IN_TYPE(in) != FS_DIR && !cred_in_group(c, IN32(in, I_GID)))
			mode &= ~02000u;
	}
	IN_SET32(in, I_MODE, mode);
	if (w & FS_SET_ATIME_NOW)
		inode_stamp(in, STAMP_ATIME);
	if (w & FS_SET_MTIME_NOW)
		inode_stamp(in, STAMP_MTIME);
	if (w & FS_SET_ATIME)
		set_time(in, &set->atime, I_ATIME, I_ATIME_NS);
	if (w & FS_SET_MTIME)
		set_time(in, &set->mtime, I_MTIME, I_MTIME_NS);
}

/* ---- size ---- */

struct cut_step {
	const struct fs_fid *f;
	bool more;
};

static int cut_body(struct fs *fs, struct cut_step *s)
{
	struct inode in;
	s->more = false;
	int rc = inode_get_fid(fs, s->f, &in);
	if (rc || !(in.p[I_FLAGS] & IF_CUT))
		return rc;
	fs->tx.last_blocks = true;
	rc = ext_cut(&in, (IN64(&in, I_FILESIZE) + BS - 1) / BS);
	if (rc < 0)
		return rc;
	s->more = rc;
	if (s->more)
		return 0;
	inode_touch(&in);
	in.p[I_FLAGS] &= (uint8_t)~IF_CUT;
	if (!IN32(&in, I_NLINK))
		return 0; /* it is there for that, too */
	rc = orphan_del(fs, in.ino);
	return rc == -ENOENT ? 0 : rc;
}

int file_cut(struct fs *fs, const struct fs_fid *f)
{
	struct cut_step s = {.f = f};
	int rc;
	do {
		struct op op;
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, cut_body(fs, &s));
		op_end(&op);
	} while (!rc && s.more);
	return rc;
}

static int map_body(struct fs *fs, const struct fs_fid *f, uint64_t fblk, struct map *ret)
{
	struct inode in;
	int rc = inode_get_fid(fs, f, &in);
	return rc ? rc : ext_map(&in, fblk, 1, ret);
}

int file_zero(struct fs *fs, const struct fs_fid *f, uint64_t from, uint64_t to)
{
	struct op op;
	struct map m;
	uint8_t *d;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, map_body(fs, f, from / BS, &m));
	op_end(&op);
	if (!rc && m.shared) {
		rc = file_unshare(fs, f, from / BS, from / BS + 1);
		op_begin(&op, fs, false);
		if (!rc)
			OP_LOOP(&op, rc, map_body(fs, f, from / BS, &m));
		op_end(&op);
	}
	if (rc || !m.phys || m.unwritten)
		return rc;
	if (posix_memalign((void **)&d, BS, BS))
		return -ENOMEM;
	struct io_hold hold;
	io_hold_begin(fs, &hold);
	rc = bdev_read(fs->dev, d, BS, m.phys * BS);
	if (!rc) {
		memset(d + from % BS, 0, to - from);
		rc = bdev_write(fs->dev, d, BS, m.phys * BS, 0);
	}
	io_hold_end(fs, &hold);
	fs->run.data_flush = true;
	free(d);
	return rc;
}

int file_zero_tail(struct fs *fs, const struct fs_fid *f, uint64_t size)
{
	return size % BS ? file_zero(fs, f, size, ROUND_UP(size, (uint64_t)BS)) : 0;
}

int file_lock_sized(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t end,
		    struct range_lock *l, uint64_t *size)
{
	for (;;) {
		struct fs_attr a;
		uint64_t start = ROUND_DOWN(MIN(off, *size), (uint64_t)BS);
		if (!range_lock(fs, l, f->ino, start, end))
			return 0;
		int rc = fs_getattr(fs, f, &a);
		if (!rc)
			*size = a.size;
		if (!rc && ROUND_DOWN(MIN(off, a.size), (uint64_t)BS) >= start)
			return 0;
		range_unlock(fs, l); /* it shrank meanwhile: lock more */
		if (rc)
			return rc;
	}
}

int file_lock(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t end,
	      struct range_lock *l, uint64_t *ret_size)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, &a);
	if (rc)
		return rc;
	*ret_size = a.size;
	return file_lock_sized(fs, f, off, end, l, ret_size);
}

struct setattr_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	const struct fs_setattr *set;
	const struct fs_time *guard;
	struct fs_wcc *wcc;
	enum memo_kind kind;
	bool more;
};

static int setattr_check(const struct setattr_args *a, const struct inode *in)
{
	struct fs_time ctime;
	inode_time_get(in, I_CTIME, I_CTIME_NS, &ctime);
	if (a->guard && (a->guard->sec != ctime.sec || a->guard->nsec != ctime.nsec))
		return -ERR_MISCOMPARE;
	if (a->set->which & FS_SET_SIZE) {
		if (IN_TYPE(in) != FS_REG)
			return IN_TYPE(in) == FS_DIR ? -EISDIR : -EINVAL;
		if (a->set->size > FS_SIZE_MAX)
			return -EFBIG;
		int rc = inode_may_data(a->cred, in, 2);
		if (rc)
			return rc;
	}
	return attr_check(a->cred, in, a->set);
}

static int setattr_body(struct fs *fs, struct setattr_args *a)
{
	struct inode in;
	a->more = false;
	fs->tx.unlimited = cred_root(a->cred);
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	wcc_pre(a->wcc, &in);
	rc = setattr_check(a, &in);
	if (rc)
		return rc;
	if (!a->set->which) { /* anybody may set nothing: that is no change, of ctime neither */
		wcc_post(a->wcc, &in);
		return 0;
	}
	if (a->set->which & FS_SET_SIZE) {
		uint64_t old = IN64(&in, I_FILESIZE);
		inode_stamp(&in, STAMP_MTIME);
		IN_SET64(&in, I_FILESIZE, a->set->size);
		fs->tx.last_blocks = true;
		if (a->set->size < old)
			rc = ext_cut(&in, (a->set->size + BS - 1) / BS);
		if (rc < 0)
			return rc;
		a->more = rc;
		if (rc && IN32(&in, I_NLINK) && (rc = orphan_add(fs, in.ino, ORPHAN_CUT)))
			return rc;
		if (a->more)
			in.p[I_FLAGS] |= IF_CUT;
		inode_drop_setid(a->cred, &in);
	}
	attr_apply(a->cred, &in, a->set);
	memo_note(a->cred, a->kind, &in);
	rc = a->set->which & FS_SET_MODE ? acl_follow_mode(&in) : 0;
	wcc_post(a->wcc, &in);
	return rc;
}

static int setattr_run(struct fs *fs, struct setattr_args *a)
{
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, setattr_body(fs, a));
	if (!rc && a->more)
		rc = file_cut(fs, a->f);
	return op_commit(&op, rc);
}

static int check_body(struct fs *fs, const struct setattr_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	return rc ? rc : setattr_check(a, &in);
}

int fs_may_setattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		   const struct fs_setattr *set)
{
	struct setattr_args a = {.cred = cred, .f = f, .set = set};
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, check_body(fs, &a));
	op_end(&op);
	return rc;
}

static int resize(struct fs *fs, struct setattr_args *a)
{
	struct range_lock l;
	struct op op;
	uint64_t size;
	int rc = file_lock(fs, a->f, a->set->size, UINT64_MAX, &l, &size);
	if (rc)
		return rc;
	op_begin(&op, fs, false); /* nothing is zeroed for who may not */
	OP_LOOP(&op, rc, check_body(fs, a));
	op_end(&op);
	if (!rc && a->set->size > size) {
		rc = file_cut(fs, a->f);
		if (!rc)
			rc = file_zero_tail(fs, a->f, size);
	}
	if (!rc || rc == -EACCES || rc == -EPERM || rc == -ERR_MISCOMPARE)
		rc = setattr_run(fs, a);
	range_unlock(fs, &l);
	return rc;
}

int setattr_as(struct fs *fs, enum memo_kind kind, const struct fs_cred *cred,
	       const struct fs_fid *f, const struct fs_setattr *set, const struct fs_time *guard,
	       struct fs_wcc *wcc)
{
	struct setattr_args a = {
	    .cred = cred, .f = f, .set = set, .guard = guard, .wcc = wcc, .kind = kind};
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (fs->read_only)
		return -EROFS;
	if (memo_find(fs, cred, kind, NULL))
		return memo_wcc(fs, f, wcc);
	return set->which & FS_SET_SIZE ? resize(fs, &a) : setattr_run(fs, &a);
}

int fs_setattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	       const struct fs_setattr *set, const struct fs_time *guard, struct fs_wcc *wcc)
{
	return setattr_as(fs, MEMO_SETATTR, cred, f, set, guard, wcc);
}
