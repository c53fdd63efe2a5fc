/*
 * CPU cost of the ledger: volumes in memory that never wait, one thread.
 *
 *   bench_ledger [records a turn [bytes of a value]]     default 400,000 and 120
 *
 * A table of 20,000 records lives in a region of 64 MiB. Callers put one of them and sync, 1 and 32
 * in flight, on one volume and on both (continuous): nanoseconds of CPU and bytes written for each
 * record, and records of a frame. Then opening it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/task.h"

#define RECORDS	    20000
#define VOLUME_SIZE (1200ull << 20)
#define STRIDE	    7919u /* records in no order */

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

static void mem_close(struct bdev *b)
{
}

static const struct bdev_ops mem_ops = {
    .readv = mem_readv, .writev = mem_writev, .flush = mem_flush, .close = mem_close};

/* ---- an environment whose timers fire at once ---- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(struct env *e)
{
	static uint64_t ahead;
	return clock_ns(CLOCK_MONOTONIC) + (ahead += NS_PER_MS);
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
	t->fn(t->arg);
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

static struct mem_disk disks[2];
static struct ledger *ledger;
static unsigned left, turn;
static size_t value_len = 120;
static bool failed, continuous;

static void put(unsigned i, unsigned stamp)
{
	static char value[LEDGER_VALUE_MAX];
	char key[24] = "a record of clients ";
	uint32_t n = i * STRIDE % RECORDS;
	memcpy(key + 20, &n, sizeof(n));
	memcpy(value, &stamp, sizeof(stamp));
	failed |= ledger_put(ledger, key, sizeof(key), value, value_len) != 0;
}

static void caller(void *arg)
{
	while (left) {
		put(left--, ++turn);
		failed |= ledger_sync(ledger) != 0;
	}
}

static void open_task(void *arg)
{
	struct ledger_opts o = {.env = &env,
				.main = &disks[0].b,
				.backup = &disks[1].b,
				.service = "bench",
				.continuous = continuous};
	failed |= ledger_open(&ledger, &o) != 0;
}

static void begin_task(void *arg)
{
	struct piv_header h;
	for (int i = 0; i < 2; i++)
		failed |= piv_format(&disks[i].b, 0, &h) != 0;
	open_task(NULL);
	for (unsigned i = 0; i < RECORDS && !failed; i++)
		put(i, 0);
	failed |= ledger_sync(ledger) != 0;
}

static void close_task(void *arg)
{
	failed |= ledger_close(ledger) != 0;
}

static uint64_t run(struct sched *s, task_fn *fn, unsigned tasks)
{
	uint64_t t = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	while (tasks--)
		task_start(fn, NULL);
	while (sched_ready(s))
		sched_run(s);
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID) - t;
}

static void one_turn(struct sched *s, unsigned tasks, unsigned n)
{
	struct ledger_stats a, b;
	ledger_get_stats(ledger, &a);
	left = n;
	double ns = (double)run(s, caller, tasks);
	ledger_get_stats(ledger, &b);
	unsigned copies = continuous ? 2 : 1;
	printf("%-11s %2u in flight  %6.0f ns  %7.0f bytes  %5.1f records a frame\n",
	       continuous ? "continuous" : "one volume", tasks, ns / n,
	       (double)(b.bytes_written - a.bytes_written) / n,
	       (double)n * copies / (double)(b.frames - a.frames));
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 400000;
	struct sched *s;
	value_len = argc > 2 ? (size_t)atoi(argv[2]) : value_len;
	log_set_level(LOG_L_ERROR);
	for (int i = 0; i < 2; i++) {
		disks[i].bytes = calloc(1, VOLUME_SIZE);
		disks[i].b = (struct bdev){
		    .ops = &mem_ops, .size = VOLUME_SIZE, .block_size = 4096, .mem_align = 1};
		if (!disks[i].bytes)
			return 1;
	}
	if (sched_new(&s, 256, TASK_STACK_DEFAULT, NULL, NULL))
		return 1;
	sched_set_current(s);
	run(s, begin_task, 1);
	for (int k = 0; k < 2 && !failed; k++) {
		continuous = k;
		ledger_set_continuous(ledger, continuous);
		one_turn(s, 1, n);
		one_turn(s, 32, n);
	}
	run(s, close_task, 1);
	printf("open: %.1f ms of CPU\n", (double)run(s, open_task, 1) / 1e6);
	if (!failed)
		ledger_abandon(ledger);
	sched_free(s);
	return failed;
}
