/*
 * Disks that take the place of lost ones: a position of a pool that is OUT is filled onto another
 * disk, or onto its own when that is well again; spares do so by themselves.
 *
 *   1. The disk gets its label; the metadata names it at the position, failed and filling.
 *   2. From then on it gets every write of the pool; a task fills what is used (raid_fill.c).
 *   3. The metadata says that the position holds its data. A restart before that fills again.
 *
 * What decides which disk a position gets holds core.disks_lock from its first look to the end: a
 * spare and an admin's disk, or two positions and one spare, must not meet in between.
 *
 * One position of a pool at a time, and none while a resync is needed: what copies or parity say
 * is not certain before.
 */
#include "blockcore/core_impl.h"
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

/* ---- what the metadata says of a disk ---- */

const Isthmus__Pool *core_disk_pool(struct core *c, const struct disk *d, size_t *ret_position)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	for (size_t i = 0; i < am->n_pools; i++)
		for (size_t j = 0; j < am->pools[i]->n_disks; j++) {
			const Isthmus__PoolDisk *pd = am->pools[i]->disks[j];
			bool same = disk_state(d) == DISK_MISSING
					? strcmp(pd->path, disk_path(d)) == 0
					: memcmp(pd->uuid.data, disk_label(d)->disk_uuid, 16) == 0;
			if (same) {
				*ret_position = j;
				return am->pools[i];
			}
		}
	return NULL;
}

static const Isthmus__Spare *find_spare(const Isthmus__ArrayMeta *am, const struct disk *d)
{
	for (size_t i = 0; i < am->n_spares; i++)
		if (memcmp(am->spares[i]->uuid.data, disk_label(d)->disk_uuid, 16) == 0)
			return am->spares[i];
	return NULL;
}

bool core_disk_spare(struct core *c, const struct disk *d)
{
	return disk_state(d) == DISK_ONLINE && find_spare(meta_get(c->meta), d);
}

static void remove_spare(Isthmus__ArrayMeta *am, const uint8_t *uuid)
{
	for (size_t i = 0; i < am->n_spares; i++)
		if (memcmp(am->spares[i]->uuid.data, uuid, 16) == 0) {
			isthmus__spare__free_unpacked(am->spares[i], NULL);
			pb_remove(&am->spares, &am->n_spares, i);
			return;
		}
}

/* ---- labels ---- */

/* Makes the disk one of the array's, at that place (cp NULL: at none). */
static int label(struct core *c, struct disk *d, const struct pool_place *at, char *why)
{
	struct disk_label l = *disk_label(d);
	bool blank = disk_state(d) == DISK_BLANK;
	memcpy(l.array_uuid, c->array_uuid, 16);
	memset(l.pool_uuid, 0, 16);
	l.position = 0;
	if (at) {
		memcpy(l.pool_uuid, pool_uuid(at->cp->pool), 16);
		l.position = at->position;
	}
	if (blank)
		env_random(c->env, l.disk_uuid, 16);
	int rc = disk_write_label(d, &l);
	if (rc == 0) {
		meta_disk_remove(c->meta, d); /* it may carry the metadata already */
		rc = meta_disk_add(c->meta, d);
	}
	if (rc)
		snprintf(why, CORE_WHY_LEN, "disk '%.100s' cannot be labelled: %s", disk_path(d),
			 err_text(rc));
	return rc;
}

/* ---- metadata ---- */

struct change {
	const struct pool_place *at;
	const struct disk *disk;
	bool failed, filling, fresh;
};

static int change_place(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct change *ch = arg;
	for (size_t i = 0; i < am->n_pools; i++) {
		Isthmus__Pool *mp = am->pools[i];
		if (strcmp(mp->name, ch->at->cp->name) != 0)
			continue;
		Isthmus__PoolDisk *pd = mp->disks[ch->at->position];
		pd->failed = ch->failed;
		pd->filling = ch->filling;
		pd->fresh = ch->fresh;
		if (!ch->disk)
			return 0;
		remove_spare(am, disk_label(ch->disk)->disk_uuid);
		int rc = pb_set_text(&pd->path, disk_path(ch->disk));
		return rc ? rc : pb_set_bytes(&pd->uuid, disk_label(ch->disk)->disk_uuid, 16);
	}
	return -ENOENT;
}

/* What holds at the time it is written: a disk lost meanwhile stays failed. */
static int change_filled(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct pool_place *at = arg;
	struct change ch = {.at = at, .failed = !pool_disk_in(at->cp->pool, at->position)};
	return change_place(am, &ch, why);
}

/* ---- filling ---- */

static const Isthmus__PoolDisk *place_of(const struct pool_place *at)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(at->cp->core->meta), at->cp->name);
	return mp ? mp->disks[at->position] : NULL;
}

