/*
 * Which clean pages go when room is needed: S3-FIFO in each shard.
 *
 * New pages enter SMALL (a tenth of the shard's clean pages). One that was used twice there moves
 * to MAIN when it reaches the end; any other leaves, and its fingerprint is kept in GHOST. A page
 * whose fingerprint is still in GHOST when it comes back enters MAIN at once. In MAIN each use
 * (three at most are counted) buys another round. So a scan passes through SMALL and touches
 * nothing that is in use.
 *
 * Only CLEAN current pages are queued; a dirty one enters its `home` queue once it is on disk.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

#define GHOST_WAYS   4
#define EVICT_STEPS  256 /* pages looked at under one lock */
#define EVICT_BATCH  64
#define SMALL_SHARE  10 /* one in so many */
#define PROMOTE_FREQ 2

int cache_evict_init(struct cache *c)
{
	uint32_t sets = 1;
	while (sets * GHOST_WAYS < c->nown / c->nshards)
		sets *= 2;
	for (uint32_t i = 0; i < c->nshards; i++) {
		struct cache_shard *s = &c->shard[i];
		for (int q = 0; q < QUEUES; q++)
			s->queue[q] = (struct page_list){CACHE_NO_PAGE, CACHE_NO_PAGE, 0};
		s->ghost_sets = sets;
		s->ghost = calloc(sets * GHOST_WAYS, sizeof(*s->ghost));
		if (!s->ghost)
			return -ENOMEM;
	}
	return 0;
}

void cache_evict_fini(struct cache *c)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		free(c->shard[i].ghost);
}

static void list_push(struct cache *c, struct page_list *l, uint32_t pg)
{
	struct cache_page *m = &c->page[pg];
	m->prev = CACHE_NO_PAGE;
	m->next = l->head;
	if (l->head != CACHE_NO_PAGE)
		c->page[l->head].prev = pg;
	else
		l->tail = pg;
	l->head = pg;
	__atomic_store_n(&l->count, l->count + 1, __ATOMIC_RELAXED);
}

static void list_remove(struct cache *c, struct page_list *l, uint32_t pg)
{
	struct cache_page *m = &c->page[pg];
	if (m->prev != CACHE_NO_PAGE)
		c->page[m->prev].next = m->next;
	else
		l->head = m->next;
	if (m->next != CACHE_NO_PAGE)
		c->page[m->next].prev = m->prev;
	else
		l->tail = m->prev;
	__atomic_store_n(&l->count, l->count - 1, __ATOMIC_RELAXED);
}

static void queue_push(struct cache *c, struct cache_shard *s, enum page_queue q, uint32_t pg)
{
	c->page[pg].queue = c->page[pg].home = q;
	list_push(c, &s->queue[q], pg);
}

void cache_queue_insert(struct cache *c, struct cache_shard *s, uint32_t pg)
{
	ASSERT(c->page[pg].queue == QUEUE_NONE);
	queue_push(c, s, c->page[pg].home == QUEUE_MAIN ? QUEUE_MAIN : QUEUE_SMALL, pg);
}

void cache_queue_remove(struct cache *c, struct cache_shard *s, uint32_t pg)
{
	list_remove(c, &s->queue[c->page[pg].queue], pg);
	c->page[pg].queue = QUEUE_NONE;
}

static struct ghost_entry *ghost_set(struct cache_shard *s, uint64_t h)
{
	return &s->ghost[(h & (s->ghost_sets - 1)) * GHOST_WAYS];
}

static uint64_t ghost_hash(struct cache *c, uint32_t vol, uint64_t page)
{
	return cache_mix(c->seed ^ 0x67686f7374ull ^ ((uint64_t)vol << 40) ^ page);
}

static void ghost_add(struct cache *c, struct cache_shard *s, uint32_t vol, uint64_t page)
{
	uint64_t h = ghost_hash(c, vol, page);
	struct ghost_entry *set = ghost_set(s, h), *oldest = set;
	for (int i = 1; i < GHOST_WAYS; i++)
		if ((int32_t)(set[i].seq - oldest->seq) < 0)
			oldest = &set[i];
	*oldest = (struct ghost_entry){(uint32_t)(h >> 32) | 1, ++s->ghost_seq};
}

/* As many evictions are remembered as there are pages in MAIN (at least a few). */
enum page_queue cache_queue_choose(struct cache *c, struct cache_shard *s, uint32_t vol,
				   uint64_t page)
{
	uint64_t h = ghost_hash(c, vol, page);
	struct ghost_entry *set = ghost_set(s, h);
	uint32_t reach = s->queue[QUEUE_MAIN].count + s->queue[QUEUE_SMALL].count + 16;
	for (int i = 0; i < GHOST_WAYS; i++) {
		if (set[i].fingerprint != ((uint32_t)(h >> 32) | 1))
			continue;
		bool recent = s->ghost_seq - set[i].seq < reach;
		set[i].fingerprint = 0;
		return recent ? QUEUE_MAIN : QUEUE_SMALL;
	}
	return QUEUE_SMALL;
}

