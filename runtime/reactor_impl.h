/* What the files that hang on a reactor (disks, timers) share with it. Not for other modules. */
#ifndef ISTHMUS_RUNTIME_REACTOR_IMPL_H
#define ISTHMUS_RUNTIME_REACTOR_IMPL_H

#include "runtime/reactor.h"

struct disk_uring;
struct mem_pool;
struct timer_heap;

/* Things made on the reactor's own thread at their first use, and freed with it. */
struct reactor_parts {
	struct disk_uring *uring;
	bool uring_refused; /* by the options, or by the kernel */
	struct mem_pool *bounce;
	struct timer_heap *timers;
};
struct reactor_parts *reactor_parts(struct reactor *r);

/* disk_uring.c: called by the reactor in every turn, only when parts->uring is there. */
/* Wakes the tasks whose requests have completed; how many. No system call. */
unsigned disk_uring_reap(struct disk_uring *u);
/* Hands what was queued to the kernel, in one system call. False: try again soon. */
bool disk_uring_submit(struct disk_uring *u);
/* While the reactor is awake it looks itself, and the kernel need not signal its eventfd.
 * Before it sleeps: asks for signals; false when something completed meanwhile: do not sleep. */
bool disk_uring_arm(struct disk_uring *u);
void disk_uring_disarm(struct disk_uring *u);
void disk_uring_free(struct disk_uring *u);

/* env_real.c */
void timer_heap_free(struct timer_heap *h);

#endif
