/*
 * A damaged journal: what is lost of it is mended from another copy or told by a refusal; a change
 * that was acknowledged is never lost without a word.
 */
#include "nasfront/fs/impl.h"
#include "runtime/crc32c.h"
#include "tests/unit/fs/fs_world.h"

#define FILES 50

static struct world w;
static uint64_t log_size;

static void say_nothing(void *arg, const char *line)
{
	++*(int *)arg;
}

static uint8_t *block_at(uint64_t block)
{
	return sim_disk_bytes(w.disk) + block * BS;
}

static void many_then_die_task(void *arg)
{
	char name[32];
	world_mkfs(&w);
	world_mount(&w);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(make_file(w.fs, &root_fid, name, NULL), 0);
	}
	log_size = w.fs->log_size;
	sim_power_off(w.sim);
	fs_abandon(w.fs);
}

/* Of the nth record in the log. */
static uint8_t *record_at(int n)
{
	uint64_t start = le64_get(block_at(0) + SB_JOURNAL_START) + 2;
	for (uint64_t b = start;; b++)
		if (le32_get(block_at(b)) == JR_MAGIC && n-- == 0)
			return block_at(b);
}

static void log_damage(int from, int count)
{
	for (int i = 0; i < count; i++) {
		uint8_t *d = record_at(from + i);
		d[100] ^= 0x10;
		sim_disk_bytes_changed(w.disk, (uint64_t)(d - sim_disk_bytes(w.disk)), 512);
	}
}

static void log_refused_task(void *arg)
{
	struct fs_check_report r;
	struct fs *fs;
	int lines = 0;
	ck_assert_int_eq(fs_mount(&fs, sim_env(w.sim), w.dev, NULL), -ERR_CORRUPT);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, false, say_nothing, &lines, &r),
			 -ERR_CORRUPT);
	ck_assert_int_gt(lines, 0);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r), 0);
	ck_assert_uint_gt(r.errors, 0);
	world_check(&w);
	world_mount(&w);
	world_unmount(&w);
}

/* Records that were promised follow it: the log does not end there. */
START_TEST(a_damaged_record_is_not_the_end_of_the_log)
{
	world_new(&w, 14, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, many_then_die_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
	log_damage(20, 3);
	ck_assert_int_eq(sim_run(w.sim, log_refused_task, NULL), 0);
	world_free(&w);
}
END_TEST

static void all_there_task(void *arg)
{
	struct fs_attr a;
	char name[32];
	world_check(&w);
	world_mount(&w);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(find(w.fs, &root_fid, name, &a), 0);
	}
	world_unmount(&w);
	world_check(&w);
}

START_TEST(a_second_copy_repairs_the_log)
{
	world_new(&w, 15, 32 << 20);
	sim_disk_set_twin(w.disk, sim_disk_new(w.sim, "twin", sim_disk_size(w.disk)));
	ck_assert_int_eq(sim_run(w.sim, many_then_die_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
	log_damage(20, 3);
	ck_assert_int_eq(sim_run(w.sim, all_there_task, NULL), 0);
	world_free(&w);
}
END_TEST

static void sound_task(void *arg)
{
	world_check(&w);
	world_mount(&w);
	world_unmount(&w);
	world_check(&w);
}

/* What was being written when the power went is no damage. */
START_TEST(the_last_record_may_be_torn)
{
	world_new(&w, 16, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, many_then_die_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
	int last = 0;
	uint64_t start = le64_get(block_at(0) + SB_JOURNAL_START) + 2;
	for (uint64_t b = start; b < start + 200; b++)
		last += le32_get(block_at(b)) == JR_MAGIC;
	log_damage(last - 1, 1);
	ck_assert_int_eq(sim_run(w.sim, sound_task, NULL), 0);
	world_free(&w);
}
END_TEST

/* ---- what cannot be read ---- */

static void make_it_die(uint64_t seed)
{
	world_new(&w, seed, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, many_then_die_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
}

static uint64_t block_of(const uint8_t *d)
{
	return (uint64_t)(d - sim_disk_bytes(w.disk)) / BS;
}

static void unreadable(uint64_t block)
{
	sim_disk_bad_range(w.disk, block * BS, BS);
}

static void one_more_then_die_task(void *arg)
{
	world_mount(&w);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "more", NULL), 0);
	sim_power_off(w.sim);
	fs_abandon(w.fs);
}

static void more_is_there_task(void *arg)
{
	struct fs_attr a;
	world_mount(&w);
	ck_assert_int_eq(find(w.fs, &root_fid, "more", &a), 0);
	if (*(bool *)arg)
		ck_assert_int_eq(find(w.fs, &root_fid, "n0", &a), 0);
	world_unmount(&w);
	world_check(&w);
}

static void unreadable_task(void *arg)
{
	struct fs_check_report r;
	struct fs *fs;
	int lines = 0;
	ck_assert_int_eq(fs_mount(&fs, sim_env(w.sim), w.dev, NULL), -EIO);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, false, say_nothing, &lines, &r), -EIO);
	ck_assert_int_gt(lines, 0);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r), 0);
	world_check(&w);
}

