/* MODE SENSE and MODE SELECT. */
#include "tests/unit/scsi/suite.h"

static struct scsi_lu *lu0(void)
{
	return view_find(fx->a->view, 0)->lu;
}

START_TEST(sense_6_all_pages)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0x3f, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(fx->in[0] + 1u, fx->cmd->in_len);
	ck_assert_uint_eq(fx->in[2], 0x10); /* DPOFUA, not write-protected */
	ck_assert_uint_eq(fx->in[3], 8);
	ck_assert_uint_eq(be32_get(fx->in + 4), (4u << 20) / 512);
	ck_assert_uint_eq(be24_get(fx->in + 9), 512);
	unsigned at = 12, n = 0;
	for (; at < fx->cmd->in_len; at += 2u + fx->in[at + 1], n++)
		if (fx->in[at] == 0x08)
			ck_assert_uint_eq(fx->in[at + 2], 0x04); /* WCE */
	ck_assert_uint_eq(at, fx->cmd->in_len);
	ck_assert_uint_eq(n, 6);
	uint32_t whole = fx->cmd->in_len;
	run(fx->a, 0, CDB(0x1a, 0, 0x3f, 0, 4), NULL, 4);
	ck_assert_uint_eq(fx->cmd->in_len, 4);
	ck_assert_uint_eq(fx->residual_over, 0);
	run(fx->a, 0, CDB(0x1a, 8, 0x3f, 0, 255), NULL, 255); /* DBD */
	ck_assert_uint_eq(fx->cmd->in_len, whole - 8);
	run(fx->a, 0, CDB(0x1a, 8, 0x3f, 0xff, 255), NULL, 255); /* with subpages */
	ck_assert_uint_eq(fx->cmd->in_len, whole - 8 + 32);
}
END_TEST

/* WCE off: every write is stable before its status. */
START_TEST(the_write_cache_can_be_turned_off)
{
	uint8_t list[24] = {[4] = 0x08, [5] = 18}, data[512] = {0};
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 8, 0x48, 0, 255), NULL, 255), 0); /* changeable */
	ck_assert_uint_eq(fx->in[4 + 2], 0x04);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 24), list, 24), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 8, 0x08, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(fx->in[4 + 2], 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), data, 512), 0);
	ck_assert_uint_eq(fx->v1->fuas, 1);
	scsi_task_management(fx->a, (const uint8_t[8]){0}, SCSI_TMF_LU_RESET, NULL, NULL);
	run(fx->a, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), data, 512), 0);
	ck_assert_uint_eq(fx->v1->fuas, 1); /* on again */
	list[4 + 2] = 0x05;		    /* RCD cannot be changed */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 24), list, 24), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(sense_field(), 6);
}
END_TEST

START_TEST(sense_10_with_long_descriptor)
{
	ck_assert_int_eq(run(fx->a, 1, CDB(0x5a, 0x10, 0x0a, 0, 0, 0, 0, BE16(255)), NULL, 255), 0);
	ck_assert_uint_eq(be16_get(fx->in) + 2u, fx->cmd->in_len);
	ck_assert_uint_eq(fx->in[4], 1);
	ck_assert_uint_eq(be16_get(fx->in + 6), 16);
	ck_assert_uint_eq(be64_get(fx->in + 8), (4u << 20) / 4096);
	ck_assert_uint_eq(be32_get(fx->in + 20), 4096);
	ck_assert_uint_eq(fx->in[24], 0x0a);
	ck_assert_uint_eq(fx->cmd->in_len, 8 + 16 + 12);
	run(fx->a, 1, CDB(0x5a, 0x08, 0x0a, 0xff, 0, 0, 0, BE16(255)), NULL, 255);
	ck_assert_uint_eq(fx->cmd->in_len, 8 + 12 + 32);
}
END_TEST

START_TEST(pages_that_are_not)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0x05, 0, 255), NULL, 255), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0x08, 1, 255), NULL, 255), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 3);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0x3f, 1, 255), NULL, 255), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1a, 0, 0xca, 0, 255), NULL, 255), 2); /* saved */
	ck_assert_uint_eq(sense_of(), 0x053900);
}
END_TEST

START_TEST(read_only_shows)
{
	run(fx->a, 300, CDB(0x1a, 0, 0x3f, 0, 255), NULL, 255);
	ck_assert_uint_eq(fx->in[2], 0x90);
}
END_TEST

/* A control page with these bytes 2 and 4, in a MODE SELECT(6) list. */
static uint8_t select_control(struct scsi_nexus *n, uint8_t b2, uint8_t b4)
{
	const uint8_t list[16] = {0, 0, 0, 0, 0x0a, 10, b2, 0x10, b4, 0, 0, 0, 0xff, 0xff, 0, 0};
	return run(n, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16);
}

