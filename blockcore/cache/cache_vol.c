/*
 * Volumes of the cache. A volume's record is made when it is first attached or
 * when adoption finds pages of it, and lives as long as the cache: while no backing is attached,
 * its dirty pages are orphans, kept until it comes back.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

static struct cache_vol *vol_new(struct cache *c, uint32_t id)
{
	size_t size = sizeof(struct cache_vol) + c->nshards * sizeof(struct cache_counters);
	struct cache_vol *v = calloc(1, size);
	if (!v)
		return NULL;
	v->magic = CACHE_VOL_MAGIC;
	v->id = id;
	v->c = c;
	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->ra_lock, NULL);
	waitq_init(&v->idle);
	pthread_mutex_init(&v->claim_lock, NULL);
	waitq_init(&v->claim_q);
	TAILQ_INIT(&v->claims);
	TAILQ_INIT(&v->flush_waiters);
	v->flushed = UINT64_MAX; /* what was written before our time may not be stable */
	return v;
}

void cache_vol_free(struct cache_vol *v)
{
	v->magic = 0;
	free(v);
}

struct cache_vol *cache_vol_find_or_make(struct cache *c, uint32_t id)
{
	struct cache_vol *v;
	pthread_mutex_lock(&c->vols_lock);
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->id == id)
			break;
	if (!v && (v = vol_new(c, id)))
		TAILQ_INSERT_HEAD(&c->vols, v, link);
	pthread_mutex_unlock(&c->vols_lock);
	return v;
}

int cache_vol_check_range(struct cache_vol *v, uint64_t off, uint64_t len)
{
	if ((off | len) % CACHE_SECTOR)
		return -EINVAL;
	if (off > cache_vol_size(v) || len > cache_vol_size(v) - off)
		return -EINVAL;
	return 0;
}

int cache_vol_check(struct cache_vol *v, uint64_t off, uint64_t len)
{
	/* Half a tiny cache at most, so that any request can have the pages it needs. */
	if (len > CACHE_IO_MAX || len > ((uint64_t)v->c->nown / 2 - 1) << v->c->page_shift)
		return -EINVAL;
	return cache_vol_check_range(v, off, len);
}

enum vol_drop { DROP_CLEAN, DROP_ALL, DROP_BEYOND };

/* Takes one page out if it (still) is one of the volume's that shall go. */
static bool drop_page(struct cache_vol *v, uint32_t pg, enum vol_drop what, uint64_t limit)
{
	struct cache *c = v->c;
	struct cbe *e = &c->cbe[pg];
	struct page_batch retire;
	page_batch_init(&retire);
	uint64_t page = CBE_GET(e, page);
	if (CBE_GET(e, volume) != v->id || CBE_GET(e, state) < CBE_CLEAN)
		return false;
	struct cache_place p = cache_place_of(c, v->id, page);
	pthread_mutex_lock(&p.shard->lock);
	uint32_t state = CBE_GET(e, state);
	bool go = CBE_GET(e, volume) == v->id && CBE_GET(e, page) == page &&
		  (c->page[pg].flags & PG_INDEXED);
	go = go && (what == DROP_ALL || (what == DROP_CLEAN && state == CBE_CLEAN) ||
		    (what == DROP_BEYOND && page >= limit));
	if (go) {
		if (state == CBE_DIRTY)
			cache_dirty_del(c, p.shard, v, page);
		cache_index_remove(c, p.bucket, pg);
		cache_page_detach(c, p.shard, pg, &retire);
	}
	pthread_mutex_unlock(&p.shard->lock);
	page_batch_flush(c, &retire);
	return go;
}

static uint32_t drop_pages(struct cache_vol *v, enum vol_drop what, uint64_t limit)
{
	uint32_t n = 0;
	for (uint32_t pg = 0; pg < v->c->npages; pg++)
		n += drop_page(v, pg, what, limit);
	return n;
}

void cache_drop_foreign(struct cache *c, uint32_t volume)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_vol *v;
	pthread_mutex_lock(&c->vols_lock);
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->id == volume)
			break;
	pthread_mutex_unlock(&c->vols_lock);
	if (!v)
		return;
	ASSERT(!v->backing);
	atomic_fetch_sub(&c->norphans, atomic_load(&v->ndirty));
	uint32_t n = drop_pages(v, DROP_ALL, 0);
	if (n)
		log_notice(
		    "cache dropped pages of a volume that the partner owns volume=%u pages=%u",
		    volume, n);
}

