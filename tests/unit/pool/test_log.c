/* The stripe log: what is logged and when it is not, replay, damage, other versions, room. */
#include "tests/unit/pool/rig.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/pool/pool_log_impl.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"

static uint64_t entries(struct rig *r)
{
	struct pool_stats st;
	raid_stats(r->p, &st);
	return st.log_entries;
}

static uint64_t replayed(struct rig *r)
{
	struct pool_stats st;
	raid_stats(r->p, &st);
	return st.log_replayed;
}

static void put(struct rig *r, uint64_t off, size_t len, uint8_t byte)
{
	uint8_t *buf = malloc(len);
	memset(buf, byte, len);
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, len, off, 0), 0);
	free(buf);
}

static void is(struct rig *r, uint64_t off, size_t len, uint8_t byte)
{
	uint8_t *buf = malloc(len);
	ck_assert_int_eq(bdev_read(raid_bdev(r->p), buf, len, off), 0);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(buf[i], byte);
	free(buf);
}

static int again(struct rig *r, const char *level, uint64_t out, bool always)
{
	bool is_out[NDISKS] = {0};
	struct raid_opts o = {.env = sim_env(r->sim),
			      .name = "p",
			      .level = level,
			      .chunk = r->p->chunk,
			      .extent_size = EXTENT,
			      .extents = raid_extents(r->p),
			      .disks = r->d,
			      .out = is_out,
			      .ndisks = r->n,
			      .log_always = always,
			      .lost = r->p->lost,
			      .arg = r};
	for (unsigned i = 0; i < r->n; i++)
		is_out[i] = out >> i & 1;
	raid_free(r->p);
	ck_assert_int_eq(raid_new(&r->p, &o), 0);
	return raid_load(r->p, false);
}

static uint8_t *elem_bytes(struct rig *r, uint64_t row, unsigned elem)
{
	unsigned pos = stripe_position(r->p, row, elem);
	return sim_disk_bytes(r->sd[pos]) + DISK_DATA_OFF + row * r->p->chunk;
}

static void damage(struct rig *r, uint64_t row, unsigned elem, size_t len)
{
	memset(elem_bytes(r, row, elem), 0xdd, len);
	sim_disk_bytes_changed(r->sd[stripe_position(r->p, row, elem)], DISK_DATA_OFF, 8 * MIB);
}

/* Only rows that lack a data element are logged; once the disk is back and that is recorded, none
 * is. */
RIG_TEST(only_what_lacks_a_disk)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 9}};
	rig_junk = false;
	rig_open(r, "raid5", 4, 65536);
	put(r, 0, MIB, 1);
	ck_assert_uint_eq(entries(r), 0);
	unsigned lost = stripe_position(r->p, 0, 1);
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	put(r, 0, 4096, 2);
	ck_assert_uint_eq(entries(r), 1);
	uint64_t row = 0; /* whose parity the disk had */
	while (stripe_position(r->p, row, r->p->data) != lost)
		row++;
	put(r, row * stripe_row_bytes(r->p), 65536, 3);
	ck_assert_uint_eq(entries(r), 1);
	disk_close(r->d[lost]);
	ck_assert_int_eq(
	    disk_open(&r->d[lost], sim_env(r->sim), "again", sim_disk_open(r->sd[lost]), NULL), 0);
	ck_assert_int_eq(raid_fill_begin(r->p, lost, r->d[lost]), 0);
	put(r, 8192, 4096, 4);
	ck_assert_uint_eq(entries(r), 2);
	ck_assert_int_eq(raid_fill(r->p, lost, used, 1, false), 0);
	put(r, 8192, 4096, 5); /* a restart now would find the disk out */
	ck_assert_uint_eq(entries(r), 3);
	ck_assert_int_eq(raid_fill_recorded(r->p, lost), 0);
	put(r, 8192, 4096, 6);
	ck_assert_uint_eq(entries(r), 3);
	ck_assert_int_eq(again(r, "raid5", 0, false), 0);
	ck_assert_uint_eq(replayed(r), 0);
	is(r, 8192, 4096, 6);
	rig_close(r);
}

