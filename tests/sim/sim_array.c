/*
 * Scenario `array`: one controller's block core on simulated disks under load, and crashes: the
 * process killed (its cache segment lives on), power lost (the segment too, with `memory:
 * volatile`), or a clean stop. After each the core is opened anew and every sector is read.
 */
#include "tests/sim/array.h"
#include "tests/sim/sim_faults.h"
#include "runtime/check.h"
#include <stdio.h>

/* One disk of a redundant pool has a latent error somewhere in its data. Not while copies may
 * differ: an error in the one that was read would rightly show the other. */
static void damage(struct array *a, bool redundant)
{
	if (!redundant || sim_random_below(a->sim, 3) ||
	    pool_resync_needed(TAILQ_FIRST(&a->core->pools)->pool))
		return;
	uint64_t off = DISK_DATA_OFF + sim_random_below(a->sim, VOLUME_SIZE / 4096) * 4096;
	sim_disk_bad_range(a->disks[0], off, 4096);
}

static bool crash_at_point(void *a)
{
	array_crash_now(a);
	return true;
}

/* Under load for a while, at most until the crash at a fault point, if one is to be. */
static void run_load(struct array *a, bool at_point)
{
	unsigned pick;
	if (at_point && array_pick_point(a, "", &pick))
		sim_fault_arm(pick, 1 + sim_random_below(a->sim, 50), crash_at_point, a);
	sim_run_for(a->sim, 1000000 + sim_random_below(a->sim, 40 * NS_PER_MS));
	sim_faults_disarm();
}

/* Write-intent maps are swept, and before that checksums written. */
static void idle(struct array *a, bool at_point)
{
	unsigned pick;
	if (at_point && array_pick_point(a, "pool.", &pick))
		sim_fault_arm(pick, 1 + sim_random_below(a->sim, 2), crash_at_point, a);
	sim_run_for(a->sim, 120 * NS_PER_S);
	sim_faults_disarm();
}

static void one_round(struct array *a, unsigned round, bool redundant)
{
	static const char *const kinds[] = {"kill", "power", "stop"};
	uint64_t kind = sim_random_below(a->sim, 5);
	unsigned k = kind < 2 ? 0 : kind < 4 ? 1 : 2;
	a->power_loss = k == 1;
	if (sim_random_below(a->sim, 3) == 0)
		idle(a, k != 2 && sim_random_below(a->sim, 2));
	if (!a->dead) {
		array_users_start(a);
		damage(a, redundant);
		run_load(a, k != 2 && sim_random_below(a->sim, 2));
	}
	if (a->verbose)
		printf("  round %u: %s after %llu writes\n", round, kinds[k],
		       (unsigned long long)a->result->writes);
	if (k == 2) {
		array_users_stop(a);
		array_run(a, array_close, "close");
	} else {
		if (!a->dead)
			array_crash_now(a);
		array_crash_after(a);
		a->result->crashes++;
	}
	if (!a->failed)
		array_run(a, array_open, "open");
	if (!a->failed)
		array_run(a, array_verify, "verify");
	if (!a->failed && sim_random_below(a->sim, 2))
		array_run(a, array_compare, "compare");
}

static bool choose(struct array *a)
{
	static const struct {
		const char *level;
		unsigned disks;
		bool redundant;
	} levels[] = {{"single", 1, false},
		      {"raid0", 2, false},
		      {"raid1", 2, true},
		      {"raid10", 4, true},
		      /* A bad block and a crash in the same row are two faults. */
		      {"raid5", 3, false},
		      {"raid5", 4, false},
		      {"raid6", 4, false}};
	uint64_t l = sim_random_below(a->sim, ARRAY_LEN(levels));
	a->level = levels[l].level;
	a->ndisks = a->pool_disks = levels[l].disks;
	a->battery = sim_random_below(a->sim, 3) == 0;
	a->checksums = sim_random_below(a->sim, 2);
	array_memory(a);
	return levels[l].redundant;
}

int scenario_array(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct array a;
	array_init(&a, sim_new(seed), verbose, ret);
	bool redundant = choose(&a);
	array_run(&a, array_create, "create");
	for (unsigned r = 0; r < 4 && !a.failed; r++)
		one_round(&a, r, redundant);
	/* A failed run leaves tasks behind: nothing can be freed in order. */
	if (a.failed)
		return -1;
	array_run(&a, array_close, "close");
	array_fini(&a);
	return a.failed ? -1 : 0;
}
