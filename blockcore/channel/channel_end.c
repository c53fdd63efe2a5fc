/*
 * A head's connection to one controller.
 *
 * One task keeps it:
 *
 *   down --connect, hello, welcome--> greeted --volumes opened, owners told--> up
 *   up --end of file, protocol error--> down, RETRY_NS later again
 *
 *   The channel's end (closing, failed) ends it for good.
 *
 * The segment is mapped at the first welcome and stays: a controller that
 * restarts finds the same file. Should it send another one, pages that are
 * held would not be in its books: then the channel has failed.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_NS   (50 * NS_PER_MS)
#define WELCOME_NS (30 * NS_PER_S)
#define BODY(c)	   ISTHMUS__CHANNEL_MSG__BODY_##c

enum { FD_SEGMENT, FD_CACHE, FD_EVENT_OUT, FD_EVENT_IN };

/* ---- calls ---- */

static void calls_fail(struct channel_end *e, int rc)
{
	struct channel_call *call, *next;
	TAILQ_FOREACH_SAFE (call, &e->calls, link, next) {
		TAILQ_REMOVE(&e->calls, call, link);
		call->rc = rc;
		call->done = true;
		if (call->task)
			task_wake(call->task);
	}
}

static int call_send(struct channel_end *e, struct channel_call *call, Isthmus__ChannelMsg *m)
{
	call->id = m->id = ++e->next_call;
	call->answer = NULL;
	call->done = false;
	call->rc = 0;
	TAILQ_INSERT_TAIL(&e->calls, call, link);
	int rc = channel_sock_send(e->sock, m, NULL, 0);
	if (rc && !call->done) {
		TAILQ_REMOVE(&e->calls, call, link);
		call->done = true;
		call->rc = rc;
	}
	return call->done ? call->rc : 0;
}

/* The answer's body, or the error in it. Frees the answer unless it is returned. */
static int call_result(struct channel_call *call, Isthmus__ChannelMsg__BodyCase want,
		       Isthmus__ChannelMsg **ret)
{
	int rc = call->rc;
	Isthmus__ChannelMsg *m = call->answer;
	if (rc == 0 && m->body_case == BODY(ERROR))
		rc = m->error->code < 0 ? m->error->code : -ERR_PROTO;
	else if (rc == 0 && m->body_case != want)
		rc = -ERR_PROTO;
	if (rc)
		isthmus__channel_msg__free_unpacked(m, NULL);
	else
		*ret = m;
	return rc;
}

int channel_end_call(struct channel_end *e, Isthmus__ChannelMsg *m,
		     Isthmus__ChannelMsg__BodyCase want, Isthmus__ChannelMsg **ret)
{
	struct channel_call call = {.task = task_self()};
	if (!e->up)
		return -ERR_DISCONNECTED;
	call_send(e, &call, m);
	while (!call.done)
		task_park();
	return call_result(&call, want, ret);
}

/* ---- receiving ---- */

/* Only the newest waits: it says all there is to say. */
static void take_config(struct channel_end *e, Isthmus__ChannelMsg *m)
{
	isthmus__channel_msg__free_unpacked(e->config, NULL);
	e->config = m;
	if (!e->up)
		return;
	channel_config_start(e->c);
	/* What the metadata lacked before may be there now. */
	channel_end_ask(e);
}

static void take_answer(struct channel_end *e, Isthmus__ChannelMsg *m)
{
	struct channel_call *call;
	TAILQ_FOREACH (call, &e->calls, link)
		if (call->id == m->id)
			break;
	if (!call) {
		log_debug("channel: message ignored body=%d", (int)m->body_case);
		isthmus__channel_msg__free_unpacked(m, NULL);
		return;
	}
	TAILQ_REMOVE(&e->calls, call, link);
	call->answer = m;
	call->done = true;
	if (call->task)
		task_wake(call->task);
}

/* Receives one message and hands it on. */
static int recv_one(struct channel_end *e)
{
	Isthmus__ChannelMsg *m;
	int rc = channel_sock_recv(e->sock, 0, &m, NULL);
	if (rc)
		return rc;
	switch (m->body_case) {
	case BODY(CONFIG):
		take_config(e, m);
		break;
	case BODY(OWNER):
		channel_route_told(e, m->owner);
		isthmus__channel_msg__free_unpacked(m, NULL);
		break;
	case BODY(OPENED):
		/* Here, in the order of arrival, not when its waiter's turn comes. */
		if (m->opened->owner)
			channel_route_told(e, m->opened->owner);
		take_answer(e, m);
		break;
	default:
		take_answer(e, m);
	}
	return 0;
}

