/* Blocks of checksums (layout in pool_sums.h). */
#include "blockcore/pool/pool_sums.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <string.h>

#define SECTORS	  (SUM_BLOCK / SUM_SECTOR)
#define OFF_CHECK (SUMS_A_SECTOR * 4)
#define AREA_UNIT (1024 * 1024ull)

_Static_assert(OFF_CHECK + 4 == SUM_SECTOR, "a sector is full");

uint64_t pool_sums_area(uint64_t bytes)
{
	uint64_t pages = (bytes + SUM_PAGE - 1) / SUM_PAGE;
	uint64_t blocks = (pages + SUMS_A_BLOCK - 1) / SUMS_A_BLOCK;
	return ROUND_UP(blocks * SUM_BLOCK, AREA_UNIT);
}

static uint32_t sector_check(const uint8_t *sector, const uint8_t uuid[16], uint32_t position,
			     uint64_t number)
{
	uint8_t place[12];
	le32_put(place, position);
	le64_put(place + 4, number);
	uint32_t s = crc32c_add(CRC32C_INIT, uuid, 16);
	s = crc32c_add(s, place, sizeof(place));
	return crc32c_end(crc32c_add(s, sector, OFF_CHECK));
}

void sum_block_seal(uint8_t block[SUM_BLOCK], const uint8_t uuid[16], uint32_t position,
		    uint64_t number)
{
	for (unsigned i = 0; i < SECTORS; i++) {
		uint8_t *sector = block + i * SUM_SECTOR;
		le32_put(sector + OFF_CHECK,
			 sector_check(sector, uuid, position, number * SECTORS + i));
	}
}

unsigned sum_block_open(uint8_t block[SUM_BLOCK], const uint8_t uuid[16], uint32_t position,
			uint64_t number)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < SECTORS; i++) {
		uint8_t *sector = block + i * SUM_SECTOR;
		if (le32_get(sector + OFF_CHECK) ==
		    sector_check(sector, uuid, position, number * SECTORS + i))
			continue;
		memset(sector, 0, SUM_SECTOR);
		bad++;
	}
	return bad;
}
