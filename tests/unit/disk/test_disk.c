/* Disk labels: round trip, damage in every bit, torn rewriting, what must not be touched. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/disk/disk_label.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define SIZE (64 * 1024 * 1024ull + 1536)
#define LAST (64 * 1024 * 1024ull - 4096)

struct rig {
	struct sim *sim;
	struct sim_disk *sd;
	struct disk *d;
};

static void rig_init(struct rig *r)
{
	r->sim = sim_new(7);
	r->sd = sim_disk_new(r->sim, "d", SIZE);
	r->d = NULL;
}

static void rig_open(struct rig *r)
{
	ck_assert_int_eq(disk_open(&r->d, sim_env(r->sim), "d", sim_disk_open(r->sd), NULL), 0);
}

static void rig_close(struct rig *r)
{
	disk_close(r->d);
	r->d = NULL;
}

static struct disk_label sample(void)
{
	struct disk_label l = {.position = 3};
	memset(l.array_uuid, 0xa1, 16);
	memset(l.disk_uuid, 0xd2, 16);
	memset(l.pool_uuid, 0xb3, 16);
	return l;
}

static void label_it(struct rig *r)
{
	struct disk_label l = sample();
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_BLANK);
	ck_assert_int_eq(disk_write_label(r->d, &l), 0);
	ck_assert_int_eq(disk_state(r->d), DISK_ONLINE);
	rig_close(r);
}

static bool is_sample(const struct disk_label *l)
{
	struct disk_label s = sample();
	return l->position == 3 && l->size == 64 * 1024 * 1024ull && l->epoch == 1 &&
	       memcmp(l->array_uuid, s.array_uuid, 16) == 0 &&
	       memcmp(l->disk_uuid, s.disk_uuid, 16) == 0 &&
	       memcmp(l->pool_uuid, s.pool_uuid, 16) == 0;
}

#define RIG_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct rig r;                                                                      \
		rig_init(&r);                                                                      \
		ck_assert_int_eq(sim_run(r.sim, name##_task, &r), 0);                              \
		sim_free(r.sim);                                                                   \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

RIG_TEST(round_trip)
{
	struct rig *r = arg;
	label_it(r);
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_ONLINE);
	ck_assert(is_sample(disk_label(r->d)));
	ck_assert_uint_eq(disk_data_size(r->d), LAST - DISK_DATA_OFF);
	ck_assert_int_eq(disk_wipe(r->d), 0);
	rig_close(r);
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_BLANK);
	rig_close(r);
}

/* Any flipped bit of either copy is found, and the copy restored to what it was. */
RIG_TEST(every_bit)
{
	struct rig *r = arg;
	static const uint64_t at[2] = {0, LAST};
	uint8_t good[4096];
	label_it(r);
	for (unsigned copy = 0; copy < 2; copy++)
		for (unsigned bit = 0; bit < 4096 * 8; bit += bit < 88 * 8 ? 1 : 251) {
			uint8_t *b = sim_disk_bytes(r->sd) + at[copy];
			memcpy(good, b, 4096);
			b[bit / 8] ^= (uint8_t)(1 << bit % 8);
			sim_disk_bytes_changed(r->sd, at[copy], 4096);
			rig_open(r);
			ck_assert_int_eq(disk_state(r->d), DISK_ONLINE);
			ck_assert(is_sample(disk_label(r->d)));
			ck_assert_mem_ne(sim_disk_bytes(r->sd) + at[copy], good, 4096);
			ck_assert_int_eq(disk_repair_label(r->d), 0);
			ck_assert_mem_eq(sim_disk_bytes(r->sd) + at[copy], good, 4096);
			rig_close(r);
		}
}

RIG_TEST(both_damaged)
{
	struct rig *r = arg;
	char why[160];
	label_it(r);
	sim_disk_bytes(r->sd)[30] ^= 4;
	sim_disk_bytes(r->sd)[LAST + 50] ^= 4;
	sim_disk_bytes_changed(r->sd, 0, 4096);
	sim_disk_bytes_changed(r->sd, LAST, 4096);
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_FAILED);
	disk_reason(r->d, why);
	ck_assert_ptr_nonnull(strstr(why, "checksum"));
	struct disk_label l = sample();
	ck_assert_int_eq(disk_write_label(r->d, &l), -EIO);
	rig_close(r);
}

RIG_TEST(read_error_of_one_copy)
{
	struct rig *r = arg;
	label_it(r);
	sim_disk_bad_range(r->sd, 0, 4096);
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_ONLINE);
	ck_assert(is_sample(disk_label(r->d)));
	ck_assert_int_eq(disk_repair_label(r->d), 0);
	rig_close(r);
	uint8_t blk[4096];
	struct bdev *b = sim_disk_open(r->sd);
	ck_assert_int_eq(bdev_read(b, blk, 4096, 0), 0); /* written: readable again */
	bdev_close(b);
}

