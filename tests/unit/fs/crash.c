/* Crash states: see crash.h. */
#include <sys/mman.h>
#include "tests/unit/fs/crash.h"
#include "nasfront/fs/impl.h"
#include "runtime/check.h"

static uint64_t *count;

void crash_count_init(void)
{
	count =
	    mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		abort();
}

uint64_t crash_count(void)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

uint64_t crash_rnd(struct crash *c, uint64_t below)
{
	c->rnd = c->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (c->rnd >> 33) % below;
}

/* ---- work ---- */

static void flying(struct worker *w, const struct m_op *op)
{
	w->flying = *op;
	w->is_flying = true;
	w->was_loose = w->m->nodes[op->node < 0 ? 0 : op->node].loose;
	if (op->kind == M_WRITE && w->crash->kill) {
		struct m_node *x = &w->m->nodes[op->node];
		x->fly_off = op->off;
		x->fly_end = op->off + op->size;
		x->fly_fill = op->fill;
		m_fills(w->m, op);
	} else if (m_is_data(op->kind) && !m_is_whole(op->kind)) {
		struct m_node *x = &w->m->nodes[op->node];
		x->loose = true;
		m_fills(w->m, op);
	}
}

/* Its last unstable data is not promised until a commit. */
static void unstable(struct worker *w, const struct m_op *op, bool then_commit)
{
	struct m_node *x = &w->m->nodes[op->node];
	if (!w->crash->kill)
		x->loose = true;
	if (then_commit && !fs_commit(w->crash->w.fs, &x->fid, 0, 0, NULL))
		x->loose = false;
}

bool crash_op(struct worker *w, struct m_op *op, bool then_commit)
{
	struct crash *c = w->crash;
	struct fs_fid made = {0};
	if (!c->mixed)
		op->stable = true;
	op->keyed = m_heeds_key(op->kind);
	int rc = model_run(w->m, c->w.fs, op, &made);
	if (rc && sim_power_is_off(c->w.sim)) {
		flying(w, op);
		return false;
	}
	if (!model_applied(w->m, op, &made, rc))
		ck_abort_msg("seed %llu: kind %d: %d", (unsigned long long)c->seed, op->kind, rc);
	model_closed(op, c->w.fs);
	if (!rc && m_is_remembered(op->kind))
		w->done[w->ndone++ % CRASH_DONE] = *op;
	bool part =
	    rc && m_is_data(op->kind) && !m_is_whole(op->kind) && (rc == -ENOSPC || rc == -EDQUOT);
	if (part) { /* it may have been done in part, which is not stable */
		if (model_reload(w->m, c->w.fs, op->node)) {
			w->m->nodes[op->node].loose = true;
			return false;
		}
		unstable(w, op, then_commit);
	}
	if (!rc && op->kind == M_WRITE && !op->stable)
		unstable(w, op, then_commit);
	return true;
}

static void random_work(void *arg)
{
	struct worker *w = arg;
	struct crash *c = w->crash;
	struct m_op op;
	do {
		model_plan(w->m, &op);
		if (crash_rnd(c, 20) == 0)
			checkpoint_kick(c->w.fs);
	} while (crash_op(w, &op, crash_rnd(c, 2)));
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
		env_sleep_ns(sim_env(c->w.sim), crash_rnd(c, 20) * NS_PER_MS);
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

/* Every second worker's directory is a quota tree; without room for all that it wants in some. */
static void worker_start(struct crash *c, int i)
{
	struct worker *w = &c->worker[i];
	char name[2] = {(char)('a' + i), 0};
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0777};
	struct fs_quota_limits l = {.set_hard = {true, true}, .hard = {600 << 10, 40}};
	struct fs_attr a;
	w->crash = c;
	w->m = model_new(c->seed * 10 + (uint64_t)i);
	w->m->tight = c->tight;
	w->m->opens = true;
	ck_assert_int_eq(fs_mkdir(c->w.fs, NULL, &root_fid, name, 1, &s, &a, NULL), 0);
	w->m->nodes[0].fid = fid_of(&a);
	if (i % 2)
		return;
	ck_assert_int_eq(fs_quota_tree(c->w.fs, &w->m->nodes[0].fid, name, &w->tree), 0);
	w->m->nodes[0].tree = w->tree;
	if (c->tight && c->seed % 2)
		ck_assert_int_eq(fs_quota_set(c->w.fs, FS_QUOTA_TREE, w->tree, &l), 0);
}

