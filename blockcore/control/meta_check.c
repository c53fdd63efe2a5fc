/*
 * Validation of array metadata. Every list is checked for duplicates by
 * sorting, so that a hostile message of 7 MiB costs no more than n log n.
 */
#include "blockcore/control/meta_check.h"
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_scsi.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct checker {
	const Isthmus__ArrayMeta *am;
	char *why;
	const char **pools; /* names, sorted */
	uint32_t *volumes;  /* ids, sorted */
};

__attribute__((format(printf, 2, 3))) static int bad(const struct checker *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(k->why, META_WHY_LEN, fmt, ap);
	va_end(ap);
	return -ERR_CORRUPT;
}

bool meta_name_ok(const char *name)
{
	static const char first[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char more[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strnlen(name, 64);
	return n > 0 && n <= 63 && strspn(name, first) > 0 && strspn(name, more) == n;
}

unsigned meta_level_copies(const char *level, unsigned ndisks)
{
	if (strcmp(level, "single") == 0)
		return ndisks == 1 ? 1 : 0;
	if (strcmp(level, "raid0") == 0)
		return ndisks >= 2 && ndisks <= META_POOL_DISKS ? 1 : 0;
	if (strcmp(level, "raid1") == 0)
		return ndisks == 2 || ndisks == 3 ? ndisks : 0;
	if (strcmp(level, "raid10") == 0)
		return ndisks >= 4 && ndisks % 2 == 0 && ndisks <= META_POOL_DISKS ? 2 : 0;
	unsigned parity = meta_level_parity(level);
	return parity && ndisks >= parity + 2 && ndisks <= META_PARITY_DISKS ? 1 : 0;
}

unsigned meta_level_parity(const char *level)
{
	if (strcmp(level, "raid5") == 0)
		return 1;
	return strcmp(level, "raid6") == 0 ? 2 : 0;
}

static int text_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int u32_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static int uuid_order(const void *a, const void *b)
{
	return memcmp(*(uint8_t *const *)a, *(uint8_t *const *)b, 16);
}

static void *new_array(size_t n, size_t size)
{
	return calloc(n ? n : 1, size);
}

/* Sorts; names the first value that stands there twice. */
static int texts_unique(const struct checker *k, const char **v, size_t n, const char *what)
{
	qsort(v, n, sizeof(*v), text_order);
	for (size_t i = 1; i < n; i++)
		if (strcmp(v[i - 1], v[i]) == 0)
			return bad(k, "%s: '%.80s' stands there twice", what, v[i]);
	return 0;
}

/* The member at `off` of every message of a repeated field is a text of its own. */
static int member_unique(const struct checker *k, void *const *items, size_t n, size_t off,
			 const char *what)
{
	const char **v = new_array(n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		v[i] = *(char **)((char *)items[i] + off);
	int rc = texts_unique(k, v, n, what);
	free(v);
	return rc;
}
#define MEMBERS_UNIQUE(k, field, n, type, member, what)                                            \
	member_unique(k, (void *const *)(field), n, offsetof(type, member), what)

static bool volume_known(const struct checker *k, uint32_t id)
{
	return bsearch(&id, k->volumes, k->am->n_volumes, sizeof(id), u32_order) != NULL;
}

static bool pool_known(const struct checker *k, const char *name)
{
	return bsearch(&name, k->pools, k->am->n_pools, sizeof(name), text_order) != NULL;
}

/* ---- pools ---- */

static int check_pool(const struct checker *k, const Isthmus__Pool *p)
{
	if (!meta_name_ok(p->name))
		return bad(k, "pools.name: '%.80s' is not a name", p->name);
	if (p->uuid.len != 16)
		return bad(k, "pool %s: uuid has %zu bytes", p->name, p->uuid.len);
	if (p->n_disks == 0 || p->n_disks > META_POOL_DISKS ||
	    !meta_level_copies(p->level, (unsigned)p->n_disks))
		return bad(k, "pool %s: level '%.20s' with %zu disks", p->name, p->level,
			   p->n_disks);
	if (p->chunk < 16384 || p->chunk > (16u << 20) || (p->chunk & (p->chunk - 1)))
		return bad(k, "pool %s: chunk %u", p->name, p->chunk);
	if (p->extent_size < META_EXTENT_MIN || p->extent_size > META_EXTENT_MAX ||
	    ((p->extent_size & (p->extent_size - 1)) && p->extent_size % p->chunk))
		return bad(k, "pool %s: extent_size %llu", p->name,
			   (unsigned long long)p->extent_size);
	if (p->extents == 0 || p->extents > META_POOL_SIZE_MAX / p->extent_size)
		return bad(k, "pool %s: extents %llu", p->name, (unsigned long long)p->extents);
	if (p->owner[0] && !meta_name_ok(p->owner))
		return bad(k, "pool %s: owner '%.80s' is not a name", p->name, p->owner);
	if (p->epoch >> 48)
		return bad(k, "pool %s: epoch %llu", p->name, (unsigned long long)p->epoch);
	for (size_t i = 0; i < p->n_disks; i++) {
		if (p->disks[i]->uuid.len != 16)
			return bad(k, "pool %s: disks[%zu].uuid has %zu bytes", p->name, i,
				   p->disks[i]->uuid.len);
		if (strlen(p->disks[i]->path) > 4095)
			return bad(k, "pool %s: disks[%zu].path is too long", p->name, i);
	}
	return 0;
}

static int check_disks_unique(const struct checker *k)
{
	size_t n = 0, max = 0;
	for (size_t i = 0; i < k->am->n_pools; i++)
		max += k->am->pools[i]->n_disks;
	const uint8_t **v = new_array(max, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < k->am->n_pools; i++)
		for (size_t j = 0; j < k->am->pools[i]->n_disks; j++)
			v[n++] = k->am->pools[i]->disks[j]->uuid.data;
	qsort(v, n, sizeof(*v), uuid_order);
	int rc = 0;
	for (size_t i = 1; i < n && rc == 0; i++)
		if (memcmp(v[i - 1], v[i], 16) == 0)
			rc = bad(k, "pools.disks.uuid: one disk stands there twice");
	free(v);
	return rc;
}

static int check_pools(struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_pools > META_POOLS_MAX)
		return bad(k, "pools: %zu of them, at most %d", am->n_pools, META_POOLS_MAX);
	k->pools = new_array(am->n_pools, sizeof(*k->pools));
	if (!k->pools)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_pools; i++) {
		int rc = check_pool(k, am->pools[i]);
		if (rc)
			return rc;
		k->pools[i] = am->pools[i]->name;
	}
	int rc = texts_unique(k, k->pools, am->n_pools, "pools.name");
	return rc ? rc : check_disks_unique(k);
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
		return bad(k, "volume %s: limit of %s: %llu, at most %llu", v->name, what,
			   (unsigned long long)rate, (unsigned long long)max);
	if (burst && !rate)
		return bad(k, "volume %s: a burst without a limit of %s", v->name, what);
	if (burst / META_BURST_S > rate || burst > max)
		return bad(k, "volume %s: burst of %s: %llu, at most %d seconds of the limit",
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
		return bad(k, "volume %s: limit of bandwidth: %llu, at least %d", v->name,
			   (unsigned long long)l->bandwidth, META_BANDWIDTH_MIN);
	return rc ? rc
		  : check_limit(k, v, "bandwidth", l->bandwidth, META_BANDWIDTH_MAX,
				l->bandwidth_burst);
}

static int check_volume(const struct checker *k, const Isthmus__Volume *v)
{
	static const char *const purposes[] = {"lun", "fs", "piv", "piv-backup"};
	if (!meta_name_ok(v->name))
		return bad(k, "volumes.name: '%.80s' is not a name", v->name);
	if (v->id == 0 || v->id >= k->am->next_volume_id)
		return bad(k, "volume %s: id %u, next_volume_id %u", v->name, v->id,
			   k->am->next_volume_id);
	if (v->uuid.len != 16)
		return bad(k, "volume %s: uuid has %zu bytes", v->name, v->uuid.len);
	const Isthmus__Pool *p = pool_known(k, v->pool) ? pool_named(k, v->pool) : NULL;
	if (!p)
		return bad(k, "volume %s: pool '%.80s' is not there", v->name, v->pool);
	size_t i;
	for (i = 0; i < ARRAY_LEN(purposes) && strcmp(purposes[i], v->purpose) != 0; i++)
		;
	if (i == ARRAY_LEN(purposes))
		return bad(k, "volume %s: purpose '%.20s'", v->name, v->purpose);
	if (v->wipe && !wipe_ok(v->wipe))
		return bad(k, "volume %s: wipe is not one", v->name);
	if (v->identifying.len > 512 || strlen(v->identifying_text) > 255)
		return bad(k, "volume %s: identifying information is too long", v->name);
	int rc = check_limits(k, v);
	if (rc)
		return rc;
	uint64_t extents = 0;
	for (i = 0; i < v->n_map; i++) {
		const Isthmus__Extents *e = v->map[i];
		if (e->count == 0 || e->first >= p->extents || e->count > p->extents - e->first)
			return bad(k, "volume %s: map[%zu] is outside pool %s", v->name, i,
				   p->name);
		extents += e->count;
		if (extents > p->extents)
			return bad(k, "volume %s: map is larger than pool %s", v->name, p->name);
	}
	if (v->size == 0 || v->size % 512 || v->size > extents * p->extent_size)
		return bad(k, "volume %s: size %llu with %llu extents", v->name,
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
	struct run *r = new_array(max, sizeof(*r));
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
			rc = bad(k, "volumes %s and %s: map: both have extent %llu of pool %s",
				 r[i - 1].v->name, r[i].v->name, (unsigned long long)r[i].e->first,
				 r[i].v->pool);
	free(r);
	return rc;
}

static int check_volumes(struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_volumes > META_VOLUMES_MAX)
		return bad(k, "volumes: %zu of them, at most %d", am->n_volumes, META_VOLUMES_MAX);
	k->volumes = new_array(am->n_volumes, sizeof(*k->volumes));
	if (!k->volumes)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_volumes; i++) {
		int rc = check_volume(k, am->volumes[i]);
		if (rc)
			return rc;
		k->volumes[i] = am->volumes[i]->id;
	}
	qsort(k->volumes, am->n_volumes, sizeof(*k->volumes), u32_order);
	for (size_t i = 1; i < am->n_volumes; i++)
		if (k->volumes[i - 1] == k->volumes[i])
			return bad(k, "volumes.id: %u stands there twice", k->volumes[i]);
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->backup_of && !volume_known(k, am->volumes[i]->backup_of))
			return bad(k, "volume %s: backup_of names volume %u, which is not there",
				   am->volumes[i]->name, am->volumes[i]->backup_of);
	int rc =
	    MEMBERS_UNIQUE(k, am->volumes, am->n_volumes, Isthmus__Volume, name, "volumes.name");
	return rc ? rc : check_overlap(k);
}

