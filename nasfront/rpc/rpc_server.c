/*
 * The RPC server: listeners, the program table, connections and what they share: request objects
 * and receive buffers (each with a cap; connections that find none wait in arrival order), the
 * duplicate request cache, and a tick that closes connections that stand still.
 */
#include "nasfront/rpc/rpc_conn.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/log.h"

#define ACCEPTS_A_TURN 64
#define TICK_NS	       NS_PER_S
#define RECORD_SLOW    4 /* times record_timeout_ns: for a record that comes, but byte by byte */
#define RETRY_NS       (10 * NS_PER_MS) /* others may use the buffers as well: look again */

/* ---- shared objects ---- */

static void *heap_try_get(void *arg, size_t size)
{
	return malloc(size);
}

static void heap_put(void *arg, void *buf)
{
	free(buf);
}

static void server_resume_soon(struct rpc_server *s)
{
	if (!TAILQ_EMPTY(&s->starved))
		reactor_defer(s->o.reactor, &s->resume);
}

static void server_retry_later(struct rpc_server *s)
{
	if (s->retry_armed || s->stopping)
		return;
	s->retry_armed = true;
	env_timer_start(s->o.env, &s->retry, RETRY_NS);
}

static struct rpc_req *req_alloc(struct rpc_server *s)
{
	size_t size = sizeof(struct rpc_req) + s->o.area_size;
	struct rpc_req *req = aligned_alloc(64, ROUND_UP(size, 64));
	if (req)
		memset(req, 0, size);
	return req;
}

struct rpc_req *rpc_req_get(struct rpc_server *s)
{
	struct rpc_req *req = STAILQ_FIRST(&s->free_reqs);
	if (req)
		STAILQ_REMOVE_HEAD(&s->free_reqs, link);
	else if (s->stats.requests < s->o.max_requests)
		req = req_alloc(s);
	if (!req) {
		s->wanted = true;
		server_retry_later(s);
		return NULL;
	}
	s->stats.requests++;
	memset(req, 0, offsetof(struct rpc_req, head));
	req->magic = RPC_REQ_MAGIC;
	req->head_room = RPC_REPLY_HEAD;
	req->out = xdr_out_of(req->head + RPC_REPLY_HEAD, RPC_REPLY_INLINE - RPC_REPLY_HEAD);
	return req;
}

void rpc_req_put(struct rpc_server *s, struct rpc_req *req)
{
	CHECK(req, RPC_REQ_MAGIC);
	if (req->release)
		req->release(req);
	if (req->buf)
		rpc_buf_put(s, req->buf);
	if (req->gss)
		gss_ctx_put(req->gss);
	free(req->heap);
	req->heap = NULL;
	rpc_spill_put(s, req->spilled.iov_base, req->spilled.iov_len);
	req->magic = 0;
	STAILQ_INSERT_HEAD(&s->free_reqs, req, link);
	s->stats.requests--;
	server_resume_soon(s);
	if (!s->stats.requests && s->stopping)
		waitq_wake_all(&s->drained);
}

struct rpc_buf *rpc_buf_get(struct rpc_server *s, uint32_t size)
{
	uint32_t cap = size > RPC_SMALL_BUF ? RPC_LARGE_BUF : RPC_SMALL_BUF;
	struct rpc_buf *b = LIST_FIRST(&s->free_bufs);
	ASSERT(size <= RPC_LARGE_BUF);
	if (b)
		LIST_REMOVE(b, link);
	else if (!(b = malloc(sizeof(*b))))
		return NULL;
	b->data = s->memory.try_get(s->memory.arg, cap);
	if (!b->data) {
		LIST_INSERT_HEAD(&s->free_bufs, b, link);
		return NULL;
	}
	b->cap = cap;
	b->fill = 0;
	b->refs = 1;
	b->spilled = false;
	return b;
}

struct rpc_buf *rpc_buf_spill(struct rpc_server *s, uint32_t cap)
{
	struct rpc_buf *b = LIST_FIRST(&s->free_bufs);
	if (b)
		LIST_REMOVE(b, link);
	else if (!(b = malloc(sizeof(*b))))
		return NULL;
	*b = (struct rpc_buf){.cap = cap, .refs = 1, .spilled = true};
	b->data = rpc_spill_get(s, cap);
	if (b->data)
		return b;
	LIST_INSERT_HEAD(&s->free_bufs, b, link);
	return NULL;
}

