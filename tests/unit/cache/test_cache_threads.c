/*
 * The cache under real threads: tasks of several reactors read, write, flush
 * and discard through a cache much smaller than the volume, while a reader
 * outside (as a head is) walks the index without locks and holds pages by
 * hazard slots. Every 8 bytes of a page carry its number and version, so
 * a torn or recycled page shows. Meant for ThreadSanitizer as much as for what it asserts.
 *
 * Once more with a partner that joins and parts again and again, whose mirror area is of the size
 * that makes writers wait for its pages.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/mirror/mirror.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

#define PAGES	 2048 /* of the volume */
#define REACTORS 3
#define WORKERS	 4 /* tasks a reactor */
#define OPS	 3000
#define SLOTS	 4

/* A disk in memory; the lock of a page stands for the disk's own order of a sector's writes. */
struct memdisk {
	struct bdev b;
	char *bytes;
	pthread_mutex_t lock[PAGES];
};

static void memdisk_copy(struct memdisk *d, const struct iovec *iov, int cnt, uint64_t off, bool w)
{
	for (int i = 0; i < cnt; i++)
		for (size_t k = 0; k < iov[i].iov_len; k += 512, off += 512) {
			char *mine = d->bytes + off, *theirs = (char *)iov[i].iov_base + k;
			pthread_mutex_lock(&d->lock[off / 4096]);
			memcpy(w ? mine : theirs, w ? theirs : mine, 512);
			pthread_mutex_unlock(&d->lock[off / 4096]);
		}
}

static int memdisk_readv(struct bdev *b, const struct iovec *iov, int cnt, uint64_t off)
{
	task_yield();
	memdisk_copy((struct memdisk *)b, iov, cnt, off, false);
	task_yield();
	return 0;
}

static int memdisk_writev(struct bdev *b, const struct iovec *iov, int cnt, uint64_t off,
			  unsigned flags)
{
	task_yield();
	memdisk_copy((struct memdisk *)b, iov, cnt, off, true);
	task_yield();
	return 0;
}

static int memdisk_flush(struct bdev *b)
{
	task_yield();
	return 0;
}

static void memdisk_close(struct bdev *b)
{
}

static const struct bdev_ops memdisk_ops = {.readv = memdisk_readv,
					    .writev = memdisk_writev,
					    .flush = memdisk_flush,
					    .close = memdisk_close};

static struct memdisk disk;
static struct reactor *reactor[REACTORS];
static struct cache *cache;
static struct cache_vol *vol;
static char *segment;
static size_t segment_size;
static _Atomic int alive, stage;
static _Atomic uint32_t next_uid = 1;
static _Atomic uint64_t nreads, nwrites, next_seed = 1, external_reads;
static _Atomic bool external_stop;
static _Atomic uint32_t slots[SLOTS];

static uint64_t word(uint64_t page, uint32_t uid)
{
	return uid ? page << 32 | uid : 0;
}

static void paint(void *p, size_t len, uint64_t page, uint32_t uid)
{
	uint64_t *w = p;
	for (size_t i = 0; i < len / 8; i++)
		w[i] = word(page, uid);
}

static void look(const void *p, uint64_t page)
{
	const uint64_t *w = p;
	for (size_t i = 0; i < 512; i++)
		if (w[i] != w[0] || (w[0] && w[0] >> 32 != page))
			ck_abort_msg("page %llu holds %llx and %llx", (unsigned long long)page,
				     (unsigned long long)w[0], (unsigned long long)w[i]);
}

static uint64_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

/* Whole pages, so that any one version of a page shows one uid. */
static void one_write(uint64_t page, uint32_t n, bool fua)
{
	struct cache_write w;
	ck_assert_int_eq(cache_write_begin(vol, page * 4096, n * 4096, &w), 0);
	for (int i = 0; i < w.n; i++)
		paint(w.iov[i].iov_base, 4096, page + (unsigned)i, atomic_fetch_add(&next_uid, 1));
	ck_assert_int_eq(cache_write_commit(vol, &w, fua), 0);
	atomic_fetch_add(&nwrites, 1);
}

static void one_read(uint64_t page, uint32_t n)
{
	struct cache_read r;
	if (cache_read_try(vol, page * 4096, n * 4096, &r))
		ck_assert_int_eq(cache_read(vol, page * 4096, n * 4096, &r), 0);
	for (int i = 0; i < r.n; i++)
		look(r.iov[i].iov_base, page + (unsigned)i);
	cache_read_done(vol, &r);
	atomic_fetch_add(&nreads, 1);
}

