/*
 * Rows of a parity pool (RAID 5 and 6): where the elements of a row lie, and a slice of
 * one row as it is worked on.
 *
 * A row is one chunk of every disk: k data elements and m parity elements. Parity goes round
 * (left-symmetric), data follows it:
 *
 *   P of row r lies at position  (ndisks - 1 - r % ndisks)
 *   Q one further, data element i (m + i) further, all modulo ndisks
 *
 * Logical byte L: row L / (k * chunk), element (L / chunk) % k; row r is at r * chunk of
 * every disk's data. Elements are numbered as in parity.h.
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_STRIPE_H
#define ISTHMUS_BLOCKCORE_POOL_STRIPE_H

#include "runtime/iov_cursor.h"
#include "blockcore/pool/parity.h"
#include "blockcore/pool/pool_impl.h"

/* A slice is at most so wide: what wider chunks hold is worked on piece after piece. */
#define STRIPE_SLICE (64 * 1024u)
#define STRIPE_IOV   80 /* pieces of one element's part of a caller's buffers */

static inline uint64_t stripe_row_bytes(const struct raid *p)
{
	return (uint64_t)p->data * p->chunk;
}

unsigned stripe_position(const struct raid *p, uint64_t row, unsigned elem);

/*
 * What a contiguous write of one row covers, cut into at most three bands: in each, the
 * same whole run of elements [first, end) is written over the same bytes [lo, hi) of the chunk.
 */
struct stripe_band {
	uint32_t lo, hi;
	unsigned first, end;
};
unsigned stripe_bands(const struct raid *p, uint64_t off_in_row, uint64_t len,
		      struct stripe_band ret[3]);

/*
 * Bytes [lo, lo + len) of every element of a row, with memory for them. Masks are by element.
 * Whoever has one holds the row's lock (pool_lock_alone), and took the memory after it.
 */
struct stripe {
	struct raid *p;
	uint64_t row;
	uint32_t lo, len;
	uint64_t bad;	 /* not to be read: the disk is out, or could not read it just now */
	uint64_t out;	 /* of these: not to be written either */
	uint64_t failed; /* of these: a disk in use that could not read */
	uint64_t loaded; /* buf[] holds what the row holds */
	bool logged;	 /* there is an entry of what is being written (pool_log.h) */
	struct stripe_buf *mem;
	uint8_t *buf[PARITY_ELEMS];
};

/* Waits for memory. */
void stripe_begin(struct stripe *s, struct raid *p, uint64_t row, uint32_t lo, uint32_t len);
void stripe_end(struct stripe *s);

/* Waits. Reads these elements, all at once; what a disk cannot read joins `bad`. -EIO when a read
 * failed for another reason than its disk. */
int stripe_read(struct stripe *s, uint64_t elems);
/* Waits. Loads these elements, by decoding where they cannot be read. -ERR_MEDIUM: too few of the
 * row can be. */
int stripe_load(struct stripe *s, uint64_t elems);
/*
 * Waits. Writes these elements at once, data from iov[i] where it is given (niov[i] > 0), else from
 * buf. A disk that fails is dropped where the row can spare it. flags: BDEV_FUA.
 */
struct stripe_source {
	const struct iovec *iov;
	int n;
};
int stripe_write(struct stripe *s, uint64_t elems, const struct stripe_source *src, unsigned flags);

static inline uint64_t stripe_all(const struct raid *p)
{
	return p->ndisks == 64 ? UINT64_MAX : (1ull << p->ndisks) - 1;
}
static inline uint64_t stripe_data(const struct raid *p)
{
	return (1ull << p->data) - 1;
}
static inline uint64_t stripe_parity(const struct raid *p)
{
	return stripe_all(p) & ~stripe_data(p);
}

/* More memory of the slice, by element: room for new bytes, and for pieces (STRIPE_IOV). */
uint8_t *stripe_fresh(struct stripe *s, unsigned elem);
struct iovec *stripe_iov(struct stripe *s, unsigned elem);

/* ---- memory of stripes ---- */

struct stripe_bufs;
int stripe_bufs_new(struct stripe_bufs **ret, unsigned ndisks, unsigned count);
void stripe_bufs_free(struct stripe_bufs *b);

#endif
