/*
 * Fixed pools of equal objects made at start: nothing on the I/O path calls malloc. When a pool
 * is empty, tasks wait for an object in arrival order (back-pressure, not failure).
 * A pool belongs to one thread (one per reactor).
 */
#ifndef ISTHMUS_RUNTIME_MEM_POOL_H
#define ISTHMUS_RUNTIME_MEM_POOL_H

#include <stddef.h>

struct mem_pool;

/* count objects of size bytes, each aligned to align (power of two). */
int mem_pool_new(struct mem_pool **ret, const char *name, size_t size, size_t align,
		 unsigned count);
/* All objects must be back. */
void mem_pool_free(struct mem_pool *p);
/* NULL when empty. Contents undefined. */
void *mem_pool_try_get(struct mem_pool *p);
/* What the next call would give: to be prefetched, no more. */
const void *mem_pool_next(const struct mem_pool *p);
/* Waits (a task). */
void *mem_pool_get(struct mem_pool *p);
void mem_pool_put(struct mem_pool *p, void *obj);
unsigned mem_pool_available(const struct mem_pool *p);

#endif
