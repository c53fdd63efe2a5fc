/* Histograms of durations: every duration's bucket, percentiles against a sorted list, a writer
 * beside a reader. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/histogram.h"

START_TEST(buckets_cover_everything_in_order)
{
	unsigned last = 0;
	ck_assert_uint_eq(histogram_bucket(0), 0);
	for (uint64_t ns = 0; ns < 1ull << 38; ns += 1 + ns / 100) {
		unsigned b = histogram_bucket(ns);
		ck_assert_uint_lt(b, HISTOGRAM_BUCKETS);
		ck_assert_uint_ge(b, last);
		ck_assert_uint_le(b, last + 1);
		last = b;
		if (b == HISTOGRAM_BUCKETS - 1)
			continue;
		/* the edge is in its bucket, the next nanosecond is not */
		ck_assert_uint_ge(histogram_edge(b), ns);
		ck_assert_uint_eq(histogram_bucket(histogram_edge(b)), b);
		ck_assert_uint_eq(histogram_bucket(histogram_edge(b) + 1), b + 1);
		/* an eighth of the duration at most, or one unit */
		uint64_t error = histogram_edge(b) - ns;
		ck_assert(error < 64 || error * 8 <= ns);
	}
	ck_assert_uint_eq(last, HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}
END_TEST

static int order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

START_TEST(percentiles_of_a_sorted_list)
{
	enum { N = 20000 };
	static const unsigned parts[] = {0, 1, 100, 500, 900, 990, 999, 1000};
	struct histogram *h = calloc(1, sizeof(*h));
	struct histogram_sum *s = calloc(1, sizeof(*s));
	uint64_t *v = calloc(N, sizeof(*v)), x = 7, total = 0;
	for (int i = 0; i < N; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		v[i] = (x >> 33) >> (x >> 20 & 15);
		total += v[i];
		histogram_add(h, v[i]);
	}
	qsort(v, N, sizeof(*v), order);
	histogram_merge(s, h);
	ck_assert_uint_eq(s->count, N);
	ck_assert_uint_eq(histogram_average(s), total / N);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		uint64_t rank = ((uint64_t)N * parts[i] + 999) / 1000;
		uint64_t want = v[rank ? rank - 1 : 0], got = histogram_percentile(s, parts[i]);
		ck_assert_uint_ge(got, want);
		ck_assert_uint_le(got, want + want / 8 + 64);
	}
	free(h);
	free(s);
	free(v);
}
END_TEST

START_TEST(nothing_has_no_percentile)
{
	struct histogram_sum *s = calloc(1, sizeof(*s));
	ck_assert_uint_eq(histogram_percentile(s, 500), 0);
	ck_assert_uint_eq(histogram_average(s), 0);
	free(s);
}
END_TEST

START_TEST(what_came_since)
{
	struct histogram *h = calloc(1, sizeof(*h));
	struct histogram_sum *old = calloc(1, sizeof(*old)), *now = calloc(1, sizeof(*now));
	for (int i = 0; i < 100; i++)
		histogram_add(h, 1000);
	histogram_merge(old, h);
	for (int i = 0; i < 10; i++)
		histogram_add(h, 1000000);
	histogram_merge(now, h);
	histogram_subtract(now, old);
	ck_assert_uint_eq(now->count, 10);
	ck_assert_uint_eq(histogram_average(now), 1000000);
	ck_assert_uint_ge(histogram_percentile(now, 1), 1000000);
	/* a process that was restarted counts anew */
	memset(now, 0, sizeof(*now));
	memset(h, 0, sizeof(*h));
	histogram_add(h, 1000);
	histogram_merge(now, h);
	histogram_subtract(now, old);
	ck_assert_uint_eq(now->count, 1);
	free(h);
	free(old);
	free(now);
}
END_TEST

static void *writer(void *arg)
{
	for (unsigned i = 0; i < 200000; i++)
		histogram_add(arg, i * 37 % 1000000);
	return NULL;
}

START_TEST(a_reader_sees_counts_grow)
{
	struct histogram *h = calloc(1, sizeof(*h));
	struct histogram_sum *s = calloc(1, sizeof(*s));
	pthread_t t;
	uint64_t last = 0;
	ck_assert_int_eq(pthread_create(&t, NULL, writer, h), 0);
	for (int i = 0; i < 200; i++) {
		memset(s, 0, sizeof(*s));
		histogram_merge(s, h);
		ck_assert_uint_ge(s->count, last);
		last = s->count;
	}
	pthread_join(t, NULL);
	memset(s, 0, sizeof(*s));
	histogram_merge(s, h);
	ck_assert_uint_eq(s->count, 200000);
	free(h);
	free(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("histogram");
	TCase *t = tcase_create("histogram");
	tcase_add_test(t, buckets_cover_everything_in_order);
	tcase_add_test(t, percentiles_of_a_sorted_list);
	tcase_add_test(t, nothing_has_no_percentile);
	tcase_add_test(t, what_came_since);
	tcase_add_test(t, a_reader_sees_counts_grow);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
