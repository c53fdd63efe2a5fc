/* The write-intent map: what is in it, what a resync and a returned disk cost by it, damage. */
#include "tests/unit/pool/rig.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/pool/pool_intent.h"
#include "runtime/err.h"
#include "runtime/log.h"

static const struct extent_run used[] = {{0, 40}};

static uint32_t in_map(struct rig *r)
{
	struct pool_stats st;
	raid_stats(r->p, &st);
	return st.intent;
}

static void put(struct rig *r, uint64_t off, uint8_t byte)
{
	uint8_t buf[4096];
	memset(buf, byte, sizeof(buf));
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, sizeof(buf), off, 0), 0);
}

static void is(struct rig *r, uint64_t off, uint8_t byte)
{
	uint8_t buf[4096];
	ck_assert_int_eq(bdev_read(raid_bdev(r->p), buf, sizeof(buf), off), 0);
	for (unsigned i = 0; i < sizeof(buf); i++)
		ck_assert_uint_eq(buf[i], byte);
}

static uint64_t bytes_read(struct rig *r)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < r->n; i++) {
		struct disk_stats st;
		disk_stats(r->d[i], &st);
		n += st.read_bytes;
	}
	return n;
}

/* The same disks as another process finds them. */
static void again(struct rig *r, const char *level, bool closed, unsigned out)
{
	bool is_out[NDISKS] = {0};
	struct raid_opts o = {.env = sim_env(r->sim),
			      .name = "p",
			      .level = level,
			      .chunk = 65536,
			      .extent_size = EXTENT,
			      .extents = raid_extents(r->p),
			      .disks = r->d,
			      .out = is_out,
			      .ndisks = r->n,
			      .lost = r->p->lost,
			      .arg = r};
	if (out < r->n)
		is_out[out] = true;
	raid_free(r->p);
	ck_assert_int_eq(raid_new(&r->p, &o), 0);
	ck_assert_int_eq(raid_load(r->p, closed), 0);
}

static void only_what_is_in_the_map(struct rig *r, const char *level)
{
	rig_junk = false;
	rig_open(r, level, 4, 65536);
	ck_assert_uint_eq(in_map(r), 0);
	put(r, 0, 1);
	put(r, 8192, 1);
	put(r, 21 * MIB, 2);
	ck_assert_uint_eq(in_map(r), 2);
	again(r, level, false, 9);
	ck_assert_uint_eq(in_map(r), 2);
	uint64_t before = bytes_read(r);
	raid_resync_need(r->p);
	raid_sweep_intent(r->p); /* nothing leaves before the resync */
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 2);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	uint64_t took = bytes_read(r) - before;
	ck_assert_uint_ge(took, 8 * MIB);
	ck_assert_uint_le(took, 2 * 8 * MIB + MIB); /* of 40 MiB and their copies */
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 0);
	again(r, level, false, 9);
	ck_assert_uint_eq(in_map(r), 0);
	is(r, 21 * MIB, 2);
	rig_close(r);
}

RIG_TEST(only_what_is_in_the_map_raid10)
{
	only_what_is_in_the_map(arg, "raid10");
}

RIG_TEST(only_what_is_in_the_map_raid5)
{
	only_what_is_in_the_map(arg, "raid5");
}

/* What is written between two sweeps stays for one more; a closed pool begins with an empty map. */
RIG_TEST(sweeps)
{
	struct rig *r = arg;
	rig_junk = false;
	rig_open(r, "raid1", 2, 65536);
	put(r, 0, 1);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 1);
	put(r, 4096, 1);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 1);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 0);
	put(r, 4096, 3);
	ck_assert_uint_eq(in_map(r), 1);
	again(r, "raid1", true, 9);
	ck_assert_uint_eq(in_map(r), 0);
	put(r, 8 * MIB, 1);
	again(r, "raid1", false, 9);
	ck_assert_uint_eq(in_map(r), 1); /* and not what stood there before */
	rig_close(r);
}

struct writer {
	struct rig *r;
	unsigned left;
	bool stop;
};

static void writer_task(void *arg)
{
	struct writer *w = arg;
	while (!w->stop) {
		uint64_t off = sim_random_below(w->r->sim, 40 * MIB / 4096) * 4096;
		put(w->r, off, 7);
		/* While it runs, a write's region is in the map; so it is right after it. */
		ck_assert_uint_gt(in_map(w->r), 0);
		if (sim_random_below(w->r->sim, 3) == 0)
			env_sleep_ns(sim_env(w->r->sim), 100000);
	}
	w->left--;
}