static int fill(const struct pool_place *at)
{
	struct core *c = at->cp->core;
	struct extent_map used;
	char why[CORE_WHY_LEN];
	int rc = core_pool_map(c, at->cp->name, &used);
	if (rc) {
		pool_fill_cancel(at->cp->pool, at->position);
		return rc;
	}
	event_write(LOG_L_NOTICE, "pool.rebuild_started", "pool %s: disk %s is being filled",
		    at->cp->name, disk_path(pool_disk(at->cp->pool, at->position)));
	const Isthmus__PoolDisk *place = place_of(at);
	bool missed = place && !place->fresh;
	rc = pool_fill(at->cp->pool, at->position, used.used, used.n, missed);
	extent_map_fini(&used);
	FAULT("pool.fill.ended");
	if (rc == 0)
		rc = meta_update(c->meta, change_filled, (void *)at, why);
	FAULT("pool.fill.recorded");
	/* Where that fails its rows are logged on: slower, nothing else. */
	int unlogged = rc ? 0 : pool_fill_recorded(at->cp->pool, at->position);
	if (unlogged)
		log_warn("pool %s: the stripe log: %s", at->cp->name, err_text(unlogged));
	if (rc == 0)
		event_write(LOG_L_NOTICE, "pool.rebuild_done",
			    "pool %s: disk %s holds its part of the data; the pool is %s",
			    at->cp->name, disk_path(pool_disk(at->cp->pool, at->position)),
			    pool_state_name(pool_state(at->cp->pool)));
	return rc;
}

static void fill_failed(const struct pool_place *at, int rc)
{
	const Isthmus__PoolDisk *place = place_of(at);
	struct change ch = {.at = at, .failed = true, .fresh = place && place->fresh};
	char why[CORE_WHY_LEN];
	event_write(LOG_L_ERROR, "pool.rebuild_failed",
		    "pool %s: disk %s could not be filled: %s%s", at->cp->name,
		    disk_path(pool_disk(at->cp->pool, at->position)), err_text(rc),
		    rc == -ERR_MEDIUM ? "; another disk has a bad block: write over it, or restore "
					"what it holds, and `isthmus pool replace` again"
				      : "");
	if (!pool_disk_in(at->cp->pool, at->position))
		meta_update(at->cp->core->meta, change_place, &ch, why);
}

static bool next_filling(struct core_pool *cp, struct pool_place *ret)
{
	for (unsigned i = 0; cp->pool && i < pool_ndisks(cp->pool); i++)
		if (pool_filling(cp->pool, i)) {
			*ret = (struct pool_place){cp, i};
			return true;
		}
	return false;
}

static void fill_task(void *arg)
{
	struct core_pool *cp = arg;
	struct core *c = cp->core;
	struct pool_place at;
	int rc = 0;
	while (rc != -ERR_SHUTDOWN && !c->closing && next_filling(cp, &at)) {
		rc = fill(&at);
		if (rc && rc != -ERR_SHUTDOWN)
			fill_failed(&at, rc);
	}
	cp->filling = false;
	/* Perhaps another spare does; or what hindered has passed. Not at once: it may be quick. */
	if (rc && rc != -ERR_SHUTDOWN)
		core_pool_retry(cp);
	atomic_fetch_sub(&cp->users, 1);
	core_background_done(c);
}

static void start(struct core_pool *cp)
{
	struct pool_place at;
	if (cp->filling || cp->resyncing || cp->scrubbing || cp->core->closing ||
	    !next_filling(cp, &at))
		return;
	cp->filling = true;
	atomic_fetch_add(&cp->users, 1);
	if (core_background(cp->core, fill_task, cp)) {
		cp->filling = false;
		atomic_fetch_sub(&cp->users, 1);
	}
}

int core_fill_onto(const struct pool_place *at, struct disk *d, char *why)
{
	struct core *c = at->cp->core;
	const Isthmus__PoolDisk *place = place_of(at);
	struct change ch = {.at = at, .disk = d, .failed = true, .filling = true};
	if (!pool_disk_fits(at->cp->pool, at->position, d)) {
		snprintf(why, CORE_WHY_LEN,
			 "disk '%.100s' is too small for pool '%s', or has larger blocks",
			 disk_path(d), at->cp->name);
		return -ENOSPC;
	}
	/* The disk that was there lacks only what it missed, unless it never was filled whole. */
	ch.fresh = !place || place->fresh || disk_state(d) != DISK_ONLINE ||
		   memcmp(place->uuid.data, disk_label(d)->disk_uuid, 16) != 0;
	struct disk *old = pool_disk(at->cp->pool, at->position);
	if (old && old != d && disk_state(old) != DISK_ONLINE)
		meta_disk_remove(c->meta, old);
	int rc = core_disk_claim(c, d, at->cp->uuid);
	if (rc == 0)
		rc = label(c, d, at, why);
	if (rc == 0)
		rc = meta_update(c->meta, change_place, &ch, why);
	if (rc == 0)
		rc = pool_fill_begin(at->cp->pool, at->position, d);
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "%s", err_text(rc));
	if (rc == 0)
		start(at->cp);
	return rc;
}

/* It may have been wiped since, and be another's. */
static bool is_disk(const Isthmus__PoolDisk *pd, const struct disk *d)
{
	return memcmp(pd->uuid.data, disk_label(d)->disk_uuid, 16) == 0;
}

