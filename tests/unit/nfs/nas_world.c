#include "tests/unit/nfs/nas_world.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs/nas_clock.h"

/* ---- memory as a block device ---- */

struct mem_bdev {
	struct bdev b;
	uint8_t *mem;
	const _Atomic bool *hold;
	unsigned tries; /* to lend without waiting: every NAS_MISSES-th has to */
};

static int mem_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(iov[i].iov_base, m->mem + off, iov[i].iov_len);
	return 0;
}

static int mem_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	for (int i = 0; i < n; off += iov[i++].iov_len)
		memcpy(m->mem + off, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static int mem_flush(struct bdev *b)
{
	return 0;
}

/* A copy, since what is lent does not change. */
static int lend(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	ret->impl = malloc(len ? len : 1);
	if (!ret->impl)
		return -ENOMEM;
	memcpy(ret->impl, m->mem + off, len);
	ret->iov[0] = (struct iovec){ret->impl, len};
	ret->iovcnt = 1;
	return 0;
}

static int mem_lend(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	while (m->hold && *m->hold)
		env_sleep_ns(env_real(), NS_PER_MS);
	return lend(b, off, len, ret);
}

static int mem_lend_try(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	return ++m->tries % NAS_MISSES ? lend(b, off, len, ret) : -EAGAIN;
}

static void mem_ref_put(struct bdev *b, struct bdev_ref *ref)
{
	free(ref->impl);
}

static void mem_close(struct bdev *b)
{
	struct mem_bdev *m = (struct mem_bdev *)b;
	munmap(m->mem, b->size);
	free(m);
}

struct bdev *mem_bdev_new(uint64_t size, const _Atomic bool *hold)
{
	static const struct bdev_ops ops = {.readv = mem_readv,
					    .writev = mem_writev,
					    .flush = mem_flush,
					    .read_ref = mem_lend,
					    .read_ref_try = mem_lend_try,
					    .ref_put = mem_ref_put,
					    .close = mem_close};
	struct mem_bdev *m = calloc(1, sizeof(*m));
	m->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->mem == MAP_FAILED)
		abort();
	m->hold = hold;
	m->b = (struct bdev){.ops = &ops, .size = size, .block_size = 512, .mem_align = 1};
	strcpy(m->b.name, "memory");
	return &m->b;
}

/* ---- the world ---- */

static void step_task(void *arg)
{
	struct nas *n = arg;
	n->step(n);
	n->busy = false;
}

void nas_run(struct nas *n, void (*fn)(struct nas *n))
{
	n->step = fn;
	n->busy = true;
	ASSERT(task_start_on(reactor_sched(n->reactor), step_task, n) == 0);
	while (n->busy)
		usleep(500);
}

static void skip_step(struct nas *n)
{
	nas_clock_skip(n->clock, n->skip_ns);
}

void nas_skip(struct nas *n, uint64_t ns)
{
	n->skip_ns = ns;
	nas_run(n, skip_step);
}

static Isthmus__NasExportClient client(const char *match, bool rw, const char *squash,
				       uint32_t anon)
{
	Isthmus__NasExportClient c = ISTHMUS__NAS_EXPORT_CLIENT__INIT;
	c.match = (char *)match;
	c.read_write = rw;
	c.squash = (char *)squash;
	c.anon_uid = c.anon_gid = anon;
	return c;
}

