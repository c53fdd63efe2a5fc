/*
 * A connection: receiving (record marking, RFC 5531 section 11), back-pressure, sending.
 *
 * One wake-up reads what is there and handles every whole record in it. Replies are queued and
 * leave together at the end of the turn in one sendmsg() (long ones in one each) straight from
 * where they are: reply heads in the requests, READ data in cache pages.
 *
 * The connection stops reading while it has too many requests or reply bytes in flight, or while
 * no buffer or request is free; it goes on when replies have left or the server says so.
 * Between wake-ups an idle connection holds no receive buffer; a few bytes of a record that has
 * just begun are kept in the connection itself.
 */
#include "nasfront/rpc/rpc_conn.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define READS_A_TURN 4
#define SENDS_A_TURN 8
#define SEND_IOV     1024 /* UIO_MAXIOV */
/* Bytes after which a send takes no further reply: while it copies, what the peer acknowledges
 * waits for the socket, and then costs more (doc/performance.md). */
#define SEND_ENOUGH (1024 * 1024)

static void conn_flush(void *arg);
static void conn_event(void *arg, int status, int events);

/* ---- life ---- */

void rpc_address_unmap(struct sockaddr_storage *ss)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	if (ss->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = in6->sin6_port};
	memcpy(&in.sin_addr, &in6->sin6_addr.s6_addr[12], 4);
	memset(ss, 0, sizeof(*ss));
	memcpy(ss, &in, sizeof(in));
}

void rpc_conn_describe(struct rpc_conn *c)
{
	const void *addr = NULL;
	uint16_t port = 0;
	rpc_address_unmap(&c->peer); /* access lists speak of the v4 address */
	if (c->peer.ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&c->peer;
		addr = &in->sin_addr;
		port = ntohs(in->sin_port);
	} else if (c->peer.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&c->peer;
		port = ntohs(in6->sin6_port);
		addr = &in6->sin6_addr;
	}
	if (!addr || !inet_ntop(c->peer.ss_family, addr, c->peer_text, sizeof(c->peer_text)))
		strcpy(c->peer_text, "unknown");
	c->secure_port = port && port < IPPORT_RESERVED;
}

int rpc_conn_new(struct rpc_server *s, int fd, const struct sockaddr_storage *peer, bool relayed)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->magic = RPC_CONN_MAGIC;
	c->refs = 1;
	c->server = s;
	c->fd = fd;
	c->peer = *peer;
	c->relayed = relayed;
	c->flush = (struct deferred){.fn = conn_flush, .arg = c};
	c->begin_ns = c->in_ns = c->out_ns = env_now_ns(s->o.env);
	STAILQ_INIT(&c->out);
	rpc_conn_describe(c);
	int rc = watch_new(&c->watch, s->o.reactor, fd, conn_event, c);
	if (rc) {
		free(c);
		return rc;
	}
	c->events = UV_READABLE;
	watch_set(c->watch, c->events);
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	rpc_room_enter(c);
	s->stats.connections++;
	return 0;
}

void rpc_conn_get(struct rpc_conn *c)
{
	c->refs++;
}

static void conn_drop_data(struct rpc_conn *c)
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
	/* A request that ran on after the end may have left data anew. */
	conn_drop_data(c);
	c->magic = 0;
	free(c);
}

void rpc_conn_forget(struct rpc_conn *c)
{
	conn_drop_data(c);
}

static void conn_end_request(struct rpc_conn *c, struct rpc_req *req)
{
	c->inflight--;
	c->pending -= req->expect;
	rpc_req_put(c->server, req);
}

void rpc_conn_close(struct rpc_conn *c, const char *why)
{
	struct rpc_server *s = c->server;
	struct rpc_req *req;
	if (c->udp) {
		rpc_udp_end(c);
		return;
	}
	if (c->dead)
		return;
	c->dead = true;
	if (why)
		log_info("rpc: connection closed peer=%s why=\"%s\"", c->peer_text, why);
	reactor_defer_cancel(s->o.reactor, &c->flush);
	watch_free(c->watch);
	rpc_conn_tls_end(c);
	close(c->fd);
	while ((req = STAILQ_FIRST(&c->out))) {
		STAILQ_REMOVE_HEAD(&c->out, link);
		conn_end_request(c, req);
	}
	if (c->buf)
		rpc_buf_put(s, c->buf);
	c->buf = NULL;
	if (c->starved)
		TAILQ_REMOVE(&s->starved, c, starved_link);
	c->starved = false;
	rpc_back_close(c);
	rpc_relay_close(c);
	conn_drop_data(c);
	rpc_room_leave(c);
	TAILQ_REMOVE(&s->conns, c, link);
	s->stats.connections--;
	rpc_conn_put(c);
}

