/* Persistent reservations over restarts, loss of nexuses, and errors; and while they change. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>
#include "tests/unit/scsi/pr_script.h"

static void restart(void)
{
	run_done();
	scsi_nexus_free(fx->a);
	scsi_nexus_free(fx->b);
	scsi_nexus_free(watcher);
	scsi_registry_free(fx->registry);
	ck_assert_int_eq(scsi_registry_new(&fx->registry, fx->core), 0);
	watcher = login(TARGET, WATCHER, 1);
	fx->a = fixture_login(HOST_A);
	fx->b = fixture_login(HOST_B);
	TUR(fx->a);
	TUR(fx->b);
}

START_TEST(the_death_of_the_process_loses_nothing)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, EA);
	restart();
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), CONFLICT);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 2);
	ck_assert_int_eq(RELEASE(fx->a, KEY_A, EA), SCSI_GOOD);
}
END_TEST

/* SAM-5 6.3.4: who was there before is told of the loss, then of what it meant. */
START_TEST(keys_lost_while_away)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, WE_RO);
	fixture_logout(fx->a);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, KEY_A, WE_RO), SCSI_GOOD);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0x2907);
	expect_ua(fx->a, 0x2a05);
	ck_assert_int_eq(TUR(fx->a), SCSI_GOOD);
	/* cleared, while away */
	REGISTER(fx->a, 0, KEY_A);
	fixture_logout(fx->a);
	ck_assert_int_eq(out(fx->b, PR_CLEAR, 0, KEY_B, 0, 0), SCSI_GOOD);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0x2907);
	expect_ua(fx->a, 0x2a03);
	/* nobody took it away: it is there still */
	REGISTER(fx->a, 0, KEY_A);
	fixture_logout(fx->a);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0x2907);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, 0), SCSI_GOOD);
	/* it gave its key up itself before: nothing more to tell */
	fixture_logout(fx->a);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0x2907);
	ck_assert_int_eq(TUR(fx->a), SCSI_GOOD);
}
END_TEST

START_TEST(power_loss_keeps_what_asked_for_it)
{
	ck_assert_int_eq(out(fx->a, PR_REGISTER, 0, 0, KEY_A, APTPL), SCSI_GOOD);
	read_in(2);
	ck_assert_uint_eq(fx->in[3] & 0x01, 1);
	ck_assert_uint_eq(fx->in[4], 0xea);
	ck_assert_uint_eq(fx->in[5], 0x01);
	RESERVE(fx->a, KEY_A, WE);
	fx->core->memory_id = 2;
	restart();
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, [8] = 1), fx->in, 512), CONFLICT);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(generation(), 0);
	/* the last REGISTER decides */
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 1);
	read_in(2);
	ck_assert_uint_eq(fx->in[3] & 0x01, 0);
	fx->core->memory_id = 3;
	restart();
	ck_assert_uint_eq(keys(), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, [8] = 1), fx->in, 512), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->b, KEY_B, KEY_A), CONFLICT);
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 1);
}
END_TEST

START_TEST(what_is_not_recorded_is_not_answered)
{
	REGISTER(fx->a, 0, KEY_A);
	fx->core->meta->update_err = -EIO;
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x044400);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	fx->core->meta->update_err = -ENOSPC;
	expect_bad(REGISTER(fx->b, 0, KEY_B), FULL, -1);
	fx->core->meta->update_err = -ENOMEM;
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_BUSY);
	fx->core->meta->update_err = 0;
	fx->registry->pr_waiting = 64; /* a crowd of them */
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_BUSY);
	fx->registry->pr_waiting = 0;
	ck_assert_uint_eq(keys(), 1);
	expect_reserved(0, 0);
}
END_TEST

/* Commands on two threads while reservations come and go on a third. */
static _Atomic bool stop;

static _Atomic unsigned seen_both; /* threads that met a conflict, and none */

static void *hammer(void *arg)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	unsigned conflicts = 0, others = 0;
	bool both = false;
	while (!stop) {
		c->nexus = arg;
		c->cdb[0] = 0x28;
		c->cdb[8] = 8;
		c->cdb_len = 16;
		if (scsi_start(c) == SCSI_DONE && c->status == CONFLICT)
			conflicts++;
		else
			others++;
		scsi_release(c);
		if (!both && conflicts && others) {
			both = true;
			seen_both++;
		}
	}
	free(c);
	return NULL;
}

START_TEST(commands_run_while_reservations_change)
{
	pthread_t ta, tb;
	stop = false;
	seen_both = 0;
	pthread_create(&ta, NULL, hammer, fx->a);
	pthread_create(&tb, NULL, hammer, fx->b);
	/* On a busy machine the threads may not run for a while: until both have seen both. */
	for (int i = 0; i < 200 || (seen_both < 2 && i < 200000); i++) {
		ck_assert_int_eq(REGISTER(watcher, 0, KEY_C), SCSI_GOOD);
		ck_assert_int_eq(RESERVE(watcher, KEY_C, EA), SCSI_GOOD);
		usleep(50);
		if (i % 2)
			ck_assert_int_eq(out(watcher, PR_CLEAR, 0, KEY_C, 0, 0), SCSI_GOOD);
		else
			ck_assert_int_eq(REGISTER(watcher, KEY_C, 0), SCSI_GOOD);
	}
	stop = true;
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	ck_assert_uint_eq(seen_both, 2);
	ck_assert_int_eq(fx->v1->pins, 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    the_death_of_the_process_loses_nothing, keys_lost_while_away,
	    power_loss_keeps_what_asked_for_it,	    what_is_not_recorded_is_not_answered,
	    commands_run_while_reservations_change, NULL};
	return pr_suite("pr_durable", tests, NULL, 0);
}
