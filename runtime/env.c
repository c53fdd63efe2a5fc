/* Short names for the environment's ops, and the waits made from them. */
#include "runtime/env.h"
#include "runtime/bdev.h"
#include "runtime/task.h"
#include <errno.h>

uint64_t env_now_ns(struct env *e)
{
	return e->ops->now_ns(e);
}

uint64_t env_realtime_ns(struct env *e)
{
	return e->ops->realtime_ns(e);
}

void env_random(struct env *e, void *buf, size_t len)
{
	e->ops->random(e, buf, len);
}

uint64_t env_random_u64(struct env *e)
{
	uint64_t v;
	e->ops->random(e, &v, sizeof(v));
	return v;
}

void env_timer_start(struct env *e, struct env_timer *t, uint64_t after_ns)
{
	e->ops->timer_start(e, t, after_ns);
}

void env_timer_stop(struct env *e, struct env_timer *t)
{
	e->ops->timer_stop(e, t);
}

int env_disk_open(struct env *e, const char *path, unsigned flags, struct bdev **ret)
{
	return e->ops->disk_open(e, path, flags, ret);
}

struct sleeper {
	struct task *task;
	bool fired;
};

static void sleeper_fire(void *arg)
{
	struct sleeper *s = arg;
	s->fired = true;
	task_wake(s->task);
}

void env_sleep_ns(struct env *e, uint64_t ns)
{
	struct sleeper s = {.task = task_self()};
	struct env_timer t = {.fn = sleeper_fire, .arg = &s};
	env_timer_start(e, &t, ns);
	while (!s.fired)
		task_park();
}

int env_waitq_wait(struct env *e, struct waitq *q, uint64_t ns)
{
	struct sleeper s = {.task = task_self()};
	struct env_timer t = {.fn = sleeper_fire, .arg = &s};
	struct waiter w;
	waitq_enter(q, &w);
	env_timer_start(e, &t, ns);
	while (w.queued && !s.fired)
		task_park();
	int rc = w.queued ? -ETIMEDOUT : 0;
	waitq_leave(q, &w);
	env_timer_stop(e, &t);
	return rc;
}
