/* What nexuses see: masks, admission, unit attentions, changes of the metadata, resets. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <errno.h>
#include "tests/unit/scsi/suite.h"

#define TUR(n, lun) run(n, lun, CDB(0), NULL, 0)

static void expect_ua(struct scsi_nexus *n, uint32_t lun, uint32_t code)
{
	ck_assert_int_eq(TUR(n, lun), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x060000 | code);
}

START_TEST(a_login_has_power_on)
{
	struct scsi_nexus *n = fixture_login("iqn.2026-01.example:new");
	/* INQUIRY and REPORT LUNS are answered and leave it */
	ck_assert_int_eq(run(n, 0, CDB(0x12, 0, 0, 0, 36), NULL, 36), 0);
	ck_assert_int_eq(run(n, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(64)), NULL, 64), 0);
	expect_ua(n, 0, 0x2900);
	ck_assert_int_eq(TUR(n, 0), 0);
	/* REQUEST SENSE takes it, with GOOD */
	ck_assert_int_eq(run(n, 1, CDB(0x03, 0, 0, 0, 18), NULL, 18), 0);
	ck_assert_uint_eq(sense_in(fx->in), 0x062900);
	ck_assert_int_eq(TUR(n, 1), 0);
	/* an attention goes before what is wrong with the CDB */
	ck_assert_int_eq(run(n, 300, CDB(0xff), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x062900);
	ck_assert_int_eq(run(n, 300, CDB(0xff), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), INVALID_OPCODE);
	fixture_logout(n);
}
END_TEST

/* SAM-5 6.3.4: a nexus that was there is told of its loss, in place of a power on. */
START_TEST(a_nexus_that_returns_is_told_of_its_loss)
{
	fixture_logout(fx->a);
	fake_lun_add(fx->target, 2, 1, "serial-9"); /* made while it was away */
	fake_meta_changed(fx->core);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0, 0x2907);
	ck_assert_int_eq(TUR(fx->a, 0), 0);
	expect_ua(fx->a, 1, 0x2907);
	expect_ua(fx->a, 2, 0x2900);
	/* another port of the same initiator is another nexus */
	struct scsi_nexus *n;
	struct scsi_target *t = scsi_target_get(fx->registry, TARGET);
	ck_assert_int_eq(scsi_nexus_new(&n, t, HOST_B, (const uint8_t[6]){0x41}, 1), 0);
	scsi_target_put(t);
	expect_ua(n, 0, 0x2900);
	fixture_logout(n);
	/* resets go before it, and a power on stands for it */
	nexus_ua_set(fx->a, 0, UA_NEXUS_LOSS);
	nexus_ua_set(fx->a, 0, UA_RESET | UA_MODE);
	expect_ua(fx->a, 0, 0x2903);
	expect_ua(fx->a, 0, 0x2907);
	expect_ua(fx->a, 0, 0x2a01);
}
END_TEST

/* The longest away is forgotten first; memory stays bounded. */
START_TEST(a_crowd_that_goes_is_forgotten)
{
	char name[64];
	fixture_logout(fx->a);
	for (unsigned i = 0; i < 1024; i++) {
		ck_assert_uint_eq(fx->registry->away.n, i + 1);
		snprintf(name, sizeof(name), "iqn.2026-01.example:crowd%u", i);
		fixture_logout(fixture_login(name));
	}
	ck_assert_uint_eq(fx->registry->away.n, 1024);
	fx->a = fixture_login(HOST_A);
	expect_ua(fx->a, 0, 0x2900);
	struct scsi_nexus *n = fixture_login("iqn.2026-01.example:crowd0");
	expect_ua(n, 0, 0x2907);
	ck_assert_uint_eq(fx->registry->away.n, 1023);
	fixture_logout(n);
}
END_TEST

