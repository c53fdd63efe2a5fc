/*
 * Opening: disks by path, labels to pools, metadata, cache, volumes.
 *
 *   1. Every configured path is opened; what is missing or damaged is kept as
 *      a disk in that state.
 *   2. The array is the one most labels name; disks of another are foreign. No
 *      label at all: a new array, whose uuid the first pool will carry.
 *   3. Damaged label copies are rewritten; the metadata is loaded.
 *   4. The cache segment is adopted or formatted.
 *   5. Pools are assembled by the uuids in the labels, whatever paths they came by. With a
 *      partner all are nowhere first, and come here by what the control memory says
 *      (core_own_look.c), each by steps 5 and 6 for itself and after 7.
 *   6. One metadata change says: the pools are in use (not clean), which disks they go without,
 *      and which copies have to be made equal. Only then is anything written.
 *   7. Volumes are attached, destage starts, resyncs start.
 *
 * Copies need a resync when the pool was not closed in order and the cache
 * segment did not survive: with it every write that was under way is still a
 * dirty page and will be written to all copies again. Parity and checksums need it always.
 */
#include "blockcore/control/meta_share.h"
#include "blockcore/core_impl.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- disks ---- */

#define REOPEN_NS NS_PER_S

static int open_disk(struct core *c, const char *path)
{
	struct bdev *b = NULL;
	struct disk *d;
	int rc = env_disk_open(c->env, path, 0, &b);
	if (rc) {
		event_write(LOG_L_WARN, "disk.missing", "disk %s: %s", path, err_text(rc));
		b = NULL;
	}
	rc = disk_open(&d, c->env, path, b, err_text(rc));
	if (rc == 0)
		c->disks[c->ndisks++] = d;
	return rc;
}

/* Calls of the old handle may be on their way yet, or were left behind. False: not back in time. */
static bool calls_are_back(struct core *c, const struct disk *d)
{
	uint64_t end = env_now_ns(c->env) + REOPEN_NS;
	while ((disk_left(d) || disk_in_flight(d)) && env_now_ns(c->env) < end)
		env_sleep_ns(c->env, NS_PER_MS);
	return !disk_left(d) && !disk_in_flight(d);
}

struct disk *core_disk_reopen(struct core *c, struct disk *d)
{
	struct bdev *b = NULL;
	struct disk *fresh;
	unsigned i = 0;
	if (!calls_are_back(c, d))
		return NULL;
	while (i < c->ndisks && c->disks[i] != d)
		i++;
	struct disk **more = reallocarray(c->retired, c->nretired + 1, sizeof(*more));
	if (i == c->ndisks || !more)
		return NULL;
	c->retired = more;
	if (env_disk_open(c->env, disk_path(d), 0, &b) ||
	    disk_open(&fresh, c->env, disk_path(d), b, ""))
		return NULL;
	if ((disk_state(fresh) != DISK_ONLINE && disk_state(fresh) != DISK_BLANK) ||
	    disk_pass_claim(d, fresh)) {
		disk_close(fresh);
		return NULL;
	}
	meta_disk_remove(c->meta, d);
	disk_set_lender(fresh, &c->lender);
	if (disk_state(d) == DISK_ONLINE) /* nobody is to use it from here on */
		disk_fail(d, "opened anew");
	c->retired[c->nretired++] = d;
	c->disks[i] = fresh;
	return fresh;
}

static int open_disks(struct core *c, const struct core_opts *o)
{
	int rc = 0;
	if (o->ndisks > CORE_DISKS_MAX)
		return -EINVAL;
	c->disks = calloc(o->ndisks ? o->ndisks : 1, sizeof(struct disk *));
	if (!c->disks)
		return -ENOMEM;
	for (unsigned i = 0; i < o->ndisks && rc == 0; i++)
		rc = open_disk(c, o->disks[i]);
	return rc;
}

static unsigned votes(const struct core *c, const uint8_t *uuid)
{
	unsigned n = 0;
	for (unsigned i = 0; i < c->ndisks; i++)
		n += disk_state(c->disks[i]) == DISK_ONLINE &&
		     memcmp(disk_label(c->disks[i])->array_uuid, uuid, 16) == 0;
	return n;
}

