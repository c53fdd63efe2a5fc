/* What sim_env.c and sim_disk.c share; tests include sim_env.h only. */
#ifndef ISTHMUS_TESTS_SIM_DISK_H
#define ISTHMUS_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <bsd/sys/queue.h>

struct sim;
struct sim_disk;
struct sim_write;
TAILQ_HEAD(sim_disks, sim_disk);
TAILQ_HEAD(sim_writes, sim_write);

/* The power switch, and the writes of all disks that are not stable yet, in order of issue. */
struct sim_power {
	bool off, keep;
	uint64_t off_at; /* power off when `issued` reaches it; 0: never */
	uint64_t issued;
	struct sim_writes unstable;
	size_t nunstable;
	struct sim_writes frozen; /* as at the last power loss, for another try */
};

void sim_power_init(struct sim_power *p);
struct sim_power *sim_power(struct sim *s);
struct sim_disks *sim_disks(struct sim *s);
void sim_disks_free(struct sim *s);
/* Calls fn(arg) after ns of virtual time. */
void sim_after(struct sim *s, uint64_t ns, void (*fn)(void *), void *arg);

#endif
