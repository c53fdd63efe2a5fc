/* Range locks against a plain list of all that was asked for, in order of arrival. */
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

#define KIB   1024ull
#define TASKS 200
#define TURNS 60

static struct sim *sim;
static struct fs fs; /* of which range.c uses `ranges` alone */

/* What was asked for and is not given back, oldest first. */
struct asked {
	TAILQ_ENTRY(asked) link;
	uint64_t ino, start, end;
	bool held;
};
static TAILQ_HEAD(, asked) all;
static unsigned at_work, locks, waits, wides;

static bool overlap(const struct asked *a, const struct asked *b)
{
	return a->ino == b->ino && a->start < b->end && b->start < a->end;
}

/* Nobody who came before may still have, or want, a byte of it. */
static void turn_is_due(const struct asked *a)
{
	for (const struct asked *o = TAILQ_FIRST(&all); o != a; o = TAILQ_NEXT(o, link))
		ck_assert_msg(!overlap(o, a), "passed one that came before");
}

/* In blocks: one, some, many; at times to the end of everything, and at times nothing. */
static void choose(struct asked *a)
{
	uint64_t kind = sim_random_below(sim, 20), n;
	a->ino = 5 + sim_random_below(sim, 2);
	a->start = sim_random_below(sim, 1024) * 4 * KIB;
	n = kind < 14 ? 1 : kind < 17 ? 1 + sim_random_below(sim, 64) : sim_random_below(sim, 400);
	a->end = kind == 19 ? UINT64_MAX : a->start + n * 4 * KIB;
	a->held = false;
}

static void worker(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		struct range_lock l;
		struct asked a;
		choose(&a);
		TAILQ_INSERT_TAIL(&all, &a, link);
		bool due = true;
		for (struct asked *o = TAILQ_FIRST(&all); o != &a; o = TAILQ_NEXT(o, link))
			due = due && !overlap(o, &a);
		bool waited = range_lock(&fs, &l, a.ino, a.start, a.end);
		ck_assert_int_eq(waited, !due);
		turn_is_due(&a);
		a.held = true;
		locks++;
		waits += waited;
		wides += l.nparts == 0;
		if (sim_random_below(sim, 4))
			env_sleep_ns(sim_env(sim), 1 + sim_random_below(sim, 1000));
		TAILQ_REMOVE(&all, &a, link);
		range_unlock(&fs, &l);
	}
	at_work--;
}

static void random_task(void *arg)
{
	at_work = TASKS;
	for (int i = 0; i < TASKS; i++)
		ck_assert_int_eq(task_start(worker, NULL), 0);
	while (at_work)
		env_sleep_ns(sim_env(sim), NS_PER_MS);
	ck_assert_uint_eq(locks, TASKS * TURNS);
	ck_assert_uint_gt(waits, locks / 10);
	ck_assert_uint_gt(wides, locks / 50);
	ck_assert_uint_gt(locks - waits, locks / 100);
	ck_assert_uint_eq(fs.ranges.nshort, 0);
	ck_assert(TAILQ_EMPTY(&fs.ranges.wide));
	for (int i = 0; i < RANGE_BUCKETS; i++)
		ck_assert(TAILQ_EMPTY(&fs.ranges.buckets[i]));
}

static void run(task_fn *fn, uint64_t seed)
{
	sim = sim_new(seed);
	TAILQ_INIT(&all);
	ranges_init(&fs.ranges);
	locks = waits = wides = 0;
	ck_assert_int_eq(sim_run(sim, fn, NULL), 0);
	sim_free(sim);
}

START_TEST(turns_are_taken_in_order_of_arrival)
{
	run(random_task, 11 + (uint64_t)_i);
}
END_TEST

struct late {
	uint64_t start, end;
	bool has;
};

static void late_task(void *arg)
{
	struct late *w = arg;
	struct range_lock l;
	ck_assert(range_lock(&fs, &l, 9, w->start, w->end));
	w->has = true;
	range_unlock(&fs, &l);
}

/* A resize that waits for one short lock keeps later ones of any width from passing it, and what
 * lies before it goes on. */
static void fair_task(void *arg)
{
	struct range_lock first, before, other;
	struct late wide = {512 * KIB, UINT64_MAX, false}, one = {8192 * KIB, 8196 * KIB, false},
		    many = {64 * KIB, 4096 * KIB, false};
	ck_assert(!range_lock(&fs, &first, 9, 1024 * KIB, 1028 * KIB));
	ck_assert_int_eq(task_start(late_task, &wide), 0);
	task_yield();
	ck_assert_int_eq(task_start(late_task, &one), 0);
	ck_assert_int_eq(task_start(late_task, &many), 0);
	task_yield();
	ck_assert(!range_lock(&fs, &before, 9, 0, 64 * KIB));
	ck_assert(!range_lock(&fs, &other, 10, 8192 * KIB, UINT64_MAX)); /* another file */
	ck_assert(!wide.has && !one.has && !many.has);
	range_unlock(&fs, &before);
	range_unlock(&fs, &other);
	range_unlock(&fs, &first);
	env_sleep_ns(sim_env(sim), 1);
	ck_assert(wide.has && one.has && many.has);
}

START_TEST(a_resize_is_not_passed)
{
	run(fair_task, 3);
}
END_TEST

/* Two ends of one lock lie in two grains: who meets it in either waits. */
static void edge_task(void *arg)
{
	struct range_lock l, near;
	struct late left = {252 * KIB, 256 * KIB, false}, right = {256 * KIB, 260 * KIB, false};
	ck_assert(!range_lock(&fs, &l, 9, 252 * KIB, 260 * KIB));
	ck_assert_uint_eq(l.nparts, 2);
	ck_assert(!range_lock(&fs, &near, 9, 248 * KIB, 252 * KIB));
	ck_assert_int_eq(task_start(late_task, &left), 0);
	ck_assert_int_eq(task_start(late_task, &right), 0);
	task_yield();
	ck_assert(!left.has && !right.has);
	range_unlock(&fs, &l);
	env_sleep_ns(sim_env(sim), 1);
	ck_assert(left.has && right.has);
	range_unlock(&fs, &near);
}

START_TEST(a_lock_over_an_edge_holds_on_both_sides)
{
	run(edge_task, 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("range");
	TCase *t = tcase_create("range");
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, turns_are_taken_in_order_of_arrival, 0, 4);
	tcase_add_test(t, a_resize_is_not_passed);
	tcase_add_test(t, a_lock_over_an_edge_holds_on_both_sides);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
