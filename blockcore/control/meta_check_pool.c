/* Validation of array metadata: pools, spare disks, volumes. */
#include "blockcore/control/meta_check_impl.h"
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- pools ---- */

static int check_pool(const struct checker *k, const Isthmus__Pool *p)
{
	if (!meta_name_ok(p->name))
		return meta_bad(k, "pools.name: '%.80s' is not a name", p->name);
	if (p->uuid.len != 16)
		return meta_bad(k, "pool %s: uuid has %zu bytes", p->name, p->uuid.len);
	size_t groups = MAX(p->n_group_extents, 1);
	if (p->n_disks == 0 || p->n_disks > META_POOL_DISKS || groups > META_POOL_GROUPS ||
	    p->n_disks % groups || !meta_level_copies(p->level, (unsigned)(p->n_disks / groups)))
		return meta_bad(k, "pool %s: level '%.20s' with %zu disks in %zu groups", p->name,
				p->level, p->n_disks, groups);
	if (p->chunk < 16384 || p->chunk > (16u << 20) || (p->chunk & (p->chunk - 1)))
		return meta_bad(k, "pool %s: chunk %u", p->name, p->chunk);
	if (p->extent_size < META_EXTENT_MIN || p->extent_size > META_EXTENT_MAX ||
	    ((p->extent_size & (p->extent_size - 1)) && p->extent_size % p->chunk))
		return meta_bad(k, "pool %s: extent_size %llu", p->name,
				(unsigned long long)p->extent_size);
	if (p->extents == 0 || p->extents > META_POOL_SIZE_MAX / p->extent_size)
		return meta_bad(k, "pool %s: extents %llu", p->name,
				(unsigned long long)p->extents);
	uint64_t left = p->extents;
	for (size_t i = 0; i < p->n_group_extents; i++) {
		if (p->group_extents[i] == 0 || p->group_extents[i] > left)
			return meta_bad(k, "pool %s: group_extents[%zu] %llu", p->name, i,
					(unsigned long long)p->group_extents[i]);
		left -= p->group_extents[i];
	}
	if (p->n_group_extents && left)
		return meta_bad(k, "pool %s: its groups lack %llu extents", p->name,
				(unsigned long long)left);
	if (p->checksums > META_CHECKSUMS_CRC32C)
		return meta_bad(k, "pool %s: checksums %u", p->name, p->checksums);
	if (p->owner[0] && !meta_name_ok(p->owner))
		return meta_bad(k, "pool %s: owner '%.80s' is not a name", p->name, p->owner);
	if (p->epoch >> 48)
		return meta_bad(k, "pool %s: epoch %llu", p->name, (unsigned long long)p->epoch);
	for (size_t i = 0; i < p->n_disks; i++) {
		if (p->disks[i]->uuid.len != 16)
			return meta_bad(k, "pool %s: disks[%zu].uuid has %zu bytes", p->name, i,
					p->disks[i]->uuid.len);
		if (strlen(p->disks[i]->path) > 4095)
			return meta_bad(k, "pool %s: disks[%zu].path is too long", p->name, i);
	}
	return 0;
}

static int check_disks_unique(const struct checker *k)
{
	size_t n = 0, max = 0;
	for (size_t i = 0; i < k->am->n_pools; i++)
		max += k->am->pools[i]->n_disks;
	const uint8_t **v = meta_array(max, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < k->am->n_pools; i++)
		for (size_t j = 0; j < k->am->pools[i]->n_disks; j++)
			v[n++] = k->am->pools[i]->disks[j]->uuid.data;
	qsort(v, n, sizeof(*v), meta_uuid_order);
	int rc = 0;
	for (size_t i = 1; i < n && rc == 0; i++)
		if (memcmp(v[i - 1], v[i], 16) == 0)
			rc = meta_bad(k, "pools.disks.uuid: one disk stands there twice");
	free(v);
	return rc;
}

