/*
 * Where heads keep their state, and a new volume for a group whose volume is lost.
 *
 * A head says where its newest state is before it writes it there: on the group's volume, on the
 * backup, on both, or that it is about to move to the backup. That stands in the array metadata, so
 * it outlives head and controllers: no backup is made over what is only on the backup, also of a
 * head that is dead. A word is stable, and no backup is under way any more, when the head is
 * answered.
 *
 * A new volume is blank and the group's from one change of the metadata on; the heads fill it from
 * the backup (nasfront/piv/piv_fill.c). Until one says that it lives there no backup is made of it.
 */
#include "blockcore/core_impl.h"
#include "blockcore/disk/disk.h"
#include "proto/channel.pb-c.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_MAX 64

/* ---- a head's word ---- */

static size_t side_index(const Isthmus__HeadGroup *g, const char *head)
{
	size_t i = 0;
	while (i < g->n_sides && strcmp(g->sides[i]->head, head) != 0)
		i++;
	return i;
}

unsigned core_side_of(const Isthmus__HeadGroup *g, const char *head)
{
	size_t i = side_index(g, head);
	return i < g->n_sides ? g->sides[i]->side : ISTHMUS__SIDE__ON_MAIN;
}

static int side_add(Isthmus__HeadGroup *g, const struct core_side *w)
{
	Isthmus__HeadSide *s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	isthmus__head_side__init(s);
	s->side = w->side;
	int rc = pb_set_text(&s->head, w->head);
	if (rc == 0)
		rc = pb_append(&g->sides, &g->n_sides, s);
	if (rc)
		isthmus__head_side__free_unpacked(s, NULL);
	return rc;
}

static int change_side(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct core_side *w = arg;
	Isthmus__HeadGroup *g = (Isthmus__HeadGroup *)meta_group_find(am, w->group);
	if (!g)
		return -ENOENT;
	if (g->piv_volume != w->piv) {
		snprintf(why, CORE_WHY_LEN, "another volume is the group's by now");
		return -ESTALE;
	}
	size_t i = side_index(g, w->head);
	bool main = w->side == ISTHMUS__SIDE__ON_MAIN;
	Isthmus__Volume *b = meta_volume_by_id(am, g->backup_volume);
	/* It writes the backup from now on, or has done so till now. */
	if (b && (!main || i < g->n_sides))
		b->backup_crc = 0;
	/* Others fill their own part when they come: what they have is on the backup till then. */
	g->unfilled = g->unfilled && !main && w->side != ISTHMUS__SIDE__ON_BOTH;
	if (i < g->n_sides && main) {
		isthmus__head_side__free_unpacked(g->sides[i], NULL);
		pb_remove(&g->sides, &g->n_sides, i);
	} else if (i < g->n_sides) {
		g->sides[i]->side = w->side;
	} else if (!main) {
		return side_add(g, w);
	}
	return 0;
}

int core_side_set(struct core *c, const struct core_side *w, char *why)
{
	CHECK(c, CORE_MAGIC);
	const Isthmus__HeadGroup *g = meta_group_find(meta_get(c->meta), w->group);
	why[0] = '\0';
	bool same = g && g->piv_volume == w->piv && core_side_of(g, w->head) == w->side &&
		    !(g->unfilled && w->side == ISTHMUS__SIDE__ON_MAIN);
	int rc = same ? 0 : meta_update(c->meta, change_side, (void *)w, why);
	if (rc || w->side == ISTHMUS__SIDE__ON_BOTH || (same && w->side == ISTHMUS__SIDE__ON_MAIN))
		return rc;
	/* What was begun before the word must not come after it; what the backup holds is changing.
	 */
	struct volume *v = core_volume_get(c, w->piv);
	if (v)
		volume_backup_cancel(v);
	core_volume_put(v);
	return 0;
}

/* ---- a new volume ---- */

struct renewal {
	const char *group;
	uint32_t old, piv;
};

static int change_renew(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct renewal *r = arg;
	Isthmus__HeadGroup *g = (Isthmus__HeadGroup *)meta_group_find(am, r->group);
	Isthmus__Volume *b = g ? meta_volume_by_id(am, g->backup_volume) : NULL;
	if (!g || !b)
		return -ENOENT;
	if (g->piv_volume != r->old) {
		snprintf(why, CORE_WHY_LEN, "another has just made one");
		return -ESTALE;
	}
	g->piv_volume = r->piv;
	g->unfilled = true;
	b->backup_of = r->piv;
	/* Both is said of two volumes; the one that is left has all. Of who was moving it has not:
	 * what the old volume had is lost. */
	for (size_t i = 0; i < g->n_sides; i++)
		if (g->sides[i]->side == ISTHMUS__SIDE__ON_BOTH)
			g->sides[i]->side = ISTHMUS__SIDE__ON_BACKUP;
	return 0;
}

static bool has_room(struct core *c, const char *pool, uint64_t size)
{
	const struct core_pool *cp = core_pool_find(c, pool);
	return cp && cp->place == CORE_HERE && cp->pool && pool_state(cp->pool) != POOL_OFFLINE &&
	       core_pool_free_bytes(c, pool) >= size;
}

