/* The header of a PIV volume and what it divides it into (nasfront/piv/piv_layout.h). */
#include "nasfront/piv/piv_layout.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"

#define HEADER_BYTES   32
#define HEADER_1_BYTES 24 /* version 1: no regions */

bool piv_all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* ---- header ---- */

uint64_t piv_blocks(const struct piv_header *h)
{
	return PIV_FIRST_SLOT + (uint64_t)h->slots * h->slot_blocks +
	       (uint64_t)h->regions * h->region_blocks;
}

static bool header_sound(const struct piv_header *h, const struct bdev *b)
{
	if (h->slots == 0 || h->slots > PIV_SLOTS_MAX || h->slot_blocks < PIV_SLOT_MIN ||
	    h->slot_blocks > PIV_SLOT_MAX || h->regions > PIV_REGIONS_MAX)
		return false;
	if (h->regions && (h->region_blocks < PIV_REGION_MIN || h->region_blocks > PIV_REGION_MAX))
		return false;
	return piv_blocks(h) <= b->size / PIV_BLOCK;
}

static int header_decode(const struct bdev *b, const uint8_t *p, struct piv_header *ret)
{
	if (piv_all_zero(p, PIV_BLOCK))
		return -ENODATA;
	if (le32_get(p) != PIV_HEADER_MAGIC)
		return -ERR_CORRUPT;
	uint32_t version = le32_get(p + 4);
	size_t bytes = version == 1 ? HEADER_1_BYTES : HEADER_BYTES;
	if (le32_get(p + bytes) != crc32c(p, bytes))
		return -ERR_CORRUPT;
	if (version != 1 && version != PIV_HEADER_VERSION)
		return -ERR_VERSION;
	struct piv_header h = {.group_id = le64_get(p + 8),
			       .slots = le32_get(p + 16),
			       .slot_blocks = le32_get(p + 20)};
	if (version != 1) {
		h.regions = le32_get(p + 24);
		h.region_blocks = le32_get(p + 28);
	}
	if (!header_sound(&h, b))
		return -ERR_CORRUPT;
	*ret = h;
	return 0;
}

int piv_header_read(struct bdev *b, struct piv_header *ret)
{
	uint8_t *p = NULL;
	if (b->size < 2 * PIV_BLOCK)
		return -ENOSPC;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	int rc = bdev_read(b, p, PIV_BLOCK, 0);
	if (rc == 0)
		rc = header_decode(b, p, ret);
	if (rc) {
		int second = bdev_read(b, p, PIV_BLOCK, PIV_BLOCK);
		if (second == 0)
			second = header_decode(b, p, ret);
		/* Blank only when both are; else the more telling of the two. */
		if (second == 0 || rc == -ENODATA)
			rc = second;
	}
	free(p);
	return rc;
}

int piv_header_write(struct bdev *b, const struct piv_header *h)
{
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	memset(p, 0, PIV_BLOCK);
	le32_put(p, PIV_HEADER_MAGIC);
	/* Without regions as version 1 had it: whoever knows only that can use the volume. */
	size_t bytes = h->regions ? HEADER_BYTES : HEADER_1_BYTES;
	le32_put(p + 4, h->regions ? PIV_HEADER_VERSION : 1);
	le64_put(p + 8, h->group_id);
	le32_put(p + 16, h->slots);
	le32_put(p + 20, h->slot_blocks);
	if (h->regions) {
		le32_put(p + 24, h->regions);
		le32_put(p + 28, h->region_blocks);
	}
	le32_put(p + bytes, crc32c(p, bytes));
	int rc = 0;
	for (unsigned i = 0; i < 2 && rc == 0; i++) {
		rc = bdev_write(b, p, PIV_BLOCK, i * (uint64_t)PIV_BLOCK, 0);
		if (rc == 0)
			rc = bdev_flush(b);
	}
	free(p);
	return rc;
}

/* Half of the volume for each; what slots have no use for goes to the regions. */
static bool divide(uint64_t blocks, struct piv_header *h)
{
	if (blocks <= PIV_FIRST_SLOT)
		return false;
	blocks -= PIV_FIRST_SLOT;
	uint64_t half = blocks / 2;
	bool regions = half >= PIV_REGION_MIN;
	h->slots = PIV_SLOTS;
	h->slot_blocks =
	    (uint32_t)MIN((regions ? half : blocks) / PIV_SLOTS, (uint64_t)PIV_SLOT_BLOCKS);
	if (regions) {
		blocks -= (uint64_t)h->slots * h->slot_blocks;
		h->regions = (uint32_t)MIN(blocks / PIV_REGION_MIN, (uint64_t)PIV_REGIONS);
		h->region_blocks = (uint32_t)MIN(blocks / h->regions, (uint64_t)PIV_REGION_MAX);
	}
	return h->slot_blocks >= PIV_SLOT_MIN;
}

int piv_format(struct bdev *b, uint64_t group_id, struct piv_header *ret)
{
	struct piv_header h = {.group_id = group_id};
	if (!divide(b->size / PIV_BLOCK, &h))
		return -ENOSPC;
	/* Two heads that find the volume blank write the same bytes. */
	int rc = piv_header_write(b, &h);
	if (rc == 0)
		*ret = h;
	return rc;
}

struct piv_area piv_slots(const struct piv_header *h)
{
	return (struct piv_area){PIV_FIRST_SLOT, h->slots, h->slot_blocks, 1};
}

struct piv_area piv_regions(const struct piv_header *h)
{
	uint64_t first = PIV_FIRST_SLOT + (uint64_t)h->slots * h->slot_blocks;
	return (struct piv_area){first, h->regions, h->region_blocks, PIV_REGION_CLAIMS};
}

uint64_t piv_area_off(const struct piv_area *a, unsigned index)
{
	return (a->first + (uint64_t)index * a->blocks) * PIV_BLOCK;
}

uint32_t piv_half_blocks(const struct piv_header *h)
{
	return (h->slot_blocks - 1) / 2;
}
