/*
 * Reading pages from disk into the cache.
 *
 * A page to be read gets a FILLING placeholder in its chain, so that it is read once. While the
 * disk works, the lock is free and anything may happen to the page:
 *
 *   - a write commits a version: it is newer than what was read. At the end its valid sectors
 *     are laid over ours, and ours takes its place (or is dropped, if it lacks none);
 *   - that version is destaged and evicted: what we read may be older than the disk. Whoever
 *     removes a version without a successor sets PG_STALE on the placeholder, and the page is
 *     read again.
 *
 * So what is published is the disk's content of a moment at which no newer version had come and
 * gone, under the newest version there is.
 *
 * A read that a disk does not answer is left behind in the end (-ERR_LEFT; blockcore/disk), and
 * may yet write to its pages. Those are PG_LEFT: never published, and FILLING, for whoever finds
 * the segment, until the read is back. Each such read has a reference of them. What was asked for
 * is read into other pages.
 */
#include "blockcore/cache/cache_priv.h"
#include "runtime/err.h"
#include <errno.h>

void cache_fill_start(struct cache *c, struct cache_place p, struct cache_vol *v, uint64_t page,
		      uint32_t pg)
{
	struct cbe *e = &c->cbe[pg];
	CBE_PUT(e, volume, v->id);
	CBE_PUT(e, page, page);
	CBE_PUT(e, valid, 0);
	CBE_PUT(e, dirty, 0);
	cache_index_insert(c, p.bucket, pg);
}

/* Reads n placeholders from f->pages[i] on, that stand side by side. */
static int read_pages(struct cache_fill *f, uint32_t i, uint32_t n)
{
	struct cache_vol *v = f->v;
	struct cache *c = v->c;
	struct iovec iov[CACHE_IO_PAGES];
	uint64_t off = (f->first + i) << c->page_shift;
	uint64_t left = cache_vol_size(v) > off ? cache_vol_size(v) - off : 0;
	int cnt = 0;
	for (uint32_t k = 0; k < n; k++) {
		char *p = cache_data(c, f->pages[i + k]);
		size_t len = MIN(left, c->page_size);
		if (len < c->page_size)
			memset(p + len, 0, c->page_size - len);
		if (len)
			iov[cnt++] = (struct iovec){.iov_base = p, .iov_len = len};
		left -= len;
	}
	return cnt ? bdev_readv(v->backing, iov, cnt, off) : 0;
}

struct fill_end {
	struct cache_shard *s; /* locked */
	struct page_batch retire;
	unsigned ngive;
	uint32_t give[CACHE_IO_PAGES];
};

/* There is no newer version: ours is the page. */
static void publish_alone(struct cache_fill *f, struct cache_shard *s, uint64_t page, uint32_t pg)
{
	struct cache *c = f->v->c;
	struct cache_page *m = &c->page[pg];
	m->home = cache_queue_choose(c, s, f->v->id, page);
	m->flags |= PG_INDEXED;
	cache_cbe_write(c, pg, f->v->id, page, cache_generation(c), c->full, 0);
	cache_cbe_publish(c, pg, CBE_CLEAN);
	cache_queue_insert(c, s, pg);
}

/* Lays the current version over ours, which takes its place; and its copy at the partner, as what
 * is dirty stays the same. */
static void publish_over(struct cache_fill *f, struct fill_end *end, struct cache_place p,
			 uint64_t page, uint32_t pg, uint32_t cur)
{
	struct cache *c = f->v->c;
	uint16_t dirty = CBE_GET(&c->cbe[cur], dirty);
	uint64_t gen = cache_generation(c);
	cache_copy_sectors(c, pg, cur, CBE_GET(&c->cbe[cur], valid));
	cache_page_succeed(c, pg, cur, 0, gen);
	c->page[pg].flags |= PG_INDEXED;
	cache_cbe_write(c, pg, f->v->id, page, gen, c->full, dirty);
	c->cbe[pg].mirror = c->cbe[cur].mirror;
	c->cbe[cur].mirror = CACHE_NO_PAGE;
	cache_cbe_publish(c, pg, dirty ? CBE_DIRTY : CBE_CLEAN);
	cache_index_remove(c, p.bucket, cur);
	cache_page_detach(c, p.shard, cur, &end->retire);
	if (!dirty)
		cache_queue_insert(c, p.shard, pg);
}

