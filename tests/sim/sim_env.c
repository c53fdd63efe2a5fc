/*
 * The simulated world (tests/sim/sim_env.h): an event heap on virtual time, the task schedulers of
 * its nodes and of the world outside them, and the power switch.
 */
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELD ((size_t)-1)

struct sim_event {
	uint64_t at, seq;
	void (*fn)(void *arg);
	void *arg;
	struct env_timer *timer; /* NULL for the simulator's own */
	struct sim_node *node;	 /* whose timer it is; NULL: the world's */
	size_t pos;
	TAILQ_ENTRY(sim_event) held; /* its node is stopped */
};

struct sim {
	struct sim_env env;
	struct sched *sched;
	struct sim_nodes nodes;
	unsigned nnodes;
	struct sim_memories memories;
	uint64_t now, seq;
	uint64_t rng[2];
	struct sim_event **heap;
	size_t nheap, heap_cap;
	bool stop;
	struct sim_disks disks;
	struct sim_power power;
};

/* xorshift128+: any seed gives a full run. */
uint64_t sim_random(struct sim *s)
{
	uint64_t a = s->rng[0], b = s->rng[1];
	s->rng[0] = b;
	a ^= a << 23;
	s->rng[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return s->rng[1] + b;
}

uint64_t sim_random_below(struct sim *s, uint64_t n)
{
	return n ? sim_random(s) % n : 0;
}

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void heap_place(struct sim *s, struct sim_event *e, size_t pos)
{
	s->heap[pos] = e;
	e->pos = pos;
}

static void heap_up(struct sim *s, struct sim_event *e)
{
	size_t i = e->pos;
	while (i > 0 && event_before(e, s->heap[(i - 1) / 2])) {
		heap_place(s, s->heap[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	heap_place(s, e, i);
}

static void heap_down(struct sim *s, struct sim_event *e)
{
	size_t i = e->pos;
	for (;;) {
		size_t c = 2 * i + 1;
		if (c >= s->nheap)
			break;
		if (c + 1 < s->nheap && event_before(s->heap[c + 1], s->heap[c]))
			c++;
		if (!event_before(s->heap[c], e))
			break;
		heap_place(s, s->heap[c], i);
		i = c;
	}
	heap_place(s, e, i);
}

static void heap_add(struct sim *s, struct sim_event *e)
{
	if (s->nheap == s->heap_cap) {
		s->heap_cap = s->heap_cap ? 2 * s->heap_cap : 64;
		s->heap = realloc(s->heap, s->heap_cap * sizeof(*s->heap));
		ASSERT(s->heap);
	}
	heap_place(s, e, s->nheap++);
	heap_up(s, e);
}

static struct sim_event *event_add(struct sim *s, struct sim_node *node, uint64_t after,
				   void (*fn)(void *), void *arg)
{
	struct sim_event *e = calloc(1, sizeof(*e));
	ASSERT(e);
	*e = (struct sim_event){
	    .at = s->now + after, .seq = s->seq++, .fn = fn, .arg = arg, .node = node};
	heap_add(s, e);
	return e;
}

static void event_remove(struct sim *s, struct sim_event *e)
{
	struct sim_event *last = s->heap[--s->nheap];
	if (last != e) {
		heap_place(s, last, e->pos);
		heap_up(s, last);
		heap_down(s, last);
	}
}

void sim_after(struct sim *s, uint64_t ns, void (*fn)(void *), void *arg)
{
	event_add(s, sim_node_current(s), ns, fn, arg);
}

void sim_world_after(struct sim *s, uint64_t ns, void (*fn)(void *), void *arg)
{
	event_add(s, NULL, ns, fn, arg);
}

void sim_node_after(struct sim_node *n, uint64_t ns, void (*fn)(void *), void *arg)
{
	event_add(n->env.sim, n, ns, fn, arg);
}

struct sim_disks *sim_disks(struct sim *s)
{
	return &s->disks;
}

struct sim_power *sim_power(struct sim *s)
{
	return &s->power;
}

struct sim_nodes *sim_nodes(struct sim *s)
{
	return &s->nodes;
}

struct sim_memories *sim_memories(struct sim *s)
{
	return &s->memories;
}

struct sim_node *sim_node_current(struct sim *s)
{
	struct sched *now = sched_current();
	struct sim_node *n;
	if (now == s->sched)
		return NULL;
	TAILQ_FOREACH (n, &s->nodes, link)
		if (n->sched == now)
			return n;
	return NULL;
}

/* ---- env ops ---- */

static struct sim *sim_of(struct env *e)
{
	return ((struct sim_env *)e)->sim;
}

static uint64_t sim_now_ns(struct env *e)
{
	return sim_of(e)->now;
}

static uint64_t sim_realtime_ns(struct env *e)
{
	return sim_of(e)->now + 1700000000ull * NS_PER_S;
}

static void sim_fill_random(struct env *e, void *buf, size_t len)
{
	uint8_t *p = buf;
	while (len > 0) {
		uint64_t v = sim_random(sim_of(e));
		size_t n = MIN(len, sizeof(v));
		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

static void sim_timer_stop(struct env *e, struct env_timer *t)
{
	struct sim_event *ev = t->impl;
	if (!ev)
		return;
	if (ev->pos == HELD)
		TAILQ_REMOVE(&ev->node->held, ev, held);
	else
		event_remove(sim_of(e), ev);
	free(ev);
	t->impl = NULL;
}

static void sim_timer_start(struct env *e, struct env_timer *t, uint64_t after_ns)
{
	sim_timer_stop(e, t);
	struct sim_event *ev =
	    event_add(sim_of(e), sim_node_current(sim_of(e)), after_ns, t->fn, t->arg);
	ev->timer = t;
	t->impl = ev;
}

static int sim_env_disk_open(struct env *e, const char *path, unsigned flags, struct bdev **ret)
{
	struct sim_disk *d = sim_disk_find(sim_of(e), path);
	if (!d)
		return -ENOENT;
	*ret = sim_disk_open_by(d, ((struct sim_env *)e)->node);
	return 0;
}

const struct env_ops sim_env_ops = {
    .now_ns = sim_now_ns,
    .realtime_ns = sim_realtime_ns,
    .random = sim_fill_random,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .disk_open = sim_env_disk_open,
};

/* ---- life ---- */

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = calloc(1, sizeof(*s));
	ASSERT(s);
	s->env.env.ops = &sim_env_ops;
	s->env.sim = s;
	s->rng[0] = seed * 0x9e3779b97f4a7c15ull + 1;
	s->rng[1] = seed ^ 0xda942042e4dd58b5ull;
	for (int i = 0; i < 16; i++)
		sim_random(s);
	TAILQ_INIT(&s->disks);
	TAILQ_INIT(&s->nodes);
	TAILQ_INIT(&s->memories);
	sim_power_init(&s->power);
	ASSERT(sched_new(&s->sched, 4096, 0, NULL, NULL) == 0);
	sched_set_current(s->sched);
	return s;
}

void sim_free(struct sim *s)
{
	sim_disks_free(s);
	while (s->nheap > 0) {
		struct sim_event *e = s->heap[--s->nheap];
		if (e->timer)
			e->timer->impl = NULL;
		free(e);
	}
	free(s->heap);
	sched_set_current(NULL);
	sim_nodes_free(s);
	sched_free(s->sched);
	free(s);
}

struct env *sim_env(struct sim *s)
{
	return &s->env.env;
}

void sim_stop(struct sim *s)
{
	s->stop = true;
}

static void run_event(struct sim *s, struct sim_event *e)
{
	void (*fn)(void *) = e->fn;
	void *arg = e->arg;
	sched_set_current(e->node ? e->node->sched : s->sched);
	if (e->timer)
		e->timer->impl = NULL;
	free(e);
	fn(arg);
	sched_set_current(s->sched);
}

/* Some tasks of one of those that have any ready, chosen by the seed. */
static bool run_tasks(struct sim *s)
{
	struct sched *ready[1 + SIM_NODES_MAX];
	unsigned n = 0;
	struct sim_node *node;
	if (s->nnodes == 0)
		return sched_run(s->sched) > 0;
	if (sched_ready(s->sched))
		ready[n++] = s->sched;
	TAILQ_FOREACH (node, &s->nodes, link)
		if (!node->stopped && sched_ready(node->sched))
			ready[n++] = node->sched;
	if (n == 0)
		return false;
	struct sched *run = ready[sim_random_below(s, n)];
	sched_set_current(run);
	sched_run_some(run, 1 + (unsigned)sim_random_below(s, 4));
	sched_set_current(s->sched);
	return true;
}

/* Runs ready tasks, then the next event if it is due by `until`. False: nothing was left to do. */
static bool sim_step(struct sim *s, uint64_t until)
{
	if (run_tasks(s))
		return true;
	if (s->nheap == 0 || s->heap[0]->at > until)
		return false;
	struct sim_event *e = s->heap[0];
	event_remove(s, e);
	s->now = MAX(s->now, e->at);
	if (e->node && e->node->stopped) {
		e->pos = HELD;
		TAILQ_INSERT_TAIL(&e->node->held, e, held);
	} else {
		run_event(s, e);
	}
	return true;
}

void sim_events_release(struct sim *s, struct sim_node *n)
{
	struct sim_event *e;
	while ((e = TAILQ_FIRST(&n->held))) {
		TAILQ_REMOVE(&n->held, e, held);
		e->at = s->now;
		heap_add(s, e);
	}
}

void sim_node_added(struct sim *s)
{
	ASSERT(++s->nnodes <= SIM_NODES_MAX);
}

struct sim_main {
	task_fn *fn;
	void *arg;
	bool done;
};

static void sim_main_task(void *arg)
{
	struct sim_main *m = arg;
	m->fn(m->arg);
	m->done = true;
}

int sim_run_on(struct sim *s, struct sched *sched, task_fn *fn, void *arg)
{
	/* On the heap: a run that is stopped early leaves the task behind. */
	struct sim_main *m = calloc(1, sizeof(*m));
	ASSERT(m);
	*m = (struct sim_main){.fn = fn, .arg = arg};
	uint64_t limit = s->now + 3600 * NS_PER_S;
	s->stop = false;
	ASSERT(task_start_on(sched, sim_main_task, m) == 0);
	while (!m->done && !s->stop) {
		if (!sim_step(s, limit))
			return s->nheap ? -ETIMEDOUT : -EDEADLK;
	}
	if (m->done)
		free(m);
	return 0;
}

int sim_run(struct sim *s, task_fn *fn, void *arg)
{
	return sim_run_on(s, s->sched, fn, arg);
}

void sim_run_for(struct sim *s, uint64_t ns)
{
	uint64_t until = s->now + ns;
	s->stop = false;
	while (!s->stop && sim_step(s, until))
		;
	if (!s->stop)
		s->now = MAX(s->now, until);
}
