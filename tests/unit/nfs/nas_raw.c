#include "tests/unit/nfs/nas_raw.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"

void raw_bind(int fd, const char *address, bool privileged)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	static uint16_t port =
	    1023; /* another each time: a pair of ports is not used twice at once */
	int rc = -1;
	ck_assert_int_eq(inet_pton(AF_INET, address, &sa.sin_addr), 1);
	for (int i = 0; i < 400 && rc; i++) {
		port = port > 624 ? port - 1 : 1023;
		sa.sin_port = htons(privileged ? port : 0);
		rc = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	}
	ck_assert_int_eq(rc, 0);
}

static int dial(uint16_t port, int type, const char *address, bool privileged)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 20};
	int one = 1;
	int fd = socket(AF_INET, type, 0);
	if (address)
		raw_bind(fd, address, privileged);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void raw_open(struct raw *r, uint16_t port)
{
	raw_open_from(r, port, NULL, false);
}

void raw_open_from(struct raw *r, uint16_t port, const char *address, bool privileged)
{
	memset(r, 0, offsetof(struct raw, call));
	r->send = NULL;
	r->recv = NULL;
	r->port = port;
	r->xid = 1;
	r->fd = dial(port, SOCK_STREAM, address, privileged);
}

void raw_again(struct raw *r)
{
	struct sockaddr_in at, to;
	socklen_t len = sizeof(at);
	const struct linger hard = {.l_onoff = 1};
	struct timeval tv = {.tv_sec = 20};
	int one = 1;
	ck_assert_int_eq(getsockname(r->fd, (struct sockaddr *)&at, &len), 0);
	setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(r->fd);
	to = (struct sockaddr_in){.sin_family = AF_INET,
				  .sin_port = htons(r->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	r->fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(r->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	/* Somebody else's connection may have the port for a moment. */
	int rc = -1;
	for (int i = 0; i < 100 && rc; i++) {
		rc = bind(r->fd, (struct sockaddr *)&at, sizeof(at));
		if (rc)
			usleep(50000);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(connect(r->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	r->xid--;
}

void raw_close(struct raw *r)
{
	close(r->fd);
}

void raw_begin(struct raw *r, uint32_t prog, uint32_t vers, uint32_t proc)
{
	r->out = xdr_out_of(r->call + 4, sizeof(r->call) - 4);
	const uint32_t head[] = {++r->xid, 0, 2,	  prog,	  vers,	  proc, 1, 24,
				 1,	   1, 0x61000000, r->uid, r->gid, 0,	0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&r->out, head[i]);
}

static bool sock_send(struct raw *r, const void *p, size_t n)
{
	return send(r->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool sock_recv(struct raw *r, void *p, size_t n)
{
	return recv(r->fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

static uint32_t results(struct raw *r, size_t n)
{
	ck_assert_uint_ge(n, 24);
	ck_assert_uint_eq(be32_get(r->reply), r->xid);
	ck_assert_uint_eq(be32_get(r->reply + 8), 0);
	r->in = xdr_in_of(r->reply + 24, n - 24);
	return be32_get(r->reply + 20);
}

uint32_t raw_end(struct raw *r)
{
	size_t n = xdr_out_len(&r->out);
	uint8_t mark[4];
	ck_assert(!r->out.full);
	be32_put(r->call, 0x80000000u | (uint32_t)n);
	ck_assert((r->send ? r->send : sock_send)(r, r->call, n + 4));
	ck_assert((r->recv ? r->recv : sock_recv)(r, mark, 4));
	n = be32_get(mark) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(r->reply));
	ck_assert((r->recv ? r->recv : sock_recv)(r, r->reply, n));
	return results(r, n);
}

uint32_t raw_end_udp(struct raw *r)
{
	int fd = dial(r->port, SOCK_DGRAM, NULL, false);
	size_t n = xdr_out_len(&r->out);
	ck_assert_int_eq(send(fd, r->call + 4, n, 0), (ssize_t)n);
	ssize_t got = recv(fd, r->reply, sizeof(r->reply), 0);
	close(fd);
	ck_assert_int_gt(got, 0);
	return results(r, (size_t)got);
}

uint32_t raw_u32(struct raw *r)
{
	uint32_t v;
	ck_assert(xdr_u32(&r->in, &v));
	return v;
}

uint64_t raw_u64(struct raw *r)
{
	uint64_t v;
	ck_assert(xdr_u64(&r->in, &v));
	return v;
}

static void take_fh(struct raw *r, uint8_t fh[FH_SIZE])
{
	const uint8_t *p;
	uint32_t n;
	ck_assert(xdr_opaque(&r->in, 64, &p, &n) && n == FH_SIZE);
	memcpy(fh, p, FH_SIZE);
}

uint32_t raw_mount(struct raw *r, const char *path, uint8_t fh[FH_SIZE])
{
	raw_begin(r, 100005, 3, 1);
	xdr_put_string(&r->out, path);
	ck_assert_uint_eq(raw_end(r), 0);
	uint32_t st = raw_u32(r);
	if (st == 0)
		take_fh(r, fh);
	return st;
}

uint32_t raw_make(struct raw *r, const uint8_t dir[FH_SIZE], const char *name, bool is_dir,
		  uint32_t mode, uint8_t fh[FH_SIZE])
{
	raw_begin(r, 100003, 3, is_dir ? 9 : 8);
	xdr_put_opaque(&r->out, dir, FH_SIZE);
	xdr_put_string(&r->out, name);
	if (!is_dir)
		xdr_put_u32(&r->out, 0);
	xdr_put_u32(&r->out, 1);
	xdr_put_u32(&r->out, mode);
	for (int i = 0; i < 5; i++)
		xdr_put_u32(&r->out, 0);
	ck_assert_uint_eq(raw_end(r), 0);
	uint32_t st = raw_u32(r);
	if (st == 0) {
		ck_assert_uint_eq(raw_u32(r), 1);
		take_fh(r, fh);
	}
	return st;
}

uint32_t raw_mode(struct raw *r, const uint8_t fh[FH_SIZE], uint32_t *ret_mode)
{
	raw_begin(r, 100003, 3, 1);
	xdr_put_opaque(&r->out, fh, FH_SIZE);
	ck_assert_uint_eq(raw_end(r), 0);
	uint32_t st = raw_u32(r);
	if (st == 0) {
		raw_u32(r);
		*ret_mode = raw_u32(r);
	}
	return st;
}
