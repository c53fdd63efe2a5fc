/*
 * The segment at open: formatted, or adopted by scanning its CBEs.
 *
 * The super block is believed when its magic, version, checksum, identity and layout all hold.
 * Otherwise the segment is formatted only if no CBE of it is DIRTY; what may be somebody's only
 * copy of acknowledged data is never overwritten. Format writes the magic last.
 *
 * A CBE is believed when its fields are possible. Adopted are CLEAN and DIRTY ones; of two for
 * one page the higher generation. FILLING ones stay as they are, out of use: a disk read of the
 * process that died may still be landing in them, until cache_quarantine_end() says that none is.
 *
 * The own pages are adopted here; the mirror area is left as the partner wrote it. Another split
 * between the two is applied when nothing valid stands where it would change hands.
 *
 * While the index is rebuilt every bucket's `seq` is odd, so heads that read it look again.
 */
#include "blockcore/cache/cache_priv.h"
#include "runtime/crc32c.h"
#include <errno.h>
#include <stdlib.h>

static uint32_t super_crc(const struct cache_super *s)
{
	return crc32c(s, offsetof(struct cache_super, incarnation));
}

static uint32_t buckets_for(uint32_t npages)
{
	uint32_t n = CACHE_GROUP_PAGES * CACHE_SHARDS_MAX;
	while (n < npages)
		n *= 2;
	return n;
}

/* Lays npages out; returns the end. */
static uint64_t layout(struct cache_super *s, uint32_t page_size, uint32_t npages)
{
	s->page_size = page_size;
	s->npages = npages;
	s->nbuckets = buckets_for(npages);
	s->cbe_off = page_size;
	s->bucket_off = s->cbe_off + (uint64_t)npages * sizeof(struct cbe);
	s->page_off = s->bucket_off + (uint64_t)s->nbuckets * sizeof(struct cache_bucket);
	s->page_off = ROUND_UP(s->page_off, page_size);
	s->size = s->page_off + (uint64_t)npages * page_size;
	return s->size;
}

/* The layout this version gives a segment of `size` bytes. */
static int layout_for(struct cache_super *s, uint32_t page_size, uint64_t size)
{
	uint64_t n = size / (page_size + sizeof(struct cbe));
	n = MIN(n, (uint64_t)CACHE_NO_PAGE - 2);
	while (n >= CACHE_PAGES_MIN && layout(s, page_size, (uint32_t)n) > size)
		n -= MAX((s->size - size) / (page_size + sizeof(struct cbe)), 1);
	if (n < CACHE_PAGES_MIN) {
		log_error("cache segment is too small: bytes=%llu", (unsigned long long)size);
		return -ENOSPC;
	}
	return 0;
}

static bool page_size_ok(uint32_t n)
{
	return n == 4096 || n == 8192;
}

/* The super block's own numbers agree and fit. */
static bool layout_ok(const struct cache_super *s, uint64_t size)
{
	struct cache_super want;
	if (!page_size_ok(s->page_size) || s->npages < CACHE_PAGES_MIN ||
	    s->npages >= CACHE_NO_PAGE - 1)
		return false;
	layout(&want, s->page_size, s->npages);
	return s->nbuckets == want.nbuckets && s->cbe_off == want.cbe_off &&
	       s->bucket_off == want.bucket_off && s->page_off == want.page_off &&
	       s->size == want.size && s->size <= size;
}

/* CBEs stand after the first page, which is of one size or the other; what lies between is zero.*/
static bool has_dirty(const char *base, uint32_t npages, uint64_t size)
{
	struct cbe *e = (struct cbe *)(base + 4096);
	uint64_t n = MIN((uint64_t)npages + 4096 / sizeof(*e), (size - 4096) / sizeof(*e));
	for (uint64_t i = 0; i < n; i++) {
		uint32_t state = CBE_GET(&e[i], state);
		/* the `seq` of a bucket behind the CBEs may look like STAGED; it has no dirty mask
		 */
		if (state == CBE_DIRTY || (state == CBE_STAGED && CBE_GET(&e[i], dirty)))
			return true;
	}
	return false;
}

/* The magic is written last and damaged as easily as any word: the checksum knows better. */
static bool super_known(struct cache_super *s)
{
	if (memcmp(s->magic, CACHE_MAGIC, sizeof(s->magic)) == 0)
		return true;
	struct cache_super t;
	memcpy(&t, s, sizeof(t));
	memcpy(t.magic, CACHE_MAGIC, sizeof(t.magic));
	if (t.version != CACHE_VERSION || t.crc != super_crc(&t))
		return false;
	memcpy(s->magic, CACHE_MAGIC, sizeof(s->magic));
	return true;
}

