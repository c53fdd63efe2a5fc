/*
 * Fixed pools (runtime/mem_pool.h): one allocation, a stack of free objects,
 * and a queue of tasks to which a returned object is handed directly, so that
 * nobody overtakes one who waits. Under ASan, free objects are poisoned.
 */
#include "runtime/mem_pool.h"
#include "runtime/check.h"
#include "runtime/mem_huge.h"
#include "runtime/task.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)	  ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define MEM_POOL_MAGIC 0x6d706f6f

struct mem_pool {
	uint32_t magic;
	const char *name;
	size_t size; /* asked for */
	size_t step; /* from one object to the next */
	unsigned count, nfree;
	char *memory;
	void **free_objs;
	struct waitq q; /* of struct pool_waiter */
};

struct pool_waiter {
	struct waiter w;
	void *obj;
};

int mem_pool_new(struct mem_pool **ret, const char *name, size_t size, size_t align, unsigned count)
{
	struct mem_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	ASSERT(size > 0 && count > 0 && align >= sizeof(void *) && (align & (align - 1)) == 0);
	p->magic = MEM_POOL_MAGIC;
	p->name = name;
	p->size = size;
	p->step = ROUND_UP(size, align);
	p->count = count;
	waitq_init(&p->q);
	p->free_objs = calloc(count, sizeof(*p->free_objs));
	size_t all = p->step * count;
	if (all >= MEM_HUGE_SIZE && align <= MEM_HUGE_SIZE)
		p->memory = mem_huge_alloc(all);
	else if (posix_memalign((void **)&p->memory, align, all))
		p->memory = NULL;
	if (!p->free_objs || !p->memory) {
		free(p->memory);
		free(p->free_objs);
		free(p);
		return -ENOMEM;
	}
	/* The first objects are handed out first: memory never needed is never touched. */
	for (unsigned i = count; i-- > 0;)
		p->free_objs[p->nfree++] = p->memory + i * p->step;
	ASAN_POISON_MEMORY_REGION(p->memory, p->step * count);
	*ret = p;
	return 0;
}

void mem_pool_free(struct mem_pool *p)
{
	if (!p)
		return;
	CHECK(p, MEM_POOL_MAGIC);
	ASSERT(p->nfree == p->count && waitq_empty(&p->q));
	p->magic = 0;
	ASAN_UNPOISON_MEMORY_REGION(p->memory, p->step * p->count);
	free(p->memory);
	free(p->free_objs);
	free(p);
}

void *mem_pool_try_get(struct mem_pool *p)
{
	CHECK(p, MEM_POOL_MAGIC);
	if (p->nfree == 0)
		return NULL;
	void *obj = p->free_objs[--p->nfree];
	ASAN_UNPOISON_MEMORY_REGION(obj, p->size);
	return obj;
}

const void *mem_pool_next(const struct mem_pool *p)
{
	return p->nfree ? p->free_objs[p->nfree - 1] : NULL;
}

void *mem_pool_get(struct mem_pool *p)
{
	void *obj = mem_pool_try_get(p);
	if (obj)
		return obj;
	struct pool_waiter me = {.obj = NULL};
	waitq_enter(&p->q, &me.w);
	while (!me.obj)
		task_park();
	return me.obj;
}

void mem_pool_put(struct mem_pool *p, void *obj)
{
	CHECK(p, MEM_POOL_MAGIC);
	char *at = obj;
	ASSERT(at >= p->memory && (size_t)(at - p->memory) % p->step == 0);
	ASSERT((size_t)(at - p->memory) / p->step < p->count);
	struct waiter *w = TAILQ_FIRST(&p->q);
	if (w) {
		container_of(w, struct pool_waiter, w)->obj = obj;
		waitq_wake_one(&p->q);
		return;
	}
	ASSERT(p->nfree < p->count);
	ASAN_POISON_MEMORY_REGION(obj, p->step);
	p->free_objs[p->nfree++] = obj;
}

unsigned mem_pool_available(const struct mem_pool *p)
{
	return p->nfree;
}
