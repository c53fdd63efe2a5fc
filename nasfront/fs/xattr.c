/*
 * Extended attributes: names with values of up to 64 KiB.
 *
 * Few and small ones lie at the end of the inode's area, packed in the order of their cookies; when
 * they do not fit beside the extents all of them move to a tree of their own, in pieces under keys
 * cookie << 16 | piece number (layout.h), and come back only when the tree has become empty. A
 * cookie is made of the name's hash and a number that tells names of one hash apart; an attribute
 * keeps it wherever it lies, so a list goes on from one.
 *
 * A change is one body, whatever the size: the old value's pieces go, the new one's come.
 * Attributes of the space X_SYSTEM are the file system's own (acl_store.c); callers see X_USER.
 */
#include "nasfront/fs/xattr.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/siphash.h"
#include <errno.h>

#define COLLISIONS 256

uint64_t xattr_hash(const struct fs *fs, unsigned space, const char *name, unsigned len)
{
	const uint64_t key[2] = {le64_get(fs->hash_key) ^ space, le64_get(fs->hash_key + 8)};
	uint64_t h = siphash(key, name, len) >> 25;
	return (h ? h : 1) << 8;
}

struct tree xattr_tree(struct inode *in)
{
	struct tree t = tree_of(in);
	t.type = BT_XATTRS;
	t.root = I_XROOT;
	t.level = I_XLEVEL;
	return t;
}

/* ---- in the inode ---- */

static uint8_t *inline_begin(const struct inode *in)
{
	return in->p + I_AREA + I_AREA_SIZE - IN32(in, I_XINLINE);
}

static unsigned inline_room(const struct inode *in)
{
	unsigned n = IN32(in, I_INLINE);
	return I_AREA_SIZE - (IN_TYPE(in) == FS_REG ? n * EXT_INLINE_SIZE : n);
}

static unsigned inline_size(const struct xattr *x)
{
	return X_INLINE + x->namelen + x->len;
}

int xattr_inline_parse(const uint8_t *p, unsigned left, struct xattr *ret)
{
	if (left < X_INLINE)
		return -ERR_CORRUPT;
	*ret = (struct xattr){.cookie = le64_get(p),
			      .len = le16_get(p + 8),
			      .space = p[10],
			      .namelen = p[11],
			      .name = (const char *)p + X_INLINE};
	ret->value = p + X_INLINE + ret->namelen;
	ret->here = ret->len;
	if (!ret->namelen || ret->space > X_SYSTEM || inline_size(ret) > left)
		return -ERR_CORRUPT;
	return 0;
}

static uint8_t *inline_put(uint8_t *to, const struct xattr *x)
{
	le64_put(to, x->cookie);
	le16_put(to + 8, (uint16_t)x->len);
	to[10] = (uint8_t)x->space;
	to[11] = (uint8_t)x->namelen;
	memcpy(to + X_INLINE, x->name, x->namelen);
	if (x->len)
		memcpy(to + X_INLINE + x->namelen, x->value, x->len);
	return to + inline_size(x);
}

/* All but the one with the cookie of `out`, and `add` (NULL: none) in its place, in order. */
static void inline_change(struct inode *in, uint64_t out, const struct xattr *add)
{
	uint8_t all[I_AREA_SIZE], *to = all;
	unsigned left = IN32(in, I_XINLINE);
	const uint8_t *p = inline_begin(in);
	struct xattr x;
	while (left && !xattr_inline_parse(p, left, &x)) {
		if (add && x.cookie > add->cookie) {
			to = inline_put(to, add);
			add = NULL;
		}
		if (x.cookie != out)
			to = inline_put(to, &x);
		p += inline_size(&x);
		left -= inline_size(&x);
	}
	if (add)
		to = inline_put(to, add);
	inode_touch(in);
	inode_touch_area(in);
	IN_SET32(in, I_XINLINE, (uint32_t)(to - all));
	memcpy(inline_begin(in), all, (size_t)(to - all));
}

static int inline_seek(const struct inode *in, uint64_t cookie, struct xattr *ret)
{
	unsigned left = IN32(in, I_XINLINE);
	const uint8_t *p = inline_begin(in);
	while (left) {
		int rc = xattr_inline_parse(p, left, ret);
		if (rc)
			corrupt_note(in->fs, in->b->block, in->ino, "attributes make no sense");
		if (rc || ret->cookie >= cookie)
			return rc;
		p += inline_size(ret);
		left -= inline_size(ret);
	}
	return -ENOENT;
}

