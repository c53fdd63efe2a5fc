/*
 * Memos: what was carried out before a crash is not carried out again, however it came to it.
 * Each call once, then the power goes or the head dies, and it is sent again.
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "tests/unit/fs/fs_world.h"

#define SIZE   (16ull << 20)
#define BLOCKS 40

struct tests {
	struct world w;
	int call;
	bool kill;
	struct fs_fid dir, sub, f, g; /* f has data, g is empty */
};

static struct fs_once key_of(uint64_t n)
{
	struct fs_once k = {{0}};
	le64_put(k.key, n * 0x9e3779b97f4a7c15ull);
	le64_put(k.key + 24, n);
	return k;
}

static struct fs_cred with(const struct fs_once *k)
{
	return (struct fs_cred){.once = k};
}

/* What a call answers. */
struct answer {
	struct fs_attr made;
	struct fs_wcc wcc;
};

/* ---- the calls ---- */

static int do_create(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_create(t->w.fs, c, &t->dir, "new", 3, FS_CREATE_GUARDED, NULL, 0, &a->made,
			 &a->wcc);
}

static int do_create_cut(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 5000};
	return fs_create(t->w.fs, c, &t->dir, "f", 1, FS_CREATE_UNCHECKED, &s, 0, &a->made,
			 &a->wcc);
}

static int do_create_exclusive(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	static uint64_t verifier; /* another one each time */
	return fs_create(t->w.fs, c, &t->dir, "new", 3, FS_CREATE_EXCLUSIVE, NULL, ++verifier,
			 &a->made, &a->wcc);
}

static int do_mkdir(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_mkdir(t->w.fs, c, &t->dir, "new", 3, NULL, &a->made, &a->wcc);
}

static int do_symlink(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_symlink(t->w.fs, c, &t->dir, "new", 3, "to", 2, NULL, &a->made, &a->wcc);
}

static int do_mknod(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_mknod(t->w.fs, c, &t->dir, "new", 3, FS_FIFO, 0, 0, NULL, &a->made, &a->wcc);
}

static int do_link(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_link(t->w.fs, c, &t->f, &t->dir, "new", 3, &a->made, &a->wcc);
}

static int do_remove(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_remove(t->w.fs, c, &t->dir, "f", 1, &a->wcc);
}

static int do_rmdir(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_rmdir(t->w.fs, c, &t->dir, "sub", 3, &a->wcc);
}

static int do_rename(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_rename(t->w.fs, c, &t->dir, "f", 1, &t->sub, "moved", 5, NULL, &a->wcc);
}

static int do_rename_over(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_rename(t->w.fs, c, &t->dir, "f", 1, &t->dir, "g", 1, &a->wcc, NULL);
}

/* With a guard, which does not hold any more the second time. */
static int do_chmod(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	static struct fs_time ctime;
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0600};
	struct fs_attr now;
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &now), 0);
	if (now.mode != 0600)
		ctime = now.ctime;
	return fs_setattr(t->w.fs, c, &t->f, &s, &ctime, &a->wcc);
}

static int do_resize(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 100};
	return fs_setattr(t->w.fs, c, &t->f, &s, NULL, &a->wcc);
}

static int do_extend(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 1 << 20};
	return fs_setattr(t->w.fs, c, &t->f, &s, NULL, &a->wcc);
}

static int do_xattr_set(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_xattr_set(t->w.fs, c, &t->f, "new", 3, "value", 5, FS_XATTR_CREATE, &a->wcc);
}

static int do_xattr_remove(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_xattr_remove(t->w.fs, c, &t->f, "x", 1, &a->wcc);
}

static int do_acl(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	const struct fs_ace e[] = {
	    {.type = FS_ACE_ALLOW, .who = FS_WHO_USER, .id = 7, .mask = FS_ACE_READ}};
	return fs_acl_set(t->w.fs, c, &t->f, e, 1, &a->wcc);
}

static int do_posix_acl(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	static const struct fs_posix_acl l = {.n = 5,
					      .e = {{FS_POSIX_USER_OBJ, 6, 0},
						    {FS_POSIX_USER, 4, 7},
						    {FS_POSIX_GROUP_OBJ, 4, 0},
						    {FS_POSIX_MASK, 4, 0},
						    {FS_POSIX_OTHER, 0, 0}}};
	return fs_posix_acl_set(t->w.fs, c, &t->f, &l, NULL, &a->wcc);
}

static int do_clone(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_clone_range(t->w.fs, c, &t->f, 0, &t->g, 0, 0, &a->wcc);
}

static int do_clone_standin(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	t->w.fs->clone_bufs = 3;
	return do_clone(t, c, a);
}

