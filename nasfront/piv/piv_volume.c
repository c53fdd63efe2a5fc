/* Header and claims of a PIV volume (nasfront/piv/piv_layout.h). */
#include "nasfront/piv/piv_layout.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"

#define HEADER_BYTES 24
#define CLAIM_BYTES  80

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* ---- header ---- */

static int header_decode(const struct bdev *b, const uint8_t *p, struct piv_header *ret)
{
	if (all_zero(p, PIV_BLOCK))
		return -ENODATA;
	if (le32_get(p) != PIV_HEADER_MAGIC || le32_get(p + 24) != crc32c(p, HEADER_BYTES))
		return -ERR_CORRUPT;
	if (le32_get(p + 4) != PIV_VERSION)
		return -ERR_VERSION;
	struct piv_header h = {.group_id = le64_get(p + 8),
			       .slots = le32_get(p + 16),
			       .slot_blocks = le32_get(p + 20)};
	if (h.slots == 0 || h.slots > PIV_SLOTS_MAX || h.slot_blocks < PIV_SLOT_MIN ||
	    h.slot_blocks > PIV_SLOT_MAX)
		return -ERR_CORRUPT;
	if (PIV_FIRST_SLOT + (uint64_t)h.slots * h.slot_blocks > b->size / PIV_BLOCK)
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
	le32_put(p + 4, PIV_VERSION);
	le64_put(p + 8, h->group_id);
	le32_put(p + 16, h->slots);
	le32_put(p + 20, h->slot_blocks);
	le32_put(p + 24, crc32c(p, HEADER_BYTES));
	int rc = 0;
	for (unsigned i = 0; i < 2 && rc == 0; i++) {
		rc = bdev_write(b, p, PIV_BLOCK, i * (uint64_t)PIV_BLOCK, 0);
		if (rc == 0)
			rc = bdev_flush(b);
	}
	free(p);
	return rc;
}

int piv_format(struct bdev *b, uint64_t group_id, struct piv_header *ret)
{
	uint64_t blocks = b->size / PIV_BLOCK;
	uint64_t each = blocks > PIV_FIRST_SLOT ? (blocks - PIV_FIRST_SLOT) / PIV_SLOTS : 0;
	struct piv_header h = {.group_id = group_id,
			       .slots = PIV_SLOTS,
			       .slot_blocks = (uint32_t)MIN(each, (uint64_t)PIV_SLOT_BLOCKS)};
	if (h.slot_blocks < PIV_SLOT_MIN)
		return -ENOSPC;
	/* Two heads that find the volume blank write the same bytes. */
	int rc = piv_header_write(b, &h);
	if (rc == 0)
		*ret = h;
	return rc;
}

/* ---- claims ---- */

uint64_t piv_slot_off(const struct piv_header *h, unsigned slot)
{
	return (PIV_FIRST_SLOT + (uint64_t)slot * h->slot_blocks) * PIV_BLOCK;
}

uint32_t piv_half_blocks(const struct piv_header *h)
{
	return (h->slot_blocks - 1) / 2;
}

int piv_claim_read_at(struct bdev *b, uint64_t off, struct piv_claim *ret)
{
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	int rc = bdev_read(b, p, PIV_BLOCK, off);
	memset(ret, 0, sizeof(*ret));
	if (rc == 0 && !all_zero(p, PIV_BLOCK)) {
		if (le32_get(p) != PIV_CLAIM_MAGIC || le32_get(p + 80) != crc32c(p, CLAIM_BYTES) ||
		    p[16 + PIV_NAME_MAX])
			rc = -ERR_CORRUPT;
		else if (le32_get(p + 4) != PIV_VERSION)
			rc = -ERR_VERSION;
		else
			memcpy(ret->name, p + 16, sizeof(ret->name));
		ret->instance = le64_get(p + 8);
	}
	free(p);
	return rc;
}

int piv_claim_write_at(struct bdev *b, uint64_t off, const struct piv_claim *c)
{
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	memset(p, 0, PIV_BLOCK);
	le32_put(p, PIV_CLAIM_MAGIC);
	le32_put(p + 4, PIV_VERSION);
	le64_put(p + 8, c->instance);
	memcpy(p + 16, c->name, strnlen(c->name, PIV_NAME_MAX));
	le32_put(p + 80, crc32c(p, CLAIM_BYTES));
	int rc = bdev_write(b, p, PIV_BLOCK, off, 0);
	if (rc == 0)
		rc = bdev_flush(b);
	free(p);
	return rc;
}

int piv_claim_read(struct bdev *b, const struct piv_header *h, unsigned slot, struct piv_claim *ret)
{
	return piv_claim_read_at(b, piv_slot_off(h, slot), ret);
}

int piv_claim_write(struct bdev *b, const struct piv_header *h, unsigned slot,
		    const struct piv_claim *c)
{
	return piv_claim_write_at(b, piv_slot_off(h, slot), c);
}
