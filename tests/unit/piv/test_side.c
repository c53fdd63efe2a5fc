/* The PIV and the ledger of a head live on the same volume: failing, moving, going back. */
#include "nasfront/piv/piv.h"
#include "runtime/bdev.h"
#include "runtime/crc32c.h"
#include "tests/unit/piv/ledger_rig.h"

/* A head: its slot and its ledger, and what it told the controllers. */
struct member {
	struct piv *piv;
	struct ledger *ledger;
	bool refused; /* the controllers do not take the word */
	unsigned leaving, moved;
};

static int on_leaving(void *arg)
{
	struct member *m = arg;
	m->leaving++;
	return m->refused ? -ERR_DISCONNECTED : 0;
}

static void on_moved(void *arg)
{
	struct member *m = arg;
	m->moved++;
}

static bool on_backup(void *arg)
{
	struct member *m = arg;
	return piv_on_backup(m->piv);
}

static int leave(void *arg, bool backup, int why)
{
	struct member *m = arg;
	return piv_leave(m->piv, backup, why);
}

static int member_open(struct member *m, const char *name, struct bdev *main)
{
	struct piv_opts p = {.env = sim_env(sim),
			     .main = main,
			     .backup = volumes[1],
			     .group_id = 5,
			     .head = name,
			     .instance = 11,
			     .main_id = 3,
			     .leaving = on_leaving,
			     .moved = on_moved,
			     .arg = m};
	struct ledger_opts o = {.env = sim_env(sim),
				.main = main,
				.backup = volumes[1],
				.group_id = 5,
				.service = name,
				.on_backup = on_backup,
				.leave = leave,
				.side_arg = m};
	*m = (struct member){.refused = m->refused};
	int rc = piv_open(&m->piv, &p);
	if (rc == 0 && (rc = ledger_open(&m->ledger, &o)))
		piv_abandon(m->piv);
	return rc;
}

static void member_die(struct member *m)
{
	ledger_abandon(m->ledger);
	piv_abandon(m->piv);
}

static void both_on(struct member *m, bool backup)
{
	ck_assert_int_eq(piv_on_backup(m->piv), backup);
	ck_assert_int_eq(stats(m->ledger).on_backup, backup);
}

static void disk_control_backs_up(void)
{
	memcpy(sim_disk_bytes(disks[1]), sim_disk_bytes(disks[0]), VOLUME);
	sim_disk_bytes_changed(disks[1], 0, VOLUME);
}

static void blank(unsigned i)
{
	memset(sim_disk_bytes(disks[i]), 0, VOLUME);
	sim_disk_bytes_changed(disks[i], 0, VOLUME);
}

static void flushes_fail(unsigned i, bool fail)
{
	struct sim_disk_faults f;
	sim_disk_get_faults(disks[i], &f);
	f.flush_error_ppm = fail ? 1000000 : 0;
	sim_disk_set_faults(disks[i], &f);
}

static int settle(void *arg)
{
	return *(int *)arg;
}

/* As head_side.c does. */
static int go_back(struct member *m, int settled)
{
	int rc = piv_prepare_main(m->piv);
	if (rc)
		return rc;
	ledger_set_continuous(m->ledger, true);
	rc = ledger_sync(m->ledger);
	if (rc == 0)
		rc = stats(m->ledger).both ? piv_return(m->piv, settle, &settled) : -EIO;
	ledger_set_continuous(m->ledger, false);
	int second = ledger_sync(m->ledger);
	return rc ? rc : second;
}

/* ---- a volume fails ---- */