int meta_check_pools(struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_pools > META_POOLS_MAX)
		return meta_bad(k, "pools: %zu of them, at most %d", am->n_pools, META_POOLS_MAX);
	k->pools = meta_array(am->n_pools, sizeof(*k->pools));
	if (!k->pools)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_pools; i++) {
		int rc = check_pool(k, am->pools[i]);
		if (rc)
			return rc;
		k->pools[i] = am->pools[i]->name;
	}
	int rc = meta_texts_unique(k, k->pools, am->n_pools, "pools.name");
	return rc ? rc : check_disks_unique(k);
}

int meta_check_spares(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_spares > META_POOL_DISKS)
		return meta_bad(k, "spares: %zu, at most %d", am->n_spares, META_POOL_DISKS);
	for (size_t i = 0; i < am->n_spares; i++)
		if (am->spares[i]->uuid.len != 16)
			return meta_bad(k, "spare %s: uuid has %zu bytes", am->spares[i]->path,
					am->spares[i]->uuid.len);
	return 0;
}

/* ---- volumes ---- */

static const Isthmus__Pool *pool_named(const struct checker *k, const char *name)
{
	for (size_t i = 0; i < k->am->n_pools; i++)
		if (strcmp(k->am->pools[i]->name, name) == 0)
			return k->am->pools[i];
	return NULL;
}

static bool wipe_ok(const Isthmus__Wipe *w)
{
	return w->kind >= 1 && w->kind <= 3 && w->passes >= 1 && w->passes <= 31 &&
	       w->pattern.len <= 4096 && (w->kind != 1 || w->pattern.len > 0);
}

/* A limit so low, or a burst so long, that commands would wait for ever is a mistake. */
static int check_limit(const struct checker *k, const Isthmus__Volume *v, const char *what,
		       uint64_t rate, uint64_t max, uint64_t burst)
{
	if (rate > max)
		return meta_bad(k, "volume %s: limit of %s: %llu, at most %llu", v->name, what,
				(unsigned long long)rate, (unsigned long long)max);
	if (burst && !rate)
		return meta_bad(k, "volume %s: a burst without a limit of %s", v->name, what);
	if (burst / META_BURST_S > rate || burst > max)
		return meta_bad(k, "volume %s: burst of %s: %llu, at most %d seconds of the limit",
				v->name, what, (unsigned long long)burst, META_BURST_S);
	return 0;
}

static int check_limits(const struct checker *k, const Isthmus__Volume *v)
{
	const Isthmus__Limits *l = v->limits;
	if (!l)
		return 0;
	int rc = check_limit(k, v, "IOPS", l->iops, META_IOPS_MAX, l->iops_burst);
	if (rc == 0 && l->bandwidth && l->bandwidth < META_BANDWIDTH_MIN)
		return meta_bad(k, "volume %s: limit of bandwidth: %llu, at least %d", v->name,
				(unsigned long long)l->bandwidth, META_BANDWIDTH_MIN);
	return rc ? rc
		  : check_limit(k, v, "bandwidth", l->bandwidth, META_BANDWIDTH_MAX,
				l->bandwidth_burst);
}

