#include "tests/unit/nfs/nas_clock.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <bsd/sys/queue.h>
#include "runtime/check.h"

/* A timer that is armed: at `due` of the test's clock. */
struct armed {
	TAILQ_ENTRY(armed) link;
	struct nas_clock *clock;
	struct env_timer *timer; /* whose it is */
	struct env_timer real;
	uint64_t due;
};

struct nas_clock {
	struct env env; /* first */
	_Atomic uint64_t ahead;
	TAILQ_HEAD(, armed) armed;
};

static struct nas_clock *of(struct env *e)
{
	return (struct nas_clock *)e;
}

static uint64_t clock_now(struct env *e)
{
	return env_now_ns(env_real()) + atomic_load(&of(e)->ahead);
}

static uint64_t clock_realtime(struct env *e)
{
	return env_realtime_ns(env_real()) + atomic_load(&of(e)->ahead);
}

static void clock_random(struct env *e, void *buf, size_t len)
{
	env_random(env_real(), buf, len);
}

static void disarm(struct armed *a)
{
	env_timer_stop(env_real(), &a->real);
	TAILQ_REMOVE(&a->clock->armed, a, link);
	a->timer->impl = NULL;
	free(a);
}

static void fired(void *arg)
{
	struct armed *a = arg;
	struct env_timer *t = a->timer;
	disarm(a);
	t->fn(t->arg);
}

static void clock_stop(struct env *e, struct env_timer *t)
{
	if (t->impl)
		disarm(t->impl);
}

static void clock_start(struct env *e, struct env_timer *t, uint64_t after_ns)
{
	clock_stop(e, t);
	struct armed *a = calloc(1, sizeof(*a));
	ASSERT(a);
	a->clock = of(e);
	a->timer = t;
	a->due = clock_now(e) + after_ns;
	a->real = (struct env_timer){.fn = fired, .arg = a};
	t->impl = a;
	TAILQ_INSERT_TAIL(&a->clock->armed, a, link);
	env_timer_start(env_real(), &a->real, after_ns);
}

static int clock_disk_open(struct env *e, const char *path, unsigned flags, struct bdev **ret)
{
	return env_disk_open(env_real(), path, flags, ret);
}

struct nas_clock *nas_clock_new(void)
{
	static const struct env_ops ops = {.now_ns = clock_now,
					   .realtime_ns = clock_realtime,
					   .random = clock_random,
					   .timer_start = clock_start,
					   .timer_stop = clock_stop,
					   .disk_open = clock_disk_open};
	struct nas_clock *c = calloc(1, sizeof(*c));
	ASSERT(c);
	c->env.ops = &ops;
	TAILQ_INIT(&c->armed);
	return c;
}

void nas_clock_free(struct nas_clock *c)
{
	ASSERT(TAILQ_EMPTY(&c->armed));
	free(c);
}

struct env *nas_clock_env(struct nas_clock *c)
{
	return &c->env;
}

void nas_clock_skip(struct nas_clock *c, uint64_t ns)
{
	struct armed *a;
	atomic_fetch_add(&c->ahead, ns);
	uint64_t now = clock_now(&c->env);
	TAILQ_FOREACH (a, &c->armed, link)
		env_timer_start(env_real(), &a->real, a->due > now ? a->due - now : 0);
}