static int do_allocate(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_allocate(t->w.fs, c, &t->f, 0, 2 * BLOCKS * BS, &a->wcc);
}

static int do_deallocate(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_deallocate(t->w.fs, c, &t->f, 10, 2 * BLOCKS * BS - 20, &a->wcc);
}

static const struct call {
	const char *name;
	int (*run)(struct tests *t, const struct fs_cred *c, struct answer *a);
	int again; /* what it gives the second time with another key */
	bool makes;
} calls[] = {
    {"create", do_create, -EEXIST, true},
    {"create, cut", do_create_cut, 0, true},
    {"create, exclusive", do_create_exclusive, -EEXIST, true},
    {"mkdir", do_mkdir, -EEXIST, true},
    {"symlink", do_symlink, -EEXIST, true},
    {"mknod", do_mknod, -EEXIST, true},
    {"link", do_link, -EEXIST, true},
    {"remove", do_remove, -ENOENT, false},
    {"rmdir", do_rmdir, -ENOENT, false},
    {"rename", do_rename, -ENOENT, false},
    {"rename over", do_rename_over, -ENOENT, false},
    {"chmod", do_chmod, -ERR_MISCOMPARE, false},
    {"resize", do_resize, 0, false},
    {"extend", do_extend, 0, false},
    {"set xattr", do_xattr_set, -EEXIST, false},
    {"remove xattr", do_xattr_remove, -ENODATA, false},
    {"set acl", do_acl, 0, false},
    {"set posix acl", do_posix_acl, 0, false},
    {"clone", do_clone, 0, false},
    {"clone by stand-in", do_clone_standin, 0, false},
    {"allocate", do_allocate, 0, false},
    {"deallocate", do_deallocate, 0, false},
};
#define CALLS ((int)ARRAY_LEN(calls))

/* ---- what there is ---- */

static uint64_t mix(uint64_t sum, uint64_t v)
{
	return (sum ^ v) * 0x100000001b3ull + (sum >> 47);
}

struct look {
	uint64_t sum;
	struct fs *fs;
};

static bool look_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		      const struct fs_attr *a)
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
static uint64_t look(struct tests *t)
{
	struct look l = {.fs = t->w.fs};
	const struct fs_fid dirs[] = {root_fid, t->dir, t->sub};
	bool eof;
	for (unsigned i = 0; i < ARRAY_LEN(dirs); i++) {
		int rc = fs_readdir(t->w.fs, NULL, &dirs[i], 0, true, look_emit, &l, &eof, NULL);
		ck_assert(rc == 0 || (rc == -ESTALE && i == 2));
	}
	return l.sum;
}

static void put_blocks(struct tests *t)
{
	char p[BS];
	for (uint64_t i = 0; i < BLOCKS; i++) { /* as many extents */
		memset(p, 'a' + (int)i % 20, sizeof(p));
		ck_assert_int_eq(put(t->w.fs, &t->f, 2 * i * BS, p, BS, 0), 0);
	}
	ck_assert_int_eq(fs_commit(t->w.fs, &t->f, 0, 0, NULL), 0);
}

static void set_up(struct tests *t)
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

static void die(struct tests *t)
{
	if (!sim_power_is_off(t->w.sim))
		sim_power_off(t->w.sim);
	fs_abandon(t->w.fs);
	t->w.fs = NULL;
}

/* ---- each call ---- */

static void first_task(void *arg)
{
	struct tests *t = arg;
	const struct call *call = &calls[t->call];
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k);
	struct answer a;
	set_up(t);
	int rc = call->run(t, &c, &a);
	if (rc)
		ck_abort_msg("%s: %d", call->name, rc);
	if (t->call % 2 == 0) /* so that the memo is in its place */
		ck_assert_int_eq(checkpoint_run(t->w.fs, true), 0);
	die(t);
}

static void same_key(struct tests *t, uint64_t n)
{
	const struct call *call = &calls[t->call];
	struct fs_once k = key_of(n);
	struct fs_cred c = with(&k);
	struct answer a;
	uint64_t before = look(t);
	memset(&a, 0xaa, sizeof(a));
	int rc = call->run(t, &c, &a);
	if (rc)
		ck_abort_msg("%s with its key: %d", call->name, rc);
	ck_assert(!a.wcc.have_pre);
	ck_assert(a.wcc.have_post);
	ck_assert_uint_eq(look(t), before);
	if (!call->makes)
		return;
	struct fs_attr is;
	const char *name = call->run == do_create_cut ? "f" : "new";
	ck_assert_int_eq(find(t->w.fs, &t->dir, name, &is), 0);
	ck_assert_mem_eq(&is, &a.made, sizeof(is));
}

