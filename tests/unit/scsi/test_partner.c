/* Two controllers beyond single commands: unit attentions, reservations, what waits at the owner.
 */
#include "tests/unit/scsi/partner_rig.h"

/* ---- unit attentions ---- */

START_TEST(mode_changes_are_told_to_all_others_once)
{
	select_control(x, true, false);
	expect_none(x);
	expect_ua(y, MODE_CHANGED);
	expect_ua(z, MODE_CHANGED);
	expect_none(y);
	expect_none(z);
	/* what the front answers by itself has the format that was chosen */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pair_cmd(i ? z : x, 0, CDB(0x12, 0, 1, 0, 36), NULL, 36),
				 SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(last->sense[0], 0x72);
	}
	/* and the other way */
	select_control(z, false, false);
	expect_none(z);
	expect_ua(x, MODE_CHANGED);
	expect_ua(y, MODE_CHANGED);
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x12, 0, 1, 0, 36), NULL, 36), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(last->sense[0], 0x70);
}
END_TEST

START_TEST(resets_go_first)
{
	select_control(z, true, false);
	ck_assert_int_eq(pair_tmf(z, 0, SCSI_TMF_LU_RESET), 0);
	expect_ua(x, WAS_RESET);
	expect_ua(x, MODE_CHANGED);
	expect_none(x);
	expect_ua(y, WAS_RESET);
	expect_ua(z, WAS_RESET); /* also who did it */
	/* REQUEST SENSE takes one by itself, and asks the owner when there is none */
	ck_assert_int_eq(pair_cmd(y, 0, CDB(3, 0, 0, 0, 252), NULL, 252), SCSI_GOOD);
	ck_assert_uint_eq(last->in[12] << 8 | last->in[13], 0x2a01);
	ck_assert_int_eq(pair_cmd(y, 0, CDB(3, 0, 0, 0, 252), NULL, 252), SCSI_GOOD);
	ck_assert_uint_eq(last->in[2], 0);
}
END_TEST

START_TEST(a_nexus_that_comes_late_is_known_before_its_first_command)
{
	struct scsi_nexus *late = pair_login(B, "iqn.2026-01.example:late");
	ck_assert_uint_eq(late->known, link_session(pr->s[B].link));
	select_control(z, true, false);
	expect_ua(late, MODE_CHANGED);
	pair_logout(late);
	ck_assert_uint_eq(pr->s[A].registry->forward->nproxies, 2);
}
END_TEST

START_TEST(luns_that_come_and_go_are_told_once)
{
	fake_lun_remove(pr->s[A].core->meta->am->targets[0], 2);
	fake_meta_changed(pr->s[A].core);
	expect_ua(x, 0x063f0e);
	expect_none(x);
	expect_ua(z, 0x063f0e);
	expect_none(z);
}
END_TEST

/* ---- reservations ---- */

START_TEST(reserve_holds_at_both)
{
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(y);
	CONFLICT(z);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	/* it stays when the volume moves, either way */
	pair_place(B);
	expect_ua(x, ACCESS);
	CONFLICT(z); /* goes before the unit attention */
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	pair_place(A);
	CONFLICT(z);
	expect_ua(x, ACCESS);
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x17), NULL, 0), SCSI_GOOD);
	expect_ua(z, ACCESS);
	ck_assert_int_eq(pair_cmd(z, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(x);
}
END_TEST

START_TEST(reserve_ends_with_its_session)
{
	struct scsi_nexus *n = pair_login(B, "iqn.2026-01.example:short");
	ck_assert_int_eq(pair_cmd(n, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(z);
	pair_logout(n);
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
	/* and with its controller */
	ck_assert_int_eq(pair_cmd(x, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	CONFLICT(z);
	pair_down();
	expect_ua(z, ACCESS); /* to its ports */
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
}
END_TEST

static uint8_t pr_out(struct scsi_nexus *n, uint8_t action, uint8_t type, uint64_t key,
		      uint64_t sa_key)
{
	uint8_t list[24] = {0};
	be64_put(list, key);
	be64_put(list + 8, sa_key);
	return pair_cmd(n, 0, CDB(0x5f, action, type, 0, 0, 0, 0, 0, 24), list, 24);
}

START_TEST(persistent_reservations_are_one_for_both)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 0, 0, 0, 2), SCSI_GOOD); /* another nexus, by its tag */
	ck_assert_int_eq(pr_out(x, 1, 3, 1, 0), SCSI_GOOD);
	CONFLICT(z);
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
		    pair_cmd(i ? z : y, 0, CDB(0x5e, 0, 0, 0, 0, 0, 0, 1, 0), NULL, 256),
		    SCSI_GOOD);
		ck_assert_uint_eq(be32_get(last->in + 4), 16); /* two keys */
	}
	/* z takes it: x is told, once */
	ck_assert_int_eq(pr_out(z, 4, 3, 2, 1), SCSI_GOOD);
	expect_ua(x, 0x062a05);
	CONFLICT(x);
	ck_assert_int_eq(pair_cmd(z, 0, READ8, NULL, 4096), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 3, 0, 2, 0), SCSI_GOOD);
	expect_none(x);
	expect_none(y);
}
END_TEST

