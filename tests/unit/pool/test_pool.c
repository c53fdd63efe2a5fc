/* Pools: mapping, histories against a flat copy, lost and bad disks, resync under writes, extents.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/pool/extent_map.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/unit/pool/rig.h"

static const struct {
	const char *level;
	unsigned n;
	uint32_t chunk;
} shapes[] = {{"single", 1, 65536}, {"raid0", 2, 65536}, {"raid0", 5, 16384},
	      {"raid1", 2, 65536},  {"raid1", 3, 65536}, {"raid10", 4, 65536},
	      {"raid10", 6, 32768}, {"raid5", 3, 65536}, {"raid5", 5, 16384},
	      {"raid5", 6, 262144}, {"raid6", 4, 65536}, {"raid6", 6, 16384}};

/* Every byte has one place, neighbours of a column are neighbours, and back again. */
START_TEST(mapping)
{
	for (unsigned columns = 1; columns <= 5; columns++) {
		struct raid p = {.columns = columns, .chunk = 16384, .copies = 1};
		for (uint64_t off = 0; off < 40 * 16384ull; off += 512) {
			struct column_range r = pool_map_piece(&p, off, 512);
			ck_assert_uint_eq(r.len, 512);
			ck_assert_uint_lt(r.column, columns);
			ck_assert_uint_eq(pool_map_logical(&p, r.column, r.off), off);
		}
		/* The range of a column is exactly what its pieces cover. */
		for (unsigned k = 0; k < 2000; k++) {
			uint64_t off = (k * 7919ull) % 700 * 512, len = (k * 104729ull) % 900 * 512;
			uint64_t lo[5], hi[5], sum = 0;
			memset(lo, 0xff, sizeof(lo));
			memset(hi, 0, sizeof(hi));
			for (uint64_t o = off; o < off + len;) {
				struct column_range r = pool_map_piece(&p, o, off + len - o);
				lo[r.column] = MIN(lo[r.column], r.off);
				hi[r.column] = MAX(hi[r.column], r.off + r.len);
				o += r.len;
			}
			for (unsigned c = 0; c < columns; c++) {
				struct column_range r = pool_map_column(&p, c, off, len);
				sum += r.len;
				if (r.len == 0)
					continue;
				ck_assert_uint_eq(r.off, lo[c]);
				ck_assert_uint_eq(r.off + r.len, hi[c]);
			}
			ck_assert_uint_eq(sum, len);
		}
	}
}
END_TEST

static unsigned shape;

static void shape_task(void *arg)
{
	struct rig *r = arg;
	rig_open(r, shapes[shape].level, shapes[shape].n, shapes[shape].chunk);
	ck_assert_int_eq(raid_state(r->p), POOL_ONLINE);
	history(r, 150);
	rig_close(r);
}

START_TEST(every_shape)
{
	struct rig r = {.sim = sim_new(21)};
	shape = (unsigned)_i;
	ck_assert_int_eq(sim_run(r.sim, shape_task, &r), 0);
	sim_free(r.sim);
}
END_TEST

/* Reads keep failing on one disk here and there: users notice nothing, the ranges get well. */
RIG_TEST(read_repair)
{
	struct rig *r = arg;
	uint8_t *buf = malloc(MIB), *want = malloc(MIB);
	struct pool_stats st;
	rig_open(r, "raid10", 4, 65536);
	struct bdev *b = raid_bdev(r->p);
	memset(want, 0x5a, MIB);
	ck_assert_int_eq(bdev_write(b, want, MIB, 0, 0), 0);
	/* One place on each disk that the first megabyte is read from, never both copies of one. */
	for (unsigned d = 0; d < 4; d++)
		sim_disk_bad_range(r->sd[d], DISK_DATA_OFF + d % 2 * 8192, 4096);
	ck_assert_int_ne(bdev_read_copy(b, buf, MIB, 0, 0), 0);
	memset(buf, 0, MIB);
	ck_assert_int_eq(bdev_read(b, buf, MIB, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.read_repairs, 2); /* the ones that were asked */
	ck_assert_int_eq(bdev_read_copy(b, buf, MIB, 0, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	ck_assert_int_eq(raid_state(r->p), POOL_ONLINE);
	ck_assert_uint_eq(r->lost_calls, 0);
	/* Both copies of one place bad: told, not invented. */
	sim_disk_bad_range(r->sd[2], DISK_DATA_OFF + 4096, 512);
	sim_disk_bad_range(r->sd[3], DISK_DATA_OFF + 4096, 512);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 65536 + 4096), -ERR_MEDIUM);
	ck_assert_int_eq(bdev_write(b, want, 4096, 65536 + 4096, 0), 0);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 65536 + 4096), 0);
	free(buf);
	free(want);
	rig_close(r);
}

