/*
 * A reactor: one thread, one uv_loop_t, one task scheduler, one disk ring.
 *
 * One turn of the loop: libuv polls and runs callbacks; then ready tasks run;
 * then deferred calls run (gathered sends); then the disk ring is submitted in
 * one system call. So everything that one wake-up brought is answered together.
 *
 * Before it sleeps, a reactor whose work lately came soon looks for it a while (poll_us).
 */
#ifndef ISTHMUS_RUNTIME_REACTOR_H
#define ISTHMUS_RUNTIME_REACTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "runtime/task.h"

struct reactor;

struct reactor_opts {
	const char *name;   /* thread name, for logs */
	unsigned max_tasks; /* 0: 4096 */
	size_t stack_size;  /* 0: TASK_STACK_DEFAULT */
	int cpu;	    /* pin to this CPU; -1: not */
	bool no_uring;	    /* force the thread-pool fall-back */
	unsigned poll_us;   /* looks for work at most so long before it sleeps; 0: sleeps at once */
	unsigned slot;	    /* its number among the process's reactors, from 0 */
};

int reactor_new(struct reactor **ret, const struct reactor_opts *opts);
void reactor_free(struct reactor *r);

/* Runs on the calling thread until reactor_stop() (callable from any thread, and from signals
 * through uv). */
void reactor_run(struct reactor *r);
void reactor_stop(struct reactor *r);

/* Starts a thread that runs it; reactor_join() waits for the end. */
int reactor_start_thread(struct reactor *r);
void reactor_join(struct reactor *r);

/* The calling thread's; NULL in a thread that runs none. */
struct reactor *reactor_current(void);
uv_loop_t *reactor_loop(struct reactor *r);
struct sched *reactor_sched(struct reactor *r);
const char *reactor_name(const struct reactor *r);
/* The calling thread's reactor's opts.slot, for what has a part for each reactor; 0 in a thread
 * that runs none. */
unsigned reactor_slot(void);

/* Nanoseconds of looking for work, in vain or not, and times it slept. Any thread. */
struct reactor_stats {
	uint64_t polled_ns, poll_hits, sleeps;
};
void reactor_stats(const struct reactor *r, struct reactor_stats *ret);

/* Runs fn(arg) on r's thread in its next turn. Any thread. Allocates: not for hot paths. */
int reactor_post(struct reactor *r, void (*fn)(void *), void *arg);

/*
 * Runs fn(arg) once, at the end of this turn, after ready tasks ran. Embed it zeroed; asking
 * again before it ran does nothing. Own thread only.
 */
struct deferred {
	void (*fn)(void *arg);
	void *arg;
	bool queued;
	TAILQ_ENTRY(deferred) link;
};
void reactor_defer(struct reactor *r, struct deferred *d);
void reactor_defer_cancel(struct reactor *r, struct deferred *d);

/*
 * Watches a file descriptor. events: UV_READABLE | UV_WRITABLE | UV_DISCONNECT.
 * The callback runs outside any task; status < 0 is a negative errno. A descriptor can be watched
 * once.
 */
struct watch;
typedef void watch_fn(void *arg, int status, int events);
int watch_new(struct watch **ret, struct reactor *r, int fd, watch_fn *fn, void *arg);
int watch_set(struct watch *w, int events); /* 0: none */
/* Its callback may be called to read though nothing came: where its descriptor is the only busy
 * one, that is faster than to ask. */
void watch_allow_try(struct watch *w);
/* Stops and frees; the callback will not run again. Does not close the descriptor. */
void watch_free(struct watch *w);

/* Opens a file or block device for this process: O_DIRECT where it goes, io_uring or the thread
 * pool of whichever reactor calls. Waits. */
struct bdev;
int disk_file_open(const char *path, unsigned env_disk_flags, struct bdev **ret);

#endif
