/* See fake_volume.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "blockcore/control/meta_scsi.h"
#include "blockcore/far.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/task.h"
#include "tests/unit/scsi/fake_volume.h"

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
	return v->size;
}
uint64_t volume_epoch(const struct volume *v)
{
	return v->size;
}

static void check_range(const struct volume *v, uint64_t off, uint64_t len)
{
	ASSERT(len > 0 && off % 512 == 0 && len % 512 == 0);
	ASSERT(off < v->size && len <= v->size - off);
}

/* Splits as the cache does: at page borders. */
static int split(struct iovec *iov, uint8_t *base, uint64_t off, uint32_t len)
{
	int n = 0;
	ASSERT(len <= CACHE_IO_MAX);
	for (uint32_t done = 0; done < len; n++) {
		uint32_t piece = (uint32_t)MIN(len - done, 4096 - (off + done) % 4096);
		iov[n] = (struct iovec){.iov_base = base + done, .iov_len = piece};
		done += piece;
	}
	return n;
}

static bool not_here(struct volume *v)
{
	if (v->refusals) {
		v->refusals--;
		return true;
	}
	return v->place != CORE_HERE;
}

int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	if (not_here(v))
		return -ERR_NOT_OWNER;
	check_range(v, off, len);
	int err = v->read_err;
	if (err)
		return err;
	r->n = split(r->iov, v->data + off, off, len);
	v->pins++;
	return 0;
}

int volume_read_try(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	return v->miss ? -EAGAIN : volume_read(v, off, len, r);
}

void volume_read_done(struct volume *v, struct cache_read *r)
{
	ASSERT(v->pins-- > 0);
	r->n = 0;
}

int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	if (not_here(v))
		return -ERR_NOT_OWNER;
	check_range(v, off, len);
	if (v->write_err)
		return v->write_err;
	uint8_t *pages = malloc(len);
	memset(pages, 0xee, len);
	w->off = off;
	w->len = len;
	w->n = split(w->iov, pages, off, len);
	v->writes++;
	return 0;
}

int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	return v->miss ? -EAGAIN : volume_write_begin(v, off, len, w);
}

void volume_write_abort(struct volume *v, struct cache_write *w)
{
	ASSERT(v->writes-- > 0);
	free(w->iov[0].iov_base);
}

void volume_write_copy(struct volume *v, struct cache_write *w, unsigned i, size_t off,
		       const void *from, size_t n)
{
	memcpy((char *)w->iov[i].iov_base + off, from, n);
}

void volume_write_received(struct volume *v, struct cache_write *w, uint32_t bytes)
{
	ASSERT(bytes <= w->len);
}

int volume_write_commit(struct volume *v, struct cache_write *w, bool fua)
{
	if (v->place != CORE_HERE || v->commit_refusals) {
		v->commit_refusals -= v->commit_refusals > 0;
		volume_write_abort(v, w);
		return -ERR_NOT_OWNER;
	}
	pthread_mutex_lock(&v->lock);
	memcpy(v->data + w->off, w->iov[0].iov_base, w->len);
	v->stats.writes++;
	pthread_mutex_unlock(&v->lock);
	v->commits++;
	v->fuas += fua;
	volume_write_abort(v, w);
	return fua ? v->flush_err : 0;
}

bool volume_battery(const struct volume *v)
{
	return v->battery;
}

int volume_write_commit_if(struct volume *v, struct cache_write *w, const void *expect,
			   uint32_t *ret_at)
{
	const uint8_t *want = expect;
	if (v->evicted) {
		v->evicted--;
		return -EAGAIN;
	}
	for (uint32_t i = 0; want && i < w->len; i++) {
		if (v->data[w->off + i] != want[i]) {
			*ret_at = i;
			return -ERR_MISCOMPARE;
		}
	}
	v->atomics++;
	return volume_write_commit(v, w, false);
}

void volume_stats(const struct volume *v, struct volume_stats *ret)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&v->lock;
	pthread_mutex_lock(lock);
	*ret = v->stats;
	pthread_mutex_unlock(lock);
}

int volume_flush(struct volume *v, uint64_t off, uint64_t len)
{
	if (not_here(v))
		return -ERR_NOT_OWNER;
	check_range(v, off, len);
	v->flushes++;
	return v->flush_err;
}

