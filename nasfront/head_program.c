/*
 * Which program this is: its build and the formats it reads and writes, as an ELF note that
 * others read from the file (runtime/program_note.h), and as the verb head.program of the process.
 */
#include "config.h"
#include "blockcore/channel/channel_client.h"
#include "nasfront/fs/layout.h"
#include "nasfront/head.h"
#include "nasfront/piv/ledger_layout.h"
#include "nasfront/piv/piv_layout.h"
#include "runtime/admin.h"
#include "runtime/program_note.h"
#include "runtime/software.h"
#include <stdlib.h>

static const struct program_elf_note note PROGRAM_NOTE_SECTION = {
    .head = PROGRAM_NOTE_HEAD,
    .name = PROGRAM_NOTE_NAME,
    .note = {.version = PROGRAM_NOTE_VERSION,
	     .kind = PROGRAM_HEAD,
	     .build = PACKAGE_VERSION,
	     .formats = {
		 {PROGRAM_CHANNEL, CHANNEL_VERSION, CHANNEL_VERSION, CHANNEL_VERSION},
		 {PROGRAM_FS, FORMAT_OLDEST, FORMAT_VERSION, FORMAT_VERSION},
		 {PROGRAM_PIV, 1, PIV_HEADER_VERSION, PIV_HEADER_VERSION},
		 {PROGRAM_PIV_RECORD, 1, PIV_RECORD_VERSION, PIV_RECORD_VERSION},
		 {PROGRAM_LEDGER, LEDGER_FRAME_VERSION, LEDGER_FRAME_VERSION, LEDGER_FRAME_VERSION},
	     }}};

const struct program_note *head_program_note(void)
{
	return &note.note;
}

const char *head_program_name(void)
{
	const char *name = getenv(HEAD_PROGRAM_ENV);
	return name && software_name_ok(name) ? name : SOFTWARE_INSTALLED;
}

static int verb_program(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	admin_table(call, "program", true);
	admin_row(call);
	admin_put_text(call, "head", "%s", h->config->name);
	admin_put_text(call, "version", "%s", head_program_name());
	admin_put_text(call, "build", "%s", note.note.build);
	admin_table(call, "formats", false);
	for (unsigned i = 0; i < PROGRAM_FORMATS && note.note.formats[i].kind; i++) {
		const struct program_format *f = &note.note.formats[i];
		admin_row(call);
		admin_put_number(call, "kind", f->kind);
		admin_put_text(call, "format", "%s", program_format_name(f->kind));
		admin_put_number(call, "reads_from", f->read_min);
		admin_put_number(call, "reads_to", f->read_max);
		admin_put_number(call, "writes", f->write);
	}
	return 0;
}

int head_program_register(struct head *h)
{
	return admin_register(h->admin, "head.program", verb_program, h);
}
