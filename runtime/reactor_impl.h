/* What the files that hang on a reactor (disks, timers) share with it. Not for other modules. */
#ifndef ISTHMUS_RUNTIME_REACTOR_IMPL_H
#define ISTHMUS_RUNTIME_REACTOR_IMPL_H

#include <sys/epoll.h>
#include "runtime/reactor.h"

struct disk_uring;
struct env;
struct mem_pool;
struct timer_heap;

/* Things made on the reactor's own thread at their first use, and freed with it. */
struct reactor_parts {
	struct disk_uring *uring;
	bool uring_refused; /* by the options, or by the kernel */
	struct mem_pool *bounce;
	struct timer_heap *timers;
	size_t memory_bytes; /* of files in memory, since the last task that went on made way */
};
struct reactor_parts *reactor_parts(struct reactor *r);

/* disk_uring.c: called by the reactor in every turn, only when parts->uring is there. */
/* Wakes the tasks whose requests have completed; how many. No system call. */
unsigned disk_uring_reap(struct disk_uring *u);
/* Hands what was queued to the kernel, in one system call. False: try again soon. */
bool disk_uring_submit(struct disk_uring *u);
/* Has a request completed? No system call. */
bool disk_uring_ready(const struct disk_uring *u);
/* While the reactor is awake it looks itself, and the kernel need not signal its eventfd.
 * Before it sleeps: asks for signals; false when something completed meanwhile: do not sleep. */
bool disk_uring_arm(struct disk_uring *u);
void disk_uring_disarm(struct disk_uring *u);
void disk_uring_free(struct disk_uring *u);

/* reactor_watch.c: the watches of a reactor, as one set. */
#define WATCHES_AT_ONCE 64
struct watches {
	int epoll_fd;
	uv_poll_t poll; /* of epoll_fd */
	struct epoll_event ev[WATCHES_AT_ONCE];
	int n, at;
	struct watch *alone; /* all that came last came from it, to be read; NULL: not so */
	unsigned tries;	     /* of it since the set was looked at */
};
int watches_init(struct watches *s, uv_loop_t *loop);
void watches_fini(struct watches *s); /* the loop is closed */
/* Fetches what came; how many. Never waits. */
int watches_look(struct watches *s);
/* Calls the callbacks of what was fetched. */
void watches_dispatch(struct watches *s);
/* Calls the one that was alone last time as if something had come: it sees that as fast as the set
 * would. False: there is none, or the others must be looked at. */
bool watches_try(struct watches *s);
struct watches *reactor_watches(struct reactor *r);

/* reactor_poll.c: looking for work before sleeping. */
struct poll_state {
	struct env *env;
	uint64_t max_ns; /* 0: never */
	bool open;
	unsigned vain; /* looks in a row that found nothing */
	uint64_t rest_until;
	uint64_t idle_since; /* 0: not idle */
	_Atomic uint64_t polled_ns, hits, sleeps;
};
/* Nothing is left to do. Looks, again and again while the window is open. False: sleep. */
bool poll_look(struct poll_state *p, bool (*look)(void *arg), void *arg);
/* It is awake again. */
void poll_woken(struct poll_state *p);

/* env_real.c */
void timer_heap_free(struct timer_heap *h);

#endif
