/* Two controllers' caches over one simulated disk, each with the other's segment mapped. */
#ifndef ISTHMUS_TESTS_MIRROR_RIG_H
#define ISTHMUS_TESTS_MIRROR_RIG_H

#include <stdio.h>
#include "blockcore/mirror/mirror.h"
#include "tests/unit/cache/cache_rig.h"

#define MIB (1024 * 1024)

/* a writes, b is its partner. */
struct pair {
	struct rig a, b;
	uint32_t pages_a, pages_b;
	bool write_through, battery, heads;
	uint64_t sweep_ns; /* 0: the cache's own */
	unsigned ons, befores;
	uint64_t before_writes; /* of a, when before() was called */
	uint32_t adopted;
};

static inline struct cache_opts pair_opts(struct pair *p, bool b)
{
	struct cache_opts o = rig_opts(b ? &p->b : &p->a);
	o.controller = b ? "b" : "a";
	o.partner_pages = b ? p->pages_a : p->pages_b;
	o.lone_write_through = p->write_through;
	o.battery = p->battery;
	o.sweep_ns = p->sweep_ns;
	o.heads = p->heads;
	return o;
}

/* Bytes of a segment of exactly `pages` pages. */
static inline size_t pair_segment_size(uint32_t pages)
{
	size_t size = (size_t)pages * (4096 + 64);
	while (cache_segment_pages(size, 4096) < pages)
		size += 512;
	return size;
}

static inline void pair_segment(struct rig *r, uint32_t pages)
{
	r->segment_size = pair_segment_size(pages);
	ck_assert_uint_eq(cache_segment_pages(r->segment_size, 4096), pages);
	ck_assert_int_eq(posix_memalign(&r->segment, 4096, r->segment_size), 0);
	memset(r->segment, 0, r->segment_size);
}

static inline void pair_init(struct pair *p, uint64_t seed, uint32_t a, uint32_t b, uint64_t disk)
{
	p->a.sim = p->b.sim = sim_new(seed);
	p->a.disk = p->b.disk = sim_disk_new(p->a.sim, "disk0", disk);
	p->a.bdev = p->b.bdev = sim_disk_open(p->a.disk);
	p->pages_a = a;
	p->pages_b = b;
	pair_segment(&p->a, a);
	pair_segment(&p->b, b);
}

static inline void pair_open(struct pair *p, bool b)
{
	struct rig *r = b ? &p->b : &p->a;
	struct cache_opts o = pair_opts(p, b);
	ck_assert_int_eq(cache_open(&r->cache, &o, &r->adopted), 0);
}

/* Opens both; the volume is a's. */
static inline void pair_up(struct pair *p)
{
	pair_open(p, false);
	pair_open(p, true);
	ck_assert_int_eq(cache_vol_attach(p->a.cache, 1, p->a.bdev, &p->a.vol), 0);
}

static inline void pair_on(void *arg)
{
	((struct pair *)arg)->ons++;
}

static inline void pair_before(void *arg)
{
	struct pair *p = arg;
	struct cache_stats st;
	cache_stats(p->a.cache, &st);
	p->before_writes = st.writes;
	p->befores++;
}

static inline int pair_join(struct pair *p, bool b)
{
	struct rig *to = b ? &p->a : &p->b;
	struct mirror_join j = {.segment = to->segment,
				.segment_size = to->segment_size,
				.partner_pages = b ? p->pages_a : p->pages_b,
				.on = pair_on,
				.arg = p};
	return cache_mirror_join(b ? p->b.cache : p->a.cache, &j);
}

static inline void pair_wait_on(struct pair *p)
{
	for (int i = 0; i < 10000 && cache_mirror_state(p->a.cache) != MIRROR_ON; i++)
		env_sleep_ns(sim_env(p->a.sim), NS_PER_MS);
	ck_assert_int_eq(cache_mirror_state(p->a.cache), MIRROR_ON);
}

