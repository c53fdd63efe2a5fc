/*
 * What mirroring a write costs, and what the mirror management table saves.
 *
 *   bench_mirror host [-s SECONDS] [-r ROUNDS]
 *       one host: 4 KiB writes at random places, 32 in flight, with a partner and without, by
 * turns. The partner is a process of its own whose CPU time is told. Data comes from a buffer as
 * from a socket's. Then 256 KiB writes, copied while they are received and after it bench_mirror
 * link -p PEER_COMMAND -l ADDRESS -a ADDRESS [-s SECONDS] [-r ROUNDS] between hosts over TCP; the
 * peer is started by the command (in another network namespace, tests/bench/run mirror). 4 KiB
 * writes, 1 and 32 in flight, with the table and with the exchange it replaces: ask the partner for
 * a page, wait, then copy. Then 256 KiB writes, while they are received from a host of 10 Gbit/s
 * and after it bench_mirror peer -l ADDRESS -a ADDRESS
 *
 * Rates a CPU second are of this process, all threads, destage to a disk that does nothing
 * included. Turns are interleaved; the median of the rounds is printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/link/link.h"
#include "blockcore/mirror/mirror.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/copy.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define VOLUME	   (128ull << 20)
#define SEGMENT	   (1ull << 30)
#define PAGES	   ((uint32_t)(SEGMENT / 4160 - 64))
#define TASKS_MAX  32
#define LONG	   (256 * 1024)
#define ROUNDS_MAX 31
#define HOST_NS	   3277 /* a page at 10 Gbit/s */
#define ACQUIRE	   7	/* bench only: "give me a mirror page" */

static double seconds = 0.5;
static unsigned rounds = 5;
static char source[256 * 1024];

/* ---- a disk that does nothing ---- */

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
static struct bdev disk = {.ops = &ops, .size = VOLUME, .block_size = 512};

/* ---- tasks and clocks ---- */

static void die(const char *what, int rc)
{
	fprintf(stderr, "bench_mirror: %s: %s\n", what, rc ? err_name(rc) : "failed");
	exit(1);
}

