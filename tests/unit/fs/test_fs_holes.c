/*
 * Blocks set aside, holes punched and looked for; the map stays short; limits of space and quotas
 * hold; rights; a file system of the format before is brought up to date, also when that is cut
 * off.
 */
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

#define MIB (1ull << 20)

static const struct fs_cred user = {.uid = 100, .gid = 200}, other = {.uid = 101, .gid = 201};

static uint64_t used_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.used / FS_BLOCK_SIZE;
}

static uint64_t size_of(struct fs *fs, const struct fs_fid *f)
{
	struct fs_attr a;
	ck_assert_int_eq(fs_getattr(fs, f, &a), 0);
	return a.size;
}

struct extents {
	const struct fs_fid *f;
	uint32_t inline_count;
	bool tree;
};

static int extents_body(struct fs *fs, struct extents *e)
{
	struct inode in;
	int rc = inode_get_fid(fs, e->f, &in);
	if (rc)
		return rc;
	e->inline_count = IN32(&in, I_INLINE);
	e->tree = IN64(&in, I_ROOT) != 0;
	return 0;
}

/* Extents in the inode; 1000 when they are in a tree. */
static uint32_t extents_of(struct fs *fs, const struct fs_fid *f)
{
	struct extents e = {.f = f};
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, extents_body(fs, &e));
	op_end(&op);
	ck_assert_int_eq(rc, 0);
	return e.tree ? 1000 : e.inline_count;
}

static void zeros(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len)
{
	static uint8_t buf[1 << 20];
	ck_assert_int_eq(get(fs, f, off, buf, len), (int64_t)len);
	uint64_t i = 0;
	while (i < len && !buf[i])
		i++;
	ck_assert_uint_eq(i, len);
}

/* Written from both ends and in the middle, a file set aside at once stays a few extents, and
 * becomes one. */
static void fill_task(void *arg)
{
	struct world *w = arg;
	static char p[65536];
	struct fs_fid f;
	memset(p, 'x', sizeof(p));
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, 4 * MIB, NULL), 0);
	ck_assert_uint_eq(size_of(w->fs, &f), 4 * MIB);
	ck_assert_uint_eq(used_of(w->fs, &f), 4 * MIB / FS_BLOCK_SIZE);
	ck_assert_uint_eq(extents_of(w->fs, &f), 1);
	zeros(w->fs, &f, 0, MIB);
	uint64_t free_before = w->fs->free_blocks;
	for (uint64_t i = 0; i < 16; i++) {
		ck_assert_int_eq(put(w->fs, &f, i * sizeof(p), p, sizeof(p), 0), 0);
		ck_assert_int_eq(put(w->fs, &f, 4 * MIB - (i + 1) * sizeof(p), p, sizeof(p), 0), 0);
		ck_assert_uint_eq(extents_of(w->fs, &f), 3);
	}
	ck_assert_int_eq(put(w->fs, &f, 2 * MIB, p, 10, 0), 0);
	ck_assert_uint_eq(extents_of(w->fs, &f), 5);
	zeros(w->fs, &f, 2 * MIB + 10, FS_BLOCK_SIZE - 10);
	zeros(w->fs, &f, MIB, MIB);
	for (uint64_t i = 0; i < 32; i++)
		ck_assert_int_eq(put(w->fs, &f, MIB + i * sizeof(p), p, sizeof(p), 0), 0);
	ck_assert_uint_eq(extents_of(w->fs, &f), 1);
	ck_assert_uint_eq(w->fs->free_blocks, free_before);
	world_unmount(w);
	world_check(w);
}

START_TEST(what_was_set_aside_is_written_in_place)
{
	world_run(fill_task, 1);
}
END_TEST

/* ---- 16 TiB with nothing in it but its ends and its middle ---- */

#define TIB	 (1ull << 40)
#define BIG	 (16 * TIB)
#define BIG_TAIL (BIG - FS_BLOCK_SIZE)

static void data_at(struct fs *fs, const struct fs_fid *f, uint64_t off, char c)
{
	char p[FS_BLOCK_SIZE];
	ck_assert_int_eq(get(fs, f, off, p, sizeof(p)), (int64_t)sizeof(p));
	unsigned i = 0;
	while (i < sizeof(p) && p[i] == c)
		i++;
	ck_assert_uint_eq(i, sizeof(p));
}

