/*
 * XDR (RFC 4506) as two cursors over memory that somebody else owns.
 *
 * struct xdr_in walks the receive buffer: numbers are read out, opaque data and strings are given
 * as pointers into the buffer. Every getter checks what is left first and returns false, with
 * nothing consumed that matters, when the item does not fit: the caller answers GARBAGE_ARGS.
 *
 * struct xdr_out fills a reply buffer. It never writes past the end: it sets `full` and goes on
 * counting nothing, and whoever sends the reply looks at `full` once.
 */
#ifndef ISTHMUS_NASFRONT_XDR_H
#define ISTHMUS_NASFRONT_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/bytes.h"

struct xdr_in {
	const uint8_t *p, *end;
};

static inline struct xdr_in xdr_in_of(const void *buf, size_t len)
{
	return (struct xdr_in){.p = buf, .end = (const uint8_t *)buf + len};
}

static inline size_t xdr_left(const struct xdr_in *x)
{
	return (size_t)(x->end - x->p);
}

static inline bool xdr_u32(struct xdr_in *x, uint32_t *ret)
{
	if (xdr_left(x) < 4)
		return false;
	*ret = be32_get(x->p);
	x->p += 4;
	return true;
}

static inline bool xdr_u64(struct xdr_in *x, uint64_t *ret)
{
	if (xdr_left(x) < 8)
		return false;
	*ret = be64_get(x->p);
	x->p += 8;
	return true;
}

/* RFC 4506 4.4: only 0 and 1 are booleans. */
static inline bool xdr_bool(struct xdr_in *x, bool *ret)
{
	uint32_t v;
	if (!xdr_u32(x, &v) || v > 1)
		return false;
	*ret = v;
	return true;
}

/* Fixed-length opaque, in place; its padding is skipped. */
bool xdr_fixed(struct xdr_in *x, uint32_t len, const uint8_t **ret);
/* Variable-length opaque or string of at most max bytes, in place. */
bool xdr_opaque(struct xdr_in *x, uint32_t max, const uint8_t **ret, uint32_t *ret_len);

struct xdr_out {
	uint8_t *base, *p, *end;
	bool full;
};

static inline struct xdr_out xdr_out_of(void *buf, size_t size)
{
	return (struct xdr_out){.base = buf, .p = buf, .end = (uint8_t *)buf + size};
}

static inline size_t xdr_out_len(const struct xdr_out *x)
{
	return (size_t)(x->p - x->base);
}

static inline size_t xdr_room(const struct xdr_out *x)
{
	return (size_t)(x->end - x->p);
}

static inline uint8_t *xdr_take(struct xdr_out *x, size_t n)
{
	if (x->full || xdr_room(x) < n) {
		x->full = true;
		return NULL;
	}
	uint8_t *p = x->p;
	x->p += n;
	return p;
}

static inline void xdr_put_u32(struct xdr_out *x, uint32_t v)
{
	uint8_t *p = xdr_take(x, 4);
	if (p)
		be32_put(p, v);
}

static inline void xdr_put_u64(struct xdr_out *x, uint64_t v)
{
	uint8_t *p = xdr_take(x, 8);
	if (p)
		be64_put(p, v);
}

static inline void xdr_put_bool(struct xdr_out *x, bool v)
{
	xdr_put_u32(x, v);
}

void xdr_put_fixed(struct xdr_out *x, const void *data, uint32_t len);
void xdr_put_opaque(struct xdr_out *x, const void *data, uint32_t len);
void xdr_put_string(struct xdr_out *x, const char *s);

/* Bytes of zeros after len bytes of opaque data. */
static inline uint32_t xdr_pad(uint32_t len)
{
	return (4 - (len & 3)) & 3;
}

#endif