/* The array most labels name; the first of equals. */
static void choose_array(struct core *c)
{
	unsigned best = 0;
	env_random(c->env, c->array_uuid, 16);
	if (c->duplex) /* the partner's is the same */
		memcpy(c->array_uuid, c->duplex->gcm->id, 16);
	for (unsigned i = 0; i < c->ndisks; i++) {
		if (disk_state(c->disks[i]) != DISK_ONLINE)
			continue;
		const uint8_t *uuid = disk_label(c->disks[i])->array_uuid;
		if (votes(c, uuid) > best) {
			best = votes(c, uuid);
			memcpy(c->array_uuid, uuid, 16);
		}
	}
}

static void refuse_foreign(struct core *c)
{
	char why[160];
	for (unsigned i = 0; i < c->ndisks; i++) {
		struct disk *d = c->disks[i];
		if (disk_state(d) != DISK_ONLINE)
			continue;
		if (memcmp(disk_label(d)->array_uuid, c->array_uuid, 16) != 0)
			disk_set_foreign(d, "its label names another array");
		for (unsigned j = 0; j < i && disk_state(d) == DISK_ONLINE; j++) {
			if (disk_state(c->disks[j]) != DISK_ONLINE ||
			    memcmp(disk_label(c->disks[j])->disk_uuid, disk_label(d)->disk_uuid,
				   16) != 0)
				continue;
			snprintf(why, sizeof(why), "has the label of %.100s",
				 disk_path(c->disks[j]));
			disk_set_foreign(d, why);
		}
	}
	for (unsigned i = 0; i < c->ndisks; i++) {
		struct disk *d = c->disks[i];
		enum disk_state s = disk_state(d);
		if (s != DISK_FOREIGN && s != DISK_FAILED)
			continue;
		disk_reason(d, why);
		event_write(LOG_L_WARN, s == DISK_FOREIGN ? "disk.foreign" : "disk.unusable",
			    "disk %s: not used: %s", disk_path(d), why);
	}
}

static int open_meta(struct core *c, const struct core_opts *o)
{
	char why[CORE_WHY_LEN] = "";
	struct disk **mine = calloc(c->ndisks ? c->ndisks : 1, sizeof(struct disk *));
	unsigned n = 0;
	if (!mine)
		return -ENOMEM;
	if (c->duplex && meta_link_new(&c->meta_link, c->duplex->gcm, c->duplex->partner)) {
		free(mine);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < c->ndisks; i++)
		if (disk_state(c->disks[i]) == DISK_ONLINE) {
			disk_repair_label(
			    c->disks[i]); /* told when it fails; the other copy stands */
			mine[n++] = c->disks[i];
		}
	int rc = meta_open(&c->meta,
			   &(struct meta_opts){.env = c->env,
					       .array_uuid = c->array_uuid,
					       .array_name = o->array_name,
					       .disks = mine,
					       .ndisks = n,
					       .write_failed = core_meta_write_failed,
					       .arg = c,
					       .share = c->duplex ? &meta_link_ops : NULL,
					       .share_arg = c->meta_link,
					       .foreign = core_follow,
					       .foreign_done = core_followed},
			   why);
	free(mine);
	if (rc)
		event_write(LOG_L_ERROR, "meta.unusable", "the array cannot be opened: %s", why);
	return rc;
}

/* ---- pools ---- */

/* A pool that cannot be loaded is offline: what was under way in it is not certain. */
static int load_pool(struct core_pool *cp, bool closed)
{
	cp->removing = true; /* nothing begins on it yet */
	int rc = pool_load(cp->pool, closed);
	if (rc) {
		snprintf(cp->why, sizeof(cp->why), "its stripe log cannot be taken up: %s",
			 err_text(rc));
		while (atomic_load(&cp->users)) /* a disk was lost meanwhile */
			env_sleep_ns(cp->core->env, NS_PER_MS);
		pool_free(cp->pool);
		cp->pool = NULL;
	}
	cp->removing = false;
	return rc;
}

