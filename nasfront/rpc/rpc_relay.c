/*
 * The side of a relay that has the client. Each of a client's connections has a relay of its own to
 * each server it needs: a unix socket on which its calls go out in order, whole, with a credential
 * that says who calls (rpc_relayed.c), and replies come back in any order.
 *
 *   call -> kept (a copy, until it is answered) -> sent -> reply -> results into the request ->
 * reply to the client
 *
 * When the other server goes, what is not answered is sent again to its successor as it was, with
 * the number, address and port that the client gave it: the successor's cache of duplicates, and
 * what the file system remembers of calls, know it. So a call is never refused because nobody is
 * there: it may have been carried out. It waits, as for a server that is away, until the client
 * gives its connection up; over UDP, where nothing says so, for UDP_NS.
 *
 * Bounds: copies (half of it) and replies are within the budget of what slow peers hold
 * (rpc_spill_get()); a connection is not read while its calls under way, each counted with EXPECT
 * bytes of reply, are more than RPC_OUT_MAX. A reply for which there is no room is not read until
 * there is.
 *
 * Who calls by RPCSEC_GSS is verified here, where the context is, and its reply is protected here.
 */
#include "nasfront/rpc/rpc_relay.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define RELAY_MAGIC  0x72656c79
#define EXPECT	     (256 * 1024)
#define RETRY_NS     (50 * NS_PER_MS)
#define UDP_NS	     (5 * NS_PER_S)
#define RELAYS_MAX   64 /* of one connection */
#define SENDS_A_TURN 8
#define READS_A_TURN 8
#define CALL_HEAD    24 /* xid, 0, 2, prog, vers, proc */
#define REPLY_HEAD   24 /* xid, 1, 0, verf {0, 0}, accept_stat: behind the mark */
#define REPLY_MIN    20 /* one that is denied */
#define REPLY_ROOM   (RPC_REPLY_HEAD + RPC_GSS_ROOM) /* before the results */

struct relay_call {
	TAILQ_ENTRY(relay_call) link;
	struct rpc_req *req;
	uint8_t *wire;
	size_t size, len; /* of what was taken for it, and of it */
	uint64_t since_ns;
};
TAILQ_HEAD(relay_calls, relay_call);

struct rpc_relay {
	uint32_t magic;
	LIST_ENTRY(rpc_relay) link;
	struct rpc_conn *conn;
	const struct rpc_req *chosen; /* whose handler said that it goes here too */
	char path[RPC_RELAY_PATH_MAX];
	int fd; /* -1: not connected */
	struct watch *watch;
	struct env_timer retry;
	bool waits;		  /* the timer runs */
	struct relay_calls calls; /* those that are sent first, in order */
	struct relay_call *next;  /* the first that is not sent whole; NULL: all are */
	size_t sent;		  /* bytes of it */
	uint8_t head[4];	  /* the mark of the reply that comes */
	unsigned nhead;
	uint8_t *in; /* the reply: REPLY_ROOM - REPLY_HEAD bytes, then it */
	size_t in_size, in_len, in_have;
};

static void relay_pump(struct rpc_relay *r);
static void relay_retry(void *arg);

/* ---- life ---- */

static struct rpc_server *server_of(const struct rpc_relay *r)
{
	return r->conn->server;
}

static struct rpc_relay *relay_of(struct rpc_conn *c, const char *path)
{
	struct rpc_relay *r;
	unsigned n = 0;
	LIST_FOREACH (r, &c->relays, link) {
		if (strcmp(r->path, path) == 0)
			return r;
		n++;
	}
	if (n == RELAYS_MAX || strlen(path) >= sizeof(r->path) || !(r = calloc(1, sizeof(*r))))
		return NULL;
	r->magic = RELAY_MAGIC;
	r->conn = c;
	r->fd = -1;
	strcpy(r->path, path);
	TAILQ_INIT(&r->calls);
	r->retry = (struct env_timer){.fn = relay_retry, .arg = r};
	LIST_INSERT_HEAD(&c->relays, r, link);
	return r;
}

static void in_drop(struct rpc_relay *r)
{
	rpc_spill_put(server_of(r), r->in, r->in_size);
	r->in = NULL;
	r->in_size = r->in_len = r->in_have = 0;
	r->nhead = 0;
}

