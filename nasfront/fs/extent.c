/*
 * Where a file's blocks are: up to 12 extents in the inode, sorted; more in a tree.
 * What no extent covers is a hole. Once a tree, a map stays one until it is empty.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define CUT_STEP 6 /* extents freed in one body: bounds its size */

struct ext {
	uint64_t fblk, phys, len;
};

static bool ext_sound(struct inode *in, const struct ext *e)
{
	if (extent_is_data(in->fs, e->phys, e->len) && e->fblk < FILE_BLOCKS_MAX)
		return true;
	corrupt_note(in->fs, in->b->block, in->ino, "extent outside the allocation groups");
	return false;
}

/* ---- in the inode ---- */

static struct ext inline_get(const struct inode *in, unsigned i)
{
	const uint8_t *p = in->p + I_AREA + i * EXT_INLINE_SIZE;
	return (struct ext){le64_get(p), le64_get(p + 8), le64_get(p + 16)};
}

static void inline_put(struct inode *in, unsigned i, const struct ext *e)
{
	uint8_t *p = in->p + I_AREA + i * EXT_INLINE_SIZE;
	le64_put(p, e->fblk);
	le64_put(p + 8, e->phys);
	le64_put(p + 16, e->len);
}

/* ---- either way: the last extent that begins at or before fblk, and the first after ---- */

static void value_put(uint8_t *v, const struct ext *e)
{
	le64_put(v, e->phys);
	le32_put(v + 8, (uint32_t)e->len);
	le32_put(v + 12, 0);
}

static struct ext pos_ext(const struct tree_pos *pos)
{
	unsigned len;
	const uint8_t *v = tree_value(pos, &len);
	return (struct ext){tree_key(pos), le64_get(v), le32_get(v + 8)};
}

static int around(struct inode *in, uint64_t fblk, struct ext *le, struct ext *gt)
{
	*le = *gt = (struct ext){0};
	if (!IN64(in, I_ROOT)) {
		unsigned n = IN32(in, I_INLINE);
		for (unsigned i = 0; i < n; i++) {
			struct ext e = inline_get(in, i);
			if (!ext_sound(in, &e))
				return -ERR_CORRUPT;
			if (e.fblk > fblk) {
				*gt = e;
				return 0;
			}
			*le = e;
		}
		return 0;
	}
	struct tree t = tree_of(in);
	struct tree_pos pos;
	int rc = tree_seek_le(&t, fblk, &pos);
	if (!rc) {
		*le = pos_ext(&pos);
		if (!ext_sound(in, le))
			return -ERR_CORRUPT;
		if (fblk < le->fblk + le->len)
			return 0; /* covered: what comes after does not matter */
		rc = tree_next(&t, &pos);
	} else if (rc == -ENOENT) {
		rc = tree_seek(&t, fblk, &pos);
	}
	if (!rc) {
		*gt = pos_ext(&pos);
		if (!ext_sound(in, gt))
			return -ERR_CORRUPT;
	}
	return rc == -ENOENT ? 0 : rc;
}

int ext_map(struct inode *in, uint64_t fblk, uint64_t max, struct map *ret)
{
	struct ext le, gt;
	int rc = around(in, fblk, &le, &gt);
	if (rc)
		return rc;
	*ret = (struct map){.fblk = fblk, .len = max};
	if (le.len && fblk < le.fblk + le.len) {
		ret->phys = le.phys + (fblk - le.fblk);
		ret->len = MIN(max, le.fblk + le.len - fblk);
	} else if (gt.len && gt.fblk > fblk) {
		ret->len = MIN(max, gt.fblk - fblk);
	}
	return 0;
}

uint64_t ext_goal(struct inode *in, uint64_t fblk)
{
	struct ext le, gt;
	if (!around(in, fblk, &le, &gt) && le.len)
		return le.phys + le.len + (fblk - le.fblk - le.len);
	return ino_block(in->fs, in->ino) + 1;
}

/* ---- adding ---- */

static int tree_from_inline(struct inode *in)
{
	struct tree t = tree_of(in);
	unsigned n = IN32(in, I_INLINE);
	inode_touch(in);
	inode_touch_area(in);
	IN_SET32(in, I_INLINE, 0);
	for (unsigned i = 0; i < n; i++) {
		struct ext e = inline_get(in, i);
		uint8_t v[EXT_VALUE];
		value_put(v, &e);
		int rc = tree_insert(&t, e.fblk, v, sizeof(v));
		if (rc)
			return rc == -EEXIST ? -ERR_CORRUPT : rc;
	}
	memset(in->p + I_AREA, 0, I_AREA_SIZE);
	return 0;
}

