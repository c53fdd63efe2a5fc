/*
 * What lies where in a region of a PIV volume, and the ledger's own structures. All numbers little
 * endian; everything in blocks of 4 KiB.
 *
 *   block 0, 1   claim, twice (piv_layout.h): the service's name; its instance is the region's id
 *   block 2 ..   the ring
 *
 * ring:    frames, each in blocks that follow each other: one that does not fit before the end
 *          begins at the ring's block 0. A frame is one write with FUA, and the next is written
 *          when it has returned: what is stable is always the first so and so many.
 * frame:   0 magic u32 | 4 version u32 | 8 region id u64 | 16 sequence u64 | 24 tail u64 |
 *          32 term u64 | 40 change u64 | 48 length u32 | 52 flags u32 | 56 reserved u32 |
 *          60 crc u32 of bytes 0..59 and 64..length | 64 records
 *   sequence one more than the frame before; a ring that is filled anew begins above all that
 *            lie there
 *   tail     the oldest frame that still counts
 *   term     of the open: when it was (ns since 1970), or more, so that it is above all terms that
 *            could be seen. Of two volumes' states that of the higher term is the truth, in one
 *            term that of the higher change
 *   change   all changes up to this number are in the frames up to this one
 *   flags    1: more frames follow before the ring holds a whole state: until then it holds none
 *            of the sequences from this frame's tail on
 * record:  0 key length u16 | 2 flags u16: 1 gone | 4 value length u32 | 8 key, value
 *
 * The state of a ring is that of the records in the frames from tail to head, later ones winning.
 * The head is the frame with the highest sequence that is not one of an unfinished filling. All
 * frames from its tail on have to be there: one that is not is damage. A frame at the end whose
 * checksum does not hold was never finished (or is the last, damaged: nobody can tell). A frame
 * begins at blocks that are neither of its own tail .. head nor of that of the last stable frame.
 *
 * The region's id is random and nobody is told, so no value that a client makes up looks like a
 * frame; and what lies there of another service does not either.
 */
#ifndef ISTHMUS_NASFRONT_LEDGER_LAYOUT_H
#define ISTHMUS_NASFRONT_LEDGER_LAYOUT_H

#include <bsd/sys/queue.h>
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv_layout.h"
#include "runtime/task.h"

#define LEDGER_MAGIC	     0x6c656467
#define LEDGER_FRAME_MAGIC   0x524c4950 /* "PILR" */
#define LEDGER_FRAME_VERSION 1
#define LEDGER_FRAME_HEAD    64
#define LEDGER_FRAME_MORE    1u
#define LEDGER_RECORD_HEAD   8
#define LEDGER_RECORD_GONE   1u
#define LEDGER_FRAME_MIN     16 /* blocks of the largest frame in the smallest region */
#define LEDGER_FRAME_MAX     256
#define LEDGER_SEQ_MAX	     (1ull << 62)
#define LEDGER_RINGS	     2

/* Where a record stands with one of the rings. */
struct place {
	TAILQ_ENTRY(record) lru;   /* seq: in ring.old, by the frame it lies in */
	TAILQ_ENTRY(record) queue; /* dirty: in ring.queue, by `since` */
	uint64_t seq;		   /* of the frame that has it; 0: none */
	uint64_t since;		   /* the first change that is not in a frame */
	bool dirty;
};
TAILQ_HEAD(records, record);

/* A live record, or one that is gone while a ring may still hold its value. */
struct record {
	struct record *next; /* in its bucket */
	struct place at[LEDGER_RINGS];
	uint8_t *value;
	uint32_t vlen, vsize;
	uint16_t klen;
	bool gone;
	uint8_t key[];
};

enum ring_state {
	RING_OFF,     /* not written; its places are clear */
	RING_FILLING, /* the whole state is under way to it */
	RING_ON,
};

/* One volume's copy. */
struct ring {
	unsigned index; /* 0: main, 1: backup */
	struct bdev *bdev;
	enum ring_state state;
	bool found; /* the region, and what lies in it: the next members are known */
	bool full;  /* no region is free, or the state is too large for one */
	uint64_t off, id;
	uint32_t blocks, frame_blocks;
	uint64_t seq;  /* the highest that lies there or is built */
	uint32_t head; /* the block behind it */

