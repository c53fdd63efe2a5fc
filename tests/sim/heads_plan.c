/*
 * What happens to heads in the scenario `heads`: rounds of service, at the end of each of which a
 * head dies in one way or another, while it serves or before it does, and the next one comes.
 */
#include "tests/sim/heads_plan.h"
#include <string.h>
#include "runtime/check.h"
#include "tests/sim/sim_faults.h"

#define STEP_NS	  (100 * 1000)
#define RETURN_NS (12 * NS_PER_S)

/* ---- crash points ---- */

static bool at_point(void *arg)
{
	struct heads *w = arg;
	struct sim_node *n = sim_node_current(w->sim);
	for (unsigned i = 0; i < HEADS; i++) {
		struct server *v = &w->servers[i];
		if (v->node != n || sim_node_dead(n) || v->ending)
			continue;
		heads_say(w, "head %u dies at a crash point", v->number);
		heads_kill(v);
		return true;
	}
	return false;
}

/* Passed once a life, or less. */
static bool is_rare(const char *name)
{
	static const char *const rare[] = {"store.restor", "store.before_waits", "piv.checkpoint",
					   "side."};
	for (unsigned i = 0; i < ARRAY_LEN(rare); i++)
		if (strncmp(name, rare[i], strlen(rare[i])) == 0)
			return true;
	return false;
}

/* By the golden ratio: seeds that follow each other take all of them in turn. -1: there are none.
 */
static int point_of(uint64_t seed)
{
	unsigned first, n = sim_faults_of_heads(&first);
	return n ? (int)(first + ((seed * 0x9e3779b97f4a7c15ull >> 32) * n >> 32)) : -1;
}

/* What is passed when the state changes volumes. */
static bool is_of_sides(uint64_t seed)
{
	int i = point_of(seed);
	return i >= 0 && strncmp(sim_fault_name((unsigned)i), "side.", 5) == 0;
}

static void arm(struct heads *w, uint64_t seed)
{
	int i = point_of(seed);
	if (i < 0)
		return;
	uint64_t nth = 1;
	if (!is_rare(sim_fault_name((unsigned)i)))
		nth += heads_below(w, heads_below(w, 2) ? 3 : 60);
	heads_say(w, "crash point %s, passage %u", sim_fault_name((unsigned)i), (unsigned)nth);
	sim_fault_arm((unsigned)i, nth, at_point, w);
}

/* ---- time ---- */

static bool alive(const struct server *v)
{
	return v && v->runs && !v->ending && !sim_node_dead(v->node);
}

/* So long, or until the head has died. */
static void run_for(struct heads *w, uint64_t ns)
{
	for (uint64_t t = 0; t < ns && alive(w->now) && !w->failed; t += STEP_NS)
		sim_run_for(w->sim, STEP_NS);
}

static void until_serves(struct heads *w)
{
	for (uint64_t t = 0; t < PATIENCE_NS && alive(w->now) && !w->failed; t += STEP_NS) {
		if (heads_serves(w->now))
			return;
		sim_run_for(w->sim, STEP_NS);
	}
	if (alive(w->now))
		heads_fail(w, "a head never serves");
}

static void next(struct heads *w)
{
	for (uint64_t t = 0; t < PATIENCE_NS && !w->failed; t += STEP_NS) {
		for (unsigned i = 0; i < HEADS; i++) {
			if (w->servers[i].runs)
				continue;
			heads_start(w);
			return;
		}
		sim_run_for(w->sim, STEP_NS);
	}
	heads_fail(w, "a head never ends");
}

/* ---- ends ---- */

static void kill_it(struct heads *w)
{
	heads_say(w, "head %u is killed", w->now->number);
	heads_kill(w->now);
	next(w);
}

static void stop_it(struct heads *w)
{
	struct server *v = w->now;
	heads_say(w, "head %u stops in order", v->number);
	heads_stop(v);
	for (uint64_t t = 0; t < PATIENCE_NS && v->runs && !w->failed; t += STEP_NS)
		sim_run_for(w->sim, STEP_NS);
	if (v->runs)
		heads_fail(w, "a head does not stop");
	next(w);
}

