/*
 * Pages that belong to nobody, and how they come and go.
 *
 *   free ----take----> private (refs 1) --publish--> current (the index's reference)
 *    ^                                                   | superseded, evicted: detach
 *    |                                                   v
 *    +--- no hazard slot names it --- limbo <---- last reference gone
 *
 * Adopted pages of the mirror area go the same way, but in the end back to the area.
 *
 * Taking is all or nothing, and a task that waits for pages holds none and pins none: so no
 * circle of waiters can form. Waiters are served in arrival order, readers before writers.
 * Writers may not make more than `budget` pages dirty, so that reads always find room. A mirrored
 * write takes as many pages of the partner's area in the same step.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

#define LIMBO_BATCH   256 /* a look at all slots of a head costs as much as 100 page writes */
#define PATIENCE_NS   (5 * NS_PER_S)
#define FAILING_SHARE 4 /* one in so many pages for a volume that cannot be written */
#define TAKE_POLL_NS  (10 * NS_PER_MS) /* hazard slots are cleared without telling us */

int cache_pool_init(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	p->free = calloc(c->npages, sizeof(uint32_t));
	p->limbo = calloc(c->npages, sizeof(uint32_t));
	p->quarantine = calloc(c->npages, sizeof(uint32_t));
	if (!p->free || !p->limbo || !p->quarantine)
		return -ENOMEM;
	p->reserve = MIN(8, c->nown / 16);
	p->limbo_next = LIMBO_BATCH;
	pthread_mutex_init(&p->lock, NULL);
	for (int i = 0; i < TAKE_CLASSES; i++)
		TAILQ_INIT(&p->waiters[i]);
	return 0;
}

void cache_pool_fini(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	free(p->free);
	free(p->limbo);
	free(p->quarantine);
	p->free = p->limbo = p->quarantine = NULL;
}

static uint32_t pool_held(struct cache_pool *p)
{
	uint32_t n = 0;
	for (int i = 0; i < MIRROR_EPOCHS; i++)
		n += atomic_load_explicit(&p->held[i], memory_order_relaxed);
	return n;
}

static bool pool_has(struct cache *c, unsigned n, enum page_class cls)
{
	struct cache_pool *p = &c->pool;
	if (cls == TAKE_DESTAGE)
		return p->nfree >= n;
	if (p->nfree < n + p->reserve)
		return false;
	return cls != TAKE_WRITE ||
	       (cache_own_dirty(c) + pool_held(p) + n <= c->budget && mirror_has(c, n));
}

/* The local pages, and for a write those of the partner's area: no message, nobody is asked. */
static void pool_pop(struct cache *c, unsigned n, uint32_t *pages, struct cache_write *w)
{
	struct cache_pool *p = &c->pool;
	for (unsigned i = 0; i < n; i++) {
		uint32_t pg = p->free[--p->nfree];
		struct cache_page *m = &c->page[pg];
		atomic_store_explicit(&m->refs, 1, memory_order_relaxed);
		m->since = m->since_next = 0;
		m->writing = m->inherit = 0;
		m->flags = m->freq = 0;
		m->queue = QUEUE_NONE;
		CBE_PUT(&c->cbe[pg], state, CBE_FILLING);
		pages[i] = pg;
	}
	if (!w)
		return;
	w->epoch = atomic_load(&c->mirror.epoch);
	w->copied = w->part = 0;
	if (mirror_epoch_joined(w->epoch)) {
		bool ok = mirror_table_pop(&c->mirror.table, w->mirror, n);
		ASSERT(ok);
		mirror_prefetch(&c->mirror, w->mirror, n);
		FAULT("mirror.after_pop");
	}
	atomic_fetch_add(&p->held[w->epoch % MIRROR_EPOCHS], n);
}

/* Gives what there is to those who wait. */
static void pool_serve(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	for (int cls = 0; cls < TAKE_CLASSES; cls++) {
		struct page_waiter *w;
		while ((w = TAILQ_FIRST(&p->waiters[cls])) && pool_has(c, w->n, cls)) {
			pool_pop(c, w->n, w->pages, w->write);
			TAILQ_REMOVE(&p->waiters[cls], w, link);
			atomic_fetch_sub(&p->nwaiting, 1);
			struct task *t = w->task;
			w->granted = true;
			task_wake(t);
		}
	}
}

