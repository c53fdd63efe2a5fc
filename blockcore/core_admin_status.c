/* The core's part of `status` and `stats`. */
#include "blockcore/core_admin.h"
#include "blockcore/mirror/mirror.h"
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

/* Where a write is when it is acknowledged. */
static const char *write_promise(const struct mirror_stats *st)
{
	switch (st->state) {
	case MIRROR_OFF:
		return "in this controller's memory; it has no partner";
	case MIRROR_LONE:
		return st->write_through ? "on the disks; the partner is away"
					 : "in this controller's memory alone; the partner is away";
	case MIRROR_JOINING:
		return "in both controllers' memory; older data may be in one";
	case MIRROR_ON:
		break;
	}
	return "in both controllers' memory";
}

static const char *mirror_state_name(enum mirror_state s)
{
	static const char *const names[] = {[MIRROR_OFF] = "off",
					    [MIRROR_LONE] = "lone",
					    [MIRROR_JOINING] = "joining",
					    [MIRROR_ON] = "mirrored"};
	return names[s];
}

static void put_mirror(struct core *c, struct admin_call *call)
{
	struct mirror_stats st;
	cache_mirror_stats(c->cache, &st);
	admin_table(call, "mirror", false);
	admin_row(call);
	admin_put_text(call, "state", "%s", mirror_state_name(st.state));
	admin_put_text(call, "write_promise", "%s", write_promise(&st));
	admin_put_bytes(call, "partner_area", (uint64_t)st.table_pages * 4096);
	admin_put_bytes(call, "copied", (uint64_t)(st.table_pages - st.table_free) * 4096);
	admin_put_bytes(call, "own_area", (uint64_t)st.area_pages * 4096);
	admin_put_bytes(call, "used", (uint64_t)st.area_used * 4096);
	if (st.state == MIRROR_LONE)
		admin_note(call, "the partner is away: writes are %s until it is back",
			   st.write_through ? "acknowledged when they are on the disks"
					    : "in one controller's memory");
	if (st.adopted_held)
		admin_note(call, "%u pages of the partner were taken over and are in use here yet",
			   st.adopted_held);
}

static void explain(struct core *c, struct admin_call *call)
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		if (cp->place == CORE_PARTNER)
			continue;
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

/* What hosts wait for: a disk that does not answer. */
static void explain_stalls(struct core *c, struct admin_call *call)
{
	char why[128];
	for (unsigned i = 0; i < c->ndisks; i++) {
		struct disk *d = c->disks[i];
		size_t position;
		const Isthmus__Pool *mp = core_disk_pool(c, d, &position);
		if (!core_disk_stalled(d, why, sizeof(why)))
			continue;
		bool held = mp && !disk_left(d);
		admin_note(call, "disk %s %s%s%s%s", disk_path(d), why,
			   held ? ": commands to volumes of pool " : "", held ? mp->name : "",
			   held ? " may be held up" : "");
	}
}

static int verb_status(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	char why[CORE_LINK_WHY];
	put_cache(c, call);
	put_mirror(c, call);
	core_admin_put_pools(c, call, NULL);
	core_admin_put_disks(c, call, NULL, true);
	core_admin_put_volumes(c, call, NULL);
	explain(c, call);
	explain_stalls(c, call);
	if (core_link_refused(c, why))
		admin_note(call, "%s", why);
	return 0;
}

static void put_volume_counters(struct core *c, struct admin_call *call)
{
	struct volume *v;
	admin_table(call, "volumes", false);
	pthread_rwlock_rdlock(&c->lock);
	RB_FOREACH (v, volume_tree, &c->volumes) {
		if (core_volume_place(v) == CORE_PARTNER)
			continue;
		admin_row(call);
		admin_put_text(call, "volume", "%s", volume_name(v));
		core_admin_put_counters(call, v);
	}
	pthread_rwlock_unlock(&c->lock);
}

static void put_mirror_counters(struct core *c, struct admin_call *call)
{
	struct mirror_stats st;
	cache_mirror_stats(c->cache, &st);
	admin_table(call, "mirror", false);
	admin_row(call);
	admin_put_text(call, "state", "%s", mirror_state_name(st.state));
	admin_put_number(call, "table", st.table_pages);
	admin_put_number(call, "table_free", st.table_free);
	admin_put_number(call, "area", st.area_pages);
	admin_put_number(call, "area_used", st.area_used);
	admin_put_number(call, "copies", st.copies);
	admin_put_bytes(call, "copied", st.copied_bytes);
	admin_put_number(call, "cleared", st.cleared);
	admin_put_number(call, "waits", st.waits);
	admin_put_number(call, "messages", st.messages);
	admin_put_number(call, "adopted", st.adopted);
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
	put_mirror_counters(c, call);
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
