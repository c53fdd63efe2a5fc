/* The cache's calls one by one, over a simulated disk. */
#include "tests/unit/cache/cache_rig.h"

#define MIB (1024 * 1024)

static struct rig R;

/* Runs `fn` as a task over a fresh cache, then closes it. */
static void run(task_fn *fn, unsigned pages)
{
	memset(&R, 0, sizeof(R));
	rig_init(&R, 1, pages, 16 * MIB);
	rig_open(&R);
	ck_assert_int_eq(sim_run(R.sim, fn, NULL), 0);
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	rig_free(&R);
}

static void write_read(void *arg)
{
	struct cache_read rd;
	ck_assert_int_eq(cache_read_try(R.vol, 0, 4096, &rd), -EAGAIN);
	rig_write(&R, 0, 65536, 'a', false);
	ck_assert_int_eq(cache_read_try(R.vol, 0, 65536, &rd), 0);
	cache_read_done(R.vol, &rd);
	ck_assert(rig_holds(&R, 0, 65536, 'a'));
	ck_assert(rig_holds(&R, 65536, 4096, 0));
	rig_write(&R, 512, 1024, 'b', false);
	ck_assert(rig_holds(&R, 0, 512, 'a'));
	ck_assert(rig_holds(&R, 512, 1024, 'b'));
	ck_assert(rig_holds(&R, 1536, 65536 - 1536, 'a'));
	rig_write(&R, MIB - 512, MIB, 'c', false);
	ck_assert(rig_holds(&R, MIB - 512, MIB, 'c'));
	ck_assert(rig_holds(&R, 0, 512, 'a'));
}

START_TEST(what_is_written_is_read)
{
	run(write_read, 2048);
}
END_TEST

static void bounds(void *arg)
{
	struct cache_read rd;
	struct cache_write w;
	ck_assert_int_eq(cache_read(R.vol, 1, 512, &rd), -EINVAL);
	ck_assert_int_eq(cache_read(R.vol, 0, 511, &rd), -EINVAL);
	ck_assert_int_eq(cache_read(R.vol, 16 * MIB, 512, &rd), -EINVAL);
	ck_assert_int_eq(cache_read(R.vol, UINT64_MAX - 511, 1024, &rd), -EINVAL);
	ck_assert_int_eq(cache_read_try(R.vol, 0, 2 * MIB, &rd), -EINVAL);
	ck_assert_int_eq(cache_write_begin(R.vol, 16 * MIB - 512, 1024, &w), -EINVAL);
	ck_assert_int_eq(cache_discard(R.vol, 16 * MIB, 512), -EINVAL);
	ck_assert_int_eq(cache_flush(R.vol, 17 * MIB, 0), -EINVAL);
	ck_assert_int_eq(cache_read(R.vol, 0, 0, &rd), 0);
	ck_assert_int_eq(rd.n, 0);
	cache_read_done(R.vol, &rd);
}

START_TEST(ranges_are_checked)
{
	run(bounds, 2048);
}
END_TEST

/* A partial write of a page never read keeps masks; reading the rest lays it over the disk. */
static void partial(void *arg)
{
	struct cache_read rd;
	struct sim_disk_stats st;
	memset(sim_disk_bytes(R.disk), 'd', 16384);
	sim_disk_bytes_changed(R.disk, 0, 16384);
	rig_write(&R, 4096 + 1024, 512, 'w', false);
	sim_disk_stats(R.disk, &st);
	ck_assert_uint_eq(st.reads, 0);
	ck_assert_int_eq(cache_read_try(R.vol, 4096 + 1024, 512, &rd), 0);
	cache_read_done(R.vol, &rd);
	ck_assert_int_eq(cache_read_try(R.vol, 4096, 4096, &rd), -EAGAIN);
	ck_assert(rig_holds(&R, 4096, 1024, 'd'));
	ck_assert(rig_holds(&R, 4096 + 1024, 512, 'w'));
	ck_assert(rig_holds(&R, 4096 + 1536, 2560, 'd'));
	rig_write(&R, 8192 + 512, 512, 'x', false);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[8192], 'd');
	ck_assert_int_eq(sim_disk_bytes(R.disk)[8192 + 512], 'x');
	ck_assert_int_eq(sim_disk_bytes(R.disk)[8192 + 1024], 'd');
	ck_assert_int_eq(sim_disk_bytes(R.disk)[4096 + 1024], 'w');
}

