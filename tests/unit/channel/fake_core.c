/* A block core for channel tests (fake_core.h). */
#include "tests/unit/channel/fake_core.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/cache/cache.h"
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define CACHE_BYTES (6 * 1024 * 1024)

/* ---- the world ---- */

void fake_world_make(struct fake_world *w)
{
	strcpy(w->dir, "/dev/shm/isthmus-test-channel-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	snprintf(w->socket, sizeof(w->socket), "%s/channel.sock", w->dir);
	snprintf(w->cache_path, sizeof(w->cache_path), "%s/cache.seg", w->dir);
	int fd = open(w->cache_path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, CACHE_BYTES), 0);
	close(fd);
	size_t size = FAKE_VOLUMES * (size_t)FAKE_VOL_SIZE;
	w->disks =
	    mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(w->disks, MAP_FAILED);
	w->stuck = (_Atomic int *)(w->disks + size);
}

void fake_world_remove(struct fake_world *w)
{
	char cmd[128];
	munmap(w->disks, FAKE_VOLUMES * (size_t)FAKE_VOL_SIZE + 4096);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	ck_assert_int_eq(system(cmd), 0);
}

uint8_t *fake_disk(struct fake_world *w, uint32_t volume)
{
	return w->disks + (size_t)(volume - 1) * FAKE_VOL_SIZE;
}

/* ---- backing devices: memory, and now and then a wait ---- */

struct mem_dev {
	struct bdev b;
	uint8_t *bytes;
	_Atomic int *stuck;
	_Atomic unsigned calls;
	pthread_mutex_t lock; /* a disk may be asked for what is being written: each its turn */
};

static void mem_wait(struct mem_dev *d)
{
	unsigned n = atomic_fetch_add(&d->calls, 1);
	if (n % 16 == 0)
		env_sleep_ns(env_real(), NS_PER_MS);
	else
		task_yield();
	while (atomic_load(d->stuck))
		env_sleep_ns(env_real(), NS_PER_MS);
}

static int mem_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct mem_dev *d = (struct mem_dev *)b;
	mem_wait(d);
	pthread_mutex_lock(&d->lock);
	for (int i = 0; i < iovcnt; off += iov[i++].iov_len)
		memcpy(iov[i].iov_base, d->bytes + off, iov[i].iov_len);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int mem_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		      unsigned flags)
{
	struct mem_dev *d = (struct mem_dev *)b;
	mem_wait(d);
	pthread_mutex_lock(&d->lock);
	for (int i = 0; i < iovcnt; off += iov[i++].iov_len)
		memcpy(d->bytes + off, iov[i].iov_base, iov[i].iov_len);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int mem_flush(struct bdev *b)
{
	mem_wait((struct mem_dev *)b);
	return 0;
}

static void mem_close(struct bdev *b)
{
}

static const struct bdev_ops mem_ops = {
    .readv = mem_readv, .writev = mem_writev, .flush = mem_flush, .close = mem_close};

/* ---- core, volumes, metadata ---- */

struct volume {
	struct mem_dev dev;
	struct cache_vol *cv;
	uint32_t id;
	char name[16];
	uint8_t uuid[16];
	_Atomic int refs;
};

struct meta_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
};

struct meta {
	Isthmus__ArrayMeta *am;
	struct meta_watch watch;
};

struct core {
	struct cache *cache;
	struct meta meta;
	struct volume volumes[FAKE_VOLUMES];
	void *segment;
	_Atomic uint64_t backups;
};

struct fake_server {
	struct fake_world *w;
	struct reactor *home, *other;
	struct core core;
	struct channel_server *cs;
	_Atomic bool ready;
	int ready_fd;
};

static struct core *the_core;

struct cache *core_cache(struct core *c)
{
	return c->cache;
}

struct meta *core_meta(struct core *c)
{
	return &c->meta;
}

struct env *core_env(struct core *c)
{
	return env_real();
}

struct volume *core_volume_get(struct core *c, uint32_t id)
{
	if (id == 0 || id > FAKE_VOLUMES)
		return NULL;
	c->volumes[id - 1].refs++;
	return &c->volumes[id - 1];
}

void core_volume_put(struct volume *v)
{
	ck_assert_int_gt(v->refs--, 0);
}

int core_backup_run(struct core *c, uint32_t from, uint32_t to,
		    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		    struct backup_result *ret)
{
	env_sleep_ns(env_real(), 5 * NS_PER_MS);
	*ret = (struct backup_result){.seq = ++c->backups,
				      .started_ns = 7,
				      .duration_ns = 8,
				      .bytes_copied = from * 100,
				      .crc = 9};
	return 0;
}

const Isthmus__ArrayMeta *meta_get(const struct meta *m)
{
	return m->am;
}

