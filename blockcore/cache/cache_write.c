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
	uint64_t dirty = cache_own_dirty(c), high = atomic_load(&c->high);
	if (dirty <= high)
		return;
	uint64_t over = dirty - high, room = c->nown - high;
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
	if (cache_own_dirty(c) > atomic_load(&c->high) || mirror_waits(c))
		return -EAGAIN;
	rc = cache_pages_try_take_write(c, n, w);
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
	rc = cache_pages_take_write(v, n, w);
	if (rc)
		return rc;
	lend(c, w, off, len, n);
	return 0;
}

void cache_write_abort(struct cache_vol *v, struct cache_write *w)
{
	CHECK(v, CACHE_VOL_MAGIC);
	cache_write_give(v->c, w);
}

uint32_t cache_page_make(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
			 uint16_t mask)
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
	cache_cbe_write(c, pg, v->id, page, cache_generation(c), valid, dirty);
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

bool cache_run_add(struct cache_vol *v, struct cache_run *run, unsigned i, uint32_t pg)
{
	bool mine = claim_page(v, pg);
	run->pages[i] = mine ? pg : CACHE_NO_PAGE;
	return mine;
}

void cache_committed(struct cache_vol *v, struct cache_write *w, struct page_batch *retire)
{
	struct cache *c = v->c;
	page_batch_flush(c, retire);
	atomic_fetch_add(&v->nwrites, 1);
	atomic_fetch_sub(&c->pool.held[w->epoch % MIRROR_EPOCHS], (uint32_t)w->n);
	w->n = 0;
	if (atomic_load(&c->bg.tick_idle) ||
	    (atomic_load(&c->ndirty) > atomic_load(&c->urgent) && atomic_load(&c->bg.nidle)))
		cache_kick(c);
}

struct cache_commit_result cache_commit(struct cache_vol *v, struct cache_write *w,
					struct cache_run *run)
{
	struct cache *c = v->c;
	struct cache_commit_result r = {0};
	struct page_batch retire;
	struct cache_shard *s = NULL;
	uint64_t first = w->off >> c->page_shift;
	if (run) {
		run->v = v;
		run->first = first;
		run->n = (uint32_t)w->n;
	}
	if (c->mirror.remote)
		return cache_commit_claimed(v, w, run);
	page_batch_init(&retire);
	for (unsigned i = 0; i < (unsigned)w->n; i++) {
		uint64_t page = first + i;
		uint32_t pg = w->pages[i];
		struct cache_place p = cache_place_of(c, v->id, page);
		s = cache_shard_move(s, p.shard);
		uint16_t mask = cache_mask(c, page, w->off, w->len);
		uint32_t old = cache_page_make(v, p, page, pg, mask);
		if (old != CACHE_NO_PAGE && c->cbe[old].mirror != CACHE_NO_PAGE)
			mirror_prefetch(&c->mirror, &c->cbe[old].mirror, 1);
		r.bare +=
		    !mirror_copy_page(c, s, w, i); /* before anybody can see the new version */
		FAULT("mirror.before_publish");
		cache_cbe_publish(c, pg, CBE_DIRTY);
		cache_page_enter(v, p, page, pg, old, mask, &retire); /* and frees the old copy */
		cache_count(v, s)->write_pages++;
		if (run)
			r.unclaimed += !cache_run_add(v, run, i, pg);
	}
	cache_shard_move(s, NULL);
	FAULT("cache.commit.done");
	cache_committed(v, w, &retire);
	return r;
}

int cache_stabilize(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit)
{
	int rc = cache_destage_range(v, first, end, limit);
	return rc ? rc : cache_flush_backing(v);
}

int cache_write_through(struct cache_vol *v, const struct cache_write *w)
{
	struct cache *c = v->c;
	uint64_t first = w->off >> c->page_shift;
	if (!task_self())
		return -EAGAIN;
	return cache_stabilize(v, first, first + cache_page_count(c, w->off, w->len),
			       atomic_load(&c->super->generation));
}

int cache_write_commit(struct cache_vol *v, struct cache_write *w, bool fua)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	struct cache_commit_result r;
	if (!w->n) /* was made visible, and now there is a task that can wait */
		return cache_write_through(v, w);
	if (mirror_commit_waits(c, w) && !task_self())
		return -EAGAIN;
	if (!fua || c->battery) {
		r = cache_commit(v, w, NULL);
		return r.bare && c->mirror.write_through ? cache_write_through(v, w) : 0;
	}
	struct cache_run run;
	uint64_t first = w->off >> c->page_shift, end = first + (unsigned)w->n;
	r = cache_commit(v, w, &run);
	uint64_t limit = atomic_load(&c->super->generation);
	int rc = cache_run_write(&run);
	if (rc == 0 && r.unclaimed)
		rc = cache_destage_range(v, first, end, limit);
	return rc ? rc : cache_flush_backing(v);
}