/* A row that was cut off in the middle is what the log says, and what nobody wrote is what it was:
 * parity did not get to the disk. */
static void cut_off(struct rig *r, const char *level, unsigned n, uint64_t lose)
{
	rig_junk = false;
	rig_open(r, level, n, 65536);
	put(r, 0, 2 * MIB, 1);
	unsigned lost = stripe_position(r->p, 0, 1);
	uint64_t out = 1ull << lost;
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	if (lose) {
		unsigned more = stripe_position(r->p, 0, 2);
		out |= 1ull << more;
		ck_assert_int_eq(raid_drop(r->p, r->d[more], "test"), 0);
	}
	put(r, 0, 8192, 7);
	damage(r, 0, 0, 4096);
	for (unsigned j = 0; j < r->p->parity; j++)
		damage(r, 0, r->p->data + j, 4096);
	ck_assert_int_eq(again(r, level, out, false), 0);
	ck_assert_uint_eq(replayed(r), 1);
	is(r, 0, 8192, 7);
	is(r, 65536, 65536, 1);
	is(r, 8192, 2 * MIB - 8192, 1);
	/* Replayed once: nothing comes back over what is written later. */
	put(r, 0, 4096, 9);
	ck_assert_int_eq(again(r, level, out, false), 0);
	is(r, 0, 4096, 9);
	rig_close(r);
}

RIG_TEST(cut_off_raid5)
{
	cut_off(arg, "raid5", 4, 0);
}

RIG_TEST(cut_off_raid6)
{
	cut_off(arg, "raid6", 5, 0);
}

RIG_TEST(cut_off_raid6_two_lost)
{
	cut_off(arg, "raid6", 6, 1);
}

/* With every row logged a disk may go together with the crash, also the one that has the log. */
static void crash_and_loss(struct rig *r, const char *level, unsigned n)
{
	rig_junk = false;
	rig_open(r, level, n, 65536);
	put(r, 0, MIB, 1);
	ck_assert_int_eq(raid_set_log_always(r->p, true), 0);
	put(r, 0, 4096, 2);
	ck_assert_uint_eq(entries(r), 1);
	for (unsigned lost = 0; lost < n; lost++) {
		put(r, 0, 4096, (uint8_t)(3 + lost));
		damage(r, 0, r->p->data, 4096);
		damage(r, 0, 0, 4096);
		ck_assert_int_eq(again(r, level, 1ull << lost, true), 0);
		ck_assert_uint_ge(replayed(r), 1);
		is(r, 0, 4096, (uint8_t)(3 + lost));
		is(r, 65536, 65536, 1);
		ck_assert_int_eq(again(r, level, 0, true), 0);
		put(r, 0, 3 * 65536, 1); /* whole, all disks */
	}
	rig_close(r);
}

RIG_TEST(crash_and_loss_raid5)
{
	crash_and_loss(arg, "raid5", 4);
}

/* A disk was filled, and as many others lost as may be: the entries these had alone, since less
 * could be lost then, count no more, nor do older ones of the same row that others have. */
static void filled_and_lost(struct rig *r, const char *level, unsigned n)
{
	struct extent_run used[] = {{0, 9}};
	rig_junk = false;
	rig_open(r, level, n, 65536);
	put(r, 0, MIB, 1);
	ck_assert_int_eq(raid_set_log_always(r->p, true), 0);
	unsigned gone = stripe_position(r->p, 0, 1);
	for (unsigned lost = 1; lost < 1u << n; lost++) {
		uint8_t byte = (uint8_t)(2 + lost);
		if ((lost >> gone & 1) || __builtin_popcount(lost) != (int)r->p->parity)
			continue;
		ck_assert_int_eq(raid_drop(r->p, r->d[gone], "test"), 0);
		for (unsigned i = 0; i < 8; i++)
			put(r, 0, 4096, (uint8_t)(100 + i));
		disk_close(r->d[gone]);
		ck_assert_int_eq(disk_open(&r->d[gone], sim_env(r->sim), "again",
					   sim_disk_open(r->sd[gone]), NULL),
				 0);
		ck_assert_int_eq(raid_fill_begin(r->p, gone, r->d[gone]), 0);
		put(r, 0, 4096, byte);
		ck_assert_int_eq(raid_fill(r->p, gone, used, 1, false), 0);
		ck_assert_int_eq(bdev_flush(raid_bdev(r->p)), 0);
		ck_assert_int_eq(again(r, level, lost, true), 0);
		is(r, 0, 4096, byte);
		is(r, 65536, 65536, 1);
		ck_assert_int_eq(again(r, level, 0, true), 0);
		put(r, 0, stripe_row_bytes(r->p), 1); /* whole, all disks */
	}
	rig_close(r);
}

