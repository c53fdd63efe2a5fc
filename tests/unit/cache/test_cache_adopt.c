/* The segment at open: adopted, refused, formatted; and damaged in every field. */
#include <stddef.h>
#include "tests/unit/cache/cache_rig.h"

#define MIB (1024 * 1024)

static struct rig R;

static void setup(void)
{
	memset(&R, 0, sizeof(R));
	rig_init(&R, 5, 256, 4 * MIB);
	rig_open(&R);
}

static struct cache_super *super(void)
{
	return R.segment;
}

static struct cbe *cbes(void)
{
	return (struct cbe *)((char *)R.segment + super()->cbe_off);
}

static char *page_data(uint32_t pg)
{
	return (char *)R.segment + super()->page_off + (size_t)pg * 4096;
}

static struct cbe *find(uint64_t page)
{
	for (uint32_t i = 0; i < super()->npages; i++)
		if (cbes()[i].state >= CBE_CLEAN && cbes()[i].page == page)
			return &cbes()[i];
	return NULL;
}

static struct cbe *find_free(void)
{
	for (uint32_t i = 0; i < super()->npages; i++)
		if (cbes()[i].state == CBE_FREE)
			return &cbes()[i];
	ck_abort_msg("no free element");
}

static void run(task_fn *fn)
{
	ck_assert_int_eq(sim_run(R.sim, fn, NULL), 0);
}

/* The process dies; its memory goes, the segment stays. */
static void die(void)
{
	ck_assert_int_eq(sim_run(R.sim, rig_abandon_task, &R), 0);
}

static void end(void)
{
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	rig_free(&R);
}

static void write_some(void *arg)
{
	rig_write(&R, 0, 65536, 'a', false);
	ck_assert_int_eq(cache_flush(R.vol, 0, 0), 0);
	rig_write(&R, 32768, 65536, 'b', false);
	rig_write(&R, 2 * MIB + 512, 512, 'c', false);
}

static void read_some(void *arg)
{
	struct cache_read rd;
	struct cache_stats st;
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 17);
	ck_assert_uint_eq(st.orphans, 0);
	ck_assert_int_eq(cache_read_try(R.vol, 0, 98304, &rd), 0);
	cache_read_done(R.vol, &rd);
	ck_assert(rig_holds(&R, 0, 32768, 'a'));
	ck_assert(rig_holds(&R, 32768, 65536, 'b'));
	ck_assert(rig_holds(&R, 2 * MIB, 512, 0));
	ck_assert(rig_holds(&R, 2 * MIB + 512, 512, 'c'));
}

START_TEST(clean_and_dirty_pages_live_on)
{
	setup();
	run(write_some);
	uint64_t incarnation = super()->incarnation;
	die();
	rig_open(&R);
	ck_assert_uint_eq(R.adopted, 25);
	ck_assert_uint_eq(super()->incarnation, incarnation + 1);
	run(read_some);
	end();
}
END_TEST

static _Atomic uint32_t slots[4];
static _Atomic uint8_t touched[256];

/* A head sends from the first version when the second takes its place. */
static void supersede_what_is_held(void *arg)
{
	struct cache_hazard *h;
	ck_assert_int_eq(cache_hazard_add(R.cache, slots, 4, touched, &h), 0);
	rig_write(&R, 0, 4096, 'h', false);
	slots[2] = (uint32_t)(find(0) - cbes()) + 1;
	rig_write(&R, 0, 4096, 'i', false);
}

/* More than the cache has pages. */
static void write_all_over(void *arg)
{
	struct cache_hazard *h;
	ck_assert_int_eq(cache_hazard_add(R.cache, slots, 4, touched, &h), 0);
	ck_assert_int_eq(cache_start(R.cache), 0);
	for (uint64_t off = 0; off < 2 * MIB; off += 65536)
		rig_write(&R, off, 65536, 'j', false);
	ck_assert_int_eq(page_data(slots[2] - 1)[0], 'h');
	ck_assert_int_eq(page_data(slots[2] - 1)[4095], 'h');
	slots[2] = 0;
	cache_hazard_remove(R.cache, h);
}

START_TEST(a_page_freed_while_it_was_held_stays_held)
{
	setup();
	run(supersede_what_is_held);
	die();
	ck_assert_int_eq(cbes()[slots[2] - 1].state, CBE_FREE);
	rig_open(&R);
	run(write_all_over);
	end();
}
END_TEST