void rpc_buf_put(struct rpc_server *s, struct rpc_buf *b)
{
	ASSERT(b->refs > 0);
	if (--b->refs)
		return;
	if (b->spilled)
		rpc_spill_put(s, b->data, b->cap);
	else
		s->memory.put(s->memory.arg, b->data);
	b->data = NULL;
	LIST_INSERT_HEAD(&s->free_bufs, b, link);
	server_resume_soon(s);
}

/* ---- connections that wait ---- */

/* Buffers and requests that slow peers hold become free for those who wait. */
static void server_reclaim(struct rpc_server *s)
{
	struct rpc_conn *c;
	uint64_t now = env_now_ns(s->o.env), over = 0;
	unsigned waiting = 0;
	TAILQ_FOREACH (c, &s->conns, link)
		over += rpc_conn_spill_in(c, now);
	if (over)
		rpc_room_bytes(s, over, now);
	TAILQ_FOREACH (c, &s->starved, starved_link)
		waiting++;
	if (s->wanted)
		rpc_room_requests(s, MAX(waiting, 1u), now);
	s->wanted = false;
}

static void server_retry(void *arg)
{
	struct rpc_server *s = arg;
	s->retry_armed = false;
	server_reclaim(s);
	server_resume_soon(s);
}

void rpc_server_starve(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	if (c->starved)
		return;
	c->starved = true;
	s->stats.buffer_waits++;
	TAILQ_INSERT_TAIL(&s->starved, c, starved_link);
	server_retry_later(s);
}

static void server_unblock(void *arg)
{
	struct rpc_server *s = arg;
	struct rpc_conn *c;
	uint64_t now = env_now_ns(s->o.env), over = 0, stuck = 0;
	s->unblock_armed = false;
	TAILQ_FOREACH (c, &s->conns, link) {
		if (!c->blocked)
			continue;
		rpc_server_blocked(s);
		over += rpc_conn_spill_out(c, now);
		stuck += rpc_room_stuck(c, now) ? c->pending : 0;
	}
	if (stuck > RPC_STUCK_MAX)
		over = MAX(over, stuck - RPC_STUCK_MAX);
	if (over)
		rpc_room_bytes(s, over, now);
}

void rpc_server_blocked(struct rpc_server *s)
{
	if (s->unblock_armed || s->stopping)
		return;
	s->unblock_armed = true;
	env_timer_start(s->o.env, &s->unblock, RPC_SPILL_OUT_NS / 2);
}

/* Each that waits now gets one try, in order. */
static void server_resume(void *arg)
{
	struct rpc_server *s = arg;
	struct rpc_conn *last = TAILQ_LAST(&s->starved, rpc_conn_list), *c;
	bool more = last;
	while (more && (c = TAILQ_FIRST(&s->starved))) {
		more = c != last;
		TAILQ_REMOVE(&s->starved, c, starved_link);
		c->starved = false;
		rpc_conn_resume(c);
	}
	if (!TAILQ_EMPTY(&s->starved))
		server_retry_later(s);
}

/* ---- time ---- */

static uint64_t tick_of(const struct rpc_server *s)
{
	return MIN(TICK_NS, s->o.record_timeout_ns);
}

static void conn_check_time(struct rpc_conn *c, uint64_t now)
{
	const struct rpc_server_opts *o = &c->server->o;
	const char *expired = c->tls ? rpc_conn_tls_expired(c) : NULL;
	bool waits_for_peer = rpc_conn_partial(c) && !c->starved && c->inflight == 0;
	if (waits_for_peer)
		c->record_wait_ns += tick_of(c->server);
	if (expired)
		rpc_conn_close(c, expired);
	else if (waits_for_peer && (now - c->in_ns > o->record_timeout_ns ||
				    c->record_wait_ns > RECORD_SLOW * o->record_timeout_ns))
		rpc_conn_close(c, "record did not come whole in time");
	else if (c->blocked && now - c->out_ns > o->send_timeout_ns)
		rpc_conn_close(c, "peer takes no replies");
	else if (c->tls && rpc_conn_tls_late(c, now))
		rpc_conn_close(c, "the TLS handshake did not end in time");
}

