/*
 * The admin protocol's server: a unix socket of one reactor.
 *
 * A connection is in one of these states, and in one only:
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
#include "runtime/admin_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "runtime/task.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SERVER_MAGIC	   0x61647376
#define CONN_MAGIC	   0x6164636e
#define CONNS_MAX	   64
#define CALLS_MAX	   256 /* also those whose client has left */
#define EVENTS_MAX	   1024
#define PROGRESS_QUEUE_MAX (64 * 1024)
#define IDLE_NS		   (60 * NS_PER_S)
#define HALF_FRAME_NS	   (10 * NS_PER_S)
#define SLOW_READER_NS	   (30 * NS_PER_S)

struct verb_row {
	char *name;
	admin_handler *fn;
	void *arg;
};

struct admin_server {
	uint32_t magic;
	struct reactor *reactor;
	int fd;
	struct watch *watch;
	struct sockaddr_un addr;
	bool have_group, closing;
	gid_t group;
	struct verb_row *verbs;
	unsigned nverbs;
	struct verb_row fallback;
	unsigned nconns, ncalls;
	struct waitq calls_ended;
	TAILQ_HEAD(, admin_conn) conns;
	uint64_t started_ns;
};

enum conn_state { CONN_READING, CONN_CALLING, CONN_WRITING };

struct admin_conn {
	uint32_t magic;
	struct admin_server *server;
	int fd;
	struct watch *watch;
	struct env_timer timer;
	enum conn_state state;
	bool last; /* close when all is written */
	struct admin_call *call;
	struct admin_inbuf in;
	uint8_t *out;
	size_t out_n, out_off;
	uid_t uid;
	TAILQ_ENTRY(admin_conn) link;
};

static void conn_step(struct admin_conn *k);
static bool conn_read(struct admin_conn *k);

static void server_put(struct admin_server *s)
{
	if (!s->closing || s->ncalls)
		return;
	for (unsigned i = 0; i < s->nverbs; i++)
		free(s->verbs[i].name);
	free(s->verbs);
	s->magic = 0;
	free(s);
}

/* ---- connections ---- */

static void conn_free(struct admin_conn *k)
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
	conn_free(k);
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
			conn_free(k);
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

static void call_ended(struct admin_server *s)
{
	s->ncalls--;
	waitq_wake_all(&s->calls_ended);
	server_put(s);
}

static int run_handlers(struct admin_server *s, struct admin_call *c)
{
	bool found = false;
	if (s->ncalls > CALLS_MAX)
		return admin_error(c, -EBUSY, "wait until some have ended",
				   "%u requests are under way here", s->ncalls - 1);
	if (s->fallback.fn && c->req->destination[0])
		return s->fallback.fn(c, s->fallback.arg);
	for (unsigned i = 0; i < s->nverbs; i++) {
		if (strcmp(s->verbs[i].name, c->req->verb) != 0)
			continue;
		found = true;
		int rc = s->verbs[i].fn(c, s->verbs[i].arg);
		if (rc < 0)
			return rc;
	}
	if (found)
		return 0;
	if (s->fallback.fn)
		return s->fallback.fn(c, s->fallback.arg);
	return admin_error(c, -EOPNOTSUPP, "see isthmus help",
			   "this daemon does not know the verb `%.64s`", c->req->verb);
}

static void call_reply(struct admin_call *c)
{
	struct admin_conn *k = c->conn;
	k->call = NULL;
	c->conn = NULL;
	k->state = CONN_WRITING;
	int rc = conn_queue_reply(k, c->frame->id, &c->reply);
	if (rc && !conn_queue_error(k, c->frame->id, rc, "the reply is too big",
				    "ask for less, for example for one name"))
		conn_free(k);
	else
		conn_step(k);
}

static void call_task(void *arg)
{
	struct admin_call *c = arg;
	struct admin_server *s = c->server;
	int rc = run_handlers(s, c);
	admin_call_finish(c, rc);
	if (c->conn)
		call_reply(c);
	admin_call_free(c);
	call_ended(s);
}

void admin_call_send_progress(struct admin_call *c, const Isthmus__AdminProgress *p)
{
	struct admin_conn *k = c->conn;
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
		call_ended(s);
		return false;
	}
	return true;
}

