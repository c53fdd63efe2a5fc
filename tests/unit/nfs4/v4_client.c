#include "tests/unit/nfs4/v4_client.h"
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/v4_valid.h"

#define BUF (2 * 1024 * 1024)

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
	c->buf = malloc(BUF);
	c->reply = malloc(BUF);
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
	c->x = xdr_out_of(c->buf + 4, BUF - 4);
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

static void all(int fd, void *p, size_t n, bool out)
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

/* ---- calls of the server's ---- */

static void answer(int fd, struct xdr_out *x)
{
	ASSERT(!x->full);
	be32_put(x->base, 0x80000000u | (uint32_t)(xdr_out_len(x) - 4));
	all(fd, x->base, xdr_out_len(x), true);
}

static uint32_t take_u32(struct xdr_in *x)
{
	uint32_t v;
	ASSERT(xdr_u32(x, &v));
	return v;
}

static void take_fh(struct xdr_in *x, struct v4_fh *ret)
{
	const uint8_t *p;
	ASSERT(xdr_opaque(x, NFS4_FHSIZE, &p, &ret->len));
	memcpy(ret->b, p, ret->len);
}

static void take_recall(struct v4 *c, struct xdr_in *x)
{
	const uint8_t *p;
	ASSERT(xdr_fixed(x, 16, &p));
	memcpy(c->recalled.b, p, 16);
	ASSERT(take_u32(x) == 0); /* truncate */
	take_fh(x, &c->recalled_fh);
	c->recalls++;
}

static void take_offload(struct v4 *c, struct xdr_in *x)
{
	const uint8_t *p;
	take_fh(x, &c->offload_fh);
	ASSERT(xdr_fixed(x, 16, &p));
	memcpy(c->offload.b, p, 16);
	c->offload_status = take_u32(x);
	ASSERT(c->offload_status || take_u32(x) == 0); /* no stateid of what goes on */
	ASSERT(xdr_u64(x, &c->offload_count));
	if (!c->offload_status) {
		ASSERT(take_u32(x) == 0); /* unstable */
		ASSERT(xdr_u64(x, &c->offload_verifier));
	}
	c->offloads++;
}

static void take_notify(struct v4 *c, struct xdr_in *x)
{
	const uint8_t *p;
	uint64_t client;
	uint32_t n;
	take_fh(x, &c->notified_fh);
	ASSERT(xdr_u64(x, &client) && client == c->client);
	ASSERT(xdr_opaque(x, sizeof(c->notified_owner) - 1, &p, &n));
	memcpy(c->notified_owner, p, n);
	c->notified_owner[n] = '\0';
	c->notified++;
}

static void take_fewer(struct v4 *c, struct xdr_in *x)
{
	c->keep = take_u32(x);
	ASSERT(take_u32(x) == 1);
	c->keep_mask = take_u32(x);
	c->fewer++;
}

static uint32_t take_op(struct v4 *c, struct xdr_in *x)
{
	uint32_t op = take_u32(x);
	if (op == OP_CB_RECALL)
		take_recall(c, x);
	else if (op == OP_CB_OFFLOAD)
		take_offload(c, x);
	else if (op == OP_CB_NOTIFY_LOCK)
		take_notify(c, x);
	else if (op == OP_CB_RECALL_ANY)
		take_fewer(c, x);
	else
		ASSERT(!"an operation that is known");
	ASSERT(xdr_left(x) == 0);
	return op;
}

