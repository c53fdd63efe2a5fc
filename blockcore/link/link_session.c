/*
 * Sessions and the handshake.
 *
 * Each end has a random number for the session it is in or would begin, another one as soon as a
 * session has ended. Both numbers together name a session; every route proves that it belongs to
 * it:
 *
 *   connector                      listener
 *   HELLO session, peer_session ->            who I am, what I have taken of this path
 *                               <- WELCOME    the same, and a random challenge
 *   CONFIRM challenge           ->            I live now, and am the one who says this
 *   (up)                           (up)
 *
 * So a connection of a process that has ended proves nothing (it says nothing back), and a route
 * of an old session is refused by whoever is in another one:
 *
 *   the peer's number is             the connector                the listener, when confirmed
 *   not known here                   begins the session           begins the session
 *   that of this session             adds the route               adds the route
 *   another one                      ends its session, again      ends its session, again
 *
 * A peer that names another session of *this* end is told so (REJECT) and ends its own.
 *
 * The session is up for the users when each path has a route; down() follows its end, and no new
 * session begins before down() has returned.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REFUSED_AGAIN_NS  (60 * NS_PER_S)
#define REFUSED_LATELY_NS (5 * NS_PER_S) /* a peer that is there tries ten times a second */

void link_new_nonce(struct link *l)
{
	do
		l->my_session = env_random_u64(l->o.env);
	while (l->my_session == 0);
}

static void keep_refusal(struct link *l, const char *text)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->refusal, sizeof(l->refusal), "%s", text);
	l->refusal_at = link_now(l);
	pthread_mutex_unlock(&l->lock);
}

bool link_refusal(struct link *l, char *ret, size_t size)
{
	CHECK(l, LINK_MAGIC);
	pthread_mutex_lock(&l->lock);
	bool lately = l->refusal[0] && link_now(l) - l->refusal_at < REFUSED_LATELY_NS;
	snprintf(ret, size, "%s", lately ? l->refusal : "");
	pthread_mutex_unlock(&l->lock);
	return lately;
}

/* An admin has to see it, once: a peer that tries ten times a second must not fill the event log.
 */
