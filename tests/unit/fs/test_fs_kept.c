/*
 * Files that lose their last name while open stay until nobody has them open: read, written, cut
 * and grown, but never named again; freed then, and by a mount that finds them. Others go at once.
 */
#include "tests/unit/fs/fs_world.h"
#include "runtime/env.h"

#define BIG (8u << 20)

/* Of the linker (--wrap): calloc() of all that is linked here. */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
static unsigned no_memory; /* so many calls have none */

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory && no_memory-- ? NULL : __real_calloc(n, size);
}

static struct fs_fid open_files[4];
static unsigned nopen;

static bool is_open(void *arg, const struct fs_fid *f)
{
	(void)arg;
	for (unsigned i = 0; i < nopen; i++)
		if (open_files[i].ino == f->ino && open_files[i].generation == f->generation)
			return true;
	return false;
}

static void run(void (*task)(void *), uint64_t seed)
{
	nopen = 0;
	world_run(task, seed);
}

static uint64_t room(struct fs *fs)
{
	struct fs_statfs st;
	ck_assert_int_eq(fs_statfs(fs, &st), 0);
	return st.free_bytes;
}

static uint64_t files(struct fs *fs)
{
	struct fs_statfs st;
	ck_assert_int_eq(fs_statfs(fs, &st), 0);
	return st.total_files - st.free_files;
}

static void by_and_by(struct world *w) /* the reaper has had its time */
{
	env_sleep_ns(sim_env(w->sim), 5 * NS_PER_S);
}

/* A file with `size` bytes of 'k', opened. */
static struct fs_fid opened(struct world *w, const char *name, uint64_t size)
{
	static uint8_t data[64 << 10];
	struct fs_fid f;
	memset(data, 'k', sizeof(data));
	ck_assert_int_eq(make_file(w->fs, &root_fid, name, &f), 0);
	for (uint64_t at = 0; at < size; at += sizeof(data))
		ck_assert_int_eq(put(w->fs, &f, at, data,
				     size - at < sizeof(data) ? size - at : sizeof(data),
				     FS_WRITE_UNSTABLE),
				 0);
	open_files[nopen++] = f;
	return f;
}

static void is_kept(struct world *w, const struct fs_fid *f, uint64_t size)
{
	struct fs_attr a;
	char got[4];
	ck_assert_int_eq(fs_getattr(w->fs, f, &a), 0);
	ck_assert_uint_eq(a.nlink, 0);
	ck_assert_uint_eq(a.size, size);
	ck_assert_int_eq(get(w->fs, f, size - 4, got, 4), 4);
	ck_assert_int_eq(memcmp(got, "kkkk", 4), 0);
}

static void is_gone(struct world *w, const struct fs_fid *f)
{
	struct fs_attr a;
	char got[4];
	ck_assert_int_eq(fs_getattr(w->fs, f, &a), -ESTALE);
	ck_assert_int_eq(get(w->fs, f, 0, got, 4), -ESTALE);
}

static void closed(struct world *w)
{
	while (nopen)
		fs_unused(w->fs, &open_files[--nopen]);
	by_and_by(w);
}

static void kept_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	by_and_by(w);
	uint64_t before = room(w->fs);
	struct fs_fid small = opened(w, "small", 5000), big = opened(w, "big", BIG);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "small", 5, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "big", 3, NULL), 0);
	by_and_by(w);
	is_kept(w, &small, 5000);
	is_kept(w, &big, BIG);
	ck_assert_uint_lt(room(w->fs), before - BIG + (1 << 20));
	/* It is a file like others but for its name. */
	ck_assert_int_eq(put(w->fs, &small, 6000, "kkkk", 4, FS_WRITE_UNSTABLE), 0);
	is_kept(w, &small, 6004);
	ck_assert_int_eq(fs_link(w->fs, NULL, &small, &root_fid, "again", 5, NULL, NULL), -ENOENT);
	ck_assert_int_eq(find(w->fs, &root_fid, "again", &a), -ENOENT);
	resize_to(w->fs, &big, 100); /* more than one step frees, while it is in the orphan tree */
	is_kept(w, &big, 100);
	by_and_by(w);
	ck_assert_int_eq(put(w->fs, &big, 200000, "kkkk", 4, FS_WRITE_UNSTABLE), 0);
	is_kept(w, &big, 200004);
	/* Its name is free. */
	ck_assert_int_eq(make_file(w->fs, &root_fid, "small", NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "small", 5, NULL), 0);
	is_kept(w, &small, 6004);
	nopen = 1; /* one is closed, the other not */
	fs_unused(w->fs, &big);
	fs_unused(w->fs, &small); /* it is not: said too early */
	by_and_by(w);
	is_kept(w, &small, 6004);
	is_gone(w, &big);
	closed(w);
	is_gone(w, &small);
	ck_assert_uint_ge(room(w->fs) + (64 << 10), before);
	world_unmount(w);
	world_check(w);
}

