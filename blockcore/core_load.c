/*
 * Whether the disks are nearly idle. Asked by who would do work that can wait: how many calls each
 * disk has in flight is looked at for a second. Nobody else pays for it.
 */
#include "blockcore/core_impl.h"
#include "blockcore/disk/disk.h"
#include "runtime/env.h"

#define LOOKS	50
#define LOOK_NS (20 * NS_PER_MS)
#define LOW	4 /* one call in flight in so many looks at a disk */

bool core_load_is_low(struct core *c)
{
	uint64_t busy = 0, looks = 0;
	for (unsigned i = 0; i < LOOKS; i++) {
		for (unsigned d = 0; d < c->ndisks; d++, looks++)
			busy += disk_in_flight(c->disks[d]);
		env_sleep_ns(c->env, LOOK_NS);
	}
	return busy * LOW < looks;
}
