/*
 * Making, growing and removing volumes.
 *
 * New extents read as zeros from the first moment: they are reserved in memory,
 * zeroed (holes punched where a disk's discard makes zeros, else written) and
 * flushed, and only then recorded. A power loss before leaves them free.
 * Extents of a removed volume stay reserved until the cache has let go of its
 * pages, so that no late destage falls on their next owner.
 */
#include "blockcore/core_impl.h"
#include "blockcore/control/owner.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZERO_STEP (64 * 1024 * 1024ull) /* between two reports of progress */

/* ---- reservations ---- */

static void release(struct core *c, struct reservation *r)
{
	if (!r)
		return;
	TAILQ_REMOVE(&c->reserved, r, link);
	free(r->runs);
	free(r);
}

static int reserve_runs(struct core *c, const char *pool, struct extent_run *runs, size_t n,
			struct reservation **ret)
{
	struct reservation *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	snprintf(r->pool, sizeof(r->pool), "%s", pool);
	r->runs = runs;
	r->n = n;
	TAILQ_INSERT_TAIL(&c->reserved, r, link);
	*ret = r;
	return 0;
}

static void text_size(uint64_t n, char *ret, size_t len)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned u = 0;
	double v = (double)n;
	while (v >= 1024 && u + 1 < ARRAY_LEN(unit)) {
		v /= 1024;
		u++;
	}
	snprintf(ret, len, u ? "%.1f%s" : "%.0f%s", v, unit[u]);
}

static int reserve(struct core *c, const char *pool, uint64_t extents, uint64_t near,
		   struct reservation **ret, char *why)
{
	struct extent_map m;
	struct extent_run *runs;
	size_t n;
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), pool);
	const struct core_pool *cp = core_pool_find(c, pool);
	if (!cp || cp->removing) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is being removed", pool);
		return -EBUSY;
	}
	int rc = core_pool_map(c, pool, &m);
	if (rc)
		return rc;
	rc = extent_map_find(&m, extents, near, &runs, &n);
	uint64_t left = extent_map_free(&m);
	extent_map_fini(&m);
	if (rc == -ENOSPC) {
		char have[32], want[32];
		text_size(left * mp->extent_size, have, sizeof(have));
		text_size(extents * mp->extent_size, want, sizeof(want));
		snprintf(why, CORE_WHY_LEN,
			 "pool '%s' has %s free and %s are wanted; ask for less or add disks", pool,
			 have, want);
	}
	if (rc)
		return rc;
	rc = reserve_runs(c, pool, runs, n, ret);
	if (rc)
		free(runs);
	return rc;
}

static int zero_runs(struct pool *p, const struct reservation *r,
		     void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
	uint64_t es = pool_extent_size(p), total = 0, done = 0;
	int rc = 0;
	for (size_t i = 0; i < r->n; i++)
		total += r->runs[i].count * es;
	for (size_t i = 0; i < r->n && rc == 0; i++) {
		uint64_t off = r->runs[i].first * es, end = off + r->runs[i].count * es;
		for (; off < end && rc == 0; off += MIN(ZERO_STEP, end - off)) {
			uint64_t n = MIN(ZERO_STEP, end - off);
			rc = bdev_discard(pool_bdev(p), off, n);
			done += n;
			if (progress)
				progress(arg, done, total);
		}
	}
	return rc ? rc : bdev_flush(pool_bdev(p));
}

/* ---- make ---- */

struct volume_add {
	struct core *c;
	const struct volume_want *want;
	const struct reservation *r;
	uint32_t id;
};

static int add_runs(Isthmus__Volume *v, const struct reservation *r)
{
	for (size_t i = 0; i < r->n; i++) {
		Isthmus__Extents *last = v->n_map ? v->map[v->n_map - 1] : NULL;
		if (last && last->first + last->count == r->runs[i].first) {
			last->count += r->runs[i].count;
			continue;
		}
		Isthmus__Extents *e = malloc(sizeof(*e));
		if (!e)
			return -ENOMEM;
		isthmus__extents__init(e);
		e->first = r->runs[i].first;
		e->count = r->runs[i].count;
		int rc = pb_append(&v->map, &v->n_map, e);
		if (rc) {
			free(e);
			return rc;
		}
	}
	return 0;
}

