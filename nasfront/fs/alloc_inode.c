/*
 * Inode numbers: slots of inode blocks, which are made when no slot is free and stay.
 *
 * The inode bitmap says which blocks are inode blocks, the free bitmap which of them have a free
 * slot. A number's generation starts at random when its block is made and grows with each use, so
 * a handle of a removed file is told from its successor.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

static int map_get(struct fs *fs, uint64_t ag, unsigned which, struct buf **ret)
{
	return meta_get(fs, ag_first(fs, ag) + which, BT_BITMAP + which, 0, ret);
}

static void map_bit(struct fs *fs, struct buf *b, uint32_t bit, bool on)
{
	txn_touch(fs, b, H_SIZE + bit / 8, 1);
	if (on)
		b->data[H_SIZE + bit / 8] |= (uint8_t)(1 << (bit % 8));
	else
		b->data[H_SIZE + bit / 8] &= (uint8_t) ~(1 << (bit % 8));
}

static void summary_inodes(struct fs *fs, uint64_t ag, int used, int slots)
{
	struct buf *b;
	unsigned off;
	uint8_t *s = summary_of(fs, ag, &b, &off);
	txn_touch(fs, b, off, SUM_SIZE);
	le32_put(s + SUM_INODES, le32_get(s + SUM_INODES) + (uint32_t)used);
	le32_put(s + SUM_FREE_SLOTS, le32_get(s + SUM_FREE_SLOTS) + (uint32_t)slots);
	fs->tx.dinodes += used;
	fs->tx.dslots += slots;
}

bool alloc_is_inode_block(struct fs *fs, uint64_t block, int *rc)
{
	struct buf *b;
	*rc = 0;
	if (!block_is_data(fs, block))
		return false;
	*rc = map_get(fs, ag_of(fs, block), AG_INODE_MAP, &b);
	if (*rc)
		return false;
	uint64_t bit = (block - fs->ag_start) % AG_BLOCKS;
	return b->data[H_SIZE + bit / 8] >> (bit % 8) & 1;
}

static unsigned slot_find(const uint8_t *d, unsigned *ret_free)
{
	unsigned found = INODES_PER_BLOCK, n = 0;
	for (unsigned i = INODES_PER_BLOCK; i-- > 0;)
		if (!d[H_SIZE + i * INODE_SIZE + I_TYPE]) {
			found = i;
			n++;
		}
	*ret_free = n;
	return found;
}

/* A new inode block in or after the group. */
static int block_make(struct fs *fs, uint64_t ag, struct buf **ret)
{
	uint64_t block;
	struct buf *map, *freemap;
	uint64_t goal = ag_first(fs, ag) + MAX(fs->ags[ag].inode_hint, AG_META);
	int rc = alloc_block(fs, goal, &block); /* next to the last: they are written together */
	if (rc)
		return rc;
	ag = ag_of(fs, block);
	rc = map_get(fs, ag, AG_INODE_MAP, &map);
	if (!rc)
		rc = map_get(fs, ag, AG_INODE_FREE, &freemap);
	if (rc)
		return rc;
	struct buf *b = txn_new(fs, block, BT_INODES, 0);
	if (!b)
		return -ENOMEM;
	uint32_t gen = (uint32_t)env_random_u64(fs->env);
	for (unsigned i = 0; i < INODES_PER_BLOCK; i++) {
		uint8_t *p = b->data + H_SIZE + i * INODE_SIZE;
		le16_put(p + I_MAGIC, INODE_MAGIC);
		le32_put(p + I_GENERATION, gen + i * 0x01000193u);
	}
	uint32_t bit = (uint32_t)((block - fs->ag_start) % AG_BLOCKS);
	map_bit(fs, map, bit, true);
	map_bit(fs, freemap, bit, true);
	summary_inodes(fs, ag, 0, INODES_PER_BLOCK);
	fs->ags[ag].inode_hint = bit;
	*ret = b;
	return 0;
}

void alloc_inode_block_bad(struct fs *fs, uint64_t block)
{
	fs->bad_inodes[fs->nbad_inodes++ % BAD_INODE_BLOCKS] = block;
}

static bool block_is_bad(const struct fs *fs, uint64_t block)
{
	for (unsigned i = 0; i < MIN(fs->nbad_inodes, (unsigned)BAD_INODE_BLOCKS); i++)
		if (fs->bad_inodes[i] == block)
			return true;
	return false;
}

/* The bits of a word of the free bitmap without those of blocks that cannot be read. */
static uint64_t word_without_bad(const struct fs *fs, uint64_t v, uint64_t first)
{
	for (uint64_t rest = v; fs->nbad_inodes && rest; rest &= rest - 1)
		if (block_is_bad(fs, first + (unsigned)__builtin_ctzll(rest)))
			v &= ~(rest & -rest);
	return v;
}

