/*
 * Crash consistency: what a power loss or a kill leaves is looked at in many ways (crash.h), of
 * random operations by several workers, and at every write of what programs are known to do
 * (recorded.c).
 *
 * FS_CRASH_STATES: at least so many (what CI does, about 1000), FS_CRASH_FIRST: the first seed (0).
 * Says how many states it has looked at.
 */
#include "tests/unit/fs/recorded.h"

#define STATES_A_ROUND 1200 /* at least */

static uint64_t first;

static struct crash *crash_new(uint64_t seed, int workers)
{
	struct crash *c = calloc(1, sizeof(*c));
	c->seed = first + seed;
	c->workers = workers;
	return c;
}

static void power_lost(struct crash *c, uint64_t most, uint64_t random)
{
	crash_start(c);
	crash_run(c, 1 + crash_rnd(c, most));
	crash_outcomes(c, random);
	crash_free(c);
}

START_TEST(all_stable)
{
	struct crash *c = crash_new(1000 + (uint64_t)_i, _i % 2 ? 4 : 1);
	c->unknown = _i % 4 == 3;
	power_lost(c, _i % 2 ? 1000 : 300, 8);
}
END_TEST

START_TEST(unstable_too)
{
	struct crash *c = crash_new(2000 + (uint64_t)_i, 3);
	c->mixed = true;
	c->unknown = _i % 3 == 2;
	power_lost(c, 1000, 8);
}
END_TEST

START_TEST(long_runs_with_checkpoints)
{
	struct crash *c = crash_new(3000 + (uint64_t)_i, 4);
	c->mixed = true;
	power_lost(c, 6000, 8);
}
END_TEST

START_TEST(grows_while_in_use)
{
	struct crash *c = crash_new(4000 + (uint64_t)_i, 1 + _i % 3);
	c->mixed = c->grows = true;
	power_lost(c, 40 + (uint64_t)_i * 40 % 400, 12);
}
END_TEST

/* No room, quotas that are used up. */
START_TEST(room_runs_out)
{
	struct crash *c = crash_new(5000 + (uint64_t)_i, 2 + _i % 2);
	c->mixed = c->tight = true;
	power_lost(c, 4000, 8);
}
END_TEST

START_TEST(head_killed)
{
	struct crash *c = crash_new(6000 + (uint64_t)_i, _i % 2 ? 1 : 4);
	c->mixed = c->kill = true;
	c->size = 16 << 20;
	crash_start(c);
	crash_run(c, _i % 8 == 7 ? 1500 : 1 + (uint64_t)_i * 7 % 60);
	crash_kills(c, 6);
	crash_free(c);
}
END_TEST

/* While the next mount replays soft records, the power goes. */
START_TEST(head_killed_then_power_lost)
{
	struct crash *c = crash_new(7000 + (uint64_t)_i, 3);
	c->mixed = true;
	crash_start(c);
	crash_run(c, 1 + crash_rnd(c, _i % 2 ? 100 : 1500));
	crash_again(c, SIM_KILL, 0, 1 + crash_rnd(c, 12));
	crash_outcomes(c, 6);
	crash_free(c);
}
END_TEST

/* ---- recorded ---- */

static const struct recorded *playing;

static void play(void *arg)
{
	struct worker *w = arg;
	recorded_play(w, playing);
	w->crash->running--;
}

static struct crash *play_at(uint64_t seed, bool kill, uint64_t nth)
{
	struct crash *c = crash_new(seed, 1);
	c->mixed = true;
	c->kill = kill;
	c->size = 8 << 20;
	c->work = play;
	crash_start(c);
	crash_run(c, nth);
	return c;
}

/* How many writes it takes. */
static uint64_t play_length(uint64_t seed)
{
	struct crash *c = crash_new(seed, 1);
	c->mixed = true;
	c->size = 8 << 20;
	c->work = play;
	crash_start(c);
	uint64_t before = sim_writes_issued(c->w.sim);
	crash_run(c, 0);
	uint64_t n = sim_writes_issued(c->w.sim) - before;
	crash_outcomes(c, 2);
	crash_free(c);
	return n;
}

/* CI takes some of the writes, another part each round; a whole round takes them all. */
START_TEST(at_every_write_of_what_programs_do)
{
	playing = &recorded[(unsigned)_i % recorded_count];
	unsigned round = (unsigned)_i / recorded_count, stride = 24;
	uint64_t seed = 8000 + (uint64_t)_i, n = play_length(seed);
	ck_assert_uint_gt(n, 20);
	for (uint64_t nth = 1 + round % stride; nth <= n; nth += stride) {
		struct crash *c = play_at(seed, false, nth);
		crash_outcomes(c, 3);
		crash_free(c);
		c = play_at(seed, true, nth);
		crash_kills(c, 2);
		crash_free(c);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_crash");
	TCase *t = tcase_create("crash");
	const char *more = getenv("FS_CRASH_STATES"), *from = getenv("FS_CRASH_FIRST");
	uint64_t want = more ? strtoull(more, NULL, 10) : 0;
	int n = 1 + (int)(want / STATES_A_ROUND);
	first = from ? strtoull(from, NULL, 10) : 0;
	crash_count_init();
	keep_memory();
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, all_stable, 0, 4 * n);
	tcase_add_loop_test(t, unstable_too, 0, 3 * n);
	tcase_add_loop_test(t, long_runs_with_checkpoints, 0, n);
	tcase_add_loop_test(t, grows_while_in_use, 0, n);
	tcase_add_loop_test(t, room_runs_out, 0, 3 * n);
	tcase_add_loop_test(t, head_killed, 0, 8 * n);
	tcase_add_loop_test(t, head_killed_then_power_lost, 0, 3 * n);
	tcase_add_loop_test(t, at_every_write_of_what_programs_do, 0, (int)recorded_count * n);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	printf("%llu crash states\n", (unsigned long long)crash_count());
	if (crash_count() < want) {
		printf("%llu were wanted\n", (unsigned long long)want);
		failed = 1;
	}
	srunner_free(r);
	return failed ? 1 : 0;
}
