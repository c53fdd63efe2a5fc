/*
 * The blocks of checksums that are in memory (pool_sums.h).
 *
 * Blocks are shared out among shards, neighbours to the same; a shard has a lock, its blocks, a
 * table of what they hold and a list of them, the one used longest ago first. A block is
 *
 *   empty     in no table
 *   reading   somebody reads it from its disk: others wait
 *   ready     looked at and changed under the shard's lock
 *   writing   (and ready) on its way to the disk: looked at, but who wants to change it waits
 *
 * `dirty` blocks are newer than the disk. One that nobody is reading or writing gives way to
 * another when it is clean, or is written first, and dirty neighbours with it. Who waits for I/O
 * holds no lock and no other block, so all get on.
 */
#include "blockcore/pool/pool_sums.h"
#include "blockcore/pool/pool_impl.h"
#include "runtime/bytes.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <bsd/sys/queue.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS	    8
#define SHARD_LEAST 4	/* blocks */
#define BUCKETS	    512 /* of a shard's table */
#define BATCH	    64	/* blocks that are written in one call */

struct sum_block {
	TAILQ_ENTRY(sum_block) lru;
	SLIST_ENTRY(sum_block) chain;
	uint64_t number;
	unsigned position, gen;
	bool used, reading, writing, dirty;
	uint8_t *bytes;
};

struct shard {
	pthread_mutex_t lock;
	struct waitq q;
	TAILQ_HEAD(, sum_block) lru;
	SLIST_HEAD(, sum_block) table[BUCKETS];
};

struct pool_sums {
	struct raid *p;
	unsigned count;
	uint8_t *memory;
	struct sum_block *block;
	struct sum_block **list; /* whose `collecting` it is */
	struct shard shard[SHARDS];
	_Atomic unsigned gen[POOL_DISKS_MAX];
	_Atomic uint64_t reads, writes, lost;
	pthread_mutex_t lock; /* of collecting */
	struct waitq q;
	bool collecting;
};

/* ---- making ---- */

/* Neighbours share a shard: a small pool needs room in each for all of them. */
static unsigned blocks_of(const struct raid *p)
{
	uint64_t all = (p->data_off - DISK_DATA_OFF) / SUM_BLOCK * p->ndisks;
	return (unsigned)MIN(MAX(all, SHARDS * BATCH), SUM_CACHE_BYTES / SUM_BLOCK);
}

static void shard_init(struct shard *s)
{
	pthread_mutex_init(&s->lock, NULL);
	waitq_init(&s->q);
	TAILQ_INIT(&s->lru);
	for (unsigned i = 0; i < BUCKETS; i++)
		SLIST_INIT(&s->table[i]);
}

int pool_sums_new(struct pool_sums **ret, struct raid *p, unsigned blocks)
{
	struct pool_sums *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->p = p;
	s->count = MAX(ROUND_UP(blocks ? blocks : blocks_of(p), SHARDS), SHARDS * SHARD_LEAST);
	pthread_mutex_init(&s->lock, NULL);
	waitq_init(&s->q);
	for (unsigned i = 0; i < SHARDS; i++)
		shard_init(&s->shard[i]);
	s->block = calloc(s->count, sizeof(*s->block));
	s->list = calloc(s->count, sizeof(struct sum_block *));
	if (!s->block || !s->list ||
	    posix_memalign((void **)&s->memory, 4096, (size_t)s->count * SUM_BLOCK)) {
		s->memory = NULL;
		pool_sums_free(s);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < s->count; i++) {
		s->block[i].bytes = s->memory + (size_t)i * SUM_BLOCK;
		TAILQ_INSERT_TAIL(&s->shard[i % SHARDS].lru, &s->block[i], lru);
	}
	*ret = s;
	return 0;
}

void pool_sums_free(struct pool_sums *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SHARDS; i++)
		pthread_mutex_destroy(&s->shard[i].lock);
	pthread_mutex_destroy(&s->lock);
	free(s->block);
	free(s->list);
	free(s->memory);
	free(s);
}

void pool_sums_forget(struct pool_sums *s, unsigned position)
{
	atomic_fetch_add(&s->gen[position], 1);
}

unsigned pool_sums_gen(const struct pool_sums *s, unsigned position)
{
	return atomic_load(&s->gen[position]);
}

/* ---- one block and its disk ---- */

static uint64_t place_of(const struct sum_block *b)
{
	return DISK_DATA_OFF + b->number * SUM_BLOCK;
}

/* Nothing of it is wanted on a disk. The disk is looked up after: see alive_disk(). */
static bool outdated(const struct pool_sums *s, const struct sum_block *b)
{
	return b->gen != pool_sums_gen(s, b->position) || !pool_writable(s->p, b->position);
}

