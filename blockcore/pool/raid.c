/*
 * Assembly, states and lost disks of a pool (pool.h). The data path is in
 * pool_io.c and pool_parity_io.c, the mapping in pool_map.c, the resync in raid_resync.c.
 *
 * A position goes from IN to OUT once, under `lock`, and only while the others
 * still hold all data. From then on flushes wait until the metadata says
 * so (pool_wait_recorded), because a write that the lost copy did not take is
 * only safe when the next opening knows not to read that copy.
 */
#include "blockcore/pool/pool_impl.h"
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_log.h"
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "blockcore/control/meta_check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *pool_state_name(enum pool_state s)
{
	static const char *const names[] = {"online", "degraded", "offline"};
	return (unsigned)s < ARRAY_LEN(names) ? names[s] : "?";
}

/* Disks of a pool that hold data no other one holds; 0: the level cannot have so many. */
static unsigned data_columns(const char *level, unsigned ndisks)
{
	unsigned copies = meta_level_copies(level, ndisks);
	return copies ? ndisks / copies - meta_level_parity(level) : 0;
}

uint64_t pool_extent_bytes(const char *level, unsigned ndisks, uint32_t chunk)
{
	uint64_t row = (uint64_t)data_columns(level, ndisks) * chunk;
	if (!row || !meta_level_parity(level) || row > 16 * POOL_EXTENT_DEFAULT)
		return row ? POOL_EXTENT_DEFAULT : 0;
	return (POOL_EXTENT_DEFAULT + row - 1) / row * row;
}

uint64_t pool_capacity(struct disk *const *disks, unsigned ndisks, const char *level,
		       uint32_t chunk, uint64_t extent_size, bool checksums)
{
	uint64_t least = UINT64_MAX;
	unsigned data = data_columns(level, ndisks);
	if (data == 0)
		return 0;
	for (unsigned i = 0; i < ndisks; i++)
		least = MIN(least, disk_data_size(disks[i]));
	if (checksums)
		least -= MIN(least, pool_sums_area(least));
	return ROUND_DOWN(least, chunk) * data / extent_size;
}

static void init_io(struct raid *p)
{
	struct bdev *b = &p->io;
	b->ops = p->parity ? &pool_parity_io_ops : &pool_io_ops;
	b->size = p->extents * p->extent_size;
	b->block_size = p->sums ? SUM_PAGE : 512; /* a sum is of a whole page */
	b->mem_align = 512;
	b->discard_zeroes = true;
	b->stripe = p->parity ? (uint32_t)MIN(stripe_row_bytes(p), UINT32_MAX) : 0;
	snprintf(b->name, sizeof(b->name), "pool %s", p->name);
	for (unsigned i = 0; i < p->ndisks; i++) {
		if (!p->disks[i])
			continue;
		b->block_size = MAX(b->block_size, disk_bdev(p->disks[i])->block_size);
		b->mem_align = MAX(b->mem_align, disk_bdev(p->disks[i])->mem_align);
	}
}

/* Bytes of data on each disk. */
static uint64_t column_bytes(const struct raid *p)
{
	uint64_t size = p->extents * p->extent_size;
	return ROUND_UP((size + p->data - 1) / p->data, p->chunk);
}

bool pool_disk_large(const struct raid *p, const struct disk *d)
{
	return p->data_off - DISK_DATA_OFF + column_bytes(p) <= disk_data_size(d);
}

static int init_sums(struct raid *p, const struct raid_opts *o)
{
	p->data_off = DISK_DATA_OFF;
	if (!o->checksums)
		return 0;
	p->data_off += pool_sums_area(column_bytes(p));
	return pool_sums_new(&p->sums, p, o->sum_blocks);
}

/* Slices of rows worked on at once: more wait for memory. */
#define STRIPES 16

static int init_parity(struct raid *p)
{
	if (!p->parity)
		return 0;
	int rc = parity_new(&p->code, p->data, p->parity);
	if (rc == 0)
		rc = stripe_bufs_new(&p->bufs, p->ndisks, STRIPES);
	return rc ? rc : pool_log_new(&p->log, p);
}

