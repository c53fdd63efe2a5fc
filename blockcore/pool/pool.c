/*
 * RAID groups joined into a pool (pool.h): what is asked of a position or an extent goes to the
 * group it lies in, all else to every group. The data path is in pool_space.c.
 *
 * `ngroups` is raised last, when the group and where it begins are in place: whoever has read it
 * sees those. Groups go in no other order than they came.
 */
#include "blockcore/pool/pool_groups.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void group_lost(void *arg, struct raid *r)
{
	struct pool *p = arg;
	p->lost(p->arg, p);
}

static int new_group(struct pool *p, struct disk **disks, const bool *out, uint64_t extents,
		     struct raid **ret)
{
	struct raid_opts o = {
	    .env = p->env,
	    .name = p->name,
	    .level = p->level,
	    .chunk = p->chunk,
	    .extent_size = p->extent_size,
	    .extents = extents,
	    .disks = disks,
	    .out = out,
	    .ndisks = p->width,
	    .log_always = atomic_load(&p->log_always),
	    .checksums = p->checksums,
	    .lost = p->lost ? group_lost : NULL,
	    .arg = p,
	};
	memcpy(o.uuid, p->uuid, 16);
	o.uuid[15] = (uint8_t)(o.uuid[15] + atomic_load(&p->ngroups));
	return raid_new(ret, &o);
}

static void take_in(struct pool *p, struct raid *r)
{
	unsigned n = atomic_load(&p->ngroups);
	p->group[n] = r;
	p->first[n + 1] = p->first[n] + raid_extents(r);
	atomic_store_explicit(&p->ngroups, n + 1, memory_order_release);
	pool_space_resize(p);
}

int pool_new(struct pool **ret, const struct pool_opts *o)
{
	int rc = 0;
	if (!o->ngroups || o->ngroups > POOL_GROUPS_MAX || o->ndisks % o->ngroups)
		return -EINVAL;
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->magic = POOL_MAGIC;
	p->env = o->env;
	snprintf(p->name, sizeof(p->name), "%s", o->name);
	snprintf(p->level, sizeof(p->level), "%s", o->level);
	memcpy(p->uuid, o->uuid, 16);
	p->chunk = o->chunk;
	p->extent_size = o->extent_size;
	p->width = o->ndisks / o->ngroups;
	p->checksums = o->checksums;
	p->lost = o->lost;
	p->arg = o->arg;
	atomic_init(&p->log_always, o->log_always);
	for (unsigned i = 0, at = 0; i < o->ngroups && rc == 0; i++, at += p->width) {
		struct raid *r;
		rc = new_group(p, o->disks + at, o->out ? o->out + at : NULL, o->extents[i], &r);
		if (rc == 0)
			take_in(p, r);
	}
	if (rc) {
		pool_free(p);
		return rc;
	}
	pool_space_init(p);
	*ret = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	CHECK(p, POOL_MAGIC);
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_free(p->group[i]);
	for (unsigned i = 0; i < p->ndropped; i++)
		raid_free(p->dropped[i]);
	p->magic = 0;
	free(p);
}

/* ---- growing ---- */

int pool_add_group(struct pool *p, struct disk **disks, uint64_t extents)
{
	CHECK(p, POOL_MAGIC);
	struct raid *r;
	unsigned n = pool_groups(p);
	if (n == POOL_GROUPS_MAX || (n + 1) * p->width > POOL_DISKS_MAX)
		return -E2BIG;
	if (p->ndropped == POOL_GROUPS_MAX)
		return -EBUSY;
	int rc = new_group(p, disks, NULL, extents, &r);
	if (rc)
		return rc;
	rc = raid_bdev(r)->block_size > p->io.block_size ? -EINVAL : raid_load(r, true);
	if (rc) {
		raid_free(r);
		return rc;
	}
	raid_set_rate(r, atomic_load(&p->rate));
	take_in(p, r);
	return 0;
}

void pool_drop_group(struct pool *p)
{
	CHECK(p, POOL_MAGIC);
	unsigned n = pool_groups(p) - 1;
	ASSERT(n > 0);
	atomic_store_explicit(&p->ngroups, n, memory_order_release);
	pool_space_resize(p);
	p->dropped[p->ndropped++] = p->group[n]; /* who goes through the groups may be in it */
}

unsigned pool_groups(const struct pool *p)
{
	return atomic_load_explicit(&p->ngroups, memory_order_acquire);
}

unsigned pool_group_disks(const struct pool *p)
{
	return p->width;
}

/* ---- what it is ---- */

const char *pool_name(const struct pool *p)
{
	return p->name;
}

const uint8_t *pool_uuid(const struct pool *p)
{
	return p->uuid;
}

