/* The maps' pass of a check: bitmaps, inode maps and summary against what was reached. */
#include "nasfront/fs/check.h"
#include "nasfront/fs/watch.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* One group as it should be and as it is. */
struct group {
	struct checker *c;
	uint64_t ag;
	uint8_t want[AG_META][BS], have[AG_META][BS];
	uint32_t sum_want[3], sum_have[3]; /* free, inodes, free slots */
	int unread[AG_META];
	bool missing_only, bad;
};

static const unsigned sum_fields[3] = {SUM_FREE, SUM_INODES, SUM_FREE_SLOTS};

static bool bit(const uint8_t *map, uint32_t i)
{
	return map[H_SIZE + i / 8] >> (i % 8) & 1;
}

static void bit_on(uint8_t *map, uint32_t i)
{
	map[H_SIZE + i / 8] |= (uint8_t)(1 << (i % 8));
}

static void slots_want(struct group *g, uint32_t i, const uint8_t *d)
{
	uint64_t block = ag_first(g->c->fs, g->ag) + i;
	bool root = block == g->c->fs->root_block;
	for (unsigned k = 0; k < INODES_PER_BLOCK; k++) {
		if (d[H_SIZE + k * INODE_SIZE + I_TYPE]) {
			g->sum_want[1]++;
		} else if (!root) { /* the root block's others are never given out */
			g->sum_want[2]++;
			bit_on(g->want[AG_INODE_FREE], i);
		}
	}
}

static int group_want(struct group *g)
{
	struct checker *c = g->c;
	struct fs *fs = c->fs;
	uint32_t size = ag_size(fs, g->ag);
	memset(g->want, 0, sizeof(g->want));
	memset(g->sum_want, 0, sizeof(g->sum_want));
	for (uint32_t i = 0; i < AG_BLOCKS; i++) {
		uint64_t block = ag_first(fs, g->ag) + i;
		if (i < AG_META || i >= size || c->owned[block / 64] >> (block % 64) & 1)
			bit_on(g->want[AG_BITMAP], i);
		else
			g->sum_want[0]++;
		if (i < AG_META || i >= size || !(c->inode_blocks[block / 64] >> (block % 64) & 1))
			continue;
		bit_on(g->want[AG_INODE_MAP], i);
		int rc = check_fetch(c, block, BT_INODES, 0, c->block);
		if (rc == -ERR_CORRUPT && c->online)
			continue;
		if (rc)
			return rc;
		slots_want(g, i, c->block);
	}
	return 0;
}

static int have_body(struct group *g)
{
	struct fs *fs = g->c->fs;
	const uint8_t *s = summary_of(fs, g->ag, NULL, NULL);
	for (unsigned k = 0; k < AG_META; k++) {
		struct buf *b;
		if (g->unread[k])
			continue;
		int rc = meta_get(fs, ag_first(fs, g->ag) + k, BT_BITMAP + k, 0, &b);
		if (rc)
			return rc;
		memcpy(g->have[k], b->data, BS);
	}
	for (unsigned k = 0; k < 3; k++)
		g->sum_have[k] = le32_get(s + sum_fields[k]);
	return 0;
}

static int group_have(struct group *g)
{
	struct fs *fs = g->c->fs;
	static const char *const names[] = {"block bitmap", "inode map", "inode free map"};
	struct op op;
	int rc;
	memset(g->unread, 0, sizeof(g->unread));
	for (unsigned k = 0; k < AG_META; k++) {
		rc = check_fetch(g->c, ag_first(fs, g->ag) + k, BT_BITMAP + k, 0, g->have[k]);
		if (rc == -ERR_CORRUPT || rc == -EIO || rc == -ERR_MEDIUM) {
			g->unread[k] = rc;
			g->bad |= check_error(g->c, 0, "%s of group %" PRIu64 " cannot be read",
					      names[k], g->ag);
		} else if (rc) {
			return rc;
		}
	}
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, have_body(g));
	op_end(&op);
	return rc;
}

