/*
 * Random operations on the file system and on a model in memory, both asked the same: all
 * operations, remounts, growth, and directories read a few entries at a time while they change.
 * Most operations have a key; after a remount the last of them are asked for again, and change
 * nothing.
 *
 * FS_MODEL_OPS: operations in all (18,000), FS_MODEL_FIRST: the first seed.
 */
#include "tests/unit/fs/model.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"

#define OPS_A_SEED 3000
#define SIZE	   (48ull << 20)
#define FIRST_SIZE (28ull << 20)
#define TIGHT_SIZE (7ull << 20)
#define SCAN_MAX   1024
#define DONE	   32 /* operations asked for again */

/* A directory read by and by. Who is in it from begin to end is given once. */
struct scan {
	bool runs;
	int dir;
	struct fs_fid fid;
	uint64_t cookie;
	int left; /* of this call */
	int nold, nseen;
	struct {
		char name[32];
		uint64_t ino;
		bool gone;
	} old[M_NAMES];
	struct {
		char name[32];
		uint64_t ino;
	} seen[SCAN_MAX];
};

struct run {
	struct world w;
	uint64_t seed;
	int ops;
	uint64_t memory;
	struct model *m;
	struct scan scan;
	struct {
		struct m_op op;
		struct fs_fid made;
	} done[DONE]; /* a ring */
	unsigned ndone;
};

static void scan_start(struct run *r)
{
	struct scan *s = &r->scan;
	const struct model *m = r->m;
	int n = (int)(m->ops % M_NODES);
	*s = (struct scan){.runs = m->nodes[n].used && m->nodes[n].is_dir, .dir = n};
	if (!s->runs)
		return;
	s->fid = m->nodes[n].fid;
	for (int i = 0; i < M_NAMES; i++) {
		const struct m_name *e = &m->names[i];
		if (!e->used || e->dir != n)
			continue;
		strcpy(s->old[s->nold].name, e->name);
		s->old[s->nold++].ino = m->nodes[e->node].fid.ino;
	}
}

static bool scan_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		      const struct fs_attr *attr)
{
	struct scan *s = arg;
	ck_assert_uint_gt(cookie, s->cookie);
	s->cookie = cookie;
	ck_assert_int_lt(s->nseen, SCAN_MAX);
	ck_assert_uint_lt(len, sizeof(s->seen->name));
	memcpy(s->seen[s->nseen].name, name, len);
	s->seen[s->nseen].name[len] = 0;
	s->seen[s->nseen++].ino = ino;
	return --s->left > 0;
}

/* A name that the directory has lost since the scan began. */
static void scan_lose(struct scan *s, int dir, const char *name)
{
	for (int i = 0; i < s->nold && dir == s->dir; i++)
		if (!strcmp(s->old[i].name, name))
			s->old[i].gone = true;
}

static void scan_end(struct run *r)
{
	struct scan *s = &r->scan;
	for (int i = 0; i < s->nold; i++) {
		int times = 0;
		for (int k = 0; k < s->nseen; k++)
			times += !strcmp(s->seen[k].name, s->old[i].name) &&
				 s->seen[k].ino == s->old[i].ino;
		if (!s->old[i].gone && times != 1)
			ck_abort_msg("seed %llu op %llu: %s was given %d times",
				     (unsigned long long)r->seed, (unsigned long long)r->m->ops,
				     s->old[i].name, times);
	}
	s->runs = false;
}

/* After an operation that went well. */
static void scan_step(struct run *r, const struct m_op *op)
{
	struct scan *s = &r->scan;
	bool eof = false;
	if (op->kind == M_REMOVE || op->kind == M_RMDIR || op->kind == M_RENAME)
		scan_lose(s, op->dir, op->name);
	if (op->kind == M_RENAME)
		scan_lose(s, op->dir2, op->name2);
	if (s->runs && (!r->m->nodes[s->dir].used || r->m->nodes[s->dir].fid.ino != s->fid.ino ||
			r->m->nodes[s->dir].fid.generation != s->fid.generation))
		s->runs = false; /* the directory itself has gone */
	if (!s->runs || r->m->ops % 4)
		return;
	s->left = 1 + (int)(r->m->ops / 4 % 3);
	ck_assert_int_eq(
	    fs_readdir(r->w.fs, NULL, &s->fid, s->cookie, false, scan_emit, s, &eof, NULL), 0);
	if (eof)
		scan_end(r);
}

static void look(struct run *r, const char *when)
{
	const char *d = model_differs(r->m, r->w.fs, true);
	if (d)
		ck_abort_msg("seed %llu op %llu%s: %s", (unsigned long long)r->seed,
			     (unsigned long long)r->m->ops, when, d);
}

static void grow(struct run *r, uint64_t size)
{
	struct fs_statfs st;
	uint64_t added;
	if (r->w.dev->size >= size)
		return;
	r->w.dev->size = size;
	ck_assert_int_eq(fs_grow(r->w.fs, &added), 0);
	ck_assert_uint_gt(added, 0);
	ck_assert_int_eq(fs_statfs(r->w.fs, &st), 0);
}

static bool is_open(void *arg, const struct fs_fid *f)
{
	return m_is_open(arg, f);
}

static void mount_it(struct run *r)
{
	world_mount_mem(&r->w, r->memory);
	fs_set_used(r->w.fs, is_open, r->m);
	if (r->seed % 2) /* most clones by stand-ins */
		r->w.fs->clone_bufs = 3;
}

