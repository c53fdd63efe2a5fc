/*
 * One of the two places of a disk where array metadata is kept. The metadata
 * area (disk.h) holds slot 0 at its start and slot 1 META_SLOT_SIZE behind it:
 *
 *      0  char magic[8]      "ISTHMETA"
 *      8  u32  header_crc    CRC32C of the first 4 KiB with this field zero
 *     12  u32  version       META_SLOT_VERSION
 *     16  u64  seq
 *     24  u64  length        of the payload
 *     32  u32  payload_crc   CRC32C
 *     36  u32  zero
 *     40  u8   array_uuid[16]
 *     56  zeros to 4096
 *   4096  payload: an Isthmus.ArrayMeta message
 *
 * All little endian. A slot holds when both checksums do. It is written as a
 * whole and then flushed; torn, it does not hold, and the other one does.
 */
#ifndef ISTHMUS_BLOCKCORE_META_SLOT_H
#define ISTHMUS_BLOCKCORE_META_SLOT_H

#include <stddef.h>
#include <stdint.h>

struct disk;

#define META_SLOT_VERSION 1
#define META_SLOT_SIZE	  (7 * 1024 * 1024ull)
#define META_HEADER_SIZE  4096u
#define META_PAYLOAD_MAX  (META_SLOT_SIZE - META_HEADER_SIZE)

enum slot_verdict {
	SLOT_OK, /* of the header; the payload is judged by meta_slot_read() */
	SLOT_BLANK,
	SLOT_DAMAGED,
	SLOT_FOREIGN, /* of another array */
	SLOT_VERSION, /* written by a newer program */
};

struct meta_slot {
	enum slot_verdict verdict;
	uint64_t seq, length;
	uint32_t payload_crc;
	char why[128]; /* when neither OK nor BLANK */
};

uint64_t meta_slot_offset(unsigned slot);
/* Bytes of a header -> ret. Pure. */
void meta_slot_decode(const uint8_t hdr[META_HEADER_SIZE], const uint8_t array_uuid[16],
		      struct meta_slot *ret);
/* Waits. Reads the header of a slot; a read error is SLOT_DAMAGED. -ENOMEM. */
int meta_slot_look(struct disk *d, unsigned slot, const uint8_t array_uuid[16],
		   struct meta_slot *ret);
/* Waits. The payload of a slot whose header is OK, to be freed. -ERR_CORRUPT (s->why), -ENOMEM. */
int meta_slot_read(struct disk *d, unsigned slot, struct meta_slot *s, uint8_t **ret);
/* Room for a header and `length` bytes of payload at +META_HEADER_SIZE; NULL: no memory. */
uint8_t *meta_slot_buffer(size_t length);
/* Fills in the header of such a buffer; the payload is in place. */
void meta_slot_seal(uint8_t *buf, const uint8_t array_uuid[16], uint64_t seq, size_t length);
/* Waits. Writes a sealed buffer and flushes. */
int meta_slot_write(struct disk *d, unsigned slot, const uint8_t *buf, size_t length);

#endif