/* ---- targets and initiators ---- */

static bool iqn_ok(const char *s)
{
	size_t n = strnlen(s, 224);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
			return false;
	return n > 0 && n <= 223; /* RFC 7143 4.2.7.2: at most 223 bytes */
}

static int numbers_unique(const struct checker *k, uint32_t *v, size_t n, const char *what,
			  const char *whose)
{
	qsort(v, n, sizeof(*v), u32_order);
	for (size_t i = 0; i < n; i++) {
		if (v[i] > META_LUN_MAX)
			return bad(k, "%s %.80s: LUN %u is above %d", what, whose, v[i],
				   META_LUN_MAX);
		if (i && v[i - 1] == v[i])
			return bad(k, "%s %.80s: LUN %u stands there twice", what, whose, v[i]);
	}
	return 0;
}

static bool physical_ok(const Isthmus__Lun *l)
{
	uint32_t n = l->physical_size, block = l->block_size ? l->block_size : 512;
	return n == 0 || (n >= block && n <= 4096 && !(n & (n - 1)));
}

static int check_target(const struct checker *k, const Isthmus__Target *t)
{
	if (!iqn_ok(t->iqn))
		return bad(k, "targets.iqn: '%.80s' is not an iSCSI name", t->iqn);
	if (strlen(t->chap_user) > 255 || strlen(t->chap_secret) > 255 ||
	    strlen(t->mutual_user) > 255 || strlen(t->mutual_secret) > 255)
		return bad(k, "target %.80s: a CHAP name or secret is longer than 255", t->iqn);
	if (strlen(t->redirect) > META_ADDRESS_MAX)
		return bad(k, "target %.80s: redirect is longer than %d", t->iqn, META_ADDRESS_MAX);
	for (size_t i = 0; i < t->n_portal_groups; i++)
		if (t->portal_groups[i] < 1 || t->portal_groups[i] > UINT16_MAX || i == 64)
			return bad(k, "target %.80s: portal group %u", t->iqn, t->portal_groups[i]);
	uint32_t *v = new_array(t->n_luns, sizeof(*v));
	if (!v)
		return -ENOMEM;
	int rc = 0;
	for (size_t i = 0; i < t->n_luns && rc == 0; i++) {
		const Isthmus__Lun *l = t->luns[i];
		v[i] = l->lun;
		if (!volume_known(k, l->volume_id))
			rc = bad(k, "target %.80s: LUN %u: volume %u is not there", t->iqn, l->lun,
				 l->volume_id);
		else if (l->block_size != 0 && l->block_size != 512 && l->block_size != 4096)
			rc = bad(k, "target %.80s: LUN %u: block_size %u", t->iqn, l->lun,
				 l->block_size);
		else if (!physical_ok(l))
			rc = bad(k, "target %.80s: LUN %u: physical_size %u", t->iqn, l->lun,
				 l->physical_size);
		else if (strlen(l->serial) > 64)
			rc = bad(k, "target %.80s: LUN %u: serial is longer than 64", t->iqn,
				 l->lun);
	}
	if (rc == 0)
		rc = numbers_unique(k, v, t->n_luns, "target", t->iqn);
	free(v);
	return rc;
}

