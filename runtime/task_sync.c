/* Wait queues and locks for tasks (runtime/task.h). */
#include "runtime/task.h"
#include "runtime/check.h"

void waitq_init(struct waitq *q)
{
	TAILQ_INIT(q);
}

void waitq_enter(struct waitq *q, struct waiter *w)
{
	w->task = task_self();
	ASSERT(w->task);
	w->queued = true;
	TAILQ_INSERT_TAIL(q, w, link);
}

void waitq_leave(struct waitq *q, struct waiter *w)
{
	if (w->queued)
		TAILQ_REMOVE(q, w, link);
	w->queued = false;
}

void waitq_wait(struct waitq *q)
{
	struct waiter w;
	waitq_enter(q, &w);
	task_park();
	waitq_leave(q, &w);
}

bool waitq_wake_one(struct waitq *q)
{
	struct waiter *w = TAILQ_FIRST(q);
	if (!w)
		return false;
	TAILQ_REMOVE(q, w, link);
	struct task *t = w->task;
	w->queued = false;
	task_wake(t);
	return true;
}

void waitq_wake_all(struct waitq *q)
{
	while (waitq_wake_one(q))
		;
}

bool waitq_empty(const struct waitq *q)
{
	return TAILQ_EMPTY(q);
}

void task_mutex_init(struct task_mutex *m)
{
	m->owner = NULL;
	waitq_init(&m->q);
}

/* The unlocker hands the mutex over, so that nobody overtakes the queue. */
void task_mutex_lock(struct task_mutex *m)
{
	struct task *self = task_self();
	ASSERT(self && m->owner != self);
	if (!m->owner) {
		m->owner = self;
		return;
	}
	struct waiter w;
	waitq_enter(&m->q, &w);
	while (m->owner != self)
		task_park();
	waitq_leave(&m->q, &w);
}

void task_mutex_unlock(struct task_mutex *m)
{
	ASSERT(task_mutex_held(m));
	struct waiter *w = TAILQ_FIRST(&m->q);
	m->owner = w ? w->task : NULL;
	waitq_wake_one(&m->q);
}

bool task_mutex_held(const struct task_mutex *m)
{
	return m->owner && m->owner == task_self();
}

void task_rwlock_init(struct task_rwlock *l)
{
	l->readers = 0;
	l->writer = NULL;
	l->writers_waiting = 0;
	waitq_init(&l->q);
}

void task_rwlock_rdlock(struct task_rwlock *l)
{
	while (l->writer || l->writers_waiting)
		waitq_wait(&l->q);
	l->readers++;
}

void task_rwlock_wrlock(struct task_rwlock *l)
{
	ASSERT(l->writer != task_self());
	l->writers_waiting++;
	while (l->writer || l->readers)
		waitq_wait(&l->q);
	l->writers_waiting--;
	l->writer = task_self();
}

void task_rwlock_rdunlock(struct task_rwlock *l)
{
	ASSERT(l->readers > 0);
	if (--l->readers == 0)
		waitq_wake_all(&l->q);
}

void task_rwlock_wrunlock(struct task_rwlock *l)
{
	ASSERT(l->writer == task_self());
	l->writer = NULL;
	waitq_wake_all(&l->q);
}