int volume_discard(struct volume *v, uint64_t off, uint64_t len)
{
	if (not_here(v))
		return -ERR_NOT_OWNER;
	check_range(v, off, len);
	v->discards++;
	if (v->slow && task_self())
		env_sleep_ns(v->core->env, NS_PER_MS);
	while (v->stuck)
		env_sleep_ns(v->core->env, NS_PER_MS);
	if (not_here(v))
		return -ERR_NOT_OWNER;
	if (v->discard_err)
		return v->discard_err;
	memset(v->data + off, 0, len);
	return 0;
}

void volume_hint(struct volume *v, uint64_t off, enum cache_hint step)
{
}

void volume_prefetch(struct volume *v, uint64_t off, uint64_t len)
{
	check_range(v, off, len);
	v->prefetches++;
}

int volume_read_copy(struct volume *v, void *buf, uint32_t len, uint64_t off, unsigned copy)
{
	if (not_here(v))
		return -ERR_NOT_OWNER;
	check_range(v, off, len);
	if (copy >= v->copies)
		return -ENOENT;
	v->copy_reads++;
	memcpy(buf, v->data + off, len);
	return v->copy_err;
}

/* ---- metadata ---- */

const Isthmus__ArrayMeta *meta_get(const struct meta *m)
{
	ASSERT(!meta_number_ports(m->am)); /* as what was read is upgraded */
	return m->am;
}

int meta_watch(struct meta *m, void (*fn)(void *arg, const Isthmus__ArrayMeta *am), void *arg,
	       struct meta_watch **ret)
{
	for (int i = 0; i < WATCHES; i++) {
		if (m->watches[i].fn)
			continue;
		m->watches[i] = (struct fake_watch){fn, arg};
		*ret = (struct meta_watch *)&m->watches[i];
		return 0;
	}
	return -ENOMEM;
}

void meta_unwatch(struct meta *m, struct meta_watch *w)
{
	((struct fake_watch *)w)->fn = NULL;
}

static void meta_run_watches(struct meta *m)
{
	for (int i = 0; i < WATCHES; i++)
		if (m->watches[i].fn)
			m->watches[i].fn(m->watches[i].arg, m->am);
}

static Isthmus__ArrayMeta *meta_copy(const Isthmus__ArrayMeta *am)
{
	size_t n = isthmus__array_meta__get_packed_size(am);
	uint8_t *b = malloc(n + 1);
	isthmus__array_meta__pack(am, b);
	Isthmus__ArrayMeta *copy = isthmus__array_meta__unpack(NULL, n, b);
	free(b);
	ASSERT(copy);
	return copy;
}

int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why)
{
	Isthmus__ArrayMeta *am = meta_copy(m->am);
	int err = change(am, arg, why);
	if (!err)
		err = meta_number_ports(am);
	if (!err)
		err = meta_reservations_prune(am);
	if (!err)
		err = m->update_err;
	if (err) {
		isthmus__array_meta__free_unpacked(am, NULL);
		return err;
	}
	isthmus__array_meta__free_unpacked(m->am, NULL);
	m->am = am;
	meta_run_watches(m);
	return 0;
}

/* ---- core ---- */

struct meta *core_meta(struct core *c)
{
	return c->meta;
}
const char *core_controller(const struct core *c)
{
	return c->second ? "b" : "a";
}
bool core_has_partner(const struct core *c)
{
	return c->duplex;
}
struct env *core_env(struct core *c)
{
	return c->env;
}

bool core_partner_works(struct core *c)
{
	return c->partner_works;
}

bool core_partner_ended(struct core *c)
{
	return c->partner_ended;
}

uint64_t core_memory_id(struct core *c)
{
	return c->memory_id;
}

struct volume *core_volume_get(struct core *c, uint32_t id)
{
	for (unsigned i = 0; i < c->nvolumes; i++) {
		if (c->volumes[i].id == id) {
			c->volumes[i].refs++;
			return &c->volumes[i];
		}
	}
	return NULL;
}

struct volume *core_volume_get_by_name(struct core *c, const char *name)
{
	for (unsigned i = 0; i < c->nvolumes; i++)
		if (!strcmp(c->volumes[i].name, name))
			return core_volume_get(c, c->volumes[i].id);
	return NULL;
}

void core_volume_put(struct volume *v)
{
	ASSERT(v->refs-- > 0);
}

static uint64_t fake_realtime(struct env *e)
{
	return FAKE_REALTIME_NS;
}

/* The real one but for the date. */
static struct env *fake_env(void)
{
	static struct env_ops ops;
	static struct env env = {&ops};
	ops = *env_real()->ops;
	ops.realtime_ns = fake_realtime;
	return &env;
}

