/*
 * Frames of the admin protocol: u32 big endian length of the body, then an
 * AdminFrame. Nothing is believed before it is bounded.
 */
#include "runtime/admin_impl.h"
#include "runtime/bytes.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER	    4
#define INBUF_START 4096

int admin_frame_encode(const Isthmus__AdminFrame *f, uint8_t **ret, size_t *ret_len)
{
	size_t n = isthmus__admin_frame__get_packed_size(f);
	if (n > ADMIN_FRAME_MAX)
		return -E2BIG;
	uint8_t *buf = malloc(HEADER + n);
	if (!buf)
		return -ENOMEM;
	be32_put(buf, (uint32_t)n);
	isthmus__admin_frame__pack(f, buf + HEADER);
	*ret = buf;
	*ret_len = HEADER + n;
	return 0;
}

int admin_frame_decode(const uint8_t *buf, size_t n, size_t max, Isthmus__AdminFrame **ret,
		       size_t *ret_used)
{
	if (n < HEADER)
		return -EAGAIN;
	size_t len = be32_get(buf);
	if (len == 0 || len > max)
		return -ERR_PROTO;
	if (n < HEADER + len)
		return -EAGAIN;
	Isthmus__AdminFrame *f = isthmus__admin_frame__unpack(NULL, len, buf + HEADER);
	if (!f)
		return -ERR_PROTO;
	if (f->version != ADMIN_VERSION) {
		isthmus__admin_frame__free_unpacked(f, NULL);
		return -ERR_VERSION;
	}
	*ret = f;
	*ret_used = HEADER + len;
	return 0;
}

ssize_t admin_inbuf_recv(struct admin_inbuf *in, int fd, size_t max)
{
	if (in->n == in->cap) {
		size_t cap = in->cap ? in->cap * 2 : INBUF_START;
		if (in->cap >= HEADER + max)
			return -ERR_PROTO;
		if (cap > HEADER + max)
			cap = HEADER + max;
		uint8_t *p = realloc(in->p, cap);
		if (!p)
			return -ENOMEM;
		in->p = p;
		in->cap = cap;
	}
	ssize_t n;
	do
		n = recv(fd, in->p + in->n, in->cap - in->n, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	in->n += (size_t)n;
	return n;
}

void admin_inbuf_drop(struct admin_inbuf *in, size_t n)
{
	memmove(in->p, in->p + n, in->n - n);
	in->n -= n;
}

void admin_inbuf_free(struct admin_inbuf *in)
{
	free(in->p);
	*in = (struct admin_inbuf){0};
}

int admin_connect(const char *socket_path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (strlen(socket_path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}