static int lun_order(const void *a, const void *b)
{
	const Isthmus__Target *const *x = a, *const *y = b;
	return strcmp((*x)->iqn, (*y)->iqn);
}

static int check_initiator(const struct checker *k, const Isthmus__Initiator *in,
			   const Isthmus__Target *const *sorted)
{
	if (!iqn_ok(in->iqn))
		return bad(k, "initiators.iqn: '%.80s' is not an iSCSI name", in->iqn);
	if (strlen(in->chap_user) > 255 || strlen(in->chap_secret) > 255)
		return bad(k, "initiator %.80s: a CHAP name or secret is longer than 255", in->iqn);
	Isthmus__Target key = {.iqn = in->target}, *pkey = &key;
	if (!bsearch(&pkey, sorted, k->am->n_targets, sizeof(*sorted), lun_order))
		return bad(k, "initiator %.80s: target '%.80s' is not there", in->iqn, in->target);
	uint32_t *v = new_array(in->n_luns, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < in->n_luns; i++)
		v[i] = in->luns[i]->lun;
	int rc = numbers_unique(k, v, in->n_luns, "initiator", in->iqn);
	free(v);
	return rc;
}

static int initiator_order(const void *a, const void *b)
{
	const Isthmus__Initiator *const *x = a, *const *y = b;
	int c = strcmp((*x)->iqn, (*y)->iqn);
	return c ? c : strcmp((*x)->target, (*y)->target);
}

