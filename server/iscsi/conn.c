/* Connections: life, states, timers (server/iscsi/conn.h). */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONN_MAGIC	     0x6973636f
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_COUNT	     4

/* What a target's connection goes through; T numbers are those of RFC 7143 8.1. */
static const struct {
	enum conn_state from;
	enum conn_event ev;
	enum conn_state to;
} transitions[] = {
    {CONN_XPT_UP, EV_LOGIN_REQUEST, CONN_IN_LOGIN},		   /* T4 */
    {CONN_IN_LOGIN, EV_LOGIN_REQUEST, CONN_IN_LOGIN},		   /* more of the same login */
    {CONN_IN_LOGIN, EV_LOGIN_OK, CONN_LOGGED_IN},		   /* T5 */
    {CONN_XPT_UP, EV_LOST, CONN_FREE},				   /* T6 */
    {CONN_IN_LOGIN, EV_LOGIN_FAILED, CONN_FREE},		   /* T7 */
    {CONN_IN_LOGIN, EV_LOST, CONN_FREE},			   /* T7 */
    {CONN_LOGGED_IN, EV_LOGOUT, CONN_IN_LOGOUT},		   /* T9 */
    {CONN_LOGOUT_REQUESTED, EV_LOGOUT, CONN_IN_LOGOUT},		   /* T10 */
    {CONN_LOGGED_IN, EV_ASK_LOGOUT, CONN_LOGOUT_REQUESTED},	   /* T11 */
    {CONN_LOGOUT_REQUESTED, EV_ASK_LOGOUT, CONN_LOGOUT_REQUESTED}, /* T12 */
    {CONN_IN_LOGOUT, EV_LOST, CONN_FREE},			   /* T13: the response was sent */
    {CONN_LOGGED_IN, EV_LOST, CONN_CLEANUP_WAIT},		   /* T15 */
    {CONN_LOGOUT_REQUESTED, EV_LOST, CONN_CLEANUP_WAIT},	   /* T16 */
    {CONN_CLEANUP_WAIT, EV_CLEANED, CONN_FREE},			   /* 8.2.1 M1 */
    {CONN_FREE, EV_CLEANED, CONN_FREE},
    {CONN_FREE, EV_LOST, CONN_FREE}, /* a refused login's connection closes */
};

void conn_event(struct conn *c, enum conn_event ev)
{
	for (unsigned i = 0; i < ARRAY_LEN(transitions); i++)
		if (transitions[i].from == c->state && transitions[i].ev == ev) {
			c->state = transitions[i].to;
			return;
		}
	ASSERT(!"no such transition");
}

uint64_t conn_now_ms(const struct conn *c)
{
	return uv_now(reactor_loop(c->worker->reactor));
}

bool conn_open(const struct conn *c)
{
	return c->fd >= 0;
}

void address_format(const struct sockaddr_storage *sa, char *ret, size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "?";
	if (sa->ss_family == AF_INET6) {
		const struct sockaddr_in6 *s6 = (const void *)sa;
		if (IN6_IS_ADDR_V4MAPPED(&s6->sin6_addr)) {
			inet_ntop(AF_INET, s6->sin6_addr.s6_addr + 12, ip, sizeof(ip));
			snprintf(ret, size, "%s:%u", ip, ntohs(s6->sin6_port));
			return;
		}
		inet_ntop(AF_INET6, &s6->sin6_addr, ip, sizeof(ip));
		snprintf(ret, size, "[%s]:%u", ip, ntohs(s6->sin6_port));
		return;
	}
	const struct sockaddr_in *s4 = (const void *)sa;
	if (sa->ss_family == AF_INET)
		inet_ntop(AF_INET, &s4->sin_addr, ip, sizeof(ip));
	snprintf(ret, size, "%s:%u", ip, sa->ss_family == AF_INET ? ntohs(s4->sin_port) : 0);
}

void conn_local_address(const struct conn *c, char *ret, size_t size)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	getsockname(c->fd, (struct sockaddr *)&sa, &len);
	address_format(&sa, ret, size);
}

static void conn_peer_address(struct conn *c)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	getpeername(c->fd, (struct sockaddr *)&sa, &len);
	address_format(&sa, c->peer, sizeof(c->peer));
}

/* ---- life ---- */

