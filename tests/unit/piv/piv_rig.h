/* A PIV volume and its backup on simulated disks. One world a test program. */
#ifndef ISTHMUS_TESTS_PIV_RIG_H
#define ISTHMUS_TESTS_PIV_RIG_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/err.h"
#include "tests/sim/sim_env.h"

#define VOLUME (2u << 20)

static struct sim *sim;
static struct sim_disk *main_disk, *backup_disk;
static struct bdev *main_bdev, *backup_bdev;
static uint64_t volume = VOLUME;

static inline void world(void)
{
	main_disk = sim_disk_new(sim, "piv", volume);
	backup_disk = sim_disk_new(sim, "piv-backup", volume);
	main_bdev = sim_disk_open(main_disk);
	backup_bdev = sim_disk_open(backup_disk);
}

static inline void setup(void)
{
	sim = sim_new(7);
	world();
}

static inline void setup_large(void)
{
	volume = 32 << 20;
	setup();
}

static inline void teardown(void)
{
	bdev_close(main_bdev);
	bdev_close(backup_bdev);
	sim_free(sim);
}

static inline int open_as(const char *name, uint64_t instance, struct piv **ret)
{
	struct piv_opts o = {.env = sim_env(sim),
			     .main = main_bdev,
			     .backup = backup_bdev,
			     .group_id = 5,
			     .head = name,
			     .address = "192.0.2.1",
			     .instance = instance};
	return piv_open(ret, &o);
}

static inline struct piv_head *head_of(struct piv_state *s, const char *name)
{
	for (unsigned i = 0; i < s->count; i++)
		if (strcmp(s->heads[i].name, name) == 0)
			return &s->heads[i];
	return NULL;
}

#endif
