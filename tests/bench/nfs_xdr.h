/* XDR (RFC 4506) as much as the NFS bench needs. All lengths from outside are bounded here. */
#ifndef ISTHMUS_TESTS_BENCH_NFS_XDR_H
#define ISTHMUS_TESTS_BENCH_NFS_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include "runtime/bytes.h"

/* Encoding into a buffer that the caller made large enough: calls have a size known before. */
struct enc {
	uint8_t *p;
	uint32_t len;
};

static inline void enc_u32(struct enc *e, uint32_t v)
{
	be32_put(e->p + e->len, v);
	e->len += 4;
}

static inline void enc_u64(struct enc *e, uint64_t v)
{
	be64_put(e->p + e->len, v);
	e->len += 8;
}

static inline void enc_opaque(struct enc *e, const void *data, uint32_t len)
{
	enc_u32(e, len);
	memset(e->p + e->len, 0, (len + 3) & ~3u);
	memcpy(e->p + e->len, data, len);
	e->len += (len + 3) & ~3u;
}

/* Decoding: what is not there sets `bad`, and reads as nothing. */
struct dec {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline const uint8_t *dec_bytes(struct dec *d, size_t len)
{
	if (d->bad || len > d->left) {
		d->bad = true;
		return NULL;
	}
	const uint8_t *p = d->p;
	d->p += len;
	d->left -= len;
	return p;
}

static inline uint32_t dec_u32(struct dec *d)
{
	const uint8_t *p = dec_bytes(d, 4);
	return p ? be32_get(p) : 0;
}

static inline uint64_t dec_u64(struct dec *d)
{
	const uint8_t *p = dec_bytes(d, 8);
	return p ? be64_get(p) : 0;
}

/* NULL and bad when it is longer than max. */
static inline const uint8_t *dec_opaque(struct dec *d, uint32_t max, uint32_t *ret_len)
{
	uint32_t len = dec_u32(d);
	d->bad = d->bad || len > max;
	const uint8_t *p = dec_bytes(d, ((size_t)len + 3) & ~(size_t)3);
	*ret_len = p ? len : 0;
	return p;
}

#endif