static Isthmus__Volume *volume_message(const struct volume_add *a)
{
	uint8_t uuid[16];
	Isthmus__Volume *v = malloc(sizeof(*v));
	if (!v)
		return NULL;
	isthmus__volume__init(v);
	env_random(a->c->env, uuid, sizeof(uuid));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 9562 5.4: random */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	v->id = a->id;
	v->size = a->want->size;
	v->epoch = 1;
	v->backup_of = a->want->backup_of;
	int rc = pb_set_text(&v->name, a->want->name);
	if (rc == 0)
		rc = pb_set_text(&v->pool, a->want->pool);
	if (rc == 0)
		rc = pb_set_text(&v->purpose, a->want->purpose);
	if (rc == 0)
		rc = pb_set_bytes(&v->uuid, uuid, sizeof(uuid));
	if (rc == 0)
		rc = add_runs(v, a->r);
	if (rc) {
		isthmus__volume__free_unpacked(v, NULL);
		return NULL;
	}
	return v;
}

static int name_free(const Isthmus__ArrayMeta *am, const char *name, char *why)
{
	if (!meta_volume_find(am, name))
		return 0;
	snprintf(why, CORE_WHY_LEN, "there is a volume '%s' already", name);
	return -EEXIST;
}

static int change_add_volume(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct volume_add *a = arg;
	int rc = name_free(am, a->want->name, why);
	if (rc)
		return rc;
	a->id = am->next_volume_id++;
	Isthmus__Volume *v = volume_message(a);
	if (!v)
		return -ENOMEM;
	rc = pb_append(&am->volumes, &am->n_volumes, v);
	if (rc)
		isthmus__volume__free_unpacked(v, NULL);
	return rc;
}

static int check_want(struct core *c, const struct volume_want *w, struct core_pool **ret,
		      char *why)
{
	if (!meta_name_ok(w->name)) {
		snprintf(why, CORE_WHY_LEN,
			 "'%.80s' is not a name: letters, digits, '.', '_' and '-', at most 63",
			 w->name);
		return -EINVAL;
	}
	if (w->size == 0 || w->size % 4096) {
		snprintf(why, CORE_WHY_LEN, "size %llu: a multiple of 4096 bytes is wanted",
			 (unsigned long long)w->size);
		return -EINVAL;
	}
	*ret = core_pool_find(c, w->pool);
	if (!*ret) {
		snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'; see `isthmus pool list`",
			 w->pool);
		return -ENOENT;
	}
	if ((*ret)->place != CORE_HERE) {
		snprintf(why, CORE_WHY_LEN, "pool '%.80s' is not this controller's", w->pool);
		return -ERR_NOT_OWNER;
	}
	if (!(*ret)->pool || pool_state((*ret)->pool) == POOL_OFFLINE) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is offline; see `isthmus disk list`",
			 w->pool);
		return -EIO;
	}
	return name_free(meta_get(c->meta), w->name, why);
}

int core_volume_make(struct core *c, const struct volume_want *w, uint32_t *ret_id, char *why)
{
	struct core_pool *cp;
	struct reservation *r = NULL;
	why[0] = '\0';
	int rc = check_want(c, w, &cp, why);
	if (rc)
		return rc;
	uint64_t es = pool_extent_size(cp->pool);
	rc = reserve(c, w->pool, w->size / es + (w->size % es != 0), UINT64_MAX, &r, why);
	struct volume_add a = {.c = c, .want = w, .r = r};
	if (rc == 0)
		rc = zero_runs(cp->pool, r, w->progress, w->arg);
	if (rc == 0)
		rc = meta_update(c->meta, change_add_volume, &a, why);
	if (rc == 0)
		rc = core_attach(c, meta_volume_by_id(meta_get(c->meta), a.id));
	release(c, r);
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "volume '%.63s': %s", w->name, err_text(rc));
	if (rc == 0)
		*ret_id = a.id;
	return rc;
}

/* ---- grow ---- */

struct volume_size_change {
	uint32_t id;
	uint64_t size, epoch;
	const struct reservation *r; /* NULL: the extents suffice */
};

static int change_size(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct volume_size_change *s = arg;
	Isthmus__Volume *v = meta_volume_by_id(am, s->id);
	if (!v)
		return -ENOENT;
	if (s->size < v->size)
		return -EINVAL;
	v->size = s->size;
	s->epoch = ++v->epoch;
	return s->r ? add_runs(v, s->r) : 0;
}

static int apply_size(struct core *c, const struct volume_size_change *s)
{
	const Isthmus__Volume *mv = meta_volume_by_id(meta_get(c->meta), s->id);
	struct volume *v = core_volume_get(c, s->id);
	if (!v)
		return -ENOENT;
	struct extent_run *runs = calloc(mv->n_map, sizeof(*runs));
	int rc = runs ? 0 : -ENOMEM;
	for (size_t i = 0; i < mv->n_map && rc == 0; i++)
		runs[i] = (struct extent_run){mv->map[i]->first, mv->map[i]->count};
	if (rc == 0)
		rc = volume_grow(v, mv->size, mv->epoch, runs, mv->n_map);
	free(runs);
	core_volume_put(v);
	return rc;
}