START_TEST(changeable_bits_change)
{
	run(fx->a, 0, CDB(0x1a, 8, 0x4a, 0, 255), NULL, 255);
	ck_assert_mem_eq(fx->in + 4, ((uint8_t[12]){0x0a, 10, 0x04, 0, 0x38, 0x40}), 12);

	ck_assert_int_eq(select_control(fx->a, 0x04, 0), 0);
	ck_assert(lu0()->d_sense);
	run(fx->a, 0, CDB(0x1a, 8, 0x0a, 0, 255), NULL, 255);
	ck_assert_uint_eq(fx->in[4 + 2], 0x04);
	run(fx->a, 0, CDB(0x1a, 8, 0x8a, 0, 255), NULL, 255); /* defaults stay */
	ck_assert_uint_eq(fx->in[4 + 2], 0);
	/* the other nexus learns of it, the one that did it does not */
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x062a01);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 0);
	/* the same again changes nothing */
	ck_assert_int_eq(select_control(fx->a, 0x04, 0), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 0);
}
END_TEST

START_TEST(swp_protects_for_all)
{
	uint8_t block[512] = {1};
	ck_assert_int_eq(select_control(fx->a, 0, 0x08), 0);
	run(fx->b, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), block, 512), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, 0, BE32(0), 0, BE16(1)), NULL, 512), 0);
	run(fx->a, 0, CDB(0x1a, 8, 0x0a, 0, 255), NULL, 255);
	ck_assert_uint_eq(fx->in[2], 0x90);
	ck_assert_int_eq(select_control(fx->a, 0, 0), 0);
	run(fx->b, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), block, 512), 0);
}
END_TEST

START_TEST(select_refuses)
{
	ck_assert_int_eq(select_control(fx->a, 0x02, 0), 2); /* GLTSD cannot be changed */
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(sense_field(), 6);
	ck_assert_uint_eq(fx->cmd->sense[15], 0x89);
	uint8_t list[28] = {0, 0, 0, 0, 0x0a, 10, 0, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0};
	const struct {
		unsigned at, value, field;
	} wrong[] = {{1, 1, 1}, {3, 4, 3}, {4, 0x05, 4}, {5, 8, 5}};
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		uint8_t was = list[wrong[i].at];
		list[wrong[i].at] = (uint8_t)wrong[i].value;
		ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16), 2);
		ck_assert_uint_eq(sense_of(), INVALID_PARAM);
		ck_assert_int_eq(sense_field(), (int)wrong[i].field);
		list[wrong[i].at] = was;
	}
	/* lists that end too early; nothing of them is carried out */
	list[6] = 0x04;
	const unsigned lens[] = {1, 3, 5, 10, 15, 17};
	for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
		list[16] = 0x08;
		ck_assert_int_eq(
		    run(fx->a, 0, CDB(0x15, 0x10, 0, 0, (uint8_t)lens[i]), list, lens[i]), 2);
		ck_assert_uint_eq(sense_of(), 0x051a00);
		ck_assert(!lu0()->d_sense);
	}
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 16), list, 12),
			 2); /* less than said */
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x11, 0, 0, 16), list, 16), 2); /* SP */
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x00, 0, 0, 16), list, 16), 2); /* no PF */
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 16), list, 16), 0);
	ck_assert(lu0()->d_sense);
}
END_TEST

START_TEST(select_block_descriptors)
{
	uint8_t list[12] = {0, 0, 0, 8, BE32(0), 0, 0, 2, 0};
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 12), list, 12), 0);
	list[11] = 1; /* blocks of 513 bytes */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 12), list, 12), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	list[11] = 0;
	list[7] = 1; /* one block */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x15, 0x10, 0, 0, 12), list, 12), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	uint8_t list10[24] = {0, 0, 0, 0, 1, 0, 0, 16, BE64((4 << 20) / 512), BE32(0), BE32(512)};
	ck_assert_int_eq(run(fx->a, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, BE16(24)), list10, 24), 0);
	list10[4] = 0; /* 16 bytes without LONGLBA */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, BE16(24)), list10, 24), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
}
END_TEST

START_TEST(what_is_sensed_can_be_selected)
{
	uint8_t list[256];
	ck_assert_int_eq(run(fx->a, 0, CDB(0x5a, 0, 0x3f, 0xff, 0, 0, 0, BE16(256)), NULL, 256), 0);
	uint32_t n = fx->cmd->in_len;
	memcpy(list, fx->in, n);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, BE16(n)), list, n), 0);
}
END_TEST

START_TEST(a_reset_brings_defaults)
{
	select_control(fx->a, 0x04, 0x08);
	uint8_t lun[8] = {0};
	ck_assert_int_eq(scsi_task_management(fx->a, lun, SCSI_TMF_LU_RESET, NULL, NULL), 0);
	ck_assert(!lu0()->d_sense && !lu0()->swp);
}
END_TEST

SUITE("mode", sense_6_all_pages, the_write_cache_can_be_turned_off, sense_10_with_long_descriptor,
      pages_that_are_not, read_only_shows, changeable_bits_change, swp_protects_for_all,
      select_refuses, select_block_descriptors, what_is_sensed_can_be_selected,
      a_reset_brings_defaults)
