/*
 * Pools in use: extents, lost disks, resync, scrub, removing.
 */
#include "blockcore/core_impl.h"
#include "blockcore/control/meta_share.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void core_pool_free(struct core *c, struct core_pool *cp)
{
	TAILQ_REMOVE(&c->pools, cp, link);
	pool_free(cp->pool);
	core_pool_unclaim(c, cp->uuid);
	free(cp);
}

/* ---- extents ---- */

int core_pool_map(struct core *c, const char *pool, struct extent_map *ret)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__Pool *mp = meta_pool_find(am, pool);
	struct reservation *r;
	int rc = 0;
	extent_map_init(ret, mp ? mp->extents : 0);
	for (size_t i = 0; i < am->n_volumes && rc == 0; i++) {
		const Isthmus__Volume *v = am->volumes[i];
		if (strcmp(v->pool, pool) != 0)
			continue;
		for (size_t j = 0; j < v->n_map && rc == 0; j++)
			rc = extent_map_add(ret, v->map[j]->first, v->map[j]->count);
	}
	TAILQ_FOREACH (r, &c->reserved, link)
		for (size_t j = 0; j < r->n && rc == 0 && strcmp(r->pool, pool) == 0; j++)
			rc = extent_map_add(ret, r->runs[j].first, r->runs[j].count);
	if (rc) {
		extent_map_fini(ret);
		return rc;
	}
	extent_map_sort(ret);
	return 0;
}

uint64_t core_pool_free_bytes(struct core *c, const char *pool)
{
	struct extent_map m;
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), pool);
	if (!mp || core_pool_map(c, pool, &m))
		return 0;
	uint64_t n = extent_map_free(&m) * mp->extent_size;
	extent_map_fini(&m);
	return n;
}

/* ---- lost disks ---- */

struct recording {
	struct core_pool *cp;
	uint64_t mask;
};

static int change_lost(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct recording *r = arg;
	r->mask = pool_out_mask(r->cp->pool);
	for (size_t i = 0; i < am->n_pools; i++) {
		Isthmus__Pool *mp = am->pools[i];
		if (memcmp(mp->uuid.data, pool_uuid(r->cp->pool), 16) != 0)
			continue;
		for (size_t d = 0; d < mp->n_disks; d++)
			if (r->mask >> d & 1)
				mp->disks[d]->failed = true;
	}
	return 0;
}

/* Rows that the lost disk still holds up are not waited for longer than that: all writers wait for
 * the record. Should a crash come before they have ended, these rows are as after a crash and a
 * loss at once. */
#define SETTLE_NS (5 * NS_PER_S)

static void settle_task(void *arg)
{
	struct core_pool *cp = arg;
	struct core *c = cp->core;
	cp->settle_rc = pool_settle(cp->pool);
	cp->settling = false;
	waitq_wake_all(&cp->settled);
	atomic_fetch_sub(&cp->users, 1);
	core_background_done(c);
}

/* False: not by then. */
static bool settled_by(struct core_pool *cp, uint64_t end)
{
	struct env *env = cp->core->env;
	for (uint64_t now = env_now_ns(env); cp->settling && now < end; now = env_now_ns(env))
		env_waitq_wait(env, &cp->settled, end - now);
	return !cp->settling;
}

static int settle(struct core_pool *cp)
{
	struct core *c = cp->core;
	uint64_t end = env_now_ns(c->env) + SETTLE_NS;
	int rc = 0;
	if (!pool_parity(cp->pool))
		return 0;
	if (settled_by(cp, end)) { /* what was begun for another loss does not cover this one */
		cp->settling = true;
		atomic_fetch_add(&cp->users, 1);
		rc = core_background(c, settle_task, cp);
		if (rc) {
			cp->settling = false;
			atomic_fetch_sub(&cp->users, 1);
			return rc;
		}
	}
	if (settled_by(cp, end))
		return cp->settle_rc;
	event_write(
	    LOG_L_WARN, "pool.held_up",
	    "pool %s: calls to a lost disk have not come back; it goes on without waiting for "
	    "them",
	    cp->name);
	return 0;
}

static void record_lost(void *arg)
{
	struct core_pool *cp = arg;
	struct core *c = cp->core;
	struct recording r = {.cp = cp};
	char why[CORE_WHY_LEN];
	int rc = settle(cp);
	FAULT("pool.loss.settled");
	if (rc)
		snprintf(why, sizeof(why), "its other disks cannot be flushed: %s", err_text(rc));
	else
		rc = meta_update(c->meta, change_lost, &r, why);
	if (rc && !cp->record_failed)
		event_write(LOG_L_ERROR, "pool.not_recorded",
			    "pool %s: its failed disks could not be recorded, flushes fail: %s",
			    cp->name, why);
	cp->record_failed = rc != 0;
	atomic_fetch_sub(&cp->recordings, 1);
	pool_recorded(cp->pool, r.mask, rc);
	if (rc == 0)
		core_fill_resume(cp);
	atomic_fetch_sub(&cp->users, 1);
	core_background_done(c);
}