static void worker(void *arg)
{
	uint64_t seed = atomic_fetch_add(&next_seed, 1);
	for (int i = 0; i < OPS; i++) {
		uint64_t what = rnd(&seed) % 100;
		uint32_t n = rnd(&seed) % 4 ? 1 : 1 + (uint32_t)(rnd(&seed) % 40);
		uint64_t page = rnd(&seed) % (rnd(&seed) % 2 ? 64 : PAGES - 40);
		if (what < 55)
			one_read(page, n);
		else if (what < 95)
			one_write(page, n, what == 94);
		else if (what < 97)
			ck_assert_int_eq(cache_flush(vol, page * 4096, n * 4096), 0);
		else if (what < 98)
			ck_assert_int_eq(cache_discard(vol, page * 4096, n * 4096), 0);
		else
			cache_prefetch(vol, page * 4096, n * 4096);
		if (i % 8 == 0)
			task_yield();
	}
	if (atomic_fetch_sub(&alive, 1) == 1)
		atomic_store(&stage, 2);
}

/* ---- the partner ---- */

static char *partner;
static size_t partner_size;
static _Atomic unsigned ons;

static void on(void *arg)
{
	atomic_fetch_add(&ons, 1);
}

static void join(void)
{
	struct mirror_join j = {.segment = partner, .segment_size = partner_size, .on = on};
	ck_assert_int_eq(cache_mirror_join(cache, &j), 0);
}

static void comes_and_goes(void *arg)
{
	for (int i = 0; atomic_load(&stage) < 2; i++) {
		join();
		unsigned was = atomic_load(&ons);
		while (i % 4 && atomic_load(&ons) == was && atomic_load(&stage) < 2)
			env_sleep_ns(env_real(), NS_PER_MS);
		env_sleep_ns(env_real(), 5 * NS_PER_MS);
		ck_assert_int_eq(cache_mirror_part(cache, NULL, NULL), 0);
		if (i % 2)
			env_sleep_ns(env_real(), NS_PER_MS);
	}
	join();
	atomic_store(&stage, 3);
}

static void make_partner(void)
{
	struct cache *b;
	partner_size = 300 * (4096 + 64) + 16384;
	ck_assert_int_eq(posix_memalign((void **)&partner, 4096, partner_size), 0);
	memset(partner, 0, partner_size);
	struct cache_opts o = {.env = env_real(),
			       .segment = partner,
			       .segment_size = partner_size,
			       .page_size = 4096,
			       .controller = "b",
			       .partner_pages = cache_segment_pages(segment_size, 4096),
			       .mirror_share = 25};
	ck_assert_int_eq(cache_open(&b, &o, NULL), 0);
	ck_assert_int_eq(cache_close(b, true), 0);
}

static void starter(void *arg)
{
	ck_assert_int_eq(cache_start(cache), 0);
	atomic_store(&stage, 1);
}

static void closer(void *arg)
{
	ck_assert_int_eq(cache_close(cache, false), 0);
	atomic_store(&stage, 4);
}