/* The disk the block belongs to; NULL: it has gone. A disk is put in a place after the number of
 * the one before is counted up, so the right one is had or none. */
static struct disk *alive_disk(const struct pool_sums *s, const struct sum_block *b)
{
	struct disk *d = atomic_load(&s->p->disks[b->position]);
	return b->gen == pool_sums_gen(s, b->position) ? d : NULL;
}

static void read_block(struct pool_sums *s, struct sum_block *b)
{
	struct raid *p = s->p;
	struct disk *d = alive_disk(s, b);
	int rc = d ? bdev_read(disk_bdev(d), b->bytes, SUM_BLOCK, place_of(b)) : -EIO;
	atomic_fetch_add(&s->reads, 1);
	if (rc == 0) {
		sum_block_open(b->bytes, p->uuid, b->position, b->number);
		return;
	}
	memset(b->bytes, 0, SUM_BLOCK);
	if (!d || !pool_writable(p, b->position))
		return; /* lost as a whole */
	atomic_fetch_add(&s->lost, 1);
	event_write(LOG_L_WARN, "pool.sums_lost",
		    "pool %s: disk %s: checksums at byte %llu cannot be read (%s): what they were "
		    "of is not verified until it is written or scrubbed",
		    p->name, disk_path(d), (unsigned long long)place_of(b), err_text(rc));
}

/* Blocks that lie side by side, with their `writing` set: nobody changes them. */
static int write_blocks(struct pool_sums *s, struct sum_block *const *b, unsigned n)
{
	struct raid *p = s->p;
	struct iovec iov[BATCH];
	struct disk *d = alive_disk(s, b[0]);
	if (!d)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		sum_block_seal(b[i]->bytes, p->uuid, b[i]->position, b[i]->number);
		iov[i] = (struct iovec){b[i]->bytes, SUM_BLOCK};
	}
	int rc = bdev_writev(disk_bdev(d), iov, (int)n, place_of(b[0]), 0);
	atomic_fetch_add(&s->writes, n);
	if (pool_disk_error(rc) && !outdated(s, b[0]))
		pool_copy_failed(p, b[0]->position, "writing checksums", rc);
	return rc && !outdated(s, b[0]) ? rc : 0;
}

/* ---- finding ---- */

static struct shard *shard_of(struct pool_sums *s, const struct sum_block *b)
{
	return &s->shard[(size_t)(b - s->block) % SHARDS];
}

static unsigned mix(unsigned position, uint64_t number)
{
	return (unsigned)((number * POOL_DISKS_MAX + position) * 0x9e3779b97f4a7c15ull >> 40);
}

static void wait_changed(struct shard *sh)
{
	struct waiter w;
	waitq_enter(&sh->q, &w);
	pthread_mutex_unlock(&sh->lock);
	task_park();
	pthread_mutex_lock(&sh->lock);
	waitq_leave(&sh->q, &w);
}

static struct sum_block *find(struct shard *sh, unsigned bucket, unsigned position, unsigned gen,
			      uint64_t number)
{
	struct sum_block *b;
	SLIST_FOREACH (b, &sh->table[bucket], chain)
		if (b->number == number && b->position == position && b->gen == gen)
			return b;
	return NULL;
}

/* With the lock, which it leaves meanwhile. The block, which is dirty, and those after it that are.
 */
static int write_back(struct pool_sums *s, struct shard *sh, struct sum_block *b)
{
	struct sum_block *run[BATCH] = {b};
	unsigned n = 0;
	while (b && n < BATCH && b->dirty && !b->reading && !b->writing) {
		b->writing = true;
		b->dirty = false;
		run[n++] = b;
		b = find(sh, mix(b->position, b->number + 1) % BUCKETS, b->position, b->gen,
			 b->number + 1);
	}
	pthread_mutex_unlock(&sh->lock);
	int rc = write_blocks(s, run, n);
	pthread_mutex_lock(&sh->lock);
	for (unsigned i = 0; i < n; i++) {
		run[i]->writing = false;
		run[i]->dirty = rc != 0;
	}
	waitq_wake_all(&sh->q);
	return rc;
}

static void give_way(struct shard *sh, struct sum_block *b)
{
	if (b->used)
		SLIST_REMOVE(&sh->table[mix(b->position, b->number) % BUCKETS], b, sum_block,
			     chain);
	b->used = b->dirty = false;
}

/*
 * With the lock, which it may leave meanwhile: -EAGAIN, look again. A block that is in no table
 * any more, or an error: all are dirty and cannot be written.
 */
