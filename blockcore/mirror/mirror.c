/*
 * A cache and its partner: joining, parting, and the copies of writes. README.md tells the order of
 * the steps.
 *
 *   OFF, LONE --join--> JOINING --every dirty page has a copy--> ON
 *               ^                                                 |
 *               +---------------------- part ---------------------+
 *
 * Joining and parting change the epoch under the pool's lock. Whoever copies or clears does so
 * under a shard's lock and looks at the epoch there; parting goes through all shards' locks after
 * it has changed it, so after that nobody is in the partner's memory any more.
 */
#include "blockcore/cache/cache_priv.h"
#include "blockcore/link/link.h"
#include "runtime/copy.h"
#include <errno.h>
#include <stdlib.h>

#define CLOSED_POLL_NS (5 * NS_PER_MS)
#define COVER_POLL_NS  (5 * NS_PER_MS)
#define AHEAD_MIN      16 /* pages of a write of which some go ahead to another host */
#define COVER_RESERVE  4  /* one in so many pages of the table is left for new writes */

int mirror_init(struct cache *c, const struct cache_opts *o)
{
	struct mirror *m = &c->mirror;
	m->c = c;
	m->write_through = o->lone_write_through && o->partner_pages;
	atomic_store(&m->io_pages, UINT32_MAX);
	atomic_store(&m->state, o->partner_pages ? MIRROR_LONE : MIRROR_OFF);
	m->remote = o->partner_remote;
	waitq_init(&m->q);
	waitq_init(&m->clear_q);
	pthread_mutex_init(&m->clear_lock, NULL);
	pthread_mutex_init(&m->area_lock, NULL);
	m->own = (struct mirror_area){
	    .cbe = c->cbe + c->nown,
	    .data = cache_data(c, c->nown),
	    .staged_true = &c->super->mirror_staged_true,
	    .npages = c->npages - c->nown,
	    .page_shift = c->page_shift,
	};
	return 0;
}

void mirror_stop(struct cache *c)
{
	struct mirror *m = &c->mirror;
	pthread_mutex_lock(&m->clear_lock);
	m->stopping = true;
	waitq_wake_all(&m->clear_q);
	pthread_mutex_unlock(&m->clear_lock);
}

void mirror_fini(struct cache *c)
{
	mirror_table_free(&c->mirror.table);
	free(c->mirror.generation);
	free(c->mirror.clears);
}

enum mirror_state cache_mirror_state(const struct cache *c)
{
	return (enum mirror_state)atomic_load(&c->mirror.state);
}

bool mirror_has(const struct cache *c, unsigned n)
{
	const struct mirror *m = &c->mirror;
	return !mirror_epoch_joined(atomic_load(&m->epoch)) || m->table.nfree >= n;
}

uint32_t mirror_io_pages(const struct cache *c)
{
	return atomic_load_explicit(&c->mirror.io_pages, memory_order_relaxed);
}

/* ---- copies ---- */

static struct mirror_copy describe(struct cache *c, uint32_t pg, uint32_t to)
{
	struct cbe *e = &c->cbe[pg];
	return (struct mirror_copy){.to = to,
				    .data = cache_data(c, pg),
				    .volume = CBE_GET(e, volume),
				    .page = CBE_GET(e, page),
				    .generation = e->generation,
				    .valid = CBE_GET(e, valid),
				    .dirty = CBE_GET(e, dirty)};
}

static struct mirror_copy describe_write(struct cache *c, const struct cache_write *w, unsigned i)
{
	struct mirror_copy k = describe(c, w->pages[i], w->mirror[i]);
	if (i < w->copied && w->iov[i].iov_len == c->page_size)
		k.data = NULL; /* cache_write_received() was faster */
	return k;
}

/* Of this epoch: its mirror pages are good, as long as a shard's lock is held. */
static bool write_mirrored(const struct cache *c, const struct cache_write *w)
{
	return mirror_epoch_joined(w->epoch) && w->epoch == atomic_load(&c->mirror.epoch);
}