START_TEST(partial_pages_keep_masks)
{
	run(partial, 2048);
}
END_TEST

static void flushes(void *arg)
{
	struct cache_stats st;
	rig_write(&R, 0, MIB, 'a', false);
	rig_write(&R, 4 * MIB + 512, 512, 'b', false);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 257);
	ck_assert_int_eq(cache_flush(R.vol, 0, MIB), 0);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 1);
	ck_assert_uint_eq(st.destage_ios, 1);
	ck_assert_uint_eq(sim_unstable_writes(R.sim), 0);
	rig_write(&R, 8 * MIB, 4096, 'c', true);
	ck_assert_uint_eq(sim_unstable_writes(R.sim), 0);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[8 * MIB], 'c');
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 1); /* the other page is still only in the cache */
	struct sim_disk_stats before, after;
	sim_disk_stats(R.disk, &before);
	ck_assert_int_eq(cache_flush(R.vol, 0, MIB), 0);
	sim_disk_stats(R.disk, &after);
	ck_assert_uint_eq(before.flushes, after.flushes); /* nothing was written since */
}

START_TEST(flush_and_fua_reach_the_disk)
{
	run(flushes, 2048);
}
END_TEST

static void one_fua(void *arg)
{
	uint64_t at = (uint64_t)(uintptr_t)arg;
	rig_write(&R, at * 4096, 4096, 'f', true);
}

static void many_fua(void *arg)
{
	for (uintptr_t i = 0; i < 32; i++)
		ck_assert_int_eq(task_start(one_fua, (void *)i), 0);
	env_sleep_ns(sim_env(R.sim), NS_PER_S);
	struct sim_disk_stats st;
	sim_disk_stats(R.disk, &st);
	ck_assert_uint_eq(st.writes, 32);
	ck_assert_uint_le(st.flushes, 8);
}

START_TEST(concurrent_fua_share_flushes)
{
	run(many_fua, 2048);
}
END_TEST

static void discards(void *arg)
{
	ck_assert_int_eq(cache_start(R.cache), 0);
	rig_write(&R, 0, MIB, 'a', false);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	rig_write(&R, 0, 65536, 'b', false);
	ck_assert_int_eq(cache_discard(R.vol, 512, 65536), 0);
	ck_assert(rig_holds(&R, 0, 512, 'b'));
	ck_assert(rig_holds(&R, 512, 65536, 0));
	ck_assert(rig_holds(&R, 66048, MIB - 66048, 'a'));
	ck_assert_int_eq(cache_discard(R.vol, 0, 16 * MIB), 0);
	for (unsigned i = 0; i < 16; i++)
		ck_assert(rig_holds(&R, i * MIB, MIB, 0));
}

START_TEST(discarded_ranges_read_as_zeros)
{
	run(discards, 2048);
}
END_TEST

static void errors(void *arg)
{
	struct cache_read rd;
	struct cache_stats st;
	sim_disk_bad_range(R.disk, 65536, 512);
	ck_assert_int_eq(cache_read(R.vol, 0, 131072, &rd), -EIO);
	ck_assert(rig_holds(&R, 0, 65536, 0));
	ck_assert(rig_holds(&R, 65536 + 4096, 4096, 0));
	rig_write(&R, 65536, 4096, 'n', false);
	ck_assert(rig_holds(&R, 0, 131072, 0) == false);
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), -EIO);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 1);
	ck_assert(rig_holds(&R, 65536, 4096, 'n'));
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.latency_max_ns = 1000});
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[65536], 'n');
}

START_TEST(disk_errors_are_told_and_dirty_data_kept)
{
	run(errors, 2048);
}
END_TEST

/* Destage alone brings data to disk within two seconds, and again after an error. */
static void trickle(void *arg)
{
	struct cache_stats st;
	ck_assert_int_eq(cache_start(R.cache), 0);
	rig_write(&R, 0, 4096, 'a', false);
	env_sleep_ns(sim_env(R.sim), 2 * NS_PER_S);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 0);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[0], 'a');
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.dead = true});
	rig_write(&R, 0, 4096, 'b', false);
	env_sleep_ns(sim_env(R.sim), 5 * NS_PER_S);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 1);
	ck_assert_uint_lt(st.destage_ios, 10); /* it backs off */
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.latency_max_ns = 1000});
	env_sleep_ns(sim_env(R.sim), 40 * NS_PER_S);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[0], 'b');
}

