/* RPC in the simulated world (tests/sim/sim_rpc.h). */
#include "tests/sim/sim_rpc.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_msg.h"
#include "nasfront/rpc/rpc_out.h"
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "tests/sim/sim_world.h"

#define WAY_MIN_NS  (10 * 1000)
#define WAY_SPAN_NS (60 * 1000)
#define GIVE_UP_NS  (400 * NS_PER_MS) /* a head that does not answer */
#define LOST_ONE_IN 8		      /* calls to clients by datagrams */

struct server {
	struct rpc_server s;
	struct sim_net *net;
	struct sim_node *node;
	bool cut;
	LIST_ENTRY(server) link;
};

struct conn {
	struct rpc_conn c;
	struct sim_peer *peer;
	uint64_t life; /* of the peer's connection that it is the end of */
};

/* A client's call that waits for its reply. */
struct call {
	LIST_ENTRY(call) link;
	uint32_t xid;
	void *ret;
	size_t size, len;
};

struct sim_peer {
	struct sim_net *net;
	LIST_ENTRY(sim_peer) link;
	struct sockaddr_storage address;
	sim_called_fn *called;
	void *arg;
	struct server *to; /* it is connected to; NULL: to nobody */
	uint64_t life, resent;
	struct waitq wake;
	LIST_HEAD(, call) calls;
};

struct sim_net {
	struct sim *sim;
	struct server *serving;
	struct waitq served;
	LIST_HEAD(, sim_peer) peers;
	LIST_HEAD(, server) servers;
};

/* A record under way. */
struct record {
	struct server *server;
	struct sim_peer *peer;
	uint64_t life;
	uint32_t len;
	uint8_t bytes[];
};

struct sim_net *sim_net_new(struct sim *s)
{
	struct sim_net *n = calloc(1, sizeof(*n));
	ASSERT(n);
	n->sim = s;
	waitq_init(&n->served);
	return n;
}

void sim_net_free(struct sim_net *n)
{
	struct server *v;
	struct sim_peer *p;
	while ((v = LIST_FIRST(&n->servers))) {
		LIST_REMOVE(v, link);
		free(v);
	}
	while ((p = LIST_FIRST(&n->peers))) {
		LIST_REMOVE(p, link);
		free(p);
	}
	free(n);
}

void sim_net_serve(struct sim_net *n, struct rpc_server *s)
{
	n->serving = s ? container_of(s, struct server, s) : NULL;
	waitq_wake_all(&n->served);
}

uint64_t sim_peer_resent(const struct sim_peer *p)
{
	return p->resent;
}

static uint64_t way_ns(struct sim_net *n)
{
	return WAY_MIN_NS + sim_random_below(n->sim, WAY_SPAN_NS);
}

/* ---- clients ---- */

struct sim_peer *sim_peer_new(struct sim_net *n, const char *address, uint16_t port,
			      sim_called_fn *called, void *arg)
{
	struct sim_peer *p = calloc(1, sizeof(*p));
	ASSERT(p);
	p->net = n;
	p->called = called;
	p->arg = arg;
	struct sockaddr_in *in = (struct sockaddr_in *)&p->address;
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	ASSERT(inet_pton(AF_INET, address, &in->sin_addr) == 1);
	waitq_init(&p->wake);
	LIST_INSERT_HEAD(&n->peers, p, link);
	return p;
}

static void peer_break(struct sim_peer *p)
{
	p->to = NULL;
	p->life++;
	waitq_wake_all(&p->wake);
}

static void to_server(void *arg);

static struct record *record_new(struct server *v, struct sim_peer *p, uint64_t life, size_t len)
{
	struct record *r = malloc(sizeof(*r) + len);
	ASSERT(r);
	*r = (struct record){.server = v, .peer = p, .life = life, .len = (uint32_t)len};
	return r;
}

