/*
 * Checkpoint: writes dirty blocks to their places and moves the journal's tail.
 *
 * A round copies the blocks that have been dirty longest and their dirty neighbours (between two
 * bodies: the copy is consistent), calls them clean, waits until the batch running then is stable
 * (nothing reaches its place before its journal record), writes the copies in block order, flushes,
 * and moves the tail to the oldest image still needed. A block changed meanwhile is dirty anew,
 * with a new image behind the tail, so a torn write of it is always repaired by replay.
 *
 * When: a checkpoint begins when much of the log is in use and stops when a little less is. So a
 * block that is changed again and again, by changes far apart, is logged whole and written once for
 * as many changes as the log has room for. Neighbours go along because a write of many blocks costs
 * little more than one of a single block; tree nodes lie in runs for it (alloc_node).
 *
 * The blocks stay pinned until written (a reload would see the old content), and the round holds
 * back the reuse of freed blocks as file I/O does (its late write must not hit new data).
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define ROUND_MAX 256
#define RUN_MAX	  64 /* blocks in a row taken along with one */

static int by_block(const void *a, const void *b)
{
	uint64_t x = (*(struct buf *const *)a)->block, y = (*(struct buf *const *)b)->block;
	return x < y ? -1 : x > y;
}

static void round_take(struct fs *fs, struct buf *b, struct buf **bufs, unsigned *n)
{
	TAILQ_REMOVE(&fs->dirty, b, dirty_link);
	fs->ndirty--;
	b->dirty = false;
	b->pins++;
	bufs[(*n)++] = b;
}

static bool round_goes_along(struct fs *fs, uint64_t block, unsigned type, struct buf **ret)
{
	*ret = meta_find(fs, block);
	return *ret && (*ret)->dirty && (*ret)->type == type;
}

/* The one and its dirty neighbours of the same type, as far as there is room. */
static void round_take_run(struct fs *fs, struct buf *b, struct buf **bufs, unsigned *n)
{
	uint64_t first = b->block, last = b->block;
	unsigned type = b->type, end = MIN(*n + RUN_MAX, ROUND_MAX);
	round_take(fs, b, bufs, n);
	while (*n < end && round_goes_along(fs, last + 1, type, &b)) {
		round_take(fs, b, bufs, n);
		last++;
	}
	while (*n < end && round_goes_along(fs, first - 1, type, &b)) {
		round_take(fs, b, bufs, n);
		first--;
	}
}

static unsigned round_collect(struct fs *fs, struct buf **bufs, uint64_t *blocks)
{
	unsigned n = 0;
	struct buf *b;
	while (n < ROUND_MAX && (b = TAILQ_FIRST(&fs->dirty)))
		round_take_run(fs, b, bufs, &n);
	qsort(bufs, n, sizeof(*bufs), by_block);
	for (unsigned i = 0; i < n; i++) {
		blocks[i] = bufs[i]->block;
		memcpy(fs->bounce + i * BS, bufs[i]->data, BS);
		block_seal(fs->bounce + i * BS, fs->run.seq);
	}
	return n;
}

static int round_write(struct fs *fs, const uint64_t *blocks, unsigned n)
{
	for (unsigned i = 0; i < n;) {
		unsigned k = 1;
		while (i + k < n && blocks[i + k] == blocks[i] + k)
			k++;
		int rc =
		    bdev_write(fs->dev, fs->bounce + i * BS, (size_t)k * BS, blocks[i] * BS, 0);
		if (rc)
			return rc;
		i += k;
	}
	return journal_flush(fs);
}

static uint64_t oldest_needed(struct fs *fs)
{
	struct buf *b = TAILQ_FIRST(&fs->dirty);
	return b && b->first_pos != POS_UNSET ? b->first_pos : fs->head;
}

static int checkpoint_round(struct fs *fs)
{
	struct buf **bufs = malloc(ROUND_MAX * (sizeof(*bufs) + sizeof(uint64_t)));
	if (!bufs)
		return -ENOMEM;
	uint64_t *blocks = (uint64_t *)(bufs + ROUND_MAX);
	struct io_hold hold;
	unsigned n = round_collect(fs, bufs, blocks);
	io_hold_begin(fs, &hold);
	int rc = journal_wait(fs, fs->run.seq);
	if (!rc)
		rc = round_write(fs, blocks, n);
	fs->st.blocks_written += rc ? 0 : n;
	if (!rc)
		rc = journal_head_write(fs, oldest_needed(fs), false);
	io_hold_end(fs, &hold);
	for (unsigned i = 0; i < n && !rc; i++)
		meta_unpin(bufs[i]);
	free(bufs);
	return rc;
}

bool checkpoint_due(const struct fs *fs)
{
	return fs->head - fs->tail > fs->log_blocks / 4 * 3 || fs->ndirty > fs->max_bufs / 8 * 5;
}

/* Below these marks there is always journal_room(). */
static bool round_due(const struct fs *fs, bool all)
{
	if (all)
		return fs->ndirty || fs->tail != fs->head;
	return fs->tail < fs->checkpoint_to || fs->head - fs->tail > fs->log_blocks / 8 * 5 ||
	       fs->ndirty > fs->max_bufs / 2;
}

int checkpoint_run(struct fs *fs, bool all)
{
	while (fs->checkpointing)
		waitq_wait(&fs->checkpoint_q);
	fs->checkpointing = true;
	while (!fs->error && !fs->read_only && round_due(fs, all)) {
		int rc = checkpoint_round(fs);
		if (rc)
			journal_give_up(fs, rc);
		waitq_wake_all(&fs->space_q);
	}
	fs->checkpointing = false;
	waitq_wake_all(&fs->checkpoint_q);
	waitq_wake_all(&fs->space_q);
	return fs->error;
}

static void checkpoint_task(void *arg)
{
	struct fs *fs = arg;
	fs->checkpoint_wanted = false;
	if (!fs->dead)
		checkpoint_run(fs, false);
	fs_unref(fs);
}

void checkpoint_kick(struct fs *fs)
{
	if (fs->checkpointing || fs->checkpoint_wanted || fs->dead || fs->error || fs->read_only)
		return;
	fs->checkpoint_wanted = true;
	fs_ref(fs);
	if (task_start(checkpoint_task, fs)) {
		fs->checkpoint_wanted = false;
		fs_unref(fs);
	}
}
