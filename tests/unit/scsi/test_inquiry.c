/* INQUIRY, vital product data, READ CAPACITY, REPORT LUNS and the small operations. */
#include "tests/unit/scsi/suite.h"

START_TEST(standard_data)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 0, 0, 1, 4), NULL, 260), 0);
	ck_assert_uint_eq(fx->in[0], 0);
	ck_assert_uint_eq(fx->in[2], 6);
	ck_assert_uint_eq(fx->in[3] & 0x0f, 2);
	ck_assert_uint_eq(fx->in[4] + 5u, fx->cmd->in_len);
	ck_assert_mem_eq(fx->in + 8, "ISTHMUS VOLUME          ", 24);
	ck_assert_uint_eq(be16_get(fx->in + 62), 0x04c0); /* SBC-3 */
	for (unsigned alloc = 0; alloc < 256; alloc++) {
		ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 0, 0, 0, (uint8_t)alloc), NULL, alloc), 0);
		ck_assert_uint_eq(fx->cmd->in_len, MIN(alloc, 74));
	}
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 0, 1, 0, 255), NULL, 255), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
}
END_TEST

START_TEST(no_logical_unit)
{
	ck_assert_int_eq(run(fx->a, 7, CDB(0x12, 0, 0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(fx->in[0], 0x7f);
	ck_assert_int_eq(run(fx->a, 7, CDB(0x12, 1, 0, 0, 255), NULL, 255), 0);
	ck_assert_mem_eq(fx->in, ((uint8_t[]){0x7f, 0, 0, 1, 0}), 5);
	ck_assert_int_eq(run(fx->a, 7, CDB(0x12, 1, 0x83, 0, 255), NULL, 255), 2);
	ck_assert_int_eq(run(fx->a, 7, CDB(0x00), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
	ck_assert_int_eq(run(fx->a, 7, CDB(0xa0, 0, 0, 0, 0, 0, BE32(64)), NULL, 64), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
	ck_assert_int_eq(run(fx->a, 7, CDB(0xff), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
}
END_TEST

START_TEST(every_supported_page_is_there)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0, 0, 255), NULL, 255), 0);
	uint8_t pages[32];
	unsigned n = be16_get(fx->in + 2);
	ck_assert_uint_eq(n, 11);
	memcpy(pages, fx->in + 4, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert(i == 0 || pages[i] > pages[i - 1]);
		ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, pages[i], 0x10, 0), NULL, 4096), 0);
		ck_assert_uint_eq(fx->in[1], pages[i]);
		ck_assert_uint_eq(be16_get(fx->in + 2) + 4u, fx->cmd->in_len);
	}
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0x81, 0, 255), NULL, 255), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
}
END_TEST

START_TEST(serial_and_names)
{
	run(fx->a, 0, CDB(0x12, 1, 0x80, 0, 255), NULL, 255);
	ck_assert_mem_eq(fx->in + 4, "serial-1", 8);
	run(fx->a, 0, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024);
	unsigned end = be16_get(fx->in + 2) + 4u, seen = 0;
	for (unsigned at = 4; at < end; at += 4u + fx->in[at + 3]) {
		const uint8_t *d = fx->in + at;
		unsigned assoc = d[1] >> 4 & 3, type = d[1] & 0x0f;
		seen |= 1u << (assoc * 8 + type);
		ck_assert_uint_le(at + 4 + d[3], end);
		ck_assert_uint_eq(d[1] & 0x80, assoc ? 0x80 : 0);
		if (assoc == 0 && type == 3) {
			ck_assert_uint_eq(d[3], 16);
			ck_assert_uint_eq(d[4] >> 4, 6);
			ck_assert_mem_eq(d + 8, fx->v1->uuid, 12);
		}
		if (assoc == 1 && type == 8)
			ck_assert_str_eq((const char *)d + 4, TARGET ",t,0x0001");
		if (assoc == 2)
			ck_assert_str_eq((const char *)d + 4, TARGET);
	}
	ck_assert_uint_eq(seen, 1u << 3 | 1u << 1 | 1u << 2 | 1u << 8 | 1u << (8 + 4) |
				    1u << (8 + 5) | 1u << (8 + 8) | 1u << (16 + 8));
}
END_TEST

