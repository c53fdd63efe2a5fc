/*
 * Volumes as their users see them (volume.h): range checks, counters, the
 * end of life, and the cache underneath.
 *
 * Life: attached -> shut (volume_shut(): no new calls, those under way are
 * waited for) -> detached -> freed with the last reference. A user may hold
 * a reference to a removed volume as long as it likes: calls give -ERR_SHUTDOWN.
 *
 * Counting calls under way: each thread counts in its own shard, in before it
 * looks at `shutdown` and out when it is done; whoever waits sets `shutdown` first and
 * then sums the shards. Sequential consistency makes one of the two see the other. A call that
 * is refused leaves on the shard it entered, so the sum never reads less than what is under way.
 * `writing` and the backup's gate work the same way.
 */
#include "blockcore/volume/volume_impl.h"
#include "blockcore/cache/cache_layout.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shards ---- */

static unsigned shard_number(void)
{
	static atomic_uint threads;
	static _Thread_local unsigned number; /* + 1 */
	if (!number)
		number = atomic_fetch_add(&threads, 1) % VOLUME_SHARDS + 1;
	return number - 1;
}

static void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static struct volume_shard *shard_of(struct volume *v)
{
	return &v->shard[shard_number()];
}

static int refusal(const struct volume *v)
{
	if (atomic_load(&v->shutdown))
		return -ERR_SHUTDOWN;
	return atomic_load(&v->place) == CORE_HERE ? -EIO : -ERR_NOT_OWNER;
}

static int enter(struct volume *v)
{
	CHECK(v, VOLUME_MAGIC);
	struct volume_shard *s = shard_of(v);
	atomic_fetch_add(&s->uses, 1);
	/* In this order: what makes a volume be here is written before its place is. */
	if (!atomic_load(&v->shutdown) && atomic_load(&v->place) == CORE_HERE && v->cv)
		return 0;
	int rc = refusal(v);
	atomic_fetch_sub(&s->uses, 1);
	return rc;
}

