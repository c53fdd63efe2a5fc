/* The mirrored write cache between two hosts: real reactors, and the interconnect over sockets. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/mirror/mirror.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "tests/unit/link/link_rig.h"

#define PAGES	512 /* of the volume */
#define WRITERS 6   /* tasks on each of the callers' reactors */
#define OPS	300

/* A disk in memory, and slow enough that something stays dirty. */
static struct bdev disk;
static char disk_bytes[PAGES * 4096];
static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;

static void disk_copy(const struct iovec *iov, int n, uint64_t off, bool write)
{
	pthread_mutex_lock(&disk_lock);
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(write ? disk_bytes + off : iov[i].iov_base,
		       write ? iov[i].iov_base : disk_bytes + off, iov[i].iov_len);
	pthread_mutex_unlock(&disk_lock);
}

static int disk_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	task_yield();
	disk_copy(iov, n, off, false);
	return 0;
}

static int disk_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	env_sleep_ns(env_real(), 5 * NS_PER_MS);
	disk_copy(iov, n, off, true);
	return 0;
}

static int disk_flush(struct bdev *b)
{
	return 0;
}

static void disk_close(struct bdev *b)
{
}

static const struct bdev_ops disk_ops = {
    .readv = disk_readv, .writev = disk_writev, .flush = disk_flush, .close = disk_close};

struct side {
	char *segment;
	size_t size;
	struct cache *cache;
	struct cache_vol *vol;
};
static struct side A, B;
static _Atomic unsigned ons, befores, busy;
static struct mirror_stats stats;
static uint32_t adopted;

static void open_side(struct side *s, const char *name, uint32_t pages, uint32_t partner)
{
	s->size = pages * (4096 + 64) + 16384;
	ck_assert_int_eq(posix_memalign((void **)&s->segment, 4096, s->size), 0);
	memset(s->segment, 0, s->size);
	struct cache_opts o = {.env = env_real(),
			       .segment = s->segment,
			       .segment_size = s->size,
			       .page_size = 4096,
			       .controller = name,
			       .partner_pages = partner,
			       .partner_remote = true};
	ck_assert_int_eq(cache_open(&s->cache, &o, NULL), 0);
}

static void on(void *arg)
{
	ons++;
}

static void before(void *arg)
{
	befores++;
}

static void start_a(void *arg)
{
	ck_assert_int_eq(cache_start(A.cache), 0);
}

static void join(void *arg)
{
	struct mirror_join j = {.link = rig.a.link, .on = on};
	ck_assert_int_eq(cache_mirror_join(A.cache, &j), 0);
}

static void part(void *arg)
{
	ck_assert_int_eq(cache_mirror_part(A.cache, before, NULL), 0);
}

static unsigned port;

static void setup(enum link_transport t)
{
	rig_setup(t, port += 20);
	disk = (struct bdev){.ops = &disk_ops, .size = sizeof(disk_bytes), .block_size = 512};
	memset(disk_bytes, 0, sizeof(disk_bytes));
	ons = befores = busy = 0;
	open_side(&A, "a", 400, 400);
	open_side(&B, "b", 300, 400);
	ck_assert_int_eq(cache_vol_attach(A.cache, 1, &disk, &A.vol), 0);
	rig_open(&rig.a);
	rig_open(&rig.b);
	cache_mirror_serve(B.cache, rig.b.link);
	cache_mirror_serve(A.cache, rig.a.link);
	rig_both_up();
	rig_run(rig.a.reactor, start_a, NULL);
	rig_run(rig.callers[0], join, NULL);
	RIG_WAIT(ons == 1);
	ck_assert_int_eq(cache_mirror_state(A.cache), MIRROR_ON);
}

static void close_a(void *arg)
{
	ck_assert_int_eq(cache_close(A.cache, arg != NULL), 0);
}

static void close_b(void *arg)
{
	ck_assert_int_eq(cache_close(B.cache, arg != NULL), 0);
}

static void teardown(bool a)
{
	if (a)
		rig_run(rig.a.reactor, close_a, NULL);
	rig_close(&rig.a);
	rig_close(&rig.b);
	rig_run(rig.b.reactor, close_b, NULL);
	rig.a.link = rig.b.link = NULL;
	rig_teardown();
	free(A.segment);
	free(B.segment);
}

static struct cbe *cbes(struct side *s)
{
	return (struct cbe *)(s->segment + ((struct cache_super *)s->segment)->cbe_off);
}

static char *data(struct side *s, uint32_t pg)
{
	return s->segment + ((struct cache_super *)s->segment)->page_off + (size_t)pg * 4096;
}

static uint32_t own(struct side *s)
{
	return cache_split_own(((struct cache_super *)s->segment)->split);
}

