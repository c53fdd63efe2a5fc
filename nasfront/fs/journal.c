/*
 * The journal: bodies join the running batch; a batch is written as one checksummed record at the
 * head of the circular log and is stable when that write is.
 *
 * Group commit without a thread of its own: whoever must wait for a batch and finds no write going
 * on writes the running batch for all who joined it; meanwhile the next batch collects, and one of
 * its waiters writes it after. So at most one journal write is in flight and records follow each
 * other without gaps: replay may stop at the first that does not hold.
 *
 * Data before metadata: a batch whose metadata points at newly written data flushes the device
 * before its record is written.
 *
 * Soft records: when all who wait for a batch only want it to outlive this process (unstable
 * data), its record goes into the device's memory without flush or FUA, and bears the identity of
 * that memory. `stable` stays behind `soft` then. The next batch whose waiters want it stable
 * flushes the device first, which makes the soft records and their data stable, and writes its own
 * record (an empty one, if it must) as a hard one: replay takes soft records before a hard one for
 * stable, later ones only when the memory they were written into still lives.
 *
 * Room: a body may start only when the log has room for the running batch with OP_BUFS_MAX more
 * whole blocks, and an empty record, so that a batch can always be written. Waiters for room hold
 * nothing a checkpoint needs.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BATCH_MAX      512
#define REVOKES_MAX    4096
#define LATER_NS       NS_PER_S
#define CHECKPOINT_NS  (10 * NS_PER_S)
#define ITEM_IMAGE_MAX (JI_SIZE + BS)

static void commit_timer_fire(void *arg);
static void checkpoint_timer_fire(void *arg);

static uint64_t record_blocks(uint64_t bytes)
{
	return (bytes + BS - 1) / BS;
}

static uint64_t bytes_bound(unsigned nbufs, unsigned nrevokes)
{
	return JR_SIZE + nrevokes * 8ull + nbufs * (uint64_t)ITEM_IMAGE_MAX;
}

static void batch_reset(struct batch *b, uint64_t seq)
{
	b->seq = seq;
	TAILQ_INIT(&b->bufs);
	b->nbufs = b->nrevokes = b->ops = 0;
	b->data_flush = b->hard = false;
}

int journal_init(struct fs *fs)
{
	fs->log_blocks = fs->journal_blocks - 2;
	fs->batch_max = (unsigned)MIN((uint64_t)BATCH_MAX, fs->log_blocks / 4);
	if (fs->batch_max < 2 * OP_BUFS_MAX)
		return -ERR_CORRUPT;
	fs->log_size = record_blocks(bytes_bound(fs->batch_max, REVOKES_MAX)) * BS;
	fs->run.revokes = calloc(REVOKES_MAX, sizeof(uint64_t));
	fs->tx.undo = calloc(OP_BUFS_MAX * BUF_CHUNKS, sizeof(struct undo));
	fs->tx.saved = calloc(OP_BUFS_MAX * BUF_CHUNKS, 64);
	if (!fs->run.revokes || !fs->tx.undo || !fs->tx.saved ||
	    posix_memalign((void **)&fs->log, BS, fs->log_size))
		return -ENOMEM;
	batch_reset(&fs->run, 1);
	fs->commit_timer = (struct env_timer){.fn = commit_timer_fire, .arg = fs};
	fs->checkpoint_timer = (struct env_timer){.fn = checkpoint_timer_fire, .arg = fs};
	return 0;
}

void journal_free(struct fs *fs)
{
	free(fs->run.revokes);
	free(fs->tx.undo);
	free(fs->tx.saved);
	free(fs->log);
}

void fs_fail(struct fs *fs, int err)
{
	if (!fs->error) {
		fs->error = err;
		if (!fs->abandoned && !fs->quiet)
			event_write(LOG_L_ERROR, "fs.failed", "%s: no more changes are taken: %s",
				    fs->dev->name, err_text(err));
	}
	waitq_wake_all(&fs->commit_q[0]);
	waitq_wake_all(&fs->commit_q[1]);
	waitq_wake_all(&fs->space_q);
	waitq_wake_all(&fs->checkpoint_q);
	waitq_wake_all(&fs->quarantine_q);
}

static bool batch_empty(const struct batch *b)
{
	return !b->nbufs && !b->nrevokes && !b->data_flush;
}

bool journal_room(const struct fs *fs)
{
	uint64_t need =
	    1 + record_blocks(bytes_bound(fs->run.nbufs + OP_BUFS_MAX,
					  fs->run.nrevokes + ARRAY_LEN(fs->tx.revokes)));
	return need <= fs->log_blocks - (fs->head - fs->tail) &&
	       fs->ndirty < fs->max_bufs - fs->max_bufs / 8;
}

int journal_reserve(struct fs *fs)
{
	for (;;) {
		if (fs->error)
			return fs->error;
		if (fs->run.nbufs + OP_BUFS_MAX > fs->batch_max ||
		    fs->run.nrevokes + ARRAY_LEN(fs->tx.revokes) > REVOKES_MAX) {
			int rc = journal_wait(fs, fs->run.seq);
			if (rc)
				return rc;
			continue;
		}
		if (journal_room(fs))
			return 0;
		checkpoint_kick(fs);
		waitq_wait(&fs->space_q);
	}
}

/* ---- the record ---- */

