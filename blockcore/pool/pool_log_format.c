/* Blocks of the stripe log <-> numbers (layout in pool_log.h). */
#include "blockcore/pool/pool_log_impl.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

static const char marker_magic[8] = "ISTHSLGM", entry_magic[8] = "ISTHSLGE";

enum {
	OFF_CRC = 8,
	OFF_VERSION = 12,
	OFF_POOL = 16,
	OFF_NUMBER = 32, /* of the marker or the entry */
	OFF_KEY = 40,
	OFF_ROW = 56,
	OFF_NROWS = 64,
	OFF_LO = 68,
	OFF_LEN = 72,
	OFF_PAYLOAD_CRC = 76,
	OFF_ELEMS = 80,
};

_Static_assert(LOG_ENTRIES_OFF + LOG_BLOCKS * LOG_BLOCK <= DISK_META_OFF, "the log fits its place");

static uint32_t block_crc(const uint8_t *b)
{
	static const uint8_t zero[4];
	uint32_t s = crc32c_add(CRC32C_INIT, b, OFF_CRC);
	s = crc32c_add(s, zero, sizeof(zero));
	return crc32c_end(crc32c_add(s, b + OFF_CRC + 4, LOG_BLOCK - OFF_CRC - 4));
}

static void encode(const struct pool_log *l, const char *magic, uint64_t number, const uint8_t *key,
		   uint8_t *b)
{
	memset(b, 0, LOG_BLOCK);
	memcpy(b, magic, 8);
	le32_put(b + OFF_VERSION, LOG_VERSION);
	memcpy(b + OFF_POOL, l->p->uuid, 16);
	le64_put(b + OFF_NUMBER, number);
	memcpy(b + OFF_KEY, key, 16);
}

static bool ours(const struct pool_log *l, const char *magic, const uint8_t *b)
{
	return memcmp(b, magic, 8) == 0 && le32_get(b + OFF_CRC) == block_crc(b) &&
	       memcmp(b + OFF_POOL, l->p->uuid, 16) == 0;
}

void log_head_encode(const struct pool_log *l, const struct log_entry *e, uint8_t *b)
{
	encode(l, entry_magic, e->seq, l->key, b);
	le64_put(b + OFF_ROW, e->row);
	le32_put(b + OFF_NROWS, e->nrows);
	le32_put(b + OFF_LO, e->lo);
	le32_put(b + OFF_LEN, e->len);
	le32_put(b + OFF_PAYLOAD_CRC, e->crc);
	le64_put(b + OFF_ELEMS, e->elems);
	le32_put(b + OFF_CRC, block_crc(b));
}

static bool possible(const struct raid *p, const struct log_entry *e)
{
	uint64_t rows = (p->io.size + stripe_row_bytes(p) - 1) / stripe_row_bytes(p);
	if (e->row >= rows)
		return false;
	if (e->nrows)
		return e->nrows <= rows - e->row;
	return e->elems && !(e->elems & ~stripe_all(p)) && e->len && e->len <= p->chunk &&
	       e->lo <= p->chunk - e->len && log_payload(e) <= LOG_PAYLOAD_MAX;
}

bool log_head_decode(const struct pool_log *l, const uint8_t *b, struct log_entry *ret)
{
	if (!ours(l, entry_magic, b) || le32_get(b + OFF_VERSION) != LOG_VERSION ||
	    memcmp(b + OFF_KEY, l->key, 16) != 0)
		return false;
	struct log_entry e = {.seq = le64_get(b + OFF_NUMBER),
			      .row = le64_get(b + OFF_ROW),
			      .elems = le64_get(b + OFF_ELEMS),
			      .nrows = le32_get(b + OFF_NROWS),
			      .lo = le32_get(b + OFF_LO),
			      .len = le32_get(b + OFF_LEN),
			      .crc = le32_get(b + OFF_PAYLOAD_CRC)};
	if (!possible(l->p, &e))
		return false;
	*ret = e;
	return true;
}

void log_marker_encode(const struct pool_log *l, uint64_t number, const uint8_t *key, uint8_t *b)
{
	encode(l, marker_magic, number, key, b);
	le32_put(b + OFF_CRC, block_crc(b));
}

int log_marker_decode(const struct pool_log *l, const uint8_t *b, uint64_t *ret_number,
		      uint8_t ret_key[16])
{
	if (!ours(l, marker_magic, b))
		return -ENOENT;
	if (le32_get(b + OFF_VERSION) != LOG_VERSION)
		return -ERR_VERSION;
	*ret_number = le64_get(b + OFF_NUMBER);
	memcpy(ret_key, b + OFF_KEY, 16);
	return 0;
}
