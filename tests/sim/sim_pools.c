/*
 * Scenario `pools`: a redundant pool of every level under load, while disks die, come back, are
 * replaced and filled, get slow or hang, for a moment or for good, and have bad blocks; and crashes
 * at any time of that, at crash points too. Pools with checksums have disks that lie: they give
 * other data than was written, without an error. Never more at once than the level promises to
 * survive:
 *
 *   disks lost        as many as there is redundancy for; a disk with bad blocks counts as one, and
 *                     so does one that hangs for good: what waits for it is answered without it
 *   a crash           of a pool in any state, once what was lost stands in the metadata
 *   a crash and a disk lost in it    mirrors; parity levels with the stripe log for every row
 *   lies                             of one disk at a time, as one that is lost; a scrub under load
 *                                    finds them before a crash makes what lies there the truth
 *
 * Some pools grow by a RAID group meanwhile, and the volume into it.
 *
 * In the end the copies are equal and parity is right.
 */
#include "tests/sim/pools.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/pool/pool.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 5 /* of faults by chance, after the one for the crash point of the seed */

static void arm(struct pools *w, uint64_t passages);

/* The world ends here, if that is one fault; else at a later one. */
static bool at_crash_point(void *arg)
{
	struct pools *w = arg;
	if (w->a.dead)
		return false;
	if (!pools_crash_is_covered(w)) {
		if (w->at_own)
			sim_fault_arm(w->point, 1, at_crash_point, w);
		else
			arm(w, 1);
		return false;
	}
	w->at_point = true;
	array_crash_now(&w->a);
	return true;
}

static void arm_module(struct pools *w, const char *module, uint64_t passages)
{
	unsigned pick;
	if (array_pick_point(&w->a, module, &pick))
		sim_fault_arm(pick, passages, at_crash_point, w);
}

/* A point of the pool itself, of the metadata (in which losses are recorded), or of the cache;
 * never one that a lone controller does not pass. */
static void arm(struct pools *w, uint64_t passages)
{
	static const char *const modules[] = {"pool.", "meta.", "cache."};
	arm_module(w, modules[sim_random_below(w->a.sim, ARRAY_LEN(modules))], passages);
}

/* ---- a round ---- */

/* With a crash a disk may go, too, where that is survived. */
static void crash(struct pools *w)
{
	sim_faults_disarm();
	for (unsigned i = 0; i < 10000 && !w->a.dead && !pools_crash_is_covered(w); i++)
		sim_run_for(w->a.sim, NS_PER_MS);
	if (!w->a.dead && !pools_crash_is_covered(w))
		array_fail(&w->a, "a lost disk is not recorded in ten seconds");
	if (!w->a.dead)
		array_crash_now(&w->a);
	if (w->a.verbose)
		printf("    %s%s\n", w->a.power_loss ? "power" : "kill",
		       w->at_point ? " at a point" : "");
	if (pools_pool(w) && (!w->parity || w->log_always) &&
	    sim_random_below(w->a.sim, w->at_own ? 2 : 4) == 0)
		pools_disk_dies(w);
	pools_let_go(w);
	/* Some faults go with the power cycle: the disk is there again, with what it missed. */
	for (unsigned i = 0; i < w->a.ndisks; i++)
		if (w->dead[i] && sim_random_below(w->a.sim, w->at_own ? 2 : 3) == 0)
			pools_revive(w, i, false);
	w->a.result->crashes++;
	w->faults++;
	array_crash_after(&w->a);
}

static void open_again(struct pools *w)
{
	do {
		w->at_point = false;
		w->a.power_loss = sim_random_below(w->a.sim, 2);
		if (sim_random_below(w->a.sim, 4) == 0)
			arm(w, 1 + sim_random_below(w->a.sim, 10));
		if (pools_run(w, array_open, "open") && !w->a.failed)
			pools_run(w, array_verify, "verify");
		if (w->a.dead)
			crash(w);
	} while (!w->a.core && !w->a.failed);
	sim_faults_disarm();
}

