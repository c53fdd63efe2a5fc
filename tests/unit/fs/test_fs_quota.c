/*
 * Quotas: use follows every change and agrees with a check; hard limits hold, soft ones after
 * their grace time; trees keep their names to themselves; damage is found and mended.
 */
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

static const struct fs_cred user = {.uid = 100, .gid = 200};
static const struct fs_cred other = {.uid = 101, .gid = 201, .ngroups = 1, .groups = {200}};

static int create_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *dir,
		     const char *name, struct fs_fid *ret)
{
	struct fs_attr a;
	int rc = fs_create(fs, c, dir, name, (uint32_t)strlen(name), FS_CREATE_GUARDED, NULL, 0, &a,
			   NULL);
	if (!rc && ret)
		*ret = fid_of(&a);
	return rc;
}

static int write_as(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f, uint64_t off,
		    size_t n)
{
	static char p[1 << 20];
	struct iovec iov = {p, n};
	return fs_write(fs, c, f, off, &iov, 1, FS_WRITE_UNSTABLE, NULL);
}

static void uses(struct fs *fs, enum fs_quota_kind kind, uint32_t id, uint64_t blocks,
		 uint64_t files)
{
	struct fs_quota q;
	ck_assert_int_eq(fs_quota_get(fs, kind, id, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], blocks * FS_BLOCK_SIZE);
	ck_assert_uint_eq(q.used[FS_QUOTA_FILES], files);
}

static void limit(struct fs *fs, enum fs_quota_kind kind, uint32_t id, unsigned unit, uint64_t soft,
		  uint64_t hard)
{
	struct fs_quota_limits l = {0};
	l.set_soft[unit] = l.set_hard[unit] = true;
	l.soft[unit] = soft;
	l.hard[unit] = hard;
	ck_assert_int_eq(fs_quota_set(fs, kind, id, &l), 0);
}

static int chown_to(struct fs *fs, const struct fs_cred *c, const struct fs_fid *f, uint32_t uid,
		    uint32_t gid)
{
	struct fs_setattr s = {.which = FS_SET_UID | FS_SET_GID, .uid = uid, .gid = gid};
	return fs_setattr(fs, c, f, &s, NULL, NULL);
}

static void follows_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f, g;
	world_mkfs(w);
	world_mount(w);
	struct fs *fs = w->fs;
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "f", &f), 0);
	uses(fs, FS_QUOTA_USER, 100, 0, 1);
	uses(fs, FS_QUOTA_GROUP, 200, 0, 1);
	ck_assert_int_eq(write_as(fs, &user, &f, 0, 10 * BS), 0);
	ck_assert_int_eq(write_as(fs, &user, &f, 5 * BS, 10 * BS), 0);
	uses(fs, FS_QUOTA_USER, 100, 15, 1);
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 4 * BS + 1};
	ck_assert_int_eq(fs_setattr(fs, &user, &f, &s, NULL, NULL), 0);
	uses(fs, FS_QUOTA_USER, 100, 5, 1);
	ck_assert_int_eq(chown_to(fs, NULL, &f, 101, 200), 0);
	uses(fs, FS_QUOTA_USER, 100, 0, 0);
	uses(fs, FS_QUOTA_USER, 101, 5, 1);
	uses(fs, FS_QUOTA_GROUP, 200, 5, 1);
	ck_assert_int_eq(fs_link(fs, NULL, &f, &root_fid, "l", 1, NULL, NULL), 0);
	ck_assert_int_eq(fs_remove(fs, NULL, &root_fid, "f", 1, NULL), 0);
	uses(fs, FS_QUOTA_USER, 101, 5, 1);
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "g", &g), 0);
	ck_assert_int_eq(fs_rename(fs, NULL, &root_fid, "g", 1, &root_fid, "l", 1, NULL, NULL), 0);
	uses(fs, FS_QUOTA_USER, 101, 0, 0);
	uses(fs, FS_QUOTA_USER, 100, 0, 1);
	world_unmount(w);
	world_check(w);
	world_mount(w);
	uses(w->fs, FS_QUOTA_USER, 100, 0, 1);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "l", 1, NULL), 0);
	struct fs_quota q; /* nothing used, nothing limited: no record */
	ck_assert_int_eq(fs_quota_next(w->fs, FS_QUOTA_USER, 1, &q), -ENOENT);
	world_unmount(w);
	world_check(w);
}

