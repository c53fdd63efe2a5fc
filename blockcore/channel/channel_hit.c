/*
 * Read hits without a message: the head looks pages up in the cache segment of
 * the volume's owner and holds them in hazard slots, as cache_layout.h says.
 *
 * Everything read from the segment may be changing: an index out of range ends
 * the walk, and nothing is believed until the bucket's sequence count was found
 * unchanged after the hazard slot was set. After that the page stays.
 *
 * Is it the newest? The head may not have heard yet that the volume has gone
 * to the other controller. Two things make sure (README.md):
 *   - A controller that gives a volume away takes its pages out of the index
 *     before: what was found there was found before.
 *   - The segment of one that died keeps its index. Who takes over from it
 *     changes the segment's incarnation before it serves: that word is looked
 *     at last.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	   4096u
#define HOLD_TRIES 4

void channel_hit_init(struct channel_end *e)
{
	for (unsigned i = 0; i < CHANNEL_HAZARDS; i++)
		e->slot_next[i] = i + 1 < CHANNEL_HAZARDS ? (uint16_t)(i + 2) : 0;
	e->slot_free = 1;
}

static bool fits(uint64_t off, uint64_t n, uint64_t each, uint64_t size)
{
	return off % 64 == 0 && off <= size && n <= (size - off) / each;
}

static int map_check(struct cache_map *m)
{
	const struct cache_super *s = (const struct cache_super *)m->base;
	if (m->size < sizeof(*s) || memcmp(s->magic, CACHE_MAGIC, sizeof(s->magic)) != 0 ||
	    s->version != CACHE_VERSION || s->page_size != PAGE)
		return -ERR_VERSION;
	if (s->nbuckets < (1u << CACHE_GROUP_BITS) || (s->nbuckets & (s->nbuckets - 1)) ||
	    !fits(s->cbe_off, s->npages, sizeof(struct cbe), m->size) ||
	    !fits(s->bucket_off, s->nbuckets, sizeof(struct cache_bucket), m->size) ||
	    !fits(s->page_off, s->npages, PAGE, m->size))
		return -ERR_CORRUPT;
	m->npages = s->npages;
	m->nbuckets = s->nbuckets;
	m->seed = s->hash_seed;
	m->super = s;
	m->cbes = (const struct cbe *)(m->base + s->cbe_off);
	m->buckets = (const struct cache_bucket *)(m->base + s->bucket_off);
	m->pages = m->base + s->page_off;
	return 0;
}

int cache_map_new(struct channel_end *e, int fd, size_t size, uint64_t incarnation,
		  struct cache_map **ret)
{
	struct cache_map *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		free(m);
		return -errno;
	}
	m->base = p;
	m->size = size;
	m->users = 1;
	m->end = e;
	m->incarnation = incarnation;
	int rc = map_check(m);
	if (rc) {
		cache_map_put(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void cache_map_put(struct cache_map *m)
{
	if (!m || --m->users)
		return;
	munmap(m->base, m->size);
	free(m);
}

static bool cbe_matches(const struct cbe *e, uint32_t volume, uint64_t page, uint16_t need)
{
	uint32_t state = atomic_load_explicit(&e->state, memory_order_acquire);
	return (state == CBE_CLEAN || state == CBE_DIRTY) &&
	       atomic_load_explicit(&e->page, memory_order_relaxed) == page &&
	       atomic_load_explicit(&e->volume, memory_order_relaxed) == volume &&
	       (atomic_load_explicit(&e->valid, memory_order_relaxed) & need) == need;
}

/* The page's number in the cache as the index has it this moment, CACHE_NO_PAGE: not there. */
static uint32_t walk(const struct cache_map *m, const struct cache_bucket *b, uint32_t volume,
		     uint64_t page, uint16_t need)
{
	uint32_t i = atomic_load_explicit(&b->head, memory_order_acquire);
	for (unsigned n = 0; n < CACHE_WALK_MAX && i < m->npages; n++) {
		const struct cbe *e = &m->cbes[i];
		if (cbe_matches(e, volume, page, need))
			return i;
		i = atomic_load_explicit(&e->next, memory_order_acquire);
	}
	return CACHE_NO_PAGE;
}

