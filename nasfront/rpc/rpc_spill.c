/*
 * What slow peers hold, moved to the heap.
 *
 * Receive buffers and the pages and buffers that READ data lies in are few and everybody's (in a
 * head: channel staging memory, hazard slots). A peer that sends a record a byte at a time, or
 * reads no replies, would keep them from all others. So when connections wait for a buffer, one
 * that another holds for longer than RPC_SPILL_IN_NS gives it up: what came so far goes to the
 * heap and the rest is received there, in room that grows with what really came. And replies that
 * do not leave for RPC_SPILL_OUT_NS have their data copied, and what it lay in let go.
 *
 * The heap's part is bounded by RPC_SPILL_MAX; beyond it, after RPC_SPILL_END_NS, of those that are
 * so slow the host that holds most pays (rpc_room.c).
 */
#include "nasfront/rpc/rpc_conn.h"
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

#define SPILL_LEAST 4096

uint8_t *rpc_spill_get(struct rpc_server *s, size_t size)
{
	if (size > RPC_SPILL_MAX - s->spilled_bytes)
		return NULL;
	uint8_t *p = malloc(size);
	if (!p)
		return NULL;
	s->spilled_bytes += size;
	s->stats.spills++;
	return p;
}

void rpc_spill_put(struct rpc_server *s, uint8_t *p, size_t size)
{
	if (!p)
		return;
	ASSERT(s->spilled_bytes >= size);
	s->spilled_bytes -= size;
	free(p);
}

/* ---- receiving ---- */

static bool spill_buffer(struct rpc_conn *c)
{
	struct rpc_buf *old = c->buf;
	uint32_t have = old->fill - c->start;
	struct rpc_buf *b = rpc_buf_spill(c->server, MAX(have, (uint32_t)SPILL_LEAST));
	if (!b)
		return false;
	memcpy(b->data, old->data + c->start, have);
	b->fill = have;
	c->buf = b;
	c->pos -= c->start;
	c->start = 0;
	rpc_buf_put(c->server, old);
	return true;
}

uint64_t rpc_conn_spill_in(struct rpc_conn *c, uint64_t now)
{
	if (!c->buf || c->buf->refs > 1 || now - c->buf_ns < RPC_SPILL_IN_NS)
		return 0;
	bool kept = c->buf->spilled ? c->server->spilled_bytes < RPC_SPILL_MAX - RPC_LARGE_BUF
				    : spill_buffer(c);
	if (kept || now - c->buf_ns <= RPC_SPILL_END_NS)
		return 0;
	return c->buf->spilled ? 1 : c->buf->fill + SPILL_LEAST; /* there: one less is enough */
}

/* ---- sending ---- */

static bool spill_reply(struct rpc_server *s, struct rpc_req *req)
{
	if (!req->body_len || req->spilled.iov_base)
		return true;
	uint8_t *p = rpc_spill_get(s, req->body_len);
	if (!p)
		return false;
	size_t n = 0;
	for (int i = 0; i < req->body_n; i++) {
		memcpy(p + n, req->body[i].iov_base, req->body[i].iov_len);
		n += req->body[i].iov_len;
	}
	ASSERT(n == req->body_len);
	req->spilled = (struct iovec){.iov_base = p, .iov_len = n};
	req->body = &req->spilled;
	req->body_n = 1;
	if (req->release)
		req->release(req);
	req->release = NULL;
	return true;
}

uint64_t rpc_conn_spill_out(struct rpc_conn *c, uint64_t now)
{
	struct rpc_req *req;
	uint64_t left = 0;
	if (now - c->head_ns < RPC_SPILL_OUT_NS)
		return 0;
	STAILQ_FOREACH (req, &c->out, link)
		left += spill_reply(c->server, req) ? 0 : req->body_len;
	return now - c->head_ns > RPC_SPILL_END_NS ? left : 0;
}
