/* See crc_join.h. The start and end inversions of the two checksums cancel out. */
#include "blockcore/volume/crc_join.h"

#define CRC32C_POLY 0x82f63b78u /* reflected */

static uint32_t times(const uint32_t m[32], uint32_t v)
{
	uint32_t r = 0;
	for (int i = 0; v; i++, v >>= 1)
		if (v & 1)
			r ^= m[i];
	return r;
}

static void square(uint32_t out[32], const uint32_t m[32])
{
	for (int i = 0; i < 32; i++)
		out[i] = times(m, m[i]);
}

void crc_shift_init(struct crc_shift *s, uint64_t len)
{
	uint32_t op[32], next[32];
	op[0] = CRC32C_POLY; /* one bit of zero: a step of the register */
	for (int i = 1; i < 32; i++)
		op[i] = 1u << (i - 1);
	for (int i = 0; i < 32; i++)
		s->column[i] = 1u << i;
	/* len bytes are 8 len bits: the bits of that number choose from op^1, op^2, op^4 ... */
	for (uint64_t bits = len * 8; bits; bits >>= 1) {
		if (bits & 1)
			for (int i = 0; i < 32; i++)
				s->column[i] = times(op, s->column[i]);
		square(next, op);
		for (int i = 0; i < 32; i++)
			op[i] = next[i];
	}
}

uint32_t crc_join(const struct crc_shift *s, uint32_t a, uint32_t b)
{
	return times(s->column, a) ^ b;
}
