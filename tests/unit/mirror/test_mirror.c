/* The mirrored write cache between two controllers of one host. */
#include "tests/unit/mirror/mirror_rig.h"

/* ---- the table ---- */

START_TEST(table_gives_all_or_none)
{
	struct mirror_table t;
	uint32_t got[8], again[8];
	bool seen[5] = {false};
	ck_assert_int_eq(mirror_table_init(&t, 5), 0);
	ck_assert_uint_eq(t.nfree, 5);
	ck_assert(!mirror_table_pop(&t, got, 6));
	ck_assert_uint_eq(t.nfree, 5);
	ck_assert(mirror_table_pop(&t, got, 3));
	ck_assert(!mirror_table_pop(&t, again, 3));
	ck_assert(mirror_table_pop(&t, got + 3, 2));
	ck_assert_uint_eq(t.first, MIRROR_NONE);
	for (int i = 0; i < 5; i++) {
		ck_assert_uint_lt(got[i], 5);
		ck_assert(!seen[got[i]]);
		seen[got[i]] = true;
	}
	mirror_table_push(&t, got + 1, 2);
	ck_assert(mirror_table_pop(&t, again, 2));
	ck_assert(again[0] + again[1] == got[1] + got[2] && t.nfree == 0);
	mirror_table_push(&t, got, 5);
	ck_assert_uint_eq(t.nfree, 5);
	mirror_table_free(&t);
	ck_assert_int_eq(mirror_table_init(&t, 0), 0);
	ck_assert(!mirror_table_pop(&t, got, 1));
	mirror_table_free(&t);
}
END_TEST

/* ---- sizes ---- */

static void both_join(void *arg)
{
	struct mirror_stats a, b;
	ck_assert_int_eq(pair_join(&P, false), 0);
	ck_assert_int_eq(pair_join(&P, true), 0);
	ck_assert_int_eq(pair_join(&P, false), -EALREADY);
	a = pair_stats(&P.a);
	b = pair_stats(&P.b);
	/* a, of 100 pages, has a mirror area of 33 for b's 110, and a table of b's 30. */
	ck_assert_uint_eq(a.area_pages, 33);
	ck_assert_uint_eq(a.table_pages, 30);
	ck_assert_uint_eq(b.area_pages, 30);
	ck_assert_uint_eq(b.table_pages, 33);
	ck_assert_uint_eq(a.table_free, 30);
	ck_assert_uint_eq(b.table_free, 33);
	ck_assert_uint_eq(rig_own(&P.a), 67);
	ck_assert_uint_eq(rig_own(&P.b), 80);
}

START_TEST(caches_of_100_and_110_pages)
{
	setup(100, 110);
	run(both_join);
	end();
}
END_TEST

/* ---- writes and destage ---- */

static void write_and_destage(void *arg)
{
	struct mirror_stats st;
	start_and_join(NULL);
	rig_write(&P.a, 0, 40960, 'a', false);
	rig_write(&P.a, MIB + 512, 1024, 'b', false);
	st = pair_stats(&P.a);
	ck_assert_uint_eq(st.copies, 11);
	ck_assert_uint_eq(st.copied_bytes, 11 * 4096);
	ck_assert_uint_eq(st.messages, 0);
	ck_assert_uint_eq(st.table_pages - st.table_free, 11);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 11);
	pair_copies_equal(&P);
	/* The same pages again, in part: the copies of what they follow are free again. */
	rig_write(&P.a, 512, 8192, 'c', false);
	pair_copies_equal(&P);
	st = pair_stats(&P.a);
	ck_assert_uint_eq(st.table_pages - st.table_free, 11);
	ck_assert_uint_eq(st.copies, 14);
	ck_assert_uint_eq(st.cleared, 3);
	/* A read that completes a page: its copy goes on to the new version. */
	ck_assert(rig_holds(&P.a, MIB, 512, 0));
	pair_copies_equal(&P);
	ck_assert_int_eq(cache_discard(P.a.vol, 20480, 4096), 0);
	pair_copies_equal(&P);
	ck_assert_int_eq(cache_flush(P.a.vol, 0, 0), 0);
	st = pair_stats(&P.a);
	ck_assert_uint_eq(st.table_free, st.table_pages);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 0);
	ck_assert_uint_eq(st.copies, st.cleared);
	ck_assert(rig_holds(&P.a, 512, 8192, 'c'));
}

START_TEST(dirty_pages_have_copies_until_they_are_on_disk)
{
	setup(256, 256);
	run(write_and_destage);
	end();
}
END_TEST

static void abort_gives_back(void *arg)
{
	struct cache_write w;
	start_and_join(NULL);
	ck_assert_int_eq(cache_write_begin(P.a.vol, 0, 65536, &w), 0);
	ck_assert_uint_eq(pair_stats(&P.a).table_free, pair_stats(&P.a).table_pages - 16);
	for (int i = 0; i < w.n; i++)
		memset(w.iov[i].iov_base, 'x', w.iov[i].iov_len);
	cache_write_received(P.a.vol, &w, 40000);
	cache_write_abort(P.a.vol, &w);
	ck_assert_uint_eq(pair_stats(&P.a).table_free, pair_stats(&P.a).table_pages);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 0);
}

