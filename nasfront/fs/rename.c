/* Names: removing, moving, linking. Each is one body; what it changes is one transaction. */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define DEPTH_MAX (1 << 20) /* directories above one another: only a loop is longer */

static int name_real(const char *n, uint32_t len)
{
	int rc = name_check(n, len);
	if (rc)
		return rc;
	return n[0] == '.' && (len == 1 || (len == 2 && n[1] == '.')) ? -EINVAL : 0;
}

/* In a sticky directory only the owner of the entry or of the directory may take it away. */
static int sticky_check(const struct fs_cred *c, const struct inode *dir, const struct inode *in)
{
	if (!(IN32(dir, I_MODE) & 01000) || cred_root(c) || c->uid == IN32(dir, I_UID) ||
	    c->uid == IN32(in, I_UID))
		return 0;
	return -EPERM;
}

/* An entry and its inode. */
static int entry_get(struct inode *dir, const char *name, uint32_t len, struct dirent_ref *e,
		     struct inode *in)
{
	int rc = dir_find(dir, name, len, e);
	if (rc)
		return rc;
	rc = inode_get(dir->fs, e->ino, in);
	if (rc == -ESTALE || (!rc && IN_TYPE(in) != e->type)) {
		corrupt_note(dir->fs, dir->b->block, dir->ino, "an entry leads to no such inode");
		return -ERR_CORRUPT;
	}
	return rc;
}

/* An entry goes: its directory's right, or the object's own. */
static int delete_may(const struct fs_cred *c, const struct inode *dir, const struct inode *in)
{
	int rc = inode_may(c, dir, 1 | MAY_DELETE_CHILD);
	if (rc != -EACCES || !acl_has(in))
		return rc;
	rc = inode_may(c, dir, 1);
	return rc ? rc : inode_may(c, in, MAY_DELETE);
}

/* Before its entries are looked at: what would be refused whatever is found. */
static int dir_may(const struct fs_cred *c, const struct inode *dir)
{
	int rc = inode_may(c, dir, 1);
	return rc || acl_has(dir) ? rc : inode_may(c, dir, 3);
}

static int nlink_drop(struct inode *in)
{
	uint32_t n = IN32(in, I_NLINK);
	if (IN_TYPE(in) == FS_DIR || n <= 1)
		return inode_unlinked(in);
	inode_stamp(in, STAMP_CTIME);
	IN_SET32(in, I_NLINK, n - 1);
	return 0;
}

static void nlink_add(struct inode *in, int n)
{
	inode_touch(in);
	IN_SET32(in, I_NLINK, IN32(in, I_NLINK) + (uint32_t)n);
}

/* ---- remove, rmdir ---- */

struct remove_args {
	const struct fs_cred *cred;
	const struct fs_fid *dir;
	const char *name;
	uint32_t len;
	bool rmdir;
	struct fs_wcc *wcc;
};

struct removing {
	struct inode dir, in;
	struct dirent_ref e;
};

static int remove_check(struct fs *fs, const struct remove_args *a, struct removing *r)
{
	int rc = inode_get_dir(fs, a->dir, &r->dir);
	if (rc)
		return rc;
	wcc_pre(a->wcc, &r->dir);
	wcc_post(a->wcc, &r->dir);
	/* Who lacks the right may have it of the object itself. */
	int denied = inode_may(a->cred, &r->dir, 1 | MAY_DELETE_CHILD);
	rc = denied == -EACCES ? inode_may(a->cred, &r->dir, 1) : denied;
	if (!rc)
		rc = name_real(a->name, a->len);
	if (!rc)
		rc = entry_get(&r->dir, a->name, a->len, &r->e, &r->in);
	if (!rc && denied)
		rc = delete_may(a->cred, &r->dir, &r->in);
	if (rc == -ENOENT && denied)
		rc = denied;
	if (!rc)
		rc = sticky_check(a->cred, &r->dir, &r->in);
	if (rc)
		return rc;
	bool is_dir = IN_TYPE(&r->in) == FS_DIR;
	if (is_dir != a->rmdir)
		return is_dir ? -EISDIR : -ENOTDIR;
	return is_dir && IN64(&r->in, I_ENTRIES) ? -ENOTEMPTY : 0;
}

