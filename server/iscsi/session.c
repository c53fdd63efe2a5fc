/*
 * Sessions: the list of all, handles (TSIH), connections, reinstatement. A session and all its
 * connections belong to one worker's thread, where its first one came: a further one is handed
 * over when its login names the TSIH. The list belongs to the server's lock.
 *
 * A connection that is lost, and not logged out, ends its session: at error recovery level 0
 * nobody will send again what it may have lost (RFC 7143 7.1.5).
 *
 * Reinstatement (RFC 7143 6.3.5): a login without TSIH from an initiator port
 * (name and ISID) that has a session at the same target ends that one first: its
 * connection is closed, its tasks aborted; the new one begins when all that is over.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stdlib.h>
#include <string.h>

struct session *session_hold(struct session *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void session_release(struct session *s)
{
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	free(s);
}

/* RFC 7143 4.4.1: the same I_T nexus: both ports are the same. */
static bool same_port(const struct session *a, const struct session *b)
{
	return !a->discovery && !b->discovery && a->group == b->group &&
	       memcmp(a->isid, b->isid, 6) == 0 && strcmp(a->initiator, b->initiator) == 0 &&
	       strcmp(a->target_name, b->target_name) == 0;
}

static struct session *find_same_port(struct iscsi_server *srv, const struct session *s)
{
	struct session *o;
	TAILQ_FOREACH (o, &srv->sessions, link)
		if (same_port(o, s))
			return o;
	return NULL;
}

static bool tsih_taken(struct iscsi_server *srv, uint16_t tsih)
{
	struct session *o;
	TAILQ_FOREACH (o, &srv->sessions, link)
		if (o->tsih == tsih)
			return true;
	return false;
}

static uint16_t take_tsih(struct iscsi_server *srv)
{
	do {
		srv->last_tsih++;
	} while (srv->last_tsih == 0 || tsih_taken(srv, srv->last_tsih));
	return srv->last_tsih;
}

/* A reference. NULL: there is none. */
static struct session *session_get(struct iscsi_server *srv, uint16_t tsih, const uint8_t isid[6])
{
	struct session *o, *found = NULL;
	pthread_mutex_lock(&srv->lock);
	TAILQ_FOREACH (o, &srv->sessions, link)
		if (o->tsih == tsih && memcmp(o->isid, isid, 6) == 0)
			found = session_hold(o);
	pthread_mutex_unlock(&srv->lock);
	return found;
}

struct worker *session_worker(struct iscsi_server *srv, uint16_t tsih, const uint8_t isid[6])
{
	struct session *s = session_get(srv, tsih, isid);
	struct worker *w = s ? s->worker : NULL;
	if (s)
		session_release(s);
	return w;
}

/* ---- its connections; on its worker's thread ---- */

static void session_add(struct session *s, struct conn *c)
{
	TAILQ_INSERT_TAIL(&s->conns, c, sibling);
	s->nconns++;
	c->session = s;
}

void session_close(struct session *s, const struct conn *but, const char *why)
{
	struct conn *c, *next;
	session_hold(s);
	s->ending = true;
	TAILQ_FOREACH_SAFE (c, &s->conns, sibling, next) /* closing frees that one at most */
		if (c != but)
			conn_close(c, why);
	session_release(s);
}

void session_resume(struct session *s)
{
	reactor_defer(s->worker->reactor, &s->resume);
}

void session_fail(struct session *s)
{
	if (s->ending || s->nconns < 2)
		return;
	s->failed = true;
	session_resume(s);
}

/* RFC 7143 4.2.2.1: on each connection CmdSN grows, so what is behind a command comes after it. */
void session_check_parked(struct session *s)
{
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling)
		if (c->fd >= 0 && !(c->rx.parked && sn_before(s->window.exp, c->rx.parked_sn)))
			return;
	session_fail(s);
}

/* Parked connections look again; which of them has the next command is not known. */
static void session_go_on(void *arg)
{
	struct session *s = arg;
	struct conn *c, *parked[ISCSI_MAX_CONNECTIONS + 1];
	unsigned n = 0;
	if (s->failed) {
		session_close(s, NULL, "another connection of the session was lost");
		return;
	}
	session_hold(s);
	TAILQ_FOREACH (c, &s->conns, sibling)
		if (c->rx.parked && n < ARRAY_LEN(parked))
			parked[n++] = c;
	for (unsigned i = 0; i < n; i++) {
		conn_hold(parked[i]);
		parked[i]->rx.parked = false;
	}
	for (unsigned i = 0; i < n; i++) {
		conn_rx_process(parked[i]);
		conn_release(parked[i]);
	}
	waitq_wake_all(&s->changed);
	session_release(s);
}

struct conn *session_find_cid(const struct session *s, uint16_t cid, const struct conn *but)
{
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling)
		if (c != but && c->cid == cid)
			return c;
	return NULL;
}

