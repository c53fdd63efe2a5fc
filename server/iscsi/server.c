/*
 * The target as a whole: portals, accepting, workers, start and stop. The
 * listening sockets are on the first worker's reactor; a new connection goes to
 * the worker that has the fewest.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS_A_TURN	     32
#define PORTAL_GROUP_DEFAULT 1
#define SURPLUS_MAX	     256 /* connections beyond the limit that are told so, or find a place */

/* ---- workers ---- */

static void worker_feed(void *arg)
{
	struct worker *w = arg;
	struct conn *c;
	while (mem_pool_available(w->pool) > 0 && (c = TAILQ_FIRST(&w->starved))) {
		TAILQ_REMOVE(&w->starved, c, starved);
		c->rx.starved = false;
		conn_rx_process(c);
	}
}

static void worker_tick(void *arg)
{
	struct worker *w = arg;
	struct conn *c, *next;
	uint64_t now = uv_now(reactor_loop(w->reactor));
	/* When we were stopped or starved ourselves, what peers said meanwhile lies in the sockets:
	 * it is read before anybody is judged by his silence. */
	bool late = w->tick_ms && now - w->tick_ms >= 2000;
	w->tick_ms = now;
	TAILQ_FOREACH_SAFE (c, &w->conns, link, next)
		if (!late)
			conn_tick(c, now); /* it may be gone now */
	env_timer_start(env_real(), &w->tick, NS_PER_S);
}

static void server_add_parts(struct iscsi_server *s, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	s->busy += n;
	pthread_mutex_unlock(&s->lock);
}

static void server_part_stopped(struct iscsi_server *s)
{
	pthread_mutex_lock(&s->lock);
	if (--s->busy == 0 && s->stopper)
		task_wake(s->stopper);
	pthread_mutex_unlock(&s->lock);
}

/* Deferred: the last thing on this thread that touches the worker. */
static void worker_stopped(void *arg)
{
	struct worker *w = arg;
	if (w->has_stopped)
		return;
	w->has_stopped = true;
	env_timer_stop(env_real(), &w->tick);
	reactor_defer_cancel(w->reactor, &w->feed);
	server_part_stopped(w->server);
}

void worker_conn_gone(struct worker *w)
{
	atomic_fetch_sub(&w->server->nconns, 1);
	if (atomic_fetch_sub(&w->nconns, 1) == 1 && w->stopping && !w->has_stopped)
		reactor_defer(w->reactor, &w->stopped);
}

static void worker_run(void *arg)
{
	struct worker *w = arg;
	w->tick = (struct env_timer){.fn = worker_tick, .arg = w};
	env_timer_start(env_real(), &w->tick, NS_PER_S);
}

static int worker_init(struct iscsi_server *s, struct worker *w, struct reactor *r)
{
	w->server = s;
	w->reactor = r;
	TAILQ_INIT(&w->conns);
	TAILQ_INIT(&w->starved);
	w->feed = (struct deferred){.fn = worker_feed, .arg = w};
	w->stopped = (struct deferred){.fn = worker_stopped, .arg = w};
	w->scratch = malloc(RX_BUF);
	if (!w->scratch)
		return -ENOMEM;
	int err = mem_pool_new(&w->pool, "iscsi tasks", sizeof(struct itask), 64, WORKER_TASKS);
	return err ? err
		   : mem_pool_new(&w->bounces, "iscsi early data", BOUNCE_CHUNK, 4096, BOUNCE_POOL);
}

static void worker_free(struct worker *w)
{
	if (w->pool)
		mem_pool_free(w->pool);
	if (w->bounces)
		mem_pool_free(w->bounces);
	free(w->scratch);
}

/* ---- portals ---- */

/* Counted in server.busy: a worker may have stopped meanwhile, but the server is there. */
struct handover {
	struct worker *worker;
	struct accepted accepted;
	uint8_t received[];
};

static void handover_run(void *arg)
{
	struct handover *h = arg;
	struct iscsi_server *s = h->worker->server;
	conn_adopt(h->worker, &h->accepted);
	free(h);
	server_part_stopped(s);
}

int server_hand_over(struct worker *w, const struct accepted *a)
{
	struct iscsi_server *s = w->server;
	struct handover *h = malloc(sizeof(*h) + a->len);
	if (!h)
		return -ENOMEM;
	h->worker = w;
	h->accepted = *a;
	h->accepted.received = h->received;
	if (a->len)
		memcpy(h->received, a->received, a->len);
	atomic_fetch_add(&s->nconns, 1);
	atomic_fetch_add(&w->nconns, 1);
	atomic_fetch_add(&w->nloose, 1);
	server_add_parts(s, 1);
	if (reactor_post(w->reactor, handover_run, h) == 0)
		return 0;
	atomic_fetch_sub(&s->nconns, 1);
	atomic_fetch_sub(&w->nconns, 1);
	atomic_fetch_sub(&w->nloose, 1);
	server_part_stopped(s);
	free(h);
	return -ENOMEM;
}