static uint8_t *item_put(uint8_t *p, const struct buf *b, unsigned off, unsigned len)
{
	le64_put(p, b->block);
	le16_put(p + 8, (uint16_t)off);
	le16_put(p + 10, (uint16_t)len);
	le32_put(p + 12, b->type);
	memcpy(p + JI_SIZE, b->data + off, len);
	return p + JI_SIZE + len;
}

/* Runs of changed chunks, or all of the block where that is shorter. */
static uint8_t *buf_put(uint8_t *p, const struct buf *b, uint32_t *items)
{
	unsigned chunks = (unsigned)__builtin_popcountll(b->mask);
	if (b->image || chunks > 48) {
		++*items;
		return item_put(p, b, 0, BS);
	}
	uint64_t m = b->mask;
	while (m) {
		unsigned first = (unsigned)__builtin_ctzll(m), n = 0;
		while (first + n < 64 && m >> (first + n) & 1)
			n++;
		m &= n == 64 ? 0 : ~(((1ull << n) - 1) << first);
		p = item_put(p, b, first * 64, n * 64);
		++*items;
	}
	return p;
}

/* The running batch becomes a record in fs->log; a new one begins. Returns the blocks it takes. */
static uint64_t batch_seal(struct fs *fs, bool hard)
{
	struct batch *run = &fs->run;
	uint8_t *p = fs->log;
	uint32_t items = 0;
	memset(p, 0, JR_SIZE);
	p += JR_SIZE;
	for (unsigned i = 0; i < run->nrevokes; i++, p += 8)
		le64_put(p, run->revokes[i]);
	struct buf *b, *tmp;
	TAILQ_FOREACH_SAFE (b, &run->bufs, batch_link, tmp) {
		fs->st.journal_images += b->image;
		p = buf_put(p, b, &items);
		if (b->dirty && b->first_pos == POS_UNSET)
			b->first_pos = fs->head;
		b->batch = 0;
		b->image = false;
	}
	uint64_t length = (uint64_t)(p - fs->log), n = record_blocks(length);
	ASSERT(n * BS <= fs->log_size);
	memset(p, 0, n * BS - length);
	le32_put(fs->log, JR_MAGIC);
	le64_put(fs->log + JR_POS, fs->head);
	le64_put(fs->log + JR_NONCE, fs->nonce);
	le32_put(fs->log + JR_LENGTH, (uint32_t)length);
	le32_put(fs->log + JR_ITEMS, items);
	le32_put(fs->log + JR_REVOKES, run->nrevokes);
	if (!hard) {
		le32_put(fs->log + JR_FLAGS, JRF_SOFT);
		le64_put(fs->log + JR_MEMORY, fs->memory_id);
	}
	le32_put(fs->log + JR_CRC, crc32c(fs->log, length));
	return n;
}

/* Were the memory another one, soft records and data written into the old one would be missing
 * below what is written now. */
static int memory_check(const struct fs *fs)
{
	return fs->dev->memory_id == fs->memory_id ? 0 : -ERR_MEDIUM;
}

int journal_flush(struct fs *fs)
{
	int rc = bdev_flush(fs->dev);
	return rc ? rc : memory_check(fs);
}

