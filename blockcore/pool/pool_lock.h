/*
 * Ranges of columns held shared by writers and alone by whoever copies between
 * the disks of a column (repair, resync): a write that came in between would be undone on one copy.
 *
 * Rows of a parity pool are held alone by every writer.
 *
 * A column is cut into regions (1 MiB; a row of a parity pool), and regions are hashed to slots.
 * Order: a range takes its slots in ascending order, shared or alone; who holds one region alone
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
	uint64_t region; /* bytes */
	struct pool_lock_slot slot[POOL_LOCK_SLOTS];
};

void pool_locks_init(struct pool_locks *l, uint64_t region);
void pool_locks_fini(struct pool_locks *l);

/* Waits while somebody is alone in the range. */
void pool_lock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);
void pool_unlock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);
/* Waits. The region that `off` lies in. */
void pool_lock_alone(struct pool_locks *l, unsigned column, uint64_t off);
void pool_unlock_alone(struct pool_locks *l, unsigned column, uint64_t off);
/* Alone in all regions of a range, at most POOL_LOCK_SLOTS of them. */
void pool_lock_range(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);
void pool_unlock_range(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len);

#endif
