/* The ledger: damaged frames, failing volumes, which of two states counts. */
#include "tests/unit/piv/ledger_rig.h"

/* ---- damage ---- */

/* The block of the ring's nth frame that counts, from the head back. */
static uint8_t *frame_at(struct ledger *l, unsigned ring, uint64_t back)
{
	const struct ring *r = &l->rings[ring];
	return sim_disk_bytes(disks[ring]) + r->off +
	       (uint64_t)r->where[(r->seq - back) % r->blocks] * PIV_BLOCK;
}

TASK_TEST(a_damaged_frame_is_told)
{
	struct ledger *l = open_on(true, false);
	write_some(l, 10);
	uint8_t *torn = frame_at(l, 0, 0), *middle = frame_at(l, 0, 4);
	ledger_abandon(l);
	damage(torn); /* as if it had never been finished */
	l = open_on(true, false);
	is(l, "record8", "value");
	is(l, "record9", NULL);
	ck_assert(!stats(l).unsure_main);
	ledger_abandon(l);
	damage(middle);
	ck_assert_int_eq(open_rc(true, false), -ERR_CORRUPT);
	ck_assert_int_eq(ledger_each(volumes[0], NULL, "nas1", count_one, NULL, NULL),
			 -ERR_CORRUPT);
	/* An empty backup is no state to go on with either. */
	ck_assert_int_eq(open_rc(true, true), -ERR_CORRUPT);
	struct ledger_opts o = opts(true, true);
	o.anew = true;
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	ck_assert_uint_eq(stats(l).records, 0);
	ck_assert(stats(l).unsure_main && !stats(l).unsure_backup);
	write_some(l, 3);
	ledger_abandon(l);
	l = open_on(true, true);
	ck_assert_uint_eq(stats(l).records, 3);
	ledger_abandon(l);
}

TASK_TEST(damage_is_healed_from_the_other_copy)
{
	struct ledger_opts o = opts(true, true);
	struct ledger *l;
	o.continuous = true;
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	write_some(l, 10);
	ck_assert(stats(l).both);
	uint8_t *middle = frame_at(l, 0, 4);
	ledger_abandon(l);
	damage(middle);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(ledger_open(&l, &o), 0);
		ck_assert_uint_eq(stats(l).records, 10);
		ck_assert_int_eq(stats(l).unsure_main, i == 0);
		ck_assert(stats(l).both && !stats(l).on_backup);
		ledger_abandon(l);
	}
}

/* ---- failing volumes ---- */

