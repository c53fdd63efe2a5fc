/*
 * Writes: new pages are lent to the caller to fill, and swapped into the index
 * at commit. See README.md for the order of the stores and why a kill at any of them is safe.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

#define SLOW_MAX_NS (100 * NS_PER_MS)

/* Above high water each write waits a little; the delay grows with the square of what is over. */
static void slow_down(struct cache *c)
{
	uint64_t dirty = atomic_load(&c->ndirty);
	if (dirty <= c->high)
		return;
	uint64_t over = dirty - c->high, room = c->npages - c->high;
	uint64_t ns = SLOW_MAX_NS * over / room * over / room;
	atomic_fetch_add(&c->nthrottled, 1);
	cache_kick(c);
	env_sleep_ns(c->env, MAX(ns, NS_PER_MS / 10));
}

static void lend(struct cache *c, struct cache_write *w, uint64_t off, uint32_t len, unsigned n)
{
	unsigned skip = (unsigned)(off & (c->page_size - 1));
	w->n = (int)n;
	w->off = off;
	w->len = len;
	for (unsigned i = 0; i < n; i++) {
		uint32_t part = MIN(len, c->page_size - skip);
		w->iov[i].iov_base = (char *)cache_data(c, w->pages[i]) + skip;
		w->iov[i].iov_len = part;
		len -= part;
		skip = 0;
	}
}

int cache_write_try_begin(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	int rc = cache_vol_check(v, off, len);
	if (rc)
		return rc;
	unsigned n = cache_page_count(c, off, len);
	if (atomic_load(&c->ndirty) > c->high)
		return -EAGAIN;
	rc = cache_pages_try_take(c, n, TAKE_WRITE, w->pages);
	if (rc)
		return rc;
	lend(c, w, off, len, n);
	return 0;
}

int cache_write_begin(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	int rc = cache_vol_check(v, off, len);
	if (rc)
		return rc;
	unsigned n = cache_page_count(c, off, len);
	slow_down(c);
	rc = cache_pages_take(v, n, TAKE_WRITE, w->pages);
	if (rc)
		return rc;
	lend(c, w, off, len, n);
	return 0;
}

void cache_write_abort(struct cache_vol *v, struct cache_write *w)
{
	CHECK(v, CACHE_VOL_MAGIC);
	atomic_fetch_sub(&v->c->pool.held, (uint32_t)w->n);
	cache_pages_give(v->c, (unsigned)w->n, w->pages);
	cache_pool_nudge(v->c);
	w->n = 0;
}

uint32_t cache_page_make(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
			 uint16_t mask, enum cbe_state state)
{
	struct cache *c = v->c;
	uint32_t old = cache_index_find(c, p.bucket, v->id, page).cur;
	uint16_t valid = mask, dirty = mask;
	if (old != CACHE_NO_PAGE) {
		struct cbe *o = &c->cbe[old];
		cache_copy_sectors(c, pg, old, CBE_GET(o, valid) & ~mask);
		valid |= CBE_GET(o, valid);
		dirty |= CBE_GET(o, dirty);
	}
	cache_cbe_publish(c, pg, v->id, page, cache_generation(c), valid, dirty, state);
	return old;
}

void cache_page_enter(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
		      uint32_t old, uint16_t mask, struct page_batch *retire)
{
	struct cache *c = v->c;
	struct cache_page *m = &c->page[pg];
	uint64_t gen = c->cbe[pg].generation;
	bool was_dirty = false;
	m->since = gen;
	m->flags = PG_INDEXED;
	if (old != CACHE_NO_PAGE) {
		was_dirty = CBE_GET(&c->cbe[old], state) == CBE_DIRTY;
		cache_page_succeed(c, pg, old, mask, gen);
		cache_index_replace(c, p.bucket, old, pg);
		cache_page_detach(c, p.shard, old, retire);
	} else {
		m->home = cache_queue_choose(c, p.shard, v->id, page);
		cache_index_insert(c, p.bucket, pg);
	}
	if (!was_dirty)
		cache_dirty_add(c, p.shard, v, page, m->since);
}

/* Claims a page just committed; false when it has to wait for an older version's write, or for
 * sectors that the disk cannot be written without. */
static bool claim_page(struct cache_vol *v, uint32_t pg)
{
	struct cache *c = v->c;
	struct cache_page *m = &c->page[pg];
	uint16_t valid = CBE_GET(&c->cbe[pg], valid);
	if ((m->flags & PG_HELD) || (valid != c->full && v->backing->block_size > CACHE_SECTOR))
		return false;
	m->flags |= PG_DESTAGING;
	m->writing = valid == c->full ? valid : CBE_GET(&c->cbe[pg], dirty);
	atomic_fetch_add(&m->refs, 1);
	return true;
}

void cache_committed(struct cache_vol *v, struct cache_write *w, struct page_batch *retire)
{
	struct cache *c = v->c;
	page_batch_flush(c, retire);
	atomic_fetch_add(&v->nwrites, 1);
	atomic_fetch_sub(&c->pool.held, (uint32_t)w->n);
	w->n = 0;
	if (atomic_load(&c->bg.tick_idle) ||
	    (atomic_load(&c->ndirty) > c->urgent && atomic_load(&c->bg.nidle)))
		cache_kick(c);
}

unsigned cache_commit(struct cache_vol *v, struct cache_write *w, struct cache_run *run)
{
	struct cache *c = v->c;
	struct page_batch retire;
	retire.n = 0;
	struct cache_shard *s = NULL;
	uint64_t first = w->off >> c->page_shift;
	unsigned unclaimed = 0;
	if (run) {
		run->v = v;
		run->first = first;
		run->n = (uint32_t)w->n;
	}
	for (int i = 0; i < w->n; i++) {
		uint64_t page = first + (unsigned)i;
		struct cache_place p = cache_place_of(c, v->id, page);
		s = cache_shard_move(s, p.shard);
		uint16_t mask = cache_mask(c, page, w->off, w->len);
		uint32_t old = cache_page_make(v, p, page, w->pages[i], mask, CBE_DIRTY);
		cache_page_enter(v, p, page, w->pages[i], old, mask, &retire);
		cache_count(v, s)->write_pages++;
		if (run) {
			bool mine = claim_page(v, w->pages[i]);
			run->pages[i] = mine ? w->pages[i] : CACHE_NO_PAGE;
			unclaimed += !mine;
		}
	}
	cache_shard_move(s, NULL);
	FAULT("cache.commit.done");
	cache_committed(v, w, &retire);
	return unclaimed;
}

int cache_write_commit(struct cache_vol *v, struct cache_write *w, bool fua)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	if (!fua || c->battery) {
		cache_commit(v, w, NULL);
		return 0;
	}
	struct cache_run run;
	uint64_t first = w->off >> c->page_shift, end = first + (unsigned)w->n;
	unsigned unclaimed = cache_commit(v, w, &run);
	uint64_t limit = atomic_load(&c->super->generation);
	int rc = cache_run_write(&run);
	if (rc == 0 && unclaimed)
		rc = cache_destage_range(v, first, end, limit);
	return rc ? rc : cache_flush_backing(v);
}
