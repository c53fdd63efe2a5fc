/* START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, and units configured in other ways. */
#include <errno.h>
#include "tests/unit/scsi/suite.h"

#define NO_MEDIUM 0x023a00
#define PREVENTED 0x055302

static void attentions_over(void)
{
	struct scsi_nexus *all[] = {fx->a, fx->b};
	for (unsigned i = 0; i < 2; i++)
		while (all[i]->view->luns[0].ua)
			run(all[i], 0, CDB(0x03, 0, 0, 0, 96), NULL, 96);
}

/* LUN 0 again, configured anew. */
static void configure(bool removable, bool no_unmap, uint32_t physical)
{
	Isthmus__Lun *l = fake_meta(fx->core)->targets[0]->luns[0];
	l->removable = removable;
	l->no_unmap = no_unmap;
	l->physical_size = physical;
	fake_meta_changed(fx->core);
	attentions_over();
}

static uint8_t eject(struct scsi_nexus *n)
{
	return run(n, 0, CDB(0x1b, 0, 0, 0, 2), NULL, 0);
}

static uint8_t load(struct scsi_nexus *n)
{
	return run(n, 0, CDB(0x1b, 0, 0, 0, 3), NULL, 0);
}

static uint8_t prevent(struct scsi_nexus *n, uint8_t how)
{
	return run(n, 0, CDB(0x1e, 0, 0, 0, how), NULL, 0);
}

START_TEST(an_ejected_medium_is_out_for_all)
{
	uint8_t data[512] = {0};
	configure(true, false, 0);
	run(fx->a, 0, CDB(0x12, 0, 0, 0, 96), NULL, 96);
	ck_assert_uint_eq(fx->in[1], 0x80);
	ck_assert_int_eq(eject(fx->a), 0);
	ck_assert_uint_eq(fx->v1->flushes, 1);
	ck_assert_int_eq(eject(fx->a), 0);
	static const uint8_t medium[][16] = {{0x00},
					     {0x28, 0, 0, 0, 0, 0, 0, 0, 1},
					     {0x25},
					     {0x35},
					     {0x42, 0, 0, 0, 0, 0, 0, 0, 24},
					     {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}};
	for (unsigned i = 0; i < ARRAY_LEN(medium); i++) {
		ck_assert_int_eq(run(fx->b, 0, medium[i], NULL, 512), 2);
		ck_assert_uint_eq(sense_of(), NO_MEDIUM);
	}
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), data, 512), 2);
	ck_assert_uint_eq(sense_of(), NO_MEDIUM);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96), 0);
	ck_assert_uint_eq(sense_in(fx->in), NO_MEDIUM);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x1a, 0, 0x3f, 0, 255), NULL, 255), 0);
	ck_assert_int_eq(load(fx->a), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 2); /* the medium may have changed */
	ck_assert_uint_eq(sense_of(), 0x062800);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 0);
	fx->v1->flush_err = -EIO; /* what cannot be made stable is not ejected */
	ck_assert_int_eq(eject(fx->a), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 0, 6), NULL, 0), 0); /* NO_FLUSH */
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
}
END_TEST

