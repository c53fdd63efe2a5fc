/*
 * Checksums of the pages of a RAID group, a pool's choice at its creation. Each 4 KiB page of each
 * position's data (copies and parity alike) has a CRC32C on the same disk, in an area before the
 * data: at DISK_DATA_OFF, pool_sums_area() bytes; the data begins after it.
 *
 * The area is an array of blocks of 4 KiB; block b holds the sums of pages b * 1016 and on. A block
 * is eight sectors of 512 bytes, sector k of the area those of pages k * 127 and on, little endian:
 *
 *     0  u32 sum[127]   CRC32C of the page, 1 where that is 0; 0: none is known
 *   508  u32 check      CRC32C of: uuid of the group (16 bytes), position (u32), k (u64), sum[]
 *
 * A sector whose check does not hold has no sums: it was never written, is damaged, or is another
 * pool's. A torn block is old in some sectors and new in others; both count.
 *
 * What the disks say may be old where the write-intent map stands (README.md): blocks are kept in
 * memory and written when they must make room, or by pool_sums_write().
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_SUMS_H
#define ISTHMUS_BLOCKCORE_POOL_SUMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct raid;
struct pool_sums;

#define SUM_PAGE	4096u
#define SUM_BLOCK	4096u
#define SUM_SECTOR	512u
#define SUMS_A_SECTOR	127u
#define SUMS_A_BLOCK	(SUM_BLOCK / SUM_SECTOR * SUMS_A_SECTOR)
#define SUM_NONE	0u
#define SUM_CACHE_BYTES (16 * 1024 * 1024ull) /* of a group, at most */

/* Bytes that the area takes on a disk with `bytes` of data. */
uint64_t pool_sums_area(uint64_t bytes);

/* ---- blocks (pool_sums_format.c) ---- */

/* Where the sum of a page of the block lies in it (u32, little endian). */
static inline uint8_t *sum_slot(uint8_t *block, unsigned page)
{
	return block + page / SUMS_A_SECTOR * SUM_SECTOR + page % SUMS_A_SECTOR * 4;
}

/* Sets the checks of the sectors. */
void sum_block_seal(uint8_t block[SUM_BLOCK], const uint8_t uuid[16], uint32_t position,
		    uint64_t number);
/* Sectors whose check does not hold become SUM_NONE in all their sums. How many there were. */
unsigned sum_block_open(uint8_t block[SUM_BLOCK], const uint8_t uuid[16], uint32_t position,
			uint64_t number);

/* ---- the blocks in memory (pool_sums.c) ---- */

/* blocks: how many are kept; 0: as many as there are, within SUM_CACHE_BYTES. */
int pool_sums_new(struct pool_sums **ret, struct raid *p, unsigned blocks);
void pool_sums_free(struct pool_sums *s);

/* Another disk is about to take the position: what is known of it is forgotten. */
void pool_sums_forget(struct pool_sums *s, unsigned position);
/* Counts that; a write takes the number of before, so that it does not set sums of the next disk.
 */
unsigned pool_sums_gen(const struct pool_sums *s, unsigned position);

/*
 * Waits. Sums of n pages from `page` of the position's data. Where a block cannot be read its pages
 * have none. Errors: no block could give way, since they cannot be written.
 */
int pool_sums_get(struct pool_sums *s, unsigned position, uint64_t page, unsigned n, uint32_t *ret);
/* Waits. sums NULL: all get `value`. Of another gen: nothing is done. */
int pool_sums_put(struct pool_sums *s, unsigned position, unsigned gen, uint64_t page, uint64_t n,
		  const uint32_t *sums, uint32_t value);

/*
 * Waits. Writes what the disks do not have yet; the caller flushes. regions: a bit for each region
 * of 1 << shift bytes of the pool's space, only what is of these; NULL: all. An error when a
 * position that is in use could not be written.
 */
int pool_sums_write(struct pool_sums *s, const uint64_t *regions, unsigned shift);

struct pool_sums_stats {
	uint64_t reads, writes; /* blocks, from and to the disks */
	uint64_t lost;		/* blocks that could not be read */
};
void pool_sums_stats(const struct pool_sums *s, struct pool_sums_stats *ret);

/* ---- pages held against them (pool_sums_io.c) ---- */

/* What was read from the position: -ERR_CORRUPT, a page does not fit its sum. Where what lies on
 * the disks is not to be judged (`blind`), nothing is looked at. */
int pool_sums_judge(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		    uint64_t off);
/* After a write of these bytes to the position, which ended with rc; what the write ends with. */
int pool_sums_written(struct raid *p, unsigned position, unsigned gen, const struct iovec *iov,
		      int iovcnt, uint64_t off, int rc);
/* The same for zeros. */
int pool_sums_zeroed(struct raid *p, unsigned position, unsigned gen, uint64_t off, uint64_t len,
		     int rc);
/* The position holds these bytes, as they were read: their sums are made new where they are not to
 * be judged. Alone in the region or row. */
int pool_sums_renew(struct raid *p, unsigned position, const uint8_t *buf, uint64_t off,
		    uint64_t len);
/* The same where some of them have no sum yet. They were held against those that have one. */
int pool_sums_complete(struct raid *p, unsigned position, const uint8_t *buf, uint64_t off,
		       uint64_t len);
/* Somebody alone in the region or row found that the position holds wrong data there: counts it,
 * and tells. */
void pool_wrong_told(struct raid *p, unsigned position, uint64_t off, uint64_t len);

/* A scrub found no right copy of something in [off, off + len) of the space: counts it, and tells.
 */
void pool_unmended_told(struct raid *p, uint64_t off, uint64_t len);

enum page_verdict { PAGE_FITS, PAGE_UNJUDGED, PAGE_WRONG };
/* Of one page that was read; alone in its region. */
int pool_page_judge(struct raid *p, unsigned position, const uint8_t *page, uint64_t off,
		    enum page_verdict *ret);

#endif
