/*
 * Files that share blocks: clones read the same and part when either is written to, in every way;
 * owners are counted; quotas charge each; a crash, damage and a full disk lose nothing.
 */
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

static const struct fs_cred user = {.uid = 100, .gid = 200}, other = {.uid = 101, .gid = 201};

static void run(void (*task)(void *), uint64_t seed)
{
	struct world w;
	world_new(&w, seed, 64 << 20);
	ck_assert_int_eq(sim_run(w.sim, task, &w), 0);
	world_free(&w);
}

static uint8_t buf[MIB];

static void fill(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len, uint8_t byte)
{
	memset(buf, byte, len);
	ck_assert_int_eq(put(fs, f, off, buf, len, FS_WRITE_FILE_SYNC), 0);
}

static void holds(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len, uint8_t byte)
{
	ck_assert_int_eq(get(fs, f, off, buf, len), (int64_t)len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != byte)
			ck_abort_msg("byte %llu is %u not %u", (unsigned long long)(off + i),
				     buf[i], byte);
}

static int clone(struct fs *fs, const struct fs_fid *from, uint64_t from_off,
		 const struct fs_fid *to, uint64_t to_off, uint64_t len)
{
	return fs_clone_range(fs, NULL, from, from_off, to, to_off, len, NULL);
}

static uint64_t free_bytes(struct fs *fs)
{
	struct fs_statfs st;
	space_wait(fs);
	ck_assert_int_eq(fs_statfs(fs, &st), 0);
	return fs->free_blocks * BS;
}

static uint64_t size_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.size;
}

static void two_files(struct world *w, struct fs_fid *a, struct fs_fid *b)
{
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "a", a), 0);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "b", b), 0);
	fill(w->fs, a, 0, 512 * KIB, 'a');
}

static void check_now(struct world *w)
{
	struct fs_check_report r;
	ck_assert_int_eq(fs_verify(w->fs, say_stderr, NULL, &r), 0);
	world_unmount(w);
	world_check(w);
	world_mount(w);
}

static void parts_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, c;
	two_files(w, &a, &b);
	uint64_t before = free_bytes(w->fs);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
	ck_assert_uint_ge(free_bytes(w->fs) + 4 * BS, before); /* nothing was copied */
	ck_assert_uint_eq(size_of(w->fs, &b), 512 * KIB);
	check_now(w);
	fill(w->fs, &b, 5 * BS + 100, 50, 'b'); /* a part of a block */
	holds(w->fs, &a, 0, 512 * KIB, 'a');
	holds(w->fs, &b, 0, 5 * BS + 100, 'a');
	holds(w->fs, &b, 5 * BS + 100, 50, 'b');
	holds(w->fs, &b, 5 * BS + 150, BS, 'a');
	fill(w->fs, &a, 20 * BS, 70 * BS, 'A'); /* the other side, more than is copied at once */
	holds(w->fs, &b, 6 * BS, 512 * KIB - 6 * BS, 'a');
	check_now(w);
	/* a third owner; the first two go */
	ck_assert_int_eq(make_file(w->fs, &root_fid, "c", &c), 0);
	ck_assert_int_eq(clone(w->fs, &b, 0, &c, 64 * KIB, 512 * KIB), 0);
	check_now(w);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "b", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "a", 1, NULL), 0);
	holds(w->fs, &c, 0, 64 * KIB, 0);
	holds(w->fs, &c, 64 * KIB + 6 * BS, 512 * KIB - 6 * BS, 'a');
	check_now(w);
	fill(w->fs, &c, 64 * KIB, 512 * KIB, 'c'); /* alone now: in place */
	holds(w->fs, &c, 64 * KIB, 512 * KIB, 'c');
	check_now(w);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "c", 1, NULL), 0);
	check_now(w);
	ck_assert_uint_ge(free_bytes(w->fs), before + 512 * KIB - 4 * BS);
	world_unmount(w);
}

START_TEST(clones_part_when_written)
{
	run(parts_task, 1);
}
END_TEST

