/*
 * A connection that goes over to TLS (RFC 9289 section 5):
 *
 *	plain -> NULL call with AUTH_TLS -> WAIT: its reply, "STARTTLS", leaves; nothing is read
 *	      -> SHAKE: the handshake, step by step as bytes come; at most tls_timeout_ns since the
 *		 call; of RPC_TLS_HANDSHAKES of a server at once those that stand still give way
 *	      -> OPEN: records of RPC as before, through TLS
 *
 * Nothing that was said in plain counts under TLS: other calls must have ended, bytes behind the
 * call end the connection, and what programs keep with it goes. An error of TLS ends it, there is
 * no way back. A connection without TLS pays a look at a pointer.
 */
#include "nasfront/rpc/rpc_conn.h"
#include <errno.h>
#include <stdlib.h>
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

enum state { WAIT, SHAKE, OPEN };

struct conn_tls {
	struct rpc_tls *t;
	enum state state;
	struct deferred again; /* more to read than the socket tells */
	uint64_t begin_ns;
};

static void again(void *arg)
{
	struct rpc_conn *c = arg;
	rpc_conn_again(c);
}

static bool has_bytes(const struct rpc_conn *c)
{
	return c->stash_len || (c->buf && c->buf->fill > c->start);
}

enum rpc_tls_start rpc_conn_tls_start(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	const char *why = c->inflight > 1 || !STAILQ_EMPTY(&c->out) ? "TLS asked for among calls"
			  : has_bytes(c) ? "bytes behind the call that asks for TLS"
					 : NULL;
	if (!s->tls || c->udp || c->tls)
		return c->tls ? RPC_TLS_ALREADY : RPC_TLS_NONE;
	if (!why && !rpc_room_handshake(c))
		why = "too many TLS handshakes";
	struct conn_tls *k = why ? NULL : calloc(1, sizeof(*k));
	if (k && rpc_tls_new(&k->t, s->tls, c->fd)) {
		free(k);
		k = NULL;
	}
	if (!k) {
		rpc_conn_close(c, why ? why : "no memory for TLS");
		return RPC_TLS_ENDED;
	}
	k->begin_ns = env_now_ns(s->o.env);
	k->again = (struct deferred){.fn = again, .arg = c};
	c->tls = k;
	rpc_room_shakes(c, true);
	return RPC_TLS_BEGIN;
}

void rpc_conn_tls_end(struct rpc_conn *c)
{
	struct conn_tls *k = c->tls;
	if (!k)
		return;
	if (k->state != OPEN) {
		rpc_room_shakes(c, false);
		c->server->stats.tls_failed++;
	}
	reactor_defer_cancel(c->server->o.reactor, &k->again);
	rpc_tls_free(k->t);
	free(k);
	c->tls = NULL;
}

static void open_now(struct rpc_conn *c)
{
	struct conn_tls *k = c->tls;
	k->state = OPEN;
	rpc_room_shakes(c, false);
	c->server->stats.tls_opened++;
	c->xprt = rpc_tls_has_peer(k->t) ? RPC_XPRT_MTLS : RPC_XPRT_TLS;
	c->blocked = false;
	rpc_conn_forget(c); /* what was found out of a connection without TLS */
	log_info("rpc: under TLS peer=%s certificate=%s", c->peer_text,
		 c->xprt == RPC_XPRT_MTLS ? "yes" : "none");
}

void rpc_conn_tls_step(struct rpc_conn *c)
{
	struct conn_tls *k = c->tls;
	if (k->state == WAIT && !c->inflight && !c->blocked) {
		if (has_bytes(c)) {
			rpc_conn_close(c, "bytes behind the call that asks for TLS");
			return;
		}
		rpc_conn_no_buffer(c);
		k->state = SHAKE;
	}
	if (k->state != SHAKE)
		return;
	int rc = rpc_tls_handshake(k->t);
	c->in_ns = c->out_ns = env_now_ns(c->server->o.env);
	if (rc == 0)
		open_now(c);
	else if (rc == -EAGAIN)
		c->blocked = rpc_tls_wants_write(k->t);
	else
		rpc_conn_close(c, rpc_tls_why(k->t));
}

bool rpc_conn_tls_busy(const struct rpc_conn *c)
{
	return c->tls->state != OPEN;
}

bool rpc_conn_tls_shakes(const struct rpc_conn *c)
{
	return c->tls->state == SHAKE;
}

bool rpc_conn_tls_late(const struct rpc_conn *c, uint64_t now)
{
	return c->tls->state != OPEN && now - c->tls->begin_ns > c->server->o.tls_timeout_ns;
}

uint64_t rpc_conn_tls_since(const struct rpc_conn *c)
{
	return c->tls->begin_ns;
}

const char *rpc_conn_tls_expired(const struct rpc_conn *c)
{
	uint64_t end = c->tls->state == OPEN ? rpc_tls_peer_until(c->tls->t) : UINT64_MAX;
	return env_realtime_ns(c->server->o.env) / NS_PER_S > end
		   ? "the client's certificate has expired"
		   : NULL;
}

void rpc_conn_tls_again(struct rpc_conn *c)
{
	if (c->tls->state == OPEN && !c->blocked && rpc_tls_pending(c->tls->t))
		reactor_defer(c->server->o.reactor, &c->tls->again);
}

bool rpc_conn_tls_left(const struct rpc_conn *c)
{
	return c->tls->state == OPEN && rpc_tls_left(c->tls->t);
}

const char *rpc_conn_tls_why(const struct rpc_conn *c)
{
	return rpc_tls_why(c->tls->t);
}

ssize_t rpc_conn_tls_recv(struct rpc_conn *c, void *buf, size_t size)
{
	ssize_t n = rpc_tls_recv(c->tls->t, buf, size);
	if (rpc_tls_wants_write(c->tls->t) && !c->blocked) {
		c->blocked = true;
		c->out_ns = env_now_ns(c->server->o.env);
	}
	return n;
}

ssize_t rpc_conn_tls_send(struct rpc_conn *c, const struct iovec *iov, size_t iovcnt)
{
	return rpc_tls_send(c->tls->t, iov, iovcnt);
}

/* Who was let in by authorities that count no more has to prove himself anew; who is on his way
 * begins again. */
static const char *outdated(const struct rpc_conn *c, const struct rpc_tls_ctx *ctx)
{
	if (c->tls && rpc_conn_tls_busy(c))
		return "the certificates have changed during the TLS handshake";
	if (ctx && c->xprt == RPC_XPRT_MTLS && !rpc_tls_same_ca(c->tls->t, ctx))
		return "the authorities of clients' certificates have changed";
	return NULL;
}

void rpc_server_set_tls(struct rpc_server *s, struct rpc_tls_ctx *ctx)
{
	CHECK(s, RPC_SERVER_MAGIC);
	struct rpc_conn *c, *next;
	s->tls = ctx;
	TAILQ_FOREACH_SAFE (c, &s->conns, link, next) {
		const char *why = outdated(c, ctx);
		if (why)
			rpc_conn_close(c, why);
	}
}