int core_pool_add(struct core *c, const Isthmus__Pool *mp, struct core_pool **ret)
{
	struct core_pool *cp = calloc(1, sizeof(*cp));
	if (!cp)
		return -ENOMEM;
	cp->core = c;
	snprintf(cp->name, sizeof(cp->name), "%s", mp->name);
	memcpy(cp->uuid, mp->uuid.data, 16);
	task_mutex_init(&cp->change);
	waitq_init(&cp->settled);
	cp->place = c->duplex ? CORE_NOWHERE : CORE_HERE;
	cp->waits_since = env_now_ns(c->env);
	TAILQ_INSERT_TAIL(&c->pools, cp, link);
	if (ret)
		*ret = cp;
	return 0;
}

int core_pool_assemble_into(struct core_pool *cp, const Isthmus__Pool *mp)
{
	struct core *c = cp->core;
	struct disk *disks[POOL_DISKS_MAX];
	bool out[POOL_DISKS_MAX];
	struct pool_opts o = {
	    .env = c->env,
	    .name = cp->name,
	    .level = mp->level,
	    .chunk = mp->chunk,
	    .extent_size = mp->extent_size,
	    .extents = mp->n_group_extents ? mp->group_extents : &mp->extents,
	    .ngroups = (unsigned)MAX(mp->n_group_extents, 1),
	    .disks = disks,
	    .out = out,
	    .ndisks = (unsigned)mp->n_disks,
	    .log_always = mp->log_always,
	    .checksums = mp->checksums == META_CHECKSUMS_CRC32C,
	    .lost = core_pool_lost,
	    .arg = cp,
	};
	memcpy(o.uuid, cp->uuid, 16);
	cp->why[0] = '\0';
	for (size_t i = 0; i < mp->n_disks; i++) {
		disks[i] = core_disk_by_uuid(c, mp->disks[i]->uuid.data);
		out[i] = mp->disks[i]->failed;
		if (!disks[i])
			event_write(LOG_L_WARN, "pool.disk_missing",
				    "pool %s: disk %zu, last seen as %s, is not there", mp->name, i,
				    mp->disks[i]->path);
	}
	int rc = pool_new(&cp->pool, &o);
	if (rc == -EINVAL)
		snprintf(cp->why, sizeof(cp->why), "a disk is smaller than it was");
	if (rc == 0) {
		pool_set_rate(cp->pool, mp->rebuild_rate);
		rc = load_pool(cp, mp->clean && !mp->resync);
	}
	if (rc && !cp->why[0])
		snprintf(cp->why, sizeof(cp->why), "%s", err_text(rc));
	if (rc || pool_state(cp->pool) == POOL_OFFLINE)
		event_write(LOG_L_ERROR, "pool.offline", "pool %s is offline: %s", cp->name,
			    rc ? cp->why : "too many of its disks are missing or failed");
	return 0;
}

/* Without a partner: here, or offline. */
static int assemble_alone(struct core *c, struct core_pool *cp)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), cp->name);
	if (core_pool_claim(c, mp, NULL, cp->why, sizeof(cp->why))) {
		event_write(LOG_L_ERROR, "pool.offline", "pool %s is offline: %s", cp->name,
			    cp->why);
		return 0;
	}
	return core_pool_assemble_into(cp, meta_pool_find(meta_get(c->meta), cp->name));
}

static int assemble_pools(struct core *c)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	struct core_pool *cp;
	int rc = 0;
	for (size_t i = 0; i < am->n_pools && rc == 0; i++)
		rc = core_pool_add(c, am->pools[i], NULL);
	TAILQ_FOREACH (cp, &c->pools, link)
		if (rc == 0 && !c->duplex)
			rc = assemble_alone(c, cp);
	return rc;
}

