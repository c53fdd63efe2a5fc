#include "tests/unit/nfs4/v4_wire.h"
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/v4_valid.h"

static int connected(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 20};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	/* An answer to a call of the server's does not hold up the call behind it. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void v4_open(struct v4 *c, uint16_t port)
{
	memset(c, 0, sizeof(*c));
	c->minor = 1;
	c->xid = 1;
	c->listen_fd = -1;
	c->buf = malloc(V4_BUF);
	c->reply = malloc(V4_BUF);
	c->fd = connected(port);
}

void v4_reconnect(struct v4 *c, uint16_t port)
{
	close(c->fd);
	c->fd = connected(port);
	c->back = false;
}

void v4_close(struct v4 *c)
{
	close(c->fd);
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	free(c->buf);
	free(c->reply);
}

/* ---- compounds ---- */

void v4_begin(struct v4 *c)
{
	const uint32_t head[] = {c->xid++, 0, 2, 100003, 4, 1, 1};
	c->x = xdr_out_of(c->buf + 4, V4_BUF - 4);
	for (unsigned i = 0; i < sizeof(head) / 4; i++)
		xdr_put_u32(&c->x, head[i]);
	xdr_put_u32(&c->x, c->group ? 28 : 24); /* bytes of AUTH_SYS */
	xdr_put_u32(&c->x, 0);
	xdr_put_string(&c->x, "test");
	xdr_put_u32(&c->x, c->uid);
	xdr_put_u32(&c->x, c->uid);
	xdr_put_u32(&c->x, c->group != 0);
	if (c->group)
		xdr_put_u32(&c->x, c->group);
	xdr_put_u32(&c->x, 0); /* the verifier */
	xdr_put_u32(&c->x, 0);
	xdr_put_string(&c->x, "tag");
	xdr_put_u32(&c->x, c->minor);
	c->nops_at = xdr_out_len(&c->x);
	xdr_put_u32(&c->x, 0);
	c->nops = 0;
}

void v4_op(struct v4 *c, uint32_t op)
{
	xdr_put_u32(&c->x, op);
	if (c->nops < V4_OPS_MAX)
		c->ops[c->nops] = op;
	be32_put(c->x.base + c->nops_at, ++c->nops);
}

void v4_seq(struct v4 *c)
{
	v4_begin(c);
	if (c->minor == 0)
		return;
	v4_op(c, OP_SEQUENCE);
	xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	xdr_put_u32(&c->x, ++c->seq);
	xdr_put_u32(&c->x, c->slot);
	xdr_put_u32(&c->x, c->slot);
	xdr_put_bool(&c->x, c->cache);
}

void v4_bytes(int fd, void *p, size_t n, bool out)
{
	uint8_t *b = p;
	while (n) {
		ssize_t got = out ? send(fd, b, n, MSG_NOSIGNAL) : recv(fd, b, n, 0);
		if (got < 0 && errno == EINTR) /* the fuzzer's timer */
			continue;
		ASSERT(got > 0);
		b += got;
		n -= (size_t)got;
	}
}

/* ---- records ---- */

void v4_record(int fd, uint8_t *to, size_t *ret_len)
{
	uint8_t mark[4];
	bool last = false;
	*ret_len = 0;
	while (!last) {
		v4_bytes(fd, mark, 4, false);
		uint32_t n = be32_get(mark) & 0x7fffffff;
		last = mark[0] & 0x80;
		ASSERT(*ret_len + n <= V4_BUF);
		v4_bytes(fd, to + *ret_len, n, false);
		*ret_len += n;
	}
}

static void receive(struct v4 *c)
{
	if (c->exchange) {
		c->exchange(c, c->buf + 4, xdr_out_len(&c->x));
		return;
	}
	for (;;) {
		v4_record(c->fd, c->reply, &c->reply_len);
		if (c->reply_len >= 8 && be32_get(c->reply + 4) == 1)
			return;
		v4_called(c, c->fd, c->reply, c->reply_len);
	}
}

/* ---- compounds, sent ---- */

void v4_put(struct v4 *c)
{
	size_t len = xdr_out_len(&c->x);
	ASSERT(!c->x.full);
	be32_put(c->buf, 0x80000000u | (uint32_t)len);
	if (!c->exchange)
		v4_bytes(c->fd, c->buf, len + 4, true);
}

