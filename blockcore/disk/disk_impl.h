/* What disk.c and disk_io.c share. */
#ifndef ISTHMUS_BLOCKCORE_DISK_IMPL_H
#define ISTHMUS_BLOCKCORE_DISK_IMPL_H

#include <pthread.h>
#include "blockcore/disk/disk_label.h"
#include "runtime/bdev.h"

#define DISK_MAGIC	0x6469736b
#define DISK_REASON_LEN 160

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
	_Atomic uint64_t reads, writes, read_bytes, write_bytes, flushes, read_errors, write_errors;
	_Atomic unsigned in_flight;
	_Atomic uint64_t began[DISK_CALLS]; /* when calls under way were; 0: a free slot */
	_Atomic unsigned next_call;	    /* where to look for one */
};

void disk_io_init(struct disk *d);

#endif