void nas_exports(struct nas *n)
{
	static const struct {
		const char *path, *subdir, *match, *squash;
		bool rw;
		uint32_t anon;
	} rows[] = {
	    {"/demo", "/", "*", "none", true, 0},
	    {"/ro", "/", "127.0.0.0/8", "none", false, 0},
	    {"/squash", "/", "*", "root", true, 65534},
	    {"/all", "/", "127.0.0.1", "all", true, 1234},
	    {"/secret", "/", "192.0.2.0/24", "none", true, 0},
	    {"/sub", "/dir/below", "*", "none", true, 0},
	};
	enum { N = sizeof(rows) / sizeof(rows[0]) };
	Isthmus__NasExport e[N], *list[N];
	Isthmus__NasExportClient c[N], *clients[N];
	for (unsigned i = 0; i < N; i++) {
		c[i] = client(rows[i].match, rows[i].rw, rows[i].squash, rows[i].anon);
		clients[i] = &c[i];
		isthmus__nas_export__init(&e[i]);
		e[i].id = NAS_EXPORT_ID + i;
		e[i].path = (char *)rows[i].path;
		e[i].fs = (char *)"fs0";
		e[i].subdir = (char *)rows[i].subdir;
		e[i].n_clients = 1;
		e[i].clients = &clients[i];
		list[i] = &e[i];
	}
	ASSERT(nfs_exports_set(n->nfs, list, N) == 0);
}

/* On the same port as before, when there was one. */
static void listen_up(struct nas *n)
{
	struct rpc_server_opts so = {.reactor = n->reactor,
				     .env = nas_clock_env(n->clock),
				     .gss = n->gss,
				     .tls_timeout_ns = n->o.tls_timeout_ns,
				     .record_timeout_ns = n->o.record_timeout_ns,
				     .max_conns = n->o.max_conns,
				     .max_requests = n->o.max_requests,
				     .drc_entries = n->o.drc_entries,
				     .area_size = MAX(nfs_area_size(), nfs4_area_size())};
	ASSERT(rpc_server_new(&n->server, &so) == 0);
	ASSERT(nfs_serve(n->nfs, n->server) == 0);
	ASSERT(rpc_server_listen(n->server, "127.0.0.1", n->port, &n->port) == 0);
}

static void up_step(struct nas *n)
{
	struct fs_mkfs_opts mkfs = {.label = "test", .root_mode = 0777};
	struct fs_opts fso = {0};
	struct nfs_opts no = {.reactor = n->reactor,
			      .env = nas_clock_env(n->clock),
			      .resolve_ns = n->o.resolve_ns,
			      .netgroup_hosts = n->o.netgroup_hosts,
			      .host_addresses = n->o.host_addresses};
	if (n->groups_want) {
		struct groups_opts go = *n->groups_want;
		go.reactor = n->reactor;
		go.env = nas_clock_env(n->clock);
		ASSERT(groups_new(&n->groups, &go) == 0);
		no.groups = n->groups;
	}
	if (n->gss_want) {
		struct rpc_gss_opts go = *n->gss_want;
		go.reactor = n->reactor;
		go.env = nas_clock_env(n->clock);
		ASSERT(rpc_gss_new(&n->gss, &go) == 0);
		no.groups_gss = true;
	}
	n->bdev = mem_bdev_new(NAS_FS_SIZE, &n->hold);
	ASSERT(fs_mkfs(env_real(), n->bdev, &mkfs) == 0);
	ASSERT(fs_mount(&n->fs, env_real(), n->bdev, &fso) == 0);
	ASSERT(nfs_new(&n->nfs, &no) == 0);
	ASSERT(nfs_mount_add(n->nfs, NAS_FS_ID, "fs0", n->fs) == 0);
	nas_exports(n);
	listen_up(n);
}

void nas_up(struct nas *n)
{
	nas_up_groups(n, NULL);
}

void nas_up_groups(struct nas *n, const struct groups_opts *groups)
{
	nas_up_gss(n, NULL, groups);
}

static void nas_start(struct nas *n)
{
	struct reactor_opts o = {.name = "nas", .cpu = -1};
	n->clock = nas_clock_new();
	ASSERT(reactor_new(&n->reactor, &o) == 0);
	ASSERT(reactor_start_thread(n->reactor) == 0);
	nas_run(n, up_step);
}

void nas_up_gss(struct nas *n, const struct rpc_gss_opts *gss, const struct groups_opts *groups)
{
	memset(n, 0, sizeof(*n));
	n->groups_want = groups;
	n->gss_want = gss;
	nas_start(n);
}

