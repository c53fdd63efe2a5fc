/*
 * Nodes and the memory they share (tests/sim/sim_node.h). A view is a shared mapping of the
 * memory's file; a kill maps a private copy over it in the same place.
 */
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_world.h"
#include "runtime/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VIEWS_MAX (SIM_NODES_MAX + 1)

struct sim_node_hook {
	LIST_ENTRY(sim_node_hook) link;
	void (*fn)(void *arg, struct sim_node *n);
	void *arg;
};

struct sim_view {
	struct sim_node *node; /* NULL: the world's, when addr is there */
	void *addr;
	bool lost; /* private: of a life that has ended */
};

struct sim_memory {
	TAILQ_ENTRY(sim_memory) link;
	int fd;
	size_t size;
	struct sim_view views[VIEWS_MAX];
	unsigned nviews;
};

/* ---- memory ---- */

struct sim_memory *sim_memory_new(struct sim *s, const char *name, size_t size)
{
	struct sim_memory *m = calloc(1, sizeof(*m));
	ASSERT(m);
	m->size = ROUND_UP(size, 4096);
	m->fd = memfd_create(name, MFD_CLOEXEC);
	ASSERT(m->fd >= 0 && ftruncate(m->fd, (off_t)m->size) == 0);
	TAILQ_INSERT_TAIL(sim_memories(s), m, link);
	return m;
}

size_t sim_memory_size(const struct sim_memory *m)
{
	return m->size;
}

static void view_lose(struct sim_memory *m, struct sim_view *v)
{
	void *copy = mmap(NULL, m->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT(copy != MAP_FAILED);
	memcpy(copy, v->addr, m->size);
	ASSERT(mremap(copy, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, v->addr) == v->addr);
	v->lost = true;
}

/* Shared again (or for the first time), where it was. */
static void view_join(struct sim_memory *m, struct sim_view *v)
{
	int fixed = v->addr ? MAP_FIXED : 0;
	v->addr = mmap(v->addr, m->size, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, m->fd, 0);
	ASSERT(v->addr != MAP_FAILED);
	v->lost = false;
}

void *sim_memory_map(struct sim_memory *m, struct sim_node *n)
{
	for (unsigned i = 0; i < m->nviews; i++)
		if (m->views[i].node == n)
			return m->views[i].addr;
	ASSERT(m->nviews < VIEWS_MAX);
	struct sim_view *v = &m->views[m->nviews++];
	*v = (struct sim_view){.node = n};
	view_join(m, v);
	if (sim_node_dead(n))
		view_lose(m, v);
	return v->addr;
}

void sim_memory_clear(struct sim_memory *m)
{
	ASSERT(ftruncate(m->fd, 0) == 0 && ftruncate(m->fd, (off_t)m->size) == 0);
}

/* ---- nodes ---- */

struct sim_node *sim_node_new(struct sim *s, const char *name)
{
	struct sim_node *n = calloc(1, sizeof(*n));
	ASSERT(n && strlen(name) < sizeof(n->name));
	strcpy(n->name, name);
	n->env = (struct sim_env){.env = {.ops = &sim_env_ops}, .sim = s, .node = n};
	n->life = 1;
	TAILQ_INIT(&n->held);
	LIST_INIT(&n->hooks);
	ASSERT(sched_new(&n->sched, 4096, 0, NULL, NULL) == 0);
	TAILQ_INSERT_TAIL(sim_nodes(s), n, link);
	sim_node_added(s);
	return n;
}

void sim_nodes_free(struct sim *s)
{
	struct sim_node *n;
	struct sim_memory *m;
	while ((m = TAILQ_FIRST(sim_memories(s)))) {
		TAILQ_REMOVE(sim_memories(s), m, link);
		for (unsigned i = 0; i < m->nviews; i++)
			munmap(m->views[i].addr, m->size);
		close(m->fd);
		free(m);
	}
	while ((n = TAILQ_FIRST(sim_nodes(s)))) {
		struct sim_node_hook *h;
		TAILQ_REMOVE(sim_nodes(s), n, link);
		while ((h = LIST_FIRST(&n->hooks))) {
			LIST_REMOVE(h, link);
			free(h);
		}
		sched_free(n->sched);
		free(n);
	}
}

const char *sim_node_name(const struct sim_node *n)
{
	return n->name;
}

struct env *sim_node_env(struct sim_node *n)
{
	return &n->env.env;
}

struct sched *sim_node_sched(struct sim_node *n)
{
	return n->sched;
}

void sim_node_start(struct sim_node *n, task_fn *fn, void *arg)
{
	ASSERT(task_start_on(n->sched, fn, arg) == 0);
}

int sim_node_run(struct sim_node *n, task_fn *fn, void *arg)
{
	return sim_run_on(n->env.sim, n->sched, fn, arg);
}

bool sim_node_dead(const struct sim_node *n)
{
	return n && n->dead;
}

unsigned sim_node_tasks(const struct sim_node *n)
{
	return sched_count(n->sched);
}

uint64_t sim_node_life(const struct sim_node *n)
{
	return n->life;
}

bool sim_node_stopped(const struct sim_node *n)
{
	return n->stopped;
}

void sim_node_stop(struct sim_node *n)
{
	ASSERT(!n->dead && sim_node_current(n->env.sim) != n);
	n->stopped = true;
}

void sim_node_continue(struct sim_node *n)
{
	if (!n->stopped)
		return;
	n->stopped = false;
	sim_events_release(n->env.sim, n);
}

void sim_node_kill(struct sim_node *n)
{
	struct sim_memory *m;
	struct sim_node_hook *h;
	if (n->dead)
		return;
	n->dead = true;
	TAILQ_FOREACH (m, sim_memories(n->env.sim), link)
		for (unsigned i = 0; i < m->nviews; i++)
			if (m->views[i].node == n && !m->views[i].lost)
				view_lose(m, &m->views[i]);
	LIST_FOREACH (h, &n->hooks, link)
		h->fn(h->arg, n);
	sim_disks_wake(n->env.sim);
	sim_node_continue(n);
}

void sim_node_reborn(struct sim_node *n)
{
	struct sim_memory *m;
	ASSERT(n->dead && sim_node_tasks(n) == 0);
	TAILQ_FOREACH (m, sim_memories(n->env.sim), link)
		for (unsigned i = 0; i < m->nviews; i++)
			if (m->views[i].node == n && m->views[i].lost)
				view_join(m, &m->views[i]);
	n->dead = false;
	n->life++;
}

void sim_node_on_kill(struct sim_node *n, void (*fn)(void *arg, struct sim_node *n), void *arg)
{
	struct sim_node_hook *h = calloc(1, sizeof(*h));
	ASSERT(h);
	h->fn = fn;
	h->arg = arg;
	LIST_INSERT_HEAD(&n->hooks, h, link);
}
