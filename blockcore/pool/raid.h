/*
 * A RAID group: disks joined into one logical space by a RAID level, as a bdev. A pool (pool.h) is
 * one of them, or several one after the other; what is said of a pool here is of its one group.
 *
 * Disks stand in columns of `copies` each; a column is striped with the others
 * chunk by chunk (RAID 0), and its disks hold the same bytes (RAID 1):
 *
 *   level    columns   copies        disk number (position) = column * copies + copy
 *   single   1         1
 *   raid0    n         1
 *   raid1    1         n (2 or 3)
 *   raid10   n / 2     2
 *   raid5    n         1         one chunk of each row is parity; n from 3 to 32
 *   raid6    n         1         two are; n from 4 to 32
 *
 * Logical byte L of chunk k = L / chunk lies in column k % columns, at
 * (k / columns) * chunk + L % chunk of its disks' data (DISK_DATA_OFF on). Rows of raid5 and raid6:
 * pool_stripe.h.
 *
 * States of a position: IN (holds the data), OUT (missing, failed, or was once; not used until the
 * pool is assembled anew), FILLING (a disk that takes its place: it gets every write, and is read
 * up to where it has been filled; then it is IN). A pool with a column without any IN disk is
 * offline; one with parity when more are OUT than it has parity chunks in a row.
 */
#ifndef ISTHMUS_BLOCKCORE_RAID_H
#define ISTHMUS_BLOCKCORE_RAID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bdev;
struct disk;
struct env;
struct raid;

#define POOL_DISKS_MAX	    64
#define POOL_COPIES_MAX	    3
#define POOL_CHUNK_DEFAULT  (64 * 1024u)
#define POOL_EXTENT_DEFAULT (4 * 1024 * 1024ull)

enum pool_state { POOL_ONLINE, POOL_DEGRADED, POOL_OFFLINE };
const char *pool_state_name(enum pool_state s);

/* A run of extents; a list of them is sorted and does not overlap. */
struct extent_run {
	uint64_t first, count;
};

struct raid_opts {
	struct env *env;
	const char *name, *level;
	uint8_t uuid[16];
	uint32_t chunk;
	uint64_t extent_size, extents;
	struct disk **disks; /* by position; NULL: not there */
	const bool *out;     /* by position: must not be used, its data is old */
	unsigned ndisks;
	bool log_always;     /* every row is logged before it is written (pool_log.h) */
	bool checksums;	     /* of all pages (pool_sums.h); as the pool was made */
	unsigned sum_blocks; /* kept in memory; 0: by size (SUM_CACHE_BYTES) */
	/*
	 * A position went OUT while the pool is in use. Called from any reactor, never waits; has
	 * the fact written to the array metadata and then calls raid_recorded(). Until then no
	 * flush of the pool succeeds: a restart must not take the failed copy for a good one.
	 */
	void (*lost)(void *arg, struct raid *p);
	void *arg;
};

/* -EINVAL: unknown level, wrong number of disks, disks too small. Missing disks only degrade. */
int raid_new(struct raid **ret, const struct raid_opts *o);
/* Nothing may be in flight; the disks stay. */
void raid_free(struct raid *p);

/* Bytes of an extent of a new pool: whole rows of parity, so that what is written in order through
 * a volume fills them; 0: such a pool cannot be. */
uint64_t pool_extent_bytes(const char *level, unsigned ndisks, uint32_t chunk);
/* Extents a new pool of these disks would have; 0 when they are too small. */
uint64_t pool_capacity(struct disk *const *disks, unsigned ndisks, const char *level,
		       uint32_t chunk, uint64_t extent_size, bool checksums);

/*
 * The logical space. Any reactor. Discarded ranges read as zeros (the disk's own discard where
 * that makes zeros, else zeros are written). read_copy: -ENODEV when the copy's disk is OUT.
 * Errors: -ERR_MEDIUM no copy could be read; -EIO no copy could be written or pool offline.
 */
struct bdev *raid_bdev(struct raid *p);

const char *raid_name(const struct raid *p);
const uint8_t *raid_uuid(const struct raid *p);
enum pool_state raid_state(const struct raid *p);
/* Ways to read a byte (read_copy): copies, or in its place and by each parity. */
unsigned raid_copies(const struct raid *p);
unsigned raid_parity(const struct raid *p);
unsigned raid_ndisks(const struct raid *p);
struct disk *raid_disk(const struct raid *p, unsigned position); /* NULL: not there */
bool raid_disk_in(const struct raid *p, unsigned position);
uint64_t raid_extents(const struct raid *p);
uint64_t raid_extent_size(const struct raid *p);

/* Takes a disk out of use after an error; -EBUSY when it is the last copy of its column (it
 * stays, and errors go to the users). Any reactor, never waits. */
int raid_drop(struct raid *p, struct disk *d, const char *why);
/* Bit i: position i is OUT. */
uint64_t raid_out_mask(const struct raid *p);
/* These positions stand in the metadata as failed now (err: that could not be written). */
void raid_recorded(struct raid *p, uint64_t out_mask, int err);
/* Positions went OUT that do not stand there yet. */
bool raid_unrecorded(const struct raid *p);