static int check_initiators(const struct checker *k, const Isthmus__Target *const *sorted)
{
	const Isthmus__ArrayMeta *am = k->am;
	for (size_t i = 0; i < am->n_initiators; i++) {
		int rc = check_initiator(k, am->initiators[i], sorted);
		if (rc)
			return rc;
	}
	const Isthmus__Initiator **v = new_array(am->n_initiators, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_initiators; i++)
		v[i] = am->initiators[i];
	qsort(v, am->n_initiators, sizeof(*v), initiator_order);
	int rc = 0;
	for (size_t i = 1; i < am->n_initiators && rc == 0; i++)
		if (initiator_order(&v[i - 1], &v[i]) == 0)
			rc = bad(k, "initiators: '%.80s' stands there twice for one target",
				 v[i]->iqn);
	free(v);
	return rc;
}

static int check_discovery(const struct checker *k)
{
	const Isthmus__DiscoveryAuth *d = k->am->discovery;
	if (d && (strlen(d->chap_user) > 255 || strlen(d->chap_secret) > 255 ||
		  strlen(d->mutual_user) > 255 || strlen(d->mutual_secret) > 255))
		return bad(k, "discovery: a CHAP name or secret is longer than 255");
	return 0;
}

static int check_targets(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	const Isthmus__Target **sorted = new_array(am->n_targets, sizeof(*sorted));
	int rc = sorted ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++) {
		sorted[i] = am->targets[i];
		rc = check_target(k, am->targets[i]);
	}
	if (rc == 0)
		rc = MEMBERS_UNIQUE(k, am->targets, am->n_targets, Isthmus__Target, iqn,
				    "targets.iqn");
	if (rc == 0) {
		qsort(sorted, am->n_targets, sizeof(*sorted), lun_order);
		rc = check_initiators(k, sorted);
	}
	free(sorted);
	return rc;
}