static void cb_compound(struct v4 *c, struct xdr_in *x, struct xdr_out *out)
{
	const uint8_t *p;
	uint32_t n, st = c->manner == V4_LATER ? NFS4ERR_DELAY : NFS4_OK;
	ASSERT(xdr_opaque(x, 1024, &p, &n));
	ASSERT(take_u32(x) == c->minor);
	ASSERT(take_u32(x) == (c->minor ? 0u : 1u)); /* callback_ident */
	ASSERT(take_u32(x) == (c->minor ? 2u : 1u));
	size_t at = xdr_out_len(out);
	xdr_put_u32(out, 0);
	xdr_put_string(out, "");
	xdr_put_u32(out, c->minor ? 2 : 1);
	if (c->minor) {
		ASSERT(take_u32(x) == OP_CB_SEQUENCE && xdr_fixed(x, NFS4_SESSIONID, &p));
		ASSERT(memcmp(p, c->session, NFS4_SESSIONID) == 0);
		uint32_t seq = take_u32(x);
		uint32_t bad = c->manner == V4_BAD_SESSION ? NFS4ERR_BADSESSION
			       : seq != c->cb_seq + 1	   ? NFS4ERR_SEQ_MISORDERED
							   : NFS4_OK;
		for (unsigned i = 0; i < 4; i++) /* slot, highest, cachethis, referring calls */
			ASSERT(take_u32(x) == 0);
		xdr_put_u32(out, OP_CB_SEQUENCE);
		xdr_put_u32(out, bad);
		if (bad) {
			be32_put(out->base + at, bad);
			be32_put(out->base + at + 8, 1);
			return;
		}
		c->cb_seq = seq;
		xdr_put_fixed(out, c->session, NFS4_SESSIONID);
		xdr_put_u32(out, seq);
		for (unsigned i = 0; i < 3; i++)
			xdr_put_u32(out, 0);
	}
	xdr_put_u32(out, take_op(c, x));
	xdr_put_u32(out, st);
	be32_put(out->base + at, st);
}

static void called(struct v4 *c, int fd, const uint8_t *msg, size_t len)
{
	struct xdr_in x = xdr_in_of(msg, len);
	uint8_t buf[512];
	struct xdr_out out = xdr_out_of(buf, sizeof(buf));
	const uint8_t *p;
	uint32_t xid = take_u32(&x), n;
	ASSERT(take_u32(&x) == 0 && take_u32(&x) == 2);
	c->cb_program = take_u32(&x);
	ASSERT(take_u32(&x) == 1);
	uint32_t proc = take_u32(&x);
	c->cb_flavor = take_u32(&x);
	ASSERT(xdr_opaque(&x, 400, &p, &n));
	ASSERT(take_u32(&x) == 0 && take_u32(&x) == 0);
	const uint32_t head[] = {0, xid, 1, 0, 0, 0, c->manner == V4_DENY};
	for (unsigned i = 0; i < sizeof(head) / 4; i++)
		xdr_put_u32(&out, head[i]);
	c->nulls += proc == 0;
	if (c->manner == V4_SILENT || (c->manner == V4_DEAF && proc)) {
		c->recalls += proc == 1;
		return;
	}
	c->recalls += c->manner == V4_GARBAGE && proc;
	if (c->manner == V4_GARBAGE)
		for (unsigned i = 0; i < 50; i++)
			xdr_put_u32(&out, 0x99999999u * i);
	else if (proc && c->manner != V4_DENY)
		cb_compound(c, &x, &out);
	answer(fd, &out);
}

static void receive_from(int fd, uint8_t *to, size_t *ret_len)
{
	uint8_t mark[4];
	bool last = false;
	*ret_len = 0;
	while (!last) {
		all(fd, mark, 4, false);
		uint32_t n = be32_get(mark) & 0x7fffffff;
		last = mark[0] & 0x80;
		ASSERT(*ret_len + n <= BUF);
		all(fd, to + *ret_len, n, false);
		*ret_len += n;
	}
}

static void receive(struct v4 *c)
{
	for (;;) {
		receive_from(c->fd, c->reply, &c->reply_len);
		if (c->reply_len >= 8 && be32_get(c->reply + 4) == 1)
			return;
		called(c, c->fd, c->reply, c->reply_len);
	}
}

