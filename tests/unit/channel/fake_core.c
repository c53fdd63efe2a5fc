/* A block core for channel tests (fake_core.h). */
#include "tests/unit/channel/fake_impl.h"
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
#include "blockcore/cache/cache_layout.h"
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

/* ---- the world ---- */

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

void fake_world_make(struct fake_world *w)
{
	memset(w, 0, sizeof(*w));
	strcpy(w->dir, "/dev/shm/isthmus-test-channel-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	for (unsigned i = 0; i < FAKE_SIDES; i++) {
		snprintf(w->socket[i], sizeof(w->socket[i]), "%s/channel-%c.sock", w->dir, 'a' + i);
		snprintf(w->cache_path[i], sizeof(w->cache_path[i]), "%s/cache-%c.seg", w->dir,
			 'a' + i);
		int fd = open(w->cache_path[i], O_RDWR | O_CREAT, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, CACHE_BYTES), 0);
		close(fd);
	}
	w->sockets[0] = w->socket[0];
	size_t size = FAKE_VOLUMES * (size_t)FAKE_VOL_SIZE;
	w->disks = shared(size + 4096);
	w->stuck = (_Atomic int *)(w->disks + size);
	w->control = shared(sizeof(*w->control));
	w->control->pools = 1;
	w->control->seq = 100;
	for (unsigned i = 0; i < FAKE_VOLUMES; i++) {
		w->control->owner[i] = WORD(1, 0);
		w->control->memory[i] = 1000 + i;
	}
}

void fake_world_without_pools(struct fake_world *w)
{
	w->control->pools = 0;
}

/* Whoever lives hears of it, as of any change of the metadata. */
void fake_world_make_pool(struct fake_world *w)
{
	w->control->pools = 1;
	w->control->seq++;
}

void fake_world_remove(struct fake_world *w)
{
	char cmd[128];
	munmap(w->disks, FAKE_VOLUMES * (size_t)FAKE_VOL_SIZE + 4096);
	munmap(w->control, sizeof(*w->control));
	snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
	ck_assert_int_eq(system(cmd), 0);
}

uint8_t *fake_disk(struct fake_world *w, uint32_t volume)
{
	return w->disks + (size_t)(volume - 1) * FAKE_VOL_SIZE;
}

/* ---- backing devices: memory, and now and then a wait ---- */

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

/* ---- core ---- */

static struct core *the_core;
/* Of the server whose reactor's thread this is, when fake_server_call() calls. */
_Thread_local struct core *fake_called;

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

bool core_load_is_low(struct core *c)
{
	return false;
}

int core_side_set(struct core *c, const struct core_side *w, char *why)
{
	snprintf(why, 256, "%s of %s on %u: %u", w->head, w->group, w->piv, w->side);
	return w->piv == 3 ? 0 : -ESTALE;
}

int core_piv_renew(struct core *c, const char *group, const char *pool,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg, char *why)
{
	return -ENOSPC;
}

/* ---- volumes ---- */

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
	return v->dev.b.size - v->unheard;
}

void fake_size(struct fake_server *s, uint32_t volume, uint64_t size)
{
	s->core.volumes[volume - 1].unheard = FAKE_VOL_SIZE - size;
}

int volume_read_try(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = fake_enter(v);
	if (rc == 0)
		rc = cache_read_try(v->cv, off, len, r) ? fake_leave(v, -EAGAIN) : 0;
	return rc;
}

int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = fake_enter(v);
	if (rc)
		return rc;
	rc = cache_read(v->cv, off, len, r);
	return rc ? fake_leave(v, rc) : 0;
}

void volume_read_done(struct volume *v, struct cache_read *r)
{
	cache_read_done(v->cv, r);
	fake_leave(v, 0);
}

int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = fake_enter(v);
	if (rc)
		return rc;
	rc = cache_write_try_begin(v->cv, off, len, w);
	return rc ? fake_leave(v, rc) : 0;
}

int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = fake_enter(v);
	if (rc)
		return rc;
	rc = cache_write_begin(v->cv, off, len, w);
	return rc ? fake_leave(v, rc) : 0;
}

void volume_write_copy(struct volume *v, struct cache_write *w, unsigned i, size_t off,
		       const void *from, size_t n)
{
	cache_write_copy(v->cv, w, i, off, from, n);
}

int volume_write_commit(struct volume *v, struct cache_write *w, bool fua)
{
	int rc = cache_write_commit(v->cv, w, fua);
	return rc == -EAGAIN ? rc : fake_leave(v, rc);
}

void volume_write_abort(struct volume *v, struct cache_write *w)
{
	cache_write_abort(v->cv, w);
	fake_leave(v, 0);
}

int volume_flush(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = fake_enter(v);
	return rc ? rc : fake_leave(v, cache_flush(v->cv, off, len));
}

int volume_discard(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = fake_enter(v);
	return rc ? rc : fake_leave(v, cache_discard(v->cv, off, len));
}