static int check_ports(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	uint32_t *v = new_array(am->n_targets, sizeof(*v));
	int rc = v ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_targets && rc == 0; i++) {
		v[i] = am->targets[i]->port;
		if (v[i] == 0 || v[i] > UINT16_MAX)
			rc = bad(k, "target %.80s: port %u", am->targets[i]->iqn, v[i]);
	}
	if (rc == 0)
		qsort(v, am->n_targets, sizeof(*v), u32_order);
	for (size_t i = 1; i < am->n_targets && rc == 0; i++)
		if (v[i - 1] == v[i])
			rc = bad(k, "targets.port: %u stands there twice", v[i]);
	free(v);
	return rc;
}

/* ---- reservations ---- */

static int check_registration(const struct checker *k, uint32_t volume,
			      const Isthmus__Registration *g)
{
	if (!iqn_ok(g->initiator) || !iqn_ok(g->target))
		return bad(k, "reservation of volume %u: '%.60s' at '%.60s' are not iSCSI names",
			   volume, g->initiator, g->target);
	if (g->isid.len != 0 && g->isid.len != 6)
		return bad(k, "reservation of volume %u: isid has %zu bytes", volume, g->isid.len);
	if (g->key == 0 || g->tpgt > UINT16_MAX)
		return bad(k, "reservation of volume %u: key or tpgt of %.80s", volume,
			   g->initiator);
	return 0;
}

static int registration_order(const void *a, const void *b)
{
	const Isthmus__Registration *x = *(Isthmus__Registration *const *)a;
	const Isthmus__Registration *y = *(Isthmus__Registration *const *)b;
	int c = strcasecmp(x->initiator, y->initiator);
	if (c == 0)
		c = strcasecmp(x->target, y->target);
	if (c == 0)
		c = (x->tpgt > y->tpgt) - (x->tpgt < y->tpgt);
	if (c == 0)
		c = (x->isid.len > y->isid.len) - (x->isid.len < y->isid.len);
	return c || !x->isid.len ? c : memcmp(x->isid.data, y->isid.data, 6);
}

/* A nexus has one key. */
static int nexuses_unique(const struct checker *k, const Isthmus__Reservation *v)
{
	Isthmus__Registration **s = new_array(v->n_registrations, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (v->n_registrations)
		memcpy(s, v->registrations, v->n_registrations * sizeof(*s));
	qsort(s, v->n_registrations, sizeof(*s), registration_order);
	int rc = 0;
	for (size_t i = 1; i < v->n_registrations && rc == 0; i++)
		if (registration_order(&s[i - 1], &s[i]) == 0)
			rc = bad(k, "reservation of volume %u: %.80s has two keys", v->volume_id,
				 s[i]->initiator);
	free(s);
	return rc;
}

static int check_reservation(const struct checker *k, const Isthmus__Reservation *v)
{
	unsigned holders = 0;
	if (!volume_known(k, v->volume_id))
		return bad(k, "reservations: volume %u is not there", v->volume_id);
	if (!meta_type_ok(v->type))
		return bad(k, "reservation of volume %u: type %u", v->volume_id, v->type);
	if (v->n_registrations > META_KEYS_VOLUME)
		return bad(k, "reservation of volume %u: %zu registrations, at most %d",
			   v->volume_id, v->n_registrations, META_KEYS_VOLUME);
	for (size_t i = 0; i < v->n_registrations; i++) {
		int rc = check_registration(k, v->volume_id, v->registrations[i]);
		if (rc)
			return rc;
		holders += v->registrations[i]->holder;
	}
	bool one = v->type && !meta_type_all(v->type);
	if (holders != one || (v->type && !v->n_registrations))
		return bad(k, "reservation of volume %u: %u holders of type %u", v->volume_id,
			   holders, v->type);
	if (v->last && v->last->by &&
	    (v->last->by->isid.len != 6 || strlen(v->last->by->initiator) > 223 ||
	     strlen(v->last->by->target) > 223))
		return bad(k, "reservation of volume %u: last.by", v->volume_id);
	return nexuses_unique(k, v);
}

static int check_spares(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_spares > META_POOL_DISKS)
		return bad(k, "spares: %zu, at most %d", am->n_spares, META_POOL_DISKS);
	for (size_t i = 0; i < am->n_spares; i++)
		if (am->spares[i]->uuid.len != 16)
			return bad(k, "spare %s: uuid has %zu bytes", am->spares[i]->path,
				   am->spares[i]->uuid.len);
	return 0;
}

