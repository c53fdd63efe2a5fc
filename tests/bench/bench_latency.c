/*
 * bench_latency URL SECONDS: one client, one call at a time over libnfs: reads and unstable writes
 * of 4 KiB at random places of a file of 16 MiB, every eighth call an fsync. Prints calls and their
 * latency in microseconds: median, 99th percentile, the longest. For tests/bench/backup.sh.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <nfsc/libnfs.h>

#define PLACE  4096u
#define PLACES 4096u
#define CALLS  4000000u

static uint32_t *took; /* us */
static size_t ntook;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int call(struct nfs_context *nfs, struct nfsfh *fh, unsigned i)
{
	static char buf[PLACE];
	uint64_t off = (uint64_t)(rand() % (int)PLACES) * PLACE;
	if (i % 8 == 7)
		return nfs_fsync(nfs, fh);
	if (i % 2)
		return nfs_pwrite(nfs, fh, off, sizeof(buf), buf);
	return nfs_pread(nfs, fh, off, sizeof(buf), buf);
}

static int run(struct nfs_context *nfs, struct nfsfh *fh, double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), begun;
	for (unsigned i = 0; ntook < CALLS && (begun = now_ns()) < end; i++) {
		int rc = call(nfs, fh, i);
		if (rc < 0) {
			fprintf(stderr, "bench_latency: %s\n", nfs_get_error(nfs));
			return 1;
		}
		took[ntook++] = (uint32_t)((now_ns() - begun) / 1000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct nfs_context *nfs = nfs_init_context();
	struct nfsfh *fh;
	took = malloc(CALLS * sizeof(*took));
	if (argc != 3 || !nfs || !took)
		return 2;
	struct nfs_url *url = nfs_parse_url_dir(nfs, argv[1]);
	if (!url || nfs_mount(nfs, url->server, url->path) ||
	    nfs_open2(nfs, "/latency", O_RDWR | O_CREAT, 0644, &fh) ||
	    nfs_ftruncate(nfs, fh, (uint64_t)PLACE * PLACES)) {
		fprintf(stderr, "bench_latency: %s\n", nfs_get_error(nfs));
		return 1;
	}
	nfs_set_autoreconnect(nfs, -1);
	if (run(nfs, fh, 0.3)) /* warm */
		return 1;
	ntook = 0;
	if (run(nfs, fh, atof(argv[2])) || !ntook)
		return 1;
	qsort(took, ntook, sizeof(*took), order);
	printf("%zu %u %u %u\n", ntook, took[ntook / 2], took[ntook - 1 - ntook / 100],
	       took[ntook - 1]);
	return 0;
}
