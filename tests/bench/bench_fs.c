/*
 * CPU cost of the file system's operations: a disk in memory that never waits, one thread.
 *
 *   bench_fs [files [MiB of metadata memory]]     default 1,000,000 and the file system's 256
 *
 * For directories of 1,000, 10,000 ... files (1,000,000 in all at least), each on a new file
 * system: nanoseconds of CPU to create, look up, list and remove a file, and what creating and
 * removing one costs the journal, the places and the reads. Creates and removes by 64 tasks that
 * share commits. On the last file system also attributes, data and the check.
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
static struct fs_fid *fids, dirs[FILES_MIN / FIRST_SIZE];

static uint32_t name_of(char *to, int i)
{
	return (uint32_t)sprintf(to, "file-%08d.dat", i);
}

static const struct fs_fid *dir_of(int i)
{
	return &dirs[i / dir_size];
}

static void create_task(void *arg)
{
	struct fs_attr a;
	char name[32];
	while (next_file < files) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_create(fs, NULL, dir_of(i), name, n, FS_CREATE_GUARDED, NULL, 0, &a,
				    NULL) != 0;
		fids[i] = (struct fs_fid){a.ino, a.generation};
	}
}

static void remove_task(void *arg)
{
	char name[32];
	while (next_file < files) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_remove(fs, NULL, dir_of(i), name, n, NULL) != 0;
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

static void list_task(void *arg)
{
	for (int d = 0; d < files / dir_size; d++) {
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
	next_file = 0;
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

static struct cost cost_of(struct sched *s, task_fn *fn)
{
	struct fs_stats a, b;
	fs_stats(fs, &a);
	double ns = run(s, fn, TASKS), n = files;
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
	madvise(disk.bytes, disk.b.size, MADV_DONTNEED);
	run(s, open_task, 1);
	if (failed)
		return;
	r->create = cost_of(s, create_task);
	r->lookup_ns = run(s, lookup_task, 1) / LOOKUPS;
	r->list_ns = run(s, list_task, 1) / files;
	if (last) {
		run_one(s, "getattr", getattr_task, LOOKUPS);
		run_one(s, "write 64 KiB", write_task, 16384);
		run_one(s, "read 64 KiB", read_task, 16384);
	}
	r->remove = cost_of(s, remove_task);
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

int main(int argc, char **argv)
{
	struct sched *s;
	struct round rounds[ROUNDS_MAX] = {0};
	int n = 0, max = argc > 1 ? atoi(argv[1]) : 1000000;
	memory = argc > 2 ? strtoull(argv[2], NULL, 0) << 20 : 0;
	if (max < FIRST_SIZE || max > 20000000)
		return 2;
	for (int size = FIRST_SIZE; size < max; size *= 10)
		rounds[n++].dir_size = size;
	rounds[n++].dir_size = max;
	disk.b = (struct bdev){.ops = &mem_ops,
			       .size = max > 2000000 ? 24ull << 30 : 8ull << 30,
			       .block_size = 4096,
			       .mem_align = 1,
			       .name = "memory"};
	disk.bytes = mmap(NULL, disk.b.size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	fids = calloc((size_t)(max < FILES_MIN ? FILES_MIN : max), sizeof(*fids));
	if (disk.bytes == MAP_FAILED || !fids || sched_new(&s, 1024, 0, NULL, NULL))
		return 1;
	sched_set_current(s);
	for (int i = 0; i < n && !failed; i++)
		round_run(s, &rounds[i], i == n - 1);
	if (failed)
		printf("FAILED\n");
	else
		print_rounds(rounds, n);
	sched_set_current(NULL);
	sched_free(s);
	munmap(disk.bytes, disk.b.size);
	free(fids);
	return failed ? 1 : 0;
}
