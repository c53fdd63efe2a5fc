/*
 * One array metadata for two controllers: two nodes of a simulated world on the same disks, with
 * control memory and messages between them, and writers at both. What either has acknowledged is
 * known to both at that moment, whoever dies when.
 */
#ifndef ISTHMUS_TESTS_SHARE_RIG_H
#define ISTHMUS_TESTS_SHARE_RIG_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/gcm.h"
#include "blockcore/control/meta_impl.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_node.h"

#define NDISKS	3
#define SIZE	(64 * 1024 * 1024ull)
#define ADDS	40 /* of a writer */
#define WRITERS 4

struct world;

struct side {
	struct world *w;
	unsigned index;
	struct sim_node *node;
	struct gcm *gcm;
	void *control; /* its view */
	struct disk *d[NDISKS];
	struct meta *m; /* NULL: not in service */
	struct meta_watch *watch;
	unsigned watched, failed_writes;
	bool deaf;     /* messages get no answer but an error */
	unsigned news; /* that it took */
	uint64_t seen; /* sequence when its watch ran last */
	char why[META_WHY_LEN];
	int rc;
};

struct world {
	struct sim *sim;
	struct sim_disk *sd[NDISKS];
	struct sim_memory *control;
	struct side side[2];
	unsigned writing; /* writers that have not ended */
	unsigned next, acked[4 * WRITERS * ADDS], nacked;
};

extern const uint8_t array_uuid[16];

struct side *other(struct side *s);
/* A life of its node begins. */
void side_start(struct side *s);
/* A task: what a killed one had open is freed. */
void side_close(void *arg);
/* Both are in service. */
void world_init(struct world *w, uint64_t seed);
void world_fini(struct world *w);

/* A change, of the unsigned `arg`: a target of that number. */
int change_add(Isthmus__ArrayMeta *am, void *arg, char *why);
/* The metadata has the target of that number. */
bool knows(const struct side *s, unsigned n);
/* Waits. Adds it by that side; what failed is in s->why. */
int add(struct side *s, unsigned n);
/* Writers of ADDS targets each on both sides, which check what each acknowledgement promises; until
 * they have ended. */
void start_writers(struct world *w);
void run_out(struct world *w);
/* Both have the same metadata; all that was acknowledged. */
void ck_equal(struct world *w);
void ck_acked(struct world *w);
/* Every slot of every disk holds, and one of each the newest. */
void ck_slots(struct world *w);
/* No side found a damaged slot. */
void ck_undamaged(struct world *w);

/* main() of a test program: `add_tests` adds its tests. */
int share_suite(const char *name, void (*add_tests)(TCase *t));

#endif
