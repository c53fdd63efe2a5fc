/* What sim_disk.c and sim_power.c share. */
#ifndef ISTHMUS_TESTS_SIM_DISK_IMPL_H
#define ISTHMUS_TESTS_SIM_DISK_IMPL_H

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"

#define SECTOR 512
#define CHUNK  4096 /* of what is marked */

struct sim_write {
	TAILQ_ENTRY(sim_write) link;
	struct sim_disk *disk;
	uint64_t off;
	uint32_t len;
	uint64_t seq;
	bool completed, fua;
	uint8_t *data;
};

struct sim_disk {
	TAILQ_ENTRY(sim_disk) link;
	struct sim *sim;
	char path[64];
	uint64_t size;
	uint8_t *current, *stable, *frozen;
	uint64_t *touched; /* a bit a chunk: may differ from `frozen`; NULL: nothing is kept */
	bool is_frozen;	   /* `frozen` is of the last power loss */
	struct sim_disk_faults faults;
	struct sim_disk_stats stats;
	struct sim_disk *twin;
	uint64_t memory_id, frozen_memory_id;
	LIST_HEAD(, sim_bdev) opened;
	TAILQ_HEAD(, sim_bad) bad;
	struct waitq stuck;
};

/* May differ from `frozen` from here on. */
void sim_disk_touch(struct sim_disk *d, uint64_t off, uint64_t len);
void sim_disk_memory_set(struct sim_disk *d, uint64_t id);
void sim_write_free(struct sim_power *p, struct sim_write *w);
/* How many bytes of the write survive. */
uint32_t sim_write_survives(struct sim *s, const struct sim_write *w, enum sim_loss how, uint64_t n,
			    size_t index);
/* The last power loss is not gone back to any more. */
void sim_frozen_drop(struct sim *s);

#endif
