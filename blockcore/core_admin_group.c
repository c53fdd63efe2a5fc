/* group.create, group.list, group.remove */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB	       (1024 * 1024ull)
#define PIV_SIZE_LEAST (128 * MIB) /* half for heads' slots, half for services */
#define PIV_SIZE_MOST  (1024 * MIB)
#define PIV_POOL_PART  32 /* of what a pool has left, in between */
#define PIV_SIZE_MIN   (4 * MIB)

static int no_group(struct admin_call *call, const char *name)
{
	return admin_error(call, -ENOENT, "see `isthmus group list`", "there is no head group '%s'",
			   name);
}

/* ---- create ---- */

struct group_add {
	const char *name;
	uint32_t piv, backup;
};

static int change_add_group(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct group_add *a = arg;
	if (meta_group_find(am, a->name)) {
		snprintf(why, CORE_WHY_LEN, "there is a head group '%s' already", a->name);
		return -EEXIST;
	}
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	if (!g)
		return -ENOMEM;
	isthmus__head_group__init(g);
	g->piv_volume = a->piv;
	g->backup_volume = a->backup;
	g->id = am->next_id++;
	int rc = pb_set_text(&g->name, a->name);
	if (rc == 0)
		rc = pb_append(&am->groups, &am->n_groups, g);
	if (rc)
		isthmus__head_group__free_unpacked(g, NULL);
	return rc;
}

static int check_group(struct core *c, const char *name, uint64_t size, char *why)
{
	if (!meta_name_ok(name) || strlen(name) > 40) {
		snprintf(why, CORE_WHY_LEN,
			 "'%.80s' is not a name of a group: letters, digits, '.', '_' and '-', at "
			 "most 40",
			 name);
		return -EINVAL;
	}
	if (meta_group_find(meta_get(c->meta), name)) {
		snprintf(why, CORE_WHY_LEN, "there is a head group '%s' already", name);
		return -EEXIST;
	}
	if (size < PIV_SIZE_MIN) {
		snprintf(why, CORE_WHY_LEN, "size %llu: at least 4MiB is needed",
			 (unsigned long long)size);
		return -EINVAL;
	}
	return 0;
}

/* Both volumes are made, and removed, by the owner of their pools. */
static int check_owner(struct core *c, const char *here, const char *pool, char *why)
{
	const struct core_pool *cp = core_pool_find(c, pool);
	if (!cp || cp->place == CORE_HERE)
		return 0;
	snprintf(why, CORE_WHY_LEN,
		 "pools '%.40s' and '%.40s' are of two controllers; `isthmus pool move %.40s "
		 "%.40s` first, and back afterwards",
		 here, pool, pool, c->controller);
	return -ERR_NOT_OWNER;
}

static int group_create(struct core *c, const char *name, const char *pool, const char *backup_pool,
			uint64_t size, struct core_progress *p, char *why)
{
	char piv[64], backup[64], ignore[CORE_WHY_LEN];
	struct group_add a = {.name = name};
	int rc = check_group(c, name, size, why);
	rc = rc ? rc : check_owner(c, pool, backup_pool, why);
	if (rc)
		return rc;
	snprintf(piv, sizeof(piv), "%.40s.piv", name);
	snprintf(backup, sizeof(backup), "%.40s.piv-backup", name);
	struct volume_want w = {.name = piv,
				.pool = pool,
				.purpose = "piv",
				.size = size,
				.progress = core_admin_progress,
				.arg = p};
	rc = core_volume_make(c, &w, &a.piv, why);
	if (rc)
		return rc;
	w.name = backup;
	w.pool = backup_pool;
	w.purpose = "piv-backup";
	w.backup_of = a.piv;
	rc = core_volume_make(c, &w, &a.backup, why);
	if (rc == 0) {
		rc = meta_update(c->meta, change_add_group, &a, why);
		if (rc)
			core_volume_drop(c, backup, ignore);
	}
	if (rc)
		core_volume_drop(c, piv, ignore);
	return rc;
}

