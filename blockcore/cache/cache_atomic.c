/*
 * Commits of several pages at once: all or nothing, for readers and for the process that is
 * killed in the middle; and, if wanted, only where the cache holds what is expected.
 *
 * All shards of the range are locked, in their order, so nothing of it is read or changed
 * meanwhile. A reader that pins page after page could still meet the old of one shard and the new
 * of another: it compares the volume's `atomics` before and after, and pins again.
 *
 *   stage    every new version is written down with its sectors, its state STAGED
 *   copy     all of them to the partner, all or nothing there too
 *   decide   super.staged_true = 1: from this store on they are the truth
 *   publish  each becomes DIRTY and takes the old one's place in the index
 *   end      super.staged_true = 0
 *
 * Adoption makes STAGED elements DIRTY where it finds 1, and drops them where it finds 0. One such
 * commit runs at a time (atomic_lock), so no other's are among them.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

void cache_shards_lock(struct cache *c, uint32_t which, bool lock)
{
	for (uint32_t i = 0; i < c->nshards; i++) {
		if (!(which & 1u << i))
			continue;
		if (lock)
			pthread_mutex_lock(&c->shard[i].lock);
		else
			pthread_mutex_unlock(&c->shard[i].lock);
	}
}
_Static_assert(CACHE_SHARDS_MAX <= 32, "a bit each");

uint32_t cache_shards_of(struct cache_vol *v, uint64_t first, unsigned n)
{
	uint32_t which = 0;
	for (unsigned i = 0; i < n; i++)
		which |= 1u << (cache_place_of(v->c, v->id, first + i).shard - v->c->shard);
	return which;
}

int cache_compare(struct cache_vol *v, const struct cache_write *w, const void *want,
		  uint32_t *ret_at)
{
	const uint8_t *expect = want;
	struct cache *c = v->c;
	uint64_t first = w->off >> c->page_shift;
	for (int i = 0; i < w->n; i++) {
		struct cache_place p = cache_place_of(c, v->id, first + (unsigned)i);
		uint32_t pg = cache_index_find(c, p.bucket, v->id, first + (unsigned)i).cur;
		uint16_t mask = cache_mask(c, first + (unsigned)i, w->off, w->len);
		if (pg == CACHE_NO_PAGE || (CBE_GET(&c->cbe[pg], valid) & mask) != mask)
			return -EAGAIN;
	}
	uint32_t at = 0;
	for (int i = 0; i < w->n; i++) {
		struct cache_place p = cache_place_of(c, v->id, first + (unsigned)i);
		uint32_t pg = cache_index_find(c, p.bucket, v->id, first + (unsigned)i).cur;
		size_t n = w->iov[i].iov_len;
		size_t skip = i ? 0 : w->off & (c->page_size - 1);
		const uint8_t *have = (uint8_t *)cache_data(c, pg) + skip;
		if (memcmp(have, expect + at, n) != 0) {
			while (*have++ == expect[at])
				at++;
			*ret_at = at;
			return -ERR_MISCOMPARE;
		}
		at += (uint32_t)n;
	}
	return 0;
}

void cache_staged_enter(struct cache_vol *v, const struct cache_write *w, const uint32_t *old,
			struct page_batch *retire)
{
	struct cache *c = v->c;
	uint64_t first = w->off >> c->page_shift;
	atomic_store(&c->super->staged_true, 1);
	FAULT("cache.atomic.decided");
	for (int i = 0; i < w->n; i++) {
		uint64_t page = first + (unsigned)i;
		struct cache_place p = cache_place_of(c, v->id, page);
		CBE_PUT(&c->cbe[w->pages[i]], state, CBE_DIRTY);
		cache_page_enter(v, p, page, w->pages[i], old[i],
				 cache_mask(c, page, w->off, w->len), retire);
		cache_count(v, p.shard)->write_pages++;
		FAULT("cache.atomic.entered");
	}
	atomic_store(&c->super->staged_true, 0);
}

static void publish(struct cache_vol *v, const struct cache_write *w, struct page_batch *retire,
		    bool *ret_bare)
{
	struct cache *c = v->c;
	uint64_t first = w->off >> c->page_shift;
	uint32_t old[CACHE_IO_PAGES];
	atomic_fetch_add(&v->atomics, 1);
	for (int i = 0; i < w->n; i++) {
		uint64_t page = first + (unsigned)i;
		old[i] = cache_page_make(v, cache_place_of(c, v->id, page), page, w->pages[i],
					 cache_mask(c, page, w->off, w->len));
		cache_cbe_publish(c, w->pages[i], CBE_STAGED);
		FAULT("cache.atomic.staged");
	}
	*ret_bare = !mirror_copy_atomic(c, w);
	FAULT("mirror.before_publish");
	cache_staged_enter(v, w, old, retire);
}

int cache_write_commit_if(struct cache_vol *v, struct cache_write *w, const void *expect,
			  uint32_t *ret_at)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	struct page_batch retire;
	page_batch_init(&retire);
	bool bare = false;
	if (c->mirror.remote) {
		if (!task_self())
			return -EAGAIN;
		int err = cache_commit_if_claimed(v, w, expect, ret_at, &bare);
		if (err == 0 && bare && c->mirror.write_through)
			err = cache_write_through(v, w);
		return err;
	}
	uint32_t which = cache_shards_of(v, w->off >> c->page_shift, (unsigned)w->n);
	pthread_mutex_lock(&c->atomic_lock);
	cache_shards_lock(c, which, true);
	int rc = expect ? cache_compare(v, w, expect, ret_at) : 0;
	if (rc == 0 && mirror_commit_waits(c, w) && !task_self())
		rc = -EAGAIN;
	if (rc == 0)
		publish(v, w, &retire, &bare);
	cache_shards_lock(c, which, false);
	pthread_mutex_unlock(&c->atomic_lock);
	if (rc == 0)
		cache_committed(v, w, &retire);
	if (rc == 0 && bare && c->mirror.write_through && task_self())
		rc = cache_write_through(v, w);
	return rc;
}

void cache_staged_settle(struct cbe *cbe, uint32_t n, _Atomic uint32_t *staged_true)
{
	bool really = atomic_load(staged_true);
	for (uint32_t i = 0; i < n; i++)
		if (CBE_GET(&cbe[i], state) == CBE_STAGED)
			CBE_PUT(&cbe[i], state, really ? CBE_DIRTY : CBE_FREE);
	atomic_store(staged_true, 0);
}