void cache_pool_nudge(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	if (!atomic_load(&p->nwaiting))
		return;
	pthread_mutex_lock(&p->lock);
	pool_serve(c);
	for (int cls = 0; cls < TAKE_CLASSES; cls++) {
		struct page_waiter *w = TAILQ_FIRST(&p->waiters[cls]);
		if (w)
			task_wake(w->task);
	}
	pthread_mutex_unlock(&p->lock);
}

/* True when they name any page. */
static bool mark_slots(struct cache *c, const struct cache_hazard *h, uint32_t scan)
{
	bool any = false;
	for (uint32_t i = 0; i < h->nslots; i++) {
		uint32_t v = atomic_load_explicit(&h->slots[i], memory_order_acquire);
		if (v > 0 && v <= c->npages) {
			c->page[v - 1].hazard_scan = scan;
			any = true;
		}
	}
	return any;
}

static void mark_hazards(struct cache *c, uint32_t scan)
{
	struct cache_hazard *h;
	TAILQ_FOREACH (h, &c->hazards, link)
		mark_slots(c, h, scan);
}

static uint32_t next_scan(struct cache_pool *p)
{
	return ++p->scan ? p->scan : ++p->scan;
}

/* Those of the area that are marked and free; but not those that are in limbo anyway. */
static void heed_area(struct cache *c, uint32_t scan)
{
	struct cache_pool *p = &c->pool;
	for (uint32_t i = 0; i < p->nlimbo; i++)
		c->page[p->limbo[i]].hazard_scan = 0;
	for (uint32_t pg = c->nown; pg < c->npages; pg++) {
		struct cache_page *m = &c->page[pg];
		if (m->hazard_scan != scan || atomic_load(&m->refs) ||
		    CBE_GET(&c->cbe[pg], state) != CBE_FREE)
			continue;
		p->limbo[p->nlimbo++] = pg;
		atomic_fetch_add(&c->mirror.held, 1);
	}
}

void cache_pool_heed(struct cache *c, const struct cache_hazard *h)
{
	struct cache_pool *p = &c->pool;
	uint32_t kept = 0, scan = next_scan(p);
	if (!mark_slots(c, h, scan))
		return;
	if (c->mirror.lent)
		heed_area(c, scan);
	for (uint32_t i = 0; i < p->nfree; i++) {
		uint32_t pg = p->free[i];
		if (c->page[pg].hazard_scan == scan)
			p->limbo[p->nlimbo++] = pg;
		else
			p->free[kept++] = pg;
	}
	p->nfree = kept;
}

void cache_area_put(struct cache *c)
{
	uint32_t held = atomic_fetch_sub(&c->mirror.held, 1);
	ASSERT(held > 0);
	if (held == 1)
		atomic_store(&c->super->area_closed, 0);
}

/* A page that nobody uses any more. An adopted one belongs to the partner again. Pool's lock held.
 */
static void pool_return(struct cache *c, uint32_t pg)
{
	if (pg < c->nown)
		c->pool.free[c->pool.nfree++] = pg;
	else
		cache_area_put(c);
}

/* One look at all slots frees every page of limbo that none of them names. Pool's lock held. */
static void limbo_scan(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	uint32_t kept = 0;
	uint32_t scan = next_scan(p);
	pthread_mutex_lock(&c->hazard_lock);
	cache_fence(); /* after the index changes that brought the pages here */
	mark_hazards(c, scan);
	pthread_mutex_unlock(&c->hazard_lock);
	for (uint32_t i = 0; i < p->nlimbo; i++) {
		uint32_t pg = p->limbo[i];
		if (c->page[pg].hazard_scan == scan)
			p->limbo[kept++] = pg;
		else
			pool_return(c, pg);
	}
	p->nlimbo = kept;
	p->limbo_next = kept + MIN(LIMBO_BATCH, c->nown / 8);
}

void cache_batch_retire(struct cache *c, struct page_batch *b)
{
	struct cache_pool *p = &c->pool;
	pthread_mutex_lock(&p->lock);
	if (atomic_load(&c->nhazards)) {
		memcpy(p->limbo + p->nlimbo, b->pages, b->n * sizeof(*b->pages));
		p->nlimbo += b->n;
		if (p->nlimbo >= p->limbo_next || atomic_load(&p->nwaiting))
			limbo_scan(c);
	} else {
		for (unsigned i = 0; i < b->n; i++)
			pool_return(c, b->pages[i]);
	}
	if (b->nmirror && b->epoch == atomic_load(&c->mirror.epoch))
		mirror_table_push(&c->mirror.table, b->mirror, b->nmirror);
	b->n = b->nmirror = 0;
	if (atomic_load(&p->nwaiting))
		pool_serve(c);
	pthread_mutex_unlock(&p->lock);
}

