/*
 * Blocks: bitmaps by allocation group, and what may not be used though its bit is clear.
 *
 * A clear bit whose *busy* bit is set is set aside: reserved for data being written (alloc_reserve,
 * not in any journal: a crash frees it) or for tree nodes (alloc_node), or freed a short while ago
 * (quarantine, txn.c). Data allocations leave KEEP_DATA blocks, metadata KEEP_META, so that
 * removing always works.
 *
 * Tree nodes come from runs that are set aside for them, one a group: the nodes of a big directory
 * lie together and a checkpoint writes many at a time (checkpoint.c).
 *
 * Order of search: the goal itself, then onwards from it in its group, then other groups by their
 * summary (which is always in memory).
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define AG_WORDS   (AG_BLOCKS / 64)
#define KEEP_DATA  96
#define KEEP_META  32
#define GOOD_SHARE 8 /* a group with 1/8 free is a good place for much data */
#define NODES_RUN  64
#define NODES_LOW  (64 * NODES_RUN) /* with less room no runs are set aside */

uint64_t ag_of(const struct fs *fs, uint64_t block)
{
	return (block - fs->ag_start) / AG_BLOCKS;
}

uint64_t ag_first(const struct fs *fs, uint64_t ag)
{
	return fs->ag_start + ag * AG_BLOCKS;
}

uint32_t ag_size(const struct fs *fs, uint64_t ag)
{
	return (uint32_t)MIN((uint64_t)AG_BLOCKS, fs->blocks - 1 - ag_first(fs, ag));
}

bool extent_is_data(const struct fs *fs, uint64_t block, uint64_t len)
{
	if (block < fs->ag_start || !len || len > AG_BLOCKS)
		return false;
	uint64_t ag = ag_of(fs, block), at = (block - fs->ag_start) % AG_BLOCKS;
	return ag < fs->ag_count && at >= AG_META && at + len <= ag_size(fs, ag);
}

bool block_is_data(const struct fs *fs, uint64_t block)
{
	return extent_is_data(fs, block, 1);
}

uint8_t *summary_of(struct fs *fs, uint64_t ag, struct buf **ret_b, unsigned *ret_off)
{
	struct buf *b = fs->summary[ag / SUM_PER_BLOCK];
	unsigned off = H_SIZE + (unsigned)(ag % SUM_PER_BLOCK) * SUM_SIZE;
	if (ret_b)
		*ret_b = b;
	if (ret_off)
		*ret_off = off;
	return b->data + off;
}

static void summary_add(struct fs *fs, uint64_t ag, unsigned field, int64_t n)
{
	struct buf *b;
	unsigned off;
	uint8_t *s = summary_of(fs, ag, &b, &off);
	txn_touch(fs, b, off, SUM_SIZE);
	le32_put(s + field, (uint32_t)(le32_get(s + field) + n));
	if (field == SUM_FREE)
		fs->tx.dfree += n;
	else if (field == SUM_INODES)
		fs->tx.dinodes += n;
	else
		fs->tx.dslots += n;
}

/* ---- busy maps ---- */

void busy_set(struct fs *fs, uint64_t start, uint64_t len, bool on)
{
	struct ag_state *ag = &fs->ags[ag_of(fs, start)];
	uint64_t at = (start - fs->ag_start) % AG_BLOCKS;
	ASSERT(ag->busy);
	for (uint64_t i = at; i < at + len; i++) {
		uint64_t bit = 1ull << (i % 64);
		ASSERT(!(ag->busy[i / 64] & bit) == on);
		ag->busy[i / 64] ^= bit;
	}
	ag->nbusy += on ? (uint32_t)len : -(uint32_t)len;
	fs->nbusy += on ? len : -len;
	if (!ag->nbusy) {
		free(ag->busy);
		ag->busy = NULL;
	}
}

static int busy_map(struct fs *fs, uint64_t start)
{
	struct ag_state *ag = &fs->ags[ag_of(fs, start)];
	if (!ag->busy)
		ag->busy = calloc(AG_WORDS, sizeof(uint64_t));
	return ag->busy ? 0 : -ENOMEM;
}

void quarantine_add(struct fs *fs, uint64_t start, uint64_t len, uint64_t seq)
{
	struct quarantined *q = malloc(sizeof(*q));
	if (!q)
		return; /* the blocks stay busy until the next mount: not lost, not misused */
	*q = (struct quarantined){.start = start, .len = len, .seq = seq, .io = fs->io_seq};
	STAILQ_INSERT_TAIL(&fs->quarantine, q, link);
}

void quarantine_reap(struct fs *fs)
{
	struct io_hold *oldest = TAILQ_FIRST(&fs->ios);
	struct quarantined *q;
	while ((q = STAILQ_FIRST(&fs->quarantine)) && q->seq <= fs->stable &&
	       (!oldest || oldest->began > q->io)) {
		STAILQ_REMOVE_HEAD(&fs->quarantine, link);
		busy_set(fs, q->start, q->len, false);
		free(q);
	}
	waitq_wake_all(&fs->quarantine_q);
}