/* ---- receiving ---- */

/*
 * How many requests a connection may have: all it wants while there are many, an eighth of what
 * is left when there are few. So however many take their share, some are left for others. One is
 * always granted: a connection that is held back has one whose end lets it go on.
 */
static unsigned conn_share(const struct rpc_server *s)
{
	unsigned left = (s->o.max_requests - s->stats.requests) / 8;
	return MIN(s->o.max_inflight, MAX(left, 1u));
}

static bool conn_may_handle(const struct rpc_conn *c)
{
	const struct rpc_server *s = c->server;
	return !c->dead && !c->starved && !(c->tls && rpc_conn_tls_busy(c)) && !s->stopping &&
	       c->inflight < conn_share(s) && c->pending < RPC_OUT_MAX;
}

static void conn_watch(struct rpc_conn *c)
{
	bool may = conn_may_handle(c);
	if (c->tls && may)
		rpc_conn_tls_again(c);
	bool read = may || (c->tls && rpc_conn_tls_shakes(c));
	int events = (read ? UV_READABLE : 0) | (c->blocked ? UV_WRITABLE : 0);
	if (c->dead || events == c->events)
		return;
	c->events = events;
	watch_set(c->watch, events);
}

bool rpc_conn_partial(const struct rpc_conn *c)
{
	return c->stash_len || (c->buf && c->buf->fill > c->start);
}

/* Moves the unfinished record to the start of a buffer that has room for need bytes of it. */
static bool conn_make_room(struct rpc_conn *c, uint32_t need)
{
	struct rpc_buf *old = c->buf;
	uint32_t have = old->fill - c->start;
	if (old->refs == 1 && need <= old->cap) {
		memmove(old->data, old->data + c->start, have);
	} else {
		/* Who came slowly so far gets room for as much again as came, not for what it says.
		 */
		struct rpc_buf *b = old->spilled
					? rpc_buf_spill(c->server, MIN(need, MAX(2 * have, 4096u)))
					: rpc_buf_get(c->server, need);
		if (!b)
			return false;
		memcpy(b->data, old->data + c->start, have);
		rpc_buf_put(c->server, old);
		c->buf = b;
	}
	c->buf->fill = have;
	c->pos -= c->start;
	c->start = 0;
	return true;
}

/* Hands the record [start + 4, + rec_len) over and steps behind it. */
static void conn_record(struct rpc_conn *c, struct rpc_req *req)
{
	const uint8_t *record = c->buf->data + c->start + 4;
	uint32_t len = c->rec_len, wire = c->pos - c->start;
	c->large = wire > RPC_SMALL_BUF / 2 ? wire : 0;
	c->buf_ns = c->in_ns;
	if (c->quiet)
		rpc_room_called(c);
	c->record_wait_ns = 0;
	req->conn = c;
	req->start_ns = c->in_ns; /* no clock is read for it: when it was received */
	req->buf = c->buf;
	c->buf->refs++;
	c->start = c->pos;
	c->rec_len = 0;
	c->fragments = 0;
	c->inflight++;
	rpc_call_handle(c, req, record, len);
}

/*
 * Takes the fragment at pos if it is here whole: > 0 a record is complete, 0 more is needed
 * (*ret_need: bytes from start that must fit the buffer), < 0 the peer breaks the protocol.
 */
static int conn_fragment(struct rpc_conn *c, uint32_t *ret_need)
{
	uint8_t *d = c->buf->data;
	*ret_need = c->pos - c->start + 4;
	if (c->buf->fill - c->pos < 4)
		return 0;
	uint32_t mark = be32_get(d + c->pos);
	uint32_t len = mark & 0x7fffffff;
	bool last = mark >> 31;
	if (len > RPC_RECORD_MAX - c->rec_len || (len == 0 && !last) ||
	    c->fragments >= RPC_FRAGMENTS)
		return -ERR_PROTO;
	*ret_need += len;
	if (c->buf->fill - c->pos - 4 < len)
		return 0;
	if (c->fragments)
		memmove(d + c->start + 4 + c->rec_len, d + c->pos + 4, len);
	c->rec_len += len;
	c->pos += 4 + len;
	c->fragments++;
	return last;
}

