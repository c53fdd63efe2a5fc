/*
 * bench_nfs [-r ROUNDS] [-t SECONDS] [-m MIB] [-k DIRS] [-n FILES] [-d DEPTH] OP
 * NAME=nfs://URL@pid,pid ...
 *
 * OP: read4k (random, in a file of MIB that was written before), getattr, write4k (UNSTABLE,
 * random), create (FILES new files in each of DIRS new directories a turn, GUARDED, each answered
 * durable).
 * NFSv3 calls are sent with libnfs' raw interface, DEPTH in flight on one connection.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include "tests/bench/contest.h"

#define WARM_UP_FILES 10000

enum op { OP_READ, OP_GETATTR, OP_WRITE, OP_CREATE };

static const char *const op_names[] = {"read4k", "getattr", "write4k", "create"};

struct client {
	struct nfs_context *nfs;
	struct rpc_context *rpc;
	nfs_fh3 root, fh; /* fh: the file, or the directory for create */
	char root_data[64], fh_data[64];
	enum op op;
	uint64_t region, seed;
	double until;
	int64_t files_left, next_file, ops;
	int in_flight, turns;
	bool failed;
	char buf[4096];
};

struct bench {
	enum op op;
	double seconds;
	uint64_t region;
	int64_t files;
	int dirs, depth;
};

static void issue(struct client *c);

static void done(struct client *c, int status, int nfs_status)
{
	c->in_flight--;
	c->ops++;
	if ((status != RPC_STATUS_SUCCESS || nfs_status != 0) && !c->failed) {
		fprintf(stderr, "bench_nfs: call failed, rpc %d nfs %d\n", status, nfs_status);
		c->failed = true;
	}
	issue(c);
}

static void read_done(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	READ3res *r = data;
	done(private_data, status, status == RPC_STATUS_SUCCESS ? (int)r->status : -1);
}

static void getattr_done(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	GETATTR3res *r = data;
	done(private_data, status, status == RPC_STATUS_SUCCESS ? (int)r->status : -1);
}

static void write_done(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	WRITE3res *r = data;
	done(private_data, status, status == RPC_STATUS_SUCCESS ? (int)r->status : -1);
}

static void create_done(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	CREATE3res *r = data;
	done(private_data, status, status == RPC_STATUS_SUCCESS ? (int)r->status : -1);
}

static uint64_t random_offset(struct client *c)
{
	c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (c->seed >> 33) % (c->region / 4096) * 4096;
}

static int issue_create(struct client *c)
{
	char name[32];
	snprintf(name, sizeof(name), "f%" PRId64, c->next_file++);
	CREATE3args a;
	memset(&a, 0, sizeof(a));
	a.where.dir = c->fh;
	a.where.name = name;
	a.how.mode = GUARDED;
	a.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
	a.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0644;
	c->files_left--;
	return rpc_nfs3_create_async(c->rpc, create_done, &a, c);
}

static int issue_io(struct client *c)
{
	READ3args r = {.file = c->fh, .offset = random_offset(c), .count = 4096};
	WRITE3args w = {.file = c->fh, .offset = r.offset, .count = 4096, .stable = UNSTABLE};
	GETATTR3args g = {.object = c->fh};
	w.data.data_len = 4096;
	w.data.data_val = c->buf;
	if (c->op == OP_READ)
		return rpc_nfs3_read_async(c->rpc, read_done, &r, c);
	if (c->op == OP_WRITE)
		return rpc_nfs3_write_async(c->rpc, write_done, &w, c);
	return rpc_nfs3_getattr_async(c->rpc, getattr_done, &g, c);
}

static void issue(struct client *c)
{
	if (c->failed || (c->op == OP_CREATE ? c->files_left <= 0 : contest_now() >= c->until))
		return;
	int rc = c->op == OP_CREATE ? issue_create(c) : issue_io(c);
	if (rc)
		c->failed = true;
	else
		c->in_flight++;
}