static void other_key(struct tests *t, uint64_t n)
{
	const struct call *call = &calls[t->call];
	struct fs_once k = key_of(n);
	struct fs_cred c = with(&k);
	struct answer a;
	uint64_t before = look(t);
	env_sleep_ns(sim_env(t->w.sim), NS_PER_MS);
	int rc = call->run(t, &c, &a);
	if (rc != call->again)
		ck_abort_msg("%s with another key: %d", call->name, rc);
	ck_assert((look(t) == before) == (rc != 0));
}

static void again_task(void *arg)
{
	struct tests *t = arg;
	world_check(&t->w);
	world_mount(&t->w);
	same_key(t, 1);
	same_key(t, 1);
	die(t);
}

/* After a second crash, in which nothing was written. */
static void once_more_task(void *arg)
{
	struct tests *t = arg;
	world_mount(&t->w);
	same_key(t, 1);
	other_key(t, 2);
	same_key(t, 1);
	env_sleep_ns(sim_env(t->w.sim), 301 * NS_PER_S); /* then it is forgotten */
	other_key(t, 1);
	world_unmount(&t->w);
	world_check(&t->w);
}

static void after_crash(struct tests *t, task_fn *fn)
{
	sim_run_for(t->w.sim, 60 * NS_PER_S);
	sim_power_on(t->w.sim, t->kill ? SIM_KILL : SIM_LOSE_ALL, 0);
	ck_assert_int_eq(sim_run(t->w.sim, fn, t), 0);
}

static struct tests *tests_new(uint64_t seed, uint64_t size)
{
	struct tests *t = calloc(1, sizeof(*t));
	world_new(&t->w, seed, size);
	sim_disk_memory_known(t->w.disk);
	return t;
}

static void tests_free(struct tests *t)
{
	world_free(&t->w);
	free(t);
}

START_TEST(each_call_is_done_once)
{
	struct tests *t = tests_new(1 + (uint64_t)_i, SIZE);
	t->call = _i / 2;
	t->kill = _i % 2;
	ck_assert_int_eq(sim_run(t->w.sim, first_task, t), 0);
	after_crash(t, again_task);
	after_crash(t, once_more_task);
	tests_free(t);
}
END_TEST

/* ---- cut off at each of its writes ---- */

static void cut_off_task(void *arg)
{
	struct tests *t = arg;
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k);
	struct answer a;
	int rc = calls[t->call].run(t, &c, &a);
	ck_assert(rc == 0 || sim_power_is_off(t->w.sim));
	die(t);
}

static void set_up_task(void *arg)
{
	set_up(arg);
}

static uint64_t extents(struct fs *fs, const struct fs_fid *f)
{
	uint64_t n = 0, at = 0, end;
	for (; !fs_seek(fs, NULL, f, at, FS_SEEK_DATA, &at); at = end, n++)
		ck_assert_int_eq(fs_seek(fs, NULL, f, at, FS_SEEK_HOLE, &end), 0);
	return n;
}

/* Is it done? Of calls of several bodies. */
static bool is_done(struct tests *t)
{
	int (*run)(struct tests *, const struct fs_cred *, struct answer *) = calls[t->call].run;
	struct fs_attr f, g;
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &f), 0);
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->g, &g), 0);
	if (run == do_resize || run == do_create_cut)
		return f.size == (run == do_resize ? 100 : 5000);
	if (run == do_extend)
		return f.size == 1 << 20;
	if (run == do_deallocate)
		return extents(t->w.fs, &t->f) == 1;
	if (run == do_allocate)
		return f.used >= 2 * BLOCKS * BS;
	return g.size == f.size && extents(t->w.fs, &t->g) == BLOCKS;
}

static void redo_task(void *arg)
{
	struct tests *t = arg;
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k);
	struct answer a;
	world_check(&t->w);
	world_mount(&t->w);
	bool known = t->w.fs->memos->nknown > 0, done = is_done(t);
	/* The last part may have had nothing to do. */
	if (known && !done)
		ck_abort_msg("%s: remembered, and not done", calls[t->call].name);
	if (done && !known && calls[t->call].run != do_allocate &&
	    calls[t->call].run != do_deallocate)
		ck_abort_msg("%s: done, and not remembered", calls[t->call].name);
	uint64_t before = look(t);
	ck_assert_int_eq(calls[t->call].run(t, &c, &a), 0);
	ck_assert(is_done(t));
	ck_assert(!known || look(t) == before);
	world_unmount(&t->w);
	world_check(&t->w);
}

