/*
 * What lies where on a PIV volume. All numbers little endian; everything in blocks of 4 KiB.
 *
 *   block 0, 1   header, twice
 *   block 2      claim of the head that fills the volume, while it has no header yet
 *   block 8 ..   slots of slot_blocks each, then regions of region_blocks each (ledger_layout.h)
 *
 * header:  0 magic u32 | 4 version u32 | 8 group id u64 | 16 slots u32 | 20 slot_blocks u32 |
 *          24 regions u32 | 28 region_blocks u32 | 32 crc u32 of bytes 0..31
 *          Version 1 has no regions and the crc of bytes 0..23 at 24.
 *
 * slot:    block 0: claim; then two halves of (slot_blocks - 1) / 2 blocks
 * claim:   0 magic u32 | 4 version u32 | 8 instance u64 | 16 name, 64 bytes, zero-filled |
 *          80 crc u32 of bytes 0..79. All zeros: free
 *
 * half:    frames, each from the start of a block. The first is a checkpoint; each that follows
 *          has the next sequence number. The end is where that does not hold.
 * frame:   0 magic u32 | 4 payload length u32 | 8 sequence u64 | 16 crc u32 of bytes 0..15 and
 *          the payload | 20 reserved u32 | 24 payload: { length u32, PivRecord }*
 *
 * The state of a slot is that of the half whose checkpoint has the higher sequence number: a
 * checkpoint goes to the start of the *other* half and is stable before the first frame after it
 * is written, so a crash at any write leaves the old half or the new.
 *
 * Block 2 is a claim whose instance counts up while its head fills the volume.
 */
#ifndef ISTHMUS_NASFRONT_PIV_LAYOUT_H
#define ISTHMUS_NASFRONT_PIV_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nasfront/piv/piv.h"
#include "proto/piv.pb-c.h"

#define PIV_BLOCK	   4096
#define PIV_HEADER_MAGIC   0x56495049 /* "IPIV" */
#define PIV_CLAIM_MAGIC	   0x4c434950 /* "PICL" */
#define PIV_FRAME_MAGIC	   0x52464950 /* "PIFR" */
#define PIV_HEADER_VERSION 2	      /* 1 is read, and written where there are no regions */
/* Of records: 2 added monitored clients. Older ones are read; who knows only 1 refuses 2. */
#define PIV_RECORD_VERSION 2
#define PIV_FILL_BLOCK	   2
#define PIV_FIRST_SLOT	   8
#define PIV_SLOTS	   16
#define PIV_SLOTS_MAX	   64
#define PIV_SLOT_MIN	   9
#define PIV_SLOT_BLOCKS	   1024 /* of a new volume, as far as it has room */
#define PIV_SLOT_MAX	   1024
#define PIV_FRAME_HEAD	   24
#define PIV_REGIONS	   16 /* of a new volume, as far as it has room */
#define PIV_REGIONS_MAX	   256
#define PIV_REGION_MIN	   256	 /* blocks */
#define PIV_REGION_MAX	   16384 /* blocks */
#define PIV_REGION_CLAIMS  2	 /* copies, in the first blocks */

struct piv_header {
	uint64_t group_id;
	uint32_t slots, slot_blocks;
	uint32_t regions, region_blocks; /* 0: none */
};
/* Equal parts of a volume, each with a claim at its start. */
struct piv_area {
	uint64_t first; /* block */
	uint32_t count, blocks;
	unsigned claims; /* copies of a part's claim */
};
struct piv_claim {
	uint64_t instance;
	char name[PIV_NAME_MAX + 1]; /* empty: free */
};

/* piv_volume.c: one volume. 0 or an error; -ENODATA: blank; -ERR_CORRUPT; -ERR_VERSION. */
int piv_header_read(struct bdev *b, struct piv_header *ret);
int piv_header_write(struct bdev *b, const struct piv_header *h);
int piv_format(struct bdev *b, uint64_t group_id, struct piv_header *ret);
uint32_t piv_half_blocks(const struct piv_header *h);
uint64_t piv_blocks(const struct piv_header *h); /* that the volume has to have */
struct piv_area piv_slots(const struct piv_header *h);
struct piv_area piv_regions(const struct piv_header *h);
uint64_t piv_area_off(const struct piv_area *a, unsigned index); /* bytes */
bool piv_all_zero(const uint8_t *p, size_t n);