void volume_hint(struct volume *v, uint64_t off, enum cache_hint step)
{
}

void volume_prefetch(struct volume *v, uint64_t off, uint64_t len)
{
	if (fake_enter(v))
		return;
	cache_prefetch(v->cv, off, len);
	fake_leave(v, 0);
}

int volume_read_copy(struct volume *v, void *buf, uint32_t len, uint64_t off, unsigned copy)
{
	if (copy > 1)
		return -ENOENT;
	memcpy(buf, v->dev.bytes + off, len);
	return 0;
}

/* ---- the server ---- */

static void server_open(void *arg)
{
	struct fake_server *s = arg;
	struct core *c = &s->core;
	struct fake_control *k = s->w->control;
	static const char *const names[FAKE_SIDES] = {"a", "b"};
	int fd = open(s->w->cache_path[s->side], O_RDWR);
	ck_assert_int_ge(fd, 0);
	c->segment = mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(c->segment, MAP_FAILED);
	close(fd);
	struct cache_super *super = c->segment;
	if (k->stale[s->side]) {
		memset((uint8_t *)super + super->cbe_off, 0, super->npages * sizeof(struct cbe));
		memset(super->magic, 0, sizeof(super->magic));
		super->crc = 0;
	}
	k->stale[s->side] = 0;
	struct cache_opts co = {.env = env_real(),
				.segment = c->segment,
				.segment_size = CACHE_BYTES,
				.page_size = 4096,
				.array_uuid = {1},
				.controller = names[s->side]};
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
		v->owner_epoch = WORD_EPOCH(k->owner[i]);
		v->place = CORE_PARTNER;
		if (WORD_SIDE(k->owner[i]) != s->side)
			continue;
		ck_assert_int_eq(cache_vol_attach(c->cache, v->id, &v->dev.b, &v->cv), 0);
		v->place = CORE_HERE;
	}
	c->meta.am = fake_meta_make();
	c->meta.control = k;
	c->meta.side = s->side;
	k->seen[s->side] = 0;
	fake_meta_lock(k);
	fake_meta_follow(&c->meta);
	k->meta_lock = 0;
	k->lives[s->side] = 1;
	the_core = c;
	struct reactor *rs[2] = {s->other, s->home};
	fd = open(s->w->cache_path[s->side], O_RDONLY);
	struct channel_server_opts o = {.core = c,
					.socket_path = s->w->socket[s->side],
					.memory_dir = s->w->dir,
					.cache_fd = fd,
					.cache_size = CACHE_BYTES,
					.reactors = rs,
					.nreactors = 2};
	ck_assert_int_eq(channel_server_start(&s->cs, &o), 0);
	close(fd);
	ck_assert_int_eq(cache_start(c->cache), 0);
	s->polling = true;
	ck_assert_int_eq(task_start(fake_poll, s), 0);
	s->ready = true;
	if (s->ready_fd >= 0)
		ck_assert_int_eq(write(s->ready_fd, "r", 1), 1);
}

static void server_close(void *arg)
{
	struct fake_server *s = arg;
	struct core *c = &s->core;
	channel_server_stop(s->cs);
	s->closing = true;
	while (s->polling)
		env_sleep_ns(env_real(), NS_PER_MS);
	s->w->control->lives[s->side] = 0;
	for (uint32_t i = 0; i < FAKE_VOLUMES; i++) {
		ck_assert_int_eq(c->volumes[i].refs, 0);
		if (c->volumes[i].cv)
			ck_assert_int_eq(cache_vol_detach(c->volumes[i].cv, false), 0);
	}
	ck_assert_int_eq(cache_close(c->cache, false), 0);
	munmap(c->segment, CACHE_BYTES);
	c->meta.am->n_pools = 1;
	isthmus__array_meta__free_unpacked(c->meta.am, NULL);
	reactor_stop(s->home);
	reactor_stop(s->other);
}

static struct fake_server *server_new(struct fake_world *w, unsigned side)
{
	struct fake_server *s = calloc(1, sizeof(*s));
	struct reactor_opts o = {.name = "home", .cpu = -1};
	s->w = w;
	s->side = side;
	w->sockets[side] = w->socket[side];
	s->ready_fd = -1;
	ck_assert_int_eq(reactor_new(&s->home, &o), 0);
	o.name = "data";
	ck_assert_int_eq(reactor_new(&s->other, &o), 0);
	return s;
}

struct fake_server *fake_server_start(struct fake_world *w, unsigned side)
{
	struct fake_server *s = server_new(w, side);
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
	fake_called = &c->s->core;
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

pid_t fake_server_fork(struct fake_world *w, unsigned side)
{
	int fds[2];
	char c;
	ck_assert_int_eq(pipe(fds), 0);
	w->sockets[side] = w->socket[side];
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		/* Nothing of the parent's reactor is ours. */
		sched_set_current(NULL);
		struct fake_server *s = server_new(w, side);
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
