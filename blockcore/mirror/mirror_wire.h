/*
 * Messages of LINK_SVC_MIRROR on the data path, little-endian.
 *
 *   JOIN    call      head: wire_join; reply: wire_area. The area is emptied, and takes what says
 *                     `epoch`
 *   PUT     call      head: wire_put and n entries; data: a page for each entry without
 *                     WIRE_FILLED. The answer means: all of them would be adopted
 *   FILL    one-way   head: wire_fill; data: a page. Its entry comes with a later PUT
 *   CLEAR   call      head: wire_clear and n entries. What has another generation is left alone
 *
 * What says another epoch than the last JOIN, or comes in another session of the link, is of an
 * earlier time: it is refused, or dropped (FILL).
 */
#ifndef ISTHMUS_BLOCKCORE_MIRROR_WIRE_H
#define ISTHMUS_BLOCKCORE_MIRROR_WIRE_H

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are sent as they are");

#define WIRE_VERSION 1
enum { WIRE_JOIN = 1, WIRE_PUT, WIRE_FILL, WIRE_CLEAR };

struct wire_join {
	uint32_t version, page_size, epoch, reserved;
};
struct wire_area {
	uint32_t npages, reserved;
};

#define WIRE_FILLED 0x80000000u /* of wire_page.to: its data came by FILL */
struct wire_page {
	uint32_t to;
	uint32_t generation; /* added to wire_put.generation */
	uint16_t valid, dirty;
};
/* Pages of one volume side by side. */
struct wire_put {
	uint32_t epoch;
	uint16_t n, atomic;
	uint32_t volume, reserved;
	uint64_t first; /* page number in the volume */
	uint64_t generation;
	struct wire_page page[];
};
_Static_assert(sizeof(struct wire_page) == 12 && sizeof(struct wire_put) == 32, "as sent");

struct wire_fill {
	uint32_t epoch, to;
};

struct wire_cleared {
	uint32_t page, reserved;
	uint64_t generation;
};
struct wire_clear {
	uint32_t epoch, n;
	struct wire_cleared page[];
};
#define WIRE_CLEAR_MAX 250

#endif