TASK_TEST(the_newer_volume_counts)
{
	struct ledger *l = open_on(true, true);
	ck_assert_int_eq(put(l, "a", "old"), 0);
	ck_assert_int_eq(put(l, "gone", "old"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	faults(0, 1000000, false);
	ck_assert_int_eq(put(l, "a", "new"), 0);
	ck_assert_int_eq(drop(l, "gone"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(stats(l).on_backup);
	ledger_abandon(l);
	/* The main volume can be read again, but takes no writes: its older state does not win. */
	l = open_on(true, true);
	ck_assert(stats(l).on_backup);
	is(l, "a", "new");
	is(l, "gone", NULL);
	ledger_abandon(l);
	/* And takes writes: all of it is there again. */
	faults(0, 0, false);
	l = open_on(true, true);
	ck_assert(!stats(l).on_backup);
	is(l, "a", "new");
	is(l, "gone", NULL);
	ck_assert_int_eq(put(l, "a", "newest"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ledger_abandon(l);
	faults(1, 0, true);
	l = open_on(true, true);
	is(l, "a", "newest");
	is(l, "gone", NULL);
	ck_assert(stats(l).unsure_backup);
	ledger_abandon(l);
}

/* The main volume was opened many times, then the backup once, alone. */
TASK_TEST(what_was_promised_last_counts)
{
	struct ledger *l = open_on(true, true);
	ledger_set_continuous(l, true);
	ck_assert_int_eq(put(l, "a", "on both"), 0);
	ck_assert_int_eq(ledger_close(l), 0);
	for (unsigned i = 0; i < 5; i++) {
		l = open_on(true, false);
		ck_assert_int_eq(put(l, "a", i % 2 ? "odd" : "even"), 0);
		ck_assert_int_eq(put(l, "b", i % 2 ? "odd" : "even"), 0);
		ck_assert_int_eq(ledger_close(l), 0);
	}
	l = open_on(false, true);
	is(l, "a", "on both");
	ck_assert_int_eq(put(l, "a", "last"), 0);
	ck_assert_int_eq(ledger_close(l), 0);
	l = open_on(true, true);
	is(l, "a", "last");
	is(l, "b", NULL);
	ledger_abandon(l);
}

/* ---- a filling that was not finished ---- */

static void before_filling_task(void *arg)
{
	static uint8_t v[8000];
	struct ledger *l = open_on(true, true);
	for (unsigned i = 0; i < 40; i++)
		ck_assert_int_eq(ledger_put(l, &i, sizeof(i), v, sizeof(v)), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	faults(0, 1000000, false);
	ck_assert_int_eq(put(l, "a", "on the backup"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(stats(l).on_backup);
	ledger_abandon(l);
	faults(0, 0, false);
}

static void filling_task(void *arg)
{
	ck_assert_int_ne(open_rc(true, true), 0); /* the end comes before the main volume has all */
}

/* The backup is lost meanwhile: what the main volume held before is what there is. */
static void after_filling_task(void *arg)
{
	struct ledger *l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, 40);
	ck_assert_int_eq(put(l, "a", "on the main one"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ledger_abandon(l);
	l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, 41);
	is(l, "a", "on the main one");
	ledger_abandon(l);
	/* Later than all that the backup has. */
	l = open_on(true, true);
	is(l, "a", "on the main one");
	ledger_abandon(l);
}

START_TEST(an_unfinished_filling_counts_for_nothing)
{
	ck_assert_int_eq(sim_run(sim, before_filling_task, NULL), 0);
	sim_power_off_at_write(sim, 4);
	ck_assert_int_eq(sim_run(sim, filling_task, NULL), 0);
	ck_assert(sim_power_is_off(sim));
	sim_run_for(sim, NS_PER_S);
	sim_power_on(sim, SIM_LOSE_ALL, 0);
	ck_assert_int_eq(sim_run(sim, after_filling_task, NULL), 0);
}
END_TEST

TASK_TEST(nothing_is_stable_where_nothing_can_be_written)
{
	struct ledger *l = open_on(true, true);
	ck_assert_int_eq(put(l, "a", "old"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	faults(0, 1000000, false);
	faults(1, 1000000, false);
	ck_assert_int_eq(put(l, "a", "new"), 0);
	ck_assert_int_eq(ledger_sync(l), -EIO);
	ck_assert_int_eq(ledger_sync(l), -EIO);
	ck_assert_int_eq(put(l, "a", "newer"), 0);
	ck_assert(stats(l).failing);
	faults(0, 0, false);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(!stats(l).failing && !stats(l).on_backup);
	ledger_abandon(l);
	faults(1, 0, false);
	l = open_on(true, true);
	is(l, "a", "newer");
	ledger_abandon(l);
	faults(0, 0, true);
	faults(1, 0, true);
	ck_assert_int_eq(open_rc(true, true), -EIO);
	ck_assert_int_eq(open_rc(false, false), -ENODEV);
}

TASK_TEST(continuous_mode_loses_neither)
{
	struct ledger_opts o = opts(true, true);
	struct ledger *l;
	o.continuous = true;
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	write_some(l, 5);
	ck_assert(stats(l).both);
	faults(1, 1000000, false);
	ck_assert_int_eq(put(l, "a", "1"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(!stats(l).both && !stats(l).on_backup);
	faults(1, 0, false);
	env_sleep_ns(sim_env(sim), 61 * NS_PER_S); /* and it is tried again */
	ck_assert_int_eq(put(l, "b", "2"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(stats(l).both);
	faults(0, 0, true);
	ck_assert_int_eq(put(l, "c", "3"), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(!stats(l).both && stats(l).on_backup);
	ledger_abandon(l);
	l = open_on(true, true);
	ck_assert_uint_eq(stats(l).records, 8);
	is(l, "c", "3");
	/* From one to both, and back, without a change. */
	faults(0, 0, false);
	ledger_set_continuous(l, true);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(stats(l).both);
	ledger_set_continuous(l, false);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert(!stats(l).both && !stats(l).on_backup);
	ledger_abandon(l);
	for (unsigned i = 0; i < 2; i++) {
		l = open_on(i == 0, i == 1);
		ck_assert_uint_eq(stats(l).records, 8);
		ledger_abandon(l);
	}
}

int main(void)
{
	Suite *suite = suite_create("ledger volumes");
	TCase *tc = tcase_create("ledger");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_damaged_frame_is_told);
	tcase_add_test(tc, damage_is_healed_from_the_other_copy);
	tcase_add_test(tc, the_newer_volume_counts);
	tcase_add_test(tc, what_was_promised_last_counts);
	tcase_add_test(tc, an_unfinished_filling_counts_for_nothing);
	tcase_add_test(tc, nothing_is_stable_where_nothing_can_be_written);
	tcase_add_test(tc, continuous_mode_loses_neither);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
