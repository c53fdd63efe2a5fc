/*
 * The stripe log of a parity pool: what is about to be written to a row stands in it, stable,
 * before the row is changed. A row that lacks a disk is only as good as its parity: a crash between
 * the writes of its elements would damage data of the missing one that nobody wrote. Such rows are
 * logged; all rows are with `always`, which covers a crash and a disk lost in it too.
 *
 * A redo log. An entry holds elements of one slice of a row as they are going to be (data that is
 * written, and parity), or says that rows become zeros. At assembly after an unclean close the
 * entries are written to their places once more, in order. Entries are in the log until all that
 * they cover is stable in its place: the log is emptied as a whole, when it is full.
 *
 * Every disk has LOG_BLOCKS blocks of 4 KiB for entries, and before them two for the marker. An
 * entry lies on one disk for each further disk that the pool could lose, plus one. The marker is on
 * all disks, the newer one written over the older; it names the key of the entries that count. A
 * new marker with another key empties the log. Little endian. The marker:
 *
 *     0  magic "ISTHSLGM"
 *     8  CRC32C of the block with this field zero
 *    12  version (1)
 *    16  uuid of the pool
 *    32  number of the marker: the highest counts
 *    40  key (16 bytes, random: what hosts write cannot pass for an entry)
 *    56  zeros
 *
 * An entry is a head of one block, and the elements of its mask one after the other, padded to
 * blocks:
 *
 *     0  magic "ISTHSLGE"
 *     8  CRC32C of the head with this field zero
 *    12  version (1)
 *    16  uuid of the pool
 *    32  number of the entry: they are replayed in this order
 *    40  key of the marker
 *    56  row
 *    64  rows that become zeros; 0: there are elements
 *    68  offset in the chunk
 *    72  bytes of each element
 *    76  CRC32C of the elements
 *    80  mask of elements (pool_stripe.h)
 *    88  zeros
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_LOG_H
#define ISTHMUS_BLOCKCORE_POOL_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct raid;
struct pool_log;
struct stripe;
struct stripe_source;

#define LOG_OFF		(16 * 1024ull) /* of a disk: two markers, then the entries */
#define LOG_BLOCK	4096u
#define LOG_ENTRIES_OFF (LOG_OFF + 2 * LOG_BLOCK)
#define LOG_BLOCKS	250u /* to the end of the reserved space, 1 MiB */
#define LOG_PAYLOAD_MAX (480 * 1024u)
#define LOG_VERSION	1

int pool_log_new(struct pool_log **ret, struct raid *p);
void pool_log_free(struct pool_log *l);

/* Are writes of this row logged now? A hint; bytes of a slice that fits an entry. */
bool pool_log_wanted(const struct raid *p, uint64_t row);
uint32_t pool_log_slice(const struct raid *p);

/*
 * Waits. Before elements of a slice are written: logs them where that is wanted (s->logged says so;
 * pool_log_end() then, after the last write). -E2BIG: the slice is wider than pool_log_slice().
 * Errors: nothing may be written.
 */
int pool_log_begin(struct stripe *s, uint64_t elems, const struct stripe_source *src);
/* The same for rows that become zeros; ret: whether pool_log_end() is to be called. */
int pool_log_begin_zeros(struct raid *p, uint64_t row, uint32_t nrows, bool *ret_logged);
void pool_log_end(struct raid *p);

/* Waits. Empties the log: what it covers is made stable first. done: positions whose rows need not
 * be logged from then on. */
int pool_log_empty(struct raid *p, uint64_t done);

/* Waits. p->log_always; false: the log is emptied with it. */
int pool_log_set_always(struct raid *p, bool always);

/* Waits, before the pool is used. replay: it was not closed in order. -ERR_VERSION: a newer program
 * wrote the log. */
int pool_log_load(struct raid *p, bool replay);

struct pool_log_stats {
	uint64_t entries, bytes, emptied, replayed;
};
void pool_log_stats(const struct raid *p, struct pool_log_stats *ret);

#endif
