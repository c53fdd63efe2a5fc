/* Two controllers: deaths at every step of giving and of taking over. */
#include "runtime/fault.h"
#include "tests/unit/core/own_rig.h"

#ifdef WITH_FAULTS
struct crash {
	const char *point;
	struct end *who;
	bool hit;
};

static void crash_hook(const char *name, void *arg)
{
	struct crash *c = arg;
	if (c->hit || strcmp(name, c->point) != 0 || sim_node_current(w.sim) != c->who->node)
		return;
	c->hit = true;
	sim_node_kill(c->who->node);
}

static const struct {
	const char *point;
	bool giver;
} crashes[] = {
    {"own.moving", true},     {"own.closed", true},	  {"own.passed", true},
    {"own.claimed", false},   {"own.memory_said", false}, {"own.word_taken", false},
    {"own.assembled", false}, {"own.recorded", false},
};

/* Who gives, or who takes, dies at any step: one owner is left, and all data with it. */
START_TEST(deaths_while_giving)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = crashes[_i].point};
	struct move m = {.e = a};
	world_with_pool(20 + (uint64_t)_i);
	c.who = crashes[_i].giver ? a : b;
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	uint64_t id = memory(a);
	fault_set_hook(crash_hook, &c);
	sim_node_start(a->node, move_task, &m);
	sim_run_for(w.sim, 5 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	ck_assert_msg(c.hit, "%s was not reached", c.point);
	struct end *left = other(c.who);
	ck_assert_int_eq(place(left), CORE_HERE);
	ck_assert_int_eq(io(left, false, 0, 150, 1), 0);
	ck_assert_int_eq(io(left, true, 50, 150, 2), 0);
	restart(c.who);
	sim_run_for(w.sim, 10 * NS_PER_S);
	struct end *owner = one_owner();
	ck_assert_int_eq(place(other(owner)), CORE_PARTNER);
	ck_assert_int_eq(io(owner, false, 0, 50, 1), 0);
	ck_assert_int_eq(io(owner, false, 50, 150, 2), 0);
	ck_assert_uint_eq(memory(owner), id);
	world_fini();
}
END_TEST

/* Who gives dies, and who takes before it could record what it took: all is on the disks. */
START_TEST(deaths_of_giver_and_taker)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = "own.passed", .who = a};
	struct move m = {.e = a};
	world_with_pool(50);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	uint64_t id = memory(a);
	fault_set_hook(crash_hook, &c);
	sim_node_start(a->node, move_task, &m);
	for (unsigned i = 0; i < 5000 && !c.hit; i++)
		sim_run_for(w.sim, NS_PER_MS);
	fault_set_hook(NULL, NULL);
	ck_assert(c.hit);
	sim_node_kill(b->node);
	restart(b);
	restart(a);
	sim_run_for(w.sim, 15 * NS_PER_S);
	struct end *owner = one_owner();
	ck_assert_int_eq(io(owner, false, 0, 150, 1), 0);
	ck_assert_uint_eq(memory(owner), id);
	world_fini();
}
END_TEST

static const char *const takeover_points[] = {"own.fenced",	 "own.unmirrored", "own.claimed",
					      "own.memory_said", "own.word_taken", "own.assembled",
					      "own.recorded"};

/* Who takes over dies in the middle of it; both come back: nothing is lost. */
START_TEST(death_of_the_taker)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = takeover_points[_i], .who = b};
	world_with_pool(40 + (uint64_t)_i);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	uint64_t id = memory(a);
	fault_set_hook(crash_hook, &c);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 5 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	if (strcmp(c.point, "own.unmirrored") != 0) /* b had none to change */
		ck_assert_msg(c.hit, "%s was not reached", c.point);
	if (!c.hit)
		sim_node_kill(b->node);
	/* whichever comes first */
	restart(_i % 2 ? a : b);
	sim_run_for(w.sim, 3 * NS_PER_S);
	restart(_i % 2 ? b : a);
	sim_run_for(w.sim, 15 * NS_PER_S);
	struct end *owner = one_owner();
	ck_assert_int_eq(io(owner, false, 0, 150, 1), 0);
	ck_assert_uint_eq(memory(owner), id);
	world_fini();
}
END_TEST

/* What it has in memory is of long ago, when it takes a pool that was closed in order and dies: its
 * next start does not take that for the newest. */
