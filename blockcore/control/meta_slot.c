/* See meta_slot.h. */
#include "blockcore/control/meta_slot.h"
#include "blockcore/disk/disk.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(2 * META_SLOT_SIZE <= DISK_META_SIZE, "both slots lie in the metadata area");

static const char slot_magic[8] = "ISTHMETA";
#define SLOT_IO (1024 * 1024ull) /* bytes of one transfer */

uint64_t meta_slot_offset(unsigned slot)
{
	return DISK_META_OFF + slot * META_SLOT_SIZE;
}

static uint32_t header_crc(const uint8_t *hdr)
{
	static const uint8_t zero[4];
	uint32_t s = crc32c_add(CRC32C_INIT, hdr, 8);
	s = crc32c_add(s, zero, sizeof(zero));
	return crc32c_end(crc32c_add(s, hdr + 12, META_HEADER_SIZE - 12));
}

static int slot_bad(struct meta_slot *s, enum slot_verdict v, const char *why)
{
	s->verdict = v;
	snprintf(s->why, sizeof(s->why), "%s", why);
	return -ERR_CORRUPT;
}

void meta_slot_decode(const uint8_t hdr[META_HEADER_SIZE], const uint8_t array_uuid[16],
		      struct meta_slot *ret)
{
	*ret = (struct meta_slot){.verdict = SLOT_BLANK};
	if (hdr[0] == 0 && memcmp(hdr, hdr + 1, META_HEADER_SIZE - 1) == 0)
		return;
	if (memcmp(hdr, slot_magic, sizeof(slot_magic)) != 0) {
		slot_bad(ret, SLOT_DAMAGED, "header: the magic is not there");
		return;
	}
	if (le32_get(hdr + 8) != header_crc(hdr)) {
		slot_bad(ret, SLOT_DAMAGED, "header: checksum does not hold");
		return;
	}
	ret->seq = le64_get(hdr + 16);
	ret->length = le64_get(hdr + 24);
	ret->payload_crc = le32_get(hdr + 32);
	if (memcmp(hdr + 40, array_uuid, 16) != 0)
		slot_bad(ret, SLOT_FOREIGN, "header: of another array");
	else if (le32_get(hdr + 12) != META_SLOT_VERSION)
		slot_bad(ret, SLOT_VERSION, "header: version is not spoken here");
	else if (ret->length > META_PAYLOAD_MAX)
		slot_bad(ret, SLOT_DAMAGED, "header: length is larger than the slot");
	else
		ret->verdict = SLOT_OK;
}

uint8_t *meta_slot_buffer(size_t length)
{
	void *p;
	size_t n = META_HEADER_SIZE + ROUND_UP(length, 4096);
	if (length > META_PAYLOAD_MAX || posix_memalign(&p, 4096, n))
		return NULL;
	memset(p, 0, META_HEADER_SIZE);
	memset((uint8_t *)p + META_HEADER_SIZE + length, 0, n - META_HEADER_SIZE - length);
	return p;
}

void meta_slot_seal(uint8_t *buf, const uint8_t array_uuid[16], uint64_t seq, size_t length)
{
	memset(buf, 0, META_HEADER_SIZE);
	memcpy(buf, slot_magic, sizeof(slot_magic));
	le32_put(buf + 12, META_SLOT_VERSION);
	le64_put(buf + 16, seq);
	le64_put(buf + 24, length);
	le32_put(buf + 32, crc32c(buf + META_HEADER_SIZE, length));
	memcpy(buf + 40, array_uuid, 16);
	le32_put(buf + 8, header_crc(buf));
}

int meta_slot_look(struct disk *d, unsigned slot, const uint8_t array_uuid[16],
		   struct meta_slot *ret)
{
	uint8_t *hdr = meta_slot_buffer(0);
	if (!hdr)
		return -ENOMEM;
	int rc = bdev_read(disk_bdev(d), hdr, META_HEADER_SIZE, meta_slot_offset(slot));
	if (rc) {
		*ret = (struct meta_slot){0};
		slot_bad(ret, SLOT_DAMAGED, err_text(rc));
	} else {
		meta_slot_decode(hdr, array_uuid, ret);
	}
	free(hdr);
	return 0;
}

int meta_slot_read(struct disk *d, unsigned slot, struct meta_slot *s, uint8_t **ret)
{
	ASSERT(s->verdict == SLOT_OK);
	uint8_t *buf = meta_slot_buffer(s->length);
	if (!buf)
		return -ENOMEM;
	int rc = 0;
	uint64_t total = ROUND_UP(s->length, 4096);
	for (uint64_t done = 0; done < total && rc == 0; done += SLOT_IO)
		rc = bdev_read(disk_bdev(d), buf + done, MIN(SLOT_IO, total - done),
			       meta_slot_offset(slot) + META_HEADER_SIZE + done);
	if (rc)
		rc = slot_bad(s, SLOT_DAMAGED, err_text(rc));
	else if (crc32c(buf, s->length) != s->payload_crc)
		rc = slot_bad(s, SLOT_DAMAGED, "payload: checksum does not hold");
	if (rc) {
		free(buf);
		return rc;
	}
	*ret = buf;
	return 0;
}

int meta_slot_write(struct disk *d, unsigned slot, const uint8_t *buf, size_t length)
{
	int rc = 0;
	uint64_t total = META_HEADER_SIZE + ROUND_UP(length, 4096);
	for (uint64_t done = 0; done < total && rc == 0; done += SLOT_IO)
		rc = bdev_write(disk_bdev(d), buf + done, MIN(SLOT_IO, total - done),
				meta_slot_offset(slot) + done, 0);
	FAULT("meta.before_flush");
	return rc ? rc : bdev_flush(disk_bdev(d));
}