static int check_reservations(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (meta_keys(am) > META_KEYS)
		return bad(k, "reservations: %u registrations, at most %d", meta_keys(am),
			   META_KEYS);
	uint32_t *v = new_array(am->n_reservations, sizeof(*v));
	int rc = v ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_reservations && rc == 0; i++) {
		v[i] = am->reservations[i]->volume_id;
		rc = check_reservation(k, am->reservations[i]);
	}
	if (rc == 0)
		qsort(v, am->n_reservations, sizeof(*v), u32_order);
	for (size_t i = 1; i < am->n_reservations && rc == 0; i++)
		if (v[i - 1] == v[i])
			rc = bad(k, "reservations: volume %u stands there twice", v[i]);
	free(v);
	return rc;
}

/* ---- groups, file systems, exports ---- */

static const Isthmus__HeadGroup *group_named(const struct checker *k, const char *name)
{
	for (size_t i = 0; i < k->am->n_groups; i++)
		if (strcmp(k->am->groups[i]->name, name) == 0)
			return k->am->groups[i];
	return NULL;
}

static int check_groups(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_groups > 1024)
		return bad(k, "groups: %zu of them, at most 1024", am->n_groups);
	for (size_t i = 0; i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		if (!meta_name_ok(g->name))
			return bad(k, "groups.name: '%.80s' is not a name", g->name);
		if (!volume_known(k, g->piv_volume))
			return bad(k, "group %s: piv_volume %u is not there", g->name,
				   g->piv_volume);
		if (!volume_known(k, g->backup_volume) || g->backup_volume == g->piv_volume)
			return bad(k, "group %s: backup_volume %u is not there or is the PIV",
				   g->name, g->backup_volume);
	}
	for (size_t i = 0; i < am->n_groups; i++)
		if (am->groups[i]->backup_interval > BACKUP_INTERVAL_MAX)
			return bad(k, "group %s: backup_interval is more than a year",
				   am->groups[i]->name);
	return MEMBERS_UNIQUE(k, am->groups, am->n_groups, Isthmus__HeadGroup, name, "groups.name");
}

static int check_heads(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_heads > META_HEADS_MAX)
		return bad(k, "heads: %zu of them, at most %u", am->n_heads, META_HEADS_MAX);
	for (size_t i = 0; i < am->n_heads; i++) {
		const Isthmus__HeadInstance *h = am->heads[i];
		if (!meta_name_ok(h->head))
			return bad(k, "heads[%zu].head: not a name", i);
		if (h->instance == 0 || h->epoch == 0)
			return bad(k, "heads[%zu]: neither instance nor epoch may be 0", i);
	}
	return MEMBERS_UNIQUE(k, am->heads, am->n_heads, Isthmus__HeadInstance, head, "heads.head");
}

