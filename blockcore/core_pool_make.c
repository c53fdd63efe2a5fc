/*
 * Making pools, and growing them by further RAID groups.
 *
 * A pool grows while it is in use:
 *
 *   1. The disks are claimed and get their labels, at the positions behind the last.
 *   2. The pool in memory gets the group: nothing lies there yet.
 *   3. The metadata says so, with all its extents. From then on volumes take from them.
 *
 * A crash before 3 leaves disks with a label that no pool counts on: they are free, as before.
 */
#include "blockcore/core_impl.h"
#include "blockcore/control/meta_share.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- create ---- */

struct pool_plan {
	struct core *c;
	const char *name, *level;
	uint32_t chunk;
	uint8_t uuid[16];
	struct disk *disks[POOL_DISKS_MAX];
	struct disk_label old[POOL_DISKS_MAX];
	bool was_blank[POOL_DISKS_MAX];
	unsigned n, labelled, joined;
	unsigned first; /* position of the first of them */
	uint64_t extent_size, extents;
	bool checksums;
};

static bool disk_in_pool(const Isthmus__ArrayMeta *am, const struct disk *d)
{
	if (disk_state(d) != DISK_ONLINE)
		return false;
	for (size_t i = 0; i < am->n_pools; i++)
		for (size_t j = 0; j < am->pools[i]->n_disks; j++)
			if (memcmp(am->pools[i]->disks[j]->uuid.data, disk_label(d)->disk_uuid,
				   16) == 0)
				return true;
	return false;
}

static int plan_disk(struct pool_plan *p, const char *path, char *why)
{
	struct core *c = p->c;
	char reason[160];
	struct disk *d = core_disk_find(c, path);
	if (!d) {
		snprintf(why, CORE_WHY_LEN,
			 "disk '%.100s' is not configured; add it to the configuration file and "
			 "restart the controller",
			 path);
		return -ENOENT;
	}
	enum disk_state s = disk_state(d);
	disk_reason(d, reason);
	if (s != DISK_BLANK && s != DISK_ONLINE) {
		snprintf(why, CORE_WHY_LEN, "disk '%.60s' is %s (%.100s)%s", path,
			 disk_state_name(s), reason,
			 s == DISK_FOREIGN ? "; `isthmus disk wipe --force` makes it blank" : "");
		return s == DISK_FOREIGN ? -ERR_FOREIGN : -EIO;
	}
	if (disk_in_pool(meta_get(c->meta), d)) {
		snprintf(why, CORE_WHY_LEN, "disk '%.100s' is in a pool already", path);
		return -EBUSY;
	}
	if (core_disk_spare(c, d)) {
		snprintf(why, CORE_WHY_LEN,
			 "disk '%.100s' is a spare; `isthmus disk spare --remove` frees it", path);
		return -EBUSY;
	}
	for (unsigned i = 0; i < p->n; i++)
		if (p->disks[i] == d) {
			snprintf(why, CORE_WHY_LEN, "disk '%.100s' is given twice", path);
			return -EINVAL;
		}
	p->was_blank[p->n] = s == DISK_BLANK;
	p->old[p->n] = *disk_label(d);
	p->disks[p->n++] = d;
	return 0;
}

static int plan_disks(struct pool_plan *p, const char *const *paths, unsigned n, char *why)
{
	int rc = 0;
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = plan_disk(p, paths[i], why);
	return rc;
}

static int plan_pool(struct pool_plan *p, const char *const *paths, unsigned n, char *why)
{
	if (!meta_name_ok(p->name)) {
		snprintf(why, CORE_WHY_LEN,
			 "'%.80s' is not a name: letters, digits, '.', '_' and '-', at most 63",
			 p->name);
		return -EINVAL;
	}
	if (meta_pool_find(meta_get(p->c->meta), p->name)) {
		snprintf(why, CORE_WHY_LEN, "there is a pool '%s' already", p->name);
		return -EEXIST;
	}
	if (!meta_level_copies(p->level, n)) {
		snprintf(
		    why, CORE_WHY_LEN,
		    "level '%.20s' with %u disks: single takes 1, raid0 2 to 64, raid1 2 or 3, "
		    "raid10 an even number from 4 to 64, raid5 3 to 32, raid6 4 to 32",
		    p->level, n);
		return -EINVAL;
	}
	if (p->chunk < 16384 || p->chunk > (16u << 20) || (p->chunk & (p->chunk - 1))) {
		snprintf(why, CORE_WHY_LEN,
			 "chunk %u: a power of two from 16KiB to 16MiB is wanted", p->chunk);
		return -EINVAL;
	}
	int rc = plan_disks(p, paths, n, why);
	if (rc)
		return rc;
	p->extent_size = pool_extent_bytes(p->level, n, p->chunk);
	p->extents = pool_capacity(p->disks, n, p->level, p->chunk, p->extent_size, p->checksums);
	if (p->extents == 0) {
		snprintf(why, CORE_WHY_LEN, "the disks are too small for a pool");
		return -ENOSPC;
	}
	return 0;
}