int cache_vol_attach(struct cache *c, uint32_t id, struct bdev *backing, struct cache_vol **ret)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	if (id == 0 || !backing || backing->block_size > c->page_size ||
	    backing->block_size % CACHE_SECTOR ||
	    backing->size >> c->page_shift >= CACHE_PAGE_LIMIT)
		return -EINVAL;
	struct cache_vol *v = cache_vol_find_or_make(c, id);
	if (!v)
		return -ENOMEM;
	if (v->backing)
		return -EEXIST;
	uint32_t orphans = atomic_load(&v->ndirty);
	uint64_t pages = (backing->size + c->page_size - 1) >> c->page_shift;
	uint32_t beyond = drop_pages(v, DROP_BEYOND, pages);
	if (beyond)
		event_write(LOG_L_ERROR, "cache.dropped",
			    "volume %u: %u cached pages beyond the volume's end were dropped", id,
			    beyond);
	pthread_mutex_lock(&v->lock);
	v->backing = backing;
	v->detaching = false;
	v->flushed = UINT64_MAX;
	pthread_mutex_unlock(&v->lock);
	atomic_fetch_sub(&c->norphans, orphans);
	cache_kick(c);
	*ret = v;
	return 0;
}

int cache_vol_detach(struct cache_vol *v, bool drop)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	int rc = 0;
	if (!drop) {
		rc = cache_destage_range(v, 0, cache_vol_pages(v), UINT64_MAX);
		if (rc == 0)
			rc = cache_flush_backing(v);
	}
	cache_ra_purge(v);
	pthread_mutex_lock(&v->lock);
	v->detaching = true;
	while (v->users)
		cache_wait(c, &v->lock, &v->idle, 0);
	pthread_mutex_unlock(&v->lock);
	drop_pages(v, drop ? DROP_ALL : DROP_CLEAN, 0);
	atomic_fetch_add(&c->norphans, atomic_load(&v->ndirty));
	pthread_mutex_lock(&v->lock);
	v->backing = NULL;
	pthread_mutex_unlock(&v->lock);
	memset(v->ra, 0, sizeof(v->ra));
	return rc;
}

static void add_shard(struct cache_vol *v, uint32_t i, struct cache_stats *t)
{
	struct cache_shard *s = &v->c->shard[i];
	pthread_mutex_lock(&s->lock);
	struct cache_counters k = v->counters[i];
	pthread_mutex_unlock(&s->lock);
	t->read_hits += k.read_hits;
	t->read_misses += k.read_misses;
	t->write_pages += k.write_pages;
	t->readahead_pages += k.readahead_pages;
	t->destaged_pages += k.destaged_pages;
}

static void add_vol(struct cache_vol *v, struct cache_stats *t)
{
	for (uint32_t i = 0; i < v->c->nshards; i++)
		add_shard(v, i, t);
	t->writes += atomic_load_explicit(&v->nwrites, memory_order_relaxed);
	t->flushes += atomic_load_explicit(&v->nflushes, memory_order_relaxed);
	t->destage_ios += atomic_load_explicit(&v->ndestages, memory_order_relaxed);
}

void cache_vol_stats(struct cache_vol *v, struct cache_stats *ret)
{
	CHECK(v, CACHE_VOL_MAGIC);
	*ret = (struct cache_stats){.npages = v->c->nown, .dirty = atomic_load(&v->ndirty)};
	add_vol(v, ret);
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_vol *v;
	struct cache_stats t = {.npages = c->nown};
	pthread_mutex_lock(&c->vols_lock);
	TAILQ_FOREACH (v, &c->vols, link)
		add_vol(v, &t);
	pthread_mutex_unlock(&c->vols_lock);
	for (uint32_t i = 0; i < c->nshards; i++) {
		struct cache_shard *s = &c->shard[i];
		pthread_mutex_lock(&s->lock);
		t.clean += s->queue[QUEUE_SMALL].count + s->queue[QUEUE_MAIN].count;
		t.evicted += s->evicted;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_lock(&c->pool.lock);
	t.free = c->pool.nfree + c->pool.nlimbo + c->pool.nquarantine;
	pthread_mutex_unlock(&c->pool.lock);
	t.dirty = atomic_load(&c->ndirty);
	t.orphans = atomic_load(&c->norphans);
	t.throttled = atomic_load(&c->nthrottled);
	*ret = t;
}
