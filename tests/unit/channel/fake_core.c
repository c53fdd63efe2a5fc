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

#define CACHE_BYTES (6 * 1024 * 1024)
#define HEADS_MAX   16

/* ---- the world ---- */

/* A volume's ownership: one word, changed as a whole. */
#define WORD(epoch, side) ((uint64_t)(epoch) << 8 | (side))
#define WORD_EPOCH(w)	  ((w) >> 8)
#define WORD_SIDE(w)	  ((unsigned)((w)&0xff))

enum order { ORDER_NONE, ORDER_MOVE, ORDER_BACK_OUT, ORDER_TAKE_OVER, ORDER_TAKE_OVER_LOSE };

struct fake_control {
	_Atomic uint64_t owner[FAKE_VOLUMES];
	_Atomic uint64_t memory[FAKE_VOLUMES];
	_Atomic uint64_t taken[FAKE_VOLUMES]; /* the word that its owner serves it under */
	_Atomic int pools;
	/* Metadata: held by whoever changes it; heads and the sequence are shared. */
	_Atomic int meta_lock;
	_Atomic uint64_t seq, seen[FAKE_SIDES];
	_Atomic int lives[FAKE_SIDES];
	_Atomic int stale[FAKE_SIDES]; /* what the cache segment has belongs to the other now */
	struct fake_record {
		char head[32];
		uint64_t instance, epoch;
	} heads[HEADS_MAX];
	unsigned nheads;
	/* One order at a time, to a side. */
	_Atomic int order[FAKE_SIDES];
	uint32_t order_volume;
};

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
	_Atomic int refs, uses, place;
	_Atomic uint64_t owner_epoch;
	_Atomic uint64_t unheard; /* bytes it has grown by, which this side has not heard of */
};

struct meta_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
};

struct meta {
	Isthmus__ArrayMeta *am;
	struct meta_watch watch;
	struct fake_control *control;
	unsigned side;
};

struct core_own_watch {
	void (*fn)(void *arg, struct volume *v);
	void *arg;
};

struct core {
	struct cache *cache;
	struct meta meta;
	struct volume volumes[FAKE_VOLUMES];
	struct core_own_watch own_watch;
	void *segment;
	_Atomic uint64_t backups;
};

struct fake_server {
	struct fake_world *w;
	unsigned side;
	bool closing, polling;
	struct reactor *home, *other;
	struct core core;
	struct channel_server *cs;
	_Atomic bool ready;
	int ready_fd;
};

static struct core *the_core;
/* Of the server whose reactor's thread this is, when fake_server_call() calls. */
static _Thread_local struct core *called;

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

/* ---- metadata: one for both ---- */

const Isthmus__ArrayMeta *meta_get(const struct meta *m)
{
	return m->am;
}

static void meta_lock(struct fake_control *k)
{
	while (atomic_exchange(&k->meta_lock, 1))
		env_sleep_ns(env_real(), NS_PER_MS / 4);
}

static void heads_load(struct meta *m)
{
	struct fake_control *k = m->control;
	while (m->am->n_heads)
		isthmus__head_instance__free_unpacked(m->am->heads[--m->am->n_heads], NULL);
	for (unsigned i = 0; i < k->nheads; i++) {
		Isthmus__HeadInstance *h = malloc(sizeof(*h));
		isthmus__head_instance__init(h);
		h->head = strdup(k->heads[i].head);
		h->instance = k->heads[i].instance;
		h->epoch = k->heads[i].epoch;
		ck_assert_int_eq(pb_append(&m->am->heads, &m->am->n_heads, h), 0);
	}
	m->am->n_pools = k->pools != 0;
	m->am->seq = k->seq;
}

static void heads_store(struct meta *m)
{
	struct fake_control *k = m->control;
	ck_assert_uint_le(m->am->n_heads, HEADS_MAX);
	k->nheads = (unsigned)m->am->n_heads;
	for (unsigned i = 0; i < k->nheads; i++) {
		const Isthmus__HeadInstance *h = m->am->heads[i];
		snprintf(k->heads[i].head, sizeof(k->heads[i].head), "%s", h->head);
		k->heads[i].instance = h->instance;
		k->heads[i].epoch = h->epoch;
	}
}