static int add_disk(Isthmus__Pool *mp, const struct disk *d, bool failed)
{
	Isthmus__PoolDisk *pd = malloc(sizeof(*pd));
	if (!pd)
		return -ENOMEM;
	isthmus__pool_disk__init(pd);
	pd->failed = failed;
	int rc = pb_set_text(&pd->path, disk_path(d));
	if (rc == 0)
		rc = pb_set_bytes(&pd->uuid, disk_label(d)->disk_uuid, 16);
	if (rc == 0)
		rc = pb_append(&mp->disks, &mp->n_disks, pd);
	if (rc)
		isthmus__pool_disk__free_unpacked(pd, NULL);
	return rc;
}

static Isthmus__Pool *pool_message(const struct pool_plan *p)
{
	Isthmus__Pool *mp = malloc(sizeof(*mp));
	if (!mp)
		return NULL;
	isthmus__pool__init(mp);
	int rc = pb_set_text(&mp->name, p->name);
	if (rc == 0)
		rc = pb_set_text(&mp->level, p->level);
	if (rc == 0)
		rc = pb_set_bytes(&mp->uuid, p->uuid, 16);
	if (rc == 0)
		rc = pb_set_text(&mp->owner, p->c->controller);
	mp->epoch = 1;
	core_change_pool_memory(p->c, mp, CORE_TAKE_FREE);
	mp->chunk = p->chunk;
	mp->checksums = p->checksums ? META_CHECKSUMS_CRC32C : 0;
	mp->extent_size = p->extent_size;
	mp->extents = p->extents;
	for (unsigned i = 0; i < p->n && rc == 0; i++)
		rc = add_disk(mp, p->disks[i], false);
	if (rc) {
		isthmus__pool__free_unpacked(mp, NULL);
		return NULL;
	}
	return mp;
}

static int change_add_pool(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	Isthmus__Pool *mp = pool_message(arg);
	if (!mp)
		return -ENOMEM;
	int rc = pb_append(&am->pools, &am->n_pools, mp);
	if (rc)
		isthmus__pool__free_unpacked(mp, NULL);
	return rc;
}

/* Before anything is written to them. */
static int claim_disks(struct pool_plan *p, char *why)
{
	for (unsigned i = 0; i < p->n; i++) {
		int rc = core_disk_claim(p->c, p->disks[i], p->uuid);
		if (rc) {
			snprintf(why, CORE_WHY_LEN, "disk '%.100s' is in use by another process",
				 disk_path(p->disks[i]));
			return rc;
		}
	}
	return 0;
}

static int label_disks(struct pool_plan *p, char *why)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct disk_label l = p->old[i];
		memcpy(l.array_uuid, p->c->array_uuid, 16);
		memcpy(l.pool_uuid, p->uuid, 16);
		l.position = p->first + i;
		if (p->was_blank[i])
			env_random(p->c->env, l.disk_uuid, 16);
		p->labelled = i + 1;
		int rc = disk_write_label(p->disks[i], &l);
		if (rc == 0 && p->was_blank[i])
			rc = meta_disk_add(p->c->meta, p->disks[i]);
		if (rc) {
			snprintf(why, CORE_WHY_LEN, "disk '%.100s' cannot be labelled: %s",
				 disk_path(p->disks[i]), err_text(rc));
			return rc;
		}
		p->joined = i + 1;
	}
	return 0;
}