void cache_pool_rescan(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	pthread_mutex_lock(&p->lock);
	if (p->nlimbo)
		limbo_scan(c);
	pool_serve(c);
	pthread_mutex_unlock(&p->lock);
}

uint32_t cache_quarantined(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	pthread_mutex_lock(&c->pool.lock);
	uint32_t n = c->pool.nquarantine;
	pthread_mutex_unlock(&c->pool.lock);
	return n;
}

void cache_quarantine_end(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_pool *p = &c->pool;
	pthread_mutex_lock(&p->lock);
	while (p->nquarantine) {
		uint32_t pg = p->quarantine[--p->nquarantine];
		CBE_PUT(&c->cbe[pg], state, CBE_FREE);
		p->free[p->nfree++] = pg;
	}
	pool_serve(c);
	pthread_mutex_unlock(&p->lock);
}

void cache_pages_give(struct cache *c, unsigned n, const uint32_t *pages)
{
	struct cache_pool *p = &c->pool;
	if (!n)
		return;
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < n; i++) {
		CBE_PUT(&c->cbe[pages[i]], state, CBE_FREE);
		p->free[p->nfree++] = pages[i];
	}
	if (atomic_load(&p->nwaiting))
		pool_serve(c);
	pthread_mutex_unlock(&p->lock);
}

void cache_write_give(struct cache *c, struct cache_write *w)
{
	struct cache_pool *p = &c->pool;
	uint32_t n = (uint32_t)w->n;
	w->n = 0;
	pthread_mutex_lock(&p->lock);
	if (mirror_epoch_joined(w->epoch) && w->epoch == atomic_load(&c->mirror.epoch))
		mirror_table_push(&c->mirror.table, w->mirror, n);
	atomic_fetch_sub(&p->held[w->epoch % MIRROR_EPOCHS], n);
	pthread_mutex_unlock(&p->lock);
	cache_pages_give(c, n, w->pages);
	cache_pool_nudge(c);
}

static bool pool_take_now(struct cache *c, unsigned n, enum page_class cls, uint32_t *pages,
			  struct cache_write *w)
{
	struct cache_pool *p = &c->pool;
	pthread_mutex_lock(&p->lock);
	bool ok = (cls == TAKE_DESTAGE || TAILQ_EMPTY(&p->waiters[cls])) && pool_has(c, n, cls);
	if (ok)
		pool_pop(c, n, pages, w);
	pthread_mutex_unlock(&p->lock);
	return ok;
}

/* A batch at a time, so that a request in many finds pages ready. */
static unsigned make_room(struct cache *c, unsigned n)
{
	unsigned some = MIN(64, MAX(c->nown / 32, 1));
	unsigned got = cache_evict(c, MAX(n, some));
	cache_pool_rescan(c);
	return got;
}

int cache_pages_try_take(struct cache *c, unsigned n, enum page_class cls, uint32_t *pages)
{
	if (n == 0 || pool_take_now(c, n, cls, pages, NULL))
		return 0;
	make_room(c, n + c->pool.reserve);
	return pool_take_now(c, n, cls, pages, NULL) ? 0 : -EAGAIN;
}

static bool mirror_short(struct cache *c, unsigned n)
{
	pthread_mutex_lock(&c->pool.lock);
	bool is = !mirror_has(c, n);
	pthread_mutex_unlock(&c->pool.lock);
	return is;
}

int cache_pages_try_take_write(struct cache *c, unsigned n, struct cache_write *w)
{
	w->epoch = atomic_load(&c->mirror.epoch);
	w->copied = w->part = 0;
	if (n == 0 || pool_take_now(c, n, TAKE_WRITE, w->pages, w))
		return 0;
	if (!mirror_short(c, n)) /* which only destage can help */
		make_room(c, n + c->pool.reserve);
	return pool_take_now(c, n, TAKE_WRITE, w->pages, w) ? 0 : -EAGAIN;
}

/* A volume whose disk does not take its data may not fill the cache of the others; and who waits
 * for a page that only that disk could free is told so in the end. */
