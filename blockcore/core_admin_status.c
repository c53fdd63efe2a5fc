/* The core's part of `status` and `stats`. */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include <string.h>

static void put_cache(struct core *c, struct admin_call *call)
{
	struct cache_stats st;
	cache_stats(c->cache, &st);
	uint64_t reads = st.read_hits + st.read_misses;
	admin_table(call, "cache", false);
	admin_row(call);
	admin_put_text(call, "controller", "%s", c->controller);
	admin_put_text(call, "memory", "%s", c->battery ? "battery" : "volatile");
	admin_put_text(call, "flush_promise", "%s",
		       c->battery ? "in the cache's memory, which survives power loss"
				  : "on the disks");
	admin_put_bytes(call, "size", (uint64_t)st.npages * 4096);
	admin_put_bytes(call, "dirty", (uint64_t)st.dirty * 4096);
	admin_put_text(call, "hits", "%u%%", (unsigned)(reads ? st.read_hits * 100 / reads : 0));
	if (st.orphans)
		admin_note(call,
			   "%u dirty pages in the cache belong to volumes that are not attached; "
			   "they are kept until the pool is back",
			   st.orphans);
}

static void explain(struct core *c, struct admin_call *call)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		enum pool_state s = cp->pool ? pool_state(cp->pool) : POOL_OFFLINE;
		if (s == POOL_OFFLINE)
			admin_note(call, "pool %s is offline: its volumes give errors; %s",
				   cp->name,
				   cp->pool ? "attach its missing disks and restart the controller"
					    : cp->why);
		else if (s == POOL_DEGRADED)
			admin_note(call,
				   "pool %s runs without redundancy on some disks; "
				   "see `isthmus pool show %s`",
				   cp->name, cp->name);
		if (cp->pool && pool_resync_needed(cp->pool))
			admin_note(call,
				   "pool %s was not closed in order: its copies are compared "
				   "in the background",
				   cp->name);
	}
}

static int verb_status(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	put_cache(c, call);
	core_admin_put_pools(c, call, NULL);
	core_admin_put_disks(c, call, NULL, true);
	core_admin_put_volumes(c, call, NULL);
	explain(c, call);
	return 0;
}

static void put_volume_counters(struct core *c, struct admin_call *call)
{
	struct volume *v;
	admin_table(call, "volumes", false);
	pthread_rwlock_rdlock(&c->lock);
	RB_FOREACH (v, volume_tree, &c->volumes) {
		admin_row(call);
		admin_put_text(call, "volume", "%s", volume_name(v));
		core_admin_put_counters(call, v);
	}
	pthread_rwlock_unlock(&c->lock);
}

static int verb_stats(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	struct cache_stats st;
	cache_stats(c->cache, &st);
	admin_table(call, "cache", false);
	admin_row(call);
	admin_put_text(call, "controller", "%s", c->controller);
	admin_put_number(call, "hits", st.read_hits);
	admin_put_number(call, "misses", st.read_misses);
	admin_put_number(call, "writes", st.writes);
	admin_put_number(call, "destaged", st.destaged_pages);
	admin_put_number(call, "flushes", st.flushes);
	admin_put_number(call, "slowed", st.throttled);
	admin_table(call, "disks", false);
	for (unsigned i = 0; i < c->ndisks; i++) {
		struct disk_stats ds;
		disk_stats(c->disks[i], &ds);
		admin_row(call);
		admin_put_text(call, "disk", "%s", disk_path(c->disks[i]));
		admin_put_number(call, "reads", ds.reads);
		admin_put_number(call, "writes", ds.writes);
		admin_put_bytes(call, "read", ds.read_bytes);
		admin_put_bytes(call, "written", ds.write_bytes);
		admin_put_number(call, "flushes", ds.flushes);
	}
	put_volume_counters(c, call);
	return 0;
}

int core_admin_status(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"status", verb_status},
	    {"stats", verb_stats},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
