/* What the tests of memos share: files, keys, death, and whether anything has changed. */
#ifndef ISTHMUS_TESTS_UNIT_FS_MEMO_WORLD_H
#define ISTHMUS_TESTS_UNIT_FS_MEMO_WORLD_H

#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "tests/unit/fs/fs_world.h"

#define SIZE (16ull << 20)

struct tests {
	struct world w;
	int call;
	bool kill, ended;
	uint64_t after_ns;	      /* power goes */
	uint64_t blocks;	      /* of f: so many extents */
	struct fs_fid dir, sub, f, g; /* f has data, g is empty */
};

static inline struct fs_once key_of(uint64_t n)
{
	struct fs_once k = {{0}};
	le64_put(k.key, n * 0x9e3779b97f4a7c15ull);
	le64_put(k.key + 24, n);
	return k;
}

static inline struct fs_cred with(const struct fs_once *k)
{
	return (struct fs_cred){.once = k};
}

/* ---- what there is ---- */

static inline uint64_t mix(uint64_t sum, uint64_t v)
{
	return (sum ^ v) * 0x100000001b3ull + (sum >> 47);
}

struct look {
	uint64_t sum;
};

static inline bool look_emit(void *arg, const char *name, uint32_t len, uint64_t ino,
			     uint64_t cookie, const struct fs_attr *a)
{
	struct look *l = arg;
	for (uint32_t i = 0; i < len; i++)
		l->sum = mix(l->sum, (unsigned char)name[i]);
	l->sum = mix(mix(mix(l->sum, ino), a->change), a->size);
	l->sum = mix(mix(mix(l->sum, (uint64_t)a->ctime.sec), a->ctime.nsec), a->nlink);
	l->sum = mix(mix(l->sum, a->used), a->mode);
	return true;
}

/* Differs when anything does. */
static inline uint64_t look(struct tests *t)
{
	struct look l = {0};
	const struct fs_fid dirs[] = {root_fid, t->dir, t->sub};
	bool eof;
	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++) {
		int rc = fs_readdir(t->w.fs, NULL, &dirs[i], 0, true, look_emit, &l, &eof, NULL);
		ck_assert(rc == 0 || (rc == -ESTALE && i == 2));
	}
	return l.sum;
}

static inline void put_blocks(struct tests *t)
{
	char p[BS];
	for (uint64_t i = 0; i < t->blocks; i++) {
		memset(p, 'a' + (int)i % 20, sizeof(p));
		ck_assert_int_eq(put(t->w.fs, &t->f, 2 * i * BS, p, BS, 0), 0);
	}
	ck_assert_int_eq(fs_commit(t->w.fs, &t->f, 0, 0, NULL), 0);
}

static inline void set_up(struct tests *t)
{
	world_mkfs(&t->w);
	world_mount(&t->w);
	ck_assert_int_eq(make_dir(t->w.fs, &root_fid, "d", &t->dir), 0);
	ck_assert_int_eq(make_dir(t->w.fs, &t->dir, "sub", &t->sub), 0);
	ck_assert_int_eq(make_file(t->w.fs, &t->dir, "f", &t->f), 0);
	ck_assert_int_eq(make_file(t->w.fs, &t->dir, "g", &t->g), 0);
	ck_assert_int_eq(fs_xattr_set(t->w.fs, NULL, &t->f, "x", 1, "y", 1, 0, NULL), 0);
	put_blocks(t);
}

static inline void die(struct tests *t)
{
	if (!sim_power_is_off(t->w.sim))
		sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
	t->w.fs = NULL;
}

static inline void after_crash(struct tests *t, task_fn *fn)
{
	sim_run_for(t->w.sim, 60 * NS_PER_S);
	sim_power_on(t->w.sim, t->kill ? SIM_KILL : SIM_LOSE_ALL, 0);
	ck_assert_int_eq(sim_run(t->w.sim, fn, t), 0);
}

static inline struct tests *tests_new(uint64_t seed, uint64_t size)
{
	struct tests *t = calloc(1, sizeof(*t));
	t->blocks = 40;
	world_new(&t->w, seed, size);
	sim_disk_memory_known(t->w.disk);
	return t;
}

static inline void tests_free(struct tests *t)
{
	world_free(&t->w);
	free(t);
}

static inline uint64_t memos(const struct tests *t)
{
	return t->w.fs->memos->seq;
}

static inline int chmod_with(struct tests *t, uint64_t n)
{
	struct fs_once k = key_of(n);
	struct fs_cred c = with(&k);
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = n % 512};
	return fs_setattr(t->w.fs, &c, &t->f, &s, NULL, NULL);
}

static inline bool was_done(struct tests *t, uint64_t n)
{
	struct fs_attr a, b;
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &a), 0);
	ck_assert_int_eq(chmod_with(t, n), 0);
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &b), 0);
	return a.change == b.change;
}

#endif
