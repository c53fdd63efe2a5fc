/*
 * See pool_intent.h.
 *
 * ready   the bit stands on the disks, and writers of the region need not wait
 * want    writers wait for the bit
 *
 * A writer counts itself in its regions first and looks at `ready` after; the sweep clears `ready`
 * first and looks at the count after. So either the writer sees that it must wait, or the sweep
 * sees the writer and puts the bit back. Whoever waits and finds nobody writing the map writes it,
 * for all.
 */
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_impl.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = "ISTHINTN";

#define WORDS (INTENT_BITS / 64)

struct pool_intent {
	struct raid *p;
	unsigned shift; /* log2 of a region's bytes */
	uint32_t regions;
	_Atomic uint64_t ready[WORDS], touched[WORDS];
	uint64_t blind[WORDS];	   /* fixed when it is loaded */
	_Atomic uint32_t *writers; /* a region */

	pthread_mutex_t lock; /* of the rest */
	struct waitq q;
	uint64_t want[WORDS];
	bool writing;
	uint64_t seq, wrote; /* of the map on the disks; counts maps written, well or not */
	int err;	     /* of the last */
	uint8_t *block;	     /* whose `writing` it is */
};

static bool bit_of(const _Atomic uint64_t *map, uint32_t r)
{
	return atomic_load(&map[r / 64]) >> (r % 64) & 1;
}

static uint32_t regions_of(const struct raid *p, unsigned shift)
{
	return (uint32_t)((p->io.size + (1ull << shift) - 1) >> shift);
}

