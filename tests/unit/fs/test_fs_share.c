/*
 * How many own a block: quotas charge each of them, checks count it once, damaged records of owners
 * are built anew.
 */
#include "tests/unit/fs/clone_world.h"

static void quota_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	struct fs_quota q;
	two_files(w, &a, &b);
	struct fs_setattr s = {.which = FS_SET_UID, .uid = user.uid};
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &b, &s, NULL, NULL), 0);
	s.uid = other.uid;
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &a, &s, NULL, NULL), 0);
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, 256 * KIB, NULL), 0);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, user.uid, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 256 * KIB);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, other.uid, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 512 * KIB);
	struct fs_quota_limits l = {.hard = {300 * KIB}, .set_hard = {true}};
	ck_assert_int_eq(fs_quota_set(w->fs, FS_QUOTA_USER, user.uid, &l), 0);
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, 512 * KIB, NULL), -EDQUOT);
	/* parting is no growth */
	memset(buf, 'x', 256 * KIB);
	struct iovec iov = {buf, 256 * KIB};
	ck_assert_int_eq(fs_write(w->fs, &user, &b, 0, &iov, 1, FS_WRITE_FILE_SYNC, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "a", 1, NULL), 0);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, other.uid, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 0);
	world_unmount(w);
	world_check(w);
}

START_TEST(each_owner_is_charged)
{
	world_run(quota_task, 4);
}
END_TEST

static void uses(struct fs *fs, enum fs_quota_kind kind, uint32_t id, uint64_t blocks)
{
	struct fs_quota q;
	ck_assert_int_eq(fs_quota_get(fs, kind, id, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], blocks * BS);
}

/* What a check counts, online and offline: each shared block once. */
static uint64_t blocks_counted(struct world *w)
{
	struct fs_check_report on, off;
	ck_assert_int_eq(fs_verify(w->fs, say_stderr, NULL, &on), 0);
	world_unmount(w);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, say_stderr, NULL, &off), 0);
	ck_assert_uint_eq(off.errors, 0);
	ck_assert_uint_eq(off.blocks_used, on.blocks_used);
	world_mount(w);
	return off.blocks_used;
}

static int use_of_owner(struct fs *fs, uint32_t id, uint64_t blocks)
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
			r = quota_find(&t, quota_key(FS_QUOTA_USER, id), &pos, &v);
		if (!r) {
			tree_touch_value(&t, &pos);
			le64_put(v, blocks);
		}
		r;
	}));
	return op_commit(&op, rc);
}

/* Three owners of the same 128 blocks, one of them in a tree: the space is used once, each is
 * charged for all of it, whoever writes, is given away or goes; and a check counts the same. */
static void accounts_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, d, c;
	struct fs_attr at;
	struct fs_check_report r;
	uint32_t id;
	two_files(w, &a, &b);
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	ck_assert_int_eq(fs_quota_tree(w->fs, &d, "/d", &id), 0);
	ck_assert_int_eq(make_file(w->fs, &d, "c", &c), 0);
	struct fs_setattr s = {.which = FS_SET_UID | FS_SET_GID, .uid = 100, .gid = 200};
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &b, &s, NULL, NULL), 0);
	s = (struct fs_setattr){.which = FS_SET_UID | FS_SET_GID, .uid = 101, .gid = 201};
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &c, &s, NULL, NULL), 0);
	uint64_t once = blocks_counted(w), left = free_bytes(w->fs);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
	ck_assert_int_eq(clone(w->fs, &b, 0, &c, 0, 0), 0);
	ck_assert_uint_eq(blocks_counted(w), once + 1); /* the leaf of the owners' records */
	ck_assert_uint_eq(free_bytes(w->fs), left - BS);
	uses(w->fs, FS_QUOTA_USER, 100, 128);
	uses(w->fs, FS_QUOTA_GROUP, 200, 128);
	uses(w->fs, FS_QUOTA_USER, 101, 128);
	uses(w->fs, FS_QUOTA_GROUP, 201, 128);
	uses(w->fs, FS_QUOTA_TREE, id, 129); /* and the directory's own block */
	ck_assert_int_eq(fs_getattr(w->fs, &b, &at), 0);
	ck_assert_uint_eq(at.used, 128 * BS);
	/* parted: more space, nobody is charged more */
	fill(w->fs, &b, 0, 32 * BS, 'b');
	ck_assert_uint_eq(blocks_counted(w), once + 1 + 32);
	uses(w->fs, FS_QUOTA_USER, 100, 128);
	uses(w->fs, FS_QUOTA_TREE, id, 129);
	/* given away: all of it */
	s = (struct fs_setattr){.which = FS_SET_UID, .uid = 101};
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &b, &s, NULL, NULL), 0);
	uses(w->fs, FS_QUOTA_USER, 100, 0);
	uses(w->fs, FS_QUOTA_USER, 101, 256);
	/* cut and punched: charged less, though others keep the blocks */
	resize_to(w->fs, &c, 100 * BS);
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &c, 50 * BS, 10 * BS, NULL), 0);
	uses(w->fs, FS_QUOTA_USER, 101, 128 + 90);
	uses(w->fs, FS_QUOTA_TREE, id, 91);
	ck_assert_uint_eq(blocks_counted(w), once + 1 + 32);
	/* a wrong count is found and mended: to what each file leads to, not what it alone has */
	ck_assert_int_eq(use_of_owner(w->fs, 101, 128 + 90 - 64), 0);
	world_unmount(w);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, NULL, NULL, &r), -ERR_CORRUPT);
	ck_assert_uint_eq(r.errors, 1);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, NULL, NULL, &r), 0);
	world_mount(w);
	uses(w->fs, FS_QUOTA_USER, 101, 128 + 90);
	/* all go: nothing is left in use or charged, of the directory neither */
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "a", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "b", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &d, "c", 1, NULL), 0);
	space_wait(w->fs);
	uses(w->fs, FS_QUOTA_USER, 101, 0);
	uses(w->fs, FS_QUOTA_TREE, id, 0);
	ck_assert_uint_eq(blocks_counted(w), once - 129);
	ck_assert_uint_eq(free_bytes(w->fs), left + 129 * BS);
	world_unmount(w);
}