START_TEST(idle_destage_writes_and_retries)
{
	run(trickle, 2048);
}
END_TEST

/* A disk with blocks larger than sectors that is broken for a while: reads take their time to fail,
 * writes more. */
static struct bdev large;
static bool broken;
static unsigned failed_calls;

static int large_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	if (!broken)
		return bdev_readv(R.bdev, iov, iovcnt, off);
	failed_calls++;
	env_sleep_ns(sim_env(R.sim), NS_PER_MS / 10);
	return -EIO;
}

static int large_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
			unsigned flags)
{
	if (!broken)
		return bdev_writev(R.bdev, iov, iovcnt, off, flags);
	failed_calls++;
	env_sleep_ns(sim_env(R.sim), NS_PER_MS);
	return -EIO;
}

static int large_flush(struct bdev *b)
{
	return bdev_flush(R.bdev);
}

static void large_close(struct bdev *b)
{
}

static const struct bdev_ops large_ops = {
    .readv = large_readv, .writev = large_writev, .flush = large_flush, .close = large_close};

/* Pages that cannot be completed, and such that cannot be written: neither has the others tried
 * again at once. */
static void trickle_large_blocks(void *arg)
{
	large = *R.bdev;
	large.ops = &large_ops;
	large.block_size = 4096;
	broken = true;
	failed_calls = 0;
	ck_assert_int_eq(cache_vol_detach(R.vol, false), 0);
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, &large, &R.vol), 0);
	rig_write(&R, 4096, 4096, 'w', false);
	for (unsigned i = 0; i < 60; i++)
		rig_write(&R, i * 65536 + 16384 + 512, 512, 'p', false);
	ck_assert_int_eq(cache_start(R.cache), 0);
	env_sleep_ns(sim_env(R.sim), 5 * NS_PER_S);
	ck_assert_uint_le(failed_calls, 61 * 6);
	broken = false;
	env_sleep_ns(sim_env(R.sim), 40 * NS_PER_S);
	ck_assert_int_eq(sim_disk_bytes(R.disk)[16384 + 512], 'p');
	ck_assert_int_eq(sim_disk_bytes(R.disk)[4096], 'w');
	ck_assert_int_eq(cache_vol_detach(R.vol, false), 0);
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, R.bdev, &R.vol), 0);
}

START_TEST(large_blocks_back_off)
{
	run(trickle_large_blocks, 160);
}
END_TEST

/* Above low water, what is written again and again goes to disk now and then. */
static void overwrite(void *arg)
{
	struct cache_stats st;
	ck_assert_int_eq(cache_start(R.cache), 0);
	for (unsigned i = 0; i < 200; i++) { /* 15 % of the cache, for two seconds */
		for (unsigned k = 0; k < 5; k++)
			rig_write(&R, k * 60 * 4096, 60 * 4096, (int)i, false);
		env_sleep_ns(sim_env(R.sim), 10 * NS_PER_MS);
	}
	cache_stats(R.cache, &st);
	ck_assert_uint_ge(st.destaged_pages, 300);
	ck_assert_uint_lt(st.destaged_pages, 5 * 300);
}

/* Half way to high water nothing waits for a sweep. */
static void urgent(void *arg)
{
	struct cache_stats st;
	ck_assert_int_eq(cache_start(R.cache), 0);
	for (unsigned i = 0; i < 1000; i++)
		rig_write(&R, i * 4096, 4096, (int)(i & 0xff), false);
	cache_stats(R.cache, &st);
	ck_assert_uint_gt(st.dirty, st.npages * 40 / 100);
	env_sleep_ns(sim_env(R.sim), NS_PER_S / 2);
	cache_stats(R.cache, &st);
	ck_assert_uint_lt(st.dirty, st.npages * 36 / 100);
}

START_TEST(destage_goes_by_how_much_is_dirty)
{
	run(overwrite, 2048);
	run(urgent, 2048);
}
END_TEST