static uint32_t area_pages(const struct cache_opts *o)
{
	return mirror_area_pages(o->partner_pages,
				 o->mirror_share ? o->mirror_share : MIRROR_SHARE);
}

static void format(struct cache *c, const struct cache_opts *o, const struct cache_super *plan)
{
	struct cache_super *s = o->segment;
	memset(s->magic, 0, sizeof(s->magic));
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memset(o->segment, 0, plan->page_off);
	struct cache_super new = *plan;
	memcpy(new.magic, CACHE_MAGIC, sizeof(new.magic));
	new.version = CACHE_VERSION;
	memcpy(new.array_uuid, o->array_uuid, sizeof(new.array_uuid));
	memset(new.controller, 0, sizeof(new.controller));
	memcpy(new.controller, o->controller, strnlen(o->controller, sizeof(new.controller) - 1));
	new.hash_seed = env_random_u64(c->env);
	atomic_store(&s->split, cache_split_word(plan->npages - area_pages(o)));
	size_t skip = sizeof(new.magic);
	memcpy((char *)s + skip, (char *)&new + skip,
	       offsetof(struct cache_super, incarnation) - skip);
	s->crc = super_crc(&new);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	memcpy(s->magic, CACHE_MAGIC, sizeof(s->magic));
}

uint32_t cache_segment_pages(uint64_t size, uint32_t page_size)
{
	struct cache_super plan;
	return page_size_ok(page_size) && layout_for(&plan, page_size, size) == 0 ? plan.npages : 0;
}

static void memory_renew(struct cache *c)
{
	atomic_store(&c->super->memory_id, env_random_u64(c->env) | 1);
}

uint64_t cache_memory_id(const struct cache *c)
{
	return atomic_load(&c->super->memory_id);
}

static bool identity_ok(const struct cache_super *s, const struct cache_opts *o)
{
	char name[sizeof(s->controller)] = {0};
	memcpy(name, o->controller, strnlen(o->controller, sizeof(name) - 1));
	return memcmp(s->array_uuid, o->array_uuid, sizeof(s->array_uuid)) == 0 &&
	       memcmp(s->controller, name, sizeof(name)) == 0;
}

int cache_super_check(const struct cache_super *s, uint64_t size)
{
	if (memcmp(s->magic, CACHE_MAGIC, sizeof(s->magic)) != 0)
		return -ERR_CORRUPT;
	if (s->version != CACHE_VERSION)
		return -ERR_VERSION;
	if (s->crc != super_crc(s))
		return -ERR_CORRUPT;
	if (!layout_ok(s, size))
		return -ERR_FOREIGN;
	uint32_t nown = cache_split_own(atomic_load(&s->split));
	return nown < CACHE_PAGES_MIN || nown > s->npages ? -ERR_CORRUPT : 0;
}

/* Why the segment cannot be adopted; 0 when it can. */
static int super_judge(const struct cache_super *s, const struct cache_opts *o)
{
	int rc = cache_super_check(s, o->segment_size);
	return rc == 0 && !identity_ok(s, o) ? -ERR_FOREIGN : rc;
}

/* Pages [from, to) hold nothing that anybody may still need, and no read of the process before may
 * land there yet. */
static bool range_idle(struct cache_super *s, uint32_t from, uint32_t to)
{
	struct cbe *e = (struct cbe *)((char *)s + s->cbe_off);
	for (uint32_t pg = from; pg < to; pg++) {
		uint32_t state = CBE_GET(&e[pg], state);
		if (state == CBE_DIRTY || state == CBE_STAGED || state == CBE_FILLING)
			return false;
	}
	return true;
}

/* Another share for the mirror area: only while the area is empty, and with it what changes
 * hands. */
static void split_apply(struct cache_super *s, const struct cache_opts *o)
{
	uint32_t was = cache_split_own(atomic_load(&s->split));
	uint32_t want = s->npages - area_pages(o);
	if (was == want)
		return;
	if (!range_idle(s, MIN(was, want), s->npages)) {
		log_notice("cache keeps its old mirror area until what is in the way is on disk, "
			   "and reads of the process before have ended pages=%u wanted=%u",
			   s->npages - was, s->npages - want);
		return;
	}
	struct cbe *e = (struct cbe *)((char *)s + s->cbe_off);
	for (uint32_t pg = MIN(was, want); pg < s->npages; pg++)
		CBE_PUT(&e[pg], state, CBE_FREE);
	atomic_store(&s->area_closed, o->heads); /* they may read what changes hands */
	atomic_store(&s->split, cache_split_word(want));
}

