/*
 * Scenario `pools`: a redundant pool under load, its disks' faults, crashes.
 *
 *   pools_faults.c  what happens to disks, and when it may
 *   sim_pools.c     rounds, crash points, and what must hold in the end
 */
#ifndef ISTHMUS_TESTS_SIM_POOLS_H
#define ISTHMUS_TESTS_SIM_POOLS_H

#include "tests/sim/array.h"

#define NOBODY ARRAY_DISKS_MAX

struct pools {
	struct array a; /* first: tasks get it */
	bool log_always;
	bool parity;
	unsigned redundancy; /* disks of a column or row that may be lost */
	unsigned weak;	     /* the disk with bad blocks; NOBODY */
	bool dead[ARRAY_DISKS_MAX];
	unsigned spares_end; /* disks from here on are for a further group; all: it does not grow */
	bool at_point;	     /* it ended at a crash point */
	unsigned faults;
	unsigned point; /* the crash point of the seed */
	bool at_own;	/* the world is to end at that one */
};

/* The pool; NULL: the array is not open. */
struct core_pool *pools_pool(struct pools *w);
/* Every disk that is dead stands in the metadata as such: a crash is one fault then. */
bool pools_all_recorded(struct pools *w);
/* May the world end now? */
bool pools_crash_is_covered(struct pools *w);
/* Runs fn(w) as a task that a crash may cut off. True when it ended before the world did. */
bool pools_run(struct pools *w, task_fn *fn, const char *what);

/* One of all that may happen, chosen by the seed. */
void pools_fault(struct pools *w);
/* A disk that may be lost now, if one may, is. */
void pools_disk_dies(struct pools *w);
/* Who hangs is detached: its calls come back as errors. */
void pools_let_go(struct pools *w);
/* A dead disk works again: as it was, or another in its place. */
void pools_revive(struct pools *w, unsigned d, bool blank);
/* For pools_run(): as `pool replace` does for each place that is OUT; or a disk that is free
 * becomes a spare. */
void pools_repair_task(void *w);
/* By a RAID group, and the volume into it, once. */
void pools_grow(struct pools *w);

#endif