/* ---- the connection's turn ---- */

static void conn_refuse(struct admin_conn *k, int code, const char *text, const char *remedy)
{
	k->state = CONN_WRITING;
	k->last = true;
	if (conn_queue_error(k, 0, code, text, remedy))
		conn_step(k);
	else
		conn_free(k);
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
				conn_refuse(k, -ERR_PROTO, "that is not a request", NULL);
			else
				conn_step(k);
			return false;
		}
		if (rc != -EAGAIN) {
			conn_refuse(k, rc,
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
			conn_free(k);
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
			conn_free(k);
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
		conn_free(k);
}

static void on_conn(void *arg, int status, int events)
{
	struct admin_conn *k = arg;
	CHECK(k, CONN_MAGIC);
	if (status < 0 || (events & UV_DISCONNECT)) {
		conn_free(k);
		return;
	}
	if (k->state == CONN_READING) {
		if (conn_read(k))
			conn_step(k);
		return;
	}
	conn_step(k);
}

/* ---- who may ---- */

static bool in_group(uid_t uid, gid_t primary, gid_t wanted)
{
	if (primary == wanted)
		return true;
	struct passwd *pw = getpwuid(uid);
	gid_t groups[256];
	int n = 256;
	if (!pw || getgrouplist(pw->pw_name, primary, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == wanted)
			return true;
	return false;
}

static bool peer_allowed(struct admin_server *s, int fd, uid_t *ret_uid)
{
	struct ucred cr;
	socklen_t len = sizeof(cr);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cr, &len) < 0)
		return false;
	*ret_uid = cr.uid;
	if (cr.uid == 0 || cr.uid == geteuid())
		return true;
	return s->have_group && in_group(cr.uid, cr.gid, s->group);
}

static int conn_new(struct admin_server *s, int fd, struct admin_conn **ret)
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

static void conn_accepted(struct admin_server *s, int fd)
{
	struct admin_conn *k;
	uid_t uid = (uid_t)-1;
	bool allowed = peer_allowed(s, fd, &uid);
	if (s->nconns >= CONNS_MAX || conn_new(s, fd, &k)) {
		log_warn("admin: connection refused uid=%u why=too_many", uid);
		close(fd);
		return;
	}
	k->uid = uid;
	if (!allowed) {
		log_warn("admin: connection refused uid=%u why=not_permitted", uid);
		conn_refuse(k, -EACCES, "you are not permitted to administer this array",
			    "be root, or a member of the group `admin_group` names");
		return;
	}
	set_timer(k, IDLE_NS);
	conn_step(k);
}

static void on_accept(void *arg, int status, int events)
{
	struct admin_server *s = arg;
	for (int i = 0; i < CONNS_MAX; i++) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		conn_accepted(s, fd);
	}
}

/* ---- life ---- */

