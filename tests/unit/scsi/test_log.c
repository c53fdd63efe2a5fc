/* LOG SENSE and SELECT, READ and WRITE BUFFER, diagnostics, identifying information, timestamp. */
#include <errno.h>
#include "runtime/env.h"
#include "tests/unit/scsi/suite.h"

static uint8_t buf[8192];

static uint8_t log_sense(uint8_t page, uint8_t subpage, uint16_t pointer, uint16_t alloc)
{
	return run(fx->a, 0, CDB(0x4d, 0, page, subpage, 0, BE16(pointer), BE16(alloc)), NULL,
		   alloc);
}

/* The parameter of that code; NULL: none. */
static const uint8_t *param(uint16_t code)
{
	for (unsigned at = 4; at < be16_get(fx->in + 2) + 4u; at += 4u + fx->in[at + 3])
		if (be16_get(fx->in + at) == code)
			return fx->in + at + 4;
	return NULL;
}

START_TEST(every_listed_log_page_is_there)
{
	uint8_t listed[16];
	ck_assert_int_eq(log_sense(0x40, 0, 0, 64), 0);
	unsigned n = be16_get(fx->in + 2);
	ck_assert_uint_eq(n, 6);
	memcpy(listed, fx->in + 4, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(log_sense(0x40 | listed[i], 0, 0, 512), 0);
		ck_assert_uint_eq(fx->in[0], listed[i]);
		ck_assert_uint_eq(be16_get(fx->in + 2) + 4u, fx->cmd->in_len);
		for (unsigned at = 4; listed[i] && at < fx->cmd->in_len; at += 4u + fx->in[at + 3])
			ck_assert_uint_le(at + 4 + fx->in[at + 3], fx->cmd->in_len);
	}
	ck_assert_int_eq(log_sense(0x40, 0xff, 0, 64), 0);
	ck_assert_uint_eq(fx->in[0], 0x40);
	ck_assert_uint_eq(be16_get(fx->in + 2), (n + 1) * 2);
	ck_assert_int_eq(log_sense(0x40, 0, 0, 0), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 0);
}
END_TEST

START_TEST(log_pages_tell)
{
	fx->v1->stats.reads = 5;
	fx->v1->stats.writes = 7;
	fx->v1->stats.read_bytes = 1024;
	fx->v1->stats.write_bytes = 4096;
	ck_assert_int_eq(log_sense(0x59, 0, 0, 512), 0);
	const uint8_t *p = param(1);
	ck_assert_uint_eq(be64_get(p), 5);
	ck_assert_uint_eq(be64_get(p + 8), 7);
	ck_assert_uint_eq(be64_get(p + 16), 8);
	ck_assert_uint_eq(be64_get(p + 24), 2);
	/* begun anew, and the others are told */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x4c, 2, 0x40), NULL, 0), 0);
	fx->v1->stats.reads = 6;
	ck_assert_int_eq(log_sense(0x59, 0, 0, 512), 0);
	ck_assert_uint_eq(be64_get(param(1)), 1);
	ck_assert_uint_eq(be64_get(param(1) + 8), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x062a02);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x4c, 0, 0x40), NULL, 0), 0);

	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b), NULL, 0), 0); /* STOP */
	ck_assert_int_eq(log_sense(0x4e, 0, 0, 512), 0);
	ck_assert_uint_eq(be32_get(param(4)), 1);
	ck_assert_int_eq(log_sense(0x4d, 0, 0, 512), 0);
	ck_assert_uint_eq(param(0)[1], 0xff);
	ck_assert_int_eq(log_sense(0x4c, 0, 0, 512), 0);
	ck_assert_uint_eq(be32_get(param(2)), 8192);
	ck_assert_int_eq(log_sense(0x6f, 0, 0, 512), 0);
	ck_assert_uint_eq(be16_get(param(0)), 0);
	/* from a parameter on */
	ck_assert_int_eq(log_sense(0x4e, 0, 5, 512), 0);
	ck_assert_ptr_null(param(4));
	ck_assert_ptr_nonnull(param(5));
}
END_TEST

START_TEST(log_refuses)
{
	static const struct {
		uint8_t cdb[16];
		int field;
	} cases[] = {{{0x4d, 0, 0x7f}, 2},
		     {{0x4d, 0, 0x4d, 1}, 3},
		     {{0x4d, 0, 0x0d}, 2},
		     {{0x4d, 0, 0xcd}, 2},
		     {{0x4d, 1, 0x4d}, 1},
		     {{0x4d, 0, 0x4d, 0, 0, 0, 9}, 5},
		     {{0x4d, 0, 0x40, 0, 0, 0, 1}, 5},
		     {{0x4c, 1}, 1},
		     {{0x4c, 2, 0, 0, 0, 0, 0, 0, 4}, 8}};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert_int_eq(run(fx->a, 0, cases[i].cdb, NULL, 64), 2);
		ck_assert_uint_eq(sense_of(), INVALID_FIELD);
		ck_assert_int_eq(sense_field(), cases[i].field);
	}
}
END_TEST

