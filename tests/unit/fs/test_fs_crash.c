/*
 * Crash consistency: random operations by several workers, the power lost at some write; then
 * for many choices of which unflushed writes survive (all, none, prefixes, subsets, torn):
 * the check finds nothing, all that was promised is there, an operation in flight is done or not.
 * The disk is full of a byte that nobody writes, and it must never be seen in a file.
 *
 * And with the head killed, while the memory that holds unflushed writes lives on: then all that
 * was answered must be there, unstable writes too.
 */
#include "tests/unit/fs/model.h"
#include "nasfront/fs/impl.h"
#include "runtime/check.h"

#define WORKERS_MAX 4
#define GROWN_SIZE  (200 << 20)

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
	bool mixed;	/* unstable writes too */
	bool kill;	/* the process dies, not the power */
	bool unknown;	/* the disk tells no identity of its memory */
	bool grows;	/* while they work */
	uint64_t grown; /* bytes it has for sure */
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
	if (op->kind == M_WRITE && w->crash->kill) {
		struct m_node *x = &w->m->nodes[op->node];
		x->fly_off = op->off;
		x->fly_end = op->off + op->size;
		x->fly_fill = op->fill;
		m_fills(w->m, op);
	} else if (m_is_data(op->kind)) {
		struct m_node *x = &w->m->nodes[op->node];
		x->loose = true;
		m_fills(w->m, op);
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
		if (!m_is_data(op.kind))
			continue;
		struct m_node *x = &w->m->nodes[op.node];
		if (op.kind == M_WRITE && !op.stable && !c->kill)
			x->loose = true;
		if (op.kind == M_WRITE && !op.stable && rnd(c, 2) &&
		    !fs_commit(c->w.fs, &x->fid, 0, 0, NULL))
			x->loose = false;
	}
	c->running--;
}

/* Inside the group it has, to exactly its end, into others, and almost into one more. */
static void grow_task(void *arg)
{
	struct crash *c = arg;
	const uint64_t sizes[] = {40 << 20, (c->w.fs->ag_start + AG_BLOCKS + 1) * BS, 150 << 20,
				  GROWN_SIZE};
	for (unsigned i = 0; i < ARRAY_LEN(sizes) && !sim_power_is_off(c->w.sim); i++) {
		struct fs_statfs st;
		uint64_t added;
		env_sleep_ns(sim_env(c->w.sim), rnd(c, 20) * NS_PER_MS);
		c->w.dev->size = sizes[i];
		int rc = fs_grow(c->w.fs, &added);
		if (sim_power_is_off(c->w.sim))
			break;
		ck_assert_int_eq(rc, 0);
		ck_assert_uint_gt(added, 0);
		ck_assert_int_eq(fs_statfs(c->w.fs, &st), 0);
		c->grown = st.total_bytes;
	}
	c->running--;
}

static void start_task(void *arg)
{
	struct crash *c = arg;
	c->w.dev->size = 32 << 20;
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
		uint32_t id; /* every second one in a quota tree of its own */
		if (i % 2 == 0)
			ck_assert_int_eq(fs_quota_tree(c->w.fs, &w->m->nodes[0].fid, name, &id), 0);
	}
}

