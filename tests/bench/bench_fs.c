/*
 * CPU cost of the file system's operations: a disk in memory that never waits, one thread.
 *
 *   bench_fs [files [MiB of metadata memory]]     default 1,000,000 and the file system's 256
 *   bench_fs steady FILES MiB FILES-IN-A-DIRECTORY
 *   bench_fs keys FILES MiB FILES-IN-A-DIRECTORY
 *
 * For directories of 1,000, 10,000 ... files (1,000,000 in all at least), each on a new file
 * system: nanoseconds of CPU to create, look up, list and remove a file, and what creating and
 * removing one costs the journal, the places and the reads. Creates and removes by 64 tasks that
 * share commits. On the last file system also attributes, data and the check.
 *
 * "steady": one file system that is filled and emptied, by tenths of its files: what a file of each
 * tenth cost, and the memory of this process but for the disk's.
 *
 * "keys": one that is filled and emptied in slices, by turns without and with keys (struct
 * fs_once): what a memo costs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "nasfront/fs/fs.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/task.h"
#include <sys/mman.h>

#define TASKS	   64
#define ROUNDS_MAX 8
#define FIRST_SIZE 1000
#define FILES_MIN  1000000
#define LOOKUPS	   500000
#define STRIDE	   7919u /* look-ups in no order */

struct mem_disk {
	struct bdev b;
	char *bytes;
};

static int mem_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	struct mem_disk *d = (struct mem_disk *)b;
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(iov[i].iov_base, d->bytes + off, iov[i].iov_len);
	return 0;
}

static int mem_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	struct mem_disk *d = (struct mem_disk *)b;
	task_yield(); /* as a device would: whoever is ready runs meanwhile */
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(d->bytes + off, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static int mem_flush(struct bdev *b)
{
	return 0;
}

static int mem_ref(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	ret->iov[0] = (struct iovec){((struct mem_disk *)b)->bytes + off, len};
	ret->iovcnt = 1;
	return 0;
}

static void mem_ref_put(struct bdev *b, struct bdev_ref *ref)
{
}

static void mem_close(struct bdev *b)
{
}

static const struct bdev_ops mem_ops = {.readv = mem_readv,
					.writev = mem_writev,
					.flush = mem_flush,
					.read_ref = mem_ref,
					.ref_put = mem_ref_put,
					.close = mem_close};

/* ---- an environment without timers ---- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(struct env *e)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t real_ns(struct env *e)
{
	return clock_ns(CLOCK_REALTIME);
}

static void random_bytes(struct env *e, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)random();
}

static void timer_start(struct env *e, struct env_timer *t, uint64_t ns)
{
}

static void timer_stop(struct env *e, struct env_timer *t)
{
}

static const struct env_ops bench_env_ops = {.now_ns = now_ns,
					     .realtime_ns = real_ns,
					     .random = random_bytes,
					     .timer_start = timer_start,
					     .timer_stop = timer_stop};
static struct env env = {&bench_env_ops};

/* ---- the work ---- */

static const struct fs_fid root = {FS_ROOT_INO, 1};
static struct mem_disk disk;
static struct fs *fs;
static uint64_t memory;
static int dir_size, files, next_file; /* of the round */
static bool failed;
static struct fs_fid *fids, *dirs;
static int task_end; /* files before it are the turn's */
static bool keyed;

static uint32_t name_of(char *to, int i)
{
	return (uint32_t)sprintf(to, "file-%08d.dat", i);
}

static const struct fs_fid *dir_of(int i)
{
	return &dirs[i / dir_size];
}

/* Root's; its key is never the same. */
struct who {
	struct fs_once once;
	struct fs_cred cred;
};

static const struct fs_cred *who_next(struct who *w)
{
	static uint64_t n;
	n++;
	memcpy(w->once.key, &n, sizeof(n));
	w->cred.once = keyed ? &w->once : NULL;
	return &w->cred;
}

static void create_task(void *arg)
{
	struct who w = {0};
	struct fs_attr a;
	char name[32];
	while (next_file < task_end) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_create(fs, who_next(&w), dir_of(i), name, n, FS_CREATE_GUARDED, NULL,
				    0, &a, NULL) != 0;
		fids[i] = (struct fs_fid){a.ino, a.generation};
	}
}

static void remove_task(void *arg)
{
	struct who w = {0};
	char name[32];
	while (next_file < task_end) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_remove(fs, who_next(&w), dir_of(i), name, n, NULL) != 0;
	}
}