static int64_t pump(struct client *c, int depth)
{
	c->ops = 0;
	for (int i = 0; i < depth; i++)
		issue(c);
	while (c->in_flight > 0) {
		struct pollfd p = {.fd = rpc_get_fd(c->rpc),
				   .events = (short)rpc_which_events(c->rpc)};
		if (poll(&p, 1, 20000) <= 0 || rpc_service(c->rpc, p.revents) < 0) {
			fprintf(stderr, "bench_nfs: %s\n", rpc_get_error(c->rpc));
			return -1;
		}
	}
	return c->failed ? -1 : c->ops;
}

/* Runs one call until its callback has counted in_flight down. */
static int complete(struct rpc_context *rpc, struct client *c, int queued)
{
	if (queued)
		return -1;
	for (c->in_flight = 1; c->in_flight > 0;) {
		struct pollfd p = {.fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc)};
		if (poll(&p, 1, 20000) <= 0 || rpc_service(rpc, p.revents) < 0) {
			fprintf(stderr, "bench_nfs: %s\n", rpc_get_error(rpc));
			return -1;
		}
	}
	return c->failed ? -1 : 0;
}

static void keep_handle(nfs_fh3 *fh, char *data, u_int len, const char *val)
{
	memcpy(data, val, len > 64 ? 64 : len);
	fh->data.data_len = len;
	fh->data.data_val = data;
}

static void connected(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct client *c = private_data;
	c->in_flight--;
	c->failed = status != RPC_STATUS_SUCCESS;
}

static void mounted(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct client *c = private_data;
	mountres3 *r = data;
	c->in_flight--;
	c->failed = status != RPC_STATUS_SUCCESS || r->fhs_status != MNT3_OK;
	if (!c->failed)
		keep_handle(&c->root, c->root_data, r->mountres3_u.mountinfo.fhandle.fhandle3_len,
			    r->mountres3_u.mountinfo.fhandle.fhandle3_val);
}

/* The root handle, asked of the MOUNT program: libnfs does not show its own. */
static int mount_root(struct client *c, const struct nfs_url *url, int mount_port)
{
	struct rpc_context *rpc = rpc_init_context();
	int rc = -1;
	if (rpc)
		rc = complete(rpc, c,
			      rpc_connect_port_async(rpc, url->server, mount_port, MOUNT_PROGRAM,
						     MOUNT_V3, connected, c));
	if (rc == 0)
		rc = complete(rpc, c, rpc_mount3_mnt_async(rpc, mounted, url->path, c));
	if (rpc)
		rpc_destroy_context(rpc);
	return rc;
}

static void looked_up(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct client *c = private_data;
	LOOKUP3res *r = data;
	c->in_flight--;
	c->failed = status != RPC_STATUS_SUCCESS || r->status != NFS3_OK;
	if (!c->failed)
		keep_handle(&c->fh, c->fh_data, r->LOOKUP3res_u.resok.object.data.data_len,
			    r->LOOKUP3res_u.resok.object.data.data_val);
}

static int look_up(struct client *c, char *name)
{
	LOOKUP3args a = {.what = {.dir = c->root, .name = name}};
	return complete(c->rpc, c, rpc_nfs3_lookup_async(c->rpc, looked_up, &a, c));
}

static int open_file(struct client *c)
{
	char *buf = malloc(1 << 20), name[] = "bench.data";
	struct nfsfh *file;
	if (!buf || nfs_creat(c->nfs, "/bench.data", 0644, &file) != 0)
		return -1;
	memset(buf, 0x5a, 1 << 20);
	for (uint64_t off = 0; off < c->region; off += 1 << 20)
		if (nfs_pwrite(c->nfs, file, off, 1 << 20, buf) != 1 << 20)
			return -1;
	free(buf);
	if (nfs_fsync(c->nfs, file) != 0 || nfs_close(c->nfs, file) != 0)
		return -1;
	return look_up(c, name);
}

/* A new directory a turn, so that every turn does the same work. */
static int open_dir(struct client *c)
{
	char path[64];
	snprintf(path, sizeof(path), "/bench.%d.%d", (int)getpid(), c->turns++);
	if (nfs_mkdir(c->nfs, path) != 0) {
		fprintf(stderr, "bench_nfs: mkdir: %s\n", nfs_get_error(c->nfs));
		return -1;
	}
	return look_up(c, path + 1);
}