/*
 * Waits, as a background task. Makes copies equal again after an unclean close: reads each used
 * range of the write-intent map from the first IN copy and writes it where another differs; makes
 * parity right there. Until it has ended, reads go to that first copy. 0, -ERR_SHUTDOWN when
 * stopped, or the error that ended it.
 */
int raid_resync(struct raid *p, const struct extent_run *used, size_t nused);
/*
 * Waits, as a background task, while no resync is. Reads all that is used from every disk: what
 * cannot be read is written anew from the rest, copies that differ are made equal, parity is made
 * right by the data. Of three copies two that agree are right, and where both parities of raid6 are
 * explained by one wrong data element that one is (wrong_data); else the first copy, or the data,
 * is taken for right: which is, nobody can tell. With checksums what fits is right. Counted in
 * resync_fixed. Errors as of raid_resync(); -ERR_MEDIUM: something cannot be read from anywhere;
 * with checksums after all of it was looked at (unmended).
 */
int raid_scrub(struct raid *p, const struct extent_run *used, size_t nused);
void raid_resync_stop(struct raid *p);
/* From before the pool is used until raid_resync() succeeded: reads are served as during it. */
void raid_resync_need(struct raid *p);
bool raid_resync_needed(const struct raid *p);
void raid_resync_progress(const struct raid *p, uint64_t *ret_done, uint64_t *ret_total);

/*
 * Waits; before the pool is used. Takes up the write-intent map (pool_intent.h) and, unless the
 * pool was `closed` in order, does once more what stands in the stripe log (pool_log.h). The same
 * after a restart and when another controller takes the pool over. -ERR_VERSION: a newer program
 * wrote the log; else an error of the disks: the pool must not be used.
 */
int raid_load(struct raid *p, bool closed);
/*
 * Waits. Before a lost position is recorded: no row is under way that was begun with it, and what
 * was written is stable. From then on a crash finds every row right without that disk.
 */
int raid_settle(struct raid *p);
/* Waits. The metadata says that a position which was filled is IN: its rows are logged no more. */
int raid_fill_recorded(struct raid *p, unsigned position);
/* Waits. Parity pools: log every row (a crash and a disk lost in it are survived), or only rows
 * that lack a disk. */
int raid_set_log_always(struct raid *p, bool always);
/* Waits; call it every few seconds. */
void raid_sweep_intent(struct raid *p);
/* Waits. Flushes everything, checksums too: the pool may be said to be closed in order, when
 * nothing is written from here on. */
int raid_sync(struct raid *p);
bool raid_checksums(const struct raid *p);
/* Where the data of each disk begins on it. */
uint64_t raid_data_off(const struct raid *p);

/*
 * Rebuilding a position that is OUT onto disk d, which may be the one it had. raid_fill_begin():
 * -EBUSY the position is not OUT, -ENOSPC the disk does not fit. From then on it gets every write.
 */
bool raid_disk_fits(const struct raid *p,
		    const struct disk *d); /* large enough, blocks not larger */
int raid_fill_begin(struct raid *p, unsigned position, struct disk *d);
/*
 * Waits, as a background task. Fills what is used, and makes the position IN; the caller writes
 * that to the metadata. missed: the disk held the data of this position before it went OUT, and has
 * missed only what stands in the write-intent map. -ERR_SHUTDOWN when stopped (raid_resync_stop());
 * any other error ended the filling, and the position is OUT: -ERR_MEDIUM, something could not be
 * read from any copy.
 */
int raid_fill(struct raid *p, unsigned position, const struct extent_run *used, size_t nused,
	      bool missed);
/* After raid_fill_begin(), where raid_fill() will not be called: the position is OUT as before. */
void raid_fill_cancel(struct raid *p, unsigned position);
bool raid_filling(const struct raid *p, unsigned position);
void raid_fill_progress(const struct raid *p, uint64_t *ret_done, uint64_t *ret_total);
/* Bytes a second that filling and resyncing may take while the pool is in use; 0: what is left
 * over. */
void raid_set_rate(struct raid *p, uint64_t bytes_per_s);

struct pool_stats {
	uint64_t read_repairs; /* bad copies rewritten from a good one */
	uint64_t resync_fixed; /* ranges that differed */
	uint64_t wrong_data;   /* of these: blocks a scrub found to be the wrong ones */
	uint64_t lost;	       /* positions that went OUT in use */
	uint64_t filled;       /* positions that came IN again */
	uint32_t intent;       /* regions in the write-intent map */
	uint32_t regions;      /* all regions; 0: there is no map */
	uint64_t log_entries, log_bytes, log_emptied, log_replayed; /* the stripe log */
	/* Checksums: reads of a disk that did not fit; pages read that have none; pages a scrub
	 * found wrong on every copy; blocks of them read and written, and not to be read. */
	uint64_t wrong_sums, unjudged, unmended, sum_reads, sum_writes, sums_lost;
};
void raid_stats(const struct raid *p, struct pool_stats *ret);

#endif
