/*
 * Reads: pages are pinned under their shard's lock and lent to the caller.
 *
 * A task that waits for free pages has let go of all it had pinned; one that waits for the disk
 * (its own reads or another's) may hold pins, since the disk needs none of them.
 */
#include "blockcore/cache/cache_priv.h"
#include "runtime/err.h"
#include <errno.h>

/* Bytes of a page: the processor sees where they lead and goes on itself. */
#define HINT_DATA 1024

uint16_t cache_mask(const struct cache *c, uint64_t page, uint64_t off, uint64_t len)
{
	uint64_t base = page << c->page_shift, end = off + len;
	unsigned from = off > base ? (unsigned)((off - base) / CACHE_SECTOR) : 0;
	unsigned to = end < base + c->page_size ? (unsigned)((end - base) / CACHE_SECTOR)
						: c->page_size / CACHE_SECTOR;
	return (uint16_t)(((1u << to) - 1) & ~((1u << from) - 1));
}

static void fill_iov(struct cache *c, uint64_t off, uint32_t len, const uint32_t *pages,
		     struct iovec *iov)
{
	unsigned skip = (unsigned)(off & (c->page_size - 1));
	for (unsigned i = 0; len; i++) {
		uint32_t n = MIN(len, c->page_size - skip);
		iov[i].iov_base = (char *)cache_data(c, pages[i]) + skip;
		iov[i].iov_len = n;
		len -= n;
		skip = 0;
	}
}

static void unpin(struct cache *c, unsigned n, const uint32_t *pages)
{
	struct page_batch b;
	page_batch_init(&b);
	for (unsigned i = 0; i < n; i++)
		if (pages[i] != CACHE_NO_PAGE && atomic_fetch_sub(&c->page[pages[i]].refs, 1) == 1)
			b.pages[b.n++] = pages[i];
	page_batch_flush(c, &b);
	cache_pool_nudge(c);
}

/* Pins the page's current version if it has the sectors of `mask`. The shard's lock is held.
 * A reader that goes through a page in small pieces uses it once, not eight times: only the
 * piece with the page's first sector counts beyond the first use. */
static bool pin(struct cache *c, uint32_t pg, uint16_t mask, bool *mark)
{
	if (pg == CACHE_NO_PAGE || (CBE_GET(&c->cbe[pg], valid) & mask) != mask)
		return false;
	struct cache_page *m = &c->page[pg];
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	if (m->freq == 0 || (m->freq < 3 && (mask & 1)))
		m->freq++;
	if (m->flags & PG_MARK) {
		m->flags &= ~PG_MARK;
		*mark = true;
	}
	return true;
}

/* Neighbours stand in neighbouring buckets: fetches what a page a little ahead will need. */
static void look_ahead(struct cache *c, uint64_t page, uint32_t bucket)
{
	if ((page & (CACHE_GROUP_PAGES - 1)) + 4 >= CACHE_GROUP_PAGES)
		return;
	uint32_t pg = CBE_GET(&c->bucket[bucket + 4], head);
	if (pg == CACHE_NO_PAGE)
		return;
	__builtin_prefetch(&c->cbe[pg]);
	__builtin_prefetch(&c->page[pg], 1);
}

/* Pages were pinned one after the other: may some be older, some newer than one commit of
 * several at once (cache_atomic.c)? */
static bool read_torn(struct cache_vol *v, unsigned n, uint32_t atomics)
{
	return n > 1 && atomic_load_explicit(&v->atomics, memory_order_acquire) != atomics;
}

void cache_hint(struct cache_vol *v, uint64_t off, enum cache_hint step)
{
	struct cache *c = v->c;
	const struct cache_bucket *b =
	    &c->bucket[cache_bucket_of(c->seed, c->nbuckets, v->id, off >> c->page_shift)];
	if (step == CACHE_HINT_FAR) {
		__builtin_prefetch(b);
		return;
	}
	uint32_t pg = CBE_GET(b, head);
	if (pg >= c->npages)
		return;
	__builtin_prefetch(&c->cbe[pg]);
	__builtin_prefetch(&c->page[pg], 1);
	const char *data = cache_data(c, pg);
	for (unsigned i = 0; step == CACHE_HINT_READ && i < HINT_DATA; i += CACHE_LINE)
		__builtin_prefetch(data + i, 0, 2);
}

int cache_read_try(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	int rc = cache_vol_check(v, off, len);
	if (rc)
		return rc;
	uint64_t first = off >> c->page_shift;
	unsigned n = cache_page_count(c, off, len), i;
	struct cache_shard *s = NULL;
	bool mark = false;
	uint32_t atomics = atomic_load_explicit(&v->atomics, memory_order_acquire);
	for (i = 0; i < n; i++) {
		struct cache_place p = cache_place_of(c, v->id, first + i);
		s = cache_shard_move(s, p.shard);
		if (n > 4)
			look_ahead(c, first + i, p.bucket);
		uint32_t pg = cache_index_find(c, p.bucket, v->id, first + i).cur;
		if (!pin(c, pg, cache_mask(c, first + i, off, len), &mark))
			break;
		r->pages[i] = pg;
		cache_count(v, s)->read_hits++;
	}
	cache_shard_move(s, NULL);
	if (i < n || read_torn(v, n, atomics)) {
		unpin(c, i, r->pages);
		return -EAGAIN;
	}
	fill_iov(c, off, len, r->pages, r->iov);
	r->n = (int)n;
	if (mark)
		cache_ra_note(v, first, n);
	return 0;
}