enum { RECORD, BEHIND, FAR_BEHIND, HEADER_0, HEADER_1, PLACES };

/* Refused; a repair goes on with what stands before, and the log can be used again. */
START_TEST(what_cannot_be_read_is_no_end_of_the_log)
{
	make_it_die(20);
	uint64_t start = le64_get(block_at(0) + SB_JOURNAL_START);
	const uint64_t places[PLACES] = {
	    [RECORD] = block_of(record_at(20)),
	    [BEHIND] = block_of(record_at(21)),
	    [FAR_BEHIND] = block_of(record_at(20)) + log_size / BS,
	    [HEADER_0] = start,
	    [HEADER_1] = start + 1,
	};
	bool rest =
	    _i <
	    HEADER_0; /* the header may have been the newer: nothing says where the log begins */
	if (_i == BEHIND || _i == FAR_BEHIND)
		log_damage(20, FILES - 20);
	unreadable(places[_i]);
	ck_assert_int_eq(sim_run(w.sim, unreadable_task, NULL), 0);
	ck_assert_int_eq(sim_run(w.sim, one_more_then_die_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
	ck_assert_int_eq(sim_run(w.sim, more_is_there_task, &rest), 0);
	world_free(&w);
}
END_TEST

START_TEST(an_empty_log_need_not_be_readable)
{
	make_it_die(21);
	ck_assert_int_eq(sim_run(w.sim, all_there_task, NULL), 0);
	uint64_t start = le64_get(block_at(0) + SB_JOURNAL_START),
		 n = le64_get(block_at(0) + SB_JOURNAL_BLOCKS);
	sim_disk_bad_range(w.disk, (start + 2) * BS, (n - 2) * BS);
	ck_assert_int_eq(sim_run(w.sim, all_there_task, NULL), 0);
	world_free(&w);
}
END_TEST

/* ---- how far it is looked for ---- */

/* A copy of a record as one at another position. */
static uint64_t record_forge(const uint8_t *d, uint64_t start, uint64_t pos, bool soft)
{
	uint32_t length = le32_get(d + JR_LENGTH);
	uint8_t *to = block_at(start + pos);
	memcpy(to, d, (length + BS - 1) / BS * BS);
	le64_put(to + JR_POS, pos);
	le32_put(to + JR_FLAGS, soft ? JRF_SOFT : 0);
	le32_put(to + JR_CRC, 0);
	le32_put(to + JR_CRC, crc32c(to, length));
	return pos + (length + BS - 1) / BS;
}

/* The damaged one was as long as one can be; the next, or one behind soft ones, was promised. */
START_TEST(a_long_record_is_damaged)
{
	make_it_die(22);
	uint64_t start = le64_get(block_at(0) + SB_JOURNAL_START) + 2;
	uint8_t *d = record_at(20), whole[64 * BS];
	uint64_t pos = le64_get(d + JR_POS), at = pos + log_size / BS;
	ck_assert_uint_lt(le32_get(d + JR_LENGTH), sizeof(whole));
	memcpy(whole, d, (le32_get(d + JR_LENGTH) + BS - 1) / BS * BS);
	memset(d, 0, log_size);
	for (int i = 0; i < _i; i++)
		at = record_forge(whole, start, at, true);
	record_forge(whole, start, at, false);
	sim_disk_bytes_changed(w.disk, start * BS, (at + 64) * BS);
	ck_assert_int_eq(sim_run(w.sim, log_refused_task, NULL), 0);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_log");
	TCase *t = tcase_create("log");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_damaged_record_is_not_the_end_of_the_log);
	tcase_add_test(t, a_second_copy_repairs_the_log);
	tcase_add_test(t, the_last_record_may_be_torn);
	tcase_add_loop_test(t, what_cannot_be_read_is_no_end_of_the_log, 0, PLACES);
	tcase_add_test(t, an_empty_log_need_not_be_readable);
	tcase_add_loop_test(t, a_long_record_is_damaged, 0, 5);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