/* flush: what was written before is stable first, in the memory that it was written into. */
static int record_write(struct fs *fs, uint64_t pos, uint64_t n, bool hard, bool flush)
{
	unsigned before = flush ? BDEV_PREFLUSH : 0;
	uint64_t start = fs->journal_start + 2, at = pos % fs->log_blocks;
	uint64_t first = MIN(n, fs->log_blocks - at);
	if (first == n)
		return bdev_write(fs->dev, fs->log, n * BS, (start + at) * BS,
				  before | (hard ? BDEV_FUA : 0));
	int rc = bdev_write(fs->dev, fs->log, first * BS, (start + at) * BS, before);
	if (!rc)
		rc = bdev_write(fs->dev, fs->log + first * BS, (n - first) * BS, start * BS, 0);
	return rc || !hard ? rc : journal_flush(fs);
}

static void after_commit(struct fs *fs)
{
	quarantine_reap(fs);
	if (checkpoint_due(fs))
		checkpoint_kick(fs);
	if (fs->ndirty && !fs->checkpoint_timer_on && !fs->dead) {
		fs->checkpoint_timer_on = true;
		env_timer_start(fs->env, &fs->checkpoint_timer, CHECKPOINT_NS);
	}
}

void journal_give_up(struct fs *fs, int err)
{
	bool tell = !fs->error && !fs->dead;
	fs->memory_id = 0;
	fs->verifier = env_random_u64(fs->env);
	fs_fail(fs, err);
	if (tell)
		journal_head_write(fs, fs->tail, false);
}

/* Waits. Writes the running batch: stable when somebody wants that, else soft. */
static void batch_write(struct fs *fs)
{
	struct batch *run = &fs->run;
	fs->writing = true;
	task_yield(); /* whoever is ready joins */
	uint64_t seq = run->seq, pos = fs->head, n = 0;
	bool hard = run->hard, behind = hard && fs->soft > fs->stable;
	bool flush = behind || (hard && run->data_flush);
	bool record = behind || run->nbufs || run->nrevokes;
	unsigned ops = run->ops;
	if (record)
		n = batch_seal(fs, hard);
	fs->head += n;
	fs->write_seq = seq;
	fs->write_hard = hard;
	batch_reset(run, seq + 1);
	int rc = flush || !hard ? memory_check(fs) : 0;
	if (!rc && record)
		rc = record_write(fs, pos, n, hard, flush);
	else if (!rc && flush)
		rc = journal_flush(fs);
	fs->writing = false;
	fs->write_seq = 0;
	if (rc || fs->error) {
		journal_give_up(fs, rc ? rc : fs->error);
		return;
	}
	fs->soft = seq;
	if (hard)
		fs->stable = seq;
	fs->st.commits += record;
	fs->st.commit_ops += ops;
	fs->st.journal_bytes += n * BS;
	after_commit(fs);
	waitq_wake_all(&fs->commit_q[seq & 1]);
	waitq_wake_one(&fs->commit_q[(seq + 1) & 1]);
}

/* Nothing joined the running batch: then what the caller saw is in the one before, at the latest.*/
static uint64_t last_joined(const struct fs *fs, uint64_t seq)
{
	return seq == fs->run.seq && batch_empty(&fs->run) ? seq - 1 : seq;
}

int journal_wait(struct fs *fs, uint64_t seq)
{
	seq = last_joined(fs, seq);
	while (fs->stable < seq && !fs->error) {
		if (fs->write_seq >= seq && fs->write_hard) {
			waitq_wait(&fs->commit_q[fs->write_seq & 1]);
			continue;
		}
		/* In the running batch, or soft: then the running batch makes it stable too. */
		fs->run.hard = true;
		if (!fs->writing)
			batch_write(fs);
		else
			waitq_wait(&fs->commit_q[fs->run.seq & 1]);
	}
	return fs->stable >= seq ? 0 : fs->error;
}

int journal_wait_soft(struct fs *fs, uint64_t seq)
{
	if (!fs->memory_id)
		return fs->soft >= seq ? 0 : fs->error;
	seq = last_joined(fs, seq);
	while (fs->soft < seq && !fs->error) {
		if (!fs->writing)
			batch_write(fs);
		else
			waitq_wait(&fs->commit_q[seq & 1]);
	}
	return fs->soft >= seq ? 0 : fs->error;
}

/* ---- what happens by and by ---- */