START_TEST(an_aborted_write_leaves_nothing)
{
	setup(256, 256);
	run(abort_gives_back);
	end();
}
END_TEST

/* The data is copied as it comes. */
static void pipelined(void *arg)
{
	struct cache_write w;
	start_and_join(NULL);
	rig_write(&P.a, 0, 65536, 'o', false);
	ck_assert_int_eq(cache_write_begin(P.a.vol, 512, 60000 / 512 * 512, &w), 0);
	uint32_t got = 0;
	for (int i = 0; i < w.n; i++) {
		memset(w.iov[i].iov_base, 'a' + i, w.iov[i].iov_len);
		got += (uint32_t)w.iov[i].iov_len;
		if (i != 7)
			cache_write_received(P.a.vol, &w, got);
	}
	ck_assert_int_eq(cache_write_commit(P.a.vol, &w, false), 0);
	pair_copies_equal(&P);
}

START_TEST(copies_overlap_the_receiving)
{
	setup(256, 256);
	run(pipelined);
	end();
}
END_TEST

/* ---- short of pages ---- */

static unsigned done;

static void one_writer(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	for (unsigned i = 0; i < 40; i++)
		rig_write(&P.a, (me * 40 + i) * 16384ull, 12288, (int)('A' + me), false);
	done++;
}

static void exhaust(void *arg)
{
	struct cache_write w[8];
	int rc, n = 0;
	start_and_join(NULL);
	while (n < 8 && (rc = cache_write_try_begin(P.a.vol, n * 32768ull, 32768, &w[n])) == 0)
		n++;
	ck_assert_int_eq(n, 4); /* 38 pages: four times 8, and then not enough */
	ck_assert_int_eq(rc, -EAGAIN);
	while (n-- > 0)
		cache_write_abort(P.a.vol, &w[n]);
	done = 0;
	for (uintptr_t i = 0; i < 8; i++)
		ck_assert_int_eq(task_start(one_writer, (void *)i), 0);
	while (done < 8) {
		env_sleep_ns(sim_env(P.a.sim), NS_PER_MS);
		pair_copies_equal(&P);
	}
	ck_assert_uint_gt(pair_stats(&P.a).waits, 0);
	for (unsigned i = 0; i < 320; i++)
		ck_assert(rig_holds(&P.a, i * 16384ull, 12288, (int)('A' + i / 40)));
	ck_assert_int_eq(cache_flush(P.a.vol, 0, 0), 0);
	ck_assert_uint_eq(pair_stats(&P.a).table_free, 38);
	ck_assert_int_eq(cache_write_begin(P.a.vol, 0, 39 * 4096, &w[0]), -EINVAL);
}

START_TEST(writes_wait_for_mirror_pages_and_go_on)
{
	setup(128, 200);
	run(exhaust);
	end();
}
END_TEST

/* ---- joining and parting ---- */

static void bare_pages_get_copies(void *arg)
{
	struct cache_write w;
	ck_assert_int_eq(cache_start(P.a.cache), 0);
	rig_write(&P.a, 0, 40960, 'a', false);
	ck_assert_int_eq(cache_write_begin(P.a.vol, MIB, 4096, &w), 0);
	memset(w.iov[0].iov_base, 'w', 4096);
	ck_assert_int_eq(pair_join(&P, false), 0);
	env_sleep_ns(sim_env(P.a.sim), 50 * NS_PER_MS);
	/* a write that began before the partner came has no mirror page */
	ck_assert_int_eq(cache_mirror_state(P.a.cache), MIRROR_JOINING);
	ck_assert_int_eq(cache_write_commit(P.a.vol, &w, false), 0);
	pair_wait_on(&P);
	pair_copies_equal(&P);
	ck_assert_uint_eq(P.ons, 1);
}

START_TEST(joining_covers_what_was_dirty)
{
	setup(256, 256);
	run(bare_pages_get_copies);
	end();
}
END_TEST

/* More is dirty than the partner has room for: the rest goes to disk. */
static void more_than_fits(void *arg)
{
	rig_write(&P.a, 0, 30 * 4096, 'a', false);
	rig_write(&P.a, MIB, 30 * 4096, 'b', false);
	ck_assert_int_eq(cache_start(P.a.cache), 0);
	ck_assert_int_eq(pair_join(&P, false), 0);
	pair_wait_on(&P);
	pair_copies_equal(&P);
}

START_TEST(joining_with_more_than_the_area_holds)
{
	setup(128, 200);
	run(more_than_fits);
	end();
}
END_TEST