void link_refused(struct link *l, unsigned route, const char *text)
{
	struct link_route_state *rs = &l->rs[route];
	uint64_t now = link_now(l);
	char clean[LINK_REFUSAL_MAX];
	snprintf(clean, sizeof(clean), "%s", text);
	for (char *p = clean; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	keep_refusal(l, clean);
	if (rs->refused_at && now - rs->refused_at < REFUSED_AGAIN_NS)
		return;
	rs->refused_at = MAX(now, 1);
	event_write(LOG_L_ERROR, "link.refused", "route %u to controller %s: %s", route, l->peer,
		    clean);
}

/* ---- up and down ---- */

static bool all_paths(const struct link *l)
{
	for (unsigned i = 0; i < LINK_PATHS; i++)
		if (!l->paths[i].active)
			return false;
	return true;
}

bool link_session_settled(const struct link *l)
{
	return !l->in_down && !l->fencing && !l->closing && (l->told == 0 || l->told == l->count) &&
	       (l->told == 0 || l->peer_session);
}

static void upcall_task(void *arg)
{
	struct link *l = arg;
	for (;;) {
		uint64_t now = atomic_load(&l->session);
		if (l->told && l->told != now) {
			l->told = 0;
			l->in_down = true;
			if (l->o.down)
				l->o.down(l->o.arg, l, l->died);
			l->in_down = false;
			continue;
		}
		if (l->told || !now)
			break;
		l->told = now;
		struct link_hello hello = l->peer_hello;
		link_msgs_release(l);
		if (l->o.up)
			l->o.up(l->o.arg, l, &hello);
	}
	l->upcalls = false;
}

static void upcall(struct link *l)
{
	if (l->upcalls)
		return;
	l->upcalls = true;
	if (task_start_on(l->home, upcall_task, l)) {
		l->upcalls = false;
		log_error("link: no memory for a task; trying again");
	}
}

static void on_process_end(void *arg)
{
	struct link *l = arg;
	l->process_over = true;
	waitq_wake_all(&l->fence_wait);
	if (l->peer_session)
		link_session_end(l, true, "its process has ended");
	else
		l->died = true;
}

/* The handle stays after the session: who takes over has to fence. */
static void watch_process(struct link *l, struct link_conn *c)
{
	struct link_process *p = l->o.ops->process(c->pipe);
	if (!p)
		return;
	if (l->process)
		l->o.ops->process_free(l->process);
	l->process = p;
	l->process_over = false;
	l->o.ops->process_watch(p, on_process_end, l);
}

static void session_begin(struct link *l, struct link_conn *c)
{
	l->peer_session = c->their_session;
	l->peer_hello = c->hello;
	l->count++;
	l->died = false;
	if (l->process)
		l->o.ops->process_free(l->process);
	l->process = NULL;
	for (unsigned i = 0; i < LINK_PATHS; i++)
		l->paths[i].heard = link_now(l);
}

void link_session_end(struct link *l, bool died, const char *why)
{
	struct link_conn *c, *next;
	int rc = l->closing ? -ERR_SHUTDOWN : -ERR_DISCONNECTED;
	if (!l->peer_session)
		return;
	bool was_up = atomic_load(&l->session) != 0;
	l->died = died || (l->process && l->o.ops->process_ended(l->process));
	l->peer_session = 0;
	atomic_store(&l->session, 0);
	link_new_nonce(l);
	TAILQ_FOREACH_SAFE (c, &l->conns, link, next) {
		l->paths[c->path].active = NULL;
		if (l->rs[c->route].conn == c) {
			l->rs[c->route].conn = NULL;
			atomic_store(&l->rs[c->route].up, false);
		}
		link_conn_close(c, why);
	}
	for (unsigned i = 0; i < LINK_PATHS; i++)
		link_path_reset(&l->paths[i], rc);
	link_calls_end(l, rc);
	link_msgs_drop_held(l);
	for (unsigned i = 0; i < l->o.nroutes; i++)
		l->rs[i].retry_at = link_now(l) + LINK_AGAIN_NS;
	if (was_up)
		event_write(LOG_L_WARN, "link.down", "the link to controller %s is down: %s",
			    l->peer, why);
	if (l->told)
		upcall(l);
}

/* Up as soon as each path has a route; upcalls that found no memory are made now. */
void link_session_check(struct link *l)
{
	if (l->peer_session && !atomic_load(&l->session) && all_paths(l)) {
		atomic_store(&l->session, l->count);
		keep_refusal(l, "");
		event_write(LOG_L_NOTICE, "link.up", "the link to controller %s is up", l->peer);
	}
	if (l->told != atomic_load(&l->session))
		upcall(l);
}

/* ---- the handshake ---- */

static void refuse(struct link_conn *c, int code, const char *text, bool tell)
{
	uint8_t buf[LINK_HEAD_MAX];
	Isthmus__LinkReject r = ISTHMUS__LINK_REJECT__INIT;
	if (tell)
		link_refused(c->l, c->route, text);
	r.code = code;
	r.text = (char *)text;
	size_t n = isthmus__link_reject__get_packed_size(&r);
	ASSERT(n <= sizeof(buf));
	isthmus__link_reject__pack(&r, buf);
	c->state = LINK_C_LAST;
	link_conn_control(c, LINK_K_REJECT, buf, (uint32_t)n);
	link_conn_flush(c);
	link_conn_close(c, text);
}

static void send_hello(struct link_conn *c, uint8_t kind)
{
	uint8_t buf[LINK_HEAD_MAX];
	Isthmus__LinkHello h;
	link_hello_fill(c->l, c->route, &h);
	h.challenge = c->challenge;
	h.renew = c->renew;
	c->my_session = h.session;
	link_conn_control(c, kind, buf, link_hello_pack(&h, buf));
}

void link_session_hello(struct link_conn *c)
{
	send_hello(c, LINK_K_HELLO);
}

/* The route is proved: it carries from now on. */
static void route_up(struct link_conn *c)
{
	struct link *l = c->l;
	struct link_route_state *rs = &l->rs[c->route];
	struct link_path_state *p = &l->paths[c->path];
	if (rs->conn)
		link_conn_close(rs->conn, "the peer has connected again");
	if (!l->peer_session)
		session_begin(l, c);
	if (link_path_told(p, c->their_received, c->their_credit)) {
		refuse(c, -ERR_PROTO, "its hello tells of messages that were never sent", true);
		return;
	}
	c->state = LINK_C_UP;
	c->up_since = p->heard = link_now(l);
	rs->conn = c;
	rs->refused_at = 0;
	atomic_store(&rs->up, true);
	atomic_store(&rs->heard, c->up_since);
	if (!l->process)
		watch_process(l, c);
	event_write(LOG_L_INFO, "link.route_up", "%s route %u to controller %s is up",
		    c->path == LINK_DATA ? "data" : "control", c->route, l->peer);
	link_path_pick(l, c->path);
	link_session_check(l);
}

/* What a HELLO or WELCOME says. False: the connection is refused. */
static bool take_hello(struct link_conn *c, Isthmus__LinkHello **ret)
{
	char text[256] = "its hello is malformed";
	Isthmus__LinkHello *h = isthmus__link_hello__unpack(NULL, c->f.head_len, c->head);
	int rc = h ? link_hello_check(c->l, c->route, h, text, sizeof(text)) : -ERR_PROTO;
	if (rc) {
		isthmus__link_hello__free_unpacked(h, NULL);
		refuse(c, rc, text, true);
		return false;
	}
	link_hello_take(h, &c->hello);
	c->their_session = h->session;
	c->their_received = h->received;
	c->their_credit = h->credit;
	*ret = h;
	return true;
}

static void on_hello(struct link_conn *c)
{
	struct link *l = c->l;
	Isthmus__LinkHello *h;
	if (!take_hello(c, &h))
		return;
	uint64_t mine = h->peer_session;
	isthmus__link_hello__free_unpacked(h, NULL);
	if (!link_session_settled(l)) {
		link_conn_close(c, "an older session is being ended");
		return;
	}
	if (mine && mine != l->my_session) {
		refuse(c, -ERR_EPOCH_STALE, "of a session that is over", false);
		return;
	}
	c->renew = l->peer_session && l->peer_session != c->their_session;
	c->challenge = env_random_u64(l->o.env);
	c->state = LINK_C_CONFIRM;
	send_hello(c, LINK_K_WELCOME);
}

static void on_confirm(struct link_conn *c)
{
	struct link *l = c->l;
	Isthmus__LinkConfirm *k = isthmus__link_confirm__unpack(NULL, c->f.head_len, c->head);
	bool right = k && k->challenge == c->challenge;
	isthmus__link_confirm__free_unpacked(k, NULL);
	if (!right) {
		refuse(c, -ERR_PROTO, "it does not confirm what it was asked", true);
		return;
	}
	if (c->my_session != l->my_session || !link_session_settled(l)) {
		link_conn_close(c, "the session is over");
		return;
	}
	if (l->peer_session && l->peer_session != c->their_session) {
		link_session_end(
		    l, c->hello.incarnation != l->peer_hello.incarnation && l->process_over,
		    "the peer has begun another session");
		return; /* with all its connections, this one too */
	}
	route_up(c);
}

static void on_welcome(struct link_conn *c)
{
	struct link *l = c->l;
	uint8_t buf[32];
	Isthmus__LinkConfirm k = ISTHMUS__LINK_CONFIRM__INIT;
	Isthmus__LinkHello *h;
	if (!take_hello(c, &h))
		return;
	bool renew = h->renew;
	k.challenge = h->challenge;
	isthmus__link_hello__free_unpacked(h, NULL);
	if (c->my_session != l->my_session || !link_session_settled(l)) {
		link_conn_close(c, "the session is over");
		return;
	}
	if (l->peer_session && l->peer_session != c->their_session) {
		link_session_end(l, false, "the peer has begun another session");
		return;
	}
	size_t n = isthmus__link_confirm__pack(&k, buf);
	link_conn_control(c, LINK_K_CONFIRM, buf, (uint32_t)n);
	if (renew) {
		c->state = LINK_C_LAST;
		link_conn_flush(c);
		return; /* the listener closes it */
	}
	route_up(c);
}

static void on_reject(struct link_conn *c)
{
	Isthmus__LinkReject *r = isthmus__link_reject__unpack(NULL, c->f.head_len, c->head);
	int code = r ? r->code : -ERR_PROTO;
	char text[LINK_REFUSAL_MAX];
	snprintf(text, sizeof(text), "the peer refuses it: %.200s", r ? r->text : "?");
	isthmus__link_reject__free_unpacked(r, NULL);
	if (code == -ERR_EPOCH_STALE && c->state != LINK_C_UP && c->my_session == c->l->my_session)
		link_session_end(c->l, false, "the peer has begun another session");
	else
		link_refused(c->l, c->route, text);
	link_conn_close(c, text);
}

void link_session_frame(struct link_conn *c)
{
	static const struct {
		enum link_conn_state state;
		uint8_t kind;
		void (*fn)(struct link_conn *c);
	} table[] = {
	    {LINK_C_ACCEPTED, LINK_K_HELLO, on_hello},
	    {LINK_C_CONFIRM, LINK_K_CONFIRM, on_confirm},
	    {LINK_C_CONNECTING, LINK_K_WELCOME, on_welcome},
	    {LINK_C_CONNECTING, LINK_K_REJECT, on_reject},
	    {LINK_C_CONFIRM, LINK_K_REJECT, on_reject},
	    {LINK_C_UP, LINK_K_REJECT, on_reject},
	};
	for (unsigned i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].state == c->state && table[i].kind == c->f.kind) {
			table[i].fn(c);
			return;
		}
	refuse(c, -ERR_PROTO, "a message of the handshake out of turn", true);
}
