/*
 * Crash consistency: random operations by several workers, the power lost at some write; then
 * for many choices of which unflushed writes survive (all, none, prefixes, subsets, torn):
 * the check finds nothing, all that was promised is there, an operation in flight is done or not.
 */
#include "tests/unit/fs/model.h"
#include "nasfront/fs/impl.h"

#define WORKERS_MAX 4

struct worker {
	struct crash *crash;
	struct model *m;
	struct m_op flying;
	bool is_flying;
};

struct crash {
	struct world w;
	uint64_t seed, rnd;
	int workers, running;
	bool mixed; /* unstable writes too */
	struct worker worker[WORKERS_MAX];
	const char *when;
};

static uint64_t rnd(struct crash *c, uint64_t below)
{
	c->rnd = c->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (c->rnd >> 33) % below;
}

static void flying(struct worker *w, const struct m_op *op)
{
	w->flying = *op;
	w->is_flying = true;
	if (op->kind == M_WRITE || op->kind == M_RESIZE) {
		struct m_node *x = &w->m->nodes[op->node];
		x->loose = true;
		if (op->kind == M_WRITE)
			x->fills[op->fill / 32] |= 1u << (op->fill % 32);
	}
}

static void worker_task(void *arg)
{
	struct worker *w = arg;
	struct crash *c = w->crash;
	for (;;) {
		struct m_op op;
		struct fs_fid made;
		model_plan(w->m, &op);
		if (!c->mixed)
			op.stable = true;
		if (rnd(c, 20) == 0)
			checkpoint_kick(c->w.fs);
		int rc = model_run(w->m, c->w.fs, &op, &made);
		if (rc && sim_power_is_off(c->w.sim)) {
			flying(w, &op);
			break;
		}
		int want = model_apply(w->m, &op, &made);
		if (rc != want)
			ck_abort_msg("seed %llu: kind %d: %d not %d", (unsigned long long)c->seed,
				     op.kind, rc, want);
		if (op.kind != M_WRITE && op.kind != M_RESIZE)
			continue;
		struct m_node *x = &w->m->nodes[op.node];
		if (op.kind == M_WRITE && !op.stable)
			x->loose = true;
		if (x->loose && rnd(c, 2) && !fs_commit(c->w.fs, &x->fid, 0, 0, NULL))
			x->loose = false;
	}
	c->running--;
}

static void start_task(void *arg)
{
	struct crash *c = arg;
	world_mkfs(&c->w);
	world_mount_mem(&c->w, rnd(c, 2) ? 1 : 0);
	for (int i = 0; i < c->workers; i++) {
		struct worker *w = &c->worker[i];
		char name[2] = {(char)('a' + i), 0};
		w->crash = c;
		w->m = model_new(c->seed * 10 + (uint64_t)i);
		struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0777};
		struct fs_attr a;
		ck_assert_int_eq(fs_mkdir(c->w.fs, NULL, &root_fid, name, 1, &s, &a, NULL), 0);
		w->m->nodes[0].fid = fid_of(&a);
	}
}

static void crash_task(void *arg)
{
	struct crash *c = arg;
	c->running = c->workers;
	for (int i = 0; i < c->workers; i++)
		ck_assert_int_eq(task_start(worker_task, &c->worker[i]), 0);
	while (c->running)
		env_sleep_ns(sim_env(c->w.sim), NS_PER_MS);
	fs_abandon(c->w.fs);
	c->w.fs = NULL;
}

/* ---- after it ---- */

static const char *worker_differs(struct worker *w, struct fs *fs)
{
	static char first[200];
	const char *d = model_differs(w->m, fs, true);
	if (!d || !w->is_flying)
		return d;
	snprintf(first, sizeof(first), "%s", d);
	struct model *after = model_copy(w->m);
	struct fs_fid made = {0};
	struct fs_attr a;
	if (w->flying.kind <= M_SYMLINK &&
	    !find(fs, &w->m->nodes[w->flying.dir].fid, w->flying.name, &a))
		made = fid_of(&a);
	if (w->flying.kind != M_WRITE && w->flying.kind != M_RESIZE)
		model_apply(after, &w->flying, &made);
	d = model_differs(after, fs, true);
	model_free(after);
	return d ? first : NULL;
}

