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

int64_t stream_run(const char *url, bool write, uint32_t size, double seconds)
{
	uint8_t ask[8] = {write ? 'w' : 'r'};
	uint64_t bytes = 0;
	char *buf = calloc(1, size);
	int fd = buf ? connect_to(url) : -1;
	be32_put(ask + 4, size);
	if (fd < 0 || send(fd, ask, sizeof(ask), MSG_NOSIGNAL) != sizeof(ask)) {
		fprintf(stderr, "%s: cannot connect\n", url);
		free(buf);
		return -1;
	}
	for (double end = contest_now() + seconds; contest_now() < end;) {
		ssize_t n = write ? send(fd, buf, size, MSG_NOSIGNAL) : recv(fd, buf, size, 0);
		if (n <= 0) {
			fprintf(stderr, "%s: %s\n", url, n ? strerror(errno) : "hung up");
			bytes = 0;
			break;
		}
		bytes += (uint64_t)n;
	}
	close(fd);
	free(buf);
	return bytes ? (int64_t)(bytes / size) : -1;
}