static bool being_grown(const struct core *c, uint32_t id)
{
	const struct reservation *r;
	TAILQ_FOREACH (r, &c->reserved, link)
		if (r->grows == id)
			return true;
	return false;
}

static int check_grow(const Isthmus__Volume *mv, const char *name, uint64_t size, char *why)
{
	if (!mv) {
		snprintf(why, CORE_WHY_LEN, "there is no volume '%.80s'; see `isthmus volume list`",
			 name);
		return -ENOENT;
	}
	if (strncmp(mv->purpose, "piv", 3) == 0) {
		snprintf(why, CORE_WHY_LEN,
			 "volume '%s' holds a head group's state and keeps its size", name);
		return -EBUSY;
	}
	if (size < mv->size) {
		char have[32];
		text_size(mv->size, have, sizeof(have));
		snprintf(
		    why, CORE_WHY_LEN,
		    "volume '%s' has %s and does not shrink: what lies at its end would be lost, "
		    "and its users are not asked; copy what you need to a smaller volume",
		    name, have);
		return -EINVAL;
	}
	if (size % 4096) {
		snprintf(why, CORE_WHY_LEN, "size %llu: a multiple of 4096 bytes is wanted",
			 (unsigned long long)size);
		return -EINVAL;
	}
	return 0;
}

int core_volume_extend(struct core *c, const char *name, uint64_t size, char *why)
{
	const Isthmus__Volume *mv = meta_volume_find(meta_get(c->meta), name);
	struct reservation *r = NULL;
	why[0] = '\0';
	int rc = check_grow(mv, name, size, why);
	if (rc)
		return rc;
	struct core_pool *cp = core_pool_find(c, mv->pool);
	if (cp && cp->place != CORE_HERE) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is not this controller's", mv->pool);
		return -ERR_NOT_OWNER;
	}
	if (!cp || !cp->pool || pool_state(cp->pool) == POOL_OFFLINE) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is offline", mv->pool);
		return -EIO;
	}
	/* Two at once would both reserve what the volume lacks now. */
	if (being_grown(c, mv->id)) {
		snprintf(why, CORE_WHY_LEN, "volume '%s' is being resized already", name);
		return -EBUSY;
	}
	uint64_t es = pool_extent_size(cp->pool), have = 0;
	for (size_t i = 0; i < mv->n_map; i++)
		have += mv->map[i]->count;
	const Isthmus__Extents *last = mv->map[mv->n_map - 1];
	uint64_t want = size / es + (size % es != 0);
	struct volume_size_change s = {.id = mv->id, .size = size};
	if (want > have) {
		rc = reserve(c, cp->name, want - have, last->first + last->count, &r, why);
		if (rc == 0) {
			r->grows = s.id;
			rc = zero_runs(cp->pool, r, NULL, NULL);
		}
		s.r = r;
	}
	if (rc == 0)
		rc = meta_update(c->meta, change_size, &s, why);
	if (rc == 0)
		rc = apply_size(c, &s);
	release(c, r);
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "volume '%s': %s", name, err_text(rc));
	return rc;
}

/* ---- remove ---- */

bool core_volume_user(const Isthmus__ArrayMeta *am, uint32_t id, char *ret)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == id && strcmp(am->volumes[i]->purpose, "software") == 0) {
			snprintf(ret, 192, "programs of heads (isthmus software)");
			return true;
		}
	for (size_t i = 0; i < am->n_targets; i++)
		for (size_t j = 0; j < am->targets[i]->n_luns; j++)
			if (am->targets[i]->luns[j]->volume_id == id) {
				snprintf(ret, 192, "LUN %u of target %.140s",
					 am->targets[i]->luns[j]->lun, am->targets[i]->iqn);
				return true;
			}
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (am->filesystems[i]->volume_id == id) {
			snprintf(ret, 192, "file system %.80s", am->filesystems[i]->name);
			return true;
		}
	for (size_t i = 0; i < am->n_groups; i++)
		if (am->groups[i]->piv_volume == id || am->groups[i]->backup_volume == id) {
			snprintf(ret, 192, "head group %.80s", am->groups[i]->name);
			return true;
		}
	return false;
}

static int change_remove_volume(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	uint32_t id = *(const uint32_t *)arg;
	char user[192];
	if (core_volume_user(am, id, user)) {
		snprintf(why, CORE_WHY_LEN, "the volume is in use: %.190s; remove that first",
			 user);
		return -EBUSY;
	}
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == id) {
			isthmus__volume__free_unpacked(am->volumes[i], NULL);
			pb_remove(&am->volumes, &am->n_volumes, i);
			return 0;
		}
	return -ENOENT;
}

