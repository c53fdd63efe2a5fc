/* Counting commands and their stages (stats.h). */
#include <stdlib.h>
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "server/scsi/scsi_priv.h"
#include "server/scsi/stats.h"

/* Commands that move data between initiator and medium; all others are KIND_OTHER. */
static const uint8_t kinds[256] = {
    [0x08] = KIND_READ + 1,  [0x28] = KIND_READ + 1,
    [0x88] = KIND_READ + 1,  [0xa8] = KIND_READ + 1,
    [0x0a] = KIND_WRITE + 1, [0x2a] = KIND_WRITE + 1,
    [0x8a] = KIND_WRITE + 1, [0xaa] = KIND_WRITE + 1,
    [0x2e] = KIND_WRITE + 1, /* WRITE AND VERIFY */
    [0x8e] = KIND_WRITE + 1, [0xae] = KIND_WRITE + 1,
    [0x89] = KIND_WRITE + 1,			      /* COMPARE AND WRITE */
    [0x8b] = KIND_WRITE + 1,			      /* ORWRITE */
    [0x9c] = KIND_WRITE + 1,			      /* WRITE ATOMIC */
    [0x41] = KIND_WRITE + 1, [0x93] = KIND_WRITE + 1, /* WRITE SAME */
};

static enum stats_kind kind_of(const struct scsi_cmd *c)
{
	uint8_t k = kinds[c->cdb[0]];
	return k ? (enum stats_kind)(k - 1) : KIND_OTHER;
}

/* ---- shards ---- */

static struct stats_shard *shard_make(_Atomic(struct stats_shard *) *at)
{
	struct stats_shard *none = NULL, *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL; /* not counted */
	s->seed = (uint32_t)(uintptr_t)s | 1;
	s->until_sample = 1;
	if (atomic_compare_exchange_strong(at, &none, s))
		return s;
	free(s);
	return none;
}

/* This reactor's; made at the unit's first command on it. */
static struct stats_shard *shard_of(struct scsi_lu *lu)
{
	_Atomic(struct stats_shard *) *at = &lu->stats.shards[reactor_slot() % STATS_SHARDS];
	struct stats_shard *s = atomic_load_explicit(at, memory_order_acquire);
	return __builtin_expect(s != NULL, 1) ? s : shard_make(at);
}

void lu_stats_free(struct lu_stats *l)
{
	for (unsigned i = 0; i < STATS_SHARDS; i++)
		free(atomic_load(&l->shards[i]));
}

/* ---- a command ---- */

/* Loads and stores, no locked instruction: where threads share a shard, a count lost is a sample
 * moved. */
static bool in_sample(struct stats_shard *s)
{
	uint32_t left = atomic_load_explicit(&s->until_sample, memory_order_relaxed) - 1;
	if (__builtin_expect(left == 0, 0)) {
		uint32_t seed = atomic_load_explicit(&s->seed, memory_order_relaxed);
		seed = seed * 1664525u + 1013904223u;
		atomic_store_explicit(&s->seed, seed, memory_order_relaxed);
		left = 1 + (seed >> 16) % (2 * STATS_SAMPLE - 1);
		atomic_store_explicit(&s->until_sample, left, memory_order_relaxed);
		return true;
	}
	atomic_store_explicit(&s->until_sample, left, memory_order_relaxed);
	return false;
}

static uint64_t trace_clock(const struct scsi_cmd *c)
{
	return env_now_ns(core_env(c->lu->core));
}

void stats_start(struct scsi_cmd *c)
{
	c->trace.mark_ns = 0;
	struct stats_shard *s = c->lu ? shard_of(c->lu) : NULL;
	if (!s || !c->trace.received_ns || !in_sample(s))
		return;
	memset(c->trace.stage_ns, 0, sizeof(c->trace.stage_ns));
	c->trace.mark_ns = c->trace.received_ns;
	stats_mark_sampled(c, STAGE_START);
}

void stats_mark_sampled(struct scsi_cmd *c, enum scsi_stage stage)
{
	uint64_t now = trace_clock(c);
	if (now > c->trace.mark_ns)
		c->trace.stage_ns[stage] += now - c->trace.mark_ns;
	c->trace.mark_ns = now;
}