/* ---- connecting ---- */

static int sock_connect(struct channel_end *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (strlen(e->path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, e->path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return channel_sock_new(&e->sock, e->c->r, fd);
}

static int say_hello(struct channel_end *e, Isthmus__ChannelMsg **ret, int *fds)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	m.body_case = BODY(HELLO);
	m.hello = &hello;
	hello.head = e->c->head;
	hello.group = e->c->group;
	hello.instance = e->c->instance;
	hello.epoch = e->c->epoch;
	hello.started_ms = e->c->started_ms;
	hello.addresses = (char **)e->c->opts.addresses;
	hello.n_addresses = e->c->opts.naddresses;
	hello.program = e->c->program;
	int rc = channel_sock_send(e->sock, &m, &e->c->staging_fd, 1);
	if (rc == 0)
		rc = channel_sock_recv(e->sock, WELCOME_NS, ret, fds);
	return rc;
}

static int map_segment(struct channel_end *e, const Isthmus__ChannelWelcome *w, int fd)
{
	struct stat st;
	struct channel_geometry geo = channel_geometry(e->map->npages);
	if (fstat(fd, &st))
		return -errno;
	if (w->channel_size != geo.size || (uint64_t)st.st_size != geo.size)
		return -ERR_VERSION;
	if (e->base) {
		bool same = st.st_dev == e->seg_dev && st.st_ino == e->seg_ino;
		return same ? 0 : -ERR_EPOCH_STALE;
	}
	void *p = mmap(NULL, geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	e->base = p;
	e->geo = geo;
	e->hdr = p;
	e->sq = (struct channel_sqe *)(e->base + geo.sq_off);
	e->cq = (struct channel_cqe *)(e->base + geo.cq_off);
	e->hazards = (_Atomic uint32_t *)(e->base + geo.hazard_off);
	e->touched = (_Atomic uint8_t *)(e->base + geo.touched_off);
	e->seg_dev = st.st_dev;
	e->seg_ino = st.st_ino;
	channel_hit_init(e);
	return 0;
}

/* Takes what the welcome brought: 0 when the rings are there. fds that were kept become -1. */
static int take_welcome(struct channel_end *e, const Isthmus__ChannelWelcome *w, int *fds)
{
	struct channel *c = e->c;
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] < 0)
			return -ERR_PROTO;
	/* Before there is a pool, controllers do not agree on epochs: the first one's counts. */
	if (w->epoch == 0 || (c->epoch && w->epoch != c->epoch))
		return -ERR_PROTO;
	cache_map_put(e->map);
	e->map = NULL;
	int rc = cache_map_new(e, fds[FD_CACHE], w->cache_size, w->incarnation, &e->map);
	if (rc == 0)
		rc = map_segment(e, w, fds[FD_SEGMENT]);
	if (rc)
		return rc;
	c->epoch = w->epoch;
	snprintf(e->controller, sizeof(e->controller), "%s", w->controller);
	int out = fds[FD_EVENT_OUT], in = fds[FD_EVENT_IN];
	fds[FD_EVENT_OUT] = fds[FD_EVENT_IN] = -1;
	return channel_ring_connect(e, out, in);
}

static int greet(struct channel_end *e)
{
	Isthmus__ChannelMsg *m = NULL;
	int fds[CHANNEL_FDS_MAX] = {-1, -1, -1, -1};
	int rc = say_hello(e, &m, fds);
	if (rc == 0 && m->body_case == BODY(ERROR))
		rc = m->error->code < 0 ? m->error->code : -ERR_PROTO;
	else if (rc == 0)
		rc = m->body_case == BODY(WELCOME) ? take_welcome(e, m->welcome, fds) : -ERR_PROTO;
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	isthmus__channel_msg__free_unpacked(m, NULL);
	return rc;
}

/* ---- volumes ---- */

static void init_open(Isthmus__ChannelMsg *m, Isthmus__ChannelOpen *open, uint32_t volume)
{
	isthmus__channel_msg__init(m);
	isthmus__channel_open__init(open);
	m->body_case = BODY(OPEN);
	m->open = open;
	open->volume_id = volume;
}

/* Volumes may have grown since. */
static void take_size(struct channel *c, const Isthmus__ChannelOpened *o)
{
	uint64_t size = ROUND_DOWN(o->size, CACHE_SECTOR);
	struct channel_vol *v;
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->route->volume == o->volume_id && size > v->b.size)
			__atomic_store_n(&v->b.size, size, __ATOMIC_RELAXED);
}

