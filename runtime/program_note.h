/*
 * What a program says of itself: its build, and which formats it reads and writes. It stands in an
 * ELF note (section .note.isthmus), so that it is read from a file that is not trusted yet without
 * running any of it.
 *
 *   note: name "Isthmus\0", type PROGRAM_NOTE_TYPE, content a struct program_note, little endian
 */
#ifndef ISTHMUS_RUNTIME_PROGRAM_NOTE_H
#define ISTHMUS_RUNTIME_PROGRAM_NOTE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM_NOTE_NAME    "Isthmus"
#define PROGRAM_NOTE_TYPE    1
#define PROGRAM_NOTE_VERSION 1
#define PROGRAM_BUILD_LEN    48
#define PROGRAM_FORMATS	     8

enum program_kind {
	PROGRAM_HEAD = 1, /* isthmus-head */
};

/* Numbers are never used again. */
enum program_format_kind {
	PROGRAM_CHANNEL = 1, /* block channels: spoken with controllers */
	PROGRAM_FS,	     /* file systems */
	PROGRAM_PIV,	     /* head of a processor-information volume */
	PROGRAM_PIV_RECORD,  /* records of heads in it */
	PROGRAM_LEDGER,	     /* frames of the ledger of what clients have */
	PROGRAM_FORMAT_KINDS,
};

struct program_format {
	uint32_t kind; /* 0: none */
	uint32_t read_min, read_max, write;
};

struct program_note {
	uint32_t version; /* PROGRAM_NOTE_VERSION */
	uint32_t kind;	  /* enum program_kind */
	char build[PROGRAM_BUILD_LEN];
	struct program_format formats[PROGRAM_FORMATS];
};
_Static_assert(sizeof(struct program_note) == 184, "content of the note");

/* The note as it stands in a program. */
struct program_elf_note {
	Elf64_Nhdr head;
	char name[8];
	struct program_note note;
};
_Static_assert(sizeof(struct program_elf_note) == 12 + 8 + 184, "nothing in between");

#define PROGRAM_NOTE_HEAD                                                                          \
	{                                                                                          \
		sizeof(PROGRAM_NOTE_NAME), sizeof(struct program_note), PROGRAM_NOTE_TYPE          \
	}
#define PROGRAM_NOTE_SECTION __attribute__((section(".note.isthmus"), used, aligned(4)))

/*
 * From the bytes of a whole file, of which nothing is believed. ret_machine: ELF's e_machine.
 * -EINVAL: it is no program of this kind of processor word (64 bits, little endian); -ENOENT: it
 * says nothing of itself; -ERR_VERSION, -ERR_CORRUPT: what it says is not understood.
 */
int program_note_find(const void *file, size_t size, struct program_note *ret,
		      uint16_t *ret_machine);
/* 0, -ERR_VERSION, -ERR_CORRUPT. */
int program_note_check(const struct program_note *n);
/* NULL: it says nothing of this kind. */
const struct program_format *program_format_of(const struct program_note *n, uint32_t kind);
const char *program_format_name(uint32_t kind);
/* e_machine of the running program. */
uint16_t program_machine(void);
const char *program_machine_name(uint16_t machine);

/*
 * Why `next` cannot take over from `now`: there is a format that `now` writes and it does not
 * read. With back: why there would be no way back, as it writes one that `now` does not read. True:
 * `why` says it.
 */
bool program_unfit(const struct program_note *now, const struct program_note *next, bool back,
		   char *why, size_t size);

#endif
