/* Nodes of a simulated world: what a kill leaves, what a stop holds, who has a disk. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/sim_node.h"

static struct sim *s;
static struct sim_disk *d;
static struct sim_node *a, *b;
static struct sim_memory *memory;
static struct bdev *of_a, *of_b;
static unsigned steps;
static int rc_a;

static void open_a(void *arg)
{
	ck_assert_int_eq(env_disk_open(sim_node_env(a), "disk0", 0, &of_a), 0);
}

static void open_b(void *arg)
{
	ck_assert_int_eq(env_disk_open(sim_node_env(b), "disk0", 0, &of_b), 0);
}

static void setup(void)
{
	s = sim_new(7);
	d = sim_disk_new(s, "disk0", 1 << 20);
	a = sim_node_new(s, "a");
	b = sim_node_new(s, "b");
	memory = sim_memory_new(s, "shared", 8192);
	steps = 0;
	ck_assert_int_eq(sim_node_run(a, open_a, NULL), 0);
	ck_assert_int_eq(sim_node_run(b, open_b, NULL), 0);
}

static void teardown(void)
{
	bdev_close(of_a);
	bdev_close(of_b);
	sim_free(s);
}

static void store_and_die(void *arg)
{
	char *view = sim_memory_map(memory, a);
	ck_assert_ptr_eq(sim_node_current(s), a);
	view[0] = 'x';
	sim_node_kill(a);
	view[0] = 'y'; /* nobody sees it */
	ck_assert_int_eq(view[0], 'y');
}

START_TEST(what_a_killed_node_stores_is_not_seen)
{
	char *other = sim_memory_map(memory, b);
	ck_assert_int_eq(sim_node_run(a, store_and_die, NULL), 0);
	ck_assert_int_eq(other[0], 'x');
	sim_node_reborn(a);
	ck_assert_int_eq(((char *)sim_memory_map(memory, a))[0], 'x');
	sim_memory_clear(memory);
	ck_assert_int_eq(other[0], 0);
}
END_TEST

static void write_a(void *arg)
{
	static char buf[4096];
	memset(buf, 'a', sizeof(buf));
	rc_a = bdev_write(of_a, buf, sizeof(buf), 0, 0);
	steps++;
}

START_TEST(a_late_write_of_the_dead_holds_the_claim)
{
	ck_assert_int_eq(bdev_claim(of_a, true), 0);
	ck_assert_int_eq(bdev_claim(of_b, true), -EBUSY);
	sim_node_start(a, write_a, NULL);
	sim_run_for(s, 1);
	sim_node_kill(a);
	ck_assert_int_eq(bdev_claim(of_b, true), -EBUSY);
	sim_run_for(s, NS_PER_S);
	ck_assert_uint_eq(steps, 1);
	ck_assert_int_eq(rc_a, -EIO);
	ck_assert_int_eq(bdev_claim(of_b, true), 0);
}
END_TEST

static void sleep_a(void *arg)
{
	env_sleep_ns(sim_node_env(a), NS_PER_MS);
	ck_assert_ptr_eq(sim_node_current(s), a);
	steps++;
}

START_TEST(a_stopped_node_does_nothing)
{
	sim_node_start(a, sleep_a, NULL);
	sim_run_for(s, 1);
	sim_node_stop(a);
	sim_run_for(s, NS_PER_S);
	ck_assert_uint_eq(steps, 0);
	sim_node_continue(a);
	sim_run_for(s, 1);
	ck_assert_uint_eq(steps, 1);
}
END_TEST

START_TEST(a_killed_node_may_be_born_again)
{
	sim_node_start(a, sleep_a, NULL);
	sim_run_for(s, 1);
	sim_node_stop(a);
	sim_node_kill(a);
	ck_assert(sim_node_dead(a));
	ck_assert_uint_eq(sim_node_tasks(a), 1);
	sim_run_for(s, NS_PER_S);
	ck_assert_uint_eq(sim_node_tasks(a), 0);
	sim_node_reborn(a);
	rc_a = 0;
	ck_assert_int_eq(sim_node_run(a, write_a, NULL), 0);
	ck_assert_int_eq(rc_a, -EIO); /* a handle of the life before */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("node");
	TCase *tc = tcase_create("node");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_a_killed_node_stores_is_not_seen);
	tcase_add_test(tc, a_late_write_of_the_dead_holds_the_claim);
	tcase_add_test(tc, a_stopped_node_does_nothing);
	tcase_add_test(tc, a_killed_node_may_be_born_again);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