static inline struct mirror_stats pair_stats(struct rig *r)
{
	struct mirror_stats st;
	cache_mirror_stats(r->cache, &st);
	return st;
}

static inline struct cache_super *rig_super(struct rig *r)
{
	return r->segment;
}

static inline struct cbe *rig_cbes(struct rig *r)
{
	return (struct cbe *)((char *)r->segment + rig_super(r)->cbe_off);
}

static inline uint32_t rig_own(struct rig *r)
{
	return cache_split_own(rig_super(r)->split);
}

static inline char *rig_page(struct rig *r, uint32_t pg)
{
	return (char *)r->segment + rig_super(r)->page_off + (size_t)pg * 4096;
}

static inline bool pair_want_all(void *arg, uint32_t volume)
{
	return true;
}

/* Every dirty page of a has a copy in b's area that says and holds the same; and b's area holds no
 * other. */
static inline void pair_copies_equal(struct pair *p)
{
	struct cbe *a = rig_cbes(&p->a), *b = rig_cbes(&p->b) + rig_own(&p->b);
	uint32_t nb = rig_super(&p->b)->npages - rig_own(&p->b), dirty = 0, copies = 0;
	for (uint32_t i = 0; i < rig_own(&p->a); i++) {
		if (a[i].state != CBE_DIRTY)
			continue;
		dirty++;
		uint32_t m = a[i].mirror;
		ck_assert_uint_lt(m, nb);
		ck_assert_uint_eq(b[m].state, CBE_DIRTY);
		ck_assert_uint_eq(b[m].volume, a[i].volume);
		ck_assert_uint_eq(b[m].page, a[i].page);
		ck_assert_uint_le(b[m].generation, a[i].generation);
		ck_assert_uint_eq(a[i].dirty & ~b[m].dirty, 0);
		for (unsigned s = 0; s < 8; s++)
			if (a[i].dirty >> s & 1)
				ck_assert_mem_eq(rig_page(&p->a, i) + s * 512,
						 rig_page(&p->b, rig_own(&p->b) + m) + s * 512,
						 512);
	}
	for (uint32_t i = 0; i < nb; i++)
		copies += b[i].state != CBE_FREE;
	ck_assert_uint_eq(copies, dirty);
}

static inline void pair_abandon_a(void *arg)
{
	cache_close(((struct pair *)arg)->a.cache, true);
}

static inline void pair_abandon_b(void *arg)
{
	cache_close(((struct pair *)arg)->b.cache, true);
}

static inline void pair_close(void *arg)
{
	struct pair *p = arg;
	if (p->a.cache)
		ck_assert_int_eq(cache_close(p->a.cache, false), 0);
	if (p->b.cache)
		ck_assert_int_eq(cache_close(p->b.cache, false), 0);
}

static inline void pair_free(struct pair *p)
{
	bdev_close(p->a.bdev);
	sim_free(p->a.sim);
	free(p->a.segment);
	free(p->b.segment);
}

/* ---- one pair a program ---- */

static struct pair P;

static inline void setup(uint32_t a, uint32_t b)
{
	memset(&P, 0, sizeof(P));
	pair_init(&P, 11, a, b, 8 * MIB);
	pair_up(&P);
}

static inline void run(task_fn *fn)
{
	ck_assert_int_eq(sim_run(P.a.sim, fn, &P), 0);
}

static inline void end(void)
{
	run(pair_close);
	pair_free(&P);
}

static inline void start_and_join(void *arg)
{
	ck_assert_int_eq(cache_start(P.a.cache), 0);
	ck_assert_int_eq(cache_mirror_state(P.a.cache), MIRROR_LONE);
	ck_assert_int_eq(pair_join(&P, false), 0);
	ck_assert_int_eq(cache_mirror_state(P.a.cache), MIRROR_JOINING);
	pair_wait_on(&P);
	ck_assert_uint_eq(P.ons, 1);
}

#endif
