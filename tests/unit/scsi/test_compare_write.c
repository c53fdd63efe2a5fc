/* COMPARE AND WRITE, ORWRITE, WRITE ATOMIC, GET LBA STATUS, READ DEFECT DATA. */
#include <errno.h>
#include "runtime/err.h"
#include "tests/unit/scsi/suite.h"

#define MISCOMPARE 0x0e1d00

static uint8_t buf[2 * CACHE_IO_MAX];

static const uint8_t *caw(uint64_t lba, unsigned n, uint8_t byte1)
{
	static uint8_t cdb[16];
	memcpy(cdb, CDB(0x89, byte1, BE64(lba), 0, 0, 0, (uint8_t)n), 16);
	return cdb;
}

START_TEST(compare_and_write_writes)
{
	for (unsigned lun = 0; lun < 2; lun++) {
		struct volume *v = lun ? fx->v2 : fx->v1;
		uint32_t bs = lun ? 4096 : 512, n = lun ? 32 : 255;
		for (int how = 0; how < 3; how++) { /* at once; after a miss; evicted meanwhile */
			v->miss = how == 1;
			v->evicted = how == 2 ? 3 : 0;
			memset(v->data, 'a', 300 * bs);
			memset(buf, 'a', n * bs);
			memset(buf + n * bs, 'b', n * bs);
			ck_assert_int_eq(run(fx->a, lun, caw(1, n, 0), buf, 2 * n * bs), 0);
			ck_assert_int_eq(fx->waited, how != 0);
			ck_assert_mem_eq(v->data + bs, buf + n * bs, n * bs);
			ck_assert_uint_eq(v->data[bs - 1], 'a');
			ck_assert_uint_eq(v->data[(n + 1) * bs], 'a');
		}
		ck_assert_uint_eq(v->flushes, 0);
		ck_assert_int_eq(run(fx->a, lun, caw(1, 1, 0x18), buf + n * bs, 2 * bs), 0);
		ck_assert_uint_eq(v->flushes, 1); /* FUA */
		ck_assert_int_eq(run(fx->a, lun, caw(1, 0, 0), NULL, 0), 0);
		v->evicted = 2000; /* for ever: tried again by the initiator */
		ck_assert_int_eq(run(fx->a, lun, caw(1, 1, 0), buf + n * bs, 2 * bs), SCSI_BUSY);
		v->evicted = 0;
	}
}
END_TEST

START_TEST(compare_and_write_miscompares)
{
	memset(buf, 0, sizeof(buf));
	memset(buf + 1024, 'n', 1024);
	fx->v1->data[512 * 9 + 700] = 1;
	for (int miss = 0; miss < 2; miss++) {
		fx->v1->miss = miss;
		ck_assert_int_eq(run(fx->a, 0, caw(9, 2, 0), buf, 2048), 2);
		ck_assert_uint_eq(sense_of(), MISCOMPARE);
		ck_assert_uint_eq(fx->cmd->sense[0], 0xf0); /* INFORMATION is valid */
		ck_assert_uint_eq(be32_get(fx->cmd->sense + 3), 700);
		ck_assert_uint_eq(fx->v1->data[512 * 9], 0);
		ck_assert_uint_eq(fx->v1->commits, 0);
	}
}
END_TEST

START_TEST(compare_and_write_refuses)
{
	ck_assert_int_eq(run(fx->a, 0, caw(8192, 1, 0), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 0, caw(8191, 2, 0), buf, 2048), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 0, caw(UINT64_MAX, 255, 0), buf, 2048), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 1, caw(0, 33, 0), buf, 66 * 4096), 2); /* more than told */
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 13);
	ck_assert_int_eq(run(fx->a, 0, caw(0, 1, 0x20), buf, 1024), 2); /* WRPROTECT */
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, caw(0, 2, 0), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), SHORT_DATA);
	ck_assert_int_eq(run(fx->a, 300, caw(0, 1, 0), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	fx->v1->miss = true;
	fx->v1->write_err = -ENOSPC;
	ck_assert_int_eq(run(fx->a, 0, caw(0, 1, 0), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), 0x072707);
	fx->v1->write_err = 0;
	fx->v1->evicted = 1;
	fx->v1->read_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, caw(0, 1, 0), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
}
END_TEST

START_TEST(orwrite_ors)
{
	uint32_t n = 600, len = n * 512; /* several pieces */
	for (uint32_t i = 0; i < len; i++) {
		fx->v1->data[512 + i] = (uint8_t)i;
		buf[i] = (uint8_t)(i >> 8);
	}
	fx->v1->evicted = 2;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(1), BE32(n)), buf, len), 0);
	for (uint32_t i = 0; i < len; i++)
		ck_assert_uint_eq(fx->v1->data[512 + i], (uint8_t)(i | i >> 8));
	ck_assert_uint_eq(fx->v1->data[0], 0);
	ck_assert_uint_eq(fx->v1->flushes, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0x08, BE64(1), BE32(1)), buf, 512), 0);
	ck_assert_uint_eq(fx->v1->flushes, 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(1), BE32(0)), NULL, 0), 0);

	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(1), BE32(2)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), SHORT_DATA);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(8191), BE32(2)), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	fx->v1->size = 1ull << 40;
	run(fx->a, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(0), BE32(32769)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	fx->v1->size = 4 << 20;
	run(fx->a, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(run(fx->a, 300, CDB(0x8b, 0, BE64(0), BE32(1)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	fx->v1->evicted = 2000;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(1), BE32(1)), buf, 512), SCSI_BUSY);
	fx->v1->evicted = 0;
	fx->v1->read_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x8b, 0, BE64(1), BE32(1)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
}
END_TEST

static bool told(uint8_t opcode)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 1, opcode, 0, 0, BE32(64)), NULL, 64), 0);
	return fx->in[1] == 0x03;
}

