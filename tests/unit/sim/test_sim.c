/* The simulated world itself: time, determinism, what survives a power loss. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/sim_env.h"

static struct sim *s;
static struct sim_disk *d;
static struct bdev *b;

static void setup(void)
{
	s = sim_new(7);
	sim_power_keep(s);
	d = sim_disk_new(s, "disk0", 1 << 20);
	b = sim_disk_open(d);
}

static void teardown(void)
{
	bdev_close(b);
	sim_free(s);
}

static void fill(char *buf, char c)
{
	memset(buf, c, 4096);
}

static void write_one(uint64_t off, char c, unsigned flags)
{
	char buf[4096];
	fill(buf, c);
	ck_assert_int_eq(bdev_write(b, buf, sizeof(buf), off, flags), 0);
}

static void three_writes(void *arg)
{
	write_one(0, 'a', 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	write_one(4096, 'b', 0);
	write_one(8192, 'c', BDEV_FUA);
	write_one(12288, 'd', 0);
	sim_power_off(s);
	char buf[4096];
	ck_assert_int_eq(bdev_read(b, buf, sizeof(buf), 0), -EIO);
}

static char at(uint64_t off)
{
	return (char)sim_disk_bytes(d)[off];
}

START_TEST(power_loss_keeps_what_was_promised)
{
	ck_assert_int_eq(sim_run(s, three_writes, NULL), 0);
	ck_assert_uint_eq(sim_unstable_writes(s), 3);
	sim_power_on(s, SIM_LOSE_ALL, 0);
	ck_assert_int_eq(at(0), 'a');
	ck_assert_int_eq(at(4096), 0);
	ck_assert_int_eq(at(8192), 'c');
	ck_assert_int_eq(at(12288), 0);
	sim_power_off_again(s);
	sim_power_on(s, SIM_LOSE_NONE, 0);
	ck_assert_int_eq(at(4096), 'b');
	ck_assert_int_eq(at(12288), 'd');
	sim_power_off_again(s);
	sim_power_on(s, SIM_LOSE_SUBSET, 4);
	ck_assert_int_eq(at(4096), 0);
	ck_assert_int_eq(at(12288), 'd');
}
END_TEST

/* Completed, flushed by nothing; then one that the kill finds under way. */
static void two_writes(void *arg)
{
	char buf[4096];
	write_one(0, 'a', 0);
	sim_power_off_at_write(s, 1);
	fill(buf, 'b');
	ck_assert_int_eq(bdev_write(b, buf, sizeof(buf), 8192, 0), -EIO);
}

static void overwrite(void *arg)
{
	write_one(0, 'x', 0);
	ck_assert_int_eq(bdev_flush(b), 0);
}

START_TEST(a_kill_can_be_gone_back_to)
{
	unsigned there = 0, tries = 40;
	ck_assert_int_eq(sim_run(s, two_writes, NULL), 0);
	for (unsigned i = 0; i < tries; i++) {
		sim_power_on(s, SIM_KILL, 0);
		ck_assert_int_eq(at(0), 'a');
		there += at(8192) == 'b';
		ck_assert_int_eq(sim_run(s, overwrite, NULL), 0);
		ck_assert_int_eq(at(0), 'x');
		sim_power_off_again(s);
	}
	ck_assert(there > 0 && there < tries);
	sim_power_on(s, SIM_LOSE_ALL, 0); /* it was not stable */
	ck_assert_int_eq(at(0), 0);
	ck_assert_int_eq(at(8192), 0);
}
END_TEST

static void overwrite_after_flush(void *arg)
{
	write_one(0, 'a', 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	write_one(0, 'b', 0);
}

START_TEST(a_flush_covers_only_earlier_writes)
{
	ck_assert_int_eq(sim_run(s, overwrite_after_flush, NULL), 0);
	sim_power_off(s);
	sim_power_on(s, SIM_LOSE_ALL, 0);
	ck_assert_int_eq(at(0), 'a');
}
END_TEST

static void bad_range(void *arg)
{
	char buf[4096];
	sim_disk_bad_range(d, 4096, 4096);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 4096), -EIO);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 0), 0);
	write_one(4096, 'x', 0);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 4096), 0);
	ck_assert_int_eq(buf[0], 'x');
}

START_TEST(bad_sectors_heal_when_written)
{
	ck_assert_int_eq(sim_run(s, bad_range, NULL), 0);
}
END_TEST

static void copies(void *arg)
{
	char buf[4096];
	sim_disk_set_twin(d, sim_disk_new(s, "twin", 1 << 20));
	write_one(0, 'm', 0);
	sim_disk_bytes(d)[0] = 'X';
	ck_assert_int_eq(bdev_read_copy(b, buf, 4096, 0, 0), 0);
	ck_assert_int_eq(buf[0], 'X');
	ck_assert_int_eq(bdev_read_copy(b, buf, 4096, 0, 1), 0);
	ck_assert_int_eq(buf[0], 'm');
	ck_assert_int_eq(bdev_read_copy(b, buf, 4096, 0, 2), -ENOENT);
}

START_TEST(a_twin_is_another_copy)
{
	ck_assert_int_eq(sim_run(s, copies, NULL), 0);
}
END_TEST

static void sleeper(void *arg)
{
	env_sleep_ns(sim_env(s), *(uint64_t *)arg);
}

START_TEST(time_is_virtual)
{
	uint64_t t0 = env_now_ns(sim_env(s)), ns = 60 * NS_PER_S;
	ck_assert_int_eq(sim_run(s, sleeper, &ns), 0);
	ck_assert_uint_eq(env_now_ns(sim_env(s)) - t0, ns);
}
END_TEST

static void give_up(void *arg)
{
	struct waitq q;
	waitq_init(&q);
	ck_assert_int_eq(env_waitq_wait(sim_env(s), &q, NS_PER_S), -ETIMEDOUT);
	ck_assert(waitq_empty(&q));
}

START_TEST(waits_can_time_out)
{
	ck_assert_int_eq(sim_run(s, give_up, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sim");
	TCase *tc = tcase_create("sim");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, power_loss_keeps_what_was_promised);
	tcase_add_test(tc, a_kill_can_be_gone_back_to);
	tcase_add_test(tc, a_flush_covers_only_earlier_writes);
	tcase_add_test(tc, bad_sectors_heal_when_written);
	tcase_add_test(tc, a_twin_is_another_copy);
	tcase_add_test(tc, time_is_virtual);
	tcase_add_test(tc, waits_can_time_out);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