enum pool_state pool_state(const struct pool *p)
{
	enum pool_state worst = POOL_ONLINE;
	for (unsigned i = 0; i < pool_groups(p); i++)
		worst = MAX(worst, raid_state(p->group[i]));
	return worst;
}

unsigned pool_copies(const struct pool *p)
{
	return raid_copies(p->group[0]);
}

unsigned pool_parity(const struct pool *p)
{
	return raid_parity(p->group[0]);
}

unsigned pool_ndisks(const struct pool *p)
{
	return pool_groups(p) * p->width;
}

/* NULL: there is no such position. */
static struct raid *group_of(const struct pool *p, unsigned position)
{
	return position < pool_ndisks(p) ? p->group[position / p->width] : NULL;
}

struct disk *pool_disk(const struct pool *p, unsigned position)
{
	struct raid *r = group_of(p, position);
	return r ? raid_disk(r, position % p->width) : NULL;
}

bool pool_disk_in(const struct pool *p, unsigned position)
{
	struct raid *r = group_of(p, position);
	return r && raid_disk_in(r, position % p->width);
}

uint64_t pool_extents(const struct pool *p)
{
	return p->first[pool_groups(p)];
}

uint64_t pool_extent_size(const struct pool *p)
{
	return p->extent_size;
}

/* ---- losing a disk ---- */

int pool_drop(struct pool *p, struct disk *d, const char *why)
{
	CHECK(p, POOL_MAGIC);
	/* A place it had before may still name it: where it is used counts. */
	struct raid *at = NULL;
	for (unsigned i = 0; i < pool_ndisks(p); i++)
		if (pool_disk(p, i) == d && (!at || pool_disk_in(p, i) || pool_filling(p, i)))
			at = group_of(p, i);
	return at ? raid_drop(at, d, why) : -ENOENT;
}

static uint64_t slice(const struct pool *p, uint64_t mask, unsigned group)
{
	uint64_t all = p->width == 64 ? UINT64_MAX : (1ull << p->width) - 1;
	return mask >> (group * p->width) & all;
}

uint64_t pool_out_mask(const struct pool *p)
{
	uint64_t mask = 0;
	for (unsigned i = 0; i < pool_groups(p); i++)
		mask |= raid_out_mask(p->group[i]) << (i * p->width);
	return mask;
}

void pool_recorded(struct pool *p, uint64_t out_mask, int err)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_recorded(p->group[i], slice(p, out_mask, i), err);
	/* Nobody's any more: what waits in them is let go. */
	for (unsigned i = 0; i < p->ndropped; i++)
		raid_recorded(p->dropped[i], UINT64_MAX, 0);
}

bool pool_unrecorded(const struct pool *p)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		if (raid_unrecorded(p->group[i]))
			return true;
	return false;
}

int pool_settle(struct pool *p)
{
	int rc = 0;
	for (unsigned i = 0; i < pool_groups(p) && rc == 0; i++)
		rc = raid_settle(p->group[i]);
	return rc;
}

/* ---- runs of extents ---- */

/* The parts of the runs that lie in the group, in its own extents. NULL: no memory. */
static struct extent_run *runs_of(const struct pool *p, unsigned group,
				  const struct extent_run *used, size_t nused, size_t *ret_n)
{
	uint64_t first = p->first[group], end = p->first[group + 1];
	struct extent_run *runs = malloc((nused + 1) * sizeof(*runs));
	*ret_n = 0;
	for (size_t i = 0; runs && i < nused; i++) {
		uint64_t a = MAX(used[i].first, first);
		uint64_t b = MIN(used[i].first + used[i].count, end);
		if (a < b)
			runs[(*ret_n)++] = (struct extent_run){a - first, b - a};
	}
	return runs;
}

static int each_group(struct pool *p, const struct extent_run *used, size_t nused,
		      int (*fn)(struct raid *r, const struct extent_run *used, size_t nused))
{
	int rc = 0;
	for (unsigned i = 0; i < pool_groups(p) && rc == 0; i++) {
		size_t n;
		struct extent_run *runs = runs_of(p, i, used, nused, &n);
		atomic_store(&p->sync_at, i);
		rc = runs ? fn(p->group[i], runs, n) : -ENOMEM;
		free(runs);
	}
	return rc;
}

int pool_resync(struct pool *p, const struct extent_run *used, size_t nused)
{
	CHECK(p, POOL_MAGIC);
	return each_group(p, used, nused, raid_resync);
}

int pool_scrub(struct pool *p, const struct extent_run *used, size_t nused)
{
	CHECK(p, POOL_MAGIC);
	return each_group(p, used, nused, raid_scrub);
}

void pool_resync_stop(struct pool *p)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_resync_stop(p->group[i]);
}

void pool_resync_need(struct pool *p)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_resync_need(p->group[i]);
}

bool pool_resync_needed(const struct pool *p)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		if (raid_resync_needed(p->group[i]))
			return true;
	return false;
}