static bool joins(const struct inode *in, const struct ext *a, const struct ext *b)
{
	return a->len && b->len && a->fblk + a->len == b->fblk && a->phys + a->len == b->phys &&
	       extent_is_data(in->fs, a->phys, a->len + b->len);
}

/* Replaces extent `old` (its key) by e, which begins at the same file block. */
static int ext_replace(struct inode *in, const struct ext *e)
{
	if (!IN64(in, I_ROOT)) {
		for (unsigned i = 0; i < IN32(in, I_INLINE); i++)
			if (inline_get(in, i).fblk == e->fblk) {
				inode_touch_area(in);
				inline_put(in, i, e);
				return 0;
			}
		return -ERR_CORRUPT;
	}
	struct tree t = tree_of(in);
	struct tree_pos pos;
	unsigned len;
	int rc = tree_seek(&t, e->fblk, &pos);
	if (rc || tree_key(&pos) != e->fblk)
		return rc == -EAGAIN ? rc : -ERR_CORRUPT;
	tree_touch_value(&t, &pos);
	value_put(tree_value(&pos, &len), e);
	return 0;
}

static int ext_add(struct inode *in, const struct ext *e)
{
	unsigned n = IN32(in, I_INLINE);
	if (!IN64(in, I_ROOT) && n < EXT_INLINE_MAX) {
		unsigned i = n;
		inode_touch(in);
		inode_touch_area(in);
		for (; i > 0 && inline_get(in, i - 1).fblk > e->fblk; i--) {
			struct ext x = inline_get(in, i - 1);
			inline_put(in, i, &x);
		}
		inline_put(in, i, e);
		IN_SET32(in, I_INLINE, n + 1);
		return 0;
	}
	int rc = IN64(in, I_ROOT) ? 0 : tree_from_inline(in);
	if (rc)
		return rc;
	struct tree t = tree_of(in);
	uint8_t v[EXT_VALUE];
	value_put(v, e);
	rc = tree_insert(&t, e->fblk, v, sizeof(v));
	return rc == -EEXIST ? -ERR_CORRUPT : rc;
}

int ext_insert(struct inode *in, uint64_t fblk, uint64_t phys, uint64_t len)
{
	struct ext le, gt, e = {fblk, phys, len};
	int rc = around(in, fblk, &le, &gt);
	if (rc)
		return rc;
	if ((le.len && fblk < le.fblk + le.len) || (gt.len && fblk + len > gt.fblk))
		return -ERR_CORRUPT;
	inode_touch(in);
	IN_SET64(in, I_BLOCKS, IN64(in, I_BLOCKS) + len);
	quota_add(in, (int64_t)len, 0);
	if (joins(in, &le, &e)) {
		le.len += len;
		return ext_replace(in, &le);
	}
	return ext_add(in, &e);
}

/* ---- cutting ---- */

static int last_ext(struct inode *in, struct ext *ret)
{
	if (!IN64(in, I_ROOT)) {
		unsigned n = IN32(in, I_INLINE);
		if (!n)
			return -ENOENT;
		*ret = inline_get(in, n - 1);
		return 0;
	}
	struct tree t = tree_of(in);
	struct tree_pos pos;
	int rc = tree_seek_le(&t, UINT64_MAX, &pos);
	if (!rc)
		*ret = pos_ext(&pos);
	return rc;
}

static int ext_remove_last(struct inode *in, const struct ext *e)
{
	if (IN64(in, I_ROOT)) {
		struct tree t = tree_of(in);
		return tree_delete(&t, e->fblk);
	}
	inode_touch(in);
	IN_SET32(in, I_INLINE, IN32(in, I_INLINE) - 1);
	return 0;
}

int ext_cut(struct inode *in, uint64_t fblk)
{
	for (int i = 0; i < CUT_STEP; i++) {
		struct ext e;
		int rc = last_ext(in, &e);
		if (rc == -ENOENT || (!rc && e.fblk + e.len <= fblk))
			return 0;
		if (rc)
			return rc;
		if (!ext_sound(in, &e))
			return -ERR_CORRUPT;
		uint64_t keep = e.fblk < fblk ? fblk - e.fblk : 0;
		rc = alloc_free(in->fs, e.phys + keep, e.len - keep);
		if (rc)
			return rc;
		inode_touch(in);
		IN_SET64(in, I_BLOCKS, IN64(in, I_BLOCKS) - (e.len - keep));
		quota_add(in, -(int64_t)(e.len - keep), 0);
		e.len = keep;
		rc = keep ? ext_replace(in, &e) : ext_remove_last(in, &e);
		if (rc)
			return rc;
	}
	return 1;
}