START_TEST(the_echo_buffer_is_the_nexuss_own)
{
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 5);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0b, 0, 0, 0, 0, 0, 0, 4), NULL, 4), 0);
	ck_assert_uint_eq(be32_get(fx->in), 0x01001000);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x03, 0, 0, 0, 0, 0, 0, 4), NULL, 4), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0a, 0, 0, 0, 0, 0, 16, 0), NULL, 4096), 2);
	ck_assert_uint_eq(sense_of(), 0x052c00); /* not written yet */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x0a, 0, 0, 0, 0, 0, 16, 0), buf, 4096), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0a, 0, 0, 0, 0, 0, 16, 0), NULL, 4096), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 4096);
	ck_assert_mem_eq(fx->in, buf, 4096);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 9), buf + 7, 9), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0a, 0, 0, 0, 0, 0xff, 0xff, 0xff), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 9);
	ck_assert_mem_eq(fx->in, buf + 7, 9);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x3c, 0x0a, 0, 0, 0, 0, 0, 16, 0), NULL, 4096), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x0a), NULL, 0), 0);
	/* too long, short of data, no such mode, another buffer, an offset */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x0a, 0, 0, 0, 0, 0, 16, 1), buf, 4097), 2);
	ck_assert_int_eq(sense_field(), 6);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x0a, 0, 0, 0, 0, 0, 0, 9), buf, 8), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3b, 0x05), buf, 0), 2); /* microcode */
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x02), NULL, 0), 2);
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0a, 1), NULL, 0), 2);
	ck_assert_int_eq(sense_field(), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x3c, 0x0a, 0, 0, 0, 1), NULL, 0), 2);
	ck_assert_int_eq(sense_field(), 5);
}
END_TEST

START_TEST(diagnostics)
{
	memset(buf, 0, 16);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x04), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x00), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x10, 0, 0, 4), buf, 4), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1c, 0x01, 0, 0, 64), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 5);
	ck_assert_uint_eq(be32_get(fx->in), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1c, 0x01, 0x10, 0, 64), NULL, 64), 2);
	ck_assert_int_eq(sense_field(), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x04, 0, 0, 4), buf, 4), 2);
	ck_assert_int_eq(sense_field(), 3);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x20), NULL, 0), 2); /* background self-test */
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x00, 0, 0, 4), buf, 4), 2); /* PF */
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x10, 0, 0, 3), buf, 3), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x10, 0, 0, 8), buf, 8), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	buf[0] = 0x40;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1d, 0x10, 0, 0, 4), buf, 4), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
}
END_TEST

static uint8_t info(bool set, uint8_t type, const void *out, uint32_t len)
{
	uint8_t cdb[16] = {set ? 0xa4 : 0xa3, set ? 0x06 : 0x05};
	be32_put(cdb + 6, len);
	cdb[10] = (uint8_t)(type << 1);
	return run(fx->a, 0, cdb, out, len);
}

START_TEST(identifying_information)
{
	memset(buf, 'i', sizeof(buf));
	ck_assert_int_eq(info(false, 0x7f, NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 12);
	ck_assert_uint_eq(be16_get(fx->in + 6), 512);
	ck_assert_uint_eq(be16_get(fx->in + 10), 256);
	ck_assert_int_eq(info(false, 0, NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 4);
	ck_assert_int_eq(info(true, 0, buf, 512), 0);
	ck_assert_int_eq(info(false, 0, NULL, 1024), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 516);
	ck_assert_uint_eq(be32_get(fx->in), 512);
	ck_assert_mem_eq(fx->in + 4, buf, 512);
	ck_assert_uint_eq(fake_meta(fx->core)->volumes[0]->identifying.len, 512);
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), 0x063f05);
	ck_assert_int_eq(info(true, 2, "array 7", 8), 0);
	ck_assert_int_eq(info(false, 2, NULL, 64), 0);
	ck_assert_uint_eq(be32_get(fx->in), 8);
	ck_assert_str_eq((char *)fx->in + 4, "array 7");
	ck_assert_int_eq(info(true, 0, NULL, 0), 0);
	ck_assert_int_eq(info(false, 0, NULL, 64), 0);
	ck_assert_uint_eq(be32_get(fx->in), 0);
	/* too long; text without its zero, with one before; no such type; no metadata */
	ck_assert_int_eq(info(true, 0, buf, 513), 2);
	ck_assert_int_eq(sense_field(), 6);
	ck_assert_int_eq(info(true, 2, buf, 257), 2);
	ck_assert_int_eq(info(true, 2, "abc", 3), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(info(true, 2, "a\0c", 4), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(info(true, 1, buf, 4), 2);
	ck_assert_int_eq(sense_field(), 10);
	ck_assert_int_eq(info(false, 1, NULL, 4), 2);
	ck_assert_int_eq(sense_field(), 10);
	fx->core->meta->update_err = -EIO;
	ck_assert_int_eq(info(true, 0, buf, 4), 2);
	ck_assert_uint_eq(sense_of(), 0x044400);
	fx->core->meta->update_err = 0;
}
END_TEST

START_TEST(the_time)
{
	uint64_t ms = FAKE_REALTIME_NS / NS_PER_MS;
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0f, 0, 0, 0, 0, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 12);
	ck_assert_uint_eq(be16_get(fx->in), 10);
	ck_assert_uint_eq(be16_get(fx->in + 4), (uint16_t)(ms >> 32));
	ck_assert_uint_eq(be32_get(fx->in + 6), (uint32_t)ms);
}
END_TEST

SUITE("log", every_listed_log_page_is_there, log_pages_tell, log_refuses,
      the_echo_buffer_is_the_nexuss_own, diagnostics, identifying_information, the_time)