/* ---- search ---- */

static bool bit_get(const uint8_t *map, uint32_t i)
{
	return map[H_SIZE + i / 8] >> (i % 8) & 1;
}

static void bits_set(uint8_t *map, uint32_t at, uint32_t len, bool on)
{
	for (uint32_t i = at; i < at + len; i++) {
		if (on)
			map[H_SIZE + i / 8] |= (uint8_t)(1 << (i % 8));
		else
			map[H_SIZE + i / 8] &= (uint8_t) ~(1 << (i % 8));
	}
}

static uint64_t word_taken(const uint8_t *map, const struct ag_state *ag, uint32_t w)
{
	uint64_t v = le64_get(map + H_SIZE + w * 8);
	return ag->busy ? v | ag->busy[w] : v;
}

/* First bit >= from (below size) whose taken state is `taken`; size when there is none. */
static uint32_t bit_find(const uint8_t *map, const struct ag_state *ag, uint32_t from,
			 uint32_t size, bool taken)
{
	while (from < size) {
		uint64_t v = word_taken(map, ag, from / 64);
		if (!taken)
			v = ~v;
		v >>= from % 64;
		if (v)
			return MIN(from + (uint32_t)__builtin_ctzll(v), size);
		from = (from / 64 + 1) * 64;
	}
	return size;
}

/* The first run of `want` from `from` on (wrapping), or the longest there is. */
static struct extent run_find(const uint8_t *map, const struct ag_state *ag, uint32_t from,
			      uint32_t size, uint32_t want)
{
	struct extent best = {0, 0};
	for (int lap = 0; lap < 2; lap++) {
		uint32_t at = lap ? AG_META : from, end = lap ? MIN(from, size) : size;
		while ((at = bit_find(map, ag, at, end, false)) < end) {
			uint32_t stop = bit_find(map, ag, at, MIN(size, at + want), true);
			if (stop - at > best.len)
				best = (struct extent){at, stop - at};
			if (best.len >= want)
				return best;
			at = stop;
		}
	}
	return best;
}

static uint32_t ag_avail(struct fs *fs, uint64_t ag)
{
	uint32_t n = le32_get(summary_of(fs, ag, NULL, NULL) + SUM_FREE), b = fs->ags[ag].nbusy;
	return n > b ? n - b : 0;
}

static uint64_t total_avail(const struct fs *fs)
{
	int64_t n = (int64_t)(fs->free_blocks + (uint64_t)fs->tx.dfree - fs->nbusy);
	return n > 0 ? (uint64_t)n : 0;
}

/* A run in one group. 0 with ret->len 0 when the group has none. */
static int ag_search(struct fs *fs, uint64_t ag, uint64_t goal, uint64_t want, struct extent *ret)
{
	struct buf *b;
	uint32_t size = ag_size(fs, ag), from = MAX(fs->ags[ag].rover, AG_META);
	int rc = meta_get(fs, ag_first(fs, ag) + AG_BITMAP, BT_BITMAP, 0, &b);
	if (rc)
		return rc;
	uint32_t w = (uint32_t)MIN(want, (uint64_t)size);
	if (goal >= ag_first(fs, ag) + AG_META && goal < ag_first(fs, ag) + size) {
		from = (uint32_t)(goal - ag_first(fs, ag));
		uint32_t stop = bit_find(b->data, &fs->ags[ag], from, MIN(size, from + w), true);
		if (stop > from) { /* right behind what is there already: better than longer */
			*ret = (struct extent){goal, stop - from};
			return 0;
		}
	}
	if (from >= size)
		from = AG_META;
	struct extent e = run_find(b->data, &fs->ags[ag], from, size, w);
	*ret = (struct extent){ag_first(fs, ag) + e.start, e.len};
	if (e.len)
		fs->ags[ag].rover = (uint32_t)(e.start + e.len);
	return 0;
}

static int run_search(struct fs *fs, uint64_t goal, uint64_t want, struct extent *ret)
{
	uint64_t first = block_is_data(fs, goal) ? ag_of(fs, goal) : fs->next_ag % fs->ag_count;
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t i = 0; i < fs->ag_count; i++) {
			uint64_t ag = (first + i) % fs->ag_count;
			uint32_t n = ag_avail(fs, ag);
			if (!n || (!pass && i && want > 1 && n < ag_size(fs, ag) / GOOD_SHARE))
				continue;
			int rc = ag_search(fs, ag, i ? 0 : goal, want, ret);
			if (rc == -ERR_CORRUPT)
				continue; /* another group does */
			if (rc || ret->len)
				return rc;
		}
	}
	return -ENOSPC;
}

/* ---- taking and giving ---- */