struct itask *session_find_task(const struct session *s, uint32_t itt)
{
	struct itask *t = NULL;
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling)
		if ((t = task_find(c, itt)))
			break;
	return t;
}

void session_abort_tasks(struct session *s, const uint8_t *lun, const struct abort_scope *scope)
{
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling)
		task_abort_all(c, lun, scope);
}

void session_end_tasks(struct session *s, const uint8_t lun[8])
{
	struct conn *c, *next;
	TAILQ_FOREACH_SAFE (c, &s->conns, sibling, next)
		task_end_all(c, lun);
}

static struct conn *conn_aborted_left(const struct session *s, const uint8_t lun[8])
{
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling)
		if (task_aborted_left(c, lun))
			return c;
	return NULL;
}

bool session_aborted_left(const struct session *s, const uint8_t lun[8])
{
	return conn_aborted_left(s, lun);
}

void session_wait_aborted(struct session *s, const uint8_t lun[8])
{
	struct conn *c;
	while ((c = conn_aborted_left(s, lun))) {
		conn_hold(c);
		waitq_wait(&c->zombie_wait);
		conn_release(c);
	}
}

void session_wait_zombies(struct session *s)
{
	struct conn *c;
	TAILQ_FOREACH (c, &s->conns, sibling) {
		if (c->zombies == 0)
			continue;
		conn_hold(c);
		while (c->zombies > 0)
			waitq_wait(&c->zombie_wait);
		conn_release(c); /* it may be gone, and others */
		session_wait_zombies(s);
		return;
	}
}

/* ---- their end ---- */

/* These on the session's own reactor. */

/* Another one takes its place: its initiator knows. */
static void session_replace(void *arg)
{
	struct session *s = arg;
	session_close(s, NULL, "replaced by a new session");
	session_release(s);
}

/* With word to the initiator. */
static void session_drop(void *arg)
{
	struct session *s = arg;
	struct conn *c, *next;
	s->ending = true;
	TAILQ_FOREACH_SAFE (c, &s->conns, sibling, next)
		if (c->state == CONN_LOGGED_IN || c->state == CONN_LOGOUT_REQUESTED)
			conn_drop(c);
	session_release(s);
}

static void session_ask_logout(void *arg)
{
	struct session *s = arg;
	struct conn *c, *next;
	TAILQ_FOREACH_SAFE (c, &s->conns, sibling, next)
		conn_ask_logout(c, atomic_load(&s->logout_s));
	session_release(s);
}

static bool session_post(struct session *s, void (*fn)(void *session))
{
	session_hold(s);
	if (reactor_post(s->worker->reactor, fn, s) == 0)
		return true;
	session_release(s);
	return false;
}

/* The target was removed or admits this initiator no longer. Any thread. */
static void session_gone(void *transport)
{
	session_post(transport, session_drop);
}

/* Waits until no other session is there from this port, then enters this one. With the lock. */
static bool session_enter(struct iscsi_server *srv, struct session *s)
{
	struct session *old;
	uint16_t told = 0; /* by TSIH: memory of an ended one may be another's already */
	struct waiter w;
	while ((old = find_same_port(srv, s))) {
		if (old->tsih != told && !session_post(old, session_replace))
			return false;
		told = old->tsih;
		waitq_enter(&srv->gone, &w);
		pthread_mutex_unlock(&srv->lock);
		task_park();
		pthread_mutex_lock(&srv->lock);
		waitq_leave(&srv->gone, &w);
	}
	s->tsih = take_tsih(srv);
	s->listed = true;
	TAILQ_INSERT_TAIL(&srv->sessions, s, link);
	return true;
}

static struct session *session_new(struct conn *c, struct login *l)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->refs = 1;
	s->server = c->worker->server;
	s->worker = c->worker;
	TAILQ_INIT(&s->conns);
	waitq_init(&s->changed);
	s->resume = (struct deferred){.fn = session_go_on, .arg = s};
	s->window = *c->window;
	s->discovery = l->discovery;
	s->group = c->group;
	memcpy(s->isid, l->isid, 6);
	memcpy(s->initiator, l->initiator, sizeof(s->initiator));
	memcpy(s->target_name, l->target_name, sizeof(s->target_name));
	memcpy(s->peer, c->peer, sizeof(s->peer));
	s->keys = l->keys;
	s->target = l->target;
	l->target = NULL;
	s->since_ns = env_realtime_ns(env_real());
	return s;
}

unsigned session_create(struct conn *c, struct login *l)
{
	struct iscsi_server *srv = c->worker->server;
	struct session *s = session_new(c, l);
	if (!s)
		return LOGIN_NO_RESOURCES;
	session_add(s, c); /* ended with the connection, whatever happens now */
	c->window = &s->window;
	pthread_mutex_lock(&srv->lock);
	bool entered = session_enter(srv, s);
	pthread_mutex_unlock(&srv->lock);
	if (!entered)
		return LOGIN_NO_RESOURCES;
	if (s->discovery)
		return LOGIN_SUCCESS;
	if (c->fd < 0 || scsi_nexus_new(&s->nexus, s->target, s->initiator, s->isid, s->group) < 0)
		return LOGIN_NO_RESOURCES;
	scsi_nexus_set_transport(s->nexus, s);
	scsi_nexus_set_gone(s->nexus, session_gone);
	return LOGIN_SUCCESS;
}