void nas_up_opts(struct nas *n, const struct nas_opts *o)
{
	memset(n, 0, sizeof(*n));
	n->o = *o;
	nas_start(n);
}

static void serve4_step(struct nas *n)
{
	struct nlm_opts lo = {.reactor = n->reactor,
			      .env = nas_clock_env(n->clock),
			      .nfs = n->nfs,
			      .name = "server",
			      .grace_ns = n->grace_ns,
			      .pmap_port = 1};
	struct nfs4_opts o = {.env = nas_clock_env(n->clock),
			      .nfs = n->nfs,
			      .name = "server",
			      .reactor = n->reactor,
			      .lend = n->lend,
			      .quiet_ns = n->quiet_ns,
			      .call_ns = n->call_ns,
			      .max_delegs = n->max_delegs,
			      .lease_ns = n->lease_ns,
			      .max_clients = n->max_clients,
			      .max_states = n->max_states,
			      .keep = n->keep};
	if (n->names_want) {
		struct names_opts no = *n->names_want;
		no.reactor = n->reactor;
		no.env = nas_clock_env(n->clock);
		ASSERT(names_new(&n->names, &no) == 0);
		o.names = n->names;
	}
	ASSERT(nlm_new(&n->nlm, &lo) == 0 && nlm_serve(n->nlm, n->server) == 0);
	o.nlm = n->nlm;
	ASSERT(nfs4_new(&n->nfs4, &o) == 0 && nfs4_serve(n->nfs4, n->server) == 0);
	if (!n->late)
		nas_begin(n);
}

void nas_begin(struct nas *n)
{
	unsigned restored;
	if (n->store) {
		ASSERT(nlm_keep_in(n->nlm, &n->store->store) == 0);
		ASSERT(nfs4_keep_in(n->nfs4, &n->store->store, &restored) == 0);
		nlm_wait_again(n->nlm);
	}
	if (n->kept_name)
		ASSERT(nfs4_kept(n->nfs4, n->kept_name) == 0);
	nlm_begin(n->nlm, 1, NULL, 0, n->unsure, n->kept_name);
}

void nas_serve4(struct nas *n)
{
	nas_run(n, serve4_step);
}

void nas_listen_again(struct nas *n)
{
	rpc_server_free(n->server);
	listen_up(n);
}

static void replace_step(struct nas *n)
{
	ASSERT(rpc_server_stop(n->server, 5 * NS_PER_S) == 0);
	nfs4_free(n->nfs4);
	nlm_free(n->nlm);
	fs_abandon(nfs_mount_take(n->nfs, NAS_FS_ID));
	nas_listen_again(n);
	mem_store_crash(n->store);
	serve4_step(n);
	/* As a head does: what is open is known before. */
	ASSERT(fs_mount(&n->fs, env_real(), n->bdev, &(struct fs_opts){0}) == 0);
	ASSERT(nfs_mount_add(n->nfs, NAS_FS_ID, "fs0", n->fs) == 0);
}

void nas_replace(struct nas *n)
{
	nas_run(n, replace_step);
}

static void down_step(struct nas *n)
{
	ASSERT(rpc_server_stop(n->server, 5 * NS_PER_S) == 0);
	nfs4_free(n->nfs4);
	nlm_free(n->nlm);
	struct fs *fs = nfs_mount_take(n->nfs, NAS_FS_ID);
	if (fs)
		ASSERT(fs_unmount(fs) == 0);
	rpc_server_free(n->server);
	rpc_gss_free(n->gss);
	nfs_free(n->nfs);
	groups_free(n->groups);
	names_free(n->names);
	bdev_close(n->bdev);
}

void nas_down(struct nas *n)
{
	nas_run(n, down_step);
	reactor_stop(n->reactor);
	reactor_join(n->reactor);
	reactor_free(n->reactor);
	nas_clock_free(n->clock);
}