START_TEST(cut_off_and_done_again)
{
	static int (*const runs[])(struct tests *, const struct fs_cred *, struct answer *) = {
	    do_create_cut,    do_resize,   do_extend,	 do_clone,
	    do_clone_standin, do_allocate, do_deallocate};
	int call = 0;
	while (calls[call].run != runs[_i])
		call++;
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct tests *t = tests_new(100 + nth, SIZE);
		t->call = call;
		t->kill = nth % 3 == 0;
		ck_assert_int_eq(sim_run(t->w.sim, set_up_task, t), 0);
		uint64_t writes = sim_writes_issued(t->w.sim);
		sim_power_off_at_write(t->w.sim, nth);
		ck_assert_int_eq(sim_run(t->w.sim, cut_off_task, t), 0);
		sim_power_off_at_write(t->w.sim, 0);
		bool last = sim_writes_issued(t->w.sim) - writes < nth;
		after_crash(t, redo_task);
		tests_free(t);
		if (last)
			break;
		ck_assert_uint_lt(nth, 39);
	}
}
END_TEST

/* ---- what leaves no memo ---- */

static uint64_t memos(const struct tests *t)
{
	return t->w.fs->memos->seq;
}

static void nothing_task(void *arg)
{
	struct tests *t = arg;
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k), other = {.uid = 5, .once = &k};
	struct fs_setattr s = {0};
	struct fs_attr a;
	set_up(t);
	ck_assert_uint_eq(memos(t), 0);
	struct fs *fs = t->w.fs;
	ck_assert_int_eq(fs_create(fs, &c, &t->dir, "f", 1, FS_CREATE_UNCHECKED, NULL, 0, &a, NULL),
			 0);
	ck_assert_int_eq(fs_setattr(fs, &c, &t->f, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_rename(fs, &c, &t->dir, "f", 1, &t->dir, "f", 1, NULL, NULL), 0);
	ck_assert_int_eq(fs_allocate(fs, &c, &t->f, 0, 0, NULL), 0);
	ck_assert_int_eq(fs_deallocate(fs, &c, &t->g, 5, 5, NULL), 0);
	ck_assert_int_eq(fs_clone_range(fs, &c, &t->g, 0, &t->f, 0, 0, NULL), 0);
	/* errors */
	ck_assert_int_eq(fs_create(fs, &c, &t->dir, "f", 1, FS_CREATE_GUARDED, NULL, 0, &a, NULL),
			 -EEXIST);
	ck_assert_int_eq(fs_remove(fs, &c, &t->dir, "sub", 3, NULL), -EISDIR);
	ck_assert_int_eq(fs_remove(fs, &other, &t->dir, "f", 1, NULL), -EACCES);
	ck_assert_int_eq(fs_allocate(fs, &c, &t->f, 0, 1ull << 40, NULL), -ENOSPC);
	ck_assert_uint_eq(memos(t), 0);
	ck_assert_int_eq(fs_mkdir(fs, &c, &t->dir, "x", 1, NULL, &a, NULL), 0);
	ck_assert_uint_eq(memos(t), 1);
	world_unmount(&t->w);
}

START_TEST(no_change_no_memo)
{
	struct tests *t = tests_new(200, SIZE);
	ck_assert_int_eq(sim_run(t->w.sim, nothing_task, t), 0);
	tests_free(t);
}
END_TEST

/* ---- what has gone meanwhile ---- */

static void gone_task(void *arg)
{
	struct tests *t = arg;
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k);
	struct answer a;
	struct fs_fid made;
	set_up(t);
	for (int round = 0; round < 2; round++) {
		struct fs *fs = t->w.fs;
		int gone = round ? -ESTALE : 0;
		struct fs_setattr s = {.which = FS_SET_MODE, .mode = 0600};
		ck_assert_int_eq(do_create(t, &c, &a), gone);
		made = fid_of(&a.made);
		ck_assert_int_eq(do_link(t, &c, &a), round ? -ESTALE : -EEXIST);
		ck_assert_int_eq(fs_link(fs, &c, &t->f, &t->sub, "l", 1, &a.made, &a.wcc), gone);
		ck_assert_int_eq(fs_setattr(fs, &c, &t->f, &s, NULL, &a.wcc), 0);
		ck_assert(a.wcc.have_post == !round);
		ck_assert_int_eq(fs_remove(fs, &c, &t->sub, "l", 1, &a.wcc), 0);
		ck_assert(a.wcc.have_post == !round);
		if (round)
			break;
		ck_assert_int_eq(fs_remove(fs, NULL, &t->dir, "new", 3, NULL), 0);
		ck_assert_int_eq(fs_getattr(fs, &made, &a.made), -ESTALE);
		ck_assert_int_eq(fs_remove(fs, NULL, &t->dir, "f", 1, NULL), 0);
		ck_assert_int_eq(fs_rmdir(fs, NULL, &t->dir, "sub", 3, NULL), 0);
		world_unmount(&t->w);
		world_mount(&t->w);
	}
	world_unmount(&t->w);
}

