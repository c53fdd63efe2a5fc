/* Interleaved rounds, medians, ratios (tests/bench/contest.h). */
#include "tests/bench/contest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double contest_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int contest_server_parse(struct contest_server *s, char *spec)
{
	memset(s, 0, sizeof(*s));
	char *eq = strchr(spec, '='), *at = strrchr(spec, '@');
	if (!eq || !at || at < eq) {
		fprintf(stderr, "not NAME=URL@pid,pid[,DEVICE]: %s\n", spec);
		return -1;
	}
	*eq = *at = '\0';
	s->name = spec;
	s->url = eq + 1;
	for (char *p = strtok(at + 1, ","); p && s->npids < CONTEST_PIDS; p = strtok(NULL, ",")) {
		if (*p >= '0' && *p <= '9')
			s->pids[s->npids++] = atoi(p);
		else
			s->disk = p;
	}
	return 0;
}

static double clock_seconds(clockid_t clock)
{
	struct timespec t;
	return clock_gettime(clock, &t) ? -1 : (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double contest_process_cpu(int pid)
{
	clockid_t clock;
	return clock_getcpuclockid(pid, &clock) ? -1 : clock_seconds(clock);
}

long contest_memory_kib(int pid, const char *what)
{
	char path[64], line[256];
	size_t len = strlen(what);
	long kib = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, what, len) == 0 && line[len] == ':') {
			kib = atol(line + len + 1);
			break;
		}
	if (f)
		fclose(f);
	return kib;
}

double contest_server_cpu(const struct contest_server *s)
{
	double sum = 0;
	for (int i = 0; i < s->npids; i++) {
		double t = contest_process_cpu(s->pids[i]);
		if (t < 0) {
			fprintf(stderr, "contest: process %d is not there\n", s->pids[i]);
			return -1;
		}
		sum += t;
	}
	return sum;
}

static long server_memory_mib(const struct contest_server *s)
{
	long sum = 0;
	for (int i = 0; i < s->npids; i++)
		sum += contest_memory_kib(s->pids[i], "Pss");
	return sum / 1024;
}

static int double_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(const double *v, int n)
{
	double s[CONTEST_ROUNDS];
	memcpy(s, v, (size_t)n * sizeof(*v));
	qsort(s, (size_t)n, sizeof(*s), double_cmp);
	return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

/* CPU seconds that operations took, less than can be measured left out. */
static double rate(int64_t ops, double seconds)
{
	return (double)ops / (seconds > 0.001 ? seconds : 0.001);
}

static int take_turn(const struct contest *c, struct contest_server *s, int round)
{
	struct contest_workers workers[2] = {{.n = 0}};
	if (c->before && c->before(s, c->arg) < 0)
		return -1;
	if (s->disk)
		contest_workers_read(&workers[0], s->disk);
	double cpu0 = contest_server_cpu(s), client0 = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
	double t0 = contest_now();
	int64_t ops = c->turn(s, c->arg);
	double t = contest_now() - t0, cpu1 = contest_server_cpu(s), cpu = cpu1 - cpu0;
	double client = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - client0;
	if (ops < 0 || cpu0 < 0 || cpu1 < 0)
		return -1;
	if (s->disk)
		contest_workers_read(&workers[1], s->disk);
	if (t <= 0)
		t = 1e-9;
	if (round >= 0) {
		s->ops_s[round] = (double)ops / t;
		s->ops_cpu[round] = rate(ops, cpu);
		s->ops_all[round] = rate(ops, cpu + contest_workers_cpu(&workers[0], &workers[1]));
		s->busy[round] = cpu / t;
		s->client[round] = client / t;
	}
	return 0;
}

static void print_table(const struct contest *c, const struct contest_server *servers, int n,
			int rounds)
{
	double first_s = median(servers[0].ops_s, rounds);
	double first_cpu = median(servers[0].ops_cpu, rounds);
	double first_all = median(servers[0].ops_all, rounds);
	printf("%s (%d rounds, medians; ratio: %s over the other)\n", c->what, rounds,
	       servers[0].name);
	printf("  %-14s %9s %6s %8s %11s %6s %11s %6s %6s %7s %8s\n", "server", "ops/s", "ratio",
	       "MiB/s", "ops/CPU-s", "ratio", "with-disk", "ratio", "CPU %", "client%", "mem MiB");
	for (int i = 0; i < n; i++) {
		const struct contest_server *x = &servers[i];
		double s = median(x->ops_s, rounds), cpu = median(x->ops_cpu, rounds);
		double all = median(x->ops_all, rounds);
		printf("  %-14s %9.0f %6.2f %8.0f %11.0f %6.2f %11.0f %6.2f %6.0f %7.0f %8ld\n",
		       x->name, s, first_s / s, s * c->size / 1048576, cpu, first_cpu / cpu, all,
		       first_all / all, 100 * median(x->busy, rounds),
		       100 * median(x->client, rounds), server_memory_mib(x));
	}
	fflush(stdout);
}

int contest_run(const struct contest *c, struct contest_server *servers, int n)
{
	int rounds = c->rounds < CONTEST_ROUNDS ? c->rounds : CONTEST_ROUNDS;
	for (int r = -1; r < rounds; r++)
		for (int i = 0; i < n; i++)
			if (take_turn(c, &servers[i], r))
				return -1;
	print_table(c, servers, n, rounds);
	return 0;
}
