/*
 * What a page hit and a write cost: random 4 KiB and sequential 256 KiB hits of
 * cache_read_try(), and writes of both sizes that are never destaged. One
 * thread unless told otherwise: bench_cache [threads] [seconds each]. Rates are
 * a second of CPU time, so that a busy machine does not change them much.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "blockcore/cache/cache.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/log.h"

#define VOLUME (256ull << 20)

static int no_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	return 0;
}

static int no_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	return 0;
}

static int no_flush(struct bdev *b)
{
	return 0;
}

static void no_close(struct bdev *b)
{
}

static const struct bdev_ops ops = {
    .readv = no_readv, .writev = no_writev, .flush = no_flush, .close = no_close};

static struct cache_vol *vol;
static double seconds = 1;
static _Atomic uint64_t total, cpu_ns;

struct job {
	const char *name;
	uint32_t len;
	bool random, write;
};

static const struct job *job;

static uint64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void one(uint64_t off, struct cache_read *r, struct cache_write *w)
{
	if (!job->write) {
		if (cache_read_try(vol, off, job->len, r))
			abort();
		cache_read_done(vol, r);
		return;
	}
	if (cache_write_try_begin(vol, off, job->len, w))
		abort();
	cache_write_commit(vol, w, false);
}

static void *loop(void *arg)
{
	struct cache_read *r = malloc(sizeof(*r));
	struct cache_write *w = malloc(sizeof(*w));
	uint64_t x = (uint64_t)(uintptr_t)arg * 977 + 1, n = 0, off = 0;
	uint64_t start = now(CLOCK_THREAD_CPUTIME_ID);
	uint64_t end = now(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
	while (now(CLOCK_MONOTONIC) < end)
		for (int i = 0; i < 256; i++, n++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			off = job->random ? (x >> 20) % (VOLUME / job->len) * job->len
					  : (off + job->len) % VOLUME;
			one(off, r, w);
		}
	atomic_fetch_add(&total, n);
	atomic_fetch_add(&cpu_ns, now(CLOCK_THREAD_CPUTIME_ID) - start);
	free(r);
	free(w);
	return NULL;
}

static void run(const struct job *j, int threads)
{
	pthread_t t[64];
	job = j;
	total = cpu_ns = 0;
	for (int i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, loop, (void *)(uintptr_t)(i + 1));
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	double ns = (double)cpu_ns / (double)total, rate = 1e9 / ns;
	printf("%-26s %2d thread(s) %11.0f /s a core %8.0f ns %8.1f GiB/s\n", j->name, threads,
	       rate, ns, rate * j->len / (1 << 30));
}

int main(int argc, char **argv)
{
	static const struct job jobs[] = {
	    {"write 256 KiB sequential", 262144, false, true},
	    {"write 4 KiB random", 4096, true, true},
	    {"hit 4 KiB random", 4096, true, false},
	    {"hit 4 KiB sequential", 4096, false, false},
	    {"hit 256 KiB sequential", 262144, false, false},
	};
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	seconds = argc > 2 ? atof(argv[2]) : 1;
	threads = threads < 1 ? 1 : threads > 64 ? 64 : threads;
	struct bdev b = {.ops = &ops, .size = VOLUME, .block_size = 512};
	size_t size = VOLUME * 2;
	struct cache_opts o = {
	    .env = env_real(), .segment_size = size, .page_size = 4096, .controller = "bench"};
	struct cache *c;
	log_set_level(LOG_L_WARN);
	o.segment = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (o.segment == MAP_FAILED || cache_open(&c, &o, NULL) || cache_vol_attach(c, 1, &b, &vol))
		return 1;
	struct cache_write *w = malloc(sizeof(*w));
	for (uint64_t off = 0; off < VOLUME; off += CACHE_IO_MAX) {
		if (cache_write_try_begin(vol, off, CACHE_IO_MAX, w))
			return 1;
		for (int i = 0; i < w->n; i++)
			memset(w->iov[i].iov_base, 1, w->iov[i].iov_len);
		cache_write_commit(vol, w, false);
	}
	free(w);
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		run(&jobs[i], threads);
	cache_close(c, true);
	munmap(o.segment, size);
	return 0;
}
