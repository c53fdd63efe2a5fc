/* pool.create, pool.list, pool.show, pool.remove */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void put_copies(struct admin_call *call, const struct core_pool *cp)
{
	uint64_t done, total;
	if (!cp || !cp->pool || !pool_resync_needed(cp->pool)) {
		admin_put_text(call, "resync", "%s", "");
		return;
	}
	pool_resync_progress(cp->pool, &done, &total);
	admin_put_text(call, "resync", "%u%%", (unsigned)(total ? done * 100 / total : 0));
}

static void put_pool(struct core *c, struct admin_call *call, const Isthmus__Pool *mp)
{
	const struct core_pool *cp = core_pool_find(c, mp->name);
	uint64_t size = mp->extents * mp->extent_size;
	admin_row(call);
	admin_put_text(call, "pool", "%s", mp->name);
	admin_put_text(call, "state", "%s",
		       cp && cp->pool ? pool_state_name(pool_state(cp->pool)) : "offline");
	admin_put_text(call, "level", "%s", mp->level);
	admin_put_number(call, "disks", mp->n_disks);
	admin_put_bytes(call, "size", size);
	admin_put_bytes(call, "free", core_pool_free_bytes(c, mp->name));
	put_copies(call, cp);
}

void core_admin_put_pools(struct core *c, struct admin_call *call, const char *only)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	admin_table(call, only ? "pool" : "pools", only != NULL);
	for (size_t i = 0; i < am->n_pools; i++)
		if (!only || strcmp(am->pools[i]->name, only) == 0)
			put_pool(c, call, am->pools[i]);
}

static int verb_list(struct admin_call *call, void *arg)
{
	core_admin_put_pools(arg, call, NULL);
	return 0;
}

static int verb_show(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), name);
	struct core_pool *cp = core_pool_find(c, name);
	if (!mp)
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", name);
	core_admin_put_pools(c, call, name);
	admin_put_bytes(call, "chunk", mp->chunk);
	admin_put_bytes(call, "extent_size", mp->extent_size);
	if (cp && cp->pool) {
		struct pool_stats st;
		pool_stats(cp->pool, &st);
		admin_put_number(call, "copies", pool_copies(cp->pool));
		admin_put_number(call, "read_repairs", st.read_repairs);
		admin_put_number(call, "resync_fixed", st.resync_fixed);
	} else if (cp) {
		admin_put_text(call, "why", "%s", cp->why);
	}
	core_admin_put_disks(c, call, name, false);
	for (size_t i = 0; i < mp->n_disks; i++) {
		struct disk *d = cp && cp->pool ? pool_disk(cp->pool, (unsigned)i) : NULL;
		if (!d)
			admin_note(call, "disk %zu of the pool, last seen as %s, is not there", i,
				   mp->disks[i]->path);
	}
	return 0;
}

static int verb_create(struct admin_call *call, void *arg)
{
	const char *paths[POOL_DISKS_MAX + 1];
	unsigned n = 0;
	uint64_t chunk = POOL_CHUNK_DEFAULT;
	char why[CORE_WHY_LEN] = "";
	const char *d;
	int rc = admin_arg_size(call, "chunk", &chunk);
	if (rc && rc != -ENOENT)
		return rc;
	for (unsigned i = 0; i <= POOL_DISKS_MAX && (d = admin_arg_list(call, "disk", i)); i++)
		paths[n++] = d;
	if (n > POOL_DISKS_MAX)
		return admin_error(call, -EINVAL, "make several pools",
				   "a pool has at most %d disks", POOL_DISKS_MAX);
	rc = core_pool_create(arg, core_admin_text(call, "name"), core_admin_text(call, "level"),
			      (uint32_t)MIN(chunk, UINT32_MAX), paths, n, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_remove(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN] = "";
	int rc = core_pool_remove(arg, core_admin_text(call, "name"), why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_pool(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"pool.create", verb_create},
	    {"pool.list", verb_list},
	    {"pool.show", verb_show},
	    {"pool.remove", verb_remove},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
