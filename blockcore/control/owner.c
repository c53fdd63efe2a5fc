/* See owner.h. */
#include "blockcore/control/owner.h"
#include "runtime/task.h"
#include <stdatomic.h>

struct hop {
	void (*fn)(void *arg);
	void *arg;
	struct task *waiter;
	atomic_bool done;
};

static void hop_task(void *arg)
{
	struct hop *h = arg;
	struct task *waiter = h->waiter; /* the hop ends with the waiter's frame */
	h->fn(h->arg);
	atomic_store(&h->done, true);
	task_wake(waiter);
}

int owner_call(struct sched *owner, void (*fn)(void *arg), void *arg)
{
	if (owner == sched_current()) {
		fn(arg);
		return 0;
	}
	struct hop h = {.fn = fn, .arg = arg, .waiter = task_self()};
	int rc = task_start_on(owner, hop_task, &h);
	if (rc)
		return rc;
	while (!atomic_load(&h.done))
		task_park();
	return 0;
}