struct core *fake_core_new(void)
{
	struct core *c = calloc(1, sizeof(*c));
	c->env = fake_env();
	c->meta = calloc(1, sizeof(*c->meta));
	c->memory_id = 1;
	Isthmus__ArrayMeta am = ISTHMUS__ARRAY_META__INIT;
	am.next_id = 1;
	c->meta->am = meta_copy(&am);
	return c;
}

void fake_core_free(struct core *c)
{
	bool second = c->second;
	for (unsigned i = 0; i < c->nvolumes; i++) {
		ASSERT(!c->volumes[i].refs && !c->volumes[i].pins && !c->volumes[i].writes);
		if (!second)
			free(c->volumes[i].data);
	}
	if (second) {
		c->partner->partner = NULL;
		free(c);
		return;
	}
	ASSERT(!c->partner);
	isthmus__array_meta__free_unpacked(c->meta->am, NULL);
	free(c->meta);
	free(c);
}

/* ---- two controllers ---- */

static struct core *pair[2];

/* blockcore/far.h, without messages. */
static struct volume *far_volume(uint32_t id)
{
	for (int i = 0; i < 2; i++)
		if (pair[i] && pair[i]->volumes[id - 1].place == CORE_HERE)
			return &pair[i]->volumes[id - 1];
	return NULL;
}

int far_read(struct link *l, uint32_t id, uint64_t off, void *buf, uint32_t len)
{
	struct volume *v = far_volume(id);
	struct cache_read *r = malloc(sizeof(*r));
	int err = v ? volume_read(v, off, len, r) : -ERR_NOT_OWNER;
	if (!err) {
		memcpy(buf, r->iov[0].iov_base, len); /* as split() has it */
		volume_read_done(v, r);
		v->far++;
	}
	free(r);
	return err;
}

int far_over(struct link *l)
{
	return 0;
}

int far_write(struct link *l, uint32_t id, uint64_t off, const void *buf, uint32_t len)
{
	struct volume *v = far_volume(id);
	struct cache_write *w = malloc(sizeof(*w));
	int err = v ? volume_write_begin(v, off, len, w) : -ERR_NOT_OWNER;
	while (!err && v->far_hangs && link_is_up(l))
		env_sleep_ns(v->core->env, NS_PER_MS);
	if (!err && v->far_hangs) {
		volume_write_abort(v, w);
		err = -ERR_DISCONNECTED;
	}
	if (!err) {
		memcpy(w->iov[0].iov_base, buf, len);
		err = volume_write_commit(v, w, false);
		v->far++;
	}
	free(w);
	return err;
}

struct core *fake_core_join(struct core *first)
{
	struct core *c = calloc(1, sizeof(*c));
	c->env = first->env;
	c->meta = first->meta;
	c->memory_id = first->memory_id + 1;
	c->nvolumes = first->nvolumes;
	memcpy(c->volumes, first->volumes, sizeof(c->volumes));
	for (unsigned i = 0; i < c->nvolumes; i++) {
		c->volumes[i].refs = 0;
		c->volumes[i].place = CORE_PARTNER;
		c->volumes[i].core = c;
	}
	c->partner = first;
	c->second = true;
	Isthmus__Pool *pool = calloc(1, sizeof(*pool));
	isthmus__pool__init(pool);
	pool->name = strdup("p");
	pool->owner = strdup(core_controller(first));
	pb_append(&c->meta->am->pools, &c->meta->am->n_pools, pool);
	first->partner = c;
	first->duplex = c->duplex = true;
	pair[0] = first;
	pair[1] = c;
	return c;
}

static void place_changed(struct core *c, struct volume *v, enum core_place place)
{
	v->place = place;
	for (unsigned i = 0; i < 2; i++)
		if (c->own_watches[i].fn)
			c->own_watches[i].fn(c->own_watches[i].arg, v);
}

void fake_core_place(struct core *c, uint32_t id, enum core_place place)
{
	struct volume *there = &c->partner->volumes[id - 1];
	enum core_place other = place == CORE_HERE	? CORE_PARTNER
				: place == CORE_PARTNER ? CORE_HERE
							: place;
	if (other == CORE_HERE) { /* who gives goes first */
		place_changed(c, &c->volumes[id - 1], place);
		place_changed(c->partner, there, other);
	} else {
		place_changed(c->partner, there, other);
		place_changed(c, &c->volumes[id - 1], place);
	}
}