/* A read that has to wait. */
struct slow_read {
	struct cache_vol *v;
	struct cache_read *r;
	uint64_t off;
	uint32_t len;
	unsigned n;
	unsigned nspare;
	bool counted;
	unsigned missing; /* pages that nobody is reading */
	unsigned started; /* placeholders of ours */
	uint64_t awaited; /* a page that another task is reading; UINT64_MAX: none */
	struct cache_fill fill;
	uint32_t spare[CACHE_IO_PAGES];
};

static void slow_page(struct slow_read *q, struct cache_place p, unsigned i)
{
	struct cache_vol *v = q->v;
	uint64_t page = q->fill.first + i;
	uint16_t mask = cache_mask(v->c, page, q->off, q->len);
	bool mark = false;
	struct cache_found f = cache_index_find(v->c, p.bucket, v->id, page);
	bool hit = pin(v->c, f.cur, mask, &mark);
	if (!q->counted) {
		cache_count(v, p.shard)->read_hits += hit;
		cache_count(v, p.shard)->read_misses += !hit;
	}
	if (hit) {
		q->r->pages[i] = f.cur;
	} else if (f.fill != CACHE_NO_PAGE) {
		q->awaited = page;
	} else if (q->nspare) {
		q->fill.pages[i] = q->spare[--q->nspare];
		cache_fill_start(v->c, p, v, page, q->fill.pages[i]);
		q->started++;
	} else {
		q->missing++;
	}
}

/* Pins what is there, and starts reading what is not as far as there are spare pages. */
static void slow_pass(struct slow_read *q)
{
	struct cache_shard *s = NULL;
	q->missing = q->started = 0;
	q->awaited = UINT64_MAX;
	for (unsigned i = 0; i < q->n; i++) {
		q->fill.pages[i] = CACHE_NO_PAGE;
		if (q->r->pages[i] != CACHE_NO_PAGE)
			continue;
		struct cache_place p = cache_place_of(q->v->c, q->v->id, q->fill.first + i);
		s = cache_shard_move(s, p.shard);
		slow_page(q, p, i);
	}
	cache_shard_move(s, NULL);
	q->counted = true;
}

static void drop_pins(struct slow_read *q)
{
	unpin(q->v->c, q->n, q->r->pages);
	for (unsigned i = 0; i < q->n; i++)
		q->r->pages[i] = CACHE_NO_PAGE;
}

/* Pages for what is missing. When they are short: lets go of everything and waits, the second
 * time for as many as the whole request can need. */
static int slow_take(struct slow_read *q, bool *again)
{
	struct cache *c = q->v->c;
	unsigned want = q->missing;
	int rc = 0;
	if (cache_pages_try_take(c, want, TAKE_READ, q->spare)) {
		drop_pins(q);
		want = *again ? q->n : want;
		rc = cache_pages_take(q->v, want, TAKE_READ, q->spare);
		*again = true;
	}
	q->nspare = rc ? 0 : want;
	return rc;
}

static int read_slow(struct slow_read *q)
{
	struct cache *c = q->v->c;
	bool again = false;
	int rc = 0;
	while (rc == 0) {
		slow_pass(q);
		if (q->started) {
			rc = cache_fill_run(&q->fill, q->r->pages);
			rc = rc == -ERR_LEFT ? 0 : rc; /* once more, into other pages */
			continue;
		}
		cache_pages_give(c, q->nspare, q->spare);
		q->nspare = 0;
		if (q->missing)
			rc = slow_take(q, &again);
		else if (q->awaited != UINT64_MAX)
			cache_fill_wait(q->v, q->awaited);
		else
			break;
	}
	cache_pages_give(c, q->nspare, q->spare);
	if (rc)
		drop_pins(q);
	return rc;
}

int cache_read(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = cache_read_try(v, off, len, r);
	if (rc != -EAGAIN)
		return rc;
	struct cache *c = v->c;
	struct slow_read q = {.v = v, .r = r, .off = off, .len = len};
	q.n = cache_page_count(c, off, len);
	q.fill = (struct cache_fill){.v = v, .first = off >> c->page_shift, .n = q.n};
	for (unsigned i = 0; i < q.n; i++)
		r->pages[i] = CACHE_NO_PAGE;
	cache_ra_note(v, q.fill.first, q.n);
	uint32_t atomics;
	do {
		if (q.counted)
			drop_pins(&q);
		atomics = atomic_load_explicit(&v->atomics, memory_order_acquire);
		rc = read_slow(&q);
		if (rc)
			return rc;
	} while (read_torn(v, q.n, atomics));
	fill_iov(c, off, len, r->pages, r->iov);
	r->n = (int)q.n;
	return 0;
}

void cache_read_done(struct cache_vol *v, struct cache_read *r)
{
	CHECK(v, CACHE_VOL_MAGIC);
	unpin(v->c, (unsigned)r->n, r->pages);
	r->n = 0;
}
