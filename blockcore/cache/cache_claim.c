/*
 * Commits whose copies go to another host: between the composition of a page's new version and its
 * publication the task waits for the partner's answer, with no lock held. So that no other write
 * comes in between, a commit claims its range of the volume first; claims that overlap take their
 * turns in order of arrival.
 *
 *   claim      nobody else commits these pages
 *   compose    each new version: sectors around the write, a generation. Not true yet
 *   copy       one message; its answer says that the partner would adopt them. If the link breaks:
 *              wait until the partner is known to be away, then go on without copies
 *   publish    what a read added to the current version meanwhile (clean sectors) is laid around
 *              ours; then the same as any commit, with a new generation
 *   unclaim
 *
 * Meanwhile the current version may become clean, be evicted, or be completed by a read: none of it
 * changes what a reader of the page would see, so what was composed stays right. Every version's
 * copy has a higher generation than the one it follows, as claims make composing and publishing of
 * one page one after the other.
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

#define AWAY_POLL_NS NS_PER_MS

struct cache_claim {
	TAILQ_ENTRY(cache_claim) link;
	uint64_t first, end;
};

static bool overlaps_older(const struct cache_vol *v, const struct cache_claim *k)
{
	const struct cache_claim *o;
	TAILQ_FOREACH (o, &v->claims, link) {
		if (o == k)
			return false;
		if (o->first < k->end && k->first < o->end)
			return true;
	}
	return false;
}

static void claim(struct cache_vol *v, const struct cache_write *w, struct cache_claim *k)
{
	k->first = w->off >> v->c->page_shift;
	k->end = k->first + (unsigned)w->n;
	pthread_mutex_lock(&v->claim_lock);
	TAILQ_INSERT_TAIL(&v->claims, k, link);
	while (overlaps_older(v, k))
		cache_wait(v->c, &v->claim_lock, &v->claim_q, 0);
	pthread_mutex_unlock(&v->claim_lock);
}

static void unclaim(struct cache_vol *v, struct cache_claim *k)
{
	pthread_mutex_lock(&v->claim_lock);
	TAILQ_REMOVE(&v->claims, k, link);
	waitq_wake_all(&v->claim_q);
	pthread_mutex_unlock(&v->claim_lock);
}

static void compose(struct cache_vol *v, const struct cache_write *w)
{
	struct cache *c = v->c;
	struct cache_shard *s = NULL;
	uint64_t first = w->off >> c->page_shift;
	for (unsigned i = 0; i < (unsigned)w->n; i++) {
		struct cache_place p = cache_place_of(c, v->id, first + i);
		s = cache_shard_move(s, p.shard);
		cache_page_make(v, p, first + i, w->pages[i],
				cache_mask(c, first + i, w->off, w->len));
	}
	cache_shard_move(s, NULL);
}

/* What became of the current version since: its other sectors, and what of it is dirty still. The
 * shard's lock is held. */
static uint32_t recompose(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
			  uint16_t mask)
{
	struct cache *c = v->c;
	struct cbe *e = &c->cbe[pg];
	uint32_t cur = cache_index_find(c, p.bucket, v->id, page).cur;
	uint16_t valid = CBE_GET(e, valid), dirty = mask;
	if (cur != CACHE_NO_PAGE) {
		uint16_t more = CBE_GET(&c->cbe[cur], valid) & ~valid;
		cache_copy_sectors(c, pg, cur, more);
		valid |= more;
		dirty |= CBE_GET(&c->cbe[cur], dirty);
	}
	cache_cbe_write(c, pg, v->id, page, cache_generation(c), valid, dirty);
	return cur;
}

/* The link broke: nothing is acknowledged before the partner is known to be away. */
static void wait_away(struct cache *c, const struct cache_write *w)
{
	while (atomic_load(&c->mirror.epoch) == w->epoch)
		env_sleep_ns(c->env, AWAY_POLL_NS);
}

static void copy(struct cache *c, const struct cache_write *w, bool atomic)
{
	if (mirror_copy_write(c, w, atomic))
		wait_away(c, w);
}

struct cache_commit_result cache_commit_claimed(struct cache_vol *v, struct cache_write *w,
						struct cache_run *run)
{
	struct cache *c = v->c;
	struct cache_commit_result r = {0};
	struct cache_claim k;
	struct page_batch retire;
	struct cache_shard *s = NULL;
	page_batch_init(&retire);
	claim(v, w, &k);
	compose(v, w);
	copy(c, w, false);
	FAULT("mirror.before_publish");
	for (unsigned i = 0; i < (unsigned)w->n; i++) {
		uint64_t page = k.first + i;
		uint32_t pg = w->pages[i];
		struct cache_place p = cache_place_of(c, v->id, page);
		s = cache_shard_move(s, p.shard);
		uint16_t mask = cache_mask(c, page, w->off, w->len);
		uint32_t old = recompose(v, p, page, pg, mask);
		r.bare += !mirror_note_copy(c, s, w, i);
		cache_cbe_publish(c, pg, CBE_DIRTY);
		cache_page_enter(v, p, page, pg, old, mask, &retire);
		cache_count(v, s)->write_pages++;
		if (run)
			r.unclaimed += !cache_run_add(v, run, i, pg);
	}
	cache_shard_move(s, NULL);
	unclaim(v, &k);
	FAULT("cache.commit.done");
	cache_committed(v, w, &retire);
	return r;
}

int cache_commit_if_claimed(struct cache_vol *v, struct cache_write *w, const void *expect,
			    uint32_t *ret_at, bool *ret_bare)
{
	struct cache *c = v->c;
	struct cache_claim k;
	uint32_t old[CACHE_IO_PAGES];
	struct page_batch retire;
	page_batch_init(&retire);
	claim(v, w, &k);
	uint32_t which = cache_shards_of(v, k.first, (unsigned)w->n);
	cache_shards_lock(c, which, true);
	int rc = expect ? cache_compare(v, w, expect, ret_at) : 0;
	cache_shards_lock(c, which, false);
	if (rc) {
		unclaim(v, &k);
		return rc;
	}
	compose(v, w);
	copy(c, w, true);
	pthread_mutex_lock(&c->atomic_lock);
	cache_shards_lock(c, which, true);
	atomic_fetch_add(&v->atomics, 1);
	*ret_bare = false;
	for (unsigned i = 0; i < (unsigned)w->n; i++) {
		struct cache_place p = cache_place_of(c, v->id, k.first + i);
		old[i] = recompose(v, p, k.first + i, w->pages[i],
				   cache_mask(c, k.first + i, w->off, w->len));
		*ret_bare |= !mirror_note_copy(c, p.shard, w, i);
		cache_cbe_publish(c, w->pages[i], CBE_STAGED);
		FAULT("cache.atomic.staged");
	}
	cache_staged_enter(v, w, old, &retire);
	cache_shards_lock(c, which, false);
	pthread_mutex_unlock(&c->atomic_lock);
	unclaim(v, &k);
	cache_committed(v, w, &retire);
	return 0;
}