/* ---- in the tree ---- */

int xattr_head_parse(uint64_t key, const uint8_t *v, unsigned len, struct xattr *ret)
{
	if (len < X_HEAD || (key & X_PIECES))
		return -ERR_CORRUPT;
	*ret = (struct xattr){.cookie = key >> X_SHIFT,
			      .len = le32_get(v),
			      .space = v[4],
			      .namelen = v[5],
			      .name = (const char *)v + X_HEAD};
	if (!ret->namelen || ret->space > X_SYSTEM || ret->len > FS_XATTR_MAX ||
	    X_HEAD + ret->namelen > len)
		return -ERR_CORRUPT;
	ret->value = v + X_HEAD + ret->namelen;
	ret->here = len - X_HEAD - ret->namelen;
	ret->in_tree = true;
	unsigned most = TREE_VALUE_MAX - X_HEAD - ret->namelen;
	return ret->here == MIN(ret->len, most) ? 0 : -ERR_CORRUPT;
}

static int tree_broken(const struct inode *in)
{
	corrupt_note(in->fs, IN64(in, I_XROOT), in->ino, "attributes make no sense");
	return -ERR_CORRUPT;
}

static int tree_at(struct inode *in, uint64_t cookie, struct tree *t, struct tree_pos *pos,
		   struct xattr *ret)
{
	unsigned len;
	*t = xattr_tree(in);
	int rc = tree_seek(t, cookie << X_SHIFT, pos);
	if (rc)
		return rc;
	const uint8_t *v = tree_value(pos, &len);
	return xattr_head_parse(tree_key(pos), v, len, ret) ? tree_broken(in) : 0;
}

static int tree_store(struct inode *in, const struct xattr *x)
{
	struct tree t = xattr_tree(in);
	uint8_t v[TREE_VALUE_MAX];
	uint32_t at = MIN(x->len, TREE_VALUE_MAX - X_HEAD - x->namelen);
	le32_put(v, x->len);
	v[4] = (uint8_t)x->space;
	v[5] = (uint8_t)x->namelen;
	memcpy(v + X_HEAD, x->name, x->namelen);
	if (at)
		memcpy(v + X_HEAD + x->namelen, x->value, at);
	uint64_t key = x->cookie << X_SHIFT;
	int rc = tree_insert(&t, key, v, X_HEAD + x->namelen + at);
	while (!rc && at < x->len) {
		uint32_t n = MIN(x->len - at, (uint32_t)TREE_VALUE_MAX);
		rc = tree_insert(&t, ++key, x->value + at, n);
		at += n;
	}
	return rc == -EEXIST ? tree_broken(in) : rc;
}

static int tree_drop(struct inode *in, const struct xattr *x)
{
	struct tree t = xattr_tree(in);
	uint32_t at = x->here;
	uint64_t key = x->cookie << X_SHIFT;
	int rc = tree_delete(&t, key);
	for (; !rc && at < x->len; at += TREE_VALUE_MAX)
		rc = tree_delete(&t, ++key);
	return rc == -ENOENT ? tree_broken(in) : rc;
}

/* They do not fit the inode any more. */
static int tree_from_inline(struct inode *in)
{
	uint8_t all[I_AREA_SIZE];
	unsigned left = IN32(in, I_XINLINE);
	const uint8_t *p = all;
	struct xattr x;
	int rc = 0;
	memcpy(all, inline_begin(in), left);
	inode_touch(in);
	IN_SET32(in, I_XINLINE, 0);
	while (left && !rc) {
		rc = xattr_inline_parse(p, left, &x);
		if (!rc)
			rc = tree_store(in, &x);
		p += inline_size(&x);
		left -= MIN(left, inline_size(&x));
	}
	return rc;
}

/* ---- either way ---- */

int xattr_next(struct inode *in, uint64_t cookie, struct xattr *ret)
{
	struct tree t;
	struct tree_pos pos;
	return IN64(in, I_XROOT) ? tree_at(in, cookie, &t, &pos, ret)
				 : inline_seek(in, cookie, ret);
}

int xattr_find(struct inode *in, unsigned space, const char *name, unsigned len, struct xattr *ret)
{
	uint64_t h = xattr_hash(in->fs, space, name, len), next = h, from = h;
	for (;;) {
		int rc = xattr_next(in, from, ret);
		if (rc && rc != -ENOENT)
			return rc;
		if (rc || ret->cookie >= h + COLLISIONS)
			break;
		if (ret->space == space && ret->namelen == len && !memcmp(ret->name, name, len))
			return 0;
		if (ret->cookie == next)
			next++;
		from = ret->cookie + 1;
	}
	*ret = (struct xattr){.cookie = next < h + COLLISIONS ? next : 0};
	return -ENOENT;
}

