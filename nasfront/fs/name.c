/* Names: looking up and making. Each is one body; what it changes is one transaction. */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

static bool is_dot(const char *n, uint32_t len)
{
	return len == 1 && n[0] == '.';
}

static bool is_dotdot(const char *n, uint32_t len)
{
	return len == 2 && n[0] == '.' && n[1] == '.';
}

/* ---- lookup ---- */

struct lookup_args {
	const struct fs_cred *cred;
	const struct fs_fid *dir;
	const char *name;
	uint32_t len;
	struct fs_attr *ret, *dir_post;
};

static int lookup_body(struct fs *fs, const struct lookup_args *a)
{
	struct inode dir, in;
	struct dirent_ref e;
	int rc = inode_get_dir(fs, a->dir, &dir);
	if (rc)
		return rc;
	if (a->dir_post)
		inode_attr(&dir, a->dir_post);
	rc = inode_may(a->cred, &dir, 1);
	if (!rc)
		rc = name_check(a->name, a->len);
	if (rc)
		return rc;
	if (is_dot(a->name, a->len)) {
		in = dir;
	} else if (is_dotdot(a->name, a->len)) {
		rc = inode_get(fs, IN64(&dir, I_PARENT), &in);
	} else {
		rc = dir_find(&dir, a->name, a->len, &e);
		if (!rc)
			rc = inode_get(fs, e.ino, &in);
	}
	if (rc == -ESTALE) {
		corrupt_note(fs, dir.b->block, dir.ino, "an entry leads to no inode");
		rc = -ERR_CORRUPT;
	}
	if (!rc)
		inode_attr(&in, a->ret);
	return rc;
}

int fs_lookup_try(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
		  const char *name, uint32_t len, struct fs_attr *ret, struct fs_attr *dir_post)
{
	struct lookup_args a = {cred, dir, name, len, ret, dir_post};
	CHECK(fs, FS_MAGIC);
	return fs->dead ? -ERR_SHUTDOWN : lookup_body(fs, &a);
}

int fs_lookup(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t len, struct fs_attr *ret, struct fs_attr *dir_post)
{
	struct lookup_args a = {cred, dir, name, len, ret, dir_post};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, lookup_body(fs, &a));
	op_end(&op);
	return rc;
}

/* ---- making ---- */

struct make_args {
	const struct fs_cred *cred;
	const struct fs_fid *dir;
	const char *name;
	uint32_t len;
	enum fs_type type;
	const struct fs_setattr *set;
	struct fs_attr *ret;
	struct fs_wcc *wcc;
	enum fs_create_how how;
	uint64_t verifier;
	uint32_t major, minor;
	const char *target;
	uint32_t targetlen;
	bool existed;
};

static int dir_enter(struct fs *fs, const struct make_args *a, struct inode *dir)
{
	int rc = inode_get_dir(fs, a->dir, dir);
	if (rc)
		return rc;
	wcc_pre(a->wcc, dir);
	wcc_post(a->wcc, dir);
	rc = inode_may(a->cred, dir, 1);
	if (!rc)
		rc = name_check(a->name, a->len);
	if (!rc && (is_dot(a->name, a->len) || is_dotdot(a->name, a->len)))
		rc = -EEXIST;
	return rc;
}

static uint32_t mode_of(const struct make_args *a, const struct inode *dir)
{
	uint32_t mode = a->type == FS_LNK ? 0777 : a->type == FS_DIR ? 0755 : 0644;
	if (a->set && a->set->which & FS_SET_MODE)
		mode = a->set->mode & 07777;
	if (a->type == FS_DIR && IN32(dir, I_MODE) & 02000)
		mode |= 02000;
	return mode;
}

static int target_store(struct inode *in, const char *target, uint32_t len)
{
	inode_touch(in);
	IN_SET64(in, I_FILESIZE, len);
	if (len <= I_AREA_SIZE) {
		inode_touch_area(in);
		memcpy(in->p + I_AREA, target, len);
		IN_SET32(in, I_INLINE, len);
		return 0;
	}
	struct tree t = tree_of(in);
	for (uint32_t at = 0; at < len; at += SYMLINK_CHUNK) {
		int rc = tree_insert(&t, at / SYMLINK_CHUNK, target + at,
				     MIN(len - at, (uint32_t)SYMLINK_CHUNK));
		if (rc)
			return rc;
	}
	return 0;
}

static enum memo_kind memo_kind(const struct make_args *a)
{
	return a->type == FS_REG   ? MEMO_CREATE
	       : a->type == FS_DIR ? MEMO_MKDIR
	       : a->type == FS_LNK ? MEMO_SYMLINK
				   : MEMO_MKNOD;
}