int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why)
{
	task_yield();
	int rc = change(m->am, arg, why);
	if (rc)
		return rc;
	m->am->seq++;
	if (m->watch.fn)
		m->watch.fn(m->watch.arg, m->am);
	return 0;
}

int meta_watch(struct meta *m, void (*fn)(void *arg, const Isthmus__ArrayMeta *am), void *arg,
	       struct meta_watch **ret)
{
	m->watch = (struct meta_watch){.fn = fn, .arg = arg};
	*ret = &m->watch;
	return 0;
}

void meta_unwatch(struct meta *m, struct meta_watch *w)
{
	w->fn = NULL;
}

static int no_change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	return 0;
}

uint64_t fake_meta_touch(void)
{
	char why[256];
	ck_assert_int_eq(meta_update(&the_core->meta, no_change, NULL, why), 0);
	return the_core->meta.am->seq;
}

uint32_t volume_id(const struct volume *v)
{
	return v->id;
}

const char *volume_name(const struct volume *v)
{
	return v->name;
}

const uint8_t *volume_uuid(const struct volume *v)
{
	return v->uuid;
}

uint64_t volume_size(const struct volume *v)
{
	return v->dev.b.size;
}

int volume_read_try(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	return cache_read_try(v->cv, off, len, r);
}

int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	return cache_read(v->cv, off, len, r);
}

void volume_read_done(struct volume *v, struct cache_read *r)
{
	cache_read_done(v->cv, r);
}

int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	return cache_write_try_begin(v->cv, off, len, w);
}

int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	return cache_write_begin(v->cv, off, len, w);
}

int volume_write_commit(struct volume *v, struct cache_write *w, bool fua)
{
	return cache_write_commit(v->cv, w, fua);
}

void volume_write_abort(struct volume *v, struct cache_write *w)
{
	cache_write_abort(v->cv, w);
}

int volume_flush(struct volume *v, uint64_t off, uint64_t len)
{
	return cache_flush(v->cv, off, len);
}

int volume_discard(struct volume *v, uint64_t off, uint64_t len)
{
	return cache_discard(v->cv, off, len);
}

void volume_hint(struct volume *v, uint64_t off, enum cache_hint step)
{
}

void volume_prefetch(struct volume *v, uint64_t off, uint64_t len)
{
	cache_prefetch(v->cv, off, len);
}

int volume_read_copy(struct volume *v, void *buf, uint32_t len, uint64_t off, unsigned copy)
{
	if (copy > 1)
		return -ENOENT;
	memcpy(buf, v->dev.bytes + off, len);
	return 0;
}

/* ---- metadata made up ---- */

static void put_fs(Isthmus__ArrayMeta *am, const char *name, uint32_t volume, const char *head)
{
	Isthmus__FileSystem *fs = malloc(sizeof(*fs));
	isthmus__file_system__init(fs);
	fs->name = strdup(name);
	fs->volume_id = volume;
	fs->id = volume * 10;
	fs->group = strdup("g1");
	fs->head = strdup(head);
	am->filesystems[am->n_filesystems++] = fs;
}

static void put_group(Isthmus__ArrayMeta *am, const char *name, uint32_t piv, uint32_t backup)
{
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	isthmus__head_group__init(g);
	g->name = strdup(name);
	g->piv_volume = piv;
	g->backup_volume = backup;
	g->id = piv + 1000;
	am->groups[am->n_groups++] = g;
}

static void put_export(Isthmus__ArrayMeta *am)
{
	Isthmus__Export *e = malloc(sizeof(*e));
	Isthmus__ExportClient *c = malloc(sizeof(*c));
	isthmus__export__init(e);
	isthmus__export_client__init(c);
	e->path = strdup("/one");
	e->fs = strdup("fs1");
	e->subdir = strdup("/");
	e->id = 77;
	c->match = strdup("10.0.0.0/8");
	c->squash = strdup("root");
	c->read_write = true;
	c->anon_uid = 65534;
	e->clients = malloc(sizeof(*e->clients));
	e->clients[e->n_clients++] = c;
	am->exports = malloc(sizeof(*am->exports));
	am->exports[am->n_exports++] = e;
}

static Isthmus__ArrayMeta *meta_make(void)
{
	Isthmus__ArrayMeta *am = malloc(sizeof(*am));
	isthmus__array_meta__init(am);
	am->seq = 100;
	am->filesystems = malloc(2 * sizeof(*am->filesystems));
	am->groups = malloc(2 * sizeof(*am->groups));
	put_fs(am, "fs1", 1, "h1");
	put_fs(am, "fs2", 2, "h2");
	put_group(am, "g1", 3, 4);
	put_group(am, "g2", 5, 0);
	put_export(am);
	return am;
}

/* ---- the server ---- */

