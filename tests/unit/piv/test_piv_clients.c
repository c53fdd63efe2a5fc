/* Clients that a head keeps: those that may hold locks, those lately seen; waiting for a write. */
#include "tests/unit/piv/piv_rig.h"

/* Clients with locks and the state number: over a kill and an end in order. */
static void monitored_task(void *arg)
{
	struct piv *a;
	unsigned n;
	char name[32];
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	ck_assert_uint_eq(piv_nsm_state(a), 0);
	piv_set_nsm_state(a, 41);
	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		ck_assert_int_eq(piv_monitor(a, name, "10.0.0.1", false), 0);
	}
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert_int_eq(piv_monitor(a, "client7", "10.0.0.1", true), 0);
	ck_assert_int_eq(piv_monitor(a, "client7", "10.0.0.2", true), 0); /* never was */
	ck_assert_int_eq(piv_sync(a), 0);
	piv_abandon(a); /* killed */
	ck_assert_int_eq(open_as("h1", 12, &a), 0);
	ck_assert_uint_eq(piv_nsm_state(a), 41);
	const struct piv_monitor *m = piv_monitors(a, &n);
	ck_assert_uint_eq(n, 399);
	for (unsigned i = 0; i < n; i++)
		ck_assert_str_ne(m[i].name, "client7");
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(piv_tick(a), 0);
	piv_set_nsm_state(a, 42);
	piv_close(a);
	ck_assert_int_eq(open_as("h1", 13, &a), 0);
	ck_assert_uint_eq(piv_nsm_state(a), 42);
	piv_monitors(a, &n);
	ck_assert_uint_eq(n, 399);
	for (unsigned i = n; i < PIV_MONITORS_MAX; i++) {
		snprintf(name, sizeof(name), "more%u", i);
		ck_assert_int_eq(piv_monitor(a, name, "10.0.0.1", false), 0);
	}
	ck_assert_int_eq(piv_monitor(a, "too many", "10.0.0.1", false), -ENOSPC);
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert(!piv_on_backup(a));
	piv_close(a);
}

START_TEST(clients_with_locks_are_kept)
{
	ck_assert_int_eq(sim_run(sim, monitored_task, NULL), 0);
}
END_TEST

/* As many as the slot has room for, with names as long as they get, and clients beside them. */
static void long_names_task(void *arg)
{
	struct piv *a;
	unsigned n, kept = 0;
	char name[PIV_TEXT_MAX + 1];
	int rc = 0;
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	for (unsigned i = 0; i < PIV_CLIENTS_MAX; i++) {
		snprintf(name, sizeof(name), "%0200u", i);
		piv_client_seen(a, name, "/export");
	}
	for (unsigned i = 0; i < PIV_MONITORS_MAX && !rc; i++, kept += !rc) {
		snprintf(name, sizeof(name), "%0255u", i);
		rc = piv_monitor(a, name, "2001:db8:1234:5678:9abc:def0:1234:5678", false);
	}
	ck_assert_int_eq(rc, -ENOSPC);
	ck_assert_uint_gt(kept, 1000);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(piv_tick(a), 0);
	ck_assert(!piv_on_backup(a));
	piv_abandon(a);
	ck_assert_int_eq(open_as("h1", 12, &a), 0);
	piv_monitors(a, &n);
	ck_assert_uint_eq(n, kept);
	ck_assert_int_eq(piv_monitor(a, name, "::1", false), -ENOSPC);
	snprintf(name, sizeof(name), "%0255u", 1);
	ck_assert_int_eq(piv_monitor(a, name, "2001:db8:1234:5678:9abc:def0:1234:5678", true), 0);
	ck_assert_int_eq(piv_monitor(a, name, "::1", false), 0);
	ck_assert_int_eq(piv_sync(a), 0);
	piv_close(a);
}

START_TEST(no_more_clients_than_the_slot_holds)
{
	ck_assert_int_eq(sim_run(sim, long_names_task, NULL), 0);
}
END_TEST

