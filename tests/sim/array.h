/*
 * One controller's array under load, for scenarios: users that read, write and flush a volume all
 * at once, opening, closing and crashes, everything judged by history.h.
 */
#ifndef ISTHMUS_TESTS_SIM_ARRAY_H
#define ISTHMUS_TESTS_SIM_ARRAY_H

#include "tests/sim/history.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_env.h"
#include "blockcore/core_impl.h"

#define ARRAY_DISKS_MAX 8
#define VOLUME_SIZE	(4 * 1024 * 1024ull)
#define ARRAY_SIZE_MAX	(2 * VOLUME_SIZE)
#define IO_MAX		(64 * 1024u)
#define USERS		8

struct array {
	struct sim *sim;
	struct history *history;
	struct sim_disk *disks[ARRAY_DISKS_MAX];
	const char *paths[ARRAY_DISKS_MAX];
	unsigned ndisks;     /* configured */
	unsigned pool_disks; /* of these the first are in the pool */
	const char *level;
	uint32_t chunk;
	bool checksums;
	bool battery, verbose;
	void *segment, *snapshot;
	size_t segment_size;
	struct core *core;
	struct volume *volume;
	uint64_t size; /* of it, that is used: VOLUME_SIZE, to ARRAY_SIZE_MAX */
	bool stop, dead, failed;
	bool power_loss; /* what the next crash is */
	unsigned users_left;
	uint64_t began_ns[USERS]; /* requests under way; 0: none */
	struct scenario_result *result;
};

/* Simulator, history, disks (d0 ...), memory; the fields above that say how many must be set. */
void array_init(struct array *a, struct sim *sim, bool verbose, struct scenario_result *result);
void array_memory(struct array *a);
/* After a good run only: a failed one leaves tasks behind. */
void array_fini(struct array *a);
/* The run has failed: the first reason counts. */
void array_fail(struct array *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Runs fn(a) as a task to its end. */
void array_run(struct array *a, task_fn *fn, const char *what);
/* Tasks for array_run(): opens; makes pool and volume too; reads every sector; compares all copies
 * once all is quiet; closes. */
void array_open(void *a);
void array_create(void *a);
void array_verify(void *a);
void array_compare(void *a);
void array_close(void *a);

void array_users_start(struct array *a);
void array_users_stop(struct array *a);
/* When the oldest request that is under way began; now, when none is. */
uint64_t array_oldest_ns(const struct array *a);

/* A crash point of those whose names begin with module, as sim_fault_arm() takes it, at random;
 * false: there are none. */
bool array_pick_point(struct array *a, const char *module, unsigned *ret);

#define ARRAY_DISK_TIMEOUT_S 3
/*
 * A crash in two steps: the process is killed, or (power_loss) memory and what was not flushed are
 * lost. From array_crash_now() on, which any task or hook may call, nothing reaches a disk or a
 * host; after array_crash_after() nothing is open.
 */
void array_crash_now(void *a);
void array_crash_after(struct array *a);

#endif