/* A spare that is there and fits; NULL: none. */
static struct disk *pick_spare(struct core_pool *cp, unsigned position)
{
	struct core *c = cp->core;
	for (unsigned i = 0; i < c->ndisks; i++)
		if (core_disk_spare(c, c->disks[i]) &&
		    pool_disk_fits(cp->pool, position, c->disks[i]))
			return c->disks[i];
	return NULL;
}

static void resume(struct core_pool *cp)
{
	char why[CORE_WHY_LEN] = "";
	if (!cp->pool || pool_state(cp->pool) != POOL_DEGRADED || cp->core->closing ||
	    cp->resyncing)
		return;
	for (unsigned i = 0; i < pool_ndisks(cp->pool); i++) {
		const Isthmus__Pool *mp = meta_pool_find(meta_get(cp->core->meta), cp->name);
		struct pool_place at = {cp, i};
		struct disk *spare;
		if (!mp || pool_disk_in(cp->pool, i) || pool_filling(cp->pool, i))
			continue;
		struct disk *own = pool_disk(cp->pool, i);
		if (mp->disks[i]->filling && own && disk_state(own) == DISK_ONLINE &&
		    is_disk(mp->disks[i], own)) {
			pool_fill_begin(cp->pool, i, own); /* begun before a restart */
		} else if ((spare = pick_spare(cp, i))) {
			event_write(LOG_L_NOTICE, "pool.spare_taken",
				    "pool %s: spare disk %s takes the place of %s", cp->name,
				    disk_path(spare), mp->disks[i]->path);
			if (core_fill_onto(&at, spare, why))
				event_write(LOG_L_ERROR, "pool.rebuild_failed", "pool %s: %s",
					    cp->name, why);
		}
	}
	start(cp);
}

void core_fill_resume(struct core_pool *cp)
{
	struct core *c = cp->core;
	if (cp->removing) /* who removes it has the lock, and waits for us */
		return;
	task_mutex_lock(&c->disks_lock);
	resume(cp);
	task_mutex_unlock(&c->disks_lock);
}

/* ---- spares ---- */

static int change_add_spare(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct disk *d = arg;
	Isthmus__Spare *s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	isthmus__spare__init(s);
	int rc = pb_set_text(&s->path, disk_path(d));
	if (rc == 0)
		rc = pb_set_bytes(&s->uuid, disk_label(d)->disk_uuid, 16);
	if (rc == 0)
		rc = pb_append(&am->spares, &am->n_spares, s);
	if (rc)
		isthmus__spare__free_unpacked(s, NULL);
	return rc;
}

static int spare_add(struct core *c, struct disk *d, char *why)
{
	struct core_pool *cp;
	size_t position;
	enum disk_state s = disk_state(d);
	const Isthmus__Pool *mp = core_disk_pool(c, d, &position);
	if (s != DISK_BLANK && s != DISK_ONLINE) {
		snprintf(why, CORE_WHY_LEN, "disk '%.100s' is %s%s", disk_path(d),
			 disk_state_name(s),
			 s == DISK_FOREIGN ? "; `isthmus disk wipe --force` makes it blank" : "");
		return -EINVAL;
	}
	if (mp || core_disk_spare(c, d)) {
		snprintf(why, CORE_WHY_LEN, "disk '%.100s' is %s%s already", disk_path(d),
			 mp ? "in pool " : "a spare", mp ? mp->name : "");
		return -EBUSY;
	}
	if (TAILQ_EMPTY(&c->pools)) {
		snprintf(why, CORE_WHY_LEN, "there is no pool yet that a spare could serve");
		return -EINVAL;
	}
	int rc = label(c, d, NULL, why);
	if (rc == 0)
		rc = meta_update(c->meta, change_add_spare, d, why);
	if (rc)
		return rc;
	event_write(LOG_L_NOTICE, "disk.spare", "disk %s is a spare", disk_path(d));
	TAILQ_FOREACH (cp, &c->pools, link)
		resume(cp);
	return 0;
}

int core_spare_add(struct core *c, struct disk *d, char *why)
{
	task_mutex_lock(&c->disks_lock);
	int rc = spare_add(c, d, why);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}

static int change_remove_spare(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const char *path = arg;
	for (size_t i = 0; i < am->n_spares; i++)
		if (strcmp(am->spares[i]->path, path) == 0) {
			isthmus__spare__free_unpacked(am->spares[i], NULL);
			pb_remove(&am->spares, &am->n_spares, i);
			return 0;
		}
	snprintf(why, CORE_WHY_LEN, "disk '%.100s' is no spare", path);
	return -ENOENT;
}

int core_spare_remove(struct core *c, const char *path, char *why)
{
	task_mutex_lock(&c->disks_lock);
	int rc = meta_update(c->meta, change_remove_spare, (void *)path, why);
	task_mutex_unlock(&c->disks_lock);
	if (rc == 0)
		event_write(LOG_L_NOTICE, "disk.spare_removed", "disk %s is no spare any more",
			    path);
	return rc;
}
