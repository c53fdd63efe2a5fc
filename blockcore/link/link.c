/*
 * The interconnect's life: opening, the tick (signs of life, silence, new connections), the pump
 * task (all sending, once a turn), fencing, counters, closing. See blockcore/link/README.md.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_NS (100 * NS_PER_MS)
#define DEAD_NS	     NS_PER_S
#define CLOSE_POLL   NS_PER_MS
#define GO_BACK	     20 /* heartbeats that a better route is up before it is used again */
#define SPARE_MSGS   16 /* the same message may come in over two routes */

/* ---- connections ---- */

static unsigned pending(struct link *l, unsigned route, struct link_conn **ret_oldest)
{
	struct link_conn *c;
	unsigned n = 0;
	TAILQ_FOREACH (c, &l->conns, link)
		if (c->route == route && !c->connector && c->state != LINK_C_UP && n++ == 0)
			*ret_oldest = c;
	return n;
}

static void on_accept(void *arg, struct link_pipe *pipe)
{
	struct link_accept *a = arg;
	struct link_conn *oldest = NULL;
	if (pending(a->l, a->route, &oldest) >= LINK_PENDING)
		link_conn_close(oldest, "others have connected since");
	if (a->l->closing || !link_conn_new(a->l, a->route, pipe, false))
		a->l->o.ops->close(pipe);
}

static bool has_connector(struct link *l, unsigned route)
{
	struct link_conn *c;
	TAILQ_FOREACH (c, &l->conns, link)
		if (c->route == route && c->connector)
			return true;
	return false;
}

static void connect_route(struct link *l, unsigned route, uint64_t now)
{
	struct link_route_state *rs = &l->rs[route];
	struct link_pipe *pipe;
	struct link_conn *c;
	if (rs->conn || now < rs->retry_at || !link_session_settled(l) || has_connector(l, route))
		return;
	rs->retry_at = now + l->o.heartbeat_ns;
	char why[LINK_WHY_MAX] = "";
	int rc =
	    l->o.ops->connect(l->o.ops_arg, &l->routes[route], &l->o.auth, l->peer, &pipe, why);
	if (rc) {
		log_debug("link: cannot connect route=%u error=%s", route, err_name(rc));
		if (why[0])
			link_refused(l, route, why);
		return;
	}
	c = link_conn_new(l, route, pipe, true);
	if (c)
		link_session_hello(c);
	else
		l->o.ops->close(pipe);
}

static void connect_routes(struct link *l)
{
	uint64_t now = link_now(l);
	for (unsigned i = 0; i < l->o.nroutes && !l->listens && !l->closing; i++)
		connect_route(l, i, now);
}

static void listen_routes(struct link *l)
{
	for (unsigned i = 0; i < l->o.nroutes && l->listens && !l->closing; i++) {
		struct link_route_state *rs = &l->rs[i];
		if (rs->listener)
			continue;
		struct link_accept *a = &l->accepts[i];
		*a = (struct link_accept){l, i};
		char why[LINK_WHY_MAX] = "";
		int rc = l->o.ops->listen(l->o.ops_arg, &l->routes[i], &l->o.auth, l->peer,
					  on_accept, a, &rs->listener, why);
		if (!rc)
			continue;
		rs->listener = NULL;
		if (!why[0])
			snprintf(why, sizeof(why),
				 "cannot listen at %.108s: %s; check `local` and who else uses it",
				 l->routes[i].local, err_text(rc));
		link_refused(l, i, why);
	}
}

/* ---- the tick ---- */

static void tick_conn(struct link_conn *c, uint64_t now)
{
	struct link *l = c->l;
	if (c->state != LINK_C_UP) {
		if (now >= c->deadline)
			link_conn_close(c, "its handshake takes too long");
		return;
	}
	if (now - c->heard > MAX(3 * l->o.heartbeat_ns, l->o.dead_ns / 3))
		link_conn_close(c, "it is silent");
	else if (now - c->sent >= l->o.heartbeat_ns)
		link_conn_control(c, LINK_K_BEAT, NULL, 0);
}