static int stride(unsigned i)
{
	return (int)((uint64_t)i * STRIDE % (unsigned)files);
}

static void lookup_task(void *arg)
{
	struct fs_attr a;
	char name[32];
	for (unsigned i = 0; i < LOOKUPS; i++) {
		int k = stride(i);
		uint32_t n = name_of(name, k);
		int rc = fs_lookup_try(fs, NULL, dir_of(k), name, n, &a, NULL);
		if (rc)
			rc = fs_lookup(fs, NULL, dir_of(k), name, n, &a, NULL);
		failed |= rc || a.ino != fids[k].ino;
	}
}

static void getattr_task(void *arg)
{
	struct fs_attr a;
	for (unsigned i = 0; i < LOOKUPS; i++)
		failed |= fs_getattr(fs, &fids[stride(i)], &a) != 0;
}

static bool emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		 const struct fs_attr *attr)
{
	++*(int *)arg;
	return true;
}

static int dirs_from, dirs_to; /* that are listed */

static void list_task(void *arg)
{
	for (int d = dirs_from; d < dirs_to; d++) {
		int n = 0;
		bool eof;
		failed |= fs_readdir(fs, NULL, &dirs[d], 0, true, emit, &n, &eof, NULL) != 0;
		failed |= n != dir_size + 2;
	}
}

static void write_task(void *arg)
{
	static char data[65536];
	struct iovec iov = {data, sizeof(data)};
	for (int i = 0; i < 16384; i++)
		failed |= fs_write(fs, NULL, &fids[0], (uint64_t)i * sizeof(data), &iov, 1,
				   FS_WRITE_UNSTABLE, NULL) != 0;
	failed |= fs_commit(fs, &fids[0], 0, 0, NULL) != 0;
}

static void read_task(void *arg)
{
	static struct fs_read r;
	for (int i = 0; i < 16384; i++) {
		failed |= fs_read(fs, NULL, &fids[0], (uint64_t)i * 65536, 65536, &r, NULL) != 0;
		fs_read_done(fs, &r);
	}
}

static void open_task(void *arg)
{
	struct fs_opts o = {.metadata_memory = memory};
	failed |= fs_mkfs(&env, &disk.b, NULL) || fs_mount(&fs, &env, &disk.b, &o);
	for (int d = 0; d < files / dir_size && !failed; d++) {
		struct fs_attr a;
		char name[32];
		uint32_t n = (uint32_t)sprintf(name, "dir-%d", d);
		failed |= fs_mkdir(fs, NULL, &root, name, n, NULL, &a, NULL) != 0;
		dirs[d] = (struct fs_fid){a.ino, a.generation};
	}
}

static void close_task(void *arg)
{
	failed |= fs_unmount(fs) != 0;
}

static void check_task(void *arg)
{
	struct fs_check_report r;
	failed |= fs_check(&env, &disk.b, false, NULL, NULL, &r) != 0;
}

/* Nanoseconds of CPU. */
static double run(struct sched *s, task_fn *fn, int tasks)
{
	uint64_t t = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < tasks; i++)
		task_start(fn, NULL);
	while (sched_ready(s))
		sched_run(s);
	return (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - t);
}

static void run_one(struct sched *s, const char *what, task_fn *fn, int ops)
{
	double ns = run(s, fn, 1);
	printf("%-28s %9.0f ns each  (%.2f s)\n", what, ns / ops, ns / 1e9);
	fflush(stdout);
}

/* ---- rounds ---- */

struct cost { /* of one file */
	double ns, log_bytes, images, written, reads;
};

struct round {
	int dir_size;
	struct cost create, remove;
	double lookup_ns, list_ns;
	uint64_t buffers; /* most blocks held in memory */
};

/* Files from ... to - 1 are created or removed. */
static struct cost cost_of(struct sched *s, task_fn *fn, int from, int to)
{
	struct fs_stats a, b;
	fs_stats(fs, &a);
	next_file = from;
	task_end = to;
	double ns = run(s, fn, TASKS), n = to - from;
	fs_stats(fs, &b);
	return (struct cost){
	    .ns = ns / n,
	    .log_bytes = (double)(b.journal_bytes - a.journal_bytes) / n,
	    .images = (double)(b.journal_images - a.journal_images) / n,
	    .written = (double)(b.blocks_written - a.blocks_written) / n,
	    .reads = (double)(b.metadata_reads - a.metadata_reads) / n,
	};
}