static int check_volume(const struct checker *k, const Isthmus__Volume *v)
{
	static const char *const purposes[] = {"lun", "fs", "piv", "piv-backup", "software"};
	if (!meta_name_ok(v->name))
		return meta_bad(k, "volumes.name: '%.80s' is not a name", v->name);
	if (v->id == 0 || v->id >= k->am->next_volume_id)
		return meta_bad(k, "volume %s: id %u, next_volume_id %u", v->name, v->id,
				k->am->next_volume_id);
	if (v->uuid.len != 16)
		return meta_bad(k, "volume %s: uuid has %zu bytes", v->name, v->uuid.len);
	const Isthmus__Pool *p = meta_pool_known(k, v->pool) ? pool_named(k, v->pool) : NULL;
	if (!p)
		return meta_bad(k, "volume %s: pool '%.80s' is not there", v->name, v->pool);
	size_t i;
	for (i = 0; i < ARRAY_LEN(purposes) && strcmp(purposes[i], v->purpose) != 0; i++)
		;
	if (i == ARRAY_LEN(purposes))
		return meta_bad(k, "volume %s: purpose '%.20s'", v->name, v->purpose);
	if (v->wipe && !wipe_ok(v->wipe))
		return meta_bad(k, "volume %s: wipe is not one", v->name);
	if (v->identifying.len > 512 || strlen(v->identifying_text) > 255)
		return meta_bad(k, "volume %s: identifying information is too long", v->name);
	int rc = check_limits(k, v);
	if (rc)
		return rc;
	uint64_t extents = 0;
	for (i = 0; i < v->n_map; i++) {
		const Isthmus__Extents *e = v->map[i];
		if (e->count == 0 || e->first >= p->extents || e->count > p->extents - e->first)
			return meta_bad(k, "volume %s: map[%zu] is outside pool %s", v->name, i,
					p->name);
		extents += e->count;
		if (extents > p->extents)
			return meta_bad(k, "volume %s: map is larger than pool %s", v->name,
					p->name);
	}
	if (v->size == 0 || v->size % 512 || v->size > extents * p->extent_size)
		return meta_bad(k, "volume %s: size %llu with %llu extents", v->name,
				(unsigned long long)v->size, (unsigned long long)extents);
	return 0;
}

struct run {
	const Isthmus__Volume *v;
	const Isthmus__Extents *e;
};

static int run_order(const void *a, const void *b)
{
	const struct run *x = a, *y = b;
	int c = strcmp(x->v->pool, y->v->pool);
	return c ? c : (x->e->first > y->e->first) - (x->e->first < y->e->first);
}

static int check_overlap(const struct checker *k)
{
	size_t n = 0, max = 0;
	for (size_t i = 0; i < k->am->n_volumes; i++)
		max += k->am->volumes[i]->n_map;
	struct run *r = meta_array(max, sizeof(*r));
	if (!r)
		return -ENOMEM;
	for (size_t i = 0; i < k->am->n_volumes; i++)
		for (size_t j = 0; j < k->am->volumes[i]->n_map; j++)
			r[n++] = (struct run){k->am->volumes[i], k->am->volumes[i]->map[j]};
	qsort(r, n, sizeof(*r), run_order);
	int rc = 0;
	for (size_t i = 1; i < n && rc == 0; i++)
		if (strcmp(r[i - 1].v->pool, r[i].v->pool) == 0 &&
		    r[i].e->first < r[i - 1].e->first + r[i - 1].e->count)
			rc = meta_bad(k, "volumes %s and %s: map: both have extent %llu of pool %s",
				      r[i - 1].v->name, r[i].v->name,
				      (unsigned long long)r[i].e->first, r[i].v->pool);
	free(r);
	return rc;
}

int meta_check_volumes(struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_volumes > META_VOLUMES_MAX)
		return meta_bad(k, "volumes: %zu of them, at most %d", am->n_volumes,
				META_VOLUMES_MAX);
	k->volumes = meta_array(am->n_volumes, sizeof(*k->volumes));
	if (!k->volumes)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_volumes; i++) {
		int rc = check_volume(k, am->volumes[i]);
		if (rc)
			return rc;
		k->volumes[i] = am->volumes[i]->id;
	}
	qsort(k->volumes, am->n_volumes, sizeof(*k->volumes), meta_u32_order);
	for (size_t i = 1; i < am->n_volumes; i++)
		if (k->volumes[i - 1] == k->volumes[i])
			return meta_bad(k, "volumes.id: %u stands there twice", k->volumes[i]);
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->backup_of && !meta_volume_known(k, am->volumes[i]->backup_of))
			return meta_bad(k,
					"volume %s: backup_of names volume %u, which is not there",
					am->volumes[i]->name, am->volumes[i]->backup_of);
	int rc =
	    MEMBERS_UNIQUE(k, am->volumes, am->n_volumes, Isthmus__Volume, name, "volumes.name");
	return rc ? rc : check_overlap(k);
}
