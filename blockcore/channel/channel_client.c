/*
 * A head's channel: its connection, calls and configuration (channel_client.h).
 *
 * One task keeps the connection:
 *
 *   down --connect, hello, welcome--> greeted --volumes opened again, requests
 *   issued again--> up --end of file, protocol error--> down, RETRY_NS later again
 *
 *   closing and failed end it for good; failed is a refusal that no retry mends:
 *   another version, no permission, another instance has taken the name over.
 *
 * The segment is mapped at the first welcome and stays: a controller that
 * restarts finds the same file. Should it send another one, whatever users have
 * in staging memory would be in the wrong place: that is a failure too.
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

void channel_ref(struct channel *c)
{
	c->refs++;
}

void channel_unref(struct channel *c)
{
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	if (--c->refs)
		return;
	channel_ring_free(c);
	cache_map_put(c->map);
	if (c->base)
		munmap(c->base, c->geo.size);
	isthmus__channel_msg__free_unpacked(c->config, NULL);
	free(c->path);
	free(c->head);
	free(c->group);
	c->magic = 0;
	free(c);
}

int channel_refusal(const struct channel *c)
{
	return c->failed ? c->failed : c->closing ? -ERR_SHUTDOWN : 0;
}

static void calls_fail(struct channel *c, int rc)
{
	struct channel_call *call, *next;
	TAILQ_FOREACH_SAFE (call, &c->calls, link, next) {
		TAILQ_REMOVE(&c->calls, call, link);
		call->rc = rc;
		call->done = true;
		if (call->task)
			task_wake(call->task);
	}
}

/* Wakes everything that waits for what will not come. */
static void end_all(struct channel *c, int rc)
{
	c->up = false;
	channel_ring_fail_all(c, rc);
	channel_staging_fail_all(c);
	waitq_wake_all(&c->up_q);
	if (c->sock)
		channel_sock_shutdown(c->sock);
}

void channel_fail(struct channel *c, int rc)
{
	if (c->failed)
		return;
	log_error("channel: ended for good head=%s controller=%s why=%s", c->head, c->controller,
		  err_name(rc));
	c->failed = rc;
	end_all(c, rc);
}

/* ---- calls ---- */