static void tell_refusal(int why, const struct cache_opts *o)
{
	const char *remedy =
	    why == -ERR_VERSION ? "start the version that wrote it and stop it cleanly, then start "
				  "this one again"
	    : why == -ERR_FOREIGN
		? "start it with the array, controller name and cache size it was made with and "
		  "stop it cleanly; or remove the segment to give the data up"
		: "its super block is damaged: keep a copy for repair, then remove the segment to "
		  "give the data up";
	log_error("cache segment refused: it holds dirty pages controller=%s why=%s remedy=\"%s\"",
		  o->controller, err_name(why), remedy);
}

/* A segment that cannot be adopted: may it be formatted? */
static int may_format(const struct cache_super *s, const struct cache_opts *o, int why,
		      const struct cache_super *plan)
{
	uint32_t npages = why == -ERR_CORRUPT ? plan->npages : MAX(s->npages, plan->npages);
	if (!has_dirty(o->segment, npages, o->segment_size))
		return 0;
	tell_refusal(why, o);
	return why;
}

int cache_segment_open(struct cache *c, const struct cache_opts *o)
{
	struct cache_super *s = o->segment, plan = {0};
	if (!page_size_ok(o->page_size) || !o->controller || !o->segment)
		return -EINVAL;
	int rc = layout_for(&plan, o->page_size, o->segment_size);
	if (rc)
		return rc;
	if (area_pages(o) > plan.npages - CACHE_PAGES_MIN) {
		log_error("cache is too small beside its partner's: pages=%u partner=%u",
			  plan.npages, o->partner_pages);
		return -ENOSPC;
	}
	bool ours = super_known(s);
	int why = ours ? super_judge(s, o) : 0;
	if (why && (rc = may_format(s, o, why, &plan)))
		return rc;
	/* Another size or page size: kept as it is while it is in use. */
	bool resized = ours && !why && (s->size != plan.size || s->page_size != plan.page_size);
	if (resized && !range_idle(s, 0, s->npages))
		log_notice("cache segment keeps its old layout until its dirty pages are on disk, "
			   "and reads of the process before have ended pages=%u wanted=%u",
			   s->npages, plan.npages);
	else if (!ours || why || resized)
		format(c, o, &plan);
	if (s->npages >= area_pages(o) + CACHE_PAGES_MIN)
		split_apply(s, o);
	c->super = s;
	c->page_size = s->page_size;
	c->page_shift = (uint32_t)__builtin_ctz(s->page_size);
	c->full = (uint16_t)((1u << (s->page_size / CACHE_SECTOR)) - 1);
	c->npages = s->npages;
	c->nown = cache_split_own(atomic_load(&s->split));
	c->nbuckets = s->nbuckets;
	c->seed = s->hash_seed;
	c->cbe = (struct cbe *)((char *)o->segment + s->cbe_off);
	c->bucket = (struct cache_bucket *)((char *)o->segment + s->bucket_off);
	c->data = (char *)o->segment + s->page_off;
	atomic_fetch_add(&s->incarnation, 1);
	if (!atomic_load(&s->memory_id)) /* formatted, or made before there was one */
		memory_renew(c);
	return 0;
}

bool cache_cbe_possible(const struct cache *c, struct cbe *e)
{
	uint32_t state = CBE_GET(e, state);
	uint16_t valid = CBE_GET(e, valid), dirty = CBE_GET(e, dirty);
	return (state == CBE_CLEAN || state == CBE_DIRTY) && CBE_GET(e, volume) != 0 &&
	       CBE_GET(e, page) < CACHE_PAGE_LIMIT && !(valid & ~c->full) && !(dirty & ~valid) &&
	       valid && (state == CBE_DIRTY || !dirty);
}

static void drop_cbe(struct cache *c, uint32_t pg)
{
	CBE_PUT(&c->cbe[pg], state, CBE_FREE);
}

