/*
 * Bodies and what they change.
 *
 * txn_touch() saves 64-byte chunks before their first change by the running body and marks them
 * in the buffer; an abort puts the saved chunks back and forgets new blocks; an end moves the marks
 * to the running batch, which logs the chunks' bytes once, however many bodies changed them.
 * Since a body never waits there is at most one, so its state is the file system's own.
 *
 * A block that becomes dirty is logged whole (the image repairs a torn write of it to its place);
 * while it stays dirty only changed chunks are.
 *
 * What goes with all of a body's changes (the use of quotas, a memo) is noted meanwhile and entered
 * when it has ended well.
 *
 * Blocks freed are quarantined: not used again until the batch that freed them is stable and every
 * read or write of file data that began before has ended.
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define SPACE_TRIES 8
#define UNDO_MAX    (OP_BUFS_MAX * BUF_CHUNKS)

static void tx_reset(struct txn *tx)
{
	tx->open = tx->last_blocks = tx->unlimited = false;
	tx->dfree = tx->dinodes = tx->dslots = 0;
	tx->nbufs = tx->nundo = tx->nfreed = tx->nrevokes = tx->nquotas = 0;
	tx->memo.once = NULL;
}

static void tx_add(struct txn *tx, struct buf *b)
{
	ASSERT(tx->open && tx->nbufs < OP_BUFS_MAX);
	b->op_in = true;
	b->op_mask = 0;
	tx->bufs[tx->nbufs++] = b;
}

static unsigned tx_index(const struct txn *tx, const struct buf *b)
{
	for (unsigned i = tx->nbufs; i-- > 0;)
		if (tx->bufs[i] == b)
			return i;
	ASSERT(!"buffer is in the transaction");
	return 0;
}

void txn_touch(struct fs *fs, struct buf *b, unsigned off, unsigned len)
{
	struct txn *tx = &fs->tx;
	ASSERT(len && off + len <= BS);
	if (!b->op_in)
		tx_add(tx, b);
	unsigned first = off / 64, last = (off + len - 1) / 64;
	uint64_t want =
	    (last == 63 ? UINT64_MAX : (1ull << (last + 1)) - 1) & ~((1ull << first) - 1);
	want &= ~b->op_mask;
	if (!want)
		return;
	b->op_mask |= want;
	if (b->op_new)
		return;
	uint16_t index = (uint16_t)tx_index(tx, b);
	while (want) {
		unsigned c = (unsigned)__builtin_ctzll(want);
		want &= want - 1;
		tx->undo[tx->nundo] = (struct undo){.buf = index, .chunk = (uint16_t)c};
		memcpy(tx->saved + tx->nundo * 64, b->data + c * 64, 64);
		tx->nundo++;
	}
}

struct buf *txn_new(struct fs *fs, uint64_t block, unsigned type, uint64_t owner)
{
	struct buf *b = meta_insert(fs, block, type, owner);
	if (!b)
		return NULL;
	b->op_new = true;
	tx_add(&fs->tx, b);
	b->op_mask = UINT64_MAX;
	return b;
}

void txn_revoke(struct fs *fs, struct buf *b)
{
	struct txn *tx = &fs->tx;
	ASSERT(tx->nrevokes < ARRAY_LEN(tx->revokes));
	tx->revokes[tx->nrevokes++] = b->block;
}

static void tx_abort(struct fs *fs)
{
	struct txn *tx = &fs->tx;
	for (unsigned i = tx->nundo; i-- > 0;)
		memcpy(tx->bufs[tx->undo[i].buf]->data + tx->undo[i].chunk * 64, tx->saved + i * 64,
		       64);
	for (unsigned i = 0; i < tx->nbufs; i++) {
		struct buf *b = tx->bufs[i];
		b->op_in = false;
		b->op_mask = 0;
		if (b->op_new)
			meta_drop(fs, b);
	}
	for (unsigned i = 0; i < tx->nfreed; i++)
		busy_set(fs, tx->freed[i].start, tx->freed[i].len, false);
	tx_reset(tx);
}

static void batch_join(struct fs *fs, struct buf *b)
{
	if (!b->batch) {
		b->batch = fs->run.seq;
		b->mask = 0;
		b->image = false;
		TAILQ_INSERT_TAIL(&fs->run.bufs, b, batch_link);
		fs->run.nbufs++;
	}
	b->mask |= b->op_mask;
	if (!b->dirty) {
		b->dirty = true;
		b->image = true;
		b->first_pos = POS_UNSET;
		TAILQ_INSERT_TAIL(&fs->dirty, b, dirty_link);
		fs->ndirty++;
	}
	if (b->op_new)
		b->image = true;
}

static void tx_end(struct fs *fs)
{
	struct txn *tx = &fs->tx;
	for (unsigned i = 0; i < tx->nbufs; i++) {
		struct buf *b = tx->bufs[i];
		batch_join(fs, b);
		b->op_in = b->op_new = false;
		b->op_mask = 0;
		b->referenced = true;
	}
	for (unsigned i = 0; i < tx->nrevokes; i++) {
		fs->run.revokes[fs->run.nrevokes++] = tx->revokes[i];
		struct buf *b = meta_find(fs, tx->revokes[i]);
		if (b)
			meta_drop(fs, b);
	}
	for (unsigned i = 0; i < tx->nfreed; i++)
		quarantine_add(fs, tx->freed[i].start, tx->freed[i].len, fs->run.seq);
	fs->free_blocks += (uint64_t)tx->dfree;
	fs->used_inodes += (uint64_t)tx->dinodes;
	fs->free_slots += (uint64_t)tx->dslots;
	if (tx->memo.once)
		memo_entered(fs);
	if (tx->nbufs)
		fs->run.ops++;
	tx_reset(tx);
}

void op_begin(struct op *op, struct fs *fs, bool writes)
{
	CHECK(fs, FS_MAGIC);
	op->fs = fs;
	op->writes = writes;
	op->npins = op->next_pin = 0;
	op->space_tries = op->bad_tries = 0;
	fs_ref(fs);
	fs->st.ops++;
}

int op_try(struct op *op)
{
	struct fs *fs = op->fs;
	if (fs->dead)
		return -ERR_SHUTDOWN;
	meta_trim(fs);
	if (op->writes) {
		if (fs->read_only)
			return -EROFS;
		int rc = journal_reserve(fs);
		if (rc)
			return rc;
		ASSERT(!fs->tx.open);
		fs->tx.open = true;
	}
	return 0;
}

static void op_pin(struct op *op, struct buf *b)
{
	if (op->npins == OP_PINS) {
		meta_unpin(op->pins[op->next_pin]);
		op->pins[op->next_pin] = b;
		op->next_pin = (op->next_pin + 1) % OP_PINS;
		return;
	}
	op->pins[op->npins++] = b;
}

/* Waits until blocks freed a while ago may be used again. False: there are none to wait for.
 * The caller holds no io_hold, which would keep them from it. */
