/* Bytes of a label <-> struct disk_label (layout in disk_label.h). */
#include "blockcore/disk/disk_label.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include <stdbool.h>
#include <stdio.h>

enum {
	OFF_MAGIC = 0,
	OFF_CRC = 8,
	OFF_VERSION = 12,
	OFF_COPY = 16,
	OFF_POSITION = 20,
	OFF_EPOCH = 24,
	OFF_SIZE = 32,
	OFF_ARRAY = 40,
	OFF_DISK = 56,
	OFF_POOL = 72,
	OFF_END = 88,
};
_Static_assert(OFF_END <= DISK_LABEL_SIZE, "the label fits its block");

#define WHY_LEN 128

static uint32_t label_crc(const uint8_t *blk)
{
	static const uint8_t zero[4];
	uint32_t s = crc32c_add(CRC32C_INIT, blk, OFF_CRC);
	s = crc32c_add(s, zero, sizeof(zero));
	return crc32c_end(crc32c_add(s, blk + OFF_CRC + 4, DISK_LABEL_SIZE - OFF_CRC - 4));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

enum label_verdict disk_label_decode(const uint8_t blk[DISK_LABEL_SIZE], uint32_t copy,
				     struct disk_label *ret, char *why)
{
	if (memcmp(blk, DISK_LABEL_MAGIC, 8) != 0) {
		bool zero = all_zero(blk, DISK_LABEL_SIZE);
		snprintf(why, WHY_LEN, "%s", zero ? "no label" : "no label, but other data");
		return zero ? LABEL_BLANK : LABEL_OTHER;
	}
	uint32_t want = le32_get(blk + OFF_CRC), got = label_crc(blk);
	if (want != got) {
		snprintf(why, WHY_LEN, "checksum %08x does not hold (computed %08x)", want, got);
		return LABEL_DAMAGED;
	}
	uint32_t version = le32_get(blk + OFF_VERSION);
	if (version != DISK_LABEL_VERSION) {
		snprintf(why, WHY_LEN, "label version %u is not spoken here (only %u)", version,
			 DISK_LABEL_VERSION);
		return LABEL_VERSION;
	}
	if (le32_get(blk + OFF_COPY) != copy) {
		snprintf(why, WHY_LEN, "copy number is %u, not %u", le32_get(blk + OFF_COPY), copy);
		return LABEL_DAMAGED;
	}
	uint64_t size = le64_get(blk + OFF_SIZE);
	if (size < DISK_SIZE_MIN || size % DISK_LABEL_SIZE) {
		snprintf(why, WHY_LEN, "recorded size %llu is impossible",
			 (unsigned long long)size);
		return LABEL_DAMAGED;
	}
	struct disk_label l = {
	    .position = le32_get(blk + OFF_POSITION),
	    .epoch = le64_get(blk + OFF_EPOCH),
	    .size = size,
	};
	memcpy(l.array_uuid, blk + OFF_ARRAY, 16);
	memcpy(l.disk_uuid, blk + OFF_DISK, 16);
	memcpy(l.pool_uuid, blk + OFF_POOL, 16);
	*ret = l;
	return LABEL_OK;
}

void disk_label_encode(uint8_t blk[DISK_LABEL_SIZE], uint32_t copy, const struct disk_label *l)
{
	memset(blk, 0, DISK_LABEL_SIZE);
	memcpy(blk + OFF_MAGIC, DISK_LABEL_MAGIC, 8);
	le32_put(blk + OFF_VERSION, DISK_LABEL_VERSION);
	le32_put(blk + OFF_COPY, copy);
	le32_put(blk + OFF_POSITION, l->position);
	le64_put(blk + OFF_EPOCH, l->epoch);
	le64_put(blk + OFF_SIZE, l->size);
	memcpy(blk + OFF_ARRAY, l->array_uuid, 16);
	memcpy(blk + OFF_DISK, l->disk_uuid, 16);
	memcpy(blk + OFF_POOL, l->pool_uuid, 16);
	le32_put(blk + OFF_CRC, label_crc(blk));
}
