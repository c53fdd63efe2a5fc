/*
 * Access control lists of inodes: kept as the extended attribute "acl" of the file system's own
 * space, and a flag in the inode (IF_ACL), so that who has none pays nothing. A list that cannot be
 * read grants nothing (-ERR_CORRUPT) until a check takes it out. The mode is always what
 * acl_mode() says of the list; who sets one of them changes the other in the same body.
 */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/memo.h"
#include "nasfront/fs/xattr.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

#define NAME	 "acl"
#define NAME_LEN 3

int acl_load(struct inode *in, struct fs_ace *to, unsigned *ret_n)
{
	uint8_t bytes[ACL_BYTES];
	struct xattr x;
	int rc = xattr_find(in, X_SYSTEM, NAME, NAME_LEN, &x);
	if (rc)
		return rc == -ENOENT ? -ENODATA : rc;
	rc = x.len <= sizeof(bytes) ? xattr_value(in, &x, bytes) : -ERR_CORRUPT;
	if (!rc)
		rc = acl_decode(bytes, x.len, IN_TYPE(in) == FS_DIR, to, ret_n);
	if (rc == -ERR_CORRUPT)
		corrupt_note(in->fs, in->b->block, in->ino, "access control list makes no sense");
	return rc;
}

static int store(struct inode *in, const struct fs_ace *a, unsigned n)
{
	uint8_t bytes[ACL_BYTES];
	unsigned len = acl_encode(a, n, bytes);
	int rc = xattr_put(in, X_SYSTEM, NAME, NAME_LEN, bytes, len, FS_XATTR_EITHER);
	if (rc)
		return rc;
	inode_touch(in);
	in->p[I_FLAGS] |= IF_ACL;
	return 0;
}

static int drop(struct inode *in)
{
	int rc = xattr_drop(in, X_SYSTEM, NAME, NAME_LEN);
	if (rc && rc != -ENODATA)
		return rc;
	inode_touch(in);
	in->p[I_FLAGS] &= (uint8_t)~IF_ACL;
	return 0;
}

/* The list the mode asks for; none when the mode says it all. */
static int set_with_mode(struct inode *in, const struct fs_ace *a, unsigned n)
{
	struct fs_ace to[ACL_WORK];
	unsigned k = acl_chmod(a, n, IN32(in, I_MODE), IN_TYPE(in) == FS_DIR, to);
	if (acl_is_mode(to, k))
		return acl_has(in) ? drop(in) : 0;
	return k > FS_ACL_ROOM ? -ENOSPC : store(in, to, k);
}

int acl_follow_mode(struct inode *in)
{
	struct fs_ace a[FS_ACL_ROOM];
	unsigned n;
	if (!acl_has(in))
		return 0;
	int rc = acl_load(in, a, &n);
	if (rc == -ENODATA)
		return drop(in);
	return rc ? rc : set_with_mode(in, a, n);
}

int acl_new(struct inode *in, struct inode *dir)
{
	struct fs_ace a[FS_ACL_ROOM], to[FS_ACL_ROOM];
	unsigned n, k;
	if (!acl_has(dir) || IN_TYPE(in) == FS_LNK)
		return 0;
	int rc = acl_load(dir, a, &n);
	if (rc)
		return rc == -ENODATA ? -ERR_CORRUPT : rc;
	k = acl_inherit(a, n, IN_TYPE(in) == FS_DIR, to);
	return k ? set_with_mode(in, to, k) : 0;
}

int acl_mend(struct inode *in)
{
	struct fs_ace a[FS_ACL_ROOM];
	unsigned n;
	int rc = acl_load(in, a, &n);
	if (rc == -ENODATA || rc == -ERR_CORRUPT)
		return drop(in);
	if (rc)
		return rc;
	inode_touch(in);
	in->p[I_FLAGS] |= IF_ACL;
	return 0;
}

/* ---- calls ---- */

struct acl_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	struct fs_ace *to;
	const struct fs_ace *from;
	unsigned n;
	unsigned *ret_n;
	bool *ret_stored;
	uint32_t want;
	uint32_t *ret_have;
	struct fs_wcc *wcc;
	struct fs_posix_acl *access, *dflt; /* to be filled */
	const struct fs_posix_acl *set[2];  /* access and default; NULL: stays */
};

/* The list, or what the mode says. */
static int load_any(struct inode *in, struct fs_ace *to, unsigned *ret_n)
{
	if (acl_has(in)) {
		int rc = acl_load(in, to, ret_n);
		return rc == -ENODATA ? -ERR_CORRUPT : rc;
	}
	*ret_n = acl_chmod(NULL, 0, IN32(in, I_MODE), IN_TYPE(in) == FS_DIR, to);
	return 0;
}

static int get_body(struct fs *fs, const struct acl_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	*a->ret_stored = acl_has(&in);
	return load_any(&in, a->to, a->ret_n);
}

int fs_acl_get(struct fs *fs, const struct fs_fid *f, struct fs_ace to[FS_ACL_ROOM],
	       unsigned *ret_count, bool *ret_stored)
{
	struct acl_args a = {.f = f, .to = to, .ret_n = ret_count, .ret_stored = ret_stored};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, get_body(fs, &a));
	op_end(&op);
	return rc;
}

/* The inode of a list that is to be set, when this caller may. */
static int set_check(struct fs *fs, const struct acl_args *a, struct inode *in)
{
	int rc = inode_get_fid(fs, a->f, in);
	if (rc)
		return rc;
	wcc_pre(a->wcc, in);
	wcc_post(a->wcc, in);
	if (IN_TYPE(in) == FS_LNK)
		return -EOPNOTSUPP;
	if (cred_root(a->cred) || a->cred->uid == IN32(in, I_UID))
		return 0;
	rc = inode_may(a->cred, in, MAY_SET_ACL);
	return rc == -EACCES ? -EPERM : rc;
}

