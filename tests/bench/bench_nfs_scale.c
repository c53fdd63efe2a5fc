/*
 * bench_nfs_scale [options] NAME=URL@pid,pid: one file system that is filled and emptied over
 * NFSv3. FILES are created in DIRS directories, every directory is listed once with attributes, a
 * tenth as many names as there are files are looked up in directories at random, all is removed.
 * For each tenth of the files: the rate, the CPU of the server's processes for one, and the memory
 * of each process but for what is shared.
 *
 *   -n FILES (1000000)   -k DIRS (100)   -c CONNECTIONS (1)   -q DEPTH in flight on each (32)
 *
 * The URL is bench_nfs's. Listings have one call in flight. An answer that is wrong, a listing
 * of more or fewer names, a name that is not found ends it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h>
#include <unistd.h>
#include "tests/bench/contest.h"
#include "tests/bench/nfs_client.h"

#define TENTHS	 10
#define LOOK_UPS 64 /* in a row in one directory */

struct scale {
	struct contest_server server;
	struct nfs_conn *c[NFS_CONNECTIONS_MAX];
	unsigned connections, depth;
	struct nfs_fh root, *dirs;
	uint64_t files, ndirs, a_dir; /* a_dir: files in each */
	unsigned seed;
};

/* Work on files [from, to) in the order of the directories. Operations done; -1 told. */
typedef int64_t part_fn(struct scale *s, uint64_t from, uint64_t to);

static int64_t run(struct scale *s, unsigned connections, struct nfs_load *l, uint64_t dir)
{
	l->fh = s->dirs[dir];
	l->depth = l->depth ? l->depth : s->depth;
	return nfs_load_run(s->c, connections, l);
}

static int make_dir(struct scale *s, uint64_t dir)
{
	char name[64];
	snprintf(name, sizeof(name), "scale.%d.%" PRIu64, (int)getpid(), dir);
	int rc = nfs_mkdir(s->c[0], &s->root, name, &s->dirs[dir]);
	if (rc > 0)
		fprintf(stderr, "MKDIR %s: status %d\n", name, rc);
	return rc ? -1 : 0;
}

static int64_t change(struct scale *s, enum nfs_op op, uint64_t from, uint64_t to)
{
	for (uint64_t at = from, n; at < to; at += n) {
		uint64_t dir = at / s->a_dir, first = at % s->a_dir;
		n = MIN(s->a_dir - first, to - at);
		struct nfs_load l = {.op = op, .first = first, .ops = n};
		if ((op == NFS_CREATE && first == 0 && make_dir(s, dir)) ||
		    run(s, s->connections, &l, dir) < 0)
			return -1;
	}
	return (int64_t)(to - from);
}

static int64_t create(struct scale *s, uint64_t from, uint64_t to)
{
	return change(s, NFS_CREATE, from, to);
}

static int64_t remove_all(struct scale *s, uint64_t from, uint64_t to)
{
	return change(s, NFS_REMOVE, from, to);
}

/* The directories that begin in this part. */
static int64_t list(struct scale *s, uint64_t from, uint64_t to)
{
	int64_t sum = 0;
	for (uint64_t dir = (from + s->a_dir - 1) / s->a_dir; dir * s->a_dir < to; dir++) {
		struct nfs_load l = {
		    .op = NFS_READDIRPLUS, .depth = 1, .files = s->a_dir, .list = s->a_dir};
		int64_t n = run(s, 1, &l, dir);
		if (n >= 0 && (uint64_t)n != s->a_dir)
			fprintf(stderr, "%" PRId64 " entries of %" PRIu64 "\n", n, s->a_dir);
		if (n < 0 || (uint64_t)n != s->a_dir)
			return -1;
		sum += n;
	}
	return sum;
}

