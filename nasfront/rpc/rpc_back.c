/*
 * Calls the other way: a server that calls its client over the connection the client made (RFC 8881
 * 2.10.3.1). The message leaves with the replies, in a request of its own; who made it waits for
 * the reply with the same xid, for a while. A reply nobody waits for (any more) is thrown away; on
 * a connection that was never called over it is what it always was, the end of the connection.
 */
#include <errno.h>
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/task.h"

#define BACK_NS (10 * NS_PER_S)

struct rpc_back {
	LIST_ENTRY(rpc_back) link;
	uint32_t xid;
	int rc; /* -EINPROGRESS: it has not come */
	struct waitq done;
	void *ret;
	size_t size, len;
};

static void back_end(struct rpc_back *b, int rc)
{
	b->rc = rc;
	waitq_wake_all(&b->done);
}

void rpc_back_close(struct rpc_conn *c)
{
	struct rpc_back *b;
	LIST_FOREACH (b, &c->back, link)
		if (b->rc == -EINPROGRESS)
			back_end(b, -ECONNRESET);
}

bool rpc_back_take(struct rpc_conn *c, const uint8_t *record, uint32_t len)
{
	struct rpc_back *b;
	if (!c->back_xid || len < 8 || be32_get(record + 4) != 1)
		return false;
	LIST_FOREACH (b, &c->back, link)
		if (b->xid == be32_get(record) && b->rc == -EINPROGRESS)
			break;
	if (!b) {
		c->server->stats.back_stray++;
		return true;
	}
	back_end(b, rpc_msg_reply(record, len, b->xid, b->ret, b->size, &b->len));
	return true;
}

/* The whole message into a request that carries it. NULL: none, or no memory. */
static struct rpc_req *back_message(struct rpc_conn *c, const struct rpc_back_call *call)
{
	struct rpc_req *req = rpc_req_get(c->server);
	if (!req)
		return NULL;
	if (!rpc_reply_reserve(req, RPC_CALL_HEAD + call->sys_len + 4 + call->args_len)) {
		rpc_req_put(c->server, req);
		return NULL;
	}
	uint8_t *base = req->wire = req->out.base - RPC_REPLY_HEAD;
	req->wire_len = rpc_msg_call(base, (size_t)(req->out.end - base), call, c->back_xid);
	req->conn = c;
	return req;
}

int rpc_conn_call(struct rpc_conn *c, const struct rpc_back_call *call, void *ret, size_t size,
		  size_t *ret_len)
{
	CHECK(c, RPC_CONN_MAGIC);
	if (c->dead || c->udp)
		return -ECONNRESET;
	struct env *env = c->server->o.env;
	if (c->server->stopping)
		return -ERR_SHUTDOWN;
	if (call->args_len > RPC_BACK_CALL_MAX || call->sys_len > RPC_AUTH_MAX)
		return -E2BIG;
	if (c->pending >= RPC_OUT_MAX || (c->tls && rpc_conn_tls_busy(c)))
		return -EAGAIN;
	if (!c->back_xid)
		c->back_xid = (uint32_t)env_random_u64(env) | 1;
	c->back_xid += 2;
	struct rpc_req *req = back_message(c, call);
	if (!req)
		return -EAGAIN;
	uint64_t end = env_now_ns(env) + (call->timeout_ns ? call->timeout_ns : BACK_NS);
	struct rpc_back b = {.xid = c->back_xid, .rc = -EINPROGRESS, .ret = ret, .size = size};
	waitq_init(&b.done);
	LIST_INSERT_HEAD(&c->back, &b, link);
	rpc_conn_get(c);
	c->server->stats.back_calls++;
	c->inflight++;
	rpc_conn_queue(c, req);
	while (b.rc == -EINPROGRESS) {
		uint64_t now = env_now_ns(env);
		if (now >= end)
			b.rc = -ETIMEDOUT;
		else
			env_waitq_wait(env, &b.done, end - now);
	}
	LIST_REMOVE(&b, link);
	rpc_conn_put(c);
	*ret_len = b.len;
	return b.rc;
}