static void seek_is(struct fs *fs, const struct fs_fid *f, uint64_t off, enum fs_seek_what what,
		    uint64_t is)
{
	uint64_t at;
	ck_assert_int_eq(fs_seek(fs, NULL, f, off, what, &at), 0);
	ck_assert_uint_eq(at, is);
}

static void big_make(struct fs *fs, const struct fs_fid *f)
{
	char p[FS_BLOCK_SIZE];
	const uint64_t at[] = {0, BIG / 2, BIG_TAIL};
	for (unsigned i = 0; i < 3; i++) {
		memset(p, 'a' + (int)i, sizeof(p));
		ck_assert_int_eq(put(fs, f, at[i], p, sizeof(p), 0), 0);
	}
	ck_assert_uint_eq(size_of(fs, f), BIG);
	ck_assert_uint_eq(used_of(fs, f), 3);
}

static void big_holes(struct fs *fs, const struct fs_fid *f)
{
	uint64_t at;
	seek_is(fs, f, 0, FS_SEEK_DATA, 0);
	seek_is(fs, f, 0, FS_SEEK_HOLE, FS_BLOCK_SIZE);
	seek_is(fs, f, FS_BLOCK_SIZE, FS_SEEK_DATA, BIG / 2);
	seek_is(fs, f, BIG / 2, FS_SEEK_HOLE, BIG / 2 + FS_BLOCK_SIZE);
	seek_is(fs, f, BIG / 2 + FS_BLOCK_SIZE, FS_SEEK_DATA, BIG_TAIL);
	seek_is(fs, f, BIG_TAIL, FS_SEEK_HOLE, BIG);
	ck_assert_int_eq(fs_seek(fs, NULL, f, BIG, FS_SEEK_DATA, &at), -ENXIO);
	zeros(fs, f, BIG / 4, MIB);
	zeros(fs, f, BIG / 2 - MIB, MIB);
	data_at(fs, f, BIG / 2, 'b');
	zeros(fs, f, BIG / 2 + FS_BLOCK_SIZE, MIB);
}

/* Down into the middle of a block, and up again: what was behind is zeros. */
static void big_cut(struct fs *fs, const struct fs_fid *f)
{
	char p[8];
	resize_to(fs, f, BIG / 2 + 4);
	ck_assert_uint_eq(used_of(fs, f), 2);
	resize_to(fs, f, BIG);
	ck_assert_int_eq(get(fs, f, BIG / 2, p, 8), 8);
	ck_assert_int_eq(memcmp(p, "bbbb\0\0\0\0", 8), 0);
	zeros(fs, f, BIG - MIB, MIB);
	seek_is(fs, f, BIG / 2 + FS_BLOCK_SIZE, FS_SEEK_HOLE, BIG / 2 + FS_BLOCK_SIZE);
	memset(p, 'c', sizeof(p));
	ck_assert_int_eq(put(fs, f, BIG - 8, p, 8, FS_WRITE_FILE_SYNC), 0);
	ck_assert_uint_eq(used_of(fs, f), 3);
}

static void big_limits(struct fs *fs, const struct fs_fid *f, const struct fs_fid *g)
{
	struct fs_setattr s = {.which = FS_SET_SIZE, .size = FS_SIZE_MAX + 1};
	char p[8] = "end";
	ck_assert_int_eq(fs_setattr(fs, NULL, f, &s, NULL, NULL), -EFBIG);
	ck_assert_int_eq(put(fs, f, FS_SIZE_MAX - 7, p, 8, 0), -EFBIG);
	ck_assert_int_eq(put(fs, f, UINT64_MAX - 3, p, 8, 0), -EFBIG);
	ck_assert_int_eq(fs_allocate(fs, NULL, f, FS_SIZE_MAX - 4096, 8192, NULL), -EFBIG);
	ck_assert_int_eq(fs_clone_range(fs, NULL, f, 0, g, FS_SIZE_MAX - 4096, 8192, NULL), -EFBIG);
	ck_assert_int_eq(fs_allocate(fs, NULL, f, 0, BIG, NULL), -ENOSPC);
	ck_assert_uint_eq(size_of(fs, f), BIG);
	ck_assert_int_eq(put(fs, f, FS_SIZE_MAX - 8, p, 8, FS_WRITE_FILE_SYNC), 0);
	ck_assert_uint_eq(size_of(fs, f), FS_SIZE_MAX);
	ck_assert_int_eq(get(fs, f, FS_SIZE_MAX - 8, p, 8), 8);
	ck_assert_str_eq(p, "end");
	ck_assert_int_eq(get(fs, f, FS_SIZE_MAX, p, 8), 0);
	ck_assert_int_eq(get(fs, f, UINT64_MAX, p, 8), 0);
	resize_to(fs, f, BIG);
	ck_assert_int_eq(fs_deallocate(fs, NULL, f, 0, FS_SIZE_MAX, NULL), 0);
	ck_assert_uint_eq(used_of(fs, f), 0);
	ck_assert_uint_eq(size_of(fs, f), BIG);
}