static int make_room(struct pool_sums *s, struct shard *sh, struct sum_block **ret)
{
	struct sum_block *b, *dirty = NULL;
	bool busy = false;
	TAILQ_FOREACH (b, &sh->lru, lru) {
		if (b->reading || b->writing) {
			busy = true;
		} else if (!b->used || !b->dirty || outdated(s, b)) {
			give_way(sh, b);
			*ret = b;
			return 0;
		} else if (!dirty) {
			dirty = b;
		}
	}
	if (!dirty) {
		ASSERT(busy);
		wait_changed(sh);
		return -EAGAIN;
	}
	/* One that cannot be written is not tried first the next time. */
	TAILQ_REMOVE(&sh->lru, dirty, lru);
	TAILQ_INSERT_TAIL(&sh->lru, dirty, lru);
	int rc = write_back(s, sh, dirty);
	return rc ? rc : -EAGAIN;
}

/* With the lock, which it leaves meanwhile. whole: all of it is going to be set. */
static int bring(struct pool_sums *s, struct shard *sh, unsigned position, unsigned gen,
		 uint64_t number, bool whole)
{
	struct sum_block *b;
	int rc = make_room(s, sh, &b);
	if (rc)
		return rc;
	unsigned bucket = mix(position, number) % BUCKETS;
	/* No wait since the caller looked: nobody else brings it. */
	b->position = position;
	b->gen = gen;
	b->number = number;
	b->used = true;
	SLIST_INSERT_HEAD(&sh->table[bucket], b, chain);
	if (whole) {
		memset(b->bytes, 0, SUM_BLOCK);
		return 0;
	}
	b->reading = true;
	pthread_mutex_unlock(&sh->lock);
	read_block(s, b);
	pthread_mutex_lock(&sh->lock);
	b->reading = false;
	waitq_wake_all(&sh->q);
	return 0;
}

/* With the lock, which it may leave meanwhile: the block, ready; to be changed, or only looked at.
 * `tries` bounds what is tried when nothing can be written any more. */
static int get(struct pool_sums *s, struct shard *sh, unsigned position, unsigned gen,
	       uint64_t number, bool change, bool whole, struct sum_block **ret)
{
	unsigned bucket = mix(position, number) % BUCKETS, tries = s->count / SHARDS;
	for (;;) {
		struct sum_block *b = find(sh, bucket, position, gen, number);
		if (b && (b->reading || (change && b->writing))) {
			wait_changed(sh);
			continue;
		}
		if (b) {
			TAILQ_REMOVE(&sh->lru, b, lru);
			TAILQ_INSERT_TAIL(&sh->lru, b, lru);
			*ret = b;
			return 0;
		}
		int rc = bring(s, sh, position, gen, number, whole);
		if (rc && rc != -EAGAIN && --tries == 0)
			return rc;
	}
}

/* ---- sums ---- */

static struct shard *shard_for(struct pool_sums *s, unsigned position, uint64_t number)
{
	return &s->shard[mix(position, number / BATCH) / BUCKETS % SHARDS];
}

int pool_sums_get(struct pool_sums *s, unsigned position, uint64_t page, unsigned n, uint32_t *ret)
{
	unsigned gen = pool_sums_gen(s, position);
	int rc = 0;
	while (n > 0 && rc == 0) {
		uint64_t number = page / SUMS_A_BLOCK;
		unsigned in = (unsigned)(page % SUMS_A_BLOCK), k = MIN(n, SUMS_A_BLOCK - in);
		struct shard *sh = shard_for(s, position, number);
		struct sum_block *b;
		pthread_mutex_lock(&sh->lock);
		rc = get(s, sh, position, gen, number, false, false, &b);
		for (unsigned i = 0; i < k && rc == 0; i++)
			ret[i] = le32_get(sum_slot(b->bytes, in + i));
		pthread_mutex_unlock(&sh->lock);
		ret += k;
		page += k;
		n -= k;
	}
	return rc;
}

static void set(struct sum_block *b, unsigned in, unsigned k, const uint32_t *sums, uint32_t value)
{
	for (unsigned i = 0; i < k; i++)
		le32_put(sum_slot(b->bytes, in + i), sums ? sums[i] : value);
	b->dirty = true;
}

int pool_sums_put(struct pool_sums *s, unsigned position, unsigned gen, uint64_t page, uint64_t n,
		  const uint32_t *sums, uint32_t value)
{
	int rc = 0;
	while (n > 0 && rc == 0 && gen == pool_sums_gen(s, position)) {
		uint64_t number = page / SUMS_A_BLOCK;
		unsigned in = (unsigned)(page % SUMS_A_BLOCK);
		unsigned k = (unsigned)MIN(n, SUMS_A_BLOCK - in);
		struct shard *sh = shard_for(s, position, number);
		struct sum_block *b;
		pthread_mutex_lock(&sh->lock);
		rc = get(s, sh, position, gen, number, true, k == SUMS_A_BLOCK, &b);
		if (rc == 0)
			set(b, in, k, sums, value);
		pthread_mutex_unlock(&sh->lock);
		sums = sums ? sums + k : NULL;
		page += k;
		n -= k;
	}
	return rc;
}