START_TEST(write_atomic_wants_memory_that_survives)
{
	memset(buf, 'w', 4096);
	ck_assert(!told(0x9c));
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(1), 0, 0, BE16(2)), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), INVALID_OPCODE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0xb0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(be32_get(fx->in + 44), 0);

	fx->v1->battery = true;
	ck_assert(told(0x9c));
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0xb0, 0, 255), NULL, 255), 0);
	ck_assert_uint_eq(be32_get(fx->in + 44), CACHE_IO_MAX / 512);
	for (int miss = 0; miss < 2; miss++) {
		fx->v1->miss = miss;
		memset(fx->v1->data, 0, 4096);
		ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 8, BE64(1), 0, 0, BE16(2)), buf, 1024), 0);
		ck_assert_mem_eq(fx->v1->data + 512, buf, 1024);
		ck_assert_uint_eq(fx->v1->data[1536], 0);
	}
	ck_assert_uint_eq(fx->v1->atomics, 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(1), 0, 0, BE16(0)), NULL, 0), 0);
	/* some of the data is not enough; a boundary; too long; beyond the end */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(1), 0, 0, BE16(2)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), SHORT_DATA);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(1), 0, 1, BE16(2)), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 11);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(1), 0, 0, BE16(2049)), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 12);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9c, 0, BE64(8192), 0, 0, BE16(1)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
}
END_TEST

static void status_is(unsigned i, uint64_t lba, uint32_t n, uint8_t status)
{
	ck_assert_uint_eq(be64_get(fx->in + 8 + i * 16), lba);
	ck_assert_uint_eq(be32_get(fx->in + 16 + i * 16), n);
	ck_assert_uint_eq(fx->in[20 + i * 16], status);
}

START_TEST(lba_status_is_told)
{
	for (int miss = 0; miss < 2; miss++) {
		fx->v1->miss = miss;
		memset(fx->v1->data, 0, 1 << 20);
		fx->v1->data[6 * 512] = 1;
		fx->v1->data[8 * 512 - 1] = 1;
		ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(5), BE32(4096)), NULL, 4096),
				 0);
		ck_assert_int_eq(fx->waited, miss);
		ck_assert_uint_eq(be32_get(fx->in), 3 * 16 + 4);
		ck_assert_uint_eq(fx->cmd->in_len, 3 * 16 + 8);
		status_is(0, 5, 1, 2); /* zeros: anchored */
		status_is(1, 6, 2, 0);
		status_is(2, 8, 512 - 3, 2);
		ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(6), BE32(24)), NULL, 24), 0);
		ck_assert_uint_eq(fx->cmd->in_len, 24);
		status_is(0, 6, 2, 0);
	}
	/* as many as there is room for, if every other block differs */
	memset(fx->v1->data, 0, 1 << 20);
	for (unsigned i = 0; i < 512; i += 2)
		fx->v1->data[i * 512] = 1;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(0), BE32(8192)), NULL, 8192), 0);
	ck_assert_uint_eq(be32_get(fx->in), 255 * 16 + 4);
	status_is(254, 254, 1, 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(8191), BE32(24)), NULL, 24), 0);
	status_is(0, 8191, 1, 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(5), BE32(8)), NULL, 8), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 8);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(8192), BE32(24)), NULL, 24), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	fx->v1->read_err = -ERR_MEDIUM;
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x12, BE64(0), BE32(24)), NULL, 24), 2);
	ck_assert_uint_eq(sense_of(), 0x031100);
}
END_TEST

START_TEST(there_are_no_defects)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x37, 0, 0x1d, 0, 0, 0, 0, BE16(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 4);
	ck_assert_uint_eq(be32_get(fx->in), 0x001d0000);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xb7, 0x0b, BE32(0), BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 8);
	ck_assert_uint_eq(fx->in[1], 0x0b);
	ck_assert_uint_eq(be32_get(fx->in + 4), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x37, 0, 0x0f, 0, 0, 0, 0, BE16(64)), NULL, 64), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xb7, 0x0e, BE32(0), BE32(64)), NULL, 64), 2);
	ck_assert_int_eq(sense_field(), 1);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xb7, 0x08, BE32(1), BE32(64)), NULL, 64), 2);
	ck_assert_int_eq(sense_field(), 2);
}
END_TEST

SUITE("compare_write", compare_and_write_writes, compare_and_write_miscompares,
      compare_and_write_refuses, orwrite_ors, write_atomic_wants_memory_that_survives,
      lba_status_is_told, there_are_no_defects)