static int call_send(struct channel *c, struct channel_call *call, Isthmus__ChannelMsg *m)
{
	call->id = m->id = ++c->next_call;
	call->answer = NULL;
	call->done = false;
	call->rc = 0;
	TAILQ_INSERT_TAIL(&c->calls, call, link);
	int rc = channel_sock_send(c->sock, m, NULL, 0);
	if (rc && !call->done) {
		TAILQ_REMOVE(&c->calls, call, link);
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

/* Waits. -ERR_DISCONNECTED: no connection, or it ended before the answer. */
static int call_wait(struct channel *c, Isthmus__ChannelMsg *m, Isthmus__ChannelMsg__BodyCase want,
		     Isthmus__ChannelMsg **ret)
{
	struct channel_call call = {.task = task_self()};
	if (!c->up)
		return -ERR_DISCONNECTED;
	call_send(c, &call, m);
	while (!call.done)
		task_park();
	return call_result(&call, want, ret);
}

/* ---- configuration ---- */

static void apply_one(struct channel *c, Isthmus__ChannelMsg *m)
{
	Isthmus__NasConfigApplied *applied = malloc(sizeof(*applied));
	uint64_t serial = c->serial;
	if (!applied)
		return;
	isthmus__nas_config_applied__init(applied);
	c->opts.config(c->opts.arg, m->config, applied);
	applied->seq = m->config->seq;
	/* A connection made since has sent the configuration anew, and gets that one's answer. */
	if (c->up && c->serial == serial) {
		Isthmus__ChannelMsg answer = ISTHMUS__CHANNEL_MSG__INIT;
		answer.body_case = BODY(APPLIED);
		answer.applied = applied;
		channel_sock_send(c->sock, &answer, NULL, 0);
	}
	isthmus__nas_config_applied__free_unpacked(applied, NULL);
}

static void config_main(void *arg)
{
	struct channel *c = arg;
	while (c->config && !channel_refusal(c)) {
		Isthmus__ChannelMsg *m = c->config;
		c->config = NULL;
		apply_one(c, m);
		isthmus__channel_msg__free_unpacked(m, NULL);
	}
	c->config_runs = false;
	waitq_wake_all(&c->close_q);
	channel_unref(c);
}

/* Only the newest waits: it says all there is to say. */
static void take_config(struct channel *c, Isthmus__ChannelMsg *m)
{
	isthmus__channel_msg__free_unpacked(c->config, NULL);
	c->config = m;
}

static void start_config(struct channel *c)
{
	if (!c->config || c->config_runs || !c->opts.config)
		return;
	channel_ref(c);
	c->config_runs = true;
	if (task_start(config_main, c)) {
		c->config_runs = false;
		channel_unref(c);
	}
}

/* ---- the connection ---- */

/* Receives one message and hands it on. */
static int recv_one(struct channel *c)
{
	Isthmus__ChannelMsg *m;
	struct channel_call *call;
	int rc = channel_sock_recv(c->sock, 0, &m, NULL);
	if (rc)
		return rc;
	if (m->body_case == BODY(CONFIG)) {
		take_config(c, m);
		if (c->up)
			start_config(c);
		return 0;
	}
	TAILQ_FOREACH (call, &c->calls, link)
		if (call->id == m->id)
			break;
	if (!call) {
		log_debug("channel: message ignored body=%d", (int)m->body_case);
		isthmus__channel_msg__free_unpacked(m, NULL);
		return 0;
	}
	TAILQ_REMOVE(&c->calls, call, link);
	call->answer = m;
	call->done = true;
	if (call->task)
		task_wake(call->task);
	return 0;
}

static int sock_connect(struct channel *c)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (strlen(c->path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, c->path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return channel_sock_new(&c->sock, c->r, fd);
}

static int say_hello(struct channel *c, Isthmus__ChannelMsg **ret, int *fds)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	m.body_case = BODY(HELLO);
	m.hello = &hello;
	hello.head = c->head;
	hello.group = c->group;
	hello.instance = c->instance;
	int rc = channel_sock_send(c->sock, &m, NULL, 0);
	if (rc == 0)
		rc = channel_sock_recv(c->sock, WELCOME_NS, ret, fds);
	return rc;
}

static int map_segment(struct channel *c, const Isthmus__ChannelWelcome *w, int fd)
{
	struct stat st;
	struct channel_geometry geo = channel_geometry(c->map->npages);
	if (fstat(fd, &st))
		return -errno;
	if (w->channel_size != geo.size || (uint64_t)st.st_size != geo.size)
		return -ERR_VERSION;
	if (c->base) {
		bool same = st.st_dev == c->seg_dev && st.st_ino == c->seg_ino;
		return same && w->epoch == c->epoch ? 0 : -ERR_EPOCH_STALE;
	}
	void *p = mmap(NULL, geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->base = p;
	c->geo = geo;
	c->hdr = p;
	c->sq = (struct channel_sqe *)(c->base + geo.sq_off);
	c->cq = (struct channel_cqe *)(c->base + geo.cq_off);
	c->hazards = (_Atomic uint32_t *)(c->base + geo.hazard_off);
	c->touched = (_Atomic uint8_t *)(c->base + geo.touched_off);
	c->staging = c->base + geo.staging_off;
	c->seg_dev = st.st_dev;
	c->seg_ino = st.st_ino;
	c->epoch = w->epoch;
	channel_staging_init(c);
	channel_hit_init(c);
	return 0;
}

/* Takes what the welcome brought: 0 when the rings are there. fds that were kept become -1. */
static int take_welcome(struct channel *c, const Isthmus__ChannelWelcome *w, int *fds)
{
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] < 0)
			return -ERR_PROTO;
	cache_map_put(c->map);
	c->map = NULL;
	int rc = cache_map_new(&c->map, fds[FD_CACHE], w->cache_size);
	if (rc == 0)
		rc = map_segment(c, w, fds[FD_SEGMENT]);
	if (rc)
		return rc;
	struct channel_vol *v;
	TAILQ_FOREACH (v, &c->vols, link)
		v->b.memory_id = c->map->memory_id;
	snprintf(c->controller, sizeof(c->controller), "%s", w->controller);
	int out = fds[FD_EVENT_OUT], in = fds[FD_EVENT_IN];
	fds[FD_EVENT_OUT] = fds[FD_EVENT_IN] = -1;
	return channel_ring_connect(c, out, in);
}

static int greet(struct channel *c)
{
	Isthmus__ChannelMsg *m = NULL;
	int fds[CHANNEL_FDS_MAX] = {-1, -1, -1, -1};
	int rc = say_hello(c, &m, fds);
	if (rc == 0 && m->body_case == BODY(ERROR))
		rc = m->error->code < 0 ? m->error->code : -ERR_PROTO;
	else if (rc == 0)
		rc = m->body_case == BODY(WELCOME) ? take_welcome(c, m->welcome, fds) : -ERR_PROTO;
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	isthmus__channel_msg__free_unpacked(m, NULL);
	return rc;
}

/* Every volume that is open here is opened at the new connection. */
static int reopen_one(struct channel *c, struct channel_vol *v)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelOpen open = ISTHMUS__CHANNEL_OPEN__INIT;
	struct channel_call call = {.task = NULL};
	uint32_t id = v->id;
	m.body_case = BODY(OPEN);
	m.open = &open;
	open.volume_id = id;
	int rc = call_send(c, &call, &m);
	while (rc == 0 && !call.done)
		rc = recv_one(c);
	if (rc) {
		if (!call.done)
			TAILQ_REMOVE(&c->calls, &call, link);
		isthmus__channel_msg__free_unpacked(call.answer, NULL);
		return rc;
	}
	rc = call_result(&call, BODY(OPENED), &answer);
	if (rc == 0) {
		uint64_t size = ROUND_DOWN(answer->opened->size, CACHE_SECTOR);
		TAILQ_FOREACH (v, &c->vols, link)
			if (v->id == id)
				__atomic_store_n(&v->b.size, size, __ATOMIC_RELAXED);
		isthmus__channel_msg__free_unpacked(answer, NULL);
		return 0;
	}
	/* Gone meanwhile: its requests will be told so one by one. */
	log_warn("channel: volume not opened again volume=%u why=%s", id, err_name(rc));
	return rc == -ERR_PROTO ? rc : 0;
}