static void conn_ready(void *arg, int status, int events)
{
	struct conn *c = arg;
	CHECK(c, CONN_MAGIC);
	conn_hold(c);
	if (status < 0) {
		conn_close(c, strerror(-status));
	} else {
		if (events & UV_READABLE)
			conn_rx_readable(c);
		if (events & UV_WRITABLE && c->fd >= 0) {
			c->tx.blocked = false;
			conn_flush(c);
		}
	}
	conn_release(c);
}

void conn_watch(struct conn *c)
{
	if (c->fd < 0)
		return;
	int events = (conn_rx_may_read(c) || c->linger ? UV_READABLE : 0) |
		     (c->tx.blocked ? UV_WRITABLE : 0);
	if (watch_set(c->watch, events) < 0)
		conn_close(c, "cannot watch the socket");
}

static struct conn *conn_new(struct worker *w, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = CONN_MAGIC;
	c->worker = w;
	c->fd = fd;
	c->state = CONN_XPT_UP; /* T3 */
	c->flush = (struct deferred){.fn = conn_flush, .arg = c};
	c->up_ms = c->heard_ms = uv_now(reactor_loop(w->reactor));
	TAILQ_INIT(&c->tasks);
	TAILQ_INIT(&c->txq);
	TAILQ_INIT(&c->tx.sent);
	STAILQ_INIT(&c->tx.ctl_sent);
	STAILQ_INIT(&c->ctls);
	waitq_init(&c->zombie_wait);
	c->window = &c->login_window;
	keys_init(&c->keys);
	c->text.ttt = PDU_NO_TAG;
	c->rx.buf = malloc(RX_BUF);
	c->tx.iov = malloc(TX_IOV * sizeof(*c->tx.iov));
	c->tx.arena = malloc(TX_ARENA);
	if (c->rx.buf && c->tx.iov && c->tx.arena &&
	    watch_new(&c->watch, w->reactor, fd, conn_ready, c) == 0)
		return c;
	free(c->rx.buf);
	free(c->tx.iov);
	free(c->tx.arena);
	free(c);
	return NULL;
}

/*
 * Who only connects keeps nobody out: of those without a normal session, the one goes that has been
 * here longest without a word, else the one that has been here longest. False: there is none.
 */
static bool make_room(struct worker *w)
{
	struct conn *c, *victim = NULL;
	TAILQ_FOREACH (c, &w->conns, link) {
		if (!c->loose || c->fd < 0 || c->login_busy)
			continue;
		if (!victim)
			victim = c;
		if (c->state == CONN_XPT_UP) {
			victim = c;
			break;
		}
	}
	if (victim)
		conn_close(victim, "others need its place");
	return victim != NULL;
}

void conn_settle(struct conn *c)
{
	if (c->loose)
		atomic_fetch_sub(&c->worker->nloose, 1);
	c->loose = false;
}

/* TCP's own keep-alive finds hosts that are gone while a connection may be silent (in login, in
 * discovery); iSCSI's pings are told to live hosts. */
static void set_options(int fd)
{
	static const struct {
		int level, option, value;
	} options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
		       {SOL_SOCKET, SO_KEEPALIVE, 1},
		       {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
		       {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
		       {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT}};
	for (unsigned i = 0; i < ARRAY_LEN(options); i++)
		setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(int));
}

void conn_adopt(struct worker *w, const struct accepted *a)
{
	int fd = a->fd;
	set_options(fd);
	struct conn *c = w->stopping ? NULL : conn_new(w, fd);
	if (!c) {
		close(fd);
		atomic_fetch_sub(&w->nloose, 1);
		worker_conn_gone(w);
		return;
	}
	c->loose = true;
	c->group = a->group;
	c->surplus = a->surplus && !make_room(w);
	watch_allow_try(c->watch);
	TAILQ_INSERT_TAIL(&w->conns, c, link);
	conn_peer_address(c);
	conn_hold(c);
	conn_watch(c);
	if (a->len > 0) {
		ASSERT(a->len <= RX_BUF);
		c->moved = true;
		memcpy(c->rx.buf, a->received, a->len);
		c->rx.tail = a->len;
		conn_rx_process(c);
	}
	conn_release(c);
}

void conn_hold(struct conn *c)
{
	CHECK(c, CONN_MAGIC);
	c->refs++;
}