void pool_resync_progress(const struct pool *p, uint64_t *ret_done, uint64_t *ret_total)
{
	uint64_t done, total;
	unsigned at = MIN(atomic_load(&p->sync_at), pool_groups(p) - 1);
	raid_resync_progress(p->group[at], &done, &total);
	*ret_done = at * 1000 + (total ? MIN(done, total) * 1000 / total : 0);
	*ret_total = pool_groups(p) * 1000;
}

/* ---- maps and logs ---- */

int pool_load(struct pool *p, bool closed)
{
	int rc = 0;
	for (unsigned i = 0; i < pool_groups(p) && rc == 0; i++)
		rc = raid_load(p->group[i], closed);
	return rc;
}

int pool_sync(struct pool *p)
{
	int rc = 0;
	for (unsigned i = 0; i < pool_groups(p) && rc == 0; i++)
		rc = raid_sync(p->group[i]);
	return rc;
}

uint64_t pool_data_off(const struct pool *p, unsigned position)
{
	return raid_data_off(group_of(p, position));
}

bool pool_checksums(const struct pool *p)
{
	return p->checksums;
}

int pool_set_log_always(struct pool *p, bool always)
{
	int rc = 0;
	for (unsigned i = 0; i < pool_groups(p) && rc == 0; i++)
		rc = raid_set_log_always(p->group[i], always);
	if (rc == 0)
		atomic_store(&p->log_always, always);
	return rc;
}

void pool_sweep_intent(struct pool *p)
{
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_sweep_intent(p->group[i]);
}

/* ---- filling ---- */

bool pool_disk_fits(const struct pool *p, unsigned position, const struct disk *d)
{
	struct raid *r = group_of(p, position);
	return r && raid_disk_fits(r, d);
}

int pool_fill_begin(struct pool *p, unsigned position, struct disk *d)
{
	CHECK(p, POOL_MAGIC);
	struct raid *r = group_of(p, position);
	for (unsigned i = 0; i < pool_ndisks(p); i++) /* one disk, one place */
		if (pool_disk(p, i) == d && (pool_disk_in(p, i) || pool_filling(p, i)))
			return -EBUSY;
	return r ? raid_fill_begin(r, position % p->width, d) : -EBUSY;
}

int pool_fill(struct pool *p, unsigned position, const struct extent_run *used, size_t nused,
	      bool missed)
{
	CHECK(p, POOL_MAGIC);
	struct raid *r = group_of(p, position);
	size_t n;
	struct extent_run *runs = runs_of(p, position / p->width, used, nused, &n);
	atomic_store(&p->fill_at, position / p->width);
	int rc = runs ? raid_fill(r, position % p->width, runs, n, missed) : -ENOMEM;
	if (!runs)
		raid_fill_cancel(r, position % p->width);
	free(runs);
	return rc;
}

int pool_fill_recorded(struct pool *p, unsigned position)
{
	return raid_fill_recorded(group_of(p, position), position % p->width);
}

void pool_fill_cancel(struct pool *p, unsigned position)
{
	raid_fill_cancel(group_of(p, position), position % p->width);
}

bool pool_filling(const struct pool *p, unsigned position)
{
	struct raid *r = group_of(p, position);
	return r && raid_filling(r, position % p->width);
}

void pool_fill_progress(const struct pool *p, uint64_t *ret_done, uint64_t *ret_total)
{
	raid_fill_progress(p->group[atomic_load(&p->fill_at)], ret_done, ret_total);
}

void pool_set_rate(struct pool *p, uint64_t bytes_per_s)
{
	atomic_store(&p->rate, bytes_per_s);
	for (unsigned i = 0; i < pool_groups(p); i++)
		raid_set_rate(p->group[i], bytes_per_s);
}

void pool_stats(const struct pool *p, struct pool_stats *ret)
{
	struct pool_stats one;
	*ret = (struct pool_stats){0};
	for (unsigned i = 0; i < pool_groups(p); i++) {
		raid_stats(p->group[i], &one);
		ret->read_repairs += one.read_repairs;
		ret->resync_fixed += one.resync_fixed;
		ret->wrong_data += one.wrong_data;
		ret->lost += one.lost;
		ret->filled += one.filled;
		ret->intent += one.intent;
		ret->regions += one.regions;
		ret->log_entries += one.log_entries;
		ret->log_bytes += one.log_bytes;
		ret->log_emptied += one.log_emptied;
		ret->log_replayed += one.log_replayed;
		ret->wrong_sums += one.wrong_sums;
		ret->unjudged += one.unjudged;
		ret->unmended += one.unmended;
		ret->sum_reads += one.sum_reads;
		ret->sum_writes += one.sum_writes;
		ret->sums_lost += one.sums_lost;
	}
}
