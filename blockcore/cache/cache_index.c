/*
 * The index in the segment: chains of CBEs hung on buckets, changed under the
 * shard's lock and read by heads without one (the protocol of
 * cache_layout.h).
 *
 * A change of a chain lies between two steps of the bucket's `seq`: to odd by
 * an acquiring exchange, to even by a releasing store. The stores between them are releases, so
 * whoever sees one of them and then, past a fence, reads `seq`, sees at least the odd value.
 */
#include "blockcore/cache/cache_priv.h"

static void bucket_begin(struct cache_bucket *b)
{
	uint32_t seq = atomic_load_explicit(&b->seq, memory_order_relaxed);
	atomic_exchange_explicit(&b->seq, seq + 1, memory_order_acq_rel);
}

static void bucket_end(struct cache_bucket *b)
{
	uint32_t seq = atomic_load_explicit(&b->seq, memory_order_relaxed);
	atomic_store_explicit(&b->seq, seq + 1, memory_order_release);
}

struct cache_found cache_index_find(struct cache *c, uint32_t bucket, uint32_t vol, uint64_t page)
{
	struct cache_found f = {CACHE_NO_PAGE, CACHE_NO_PAGE};
	uint32_t pg = CBE_GET(&c->bucket[bucket], head);
	while (pg != CACHE_NO_PAGE) {
		struct cbe *e = &c->cbe[pg];
		if (CBE_GET(e, page) == page && CBE_GET(e, volume) == vol) {
			if (CBE_GET(e, state) == CBE_FILLING)
				f.fill = pg;
			else
				f.cur = pg;
		}
		pg = CBE_GET(e, next);
	}
	return f;
}

static void chain_insert(struct cache *c, uint32_t bucket, uint32_t pg)
{
	CBE_PUT(&c->cbe[pg], next, CBE_GET(&c->bucket[bucket], head));
	CBE_PUT(&c->bucket[bucket], head, pg);
}

/* What pointed to `old` points to `to`. The removed CBE's own link stays for those who stand on
 * it. */
static void chain_relink(struct cache *c, uint32_t bucket, uint32_t old, uint32_t to)
{
	uint32_t pg = CBE_GET(&c->bucket[bucket], head);
	if (pg == old) {
		CBE_PUT(&c->bucket[bucket], head, to);
		return;
	}
	while (pg != CACHE_NO_PAGE) {
		uint32_t next = CBE_GET(&c->cbe[pg], next);
		if (next == old) {
			CBE_PUT(&c->cbe[pg], next, to);
			return;
		}
		pg = next;
	}
	ASSERT(!"page is in its chain");
}

void cache_index_insert(struct cache *c, uint32_t bucket, uint32_t pg)
{
	struct cache_bucket *b = &c->bucket[bucket];
	bucket_begin(b);
	chain_insert(c, bucket, pg);
	bucket_end(b);
}

void cache_index_remove(struct cache *c, uint32_t bucket, uint32_t pg)
{
	struct cache_bucket *b = &c->bucket[bucket];
	bucket_begin(b);
	chain_relink(c, bucket, pg, CBE_GET(&c->cbe[pg], next));
	bucket_end(b);
}

void cache_index_replace(struct cache *c, uint32_t bucket, uint32_t old, uint32_t pg)
{
	struct cache_bucket *b = &c->bucket[bucket];
	bucket_begin(b);
	CBE_PUT(&c->cbe[pg], next, CBE_GET(&c->cbe[old], next));
	chain_relink(c, bucket, old, pg);
	bucket_end(b);
}

uint64_t cache_generation(struct cache *c)
{
	return atomic_fetch_add(&c->super->generation, 1) + 1;
}

void cache_cbe_write(struct cache *c, uint32_t pg, uint32_t vol, uint64_t page, uint64_t gen,
		     uint16_t valid, uint16_t dirty)
{
	struct cbe *e = &c->cbe[pg];
	CBE_PUT(e, volume, vol);
	CBE_PUT(e, page, page);
	e->generation = gen;
	e->mirror = CACHE_NO_PAGE;
	CBE_PUT(e, valid, valid);
	CBE_PUT(e, dirty, dirty);
}

void cache_cbe_publish(struct cache *c, uint32_t pg, enum cbe_state state)
{
	FAULT("cache.publish.before");
	CBE_PUT(&c->cbe[pg], state, state);
	FAULT("cache.publish.after");
}
