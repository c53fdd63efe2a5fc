/*
 * Replay: applies every record from the tail on to the blocks in memory, then the checkpoint
 * writes them to their places. Stops at the first record whose magic, position, nonce or checksum
 * does not hold: it was never acknowledged. Doing it twice does no harm: bytes are set, not added.
 *
 * Soft records behind the last hard one (and behind the position the header calls hard) count only
 * when the device's memory is the one they were written into: else the data they point at may be
 * gone, and its blocks would show what they held before. So a first pass finds the end.
 *
 * But when one that holds, and is hard, follows one that does not, that is no end: it is damaged.
 * Nor is a place that cannot be read, or behind which something cannot be. Without a good copy of
 * the record the mount is refused; a repair replays what stands before it.
 *
 * A change to a block that is not in memory and not sound at its place is passed over: either its
 * image follows (the place was being rewritten), or a revocation does (the block is data now).
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define NO_COPY (-1)

static int part_read(struct fs *fs, uint8_t *to, uint64_t blocks, uint64_t at, int copy)
{
	uint64_t len = blocks * BS, off = (fs->journal_start + 2 + at) * BS;
	if (copy == NO_COPY)
		return bdev_read(fs->dev, to, len, off);
	return bdev_read_copy(fs->dev, to, len, off, (unsigned)copy);
}

/* copy: one of the device's redundancy copies, or NO_COPY: as it chooses. */
static int log_read(struct fs *fs, uint64_t pos, uint64_t n, uint8_t *to, int copy)
{
	uint64_t at = pos % fs->log_blocks, first = MIN(n, fs->log_blocks - at);
	int rc = part_read(fs, to, first, at, copy);
	return rc || first == n ? rc : part_read(fs, to + first * BS, n - first, 0, copy);
}

/* The blocks of the record that begins with this block, or 0. */
static uint64_t record_begins(const struct fs *fs, const uint8_t *d, uint64_t pos)
{
	uint32_t length = le32_get(d + JR_LENGTH);
	if (le32_get(d) != JR_MAGIC || le64_get(d + JR_POS) != pos ||
	    le64_get(d + JR_NONCE) != fs->nonce || length < JR_SIZE || length > fs->log_size)
		return 0;
	uint64_t n = (length + BS - 1) / BS;
	return n > fs->log_blocks ? 0 : n;
}

static int64_t record_from(struct fs *fs, uint64_t pos, int copy)
{
	int rc = log_read(fs, pos, 1, fs->log, copy);
	if (rc)
		return rc;
	uint64_t n = record_begins(fs, fs->log, pos);
	if (!n)
		return 0;
	if (n > 1 && (rc = log_read(fs, pos + 1, n - 1, fs->log + BS, copy)))
		return rc;
	uint32_t length = le32_get(fs->log + JR_LENGTH);
	uint32_t crc = le32_get(fs->log + JR_CRC);
	le32_put(fs->log + JR_CRC, 0);
	bool holds = crc32c(fs->log, length) == crc;
	le32_put(fs->log + JR_CRC, crc);
	return holds ? (int64_t)n : 0;
}

static bool block_may_be_logged(const struct fs *fs, uint64_t block, unsigned type)
{
	if (type == BT_SUMMARY)
		return block >= fs->summary_start && block - fs->summary_start < fs->summary_blocks;
	if (type == BT_BITMAP || type == BT_INODE_MAP || type == BT_INODE_FREE)
		return block >= fs->ag_start && block < fs->blocks &&
		       (block - fs->ag_start) % AG_BLOCKS == type - BT_BITMAP;
	if (type == BT_SUPER)
		return block == 0 || block == SB_COPY_BLOCK;
	return type >= BT_INODES && type < BT_LAST && block_is_data(fs, block);
}

/* It grew: what follows may be beyond the old end. */
static int super_grown(struct fs *fs, const uint8_t *d)
{
	if (!super_sound(d, fs->dev->size / BS) ||
	    le64_get(d + SB_JOURNAL_START) != fs->journal_start ||
	    le64_get(d + SB_JOURNAL_BLOCKS) != fs->journal_blocks)
		return -ERR_CORRUPT;
	super_take(fs, d);
	return 0;
}

static void mark_dirty(struct fs *fs, struct buf *b, uint64_t pos)
{
	if (b->dirty)
		return;
	b->dirty = true;
	b->first_pos = pos;
	TAILQ_INSERT_TAIL(&fs->dirty, b, dirty_link);
	fs->ndirty++;
}

