/* What happens to the disks of the scenario `pools` (pools.h), and when it may. */
#include "tests/sim/pools.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/pool/pool.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct core_pool *pools_pool(struct pools *w)
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
bool pools_all_recorded(struct pools *w)
{
	struct core_pool *cp = pools_pool(w);
	if (!cp || !cp->pool)
		return true;
	for (unsigned i = 0; i < pool_ndisks(cp->pool); i++)
		if (pool_disk_in(cp->pool, i) && w->dead[index_of(w, pool_disk(cp->pool, i))])
			return false;
	return !pool_unrecorded(cp->pool);
}

bool pools_crash_is_covered(struct pools *w)
{
	return !w->parity || w->log_always || pools_all_recorded(w);
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
bool pools_run(struct pools *w, task_fn *fn, const char *what)
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
	struct pool *p = pools_pool(w)->pool;
	unsigned position = (unsigned)sim_random_below(w->a.sim, pool_ndisks(p));
	/* A disk lost before the resync came to its rows is a second fault of the crash. */
	if ((pool_resync_needed(p) && !(w->parity && w->log_always)) || !may_die(w, p, position))
		return NOBODY;
	if (in_use && !pool_disk_in(p, position))
		return NOBODY;
	return index_of(w, pool_disk(p, position));
}

void pools_disk_dies(struct pools *w)
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
void pools_let_go(struct pools *w)
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
	struct pool *p = pools_pool(w)->pool;
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
	struct core_pool *cp = pools_pool(w);
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
	struct core_pool *cp = pools_pool(w);
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
		pools_run(w, scrub_task, "scrub");
}

/* A dead disk works again: as it was, or another in its place. */
void pools_revive(struct pools *w, unsigned d, bool blank)
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
		pools_revive(w, i, sim_random_below(w->a.sim, 2) && !f.stuck);
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
void pools_repair_task(void *arg)
{
	struct pools *w = arg;
	struct core *c = w->a.core;
	char why[CORE_WHY_LEN] = "";
	struct pool_place at = {pools_pool(w), 0};
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

void pools_grow(struct pools *w)
{
	if (w->spares_end == w->a.ndisks || w->a.size == ARRAY_SIZE_MAX)
		return;
	pools_run(w, grow_task, "growing");
	fault(w, "growing, beginning at the place", w->spares_end);
}

void pools_fault(struct pools *w)
{
	switch (sim_random_below(w->a.sim, 7)) {
	case 6:
		disk_lies(w);
		break;
	case 5:
		pools_grow(w);
		break;
	case 0:
	case 1:
		pools_disk_dies(w);
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
		pools_run(w, pools_repair_task, "replacing");
	}
}
