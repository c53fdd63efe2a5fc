/*
 * bench_nfs [options] OP NAME=URL@pid,pid ...
 *
 *   OP: getattr | lookup (random, of FILES names) | read4k | write4k (UNSTABLE) | sync4k
 *       (FILE_SYNC; these at random in a file of MIB that was written before) | readdirplus (of a
 *       directory of FILES; entries are counted) | create, remove (FILES in each of DIRS new
 *       directories a turn) | read1m | write1m (UNSTABLE, sequential)
 *   -c N        connections (1)                  -q DEPTH   in flight on each (32; 8 of 1 MiB)
 *   -p          the client spins                 -m MIB     of the file (64)
 *   -n FILES    (10000)                          -k DIRS    (1)
 *   -r ROUNDS   interleaved turns of each (5)    -t SECONDS each (2)
 *
 * URL: nfs://HOST/PATH?nfsport=N&mountport=N, with &check=no when the server keeps no data; or
 * tcp://HOST:PORT of bench_tcp: bytes without NFS, beside read1m and write1m. Each reply's status
 * and contents are looked at, of READ's data a sample, and what was written, created or removed
 * is looked for at the end: an answer that is wrong ends the bench.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/bench/contest.h"
#include "tests/bench/nfs_client.h"
#include "tests/bench/stream.h"

#define LONG	       (1u << 20)
#define LONG_DEPTH     8
#define STATUS_NO_FILE 2 /* NFS3ERR_NOENT */
#define LOOK_FOR       200

static const struct bench_op {
	const char *name, *what;
	enum nfs_op op;
	uint32_t size;
} bench_ops[] = {
    {"getattr", "GETATTR", NFS_GETATTR, 0},
    {"lookup", "LOOKUP", NFS_LOOKUP, 0},
    {"read4k", "4 KiB READ, random", NFS_READ, 4096},
    {"write4k", "4 KiB WRITE UNSTABLE, random", NFS_WRITE, 4096},
    {"sync4k", "4 KiB WRITE FILE_SYNC, random", NFS_WRITE_SYNC, 4096},
    {"readdirplus", "READDIRPLUS, entries", NFS_READDIRPLUS, 0},
    {"create", "CREATE", NFS_CREATE, 0},
    {"remove", "REMOVE", NFS_REMOVE, 0},
    {"read1m", "1 MiB READ, sequential", NFS_READ, LONG},
    {"write1m", "1 MiB WRITE UNSTABLE, sequential", NFS_WRITE, LONG},
};

struct bench {
	const struct bench_op *op;
	struct nfs_load load;
	unsigned connections;
	uint64_t files;
	int dirs;
	double seconds;
};

/* One server under test: connections, or a stream. */
struct rival {
	const char *name;
	bool stream, keeps_data;
	struct nfs_conn *c[NFS_CONNECTIONS_MAX];
	struct nfs_fh root, fh, *dirs; /* fh: the file, or the directory that is looked at */
	uint64_t *marks;	       /* of the handles in fh */
	int turns;
};

static bool names(const struct bench *b)
{
	return b->load.op == NFS_CREATE || b->load.op == NFS_REMOVE;
}

static int64_t run(struct rival *r, const struct bench *b, const struct nfs_load *l)
{
	struct nfs_load load = *l;
	load.check = r->keeps_data;
	return nfs_load_run(r->c, b->connections, &load);
}

static int fail(const struct rival *r, const char *what, int status)
{
	if (status > 0)
		fprintf(stderr, "%s: %s: status %d\n", r->name, what, status);
	return -1;
}

/* A file of `region` bytes, written with the operation's size. */
static int make_file(struct rival *r, const struct bench *b)
{
	int rc = nfs_create(r->c[0], &r->root, "bench.data", &r->fh);
	if (rc)
		return fail(r, "CREATE", rc);
	struct nfs_load all = {.op = NFS_WRITE, .fh = r->fh, .depth = 8, .region = b->load.region};
	all.size = b->load.size ? b->load.size : LONG;
	all.ops = all.region / all.size;
	if (nfs_load_run(r->c, 1, &all) < 0)
		return -1;
	rc = nfs_commit(r->c[0], &r->fh);
	return rc ? fail(r, "COMMIT", rc) : 0;
}