static void open_refused(struct channel_end *e, uint32_t volume, int rc)
{
	struct channel_route *r = channel_route_find(e->c, volume);
	if (!r)
		return;
	memset(&r->said[e->number], 0, sizeof(r->said[0]));
	if (rc == -ENFILE || rc == -ENOMEM || rc == -EBUSY)
		r->said[e->number].ask = true; /* it answers when it has the means */
	else
		r->said[e->number].gone = rc;
	log_warn("channel: volume not opened volume=%u controller=%s why=%s", volume, e->controller,
		 err_name(rc));
	if (e->up)
		channel_route_settle(e->c, r);
}

/* By the connection's own task, while it is not up yet. */
static int reopen_one(struct channel_end *e, uint32_t volume)
{
	Isthmus__ChannelMsg m, *answer;
	Isthmus__ChannelOpen open;
	struct channel_call call = {.task = NULL};
	init_open(&m, &open, volume);
	int rc = call_send(e, &call, &m);
	while (rc == 0 && !call.done)
		rc = recv_one(e);
	if (rc) {
		if (!call.done)
			TAILQ_REMOVE(&e->calls, &call, link);
		isthmus__channel_msg__free_unpacked(call.answer, NULL);
		return rc;
	}
	rc = call_result(&call, BODY(OPENED), &answer);
	if (rc == 0) {
		take_size(e->c, answer->opened);
		isthmus__channel_msg__free_unpacked(answer, NULL);
		return 0;
	}
	if (rc != -ERR_PROTO)
		open_refused(e, volume, rc);
	return rc == -ERR_PROTO ? rc : 0;
}

/* A volume that no word was heard of on this connection. 0: there is none. */
static uint32_t next_unopened(const struct channel_end *e)
{
	struct channel_route *r;
	TAILQ_FOREACH (r, &e->c->routes, link)
		if (!r->said[e->number].open && !r->said[e->number].gone && !r->said[e->number].ask)
			return r->volume;
	return 0;
}

static int reopen_all(struct channel_end *e)
{
	uint32_t volume;
	int rc = 0;
	while (rc == 0 && (volume = next_unopened(e)))
		rc = reopen_one(e, volume);
	return rc;
}

int channel_end_open(struct channel_end *e, struct channel_route *route, uint64_t *ret_size,
		     char *ret_name, size_t name_size)
{
	Isthmus__ChannelMsg m, *answer;
	Isthmus__ChannelOpen open;
	uint64_t serial = e->serial;
	init_open(&m, &open, route->volume);
	int rc = channel_end_call(e, &m, BODY(OPENED), &answer);
	if (rc) {
		if (rc != -ERR_DISCONNECTED && rc != -ERR_PROTO && e->up && serial == e->serial)
			open_refused(e, route->volume, rc);
		return rc;
	}
	*ret_size = ROUND_DOWN(answer->opened->size, CACHE_SECTOR);
	snprintf(ret_name, name_size, "%s", answer->opened->name);
	isthmus__channel_msg__free_unpacked(answer, NULL);
	return 0;
}

void channel_end_tell_closed(struct channel_end *e, uint32_t volume)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelClose close_msg = ISTHMUS__CHANNEL_CLOSE__INIT;
	if (!e->up)
		return; /* the next connection does not open it */
	m.body_case = BODY(CLOSE);
	m.close = &close_msg;
	close_msg.volume_id = volume;
	channel_sock_send(e->sock, &m, NULL, 0);
}

/* ---- asking again ---- */

static struct channel_route *next_asked(struct channel_end *e)
{
	struct channel_route *r;
	TAILQ_FOREACH (r, &e->c->routes, link)
		if (r->said[e->number].ask || r->said[e->number].gone)
			return r;
	return NULL;
}

/* Each once; what is still not there is asked for with the next configuration. */
static bool ask_all(struct channel_end *e)
{
	struct channel_route *r, *next;
	char name[96];
	uint64_t size;
	bool again = false;
	TAILQ_FOREACH_SAFE (r, &e->c->routes, link, next) {
		struct channel_said *s = &r->said[e->number];
		if (!s->ask && !s->gone)
			continue;
		r->users++;
		s->ask = false;
		channel_end_open(e, r, &size, name, sizeof(name));
		again |= r->said[e->number].ask;
		next = TAILQ_NEXT(r, link);
		channel_route_put(e->c, r);
		if (!e->up)
			break; /* the next connection asks for all */
	}
	return again;
}