/* A better route has been up for a while: the worse one is closed, so what is on its way there goes
 * the way of every failover. */
static void go_back(struct link *l, enum link_path path, uint64_t now)
{
	struct link_conn *active = l->paths[path].active;
	for (unsigned i = 0; active && i < active->route; i++) {
		struct link_conn *c = l->rs[i].conn;
		if (l->routes[i].path == path && c &&
		    now - c->up_since >= GO_BACK * l->o.heartbeat_ns) {
			link_conn_close(active, "a preferred route is up again");
			return;
		}
	}
}

static void check_silence(struct link *l, uint64_t now)
{
	bool up = atomic_load(&l->session) != 0;
	unsigned silent = 0;
	if (!l->peer_session)
		return;
	for (unsigned i = 0; i < LINK_PATHS; i++)
		silent += now - l->paths[i].heard > l->o.dead_ns;
	if (silent == LINK_PATHS || (up && silent > 0))
		link_session_end(l, false, "no route of a path has shown a sign of life");
}

/* Time in which this process did not look (it was stopped, or its thread was busy) is no silence
 * of the peer's. */
static void forgive(struct link *l, uint64_t now, uint64_t late)
{
	struct link_conn *c;
	TAILQ_FOREACH (c, &l->conns, link) {
		c->heard = MIN(c->heard + late, now);
		c->deadline += late;
	}
	for (unsigned i = 0; i < LINK_PATHS; i++)
		l->paths[i].heard = MIN(l->paths[i].heard + late, now);
}

static void on_tick(void *arg)
{
	struct link *l = arg;
	struct link_conn *c, *next;
	uint64_t now = link_now(l), step = l->o.heartbeat_ns / 2;
	if (now > l->tick_at + l->o.heartbeat_ns)
		forgive(l, now, now - l->tick_at);
	TAILQ_FOREACH_SAFE (c, &l->conns, link, next)
		tick_conn(c, now);
	check_silence(l, now);
	for (unsigned i = 0; i < LINK_PATHS; i++)
		go_back(l, (enum link_path)i, now);
	listen_routes(l);
	connect_routes(l);
	link_session_check(l);
	l->tick_at = now + step;
	env_timer_start(l->o.env, &l->tick, step);
}

/* ---- the pump: everything that is to be sent, gathered once a turn ---- */

static void pump_once(struct link *l)
{
	struct link_conn *c, *next;
	link_submitted_run(l);
	connect_routes(l);
	link_session_check(l);
	for (unsigned i = 0; i < LINK_PATHS; i++)
		link_path_flush(l, (enum link_path)i);
	TAILQ_FOREACH_SAFE (c, &l->conns, link, next)
		if (c->ctl_to > 0)
			link_conn_flush(c);
	link_conns_bury(l);
}

static void pump_task(void *arg)
{
	struct link *l = arg;
	l->pump = task_self();
	while (!l->pump_over) {
		pump_once(l);
		task_park();
	}
	link_conns_bury(l);
	l->pump = NULL;
	waitq_wake_all(&l->fence_wait);
}

/* ---- opening ---- */

static void free_all(struct link *l)
{
	link_pool_free(l->pool);
	free(l->msgs);
	pthread_mutex_destroy(&l->lock);
	for (unsigned i = 0; i < l->o.nroutes; i++) {
		free((char *)l->routes[i].local);
		free((char *)l->routes[i].remote);
	}
	free((char *)l->o.auth.psk_file);
	free((char *)l->o.auth.cert_file);
	free((char *)l->o.auth.key_file);
	free((char *)l->o.auth.ca_file);
	l->magic = 0;
	free(l);
}

static char *copy_text(const char *s, bool *failed)
{
	char *c = s ? strdup(s) : NULL;
	*failed |= s && !c;
	return c;
}