/* What another wrote is made ours. Under the lock. */
static void meta_follow(struct meta *m)
{
	if (m->control->seen[m->side] == m->control->seq)
		return;
	heads_load(m);
	if (m->watch.fn)
		m->watch.fn(m->watch.arg, m->am);
	m->control->seen[m->side] = m->am->seq;
}

int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why)
{
	struct fake_control *k = m->control;
	meta_lock(k);
	meta_follow(m);
	int rc = change(m->am, arg, why);
	if (rc) {
		k->meta_lock = 0;
		return rc;
	}
	heads_store(m);
	uint64_t seq = ++k->seq;
	meta_follow(m);
	k->meta_lock = 0;
	/* Done when the partner has taken it. */
	while (k->lives[!m->side] && k->seen[!m->side] < seq)
		env_sleep_ns(env_real(), NS_PER_MS / 4);
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
	struct meta *m = &called->meta;
	char why[256];
	ck_assert_int_eq(meta_update(m, no_change, NULL, why), 0);
	return m->am->seq;
}

/* ---- ownership ---- */

enum core_place core_volume_place(const struct volume *v)
{
	return (enum core_place)v->place;
}

uint64_t core_volume_owner_epoch(const struct volume *v)
{
	return v->owner_epoch;
}

int core_volume_settle(struct volume *v, uint64_t timeout_ns)
{
	while (v->place == CORE_MOVING)
		env_sleep_ns(env_real(), NS_PER_MS);
	return 0;
}

uint64_t core_volume_memory_id(struct core *c, const struct volume *v)
{
	return c->meta.control->memory[v->id - 1];
}

int core_own_watch(struct core *c, void (*fn)(void *arg, struct volume *v), void *arg,
		   struct core_own_watch **ret)
{
	c->own_watch = (struct core_own_watch){.fn = fn, .arg = arg};
	*ret = &c->own_watch;
	return 0;
}

void core_own_unwatch(struct core *c, struct core_own_watch *w)
{
	w->fn = NULL;
}

static void own_tell(struct core *c, struct volume *v)
{
	if (c->own_watch.fn)
		c->own_watch.fn(c->own_watch.arg, v);
}

static int enter(struct volume *v)
{
	v->uses++;
	if (v->place == CORE_HERE)
		return 0;
	v->uses--;
	return -ERR_NOT_OWNER;
}

static int leave(struct volume *v, int rc)
{
	v->uses--;
	return rc;
}

int volume_use(struct volume *v)
{
	return enter(v);
}

void volume_unuse(struct volume *v)
{
	leave(v, 0);
}

static void own_take(struct fake_server *s, struct volume *v)
{
	uint64_t word = s->w->control->owner[v->id - 1];
	ck_assert_int_eq(cache_vol_attach(s->core.cache, v->id, &v->dev.b, &v->cv), 0);
	v->owner_epoch = WORD_EPOCH(word);
	v->place = CORE_HERE;
	own_tell(&s->core, v);
	s->w->control->taken[v->id - 1] = word;
}

/* As an owner gives a pool away: what runs is waited for, pages go to disk and out of the index. */
static void own_give(struct fake_server *s, struct volume *v, bool back_out)
{
	struct core *c = &s->core;
	_Atomic uint64_t *word = &s->w->control->owner[v->id - 1];
	if (v->place != CORE_HERE)
		own_take(s, v); /* it has just been given, and nobody looked yet */
	v->place = CORE_MOVING;
	own_tell(c, v);
	while (v->uses)
		env_sleep_ns(env_real(), NS_PER_MS / 4);
	if (back_out) {
		v->place = CORE_HERE;
		own_tell(c, v);
		return;
	}
	ck_assert_int_eq(cache_vol_detach(v->cv, false), 0);
	v->cv = NULL;
	*word = WORD(WORD_EPOCH(*word) + 1, !s->side);
	v->place = CORE_PARTNER;
	own_tell(c, v);
}

