/* Bytes over TCP (stream.h). */
#include "tests/bench/stream.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/bytes.h"
#include "tests/bench/contest.h"
#include "tests/bench/exchange.h"

static int connect_to(const char *url)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char host[128], port[8];
	int fd = -1;
	if (sscanf(url, "tcp://%127[^:]:%7[0-9]", host, port) != 2 ||
	    getaddrinfo(host, port, &hints, &list))
		return -1;
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

/* Connects and says what is wanted. */
static int begin(const char *url, const uint8_t ask[8])
{
	int fd = connect_to(url);
	if (fd >= 0 && send(fd, ask, 8, MSG_NOSIGNAL) == 8)
		return fd;
	fprintf(stderr, "%s: cannot connect\n", url);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int64_t stream_bytes(int fd, const uint8_t ask[8], char *buf, uint32_t size, double seconds)
{
	int64_t bytes = 0;
	int wait = ask[2] == 's' ? MSG_DONTWAIT : 0;
	for (double end = contest_now() + seconds; contest_now() < end;) {
		ssize_t n = ask[0] == 'w' ? send(fd, buf, size, MSG_NOSIGNAL | wait)
					  : recv(fd, buf, size, wait);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			return -1;
		bytes += n;
	}
	return bytes / size;
}

static int64_t run(const char *url, const uint8_t ask[8], bool write, uint32_t size, double seconds)
{
	char *buf = calloc(1, size);
	int fd = buf ? begin(url, ask) : -1;
	int64_t n = -1;
	if (fd >= 0) {
		n = ask[0] == 'x' ? exchange_run(fd, write, buf, size, seconds)
				  : stream_bytes(fd, ask, buf, size, seconds);
		if (n < 0)
			fprintf(stderr, "%s: hung up\n", url);
		close(fd);
	}
	free(buf);
	return n > 0 ? n : -1;
}

int64_t stream_run(const char *url, bool write, bool spin, uint32_t size, double seconds)
{
	uint8_t ask[8] = {write ? 'w' : 'r', 0, spin ? 's' : 0};
	be32_put(ask + 4, size);
	return run(url, ask, write, size, seconds);
}

int64_t stream_exchange(const char *url, bool write, uint32_t size, double seconds)
{
	uint8_t ask[8] = {'x', write ? 'w' : 'r'};
	be32_put(ask + 4, size);
	return run(url, ask, write, size, seconds);
}
