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
#include "tests/sim/array.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/pool/pool.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 6
#define NOBODY ARRAY_DISKS_MAX

struct pools {
	struct array a; /* first: tasks get it */
	bool log_always;
	bool parity;
	unsigned redundancy; /* disks of a column or row that may be lost */
	unsigned weak;	     /* the disk with bad blocks; NOBODY */
	bool dead[ARRAY_DISKS_MAX];
	unsigned spares_end; /* disks from here on are for a further group; all: it does not grow */
	bool at_point;	     /* it ended at a crash point */
	unsigned faults;
};

static struct core_pool *the_pool(struct pools *w)
{
	return w->a.core ? TAILQ_FIRST(&w->a.core->pools) : NULL;
}

static unsigned index_of(struct pools *w, const struct disk *d)
{
	unsigned i = 0;
	while (i < w->a.ndisks && (!d || strcmp(w->a.paths[i], disk_path(d)) != 0))
		i++;
	return i < w->a.ndisks ? i : NOBODY;
}

/* One that was filled just now is none after a crash before that stands in the metadata. */
static bool recorded_good(struct pools *w, unsigned position)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(w->a.core->meta), "p");
	return mp && position < mp->n_disks && !mp->disks[position]->failed;
}

/* Positions of its column (mirrors) or the pool (parity) that hold good data but for this one. */
static unsigned others_left(struct pools *w, struct pool *p, unsigned position)
{
	unsigned n = 0;
	unsigned width = pool_group_disks(p), copies = w->parity ? width : pool_copies(p);
	for (unsigned i = 0; i < pool_ndisks(p); i++) {
		unsigned d = index_of(w, pool_disk(p, i));
		if (i != position && i / copies == position / copies)
			n += pool_disk_in(p, i) && recorded_good(w, i) && !w->dead[d] &&
			     d != w->weak;
	}
	return n;
}

static bool may_die(struct pools *w, struct pool *p, unsigned position)
{
	unsigned d = index_of(w, pool_disk(p, position));
	if (d == NOBODY || w->dead[d])
		return false;
	return others_left(w, p, position) >= (w->parity ? pool_group_disks(p) - w->redundancy : 1);
}

/* Every disk that is dead stands in the metadata as such: a crash is one fault then. */
static bool all_recorded(struct pools *w)
{
	struct core_pool *cp = the_pool(w);
	if (!cp || !cp->pool)
		return true;
	for (unsigned i = 0; i < pool_ndisks(cp->pool); i++)
		if (pool_disk_in(cp->pool, i) && w->dead[index_of(w, pool_disk(cp->pool, i))])
			return false;
	return !pool_unrecorded(cp->pool);
}

static bool crash_is_covered(struct pools *w)
{
	return !w->parity || w->log_always || all_recorded(w);
}

static void arm(struct pools *w, uint64_t passages);

