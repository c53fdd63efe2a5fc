/*
 * A pool: RAID groups (raid.h) of one level, shape and chunk, one after the other in one logical
 * space, as a bdev. It begins with one group and grows by further ones; what is written stays where
 * it is.
 *
 *   extents     0 .. n0 - 1    lie in group 0, n0 .. n0 + n1 - 1 in group 1, ...
 *   positions   0 .. w - 1     are the disks of group 0, w .. 2w - 1 of group 1, ...
 *
 * Each group bears what its level bears, alone: lost disks are filled group by group. A pool is
 * degraded when one of its groups is, offline when one is. Group i keeps its map and its log under
 * the pool's uuid with i added to the last byte: what a disk of another group brings along is not
 * taken for them.
 *
 * A group is added at the end, by one task at a time, and is seen by all others at once; it goes
 * only while no extent of it is in use.
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_H
#define ISTHMUS_BLOCKCORE_POOL_H

#include "blockcore/pool/raid.h"

struct pool;

#define POOL_GROUPS_MAX 32

struct pool_opts {
	struct env *env;
	const char *name, *level;
	uint8_t uuid[16];
	uint32_t chunk;
	uint64_t extent_size;
	const uint64_t *extents; /* of each group */
	unsigned ngroups;
	struct disk **disks; /* by position; NULL: not there */
	const bool *out;     /* by position: must not be used, its data is old */
	unsigned ndisks;     /* of all groups, each has as many */
	bool log_always;     /* every row is logged before it is written (pool_log.h) */
	bool checksums;	     /* of all pages (pool_sums.h) */
	/*
	 * A position went OUT while the pool is in use. Called from any reactor, never waits; has
	 * the fact written to the array metadata and then calls pool_recorded(). Until then no
	 * flush of the pool succeeds: a restart must not take the failed copy for a good one.
	 */
	void (*lost)(void *arg, struct pool *p);
	void *arg;
};

/* -EINVAL: unknown level, wrong number of disks, disks too small. Missing disks only degrade. */
int pool_new(struct pool **ret, const struct pool_opts *o);
/* Nothing may be in flight; the disks stay. */
void pool_free(struct pool *p);

/*
 * Waits. Another group, of as many disks as each has. It is used from then on where its extents
 * are. -E2BIG: POOL_GROUPS_MAX or POOL_DISKS_MAX; -EBUSY: too many were dropped; -EINVAL: disks too
 * small, or blocks larger than the pool's; errors of the disks.
 */
int pool_add_group(struct pool *p, struct disk **disks, uint64_t extents);
/* Takes the last group away again; nobody has used it. */
void pool_drop_group(struct pool *p);
unsigned pool_groups(const struct pool *p);
unsigned pool_group_disks(const struct pool *p);

/*
 * The logical space. Any reactor. Discarded ranges read as zeros (the disk's own discard where
 * that makes zeros, else zeros are written). read_copy: -ENODEV when the copy's disk is OUT.
 * Errors: -ERR_MEDIUM no copy could be read; -EIO no copy could be written or pool offline.
 */
struct bdev *pool_bdev(struct pool *p);

const char *pool_name(const struct pool *p);
const uint8_t *pool_uuid(const struct pool *p);
enum pool_state pool_state(const struct pool *p);
/* The worst of its groups. Ways to read a byte (read_copy): copies, or in its place and by each
 * parity. */
unsigned pool_copies(const struct pool *p);
unsigned pool_parity(const struct pool *p);
unsigned pool_ndisks(const struct pool *p);
struct disk *pool_disk(const struct pool *p, unsigned position); /* NULL: not there */
bool pool_disk_in(const struct pool *p, unsigned position);
uint64_t pool_extents(const struct pool *p);
uint64_t pool_extent_size(const struct pool *p);

/* The rest is as of the group in question, or of all one after the other; see raid.h. Positions,
 * masks of them and extents are the pool's. Progress is in parts of 1000 a group. */
int pool_drop(struct pool *p, struct disk *d, const char *why);
uint64_t pool_out_mask(const struct pool *p);
void pool_recorded(struct pool *p, uint64_t out_mask, int err);
/* Positions went OUT that do not stand in the metadata yet. */
bool pool_unrecorded(const struct pool *p);
int pool_resync(struct pool *p, const struct extent_run *used, size_t nused);
int pool_scrub(struct pool *p, const struct extent_run *used, size_t nused);
void pool_resync_stop(struct pool *p);
void pool_resync_need(struct pool *p);
bool pool_resync_needed(const struct pool *p);
void pool_resync_progress(const struct pool *p, uint64_t *ret_done, uint64_t *ret_total);
int pool_load(struct pool *p, bool closed);
int pool_sync(struct pool *p);
bool pool_checksums(const struct pool *p);
uint64_t pool_data_off(const struct pool *p, unsigned position);
int pool_settle(struct pool *p);
int pool_fill_recorded(struct pool *p, unsigned position);
int pool_set_log_always(struct pool *p, bool always);
void pool_sweep_intent(struct pool *p);
/* large enough for the group of that position, blocks not larger */
bool pool_disk_fits(const struct pool *p, unsigned position, const struct disk *d);
int pool_fill_begin(struct pool *p, unsigned position, struct disk *d);
int pool_fill(struct pool *p, unsigned position, const struct extent_run *used, size_t nused,
	      bool missed);
void pool_fill_cancel(struct pool *p, unsigned position);
bool pool_filling(const struct pool *p, unsigned position);
void pool_fill_progress(const struct pool *p, uint64_t *ret_done, uint64_t *ret_total);
void pool_set_rate(struct pool *p, uint64_t bytes_per_s);
/* Sums of the groups. */
void pool_stats(const struct pool *p, struct pool_stats *ret);

#endif
