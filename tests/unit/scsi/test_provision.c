/* WRITE SAME and UNMAP. */
#include <errno.h>
#include "tests/unit/scsi/suite.h"

static uint8_t buf[70000];

START_TEST(write_same_writes)
{
	for (unsigned lun = 0; lun < 2; lun++) {
		uint32_t bs = lun ? 4096 : 512, n = lun ? 700 : 5000;
		uint8_t *d = lun ? fx->v2->data : fx->v1->data;
		for (uint32_t i = 0; i < bs; i++)
			buf[i] = (uint8_t)(i * 3 + 1);
		d[(n + 1) * bs] = 77;
		ck_assert_int_eq(run(fx->a, lun, CDB(0x41, 0, BE32(1), 0, BE16(n)), buf, bs), 0);
		for (uint32_t i = 1; i <= n; i++)
			ck_assert_mem_eq(d + i * bs, buf, bs);
		ck_assert_uint_eq(d[(n + 1) * bs], 77);
		ck_assert_uint_eq(d[0], 0);
		/* UNMAP set, but this pattern cannot be unmapped: written */
		memset(d, 0, bs);
		ck_assert_int_eq(run(fx->a, lun, CDB(0x93, 8, BE64(0), BE32(1)), buf, bs), 0);
		ck_assert_mem_eq(d, buf, bs);
	}
	ck_assert_uint_eq(fx->v1->discards, 0);
}
END_TEST

START_TEST(write_same_of_zeros_discards)
{
	memset(fx->v1->data, 'q', 8192);
	memset(buf, 0, 512);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 8, BE32(1), 0, BE16(2)), buf, 512), 0);
	ck_assert_uint_eq(fx->v1->discards, 1);
	ck_assert_uint_eq(fx->v1->data[511], 'q');
	ck_assert_uint_eq(fx->v1->data[512], 0);
	ck_assert_uint_eq(fx->v1->data[1535], 0);
	ck_assert_uint_eq(fx->v1->data[1536], 'q');
	/* NDOB: no data-out at all */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x93, 1, BE64(0), BE32(1)), NULL, 0), 0);
	ck_assert_uint_eq(fx->v1->data[0], 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 1, BE32(0), 0, BE16(1)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD); /* WRITE SAME(10) has no NDOB */
}
END_TEST

START_TEST(write_same_refuses)
{
	memset(buf, 1, 1024);
	/* no blocks (WSNZ), ANCHOR without UNMAP, too many, beyond the end, wrong amounts of data
	 */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0, BE32(0), 0, BE16(0)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0x10, BE32(0), 0, BE16(1)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0, BE32(8193), 0, BE16(0)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x93, 0, BE64(8191), BE32(2)), buf, 512), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0, BE32(0), 0, BE16(1)), buf, 256), 2);
	ck_assert_uint_eq(sense_of(), SHORT_DATA);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x41, 0, BE32(0), 0, BE16(1)), buf, 1024), 2);
	ck_assert_uint_eq(sense_of(), SHORT_DATA);
	fx->v1->size = 1ull << 40;
	run(fx->a, 0, CDB(0), NULL, 0);
	ck_assert_int_eq(
	    run(fx->a, 0, CDB(0x93, 0, BE64(0), BE32((SCSI_WRITE_SAME_MAX >> 9) + 1)), buf, 512),
	    2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 10);
	ck_assert_uint_eq(fx->v1->commits + fx->v1->discards, 0);
}
END_TEST

/* A list of n descriptors, descriptor i at LBA i * step of `count` blocks. */
static uint16_t unmap_list(unsigned n, uint64_t first, unsigned step, uint32_t count)
{
	memset(buf, 0, sizeof(buf));
	be16_put(buf, (uint16_t)(6 + n * 16));
	be16_put(buf + 2, (uint16_t)(n * 16));
	for (unsigned i = 0; i < n; i++) {
		be64_put(buf + 8 + i * 16, first + i * step);
		be32_put(buf + 16 + i * 16, count);
	}
	return (uint16_t)(8 + n * 16);
}

static uint8_t unmap(uint16_t len, uint32_t edtl)
{
	return run(fx->a, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(len)), buf, edtl);
}

START_TEST(unmap_discards)
{
	memset(fx->v1->data, 'q', 1 << 20);
	uint16_t len = unmap_list(256, 1, 2, 1);
	ck_assert_int_eq(unmap(len, len), 0);
	ck_assert_uint_eq(fx->v1->discards, 256);
	for (unsigned i = 0; i < 513; i++)
		ck_assert_uint_eq(fx->v1->data[i * 512], i % 2 ? 0 : 'q');
	len = unmap_list(1, 0, 0, 0); /* a descriptor of no blocks */
	ck_assert_int_eq(unmap(len, len), 0);
	ck_assert_int_eq(unmap(0, 0), 0);
	ck_assert_int_eq(unmap(8, 8), 0);
	ck_assert_uint_eq(fx->v1->discards, 256);
}
END_TEST

START_TEST(unmap_refuses)
{
	uint16_t len = unmap_list(257, 0, 1, 1);
	ck_assert_int_eq(unmap(len, len), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	len = unmap_list(2, 8190, 2, 2);
	ck_assert_int_eq(unmap(len, len), 2);
	ck_assert_uint_eq(sense_of(), LBA_OUT_OF_RANGE);
	ck_assert_uint_eq(fx->v1->discards, 0); /* not even the first */
	ck_assert_int_eq(unmap(len, 20), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	ck_assert_int_eq(unmap(7, 7), 2);
	ck_assert_uint_eq(sense_of(), 0x051a00);
	fx->v1->size = 1ull << 40;
	run(fx->a, 0, CDB(0), NULL, 0);
	len = unmap_list(2, 0, 1, 1 << 20);
	ck_assert_int_eq(unmap(len, len), 2);
	ck_assert_uint_eq(sense_of(), INVALID_PARAM);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x42, 2, 0, 0, 0, 0, 0, BE16(24)), buf, 24), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	fx->v1->size = 4 << 20;
	run(fx->a, 0, CDB(0), NULL, 0);
	fx->v1->discard_err = -EIO;
	len = unmap_list(1, 0, 1, 1);
	ck_assert_int_eq(unmap(len, len), 2);
	ck_assert_uint_eq(sense_of(), 0x044400);
}
END_TEST

SUITE("provision", write_same_writes, write_same_of_zeros_discards, write_same_refuses,
      unmap_discards, unmap_refuses)
