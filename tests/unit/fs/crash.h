/*
 * A file system that workers change until the power goes, or its head is killed, at some write;
 * then looks at what is left, for many choices of which unflushed writes survive (all, none,
 * prefixes, subsets, torn): the check finds nothing, all that was promised is there, an operation
 * in flight is done or not. Then those in flight, and the last that were answered, are asked for
 * again with their keys: each is done once. The disk is full of a byte that nobody writes, and it
 * must never be seen in a file.
 *
 * Each choice is a crash state, and so is each at which the next mount died too.
 */
#ifndef ISTHMUS_TESTS_UNIT_FS_CRASH_H
#define ISTHMUS_TESTS_UNIT_FS_CRASH_H

#include "tests/unit/fs/model.h"

#define WORKERS_MAX 4
#define GROWN_SIZE  (200ull << 20)
#define CRASH_DONE  8

struct crash;
struct worker {
	struct crash *crash;
	struct model *m;
	struct m_op flying;
	bool is_flying;
	bool was_loose;		      /* the file that what is flying changes */
	struct m_op done[CRASH_DONE]; /* the last that left a memo, a ring */
	unsigned ndone;
	uint32_t tree; /* of all that is its */
};

struct crash {
	struct world w;
	uint64_t seed, rnd, size;
	int workers, running;
	bool mixed;	/* unstable writes too */
	bool kill;	/* the process dies, not the power */
	bool unknown;	/* the disk tells no identity of its memory */
	bool grows;	/* while they work */
	bool tight;	/* there is no room for all they want */
	uint64_t grown; /* bytes it has for sure */
	uint64_t verifier;
	struct worker worker[WORKERS_MAX];
	task_fn *work; /* of each worker; NULL: random operations */
	const char *when;
};

/* States looked at in all processes of this program. */
void crash_count_init(void);
uint64_t crash_count(void);

uint64_t crash_rnd(struct crash *c, uint64_t below);
/* The world, and the directories of its workers. c->seed and what is wanted are set. */
void crash_start(struct crash *c);
/* Works until the power goes at the nth write from here on, or (0) all work is done. */
void crash_run(struct crash *c, uint64_t nth);
/* One operation of a worker. False: the power went off. */
bool crash_op(struct worker *w, struct m_op *op, bool then_commit);
/* After crash_run(): looks at what is left; each may be called again and again. */
void crash_look(struct crash *c, enum sim_loss how, uint64_t n, const char *name);
/* The next mount dies too: at its nth write, or after that when there are not so many. */
void crash_again(struct crash *c, enum sim_loss how, uint64_t n, uint64_t nth);
/* Power loss: all of its ways, `random` of those that dice choose. */
void crash_outcomes(struct crash *c, uint64_t random);
/* Death of the head, c->kill: `times` ways in which its last writes end. */
void crash_kills(struct crash *c, unsigned times);
void crash_free(struct crash *c);

#endif
