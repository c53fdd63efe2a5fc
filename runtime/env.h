/*
 * The world as blockcore/, nasfront/fs and nasfront/piv see it: clock, timers,
 * randomness and disks. They make no system call of their own. The real one
 * (env_real.c) is the calling thread's reactor; the simulated one (tests/sim)
 * runs everything in one thread on virtual time from a seed.
 */
#ifndef ISTHMUS_RUNTIME_ENV_H
#define ISTHMUS_RUNTIME_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct env;
struct bdev;

/*
 * A one-shot timer; embed it, zeroed. The callback runs on the thread that started it, outside
 * any task. Starting an armed timer moves it; stopping an idle one does nothing.
 */
struct env_timer {
	void (*fn)(void *arg);
	void *arg;
	void *impl; /* the environment's own */
};

enum env_disk_flags {
	ENV_DISK_RDONLY = 1,
};

struct env_ops {
	/* Required. Monotonic nanoseconds. Any thread. */
	uint64_t (*now_ns)(struct env *e);
	/* Required. Nanoseconds since 1970 UTC. Any thread. */
	uint64_t (*realtime_ns)(struct env *e);
	/* Required. Fills buf with unpredictable bytes (from the seed in simulation). Any thread.
	 */
	void (*random)(struct env *e, void *buf, size_t len);
	/* Required. */
	void (*timer_start)(struct env *e, struct env_timer *t, uint64_t after_ns);
	void (*timer_stop)(struct env *e, struct env_timer *t);
	/* Required. Waits. Opens the disk at `path` (file or block device). 0 or -errno. */
	int (*disk_open)(struct env *e, const char *path, unsigned flags, struct bdev **ret);
};

struct env {
	const struct env_ops *ops;
};

uint64_t env_now_ns(struct env *e);
uint64_t env_realtime_ns(struct env *e);
void env_random(struct env *e, void *buf, size_t len);
uint64_t env_random_u64(struct env *e);
void env_timer_start(struct env *e, struct env_timer *t, uint64_t after_ns);
void env_timer_stop(struct env *e, struct env_timer *t);
int env_disk_open(struct env *e, const char *path, unsigned flags, struct bdev **ret);

/* Waits (a task) for that long; may not return early. */
void env_sleep_ns(struct env *e, uint64_t ns);

struct waitq;
/* waitq_wait() that gives up: 0 when woken, -ETIMEDOUT after `ns`. */
int env_waitq_wait(struct env *e, struct waitq *q, uint64_t ns);

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* The environment of this process: libuv timers of the calling thread's reactor, io_uring. */
struct env *env_real(void);

#endif
