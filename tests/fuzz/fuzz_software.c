/* Tables of the software volume, and notes of programs: any bytes are judged, and a table that is
 * accepted is encoded to the same again and can be changed. */
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/software.h"

#define VOLUME (64 * 1024 * 1024ull)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct software_table *t)
{
	static const char *const heads[] = {"h1", "h2"};
	static uint8_t again[SOFTWARE_TABLE_LEN];
	struct software_table copy;
	char why[SOFTWARE_WHY];
	uint64_t off;
	software_place(t, 4096, &off, why);
	software_of_head(t, "h1");
	software_begin(t, t->active, "", false, heads, 2, why);
	software_assign(t, "h1", why);
	software_back(t, why);
	software_finish(t, why);
	if (t->nprograms)
		software_drop(t, t->programs[0].name, why);
	software_encode(t, again);
	ASSERT(software_decode(again, sizeof(again), VOLUME, &copy) == 0);
	ASSERT(memcmp(&copy, t, sizeof(copy)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t buf[SOFTWARE_TABLE_LEN];
	struct software_table t, *head = (void *)buf;
	struct program_note note;
	uint16_t machine;
	if (program_note_find(data, size, &note, &machine) == 0)
		ASSERT(program_note_check(&note) == 0);
	memset(buf, 0, sizeof(buf));
	memcpy(buf, data, MIN(size, sizeof(buf)));
	if (software_decode(buf, sizeof(buf), VOLUME, &t) == 0)
		use(&t);
	/* With a checksum that holds: what lies behind it is reached. */
	head->magic = SOFTWARE_MAGIC;
	head->version = SOFTWARE_VERSION;
	head->crc = 0;
	head->crc = crc32c(buf, sizeof(buf));
	if (software_decode(buf, sizeof(buf), VOLUME, &t) == 0)
		use(&t);
	return 0;
}