static void big_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f, g;
	struct fs_quota q;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "big", &f), 0);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "clone", &g), 0);
	big_make(w->fs, &f);
	big_holes(w->fs, &f);
	ck_assert_int_eq(fs_clone_range(w->fs, NULL, &f, 0, &g, 0, 0, NULL), 0);
	big_holes(w->fs, &g);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, 0, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 6 * FS_BLOCK_SIZE);
	big_cut(w->fs, &f);
	big_holes(w->fs, &g);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 12 * TIB, MIB, NULL), 0);
	ck_assert_uint_eq(used_of(w->fs, &f), 3 + MIB / FS_BLOCK_SIZE);
	seek_is(w->fs, &f, BIG / 2 + FS_BLOCK_SIZE, FS_SEEK_DATA, BIG_TAIL);
	ck_assert_int_eq(
	    fs_deallocate(w->fs, NULL, &f, FS_BLOCK_SIZE, BIG_TAIL - FS_BLOCK_SIZE, NULL), 0);
	ck_assert_uint_eq(used_of(w->fs, &f), 2);
	world_unmount(w);
	world_check(w);
	world_mount(w);
	big_limits(w->fs, &f, &g);
	big_holes(w->fs, &g);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, 0, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 3 * FS_BLOCK_SIZE);
	ck_assert_int_eq(fs_remove(w->fs, NULL, &root_fid, "clone", 5, NULL), 0);
	world_unmount(w);
	world_check(w);
}

START_TEST(a_sparse_file_of_16_tib)
{
	world_run(big_task, 5);
}
END_TEST

/* Holes punched into every second block need a tree, and none when all is gone. */
static void punch_task(void *arg)
{
	struct world *w = arg;
	static char p[MIB];
	struct fs_fid f;
	uint64_t at;
	memset(p, 'y', sizeof(p));
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w->fs, &f, 0, p, sizeof(p), 0), 0);
	for (uint64_t i = 0; i < 256; i += 2)
		ck_assert_int_eq(
		    fs_deallocate(w->fs, NULL, &f, i * FS_BLOCK_SIZE, FS_BLOCK_SIZE, NULL), 0);
	ck_assert_uint_eq(extents_of(w->fs, &f), 1000);
	for (uint64_t i = 0; i < 256; i += 2) {
		zeros(w->fs, &f, i * FS_BLOCK_SIZE, FS_BLOCK_SIZE);
		ck_assert_int_eq(fs_seek(w->fs, NULL, &f, i * FS_BLOCK_SIZE + 5, FS_SEEK_DATA, &at),
				 0);
		ck_assert_uint_eq(at, (i + 1) * FS_BLOCK_SIZE);
	}
	world_unmount(w);
	world_check(w);
	world_mount(w);
	struct fs_wcc wcc;
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &f, 0, 10 * MIB, &wcc), 0);
	ck_assert(wcc.have_pre && wcc.have_post && wcc.post.change > wcc.pre.change);
	ck_assert_uint_eq(size_of(w->fs, &f), MIB);
	ck_assert_uint_eq(used_of(w->fs, &f), 0);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 0, FS_SEEK_DATA, &at), -ENXIO);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 0, FS_SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 0);
	world_unmount(w);
	world_check(w);
}

START_TEST(holes_are_punched_block_by_block)
{
	world_run(punch_task, 2);
}
END_TEST

