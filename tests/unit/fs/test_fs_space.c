/* A full file system, big directories, a small cache: nothing breaks, what is freed is usable. */
#include "nasfront/fs/impl.h"
#include "tests/unit/fs/fs_world.h"

static struct world w;

static void name_of(char *to, int i)
{
	snprintf(to, 32, "file-number-%d", i);
}

static void full_task(void *arg)
{
	static uint8_t chunk[256 * 1024];
	struct fs_fid big, f;
	struct fs_attr a;
	struct fs_statfs st;
	char name[32];
	int rc = 0, n = 0, left;
	world_mkfs(&w);
	world_mount(&w);
	memset(chunk, 0xab, sizeof(chunk));
	ck_assert_int_eq(make_file(w.fs, &root_fid, "big", &big), 0);
	for (uint64_t off = 0; !rc; off += sizeof(chunk))
		rc = put(w.fs, &big, off, chunk, sizeof(chunk), FS_WRITE_FILE_SYNC);
	ck_assert_int_eq(rc, -ENOSPC);
	rc = 0;
	for (uint64_t off = 1ull << 40; !rc; off += 4096)
		rc = put(w.fs, &big, off, chunk, 4096, FS_WRITE_UNSTABLE);
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_int_eq(fs_statfs(w.fs, &st), 0);
	ck_assert_uint_eq(st.avail_bytes, 0);
	for (rc = 0; !rc && n < 20000; n++) {
		name_of(name, n);
		rc = make_file(w.fs, &root_fid, name, &f);
	}
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_int_eq(find(w.fs, &root_fid, name, &a), -ENOENT);
	ck_assert_int_eq(
	    fs_setattr(w.fs, NULL, &big, &(struct fs_setattr){.which = FS_SET_MODE}, NULL, NULL),
	    0);
	world_unmount(&w);
	world_check(&w);
	world_mount(&w);
	/* Everything can be taken away again, the biggest last. */
	for (left = n - 2; left >= 0; left--) {
		name_of(name, left);
		ck_assert_int_eq(
		    fs_remove(w.fs, NULL, &root_fid, name, (uint32_t)strlen(name), NULL), 0);
	}
	ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, "big", 3, NULL), 0);
	env_sleep_ns(sim_env(w.sim), 10 * NS_PER_S);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "again", &f), 0);
	for (uint64_t off = 0; off < 4 << 20; off += sizeof(chunk))
		ck_assert_int_eq(put(w.fs, &f, off, chunk, sizeof(chunk), FS_WRITE_UNSTABLE), 0);
	world_unmount(&w);
	world_check(&w);
}

START_TEST(a_full_file_system_stays_whole)
{
	world_new(&w, 3, 16 << 20);
	ck_assert_int_eq(sim_run(w.sim, full_task, NULL), 0);
	world_free(&w);
}
END_TEST

/* Writing over and over what was just removed: space comes back in time. */
static void churn_task(void *arg)
{
	static uint8_t chunk[1 << 20];
	struct fs_fid f;
	world_mkfs(&w);
	world_mount(&w);
	for (int i = 0; i < 60; i++) {
		ck_assert_int_eq(make_file(w.fs, &root_fid, "f", &f), 0);
		for (uint64_t off = 0; off < 6; off++)
			ck_assert_int_eq(put(w.fs, &f, off << 20, chunk, sizeof(chunk), 0), 0);
		ck_assert_int_eq(fs_remove(w.fs, NULL, &root_fid, "f", 1, NULL), 0);
	}
	world_unmount(&w);
	world_check(&w);
}

START_TEST(freed_space_is_used_again)
{
	world_new(&w, 4, 16 << 20);
	ck_assert_int_eq(sim_run(w.sim, churn_task, NULL), 0);
	world_free(&w);
}
END_TEST

#define SPILLED 800

/* The directory's group is full of data: its inodes share blocks elsewhere all the same. */
static void spill_task(void *arg)
{
	static uint8_t chunk[1 << 20];
	struct fs_fid f;
	struct fs_statfs before, after;
	char name[32];
	world_mkfs(&w);
	world_mount(&w);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "big", &f), 0);
	/* Full but for what is set aside for tree nodes. */
	for (uint64_t n = 0;
	     le32_get(summary_of(w.fs, 0, NULL, NULL) + SUM_FREE) > w.fs->ags[0].nodes.len; n++) {
		ck_assert_uint_lt(n, 200);
		ck_assert_int_eq(put(w.fs, &f, n << 20, chunk, sizeof(chunk), FS_WRITE_FILE_SYNC),
				 0);
	}
	ck_assert_int_eq(fs_statfs(w.fs, &before), 0);
	for (int i = 0; i < SPILLED; i++) {
		name_of(name, i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	}
	ck_assert_int_eq(fs_statfs(w.fs, &after), 0);
	ck_assert_uint_le(before.free_bytes - after.free_bytes,
			  2 * SPILLED / INODES_PER_BLOCK * BS);
	world_unmount(&w);
	world_check(&w);
}

