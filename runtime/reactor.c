/*
 * The reactor (runtime/reactor.h): one uv_loop_t with everything of ours run
 * from one uv_prepare handle, which libuv calls after timers and just before it
 * polls. A turn is therefore:
 *
 *   uv: poll, file descriptor callbacks, closing callbacks, timers
 *   prepare: posted calls, finished disk requests, ready tasks, deferred calls
 *            - again while these make more of each other, at most TURN_ROUNDS times -
 *            then one submit of the disk ring
 *
 * When work is left over, an idle handle keeps the next poll from sleeping. When none is, the
 * reactor may look for some before it sleeps (reactor_poll.c), and goes on with what it finds:
 * while work comes soon, most turns are without libuv.
 *
 * Other threads reach a reactor only through one uv_async_t: wakes of its
 * tasks (the scheduler's notify) and reactor_post(). Both signal it once until the
 * reactor has looked.
 */
#include "runtime/reactor_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/mem_pool.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define REACTOR_MAGIC 0x72656163
/* Rounds of one turn, and switches of one round: sockets are never starved by tasks. */
#define TURN_ROUNDS 8
#define TURN_TASKS  512
/* Turns between two of libuv: its timers wait no longer. */
#define BUSY_TURNS 32

struct post {
	void (*fn)(void *);
	void *arg;
	STAILQ_ENTRY(post) link;
};
STAILQ_HEAD(post_queue, post);
TAILQ_HEAD(deferred_queue, deferred);

struct reactor {
	uint32_t magic;
	char name[32];
	int cpu;
	unsigned slot;
	uv_loop_t loop;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t idle;
	uv_async_t async;
	struct sched *sched;
	struct deferred_queue deferred;
	struct reactor_parts parts;
	struct watches watches;
	struct poll_state poll;
	pthread_t thread;
	bool has_thread;
	_Atomic bool stop;

	pthread_mutex_t post_lock;
	struct post_queue posts;
	_Atomic bool posted;
};

static _Thread_local struct reactor *current_reactor;

/* Not inlined: a task's frame must not keep another thread's TLS address. */
__attribute__((noinline)) struct reactor *reactor_current(void)
{
	return current_reactor;
}

__attribute__((noinline)) unsigned reactor_slot(void)
{
	return current_reactor ? current_reactor->slot : 0;
}

uv_loop_t *reactor_loop(struct reactor *r)
{
	return &r->loop;
}

struct sched *reactor_sched(struct reactor *r)
{
	return r->sched;
}

const char *reactor_name(const struct reactor *r)
{
	return r->name;
}

struct watches *reactor_watches(struct reactor *r)
{
	return &r->watches;
}

struct reactor_parts *reactor_parts(struct reactor *r)
{
	return &r->parts;
}

static void reactor_notify(void *arg)
{
	struct reactor *r = arg;
	uv_async_send(&r->async);
}

static void on_async(uv_async_t *async)
{
	/* The wake-up is all it is for: the turn that follows looks everywhere. */
}

static void run_posts(struct reactor *r)
{
	struct post_queue todo = STAILQ_HEAD_INITIALIZER(todo);
	struct post *p;
	if (!atomic_load_explicit(&r->posted, memory_order_acquire))
		return;
	pthread_mutex_lock(&r->post_lock);
	atomic_store(&r->posted, false);
	STAILQ_CONCAT(&todo, &r->posts);
	pthread_mutex_unlock(&r->post_lock);
	while ((p = STAILQ_FIRST(&todo))) {
		STAILQ_REMOVE_HEAD(&todo, link);
		p->fn(p->arg);
		free(p);
	}
}

/* Those asked for by a deferred call itself run in the next round. */
static void run_deferred(struct reactor *r)
{
	struct deferred_queue todo = TAILQ_HEAD_INITIALIZER(todo);
	struct deferred mark = {.queued =
				    true}; /* ends this round, also when calls are cancelled */
	struct deferred *d;
	if (TAILQ_EMPTY(&r->deferred))
		return;
	TAILQ_INSERT_TAIL(&r->deferred, &mark, link);
	while ((d = TAILQ_FIRST(&r->deferred)) != &mark) {
		TAILQ_REMOVE(&r->deferred, d, link);
		d->queued = false;
		d->fn(d->arg);
	}
	TAILQ_REMOVE(&r->deferred, &mark, link);
}