	/* Not RING_OFF: */
	uint8_t *buf;	  /* frame_blocks */
	uint32_t *where;  /* first block of a frame, by its sequence */
	uint64_t tail;	  /* as the last stable frame says; above seq: there is none */
	uint64_t base;	  /* the first of the filling */
	uint64_t covered; /* all changes up to this are stable here */
	struct records old, queue;
	size_t dirty_bytes; /* of the queue's records */
	size_t debt;	    /* bytes of old records to copy forward */
	struct {
		uint64_t tail, change;
		uint32_t len, block;
		unsigned flags;
	} out;
	bool built; /* buf holds the frame `seq`, which is not stable yet; it is written as it is */
	uint64_t frames, bytes_written, bytes_copied;
};

/* A frame found in a ring. */
struct found_frame {
	uint64_t seq, tail, term, change;
	uint32_t block, len;
	unsigned flags;
};
/* What lies in a ring. */
struct ring_scan {
	uint8_t *bytes;
	struct found_frame *frames;  /* by sequence */
	unsigned count, first, last; /* first .. last count; whole: they are a state */
	bool whole;
	bool unfinished; /* frames of an unfinished filling lie there */
	uint64_t term;	 /* the highest of all frames */
};

struct ledger {
	uint32_t magic;
	struct env *env;
	uint64_t group_id;
	char service[PIV_NAME_MAX + 1];
	bool continuous, mode_changed, anew;
	bool (*on_backup)(void *arg); /* NULL: `alone` says it */
	int (*leave)(void *arg, bool backup, int why);
	void *side_arg;
	bool alone;
	struct ring rings[LEDGER_RINGS];
	struct record **buckets;
	size_t nbuckets; /* a power of two; 0: no table yet */
	uint64_t hash_key[2];
	uint64_t records, live_bytes, live_max;
	uint64_t term;
	uint64_t changes, stable; /* counted: made, and the last that is stable */
	uint64_t round;		  /* attempts to write, begun */
	int round_rc;		  /* what the last ended with */
	uint64_t retry_ns;	  /* when the missing copy is tried again */
	bool failing, missing, unsure[LEDGER_RINGS];
	struct task_mutex lock; /* of rings' states and writes */
};

/* ---- ledger_table.c ---- */

struct record *ledger_find(const struct ledger *l, const void *key, size_t klen);
/* A new one in the table, or NULL. */
struct record *ledger_record_new(struct ledger *l, const void *key, size_t klen);
/* Room for a value of that length, which is set next. False: no memory, nothing changed. */
bool ledger_record_grow(struct record *e, size_t vlen);
void ledger_record_set(struct record *e, const void *value, size_t vlen);
/* Out of the table when it is gone and in no ring. */
void ledger_record_settle(struct ledger *l, struct record *e);
int ledger_table_init(struct ledger *l, uint64_t ring_bytes);
void ledger_table_free(struct ledger *l);

static inline size_t record_bytes(const struct record *e)
{
	return LEDGER_RECORD_HEAD + e->klen + (e->gone ? 0 : e->vlen);
}

/* ---- ledger_log.c: writing a ring ---- */

/* Buffers and empty lists. -ENOMEM. */
int ring_begin(struct ring *r);
/* The record is to be written (again). Its size must not change while it is in the queue but by
 * ring_resize(). */
void ring_dirty(struct ring *r, struct record *e, uint64_t change);
void ring_clean(struct ring *r, struct record *e);		 /* takes it out of the queue */
void ring_place(struct ring *r, struct record *e, uint64_t seq); /* it lies there */
/* Out of use: the places of all records are cleared, those that are gone may go. */
void ring_off(struct ledger *l, struct ring *r);
/* Writes frames until all changes up to `mark` are stable there, and a filling is whole. An error
 * leaves the frame that could not be written: it is the first the next time. Waits. */
int ring_write(struct ledger *l, struct ring *r, uint64_t mark);
uint32_t ring_used(const struct ring *r); /* blocks */

/* ---- ledger_load.c: reading a ring ---- */

/* The service's region on the ring's volume. take: a free one where it has none, and a blank backup
 * is formatted. -ENOENT: none; -ENODEV: a volume without regions. Waits. */
int ring_find(struct ledger *l, struct ring *r, bool take);
/* -ERR_CORRUPT, -ERR_VERSION, -ENOMEM or an error of the volume. Waits. */
int ring_scan(struct ring *r, struct ring_scan *s);
void ring_scan_free(struct ring_scan *s);
/* The records of the state into the table, and the ring's places. */
int ring_load(struct ledger *l, struct ring *r, const struct ring_scan *s);
/* Before anything is written behind what was read: makes it stable, and away with the frames of an
 * unfinished filling. Waits. */
int ring_resume(struct ring *r, const struct ring_scan *s);

#endif