/* Handles every whole record. Makes room for the one that is not whole yet. */
static void conn_parse(struct rpc_conn *c)
{
	uint32_t need = 0;
	int rc = 1;
	while (c->buf && conn_may_handle(c)) {
		/* The request first: a record is taken off only when it can be handled. */
		struct rpc_req *req = rpc_req_get(c->server);
		if (!req) {
			rpc_server_starve(c);
			return;
		}
		do
			rc = conn_fragment(c, &need);
		while (rc == 0 && c->buf->fill - c->start >= need);
		if (rc <= 0) {
			rpc_req_put(c->server, req);
			break;
		}
		conn_record(c, req);
	}
	if (c->dead || !c->buf || rc > 0)
		return;
	if (rc < 0)
		rpc_conn_close(c, "bad record mark");
	else if (!c->buf->spilled && need > c->buf->cap - c->start && !conn_make_room(c, need))
		rpc_server_starve(c);
}

/* An idle connection keeps no buffer. */
static void conn_release_buffer(struct rpc_conn *c)
{
	struct rpc_buf *b = c->buf;
	if (c->dead || !b)
		return;
	uint32_t have = b->fill - c->start;
	if (have > RPC_STASH || (have && b->cap > RPC_SMALL_BUF))
		return;
	memcpy(c->stash, b->data + c->start, have);
	c->stash_len = have;
	c->pos -= c->start;
	c->start = 0;
	c->buf = NULL;
	rpc_buf_put(c->server, b);
}

void rpc_conn_no_buffer(struct rpc_conn *c)
{
	if (c->buf)
		rpc_buf_put(c->server, c->buf);
	c->buf = NULL;
	c->start = c->pos = 0;
}

static bool conn_take_buffer(struct rpc_conn *c)
{
	if (c->buf)
		return true;
	uint32_t need = c->large;
	if (c->stash_len >= c->pos + 4)
		need = c->pos + 4 + (be32_get(c->stash + c->pos) & 0x7fffffff);
	c->buf = rpc_buf_get(c->server, need);
	if (!c->buf) {
		rpc_server_starve(c);
		return false;
	}
	c->buf_ns = env_now_ns(c->server->o.env);
	memcpy(c->buf->data, c->stash, c->stash_len);
	c->buf->fill = c->stash_len;
	c->stash_len = 0;
	if (!c->buf->fill)
		c->start = c->pos = 0;
	return true;
}

/*
 * How much to ask for. In a stream of large records only up to the end of the present one, so
 * that the next starts in a buffer of its own and its payload is never moved.
 */
static uint32_t conn_want(const struct rpc_conn *c)
{
	const struct rpc_buf *b = c->buf;
	uint32_t room = b->cap - b->fill, have = b->fill - c->pos;
	uint32_t end = 0;
	if (have >= 4)
		end = c->pos + 4 + (be32_get(b->data + c->pos) & 0x7fffffff);
	else if (c->large)
		end = c->start + c->large;
	if (end > b->fill && end - c->start > RPC_SMALL_BUF / 2)
		return MIN(room, end - b->fill);
	return room;
}

/* Bytes from start that the buffer must have room for so that the present fragment fits. */
static uint32_t conn_need(const struct rpc_conn *c)
{
	const struct rpc_buf *b = c->buf;
	uint32_t have = b->fill - c->start, need = c->pos - c->start + 4;
	if (b->fill - c->pos >= 4)
		need += be32_get(b->data + c->pos) & 0x7fffffff;
	return MAX(need, have + 4);
}

static ssize_t conn_recv(struct rpc_conn *c, void *buf, size_t size)
{
	if (!c->tls)
		return recv(c->fd, buf, size, MSG_DONTWAIT);
	ssize_t n = rpc_conn_tls_recv(c, buf, size);
	if (n < 0)
		errno = (int)-n;
	return n;
}

