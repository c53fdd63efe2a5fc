/* Processor information: what is written is read, crashes at every write, failing volumes. */
#include "tests/unit/piv/piv_rig.h"

/* ---- two heads ---- */

static void two_heads_task(void *arg)
{
	struct piv *a, *b;
	struct piv_state *s;
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	ck_assert_int_eq(open_as("h2", 22, &b), 0);
	piv_set_state(a, "up");
	piv_serves(a, "fs0", "/demo", false);
	piv_serves(a, "fs0", "/other", false);
	piv_client_seen(a, "10.0.0.9", "/demo");
	ck_assert_int_eq(piv_sync(a), 0);
	piv_serves(a, "fs0", "/other", true);
	for (int i = 0; i < 300; i++) /* several turns of both halves */
		ck_assert_int_eq(piv_tick(a), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->count, 2);
	struct piv_head *h = head_of(s, "h1");
	ck_assert_ptr_nonnull(h);
	ck_assert_uint_eq(h->instance, 11);
	ck_assert_str_eq(h->state, "up");
	ck_assert_str_eq(h->address, "192.0.2.1");
	ck_assert_uint_eq(h->lease_ns, PIV_LEASE_NS);
	ck_assert_uint_eq(h->nserves, 1);
	ck_assert_str_eq(h->serves[0].export_path, "/demo");
	ck_assert_uint_eq(h->nclients, 1);
	ck_assert_str_eq(h->clients[0].address, "10.0.0.9");
	ck_assert_str_eq(head_of(s, "h2")->state, "joining");
	ck_assert_uint_ne(h->slot, head_of(s, "h2")->slot);
	piv_state_free(s);
	piv_close(a);
	piv_close(b);
	/* The same head again: same slot, its clients kept, what it served gone. */
	ck_assert_int_eq(open_as("h1", 12, &a), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, backup_bdev, &s), 0);
	h = head_of(s, "h1");
	ck_assert_uint_eq(s->count, 2);
	ck_assert_uint_eq(h->instance, 12);
	ck_assert_uint_eq(h->nserves, 0);
	ck_assert_uint_eq(h->nclients, 1);
	ck_assert_str_eq(head_of(s, "h2")->state, "leaving");
	piv_state_free(s);
	piv_close(a);
}

/* The main volume can be read, but takes no writes when the head comes back. */
static void refused_task(void *arg)
{
	struct sim_disk_faults f;
	struct piv_state *s;
	struct piv *a;
	unsigned n;
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	piv_set_nsm_state(a, 41);
	ck_assert_int_eq(piv_monitor(a, "client", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert(!piv_on_backup(a));
	piv_abandon(a); /* killed */
	sim_disk_get_faults(main_disk, &f);
	f.write_error_ppm = 1000000;
	sim_disk_set_faults(main_disk, &f);
	ck_assert_int_eq(open_as("h1", 12, &a), 0);
	ck_assert(piv_on_backup(a));
	ck_assert_uint_eq(piv_nsm_state(a), 41);
	piv_monitors(a, &n);
	ck_assert_uint_eq(n, 1);
	/* And others take the backup's for the newer. */
	ck_assert_int_eq(piv_state_read(main_bdev, backup_bdev, &s), 0);
	ck_assert_uint_eq(s->count, 1);
	ck_assert(s->heads[0].from_backup);
	ck_assert_uint_eq(s->heads[0].instance, 12);
	ck_assert_uint_eq(s->heads[0].nmonitors, 1);
	piv_state_free(s);
	piv_abandon(a);
}

START_TEST(a_main_volume_that_takes_no_writes_is_read)
{
	ck_assert_int_eq(sim_run(sim, refused_task, NULL), 0);
}
END_TEST

/* ---- both begin at once, with a new main volume ---- */

struct beginner {
	const char *name;
	unsigned *left;
};

static void begin_task(void *arg)
{
	struct beginner *b = arg;
	struct piv *p;
	ck_assert_int_eq(open_as(b->name, 12, &p), 0);
	ck_assert(!piv_on_backup(p));
	ck_assert_int_eq(piv_monitor(p, "new", "10.0.0.2", false), 0);
	ck_assert_int_eq(piv_sync(p), 0);
	piv_abandon(p);
	--*b->left;
}

static void at_once_task(void *arg)
{
	static const char *const names[] = {"h1", "h2"};
	struct beginner b[2];
	struct piv_state *s;
	struct piv *p;
	unsigned left = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct piv_opts o = {.env = sim_env(sim),
				     .backup = backup_bdev,
				     .group_id = 5,
				     .head = names[i],
				     .instance = 11};
		ck_assert_int_eq(piv_open(&p, &o), 0);
		ck_assert_int_eq(piv_monitor(p, "old", "10.0.0.1", false), 0);
		ck_assert_int_eq(piv_sync(p), 0);
		piv_abandon(p);
	}
	for (unsigned i = 0; i < 2; i++) {
		b[i] = (struct beginner){names[i], &left};
		ck_assert_int_eq(task_start(begin_task, &b[i]), 0);
	}
	while (left)
		env_sleep_ns(sim_env(sim), NS_PER_MS);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->count, 2);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(s->heads[i].nmonitors, 2);
	piv_state_free(s);
}