unsigned v4_serve(struct v4 *c, int ms)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN},
			      {.fd = c->listen_fd, .events = POLLIN}};
	unsigned n = 0;
	while (poll(p, 2, n ? 0 : ms) > 0) {
		size_t len;
		if (p[1].revents) {
			int fd = accept(c->listen_fd, NULL, NULL);
			receive_from(fd, c->reply, &len);
			called(c, fd, c->reply, len);
			if (c->manner == V4_SILENT)
				usleep(300000);
			close(fd);
		} else {
			receive_from(c->fd, c->reply, &len);
			called(c, c->fd, c->reply, len);
		}
		n++;
	}
	return n;
}

bool v4_serve_until(struct v4 *c, const unsigned *count, unsigned n)
{
	for (int i = 0; i < 100 && *count < n; i++)
		while (v4_serve(c, 100) && *count < n)
			;
	return *count >= n;
}

/* ---- compounds, sent ---- */

void v4_put(struct v4 *c)
{
	size_t len = xdr_out_len(&c->x);
	ASSERT(!c->x.full);
	be32_put(c->buf, 0x80000000u | (uint32_t)len);
	all(c->fd, c->buf, len + 4, true);
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

/* ---- arguments ---- */

void v4_root(struct v4 *c)
{
	v4_op(c, OP_PUTROOTFH);
}

void v4_putfh(struct v4 *c, const struct v4_fh *fh)
{
	v4_op(c, OP_PUTFH);
	xdr_put_opaque(&c->x, fh->b, fh->len);
}

void v4_name(struct v4 *c, uint32_t op, const char *name)
{
	v4_op(c, op);
	xdr_put_string(&c->x, name);
}

void v4_path(struct v4 *c, const char *path)
{
	v4_root(c);
	while (*(path += strspn(path, "/"))) {
		uint32_t n = (uint32_t)strcspn(path, "/");
		v4_op(c, OP_LOOKUP);
		xdr_put_opaque(&c->x, path, n);
		path += n;
	}
}

void v4_path_res(struct v4 *c, const char *path)
{
	ASSERT(v4_res(c, OP_PUTROOTFH) == 0);
	while (*(path += strspn(path, "/"))) {
		ASSERT(v4_res(c, OP_LOOKUP) == 0);
		path += strcspn(path, "/");
	}
}

void v4_stateid(struct v4 *c, const struct v4_stateid *s)
{
	xdr_put_fixed(&c->x, s->b, 16);
}

void v4_get_stateid(struct v4 *c, struct v4_stateid *s)
{
	v4_take(c, s->b, 16);
}

/* ---- whole compounds ---- */

static void get_fh(struct v4 *c, struct v4_fh *ret)
{
	const uint8_t *p;
	ASSERT(v4_res(c, OP_GETFH) == 0);
	ret->len = v4_opaque(c, &p);
	memcpy(ret->b, p, ret->len);
}

uint32_t v4_lookup(struct v4 *c, const char *path, struct v4_fh *ret)
{
	v4_seq(c);
	v4_path(c, path);
	v4_op(c, OP_GETFH);
	if (v4_send(c))
		return c->status;
	v4_path_res(c, path);
	get_fh(c, ret);
	return 0;
}

void v4_get_open(struct v4 *c, struct v4_stateid *ret)
{
	v4_get_stateid(c, ret);
	ASSERT(v4_u32(c) == 1); /* atomic */
	v4_u64(c);
	v4_u64(c);
	c->open_flags = v4_u32(c);
	for (uint32_t n = v4_u32(c); n; n--)
		v4_u32(c);
	c->deleg_type = v4_u32(c);
	c->deleg_recall = false;
	switch (c->deleg_type) {
	case OPEN_DELEGATE_NONE:
		return;
	case OPEN_DELEGATE_NONE_EXT:
		c->deleg_why = v4_u32(c);
		if (c->deleg_why == WND4_CONTENTION || c->deleg_why == WND4_RESOURCE)
			ASSERT(v4_u32(c) == 0);
		return;
	}
	v4_get_stateid(c, &c->deleg);
	c->deleg_recall = v4_u32(c);
	if (c->deleg_type == OPEN_DELEGATE_WRITE)
		ASSERT(v4_u32(c) == 1 && v4_u64(c) == 0); /* flushed at CLOSE */
	for (unsigned i = 0; i < 4; i++)
		ASSERT(v4_u32(c) == 0);
}

uint32_t v4_open_file(struct v4 *c, const struct v4_fh *dir, const char *name, const char *owner,
		      uint32_t access, uint32_t deny, uint32_t how, struct v4_stateid *ret,
		      struct v4_fh *ret_fh)
{
	v4_seq(c);
	v4_putfh(c, dir);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, deny);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, how != OPEN4_NOCREATE);
	if (how) {
		xdr_put_u32(&c->x, how - 1);
		if (how - 1 >= CREATE4_EXCLUSIVE)
			xdr_put_u64(&c->x, 77);
		if (how - 1 != CREATE4_EXCLUSIVE) {
			xdr_put_u32(&c->x, 2); /* mode 0644 */
			xdr_put_u32(&c->x, 0);
			xdr_put_u32(&c->x, 2);
			xdr_put_u32(&c->x, 4);
			xdr_put_u32(&c->x, 0644);
		}
	}
	xdr_put_u32(&c->x, name ? CLAIM_NULL : CLAIM_FH);
	if (name)
		xdr_put_string(&c->x, name);
	v4_op(c, OP_GETFH);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN) == 0);
	v4_get_open(c, ret);
	get_fh(c, ret_fh);
	return 0;
}