/* May this connection be one of the session's? A login_status. */
static unsigned join_check(const struct session *s, const struct conn *c, const struct login *l)
{
	if (s->worker != c->worker || s->ending || s->failed || s->nconns == 0)
		return LOGIN_NO_SESSION;
	if (l->discovery)
		return LOGIN_SESSION_TYPE;
	if (strcmp(s->initiator, l->initiator) != 0 || strcmp(s->target_name, l->target_name) != 0)
		return LOGIN_NO_SESSION;
	if (s->group != c->group) /* RFC 7143 4.2.7.2: a session is within one portal group */
		return LOGIN_CANNOT_INCLUDE;
	if (!session_find_cid(s, l->cid, NULL) && s->nconns >= s->keys.v[KEY_MAX_CONNECTIONS])
		return LOGIN_TOO_MANY_CONNECTIONS;
	return LOGIN_SUCCESS;
}

/* RFC 7143 6.3.4: the login logs the old connection out, whose tasks end without a word. */
static void join_reinstate(struct session *s, struct conn *c, uint16_t cid)
{
	struct conn *old;
	while (c->fd >= 0 && (old = session_find_cid(s, cid, c))) {
		if (old->fd >= 0) {
			if (old->state == CONN_LOGGED_IN || old->state == CONN_LOGOUT_REQUESTED)
				conn_event(old, EV_LOGOUT);
			conn_close(old, "replaced by a new one");
		} else {
			waitq_wait(&s->changed);
		}
	}
	/* What the only connection had not delivered will not come any more. */
	uint32_t cmdsn = c->login_window.exp;
	if (s->nconns == 1 && sn_before(s->window.exp, cmdsn) && !sn_before(s->window.max, cmdsn))
		window_init(&s->window, cmdsn);
}

unsigned session_join(struct conn *c, struct login *l)
{
	struct session *s = session_get(c->worker->server, l->tsih, l->isid);
	if (!s)
		return LOGIN_NO_SESSION;
	unsigned status = join_check(s, c, l);
	if (!status) {
		c->cid = l->cid;
		session_add(s, c);
		c->window = &s->window;
		keys_join(&l->keys, &s->keys);
		join_reinstate(s, c, l->cid);
		if (s->ending || s->failed)
			status = LOGIN_NO_SESSION;
	}
	session_release(s);
	return status;
}

static void session_end(struct session *s)
{
	struct iscsi_server *srv = s->server;
	reactor_defer_cancel(s->worker->reactor, &s->resume);
	if (s->nexus)
		scsi_nexus_free(s->nexus);
	s->nexus = NULL;
	if (s->target)
		scsi_target_put(s->target);
	s->target = NULL;
	pthread_mutex_lock(&srv->lock);
	if (s->listed)
		TAILQ_REMOVE(&srv->sessions, s, link);
	waitq_wake_all(&srv->gone);
	pthread_mutex_unlock(&srv->lock);
	session_release(s);
}

void session_leave(struct conn *c)
{
	struct session *s = c->session;
	TAILQ_REMOVE(&s->conns, c, sibling);
	c->session = NULL;
	s->nconns--;
	waitq_wake_all(&s->changed);
	if (s->nconns == 0)
		session_end(s);
	else
		session_resume(s); /* what was waited for may never come now */
}

/* logout_s: 0 drops at once. */
static unsigned sessions_end(struct iscsi_server *srv, const char *target, const char *initiator,
			     const struct session *but, unsigned logout_s)
{
	struct session *s;
	unsigned n = 0;
	pthread_mutex_lock(&srv->lock);
	TAILQ_FOREACH (s, &srv->sessions, link) {
		if (s == but || (target && strcmp(s->target_name, target) != 0) ||
		    (initiator && strcmp(s->initiator, initiator) != 0))
			continue;
		atomic_store(&s->logout_s, logout_s);
		n += session_post(s, logout_s ? session_ask_logout : session_drop);
	}
	pthread_mutex_unlock(&srv->lock);
	return n;
}

unsigned session_kill_all(struct iscsi_server *srv, const char *target, const char *initiator,
			  const struct session *but)
{
	return sessions_end(srv, target, initiator, but, 0);
}

unsigned iscsi_server_ask_logout(struct iscsi_server *srv, const char *target,
				 const char *initiator, unsigned seconds)
{
	return sessions_end(srv, target, initiator, NULL, seconds);
}

unsigned iscsi_server_kick(struct iscsi_server *srv, const char *target, const char *initiator)
{
	return session_kill_all(srv, target, initiator, NULL);
}
