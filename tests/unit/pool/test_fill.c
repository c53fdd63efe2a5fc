/* Rebuilding: a lost disk's place is filled while the pool is in use, and then another disk is
 * lost. */
#include "tests/unit/pool/rig.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/err.h"
#include "runtime/log.h"

#define SPAN (8 * MIB)

static const struct {
	const char *level;
	unsigned n;
	uint32_t chunk;
	unsigned lost, other; /* lost after the fill: the data must come from the new disk */
} shapes[] = {{"raid1", 2, 65536, 0, 1}, {"raid1", 3, 65536, 1, 0},  {"raid10", 4, 65536, 3, 2},
	      {"raid5", 3, 65536, 1, 2}, {"raid5", 4, 262144, 0, 3}, {"raid5", 6, 16384, 5, 1},
	      {"raid6", 4, 65536, 2, 0}, {"raid6", 6, 32768, 0, 4}};
static unsigned shape;

struct user {
	struct rig *r;
	uint8_t *model;
	bool stop, done;
	uint64_t first, span; /* of the pool's space */
	unsigned writes;
};

static void user_task(void *arg)
{
	struct user *u = arg;
	struct bdev *b = raid_bdev(u->r->p);
	uint8_t *buf = malloc(256 * 1024);
	while (!u->stop) {
		uint64_t off = sim_random_below(u->r->sim, u->span / 512) * 512;
		size_t len = (1 + sim_random_below(u->r->sim, 400)) * 512;
		len = MIN(len, u->span - off);
		memset(buf, (int)(u->writes++ % 251 + 1), len);
		memcpy(u->model + off, buf, len);
		ck_assert_int_eq(bdev_write(b, buf, len, u->first + off, 0), 0);
		ck_assert_int_eq(bdev_read(b, buf, len, u->first + off), 0);
		ck_assert_mem_eq(buf, u->model + off, len);
		env_sleep_ns(sim_env(u->r->sim), 100000);
	}
	free(buf);
	u->done = true;
}

static struct disk *spare_disk(struct rig *r, const char *name, uint64_t size)
{
	struct sim_disk *sd = sim_disk_new(r->sim, name, size);
	struct disk *d;
	struct disk_label l = {.position = 7};
	memset(sim_disk_bytes(sd) + DISK_DATA_OFF, 0xd7, size - DISK_DATA_OFF);
	sim_disk_bytes_changed(sd, DISK_DATA_OFF, size - DISK_DATA_OFF);
	ck_assert_int_eq(disk_open(&d, sim_env(r->sim), name, sim_disk_open(sd), NULL), 0);
	ck_assert_int_eq(disk_write_label(d, &l), 0);
	return d;
}

static void lose(struct rig *r, unsigned i)
{
	uint8_t buf[4096] = {0};
	sim_disk_set_faults(r->sd[i], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), 30 * MIB, 4 * MIB), 0);
	ck_assert_int_eq(bdev_read(raid_bdev(r->p), buf, 4096, 0), 0);
	ck_assert(!raid_disk_in(r->p, i));
}

/* Space that comes into use while a fill is under way: zeroed, then written. */
static void take_new_space(struct user *fresh)
{
	ck_assert_int_eq(bdev_discard(raid_bdev(fresh->r->p), fresh->first, fresh->span), 0);
	memset(fresh->model, 0, fresh->span);
	ck_assert_int_eq(task_start(user_task, fresh), 0);
}

static void check(struct user *u)
{
	uint8_t *buf = malloc(u->span);
	for (unsigned copy = 0; copy < raid_copies(u->r->p); copy++) {
		int rc = bdev_read_copy(raid_bdev(u->r->p), buf, u->span, u->first, copy);
		if (rc == -ENODEV)
			continue;
		ck_assert_int_eq(rc, 0);
		ck_assert_mem_eq(buf, u->model, u->span);
	}
	ck_assert_int_eq(bdev_read(raid_bdev(u->r->p), buf, u->span, u->first), 0);
	ck_assert_mem_eq(buf, u->model, u->span);
	free(buf);
}

static void end_user(struct user *u)
{
	u->stop = true;
	while (!u->done)
		env_sleep_ns(sim_env(u->r->sim), NS_PER_MS);
	u->stop = u->done = false;
}