/* One fills the new volume: what the other writes there is not put back to what the backup has. */
START_TEST(a_new_volume_is_filled_by_one)
{
	for (unsigned seed = 100; seed < 150; seed++) {
		teardown();
		sim = sim_new(seed);
		world();
		ck_assert_int_eq(sim_run(sim, at_once_task, NULL), 0);
	}
}
END_TEST

static void dead_filler_task(void *arg)
{
	struct piv_claim c = {.instance = 77, .name = "h9"};
	struct piv_state *s;
	struct piv *p;
	struct piv_opts o = {.env = sim_env(sim),
			     .backup = backup_bdev,
			     .group_id = 5,
			     .head = "h1",
			     .instance = 11};
	ck_assert_int_eq(piv_open(&p, &o), 0);
	piv_abandon(p);
	ck_assert_int_eq(piv_claim_write_at(main_bdev, (uint64_t)PIV_FILL_BLOCK * PIV_BLOCK, &c),
			 0);
	uint64_t begun = env_now_ns(sim_env(sim));
	ck_assert_int_eq(open_as("h1", 12, &p), 0);
	ck_assert(!piv_on_backup(p));
	ck_assert_uint_ge(env_now_ns(sim_env(sim)) - begun, PIV_LEASE_NS);
	ck_assert_uint_lt(env_now_ns(sim_env(sim)) - begun, 2 * PIV_LEASE_NS);
	piv_abandon(p);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->count, 1);
	piv_state_free(s);
}

START_TEST(a_dead_head_that_filled_is_not_waited_for)
{
	ck_assert_int_eq(sim_run(sim, dead_filler_task, NULL), 0);
}
END_TEST

START_TEST(two_heads_read_each_other)
{
	ck_assert_int_eq(sim_run(sim, two_heads_task, NULL), 0);
}
END_TEST

static void heartbeat_task(void *arg)
{
	struct piv *a;
	struct piv_state *s;
	ck_assert_int_eq(open_as("h1", 1, &a), 0);
	ck_assert_int_eq(piv_start(a), 0);
	for (int i = 0; i < 5; i++) {
		env_sleep_ns(sim_env(sim), 2 * NS_PER_S);
		ck_assert_int_eq(piv_state_read(main_bdev, backup_bdev, &s), 0);
		uint64_t age = env_realtime_ns(sim_env(sim)) - s->heads[0].time_ns;
		ck_assert_uint_lt(age, PIV_LEASE_NS);
		piv_state_free(s);
	}
	piv_close(a);
}

START_TEST(heartbeat_keeps_the_lease)
{
	ck_assert_int_eq(sim_run(sim, heartbeat_task, NULL), 0);
}
END_TEST

/* ---- a crash at every write ---- */

struct crash {
	unsigned synced; /* steps that were promised */
	unsigned tried;
	bool opened;
};

