/* See iov_cursor.h. */
#include "runtime/iov_cursor.h"
#include <string.h>
#include "runtime/check.h"

void iov_skip(struct iov_cursor *c, size_t len)
{
	while (len > 0 && c->n > 0) {
		size_t left = c->iov->iov_len - c->skip;
		if (len < left) {
			c->skip += len;
			return;
		}
		len -= left;
		c->iov++;
		c->n--;
		c->skip = 0;
	}
}

int iov_take(struct iov_cursor *c, size_t len, struct iovec *out, int max)
{
	int n = 0;
	while (len > 0) {
		ASSERT(c->n > 0);
		size_t take = MIN(len, c->iov->iov_len - c->skip);
		if (take > 0) {
			ASSERT(n < max);
			out[n++] = (struct iovec){(char *)c->iov->iov_base + c->skip, take};
		}
		iov_skip(c, take);
		if (take == 0) {
			c->iov++;
			c->n--;
			c->skip = 0;
		}
		len -= take;
	}
	return n;
}

size_t iov_reach(struct iov_cursor c, int max, size_t len, uint32_t unit)
{
	size_t n = 0;
	for (int i = 0; i < c.n && i < max && n < len; i++)
		n += c.iov[i].iov_len - (i == 0 ? c.skip : 0);
	n = MIN(n, len);
	return n == len ? n : ROUND_DOWN(n, unit);
}

/* The next bytes that lie in one piece, at most len, and goes past them. */
static struct iovec next_piece(struct iov_cursor *c, size_t len)
{
	for (; c->n > 0 && c->iov->iov_len == c->skip; c->iov++, c->n--)
		c->skip = 0;
	ASSERT(c->n > 0);
	struct iovec v = {(char *)c->iov->iov_base + c->skip, MIN(len, c->iov->iov_len - c->skip)};
	iov_skip(c, v.iov_len);
	return v;
}

void iov_gather(struct iov_cursor *c, void *to, size_t len)
{
	for (char *at = to, *end = at + len; at < end;) {
		struct iovec v = next_piece(c, (size_t)(end - at));
		memcpy(at, v.iov_base, v.iov_len);
		at += v.iov_len;
	}
}

void iov_scatter(struct iov_cursor *c, const void *from, size_t len)
{
	for (const char *at = from, *end = at + len; at < end;) {
		struct iovec v = next_piece(c, (size_t)(end - at));
		memcpy(v.iov_base, at, v.iov_len);
		at += v.iov_len;
	}
}
