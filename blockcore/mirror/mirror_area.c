/*
 * Writing a mirror area. A page of it is written while its CBE is free: data and all fields first,
 * then the state, with release order. So a writer that is killed at any store leaves each copy
 * whole or not there, and the owner of the area, who does nothing meanwhile, can adopt what it
 * finds.
 *
 * Several pages at once follow the protocol of cache_atomic.c with a word of their own: STAGED,
 * then `staged_true`, then DIRTY.
 */
#include "blockcore/cache/cache_priv.h"
#include "runtime/copy.h"

static void *area_data(const struct mirror_area *a, uint32_t page)
{
	return a->data + ((size_t)page << a->page_shift);
}

void mirror_area_fill(const struct mirror_area *a, uint32_t to, const void *data)
{
	copy_past_cache(area_data(a, to), data, (size_t)1 << a->page_shift);
}

static void put_one(const struct mirror_area *a, const struct mirror_copy *m, enum cbe_state state)
{
	struct cbe *e = &a->cbe[m->to];
	if (m->data)
		mirror_area_fill(a, m->to, m->data);
	CBE_PUT(e, volume, m->volume);
	CBE_PUT(e, page, m->page);
	e->generation = m->generation;
	e->mirror = CACHE_NO_PAGE;
	CBE_PUT(e, valid, m->valid);
	CBE_PUT(e, dirty, m->dirty);
	FAULT("mirror.after_copy");
	CBE_PUT(e, state, state);
	FAULT("mirror.after_publish");
}

void mirror_area_put(const struct mirror_area *a, const struct mirror_copy *m, unsigned n,
		     bool atomic)
{
	for (unsigned i = 0; i < n; i++)
		put_one(a, &m[i], atomic ? CBE_STAGED : CBE_DIRTY);
	if (!atomic)
		return;
	atomic_store(a->staged_true, 1);
	FAULT("mirror.decided");
	for (unsigned i = 0; i < n; i++) {
		CBE_PUT(&a->cbe[m[i].to], state, CBE_DIRTY);
		FAULT("mirror.unstaged");
	}
	atomic_store(a->staged_true, 0);
}

void mirror_area_free(const struct mirror_area *a, uint32_t page)
{
	CBE_PUT(&a->cbe[page], state, CBE_FREE);
}

void mirror_area_reset(const struct mirror_area *a)
{
	for (uint32_t i = 0; i < a->npages; i++)
		mirror_area_free(a, i);
	atomic_store(a->staged_true, 0);
}
