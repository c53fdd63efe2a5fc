/* Takeover: what the partner left in the mirror area is adopted, destaged and given back. */
#include "tests/unit/mirror/mirror_rig.h"

static void write_for_takeover(void *arg)
{
	start_and_join(NULL);
	rig_write(&P.a, 0, 65536, 'a', false);
	ck_assert_int_eq(cache_flush(P.a.vol, 0, 0), 0);
	rig_write(&P.a, 32768, 65536, 'b', false);
	rig_write(&P.a, 4 * MIB + 512, 512, 'c', false);
	rig_write(&P.a, 32768, 4096, 'd', false);
}

static void take_over(void *arg)
{
	ck_assert_int_eq(cache_mirror_adopt(P.b.cache, pair_want_all, NULL, &P.adopted), 0);
	ck_assert_int_eq(cache_vol_attach(P.b.cache, 1, P.b.bdev, &P.b.vol), 0);
}

static void survivor_has_all(void *arg)
{
	struct cache_stats st;
	ck_assert(rig_holds(&P.b, 0, 32768, 'a'));
	ck_assert(rig_holds(&P.b, 32768, 4096, 'd'));
	ck_assert(rig_holds(&P.b, 36864, 61440, 'b'));
	ck_assert(rig_holds(&P.b, 4 * MIB, 512, 0));
	ck_assert(rig_holds(&P.b, 4 * MIB + 512, 512, 'c'));
	cache_stats(P.b.cache, &st);
	ck_assert_uint_eq(st.orphans, 0);
}

static void adopt_and_destage(void *arg)
{
	struct cache_stats st;
	take_over(NULL);
	ck_assert_uint_eq(P.adopted, 17);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
	survivor_has_all(NULL);
	cache_stats(P.b.cache, &st);
	ck_assert_uint_eq(st.dirty, 17);
	/* written anew: in an own page */
	rig_write(&P.b, 36864, 4096, 'b', false);
	ck_assert_int_eq(cache_flush(P.b.vol, 0, 0), 0);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 0);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 0);
	survivor_has_all(NULL);
	cache_stats(P.b.cache, &st);
	ck_assert_uint_eq(st.dirty, 0);
	ck_assert_uint_eq(st.free + st.clean, rig_own(&P.b));
	/* the volume goes back */
	ck_assert_int_eq(cache_vol_detach(P.b.vol, false), 0);
	pair_open(&P, false);
	cache_drop_foreign(P.a.cache, 1);
	ck_assert_int_eq(cache_vol_attach(P.a.cache, 1, P.a.bdev, &P.a.vol), 0);
	start_and_join(NULL);
	ck_assert(rig_holds(&P.a, 32768, 4096, 'd'));
	rig_write(&P.a, 0, 4096, 'e', false);
	pair_copies_equal(&P);
}

START_TEST(the_survivor_adopts_and_gives_back)
{
	setup(256, 200);
	run(write_for_takeover);
	run(pair_abandon_a);
	P.ons = 0;
	run(adopt_and_destage);
	end();
}
END_TEST

static void join_waits(void *arg)
{
	take_over(NULL);
	pair_open(&P, false);
	cache_drop_foreign(P.a.cache, 1);
	ck_assert_int_eq(cache_start(P.b.cache), 0);
	uint64_t from = env_now_ns(sim_env(P.a.sim));
	ck_assert_int_eq(pair_join(&P, false), 0); /* b destages by and by */
	ck_assert_uint_gt(env_now_ns(sim_env(P.a.sim)),
			  from + 50 * NS_PER_MS); /* not before the next tick */
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 0);
	survivor_has_all(NULL);
}

START_TEST(the_area_takes_nothing_while_it_holds_adopted_pages)
{
	setup(256, 200);
	run(write_for_takeover);
	run(pair_abandon_a);
	run(join_waits);
	end();
}
END_TEST

/* A head reads one adopted page that is on disk already, for a second more. Nobody writes. */
static void read_by_a_head(void *arg)
{
	struct env *env = sim_env(P.a.sim);
	struct cache_stats st;
	struct cache_hazard *h;
	_Atomic uint32_t slot = 0;
	_Atomic uint8_t touched[256] = {0};
	take_over(NULL);
	for (uint32_t pg = rig_own(&P.b); !slot; pg++)
		slot = rig_cbes(&P.b)[pg].state == CBE_DIRTY ? pg + 1 : 0;
	ck_assert_int_eq(cache_hazard_add(P.b.cache, &slot, 1, touched, &h), 0);
	ck_assert_int_eq(cache_start(P.b.cache), 0);
	env_sleep_ns(env, NS_PER_S);
	cache_stats(P.b.cache, &st);
	ck_assert_uint_eq(st.dirty, 0); /* not after a sweep's time */
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
	slot = 0;
	env_sleep_ns(env, NS_PER_S);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 0);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 0);
	cache_hazard_remove(P.b.cache, h);
	survivor_has_all(NULL);
}