/* Each step serves one more export and promises it; every 7th is a long list of clients. */
static void crash_task(void *arg)
{
	struct crash *c = arg;
	struct piv *p;
	char text[64];
	if (open_as("h1", 1, &p))
		return;
	c->opened = true;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(text, sizeof(text), "/export%u", i);
		piv_serves(p, "fs", text, false);
		for (unsigned k = 0; i % 7 == 6 && k < 40; k++) {
			snprintf(text, sizeof(text), "10.%u.0.%u", i, k);
			piv_client_seen(p, text, "/a-rather-long-export-path/that-takes-room");
		}
		c->tried = i + 1;
		if (piv_sync(p))
			break;
		c->synced = i + 1;
		if (i % 3 == 0 && piv_tick(p))
			break;
	}
	piv_abandon(p);
}

static void verify_task(void *arg)
{
	struct crash *c = arg;
	struct piv_state *s;
	char text[64];
	int rc = piv_state_read(main_bdev, NULL, &s);
	if (!c->synced && rc)
		return;
	ck_assert_int_eq(rc, 0);
	struct piv_head *h = head_of(s, "h1");
	if (c->synced)
		ck_assert_ptr_nonnull(h);
	if (h) {
		/* All that was promised, at most one step more, and in order. */
		ck_assert_uint_ge(h->nserves, c->synced);
		ck_assert_uint_le(h->nserves, c->tried);
		for (unsigned i = 0; i < h->nserves; i++) {
			snprintf(text, sizeof(text), "/export%u", i);
			ck_assert_str_eq(h->serves[i].export_path, text);
		}
	}
	piv_state_free(s);
	/* And the head comes up again on it. */
	struct piv *p;
	ck_assert_int_eq(open_as("h1", 2, &p), 0);
	piv_close(p);
}

static void crash_at(uint64_t nth, enum sim_loss how)
{
	struct crash c = {0};
	setup();
	backup_bdev->ops->close(backup_bdev);
	backup_bdev = NULL;
	sim_power_off_at_write(sim, nth);
	ck_assert_int_eq(sim_run(sim, crash_task, &c), 0);
	sim_power_off_at_write(sim, 0);
	if (!sim_power_is_off(sim))
		sim_power_off(sim);
	sim_run_for(sim, NS_PER_S);
	sim_power_on(sim, how, 0);
	ck_assert_int_eq(sim_run(sim, verify_task, &c), 0);
	backup_bdev = sim_disk_open(backup_disk);
	teardown();
}

START_TEST(a_crash_at_any_write_leaves_old_or_new)
{
	for (uint64_t nth = 1; nth < 75; nth++) {
		crash_at(nth, SIM_LOSE_ALL);
		crash_at(nth, SIM_LOSE_NONE);
		crash_at(nth, SIM_LOSE_RANDOM);
	}
}
END_TEST

/* ---- failing volumes ---- */

static void failover_task(void *arg)
{
	struct sim_disk_faults f;
	struct piv *p;
	struct piv_state *s;
	ck_assert_int_eq(open_as("h1", 1, &p), 0);
	piv_serves(p, "fs", "/one", false);
	ck_assert_int_eq(piv_sync(p), 0);
	sim_disk_get_faults(main_disk, &f);
	f.dead = true;
	sim_disk_set_faults(main_disk, &f);
	piv_serves(p, "fs", "/two", false);
	ck_assert_int_eq(piv_sync(p), 0);
	ck_assert(piv_on_backup(p));
	piv_serves(p, "fs", "/three", false);
	ck_assert_int_eq(piv_tick(p), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, backup_bdev, &s), 0);
	ck_assert_int_ne(s->main_rc, 0);
	ck_assert_uint_eq(s->count, 1);
	ck_assert(s->heads[0].from_backup);
	ck_assert_uint_eq(s->heads[0].nserves, 3);
	piv_state_free(s);
	/* The old volume returns with old content: the newer state is told. */
	f.dead = false;
	sim_disk_set_faults(main_disk, &f);
	ck_assert_int_eq(piv_tick(p), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, backup_bdev, &s), 0);
	ck_assert_uint_eq(s->count, 1);
	ck_assert(s->heads[0].from_backup);
	ck_assert_uint_eq(s->heads[0].nserves, 3);
	piv_state_free(s);
	/* Both gone: an error, then it goes on when one is back. */
	f.dead = true;
	sim_disk_set_faults(main_disk, &f);
	sim_disk_set_faults(backup_disk, &f);
	ck_assert_int_ne(piv_tick(p), 0);
	f.dead = false;
	sim_disk_set_faults(backup_disk, &f);
	ck_assert_int_eq(piv_tick(p), 0);
	piv_close(p);
}

