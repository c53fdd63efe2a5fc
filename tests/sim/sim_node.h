/*
 * Nodes: the processes of a simulated world. Each has its own scheduler and environment, its own
 * handles of disks, and its own view of the memory it shares with others. One can be killed at any
 * instruction, stopped and continued, while the others run on.
 *
 * A killed node's tasks cannot be taken away in the middle of a function; they unwind by their
 * error paths instead, and nothing that they do from then on is seen by anybody: their views of
 * shared memory turn into private copies, their disk calls fail, what they send goes nowhere. What
 * was under way at the disks ends as a kernel would end it: done, partly done or not, some time
 * later.
 *
 *   sim_node_kill()      at any point, also from one of its own tasks (a hook of FAULT())
 *   (the test abandons what the node had open in a task of the node, and lets its tasks end)
 *   sim_node_reborn()    the same name, a new process
 */
#ifndef ISTHMUS_TESTS_SIM_NODE_H
#define ISTHMUS_TESTS_SIM_NODE_H

#include "tests/sim/sim_env.h"

struct sim_node;

struct sim_node *sim_node_new(struct sim *s, const char *name);
const char *sim_node_name(const struct sim_node *n);
struct env *sim_node_env(struct sim_node *n);
struct sched *sim_node_sched(struct sim_node *n);
/* The node whose task or timer runs now; NULL: the world outside. */
struct sim_node *sim_node_current(struct sim *s);

/* Starts fn(arg) as a task of the node. */
void sim_node_start(struct sim_node *n, task_fn *fn, void *arg);
/* As sim_run(), in a task of the node. */
int sim_node_run(struct sim_node *n, task_fn *fn, void *arg);

void sim_node_kill(struct sim_node *n);
bool sim_node_dead(const struct sim_node *n);
/* Tasks of it that have not ended yet. */
unsigned sim_node_tasks(const struct sim_node *n);
/* Counts kills: another life, another number. */
uint64_t sim_node_life(const struct sim_node *n);
/* All its tasks must have ended. */
void sim_node_reborn(struct sim_node *n);

/* SIGSTOP and SIGCONT: nothing of it runs meanwhile, its timers wait. A kill continues it. */
void sim_node_stop(struct sim_node *n);
void sim_node_continue(struct sim_node *n);
bool sim_node_stopped(const struct sim_node *n);

/* fn(arg) is called at the moment of each kill, outside of any rule of the node's own. */
void sim_node_on_kill(struct sim_node *n, void (*fn)(void *arg, struct sim_node *n), void *arg);

/* ---- memory that outlives nodes ---- */

struct sim_memory;
struct sim_memory *sim_memory_new(struct sim *s, const char *name, size_t size);
size_t sim_memory_size(const struct sim_memory *m);
/* The node's own view (the same each time, until it is killed); NULL: the world's. */
void *sim_memory_map(struct sim_memory *m, struct sim_node *n);
/* As after a loss of power: zeros. No living node may have a view. */
void sim_memory_clear(struct sim_memory *m);

#endif