static int reserve_old(struct core *c, const Isthmus__Volume *mv, struct reservation **ret)
{
	struct extent_run *runs = calloc(mv->n_map ? mv->n_map : 1, sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	for (size_t i = 0; i < mv->n_map; i++)
		runs[i] = (struct extent_run){mv->map[i]->first, mv->map[i]->count};
	int rc = reserve_runs(c, mv->pool, runs, mv->n_map, ret);
	if (rc)
		free(runs);
	return rc;
}

/* Space goes back where that is cheap; otherwise the next owner zeroes it anyway. */
static void give_back(struct pool *p, const struct reservation *r)
{
	uint64_t es = pool_extent_size(p);
	for (unsigned i = 0; i < pool_ndisks(p); i++)
		if (pool_disk_in(p, i) && !disk_bdev(pool_disk(p, i))->discard_zeroes)
			return;
	for (size_t i = 0; i < r->n; i++)
		if (bdev_discard(pool_bdev(p), r->runs[i].first * es, r->runs[i].count * es))
			return;
}

int core_volume_drop(struct core *c, const char *name, char *why)
{
	const Isthmus__Volume *mv = meta_volume_find(meta_get(c->meta), name);
	struct volume *v = core_volume_get_by_name(c, name);
	struct reservation *r = NULL;
	why[0] = '\0';
	int rc = -ENOENT;
	if (!mv || !v) {
		snprintf(why, CORE_WHY_LEN, "there is no volume '%.80s'; see `isthmus volume list`",
			 name);
		goto out;
	}
	uint32_t id = mv->id;
	char user[192];
	rc = -ERR_NOT_OWNER;
	if (core_volume_place(v) != CORE_HERE) {
		snprintf(why, CORE_WHY_LEN, "volume '%s' is not this controller's", name);
		goto out;
	}
	rc = -EBUSY;
	if (core_volume_user(meta_get(c->meta), id, user)) {
		snprintf(why, CORE_WHY_LEN, "volume '%s' is in use: %.150s; remove that first",
			 name, user);
		goto out;
	}
	if (atomic_exchange(&v->shutdown, true)) {
		snprintf(why, CORE_WHY_LEN, "volume '%s' is being removed already", name);
		goto out;
	}
	rc = reserve_old(c, mv, &r);
	if (rc == 0) {
		volume_shut(v);
		rc = meta_update(c->meta, change_remove_volume, &id, why);
	}
	if (rc) {
		volume_reopen(v);
		goto out;
	}
	pthread_rwlock_wrlock(&c->lock);
	RB_REMOVE(volume_tree, &c->volumes, v);
	pthread_rwlock_unlock(&c->lock);
	volume_detach(v, true); /* dropped: nothing to fail */
	if (volume_pool(v) && pool_state(volume_pool(v)) != POOL_OFFLINE)
		give_back(volume_pool(v), r);
	volume_put(v); /* the tree's */
out:
	release(c, r);
	if (v)
		volume_put(v);
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "volume '%.80s': %s", name, err_text(rc));
	return rc;
}

/* ---- the same from any reactor ---- */

struct volume_call {
	struct core *c;
	const char *name, *pool;
	uint64_t size;
	uint32_t id;
	int rc;
};

static void create_on_owner(void *arg)
{
	struct volume_call *k = arg;
	char why[CORE_WHY_LEN];
	k->rc = core_volume_make(
	    k->c,
	    &(struct volume_want){
		.name = k->name, .pool = k->pool, .purpose = "lun", .size = k->size},
	    &k->id, why);
}

static void remove_on_owner(void *arg)
{
	struct volume_call *k = arg;
	char why[CORE_WHY_LEN];
	k->rc = core_volume_drop(k->c, k->name, why);
}

static void resize_on_owner(void *arg)
{
	struct volume_call *k = arg;
	char why[CORE_WHY_LEN];
	k->rc = core_volume_extend(k->c, k->name, k->size, why);
}

int core_volume_create(struct core *c, const char *pool, const char *name, uint64_t size,
		       uint32_t *ret_id)
{
	struct volume_call k = {.c = c, .name = name, .pool = pool, .size = size};
	int rc = owner_call(c->owner, create_on_owner, &k);
	if (rc == 0 && k.rc == 0)
		*ret_id = k.id;
	return rc ? rc : k.rc;
}

int core_volume_remove(struct core *c, const char *name)
{
	struct volume_call k = {.c = c, .name = name};
	int rc = owner_call(c->owner, remove_on_owner, &k);
	return rc ? rc : k.rc;
}

int core_volume_resize(struct core *c, const char *name, uint64_t size)
{
	struct volume_call k = {.c = c, .name = name, .size = size};
	int rc = owner_call(c->owner, resize_on_owner, &k);
	return rc ? rc : k.rc;
}
