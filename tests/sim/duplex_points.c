/*
 * The crash point of a seed of the scenario `duplex` (duplex.h). Points that are passed a million
 * times and points that are passed once in a takeover get the same share of seeds, and what makes
 * a point be passed is done.
 */
#include "tests/sim/duplex.h"
#include "tests/sim/sim_faults.h"
#include "runtime/check.h"
#include <string.h>

#define PATIENCE_NS (3 * NS_PER_S)

/* What makes controllers pass it. */
enum bait {
	BAIT_LOAD,   /* hosts at work */
	BAIT_CHANGE, /* of the metadata */
	BAIT_DEATH,  /* of the other one */
	BAIT_GIVE,   /* of a pool */
	BAIT_EITHER, /* one of these two */
};

struct point_kind {
	const char *prefix;
	enum bait bait;
	unsigned nth; /* it happens at one of so many passages */
};

/* The first that fits a name counts. */
static const struct point_kind kinds[] = {{"own.unmirrored", BAIT_DEATH, 1},
					  {"own.fenced", BAIT_DEATH, 1},
					  {"own.moving", BAIT_GIVE, 1},
					  {"own.closed", BAIT_GIVE, 1},
					  {"own.passed", BAIT_GIVE, 1},
					  {"own.", BAIT_EITHER, 1},
					  {"meta.", BAIT_CHANGE, 2},
					  {"mirror.adopted", BAIT_DEATH, 20},
					  {"mirror.decided", BAIT_LOAD, 3},
					  {"mirror.unstaged", BAIT_LOAD, 6},
					  {"mirror.clears_sent", BAIT_LOAD, 5},
					  {"cache.atomic.decided", BAIT_LOAD, 3},
					  {"cache.atomic.staged", BAIT_LOAD, 6},
					  {"cache.atomic.entered", BAIT_LOAD, 6},
					  {"", BAIT_LOAD, 40}};

static const struct point_kind *kind_of(const char *name)
{
	const struct point_kind *k = kinds;
	while (strncmp(name, k->prefix, strlen(k->prefix)) != 0)
		k++;
	return k;
}

/* One in four worlds copies by messages: those have to make up for the others. */
static unsigned share(const struct duplex *d, unsigned i)
{
	static const char *const messages[] = {"mirror.before_send", "mirror.after_answer",
					       "mirror.clears_sent"};
	const char *name = sim_fault_name(i);
	if (!duplex_may_pass(d, name))
		return 0;
	for (unsigned m = 0; m < ARRAY_LEN(messages); m++)
		if (strcmp(name, messages[m]) == 0)
			return 4;
	return 1;
}

/* By the golden ratio: seeds that follow each other take all of them in turn. */
static unsigned choose_point(const struct duplex *d, uint64_t seed)
{
	uint64_t all = 0, at;
	unsigned i = 0;
	for (unsigned k = 0; k < sim_faults_count(); k++)
		all += share(d, k);
	at = (seed * 0x9e3779b97f4a7c15ull >> 32) * all >> 32;
	for (; at >= share(d, i); i++)
		at -= share(d, i);
	return i;
}

static void lay_bait(struct duplex *d, enum bait bait)
{
	unsigned i = (unsigned)duplex_below(d, 2);
	struct sim_ctl *owner, *ctl = &d->cluster.ctl[i];
	if (bait == BAIT_EITHER)
		bait = duplex_below(d, 2) ? BAIT_DEATH : BAIT_GIVE;
	switch (bait) {
	case BAIT_DEATH:
		if (sim_node_dead(ctl->node))
			return;
		duplex_say(d, "%s is killed", ctl->name);
		sim_node_kill(ctl->node);
		return;
	case BAIT_GIVE:
		owner = duplex_owner(d, i);
		if (owner)
			duplex_give(d, owner, i);
		return;
	case BAIT_CHANGE:
		for (unsigned k = 0; k < 2; k++)
			if (d->cluster.ctl[k].up)
				duplex_change_meta(d, &d->cluster.ctl[k]);
		return;
	default:
		return;
	}
}

struct trap {
	struct duplex *d;
	unsigned point;
};

/* The dead pass points on their way out. */
static bool spring(void *arg)
{
	struct trap *t = arg;
	if (duplex_kill_current(t->d))
		return true;
	sim_fault_arm(t->point, 1, spring, t);
	return false;
}

void duplex_point(struct duplex *d, uint64_t seed)
{
	if (sim_faults_count() == 0) /* built without */
		return;
	struct trap trap = {d, choose_point(d, seed)};
	const char *name = sim_fault_name(trap.point);
	const struct point_kind *k = kind_of(name);
	sim_run_for(d->sim, NS_PER_MS + duplex_below(d, 20 * NS_PER_MS));
	duplex_say(d, "whoever passes %s dies", name);
	sim_fault_arm(trap.point, 1 + duplex_below(d, k->nth), spring, &trap);
	lay_bait(d, k->bait);
	for (uint64_t t = 0; t < PATIENCE_NS && sim_fault_armed() && !d->failed; t += NS_PER_MS) {
		d->busy_until = env_now_ns(sim_env(d->sim)) + BUSY_NS;
		sim_run_for(d->sim, NS_PER_MS);
	}
	sim_faults_disarm();
	d->result->crashes++;
}