static enum memo_kind memo_kind(const struct remove_args *a)
{
	return a->rmdir ? MEMO_RMDIR : MEMO_REMOVE;
}

static int remove_body(struct fs *fs, const struct remove_args *a)
{
	struct removing r;
	fs->tx.last_blocks = true;
	int rc = remove_check(fs, a, &r);
	if (!rc)
		memo_note(a->cred, memo_kind(a), &r.in);
	if (!rc)
		rc = dir_del(&r.dir, r.e.key);
	if (!rc)
		rc = nlink_drop(&r.in);
	if (rc)
		return rc;
	if (a->rmdir)
		nlink_add(&r.dir, -1);
	wcc_post(a->wcc, &r.dir);
	return 0;
}

static int remove_run(struct fs *fs, const struct remove_args *a)
{
	struct op op;
	int rc;
	if (a->wcc)
		a->wcc->have_pre = a->wcc->have_post = false;
	if (memo_find(fs, a->cred, memo_kind(a), NULL))
		return memo_wcc(fs, a->dir, a->wcc);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, remove_body(fs, a));
	return op_commit(&op, rc);
}

int fs_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t len, struct fs_wcc *wcc)
{
	struct remove_args a = {cred, dir, name, len, false, wcc};
	return remove_run(fs, &a);
}

int fs_rmdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t len, struct fs_wcc *wcc)
{
	struct remove_args a = {cred, dir, name, len, true, wcc};
	return remove_run(fs, &a);
}

int fs_may_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
		  const char *name, uint32_t len)
{
	struct remove_args a = {cred, dir, name, len, false, NULL};
	struct removing r;
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, remove_check(fs, &a, &r));
	op_end(&op);
	return rc;
}

/* ---- rename ---- */

struct rename_args {
	const struct fs_cred *cred;
	const struct fs_fid *from_dir, *to_dir;
	const char *from, *to;
	uint32_t fromlen, tolen;
	struct fs_wcc *from_wcc, *to_wcc;
};

struct renaming {
	struct inode fd, td, src, dst;
	struct dirent_ref fe, te;
	bool have_dst;
};

/* -EINVAL when `dir` is `top` or below it. */
static int not_below(struct fs *fs, const struct inode *dir, uint64_t top)
{
	struct inode in = *dir;
	for (int i = 0; i < DEPTH_MAX; i++) {
		if (in.ino == top)
			return -EINVAL;
		if (in.ino == FS_ROOT_INO)
			return 0;
		int rc = inode_get(fs, IN64(&in, I_PARENT), &in);
		if (rc)
			return rc == -ESTALE ? -ERR_CORRUPT : rc;
	}
	return -ERR_CORRUPT;
}

static int rename_find(struct fs *fs, const struct rename_args *a, struct renaming *r)
{
	int rc = inode_get_dir(fs, a->from_dir, &r->fd);
	if (!rc)
		rc = inode_get_dir(fs, a->to_dir, &r->td);
	if (rc)
		return rc;
	wcc_pre(a->from_wcc, &r->fd);
	wcc_post(a->from_wcc, &r->fd);
	wcc_pre(a->to_wcc, &r->td);
	wcc_post(a->to_wcc, &r->td);
	rc = name_real(a->from, a->fromlen);
	if (!rc)
		rc = name_real(a->to, a->tolen);
	if (!rc)
		rc = dir_may(a->cred, &r->fd);
	if (!rc)
		rc = dir_may(a->cred, &r->td);
	if (!rc)
		rc = entry_get(&r->fd, a->from, a->fromlen, &r->fe, &r->src);
	if (!rc)
		rc = delete_may(a->cred, &r->fd, &r->src);
	if (!rc)
		rc = inode_may(a->cred, &r->td,
			       1 | (IN_TYPE(&r->src) == FS_DIR ? MAY_ADD_DIR : MAY_ADD_FILE));
	if (!rc)
		rc = sticky_check(a->cred, &r->fd, &r->src);
	if (rc)
		return rc;
	rc = entry_get(&r->td, a->to, a->tolen, &r->te, &r->dst);
	r->have_dst = !rc;
	return rc == -ENOENT ? 0 : rc;
}

