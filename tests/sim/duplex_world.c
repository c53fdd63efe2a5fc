/* The world of the scenario `duplex` (duplex.h): how it is made, and made whole again. */
#include "tests/sim/duplex.h"
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life of controllers ---- */

void duplex_revive_dead(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		if (sim_node_dead(ctl->node) && sim_ctl_reap(ctl) && !ctl->why[0]) {
			duplex_say(d, "%s starts", ctl->name);
			sim_ctl_start(ctl);
		}
	}
}

/* Runs the world until cond() holds; false: it does not within `ns`. */
bool duplex_run_until(struct duplex *d, bool (*cond)(struct duplex *d), uint64_t ns)
{
	for (uint64_t t = 0; t < ns && !d->failed; t += 10 * NS_PER_MS) {
		if (cond(d))
			return true;
		duplex_revive_dead(d);
		sim_run_for(d->sim, 10 * NS_PER_MS);
	}
	return !d->failed && cond(d);
}

static bool both_up(struct duplex *d)
{
	return d->cluster.ctl[0].up && d->cluster.ctl[1].up;
}

static bool both_linked(struct duplex *d)
{
	return both_up(d) && link_is_up(d->cluster.ctl[0].link) &&
	       link_is_up(d->cluster.ctl[1].link);
}

/* The controller where the volume of a pool is; NULL: none, or it moves. */
struct sim_ctl *duplex_owner(struct duplex *d, unsigned pool)
{
	struct sim_ctl *owner = NULL;
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		struct volume *v =
		    ctl->up ? core_volume_get_by_name(ctl->core, d->pools[pool].volume) : NULL;
		if (v && core_volume_place(v) == CORE_HERE && owner)
			duplex_fail(d, "both controllers have %s", d->pools[pool].volume);
		if (v && core_volume_place(v) == CORE_HERE)
			owner = ctl;
		if (v)
			core_volume_put(v);
	}
	return owner;
}

bool duplex_settled(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (!d->cluster.ctl[i].up || !duplex_owner(d, i) ||
		    cache_mirror_state(core_cache(d->cluster.ctl[i].core)) != MIRROR_ON)
			return false;
	return true;
}

/* What was killed is taken away and begins again; what stands still goes on. */
void duplex_revive(struct duplex *d)
{
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		if (sim_node_stopped(ctl->node))
			sim_node_continue(ctl->node);
		for (unsigned t = 0; sim_node_dead(ctl->node) && !sim_ctl_reap(ctl); t++) {
			if (t > DUPLEX_REAP_MS) {
				duplex_fail(d, "the dead controller %s never ends", ctl->name);
				return;
			}
			sim_run_for(d->sim, NS_PER_MS);
		}
		if (sim_node_dead(ctl->node)) {
			duplex_say(d, "%s starts", ctl->name);
			sim_ctl_start(ctl);
		}
	}
}

static void check_started(struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (d->cluster.ctl[i].why[0])
			duplex_fail(d, "controller %s cannot start: %s", d->cluster.ctl[i].name,
				    d->cluster.ctl[i].why);
}

static void describe(struct duplex *d, char *ret, size_t size)
{
	size_t at = 0;
	ret[0] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		struct sim_ctl *ctl = &d->cluster.ctl[i];
		at += (size_t)snprintf(ret + at, size - at, "%s%s %s", i ? "; " : "", ctl->name,
				       ctl->up ? "up" : "down");
		if (ctl->up && at < size)
			at += (size_t)snprintf(ret + at, size - at, ", mirror %d, link %s",
					       (int)cache_mirror_state(core_cache(ctl->core)),
					       link_is_up(ctl->link) ? "up" : "down");
		for (unsigned p = 0; p < 2 && ctl->up && at < size; p++) {
			struct volume *v = core_volume_get_by_name(ctl->core, d->pools[p].volume);
			at += (size_t)snprintf(ret + at, size - at, ", %s %d", d->pools[p].volume,
					       v ? (int)core_volume_place(v) : -1);
			if (v)
				core_volume_put(v);
		}
	}
}

/* must: else it is only waited for. */
void duplex_heal(struct duplex *d, const char *when, uint64_t ns, bool must)
{
	char text[160];
	sim_net_restore_all(d->cluster.net);
	duplex_revive(d);
	bool whole = duplex_run_until(d, duplex_settled, ns);
	describe(d, text, sizeof(text));
	duplex_say(d, "%s: %s", whole ? "whole" : "not whole", text);
	if (whole || !must)
		return;
	check_started(d);
	duplex_fail(d, "%s: not whole again within %llu s: %s", when,
		    (unsigned long long)(ns / NS_PER_S), text);
}