bool mirror_waits(struct cache *c)
{
	const struct mirror *m = &c->mirror;
	if (m->remote)
		return true;
	return !mirror_epoch_joined(atomic_load(&m->epoch)) && m->write_through;
}

bool mirror_commit_waits(struct cache *c, const struct cache_write *w)
{
	return c->mirror.remote || (!write_mirrored(c, w) && c->mirror.write_through);
}

bool mirror_copy_page(struct cache *c, struct cache_shard *s, const struct cache_write *w,
		      unsigned i)
{
	struct mirror *m = &c->mirror;
	if (!write_mirrored(c, w))
		return false;
	struct mirror_copy k = describe_write(c, w, i);
	m->ops->copy(m, &k, 1, false);
	c->cbe[w->pages[i]].mirror = k.to;
	s->copies++;
	return true;
}

bool mirror_copy_atomic(struct cache *c, const struct cache_write *w)
{
	struct mirror *m = &c->mirror;
	struct mirror_copy k[CACHE_IO_PAGES];
	if (!write_mirrored(c, w))
		return false;
	for (unsigned i = 0; i < (unsigned)w->n; i++)
		k[i] = describe_write(c, w, i);
	m->ops->copy(m, k, (unsigned)w->n, true);
	for (unsigned i = 0; i < (unsigned)w->n; i++) {
		struct cbe *e = &c->cbe[w->pages[i]];
		e->mirror = k[i].to;
		cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard->copies++;
	}
	return true;
}

int mirror_copy_write(struct cache *c, const struct cache_write *w, bool atomic)
{
	struct mirror *m = &c->mirror;
	struct mirror_copy k[CACHE_IO_PAGES];
	if (!write_mirrored(c, w))
		return 0;
	for (unsigned i = 0; i < (unsigned)w->n; i++)
		k[i] = describe_write(c, w, i);
	return m->ops->copy(m, k, (unsigned)w->n, atomic);
}

bool mirror_note_copy(struct cache *c, struct cache_shard *s, const struct cache_write *w,
		      unsigned i)
{
	if (!write_mirrored(c, w))
		return false;
	c->cbe[w->pages[i]].mirror = w->mirror[i];
	s->copies++;
	return true;
}

/* Goes on to the next page when all of this one that is written has come. */
static void page_came(struct cache *c, struct cache_write *w, size_t n)
{
	w->part += (uint32_t)n;
	if (w->part == w->iov[w->copied].iov_len) {
		w->copied++;
		w->part = 0;
	}
}

void cache_write_copy(struct cache_vol *v, struct cache_write *w, unsigned i, size_t off,
		      const void *from, size_t n)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	char *to = (char *)w->iov[i].iov_base + off;
	if (!mirror_epoch_joined(w->epoch) || i != w->copied || off != w->part) {
		copy_past_cache(to, from, n);
		return;
	}
	struct cache_shard *s = cache_place_of(c, v->id, (w->off >> c->page_shift) + i).shard;
	bool whole = w->iov[i].iov_len == c->page_size;
	pthread_mutex_lock(&s->lock);
	bool here = write_mirrored(c, w) && c->mirror.ops->at;
	if (here && whole)
		copy_twice_past_cache(to, (char *)c->mirror.ops->at(&c->mirror, w->mirror[i]) + off,
				      from, n);
	else
		copy_past_cache(to, from, n);
	pthread_mutex_unlock(&s->lock);
	if (here)
		page_came(c, w, n);
}

/* To another host only what is long goes ahead, and never the end: that comes with the commit. */
static bool goes_ahead(const struct cache *c, const struct cache_write *w, uint32_t bytes)
{
	return !c->mirror.remote || (w->n >= AHEAD_MIN && bytes < w->len);
}

