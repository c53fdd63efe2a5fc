/*
 * Layout of a controller's cache segment: what is shared with its next
 * incarnation (warm restart), with heads (read-only) and with its partner.
 * All offsets are from the segment's start; nothing holds a pointer.
 *
 *   0            struct cache_super (one page)
 *   cbe_off      struct cbe[npages]
 *   bucket_off   struct cache_bucket[nbuckets]
 *   page_off     npages * page_size bytes of data
 *
 * Pages [0, n_own) are the controller's own. Pages [n_own, npages) are the mirror area: their CBEs
 * and data are written by the partner alone, until the controller takes the partner's volumes over
 * (blockcore/mirror/README.md): then the pages it adopts are its own where they are.
 *
 * The CBE array alone is the truth. The index (buckets and cbe.next) is rebuilt from it.
 *
 * A CBE is published by its state: every other field and the page's data are
 * written first, then `state` with release order. A process killed at any
 * store leaves each CBE either as it was or published whole. Where two CBEs
 * hold the same page of a volume, the higher generation is the truth (each
 * version of a page contains all valid sectors of the one before).
 *
 * Lock-free readers (heads):
 *   1. s = bucket.seq (acquire); odd: a writer is in it, look again
 *   2. walk at most CACHE_WALK_MAX CBEs from bucket.head by cbe.next; compare
 *      volume, page, state and that `valid` covers what is wanted
 *   3. store the page's number + 1 in a hazard slot, full fence
 *   4. bucket.seq == s still: the page is held, and its data will not change
 *      until the slot is cleared. Else clear the slot and look again.
 *   5. super.incarnation is still the one of the mapping: its controller lives, or nobody has taken
 *      its volumes over yet. Else clear the slot: what was found may be old.
 * The controller takes a page out of its bucket (seq += 2 in all), full fence,
 * then reads all hazard slots, and reuses the page only when none names it.
 */
#ifndef ISTHMUS_BLOCKCORE_CACHE_LAYOUT_H
#define ISTHMUS_BLOCKCORE_CACHE_LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_MAGIC    "ISTHCACH"
#define CACHE_VERSION  3
#define CACHE_SECTOR   512
#define CACHE_NO_PAGE  0xffffffffu
#define CACHE_WALK_MAX 64

struct cache_super {
	char magic[8];
	uint32_t version;
	uint32_t page_size; /* 4096 */
	uint32_t npages;    /* own and mirror area */
	uint32_t nbuckets;  /* power of two */
	uint64_t cbe_off;
	uint64_t bucket_off;
	uint64_t page_off;
	uint64_t size; /* of the whole segment */
	uint8_t array_uuid[16];
	char controller[32];
	uint64_t hash_seed;	      /* of cache_hash() */
	_Atomic uint64_t incarnation; /* counts openings by a controller, and its takeovers */
	_Atomic uint64_t generation;  /* last one given to a CBE; only grows */
	uint32_t crc;		      /* CRC32C of all fields before `incarnation` */
	/* Random, never 0: stays while every page published dirty is kept or was written to disk;
	 * new when the segment is formatted, or elements had to be dropped. */
	_Atomic uint64_t memory_id;
	/* Of own pages. 1: those that are STAGED are dirty ones; 0: they never were. */
	_Atomic uint32_t staged_true;
	_Atomic uint32_t mirror_staged_true; /* the same of the mirror area; the partner's word */
	_Atomic uint64_t split;		     /* n_own, and its complement in the upper half */
	/* 1: the mirror area holds what was adopted: the partner may not write there. */
	_Atomic uint32_t area_closed;
};
_Static_assert(sizeof(struct cache_super) <= 4096, "in the first page");

static inline uint64_t cache_split_word(uint32_t nown)
{
	return (uint64_t)~nown << 32 | nown;
}
/* Own pages, 0 when the word is damaged. */
static inline uint32_t cache_split_own(uint64_t word)
{
	uint32_t nown = (uint32_t)word;
	return word == cache_split_word(nown) ? nown : 0;
}

/* Of a segment whose controller has ended for certain, by whoever takes its volumes over, before it
 * serves them: heads that have it mapped find nothing in it any more. */
static inline void cache_super_retire(struct cache_super *s)
{
	atomic_fetch_add(&s->incarnation, 1);
}

enum cbe_state {
	CBE_FREE = 0,
	CBE_FILLING = 1, /* being read from disk or received from a host: not adopted */
	CBE_CLEAN = 2,	 /* valid sectors equal the disk */
	CBE_DIRTY = 3,	 /* sectors of `dirty` are newer than the disk */
	CBE_STAGED = 4,	 /* dirty or nothing, with all others that are: super.staged_true says */
};

struct cbe {
	_Atomic uint32_t state;	 /* enum cbe_state */
	_Atomic uint32_t volume; /* volume id */
	_Atomic uint64_t page;	 /* page number in the volume */
	uint64_t generation;
	_Atomic uint32_t next; /* next CBE in the bucket, CACHE_NO_PAGE: last */
	uint32_t mirror; /* its copy's number in the partner's mirror area, CACHE_NO_PAGE: none */
	_Atomic uint16_t valid; /* bit i: sector i of the page holds data */
	_Atomic uint16_t dirty; /* bit i: sector i is newer than the disk */
	uint8_t reserved[28];
};
_Static_assert(sizeof(struct cbe) == 64, "one cache line");

struct cache_bucket {
	_Atomic uint32_t seq;  /* odd while a writer changes the chain */
	_Atomic uint32_t head; /* first CBE, CACHE_NO_PAGE: none */
};

/* Pages whose numbers differ only in the low CACHE_GROUP_BITS share a shard (a run of 128 KiB). */
#define CACHE_GROUP_BITS 5

static inline uint64_t cache_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	x ^= x >> 33;
	return x;
}

/* Bucket of a page: the group's hash chooses the run of buckets, the low bits the bucket in it,
 * so neighbours lie in neighbouring buckets. nbuckets is at least 1 << CACHE_GROUP_BITS. */
static inline uint32_t cache_bucket_of(uint64_t seed, uint32_t nbuckets, uint32_t volume,
				       uint64_t page)
{
	uint64_t group = cache_mix(seed ^ ((uint64_t)volume << 40) ^ (page >> CACHE_GROUP_BITS));
	return (uint32_t)((group << CACHE_GROUP_BITS) | (page & ((1u << CACHE_GROUP_BITS) - 1))) &
	       (nbuckets - 1);
}

#endif
