/*
 * Files that share blocks: clones read the same and part when either is written to, in every way;
 * a crash and a full disk lose nothing.
 */
#include "tests/unit/fs/clone_world.h"

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
	world_run(parts_task, 1);
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
	world_run(ways_task, 2);
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
	world_run(refused_task, 3);
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
	world_run(inside_task, 13);
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
	world_run(many_task, 5);
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
	world_run(full_task, 6);
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
	world_run(race_task, 7);
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
	world_run(snapshot_task, 11);
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
	world_run(late_task, 10);
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
	tcase_add_test(t, many_runs);
	tcase_add_test(t, a_full_disk);
	tcase_add_test(t, both_ways_at_once_and_writes);
	tcase_add_test(t, a_clone_is_a_snapshot);
	tcase_add_test(t, an_owner_is_gone_when_that_is_stable);
	tcase_add_test(t, reads_of_an_owner_that_went_end_first);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