void cache_write_received(struct cache_vol *v, struct cache_write *w, uint32_t bytes)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	uint64_t first = w->off >> c->page_shift, end = w->off + bytes;
	if (!mirror_epoch_joined(w->epoch) || !goes_ahead(c, w, bytes))
		return; /* the common case of a lone controller: nothing is touched */
	while (w->copied < (unsigned)w->n && (first + w->copied + 1) << c->page_shift <= end) {
		uint32_t i = w->copied;
		struct cache_shard *s = cache_place_of(c, v->id, first + i).shard;
		pthread_mutex_lock(&s->lock);
		bool whole = w->iov[i].iov_len == c->page_size;
		bool ok =
		    !whole || (write_mirrored(c, w) &&
			       c->mirror.ops->fill(&c->mirror, w->mirror[i], w->iov[i].iov_base));
		pthread_mutex_unlock(&s->lock);
		if (!ok)
			return; /* it goes with the commit */
		w->copied++;
		w->part = 0;
	}
}

void cache_page_unmirror(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b)
{
	struct mirror *m = &c->mirror;
	uint32_t copy = c->cbe[pg].mirror, epoch = atomic_load(&m->epoch);
	if (copy == CACHE_NO_PAGE)
		return;
	c->cbe[pg].mirror = CACHE_NO_PAGE;
	if (!mirror_epoch_joined(epoch))
		return;
	FAULT("mirror.clear");
	bool free_now = m->ops->clear(m, copy);
	s->cleared++;
	if (!free_now)
		return;
	if (b->nmirror && b->epoch != epoch)
		b->nmirror = 0; /* of a table that is no more */
	b->epoch = epoch;
	b->mirror[b->nmirror++] = copy;
}

/* ---- joining ---- */

static int wait_open(struct cache *c, _Atomic uint32_t *closed)
{
	uint32_t parts = atomic_load(&c->mirror.parts);
	while (atomic_load(closed)) {
		if (atomic_load(&c->mirror.parts) != parts)
			return -ECANCELED;
		env_sleep_ns(c->env, CLOSED_POLL_NS);
	}
	return 0;
}

/* Writes of the epoch whose counter the new one will use: long ago, but they may not be mixed. */
static void wait_counter(struct cache *c, uint32_t epoch)
{
	while (atomic_load(&c->pool.held[epoch % MIRROR_EPOCHS]))
		env_sleep_ns(c->env, CLOSED_POLL_NS);
}

static void epoch_next(struct cache *c, enum mirror_state state)
{
	struct mirror *m = &c->mirror;
	pthread_mutex_lock(&c->pool.lock);
	atomic_store(&m->io_pages, state == MIRROR_JOINING ? m->table.npages : UINT32_MAX);
	atomic_fetch_add(&m->epoch, 1);
	atomic_store(&m->state, state);
	pthread_mutex_unlock(&c->pool.lock);
	cache_limits_set(c);
}

/* The partner on this host: its segment is mapped. */
static int reach_segment(struct cache *c, const struct mirror_join *j, uint32_t *ret_pages)
{
	struct mirror *m = &c->mirror;
	_Atomic uint32_t *closed;
	int rc = mirror_host_map(c, j->segment, j->segment_size, &m->area, &closed);
	if (rc == 0)
		rc = wait_open(c, closed);
	if (rc)
		return rc;
	mirror_area_reset(&m->area); /* copies of an earlier time */
	m->ops = &mirror_host_ops;
	*ret_pages = m->area.npages;
	return 0;
}

/* On another one: it does that itself, when it is told. */
static int reach_host(struct cache *c, const struct mirror_join *j, uint32_t epoch,
		      uint32_t *ret_pages)
{
	struct mirror *m = &c->mirror;
	if (!j->link || c->page_size != 4096)
		return -EINVAL;
	int rc = mirror_link_join(c, j->link, epoch, ret_pages);
	if (rc == 0)
		rc = mirror_link_init(m, *ret_pages);
	if (rc)
		return rc;
	m->link = j->link;
	m->wire_epoch = epoch;
	m->sent_before = link_sent(j->link, LINK_SVC_MIRROR);
	m->ops = &mirror_link_ops;
	return 0;
}