static void bits_compare(struct group *g, unsigned k, const char *over, const char *under)
{
	struct checker *c = g->c;
	uint64_t n[2] = {0, 0}, first[2] = {0, 0};
	if (g->unread[k])
		return;
	for (uint32_t i = 0; i < AG_BLOCKS; i++) {
		bool w = bit(g->want[k], i), h = bit(g->have[k], i);
		uint64_t block = ag_first(c->fs, g->ag) + i;
		if (w == h || (block < c->fs->blocks && watch_block_changed(c->fs, block)))
			continue;
		if (k && c->online)
			continue; /* inode blocks are filled and emptied without a trace */
		if (!n[w]++)
			first[w] = block;
	}
	if (n[0] && !g->missing_only)
		g->bad |= check_error(c, 0, "%" PRIu64 " blocks from %" PRIu64 " on %s", n[0],
				      first[0], over);
	if (n[1])
		g->bad |= check_error(c, 0, "%" PRIu64 " blocks from %" PRIu64 " on %s", n[1],
				      first[1], under);
}

static void summary_compare(struct group *g)
{
	static const char *const names[] = {"free blocks", "inodes", "free inodes"};
	uint32_t free_now = 0;
	if (g->missing_only)
		return;
	for (uint32_t i = 0; i < AG_BLOCKS && !g->unread[AG_BITMAP]; i++)
		free_now += !bit(g->have[AG_BITMAP], i);
	for (unsigned k = 0; k < 3; k++) {
		uint32_t want = g->c->online ? free_now : g->sum_want[k];
		if (k && g->c->online)
			return;
		if (g->unread[AG_BITMAP] || g->sum_have[k] != want)
			g->bad |= check_error(
			    g->c, 0, "group %" PRIu64 ": summary counts %u %s, there are %u", g->ag,
			    g->sum_have[k], names[k], want);
	}
}

/* All three maps and the summary as they should be. */
static int mend_body(struct group *g)
{
	struct fs *fs = g->c->fs;
	struct buf *b;
	unsigned off;
	for (unsigned k = 0; k < AG_META; k++) {
		uint64_t block = ag_first(fs, g->ag) + k;
		int rc = 0;
		if (g->unread[k] && !meta_find(fs, block))
			b = txn_new(fs, block, BT_BITMAP + k, 0);
		else
			rc = meta_get(fs, block, BT_BITMAP + k, 0, &b);
		if (rc || !b)
			return rc ? rc : -ENOMEM;
		txn_touch(fs, b, H_SIZE, BS - H_SIZE);
		if (g->missing_only && !g->unread[k])
			for (unsigned i = H_SIZE; i < BS; i++)
				b->data[i] |= g->want[k][i];
		else
			memcpy(b->data + H_SIZE, g->want[k] + H_SIZE, BS - H_SIZE);
	}
	uint8_t *s = summary_of(fs, g->ag, &b, &off);
	txn_touch(fs, b, off, SUM_SIZE);
	fs->tx.dfree += (int64_t)g->sum_want[0] - le32_get(s + SUM_FREE);
	fs->tx.dinodes += (int64_t)g->sum_want[1] - le32_get(s + SUM_INODES);
	fs->tx.dslots += (int64_t)g->sum_want[2] - le32_get(s + SUM_FREE_SLOTS);
	for (unsigned k = 0; k < 3; k++)
		le32_put(s + sum_fields[k], g->sum_want[k]);
	return 0;
}

static int group_check(struct group *g)
{
	struct checker *c = g->c;
	struct op op;
	int rc = group_want(g);
	g->bad = false;
	if (!rc)
		rc = group_have(g);
	if (rc)
		return rc;
	bits_compare(g, AG_BITMAP, "are in use by nothing", "are in use but marked free");
	bits_compare(g, AG_INODE_MAP, "are no inode blocks", "are inode blocks not marked so");
	bits_compare(g, AG_INODE_FREE, "have no free inode",
		     "have free inodes and are not marked so");
	summary_compare(g);
	if (!g->bad || !c->repair)
		return 0;
	op_begin(&op, c->fs, true);
	OP_LOOP(&op, rc, mend_body(g));
	check_fixed(c, op_commit(&op, rc), 0);
	return 0;
}

int check_maps(struct checker *c, bool missing_only)
{
	struct group *g = calloc(1, sizeof(*g));
	int rc = g ? 0 : -ENOMEM;
	for (uint64_t ag = 0; ag < c->fs->ag_count && !rc; ag++) {
		g->c = c;
		g->ag = ag;
		g->missing_only = missing_only;
		rc = group_check(g);
	}
	free(g);
	return rc;
}