/* Where it is least busy; when all places are taken, where one can best be freed. */
static struct worker *choose_worker(struct iscsi_server *s)
{
	bool full = atomic_load(&s->nconns) >= s->max_connections;
	struct worker *best = &s->workers[0];
	for (unsigned i = 1; i < s->nworkers; i++) {
		struct worker *w = &s->workers[i];
		if (full ? atomic_load(&w->nloose) > atomic_load(&best->nloose)
			 : atomic_load(&w->nconns) < atomic_load(&best->nconns))
			best = w;
	}
	return best;
}

static void take_connection(struct listener *l, int fd)
{
	struct iscsi_server *s = l->server;
	unsigned now = atomic_load(&s->nconns);
	if (now >= s->max_connections + SURPLUS_MAX ||
	    server_hand_over(choose_worker(s),
			     &(struct accepted){.fd = fd,
						.group = l->group,
						.surplus = now >= s->max_connections}) < 0)
		close(fd);
}

static void listener_ready(void *arg, int status, int events)
{
	struct listener *l = arg;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take_connection(l, fd);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != EAGAIN)
				log_warn("iscsi: accept failed portal=%s why=\"%s\"", l->name,
					 strerror(errno));
			return;
		}
	}
}

/* "0.0.0.0:3260", "[::]:3260", "host", each perhaps with ",TAG" -> host, port and tag. */
static int split_portal(const char *portal, char *host, size_t size, char port[8], uint16_t *tag)
{
	const char *end, *p = portal, *comma = strchr(portal, ',');
	uint32_t group = PORTAL_GROUP_DEFAULT;
	if (comma && (text_number(comma + 1, &group) < 0 || group > UINT16_MAX))
		return -EINVAL;
	*tag = (uint16_t)group;
	if (*p == '[') {
		end = strchr(++p, ']');
		if (!end)
			return -EINVAL;
	} else {
		end = p + strcspn(p, ":,");
	}
	size_t n = (size_t)(end - p);
	if (n == 0 || n >= size)
		return -EINVAL;
	memcpy(host, p, n);
	host[n] = 0;
	end += *end == ']';
	n = strcspn(end, ",");
	if (n > 0 && (*end != ':' || n == 1 || n > 6))
		return -EINVAL;
	snprintf(port, 8, "%.*s", n ? (int)n - 1 : 4, n ? end + 1 : "3260");
	return 0;
}

static int listener_bind(struct listener *l, const struct addrinfo *ai)
{
	int one = 1;
	socklen_t len = sizeof(l->addr);
	l->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return -errno;
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(l->fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(l->fd, 256) == 0 &&
	    getsockname(l->fd, (struct sockaddr *)&l->addr, &len) == 0) {
		address_format(&l->addr, l->name, sizeof(l->name));
		return 0;
	}
	int rc = -errno;
	close(l->fd);
	l->fd = -1;
	return rc;
}

static int listener_open(struct iscsi_server *s, const char *portal)
{
	struct listener *l = &s->listeners[s->nlisteners];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *ai = NULL;
	char host[128], port[8];
	int rc = s->nlisteners == LISTENERS_MAX
		     ? -ENOSPC
		     : split_portal(portal, host, sizeof(host), port, &l->group);
	if (rc == 0 && getaddrinfo(host, port, &hints, &ai) != 0)
		rc = -EINVAL;
	if (rc == 0)
		rc = listener_bind(l, ai);
	if (ai)
		freeaddrinfo(ai);
	if (rc < 0) {
		log_error("iscsi: cannot listen portal=%s why=\"%s\"", portal, strerror(-rc));
		return rc;
	}
	l->server = s;
	s->nlisteners++;
	return 0;
}