int cache_mirror_join(struct cache *c, const struct mirror_join *j)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct mirror *m = &c->mirror;
	uint32_t n = 0, epoch = atomic_load(&m->epoch);
	if (mirror_epoch_joined(epoch))
		return -EALREADY;
	if (m->remote == (j->segment != NULL))
		return -EINVAL;
	wait_counter(c, epoch + 1);
	int rc = j->segment ? reach_segment(c, j, &n) : reach_host(c, j, epoch + 1, &n);
	if (rc == 0 && !n)
		rc = -ENOSPC;
	if (rc == 0)
		rc = mirror_table_init(&m->table, n);
	if (rc)
		return rc;
	pthread_mutex_lock(&c->pool.lock);
	m->on = j->on;
	m->on_arg = j->arg;
	pthread_mutex_unlock(&c->pool.lock);
	epoch_next(c, MIRROR_JOINING);
	log_notice("mirror joining table=%u", m->table.npages);
	pthread_mutex_lock(&c->bg.lock);
	waitq_wake_all(&m->q);
	pthread_mutex_unlock(&c->bg.lock);
	return 0;
}

/* Copies one dirty page that has none. Its shard's lock is held. False: no page is left for it. */
static bool cover_page(struct cache *c, struct cache_shard *s, uint32_t pg)
{
	struct mirror *m = &c->mirror;
	uint32_t to;
	pthread_mutex_lock(&c->pool.lock);
	bool ok = !m->ops->waits && m->table.nfree > m->table.npages / COVER_RESERVE &&
		  mirror_table_pop(&m->table, &to, 1);
	pthread_mutex_unlock(&c->pool.lock);
	if (!ok)
		return false;
	struct mirror_copy k = describe(c, pg, to);
	m->ops->copy(m, &k, 1, false);
	c->cbe[pg].mirror = to;
	s->copies++;
	return true;
}

/* False: it is dirty and has no copy. */
static bool cover_one(struct cache *c, uint32_t pg, uint32_t epoch)
{
	struct cbe *e = &c->cbe[pg];
	if (CBE_GET(e, state) != CBE_DIRTY)
		return true;
	struct cache_shard *s = cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard;
	pthread_mutex_lock(&s->lock);
	bool ok = true;
	/* It is guarded by this lock only while it is still the page it was. */
	if (cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard == s &&
	    CBE_GET(e, state) == CBE_DIRTY && (c->page[pg].flags & PG_INDEXED) &&
	    e->mirror == CACHE_NO_PAGE)
		ok = atomic_load(&c->mirror.epoch) == epoch && cover_page(c, s, pg);
	pthread_mutex_unlock(&s->lock);
	return ok;
}

/* Writes that began before the partner came, and have no mirror pages. */
static bool old_writes(struct cache *c, uint32_t epoch)
{
	for (uint32_t i = 0; i < MIRROR_EPOCHS; i++)
		if (i != epoch % MIRROR_EPOCHS && atomic_load(&c->pool.held[i]))
			return true;
	return false;
}

/* True when every dirty page has a copy. Once there is no old write any more, none can lose it. */
static bool cover(struct cache *c, uint32_t epoch)
{
	bool old = old_writes(c, epoch);
	uint32_t bare = 0;
	for (uint32_t pg = 0; pg < c->npages; pg++)
		bare += !cover_one(c, pg, epoch);
	if (bare)
		cache_sweep(c);
	return !old && !bare;
}

static void became_on(struct cache *c, uint32_t epoch)
{
	struct mirror *m = &c->mirror;
	pthread_mutex_lock(&c->pool.lock);
	bool still = atomic_load(&m->epoch) == epoch;
	void (*on)(void *) = m->on; /* of this session: another may join any time */
	void *arg = m->on_arg;
	if (still)
		atomic_store(&m->state, MIRROR_ON);
	pthread_mutex_unlock(&c->pool.lock);
	if (!still)
		return;
	event_write(LOG_L_NOTICE, "mirror.on", "every write is in both controllers' memory");
	if (on)
		on(arg);
}

