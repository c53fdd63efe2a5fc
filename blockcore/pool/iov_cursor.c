/* See iov_cursor.h. */
#include "blockcore/pool/iov_cursor.h"
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
