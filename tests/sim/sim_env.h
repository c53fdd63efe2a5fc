/*
 * A simulated world for tests: virtual time, tasks, randomness and disks, all
 * from one seed, in one thread. The same seed gives the same run.
 *
 * A disk has a volatile write cache: a write is readable when it returns and
 * stable after a flush (or with BDEV_FUA). At a power loss every write that is
 * not stable, those still in flight included, is applied, lost or torn at a
 * sector, by choice of the test or of the seed.
 *
 * A crash goes in three steps, so that nothing leaks:
 *   sim_power_off()   from here every disk call fails at once with -EIO, and
 *                     tasks unwind by their error paths; contents are frozen
 *   (the test abandons what it had open: fs_abandon(), cache_close(abandon) …,
 *   and lets every task end: sim_run_for())
 *   sim_power_on()    disks work again, with contents chosen as told
 */
#ifndef ISTHMUS_TESTS_SIM_ENV_H
#define ISTHMUS_TESTS_SIM_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/task.h"

struct sim;
struct sim_disk;

/* Becomes the calling thread's scheduler. */
struct sim *sim_new(uint64_t seed);
/* All tasks must have ended. Frees the disks too. */
void sim_free(struct sim *s);
struct env *sim_env(struct sim *s);
uint64_t sim_random(struct sim *s);
uint64_t sim_random_below(struct sim *s, uint64_t n);

/* Runs fn(arg) as a task until it has ended. 0; -EDEADLK when nothing is left that could wake it;
 * -ETIMEDOUT after an hour of virtual time. */
int sim_run(struct sim *s, task_fn *fn, void *arg);
/* Runs until no task is ready and no timer or disk call is due within `ns` of virtual time. */
void sim_run_for(struct sim *s, uint64_t ns);
/* Makes sim_run() and sim_run_for() return after the current step (called from a task or hook). */
void sim_stop(struct sim *s);

/* ---- disks; env_disk_open(path) opens them ---- */

struct sim_disk *sim_disk_new(struct sim *s, const char *path, uint64_t size);
struct sim_disk *sim_disk_find(struct sim *s, const char *path);
/* Opens it directly; several handles may be open. Waits for nothing. */
struct bdev *sim_disk_open(struct sim_disk *d);
/* Adds another disk as redundancy copies of this one: its bdev's read_copy(0) reads this disk,
 * read_copy(1) the twin. Writes and flushes go to both. */
void sim_disk_set_twin(struct sim_disk *d, struct sim_disk *twin);
/* What a read would see now; tests may look and damage. */
uint8_t *sim_disk_bytes(struct sim_disk *d);
uint64_t sim_disk_size(const struct sim_disk *d);
/* Tells the disk that bytes were changed behind its back through sim_disk_bytes(). */
void sim_disk_bytes_changed(struct sim_disk *d, uint64_t off, uint64_t len);

/* Its cache gets an identity (bdev.memory_id), another one at every power loss; without this call
 * it is not known (0). */
void sim_disk_memory_known(struct sim_disk *d);

struct sim_disk_faults {
	uint64_t latency_min_ns, latency_max_ns; /* default 10 us .. 200 us */
	unsigned late_ppm;			 /* so many calls take up to late_max_ns more */
	uint64_t late_max_ns;
	unsigned read_error_ppm, write_error_ppm, flush_error_ppm;
	bool dead;  /* every call -EIO */
	bool stuck; /* no call ever returns until cleared */
};
/* Copied; effective at once. */
void sim_disk_set_faults(struct sim_disk *d, const struct sim_disk_faults *f);
void sim_disk_get_faults(const struct sim_disk *d, struct sim_disk_faults *ret);
/* Latent error: reads of the range give -EIO until it is written. */
void sim_disk_bad_range(struct sim_disk *d, uint64_t off, uint64_t len);

struct sim_disk_stats {
	uint64_t reads, writes, flushes, read_bytes, write_bytes;
};
void sim_disk_stats(const struct sim_disk *d, struct sim_disk_stats *ret);

/* ---- power ---- */

enum sim_loss {
	SIM_LOSE_ALL,	 /* no unstable write survives */
	SIM_LOSE_NONE,	 /* all survive, in-flight ones too */
	SIM_LOSE_RANDOM, /* each survives, is lost or torn at a sector by the seed */
	SIM_LOSE_PREFIX, /* the first n unstable writes in order of issue survive whole */
	SIM_LOSE_SUBSET, /* write i survives when bit i of n is set (i < 64) */
	SIM_KILL,	 /* a killed process, not a power loss: completed writes stay in the
			  * disks' caches, those in flight are done, lost or torn by the seed */
};
void sim_power_off(struct sim *s);
bool sim_power_is_off(const struct sim *s);
void sim_power_on(struct sim *s, enum sim_loss how, uint64_t n);
/* Unstable writes frozen at the power loss (or now), over all disks, in order of issue. */
size_t sim_unstable_writes(const struct sim *s);
/* Powers off at the nth disk write issued from now on (1 = the next); 0 cancels. */
void sim_power_off_at_write(struct sim *s, uint64_t nth);
/* Disk writes issued since sim_new(). */
uint64_t sim_writes_issued(const struct sim *s);

/* Power losses from here on can be gone back to; costs a copy of every disk once, then of what is
 * written. */
void sim_power_keep(struct sim *s);
/*
 * Back to the moment of the last power loss or kill, to try another outcome: everything since the
 * sim_power_on() is forgotten and the power is off. All must be closed or abandoned.
 */
void sim_power_off_again(struct sim *s);

#endif