START_TEST(objects_that_have_gone)
{
	struct tests *t = tests_new(201, SIZE);
	ck_assert_int_eq(sim_run(t->w.sim, gone_task, t), 0);
	tests_free(t);
}
END_TEST

/* ---- the ring ---- */

static int chmod_with(struct tests *t, uint64_t n)
{
	struct fs_once k = key_of(n);
	struct fs_cred c = with(&k);
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = n % 512};
	return fs_setattr(t->w.fs, &c, &t->f, &s, NULL, NULL);
}

static bool was_done(struct tests *t, uint64_t n)
{
	struct fs_attr a, b;
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &a), 0);
	ck_assert_int_eq(chmod_with(t, n), 0);
	ck_assert_int_eq(fs_getattr(t->w.fs, &t->f, &b), 0);
	return a.change == b.change;
}

#define WRAPS 1000
static void wrap_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	ck_assert_uint_eq(t->w.fs->memos->n, MEMO_BLOCKS_MIN);
	for (uint64_t i = 1; i <= WRAPS; i++) {
		ck_assert_int_eq(chmod_with(t, i), 0);
		ck_assert_uint_eq(memos(t), i);
	}
	die(t);
}

static void wrapped_task(void *arg)
{
	struct tests *t = arg;
	world_check(&t->w);
	world_mount(&t->w);
	unsigned kept = (MEMO_BLOCKS_MIN - 1) * ME_PER_BLOCK + (WRAPS - 1) % ME_PER_BLOCK + 1;
	ck_assert_uint_eq(t->w.fs->memos->nknown, kept);
	for (uint64_t i = WRAPS - kept + 1; i <= WRAPS; i++)
		ck_assert(was_done(t, i));
	ck_assert_uint_eq(memos(t), WRAPS);
	ck_assert(!was_done(t, WRAPS - kept));
	ck_assert(!was_done(t, 1));
	ck_assert_uint_eq(memos(t), WRAPS + 2);
	world_unmount(&t->w);
	world_check(&t->w);
}

START_TEST(the_ring_goes_round)
{
	struct tests *t = tests_new(202, 8 << 20);
	ck_assert_int_eq(sim_run(t->w.sim, wrap_task, t), 0);
	after_crash(t, wrapped_task);
	tests_free(t);
}
END_TEST

/* Many at once, in few batches, with blocks that have to be read. */
#define WORKERS 16
#define EACH	40
static int working;
static uint64_t next_key;

static void worker(void *arg)
{
	struct tests *t = arg;
	for (int i = 0; i < EACH; i++) {
		uint64_t n = ++next_key;
		struct fs_once k = key_of(n);
		struct fs_cred c = with(&k);
		struct fs_attr a;
		char name[16];
		int len = snprintf(name, sizeof(name), "n%d", (int)n);
		ck_assert_int_eq(fs_create(t->w.fs, &c, &t->dir, name, (uint32_t)len,
					   FS_CREATE_GUARDED, NULL, 0, &a, NULL),
				 0);
	}
	working--;
}

static void many_task(void *arg)
{
	struct tests *t = arg;
	struct fs_stats st;
	set_up(t);
	world_unmount(&t->w);
	world_mount_mem(&t->w, 1);
	for (working = 0; working < WORKERS; working++)
		ck_assert_int_eq(task_start(worker, t), 0);
	while (working)
		env_sleep_ns(sim_env(t->w.sim), NS_PER_MS);
	fs_stats(t->w.fs, &st);
	ck_assert_uint_lt(st.commits, WORKERS * EACH);
	ck_assert_uint_eq(memos(t), WORKERS * EACH);
	die(t);
}

static void many_again_task(void *arg)
{
	struct tests *t = arg;
	struct fs_attr a;
	world_check(&t->w);
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->nknown, WORKERS * EACH);
	uint64_t before = look(t);
	for (uint64_t n = 1; n <= WORKERS * EACH; n++) {
		struct fs_once k = key_of(n);
		struct fs_cred c = with(&k);
		char name[16];
		int len = snprintf(name, sizeof(name), "n%d", (int)n);
		ck_assert_int_eq(fs_create(t->w.fs, &c, &t->dir, name, (uint32_t)len,
					   FS_CREATE_GUARDED, NULL, 0, &a, NULL),
				 0);
		struct fs_attr is;
		ck_assert_int_eq(find(t->w.fs, &t->dir, name, &is), 0);
		ck_assert_uint_eq(is.ino, a.ino);
	}
	ck_assert_uint_eq(look(t), before);
	world_unmount(&t->w);
}

