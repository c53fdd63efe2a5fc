/*
 * A connection of the admin server. It is in one of these states, and in one only:
 *
 *   READING  a request is awaited; the timer bounds idleness and half frames
 *   CALLING  a task runs its handlers; only progress goes out, nothing is read
 *   WRITING  the reply (or a last error) goes out; the timer bounds a slow reader
 *
 * So a connection has at most one call and one reply in memory. A client that
 * goes away while its call runs leaves the call (work that was begun is ended)
 * and takes the connection: call->conn becomes NULL. Progress that finds
 * PROGRESS_QUEUE_MAX bytes unsent is dropped.
 */
#include "runtime/admin_server_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONN_MAGIC	   0x6164636e
#define PROGRESS_QUEUE_MAX (64 * 1024)
#define IDLE_NS		   (60 * NS_PER_S)
#define HALF_FRAME_NS	   (10 * NS_PER_S)
#define SLOW_READER_NS	   (30 * NS_PER_S)

static void conn_step(struct admin_conn *k);
static bool conn_read(struct admin_conn *k);

void admin_conn_free(struct admin_conn *k)
{
	CHECK(k, CONN_MAGIC);
	struct admin_server *s = k->server;
	if (k->call)
		k->call->conn = NULL;
	env_timer_stop(env_real(), &k->timer);
	watch_free(k->watch);
	close(k->fd);
	admin_inbuf_free(&k->in);
	free(k->out);
	TAILQ_REMOVE(&s->conns, k, link);
	s->nconns--;
	k->magic = 0;
	free(k);
}

static void on_timer(void *arg)
{
	struct admin_conn *k = arg;
	if (k->state == CONN_WRITING || k->in.n)
		log_info("admin: client dropped uid=%u why=%s", k->uid,
			 k->state == CONN_WRITING ? "does_not_read" : "half_frame");
	admin_conn_free(k);
}

static void set_timer(struct admin_conn *k, uint64_t ns)
{
	if (ns)
		env_timer_start(env_real(), &k->timer, ns);
	else
		env_timer_stop(env_real(), &k->timer);
}

/* Takes buf. */
static int conn_queue(struct admin_conn *k, uint8_t *buf, size_t n)
{
	if (k->out_off == k->out_n) {
		free(k->out);
		k->out = buf;
		k->out_n = n;
		k->out_off = 0;
		return 0;
	}
	size_t left = k->out_n - k->out_off;
	uint8_t *p = malloc(left + n);
	if (p) {
		memcpy(p, k->out + k->out_off, left);
		memcpy(p + left, buf, n);
		free(k->out);
		k->out = p;
		k->out_n = left + n;
		k->out_off = 0;
	}
	free(buf);
	return p ? 0 : -ENOMEM;
}

static int conn_queue_frame(struct admin_conn *k, const Isthmus__AdminFrame *f)
{
	uint8_t *buf;
	size_t n;
	int rc = admin_frame_encode(f, &buf, &n);
	return rc ? rc : conn_queue(k, buf, n);
}

static int conn_queue_reply(struct admin_conn *k, uint64_t id, Isthmus__AdminReply *reply)
{
	Isthmus__AdminFrame f = ISTHMUS__ADMIN_FRAME__INIT;
	f.version = ADMIN_VERSION;
	f.id = id;
	f.body_case = ISTHMUS__ADMIN_FRAME__BODY_REPLY;
	f.reply = reply;
	return conn_queue_frame(k, &f);
}

/* A reply that has only an error; false: not even that could be queued. */
static bool conn_queue_error(struct admin_conn *k, uint64_t id, int code, const char *text,
			     const char *remedy)
{
	Isthmus__AdminReply r = ISTHMUS__ADMIN_REPLY__INIT;
	r.code = code;
	r.error = (char *)text;
	r.remedy = (char *)(remedy ? remedy : "");
	return conn_queue_reply(k, id, &r) == 0;
}