START_TEST(use_follows_every_change)
{
	world_run(follows_task, 1);
}
END_TEST

static void hard_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f, g;
	world_mkfs(w);
	world_mount(w);
	struct fs *fs = w->fs;
	limit(fs, FS_QUOTA_USER, 100, FS_QUOTA_BYTES, 0, 10 * BS);
	limit(fs, FS_QUOTA_USER, 100, FS_QUOTA_FILES, 0, 2);
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "f", &f), 0);
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "g", &g), 0);
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "h", NULL), -EDQUOT);
	struct fs_attr a;
	ck_assert_int_eq(find(fs, &root_fid, "h", &a), -ENOENT); /* nothing of it stays */
	ck_assert_int_eq(write_as(fs, &user, &f, 0, 10 * BS), 0);
	ck_assert_int_eq(write_as(fs, &user, &f, 0, 10 * BS), 0); /* over what is there */
	ck_assert_int_eq(write_as(fs, &user, &g, 0, 1), -EDQUOT);
	ck_assert_int_eq(fs_getattr(fs, &g, &a), 0);
	ck_assert_uint_eq(a.size, 0);
	ck_assert_uint_eq(a.used, 0);
	ck_assert_int_eq(write_as(fs, NULL, &g, 0, 1), 0); /* root may */
	uses(fs, FS_QUOTA_USER, 100, 11, 2);
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = BS};
	ck_assert_int_eq(fs_setattr(fs, &user, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(write_as(fs, &user, &g, BS, BS), 0);
	/* Groups: by who gives a file to it. */
	limit(fs, FS_QUOTA_GROUP, 200, FS_QUOTA_FILES, 0, 2);
	ck_assert_int_eq(create_as(fs, &other, &root_fid, "o", &f), 0);
	struct fs_setattr gid = {.which = FS_SET_GID, .gid = 200};
	ck_assert_int_eq(fs_setattr(fs, &other, &f, &gid, NULL, NULL), -EDQUOT);
	limit(fs, FS_QUOTA_GROUP, 200, FS_QUOTA_FILES, 0, 3);
	ck_assert_int_eq(fs_setattr(fs, &other, &f, &gid, NULL, NULL), 0);
	uses(fs, FS_QUOTA_GROUP, 200, 3, 3);
	uses(fs, FS_QUOTA_GROUP, 201, 0, 0);
	struct fs_quota_limits bad = {.set_soft = {true}, .soft = {11 * BS}};
	ck_assert_int_eq(fs_quota_set(fs, FS_QUOTA_USER, 100, &bad), -EINVAL);
	world_unmount(w);
	world_check(w);
}

START_TEST(hard_limits_hold)
{
	world_run(hard_task, 2);
}
END_TEST

static void soft_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	struct fs_quota q;
	const uint64_t grace[FS_QUOTA_UNITS] = {100, 50};
	uint64_t got[FS_QUOTA_UNITS];
	world_mkfs(w);
	world_mount(w);
	struct fs *fs = w->fs;
	ck_assert_int_eq(fs_quota_grace(fs, FS_QUOTA_USER, got), 0);
	ck_assert_uint_eq(got[FS_QUOTA_BYTES], 7 * 86400);
	ck_assert_int_eq(fs_quota_grace_set(fs, FS_QUOTA_USER, grace), 0);
	limit(fs, FS_QUOTA_USER, 100, FS_QUOTA_BYTES, 4 * BS, 8 * BS);
	ck_assert_int_eq(create_as(fs, &user, &root_fid, "f", &f), 0);
	ck_assert_int_eq(write_as(fs, &user, &f, 0, 4 * BS), 0);
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_USER, 100, &q), 0);
	ck_assert_uint_eq(q.until[FS_QUOTA_BYTES], 0);
	ck_assert_int_eq(write_as(fs, &user, &f, 4 * BS, BS), 0);
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_USER, 100, &q), 0);
	uint64_t now = env_realtime_ns(sim_env(w->sim)) / NS_PER_S;
	ck_assert_uint_gt(q.until[FS_QUOTA_BYTES], now);
	ck_assert_uint_le(q.until[FS_QUOTA_BYTES], now + 100);
	world_unmount(w); /* the time runs on */
	world_mount(w);
	fs = w->fs;
	env_sleep_ns(sim_env(w->sim), 101 * NS_PER_S);
	ck_assert_int_eq(write_as(fs, &user, &f, 5 * BS, BS), -EDQUOT);
	ck_assert_int_eq(write_as(fs, &user, &f, 0, BS), 0);
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = 4 * BS};
	ck_assert_int_eq(fs_setattr(fs, &user, &f, &s, NULL, NULL), 0);
	ck_assert_int_eq(write_as(fs, &user, &f, 4 * BS, BS), 0); /* a new grace time */
	ck_assert_int_eq(write_as(fs, &user, &f, 5 * BS, 4 * BS), -EDQUOT);
	ck_assert_int_eq(fs_quota_grace(fs, FS_QUOTA_USER, got), 0);
	ck_assert_uint_eq(got[FS_QUOTA_FILES], 50);
	world_unmount(w);
	world_check(w);
}