/* The world ends here, if that is one fault; else at a later one. */
static void at_crash_point(void *arg)
{
	struct pools *w = arg;
	if (w->a.dead)
		return;
	if (!crash_is_covered(w)) {
		arm(w, 1);
		return;
	}
	w->at_point = true;
	array_crash_now(&w->a);
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

/* ---- tasks that a crash may cut off ---- */

struct op {
	task_fn *fn;
	struct pools *w;
	bool done;
};

static void op_task(void *arg)
{
	struct op *op = arg;
	op->fn(op->w);
	op->done = true;
}

/* True when it ended before the world did. */
static bool run(struct pools *w, task_fn *fn, const char *what)
{
	/* On the heap: a run that never ends leaves the task behind. */
	struct op *op = calloc(1, sizeof(*op));
	ASSERT(op);
	*op = (struct op){.fn = fn, .w = w};
	ASSERT(task_start(op_task, op) == 0);
	for (unsigned i = 0; i < 3600000 && !op->done; i++)
		sim_run_for(w->a.sim, NS_PER_MS);
	if (!op->done) {
		array_fail(&w->a, "%s: no end in an hour", what);
		return false;
	}
	free(op);
	return !w->a.dead;
}

/* ---- faults ---- */

static void fault(struct pools *w, const char *what, unsigned d)
{
	w->faults++;
	if (w->a.verbose)
		printf("    %s of d%u\n", what, d);
}

/* A disk of the pool that may be lost now; NOBODY. in_use: which the pool has not lost yet. */
static unsigned pick_victim(struct pools *w, bool in_use)
{
	struct pool *p = the_pool(w)->pool;
	unsigned position = (unsigned)sim_random_below(w->a.sim, pool_ndisks(p));
	/* A disk lost before the resync came to its rows is a second fault of the crash. */
	if ((pool_resync_needed(p) && !(w->parity && w->log_always)) || !may_die(w, p, position))
		return NOBODY;
	if (in_use && !pool_disk_in(p, position))
		return NOBODY;
	return index_of(w, pool_disk(p, position));
}

static void disk_dies(struct pools *w)
{
	unsigned d = pick_victim(w, false);
	if (d == NOBODY)
		return;
	w->dead[d] = true;
	sim_disk_set_faults(w->a.disks[d], &(struct sim_disk_faults){.dead = true});
	fault(w, "death", d);
}

/*
 * It answers no call any more, those neither that it has. Time is up a second after the disk is:
 * then no request that began before may be left.
 */
static void disk_hangs(struct pools *w)
{
	struct array *a = &w->a;
	unsigned d = pick_victim(w, true);
	if (d == NOBODY)
		return;
	w->dead[d] = true;
	sim_disk_set_faults(a->disks[d], &(struct sim_disk_faults){.stuck = true});
	fault(w, "hanging for good", d);
	uint64_t up = env_now_ns(sim_env(a->sim)) + (ARRAY_DISK_TIMEOUT_S + 2) * NS_PER_S;
	while (!a->dead && !a->failed && env_now_ns(sim_env(a->sim)) < up) {
		uint64_t began = array_oldest_ns(a);
		sim_run_for(a->sim, 50 * NS_PER_MS);
		/* Given up, and all that waited has been answered. */
		if (disk_state(core_disk_find(a->core, a->paths[d])) != DISK_ONLINE &&
		    array_oldest_ns(a) > began + NS_PER_S)
			return;
	}
	if (!a->dead && up - MIN(up, array_oldest_ns(a)) > 2 * NS_PER_S)
		array_fail(a, "a request waits for a disk that hangs");
}

/* Who hangs is detached: its calls come back as errors. */
static void let_go(struct pools *w)
{
	struct sim_disk_faults f;
	for (unsigned i = 0; i < w->a.ndisks; i++) {
		sim_disk_get_faults(w->a.disks[i], &f);
		if (f.stuck)
			sim_disk_set_faults(w->a.disks[i], &(struct sim_disk_faults){.dead = true});
	}
}

static void slow_or_stuck(struct pools *w)
{
	unsigned d = (unsigned)sim_random_below(w->a.sim, w->a.ndisks);
	struct sim_disk_faults f = {.latency_min_ns = NS_PER_MS, .latency_max_ns = 30 * NS_PER_MS};
	if (w->dead[d])
		return;
	f.stuck = sim_random_below(w->a.sim, 2);
	sim_disk_set_faults(w->a.disks[d], &f);
	fault(w, f.stuck ? "hanging" : "slowness", d);
	sim_run_for(w->a.sim, sim_random_below(w->a.sim, 200 * NS_PER_MS));
	if (w->dead[d])
		return;
	f = (struct sim_disk_faults){.latency_min_ns = 10000, .latency_max_ns = 200000};
	sim_disk_set_faults(w->a.disks[d], &f);
}

static void bad_block(struct pools *w)
{
	struct pool *p = the_pool(w)->pool;
	if (w->weak == NOBODY || (!w->parity && pool_resync_needed(p)))
		return;
	uint64_t span = VOLUME_SIZE / 4096;
	uint64_t off = DISK_DATA_OFF + sim_random_below(w->a.sim, span) * 4096;
	sim_disk_bad_range(w->a.disks[w->weak], off, 4096);
	fault(w, "a bad block", w->weak);
}

static void scrub_task(void *arg)
{
	struct pools *w = arg;
	struct core_pool *cp = the_pool(w);
	struct extent_map used;
	ASSERT(core_pool_map(w->a.core, "p", &used) == 0);
	int rc = pool_scrub(cp->pool, used.used, used.n);
	extent_map_fini(&used);
	if (rc && !w->a.dead)
		array_fail(&w->a, "scrub of a pool with a lying disk: %s", err_name(rc));
}

/* Pages of one disk become others, while all other disks are right: whoever reads them is not
 * deceived, and a scrub makes them right. */
static void disk_lies(struct pools *w)
{
	struct core_pool *cp = the_pool(w);
	struct pool *p = cp->pool;
	unsigned position = (unsigned)sim_random_below(w->a.sim, pool_ndisks(p));
	unsigned d = index_of(w, pool_disk(p, position));
	if (!w->a.checksums || pool_resync_needed(p) || cp->filling || !pool_disk_in(p, position) ||
	    d == w->weak || !may_die(w, p, position))
		return;
	sim_faults_disarm();
	uint64_t data = pool_data_off(p, position);
	for (unsigned n = 1 + (unsigned)sim_random_below(w->a.sim, 8); n > 0; n--) {
		uint64_t off = data + sim_random_below(w->a.sim, VOLUME_SIZE / 4096) * 4096;
		uint8_t *at = sim_disk_bytes(w->a.disks[d]) + off;
		memset(at, (int)sim_random_below(w->a.sim, 256), 4096);
		sim_disk_bytes_changed(w->a.disks[d], off, 4096);
	}
	fault(w, "a lie", d);
	sim_run_for(w->a.sim, sim_random_below(w->a.sim, 10 * NS_PER_MS));
	if (!w->a.dead)
		run(w, scrub_task, "scrub");
}

/* A dead disk works again: as it was, or another in its place. */
static void revive(struct pools *w, unsigned d, bool blank)
{
	struct sim_disk *sd = w->a.disks[d];
	w->dead[d] = false;
	sim_disk_set_faults(
	    sd, &(struct sim_disk_faults){.latency_min_ns = 10000, .latency_max_ns = 200000});
	if (blank) {
		memset(sim_disk_bytes(sd), 0, 32 * 1024);
		sim_disk_bytes_changed(sd, 0, 32 * 1024);
		memset(sim_disk_bytes(sd) + sim_disk_size(sd) - 4096, 0, 4096);
		sim_disk_bytes_changed(sd, sim_disk_size(sd) - 4096, 4096);
	}
}

static void replace_one(struct pools *w, const struct pool_place *at)
{
	struct core *c = w->a.core;
	char why[CORE_WHY_LEN] = "";
	unsigned i = index_of(w, pool_disk(at->cp->pool, at->position));
	if (i == NOBODY) { /* it was dead when the array was opened */
		const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), "p");
		for (i = 0; i < w->a.ndisks; i++)
			if (strcmp(w->a.paths[i], mp->disks[at->position]->path) == 0)
				break;
	}
	if (i >= w->a.ndisks)
		return;
	struct sim_disk_faults f;
	sim_disk_get_faults(w->a.disks[i], &f);
	if (w->dead[i]) /* what the disk has yet goes to itself, never to another in its place */
		revive(w, i, sim_random_below(w->a.sim, 2) && !f.stuck);
	struct disk *d = core_disk_find(c, w->a.paths[i]);
	size_t other;
	if (disk_state(d) == DISK_FAILED || disk_state(d) == DISK_MISSING)
		d = core_disk_reopen(c, d);
	const Isthmus__Pool *holds = d ? core_disk_pool(c, d, &other) : NULL;
	if (!d || w->a.dead || (holds && other != at->position) || core_disk_spare(c, d))
		return;
	int rc = core_fill_onto(at, d, why);
	if (rc && rc != -EBUSY && !w->a.dead)
		array_fail(&w->a, "replacing disk %u: %s %s", i, err_name(rc), why);
	fault(w, "replacement", i);
}

