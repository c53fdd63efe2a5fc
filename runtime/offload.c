/* Work on a thread (offload.h). */
#include "runtime/offload.h"
#include "runtime/check.h"
#include "runtime/reactor.h"
#include "runtime/task.h"
#include <stdbool.h>
#include <uv.h>

struct offload {
	void (*fn)(void *arg);
	void *arg;
	bool done;
	struct task *task;
	uv_work_t work;
};

static void work(uv_work_t *w)
{
	struct offload *o = w->data;
	o->fn(o->arg);
}

static void work_done(uv_work_t *w, int status)
{
	struct offload *o = w->data;
	o->done = true; /* nobody cancels it */
	task_wake(o->task);
}

void offload(void (*fn)(void *arg), void *arg)
{
	struct offload o = {.fn = fn, .arg = arg, .task = task_self()};
	o.work.data = &o;
	int rc = uv_queue_work(reactor_loop(reactor_current()), &o.work, work, work_done);
	ASSERT(rc == 0); /* fails only without a work function */
	while (!o.done)
		task_park();
}