static int rename_check(struct fs *fs, const struct rename_args *a, struct renaming *r)
{
	bool is_dir = IN_TYPE(&r->src) == FS_DIR;
	uint32_t tree = IN32(&r->src, I_TREE);
	int rc = 0;
	/* A quota tree's top goes where it likes; what is in one stays in it. */
	if (tree == IN32(&r->fd, I_TREE) && tree != IN32(&r->td, I_TREE))
		return -EXDEV;
	if (is_dir && r->fd.ino != r->td.ino) {
		rc = not_below(fs, &r->td, r->src.ino);
		if (!rc && !acl_has(&r->src)) /* its ".." changes */
			rc = inode_may(a->cred, &r->src, 2);
		if (!rc && !r->have_dst && IN32(&r->td, I_NLINK) >= FS_LINK_MAX)
			rc = -EMLINK;
	}
	if (rc || !r->have_dst)
		return rc;
	rc = delete_may(a->cred, &r->td, &r->dst);
	if (!rc)
		rc = sticky_check(a->cred, &r->td, &r->dst);
	if (rc)
		return rc;
	if ((IN_TYPE(&r->dst) == FS_DIR) != is_dir)
		return is_dir ? -ENOTDIR : -EISDIR;
	return is_dir && IN64(&r->dst, I_ENTRIES) ? -ENOTEMPTY : 0;
}

static int rename_apply(const struct rename_args *a, struct renaming *r)
{
	bool is_dir = IN_TYPE(&r->src) == FS_DIR;
	int rc;
	if (r->have_dst) {
		rc = dir_set(&r->td, r->te.key, r->src.ino, IN_TYPE(&r->src));
		if (!rc && is_dir)
			nlink_add(&r->td, -1);
		if (!rc)
			rc = nlink_drop(&r->dst);
	} else {
		rc = dir_add(&r->td, a->to, a->tolen, r->src.ino, IN_TYPE(&r->src));
	}
	if (!rc)
		rc = dir_del(&r->fd, r->fe.key);
	if (rc)
		return rc;
	inode_stamp(&r->src, STAMP_CTIME);
	if (is_dir && r->fd.ino != r->td.ino) {
		IN_SET64(&r->src, I_PARENT, r->td.ino);
		nlink_add(&r->fd, -1);
		nlink_add(&r->td, 1);
	}
	return 0;
}

static int rename_body(struct fs *fs, const struct rename_args *a)
{
	struct renaming r;
	int rc = rename_find(fs, a, &r);
	if (rc)
		return rc;
	if (r.have_dst && r.dst.ino == r.src.ino)
		return 0; /* two names of one file: POSIX says do nothing */
	fs->tx.last_blocks = r.have_dst;
	fs->tx.unlimited = cred_root(a->cred);
	rc = rename_check(fs, a, &r);
	if (!rc)
		rc = rename_apply(a, &r);
	if (rc)
		return rc;
	memo_note(a->cred, MEMO_RENAME, &r.src);
	wcc_post(a->from_wcc, &r.fd);
	wcc_post(a->to_wcc, &r.td);
	return 0;
}

int fs_rename(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from_dir,
	      const char *from, uint32_t fromlen, const struct fs_fid *to_dir, const char *to,
	      uint32_t tolen, struct fs_wcc *from_wcc, struct fs_wcc *to_wcc)
{
	struct rename_args a = {cred, from_dir, to_dir, from, to, fromlen, tolen, from_wcc, to_wcc};
	struct op op;
	int rc;
	if (from_wcc)
		from_wcc->have_pre = from_wcc->have_post = false;
	if (to_wcc)
		to_wcc->have_pre = to_wcc->have_post = false;
	if (memo_find(fs, cred, MEMO_RENAME, NULL)) {
		rc = memo_wcc(fs, from_dir, from_wcc);
		return rc ? rc : memo_wcc(fs, to_dir, to_wcc);
	}
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, rename_body(fs, &a));
	return op_commit(&op, rc);
}