static double clock_s(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct run {
	void (*fn)(void *);
	void *arg;
	sem_t done;
};

static void run_task(void *arg)
{
	struct run *r = arg;
	r->fn(r->arg);
	sem_post(&r->done);
}

static void run_on(struct reactor *re, void (*fn)(void *), void *arg)
{
	struct run r = {.fn = fn, .arg = arg};
	sem_init(&r.done, 0, 0);
	if (task_start_on(reactor_sched(re), run_task, &r))
		die("task", 0);
	while (sem_wait(&r.done))
		;
	sem_destroy(&r.done);
}

static struct reactor *new_reactor(const char *name)
{
	struct reactor *r;
	struct reactor_opts o = {.name = name, .cpu = -1, .no_uring = true, .poll_us = 50};
	if (reactor_new(&r, &o) || reactor_start_thread(r))
		die("reactor", 0);
	return r;
}

/* ---- the two controllers ---- */

struct side {
	const char *name;
	void *segment;
	struct cache *cache;
	struct cache_vol *vol;
	struct link *link;
	struct reactor *home;
	bool remote, mirrored;
};

static void open_side(struct side *s)
{
	struct cache_opts o = {.env = env_real(),
			       .segment = s->segment,
			       .segment_size = SEGMENT,
			       .page_size = 4096,
			       .controller = s->name,
			       .partner_pages = PAGES,
			       .partner_remote = s->remote};
	int rc = cache_open(&s->cache, &o, NULL);
	if (rc == 0)
		rc = cache_vol_attach(s->cache, 1, &disk, &s->vol);
	if (rc)
		die("cache", rc);
}

static void start_cache(void *arg)
{
	struct side *s = arg;
	if (cache_start(s->cache))
		die("cache_start", 0);
}

static void join_cache(void *arg)
{
	struct side *s = arg;
	struct mirror_join j = {.link = s->link,
				.segment = s->remote ? NULL : s[1].segment,
				.segment_size = s->remote ? 0 : SEGMENT};
	int rc = cache_mirror_join(s->cache, &j);
	if (rc)
		die("join", rc);
}

static void part_cache(void *arg)
{
	struct side *s = arg;
	cache_mirror_part(s->cache, NULL, NULL);
}

static void *segment_new(void)
{
	void *p = mmap(NULL, SEGMENT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("segment", -errno);
	memset(p, 0, SEGMENT); /* touched, as the supervisor does */
	return p;
}

/* ---- writes ---- */

enum how { TABLE, EXCHANGE };
enum pipelining { AFTER, WHILE };

static struct {
	struct side *s;
	enum how how;
	enum pipelining when;
	uint32_t len;
	uint64_t host_ns; /* between two pages from the host */
	double end;
	unsigned alive;
	sem_t done;
	_Atomic uint64_t n;
	float us[65536]; /* of the first writes; one thread's */
	unsigned nus;
} job;

/* The prior art: the partner allocates. */
static void acquire(struct side *s, uint32_t n)
{
	uint32_t got[CACHE_IO_PAGES];
	struct link_answer a = {.head = got, .head_max = sizeof(got)};
	int rc =
	    link_call(s->link, LINK_DATA, LINK_SVC_ADMIN, ACQUIRE, &n, sizeof(n), NULL, 0, &a, 0);
	if (rc || a.head_len != n * sizeof(uint32_t))
		die("exchange", rc);
}

static void receive(struct cache_write *w)
{
	static _Thread_local uint32_t fresh;
	uint32_t got = 0;
	double next = clock_s(CLOCK_MONOTONIC);
	for (int i = 0; i < w->n; i++) {
		next += (double)job.host_ns / 1e9;
		while (job.host_ns && clock_s(CLOCK_MONOTONIC) < next)
			;
		const char *from = source + (fresh += 4096) % sizeof(source);
		if (job.when == WHILE)
			cache_write_copy(job.s->vol, w, (unsigned)i, 0, from, w->iov[i].iov_len);
		else
			copy_past_cache(w->iov[i].iov_base, from, w->iov[i].iov_len);
		got += (uint32_t)w->iov[i].iov_len;
		if (job.when == WHILE)
			cache_write_received(job.s->vol, w, got);
	}
}

static void one_write(uint64_t off)
{
	struct cache_write w;
	int rc = cache_write_begin(job.s->vol, off, job.len, &w);
	if (rc)
		die("begin", rc);
	if (job.how == EXCHANGE)
		acquire(job.s, (uint32_t)w.n);
	receive(&w);
	rc = cache_write_commit(job.s->vol, &w, false);
	if (rc)
		die("commit", rc);
}

static void writer(void *arg)
{
	uint64_t x = (uintptr_t)arg * 977 + 1, n = 0;
	while (n % 16 || clock_s(CLOCK_MONOTONIC) < job.end) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		double from = clock_s(CLOCK_MONOTONIC);
		one_write((x >> 20) % (VOLUME / job.len) * job.len);
		if (job.nus < sizeof(job.us) / sizeof(job.us[0]))
			job.us[job.nus++] = (float)((clock_s(CLOCK_MONOTONIC) - from) * 1e6);
		if (++n % 32 == 0)
			task_yield();
	}
	atomic_fetch_add(&job.n, n);
	if (--job.alive == 0)
		sem_post(&job.done);
}

static void start_writers(void *arg)
{
	unsigned n = *(unsigned *)arg;
	job.alive = n;
	for (uintptr_t i = 0; i < n; i++)
		if (task_start(writer, (void *)i))
			die("task", 0);
}

struct result {
	double rate, per_cpu, us;
	double fast; /* microseconds: a tenth of the writes took less */
};

static int by_us(const void *a, const void *b)
{
	const float *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* One turn. */
static struct result turn(struct side *s, struct reactor *r, unsigned depth)
{
	sem_init(&job.done, 0, 0);
	job.s = s;
	atomic_store(&job.n, 0);
	job.nus = 0;
	double from = clock_s(CLOCK_MONOTONIC), cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
	job.end = from + seconds;
	run_on(r, start_writers, &depth);
	while (sem_wait(&job.done))
		;
	double took = clock_s(CLOCK_MONOTONIC) - from;
	cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	double n = (double)atomic_load(&job.n);
	qsort(job.us, job.nus, sizeof(job.us[0]), by_us);
	return (struct result){n / took, n / cpu, took * depth / n * 1e6, job.us[job.nus / 10]};
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static struct result middle(const struct result *r, unsigned n)
{
	double v[4][ROUNDS_MAX];
	for (unsigned i = 0; i < n; i++) {
		v[0][i] = r[i].rate;
		v[1][i] = r[i].per_cpu;
		v[2][i] = r[i].us;
		v[3][i] = r[i].fast;
	}
	return (struct result){median(v[0], n), median(v[1], n), median(v[2], n), median(v[3], n)};
}

static void show(const char *name, struct result r, struct result to)
{
	printf("%-40s %9.0f %10.0f %9.1f %9.1f %8.2f %8.2f %8.2f\n", name, r.rate, r.per_cpu, r.us,
	       r.fast, r.rate / to.rate, r.per_cpu / to.per_cpu, to.fast / r.fast);
}

static void title(const char *what)
{
	printf("\n%s\n%-40s %9s %10s %9s %9s %8s %8s %8s\n", what, "", "writes/s", "per CPU-s",
	       "us mean", "us fast", "x rate", "x CPU", "x fast");
}

/* ---- one host ---- */

static struct side pair[2];

/* The partner: its controller's cache with its background tasks, and nothing to do. */
static pid_t partner_process(int ready[2])
{
	pid_t pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pair[1].home = new_reactor("partner");
	open_side(&pair[1]);
	run_on(pair[1].home, start_cache, &pair[1]);
	if (write(ready[1], "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static double process_cpu(pid_t pid)
{
	clockid_t c;
	if (clock_getcpuclockid(pid, &c))
		die("partner's clock", 0);
	return clock_s(c);
}

static void host_turns(struct reactor *r, pid_t partner)
{
	struct result bare[ROUNDS_MAX], copied[ROUNDS_MAX];
	double partner_cpu = 0, took = 0;
	job.len = 4096;
	job.how = TABLE;
	job.when = WHILE;
	for (unsigned i = 0; i <= rounds; i++) { /* the first round is thrown away */
		unsigned at = i ? i - 1 : 0;
		bare[at] = turn(&pair[0], r, TASKS_MAX);
		run_on(r, join_cache, &pair[0]);
		while (cache_mirror_state(pair[0].cache) != MIRROR_ON)
			usleep(1000);
		double from = process_cpu(partner), t = clock_s(CLOCK_MONOTONIC);
		copied[at] = turn(&pair[0], r, TASKS_MAX);
		partner_cpu += process_cpu(partner) - from;
		took += clock_s(CLOCK_MONOTONIC) - t;
		run_on(r, part_cache, &pair[0]);
	}
	title("one host, 4 KiB at random, 32 in flight");
	struct result to = middle(bare, rounds);
	show("without a partner", to, to);
	show("mirrored", middle(copied, rounds), to);
	printf("the partner used %.3f %% of a CPU meanwhile\n", partner_cpu / took * 100);
}

static void host_long(struct reactor *r)
{
	struct result after[ROUNDS_MAX], during[ROUNDS_MAX];
	run_on(r, join_cache, &pair[0]);
	job.len = LONG;
	for (unsigned i = 0; i <= rounds; i++) {
		unsigned at = i ? i - 1 : 0;
		job.when = AFTER;
		after[at] = turn(&pair[0], r, 8);
		job.when = WHILE;
		during[at] = turn(&pair[0], r, 8);
	}
	title("one host, 256 KiB, 8 in flight");
	struct result to = middle(after, rounds);
	show("copied after it was received", to, to);
	show("page by page while it is received", middle(during, rounds), to);
	job.when = AFTER;
}

static int bench_host(void)
{
	int ready[2];
	char c;
	pair[0] = (struct side){.name = "a", .segment = segment_new()};
	pair[1] = (struct side){.name = "b", .segment = segment_new()};
	if (pipe(ready))
		die("pipe", -errno);
	pid_t partner = partner_process(ready);
	if (read(ready[0], &c, 1) != 1)
		die("partner", 0);
	struct reactor *r = new_reactor("controller");
	open_side(&pair[0]);
	run_on(r, start_cache, &pair[0]);
	host_turns(r, partner);
	host_long(r);
	kill(partner, SIGKILL);
	waitpid(partner, NULL, 0);
	return 0;
}

/* ---- between hosts ---- */

static char local[64], remote[64];

static void link_is_up_now(void *arg, struct link *l, const struct link_hello *peer)
{
}

static void link_is_down(void *arg, struct link *l, bool died)
{
	if (!strcmp(((struct side *)arg)->name, "b"))
		exit(0); /* the bench has ended */
}

static void open_link(void *arg)
{
	struct side *s = arg;
	static char texts[2][LINK_PATHS][80];
	struct link_opts o = {.env = env_real(),
			      .self = s->name,
			      .peer = s->name[0] == 'a' ? "b" : "a",
			      .nroutes = LINK_PATHS,
			      .hello = {.version = LINK_VERSION,
					.array_uuid = "bench-mirror-id",
					.incarnation = env_random_u64(env_real()) | 1,
					.pages = PAGES,
					.page_size = 4096},
			      .up = link_is_up_now,
			      .down = link_is_down,
			      .arg = s};
	for (unsigned i = 0; i < LINK_PATHS; i++) {
		snprintf(texts[0][i], sizeof(texts[0][i]), "%s:%u", local, 21390 + i);
		snprintf(texts[1][i], sizeof(texts[1][i]), "%s:%u", remote, 21390 + i);
		o.routes[i] =
		    (struct link_route){(enum link_path)i, LINK_TCP, texts[0][i], texts[1][i]};
	}
	int rc = link_open(&s->link, &o);
	if (rc)
		die("link", rc);
}

static void give_page(void *arg, struct link_msg *m)
{
	static struct mirror_table table; /* the partner's own list of what it gives away */
	uint32_t len, n, got[CACHE_IO_PAGES];
	const void *head = link_msg_head(m, &len);
	if (!table.npages && mirror_table_init(&table, PAGES))
		die("table", 0);
	memcpy(&n, head, sizeof(n));
	if (link_msg_type(m) != ACQUIRE || n > CACHE_IO_PAGES || !mirror_table_pop(&table, got, n))
		die("exchange", 0);
	mirror_table_push(&table, got, n);
	link_reply(m, 0, got, n * sizeof(uint32_t), NULL, 0, NULL, NULL);
}

static void side_up(struct side *s)
{
	s->home = new_reactor(s->name);
	s->remote = true;
	s->segment = segment_new();
	open_side(s);
	run_on(s->home, open_link, s);
	cache_mirror_serve(s->cache, s->link);
	link_serve(s->link, LINK_SVC_ADMIN, give_page, s);
}

static void peer(void)
{
	pair[1].name = "b";
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	side_up(&pair[1]);
	for (;;)
		pause();
}

static void link_turns(unsigned depth)
{
	struct result table[ROUNDS_MAX], exchange[ROUNDS_MAX];
	struct mirror_stats was, is;
	double per_write = 0;
	job.len = 4096;
	for (unsigned i = 0; i <= rounds; i++) {
		unsigned at = i ? i - 1 : 0;
		job.how = EXCHANGE;
		exchange[at] = turn(&pair[0], pair[0].home, depth);
		job.how = TABLE;
		cache_mirror_stats(pair[0].cache, &was);
		table[at] = turn(&pair[0], pair[0].home, depth);
		cache_mirror_stats(pair[0].cache, &is);
		per_write = (double)(is.messages - was.messages) / (double)(is.copies - was.copies);
	}
	char name[80];
	snprintf(name, sizeof(name), "TCP, 4 KiB at random, %u in flight", depth);
	title(name);
	struct result to = middle(exchange, rounds);
	show("page asked for, awaited, then copied", to, to);
	show("mirror management table", middle(table, rounds), to);
	printf("%.2f messages a write with the table, clears included\n", per_write);
}

static void link_long(struct reactor *r)
{
	struct result after[ROUNDS_MAX], during[ROUNDS_MAX];
	job.len = LONG;
	job.how = TABLE;
	job.host_ns = HOST_NS;
	for (unsigned i = 0; i <= rounds; i++) {
		unsigned at = i ? i - 1 : 0;
		job.when = AFTER;
		after[at] = turn(&pair[0], r, 1);
		job.when = WHILE;
		during[at] = turn(&pair[0], r, 1);
	}
	title("TCP, 256 KiB from a host of 10 Gbit/s, 1 in flight");
	struct result to = middle(after, rounds);
	show("copied after it was received", to, to);
	show("page by page while it is received", middle(during, rounds), to);
}

static int bench_link(const char *command)
{
	pid_t pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	pair[0].name = "a";
	side_up(&pair[0]);
	for (int i = 0; !link_is_up(pair[0].link); i++) {
		if (i > 10000)
			die("the peer does not come", 0);
		usleep(1000);
	}
	run_on(pair[0].home, start_cache, &pair[0]);
	run_on(pair[0].home, join_cache, &pair[0]);
	while (cache_mirror_state(pair[0].cache) != MIRROR_ON)
		usleep(1000);
	link_turns(1);
	link_turns(TASKS_MAX);
	link_long(new_reactor("host"));
	fflush(stdout);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_mirror host [-s SECONDS] [-r ROUNDS]\n"
			"       bench_mirror link -p PEER_COMMAND -l ADDRESS -a ADDRESS [-s] [-r]\n"
			"       bench_mirror peer -l ADDRESS -a ADDRESS\n");
	return 2;
}

int main(int argc, char **argv)
{
	const char *command = NULL;
	int o;
	if (argc < 2)
		return usage();
	const char *what = argv[1];
	optind = 2;
	while ((o = getopt(argc, argv, "s:r:p:l:a:")) != -1)
		switch (o) {
		case 's':
			seconds = atof(optarg);
			break;
		case 'r':
			rounds = (unsigned)atoi(optarg);
			break;
		case 'p':
			command = optarg;
			break;
		case 'l':
			snprintf(local, sizeof(local), "%s", optarg);
			break;
		case 'a':
			snprintf(remote, sizeof(remote), "%s", optarg);
			break;
		default:
			return usage();
		}
	if (rounds < 1 || rounds > ROUNDS_MAX - 1 || seconds <= 0)
		return usage();
	log_set_level(LOG_L_ERROR);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "host"))
		return bench_host();
	if (!strcmp(what, "link") && command && *local && *remote)
		return bench_link(command);
	if (!strcmp(what, "peer") && *local && *remote)
		peer();
	return usage();
}