/* One item. The block was maybe something else before: an image starts it anew. */
static int item_apply(struct fs *fs, uint64_t pos, uint64_t block, unsigned off, unsigned len,
		      unsigned type, const uint8_t *bytes)
{
	struct buf *b = meta_find(fs, block);
	if (!block_may_be_logged(fs, block, type))
		return -ERR_CORRUPT;
	if (len == BS && b && b->type != type) {
		meta_drop(fs, b);
		b = NULL;
	}
	if (!b && len == BS) {
		b = meta_insert(fs, block, type, 0);
		if (!b)
			return -ENOMEM;
	}
	if (!b) {
		uint8_t *d;
		if (posix_memalign((void **)&d, BS, BS))
			return -ENOMEM;
		int rc = bdev_read(fs->dev, d, BS, block * BS);
		if (!rc && !block_verify(fs->uuid, d, block, type)) {
			b = meta_insert(fs, block, type, 0);
			if (b)
				memcpy(b->data, d, BS);
		}
		free(d);
		if (!b)
			return 0;
	}
	if (b->type != type)
		return -ERR_CORRUPT;
	memcpy(b->data + off, bytes, len);
	b->owner = le64_get(b->data + H_OWNER);
	mark_dirty(fs, b, pos);
	if (type == BT_SUPER)
		return super_grown(fs, b->data);
	return 0;
}

static int record_apply(struct fs *fs, uint64_t pos)
{
	const uint8_t *p = fs->log + JR_SIZE, *end = fs->log + le32_get(fs->log + JR_LENGTH);
	uint32_t items = le32_get(fs->log + JR_ITEMS), revokes = le32_get(fs->log + JR_REVOKES);
	if ((uint64_t)(end - p) < revokes * 8ull)
		return -ERR_CORRUPT;
	const uint8_t *rv = p;
	p += revokes * 8ull;
	for (uint32_t i = 0; i < items; i++) {
		if (end - p < JI_SIZE)
			return -ERR_CORRUPT;
		unsigned off = le16_get(p + 8), len = le16_get(p + 10);
		if (off + len > BS || end - p - JI_SIZE < (ptrdiff_t)len)
			return -ERR_CORRUPT;
		int rc = item_apply(fs, pos, le64_get(p), off, len, le32_get(p + 12), p + JI_SIZE);
		if (rc)
			return rc;
		p += JI_SIZE + len;
	}
	for (uint32_t i = 0; i < revokes; i++) {
		struct buf *b = meta_find(fs, le64_get(rv + i * 8));
		if (b && block_is_data(fs, b->block))
			meta_drop(fs, b);
	}
	return 0;
}

/* What was put together must be as sound as what is read. */
static int replayed_verify(struct fs *fs)
{
	struct buf *b;
	TAILQ_FOREACH (b, &fs->dirty, dirty_link) {
		block_seal(b->data, 0);
		const char *why = block_verify(fs->uuid, b->data, b->block, b->type);
		if (why) {
			corrupt_note(fs, b->block, le64_get(b->data + H_OWNER), why);
			return -ERR_CORRUPT;
		}
	}
	return 0;
}

/* Of the record in fs->log. */
static bool record_holds(const struct fs *fs)
{
	if (!(le32_get(fs->log + JR_FLAGS) & JRF_SOFT))
		return true;
	return fs->memory_lives && le64_get(fs->log + JR_MEMORY) == fs->dev->memory_id;
}

/* ---- a record that does not hold: the end, or damage ---- */

/* Moves *at to the first block up to `last` that begins a record; behind it when none does. */
static int next_begins(struct fs *fs, uint64_t *at, uint64_t last)
{
	while (*at <= last) {
		uint64_t n = MIN(last + 1 - *at, fs->log_size / BS);
		int rc = log_read(fs, *at, n, fs->log, NO_COPY);
		if (rc)
			return rc;
		for (uint64_t k = 0; k < n; k++, ++*at)
			if (record_begins(fs, fs->log + k * BS, *at))
				return 0;
	}
	return 0;
}

/* 1: one that was promised lies behind, as far as those that are lost can reach. A hard record is
 * written when all in front of it are stable (J3, J6): so what is in front was, and is damaged.
 * -errno: what lies there cannot be read. */
static int hard_one_follows(struct fs *fs, uint64_t pos)
{
	const uint64_t most = fs->log_size / BS, end = fs->tail + fs->log_blocks;
	uint64_t at = pos + 1, last = pos + most;
	while (at <= MIN(last, end - 1)) {
		int64_t n = next_begins(fs, &at, MIN(last, end - 1));
		if (n)
			return (int)n;
		while (at < end && (n = record_from(fs, at, NO_COPY)) > 0) {
			if (!(le32_get(fs->log + JR_FLAGS) & JRF_SOFT))
				return 1;
			at += (uint64_t)n;
			last = at + most;
		}
		if (n < 0)
			return (int)n;
		at++;
	}
	return 0;
}

