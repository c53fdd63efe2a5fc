/*
 * Writing dirty pages to disk: claim a run of neighbours, write it, let go.
 *
 * claim   PG_DESTAGING on the current version, and a reference: its data cannot change or go.
 * write   outside all locks. A version that comes meanwhile is PG_HELD: it is not claimed until
 *         this write has ended, so versions reach the disk in their order.
 * end     written and still current: CLEAN. Superseded: its successor learns which sectors it
 *         inherited, and that it may go now. Failed: stays dirty.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <string.h>

#define BACKOFF_MIN (1 * NS_PER_S)
#define BACKOFF_MAX (30 * NS_PER_S)

bool cache_vol_hold(struct cache_vol *v)
{
	pthread_mutex_lock(&v->lock);
	bool ok = v->backing && !v->detaching;
	v->users += ok;
	pthread_mutex_unlock(&v->lock);
	return ok;
}

void cache_vol_unhold(struct cache_vol *v)
{
	pthread_mutex_lock(&v->lock);
	if (--v->users == 0)
		waitq_wake_all(&v->idle);
	pthread_mutex_unlock(&v->lock);
}

enum claim { CLAIMED, SKIPPED, PARTIAL };

/* The shard's lock is held, the page is dirty. */
static enum claim claim_page(struct cache_vol *v, uint32_t pg, uint64_t page, uint64_t limit,
			     bool eager, struct cache_run *run)
{
	struct cache *c = v->c;
	struct cache_page *m = &c->page[pg];
	uint16_t valid = CBE_GET(&c->cbe[pg], valid);
	if (m->since > limit)
		return SKIPPED;
	if (m->flags & (PG_DESTAGING | PG_HELD)) {
		run->busy = MIN(run->busy, page);
		return SKIPPED;
	}
	if ((m->flags & PG_FAILED) && !eager &&
	    env_now_ns(c->env) < atomic_load_explicit(&v->retry_at, memory_order_relaxed))
		return SKIPPED;
	if (valid != c->full && v->backing->block_size > CACHE_SECTOR)
		return PARTIAL;
	m->flags |= PG_DESTAGING;
	m->writing = valid == c->full ? valid : CBE_GET(&c->cbe[pg], dirty);
	atomic_fetch_add(&m->refs, 1);
	run->pages[run->n++] = pg;
	return CLAIMED;
}

/* A walk over all of a group has seen how old its oldest page is. Written pages only get younger,
 * and what joins is counted in, so until the next walk this holds as a bound. */
static void group_seen(struct dirty_group *g, bool whole, uint64_t oldest)
{
	if (g && whole)
		g->oldest = oldest;
}

/* ---- stripes of the backing ---- */

static void run_begin(struct cache_vol *v, struct cache_run *run)
{
	uint64_t stripe = v->backing->stripe >> v->c->page_shift;
	bool fits = stripe <= CACHE_RUN_PAGES && stripe << v->c->page_shift == v->backing->stripe;
	run->v = v;
	run->n = 0;
	run->busy = run->partial = UINT64_MAX;
	run->stripe = fits ? (uint32_t)stripe : 0;
}

/* It begins at a page: where it ends at the latest, with a stripe if it can hold one. */
static void run_first(struct cache_run *run, uint64_t page)
{
	run->first = page;
	run->max = CACHE_RUN_PAGES;
	if (!run->stripe)
		return;
	uint64_t last = page + CACHE_RUN_PAGES;
	last -= last % run->stripe;
	if (last > page)
		run->max = (uint32_t)(last - page);
}

/* The page is of the stripe that the run's last page is of. */
static bool same_stripe(const struct cache_run *run, uint64_t page)
{
	return run->stripe && run->n &&
	       page / run->stripe == (run->first + run->n - 1) / run->stripe;
}

