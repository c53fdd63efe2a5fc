/*
 * One call: header, program and procedure, duplicate request cache, then the fast handler inline
 * or the slow one in a task, then the reply. Every request that enters rpc_call_handle() leaves
 * through call_finish() exactly once.
 */
#include "nasfront/rpc/rpc_conn.h"
#include <stdlib.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/task.h"

/* The arguments are not needed any more: their buffer can take other records. */
static void call_drop_buf(struct rpc_server *s, struct rpc_req *req)
{
	if (req->buf)
		rpc_buf_put(s, req->buf);
	req->buf = NULL;
}

void rpc_call_no_buf(struct rpc_req *req)
{
	call_drop_buf(req->conn->server, req);
}

bool rpc_wait_on(struct rpc_req *req)
{
	const struct rpc_conn *c = req->conn;
	call_drop_buf(c->server, req);
	return !c->dead && !c->server->stopping;
}

/* A duplicate that waited gets the answer of the call that ran; RPC_DROP: none. */
static void call_end_wait(struct rpc_req *w, int result, const void *reply, size_t len)
{
	if (!w)
		return;
	struct rpc_conn *c = w->conn;
	if (result == RPC_DROP || c->server->mute) {
		rpc_conn_drop(c, w);
	} else {
		if (result == RPC_SUCCESS && rpc_reply_reserve(w, len))
			xdr_put_fixed(&w->out, reply, (uint32_t)len);
		else if (result == RPC_SUCCESS)
			w->out.full = true;
		if (w->out.full)
			result = RPC_SYSTEM_ERR;
		if (result == RPC_SUCCESS)
			rpc_msg_accept(w);
		else if (result == RPC_TOO_WEAK)
			rpc_msg_deny_auth(w, RPC_AUTH_TOOWEAK);
		else
			rpc_msg_refuse(w, (enum rpc_result)result, 0, 0);
		rpc_conn_reply(c, w);
	}
	rpc_conn_put(c);
}

static void call_cache(struct rpc_server *s, struct rpc_req *req, int result)
{
	if (!req->drc)
		return;
	call_end_wait(drc_swap_waiter(req->drc, NULL), result, req->out.base,
		      xdr_out_len(&req->out));
	if (result == RPC_SUCCESS && !req->body_n && !req->forget)
		drc_done(s->drc, req->drc, req->out.base, xdr_out_len(&req->out));
	else
		drc_forget(s->drc, req->drc);
	req->drc = NULL;
}

/* Ends a request: the reply is made, kept, queued. */
static void call_finish(struct rpc_req *req, int result)
{
	struct rpc_conn *c = req->conn;
	struct rpc_server *s = c->server;
	if (result == RPC_SUCCESS && req->out.full)
		result = RPC_SYSTEM_ERR;
	if (req->program && req->program->finished)
		req->program->finished(req->program->arg, req, result);
	call_cache(s, req, result);
	call_drop_buf(s, req);
	if (result == RPC_DROP || s->mute) {
		s->stats.dropped++;
		rpc_conn_drop(c, req);
		return;
	}
	if (result == RPC_SUCCESS)
		rpc_msg_accept(req);
	else if (result == RPC_TOO_WEAK)
		rpc_msg_deny_auth(req, RPC_AUTH_TOOWEAK);
	else
		rpc_msg_refuse(req, result, 0, 0);
	rpc_conn_reply(c, req);
}

/*
 * A duplicate of a call that runs. On the same connection the answer comes anyway. From a new one,
 * the answer to the old one would reach nobody and the client would wait for its own time-out: so
 * the last such duplicate waits here, and is answered with the call.
 */
static void call_wait(struct rpc_conn *c, struct rpc_req *req)
{
	struct drc_entry *e = req->drc;
	const struct rpc_req *run = drc_runner(e);
	req->drc = NULL;
	req->out.p = req->out.base;
	req->out.full = false;
	c->server->stats.drc_busy++;
	call_drop_buf(c->server, req);
	if (run->conn == c) {
		rpc_conn_drop(c, req);
		return;
	}
	rpc_conn_get(c);
	call_end_wait(drc_swap_waiter(e, req), RPC_DROP, NULL, 0);
}

void rpc_call_end(struct rpc_req *req, int result)
{
	struct rpc_conn *c = req->conn;
	call_finish(req, result);
	rpc_conn_put(c);
}

/* The handler has said what becomes of it. */
static void call_handled(struct rpc_conn *c, struct rpc_req *req, int result)
{
	if (result == RPC_TAKEN)
		call_wait(c, req);
	else if (result == RPC_RELAY)
		rpc_relay_start(req);
	else
		call_finish(req, result);
}

