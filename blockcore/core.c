/*
 * The core as its users see it: volumes by number and name, and closing.
 * Opening is in core_open.c, pools in core_pool.c, making and removing volumes
 * in core_volume.c, backups in core_backup.c, the CLI's verbs in core_admin_*.c.
 *
 * Owned by the reactor that opened it. The tree of volumes is the one thing
 * other threads look into; a volume they got stays valid until they put it.
 */
#include "blockcore/control/meta_share.h"
#include "blockcore/core_impl.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int volume_order(const struct volume *a, const struct volume *b)
{
	return (a->id > b->id) - (a->id < b->id);
}
RB_GENERATE(volume_tree, volume, by_id, volume_order)

const char *core_controller(const struct core *c)
{
	return c->controller;
}

bool core_has_partner(const struct core *c)
{
	return c->duplex != NULL;
}

struct cache *core_cache(struct core *c)
{
	return c->cache;
}

struct meta *core_meta(struct core *c)
{
	return c->meta;
}

struct env *core_env(struct core *c)
{
	return c->env;
}

const uint8_t *core_array_uuid(const struct core *c)
{
	return c->array_uuid;
}

uint64_t core_memory_id(struct core *c)
{
	uint64_t id;
	if (!c->duplex)
		return cache_memory_id(c->cache);
	memcpy(&id, c->duplex->gcm->id, sizeof(id));
	return id;
}

void core_set_hooks(struct core *c, const struct core_hooks *h)
{
	c->hooks = *h;
}

struct volume *core_volume_get(struct core *c, uint32_t id)
{
	CHECK(c, CORE_MAGIC);
	struct volume key;
	key.id = id;
	pthread_rwlock_rdlock(&c->lock);
	struct volume *v = RB_FIND(volume_tree, &c->volumes, &key);
	if (v)
		volume_ref(v);
	pthread_rwlock_unlock(&c->lock);
	return v;
}

struct volume *core_volume_get_by_name(struct core *c, const char *name)
{
	CHECK(c, CORE_MAGIC);
	struct volume *v;
	pthread_rwlock_rdlock(&c->lock);
	RB_FOREACH (v, volume_tree, &c->volumes)
		if (strcmp(volume_name(v), name) == 0) {
			volume_ref(v);
			break;
		}
	pthread_rwlock_unlock(&c->lock);
	return v;
}

void core_volume_put(struct volume *v)
{
	volume_put(v);
}

struct core_pool *core_pool_find(struct core *c, const char *name)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (strcmp(cp->name, name) == 0)
			return cp;
	return NULL;
}

struct core_pool *core_pool_by_uuid(struct core *c, const uint8_t *uuid)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (cp->pool && memcmp(pool_uuid(cp->pool), uuid, 16) == 0)
			return cp;
	return NULL;
}

struct disk *core_disk_find(struct core *c, const char *path)
{
	for (unsigned i = 0; i < c->ndisks; i++)
		if (strcmp(disk_path(c->disks[i]), path) == 0)
			return c->disks[i];
	return NULL;
}

struct disk *core_disk_by_uuid(struct core *c, const uint8_t *uuid)
{
	for (unsigned i = 0; i < c->ndisks; i++)
		if (disk_state(c->disks[i]) == DISK_ONLINE &&
		    memcmp(disk_label(c->disks[i])->disk_uuid, uuid, 16) == 0)
			return c->disks[i];
	return NULL;
}

const Isthmus__Pool *meta_pool_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_pools; i++)
		if (strcmp(am->pools[i]->name, name) == 0)
			return am->pools[i];
	return NULL;
}

const Isthmus__HeadGroup *meta_group_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_groups; i++)
		if (strcmp(am->groups[i]->name, name) == 0)
			return am->groups[i];
	return NULL;
}

Isthmus__Volume *meta_volume_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (strcmp(am->volumes[i]->name, name) == 0)
			return am->volumes[i];
	return NULL;
}

Isthmus__Volume *meta_volume_by_id(const Isthmus__ArrayMeta *am, uint32_t id)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == id)
			return am->volumes[i];
	return NULL;
}

int core_background(struct core *c, task_fn *fn, void *arg)
{
	atomic_fetch_add(&c->background, 1);
	int rc = task_start(fn, arg);
	if (rc)
		core_background_done(c);
	return rc;
}

void core_background_done(struct core *c)
{
	unsigned was = atomic_fetch_sub(&c->background, 1);
	ASSERT(was > 0);
	if (was == 1)
		waitq_wake_all(&c->idle);
}

/* ---- closing ---- */

static void wait_background(struct core *c)
{
	while (atomic_load(&c->background) > 0)
		waitq_wait(&c->idle);
}

static void stop_background(struct core *c)
{
	struct core_pool *cp;
	c->closing = true;
	waitq_wake_all(&c->watch);
	waitq_wake_all(&c->own_wake);
	TAILQ_FOREACH (cp, &c->pools, link)
		if (cp->pool)
			pool_resync_stop(cp->pool);
	wait_background(c);
}

