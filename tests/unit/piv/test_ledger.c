/* The ledger: records, full and wrapped rings, callers at once, regions and their claims. */
#include "tests/unit/piv/ledger_rig.h"

/* ---- records ---- */

TASK_TEST(records_are_put_and_dropped)
{
	static char big[LEDGER_VALUE_MAX + 1];
	struct ledger *l = open_on(true, true);
	struct ledger_info info;
	unsigned n = 0;
	ck_assert_int_eq(put(l, "", "x"), -EINVAL);
	ck_assert_int_eq(ledger_put(l, "k", 1, big, sizeof(big)), -EINVAL);
	ck_assert_int_eq(ledger_put(l, big, LEDGER_KEY_MAX + 1, "", 0), -EINVAL);
	ck_assert_int_eq(drop(l, "a"), -ENOENT);
	ck_assert_int_eq(put(l, "a", "1"), 0);
	ck_assert_int_eq(put(l, "b", ""), 0);
	ck_assert_int_eq(put(l, "c", "3"), 0);
	ck_assert_int_eq(ledger_put(l, big, LEDGER_KEY_MAX, big, LEDGER_VALUE_MAX), 0);
	ck_assert_int_eq(ledger_sync(l), 0);
	uint64_t frames = stats(l).frames;
	ck_assert_int_eq(put(l, "a", "1"), 0); /* no change */
	ck_assert_int_eq(put(l, "new", "x"), 0);
	ck_assert_int_eq(drop(l, "new"), 0); /* nobody ever saw it */
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert_uint_eq(stats(l).frames, frames);
	ck_assert_int_eq(put(l, "a", "longer than before"), 0);
	ck_assert_int_eq(drop(l, "c"), 0);
	ck_assert_int_eq(drop(l, "c"), -ENOENT);
	ck_assert_int_eq(ledger_sync(l), 0);
	ck_assert_int_eq(put(l, "lost", "never synced"), 0);
	ck_assert_uint_eq(stats(l).records, 4);
	ledger_abandon(l);
	struct ledger_opts o = opts(true, true);
	o.load = count_one;
	o.arg = &n;
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	ck_assert_uint_eq(n, 3);
	is(l, "a", "longer than before");
	is(l, "b", "");
	is(l, "c", NULL);
	is(l, "lost", NULL);
	ck_assert_int_eq(put(l, "c", "again"), 0);
	ck_assert_int_eq(ledger_close(l), 0);
	n = 0;
	ck_assert_int_eq(ledger_each(volumes[0], volumes[1], "nas1", count_one, &n, &info), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert_uint_eq(info.records, 4);
	ck_assert(!info.from_backup);
	ck_assert_int_eq(ledger_each(volumes[0], NULL, "nas2", count_one, &n, NULL), -ENOENT);
}

/* ---- rings that are full, and go round ---- */

static void fill_value(uint8_t *v, size_t len, unsigned key, unsigned turn)
{
	memset(v, (int)(key * 7 + turn), len);
	memcpy(v, &turn, MIN(len, sizeof(turn)));
}

/* As many records of `len` as there may be; the number of them. */
static unsigned fill(struct ledger *l, size_t len)
{
	static uint8_t v[LEDGER_VALUE_MAX];
	unsigned i = 0;
	int rc = 0;
	while (rc == 0) {
		fill_value(v, len, i, 0);
		rc = ledger_put(l, &i, sizeof(i), v, len);
		i += rc == 0;
		if (i % 64 == 0)
			ck_assert_int_eq(ledger_sync(l), 0);
	}
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_int_eq(ledger_sync(l), 0);
	return i;
}

enum order { IN_ORDER, SAME, RANDOM, BACKWARDS, ALL };

static void churn(size_t len, enum order order)
{
	static uint8_t v[LEDGER_VALUE_MAX];
	struct ledger *l = open_on(true, false);
	unsigned n = fill(l, len), i = 0;
	unsigned *turns = calloc(n, sizeof(*turns));
	uint64_t start = stats(l).bytes_written, laps = 4;
	ck_assert_uint_le(stats(l).live_bytes, stats(l).live_max);
	for (unsigned turn = 1; stats(l).bytes_written < start + laps * stats(l).ring_bytes;
	     turn++) {
		unsigned batch = order == ALL ? n : 1;
		while (batch--) {
			i = order == RANDOM ? (unsigned)sim_random_below(sim, n)
			    : order == SAME ? 3
					    : (i + (order == BACKWARDS ? n - 1 : 1)) % n;
			fill_value(v, len, i, turn);
			ck_assert_int_eq(ledger_put(l, &i, sizeof(i), v, len), 0);
			turns[i] = turn;
		}
		ck_assert_int_eq(ledger_sync(l), 0);
	}
	ck_assert_uint_eq(stats(l).records, n);
	ledger_abandon(l);
	l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, n);
	for (i = 0; i < n; i++) {
		size_t vlen;
		fill_value(v, len, i, turns[i]);
		const void *is = ledger_get(l, &i, sizeof(i), &vlen);
		ck_assert_ptr_nonnull(is);
		ck_assert_uint_eq(vlen, len);
		ck_assert_mem_eq(is, v, len);
		ck_assert_int_eq(ledger_drop(l, &i, sizeof(i)), 0);
	}
	ck_assert_int_eq(ledger_close(l), 0);
	l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, 0);
	ck_assert_uint_eq(stats(l).live_bytes, 0);
	ledger_abandon(l);
	free(turns);
}

