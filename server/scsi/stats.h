/*
 * What commands cost: operations, bytes and latency of each logical unit and each nexus, and the
 * stages of a command's life, by which `lun latency` explains where a unit's time goes.
 *
 *   received   the transport has the whole header
 *     STAGE_START    until it is the command's turn: what came before it in the same wake-up
 *   started
 *     STAGE_ORDER    kept back by the task attributes of others, or by its own
 *     STAGE_LIMIT    held back by the unit's QoS limit
 *     STAGE_CACHE    at work without waiting: checks, look-up in the cache, commit
 *     STAGE_DISK     waiting in the block core: misses, flushes, room in the cache
 *     STAGE_DATA     until all data-out is there
 *   done
 *     STAGE_RESPOND  until the response may go (data nobody wants is still coming)
 *   response queued
 *     STAGE_SEND     until the kernel has taken the last byte of it
 *   sent
 *
 * Latency is sent - received of every command, by clock readings the transport makes once a
 * wake-up and once a send. Stages need a reading each, so they are taken of a sample: one command
 * in STATS_SAMPLE on average, at random distances, so that no pattern of commands hides from it.
 *
 * Nothing here locks. A logical unit has a shard for each reactor, made at its first command
 * there; a nexus belongs to one reactor.
 */
#ifndef ISTHMUS_SERVER_SCSI_STATS_H
#define ISTHMUS_SERVER_SCSI_STATS_H

#include "runtime/histogram.h"
#include "server/scsi/scsi.h"

#define STATS_SAMPLE 16
#define STATS_SHARDS 64 /* reactors of a process */

enum stats_kind { KIND_READ, KIND_WRITE, KIND_OTHER, KINDS };

/* Written by one reactor. */
struct stats_counts {
	_Atomic uint64_t ops[KINDS], bytes[KINDS], errors;
	struct histogram latency[KINDS];
};
struct stats_shard {
	struct stats_counts counts;
	struct histogram stages[KINDS][SCSI_STAGES];
	_Atomic uint64_t samples[KINDS];
	_Atomic uint32_t until_sample; /* commands */
	_Atomic uint32_t seed;
};
struct lu_stats {
	_Atomic(struct stats_shard *) shards[STATS_SHARDS];
};
void lu_stats_free(struct lu_stats *s);

/* The command starts: decides whether it is of the sample. */
void stats_start(struct scsi_cmd *c);
/* What passed since the last mark was this stage. */
void stats_mark_sampled(struct scsi_cmd *c, enum scsi_stage stage);
static inline void stats_mark(struct scsi_cmd *c, enum scsi_stage stage)
{
	if (__builtin_expect(c->trace.mark_ns != 0, 0))
		stats_mark_sampled(c, stage);
}

/* ---- readers; any thread ---- */

struct stats_sum {
	uint64_t ops[KINDS], bytes[KINDS], errors;
	struct histogram_sum latency[KINDS];
};
struct stages_sum {
	uint64_t samples[KINDS];
	struct histogram_sum stages[KINDS][SCSI_STAGES];
};
void stats_merge(struct stats_sum *s, const struct stats_counts *c);
void lu_stats_merge(struct stats_sum *s, const struct lu_stats *l);
void lu_stages_merge(struct stages_sum *s, const struct lu_stats *l);
const char *stats_kind_name(enum stats_kind k);
const char *stats_stage_name(enum scsi_stage s);
/* What a command does in it, for people. */
const char *stats_stage_help(enum scsi_stage s);

#endif
