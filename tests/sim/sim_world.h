/* What the files of the simulated world share; tests include sim_env.h and sim_node.h. */
#ifndef ISTHMUS_TESTS_SIM_WORLD_H
#define ISTHMUS_TESTS_SIM_WORLD_H

#include <bsd/sys/queue.h>
#include "tests/sim/sim_node.h"

#define SIM_NODES_MAX 16

struct sim_env {
	struct env env;
	struct sim *sim;
	struct sim_node *node; /* NULL: the world's */
};

struct sim_event;
struct sim_node_hook;

struct sim_node {
	TAILQ_ENTRY(sim_node) link;
	struct sim_env env;
	char name[32];
	struct sched *sched;
	bool dead, stopped;
	uint64_t life;
	TAILQ_HEAD(, sim_event) held; /* due while it was stopped */
	LIST_HEAD(, sim_node_hook) hooks;
};
TAILQ_HEAD(sim_nodes, sim_node);

TAILQ_HEAD(sim_memories, sim_memory);

extern const struct env_ops sim_env_ops;

struct sim_nodes *sim_nodes(struct sim *s);
struct sim_memories *sim_memories(struct sim *s);
void sim_nodes_free(struct sim *s);
void sim_node_added(struct sim *s);
/* fn(arg) as an event of the world's, or of the node, whoever runs now. */
void sim_world_after(struct sim *s, uint64_t ns, void (*fn)(void *), void *arg);
void sim_node_after(struct sim_node *n, uint64_t ns, void (*fn)(void *), void *arg);
void sim_events_release(struct sim *s, struct sim_node *n);
int sim_run_on(struct sim *s, struct sched *sched, task_fn *fn, void *arg);
/* sim_disk.c: a handle of the node's. */
struct bdev *sim_disk_open_by(struct sim_disk *d, struct sim_node *n);
/* Calls that a stuck disk holds look again. */
void sim_disks_wake(struct sim *s);

#endif