START_TEST(luns_come_and_go)
{
	fake_lun_add(fx->target, 2, 1, "serial-1");
	fake_meta_changed(fx->core);
	expect_ua(fx->a, 0, 0x3f0e);
	ck_assert_int_eq(TUR(fx->a, 0), 0);
	expect_ua(fx->a, 1, 0x3f0e);
	expect_ua(fx->a, 2, 0x2900); /* new to this nexus */
	ck_assert_int_eq(TUR(fx->a, 2), 0);
	/* the other nexus asks REPORT LUNS: over on all its units */
	ck_assert_int_eq(run(fx->b, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(256)), NULL, 256), 0);
	ck_assert_uint_eq(be32_get(fx->in), 32);
	ck_assert_int_eq(TUR(fx->b, 0), 0);
	ck_assert_int_eq(TUR(fx->b, 1), 0);

	fake_lun_remove(fx->target, 0);
	fake_meta_changed(fx->core);
	ck_assert_int_eq(TUR(fx->a, 0), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
	ck_assert_int_eq(scsi_lun_exists(fx->a, (uint8_t[8]){0}), false);
	expect_ua(fx->a, 1, 0x3f0e);
	/* LUN 0 is gone, and still answers REPORT LUNS */
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(256)), NULL, 256), 0);
	ck_assert_uint_eq(be32_get(fx->in), 24);
	/* a change that concerns others */
	fake_meta_changed(fx->core);
	ck_assert_int_eq(TUR(fx->a, 1), 0);
}
END_TEST

START_TEST(a_lun_becomes_another_volume)
{
	fx->target->luns[1]->volume_id = 3;
	fake_meta_changed(fx->core);
	expect_ua(fx->a, 1, 0x3f03);
	expect_ua(fx->a, 1, 0x2a09);
	ck_assert_int_eq(TUR(fx->a, 1), 0);
	ck_assert_int_eq(TUR(fx->a, 0), 0);
}
END_TEST

START_TEST(capacity_changes)
{
	fx->v1->size = 8 << 20;
	expect_ua(fx->a, 0, 0x2a09);
	ck_assert_int_eq(TUR(fx->a, 0), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x12, 0, 0, 0, 36), NULL, 36), 0);
	expect_ua(fx->b, 0, 0x2a09);
	ck_assert_int_eq(TUR(fx->b, 0), 0);
	ck_assert_int_eq(TUR(fx->a, 1), 0);
	/* also over a change of the metadata between the growth and the command */
	fx->v1->size = 9 << 20;
	fake_meta_changed(fx->core);
	expect_ua(fx->a, 0, 0x2a09);
}
END_TEST

START_TEST(becoming_read_only_is_told)
{
	fx->target->luns[0]->read_only = true;
	fake_meta_changed(fx->core);
	expect_ua(fx->a, 0, 0x2a01);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), fx->in, 512), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
}
END_TEST

START_TEST(mode_parameters_survive_changes)
{
	view_find(fx->a->view, 0)->lu->d_sense = true;
	fake_lun_add(fx->target, 5, 1, "serial-1");
	fake_meta_changed(fx->core);
	fake_meta_changed(fx->core);
	ck_assert(view_find(fx->a->view, 0)->lu->d_sense);
	ck_assert_ptr_eq(view_find(fx->a->view, 0)->lu, view_find(fx->b->view, 5)->lu);
}
END_TEST

struct aborted {
	unsigned n;
	struct scsi_nexus *who;
	uint8_t lun[8];
};

static void note_abort(struct scsi_nexus *other, const uint8_t lun[8], bool tas, void *arg)
{
	struct aborted *x = arg;
	x->n++;
	x->who = other;
	memcpy(x->lun, lun, 8);
}

