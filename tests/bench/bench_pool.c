/*
 * What checksums of pages cost a pool, in CPU time and in calls to the disks: writes and reads of
 * pools without them, with them, and with so little memory for them that nearly every random call
 * misses (`few`). Disks are memory, so that nothing but the pool and copying is measured; rates are
 * a second of CPU time, so that a busy machine does not change them much.
 *
 *   bench_pool [seconds each]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "blockcore/disk/disk.h"
#include "blockcore/pool/raid.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define DISK_BYTES (320ull << 20)
#define EXTENT	   (4ull << 20)
#define SPAN	   (256ull << 20) /* of the space that is used */
#define DISKS_MAX  4
#define SWEEP_NS   50000000ull /* of CPU time; an array sweeps every few seconds */

struct memory {
	struct bdev b;
	uint8_t *at;
	uint64_t calls;
};

static struct memory memory[DISKS_MAX];
static struct reactor *home;
static double seconds = 1;
static int rc;

static struct memory *memory_of(struct bdev *b)
{
	struct memory *m = container_of(b, struct memory, b);
	m->calls++;
	return m;
}

static int mem_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	const uint8_t *at = memory_of(b)->at + off;
	for (int i = 0; i < n; at += iov[i++].iov_len)
		memcpy(iov[i].iov_base, at, iov[i].iov_len);
	return 0;
}

static int mem_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	uint8_t *at = memory_of(b)->at + off;
	for (int i = 0; i < n; at += iov[i++].iov_len)
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static int mem_flush(struct bdev *b)
{
	return 0;
}

static void mem_close(struct bdev *b)
{
}

static const struct bdev_ops mem_ops = {
    .readv = mem_readv, .writev = mem_writev, .flush = mem_flush, .close = mem_close};

static uint64_t cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t random_below(uint64_t n)
{
	static uint64_t x = 88172645463325252ull;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % n;
}

struct job {
	const char *name;
	uint32_t len;
	bool random, write;
};

static const struct job jobs[] = {{"write 1 MiB sequential", 1 << 20, false, true},
				  {"read 1 MiB sequential", 1 << 20, false, false},
				  {"write 4 KiB random", 4096, true, true},
				  {"read 4 KiB random", 4096, true, false}};

static uint64_t disk_calls(void)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < DISKS_MAX; i++)
		n += memory[i].calls;
	return n;
}

static int run(struct raid *p, const struct job *j, const char *kind)
{
	struct bdev *b = raid_bdev(p);
	uint8_t *buf = NULL;
	uint64_t n = 0, at = 0, begun = cpu_ns(), calls = disk_calls(), took, sweeps = 0;
	int e = posix_memalign((void **)&buf, 4096, j->len) ? -1 : 0;
	if (e == 0)
		memset(buf, 7, j->len);
	do {
		for (unsigned i = 0; i < 64 && e == 0; i++, n++) {
			uint64_t off = j->random ? random_below(SPAN / j->len) * j->len : at;
			e = j->write ? bdev_write(b, buf, j->len, off, 0)
				     : bdev_read(b, buf, j->len, off);
			at = (at + j->len) % SPAN;
		}
		took = cpu_ns() - begun;
		if (took / SWEEP_NS != sweeps) {
			sweeps = took / SWEEP_NS;
			raid_sweep_intent(p);
		}
	} while (e == 0 && took < (uint64_t)(seconds * 1e9));
	free(buf);
	if (e == 0)
		printf("  %-24s %-5s %9.0f a CPU second  %8.1f us  %5.2f disk calls\n", j->name,
		       kind, (double)n * 1e9 / (double)took, (double)took / 1e3 / (double)n,
		       (double)(disk_calls() - calls) / (double)n);
	return e;
}

static int bench(const char *level, unsigned ndisks, const char *kind, bool sums, unsigned blocks)
{
	struct disk *d[DISKS_MAX];
	struct raid *p = NULL;
	int e = 0;
	for (unsigned i = 0; i < ndisks; i++) {
		struct disk_label l = {.position = i};
		memory[i].b = (struct bdev){
		    .ops = &mem_ops, .size = DISK_BYTES, .block_size = 512, .mem_align = 1};
		if (disk_open(&d[i], env_real(), "memory", &memory[i].b, NULL) ||
		    disk_write_label(d[i], &l))
			return -1;
	}
	struct raid_opts o = {.env = env_real(),
			      .name = "bench",
			      .level = level,
			      .chunk = POOL_CHUNK_DEFAULT,
			      .extent_size = EXTENT,
			      .extents = SPAN / EXTENT,
			      .disks = d,
			      .ndisks = ndisks,
			      .checksums = sums,
			      .sum_blocks = blocks};
	e = raid_new(&p, &o);
	if (e == 0)
		e = raid_load(p, true);
	if (e == 0)
		e = bdev_discard(raid_bdev(p), 0, SPAN);
	for (unsigned i = 0; i < sizeof(jobs) / sizeof(jobs[0]) && e == 0; i++)
		e = run(p, &jobs[i], kind);
	raid_free(p);
	for (unsigned i = 0; i < ndisks; i++)
		disk_close(d[i]);
	return e;
}

static void all(void *arg)
{
	static const struct {
		const char *level;
		unsigned ndisks;
	} shapes[] = {{"single", 1}, {"raid1", 2}, {"raid5", 4}};
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && rc == 0; i++) {
		printf("%s of %u disks\n", shapes[i].level, shapes[i].ndisks);
		rc = bench(shapes[i].level, shapes[i].ndisks, "off", false, 0);
		if (rc == 0)
			rc = bench(shapes[i].level, shapes[i].ndisks, "on", true, 0);
		if (rc == 0)
			rc = bench(shapes[i].level, shapes[i].ndisks, "few", true, 1);
	}
	reactor_stop(home);
}

int main(int argc, char **argv)
{
	struct reactor_opts ro = {.name = "bench", .cpu = -1};
	seconds = argc > 1 ? atof(argv[1]) : 1;
	log_set_level(LOG_L_ERROR);
	for (unsigned i = 0; i < DISKS_MAX; i++) {
		memory[i].at = mmap(NULL, DISK_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory[i].at == MAP_FAILED)
			return 1;
	}
	if (reactor_new(&home, &ro) || task_start_on(reactor_sched(home), all, NULL))
		return 1;
	reactor_run(home);
	reactor_free(home);
	if (rc)
		fprintf(stderr, "bench_pool: error %d\n", rc);
	return rc != 0;
}
