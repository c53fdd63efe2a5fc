/* See sim_ctl.h. */
#include "tests/sim/sim_ctl.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/core_impl.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the interconnect ---- */

static void add_route(struct sim_ctl *ctl, struct link_opts *o, enum link_path path,
		      unsigned number)
{
	static const char *const paths[] = {"control", "data"};
	struct link_route *r = &o->routes[o->nroutes++];
	unsigned i = path * 2 + number;
	snprintf(ctl->route[i], sizeof(ctl->route[i]), "%s-%s-%u", ctl->name, paths[path], number);
	snprintf(ctl->remote[i], sizeof(ctl->remote[i]), "%s-%s-%u", ctl->partner, paths[path],
		 number);
	*r = (struct link_route){
	    .path = path, .transport = LINK_SIM, .local = ctl->route[i], .remote = ctl->remote[i]};
}

/* As server/controller_partner.c does it. False: quiet. */
static bool begin(struct sim_ctl *ctl)
{
	while (!ctl->serving && !ctl->quiet)
		env_sleep_ns(sim_node_env(ctl->node), NS_PER_MS);
	ctl->busy = true;
	return !ctl->quiet;
}

static void partner_up(void *arg, struct link *l, const struct link_hello *peer)
{
	struct sim_ctl *ctl = arg;
	if (begin(ctl)) {
		core_partner_up(ctl->core, l, peer);
		scsi_partner_up(ctl->registry);
	}
	ctl->busy = false;
}

static void partner_down(void *arg, struct link *l, bool died)
{
	struct sim_ctl *ctl = arg;
	bool serving = begin(ctl);
	if (serving)
		scsi_partner_down(ctl->registry);
	core_partner_down(ctl->core, l, died);
	ctl->busy = false;
}

/* Its segment as this node sees it. */
static int map_partner(void *arg, const struct link_hello *h, void **ret, uint64_t *ret_size)
{
	struct sim_ctl *ctl = arg;
	struct sim_cluster *c = ctl->cluster;
	struct sim_ctl *partner = &c->ctl[ctl == &c->ctl[0]];
	ASSERT(strcmp(h->segment, partner->name) == 0);
	*ret = sim_memory_map(partner->segment, ctl->node);
	*ret_size = sim_memory_size(partner->segment);
	return 0;
}

/* Views last as long as the node lives. */
static void unmap_partner(void *arg, void *segment, uint64_t size)
{
}

static uint32_t pages_of(struct sim_ctl *ctl)
{
	return cache_segment_pages(sim_memory_size(ctl->segment), 4096);
}

static int open_link(struct sim_ctl *ctl)
{
	struct sim_cluster *c = ctl->cluster;
	struct link_opts o = {
	    .env = sim_node_env(ctl->node),
	    .ops = &sim_link_ops,
	    .ops_arg = sim_net_port(c->net, ctl->node),
	    .self = ctl->name,
	    .peer = ctl->partner,
	    .up = partner_up,
	    .down = partner_down,
	    .arg = ctl,
	};
	for (unsigned i = 0; i < 2; i++) {
		add_route(ctl, &o, LINK_CONTROL, i);
		add_route(ctl, &o, LINK_DATA, i);
	}
	struct link_hello *h = &o.hello;
	h->version = LINK_VERSION;
	snprintf(h->controller, sizeof(h->controller), "%s", ctl->name);
	memcpy(h->array_uuid, ctl->core->array_uuid, 16);
	h->incarnation = ctl->incarnation;
	h->pages = pages_of(ctl);
	h->page_size = 4096;
	h->memory_id = core_memory_id(ctl->core);
	if (!c->remote)
		snprintf(h->segment, sizeof(h->segment), "%s", ctl->name);
	h->battery = c->battery;
	return link_open(&ctl->link, &o);
}

/* ---- start ---- */

static bool process_alive(void *arg, int32_t pid, uint64_t started)
{
	struct sim_cluster *c = arg;
	struct sim_node *n = c->ctl[pid - 1].node;
	return !sim_node_dead(n) && sim_node_life(n) == started;
}

static int join(struct sim_ctl *ctl)
{
	struct sim_cluster *c = ctl->cluster;
	struct gcm_shared_opts o = {
	    .env = sim_node_env(ctl->node),
	    .segment = sim_memory_map(c->control, ctl->node),
	    .size = sim_memory_size(c->control),
	    .name = ctl->name,
	    .incarnation = ctl->incarnation,
	    .pid = (int32_t)(ctl - c->ctl) + 1,
	    .started = sim_node_life(ctl->node),
	    .alive = process_alive,
	    .arg = c,
	};
	return gcm_shared_open_as(&ctl->gcm, &o);
}

