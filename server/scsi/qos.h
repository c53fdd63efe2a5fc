/*
 * Limits of a logical unit: operations and bytes a second, each a token bucket.
 *
 * A bucket holds `burst` tokens and fills at `rate` a second; a command takes one token of the
 * first and its bytes of the other. It is kept as the time at which it will be full again
 * (`full_ns`, as in the generic cell rate algorithm, ITU-T I.371): what is missing is that time
 * less now, so nothing has to be refilled. A command larger than the bucket goes when it is full.
 *
 * A command that finds too little waits in the unit's one queue, in the order of arrival over all
 * its initiators, and nothing is allocated for it: the entry is part of the command. The first of
 * the queue waits by the clock of its own reactor, and each wakes the next as it goes. An aborted
 * one leaves the queue at once.
 *
 * Units without a limit pay for one relaxed load.
 */
#ifndef ISTHMUS_SERVER_SCSI_QOS_H
#define ISTHMUS_SERVER_SCSI_QOS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "server/scsi/scsi.h"

struct env;

struct qos_limits {		   /* 0: none */
	uint64_t iops, iops_burst; /* burst 0: a tenth of a second's worth */
	uint64_t bandwidth, bandwidth_burst;
};

struct qos_bucket {
	uint64_t rate;	   /* 0: no limit */
	uint64_t burst_ns; /* time to fill it */
	uint64_t full_ns;
};

struct qos {
	_Atomic bool on; /* has a limit, or commands wait */
	pthread_mutex_t lock;
	struct env *env;
	struct qos_limits limits;
	struct qos_bucket ops, bytes;
	TAILQ_HEAD(qos_queue, scsi_cmd) waiting;
	unsigned nwaiting;
	uint64_t held, held_ns; /* commands that had to wait, and for how long in all */
	uint64_t last_ns;	/* when one did last */
};

void qos_init(struct qos *q, struct env *env);
void qos_fini(struct qos *q);
/* Any thread. Those that wait are looked at anew. */
void qos_set(struct qos *q, const struct qos_limits *l);

/* Never waits. True: the command must wait its turn, and has its place in the queue. */
bool qos_hold(struct qos *q, struct scsi_cmd *c, uint64_t bytes);
/* Waits (a task). False: the command was cancelled. */
bool qos_wait(struct qos *q, struct scsi_cmd *c);
/* On the command's thread: its wait ends with false. */
void qos_cancel(struct qos *q, struct scsi_cmd *c);
/* Any thread: those that are gone (asked under the lock, a leaf) stop waiting, as if cancelled. */
void qos_drop(struct qos *q, bool (*gone)(const struct scsi_cmd *c));
/* The command ends without having waited. */
void qos_forget(struct qos *q, struct scsi_cmd *c);

struct qos_stats {
	struct qos_limits limits;
	unsigned waiting;
	uint64_t held, held_ns, last_ns;
};
void qos_stats(struct qos *q, struct qos_stats *ret);

#endif