/* Nobody writes or destages just now: every dirty page has a copy that holds the same. Returns how
 * many. */
static uint32_t copies_equal(void)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < own(&A); i++) {
		struct cbe *a = &cbes(&A)[i];
		if (a->state != CBE_DIRTY)
			continue;
		uint32_t at = own(&B) + a->mirror;
		struct cbe *b = &cbes(&B)[at];
		ck_assert_uint_eq(b->state, CBE_DIRTY);
		ck_assert_uint_eq(b->page, a->page);
		ck_assert_uint_eq(a->dirty & ~b->dirty, 0);
		for (unsigned s = 0; s < 8; s++)
			if (a->dirty >> s & 1)
				ck_assert_mem_eq(data(&A, i) + s * 512, data(&B, at) + s * 512,
						 512);
		n++;
	}
	return n;
}

static void write_to(struct side *s, uint64_t off, uint32_t len, int byte, bool atomic)
{
	struct cache_write w;
	uint32_t got = 0;
	ck_assert_int_eq(cache_write_try_begin(s->vol, off, len, &w), -EAGAIN);
	ck_assert_int_eq(cache_write_begin(s->vol, off, len, &w), 0);
	for (int i = 0; i < w.n; i++) {
		memset(w.iov[i].iov_base, byte, w.iov[i].iov_len);
		got += (uint32_t)w.iov[i].iov_len;
		if (len > 40000 && i % 3 != 2)
			cache_write_received(s->vol, &w, got);
	}
	ck_assert_int_eq(atomic ? cache_write_commit_if(s->vol, &w, NULL, NULL)
				: cache_write_commit(s->vol, &w, false),
			 0);
}

static bool holds(struct side *s, uint64_t off, uint32_t len, int byte)
{
	struct cache_read r;
	bool ok = true;
	ck_assert_int_eq(cache_read(s->vol, off, len, &r), 0);
	for (int i = 0; i < r.n; i++)
		for (size_t k = 0; k < r.iov[i].iov_len; k++)
			ok = ok && ((unsigned char *)r.iov[i].iov_base)[k] == byte;
	cache_read_done(s->vol, &r);
	return ok;
}

static void some_writes(void *arg)
{
	cache_mirror_stats(A.cache, &stats);
	uint64_t messages = stats.messages;
	ck_assert_uint_eq(stats.table_pages, 120);
	write_to(&A, 0, 4096, 'a', false);
	cache_mirror_stats(A.cache, &stats);
	ck_assert_uint_eq(stats.messages, messages + 1); /* nothing to acquire a page */
	write_to(&A, 512, 20000 / 512 * 512, 'b', false);
	write_to(&A, 65536 + 512, 100 * 512, 'c', false);
	write_to(&A, 65536, 8192, 'd', true);
	ck_assert_uint_gt(copies_equal(), 15);
	ck_assert_int_eq(cache_discard(A.vol, 4096, 4096), 0);
	ck_assert(holds(&A, 65536, 8192, 'd'));
	ck_assert(holds(&A, 4096, 4096, 0));
	ck_assert_int_eq(cache_flush(A.vol, 0, 0), 0);
}

static void flush_a(void *arg)
{
	ck_assert_int_eq(cache_flush(A.vol, 0, 0), 0);
}

static bool table_full(void)
{
	struct mirror_stats b;
	cache_mirror_stats(A.cache, &stats);
	cache_mirror_stats(B.cache, &b);
	return stats.table_free == stats.table_pages && b.area_used == 0;
}

START_TEST(one_message_copies_a_write)
{
	setup(_i ? LINK_TCP : LINK_UNIX);
	rig_run(rig.callers[0], some_writes, NULL);
	RIG_WAIT(table_full());
	ck_assert_uint_eq(stats.copies, stats.cleared);
	teardown(true);
}
END_TEST

/* ---- many writers ---- */

static uint64_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

/* Places overlap, in sectors. */
static void writer(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	for (int i = 0; i < OPS; i++) {
		struct cache_write w;
		uint32_t n = 1 + (uint32_t)(rnd(&seed) % (rnd(&seed) % 4 ? 16 : 150));
		uint64_t s = rnd(&seed) % (rnd(&seed) % 2 ? 64 : PAGES * 8 - 150);
		ck_assert_int_eq(cache_write_begin(A.vol, s * 512, n * 512, &w), 0);
		for (int k = 0; k < w.n; k++)
			memset(w.iov[k].iov_base, (int)rnd(&seed), w.iov[k].iov_len);
		uint64_t how = rnd(&seed) % 16;
		if (how == 0) {
			cache_write_abort(A.vol, &w);
			continue;
		}
		int rc = how < 4 ? cache_write_commit_if(A.vol, &w, NULL, NULL)
				 : cache_write_commit(A.vol, &w, how == 4);
		ck_assert_int_eq(rc, 0);
		if (how == 5)
			holds(&A, s / 8 * 4096, 4096, 0);
	}
	busy--;
}

