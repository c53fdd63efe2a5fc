/*
 * Two controllers "a" and "b" on shared simulated disks and memory, each a whole core on a node of
 * its own that may be killed, stopped and started again; their link may be cut. One world a test.
 */
#ifndef ISTHMUS_TESTS_OWN_RIG_H
#define ISTHMUS_TESTS_OWN_RIG_H

#include "blockcore/link/link.h"
#include "tests/sim/sim_link.h"
#include "tests/unit/core/core_rig.h"

#define NDISKS 4
#define ROUTES 4

struct end {
	const char *name;
	struct sim_node *node;
	struct sim_memory *segment;
	struct gcm *gcm;
	struct core_duplex duplex;
	struct core *core;
	struct link *link;
	bool busy;	     /* up or down is being acted on */
	uint32_t forwarding; /* version of forwarded commands that it speaks */
};

struct world {
	struct sim *sim;
	struct sim_net *net;
	struct sim_memory *control;
	struct sim_disk *disk[NDISKS];
	struct end e[2];
	uint64_t incarnations;
};
extern struct world w;

/* Both run, there is no pool. */
void world_init(uint64_t seed);
/* The same, with a mirrored pool "p" of a's and a volume "v" of 1024 blocks in it. */
void world_with_pool(uint64_t seed);
void world_fini(void);

struct end *other(struct end *e);
/* What a killed one had open is freed. */
void clear_away(struct end *e);
/* A node that was cleared away and reborn starts. */
void born(struct end *e);
/* It is stopped in order; its process ends. */
void stop(struct end *e);
/* A killed or stopped one starts again. */
void restart(struct end *e);
/* All routes between the two; sim_net_restore_all() ends it. */
void cut_link(enum sim_cut how);

/* Writes n blocks of v with data of the seed at that controller, or checks that they are there. */
int io(struct end *e, bool write, unsigned first, unsigned n, uint64_t seed);
/* Of v, as that controller sees it. */
enum core_place place(struct end *e);
/* The one that owns the pool; asserts that the other does not. Both run. */
struct end *one_owner(void);
/* Of the pool, in control memory. */
struct gcm_owner word(struct end *e);
/* What heads are told of the memory behind v there: another one where something is lost. */
uint64_t memory(struct end *e);
/* The pool is given to the partner. */
int give(struct end *e);

struct move {
	struct end *e;
	bool force, held;
	int rc;
	char why[CORE_WHY_LEN];
};
/* A task of that end: takes a struct move. */
void move_task(void *arg);

/* main() of a test program: `add` adds its tests. */
int own_suite(const char *name, void (*add)(TCase *tc));

#endif
