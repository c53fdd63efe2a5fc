/*
 * A disk: a bdev that carries an Isthmus label twice (start and end), with
 * checksums. Layout of a disk:
 *
 *   0            label copy 0 (4 KiB)
 *   4 KiB        reserved
 *   8 KiB        write-intent map of the pool, twice (pool/pool_intent.h)
 *   16 KiB       stripe log of a parity pool (pool/pool_log.h)
 *   1 MiB        array metadata area (META_AREA bytes; see control/meta.h)
 *   DATA_OFF     data
 *   size - 4 KiB label copy 1 (size rounded down to 4 KiB)
 */
#ifndef ISTHMUS_BLOCKCORE_DISK_H
#define ISTHMUS_BLOCKCORE_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct bdev;
struct disk;
struct env;

#define DISK_META_OFF  (1024 * 1024ull)
#define DISK_META_SIZE (15 * 1024 * 1024ull)
#define DISK_DATA_OFF  (16 * 1024 * 1024ull)
#define DISK_SIZE_MIN  (64 * 1024 * 1024ull)

enum disk_state {
	DISK_BLANK, /* no label: may be taken into a pool */
	DISK_ONLINE,
	DISK_FAILED,  /* errors: not used until replaced */
	DISK_MISSING, /* configured or labelled but cannot be opened */
	DISK_FOREIGN, /* the label is of another array or version */
};
const char *disk_state_name(enum disk_state s);

struct disk_label {
	uint8_t array_uuid[16];
	uint8_t disk_uuid[16];
	uint8_t pool_uuid[16]; /* zeros: in no pool */
	uint32_t position;     /* in the pool */
	uint64_t epoch;	       /* of the label: the higher copy is the truth */
	uint64_t size;
};

/*
 * Waits. Opens and reads both labels; a damaged copy is told (event, by path and offset). Writes
 * nothing, since the disk may turn out to be another array's. Never fails for what is on the
 * disk: see disk_state(). bdev is owned by the disk from here on; NULL makes a MISSING one, and
 * why says what hindered.
 */
int disk_open(struct disk **ret, struct env *env, const char *path, struct bdev *bdev,
	      const char *why);
/* Waits for calls that were left behind. */
void disk_close(struct disk *d);
/* Waits. Rewrites a label copy that was found damaged or old from the good one (event). */
int disk_repair_label(struct disk *d);
/* Not ours: never written from here on. */
void disk_set_foreign(struct disk *d, const char *why);
/*
 * Exclusive use of the disk for a pool, by this process (bdev_claim()); kept until disk_unclaim()
 * or disk_close(), and after the death of the process until the last of its I/O has ended. 0, also
 * when it has it already or there is nothing underneath; -EBUSY: another process has it.
 */
int disk_claim(struct disk *d, const uint8_t pool[16]);
/* Once the last call that was left behind is back. */
void disk_unclaim(struct disk *d);
/* The same disk, opened anew as `to`, is claimed instead of `from`, if that is. */
int disk_pass_claim(struct disk *from, struct disk *to);
bool disk_claimed_for(const struct disk *d, const uint8_t pool[16]);
/* Waits. Writes both label copies, flushed between; raises the epoch. */
int disk_write_label(struct disk *d, const struct disk_label *l);
/* Waits. Removes the label. -EBUSY: calls were left behind. */
int disk_wipe(struct disk *d);

enum disk_state disk_state(const struct disk *d);
const struct disk_label *disk_label(const struct disk *d);
const char *disk_path(const struct disk *d);
uint64_t disk_data_size(const struct disk *d); /* usable bytes after DISK_DATA_OFF */
/* Event, state FAILED. Calls that wait for the disk end with -EIO, in whatever it is stuck; what
 * the system has of them is left behind, and with it no memory of the callers. Any thread. */
void disk_fail(struct disk *d, const char *why);
/*
 * Calls that were left behind and are not back: until there are none, the disk may still be written
 * as it was asked to before, and must not be used for anything. Any thread.
 */
unsigned disk_left(const struct disk *d);
/* Whoever waits for a call leaves, as with disk_fail(), but the state stays. Any thread. */
void disk_leave_calls(struct disk *d);
/* False: calls are never left behind, since nothing stands in for the disk. True at first. */
void disk_set_may_leave(struct disk *d, bool may);
/*
 * Memory that may be left behind: what is read into [from, to) goes there straight, without a copy.
 * When such a read is given up it ends with -ERR_LEFT, left() having been called in the reader's
 * task; until back() is called, for the same pieces, anything may yet be written there. Neither
 * waits; back() on any thread, with a lock held.
 */
struct disk_lender {
	const void *from, *to;
	void (*left)(void *arg, const struct iovec *iov, int iovcnt);
	void (*back)(void *arg, const struct iovec *iov, int iovcnt);
	void *arg;
};
/* Kept as it is; NULL: no more, also of what was left behind before. Then no read into the memory
 * may be under way. */
void disk_set_lender(struct disk *d, const struct disk_lender *l);
/*
 * Waits. Looks whether an online disk is still what was opened: its file, then both labels, which
 * are told and rewritten where they are damaged (events). 0, or an error and the clause that says
 * it in `why` (160 bytes): it is not to be trusted with data any more.
 */
int disk_check(struct disk *d, char *why);
/*
 * Waits. The partner may have labelled or wiped the disk: what its labels say now is what it is,
 * without a word. Not one that is claimed here, has failed or is missing. -ENODEV: there is another
 * file at its path now, or none.
 */
int disk_look_again(struct disk *d);
/* Exclusively in use here, for any pool. */
bool disk_claimed(const struct disk *d);
/* What disk_check() found on a disk that stays in use all the same; "": nothing any more. */
void disk_set_reason(struct disk *d, const char *why);
/* Why the state is not ONLINE; "" otherwise. Copied to ret (at least 160 bytes). Any thread. */
void disk_reason(struct disk *d, char *ret);
/* Counts, and refuses everything once the disk has failed; any reactor. Offsets are the disk's. */
struct bdev *disk_bdev(struct disk *d);

struct disk_stats {
	uint64_t reads, writes, read_bytes, write_bytes, flushes, read_errors, write_errors;
	uint64_t wrong_data; /* disk_count_wrong() */
	uint64_t in_flight;
};
/* Calls in flight now: what queues are compared by. Any thread. */
unsigned disk_in_flight(const struct disk *d);
/* Nanoseconds that the oldest call has been under way; 0: none is. Any thread. Of more than
 * DISK_CALLS calls some are not seen. */
#define DISK_CALLS 64
uint64_t disk_waits_ns(const struct disk *d);
void disk_stats(const struct disk *d, struct disk_stats *ret);
/* It gave other data than was written there, without an error. Any thread. */
void disk_count_wrong(struct disk *d);

#endif