/* Data that no flush has seen is data. A hole far behind it costs no time. */
static void seek_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f, d;
	uint64_t at;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 0, FS_SEEK_HOLE, &at), -ENXIO);
	uint64_t far = 1ull << 44;
	ck_assert_int_eq(put(w->fs, &f, far, "z", 1, FS_WRITE_UNSTABLE), 0);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 3, FS_SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, far);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, far, FS_SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, far + 1);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, far + 1, FS_SEEK_HOLE, &at), -ENXIO);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &d, 0, FS_SEEK_DATA, &at), -EISDIR);
	/* more extents than one look takes, one behind the other in the file */
	for (uint64_t i = 0; i < 200; i++) {
		ck_assert_int_eq(put(w->fs, &f, i * FS_BLOCK_SIZE, "z", 1, 0), 0);
		ck_assert_int_eq(put(w->fs, &f, MIB * 16 + i * 2 * FS_BLOCK_SIZE, "z", 1, 0), 0);
	}
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 0, FS_SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 200 * FS_BLOCK_SIZE);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, 20 * MIB, NULL), 0);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 200 * FS_BLOCK_SIZE, FS_SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 16 * MIB);
	ck_assert_int_eq(fs_seek(w->fs, NULL, &f, 17 * MIB + 600 * MIB / 1024, FS_SEEK_DATA, &at),
			 0);
	ck_assert_uint_eq(at, far);
	world_unmount(w);
	world_check(w);
}

START_TEST(data_and_holes_are_found)
{
	world_run(seek_task, 3);
}
END_TEST

/* What does not fit leaves the size as it was and no block behind the end. */
static void full_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	struct fs_statfs before, after;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	ck_assert_int_eq(put(w->fs, &f, 0, "abc", 3, FS_WRITE_FILE_SYNC), 0);
	ck_assert_int_eq(fs_statfs(w->fs, &before), 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, 1ull << 50, NULL), -ENOSPC);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, before.free_bytes, NULL), -ENOSPC);
	ck_assert_uint_eq(size_of(w->fs, &f), 3);
	ck_assert_uint_eq(used_of(w->fs, &f), 1);
	env_sleep_ns(sim_env(w->sim), 10 * NS_PER_S);
	ck_assert_int_eq(fs_statfs(w->fs, &after), 0);
	ck_assert_uint_eq(after.avail_bytes, before.avail_bytes);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, FS_SIZE_MAX, 1, NULL), -EFBIG);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 5, UINT64_MAX, NULL), -EFBIG);
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &f, 5, UINT64_MAX, NULL), -EFBIG);
	/* With no room left, what was set aside can be written, and holes be punched. */
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, after.avail_bytes - 16 * 4096, NULL), 0);
	struct fs_fid g;
	ck_assert_int_eq(make_file(w->fs, &root_fid, "g", &g), 0);
	int rc = 0;
	for (uint64_t i = 0; !rc; i++)
		rc = put(w->fs, &g, i * 4096, "x", 1, 0);
	ck_assert_int_eq(rc, -ENOSPC);
	for (uint64_t i = 0; i < 500; i++)
		ck_assert_int_eq(put(w->fs, &f, i * 12288, "y", 1, 0), 0);
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_int_eq(fs_deallocate(w->fs, NULL, &f, i * 12288, 4096, NULL), 0);
	world_unmount(w);
	world_check(w);
}

START_TEST(too_much_is_refused_whole)
{
	world_run(full_task, 4);
}
END_TEST