static void peer_send(struct sim_peer *p, const void *msg, size_t len)
{
	struct record *r = record_new(p->to, p, p->life, len);
	memcpy(r->bytes, msg, len);
	sim_node_after(p->to->node, way_ns(p->net), to_server, r);
}

/* A try: until the reply is here, the connection is gone, or nobody answers. */
static void peer_try(struct sim_peer *p, const struct call *k, const void *msg, size_t len)
{
	struct env *env = sim_env(p->net->sim);
	if (!p->to)
		p->to = p->net->serving;
	uint64_t life = p->life, end = env_now_ns(env) + GIVE_UP_NS;
	peer_send(p, msg, len);
	while (!k->len && p->life == life && env_now_ns(env) < end)
		env_waitq_wait(env, &p->wake, end - env_now_ns(env));
	if (!k->len && p->life == life)
		peer_break(p);
}

size_t sim_peer_call(struct sim_peer *p, const void *msg, size_t len, void *ret, size_t size)
{
	struct sim_net *n = p->net;
	struct call k = {.xid = be32_get(msg), .ret = ret, .size = size};
	LIST_INSERT_HEAD(&p->calls, &k, link);
	for (unsigned tries = 0; !k.len; tries++) {
		p->resent += tries != 0;
		while (!n->serving)
			waitq_wait(&n->served);
		peer_try(p, &k, msg, len);
	}
	LIST_REMOVE(&k, link);
	return k.len;
}