RIG_TEST(disk_lost)
{
	struct rig *r = arg;
	rig_open(r, "raid10", 4, 65536);
	history(r, 40);
	sim_disk_set_faults(r->sd[1], &(struct sim_disk_faults){.dead = true});
	struct bdev *b = raid_bdev(r->p);
	ck_assert_int_eq(bdev_discard(b, 0, 9 * MIB), 0); /* as the model of a new history */
	ck_assert_int_eq(raid_state(r->p), POOL_DEGRADED);
	ck_assert_int_eq(disk_state(r->d[1]), DISK_FAILED);
	history(r, 80);
	ck_assert_uint_eq(r->lost_calls, 1);
	/* The last copy of a column stays in use, and its errors are told. */
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){.dead = true});
	uint8_t buf[4096] = {0};
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, 0), -EIO);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 0), -ERR_MEDIUM);
	ck_assert_int_ne(bdev_flush(b), 0);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 65536, 0), 0);
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){0});
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, 0), 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	rig_close(r);
}

/* What a lost copy did not take is not stable before the metadata says that it is lost. */
RIG_TEST(flush_waits_for_record)
{
	struct rig *r = arg;
	uint8_t buf[4096] = {1};
	rig_open(r, "raid1", 2, 65536);
	struct bdev *b = raid_bdev(r->p);
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){.dead = true});
	r->record_err = -EIO;
	uint64_t before = env_now_ns(sim_env(r->sim));
	/* One that missed a disk is not done before either: a killed process must find it. */
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, 0), -EIO);
	ck_assert_int_eq(bdev_flush(b), -EIO);
	ck_assert_uint_ge(env_now_ns(sim_env(r->sim)) - before, 5 * NS_PER_MS);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, BDEV_FUA), -EIO);
	r->record_err = 0;
	ck_assert_int_eq(bdev_flush(b), 0);
	ck_assert_uint_eq(r->lost_calls, 4);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, BDEV_FUA), 0);
	rig_close(r);
}

RIG_TEST(assembly)
{
	struct rig *r = arg;
	uint8_t buf[4096];
	struct raid *p;
	rig_open(r, "raid10", 4, 65536);
	struct disk *d[4] = {r->d[0], NULL, r->d[2], r->d[3]};
	bool out[4] = {false, false, true, false};
	struct raid_opts o = {.env = sim_env(r->sim),
			      .name = "q",
			      .level = "raid10",
			      .chunk = 65536,
			      .extent_size = EXTENT,
			      .extents = 50,
			      .disks = d,
			      .out = out,
			      .ndisks = 4};
	ck_assert_int_eq(raid_new(&p, &o), 0);
	ck_assert_int_eq(raid_state(p), POOL_DEGRADED);
	ck_assert_uint_eq(raid_out_mask(p), 6);
	raid_free(p);
	out[3] = true;
	ck_assert_int_eq(raid_new(&p, &o), 0);
	ck_assert_int_eq(raid_state(p), POOL_OFFLINE);
	ck_assert_int_ne(bdev_read(raid_bdev(p), buf, 4096, 65536), 0);
	ck_assert_int_ne(bdev_write(raid_bdev(p), buf, 4096, 65536, 0), 0);
	ck_assert_int_ne(bdev_flush(raid_bdev(p)), 0);
	raid_free(p);
	o.level = "raid4";
	ck_assert_int_eq(raid_new(&p, &o), -EINVAL);
	o.level = "raid10";
	o.extents = 1000;
	ck_assert_int_eq(raid_new(&p, &o), -EINVAL);
	o.extents = 50;
	o.ndisks = 3;
	ck_assert_int_eq(raid_new(&p, &o), -EINVAL);
	rig_close(r);
}