START_TEST(many_at_once)
{
	struct tests *t = tests_new(203, 64 << 20);
	ck_assert_int_eq(sim_run(t->w.sim, many_task, t), 0);
	after_crash(t, many_again_task);
	tests_free(t);
}
END_TEST

/* A check looks at the ring while it is written: also at the block that is begun next. */
static void verify_task(void *arg)
{
	struct tests *t = arg;
	struct fs_check_report r;
	while (working) {
		ck_assert_int_eq(fs_verify(t->w.fs, say_stderr, NULL, &r), 0);
		env_sleep_ns(sim_env(t->w.sim), NS_PER_MS);
	}
}

static void looked_at_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	for (working = 0; working < WORKERS; working++)
		ck_assert_int_eq(task_start(worker, t), 0);
	verify_task(t);
	ck_assert_uint_eq(memos(t), WORKERS * EACH);
	world_unmount(&t->w);
	world_check(&t->w);
}

START_TEST(a_check_looks_meanwhile)
{
	struct tests *t = tests_new(204, 8 << 20);
	next_key = 0;
	ck_assert_int_eq(sim_run(t->w.sim, looked_at_task, t), 0);
	tests_free(t);
}
END_TEST

/* ---- damage ---- */

static void fill_ring_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	for (uint64_t i = 1; i <= 3 * ME_PER_BLOCK - 10; i++)
		ck_assert_int_eq(chmod_with(t, i), 0);
	world_unmount(&t->w);
}

static int lines;

static void count_line(void *arg, const char *line)
{
	lines += strstr(line, "memos") != NULL;
}

static void damaged_task(void *arg)
{
	struct tests *t = arg;
	struct fs_check_report r;
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, MEMO_BLOCKS_MIN - 1);
	ck_assert(was_done(t, 1));
	ck_assert(!was_done(t, ME_PER_BLOCK + 5));
	ck_assert(was_done(t, 2 * ME_PER_BLOCK + 5));
	ck_assert_int_eq(fs_verify(t->w.fs, count_line, NULL, &r), -ERR_CORRUPT);
	ck_assert_int_gt(lines, 0);
	world_unmount(&t->w);
	lines = 0;
	ck_assert_int_eq(fs_check(sim_env(t->w.sim), t->w.dev, true, count_line, NULL, &r), 0);
	ck_assert_uint_eq(r.errors, 1);
	ck_assert_uint_eq(r.repaired, 1);
	ck_assert_int_eq(lines, 2);
	world_check(&t->w);
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, MEMO_BLOCKS_MIN);
	ck_assert(was_done(t, 1));
	ck_assert(was_done(t, 3 * ME_PER_BLOCK - 10));
	ck_assert(!was_done(t, ME_PER_BLOCK + 6));
	world_unmount(&t->w);
	world_check(&t->w);
}

static uint64_t ring_block(struct tests *t, unsigned i)
{
	const uint8_t *d = sim_disk_bytes(t->w.disk);
	uint64_t root = le64_get(d + SB_ROOT_BLOCK);
	const uint8_t *p = d + root * BS + H_SIZE + MEMO_INO * INODE_SIZE;
	return le64_get(p + I_AREA + 8) + i;
}

START_TEST(a_damaged_block_is_emptied)
{
	struct tests *t = tests_new(205, 8 << 20);
	ck_assert_int_eq(sim_run(t->w.sim, fill_ring_task, t), 0);
	sim_run_for(t->w.sim, 60 * NS_PER_S);
	uint64_t block = ring_block(t, 1);
	sim_disk_bytes(t->w.disk)[block * BS + 500] ^= 1;
	sim_disk_bytes_changed(t->w.disk, block * BS, BS);
	ck_assert_int_eq(sim_run(t->w.sim, damaged_task, t), 0);
	tests_free(t);
}
END_TEST

static void twin_task(void *arg)
{
	struct tests *t = arg;
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, MEMO_BLOCKS_MIN);
	ck_assert(was_done(t, ME_PER_BLOCK + 5));
	world_unmount(&t->w);
	world_check(&t->w);
}