/* It wakes up beside its successor. */
static void freeze_it(struct heads *w)
{
	struct server *v = w->now;
	heads_say(w, "head %u hangs", v->number);
	sim_node_stop(v->node);
	sim_run_for(w->sim, heads_below(w, 5 * NS_PER_MS));
	next(w);
	run_for(w, heads_below(w, 60 * NS_PER_MS));
	heads_say(w, "head %u wakes up", v->number);
	sim_node_continue(v->node);
	/* It finds out by itself; where nobody asks it anything its supervisor ends it. */
	sim_run_for(w->sim, heads_below(w, 10 * NS_PER_MS));
	heads_kill(v);
}

static void lose_power(struct heads *w)
{
	heads_say(w, "the power is lost");
	sim_power_off(w->sim);
	for (unsigned i = 0; i < HEADS; i++)
		heads_kill(&w->servers[i]);
	for (uint64_t t = 0; t < PATIENCE_NS && !heads_all_ended(w) && !w->failed; t += STEP_NS)
		sim_run_for(w->sim, STEP_NS);
	if (!heads_all_ended(w))
		heads_fail(w, "a head never ends");
	sim_power_on(w->sim, SIM_LOSE_RANDOM, 0);
	next(w);
}

/* The volume of the group's state takes no writes, or does again. What is on it can be read: else,
 * and with a dead head, what is there alone would be lost. */
static void break_volume(struct heads *w, bool broken)
{
	struct sim_disk_faults f = {.latency_min_ns = 10000, .latency_max_ns = 200000};
	if (broken == w->broken)
		return;
	w->broken = broken;
	f.write_error_ppm = broken ? 1000000 : 0;
	heads_say(w, "the volume of the state %s", broken ? "takes no writes" : "is as it was");
	sim_disk_set_faults(w->disks[PIV_VOLUME], &f);
}

/* Not even reads, once all is on the backup. */
static void fail_reads(struct heads *w)
{
	struct sim_disk_faults f;
	if (!w->broken || sim_array_side(w->array) != ISTHMUS__SIDE__ON_BACKUP)
		return;
	heads_say(w, "the volume of the state fails");
	sim_disk_get_faults(w->disks[PIV_VOLUME], &f);
	f.read_error_ppm = 1000000;
	sim_disk_set_faults(w->disks[PIV_VOLUME], &f);
}

/* The head tries its volume every few seconds: nobody does much meanwhile. */
static void return_home(struct heads *w)
{
	heads_say(w, "the state is to return to its volume");
	w->slow = true;
	for (uint64_t t = 0; t < RETURN_NS && alive(w->now) && !w->failed; t += 5 * NS_PER_MS) {
		sim_run_for(w->sim, 5 * NS_PER_MS);
		if (sim_array_side(w->array) == ISTHMUS__SIDE__ON_MAIN)
			break;
	}
	w->slow = false;
}

static void one_round(struct heads *w, uint64_t seed)
{
	/* Mostly it gets as far as to serve. */
	if (heads_below(w, 4))
		until_serves(w);
	bool bait = is_of_sides(seed);
	if (heads_below(w, bait ? 2 : 4) == 0)
		break_volume(w, !w->broken);
	if (!sim_fault_armed() && (bait || heads_below(w, 2)))
		arm(w, seed);
	if (!w->broken && sim_array_side(w->array) == ISTHMUS__SIDE__ON_BACKUP && heads_below(w, 2))
		return_home(w);
	run_for(w, heads_below(w, heads_below(w, 3) ? 40 * NS_PER_MS : 3 * NS_PER_MS));
	if (w->failed)
		return;
	if (heads_below(w, 2))
		fail_reads(w);
	if (!alive(w->now)) {
		next(w);
		return;
	}
	switch (heads_below(w, 8)) {
	case 0:
		stop_it(w);
		break;
	case 1:
		lose_power(w);
		break;
	case 2:
	case 3:
		freeze_it(w);
		break;
	default:
		kill_it(w);
	}
}

void heads_plan_run(struct heads *w, uint64_t seed)
{
	unsigned rounds = 3 + (unsigned)heads_below(w, 5);
	for (unsigned i = 0; i < rounds && !w->failed; i++)
		one_round(w, seed);
	sim_faults_disarm();
	break_volume(w, false);
	while (!w->failed && !heads_serves(w->now)) {
		until_serves(w);
		if (!w->failed && !alive(w->now))
			next(w);
	}
	run_for(w, 20 * NS_PER_MS);
}
