/* Calls and answers over TCP (exchange.h). */
#include "tests/bench/exchange.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "tests/bench/contest.h"

#define HEADER 48u

static bool receive(int fd, char *header, char *data, uint32_t size)
{
	size_t got = 0;
	while (got < HEADER + size) {
		struct iovec v[2] = {{header, HEADER}, {data, size}};
		if (got < HEADER) {
			v[0].iov_base = header + got;
			v[0].iov_len = HEADER - got;
		} else {
			v[0] = (struct iovec){data + (got - HEADER), size - (got - HEADER)};
		}
		struct msghdr m = {.msg_iov = v, .msg_iovlen = got < HEADER && size ? 2 : 1};
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		got += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool send_all(int fd, char *header, char *data, uint32_t size)
{
	struct iovec v[2] = {{header, HEADER}, {data, size}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = size ? 2 : 1};
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)(HEADER + size);
}

static void no_delay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void exchange_serve(int fd, bool write, char *region, size_t len, uint32_t size)
{
	char header[HEADER] = {0};
	uint64_t x = 88172645463325252ull;
	no_delay(fd);
	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		char *page = region + x % (len / size) * size;
		if (!receive(fd, header, page, write ? size : 0) ||
		    !send_all(fd, header, page, write ? 0 : size))
			return;
	}
}

int64_t exchange_run(int fd, bool write, char *buf, uint32_t size, double seconds)
{
	char header[HEADER] = {0};
	int64_t calls = 0;
	no_delay(fd);
	for (double end = contest_now() + seconds; contest_now() < end; calls++)
		if (!send_all(fd, header, buf, write ? size : 0) ||
		    !receive(fd, header, buf, write ? 0 : size))
			return -1;
	return calls;
}