/* A new directory, so that every turn does the same work. */
static int make_dir(struct rival *r, struct nfs_fh *ret)
{
	char name[64];
	snprintf(name, sizeof(name), "bench.%d.%d", (int)getpid(), r->turns++);
	int rc = nfs_mkdir(r->c[0], &r->root, name, ret);
	return rc ? fail(r, "MKDIR", rc) : 0;
}

static int fill_dir(struct rival *r, const struct bench *b, const struct nfs_fh *dir)
{
	struct nfs_load l = {
	    .op = NFS_CREATE, .fh = *dir, .depth = 32, .ops = b->files, .marks = r->marks};
	return run(r, b, &l) < 0 ? -1 : 0;
}

static int make_names(struct rival *r, const struct bench *b)
{
	r->marks = calloc(b->files, sizeof(*r->marks));
	if (!r->marks || make_dir(r, &r->fh))
		return -1;
	return fill_dir(r, b, &r->fh);
}

static struct rival *prepare(struct contest_server *s, const struct bench *b)
{
	struct rival *r = calloc(1, sizeof(*r));
	struct nfs_url u;
	if (!r || !(r->dirs = calloc((size_t)b->dirs, sizeof(*r->dirs))))
		return NULL;
	r->name = s->name;
	r->stream = strncmp(s->url, "tcp://", 6) == 0;
	if (r->stream)
		return b->load.size == LONG ? r : NULL;
	if (nfs_url_parse(s->url, &u) || nfs_mount(&u, &r->root))
		return NULL;
	r->keeps_data = u.keeps_data;
	for (unsigned i = 0; i < b->connections; i++)
		if (nfs_open(&r->c[i], &u))
			return NULL;
	if (names(b))
		return r;
	bool dir = b->load.op == NFS_LOOKUP || b->load.op == NFS_READDIRPLUS;
	return (dir ? make_names : make_file)(r, b) ? NULL : r;
}

/* Directories for the turn; to remove, with files. */
static int64_t before(struct contest_server *s, void *arg)
{
	struct bench *b = arg;
	struct rival *r = s->state;
	for (int i = 0; i < b->dirs && names(b); i++)
		if (make_dir(r, &r->dirs[i]) ||
		    (b->load.op == NFS_REMOVE && fill_dir(r, b, &r->dirs[i])))
			return -1;
	return 0;
}

static int64_t turn(struct contest_server *s, void *arg)
{
	struct bench *b = arg;
	struct rival *r = s->state;
	struct nfs_load l = b->load;
	int64_t sum = 0;
	if (r->stream)
		return stream_run(s->url, l.op == NFS_WRITE, l.spin, l.size, l.seconds);
	l.fh = r->fh;
	l.marks = r->marks;
	for (int i = 0; i < (names(b) ? b->dirs : 1); i++) {
		if (names(b))
			l.fh = r->dirs[i];
		int64_t n = run(r, b, &l);
		if (n < 0)
			return -1;
		sum += n;
	}
	return sum;
}

/* Some of the names of the last turn: there after CREATE, gone after REMOVE. */
static int look_for_names(struct rival *r, const struct bench *b)
{
	int want = b->load.op == NFS_CREATE ? 0 : STATUS_NO_FILE;
	for (uint64_t i = 0; i < b->files; i += b->files / LOOK_FOR + 1) {
		char name[NFS_NAME_LEN + 1];
		struct nfs_fh fh;
		nfs_file_name(name, i);
		int rc = nfs_lookup(r->c[0], &r->dirs[0], name, &fh);
		if (rc != want) {
			fprintf(stderr, "%s: %s after the last turn: status %d, not %d\n", r->name,
				name, rc, want);
			return -1;
		}
	}
	return 0;
}

