/*
 * Metadata blocks in memory: a hash of buffers under a clock.
 *
 * A buffer is READING (being loaded; others wait for it), CLEAN or DIRTY. Only clean, unpinned
 * ones are evicted, and only between bodies (meta_trim), so a pointer found by meta_get() holds
 * for the rest of the body. A block that fails its checks is looked for in the device's redundancy
 * copies; a good copy is used and written back over the bad one.
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/mem_huge.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#define TRIM_SCAN   64
#define MIN_BUFS    2048 /* several batches */
#define SPARES	    512	 /* buffers without a block that keep their memory all the same */
#define SHRINK_STEP 256

static struct buf_bucket *bucket_of(struct fs *fs, uint64_t block)
{
	return &fs->hash[(block * 0x9e3779b97f4a7c15ull >> 20) & fs->hash_mask];
}

static uint64_t bufs_of(uint64_t memory)
{
	uint64_t n = (memory ? memory : 256ull << 20) / (BS + sizeof(struct buf));
	return MAX(n, (uint64_t)MIN_BUFS);
}

int meta_init(struct fs *fs, uint64_t memory)
{
	fs->max_bufs = bufs_of(memory);
	size_t n = MIN_BUFS;
	while (n < 2 * fs->max_bufs)
		n *= 2;
	fs->hash = mem_huge_alloc(n * sizeof(*fs->hash));
	if (!fs->hash)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		LIST_INIT(&fs->hash[i]);
	fs->hash_mask = n - 1;
	TAILQ_INIT(&fs->lru);
	TAILQ_INIT(&fs->dirty);
	TAILQ_INIT(&fs->spare);
	return 0;
}

static struct buf *buf_new(struct fs *fs, uint64_t block, unsigned type)
{
	struct buf *b = TAILQ_FIRST(&fs->spare);
	if (b) {
		TAILQ_REMOVE(&fs->spare, b, lru_link);
		uint8_t *data = b->data;
		fs->resident += b->dropped;
		*b = (struct buf){.data = data};
	} else {
		b = slab_take(fs);
		if (!b)
			return NULL;
		fs->resident++;
	}
	b->magic = BUF_MAGIC;
	b->block = block;
	b->type = (uint16_t)type;
	b->first_pos = POS_UNSET;
	waitq_init(&b->waiters);
	LIST_INSERT_HEAD(bucket_of(fs, block), b, hash_link);
	fs->nbufs++;
	return b;
}

/* Out of hash and count; its memory is kept for the next, unless there is to be less of it. */
static void buf_forget(struct fs *fs, struct buf *b)
{
	LIST_REMOVE(b, hash_link);
	fs->nbufs--;
	b->magic = 0;
	if (fs->resident <= fs->max_bufs + SPARES) {
		TAILQ_INSERT_HEAD(&fs->spare, b, lru_link);
		return;
	}
	mem_huge_drop(b->data, BS);
	b->dropped = true;
	fs->resident--;
	TAILQ_INSERT_TAIL(&fs->spare, b, lru_link);
}

void meta_free_all(struct fs *fs)
{
	if (!fs->hash)
		return;
	slab_free_all(fs);
	free(fs->hash);
	fs->hash = NULL;
}

struct buf *meta_find(struct fs *fs, uint64_t block)
{
	struct buf *b;
	LIST_FOREACH (b, bucket_of(fs, block), hash_link)
		if (b->block == block)
			return b;
	return NULL;
}

/* The first in the bucket is most often the one: its node is fetched together with its buffer. */
static void find_ahead(struct fs *fs, uint64_t block)
{
	const struct buf *b = LIST_FIRST(bucket_of(fs, block));
	if (!b)
		return;
	__builtin_prefetch(&b->batch);
	node_prefetch(slab_data(b));
}

void corrupt_note(struct fs *fs, uint64_t block, uint64_t owner, const char *what)
{
	if (fs->quiet)
		return;
	event_write(LOG_L_ERROR, "fs.corrupt",
		    "%s: metadata block %" PRIu64 " of inode %" PRIu64 ": %s", fs->dev->name, block,
		    owner, what);
}

static bool type_in_ag(unsigned type)
{
	return type >= BT_INODES;
}

int meta_get(struct fs *fs, uint64_t block, unsigned type, uint64_t owner, struct buf **ret)
{
	if (type >= BT_EXTENTS && type <= BT_LAST_NODE)
		find_ahead(fs, block);
	struct buf *b = meta_find(fs, block);
	if (!b || b->reading) {
		if (type_in_ag(type) && !block_is_data(fs, block)) {
			corrupt_note(fs, block, owner, "points outside the allocation groups");
			return -ERR_CORRUPT;
		}
		fs->need.block = block;
		fs->need.type = type;
		fs->need.alloc = false;
		return -EAGAIN;
	}
	if (b->type != type || b->owner != owner) {
		corrupt_note(fs, block, owner, "belongs to another owner");
		return -ERR_CORRUPT;
	}
	if (!b->referenced)
		b->referenced = true;
	fs->st.metadata_hits++;
	*ret = b;
	return 0;
}