uint32_t v4_reclaim_open(struct v4 *c, const struct v4_fh *fh, const char *owner, uint32_t access,
			 struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_PREVIOUS);
	xdr_put_u32(&c->x, c->deleg_type);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN) == 0);
	v4_get_open(c, ret);
	return 0;
}

uint32_t v4_reclaim_done(struct v4 *c)
{
	v4_seq(c);
	v4_op(c, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&c->x, false);
	return v4_send(c);
}

uint32_t v4_return(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_DELEGRETURN);
	v4_stateid(c, s);
	return v4_send(c);
}

uint32_t v4_close_file(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_CLOSE);
	xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	return v4_send(c);
}

uint32_t v4_read(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		 uint32_t count, void *to, uint32_t *ret_len, bool *ret_eof)
{
	const uint8_t *p;
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_READ);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u32(&c->x, count);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_READ) == 0);
	*ret_eof = v4_u32(c);
	*ret_len = v4_opaque(c, &p);
	ASSERT(*ret_len <= count);
	memcpy(to, p, *ret_len);
	ASSERT(xdr_left(&c->r) == 0);
	return 0;
}

uint32_t v4_write(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		  const void *from, uint32_t len, uint32_t stable)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_WRITE);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u32(&c->x, stable);
	xdr_put_opaque(&c->x, from, len);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_WRITE) == 0);
	ASSERT(v4_u32(c) == len && v4_u32(c) >= stable);
	return 0;
}

uint32_t v4_lock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s,
		 const char *owner, uint32_t type, uint64_t off, uint64_t len, bool reclaim,
		 struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_LOCK);
	xdr_put_u32(&c->x, type);
	xdr_put_bool(&c->x, reclaim);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	xdr_put_bool(&c->x, owner);
	if (owner)
		xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	xdr_put_u32(&c->x, 0);
	if (owner) {
		xdr_put_u64(&c->x, c->client);
		xdr_put_string(&c->x, owner);
	}
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_LOCK) == 0);
	v4_get_stateid(c, ret);
	return 0;
}

uint32_t v4_unlock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		   uint64_t len, struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_LOCKU);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_LOCKU) == 0);
	v4_get_stateid(c, ret);
	return 0;
}