static bool is_open(void *arg, const struct fs_fid *f)
{
	const struct crash *c = arg;
	for (int i = 0; i < c->workers; i++)
		if (c->worker[i].m && m_is_open(c->worker[i].m, f))
			return true;
	return false;
}

static void start_task(void *arg)
{
	struct crash *c = arg;
	c->w.dev->size = MIN(c->size, 32ull << 20);
	world_mkfs(&c->w);
	world_mount_mem(&c->w, crash_rnd(c, 2) ? 1 : 0);
	fs_set_used(c->w.fs, is_open, c);
	c->verifier = fs_write_verifier(c->w.fs);
	if (c->seed % 2) /* most clones by stand-ins */
		c->w.fs->clone_bufs = 3;
	for (int i = 0; i < c->workers; i++)
		worker_start(c, i);
}

static void work_task(void *arg)
{
	struct crash *c = arg;
	c->running = c->workers;
	for (int i = 0; i < c->workers; i++)
		ck_assert_int_eq(task_start(c->work ? c->work : random_work, &c->worker[i]), 0);
	if (c->grows) {
		c->running++;
		ck_assert_int_eq(task_start(grow_task, c), 0);
	}
	while (c->running)
		env_sleep_ns(sim_env(c->w.sim), NS_PER_MS);
	sim_power_off(c->w.sim);
	fs_abandon(c->w.fs);
	c->w.fs = NULL;
}

void crash_start(struct crash *c)
{
	c->rnd = c->seed * 77777 + 5;
	if (!c->size)
		c->size = c->grows ? GROWN_SIZE : c->tight ? 7 << 20 : 32 << 20;
	world_new(&c->w, c->seed, c->size);
	memset(sim_disk_bytes(c->w.disk), M_NEVER, c->size);
	sim_disk_bytes_changed(c->w.disk, 0, c->size);
	if (!c->unknown)
		sim_disk_memory_known(c->w.disk);
	ck_assert_int_eq(sim_run(c->w.sim, start_task, c), 0);
}

