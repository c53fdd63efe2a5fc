/* Reading histograms (runtime/histogram.h). */
#include "runtime/histogram.h"

void histogram_merge(struct histogram_sum *s, const struct histogram *h)
{
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		uint64_t n = atomic_load_explicit(&h->n[b], memory_order_relaxed);
		s->n[b] += n;
		s->count += n;
	}
	s->total_ns += atomic_load_explicit(&h->total_ns, memory_order_relaxed);
}

void histogram_subtract(struct histogram_sum *s, const struct histogram_sum *old)
{
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
		if (s->n[b] < old->n[b])
			return;
	s->count = 0;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		s->n[b] -= old->n[b];
		s->count += s->n[b];
	}
	s->total_ns -= s->total_ns < old->total_ns ? s->total_ns : old->total_ns;
}

uint64_t histogram_edge(unsigned bucket)
{
	unsigned sub = 1u << HISTOGRAM_SUB_SHIFT;
	uint64_t first = bucket + 1ull; /* of the next bucket, in units */
	if (first >= 2 * sub) {
		unsigned shift = (unsigned)(first >> HISTOGRAM_SUB_SHIFT) - 1;
		first = (first - ((uint64_t)shift << HISTOGRAM_SUB_SHIFT)) << shift;
	}
	return (first << HISTOGRAM_UNIT_SHIFT) - 1;
}

uint64_t histogram_percentile(const struct histogram_sum *s, unsigned part)
{
	uint64_t rank = (s->count * part + 999) / 1000, seen = 0;
	if (!s->count)
		return 0;
	if (rank == 0)
		rank = 1;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		seen += s->n[b];
		if (seen >= rank)
			return histogram_edge(b);
	}
	return histogram_edge(HISTOGRAM_BUCKETS - 1);
}

uint64_t histogram_average(const struct histogram_sum *s)
{
	return s->count ? s->total_ns / s->count : 0;
}