static int reopen_all(struct channel *c)
{
	uint32_t ids[CHANNEL_VOLUMES];
	unsigned n = 0;
	struct channel_vol *v;
	/* The list may change while we wait, so its numbers are taken first. */
	TAILQ_FOREACH (v, &c->vols, link)
		if (n < CHANNEL_VOLUMES)
			ids[n++] = v->id;
	for (unsigned i = 0; i < n; i++) {
		TAILQ_FOREACH (v, &c->vols, link)
			if (v->id == ids[i])
				break;
		int rc = v ? reopen_one(c, v) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

static void tell_state(struct channel *c, bool up)
{
	if (c->opts.state)
		c->opts.state(c->opts.arg, up);
}

static int connect_all(struct channel *c)
{
	int rc = sock_connect(c);
	if (rc == 0)
		rc = greet(c);
	if (rc == 0)
		rc = reopen_all(c);
	if (rc == 0)
		rc = channel_refusal(c);
	if (rc)
		return rc;
	c->serial++;
	if (c->ever_up)
		c->stats.reconnects++;
	c->ever_up = c->up = true;
	channel_ring_reissue(c);
	log_notice("channel: up head=%s controller=%s epoch=%llu", c->head, c->controller,
		   (unsigned long long)c->epoch);
	tell_state(c, true);
	waitq_wake_all(&c->up_q);
	start_config(c);
	return 0;
}

static void disconnect(struct channel *c)
{
	bool was_up = c->up;
	c->up = false;
	channel_ring_disconnect(c);
	calls_fail(c, -ERR_DISCONNECTED);
	if (c->sock) {
		channel_sock_shutdown(c->sock);
		/* Senders inside come out in this turn. */
		while (channel_sock_busy(c->sock))
			task_yield();
		channel_sock_free(c->sock);
		c->sock = NULL;
	}
	if (was_up) {
		log_notice("channel: down head=%s controller=%s", c->head, c->controller);
		tell_state(c, false);
	}
}

static void channel_main(void *arg)
{
	struct channel *c = arg;
	while (!channel_refusal(c)) {
		int rc = connect_all(c);
		while (rc == 0)
			rc = recv_one(c);
		disconnect(c);
		if (rc == -ERR_EPOCH_STALE ||
		    (!c->ever_up && (rc == -ERR_VERSION || rc == -EACCES)))
			channel_fail(c, rc);
		if (!channel_refusal(c))
			env_waitq_wait(env_real(), &c->close_q, RETRY_NS);
	}
	if (c->failed)
		tell_state(c, false);
	end_all(c, channel_refusal(c));
	c->main_runs = false;
	waitq_wake_all(&c->close_q);
	channel_unref(c);
}

/* ---- for the head ---- */

static struct channel *channel_new(const struct channel_opts *opts)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = CHANNEL_CLIENT_MAGIC;
	c->r = reactor_current();
	c->opts = *opts;
	c->refs = 1;
	TAILQ_INIT(&c->calls);
	TAILQ_INIT(&c->vols);
	waitq_init(&c->up_q);
	waitq_init(&c->close_q);
	do
		c->instance = env_random_u64(env_real());
	while (c->instance == 0);
	c->path = strdup(opts->path);
	c->head = strdup(opts->head);
	c->group = strdup(opts->group);
	if (channel_ring_new(c) || !c->path || !c->head || !c->group) {
		channel_unref(c);
		return NULL;
	}
	return c;
}

int channel_open(struct channel **ret, const struct channel_opts *opts)
{
	ASSERT(reactor_current() && task_self());
	if (!channel_name_valid(opts->head) || !channel_name_valid(opts->group))
		return -EINVAL;
	struct channel *c = channel_new(opts);
	if (!c)
		return -ENOMEM;
	channel_ref(c);
	if (task_start(channel_main, c)) {
		channel_unref(c);
		channel_unref(c);
		return -ENOMEM;
	}
	c->main_runs = true;
	*ret = c;
	channel_ref(c);
	while (!c->ever_up && !channel_refusal(c))
		waitq_wait(&c->up_q);
	int rc = c->ever_up ? 0 : channel_refusal(c);
	if (rc && rc != -ERR_SHUTDOWN) {
		*ret = NULL;
		channel_unref(c);
	}
	channel_unref(c);
	return rc;
}

void channel_close(struct channel *c)
{
	if (!c)
		return;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	c->closing = true;
	end_all(c, channel_refusal(c));
	waitq_wake_all(&c->close_q);
	while (c->main_runs || c->config_runs)
		waitq_wait(&c->close_q);
	/* Nothing is held: the controller need not wait for this process to end. */
	if (c->hdr && c->slots_used == 0)
		atomic_store(&c->hdr->left, 1);
	channel_unref(c);
}

bool channel_up(const struct channel *c)
{
	return c->up;
}

bool channel_fenced(const struct channel *c)
{
	return c->failed == -ERR_EPOCH_STALE || (c->hdr && atomic_load(&c->hdr->fence) != c->epoch);
}

uint64_t channel_epoch(const struct channel *c)
{
	return c->epoch;
}

const char *channel_controller(const struct channel *c)
{
	return c->controller;
}

void channel_stats(const struct channel *c, struct channel_stats *ret)
{
	*ret = c->stats;
}

/* Waits until the channel is up. */
static int wait_up(struct channel *c)
{
	int rc;
	while ((rc = channel_refusal(c)) == 0 && !c->up)
		waitq_wait(&c->up_q);
	return rc;
}

static int open_once(struct channel *c, uint32_t id, struct bdev **ret)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelOpen open = ISTHMUS__CHANNEL_OPEN__INIT;
	struct channel_vol *v;
	uint64_t serial = c->serial;
	m.body_case = BODY(OPEN);
	m.open = &open;
	open.volume_id = id;
	int rc = call_wait(c, &m, BODY(OPENED), &answer);
	if (rc)
		return rc;
	/* A connection made since does not know that the volume is open. */
	rc = serial == c->serial && c->up ? channel_vol_new(c, answer->opened, &v)
					  : -ERR_DISCONNECTED;
	isthmus__channel_msg__free_unpacked(answer, NULL);
	if (rc == 0)
		*ret = &v->b;
	return rc;
}

