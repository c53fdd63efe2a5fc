/*
 * Controllers of a simulated cluster: a node each, with everything that isthmus-controller starts
 * in it, in the same order, short of portals and sockets: control memory, block core, interconnect,
 * targets.
 */
#ifndef ISTHMUS_TESTS_SIM_CTL_H
#define ISTHMUS_TESTS_SIM_CTL_H

#include "blockcore/core_own.h"
#include "tests/sim/sim_host.h"
#include "tests/sim/sim_link.h"
#include "tests/sim/sim_node.h"

struct core;
struct scsi_registry;

#define SIM_TARGET "iqn.2026-11.example:sim"

struct sim_cluster;

struct sim_ctl {
	struct sim_cluster *cluster;
	const char *name, *partner;
	struct sim_node *node;
	struct sim_memory *segment;
	struct sim_portal *portal;
	struct gcm *gcm;
	struct core_duplex duplex;
	struct core *core;
	struct link *link;
	struct scsi_registry *registry;
	uint64_t incarnation;
	char route[4][32], remote[4][32]; /* names: control 0, 1, data 0, 1 */
	bool starting, up, stopping, reaping;
	bool serving, quiet, busy; /* towards the partner */
	unsigned calls;		   /* of an admin, under way */
	char why[256];		   /* it could not start */
};

struct sim_cluster {
	struct sim *sim;
	struct sim_memory *control;
	struct sim_net *net; /* the interconnect */
	struct sim_ctl ctl[2];
	struct sim_portal portals[2];
	const char *disks[16];
	unsigned ndisks;
	bool battery, lone_write_through;
	bool remote; /* copies go by messages, as between two hosts */
	struct sim_host **hosts;
	unsigned nhosts;
};

/* pages: of each controller's cache. Disks must have been made. */
void sim_cluster_init(struct sim_cluster *c, struct sim *s, const uint32_t pages[2]);
/* Starts it in its node; it is up, or `why` says why not, some time later. */
void sim_ctl_start(struct sim_ctl *ctl);
/* In order, all flushed: some time later neither up nor stopping. */
void sim_ctl_stop(struct sim_ctl *ctl);
/* What a kill leaves behind is taken away: true when nothing of it runs any more. */
bool sim_ctl_reap(struct sim_ctl *ctl);
/* Has every dirty page of controller i an equal copy in the other's memory? Now. */
bool sim_mirror_equal(struct sim_cluster *c, unsigned i, char *why, size_t size);

#endif
