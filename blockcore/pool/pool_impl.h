/* What the files of blockcore/pool share. */
#ifndef ISTHMUS_BLOCKCORE_POOL_IMPL_H
#define ISTHMUS_BLOCKCORE_POOL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include "blockcore/disk/disk.h"
#include "blockcore/pool/raid.h"
#include "blockcore/pool/pool_lock.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/fan.h"

#define RAID_MAGIC    0x72616964
#define POOL_SUSPECTS 64 /* rows that somebody doubts, remembered */

struct parity;
struct stripe_bufs;

struct raid {
	uint32_t magic;
	struct bdev io; /* what raid_bdev() gives */
	struct env *env;
	char name[64];
	uint8_t uuid[16];
	unsigned ndisks, copies, columns;
	unsigned data, parity; /* columns that hold data, and parity (RAID 5: 1, 6: 2) */
	uint32_t chunk;
	uint64_t extent_size, extents;
	_Atomic(struct disk *) disks[POOL_DISKS_MAX];
	atomic_bool in[POOL_DISKS_MAX];
	atomic_bool filling[POOL_DISKS_MAX];
	_Atomic uint64_t filled[POOL_DISKS_MAX]; /* bytes of its data that are good */
	atomic_bool resync_needed;
	struct pool_locks locks;

	struct pool_intent *intent; /* NULL: nothing is redundant, and there are no checksums */
	struct pool_sums *sums;	    /* NULL: there are no checksums (pool_sums.h) */
	uint64_t data_off;	    /* where data begins on the disks */

	/* Parity pools only (pool_stripe.h). */
	struct parity *code;
	struct stripe_bufs *bufs;
	struct pool_log *log;
	_Atomic uint64_t log_mask;		 /* positions whose rows are logged (pool_log.h) */
	atomic_bool log_always;			 /* all rows are */
	_Atomic uint64_t suspect[POOL_SUSPECTS]; /* row + 1, a ring */
	_Atomic unsigned nsuspect;

	/* Positions that went OUT and do not stand in the metadata yet. */
	pthread_mutex_t lock; /* of the fields below, and of going OUT */
	struct waitq recorded;
	uint64_t recorded_mask;
	uint64_t record_tries;	/* counts raid_recorded() */
	bool recording;		/* lost() was called and has not been answered */
	atomic_bool unrecorded; /* some do not stand there: writes wait before they are done */
	int record_err;
	void (*lost)(void *arg, struct raid *p);
	void *arg;

	atomic_bool resync_stop;
	_Atomic uint64_t resync_done, resync_total, fill_done, fill_total;
	_Atomic uint64_t rate; /* bytes a second of background work */
	_Atomic uint64_t nfilled;
	_Atomic uint64_t read_repairs, resync_fixed, nlost, located;
	_Atomic uint64_t wrong_sums, unjudged, unmended;
	_Atomic uint64_t unjudged_told; /* when, last */
};

/* A contiguous piece of one column. */
struct column_range {
	unsigned column;
	uint64_t off; /* in the column */
	uint64_t len;
};

/* The piece that starts at logical `off`, at most len and to the end of its chunk (with one
 * column: all of len). */
struct column_range pool_map_piece(const struct raid *p, uint64_t off, uint64_t len);
/* All of [off, off + len) that lies in a column; len 0: nothing. It is one range of the column. */
struct column_range pool_map_column(const struct raid *p, unsigned column, uint64_t off,
				    uint64_t len);
/* Bytes [*ret_first, *ret_end) of the space that hold all of [off, off + len) of a position;
 * widened to whole chunks of every column where there are several. */
void pool_map_span(const struct raid *p, uint64_t off, uint64_t len, uint64_t *ret_first,
		   uint64_t *ret_end);
/* The reverse of pool_map_piece(). */
uint64_t pool_map_logical(const struct raid *p, unsigned column, uint64_t off);

static inline unsigned pool_position(const struct raid *p, unsigned column, unsigned copy)
{
	return column * p->copies + copy;
}