static void server_tick(void *arg)
{
	struct rpc_server *s = arg;
	uint64_t now = env_now_ns(s->o.env);
	struct rpc_conn *c, *next;
	TAILQ_FOREACH_SAFE (c, &s->conns, link, next)
		conn_check_time(c, now);
	if (s->stopping)
		return;
	if (s->accepting)
		rpc_server_accept(s);
	env_timer_start(s->o.env, &s->tick, tick_of(s));
}

/* ---- listeners ---- */

static void server_accept(struct rpc_listener *l, int fd, const struct sockaddr_storage *peer)
{
	struct rpc_server *s = l->server;
	struct sockaddr_storage from = *peer;
	int one = 1;
	int rc = -EMFILE;
	rpc_address_unmap(&from); /* as the connections that there are have it */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (l->relay && !rpc_relayed_admits(l, fd))
		rc = -EACCES;
	else if (rpc_room_conn(s, &from))
		rc = rpc_conn_new(s, fd, peer, l->relay);
	if (rc) {
		log_warn("rpc: connection refused why=%s connections=%u", err_name(rc),
			 s->stats.connections);
		close(fd);
	}
}

void rpc_listener_event(void *arg, int status, int events)
{
	struct rpc_listener *l = arg;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage peer = {0};
		socklen_t len = sizeof(peer);
		int fd =
		    accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			server_accept(l, fd, &peer);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) {
			/* Out of descriptors: look again at the next tick, do not spin. */
			log_warn("rpc: accept failed why=%s", err_name(errno));
			watch_set(l->watch, 0);
		}
		return;
	}
}

static uint16_t socket_port(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return 0;
	return ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port
					     : ((struct sockaddr_in6 *)&sa)->sin6_port);
}

int rpc_server_listen(struct rpc_server *s, const char *address, uint16_t port, uint16_t *ret_port)
{
	CHECK(s, RPC_SERVER_MAGIC);
	if (s->nlisteners == RPC_LISTENERS_MAX)
		return -E2BIG;
	int fd = listen_tcp(address, port);
	if (fd < 0)
		return fd;
	struct rpc_listener *l = &s->listeners[s->nlisteners];
	*l = (struct rpc_listener){.server = s, .fd = fd};
	int rc = watch_new(&l->watch, s->o.reactor, fd, rpc_listener_event, l);
	if (rc) {
		close(fd);
		return rc;
	}
	s->nlisteners++;
	if (s->accepting)
		watch_set(l->watch, UV_READABLE);
	if (ret_port)
		*ret_port = socket_port(fd);
	return 0;
}

void rpc_server_accept(struct rpc_server *s)
{
	CHECK(s, RPC_SERVER_MAGIC);
	s->accepting = true;
	for (unsigned i = 0; i < s->nlisteners; i++)
		watch_set(s->listeners[i].watch, UV_READABLE);
}

static void server_close_listeners(struct rpc_server *s)
{
	for (unsigned i = 0; i < s->nlisteners; i++) {
		watch_free(s->listeners[i].watch);
		close(s->listeners[i].fd);
		s->listeners[i].fd =
		    -1; /* a datagram's call may still end: its reply goes nowhere */
	}
	s->nlisteners = 0;
}

/* ---- life ---- */

static void opts_fill(struct rpc_server_opts *o)
{
	if (!o->max_conns)
		o->max_conns = 1024;
	if (!o->max_inflight)
		o->max_inflight = 128;
	if (!o->max_requests)
		o->max_requests = 4096;
	if (!o->drc_entries)
		o->drc_entries = 4096;
	if (!o->record_timeout_ns)
		o->record_timeout_ns = 30 * NS_PER_S;
	if (!o->tls_timeout_ns)
		o->tls_timeout_ns = 10 * NS_PER_S;
	if (!o->send_timeout_ns)
		o->send_timeout_ns = 120 * NS_PER_S;
}