static void call_task(void *arg)
{
	struct rpc_req *req = arg;
	CHECK(req, RPC_REQ_MAGIC);
	struct rpc_conn *c = req->conn;
	int result = req->procedure->slow(req, req->program->arg);
	call_handled(c, req, result);
	rpc_conn_put(c);
}

/* The fast handler may have read arguments and written results before it gave up. */
static void call_rewind(struct rpc_req *req)
{
	req->args = req->args_begin;
	req->out.p = req->out.base;
	req->out.full = false;
}

static void call_run(struct rpc_conn *c, struct rpc_req *req)
{
	const struct rpc_proc *p = req->procedure;
	int result = RPC_AGAIN;
	if (p->fast)
		result = p->fast(req, req->program->arg);
	if (result != RPC_AGAIN) {
		req->expect = 0;
		call_handled(c, req, result);
		return;
	}
	ASSERT(p->slow);
	call_rewind(req);
	c->pending += req->expect;
	rpc_conn_get(c);
	c->server->stats.tasks++;
	if (task_start_on(reactor_sched(c->server->o.reactor), call_task, req) == 0)
		return;
	call_finish(req, RPC_SYSTEM_ERR);
	rpc_conn_put(c);
}

/* Looks the call up by its arguments from the first on; puts the results of one answered before. */
static enum drc_found call_look_up(struct rpc_req *req)
{
	struct rpc_conn *c = req->conn;
	struct rpc_server *s = c->server;
	struct drc_key key;
	size_t len;
	drc_key_fill(&key, &c->peer, &req->cred, req->xid, req->prog, req->proc, req->args_begin.p,
		     xdr_left(&req->args_begin));
	enum drc_found found = drc_begin(s->drc, &key, &req->drc);
	if (found == DRC_NEW && req->drc)
		drc_set_runner(req->drc, req);
	if (found != DRC_REPLAY)
		return found;
	const void *reply = drc_reply(req->drc, &len);
	s->stats.drc_hits++;
	req->out.p = req->out.base;
	req->out.full = false;
	xdr_put_fixed(&req->out, reply, (uint32_t)len);
	req->drc = NULL;
	return found;
}

/* True when the request is to be run. */
static bool call_check_duplicate(struct rpc_conn *c, struct rpc_req *req)
{
	switch (call_look_up(req)) {
	case DRC_NEW:
		return true;
	case DRC_BUSY:
		call_wait(c, req);
		return false;
	case DRC_REPLAY:
		break;
	}
	call_drop_buf(c->server, req);
	rpc_msg_accept(req);
	rpc_conn_reply(c, req);
	return false;
}

int rpc_once(struct rpc_req *req)
{
	ASSERT(!req->drc && !req->body_n);
	switch (call_look_up(req)) {
	case DRC_NEW:
		return RPC_AGAIN;
	case DRC_BUSY:
		return RPC_TAKEN;
	case DRC_REPLAY:
		break;
	}
	return RPC_SUCCESS;
}

/* The same as in the cache of duplicates. Address and number stand there as they are, so that no
 * call of one client is ever taken for another's. */
void rpc_identity(const struct rpc_req *req, uint8_t ret[32])
{
	struct drc_key k;
	drc_key_fill(&k, &req->conn->peer, &req->cred, req->xid, req->prog, req->proc,
		     req->args_begin.p, xdr_left(&req->args_begin));
	uint64_t rest = k.who ^ (uint64_t)k.flavor << 56 ^ (uint64_t)k.service << 52 ^ k.len;
	memcpy(ret, k.addr, sizeof(k.addr));
	be32_put(ret + 16, k.xid);
	be32_put(ret + 20, k.crc);
	be32_put(ret + 24, k.port << 16 | (k.prog & 0xff) << 8 | k.proc);
	rest ^= rest >> 32;
	be32_put(ret + 28, (uint32_t)(rest ^ rest >> 16) << 16 | 'R' << 8);
}

bool rpc_is_once(const struct rpc_req *req)
{
	return req->drc;
}

static void call_refuse(struct rpc_conn *c, struct rpc_req *req, enum rpc_result why, uint32_t low,
			uint32_t high)
{
	call_drop_buf(c->server, req);
	rpc_msg_refuse(req, why, low, high);
	rpc_conn_reply(c, req);
}

