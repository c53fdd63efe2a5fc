/*
 * Memos: what was carried out before a crash is not carried out again, however it came to it.
 * Each call once, then the power goes or the head dies, and it is sent again.
 */
#include "tests/unit/fs/memo_world.h"

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
	return fs_allocate(t->w.fs, c, &t->f, 0, 2 * t->blocks * BS, &a->wcc);
}

static int do_deallocate(struct tests *t, const struct fs_cred *c, struct answer *a)
{
	return fs_deallocate(t->w.fs, c, &t->f, 10, 2 * t->blocks * BS - 20, &a->wcc);
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

/* ---- cut off at any moment ---- */

static bool noise, running;

/* Others write the journal meanwhile: bodies of one call are in several records. */
static void noise_task(void *arg)
{
	struct tests *t = arg;
	struct fs_setattr s = {.which = FS_SET_MTIME_NOW};
	while (noise && !fs_setattr(t->w.fs, NULL, &root_fid, &s, NULL, NULL))
		task_yield();
	noise = false;
}

static void call_task(void *arg)
{
	struct tests *t = arg;
	struct fs_once k = key_of(1);
	struct fs_cred c = with(&k);
	struct answer a;
	int rc = calls[t->call].run(t, &c, &a);
	ck_assert(rc == 0 || sim_power_is_off(t->w.sim));
	running = false;
}

static void cut_off_task(void *arg)
{
	struct tests *t = arg;
	noise = running = true;
	ck_assert_int_eq(task_start(noise_task, t), 0);
	ck_assert_int_eq(task_start(call_task, t), 0);
	env_sleep_ns(sim_env(t->w.sim), t->after_ns);
	t->ended = !running;
	sim_power_off(t->w.sim);
	while (noise || running)
		env_sleep_ns(sim_env(t->w.sim), NS_PER_MS);
	die(t);
}

/* Nothing is in memory: bodies wait, others come between. */
static void set_up_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	world_unmount(&t->w);
	world_mount(&t->w);
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
		return f.used >= 2 * t->blocks * BS;
	return g.size == f.size && extents(t->w.fs, &t->g) == t->blocks;
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
	bool ended = false;
	for (uint64_t n = 1; !ended; n++) {
		struct tests *t = tests_new(100 + n, SIZE);
		t->call = call;
		t->kill = n % 3 == 0;
		t->blocks = runs[_i] == do_clone ? 40 : runs[_i] == do_deallocate ? 1500 : 400;
		t->after_ns = n * 70000;
		ck_assert_int_eq(sim_run(t->w.sim, set_up_task, t), 0);
		ck_assert_int_eq(sim_run(t->w.sim, cut_off_task, t), 0);
		ended = t->ended;
		after_crash(t, redo_task);
		tests_free(t);
		ck_assert_uint_lt(n, 200);
	}
}
END_TEST

/* ---- what leaves no memo ---- */

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
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
