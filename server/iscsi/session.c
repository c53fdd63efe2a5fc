/*
 * Sessions: the list of all, handles (TSIH), reinstatement. A session's
 * connection belongs to its worker's thread; the list, to the server's lock.
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

static bool same_port(const struct session *a, const struct session *b)
{
	return !a->discovery && !b->discovery && memcmp(a->isid, b->isid, 6) == 0 &&
	       strcmp(a->initiator, b->initiator) == 0 &&
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

bool session_exists(struct iscsi_server *srv, uint16_t tsih, const uint8_t isid[6])
{
	struct session *o;
	bool found = false;
	pthread_mutex_lock(&srv->lock);
	TAILQ_FOREACH (o, &srv->sessions, link)
		found |= o->tsih == tsih && memcmp(o->isid, isid, 6) == 0;
	pthread_mutex_unlock(&srv->lock);
	return found;
}

/* On the session's own reactor. */
static void session_kill(void *arg)
{
	struct session *s = arg;
	if (s->conn)
		conn_close(s->conn, "session ended by the target");
	session_release(s);
}

static bool session_post_kill(struct session *s)
{
	session_hold(s);
	if (reactor_post(s->worker->reactor, session_kill, s) == 0)
		return true;
	session_release(s);
	return false;
}

/* The target was removed or admits this initiator no longer. Any thread. */
static void session_gone(void *transport)
{
	session_post_kill(transport);
}

/* Waits until no other session is there from this port, then enters this one. With the lock. */
static bool session_enter(struct iscsi_server *srv, struct session *s)
{
	struct session *old;
	uint16_t told = 0; /* by TSIH: memory of an ended one may be another's already */
	struct waiter w;
	while ((old = find_same_port(srv, s))) {
		if (old->tsih != told && !session_post_kill(old))
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
	s->discovery = l->discovery;
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
	s->conn = c;
	c->session = s; /* ended with the connection, whatever happens now */
	pthread_mutex_lock(&srv->lock);
	bool entered = session_enter(srv, s);
	pthread_mutex_unlock(&srv->lock);
	if (!entered)
		return LOGIN_NO_RESOURCES;
	if (s->discovery)
		return LOGIN_SUCCESS;
	if (c->fd < 0 || scsi_nexus_new(&s->nexus, s->target, s->initiator, s->isid) < 0)
		return LOGIN_NO_RESOURCES;
	scsi_nexus_set_transport(s->nexus, s);
	scsi_nexus_set_gone(s->nexus, session_gone);
	return LOGIN_SUCCESS;
}

void session_end(struct session *s)
{
	struct iscsi_server *srv = s->server;
	if (s->nexus)
		scsi_nexus_free(s->nexus);
	s->nexus = NULL;
	if (s->target)
		scsi_target_put(s->target);
	s->target = NULL;
	s->conn = NULL;
	pthread_mutex_lock(&srv->lock);
	if (s->listed)
		TAILQ_REMOVE(&srv->sessions, s, link);
	waitq_wake_all(&srv->gone);
	pthread_mutex_unlock(&srv->lock);
	session_release(s);
}

unsigned session_kill_all(struct iscsi_server *srv, const char *target, const char *initiator,
			  const struct session *but)
{
	struct session *s;
	unsigned n = 0;
	pthread_mutex_lock(&srv->lock);
	TAILQ_FOREACH (s, &srv->sessions, link) {
		if (s == but || (target && strcmp(s->target_name, target) != 0) ||
		    (initiator && strcmp(s->initiator, initiator) != 0))
			continue;
		n += session_post_kill(s);
	}
	pthread_mutex_unlock(&srv->lock);
	return n;
}

unsigned iscsi_server_kick(struct iscsi_server *srv, const char *target, const char *initiator)
{
	return session_kill_all(srv, target, initiator, NULL);
}