/* Sets or clears bits of the bitmap, all of which must be the other way now. */
static int map_change(struct fs *fs, uint64_t start, uint64_t len, bool on)
{
	struct buf *b;
	uint64_t ag = ag_of(fs, start);
	uint32_t at = (uint32_t)((start - fs->ag_start) % AG_BLOCKS);
	int rc = meta_get(fs, ag_first(fs, ag) + AG_BITMAP, BT_BITMAP, 0, &b);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < len; i++)
		if (bit_get(b->data, at + i) == on) {
			corrupt_note(fs, b->block, 0, "a block's bit is not as its owner says");
			return -ERR_CORRUPT;
		}
	uint32_t n = (uint32_t)len, first = at / 8, last = (at + n - 1) / 8;
	txn_touch(fs, b, H_SIZE + first, last - first + 1);
	bits_set(b->data, at, n, on);
	summary_add(fs, ag, SUM_FREE, on ? -(int64_t)len : (int64_t)len);
	if (fs->watch)
		watch_block(fs, start, len);
	return 0;
}

/* Little room is left: what was set aside for nodes is for all again. */
static void nodes_release(struct fs *fs)
{
	for (uint64_t i = 0; i < fs->ag_count && fs->nodes_runs; i++) {
		struct extent *e = &fs->ags[i].nodes;
		if (!e->len)
			continue;
		busy_set(fs, e->start, e->len, false);
		e->len = 0;
		fs->nodes_runs--;
	}
}

static bool room_is_low(struct fs *fs)
{
	if (total_avail(fs) >= NODES_LOW)
		return false;
	nodes_release(fs);
	return true;
}

int alloc_node(struct fs *fs, uint64_t goal, uint64_t *ret)
{
	struct extent *run = &fs->ags[ag_of(fs, goal)].nodes, e;
	if (room_is_low(fs))
		return alloc_block(fs, goal, ret);
	if (!run->len) {
		int rc = run_search(fs, goal, NODES_RUN, &e);
		if (!rc)
			rc = busy_map(fs, e.start);
		if (rc)
			return rc;
		busy_set(fs, e.start, e.len, true);
		*run = e;
		fs->nodes_runs++;
	}
	goal = run->start++;
	fs->nodes_runs -= --run->len == 0;
	busy_set(fs, goal, 1, false);
	return alloc_block(fs, goal, ret);
}

int alloc_block(struct fs *fs, uint64_t goal, uint64_t *ret)
{
	struct extent e;
	int rc;
	room_is_low(fs);
	if (!fs->tx.last_blocks && total_avail(fs) <= KEEP_META)
		return -ENOSPC;
	for (;;) {
		rc = run_search(fs, goal, 1, &e);
		if (rc || !meta_find(fs, e.start))
			break;
		/* Marked free, and we hold it as metadata: the bitmap is wrong. Keep off it. */
		corrupt_note(fs, e.start, 0, "in use but marked free");
		rc = busy_map(fs, e.start);
		if (rc)
			break;
		busy_set(fs, e.start, 1, true);
	}
	if (!rc)
		rc = map_change(fs, e.start, 1, true);
	if (!rc)
		*ret = e.start;
	return rc;
}

int alloc_reserve(struct fs *fs, uint64_t goal, uint64_t want, struct extent *ret)
{
	struct extent e;
	room_is_low(fs);
	uint64_t n = total_avail(fs);
	if (n <= KEEP_DATA)
		return -ENOSPC;
	int rc = run_search(fs, goal, MIN(want, n - KEEP_DATA), &e);
	if (!rc)
		rc = busy_map(fs, e.start);
	if (rc)
		return rc;
	busy_set(fs, e.start, e.len, true);
	*ret = e;
	return 0;
}

void alloc_unreserve(struct fs *fs, uint64_t start, uint64_t len)
{
	busy_set(fs, start, len, false);
}

/* The busy bits stay until the body has ended: see alloc_unreserve(). */
int alloc_claim(struct fs *fs, uint64_t start, uint64_t len)
{
	return map_change(fs, start, len, true);
}

int alloc_free(struct fs *fs, uint64_t start, uint64_t len)
{
	struct txn *tx = &fs->tx;
	if (!extent_is_data(fs, start, len))
		return -ERR_CORRUPT;
	int rc = map_change(fs, start, len, false);
	if (!rc)
		rc = busy_map(fs, start);
	if (rc)
		return rc;
	ASSERT(tx->nfreed < ARRAY_LEN(tx->freed));
	busy_set(fs, start, len, true);
	tx->freed[tx->nfreed++] = (struct extent){start, len};
	return 0;
}

uint64_t alloc_data_avail(const struct fs *fs)
{
	uint64_t n = total_avail(fs);
	for (uint64_t i = 0; i < fs->ag_count && fs->nodes_runs; i++)
		n += fs->ags[i].nodes.len;
	return n > KEEP_DATA ? n - KEEP_DATA : 0;
}