START_TEST(a_second_copy_repairs_the_ring)
{
	struct tests *t = tests_new(206, 8 << 20);
	sim_disk_set_twin(t->w.disk, sim_disk_new(t->w.sim, "twin", 8 << 20));
	ck_assert_int_eq(sim_run(t->w.sim, fill_ring_task, t), 0);
	sim_run_for(t->w.sim, 60 * NS_PER_S);
	for (unsigned i = 0; i < MEMO_BLOCKS_MIN; i++) {
		uint64_t block = ring_block(t, i);
		sim_disk_bytes(t->w.disk)[block * BS + 500] ^= 1;
		sim_disk_bytes_changed(t->w.disk, block * BS, BS);
	}
	ck_assert_int_eq(sim_run(t->w.sim, twin_task, t), 0);
	tests_free(t);
}
END_TEST

/* ---- where there is no ring yet ---- */

static void block_changed(struct tests *t, uint64_t block)
{
	uint8_t *d = sim_disk_bytes(t->w.disk) + block * BS;
	block_seal(d, 0);
	sim_disk_bytes_changed(t->w.disk, block * BS, BS);
}

/* As the program of format 6 would have made it. */
static void without_ring(struct tests *t, uint32_t version)
{
	uint8_t *d = sim_disk_bytes(t->w.disk);
	uint64_t root = le64_get(d + SB_ROOT_BLOCK), ag = le64_get(d + SB_AG_START),
		 sum = le64_get(d + SB_SUMMARY_START);
	uint8_t *p = d + root * BS + H_SIZE + MEMO_INO * INODE_SIZE;
	uint64_t start = le64_get(p + I_AREA + 8);
	uint32_t n = le32_get(p + I_AREA + 16);
	ck_assert_uint_eq(p[I_TYPE], MEMO_TYPE);
	ck_assert_uint_eq(le32_get(p + I_INLINE), 1);
	memset(p, 0, INODE_SIZE);
	le16_put(p + I_MAGIC, INODE_MAGIC);
	le32_put(p + I_GENERATION, 1);
	for (uint64_t i = start - ag; i < start - ag + n; i++)
		d[ag * BS + H_SIZE + i / 8] &= (uint8_t) ~(1 << (i % 8));
	uint8_t *s = d + sum * BS + H_SIZE;
	le32_put(s + SUM_FREE, le32_get(s + SUM_FREE) + n);
	le32_put(s + SUM_INODES, le32_get(s + SUM_INODES) - 1);
	memset(d + start * BS, 0xee, n * BS);
	sim_disk_bytes_changed(t->w.disk, start * BS, n * BS);
	block_changed(t, root);
	block_changed(t, ag);
	block_changed(t, sum);
	for (uint64_t b = 0; b < sim_disk_size(t->w.disk) / BS; b++)
		if (le32_get(d + b * BS) == META_MAGIC &&
		    le16_get(d + b * BS + H_TYPE) == BT_SUPER) {
			le32_put(d + b * BS + SB_VERSION, version);
			block_changed(t, b);
		}
}

static void make_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	world_unmount(&t->w);
}

static void mount_and_die_task(void *arg)
{
	struct tests *t = arg;
	if (fs_mount(&t->w.fs, sim_env(t->w.sim), t->w.dev, NULL))
		return;
	die(t);
}

static void upgraded_task(void *arg)
{
	struct tests *t = arg;
	struct fs_opts o = {.read_only = true};
	world_check(&t->w);
	ck_assert_int_eq(fs_mount(&t->w.fs, sim_env(t->w.sim), t->w.dev, &o), 0);
	ck_assert_ptr_null(t->w.fs->memos);
	ck_assert_int_eq(chmod_with(t, 1), -EROFS);
	world_unmount(&t->w);
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, memo_ring_size(t->w.fs->blocks));
	ck_assert_int_eq(chmod_with(t, 1), 0);
	world_unmount(&t->w);
	world_check(&t->w);
	world_mount(&t->w);
	ck_assert(was_done(t, 1));
	world_unmount(&t->w);
}

START_TEST(older_formats_get_a_ring)
{
	for (uint64_t nth = 0; nth < 20; nth++) {
		struct tests *t = tests_new(300 + nth, 64 << 20);
		ck_assert_int_eq(sim_run(t->w.sim, make_task, t), 0);
		sim_run_for(t->w.sim, 60 * NS_PER_S);
		without_ring(t, FORMAT_OLDEST + nth % (FORMAT_VERSION - FORMAT_OLDEST + 1));
		if (nth) {
			sim_power_off_at_write(t->w.sim, nth);
			ck_assert_int_eq(sim_run(t->w.sim, mount_and_die_task, t), 0);
			sim_power_off_at_write(t->w.sim, 0);
			if (!sim_power_is_off(t->w.sim))
				sim_power_off(t->w.sim);
			t->kill = nth % 2;
			after_crash(t, upgraded_task);
		} else {
			ck_assert_int_eq(sim_run(t->w.sim, upgraded_task, t), 0);
		}
		tests_free(t);
	}
}
END_TEST

