/*
 * Which pages are dirty, in the order of the disk: in each shard a tree of
 * groups of CACHE_GROUP_PAGES neighbours, each with a bit a page. A group is in the tree while it
 * has a bit; there are as many groups as pages, so the pool of them never runs dry.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

static int group_cmp(const struct dirty_group *a, const struct dirty_group *b)
{
	if (a->vol->id != b->vol->id)
		return a->vol->id < b->vol->id ? -1 : 1;
	return a->group < b->group ? -1 : a->group > b->group;
}
/* Not all that is generated is used. */
RB_PROTOTYPE_INTERNAL(dirty_tree, dirty_group, link, group_cmp, static __attribute__((unused)));
RB_GENERATE_INTERNAL(dirty_tree, dirty_group, link, group_cmp, static __attribute__((unused)));

int cache_dirty_init(struct cache *c)
{
	c->groups = calloc(c->npages, sizeof(*c->groups));
	c->group_free = calloc(c->npages, sizeof(*c->group_free));
	if (!c->groups || !c->group_free)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->npages; i++)
		c->group_free[i] = c->npages - 1 - i;
	c->ngroup_free = c->npages;
	pthread_mutex_init(&c->group_lock, NULL);
	return 0;
}

void cache_dirty_fini(struct cache *c)
{
	free(c->groups);
	free(c->group_free);
}

static struct dirty_group *group_new(struct cache *c)
{
	pthread_mutex_lock(&c->group_lock);
	ASSERT(c->ngroup_free > 0);
	struct dirty_group *g = &c->groups[c->group_free[--c->ngroup_free]];
	pthread_mutex_unlock(&c->group_lock);
	return g;
}

static void group_free(struct cache *c, struct dirty_group *g)
{
	pthread_mutex_lock(&c->group_lock);
	c->group_free[c->ngroup_free++] = (uint32_t)(g - c->groups);
	pthread_mutex_unlock(&c->group_lock);
}

struct dirty_group *cache_dirty_find(struct cache_shard *s, struct cache_vol *v, uint64_t group)
{
	struct dirty_group key = {.vol = v, .group = group};
	return RB_FIND(dirty_tree, &s->dirty, &key);
}

void cache_dirty_add(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page,
		     uint64_t since)
{
	uint64_t group = page >> CACHE_GROUP_BITS;
	uint32_t bit = 1u << (page & (CACHE_GROUP_PAGES - 1));
	struct dirty_group *g = cache_dirty_find(s, v, group);
	if (!g) {
		g = group_new(c);
		g->vol = v;
		g->group = group;
		g->bits = 0;
		g->oldest = since;
		RB_INSERT(dirty_tree, &s->dirty, g);
	}
	ASSERT(!(g->bits & bit));
	g->bits |= bit;
	g->oldest = MIN(g->oldest, since);
	atomic_fetch_add(&c->ndirty, 1);
	atomic_fetch_add(&v->ndirty, 1);
}

void cache_dirty_del(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page)
{
	uint32_t bit = 1u << (page & (CACHE_GROUP_PAGES - 1));
	struct dirty_group *g = cache_dirty_find(s, v, page >> CACHE_GROUP_BITS);
	ASSERT(g && (g->bits & bit));
	g->bits &= ~bit;
	if (!g->bits) {
		RB_REMOVE(dirty_tree, &s->dirty, g);
		group_free(c, g);
	}
	atomic_fetch_sub(&c->ndirty, 1);
	atomic_fetch_sub(&v->ndirty, 1);
}

bool cache_dirty_next(struct cache *c, uint32_t id, uint64_t group, struct cache_vol **ret_vol,
		      uint64_t *ret_group)
{
	struct cache_vol from = {.id = id};
	struct dirty_group best = {.vol = NULL};
	for (uint32_t i = 0; i < c->nshards; i++) {
		struct cache_shard *s = &c->shard[i];
		struct dirty_group key = {.vol = &from, .group = group};
		pthread_mutex_lock(&s->lock);
		struct dirty_group *g = RB_NFIND(dirty_tree, &s->dirty, &key);
		if (g && (!best.vol || group_cmp(g, &best) < 0)) {
			best.vol = g->vol;
			best.group = g->group;
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (!best.vol)
		return false;
	*ret_vol = best.vol;
	*ret_group = best.group;
	return true;
}

void cache_dirty_settle(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page,
			uint32_t pg, uint16_t mask, struct page_batch *b)
{
	struct cbe *e = &c->cbe[pg];
	uint16_t left = CBE_GET(e, dirty) & ~mask;
	CBE_PUT(e, dirty, left);
	c->page[pg].flags &= ~PG_FAILED;
	if (left)
		return;
	FAULT("cache.settle.undirtied");
	CBE_PUT(e, state, CBE_CLEAN);
	cache_page_unmirror(c, s, pg, b);
	c->page[pg].since = 0;
	cache_dirty_del(c, s, v, page);
	cache_queue_insert(c, s, pg);
	if (pg >= c->nown) /* adopted: the partner waits for its area */
		cache_evict_page(c, s, pg, b);
}
