/*
 * Following the partner: what it changed in the array metadata, or on labels of disks, is brought
 * to the core's own objects, so that both end in the state that who made the change has.
 *
 * Before a foreign state is current (core_follow()): disks that were labelled or wiped are looked
 * at again and take part in the metadata; new pools are known; new volumes are there, and grown
 * ones have their size: when the watches of the metadata run, targets find what they name. After it
 * (core_followed()): volumes and pools that are gone go; rates and spares take effect.
 *
 * Both run with the state of the metadata held, so nothing here changes the metadata or takes a
 * lock that is held while it is changed (disks_lock): what needs one is a task of its own. Each
 * step looks at what there is and does what is missing, so the same state twice, or several at
 * once, come to the same.
 */
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- disks ---- */

/* What the label says is ours, and no other disk has it. */
static bool belongs(struct core *c, const struct disk *d, char *why, size_t size)
{
	const struct disk_label *l = disk_label(d);
	if (memcmp(l->array_uuid, c->array_uuid, 16) != 0) {
		snprintf(why, size, "its label names another array");
		return false;
	}
	for (unsigned i = 0; i < c->ndisks; i++)
		if (c->disks[i] != d && disk_state(c->disks[i]) == DISK_ONLINE &&
		    memcmp(disk_label(c->disks[i])->disk_uuid, l->disk_uuid, 16) == 0) {
			snprintf(why, size, "has the label of %.100s", disk_path(c->disks[i]));
			return false;
		}
	return true;
}

static void take_part(struct core *c, struct disk *d)
{
	char why[160];
	if (disk_state(d) == DISK_ONLINE && !belongs(c, d, why, sizeof(why)))
		disk_set_foreign(d, why);
	bool online = disk_state(d) == DISK_ONLINE, has = meta_disk_has(c->meta, d);
	if (online && !has && meta_disk_add(c->meta, d))
		log_error("metadata: disk %s does not take part err=ENOMEM", disk_path(d));
	else if (!online && has)
		meta_disk_remove(c->meta, d);
}

void core_follow_disk(struct core *c, struct disk *d, bool reopen)
{
	enum disk_state before = disk_state(d);
	size_t position;
	/* One that was replaced is nobody's any more. */
	if (disk_claimed(d) && before == DISK_FAILED && !core_disk_pool(c, d, &position))
		disk_unclaim(d);
	if (disk_claimed(d))
		return;
	bool gone = disk_look_again(d) != 0 || before == DISK_MISSING || before == DISK_FAILED;
	if (gone && reopen) {
		struct disk *fresh = core_disk_reopen(c, d);
		d = fresh ? fresh : d;
	} else if (gone) {
		return;
	}
	take_part(c, d);
	if (disk_state(d) != before)
		event_write(LOG_L_NOTICE, "disk.followed",
			    "disk %s: the partner made it %s, it was %s", disk_path(d),
			    disk_state_name(disk_state(d)), disk_state_name(before));
}

/* What decides which labels there are. */
static uint32_t disks_named(const Isthmus__ArrayMeta *am)
{
	uint32_t s = CRC32C_INIT;
	for (size_t i = 0; i < am->n_pools; i++)
		for (size_t j = 0; j < am->pools[i]->n_disks; j++) {
			s = crc32c_add(s, am->pools[i]->uuid.data, am->pools[i]->uuid.len);
			s = crc32c_add(s, am->pools[i]->disks[j]->uuid.data,
				       am->pools[i]->disks[j]->uuid.len);
		}
	for (size_t i = 0; i < am->n_spares; i++)
		s = crc32c_add(s, am->spares[i]->uuid.data, am->spares[i]->uuid.len);
	return crc32c_end(s);
}

static void follow_disks(struct core *c, const Isthmus__ArrayMeta *next)
{
	const Isthmus__ArrayMeta *was = meta_get(c->meta);
	if (next != was && disks_named(next) == disks_named(was))
		return;
	for (unsigned i = 0; i < c->ndisks; i++)
		core_follow_disk(c, c->disks[i], true);
}

/* ---- pools ---- */

static const Isthmus__Pool *pool_of(const Isthmus__ArrayMeta *am, const uint8_t *uuid)
{
	for (size_t i = 0; i < am->n_pools; i++)
		if (memcmp(am->pools[i]->uuid.data, uuid, 16) == 0)
			return am->pools[i];
	return NULL;
}

static struct core_pool *known(struct core *c, const uint8_t *uuid)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (memcmp(cp->uuid, uuid, 16) == 0)
			return cp;
	return NULL;
}

/* Who made it entered its word before. */
static int add_pool(struct core *c, const Isthmus__Pool *mp)
{
	struct core_pool *cp;
	struct gcm_owner w;
	int rc = core_pool_add(c, mp, &cp);
	if (rc == 0 && c->duplex && core_word(cp, &w) && core_word_is_partner(c, &w))
		cp->place = CORE_PARTNER;
	return rc;
}

static void follow_pools(struct core *c, const Isthmus__ArrayMeta *next)
{
	for (size_t i = 0; i < next->n_pools; i++) {
		const Isthmus__Pool *mp = next->pools[i];
		struct core_pool *cp = known(c, mp->uuid.data);
		if (cp)
			snprintf(cp->name, sizeof(cp->name), "%s", mp->name);
		else if (add_pool(c, mp))
			log_error("pool %s of the partner is not known here err=ENOMEM", mp->name);
	}
}

struct gone_pool {
	struct core *c;
	struct core_pool *cp;
};