/* Finds a page and holds it by the hazard slot: its number, CACHE_NO_PAGE: not held. */
static uint32_t hold(const struct cache_map *m, _Atomic uint32_t *slot, uint32_t volume,
		     uint64_t page, uint16_t need)
{
	const struct cache_bucket *b =
	    &m->buckets[cache_bucket_of(m->seed, m->nbuckets, volume, page)];
	for (int i = 0; i < HOLD_TRIES; i++) {
		uint32_t seq = atomic_load_explicit(&b->seq, memory_order_acquire);
		if (seq & 1)
			continue;
		uint32_t n = walk(m, b, volume, page, need);
		if (n == CACHE_NO_PAGE)
			return n;
		atomic_exchange(slot, n + 1); /* a full fence with the load below */
		if (atomic_load(&b->seq) == seq)
			return n;
		atomic_store_explicit(slot, 0, memory_order_release);
	}
	return CACHE_NO_PAGE;
}

/* Sectors of page number `page` that [off, end) touches, as a mask. */
static uint16_t need_mask(uint64_t page, uint64_t off, uint64_t end)
{
	uint64_t start = page * PAGE;
	unsigned first = off > start ? (unsigned)((off - start) / CACHE_SECTOR) : 0;
	unsigned last = end < start + PAGE
			    ? (unsigned)((end - start + CACHE_SECTOR - 1) / CACHE_SECTOR)
			    : PAGE / CACHE_SECTOR;
	return (uint16_t)(((1u << last) - 1) & ~((1u << first) - 1));
}

static void put_iov(struct bdev_ref *ref, uint8_t *p, size_t len)
{
	struct iovec *last = ref->iovcnt ? &ref->iov[ref->iovcnt - 1] : NULL;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += len;
	else
		ref->iov[ref->iovcnt++] = (struct iovec){.iov_base = p, .iov_len = len};
}

static void slots_release(struct channel_end *e, unsigned first)
{
	while (first) {
		unsigned slot = first - 1;
		first = e->slot_next[slot];
		atomic_store_explicit(&e->hazards[slot], 0, memory_order_release);
		e->slot_next[slot] = e->slot_free;
		e->slot_free = (uint16_t)(slot + 1);
		e->slots_used--;
	}
}

/* Holds one page and adds it to the reference. */
static bool hit_page(struct channel_end *e, uint32_t volume, uint64_t page, uint64_t off,
		     uint64_t end, struct bdev_ref *ref)
{
	struct cache_map *m = e->map;
	unsigned slot = e->slot_free;
	if (slot-- == 0)
		return false;
	uint32_t n = hold(m, &e->hazards[slot], volume, page, need_mask(page, off, end));
	if (n == CACHE_NO_PAGE)
		return false;
	e->slot_free = e->slot_next[slot];
	e->slot_next[slot] = (uint16_t)ref->impl_n;
	ref->impl_n = slot + 1;
	e->slots_used++;
	if (!atomic_load_explicit(&e->touched[n], memory_order_relaxed))
		atomic_store_explicit(&e->touched[n], 1, memory_order_relaxed);
	uint64_t from = MAX(off, page * PAGE), to = MIN(end, (page + 1) * PAGE);
	put_iov(ref, m->pages + (size_t)n * PAGE + from % PAGE, to - from);
	return true;
}

/* After the last page was held: does what was found count? */
static int judge(struct channel_end *e)
{
	/* Fenced meanwhile: it may be older than what the new instance wrote. */
	if (atomic_load(&e->hdr->fence) != e->c->epoch)
		return -ERR_EPOCH_STALE;
	/* Its controller is gone: it may be older than what the partner wrote since. */
	return atomic_load(&e->map->super->incarnation) == e->map->incarnation ? 0 : -EAGAIN;
}

int channel_hit(struct channel *c, struct channel_route *route, uint64_t off, uint32_t len,
		struct bdev_ref *ret)
{
	uint64_t end = off + len;
	struct channel_end *e = route->owner;
	if (!e || len == 0 || len > CHANNEL_IO_MAX)
		return -EAGAIN;
	ret->iovcnt = 0;
	ret->impl_n = 0;
	for (uint64_t page = off / PAGE; page * PAGE < end; page++) {
		if (!hit_page(e, route->volume, page, off, end, ret)) {
			slots_release(e, (unsigned)ret->impl_n);
			return -EAGAIN;
		}
	}
	int rc = judge(e);
	if (rc) {
		slots_release(e, (unsigned)ret->impl_n);
		if (rc == -ERR_EPOCH_STALE)
			channel_fail(c, rc);
		return rc;
	}
	e->map->users++;
	ret->impl = e->map;
	c->stats.read_hits++;
	atomic_store_explicit(&e->hdr->read_hits, ++e->read_hits, memory_order_relaxed);
	return 0;
}

void channel_hit_put(struct channel *c, struct bdev_ref *ref)
{
	struct cache_map *m = ref->impl;
	if (!m) /* of no bytes */
		return;
	slots_release(m->end, (unsigned)ref->impl_n);
	cache_map_put(m);
}