TASK_TEST(a_full_ring_never_stops)
{
	static const size_t lens[] = {40, 1400, 2040, 4090, 9000, LEDGER_VALUE_MAX};
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++)
		for (enum order k = IN_ORDER; k <= ALL; k++)
			if (k == IN_ORDER || k == RANDOM || lens[i] > 1000)
				churn(lens[i], k);
}

/* What comes and goes at once leaves nothing behind. */
TASK_TEST(what_is_dropped_takes_no_room)
{
	struct ledger *l = open_on(true, false);
	char key[32];
	ck_assert_int_eq(put(l, "stays", "there"), 0);
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(key, sizeof(key), "key%u", i);
		ck_assert_int_eq(put(l, key, "value"), 0);
		ck_assert_int_eq(ledger_sync(l), 0);
		ck_assert_int_eq(drop(l, key), 0);
		if (i % 3)
			ck_assert_int_eq(ledger_sync(l), 0);
	}
	unsigned held = 0;
	for (size_t i = 0; i < l->nbuckets; i++)
		for (struct record *e = l->buckets[i]; e; e = e->next)
			held++;
	ck_assert_uint_lt(held, 400); /* of half a ring at most */
	ck_assert_int_eq(ledger_sync(l), 0);
	ledger_abandon(l);
	l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, 1);
	is(l, "stays", "there");
	ledger_abandon(l);
}

/* ---- callers at once ---- */

static unsigned waiting;

static void sync_task(void *arg)
{
	char key[32];
	snprintf(key, sizeof(key), "caller%u", waiting++);
	ck_assert_int_eq(put(arg, key, "x"), 0);
	ck_assert_int_eq(ledger_sync(arg), 0);
	waiting--;
}

static void fail_task(void *arg)
{
	waiting++;
	ck_assert_int_eq(ledger_sync(arg), -EIO);
	waiting--;
}

static void run_callers(struct ledger *l, task_fn *fn)
{
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(task_start(fn, l), 0);
	do
		env_sleep_ns(sim_env(sim), NS_PER_MS);
	while (waiting);
}

TASK_TEST(callers_share_a_write)
{
	struct ledger *l = open_on(true, false);
	uint64_t frames = stats(l).frames;
	run_callers(l, sync_task);
	ck_assert_uint_le(stats(l).frames, frames + 2);
	/* And a failure. */
	faults(0, 1000000, false);
	uint64_t rounds = stats(l).rounds;
	ck_assert_int_eq(put(l, "a", "1"), 0);
	run_callers(l, fail_task);
	ck_assert_uint_le(stats(l).rounds, rounds + 2);
	ledger_abandon(l);
}

/* ---- regions ---- */

static char told[256];

static void tell(void *arg, const char *service)
{
	strcat(told, service);
	strcat(told, " ");
}

TASK_TEST(regions_are_claimed_by_name)
{
	struct piv_header h;
	struct ledger *l;
	char name[16];
	ck_assert_int_eq(piv_header_read(volumes[0], &h), 0);
	ck_assert_uint_eq(h.regions, 2);
	for (unsigned i = 0; i < 3; i++) {
		struct ledger_opts o = opts(true, false);
		snprintf(name, sizeof(name), "nas%u", i);
		o.service = name;
		int rc = ledger_open(&l, &o);
		ck_assert_int_eq(rc, i < h.regions ? 0 : -ENOSPC);
		if (rc)
			continue;
		ck_assert_int_eq(put(l, "me", name), 0);
		ck_assert_int_eq(ledger_close(l), 0);
	}
	ck_assert_int_eq(ledger_services(volumes[0], volumes[1], tell, NULL), 0);
	ck_assert(strstr(told, "nas0 ") && strstr(told, "nas1 "));
	ck_assert_uint_eq(strlen(told), 10);
	/* One gives its region to another, which finds nothing in it. */
	ck_assert_int_eq(ledger_remove(volumes[0], volumes[1], "nas0"), 0);
	struct ledger_opts o = opts(true, false);
	o.service = "nas2";
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	is(l, "me", NULL);
	ck_assert_int_eq(ledger_close(l), 0);
	l = open_on(true, false);
	is(l, "me", "nas1");
	ledger_abandon(l);
	/* A claim that cannot be read is in its second copy. */
	struct piv_area a = piv_regions(&h);
	struct piv_found f;
	ck_assert_int_eq(piv_claim_find(volumes[0], &a, "nas1", &f), 0);
	damage(sim_disk_bytes(disks[0]) + piv_area_off(&a, f.index));
	l = open_on(true, false);
	is(l, "me", "nas1");
	ledger_abandon(l);
	/* Both lost: it is not begun anew without a word. */
	damage(sim_disk_bytes(disks[0]) + piv_area_off(&a, f.index) + PIV_BLOCK);
	ck_assert_int_eq(open_rc(true, false), -ERR_CORRUPT);
}