START_TEST(limits)
{
	for (unsigned lun = 0; lun < 2; lun++) {
		uint32_t bs = lun ? 4096 : 512;
		run(fx->a, lun, CDB(0x12, 1, 0xb0, 0, 64), NULL, 64);
		ck_assert_uint_eq(fx->cmd->in_len, 64);
		ck_assert_uint_eq(fx->in[3], 0x3c);
		ck_assert_uint_eq(be32_get(fx->in + 8), SCSI_TRANSFER_MAX / bs);
		ck_assert_uint_eq(be16_get(fx->in + 6), 4096 / bs);
		ck_assert_uint_le(be32_get(fx->in + 20), 1u << 20);
	}
	run(fx->a, 0, CDB(0x12, 1, 0xb1, 0, 64), NULL, 64);
	ck_assert_uint_eq(be16_get(fx->in + 4), 1);
}
END_TEST

START_TEST(capacity)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x25), NULL, 8), 0);
	ck_assert_uint_eq(be32_get(fx->in), (4u << 20) / 512 - 1);
	ck_assert_uint_eq(be32_get(fx->in + 4), 512);
	ck_assert_int_eq(run(fx->a, 1, CDB(0x9e, 0x10, BE64(0), BE32(32)), NULL, 32), 0);
	ck_assert_uint_eq(be64_get(fx->in), (4u << 20) / 4096 - 1);
	ck_assert_uint_eq(be32_get(fx->in + 8), 4096);
	ck_assert_uint_eq(fx->in[13], 0);
	ck_assert_uint_eq(fx->in[14], 0xc0);
	run(fx->a, 0, CDB(0x9e, 0x10, BE64(0), BE32(15)), NULL, 15);
	ck_assert_uint_eq(fx->cmd->in_len, 15);
	ck_assert_uint_eq(fx->in[13], 3);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x25, 0, BE32(1)), NULL, 8), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x25, 0, BE32(1), 0, 0, 1), NULL, 8), 0);
	/* larger than 32 bits can say */
	fx->v1->size = 1ull << 42;
	run(fx->a, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x25), NULL, 8), 0);
	ck_assert_uint_eq(be32_get(fx->in), UINT32_MAX);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x10, BE64(0), BE32(32)), NULL, 32), 0);
	ck_assert_uint_eq(be64_get(fx->in), (1ull << 33) - 1);
}
END_TEST

START_TEST(report_luns)
{
	for (int select = 0; select <= 2; select += 2) {
		ck_assert_int_eq(
		    run(fx->a, 0, CDB(0xa0, 0, (uint8_t)select, 0, 0, 0, BE32(256)), NULL, 256), 0);
		ck_assert_uint_eq(be32_get(fx->in), 24);
		ck_assert_mem_eq(fx->in + 8, "\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\x41\x2c\0\0\0\0\0\0",
				 24);
	}
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 1, 0, 0, 0, BE32(256)), NULL, 256), 0);
	ck_assert_uint_eq(be32_get(fx->in), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 3, 0, 0, 0, BE32(256)), NULL, 256), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(15)), NULL, 15), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa0, 0, 0, 0, 0, 0, BE32(16)), NULL, 16), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 16);
	ck_assert_uint_eq(be32_get(fx->in), 24);
}
END_TEST

START_TEST(lun_addresses)
{
	const struct {
		uint8_t wire[8];
		int number; /* -1: none */
	} cases[] = {
	    {{0, 0}, 0},	   {{0, 255}, 255},
	    {{0x40, 0}, 0},	   {{0x41, 0x2c}, 300},
	    {{0x7f, 0xff}, 16383}, {{0x01, 0}, -1},
	    {{0x80, 0}, -1},	   {{0xc1, 1}, -1},
	    {{0, 0, 0, 1}, -1},	   {{0, 0, 0, 0, 0, 0, 0, 1}, -1},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		uint32_t number = 0;
		bool ok = lun_parse(cases[i].wire, &number);
		ck_assert_int_eq(ok ? (int)number : -1, cases[i].number);
		ck_assert_int_eq(scsi_lun_exists(fx->a, cases[i].wire),
				 cases[i].number == 0 || cases[i].number == 300);
	}
	for (uint32_t n = 0; n <= SCSI_LUN_MAX; n++) {
		uint8_t wire[8];
		uint32_t back;
		lun_format(wire, n);
		ck_assert(lun_parse(wire, &back) && back == n);
	}
	/* LUN 0 by the flat method is the same unit */
	ck_assert_int_eq(run_wire(fx->a, (uint8_t[8]){0x40}, CDB(0), NULL, 0), 0);
}
END_TEST

START_TEST(start_and_stop)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 0, 0x01), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->flushes, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 0, 0x00), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->flushes, 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 0, 0, 0, 0x04), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->flushes, 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x1b, 1, 0, 0, 0x02), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x00), NULL, 0), 0);
}
END_TEST

SUITE("inquiry", standard_data, no_logical_unit, every_supported_page_is_there, serial_and_names,
      limits, capacity, report_luns, lun_addresses, start_and_stop)
