/*
 * The attributes' part of the inodes' pass: those in the inode, and the tree of them, whose pieces
 * must make whole attributes under the cookies their names have. A repair keeps the whole ones.
 */
#include "nasfront/fs/acl.h"
#include "nasfront/fs/check.h"
#include "nasfront/fs/xattr.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>

static bool cookie_right(const struct checker *c, const struct xattr *x)
{
	return (x->cookie & ~255ull) == xattr_hash(c->fs, x->space, x->name, x->namelen);
}

/* 0 bytes, or all of them sound and in order. */
bool check_xattrs_inline(const struct fs *fs, const uint8_t *p)
{
	const struct checker c = {.fs = (struct fs *)fs};
	unsigned left = le32_get(p + I_XINLINE);
	const uint8_t *at = p + I_AREA + I_AREA_SIZE - left;
	uint64_t before = 0;
	while (left) {
		struct xattr x;
		if (xattr_inline_parse(at, left, &x) || x.cookie <= before || !cookie_right(&c, &x))
			return false;
		before = x.cookie;
		at += X_INLINE + x.namelen + x.len;
		left -= X_INLINE + x.namelen + x.len;
	}
	return true;
}

/* What is kept of an attribute that is not whole goes. */
static void broken(struct checker *c, uint64_t key)
{
	c->kept_size = c->xattr.mark;
	c->xattr.left = 0;
	c->xattr.next = 0;
	check_damaged(c, c->cur, "attributes make no sense", key >> X_SHIFT);
}

static int piece_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	if (c->xattr.left &&
	    (key != c->xattr.next ||
	     len != (c->xattr.left < TREE_VALUE_MAX ? c->xattr.left : TREE_VALUE_MAX)))
		broken(c, c->xattr.next);
	if (c->xattr.left) {
		c->xattr.left -= len;
	} else {
		struct xattr x;
		c->xattr.mark = c->kept_size;
		if (xattr_head_parse(key, v, len, &x) || !cookie_right(c, &x)) {
			if (!(c->cur->damaged && (key & X_PIECES))) /* of one that was told of */
				broken(c, key);
			return 0;
		}
		c->xattr.left = x.len - x.here;
	}
	c->xattr.next = key + 1;
	return check_keep(c, key, v, len);
}

/* Of a file that is being freed: some of the pieces are gone. */
static int freed_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len)
{
	return check_keep(c, key, v, len);
}

struct acl_look {
	bool flag, list, sound;
};

static int acl_look_body(struct fs *fs, uint64_t ino, struct acl_look *l)
{
	struct fs_ace a[FS_ACL_ROOM];
	struct inode in;
	unsigned n;
	int rc = inode_get(fs, ino, &in);
	if (rc)
		return rc;
	l->flag = acl_has(&in);
	rc = acl_load(&in, a, &n);
	l->list = rc != -ENODATA;
	l->sound = !rc;
	return rc == -ENODATA || rc == -ERR_CORRUPT ? 0 : rc;
}

static int acl_mend_body(struct fs *fs, uint64_t ino)
{
	struct inode in;
	int rc = inode_get(fs, ino, &in);
	return rc ? rc : acl_mend(&in);
}

/* After the attributes were found whole: the list makes sense, and the flag says that it is there.
 */
int check_acl(struct checker *c, struct rec *r, const uint8_t *p)
{
	struct acl_look l = {0};
	struct op op;
	int rc;
	if (!(p[I_FLAGS] & IF_ACL) && !le32_get(p + I_XINLINE) && !le64_get(p + I_XROOT))
		return 0;
	if (!le32_get(p + I_NLINK)) /* it is being freed, and its attributes go first */
		return 0;
	op_begin(&op, c->fs, false);
	OP_LOOP(&op, rc, acl_look_body(c->fs, r->ino, &l));
	op_end(&op);
	if (rc)
		return rc == -ESTALE && c->online ? 0 : rc;
	if (l.list ? l.sound && l.flag : !l.flag)
		return 0;
	if (!check_error(c, r->ino, "%s",
			 l.sound ? "has an access control list and says it has none"
				 : "its access control list is lost: its mode counts") ||
	    !c->repair)
		return 0;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, acl_mend_body(c->fs, r->ino));
	check_fixed(c, op_commit(&op, rc), r->ino);
	return 0;
}

int check_xattrs(struct checker *c, struct rec *r, const uint8_t *p)
{
	uint64_t root = le64_get(p + I_XROOT);
	if (!check_xattrs_inline(c->fs, p))
		check_damaged(c, r, "attributes in the inode make no sense",
			      ino_block(c->fs, r->ino));
	if (!root)
		return 0;
	c->xattr.mark = c->kept_size;
	c->xattr.left = 0;
	c->keeping_xattrs = true;
	int rc = check_tree_at(c, r, root, le32_get(p + I_XLEVEL), BT_XATTRS,
			       le32_get(p + I_NLINK) ? piece_entry : freed_entry);
	if (!rc && c->xattr.left)
		broken(c, c->xattr.next);
	c->keeping_xattrs = false;
	return rc;
}