int channel_volume_open(struct channel *c, uint32_t volume_id, struct bdev **ret)
{
	int rc;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	channel_ref(c);
	do {
		rc = wait_up(c);
		if (rc == 0)
			rc = open_once(c, volume_id, ret);
	} while (rc == -ERR_DISCONNECTED);
	channel_unref(c);
	return rc;
}

void channel_volume_closed(struct channel *c, uint32_t id)
{
	struct channel_vol *v;
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelClose close_msg = ISTHMUS__CHANNEL_CLOSE__INIT;
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->id == id)
			return; /* opened twice, and still used */
	if (!c->up)
		return; /* the next connection does not open it */
	m.body_case = BODY(CLOSE);
	m.close = &close_msg;
	close_msg.volume_id = id;
	channel_sock_send(c->sock, &m, NULL, 0);
}

int channel_backup(struct channel *c, const char *group, bool all, Isthmus__ChannelBackedUp *ret)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelBackup order = ISTHMUS__CHANNEL_BACKUP__INIT;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	m.body_case = BODY(BACKUP);
	m.backup = &order;
	order.all_groups = all;
	order.group = (char *)(group ? group : "");
	channel_ref(c);
	int rc = wait_up(c);
	if (rc == 0)
		rc = call_wait(c, &m, BODY(BACKED_UP), &answer);
	if (rc == 0) {
		/* The text goes with the message; the caller owns what it got. */
		*ret = *answer->backed_up;
		answer->backed_up->text = NULL;
		isthmus__channel_msg__free_unpacked(answer, NULL);
	}
	channel_unref(c);
	return rc;
}