/* What was removed, and nobody has open, is freed by and by. */
static void all_freed(struct run *r)
{
	env_sleep_ns(sim_env(r->w.sim), 5 * NS_PER_S);
	if (files_in_use(r->w.fs) != model_files(r->m))
		ck_abort_msg("seed %llu op %llu: %u files, not %u", (unsigned long long)r->seed,
			     (unsigned long long)r->m->ops, files_in_use(r->w.fs),
			     model_files(r->m));
}

/* What left a memo before the mount. */
static void ask_again(struct run *r)
{
	uint64_t seq = r->w.fs->memos->seq;
	for (unsigned i = 0; i < MIN(r->ndone, (unsigned)DONE); i++) {
		const struct m_op *op = &r->done[i].op;
		struct fs_fid made = {0};
		int rc = model_run(r->m, r->w.fs, op, &made);
		if (rc && !(rc == -ESTALE && m_makes(op->kind)))
			ck_abort_msg("seed %llu op %llu again, kind %d: %d",
				     (unsigned long long)r->seed, (unsigned long long)op->serial,
				     op->kind, rc);
		if (!rc && m_makes(op->kind))
			ck_assert(made.ino == r->done[i].made.ino &&
				  made.generation == r->done[i].made.generation);
	}
	ck_assert_uint_eq(r->w.fs->memos->seq, seq);
	look(r, ", asked again");
}

static void remount_quickly(struct run *r)
{
	world_unmount(&r->w);
	model_unmounted(r->m);
	mount_it(r);
	ask_again(r);
}

static void remount(struct run *r)
{
	struct fs_check_report rep;
	ck_assert_int_eq(fs_verify(r->w.fs, say_stderr, NULL, &rep), 0);
	all_freed(r);
	world_unmount(&r->w);
	world_check(&r->w);
	model_unmounted(r->m);
	mount_it(r);
	look(r, ", mounted anew");
	all_freed(r);
	ask_again(r);
}

/* Was one left where it should be? */
static void memo_look(struct run *r, const struct m_op *op, const struct fs_fid *made, int rc,
		      uint64_t before)
{
	bool left = r->w.fs->memos->seq != before;
	if (left && (rc || !op->keyed || r->w.fs->memos->seq != before + 1))
		ck_abort_msg("seed %llu op %llu kind %d: a memo", (unsigned long long)r->seed,
			     (unsigned long long)r->m->ops, op->kind);
	if (!left && !rc && op->keyed && m_is_remembered(op->kind))
		ck_abort_msg("seed %llu op %llu kind %d: no memo", (unsigned long long)r->seed,
			     (unsigned long long)r->m->ops, op->kind);
	if (!left)
		return;
	r->done[r->ndone % DONE].op = *op;
	r->done[r->ndone++ % DONE].made = *made;
}

static void one_op(struct run *r)
{
	struct m_op op;
	struct fs_fid made;
	model_plan(r->m, &op);
	op.keyed = m_heeds_key(op.kind) && op.serial % 8;
	uint64_t seq = r->w.fs->memos->seq;
	int got = model_run(r->m, r->w.fs, &op, &made);
	memo_look(r, &op, &made, got, seq);
	if (!model_applied(r->m, &op, &made, got))
		ck_abort_msg("seed %llu op %llu kind %d: %d", (unsigned long long)r->seed,
			     (unsigned long long)r->m->ops, op.kind, got);
	model_closed(&op, r->w.fs);
	if (got && r->m->tight && m_is_data(op.kind) && !m_is_whole(op.kind))
		ck_assert_int_eq(model_reload(r->m, r->w.fs, op.node), 0);
	if (!got)
		scan_step(r, &op);
	if (!r->scan.runs)
		scan_start(r);
}

static void model_task(void *arg)
{
	struct run *r = arg;
	r->m = model_new(r->seed);
	r->m->tight = r->seed % 4 == 0; /* there is no room for all */
	r->m->opens = true;
	r->w.dev->size = r->m->tight ? TIGHT_SIZE : FIRST_SIZE;
	world_mkfs(&r->w);
	mount_it(r);
	for (int i = 0; i < r->ops; i++) {
		one_op(r);
		if (i % 500 == 499)
			look(r, "");
		if (!r->m->tight && (i == r->ops / 3 || i == r->ops * 2 / 3))
			grow(r, i == r->ops / 3 ? (FIRST_SIZE + SIZE) / 2 : SIZE);
		if (i % 1000 == 999)
			remount(r);
		else if (r->m->ops * 7919 % 300 == r->seed % 300)
			remount_quickly(r);
	}
	world_unmount(&r->w);
	world_check(&r->w);
	model_free(r->m);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);
	return v ? strtoull(v, NULL, 10) : otherwise;
}

static void run_one(uint64_t seed, int ops)
{
	struct run *r = calloc(1, sizeof(*r));
	world_new(&r->w, seed, SIZE);
	r->seed = seed;
	r->ops = ops;
	r->memory = seed % 3 == 0 ? 1 : 0; /* the least there can be */
	ck_assert_int_eq(sim_run(r->w.sim, model_task, r), 0);
	world_free(&r->w);
	free(r);
}

START_TEST(random_operations_do_what_the_model_does)
{
	run_one(number("FS_MODEL_FIRST", 1) + (uint64_t)_i, OPS_A_SEED);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_model");
	TCase *t = tcase_create("model");
	uint64_t n = (number("FS_MODEL_OPS", 18000) + OPS_A_SEED - 1) / OPS_A_SEED;
	keep_memory();
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, random_operations_do_what_the_model_does, 0, (int)n);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	printf("%llu operations\n", (unsigned long long)n * OPS_A_SEED);
	srunner_free(r);
	return failed ? 1 : 0;
}