/* What the options point to may go away. */
static int copy_opts(struct link *l, const struct link_opts *o)
{
	bool failed = false;
	l->o = *o;
	l->o.heartbeat_ns = o->heartbeat_ns ? o->heartbeat_ns : HEARTBEAT_NS;
	l->o.dead_ns = o->dead_ns ? o->dead_ns : DEAD_NS;
	if (!l->o.ops)
		l->o.ops = &link_socket_ops;
	snprintf(l->self, sizeof(l->self), "%s", o->self);
	snprintf(l->peer, sizeof(l->peer), "%s", o->peer);
	for (unsigned i = 0; i < o->nroutes; i++) {
		l->routes[i] = o->routes[i];
		l->routes[i].local = copy_text(o->routes[i].local, &failed);
		l->routes[i].remote = copy_text(o->routes[i].remote, &failed);
	}
	l->o.auth.psk_file = copy_text(o->auth.psk_file, &failed);
	l->o.auth.cert_file = copy_text(o->auth.cert_file, &failed);
	l->o.auth.key_file = copy_text(o->auth.key_file, &failed);
	l->o.auth.ca_file = copy_text(o->auth.ca_file, &failed);
	return failed ? -ENOMEM : 0;
}

static int make_parts(struct link *l)
{
	unsigned n = LINK_WINDOW_CTL + LINK_WINDOW_DATA + SPARE_MSGS;
	l->msgs = calloc(n, sizeof(*l->msgs));
	int rc = l->msgs ? link_pool_new(&l->pool) : -ENOMEM;
	if (rc)
		return rc;
	TAILQ_INIT(&l->free_msgs);
	TAILQ_INIT(&l->held);
	for (unsigned i = n; i-- > 0;)
		TAILQ_INSERT_HEAD(&l->free_msgs, &l->msgs[i], link);
	for (unsigned i = LINK_CALLS_MAX; i-- > 0;)
		l->free_calls[l->nfree_calls++] = (uint16_t)i;
	for (unsigned i = 0; i < LINK_PATHS; i++)
		link_path_init(l, (enum link_path)i);
	return 0;
}

static int check_opts(const struct link_opts *o)
{
	unsigned n[LINK_PATHS] = {0};
	if (!o->self || !o->peer || strlen(o->self) > 63 || strlen(o->peer) > 63 ||
	    strcmp(o->self, o->peer) == 0 || !o->hello.incarnation || o->nroutes > LINK_ROUTES_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < o->nroutes; i++) {
		if (o->routes[i].path >= LINK_PATHS || !o->routes[i].local || !o->routes[i].remote)
			return -EINVAL;
		n[o->routes[i].path]++;
	}
	return n[LINK_CONTROL] && n[LINK_DATA] ? 0 : -EINVAL;
}

int link_open(struct link **ret, const struct link_opts *o)
{
	int rc = check_opts(o);
	struct link *l = rc ? NULL : calloc(1, sizeof(*l));
	if (!l)
		return rc ? rc : -ENOMEM;
	l->magic = LINK_MAGIC;
	l->home = sched_current();
	ASSERT(l->home);
	pthread_mutex_init(&l->lock, NULL);
	STAILQ_INIT(&l->submitq);
	TAILQ_INIT(&l->conns);
	TAILQ_INIT(&l->graves);
	waitq_init(&l->fence_wait);
	rc = copy_opts(l, o);
	rc = rc ?: make_parts(l);
	rc = rc ?: task_start(pump_task, l);
	if (rc) {
		free_all(l);
		return rc;
	}
	l->listens = strcmp(l->self, l->peer) < 0;
	link_new_nonce(l);
	l->tick = (struct env_timer){.fn = on_tick, .arg = l};
	l->tick_at = link_now(l);
	env_timer_start(l->o.env, &l->tick, 0);
	*ret = l;
	return 0;
}

/* ---- closing ---- */

static void say_bye(struct link *l)
{
	for (unsigned i = 0; i < LINK_PATHS; i++)
		if (l->paths[i].active) {
			link_conn_control(l->paths[i].active, LINK_K_BYE, NULL, 0);
			link_conn_flush(l->paths[i].active);
		}
}