/* One recv(). True when there may be more. */
static bool conn_receive(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	if (c->buf && c->buf->fill == c->start && c->buf->refs > 1) {
		/* Requests still read from it: let them have it, start anew. */
		rpc_buf_put(s, c->buf);
		c->buf = NULL;
		c->stash_len = 0;
	}
	if (!conn_take_buffer(c))
		return false;
	if (c->buf->fill == c->start && c->start)
		c->buf->fill = c->start = c->pos = 0;
	if (c->buf->fill == c->buf->cap && !conn_make_room(c, conn_need(c))) {
		rpc_server_starve(c);
		return false;
	}
	uint32_t want = conn_want(c);
	ssize_t n = conn_recv(c, c->buf->data + c->buf->fill, want);
	s->stats.receives++;
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			rpc_conn_close(c, c->tls ? rpc_conn_tls_why(c) : strerror(errno));
		return false;
	}
	if (n == 0) {
		rpc_conn_close(c, NULL);
		return false;
	}
	c->in_ns = env_now_ns(s->o.env);
	s->stats.bytes_in += (size_t)n;
	c->buf->fill += (uint32_t)n;
	conn_parse(c);
	return (uint32_t)n == want;
}

static void conn_read(struct rpc_conn *c)
{
	for (int i = 0; i < READS_A_TURN && conn_may_handle(c); i++)
		if (!conn_receive(c))
			break;
	if (conn_may_handle(c))
		conn_release_buffer(c);
}

void rpc_conn_resume(struct rpc_conn *c)
{
	rpc_conn_get(c);
	if (c->buf && conn_may_handle(c))
		conn_parse(c);
	if (conn_may_handle(c))
		conn_release_buffer(c);
	conn_watch(c);
	rpc_conn_put(c);
}

void rpc_conn_again(struct rpc_conn *c)
{
	rpc_conn_get(c);
	conn_read(c);
	conn_watch(c);
	rpc_conn_put(c);
}

static void conn_event(void *arg, int status, int events)
{
	struct rpc_conn *c = arg;
	CHECK(c, RPC_CONN_MAGIC);
	rpc_conn_get(c);
	if (status < 0)
		rpc_conn_close(c, "socket error"); /* libuv says no more than that */
	if (!c->dead && c->tls && rpc_conn_tls_shakes(c))
		rpc_conn_tls_step(c);
	if (!c->dead && (events & UV_WRITABLE)) {
		c->blocked = false;
		conn_flush(c);
	}
	if (!c->dead && (events & UV_READABLE))
		conn_read(c);
	conn_watch(c);
	rpc_conn_put(c);
}

/* ---- sending ---- */

void rpc_conn_reply(struct rpc_conn *c, struct rpc_req *req)
{
	c->server->stats.replies++;
	if (c->udp) {
		rpc_udp_reply(c, req);
		rpc_conn_drop(c, req);
		return;
	}
	rpc_conn_queue(c, req);
}

void rpc_conn_queue(struct rpc_conn *c, struct rpc_req *req)
{
	if (c->dead) {
		conn_end_request(c, req);
		return;
	}
	c->pending -= req->expect;
	req->expect = (uint32_t)req->wire_len;
	c->pending += req->expect;
	if (STAILQ_EMPTY(&c->out))
		c->out_ns = c->head_ns = env_now_ns(c->server->o.env);
	req->queued_ns = c->out_ns;
	STAILQ_INSERT_TAIL(&c->out, req, link);
	if (!c->blocked)
		reactor_defer(c->server->o.reactor, &c->flush);
}

void rpc_conn_drop(struct rpc_conn *c, struct rpc_req *req)
{
	conn_end_request(c, req);
	if (c->udp)
		rpc_udp_end(c);
	else if (!c->dead)
		reactor_defer(c->server->o.reactor, &c->flush);
}

static int put_iov(struct iovec *iov, int n, const void *base, size_t len, size_t *skip)
{
	size_t k = MIN(*skip, len);
	*skip -= k;
	if (k == len)
		return n;
	iov[n] = (struct iovec){.iov_base = (char *)base + k, .iov_len = len - k};
	return n + 1;
}

/* Appends one reply without its first `skip` bytes; the number of iovecs, or -1: no room. */
static int reply_iov(const struct rpc_req *req, size_t skip, struct iovec *iov, int n)
{
	static const uint8_t zeros[4];
	uint32_t pad = xdr_pad(req->body_len);
	if (n + req->body_n + 3 > SEND_IOV)
		return -1;
	n = put_iov(iov, n, req->wire, req->wire_len - req->body_len - pad - req->tail.iov_len,
		    &skip);
	for (int i = 0; i < req->body_n; i++)
		n = put_iov(iov, n, req->body[i].iov_base, req->body[i].iov_len, &skip);
	n = put_iov(iov, n, zeros, pad, &skip);
	return req->tail.iov_len ? put_iov(iov, n, req->tail.iov_base, req->tail.iov_len, &skip)
				 : n;
}