static void wait_stage(int want)
{
	while (atomic_load(&stage) < want)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* The lock-free reader of cache_layout.h. */
static bool hold_page(uint64_t page, _Atomic uint32_t *slot, uint32_t *ret_pg)
{
	struct cache_super *s = (struct cache_super *)segment;
	struct cbe *cbe = (struct cbe *)(segment + s->cbe_off);
	struct cache_bucket *b = (struct cache_bucket *)(segment + s->bucket_off) +
				 cache_bucket_of(s->hash_seed, s->nbuckets, 1, page);
	uint32_t seq = atomic_load_explicit(&b->seq, memory_order_acquire);
	if (seq & 1)
		return false;
	uint32_t pg = atomic_load_explicit(&b->head, memory_order_acquire);
	for (int i = 0; i < CACHE_WALK_MAX && pg < s->npages; i++) {
		struct cbe *e = &cbe[pg];
		uint32_t state = atomic_load_explicit(&e->state, memory_order_acquire);
		if (__atomic_load_n(&e->volume, __ATOMIC_RELAXED) == 1 &&
		    __atomic_load_n(&e->page, __ATOMIC_RELAXED) == page &&
		    (state == CBE_CLEAN || state == CBE_DIRTY) &&
		    atomic_load_explicit(&e->valid, memory_order_relaxed) == 0xff)
			break;
		pg = atomic_load_explicit(&e->next, memory_order_acquire);
	}
	if (pg >= s->npages)
		return false;
	atomic_exchange(slot, pg + 1); /* a full fence */
	if (atomic_load(&b->seq) != seq) {
		atomic_store(slot, 0);
		return false;
	}
	*ret_pg = pg;
	return true;
}

static void *external_reader(void *arg)
{
	struct cache_super *s = (struct cache_super *)segment;
	uint64_t seed = 99;
	while (!atomic_load(&external_stop)) {
		uint64_t page = rnd(&seed) % (rnd(&seed) % 2 ? 64 : PAGES);
		_Atomic uint32_t *slot = &slots[rnd(&seed) % SLOTS];
		uint32_t pg;
		if (!hold_page(page, slot, &pg))
			continue;
		const char *data = segment + s->page_off + (size_t)pg * 4096;
		look(data, page);
		uint64_t first = *(const uint64_t *)data;
		if (rnd(&seed) % 16 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
		look(data, page);
		ck_assert_uint_eq(first, *(const uint64_t *)data);
		atomic_store_explicit(slot, 0, memory_order_release);
		atomic_fetch_add(&external_reads, 1);
	}
	return NULL;
}

static void world_up(bool mirrored)
{
	stage = 0;
	next_uid = next_seed = 1;
	external_stop = false;
	disk.b = (struct bdev){.ops = &memdisk_ops, .size = PAGES * 4096, .block_size = 512};
	disk.bytes = calloc(PAGES, 4096);
	for (int i = 0; i < PAGES; i++)
		pthread_mutex_init(&disk.lock[i], NULL);
	segment_size = 256 * (4096 + 64) + 16384;
	ck_assert_int_eq(posix_memalign((void **)&segment, 4096, segment_size), 0);
	memset(segment, 0, segment_size);
	struct cache_opts o = {.env = env_real(),
			       .segment = segment,
			       .segment_size = segment_size,
			       .page_size = 4096,
			       .controller = "a",
			       .partner_pages = mirrored ? 100 : 0};
	if (mirrored)
		make_partner();
	ck_assert_int_eq(cache_open(&cache, &o, NULL), 0);
	ck_assert_int_eq(cache_vol_attach(cache, 1, &disk.b, &vol), 0);
	for (int i = 0; i < REACTORS; i++) {
		struct reactor_opts ro = {.name = "test", .cpu = -1};
		ck_assert_int_eq(reactor_new(&reactor[i], &ro), 0);
		ck_assert_int_eq(reactor_start_thread(reactor[i]), 0);
	}
}

static void world_down(void)
{
	for (int i = 0; i < REACTORS; i++) {
		reactor_stop(reactor[i]);
		reactor_join(reactor[i]);
		reactor_free(reactor[i]);
	}
	for (uint64_t p = 0; p < PAGES; p++)
		look(disk.bytes + p * 4096, p);
	free(disk.bytes);
	free(segment);
	free(partner);
	partner = NULL;
}

/* All is on disk: no copy is left, and the table is full. */
static void nothing_left(void)
{
	struct mirror_stats st;
	struct cache_super *s = (struct cache_super *)partner;
	struct cbe *cbe = (struct cbe *)(partner + s->cbe_off);
	cache_mirror_stats(cache, &st);
	ck_assert_uint_gt(st.table_pages, 50);
	ck_assert_uint_eq(st.table_free, st.table_pages);
	ck_assert_uint_gt(st.copies, 1000);
	ck_assert_uint_gt(st.waits, 0);
	ck_assert_uint_gt(atomic_load(&ons), 1);
	for (uint32_t i = cache_split_own(s->split); i < s->npages; i++)
		ck_assert_uint_eq(cbe[i].state, CBE_FREE);
}

static void flusher(void *arg)
{
	ck_assert_int_eq(cache_flush(vol, 0, 0), 0);
	if (partner)
		nothing_left();
	closer(NULL);
}

static void share_the_cache(bool mirrored)
{
	pthread_t external;
	struct cache_hazard *h;
	struct cache_stats st;
	static _Atomic uint8_t touched[1024];
	world_up(mirrored);
	ck_assert_int_eq(cache_hazard_add(cache, slots, SLOTS, touched, &h), 0);
	task_start_on(reactor_sched(reactor[0]), starter, NULL);
	wait_stage(1);
	pthread_create(&external, NULL, external_reader, NULL);
	if (mirrored)
		task_start_on(reactor_sched(reactor[1]), comes_and_goes, NULL);
	atomic_store(&alive, REACTORS * WORKERS);
	for (int i = 0; i < REACTORS * WORKERS; i++)
		task_start_on(reactor_sched(reactor[i % REACTORS]), worker, NULL);
	wait_stage(mirrored ? 3 : 2);
	atomic_store(&external_stop, true);
	pthread_join(external, NULL);
	cache_stats(cache, &st);
	cache_hazard_remove(cache, h);
	ck_assert_uint_gt(st.evicted, 1000);
	ck_assert_uint_gt(atomic_load(&external_reads), 100);
	task_start_on(reactor_sched(reactor[REACTORS - 1]), flusher, NULL);
	wait_stage(4);
	world_down();
}

START_TEST(reactors_and_heads_share_the_cache)
{
	share_the_cache(false);
}
END_TEST

START_TEST(a_mirrored_cache_is_shared)
{
	share_the_cache(true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_threads");
	TCase *t = tcase_create("threads");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, reactors_and_heads_share_the_cache);
	tcase_add_test(t, a_mirrored_cache_is_shared);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