static int refused(struct cache_vol *v, unsigned n, enum page_class cls, uint64_t since)
{
	int failing = atomic_load(&v->failing);
	if (cls == TAKE_WRITE && n > mirror_io_pages(v->c))
		return -EINVAL;
	if (failing && since && env_now_ns(v->c->env) - since > PATIENCE_NS)
		return failing;
	if (cls != TAKE_WRITE || atomic_load(&v->ndirty) <= v->c->nown / FAILING_SHARE)
		return 0;
	return failing;
}

static int take_waiting(struct cache_vol *v, enum page_class cls, struct page_waiter *w)
{
	struct cache *c = v->c;
	struct cache_pool *p = &c->pool;
	struct waitq none;
	int rc = 0;
	w->task = task_self();
	uint64_t since = env_now_ns(c->env);
	waitq_init(&none);
	pthread_mutex_lock(&p->lock);
	TAILQ_INSERT_TAIL(&p->waiters[cls], w, link);
	atomic_fetch_add(&p->nwaiting, 1);
	pool_serve(c);
	if (!w->granted && cls == TAKE_WRITE && !mirror_has(c, w->n))
		atomic_fetch_add(&c->mirror.waits, 1);
	while (!w->granted && !(rc = refused(v, w->n, cls, since))) {
		pthread_mutex_unlock(&p->lock);
		cache_kick(c);
		make_room(c, w->n + p->reserve);
		pthread_mutex_lock(&p->lock);
		pool_serve(c);
		if (!w->granted)
			cache_wait(c, &p->lock, &none, TAKE_POLL_NS);
	}
	if (!w->granted) {
		TAILQ_REMOVE(&p->waiters[cls], w, link);
		atomic_fetch_sub(&p->nwaiting, 1);
	}
	pthread_mutex_unlock(&p->lock);
	return w->granted ? 0 : rc;
}

int cache_pages_take(struct cache_vol *v, unsigned n, enum page_class cls, uint32_t *pages)
{
	struct page_waiter w = {.pages = pages, .n = n};
	int rc = refused(v, n, cls, 0);
	if (rc || cache_pages_try_take(v->c, n, cls, pages) == 0)
		return rc;
	return take_waiting(v, cls, &w);
}

int cache_pages_take_write(struct cache_vol *v, unsigned n, struct cache_write *cw)
{
	struct page_waiter w = {.pages = cw->pages, .write = cw, .n = n};
	int rc = refused(v, n, TAKE_WRITE, 0);
	if (rc || cache_pages_try_take_write(v->c, n, cw) == 0)
		return rc;
	return take_waiting(v, TAKE_WRITE, &w);
}

void cache_page_detach(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b)
{
	struct cache_page *m = &c->page[pg];
	if (m->queue != QUEUE_NONE)
		cache_queue_remove(c, s, pg);
	m->flags &= ~PG_INDEXED;
	CBE_PUT(&c->cbe[pg], state, CBE_FREE);
	FAULT("cache.detach.freed");
	cache_page_unmirror(c, s, pg, b);
	if (atomic_fetch_sub(&m->refs, 1) == 1)
		b->pages[b->n++] = pg;
}

void cache_page_succeed(struct cache *c, uint32_t pg, uint32_t old, uint16_t mask, uint64_t gen)
{
	struct cache_page *m = &c->page[pg], *o = &c->page[old];
	m->freq = MIN(o->freq + 1, 3);
	m->home = o->home;
	if (CBE_GET(&c->cbe[old], state) != CBE_DIRTY)
		return;
	m->since = o->since;
	if (o->flags & PG_DESTAGING) {
		m->flags |= PG_HELD;
		m->inherit = o->writing & ~mask;
		m->since_next = mask ? gen : 0;
	} else if (o->flags & PG_HELD) {
		m->flags |= PG_HELD;
		m->inherit = o->inherit & ~mask;
		m->since_next = o->since_next ? o->since_next : mask ? gen : 0;
	}
}

void cache_copy_sectors(struct cache *c, uint32_t to, uint32_t from, uint16_t mask)
{
	char *d = cache_data(c, to), *s = cache_data(c, from);
	for (unsigned i = 0; mask >> i; i++)
		if (mask >> i & 1)
			memcpy(d + i * CACHE_SECTOR, s + i * CACHE_SECTOR, CACHE_SECTOR);
}
