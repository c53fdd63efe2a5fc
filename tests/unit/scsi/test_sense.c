/* Sense data in both formats, and which one a logical unit uses. */
#include "tests/unit/scsi/suite.h"

START_TEST(fixed_format)
{
	uint8_t b[SCSI_SENSE_MAX];
	struct sense s = {
	    .key = KEY_MEDIUM_ERROR, .asc = 0x11, .ascq = 1, .has_info = true, .info = 0x12345678};
	ck_assert_uint_eq(sense_build(b, false, &s), 18);
	ck_assert_mem_eq(
	    b,
	    ((uint8_t[]){0xf0, 0, 3, 0x12, 0x34, 0x56, 0x78, 10, 0, 0, 0, 0, 0x11, 1, 0, 0, 0, 0}),
	    18);
	s.info = 1ull << 32; /* too large for the field: not valid */
	sense_build(b, false, &s);
	ck_assert_uint_eq(b[0], 0x70);
	ck_assert_uint_eq(be32_get(b + 3), 0);
}
END_TEST

START_TEST(descriptor_format)
{
	uint8_t b[SCSI_SENSE_MAX];
	struct sense s = {.key = 5,
			  .asc = 0x24,
			  .has_info = true,
			  .info = 1ull << 40,
			  .has_field = true,
			  .in_cdb = true,
			  .field = 0x0102,
			  .bit = 3};
	ck_assert_uint_eq(sense_build(b, true, &s), 28);
	ck_assert_mem_eq(b, ((uint8_t[]){0x72, 5, 0x24, 0, 0, 0, 0, 20, 0, 10, 0x80, 0, 0, 0,
					 1,    0, 0,	0, 0, 0, 2, 6,	0, 0,  0xcb, 1, 2, 0}),
			 28);
	s.has_info = false;
	s.in_cdb = false;
	s.bit = -1;
	ck_assert_uint_eq(sense_build(b, true, &s), 16);
	ck_assert_uint_eq(b[7], 8);
	ck_assert_uint_eq(b[12], 0x80);
}
END_TEST

START_TEST(d_sense_decides)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x88, 0, BE64(UINT64_MAX), BE32(1)), NULL, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_uint_eq(fx->cmd->sense[0], 0x70);
	ck_assert_uint_eq(fx->cmd->sense_len, 18);
	view_find(fx->a->view, 0)->lu->d_sense = true;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x88, 0, BE64(UINT64_MAX), BE32(1)), NULL, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_uint_eq(fx->cmd->sense[0], 0x72);
	ck_assert_uint_eq(fx->cmd->sense_len, 8);
}
END_TEST

START_TEST(request_sense_answers_in_the_format_asked)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x03, 0, 0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 18);
	ck_assert_uint_eq(sense_in(fx->in), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x03, 1, 0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 8);
	ck_assert_uint_eq(fx->in[0], 0x72);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x03, 0, 0, 0, 4), NULL, 4), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 4);
	/* no logical unit: GOOD, told in the data */
	ck_assert_int_eq(run(fx->a, 9, CDB(0x03, 0, 0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(sense_in(fx->in), NO_SUCH_LUN);
}
END_TEST

START_TEST(transport_failures_get_sense_data)
{
	run(fx->a, 0, CDB(0), NULL, 0);
	scsi_fail(fx->cmd, KEY_ABORTED_COMMAND, 0x0c, 0x0d);
	ck_assert_uint_eq(sense_of(), 0x0b0c0d);
}
END_TEST

SUITE("sense", fixed_format, descriptor_format, d_sense_decides,
      request_sense_answers_in_the_format_asked, transport_failures_get_sense_data)