START_TEST(buckets_left_odd_are_repaired)
{
	setup();
	run(write_some);
	die();
	struct cache_bucket *b = (struct cache_bucket *)((char *)R.segment + super()->bucket_off);
	for (uint32_t i = 0; i < super()->nbuckets; i += 3) {
		b[i].seq |= 1;
		b[i].head = i;
	}
	rig_open(&R);
	for (uint32_t i = 0; i < super()->nbuckets; i++)
		ck_assert_uint_eq(b[i].seq & 1, 0);
	run(read_some);
	end();
}
END_TEST

static void holds_newer(void *arg)
{
	ck_assert(rig_holds(&R, 32768, 4096, 'N'));
	ck_assert(rig_holds(&R, 36864, 4096, 'b'));
	ck_assert(rig_holds(&R, 0, 4096, 'a'));
	ck_assert(rig_holds(&R, 3 * MIB, 4096, 0));
}

/* Killed between the publication of a version and the release of the one before. */
START_TEST(the_higher_generation_wins)
{
	setup();
	run(write_some);
	die();
	struct cbe *old = find(8), *new = find_free();
	*new = *old;
	new->generation = super()->generation = super()->generation + 1;
	memset(page_data((uint32_t)(new - cbes())), 'N', 4096);
	struct cbe *cur = find(9), *older = find_free();
	*older = *cur;
	older->generation = 1;
	memset(page_data((uint32_t)(older - cbes())), 'O', 4096);
	struct cbe *filling = find_free();
	*filling = (struct cbe){.state = CBE_FILLING, .volume = 1, .page = 768, .valid = 0xff};
	memset(page_data((uint32_t)(filling - cbes())), 'F', 4096);
	rig_open(&R);
	ck_assert_uint_eq(R.adopted, 25);
	ck_assert_uint_eq(old->state, CBE_FREE);
	ck_assert_uint_eq(older->state, CBE_FREE);
	/* A read of the dead process may yet land there, as often as this happens. */
	ck_assert_uint_eq(filling->state, CBE_FILLING);
	ck_assert_uint_eq(cache_quarantined(R.cache), 1);
	die();
	rig_open(&R);
	ck_assert_uint_eq(cache_quarantined(R.cache), 1);
	cache_quarantine_end(R.cache);
	ck_assert_uint_eq(filling->state, CBE_FREE);
	ck_assert_uint_eq(cache_quarantined(R.cache), 0);
	run(holds_newer);
	end();
}
END_TEST

static void orphans_come_home(void *arg)
{
	struct cache_stats st;
	struct cache_opts o = rig_opts(&R);
	ck_assert_int_eq(cache_open(&R.cache, &o, &R.adopted), 0);
	ck_assert_int_eq(cache_start(R.cache), 0);
	env_sleep_ns(sim_env(R.sim), 5 * NS_PER_S);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.orphans, 17);
	ck_assert_uint_eq(st.dirty, 17);
	ck_assert_int_eq(cache_vol_attach(R.cache, 1, R.bdev, &R.vol), 0);
	read_some(NULL);
	env_sleep_ns(sim_env(R.sim), 3 * NS_PER_S);
	cache_stats(R.cache, &st);
	ck_assert_uint_eq(st.dirty, 0);
}

START_TEST(orphans_wait_for_their_volume)
{
	setup();
	run(write_some);
	die();
	run(orphans_come_home);
	end();
}
END_TEST

static int try_open(struct cache_opts *o)
{
	struct cache *c;
	uint32_t adopted = 0;
	int rc = cache_open(&c, o, &adopted);
	if (rc == 0) {
		R.cache = c;
		R.adopted = adopted;
		ck_assert_int_eq(sim_run(R.sim, rig_abandon_task, &R), 0);
	}
	return rc;
}

START_TEST(what_is_not_ours_is_not_overwritten)
{
	setup();
	run(write_some);
	die();
	struct cache_opts o = rig_opts(&R);
	o.array_uuid[3] ^= 1;
	ck_assert_int_eq(try_open(&o), -ERR_FOREIGN);
	o = rig_opts(&R);
	o.controller = "b";
	ck_assert_int_eq(try_open(&o), -ERR_FOREIGN);
	o = rig_opts(&R);
	o.segment_size = 100 * 4200; /* less than what it was made for */
	ck_assert_int_eq(try_open(&o), -ERR_FOREIGN);
	o = rig_opts(&R);
	super()->version++;
	ck_assert_int_eq(try_open(&o), -ERR_VERSION);
	super()->version--;
	super()->hash_seed ^= 1;
	ck_assert_int_eq(try_open(&o), -ERR_CORRUPT);
	super()->hash_seed ^= 1;
	rig_open(&R);
	run(read_some);
	/* Once all is on disk, another array may have it. */
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	o.array_uuid[3] ^= 1;
	ck_assert_int_eq(try_open(&o), 0);
	ck_assert_uint_eq(R.adopted, 0);
	rig_free(&R);
}
END_TEST

