/* What happens to the controllers of the scenario `duplex` (duplex.h), their routes, disks, power.
 */
#include "tests/sim/duplex.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- faults ---- */

static void kill_a(void *arg)
{
	struct sim_ctl *ctl = arg;
	sim_node_kill(ctl->node);
}

bool duplex_kill_current(void *arg)
{
	struct duplex *d = arg;
	struct sim_node *n = sim_node_current(d->sim);
	if (!n || sim_node_dead(n))
		return false;
	duplex_say(d, "%s is killed at the crash point", sim_node_name(n));
	sim_node_kill(n);
	return true;
}

static struct sim_ctl *some_ctl(struct duplex *d)
{
	return &d->cluster.ctl[duplex_below(d, 2)];
}

static void fault_kill(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node))
		return;
	duplex_say(d, "%s is killed", ctl->name);
	kill_a(ctl);
}

static void fault_stop_awhile(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	uint64_t ns = duplex_below(d, 3 * NS_PER_S);
	duplex_say(d, "%s stands still for %llu ms", ctl->name,
		   (unsigned long long)(ns / NS_PER_MS));
	sim_node_stop(ctl->node);
	sim_run_for(d->sim, ns);
	if (sim_node_stopped(ctl->node))
		sim_node_continue(ctl->node);
}

static void fault_restart(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	duplex_say(d, "%s is stopped in order", ctl->name);
	sim_ctl_stop(ctl);
}

static void fault_route(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	unsigned r = (unsigned)duplex_below(d, 4);
	enum sim_cut how = duplex_below(d, 2) ? SIM_CUT_RESET : SIM_CUT_SILENT;
	if (!ctl->route[r][0])
		return;
	duplex_say(d, "route %s is %s", ctl->route[r], how == SIM_CUT_RESET ? "cut" : "silent");
	sim_net_cut(d->cluster.net, ctl->route[r], how);
}

static void fault_all_routes(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	duplex_say(d, "all routes are cut");
	for (unsigned r = 0; r < 4; r++)
		if (ctl->route[r][0])
			sim_net_cut(d->cluster.net, ctl->route[r],
				    duplex_below(d, 2) ? SIM_CUT_RESET : SIM_CUT_SILENT);
}

struct give {
	struct duplex *d;
	struct sim_ctl *ctl;
	const char *pool;
};

static void give_task(void *arg)
{
	struct give *g = arg;
	char why[CORE_WHY_LEN] = "";
	int rc = g->ctl->core ? core_pool_give(g->ctl->core, g->pool, why) : -ERR_SHUTDOWN;
	g->ctl->calls--;
	duplex_say(g->d, "%s gave %s: %s %s", g->ctl->name, g->pool, err_name(rc), why);
	free(g);
}

void duplex_give(struct duplex *d, struct sim_ctl *ctl, unsigned pool)
{
	struct give *g = malloc(sizeof(*g));
	ASSERT(g);
	*g = (struct give){d, ctl, d->pools[pool].name};
	duplex_say(d, "%s is to give %s", ctl->name, g->pool);
	ctl->calls++;
	sim_node_start(ctl->node, give_task, g);
}

static void fault_give(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (sim_node_dead(ctl->node) || !ctl->up)
		return;
	duplex_give(d, ctl, (unsigned)duplex_below(d, 2));
}

/* A change of the metadata, so that crash points in it are passed. */
static int change_rate(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	for (size_t i = 0; i < am->n_pools; i++)
		am->pools[i]->rebuild_rate = *(uint64_t *)arg;
	return 0;
}

struct change {
	struct duplex *d;
	struct sim_ctl *ctl;
};

/* The session of the link, while both ends are in it; 0: they are not. */
static uint64_t joint_session(struct duplex *d)
{
	struct sim_ctl *a = &d->cluster.ctl[0], *b = &d->cluster.ctl[1];
	if (!a->up || !b->up || !link_is_up(a->link) || !link_is_up(b->link))
		return 0;
	return link_session(a->link);
}

