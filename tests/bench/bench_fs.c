/*
 * CPU cost of the file system's operations: a disk in memory that never waits, one thread.
 *
 *   bench_fs [files]     default 1,000,000, in one directory
 *
 * Prints nanoseconds of CPU an operation; creates and removes as the directory grows, with 64 tasks
 * sharing commits, then look-ups, attributes, listing, and data.
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

#define TASKS 64
#define STEPS 10

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
static int files = 1000000, next_file, last_file, failed;
static struct fs_fid *fids;

static uint32_t name_of(char *to, int i)
{
	return (uint32_t)sprintf(to, "file-%08d.dat", i);
}

static void create_task(void *arg)
{
	struct fs_attr a;
	char name[32];
	while (next_file < last_file) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_create(fs, NULL, &root, name, n, FS_CREATE_GUARDED, NULL, 0, &a, NULL);
		fids[i] = (struct fs_fid){a.ino, a.generation};
	}
}

static void remove_task(void *arg)
{
	char name[32];
	while (next_file < last_file) {
		int i = next_file++;
		uint32_t n = name_of(name, i);
		failed |= fs_remove(fs, NULL, &root, name, n, NULL);
	}
}

static void lookup_task(void *arg)
{
	struct fs_attr a;
	char name[32];
	for (unsigned i = 0; i < 1000000; i++) {
		uint32_t n = name_of(name, (int)((i * 7919u) % (unsigned)files));
		int rc = fs_lookup_try(fs, NULL, &root, name, n, &a, NULL);
		if (rc)
			rc = fs_lookup(fs, NULL, &root, name, n, &a, NULL);
		failed |= rc;
	}
}

static void getattr_task(void *arg)
{
	struct fs_attr a;
	for (unsigned i = 0; i < 1000000; i++)
		failed |= fs_getattr(fs, &fids[(i * 7919u) % (unsigned)files], &a);
}

static bool emit(void *arg, const char *name, uint32_t len, uint64_t ino, uint64_t cookie,
		 const struct fs_attr *attr)
{
	++*(int *)arg;
	return true;
}

static void list_task(void *arg)
{
	int n = 0;
	bool eof;
	failed |= fs_readdir(fs, NULL, &root, 0, true, emit, &n, &eof, NULL);
	failed |= n != files + 2;
}

static void write_task(void *arg)
{
	static char data[65536];
	struct iovec iov = {data, sizeof(data)};
	for (int i = 0; i < 16384; i++)
		failed |= fs_write(fs, NULL, &fids[0], (uint64_t)i * sizeof(data), &iov, 1,
				   FS_WRITE_UNSTABLE, NULL);
	failed |= fs_commit(fs, &fids[0], 0, 0, NULL);
}

static void read_task(void *arg)
{
	static struct fs_read r;
	for (int i = 0; i < 16384; i++) {
		failed |= fs_read(fs, NULL, &fids[0], (uint64_t)i * 65536, 65536, &r, NULL);
		fs_read_done(fs, &r);
	}
}

static void open_task(void *arg)
{
	struct fs_opts o = {.metadata_memory = 1ull << 30};
	failed |= fs_mkfs(&env, &disk.b, NULL);
	failed |= fs_mount(&fs, &env, &disk.b, &o);
}

static void close_task(void *arg)
{
	failed |= fs_unmount(fs);
}

static void check_task(void *arg)
{
	struct fs_check_report r;
	failed |= fs_check(&env, &disk.b, false, NULL, NULL, &r);
}

static void run(struct sched *s, const char *what, task_fn *fn, int tasks, int ops)
{
	uint64_t t = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < tasks; i++)
		task_start(fn, NULL);
	while (sched_ready(s))
		sched_run(s);
	double ns = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - t);
	if (what)
		printf("%-28s %9.0f ns each  (%.2f s)%s\n", what, ns / ops, ns / 1e9,
		       failed ? "  FAILED" : "");
	fflush(stdout);
}

static void run_steps(struct sched *s, const char *what, task_fn *fn)
{
	char line[64];
	next_file = 0;
	for (int i = 0; i < STEPS; i++) {
		last_file = (int)((long)files * (i + 1) / STEPS);
		int n = last_file - next_file;
		snprintf(line, sizeof(line), "%s up to %d", what, last_file);
		run(s, line, fn, TASKS, n);
	}
}

int main(int argc, char **argv)
{
	struct sched *s;
	struct fs_stats st;
	if (argc > 1)
		files = atoi(argv[1]);
	if (files < STEPS)
		return 2;
	disk.b = (struct bdev){.ops = &mem_ops,
			       .size = 8ull << 30,
			       .block_size = 4096,
			       .mem_align = 1,
			       .name = "memory"};
	disk.bytes = mmap(NULL, disk.b.size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	fids = calloc((size_t)files, sizeof(*fids));
	if (disk.bytes == MAP_FAILED || !fids || sched_new(&s, 1024, 0, NULL, NULL))
		return 1;
	sched_set_current(s);
	run(s, NULL, open_task, 1, 1);
	if (failed)
		return 1;
	run_steps(s, "create", create_task);
	fs_stats(fs, &st);
	printf("operations a commit %.1f, journal bytes an operation %.0f\n",
	       (double)st.commit_ops / (double)st.commits,
	       (double)st.journal_bytes / (double)st.commit_ops);
	run(s, "lookup", lookup_task, 1, 1000000);
	run(s, "getattr", getattr_task, 1, 1000000);
	run(s, "readdir with attributes", list_task, 1, files);
	run(s, "write 64 KiB", write_task, 1, 16384);
	run(s, "read 64 KiB", read_task, 1, 16384);
	run_steps(s, "remove", remove_task);
	run(s, "unmount", close_task, 1, 1);
	run(s, "check", check_task, 1, 1);
	sched_set_current(NULL);
	sched_free(s);
	munmap(disk.bytes, disk.b.size);
	free(fids);
	return failed ? 1 : 0;
}