/* Sends what is queued. False: the connection is gone (freed). */
static bool conn_send(struct admin_conn *k)
{
	while (k->out_off < k->out_n) {
		ssize_t n = send(k->fd, k->out + k->out_off, k->out_n - k->out_off,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return true;
		if (n < 0) {
			admin_conn_free(k);
			return false;
		}
		k->out_off += (size_t)n;
		if (k->state == CONN_WRITING)
			set_timer(k, SLOW_READER_NS);
	}
	free(k->out);
	k->out = NULL;
	k->out_n = k->out_off = 0;
	return true;
}
/* ---- calls ---- */

static void call_reply(struct admin_call *c)
{
	struct admin_conn *k = c->conn;
	k->call = NULL;
	c->conn = NULL;
	k->state = CONN_WRITING;
	int rc = conn_queue_reply(k, c->frame->id, &c->reply);
	if (rc && !conn_queue_error(k, c->frame->id, rc, "the reply is too big",
				    "ask for less, for example for one name"))
		admin_conn_free(k);
	else
		conn_step(k);
}

static void call_task(void *arg)
{
	struct admin_call *c = arg;
	struct admin_server *s = c->server;
	int rc = admin_call_run(s, c);
	admin_call_finish(c, rc);
	if (c->conn)
		call_reply(c);
	admin_call_free(c);
	admin_call_ended(s);
}

/* Takes the request. */
static int call_local(Isthmus__AdminRequest *r, struct admin_call **ret)
{
	Isthmus__AdminFrame *f = malloc(sizeof(*f));
	if (f) {
		isthmus__admin_frame__init(f);
		f->body_case = ISTHMUS__ADMIN_FRAME__BODY_REQUEST;
		f->request = r;
	}
	*ret = f ? admin_call_new(f) : NULL;
	if (*ret)
		return 0;
	if (f)
		isthmus__admin_frame__free_unpacked(f, NULL);
	else
		isthmus__admin_request__free_unpacked(r, NULL);
	return -ENOMEM;
}

int admin_server_run(struct admin_server *s, const uint8_t *req, size_t len,
		     void (*progress)(void *arg, const Isthmus__AdminProgress *p), void *arg,
		     uint8_t **ret, size_t *ret_len)
{
	struct admin_call *c;
	if (s->closing || !s->watch)
		return -ERR_SHUTDOWN;
	Isthmus__AdminRequest *r =
	    len <= ADMIN_REQUEST_MAX ? isthmus__admin_request__unpack(NULL, len, req) : NULL;
	if (!r || r->n_args > ADMIN_ARGS_MAX) {
		if (r)
			isthmus__admin_request__free_unpacked(r, NULL);
		return -ERR_PROTO;
	}
	int rc = call_local(r, &c);
	if (rc)
		return rc;
	c->server = s;
	c->progress = progress;
	c->progress_arg = arg;
	s->ncalls++;
	admin_call_finish(c, admin_call_run(s, c));
	*ret_len = isthmus__admin_reply__get_packed_size(&c->reply);
	*ret = malloc(*ret_len + 1);
	if (*ret)
		isthmus__admin_reply__pack(&c->reply, *ret);
	rc = *ret ? 0 : -ENOMEM;
	admin_call_free(c);
	admin_call_ended(s);
	return rc;
}

void admin_call_send_progress(struct admin_call *c, const Isthmus__AdminProgress *p)
{
	struct admin_conn *k = c->conn;
	if (c->progress)
		c->progress(c->progress_arg, p);
	if (!k || k->out_n - k->out_off > PROGRESS_QUEUE_MAX)
		return;
	Isthmus__AdminFrame f = ISTHMUS__ADMIN_FRAME__INIT;
	f.version = ADMIN_VERSION;
	f.id = c->frame->id;
	f.body_case = ISTHMUS__ADMIN_FRAME__BODY_PROGRESS;
	f.progress = (Isthmus__AdminProgress *)p;
	if (conn_queue_frame(k, &f) == 0)
		conn_step(k);
}

/* Takes the frame. */
static bool call_start(struct admin_conn *k, Isthmus__AdminFrame *f)
{
	struct admin_server *s = k->server;
	if (f->body_case != ISTHMUS__ADMIN_FRAME__BODY_REQUEST || !f->request ||
	    f->request->n_args > ADMIN_ARGS_MAX) {
		isthmus__admin_frame__free_unpacked(f, NULL);
		return false;
	}
	struct admin_call *c = admin_call_new(f);
	if (!c) {
		isthmus__admin_frame__free_unpacked(f, NULL);
		return false;
	}
	c->server = s;
	c->conn = k;
	k->call = c;
	k->state = CONN_CALLING;
	s->ncalls++;
	log_debug("admin: call verb=%.64s uid=%u", c->req->verb, k->uid);
	if (task_start_on(reactor_sched(s->reactor), call_task, c)) {
		k->call = NULL;
		admin_call_free(c);
		admin_call_ended(s);
		return false;
	}
	return true;
}
/* ---- the connection's turn ---- */

void admin_conn_refuse(struct admin_conn *k, int code, const char *text, const char *remedy)
{
	k->state = CONN_WRITING;
	k->last = true;
	if (conn_queue_error(k, 0, code, text, remedy))
		conn_step(k);
	else
		admin_conn_free(k);
}

/* Reads until a request is whole or nothing is left. False: freed, or not READING any more. */
static bool conn_read(struct admin_conn *k)
{
	Isthmus__AdminFrame *f;
	size_t used;
	for (;;) {
		int rc = admin_frame_decode(k->in.p, k->in.n, ADMIN_REQUEST_MAX, &f, &used);
		if (rc == 0) {
			admin_inbuf_drop(&k->in, used);
			set_timer(k, 0);
			if (!call_start(k, f))
				admin_conn_refuse(k, -ERR_PROTO, "that is not a request", NULL);
			else
				conn_step(k);
			return false;
		}
		if (rc != -EAGAIN) {
			admin_conn_refuse(k, rc,
					  rc == -ERR_VERSION ? "this daemon speaks another version"
							     : "that is not a request",
					  rc == -ERR_VERSION ? "use the isthmus that came with it"
							     : NULL);
			return false;
		}
		bool fresh = k->in.n == 0;
		ssize_t n = admin_inbuf_recv(&k->in, k->fd, ADMIN_REQUEST_MAX);
		if (n == -EAGAIN)
			return true;
		if (n <= 0) {
			admin_conn_free(k);
			return false;
		}
		if (fresh)
			set_timer(k, HALF_FRAME_NS);
	}
}

/* Sends, moves on when all is sent, and asks for the events the state waits for. */
static void conn_step(struct admin_conn *k)
{
	if (!conn_send(k))
		return;
	bool sent = k->out_n == 0;
	if (k->state == CONN_WRITING && sent) {
		if (k->last || k->server->closing) {
			admin_conn_free(k);
			return;
		}
		k->state = CONN_READING;
		set_timer(k, k->in.n ? HALF_FRAME_NS : IDLE_NS);
		/* A pipelined request may be here already. */
		if (k->in.n && !conn_read(k))
			return;
	}
	int events = sent ? 0 : UV_WRITABLE;
	if (k->state == CONN_READING)
		events |= UV_READABLE;
	else
		events |= UV_DISCONNECT;
	if (watch_set(k->watch, events) < 0)
		admin_conn_free(k);
}

static void on_conn(void *arg, int status, int events)
{
	struct admin_conn *k = arg;
	CHECK(k, CONN_MAGIC);
	if (status < 0 || (events & UV_DISCONNECT)) {
		admin_conn_free(k);
		return;
	}
	if (k->state == CONN_READING) {
		if (conn_read(k))
			conn_step(k);
		return;
	}
	conn_step(k);
}
int admin_conn_new(struct admin_server *s, int fd, struct admin_conn **ret)
{
	struct admin_conn *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	int rc = watch_new(&k->watch, s->reactor, fd, on_conn, k);
	if (rc) {
		free(k);
		return rc;
	}
	k->magic = CONN_MAGIC;
	k->server = s;
	k->fd = fd;
	k->timer.fn = on_timer;
	k->timer.arg = k;
	TAILQ_INSERT_TAIL(&s->conns, k, link);
	s->nconns++;
	*ret = k;
	return 0;
}

void admin_conn_serve(struct admin_conn *k)
{
	set_timer(k, IDLE_NS);
	conn_step(k);
}