static void sequential(void *arg)
{
	struct cache_stats st;
	struct sim_disk_stats ds;
	ck_assert_int_eq(cache_start(R.cache), 0);
	for (unsigned i = 0; i < 8 * MIB / 65536; i++)
		ck_assert(rig_holds(&R, i * 65536, 65536, 0));
	cache_stats(R.cache, &st);
	sim_disk_stats(R.disk, &ds);
	ck_assert_uint_gt(st.readahead_pages, 1500);
	ck_assert_uint_lt(ds.reads, 32);
	/* Random reads cause none. */
	uint64_t before = st.readahead_pages;
	for (unsigned i = 0; i < 100; i++)
		ck_assert(rig_holds(&R, 8 * MIB + sim_random_below(R.sim, 2000) * 4096, 4096, 0));
	cache_stats(R.cache, &st);
	ck_assert_uint_lt(st.readahead_pages, before + 300);
	cache_prefetch(R.vol, 15 * MIB, 65536);
	env_sleep_ns(sim_env(R.sim), NS_PER_S);
	struct cache_read rd;
	ck_assert_int_eq(cache_read_try(R.vol, 15 * MIB, 65536, &rd), 0);
	cache_read_done(R.vol, &rd);
}

START_TEST(sequential_reads_are_read_ahead)
{
	run(sequential, 8192);
}
END_TEST

/* More data than pages: writers wait for destage and nothing is lost. */
static void overflow(void *arg)
{
	struct cache_stats st;
	ck_assert_int_eq(cache_start(R.cache), 0);
	for (unsigned i = 0; i < 16 * MIB / 65536; i++)
		rig_write(&R, i * 65536, 65536, (int)(i & 0xff), false);
	cache_stats(R.cache, &st);
	ck_assert_uint_gt(st.throttled, 0);
	for (unsigned i = 0; i < 16 * MIB / 65536; i++)
		ck_assert(rig_holds(&R, i * 65536, 65536, (int)(i & 0xff)));
	ck_assert_uint_eq(st.free + st.clean + st.dirty + 0, st.npages);
}

START_TEST(a_full_cache_slows_writers_and_loses_nothing)
{
	run(overflow, 128);
}
END_TEST

/* A hot set that was used a few times survives a scan ten times the cache. */
static void scan(void *arg)
{
	struct cache_read rd;
	struct cache_stats st;
	enum { HOT = 300 };
	for (int round = 0; round < 4; round++)
		for (uint64_t i = 0; i < HOT; i++)
			ck_assert(rig_holds(&R, i * 4096, 4096, 0));
	for (uint64_t i = HOT; i < 4096; i++)
		ck_assert(rig_holds(&R, i * 4096, 4096, 0));
	cache_stats(R.cache, &st);
	ck_assert_uint_gt(st.evicted, 2000);
	int kept = 0;
	for (uint64_t i = 0; i < HOT; i++)
		if (cache_read_try(R.vol, i * 4096, 4096, &rd) == 0) {
			cache_read_done(R.vol, &rd);
			kept++;
		}
	ck_assert_int_gt(kept, HOT * 9 / 10);
}

START_TEST(a_scan_does_not_push_out_the_hot_set)
{
	run(scan, 512);
}
END_TEST

static void throttle_try(void *arg)
{
	struct cache_write w;
	int rc = 0, n = 0;
	while ((rc = cache_write_try_begin(R.vol, (uint64_t)n * 4096, 4096, &w)) == 0) {
		ck_assert_int_eq(cache_write_commit(R.vol, &w, false), 0);
		ck_assert_int_lt(++n, 200);
	}
	ck_assert_int_eq(rc, -EAGAIN);
	ck_assert_int_gt(n, 50);
	/* An aborted write gives its pages back and shows nothing. */
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	rig_write(&R, 0, 4096, 'k', false);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(cache_write_begin(R.vol, 0, 65536, &w), 0);
		memset(w.iov[0].iov_base, 'x', 4096);
		cache_write_abort(R.vol, &w);
	}
	ck_assert(rig_holds(&R, 0, 4096, 'k'));
}

START_TEST(try_gives_up_and_abort_undoes)
{
	run(throttle_try, 128);
}
END_TEST

/* All pages lent to writers, so no shard has one to evict: a write that finds none is told so. */
static void lend_all(void *arg)
{
	enum { LEN = 512 * 1024, WRITES = 2048 * 4096 / LEN };
	static struct cache_write w[WRITES + 1];
	int n = 0, rc;
	while ((rc = cache_write_try_begin(R.vol, (uint64_t)n * LEN, LEN, &w[n])) == 0)
		ck_assert_int_lt(++n, WRITES);
	ck_assert_int_eq(rc, -EAGAIN);
	ck_assert_int_gt(n, WRITES / 2);
	while (n--)
		cache_write_abort(R.vol, &w[n]);
	rig_write(&R, 0, LEN, 'a', false);
	ck_assert(rig_holds(&R, 0, LEN, 'a'));
}