/* A disk that died a moment ago may hinder the last change of the metadata. */
static void wait_noticed(struct pools *w)
{
	for (unsigned i = 0, ms = 0; i < w->a.ndisks && ms < 5000;) {
		if (w->dead[i] &&
		    disk_state(core_disk_find(w->a.core, w->a.paths[i])) == DISK_ONLINE) {
			sim_run_for(w->a.sim, NS_PER_MS);
			ms++;
		} else {
			i++;
		}
	}
}

/* A point of what a pool does when nobody writes, and at its end. */
static void arm_quiet(struct pools *w)
{
	const char *module =
	    w->a.checksums && sim_random_below(w->a.sim, 2) ? "pool.sums." : "pool.";
	if (sim_random_below(w->a.sim, 2))
		arm_module(w, module, 1 + sim_random_below(w->a.sim, 3));
}

/*
 * Nobody writes for a while: pages are destaged, regions leave the write-intent map, and before
 * them their checksums are written. A crash comes in the middle of that, at a point of the pool's,
 * or after it.
 */
static void idle(struct pools *w)
{
	array_users_stop(&w->a);
	arm_quiet(w);
	sim_run_for(w->a.sim, sim_random_below(w->a.sim, 40 * NS_PER_S));
}

static void stop_in_order(struct pools *w)
{
	sim_faults_disarm();
	wait_noticed(w);
	array_users_stop(&w->a);
	pools_let_go(w);
	arm_quiet(w);
	pools_run(w, array_close, "close");
	sim_faults_disarm();
}

static void one_round(struct pools *w, unsigned round)
{
	struct array *a = &w->a;
	if (a->verbose)
		printf("  round %u: %s\n", round, pool_state_name(pool_state(pools_pool(w)->pool)));
	array_users_start(a);
	w->at_point = false;
	a->power_loss = sim_random_below(a->sim, 2);
	/* Half of the time soon: some points are passed once in a round, after a loss or a fill. */
	if (sim_random_below(a->sim, 2))
		arm(w, 1 + sim_random_below(a->sim, sim_random_below(a->sim, 2) ? 2 : 200));
	for (unsigned i = 1 + (unsigned)sim_random_below(a->sim, 6); i && !a->dead && !a->failed;
	     i--) {
		sim_run_for(a->sim, sim_random_below(a->sim, 40 * NS_PER_MS));
		if (!a->dead)
			pools_fault(w);
	}
	if (!a->dead && !a->failed && sim_random_below(a->sim, 4) == 0)
		idle(w);
	if (!a->dead && !a->failed && sim_random_below(a->sim, 6) == 0)
		stop_in_order(w);
	if (!a->failed && (a->dead || a->core))
		crash(w);
	if (!a->failed)
		open_again(w);
}

/* ---- what must hold when it is quiet ---- */

static void quiet_task(void *arg)
{
	struct pools *w = arg;
	struct core_pool *cp = pools_pool(w);
	struct cache_stats st = {.dirty = 1};
	for (unsigned i = 0; i < 600; i++) {
		/* What a killed one was writing is dirty yet, and may stand on one copy only. */
		cache_stats(w->a.core->cache, &st);
		if (!cp->filling && !cp->resyncing && !pool_resync_needed(cp->pool) &&
		    !pool_unrecorded(cp->pool) && st.dirty == 0)
			return;
		env_sleep_ns(sim_env(w->a.sim), NS_PER_S);
	}
	array_fail(&w->a, "the pool is still at work after ten minutes");
}

/* Reads all copies, decodes nothing: what differs is a finding. */
static void compare_task(void *arg)
{
	struct pools *w = arg;
	struct core_pool *cp = pools_pool(w);
	struct extent_map used;
	struct pool_stats before, after;
	ASSERT(core_pool_map(w->a.core, "p", &used) == 0);
	int rc = volume_flush(w->a.volume, 0, w->a.size);
	if (rc == 0 && w->weak != NOBODY) /* its bad blocks are mended first */
		rc = pool_scrub(cp->pool, used.used, used.n);
	pool_stats(cp->pool, &before);
	if (rc == 0)
		rc = pool_scrub(cp->pool, used.used, used.n);
	pool_stats(cp->pool, &after);
	extent_map_fini(&used);
	if (rc)
		array_fail(&w->a, "scrub: %s", err_name(rc));
	else if (after.resync_fixed != before.resync_fixed)
		array_fail(&w->a, "%llu ranges differ between copies or from their parity",
			   (unsigned long long)(after.resync_fixed - before.resync_fixed));
}