static void no_room_task(void *arg)
{
	struct tests *t = arg;
	struct fs_fid f;
	world_mount(&t->w);
	ck_assert_ptr_null(t->w.fs->memos);
	ck_assert_int_eq(chmod_with(t, 1), 0);
	world_unmount(&t->w);
	world_check(&t->w);
	world_mount(&t->w);
	ck_assert(!was_done(t, 1));
	struct fs_attr a;
	ck_assert_int_eq(find(t->w.fs, &root_fid, "full", &a), 0);
	f = fid_of(&a);
	resize_to(t->w.fs, &f, 0);
	world_unmount(&t->w);
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, memo_ring_size(t->w.fs->blocks));
	ck_assert_int_eq(chmod_with(t, 2), 0);
	world_unmount(&t->w);
	world_mount(&t->w);
	ck_assert(was_done(t, 2));
	world_unmount(&t->w);
	world_check(&t->w);
}

static void fill_up_task(void *arg)
{
	struct tests *t = arg;
	struct fs_fid f;
	struct fs_statfs st;
	world_mount_mem(&t->w, 0);
	ck_assert_int_eq(make_file(t->w.fs, &root_fid, "full", &f), 0);
	ck_assert_int_eq(fs_statfs(t->w.fs, &st), 0);
	ck_assert_int_eq(fs_allocate(t->w.fs, NULL, &f, 0, st.avail_bytes - 2 * BS, NULL), 0);
	world_unmount(&t->w);
}

START_TEST(a_ring_where_there_is_room)
{
	struct tests *t = tests_new(330, 16 << 20);
	ck_assert_int_eq(sim_run(t->w.sim, make_task, t), 0);
	ck_assert_int_eq(sim_run(t->w.sim, fill_up_task, t), 0);
	sim_run_for(t->w.sim, 60 * NS_PER_S);
	without_ring(t, 6);
	ck_assert_int_eq(sim_run(t->w.sim, no_room_task, t), 0);
	tests_free(t);
}
END_TEST

/* ---- growth, the largest ---- */

static void grow_task(void *arg)
{
	struct tests *t = arg;
	struct fs_statfs st;
	uint64_t added;
	t->w.dev->size = 32 << 20;
	set_up(t);
	unsigned n = t->w.fs->memos->n;
	ck_assert_int_eq(chmod_with(t, 1), 0);
	t->w.dev->size = 200 << 20;
	ck_assert_int_eq(fs_grow(t->w.fs, &added), 0);
	ck_assert_int_eq(chmod_with(t, 2), 0);
	world_unmount(&t->w);
	world_check(&t->w);
	world_mount(&t->w);
	ck_assert_uint_eq(t->w.fs->memos->n, n);
	ck_assert(was_done(t, 1));
	ck_assert(was_done(t, 2));
	ck_assert_int_eq(fs_statfs(t->w.fs, &st), 0);
	world_unmount(&t->w);
}

START_TEST(growing_keeps_the_ring)
{
	struct tests *t = tests_new(340, 200 << 20);
	ck_assert_int_eq(sim_run(t->w.sim, grow_task, t), 0);
	tests_free(t);
}
END_TEST

START_TEST(the_ring_grows_with_size)
{
	ck_assert_uint_eq(memo_ring_size(2000), 4);
	ck_assert_uint_eq(memo_ring_size(100000), 100);
	ck_assert_uint_eq(memo_ring_size(1ull << 20), 1040);
	ck_assert_uint_eq(memo_ring_size(1ull << 40), 1040);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_memo");
	TCase *t = tcase_create("memo");
	keep_memory();
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, each_call_is_done_once, 0, 2 * CALLS);
	tcase_add_loop_test(t, cut_off_and_done_again, 0, 7);
	tcase_add_test(t, no_change_no_memo);
	tcase_add_test(t, objects_that_have_gone);
	tcase_add_test(t, the_ring_goes_round);
	tcase_add_test(t, many_at_once);
	tcase_add_test(t, a_check_looks_meanwhile);
	tcase_add_test(t, a_damaged_block_is_emptied);
	tcase_add_test(t, a_second_copy_repairs_the_ring);
	tcase_add_test(t, older_formats_get_a_ring);
	tcase_add_test(t, a_ring_where_there_is_room);
	tcase_add_test(t, growing_keeps_the_ring);
	tcase_add_test(t, the_ring_grows_with_size);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
