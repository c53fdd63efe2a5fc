/*
 * Damaged metadata: bits flipped at random never crash anything, are found by the check, mended by
 * its repair, and cost nothing where the device has a second copy.
 */
#include "nasfront/fs/impl.h"
#include "runtime/crc32c.h"
#include "tests/unit/fs/model.h"

static struct world w;
static struct model *m;

static void fill_task(void *arg)
{
	world_mkfs(&w);
	world_mount(&w);
	for (int i = 0; i < 1500; i++) {
		struct m_op op;
		struct fs_fid made;
		model_plan(m, &op);
		int rc = model_run(m, w.fs, &op, &made);
		ck_assert_int_eq(rc, model_apply(m, &op, &made));
	}
	/* a directory and a file with trees */
	struct fs_fid d, f;
	char name[32];
	if (!*(bool *)arg) {
		world_unmount(&w);
		return;
	}
	ck_assert_int_eq(make_dir(w.fs, &root_fid, "tree", &d), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(make_file(w.fs, &d, name, &f), 0);
	}
	for (uint64_t i = 0; i < 400; i++)
		ck_assert_int_eq(put(w.fs, &f, i * 8192, "x", 1, 0), 0);
	ck_assert_int_eq(fs_allocate(w.fs, NULL, &f, 100 * 4096, 300 * 4096, NULL), 0);
	struct fs_fid twin; /* that shares all of it */
	ck_assert_int_eq(make_file(w.fs, &d, "twin", &twin), 0);
	ck_assert_int_eq(fs_clone_range(w.fs, NULL, &f, 0, &twin, 0, 0, NULL), 0);
	world_unmount(&w);
}

/* All that can be asked, whatever comes back. */
static void walk_all(struct fs *fs)
{
	static uint8_t buf[65536];
	struct fs_attr a;
	for (int i = 0; i < M_NODES; i++) {
		if (!m->nodes[i].used)
			continue;
		fs_getattr(fs, &m->nodes[i].fid, &a);
		get(fs, &m->nodes[i].fid, 0, buf, sizeof(buf));
	}
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used)
			find(fs, &m->nodes[m->names[i].dir].fid, m->names[i].name, &a);
	for (int i = 0; i < 40; i++) {
		struct m_op op;
		struct fs_fid made;
		model_plan(m, &op);
		model_run(m, fs, &op, &made);
	}
}

/* Metadata blocks but the log. */
static bool is_meta(uint64_t block)
{
	const uint8_t *d = sim_disk_bytes(w.disk) + block * BS;
	return le32_get(d) == META_MAGIC && le64_get(d + H_BLOCK) == block &&
	       le16_get(d + H_TYPE) != BT_JHEAD;
}

static uint64_t pick_meta(uint64_t n)
{
	uint64_t blocks = sim_disk_size(w.disk) / BS, at = n % blocks;
	while (!is_meta(at))
		at = (at + 1) % blocks;
	return at;
}

static void flip(uint64_t block, unsigned byte, unsigned bit, bool fix_crc)
{
	uint8_t *d = sim_disk_bytes(w.disk) + block * BS;
	d[byte] ^= (uint8_t)(1 << bit);
	if (fix_crc)
		block_seal(d, 1);
	sim_disk_bytes_changed(w.disk, block * BS, BS);
}

static void say_nothing(void *arg, const char *line)
{
	++*(int *)arg;
}

static void damaged_task(void *arg)
{
	struct fs_check_report r;
	int lines = 0;
	int rc = fs_check(sim_env(w.sim), w.dev, false, say_nothing, &lines, &r);
	ck_assert(rc == 0 || (lines > 0 && r.errors > 0));
	if (*(bool *)arg) /* a broken checksum is always found */
		ck_assert_int_ne(rc, 0);
	struct fs *fs;
	if (fs_mount(&fs, sim_env(w.sim), w.dev, NULL) == 0) {
		walk_all(fs);
		fs_verify(fs, say_nothing, &lines, &r);
		fs_unmount(fs);
	}
	rc = fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r);
	if (rc == 0) { /* mended: then it is sound */
		rc = fs_check(sim_env(w.sim), w.dev, false, say_stderr, NULL, &r);
		ck_assert_int_eq(rc, 0);
	}
}