RIG_TEST(filled_and_lost_raid5)
{
	filled_and_lost(arg, "raid5", 4);
}

RIG_TEST(filled_and_lost_raid6)
{
	filled_and_lost(arg, "raid6", 5);
}

/* More than the log holds goes through it; the last state counts, in whatever entries. */
RIG_TEST(it_is_emptied_when_full)
{
	struct rig *r = arg;
	struct pool_stats st;
	rig_junk = false;
	rig_open(r, "raid6", 6, 131072);
	put(r, 0, 8 * MIB, 1);
	unsigned lost = stripe_position(r->p, 0, 0);
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	put(r, 0, 9 * MIB, 0);
	history(r, 150);
	raid_stats(r->p, &st);
	ck_assert_uint_gt(st.log_emptied, 5);
	put(r, 0, 2 * MIB, 0x41);
	put(r, 4096, 4096, 0x42);
	put(r, 8192, MIB, 0x43);
	put(r, 300000 / 512 * 512, 8192, 0x44);
	ck_assert_int_eq(again(r, "raid6", 1ull << lost, false), 0);
	ck_assert_uint_gt(replayed(r), 0);
	is(r, 0, 4096, 0x41);
	is(r, 4096, 4096, 0x42);
	is(r, 8192, 300000 / 512 * 512 - 8192, 0x43);
	is(r, 300000 / 512 * 512, 8192, 0x44);
	is(r, 8192 + MIB, MIB - 8192, 0x41);
	rig_close(r);
}

/* Zeros over many rows are one entry. */
RIG_TEST(zeros)
{
	struct rig *r = arg;
	rig_junk = false;
	rig_open(r, "raid5", 4, 65536);
	put(r, 0, 4 * MIB, 1);
	unsigned lost = stripe_position(r->p, 0, 1);
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	uint64_t row = stripe_row_bytes(r->p), before = entries(r);
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), row, 8 * row), 0);
	ck_assert_uint_eq(entries(r), before + 1);
	for (unsigned i = 0; i < 4; i++)
		damage(r, 3, i, 65536);
	ck_assert_int_eq(again(r, "raid5", 1ull << lost, false), 0);
	is(r, row, 8 * row, 0);
	is(r, 0, row, 1);
	is(r, 9 * row, row, 1);
	rig_close(r);
}

static uint8_t *log_bytes(struct rig *r, unsigned d)
{
	return sim_disk_bytes(r->sd[d]) + LOG_ENTRIES_OFF;
}

/* Disk that holds the only entry of the log. */
static unsigned holder(struct rig *r, struct log_entry *e)
{
	for (unsigned d = 0; d < r->n; d++)
		if (atomic_load(&r->p->in[d]) && log_head_decode(r->p->log, log_bytes(r, d), e))
			return d;
	ck_abort_msg("there is no entry");
	return 0;
}

static void changed(struct rig *r, unsigned d)
{
	sim_disk_bytes_changed(r->sd[d], LOG_OFF, DISK_META_OFF - LOG_OFF);
}