START_TEST(open_files_stay_without_a_name)
{
	run(kept_task, 1);
}
END_TEST

/* What cannot be kept without its name keeps its name: the caller hears why. */
static void memory_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	struct fs_fid f = opened(w, "f", 5000);
	no_memory = 1;
	int rc = fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL);
	ck_assert_uint_eq(no_memory, 0);
	ck_assert_int_eq(rc, -ENOMEM);
	by_and_by(w);
	ck_assert_int_eq(find(w->fs, &root_fid, "f", &a), 0);
	ck_assert_uint_eq(a.nlink, 1);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL), 0);
	is_kept(w, &f, 5000);
	closed(w);
	is_gone(w, &f);
	world_unmount(w);
	world_check(w);
}

START_TEST(without_memory_they_keep_their_name)
{
	run(memory_task, 5);
}
END_TEST

static void rename_task(void *arg)
{
	struct world *w = arg;
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	struct fs_fid old = opened(w, "to", 70000), moved = opened(w, "from", 9);
	ck_assert_int_eq(
	    fs_rename(w->fs, NULL, &root_fid, "from", 4, &root_fid, "to", 2, NULL, NULL), 0);
	is_kept(w, &old, 70000);
	/* One of two names is not the last. */
	ck_assert_int_eq(fs_link(w->fs, NULL, &moved, &root_fid, "too", 3, NULL, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "to", 2, NULL), 0);
	closed(w);
	is_gone(w, &old);
	struct fs_attr a;
	ck_assert_int_eq(find(w->fs, &root_fid, "too", &a), 0);
	ck_assert_uint_eq(a.ino, moved.ino);
	/* Opened after its name went: it has gone all the same. */
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "too", 3, NULL), 0);
	open_files[nopen++] = moved;
	is_gone(w, &moved);
	world_unmount(w);
	world_check(w);
}

START_TEST(renamed_over_and_opened_too_late)
{
	run(rename_task, 2);
}
END_TEST

static void again_task(void *arg)
{
	struct world *w = arg;
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	by_and_by(w);
	uint64_t before = room(w->fs);
	struct fs_fid f = opened(w, "f", BIG);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL), 0);
	is_kept(w, &f, BIG);
	world_unmount(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	/* Who has it open may have it from before. */
	is_kept(w, &f, BIG);
	by_and_by(w);
	is_kept(w, &f, BIG);
	world_unmount(w);
	nopen = 0; /* nobody knows of it any more */
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	is_gone(w, &f);
	by_and_by(w);
	ck_assert_uint_ge(room(w->fs) + (64 << 10), before);
	world_unmount(w);
	world_check(w);
}

START_TEST(a_mount_frees_what_nobody_has_open)
{
	run(again_task, 3);
}
END_TEST

#define MANY  300
#define BURST 3000

static bool everything(void *arg, const struct fs_fid *f)
{
	return !nopen;
}

static struct {
	bool open;
	struct fs_fid f;
} many[MANY];
static unsigned asked;

static bool one_of_many(void *arg, const struct fs_fid *f)
{
	asked++;
	for (int i = 0; i < MANY; i++)
		if (many[i].f.ino == f->ino && many[i].f.generation == f->generation)
			return many[i].open;
	return false;
}

static void many_task(void *arg)
{
	struct world *w = arg;
	char name[16];
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, one_of_many, NULL);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(make_file(w->fs, &root_fid, name, &many[i].f), 0);
		many[i].open = true;
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(
		    fs_remove(w->fs, NULL, &root_fid, name, (uint32_t)strlen(name), NULL), 0);
	}
	by_and_by(w);
	asked = 0;
	for (int i = 0; i < MANY; i++) {
		many[i].open = false;
		fs_unused(w->fs, &many[i].f);
		env_sleep_ns(sim_env(w->sim), NS_PER_S);
		is_gone(w, &many[i].f);
	}
	ck_assert_uint_lt(asked, 4 * MANY);
	world_unmount(w);
	world_check(w);
}