START_TEST(the_area_opens_though_a_head_reads_and_nobody_writes)
{
	setup(256, 200);
	P.sweep_ns = 60 * NS_PER_S;
	run(write_for_takeover);
	run(pair_abandon_a);
	run(pair_abandon_b);
	P.a.cache = NULL;
	pair_open(&P, true);
	run(read_by_a_head);
	end();
}
END_TEST

static _Atomic uint32_t slot;
static _Atomic uint8_t touched[256];

/* A head sends from the page of the first 'c'; all is on disk. */
static void read_and_die(void *arg)
{
	struct cache_hazard *h;
	take_over(NULL);
	for (uint32_t pg = rig_own(&P.b); !slot; pg++)
		if (rig_cbes(&P.b)[pg].state == CBE_DIRTY && rig_page(&P.b, pg)[512] == 'c')
			slot = pg + 1;
	ck_assert_int_eq(
	    cache_hazard_add(P.b.cache, (const _Atomic uint32_t *)&slot, 1, touched, &h), 0);
	ck_assert_int_eq(cache_flush(P.b.vol, 0, 0), 0);
	ck_assert_uint_eq(rig_cbes(&P.b)[slot - 1].state, CBE_FREE);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
}

/* As a controller starts: the partner may come before the slots are entered, and after. */
static void read_on(void *arg)
{
	struct env *env = sim_env(P.a.sim);
	struct cache_hazard *h[2];
	take_over(NULL);
	ck_assert_uint_eq(P.adopted, 0);
	ck_assert_int_eq(cache_start(P.b.cache), 0);
	env_sleep_ns(env, NS_PER_S);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
	for (int i = 0; i < 2; i++) /* two name it */
		ck_assert_int_eq(cache_hazard_add(P.b.cache, &slot, 1, touched, &h[i]), 0);
	cache_hazards_entered(P.b.cache);
	env_sleep_ns(env, NS_PER_S);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
	ck_assert_int_eq(rig_page(&P.b, slot - 1)[512], 'c');
	slot = 0;
	env_sleep_ns(env, NS_PER_S);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 0);
	for (int i = 0; i < 2; i++)
		cache_hazard_remove(P.b.cache, h[i]);
	pair_open(&P, false);
	ck_assert_int_eq(pair_join(&P, false), 0);
}

START_TEST(a_restart_heeds_who_reads_in_the_area)
{
	setup(256, 200);
	P.heads = true;
	slot = 0;
	run(write_for_takeover);
	run(pair_abandon_a);
	P.a.cache = NULL;
	run(read_and_die);
	run(pair_abandon_b);
	pair_open(&P, true);
	run(read_on);
	end();
}
END_TEST

static void nobody_reads(void *arg)
{
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 1);
	cache_hazards_entered(P.b.cache);
	ck_assert_uint_eq(rig_super(&P.b)->area_closed, 0);
	pair_open(&P, false);
	ck_assert_int_eq(pair_join(&P, false), 0);
}

START_TEST(the_area_opens_when_no_slot_names_it)
{
	setup(256, 200);
	P.heads = true;
	slot = 0;
	run(write_for_takeover);
	run(pair_abandon_a);
	P.a.cache = NULL;
	run(read_and_die);
	run(pair_abandon_b);
	pair_open(&P, true);
	run(nobody_reads);
	end();
}
END_TEST

static void adopt_again(void *arg)
{
	take_over(NULL);
	rig_write(&P.b, 32768, 512, 'n', false); /* over an adopted page */
}

static void still_all(void *arg)
{
	pair_open(&P, true);
	take_over(NULL);
	ck_assert_uint_eq(P.adopted, 16);
	ck_assert(rig_holds(&P.b, 32768, 512, 'n'));
	ck_assert(rig_holds(&P.b, 33280, 3584, 'd'));
	ck_assert(rig_holds(&P.b, 36864, 61440, 'b'));
	ck_assert_int_eq(cache_flush(P.b.vol, 0, 0), 0);
	P.a.cache = NULL;
}

/* The survivor is killed too, before the pages are on disk. */
START_TEST(adopted_pages_survive_a_second_death)
{
	setup(256, 200);
	run(write_for_takeover);
	run(pair_abandon_a);
	run(adopt_again);
	run(pair_abandon_b);
	run(still_all);
	end();
}
END_TEST

static bool want_two(void *arg, uint32_t volume)
{
	return volume == 2;
}