START_TEST(a_cache_without_a_clean_page_evicts_nothing)
{
	run(lend_all, 2048);
}
END_TEST

/* Pinned pages keep their bytes though the page is written and evicted. */
static void pins(void *arg)
{
	struct cache_read rd;
	rig_write(&R, 0, 4096, 'a', false);
	ck_assert_int_eq(cache_read(R.vol, 0, 4096, &rd), 0);
	rig_write(&R, 0, 4096, 'b', false);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	for (uint64_t i = 1; i < 1000; i++)
		ck_assert(rig_holds(&R, i * 4096, 4096, 0));
	ck_assert_int_eq(*(char *)rd.iov[0].iov_base, 'a');
	cache_read_done(R.vol, &rd);
	ck_assert(rig_holds(&R, 0, 4096, 'b'));
}

START_TEST(pinned_pages_do_not_change)
{
	run(pins, 128);
}
END_TEST

/* A disk whose reads take their data at once and return late. */
static struct bdev slow;
static bool slow_reads;

static int slow_readv(struct bdev *b, const struct iovec *iov, int cnt, uint64_t off)
{
	bool late = slow_reads;
	slow_reads = false;
	int rc = bdev_readv(R.bdev, iov, cnt, off);
	if (late)
		env_sleep_ns(sim_env(R.sim), NS_PER_S);
	return rc;
}

static int slow_writev(struct bdev *b, const struct iovec *iov, int cnt, uint64_t off,
		       unsigned flags)
{
	return bdev_writev(R.bdev, iov, cnt, off, flags);
}

static int slow_flush(struct bdev *b)
{
	return bdev_flush(R.bdev);
}

static const struct bdev_ops slow_ops = {
    .readv = slow_readv, .writev = slow_writev, .flush = slow_flush};

static void read_late(void *arg)
{
	struct cache_read rd;
	ck_assert_int_eq(cache_read(R.vol, 0, 4096, &rd), 0);
	cache_read_done(R.vol, &rd);
}

/* While a read of a page is on its way, the page is written, destaged and evicted. */
static void stale(void *arg)
{
	struct cache_read rd;
	slow = *R.bdev;
	slow.ops = &slow_ops;
	ck_assert_int_eq(cache_vol_attach(R.cache, 2, &slow, &R.vol), 0);
	slow_reads = true;
	ck_assert_int_eq(task_start(read_late, NULL), 0);
	env_sleep_ns(sim_env(R.sim), 100 * NS_PER_MS);
	ck_assert(!slow_reads);
	rig_write(&R, 0, 4096, 'n', false);
	ck_assert_int_eq(cache_read_try(R.vol, 0, 4096, &rd), 0);
	cache_read_done(R.vol, &rd);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	for (uint64_t i = 1; i < 1000; i++)
		ck_assert(rig_holds(&R, i * 4096, 4096, 0));
	ck_assert_int_eq(cache_read_try(R.vol, 0, 4096, &rd), -EAGAIN);
	env_sleep_ns(sim_env(R.sim), 2 * NS_PER_S);
	ck_assert(rig_holds(&R, 0, 4096, 'n'));
}

START_TEST(a_late_read_does_not_bring_old_data_back)
{
	run(stale, 128);
}
END_TEST

/* ---- a disk that does not answer: the read is left behind, and comes back late ---- */

static struct iovec left_iov[256];
static int left_n, leave_reads;

static int left_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	int rc = bdev_readv(R.bdev, iov, n, off);
	if (!leave_reads)
		return rc;
	leave_reads--;
	ck_assert_int_le(n, 256);
	memcpy(left_iov, iov, (size_t)n * sizeof(*iov));
	left_n = n;
	cache_read_left(R.cache, iov, n);
	return leave_reads == 1 ? 0 : -ERR_LEFT; /* 0: the pool had it from elsewhere */
}

static int left_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	return bdev_writev(R.bdev, iov, n, off, flags);
}

static int left_flush(struct bdev *b)
{
	return bdev_flush(R.bdev);
}

static void left_close(struct bdev *b)
{
}

static const struct bdev_ops left_ops = {
    .readv = left_readv, .writev = left_writev, .flush = left_flush, .close = left_close};