void block_header(struct fs *fs, uint8_t *d, uint64_t block, unsigned type, uint64_t owner)
{
	memset(d, 0, H_SIZE);
	le32_put(d + H_MAGIC, META_MAGIC);
	le64_put(d + H_BLOCK, block);
	le64_put(d + H_OWNER, owner);
	memcpy(d + H_UUID, fs->uuid, 16);
	le16_put(d + H_TYPE, (uint16_t)type);
}

void block_seal(uint8_t *d, uint64_t seq)
{
	le64_put(d + H_SEQ, seq);
	le32_put(d + H_CRC, 0);
	le32_put(d + H_CRC, crc32c(d, BS));
}

static bool crc_holds(const uint8_t *d)
{
	static const uint8_t zeros[4];
	uint32_t c = crc32c_add(CRC32C_INIT, d, H_CRC);
	c = crc32c_add(c, zeros, 4);
	c = crc32c_add(c, d + H_CRC + 4, BS - H_CRC - 4);
	return crc32c_end(c) == le32_get(d + H_CRC);
}

const char *block_verify(const uint8_t *uuid, const uint8_t *d, uint64_t block, unsigned type)
{
	if (le32_get(d + H_MAGIC) != META_MAGIC)
		return "no metadata block";
	if (!crc_holds(d))
		return "checksum does not hold";
	if (uuid && memcmp(d + H_UUID, uuid, 16))
		return "belongs to another file system";
	if (le64_get(d + H_BLOCK) != block)
		return "is another block, misplaced";
	unsigned t = le16_get(d + H_TYPE);
	if (type && t != type)
		return "is of another type";
	if (t == BT_MEMOS)
		return memo_block_verify(d);
	if (t >= BT_EXTENTS)
		return tree_node_verify(d);
	if (t == BT_INODES)
		return inode_block_verify(d);
	return NULL;
}

static int buf_from_copies(struct fs *fs, struct buf *b)
{
	for (unsigned i = 0; i < COPIES; i++) {
		int rc = bdev_read_copy(fs->dev, b->data, BS, b->block * BS, i);
		if (rc == -ENOENT || rc == -EOPNOTSUPP)
			break;
		if (rc || block_verify(fs->uuid, b->data, b->block, b->type))
			continue;
		fs->st.metadata_repaired++;
		event_write(LOG_L_WARN, "fs.repaired",
			    "%s: metadata block %" PRIu64 " read from copy %u", fs->dev->name,
			    b->block, i);
		if (!fs->read_only && bdev_write(fs->dev, b->data, BS, b->block * BS, BDEV_FUA))
			log_warn("fs: cannot rewrite block %" PRIu64, b->block);
		return 0;
	}
	return -ERR_CORRUPT;
}

/*
 * What was read holds; does what the other mirrors keep? Only where one copy holds and another does
 * not: a block that was never destaged holds on none, and is no damage. The block is being
 * read, so nobody can change it before it is written back.
 */
static void buf_check_copies(struct fs *fs, struct buf *b)
{
	uint8_t *d = NULL;
	unsigned good = 0, bad = 0, at = 0;
	if (posix_memalign((void **)&d, BS, BS))
		return;
	for (unsigned i = 0; i < COPIES; i++) {
		int rc = bdev_read_copy(fs->dev, d, BS, b->block * BS, i);
		if (rc == -ENOENT || rc == -EOPNOTSUPP)
			break;
		if (rc && rc != -EIO && rc != -ERR_MEDIUM)
			continue; /* its disk is out: nothing to be said of it */
		if (rc || block_verify(fs->uuid, d, b->block, b->type)) {
			bad++;
			at = i;
		} else {
			good++;
		}
	}
	free(d);
	if (!good || !bad)
		return;
	event_write(LOG_L_WARN, "fs.repaired",
		    "%s: metadata block %" PRIu64 ": copy %u does not hold and is written anew",
		    fs->dev->name, b->block, at);
	fs->st.metadata_repaired += bad;
	if (!fs->read_only && bdev_write(fs->dev, b->data, BS, b->block * BS, BDEV_FUA))
		log_warn("fs: cannot rewrite block %" PRIu64, b->block);
}

static int buf_read(struct fs *fs, struct buf *b)
{
	int rc = bdev_read(fs->dev, b->data, BS, b->block * BS);
	fs->st.metadata_reads++;
	if (rc == -EIO || rc == -ERR_MEDIUM)
		return buf_from_copies(fs, b) ? rc : 0;
	if (rc)
		return rc;
	const char *why = block_verify(fs->uuid, b->data, b->block, b->type);
	if (!why) {
		if (fs->checking)
			buf_check_copies(fs, b);
		return 0;
	}
	corrupt_note(fs, b->block, le64_get(b->data + H_OWNER), why);
	return buf_from_copies(fs, b);
}

