/*
 * How long things took, as counts in buckets whose width grows with the duration (log-linear, as
 * HdrHistogram's), so that any percentile is known within 12.5 % from a microsecond to minutes.
 *
 *   unit               64 ns
 *   buckets 0..7       a unit each
 *   then 8 buckets for every power of two: 8..15 units, 16..31, ...
 *   last bucket        everything from 128 s on
 *
 * One thread adds, any thread reads: additions are plain loads and stores of atomics, so a reader
 * sees counts that never go back, some an instant older than others. Many writers keep a histogram
 * each; readers merge them into a `struct histogram_sum`, which is nobody else's.
 */
#ifndef ISTHMUS_RUNTIME_HISTOGRAM_H
#define ISTHMUS_RUNTIME_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_UNIT_SHIFT 6
#define HISTOGRAM_SUB_SHIFT  3
#define HISTOGRAM_BUCKETS    232

struct histogram {
	_Atomic uint64_t n[HISTOGRAM_BUCKETS];
	_Atomic uint64_t total_ns;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	uint64_t units = ns >> HISTOGRAM_UNIT_SHIFT;
	if (units < 1u << HISTOGRAM_SUB_SHIFT)
		return (unsigned)units;
	unsigned shift = 63u - (unsigned)__builtin_clzll(units) - HISTOGRAM_SUB_SHIFT;
	unsigned b = (shift << HISTOGRAM_SUB_SHIFT) + (unsigned)(units >> shift);
	return b < HISTOGRAM_BUCKETS ? b : HISTOGRAM_BUCKETS - 1;
}

/* The writer's thread only. */
static inline void histogram_count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}
static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	histogram_count(&h->n[histogram_bucket(ns)], 1);
	histogram_count(&h->total_ns, ns);
}

struct histogram_sum {
	uint64_t n[HISTOGRAM_BUCKETS];
	uint64_t count, total_ns;
};
/* Any thread. */
void histogram_merge(struct histogram_sum *s, const struct histogram *h);
/* What came to `s` since it was `old`. Counts that went back (another writer) count whole. */
void histogram_subtract(struct histogram_sum *s, const struct histogram_sum *old);
/* The duration that `part` of 1000 did not exceed (the upper edge of its bucket); 0 when empty. */
uint64_t histogram_percentile(const struct histogram_sum *s, unsigned part);
uint64_t histogram_average(const struct histogram_sum *s);
/* Upper edge of a bucket: no duration in it is longer, but for the last bucket. */
uint64_t histogram_edge(unsigned bucket);

#endif