static void ways_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	two_files(w, &a, &b);
	fill(w->fs, &a, 512 * KIB, 1000, 'e'); /* it ends inside a block */
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
	/* growing zeroes behind the end of one only */
	resize_to(w->fs, &b, 600 * KIB);
	holds(w->fs, &b, 512 * KIB, 1000, 'e');
	holds(w->fs, &b, 512 * KIB + 1000, 80 * KIB, 0);
	ck_assert_uint_eq(size_of(w->fs, &a), 512 * KIB + 1000);
	/* punched in parts of blocks, cut, set aside */
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &b, 100, 3 * BS, NULL), 0);
	holds(w->fs, &b, 0, 100, 'a');
	holds(w->fs, &b, 100, 3 * BS, 0);
	resize_to(w->fs, &b, 10 * BS + 7);
	resize_to(w->fs, &b, 20 * BS);
	holds(w->fs, &b, 4 * BS, 6 * BS + 7, 'a');
	holds(w->fs, &b, 10 * BS + 7, BS, 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &b, 5 * BS, 2 * BS, NULL), 0);
	holds(w->fs, &a, 0, 512 * KIB, 'a');
	holds(w->fs, &a, 512 * KIB, 1000, 'e');
	check_now(w);
	/* over what was there, from a hole, to itself, twice */
	fill(w->fs, &b, 0, 20 * BS, 'b');
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &a, 2 * BS, 2 * BS, NULL), 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &a, 2 * BS, BS, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(clone(w->fs, &a, 0, &b, BS, 8 * BS), 0);
	holds(w->fs, &b, 0, BS, 'b');
	holds(w->fs, &b, BS, 2 * BS, 'a');
	holds(w->fs, &b, 3 * BS, 2 * BS, 0);
	holds(w->fs, &b, 5 * BS, 4 * BS, 'a');
	holds(w->fs, &b, 9 * BS, 11 * BS, 'b');
	ck_assert_int_eq(clone(w->fs, &b, 8 * BS, &b, 100 * BS, 3 * BS), 0);
	holds(w->fs, &b, 20 * BS, 80 * BS, 0);
	holds(w->fs, &b, 100 * BS, BS, 'a');
	holds(w->fs, &b, 101 * BS, 2 * BS, 'b');
	/* blocks of the source shifted against themselves in the destination */
	ck_assert_int_eq(clone(w->fs, &a, 10 * BS, &b, 0, 20 * BS), 0);
	ck_assert_int_eq(clone(w->fs, &a, 15 * BS, &b, 0, 20 * BS), 0);
	holds(w->fs, &b, 0, 20 * BS, 'a');
	check_now(w);
	world_unmount(w);
}

START_TEST(every_change_parts_them)
{
	run(ways_task, 2);
}
END_TEST

static void refused_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, d;
	struct fs_wcc wcc;
	two_files(w, &a, &b);
	fill(w->fs, &b, 0, 8 * BS, 'b');
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	ck_assert_int_eq(clone(w->fs, &a, 1, &b, 0, BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 1, BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 100), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 512 * KIB + BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 513 * KIB, &b, 0, 0), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 516 * KIB, &b, 0, BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &a, 4 * BS, 5 * BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, UINT64_MAX & ~4095ull, &b, 0, BS), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, UINT64_MAX & ~4095ull, BS), -EFBIG);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, UINT64_MAX & ~4095ull), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, FS_SIZE_MAX, BS), -EFBIG);
	ck_assert_int_eq(clone(w->fs, &d, 0, &b, 0, BS), -EISDIR);
	ck_assert_int_eq(clone(w->fs, &a, 0, &d, 0, BS), -EISDIR);
	resize_to(w->fs, &a, 2 * BS + 10);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 2 * BS + 9), -EINVAL);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 6 * BS, 0), 0);
	ck_assert_uint_eq(size_of(w->fs, &b), 8 * BS + 10);
	holds(w->fs, &b, 0, 6 * BS, 'b');
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 20 * BS, 2 * BS + 10), 0);
	holds(w->fs, &b, 8 * BS + 10, 12 * BS - 10, 0);
	resize_to(w->fs, &a, 0);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
	/* rights: to read the one, to write the other */
	struct fs_setattr s = {.which = FS_SET_MODE | FS_SET_UID, .mode = 0600, .uid = user.uid};
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &a, &s, NULL, NULL), 0);
	fill(w->fs, &a, 0, BS, 'a');
	ck_assert_int_eq(fs_clone_range(w->fs, &other, &a, 0, &b, 0, BS, &wcc), -EACCES);
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, BS, &wcc), -EACCES);
	s.mode = 06777;
	ck_assert_int_eq(fs_setattr(w->fs, NULL, &b, &s, NULL, NULL), 0);
	s.mode = 0777;
	s.which = FS_SET_MODE;
	ck_assert_int_eq(fs_clone_range(w->fs, &user, &a, 0, &b, 0, BS, &wcc), 0);
	ck_assert(wcc.have_pre && wcc.have_post);
	ck_assert_uint_gt(wcc.post.change, wcc.pre.change);
	ck_assert_uint_eq(wcc.post.mode & 06000, 0);
	world_unmount(w);
	world_check(w);
	struct fs_opts o = {.read_only = true};
	ck_assert_int_eq(fs_mount(&w->fs, sim_env(w->sim), w->dev, &o), 0);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, BS), -EROFS);
	world_unmount(w);
}