/* 0 when every volume's dirty pages are on the disks. */
static int detach_all(struct core *c)
{
	struct volume *v;
	int rc = 0;
	RB_FOREACH (v, volume_tree, &c->volumes) {
		volume_shut(v);
		int e = volume_detach(v, false);
		if (e) {
			event_write(LOG_L_ERROR, "volume.not_flushed",
				    "volume %s: its newest data could not be written: %s",
				    volume_name(v), err_text(e));
			rc = e;
		}
	}
	return rc;
}

static int change_clean(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct core *c = arg;
	for (size_t i = 0; i < am->n_pools; i++) {
		struct core_pool *cp = core_pool_by_uuid(c, am->pools[i]->uuid.data);
		if (cp && cp->recorded_open && pool_state(cp->pool) != POOL_OFFLINE)
			am->pools[i]->clean = true;
	}
	return 0;
}

static int change_clean_one(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct core_pool *cp = arg;
	for (size_t i = 0; i < am->n_pools; i++)
		if (memcmp(am->pools[i]->uuid.data, cp->uuid, 16) == 0)
			am->pools[i]->clean = true;
	return 0;
}

int core_pool_record_clean(struct core_pool *cp)
{
	char why[CORE_WHY_LEN];
	return pool_state(cp->pool) == POOL_OFFLINE
		   ? 0
		   : meta_update(cp->core->meta, change_clean_one, cp, why);
}

/* All is on the disks: the partner may take it without this controller's memory. */
static void leave_words(struct core *c)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (c->duplex && cp->place == CORE_HERE && cp->recorded_open) {
			int rc = core_word_flags(cp, true, false, true);
			if (rc)
				log_warn("pool %s: its word stays as it was err=%s", cp->name,
					 err_name(rc));
		}
}

static int flush_pools(struct core *c)
{
	struct core_pool *cp;
	int rc = 0;
	TAILQ_FOREACH (cp, &c->pools, link) {
		if (!cp->pool || pool_state(cp->pool) == POOL_OFFLINE)
			continue;
		int e = pool_sync(cp->pool);
		rc = rc ? rc : e;
	}
	return rc;
}

static void core_free(struct core *c)
{
	struct volume *v;
	struct core_pool *cp;
	struct reservation *r;
	wait_background(c); /* a disk may have been lost by closing */
	while ((v = RB_MIN(volume_tree, &c->volumes))) {
		RB_REMOVE(volume_tree, &c->volumes, v);
		volume_put(v);
	}
	while ((cp = TAILQ_FIRST(&c->pools)))
		core_pool_free(c, cp);
	while ((r = TAILQ_FIRST(&c->reserved))) {
		TAILQ_REMOVE(&c->reserved, r, link);
		free(r->runs);
		free(r);
	}
	core_own_free(c);
	if (c->link)
		core_set_link(c, NULL);
	if (c->partner_segment)
		c->duplex->unmap(c->duplex->map_arg, c->partner_segment, c->partner_segment_size);
	core_admin_free(c);
	meta_close(c->meta);
	meta_link_free(c->meta_link);
	for (unsigned i = 0; i < c->ndisks; i++)
		disk_close(c->disks[i]);
	for (unsigned i = 0; i < c->nretired; i++)
		disk_close(c->retired[i]);
	free(c->disks);
	free(c->retired);
	pthread_rwlock_destroy(&c->lock);
	c->magic = 0;
	free(c);
}

/* What the disks have of reads into the cache comes back when it is gone. */
static int close_cache(struct core *c, bool abandon)
{
	if (!c->cache)
		return 0;
	cache_stop(c->cache);
	for (unsigned i = 0; i < c->ndisks; i++)
		disk_set_lender(c->disks[i], NULL);
	for (unsigned i = 0; i < c->nretired; i++)
		disk_set_lender(c->retired[i], NULL);
	int rc = cache_close(c->cache, abandon);
	c->cache = NULL;
	return rc;
}

int core_close(struct core *c)
{
	CHECK(c, CORE_MAGIC);
	char why[CORE_WHY_LEN];
	stop_background(c);
	int rc = detach_all(c);
	int e = close_cache(c, rc != 0);
	rc = rc ? rc : e;
	if (rc == 0)
		rc = flush_pools(c);
	if (rc == 0 && !TAILQ_EMPTY(&c->pools))
		rc = meta_update(c->meta, change_clean, c, why);
	if (rc == 0)
		leave_words(c);
	core_free(c);
	return rc;
}

void core_abandon(struct core *c)
{
	if (!c)
		return;
	CHECK(c, CORE_MAGIC);
	struct volume *v;
	stop_background(c);
	RB_FOREACH (v, volume_tree, &c->volumes)
		volume_shut(v);
	close_cache(c, true);
	RB_FOREACH (v, volume_tree, &c->volumes)
		volume_forget_cache(v);
	core_free(c);
}
