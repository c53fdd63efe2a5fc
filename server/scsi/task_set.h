/*
 * The task set of a logical unit (SAM-5 8): which of its commands run, and which wait for others
 * because of their task attributes. There is one for all I_T nexuses (TST = 000b).
 *
 *   SIMPLE         runs when no HEAD OF QUEUE command is in the set and no older ORDERED one
 *   ORDERED        runs when nothing else runs and nothing older waits
 *   HEAD OF QUEUE  runs at once, before all that wait
 *
 * A command is in the set from its start until its status is known and its data are read or
 * written, or until it is given up. Those that wait are in one queue in the order of arrival, each
 * with a task of its transport; each that ends lets go those whose turn it is.
 *
 * As long as only SIMPLE commands come nobody takes the lock: each reactor counts its own in a cell
 * of its own, and looks at `strict`, which no one writes. A command that is to keep order makes it
 * true under the lock and then reads the cells; a SIMPLE one adds to its cell, then looks again,
 * and one that ends subtracts, then looks. All four are sequentially consistent: either the first
 * sees the count, or the other sees `strict` and comes to the lock itself. So none runs unseen, and
 * none waits for one that has ended.
 *
 * When it is true, all that come go by the lock, until no ORDERED or HEAD OF QUEUE command is left
 * and nobody waits.
 */
#ifndef ISTHMUS_SERVER_SCSI_TASK_SET_H
#define ISTHMUS_SERVER_SCSI_TASK_SET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "runtime/reactor.h"
#include "server/scsi/scsi.h"

#define TASK_SET_CELLS 16 /* reactors beyond share them */
struct task_set_cell {
	_Atomic uint32_t running;
	char alone[60]; /* no two in one cache line */
};

struct task_set {
	_Atomic bool strict;  /* changes under the lock */
	pthread_mutex_t lock; /* over what follows but the cells; a leaf */
	TAILQ_HEAD(, scsi_cmd) waiting;
	unsigned running; /* of those that came by the lock */
	unsigned heads;	  /* HEAD OF QUEUE commands of them */
	bool ordered;	  /* the one that runs beside them is an ORDERED command */
	unsigned nwaiting;
	uint64_t ordered_came, heads_came, waited; /* so many, ever */
	struct task_set_cell cells[TASK_SET_CELLS];
};

void task_set_init(struct task_set *s);
void task_set_fini(struct task_set *s);

bool task_set_enter_strict(struct task_set *s, struct scsi_cmd *c);
void task_set_leave_strict(struct task_set *s, struct scsi_cmd *c);
void task_set_look(struct task_set *s);

/* Never waits. True: the command may run. False: it waits its turn, task_set_wait(). Its attribute
 * is one of the three. */
static inline bool task_set_enter(struct task_set *s, struct scsi_cmd *c)
{
	if (__builtin_expect(c->attr != SCSI_SIMPLE || atomic_load(&s->strict), 0))
		return task_set_enter_strict(s, c);
	_Atomic uint32_t *cell = &s->cells[reactor_slot() % TASK_SET_CELLS].running;
	atomic_fetch_add(cell, 1);
	if (__builtin_expect(atomic_load(&s->strict), 0)) {
		atomic_fetch_sub(cell, 1);
		return task_set_enter_strict(s, c);
	}
	c->turn.in = TURN_COUNTED;
	c->turn.cell = cell;
	return true;
}

/* The command has ended, or is given up, waiting or not; nothing when it is in no set. */
static inline void task_set_leave(struct task_set *s, struct scsi_cmd *c)
{
	if (c->turn.in == TURN_NONE)
		return;
	if (__builtin_expect(c->turn.in == TURN_LISTED, 0)) {
		task_set_leave_strict(s, c);
		return;
	}
	c->turn.in = TURN_NONE;
	atomic_fetch_sub(c->turn.cell, 1);
	if (__builtin_expect(atomic_load(&s->strict), 0))
		task_set_look(s);
}

/* Waits (a task). False: the command was cancelled; it has to leave. */
bool task_set_wait(struct task_set *s, struct scsi_cmd *c);
/* On the command's thread: its wait ends with false. */
void task_set_cancel(struct task_set *s, struct scsi_cmd *c);
/* Any thread: those that are gone (asked under the lock) stop waiting, as if cancelled. */
void task_set_drop(struct task_set *s, bool (*gone)(const struct scsi_cmd *c));

struct task_set_stats {
	unsigned waiting;
	uint64_t ordered, heads, waited;
};
void task_set_stats(struct task_set *s, struct task_set_stats *ret);

#endif