/* What does not hold is no entry: the row was not touched then. */
RIG_TEST(damaged_entries_do_not_count)
{
	struct rig *r = arg;
	struct log_entry e;
	static const unsigned at[] = {0, 8, 13, 20, 32, 44, 56, 64, 68, 72, 76, 80, 4096, 8191};
	rig_junk = false;
	rig_open(r, "raid5", 4, 65536);
	put(r, 0, MIB, 1);
	unsigned lost = stripe_position(r->p, 0, 1);
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		put(r, 0, 4096, (uint8_t)(2 + i));
		unsigned d = holder(r, &e);
		log_bytes(r, d)[at[i]] ^= 0x10;
		changed(r, d);
		ck_assert_int_eq(again(r, "raid5", 1ull << lost, false), 0);
		ck_assert_uint_eq(replayed(r), 0);
		is(r, 0, 4096, (uint8_t)(2 + i));
	}
	/* Whole, but impossible. */
	struct log_entry bad[] = {{.row = 1ull << 40, .elems = 1, .len = 4096},
				  {.row = 0, .elems = 1, .len = 131072},
				  {.row = 0, .elems = 1, .len = 4096, .lo = 65000},
				  {.row = 0, .elems = 1, .len = 4096, .lo = UINT32_MAX},
				  {.row = 0, .elems = 0xff, .len = 4096},
				  {.row = 0, .elems = 0, .len = 4096},
				  {.row = 0, .elems = 1, .len = 0},
				  {.row = 1, .nrows = UINT32_MAX}};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t b[LOG_BLOCK];
		log_head_encode(r->p->log, &bad[i], b);
		ck_assert(!log_head_decode(r->p->log, b, &e));
	}
	rig_close(r);
}

/* A host that writes what looks like an entry cannot know the key. */
RIG_TEST(another_key_does_not_count)
{
	struct rig *r = arg;
	struct log_entry e;
	rig_junk = false;
	rig_open(r, "raid5", 4, 65536);
	unsigned lost = stripe_position(r->p, 0, 1);
	ck_assert_int_eq(raid_drop(r->p, r->d[lost], "test"), 0);
	put(r, 0, 4096, 2);
	unsigned d = holder(r, &e);
	uint8_t old[2 * LOG_BLOCK];
	memcpy(old, log_bytes(r, d), sizeof(old));
	ck_assert_int_eq(pool_log_empty(r->p, 0), 0);
	put(r, 0, 4096, 3);
	memcpy(log_bytes(r, d) + 20 * LOG_BLOCK, old, sizeof(old));
	changed(r, d);
	ck_assert_int_eq(again(r, "raid5", 1ull << lost, false), 0);
	ck_assert_uint_eq(replayed(r), 1);
	is(r, 0, 4096, 3);
	rig_close(r);
}

RIG_TEST(a_newer_version_is_refused)
{
	struct rig *r = arg;
	uint8_t b[LOG_BLOCK];
	rig_junk = false;
	rig_open(r, "raid5", 4, 65536);
	ck_assert_int_eq(pool_log_empty(r->p, 0), 0);
	ck_assert_int_eq(again(r, "raid5", 0, false), 0);
	log_marker_encode(r->p->log, 1000, r->p->log->key, b);
	le32_put(b + 12, LOG_VERSION + 1);
	memset(b + 8, 0, 4);
	le32_put(b + 8, crc32c(b, LOG_BLOCK));
	memcpy(sim_disk_bytes(r->sd[2]) + LOG_OFF, b, LOG_BLOCK);
	changed(r, 2);
	ck_assert_int_eq(again(r, "raid5", 0, false), -ERR_VERSION);
	rig_close(r);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("log");
	TCase *tc = tcase_create("log");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, only_what_lacks_a_disk);
	tcase_add_test(tc, cut_off_raid5);
	tcase_add_test(tc, cut_off_raid6);
	tcase_add_test(tc, cut_off_raid6_two_lost);
	tcase_add_test(tc, crash_and_loss_raid5);
	tcase_add_test(tc, filled_and_lost_raid5);
	tcase_add_test(tc, filled_and_lost_raid6);
	tcase_add_test(tc, it_is_emptied_when_full);
	tcase_add_test(tc, zeros);
	tcase_add_test(tc, damaged_entries_do_not_count);
	tcase_add_test(tc, another_key_does_not_count);
	tcase_add_test(tc, a_newer_version_is_refused);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