static void check_quiet(struct pools *w)
{
	if (!w->a.failed)
		pools_run(w, quiet_task, "quiet");
	if (!w->a.failed)
		pools_run(w, compare_task, "compare");
}

/* ---- the crash point of the seed ---- */

static bool is_of(const char *point, const char *module)
{
	return strncmp(point, module, strlen(module)) == 0;
}

/* Of how many seeds it is the point, against others. 0: such a pool cannot be made to pass it while
 * a crash is one fault. Where a crash comes together with a disk that is lost, or is back with what
 * it missed, one in many shows what is wrong. */
static unsigned share(const struct pools *w, const char *name)
{
	if (is_of(name, "pool.grow."))
		return w->spares_end < w->a.ndisks;
	if (is_of(name, "pool.sums."))
		return w->a.checksums;
	if (strcmp(name, "pool.loss.settled") == 0)
		return !w->parity || w->log_always ? 3 : 0;
	if (strcmp(name, "pool.fill.recorded") == 0)
		return w->log_always ? 3 : 1;
	return is_of(name, "pool.fill.") || w->parity;
}

/* By the golden ratio: seeds that follow each other take all that there are in turn. */
static unsigned choose_point(const struct pools *w, uint64_t seed)
{
	unsigned list[128], n = 0;
	for (unsigned i = 0; i < sim_faults_count(); i++) {
		const char *name = sim_fault_name(i);
		unsigned k = is_of(name, "pool.") ? share(w, name) : 0;
		ASSERT(n + k <= ARRAY_LEN(list));
		while (k--)
			list[n++] = i;
	}
	ASSERT(n > 0);
	return list[(seed * 0x9e3779b97f4a7c15ull >> 32) * n >> 32];
}

static void wait_recorded(struct pools *w)
{
	for (unsigned i = 0; i < 10000 && !w->a.dead && !pools_all_recorded(w); i++)
		sim_run_for(w->a.sim, NS_PER_MS);
}

/* What makes the pool pass it; all of it under load. */
static void lay_bait(struct pools *w, const char *name)
{
	bool fill = is_of(name, "pool.fill.");
	if (is_of(name, "pool.grow.")) {
		pools_grow(w);
		return;
	}
	if (is_of(name, "pool.sums.")) {
		array_users_stop(&w->a);
		for (unsigned i = 0; i < 4000 && sim_fault_armed(); i++)
			sim_run_for(w->a.sim, 10 * NS_PER_MS);
		return;
	}
	if (!fill && strcmp(name, "pool.loss.settled") != 0 && w->log_always)
		return;
	for (unsigned i = 0; i < 20 && !w->faults && !w->a.dead; i++)
		pools_disk_dies(w);
	wait_recorded(w);
	if (fill && !w->a.dead)
		pools_run(w, pools_repair_task, "replacing");
}

/* How often it is passed in such a round. */
static unsigned passages(const char *name)
{
	if (strcmp(name, "pool.log.written") == 0 || strcmp(name, "pool.row.written") == 0)
		return 20;
	return strcmp(name, "pool.log.replaying") == 0 ? 5 : 1;
}

static void arm_own(struct pools *w, const char *name)
{
	sim_fault_arm(w->point, 1 + sim_random_below(w->a.sim, passages(name)), at_crash_point, w);
}

static void point_round(struct pools *w)
{
	struct array *a = &w->a;
	const char *name = sim_fault_name(w->point);
	bool opening = strcmp(name, "pool.log.replaying") == 0;
	if (a->verbose)
		printf("  whoever passes %s dies\n", name);
	array_users_start(a);
	a->power_loss = sim_random_below(a->sim, 2);
	sim_run_for(a->sim, sim_random_below(a->sim, 20 * NS_PER_MS));
	w->at_own = true;
	if (!opening)
		arm_own(w, name);
	lay_bait(w, name);
	for (unsigned i = 0; i < 1000 && sim_fault_armed(); i++)
		sim_run_for(a->sim, NS_PER_MS);
	if (opening)
		sim_run_for(a->sim, sim_random_below(a->sim, 40 * NS_PER_MS));
	if (w->at_point && is_of(name, "pool.fill.") && (!w->parity || w->log_always))
		for (unsigned i = 0; i < 4; i++)
			pools_disk_dies(w);
	crash(w);
	if (opening)
		arm_own(w, name);
	if (!a->failed)
		open_again(w);
	w->at_own = false;
	/* A later crash would make equal what differs now. */
	check_quiet(w);
}