/* As `pool replace` does for each place that is OUT; or a disk that is free becomes a spare. */
static void repair_task(void *arg)
{
	struct pools *w = arg;
	struct core *c = w->a.core;
	char why[CORE_WHY_LEN] = "";
	struct pool_place at = {the_pool(w), 0};
	for (unsigned i = w->a.pool_disks; i < w->spares_end && !w->a.dead; i++) {
		struct disk *d = core_disk_find(c, w->a.paths[i]);
		size_t position;
		if (!w->dead[i] && disk_state(d) == DISK_BLANK && !core_disk_pool(c, d, &position))
			core_spare_add(c, d, why);
	}
	task_mutex_lock(&c->disks_lock);
	for (; at.position < pool_ndisks(at.cp->pool) && !w->a.dead && !w->a.failed; at.position++)
		if (!pool_disk_in(at.cp->pool, at.position) &&
		    !pool_filling(at.cp->pool, at.position))
			replace_one(w, &at);
	task_mutex_unlock(&c->disks_lock);
}

/* The pool has no extent left but those it gets: the volume goes on in the new group. */
static void grow_task(void *arg)
{
	struct pools *w = arg;
	struct array *a = &w->a;
	char why[CORE_WHY_LEN] = "";
	const Isthmus__ArrayMeta *am = meta_get(a->core->meta);
	int rc = 0;
	if (meta_pool_find(am, "p")->n_disks == a->pool_disks)
		rc = core_pool_grow(a->core, "p", a->paths + w->spares_end, a->pool_disks, why);
	am = meta_get(a->core->meta);
	if (rc == 0 && !a->dead && meta_volume_find(am, "v")->size < ARRAY_SIZE_MAX)
		rc = core_volume_extend(a->core, "v", ARRAY_SIZE_MAX, why);
	if (rc && !a->dead)
		array_fail(a, "growing: %s %s", err_name(rc), why);
	if (rc == 0 && !a->dead)
		a->size = ARRAY_SIZE_MAX;
}

