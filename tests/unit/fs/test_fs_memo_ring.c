/*
 * The ring that memos lie in: it goes round, many write it at once, a check looks at it meanwhile;
 * damage; file systems of older formats, or without room; growth.
 */
#include "tests/unit/fs/memo_world.h"

/* ---- round and round ---- */

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

/* The block that is begun next is being read, or cannot be: that is waited for, and no reason not
 * to write it. */
static void read_next(void *arg)
{
	struct tests *t = arg;
	const struct memos *m = t->w.fs->memos;
	struct buf *b;
	int rc = meta_load(t->w.fs, m->blocks[(m->at + 1) % m->n], BT_MEMOS, &b);
	ck_assert_int_eq(rc, t->call ? -EIO : 0);
	if (!rc)
		meta_unpin(b);
	working--;
}

static void next_task(void *arg)
{
	struct tests *t = arg;
	set_up(t);
	world_unmount(&t->w);
	world_mount(&t->w);
	const struct memos *m = t->w.fs->memos;
	for (uint64_t i = 1; i <= 3 * ME_PER_BLOCK; i++) {
		bool last = m->used == ME_PER_BLOCK || !m->b;
		uint64_t next = m->blocks[(m->at + 1) % m->n];
		if (last) {
			ck_assert_ptr_null(meta_find(t->w.fs, next));
			if (t->call)
				sim_disk_bad_range(t->w.disk, next * BS, BS);
			working = 1;
			ck_assert_int_eq(task_start(read_next, t), 0);
			while (!meta_find(t->w.fs, next))
				task_yield();
		}
		ck_assert_int_eq(chmod_with(t, i), 0);
		ck_assert_uint_eq(memos(t), i);
		ck_assert_uint_eq(m->used, (i - 1) % ME_PER_BLOCK + 1);
		while (last && working)
			task_yield();
	}
	world_unmount(&t->w);
	world_check(&t->w);
}

START_TEST(the_next_block_is_being_read)
{
	struct tests *t = tests_new(207 + (uint64_t)_i, 8 << 20);
	t->call = _i;
	ck_assert_int_eq(sim_run(t->w.sim, next_task, t), 0);
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
	Suite *s = suite_create("fs_memo_ring");
	TCase *t = tcase_create("memo");
	keep_memory();
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_ring_goes_round);
	tcase_add_test(t, many_at_once);
	tcase_add_test(t, a_check_looks_meanwhile);
	tcase_add_loop_test(t, the_next_block_is_being_read, 0, 2);
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