/* What the dead one had not written to the disks is brought there, as from the mirror area. */
static void rescue(struct fake_server *s, struct cache_super *dead)
{
	const struct cbe *cbes = (const struct cbe *)((uint8_t *)dead + dead->cbe_off);
	uint64_t newest[FAKE_VOLUMES][FAKE_VOL_SIZE / 4096] = {0};
	for (uint32_t i = 0; i < dead->npages; i++) {
		const struct cbe *e = &cbes[i];
		uint8_t *data = (uint8_t *)dead + dead->page_off + i * 4096ull;
		if (e->state != CBE_DIRTY || e->volume == 0 || e->volume > FAKE_VOLUMES)
			continue;
		if (newest[e->volume - 1][e->page] > e->generation)
			continue;
		newest[e->volume - 1][e->page] = e->generation;
		uint8_t *disk = fake_disk(s->w, e->volume) + e->page * 4096;
		for (unsigned k = 0; k < 8; k++)
			if (e->dirty & 1u << k)
				memcpy(disk + k * 512, data + k * 512, 512);
	}
}

static void own_take_over(struct fake_server *s, bool lose)
{
	struct fake_control *k = s->w->control;
	int fd = open(s->w->cache_path[!s->side], O_RDWR);
	ck_assert_int_ge(fd, 0);
	struct cache_super *dead =
	    mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(dead, MAP_FAILED);
	close(fd);
	cache_super_retire(dead);
	if (!lose)
		rescue(s, dead);
	munmap(dead, CACHE_BYTES);
	k->stale[!s->side] = 1; /* its pages are nobody's from here on */
	for (unsigned i = 0; i < FAKE_VOLUMES; i++) {
		if (WORD_SIDE(k->owner[i]) == s->side)
			continue;
		if (lose)
			k->memory[i] += 10000;
		k->owner[i] = WORD(WORD_EPOCH(k->owner[i]) + 1, s->side);
		own_take(s, &s->core.volumes[i]);
	}
}

static void own_obey(struct fake_server *s, int order)
{
	struct fake_control *k = s->w->control;
	struct volume *v = &s->core.volumes[(k->order_volume ? k->order_volume : 1) - 1];
	if (order == ORDER_MOVE || order == ORDER_BACK_OUT)
		own_give(s, v, order == ORDER_BACK_OUT);
	else
		own_take_over(s, order == ORDER_TAKE_OVER_LOSE);
	k->order[s->side] = ORDER_NONE;
}

/* What comes from outside: orders, the partner's changes. */
static void poll_main(void *arg)
{
	struct fake_server *s = arg;
	struct fake_control *k = s->w->control;
	while (!s->closing) {
		env_sleep_ns(env_real(), NS_PER_MS / 2);
		if (k->order[s->side])
			own_obey(s, k->order[s->side]);
		for (unsigned i = 0; i < FAKE_VOLUMES; i++)
			if (WORD_SIDE(k->owner[i]) == s->side &&
			    s->core.volumes[i].place == CORE_PARTNER)
				own_take(s, &s->core.volumes[i]);
		if (k->seen[s->side] == k->seq)
			continue;
		/* A change that waits for us has let go of the lock. */
		meta_lock(k);
		meta_follow(&s->core.meta);
		k->meta_lock = 0;
	}
	s->polling = false;
}

static void nap(void)
{
	if (task_self())
		env_sleep_ns(env_real(), NS_PER_MS / 2);
	else
		usleep(500);
}

unsigned fake_owner(struct fake_world *w, uint32_t volume)
{
	return WORD_SIDE(w->control->owner[volume - 1]);
}

uint64_t fake_head_epoch(struct fake_world *w, const char *head)
{
	for (unsigned i = 0; i < w->control->nheads; i++)
		if (strcmp(w->control->heads[i].head, head) == 0)
			return w->control->heads[i].epoch;
	return 0;
}

static void order(struct fake_world *w, unsigned side, int what)
{
	w->control->order[side] = what;
	while (w->control->order[side])
		nap();
}

void fake_move(struct fake_world *w, uint32_t volume, unsigned to, bool back_out)
{
	w->control->order_volume = volume;
	order(w, !to, back_out ? ORDER_BACK_OUT : ORDER_MOVE);
	struct fake_control *k = w->control;
	while (!back_out && k->lives[to] && k->taken[volume - 1] != k->owner[volume - 1])
		nap();
}