/* i 0: the ledger finds it, 1: the PIV does, 2: by a flush. */
static void fails_task(void *arg)
{
	int i = *(int *)arg;
	struct member m = {0};
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	ck_assert_int_eq(put(m.ledger, "lock", "held"), 0);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	ck_assert_int_eq(piv_monitor(m.piv, "client", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(m.piv), 0);
	both_on(&m, false);
	if (i == 2)
		flushes_fail(0, true);
	else
		faults(0, 1000000, false);
	if (i == 0) {
		ck_assert_int_eq(put(m.ledger, "more", "1"), 0);
		ck_assert_int_eq(ledger_sync(m.ledger), 0);
	} else {
		ck_assert_int_eq(piv_monitor(m.piv, "other", "10.0.0.2", false), 0);
		ck_assert_int_eq(piv_sync(m.piv), 0);
		ck_assert_uint_eq(m.moved, 1);
		ck_assert_int_eq(ledger_sync(m.ledger), 0); /* nothing changed, it follows */
	}
	both_on(&m, true);
	ck_assert_uint_eq(m.leaving, 1);
	member_die(&m);
	faults(0, 0, true);
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	both_on(&m, true);
	is(m.ledger, "lock", "held");
	is(m.ledger, "more", i ? NULL : "1");
	unsigned n;
	piv_monitors(m.piv, &n);
	ck_assert_uint_eq(n, i ? 2 : 1);
	member_die(&m);
}

START_TEST(both_leave_a_volume_that_fails)
{
	ck_assert_int_eq(sim_run(sim, fails_task, &_i), 0);
}
END_TEST

/* A backup made by the disk control lies where the ledger was when it was opened. */
TASK_TEST(the_backup_is_looked_at_anew)
{
	struct member m = {0};
	struct ledger *l = open_on(false, true); /* so the regions differ */
	write_some(l, 30);
	ledger_abandon(l);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
		write_some(m.ledger, 40);
		ck_assert_int_eq(piv_sync(m.piv), 0);
		disk_control_backs_up();
		ck_assert_int_eq(put(m.ledger, "young", &"yes, too"[i]), 0);
		ck_assert_int_eq(ledger_sync(m.ledger), 0);
		faults(0, 0, true);
		ck_assert_int_eq(put(m.ledger, "last", &"of all"[i]), 0);
		ck_assert_int_eq(ledger_sync(m.ledger), 0);
		both_on(&m, true);
		member_die(&m);
		ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
		is(m.ledger, "young", &"yes, too"[i]);
		is(m.ledger, "last", &"of all"[i]);
		ck_assert_uint_eq(stats(m.ledger).records, 42);
		faults(0, 0, false);
		ck_assert_int_eq(go_back(&m, 0), 0);
		both_on(&m, false);
		member_die(&m);
	}
}

/* Nothing is written to the backup before the controllers know. */
TASK_TEST(without_leave_nothing_moves)
{
	struct member m = {.refused = true};
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	faults(0, 1000000, false);
	uint32_t before = crc32c(sim_disk_bytes(disks[1]), VOLUME);
	ck_assert_int_eq(put(m.ledger, "a", "1"), 0);
	ck_assert_int_ne(ledger_sync(m.ledger), 0);
	ck_assert_int_ne(piv_tick(m.piv), 0);
	ck_assert(!piv_on_backup(m.piv) && stats(m.ledger).failing);
	ck_assert_uint_eq(before, crc32c(sim_disk_bytes(disks[1]), VOLUME));
	m.refused = false;
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	both_on(&m, true);
	member_die(&m);
}

/* Both volumes fail: nothing counts as stable, also at the close; then one comes back. */
TASK_TEST(a_sync_and_a_close_that_fail)
{
	struct member m = {0};
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	ck_assert_int_eq(put(m.ledger, "a", "1"), 0);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	for (unsigned i = 0; i < 2; i++)
		faults(i, 1000000, false);
	ck_assert_int_eq(put(m.ledger, "b", "2"), 0);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(ledger_sync(m.ledger), -EIO);
	ck_assert(stats(m.ledger).failing);
	ck_assert_int_eq(ledger_close(m.ledger), -EIO);
	piv_close(m.piv);
	for (unsigned i = 0; i < 2; i++)
		faults(i, 0, false);
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	is(m.ledger, "a", "1");
	ck_assert_int_eq(put(m.ledger, "c", "3"), 0);
	for (unsigned i = 0; i < 2; i++)
		faults(i, 1000000, false);
	ck_assert_int_eq(ledger_sync(m.ledger), -EIO);
	faults(1, 0, false);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	both_on(&m, true);
	ck_assert_int_eq(ledger_close(m.ledger), 0);
	piv_close(m.piv);
	faults(0, 0, false);
}

/* The backup cannot be read when it is to be used: there is nowhere to go. */
TASK_TEST(a_backup_that_cannot_be_read)
{
	struct member m = {0};
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	struct sim_disk_faults f;
	sim_disk_get_faults(disks[1], &f);
	f.read_error_ppm = 1000000;
	sim_disk_set_faults(disks[1], &f);
	faults(0, 1000000, false);
	ck_assert_int_eq(put(m.ledger, "a", "1"), 0);
	ck_assert_int_ne(ledger_sync(m.ledger), 0);
	f.read_error_ppm = 0;
	sim_disk_set_faults(disks[1], &f);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	both_on(&m, true);
	member_die(&m);
}

