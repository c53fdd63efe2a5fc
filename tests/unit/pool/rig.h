/* A pool on simulated disks, and random histories on it that are compared with a flat copy. */
#ifndef ISTHMUS_TESTS_UNIT_POOL_RIG_H
#define ISTHMUS_TESTS_UNIT_POOL_RIG_H

#include <check.h>
#include "blockcore/pool/pool_impl.h"
#include "runtime/env.h"
#include "tests/sim/sim_env.h"

#define MIB	  (1024 * 1024ull)
#define DISK_SIZE (68 * MIB)
#define NDISKS	  6
#define EXTENT	  (1 * MIB)

struct rig {
	struct sim *sim;
	struct sim_disk *sd[NDISKS];
	struct disk *d[NDISKS];
	struct raid *p;
	unsigned n;
	unsigned lost_calls;
	bool hold; /* lost disks are not recorded */
	int record_err;
};

/* The disks of the next pool hold junk, as used ones do. */
extern bool rig_junk;
/* The next pools have checksums; history() keeps to their blocks. */
extern bool rig_sums;
void rig_open(struct rig *r, const char *level, unsigned n, uint32_t chunk);
void rig_close(struct rig *r);
/* Random requests in the first HISTORY_SPAN bytes, which hold zeros before; ends with a look at all
 * copies. */
#define HISTORY_SPAN (9 * MIB)
void history(struct rig *r, unsigned steps);

#define RIG_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct rig r = {.sim = sim_new(11)};                                               \
		ck_assert_int_eq(sim_run(r.sim, name##_task, &r), 0);                              \
		sim_run_for(r.sim, NS_PER_S);                                                      \
		sim_free(r.sim);                                                                   \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

#endif