/* Links the CBE into its chain, in the place of an older one if there is. */
static bool adopt_index(struct cache *c, uint32_t pg)
{
	struct cbe *e = &c->cbe[pg];
	uint32_t vol = CBE_GET(e, volume);
	uint64_t page = CBE_GET(e, page);
	uint32_t b = cache_place_of(c, vol, page).bucket;
	uint32_t other = cache_index_find(c, b, vol, page).cur;
	if (other != CACHE_NO_PAGE && c->cbe[other].generation >= e->generation) {
		drop_cbe(c, pg);
		return false;
	}
	uint32_t next = CBE_GET(&c->bucket[b], head);
	if (other != CACHE_NO_PAGE) {
		/* Unlink the loser: the bucket's seq is odd, nobody looks. */
		_Atomic uint32_t *at = &c->bucket[b].head;
		while (*at != other)
			at = &c->cbe[*at].next;
		atomic_store_explicit(at, CBE_GET(&c->cbe[other], next), memory_order_release);
		next = CBE_GET(&c->bucket[b], head);
		drop_cbe(c, other);
	}
	CBE_PUT(e, next, next);
	CBE_PUT(&c->bucket[b], head, pg);
	return true;
}

static void buckets_close(struct cache *c)
{
	for (uint32_t b = 0; b < c->nbuckets; b++) {
		uint32_t seq = atomic_load(&c->bucket[b].seq);
		atomic_exchange(&c->bucket[b].seq, seq | 1);
		CBE_PUT(&c->bucket[b], head, CACHE_NO_PAGE);
	}
}

static void buckets_open(struct cache *c)
{
	for (uint32_t b = 0; b < c->nbuckets; b++)
		atomic_fetch_add(&c->bucket[b].seq, 1);
}

/* The private side of a page that lives on. */
static int adopt_page(struct cache *c, uint32_t pg)
{
	struct cbe *e = &c->cbe[pg];
	struct cache_page *m = &c->page[pg];
	uint64_t page = CBE_GET(e, page);
	struct cache_vol *v = cache_vol_find_or_make(c, CBE_GET(e, volume));
	if (!v)
		return -ENOMEM;
	struct cache_shard *s = cache_place_of(c, v->id, page).shard;
	atomic_store(&m->refs, 1);
	m->flags = PG_INDEXED;
	m->home = QUEUE_MAIN;
	e->mirror = CACHE_NO_PAGE;
	if (CBE_GET(e, dirty)) {
		m->since = e->generation;
		cache_dirty_add(c, s, v, page, m->since);
		atomic_fetch_add(&c->norphans, 1);
	} else {
		CBE_PUT(e, state, CBE_CLEAN);
		cache_queue_insert(c, s, pg);
	}
	return 0;
}

static void free_pages(struct cache *c)
{
	struct cache_pool *p = &c->pool;
	for (uint32_t pg = c->nown; pg-- > 0;) {
		uint32_t state = CBE_GET(&c->cbe[pg], state);
		if (state == CBE_FILLING)
			p->quarantine[p->nquarantine++] = pg;
		else if (state == CBE_FREE)
			p->free[p->nfree++] = pg;
	}
}

int cache_adopt(struct cache *c, bool heads, uint32_t *ret_adopted)
{
	uint32_t adopted = 0, bad = 0;
	int rc = 0;
	buckets_close(c);
	cache_staged_settle(c->cbe, c->nown, &c->super->staged_true);
	for (uint32_t pg = 0; pg < c->nown; pg++) {
		uint32_t state = CBE_GET(&c->cbe[pg], state);
		if (state == CBE_FREE || state == CBE_FILLING)
			continue;
		bool ok = cache_cbe_possible(c, &c->cbe[pg]) &&
			  c->cbe[pg].generation <= atomic_load(&c->super->generation);
		bad += !ok;
		if (ok)
			adopt_index(c, pg);
		else
			drop_cbe(c, pg);
	}
	buckets_open(c);
	for (uint32_t pg = 0; rc == 0 && pg < c->nown; pg++) {
		uint32_t state = CBE_GET(&c->cbe[pg], state);
		if (state == CBE_FREE || state == CBE_FILLING)
			continue;
		rc = adopt_page(c, pg);
		adopted++;
	}
	free_pages(c);
	c->mirror.lent = heads && atomic_load(&c->super->area_closed);
	atomic_fetch_add(&c->mirror.held, c->mirror.lent);
	if (bad) { /* some may have been dirty */
		memory_renew(c);
		event_write(LOG_L_ERROR, "cache.dropped",
			    "%u cache elements with impossible fields were dropped", bad);
	}
	*ret_adopted = adopted;
	return rc;
}
