/* Disk labels: any block is judged, and what is accepted is encoded to the same again. */
#include "blockcore/disk/disk_label.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(uint8_t *blk)
{
	struct disk_label l;
	char why[128];
	for (uint32_t copy = 0; copy < 2; copy++) {
		if (disk_label_decode(blk, copy, &l, why) != LABEL_OK)
			continue;
		uint8_t again[DISK_LABEL_SIZE], third[DISK_LABEL_SIZE];
		struct disk_label l2;
		disk_label_encode(again, copy, &l);
		ASSERT(disk_label_decode(again, copy, &l2, why) == LABEL_OK);
		disk_label_encode(third, copy, &l2);
		ASSERT(memcmp(again, third, sizeof(again)) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t blk[DISK_LABEL_SIZE] = {0};
	memcpy(blk, data, MIN(size, sizeof(blk)));
	judge(blk);
	/* The same with a magic and a checksum that hold: what lies behind them is reached. */
	memcpy(blk, DISK_LABEL_MAGIC, 8);
	le32_put(blk + 8, 0);
	le32_put(blk + 8, crc32c(blk, sizeof(blk)));
	judge(blk);
	return 0;
}