/* Goes on with the run in one group; *cursor comes to where it stopped. False: the run ends. */
static bool claim_group(struct cache_vol *v, uint64_t group, uint64_t *cursor, uint64_t end,
			uint64_t limit, bool eager, struct cache_run *run)
{
	struct cache *c = v->c;
	uint64_t base = group << CACHE_GROUP_BITS, stop = MIN(end, base + CACHE_GROUP_PAGES);
	struct cache_shard *s = cache_place_of(c, v->id, base).shard;
	bool go_on = true, whole = *cursor == base && stop == base + CACHE_GROUP_PAGES;
	uint64_t oldest = UINT64_MAX;
	pthread_mutex_lock(&s->lock);
	struct dirty_group *g = cache_dirty_find(s, v, group);
	uint32_t bits = g && (g->oldest <= limit || same_stripe(run, *cursor)) ? g->bits : 0;
	whole = whole && bits;
	for (; *cursor < stop && go_on; ++*cursor) {
		enum claim what = SKIPPED;
		if (bits >> (*cursor - base) & 1) {
			uint32_t b = cache_place_of(c, v->id, *cursor).bucket;
			uint32_t pg = cache_index_find(c, b, v->id, *cursor).cur;
			ASSERT(pg != CACHE_NO_PAGE);
			if (run->n == 0)
				run_first(run, *cursor);
			oldest = MIN(oldest, c->page[pg].since);
			uint64_t newest = same_stripe(run, *cursor) ? UINT64_MAX : limit;
			what = claim_page(v, pg, *cursor, newest, eager, run);
		}
		if (what == CLAIMED && run->n == run->max)
			go_on = false;
		if (what == PARTIAL) {
			if (run->n == 0)
				run->partial = *cursor;
			go_on = false;
			break; /* the cursor stays: it is written once it has been read */
		}
		if (what == SKIPPED && run->n > 0)
			go_on = false;
	}
	group_seen(g, whole && *cursor == stop, oldest);
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void claim_run(struct cache_vol *v, uint64_t *cursor, uint64_t end, uint64_t limit,
		      bool eager, struct cache_run *run)
{
	struct cache *c = v->c;
	run_begin(v, run);
	bool wide = end - *cursor > CACHE_RUN_PAGES;
	while (*cursor < end) {
		uint64_t group = *cursor >> CACHE_GROUP_BITS, next;
		struct cache_vol *at;
		if (!claim_group(v, group, cursor, end, limit, eager, run))
			return;
		if (!wide || run->n)
			continue;
		/* Neighbours are mostly dirty together, and then in the run: only past the last one
		 * all shards are asked where it goes on. */
		if (!cache_dirty_next(c, v->id, group + 1, &at, &next) || at != v)
			*cursor = end;
		else
			*cursor = MIN(MAX(*cursor, next << CACHE_GROUP_BITS), end);
	}
}

/* One write being gathered. */
struct gather {
	struct cache_run *run;
	uint64_t off;
	size_t bytes;
	int n;
	struct iovec iov[CACHE_IO_PAGES];
	uint32_t at[CACHE_IO_PAGES]; /* the run's page of each piece */
	int *rc;		     /* by page of the run */
};

static int write_pieces(struct gather *g, int from, int n, uint64_t off)
{
	struct cache_vol *v = g->run->v;
	int rc = bdev_writev(v->backing, g->iov + from, n, off, 0);
	atomic_fetch_add(&v->written, 1);
	atomic_fetch_add_explicit(&v->ndestages, 1, memory_order_relaxed);
	return rc;
}

/* A long write that fails is tried piece by piece: a bad sector holds up one page. */
static void gather_write(struct gather *g)
{
	if (!g->n)
		return;
	int rc = write_pieces(g, 0, g->n, g->off);
	uint64_t off = g->off;
	for (int i = 0; rc && i < g->n; i++) {
		int one = g->n > 1 ? write_pieces(g, i, 1, off) : rc;
		if (one)
			g->rc[g->at[i]] = one;
		off += g->iov[i].iov_len;
	}
	g->n = 0;
	g->bytes = 0;
}

static void gather_add(struct gather *g, uint32_t at, uint64_t off, void *data, size_t len)
{
	if (g->n && (g->off + g->bytes != off || g->n == CACHE_IO_PAGES))
		gather_write(g);
	if (!g->n)
		g->off = off;
	g->iov[g->n] = (struct iovec){.iov_base = data, .iov_len = len};
	g->at[g->n++] = at;
	g->bytes += len;
}

/* Adds the runs of sectors in the page's `writing`. */
static void gather_page(struct gather *g, uint32_t at)
{
	struct cache_run *run = g->run;
	struct cache *c = run->v->c;
	uint32_t pg = run->pages[at];
	uint16_t mask = c->page[pg].writing;
	uint64_t base = (run->first + at) << c->page_shift, size = cache_vol_size(run->v);
	for (unsigned i = 0; mask >> i;) {
		if (!(mask >> i & 1)) {
			i++;
			continue;
		}
		unsigned n = 0;
		while (mask >> (i + n) & 1)
			n++;
		uint64_t off = base + i * CACHE_SECTOR;
		uint64_t stop = MIN(off + n * CACHE_SECTOR, size);
		if (off < stop)
			gather_add(g, at, off, (char *)cache_data(c, pg) + i * CACHE_SECTOR,
				   stop - off);
		i += n;
	}
}

/* The version's successor may be written now. */
static void end_superseded(struct cache_vol *v, struct cache_place p, uint64_t page, int rc,
			   struct page_batch *b)
{
	struct cache *c = v->c;
	uint32_t cur = cache_index_find(c, p.bucket, v->id, page).cur;
	if (cur == CACHE_NO_PAGE || !(c->page[cur].flags & PG_HELD))
		return;
	struct cache_page *m = &c->page[cur];
	uint16_t inherit = m->inherit;
	m->flags &= ~PG_HELD;
	if (rc == 0) {
		m->since = m->since_next;
		cache_dirty_settle(c, p.shard, v, page, cur, inherit, b);
	}
	m->inherit = 0;
	m->since_next = 0;
}

static void end_page(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg, int rc,
		     struct page_batch *retire)
{
	struct cache *c = v->c;
	struct cache_page *m = &c->page[pg];
	m->flags &= ~PG_DESTAGING;
	if (!(m->flags & PG_INDEXED))
		end_superseded(v, p, page, rc, retire);
	else if (rc == 0)
		cache_dirty_settle(c, p.shard, v, page, pg, m->writing, retire);
	else if (rc != -EAGAIN) /* it was let go unwritten */
		m->flags |= PG_FAILED;
	waitq_wake_all(&p.shard->destages);
	if (atomic_fetch_sub(&m->refs, 1) == 1)
		retire->pages[retire->n++] = pg;
}

/* Pages [from, to) of the run: does one have data newer than that? */
static bool any_newer(const struct cache_run *run, uint32_t from, uint32_t to, uint64_t than)
{
	struct cache *c = run->v->c;
	struct cache_shard *s = NULL;
	bool newer = false;
	for (uint32_t i = from; i < to; i++) {
		s = cache_shard_move(s, cache_place_of(c, run->v->id, run->first + i).shard);
		newer |= c->page[run->pages[i]].since > than;
	}
	cache_shard_move(s, NULL);
	return newer;
}

static void let_go(struct cache_run *run, uint32_t from, uint32_t to)
{
	struct cache *c = run->v->c;
	struct cache_shard *s = NULL;
	struct page_batch retire;
	page_batch_init(&retire);
	for (uint32_t i = from; i < to; i++) {
		struct cache_place p = cache_place_of(c, run->v->id, run->first + i);
		s = cache_shard_move(s, p.shard);
		end_page(run->v, p, run->first + i, run->pages[i], -EAGAIN, &retire);
	}
	cache_shard_move(s, NULL);
	page_batch_flush(c, &retire);
}

/* Parts of stripes at both ends are left where they are being filled. True: some were. */
static bool leave_parts(struct cache_run *run, uint64_t hold)
{
	uint32_t lead = (uint32_t)(run->first % run->stripe);
	uint32_t head = lead ? MIN(run->n, run->stripe - lead) : 0;
	uint32_t tail = (uint32_t)((run->first + run->n) % run->stripe);
	bool left = false;
	tail = MIN(tail, run->n - head);
	if (tail && any_newer(run, run->n - tail, run->n, hold)) {
		let_go(run, run->n - tail, run->n);
		run->n -= tail;
		left = true;
	}
	if (head && any_newer(run, 0, head, hold)) {
		let_go(run, 0, head);
		run->n -= head;
		run->first += head;
		memmove(run->pages, run->pages + head, run->n * sizeof(run->pages[0]));
		left = true;
	}
	return left;
}

void cache_run_claim(struct cache_vol *v, uint64_t *cursor, uint64_t end, uint64_t limit,
		     uint64_t hold, bool eager, struct cache_run *run)
{
	bool left;
	do {
		claim_run(v, cursor, end, limit, eager, run);
		left = hold != UINT64_MAX && run->n && run->stripe && leave_parts(run, hold);
	} while (left && !run->n && run->partial == UINT64_MAX && *cursor < end);
}

static void back_off(struct cache_vol *v, int rc)
{
	struct cache *c = v->c;
	if (rc == 0 && !atomic_load_explicit(&v->failing, memory_order_relaxed))
		return;
	pthread_mutex_lock(&v->lock);
	bool first = rc && v->backoff == 0;
	atomic_store(&v->failing, rc);
	if (!rc)
		v->backoff = 0;
	else if (!v->backoff || env_now_ns(c->env) >= atomic_load(&v->retry_at))
		v->backoff = v->backoff ? MIN(v->backoff * 2, BACKOFF_MAX) : BACKOFF_MIN;
	if (rc)
		atomic_store(&v->retry_at, env_now_ns(c->env) + v->backoff);
	pthread_mutex_unlock(&v->lock);
	if (first)
		event_write(LOG_L_ERROR, "cache.destage_failed",
			    "volume %u: dirty data cannot be written to disk (%s); it is kept in "
			    "the cache and tried again",
			    v->id, err_name(rc));
}

/* Lets go of the whole run; rc by page. */
static int run_end(struct cache_run *run, const int *rcs)
{
	struct cache_vol *v = run->v;
	struct cache *c = v->c;
	struct page_batch retire;
	page_batch_init(&retire);
	struct cache_shard *s = NULL;
	int first = 0;
	bool any = false;
	for (uint32_t i = 0; i < run->n; i++) {
		if (run->pages[i] == CACHE_NO_PAGE)
			continue;
		any = true;
		uint64_t page = run->first + i;
		struct cache_place p = cache_place_of(c, v->id, page);
		s = cache_shard_move(s, p.shard);
		end_page(v, p, page, run->pages[i], rcs[i], &retire);
		cache_count(v, s)->destaged_pages += rcs[i] == 0;
		first = first ? first : rcs[i];
	}
	cache_shard_move(s, NULL);
	page_batch_flush(c, &retire);
	cache_pool_nudge(c);
	if (any)
		back_off(v, first);
	run->n = 0;
	return first;
}

/* Memory that survives a power loss lets go of data only once the disk has it for good. */
static void make_stable(struct cache_run *run, int *rcs)
{
	if (!run->v->c->battery)
		return;
	int rc = cache_flush_backing(run->v);
	for (uint32_t i = 0; rc && i < run->n; i++)
		rcs[i] = rcs[i] ? rcs[i] : rc;
}

int cache_run_write(struct cache_run *run)
{
	int rcs[CACHE_IO_PAGES] = {0};
	struct gather g; /* its arrays are large: not cleared */
	g.run = run;
	g.rc = rcs;
	g.n = 0;
	g.bytes = 0;
	for (uint32_t i = 0; i < run->n; i++)
		if (run->pages[i] != CACHE_NO_PAGE)
			gather_page(&g, i);
	gather_write(&g);
	make_stable(run, rcs);
	FAULT("cache.destage.written");
	return run_end(run, rcs);
}

int cache_run_discard(struct cache_run *run)
{
	struct cache_vol *v = run->v;
	struct cache *c = v->c;
	int rcs[CACHE_IO_PAGES] = {0};
	for (uint32_t i = 0; i < run->n;) {
		uint32_t n = 0;
		while (i + n < run->n && run->pages[i + n] != CACHE_NO_PAGE)
			n++;
		uint64_t off = (run->first + i) << c->page_shift;
		uint64_t len = MIN((uint64_t)n << c->page_shift, cache_vol_size(v) - off);
		int rc = n ? bdev_discard(v->backing, off, len) : 0;
		atomic_fetch_add(&v->written, 1);
		if (rc)
			return rc;
		i += n ? n : 1;
	}
	make_stable(run, rcs);
	return run_end(run, rcs);
}