int raid_new(struct raid **ret, const struct raid_opts *o)
{
	unsigned copies = meta_level_copies(o->level, o->ndisks);
	if (!copies || o->ndisks > POOL_DISKS_MAX || !o->chunk)
		return -EINVAL;
	struct raid *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->magic = RAID_MAGIC;
	p->env = o->env;
	snprintf(p->name, sizeof(p->name), "%s", o->name);
	memcpy(p->uuid, o->uuid, 16);
	p->ndisks = o->ndisks;
	p->copies = copies;
	p->columns = o->ndisks / copies;
	p->data = data_columns(o->level, o->ndisks);
	p->parity = meta_level_parity(o->level);
	p->chunk = o->chunk;
	p->extent_size = o->extent_size;
	p->extents = o->extents;
	p->lost = o->lost;
	p->arg = o->arg;
	pthread_mutex_init(&p->lock, NULL);
	waitq_init(&p->recorded);
	pool_locks_init(&p->locks, p->parity ? p->chunk : POOL_REGION);
	int rc = init_parity(p);
	if (rc == 0)
		rc = init_sums(p, o);
	if (rc) {
		raid_free(p);
		return rc;
	}
	for (unsigned i = 0; i < p->ndisks; i++) {
		p->disks[i] = o->disks[i];
		if (p->disks[i])
			disk_set_may_leave(p->disks[i], raid_copies(p) > 1);
		bool in =
		    p->disks[i] && !(o->out && o->out[i]) && disk_state(p->disks[i]) == DISK_ONLINE;
		if (in && !pool_disk_large(p, p->disks[i])) {
			raid_free(p);
			return -EINVAL;
		}
		atomic_init(&p->in[i], in);
	}
	p->recorded_mask = raid_out_mask(p); /* whoever assembles has it in the metadata */
	atomic_init(&p->log_mask, p->parity ? p->recorded_mask : 0);
	atomic_init(&p->log_always, p->parity && o->log_always);
	init_io(p);
	if (raid_copies(p) > 1 || p->sums)
		rc = pool_intent_new(&p->intent, p);
	if (rc) {
		raid_free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

void raid_free(struct raid *p)
{
	if (!p)
		return;
	CHECK(p, RAID_MAGIC);
	pool_intent_free(p->intent);
	parity_free(p->code);
	stripe_bufs_free(p->bufs);
	pool_log_free(p->log);
	pool_sums_free(p->sums);
	pool_locks_fini(&p->locks);
	pthread_mutex_destroy(&p->lock);
	p->magic = 0;
	free(p);
}

struct bdev *raid_bdev(struct raid *p)
{
	return &p->io;
}

const char *raid_name(const struct raid *p)
{
	return p->name;
}

const uint8_t *raid_uuid(const struct raid *p)
{
	return p->uuid;
}

unsigned raid_copies(const struct raid *p)
{
	return p->copies + p->parity;
}

unsigned raid_parity(const struct raid *p)
{
	return p->parity;
}

unsigned raid_ndisks(const struct raid *p)
{
	return p->ndisks;
}

struct disk *raid_disk(const struct raid *p, unsigned position)
{
	return position < p->ndisks ? p->disks[position] : NULL;
}

bool raid_disk_in(const struct raid *p, unsigned position)
{
	return position < p->ndisks && atomic_load(&p->in[position]);
}

uint64_t raid_extents(const struct raid *p)
{
	return p->extents;
}

uint64_t raid_extent_size(const struct raid *p)
{
	return p->extent_size;
}

static unsigned column_in(const struct raid *p, unsigned column)
{
	unsigned n = 0;
	for (unsigned c = 0; c < p->copies; c++)
		n += atomic_load(&p->in[pool_position(p, column, c)]);
	return n;
}

/* Positions that may be lost beyond those that are. Negative: too many are. */
static int parity_spare(const struct raid *p)
{
	int n = (int)p->parity;
	for (unsigned i = 0; i < p->ndisks; i++)
		n -= !atomic_load(&p->in[i]);
	return n;
}

static enum pool_state parity_state(const struct raid *p)
{
	int spare = parity_spare(p);
	if (spare < 0)
		return POOL_OFFLINE;
	return spare < (int)p->parity ? POOL_DEGRADED : POOL_ONLINE;
}

enum pool_state raid_state(const struct raid *p)
{
	if (p->parity)
		return parity_state(p);
	enum pool_state s = POOL_ONLINE;
	for (unsigned c = 0; c < p->columns; c++) {
		unsigned n = column_in(p, c);
		if (n == 0)
			return POOL_OFFLINE;
		if (n < p->copies)
			s = POOL_DEGRADED;
	}
	return s;
}

/* ---- losing a disk ---- */

uint64_t raid_out_mask(const struct raid *p)
{
	uint64_t mask = 0;
	for (unsigned i = 0; i < p->ndisks; i++)
		if (!atomic_load(&p->in[i]))
			mask |= 1ull << i;
	return mask;
}

/* With `lock` held. */
static bool unrecorded(const struct raid *p)
{
	return p->lost && (raid_out_mask(p) & ~p->recorded_mask);
}

/* With `lock` held: true when the caller is to call lost(). */
static bool ask_to_record(struct raid *p)
{
	if (p->recording || !unrecorded(p))
		return false;
	p->recording = true;
	return true;
}

static bool can_spare(const struct raid *p, unsigned position)
{
	return p->parity ? parity_spare(p) > 0 : column_in(p, position / p->copies) > 1;
}

static int drop_position(struct raid *p, unsigned position, const char *why)
{
	int rc = 0;
	bool went = false, ask = false;
	if (atomic_exchange(&p->filling[position], false)) {
		disk_fail(p->disks[position], why);
		return 0;
	}
	pthread_mutex_lock(&p->lock);
	if (!atomic_load(&p->in[position])) {
		rc = 0;
	} else if (!can_spare(p, position)) {
		rc = -EBUSY;
	} else {
		/* Its rows are logged before they are written without it. */
		atomic_fetch_or(&p->log_mask, p->parity ? 1ull << position : 0);
		atomic_store(&p->unrecorded, p->lost != NULL);
		atomic_store(&p->in[position], false);
		went = true;
		ask = ask_to_record(p);
	}
	pthread_mutex_unlock(&p->lock);
	/* It was out, but carried the array's metadata: without it changes go on. */
	if (rc == 0 && !went && p->disks[position] && disk_state(p->disks[position]) == DISK_ONLINE)
		disk_fail(p->disks[position], why);
	if (!went)
		return rc;
	atomic_fetch_add(&p->nlost, 1);
	disk_fail(p->disks[position], why);
	event_write(LOG_L_ERROR, "pool.degraded", "pool %s: goes on without disk %s", p->name,
		    disk_path(p->disks[position]));
	if (ask)
		p->lost(p->arg, p);
	return 0;
}

int raid_drop(struct raid *p, struct disk *d, const char *why)
{
	CHECK(p, RAID_MAGIC);
	unsigned at = p->ndisks; /* a place it had before may still name it */
	for (unsigned i = 0; i < p->ndisks; i++)
		if (p->disks[i] == d && (at == p->ndisks || pool_writable(p, i)))
			at = i;
	return at < p->ndisks ? drop_position(p, at, why) : -ENOENT;
}

bool pool_disk_error(int rc)
{
	return rc && rc != -EINVAL && rc != -ENOMEM && rc != -EAGAIN && rc != -ERR_SHUTDOWN &&
	       rc != -ERR_LEFT;
}

void pool_copy_failed(struct raid *p, unsigned position, const char *what, int rc)
{
	char why[128];
	snprintf(why, sizeof(why), "%s: %s", what, err_text(rc));
	if (drop_position(p, position, why) == -EBUSY)
		log_error("pool %s: disk %s: %s; the pool cannot spare it, it stays in use",
			  p->name, disk_path(p->disks[position]), why);
}

void raid_recorded(struct raid *p, uint64_t out_mask, int err)
{
	pthread_mutex_lock(&p->lock);
	p->recording = false;
	p->record_tries++;
	p->record_err = err;
	if (err == 0)
		p->recorded_mask |= out_mask;
	atomic_store(&p->unrecorded, unrecorded(p));
	/* What was lost meanwhile is asked for again by the flush that finds it. */
	waitq_wake_all(&p->recorded);
	pthread_mutex_unlock(&p->lock);
}

bool raid_unrecorded(const struct raid *p)
{
	return atomic_load(&p->unrecorded);
}

int pool_wait_recorded(struct raid *p)
{
	int rc = 0;
	pthread_mutex_lock(&p->lock);
	uint64_t tries = p->record_tries;
	while (unrecorded(p) && rc == 0) {
		bool ask = ask_to_record(p);
		struct waiter w;
		waitq_enter(&p->recorded, &w);
		pthread_mutex_unlock(&p->lock);
		if (ask)
			p->lost(p->arg, p);
		task_park();
		pthread_mutex_lock(&p->lock);
		waitq_leave(&p->recorded, &w);
		if (p->record_tries != tries)
			rc = p->record_err;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

/* ---- the write-intent map ---- */

int raid_load(struct raid *p, bool closed)
{
	CHECK(p, RAID_MAGIC);
	if (p->intent)
		pool_intent_load(p->intent, !closed || raid_state(p) != POOL_ONLINE, !closed);
	return p->log && raid_state(p) != POOL_OFFLINE ? pool_log_load(p, !closed) : 0;
}

int raid_settle(struct raid *p)
{
	if (!p->parity)
		return 0;
	for (unsigned i = 0; i < POOL_LOCK_SLOTS; i++) {
		pool_lock_alone(&p->locks, 0, i * p->locks.region);
		pool_unlock_alone(&p->locks, 0, i * p->locks.region);
	}
	return pool_flush_disks(p);
}

int raid_fill_recorded(struct raid *p, unsigned position)
{
	return p->log ? pool_log_empty(p, 1ull << position) : 0;
}

int raid_set_log_always(struct raid *p, bool always)
{
	if (!p->log || always == atomic_load(&p->log_always))
		return 0;
	if (!always)
		return pool_log_set_always(p, false);
	int rc = pool_log_set_always(p, true);
	return rc ? rc : raid_settle(p); /* what was written before it is stable */
}

int raid_sync(struct raid *p)
{
	int rc = p->sums ? pool_sums_write(p->sums, NULL, 0) : 0;
	return rc ? rc : bdev_flush(&p->io);
}

uint64_t raid_data_off(const struct raid *p)
{
	return p->data_off;
}

bool raid_checksums(const struct raid *p)
{
	return p->sums != NULL;
}

void raid_sweep_intent(struct raid *p)
{
	if (p->intent)
		pool_intent_sweep(p->intent);
}

void raid_stats(const struct raid *p, struct pool_stats *ret)
{
	*ret = (struct pool_stats){
	    .read_repairs = atomic_load(&p->read_repairs),
	    .resync_fixed = atomic_load(&p->resync_fixed),
	    .wrong_data = atomic_load(&p->located),
	    .lost = atomic_load(&p->nlost),
	    .filled = atomic_load(&p->nfilled),
	    .wrong_sums = atomic_load(&p->wrong_sums),
	    .unjudged = atomic_load(&p->unjudged),
	    .unmended = atomic_load(&p->unmended),
	};
	if (p->sums) {
		struct pool_sums_stats s;
		pool_sums_stats(p->sums, &s);
		ret->sum_reads = s.reads;
		ret->sum_writes = s.writes;
		ret->sums_lost = s.lost;
	}
	if (p->intent)
		pool_intent_count(p->intent, &ret->intent, &ret->regions);
	if (p->log) {
		struct pool_log_stats l;
		pool_log_stats(p, &l);
		ret->log_entries = l.entries;
		ret->log_bytes = l.bytes;
		ret->log_emptied = l.emptied;
		ret->log_replayed = l.replayed;
	}
}
