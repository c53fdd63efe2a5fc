/*
 * Disks and metadata slots looked at while they are in use: a file that was removed, replaced or
 * cut short, a label or slot that was overwritten is told at once, not at the next start.
 *
 * A disk that is not what was opened goes out of its pool as one that failed. Where it holds the
 * only copy it stays in use, since what it has can still be read: it is told, and `disk list` says
 * "failing" until the next look finds it well.
 */
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

#define LOOK_NS	    NS_PER_S
#define SLOTS_EVERY 10 /* looks */

/* Unhurt so far: takes it out of use, or tells. */
static void not_what_was_opened(struct core *c, struct disk *d, const char *why)
{
	char known[160];
	struct core_pool *cp = core_pool_by_uuid(c, disk_label(d)->pool_uuid);
	disk_reason(d, known);
	int rc = cp ? pool_drop(cp->pool, d, why) : -ENOENT;
	if (rc == 0)
		return;
	if (rc == -ENOENT) { /* in no pool */
		disk_fail(d, why);
		return;
	}
	if (strcmp(known, why) != 0)
		event_write(LOG_L_ERROR, "disk.failing",
			    "disk %s: %s; it holds the only copy of data of pool %s: save what can "
			    "be read while the controller runs",
			    disk_path(d), why, cp->name);
	disk_set_reason(d, why);
}

static void look_at(struct core *c, struct disk *d)
{
	char why[160] = "", known[160];
	if (disk_check(d, why)) {
		not_what_was_opened(c, d, why);
		return;
	}
	disk_reason(d, known);
	if (disk_state(d) != DISK_ONLINE || !known[0])
		return;
	disk_set_reason(d, "");
	event_write(LOG_L_NOTICE, "disk.well", "disk %s is what it was again", disk_path(d));
}

static void watch_task(void *arg)
{
	struct core *c = arg;
	for (unsigned n = 1; !c->closing; n++) {
		env_waitq_wait(c->env, &c->watch, LOOK_NS);
		for (unsigned i = 0; i < c->ndisks && !c->closing; i++)
			look_at(c, c->disks[i]);
		if (n % SLOTS_EVERY == 0 && !c->closing)
			meta_check_slots(c->meta);
	}
	core_background_done(c);
}

int core_watch_start(struct core *c)
{
	CHECK(c, CORE_MAGIC);
	return core_background(c, watch_task, c);
}