bool space_wait(struct fs *fs)
{
	if (fs->error || STAILQ_EMPTY(&fs->quarantine))
		return false;
	uint64_t seq = STAILQ_FIRST(&fs->quarantine)->seq;
	if (fs->stable < seq)
		return journal_wait(fs, seq) == 0;
	quarantine_reap(fs);
	if (!STAILQ_EMPTY(&fs->quarantine) && !TAILQ_EMPTY(&fs->ios))
		waitq_wait(&fs->quarantine_q);
	return true;
}

static bool block_lost(int rc)
{
	return rc == -ERR_CORRUPT || rc == -ERR_MEDIUM || rc == -EIO;
}

bool op_retry(struct op *op, int *rc)
{
	struct fs *fs = op->fs;
	if (op->writes && fs->tx.open) {
		if (*rc == 0)
			*rc = quota_apply(fs);
		if (*rc == 0 && fs->tx.memo.once)
			*rc = memo_enter(fs);
		if (*rc == 0)
			tx_end(fs);
		else
			tx_abort(fs);
	}
	if (*rc == -EAGAIN) {
		struct buf *b;
		uint64_t block = fs->need.block;
		bool alloc = fs->need.alloc;
		fs->need.alloc = false;
		*rc = meta_load(fs, block, fs->need.type, &b);
		if (alloc && block_lost(*rc)) {
			/* One of many to choose from: the body chooses another. */
			alloc_inode_block_bad(fs, block);
			return op->bad_tries++ < BAD_INODE_BLOCKS;
		}
		if (fs->need.type == BT_QUOTAS && block_lost(*rc) && op->writes && !fs->quota_off) {
			quota_give_up(fs);
			return true;
		}
		if (fs->need.type == BT_MEMOS && block_lost(*rc) && op->writes)
			return true; /* somebody was looking at what is written anew */
		if (*rc)
			return false;
		op_pin(op, b);
		return true;
	}
	return *rc == -ENOSPC && op->writes && op->space_tries++ < SPACE_TRIES && space_wait(fs);
}

void op_end(struct op *op)
{
	for (int i = 0; i < op->npins; i++)
		meta_unpin(op->pins[i]);
	op->npins = 0;
	fs_unref(op->fs);
}

int op_commit(struct op *op, int rc)
{
	struct fs *fs = op->fs;
	for (int i = 0; i < op->npins; i++)
		meta_unpin(op->pins[i]);
	op->npins = 0;
	if (!rc)
		rc = journal_wait(fs, fs->run.seq);
	fs_unref(fs);
	return rc;
}

int op_commit_soft(struct op *op, uint64_t seq)
{
	struct fs *fs = op->fs;
	for (int i = 0; i < op->npins; i++)
		meta_unpin(op->pins[i]);
	op->npins = 0;
	int rc = journal_wait_soft(fs, seq);
	if (!rc)
		journal_later(fs);
	fs_unref(fs);
	return rc;
}

void io_hold_begin(struct fs *fs, struct io_hold *h)
{
	h->began = ++fs->io_seq;
	TAILQ_INSERT_TAIL(&fs->ios, h, link);
}

void io_hold_end(struct fs *fs, struct io_hold *h)
{
	TAILQ_REMOVE(&fs->ios, h, link);
	if (!STAILQ_EMPTY(&fs->quarantine) || fs->share_waiters)
		quarantine_reap(fs);
}