/* A call over the connection, answered on it. */
static void peer_called(struct sim_peer *p, const struct record *r)
{
	struct rpc_req req = {0};
	enum rpc_auth_stat why;
	uint8_t reply[2048];
	if (rpc_msg_decode(&req, r->bytes, r->len, &why) != RPC_CALL_OK || !p->called)
		return;
	struct xdr_out x = xdr_out_of(reply, sizeof(reply));
	const uint32_t head[] = {req.xid, 1, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	if (p->called(p->arg, req.prog, req.vers, req.proc, &req.args, &x) == 0)
		peer_send(p, reply, xdr_out_len(&x));
}

/* The world's event: a record has come to a client. */
static void to_peer(void *arg)
{
	struct record *r = arg;
	struct sim_peer *p = r->peer;
	struct call *k;
	if (p->life != r->life || r->len < 8) {
		free(r);
		return;
	}
	if (be32_get(r->bytes + 4) == 0)
		peer_called(p, r);
	LIST_FOREACH (k, &p->calls, link) {
		if (be32_get(r->bytes + 4) != 1 || k->xid != be32_get(r->bytes) || k->len)
			continue;
		ASSERT(r->len <= k->size);
		memcpy(k->ret, r->bytes, r->len);
		k->len = r->len;
		waitq_wake_all(&p->wake);
	}
	free(r);
}

/* ---- a head's server ---- */

struct rpc_server *sim_server_new(struct sim_net *n, struct reactor *r, size_t area_size)
{
	struct server *v = calloc(1, sizeof(*v));
	ASSERT(v);
	v->net = n;
	v->node = r->node;
	v->s.magic = RPC_SERVER_MAGIC;
	v->s.o = (struct rpc_server_opts){
	    .reactor = r, .env = sim_node_env(r->node), .area_size = area_size};
	TAILQ_INIT(&v->s.conns);
	STAILQ_INIT(&v->s.free_reqs);
	waitq_init(&v->s.drained);
	ASSERT(drc_new(&v->s.drc, 256) == 0);
	LIST_INSERT_HEAD(&n->servers, v, link);
	return &v->s;
}

void sim_server_cut(struct rpc_server *s)
{
	struct server *v = container_of(s, struct server, s);
	struct sim_peer *p;
	v->cut = s->mute = s->stopping = true;
	if (v->net->serving == v)
		v->net->serving = NULL;
	LIST_FOREACH (p, &v->net->peers, link)
		if (p->to == v)
			peer_break(p);
}

void sim_server_end(struct rpc_server *s)
{
	struct rpc_conn *c, *next;
	struct rpc_req *req;
	s->stopping = true;
	TAILQ_FOREACH_SAFE (c, &s->conns, link, next)
		rpc_conn_close(c, NULL);
	while (s->stats.requests)
		waitq_wait(&s->drained);
	while ((req = STAILQ_FIRST(&s->free_reqs))) {
		STAILQ_REMOVE_HEAD(&s->free_reqs, link);
		free(req);
	}
	drc_free(s->drc);
	s->drc = NULL;
}

int rpc_server_add(struct rpc_server *s, const struct rpc_program *p)
{
	ASSERT(s->nprograms < RPC_PROGRAMS_MAX);
	s->programs[s->nprograms++] = p;
	return 0;
}

const struct rpc_program *rpc_server_find(struct rpc_server *s, uint32_t prog, uint32_t vers,
					  uint32_t *ret_low, uint32_t *ret_high)
{
	for (unsigned i = 0; i < s->nprograms; i++) {
		if (s->programs[i]->prog == prog && s->programs[i]->vers == vers)
			return s->programs[i];
		if (s->programs[i]->prog == prog)
			*ret_low = *ret_high = s->programs[i]->vers;
	}
	return NULL;
}

struct rpc_req *rpc_req_get(struct rpc_server *s)
{
	struct rpc_req *req = STAILQ_FIRST(&s->free_reqs);
	size_t size = ROUND_UP(sizeof(*req) + s->o.area_size, (size_t)64);
	if (req) {
		STAILQ_REMOVE_HEAD(&s->free_reqs, link);
		memset(req, 0, offsetof(struct rpc_req, head));
	} else {
		req = aligned_alloc(64, size);
		ASSERT(req);
		memset(req, 0, size);
	}
	s->stats.requests++;
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
	free(req->heap);
	req->heap = NULL;
	req->magic = 0;
	STAILQ_INSERT_HEAD(&s->free_reqs, req, link);
	if (--s->stats.requests == 0)
		waitq_wake_all(&s->drained);
}

void rpc_buf_put(struct rpc_server *s, struct rpc_buf *b)
{
	if (--b->refs)
		return;
	free(b->data);
	free(b);
}

/* ---- its connections ---- */

static struct rpc_conn *conn_of(struct server *v, const struct record *r)
{
	struct rpc_conn *c;
	TAILQ_FOREACH (c, &v->s.conns, link) {
		struct conn *k = container_of(c, struct conn, c);
		if (k->peer == r->peer && k->life == r->life)
			return c;
	}
	struct conn *k = calloc(1, sizeof(*k));
	ASSERT(k);
	k->peer = r->peer;
	k->life = r->life;
	c = &k->c;
	c->magic = RPC_CONN_MAGIC;
	c->refs = 1;
	c->server = &v->s;
	c->peer = r->peer->address;
	c->secure_port = true;
	inet_ntop(AF_INET, &((struct sockaddr_in *)&c->peer)->sin_addr, c->peer_text,
		  sizeof(c->peer_text));
	STAILQ_INIT(&c->out);
	TAILQ_INSERT_TAIL(&v->s.conns, c, link);
	return c;
}

/* The node's event: a record has come. Of an older connection of the peer's: that has ended. */
static void to_server(void *arg)
{
	struct record *r = arg;
	struct server *v = r->server;
	struct rpc_conn *c, *next;
	if (v->cut || v->s.stopping || sim_node_dead(v->node) || r->life != r->peer->life) {
		free(r);
		return;
	}
	TAILQ_FOREACH_SAFE (c, &v->s.conns, link, next) {
		struct conn *k = container_of(c, struct conn, c);
		if (k->peer == r->peer && k->life < r->life)
			rpc_conn_close(c, NULL);
	}
	c = conn_of(v, r);
	struct rpc_req *req = rpc_req_get(&v->s);
	struct rpc_buf *b = calloc(1, sizeof(*b));
	ASSERT(b && (b->data = malloc(r->len)));
	memcpy(b->data, r->bytes, r->len);
	b->refs = 1;
	req->conn = c;
	req->buf = b;
	req->start_ns = env_now_ns(v->s.o.env);
	c->inflight++;
	rpc_conn_get(c);
	rpc_call_handle(c, req, b->data, r->len);
	rpc_conn_put(c);
	free(r);
}

static void conn_end_request(struct rpc_conn *c, struct rpc_req *req)
{
	c->inflight--;
	rpc_req_put(c->server, req);
}

void rpc_conn_queue(struct rpc_conn *c, struct rpc_req *req)
{
	struct conn *k = container_of(c, struct conn, c);
	struct server *v = container_of(c->server, struct server, s);
	size_t head = req->wire_len - 4 - req->body_len - xdr_pad(req->body_len);
	if (!c->dead && !v->cut && !sim_node_dead(v->node)) {
		struct record *r = record_new(v, k->peer, k->life, req->wire_len - 4);
		memset(r->bytes, 0, r->len);
		memcpy(r->bytes, req->wire + 4, head);
		for (int i = 0; i < req->body_n; head += req->body[i++].iov_len)
			memcpy(r->bytes + head, req->body[i].iov_base, req->body[i].iov_len);
		sim_world_after(v->net->sim, way_ns(v->net), to_peer, r);
	}
	conn_end_request(c, req);
}

void rpc_conn_reply(struct rpc_conn *c, struct rpc_req *req)
{
	c->server->stats.replies++;
	rpc_conn_queue(c, req);
}

void rpc_conn_drop(struct rpc_conn *c, struct rpc_req *req)
{
	conn_end_request(c, req);
}

void rpc_conn_get(struct rpc_conn *c)
{
	c->refs++;
}

static void drop_data(struct rpc_conn *c)
{
	if (c->data_drop)
		c->data_drop(c->data);
	c->data = NULL;
	c->data_drop = NULL;
}

void rpc_conn_put(struct rpc_conn *c)
{
	CHECK(c, RPC_CONN_MAGIC);
	if (--c->refs)
		return;
	drop_data(c);
	c->magic = 0;
	free(container_of(c, struct conn, c));
}

void rpc_conn_close(struct rpc_conn *c, const char *why)
{
	if (c->dead)
		return;
	c->dead = true;
	rpc_back_close(c);
	TAILQ_REMOVE(&c->server->conns, c, link);
	drop_data(c);
	rpc_conn_put(c);
}

const struct sockaddr_storage *rpc_conn_peer(const struct rpc_conn *c)
{
	return &c->peer;
}

const char *rpc_conn_peer_text(const struct rpc_conn *c)
{
	return c->peer_text;
}

void rpc_conn_local(const struct rpc_conn *c, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
}

bool rpc_conn_open(const struct rpc_conn *c)
{
	return !c->dead;
}

bool rpc_conn_is_udp(const struct rpc_conn *c)
{
	return false;
}

bool rpc_conn_secure_port(const struct rpc_conn *c)
{
	return c->secure_port;
}

enum rpc_xprt rpc_conn_xprt(const struct rpc_conn *c)
{
	return RPC_XPRT_NONE;
}

void *rpc_conn_data(const struct rpc_conn *c)
{
	return c->data;
}

void rpc_conn_set_data(struct rpc_conn *c, void *data, void (*drop)(void *data))
{
	c->data = data;
	c->data_drop = drop;
}

uint64_t rpc_host_of(const struct sockaddr_storage *peer)
{
	return ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
}

/* ---- what this world has not ---- */

bool rpc_conn_tls_busy(const struct rpc_conn *c)
{
	return false;
}

enum rpc_tls_start rpc_conn_tls_start(struct rpc_conn *c)
{
	return RPC_TLS_NONE;
}

enum gss_verdict gss_call_begin(struct rpc_gss *g, struct rpc_req *req, const uint8_t *record,
				size_t len, enum rpc_auth_stat *ret_why)
{
	return GSS_DENIED;
}

void gss_reply(struct rpc_req *req, uint32_t stat)
{
	ASSERT(!"RPCSEC_GSS");
}

int rpc_relay(struct rpc_req *req, const char *path)
{
	return RPC_SYSTEM_ERR;
}

void rpc_relay_start(struct rpc_req *req)
{
	ASSERT(!"relays");
}

bool rpc_conn_relayed(const struct rpc_conn *c)
{
	return false;
}

bool rpc_relayed_cred(struct rpc_req *req, const void *body, size_t len)
{
	return false;
}

uv_loop_t *reactor_loop(struct reactor *r)
{
	ASSERT(!"threads");
	return NULL;
}

struct sched *reactor_sched(struct reactor *r)
{
	return sim_node_sched(r->node);
}

/* ---- a head's own calls ---- */

struct rpc_out {
	struct reactor *r;
	unsigned calls;
	bool stopping;
	struct waitq idle, wake;
};

int rpc_out_new(struct rpc_out **ret, struct reactor *r, struct env *env)
{
	struct rpc_out *o = calloc(1, sizeof(*o));
	ASSERT(o);
	o->r = r;
	waitq_init(&o->idle);
	waitq_init(&o->wake);
	*ret = o;
	return 0;
}

void rpc_out_free(struct rpc_out *o)
{
	if (!o)
		return;
	o->stopping = true;
	waitq_wake_all(&o->wake);
	while (o->calls)
		waitq_wait(&o->idle);
	free(o);
}

static void out_wait(struct rpc_out *o, uint64_t ns)
{
	struct env *env = sim_node_env(o->r->node);
	uint64_t end = env_now_ns(env) + ns;
	while (!o->stopping && env_now_ns(env) < end)
		env_waitq_wait(env, &o->wake, end - env_now_ns(env));
}

static struct sim_peer *peer_at(struct sim_net *n, const struct sockaddr_storage *to)
{
	struct sim_peer *p;
	LIST_FOREACH (p, &n->peers, link)
		if (rpc_host_of(&p->address) == rpc_host_of(to))
			return p;
	return NULL;
}

static int out_call(struct rpc_out *o, const struct rpc_out_call *call, struct xdr_out *x)
{
	struct sim_net *n = o->r->net;
	struct sim_peer *p = peer_at(n, &call->to);
	struct xdr_in args = xdr_in_of(call->args, call->args_len);
	uint64_t timeout = call->timeout_ns ? call->timeout_ns : 10 * NS_PER_S;
	uint64_t dice = sim_random_below(n->sim, 2 * LOST_ONE_IN);
	uint64_t late = env_now_ns(sim_node_env(o->r->node)) + NS_PER_MS;
	out_wait(o, way_ns(n));
	if (o->stopping)
		return -ERR_SHUTDOWN;
	if (!p || !p->called)
		return -ECONNREFUSED;
	int rc = 0;
	/* What left before its process was stopped came then, and not when it goes on. */
	if (sim_node_dead(o->r->node) || env_now_ns(sim_node_env(o->r->node)) > late)
		dice = 0;
	if (dice != 0) /* else it is lost; where it is 1, the answer */
		rc = p->called(p->arg, call->prog, call->vers, call->proc, &args, x);
	out_wait(o, dice < 2 ? timeout : way_ns(n));
	if (o->stopping)
		return -ERR_SHUTDOWN;
	return dice < 2 ? -ETIMEDOUT : rc;
}

int rpc_out_call(struct rpc_out *o, const struct rpc_out_call *call, void *ret, size_t size,
		 size_t *ret_len)
{
	struct xdr_out x = xdr_out_of(ret, size);
	*ret_len = 0;
	if (o->stopping)
		return -ERR_SHUTDOWN;
	o->calls++;
	int rc = out_call(o, call, &x);
	*ret_len = rc ? 0 : xdr_out_len(&x);
	if (--o->calls == 0)
		waitq_wake_all(&o->idle);
	return rc;
}