int xattr_value(struct inode *in, const struct xattr *x, uint8_t *to)
{
	struct tree t;
	struct tree_pos pos;
	struct xattr again;
	uint32_t at = x->here;
	if (at)
		memcpy(to, x->value, at);
	if (at == x->len)
		return 0;
	int rc = tree_at(in, x->cookie, &t, &pos, &again);
	for (uint64_t key = x->cookie << X_SHIFT; !rc && at < x->len;) {
		unsigned n;
		rc = tree_next(&t, &pos);
		if (rc)
			break;
		const uint8_t *v = tree_value(&pos, &n);
		if (tree_key(&pos) != ++key || n != MIN(x->len - at, (uint32_t)TREE_VALUE_MAX))
			return tree_broken(in);
		memcpy(to + at, v, n);
		at += n;
	}
	return rc == -ENOENT ? tree_broken(in) : rc;
}

static int store(struct inode *in, const struct xattr *x, const struct xattr *old)
{
	unsigned used = IN32(in, I_XINLINE) - (old && !old->in_tree ? inline_size(old) : 0);
	int rc = 0;
	if (!IN64(in, I_XROOT) && used + inline_size(x) <= inline_room(in)) {
		inline_change(in, old ? old->cookie : 0, x);
		return 0;
	}
	if (!IN64(in, I_XROOT)) {
		if (old)
			inline_change(in, old->cookie, NULL);
		rc = tree_from_inline(in);
	} else if (old) {
		rc = tree_drop(in, old);
	}
	return rc ? rc : tree_store(in, x);
}

int xattr_put(struct inode *in, unsigned space, const char *name, unsigned namelen,
	      const uint8_t *value, uint32_t len, enum fs_xattr_how how)
{
	struct xattr old,
	    x = {.space = space, .name = name, .namelen = namelen, .value = value, .len = len};
	int rc = xattr_find(in, space, name, namelen, &old);
	if (rc && rc != -ENOENT)
		return rc;
	if (rc ? how == FS_XATTR_REPLACE : how == FS_XATTR_CREATE)
		return rc ? -ENODATA : -EEXIST;
	x.cookie = old.cookie;
	if (!x.cookie)
		return -ENOSPC;
	return store(in, &x, rc ? NULL : &old);
}

int xattr_drop(struct inode *in, unsigned space, const char *name, unsigned len)
{
	struct xattr x;
	int rc = xattr_find(in, space, name, len, &x);
	if (rc)
		return rc == -ENOENT ? -ENODATA : rc;
	if (x.in_tree)
		return tree_drop(in, &x);
	inline_change(in, x.cookie, NULL);
	return 0;
}

/* ---- calls ---- */

struct xattr_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	const char *name;
	uint32_t namelen;
	void *buf;
	const uint8_t *value;
	uint32_t len;
	uint32_t *ret_len;
	enum fs_xattr_how how;
	bool remove;
	struct fs_wcc *wcc;
	uint64_t cookie;
	fs_xattr_emit *emit;
	void *arg;
	bool *ret_eof;
};

static int name_sound(const struct xattr_args *a)
{
	if (!a->namelen || memchr(a->name, 0, a->namelen))
		return -EINVAL;
	return a->namelen > FS_NAME_MAX ? -ENAMETOOLONG : 0;
}

static bool has_any(const struct inode *in)
{
	return IN_TYPE(in) == FS_REG || IN_TYPE(in) == FS_DIR;
}

static int get_body(struct fs *fs, const struct xattr_args *a)
{
	struct inode in;
	struct xattr x;
	int rc = inode_get_fid(fs, a->f, &in);
	if (!rc)
		rc = has_any(&in) ? inode_may(a->cred, &in, 4) : -ENODATA;
	if (!rc)
		rc = xattr_find(&in, X_USER, a->name, a->namelen, &x);
	if (rc)
		return rc == -ENOENT ? -ENODATA : rc;
	*a->ret_len = x.len;
	if (!a->len)
		return 0;
	return x.len > a->len ? -ERANGE : xattr_value(&in, &x, a->buf);
}