static bool has_work(struct reactor *r)
{
	return sched_ready(r->sched) || !TAILQ_EMPTY(&r->deferred) || atomic_load(&r->posted);
}

/* One turn; true when something is left to do at once. */
static bool run_turn(struct reactor *r)
{
	bool retry = false;
	for (int i = 0; i < TURN_ROUNDS; i++) {
		run_posts(r);
		if (r->parts.uring)
			disk_uring_reap(r->parts.uring);
		sched_run_some(r->sched, TURN_TASKS);
		run_deferred(r);
		if (has_work(r))
			continue;
		/* Requests a kernel completes while it takes them are seen right here. */
		if (!r->parts.uring)
			return false;
		retry = !disk_uring_submit(r->parts.uring);
		if (disk_uring_reap(r->parts.uring) == 0)
			return retry;
	}
	if (r->parts.uring)
		disk_uring_submit(r->parts.uring);
	return true;
}

static void on_idle(uv_idle_t *idle)
{
	/* An active idle handle makes libuv poll without sleeping. */
}

static bool look(void *arg)
{
	struct reactor *r = arg;
	bool came = !watches_try(&r->watches) && watches_look(&r->watches);
	return came || has_work(r) || (r->parts.uring && disk_uring_ready(r->parts.uring));
}

/* Turns without libuv's part, while work comes soon. True: there may be more. */
static bool run_busy(struct reactor *r, bool more)
{
	if (!r->poll.max_ns)
		return more;
	for (int i = 0; i < BUSY_TURNS; i++) {
		if (atomic_load(&r->stop))
			return more;
		if (more ? !look(r) : !poll_look(&r->poll, look, r))
			return more;
		watches_dispatch(&r->watches);
		more = run_turn(r);
	}
	return true;
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct reactor *r = prepare->data;
	bool more = run_busy(r, run_turn(r));
	if (!more && r->parts.uring)
		more = !disk_uring_arm(r->parts.uring);
	if (atomic_load(&r->stop)) {
		uv_stop(&r->loop);
		more = true;
	}
	if (more && !uv_is_active((uv_handle_t *)&r->idle))
		uv_idle_start(&r->idle, on_idle);
	else if (!more && uv_is_active((uv_handle_t *)&r->idle))
		uv_idle_stop(&r->idle);
}

static void on_check(uv_check_t *check)
{
	struct reactor *r = check->data;
	poll_woken(&r->poll);
	if (r->parts.uring)
		disk_uring_disarm(r->parts.uring);
}

static int reactor_init_loop(struct reactor *r)
{
	int rc = uv_loop_init(&r->loop);
	if (rc)
		return rc;
	rc = uv_async_init(&r->loop, &r->async, on_async);
	if (rc == 0 && (rc = watches_init(&r->watches, &r->loop)))
		uv_close((uv_handle_t *)&r->async, NULL);
	if (rc) {
		uv_run(&r->loop, UV_RUN_DEFAULT);
		uv_loop_close(&r->loop);
		return rc;
	}
	uv_prepare_init(&r->loop, &r->prepare);
	uv_check_init(&r->loop, &r->check);
	uv_idle_init(&r->loop, &r->idle);
	r->prepare.data = r->check.data = r->idle.data = r->async.data = r;
	uv_prepare_start(&r->prepare, on_prepare);
	uv_check_start(&r->check, on_check);
	return 0;
}

int reactor_new(struct reactor **ret, const struct reactor_opts *opts)
{
	struct reactor *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->magic = REACTOR_MAGIC;
	strncpy(r->name, opts->name ? opts->name : "reactor", sizeof(r->name) - 1);
	r->cpu = opts->cpu;
	r->poll.env = env_real();
	r->poll.max_ns = opts->poll_us * NS_PER_US;
	r->slot = opts->slot;
	r->parts.uring_refused = opts->no_uring;
	TAILQ_INIT(&r->deferred);
	STAILQ_INIT(&r->posts);
	int rc = sched_new(&r->sched, opts->max_tasks ? opts->max_tasks : 4096, opts->stack_size,
			   reactor_notify, r);
	if (rc) {
		free(r);
		return rc;
	}
	rc = reactor_init_loop(r);
	if (rc) {
		sched_free(r->sched);
		free(r);
		return rc;
	}
	pthread_mutex_init(&r->post_lock, NULL);
	*ret = r;
	return 0;
}