static void grow(struct pools *w)
{
	if (w->spares_end == w->a.ndisks || w->a.size == ARRAY_SIZE_MAX)
		return;
	run(w, grow_task, "growing");
	fault(w, "growing, beginning at the place", w->spares_end);
}

static void one_fault(struct pools *w)
{
	switch (sim_random_below(w->a.sim, 7)) {
	case 6:
		disk_lies(w);
		break;
	case 5:
		grow(w);
		break;
	case 0:
	case 1:
		disk_dies(w);
		break;
	case 2:
		if (sim_random_below(w->a.sim, 3))
			slow_or_stuck(w);
		else
			disk_hangs(w);
		break;
	case 3:
		bad_block(w);
		break;
	default:
		run(w, repair_task, "replacing");
	}
}

/* ---- a round ---- */

/* With a crash a disk may go, too, where that is survived. */
static void crash(struct pools *w)
{
	sim_faults_disarm();
	for (unsigned i = 0; i < 10000 && !w->a.dead && !crash_is_covered(w); i++)
		sim_run_for(w->a.sim, NS_PER_MS);
	if (!w->a.dead && !crash_is_covered(w))
		array_fail(&w->a, "a lost disk is not recorded in ten seconds");
	if (!w->a.dead)
		array_crash_now(&w->a);
	if (w->a.verbose)
		printf("    %s%s\n", w->a.power_loss ? "power" : "kill",
		       w->at_point ? " at a point" : "");
	if (the_pool(w) && (!w->parity || w->log_always) && sim_random_below(w->a.sim, 4) == 0)
		disk_dies(w);
	let_go(w);
	/* Some faults go with the power cycle: the disk is there again, with what it missed. */
	for (unsigned i = 0; i < w->a.ndisks; i++)
		if (w->dead[i] && sim_random_below(w->a.sim, 3) == 0)
			revive(w, i, false);
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
		if (run(w, array_open, "open") && !w->a.failed)
			run(w, array_verify, "verify");
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
	let_go(w);
	arm_quiet(w);
	run(w, array_close, "close");
	sim_faults_disarm();
}

static void one_round(struct pools *w, unsigned round)
{
	struct array *a = &w->a;
	if (a->verbose)
		printf("  round %u: %s\n", round, pool_state_name(pool_state(the_pool(w)->pool)));
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
			one_fault(w);
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

/* ---- the end ---- */

static void quiet_task(void *arg)
{
	struct pools *w = arg;
	struct core_pool *cp = the_pool(w);
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
	struct core_pool *cp = the_pool(w);
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
		run(w, set_log_task, "stripe log");
	if (w->spares_end < w->a.ndisks && !w->a.failed)
		run(w, filler_task, "filler");
	for (unsigned r = 0; r < ROUNDS && !w->a.failed; r++)
		one_round(w, r);
	if (!w->a.failed) /* in case it never came to it */
		grow(w);
	if (!w->a.failed)
		run(w, quiet_task, "quiet");
	if (!w->a.failed)
		run(w, compare_task, "compare");
	sim_faults_disarm();
	if (w->a.failed)
		return -1;
	let_go(w);
	array_run(&w->a, array_close, "close");
	array_fini(&w->a);
	int rc = w->a.failed ? -1 : 0;
	free(w);
	return rc;
}