void scsi_responding(struct scsi_cmd *c)
{
	if (c->lu)
		stats_mark(c, STAGE_RESPOND);
}

static void count(struct stats_counts *s, enum stats_kind k, const struct scsi_cmd *c,
		  uint64_t bytes, uint64_t ns)
{
	histogram_count(&s->ops[k], 1);
	histogram_count(&s->bytes[k], bytes);
	if (c->status != SCSI_GOOD && c->status != SCSI_CONDITION_MET)
		histogram_count(&s->errors, 1);
	histogram_add(&s->latency[k], ns);
}

void scsi_sent(struct scsi_cmd *c, uint64_t now_ns, uint64_t bytes)
{
	uint64_t since = c->trace.received_ns;
	uint64_t ns = now_ns > since ? now_ns - since : 0;
	enum stats_kind k = kind_of(c);
	if (!since)
		return;
	count(&c->nexus->stats, k, c, bytes, ns);
	struct stats_shard *s = c->lu ? shard_of(c->lu) : NULL;
	if (!s)
		return;
	count(&s->counts, k, c, bytes, ns);
	if (__builtin_expect(!c->trace.mark_ns, 1))
		return;
	if (now_ns > c->trace.mark_ns)
		c->trace.stage_ns[STAGE_SEND] += now_ns - c->trace.mark_ns;
	for (unsigned i = 0; i < SCSI_STAGES; i++)
		histogram_add(&s->stages[k][i], c->trace.stage_ns[i]);
	histogram_count(&s->samples[k], 1);
}

/* ---- readers ---- */

static uint64_t get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

void stats_merge(struct stats_sum *s, const struct stats_counts *c)
{
	for (unsigned k = 0; k < KINDS; k++) {
		s->ops[k] += get(&c->ops[k]);
		s->bytes[k] += get(&c->bytes[k]);
		histogram_merge(&s->latency[k], &c->latency[k]);
	}
	s->errors += get(&c->errors);
}

void lu_stats_merge(struct stats_sum *s, const struct lu_stats *l)
{
	for (unsigned i = 0; i < STATS_SHARDS; i++) {
		struct stats_shard *x = atomic_load(&l->shards[i]);
		if (x)
			stats_merge(s, &x->counts);
	}
}

void lu_stages_merge(struct stages_sum *s, const struct lu_stats *l)
{
	for (unsigned i = 0; i < STATS_SHARDS; i++) {
		struct stats_shard *x = atomic_load(&l->shards[i]);
		for (unsigned k = 0; x && k < KINDS; k++) {
			s->samples[k] += get(&x->samples[k]);
			for (unsigned g = 0; g < SCSI_STAGES; g++)
				histogram_merge(&s->stages[k][g], &x->stages[k][g]);
		}
	}
}

const char *stats_kind_name(enum stats_kind k)
{
	static const char *const names[KINDS] = {"read", "write", "other"};
	return names[k];
}

static const struct {
	const char *name, *help;
} stages[SCSI_STAGES] = {
    [STAGE_START] = {"start", "received, behind others of the same wake-up"},
    [STAGE_ORDER] = {"order", "waiting for ORDERED or HEAD OF QUEUE commands, or as one"},
    [STAGE_LIMIT] = {"limit", "held back by the QoS limit"},
    [STAGE_CACHE] = {"cache", "checks, and work in the cache"},
    [STAGE_DISK] = {"disk", "waiting for disks, flushes or room in the cache"},
    [STAGE_FORWARD] = {"partner", "at the other controller, which owns the volume"},
    [STAGE_DATA] = {"data", "waiting for data from the initiator"},
    [STAGE_RESPOND] = {"respond", "done; data nobody wants still comes"},
    [STAGE_SEND] = {"send", "response queued, until the network took it"},
};

const char *stats_stage_name(enum scsi_stage s)
{
	return stages[s].name;
}

const char *stats_stage_help(enum scsi_stage s)
{
	return stages[s].help;
}