static void rights_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	struct fs_setattr s = {.which = FS_SET_MODE, .mode = 04600};
	struct fs_quota_limits l = {0};
	struct fs_fid d;
	uint64_t at;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(
	    fs_create(w->fs, &user, &root_fid, "f", 1, FS_CREATE_GUARDED, &s, 0, &a, NULL), 0);
	struct fs_fid f = fid_of(&a);
	ck_assert_int_eq(make_dir(w->fs, &root_fid, "d", &d), 0);
	ck_assert_int_eq(fs_allocate(w->fs, &other, &f, 0, MIB, NULL), -EACCES);
	ck_assert_int_eq(fs_deallocate(w->fs, &other, &f, 0, MIB, NULL), -EACCES);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &d, 0, MIB, NULL), -EISDIR);
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &d, 0, MIB, NULL), -EISDIR);
	l.set_hard[FS_QUOTA_BYTES] = true;
	l.hard[FS_QUOTA_BYTES] = 2 * MIB;
	ck_assert_int_eq(fs_quota_set(w->fs, FS_QUOTA_USER, user.uid, &l), 0);
	ck_assert_int_eq(fs_allocate(w->fs, &user, &f, 0, MIB, NULL), 0);
	ck_assert_int_eq(fs_getattr(w->fs, &f, &a), 0);
	ck_assert_uint_eq(a.mode, 0600); /* as a write does */
	ck_assert_int_eq(fs_allocate(w->fs, &user, &f, 0, 3 * MIB, NULL), -EDQUOT);
	ck_assert_uint_eq(size_of(w->fs, &f), MIB);
	ck_assert_int_eq(fs_seek(w->fs, &other, &f, 0, FS_SEEK_DATA, &at), -EACCES);
	struct fs_quota q;
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, user.uid, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], MIB);
	ck_assert_int_eq(fs_deallocate(w->fs, &user, &f, 0, MIB, NULL), 0);
	ck_assert_int_eq(fs_quota_get(w->fs, FS_QUOTA_USER, user.uid, &q), 0);
	ck_assert_uint_eq(q.used[FS_QUOTA_BYTES], 0);
	world_unmount(w);
	world_check(w);
	struct fs_opts o = {.read_only = true};
	ck_assert_int_eq(fs_mount(&w->fs, sim_env(w->sim), w->dev, &o), 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 0, 1, NULL), -EROFS);
	ck_assert_int_eq(fs_deallocate(w->fs, NULL, &f, 0, 1, NULL), -EROFS);
	world_unmount(w);
}

START_TEST(rights_and_limits_hold)
{
	world_run(rights_task, 5);
}
END_TEST

/* ---- the format before ---- */

static void version_put(struct world *w, uint32_t version)
{
	for (uint64_t b = 0; b < sim_disk_size(w->disk) / BS; b++) {
		uint8_t *d = sim_disk_bytes(w->disk) + b * BS;
		if (le32_get(d) != META_MAGIC || le16_get(d + H_TYPE) != BT_SUPER)
			continue;
		le32_put(d + SB_VERSION, version);
		block_seal(d, 0);
		sim_disk_bytes_changed(w->disk, b * BS, BS);
	}
}

static unsigned versions(struct world *w, uint32_t version)
{
	unsigned n = 0;
	for (uint64_t b = 0; b < sim_disk_size(w->disk) / BS; b++) {
		const uint8_t *d = sim_disk_bytes(w->disk) + b * BS;
		n += le32_get(d) == META_MAGIC && le16_get(d + H_TYPE) == BT_SUPER &&
		     le32_get(d + SB_VERSION) == version;
	}
	return n;
}

static void make_task(void *arg)
{
	struct world *w = arg;
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", NULL), 0);
	world_unmount(w);
}

static void upgrade_task(void *arg)
{
	struct world *w = arg;
	struct fs_opts o = {.read_only = true};
	struct fs_attr a;
	ck_assert_int_eq(fs_mount(&w->fs, sim_env(w->sim), w->dev, &o), 0);
	ck_assert_int_eq(find(w->fs, &root_fid, "f", &a), 0);
	world_unmount(w);
	world_mount(w);
	ck_assert_int_eq(find(w->fs, &root_fid, "f", &a), 0);
	world_unmount(w);
	world_check(w);
	ck_assert_uint_eq(versions(w, FORMAT_VERSION), 3);
}

static void cut_off_task(void *arg)
{
	struct world *w = arg;
	struct fs *fs;
	if (!fs_mount(&fs, sim_env(w->sim), w->dev, NULL)) {
		if (!sim_power_is_off(w->sim))
			sim_power_off(w->sim);
		fs_abandon(fs);
	}
}

