/*
 * Hazard slots of readers outside this process. Their memory belongs to them: what stands in it
 * is only compared with page numbers.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

int cache_hazard_add(struct cache *c, const _Atomic uint32_t *slots, uint32_t nslots,
		     _Atomic uint8_t *touched, struct cache_hazard **ret)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_hazard *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->slots = slots;
	h->nslots = nslots;
	h->touched = touched;
	/* The pool's lock, so that no page is on its way to the free stack past our slots. */
	pthread_mutex_lock(&c->pool.lock);
	pthread_mutex_lock(&c->hazard_lock);
	TAILQ_INSERT_TAIL(&c->hazards, h, link);
	cache_pool_heed(c, h);
	atomic_fetch_add(&c->nhazards, 1);
	pthread_mutex_unlock(&c->hazard_lock);
	pthread_mutex_unlock(&c->pool.lock);
	*ret = h;
	return 0;
}

void cache_hazards_entered(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	pthread_mutex_lock(&c->pool.lock);
	bool lent = c->mirror.lent;
	c->mirror.lent = false;
	if (lent)
		cache_area_put(c);
	pthread_mutex_unlock(&c->pool.lock);
}

void cache_hazard_remove(struct cache *c, struct cache_hazard *h)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	pthread_mutex_lock(&c->hazard_lock);
	TAILQ_REMOVE(&c->hazards, h, link);
	atomic_fetch_sub(&c->nhazards, 1);
	pthread_mutex_unlock(&c->hazard_lock);
	free(h);
	cache_pool_rescan(c);
}