static int64_t look_up(struct scale *s, uint64_t from, uint64_t to)
{
	uint64_t want = (to - from) / TENTHS, done;
	for (done = 0; done < want; done += LOOK_UPS) {
		struct nfs_load l = {.op = NFS_LOOKUP, .files = s->a_dir, .ops = LOOK_UPS};
		if (run(s, s->connections, &l, (uint64_t)rand_r(&s->seed) % s->ndirs) < 0)
			return -1;
	}
	return (int64_t)done;
}

static int phase(struct scale *s, const char *what, part_fn *part)
{
	for (uint64_t i = 0; i < TENTHS; i++) {
		uint64_t from = s->files / TENTHS * i, to = s->files / TENTHS * (i + 1);
		double t = contest_now(), cpu = contest_server_cpu(&s->server);
		int64_t n = part(s, from, to);
		t = contest_now() - t;
		cpu = contest_server_cpu(&s->server) - cpu;
		if (n < 0)
			return -1;
		if (n == 0)
			continue;
		printf("%-8s %9" PRIu64 " %9" PRIu64 " %9.0f %7.2f ", what, from, to, (double)n / t,
		       cpu / (double)n * 1e6);
		for (int p = 0; p < s->server.npids; p++)
			printf(" %6.1f",
			       (double)contest_memory_kib(s->server.pids[p], "Pss_Anon") / 1024);
		putchar('\n');
		fflush(stdout);
	}
	return 0;
}

static int prepare(struct scale *s, char *spec)
{
	struct nfs_url u;
	if (contest_server_parse(&s->server, spec) || nfs_url_parse(s->server.url, &u) ||
	    nfs_mount(&u, &s->root))
		return -1;
	for (unsigned i = 0; i < s->connections; i++)
		if (nfs_open(&s->c[i], &u))
			return -1;
	s->dirs = calloc(s->ndirs, sizeof(*s->dirs));
	s->a_dir = s->files / s->ndirs;
	return s->dirs ? 0 : -1;
}

static int option(struct scale *s, int opt, const char *arg)
{
	switch (opt) {
	case 'n':
		s->files = strtoull(arg, NULL, 0);
		return 0;
	case 'k':
		s->ndirs = strtoull(arg, NULL, 0);
		return 0;
	case 'c':
		s->connections = (unsigned)atoi(arg);
		return s->connections == 0 || s->connections > NFS_CONNECTIONS_MAX;
	case 'q':
		s->depth = (unsigned)atoi(arg);
		return s->depth == 0 || s->depth > NFS_DEPTH_MAX;
	}
	return -1;
}

/* Tenths are whole, and so are directories. */
static bool sizes_fit(const struct scale *s)
{
	return s->files >= TENTHS && s->files % TENTHS == 0 && s->ndirs > 0 &&
	       s->ndirs <= s->files && s->files % s->ndirs == 0 && s->files / s->ndirs < 100000000;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *what;
		part_fn *part;
	} phases[] = {
	    {"create", create}, {"list", list}, {"look up", look_up}, {"remove", remove_all}};
	static struct scale s = {
	    .connections = 1, .depth = 32, .files = 1000000, .ndirs = 100, .seed = 1};
	int opt, bad = 0;
	while ((opt = getopt(argc, argv, "n:k:c:q:")) != -1)
		bad |= option(&s, opt, optarg);
	if (bad || argc - optind != 1 || !sizes_fit(&s)) {
		fprintf(stderr, "usage: bench_nfs_scale [-n FILES] [-k DIRS] [-c CONNECTIONS]\n"
				"    [-q DEPTH] NAME=URL@pid,pid...\n");
		return 2;
	}
	if (prepare(&s, argv[optind]))
		return 1;
	printf("NFSv3, %" PRIu64 " files in %" PRIu64 " directories, %u x %u in flight\n", s.files,
	       s.ndirs, s.connections, s.depth);
	printf("%-8s %9s %9s %9s %7s  %s\n", "", "from", "to", "a second", "CPU us",
	       "MiB of each process");
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (phase(&s, phases[i].what, phases[i].part))
			return 1;
	return 0;
}
