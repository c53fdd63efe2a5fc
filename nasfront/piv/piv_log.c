/* The log of one slot: frames in two halves (nasfront/piv/piv_layout.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/fault.h"

static uint64_t half_off(const struct piv_log *l, unsigned half)
{
	struct piv_area a = piv_slots(&l->header);
	return piv_area_off(&a, l->slot) +
	       (1 + (uint64_t)half * piv_half_blocks(&l->header)) * PIV_BLOCK;
}

static uint32_t frame_blocks(size_t payload)
{
	return (uint32_t)((PIV_FRAME_HEAD + payload + PIV_BLOCK - 1) / PIV_BLOCK);
}

static uint32_t frame_crc(const uint8_t *p, size_t payload)
{
	uint32_t c = crc32c_add(CRC32C_INIT, p, 16);
	return crc32c_end(crc32c_add(c, p + PIV_FRAME_HEAD, payload));
}

/* ---- reading ---- */

/* The frame at p, of which `room` bytes are there: its payload length, or -1. */
static int64_t frame_check(const uint8_t *p, size_t room)
{
	if (room < PIV_FRAME_HEAD || le32_get(p) != PIV_FRAME_MAGIC)
		return -1;
	uint32_t len = le32_get(p + 4);
	if (len > room - PIV_FRAME_HEAD || le32_get(p + 16) != frame_crc(p, len))
		return -1;
	return len;
}

/* Applies the records of a checked frame. */
static int frame_apply(const uint8_t *p, size_t len, struct piv_head *head)
{
	while (len >= 4) {
		uint32_t n = le32_get(p);
		if (n > len - 4)
			return -ERR_CORRUPT;
		Isthmus__PivRecord *r = isthmus__piv_record__unpack(NULL, n, p + 4);
		if (!r)
			return -ERR_CORRUPT;
		int rc = piv_head_apply(head, r);
		isthmus__piv_record__free_unpacked(r, NULL);
		if (rc)
			return rc;
		p += 4 + n;
		len -= 4 + n;
	}
	return len ? -ERR_CORRUPT : 0;
}

/* The sequence number of a half's checkpoint, 0: none. */
static uint64_t half_seq(const uint8_t *half, size_t size)
{
	return frame_check(half, size) >= 0 ? le64_get(half + 8) : 0;
}

static int half_load(struct piv_log *l, const uint8_t *half, size_t size, struct piv_head *head)
{
	size_t at = 0;
	int64_t len;
	while ((len = frame_check(half + at, size - at)) >= 0) {
		uint64_t seq = le64_get(half + at + 8);
		if (at && seq != l->seq + 1)
			break;
		int rc = frame_apply(half + at + PIV_FRAME_HEAD, (size_t)len, head);
		if (rc)
			return rc;
		l->seq = head->seq = seq;
		at += (size_t)frame_blocks((size_t)len) * PIV_BLOCK;
		l->block = (uint32_t)(at / PIV_BLOCK);
	}
	return 0;
}

int piv_log_load(struct piv_log *l, struct piv_head *head)
{
	size_t size = (size_t)piv_half_blocks(&l->header) * PIV_BLOCK;
	uint8_t *p = NULL;
	int rc = 0;
	if (posix_memalign((void **)&p, PIV_BLOCK, 2 * size))
		return -ENOMEM;
	for (unsigned i = 0; i < 2 && rc == 0; i++)
		rc = bdev_read(l->bdev, p + i * size, size, half_off(l, i));
	if (rc == 0) {
		l->half = half_seq(p + size, size) > half_seq(p, size);
		l->block = 0;
		l->seq = 0;
		piv_head_clear(head);
		if (half_seq(p + l->half * size, size))
			rc = half_load(l, p + l->half * size, size, head);
		head->slot = l->slot;
	}
	free(p);
	return rc;
}

/* ---- writing ---- */

bool piv_log_fits(const struct piv_log *l, size_t payload)
{
	/* Without a checkpoint there is nothing to append to. */
	return l->block && l->block + frame_blocks(payload) <= piv_half_blocks(&l->header);
}

static int frame_write(struct piv_log *l, uint64_t off, const void *payload, size_t len)
{
	size_t size = (size_t)frame_blocks(len) * PIV_BLOCK;
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, size))
		return -ENOMEM;
	memset(p, 0, size);
	le32_put(p, PIV_FRAME_MAGIC);
	le32_put(p + 4, (uint32_t)len);
	le64_put(p + 8, l->seq + 1);
	memcpy(p + PIV_FRAME_HEAD, payload, len);
	le32_put(p + 16, frame_crc(p, len));
	int rc = bdev_write(l->bdev, p, size, off, 0);
	free(p);
	return rc;
}

int piv_log_append(struct piv_log *l, const void *payload, size_t len)
{
	ASSERT(piv_log_fits(l, len));
	int rc =
	    frame_write(l, half_off(l, l->half) + (uint64_t)l->block * PIV_BLOCK, payload, len);
	if (rc)
		return rc;
	l->seq++;
	l->block += frame_blocks(len);
	return 0;
}

int piv_log_checkpoint(struct piv_log *l, const void *payload, size_t len)
{
	unsigned to = l->seq ? !l->half : 0;
	if (frame_blocks(len) >= piv_half_blocks(&l->header))
		return -ENOSPC;
	int rc = frame_write(l, half_off(l, to), payload, len);
	FAULT("piv.checkpoint_written");
	if (rc == 0)
		rc = bdev_flush(l->bdev);
	if (rc)
		return rc;
	FAULT("piv.checkpoint_stable");
	l->seq++;
	l->half = to;
	l->block = frame_blocks(len);
	return 0;
}