int core_change_pool_opened(struct core_pool *cp, Isthmus__Pool *mp, bool survived)
{
	/* Writes that a killed controller had under way are in its cache (or its partner's) and are
	 * written again: that mends copies, but not parity that is updated, and not the checksums
	 * that it had not written. */
	if (!mp->clean && (pool_parity(cp->pool) || pool_checksums(cp->pool) ||
			   (!survived && pool_copies(cp->pool) > 1)))
		mp->resync = true;
	mp->clean = false;
	mp->epoch = MAX(mp->epoch, cp->epoch);
	if (!mp->owner[0] && pb_set_text(&mp->owner, cp->core->controller))
		return -ENOMEM;
	for (size_t d = 0; d < mp->n_disks; d++) {
		struct disk *disk = pool_disk(cp->pool, (unsigned)d);
		if (!pool_disk_in(cp->pool, (unsigned)d))
			mp->disks[d]->failed = true;
		if (disk && pb_set_text(&mp->disks[d]->path, disk_path(disk)))
			return -ENOMEM;
	}
	return 0;
}

static int change_opened(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct core *c = arg;
	int rc = 0;
	for (size_t i = 0; i < am->n_pools && rc == 0; i++) {
		struct core_pool *cp = core_pool_by_uuid(c, am->pools[i]->uuid.data);
		if (cp && pool_state(cp->pool) != POOL_OFFLINE)
			rc = core_change_pool_opened(cp, am->pools[i], c->adopted > 0);
	}
	return rc;
}

void core_pool_recorded_open(struct core_pool *cp)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(cp->core->meta), cp->name);
	bool open = cp->pool && pool_state(cp->pool) != POOL_OFFLINE;
	if (open && mp && mp->resync)
		pool_resync_need(cp->pool);
	cp->recorded_open = open; /* now its write-intent map may be swept */
}

static int record_open(struct core *c)
{
	char why[CORE_WHY_LEN];
	struct core_pool *cp;
	if (TAILQ_EMPTY(&c->pools) || c->duplex) /* then each is recorded when it is taken */
		return meta_sync(c->meta);
	int rc = meta_update(c->meta, change_opened, c, why);
	if (rc) {
		event_write(LOG_L_ERROR, "meta.unusable", "the array cannot be opened: %s", why);
		return rc;
	}
	TAILQ_FOREACH (cp, &c->pools, link)
		core_pool_recorded_open(cp);
	return 0;
}

/* ---- volumes ---- */

static int attach_new(struct core *c, const struct volume_opts *o)
{
	struct volume *v, *there = core_volume_get(c, o->id);
	if (there) {
		core_volume_put(there);
		return 0;
	}
	int rc = volume_new(&v, o);
	if (rc)
		return rc;
	pthread_rwlock_wrlock(&c->lock);
	RB_INSERT(volume_tree, &c->volumes, v);
	pthread_rwlock_unlock(&c->lock);
	return 0;
}