START_TEST(space_is_used_once_and_charged_to_each)
{
	world_run(accounts_task, 14);
}
END_TEST

/* ---- damage ---- */

static void shared_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	two_files(w, &a, &b);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 256 * KIB), 0);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 256 * KIB, 64 * KIB), 0);
	world_unmount(w);
}

static void mend_task(void *arg)
{
	struct world *w = arg;
	struct fs_check_report r;
	struct fs_attr a, b;
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, false, say_stderr, NULL, &r),
			 -ERR_CORRUPT);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, say_stderr, NULL, &r), 0);
	world_check(w);
	world_mount(w);
	ck_assert_int_eq(find(w->fs, &root_fid, "a", &a), 0);
	ck_assert_int_eq(find(w->fs, &root_fid, "b", &b), 0);
	struct fs_fid fa = fid_of(&a), fb = fid_of(&b);
	holds(w->fs, &fa, 0, 512 * KIB, 'a');
	holds(w->fs, &fb, 0, 320 * KIB, 'a');
	fill(w->fs, &fa, 0, 512 * KIB, 'x');
	holds(w->fs, &fb, 0, 320 * KIB, 'a');
	fill(w->fs, &fb, 0, 64 * KIB, 'y');
	holds(w->fs, &fb, 256 * KIB, 64 * KIB, 'a');
	world_unmount(w);
	world_check(w);
}

static uint8_t *leaf_of_shares(struct world *w)
{
	for (uint64_t b = 0; b < sim_disk_size(w->disk) / BS; b++) {
		uint8_t *d = sim_disk_bytes(w->disk) + b * BS;
		if (le32_get(d) == META_MAGIC && le16_get(d + H_TYPE) == BT_SHARES &&
		    le64_get(d + H_BLOCK) == b)
			return d;
	}
	ck_abort_msg("no records");
}

/* Records broken, with a wrong count, with a wrong length, gone: built anew from the extents. */
START_TEST(records_are_built_anew)
{
	struct world w;
	for (int how = 0; how < 4; how++) {
		world_new(&w, 8, 64 << 20);
		ck_assert_int_eq(sim_run(w.sim, shared_task, &w), 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
		uint8_t *d = leaf_of_shares(&w), *root;
		unsigned len;
		uint8_t *v = leaf_value(d, 0, &len);
		if (how == 0)
			d[300] ^= 1; /* the checksum tells */
		else if (how == 1)
			le32_put(v + 4, 7);
		else if (how == 2)
			le32_put(v, le32_get(v) - 1);
		if (how == 1 || how == 2)
			block_seal(d, 1);
		uint64_t block = le64_get(d + H_BLOCK);
		sim_disk_bytes_changed(w.disk, block * BS, BS);
		if (how == 3) {
			block = le64_get(sim_disk_bytes(w.disk) + SB_ROOT_BLOCK);
			root = sim_disk_bytes(w.disk) + block * BS;
			memset(root + H_SIZE + SHARE_INO * INODE_SIZE + 2, 0, INODE_SIZE - 2);
			block_seal(root, 1);
			sim_disk_bytes_changed(w.disk, block * BS, BS);
		}
		ck_assert_int_eq(sim_run(w.sim, mend_task, &w), 0);
		world_free(&w);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_share");
	TCase *t = tcase_create("share");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, each_owner_is_charged);
	tcase_add_test(t, space_is_used_once_and_charged_to_each);
	tcase_add_test(t, records_are_built_anew);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