static void start_writers(void *arg)
{
	for (uintptr_t i = 0; i < WRITERS; i++)
		ck_assert_int_eq(task_start(writer, (void *)(i + (uintptr_t)arg * 100 + 1)), 0);
}

static void run_writers(void)
{
	busy = RIG_CALLERS * WRITERS;
	for (uintptr_t i = 0; i < RIG_CALLERS; i++)
		rig_run(rig.callers[i], start_writers, (void *)i);
}

static char seen[PAGES * 4096];

static void read_all(void *arg)
{
	struct side *s = arg;
	struct cache_read r;
	for (uint64_t off = 0; off < sizeof(seen); off += 65536) {
		ck_assert_int_eq(cache_read(s->vol, off, 65536, &r), 0);
		for (int i = 0; i < r.n; i++)
			if (s == &A)
				memcpy(seen + off + i * 4096, r.iov[i].iov_base, 4096);
			else
				ck_assert_mem_eq(seen + off + i * 4096, r.iov[i].iov_base, 4096);
		cache_read_done(s->vol, &r);
	}
}

static bool want(void *arg, uint32_t volume)
{
	return true;
}

static void take_over(void *arg)
{
	ck_assert_int_eq(cache_mirror_adopt(B.cache, want, NULL, &adopted), 0);
	ck_assert_int_eq(cache_vol_attach(B.cache, 1, &disk, &B.vol), 0);
}

/* What the one had acknowledged is what the other has. */
START_TEST(the_other_host_takes_over)
{
	setup(_i ? LINK_TCP : LINK_UNIX);
	run_writers();
	RIG_WAIT(!busy);
	rig_run(rig.callers[0], read_all, &A);
	rig_run(rig.a.reactor, close_a, &A); /* abandoned */
	rig_run(rig.b.reactor, take_over, NULL);
	ck_assert_uint_gt(adopted, 0);
	rig_run(rig.b.reactor, read_all, &B);
	teardown(false);
}
END_TEST

/* ---- the link breaks ---- */

static void write_late(void *arg)
{
	write_to(&A, 0, 65536, 'l', false);
	busy--;
}

static void start_late(void *arg)
{
	ck_assert_int_eq(task_start(write_late, NULL), 0);
}

static void is_late(void *arg)
{
	ck_assert(holds(&A, 0, 65536, 'l'));
}

START_TEST(writes_wait_until_the_partner_is_known_to_be_away)
{
	setup(LINK_UNIX);
	run_writers();
	for (int i = 0; i < 20; i++)
		rig_nap();
	rig_close(&rig.b);
	rig.b.link = NULL;
	RIG_WAIT(rig.a.downs == 1);
	rig_nap();
	ck_assert_uint_gt(busy, 0);
	rig_run(rig.callers[1], part, NULL);
	ck_assert_uint_eq(befores, 1);
	RIG_WAIT(!busy);
	rig_open(&rig.b);
	cache_mirror_serve(B.cache, rig.b.link);
	RIG_WAIT(link_is_up(rig.a.link));
	rig_run(rig.callers[0], join, NULL);
	run_writers();
	RIG_WAIT(!busy && cache_mirror_state(A.cache) == MIRROR_ON);
	/* A link that broke and came back is not the link that was joined. */
	rig_close(&rig.b);
	RIG_WAIT(rig.a.downs == 2);
	rig_open(&rig.b);
	cache_mirror_serve(B.cache, rig.b.link);
	RIG_WAIT(link_is_up(rig.a.link));
	busy = 1;
	rig_run(rig.callers[0], start_late, NULL);
	for (int i = 0; i < 50; i++)
		rig_nap();
	ck_assert_uint_eq(busy, 1);
	rig_run(rig.callers[1], part, NULL);
	RIG_WAIT(!busy);
	rig_run(rig.callers[1], is_late, NULL);
	rig_run(rig.callers[0], join, NULL);
	RIG_WAIT(cache_mirror_state(A.cache) == MIRROR_ON);
	rig_run(rig.callers[0], flush_a, NULL);
	RIG_WAIT(table_full());
	teardown(true);
}
END_TEST

int main(void)
{
	const char *p = getenv("TEST_PORT");
	port = p ? (unsigned)atoi(p) : 21320;
	Suite *s = suite_create("mirror_link");
	TCase *t = tcase_create("link");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, one_message_copies_a_write, 0, 2);
	tcase_add_loop_test(t, the_other_host_takes_over, 0, 2);
	tcase_add_test(t, writes_wait_until_the_partner_is_known_to_be_away);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