struct writer {
	struct rig *r;
	uint8_t *model;
	unsigned steps;
	bool done;
};

static void writer_task(void *arg)
{
	struct writer *w = arg;
	uint8_t *buf = malloc(65536), *back = malloc(65536);
	for (unsigned i = 0; i < w->steps; i++) {
		uint64_t off = sim_random_below(w->r->sim, 8 * MIB / 4096) * 4096;
		size_t len = (1 + sim_random_below(w->r->sim, 16)) * 4096;
		len = MIN(len, 8 * MIB - off);
		memset(buf, (int)(i % 255 + 1), len);
		memcpy(w->model + off, buf, len);
		ck_assert_int_eq(bdev_write(raid_bdev(w->r->p), buf, len, off, 0), 0);
		ck_assert_int_eq(bdev_read(raid_bdev(w->r->p), back, len, off), 0);
		ck_assert_mem_eq(back, buf, len);
	}
	free(buf);
	free(back);
	w->done = true;
}

/* Copies differ at random; while they are made equal, writers go on. */
static void resync_under_writes(struct rig *r, const char *level, unsigned n)
{
	struct writer w = {.r = r, .model = malloc(8 * MIB), .steps = 300};
	struct extent_run used[] = {{0, 8}};
	uint64_t done, total;
	rig_open(r, level, n, 65536);
	memset(w.model, 0, 8 * MIB);
	for (unsigned d = 0; d < n; d++) {
		if (d % raid_copies(r->p) == 0)
			continue;
		for (unsigned k = 0; k < 50; k++) {
			uint64_t at = DISK_DATA_OFF + sim_random_below(r->sim, 4 * MIB / 512) * 512;
			memset(sim_disk_bytes(r->sd[d]) + at, 0x77, 512);
		}
		sim_disk_bytes_changed(r->sd[d], DISK_DATA_OFF, 8 * MIB);
	}
	ck_assert_int_eq(raid_load(r->p, false), 0);
	raid_resync_need(r->p);
	ck_assert_int_eq(task_start(writer_task, &w), 0);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	ck_assert(!raid_resync_needed(r->p));
	raid_resync_progress(r->p, &done, &total);
	ck_assert_uint_eq(done, total);
	while (!w.done)
		env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	uint8_t *buf = malloc(8 * MIB);
	for (unsigned copy = 0; copy < raid_copies(r->p); copy++) {
		ck_assert_int_eq(bdev_read_copy(raid_bdev(r->p), buf, 8 * MIB, 0, copy), 0);
		ck_assert_mem_eq(buf, w.model, 8 * MIB);
	}
	struct pool_stats st;
	raid_stats(r->p, &st);
	ck_assert_uint_gt(st.resync_fixed, 0);
	free(buf);
	free(w.model);
	rig_close(r);
}

RIG_TEST(resync_raid1)
{
	resync_under_writes(arg, "raid1", 3);
}

RIG_TEST(resync_raid10)
{
	resync_under_writes(arg, "raid10", 4);
}

/* Zeros, but for one block of 4 KiB that only the second copy could give. */
static void check_bad_block(const uint8_t *buf, uint64_t len, uint64_t bad)
{
	for (uint64_t i = 0; i < len; i++)
		ck_assert_uint_eq(buf[i], i >= bad && i < bad + 4096 ? 0x77 : 0);
}

/* Copies differ and the first has bad blocks: what was read of it must not change any more. */
RIG_TEST(resync_with_bad_blocks)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 2}};
	uint8_t *buf = malloc(MIB);
	rig_open(r, "raid1", 2, 65536);
	struct bdev *b = raid_bdev(r->p);
	memset(sim_disk_bytes(r->sd[1]) + DISK_DATA_OFF, 0x77, 2 * MIB);
	sim_disk_bytes_changed(r->sd[1], DISK_DATA_OFF, 2 * MIB);
	sim_disk_bad_range(r->sd[0], DISK_DATA_OFF + 8192, 4096);
	sim_disk_bad_range(r->sd[0], DISK_DATA_OFF + MIB + 12288, 4096);
	ck_assert_int_eq(raid_load(r->p, false), 0);
	raid_resync_need(r->p);
	ck_assert_int_eq(bdev_read(b, buf, 65536, 0), 0); /* mended by a read */
	check_bad_block(buf, 65536, 8192);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0); /* mended by the resync */
	for (unsigned copy = 0; copy < 2; copy++) {
		ck_assert_int_eq(bdev_read_copy(b, buf, MIB, 0, copy), 0);
		check_bad_block(buf, MIB, 8192);
		ck_assert_int_eq(bdev_read_copy(b, buf, MIB, MIB, copy), 0);
		check_bad_block(buf, MIB, 12288);
	}
	free(buf);
	rig_close(r);
}