/* What the position holds up to byte `end` of its data is good. */
static inline bool pool_readable(const struct raid *p, unsigned position, uint64_t end)
{
	if (atomic_load_explicit(&p->in[position], memory_order_acquire))
		return true;
	return atomic_load_explicit(&p->filling[position], memory_order_acquire) &&
	       end <= atomic_load_explicit(&p->filled[position], memory_order_acquire);
}

/* The position gets every write. */
static inline bool pool_writable(const struct raid *p, unsigned position)
{
	return atomic_load_explicit(&p->in[position], memory_order_acquire) ||
	       atomic_load_explicit(&p->filling[position], memory_order_acquire);
}

/* One position, as it lies there; a write sets the checksums. Offsets are of the column. */
int pool_copy_readv(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		    uint64_t off);
int pool_copy_writev(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		     uint64_t off, unsigned flags);
/* Held against the checksums, where there are any: see pool_sums_judge(). */
static inline int pool_copy_checked_readv(struct raid *p, unsigned position,
					  const struct iovec *iov, int iovcnt, uint64_t off)
{
	int rc = pool_copy_readv(p, position, iov, iovcnt, off);
	return rc == 0 && p->sums ? pool_sums_judge(p, position, iov, iovcnt, off) : rc;
}
/* The group's data, and its checksums, have room on it. */
bool pool_disk_large(const struct raid *p, const struct disk *d);
/* An error that says the disk is bad, rather than the request or the memory (-ERR_LEFT: nothing is
 * to be read into that any more). */
bool pool_disk_error(int rc);
/* Drops the position for an error of its disk, unless it is the last copy; ends its filling. */
void pool_copy_failed(struct raid *p, unsigned position, const char *what, int rc);
/* Waits until no lost position is unrecorded; an error when that could not be done. */
int pool_wait_recorded(struct raid *p);
/* The end of a write: waits for that where it is stable, or a disk missed it. */
static inline int pool_write_done(struct raid *p, bool fua)
{
	return fua || atomic_load_explicit(&p->unrecorded, memory_order_acquire)
		   ? pool_wait_recorded(p)
		   : 0;
}
/* Waits. Flushes every disk in use; one that fails is dropped. */
int pool_flush_disks(struct raid *p);

/* Zeros on all disks in use, offsets of the disks' data; a disk that fails is dropped where it can
 * be spared. */
int pool_zero_copies(struct raid *p, uint64_t off, uint64_t len);
/* Of every level: with the write-intent map around them. */
int pool_io_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		   unsigned flags);
int pool_io_discard(struct bdev *b, uint64_t off, uint64_t len);
int pool_io_flush(struct bdev *b);
/* Parity pools: [off, off + len) of the space. iov NULL: zeros. */
int pool_parity_write(struct raid *p, const struct iovec *iov, int iovcnt, uint64_t off,
		      uint64_t len, unsigned flags);
int pool_parity_zero(struct raid *p, uint64_t off, uint64_t len);
/* Pauses background work that has done `bytes` since *since, as the rate and the users want. */
void pool_pace(struct raid *p, uint64_t bytes, uint64_t *since);
/* Around writes of the pool's space (pool_intent.h). */
int pool_write_enter(struct raid *p, uint64_t off, uint64_t len);
void pool_write_leave(struct raid *p, uint64_t off, uint64_t len);
/* Reads a range of one region of a mirrored column from the first copy that can, in pieces where it
 * must. Alone in the region. */
int pool_column_read(struct raid *p, unsigned column, uint8_t *buf, uint64_t off, uint64_t len);

/* Parity pools: parity of the row is made anew when it is written next, not updated. */
void pool_suspect_row(struct raid *p, uint64_t row);
/* Waits. Writes to a position that is FILLING what the row has there. */
int pool_fill_row(struct raid *p, uint64_t row, unsigned position);
/* Waits. Makes the parity of a row right by its data, where all of that can be read; mend: data
 * that cannot be is decoded and written anew first. Counts what was wrong. */
int pool_sync_row(struct raid *p, uint64_t row, bool mend, uint64_t *ret_fixed);

extern const struct bdev_ops pool_io_ops, pool_parity_io_ops;

#endif