static int open_core(struct sim_ctl *ctl)
{
	struct sim_cluster *c = ctl->cluster;
	ctl->duplex = (struct core_duplex){.gcm = ctl->gcm,
					   .partner = ctl->partner,
					   .mirror_share = MIRROR_SHARE,
					   .lone_write_through = c->lone_write_through,
					   .give_back = true,
					   .partner_pages = pages_of(&c->ctl[ctl == &c->ctl[0]]),
					   .map = c->remote ? NULL : map_partner,
					   .unmap = unmap_partner,
					   .map_arg = ctl};
	struct core_opts o = {.env = sim_node_env(ctl->node),
			      .controller = ctl->name,
			      .disks = c->disks,
			      .ndisks = c->ndisks,
			      .segment = sim_memory_map(ctl->segment, ctl->node),
			      .segment_size = sim_memory_size(ctl->segment),
			      .battery = c->battery,
			      .array_name = "sim",
			      .duplex = &ctl->duplex};
	return core_open(&ctl->core, &o);
}

static int open_targets(struct sim_ctl *ctl)
{
	uint16_t tag = ctl->portal->group;
	struct scsi_partner p = {.link = ctl->link,
				 .group = tag,
				 .partner_group = (uint16_t)(3 - tag),
				 .tags = &(uint16_t){(uint16_t)(3 - tag)},
				 .ntags = 1};
	int rc = scsi_registry_new(&ctl->registry, ctl->core);
	if (rc)
		return rc;
	scsi_registry_set_groups(ctl->registry, &tag, 1);
	return scsi_partner_open(ctl->registry, &p);
}

static int start_all(struct sim_ctl *ctl, const char **what)
{
	int rc;
	ctl->incarnation = env_random_u64(sim_node_env(ctl->node)) | 1;
	*what = "control memory";
	if ((rc = join(ctl)))
		return rc;
	*what = "block core";
	if ((rc = open_core(ctl)))
		return rc;
	*what = "interconnect";
	if ((rc = open_link(ctl)))
		return rc;
	core_set_link(ctl->core, ctl->link);
	*what = "targets";
	if ((rc = open_targets(ctl)))
		return rc;
	*what = "watch";
	return core_watch_start(ctl->core);
}

static void start_task(void *arg)
{
	struct sim_ctl *ctl = arg;
	const char *what = "";
	int rc = start_all(ctl, &what);
	ctl->starting = false;
	if (sim_node_dead(ctl->node))
		return;
	if (rc) {
		snprintf(ctl->why, sizeof(ctl->why), "%s: %s", what, err_name(rc));
		sim_node_kill(ctl->node);
		return;
	}
	gcm_set_state(ctl->gcm, GCM_UP);
	ctl->serving = ctl->up = true;
	ctl->portal->registry = ctl->registry;
}

void sim_ctl_start(struct sim_ctl *ctl)
{
	ASSERT(!ctl->up && !ctl->starting && !ctl->stopping && !ctl->core);
	if (sim_node_dead(ctl->node))
		sim_node_reborn(ctl->node);
	ctl->why[0] = '\0';
	ctl->starting = true;
	ctl->serving = ctl->quiet = ctl->busy = false;
	sim_node_start(ctl->node, start_task, ctl);
}

/* ---- end ---- */

/* As server/controller_main.c does it; what is dead leaves nothing in order. */
static void end_all(struct sim_ctl *ctl, bool in_order)
{
	struct sim_cluster *c = ctl->cluster;
	struct env *e = sim_node_env(ctl->node);
	if (ctl->gcm && in_order)
		gcm_set_state(ctl->gcm, GCM_LEAVING);
	if (ctl->core && in_order)
		core_leave(ctl->core);
	else if (ctl->core)
		ctl->core->leaving = true; /* the dead takes nothing over */
	if (ctl->registry && !in_order)
		scsi_partner_abandon(ctl->registry); /* and waits for nobody */
	ctl->quiet = true;
	while (ctl->busy || ctl->calls > 0 || ctl->portal->commands > 0)
		env_sleep_ns(e, NS_PER_MS);
	for (unsigned i = 0; i < c->nhosts; i++)
		sim_host_logout(c->hosts[i], ctl->portal);
	if (ctl->registry)
		scsi_partner_close(ctl->registry);
	if (ctl->link) {
		core_set_link(ctl->core, NULL);
		link_close(ctl->link);
	}
	if (ctl->registry)
		scsi_registry_free(ctl->registry);
	if (ctl->core && in_order)
		core_close(ctl->core);
	else if (ctl->core)
		core_abandon(ctl->core);
	if (ctl->gcm)
		ctl->gcm->ops->close(ctl->gcm);
	ctl->link = NULL;
	ctl->registry = NULL;
	ctl->core = NULL;
	ctl->gcm = NULL;
	ctl->up = ctl->stopping = false;
}

