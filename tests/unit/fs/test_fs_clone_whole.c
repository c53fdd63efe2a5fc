/*
 * A clone is all there or not at all: whatever refuses it, whoever looks meanwhile, in one body or
 * by a stand-in. Crashes: test_fs_crash.
 */
#include "tests/unit/fs/clone_world.h"

#define RUNS 700

/* Every second block has data. */
static void comb(struct fs *fs, const struct fs_fid *f, uint8_t byte)
{
	memset(buf, byte, BS);
	for (uint64_t i = 0; i < RUNS; i++)
		ck_assert_int_eq(put(fs, f, 2 * i * BS, buf, BS, FS_WRITE_UNSTABLE), 0);
	ck_assert_int_eq(fs_commit(fs, f, 0, 0, NULL), 0);
}

static void comb_holds(struct fs *fs, const struct fs_fid *f, uint8_t data, uint8_t between)
{
	for (uint64_t i = 0; i < RUNS; i++) {
		holds(fs, f, 2 * i * BS, BS, data);
		if (i + 1 < RUNS)
			holds(fs, f, (2 * i + 1) * BS, BS, between);
	}
}

static void give(struct fs *fs, const struct fs_fid *f)
{
	struct fs_setattr s = {.which = FS_SET_UID | FS_SET_GID | FS_SET_MODE,
			       .uid = user.uid,
			       .gid = user.gid,
			       .mode = 0666};
	ck_assert_int_eq(fs_setattr(fs, NULL, f, &s, NULL, NULL), 0);
}

static void limit_blocks(struct fs *fs, uint64_t blocks)
{
	struct fs_quota_limits l = {.set_hard[FS_QUOTA_BYTES] = true,
				    .hard[FS_QUOTA_BYTES] = blocks * BS};
	ck_assert_int_eq(fs_quota_set(fs, FS_QUOTA_USER, user.uid, &l), 0);
}

static uint64_t used_by_user(struct fs *fs)
{
	struct fs_quota q;
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_USER, user.uid, &q), 0);
	return q.used[FS_QUOTA_BYTES] / BS;
}

/* Over a limit by a little: nothing has changed. Within it: the old map is not charged besides. */
static void refused_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	struct fs_attr before, after;
	two_files(w, &a, &b);
	resize_to(w->fs, &a, 0);
	comb(w->fs, &a, 'n');
	fill(w->fs, &b, 8 * BS, 20 * BS, 'o');
	give(w->fs, &b);
	limit_blocks(w->fs, RUNS - 10);
	uint64_t room = free_bytes(w->fs), used = used_by_user(w->fs);
	ck_assert_int_eq(fs_getattr(w->fs, &b, &before), 0);
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, 0, NULL), -EDQUOT);
	ck_assert_int_eq(fs_getattr(w->fs, &b, &after), 0);
	ck_assert_uint_eq(after.size, before.size);
	ck_assert_uint_eq(after.used, before.used);
	ck_assert_uint_eq(after.change, before.change);
	holds(w->fs, &b, 0, 8 * BS, 0);
	holds(w->fs, &b, 8 * BS, 20 * BS, 'o');
	ck_assert_uint_eq(used_by_user(w->fs), used);
	ck_assert_uint_ge(free_bytes(w->fs) + 8 * BS, room); /* the records of shares may stay */
	check_now(w);
	limit_blocks(w->fs, RUNS + 30); /* blocks of the map, too */
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, 0, NULL), 0);
	comb_holds(w->fs, &b, 'n', 0);
	check_now(w);
	/* the same again: as much new as old */
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, 0, NULL), 0);
	comb_holds(w->fs, &b, 'n', 0);
	check_now(w);
	world_unmount(w);
}

START_TEST(a_refusal_leaves_nothing)
{
	world_run(refused_task, 21);
}
END_TEST

/* ---- who looks meanwhile ---- */

struct looking {
	struct world *w;
	struct fs_fid a, b;
	bool done;
	unsigned looks, between, other;
	uint64_t used, last; /* as it was; as it was seen last */
	int running;
};

/* Its beginning is new: then so is its end. */
static void look_task(void *arg)
{
	struct looking *l = arg;
	static uint8_t p[BS];
	while (!l->done) {
		ck_assert_int_eq(get(l->w->fs, &l->b, 0, p, BS), (int64_t)BS);
		bool fresh = p[0] == 'n';
		ck_assert_int_eq(get(l->w->fs, &l->b, 2 * (RUNS - 1) * BS, p, BS), (int64_t)BS);
		ck_assert(!fresh || p[0] == 'n');
		l->looks++;
	}
	l->running--;
}

/* Between all bodies of the clone: as many blocks as before or as after, and the reaper lets the
 * stand-in be. */
static void between_task(void *arg)
{
	struct looking *l = arg;
	for (int i = 0; i < 400; i++) {
		struct fs_attr a;
		orphan_reap_kick_all(l->w->fs);
		task_yield();
		ck_assert_int_eq(fs_getattr_try(l->w->fs, &l->b, &a), 0);
		l->between += !LIST_EMPTY(&l->w->fs->standins);
		l->other += a.used != l->used && a.used != l->last;
		l->last = a.used;
	}
	l->running--;
}