/* Sweeps and writers in each other's way: every write that was cut off stands in the map. */
static void sweeps_under_writers(struct rig *r, const char *level)
{
	struct writer w = {.r = r, .left = 6};
	struct extent_run all[] = {{0, 40}};
	rig_junk = false;
	rig_open(r, level, 4, 65536);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(task_start(writer_task, &w), 0);
	for (unsigned i = 0; i < 300; i++) {
		raid_sweep_intent(r->p);
		env_sleep_ns(sim_env(r->sim), sim_random_below(r->sim, 300000));
	}
	w.stop = true;
	while (w.left)
		env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	raid_resync_need(r->p);
	ck_assert_int_eq(raid_resync(r->p, all, 1), 0);
	rig_close(r);
}

RIG_TEST(sweeps_under_writers_raid10)
{
	sweeps_under_writers(arg, "raid10");
}

RIG_TEST(sweeps_under_writers_raid6)
{
	sweeps_under_writers(arg, "raid6");
}

/* A disk that was away gets what it missed, and nothing else. */
static void returned(struct rig *r, const char *level)
{
	struct disk_stats st;
	rig_junk = false;
	rig_open(r, level, 4, 65536);
	for (uint64_t off = 0; off < 40 * MIB; off += MIB)
		put(r, off, 4);
	raid_sweep_intent(r->p);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 0);
	again(r, level, true, 1); /* without disk 1 */
	put(r, 9 * MIB, 5);
	put(r, 30 * MIB, 6);
	raid_sweep_intent(r->p);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(in_map(r), 2); /* stays while a disk is out */
	again(r, level, true, 1);
	ck_assert_uint_eq(in_map(r), 2);
	disk_stats(r->d[1], &st);
	uint64_t before = st.write_bytes;
	ck_assert_int_eq(raid_fill_begin(r->p, 1, r->d[1]), 0);
	ck_assert_int_eq(raid_fill(r->p, 1, used, 1, true), 0);
	disk_stats(r->d[1], &st);
	ck_assert_uint_le(st.write_bytes - before, 9 * MIB);
	ck_assert_int_eq(raid_state(r->p), POOL_ONLINE);
	uint8_t buf[4096] = {0};
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, 4096, 39 * MIB + 8192, 0), 0);
	for (uint64_t off = 0; off < 40 * MIB; off += MIB)
		is(r, off, off == 9 * MIB ? 5 : off == 30 * MIB ? 6 : 4);
	rig_close(r);
}

RIG_TEST(returned_raid10)
{
	returned(arg, "raid10");
}

RIG_TEST(returned_raid5)
{
	returned(arg, "raid5");
}

static void flip(struct rig *r, unsigned disk, unsigned slot)
{
	sim_disk_bytes(r->sd[disk])[INTENT_OFF + slot * INTENT_BLOCK + 70] ^= 4;
	sim_disk_bytes_changed(r->sd[disk], INTENT_OFF, 2 * INTENT_BLOCK);
}

/* A map that does not hold is not believed: another copy is, or everything is in the map. */
RIG_TEST(damaged_maps)
{
	struct rig *r = arg;
	struct pool_stats st;
	rig_junk = false;
	rig_open(r, "raid1", 2, 65536);
	put(r, 0, 1);
	put(r, 20 * MIB, 1);
	flip(r, 0, 0);
	flip(r, 0, 1);
	again(r, "raid1", false, 9);
	ck_assert_uint_eq(in_map(r), 2);
	flip(r, 1, 0);
	flip(r, 1, 1);
	again(r, "raid1", false, 9);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.intent, st.regions);
	rig_close(r);
}

/* No disk takes the map: nothing is written either. */
RIG_TEST(no_map_no_write)
{
	struct rig *r = arg;
	uint8_t buf[4096] = {1};
	rig_junk = false;
	rig_open(r, "raid1", 2, 65536);
	for (unsigned i = 0; i < 2; i++)
		sim_disk_set_faults(r->sd[i], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_ne(bdev_write(raid_bdev(r->p), buf, 4096, 0, 0), 0);
	for (unsigned i = 0; i < 2; i++)
		sim_disk_set_faults(r->sd[i], &(struct sim_disk_faults){0});
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, 4096, 0, 0), 0);
	ck_assert_uint_eq(in_map(r), 1);
	rig_close(r);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("intent");
	TCase *tc = tcase_create("intent");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, only_what_is_in_the_map_raid10);
	tcase_add_test(tc, only_what_is_in_the_map_raid5);
	tcase_add_test(tc, sweeps);
	tcase_add_test(tc, sweeps_under_writers_raid10);
	tcase_add_test(tc, sweeps_under_writers_raid6);
	tcase_add_test(tc, returned_raid10);
	tcase_add_test(tc, returned_raid5);
	tcase_add_test(tc, damaged_maps);
	tcase_add_test(tc, no_map_no_write);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