static void part_and_join(void *arg)
{
	struct cache_write w;
	struct cache_stats st;
	start_and_join(NULL);
	rig_write(&P.a, 0, 40960, 'a', false);
	ck_assert_int_eq(cache_write_begin(P.a.vol, MIB, 40960, &w), 0);
	for (int i = 0; i < w.n; i++)
		memset(w.iov[i].iov_base, 'w', w.iov[i].iov_len);
	cache_write_received(P.a.vol, &w, 20480);
	ck_assert_int_eq(cache_mirror_part(P.a.cache, pair_before, &P), 0);
	ck_assert_uint_eq(P.befores, 1);
	ck_assert_uint_eq(P.before_writes, 1);
	ck_assert_int_eq(cache_mirror_state(P.a.cache), MIRROR_LONE);
	/* The partner's memory is not touched any more. */
	memset(P.b.segment, 0xa5, 4096);
	ck_assert_int_eq(cache_write_commit(P.a.vol, &w, false), 0);
	rig_write(&P.a, 4096, 4096, 'l', false);
	cache_stats(P.a.cache, &st);
	ck_assert_uint_eq(pair_stats(&P.a).copies, 10);
	ck_assert_uint_eq(pair_stats(&P.a).table_pages, 0);
	ck_assert_int_eq(cache_flush(P.a.vol, 0, 4096), 0);
	rig_write(&P.a, 8192, 4096, 'm', false);
	for (uint32_t i = 0; i < rig_own(&P.a); i++)
		if (rig_cbes(&P.a)[i].state == CBE_DIRTY)
			ck_assert_uint_eq(rig_cbes(&P.a)[i].mirror, CACHE_NO_PAGE);
	/* A damaged partner is refused, a new one is joined. */
	ck_assert_int_lt(pair_join(&P, false), 0);
	memset(P.b.segment, 0, P.b.segment_size);
	cache_close(P.b.cache, true);
	pair_open(&P, true);
	ck_assert_int_eq(pair_join(&P, false), 0);
	pair_wait_on(&P);
	pair_copies_equal(&P);
	ck_assert(rig_holds(&P.a, MIB, 40960, 'w'));
	ck_assert(rig_holds(&P.a, 4096, 4096, 'l'));
	ck_assert_uint_eq(P.ons, 2);
}

START_TEST(the_partner_goes_and_comes)
{
	setup(256, 256);
	run(part_and_join);
	end();
}
END_TEST

static void lone_to_disk(void *arg)
{
	struct cache_stats st;
	ck_assert_int_eq(cache_start(P.a.cache), 0);
	rig_write(&P.a, 0, 40960, 'a', false);
	cache_stats(P.a.cache, &st);
	ck_assert_uint_eq(st.dirty, 0);
	sim_power_off(P.a.sim);
}

static void still_there(void *arg)
{
	struct cache_read rd;
	pair_open(&P, false);
	ck_assert_int_eq(cache_vol_attach(P.a.cache, 1, P.a.bdev, &P.a.vol), 0);
	ck_assert_int_eq(cache_read(P.a.vol, 0, 40960, &rd), 0);
	cache_read_done(P.a.vol, &rd);
	ck_assert(rig_holds(&P.a, 0, 40960, 'a'));
	ck_assert_int_eq(cache_start(P.a.cache), 0);
	ck_assert_int_eq(cache_discard(P.a.vol, 0, 8192), 0);
	struct cache_stats st;
	cache_stats(P.a.cache, &st);
	ck_assert_uint_eq(st.dirty, 0);
	ck_assert_int_eq(pair_join(&P, false), 0);
	pair_wait_on(&P);
	rig_write(&P.a, 0, 4096, 'b', false);
	cache_stats(P.a.cache, &st);
	ck_assert_uint_eq(st.dirty, 1);
}

/* Even with memory that survives: its controller may not come back. */
START_TEST(a_lone_controller_can_write_through)
{
	memset(&P, 0, sizeof(P));
	P.write_through = P.battery = true;
	pair_init(&P, 11, 256, 256, 8 * MIB);
	pair_up(&P);
	run(lone_to_disk);
	run(pair_abandon_a);
	sim_power_on(P.a.sim, SIM_LOSE_ALL, 0);
	memset(P.a.segment, 0, P.a.segment_size);
	run(still_there);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mirror");
	TCase *t = tcase_create("mirror");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, table_gives_all_or_none);
	tcase_add_test(t, caches_of_100_and_110_pages);
	tcase_add_test(t, dirty_pages_have_copies_until_they_are_on_disk);
	tcase_add_test(t, an_aborted_write_leaves_nothing);
	tcase_add_test(t, copies_overlap_the_receiving);
	tcase_add_test(t, writes_wait_for_mirror_pages_and_go_on);
	tcase_add_test(t, joining_covers_what_was_dirty);
	tcase_add_test(t, joining_with_more_than_the_area_holds);
	tcase_add_test(t, the_partner_goes_and_comes);
	tcase_add_test(t, a_lone_controller_can_write_through);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
