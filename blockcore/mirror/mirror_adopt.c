/*
 * Takeover: what the partner left in the mirror area becomes this cache's own, where it is.
 *
 * The partner is fenced, so nobody writes the area. A CBE of it is believed when its fields are
 * possible; of two for one page of a volume the higher generation is the truth. Generations were
 * the partner's: this cache's counter is raised above them first, so that every later version is
 * higher than what it follows, also for a scan after a restart.
 *
 * An own DIRTY page meets an adopted one only when this controller had adopted it before, wrote it
 * anew and was killed: the higher generation is the newer. An own CLEAN one was left from the time
 * before the partner owned the volume, and goes.
 *
 * While adopted pages are in use `area_closed` keeps the partner out.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

static bool adoptable(const struct cache *c, struct cbe *e)
{
	return CBE_GET(e, state) == CBE_DIRTY && cache_cbe_possible(c, e) && CBE_GET(e, dirty) &&
	       e->generation < MIRROR_GENERATION_LIMIT;
}

static void generation_raise(struct cache *c, uint64_t to)
{
	uint64_t have = atomic_load(&c->super->generation);
	while (have < to && !atomic_compare_exchange_weak(&c->super->generation, &have, to))
		;
}

/* The adopted page is newer than the cache's version. */
static bool adopted_wins(struct cache *c, uint32_t pg, uint32_t cur)
{
	return CBE_GET(&c->cbe[cur], state) != CBE_DIRTY ||
	       c->cbe[cur].generation < c->cbe[pg].generation;
}

/* The shard's lock is held. */
static void remove_older(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t cur,
			 struct page_batch *b)
{
	struct cache *c = v->c;
	if (CBE_GET(&c->cbe[cur], state) == CBE_DIRTY) {
		cache_dirty_del(c, p.shard, v, page);
		if (!v->backing)
			atomic_fetch_sub(&c->norphans, 1);
	}
	cache_index_remove(c, p.bucket, cur);
	cache_page_detach(c, p.shard, cur, b);
}

/* Links a page of the area into the index. The shard's lock is held. */
static void link_page(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg)
{
	struct cache *c = v->c;
	struct cache_page *m = &c->page[pg];
	memset(m, 0, sizeof(*m));
	atomic_store(&m->refs, 1);
	m->flags = PG_INDEXED;
	m->home = QUEUE_MAIN;
	m->since = c->cbe[pg].generation;
	c->cbe[pg].mirror = CACHE_NO_PAGE;
	atomic_fetch_add(&c->mirror.held, 1);
	cache_index_insert(c, p.bucket, pg);
	cache_dirty_add(c, p.shard, v, page, m->since);
	if (!v->backing)
		atomic_fetch_add(&c->norphans, 1);
	FAULT("mirror.adopted");
}

static bool adopt_page(struct cache_vol *v, uint32_t pg)
{
	struct cache *c = v->c;
	struct cbe *e = &c->cbe[pg];
	struct page_batch b;
	page_batch_init(&b);
	uint64_t page = CBE_GET(e, page);
	struct cache_place p = cache_place_of(c, v->id, page);
	generation_raise(c, e->generation);
	pthread_mutex_lock(&p.shard->lock);
	uint32_t cur = cache_index_find(c, p.bucket, v->id, page).cur;
	bool wins = cur == CACHE_NO_PAGE || adopted_wins(c, pg, cur);
	if (wins && cur != CACHE_NO_PAGE)
		remove_older(v, p, page, cur, &b);
	if (wins)
		link_page(v, p, page, pg);
	else
		CBE_PUT(e, state, CBE_FREE);
	pthread_mutex_unlock(&p.shard->lock);
	page_batch_flush(c, &b);
	return wins;
}

/* Pages that this cache holds already, or that were adopted before a restart and are clean. */
static bool skip_page(struct cache *c, uint32_t pg)
{
	uint32_t state = CBE_GET(&c->cbe[pg], state);
	if (state == CBE_FREE || atomic_load(&c->page[pg].refs))
		return true;
	if (state != CBE_CLEAN)
		return false;
	CBE_PUT(&c->cbe[pg], state, CBE_FREE);
	return true;
}

/* Keeps the partner out of the area; the adoption itself counts as a page in use. */
static void area_close(struct cache *c)
{
	pthread_mutex_lock(&c->mirror.area_lock);
	c->mirror.peer_epoch = 0;
	pthread_mutex_unlock(&c->mirror.area_lock);
	pthread_mutex_lock(&c->pool.lock);
	atomic_fetch_add(&c->mirror.held, 1);
	atomic_store(&c->super->area_closed, 1);
	pthread_mutex_unlock(&c->pool.lock);
}

static void area_release(struct cache *c)
{
	pthread_mutex_lock(&c->pool.lock);
	cache_area_put(c);
	pthread_mutex_unlock(&c->pool.lock);
}

int cache_mirror_adopt(struct cache *c, bool (*want)(void *arg, uint32_t volume), void *arg,
		       uint32_t *ret_adopted)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	uint32_t adopted = 0, bad = 0;
	int rc = 0;
	area_close(c);
	cache_staged_settle(c->mirror.own.cbe, c->mirror.own.npages, c->mirror.own.staged_true);
	for (uint32_t pg = c->nown; pg < c->npages && rc == 0; pg++) {
		struct cbe *e = &c->cbe[pg];
		if (skip_page(c, pg))
			continue;
		if (!adoptable(c, e)) {
			CBE_PUT(e, state, CBE_FREE);
			bad++;
			continue;
		}
		if (!want(arg, CBE_GET(e, volume)))
			continue;
		struct cache_vol *v = cache_vol_find_or_make(c, CBE_GET(e, volume));
		if (v)
			adopted += adopt_page(v, pg);
		else
			rc = -ENOMEM;
	}
	atomic_fetch_add(&c->mirror.adopted, adopted);
	area_release(c);
	if (bad)
		event_write(LOG_L_ERROR, "cache.dropped",
			    "%u elements of the mirror area with impossible fields were dropped",
			    bad);
	log_notice("mirror area adopted pages=%u of=%u", adopted, c->npages - c->nown);
	*ret_adopted = adopted;
	return rc;
}

void cache_mirror_clear(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	for (uint32_t pg = c->nown; pg < c->npages; pg++)
		if (!atomic_load(&c->page[pg].refs))
			CBE_PUT(&c->cbe[pg], state, CBE_FREE);
	atomic_store(&c->super->mirror_staged_true, 0);
}

void cache_mirror_drop(struct cache *c, bool (*want)(void *arg, uint32_t volume), void *arg)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	unsigned dropped = 0;
	pthread_mutex_lock(&c->mirror.area_lock);
	for (uint32_t pg = c->nown; pg < c->npages; pg++) {
		struct cbe *e = &c->cbe[pg];
		if (atomic_load(&c->page[pg].refs) || CBE_GET(e, state) == CBE_FREE ||
		    !want(arg, CBE_GET(e, volume)))
			continue;
		CBE_PUT(e, state, CBE_FREE);
		dropped++;
	}
	pthread_mutex_unlock(&c->mirror.area_lock);
	if (dropped)
		log_notice("mirror area dropped old pages=%u", dropped);
}