/* mountport=N in the URL, else the NFS port. */
static int url_port(const char *text, const char *key)
{
	const char *p = strstr(text, key);
	return p ? atoi(p + strlen(key)) : 0;
}

static struct client *prepare(const char *text, const struct bench *b)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c || !(c->nfs = nfs_init_context()))
		return NULL;
	struct nfs_url *url = nfs_parse_url_dir(c->nfs, text);
	if (!url || nfs_mount(c->nfs, url->server, url->path) != 0) {
		fprintf(stderr, "bench_nfs: %s: %s\n", text, nfs_get_error(c->nfs));
		return NULL;
	}
	c->rpc = nfs_get_rpc_context(c->nfs);
	if (mount_root(c, url, url_port(text, "mountport="))) {
		fprintf(stderr, "bench_nfs: %s: cannot get the root handle\n", text);
		return NULL;
	}
	nfs_destroy_url(url);
	c->op = b->op;
	c->region = b->region;
	c->seed = 1;
	if (b->op != OP_CREATE && open_file(c)) {
		fprintf(stderr, "bench_nfs: %s: %s\n", text, nfs_get_error(c->nfs));
		return NULL;
	}
	return c;
}

static int64_t create_turn(struct client *c, const struct bench *b)
{
	bool warm_up = c->turns == 0;
	int64_t sum = 0;
	for (int i = 0; i < (warm_up ? 1 : b->dirs); i++) {
		if (open_dir(c))
			return -1;
		c->files_left = warm_up && b->files > WARM_UP_FILES ? WARM_UP_FILES : b->files;
		c->next_file = 0;
		int64_t n = pump(c, b->depth);
		if (n < 0)
			return -1;
		sum += n;
	}
	return sum;
}

static int64_t turn(struct contest_server *s, void *arg)
{
	struct bench *b = arg;
	struct client *c = s->state;
	if (b->op == OP_CREATE)
		return create_turn(c, b);
	c->until = contest_now() + b->seconds;
	return pump(c, b->depth);
}

int main(int argc, char **argv)
{
	struct contest_server servers[CONTEST_SERVERS];
	struct bench b = {
	    .seconds = 2, .region = 64ull << 20, .files = 20000, .dirs = 1, .depth = 32};
	int opt, rounds = 5, n = 0, op = -1;
	while ((opt = getopt(argc, argv, "r:t:m:k:n:d:")) != -1) {
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (opt == 't')
			b.seconds = atof(optarg);
		else if (opt == 'm')
			b.region = strtoull(optarg, NULL, 0) << 20;
		else if (opt == 'k')
			b.dirs = atoi(optarg);
		else if (opt == 'n')
			b.files = atoll(optarg);
		else if (opt == 'd')
			b.depth = atoi(optarg);
		else
			return 2;
	}
	for (int i = 0; i < 4 && optind < argc; i++)
		if (strcmp(argv[optind], op_names[i]) == 0)
			op = i;
	if (op < 0 || argc - optind < 2) {
		fprintf(stderr,
			"usage: bench_nfs [-r ROUNDS] [-t SECONDS] [-m MIB] [-k DIRS] [-n FILES] "
			"[-d DEPTH] read4k|getattr|write4k|create NAME=URL@pid,pid...\n");
		return 2;
	}
	b.op = (enum op)op;
	for (int i = optind + 1; i < argc && n < CONTEST_SERVERS; i++, n++) {
		if (contest_server_parse(&servers[n], argv[i]) ||
		    !(servers[n].state = prepare(servers[n].url, &b)))
			return 1;
	}
	char what[128];
	if (b.op == OP_CREATE)
		snprintf(what, sizeof(what),
			 "NFSv3 create, a turn: %d directories of %" PRId64 " files, depth %d",
			 b.dirs, b.files, b.depth);
	else
		snprintf(what, sizeof(what), "NFSv3 %s, depth %d", op_names[op], b.depth);
	uint32_t bytes = b.op == OP_READ || b.op == OP_WRITE ? 4096 : 0;
	return contest_run(what, servers, n, bytes, rounds, turn, &b) ? 1 : 0;
}