static int conn_gather(const struct rpc_conn *c, struct iovec *iov, size_t *ret_bytes)
{
	const struct rpc_req *req;
	size_t skip = c->out_sent, bytes = 0;
	int n = 0;
	STAILQ_FOREACH (req, &c->out, link) {
		int m = bytes < SEND_ENOUGH ? reply_iov(req, skip, iov, n) : -1;
		if (m < 0)
			break;
		bytes += req->wire_len - skip;
		skip = 0;
		n = m;
	}
	*ret_bytes = bytes;
	return n;
}

static void conn_sent(struct rpc_conn *c, size_t n)
{
	struct rpc_req *req;
	while ((req = STAILQ_FIRST(&c->out)) && n) {
		size_t rest = req->wire_len - c->out_sent;
		if (n < rest) {
			c->out_sent += n;
			return;
		}
		n -= rest;
		c->out_sent = 0;
		c->head_ns = c->out_ns;
		STAILQ_REMOVE_HEAD(&c->out, link);
		conn_end_request(c, req);
	}
}

static ssize_t conn_sendmsg(struct rpc_conn *c, const struct msghdr *msg)
{
	if (!c->tls || rpc_conn_tls_busy(c)) /* the reply that says STARTTLS */
		return sendmsg(c->fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	ssize_t n = rpc_conn_tls_send(c, msg->msg_iov, msg->msg_iovlen);
	if (n < 0)
		errno = (int)-n;
	return n;
}

static bool conn_has_out(const struct rpc_conn *c)
{
	return !STAILQ_EMPTY(&c->out) || (c->tls && rpc_conn_tls_left(c));
}

/* False when the socket takes no more or the connection is gone. */
static bool conn_send(struct rpc_conn *c)
{
	struct iovec iov[SEND_IOV];
	struct msghdr msg = {.msg_iov = iov};
	struct rpc_server *s = c->server;
	size_t bytes;
	msg.msg_iovlen = (size_t)conn_gather(c, iov, &bytes);
	ssize_t n = conn_sendmsg(c, &msg);
	s->stats.sends++;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		rpc_conn_close(c, c->tls ? rpc_conn_tls_why(c) : strerror(errno));
		return false;
	}
	if (n > 0) {
		c->out_ns = env_now_ns(s->o.env);
		s->stats.bytes_out += (size_t)n;
		conn_sent(c, (size_t)n);
	}
	c->blocked = n < 0 || (size_t)n < bytes || (c->tls && rpc_conn_tls_left(c));
	if (c->blocked)
		rpc_server_blocked(s);
	return !c->blocked;
}

static void conn_flush(void *arg)
{
	struct rpc_conn *c = arg;
	CHECK(c, RPC_CONN_MAGIC);
	rpc_conn_get(c);
	for (int i = 0; !c->dead && !c->blocked && conn_has_out(c); i++) {
		if (i == SENDS_A_TURN) {
			reactor_defer(c->server->o.reactor, &c->flush);
			break;
		}
		if (!conn_send(c))
			break;
	}
	if (!c->dead && c->tls && rpc_conn_tls_busy(c))
		rpc_conn_tls_step(c);
	if (!c->dead)
		rpc_conn_resume(c);
	rpc_conn_put(c);
}

/* ---- what programs see ---- */

const struct sockaddr_storage *rpc_conn_peer(const struct rpc_conn *c)
{
	return &c->peer;
}

const char *rpc_conn_peer_text(const struct rpc_conn *c)
{
	return c->peer_text;
}

bool rpc_conn_open(const struct rpc_conn *c)
{
	return !c->dead;
}

bool rpc_conn_is_udp(const struct rpc_conn *c)
{
	return c->udp;
}

bool rpc_conn_secure_port(const struct rpc_conn *c)
{
	return c->secure_port;
}

enum rpc_xprt rpc_conn_xprt(const struct rpc_conn *c)
{
	return c->xprt;
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