/* ---- a new volume ---- */

TASK_TEST(a_new_main_volume_takes_over)
{
	struct member m = {0}, dead = {0};
	ck_assert_int_eq(member_open(&dead, "nas2", volumes[0]), 0);
	ck_assert_int_eq(piv_monitor(dead.piv, "client2", "10.0.0.2", false), 0);
	ck_assert_int_eq(piv_sync(dead.piv), 0);
	ck_assert_int_eq(put(dead.ledger, "lock2", "held"), 0);
	ck_assert_int_eq(ledger_sync(dead.ledger), 0);
	member_die(&dead);
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	ck_assert_int_eq(piv_monitor(m.piv, "client1", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(m.piv), 0);
	write_some(m.ledger, 10);
	disk_control_backs_up();
	faults(0, 0, true);
	ck_assert_int_eq(put(m.ledger, "lock1", "held"), 0);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	ck_assert_int_eq(piv_set_main(m.piv, volumes[0], 4), 0);
	ck_assert_int_eq(ledger_set_main(m.ledger, volumes[0]), 0);
	ck_assert_int_ne(go_back(&m, 0), 0); /* it is dead */
	both_on(&m, true);
	blank(0);
	faults(0, 0, false);
	/* The word that it is there is not taken: nothing has changed. */
	ck_assert_int_eq(go_back(&m, -ERR_DISCONNECTED), -ERR_DISCONNECTED);
	both_on(&m, true);
	ck_assert_int_eq(go_back(&m, 0), 0);
	both_on(&m, false);
	ck_assert_int_eq(piv_set_main(m.piv, volumes[0], 5), -EBUSY);
	ck_assert_int_eq(ledger_set_main(m.ledger, volumes[0]), -EBUSY);
	ck_assert_int_eq(put(m.ledger, "after", "it"), 0);
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	member_die(&m);
	faults(1, 0, true);
	struct piv_left left;
	unsigned n;
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	is(m.ledger, "lock1", "held");
	is(m.ledger, "after", "it");
	piv_monitors(m.piv, &n);
	ck_assert_uint_eq(n, 1);
	piv_get_left(m.piv, &left);
	ck_assert_uint_eq(left.main_id, 4);
	ck_assert_int_eq(left.main_rc, 0);
	ck_assert_int_eq(left.backup_rc, -EIO);
	member_die(&m);
	/* Of who was dead it has what the backup had, as of the old volume. */
	ck_assert_int_eq(member_open(&dead, "nas2", volumes[0]), 0);
	is(dead.ledger, "lock2", "held");
	piv_monitors(dead.piv, &n);
	ck_assert_uint_eq(n, 1);
	piv_get_left(dead.piv, &left);
	ck_assert_uint_eq(left.main_id, 3);
	member_die(&dead);
}

/* ---- the end at any write ---- */

struct story {
	char promised[16]; /* the last value that was stable */
	bool begun;
	bool filled; /* a new main volume was begun */
};

static bool promise(struct member *m, struct story *s, const char *value)
{
	if (put(m->ledger, "key", value) || ledger_sync(m->ledger) ||
	    piv_monitor(m->piv, value, "10.0.0.1", false) || piv_sync(m->piv))
		return false;
	snprintf(s->promised, sizeof(s->promised), "%s", value);
	return true;
}

static void story_task(void *arg)
{
	struct story *s = arg;
	struct member m = {0};
	if (member_open(&m, "nas1", volumes[0]))
		return;
	s->begun = true;
	if (promise(&m, s, "1")) {
		faults(0, 0, true);
		if (promise(&m, s, "2")) {
			blank(0);
			faults(0, 0, false);
			s->filled = true;
			if (go_back(&m, 0) == 0 && promise(&m, s, "3"))
				both_on(&m, false);
		}
	}
	member_die(&m);
}

static void check_task(void *arg)
{
	struct story *s = arg;
	struct member m = {0};
	size_t len;
	ck_assert_int_eq(member_open(&m, "nas1", volumes[0]), 0);
	const char *v = ledger_get(m.ledger, "key", 3, &len);
	unsigned n, found = 0;
	const struct piv_monitor *list = piv_monitors(m.piv, &n);
	for (unsigned i = 0; i < n; i++)
		found += strcmp(list[i].name, s->promised) == 0;
	if (s->promised[0]) {
		ck_assert_ptr_nonnull(v);
		ck_assert_int_ge(v[0], s->promised[0]);
		ck_assert_uint_eq(found, 1);
	}
	both_on(&m, false);
	member_die(&m);
}

START_TEST(a_crash_at_any_write_keeps_what_was_promised)
{
	bool ended = false;
	for (uint64_t nth = 1; nth < 400 && !ended; nth++) {
		struct story s = {0};
		teardown();
		seed = 7 + nth;
		setup();
		sim_power_off_at_write(sim, nth);
		ck_assert_int_eq(sim_run(sim, story_task, &s), 0);
		ended = !sim_power_is_off(sim);
		sim_power_off_at_write(sim, 0);
		if (!sim_power_is_off(sim))
			sim_power_off(sim);
		sim_run_for(sim, NS_PER_S);
		sim_power_on(sim, nth % 2 ? SIM_LOSE_ALL : SIM_LOSE_RANDOM, 0);
		faults(0, 0, false);
		ck_assert_int_eq(sim_run(sim, check_task, &s), 0);
	}
	ck_assert(ended);
}
END_TEST

/* ---- written along ---- */

static int lost_rc;
static unsigned losses;

static int on_lost(void *arg, int why)
{
	losses++;
	if (lost_rc == 0)
		piv_twin_set(*(struct bdev **)arg, false);
	return lost_rc;
}

/* Main volume dead: all is on the backup, byte for byte, with no move before. */
TASK_TEST(what_is_written_along_is_on_the_backup)
{
	struct bdev *twin, *dead = sim_disk_open(disks[0]);
	struct member m = {0};
	lost_rc = 0;
	losses = 0;
	ck_assert_int_eq(piv_twin_new(&twin, dead, volumes[1], on_lost, &twin), 0);
	ck_assert_int_eq(member_open(&m, "nas1", twin), 0);
	write_some(m.ledger, 5);
	piv_twin_set(twin, true);
	disk_control_backs_up();
	write_some(m.ledger, 15);
	ck_assert_int_eq(piv_monitor(m.piv, "client", "10.0.0.1", false), 0);
	ck_assert_int_eq(piv_sync(m.piv), 0);
	ck_assert_mem_eq(sim_disk_bytes(disks[0]), sim_disk_bytes(disks[1]), VOLUME);
	member_die(&m);
	struct ledger_stats s;
	faults(0, 0, true);
	ck_assert_int_eq(member_open(&m, "nas1", twin), 0);
	ledger_get_stats(m.ledger, &s);
	ck_assert_uint_eq(s.records, 15);
	ck_assert(s.unsure_main && !s.unsure_backup);
	member_die(&m);
	bdev_close(twin);
}

TASK_TEST(a_backup_that_fails_is_left_out)
{
	struct bdev *twin, *main = sim_disk_open(disks[0]);
	struct member m = {0};
	lost_rc = -ERR_DISCONNECTED;
	losses = 0;
	ck_assert_int_eq(piv_twin_new(&twin, main, volumes[1], on_lost, &twin), 0);
	ck_assert_int_eq(member_open(&m, "nas1", twin), 0);
	piv_twin_set(twin, true);
	faults(1, 1000000, false);
	/* As long as the controllers are not told nothing is promised. */
	ck_assert_int_eq(put(m.ledger, "a", "1"), 0);
	ck_assert_int_ne(ledger_sync(m.ledger), 0);
	ck_assert_uint_gt(losses, 0);
	lost_rc = 0;
	ck_assert_int_eq(ledger_sync(m.ledger), 0);
	ck_assert(!piv_twin_is_on(twin));
	both_on(&m, false);
	ck_assert_int_eq(piv_sync(m.piv), 0);
	member_die(&m);
	bdev_close(twin);
	faults(1, 0, false);
}

int main(void)
{
	Suite *suite = suite_create("side");
	TCase *tc = tcase_create("side");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, both_leave_a_volume_that_fails, 0, 3);
	tcase_add_test(tc, the_backup_is_looked_at_anew);
	tcase_add_test(tc, without_leave_nothing_moves);
	tcase_add_test(tc, a_sync_and_a_close_that_fail);
	tcase_add_test(tc, a_backup_that_cannot_be_read);
	tcase_add_test(tc, a_new_main_volume_takes_over);
	tcase_add_test(tc, a_crash_at_any_write_keeps_what_was_promised);
	tcase_add_test(tc, what_is_written_along_is_on_the_backup);
	tcase_add_test(tc, a_backup_that_fails_is_left_out);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
