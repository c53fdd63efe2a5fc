/*
 * The label of a disk, one 4 KiB block, little endian, kept twice:
 *
 *      0  char magic[8]      "ISTHDISK"
 *      8  u32  crc           CRC32C of the block with this field zero
 *     12  u32  version       DISK_LABEL_VERSION
 *     16  u32  copy          0: start of the disk, 1: end
 *     20  u32  position      in the pool
 *     24  u64  epoch         the higher valid copy is the truth
 *     32  u64  size          of the disk, rounded down to 4 KiB
 *     40  u8   array_uuid[16]
 *     56  u8   disk_uuid[16]
 *     72  u8   pool_uuid[16] zeros: in no pool
 *     88  zeros to 4096
 *
 * A copy is valid when the magic, the checksum, the version and the copy number
 * hold, and size is at least DISK_SIZE_MIN and a multiple of 4 KiB.
 */
#ifndef ISTHMUS_BLOCKCORE_DISK_LABEL_H
#define ISTHMUS_BLOCKCORE_DISK_LABEL_H

#include <stdint.h>
#include "blockcore/disk/disk.h"

#define DISK_LABEL_MAGIC   "ISTHDISK"
#define DISK_LABEL_VERSION 1
#define DISK_LABEL_SIZE	   4096u

enum label_verdict {
	LABEL_OK,
	LABEL_BLANK,   /* all zeros */
	LABEL_OTHER,   /* not zeros, and not a label of ours */
	LABEL_DAMAGED, /* our magic, but a checksum or field does not hold */
	LABEL_VERSION, /* a valid label of another version: hands off */
};

/* Reads copy number `copy`; ret is written only for LABEL_OK. why: at least 128 bytes. */
enum label_verdict disk_label_decode(const uint8_t blk[DISK_LABEL_SIZE], uint32_t copy,
				     struct disk_label *ret, char *why);
void disk_label_encode(uint8_t blk[DISK_LABEL_SIZE], uint32_t copy, const struct disk_label *l);

#endif