void mirror_task(void *arg)
{
	struct cache *c = arg;
	struct mirror *m = &c->mirror;
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	while (!bg->stopping) {
		if (atomic_load(&m->state) != MIRROR_JOINING) {
			cache_wait(c, &bg->lock, &m->q, 0);
			continue;
		}
		pthread_mutex_unlock(&bg->lock);
		uint32_t epoch = atomic_load(&m->epoch);
		bool done = mirror_epoch_joined(epoch) && cover(c, epoch);
		if (done)
			became_on(c, epoch);
		pthread_mutex_lock(&bg->lock);
		if (!done && !bg->stopping)
			cache_wait(c, &bg->lock, &m->q, COVER_POLL_NS);
	}
	cache_task_ended(bg);
}

/* ---- parting ---- */

/* Nobody who saw the epoch before is in the partner's memory any more, and its numbers are gone. */
static void forget(struct cache *c)
{
	for (uint32_t i = 0; i < c->nshards; i++) {
		pthread_mutex_lock(&c->shard[i].lock);
		pthread_mutex_unlock(&c->shard[i].lock);
	}
	for (uint32_t pg = 0; pg < c->npages; pg++) {
		struct cbe *e = &c->cbe[pg];
		struct cache_shard *s =
		    cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard;
		pthread_mutex_lock(&s->lock);
		/* One that is in another shard by now was published under this epoch. */
		if (CBE_GET(e, state) == CBE_DIRTY &&
		    cache_place_of(c, CBE_GET(e, volume), CBE_GET(e, page)).shard == s &&
		    (c->page[pg].flags & PG_INDEXED))
			e->mirror = CACHE_NO_PAGE;
		pthread_mutex_unlock(&s->lock);
	}
}

int cache_mirror_part(struct cache *c, void (*before)(void *arg), void *arg)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct mirror *m = &c->mirror;
	atomic_fetch_add(&m->parts, 1);
	if (before)
		before(arg);
	if (!mirror_epoch_joined(atomic_load(&m->epoch)))
		return 0;
	epoch_next(c, MIRROR_LONE); /* from here on writes are acknowledged without a copy */
	forget(c);
	if (m->ops->leave)
		m->ops->leave(m);
	pthread_mutex_lock(&c->pool.lock);
	mirror_table_free(&m->table);
	pthread_mutex_unlock(&c->pool.lock);
	cache_pool_rescan(c); /* who waited for a mirror page needs none now */
	event_write(LOG_L_WARN, "mirror.lone", "the partner is away: writes are %s",
		    m->write_through ? "acknowledged when they are on the disks"
				     : "in this controller's memory alone");
	return 0;
}

/* ---- what is told ---- */

void cache_mirror_stats(struct cache *c, struct mirror_stats *ret)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct mirror *m = &c->mirror;
	struct mirror_stats t = {.state = cache_mirror_state(c),
				 .area_pages = m->own.npages,
				 .adopted_held = atomic_load(&m->held),
				 .write_through = m->write_through,
				 .waits = atomic_load(&m->waits),
				 .adopted = atomic_load(&m->adopted)};
	pthread_mutex_lock(&c->pool.lock);
	t.table_pages = m->table.npages;
	t.table_free = m->table.nfree;
	pthread_mutex_unlock(&c->pool.lock);
	for (uint32_t i = 0; i < m->own.npages; i++)
		t.area_used += CBE_GET(&m->own.cbe[i], state) != CBE_FREE;
	for (uint32_t i = 0; i < c->nshards; i++) {
		pthread_mutex_lock(&c->shard[i].lock);
		t.copies += c->shard[i].copies;
		t.cleared += c->shard[i].cleared;
		pthread_mutex_unlock(&c->shard[i].lock);
	}
	t.copied_bytes = t.copies << c->page_shift;
	pthread_mutex_lock(&m->clear_lock);
	if (mirror_epoch_joined(atomic_load(&m->epoch)) && m->link)
		t.messages = link_sent(m->link, LINK_SVC_MIRROR) - m->sent_before;
	pthread_mutex_unlock(&m->clear_lock);
	*ret = t;
}