START_TEST(resets_are_told)
{
	uint8_t lun[8] = {0, 1};
	struct aborted x = {0};
	ck_assert_int_eq(scsi_task_management(fx->a, lun, SCSI_TMF_LU_RESET, note_abort, &x), 0);
	ck_assert_uint_eq(x.n, 1);
	ck_assert_ptr_eq(x.who, fx->b);
	ck_assert_mem_eq(x.lun, lun, 8);
	expect_ua(fx->a, 1, 0x2903); /* who asked for a reset learns of it too */
	ck_assert_int_eq(TUR(fx->a, 1), 0);
	ck_assert_int_eq(TUR(fx->b, 0), 0);
	expect_ua(fx->b, 1, 0x2903);
	ck_assert_int_eq(scsi_task_management(fx->a, lun, SCSI_TMF_CLEAR_TASK_SET, NULL, NULL), 0);
	expect_ua(fx->b, 1, 0x2f00);
	ck_assert_int_eq(TUR(fx->a, 1), 0);
	x.n = 0;
	ck_assert_int_eq(scsi_task_management(fx->b, lun, SCSI_TMF_TARGET_RESET, note_abort, &x),
			 0);
	ck_assert_uint_eq(x.n, 3);
	expect_ua(fx->a, 0, 0x2903);
	expect_ua(fx->a, 1, 0x2903);
	expect_ua(fx->a, 300, 0x2903);
	expect_ua(fx->b, 1, 0x2903);
	ck_assert_int_eq(TUR(fx->b, 1), 0);
	lun[1] = 9;
	ck_assert_int_eq(scsi_task_management(fx->a, lun, SCSI_TMF_LU_RESET, NULL, NULL), -ENOENT);
}
END_TEST

START_TEST(attentions_have_an_order_and_do_not_pile_up)
{
	nexus_ua_set(fx->a, 0, UA_MODE | UA_CAPACITY);
	nexus_ua_set(fx->a, 0, UA_RESET | UA_MODE);
	expect_ua(fx->a, 0, 0x2903);
	expect_ua(fx->a, 0, 0x2a09);
	expect_ua(fx->a, 0, 0x2a01);
	ck_assert_int_eq(TUR(fx->a, 0), 0);
}
END_TEST

/* ---- masks and admission ---- */