START_TEST(wrong_ones_are_refused)
{
	run(refused_task, 3);
}
END_TEST

/* The source ends inside a block, the destination goes on behind it: up to the next block that is
 * zeros, whatever lay behind the source's end. */
static void inside_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, c;
	two_files(w, &a, &b);
	fill(w->fs, &b, 0, 8 * BS, 'b');
	ck_assert_int_eq(make_file(w->fs, &root_fid, "c", &c), 0);
	ck_assert_int_eq(clone(w->fs, &a, 0, &c, 0, 0), 0);
	for (int i = 0; i < 2; i++) { /* what it had shared, and what is its own */
		if (i)
			fill(w->fs, &a, 0, 3 * BS, 'a');
		resize_to(w->fs, &a, (1 + (uint64_t)i) * BS + 10);
		ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
		ck_assert_uint_eq(size_of(w->fs, &b), 8 * BS);
		holds(w->fs, &b, 0, (1 + (uint64_t)i) * BS + 10, 'a');
		holds(w->fs, &b, (1 + (uint64_t)i) * BS + 10, BS - 10, 0);
		holds(w->fs, &b, (2 + (uint64_t)i) * BS, 3 * BS, 'b');
	}
	holds(w->fs, &c, 0, 512 * KIB, 'a');
	/* within one file, its end to its begin */
	ck_assert_int_eq(clone(w->fs, &a, 2 * BS, &a, 0, 0), 0);
	holds(w->fs, &a, 10, BS - 10, 0);
	holds(w->fs, &a, BS, BS + 10, 'a');
	check_now(w);
	world_unmount(w);
}

START_TEST(an_end_inside_a_block)
{
	run(inside_task, 13);
}
END_TEST

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
	run(quota_task, 4);
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
	run(accounts_task, 14);
}
END_TEST

/* Every second block of another file: the records become a tree, and go again. */
static void many_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, c;
	two_files(w, &a, &b);
	fill(w->fs, &a, 0, MIB, 'a');
	fill(w->fs, &a, MIB, MIB, 'a');
	uint64_t before = free_bytes(w->fs);
	for (uint64_t i = 0; i < 2 * MIB / BS; i += 2)
		ck_assert_int_eq(clone(w->fs, &a, i * BS, &b, i * BS, BS), 0);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "c", &c), 0);
	ck_assert_int_eq(clone(w->fs, &a, 0, &c, 0, 0), 0);
	ck_assert_int_eq(clone(w->fs, &b, 0, &c, 0, MIB), 0);
	check_now(w);
	for (uint64_t i = 0; i < 2 * MIB / BS; i += 6)
		fill(w->fs, i % 4 ? &a : &c, i * BS, BS, 'x');
	check_now(w);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "a", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "c", 1, NULL), 0);
	check_now(w);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "b", 1, NULL), 0);
	check_now(w);
	ck_assert_uint_ge(free_bytes(w->fs), before + 2 * MIB - 8 * BS);
	world_unmount(w);
}

START_TEST(many_runs)
{
	run(many_task, 5);
}
END_TEST