START_TEST(who_prevents_removal)
{
	configure(true, false, 0);
	ck_assert_int_eq(prevent(fx->a, 1), 0);
	ck_assert_int_eq(eject(fx->b), 2);
	ck_assert_uint_eq(sense_of(), PREVENTED);
	ck_assert_int_eq(prevent(fx->b, 0), 0); /* that is the other's */
	ck_assert_int_eq(eject(fx->b), 2);
	ck_assert_int_eq(prevent(fx->a, 0), 0);
	ck_assert_int_eq(eject(fx->b), 0);
	ck_assert_int_eq(prevent(fx->a, 1), 0);
	ck_assert_int_eq(load(fx->b), 2);
	ck_assert_uint_eq(sense_of(), PREVENTED);
	ck_assert_int_eq(prevent(fx->a, 0), 0);
	ck_assert_int_eq(load(fx->b), 0);
	run(fx->a, 0, CDB(0), NULL, 0);
	/* a reset ends it */
	ck_assert_int_eq(prevent(fx->b, 1), 0);
	scsi_task_management(fx->a, (const uint8_t[8]){0}, SCSI_TMF_LU_RESET, NULL, NULL);
	attentions_over();
	ck_assert_int_eq(eject(fx->a), 0);
	ck_assert_int_eq(load(fx->a), 0);
	/* so does the loss of the nexus; a change of the metadata does not */
	struct scsi_nexus *n = fixture_login("iqn.2026-01.example:host-c");
	run(n, 0, CDB(0x03, 0, 0, 0, 96), NULL, 96);
	ck_assert_int_eq(prevent(n, 1), 0);
	fake_meta_changed(fx->core);
	ck_assert_int_eq(eject(fx->a), 2);
	fixture_logout(n);
	ck_assert_int_eq(eject(fx->a), 0);
	ck_assert_int_eq(prevent(fx->a, 2), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 4);
}
END_TEST

START_TEST(a_reset_ends_it_for_the_one_who_resets_too)
{
	configure(true, false, 0);
	ck_assert_int_eq(prevent(fx->a, 1), 0);
	scsi_task_management(fx->a, (const uint8_t[8]){0}, SCSI_TMF_TARGET_RESET, NULL, NULL);
	attentions_over();
	ck_assert_int_eq(eject(fx->a), 0);
}
END_TEST

START_TEST(a_fixed_medium_stays)
{
	ck_assert_int_eq(eject(fx->a), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(load(fx->a), 2);
	ck_assert_int_eq(prevent(fx->a, 1), 2);
	ck_assert_uint_eq(sense_of(), INVALID_OPCODE);
}
END_TEST

START_TEST(power_conditions_are_taken)
{
	configure(true, false, 0);
	for (unsigned power = 1; power < 16; power++) { /* LOEJ means nothing beside them */
		uint8_t byte4 = (uint8_t)(power << 4 | 2);
		ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 1, byte4), NULL, 0), 0);
		ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	}
	ck_assert_uint_eq(fx->v1->flushes, 2); /* STANDBY, FORCE_STANDBY_0 */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 0, 0), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->flushes, 3); /* STOP */
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
}
END_TEST

START_TEST(a_unit_without_unmap)
{
	uint8_t data[512] = {0};
	configure(false, true, 512);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(24)), data, 24), 2);
	ck_assert_uint_eq(sense_of(), INVALID_OPCODE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0x08, BE32(0), 0, BE16(1)), data, 512), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0, BE32(0), 0, BE16(1)), data, 512), 0);
	run(fx->a, 0, CDB(0xa3, 0x0c, 1, 0x41, 0, 0, BE32(64)), NULL, 64);
	ck_assert_uint_eq(fx->in[5], 0);
	run(fx->a, 0, CDB(0x9e, 0x10, BE64(0), BE32(32)), NULL, 32);
	ck_assert_uint_eq(fx->in[13], 0); /* one logical block a physical one */
	ck_assert_uint_eq(fx->in[14], 0);
	run(fx->a, 0, CDB(0x12, 1, 0xb0, 0, 64), NULL, 64);
	ck_assert_uint_eq(be32_get(fx->in + 20), 0);
	run(fx->a, 0, CDB(0x12, 1, 0xb2, 0, 64), NULL, 64);
	ck_assert_uint_eq(be32_get(fx->in + 4), 0);
	configure(false, false, 0);
	run(fx->a, 0, CDB(0x9e, 0x10, BE64(0), BE32(32)), NULL, 32);
	ck_assert_uint_eq(fx->in[13], 3);
	ck_assert_uint_eq(fx->in[14], 0xc0);
}
END_TEST

SUITE("removal", an_ejected_medium_is_out_for_all, who_prevents_removal,
      a_reset_ends_it_for_the_one_who_resets_too, a_fixed_medium_stays, power_conditions_are_taken,
      a_unit_without_unmap)