START_TEST(masks_map_numbers)
{
	Isthmus__Initiator *i = fake_initiator_add(fx->core, TARGET, HOST_A);
	fake_map_add(i, 7, 0, true);
	fake_map_add(i, 0, 1, false);
	fake_map_add(i, 3, 99, false); /* there is no such LUN */
	fake_meta_changed(fx->core);
	run(fx->a, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(256)), NULL, 256);
	ck_assert_uint_eq(be32_get(fx->in), 16);
	ck_assert_uint_eq(fx->in[8 + 1], 0);
	ck_assert_uint_eq(fx->in[16 + 1], 7);
	TUR(fx->a, 0);
	TUR(fx->a, 0);
	TUR(fx->a, 7);
	run(fx->a, 0, CDB(0x12, 1, 0x80, 0, 64), NULL, 64);
	ck_assert_mem_eq(fx->in + 4, "serial-2", 8);
	ck_assert_int_eq(run(fx->a, 7, CDB(0x2a, 0, BE32(0), 0, BE16(1)), fx->in, 512), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	ck_assert_int_eq(TUR(fx->a, 1), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
	/* the other initiator, without an entry, sees the target as it is */
	ck_assert_int_eq(TUR(fx->b, 300), 0);
	ck_assert_int_eq(TUR(fx->b, 7), 2);
}
END_TEST

START_TEST(admission_and_secrets)
{
	struct scsi_auth auth;
	Isthmus__Target *t = fake_target_add(fx->core, "iqn.2026-01.example:closed", false);
	t->chap_user = strdup("all");
	t->chap_secret = strdup("secret-of-all");
	t->mutual_user = strdup("array");
	t->mutual_secret = strdup("secret-of-array");
	fake_initiator_add(fx->core, t->iqn, HOST_A);
	Isthmus__Initiator *own = fake_initiator_add(fx->core, t->iqn, HOST_B);
	own->chap_user = strdup("bee");
	own->chap_secret = strdup("secret-of-bee");
	fake_meta_changed(fx->core);

	struct scsi_target *x = scsi_target_get(fx->registry, "iqn.2026-01.example:closed");
	ck_assert_ptr_nonnull(x);
	ck_assert_str_eq(scsi_target_iqn(x), "iqn.2026-01.example:closed");
	ck_assert_int_eq(scsi_target_admit(x, "iqn.2026-01.example:other", &auth), -EACCES);
	ck_assert_int_eq(scsi_target_admit(x, HOST_A, &auth), 0);
	ck_assert_str_eq(auth.user, "all");
	ck_assert_str_eq(auth.secret, "secret-of-all");
	ck_assert_str_eq(auth.mutual_user, "array");
	ck_assert_int_eq(scsi_target_admit(x, "IQN.2026-01.example:HOST-B", &auth), 0);
	ck_assert_str_eq(auth.user, "bee");
	ck_assert_str_eq(auth.secret, "secret-of-bee");
	ck_assert_str_eq(auth.mutual_secret, "secret-of-array");
	scsi_target_put(x);
	ck_assert_ptr_null(scsi_target_get(fx->registry, "iqn.2026-01.example:none"));
	x = scsi_target_get(fx->registry, TARGET);
	ck_assert_int_eq(scsi_target_admit(x, "iqn.2026-01.example:other", &auth), 0);
	ck_assert_str_eq(auth.user, "");
	scsi_target_put(x);
}
END_TEST

static void count_target(void *arg, const struct scsi_target *t)
{
	++*(unsigned *)arg;
}

static unsigned listed(const char *initiator)
{
	unsigned n = 0;
	scsi_target_each(fx->registry, initiator, count_target, &n);
	return n;
}

START_TEST(discovery_lists_what_may_be_seen)
{
	fake_target_add(fx->core, "iqn.2026-01.example:hidden", false);
	fake_target_add(fx->core, "iqn.2026-01.example:shown", false)->discovery_open = true;
	fake_initiator_add(fx->core, "iqn.2026-01.example:hidden", HOST_B);
	fake_meta_changed(fx->core);
	ck_assert_uint_eq(listed(HOST_A), 2);
	ck_assert_uint_eq(listed(HOST_B), 3);
}
END_TEST

static void note_gone(void *transport)
{
	++*(unsigned *)transport;
}

START_TEST(sessions_that_are_not_admitted_any_more_are_told)
{
	unsigned gone = 0;
	scsi_nexus_set_transport(fx->a, &gone);
	scsi_nexus_set_gone(fx->a, note_gone);
	fake_meta_changed(fx->core);
	ck_assert_uint_eq(gone, 0);
	fx->target->open = false;
	fake_meta_changed(fx->core);
	ck_assert_uint_eq(gone, 1);
	ck_assert_int_eq(TUR(fx->a, 0), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
}
END_TEST

START_TEST(a_command_keeps_its_unit)
{
	struct scsi_cmd *c = fx->cmd;
	c->nexus = fx->a;
	memset(c->lun, 0, 8);
	memset(c->cdb, 0, sizeof(c->cdb));
	c->cdb[0] = 0x2a;
	c->cdb[8] = 1;
	c->cdb_len = 16;
	c->out_expected = 512;
	ck_assert_int_eq(scsi_start(c), SCSI_DATA_OUT);
	fake_lun_remove(fx->target, 0);
	fake_meta_changed(fx->core);
	memset(c->out_iov[0].iov_base, 'k', 512);
	ck_assert_int_eq(scsi_finish(c), SCSI_DONE);
	ck_assert_uint_eq(c->status, 0);
	ck_assert_uint_eq(fx->v1->data[0], 'k');
	ck_assert_int_gt(fx->v1->refs, 0);
	scsi_release(c);
	ck_assert_int_eq(fx->v1->refs, 0);
}
END_TEST

/* What waits for the limit of a unit that is taken away does not wait on. */
START_TEST(a_held_command_ends_with_its_unit)
{
	struct scsi_cmd *c[2];
	struct scsi_lu *lu = lu_get(view_find(fx->a->view, 1)->lu);
	qos_set(&lu->qos, &(struct qos_limits){.iops = 1, .iops_burst = 1});
	for (int i = 0; i < 2; i++) {
		c[i] = calloc(1, sizeof(*c[i]));
		c[i]->nexus = fx->a;
		c[i]->lun[1] = 1;
		c[i]->cdb[0] = 0x28;
		c[i]->cdb[8] = 1;
		c[i]->cdb_len = 10;
		ck_assert_int_eq(scsi_start(c[i]), i ? SCSI_WAIT : SCSI_DONE);
	}
	fake_lun_remove(fx->target, 1);
	fake_meta_changed(fx->core);
	ck_assert_int_eq(scsi_start_wait(c[1]), SCSI_DONE);
	ck_assert_int_eq(c[1]->status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_in(c[1]->sense), NO_SUCH_LUN);
	for (int i = 0; i < 2; i++) {
		scsi_release(c[i]);
		free(c[i]);
	}
	lu_put(lu);
}
END_TEST

START_TEST(a_volume_that_is_missing)
{
	fake_lun_add(fx->target, 4, 4, "serial-4");
	fake_meta_changed(fx->core);
	expect_ua(fx->a, 4, 0x2900);
	ck_assert_int_eq(TUR(fx->a, 4), 2);
	ck_assert_uint_eq(sense_of(), 0x020403);
	ck_assert_int_eq(run(fx->a, 4, CDB(0x12, 0, 0, 0, 36), NULL, 36), 0);
	ck_assert_int_eq(run(fx->a, 4, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024), 0);
	ck_assert_int_eq(run(fx->a, 4, CDB(0x1a, 0, 0x3f, 0, 255), NULL, 255), 0);
	ck_assert_int_eq(run(fx->a, 4, CDB(0x25), NULL, 8), 2);
	/* and then attached */
	fake_volume_add(fx->core, 1 << 20);
	ck_assert_int_eq(TUR(fx->a, 4), 0);
	ck_assert_int_eq(run(fx->a, 4, CDB(0x25), NULL, 8), 0);
}
END_TEST

START_TEST(many_luns)
{
	for (uint32_t i = 1000; i < 3000; i++)
		fake_lun_add(fx->target, i, i % 3 + 1, i % 2 ? "odd" : "even");
	fake_meta_changed(fx->core);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(1 << 20)), NULL, 1 << 20), 0);
	ck_assert_uint_eq(be32_get(fx->in), 2003 * 8);
	ck_assert_uint_eq(be16_get(fx->in + 8 + 2002 * 8), 0x4000 | 2999);
	expect_ua(fx->a, 2345, 0x2900);
	ck_assert_int_eq(TUR(fx->a, 2345), 0);
}
END_TEST