enum core_place core_volume_place(const struct volume *v)
{
	return (enum core_place)v->place;
}

int core_own_watch(struct core *c, void (*fn)(void *arg, struct volume *v), void *arg,
		   struct core_own_watch **ret)
{
	for (unsigned i = 0; i < 2; i++) {
		if (c->own_watches[i].fn)
			continue;
		c->own_watches[i] = (struct core_own_watch){fn, arg};
		*ret = &c->own_watches[i];
		return 0;
	}
	return -ENOMEM;
}

void core_own_unwatch(struct core *c, struct core_own_watch *w)
{
	w->fn = NULL;
}

/* All volumes are of one pool. */
int core_pool_give_held(struct core *c, const char *pool, char *why)
{
	snprintf(why, 256, "%s", c->give_err ? "as told" : "");
	for (unsigned i = 0; i < c->nvolumes && !c->give_err; i++)
		fake_core_place(c, c->volumes[i].id, CORE_MOVING);
	if (task_self())
		env_sleep_ns(c->env, NS_PER_MS);
	for (unsigned i = 0; i < c->nvolumes && !c->give_err; i++)
		fake_core_place(c, c->volumes[i].id, CORE_PARTNER);
	return c->give_err;
}

struct volume *fake_volume_add(struct core *c, uint64_t size)
{
	ASSERT(c->nvolumes < FAKE_VOLUMES);
	struct volume *v = &c->volumes[c->nvolumes++];
	v->id = c->nvolumes;
	v->core = c;
	v->place = CORE_HERE;
	snprintf(v->name, sizeof(v->name), "v%u", v->id);
	for (int i = 0; i < 16; i++)
		v->uuid[i] = (uint8_t)(v->id * 16 + i);
	v->size = size;
	v->copies = 2;
	v->capacity = size;
	v->data = calloc(1, size);
	pthread_mutex_init(&v->lock, NULL);
	Isthmus__Volume *pb = calloc(1, sizeof(*pb));
	isthmus__volume__init(pb);
	pb->id = v->id;
	pb->name = strdup(v->name);
	pb->size = size;
	pb->purpose = strdup("lun");
	pb->pool = strdup("p");
	pb->uuid.data = malloc(16);
	pb->uuid.len = 16;
	memcpy(pb->uuid.data, v->uuid, 16);
	pb_append(&c->meta->am->volumes, &c->meta->am->n_volumes, pb);
	return v;
}

Isthmus__ArrayMeta *fake_meta(struct core *c)
{
	return c->meta->am;
}

void fake_meta_changed(struct core *c)
{
	ASSERT(!meta_number_ports(c->meta->am));
	meta_run_watches(c->meta);
}

Isthmus__Target *fake_target_add(struct core *c, const char *iqn, bool open)
{
	Isthmus__Target *t = calloc(1, sizeof(*t));
	isthmus__target__init(t);
	t->iqn = strdup(iqn);
	t->open = open;
	t->port = 101 + (uint32_t)c->meta->am->n_targets;
	pb_append(&c->meta->am->targets, &c->meta->am->n_targets, t);
	return t;
}

Isthmus__Lun *fake_lun_add(Isthmus__Target *t, uint32_t lun, uint32_t id, const char *serial)
{
	Isthmus__Lun *l = calloc(1, sizeof(*l));
	isthmus__lun__init(l);
	l->lun = lun;
	l->volume_id = id;
	l->serial = strdup(serial);
	pb_append(&t->luns, &t->n_luns, l);
	return l;
}

void fake_lun_remove(Isthmus__Target *t, size_t i)
{
	isthmus__lun__free_unpacked(t->luns[i], NULL);
	pb_remove(&t->luns, &t->n_luns, i);
}

Isthmus__Initiator *fake_initiator_add(struct core *c, const char *target, const char *iqn)
{
	Isthmus__Initiator *i = calloc(1, sizeof(*i));
	isthmus__initiator__init(i);
	i->iqn = strdup(iqn);
	i->target = strdup(target);
	pb_append(&c->meta->am->initiators, &c->meta->am->n_initiators, i);
	return i;
}

void fake_map_add(Isthmus__Initiator *i, uint32_t lun, uint32_t target_lun, bool read_only)
{
	Isthmus__LunMap *m = calloc(1, sizeof(*m));
	isthmus__lun_map__init(m);
	m->lun = lun;
	m->target_lun = target_lun;
	m->read_only = read_only;
	pb_append(&i->luns, &i->n_luns, m);
}