static void close_leftover(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

void reactor_free(struct reactor *r)
{
	if (!r)
		return;
	CHECK(r, REACTOR_MAGIC);
	ASSERT(!r->has_thread && current_reactor != r);
	struct post *p;
	while ((p = STAILQ_FIRST(&r->posts))) {
		STAILQ_REMOVE_HEAD(&r->posts, link);
		free(p);
	}
	disk_uring_free(r->parts.uring);
	timer_heap_free(r->parts.timers);
	/* Handles whose close was asked for get their callbacks; then ours go too. */
	uv_prepare_stop(&r->prepare);
	uv_check_stop(&r->check);
	uv_walk(&r->loop, close_leftover, NULL);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	ASSERT(uv_loop_close(&r->loop) == 0);
	watches_fini(&r->watches);
	if (r->parts.bounce)
		mem_pool_free(r->parts.bounce);
	sched_free(r->sched);
	pthread_mutex_destroy(&r->post_lock);
	r->magic = 0;
	free(r);
}

static void pin_thread(struct reactor *r)
{
	cpu_set_t set;
	if (r->cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)r->cpu % CPU_SETSIZE, &set);
	int rc = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (rc)
		log_warn("reactor: cannot pin name=%s cpu=%d why=%s", r->name, r->cpu,
			 strerror(rc));
}

void reactor_run(struct reactor *r)
{
	CHECK(r, REACTOR_MAGIC);
	ASSERT(!current_reactor);
	current_reactor = r;
	sched_set_current(r->sched);
	pin_thread(r);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	atomic_store(&r->stop, false);
	sched_set_current(NULL);
	current_reactor = NULL;
}

void reactor_stats(const struct reactor *r, struct reactor_stats *ret)
{
	*ret = (struct reactor_stats){.polled_ns = atomic_load(&r->poll.polled_ns),
				      .poll_hits = atomic_load(&r->poll.hits),
				      .sleeps = atomic_load(&r->poll.sleeps)};
}

void reactor_stop(struct reactor *r)
{
	atomic_store(&r->stop, true);
	uv_async_send(&r->async);
}

static void *reactor_thread(void *arg)
{
	struct reactor *r = arg;
	char name[16];
	snprintf(name, sizeof(name), "%.15s", r->name);
	pthread_setname_np(pthread_self(), name);
	reactor_run(r);
	return NULL;
}

int reactor_start_thread(struct reactor *r)
{
	/* Signals meant for the process go to its main thread. */
	static const int ours[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
				   SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE};
	sigset_t block, old;
	ASSERT(!r->has_thread);
	sigemptyset(&block);
	for (unsigned i = 0; i < ARRAY_LEN(ours); i++)
		sigaddset(&block, ours[i]);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	int rc = pthread_create(&r->thread, NULL, reactor_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return -rc;
	r->has_thread = true;
	return 0;
}

void reactor_join(struct reactor *r)
{
	ASSERT(r->has_thread);
	pthread_join(r->thread, NULL);
	r->has_thread = false;
}

int reactor_post(struct reactor *r, void (*fn)(void *), void *arg)
{
	CHECK(r, REACTOR_MAGIC);
	struct post *p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct post){.fn = fn, .arg = arg};
	pthread_mutex_lock(&r->post_lock);
	STAILQ_INSERT_TAIL(&r->posts, p, link);
	bool first = !atomic_exchange(&r->posted, true);
	pthread_mutex_unlock(&r->post_lock);
	if (first && current_reactor != r)
		uv_async_send(&r->async);
	return 0;
}

void reactor_defer(struct reactor *r, struct deferred *d)
{
	if (d->queued)
		return;
	d->queued = true;
	TAILQ_INSERT_TAIL(&r->deferred, d, link);
}

void reactor_defer_cancel(struct reactor *r, struct deferred *d)
{
	if (!d->queued)
		return;
	d->queued = false;
	TAILQ_REMOVE(&r->deferred, d, link);
}