static int bind_socket(int fd, const struct sockaddr_un *sa)
{
	int other = admin_connect(sa->sun_path);
	if (other >= 0 || other == -EAGAIN) {
		if (other >= 0)
			close(other);
		return -EADDRINUSE;
	}
	struct stat st;
	if (lstat(sa->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(sa->sun_path);
	mode_t old = umask(0177);
	int rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;
	umask(old);
	if (!rc && listen(fd, SOMAXCONN) < 0)
		rc = -errno;
	return rc;
}

/* ---- what every daemon answers ---- */

static int verb_ping(struct admin_call *c, void *arg)
{
	struct admin_server *s = arg;
	admin_table(c, "ping", true);
	admin_row(c);
	admin_put_number(c, "pid", (uint64_t)getpid());
	admin_put_duration(c, "uptime", env_now_ns(env_real()) - s->started_ns);
	return 0;
}

static const char *level_name(uint32_t level)
{
	static const char *const names[] = {"debug", "info", "notice", "warn", "error"};
	return level < ARRAY_LEN(names) ? names[level] : "?";
}

void admin_put_event(struct admin_call *c, const struct event *e)
{
	admin_put_time(c, "time", e->realtime_ns);
	admin_put_text(c, "level", "%s", level_name(e->level));
	admin_put_text(c, "kind", "%.31s", e->kind);
	admin_put_text(c, "text", "%.211s", e->text);
}

static int verb_events(struct admin_call *c, void *arg)
{
	uint64_t count = 50, after = 0;
	int rc = admin_arg_u64(c, "count", &count);
	if (!rc || rc == -ENOENT)
		rc = admin_arg_u64(c, "after", &after);
	if (rc && rc != -ENOENT)
		return rc;
	int n = (int)(count < EVENTS_MAX ? count : EVENTS_MAX);
	struct event *e = calloc(EVENTS_MAX, sizeof(*e));
	if (!e)
		return -ENOMEM;
	n = event_log_read(0, e, n);
	admin_table(c, "events", false);
	for (int i = 0; i < n; i++) {
		if (e[i].realtime_ns <= after)
			continue;
		admin_row(c);
		admin_put_event(c, &e[i]);
	}
	free(e);
	return 0;
}

int admin_server_new(struct admin_server **ret, struct reactor *r, const char *socket_path)
{
	struct admin_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->magic = SERVER_MAGIC;
	s->reactor = r;
	s->started_ns = env_now_ns(env_real());
	TAILQ_INIT(&s->conns);
	waitq_init(&s->calls_ended);
	s->addr.sun_family = AF_UNIX;
	int rc = -ENAMETOOLONG;
	s->fd = -1;
	if (strlen(socket_path) >= sizeof(s->addr.sun_path))
		goto fail;
	strcpy(s->addr.sun_path, socket_path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->fd < 0 ? -errno : bind_socket(s->fd, &s->addr);
	if (rc)
		goto fail;
	rc = admin_register(s, "ping", verb_ping, s);
	rc = rc ?: admin_register(s, "event.list", verb_events, s);
	rc = rc ?: watch_new(&s->watch, r, s->fd, on_accept, s);
	rc = rc ?: watch_set(s->watch, UV_READABLE);
	if (!rc) {
		*ret = s;
		return 0;
	}
	unlink(socket_path);
fail:
	watch_free(s->watch);
	if (s->fd >= 0)
		close(s->fd);
	s->closing = true;
	server_put(s);
	return rc;
}

int admin_server_allow_group(struct admin_server *s, const char *group)
{
	CHECK(s, SERVER_MAGIC);
	if (!group || !group[0])
		return 0;
	struct group *g = getgrnam(group);
	if (!g)
		return -ENOENT;
	if (chown(s->addr.sun_path, (uid_t)-1, g->gr_gid) < 0 || chmod(s->addr.sun_path, 0660) < 0)
		return -errno;
	s->group = g->gr_gid;
	s->have_group = true;
	return 0;
}

static int set_row(struct verb_row *row, const char *verb, admin_handler *h, void *arg)
{
	row->name = strdup(verb);
	row->fn = h;
	row->arg = arg;
	return row->name ? 0 : -ENOMEM;
}

int admin_register(struct admin_server *s, const char *verb, admin_handler *h, void *arg)
{
	CHECK(s, SERVER_MAGIC);
	struct verb_row *p = realloc(s->verbs, (s->nverbs + 1) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->verbs = p;
	int rc = set_row(&p[s->nverbs], verb, h, arg);
	if (!rc)
		s->nverbs++;
	return rc;
}

int admin_register_fallback(struct admin_server *s, admin_handler *h, void *arg)
{
	CHECK(s, SERVER_MAGIC);
	s->fallback = (struct verb_row){.fn = h, .arg = arg};
	return 0;
}

void admin_server_free(struct admin_server *s)
{
	if (!s)
		return;
	CHECK(s, SERVER_MAGIC);
	watch_free(s->watch);
	s->watch = NULL;
	unlink(s->addr.sun_path);
	close(s->fd);
	/* Those that have a call get its reply if they can take it at once. */
	struct admin_conn *k, *next;
	TAILQ_FOREACH_SAFE (k, &s->conns, link, next)
		if (k->state != CONN_CALLING)
			conn_free(k);
	s->ncalls++;
	while (task_self() && s->ncalls > 1)
		waitq_wait(&s->calls_ended);
	while ((k = TAILQ_FIRST(&s->conns)))
		conn_free(k);
	s->closing = true;
	call_ended(s);
}
