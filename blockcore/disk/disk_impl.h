/* What the files of blockcore/disk share. */
#ifndef ISTHMUS_BLOCKCORE_DISK_IMPL_H
#define ISTHMUS_BLOCKCORE_DISK_IMPL_H

#include <bsd/sys/queue.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include "blockcore/disk/disk.h"
#include "blockcore/disk/disk_label.h"
#include "runtime/bdev.h"
#include "runtime/task.h"

#define DISK_MAGIC	0x6469736b
#define DISK_REASON_LEN 160

struct disk_call;
struct call_mem;
TAILQ_HEAD(disk_call_list, disk_call);

#define CALL_CLASSES 5 /* of memory: 4 KiB to 1 MiB */

/* Calls of a disk (disk_call.c). */
struct disk_calls {
	pthread_mutex_t lock;	      /* of the lists, the memory and unclaim */
	struct disk_call_list waited; /* calls that somebody waits for */
	struct disk_call_list free;
	struct call_mem *mem[CALL_CLASSES]; /* free, by size */
	size_t mem_bytes;		    /* free and in use */
	struct waitq mem_wait, returned;
	_Atomic unsigned left;	/* left behind and not back */
	_Atomic unsigned fails; /* counts disk_leave_calls() */
	atomic_bool may_leave;
	bool unclaim; /* when none is left */
	/* Changed under the lock. */
	_Atomic(const struct disk_lender *) lender;
};

/* With the lock: no call is under way. */
static inline bool disk_calls_none(struct disk_calls *k)
{
	return TAILQ_EMPTY(&k->waited) && atomic_load(&k->left) == 0;
}

struct disk {
	uint32_t magic;
	_Atomic int state;
	struct env *env;
	struct bdev io;	    /* what disk_bdev() gives */
	struct bdev *under; /* NULL when missing */
	char path[256];
	struct disk_label label;
	bool stale[2]; /* label copies to rewrite */
	bool claimed;
	uint8_t claimed_for[16]; /* pool */
	unsigned relabels;	 /* odd while a label is being written */
	pthread_mutex_t lock;	 /* of reason */
	char reason[DISK_REASON_LEN];
	_Atomic uint64_t reads, writes, read_bytes, write_bytes, flushes, read_errors, write_errors,
	    wrong_data;
	_Atomic unsigned in_flight;
	_Atomic uint64_t began[DISK_CALLS]; /* when calls under way were; 0: a free slot */
	_Atomic unsigned next_call;	    /* where to look for one */
	struct disk_calls calls;
};

void disk_io_init(struct disk *d);
/* A slot with the time, so that calls which do not return are seen; DISK_CALLS: all are taken. */
unsigned disk_call_begin(struct disk *d);
void disk_call_end(struct disk *d, unsigned slot);

enum disk_call_op { DISK_CALL_READ, DISK_CALL_WRITE, DISK_CALL_FLUSH, DISK_CALL_DISCARD };
/* Wait. Pass a call on to what is underneath, whatever the disk's state. -EIO also when the disk
 * was given up meanwhile: then the call is left behind, and the caller's memory is free. */
int disk_call_rw(struct disk *d, enum disk_call_op op, const struct iovec *iov, int iovcnt,
		 uint64_t off, unsigned flags);
int disk_call_plain(struct disk *d, enum disk_call_op op, uint64_t off, uint64_t len);
void disk_calls_init(struct disk *d);
/* Waits for calls that were left behind. */
void disk_calls_fini(struct disk *d);

#endif