static void conn_free(struct conn *c)
{
	struct worker *w = c->worker;
	conn_event(c, EV_CLEANED);
	conn_settle(c);
	TAILQ_REMOVE(&w->conns, c, link);
	if (c->session)
		session_leave(c);
	login_free(c->login);
	conn_text_free(c);
	free(c->rx.buf);
	free(c->tx.iov);
	free(c->tx.arena);
	c->magic = 0;
	free(c);
	worker_conn_gone(w);
}

void conn_release(struct conn *c)
{
	CHECK(c, CONN_MAGIC);
	ASSERT(c->refs > 0);
	if (--c->refs == 0 && c->fd < 0 && TAILQ_EMPTY(&c->tasks))
		conn_free(c);
}

/* The socket is closed, but for one that was handed over. */
static void conn_let_go(struct conn *c)
{
	if (c->watch)
		watch_free(c->watch);
	c->watch = NULL;
	if (!c->moved_away)
		close(c->fd);
	c->fd = -1;
}

void conn_move(struct conn *c, struct worker *to)
{
	struct accepted a = {.fd = c->fd,
			     .group = c->group,
			     .surplus = c->surplus,
			     .len = c->rx.tail - c->rx.head,
			     .received = c->rx.buf + c->rx.head};
	watch_free(c->watch); /* before the other thread has the socket */
	c->watch = NULL;
	c->moved_away = !c->worker->stopping && server_hand_over(to, &a) == 0;
	conn_close(c, NULL);
}

void conn_close(struct conn *c, const char *why)
{
	if (c->fd < 0)
		return;
	if (why && c->session && c->state != CONN_IN_LOGOUT)
		log_info("iscsi: connection lost initiator=%s target=%s peer=%s why=\"%s\"",
			 c->session->initiator, c->session->target_name, c->peer, why);
	else if (why)
		log_debug("iscsi: connection closed peer=%s why=\"%s\"", c->peer, why);
	conn_hold(c);
	if (c->session && (c->state == CONN_LOGGED_IN || c->state == CONN_LOGOUT_REQUESTED))
		session_fail(c->session);
	conn_event(c, EV_LOST);
	conn_let_go(c);
	if (c->session)
		waitq_wake_all(&c->session->changed);
	reactor_defer_cancel(c->worker->reactor, &c->flush);
	if (c->rx.starved)
		TAILQ_REMOVE(&c->worker->starved, c, starved);
	c->rx.starved = c->rx.parked = false;
	c->tx.blocked = false;
	conn_tx_drop(c);
	task_abort_all(c, NULL, NULL);
	free(c->rx.mem);
	c->rx.mem = NULL;
	conn_release(c);
}

void conn_close_after_send(struct conn *c)
{
	if (c->fd < 0)
		return;
	if (!c->last_word)
		c->last_word_ms = conn_now_ms(c);
	c->last_word = true;
	conn_flush_soon(c);
	conn_watch(c);
}

void conn_tick(struct conn *c, uint64_t now)
{
	struct iscsi_server *s = c->worker->server;
	if (c->fd < 0)
		return;
	if (c->linger && (c->worker->stopping || now - c->linger_ms > LINGER_S * 1000))
		conn_close(c, NULL);
	else if (c->worker->stopping && c->last_word && now - c->last_word_ms > LINGER_S * 1000)
		conn_close(c, "takes no answers while the target stops");
	else if (c->logout_by_ms && now >= c->logout_by_ms && !c->last_word)
		conn_drop(c);
	else if (c->tx.blocked && now - c->tx.moved_ms > s->data_timeout_s * 1000ull)
		conn_close(c, "takes no answers");
	else if (data_overdue(c, now))
		conn_close(c, "does not send the data of a write");
	else if ((c->state == CONN_XPT_UP || c->state == CONN_IN_LOGIN) &&
		 now - c->up_ms > s->login_timeout_s * 1000ull)
		conn_close(c, "login timed out");
	else if (c->rx.starved && now - c->rx.starved_ms > STALL_LIMIT_S * 1000)
		conn_close(c, "no task became free");
	else if (c->rx.parked && now - c->rx.parked_ms > s->data_timeout_s * 1000ull)
		conn_close(c, "an earlier command did not come");
	else if (c->tmfs_waiting && now - c->tmf_ms > s->data_timeout_s * 1000ull)
		conn_close(c, "commands before a task management request did not come");
	else if (c->session || c->last_word)
		conn_nop_tick(c, now);
}
