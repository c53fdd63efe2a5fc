/*
 * Ranges of columns held shared by writers and alone by whoever copies between
 * the disks of a column (repair, resync): a write that came in between would be undone on one copy.
 *
 * A column is cut into regions of 1 MiB, and regions are hashed to slots.
 * Order: a range takes its slots in ascending order; whoever holds one alone
 * holds nothing else. So nobody waits in a circle.
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_LOCK_H
#define ISTHMUS_BLOCKCORE_POOL_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "runtime/task.h"

#define POOL_REGION	(1024 * 1024ull)
#define POOL_LOCK_SLOTS 256

struct pool_lock_slot {
	pthread_mutex_t m;
	unsigned writers;
	bool alone; /* held, or waiting for the writers to leave: no new ones come in */
	struct waitq q;
};

struct pool_locks {
	struct pool_lock_slot slot[POOL_LOCK_SLOTS];
};

void pool_locks_init(struct pool_locks *l);
void pool_locks_fini(struct pool_locks *l);

/* Waits while somebody is alone in the range. */
void pool_lock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);
void pool_unlock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);
/* Waits. The region that `off` lies in. */
void pool_lock_alone(struct pool_locks *l, unsigned column, uint64_t off);
void pool_unlock_alone(struct pool_locks *l, unsigned column, uint64_t off);

#endif