static void fill_task(void *arg)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 5}, {7, 1}};
	struct user u = {.r = r, .model = calloc(1, SPAN), .span = SPAN};
	struct user fresh = {
	    .r = r, .model = malloc(SPAN), .first = 20 * MIB + 4096 * 3, .span = 3 * MIB};
	struct pool_stats st;
	uint64_t done, total;
	rig_junk = true;
	rig_open(r, shapes[shape].level, shapes[shape].n, shapes[shape].chunk);
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), 0, SPAN), 0);
	u.span = 5 * MIB; /* of the used extents; 5 and 6 are nobody's, 7 holds zeros */
	lose(r, shapes[shape].lost);
	ck_assert_int_eq(task_start(user_task, &u), 0);
	struct disk *d = spare_disk(r, "spare", DISK_SIZE);
	ck_assert_int_eq(raid_fill_begin(r->p, shapes[shape].other, d), -EBUSY);
	ck_assert_int_eq(raid_fill_begin(r->p, shapes[shape].lost, d), 0);
	ck_assert_int_eq(raid_fill_begin(r->p, shapes[shape].lost, d), -EBUSY);
	ck_assert(raid_filling(r->p, shapes[shape].lost));
	ck_assert_int_eq(raid_state(r->p), POOL_DEGRADED);
	take_new_space(&fresh);
	ck_assert_int_eq(raid_fill(r->p, shapes[shape].lost, used, 2, false), 0);
	ck_assert_int_eq(raid_state(r->p), POOL_ONLINE);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.filled, 1);
	raid_fill_progress(r->p, &done, &total);
	ck_assert_uint_gt(total, 0);
	end_user(&u);
	end_user(&fresh);
	ck_assert_uint_gt(u.writes, 20);
	check(&u);
	check(&fresh);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	lose(r, shapes[shape].other);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	check(&u);
	check(&fresh);
	ck_assert_uint_eq(r->lost_calls, 2);
	free(u.model);
	free(fresh.model);
	rig_close(r);
	disk_close(d);
}

START_TEST(filled_under_use)
{
	struct rig r = {.sim = sim_new(41)};
	shape = (unsigned)_i;
	ck_assert_int_eq(sim_run(r.sim, fill_task, &r), 0);
	sim_run_for(r.sim, NS_PER_S);
	sim_free(r.sim);
}
END_TEST

/* The new disk fails, is too small, or nobody can read what belongs there: told; users notice
 * nothing. */
static void refused(struct rig *r, const char *level, unsigned n)
{
	struct extent_run used[] = {{0, 8}};
	uint8_t buf[4096] = {9};
	rig_junk = false;
	rig_open(r, level, n, 65536);
	lose(r, 1);
	struct disk *small = spare_disk(r, "small", DISK_SIZE - 3 * MIB);
	struct disk *dying = spare_disk(r, "dying", DISK_SIZE);
	struct disk *good = spare_disk(r, "good", DISK_SIZE);
	ck_assert_int_eq(raid_fill_begin(r->p, 1, small), -ENOSPC);
	sim_disk_set_faults(sim_disk_find(r->sim, "dying"),
			    &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(raid_fill_begin(r->p, 1, dying), 0);
	ck_assert_int_ne(raid_fill(r->p, 1, used, 1, false), 0);
	ck_assert(!raid_filling(r->p, 1));
	ck_assert_int_eq(disk_state(dying), DISK_FAILED);
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, 4096, 0, 0), 0);
	/* The first disk has a bad block that the lost one would have mended. */
	sim_disk_bad_range(r->sd[0], DISK_DATA_OFF + MIB, 4096);
	ck_assert_int_eq(raid_fill_begin(r->p, 1, good), 0);
	ck_assert_int_eq(raid_fill(r->p, 1, used, 1, false), -ERR_MEDIUM);
	ck_assert(!raid_filling(r->p, 1) && !raid_disk_in(r->p, 1));
	/* Written over, it is well. */
	for (unsigned i = 0; i < 8; i++) {
		static uint8_t zeros[MIB];
		ck_assert_int_eq(bdev_write(raid_bdev(r->p), zeros, MIB, i * MIB, 0), 0);
	}
	ck_assert_int_eq(raid_fill_begin(r->p, 1, good), 0);
	raid_resync_stop(r->p);
	ck_assert_int_eq(raid_fill(r->p, 1, used, 1, false), -ERR_SHUTDOWN);
	rig_close(r);
	disk_close(small);
	disk_close(dying);
	disk_close(good);
}

RIG_TEST(refused_raid1)
{
	refused(arg, "raid1", 2);
}

RIG_TEST(refused_raid5)
{
	refused(arg, "raid5", 3);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("fill");
	TCase *tc = tcase_create("fill");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, refused_raid1);
	tcase_add_test(tc, refused_raid5);
	tcase_add_loop_test(tc, filled_under_use, 0, (int)ARRAY_LEN(shapes));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