static int rename_look(struct fs *fs, const struct rename_args *a)
{
	struct renaming r;
	int rc = rename_find(fs, a, &r);
	return rc || (r.have_dst && r.dst.ino == r.src.ino) ? rc : rename_check(fs, a, &r);
}

int fs_may_rename(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from_dir,
		  const char *from, uint32_t fromlen, const struct fs_fid *to_dir, const char *to,
		  uint32_t tolen)
{
	struct rename_args a = {cred, from_dir, to_dir, from, to, fromlen, tolen, NULL, NULL};
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, rename_look(fs, &a));
	op_end(&op);
	return rc;
}

/* ---- link ---- */

struct link_args {
	const struct fs_cred *cred;
	const struct fs_fid *f, *dir;
	const char *name;
	uint32_t len;
	struct fs_attr *post;
	struct fs_wcc *wcc;
};

static int link_check(struct fs *fs, const struct link_args *a, struct inode *dir, struct inode *in)
{
	int rc = inode_get_fid(fs, a->f, in);
	if (!rc)
		rc = inode_get_dir(fs, a->dir, dir);
	if (rc)
		return rc;
	wcc_pre(a->wcc, dir);
	wcc_post(a->wcc, dir);
	if (a->post)
		inode_attr(in, a->post);
	rc = inode_may(a->cred, dir, 1 | MAY_ADD_FILE);
	if (!rc)
		rc = name_real(a->name, a->len);
	if (rc)
		return rc == -EINVAL && a->len ? -EEXIST : rc;
	if (IN_TYPE(in) == FS_DIR)
		return -EPERM;
	if (!IN32(in, I_NLINK)) /* a last name does not come back */
		return -ENOENT;
	if (IN32(in, I_NLINK) >= FS_LINK_MAX)
		return -EMLINK;
	return IN32(in, I_TREE) != IN32(dir, I_TREE) ? -EXDEV : 0;
}

/* The name must be free as well: dir_add() finds that out else. */
static int link_look(struct fs *fs, const struct link_args *a)
{
	struct inode dir, in;
	struct dirent_ref e;
	int rc = link_check(fs, a, &dir, &in);
	if (rc)
		return rc;
	rc = dir_find(&dir, a->name, a->len, &e);
	return rc == -ENOENT ? 0 : rc ? rc : -EEXIST;
}

int fs_may_link(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		const struct fs_fid *dir, const char *name, uint32_t len)
{
	struct link_args a = {cred, f, dir, name, len, NULL, NULL};
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, link_look(fs, &a));
	op_end(&op);
	return rc;
}

static int link_body(struct fs *fs, const struct link_args *a)
{
	struct inode dir, in;
	int rc = link_check(fs, a, &dir, &in);
	if (rc)
		return rc;
	fs->tx.unlimited = cred_root(a->cred);
	rc = dir_add(&dir, a->name, a->len, in.ino, IN_TYPE(&in));
	if (rc)
		return rc;
	inode_stamp(&in, STAMP_CTIME);
	IN_SET32(&in, I_NLINK, IN32(&in, I_NLINK) + 1);
	memo_note(a->cred, MEMO_LINK, &in);
	if (a->post)
		inode_attr(&in, a->post);
	wcc_post(a->wcc, &dir);
	return 0;
}

int fs_link(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	    const struct fs_fid *dir, const char *name, uint32_t len, struct fs_attr *post,
	    struct fs_wcc *wcc)
{
	struct link_args a = {cred, f, dir, name, len, post, wcc};
	struct op op;
	int rc;
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (memo_find(fs, cred, MEMO_LINK, NULL)) {
		rc = post ? fs_getattr(fs, f, post) : 0;
		return rc ? rc : memo_wcc(fs, dir, wcc);
	}
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, link_body(fs, &a));
	return op_commit(&op, rc);
}