/* The more, the more clients' state can be kept; twice this is used. */
static uint64_t size_default(struct core *c, const char *pool)
{
	uint64_t size = core_pool_free_bytes(c, pool) / PIV_POOL_PART / MIB * MIB;
	return MAX(PIV_SIZE_LEAST, MIN(size, PIV_SIZE_MOST));
}

static int verb_create(struct admin_call *call, void *arg)
{
	struct core_progress p = {call, "zeroing"};
	uint64_t size;
	char why[CORE_WHY_LEN] = "";
	const char *pool = core_admin_text(call, "pool");
	const char *backup_pool = admin_arg_text(call, "backup-pool");
	size = size_default(arg, pool);
	int rc = admin_arg_size(call, "size", &size);
	if (rc && rc != -ENOENT)
		return rc;
	rc = group_create(arg, core_admin_text(call, "name"), pool,
			  backup_pool ? backup_pool : pool, size, &p, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

/* ---- list, remove ---- */

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	admin_table(call, "groups", false);
	for (size_t i = 0; i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		const Isthmus__Volume *piv = meta_volume_by_id(am, g->piv_volume);
		const Isthmus__Volume *backup = meta_volume_by_id(am, g->backup_volume);
		uint64_t served = 0;
		for (size_t f = 0; f < am->n_filesystems; f++)
			served += strcmp(am->filesystems[f]->group, g->name) == 0;
		admin_row(call);
		admin_put_text(call, "group", "%s", g->name);
		admin_put_text(call, "volume", "%s", piv ? piv->name : "");
		admin_put_text(call, "backup_volume", "%s", backup ? backup->name : "");
		admin_put_bytes(call, "size", piv ? piv->size : 0);
		admin_put_number(call, "file_systems", served);
	}
	return 0;
}

static int change_remove_group(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const char *name = arg;
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->group, name) == 0) {
			snprintf(why, CORE_WHY_LEN,
				 "head group '%s' serves file system '%s'; remove that first", name,
				 am->filesystems[i]->name);
			return -EBUSY;
		}
	for (size_t i = 0; i < am->n_groups; i++)
		if (strcmp(am->groups[i]->name, name) == 0) {
			isthmus__head_group__free_unpacked(am->groups[i], NULL);
			pb_remove(&am->groups, &am->n_groups, i);
			return 0;
		}
	return -ENOENT;
}

/* Before anything is changed. */
static int check_removal(struct core *c, const Isthmus__HeadGroup *g, char *why)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__Volume *piv = meta_volume_by_id(am, g->piv_volume);
	const Isthmus__Volume *backup = meta_volume_by_id(am, g->backup_volume);
	return piv && backup ? check_owner(c, piv->pool, backup->pool, why) : 0;
}

static int drop_by_id(struct core *c, uint32_t id, char *why)
{
	const Isthmus__Volume *mv = meta_volume_by_id(meta_get(c->meta), id);
	char name[64];
	if (!mv)
		return 0;
	snprintf(name, sizeof(name), "%s", mv->name);
	return core_volume_drop(c, name, why);
}

static int verb_remove(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	const Isthmus__HeadGroup *g = meta_group_find(meta_get(c->meta), name);
	char why[CORE_WHY_LEN] = "";
	if (!g)
		return no_group(call, name);
	uint32_t piv = g->piv_volume, backup = g->backup_volume;
	int rc = check_removal(c, g, why);
	if (rc == 0)
		rc = meta_update(c->meta, change_remove_group, (void *)name, why);
	if (rc == 0)
		rc = drop_by_id(c, backup, why); /* first: it names the other */
	if (rc == 0)
		rc = drop_by_id(c, piv, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_group(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"group.create", verb_create},
	    {"group.list", verb_list},
	    {"group.remove", verb_remove},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