static void round_run(struct sched *s, struct round *r, bool last)
{
	struct fs_stats st;
	dir_size = r->dir_size;
	files = dir_size < FILES_MIN ? FILES_MIN / dir_size * dir_size : dir_size;
	madvise(disk.bytes, disk.b.size, MADV_REMOVE);
	run(s, open_task, 1);
	if (failed)
		return;
	r->create = cost_of(s, create_task, 0, files);
	r->lookup_ns = run(s, lookup_task, 1) / LOOKUPS;
	dirs_from = 0;
	dirs_to = files / dir_size;
	r->list_ns = run(s, list_task, 1) / files;
	if (last) {
		run_one(s, "getattr", getattr_task, LOOKUPS);
		run_one(s, "write 64 KiB", write_task, 16384);
		run_one(s, "read 64 KiB", read_task, 16384);
	}
	r->remove = cost_of(s, remove_task, 0, files);
	fs_stats(fs, &st);
	r->buffers = st.blocks_held;
	if (last) {
		run_one(s, "unmount", close_task, 1);
		run_one(s, "check", check_task, 1);
	} else {
		run(s, close_task, 1);
	}
}

static void cell(double v, double first)
{
	printf(" %9.0f %5.2f", v, v / first);
}

static void print_rounds(const struct round *r, int n)
{
	printf("\nns of CPU a file, and the ratio to the smallest directories\n");
	printf("%10s %15s %15s %15s %15s %9s\n", "files", "create", "look up", "list", "remove",
	       "held MiB");
	for (int i = 0; i < n; i++) {
		printf("%10d", r[i].dir_size);
		cell(r[i].create.ns, r[0].create.ns);
		cell(r[i].lookup_ns, r[0].lookup_ns);
		cell(r[i].list_ns, r[0].list_ns);
		cell(r[i].remove.ns, r[0].remove.ns);
		printf(" %9llu\n", (unsigned long long)r[i].buffers * FS_BLOCK_SIZE >> 20);
	}
	printf("\na file created, removed: bytes of journal; blocks logged whole, written to their "
	       "places, read\n");
	for (int i = 0; i < n; i++) {
		const struct cost *c = &r[i].create, *d = &r[i].remove;
		printf("%10d %6.0f %5.2f %5.2f %5.2f  %6.0f %5.2f %5.2f %5.2f\n", r[i].dir_size,
		       c->log_bytes, c->images, c->written, c->reads, d->log_bytes, d->images,
		       d->written, d->reads);
	}
}

/* ---- one file system, filled and emptied ---- */

#define TENTHS 10

/* Of this process, but for the disk and what is known of the files, which others may share. */
static unsigned long own_kib(void)
{
	char line[256];
	unsigned long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %lu", &kib);
	if (f)
		fclose(f);
	return kib;
}

static void print_tenth(const char *what, int from, int to, const struct cost *c,
			const struct cost *first)
{
	struct fs_stats st;
	fs_stats(fs, &st);
	printf("%-7s %10d %10d %9.0f %5.2f %7.0f %6.2f %6.2f %6.2f %8llu %8lu\n", what, from, to,
	       c->ns, c->ns / first->ns, c->log_bytes, c->images, c->written, c->reads,
	       (unsigned long long)st.blocks_held * FS_BLOCK_SIZE >> 20, own_kib() >> 10);
	fflush(stdout);
}

static void steady_turns(struct sched *s, const char *what, task_fn *fn)
{
	struct cost first = {0}, c;
	for (int i = 0; i < TENTHS && !failed; i++) {
		int from = files / TENTHS * i, to = files / TENTHS * (i + 1);
		c = cost_of(s, fn, from, to);
		first = i ? first : c;
		print_tenth(what, from, to, &c, &first);
	}
}

static struct cost steady_reads(struct sched *s, task_fn *fn, double n)
{
	struct fs_stats a, b;
	fs_stats(fs, &a);
	double ns = run(s, fn, 1);
	fs_stats(fs, &b);
	return (struct cost){.ns = ns / n,
			     .reads = (double)(b.metadata_reads - a.metadata_reads) / n};
}

static void steady_look(struct sched *s)
{
	struct cost c = steady_reads(s, lookup_task, LOOKUPS), first;
	int n = files / dir_size, step = n < TENTHS ? n : n / TENTHS;
	print_tenth("look up", 0, LOOKUPS, &c, &c);
	for (dirs_from = 0; dirs_from < n && !failed; dirs_from = dirs_to) {
		dirs_to = dirs_from + step < n ? dirs_from + step : n;
		c = steady_reads(s, list_task, (double)(dirs_to - dirs_from) * dir_size);
		first = dirs_from ? first : c;
		print_tenth("list", dirs_from * dir_size, dirs_to * dir_size, &c, &first);
	}
}