static void server_open(void *arg)
{
	struct fake_server *s = arg;
	struct core *c = &s->core;
	int fd = open(s->w->cache_path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	c->segment = mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(c->segment, MAP_FAILED);
	close(fd);
	struct cache_opts co = {.env = env_real(),
				.segment = c->segment,
				.segment_size = CACHE_BYTES,
				.page_size = 4096,
				.array_uuid = {1},
				.controller = "a"};
	ck_assert_int_eq(cache_open(&c->cache, &co, NULL), 0);
	for (uint32_t i = 0; i < FAKE_VOLUMES; i++) {
		struct volume *v = &c->volumes[i];
		v->id = i + 1;
		snprintf(v->name, sizeof(v->name), "vol%u", v->id);
		v->dev.b.ops = &mem_ops;
		v->dev.b.size = FAKE_VOL_SIZE;
		v->dev.b.block_size = 512;
		v->dev.b.mem_align = 1;
		v->dev.bytes = fake_disk(s->w, v->id);
		v->dev.stuck = s->w->stuck;
		ck_assert_int_eq(cache_vol_attach(c->cache, v->id, &v->dev.b, &v->cv), 0);
	}
	c->meta.am = meta_make();
	the_core = c;
	struct reactor *rs[2] = {s->other, s->home};
	fd = open(s->w->cache_path, O_RDONLY);
	struct channel_server_opts o = {.core = c,
					.socket_path = s->w->socket,
					.memory_dir = s->w->dir,
					.cache_fd = fd,
					.cache_size = CACHE_BYTES,
					.reactors = rs,
					.nreactors = 2};
	ck_assert_int_eq(channel_server_start(&s->cs, &o), 0);
	close(fd);
	ck_assert_int_eq(cache_start(c->cache), 0);
	s->ready = true;
	if (s->ready_fd >= 0)
		ck_assert_int_eq(write(s->ready_fd, "r", 1), 1);
}

static void server_close(void *arg)
{
	struct fake_server *s = arg;
	struct core *c = &s->core;
	channel_server_stop(s->cs);
	for (uint32_t i = 0; i < FAKE_VOLUMES; i++) {
		ck_assert_int_eq(c->volumes[i].refs, 0);
		ck_assert_int_eq(cache_vol_detach(c->volumes[i].cv, false), 0);
	}
	ck_assert_int_eq(cache_close(c->cache, false), 0);
	munmap(c->segment, CACHE_BYTES);
	isthmus__array_meta__free_unpacked(c->meta.am, NULL);
	reactor_stop(s->home);
	reactor_stop(s->other);
}

static struct fake_server *server_new(struct fake_world *w)
{
	struct fake_server *s = calloc(1, sizeof(*s));
	struct reactor_opts o = {.name = "home", .cpu = -1};
	s->w = w;
	s->ready_fd = -1;
	ck_assert_int_eq(reactor_new(&s->home, &o), 0);
	o.name = "data";
	ck_assert_int_eq(reactor_new(&s->other, &o), 0);
	return s;
}

struct fake_server *fake_server_start(struct fake_world *w)
{
	struct fake_server *s = server_new(w);
	ck_assert_int_eq(reactor_start_thread(s->home), 0);
	ck_assert_int_eq(reactor_start_thread(s->other), 0);
	task_start_on(reactor_sched(s->home), server_open, s);
	while (!s->ready)
		usleep(1000);
	return s;
}

void fake_server_stop(struct fake_server *s)
{
	task_start_on(reactor_sched(s->home), server_close, s);
	reactor_join(s->home);
	reactor_join(s->other);
	reactor_free(s->home);
	reactor_free(s->other);
	free(s);
}

struct server_call {
	struct fake_server *s;
	void (*fn)(struct channel_server *, void *);
	void *arg;
	_Atomic bool done;
};

static void call_main(void *arg)
{
	struct server_call *c = arg;
	c->fn(c->s->cs, c->arg);
	c->done = true;
}

/* In a task of a client's reactor, that goes on meanwhile. */
void fake_server_call(struct fake_server *s, void (*fn)(struct channel_server *, void *), void *arg)
{
	struct server_call c = {.s = s, .fn = fn, .arg = arg};
	task_start_on(reactor_sched(s->home), call_main, &c);
	while (!c.done) {
		if (task_self())
			env_sleep_ns(env_real(), NS_PER_MS);
		else
			usleep(1000);
	}
}

pid_t fake_server_fork(struct fake_world *w)
{
	int fds[2];
	char c;
	ck_assert_int_eq(pipe(fds), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* Nothing of the parent's reactor is ours. */
		sched_set_current(NULL);
		struct fake_server *s = server_new(w);
		s->ready_fd = fds[1];
		reactor_start_thread(s->home);
		reactor_start_thread(s->other);
		task_start_on(reactor_sched(s->home), server_open, s);
		for (;;)
			pause();
	}
	close(fds[1]);
	ck_assert_int_eq(read(fds[0], &c, 1), 1);
	close(fds[0]);
	return pid;
}

void fake_server_kill(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
