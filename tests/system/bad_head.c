/*
 * A program that says it is isthmus-head, and is not: for tests of activations that fail. Its build
 * is "crash": it aborts at once. A copy whose note was changed to another build, such as "idle":
 * it runs, and serves nobody.
 */
#include <stdlib.h>
#include <unistd.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/fs/layout.h"
#include "nasfront/piv/ledger_layout.h"
#include "nasfront/piv/piv_layout.h"
#include "runtime/program_note.h"

static const struct program_elf_note note PROGRAM_NOTE_SECTION = {
    PROGRAM_NOTE_HEAD,
    PROGRAM_NOTE_NAME,
    {PROGRAM_NOTE_VERSION,
     PROGRAM_HEAD,
     "crash",
     {{PROGRAM_CHANNEL, CHANNEL_VERSION, CHANNEL_VERSION, CHANNEL_VERSION},
      {PROGRAM_FS, FORMAT_OLDEST, FORMAT_VERSION, FORMAT_VERSION},
      {PROGRAM_PIV, 1, PIV_HEADER_VERSION, PIV_HEADER_VERSION},
      {PROGRAM_PIV_RECORD, 1, PIV_RECORD_VERSION, PIV_RECORD_VERSION},
      {PROGRAM_LEDGER, LEDGER_FRAME_VERSION, LEDGER_FRAME_VERSION, LEDGER_FRAME_VERSION}}}};

int main(void)
{
	if (*(const volatile char *)note.note.build == 'c')
		abort();
	for (;;)
		pause();
}
