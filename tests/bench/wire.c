/* Connections, gathered sends, the pattern (wire.h). */
#include "tests/bench/wire.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int wire_connect(const char *host, const char *port, const char **ret_why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int rc = getaddrinfo(host, port, &hints, &list), one = 1, fd = -1;
	if (rc) {
		*ret_why = gai_strerror(rc);
		return -1;
	}
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
			*ret_why = strerror(errno);
			close(fd);
			fd = -1;
		} else if (fd < 0) {
			*ret_why = strerror(errno);
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return -1;
	struct timeval limit = {.tv_sec = WIRE_SILENCE_S};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void wire_out_reset(struct wire_out *o)
{
	o->n = o->at = 0;
	o->unsent = 0;
	o->blocked = false;
}

void wire_out_add(struct wire_out *o, void *base, size_t len)
{
	struct iovec *last = o->n > o->at ? &o->iov[o->n - 1] : NULL;
	if (last && (char *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		o->iov[o->n++] = (struct iovec){base, len};
	o->unsent += len;
}

static void sent(struct wire_out *o, size_t n)
{
	o->unsent -= n;
	while (n > 0) {
		struct iovec *v = &o->iov[o->at];
		size_t part = MIN(n, v->iov_len);
		v->iov_base = (char *)v->iov_base + part;
		v->iov_len -= part;
		n -= part;
		o->at += v->iov_len == 0;
	}
}

int wire_out_send(struct wire_out *o, int fd)
{
	o->blocked = false;
	while (o->unsent) {
		struct msghdr m = {.msg_iov = o->iov + o->at, .msg_iovlen = (size_t)(o->n - o->at)};
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			o->blocked = true;
			return 0;
		}
		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			sent(o, (size_t)n);
	}
	return 0;
}

void wire_pattern_fill(uint8_t *buf, uint64_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 8) {
		uint64_t w = wire_pattern_word(off + i);
		memcpy(buf + i, &w, 8);
	}
}

bool wire_pattern_holds(const uint8_t *buf, uint64_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len;) {
		uint64_t w = wire_pattern_word((off + i) & ~7ull);
		uint32_t skip = (off + i) & 7, n = MIN(8 - skip, len - i);
		if (memcmp(buf + i, (uint8_t *)&w + skip, n) != 0)
			return false;
		i += n;
	}
	return true;
}