/* A newer version, in either copy, and other people's data are left alone. */
RIG_TEST(not_ours)
{
	struct rig *r = arg;
	static const uint64_t at[2] = {0, LAST};
	struct disk_label l = sample();
	for (unsigned copy = 0; copy < 2; copy++) {
		memset(sim_disk_bytes(r->sd), 0, SIZE);
		sim_disk_bytes_changed(r->sd, 0, SIZE);
		label_it(r);
		uint8_t *b = sim_disk_bytes(r->sd) + at[copy];
		le32_put(b + 12, DISK_LABEL_VERSION + 1);
		le32_put(b + 8, 0);
		le32_put(b + 8, crc32c(b, 4096));
		sim_disk_bytes_changed(r->sd, at[copy], 4096);
		rig_open(r);
		ck_assert_int_eq(disk_state(r->d), DISK_FOREIGN);
		ck_assert_int_eq(disk_write_label(r->d, &l), -ERR_FOREIGN);
		ck_assert_int_eq(disk_repair_label(r->d), 0);
		ck_assert_uint_eq(le32_get(b + 12), DISK_LABEL_VERSION + 1);
		uint8_t blk[4096] = {0};
		ck_assert_int_eq(bdev_write(disk_bdev(r->d), blk, 4096, 0, 0), -EIO);
		rig_close(r);
	}
	memset(sim_disk_bytes(r->sd), 0, SIZE);
	memcpy(sim_disk_bytes(r->sd) + 1080, "\x53\xef", 2); /* an ext4 superblock's magic */
	sim_disk_bytes_changed(r->sd, 0, SIZE);
	rig_open(r);
	ck_assert_int_eq(disk_state(r->d), DISK_FOREIGN);
	rig_close(r);
}

RIG_TEST(missing_and_small)
{
	struct rig *r = arg;
	char why[160];
	struct disk *d;
	ck_assert_int_eq(disk_open(&d, sim_env(r->sim), "x", NULL, "no such file"), 0);
	ck_assert_int_eq(disk_state(d), DISK_MISSING);
	disk_reason(d, why);
	ck_assert_str_eq(why, "no such file");
	ck_assert_int_eq(disk_wipe(d), -ENODEV);
	disk_close(d);
	struct sim_disk *small = sim_disk_new(r->sim, "small", DISK_SIZE_MIN - 4096);
	ck_assert_int_eq(disk_open(&d, sim_env(r->sim), "small", sim_disk_open(small), NULL), 0);
	ck_assert_int_eq(disk_state(d), DISK_FAILED);
	disk_close(d);
}

RIG_TEST(counts_and_fails)
{
	struct rig *r = arg;
	struct disk_stats st;
	uint8_t buf[8192] = {0};
	label_it(r);
	rig_open(r);
	struct bdev *b = disk_bdev(r->d);
	ck_assert_int_eq(bdev_write(b, buf, 8192, DISK_DATA_OFF, 0), 0);
	ck_assert_int_eq(bdev_read(b, buf, 4096, DISK_DATA_OFF), 0);
	sim_disk_bad_range(r->sd, DISK_DATA_OFF, 4096);
	ck_assert_int_ne(bdev_read(b, buf, 4096, DISK_DATA_OFF), 0);
	disk_stats(r->d, &st);
	ck_assert_uint_eq(st.reads, 2);
	ck_assert_uint_eq(st.read_errors, 1);
	ck_assert_uint_eq(st.writes, 1);
	ck_assert_uint_eq(st.write_bytes, 8192);
	ck_assert_uint_eq(st.in_flight, 0);
	disk_fail(r->d, "pulled");
	ck_assert_int_eq(disk_state(r->d), DISK_FAILED);
	ck_assert_int_eq(bdev_read(b, buf, 4096, DISK_DATA_OFF + 4096), -EIO);
	ck_assert_int_eq(bdev_flush(b), -EIO);
	rig_close(r);
}

struct relabel {
	struct rig *r;
	int rc;
};

static void relabel_task(void *arg)
{
	struct relabel *x = arg;
	struct disk_label l = sample();
	l.position = 9;
	rig_open(x->r);
	x->rc = disk_write_label(x->r->d, &l);
	rig_close(x->r);
}

static void look_task(void *arg)
{
	struct relabel *x = arg;
	rig_open(x->r);
	ck_assert_int_eq(disk_state(x->r->d), DISK_ONLINE);
	uint32_t p = disk_label(x->r->d)->position;
	ck_assert(p == 9 || (p == 3 && x->rc != 0));
	ck_assert_int_eq(disk_repair_label(x->r->d), 0);
	ck_assert_mem_eq(sim_disk_bytes(x->r->sd) + 24, sim_disk_bytes(x->r->sd) + LAST + 24, 64);
	rig_close(x->r);
}

static void label_task(void *arg)
{
	label_it(arg);
}

/* Power is lost at every write of a relabelling, with every kind of loss: old label or new. */
START_TEST(torn_relabel)
{
	for (uint64_t nth = 1; nth <= 3; nth++)
		for (unsigned seed = 0; seed < 40; seed++) {
			struct rig r;
			r.sim = sim_new(seed);
			r.sd = sim_disk_new(r.sim, "d", SIZE);
			struct relabel x = {.r = &r};
			ck_assert_int_eq(sim_run(r.sim, label_task, &r), 0);
			sim_power_off_at_write(r.sim, nth);
			ck_assert_int_eq(sim_run(r.sim, relabel_task, &x), 0);
			sim_run_for(r.sim, NS_PER_S);
			if (!sim_power_is_off(r.sim)) {
				sim_power_off_at_write(r.sim, 0);
				sim_power_off(r.sim);
			}
			sim_power_on(r.sim, seed % 3 == 0 ? SIM_LOSE_ALL : SIM_LOSE_RANDOM, 0);
			ck_assert_int_eq(sim_run(r.sim, look_task, &x), 0);
			sim_free(r.sim);
		}
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("disk");
	TCase *tc = tcase_create("disk");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, every_bit);
	tcase_add_test(tc, both_damaged);
	tcase_add_test(tc, read_error_of_one_copy);
	tcase_add_test(tc, not_ours);
	tcase_add_test(tc, missing_and_small);
	tcase_add_test(tc, counts_and_fails);
	tcase_add_test(tc, torn_relabel);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