/* The read of page i ended with rc. -EAGAIN: it has to be read again. */
static int end_one(struct cache_fill *f, struct fill_end *end, uint32_t i, int rc, uint32_t *pins)
{
	struct cache *c = f->v->c;
	uint64_t page = f->first + i;
	uint32_t pg = f->pages[i];
	struct cache_place p = cache_place_of(c, f->v->id, page);
	end->s = cache_shard_move(end->s, p.shard);
	struct cache_found found = cache_index_find(c, p.bucket, f->v->id, page);
	bool whole = found.cur != CACHE_NO_PAGE && CBE_GET(&c->cbe[found.cur], valid) == c->full;
	if (rc == 0 && (c->page[pg].flags & PG_LEFT))
		rc = -ERR_LEFT;
	if (rc == 0 && !whole && (c->page[pg].flags & PG_STALE)) {
		c->page[pg].flags &= ~PG_STALE;
		return -EAGAIN;
	}
	if (rc || whole) {
		cache_index_remove(c, p.bucket, pg);
		if (atomic_fetch_sub(&c->page[pg].refs, 1) == 1)
			end->give[end->ngive++] = pg;
		pg = found.cur;
	} else if (found.cur == CACHE_NO_PAGE) {
		publish_alone(f, p.shard, page, pg);
	} else {
		publish_over(f, end, p, page, pg, found.cur);
	}
	f->pages[i] = CACHE_NO_PAGE;
	waitq_wake_all(&p.shard->fills);
	if (!whole && rc)
		return rc;
	if (pins) {
		atomic_fetch_add(&c->page[pg].refs, 1);
		pins[i] = pg;
	}
	return 0;
}

static void end_flush(struct cache *c, struct fill_end *end)
{
	end->s = cache_shard_move(end->s, NULL);
	page_batch_flush(c, &end->retire);
	cache_pages_give(c, end->ngive, end->give);
	end->ngive = 0;
}

static bool page_left(struct cache_fill *f, uint32_t i)
{
	struct cache *c = f->v->c;
	struct cache_place p = cache_place_of(c, f->v->id, f->first + i);
	pthread_mutex_lock(&p.shard->lock);
	bool left = c->page[f->pages[i]].flags & PG_LEFT;
	pthread_mutex_unlock(&p.shard->lock);
	return left;
}

static int fill_single(struct cache_fill *f, struct fill_end *end, uint32_t i, uint32_t *pins)
{
	for (;;) {
		int rc = page_left(f, i) ? -ERR_LEFT : read_pages(f, i, 1);
		rc = end_one(f, end, i, rc, pins);
		end_flush(f->v->c, end);
		if (rc != -EAGAIN)
			return rc;
	}
}

/* Pages [i, i + n) are ours. When a long read fails, each page is tried on its own: a bad sector
 * spoils one page. */
static int fill_span(struct cache_fill *f, uint32_t i, uint32_t n, uint32_t *pins)
{
	struct fill_end end;
	end.s = NULL;
	end.ngive = 0;
	page_batch_init(&end.retire);
	int first = 0;
	int rc = read_pages(f, i, n);
	if (rc == 0) {
		FAULT("cache.fill.read");
		for (uint32_t k = i; k < i + n; k++)
			end_one(f, &end, k, 0, pins);
		end_flush(f->v->c, &end);
	}
	for (uint32_t k = i; k < i + n; k++) {
		if (f->pages[k] == CACHE_NO_PAGE)
			continue;
		int one = fill_single(f, &end, k, pins);
		first = first ? first : one;
	}
	return first;
}