START_TEST(inodes_share_blocks_beyond_a_full_group)
{
	world_new(&w, 6, 300 << 20);
	ck_assert_int_eq(sim_run(w.sim, spill_task, NULL), 0);
	world_free(&w);
}
END_TEST

#define BIG 100000

struct making {
	int from, to;
	int *running;
};

static void maker_task(void *arg)
{
	struct making *m = arg;
	char name[32];
	for (int i = m->from; i < m->to; i++) {
		name_of(name, i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	}
	--*m->running;
}

static bool count_emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		       const struct fs_attr *attr)
{
	++*(int *)arg;
	return true;
}

static void big_task(void *arg)
{
	enum { TASKS = 50 };
	struct making m[TASKS];
	struct fs_attr a;
	char name[32];
	int running = TASKS, n = 0;
	bool eof;
	world_mkfs(&w);
	world_mount_mem(&w, 1); /* the smallest cache: 8 MiB */
	for (int i = 0; i < TASKS; i++) {
		m[i] = (struct making){i * (BIG / TASKS), (i + 1) * (BIG / TASKS), &running};
		ck_assert_int_eq(task_start(maker_task, &m[i]), 0);
	}
	while (running)
		env_sleep_ns(sim_env(w.sim), NS_PER_MS);
	struct fs_stats st;
	fs_stats(w.fs, &st);
	ck_assert_uint_gt(st.commit_ops / st.commits, 20); /* commits are shared */
	ck_assert_uint_lt(st.blocks_cached, 4096);
	ck_assert_int_eq(fs_readdir(w.fs, NULL, &root_fid, 0, true, count_emit, &n, &eof, NULL), 0);
	ck_assert_int_eq(n, BIG + 2);
	for (int i = 0; i < BIG; i += 997) {
		name_of(name, i);
		ck_assert_int_eq(find(w.fs, &root_fid, name, &a), 0);
	}
	for (int i = 0; i < BIG; i += 2) {
		name_of(name, i);
		ck_assert_int_eq(
		    fs_remove(w.fs, NULL, &root_fid, name, (uint32_t)strlen(name), NULL), 0);
		if (i == 2000)
			break;
	}
	world_unmount(&w);
	world_check(&w);
}

START_TEST(a_directory_of_100000_names)
{
	world_new(&w, 5, 256 << 20);
	ck_assert_int_eq(sim_run(w.sim, big_task, NULL), 0);
	world_free(&w);
}
END_TEST

#define TOGETHER 8000

/* Blocks of `type` in memory that follow one of the same type on the volume. */
static unsigned in_runs(unsigned type, unsigned *ret_all)
{
	unsigned n = 0;
	*ret_all = 0;
	for (size_t i = 0; i <= w.fs->hash_mask; i++) {
		struct buf *b, *before;
		LIST_FOREACH (b, &w.fs->hash[i], hash_link) {
			if (b->type != type)
				continue;
			++*ret_all;
			before = meta_find(w.fs, b->block - 1);
			n += before && before->type == type;
		}
	}
	return n;
}

/* What a checkpoint writes lies in long runs: inode blocks as they come, nodes of directories in
 * theirs. After a while without changes all of it is written and nothing is to be replayed. */