/* What it writes to its pages meets nobody: all pages go round while it is on its way. */
static void left_behind(void *arg)
{
	struct cache_stats st, then;
	static struct bdev dev;
	dev = *R.bdev;
	dev.ops = &left_ops;
	ck_assert_int_eq(cache_vol_attach(R.cache, 2, &dev, &R.vol), 0);
	rig_write(&R, 0, 65536, 'a', false);
	rig_write(&R, MIB, 65536, 'b', false);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	ck_assert_int_eq(cache_discard(R.vol, 2 * MIB, 65536), 0);
	ck_assert_int_eq(cache_vol_detach(R.vol, false), 0);
	ck_assert_int_eq(cache_vol_attach(R.cache, 2, &dev, &R.vol), 0);
	cache_stats(R.cache, &st);
	leave_reads = 1;
	ck_assert(rig_holds(&R, 0, 65536, 'a'));
	ck_assert_int_eq(leave_reads, 0);
	ck_assert_int_eq(left_n, 16);
	for (uint64_t i = 0; i < 1000; i++) {
		for (int k = 0; k < left_n; k++)
			memset(left_iov[k].iov_base, 'x', 4096);
		ck_assert(rig_holds(&R, MIB, 65536, 'b'));
		ck_assert(rig_holds(&R, 3 * MIB + i % 256 * 4096, 4096, 0));
	}
	ck_assert(rig_holds(&R, 0, 65536, 'a'));
	cache_read_back(R.cache, left_iov, left_n);
	ck_assert_int_eq(cache_vol_detach(R.vol, false), 0);
	cache_stats(R.cache, &then);
	ck_assert_uint_eq(then.free, st.free);
	/* As often as it happens, whatever it ends with. */
	ck_assert_int_eq(cache_vol_attach(R.cache, 2, &dev, &R.vol), 0);
	leave_reads = 3;
	ck_assert(rig_holds(&R, MIB + 4096, 4096, 'b'));
	ck_assert_int_eq(leave_reads, 0);
	memset(left_iov[0].iov_base, 'x', 4096);
	ck_assert(rig_holds(&R, MIB + 4096, 4096, 'b'));
}

START_TEST(a_read_left_behind_meets_nobody)
{
	run(left_behind, 128);
}
END_TEST

static void detach_keeps(void *arg)
{
	rig_write(&R, 0, 65536, 'a', false);
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(cache_vol_detach(R.vol, false), -EIO);
	struct cache_stats st;
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.orphans, 16);
	ck_assert_uint_eq(st.dirty, 16);
	sim_disk_set_faults(R.disk, &(struct sim_disk_faults){.latency_max_ns = 1000});
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, R.bdev, &R.vol), 0);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.orphans, 0);
	ck_assert(rig_holds(&R, 0, 65536, 'a'));
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, R.bdev, &R.vol), -EEXIST);
	rig_write(&R, 0, 65536, 'b', false);
	ck_assert_int_eq(cache_vol_detach(R.vol, true), 0);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty + st.clean, 0);
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, R.bdev, &R.vol), 0);
	ck_assert(rig_holds(&R, 0, 65536, 0));
}

START_TEST(detach_keeps_or_drops)
{
	run(detach_keeps, 2048);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache");
	TCase *t = tcase_create("calls");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, what_is_written_is_read);
	tcase_add_test(t, ranges_are_checked);
	tcase_add_test(t, partial_pages_keep_masks);
	tcase_add_test(t, flush_and_fua_reach_the_disk);
	tcase_add_test(t, concurrent_fua_share_flushes);
	tcase_add_test(t, discarded_ranges_read_as_zeros);
	tcase_add_test(t, disk_errors_are_told_and_dirty_data_kept);
	tcase_add_test(t, idle_destage_writes_and_retries);
	tcase_add_test(t, large_blocks_back_off);
	tcase_add_test(t, destage_goes_by_how_much_is_dirty);
	tcase_add_test(t, sequential_reads_are_read_ahead);
	tcase_add_test(t, a_full_cache_slows_writers_and_loses_nothing);
	tcase_add_test(t, a_scan_does_not_push_out_the_hot_set);
	tcase_add_test(t, try_gives_up_and_abort_undoes);
	tcase_add_test(t, a_cache_without_a_clean_page_evicts_nothing);
	tcase_add_test(t, pinned_pages_do_not_change);
	tcase_add_test(t, a_late_read_does_not_bring_old_data_back);
	tcase_add_test(t, a_read_left_behind_meets_nobody);
	tcase_add_test(t, detach_keeps_or_drops);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