static void one_record_task(void *arg)
{
	struct ledger *l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, arg != NULL);
	ck_assert_int_eq(put(l, "a", "1"), 0);
	ck_assert_int_eq(ledger_close(l), 0);
}

static void killed_task(void *arg)
{
	ck_assert_int_ne(open_rc(true, false), 0);
}

/* One is killed while it claims: what it wrote is stable before the next one relies on it. */
START_TEST(a_claim_outlives_who_wrote_it)
{
	for (seed = 1; seed <= 16; seed++) {
		teardown();
		setup();
		sim_power_off_at_write(sim, 1 + seed % 2);
		ck_assert_int_eq(sim_run(sim, killed_task, NULL), 0);
		sim_power_on(sim, SIM_KILL, 0);
		ck_assert_int_eq(sim_run(sim, one_record_task, NULL), 0);
		sim_power_off(sim);
		sim_power_on(sim, SIM_LOSE_ALL, 0);
		ck_assert_int_eq(sim_run(sim, one_record_task, sim), 0);
	}
}
END_TEST

TASK_TEST(volumes_are_divided)
{
	static const struct {
		uint64_t mib;
		struct piv_header h;
	} cases[] = {
	    {2, {5, 16, 31, 0, 0}},	      {4, {5, 16, 31, 2, 260}},
	    {64, {5, 16, 511, 16, 512}},      {128, {5, 16, 1023, 16, 1024}},
	    {1024, {5, 16, 1024, 16, 15359}}, {4096, {5, 16, 1024, 16, 16384}},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t size = volumes[0]->size;
		struct piv_header h;
		volumes[0]->size = cases[i].mib << 20;
		ck_assert_int_eq(piv_format(volumes[0], 5, &h), 0);
		ck_assert_mem_eq(&h, &cases[i].h, sizeof(h));
		ck_assert_int_eq(piv_header_read(volumes[0], &h), 0);
		ck_assert_mem_eq(&h, &cases[i].h, sizeof(h));
		volumes[0]->size = size;
	}
	/* Without regions, as older ones are: a head keeps its slot there, a service nothing. */
	struct piv_header h = {.group_id = 5, .slots = 16, .slot_blocks = 31};
	struct piv_opts po = {.env = sim_env(sim), .main = volumes[0], .group_id = 5, .head = "h1"};
	struct piv *p;
	ck_assert_int_eq(piv_header_write(volumes[0], &h), 0);
	ck_assert_int_eq(open_rc(true, false), -ENODEV);
	ck_assert_int_eq(piv_open(&p, &po), 0);
	piv_close(p);
}

/* A new main volume gets the ledger of the backup as it gets the slots. */
TASK_TEST(a_new_volume_is_filled)
{
	struct piv_opts po = {.env = sim_env(sim),
			      .main = volumes[0],
			      .backup = volumes[1],
			      .group_id = 5,
			      .head = "h1"};
	struct ledger *l = open_on(false, true);
	struct piv *p;
	write_some(l, 20);
	ledger_abandon(l);
	memset(sim_disk_bytes(disks[0]), 0, VOLUME);
	sim_disk_bytes_changed(disks[0], 0, VOLUME);
	ck_assert_int_eq(open_rc(true, false), -ENODEV); /* not made behind the PIV's back */
	ck_assert_int_eq(piv_open(&p, &po), 0);
	l = open_on(true, false);
	ck_assert_uint_eq(stats(l).records, 20);
	ledger_abandon(l);
	piv_close(p);
}

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tc = tcase_create("ledger");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, records_are_put_and_dropped);
	tcase_add_test(tc, a_full_ring_never_stops);
	tcase_add_test(tc, what_is_dropped_takes_no_room);
	tcase_add_test(tc, callers_share_a_write);
	tcase_add_test(tc, regions_are_claimed_by_name);
	tcase_add_test(tc, a_claim_outlives_who_wrote_it);
	tcase_add_test(tc, volumes_are_divided);
	tcase_add_test(tc, a_new_volume_is_filled);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