static void commit_task(void *arg)
{
	struct fs *fs = arg;
	if (!fs->dead)
		journal_wait(fs, fs->run.seq);
	fs_unref(fs);
}

static void commit_timer_fire(void *arg)
{
	struct fs *fs = arg;
	fs->commit_timer_on = false;
	fs_ref(fs);
	if (task_start(commit_task, fs))
		fs_unref(fs);
}

void journal_later(struct fs *fs)
{
	if (fs->commit_timer_on || fs->dead || (batch_empty(&fs->run) && fs->soft == fs->stable))
		return;
	fs->commit_timer_on = true;
	env_timer_start(fs->env, &fs->commit_timer, LATER_NS);
}

static void checkpoint_timer_fire(void *arg)
{
	struct fs *fs = arg;
	fs->checkpoint_timer_on = false;
	fs->checkpoint_to = fs->head; /* so that little is to be replayed after a quiet time */
	checkpoint_kick(fs);
}

/* ---- headers ---- */

static int head_write_locked(struct fs *fs, uint8_t *d, uint64_t tail, bool clean)
{
	memset(d, 0, BS);
	uint64_t gen = fs->jgen + 1, block = fs->journal_start + gen % 2;
	block_header(fs, d, block, BT_JHEAD, 0);
	le64_put(d + JH_GEN, gen);
	le64_put(d + JH_TAIL, tail);
	le64_put(d + JH_NONCE, fs->nonce);
	le64_put(d + JH_VERIFIER, fs->verifier);
	le32_put(d + JH_CLEAN, clean);
	le64_put(d + JH_MEMORY, fs->memory_id);
	le64_put(d + JH_HARD, fs->hard_pos);
	block_seal(d, gen);
	int rc = bdev_write(fs->dev, d, BS, block * BS, BDEV_FUA);
	if (!rc) {
		fs->jgen = gen;
		fs->tail = tail;
	}
	return rc;
}

int journal_head_write(struct fs *fs, uint64_t tail, bool clean)
{
	uint8_t *d;
	if (posix_memalign((void **)&d, BS, BS))
		return -ENOMEM;
	task_mutex_lock(&fs->head_lock);
	int rc = head_write_locked(fs, d, tail, clean);
	task_mutex_unlock(&fs->head_lock);
	free(d);
	return rc;
}

/* 0 when it holds, an error when it cannot be read, 1 when it or no copy of it holds. */
static int head_read_any(struct fs *fs, uint8_t *d, uint64_t block)
{
	int rc = bdev_read(fs->dev, d, BS, block * BS);
	if (!rc && !block_verify(fs->uuid, d, block, BT_JHEAD))
		return 0;
	for (unsigned c = 0; c < COPIES; c++) {
		int r = bdev_read_copy(fs->dev, d, BS, block * BS, c);
		if (r == -ENOENT || r == -EOPNOTSUPP)
			break;
		if (!r && !block_verify(fs->uuid, d, block, BT_JHEAD))
			return 0;
	}
	return rc ? rc : 1;
}

static void head_take(struct fs *fs, const uint8_t *d, bool *ret_clean)
{
	fs->jgen = le64_get(d + JH_GEN);
	fs->tail = fs->head = le64_get(d + JH_TAIL);
	fs->nonce = le64_get(d + JH_NONCE);
	fs->verifier = le64_get(d + JH_VERIFIER);
	fs->memory_id = le64_get(d + JH_MEMORY);
	fs->hard_pos = le64_get(d + JH_HARD);
	*ret_clean = le32_get(d + JH_CLEAN) != 0;
}

int journal_head_read(struct fs *fs, bool *ret_clean)
{
	uint8_t *d;
	bool found = false;
	int rc = 0;
	if (posix_memalign((void **)&d, BS, BS))
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		int r = head_read_any(fs, d, fs->journal_start + i);
		if (r < 0)
			rc = r;
		if (!r && (!found || le64_get(d + JH_GEN) > fs->jgen))
			head_take(fs, d, ret_clean);
		found |= !r;
	}
	free(d);
	if (found && !rc)
		return 0;
	const char *why = found ? "a journal header cannot be read" : "no journal header holds";
	corrupt_note(fs, fs->journal_start, 0, why);
	if (found && fs->salvage && journal_unreadable(rc)) {
		fs->log_lost = why;
		return 0;
	}
	return rc ? rc : -ERR_CORRUPT;
}