int fs_xattr_get(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		 const char *name, uint32_t namelen, void *buf, uint32_t size, uint32_t *ret_len)
{
	struct xattr_args a = {.cred = cred,
			       .f = f,
			       .name = name,
			       .namelen = namelen,
			       .buf = buf,
			       .len = size,
			       .ret_len = ret_len};
	struct op op;
	int rc = name_sound(&a);
	if (rc)
		return rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, get_body(fs, &a));
	op_end(&op);
	return rc;
}

static int change_may(const struct xattr_args *a, const struct inode *in)
{
	if (!has_any(in))
		return -EPERM;
	/* Many may write in a sticky directory, but not about it. */
	if (IN_TYPE(in) == FS_DIR && IN32(in, I_MODE) & 01000 && !cred_root(a->cred) &&
	    a->cred->uid != IN32(in, I_UID))
		return -EPERM;
	return inode_may(a->cred, in, 2);
}

static int may_body(struct fs *fs, const struct xattr_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	return rc ? rc : change_may(a, &in);
}

int fs_may_set_xattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f)
{
	const struct xattr_args a = {.cred = cred, .f = f};
	struct op op;
	int rc;
	if (fs_done_before(fs, cred))
		return 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, may_body(fs, &a));
	op_end(&op);
	return rc;
}

static enum memo_kind memo_kind(const struct xattr_args *a)
{
	return a->remove ? MEMO_XATTR_REMOVE : MEMO_XATTR_SET;
}

static int change_body(struct fs *fs, const struct xattr_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	wcc_pre(a->wcc, &in);
	wcc_post(a->wcc, &in);
	fs->tx.unlimited = cred_root(a->cred);
	fs->tx.last_blocks = a->remove;
	rc = change_may(a, &in);
	if (!rc && a->remove)
		rc = xattr_drop(&in, X_USER, a->name, a->namelen);
	else if (!rc)
		rc = xattr_put(&in, X_USER, a->name, a->namelen, a->value, a->len, a->how);
	if (rc)
		return rc;
	inode_stamp(&in, STAMP_CTIME);
	memo_note(a->cred, memo_kind(a), &in);
	wcc_post(a->wcc, &in);
	return 0;
}

static int change(struct fs *fs, const struct xattr_args *a)
{
	struct op op;
	if (a->wcc)
		a->wcc->have_pre = a->wcc->have_post = false;
	int rc = name_sound(a);
	if (rc)
		return rc;
	if (memo_find(fs, a->cred, memo_kind(a), NULL))
		return memo_wcc(fs, a->f, a->wcc);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, change_body(fs, a));
	return op_commit(&op, rc);
}

int fs_xattr_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		 const char *name, uint32_t namelen, const void *value, uint32_t len,
		 enum fs_xattr_how how, struct fs_wcc *wcc)
{
	struct xattr_args a = {.cred = cred,
			       .f = f,
			       .name = name,
			       .namelen = namelen,
			       .value = value,
			       .len = len,
			       .how = how,
			       .wcc = wcc};
	return len > FS_XATTR_MAX ? -E2BIG : change(fs, &a);
}

int fs_xattr_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		    const char *name, uint32_t namelen, struct fs_wcc *wcc)
{
	struct xattr_args a = {
	    .cred = cred, .f = f, .name = name, .namelen = namelen, .remove = true, .wcc = wcc};
	return change(fs, &a);
}

/* One at a time: what comes next is looked for anew, so nothing is held across waits. */
static int list_body(struct fs *fs, struct xattr_args *a)
{
	struct inode in;
	struct xattr x;
	int rc = inode_get_fid(fs, a->f, &in);
	if (!rc)
		rc = has_any(&in) ? inode_may(a->cred, &in, 4) : -ENOENT;
	while (!rc) {
		rc = xattr_next(&in, a->cookie + 1, &x);
		if (rc)
			break;
		if (x.space == X_USER && !a->emit(a->arg, x.name, x.namelen, x.len, x.cookie))
			return 0;
		a->cookie = x.cookie;
	}
	*a->ret_eof = rc == -ENOENT;
	return rc == -ENOENT ? 0 : rc;
}

int fs_xattr_list(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		  uint64_t cookie, fs_xattr_emit *emit, void *arg, bool *ret_eof)
{
	struct xattr_args a = {
	    .cred = cred, .f = f, .cookie = cookie, .emit = emit, .arg = arg, .ret_eof = ret_eof};
	struct op op;
	int rc;
	*ret_eof = false;
	if (cookie >= UINT64_MAX >> X_SHIFT) {
		*ret_eof = true;
		return 0;
	}
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, list_body(fs, &a));
	op_end(&op);
	return rc;
}