static void adopt_one_volume(void *arg)
{
	uint32_t n;
	struct cache_vol *two;
	start_and_join(NULL);
	ck_assert_int_eq(cache_vol_attach(P.a.cache, 2, P.a.bdev, &two), 0);
	rig_write(&P.a, 0, 16384, 'a', false);
	P.a.vol = two;
	rig_write(&P.a, MIB, 16384, 'b', false);
	cache_close(P.a.cache, true);
	P.a.cache = NULL;
	ck_assert_int_eq(cache_mirror_adopt(P.b.cache, want_two, NULL, &n), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert_int_eq(cache_mirror_adopt(P.b.cache, want_two, NULL, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 8);
	cache_mirror_clear(P.b.cache);
	ck_assert_uint_eq(pair_stats(&P.b).area_used, 4);
	ck_assert_int_eq(cache_vol_attach(P.b.cache, 2, P.b.bdev, &P.b.vol), 0);
	ck_assert(rig_holds(&P.b, MIB, 16384, 'b'));
	ck_assert(rig_holds(&P.b, 0, 16384, 0));
}

START_TEST(only_wanted_volumes_are_adopted)
{
	setup(256, 200);
	run(adopt_one_volume);
	end();
}
END_TEST

static void read_all(void *arg)
{
	struct cache_read rd;
	for (uint64_t off = 0; off < 8 * MIB; off += 65536)
		if (cache_read(P.b.vol, off, 65536, &rd) == 0)
			cache_read_done(P.b.vol, &rd);
}

/* Any bytes in the mirror area's elements: no crash, and the cache works. */
START_TEST(damaged_copies_are_dropped)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		setup(256, 200);
		run(write_for_takeover);
		run(pair_abandon_a);
		P.a.cache = NULL;
		uint8_t *p = (uint8_t *)(rig_cbes(&P.b) + rig_own(&P.b));
		uint32_t n = rig_super(&P.b)->npages - rig_own(&P.b);
		for (int i = 0; i < 40; i++) {
			uint64_t r = sim_random(P.a.sim) ^ seed * 77;
			p[r % (n * sizeof(struct cbe))] = (uint8_t)(r >> 40);
		}
		if (seed % 3 == 0)
			((struct cbe *)p)[seed % n] =
			    (struct cbe){.state = CBE_DIRTY,
					 .volume = 1,
					 .page = 1ull << 40,
					 .generation = seed == 3 ? UINT64_MAX : 1,
					 .valid = 0xff,
					 .dirty = 0xff};
		run(take_over);
		run(read_all);
		end();
	}
}
END_TEST

/* ---- the split ---- */

START_TEST(another_split_waits_until_the_area_is_empty)
{
	setup(256, 200);
	run(write_for_takeover);
	run(pair_abandon_a);
	run(pair_abandon_b);
	uint32_t own = rig_own(&P.b);
	P.pages_a = 128;
	pair_open(&P, true);
	ck_assert_uint_eq(rig_own(&P.b), own);
	run(take_over);
	ck_assert_uint_eq(P.adopted, 17);
	ck_assert_int_eq(sim_run(P.a.sim, rig_close_task, &P.b), 0);
	pair_open(&P, true);
	ck_assert_uint_eq(rig_own(&P.b), 200 - 38);
	P.pages_a = 2000; /* more than fits beside 64 own pages */
	ck_assert_int_eq(sim_run(P.a.sim, rig_close_task, &P.b), 0);
	struct cache_opts o = pair_opts(&P, true);
	ck_assert_int_eq(cache_open(&P.b.cache, &o, NULL), -ENOSPC);
	P.a.cache = P.b.cache = NULL;
	end();
}
END_TEST

/* A page of the cache's that a dead process was reading: the read may land there yet, so it does
 * not become the partner's. */
START_TEST(a_page_that_may_yet_be_written_is_not_given_to_the_area)
{
	setup(256, 200);
	run(pair_abandon_a);
	run(pair_abandon_b);
	uint32_t own = rig_own(&P.b);
	rig_cbes(&P.b)[own - 1] =
	    (struct cbe){.state = CBE_FILLING, .volume = 1, .page = 768, .valid = 0xff};
	P.pages_a = 300; /* a larger area, over that page */
	pair_open(&P, true);
	ck_assert_uint_eq(rig_own(&P.b), own);
	ck_assert_uint_eq(cache_quarantined(P.b.cache), 1);
	cache_quarantine_end(P.b.cache);
	ck_assert_int_eq(sim_run(P.a.sim, rig_close_task, &P.b), 0);
	pair_open(&P, true);
	ck_assert_uint_eq(rig_own(&P.b), 200 - 90);
	ck_assert_int_eq(sim_run(P.a.sim, rig_close_task, &P.b), 0);
	P.a.cache = P.b.cache = NULL;
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mirror_adopt");
	TCase *t = tcase_create("adopt");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_survivor_adopts_and_gives_back);
	tcase_add_test(t, the_area_takes_nothing_while_it_holds_adopted_pages);
	tcase_add_test(t, the_area_opens_though_a_head_reads_and_nobody_writes);
	tcase_add_test(t, a_restart_heeds_who_reads_in_the_area);
	tcase_add_test(t, the_area_opens_when_no_slot_names_it);
	tcase_add_test(t, adopted_pages_survive_a_second_death);
	tcase_add_test(t, only_wanted_volumes_are_adopted);
	tcase_add_test(t, damaged_copies_are_dropped);
	tcase_add_test(t, another_split_waits_until_the_area_is_empty);
	tcase_add_test(t, a_page_that_may_yet_be_written_is_not_given_to_the_area);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