/* What one costs that is closed last does not grow with those that others have open. */
START_TEST(each_is_freed_by_itself)
{
	run(many_task, 5);
}
END_TEST

static void burst_task(void *arg)
{
	struct world *w = arg;
	uint64_t before;
	char name[16];
	world_mkfs(w);
	world_mount(w);
	by_and_by(w);
	before = files(w->fs);
	nopen = 0;
	fs_set_used(w->fs, everything, NULL);
	static struct fs_fid f[BURST];
	for (int i = 0; i < BURST; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(make_file(w->fs, &root_fid, name, &f[i]), 0);
		ck_assert_int_eq(
		    fs_remove(w->fs, NULL, &root_fid, name, (uint32_t)strlen(name), NULL), 0);
	}
	nopen = 1;
	for (int i = 0; i < BURST; i++)
		fs_unused(w->fs, &f[i]);
	by_and_by(w);
	for (int i = 0; i < BURST; i++)
		is_gone(w, &f[i]);
	ck_assert_uint_eq(files(w->fs), before);
	world_unmount(w);
	world_check(w);
}

/* More at once than are noted one by one. */
START_TEST(a_client_with_many_goes)
{
	run(burst_task, 6);
}
END_TEST

static void verify_task(void *arg)
{
	struct world *w = arg;
	struct fs_check_report r;
	world_mkfs(w);
	world_mount(w);
	fs_set_used(w->fs, is_open, NULL);
	struct fs_fid f = opened(w, "f", BIG);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "f", 1, NULL), 0);
	ck_assert_int_eq(fs_verify(w->fs, say_stderr, NULL, &r), 0);
	ck_assert_uint_eq(r.errors, 0);
	is_kept(w, &f, BIG);
	/* A crash: a check of what is on the disk finds nothing wrong, and frees it. */
	ck_assert_int_eq(fs_commit(w->fs, &f, 0, 0, NULL), 0);
	fs_abandon(w->fs);
	world_check(w);
	world_mount(w);
	is_gone(w, &f);
	world_unmount(w);
}

START_TEST(they_are_no_fault)
{
	run(verify_task, 4);
}
END_TEST

/* On a volume that answers at once nothing is waited for: a check lets time pass all the same. */
static void long_check_task(void *arg)
{
	struct world *w = arg;
	struct sim_disk_faults f;
	struct fs_check_report r;
	world_mkfs(w);
	world_mount(w);
	for (unsigned i = 0; i < 4000; i++) {
		char name[16];
		int len = snprintf(name, sizeof(name), "f%u", i);
		struct fs_attr a;
		ck_assert_int_eq(fs_create(w->fs, NULL, &root_fid, name, (uint32_t)len,
					   FS_CREATE_UNCHECKED, NULL, 0, &a, NULL),
				 0);
	}
	ck_assert_int_eq(fs_commit(w->fs, &root_fid, 0, 0, NULL), 0);
	sim_disk_get_faults(w->disk, &f);
	f.latency_min_ns = f.latency_max_ns = 0;
	sim_disk_set_faults(w->disk, &f);
	uint64_t start = env_now_ns(sim_env(w->sim));
	ck_assert_int_eq(fs_verify(w->fs, say_stderr, NULL, &r), 0);
	ck_assert_uint_ge(env_now_ns(sim_env(w->sim)) - start, NS_PER_MS);
	world_unmount(w);
}

START_TEST(a_check_lets_others_go_first)
{
	run(long_check_task, 8);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_kept");
	TCase *t = tcase_create("kept");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, open_files_stay_without_a_name);
	tcase_add_test(t, renamed_over_and_opened_too_late);
	tcase_add_test(t, a_mount_frees_what_nobody_has_open);
	tcase_add_test(t, they_are_no_fault);
	tcase_add_test(t, a_check_lets_others_go_first);
	tcase_add_test(t, without_memory_they_keep_their_name);
	tcase_add_test(t, each_is_freed_by_itself);
	tcase_add_test(t, a_client_with_many_goes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
