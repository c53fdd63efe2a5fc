/* What a program says of itself (program_note.h). */
#include "runtime/program_note.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "notes are read as they are");

#define HEADERS_MAX 64 /* program headers that are looked at */
#define NOTES_MAX   64 /* notes of one of them */

const char *program_format_name(uint32_t kind)
{
	static const char *const names[PROGRAM_FORMAT_KINDS] = {
	    [PROGRAM_CHANNEL] = "channel", [PROGRAM_FS] = "file-system",
	    [PROGRAM_PIV] = "piv",	   [PROGRAM_PIV_RECORD] = "piv-record",
	    [PROGRAM_LEDGER] = "ledger",
	};
	return kind < ARRAY_LEN(names) && names[kind] ? names[kind] : "unknown";
}

uint16_t program_machine(void)
{
#if defined(__x86_64__)
	return EM_X86_64;
#elif defined(__aarch64__)
	return EM_AARCH64;
#elif defined(__riscv)
	return EM_RISCV;
#elif defined(__powerpc64__)
	return EM_PPC64;
#else
	return EM_NONE;
#endif
}

const char *program_machine_name(uint16_t machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86-64";
	case EM_AARCH64:
		return "aarch64";
	case EM_RISCV:
		return "riscv";
	case EM_PPC64:
		return "ppc64";
	}
	return "another";
}

/* ---- the content ---- */

static bool text_ok(const char *s, size_t size)
{
	size_t len = strnlen(s, size);
	if (len == 0 || len == size)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)s[i]))
			return false;
	return true;
}

int program_note_check(const struct program_note *n)
{
	if (n->version != PROGRAM_NOTE_VERSION)
		return -ERR_VERSION;
	if (!text_ok(n->build, sizeof(n->build)))
		return -ERR_CORRUPT;
	for (size_t i = 0; i < PROGRAM_FORMATS; i++) {
		const struct program_format *f = &n->formats[i];
		if (f->kind && (f->read_min > f->read_max || f->write < f->read_min ||
				f->write > f->read_max || program_format_of(n, f->kind) != f))
			return -ERR_CORRUPT;
	}
	return 0;
}

const struct program_format *program_format_of(const struct program_note *n, uint32_t kind)
{
	for (size_t i = 0; i < PROGRAM_FORMATS; i++)
		if (kind && n->formats[i].kind == kind)
			return &n->formats[i];
	return NULL;
}

/* The first format that one writes and the other does not read. */
static const struct program_format *unread(const struct program_note *writer,
					   const struct program_note *reader)
{
	for (size_t i = 0; i < PROGRAM_FORMATS; i++) {
		const struct program_format *w = &writer->formats[i];
		const struct program_format *r = program_format_of(reader, w->kind);
		if (w->kind && (!r || w->write < r->read_min || w->write > r->read_max))
			return w;
	}
	return NULL;
}

bool program_unfit(const struct program_note *now, const struct program_note *next, bool back,
		   char *why, size_t size)
{
	const struct program_note *writer = back ? next : now, *reader = back ? now : next;
	const struct program_format *w = unread(writer, reader);
	if (!w)
		return false;
	const struct program_format *r = program_format_of(reader, w->kind);
	char reads[48] = "none of it";
	if (r)
		snprintf(reads, sizeof(reads), "%u to %u", r->read_min, r->read_max);
	snprintf(why, size, "format %s: %.47s writes version %u, %.47s reads %s",
		 program_format_name(w->kind), writer->build, w->write, reader->build, reads);
	return true;
}

/* ---- in a file ---- */

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static uint64_t padded(uint64_t n)
{
	return (n + 3) & ~3ull;
}

/* One segment of notes; -ENOENT: ours is not among them. */
static int look(const uint8_t *at, uint64_t size, struct program_note *ret)
{
	Elf64_Nhdr h;
	for (unsigned i = 0; i < NOTES_MAX && size >= sizeof(h); i++) {
		memcpy(&h, at, sizeof(h));
		uint64_t name = sizeof(h), desc = name + padded(h.n_namesz);
		uint64_t end = desc + padded(h.n_descsz);
		if (!inside(0, end, size))
			return -ENOENT;
		if (h.n_type == PROGRAM_NOTE_TYPE && h.n_namesz == sizeof(PROGRAM_NOTE_NAME) &&
		    memcmp(at + name, PROGRAM_NOTE_NAME, sizeof(PROGRAM_NOTE_NAME)) == 0) {
			if (h.n_descsz != sizeof(*ret))
				return -ERR_VERSION;
			memcpy(ret, at + desc, sizeof(*ret));
			return program_note_check(ret);
		}
		at += end;
		size -= end;
	}
	return -ENOENT;
}

int program_note_find(const void *file, size_t size, struct program_note *ret,
		      uint16_t *ret_machine)
{
	const uint8_t *f = file;
	Elf64_Ehdr e;
	if (size < sizeof(e))
		return -EINVAL;
	memcpy(&e, f, sizeof(e));
	if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e.e_ident[EI_DATA] != ELFDATA2LSB || (e.e_type != ET_EXEC && e.e_type != ET_DYN) ||
	    e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phnum > HEADERS_MAX ||
	    !inside(e.e_phoff, e.e_phnum * sizeof(Elf64_Phdr), size))
		return -EINVAL;
	*ret_machine = e.e_machine;
	for (unsigned i = 0; i < e.e_phnum; i++) {
		Elf64_Phdr p;
		memcpy(&p, f + e.e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type != PT_NOTE || !inside(p.p_offset, p.p_filesz, size))
			continue;
		int rc = look(f + p.p_offset, p.p_filesz, ret);
		if (rc != -ENOENT)
			return rc;
	}
	return -ENOENT;
}