static int leave(struct volume *v, int rc)
{
	struct volume_shard *s = shard_of(v);
	if (rc && rc != -EAGAIN)
		count(&s->errors, 1);
	atomic_fetch_sub(&s->uses, 1);
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

static int64_t uses(struct volume *v)
{
	int64_t n = 0;
	for (unsigned i = 0; i < VOLUME_SHARDS; i++)
		n += atomic_load(&v->shard[i].uses);
	return n;
}

int64_t volume_writing(struct volume *v)
{
	int64_t n = 0;
	for (unsigned i = 0; i < VOLUME_SHARDS; i++)
		n += atomic_load(&v->shard[i].writing);
	return n;
}

static int range_check(struct volume *v, uint64_t off, uint64_t len)
{
	uint64_t size = atomic_load_explicit(&v->size, memory_order_relaxed);
	if ((off | len) % CACHE_SECTOR || off > size || len > size - off)
		return -EINVAL;
	return 0;
}

static int io_check(struct volume *v, uint64_t off, uint64_t len)
{
	return len == 0 || len > CACHE_IO_MAX ? -EINVAL : range_check(v, off, len);
}

/* ---- life ---- */

static int get_medium(struct volume *v, struct cache *cache, struct pool *pool)
{
	v->pool = pool;
	if (!pool || pool_state(pool) == POOL_OFFLINE)
		return 0;
	volume_io_init(v);
	return cache_vol_attach(cache, v->id, &v->io, &v->cv);
}

int volume_new(struct volume **ret, const struct volume_opts *o)
{
	struct volume *v;
	if (posix_memalign((void **)&v, 64, sizeof(*v)))
		return -ENOMEM;
	memset(v, 0, sizeof(*v));
	v->magic = VOLUME_MAGIC;
	v->id = o->id;
	snprintf(v->name, sizeof(v->name), "%s", o->name);
	memcpy(v->uuid, o->uuid, 16);
	v->env = o->env;
	v->battery = o->battery;
	atomic_init(&v->place, o->place);
	atomic_init(&v->owner_epoch, o->owner_epoch);
	atomic_init(&v->refs, 1);
	atomic_init(&v->size, o->size);
	atomic_init(&v->epoch, o->epoch);
	volume_backup_init(v);
	struct volume_map *m = volume_map_new(o->runs, o->nruns);
	atomic_init(&v->map, m);
	int rc = m ? 0 : -ENOMEM;
	if (rc == 0 && o->place == CORE_HERE)
		rc = get_medium(v, o->cache, o->pool);
	if (rc) {
		volume_put(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void volume_ref(struct volume *v)
{
	CHECK(v, VOLUME_MAGIC);
	atomic_fetch_add(&v->refs, 1);
}

void volume_put(struct volume *v)
{
	if (!v)
		return;
	CHECK(v, VOLUME_MAGIC);
	if (atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	ASSERT(!v->cv);
	struct volume_map *m = atomic_load(&v->map), *prev;
	for (; m; m = prev) {
		prev = m->prev;
		free(m);
	}
	volume_backup_fini(v);
	v->magic = 0;
	free(v);
}

void volume_quiesce(struct volume *v)
{
	while (uses(v) != 0)
		env_sleep_ns(v->env, NS_PER_MS);
}

void volume_shut(struct volume *v)
{
	atomic_store(&v->shutdown, true);
	volume_quiesce(v);
}

void volume_set_place(struct volume *v, int place)
{
	atomic_store(&v->place, place);
}

int volume_take(struct volume *v, struct cache *cache, struct pool *pool, uint64_t owner_epoch)
{
	ASSERT(atomic_load(&v->place) != CORE_HERE && !v->cv);
	v->backup.known = false; /* it was written elsewhere meanwhile */
	int rc = get_medium(v, cache, pool);
	if (rc)
		return rc;
	atomic_store(&v->owner_epoch, owner_epoch);
	atomic_store(&v->place, CORE_HERE);
	return 0;
}

void volume_reopen(struct volume *v)
{
	atomic_store(&v->shutdown, false);
}

int volume_detach(struct volume *v, bool drop)
{
	ASSERT(atomic_load(&v->shutdown) || atomic_load(&v->place) != CORE_HERE);
	int rc = v->cv ? cache_vol_detach(v->cv, drop) : 0;
	v->cv = NULL;
	if (atomic_load(&v->place) != CORE_HERE)
		v->pool = NULL;
	return rc;
}

void volume_forget_cache(struct volume *v)
{
	v->cv = NULL;
}

int volume_grow(struct volume *v, uint64_t size, uint64_t epoch, const struct extent_run *runs,
		size_t nruns)
{
	struct volume_map *m = volume_map_new(runs, nruns);
	if (!m)
		return -ENOMEM;
	m->prev = atomic_load(&v->map);
	atomic_store_explicit(&v->map, m, memory_order_release);
	if (v->cv)
		volume_io_set_size(v);
	atomic_store(&v->size, size);
	atomic_store(&v->epoch, epoch);
	return 0;
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
	return atomic_load_explicit(&v->size, memory_order_relaxed);
}

bool volume_battery(const struct volume *v)
{
	return v->battery;
}

uint64_t volume_epoch(const struct volume *v)
{
	return atomic_load(&v->epoch);
}

struct pool *volume_pool(const struct volume *v)
{
	return v->pool;
}

/* ---- reads ---- */

static int read_begun(struct volume *v, uint32_t len, int rc)
{
	if (rc)
		return leave(v, rc);
	struct volume_shard *s = shard_of(v);
	count(&s->reads, 1);
	count(&s->read_bytes, len);
	return 0;
}

int volume_read_try(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = io_check(v, off, len);
	if (rc == 0)
		rc = enter(v);
	return rc ? rc : read_begun(v, len, cache_read_try(v->cv, off, len, r));
}

int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r)
{
	int rc = io_check(v, off, len);
	if (rc == 0)
		rc = enter(v);
	return rc ? rc : read_begun(v, len, cache_read(v->cv, off, len, r));
}

void volume_read_done(struct volume *v, struct cache_read *r)
{
	cache_read_done(v->cv, r);
	leave(v, 0);
}

/* ---- writes ---- */

static int enter_write(struct volume *v)
{
	int rc = enter(v);
	if (rc)
		return rc;
	struct volume_shard *s = shard_of(v);
	atomic_fetch_add(&s->writing, 1);
	if (!atomic_load(&v->backup.gate))
		return 0;
	atomic_fetch_sub(&s->writing, 1);
	return leave(v, -EAGAIN);
}

static int leave_write(struct volume *v, int rc)
{
	atomic_fetch_sub(&shard_of(v)->writing, 1);
	return leave(v, rc);
}

static int enter_write_waiting(struct volume *v)
{
	int rc;
	while ((rc = enter_write(v)) == -EAGAIN)
		volume_backup_gate_wait(v);
	return rc;
}

int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = io_check(v, off, len);
	if (rc == 0)
		rc = enter_write(v);
	if (rc)
		return rc;
	if (!volume_backup_clear(v, off, len))
		return leave_write(v, -EAGAIN);
	rc = cache_write_try_begin(v->cv, off, len, w);
	if (rc)
		return leave_write(v, rc);
	volume_backup_mark(v, off, len);
	return 0;
}

int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w)
{
	int rc = io_check(v, off, len);
	if (rc == 0)
		rc = enter_write_waiting(v);
	if (rc)
		return rc;
	volume_backup_save(v, off, len);
	rc = cache_write_begin(v->cv, off, len, w);
	if (rc)
		return leave_write(v, rc);
	volume_backup_mark(v, off, len);
	return 0;
}

void volume_write_copy(struct volume *v, struct cache_write *w, unsigned i, size_t off,
		       const void *from, size_t n)
{
	cache_write_copy(v->cv, w, i, off, from, n);
}

void volume_write_received(struct volume *v, struct cache_write *w, uint32_t bytes)
{
	cache_write_received(v->cv, w, bytes);
}

int volume_write_commit(struct volume *v, struct cache_write *w, bool fua)
{
	struct volume_shard *s = shard_of(v);
	uint32_t len = w->len;
	int rc = cache_write_commit(v->cv, w, fua);
	if (rc == -EAGAIN) /* it goes on in a task */
		return rc;
	count(&s->writes, 1);
	count(&s->write_bytes, len);
	return leave_write(v, rc);
}

int volume_write_commit_if(struct volume *v, struct cache_write *w, const void *expect,
			   uint32_t *ret_at)
{
	struct volume_shard *s = shard_of(v);
	uint32_t len = w->len;
	int rc = cache_write_commit_if(v->cv, w, expect, ret_at);
	if (rc)
		return rc;
	count(&s->writes, 1);
	count(&s->write_bytes, len);
	return leave_write(v, 0);
}

void volume_write_abort(struct volume *v, struct cache_write *w)
{
	cache_write_abort(v->cv, w);
	leave_write(v, 0);
}

int volume_discard(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = range_check(v, off, len);
	if (rc == 0)
		rc = enter_write_waiting(v);
	if (rc)
		return rc;
	volume_backup_save(v, off, len);
	volume_backup_mark(v, off, len);
	return leave_write(v, cache_discard(v->cv, off, len));
}

/* ---- the rest ---- */

int volume_flush(struct volume *v, uint64_t off, uint64_t len)
{
	int rc = range_check(v, off, len);
	if (rc == 0)
		rc = enter(v);
	if (rc)
		return rc;
	count(&shard_of(v)->flushes, 1);
	return leave(v, cache_flush(v->cv, off, len));
}

void volume_prefetch(struct volume *v, uint64_t off, uint64_t len)
{
	if (range_check(v, off, len) || enter(v))
		return;
	cache_prefetch(v->cv, off, len);
	leave(v, 0);
}

void volume_hint(struct volume *v, uint64_t off, enum cache_hint step)
{
	cache_hint(v->cv, off, step);
}

int volume_read_copy(struct volume *v, void *buf, uint32_t len, uint64_t off, unsigned copy)
{
	int rc = range_check(v, off, len);
	if (rc == 0)
		rc = enter(v);
	return rc ? rc : leave(v, bdev_read_copy(&v->io, buf, len, off, copy));
}

void volume_stats(const struct volume *v, struct volume_stats *ret)
{
	*ret = (struct volume_stats){0};
	for (unsigned i = 0; i < VOLUME_SHARDS; i++) {
		const struct volume_shard *s = &v->shard[i];
		ret->reads += atomic_load(&s->reads);
		ret->writes += atomic_load(&s->writes);
		ret->read_bytes += atomic_load(&s->read_bytes);
		ret->write_bytes += atomic_load(&s->write_bytes);
		ret->flushes += atomic_load(&s->flushes);
		ret->errors += atomic_load(&s->errors);
	}
}

void volume_cache_stats(struct volume *v, struct cache_stats *ret)
{
	*ret = (struct cache_stats){0};
	if (enter(v))
		return;
	cache_vol_stats(v->cv, ret);
	leave(v, 0);
}
