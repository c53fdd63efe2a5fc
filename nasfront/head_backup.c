/*
 * Backups of the group's state at intervals: a head orders one over its channel when the last,
 * whoever ordered it, is as old as the interval. The configuration brings both; a backup that was
 * made is a change of the array metadata, so all heads of the group hear of it and the next is due
 * an interval later for all of them. The controller copies; of two orders at once it refuses one.
 * Where backups are made when the load is low, a head asks for one "if it is" every few seconds,
 * and at the interval's end for one in any case.
 */
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "nasfront/piv/piv.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>

#define FIRST_NS     (60 * NS_PER_S) /* at most until the first */
#define AGAIN_NS     (60 * NS_PER_S) /* after an order that failed */
#define SPREAD_NS    (2 * NS_PER_S)  /* so that heads of a group do not all order at once */
#define ON_BACKUP_NS (10 * NS_PER_S)
#define EARLY_NS     (60 * NS_PER_S) /* after the last, when the load is low */
#define LOOK_NS	     (10 * NS_PER_S) /* at the load */

/* How long until a backup is due; 0: now. A clock that was set back does not put it off for ever.
 */
static uint64_t due_in(const struct head *h)
{
	uint64_t now = env_realtime_ns(h->env), interval = h->backup.interval_ns;
	uint64_t from = h->backup.last_ns;
	if (from == 0) { /* there is none yet: not only in an hour */
		from = h->backup.since_ns;
		interval = MIN(interval, FIRST_NS);
	}
	if (from > now)
		return interval;
	return now - from >= interval ? 0 : interval - (now - from);
}

/* May it be made before it is due? Not at once again. */
static bool may_be_early(const struct head *h)
{
	uint64_t now = env_realtime_ns(h->env);
	return h->backup.load && h->backup.last_ns <= now && now - h->backup.last_ns >= EARLY_NS;
}

/* 0, or an error that was told unless it was the last one's as well. */
static int order(struct head *h, int before, bool low_load)
{
	Isthmus__ChannelBackedUp r;
	int rc = channel_backup(h->channel, NULL, false, low_load, &r);
	if (rc)
		return rc; /* the connection: the controller comes back */
	rc = r.code;
	if (rc && rc != -EBUSY && rc != -EAGAIN && rc != before)
		event_write(LOG_L_WARN, "head.backup_failed",
			    "head %s: the backup that was due was not made: %.150s",
			    h->config->name, r.text);
	else if (rc == 0)
		h->backup.last_ns = env_realtime_ns(h->env); /* the configuration confirms it */
	if (r.text != protobuf_c_empty_string)
		free(r.text);
	return rc;
}

static uint64_t round_of(struct head *h, int *rc)
{
	uint64_t wait = due_in(h);
	bool early = wait && may_be_early(h);
	/* What is on the backup is the truth then. */
	if ((wait == 0 || early) && h->piv && piv_on_backup(h->piv))
		return ON_BACKUP_NS;
	if (early && order(h, *rc, true) == 0)
		return due_in(h);
	if (wait)
		return h->backup.load ? MIN(wait, LOOK_NS) : wait;
	*rc = order(h, *rc, false);
	return *rc ? MIN(AGAIN_NS, h->backup.interval_ns) : due_in(h);
}

static void backup_main(void *arg)
{
	struct head *h = arg;
	int rc = 0;
	while (!h->stopping && !h->fenced) {
		if (!h->backup.interval_ns) {
			waitq_wait(&h->backup.wake);
			continue;
		}
		uint64_t wait = round_of(h, &rc);
		uint64_t spread = env_random_u64(h->env) % MIN(SPREAD_NS, h->backup.interval_ns);
		if (!h->stopping)
			env_waitq_wait(h->env, &h->backup.wake, wait + spread);
	}
	h->backup.runs = false;
	waitq_wake_all(&h->backup.ended);
}

void head_backup_apply(struct head *h, const Isthmus__NasConfig *cfg)
{
	uint64_t interval = cfg->backup_interval * NS_PER_S;
	bool changed = interval != h->backup.interval_ns || h->backup.load != cfg->backup_load;
	if (interval != h->backup.interval_ns)
		h->backup.since_ns = env_realtime_ns(h->env);
	h->backup.interval_ns = interval;
	h->backup.load = cfg->backup_load;
	h->backup.last_ns = cfg->backup_time_ns;
	if (!interval && !h->backup.runs)
		return;
	if (!h->backup.runs) {
		waitq_init(&h->backup.wake);
		waitq_init(&h->backup.ended);
		h->backup.runs = true;
		if (task_start(backup_main, h)) {
			h->backup.runs = false; /* the next configuration tries again */
			log_warn("head: no memory to order backups");
		}
	} else if (changed) {
		waitq_wake_all(&h->backup.wake);
	}
}

void head_backup_join(struct head *h)
{
	while (h->backup.runs) {
		waitq_wake_all(&h->backup.wake);
		waitq_wait(&h->backup.ended);
	}
}