static bool quiet(struct link *l)
{
	return atomic_load(&l->inside) == 0 && l->msgs_out == 0 && !l->upcalls && !l->told &&
	       atomic_load(&l->sends) == 0;
}

void link_close(struct link *l)
{
	struct link_conn *c, *next;
	if (!l)
		return;
	CHECK(l, LINK_MAGIC);
	ASSERT(link_at_home(l) && task_self());
	l->closing = true;
	say_bye(l);
	link_session_end(l, false, "it is being closed here");
	TAILQ_FOREACH_SAFE (c, &l->conns, link, next)
		link_conn_close(c, "it is being closed here");
	while (!quiet(l)) {
		link_kick(l);
		env_sleep_ns(l->o.env, CLOSE_POLL);
	}
	env_timer_stop(l->o.env, &l->tick);
	for (unsigned i = 0; i < l->o.nroutes; i++)
		if (l->rs[i].listener)
			l->o.ops->unlisten(l->rs[i].listener);
	if (l->process)
		l->o.ops->process_free(l->process);
	l->pump_over = true;
	while (l->pump) {
		task_wake(l->pump);
		waitq_wait(&l->fence_wait);
	}
	free_all(l);
}

/* ---- fencing ---- */

struct fence {
	struct link *l;
	struct task *task;
	int rc;
	_Atomic bool done;
};

static int fence_here(struct link *l)
{
	int rc = 0;
	if (!l->process)
		return -EHOSTUNREACH;
	l->fencing++;
	while (!rc && !l->process_over && !l->o.ops->process_ended(l->process)) {
		rc = l->o.ops->process_kill(l->process);
		if (rc == -ESRCH)
			rc = 0;
		if (!rc)
			env_waitq_wait(l->o.env, &l->fence_wait, 10 * NS_PER_MS);
	}
	l->fencing--;
	return rc;
}

static void fence_task(void *arg)
{
	struct fence *f = arg;
	f->rc = fence_here(f->l);
	struct task *t = f->task;
	atomic_store(&f->done, true);
	task_wake(t);
}

int link_fence(struct link *l)
{
	CHECK(l, LINK_MAGIC);
	struct fence f = {.l = l, .task = task_self()};
	ASSERT(f.task);
	atomic_fetch_add(&l->inside, 1);
	int rc = 0;
	if (link_at_home(l)) {
		f.rc = fence_here(l);
	} else if (!(rc = task_start_on(l->home, fence_task, &f))) {
		while (!atomic_load(&f.done))
			task_park();
	}
	atomic_fetch_sub(&l->inside, 1);
	return rc ? rc : f.rc;
}

/* ---- what is known of it ---- */

bool link_is_up(const struct link *l)
{
	return atomic_load(&l->session) != 0;
}

uint64_t link_session(const struct link *l)
{
	return atomic_load(&l->session);
}

unsigned link_routes(const struct link *l)
{
	CHECK(l, LINK_MAGIC);
	return l->o.nroutes;
}

void link_stats(const struct link *l, unsigned route, struct link_route_stats *ret)
{
	CHECK(l, LINK_MAGIC);
	ASSERT(route < l->o.nroutes);
	const struct link_route_state *rs = &l->rs[route];
	uint64_t now = env_now_ns(l->o.env), heard = atomic_load(&rs->heard);
	*ret = (struct link_route_stats){
	    .up = atomic_load(&rs->up),
	    .messages = atomic_load(&rs->messages),
	    .bytes = atomic_load(&rs->bytes),
	    .failovers = atomic_load(&rs->failovers),
	    .resent = atomic_load(&rs->resent),
	    .silent_ns = now > heard ? now - heard : 0,
	};
}

uint64_t link_sent(const struct link *l, enum link_service s)
{
	ASSERT(s < LINK_SVC_MAX);
	return atomic_load(&l->sent_by[s]);
}