/* From any reactor. */
void core_pool_lost(void *arg, struct pool *p)
{
	struct core_pool *cp = arg;
	atomic_fetch_add(&cp->core->background, 1); /* closing waits for it */
	atomic_fetch_add(&cp->users, 1);
	atomic_fetch_add(&cp->recordings, 1);
	if (task_start_on(cp->core->owner, record_lost, cp)) {
		atomic_fetch_sub(&cp->recordings, 1);
		atomic_fetch_sub(&cp->users, 1);
		atomic_fetch_sub(&cp->core->background, 1);
		pool_recorded(p, 0, -ENOMEM);
	}
}

void core_meta_write_failed(void *arg, struct disk *d, int err)
{
	struct core *c = arg;
	char why[160];
	struct core_pool *cp = core_pool_by_uuid(c, disk_label(d)->pool_uuid);
	snprintf(why, sizeof(why), "array metadata could not be written: %s", err_text(err));
	if (cp && cp->pool)
		pool_drop(cp->pool, d, why); /* the last copy stays in use */
}

/* ---- resync ---- */

static int change_synced(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct core_pool *cp = arg;
	for (size_t i = 0; i < am->n_pools; i++)
		if (memcmp(am->pools[i]->uuid.data, pool_uuid(cp->pool), 16) == 0)
			am->pools[i]->resync = false;
	return 0;
}

static int resync(struct core_pool *cp)
{
	struct core *c = cp->core;
	struct extent_map used;
	char why[CORE_WHY_LEN];
	struct pool_stats st;
	int rc = core_pool_map(c, cp->name, &used);
	if (rc)
		return rc;
	event_write(LOG_L_NOTICE, "pool.resync_started",
		    "pool %s was not closed in order: its copies are being compared", cp->name);
	rc = pool_resync(cp->pool, used.used, used.n);
	extent_map_fini(&used);
	if (rc)
		return rc;
	pool_stats(cp->pool, &st);
	rc = meta_update(c->meta, change_synced, cp, why);
	if (rc == 0)
		event_write(LOG_L_NOTICE, "pool.resync_done",
			    "pool %s: copies are equal; %llu ranges differed", cp->name,
			    (unsigned long long)st.resync_fixed);
	return rc;
}

static void resync_task(void *arg)
{
	struct core_pool *cp = arg;
	struct core *c = cp->core;
	int rc = resync(cp);
	if (rc && rc != -ERR_SHUTDOWN)
		event_write(LOG_L_ERROR, "pool.resync_failed",
			    "pool %s: resync ended early and is tried again: %s", cp->name,
			    err_text(rc));
	cp->resyncing = false;
	if (rc == 0)
		core_fill_resume(cp);
	else if (rc != -ERR_SHUTDOWN)
		core_pool_retry(cp);
	atomic_fetch_sub(&cp->users, 1);
	core_background_done(c);
}

void core_pool_start_resync(struct core_pool *cp)
{
	if (!cp->pool || !pool_resync_needed(cp->pool) || cp->resyncing)
		return;
	cp->resyncing = true;
	atomic_fetch_add(&cp->users, 1);
	if (core_background(cp->core, resync_task, cp)) {
		cp->resyncing = false;
		atomic_fetch_sub(&cp->users, 1);
	}
}

/* ---- scrub ---- */

static int scrub(struct core_pool *cp, uint64_t *ret_fixed)
{
	struct extent_map used;
	struct pool_stats before, after;
	int rc = core_pool_map(cp->core, cp->name, &used);
	if (rc)
		return rc;
	pool_stats(cp->pool, &before);
	rc = pool_scrub(cp->pool, used.used, used.n);
	extent_map_fini(&used);
	pool_stats(cp->pool, &after);
	*ret_fixed = after.resync_fixed - before.resync_fixed;
	return rc;
}

static void scrub_task(void *arg)
{
	struct core_pool *cp = arg;
	uint64_t fixed = 0;
	int rc = scrub(cp, &fixed);
	if (rc == 0)
		event_write(
		    fixed ? LOG_L_WARN : LOG_L_NOTICE, "pool.scrub_done",
		    "pool %s: all of it was read; %llu ranges were bad or differed and were "
		    "made right",
		    cp->name, (unsigned long long)fixed);
	else if (rc != -ERR_SHUTDOWN)
		event_write(LOG_L_ERROR, "pool.scrub_failed",
			    "pool %s: the scrub ended early, after %llu ranges were made right: %s",
			    cp->name, (unsigned long long)fixed, err_text(rc));
	cp->scrubbing = false;
	core_fill_resume(cp); /* what waited for it */
	struct core *c = cp->core;
	atomic_fetch_sub(&cp->users, 1);
	core_background_done(c);
}