int meta_load(struct fs *fs, uint64_t block, unsigned type, struct buf **ret)
{
	struct buf *b;
	while ((b = meta_find(fs, block)) && b->reading)
		waitq_wait(&b->waiters);
	if (b) {
		b->pins++;
		*ret = b;
		return 0;
	}
	if (block >= fs->blocks)
		return -ERR_CORRUPT;
	meta_trim(fs);
	b = buf_new(fs, block, type);
	if (!b)
		return -ENOMEM;
	b->reading = true;
	int rc = buf_read(fs, b);
	b->reading = false;
	struct waitq q; /* the waiters look again by block number, not at this buffer */
	waitq_init(&q);
	TAILQ_CONCAT(&q, &b->waiters, link);
	if (rc) {
		buf_forget(fs, b);
	} else {
		TAILQ_INSERT_TAIL(&fs->lru, b, lru_link);
		b->owner = le64_get(b->data + H_OWNER);
		b->pins++;
		*ret = b;
	}
	waitq_wake_all(&q);
	return rc;
}

struct buf *meta_insert(struct fs *fs, uint64_t block, unsigned type, uint64_t owner)
{
	struct buf *b = meta_find(fs, block);
	ASSERT(!b);
	b = buf_new(fs, block, type);
	if (!b)
		return NULL;
	TAILQ_INSERT_TAIL(&fs->lru, b, lru_link);
	memset(b->data, 0, BS);
	b->owner = owner;
	block_header(fs, b->data, block, type, owner);
	return b;
}

void meta_unpin(struct buf *b)
{
	ASSERT(b->pins > 0);
	b->pins--;
}

/*
 * A pinned one (another operation's, waiting to try again) is only taken out of sight: see
 * meta_drop(). It goes to the spares when the last pin does; the trim finds it.
 */
void meta_drop(struct fs *fs, struct buf *b)
{
	if (b->dirty) {
		TAILQ_REMOVE(&fs->dirty, b, dirty_link);
		fs->ndirty--;
		b->dirty = false;
	}
	if (b->batch) {
		TAILQ_REMOVE(&fs->run.bufs, b, batch_link);
		fs->run.nbufs--;
		b->batch = 0;
	}
	TAILQ_REMOVE(&fs->lru, b, lru_link);
	if (!b->pins) {
		buf_forget(fs, b);
		return;
	}
	LIST_REMOVE(b, hash_link);
	b->block = UINT64_MAX;
	LIST_INSERT_HEAD(bucket_of(fs, UINT64_MAX), b, hash_link);
	b->referenced = false;
	TAILQ_INSERT_HEAD(&fs->lru, b, lru_link);
}

void meta_forget_clean(struct fs *fs, uint64_t block)
{
	struct buf *b = meta_find(fs, block);
	if (!b || b->reading || b->dirty || b->pins || b->batch)
		return;
	TAILQ_REMOVE(&fs->lru, b, lru_link);
	buf_forget(fs, b);
}

/* The clock: takes out what was not used since the hand was there, `most` at most; how many. */
static unsigned trim(struct fs *fs, unsigned most)
{
	unsigned freed = 0;
	for (int i = 0; fs->nbufs > fs->max_bufs && i < TRIM_SCAN && freed < most; i++) {
		struct buf *b = TAILQ_FIRST(&fs->lru);
		if (!b)
			break;
		TAILQ_REMOVE(&fs->lru, b, lru_link);
		if (!b->referenced && !b->dirty && !b->pins && !b->batch) {
			buf_forget(fs, b);
			freed++;
			i = 0;
			continue;
		}
		b->referenced = false;
		TAILQ_INSERT_TAIL(&fs->lru, b, lru_link);
	}
	return freed;
}

void meta_trim(struct fs *fs)
{
	trim(fs, UINT_MAX);
}

/* All that can go, a little at a time. */
static void shrink_task(void *arg)
{
	struct fs *fs = arg;
	for (unsigned idle = 0; !fs->dead && fs->nbufs > fs->max_bufs && idle < fs->nbufs;) {
		idle = trim(fs, SHRINK_STEP) ? 0 : idle + TRIM_SCAN / 2;
		task_yield();
	}
	fs_unref(fs);
}

void fs_set_memory(struct fs *fs, uint64_t bytes)
{
	CHECK(fs, FS_MAGIC);
	uint64_t n = bufs_of(bytes);
	bool less = n < fs->max_bufs;
	fs->max_bufs = n;
	if (!less || fs->dead)
		return;
	fs_ref(fs);
	if (task_start(shrink_task, fs))
		fs_unref(fs); /* blocks that are read from now on take the place of others */
	checkpoint_kick(fs);
}