/* More clients than the list has room for do not take turns in it. */
static void many_clients_task(void *arg)
{
	struct piv_state *s;
	struct piv *a;
	char name[32];
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 2 * PIV_CLIENTS_MAX; i++) {
			snprintf(name, sizeof(name), "10.0.%u.%u", i / 256, i % 256);
			piv_client_seen(a, name, "/export");
		}
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->heads[0].nclients, PIV_CLIENTS_MAX);
	ck_assert_str_eq(s->heads[0].clients[0].address, "10.0.0.0");
	piv_state_free(s);
	env_sleep_ns(sim_env(sim), 70 * NS_PER_S);
	piv_client_seen(a, "10.0.255.255", "/export"); /* one of them was not seen for a minute */
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->heads[0].nclients, PIV_CLIENTS_MAX);
	ck_assert_str_eq(s->heads[0].clients[0].address, "10.0.255.255");
	piv_state_free(s);
	piv_close(a);
}

START_TEST(more_clients_than_are_listed)
{
	ck_assert_int_eq(sim_run(sim, many_clients_task, NULL), 0);
}
END_TEST

/* The backup's slots are smaller, and hold less than is kept. */
static void smaller_backup_task(void *arg)
{
	struct sim_disk_faults f;
	struct piv *a;
	unsigned n;
	char name[32];
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		ck_assert_int_eq(piv_monitor(a, name, "10.0.0.1", false), 0);
	}
	ck_assert_int_eq(piv_sync(a), 0);
	sim_disk_get_faults(main_disk, &f);
	f.dead = true;
	sim_disk_set_faults(main_disk, &f);
	ck_assert_int_eq(piv_tick(a), 0);
	ck_assert(piv_on_backup(a));
	/* One more finds no room; one that is kept stays, however often it is told. */
	ck_assert_int_eq(piv_monitor(a, "one more", "10.0.0.1", false), -ENOSPC);
	ck_assert_int_eq(piv_monitor(a, "client7", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(a), 0);
	piv_monitors(a, &n);
	ck_assert_uint_eq(n, 2000);
	ck_assert_int_eq(piv_monitor(a, "client7", "10.0.0.1", true), 0);
	piv_monitors(a, &n);
	ck_assert_uint_eq(n, 1999);
	piv_abandon(a);
}

START_TEST(clients_stay_on_a_smaller_volume)
{
	bdev_close(backup_bdev);
	backup_disk = sim_disk_new(sim, "piv-small", VOLUME);
	backup_bdev = sim_disk_open(backup_disk);
	ck_assert_int_eq(sim_run(sim, smaller_backup_task, NULL), 0);
}
END_TEST

/* Many that wait share a write. */
static unsigned syncs;

static void sync_task(void *arg)
{
	char name[32];
	snprintf(name, sizeof(name), "client%u", syncs++);
	ck_assert_int_eq(piv_monitor(arg, name, "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(arg), 0);
	syncs--;
}

static void shared_syncs_task(void *arg)
{
	struct piv_state *s;
	struct piv *a;
	ck_assert_int_eq(open_as("h1", 11, &a), 0);
	ck_assert_int_eq(piv_sync(a), 0);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	uint64_t seq = s->heads[0].seq;
	piv_state_free(s);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(task_start(sync_task, a), 0);
	do
		env_sleep_ns(sim_env(sim), NS_PER_MS);
	while (syncs);
	ck_assert_int_eq(piv_state_read(main_bdev, NULL, &s), 0);
	ck_assert_uint_eq(s->heads[0].nmonitors, 100);
	ck_assert_uint_le(s->heads[0].seq, seq + 3);
	piv_state_free(s);
	piv_abandon(a);
}

START_TEST(syncs_share_a_write)
{
	ck_assert_int_eq(sim_run(sim, shared_syncs_task, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("piv_clients");
	TCase *tc = tcase_create("clients");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup_large, teardown);
	tcase_add_test(tc, clients_with_locks_are_kept);
	tcase_add_test(tc, no_more_clients_than_the_slot_holds);
	tcase_add_test(tc, clients_stay_on_a_smaller_volume);
	tcase_add_test(tc, more_clients_than_are_listed);
	tcase_add_test(tc, syncs_share_a_write);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
