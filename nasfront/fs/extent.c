/*
 * Where a file's blocks are: up to 12 extents in the inode, sorted; more in a tree.
 * What no extent covers is a hole. Once a tree, a map stays one until it is empty.
 *
 * An unwritten extent holds blocks that are the file's and were never written: they read as
 * zeros. ext_written() turns a part of one into data, after the data is there. Neighbours of the
 * same kind that lie one behind the other are one extent.
 *
 * A shared extent's blocks may be led to by others too: share.c knows how many. What is not marked
 * so is this file's alone.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define CUT_STEP   6 /* extents freed in one body: bounds its size */
#define SHARE_COST 3 /* as many is one that is shared */

struct ext {
	uint64_t fblk, phys, len;
	uint32_t flags;
};

static bool ext_sound(struct inode *in, const struct ext *e)
{
	if (extent_is_data(in->fs, e->phys, e->len) && e->fblk < FILE_BLOCKS_MAX &&
	    !(e->flags & ~EXT_FLAGS) && e->flags != EXT_FLAGS)
		return true;
	corrupt_note(in->fs, in->b->block, in->ino, "extent outside the allocation groups");
	return false;
}

/* ---- in the inode ---- */

static struct ext inline_get(const struct inode *in, unsigned i)
{
	const uint8_t *p = in->p + I_AREA + i * EXT_INLINE_SIZE;
	return (struct ext){le64_get(p), le64_get(p + 8), le32_get(p + 16), le32_get(p + 20)};
}

static void inline_put(struct inode *in, unsigned i, const struct ext *e)
{
	uint8_t *p = in->p + I_AREA + i * EXT_INLINE_SIZE;
	le64_put(p, e->fblk);
	le64_put(p + 8, e->phys);
	le32_put(p + 16, (uint32_t)e->len);
	le32_put(p + 20, e->flags);
}

/* How many there is room for: extended attributes may lie behind them. */
static unsigned inline_max(const struct inode *in)
{
	return (I_AREA_SIZE - IN32(in, I_XINLINE)) / EXT_INLINE_SIZE;
}

/* ---- either way: the last extent that begins at or before fblk, and the first after ---- */

static void value_put(uint8_t *v, const struct ext *e)
{
	le64_put(v, e->phys);
	le32_put(v + 8, (uint32_t)e->len);
	le32_put(v + 12, e->flags);
}

static struct ext pos_ext(const struct tree_pos *pos)
{
	unsigned len;
	const uint8_t *v = tree_value(pos, &len);
	return (struct ext){tree_key(pos), le64_get(v), le32_get(v + 8), le32_get(v + 12)};
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
		ret->unwritten = le.flags & EXT_UNWRITTEN;
		ret->shared = le.flags & EXT_SHARED;
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
	memset(in->p + I_AREA, 0, n * EXT_INLINE_SIZE);
	return 0;
}

static bool joins(const struct inode *in, const struct ext *a, const struct ext *b)
{
	return a->len && b->len && a->flags == b->flags && a->fblk + a->len == b->fblk &&
	       a->phys + a->len == b->phys && extent_is_data(in->fs, a->phys, a->len + b->len);
}

