/* volume.create, volume.list, volume.show, volume.resize, volume.remove */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void put_uuid(struct admin_call *call, const ProtobufCBinaryData *u)
{
	char text[40];
	int at = 0;
	for (int i = 0; i < 16 && u->len == 16; i++)
		at += snprintf(text + at, sizeof(text) - (size_t)at, "%s%02x",
			       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u->data[i]);
	admin_put_text(call, "uuid", "%s", at ? text : "");
}

static const char *volume_state(struct core *c, const Isthmus__Volume *mv)
{
	const struct core_pool *cp = core_pool_find(c, mv->pool);
	if (cp && cp->place == CORE_PARTNER)
		return "partner";
	return cp && cp->pool ? pool_state_name(pool_state(cp->pool)) : "offline";
}

static void put_volume(struct core *c, struct admin_call *call, const Isthmus__Volume *mv)
{
	char user[192] = "";
	core_volume_user(meta_get(c->meta), mv->id, user);
	admin_row(call);
	admin_put_text(call, "volume", "%s", mv->name);
	admin_put_number(call, "id", mv->id);
	admin_put_text(call, "pool", "%s", mv->pool);
	admin_put_text(call, "state", "%s", volume_state(c, mv));
	admin_put_bytes(call, "size", mv->size);
	admin_put_text(call, "purpose", "%s", mv->purpose);
	admin_put_text(call, "used_by", "%s", user);
	admin_put_text(call, "owner", "%s",
		       core_admin_owner(c, meta_pool_find(meta_get(c->meta), mv->pool)));
}

void core_admin_put_volumes(struct core *c, struct admin_call *call, const char *pool)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	admin_table(call, "volumes", false);
	for (size_t i = 0; i < am->n_volumes; i++)
		if (!pool || strcmp(am->volumes[i]->pool, pool) == 0)
			put_volume(c, call, am->volumes[i]);
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *pool = admin_arg_text(call, "pool");
	if (pool && !meta_pool_find(meta_get(c->meta), pool))
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", pool);
	core_admin_put_volumes(c, call, pool);
	return 0;
}

void core_admin_put_counters(struct admin_call *call, struct volume *v)
{
	struct volume_stats st;
	volume_stats(v, &st);
	admin_put_number(call, "reads", st.reads);
	admin_put_number(call, "writes", st.writes);
	admin_put_bytes(call, "read", st.read_bytes);
	admin_put_bytes(call, "written", st.write_bytes);
	admin_put_number(call, "flushes", st.flushes);
	admin_put_number(call, "errors", st.errors);
}

static void put_cache_counters(struct admin_call *call, struct volume *v)
{
	struct cache_stats cs;
	volume_cache_stats(v, &cs);
	admin_put_number(call, "cache_hits", cs.read_hits);
	admin_put_number(call, "cache_misses", cs.read_misses);
	admin_put_number(call, "dirty_pages", cs.dirty);
}

static int verb_show(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	const Isthmus__Volume *mv = meta_volume_find(meta_get(c->meta), name);
	struct volume *v = core_volume_get_by_name(c, name);
	if (!mv || !v) {
		core_volume_put(v);
		return admin_error(call, -ENOENT, "see `isthmus volume list`",
				   "there is no volume '%s'", name);
	}
	admin_table(call, "volume", true);
	put_volume(c, call, mv);
	put_uuid(call, &mv->uuid);
	admin_put_number(call, "runs", mv->n_map);
	core_admin_put_counters(call, v);
	put_cache_counters(call, v);
	core_volume_put(v);
	return 0;
}

static int verb_create(struct admin_call *call, void *arg)
{
	struct core_progress p = {call, "zeroing"};
	struct volume_want w = {.name = core_admin_text(call, "name"),
				.pool = core_admin_text(call, "pool"),
				.purpose = "lun",
				.progress = core_admin_progress,
				.arg = &p};
	char why[CORE_WHY_LEN];
	uint32_t id;
	int rc = admin_arg_size(call, "size", &w.size);
	if (rc)
		return rc;
	rc = core_volume_make(arg, &w, &id, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_resize(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN];
	uint64_t size;
	int rc = admin_arg_size(call, "size", &size);
	if (rc)
		return rc;
	rc = core_volume_extend(arg, core_admin_text(call, "name"), size, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

static int verb_remove(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN];
	int rc = core_volume_drop(arg, core_admin_text(call, "name"), why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_volume(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"volume.create", verb_create}, {"volume.list", verb_list},
	    {"volume.show", verb_show},	    {"volume.resize", verb_resize},
	    {"volume.remove", verb_remove},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
