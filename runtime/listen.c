/* Sockets that clients come to (runtime/listen.h). */
#include "runtime/listen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/param.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define BACKLOG	   1024
#define BORROW_MAX 64 /* descriptors that are looked at: such are opened first */

static int inherited[LISTEN_MAX];
static unsigned ninherited;

int listen_address(const char *address, uint16_t port, struct sockaddr_storage *ret,
		   socklen_t *ret_len)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
		memcpy(ret, &in, sizeof(in));
		*ret_len = sizeof(in);
		return 0;
	}
	if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1) {
		memcpy(ret, &in6, sizeof(in6));
		*ret_len = sizeof(in6);
		return 0;
	}
	return -EINVAL;
}

/* ---- handing over ---- */

static int option(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);
	return getsockopt(fd, SOL_SOCKET, name, &v, &len) ? -1 : v;
}

void listen_inherit(void)
{
	ninherited = 0;
	for (int fd = LISTEN_FIRST; fd < LISTEN_FIRST + LISTEN_MAX; fd++) {
		int type = option(fd, SO_TYPE);
		if (type != SOCK_DGRAM && (type != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1))
			continue;
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		inherited[ninherited++] = fd;
	}
}

void listen_pass_on(void)
{
	for (unsigned i = 0; i < ninherited; i++)
		fcntl(inherited[i], F_SETFD, 0);
}

void listen_hand_over(const int *fds, unsigned count)
{
	int high[LISTEN_MAX];
	count = MIN(count, LISTEN_MAX);
	/* Out of the way first: one may be where another goes. */
	for (unsigned i = 0; i < count; i++)
		high[i] = fcntl(fds[i], F_DUPFD, LISTEN_FIRST + LISTEN_MAX);
	for (unsigned i = 0; i < count; i++)
		if (high[i] >= 0)
			dup2(high[i], LISTEN_FIRST + (int)i);
	close_range(LISTEN_FIRST + count, ~0u, CLOSE_RANGE_CLOEXEC);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port &&
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

/* -1: none of that address was handed over. */
static int take(int type, const struct sockaddr_storage *sa)
{
	for (unsigned i = 0; i < ninherited; i++) {
		struct sockaddr_storage at = {0};
		socklen_t len = sizeof(at);
		int fd = inherited[i];
		if (option(fd, SO_TYPE) != type || getsockname(fd, (struct sockaddr *)&at, &len) ||
		    !same_address(&at, sa))
			continue;
		inherited[i] = inherited[--ninherited];
		return fd;
	}
	return -1;
}

/* ---- sockets ---- */

static int bound(int type, const struct sockaddr_storage *sa, socklen_t len)
{
	int one = 1, zero = 0;
	int fd = socket(sa->ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (sa->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (const struct sockaddr *)sa, len) == 0 &&
	    (type != SOCK_STREAM || listen(fd, BACKLOG) == 0))
		return fd;
	int rc = -errno;
	close(fd);
	return rc;
}

static int listener(int type, const char *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int rc = listen_address(address, port, &sa, &len);
	if (rc)
		return rc;
	int fd = take(type, &sa);
	return fd >= 0 ? fd : bound(type, &sa, len);
}

static bool bound_there(int fd, int type, const struct sockaddr_storage *sa)
{
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at);
	return option(fd, SO_TYPE) == type &&
	       (type != SOCK_STREAM || option(fd, SO_ACCEPTCONN) == 1) &&
	       getsockname(fd, (struct sockaddr *)&at, &len) == 0 && same_address(&at, sa);
}

int listen_borrow(int pidfd, int type, const char *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int rc = listen_address(address, port, &sa, &len);
	for (int i = LISTEN_FIRST; !rc && i < LISTEN_FIRST + BORROW_MAX; i++) {
		int fd = pidfd_getfd(pidfd, i, 0);
		if (fd >= 0 && bound_there(fd, type, &sa))
			return fd;
		if (fd >= 0)
			close(fd);
		else if (errno != EBADF)
			rc = -errno;
	}
	return rc ? rc : -ENOENT;
}

int listen_tcp(const char *address, uint16_t port)
{
	return listener(SOCK_STREAM, address, port);
}

int listen_udp(const char *address, uint16_t port)
{
	return listener(SOCK_DGRAM, address, port);
}