static bool has_failed(struct core *c, const char *pool)
{
	const struct core_pool *cp = core_pool_find(c, pool);
	struct disk_stats s;
	uint64_t errors = 0;
	for (unsigned i = 0; i < pool_ndisks(cp->pool); i++) {
		const struct disk *d = pool_disk(cp->pool, i);
		if (d)
			disk_stats(d, &s);
		errors += d ? s.write_errors : 0;
	}
	return errors > 0;
}

/* Not one that fails, nor the backup's, where there is another. NULL: none has room. */
static const char *pool_choose(struct core *c, const Isthmus__Volume *old,
			       const Isthmus__Volume *backup)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const char *best = NULL;
	int rank = 0;
	for (size_t i = 0; i < am->n_pools; i++) {
		const char *name = am->pools[i]->name;
		if (!has_room(c, name, backup->size))
			continue;
		bool fails = (old && strcmp(name, old->pool) == 0) || has_failed(c, name);
		int r = fails ? 1 : strcmp(name, backup->pool) == 0 ? 2 : 3;
		if (r > rank) {
			best = name;
			rank = r;
		}
	}
	return best;
}

/* A head that is up and lives on the volume: then there is nothing to renew. */
static bool lives_there(struct core *c, const Isthmus__HeadGroup *g, char *ret)
{
	struct core_head *heads = calloc(HEADS_MAX, sizeof(*heads));
	bool found = false;
	unsigned n = heads && c->hooks.heads ? c->hooks.heads(c->hooks.arg, heads, HEADS_MAX) : 0;
	for (unsigned i = 0; i < n && !found; i++) {
		unsigned side = core_side_of(g, heads[i].name);
		found = heads[i].up && strcmp(heads[i].group, g->name) == 0 && !g->unfilled &&
			(side == ISTHMUS__SIDE__ON_MAIN || side == ISTHMUS__SIDE__ON_BOTH);
		if (found)
			snprintf(ret, 64, "%s", heads[i].name);
	}
	free(heads);
	return found;
}

/* The names of a group's volumes are <group>.piv, <group>.piv-2, ... */
static void name_new(const Isthmus__ArrayMeta *am, const char *group, char *ret, size_t size)
{
	snprintf(ret, size, "%.40s.piv", group);
	for (unsigned i = 2; meta_volume_find(am, ret); i++)
		snprintf(ret, size, "%.40s.piv-%u", group, i);
}

/* Room, pool and name, or why there is nothing to be done. */
static int renew_check(struct core *c, const char *group, const char **pool, struct renewal *r,
		       struct volume_want *w, char *why)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__HeadGroup *g = meta_group_find(am, group);
	char head[64];
	if (!g) {
		snprintf(why, CORE_WHY_LEN,
			 "there is no head group '%.80s'; see `isthmus group list`", group);
		return -ENOENT;
	}
	const Isthmus__Volume *old = meta_volume_by_id(am, g->piv_volume);
	const Isthmus__Volume *backup = meta_volume_by_id(am, g->backup_volume);
	if (lives_there(c, g, head)) {
		snprintf(
		    why, CORE_WHY_LEN,
		    "head '%.40s' is up and lives on volume '%.40s', whose state is newer than "
		    "the backup's; stop the group's heads first",
		    head, old ? old->name : "?");
		return -EBUSY;
	}
	if (!*pool)
		*pool = pool_choose(c, old, backup);
	if (!*pool || !has_room(c, *pool, backup->size)) {
		snprintf(why, CORE_WHY_LEN,
			 "%s%.40s has no room for a new processor-information volume of %llu MiB; "
			 "name one that has: `isthmus pool list`",
			 *pool ? "pool " : "no pool here", *pool ? *pool : "",
			 (unsigned long long)(backup->size >> 20));
		return -ENOSPC;
	}
	r->old = g->piv_volume;
	w->size = backup->size;
	return 0;
}

static void old_drop(struct core *c, uint32_t id)
{
	char name[64], why[CORE_WHY_LEN] = "";
	const Isthmus__Volume *v = meta_volume_by_id(meta_get(c->meta), id);
	if (!v)
		return;
	snprintf(name, sizeof(name), "%s", v->name);
	if (core_volume_drop(c, name, why))
		event_write(
		    LOG_L_WARN, "piv.old_volume",
		    "volume %s is no head group's any more and could not be removed: %.150s", name,
		    why);
}

int core_piv_renew(struct core *c, const char *group, const char *pool,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg, char *why)
{
	CHECK(c, CORE_MAGIC);
	char name[64], in[64], ignore[CORE_WHY_LEN];
	struct renewal r = {.group = group};
	struct volume_want w = {.purpose = "piv", .progress = progress, .arg = arg};
	why[0] = '\0';
	int rc = renew_check(c, group, &pool, &r, &w, why);
	if (rc)
		return rc;
	snprintf(in, sizeof(in), "%s", pool);
	name_new(meta_get(c->meta), group, name, sizeof(name));
	w.name = name;
	w.pool = in;
	rc = core_volume_make(c, &w, &r.piv, why);
	if (rc)
		return rc;
	rc = meta_update(c->meta, change_renew, &r, why);
	if (rc) {
		core_volume_drop(c, name, ignore);
		return rc;
	}
	event_write(LOG_L_NOTICE, "piv.renewed",
		    "head group %s has a new processor-information volume %s in pool %s, which its "
		    "heads fill from the backup",
		    group, name, in);
	old_drop(c, r.old);
	return 0;
}