/* What is not answered will be sent again. */
static void relay_disconnect(struct rpc_relay *r)
{
	if (r->fd < 0)
		return;
	watch_free(r->watch);
	r->watch = NULL;
	close(r->fd);
	r->fd = -1;
	in_drop(r);
	r->next = TAILQ_FIRST(&r->calls);
	r->sent = 0;
}

static void retry_later(struct rpc_relay *r)
{
	if (r->waits)
		return;
	r->waits = true;
	env_timer_start(server_of(r)->o.env, &r->retry, RETRY_NS);
}

/* The call leaves the relay; what becomes of it is `result`, where it is its last. */
static void call_leave(struct rpc_relay *r, struct relay_call *k, int result)
{
	struct rpc_req *req = k->req;
	if (r->next == k) {
		r->next = TAILQ_NEXT(k, link);
		r->sent = 0;
	}
	TAILQ_REMOVE(&r->calls, k, link);
	rpc_spill_put(server_of(r), k->wire, k->size);
	free(k);
	if (--req->relays == 0)
		rpc_call_end(req, result);
}

static void relay_free(struct rpc_relay *r)
{
	CHECK(r, RELAY_MAGIC);
	relay_disconnect(r);
	if (r->waits)
		env_timer_stop(server_of(r)->o.env, &r->retry);
	LIST_REMOVE(r, link);
	r->magic = 0;
	free(r);
}

void rpc_relay_close(struct rpc_conn *c)
{
	struct rpc_relay *r;
	struct relay_call *k;
	rpc_conn_get(c);
	while ((r = LIST_FIRST(&c->relays))) {
		/* Ends do not come back here: the connection has ended. */
		while ((k = TAILQ_FIRST(&r->calls)))
			call_leave(r, k, RPC_DROP);
		relay_free(r);
	}
	rpc_conn_put(c);
}

/* ---- replies ---- */

static struct relay_call *call_of(struct rpc_relay *r, uint32_t xid)
{
	struct relay_call *k;
	TAILQ_FOREACH (k, &r->calls, link)
		if (k->req->xid == xid)
			return k;
	return NULL;
}

/* An accepted reply's results, where the request's own would be. */
static void take_results(struct rpc_relay *r, struct rpc_req *req)
{
	size_t n = r->in_len - REPLY_HEAD;
	req->spilled = (struct iovec){.iov_base = r->in, .iov_len = r->in_size};
	req->out = xdr_out_of(r->in + REPLY_ROOM, n);
	req->out.p = req->out.end;
	r->in = NULL;
	r->in_size = 0;
}

/*
 * The reply is whole. False: it is none, the connection means nothing any more. Of calls with one
 * number (the client sent it again) the answer is the first's; the others are its duplicates, for
 * which the other server says nothing.
 */
static bool reply_take(struct rpc_relay *r)
{
	const uint8_t *m = r->in + REPLY_ROOM - REPLY_HEAD;
	uint32_t xid = be32_get(m);
	struct relay_call *k = call_of(r, xid);
	int result = RPC_SYSTEM_ERR;
	if (be32_get(m + 4) != 1 || be32_get(m + 8) > 1)
		return false;
	if (be32_get(m + 8) == 1) {
		if (be32_get(m + 12) == 1 && be32_get(m + 16) == RPC_AUTH_TOOWEAK)
			result = RPC_TOO_WEAK;
	} else if (r->in_len < REPLY_HEAD || be32_get(m + 12) || be32_get(m + 16)) {
		return false;
	} else if (be32_get(m + 20) <= RPC_SYSTEM_ERR) {
		result = (int)be32_get(m + 20);
	}
	if (k && result == RPC_SUCCESS && k->req->relays == 1)
		take_results(r, k->req);
	in_drop(r);
	struct rpc_conn *c = r->conn;
	if (k)
		call_leave(r, k, result);
	while (!c->dead && (k = call_of(r, xid)))
		call_leave(r, k, RPC_DROP);
	return true;
}