/* piv_claim.c: whose is which. Without a name: nobody's. 0 or an error; -ERR_CORRUPT. */
int piv_claim_read_at(struct bdev *b, uint64_t off, struct piv_claim *ret);
int piv_claim_write_at(struct bdev *b, uint64_t off, const struct piv_claim *c);
int piv_claim_read(struct bdev *b, const struct piv_area *a, unsigned index, struct piv_claim *ret);
int piv_claim_write(struct bdev *b, const struct piv_area *a, unsigned index,
		    const struct piv_claim *c);
struct piv_found {
	unsigned index; /* the own, else a free one */
	bool own, room;
	bool damaged;		/* a claim cannot be read; not told where the own one was found */
	struct piv_claim claim; /* own */
};
int piv_claim_find(struct bdev *b, const struct piv_area *a, const char *name,
		   struct piv_found *ret);
/* The part of that name, else a free one. The claim that is there is written over with c; of two
 * that take one for the same name at once c gets the instance that stands. -ENOSPC, -EBUSY. Waits.
 */
int piv_claim_take(struct env *env, struct bdev *b, const struct piv_area *a, struct piv_claim *c,
		   unsigned *ret);

/* piv_fill.c: makes a blank volume what the other one is, its header (h) last. Heads that find it
 * blank at the same time may all call this: one of them fills. -EEXIST: it has a header, by
 * another. Waits. */
int piv_fill(struct env *env, const struct piv_claim *self, struct bdev *from, struct bdev *to,
	     const struct piv_header *h);

/* piv_log.c: where the next frame of a slot goes. */
struct piv_log {
	struct bdev *bdev;
	struct piv_header header;
	unsigned slot;
	unsigned half;
	uint32_t block; /* in the half */
	uint64_t seq;	/* of the last frame; 0: none yet */
};
/* Reads the slot into head (its lists are replaced) and positions the log behind it. An empty slot
 * is no error. */
int piv_log_load(struct piv_log *l, struct piv_head *head);
/* Room for a payload of that size? */
bool piv_log_fits(const struct piv_log *l, size_t payload);
/* Appends one frame. A failed write does not move the log. */
int piv_log_append(struct piv_log *l, const void *payload, size_t len);
/* Puts a checkpoint at the start of the other half and makes it stable. */
int piv_log_checkpoint(struct piv_log *l, const void *payload, size_t len);

/* piv_head.c: the decoded state, and records. */
void piv_head_clear(struct piv_head *h);
int piv_head_copy(struct piv_head *to, const struct piv_head *from);
/* -ENOMEM, -ENOSPC (list full) or 0. */
int piv_head_serve(struct piv_head *h, const char *fs, const char *export_path, bool gone);
int piv_head_client(struct piv_head *h, const char *address, const char *export_path,
		    uint64_t first_ns, uint64_t last_ns, bool gone);
int piv_head_monitor(struct piv_head *h, const char *name, const char *address, bool gone);
/* Applies a record from a volume; what does not fit is left out. -ERR_VERSION for an unknown
 * version. */
int piv_head_apply(struct piv_head *h, const Isthmus__PivRecord *r);

/* A payload under construction. */
struct piv_payload {
	uint8_t *data;
	size_t len, size;
	bool failed;
};
void piv_payload_add(struct piv_payload *p, const Isthmus__PivRecord *r);
void piv_payload_free(struct piv_payload *p);
void piv_payload_member(struct piv_payload *p, const struct piv_head *h);
void piv_payload_serve(struct piv_payload *p, const struct piv_head *h, const struct piv_serve *s,
		       bool gone);
void piv_payload_client(struct piv_payload *p, const struct piv_head *h, const struct piv_client *c,
			bool gone);
void piv_payload_monitor(struct piv_payload *p, const struct piv_head *h,
			 const struct piv_monitor *m, bool gone);
void piv_payload_checkpoint(struct piv_payload *p, const struct piv_head *h);

#endif