static void together_task(void *arg)
{
	char name[32];
	unsigned all, runs;
	world_mkfs(&w);
	world_mount(&w);
	for (int i = 0; i < TOGETHER; i++) {
		name_of(name, i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	}
	runs = in_runs(BT_INODES, &all);
	ck_assert_uint_ge(all, TOGETHER / INODES_PER_BLOCK);
	ck_assert_uint_ge(runs, all - 8);
	runs = in_runs(BT_DIR, &all);
	ck_assert_uint_ge(all, 64);
	ck_assert_uint_ge(runs, all - all / 32 - 2);
	ck_assert_uint_gt(w.fs->ndirty, 0);
	env_sleep_ns(sim_env(w.sim), 30 * NS_PER_S);
	ck_assert_uint_eq(w.fs->ndirty, 0);
	ck_assert_uint_eq(w.fs->tail, w.fs->head);
	world_unmount(&w);
	world_check(&w);
}

START_TEST(what_is_written_together_lies_together)
{
	world_new(&w, 7, 256 << 20);
	ck_assert_int_eq(sim_run(w.sim, together_task, NULL), 0);
	world_free(&w);
}
END_TEST

/* ---- growing ---- */

static void grow_task(void *arg)
{
	struct world *d = arg;
	struct fs_statfs was, st;
	struct fs_fid f;
	uint64_t added;
	static char p[1 << 20];
	d->dev->size = 64 << 20;
	world_mkfs(d);
	world_mount(d);
	ck_assert_int_eq(fs_statfs(d->fs, &was), 0);
	ck_assert_int_eq(fs_grow(d->fs, &added), 0);
	ck_assert_uint_eq(added, 0);
	ck_assert_int_eq(make_file(d->fs, &root_fid, "f", &f), 0);
	uint64_t off = 0;
	while (!put(d->fs, &f, off, p, sizeof(p), FS_WRITE_UNSTABLE))
		off += sizeof(p);
	ck_assert_uint_lt(off, 64 << 20);
	d->dev->size = 400 << 20;
	ck_assert_int_eq(fs_grow(d->fs, &added), 0);
	ck_assert_uint_eq(added, (400 - 64) << 20);
	ck_assert_int_eq(fs_statfs(d->fs, &st), 0);
	ck_assert_uint_gt(st.total_bytes, was.total_bytes + (330 << 20));
	ck_assert_uint_gt(st.avail_bytes, 330 << 20);
	for (; off < 380 << 20; off += sizeof(p))
		ck_assert_int_eq(put(d->fs, &f, off, p, sizeof(p), FS_WRITE_UNSTABLE), 0);
	world_unmount(d);
	world_check(d);
	world_mount(d); /* a little more is too little for a group */
	ck_assert_int_eq(fs_grow(d->fs, &added), 0);
	ck_assert_uint_eq(added, 0);
	world_unmount(d);
	/* The first superblock goes: a copy holds the new size. */
	memset(sim_disk_bytes(d->disk), 0, BS);
	sim_disk_bytes_changed(d->disk, 0, BS);
	world_mount(d);
	ck_assert_int_eq(fs_statfs(d->fs, &was), 0);
	ck_assert_uint_eq(was.total_bytes, st.total_bytes);
	world_unmount(d);
}

START_TEST(grows_with_its_device)
{
	struct world disk;
	world_new(&disk, 31, 400 << 20);
	ck_assert_int_eq(sim_run(disk.sim, grow_task, &disk), 0);
	world_free(&disk);
}
END_TEST

/* ---- memory ---- */

#define FILES  30000
#define LITTLE (9u << 20)
#define SPARES 512 /* blocks that are kept for the next */
#define OVER   64  /* in use by operations under way */

static void memory_task(void *arg)
{
	struct world *d = arg;
	struct fs_stats st;
	struct fs_attr a;
	char name[32];
	world_mkfs(d);
	world_mount_mem(d, 64 << 20);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%08d", i);
		ck_assert_int_eq(make_file(d->fs, &root_fid, name, NULL), 0);
	}
	fs_stats(d->fs, &st);
	ck_assert_uint_gt(st.blocks_resident, 4000);
	fs_set_memory(d->fs, LITTLE);
	for (int i = 0; i < 200; i++) /* what is dirty is written first */
		env_sleep_ns(sim_env(d->sim), 100 * NS_PER_MS);
	for (int i = 0; i < FILES; i += 7) {
		snprintf(name, sizeof(name), "file-%08d", i);
		ck_assert_int_eq(find(d->fs, &root_fid, name, &a), 0);
	}
	fs_stats(d->fs, &st);
	ck_assert_uint_le(st.blocks_max, LITTLE / FS_BLOCK_SIZE);
	ck_assert_uint_le(st.blocks_cached, st.blocks_max + OVER);
	ck_assert_uint_le(st.blocks_resident, st.blocks_max + SPARES + OVER);
	fs_set_memory(d->fs, 64 << 20);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%08d", i);
		ck_assert_int_eq(find(d->fs, &root_fid, name, &a), 0);
	}
	fs_stats(d->fs, &st);
	ck_assert_uint_gt(st.blocks_resident, 4000);
	world_unmount(d);
	world_check(d);
}

/* What a file system keeps in memory can be made less, and more, while it is in use. */
START_TEST(memory_is_given_back)
{
	struct world disk;
	world_new(&disk, 32, 400 << 20);
	ck_assert_int_eq(sim_run(disk.sim, memory_task, &disk), 0);
	world_free(&disk);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_space");
	TCase *t = tcase_create("space");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, a_full_file_system_stays_whole);
	tcase_add_test(t, freed_space_is_used_again);
	tcase_add_test(t, inodes_share_blocks_beyond_a_full_group);
	tcase_add_test(t, a_directory_of_100000_names);
	tcase_add_test(t, what_is_written_together_lies_together);
	tcase_add_test(t, grows_with_its_device);
	tcase_add_test(t, memory_is_given_back);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
