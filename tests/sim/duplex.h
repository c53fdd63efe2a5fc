/*
 * Scenario `duplex`: two controllers, a pool and a volume of each, hosts that reach both volumes
 * through both, and everything that may happen to them.
 *
 *   duplex_hosts.c   hosts at work, and what they may see
 *   duplex_faults.c  what happens to controllers, routes, disks, power
 *   duplex_points.c  the crash point that a seed has for its own
 *   duplex_world.c   the world at the beginning; controllers come back until all is whole
 *   sim_duplex.c     rounds, and what must hold after each
 */
#ifndef ISTHMUS_TESTS_SIM_DUPLEX_H
#define ISTHMUS_TESTS_SIM_DUPLEX_H

#include "tests/sim/history.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_ctl.h"
#include "blockcore/core_impl.h"

#define VOLUME_SIZE (4 * 1024 * 1024ull)
#define IO_MAX	    (64 * 1024u)
#define HOSTS	    4
#define USERS	    8
#define BUSY_NS	    (50 * NS_PER_MS) /* of dense load after something has happened */
#define ANSWER_NS   (120 * NS_PER_S) /* longest wait of a host while controllers come and go */

struct pool_spec {
	const char *name, *volume, *level;
	const char *paths[4];
	unsigned ndisks;
	bool redundant;
};

struct user;

/* A dead controller is gone by then: its commands that wait for pages give up one after the other.
 */
#define DUPLEX_REAP_MS 300000

struct duplex {
	struct sim *sim;
	struct sim_cluster cluster;
	struct pool_spec pools[2];
	struct history *history[2];
	struct sim_host *hosts[HOSTS];
	bool stop, failed, verbose, power_off;
	bool checksums; /* of both pools */
	struct user *users[USERS];
	unsigned users_left;
	uint64_t changes; /* of the metadata, by an admin */
	uint64_t signature, busy_until;
	struct scenario_result *result;
};

struct user {
	struct duplex *d;
	struct sim_host *host;
	unsigned number;
	uint64_t began[2]; /* of what is under way, for each history; 0: nothing */
	uint8_t *buf;
};

/* The first failure ends the run. */
void duplex_fail(struct duplex *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of the story, when it is to be told. */
void duplex_say(struct duplex *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t duplex_below(struct duplex *d, uint64_t n);

/* ---- hosts ---- */

void duplex_users_start(struct duplex *d);
/* Waits for what is under way; the dead start again meanwhile. */
void duplex_users_stop(struct duplex *d);
/* Task: reads all of both volumes. */
void duplex_verify_task(void *arg);

/* ---- controllers ---- */

void duplex_build(struct duplex *d);
/* Runs the world until cond() holds; false: it does not within `ns`. The dead start again. */
bool duplex_run_until(struct duplex *d, bool (*cond)(struct duplex *d), uint64_t ns);
/* Both are up, both volumes have an owner, all is mirrored. */
bool duplex_settled(struct duplex *d);
/* The controller where the volume of a pool is; NULL: none, or it moves. */
struct sim_ctl *duplex_owner(struct duplex *d, unsigned pool);
/* What was killed is taken away and begins again; what stands still goes on. */
void duplex_revive(struct duplex *d);
/* Those whose ends nobody waits for, if they have ended. */
void duplex_revive_dead(struct duplex *d);
/* Routes are restored, controllers revived, until all is whole. must: else it is only waited for.
 */
void duplex_heal(struct duplex *d, const char *when, uint64_t ns, bool must);

/* ---- faults ---- */

/* One of all that may happen, chosen by the seed. */
void duplex_fault(struct duplex *d);
void duplex_power_loss(struct duplex *d);
/* For sim_fault_arm(): whoever passes the crash point dies there, if it lives. arg: the duplex. */
bool duplex_kill_current(void *arg);
/* For sim_fault_choose(), of a duplex: pools keep a log only while they lack a disk (`pools`);
 * messages copy only where asked for. */
bool duplex_may_pass(const void *d, const char *name);
/* By an admin at ctl, which is up: a pool goes to the partner; the metadata is changed. */
void duplex_give(struct duplex *d, struct sim_ctl *ctl, unsigned pool);
void duplex_change_meta(struct duplex *d, struct sim_ctl *ctl);

/* ---- the crash point of a seed ---- */

/* Every seed has one: one of the controllers, while both are up and under load, dies when it is
 * passed. */
void duplex_point(struct duplex *d, uint64_t seed);

#endif