static int set_begin(struct fs *fs, const struct acl_args *a, struct inode *in)
{
	fs->tx.unlimited = cred_root(a->cred);
	return set_check(fs, a, in);
}

int fs_may_set_acl(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f)
{
	const struct acl_args a = {.cred = cred, .f = f};
	struct inode in;
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, set_check(fs, &a, &in));
	op_end(&op);
	return rc;
}

static void set_mode(struct inode *in, const struct fs_cred *cred, uint32_t bits)
{
	uint32_t mode = (IN32(in, I_MODE) & ~0777u) | bits;
	inode_stamp(in, STAMP_CTIME);
	if (!cred_root(cred) && IN_TYPE(in) != FS_DIR && !cred_in_group(cred, IN32(in, I_GID)))
		mode &= ~02000u;
	IN_SET32(in, I_MODE, mode);
}

static int set_body(struct fs *fs, const struct acl_args *a)
{
	struct inode in;
	int rc = set_begin(fs, a, &in);
	if (rc)
		return rc;
	if (!acl_sound(a->from, a->n, IN_TYPE(&in) == FS_DIR))
		return -EINVAL;
	set_mode(&in, a->cred, acl_mode(a->from, a->n));
	rc = store(&in, a->from, a->n);
	memo_note(a->cred, MEMO_ACL_SET, &in);
	wcc_post(a->wcc, &in);
	return rc;
}

int fs_acl_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	       const struct fs_ace *aces, unsigned count, struct fs_wcc *wcc)
{
	struct acl_args a = {.cred = cred, .f = f, .from = aces, .n = count, .wcc = wcc};
	struct op op;
	int rc;
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (count > FS_ACL_MAX)
		return -E2BIG;
	if (memo_find(fs, cred, MEMO_ACL_SET, NULL))
		return memo_wcc(fs, f, wcc);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, set_body(fs, &a));
	return op_commit(&op, rc);
}

static int rights_body(struct fs *fs, const struct acl_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	return rc ? rc : inode_rights(a->cred, &in, a->want, a->ret_have);
}

int fs_access_rights(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		     uint32_t want, uint32_t *ret_have)
{
	struct acl_args a = {.cred = cred, .f = f, .want = want, .ret_have = ret_have};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, rights_body(fs, &a));
	op_end(&op);
	return rc;
}

/* ---- as POSIX has them ---- */

static int posix_get_body(struct fs *fs, const struct acl_args *a)
{
	struct fs_ace l[FS_ACL_ROOM];
	struct inode in;
	unsigned n;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc == 0)
		rc = load_any(&in, l, &n);
	if (rc == 0)
		acl_to_posix(l, n, a->access, a->dflt);
	return rc;
}

int fs_posix_acl_get(struct fs *fs, const struct fs_fid *f, struct fs_posix_acl *access,
		     struct fs_posix_acl *dflt)
{
	struct acl_args a = {.f = f, .access = access, .dflt = dflt};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, posix_get_body(fs, &a));
	op_end(&op);
	return rc;
}

/* What the inode has, with what is to be set in its place. */
static int posix_join(struct inode *in, const struct acl_args *a)
{
	struct fs_ace l[FS_ACL_ROOM];
	unsigned n;
	int rc = load_any(in, l, &n);
	if (rc)
		return rc;
	acl_to_posix(l, n, a->access, a->dflt);
	if (a->set[0] && a->set[0]->n) {
		*a->access = *a->set[0];
	} else if (a->set[0]) {
		struct fs_posix_acl none;
		n = acl_chmod(NULL, 0, IN32(in, I_MODE), IN_TYPE(in) == FS_DIR, l);
		acl_to_posix(l, n, a->access, &none);
	}
	if (a->set[1])
		*a->dflt = *a->set[1];
	if (!acl_posix_sort(a->access) || (a->dflt->n && !acl_posix_sort(a->dflt)) ||
	    (a->dflt->n && IN_TYPE(in) != FS_DIR))
		return -EINVAL;
	return 0;
}

static int posix_set_body(struct fs *fs, const struct acl_args *a)
{
	struct fs_ace l[FS_ACL_MAX], bare[ACL_CHMOD];
	struct inode in;
	bool dir;
	unsigned n;
	int rc = set_begin(fs, a, &in);
	if (rc == 0)
		rc = posix_join(&in, a);
	if (rc)
		return rc;
	dir = IN_TYPE(&in) == FS_DIR;
	rc = acl_from_posix(a->access, a->dflt, dir, l, ARRAY_LEN(l), &n);
	if (rc)
		return rc;
	set_mode(&in, a->cred, acl_mode(l, n));
	if (n == acl_chmod(NULL, 0, IN32(&in, I_MODE), dir, bare) &&
	    memcmp(l, bare, n * sizeof(*l)) == 0)
		rc = acl_has(&in) ? drop(&in) : 0;
	else
		rc = store(&in, l, n);
	memo_note(a->cred, MEMO_ACL_SET, &in);
	wcc_post(a->wcc, &in);
	return rc;
}

int fs_posix_acl_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		     const struct fs_posix_acl *access, const struct fs_posix_acl *dflt,
		     struct fs_wcc *wcc)
{
	struct fs_posix_acl work[2];
	struct acl_args a = {.cred = cred,
			     .f = f,
			     .set = {access, dflt},
			     .access = &work[0],
			     .dflt = &work[1],
			     .wcc = wcc};
	struct op op;
	int rc;
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (memo_find(fs, cred, MEMO_ACL_SET, NULL))
		return memo_wcc(fs, f, wcc);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, posix_set_body(fs, &a));
	return op_commit(&op, rc);
}