/* Commands on one thread while the metadata changes on another. */
static _Atomic bool stop;

static void *reader(void *arg)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	unsigned good = 0;
	while (!stop || !good) { /* however late the thread came to run */
		c->nexus = arg;
		c->cdb[0] = 0x28;
		c->cdb[8] = 8;
		c->cdb_len = 16;
		if (scsi_start(c) == SCSI_DONE && c->status == SCSI_GOOD)
			good++;
		scsi_release(c);
	}
	free(c);
	return (void *)(uintptr_t)good;
}

START_TEST(commands_run_while_targets_change)
{
	pthread_t ta, tb;
	void *ga, *gb;
	stop = false;
	pthread_create(&ta, NULL, reader, fx->a);
	pthread_create(&tb, NULL, reader, fx->b);
	for (int i = 0; i < 300; i++) {
		fake_lun_add(fx->target, 50, 2, "x");
		fake_meta_changed(fx->core);
		fake_lun_remove(fx->target, fx->target->n_luns - 1);
		fake_meta_changed(fx->core);
		if (i % 10 == 0)
			usleep(100);
	}
	stop = true;
	pthread_join(ta, &ga);
	pthread_join(tb, &gb);
	ck_assert_uint_gt((uintptr_t)ga, 0);
	ck_assert_uint_gt((uintptr_t)gb, 0);
	ck_assert_int_eq(fx->v1->pins, 0);
}
END_TEST

SUITE("nexus", a_login_has_power_on, a_nexus_that_returns_is_told_of_its_loss,
      a_crowd_that_goes_is_forgotten, luns_come_and_go, a_lun_becomes_another_volume,
      capacity_changes, becoming_read_only_is_told, mode_parameters_survive_changes,
      resets_are_told, attentions_have_an_order_and_do_not_pile_up, masks_map_numbers,
      admission_and_secrets, discovery_lists_what_may_be_seen,
      sessions_that_are_not_admitted_any_more_are_told, a_command_keeps_its_unit,
      a_held_command_ends_with_its_unit, a_volume_that_is_missing, many_luns,
      commands_run_while_targets_change)