/* ---- writing what is dirty ---- */

/* Is anything of the block in one of the regions? Its bytes of the column, widened to chunks. */
static bool in_regions(const struct pool_sums *s, const struct sum_block *b,
		       const uint64_t *regions, unsigned shift)
{
	uint64_t first, end;
	if (!regions)
		return true;
	pool_map_span(s->p, b->number * SUMS_A_BLOCK * SUM_PAGE, (uint64_t)SUMS_A_BLOCK * SUM_PAGE,
		      &first, &end);
	for (uint64_t r = first >> shift; first < end && r <= (end - 1) >> shift; r++)
		if (regions[r / 64] >> (r % 64) & 1)
			return true;
	return false;
}

/* Takes what is to be written; `writing` is theirs from here on. Waits for what others write. */
static unsigned collect(struct pool_sums *s, const uint64_t *regions, unsigned shift)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->count; i++) {
		struct sum_block *b = &s->block[i];
		struct shard *sh = shard_of(s, b);
		pthread_mutex_lock(&sh->lock);
		while (b->writing)
			wait_changed(sh);
		if (b->used && b->dirty && outdated(s, b)) {
			b->dirty = false;
		} else if (b->used && b->dirty && in_regions(s, b, regions, shift)) {
			b->writing = true;
			b->dirty = false;
			s->list[n++] = b;
		}
		pthread_mutex_unlock(&sh->lock);
	}
	return n;
}

static void written(struct pool_sums *s, struct sum_block *b, bool failed)
{
	struct shard *sh = shard_of(s, b);
	pthread_mutex_lock(&sh->lock);
	b->writing = false;
	b->dirty = failed;
	waitq_wake_all(&sh->q);
	pthread_mutex_unlock(&sh->lock);
}

static int by_place(const void *a, const void *b)
{
	const struct sum_block *x = *(struct sum_block *const *)a;
	const struct sum_block *y = *(struct sum_block *const *)b;
	if (x->position != y->position)
		return x->position < y->position ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

/* What is collected of one position. */
struct share {
	struct pool_sums *s;
	unsigned first, end; /* of the list */
	int rc;
};

static void write_share(void *item)
{
	struct share *x = item;
	struct pool_sums *s = x->s;
	x->rc = 0;
	for (unsigned i = x->first, n; i < x->end; i += n) {
		struct sum_block *const *b = s->list + i;
		for (n = 1; i + n < x->end && n < BATCH && b[n]->gen == b[0]->gen &&
			    b[n]->number == b[0]->number + n;)
			n++;
		int rc = write_blocks(s, b, n);
		for (unsigned k = 0; k < n; k++)
			written(s, b[k], rc != 0);
		x->rc = x->rc ? x->rc : rc;
	}
}

static int write_list(struct pool_sums *s, unsigned n)
{
	struct share share[POOL_DISKS_MAX];
	unsigned k = 0;
	int rc = 0;
	qsort(s->list, n, sizeof(struct sum_block *), by_place);
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || s->list[i]->position != s->list[i - 1]->position)
			share[k++] = (struct share){.s = s, .first = i};
		share[k - 1].end = i + 1;
	}
	fan_run(write_share, share, sizeof(share[0]), k);
	for (unsigned i = 0; i < k && rc == 0; i++)
		rc = share[i].rc;
	return rc;
}

static void collecting_begin(struct pool_sums *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->collecting) {
		struct waiter w;
		waitq_enter(&s->q, &w);
		pthread_mutex_unlock(&s->lock);
		task_park();
		pthread_mutex_lock(&s->lock);
		waitq_leave(&s->q, &w);
	}
	s->collecting = true;
	pthread_mutex_unlock(&s->lock);
}

static void collecting_end(struct pool_sums *s)
{
	pthread_mutex_lock(&s->lock);
	s->collecting = false;
	waitq_wake_all(&s->q);
	pthread_mutex_unlock(&s->lock);
}

int pool_sums_write(struct pool_sums *s, const uint64_t *regions, unsigned shift)
{
	collecting_begin(s);
	unsigned n = collect(s, regions, shift);
	FAULT("pool.sums.collected");
	int rc = n ? write_list(s, n) : 0;
	FAULT("pool.sums.written");
	collecting_end(s);
	return rc;
}

void pool_sums_stats(const struct pool_sums *s, struct pool_sums_stats *ret)
{
	*ret = (struct pool_sums_stats){.reads = atomic_load(&s->reads),
					.writes = atomic_load(&s->writes),
					.lost = atomic_load(&s->lost)};
}