/* A change is known to a partner that was there all the time before it is reported done. */
static void change_task(void *arg)
{
	struct change *x = arg;
	struct duplex *d = x->d;
	struct sim_ctl *ctl = x->ctl, *partner = &d->cluster.ctl[ctl == &d->cluster.ctl[0]];
	char why[CORE_WHY_LEN];
	uint64_t rate = duplex_below(d, 1000) << 20;
	uint64_t session = joint_session(d), changes = ++d->changes;
	int rc = ctl->core ? meta_update(core_meta(ctl->core), change_rate, &rate, why) : -EIO;
	if (rc == 0 && !sim_node_dead(ctl->node) && session && session == joint_session(d) &&
	    changes == d->changes) {
		const Isthmus__ArrayMeta *am = meta_get(core_meta(partner->core));
		for (size_t i = 0; i < am->n_pools; i++)
			if (am->pools[i]->rebuild_rate != rate)
				duplex_fail(d,
					    "a change made at %s is done, and %s does not know it",
					    ctl->name, partner->name);
	}
	ctl->calls--;
	free(x);
}

void duplex_change_meta(struct duplex *d, struct sim_ctl *ctl)
{
	struct change *x = malloc(sizeof(*x));
	ASSERT(x);
	*x = (struct change){d, ctl};
	duplex_say(d, "%s changes the metadata", ctl->name);
	ctl->calls++;
	sim_node_start(ctl->node, change_task, x);
}

static void fault_meta(struct duplex *d)
{
	struct sim_ctl *ctl = some_ctl(d);
	if (!sim_node_dead(ctl->node) && ctl->up)
		duplex_change_meta(d, ctl);
}

bool duplex_may_pass(const void *arg, const char *name)
{
	const struct duplex *d = arg;
	static const char *const messages[] = {"mirror.before_send", "mirror.after_answer",
					       "mirror.clears_sent"};
	for (unsigned i = 0; i < ARRAY_LEN(messages); i++)
		if (strcmp(name, messages[i]) == 0)
			return d->cluster.remote;
	return strncmp(name, "pool.", 5) != 0;
}

/* What makes a point be passed, where hosts at work do not. */
static void kill_at_point(struct duplex *d)
{
	unsigned i;
	if (!sim_fault_choose(sim_random(d->sim), duplex_may_pass, d, &i)) /* built without */
		return;
	const char *name = sim_fault_name(i);
	bool own = strncmp(name, "own.", 4) == 0, meta = strncmp(name, "meta.", 5) == 0;
	duplex_say(d, "whoever passes %s next dies", name);
	sim_fault_arm(i, own || meta ? 1 + duplex_below(d, 2) : 1 + duplex_below(d, 20),
		      duplex_kill_current, d);
	if (meta)
		fault_meta(d);
	else if (own && duplex_below(d, 2))
		fault_give(d);
	else if (own || strcmp(name, "mirror.adopted") == 0)
		fault_kill(d);
	sim_run_for(d->sim, own ? 2 * NS_PER_S : 20 * NS_PER_MS);
}

/* False: it has not ended within `ns`. */
static bool wait_end(struct duplex *d, struct sim_ctl *ctl, uint64_t ns)
{
	for (uint64_t t = 0; t < ns && !d->failed; t += NS_PER_MS) {
		if (sim_node_dead(ctl->node) && sim_ctl_reap(ctl))
			return true;
		sim_run_for(d->sim, NS_PER_MS);
	}
	return false;
}

static bool both_up(const struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++)
		if (!d->cluster.ctl[i].up || sim_node_stopped(d->cluster.ctl[i].node))
			return false;
	return true;
}

static bool joining(const struct duplex *d)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct sim_ctl *ctl = &d->cluster.ctl[i];
		if (ctl->up && cache_mirror_state(core_cache(ctl->core)) == MIRROR_JOINING)
			return true;
	}
	return false;
}

/* Slow ones keep what is dirty in memory, and writes of the dead on their way. */
static void slow_disks(struct duplex *d, struct pool_spec *p)
{
	static const unsigned us[] = {200, 10000, 100000};
	uint64_t latency_us = us[duplex_below(d, ARRAY_LEN(us))];
	bool late = duplex_below(d, 2);
	unsigned from = (unsigned)duplex_below(d, p->ndisks),
		 n = duplex_below(d, 2) ? p->ndisks : 1;
	for (unsigned i = 0; i < n; i++) {
		struct sim_disk *disk = sim_disk_find(d->sim, p->paths[(from + i) % p->ndisks]);
		struct sim_disk_faults f;
		sim_disk_get_faults(disk, &f);
		f.latency_max_ns = latency_us * 1000;
		f.late_ppm = late ? 100000 : 0;
		f.late_max_ns = 500 * NS_PER_MS;
		sim_disk_set_faults(disk, &f);
	}
	duplex_say(d, "%u disks of %s answer within %llu us%s", n, p->name,
		   (unsigned long long)latency_us, late ? ", some much later" : "");
}

