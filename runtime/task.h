/*
 * Tasks: stackful coroutines, so that code that waits reads top to bottom.
 *
 * A task belongs to one scheduler for life, and a scheduler to one thread.
 * Only sched_run() switches into tasks, and only parking or ending switches
 * out, so code between two waits is atomic towards all other tasks of the same
 * scheduler. task_wake() may be called from any thread.
 *
 * Stacks are pooled, with a guard page below each, and are announced to ASan and TSan.
 */
#ifndef ISTHMUS_RUNTIME_TASK_H
#define ISTHMUS_RUNTIME_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <bsd/sys/queue.h>

struct task;
struct sched;

typedef void task_fn(void *arg);

#define TASK_STACK_DEFAULT (64 * 1024)

/*
 * A scheduler for the calling thread to run.
 * max_tasks: tasks alive at once; starting more queues them in arrival order.
 * notify: called, from any thread, when a task of this scheduler was woken by
 * another thread while its own may be asleep (an eventfd write); may be NULL.
 */
int sched_new(struct sched **ret, unsigned max_tasks, size_t stack_size, void (*notify)(void *),
	      void *notify_arg);
/* All tasks must have ended. */
void sched_free(struct sched *s);

/* Makes `s` the calling thread's scheduler (NULL: none). */
void sched_set_current(struct sched *s);
struct sched *sched_current(void);

/* Runs tasks until none is ready. Returns how many switches were made. */
unsigned sched_run(struct sched *s);
/* The same for at most `max` switches: what is left stays ready. */
unsigned sched_run_some(struct sched *s, unsigned max);
/* True when sched_run() would find something to run. */
bool sched_ready(struct sched *s);
/* Tasks started and not yet ended (queued ones included). */
unsigned sched_count(struct sched *s);

/*
 * Starts fn(arg) as a task of the calling thread's scheduler; it first runs at the next
 * sched_run(). 0 or -ENOMEM. When max_tasks are alive the start is queued (allocates).
 */
int task_start(task_fn *fn, void *arg);
/* The same, but -EAGAIN instead of queueing: for a task that is going to wait for the one it
 * starts, so that parents never hold all stacks while their children queue. Never allocates
 * more than a stack. */
int task_try_start(task_fn *fn, void *arg);
/* The same on another thread's scheduler; callable from anywhere. */
int task_start_on(struct sched *s, task_fn *fn, void *arg);

/* The running task, NULL outside one. */
struct task *task_self(void);

/*
 * Waits until task_wake(). A wake that came since the last park makes it
 * return at once, and wakes may be spurious: always wait in a loop on a condition.
 */
void task_park(void);
void task_wake(struct task *t);
/* Lets every other ready task run first. */
void task_yield(void);

/*
 * A queue of waiting tasks. Not locked: the caller holds whatever guards the
 * condition; tasks of several schedulers may wait in one queue.
 */
struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct task *task;
	bool queued;
};
TAILQ_HEAD(waitq, waiter);

/*
 * waitq_wait() for queues that only one scheduler uses: enters the queue, parks, leaves.
 * With a lock held over the condition: waitq_enter(), unlock, task_park(), lock, waitq_leave().
 */
void waitq_init(struct waitq *q);
void waitq_wait(struct waitq *q);
void waitq_enter(struct waitq *q, struct waiter *w);
void waitq_leave(struct waitq *q, struct waiter *w);
/* Wakes the first waiter (takes it off the queue). True if there was one. */
bool waitq_wake_one(struct waitq *q);
void waitq_wake_all(struct waitq *q);
bool waitq_empty(const struct waitq *q);

/* A mutex for tasks of one scheduler, first come first served. May be held across waits. */
struct task_mutex {
	struct task *owner;
	struct waitq q;
};
void task_mutex_init(struct task_mutex *m);
void task_mutex_lock(struct task_mutex *m);
void task_mutex_unlock(struct task_mutex *m);
bool task_mutex_held(const struct task_mutex *m); /* by the running task */

/* Readers-writer lock for tasks of one scheduler; writers are not starved. */
struct task_rwlock {
	unsigned readers;
	struct task *writer;
	struct waitq q;
	unsigned writers_waiting;
};
void task_rwlock_init(struct task_rwlock *l);
void task_rwlock_rdlock(struct task_rwlock *l);
void task_rwlock_wrlock(struct task_rwlock *l);
void task_rwlock_rdunlock(struct task_rwlock *l);
void task_rwlock_wrunlock(struct task_rwlock *l);

#endif