START_TEST(soft_limits_hold_after_the_grace_time)
{
	world_run(soft_task, 3);
}
END_TEST

static void tree_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, in, sub, out;
	struct fs_quota q;
	struct fs_statfs st;
	uint32_t ida, idb;
	world_mkfs(w);
	world_mount(w);
	struct fs *fs = w->fs;
	ck_assert_int_eq(make_dir(fs, &root_fid, "a", &a), 0);
	ck_assert_int_eq(make_dir(fs, &root_fid, "b", &b), 0);
	ck_assert_int_eq(make_file(fs, &root_fid, "out", &out), 0);
	ck_assert_int_eq(fs_quota_tree(fs, &root_fid, "/", &ida), -EINVAL);
	ck_assert_int_eq(fs_quota_tree(fs, &out, "/out", &ida), -ENOTDIR);
	ck_assert_int_eq(fs_quota_tree(fs, &a, "/a", &ida), 0);
	ck_assert_int_eq(fs_quota_tree(fs, &a, "/a", &idb), -EEXIST);
	ck_assert_int_eq(make_file(fs, &b, "x", NULL), 0);
	ck_assert_int_eq(fs_quota_tree(fs, &b, "/b", &idb), -ENOTEMPTY);
	ck_assert_int_eq(fs_remove(fs, NULL, &b, "x", 1, NULL), 0);
	ck_assert_int_eq(fs_quota_tree(fs, &b, "/b", &idb), 0);
	ck_assert_uint_ne(ida, idb);
	ck_assert_int_eq(make_dir(fs, &a, "sub", &sub), 0);
	ck_assert_int_eq(make_file(fs, &sub, "in", &in), 0);
	ck_assert_int_eq(write_as(fs, NULL, &in, 0, 3 * BS), 0);
	uses(fs, FS_QUOTA_TREE, ida, 5, 3); /* two directories' blocks too */
	/* Across the edge */
	ck_assert_int_eq(fs_rename(fs, NULL, &sub, "in", 2, &b, "in", 2, NULL, NULL), -EXDEV);
	ck_assert_int_eq(fs_rename(fs, NULL, &sub, "in", 2, &root_fid, "in", 2, NULL, NULL),
			 -EXDEV);
	ck_assert_int_eq(fs_rename(fs, NULL, &root_fid, "out", 3, &a, "o", 1, NULL, NULL), -EXDEV);
	ck_assert_int_eq(fs_rename(fs, NULL, &a, "sub", 3, &root_fid, "s", 1, NULL, NULL), -EXDEV);
	ck_assert_int_eq(fs_link(fs, NULL, &in, &b, "l", 1, NULL, NULL), -EXDEV);
	ck_assert_int_eq(fs_link(fs, NULL, &out, &a, "l", 1, NULL, NULL), -EXDEV);
	ck_assert_int_eq(fs_rename(fs, NULL, &sub, "in", 2, &a, "in", 2, NULL, NULL), 0);
	ck_assert_int_eq(fs_link(fs, NULL, &in, &sub, "l", 1, NULL, NULL), 0);
	ck_assert_int_eq(fs_rename(fs, NULL, &root_fid, "b", 1, &a, "b", 1, NULL, NULL), 0);
	ck_assert_int_eq(fs_rename(fs, NULL, &a, "b", 1, &root_fid, "b2", 2, NULL, NULL), 0);
	/* Limits: root's too; what is left is told */
	limit(fs, FS_QUOTA_TREE, ida, FS_QUOTA_BYTES, 0, 8 * BS);
	limit(fs, FS_QUOTA_TREE, ida, FS_QUOTA_FILES, 0, 3);
	ck_assert_int_eq(make_file(fs, &sub, "more", NULL), -EDQUOT);
	ck_assert_int_eq(write_as(fs, NULL, &in, 3 * BS, 4 * BS), -EDQUOT);
	ck_assert_int_eq(fs_statfs_at(fs, &in, &st), 0);
	ck_assert_uint_eq(st.total_bytes, 8 * BS);
	ck_assert_uint_eq(st.avail_bytes, 3 * BS);
	ck_assert_uint_eq(st.total_files, 3);
	ck_assert_uint_eq(st.free_files, 0);
	ck_assert_int_eq(fs_statfs_at(fs, &out, &st), 0);
	ck_assert_uint_gt(st.avail_bytes, 1 << 20);
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_TREE, ida, &q), 0);
	ck_assert_str_eq(q.path, "/a");
	world_unmount(w);
	world_check(w);
	world_mount(w);
	fs = w->fs;
	ck_assert_int_eq(fs_rmdir(fs, NULL, &root_fid, "b2", 2, NULL), 0);
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_TREE, idb, &q), -ENOENT);
	ck_assert_int_eq(fs_quota_get(fs, FS_QUOTA_TREE, ida, &q), 0);
	ck_assert_uint_eq(q.hard[FS_QUOTA_BYTES], 8 * BS);
	world_unmount(w);
	world_check(w);
}