void crash_run(struct crash *c, uint64_t nth)
{
	sim_power_off_at_write(c->w.sim, nth);
	ck_assert_int_eq(sim_run(c->w.sim, work_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
}

/* ---- after it ---- */

/* What the operation in flight made, when it was done. */
static struct fs_fid made_by(struct worker *w, struct fs *fs)
{
	const struct m_op *op = &w->flying;
	struct fs_fid made = {0};
	struct fs_quota q = {0};
	struct fs_attr a;
	char path[64];
	if (op->kind != M_TREE) {
		if (m_makes(op->kind) && !find(fs, &w->m->nodes[op->dir].fid, op->name, &a))
			made = fid_of(&a);
		return made;
	}
	m_tree_path(op, path);
	for (uint32_t id = 0; !fs_quota_next(fs, FS_QUOTA_TREE, id, &q); id = q.id + 1)
		if (!strcmp(q.path, path))
			made.ino = q.id;
	return made;
}

/* After the crash nobody has anything open: no file without a name can be reached. */
static const char *left_differs(const struct model *m, struct fs *fs, unsigned *ret_files)
{
	static char text[80];
	struct fs_attr a;
	for (int i = 0; i < M_NODES; i++)
		if (m->nodes[i].used && !m->nodes[i].nlink &&
		    fs_getattr(fs, &m->nodes[i].fid, &a) != -ESTALE) {
			snprintf(text, sizeof(text), "node %d has no name, and is there", i);
			return text;
		}
	struct model *left = model_copy(m);
	model_unmounted(left);
	*ret_files = model_files(left);
	const char *d = model_differs(left, fs, true);
	model_free(left);
	return d;
}

/* ret_files: those that it should have left. */
static const char *worker_differs(struct worker *w, struct fs *fs, unsigned *ret_files)
{
	static char first[200];
	const char *d = left_differs(w->m, fs, ret_files);
	if (!w->is_flying)
		return d;
	struct fs_fid made = made_by(w, fs);
	/* A tree's record tells whether it was made: what the directory looks like need not. */
	bool tree = w->flying.kind == M_TREE && made.ino;
	if (!d && !tree)
		return NULL;
	snprintf(first, sizeof(first), "%s", d ? d : "a tree is there that was not finished");
	struct model *after = model_copy(w->m);
	if (!m_is_data(w->flying.kind) || m_is_whole(w->flying.kind))
		model_apply(after, &w->flying, &made);
	d = left_differs(after, fs, ret_files);
	model_free(after);
	return d ? first : NULL;
}

static void workers_look(struct crash *c)
{
	unsigned want = (unsigned)c->workers; /* their directories */
	for (int i = 0; i < c->workers; i++) {
		unsigned n = 0;
		const char *d = worker_differs(&c->worker[i], c->w.fs, &n);
		want += n;
		if (d)
			ck_abort_msg("seed %llu %s: worker %d (flying: %d): %s",
				     (unsigned long long)c->seed, c->when, i,
				     c->worker[i].is_flying ? (int)c->worker[i].flying.kind : -1,
				     d);
	}
	while (c->w.fs->reaping)
		env_sleep_ns(sim_env(c->w.sim), NS_PER_MS);
	if (files_in_use(c->w.fs) != want)
		ck_abort_msg("seed %llu %s: %u files, not %u", (unsigned long long)c->seed, c->when,
			     files_in_use(c->w.fs), want);
}

/* ---- what is asked for again ---- */

/* What was answered changes nothing. */
static void done_again(struct worker *w, struct fs *fs)
{
	for (unsigned i = 0; i < MIN(w->ndone, (unsigned)CRASH_DONE); i++) {
		struct fs_fid made = {0};
		int rc = model_run(w->m, fs, &w->done[i], &made);
		if (rc && !(rc == -ESTALE && m_makes(w->done[i].kind)))
			ck_abort_msg("seed %llu %s: kind %d again: %d",
				     (unsigned long long)w->crash->seed, w->crash->when,
				     w->done[i].kind, rc);
	}
}

/* A file without a name, that was open when the mount ended. */
static bool flying_at_nothing(const struct worker *w)
{
	const struct m_op *op = &w->flying;
	const struct m_node *n = w->m->nodes;
	return !n[op->dir].nlink ||
	       ((m_is_data(op->kind) || op->kind == M_LINK) && !n[op->node].nlink) ||
	       (op->kind == M_CLONE && !n[op->node2].nlink);
}

/* What was in flight is done now, if it was not. */
static void flying_again(struct worker *w, struct model *m, struct fs *fs)
{
	const struct m_op *op = &w->flying;
	struct m_node *x = &m->nodes[op->node < 0 ? 0 : op->node];
	struct fs_fid made = {0};
	int rc = model_run(m, fs, op, &made);
	if (!model_applied(m, op, &made, rc))
		ck_abort_msg("seed %llu %s: flying kind %d again: %d",
			     (unsigned long long)w->crash->seed, w->crash->when, op->kind, rc);
	if (!rc && m_is_data(op->kind))
		x->loose = w->was_loose || (op->kind == M_CLONE && m->nodes[op->node2].loose);
}

/* Each operation is done once, whatever the crash left of it. */
static void workers_again(struct crash *c)
{
	for (int i = 0; i < c->workers; i++) {
		struct worker *w = &c->worker[i];
		struct model *m = model_copy(w->m);
		bool again = w->is_flying && w->flying.keyed && !flying_at_nothing(w);
		unsigned files;
		done_again(w, c->w.fs);
		if (again)
			flying_again(w, m, c->w.fs);
		const char *d =
		    again ? left_differs(m, c->w.fs, &files) : worker_differs(w, c->w.fs, &files);
		if (d)
			ck_abort_msg("seed %llu %s: worker %d, asked again (flying: %d): %s",
				     (unsigned long long)c->seed, c->when, i,
				     w->is_flying ? (int)w->flying.kind : -1, d);
		model_free(m);
	}
}

static void look_task(void *arg)
{
	struct crash *c = arg;
	struct fs_check_report r;
	struct fs_statfs st;
	int rc = fs_check(sim_env(c->w.sim), c->w.dev, false, say_stderr, NULL, &r);
	if (rc)
		ck_abort_msg("seed %llu %s: check says %d", (unsigned long long)c->seed, c->when,
			     rc);
	world_mount_mem(&c->w, 1);
	/* Clients are told to send again what may have gone. */
	if ((c->verifier == fs_write_verifier(c->w.fs)) != (c->kill && !c->unknown))
		ck_abort_msg("seed %llu %s: the write verifier", (unsigned long long)c->seed,
			     c->when);
	ck_assert_int_eq(fs_statfs(c->w.fs, &st), 0);
	ck_assert_uint_ge(st.total_bytes, c->grown);
	workers_look(c);
	workers_again(c);
	world_unmount(&c->w);
	if (crash_rnd(c, 3) == 0) /* as the mount, the orphans and the unmount left it */
		world_check(&c->w);
}

static void mount_and_die_task(void *arg)
{
	struct crash *c = arg;
	struct fs *fs;
	struct fs_opts o = {.metadata_memory = 1};
	if (!fs_mount(&fs, sim_env(c->w.sim), c->w.dev, &o)) {
		env_sleep_ns(sim_env(c->w.sim), crash_rnd(c, 30) * NS_PER_MS); /* orphans go */
		sim_power_off(c->w.sim);
		fs_abandon(fs);
	}
}

void crash_again(struct crash *c, enum sim_loss how, uint64_t n, uint64_t nth)
{
	sim_power_on(c->w.sim, how, n);
	sim_power_off_at_write(c->w.sim, nth);
	ck_assert_int_eq(sim_run(c->w.sim, mount_and_die_task, c), 0);
	sim_power_off_at_write(c->w.sim, 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	if (!sim_power_is_off(c->w.sim))
		sim_power_off(c->w.sim);
}

void crash_look(struct crash *c, enum sim_loss how, uint64_t n, const char *name)
{
	char when[80];
	snprintf(when, sizeof(when), "%s %llu", name, (unsigned long long)n);
	c->when = when;
	sim_power_on(c->w.sim, how, n);
	ck_assert_int_eq(sim_run(c->w.sim, look_task, c), 0);
	sim_run_for(c->w.sim, 60 * NS_PER_S);
	sim_power_off_again(c->w.sim);
	__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

static uint64_t any_subset(struct crash *c)
{
	return crash_rnd(c, 1ull << 31) << 31 | crash_rnd(c, 1ull << 31);
}

void crash_outcomes(struct crash *c, uint64_t random)
{
	size_t n = sim_unstable_writes(c->w.sim);
	crash_look(c, SIM_LOSE_ALL, 0, "lose all");
	if (n)
		crash_look(c, SIM_LOSE_NONE, 0, "lose none");
	for (uint64_t i = 1; i < n && i < 12; i++)
		crash_look(c, SIM_LOSE_PREFIX, i, "prefix");
	for (uint64_t i = 0; i < random && n > 1; i++) {
		crash_look(c, SIM_LOSE_RANDOM, i, "random");
		crash_look(c, SIM_LOSE_SUBSET, any_subset(c), "subset");
	}
	/* The power goes again while the mount replays, or frees what was removed. */
	for (uint64_t i = 0; i < random; i++) {
		crash_again(c, i % 3 ? SIM_LOSE_RANDOM : SIM_LOSE_ALL, i,
			    1 + crash_rnd(c, i % 2 ? 12 : 60));
		crash_look(c, i % 2 ? SIM_LOSE_RANDOM : SIM_LOSE_SUBSET, any_subset(c), "again");
		crash_look(c, SIM_LOSE_NONE, 0, "again, lose none");
	}
}

void crash_kills(struct crash *c, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		crash_look(c, SIM_KILL, i, "kill");
	for (unsigned i = 0; i < 2; i++) {
		crash_again(c, SIM_KILL, i, 1 + crash_rnd(c, i ? 60 : 12));
		crash_look(c, SIM_KILL, i, "killed again");
	}
}

void crash_free(struct crash *c)
{
	for (int i = 0; i < c->workers; i++)
		model_free(c->worker[i].m);
	world_free(&c->w);
	free(c);
}