uint32_t v4_again(struct v4 *c)
{
	v4_put(c);
	return v4_get(c);
}

/* ---- replies ---- */

/* The results from `left` bytes before the end on: an operation with the reply's status? */
static bool ends_with(const struct v4 *c, size_t left, uint32_t *ret_op)
{
	if (xdr_left(&c->r) < left || be32_get(c->r.end - left + 4) != c->status)
		return false;
	*ret_op = be32_get(c->r.end - left);
	return true;
}

/* An error of these has a body. */
static bool has_body(const struct v4 *c, uint32_t op)
{
	return ((op == OP_LOCK || op == OP_LOCKT) && c->status == NFS4ERR_DENIED) ||
	       (op == OP_SETCLIENTID && c->status == NFS4ERR_CLID_INUSE) || op == OP_SETATTR ||
	       (op == OP_COPY && c->status == NFS4ERR_OFFLOAD_NO_REQS);
}

/* Whose the error at the end is. */
static uint32_t failed_op(const struct v4 *c)
{
	uint32_t op, last = c->nres <= V4_OPS_MAX ? c->ops[c->nres - 1] : 0;
	if (!c->loose && has_body(c, last))
		return last;
	/* A SETATTR's bitmap of up to three words. */
	for (size_t n = 0; n < 4; n++)
		if (ends_with(c, 12 + 4 * n, &op) && op == OP_SETATTR &&
		    be32_get(c->r.end - 4 - 4 * n) == n)
			return op;
	if (c->loose && (c->status == NFS4ERR_DENIED || c->status == NFS4ERR_CLID_INUSE))
		return c->status == NFS4ERR_DENIED ? OP_LOCK : (uint32_t)OP_SETCLIENTID;
	ASSERT(ends_with(c, 8, &op));
	return op;
}

static void check_results(const struct v4 *c)
{
	uint32_t good = c->nres - (c->status != 0), op;
	if (c->status && !c->nres) {
		ASSERT(v4_valid_compound(c->minor, c->status));
		return;
	}
	op = c->status ? failed_op(c) : 0;
	if (c->status && !v4_valid(c->minor, op, c->status)) {
		fprintf(stderr, "version 4.%u: operation %u answered %s\n", c->minor, op,
			v4_status_name(c->status));
		abort();
	}
	if (c->status)
		v4_seen_note(c->minor, op, c->status);
	if (c->loose || c->nops > V4_OPS_MAX)
		return;
	ASSERT(c->nres <= c->nops && (c->status || c->nres == c->nops));
	for (uint32_t i = 0; i < good; i++)
		v4_seen_note(c->minor, c->ops[i], NFS4_OK);
	if (c->status)
		ASSERT(op == (v4_op_name(c->minor, c->ops[good]) ? c->ops[good] : OP_ILLEGAL));
}

uint32_t v4_get(struct v4 *c)
{
	const uint8_t *p;
	uint32_t n;
	receive(c);
	c->r = xdr_in_of(c->reply, c->reply_len);
	ASSERT(v4_u32(c) == be32_get(c->buf + 4)); /* xid */
	ASSERT(v4_u32(c) == 1 && v4_u32(c) == 0);  /* a reply, accepted */
	v4_u32(c);
	ASSERT(xdr_opaque(&c->r, 400, &p, &n));
	if (v4_u32(c) != 0)
		return UINT32_MAX; /* not even a COMPOUND */
	c->status = v4_u32(c);
	ASSERT(xdr_opaque(&c->r, 1024, &p, &n) && n == 3 && memcmp(p, "tag", 3) == 0);
	c->nres = v4_u32(c);
	check_results(c);
	return c->status;
}

uint32_t v4_send(struct v4 *c)
{
	uint8_t skip[36];
	uint32_t st = v4_again(c);
	bool seq = be32_get(c->x.base + c->nops_at + 4) == OP_SEQUENCE;
	if (st != UINT32_MAX && seq && c->nres && v4_res(c, OP_SEQUENCE) == 0) {
		v4_take(c, skip, 36);
		c->seq_flags = be32_get(skip + 32);
	}
	return st;
}

uint32_t v4_res(struct v4 *c, uint32_t op)
{
	uint32_t got = v4_u32(c);
	ASSERT(got == op);
	return v4_u32(c);
}

uint32_t v4_u32(struct v4 *c)
{
	uint32_t v;
	ASSERT(xdr_u32(&c->r, &v));
	return v;
}