/* No room to part them: the write fails whole, the clone stands; removing works. */
static void full_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b, big;
	two_files(w, &a, &b);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 0), 0);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "big", &big), 0);
	int rc = 0;
	memset(buf, 'x', MIB);
	for (uint64_t i = 0; !rc; i++)
		rc = put(w->fs, &big, i * 64 * KIB, buf, 64 * KIB, FS_WRITE_UNSTABLE);
	ck_assert_int_eq(rc, -ENOSPC);
	rc = 0;
	for (uint64_t i = 0; !rc; i++)
		rc = put(w->fs, &big, (1ull << 32) + i * BS, buf, BS, FS_WRITE_UNSTABLE);
	ck_assert_int_eq(put(w->fs, &b, 0, buf, 256 * KIB, FS_WRITE_FILE_SYNC), -ENOSPC);
	holds(w->fs, &a, 0, 512 * KIB, 'a');
	/* A clone needs no blocks but those of its extents' tree. */
	rc = 0;
	for (uint64_t i = 0; !rc; i++) {
		ck_assert_uint_lt(i, 10000);
		rc = clone(w->fs, &a, i % 128 * BS, &b, (1ull << 32) + 2 * i * BS, BS);
	}
	ck_assert_int_eq(rc, -ENOSPC);
	holds(w->fs, &b, 1ull << 32, BS, 'a');
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "b", 1, NULL), 0);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "big", 3, NULL), 0);
	holds(w->fs, &a, 0, 512 * KIB, 'a');
	world_unmount(w);
	world_check(w);
}

START_TEST(a_full_disk)
{
	run(full_task, 6);
}
END_TEST

/* ---- at the same time ---- */

struct race {
	struct world *w;
	struct fs_fid a, b;
	int running;
	bool swap;
};

static void racer_task(void *arg)
{
	struct race *r = arg;
	bool swap = r->swap;
	for (int i = 0; i < 60; i++)
		ck_assert_int_eq(
		    clone(r->w->fs, swap ? &r->b : &r->a, 0, swap ? &r->a : &r->b, 0, 64 * KIB), 0);
	r->running--;
}

/* Writes a file whole with one byte: no clone may see a part of a write of the range it locked. */
static void race_task(void *arg)
{
	struct race r = {.w = arg};
	two_files(r.w, &r.a, &r.b);
	fill(r.w->fs, &r.b, 0, 512 * KIB, 'b');
	r.running = 4;
	for (int k = 0; k < 4; k++) {
		r.swap = k % 2;
		ck_assert_int_eq(task_start(racer_task, &r), 0);
		task_yield();
	}
	for (int i = 0; i < 100; i++) {
		static uint8_t p[64 * KIB];
		memset(p, 'A' + i % 26, sizeof(p));
		ck_assert_int_eq(put(r.w->fs, i % 2 ? &r.a : &r.b, 0, p, sizeof(p), 0), 0);
		ck_assert_int_eq(get(r.w->fs, i % 2 ? &r.b : &r.a, 0, buf, 4), 4);
	}
	while (r.running)
		env_sleep_ns(sim_env(r.w->sim), NS_PER_MS);
	for (int k = 0; k < 2; k++) {
		const struct fs_fid *f = k ? &r.a : &r.b;
		ck_assert_int_eq(get(r.w->fs, f, 0, buf, 64 * KIB), 64 * KIB);
		uint8_t first = buf[0];
		holds(r.w->fs, f, 0, 64 * KIB, first);
	}
	world_unmount(r.w);
	world_check(r.w);
}

START_TEST(both_ways_at_once_and_writes)
{
	run(race_task, 7);
}
END_TEST

static void writer_task(void *arg)
{
	struct race *r = arg;
	static uint8_t p[64 * KIB];
	for (int i = 0; r->running == 1; i++) {
		memset(p, 'A' + i % 26, sizeof(p));
		/* parts of blocks at both ends are read between plan and write */
		ck_assert_int_eq(put(r->w->fs, &r->a, 100, p, sizeof(p) - 200, 0), 0);
	}
	r->running = 0;
}

/* What a clone holds when it returns it holds later, whatever was on its way to its source. */
static void snapshot_task(void *arg)
{
	static uint8_t then[64 * KIB];
	struct race r = {.w = arg};
	two_files(r.w, &r.a, &r.b);
	r.running = 1;
	ck_assert_int_eq(task_start(writer_task, &r), 0);
	for (int i = 0; i < 60; i++) {
		env_sleep_ns(sim_env(r.w->sim), (uint64_t)(i * 37 % 1000) * 1000);
		ck_assert_int_eq(clone(r.w->fs, &r.a, 0, &r.b, 0, 64 * KIB), 0);
		ck_assert_int_eq(get(r.w->fs, &r.b, 0, then, 64 * KIB), 64 * KIB);
		env_sleep_ns(sim_env(r.w->sim), 20 * NS_PER_MS);
		ck_assert_int_eq(get(r.w->fs, &r.b, 0, buf, 64 * KIB), 64 * KIB);
		ck_assert_mem_eq(then, buf, 64 * KIB);
		holds(r.w->fs, &r.b, 100, 64 * KIB - 200, then[100]);
	}
	r.running = 2;
	while (r.running)
		env_sleep_ns(sim_env(r.w->sim), NS_PER_MS);
	world_unmount(r.w);
	world_check(r.w);
}