static void unlabel_disks(struct pool_plan *p)
{
	for (unsigned i = 0; i < p->labelled; i++) {
		if (p->was_blank[i]) {
			meta_disk_remove(p->c->meta, p->disks[i]);
			disk_wipe(p->disks[i]);
		} else {
			disk_write_label(p->disks[i], &p->old[i]);
		}
	}
}

/* Before the partner hears of the pool: it is this controller's. */
static int enter_word(struct core *c, const uint8_t uuid[16])
{
	struct gcm *g = c->duplex ? c->duplex->gcm : NULL;
	struct gcm_owner none = {0};
	if (!g)
		return 0;
	struct gcm_owner mine = {.epoch = 1, .controller = g->self};
	return g->ops->set_owner(g, uuid, &none, &mine);
}

/* There is no such pool any more. */
void core_pool_leave_word(struct core *c, const uint8_t uuid[16])
{
	struct gcm *g = c->duplex ? c->duplex->gcm : NULL;
	struct gcm_owner was, now = {.controller = GCM_NOBODY};
	while (g && g->ops->owner(g, uuid, &was) && was.controller == g->self) {
		now.epoch = was.epoch + 1;
		if (g->ops->set_owner(g, uuid, &was, &now) != -ERR_EPOCH_STALE)
			break;
	}
}

static int create(struct core *c, const char *name, const char *level, uint32_t chunk,
		  bool checksums, const char *const *paths, unsigned n, char *why)
{
	struct pool_plan *p = calloc(1, sizeof(*p));
	struct core_pool *cp;
	if (!p)
		return -ENOMEM;
	*p = (struct pool_plan){
	    .c = c, .name = name, .level = level, .chunk = chunk, .checksums = checksums};
	env_random(c->env, p->uuid, 16);
	int rc = n > POOL_DISKS_MAX ? -EINVAL : plan_pool(p, paths, n, why);
	if (rc)
		goto out;
	rc = claim_disks(p, why);
	if (rc == 0)
		rc = enter_word(c, p->uuid);
	if (rc == 0)
		rc = label_disks(p, why);
	if (rc == 0)
		rc = meta_update(c->meta, change_add_pool, p, why);
	if (rc) {
		core_pool_leave_word(c, p->uuid);
		unlabel_disks(p);
		core_pool_unclaim(c, p->uuid);
		goto out;
	}
	rc = core_pool_add(c, meta_pool_find(meta_get(c->meta), name), &cp);
	if (rc)
		goto out;
	/* Its word is this controller's already: who looks for such pools must not take it too. */
	cp->pins++;
	task_mutex_lock(&cp->change);
	rc = core_pool_assemble_into(cp, meta_pool_find(meta_get(c->meta), name));
	if (rc == 0) {
		cp->place = CORE_HERE;
		cp->epoch = 1;
		cp->recorded_open = true;
	}
	task_mutex_unlock(&cp->change);
	cp->pins--;
	if (rc == 0) {
		core_mirrored_set(cp);
		event_write(LOG_L_NOTICE, "pool.created", "pool %s: %s of %u disks", name, level,
			    n);
	}
out:
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "%s", err_text(rc));
	free(p);
	return rc;
}

int core_pool_create(struct core *c, const char *name, const char *level, uint32_t chunk,
		     bool checksums, const char *const *paths, unsigned n, char *why)
{
	task_mutex_lock(&c->disks_lock);
	int rc = create(c, name, level, chunk, checksums, paths, n, why);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}

/* ---- grow ---- */