static void forget_pool(void *arg)
{
	struct gone_pool *g = arg;
	struct core *c = g->c;
	while (atomic_load(&g->cp->users) || g->cp->pins)
		env_sleep_ns(c->env, NS_PER_MS);
	core_pool_free(c, g->cp);
	free(g);
	core_background_done(c);
}

static void forget_pools(struct core *c, const Isthmus__ArrayMeta *am)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		/* One that is here is removed by who removes it. */
		if (cp->place == CORE_HERE || cp->removing || pool_of(am, cp->uuid))
			continue;
		struct gone_pool *g = malloc(sizeof(*g));
		if (g)
			*g = (struct gone_pool){c, cp};
		cp->removing = g && core_background(c, forget_pool, g) == 0;
		if (!cp->removing)
			free(g); /* the next change tries again */
	}
}

static void follow_rates(struct core *c, const Isthmus__ArrayMeta *am)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		const Isthmus__Pool *mp = cp->pool ? pool_of(am, cp->uuid) : NULL;
		if (mp)
			pool_set_rate(cp->pool, mp->rebuild_rate);
	}
}

/* A spare of the partner's making may be what a pool here waits for. */
static void use_spares(void *arg)
{
	struct core *c = arg;
	struct core_pool *cp, *next;
	TAILQ_FOREACH_SAFE (cp, &c->pools, link, next)
		if (cp->pool && pool_state(cp->pool) == POOL_DEGRADED && !c->closing) {
			atomic_fetch_add(&cp->users, 1);
			core_fill_resume(cp);
			next = TAILQ_NEXT(cp, link);
			atomic_fetch_sub(&cp->users, 1);
		}
	core_background_done(c);
}

static void follow_spares(struct core *c, const Isthmus__ArrayMeta *am)
{
	struct core_pool *cp;
	bool wanted = false;
	TAILQ_FOREACH (cp, &c->pools, link)
		wanted |= cp->pool && !cp->filling && pool_state(cp->pool) == POOL_DEGRADED;
	if (wanted && am->n_spares && core_background(c, use_spares, c))
		log_error("spares of the partner are not used now err=ENOMEM");
}

/* ---- volumes ---- */

static int grow(struct volume *v, const Isthmus__Volume *mv)
{
	if (mv->size == volume_size(v) && mv->epoch == volume_epoch(v))
		return 0;
	struct extent_run *runs = calloc(mv->n_map ? mv->n_map : 1, sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	for (size_t i = 0; i < mv->n_map; i++)
		runs[i] = (struct extent_run){mv->map[i]->first, mv->map[i]->count};
	int rc = volume_grow(v, mv->size, mv->epoch, runs, mv->n_map);
	free(runs);
	return rc;
}

static void follow_volumes(struct core *c, const Isthmus__ArrayMeta *next)
{
	for (size_t i = 0; i < next->n_volumes; i++) {
		const Isthmus__Volume *mv = next->volumes[i];
		struct volume *v = core_volume_get(c, mv->id);
		int rc = v ? grow(v, mv) : core_attach(c, mv);
		core_volume_put(v);
		if (rc)
			log_error("volume %s of the partner is not as it is there err=%s", mv->name,
				  err_name(rc));
	}
}

struct gone_volume {
	struct core *c;
	struct volume *v; /* the tree's reference */
};

static void drop_volume(void *arg)
{
	struct gone_volume *g = arg;
	struct core *c = g->c;
	volume_shut(g->v);
	volume_detach(g->v, true); /* dropped: nothing to fail */
	volume_put(g->v);
	free(g);
	core_background_done(c);
}

static int id_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void leave(struct core *c, struct volume *v)
{
	struct gone_volume *g = malloc(sizeof(*g));
	if (!g)
		return; /* the next change tries again */
	*g = (struct gone_volume){c, v};
	atomic_store(&v->shutdown, true);
	if (core_background(c, drop_volume, g)) {
		volume_reopen(v);
		free(g);
		return;
	}
	pthread_rwlock_wrlock(&c->lock);
	RB_REMOVE(volume_tree, &c->volumes, v);
	pthread_rwlock_unlock(&c->lock);
}

static void drop_volumes(struct core *c, const Isthmus__ArrayMeta *am)
{
	struct volume *v, *next;
	size_t n = am->n_volumes;
	uint32_t *ids = calloc(n ? n : 1, sizeof(*ids));
	if (!ids)
		return;
	for (size_t i = 0; i < n; i++)
		ids[i] = am->volumes[i]->id;
	qsort(ids, n, sizeof(*ids), id_order);
	for (v = RB_MIN(volume_tree, &c->volumes); v; v = next) {
		uint32_t id = volume_id(v);
		next = RB_NEXT(volume_tree, &c->volumes, v);
		/* Who removes it here does so itself. */
		if (!bsearch(&id, ids, n, sizeof(*ids), id_order) && !atomic_load(&v->shutdown))
			leave(c, v);
	}
	free(ids);
}

/* ---- both halves ---- */

void core_follow(void *arg, const Isthmus__ArrayMeta *next)
{
	struct core *c = arg;
	if (!c->meta || c->closing) /* opening: all of it is still to be done */
		return;
	follow_disks(c, next);
	follow_pools(c, next);
	if (c->cache)
		follow_volumes(c, next);
}

void core_followed(void *arg)
{
	struct core *c = arg;
	if (!c->meta || c->closing)
		return;
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	drop_volumes(c, am);
	forget_pools(c, am);
	follow_rates(c, am);
	follow_spares(c, am);
}