/* ---- the world ---- */

static void choose_pool(struct duplex *d, unsigned i)
{
	static const struct {
		const char *level;
		unsigned disks;
		bool redundant;
	} levels[] = {{"single", 1, false}, {"raid0", 2, false}, {"raid1", 2, true},
		      {"raid10", 4, true},  {"raid5", 3, false}, {"raid6", 4, false}};
	static const char *const names[2][4] = {{"d0", "d1", "d2", "d3"}, {"d4", "d5", "d6", "d7"}};
	struct pool_spec *p = &d->pools[i];
	uint64_t l = duplex_below(d, ARRAY_LEN(levels));
	*p = (struct pool_spec){.name = i ? "pb" : "pa",
				.volume = i ? "vb" : "va",
				.level = levels[l].level,
				.ndisks = levels[l].disks,
				.redundant = levels[l].redundant};
	for (unsigned k = 0; k < p->ndisks; k++) {
		p->paths[k] = names[i][k];
		sim_disk_new(d->sim, names[i][k], DISK_SIZE_MIN);
		d->cluster.disks[d->cluster.ndisks++] = names[i][k];
	}
}

struct create {
	struct duplex *d;
	unsigned i;
};

static int add_lun(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct create *x = arg;
	Isthmus__Target *t = am->n_targets ? am->targets[0] : NULL;
	Isthmus__Lun *l = malloc(sizeof(*l));
	if (!t) {
		t = malloc(sizeof(*t));
		ASSERT(t);
		isthmus__target__init(t);
		ASSERT(pb_set_text(&t->iqn, SIM_TARGET) == 0);
		t->open = true;
		ASSERT(pb_append(&am->targets, &am->n_targets, t) == 0);
	}
	ASSERT(l);
	isthmus__lun__init(l);
	l->lun = x->i;
	l->volume_id = meta_volume_find(am, x->d->pools[x->i].volume)->id;
	ASSERT(pb_set_text(&l->serial, x->d->pools[x->i].volume) == 0);
	return pb_append(&t->luns, &t->n_luns, l);
}

static void create_task(void *arg)
{
	struct create *x = arg;
	struct duplex *d = x->d;
	struct pool_spec *p = &d->pools[x->i];
	struct core *core = d->cluster.ctl[x->i].core;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	if (core_pool_create(core, p->name, p->level, 65536, d->checksums, p->paths, p->ndisks,
			     why) ||
	    core_volume_create(core, p->name, p->volume, VOLUME_SIZE, &id) ||
	    meta_update(core_meta(core), add_lun, x, why))
		duplex_fail(d, "cannot make %s and its volume: %s", p->name, why);
}

void duplex_build(struct duplex *d)
{
	uint32_t pages[2];
	for (unsigned i = 0; i < 2; i++)
		pages[i] = 320 + (uint32_t)duplex_below(d, 384);
	d->cluster.battery = duplex_below(d, 3) == 0;
	d->cluster.lone_write_through = duplex_below(d, 3) == 0;
	d->cluster.remote = duplex_below(d, 4) == 0;
	sim_cluster_init(&d->cluster, d->sim, pages);
	for (unsigned i = 0; i < 2; i++)
		choose_pool(d, i);
	d->cluster.hosts = d->hosts;
	d->cluster.nhosts = HOSTS;
	for (unsigned i = 0; i < HOSTS; i++) {
		char iqn[64];
		snprintf(iqn, sizeof(iqn), "iqn.2026-11.example:host-%u", i);
		d->hosts[i] = sim_host_new(d->sim, iqn, d->cluster.portals, 2);
	}
	duplex_say(d, "%s and %s, memory %s, %u and %u pages, alone %s%s", d->pools[0].level,
		   d->pools[1].level, d->cluster.battery ? "battery" : "volatile", pages[0],
		   pages[1], d->cluster.lone_write_through ? "write-through" : "write-back",
		   d->cluster.remote ? ", copies by messages" : "");
	for (unsigned i = 0; i < 2; i++)
		sim_ctl_start(&d->cluster.ctl[i]);
	if (!duplex_run_until(d, both_linked, 120 * NS_PER_S)) {
		check_started(d);
		duplex_fail(d, "the controllers do not start");
	}
	for (unsigned i = 0; i < 2 && !d->failed; i++) {
		struct create x = {d, i};
		if (sim_node_run(d->cluster.ctl[i].node, create_task, &x))
			duplex_fail(d, "making pools: no end");
	}
	if (!d->failed)
		duplex_heal(d, "at the beginning", 60 * NS_PER_S, true);
}