RIG_TEST(resync_stops)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 40}};
	rig_open(r, "raid1", 2, 65536);
	ck_assert_int_eq(raid_load(r->p, false), 0);
	raid_resync_need(r->p);
	raid_resync_stop(r->p);
	ck_assert_int_eq(raid_resync(r->p, used, 1), -ERR_SHUTDOWN);
	ck_assert(raid_resync_needed(r->p));
	rig_close(r);
}

/* ---- extents ---- */

static bool taken(const struct extent_map *m, uint64_t e)
{
	for (size_t i = 0; i < m->n; i++)
		if (e >= m->used[i].first && e < m->used[i].first + m->used[i].count)
			return true;
	return false;
}

START_TEST(extents)
{
	struct extent_run *runs;
	size_t n;
	struct extent_map m;
	srand(4);
	for (unsigned round = 0; round < 300; round++) {
		uint64_t size = 1 + (uint64_t)rand() % 60;
		extent_map_init(&m, size);
		for (uint64_t e = 0; e < size; e++)
			if (rand() % 3 == 0)
				ck_assert_int_eq(extent_map_add(&m, e, 1), 0);
		extent_map_sort(&m);
		uint64_t left = extent_map_free(&m), count = 1 + (uint64_t)rand() % 12, sum = 0;
		uint64_t near = rand() % 2 ? (uint64_t)rand() % size : UINT64_MAX;
		int rc = extent_map_find(&m, count, near, &runs, &n);
		ck_assert_int_eq(rc, left < count ? -ENOSPC : 0);
		for (size_t i = 0; rc == 0 && i < n; i++) {
			ck_assert_uint_le(runs[i].first + runs[i].count, size);
			for (uint64_t e = runs[i].first; e < runs[i].first + runs[i].count; e++) {
				ck_assert(!taken(&m, e));
				for (size_t j = 0; j < i; j++)
					ck_assert(e < runs[j].first ||
						  e >= runs[j].first + runs[j].count);
			}
			sum += runs[i].count;
		}
		if (rc == 0) {
			ck_assert_uint_eq(sum, count);
			free(runs);
		}
		extent_map_fini(&m);
	}
	extent_map_init(&m, 100);
	extent_map_add(&m, 50, 10);
	extent_map_add(&m, 10, 10);
	extent_map_sort(&m);
	ck_assert_int_eq(extent_map_find(&m, 20, UINT64_MAX, &runs, &n), 0);
	ck_assert(n == 1 && runs[0].first == 20 && runs[0].count == 20);
	free(runs);
	ck_assert_int_eq(extent_map_find(&m, 5, 60, &runs, &n), 0);
	ck_assert(n == 1 && runs[0].first == 60 && runs[0].count == 5);
	free(runs);
	ck_assert_int_eq(extent_map_find(&m, 0, 60, &runs, &n), -EINVAL);
	extent_map_fini(&m);
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("pool");
	TCase *tc = tcase_create("pool");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, mapping);
	tcase_add_test(tc, read_repair);
	tcase_add_test(tc, disk_lost);
	tcase_add_test(tc, flush_waits_for_record);
	tcase_add_test(tc, assembly);
	tcase_add_test(tc, resync_raid1);
	tcase_add_test(tc, resync_raid10);
	tcase_add_test(tc, resync_with_bad_blocks);
	tcase_add_test(tc, resync_stops);
	tcase_add_test(tc, extents);
	tcase_add_loop_test(tc, every_shape, 0, (int)ARRAY_LEN(shapes));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
