/* Pools with checksums as the array has them: a disk that lies under a volume, hosts' errors where
 * nothing is right, closing, killing, growing, scrubbing. */
#include "tests/unit/core/core_rig.h"
#include "runtime/bdev.h"
#include "runtime/task.h"

#define MIB  (1024 * 1024ull)
#define SPAN (12 * MIB) /* more than the cache has */

static void sums_pool(struct rig *r, const char *level, unsigned n)
{
	char why[CORE_WHY_LEN] = "";
	ck_assert_msg(core_pool_create(r->core, "p", level, 65536, true, r->paths, n, why) == 0,
		      "%s", why);
}

static struct core_pool *the_pool(struct rig *r)
{
	return core_pool_find(r->core, "p");
}

static struct pool_stats stats(struct rig *r)
{
	struct pool_stats st;
	pool_stats(the_pool(r)->pool, &st);
	return st;
}

static void wait_quiet(struct rig *r)
{
	for (unsigned i = 0; i < 600; i++) {
		struct core_pool *cp = the_pool(r);
		if (!pool_resync_needed(cp->pool) && !cp->resyncing && !cp->scrubbing)
			return;
		env_sleep_ns(sim_env(r->sim), 100 * NS_PER_MS);
	}
	ck_abort_msg("the pool is still at work");
}

static void write_all(struct volume *v, uint64_t seed)
{
	for (uint64_t off = 0; off < SPAN; off += MIB)
		ck_assert_int_eq(rig_write(v, off, MIB, seed, false), 0);
	ck_assert_int_eq(volume_flush(v, 0, SPAN), 0);
}

static int check_all(struct volume *v, uint64_t seed)
{
	int rc = 0;
	for (uint64_t off = 0; off < SPAN && rc == 0; off += MIB)
		rc = rig_check(v, off, MIB, seed);
	return rc;
}

/* All that a disk has of the pool's data becomes something else. */
static void lie(struct rig *r, unsigned d, uint64_t bytes)
{
	uint64_t off = pool_data_off(the_pool(r)->pool, d);
	memset(sim_disk_bytes(r->disk[d]) + off, 0x3c, bytes);
	sim_disk_bytes_changed(r->disk[d], off, bytes);
}

static void closed(struct rig *r, struct volume *v)
{
	core_volume_put(v);
	rig_close(r);
}

static struct volume *opened(struct rig *r)
{
	rig_open_ok(r);
	const Isthmus__Volume *mv = meta_volume_find(meta_get(core_meta(r->core)), "v");
	ck_assert_ptr_nonnull(mv);
	return core_volume_get(r->core, mv->id);
}

static void wrong_disk(struct rig *r, const char *level, unsigned n, bool right)
{
	struct disk_stats st;
	rig_open_ok(r);
	sums_pool(r, level, n);
	struct volume *v = rig_volume(r, "p", "v", SPAN);
	write_all(v, 5);
	ck_assert_int_eq(rig_write(v, MIB + 512, 1024, 6, true), 0); /* parts of a page */
	ck_assert_int_eq(rig_write(v, MIB + 512, 1024, 5, true), 0);
	closed(r, v);
	v = opened(r);
	ck_assert(pool_checksums(the_pool(r)->pool));
	ck_assert(!pool_resync_needed(the_pool(r)->pool));
	lie(r, 1, 16 * MIB);
	ck_assert_int_eq(check_all(v, 5), right ? 0 : -ERR_MEDIUM);
	disk_stats(core_disk_find(r->core, "d1"), &st);
	ck_assert_uint_gt(st.wrong_data, 0);
	disk_stats(core_disk_find(r->core, "d0"), &st);
	ck_assert_uint_eq(st.wrong_data, 0);
	if (!right) { /* what is written is right again */
		write_all(v, 9);
		ck_assert_int_eq(check_all(v, 9), 0);
	}
	char why[CORE_WHY_LEN] = "";
	ck_assert_int_eq(core_pool_scrub(r->core, "p", why), 0);
	wait_quiet(r);
	uint64_t fixed = stats(r).resync_fixed;
	ck_assert_int_eq(core_pool_scrub(r->core, "p", why), 0);
	wait_quiet(r);
	ck_assert_uint_eq(stats(r).resync_fixed, fixed);
	closed(r, v);
	v = opened(r);
	ck_assert_int_eq(check_all(v, right ? 5 : 9), 0);
	ck_assert_uint_eq(stats(r).wrong_sums, 0);
	closed(r, v);
}

RIG_TEST(wrong_disk_raid0)
{
	wrong_disk(arg, "raid0", 2, false);
}

RIG_TEST(wrong_disk_raid1)
{
	wrong_disk(arg, "raid1", 2, true);
}