START_TEST(a_failed_volume_is_left_for_the_backup)
{
	ck_assert_int_eq(sim_run(sim, failover_task, NULL), 0);
}
END_TEST

static void refill_task(void *arg)
{
	struct piv *p, *q;
	struct piv_state *s;
	ck_assert_int_eq(open_as("h1", 1, &p), 0);
	ck_assert_int_eq(open_as("h2", 1, &q), 0);
	piv_serves(q, "fs", "/two", false);
	piv_client_seen(p, "10.1.1.1", "/demo");
	ck_assert_int_eq(piv_sync(q), 0);
	ck_assert_int_eq(piv_sync(p), 0);
	piv_abandon(p);
	piv_abandon(q);
	/* What the disk control's backup does; then a new, blank PIV. */
	memcpy(sim_disk_bytes(backup_disk), sim_disk_bytes(main_disk), VOLUME);
	sim_disk_bytes_changed(backup_disk, 0, VOLUME);
	memset(sim_disk_bytes(main_disk), 0, VOLUME);
	sim_disk_bytes_changed(main_disk, 0, VOLUME);
	ck_assert_int_eq(open_as("h1", 2, &p), 0);
	ck_assert(!piv_on_backup(p));
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->count, 2);
	ck_assert_uint_eq(head_of(s, "h1")->nclients, 1);
	ck_assert_uint_eq(head_of(s, "h2")->nserves, 1);
	piv_state_free(s);
	piv_close(p);
}

START_TEST(a_new_volume_is_filled_from_the_backup)
{
	ck_assert_int_eq(sim_run(sim, refill_task, NULL), 0);
}
END_TEST