/* The new inode's own: attributes asked for, device numbers, target, parent. */
static int make_fill(const struct make_args *a, struct inode *in, struct inode *dir)
{
	int rc = 0;
	if (a->set) {
		struct fs_setattr set = *a->set;
		uint32_t mode = IN32(in, I_MODE);
		set.which &= ~(unsigned)(FS_SET_MODE | FS_SET_SIZE);
		rc = attr_check(a->cred, in, &set);
		if (rc)
			return rc;
		if (set.which)
			attr_apply(a->cred, in, &set);
		inode_touch(in);
		IN_SET32(in, I_MODE, mode); /* a new owner keeps the set-id bits asked for */
		if (a->type == FS_REG && a->set->which & FS_SET_SIZE) {
			if (a->set->size > FS_SIZE_MAX)
				return -EFBIG;
			IN_SET64(in, I_FILESIZE, a->set->size);
		}
	}
	/* A set-gid directory gives its group, but not that group's rights to who is not of it. */
	uint32_t mode = IN32(in, I_MODE);
	if (a->type != FS_DIR && mode & 02000 && !cred_root(a->cred) &&
	    !cred_in_group(a->cred, IN32(in, I_GID)))
		IN_SET32(in, I_MODE, mode & ~02000u);
	IN_SET32(in, I_RMAJOR, a->major);
	IN_SET32(in, I_RMINOR, a->minor);
	if (a->type == FS_DIR)
		IN_SET64(in, I_PARENT, dir->ino);
	if (a->how == FS_CREATE_EXCLUSIVE && a->type == FS_REG) {
		IN_SET64(in, I_VERIFIER, a->verifier);
		in->p[I_FLAGS] |= IF_VERIFIER;
	}
	return a->target ? target_store(in, a->target, a->targetlen) : 0;
}

static int make_existing(struct fs *fs, struct make_args *a, const struct dirent_ref *e)
{
	struct inode in;
	int rc = inode_get(fs, e->ino, &in);
	if (rc)
		return rc == -ESTALE ? -ERR_CORRUPT : rc;
	if (a->type != FS_REG || IN_TYPE(&in) != FS_REG)
		return -EEXIST;
	if (a->how == FS_CREATE_EXCLUSIVE &&
	    (!(in.p[I_FLAGS] & IF_VERIFIER) || IN64(&in, I_VERIFIER) != a->verifier))
		return -EEXIST;
	inode_attr(&in, a->ret);
	a->existed = true;
	return 0;
}

static int make_body(struct fs *fs, struct make_args *a)
{
	struct inode dir, in;
	struct dirent_ref e;
	a->existed = false;
	fs->tx.unlimited = cred_root(a->cred);
	int rc = dir_enter(fs, a, &dir);
	if (rc)
		return rc;
	rc = dir_find(&dir, a->name, a->len, &e);
	if (!rc)
		return a->how == FS_CREATE_GUARDED ? -EEXIST : make_existing(fs, a, &e);
	if (rc != -ENOENT)
		return rc;
	rc = inode_may(a->cred, &dir, 1 | (a->type == FS_DIR ? MAY_ADD_DIR : MAY_ADD_FILE));
	if (rc)
		return rc;
	if (a->type == FS_DIR && IN32(&dir, I_NLINK) >= FS_LINK_MAX)
		return -EMLINK;
	uint64_t ag = a->type == FS_DIR ? alloc_dir_ag(fs) : ag_of(fs, dir.b->block);
	uint32_t gid = IN32(&dir, I_MODE) & 02000 || !a->cred ? IN32(&dir, I_GID) : a->cred->gid;
	rc = inode_new(fs, ag, a->type, mode_of(a, &dir), a->cred ? a->cred->uid : 0, gid,
		       IN32(&dir, I_TREE), &in);
	if (!rc)
		rc = make_fill(a, &in, &dir);
	if (!rc)
		rc = acl_new(&in, &dir);
	if (!rc)
		rc = dir_add_new(&dir, e.key, a->name, a->len, in.ino, a->type);
	if (rc)
		return rc;
	if (a->type == FS_DIR)
		IN_SET32(&dir, I_NLINK, IN32(&dir, I_NLINK) + 1);
	memo_note(a->cred, memo_kind(a), &in);
	inode_attr(&in, a->ret);
	wcc_post(a->wcc, &dir);
	return 0;
}

/* It was made before. */
static int make_again(struct fs *fs, struct make_args *a, const struct fs_fid *made)
{
	int rc = fs_getattr(fs, made, a->ret);
	return rc ? rc : memo_wcc(fs, a->dir, a->wcc);
}

static int make(struct fs *fs, struct make_args *a)
{
	struct fs_fid made;
	struct op op;
	int rc;
	if (a->wcc)
		a->wcc->have_pre = a->wcc->have_post = false;
	if (memo_find(fs, a->cred, memo_kind(a), &made))
		return make_again(fs, a, &made);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, make_body(fs, a));
	return op_commit(&op, rc);
}