/* 1: there is more to read; 0: not now; negative: the connection is over. */
static int in_read(struct rpc_relay *r, uint8_t *to, size_t size, size_t *have)
{
	ssize_t n = recv(r->fd, to, size, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	*have += (size_t)n;
	return 1;
}

static int in_begin(struct rpc_relay *r)
{
	size_t have = 0;
	int rc = in_read(r, r->head + r->nhead, sizeof(r->head) - r->nhead, &have);
	r->nhead += (unsigned)have;
	return rc;
}

/* The mark is known: room for the reply. 0: there is none now. */
static int in_room(struct rpc_relay *r)
{
	uint32_t mark = be32_get(r->head), len = mark & 0x7fffffff;
	if (!(mark >> 31) || len < REPLY_MIN || len > RPC_RECORD_MAX)
		return -ERR_PROTO;
	r->in_size = REPLY_ROOM - REPLY_HEAD + len;
	r->in = rpc_spill_get(server_of(r), r->in_size);
	if (!r->in) {
		r->in_size = 0;
		watch_set(r->watch, 0);
		retry_later(r);
		return 0;
	}
	r->in_len = len;
	r->in_have = 0;
	return 1;
}

static int in_step(struct rpc_relay *r)
{
	if (r->nhead < sizeof(r->head))
		return in_begin(r);
	if (!r->in)
		return in_room(r);
	int rc = in_read(r, r->in + REPLY_ROOM - REPLY_HEAD + r->in_have, r->in_len - r->in_have,
			 &r->in_have);
	if (rc > 0 && r->in_have == r->in_len)
		return reply_take(r) ? 1 : -ERR_PROTO;
	return rc;
}

/* ---- connecting, sending ---- */

/* 1: sent; 0: the socket takes no more; negative: it is over. */
static int send_one(struct rpc_relay *r)
{
	struct relay_call *k = r->next;
	ssize_t n = send(r->fd, k->wire + r->sent, k->len - r->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r->sent += (size_t)n;
	if (r->sent < k->len)
		return 0;
	r->next = TAILQ_NEXT(k, link);
	r->sent = 0;
	return 1;
}

static void relay_event(void *arg, int status, int events)
{
	struct rpc_relay *r = arg;
	struct rpc_conn *c = r->conn;
	int rc = status < 0 ? -ECONNRESET : 1;
	rpc_conn_get(c);
	for (int i = 0; rc > 0 && (events & UV_READABLE) && i < READS_A_TURN * 3; i++) {
		rc = in_step(r);
		/* An end of a call may have ended the connection, and us with it. */
		if (c->dead) {
			rpc_conn_put(c);
			return;
		}
	}
	if (rc < 0) {
		log_info("rpc: relay ended path=%s why=%s", r->path, err_name(rc));
		relay_disconnect(r);
		retry_later(r); /* not at once: it may have been refused */
	} else {
		relay_pump(r);
	}
	rpc_conn_put(c);
}

static int relay_connect(struct rpc_relay *r)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	strcpy(sa.sun_path, r->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
	if (rc == 0)
		rc = watch_new(&r->watch, server_of(r)->o.reactor, fd, relay_event, r);
	if (rc) {
		close(fd);
		return rc;
	}
	r->fd = fd;
	r->next = TAILQ_FIRST(&r->calls);
	r->sent = 0;
	return 0;
}

/* Sends what there is. */
static void relay_pump(struct rpc_relay *r)
{
	int rc = 1;
	if (TAILQ_EMPTY(&r->calls) && r->fd < 0)
		return;
	if (r->fd < 0 && relay_connect(r)) {
		retry_later(r);
		return;
	}
	for (int i = 0; r->next && rc > 0 && i < SENDS_A_TURN; i++)
		rc = send_one(r);
	if (rc < 0) {
		relay_disconnect(r);
		retry_later(r);
		return;
	}
	bool read = r->nhead < sizeof(r->head) || r->in || !r->waits;
	watch_set(r->watch, (read ? UV_READABLE : 0) | (r->next ? UV_WRITABLE : 0));
}

/* Calls that nobody waits for. */
static void drop_late(struct rpc_relay *r)
{
	struct rpc_server *s = server_of(r);
	struct relay_call *k, *next;
	uint64_t now = env_now_ns(s->o.env);
	const struct rpc_conn *c = r->conn;
	for (k = TAILQ_FIRST(&r->calls); k && !c->dead; k = next) {
		next = TAILQ_NEXT(k, link);
		if ((s->stopping && r->fd < 0) || (c->udp && now - k->since_ns >= UDP_NS))
			call_leave(r, k, RPC_DROP);
	}
}

static void relay_retry(void *arg)
{
	struct rpc_relay *r = arg;
	struct rpc_conn *c = r->conn;
	CHECK(r, RELAY_MAGIC);
	rpc_conn_get(c);
	r->waits = false;
	drop_late(r);
	if (!LIST_EMPTY(&c->relays)) { /* it was not the last call of a datagram */
		relay_pump(r);
		if (c->udp)
			retry_later(r);
	}
	rpc_conn_put(c);
}

/* ---- calls ---- */

static size_t put_call(const struct rpc_req *req, uint8_t *to, size_t size)
{
	const struct rpc_conn *c = req->conn;
	struct rpc_relay_from from = {.peer = c->peer, .xprt = c->xprt, .cred = req->cred};
	uint8_t cred[RPC_RELAY_CRED];
	struct xdr_out x = xdr_out_of(to + 4, size - 4);
	rpc_conn_local(c, &from.local);
	if (req->cred.flavor != RPC_FLAVOR_GSS)
		from.cred.service = 0;
	const uint32_t head[] = {req->xid, 0, RPC_VERSION, req->prog, req->vers, req->proc};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_u32(&x, RPC_FLAVOR_RELAY);
	xdr_put_opaque(&x, cred, (uint32_t)rpc_relay_put(&from, cred, sizeof(cred)));
	xdr_put_u32(&x, RPC_FLAVOR_NONE);
	xdr_put_u32(&x, 0);
	xdr_put_fixed(&x, req->args_begin.p, (uint32_t)xdr_left(&req->args_begin));
	ASSERT(!x.full);
	be32_put(to, 0x80000000u | (uint32_t)xdr_out_len(&x));
	return 4 + xdr_out_len(&x);
}

int rpc_relay(struct rpc_req *req, const char *path)
{
	struct rpc_relay *r;
	if (req->conn->dead || req->conn->relayed)
		return RPC_DROP;
	if (!req->relays) /* of a request that was here before, and was not relayed after all */
		LIST_FOREACH (r, &req->conn->relays, link)
			if (r->chosen == req)
				r->chosen = NULL;
	r = relay_of(req->conn, path);
	if (!r)
		return RPC_DROP;
	req->relays += r->chosen != req;
	r->chosen = req;
	return RPC_RELAY;
}

/* The copy; NULL: no room. */
static struct relay_call *call_new(struct rpc_req *req)
{
	struct rpc_server *s = req->conn->server;
	size_t args = xdr_left(&req->args_begin);
	size_t size = 4 + CALL_HEAD + 8 + RPC_RELAY_CRED + 8 + args + 3;
	struct relay_call *k = calloc(1, sizeof(*k));
	/* Half of it is left for replies: they make room for calls. */
	bool room = s->spilled_bytes + size <= RPC_SPILL_MAX / 2;
	uint8_t *wire = k && room ? rpc_spill_get(s, size) : NULL;
	if (!wire) {
		free(k);
		return NULL;
	}
	k->req = req;
	k->since_ns = env_now_ns(s->o.env);
	k->wire = wire;
	k->size = size;
	k->len = put_call(req, wire, size);
	return k;
}

/* False: there is no room. */
static bool relay_add(struct rpc_relay *r, struct rpc_req *req)
{
	struct rpc_conn *c = r->conn;
	struct relay_call *k = call_new(req);
	if (!k)
		return false;
	c->pending += k->len + EXPECT;
	req->expect += (uint32_t)k->len + EXPECT;
	TAILQ_INSERT_TAIL(&r->calls, k, link);
	if (!r->next) {
		r->next = k;
		r->sent = 0;
	}
	return true;
}

void rpc_relay_start(struct rpc_req *req)
{
	struct rpc_conn *c = req->conn;
	struct rpc_relay *r, *next;
	unsigned added = 0;
	rpc_conn_get(c); /* until rpc_call_end() */
	rpc_conn_get(c);
	c->pending -= req->expect;
	req->expect = 0;
	if (!c->dead)
		LIST_FOREACH (r, &c->relays, link)
			added += r->chosen == req && relay_add(r, req);
	bool room = added == req->relays;
	req->relays = added;
	if (added) {
		rpc_call_no_buf(req);
		LIST_FOREACH_SAFE (r, &c->relays, link, next)
			if (r->chosen == req) {
				r->chosen = NULL;
				relay_pump(r);
				if (c->udp) /* whatever comes of it, it has its time */
					retry_later(r);
			}
	} else {
		rpc_call_end(req, RPC_DROP);
	}
	/* The client comes again, and asks again. */
	if (!room && !c->dead && !c->udp)
		rpc_conn_close(c, "no room for calls that others answer");
	rpc_conn_put(c);
}