/* The process ends by itself. */
static void stop_task(void *arg)
{
	struct sim_ctl *ctl = arg;
	end_all(ctl, true);
	sim_node_kill(ctl->node);
}

void sim_ctl_stop(struct sim_ctl *ctl)
{
	ASSERT(ctl->up);
	ctl->up = false;
	ctl->stopping = true;
	ctl->portal->registry = NULL;
	sim_node_start(ctl->node, stop_task, ctl);
}

static void abandon_task(void *arg)
{
	end_all(arg, false);
}

bool sim_ctl_reap(struct sim_ctl *ctl)
{
	ASSERT(sim_node_dead(ctl->node));
	ctl->portal->registry = NULL;
	if (ctl->starting || ctl->stopping)
		return false;
	if (ctl->core || ctl->gcm) {
		if (!ctl->reaping)
			sim_node_start(ctl->node, abandon_task, ctl);
		ctl->reaping = true;
		return false;
	}
	ctl->up = false;
	if (sim_node_tasks(ctl->node) > 0)
		return false;
	ctl->reaping = false;
	return true;
}

static void killed(void *arg, struct sim_node *n)
{
	struct sim_ctl *ctl = arg;
	ctl->up = false;
	ctl->portal->registry = NULL;
}

void sim_cluster_init(struct sim_cluster *c, struct sim *s, const uint32_t pages[2])
{
	static const char *const names[] = {"a", "b"};
	c->sim = s;
	c->control = sim_memory_new(s, "control", gcm_shared_size());
	c->net = sim_net_new(s, true);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &c->ctl[i];
		ctl->cluster = c;
		ctl->name = names[i];
		ctl->partner = names[1 - i];
		ctl->node = sim_node_new(s, names[i]);
		ctl->segment = sim_memory_new(s, names[i], (size_t)pages[i] * 4096);
		ctl->portal = &c->portals[i];
		sim_node_on_kill(ctl->node, killed, ctl);
		*ctl->portal = (struct sim_portal){
		    .node = ctl->node, .target = SIM_TARGET, .group = (uint16_t)(i + 1)};
	}
}

/* ---- what the memories hold ---- */

struct memory {
	const char *base;
	const struct cache_super *super;
	const struct cbe *cbe;
	uint32_t nown;
};

static struct memory memory_of(struct sim_ctl *ctl)
{
	struct memory m = {.base = sim_memory_map(ctl->segment, NULL)};
	m.super = (const void *)m.base;
	m.cbe = (const void *)(m.base + m.super->cbe_off);
	m.nown = cache_split_own(m.super->split);
	return m;
}

static const char *data_of(const struct memory *m, uint32_t page)
{
	return m->base + m->super->page_off + (uint64_t)page * m->super->page_size;
}

bool sim_mirror_equal(struct sim_cluster *c, unsigned i, char *why, size_t size)
{
	struct memory own = memory_of(&c->ctl[i]), area = memory_of(&c->ctl[1 - i]);
	for (uint32_t p = 0; p < own.super->npages; p++) {
		const struct cbe *e = &own.cbe[p];
		if (e->state != CBE_DIRTY || (p >= own.nown && !own.super->area_closed))
			continue;
		const struct cbe *m = &area.cbe[area.nown + e->mirror];
		if (e->mirror >= area.super->npages - area.nown) {
			snprintf(why, size, "page %u of volume %u is dirty without a copy",
				 (unsigned)e->page, (unsigned)e->volume);
			return false;
		}
		if (m->state != CBE_DIRTY || m->volume != e->volume || m->page != e->page ||
		    m->generation > e->generation || (e->dirty & ~m->valid)) {
			snprintf(why, size, "the element of page %u of volume %u differs",
				 (unsigned)e->page, (unsigned)e->volume);
			return false;
		}
		for (unsigned s = 0; s < own.super->page_size / CACHE_SECTOR; s++)
			if ((e->dirty >> s & 1) &&
			    memcmp(data_of(&own, p) + s * CACHE_SECTOR,
				   data_of(&area, area.nown + e->mirror) + s * CACHE_SECTOR,
				   CACHE_SECTOR) != 0) {
				snprintf(
				    why, size,
				    "sector %u of page %u of volume %u differs: %llx, copy %llx "
				    "(dirty %x of %x, generation %llu; copy %x, %llu)",
				    s, (unsigned)e->page, (unsigned)e->volume,
				    (unsigned long long)((const uint64_t *)data_of(&own,
										   p))[s * 64 + 1],
				    (unsigned long long)((const uint64_t *)data_of(
					&area, area.nown + e->mirror))[s * 64 + 1],
				    (unsigned)e->dirty, (unsigned)e->valid,
				    (unsigned long long)e->generation, (unsigned)m->valid,
				    (unsigned long long)m->generation);
				return false;
			}
	}
	return true;
}