int fs_create(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t len, enum fs_create_how how, const struct fs_setattr *set, uint64_t verifier,
	      struct fs_attr *ret, struct fs_wcc *wcc)
{
	struct make_args a = {.cred = cred,
			      .dir = dir,
			      .name = name,
			      .len = len,
			      .type = FS_REG,
			      .set = set,
			      .ret = ret,
			      .wcc = wcc,
			      .how = how,
			      .verifier = verifier};
	int rc = make(fs, &a);
	if (rc || !a.existed || how != FS_CREATE_UNCHECKED || !set || !(set->which & FS_SET_SIZE))
		return rc;
	struct fs_fid f = {ret->ino, ret->generation};
	struct fs_setattr size = {.which = FS_SET_SIZE, .size = set->size};
	rc = setattr_as(fs, MEMO_CREATE, cred, &f, &size, NULL, NULL);
	return rc ? rc : fs_getattr(fs, &f, ret);
}

int fs_mkdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t len, const struct fs_setattr *set, struct fs_attr *ret, struct fs_wcc *wcc)
{
	struct make_args a = {.cred = cred,
			      .dir = dir,
			      .name = name,
			      .len = len,
			      .type = FS_DIR,
			      .set = set,
			      .ret = ret,
			      .wcc = wcc,
			      .how = FS_CREATE_GUARDED};
	return make(fs, &a);
}

int fs_symlink(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
	       const char *name, uint32_t len, const char *target, uint32_t targetlen,
	       const struct fs_setattr *set, struct fs_attr *ret, struct fs_wcc *wcc)
{
	struct make_args a = {.cred = cred,
			      .dir = dir,
			      .name = name,
			      .len = len,
			      .type = FS_LNK,
			      .set = set,
			      .ret = ret,
			      .wcc = wcc,
			      .how = FS_CREATE_GUARDED,
			      .target = target,
			      .targetlen = targetlen};
	if (targetlen > FS_SYMLINK_MAX)
		return -ENAMETOOLONG;
	if (!targetlen || memchr(target, 0, targetlen))
		return -EINVAL;
	return make(fs, &a);
}

int fs_mknod(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t len, enum fs_type type, uint32_t major, uint32_t minor,
	     const struct fs_setattr *set, struct fs_attr *ret, struct fs_wcc *wcc)
{
	struct make_args a = {.cred = cred,
			      .dir = dir,
			      .name = name,
			      .len = len,
			      .type = type,
			      .set = set,
			      .ret = ret,
			      .wcc = wcc,
			      .how = FS_CREATE_GUARDED,
			      .major = major,
			      .minor = minor};
	if (type != FS_BLK && type != FS_CHR && type != FS_SOCK && type != FS_FIFO)
		return -EINVAL;
	if ((type == FS_BLK || type == FS_CHR) && !cred_root(cred))
		return -EPERM;
	return make(fs, &a);
}

/* ---- symbolic links ---- */

struct readlink_args {
	const struct fs_fid *f;
	char *buf;
	uint32_t size, *ret_len;
	struct fs_attr *post;
};

static int readlink_body(struct fs *fs, const struct readlink_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	if (a->post)
		inode_attr(&in, a->post);
	if (IN_TYPE(&in) != FS_LNK)
		return -EINVAL;
	uint64_t len = IN64(&in, I_FILESIZE);
	if (len > FS_SYMLINK_MAX || len > a->size)
		return len > FS_SYMLINK_MAX ? -ERR_CORRUPT : -ENAMETOOLONG;
	*a->ret_len = (uint32_t)len;
	if (!IN64(&in, I_ROOT)) {
		if (len != IN32(&in, I_INLINE))
			return -ERR_CORRUPT;
		memcpy(a->buf, in.p + I_AREA, len);
		return 0;
	}
	struct tree t = tree_of(&in);
	struct tree_pos pos;
	uint64_t at = 0;
	for (rc = tree_seek(&t, 0, &pos); !rc && at < len; rc = tree_next(&t, &pos)) {
		unsigned n;
		const uint8_t *v = tree_value(&pos, &n);
		if (at + n > len)
			return -ERR_CORRUPT;
		memcpy(a->buf + at, v, n);
		at += n;
	}
	if (rc && rc != -ENOENT)
		return rc;
	return at == len ? 0 : -ERR_CORRUPT;
}

int fs_readlink(struct fs *fs, const struct fs_fid *f, char *buf, uint32_t size, uint32_t *ret_len,
		struct fs_attr *post)
{
	struct readlink_args a = {f, buf, size, ret_len, post};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, readlink_body(fs, &a));
	op_end(&op);
	return rc;
}
