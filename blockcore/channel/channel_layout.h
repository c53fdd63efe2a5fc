/*
 * Layout of a channel segment: what one head and one controller share. All
 * offsets follow from the number of cache pages alone (channel_geometry()), so
 * neither side takes one from the other.
 *
 *   0            struct channel_head (one page)
 *   sq_off       struct channel_sqe[CHANNEL_ENTRIES]   head -> controller
 *   cq_off       struct channel_cqe[CHANNEL_ENTRIES]   controller -> head
 *   hazard_off   u32[CHANNEL_HAZARDS]: page number + 1 the head holds, 0: none
 *   touched_off  u8[cache pages]: set when the head hits a page
 *
 * Staging memory is the head's own (a memfd sealed against resizing), one for all its channels, so
 * that a request can be issued to either controller: CHANNEL_SMALL buffers of CHANNEL_SMALL_SIZE,
 * then CHANNEL_LARGE of CHANNEL_LARGE_SIZE.
 *
 * Rings. An index word is written by one side only and counts without wrapping
 * at the ring's size; entry = index % CHANNEL_ENTRIES. The head keeps at most
 * CHANNEL_ENTRIES requests in flight, an unread completion being one, so
 * neither ring can overflow; a controller that finds otherwise closes the channel.
 *
 * Doorbells. A side that is about to sleep stores 1 in its `sleeping` word and
 * then looks at the other's index once more. A side that has moved its index
 * then looks at the other's `sleeping` word, and when it takes a 1 from there
 * it writes the eventfd. All four are sequentially consistent, so one of the
 * two always sees the other.
 */
#ifndef ISTHMUS_CHANNEL_LAYOUT_H
#define ISTHMUS_CHANNEL_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "blockcore/channel/channel_client.h"

#define CHANNEL_MAGIC	   "ISTHCHAN"
#define CHANNEL_ENTRIES	   1024
#define CHANNEL_HAZARDS	   8192 /* pages that READ replies of 32 MiB lie in */
#define CHANNEL_HAZARDS_V2 2048 /* of versions 1 and 2 */
#define CHANNEL_SMALL	   128
#define CHANNEL_SMALL_SIZE (64 * 1024u)
#define CHANNEL_LARGE	   19
#define CHANNEL_LARGE_SIZE (1280 * 1024u)
#define CHANNEL_STAGING	   (CHANNEL_SMALL * CHANNEL_SMALL_SIZE + CHANNEL_LARGE * CHANNEL_LARGE_SIZE)
#define CHANNEL_IO_MAX	   (1024 * 1024u) /* bytes of one READ, WRITE or READ_COPY */
#define CHANNEL_NAME_MAX   32
#define CHANNEL_VOLUMES	   64 /* open at once */

struct channel_head {
	/* Written by the controller before the head sees it. */
	char magic[8];
	uint32_t version;
	uint32_t npages; /* of the cache: fixes the layout */
	uint64_t size;
	char head[CHANNEL_NAME_MAX];
	char group[CHANNEL_NAME_MAX];
	uint64_t instance;
	int32_t pid; /* of the head; with its start time: alive or not */
	uint32_t reserved;
	uint64_t pid_start;
	uint64_t epoch; /* of this segment's channel */
	/* Differs from `epoch` once another instance took over: this one is fenced. */
	_Atomic uint64_t fence;
	/* Set by the head when it left in order: nothing is held any more. */
	_Atomic uint32_t left;
	/* For `isthmus head list` only. */
	_Atomic uint64_t read_hits;

	/* Each side's words on cache lines of their own. */
	_Alignas(128) _Atomic uint32_t sq_tail; /* head */
	_Atomic uint32_t cq_head;		/* head */
	_Atomic uint32_t client_sleeping;	/* head; taken by the controller */
	_Alignas(128) _Atomic uint32_t sq_head; /* controller */
	_Atomic uint32_t cq_tail;		/* controller */
	_Atomic uint32_t server_sleeping;	/* controller; taken by the head */
};
_Static_assert(sizeof(struct channel_head) <= 4096, "one page");

enum channel_op {
	CHANNEL_READ = 1,  /* volume -> staging */
	CHANNEL_WRITE = 2, /* staging -> volume */
	CHANNEL_FLUSH = 3, /* off, len: what; len 0: the whole volume */
	CHANNEL_DISCARD = 4,
	CHANNEL_READ_COPY = 5, /* as READ, redundancy copy `copy` */
	CHANNEL_PREFETCH = 6,
};

/* Of a WRITE, which may be both. */
#define CHANNEL_FUA	 1
#define CHANNEL_PREFLUSH 2 /* all of the volume that was written before is stable first */

struct channel_sqe {
	uint8_t op;
	uint8_t flags;
	uint16_t copy;
	uint32_t volume;
	uint64_t epoch;
	uint64_t off;
	uint64_t len;
	uint32_t staging;     /* offset in the staging area */
	uint32_t tag;	      /* of the completion */
	uint64_t owner_epoch; /* under which the head took the controller for the volume's owner */
	/* PREFLUSH: of the memory that holds what is to be flushed. For the head itself: it does
	 * not issue the request to a controller with another (bdev.h). */
	uint64_t memory_id;
	uint8_t reserved[8];
};
_Static_assert(sizeof(struct channel_sqe) == 64, "one cache line");

struct channel_cqe {
	uint32_t tag;
	int32_t res; /* 0 or a negative error */
};
_Static_assert(sizeof(struct channel_cqe) == 8, "eight to a cache line");

struct channel_geometry {
	size_t sq_off, cq_off, hazard_off, touched_off, size;
	uint32_t nhazards;
};

static inline struct channel_geometry channel_geometry_of(uint32_t npages, uint32_t nhazards)
{
	struct channel_geometry g;
	g.nhazards = nhazards;
	g.sq_off = 4096;
	g.cq_off = g.sq_off + CHANNEL_ENTRIES * sizeof(struct channel_sqe);
	g.hazard_off = g.cq_off + CHANNEL_ENTRIES * sizeof(struct channel_cqe);
	g.touched_off = g.hazard_off + nhazards * sizeof(uint32_t);
	g.size = (g.touched_off + npages + 4095) & ~(size_t)4095;
	return g;
}

static inline struct channel_geometry channel_geometry(uint32_t npages)
{
	return channel_geometry_of(npages, CHANNEL_HAZARDS);
}

/* True when the other side sleeps and is ours to wake: then write its eventfd. */
static inline bool channel_must_ring(_Atomic uint32_t *sleeping)
{
	return atomic_load(sleeping) != 0 && atomic_exchange(sleeping, 0) != 0;
}

/* "h1", "head-2.site": what may be a file name's part; never with a ':', which stands between the
 * names of controller and head in a segment's. */
static inline bool channel_name_valid(const char *name)
{
	size_t n = 0;
	if (!name || name[0] == '.')
		return false;
	for (; name[n]; n++) {
		char c = name[n];
		bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
		if (!good || n >= CHANNEL_NAME_MAX - 1)
			return false;
	}
	return n > 0;
}

#endif
