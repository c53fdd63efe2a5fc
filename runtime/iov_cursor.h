/* Walking through a scattered buffer and cutting pieces from it. */
#ifndef ISTHMUS_RUNTIME_IOV_CURSOR_H
#define ISTHMUS_RUNTIME_IOV_CURSOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct iov_cursor {
	const struct iovec *iov;
	int n;
	size_t skip; /* in the first */
};

void iov_skip(struct iov_cursor *c, size_t len);
/* Appends the next len bytes to out and goes past them; returns how many pieces (at most max,
 * which is enough: see iov_reach()). */
int iov_take(struct iov_cursor *c, size_t len, struct iovec *out, int max);
/* Bytes that at most `max` pieces from the cursor hold, up to len, in whole units. */
size_t iov_reach(struct iov_cursor c, int max, size_t len, uint32_t unit);
/* Copies the next len bytes out of the cursor's buffers, or into them, and goes past them. */
void iov_gather(struct iov_cursor *c, void *to, size_t len);
void iov_scatter(struct iov_cursor *c, const void *from, size_t len);

#endif
