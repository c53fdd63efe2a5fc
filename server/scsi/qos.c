/* Limits of logical units (qos.h). */
#include <string.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/task.h"
#include "server/scsi/qos.h"

#define BURST_DEFAULT_NS (NS_PER_S / 10)
/* A timer may be late by a millisecond or two: what it missed must fit into the bucket. */
#define BURST_MIN_NS (NS_PER_S / 50)

/* ---- buckets ---- */

static uint64_t time_of(const struct qos_bucket *b, uint64_t tokens)
{
	return (uint64_t)((unsigned __int128)tokens * NS_PER_S / b->rate);
}

static void bucket_set(struct qos_bucket *b, uint64_t rate, uint64_t burst)
{
	b->rate = rate;
	if (!rate)
		return;
	b->burst_ns = burst ? time_of(b, burst) : BURST_DEFAULT_NS;
	b->burst_ns = MAX(b->burst_ns, BURST_MIN_NS);
}

/* When so many tokens are there; 0: now, or any time. */
static uint64_t bucket_due(const struct qos_bucket *b, uint64_t tokens)
{
	if (!b->rate || !tokens)
		return 0;
	uint64_t cost = time_of(b, tokens), room = cost < b->burst_ns ? b->burst_ns - cost : 0;
	return b->full_ns > room ? b->full_ns - room : 0;
}

static void bucket_take(struct qos_bucket *b, uint64_t now, uint64_t tokens)
{
	if (b->rate && tokens)
		b->full_ns = MAX(b->full_ns, now) + time_of(b, tokens);
}

/* ---- with the lock ---- */

static uint64_t due(const struct qos *q, const struct scsi_cmd *c)
{
	uint64_t a = bucket_due(&q->ops, 1), b = bucket_due(&q->bytes, c->hold.bytes);
	return MAX(a, b);
}

static void take(struct qos *q, const struct scsi_cmd *c, uint64_t now)
{
	bucket_take(&q->ops, now, 1);
	bucket_take(&q->bytes, now, c->hold.bytes);
}

static void settle(struct qos *q)
{
	atomic_store(&q->on, q->ops.rate || q->bytes.rate || q->nwaiting);
}

static void wake_first(struct qos *q)
{
	struct scsi_cmd *c = TAILQ_FIRST(&q->waiting);
	if (c && c->hold.task)
		task_wake(c->hold.task);
}

static void leave(struct qos *q, struct scsi_cmd *c)
{
	TAILQ_REMOVE(&q->waiting, c, hold.link);
	q->nwaiting--;
	c->hold.held = false;
	wake_first(q);
	settle(q);
}

/* ---- life ---- */

void qos_init(struct qos *q, struct env *env)
{
	memset(q, 0, sizeof(*q));
	q->env = env;
	pthread_mutex_init(&q->lock, NULL);
	TAILQ_INIT(&q->waiting);
}

void qos_fini(struct qos *q)
{
	ASSERT(TAILQ_EMPTY(&q->waiting));
	pthread_mutex_destroy(&q->lock);
}

void qos_set(struct qos *q, const struct qos_limits *l)
{
	pthread_mutex_lock(&q->lock);
	if (memcmp(&q->limits, l, sizeof(*l)) != 0) {
		q->limits = *l;
		bucket_set(&q->ops, l->iops, l->iops_burst);
		bucket_set(&q->bytes, l->bandwidth, l->bandwidth_burst);
		q->ops.full_ns = q->bytes.full_ns = 0; /* old debts were at another rate */
		wake_first(q);
		settle(q);
	}
	pthread_mutex_unlock(&q->lock);
}

/* ---- commands ---- */

bool qos_hold(struct qos *q, struct scsi_cmd *c, uint64_t bytes)
{
	c->hold.held = c->hold.cancelled = false;
	if (__builtin_expect(!atomic_load_explicit(&q->on, memory_order_relaxed), 1))
		return false;
	uint64_t now = env_now_ns(q->env);
	pthread_mutex_lock(&q->lock);
	c->hold.bytes = bytes;
	c->hold.task = NULL;
	c->hold.since_ns = now;
	bool head = c->attr == SCSI_HEAD; /* goes before all that wait */
	c->hold.held = (!TAILQ_EMPTY(&q->waiting) && !head) || due(q, c) > now;
	if (c->hold.held) {
		if (head)
			TAILQ_INSERT_HEAD(&q->waiting, c, hold.link);
		else
			TAILQ_INSERT_TAIL(&q->waiting, c, hold.link);
		q->nwaiting++;
	} else {
		take(q, c, now);
	}
	pthread_mutex_unlock(&q->lock);
	return c->hold.held;
}

static void wake(void *task)
{
	task_wake(task);
}

bool qos_wait(struct qos *q, struct scsi_cmd *c)
{
	struct env_timer timer = {.fn = wake, .arg = task_self()};
	pthread_mutex_lock(&q->lock);
	c->hold.task = task_self();
	while (!c->hold.cancelled) {
		uint64_t now = env_now_ns(q->env), at = due(q, c);
		bool first = TAILQ_FIRST(&q->waiting) == c;
		if (first && at <= now)
			break;
		pthread_mutex_unlock(&q->lock);
		if (first)
			env_timer_start(q->env, &timer, at - now);
		task_park();
		env_timer_stop(q->env, &timer);
		pthread_mutex_lock(&q->lock);
	}
	uint64_t now = env_now_ns(q->env);
	bool go = !c->hold.cancelled;
	if (go) {
		take(q, c, now);
		q->held++;
		q->held_ns += now - c->hold.since_ns;
	}
	q->last_ns = now;
	leave(q, c);
	pthread_mutex_unlock(&q->lock);
	return go;
}

void qos_cancel(struct qos *q, struct scsi_cmd *c)
{
	pthread_mutex_lock(&q->lock);
	if (c->hold.held) {
		c->hold.cancelled = true;
		if (c->hold.task)
			task_wake(c->hold.task);
	}
	pthread_mutex_unlock(&q->lock);
}

void qos_drop(struct qos *q, bool (*gone)(const struct scsi_cmd *c))
{
	struct scsi_cmd *c;
	if (!atomic_load(&q->on))
		return;
	pthread_mutex_lock(&q->lock);
	TAILQ_FOREACH (c, &q->waiting, hold.link) {
		if (!gone(c))
			continue;
		c->hold.cancelled = true;
		if (c->hold.task)
			task_wake(c->hold.task);
	}
	pthread_mutex_unlock(&q->lock);
}

void qos_forget(struct qos *q, struct scsi_cmd *c)
{
	pthread_mutex_lock(&q->lock);
	if (c->hold.held)
		leave(q, c);
	pthread_mutex_unlock(&q->lock);
}

void qos_stats(struct qos *q, struct qos_stats *ret)
{
	pthread_mutex_lock(&q->lock);
	*ret = (struct qos_stats){.limits = q->limits,
				  .waiting = q->nwaiting,
				  .held = q->held,
				  .held_ns = q->held_ns,
				  .last_ns = q->last_ns};
	pthread_mutex_unlock(&q->lock);
}