/* Heads tell their hits by a byte a page. The hazards' lock is held. */
static bool touched_by_heads(struct cache *c, uint32_t pg)
{
	struct cache_hazard *h;
	bool hit = false;
	TAILQ_FOREACH (h, &c->hazards, link)
		if (h->touched && atomic_load_explicit(&h->touched[pg], memory_order_relaxed)) {
			atomic_store_explicit(&h->touched[pg], 0, memory_order_relaxed);
			hit = true;
		}
	return hit;
}

void cache_evict_page(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b)
{
	struct cbe *e = &c->cbe[pg];
	uint32_t vol = CBE_GET(e, volume);
	uint64_t page = CBE_GET(e, page);
	uint32_t bucket = cache_place_of(c, vol, page).bucket;
	if (c->page[pg].queue == QUEUE_SMALL)
		ghost_add(c, s, vol, page);
	/* What a reader is fetching right now may have left the disk before this page came to
	 * it. */
	struct cache_found f = cache_index_find(c, bucket, vol, page);
	if (f.fill != CACHE_NO_PAGE)
		c->page[f.fill].flags |= PG_STALE;
	cache_index_remove(c, bucket, pg);
	cache_page_detach(c, s, pg, b);
	s->evicted++;
}

/* One step at the end of a queue. */
static void evict_step(struct cache *c, struct cache_shard *s, bool heads, struct page_batch *b)
{
	struct page_list *small = &s->queue[QUEUE_SMALL], *main = &s->queue[QUEUE_MAIN];
	uint32_t total = small->count + main->count;
	bool from_small = main->count == 0 || small->count > total / SMALL_SHARE;
	uint32_t pg = from_small ? small->tail : main->tail;
	struct cache_page *m = &c->page[pg];
	if (heads && touched_by_heads(c, pg))
		m->freq = MIN(m->freq + 1, 3);
	bool pinned = atomic_load_explicit(&m->refs, memory_order_relaxed) > 1;
	if (from_small && m->freq >= PROMOTE_FREQ) {
		cache_queue_remove(c, s, pg);
		m->freq = 0;
		queue_push(c, s, QUEUE_MAIN, pg);
	} else if (pinned || (!from_small && m->freq > 0)) {
		enum page_queue q = m->queue;
		cache_queue_remove(c, s, pg);
		m->freq -= m->freq > 0;
		queue_push(c, s, q, pg);
	} else {
		cache_evict_page(c, s, pg, b);
	}
}

static unsigned evict_shard(struct cache *c, struct cache_shard *s, unsigned want)
{
	struct page_batch b;
	page_batch_init(&b);
	pthread_mutex_lock(&s->lock);
	bool heads = atomic_load(&c->nhazards) > 0;
	if (heads)
		pthread_mutex_lock(&c->hazard_lock);
	for (int i = 0; i < EVICT_STEPS && b.n < want; i++) {
		if (!s->queue[QUEUE_SMALL].count && !s->queue[QUEUE_MAIN].count)
			break;
		evict_step(c, s, heads, &b);
	}
	if (heads)
		pthread_mutex_unlock(&c->hazard_lock);
	pthread_mutex_unlock(&s->lock);
	unsigned n = b.n;
	page_batch_flush(c, &b);
	return n;
}

static uint32_t list_count(const struct page_list *l)
{
	return __atomic_load_n(&l->count, __ATOMIC_RELAXED);
}

static uint32_t shard_pages(const struct cache_shard *s)
{
	return list_count(&s->queue[QUEUE_SMALL]) + list_count(&s->queue[QUEUE_MAIN]);
}

/* Neighbours fall into one shard, so shards fill unevenly: room is made where SMALL is furthest
 * over its share, or else where most pages are. Counts are read without locks: a hint. False: no
 * shard outside of `skip` has a page. */
static bool choose_shard(struct cache *c, uint32_t skip, uint32_t *ret_shard, unsigned *ret_want)
{
	uint32_t over_most = 0, total_most = 0;
	for (uint32_t i = 0; i < c->nshards; i++) {
		uint32_t small = list_count(&c->shard[i].queue[QUEUE_SMALL]);
		uint32_t total = shard_pages(&c->shard[i]);
		uint32_t over = small > total / SMALL_SHARE ? small - total / SMALL_SHARE : 0;
		if ((skip >> i & 1) || over < over_most ||
		    (over == over_most && total <= total_most))
			continue;
		*ret_shard = i;
		over_most = over;
		total_most = total;
	}
	if (over_most)
		*ret_want = MIN(*ret_want, over_most);
	return total_most > 0;
}

unsigned cache_evict(struct cache *c, unsigned want)
{
	unsigned got = 0, vain[CACHE_SHARDS_MAX] = {0};
	uint32_t skip = 0, i = 0;
	while (got < want) {
		unsigned part = MIN(EVICT_BATCH, want - got);
		if (!choose_shard(c, skip, &i, &part))
			break;
		unsigned n = evict_shard(c, &c->shard[i], part);
		got += n;
		vain[i] = n ? 0 : vain[i] + 1;
		/* Each round takes a use off a page, and pages have three at most. */
		if (vain[i] > 4 * shard_pages(&c->shard[i]) / EVICT_STEPS)
			skip |= 1u << i;
	}
	return got;
}