/* i 0: a block of the backup cannot be read, 1: none can. */
static void unreadable_task(void *arg)
{
	int i = *(int *)arg;
	struct sim_disk_faults f;
	struct piv_header h;
	struct piv *p;
	unsigned n;
	ck_assert_int_eq(open_as("h1", 1, &p), 0);
	ck_assert_int_eq(piv_monitor(p, "client", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(p), 0);
	piv_abandon(p);
	memcpy(sim_disk_bytes(backup_disk), sim_disk_bytes(main_disk), VOLUME);
	sim_disk_bytes_changed(backup_disk, 0, VOLUME);
	memset(sim_disk_bytes(main_disk), 0, VOLUME);
	sim_disk_bytes_changed(main_disk, 0, VOLUME);
	sim_disk_get_faults(backup_disk, &f);
	if (i == 0) {
		ck_assert_int_eq(piv_header_read(backup_bdev, &h), 0);
		sim_disk_bad_range(backup_disk, (piv_blocks(&h) - 1) * PIV_BLOCK, PIV_BLOCK);
		ck_assert_int_eq(open_as("h1", 2, &p), 0);
		ck_assert(piv_on_backup(p));
		piv_monitors(p, &n);
		ck_assert_uint_eq(n, 1);
		ck_assert_int_ne(piv_prepare_main(p), 0);
		piv_abandon(p);
	} else {
		f.read_error_ppm = 1000000;
		sim_disk_set_faults(backup_disk, &f);
		ck_assert_int_ne(open_as("h1", 2, &p), 0);
		f.read_error_ppm = 0;
		sim_disk_set_faults(backup_disk, &f);
	}
	ck_assert_int_eq(piv_header_read(main_bdev, &h), -ENODATA);
	if (i == 0)
		return;
	ck_assert_int_eq(open_as("h1", 3, &p), 0);
	ck_assert(!piv_on_backup(p));
	piv_monitors(p, &n);
	ck_assert_uint_eq(n, 1);
	piv_abandon(p);
}

/* It stays blank: what the backup has can still be had. */
START_TEST(a_backup_that_cannot_be_read_leaves_a_new_volume_blank)
{
	ck_assert_int_eq(sim_run(sim, unreadable_task, &_i), 0);
}
END_TEST

static void slots_task(void *arg)
{
	struct piv *p[PIV_SLOTS + 1];
	char name[16];
	for (int i = 0; i < PIV_SLOTS; i++) {
		snprintf(name, sizeof(name), "head%d", i);
		ck_assert_int_eq(open_as(name, 1, &p[i]), 0);
	}
	/* Another head finds no slot, on the backup one. */
	ck_assert_int_eq(open_as("more", 1, &p[PIV_SLOTS]), 0);
	ck_assert(piv_on_backup(p[PIV_SLOTS]));
	for (int i = 0; i <= PIV_SLOTS; i++)
		piv_close(p[i]);
	struct piv_opts o = {.env = sim_env(sim), .main = main_bdev, .group_id = 6, .head = "x"};
	ck_assert_int_eq(piv_open(&p[0], &o), -ERR_FOREIGN);
}

START_TEST(slots_are_claimed_by_name)
{
	ck_assert_int_eq(sim_run(sim, slots_task, NULL), 0);
}
END_TEST

/* Any damage is read without harm, and what is undamaged is still told. */
static void damage_task(void *arg)
{
	struct piv *a, *b;
	struct piv_state *s;
	ck_assert_int_eq(open_as("h1", 1, &a), 0);
	ck_assert_int_eq(open_as("h2", 1, &b), 0);
	piv_serves(a, "fs", "/a", false);
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert_int_eq(piv_sync(b), 0);
	piv_abandon(a);
	piv_abandon(b);
	uint8_t *bytes = sim_disk_bytes(main_disk);
	uint8_t *copy = malloc(VOLUME);
	memcpy(copy, bytes, VOLUME);
	for (int i = 0; i < 400; i++) {
		for (uint64_t n = sim_random_below(sim, 6); n-- > 0;) {
			uint64_t block = sim_random_below(sim, VOLUME / PIV_BLOCK);
			uint64_t at = block * PIV_BLOCK + sim_random_below(sim, 200);
			bytes[at] = (uint8_t)sim_random(sim);
		}
		sim_disk_bytes_changed(main_disk, 0, VOLUME);
		if (piv_state_read(main_bdev, NULL, &s) == 0)
			piv_state_free(s);
		memcpy(bytes, copy, VOLUME);
	}
	/* One slot's claim broken: the other slot is told. */
	struct piv_header h;
	ck_assert_int_eq(piv_header_read(main_bdev, &h), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	struct piv_area slots = piv_slots(&h);
	uint64_t off = piv_area_off(&slots, head_of(s, "h2")->slot);
	piv_state_free(s);
	bytes[off + 20] ^= 1;
	bytes[0] ^= 1; /* and the first header: the second is used */
	sim_disk_bytes_changed(main_disk, 0, VOLUME);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->count, 1);
	ck_assert_int_eq(s->main_rc, -ERR_CORRUPT);
	ck_assert_uint_eq(head_of(s, "h1")->nserves, 1);
	piv_state_free(s);
	free(copy);
}

START_TEST(damage_is_bounded)
{
	ck_assert_int_eq(sim_run(sim, damage_task, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("piv");
	TCase *tc = tcase_create("piv");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, two_heads_read_each_other);
	tcase_add_test(tc, a_new_volume_is_filled_by_one);
	tcase_add_test(tc, a_dead_head_that_filled_is_not_waited_for);
	tcase_add_test(tc, a_main_volume_that_takes_no_writes_is_read);
	tcase_add_test(tc, heartbeat_keeps_the_lease);
	tcase_add_test(tc, a_failed_volume_is_left_for_the_backup);
	tcase_add_test(tc, a_new_volume_is_filled_from_the_backup);
	tcase_add_loop_test(tc, a_backup_that_cannot_be_read_leaves_a_new_volume_blank, 0, 2);
	tcase_add_test(tc, slots_are_claimed_by_name);
	tcase_add_test(tc, damage_is_bounded);
	suite_add_tcase(suite, tc);
	TCase *crash = tcase_create("crash");
	tcase_set_timeout(crash, 120);
	tcase_add_test(crash, a_crash_at_any_write_leaves_old_or_new);
	suite_add_tcase(suite, crash);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
