/* Blocks of checksums: any block is opened; what its sectors hold then is either what was sealed or
 * nothing, and is sealed to the same again. */
#include "blockcore/pool/pool_sums.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECTORS (SUM_BLOCK / SUM_SECTOR)

static void judge(uint8_t *block, const uint8_t *uuid, uint32_t position, uint64_t number)
{
	uint8_t was[SUM_BLOCK], again[SUM_BLOCK];
	unsigned empty = 0;
	memcpy(was, block, sizeof(was));
	unsigned bad = sum_block_open(block, uuid, position, number);
	ASSERT(bad <= SECTORS);
	for (unsigned i = 0; i < SECTORS; i++) {
		const uint8_t *sector = block + i * SUM_SECTOR;
		bool kept = memcmp(sector, was + i * SUM_SECTOR, SUM_SECTOR) == 0;
		bool zero = sector[0] == 0 && memcmp(sector, sector + 1, SUM_SECTOR - 1) == 0;
		ASSERT(kept || zero);
		empty += zero;
	}
	ASSERT(empty >= bad);
	sum_block_seal(block, uuid, position, number);
	memcpy(again, block, sizeof(again));
	ASSERT(sum_block_open(again, uuid, position, number) == 0);
	ASSERT(memcmp(again, block, sizeof(again)) == 0);
	for (unsigned page = 0; page < SUMS_A_BLOCK; page++)
		ASSERT(le32_get(sum_slot(again, page)) == le32_get(sum_slot(block, page)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t block[SUM_BLOCK] = {0}, head[28] = {0};
	memcpy(head, data, MIN(size, sizeof(head)));
	uint32_t position = le32_get(head + 16);
	uint64_t number = le64_get(head + 20) >> 3;
	if (size > sizeof(head))
		memcpy(block, data + sizeof(head), MIN(size - sizeof(head), sizeof(block)));
	judge(block, head, position, number);
	/* Sealed, and then damaged as the input says. */
	for (size_t i = 0; i < size; i += 37)
		block[(i * 131 + data[i]) % SUM_BLOCK] ^= data[i];
	judge(block, head, position, number);
	return 0;
}