RIG_TEST(wrong_disk_raid10)
{
	wrong_disk(arg, "raid10", 4, true);
}

RIG_TEST(wrong_disk_raid5)
{
	wrong_disk(arg, "raid5", 3, true);
}

RIG_TEST(wrong_disk_raid6)
{
	wrong_disk(arg, "raid6", 4, true);
}

/* Killed with its cache kept: sums that were in its memory are made new, also of a single copy, and
 * from then on they hold. */
static void killed(struct rig *r, const char *level, unsigned n)
{
	r->battery = true;
	rig_open_ok(r);
	sums_pool(r, level, n);
	struct volume *v = rig_volume(r, "p", "v", SPAN);
	write_all(v, 1);
	for (unsigned i = 0; i < 3; i++) /* quiet: nothing is in the map */
		pool_sweep_intent(the_pool(r)->pool);
	ck_assert_uint_eq(stats(r).intent, 0);
	for (uint64_t off = 0; off < 4 * MIB; off += 8192)
		ck_assert_int_eq(rig_write(v, off, 4096, 2, true), 0);
	core_volume_put(v);
	core_abandon(r->core);
	v = opened(r);
	ck_assert(pool_resync_needed(the_pool(r)->pool));
	for (uint64_t off = 0; off < 4 * MIB; off += 8192) {
		ck_assert_int_eq(rig_check(v, off, 4096, 2), 0);
		ck_assert_int_eq(rig_check(v, off + 4096, 4096, 1), 0);
	}
	wait_quiet(r);
	ck_assert_uint_eq(stats(r).wrong_sums, 0);
	for (uint64_t off = 4 * MIB; off < SPAN; off += MIB)
		ck_assert_int_eq(rig_check(v, off, MIB, 1), 0);
	ck_assert_uint_eq(stats(r).wrong_sums, 0);
	lie(r, 0, 8 * MIB);
	char why[CORE_WHY_LEN] = "";
	ck_assert_int_eq(core_pool_scrub(r->core, "p", why), 0);
	wait_quiet(r);
	ck_assert_uint_gt(stats(r).wrong_sums, 40);
	ck_assert(n > 1 ? stats(r).unmended == 0 : stats(r).unmended > 100);
	closed(r, v);
}

RIG_TEST(killed_single)
{
	killed(arg, "single", 1);
}

RIG_TEST(killed_raid1)
{
	killed(arg, "raid1", 2);
}

RIG_TEST(killed_raid5)
{
	killed(arg, "raid5", 4);
}

/* A pool without stays so, and one with them grows with them. */
RIG_TEST(option_stays)
{
	struct rig *r = arg;
	char why[CORE_WHY_LEN] = "";
	rig_open_ok(r);
	sums_pool(r, "single", 1);
	rig_pool(r, "q", "single", 1, 1);
	uint64_t with = core_pool_free_bytes(r->core, "p"),
		 without = core_pool_free_bytes(r->core, "q");
	ck_assert_uint_le(with, without);
	ck_assert_int_eq(core_pool_scrub(r->core, "q", why), -EINVAL);
	ck_assert_int_eq(core_pool_grow(r->core, "p", r->paths + 2, 1, why), 0);
	ck_assert_uint_eq(core_pool_free_bytes(r->core, "p"), 2 * with);
	struct volume *v = rig_volume(r, "p", "v", 2 * with);
	ck_assert_int_eq(rig_write(v, with + MIB, MIB, 4, true), 0);
	closed(r, v);
	v = opened(r);
	ck_assert(pool_checksums(the_pool(r)->pool));
	ck_assert(!pool_checksums(core_pool_find(r->core, "q")->pool));
	uint64_t off = pool_data_off(the_pool(r)->pool, 1);
	memset(sim_disk_bytes(r->disk[2]) + off + MIB, 1, 4096);
	sim_disk_bytes_changed(r->disk[2], off + MIB, 4096);
	ck_assert_int_eq(rig_check(v, with + MIB, 4096, 4), -ERR_MEDIUM);
	ck_assert_int_eq(rig_check(v, with + MIB + 65536, 4096, 4), 0);
	closed(r, v);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_sums");
	TCase *tc = tcase_create("core_sums");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, wrong_disk_raid0);
	tcase_add_test(tc, wrong_disk_raid1);
	tcase_add_test(tc, wrong_disk_raid10);
	tcase_add_test(tc, wrong_disk_raid5);
	tcase_add_test(tc, wrong_disk_raid6);
	tcase_add_test(tc, killed_single);
	tcase_add_test(tc, killed_raid1);
	tcase_add_test(tc, killed_raid5);
	tcase_add_test(tc, option_stays);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
