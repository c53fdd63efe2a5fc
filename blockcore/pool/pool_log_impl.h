/* What pool_log.c and pool_log_load.c share. */
#ifndef ISTHMUS_BLOCKCORE_POOL_LOG_IMPL_H
#define ISTHMUS_BLOCKCORE_POOL_LOG_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include "blockcore/pool/pool_log.h"
#include "blockcore/pool/pool_stripe.h"

struct log_buf {
	struct log_buf *next;
	uint8_t *bytes; /* LOG_BLOCK + LOG_PAYLOAD_MAX */
};
#define LOG_BUFS 4

struct pool_log {
	struct raid *p;
	uint32_t slice; /* pool_log_slice() */
	pthread_mutex_t lock;
	struct waitq q;
	struct log_buf buf[LOG_BUFS], *free;
	uint8_t key[16];
	bool keyed; /* a marker with this key is on the disks */
	uint64_t marker, seq;
	uint32_t next[POOL_DISKS_MAX]; /* the first block without an entry, by position */
	unsigned active;	       /* entries whose rows are being written */
	bool emptying;
	uint8_t *block; /* of the marker; whose `emptying` it is */
	_Atomic uint64_t entries, bytes, emptied, replayed;
};

/* An entry's head as numbers. */
struct log_entry {
	uint64_t seq, row, elems;
	uint32_t nrows, lo, len, crc;
};

static inline uint32_t log_blocks(uint64_t payload)
{
	return 1 + (uint32_t)((payload + LOG_BLOCK - 1) / LOG_BLOCK);
}

static inline uint64_t log_payload(const struct log_entry *e)
{
	return (uint64_t)__builtin_popcountll(e->elems) * e->len;
}

void log_head_encode(const struct pool_log *l, const struct log_entry *e, uint8_t *block);
/* False: no entry of this log begins in the block, or what it says is impossible. */
bool log_head_decode(const struct pool_log *l, const uint8_t *block, struct log_entry *ret);
void log_marker_encode(const struct pool_log *l, uint64_t number, const uint8_t *key,
		       uint8_t *block);
/* 0; -ENOENT: no marker of this pool; -ERR_VERSION. */
int log_marker_decode(const struct pool_log *l, const uint8_t *block, uint64_t *ret_number,
		      uint8_t ret_key[16]);

#endif