/* A larger segment: the old layout while it is in use, then the new one. */
START_TEST(a_resized_segment_loses_nothing)
{
	setup();
	run(write_some);
	die();
	uint32_t before = super()->npages;
	size_t size = R.segment_size;
	void *larger;
	ck_assert_int_eq(posix_memalign(&larger, 4096, 2 * size), 0);
	memset(larger, 0, 2 * size);
	memcpy(larger, R.segment, size);
	free(R.segment);
	R.segment = larger;
	R.segment_size = 2 * size;
	rig_open(&R);
	ck_assert_uint_eq(super()->npages, before);
	run(read_some);
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	/* a read of the process before may land there yet */
	*find_free() = (struct cbe){.state = CBE_FILLING, .volume = 1, .page = 768, .valid = 0xff};
	rig_open(&R);
	ck_assert_uint_eq(super()->npages, before);
	ck_assert_uint_eq(cache_quarantined(R.cache), 1);
	cache_quarantine_end(R.cache);
	ck_assert_int_eq(sim_run(R.sim, rig_close_task, &R), 0);
	rig_open(&R);
	ck_assert_uint_gt(super()->npages, before + before / 2);
	end();
}
END_TEST

static void read_all(void *arg)
{
	struct cache_read rd;
	for (uint64_t off = 0; off < 4 * MIB; off += 65536)
		if (cache_read(R.vol, off, 65536, &rd) == 0)
			cache_read_done(R.vol, &rd);
}

/* Any bytes in the CBE array: no crash, and the cache works. */
START_TEST(damaged_elements_are_dropped)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		setup();
		run(write_some);
		die();
		for (int i = 0; i < 40; i++) {
			uint8_t *p = (uint8_t *)cbes();
			uint64_t r = sim_random(R.sim) ^ seed * 77;
			p[r % (super()->npages * sizeof(struct cbe))] = (uint8_t)(r >> 40);
		}
		if (seed % 3 == 0) {
			cbes()[seed] = (struct cbe){.state = CBE_DIRTY,
						    .volume = 1,
						    .page = 1ull << 40,
						    .generation = 1,
						    .valid = 0xff,
						    .dirty = 0xff};
		}
		rig_open(&R);
		run(read_all);
		end();
	}
}
END_TEST

/* Any bytes in the super block: refused or adopted, never a crash nor a loss. */
START_TEST(damaged_super_blocks_are_answered)
{
	for (int i = 0; i < 300; i++) {
		setup();
		run(write_some);
		die();
		struct cache_super good = *super();
		uint8_t *p = R.segment;
		uint64_t at = sim_random_below(R.sim, sizeof(good));
		p[(at + (uint64_t)i) % offsetof(struct cache_super, incarnation)] ^=
		    (uint8_t)(1 + sim_random_below(R.sim, 255));
		struct cache_opts o = rig_opts(&R);
		int rc = try_open(&o);
		ck_assert(rc == -ERR_CORRUPT || rc == -ERR_VERSION || (rc == 0 && R.adopted == 25));
		rig_free(&R);
	}
}
END_TEST

START_TEST(useless_segments_are_refused)
{
	memset(&R, 0, sizeof(R));
	rig_init(&R, 5, 256, 4 * MIB);
	struct cache_opts o = rig_opts(&R);
	o.segment_size = 8192;
	ck_assert_int_eq(try_open(&o), -ENOSPC);
	o = rig_opts(&R);
	o.page_size = 1000;
	ck_assert_int_eq(try_open(&o), -EINVAL);
	memset(R.segment, 0xa5, R.segment_size);
	o = rig_opts(&R);
	ck_assert_int_eq(try_open(&o), 0); /* not a cache at all: formatted */
	rig_free(&R);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_adopt");
	TCase *t = tcase_create("open");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, clean_and_dirty_pages_live_on);
	tcase_add_test(t, a_page_freed_while_it_was_held_stays_held);
	tcase_add_test(t, buckets_left_odd_are_repaired);
	tcase_add_test(t, the_higher_generation_wins);
	tcase_add_test(t, orphans_wait_for_their_volume);
	tcase_add_test(t, what_is_not_ours_is_not_overwritten);
	tcase_add_test(t, a_resized_segment_loses_nothing);
	tcase_add_test(t, damaged_elements_are_dropped);
	tcase_add_test(t, damaged_super_blocks_are_answered);
	tcase_add_test(t, useless_segments_are_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