static void fault_disk(struct duplex *d)
{
	struct pool_spec *p = &d->pools[duplex_below(d, 2)];
	if (duplex_below(d, 2)) {
		slow_disks(d, p);
	} else if (p->redundant) {
		/* The first disk only: two in one row are more than the pool promises to bear. */
		struct sim_disk *disk = sim_disk_find(d->sim, p->paths[0]);
		sim_disk_bad_range(disk, DISK_DATA_OFF + duplex_below(d, VOLUME_SIZE / 8192) * 4096,
				   4096);
		duplex_say(d, "a block of %s goes bad", p->name);
	}
}

/* One dies, its disks are slow; it comes back at once, and one dies again while the other begins to
 * mirror to it. */
static void fault_joining(struct duplex *d)
{
	struct sim_ctl *one = some_ctl(d);
	if (!both_up(d))
		return;
	slow_disks(d, &d->pools[duplex_below(d, 2)]);
	sim_run_for(d->sim, duplex_below(d, 20 * NS_PER_MS));
	if (sim_node_dead(one->node))
		return;
	duplex_say(d, "%s is killed, and comes back at once", one->name);
	sim_node_kill(one->node);
	if (!wait_end(d, one, NS_PER_S))
		return;
	sim_ctl_start(one);
	for (unsigned i = 0; i < 2000 && !d->failed && !joining(d); i++)
		sim_run_for(d->sim, NS_PER_MS);
	sim_run_for(d->sim, duplex_below(d, 10 * NS_PER_MS));
	one = some_ctl(d);
	if (sim_node_dead(one->node))
		return;
	duplex_say(d, "%s is killed while it joins", one->name);
	sim_node_kill(one->node);
}

/* One dies, the other goes on alone and is stopped in order, or killed too; then the first one
 * starts alone, and what it finds in its memory may be of long ago. */
static void fault_changing_guard(struct duplex *d)
{
	struct sim_ctl *first = some_ctl(d), *last = &d->cluster.ctl[first == &d->cluster.ctl[0]];
	if (!both_up(d))
		return;
	duplex_say(d, "%s is killed, %s goes on alone", first->name, last->name);
	sim_node_kill(first->node);
	sim_run_for(d->sim, duplex_below(d, 200 * NS_PER_MS));
	if (!wait_end(d, first, NS_PER_S) || !last->up) /* it may have met a crash point */
		return;
	if (duplex_below(d, 2)) {
		duplex_say(d, "%s is stopped in order", last->name);
		sim_ctl_stop(last);
	} else {
		duplex_say(d, "%s is killed", last->name);
		sim_node_kill(last->node);
	}
	if (!wait_end(d, last, 10 * NS_PER_S))
		return;
	duplex_say(d, "%s starts alone", first->name);
	sim_ctl_start(first);
	sim_run_for(d->sim, duplex_below(d, 8 * NS_PER_S));
}

static void fault_revive(struct duplex *d)
{
	duplex_revive(d);
	sim_net_restore_all(d->cluster.net);
}

void duplex_fault(struct duplex *d)
{
	static void (*const faults[])(struct duplex * d) = {
	    fault_kill,	  kill_at_point,	kill_at_point, fault_stop_awhile, fault_restart,
	    fault_route,  fault_all_routes,	fault_give,    fault_disk,	  fault_revive,
	    fault_revive, fault_changing_guard, fault_meta,    fault_joining};
	d->busy_until = env_now_ns(sim_env(d->sim)) + BUSY_NS;
	faults[duplex_below(d, ARRAY_LEN(faults))](d);
	d->result->crashes++;
}

/* ---- power ---- */

void duplex_power_loss(struct duplex *d)
{
	duplex_say(d, "power is lost");
	d->power_off = true;
	sim_power_off(d->sim);
	for (unsigned i = 0; i < 2; i++) {
		history_crash(d->history[i], !d->cluster.battery);
		sim_node_kill(d->cluster.ctl[i].node);
	}
	duplex_users_stop(d);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned t = 0; !sim_ctl_reap(&d->cluster.ctl[i]) && !d->failed; t++) {
			if (t > DUPLEX_REAP_MS)
				duplex_fail(d, "a dead controller never ends");
			sim_run_for(d->sim, NS_PER_MS);
		}
	if (!d->cluster.battery) {
		sim_memory_clear(d->cluster.control);
		for (unsigned i = 0; i < 2; i++)
			sim_memory_clear(d->cluster.ctl[i].segment);
	}
	sim_power_on(d->sim, SIM_LOSE_RANDOM, 0);
	d->power_off = false;
}
