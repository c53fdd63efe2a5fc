/* RESERVE and RELEASE, what they refuse to others, and unit attentions in their order. */
#include "tests/unit/scsi/suite.h"

#define TUR(n, lun)	 run(n, lun, CDB(0), NULL, 0)
#define RESERVE6(n)	 run(n, 0, CDB(0x16), NULL, 0)
#define RELEASE6(n)	 run(n, 0, CDB(0x17), NULL, 0)
#define READ10(n)	 run(n, 0, CDB(0x28, 0, BE32(0), 0, BE16(1)), NULL, 512)
#define WRITE10(n)	 run(n, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), fx->in, 512)
#define START_STOP(n, b) run(n, 0, CDB(0x1b, 0, 0, 0, b), NULL, 0)

static void expect_ua(struct scsi_nexus *n, uint32_t code)
{
	ck_assert_int_eq(TUR(n, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x060000 | code);
}

START_TEST(reserve_keeps_others_out)
{
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(WRITE10(fx->a), SCSI_GOOD);
	ck_assert_int_eq(RESERVE6(fx->b), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(READ10(fx->b), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(WRITE10(fx->b), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(START_STOP(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	/* SPC-2 table 10: allowed */
	ck_assert_int_eq(START_STOP(fx->b, 1), SCSI_GOOD);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x12, 0, 0, 0, 36), NULL, 36), SCSI_GOOD);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 18), NULL, 18), SCSI_GOOD);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x25), NULL, 8), SCSI_GOOD);
	/* a release by another does nothing */
	ck_assert_int_eq(RELEASE6(fx->b), SCSI_GOOD);
	ck_assert_int_eq(READ10(fx->b), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(TUR(fx->b, 1), SCSI_GOOD); /* another logical unit */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x57), NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(READ10(fx->b), SCSI_GOOD);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x56), NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->a, 0), SCSI_RESERVATION_CONFLICT);
}
END_TEST

START_TEST(third_parties_are_refused)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x56, 0x10), NULL, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x16, 0x01), NULL, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
}
END_TEST