static void look_task(void *arg)
{
	struct crash *c = arg;
	struct fs_check_report r;
	int rc = fs_check(sim_env(c->w.sim), c->w.dev, false, say_stderr, NULL, &r);
	if (rc)
		ck_abort_msg("seed %llu %s: check says %d", (unsigned long long)c->seed, c->when,
			     rc);
	world_mount(&c->w);
	for (int i = 0; i < c->workers; i++) {
		const char *d = worker_differs(&c->worker[i], c->w.fs);
		if (d)
			ck_abort_msg("seed %llu %s: worker %d (flying: %d): %s",
				     (unsigned long long)c->seed, c->when, i,
				     c->worker[i].is_flying ? (int)c->worker[i].flying.kind : -1,
				     d);
	}
	world_unmount(&c->w);
	world_check(&c->w);
}

/* The power goes again while the mount replays. */
static void mount_and_die_task(void *arg)
{
	struct crash *c = arg;
	struct fs *fs;
	sim_power_off_at_write(c->w.sim, 1 + rnd(c, 12));
	if (!fs_mount(&fs, sim_env(c->w.sim), c->w.dev, NULL)) {
		sim_power_off(c->w.sim);
		fs_abandon(fs);
	}
}

static void outcome(struct crash *c, enum sim_loss how, uint64_t n, const char *name)
{
	char when[80];
	snprintf(when, sizeof(when), "%s %llu", name, (unsigned long long)n);
	c->when = when;
	sim_power_on(c->w.sim, how, n);
	if (how == SIM_LOSE_RANDOM && n % 2) {
		ck_assert_int_eq(sim_run(c->w.sim, mount_and_die_task, c), 0);
		sim_power_off_at_write(c->w.sim, 0);
		sim_run_for(c->w.sim, 60 * NS_PER_S);
		if (!sim_power_is_off(c->w.sim))
			sim_power_off(c->w.sim);
		sim_power_on(c->w.sim, SIM_LOSE_RANDOM, n);
	}
	ck_assert_int_eq(sim_run(c->w.sim, look_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
}

static void crash_at(uint64_t seed, int workers, bool mixed, uint64_t most)
{
	struct crash *c = calloc(1, sizeof(*c));
	c->seed = seed;
	c->rnd = seed * 77777 + 5;
	c->workers = workers;
	c->mixed = mixed;
	world_new(&c->w, seed, 32 << 20);
	ck_assert_int_eq(sim_run(c->w.sim, start_task, c), 0);
	sim_power_off_at_write(c->w.sim, 1 + rnd(c, most));
	ck_assert_int_eq(sim_run(c->w.sim, crash_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	size_t unstable = sim_unstable_writes(c->w.sim);
	outcome(c, SIM_LOSE_ALL, 0, "lose all");
	sim_power_off_again(c->w.sim);
	outcome(c, SIM_LOSE_NONE, 0, "lose none");
	for (uint64_t i = 1; i < unstable && i < 12; i++) {
		sim_power_off_again(c->w.sim);
		outcome(c, SIM_LOSE_PREFIX, i, "prefix");
	}
	for (uint64_t i = 0; i < 6; i++) {
		sim_power_off_again(c->w.sim);
		outcome(c, SIM_LOSE_RANDOM, i, "random");
		sim_power_off_again(c->w.sim);
		outcome(c, SIM_LOSE_SUBSET, rnd(c, 1ull << 31) << 31 | rnd(c, 1ull << 31),
			"subset");
	}
	for (int i = 0; i < workers; i++)
		model_free(c->worker[i].m);
	world_free(&c->w);
	free(c);
}

START_TEST(one_worker_all_stable)
{
	crash_at(1000 + (uint64_t)_i, 1, false, 300);
}
END_TEST

START_TEST(four_workers_all_stable)
{
	crash_at(2000 + (uint64_t)_i, 4, false, 1000);
}
END_TEST

START_TEST(three_workers_unstable_too)
{
	crash_at(3000 + (uint64_t)_i, 3, true, 1000);
}
END_TEST

START_TEST(long_runs_with_checkpoints)
{
	crash_at(4000 + (uint64_t)_i, 4, true, 6000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_crash");
	TCase *t = tcase_create("crash");
	const char *more = getenv("FS_CRASH_SEEDS");
	int n = more ? atoi(more) : 8;
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, one_worker_all_stable, 0, n);
	tcase_add_loop_test(t, four_workers_all_stable, 0, n);
	tcase_add_loop_test(t, three_workers_unstable_too, 0, n);
	tcase_add_loop_test(t, long_runs_with_checkpoints, 0, n / 2);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
