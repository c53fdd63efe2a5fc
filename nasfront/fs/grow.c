/*
 * Growing with the device, while in use.
 *
 * What lies beyond the end is written first: the maps of new groups and the last copy of the
 * superblock, which nothing knows of yet. Then one body changes everything that says where the end
 * is: the superblock and its copy (blocks 0 and 8), the summary, the bitmap of the group that was
 * last. So a crash leaves the old size or the new one, and replay mends a torn superblock; it takes
 * the size from the superblock's image in the log (replay.c).
 *
 * The old last copy of the superblock becomes a free block, or the bitmap of a new group: then that
 * bitmap is logged with the rest, as the place is still in use until then.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define STEP_MAX (64 * SUM_PER_BLOCK) /* groups added in one body */

struct grow {
	struct fs *fs;
	struct fs *to; /* the layout only */
	uint8_t *buf;  /* AG_META blocks */
	uint64_t added;
};

/* As large as device and summary allow. False: there is nothing to grow. */
static bool layout(struct grow *g)
{
	const struct fs *fs = g->fs;
	uint64_t most = MIN(fs->summary_blocks * SUM_PER_BLOCK, fs->ag_count + STEP_MAX);
	uint64_t blocks = fs->dev->size / BS;
	if (blocks <= fs->blocks)
		return false;
	blocks = MIN(blocks, fs->ag_start + most * AG_BLOCKS + 1);
	uint64_t rest = (blocks - 1 - fs->ag_start) % AG_BLOCKS;
	if (rest < AG_MIN)
		blocks -= rest;
	memcpy(g->to->uuid, fs->uuid, 16);
	g->to->ag_start = fs->ag_start;
	g->to->blocks = blocks;
	g->to->ag_count = (blocks - 1 - fs->ag_start + AG_BLOCKS - 1) / AG_BLOCKS;
	return blocks > fs->blocks;
}

void group_maps(struct fs *fs, uint64_t ag, uint8_t *d)
{
	memset(d, 0, AG_META * BS);
	for (unsigned k = 0; k < AG_META; k++)
		block_header(fs, d + k * BS, ag_first(fs, ag) + k, BT_BITMAP + k, 0);
	d[H_SIZE] = (1u << AG_META) - 1;
	for (uint32_t i = ag_size(fs, ag); i < AG_BLOCKS; i++)
		d[H_SIZE + i / 8] |= (uint8_t)(1 << (i % 8));
}

/* Of a group that begins where the last copy of the superblock still is. */
static bool bitmap_is_logged(const struct grow *g, uint64_t ag)
{
	return ag_first(g->to, ag) == g->fs->blocks - 1;
}

static int write_maps(struct grow *g)
{
	int rc = 0;
	for (uint64_t ag = g->fs->ag_count; ag < g->to->ag_count && !rc; ag++) {
		unsigned from = bitmap_is_logged(g, ag) ? 1 : 0;
		group_maps(g->to, ag, g->buf);
		for (unsigned k = 0; k < AG_META; k++)
			block_seal(g->buf + k * BS, 0);
		rc = bdev_write(g->fs->dev, g->buf + from * BS, (AG_META - from) * BS,
				(ag_first(g->to, ag) + from) * BS, 0);
	}
	return rc;
}

static void super_put(const struct grow *g, uint8_t *d)
{
	le64_put(d + SB_BLOCKS, g->to->blocks);
	le64_put(d + SB_AG_COUNT, g->to->ag_count);
}

static int write_last_copy(struct grow *g)
{
	struct fs *fs = g->fs;
	uint8_t *d = g->buf;
	int rc = super_read(fs->dev, d, false);
	if (rc)
		return rc;
	le64_put(d + H_BLOCK, g->to->blocks - 1);
	super_put(g, d);
	block_seal(d, 0);
	rc = bdev_write(fs->dev, d, BS, (g->to->blocks - 1) * BS, 0);
	return rc ? rc : journal_flush(fs);
}

/* ---- the change ---- */

static int super_body(struct grow *g, uint64_t block)
{
	struct buf *b;
	int rc = meta_get(g->fs, block, BT_SUPER, 0, &b);
	if (rc)
		return rc;
	txn_touch(g->fs, b, SB_BLOCKS, SB_ROOT_BLOCK - SB_BLOCKS);
	super_put(g, b->data);
	return 0;
}

