/*
 * Disks and metadata slots looked at while they are in use: a file that was removed, replaced or
 * cut short, a label or slot that was overwritten is told at once, not at the next start.
 *
 * A disk that is not what was opened goes out of its pool as one that failed. Where the pool
 * cannot spare it, it stays in use, since what it has can still be read: it is told, and `disk
 * list` says "failing" until the next look finds it well. So does a disk that returned errors and
 * is in use all the same, until it has returned none for a while.
 */
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS	    NS_PER_S
#define SLOTS_EVERY 10 /* looks */
#define SWEEP_EVERY 5
#define ERRORS_NS   (600 * NS_PER_S)
#define RETRY_NS    (10 * NS_PER_S)
#define REST_NS	    (10 * NS_PER_S)

/* What is remembered of a disk between looks. */
struct seen {
	uint64_t errors;
	uint64_t error_ns; /* when errors were last seen to have come; 0: long ago or never */
};

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
			    "disk %s: %s; pool %s cannot spare it: save what can be read while "
			    "the controller runs",
			    disk_path(d), why, cp->name);
	disk_set_reason(d, why);
}

/* Tells of errors when they begin. True while there were some lately; `why` says so. */
static bool returns_errors(struct core *c, struct disk *d, struct seen *s, char *why, size_t size)
{
	struct disk_stats st;
	uint64_t now = env_now_ns(c->env);
	disk_stats(d, &st);
	uint64_t errors = st.read_errors + st.write_errors + st.wrong_data;
	bool fresh = errors > s->errors;
	int n = snprintf(why, size, "returned %llu read and %llu write errors",
			 (unsigned long long)st.read_errors, (unsigned long long)st.write_errors);
	if (st.wrong_data && n > 0 && (size_t)n < size)
		snprintf(why + n, size - (size_t)n, ", and wrong data %llu times",
			 (unsigned long long)st.wrong_data);
	if (fresh && !s->error_ns)
		event_write(LOG_L_ERROR, "disk.errors", "disk %s %s", disk_path(d), why);
	s->errors = errors;
	if (fresh)
		s->error_ns = now;
	else if (s->error_ns && now - s->error_ns > ERRORS_NS)
		s->error_ns = 0;
	return s->error_ns != 0;
}

static void look_at(struct core *c, struct disk *d, struct seen *s)
{
	char why[160] = "", known[160];
	if (c->duplex && !disk_claimed(d)) {
		core_follow_disk(c, d, false); /* the partner's, or anybody's to label */
		return;
	}
	if (core_disk_stalled(d, why, sizeof(why)))
		return; /* it would not answer this either: core_stall.c */
	if (disk_check(d, why)) {
		not_what_was_opened(c, d, why);
		return;
	}
	if (disk_state(d) != DISK_ONLINE)
		return;
	if (returns_errors(c, d, s, why, sizeof(why))) {
		disk_set_reason(d, why);
		return;
	}
	disk_reason(d, known);
	if (!known[0])
		return;
	disk_set_reason(d, "");
	event_write(LOG_L_NOTICE, "disk.well", "disk %s is well again", disk_path(d));
}

/* A pool stays while it is swept: core_pool_remove() waits. */
static void sweep_intents(struct core *c)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		/* Of one that is being taken up it is not known yet what has to be resynced. */
		if (!cp->pool || !cp->recorded_open || cp->removing || c->closing)
			continue;
		cp->sweeping = true;
		pool_sweep_intent(cp->pool);
		cp->sweeping = false;
	}
}

void core_pool_retry(struct core_pool *cp)
{
	cp->retry_ns = env_now_ns(cp->core->env) + RETRY_NS;
}

/* A disk lost while another was being recorded, or a record that failed: writes ask for it too,
 * but there may be none. */
static void record_again(struct core_pool *cp)
{
	if (cp->pool && pool_unrecorded(cp->pool) && !atomic_load(&cp->recordings))
		core_pool_lost(cp, cp->pool);
}

static void retry_work(struct core *c)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		if (cp->removing || c->closing)
			continue;
		record_again(cp);
		if (!cp->retry_ns || env_now_ns(c->env) < cp->retry_ns)
			continue;
		cp->retry_ns = 0;
		atomic_fetch_add(&cp->users, 1); /* it stays meanwhile */
		core_pool_start_resync(cp);
		core_fill_resume(cp);
		atomic_fetch_sub(&cp->users, 1);
	}
}

/* May a process that died have calls on the disk yet? One of a pool that the partner has, with the
 * disk, was claimed there: they were back by then. */
static bool may_have_calls(struct core *c, struct disk *d)
{
	static const uint8_t nobody[16];
	size_t at;
	const Isthmus__Pool *mp = core_disk_pool(c, d, &at);
	const struct core_pool *cp = mp ? core_pool_find(c, mp->name) : NULL;
	if (!cp || disk_claimed(d))
		return false;
	bool lost = mp->disks[at]->failed && !mp->disks[at]->filling;
	if (!lost && cp->place == CORE_PARTNER)
		return false;
	if (disk_claim(d, nobody) == -EBUSY)
		return true;
	disk_unclaim(d);
	return false;
}

/* Pages of the cache that the process before was reading: once no read of its can be under way. */
static void end_quarantine(struct core *c)
{
	if (!cache_quarantined(c->cache) || env_now_ns(c->env) - c->opened_ns < REST_NS)
		return;
	for (unsigned i = 0; i < c->ndisks; i++)
		if (may_have_calls(c, c->disks[i]))
			return;
	cache_quarantine_end(c->cache);
}

static void watch_task(void *arg)
{
	struct core *c = arg;
	struct seen *seen = calloc(c->ndisks + 1, sizeof(*seen));
	for (unsigned n = 1; seen && !c->closing; n++) {
		env_waitq_wait(c->env, &c->watch, LOOK_NS);
		for (unsigned i = 0; i < c->ndisks && !c->closing; i++)
			look_at(c, c->disks[i], &seen[i]);
		if (n % SLOTS_EVERY == 0 && !c->closing)
			meta_check_slots(c->meta);
		if (n % SWEEP_EVERY == 0 && !c->closing)
			sweep_intents(c);
		retry_work(c);
		if (!c->closing)
			end_quarantine(c);
	}
	free(seen);
	core_background_done(c);
}

int core_watch_start(struct core *c)
{
	CHECK(c, CORE_MAGIC);
	int rc = core_stall_start(c);
	return rc ? rc : core_background(c, watch_task, c);
}
