/* See fan.h. All tasks of one fan belong to one scheduler: nothing here needs a lock. */
#include "runtime/fan.h"
#include "runtime/check.h"
#include "runtime/task.h"

struct fan {
	struct task *owner;
	unsigned pending;
};

struct fan_job {
	struct fan *fan;
	void (*fn)(void *item);
	void *item;
};

static void fan_task(void *arg)
{
	struct fan_job *j = arg;
	struct fan *f = j->fan;
	j->fn(j->item);
	if (--f->pending == 0)
		task_wake(f->owner);
}

void fan_run(void (*fn)(void *item), void *items, size_t size, unsigned n)
{
	struct fan f = {.owner = task_self()};
	struct fan_job jobs[FAN_MAX];
	ASSERT(f.owner && n <= FAN_MAX);
	for (unsigned i = 0; i < n; i++) {
		jobs[i] = (struct fan_job){&f, fn, (char *)items + i * size};
		if (i + 1 < n && task_try_start(fan_task, &jobs[i]) == 0)
			f.pending++;
		else
			fn(jobs[i].item);
	}
	while (f.pending > 0)
		task_park();
}