int cache_fill_run(struct cache_fill *f, uint32_t *pins)
{
	int first = 0;
	for (uint32_t i = 0; i < f->n;) {
		uint32_t n = 0;
		while (i + n < f->n && f->pages[i + n] != CACHE_NO_PAGE)
			n++;
		int rc = n ? fill_span(f, i, n, pins) : 0;
		first = first ? first : rc;
		i += n ? n : 1;
	}
	return first;
}

void cache_fill_wait(struct cache_vol *v, uint64_t page)
{
	struct cache *c = v->c;
	struct cache_place p = cache_place_of(c, v->id, page);
	pthread_mutex_lock(&p.shard->lock);
	while (cache_index_find(c, p.bucket, v->id, page).fill != CACHE_NO_PAGE)
		cache_wait(c, &p.shard->lock, &p.shard->fills, 0);
	pthread_mutex_unlock(&p.shard->lock);
}

/* Places placeholders from `spare`; returns how many. Without spare: counts what is missing. */
static uint32_t place_fills(struct cache_fill *f, uint32_t *spare, uint32_t nspare)
{
	struct cache_vol *v = f->v;
	struct cache *c = v->c;
	struct cache_shard *s = NULL;
	uint32_t n = 0;
	for (uint32_t i = 0; i < f->n; i++)
		f->pages[i] = CACHE_NO_PAGE;
	for (uint32_t i = 0; i < f->n; i++) {
		struct cache_place p = cache_place_of(c, v->id, f->first + i);
		s = cache_shard_move(s, p.shard);
		struct cache_found found = cache_index_find(c, p.bucket, v->id, f->first + i);
		if (found.fill != CACHE_NO_PAGE)
			continue;
		if (found.cur != CACHE_NO_PAGE && CBE_GET(&c->cbe[found.cur], valid) == c->full)
			continue;
		if (spare && n == nspare)
			break;
		if (spare) {
			cache_fill_start(c, p, v, f->first + i, spare[n]);
			if (f->mark && i == 0)
				c->page[spare[n]].flags |= PG_MARK;
			f->pages[i] = spare[n];
			cache_count(v, s)->readahead_pages++;
		}
		n++;
	}
	cache_shard_move(s, NULL);
	return n;
}

int cache_fill_range(struct cache_vol *v, uint64_t first, uint32_t n, bool mark,
		     enum page_class cls)
{
	struct cache *c = v->c;
	struct cache_fill f = {.v = v, .first = first, .n = n, .mark = mark};
	uint32_t spare[CACHE_IO_PAGES];
	ASSERT(n <= CACHE_IO_PAGES);
	uint32_t want = place_fills(&f, NULL, 0);
	if (!want)
		return 0;
	if (cache_pages_try_take(c, want, cls, spare))
		return -EAGAIN;
	uint32_t used = place_fills(&f, spare, want);
	cache_pages_give(c, want - used, spare + used);
	return used ? cache_fill_run(&f, NULL) : 0;
}

static uint32_t page_at(const struct cache *c, const void *at)
{
	return (uint32_t)((size_t)((const char *)at - c->data) >> c->page_shift);
}

void cache_memory(const struct cache *c, const void **ret_from, const void **ret_to)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	*ret_from = c->data;
	*ret_to = c->data + ((size_t)c->npages << c->page_shift);
}

void cache_read_left(struct cache *c, const struct iovec *iov, int iovcnt)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	for (int i = 0; i < iovcnt; i++) {
		uint32_t pg = page_at(c, iov[i].iov_base);
		struct cbe *e = &c->cbe[pg];
		ASSERT(CBE_GET(e, state) == CBE_FILLING);
		struct cache_shard *s =
		    cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard;
		pthread_mutex_lock(&s->lock);
		c->page[pg].flags |= PG_LEFT;
		pthread_mutex_unlock(&s->lock);
		atomic_fetch_add(&c->page[pg].refs, 1);
	}
}

void cache_read_back(struct cache *c, const struct iovec *iov, int iovcnt)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	for (int i = 0; i < iovcnt; i++) {
		uint32_t pg = page_at(c, iov[i].iov_base);
		if (atomic_fetch_sub(&c->page[pg].refs, 1) == 1)
			cache_pages_give(c, 1, &pg);
	}
}