/* An inode block of the group with a free slot, by the free bitmap. */
static int block_find(struct fs *fs, uint64_t ag, struct buf **ret)
{
	struct buf *freemap;
	int rc = map_get(fs, ag, AG_INODE_FREE, &freemap);
	if (rc)
		return rc;
	uint32_t words = AG_BLOCKS / 64, start = fs->ags[ag].inode_hint / 64;
	for (uint32_t i = 0; i < words; i++) {
		uint32_t w = (start + i) % words;
		uint64_t v = le64_get(freemap->data + H_SIZE + w * 8);
		v = word_without_bad(fs, v, ag_first(fs, ag) + w * 64);
		if (!v)
			continue;
		uint32_t bit = w * 64 + (uint32_t)__builtin_ctzll(v);
		fs->ags[ag].inode_hint = bit;
		rc = meta_get(fs, ag_first(fs, ag) + bit, BT_INODES, 0, ret);
		fs->need.alloc = rc == -EAGAIN;
		return rc;
	}
	if (fs->nbad_inodes)
		return -ERR_CORRUPT;
	corrupt_note(fs, freemap->block, 0, "no free inode where the summary counts some");
	return -ERR_CORRUPT;
}

static bool has_slots(struct fs *fs, uint64_t ag)
{
	return le32_get(summary_of(fs, ag, NULL, NULL) + SUM_FREE_SLOTS) > 0;
}

/* Where inodes wanted in the group go now. A full group's inode blocks are made in another one:
 * the slots of those are used up before the next is made. */
static uint64_t inode_ag(struct fs *fs, uint64_t ag)
{
	if (ag >= fs->ag_count)
		ag = 0;
	for (uint64_t i = 0; i < fs->ag_count && !has_slots(fs, ag) && fs->ags[ag].spill; i++)
		ag = fs->ags[ag].spill - 1;
	return ag;
}

int alloc_inode(struct fs *fs, uint64_t ag, uint64_t *ret_ino, uint32_t *ret_gen)
{
	struct buf *b, *freemap;
	unsigned nfree;
	uint64_t home = ag < fs->ag_count ? ag : 0;
	ag = inode_ag(fs, home);
	int rc = has_slots(fs, ag) ? block_find(fs, ag, &b) : -ENOENT;
	if (rc == -ENOENT || rc == -ERR_CORRUPT) {
		rc = block_make(fs, ag, &b);
		if (!rc)
			fs->ags[home].spill =
			    ag_of(fs, b->block) == home ? 0 : ag_of(fs, b->block) + 1;
	}
	if (rc == -ENOSPC) /* slots may be left elsewhere */
		for (uint64_t i = 0; i < fs->ag_count && rc == -ENOSPC; i++)
			if (has_slots(fs, i))
				rc = block_find(fs, i, &b);
	if (rc)
		return rc;
	ag = ag_of(fs, b->block);
	rc = map_get(fs, ag, AG_INODE_FREE, &freemap);
	if (rc)
		return rc;
	unsigned slot = slot_find(b->data, &nfree);
	if (slot == INODES_PER_BLOCK) {
		corrupt_note(fs, b->block, 0, "inode block is full though marked not");
		return -ERR_CORRUPT;
	}
	uint32_t bit = (uint32_t)((b->block - fs->ag_start) % AG_BLOCKS);
	if (nfree == 1)
		map_bit(fs, freemap, bit, false);
	summary_inodes(fs, ag, 1, -1);
	*ret_ino = block_ino(fs, b->block, slot);
	*ret_gen = le32_get(b->data + H_SIZE + slot * INODE_SIZE + I_GENERATION) + 1;
	return 0;
}

int alloc_free_inode(struct fs *fs, uint64_t ino)
{
	struct buf *b;
	uint64_t block = ino_block(fs, ino), ag = ag_of(fs, block);
	uint32_t bit = (uint32_t)((block - fs->ag_start) % AG_BLOCKS);
	int rc = map_get(fs, ag, AG_INODE_FREE, &b);
	if (rc)
		return rc;
	if (!(b->data[H_SIZE + bit / 8] >> (bit % 8) & 1))
		map_bit(fs, b, bit, true);
	summary_inodes(fs, ag, -1, 1);
	fs->ags[ag].inode_hint = bit;
	return 0;
}

/* Directories are spread: the next group with at least the usual room. */
uint64_t alloc_dir_ag(struct fs *fs)
{
	uint64_t usual = fs->free_blocks / fs->ag_count / 2;
	for (uint64_t i = 1; i <= fs->ag_count; i++) {
		uint64_t ag = (fs->last_dir_ag + i) % fs->ag_count;
		if (le32_get(summary_of(fs, ag, NULL, NULL) + SUM_FREE) >= usual) {
			fs->last_dir_ag = ag;
			return ag;
		}
	}
	return 0;
}

void alloc_holder(struct fs *fs)
{
	summary_inodes(fs, 0, 1, 0);
}