START_TEST(a_reserve_ends_with_its_session)
{
	struct scsi_nexus *n = fixture_login("iqn.2026-01.example:new");
	ck_assert_int_eq(TUR(n, 0), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(RESERVE6(n), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	/* who comes later meets it too */
	struct scsi_nexus *late = fixture_login("iqn.2026-01.example:late");
	ck_assert_int_eq(TUR(late, 0), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(TUR(late, 0), SCSI_RESERVATION_CONFLICT);
	fixture_logout(n);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
	ck_assert_int_eq(TUR(late, 0), SCSI_GOOD);
	fixture_logout(late);
}
END_TEST

START_TEST(a_reserve_ends_with_a_reset)
{
	uint8_t lun[8] = {0};
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(scsi_task_management(fx->b, lun, SCSI_TMF_CLEAR_TASK_SET, NULL, NULL), 0);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(scsi_task_management(fx->b, lun, SCSI_TMF_LU_RESET, NULL, NULL), 0);
	expect_ua(fx->b, 0x2903);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
}
END_TEST

START_TEST(a_reserve_ends_when_the_lun_is_taken_away)
{
	fake_lun_add(fake_target_add(fx->core, "iqn.2026-01.example:two", true), 0, 1, "serial-1");
	fake_meta_changed(fx->core);
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	struct scsi_nexus *n;
	struct scsi_target *t = scsi_target_get(fx->registry, "iqn.2026-01.example:two");
	ck_assert_int_eq(scsi_nexus_new(&n, t, HOST_B, (const uint8_t[6]){0x40}, 1), 0);
	scsi_target_put(t);
	ck_assert_int_eq(TUR(n, 0), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(TUR(n, 0), SCSI_RESERVATION_CONFLICT); /* one unit, through two targets */
	fake_meta_changed(fx->core);
	ck_assert_int_eq(TUR(n, 0), SCSI_RESERVATION_CONFLICT);
	fake_lun_remove(fx->target, 0);
	fake_meta_changed(fx->core);
	ck_assert_int_eq(TUR(n, 0), SCSI_GOOD);
	fixture_logout(n);
}
END_TEST

/* ---- unit attentions ---- */

START_TEST(attentions_come_in_order)
{
	nexus_ua_set(fx->a, 0, UA_CAPACITY);
	nexus_ua_set(fx->a, 0, UA_RES_RELEASED);
	nexus_ua_set(fx->a, 0, UA_CLEARED);
	nexus_ua_set(fx->a, 0, UA_CAPACITY); /* is queued already */
	nexus_ua_set(fx->a, 0, UA_RESET);
	expect_ua(fx->a, 0x2903);
	expect_ua(fx->a, 0x2a09);
	expect_ua(fx->a, 0x2a04);
	expect_ua(fx->a, 0x2f00);
	ck_assert_int_eq(TUR(fx->a, 0), SCSI_GOOD);
	/* power on makes the others pointless */
	nexus_ua_set(fx->a, 0, UA_MODE | UA_RESET);
	nexus_ua_set(fx->a, 0, UA_POWER_ON);
	expect_ua(fx->a, 0x2900);
	ck_assert_int_eq(TUR(fx->a, 0), SCSI_GOOD);
}
END_TEST

START_TEST(every_kind_at_once)
{
	nexus_ua_set(fx->a, 0, ((1u << UA_KINDS) - 1) & ~(uint32_t)UA_POWER_ON);
	nexus_ua_set(fx->a, 0, ((1u << UA_KINDS) - 1) & ~(uint32_t)UA_POWER_ON);
	for (unsigned i = 1; i < UA_KINDS; i++)
		ck_assert_int_eq(TUR(fx->a, 0), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(TUR(fx->a, 0), SCSI_GOOD);
}
END_TEST

/* SAM-5 5.3.3: resets, then RESERVATION CONFLICT, then other attentions. */
START_TEST(conflicts_go_between_attentions)
{
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	nexus_ua_set(fx->b, 0, UA_CAPACITY | UA_RESET);
	expect_ua(fx->b, 0x2903);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(RELEASE6(fx->a), SCSI_GOOD);
	expect_ua(fx->b, 0x2a09);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
}
END_TEST

static uint8_t control_page(uint8_t byte4, uint8_t byte5)
{
	uint8_t list[4 + 12] = {0, 0, 0, 0, 0x0a, 10, 0, 0x10, byte4, byte5, 0, 0, 0xff, 0xff};
	return run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16);
}

START_TEST(interlocked_attentions_stay)
{
	ck_assert_int_eq(control_page(INTLCK_KEEP << 4, 0), SCSI_GOOD);
	expect_ua(fx->b, 0x2a01);
	expect_ua(fx->b, 0x2a01);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 18), NULL, 18), SCSI_GOOD);
	ck_assert_uint_eq(sense_in(fx->in), 0x062a01);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(RELEASE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
}
END_TEST

START_TEST(interlock_makes_attentions_of_statuses)
{
	ck_assert_int_eq(control_page(INTLCK_ESTABLISH << 4, 0x40), SCSI_GOOD);
	ck_assert(view_find(fx->a->view, 0)->lu->tas);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 18), NULL, 18), SCSI_GOOD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0x0a, 0, 64), NULL, 64), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[12 + 4], 0x30);
	ck_assert_uint_eq(fx->in[12 + 5], 0x40);
	ck_assert_int_eq(RESERVE6(fx->a), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_RESERVATION_CONFLICT);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 18), NULL, 18), SCSI_GOOD);
	ck_assert_uint_eq(sense_in(fx->in), 0x062c0b);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 18), NULL, 18), SCSI_GOOD);
	ck_assert_uint_eq(sense_in(fx->in), 0);
	scsi_told(fx->cmd, SCSI_TASK_SET_FULL);
	scsi_told(fx->cmd, SCSI_BUSY);
	ck_assert_int_eq(RELEASE6(fx->a), SCSI_GOOD);
	expect_ua(fx->b, 0x2c0a);
	/* a reset brings the defaults back */
	ck_assert_int_eq(
	    scsi_task_management(fx->a, (uint8_t[8]){0}, SCSI_TMF_LU_RESET, NULL, NULL), 0);
	expect_ua(fx->b, 0x2903);
	expect_ua(fx->b, 0x2c0a);
	expect_ua(fx->b, 0x2c09);
	ck_assert_int_eq(TUR(fx->b, 0), SCSI_GOOD);
	expect_ua(fx->a, 0x2903);
	ck_assert_int_eq(control_page(0x10, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(sense_field(), 8);
}
END_TEST

SUITE("reservation", reserve_keeps_others_out, third_parties_are_refused,
      a_reserve_ends_with_its_session, a_reserve_ends_with_a_reset,
      a_reserve_ends_when_the_lun_is_taken_away, attentions_come_in_order, every_kind_at_once,
      conflicts_go_between_attentions, interlocked_attentions_stay,
      interlock_makes_attentions_of_statuses)