static void seen_task(void *arg)
{
	struct looking l = {.w = arg, .running = 2};
	struct fs_attr a;
	two_files(l.w, &l.a, &l.b);
	resize_to(l.w->fs, &l.a, 0);
	comb(l.w->fs, &l.a, 'n');
	comb(l.w->fs, &l.b, 'o');
	ck_assert_int_eq(task_start(look_task, &l), 0);
	env_sleep_ns(sim_env(l.w->sim), 10 * NS_PER_MS);
	unsigned before = l.looks;
	fill(l.w->fs, &l.b, BS, BS, 'o');
	ck_assert_int_eq(fs_getattr(l.w->fs, &l.b, &a), 0);
	l.used = a.used;
	ck_assert_int_eq(task_start(between_task, &l), 0);
	ck_assert_int_eq(clone(l.w->fs, &l.a, 0, &l.b, 0, 0), 0);
	ck_assert_uint_gt(l.looks, before);
	ck_assert_uint_gt(l.between, 20);
	ck_assert_uint_eq(l.other, 1); /* it changed once */
	l.done = true;
	while (l.running)
		env_sleep_ns(sim_env(l.w->sim), NS_PER_MS);
	comb_holds(l.w->fs, &l.b, 'n', 0);
	world_unmount(l.w); /* nothing is left to be freed at the next mount */
	world_check(l.w);
}

START_TEST(nobody_sees_a_part)
{
	world_run(seen_task, 22);
}
END_TEST

/* ---- what else the destination has ---- */

static void kept_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	static uint8_t value[60000], got[60000];
	const uint32_t sizes[] = {100, 60000}; /* in the inode, where extents lie too; in a tree */
	two_files(w, &a, &b);
	for (unsigned k = 0; k < 2; k++) {
		uint32_t n;
		w->fs->clone_bufs = 0; /* by a stand-in, however little it is */
		resize_to(w->fs, &a, 0);
		resize_to(w->fs, &b, 0);
		for (uint64_t i = 0; i < 11; i++)
			fill(w->fs, &a, 2 * i * BS, BS, 'n');
		fill(w->fs, &b, 0, 10 * BS, 'o');
		fill(w->fs, &b, 40 * BS, 2 * BS, 'e');
		ck_assert_int_eq(fs_allocate(w->fs, NULL, &b, 50 * BS, 9 * BS, NULL), 0);
		memset(value, 'v', sizeof(value));
		ck_assert_int_eq(
		    fs_xattr_set(w->fs, NULL, &b, "x", 1, value, sizes[k], FS_XATTR_EITHER, NULL),
		    0);
		check_now(w);
		w->fs->clone_bufs = 0;
		ck_assert_int_eq(clone(w->fs, &a, 0, &b, 5 * BS, 21 * BS), 0);
		holds(w->fs, &b, 0, 5 * BS, 'o');
		for (uint64_t i = 0; i < 21; i++)
			holds(w->fs, &b, (5 + i) * BS, BS, i % 2 ? 0 : 'n');
		holds(w->fs, &b, 26 * BS, 14 * BS, 0);
		holds(w->fs, &b, 40 * BS, 2 * BS, 'e');
		holds(w->fs, &b, 42 * BS, 17 * BS, 0);
		ck_assert_int_eq(fs_xattr_get(w->fs, NULL, &b, "x", 1, got, sizeof(got), &n), 0);
		ck_assert_uint_eq(n, sizes[k]);
		ck_assert_mem_eq(got, value, n);
		/* what was set aside is: as many blocks as it had, less what became a hole */
		struct fs_attr at;
		ck_assert_int_eq(fs_getattr(w->fs, &b, &at), 0);
		ck_assert_uint_ge(at.used, (5 + 11 + 2 + 9) * BS);
		check_now(w);
		fill(w->fs, &b, 0, 59 * BS, 'w');
		for (uint64_t i = 0; i < 11; i++)
			holds(w->fs, &a, 2 * i * BS, BS, 'n');
		check_now(w);
	}
	world_unmount(w);
}

START_TEST(what_lies_beside_it_is_kept)
{
	world_run(kept_task, 23);
}
END_TEST

/* Within one file. */
static void itself_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	two_files(w, &a, &b);
	resize_to(w->fs, &a, 0);
	comb(w->fs, &a, 'n');
	ck_assert_int_eq(clone(w->fs, &a, 0, &a, 2 * RUNS * BS, (2 * RUNS - 1) * BS), 0);
	comb_holds(w->fs, &a, 'n', 0);
	for (uint64_t i = 0; i < RUNS; i++)
		holds(w->fs, &a, 2 * (RUNS + i) * BS, BS, 'n');
	check_now(w);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "a", 1, NULL), 0);
	check_now(w);
	world_unmount(w);
}

START_TEST(a_file_to_itself)
{
	world_run(itself_task, 24);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_clone_whole");
	TCase *t = tcase_create("whole");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_refusal_leaves_nothing);
	tcase_add_test(t, nobody_sees_a_part);
	tcase_add_test(t, what_lies_beside_it_is_kept);
	tcase_add_test(t, a_file_to_itself);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