int pool_intent_new(struct pool_intent **ret, struct raid *p)
{
	struct pool_intent *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->p = p;
	m->shift = (unsigned)__builtin_ctzll(INTENT_REGION_MIN);
	while ((p->io.size >> m->shift) >= INTENT_BITS)
		m->shift++;
	m->regions = regions_of(p, m->shift);
	pthread_mutex_init(&m->lock, NULL);
	waitq_init(&m->q);
	m->writers = calloc(m->regions, sizeof(*m->writers));
	if (!m->writers || posix_memalign((void **)&m->block, 4096, INTENT_BLOCK)) {
		pool_intent_free(m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

void pool_intent_free(struct pool_intent *m)
{
	if (!m)
		return;
	free(m->writers);
	free(m->block);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* ---- the block ---- */

static uint32_t block_crc(const uint8_t *b)
{
	static const uint8_t zero[4];
	uint32_t s = crc32c_add(CRC32C_INIT, b, 8);
	s = crc32c_add(s, zero, sizeof(zero));
	return crc32c_end(crc32c_add(s, b + 12, INTENT_BLOCK - 12));
}

static void encode(const struct pool_intent *m, uint64_t seq, uint8_t *b)
{
	memset(b, 0, INTENT_BLOCK);
	memcpy(b, magic, 8);
	le32_put(b + 12, INTENT_VERSION);
	memcpy(b + 16, m->p->uuid, 16);
	le64_put(b + 32, seq);
	le64_put(b + 40, 1ull << m->shift);
	le64_put(b + 48, m->regions);
	for (unsigned i = 0; i < WORDS; i++)
		le64_put(b + INTENT_HEAD + i * 8, atomic_load(&m->ready[i]) | m->want[i]);
	le32_put(b + 8, block_crc(b));
}

static bool valid(const struct pool_intent *m, const uint8_t *b)
{
	return memcmp(b, magic, 8) == 0 && le32_get(b + 8) == block_crc(b) &&
	       le32_get(b + 12) == INTENT_VERSION && memcmp(b + 16, m->p->uuid, 16) == 0 &&
	       le64_get(b + 40) == 1ull << m->shift && le64_get(b + 48) == m->regions;
}

/* ---- to the disks ---- */

struct copy_io {
	struct disk *d;
	unsigned position;
	const uint8_t *block;
	uint64_t off;
	int rc;
};

static void copy_write(void *item)
{
	struct copy_io *io = item;
	io->rc = bdev_write(disk_bdev(io->d), io->block, INTENT_BLOCK, io->off, BDEV_FUA);
}

static int write_all(struct raid *p, const uint8_t *block, uint64_t seq)
{
	struct copy_io io[POOL_DISKS_MAX];
	unsigned n = 0;
	int rc = 0;
	for (unsigned i = 0; i < p->ndisks; i++)
		if (pool_writable(p, i))
			io[n++] = (struct copy_io){.d = p->disks[i],
						   .position = i,
						   .block = block,
						   .off = INTENT_OFF + seq % 2 * INTENT_BLOCK};
	fan_run(copy_write, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n; i++) {
		if (io[i].rc == 0)
			continue;
		if (pool_disk_error(io[i].rc))
			pool_copy_failed(p, io[i].position, "the write-intent map", io[i].rc);
		if (atomic_load(&p->in[io[i].position]))
			rc = io[i].rc;
	}
	return rc;
}

/* With `lock` held, which it leaves meanwhile. Nobody else is writing. */
static void write_map(struct pool_intent *m)
{
	uint64_t sent[WORDS];
	m->writing = true;
	encode(m, m->seq + 1, m->block);
	memcpy(sent, m->want, sizeof(sent));
	pthread_mutex_unlock(&m->lock);
	int rc = write_all(m->p, m->block, m->seq + 1);
	pthread_mutex_lock(&m->lock);
	m->seq++; /* also when it failed: some disks may have it */
	for (unsigned i = 0; i < WORDS && rc == 0; i++) {
		atomic_fetch_or(&m->ready[i], sent[i]);
		m->want[i] &= ~sent[i];
	}
	m->writing = false;
	m->wrote++;
	m->err = rc;
	waitq_wake_all(&m->q);
}

/* With `lock` held. Until the map that is being written, if one is, has been. */
static void wait_written(struct pool_intent *m)
{
	struct waiter w;
	waitq_enter(&m->q, &w);
	pthread_mutex_unlock(&m->lock);
	task_park();
	pthread_mutex_lock(&m->lock);
	waitq_leave(&m->q, &w);
}

static int set_region(struct pool_intent *m, uint32_t r)
{
	int rc = 0;
	pthread_mutex_lock(&m->lock);
	while (rc == 0 && !bit_of(m->ready, r)) {
		m->want[r / 64] |= 1ull << (r % 64);
		if (m->writing) {
			wait_written(m);
			continue;
		}
		write_map(m);
		rc = m->err;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

/* ---- writers ---- */

static void leave_regions(struct pool_intent *m, uint32_t first, uint32_t end)
{
	for (uint32_t r = first; r < end; r++)
		atomic_fetch_sub(&m->writers[r], 1);
}

int pool_intent_enter(struct pool_intent *m, uint64_t off, uint64_t len)
{
	uint32_t first = (uint32_t)(off >> m->shift),
		 end = (uint32_t)((off + len - 1) >> m->shift) + 1;
	for (uint32_t r = first; r < end; r++) {
		atomic_fetch_add(&m->writers[r], 1);
		if (!bit_of(m->touched, r))
			atomic_fetch_or(&m->touched[r / 64], 1ull << (r % 64));
		int rc = bit_of(m->ready, r) ? 0 : set_region(m, r);
		if (rc) {
			leave_regions(m, first, r + 1);
			return rc;
		}
	}
	return 0;
}

void pool_intent_leave(struct pool_intent *m, uint64_t off, uint64_t len)
{
	leave_regions(m, (uint32_t)(off >> m->shift), (uint32_t)((off + len - 1) >> m->shift) + 1);
}

/* ---- opening, looking, sweeping ---- */

static void take(struct pool_intent *m, const uint8_t *b, bool keep)
{
	m->seq = le64_get(b + 32);
	for (unsigned i = 0; i < WORDS && keep; i++)
		atomic_store(&m->ready[i], le64_get(b + INTENT_HEAD + i * 8));
}

static void take_all(struct pool_intent *m)
{
	for (uint32_t r = 0; r < m->regions; r++)
		atomic_fetch_or(&m->ready[r / 64], 1ull << (r % 64));
}

void pool_intent_load(struct pool_intent *m, bool keep, bool unclean)
{
	struct raid *p = m->p;
	uint8_t *b = m->block;
	bool found = false;
	m->seq = 0;
	for (unsigned i = 0; i < p->ndisks; i++)
		for (unsigned slot = 0; slot < 2; slot++) {
			if (!atomic_load(&p->in[i]) ||
			    bdev_read(disk_bdev(p->disks[i]), b, INTENT_BLOCK,
				      INTENT_OFF + slot * INTENT_BLOCK) ||
			    !valid(m, b))
				continue;
			if (!found || le64_get(b + 32) > m->seq)
				take(m, b, keep);
			found = true;
		}
	if (!found && keep)
		take_all(m);
	for (unsigned i = 0; i < WORDS; i++)
		m->blind[i] = unclean ? atomic_load(&m->ready[i]) : 0;
}

bool pool_intent_blind(const struct pool_intent *m, uint64_t off, uint64_t end)
{
	for (uint64_t r = off >> m->shift; off < end && r <= (end - 1) >> m->shift; r++)
		if (m->blind[r / 64] >> (r % 64) & 1)
			return true;
	return false;
}

/* The next region in the map at or after *off: its part of [*off, end). False: none. */
static bool next_region(struct pool_intent *m, uint64_t *off, uint64_t end, uint64_t *ret_len)
{
	uint64_t region = 1ull << m->shift;
	while (*off < end && !bit_of(m->ready, (uint32_t)(*off >> m->shift)))
		*off = ROUND_DOWN(*off, region) + region;
	if (*off >= end)
		return false;
	*ret_len = MIN(end, ROUND_DOWN(*off, region) + region) - *off;
	return true;
}

int pool_each_part(struct raid *p, const struct extent_run *used, size_t nused, bool all,
		   int (*fn)(void *arg, uint64_t off, uint64_t len), void *arg)
{
	int rc = 0;
	for (size_t i = 0; i < nused && rc == 0; i++) {
		uint64_t at = used[i].first * p->extent_size, len;
		uint64_t end = at + used[i].count * p->extent_size;
		if (all) {
			rc = fn(arg, at, end - at);
			continue;
		}
		for (; rc == 0 && next_region(p->intent, &at, end, &len); at += len)
			rc = fn(arg, at, len);
	}
	return rc;
}

/* Clears `ready` of what is quiet; ret: what was cleared. True: something was. */
static bool pick_quiet(struct pool_intent *m, uint64_t quiet[WORDS])
{
	bool any = false;
	for (unsigned i = 0; i < WORDS; i++) {
		quiet[i] = atomic_load(&m->ready[i]) & ~atomic_exchange(&m->touched[i], 0);
		atomic_fetch_and(&m->ready[i], ~quiet[i]);
		for (uint64_t bits = quiet[i]; bits; bits &= bits - 1) {
			unsigned k = (unsigned)__builtin_ctzll(bits);
			if (atomic_load(&m->writers[i * 64 + k]) == 0)
				continue;
			atomic_fetch_or(&m->ready[i], 1ull << k);
			quiet[i] &= ~(1ull << k);
		}
		any |= quiet[i] != 0;
	}
	return any;
}

void pool_intent_sweep(struct pool_intent *m)
{
	uint64_t quiet[WORDS];
	struct raid *p = m->p;
	if (atomic_load(&p->resync_needed) || raid_state(p) != POOL_ONLINE)
		return;
	pthread_mutex_lock(&m->lock);
	while (m->writing)
		wait_written(m);
	if (!pick_quiet(m, quiet)) {
		pthread_mutex_unlock(&m->lock);
		return;
	}
	m->writing = true; /* new writers of these regions wait */
	pthread_mutex_unlock(&m->lock);
	int rc = p->sums ? pool_sums_write(p->sums, quiet, m->shift) : 0;
	if (rc == 0)
		rc = bdev_flush(&p->io);
	pthread_mutex_lock(&m->lock);
	m->writing = false;
	if (rc == 0 && raid_state(p) == POOL_ONLINE)
		write_map(m);
	else
		for (unsigned i = 0; i < WORDS; i++)
			atomic_fetch_or(&m->ready[i], quiet[i]);
	waitq_wake_all(&m->q);
	pthread_mutex_unlock(&m->lock);
}

void pool_intent_count(struct pool_intent *m, uint32_t *ret_set, uint32_t *ret_all)
{
	*ret_set = 0;
	*ret_all = m->regions;
	for (unsigned i = 0; i < WORDS; i++)
		*ret_set += (uint32_t)__builtin_popcountll(atomic_load(&m->ready[i]));
}