static void crash_task(void *arg)
{
	struct crash *c = arg;
	c->running = c->workers;
	for (int i = 0; i < c->workers; i++)
		ck_assert_int_eq(task_start(worker_task, &c->worker[i]), 0);
	if (c->grows) {
		c->running++;
		ck_assert_int_eq(task_start(grow_task, c), 0);
	}
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
	if (!m_is_data(w->flying.kind))
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
	struct fs_statfs st;
	ck_assert_int_eq(fs_statfs(c->w.fs, &st), 0);
	ck_assert_uint_ge(st.total_bytes, c->grown);
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

static void crash_start(struct crash *c)
{
	uint64_t size = c->grows ? GROWN_SIZE : 32 << 20;
	world_new(&c->w, c->seed, size);
	memset(sim_disk_bytes(c->w.disk), M_NEVER, size);
	sim_disk_bytes_changed(c->w.disk, 0, size);
	if (!c->unknown)
		sim_disk_memory_known(c->w.disk);
	ck_assert_int_eq(sim_run(c->w.sim, start_task, c), 0);
}

static void crash_free(struct crash *c)
{
	for (int i = 0; i < c->workers; i++)
		model_free(c->worker[i].m);
	world_free(&c->w);
	free(c);
}

static void crash_at(uint64_t seed, int workers, bool mixed, bool unknown, uint64_t most,
		     bool grows)
{
	struct crash *c = calloc(1, sizeof(*c));
	c->seed = seed;
	c->rnd = seed * 77777 + 5;
	c->workers = workers;
	c->mixed = mixed;
	c->unknown = unknown;
	c->grows = grows;
	crash_start(c);
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
	crash_free(c);
}

/* Killed at its nth write; every third time again while it mounts. */
static void kill_at(uint64_t seed, int workers, uint64_t nth)
{
	struct crash *c = calloc(1, sizeof(*c));
	char when[80];
	c->seed = seed;
	c->rnd = seed * 77777 + 5 + nth;
	c->workers = workers;
	c->mixed = c->kill = true;
	crash_start(c);
	sim_power_off_at_write(c->w.sim, nth);
	ck_assert_int_eq(sim_run(c->w.sim, crash_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	for (int again = nth % 3 == 0 ? 2 : 0; again > 0; again--) {
		sim_power_on(c->w.sim, SIM_KILL, 0);
		ck_assert_int_eq(sim_run(c->w.sim, mount_and_die_task, c), 0);
		sim_power_off_at_write(c->w.sim, 0);
		sim_run_for(c->w.sim, 60 * NS_PER_S);
		if (!sim_power_is_off(c->w.sim))
			sim_power_off(c->w.sim);
	}
	snprintf(when, sizeof(when), "kill at write %llu", (unsigned long long)nth);
	c->when = when;
	sim_power_on(c->w.sim, SIM_KILL, 0);
	ck_assert_int_eq(sim_run(c->w.sim, look_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	crash_free(c);
}

/* Killed, and while the next mount replays soft records, the power goes. */
static void kill_then_power(uint64_t seed, uint64_t most)
{
	struct crash *c = calloc(1, sizeof(*c));
	c->seed = seed;
	c->rnd = seed * 77777 + 5;
	c->workers = 3;
	c->mixed = true;
	crash_start(c);
	sim_power_off_at_write(c->w.sim, 1 + rnd(c, most));
	ck_assert_int_eq(sim_run(c->w.sim, crash_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	sim_power_on(c->w.sim, SIM_KILL, 0);
	ck_assert_int_eq(sim_run(c->w.sim, mount_and_die_task, c), 0);
	sim_power_off_at_write(c->w.sim, 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	if (!sim_power_is_off(c->w.sim))
		sim_power_off(c->w.sim);
	outcome(c, SIM_LOSE_ALL, 0, "kill, lose all");
	sim_power_off_again(c->w.sim);
	outcome(c, SIM_LOSE_NONE, 0, "kill, lose none");
	for (uint64_t i = 0; i < 6; i++) {
		sim_power_off_again(c->w.sim);
		outcome(c, SIM_LOSE_RANDOM, i, "kill, random");
		sim_power_off_again(c->w.sim);
		outcome(c, SIM_LOSE_SUBSET, rnd(c, 1ull << 31) << 31 | rnd(c, 1ull << 31),
			"kill, subset");
	}
	crash_free(c);
}

/* ---- one step at a time: soft records ---- */

struct soft {
	struct world w;
	struct fs_fid f;
	uint64_t verifier;
	uint64_t want; /* bytes that must be there */
	bool same_verifier;
	bool then_create; /* a stable change follows */
};

#define SOFT_BYTES (300 * 1000)

static void soft_write_task(void *arg)
{
	struct soft *t = arg;
	uint8_t *p = malloc(SOFT_BYTES);
	memset(p, 0x55, SOFT_BYTES);
	world_mkfs(&t->w);
	world_mount(&t->w);
	ck_assert_int_eq(make_file(t->w.fs, &root_fid, "f", &t->f), 0);
	struct sim_disk_stats a, b;
	sim_disk_stats(t->w.disk, &a);
	ck_assert_int_eq(put(t->w.fs, &t->f, 0, p, SOFT_BYTES, FS_WRITE_UNSTABLE), 0);
	sim_disk_stats(t->w.disk, &b);
	ck_assert_uint_eq(a.flushes, b.flushes);
	ck_assert_uint_gt(t->w.fs->soft, t->w.fs->stable);
	if (t->then_create)
		ck_assert_int_eq(make_file(t->w.fs, &root_fid, "g", NULL), 0);
	t->verifier = fs_write_verifier(t->w.fs);
	sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
	free(p);
}

static void soft_look_task(void *arg)
{
	struct soft *t = arg;
	struct fs_attr a;
	uint8_t *p = malloc(SOFT_BYTES);
	world_mount(&t->w);
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &a), 0);
	ck_assert_uint_eq(a.size, t->want);
	ck_assert_int_eq(get(t->w.fs, &t->f, 0, p, SOFT_BYTES), (int64_t)t->want);
	for (uint64_t i = 0; i < t->want; i++)
		ck_assert_uint_eq(p[i], 0x55);
	ck_assert(t->same_verifier == (fs_write_verifier(t->w.fs) == t->verifier));
	free(p);
}

static void soft_end_task(void *arg)
{
	struct soft *t = arg;
	soft_look_task(t);
	world_unmount(&t->w);
	world_check(&t->w);
}

static void soft_begin(struct soft *t, bool then_create)
{
	memset(t, 0, sizeof(*t));
	world_new(&t->w, 7, 32 << 20);
	sim_disk_memory_known(t->w.disk);
	t->then_create = then_create;
	ck_assert_int_eq(sim_run(t->w.sim, soft_write_task, t), 0);
	sim_run_for(t->w.sim, NS_PER_S);
}

START_TEST(unstable_growth_outlives_the_head)
{
	struct soft t;
	soft_begin(&t, false);
	sim_power_on(t.w.sim, SIM_KILL, 0);
	t.want = SOFT_BYTES;
	t.same_verifier = true;
	ck_assert_int_eq(sim_run(t.w.sim, soft_end_task, &t), 0);
	world_free(&t.w);
}
END_TEST

START_TEST(soft_records_go_with_their_memory)
{
	struct soft t;
	soft_begin(&t, false);
	sim_power_on(t.w.sim, SIM_LOSE_NONE, 0); /* the record is there, not believed */
	ck_assert_int_eq(sim_run(t.w.sim, soft_end_task, &t), 0);
	world_free(&t.w);
}
END_TEST

START_TEST(stable_change_takes_soft_ones_along)
{
	struct soft t;
	soft_begin(&t, true);
	sim_power_on(t.w.sim, SIM_LOSE_ALL, 0);
	t.want = SOFT_BYTES;
	ck_assert_int_eq(sim_run(t.w.sim, soft_end_task, &t), 0);
	world_free(&t.w);
}
END_TEST

static void soft_mount_die_task(void *arg)
{
	struct soft *t = arg;
	soft_look_task(t);
	sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
}

START_TEST(replayed_soft_records_are_stable)
{
	struct soft t;
	soft_begin(&t, false);
	sim_power_on(t.w.sim, SIM_KILL, 0);
	t.want = SOFT_BYTES;
	t.same_verifier = true;
	ck_assert_int_eq(sim_run(t.w.sim, soft_mount_die_task, &t), 0);
	sim_run_for(t.w.sim, NS_PER_S);
	sim_power_on(t.w.sim, SIM_LOSE_ALL, 0);
	t.same_verifier = false;
	ck_assert_int_eq(sim_run(t.w.sim, soft_end_task, &t), 0);
	world_free(&t.w);
}
END_TEST

/* Without a known memory nothing is soft. */
static void unknown_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	char p[8192] = "x";
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	uint64_t before = sim_writes_issued(w->sim);
	ck_assert_int_eq(put(w->fs, &f, 0, p, sizeof(p), FS_WRITE_UNSTABLE), 0);
	ck_assert_uint_eq(sim_writes_issued(w->sim), before + 1);
	ck_assert_int_eq(fs_commit(w->fs, &f, 0, 0, NULL), 0);
	ck_assert_uint_eq(w->fs->soft, w->fs->stable);
	world_unmount(w);
}

START_TEST(unknown_memory_waits_for_nothing)
{
	struct world w;
	world_new(&w, 9, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, unknown_task, &w), 0);
	world_free(&w);
}
END_TEST

/* Its memory went while it was mounted: nothing may be built on what is missing. */
static void memory_gone_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	char p[8192] = "x";
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w->fs, &f, 0, p, sizeof(p), FS_WRITE_UNSTABLE), 0);
	uint64_t verifier = fs_write_verifier(w->fs);
	sim_disk_memory_known(w->disk);
	ck_assert_int_ne(fs_commit(w->fs, &f, 0, 0, NULL), 0);
	ck_assert_int_ne(make_file(w->fs, &root_fid, "g", NULL), 0);
	ck_assert(fs_write_verifier(w->fs) != verifier);
	fs_abandon(w->fs);
	world_mount(w);
	ck_assert(fs_write_verifier(w->fs) != verifier);
	world_unmount(w);
}

START_TEST(mount_ends_with_its_memory)
{
	struct world w;
	world_new(&w, 11, 32 << 20);
	sim_disk_memory_known(w.disk);
	ck_assert_int_eq(sim_run(w.sim, memory_gone_task, &w), 0);
	world_free(&w);
}
END_TEST

START_TEST(one_worker_all_stable)
{
	crash_at(1000 + (uint64_t)_i, 1, false, false, 300, false);
}
END_TEST

START_TEST(four_workers_all_stable)
{
	crash_at(2000 + (uint64_t)_i, 4, false, _i % 2, 1000, false);
}
END_TEST

START_TEST(three_workers_unstable_too)
{
	crash_at(3000 + (uint64_t)_i, 3, true, false, 1000, false);
}
END_TEST

START_TEST(long_runs_with_checkpoints)
{
	crash_at(4000 + (uint64_t)_i, 4, true, false, 6000, false);
}
END_TEST

START_TEST(unstable_with_memory_unknown)
{
	crash_at(3500 + (uint64_t)_i, 3, true, true, 1000, false);
}
END_TEST

START_TEST(grows_while_in_use)
{
	crash_at(7000 + (uint64_t)_i, 1 + _i % 3, true, false, 40 + (uint64_t)_i * 40 % 400, true);
}
END_TEST

START_TEST(head_killed_at_every_write)
{
	for (uint64_t nth = 1; nth <= 60; nth++)
		kill_at(5000 + (uint64_t)_i, _i % 2 ? 1 : 4, nth);
	kill_at(5000 + (uint64_t)_i, 4, 1500);
}
END_TEST

START_TEST(head_killed_then_power_lost)
{
	kill_then_power(6000 + (uint64_t)_i, _i % 2 ? 100 : 1500);
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
	tcase_add_loop_test(t, unstable_with_memory_unknown, 0, n / 2);
	tcase_add_loop_test(t, grows_while_in_use, 0, n);
	suite_add_tcase(s, t);
	t = tcase_create("kill");
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, head_killed_at_every_write, 0, n / 2);
	tcase_add_loop_test(t, head_killed_then_power_lost, 0, 4 * n);
	tcase_add_test(t, unstable_growth_outlives_the_head);
	tcase_add_test(t, soft_records_go_with_their_memory);
	tcase_add_test(t, stable_change_takes_soft_ones_along);
	tcase_add_test(t, replayed_soft_records_are_stable);
	tcase_add_test(t, unknown_memory_waits_for_nothing);
	tcase_add_test(t, mount_ends_with_its_memory);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
