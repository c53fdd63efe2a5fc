/* The task set of a logical unit (task_set.h). */
#include <string.h>
#include "runtime/check.h"
#include "runtime/task.h"
#include "server/scsi/task_set.h"

/* ---- with the lock ---- */

static bool counted_run(struct task_set *s)
{
	for (unsigned i = 0; i < TASK_SET_CELLS; i++)
		if (atomic_load(&s->cells[i].running))
			return true;
	return false;
}

/* `strict` is true: what the cells say now is seen by those who change them, or theirs by us. */
static bool may_run(struct task_set *s, const struct scsi_cmd *c)
{
	if (s->heads || s->ordered)
		return false;
	return c->attr == SCSI_SIMPLE || !(s->running || counted_run(s));
}

static void run(struct task_set *s, struct scsi_cmd *c)
{
	c->turn.runs = true;
	s->running++;
	s->heads += c->attr == SCSI_HEAD;
	s->ordered |= c->attr == SCSI_ORDERED;
}

static void unqueue(struct task_set *s, struct scsi_cmd *c)
{
	TAILQ_REMOVE(&s->waiting, c, turn.link);
	s->nwaiting--;
}

/* Those whose turn it is go. */
static void advance(struct task_set *s)
{
	struct scsi_cmd *c;
	while ((c = TAILQ_FIRST(&s->waiting)) && may_run(s, c)) {
		unqueue(s, c);
		run(s, c);
		if (c->turn.task)
			task_wake(c->turn.task);
	}
	atomic_store(&s->strict, s->heads || s->ordered || s->nwaiting);
}

/* ---- life ---- */

void task_set_init(struct task_set *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	TAILQ_INIT(&s->waiting);
}

void task_set_fini(struct task_set *s)
{
	ASSERT(TAILQ_EMPTY(&s->waiting) && !s->running && !counted_run(s));
	pthread_mutex_destroy(&s->lock);
}

/* ---- commands ---- */

bool task_set_enter_strict(struct task_set *s, struct scsi_cmd *c)
{
	pthread_mutex_lock(&s->lock);
	atomic_store(&s->strict, true);
	c->turn.in = TURN_LISTED;
	c->turn.runs = c->turn.cancelled = false;
	c->turn.task = NULL;
	s->ordered_came += c->attr == SCSI_ORDERED;
	s->heads_came += c->attr == SCSI_HEAD;
	if (c->attr == SCSI_HEAD) {
		run(s, c);
	} else {
		TAILQ_INSERT_TAIL(&s->waiting, c, turn.link);
		s->nwaiting++;
	}
	advance(s);
	c->turn.waits = !c->turn.runs;
	s->waited += c->turn.waits;
	pthread_mutex_unlock(&s->lock);
	return !c->turn.waits;
}

void task_set_leave_strict(struct task_set *s, struct scsi_cmd *c)
{
	pthread_mutex_lock(&s->lock);
	if (c->turn.runs) {
		s->running--;
		s->heads -= c->attr == SCSI_HEAD;
		s->ordered &= c->attr != SCSI_ORDERED;
	} else {
		unqueue(s, c);
	}
	c->turn.in = TURN_NONE;
	c->turn.waits = false;
	advance(s);
	pthread_mutex_unlock(&s->lock);
}

void task_set_look(struct task_set *s)
{
	pthread_mutex_lock(&s->lock);
	advance(s);
	pthread_mutex_unlock(&s->lock);
}

bool task_set_wait(struct task_set *s, struct scsi_cmd *c)
{
	pthread_mutex_lock(&s->lock);
	c->turn.task = task_self();
	while (!c->turn.runs && !c->turn.cancelled) {
		pthread_mutex_unlock(&s->lock);
		task_park();
		pthread_mutex_lock(&s->lock);
	}
	c->turn.task = NULL;
	c->turn.waits = false;
	bool go = !c->turn.cancelled;
	pthread_mutex_unlock(&s->lock);
	return go;
}

/* With the lock. */
static void give_up(struct scsi_cmd *c)
{
	c->turn.cancelled = true;
	if (c->turn.task)
		task_wake(c->turn.task);
}

void task_set_cancel(struct task_set *s, struct scsi_cmd *c)
{
	if (c->turn.in != TURN_LISTED)
		return;
	pthread_mutex_lock(&s->lock);
	if (!c->turn.runs)
		give_up(c);
	pthread_mutex_unlock(&s->lock);
}

void task_set_drop(struct task_set *s, bool (*gone)(const struct scsi_cmd *c))
{
	struct scsi_cmd *c;
	if (!atomic_load(&s->strict))
		return;
	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH (c, &s->waiting, turn.link)
		if (gone(c))
			give_up(c);
	pthread_mutex_unlock(&s->lock);
}

void task_set_stats(struct task_set *s, struct task_set_stats *ret)
{
	pthread_mutex_lock(&s->lock);
	*ret = (struct task_set_stats){.waiting = s->nwaiting,
				       .ordered = s->ordered_came,
				       .heads = s->heads_came,
				       .waited = s->waited};
	pthread_mutex_unlock(&s->lock);
}