START_TEST(trees_keep_to_themselves)
{
	world_run(tree_task, 4);
}
END_TEST

static void many_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	struct fs_quota q;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	for (uint32_t i = 0; i < 2000; i++) {
		char name[16];
		struct fs_cred c = {.uid = 1000 + i * 7 % 2000, .gid = 5};
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(create_as(w->fs, &c, &root_fid, name, NULL), 0);
	}
	uint32_t id = 1, n = 0;
	while (!fs_quota_next(w->fs, FS_QUOTA_USER, id, &q)) {
		ck_assert_uint_eq(q.used[FS_QUOTA_FILES], 1);
		ck_assert_uint_eq(q.id, 1000 + n++);
		id = q.id + 1;
	}
	ck_assert_uint_eq(n, 2000);
	uses(w->fs, FS_QUOTA_GROUP, 5, 0, 2000);
	world_unmount(w);
	world_check(w);
}

START_TEST(two_thousand_users)
{
	world_run(many_task, 5);
}
END_TEST

/* ---- damage ---- */

/* Finds n errors, mends them, and finds none then. */
static void mends(struct world *w)
{
	struct fs_check_report r;
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, NULL, NULL, &r), -ERR_CORRUPT);
	ck_assert_uint_gt(r.errors, 0);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, NULL, NULL, &r), 0);
	ck_assert_uint_gt(r.repaired, 0);
	world_check(w);
}