int rpc_server_new(struct rpc_server **ret, const struct rpc_server_opts *o)
{
	static const struct rpc_memory heap = {.try_get = heap_try_get, .put = heap_put};
	struct rpc_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->magic = RPC_SERVER_MAGIC;
	s->o = *o;
	opts_fill(&s->o);
	s->memory = o->memory ? *o->memory : heap;
	s->accepting = !o->hold;
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->starved);
	TAILQ_INIT(&s->quiet);
	TAILQ_INIT(&s->shaking);
	STAILQ_INIT(&s->free_reqs);
	LIST_INIT(&s->free_bufs);
	waitq_init(&s->drained);
	env_random(o->env, s->crowd_key, sizeof(s->crowd_key));
	s->resume = (struct deferred){.fn = server_resume, .arg = s};
	s->tick = (struct env_timer){.fn = server_tick, .arg = s};
	s->retry = (struct env_timer){.fn = server_retry, .arg = s};
	s->unblock = (struct env_timer){.fn = server_unblock, .arg = s};
	int rc = drc_new(&s->drc, s->o.drc_entries);
	if (rc) {
		free(s);
		return rc;
	}
	env_timer_start(s->o.env, &s->tick, tick_of(s));
	*ret = s;
	return 0;
}

int rpc_server_add(struct rpc_server *s, const struct rpc_program *p)
{
	if (s->nprograms == RPC_PROGRAMS_MAX)
		return -E2BIG;
	s->programs[s->nprograms++] = p;
	return 0;
}

const struct rpc_program *rpc_server_find(struct rpc_server *s, uint32_t prog, uint32_t vers,
					  uint32_t *ret_low, uint32_t *ret_high)
{
	for (unsigned i = 0; i < s->nprograms; i++) {
		const struct rpc_program *p = s->programs[i];
		if (p->prog != prog)
			continue;
		if (p->vers == vers)
			return p;
		*ret_low = *ret_high ? MIN(*ret_low, p->vers) : p->vers;
		*ret_high = MAX(*ret_high, p->vers);
	}
	return NULL;
}

static void server_close_conns(struct rpc_server *s)
{
	struct rpc_conn *c;
	while ((c = TAILQ_FIRST(&s->conns)))
		rpc_conn_close(c, NULL);
}

int rpc_server_stop(struct rpc_server *s, uint64_t timeout_ns)
{
	CHECK(s, RPC_SERVER_MAGIC);
	int rc = 0;
	s->stopping = true;
	server_close_listeners(s);
	uint64_t end = env_now_ns(s->o.env) + timeout_ns;
	while (s->stats.requests && rc == 0) {
		uint64_t now = env_now_ns(s->o.env);
		rc = now < end ? env_waitq_wait(s->o.env, &s->drained, end - now) : -ETIMEDOUT;
	}
	server_close_conns(s);
	return s->stats.requests ? -ETIMEDOUT : 0;
}

void rpc_server_mute(struct rpc_server *s)
{
	CHECK(s, RPC_SERVER_MAGIC);
	s->mute = s->stopping = true;
	server_close_listeners(s);
	server_close_conns(s);
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	CHECK(s, RPC_SERVER_MAGIC);
	server_close_listeners(s);
	server_close_conns(s);
	ASSERT(s->stats.requests == 0);
	env_timer_stop(s->o.env, &s->tick);
	env_timer_stop(s->o.env, &s->retry);
	env_timer_stop(s->o.env, &s->unblock);
	reactor_defer_cancel(s->o.reactor, &s->resume);
	struct rpc_req *req;
	while ((req = STAILQ_FIRST(&s->free_reqs))) {
		STAILQ_REMOVE_HEAD(&s->free_reqs, link);
		free(req);
	}
	struct rpc_buf *b;
	while ((b = LIST_FIRST(&s->free_bufs))) {
		LIST_REMOVE(b, link);
		free(b);
	}
	drc_free(s->drc);
	s->magic = 0;
	free(s);
}

void rpc_server_stats(const struct rpc_server *s, struct rpc_stats *ret)
{
	*ret = s->stats;
}