uint64_t v4_u64(struct v4 *c)
{
	uint64_t v;
	ASSERT(xdr_u64(&c->r, &v));
	return v;
}

void v4_take(struct v4 *c, void *to, uint32_t len)
{
	const uint8_t *p;
	ASSERT(xdr_fixed(&c->r, len, &p));
	memcpy(to, p, len);
}

uint32_t v4_opaque(struct v4 *c, const uint8_t **p)
{
	uint32_t n;
	ASSERT(xdr_opaque(&c->r, UINT32_MAX, p, &n));
	return n;
}

/* ---- clients ---- */

uint32_t v4_exchange(struct v4 *c, const char *owner, uint64_t verifier, uint32_t flags)
{
	v4_begin(c);
	v4_op(c, OP_EXCHANGE_ID);
	xdr_put_u64(&c->x, verifier);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, flags);
	xdr_put_u32(&c->x, SP4_NONE);
	xdr_put_u32(&c->x, 0);
	uint32_t st = v4_send(c);
	if (st)
		return st;
	v4_res(c, OP_EXCHANGE_ID);
	c->client = v4_u64(c);
	c->client_seq = v4_u32(c);
	c->flags = v4_u32(c);
	return 0;
}

uint32_t v4_session(struct v4 *c)
{
	v4_begin(c);
	v4_op(c, OP_CREATE_SESSION);
	xdr_put_u64(&c->x, c->client);
	xdr_put_u32(&c->x, c->client_seq);
	xdr_put_u32(&c->x, c->back ? CREATE_SESSION4_CONN_BACK_CHAN : 0);
	for (unsigned i = 0; i < 2; i++) {
		const uint32_t channel[] = {0,
					    c->max_request ? c->max_request : 1 << 21,
					    c->max_reply ? c->max_reply : 1 << 21,
					    c->max_kept ? c->max_kept : 4096,
					    32,
					    16,
					    0};
		for (unsigned k = 0; k < sizeof(channel) / 4; k++)
			xdr_put_u32(&c->x, channel[k]);
	}
	xdr_put_u32(&c->x, 0x40000000);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 0);
	uint32_t st = v4_send(c);
	if (st)
		return st;
	v4_res(c, OP_CREATE_SESSION);
	v4_take(c, c->session, NFS4_SESSIONID);
	c->client_seq++;
	c->seq = c->cb_seq = 0;
	v4_u32(c);
	c->flags = v4_u32(c);
	return 0;
}

void v4_client(struct v4 *c, const char *owner)
{
	ASSERT(v4_exchange(c, owner, 1, 0) == 0);
	ASSERT(v4_session(c) == 0);
	v4_seq(c);
	v4_op(c, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&c->x, false);
	ASSERT(v4_send(c) == 0);
}

uint32_t v4_set_client(struct v4 *c, const char *owner, uint64_t verifier)
{
	c->minor = 0;
	v4_begin(c);
	v4_op(c, OP_SETCLIENTID);
	xdr_put_u64(&c->x, verifier);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, 0x40000000);
	xdr_put_string(&c->x, "tcp");
	struct sockaddr_in sa = {.sin_port = htons(c->cb_port)};
	socklen_t len = sizeof(sa);
	char addr[40];
	if (!c->cb_port && c->listen_fd >= 0)
		getsockname(c->listen_fd, (struct sockaddr *)&sa, &len);
	unsigned port = ntohs(sa.sin_port) ? ntohs(sa.sin_port) : 1;
	snprintf(addr, sizeof(addr), "127.0.0.1.%u.%u", port >> 8, port & 255);
	xdr_put_string(&c->x, addr);
	xdr_put_u32(&c->x, 1);
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_SETCLIENTID);
	c->client = v4_u64(c);
	v4_take(c, c->confirm, NFS4_VERIFIER);
	return 0;
}

uint32_t v4_confirm_client(struct v4 *c)
{
	v4_begin(c);
	v4_op(c, OP_SETCLIENTID_CONFIRM);
	xdr_put_u64(&c->x, c->client);
	xdr_put_fixed(&c->x, c->confirm, NFS4_VERIFIER);
	return v4_send(c);
}

void v4_client0(struct v4 *c, const char *owner)
{
	ASSERT(v4_set_client(c, owner, 1) == 0);
	ASSERT(v4_confirm_client(c) == 0);
}