/* Replaces the extent that begins at the same file block as e. */
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
	if (!IN64(in, I_ROOT) && n < inline_max(in)) {
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

static int ext_remove(struct inode *in, uint64_t fblk)
{
	if (IN64(in, I_ROOT)) {
		struct tree t = tree_of(in);
		int rc = tree_delete(&t, fblk);
		return rc == -ENOENT ? -ERR_CORRUPT : rc;
	}
	unsigned n = IN32(in, I_INLINE), i = 0;
	while (i < n && inline_get(in, i).fblk != fblk)
		i++;
	if (i == n)
		return -ERR_CORRUPT;
	inode_touch(in);
	inode_touch_area(in);
	for (; i + 1 < n; i++) {
		struct ext x = inline_get(in, i + 1);
		inline_put(in, i, &x);
	}
	IN_SET32(in, I_INLINE, n - 1);
	return 0;
}

/* Enters e where nothing is, joined with what it continues and what continues it. */
static int ext_store(struct inode *in, const struct ext *e)
{
	struct ext le, gt, all = *e;
	int rc = around(in, e->fblk, &le, &gt);
	if (rc)
		return rc;
	if ((le.len && e->fblk < le.fblk + le.len) || (gt.len && e->fblk + e->len > gt.fblk))
		return -ERR_CORRUPT;
	if (joins(in, &all, &gt)) {
		rc = ext_remove(in, gt.fblk);
		all.len += gt.len;
	}
	if (rc)
		return rc;
	if (!joins(in, &le, &all))
		return ext_add(in, &all);
	le.len += all.len;
	return ext_replace(in, &le);
}

int ext_insert(struct inode *in, uint64_t fblk, uint64_t phys, uint64_t len, uint32_t flags)
{
	struct ext e = {fblk, phys, len, flags};
	int rc = ext_store(in, &e);
	if (rc)
		return rc;
	inode_touch(in);
	IN_SET64(in, I_BLOCKS, IN64(in, I_BLOCKS) + len);
	quota_add(in, (int64_t)len, 0);
	return 0;
}

/* ---- changing and freeing parts ---- */

/* The last extent that begins at or before fblk. -ENOENT. */
static int ext_le(struct inode *in, uint64_t fblk, struct ext *ret)
{
	int rc = -ENOENT;
	if (!IN64(in, I_ROOT)) {
		for (unsigned i = IN32(in, I_INLINE); rc && i-- > 0;) {
			*ret = inline_get(in, i);
			if (ret->fblk <= fblk)
				rc = 0;
		}
	} else {
		struct tree t = tree_of(in);
		struct tree_pos pos;
		rc = tree_seek_le(&t, fblk, &pos);
		if (!rc)
			*ret = pos_ext(&pos);
	}
	return rc ? rc : ext_sound(in, ret) ? 0 : -ERR_CORRUPT;
}

/* What is left of e before `from` and from `to` on; the rest is no part of it any more. */
static int ext_carve(struct inode *in, const struct ext *e, uint64_t from, uint64_t to)
{
	struct ext left = *e, right = *e;
	uint64_t end = e->fblk + e->len;
	int rc;
	left.len = from - e->fblk;
	right.fblk = to;
	right.phys += to - e->fblk;
	right.len = end - to;
	rc = left.len ? ext_replace(in, &left) : ext_remove(in, e->fblk);
	return rc || !right.len ? rc : ext_add(in, &right);
}

/* Makes an extent that is there one with its neighbours. */
static int ext_join(struct inode *in, const struct ext *e)
{
	struct ext le, gt, all = *e;
	uint64_t end = e->fblk + e->len;
	int rc = e->fblk ? ext_le(in, e->fblk - 1, &le) : -ENOENT;
	if (rc == -ENOENT)
		le.len = 0;
	else if (rc)
		return rc;
	rc = ext_le(in, end, &gt);
	if (rc)
		return rc == -ENOENT ? -ERR_CORRUPT : rc;
	if (gt.fblk == end && joins(in, e, &gt)) {
		rc = ext_remove(in, end);
		all.len += gt.len;
	}
	if (!rc && joins(in, &le, &all)) {
		rc = ext_remove(in, e->fblk);
		le.len += all.len;
		return rc ? rc : ext_replace(in, &le);
	}
	return rc || all.len == e->len ? rc : ext_replace(in, &all);
}

/* The extent with that mark that covers len blocks from fblk on. */
static int ext_covering(struct inode *in, uint64_t fblk, uint64_t len, uint32_t mark,
			struct ext *ret)
{
	int rc = ext_le(in, fblk, ret);
	if (rc)
		return rc == -ENOENT ? -ERR_CORRUPT : rc;
	return ret->flags & mark && fblk + len <= ret->fblk + ret->len ? 0 : -ERR_CORRUPT;
}

/* A part of e is `mid` from now on. */
static int ext_change(struct inode *in, const struct ext *e, const struct ext *mid)
{
	uint64_t fblk = mid->fblk, len = mid->len;
	struct ext right = {fblk + len, e->phys + len, e->len - len, e->flags};
	int rc;
	inode_touch(in);
	if (fblk > e->fblk) {
		rc = ext_carve(in, e, fblk, fblk + len);
		return rc ? rc : ext_store(in, mid);
	}
	rc = ext_replace(in, mid);
	if (!rc && right.len)
		rc = ext_add(in, &right);
	return rc ? rc : ext_join(in, mid);
}

int ext_written(struct inode *in, uint64_t fblk, uint64_t len)
{
	struct ext e, mid;
	int rc = ext_covering(in, fblk, len, EXT_UNWRITTEN, &e);
	if (rc)
		return rc;
	mid = (struct ext){fblk, e.phys + (fblk - e.fblk), len, 0};
	return ext_change(in, &e, &mid);
}

int ext_alone(struct inode *in, uint64_t fblk, uint64_t len, uint64_t phys)
{
	struct ext e, mid = {fblk, phys, len, 0};
	int rc = ext_covering(in, fblk, len, EXT_SHARED, &e);
	return rc ? rc : ext_change(in, &e, &mid);
}

int ext_share(struct inode *in, uint64_t fblk)
{
	struct ext e;
	int rc = ext_le(in, fblk, &e);
	if (rc || fblk >= e.fblk + e.len || e.flags & EXT_UNWRITTEN)
		return rc && rc != -ENOENT ? rc : -ERR_CORRUPT;
	if (e.flags & EXT_SHARED)
		return 0;
	e.flags = EXT_SHARED;
	inode_touch(in);
	rc = ext_replace(in, &e);
	return rc ? rc : ext_join(in, &e);
}

int ext_punch(struct inode *in, uint64_t from, uint64_t to)
{
	for (int i = 0; i < CUT_STEP; i++) {
		struct ext e;
		int rc = ext_le(in, to - 1, &e);
		if (rc == -ENOENT || (!rc && e.fblk + e.len <= from))
			return 0;
		if (rc)
			return rc;
		uint64_t a = MAX(e.fblk, from), b = MIN(e.fblk + e.len, to), n = b - a;
		if (e.flags & EXT_SHARED) {
			rc = share_drop_last(in->fs, e.phys + (a - e.fblk), n, &n);
			a = b - n;
			i += SHARE_COST - 1;
		} else {
			rc = alloc_free(in->fs, e.phys + (a - e.fblk), n);
		}
		if (rc)
			return rc;
		inode_touch(in);
		IN_SET64(in, I_BLOCKS, IN64(in, I_BLOCKS) - (b - a));
		quota_add(in, -(int64_t)(b - a), 0);
		rc = ext_carve(in, &e, a, b);
		if (rc)
			return rc;
	}
	return 1;
}

int ext_cut(struct inode *in, uint64_t fblk)
{
	return ext_punch(in, fblk, UINT64_MAX);
}

int ext_exchange(struct inode *a, struct inode *standin)
{
	static const struct {
		uint8_t at, len;
	} fields[] = {{I_ROOT, 8}, {I_INLINE, 4}, {I_LEVEL, 4}};
	uint8_t keep[I_AREA_SIZE];
	int rc = 0;
	/* There may be less room in the inode, for attributes lie there. */
	if (!IN64(standin, I_ROOT) && IN32(standin, I_INLINE) > inline_max(a))
		rc = tree_from_inline(standin);
	if (rc)
		return rc;
	inode_touch(a);
	inode_touch_area(a);
	inode_touch(standin);
	inode_touch_area(standin);
	size_t of_a = IN64(a, I_ROOT) ? 0 : IN32(a, I_INLINE) * EXT_INLINE_SIZE,
	       of_b = IN64(standin, I_ROOT) ? 0 : IN32(standin, I_INLINE) * EXT_INLINE_SIZE;
	if (of_a > I_AREA_SIZE || of_b > I_AREA_SIZE)
		return -ERR_CORRUPT;
	memcpy(keep, a->p + I_AREA, of_a);
	memset(a->p + I_AREA, 0, of_a);
	memcpy(a->p + I_AREA, standin->p + I_AREA, of_b);
	memset(standin->p + I_AREA, 0, of_b);
	memcpy(standin->p + I_AREA, keep, of_a);
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		memcpy(keep, a->p + fields[i].at, fields[i].len);
		memcpy(a->p + fields[i].at, standin->p + fields[i].at, fields[i].len);
		memcpy(standin->p + fields[i].at, keep, fields[i].len);
	}
	return 0;
}