START_TEST(death_with_old_pages)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = takeover_points[_i], .who = a};
	world_with_pool(60 + (uint64_t)_i);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	sim_node_kill(a->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(b, true, 0, 150, 2), 0);
	stop(b);
	fault_set_hook(crash_hook, &c);
	restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	ck_assert_msg(c.hit || _i < 2, "%s was not reached", c.point); /* nobody to be ended */
	if (c.hit)
		restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(io(a, false, 0, 150, 2), 0);
	world_fini();
}
END_TEST

/* Who takes dies while the pool is flushed, with copies of pages that are then written anew; who
 * gives dies when it has written them all to the disks and passed the word. The copies are of long
 * ago. */
START_TEST(death_of_the_taker_with_old_copies)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = "own.passed", .who = a};
	struct move m = {.e = a, .held = true}; /* no change of metadata comes first */
	struct sim_disk_faults usual, slow;
	world_with_pool(80);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	uint64_t id = memory(a);
	sim_disk_get_faults(w.disk[0], &usual);
	slow = usual;
	slow.latency_min_ns = slow.latency_max_ns = 2 * NS_PER_S;
	sim_disk_set_faults(w.disk[0], &slow);
	fault_set_hook(crash_hook, &c);
	sim_node_start(a->node, move_task, &m);
	sim_run_for(w.sim, 100 * NS_PER_MS); /* b has agreed, and pages are on their way */
	sim_node_kill(b->node);
	sim_run_for(w.sim, 100 * NS_PER_MS);
	ck_assert(!c.hit && !a->core->partner_up);
	ck_assert_int_eq(io(a, true, 0, 150, 2), 0);
	ck_assert(!c.hit);
	sim_disk_set_faults(w.disk[0], &usual);
	sim_run_for(w.sim, 10 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	ck_assert_msg(c.hit, "%s", m.why);
	restart(b);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, false, 0, 150, 2), 0);
	ck_assert_uint_eq(memory(b), id);
	world_fini();
}
END_TEST

static uint64_t regions_in_use(struct end *e)
{
	struct pool_stats st;
	pool_stats(core_pool_find(e->core, "p")->pool, &st);
	return st.intent;
}

struct slow_taker {
	struct end *e;
	bool hit;
	uint64_t before, after;
};

/* Between the assembling of the pool and what the metadata says of it. */
static void slow_hook(const char *name, void *arg)
{
	struct slow_taker *s = arg;
	if (s->hit || strcmp(name, "own.assembled") != 0)
		return;
	s->hit = true;
	s->before = regions_in_use(s->e);
	env_sleep_ns(s->e->core->env, 12 * NS_PER_S);
	s->after = regions_in_use(s->e);
}

/* What the dead one was writing is looked through by what its write-intent map says: that stays as
 * it is until it is known whether it has to be. */
START_TEST(the_map_of_a_pool_that_is_taken_up_is_not_swept)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct slow_taker s = {.e = b};
	world_with_pool(90);
	ck_assert_int_eq(core_watch_start(b->core), 0);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	sim_run_for(w.sim, 3 * NS_PER_S); /* it goes to the disks */
	fault_set_hook(slow_hook, &s);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 20 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	ck_assert(s.hit);
	ck_assert_uint_gt(s.before, 0);
	ck_assert_uint_eq(s.after, s.before);
	ck_assert_int_eq(io(b, false, 0, 150, 1), 0);
	sim_run_for(w.sim, 30 * NS_PER_S);
	ck_assert_uint_eq(regions_in_use(b), 0); /* now it is */
	restart(a);
	sim_run_for(w.sim, 15 * NS_PER_S);
	(void)one_owner();
	world_fini();
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, the_map_of_a_pool_that_is_taken_up_is_not_swept);
	tcase_add_loop_test(tc, deaths_while_giving, 0, (int)ARRAY_LEN(crashes));
	tcase_add_test(tc, deaths_of_giver_and_taker);
	tcase_add_loop_test(tc, death_of_the_taker, 0, (int)ARRAY_LEN(takeover_points));
	tcase_add_test(tc, death_of_the_taker_with_old_copies);
	tcase_add_loop_test(tc, death_with_old_pages, 0, (int)ARRAY_LEN(takeover_points));
}

int main(void)
{
	return own_suite("core_own_death", add_tests);
}
#else
int main(void)
{
	return 77; /* skipped: it needs a tree configured with --enable-faults */
}
#endif