static void steady(struct sched *s)
{
	run(s, open_task, 1);
	printf("%-7s %10s %10s %9s %5s %7s %6s %6s %6s %8s %8s\n", "", "from", "to", "ns", "ratio",
	       "journal", "whole", "writes", "reads", "held MiB", "own MiB");
	steady_turns(s, "create", create_task);
	if (!failed)
		steady_look(s);
	steady_turns(s, "remove", remove_task);
	run_one(s, "unmount", close_task, 1);
	run_one(s, "check", check_task, 1);
}

/* ---- without and with keys ---- */

#define SLICES 100 /* an even number */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void keys_turns(struct sched *s, const char *what, task_fn *fn)
{
	double ns[2][SLICES / 2], bytes[2] = {0};
	for (int i = 0; i < SLICES && !failed; i++) {
		int n = files / SLICES;
		keyed = (i + i / 2) % 2; /* first either way as often as second */
		struct cost c = cost_of(s, fn, n * i, n * (i + 1));
		ns[keyed][i / 2] = c.ns;
		bytes[keyed] += c.log_bytes / (SLICES / 2);
	}
	keyed = false;
	for (int k = 0; k < 2; k++)
		qsort(ns[k], SLICES / 2, sizeof(double), by_value);
	printf("%-7s", what);
	for (int q = 1; q <= 2; q++) {
		double without = ns[0][SLICES / 8 * q], with = ns[1][SLICES / 8 * q];
		printf(" %9.0f %9.0f %+6.1f%%", without, with, (with / without - 1) * 100);
	}
	printf(" %8.0f %8.0f\n", bytes[0], bytes[1]);
}

/* The disk's first pages are there before: else who writes more of the journal pays for more. */
static void keys(struct sched *s)
{
	memset(disk.bytes, 0, 1u << 30);
	run(s, open_task, 1);
	printf("ns of CPU a file without and with keys: quartile, median of %d slices; journal\n",
	       SLICES / 2);
	keys_turns(s, "create", create_task);
	keys_turns(s, "remove", remove_task);
	run(s, close_task, 1);
	run_one(s, "check", check_task, 1);
}

/* Shared, so that the kernel counts it apart from the memory of the file system. */
static void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static bool setup(int max)
{
	int all = max < FILES_MIN ? FILES_MIN : max;
	disk.b = (struct bdev){.ops = &mem_ops,
			       .size = max > 2000000 ? 24ull << 30 : 8ull << 30,
			       .block_size = 4096,
			       .mem_align = 1,
			       .name = "memory"};
	disk.bytes = shared_memory(disk.b.size);
	fids = shared_memory((size_t)all * sizeof(*fids));
	dirs = shared_memory((size_t)all / FIRST_SIZE * sizeof(*dirs));
	return disk.bytes && fids && dirs;
}

int main(int argc, char **argv)
{
	struct sched *s;
	struct round rounds[ROUNDS_MAX] = {0};
	bool is_steady = argc == 5 && strcmp(argv[1], "steady") == 0,
	     is_keys = argc == 5 && strcmp(argv[1], "keys") == 0;
	char **arg = argv + (is_steady || is_keys) + 1;
	int n = 0, max = argc > 1 && arg[0] ? atoi(arg[0]) : 1000000;
	memory = argc > 2 ? strtoull(arg[1], NULL, 0) << 20 : 0;
	dir_size = is_steady || is_keys ? atoi(arg[2]) : FIRST_SIZE;
	if (max < FIRST_SIZE || max > 20000000 || dir_size < FIRST_SIZE || dir_size > max ||
	    max % dir_size)
		return 2;
	if (!setup(max) || sched_new(&s, 1024, 0, NULL, NULL))
		return 1;
	sched_set_current(s);
	if (is_steady || is_keys) {
		files = max;
		(is_keys ? keys : steady)(s);
	} else {
		for (int size = FIRST_SIZE; size < max; size *= 10)
			rounds[n++].dir_size = size;
		rounds[n++].dir_size = max;
		for (int i = 0; i < n && !failed; i++)
			round_run(s, &rounds[i], i == n - 1);
	}
	if (failed)
		printf("FAILED\n");
	else if (n)
		print_rounds(rounds, n);
	sched_set_current(NULL);
	sched_free(s);
	return failed ? 1 : 0;
}