static void summary_put(struct grow *g, uint64_t ag, uint32_t more, bool fresh)
{
	struct buf *b;
	unsigned off;
	uint8_t *s = summary_of(g->fs, ag, &b, &off);
	txn_touch(g->fs, b, off, SUM_SIZE);
	if (fresh)
		memset(s, 0, SUM_SIZE);
	le32_put(s + SUM_FREE, le32_get(s + SUM_FREE) + more);
	g->fs->tx.dfree += more;
}

/* The group that was last takes what it lacked. */
static int last_group_body(struct grow *g)
{
	struct fs *fs = g->fs;
	struct buf *b;
	uint64_t ag = fs->ag_count - 1;
	uint32_t from = ag_size(fs, ag), to = ag_size(g->to, ag);
	int rc = meta_get(fs, ag_first(fs, ag) + AG_BITMAP, BT_BITMAP, 0, &b);
	if (rc || from == to)
		return rc;
	txn_touch(fs, b, H_SIZE + from / 8, (to - 1) / 8 - from / 8 + 1);
	for (uint32_t i = from; i < to; i++)
		b->data[H_SIZE + i / 8] &= (uint8_t) ~(1 << (i % 8));
	summary_put(g, ag, to - from, false);
	return 0;
}

static int grow_body(struct grow *g)
{
	struct fs *fs = g->fs;
	int rc = super_body(g, 0);
	if (!rc)
		rc = super_body(g, SB_COPY_BLOCK);
	if (!rc)
		rc = last_group_body(g);
	if (rc)
		return rc;
	for (uint64_t ag = fs->ag_count; ag < g->to->ag_count; ag++) {
		summary_put(g, ag, ag_size(g->to, ag) - AG_META, true);
		if (!bitmap_is_logged(g, ag))
			continue;
		struct buf *b = txn_new(fs, ag_first(g->to, ag), BT_BITMAP, 0);
		if (!b)
			return -ENOMEM;
		group_maps(g->to, ag, g->buf);
		memcpy(b->data, g->buf, BS);
	}
	return 0;
}

static int grow_step(struct grow *g)
{
	struct fs *fs = g->fs;
	struct op op;
	int rc = write_maps(g);
	if (!rc)
		rc = write_last_copy(g);
	struct ag_state *ags = rc ? NULL : calloc(g->to->ag_count, sizeof(*ags));
	if (rc || !ags)
		return rc ? rc : -ENOMEM;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, grow_body(g));
	if (!rc) { /* before any other body */
		memcpy(ags, fs->ags, fs->ag_count * sizeof(*ags));
		free(fs->ags);
		fs->ags = ags;
		g->added += g->to->blocks - fs->blocks;
		fs->blocks = g->to->blocks;
		fs->ag_count = g->to->ag_count;
	} else {
		free(ags);
	}
	return op_commit(&op, rc);
}

static int grow_all(struct grow *g)
{
	struct fs *fs = g->fs;
	int rc = 0;
	fs->growing = true;
	fs_ref(fs);
	while (!rc && !fs->stopping && layout(g))
		rc = grow_step(g);
	fs->growing = false;
	if (g->added)
		event_write(LOG_L_NOTICE, "fs.grown", "%s: the file system grew by %" PRIu64 " MiB",
			    fs->dev->name, g->added * BS >> 20);
	fs_unref(fs);
	return rc;
}

int fs_grow(struct fs *fs, uint64_t *ret_added)
{
	CHECK(fs, FS_MAGIC);
	*ret_added = 0;
	struct grow g = {.fs = fs, .to = calloc(1, sizeof(*fs))};
	int rc = g.to && !posix_memalign((void **)&g.buf, BS, AG_META * BS) ? 0 : -ENOMEM;
	if (!rc && layout(&g))
		rc = fs->read_only ? -EROFS : fs->watch || fs->growing ? -EBUSY : grow_all(&g);
	*ret_added = g.added * BS;
	free(g.buf);
	free(g.to);
	return rc;
}
