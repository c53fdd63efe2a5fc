/* Calls of the server's, answered. */
#include "tests/unit/nfs4/v4_wire.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"

static void answer(int fd, struct xdr_out *x)
{
	ASSERT(!x->full);
	be32_put(x->base, 0x80000000u | (uint32_t)(xdr_out_len(x) - 4));
	v4_bytes(fd, x->base, xdr_out_len(x), true);
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

void v4_called(struct v4 *c, int fd, const uint8_t *msg, size_t len)
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

unsigned v4_serve(struct v4 *c, int ms)
{
	struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN},
			      {.fd = c->listen_fd, .events = POLLIN}};
	unsigned n = 0;
	while (poll(p, 2, n ? 0 : ms) > 0) {
		size_t len;
		if (p[1].revents) {
			int fd = accept(c->listen_fd, NULL, NULL);
			v4_record(fd, c->reply, &len);
			v4_called(c, fd, c->reply, len);
			if (c->manner == V4_SILENT)
				usleep(300000);
			close(fd);
		} else {
			v4_record(c->fd, c->reply, &len);
			v4_called(c, c->fd, c->reply, len);
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