static void call_tls(struct rpc_conn *c, struct rpc_req *req)
{
	call_drop_buf(c->server, req);
	rpc_conn_get(c);
	switch (rpc_conn_tls_start(c)) {
	case RPC_TLS_BEGIN:
		rpc_msg_starttls(req);
		rpc_conn_reply(c, req);
		break;
	case RPC_TLS_NONE:
		rpc_msg_deny_auth(req, RPC_AUTH_REJECTEDCRED);
		rpc_conn_reply(c, req);
		break;
	case RPC_TLS_ALREADY:
		rpc_msg_deny_auth(req, RPC_AUTH_BADCRED);
		rpc_conn_reply(c, req);
		break;
	case RPC_TLS_ENDED:
		rpc_conn_drop(c, req);
		break;
	}
	rpc_conn_put(c);
}

static void call_dispatch(struct rpc_conn *c, struct rpc_req *req)
{
	struct rpc_server *s = c->server;
	uint32_t low = 0, high = 0;
	req->program = rpc_server_find(s, req->prog, req->vers, &low, &high);
	if (req->program && c->udp && !req->program->udp) {
		req->program = NULL;
		high = 0;
	}
	if (!req->program) {
		call_refuse(c, req, high ? RPC_PROG_MISMATCH : RPC_PROG_UNAVAIL, low, high);
		return;
	}
	if (req->proc >= req->program->nprocs || !req->program->procs[req->proc].name) {
		req->program = NULL;
		call_refuse(c, req, RPC_PROC_UNAVAIL, 0, 0);
		return;
	}
	if (req->cred.flavor == RPC_FLAVOR_TLS) {
		call_tls(c, req);
		return;
	}
	req->procedure = &req->program->procs[req->proc];
	if (!(req->procedure->flags & RPC_CACHED) || call_check_duplicate(c, req))
		call_run(c, req);
}

static void call_deny(struct rpc_conn *c, struct rpc_req *req, enum rpc_auth_stat why)
{
	call_drop_buf(c->server, req);
	rpc_msg_deny_auth(req, why);
	rpc_conn_reply(c, req);
}

/* Not over UDP: replies there are one piece, and calls come twice and in any order. */
static void call_gss(struct rpc_conn *c, struct rpc_req *req, const uint8_t *record, uint32_t len)
{
	struct rpc_server *s = c->server;
	enum rpc_auth_stat why = RPC_AUTH_REJECTEDCRED;
	enum gss_verdict v = GSS_DENIED;
	if (s->o.gss && !c->udp)
		v = gss_call_begin(s->o.gss, req, record, len, &why);
	switch (v) {
	case GSS_RUN:
		call_dispatch(c, req);
		return;
	case GSS_ANSWERED:
		call_drop_buf(s, req);
		rpc_msg_accept(req);
		rpc_conn_reply(c, req);
		return;
	case GSS_TAKEN:
		call_drop_buf(s, req);
		return;
	case GSS_DROPPED:
		s->stats.dropped++;
		call_drop_buf(s, req);
		rpc_conn_drop(c, req);
		return;
	case GSS_GARBAGE:
		call_refuse(c, req, RPC_GARBAGE_ARGS, 0, 0);
		return;
	case GSS_DENIED:
		call_deny(c, req, why);
		return;
	}
}

void rpc_call_handle(struct rpc_conn *c, struct rpc_req *req, const uint8_t *record, uint32_t len)
{
	struct rpc_server *s = c->server;
	enum rpc_auth_stat why = RPC_AUTH_OK;
	if (rpc_back_take(c, record, len)) {
		call_drop_buf(s, req);
		rpc_conn_drop(c, req);
		return;
	}
	s->stats.calls++;
	switch (rpc_msg_decode(req, record, len, &why)) {
	case RPC_CALL_OK:
		call_dispatch(c, req);
		return;
	case RPC_CALL_VERSION:
		call_drop_buf(s, req);
		rpc_msg_deny_version(req);
		rpc_conn_reply(c, req);
		return;
	case RPC_CALL_GSS:
		call_gss(c, req, record, len);
		return;
	case RPC_CALL_AUTH:
		call_deny(c, req, why);
		return;
	case RPC_CALL_BROKEN:
		break;
	}
	call_drop_buf(s, req);
	rpc_conn_drop(c, req);
	rpc_conn_close(c, "not an RPC call");
}

bool rpc_reply_reserve(struct rpc_req *req, size_t size)
{
	size_t have = xdr_out_len(&req->out);
	if (size <= (size_t)(req->out.end - req->out.base))
		return true;
	uint8_t *p = malloc(req->head_room + size);
	if (!p)
		return false;
	memcpy(p + req->head_room, req->out.base, have);
	free(req->heap);
	req->heap = p;
	req->out = (struct xdr_out){.base = p + req->head_room,
				    .p = p + req->head_room + have,
				    .end = p + req->head_room + size};
	return true;
}