static int far_portal_add(struct iscsi_server *s, const char *portal)
{
	struct far_portal *p = &s->far[s->nfar];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *ai = NULL;
	char host[128], port[8];
	if (s->nfar == LISTENERS_MAX)
		return -ENOSPC;
	int rc = split_portal(portal, host, sizeof(host), port, &p->group);
	if (rc == 0 && getaddrinfo(host, port, &hints, &ai) != 0)
		rc = -EINVAL;
	if (rc < 0) {
		log_error("iscsi: not a portal of the partner portal=%s", portal);
		return rc;
	}
	memcpy(&p->addr, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	address_format(&p->addr, p->name, sizeof(p->name));
	s->nfar++;
	return 0;
}

unsigned iscsi_server_port(const struct iscsi_server *s, unsigned i)
{
	const struct sockaddr_storage *sa = &s->listeners[i].addr;
	return ntohs(sa->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_port
					       : ((const struct sockaddr_in *)sa)->sin_port);
}

/* On the first worker's reactor. */
static void listeners_run(void *arg)
{
	struct iscsi_server *s = arg;
	for (unsigned i = 0; i < s->nlisteners; i++) {
		struct listener *l = &s->listeners[i];
		int rc = watch_new(&l->watch, s->workers[0].reactor, l->fd, listener_ready, l);
		if (rc == 0)
			rc = watch_set(l->watch, UV_READABLE);
		if (rc < 0)
			log_error("iscsi: cannot watch portal=%s why=\"%s\"", l->name,
				  strerror(-rc));
	}
}

/* ---- start and stop ---- */

static void server_free(struct iscsi_server *s)
{
	for (unsigned i = 0; i < s->nlisteners; i++)
		if (s->listeners[i].fd >= 0)
			close(s->listeners[i].fd);
	for (unsigned i = 0; i < s->nworkers; i++)
		worker_free(&s->workers[i]);
	pthread_mutex_destroy(&s->lock);
	free(s->workers);
	free(s);
}

static struct iscsi_server *server_new(const struct iscsi_opts *o)
{
	struct iscsi_server *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->workers = calloc(o->nreactors, sizeof(*s->workers));
	if (!s->workers) {
		free(s);
		return NULL;
	}
	s->registry = o->registry;
	scsi_registry_set_abort(s->registry, conn_abort_other);
	s->max_connections = o->max_connections ? o->max_connections : 1024;
	s->login_timeout_s = o->login_timeout_s ? o->login_timeout_s : 15;
	s->data_timeout_s = o->data_timeout_s ? o->data_timeout_s : 30;
	s->chap_allowed = o->chap_allowed ? o->chap_allowed : CHAP_ALL;
	s->nop_interval_s = o->nop_interval_s ? o->nop_interval_s : 30;
	s->nop_timeout_s = o->nop_timeout_s ? o->nop_timeout_s : 30;
	s->logout_s = o->logout_s ? o->logout_s : 2;
	TAILQ_INIT(&s->sessions);
	waitq_init(&s->gone);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

unsigned iscsi_chap_algorithm(const char *name)
{
	return chap_algorithm_bit(name);
}

static int tell_groups(struct iscsi_server *s)
{
	uint16_t tags[LISTENERS_MAX];
	for (unsigned i = 0; i < s->nlisteners; i++)
		tags[i] = s->listeners[i].group;
	return s->nlisteners ? scsi_registry_set_groups(s->registry, tags, s->nlisteners) : 0;
}

int iscsi_server_start(struct iscsi_server **ret, const struct iscsi_opts *o)
{
	int rc = 0;
	if (o->nreactors == 0)
		return -EINVAL;
	struct iscsi_server *s = server_new(o);
	if (!s)
		return -ENOMEM;
	while (rc == 0 && s->nworkers < o->nreactors) {
		rc = worker_init(s, &s->workers[s->nworkers], o->reactors[s->nworkers]);
		s->nworkers++;
	}
	for (unsigned i = 0; rc == 0 && i < o->nportals; i++)
		rc = listener_open(s, o->portals[i]);
	for (unsigned i = 0; rc == 0 && i < o->npartner_portals; i++)
		rc = far_portal_add(s, o->partner_portals[i]);
	if (rc == 0)
		rc = tell_groups(s);
	if (rc < 0) {
		server_free(s);
		return rc;
	}
	for (unsigned i = 0; i < s->nworkers; i++)
		if (reactor_post(s->workers[i].reactor, worker_run, &s->workers[i]) < 0)
			log_error("iscsi: no memory for timers");
	reactor_post(s->workers[0].reactor, listeners_run, s);
	for (unsigned i = 0; i < s->nlisteners; i++)
		log_info("iscsi: listening portal=%s", s->listeners[i].name);
	*ret = s;
	return 0;
}

static void listeners_stop(void *arg)
{
	struct iscsi_server *s = arg;
	for (unsigned i = 0; i < s->nlisteners; i++)
		watch_free(s->listeners[i].watch);
	server_part_stopped(s);
}

/* Asks everybody to log out; conn_tick() drops who does not. */
static void worker_stop(void *arg)
{
	struct worker *w = arg;
	struct conn *c, *next;
	w->stopping = true;
	TAILQ_FOREACH_SAFE (c, &w->conns, link, next) {
		conn_hold(c);
		bool in = c->state == CONN_LOGGED_IN || c->state == CONN_LOGOUT_REQUESTED;
		if (in && c->session->nexus)
			conn_ask_logout(c, w->server->logout_s);
		else if (in)
			conn_drop(c);
		else
			conn_close(c, "the target stops");
		conn_release(c);
	}
	if (atomic_load(&w->nconns) == 0)
		reactor_defer(w->reactor, &w->stopped);
}

static void stop_part(struct reactor *r, void (*fn)(void *), void *arg)
{
	while (reactor_post(r, fn, arg) < 0)
		env_sleep_ns(env_real(), 10 * NS_PER_MS);
}

static void stop_wait(struct iscsi_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->busy > 0) {
		pthread_mutex_unlock(&s->lock);
		task_park();
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

void iscsi_server_stop(struct iscsi_server *s)
{
	ASSERT(task_self());
	pthread_mutex_lock(&s->lock);
	s->stopper = task_self();
	s->busy++;
	pthread_mutex_unlock(&s->lock);
	stop_part(s->workers[0].reactor, listeners_stop, s);
	stop_wait(s); /* what was accepted before is on its way to its worker */
	server_add_parts(s, s->nworkers);
	for (unsigned i = 0; i < s->nworkers; i++)
		stop_part(s->workers[i].reactor, worker_stop, &s->workers[i]);
	stop_wait(s);
	server_free(s);
}
