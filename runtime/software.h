/*
 * The software volume: programs of heads, and which of them each head runs.
 *
 * Layout, in bytes from the start of the volume:
 *
 *   0       copy 0 of the table  (SOFTWARE_TABLE_LEN)
 *   16 KiB  copy 1
 *   64 KiB  programs, each in one piece from a multiple of 4 KiB on
 *
 * A copy counts when magic and version are right, its CRC32C (of all of it, the field taken as 0)
 * fits, and what it says is possible (software_decode()). Of two that count the one with the higher
 * seq is the table. It is changed by writing the other copy whole, and flushing: so a crash at any
 * write leaves the old or the new. A program is written and flushed, to where none lies, before a
 * table names it; it has a SHA-256.
 *
 * One writer: the controller that owns the volume, one change at a time. Heads read.
 *
 * Which version a head runs: its own entry, else `active`. "installed" is not on the volume: it is
 * the program file of the installed package. An activation in progress has an entry for every head
 * it is about; each step is a change of the table, so whoever carries it on after a crash finds how
 * far it came:
 *
 *   none --begin--> forward: `assign` head after head --finish--> none (active is the target)
 *                      `--back--> back: `assign` head after head --finish--> none (as it was
 * before)
 */
#ifndef ISTHMUS_RUNTIME_SOFTWARE_H
#define ISTHMUS_RUNTIME_SOFTWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/program_note.h"

struct bdev;

#define SOFTWARE_MAGIC	     0x54465349 /* "ISFT" */
#define SOFTWARE_VERSION     1
#define SOFTWARE_TABLE_LEN   (16 * 1024u)
#define SOFTWARE_DATA_OFF    (64 * 1024ull)
#define SOFTWARE_ALIGN	     4096ull
#define SOFTWARE_PROGRAM_MAX (64 * 1024 * 1024ull)
#define SOFTWARE_VOLUME_MIN  (16 * 1024 * 1024ull)
#define SOFTWARE_VERSIONS    16
#define SOFTWARE_HEADS	     64
#define SOFTWARE_NAME	     48 /* with its end; of a version */
#define SOFTWARE_HEAD_NAME   64
#define SOFTWARE_INSTALLED   "installed"
#define SOFTWARE_WHY	     256

struct software_program {
	char name[SOFTWARE_NAME];
	uint64_t off, size; /* bytes of the volume */
	uint8_t sha256[32];
	uint64_t installed_ns; /* real time */
	uint32_t machine;      /* ELF's e_machine */
	struct program_note note;
	uint32_t reserved;
};
_Static_assert(sizeof(struct software_program) == 296, "software_program");

struct software_head {
	char head[SOFTWARE_HEAD_NAME];
	char version[SOFTWARE_NAME]; /* that it is to run */
	char before[SOFTWARE_NAME];  /* before the activation in progress; none: as version */
};
_Static_assert(sizeof(struct software_head) == 160, "software_head");

enum software_phase { SOFTWARE_NONE, SOFTWARE_FORWARD, SOFTWARE_BACK };

struct software_table {
	uint32_t magic, version;
	uint64_t seq;
	uint64_t volume_size;
	uint32_t crc;
	uint32_t phase; /* enum software_phase */
	char active[SOFTWARE_NAME], previous[SOFTWARE_NAME];
	char target[SOFTWARE_NAME];    /* of the activation in progress */
	char only[SOFTWARE_HEAD_NAME]; /* it is of this head alone; "": of all */
	uint32_t one_way;	       /* it does not go back by itself */
	uint32_t nprograms, nheads;
	uint32_t reserved;
	struct software_program programs[SOFTWARE_VERSIONS];
	struct software_head heads[SOFTWARE_HEADS];
};
_Static_assert(sizeof(struct software_table) <= SOFTWARE_TABLE_LEN, "a copy of the table");

/* ---- software_table.c: the table in memory ---- */

/* Letters, digits, '.', '_', '+', '-'; not "installed". */
bool software_name_ok(const char *name);
/* Nothing installed, every head runs the installed program. */
void software_init(struct software_table *t, uint64_t volume_size);
/* buf: SOFTWARE_TABLE_LEN bytes. Seals the table: magic, version, CRC. */
void software_encode(struct software_table *t, void *buf);
/* Nothing is believed. -ENODATA: all zeros; -ERR_VERSION; -ERR_CORRUPT. */
int software_decode(const void *buf, size_t len, uint64_t volume_size, struct software_table *ret);
const struct software_program *software_find(const struct software_table *t, const char *name);
/* The version that a head is to run: a name of the table's, or "installed". */
const char *software_of_head(const struct software_table *t, const char *head);

/*
 * Changes, which software_store() makes durable. 0, or an error with `why` (SOFTWARE_WHY), "what;
 * what to do about it".
 */
/* Where `size` bytes go: -ENOSPC. */
int software_place(const struct software_table *t, uint64_t size, uint64_t *ret_off, char *why);
int software_add(struct software_table *t, const struct software_program *p, char *why);
int software_drop(struct software_table *t, const char *name, char *why);
/* heads: all that there are, or the one named `only`. */
int software_begin(struct software_table *t, const char *target, const char *only, bool one_way,
		   const char *const *heads, size_t n, char *why);
/* The next step of a head: forward to the target, back to what it ran before. */
int software_assign(struct software_table *t, const char *head, char *why);
int software_back(struct software_table *t, char *why);
/* All heads were assigned; or, one way, the rest keeps what it has. */
int software_finish(struct software_table *t, char *why);

/* ---- software_volume.c: on a volume; all wait ---- */

/* -ENODATA: it was never written. */
int software_load(struct bdev *b, struct software_table *ret);
/* A table of a volume that has none: both copies. */
int software_format(struct bdev *b, struct software_table *ret);
/* Raises seq. The volume's table is the old or the new one, whatever happens; 0: the new. */
int software_store(struct bdev *b, struct software_table *t);
/* Both wait for every piece, and give progress (may be NULL) after it. */
typedef void software_progress(void *arg, uint64_t done, uint64_t total);
/* Writes and flushes a program. */
int software_write(struct bdev *b, uint64_t off, const void *program, uint64_t size,
		   software_progress *progress, void *arg);
/* Reads it to buf (p->size bytes; NULL: only looks). -ERR_CORRUPT: its digest does not fit. */
int software_read(struct bdev *b, const struct software_program *p, void *buf,
		  software_progress *progress, void *arg);
/* SHA-256 of so many bytes. */
int software_digest(const void *buf, size_t size, uint8_t ret[32]);

#endif