START_TEST(format_before_is_brought_up_to_date)
{
	struct world w;
	world_new(&w, 6, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, make_task, &w), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	for (uint64_t nth = 0; nth < 16; nth++) {
		uint32_t from = FORMAT_OLDEST + nth % (FORMAT_VERSION - FORMAT_OLDEST);
		version_put(&w, from);
		ck_assert_uint_eq(versions(&w, from), 3);
		if (nth) {
			sim_power_off_at_write(w.sim, nth);
			ck_assert_int_eq(sim_run(w.sim, cut_off_task, &w), 0);
			sim_power_off_at_write(w.sim, 0);
			sim_run_for(w.sim, 60 * NS_PER_S);
			if (!sim_power_is_off(w.sim))
				sim_power_off(w.sim);
			sim_power_on(w.sim, nth % 2 ? SIM_LOSE_ALL : SIM_LOSE_NONE, 0);
		}
		ck_assert_int_eq(sim_run(w.sim, upgrade_task, &w), 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
	}
	world_free(&w);
}
END_TEST

static void before_task(void *arg)
{
	struct world *w = arg;
	struct fs_fid f;
	static uint8_t data[3 * BS];
	world_mkfs(w);
	world_mount(w);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "f", &f), 0);
	memset(data, 'f', sizeof(data));
	ck_assert_int_eq(put(w->fs, &f, 0, data, sizeof(data), FS_WRITE_FILE_SYNC), 0);
	ck_assert_int_eq(fs_allocate(w->fs, NULL, &f, 4 * BS, 2 * BS, NULL), 0);
	world_unmount(w);
}

static void share_task(void *arg)
{
	struct world *w = arg;
	struct fs_attr a;
	struct fs_fid g;
	static uint8_t data[3 * BS], got[6 * BS];
	world_mount(w);
	ck_assert_int_eq(find(w->fs, &root_fid, "f", &a), 0);
	ck_assert_uint_eq(a.size, 6 * BS);
	struct fs_fid f = fid_of(&a);
	ck_assert_int_eq(make_file(w->fs, &root_fid, "g", &g), 0);
	ck_assert_int_eq(fs_clone_range(w->fs, NULL, &f, 0, &g, 0, 0, NULL), 0);
	memset(data, 'x', sizeof(data));
	ck_assert_int_eq(put(w->fs, &f, 0, data, BS, FS_WRITE_FILE_SYNC), 0);
	ck_assert_int_eq(get(w->fs, &g, 0, got, sizeof(got)), sizeof(got));
	unsigned i = 0;
	while (i < sizeof(got) && got[i] == (i < 3 * BS ? 'f' : 0))
		i++;
	ck_assert_uint_eq(i, sizeof(got));
	ck_assert_int_eq(get(w->fs, &f, 0, got, BS), BS);
	ck_assert_mem_eq(got, data, BS);
	world_unmount(w);
	world_check(w);
	ck_assert_uint_eq(versions(w, FORMAT_VERSION), 3);
}

/* Format 4 knew no shared blocks: its files share them once it has been brought up to date. */
START_TEST(files_of_the_format_before_share_blocks)
{
	struct world w;
	world_new(&w, 8, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, before_task, &w), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	version_put(&w, 4);
	ck_assert_int_eq(sim_run(w.sim, share_task, &w), 0);
	world_free(&w);
}
END_TEST

static void refuse_task(void *arg)
{
	struct world *w = arg;
	struct fs *fs;
	struct fs_check_report r;
	ck_assert_int_eq(fs_mount(&fs, sim_env(w->sim), w->dev, NULL), -ERR_VERSION);
	ck_assert_int_eq(fs_check(sim_env(w->sim), w->dev, true, say_stderr, NULL, &r),
			 -ERR_VERSION);
}

START_TEST(other_formats_are_refused)
{
	struct world w;
	world_new(&w, 7, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, make_task, &w), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	const uint32_t wrong[] = {0, FORMAT_OLDEST - 1, FORMAT_VERSION + 1, UINT32_MAX};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		version_put(&w, wrong[i]);
		ck_assert_int_eq(sim_run(w.sim, refuse_task, &w), 0);
		ck_assert_uint_eq(versions(&w, wrong[i]), 3);
	}
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_holes");
	TCase *t = tcase_create("holes");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, what_was_set_aside_is_written_in_place);
	tcase_add_test(t, a_sparse_file_of_16_tib);
	tcase_add_test(t, holes_are_punched_block_by_block);
	tcase_add_test(t, data_and_holes_are_found);
	tcase_add_test(t, too_much_is_refused_whole);
	tcase_add_test(t, rights_and_limits_hold);
	tcase_add_test(t, format_before_is_brought_up_to_date);
	tcase_add_test(t, files_of_the_format_before_share_blocks);
	tcase_add_test(t, other_formats_are_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