int core_pool_scrub(struct core *c, const char *name, char *why)
{
	struct core_pool *cp = core_pool_find(c, name);
	if (!cp || !cp->pool || pool_state(cp->pool) == POOL_OFFLINE) {
		snprintf(why, CORE_WHY_LEN,
			 cp ? "pool '%.80s' is offline" : "there is no pool '%.80s'", name);
		return cp ? -EIO : -ENOENT;
	}
	if (pool_copies(cp->pool) < 2 && !pool_checksums(cp->pool)) {
		snprintf(
		    why, CORE_WHY_LEN,
		    "pool '%s' has one copy of everything and no checksums: nothing to compare",
		    name);
		return -EINVAL;
	}
	if (cp->resyncing || cp->filling || cp->scrubbing) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is at work already; see `isthmus pool list`",
			 name);
		return -EBUSY;
	}
	cp->scrubbing = true;
	atomic_fetch_add(&cp->users, 1);
	int rc = core_background(c, scrub_task, cp);
	if (rc) {
		cp->scrubbing = false;
		atomic_fetch_sub(&cp->users, 1);
	}
	return rc;
}

/* ---- remove ---- */

static int change_remove_pool(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const char *name = arg;
	for (size_t i = 0; i < am->n_volumes; i++)
		if (strcmp(am->volumes[i]->pool, name) == 0) {
			snprintf(why, CORE_WHY_LEN,
				 "pool '%s' holds volume '%s'; remove its volumes first", name,
				 am->volumes[i]->name);
			return -EBUSY;
		}
	for (size_t i = 0; i < am->n_pools; i++)
		if (strcmp(am->pools[i]->name, name) == 0) {
			isthmus__pool__free_unpacked(am->pools[i], NULL);
			pb_remove(&am->pools, &am->n_pools, i);
			return 0;
		}
	snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'", name);
	return -ENOENT;
}

static bool pool_reserved(const struct core *c, const char *name)
{
	const struct reservation *r;
	TAILQ_FOREACH (r, &c->reserved, link)
		if (strcmp(r->pool, name) == 0)
			return true;
	return false;
}

static int remove_pool(struct core *c, const char *name, char *why)
{
	struct core_pool *cp = core_pool_find(c, name);
	if (cp && cp->place != CORE_HERE) {
		snprintf(why, CORE_WHY_LEN, "pool '%.63s' is not this controller's", name);
		return -ERR_NOT_OWNER;
	}
	if (cp && (cp->pins || pool_reserved(c, name) || atomic_load(&cp->users))) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is busy (%s); try again when it is done",
			 name,
			 cp->resyncing		   ? "its copies are being compared"
			 : cp->filling		   ? "a disk is being filled"
			 : cp->scrubbing	   ? "it is being scrubbed"
			 : cp->pins		   ? "it is being moved"
			 : atomic_load(&cp->users) ? "a lost disk is being recorded"
						   : "a volume is being made or removed");
		return -EBUSY;
	}
	if (cp)
		cp->removing = true;
	int rc = meta_update(c->meta, change_remove_pool, (void *)name, why);
	if (rc && cp)
		cp->removing = false;
	if (rc || !cp)
		return rc;
	/* The disks stay the array's, and keep carrying its metadata; they are free for a new pool.
	 */
	for (unsigned i = 0; cp->pool && i < pool_ndisks(cp->pool); i++) {
		struct disk *d = pool_disk(cp->pool, i);
		if (!d || disk_state(d) != DISK_ONLINE)
			continue;
		struct disk_label l = *disk_label(d);
		memset(l.pool_uuid, 0, 16);
		l.position = 0;
		int e = disk_write_label(d, &l);
		if (e)
			log_warn("disk %s: label: %s", disk_path(d), err_text(e));
	}
	meta_tell_labels(c->meta);
	while (atomic_load(&cp->users) || cp->sweeping || cp->pins) /* a disk was lost meanwhile */
		env_sleep_ns(c->env, NS_PER_MS);
	core_pool_leave_word(c, cp->uuid);
	core_pool_free(c, cp);
	event_write(LOG_L_NOTICE, "pool.removed", "pool %s", name);
	return 0;
}

int core_pool_remove(struct core *c, const char *name, char *why)
{
	task_mutex_lock(&c->disks_lock);
	int rc = remove_pool(c, name, why);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}