static int append_group(Isthmus__Pool *mp, uint64_t extents)
{
	size_t n = mp->n_group_extents, first = n ? 0 : 1; /* so far there was one of all */
	uint64_t *list = realloc(mp->group_extents, (n + first + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	if (first)
		list[n++] = mp->extents;
	list[n++] = extents;
	mp->group_extents = list;
	mp->n_group_extents = n;
	mp->extents += extents;
	return 0;
}

/* A disk that was lost since it was added is so from the beginning. */
static int change_grow(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct pool_plan *p = arg;
	struct core_pool *cp = core_pool_find(p->c, p->name);
	Isthmus__Pool *mp = NULL;
	for (size_t i = 0; i < am->n_pools; i++)
		if (strcmp(am->pools[i]->name, p->name) == 0)
			mp = am->pools[i];
	if (!mp || !cp)
		return -ENOENT;
	int rc = append_group(mp, p->extents);
	for (unsigned i = 0; i < p->n && rc == 0; i++)
		rc = add_disk(mp, p->disks[i], !pool_disk_in(cp->pool, p->first + i));
	return rc;
}

static int plan_group(struct pool_plan *p, const struct core_pool *cp, const char *const *paths,
		      unsigned n, char *why)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(p->c->meta), p->name);
	unsigned width = pool_group_disks(cp->pool), groups = pool_groups(cp->pool);
	if (n != width) {
		snprintf(why, CORE_WHY_LEN,
			 "%u disks: pool '%s' is %s of %u disks, and grows by as many at a time", n,
			 p->name, mp->level, width);
		return -EINVAL;
	}
	if (groups == POOL_GROUPS_MAX || (groups + 1) * width > POOL_DISKS_MAX) {
		snprintf(why, CORE_WHY_LEN,
			 "pool '%s' has %u disks already, of at most %d in %d groups", p->name,
			 groups * width, POOL_DISKS_MAX, POOL_GROUPS_MAX);
		return -E2BIG;
	}
	p->first = groups * width;
	p->level = mp->level;
	memcpy(p->uuid, cp->uuid, 16);
	int rc = plan_disks(p, paths, n, why);
	if (rc)
		return rc;
	for (unsigned i = 0; i < n; i++)
		if (disk_bdev(p->disks[i])->block_size > pool_bdev(cp->pool)->block_size) {
			snprintf(why, CORE_WHY_LEN,
				 "disk '%.100s' has larger blocks than pool '%s'", paths[i],
				 p->name);
			return -EINVAL;
		}
	p->extents = pool_capacity(p->disks, n, mp->level, mp->chunk, mp->extent_size,
				   pool_checksums(cp->pool));
	if (p->extents == 0)
		snprintf(why, CORE_WHY_LEN, "the disks are too small for a pool");
	return p->extents ? 0 : -ENOSPC;
}

static int add_group(struct pool_plan *p, struct core_pool *cp, char *why)
{
	int rc = pool_add_group(cp->pool, p->disks, p->extents);
	if (rc)
		return rc;
	FAULT("pool.grow.added");
	rc = meta_update(p->c->meta, change_grow, p, why);
	FAULT("pool.grow.recorded");
	if (rc)
		pool_drop_group(cp->pool);
	return rc;
}

static int grow(struct pool_plan *p, struct core_pool *cp, const char *const *paths, unsigned n,
		char *why)
{
	int rc = plan_group(p, cp, paths, n, why);
	if (rc)
		return rc;
	rc = claim_disks(p, why);
	if (rc == 0)
		rc = label_disks(p, why);
	if (rc == 0)
		rc = add_group(p, cp, why);
	if (rc) {
		unlabel_disks(p);
		for (unsigned i = 0; i < n; i++)
			disk_unclaim(p->disks[i]);
		return rc;
	}
	event_write(LOG_L_NOTICE, "pool.grown", "pool %s: %u more disks, %u in all", p->name, n,
		    pool_ndisks(cp->pool));
	return 0;
}

int core_pool_grow(struct core *c, const char *name, const char *const *paths, unsigned n,
		   char *why)
{
	task_mutex_lock(&c->disks_lock);
	struct core_pool *cp = core_pool_find(c, name);
	struct pool_plan *p = calloc(1, sizeof(*p));
	int rc = 0;
	if (!cp) {
		snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'", name);
		rc = -ENOENT;
	} else if (cp->place != CORE_HERE || cp->removing) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is not this controller's", name);
		rc = -ERR_NOT_OWNER;
	} else if (!cp->pool || pool_state(cp->pool) == POOL_OFFLINE) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is offline", name);
		rc = -EIO;
	} else if (!p) {
		rc = -ENOMEM;
	} else {
		*p = (struct pool_plan){.c = c, .name = name};
		atomic_fetch_add(&cp->users, 1); /* it stays here meanwhile */
		rc = grow(p, cp, paths, n, why);
		atomic_fetch_sub(&cp->users, 1);
	}
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "%s", err_text(rc));
	free(p);
	task_mutex_unlock(&c->disks_lock);
	return rc;
}
