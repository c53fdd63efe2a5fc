/*
 * The write-intent map of a redundant pool: which regions of its space may differ between copies,
 * have wrong parity, or checksums that are old, should the writes under way be cut off now. So an
 * unclean close costs a look at these regions, not at all of the pool; and a disk that was away for
 * a while has missed writes in these regions only.
 *
 * Every disk of the pool keeps the map twice, at INTENT_OFF and one block on; a change is written
 * to the older one, with a higher sequence, to all disks in use, before the first write of a
 * region. Regions that are quiet are taken out again, all at once, after their checksums were
 * written and a flush; none is while a resync is needed or a disk is out. A block (4 KiB, little
 * endian):
 *
 *     0  magic "ISTHINTN"
 *     8  CRC32C of the block with this field zero
 *    12  version (1)
 *    16  uuid of the pool
 *    32  sequence
 *    40  bytes of a region (a power of two)
 *    48  regions
 *    56  zeros to 64
 *    64  a bit a region, least significant first
 */
#ifndef ISTHMUS_BLOCKCORE_POOL_INTENT_H
#define ISTHMUS_BLOCKCORE_POOL_INTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raid;
struct pool_intent;

#define INTENT_OFF	  8192ull /* of a disk */
#define INTENT_BLOCK	  4096
#define INTENT_VERSION	  1
#define INTENT_HEAD	  64
#define INTENT_BITS	  ((INTENT_BLOCK - INTENT_HEAD) * 8)
#define INTENT_REGION_MIN (4 * 1024 * 1024ull)

int pool_intent_new(struct pool_intent **ret, struct raid *p);
void pool_intent_free(struct pool_intent *m);

/* Around every write of [off, off + len) of the pool's space, before the first byte of it is sent.
 * May wait. An error when the map could not be written: nothing may be, then. */
int pool_intent_enter(struct pool_intent *m, uint64_t off, uint64_t len);
void pool_intent_leave(struct pool_intent *m, uint64_t off, uint64_t len);

/*
 * Waits. Before the pool is used: what the disks say. keep: regions in the map are kept (the pool
 * was not closed in order, or a disk is out), else it begins empty. Where no map holds, all regions
 * are in it. unclean: it was not closed in order.
 */
void pool_intent_load(struct pool_intent *m, bool keep, bool unclean);
/* Stood any of [off, end) in the map when it was loaded, after an unclean close? Then checksums
 * need not fit there until the resync has ended. */
bool pool_intent_blind(const struct pool_intent *m, uint64_t off, uint64_t end);
/* Calls fn for the parts of the used space that stand in the map (all: for all of it), until it
 * fails. */
struct extent_run;
int pool_each_part(struct raid *p, const struct extent_run *used, size_t nused, bool all,
		   int (*fn)(void *arg, uint64_t off, uint64_t len), void *arg);
/* Waits. Takes out what has been quiet since the last call. */
void pool_intent_sweep(struct pool_intent *m);
/* Regions in the map, and all. */
void pool_intent_count(struct pool_intent *m, uint32_t *ret_set, uint32_t *ret_all);

#endif