/* Was the work that was counted done? */
static int look_back(struct rival *r, const struct bench *b)
{
	struct nfs_load l = b->load;
	if (r->stream)
		return 0;
	if (names(b))
		return look_for_names(r, b);
	if (l.op != NFS_WRITE && l.op != NFS_WRITE_SYNC)
		return 0;
	l.op = NFS_READ;
	l.fh = r->fh;
	l.check_all = true;
	l.seconds = 0;
	l.ops = LOOK_FOR;
	return run(r, b, &l) < 0 ? -1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_nfs [-c CONNECTIONS] [-q DEPTH] [-p] [-m MIB] [-n FILES]\n"
			"    [-k DIRS] [-r ROUNDS] [-t SECONDS] OP NAME=URL@pid,pid...\n    OP:");
	for (size_t i = 0; i < ARRAY_LEN(bench_ops); i++)
		fprintf(stderr, " %s", bench_ops[i].name);
	fputc('\n', stderr);
	return 2;
}

static int option(struct bench *b, int *rounds, int opt, const char *arg)
{
	switch (opt) {
	case 'c':
		b->connections = (unsigned)atoi(arg);
		return b->connections == 0 || b->connections > NFS_CONNECTIONS_MAX;
	case 'q':
		b->load.depth = (unsigned)atoi(arg);
		return b->load.depth == 0 || b->load.depth > NFS_DEPTH_MAX;
	case 'p':
		b->load.spin = true;
		return 0;
	case 'm':
		b->load.region = strtoull(arg, NULL, 0) << 20;
		return b->load.region == 0;
	case 'n':
		b->files = strtoull(arg, NULL, 0);
		return b->files == 0 || b->files > 99999999;
	case 'k':
		b->dirs = atoi(arg);
		return b->dirs < 1;
	case 'r':
		*rounds = atoi(arg);
		return *rounds < 1;
	case 't':
		b->seconds = atof(arg);
		return b->seconds <= 0;
	}
	return -1;
}

/* The operation's name, and what follows from it. */
static int choose(struct bench *b, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(bench_ops); i++)
		if (strcmp(name, bench_ops[i].name) == 0)
			b->op = &bench_ops[i];
	if (!b->op)
		return -1;
	b->load.op = b->op->op;
	b->load.size = b->op->size;
	b->load.random = b->op->size < LONG;
	b->load.files = b->files;
	if (b->load.depth == 0)
		b->load.depth = b->op->size == LONG ? LONG_DEPTH : 32;
	if (names(b))
		b->load.ops = b->files;
	else
		b->load.seconds = b->seconds;
	return 0;
}

static void describe(const struct bench *b, char *ret, size_t size)
{
	char more[64] = "";
	if (names(b))
		snprintf(more, sizeof(more), ", a turn: %d directories of %" PRIu64 " files",
			 b->dirs, b->files);
	else if (b->load.op == NFS_LOOKUP || b->load.op == NFS_READDIRPLUS)
		snprintf(more, sizeof(more), ", directory of %" PRIu64, b->files);
	snprintf(ret, size, "NFSv3 %s%s, %u x %u in flight%s", b->op->what, more, b->connections,
		 b->load.depth, b->load.spin ? ", spinning client" : "");
}

int main(int argc, char **argv)
{
	struct contest_server servers[CONTEST_SERVERS];
	struct bench b = {.connections = 1,
			  .files = 10000,
			  .dirs = 1,
			  .seconds = 2,
			  .load = {.region = 64ull << 20}};
	int opt, rounds = 5, n = 0;
	char what[200];
	while ((opt = getopt(argc, argv, "c:q:pm:n:k:r:t:")) != -1)
		if (option(&b, &rounds, opt, optarg))
			return usage();
	if (argc - optind < 2 || choose(&b, argv[optind]))
		return usage();
	for (int i = optind + 1; i < argc && n < CONTEST_SERVERS; i++, n++)
		if (contest_server_parse(&servers[n], argv[i]) ||
		    !(servers[n].state = prepare(&servers[n], &b)))
			return 1;
	describe(&b, what, sizeof(what));
	struct contest c = {.what = what,
			    .size = b.op->size,
			    .rounds = rounds,
			    .before = before,
			    .turn = turn,
			    .arg = &b};
	if (contest_run(&c, servers, n))
		return 1;
	for (int i = 0; i < n; i++)
		if (look_back(servers[i].state, &b))
			return 1;
	return 0;
}