void fake_takeover(struct fake_world *w, unsigned dead, bool lose)
{
	w->control->lives[dead] = 0;
	w->control->meta_lock = 0;
	order(w, !dead, lose ? ORDER_TAKE_OVER_LOSE : ORDER_TAKE_OVER);
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
	int rc = enter(v);
	if (rc == 0)
		rc = cache_read_try(v->cv, off, len, r) ? leave(v, -EAGAIN) : 0;
	return rc;
}

int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = enter(v);
	if (rc)
		return rc;
	rc = cache_read(v->cv, off, len, r);
	return rc ? leave(v, rc) : 0;
}

void volume_read_done(struct volume *v, struct cache_read *r)
{
	cache_read_done(v->cv, r);
	leave(v, 0);
}

int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = enter(v);
	if (rc)
		return rc;
	rc = cache_write_try_begin(v->cv, off, len, w);
	return rc ? leave(v, rc) : 0;
}

int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = enter(v);
	if (rc)
		return rc;
	rc = cache_write_begin(v->cv, off, len, w);
	return rc ? leave(v, rc) : 0;
}

void volume_write_copy(struct volume *v, struct cache_write *w, unsigned i, size_t off,
		       const void *from, size_t n)
{
	cache_write_copy(v->cv, w, i, off, from, n);
}

int volume_write_commit(struct volume *v, struct cache_write *w, bool fua)
{
	int rc = cache_write_commit(v->cv, w, fua);
	return rc == -EAGAIN ? rc : leave(v, rc);
}

void volume_write_abort(struct volume *v, struct cache_write *w)
{
	cache_write_abort(v->cv, w);
	leave(v, 0);
}

int volume_flush(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = enter(v);
	return rc ? rc : leave(v, cache_flush(v->cv, off, len));
}

int volume_discard(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = enter(v);
	return rc ? rc : leave(v, cache_discard(v->cv, off, len));
}

void volume_hint(struct volume *v, uint64_t off, enum cache_hint step)
{
}

void volume_prefetch(struct volume *v, uint64_t off, uint64_t len)
{
	if (enter(v))
		return;
	cache_prefetch(v->cv, off, len);
	leave(v, 0);
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
	Isthmus__ExportClient *k = malloc(sizeof(*k));
	isthmus__export_client__init(k);
	k->match = strdup("*");
	k->squash = strdup("root");
	k->sec = strdup("krb5p:krb5");
	Isthmus__ExportClient *t = malloc(sizeof(*t));
	isthmus__export_client__init(t);
	t->match = strdup("fd00::/8");
	t->squash = strdup("root");
	t->sec = strdup("sys");
	t->xprtsec = strdup("tls:mtls");
	e->clients = malloc(3 * sizeof(*e->clients));
	e->clients[e->n_clients++] = c;
	e->clients[e->n_clients++] = k;
	e->clients[e->n_clients++] = t;
	am->exports = malloc(sizeof(*am->exports));
	am->exports[am->n_exports++] = e;
}

static void put_programs(Isthmus__ArrayMeta *am, uint32_t id)
{
	Isthmus__Volume *v = malloc(sizeof(*v));
	isthmus__volume__init(v);
	v->id = id;
	v->purpose = strdup("software");
	am->volumes = malloc(sizeof(*am->volumes));
	am->volumes[am->n_volumes++] = v;
}

static Isthmus__ArrayMeta *meta_make(void)
{
	Isthmus__ArrayMeta *am = malloc(sizeof(*am));
	isthmus__array_meta__init(am);
	Isthmus__Pool *pool = malloc(sizeof(*pool));
	isthmus__pool__init(pool);
	am->pools = malloc(sizeof(*am->pools));
	am->pools[0] = pool; /* counted when the world has one */
	am->filesystems = malloc(2 * sizeof(*am->filesystems));
	am->groups = malloc(2 * sizeof(*am->groups));
	put_fs(am, "fs1", 1, "h1");
	put_fs(am, "fs2", 2, "h2");
	put_group(am, "g1", 3, 4);
	put_group(am, "g2", 5, 0);
	put_export(am);
	put_programs(am, 7);
	return am;
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
	c->meta.am = meta_make();
	c->meta.control = k;
	c->meta.side = s->side;
	k->seen[s->side] = 0;
	meta_lock(k);
	meta_follow(&c->meta);
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
	ck_assert_int_eq(task_start(poll_main, s), 0);
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
	called = &c->s->core;
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