static int check_filesystems(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	uint32_t *vols = new_array(am->n_filesystems, sizeof(*vols));
	int rc = vols ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_filesystems && rc == 0; i++) {
		const Isthmus__FileSystem *f = am->filesystems[i];
		vols[i] = f->volume_id;
		if (!meta_name_ok(f->name))
			rc = bad(k, "filesystems.name: '%.80s' is not a name", f->name);
		else if (!volume_known(k, f->volume_id))
			rc =
			    bad(k, "file system %s: volume %u is not there", f->name, f->volume_id);
		else if (f->id == 0 || f->id >= am->next_id)
			rc = bad(k, "file system %s: id %llu", f->name, (unsigned long long)f->id);
		else if (*f->group && !group_named(k, f->group))
			rc =
			    bad(k, "file system %s: group '%.80s' is not there", f->name, f->group);
		else if (*f->head && !meta_name_ok(f->head))
			rc = bad(k, "file system %s: head '%.80s' is not a name", f->name, f->head);
	}
	if (rc == 0) {
		qsort(vols, am->n_filesystems, sizeof(*vols), u32_order);
		for (size_t i = 1; i < am->n_filesystems && rc == 0; i++)
			if (vols[i - 1] == vols[i])
				rc =
				    bad(k, "filesystems.volume_id: %u stands there twice", vols[i]);
	}
	free(vols);
	return rc ? rc
		  : MEMBERS_UNIQUE(k, am->filesystems, am->n_filesystems, Isthmus__FileSystem, name,
				   "filesystems.name");
}

static bool path_ok(const char *s)
{
	size_t n = strnlen(s, 1025);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return false;
	return n > 0 && n <= 1024 && s[0] == '/';
}

static int check_export(const struct checker *k, const Isthmus__Export *e, const char **names)
{
	static const char *const squashes[] = {"none", "root", "all"};
	const char *fs = e->fs;
	if (!path_ok(e->path))
		return bad(k, "exports.path: '%.80s' is not an absolute path", e->path);
	if (*e->subdir && !path_ok(e->subdir))
		return bad(k, "export %.80s: subdir '%.80s' is not an absolute path", e->path,
			   e->subdir);
	if (!bsearch(&fs, names, k->am->n_filesystems, sizeof(*names), text_order))
		return bad(k, "export %.80s: file system '%.80s' is not there", e->path, e->fs);
	if (e->n_clients > 4096)
		return bad(k, "export %.80s: %zu clients, at most 4096", e->path, e->n_clients);
	for (size_t i = 0; i < e->n_clients; i++) {
		const Isthmus__ExportClient *c = e->clients[i];
		size_t s;
		for (s = 0; s < 3 && strcmp(squashes[s], c->squash) != 0; s++)
			;
		if (s == 3)
			return bad(k, "export %.80s: squash '%.20s'", e->path, c->squash);
		if (!*c->match || strlen(c->match) > 255)
			return bad(k, "export %.80s: clients[%zu].match", e->path, i);
	}
	return 0;
}

static int check_exports(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	const char **names = new_array(am->n_filesystems, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_filesystems; i++)
		names[i] = am->filesystems[i]->name;
	qsort(names, am->n_filesystems, sizeof(*names), text_order);
	int rc = 0;
	for (size_t i = 0; i < am->n_exports && rc == 0; i++)
		rc = check_export(k, am->exports[i], names);
	free(names);
	return rc ? rc
		  : MEMBERS_UNIQUE(k, am->exports, am->n_exports, Isthmus__Export, path,
				   "exports.path");
}

int meta_check(const Isthmus__ArrayMeta *am, char *why)
{
	struct checker k = {.am = am, .why = why};
	if (am->version < META_VERSION_OLDEST || am->version > META_VERSION) {
		bad(&k, "version: %u is not spoken here (only %d to %d)", am->version,
		    META_VERSION_OLDEST, META_VERSION);
		return -ERR_VERSION;
	}
	if (am->array_uuid.len != 16)
		return bad(&k, "array_uuid: %zu bytes", am->array_uuid.len);
	if (strlen(am->array_name) > 63)
		return bad(&k, "array_name: longer than 63");
	int rc = check_pools(&k);
	if (rc == 0)
		rc = check_volumes(&k);
	if (rc == 0)
		rc = check_targets(&k);
	if (rc == 0)
		rc = check_ports(&k);
	if (rc == 0)
		rc = check_reservations(&k);
	if (rc == 0)
		rc = check_discovery(&k);
	if (rc == 0)
		rc = check_spares(&k);
	if (rc == 0)
		rc = check_groups(&k);
	if (rc == 0)
		rc = check_heads(&k);
	if (rc == 0)
		rc = check_filesystems(&k);
	if (rc == 0)
		rc = check_exports(&k);
	if (rc == -ENOMEM)
		snprintf(why, META_WHY_LEN, "%s", err_text(rc));
	free(k.pools);
	free(k.volumes);
	return rc;
}