static int record_rewrite(struct fs *fs, uint64_t pos, uint64_t n)
{
	uint64_t start = fs->journal_start + 2, at = pos % fs->log_blocks,
		 first = MIN(n, fs->log_blocks - at);
	int rc = bdev_write(fs->dev, fs->log, first * BS, (start + at) * BS, 0);
	if (!rc && first < n)
		rc = bdev_write(fs->dev, fs->log + first * BS, (n - first) * BS, start * BS, 0);
	return rc;
}

/* Of a record that is damaged, from another copy, which is written over the bad one. Its blocks, 0:
 * no copy holds, or -errno. */
static int64_t record_mend(struct fs *fs, uint64_t pos)
{
	for (int c = 0; c < COPIES; c++) {
		int64_t n = record_from(fs, pos, c);
		if (n == -ENOENT || n == -EOPNOTSUPP)
			return 0;
		if (n <= 0)
			continue;
		fs->st.metadata_repaired++;
		event_write(LOG_L_WARN, "fs.repaired",
			    "%s: a record of the journal read from copy %d", fs->dev->name, c);
		int rc = fs->read_only ? 0 : record_rewrite(fs, pos, (uint64_t)n);
		return rc ? rc : n;
	}
	return 0;
}

/* Why a record is lost when it fails so, or NULL when another try may find it. */
static const char *why_lost(int64_t rc)
{
	if (rc == -ERR_CORRUPT)
		return "a journal record is damaged, and others follow it";
	return journal_unreadable(rc) ? "the journal cannot be read to its end" : NULL;
}

int64_t journal_record_read(struct fs *fs, uint64_t pos)
{
	int64_t n = record_from(fs, pos, NO_COPY), rc = n ? n : -ERR_CORRUPT;
	if (n > 0)
		return n;
	if (!n && pos >= fs->hard_pos) {
		int follows = hard_one_follows(fs, pos);
		if (!follows)
			return 0;
		if (follows < 0)
			rc = follows;
	}
	n = record_mend(fs, pos);
	if (n)
		return n;
	fs->log_lost = why_lost(rc);
	return rc;
}

/* Where the records end that count. What a damaged one and those behind it changed is lost: only a
 * repair goes on without. */
static int log_end(struct fs *fs, uint64_t *ret)
{
	uint64_t pos = fs->tail;
	*ret = pos;
	while (pos - fs->tail < fs->log_blocks) {
		int64_t blocks = journal_record_read(fs, pos);
		if (blocks < 0 && fs->log_lost)
			corrupt_note(fs, fs->journal_start + 2 + pos % fs->log_blocks, 0,
				     fs->log_lost);
		if (blocks < 0)
			return fs->log_lost && fs->salvage ? 0 : (int)blocks;
		if (!blocks || pos + (uint64_t)blocks - fs->tail > fs->log_blocks)
			break;
		bool counts = pos < fs->hard_pos || record_holds(fs);
		pos += (uint64_t)blocks;
		if (counts)
			*ret = pos;
	}
	return 0;
}

/* What the records say goes to its place soon. It may rest on them only when a later replay takes
 * them too, whatever becomes of the memory: soft ones are, and the last hard one and the header may
 * have been on their way when the process before died. */
static int log_harden(struct fs *fs)
{
	int rc = journal_flush(fs);
	if (rc || fs->head == fs->tail)
		return rc;
	fs->hard_pos = fs->head;
	return journal_head_write(fs, fs->tail, false);
}

int journal_replay(struct fs *fs, bool clean, uint64_t *ret_batches)
{
	uint64_t n = 0, end = fs->tail;
	int rc = clean ? 0 : log_end(fs, &end);
	for (fs->head = fs->tail; !rc && fs->head < end; n++) {
		int64_t blocks = journal_record_read(fs, fs->head);
		if (blocks <= 0)
			return blocks ? (int)blocks : -ERR_CORRUPT;
		rc = record_apply(fs, fs->head);
		if (rc)
			corrupt_note(fs, fs->journal_start, 0, "a journal record makes no sense");
		fs->head += (uint64_t)blocks;
	}
	*ret_batches = n;
	if (!rc)
		rc = replayed_verify(fs);
	return rc || fs->read_only ? rc : log_harden(fs);
}

/* What could not be read of it may not stop the next mount. */
int journal_wipe(struct fs *fs)
{
	const uint64_t most = fs->log_size / BS;
	int rc = 0;
	memset(fs->log, 0, fs->log_size);
	for (uint64_t at = 0; at < fs->log_blocks && !rc; at += most)
		rc = bdev_write(fs->dev, fs->log, MIN(most, fs->log_blocks - at) * BS,
				(fs->journal_start + 2 + at) * BS, 0);
	return rc ? rc : bdev_flush(fs->dev);
}