static int change_use(struct fs *fs, uint64_t key, int64_t n)
{
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, ({
		struct inode holder;
		struct tree t;
		struct tree_pos pos;
		uint8_t *v;
		int r = quota_records(fs, &holder, &t);
		if (!r)
			r = quota_find(&t, key, &pos, &v);
		if (!r && n) {
			tree_touch_value(&t, &pos);
			le64_put(v, le64_get(v) + (uint64_t)n);
		} else if (!r) {
			r = tree_delete(&t, key);
		}
		r;
	}));
	return op_commit(&op, rc);
}

static int change_tree(struct fs *fs, uint64_t ino, uint32_t id)
{
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, ({
		struct inode in;
		int r = inode_get(fs, ino, &in);
		if (!r) {
			inode_touch(&in);
			IN_SET32(&in, I_TREE, id);
		}
		r;
	}));
	return op_commit(&op, rc);
}

static void damage_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f, d;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	ck_assert_int_eq(create_as(w->fs, &user, &root_fid, "f", &f), 0);
	ck_assert_int_eq(write_as(w->fs, &user, &f, 0, 7 * BS), 0);
	ck_assert_int_eq(change_use(w->fs, quota_key(FS_QUOTA_USER, 100), 3), 0);
	world_unmount(w);
	mends(w);
	world_mount(w);
	uses(w->fs, FS_QUOTA_USER, 100, 7, 1);
	ck_assert_int_eq(change_use(w->fs, quota_key(FS_QUOTA_GROUP, 200), 0), 0);
	world_unmount(w);
	mends(w);
	world_mount(w);
	uses(w->fs, FS_QUOTA_GROUP, 200, 7, 1);
	ck_assert_int_eq(change_tree(w->fs, f.ino, 9), 0);
	world_unmount(w);
	mends(w);
	world_mount(w);
	struct fs_quota q;
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_TREE, 9, &q), -ENOENT);
	/* Records that cannot be read: work goes on uncounted, a check counts anew. */
	uint64_t leaf = 0;
	for (uint64_t b = w->fs->ag_start; b < w->fs->blocks && !leaf; b++) {
		struct buf *buf = meta_find(w->fs, b);
		if (buf && buf->type == BT_QUOTAS)
			leaf = b;
	}
	ck_assert_uint_gt(leaf, 0);
	limit(w->fs, FS_QUOTA_USER, 100, FS_QUOTA_FILES, 0, 2);
	world_unmount(w);
	memset(sim_disk_bytes(w->disk) + leaf * BS, 0x5a, BS);
	sim_disk_bytes_changed(w->disk, leaf * BS, BS);
	world_mount(w);
	for (int i = 0; i < 5; i++) {
		char name[2] = {(char)('A' + i), 0};
		ck_assert_int_eq(create_as(w->fs, &user, &root_fid, name, NULL), 0);
	}
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, 100, &q), -ERR_CORRUPT);
	world_unmount(w);
	mends(w);
	world_mount(w);
	uses(w->fs, FS_QUOTA_USER, 100, 7, 6);
	world_unmount(w);
}

START_TEST(damage_is_mended)
{
	world_run(damage_task, 6);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_quota");
	TCase *t = tcase_create("quota");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, use_follows_every_change);
	tcase_add_test(t, hard_limits_hold);
	tcase_add_test(t, soft_limits_hold_after_the_grace_time);
	tcase_add_test(t, trees_keep_to_themselves);
	tcase_add_test(t, two_thousand_users);
	tcase_add_test(t, damage_is_mended);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