/* ---- the world ---- */

/* Takes all that is left, so that what the volume gets later lies in another group. */
static void filler_task(void *arg)
{
	struct pools *w = arg;
	uint32_t id;
	int rc =
	    core_volume_create(w->a.core, "p", "filler", core_pool_free_bytes(w->a.core, "p"), &id);
	if (rc)
		array_fail(&w->a, "filler: %s", err_name(rc));
}

static void set_log_task(void *arg)
{
	struct pools *w = arg;
	char why[CORE_WHY_LEN] = "";
	if (core_pool_set_log(w->a.core, "p", w->log_always, why))
		array_fail(&w->a, "stripe log: %s", why);
}

static void choose(struct pools *w)
{
	static const struct {
		const char *level;
		unsigned disks, redundancy;
	} levels[] = {{"raid1", 2, 1}, {"raid1", 3, 2}, {"raid10", 4, 1}, {"raid5", 3, 1},
		      {"raid5", 4, 1}, {"raid5", 5, 1}, {"raid6", 4, 2},  {"raid6", 6, 2}};
	struct array *a = &w->a;
	uint64_t l = sim_random_below(a->sim, ARRAY_LEN(levels));
	a->level = levels[l].level;
	a->pool_disks = levels[l].disks;
	a->ndisks = a->pool_disks + (unsigned)sim_random_below(a->sim, 3);
	w->spares_end = a->ndisks;
	if (a->ndisks + a->pool_disks <= ARRAY_DISKS_MAX && sim_random_below(a->sim, 2))
		a->ndisks += a->pool_disks;
	a->battery = sim_random_below(a->sim, 3) == 0;
	a->chunk = 16384u << sim_random_below(a->sim, 4);
	w->redundancy = levels[l].redundancy;
	w->parity = strcmp(a->level, "raid5") == 0 || strcmp(a->level, "raid6") == 0;
	w->log_always = w->parity && sim_random_below(a->sim, 2);
	/* A crash and a bad block in a row: two faults, unless every row is logged. */
	bool weak = (w->redundancy > 1 || sim_random_below(a->sim, 4) == 0) &&
		    (!w->parity || w->log_always) && sim_random_below(a->sim, 2);
	w->weak = weak ? (unsigned)sim_random_below(a->sim, a->pool_disks) : NOBODY;
	a->checksums = sim_random_below(a->sim, 2);
	if (a->verbose)
		printf("  chunk %u, %u spare disks, %s, weak %d%s\n", a->chunk,
		       w->spares_end - a->pool_disks, w->log_always ? "every row logged" : "-",
		       weak ? (int)w->weak : -1, a->checksums ? ", checksums" : "");
	array_memory(a);
}

int scenario_pools(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct pools *w = calloc(1, sizeof(*w));
	ASSERT(w);
	array_init(&w->a, sim_new(seed), verbose, ret);
	choose(w);
	array_run(&w->a, array_create, "create");
	if (w->parity && !w->a.failed)
		pools_run(w, set_log_task, "stripe log");
	if (w->spares_end < w->a.ndisks && !w->a.failed)
		pools_run(w, filler_task, "filler");
	if (sim_faults_count() && !w->a.failed) {
		w->point = choose_point(w, seed);
		point_round(w);
	}
	for (unsigned r = 0; r < ROUNDS && !w->a.failed; r++)
		one_round(w, r);
	if (!w->a.failed) /* in case it never came to it */
		pools_grow(w);
	check_quiet(w);
	sim_faults_disarm();
	if (w->a.failed)
		return -1;
	pools_let_go(w);
	array_run(&w->a, array_close, "close");
	array_fini(&w->a);
	int rc = w->a.failed ? -1 : 0;
	free(w);
	return rc;
}
