/*
 * Stackful coroutines on ucontext (first entry) and _setjmp/_longjmp (every
 * switch): swapcontext() would make a system call a switch to save a signal
 * mask that never differs.
 *
 * States of a task: READY (in the ready queue or the remote inbox), RUNNING,
 * PARKED. `wake_token` is the permit that task_wake() leaves; the state word
 * is changed with atomics because wakers may be on other threads:
 *
 *   task_park:  token 1 -> 0 and go on, or state RUNNING -> PARKED and switch out;
 *               after the switch the scheduler looks at the token once more.
 *   task_wake:  token := 1, then PARKED -> READY by whoever wins, who queues it.
 */
#undef _FORTIFY_SOURCE /* its longjmp check takes another stack for an error */
#include "runtime/task.h"
#include "runtime/check.h"
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define TASK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TASK_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TASK_TSAN 1
#endif

#ifdef TASK_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef TASK_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define TASK_MAGIC  0x7461736b
#define SCHED_MAGIC 0x73636864

enum task_state { TASK_READY, TASK_RUNNING, TASK_PARKED, TASK_DONE };

struct task {
	uint32_t magic;
	_Atomic int state;
	_Atomic int wake_token;
	struct sched *sched;
	task_fn *fn;
	void *arg;
	jmp_buf env;
	ucontext_t first;
	bool entered; /* the context exists: later runs reuse it */
	void *map;
	size_t map_size;
	void *stack;
	size_t stack_size;
	void *fake_stack;
#ifdef TASK_TSAN
	void *fiber;
#endif
	STAILQ_ENTRY(task) link;
};
STAILQ_HEAD(task_queue, task);

struct task_start_req {
	task_fn *fn;
	void *arg;
	STAILQ_ENTRY(task_start_req) link;
};
STAILQ_HEAD(start_queue, task_start_req);

struct sched {
	uint32_t magic;
	unsigned max_tasks;
	size_t stack_size;
	void (*notify)(void *);
	void *notify_arg;

	struct task *running;
	struct task_queue ready;
	struct task_queue idle; /* ended tasks with their stacks */
	struct start_queue starts;
	unsigned alive; /* tasks that have a stack and have not ended */
	unsigned waiting_starts;
	jmp_buf env;
	void *fake_stack;
	const void *thread_stack;
	size_t thread_stack_size;
#ifdef TASK_TSAN
	void *thread_fiber;
#endif

	pthread_mutex_t remote_lock;
	struct task_queue remote; /* woken by other threads */
	struct start_queue remote_starts;
	_Atomic int remote_pending;
};

static _Thread_local struct sched *current_sched;

/* Read through a call that is not inlined: a task's frame must not cache another thread's TLS. */
__attribute__((noinline)) struct sched *sched_current(void)
{
	return current_sched;
}

void sched_set_current(struct sched *s)
{
	current_sched = s;
}

struct task *task_self(void)
{
	struct sched *s = sched_current();
	return s ? s->running : NULL;
}

int sched_new(struct sched **ret, unsigned max_tasks, size_t stack_size, void (*notify)(void *),
	      void *notify_arg)
{
	struct sched *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->magic = SCHED_MAGIC;
	s->max_tasks = max_tasks ? max_tasks : 1024;
	s->stack_size = stack_size ? stack_size : TASK_STACK_DEFAULT;
#if defined(TASK_ASAN) || defined(TASK_TSAN)
	s->stack_size *= 4; /* red zones and unoptimized frames */
#endif
	s->notify = notify;
	s->notify_arg = notify_arg;
	STAILQ_INIT(&s->ready);
	STAILQ_INIT(&s->idle);
	STAILQ_INIT(&s->starts);
	STAILQ_INIT(&s->remote);
	STAILQ_INIT(&s->remote_starts);
	pthread_mutex_init(&s->remote_lock, NULL);
	*ret = s;
	return 0;
}

static void task_destroy(struct task *t)
{
#ifdef TASK_TSAN
	if (t->fiber)
		__tsan_destroy_fiber(t->fiber);
#endif
#ifdef TASK_ASAN
	__lsan_unregister_root_region(t->stack, t->stack_size);
#endif
	munmap(t->map, t->map_size);
	free(t);
}

void sched_free(struct sched *s)
{
	CHECK(s, SCHED_MAGIC);
	ASSERT(s->alive == 0 && s->waiting_starts == 0);
	struct task *t;
	while ((t = STAILQ_FIRST(&s->idle))) {
		STAILQ_REMOVE_HEAD(&s->idle, link);
		task_destroy(t);
	}
	pthread_mutex_destroy(&s->remote_lock);
	s->magic = 0;
	free(s);
}