static void asker_main(void *arg)
{
	struct channel_end *e = arg;
	struct channel *c = e->c;
	while (e->up && ask_all(e) && !channel_refusal(c))
		env_waitq_wait(env_real(), &c->close_q, RETRY_NS);
	e->asker_runs = false;
	waitq_wake_all(&c->close_q);
	channel_unref(c);
}

void channel_end_ask(struct channel_end *e)
{
	if (!e->up || e->asker_runs || !next_asked(e))
		return;
	channel_ref(e->c);
	e->asker_runs = true;
	if (task_start(asker_main, e)) {
		e->asker_runs = false;
		channel_unref(e->c);
		/* Nothing is lost: a new connection asks for all. */
		channel_sock_shutdown(e->sock);
	}
}

/* ---- the connection's task ---- */

static void tell_state(struct channel_end *e, bool up)
{
	if (e->c->opts.state)
		e->c->opts.state(e->c->opts.arg, (int)e->number, up);
}

static int connect_all(struct channel_end *e)
{
	struct channel *c = e->c;
	int rc = sock_connect(e);
	if (rc == 0)
		rc = greet(e);
	if (rc == 0)
		rc = reopen_all(e);
	if (rc == 0)
		rc = channel_refusal(c);
	if (rc)
		return rc;
	e->serial++;
	e->refused = 0;
	if (e->ever_up) {
		e->reconnects++;
		c->stats.reconnects++;
	}
	c->ever_up = e->ever_up = e->up = true;
	log_notice("channel: up head=%s controller=%s epoch=%llu", c->head, e->controller,
		   (unsigned long long)c->epoch);
	channel_route_settle_all(c);
	tell_state(e, true);
	waitq_wake_all(&c->up_q);
	channel_config_start(c);
	channel_end_ask(e);
	return 0;
}

static void disconnect(struct channel_end *e)
{
	bool was_up = e->up;
	e->up = false;
	channel_ring_disconnect(e);
	channel_table_unring(e);
	calls_fail(e, -ERR_DISCONNECTED);
	/* Volumes go on where another has them, before anything here waits. */
	channel_route_forget(e);
	if (e->sock) {
		channel_sock_shutdown(e->sock);
		/* Senders inside come out in this turn. */
		while (channel_sock_busy(e->sock))
			task_yield();
		channel_sock_free(e->sock);
		e->sock = NULL;
	}
	if (was_up) {
		log_notice("channel: down head=%s controller=%s", e->c->head, e->controller);
		tell_state(e, false);
	}
}

/* A refusal ends the channel when nobody says otherwise. */
static void refused(struct channel_end *e, int rc)
{
	struct channel *c = e->c;
	if (rc == -ERR_EPOCH_STALE) {
		channel_fail(c, rc);
		return;
	}
	e->refused = rc == -ERR_VERSION || (rc == -EACCES && !c->ever_up) ? rc : 0;
	for (unsigned i = 0; i < c->nends; i++)
		if (!c->ends[i].refused)
			return;
	channel_fail(c, e->refused);
}

static void end_main(void *arg)
{
	struct channel_end *e = arg;
	struct channel *c = e->c;
	while (!channel_refusal(c)) {
		int rc = connect_all(e);
		while (rc == 0)
			rc = recv_one(e);
		disconnect(e);
		refused(e, rc);
		if (!channel_refusal(c))
			env_waitq_wait(env_real(), &c->close_q, RETRY_NS);
	}
	e->main_runs = false;
	waitq_wake_all(&c->close_q);
	channel_unref(c);
}

/* ---- life ---- */

int channel_end_init(struct channel_end *e, struct channel *c, unsigned number, const char *path)
{
	e->c = c;
	e->number = number;
	e->path = strdup(path);
	TAILQ_INIT(&e->calls);
	channel_ring_init(e);
	return e->path ? 0 : -ENOMEM;
}

int channel_end_start(struct channel_end *e)
{
	channel_ref(e->c);
	e->main_runs = true;
	int rc = task_start(end_main, e);
	if (rc) {
		e->main_runs = false;
		channel_unref(e->c);
	}
	return rc;
}

void channel_end_stop(struct channel_end *e)
{
	e->up = false;
	if (e->sock)
		channel_sock_shutdown(e->sock);
}

void channel_end_free(struct channel_end *e)
{
	channel_ring_disconnect(e);
	cache_map_put(e->map);
	if (e->base)
		munmap(e->base, e->geo.size);
	isthmus__channel_msg__free_unpacked(e->config, NULL);
	free(e->path);
}