static void damage(bool fix_crc)
{
	world_new(&w, 11, 32 << 20);
	m = model_new(5);
	bool trees = true;
	ck_assert_int_eq(sim_run(w.sim, fill_task, &trees), 0);
	size_t size = sim_disk_size(w.disk);
	uint8_t *good = malloc(size);
	memcpy(good, sim_disk_bytes(w.disk), size);
	for (int i = 0; i < 150; i++) {
		bool surely = !fix_crc;
		memcpy(sim_disk_bytes(w.disk), good, size);
		sim_disk_bytes_changed(w.disk, 0, size);
		int flips = 1 + (int)sim_random_below(w.sim, 3);
		for (int k = 0; k < flips; k++)
			flip(pick_meta(sim_random(w.sim)), (unsigned)sim_random_below(w.sim, BS),
			     (unsigned)sim_random_below(w.sim, 8), fix_crc);
		if (flips != 1)
			surely = false; /* two flips may cancel out */
		ck_assert_int_eq(sim_run(w.sim, damaged_task, &surely), 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
	}
	free(good);
	model_free(m);
	world_free(&w);
}

START_TEST(flipped_bits_are_found)
{
	damage(false);
}
END_TEST

START_TEST(wrong_bytes_under_a_right_checksum_do_no_harm)
{
	damage(true);
}
END_TEST

static void twin_task(void *arg)
{
	struct fs_check_report r;
	struct fs_stats st;
	world_mount(&w);
	const char *d = model_differs(m, w.fs, true);
	if (d)
		ck_abort_msg("with a twin: %s", d);
	fs_stats(w.fs, &st);
	ck_assert_uint_gt(st.metadata_repaired, 0);
	world_unmount(&w);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, false, say_stderr, NULL, &r), 0);
}

START_TEST(a_second_copy_repairs)
{
	world_new(&w, 12, 32 << 20);
	m = model_new(6);
	struct sim_disk *twin = sim_disk_new(w.sim, "twin", sim_disk_size(w.disk));
	sim_disk_set_twin(w.disk, twin);
	bool trees = false;
	ck_assert_int_eq(sim_run(w.sim, fill_task, &trees), 0);
	for (uint64_t b = 0; b < sim_disk_size(w.disk) / BS; b++)
		if (is_meta(b) && b != 0)
			flip(b, 100 + (unsigned)(b % 3000), 3, false);
	ck_assert_int_eq(sim_run(w.sim, twin_task, NULL), 0);
	model_free(m);
	world_free(&w);
}
END_TEST

static void small_task(void *arg)
{
	world_mkfs(&w);
	world_mount(&w);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "f", NULL), 0);
	world_unmount(&w);
}

static void no_orphans_task(void *arg)
{
	struct fs_check_report r;
	struct fs_attr a;
	int lines = 0;
	world_mount(&w);
	env_sleep_ns(sim_env(w.sim), NS_PER_S);
	ck_assert(!w.fs->reaping);
	ck_assert_int_eq(find(w.fs, &root_fid, "f", &a), 0);
	world_unmount(&w);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r), 0);
	ck_assert_uint_gt(r.repaired, 0);
	world_check(&w);
}

/* The tree of orphans cannot be read: who frees them gives up. */
START_TEST(orphans_that_cannot_be_read)
{
	world_new(&w, 13, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, small_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	uint64_t block = le64_get(sim_disk_bytes(w.disk) + SB_ROOT_BLOCK);
	uint8_t *d = sim_disk_bytes(w.disk) + block * BS;
	le64_put(d + H_SIZE + ORPHAN_INO * INODE_SIZE + I_ROOT, UINT64_MAX);
	block_seal(d, 1);
	sim_disk_bytes_changed(w.disk, block * BS, BS);
	ck_assert_int_eq(sim_run(w.sim, no_orphans_task, NULL), 0);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_damage");
	TCase *t = tcase_create("damage");
	tcase_set_timeout(t, 600);
	tcase_add_test(t, flipped_bits_are_found);
	tcase_add_test(t, wrong_bytes_under_a_right_checksum_do_no_harm);
	tcase_add_test(t, a_second_copy_repairs);
	suite_add_tcase(s, t);
	t = tcase_create("orphans");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, orphans_that_cannot_be_read);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
