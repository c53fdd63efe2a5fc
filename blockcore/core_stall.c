/*
 * Disks that do not answer, watched by a task of its own, which never calls a disk.
 *
 *   SLOW_NS        it is told, and status says what waits for it
 *   core.stuck_ns  where its pool can spare it, it goes out as one that failed: commands go on from
 *                  redundancy, those too that it has calls of (disk_fail()). The calls are left
 *                  behind; until the system has given them back the disk is not used again, and
 *                  status says so.
 */
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (NS_PER_S / 2)
#define SLOW_NS (2 * NS_PER_S)

bool core_disk_stalled(const struct disk *d, char *why, size_t size)
{
	uint64_t ns = disk_waits_ns(d);
	why[0] = '\0';
	if (ns < SLOW_NS)
		return false;
	if (disk_left(d))
		snprintf(why, size,
			 "has not answered for %llu s; %u calls were left behind, and it cannot be "
			 "used before they are back",
			 (unsigned long long)(ns / NS_PER_S), disk_left(d));
	else
		snprintf(why, size, "has not answered for %llu s; %u calls wait for it",
			 (unsigned long long)(ns / NS_PER_S), disk_in_flight(d));
	return true;
}

static void give_up(struct core *c, struct disk *d, const char *why)
{
	static const uint8_t none[16];
	const uint8_t *pool = disk_label(d)->pool_uuid;
	struct core_pool *cp = core_pool_by_uuid(c, pool);
	if (disk_state(d) != DISK_ONLINE || disk_waits_ns(d) < c->stuck_ns)
		return;
	if (cp && cp->pool)
		pool_drop(cp->pool, d, why); /* the last copy stays in use, and is waited for */
	else if (!memcmp(pool, none, 16))
		disk_fail(d, why); /* a spare: changes of the metadata go on without it */
	else
		disk_leave_calls(d); /* the partner's: it was only looked at */
}

static void look_at(struct core *c, struct disk *d, bool *told)
{
	char why[128];
	bool stalled = core_disk_stalled(d, why, sizeof(why));
	if (stalled && !*told)
		event_write(LOG_L_ERROR, "disk.slow", "disk %s %s", disk_path(d), why);
	else if (!stalled && *told)
		event_write(LOG_L_NOTICE, "disk.answers", "disk %s answers again", disk_path(d));
	*told = stalled;
	if (stalled)
		give_up(c, d, why);
}

static void stall_task(void *arg)
{
	struct core *c = arg;
	bool *told = calloc(c->ndisks + 1, sizeof(*told));
	while (told && !c->closing) {
		env_waitq_wait(c->env, &c->watch, LOOK_NS);
		for (unsigned i = 0; i < c->ndisks && !c->closing; i++)
			look_at(c, c->disks[i], &told[i]);
	}
	free(told);
	core_background_done(c);
}

int core_stall_start(struct core *c)
{
	return core_background(c, stall_task, c);
}
