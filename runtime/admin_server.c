/*
 * The admin protocol's server: a unix socket of one reactor, who may connect to it,
 * the verbs there are, and those every daemon answers. Connections: admin_conn.c.
 */
#include "runtime/admin_server_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER_MAGIC 0x61647376
#define CONNS_MAX    64
#define CALLS_MAX    256 /* also those whose client has left */
#define EVENTS_MAX   1024

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

void admin_call_ended(struct admin_server *s)
{
	s->ncalls--;
	waitq_wake_all(&s->calls_ended);
	server_put(s);
}

int admin_call_run(struct admin_server *s, struct admin_call *c)
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

static void conn_accepted(struct admin_server *s, int fd)
{
	struct admin_conn *k;
	uid_t uid = (uid_t)-1;
	bool allowed = peer_allowed(s, fd, &uid);
	if (s->nconns >= CONNS_MAX || admin_conn_new(s, fd, &k)) {
		log_warn("admin: connection refused uid=%u why=too_many", uid);
		close(fd);
		return;
	}
	k->uid = uid;
	if (!allowed) {
		log_warn("admin: connection refused uid=%u why=not_permitted", uid);
		admin_conn_refuse(k, -EACCES, "you are not permitted to administer this array",
				  "be root, or a member of the group `admin_group` names");
		return;
	}
	admin_conn_serve(k);
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
			admin_conn_free(k);
	s->ncalls++;
	while (task_self() && s->ncalls > 1)
		waitq_wait(&s->calls_ended);
	while ((k = TAILQ_FIRST(&s->conns)))
		admin_conn_free(k);
	s->closing = true;
	admin_call_ended(s);
}