/* Who made a volume, and who follows a change, may come to it at once; mv is gone by then. */
int core_attach(struct core *c, const Isthmus__Volume *mv)
{
	struct core_pool *cp = core_pool_find(c, mv->pool);
	char name[64];
	uint8_t uuid[16];
	struct extent_run *runs = calloc(mv->n_map ? mv->n_map : 1, sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	for (size_t i = 0; i < mv->n_map; i++)
		runs[i] = (struct extent_run){mv->map[i]->first, mv->map[i]->count};
	snprintf(name, sizeof(name), "%s", mv->name);
	memcpy(uuid, mv->uuid.data, 16);
	struct volume_opts o = {.env = c->env,
				.cache = c->cache,
				.pool = cp ? cp->pool : NULL,
				.battery = c->battery,
				.id = mv->id,
				.name = name,
				.uuid = uuid,
				.size = mv->size,
				.epoch = mv->epoch,
				.runs = runs,
				.nruns = mv->n_map,
				.place = cp ? cp->place : CORE_HERE,
				.owner_epoch = cp ? cp->epoch : 0};
	task_mutex_lock(&c->attaching);
	int rc = attach_new(c, &o);
	task_mutex_unlock(&c->attaching);
	free(runs);
	return rc;
}

/* By number, since attaching may wait and the metadata may change meanwhile. */
static int attach_volumes(struct core *c)
{
	size_t n = meta_get(c->meta)->n_volumes;
	uint32_t *ids = calloc(n ? n : 1, sizeof(*ids));
	int rc = ids ? 0 : -ENOMEM;
	for (size_t i = 0; i < n && rc == 0; i++)
		ids[i] = meta_get(c->meta)->volumes[i]->id;
	for (size_t i = 0; i < n && rc == 0; i++) {
		const Isthmus__Volume *mv = meta_volume_by_id(meta_get(c->meta), ids[i]);
		if (mv)
			rc = core_attach(c, mv);
	}
	free(ids);
	return rc;
}

static void read_left(void *arg, const struct iovec *iov, int iovcnt)
{
	struct core *c = arg;
	cache_read_left(c->cache, iov, iovcnt);
}

static void read_back(void *arg, const struct iovec *iov, int iovcnt)
{
	struct core *c = arg;
	cache_read_back(c->cache, iov, iovcnt);
}

/* What is read into the cache goes there without a copy. */
static void lend_cache(struct core *c)
{
	c->lender = (struct disk_lender){.left = read_left, .back = read_back, .arg = c};
	cache_memory(c->cache, &c->lender.from, &c->lender.to);
	for (unsigned i = 0; i < c->ndisks; i++)
		disk_set_lender(c->disks[i], &c->lender);
}

static int open_cache(struct core *c, const struct core_opts *o)
{
	struct cache_opts co = {
	    .env = c->env,
	    .segment = o->segment,
	    .segment_size = o->segment_size,
	    .page_size = 4096,
	    .controller = c->controller,
	    .battery = o->battery,
	    .sweep_ns = o->sweep_ns,
	    .heads = o->heads,
	};
	if (c->duplex) {
		co.partner_pages = c->duplex->partner_pages;
		co.mirror_share = c->duplex->mirror_share;
		co.partner_remote = !c->duplex->map;
		co.lone_write_through = c->duplex->lone_write_through;
	}
	memcpy(co.array_uuid, c->array_uuid, 16);
	int rc = cache_open(&c->cache, &co, &c->adopted);
	if (rc == 0)
		lend_cache(c);
	return rc;
}

int core_open(struct core **ret, const struct core_opts *o)
{
	struct core *c = calloc(1, sizeof(*c));
	struct core_pool *cp;
	if (!c)
		return -ENOMEM;
	c->magic = CORE_MAGIC;
	c->env = o->env;
	c->opened_ns = env_now_ns(c->env);
	c->stuck_ns = (o->disk_timeout_s ? o->disk_timeout_s : 15) * NS_PER_S;
	c->owner = sched_current();
	c->battery = o->battery;
	c->duplex = o->duplex;
	snprintf(c->controller, sizeof(c->controller), "%s", o->controller);
	TAILQ_INIT(&c->pools);
	TAILQ_INIT(&c->reserved);
	TAILQ_INIT(&c->own_watches);
	RB_INIT(&c->volumes);
	waitq_init(&c->idle);
	waitq_init(&c->watch);
	waitq_init(&c->own_wake);
	task_mutex_init(&c->disks_lock);
	task_mutex_init(&c->attaching);
	pthread_rwlock_init(&c->lock, NULL);
	int rc = open_disks(c, o);
	if (rc == 0) {
		choose_array(c);
		refuse_foreign(c);
		rc = open_meta(c, o);
	}
	if (rc == 0)
		rc = open_cache(c, o);
	if (rc == 0)
		rc = assemble_pools(c);
	if (rc == 0)
		rc = record_open(c);
	if (rc == 0)
		rc = attach_volumes(c);
	if (rc == 0)
		rc = core_own_adopt(c);
	if (rc == 0)
		rc = cache_start(c->cache);
	if (rc == 0)
		rc = core_own_start(c);
	if (rc) {
		core_abandon(c);
		return rc;
	}
	TAILQ_FOREACH (cp, &c->pools, link) {
		core_pool_start_resync(cp);
		core_fill_resume(cp);
	}
	*ret = c;
	return 0;
}
