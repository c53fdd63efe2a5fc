/*
 * A controller as heads see it (blockcore/channel/channel_client.h), on simulated disks: it opens
 * volumes to them, does what they ask though they die meanwhile, and fences: who comes with the
 * name of a head that is there takes its place, and nothing of the other's is done any more.
 */
#ifndef ISTHMUS_TESTS_SIM_CHANNEL_H
#define ISTHMUS_TESTS_SIM_CHANNEL_H

#include "blockcore/channel/channel_client.h"
#include "tests/sim/sim_node.h"

struct sim_array;

#define SIM_VOLUMES 4

struct sim_array *sim_array_new(struct sim *s);
/* No channel may be there any more. */
void sim_array_free(struct sim_array *a);
/* Volumes have numbers from 1 on. */
void sim_array_volume(struct sim_array *a, uint32_t number, struct sim_disk *d);

/* Where the head has said that its state is; it is told to whoever comes next. */
Isthmus__Side sim_array_side(const struct sim_array *a);

/* The head comes: any other is fenced from here on, and when this returns nothing of it is under
 * way. Waits (a task of the node). */
struct channel *sim_channel_open(struct sim_array *a, struct sim_node *n);
/* Its volumes are closed. */
void sim_channel_free(struct channel *c);

#endif
