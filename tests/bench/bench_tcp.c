/*
 * bench_tcp PORT [MIB]: a plain sender and receiver on loopback. A client says which (8 bytes:
 * 'r' or 'w', nothing, 's' to spin, nothing; or 'x', 'r' or 'w', and two of nothing; then bytes a
 * call); then bytes stream until it hangs up, or, with 'x', each call is answered before the next
 * (exchange.h), by a server that spins. What is sent comes from a region of MIB (128), one call
 * after the other, an exchange's from random places, as a target's cache would send it: a single
 * buffer would stay in the processor's own cache.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/bytes.h"
#include "tests/bench/exchange.h"

#define SIZE_MAX_CALL (1u << 20)

static void stream(int fd, char *region, size_t len)
{
	uint8_t ask[8];
	if (recv(fd, ask, sizeof(ask), MSG_WAITALL) != sizeof(ask))
		return;
	uint32_t size = be32_get(ask + 4);
	if (size == 0 || size > SIZE_MAX_CALL)
		return;
	if (ask[0] == 'x') {
		exchange_serve(fd, ask[1] == 'w', region, len, size);
		return;
	}
	int wait = ask[2] == 's' ? MSG_DONTWAIT : 0;
	for (size_t at = 0;; at = at + 2 * size <= len ? at + size : 0) {
		ssize_t n = ask[0] == 'w' ? recv(fd, region + at, size, wait)
					  : send(fd, region + at, size, MSG_NOSIGNAL | wait);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return;
	}
}

int main(int argc, char **argv)
{
	size_t len = (argc > 2 ? strtoul(argv[2], NULL, 0) : 128) << 20;
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *region = len >= SIZE_MAX_CALL ? malloc(len) : NULL;
	if (argc < 2 || !region) {
		fprintf(stderr, "usage: bench_tcp PORT [MIB]\n");
		return 2;
	}
	memset(region, 0xa5, len);
	sa.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 8)) {
		perror("bench_tcp");
		return 1;
	}
	for (;;) {
		int c = accept(fd, NULL, NULL);
		if (c < 0)
			continue;
		stream(c, region, len);
		close(c);
	}
}