START_TEST(a_clone_is_a_snapshot)
{
	run(snapshot_task, 11);
}
END_TEST

/* ---- in place again, when the other has gone for good ---- */

/* The owner that went would come back with a power loss: its blocks must not be another's yet. */
static void gone_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid a, b;
	two_files(w, &a, &b);
	ck_assert_int_eq(clone(w->fs, &a, 0, &b, 0, 64 * KIB), 0);
	memset(buf, 'b', 64 * KIB);
	ck_assert_int_eq(put(w->fs, &b, 0, buf, 64 * KIB, FS_WRITE_UNSTABLE), 0);
	memset(buf, 'x', 64 * KIB);
	ck_assert_int_eq(put(w->fs, &a, 0, buf, 64 * KIB, FS_WRITE_UNSTABLE), 0);
	sim_power_off(w->sim);
	fs_abandon(w->fs);
}

static void gone_look_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	world_check(w);
	world_mount(w);
	ck_assert_int_eq(find(w->fs, &root_fid, "b", &a), 0);
	struct fs_fid b = fid_of(&a);
	ck_assert_int_eq(get(w->fs, &b, 0, buf, 64 * KIB), 64 * KIB);
	for (uint64_t i = 0; i < 64 * KIB; i++)
		ck_assert(buf[i] == 'a' || buf[i] == 'b');
	world_unmount(w);
}

START_TEST(an_owner_is_gone_when_that_is_stable)
{
	struct world w;
	world_new(&w, 9, 64 << 20);
	ck_assert_int_eq(sim_run(w.sim, gone_task, &w), 0);
	sim_run_for(w.sim, NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_NONE, 0);
	ck_assert_int_eq(sim_run(w.sim, gone_look_task, &w), 0);
	world_free(&w);
}
END_TEST

struct late {
	struct world *w;
	struct fs_fid a;
	bool done;
};

static void late_write_task(void *arg)
{
	struct late *l = arg;
	static uint8_t p[BS] = "x";
	ck_assert_int_eq(put(l->w->fs, &l->a, 0, p, sizeof(p), FS_WRITE_FILE_SYNC), 0);
	l->done = true;
}

/* A read of the file that went has its blocks in hand. */
static void late_task(void *arg)
{
	struct late l = {.w = arg};
	struct io_hold hold;
	struct fs_fid b;
	two_files(l.w, &l.a, &b);
	ck_assert_int_eq(clone(l.w->fs, &l.a, 0, &b, 0, 64 * KIB), 0);
	io_hold_begin(l.w->fs, &hold);
	ck_assert_int_eq(fs_remove(l.w->fs, NULL, &root_fid, "b", 1, NULL), 0);
	ck_assert_int_eq(task_start(late_write_task, &l), 0);
	env_sleep_ns(sim_env(l.w->sim), NS_PER_S);
	ck_assert(!l.done);
	io_hold_end(l.w->fs, &hold);
	env_sleep_ns(sim_env(l.w->sim), NS_PER_S);
	ck_assert(l.done);
	world_unmount(l.w);
	world_check(l.w);
}

START_TEST(reads_of_an_owner_that_went_end_first)
{
	run(late_task, 10);
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
	Suite *s = suite_create("fs_clone");
	TCase *t = tcase_create("clone");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, clones_part_when_written);
	tcase_add_test(t, every_change_parts_them);
	tcase_add_test(t, wrong_ones_are_refused);
	tcase_add_test(t, an_end_inside_a_block);
	tcase_add_test(t, each_owner_is_charged);
	tcase_add_test(t, space_is_used_once_and_charged_to_each);
	tcase_add_test(t, many_runs);
	tcase_add_test(t, a_full_disk);
	tcase_add_test(t, both_ways_at_once_and_writes);
	tcase_add_test(t, a_clone_is_a_snapshot);
	tcase_add_test(t, an_owner_is_gone_when_that_is_stable);
	tcase_add_test(t, reads_of_an_owner_that_went_end_first);
	tcase_add_test(t, records_are_built_anew);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