/* Without APTPL they are in the memory of the controller that wrote them: the other knows it. */
START_TEST(reservations_outlive_their_owner)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 1, 3, 1, 0), SCSI_GOOD);
	CONFLICT(y);
	ck_assert_uint_eq(fake_meta(pr->s[A].core)->reservations[0]->memory,
			  pr->s[A].core->memory_id);
	pair_down();
	pair_place(B);
	take_attentions();
	CONFLICT(y);
	ck_assert_int_eq(pair_cmd(x, 0, READ8, NULL, 4096), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 2, 3, 1, 0), SCSI_GOOD);
	ck_assert_int_eq(pair_cmd(y, 0, READ8, NULL, 4096), SCSI_GOOD);
}
END_TEST

/* ---- commands that wait at the owner ---- */

START_TEST(an_abort_reaches_the_owner)
{
	struct job *j = stuck(x, WRITE8, page);
	scsi_abort(&j->c);
	pair_run_for(10 * NS_PER_MS);
	ck_assert(j->done);
	job_free(j);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
	ck_assert_uint_eq(fake_link_open(pr->s[A].link), 0);
}
END_TEST

START_TEST(limits_are_the_owners)
{
	limit(10);
	uint64_t t = env_now_ns(pr->s[A].core->env);
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(pair_cmd(i & 1 ? x : z, 0, READ8, NULL, 4096), SCSI_GOOD);
	t = env_now_ns(pr->s[A].core->env) - t;
	ck_assert_uint_gt(t, 15 * NS_PER_S / 10);
	ck_assert_uint_lt(t, 40 * NS_PER_S / 10);
}
END_TEST

START_TEST(resets_end_what_waits_at_the_owner)
{
	struct scsi_nexus *const by[] = {x, y, z};
	for (unsigned i = 0; i < ARRAY_LEN(by); i++) {
		struct job *j = stuck(x, WRITE8, page);
		pair_job_aborts(true);
		if (by[i] == x) /* the transport aborts its own before it asks */
			scsi_abort(&j->c);
		ck_assert_int_eq(
		    pair_tmf(by[i], 0, i == 1 ? SCSI_TMF_CLEAR_TASK_SET : SCSI_TMF_LU_RESET), 0);
		ck_assert(j->done); /* before the function was answered */
		job_free(j);
		limit(0);
		while (TUR(x) != SCSI_GOOD || TUR(y) != SCSI_GOOD || TUR(z) != SCSI_GOOD)
			;
	}
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
}
END_TEST

START_TEST(preempt_and_abort_ends_what_waits_at_the_owner)
{
	ck_assert_int_eq(pr_out(x, 0, 0, 0, 1), SCSI_GOOD);
	ck_assert_int_eq(pr_out(z, 0, 0, 0, 2), SCSI_GOOD);
	ck_assert_int_eq(pr_out(x, 1, 5, 1, 0), SCSI_GOOD);
	struct job *j = stuck(x, WRITE8, page);
	pair_job_aborts(true);
	ck_assert_int_eq(pr_out(z, 5, 5, 2, 1), SCSI_GOOD);
	ck_assert(j->done);
	job_free(j);
	ck_assert_uint_eq(pr->s[A].core->volumes[0].commits, 0);
	limit(0);
	expect_ua(x, 0x062a05);
}
END_TEST

START_TEST(a_target_reset_reaches_units_of_both)
{
	fake_core_place(pr->s[A].core, 2, CORE_PARTNER); /* LUN 1 is at B */
	expect_none(x);					 /* LUN 0's */
	select_control(x, true, false);
	expect_ua(y, MODE_CHANGED);
	expect_ua(z, MODE_CHANGED);
	ck_assert_int_eq(pair_tmf(x, 0, SCSI_TMF_TARGET_RESET), 0);
	expect_ua(z, WAS_RESET);
	expect_ua(y, WAS_RESET);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pair_cmd(i ? z : y, 1, CDB(0), NULL, 0), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(job_sense(last), WAS_RESET);
	}
	ck_assert(!view_find(x->view, 0)->lu->d_sense);
}
END_TEST

PARTNER_SUITE("partner", mode_changes_are_told_to_all_others_once, resets_go_first,
	      a_nexus_that_comes_late_is_known_before_its_first_command,
	      luns_that_come_and_go_are_told_once, reserve_holds_at_both,
	      reserve_ends_with_its_session, persistent_reservations_are_one_for_both,
	      reservations_outlive_their_owner, an_abort_reaches_the_owner, limits_are_the_owners,
	      resets_end_what_waits_at_the_owner, preempt_and_abort_ends_what_waits_at_the_owner,
	      a_target_reset_reaches_units_of_both)