static struct task *task_create(struct sched *s)
{
	struct task *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	t->magic = TASK_MAGIC;
	t->sched = s;
	t->stack_size = ROUND_UP(s->stack_size, page);
	t->map_size = t->stack_size + page;
	t->map = mmap(NULL, t->map_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (t->map == MAP_FAILED) {
		free(t);
		return NULL;
	}
	mprotect(t->map, page, PROT_NONE);
	t->stack = (char *)t->map + page;
#ifdef TASK_ASAN
	/* What only a waiting task knows of is no leak. */
	__lsan_register_root_region(t->stack, t->stack_size);
#endif
#ifdef TASK_TSAN
	t->fiber = __tsan_create_fiber(0);
#endif
	return t;
}

static void switch_to_sched(struct task *t)
{
	struct sched *s = t->sched;
#ifdef TASK_ASAN
	__sanitizer_start_switch_fiber(&t->fake_stack, s->thread_stack, s->thread_stack_size);
#endif
#ifdef TASK_TSAN
	__tsan_switch_to_fiber(s->thread_fiber, 0);
#endif
	if (_setjmp(t->env) == 0)
		_longjmp(s->env, 1);
#ifdef TASK_ASAN
	__sanitizer_finish_switch_fiber(t->fake_stack, &s->thread_stack, &s->thread_stack_size);
#endif
}

static void task_main(unsigned hi, unsigned lo)
{
	struct task *t = (struct task *)(((uintptr_t)hi << 32) | lo);
#ifdef TASK_ASAN
	__sanitizer_finish_switch_fiber(NULL, &t->sched->thread_stack,
					&t->sched->thread_stack_size);
#endif
	for (;;) {
		t->fn(t->arg);
		atomic_store(&t->state, TASK_DONE);
		switch_to_sched(t);
	}
}

static void switch_to_task(struct sched *s, struct task *t)
{
	s->running = t;
	atomic_store(&t->state, TASK_RUNNING);
#ifdef TASK_ASAN
	__sanitizer_start_switch_fiber(&s->fake_stack, t->stack, t->stack_size);
#endif
#ifdef TASK_TSAN
	s->thread_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(t->fiber, 0);
#endif
	if (_setjmp(s->env) == 0) {
		if (t->entered)
			_longjmp(t->env, 1);
		t->entered = true;
		getcontext(&t->first);
		t->first.uc_stack.ss_sp = t->stack;
		t->first.uc_stack.ss_size = t->stack_size;
		t->first.uc_link = NULL;
		uintptr_t p = (uintptr_t)t;
		makecontext(&t->first, (void (*)(void))task_main, 2, (unsigned)(p >> 32),
			    (unsigned)p);
		setcontext(&t->first);
	}
#ifdef TASK_ASAN
	__sanitizer_finish_switch_fiber(s->fake_stack, NULL, NULL);
#endif
	s->running = NULL;
}

/* Gives a start request a stack; false when max_tasks are alive or memory is short. */
static bool start_one(struct sched *s, task_fn *fn, void *arg)
{
	struct task *t = STAILQ_FIRST(&s->idle);
	if (t)
		STAILQ_REMOVE_HEAD(&s->idle, link);
	else if (s->alive >= s->max_tasks || !(t = task_create(s)))
		return false;
	t->fn = fn;
	t->arg = arg;
	atomic_store(&t->wake_token, 0);
	atomic_store(&t->state, TASK_READY);
	s->alive++;
	STAILQ_INSERT_TAIL(&s->ready, t, link);
	return true;
}

static int queue_start(struct start_queue *q, task_fn *fn, void *arg)
{
	struct task_start_req *r = malloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	*r = (struct task_start_req){.fn = fn, .arg = arg};
	STAILQ_INSERT_TAIL(q, r, link);
	return 0;
}

int task_start_on(struct sched *s, task_fn *fn, void *arg)
{
	CHECK(s, SCHED_MAGIC);
	if (s == sched_current()) {
		if (STAILQ_EMPTY(&s->starts) && start_one(s, fn, arg))
			return 0;
		int rc = queue_start(&s->starts, fn, arg);
		if (rc == 0)
			s->waiting_starts++;
		return rc;
	}
	pthread_mutex_lock(&s->remote_lock);
	int rc = queue_start(&s->remote_starts, fn, arg);
	bool first = rc == 0 && !atomic_exchange(&s->remote_pending, 1);
	pthread_mutex_unlock(&s->remote_lock);
	if (first && s->notify)
		s->notify(s->notify_arg);
	return rc;
}

int task_start(task_fn *fn, void *arg)
{
	struct sched *s = sched_current();
	ASSERT(s);
	return task_start_on(s, fn, arg);
}

int task_try_start(task_fn *fn, void *arg)
{
	struct sched *s = sched_current();
	ASSERT(s);
	return STAILQ_EMPTY(&s->starts) && start_one(s, fn, arg) ? 0 : -EAGAIN;
}

static void take_remote(struct sched *s)
{
	if (!atomic_load(&s->remote_pending))
		return;
	struct task_start_req *r;
	pthread_mutex_lock(&s->remote_lock);
	atomic_store(&s->remote_pending, 0);
	STAILQ_CONCAT(&s->ready, &s->remote);
	STAILQ_FOREACH (r, &s->remote_starts, link)
		s->waiting_starts++;
	STAILQ_CONCAT(&s->starts, &s->remote_starts);
	pthread_mutex_unlock(&s->remote_lock);
}

static void take_starts(struct sched *s)
{
	struct task_start_req *r;
	while ((r = STAILQ_FIRST(&s->starts)) && start_one(s, r->fn, r->arg)) {
		STAILQ_REMOVE_HEAD(&s->starts, link);
		s->waiting_starts--;
		free(r);
	}
}

static void run_one(struct sched *s, struct task *t)
{
	CHECK(t, TASK_MAGIC);
	switch_to_task(s, t);
	if (atomic_load(&t->state) == TASK_DONE) {
		s->alive--;
		STAILQ_INSERT_HEAD(&s->idle, t, link);
		return;
	}
	/* It parked. A wake between its look at the token and the switch is seen here. */
	int running = TASK_RUNNING;
	atomic_compare_exchange_strong(&t->state, &running, TASK_PARKED);
	if (atomic_load(&t->wake_token)) {
		int parked = TASK_PARKED;
		if (atomic_compare_exchange_strong(&t->state, &parked, TASK_READY))
			STAILQ_INSERT_TAIL(&s->ready, t, link);
	}
}

unsigned sched_run_some(struct sched *s, unsigned max)
{
	CHECK(s, SCHED_MAGIC);
	ASSERT(!s->running);
	unsigned n = 0;
	while (n < max) {
		take_remote(s);
		take_starts(s);
		struct task *t = STAILQ_FIRST(&s->ready);
		if (!t)
			break;
		STAILQ_REMOVE_HEAD(&s->ready, link);
		run_one(s, t);
		n++;
	}
	return n;
}

unsigned sched_run(struct sched *s)
{
	return sched_run_some(s, UINT_MAX);
}

bool sched_ready(struct sched *s)
{
	/* Starts that wait for a task to end are not work that could be done now. */
	bool can_start = !STAILQ_EMPTY(&s->idle) || s->alive < s->max_tasks;
	return !STAILQ_EMPTY(&s->ready) || (can_start && !STAILQ_EMPTY(&s->starts)) ||
	       atomic_load(&s->remote_pending);
}

unsigned sched_count(struct sched *s)
{
	return s->alive + s->waiting_starts;
}

void task_park(void)
{
	struct task *t = task_self();
	ASSERT(t);
	if (atomic_exchange(&t->wake_token, 0))
		return;
	switch_to_sched(t);
	atomic_store(&t->wake_token, 0);
}

void task_wake(struct task *t)
{
	CHECK(t, TASK_MAGIC);
	struct sched *s = t->sched;
	atomic_store(&t->wake_token, 1);
	int parked = TASK_PARKED;
	if (!atomic_compare_exchange_strong(&t->state, &parked, TASK_READY))
		return;
	if (s == sched_current()) {
		STAILQ_INSERT_TAIL(&s->ready, t, link);
		return;
	}
	pthread_mutex_lock(&s->remote_lock);
	STAILQ_INSERT_TAIL(&s->remote, t, link);
	bool first = !atomic_exchange(&s->remote_pending, 1);
	pthread_mutex_unlock(&s->remote_lock);
	if (first && s->notify)
		s->notify(s->notify_arg);
}

void task_yield(void)
{
	task_wake(task_self());
	struct task *t = task_self();
	switch_to_sched(t);
	atomic_store(&t->wake_token, 0);
}
