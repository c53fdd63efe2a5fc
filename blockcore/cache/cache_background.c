/*
 * The tasks behind the cache, on the reactor that called cache_start():
 *
 *   destage   several, each with one disk write in flight: first what a flush asks for, then the
 *             elevator over all volumes, for pages older than the last sweep; for all while much
 *             is dirty (`urgent`) or somebody waits for pages
 *   tick      while anything is dirty, says from time to time: all that is dirty now shall go to
 *             disk. Every `sweep_ns`; above low water sooner the more there is. So a page that
 *             is written again and again goes to disk now and then, not each time. Each TICK_NS
 *             while pages of the partner's are in use: until they are on disk, and no head reads
 *             them, it cannot mirror here.
 *   ahead     read-ahead
 *   mirror    while the partner has joined and pages have no copy yet (blockcore/mirror)
 */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>

#define DESTAGE_TASKS 8
#define AHEAD_TASKS   4
#define TICK_NS	      (NS_PER_S / 16) /* how often it is looked how much is dirty */
#define RETRY_NS      (1 * NS_PER_S)

void cache_background_init(struct cache *c)
{
	struct cache_background *bg = &c->bg;
	pthread_mutex_init(&bg->lock, NULL);
	waitq_init(&bg->ended);
	waitq_init(&bg->destage_idle);
	waitq_init(&bg->help_done);
	waitq_init(&bg->tick);
	waitq_init(&bg->ra_idle);
	TAILQ_INIT(&bg->helps);
}

void cache_kick(struct cache *c)
{
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	bg->exhausted = false;
	waitq_wake_one(&bg->destage_idle);
	if (atomic_load(&bg->tick_idle))
		waitq_wake_all(&bg->tick);
	pthread_mutex_unlock(&bg->lock);
}

void cache_sweep(struct cache *c)
{
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	/* Nothing is held back: somebody wants all of it on the disks. */
	atomic_store(&bg->sweep, atomic_load(&c->super->generation));
	bg->sweep_before = bg->sweep;
	bg->exhausted = false;
	waitq_wake_all(&bg->destage_idle);
	pthread_mutex_unlock(&bg->lock);
}

/* Dirty pages of attached volumes. */
static uint32_t dirty_pages(struct cache *c)
{
	uint32_t dirty = atomic_load(&c->ndirty), orphans = atomic_load(&c->norphans);
	return dirty > orphans ? dirty - orphans : 0;
}

/* From the cursor to the last volume's last page. The background lock is held. */
static bool claim_onward(struct cache *c, uint64_t limit, uint64_t hold, struct cache_run *run)
{
	struct cache_background *bg = &c->bg;
	struct cache_vol *v = bg->cursor_vol;
	uint64_t group;
	for (;;) {
		if (v && cache_vol_hold(v)) {
			cache_run_claim(v, &bg->cursor_page, CACHE_PAGE_LIMIT, limit, hold, false,
					run);
			if (run->n || run->partial != UINT64_MAX)
				return true;
			cache_vol_unhold(v);
		}
		if ((v && v->id == UINT32_MAX) ||
		    !cache_dirty_next(c, v ? v->id + 1 : 0, 0, &v, &group))
			break;
		bg->cursor_vol = v;
		bg->cursor_page = group << CACHE_GROUP_BITS;
	}
	bg->cursor_vol = NULL;
	bg->cursor_page = 0;
	return false;
}

static bool claim_next(struct cache *c, struct cache_run *run)
{
	struct cache_background *bg = &c->bg;
	uint32_t dirty = dirty_pages(c);
	if (bg->exhausted || !dirty)
		return false;
	bool all = dirty > atomic_load(&c->urgent) || atomic_load(&c->pool.nwaiting);
	uint64_t limit = all ? UINT64_MAX : atomic_load(&bg->sweep);
	if (!limit)
		return false;
	/* What came since the sweep before may be a stripe that is being filled; not when somebody
	 * waits for it. */
	bool hurry = atomic_load(&c->pool.nwaiting) || atomic_load(&c->mirror.held);
	uint64_t hold = hurry ? UINT64_MAX : all ? atomic_load(&bg->sweep) : bg->sweep_before;
	if (claim_onward(c, limit, hold, run) || claim_onward(c, limit, hold, run))
		return true;
	bg->exhausted = true;
	return false;
}

/* A page that cannot be read cannot be written either: leave it for a while. */
static void fail_partial(struct cache_vol *v, uint64_t page)
{
	struct cache *c = v->c;
	struct cache_place p = cache_place_of(c, v->id, page);
	pthread_mutex_lock(&p.shard->lock);
	uint32_t pg = cache_index_find(c, p.bucket, v->id, page).cur;
	if (pg != CACHE_NO_PAGE)
		c->page[pg].flags |= PG_FAILED;
	pthread_mutex_unlock(&p.shard->lock);
	atomic_store(&v->retry_at, env_now_ns(c->env) + RETRY_NS);
}

static void destage_step(struct cache *c, struct cache_run *run)
{
	pthread_mutex_unlock(&c->bg.lock);
	struct cache_vol *v = run->v;
	uint64_t partial = run->partial;
	bool reads = run->n == 0;
	if (cache_run_finish(run) && reads)
		fail_partial(v, partial);
	cache_vol_unhold(v);
	pthread_mutex_lock(&c->bg.lock);
	c->bg.exhausted = false;
}

void cache_task_ended(struct cache_background *bg)
{
	if (--bg->tasks == 0)
		waitq_wake_all(&bg->ended);
	pthread_mutex_unlock(&bg->lock);
}

static void destage_task(void *arg)
{
	struct cache *c = arg;
	struct cache_background *bg = &c->bg;
	struct cache_run run;
	pthread_mutex_lock(&bg->lock);
	while (!bg->stopping) {
		struct flush_help *h = TAILQ_FIRST(&bg->helps);
		while (h && !cache_help_claimable(h))
			h = TAILQ_NEXT(h, link);
		if (h && cache_help_step(c, h))
			continue;
		if (claim_next(c, &run)) {
			waitq_wake_one(&bg->destage_idle); /* there may be work for one more */
			destage_step(c, &run);
			continue;
		}
		atomic_fetch_add(&bg->nidle, 1);
		cache_wait(c, &bg->lock, &bg->destage_idle, 0);
		atomic_fetch_sub(&bg->nidle, 1);
	}
	cache_task_ended(bg);
}

/* How long from one sweep to the next. */
static uint64_t sweep_ns(struct cache *c)
{
	uint32_t dirty = dirty_pages(c), low = atomic_load(&c->low),
		 urgent = atomic_load(&c->urgent);
	if (atomic_load(&c->mirror.held))
		return 0;
	if (dirty <= low)
		return c->sweep_ns;
	return dirty < urgent ? c->sweep_ns * (urgent - dirty) / (urgent - low) : 0;
}

static void tick(struct cache *c)
{
	cache_wait(c, &c->bg.lock, &c->bg.tick, TICK_NS);
	if (!atomic_load(&c->mirror.held))
		return;
	pthread_mutex_unlock(&c->bg.lock);
	cache_pool_rescan(c);
	pthread_mutex_lock(&c->bg.lock);
}

static void tick_task(void *arg)
{
	struct cache *c = arg;
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	while (!bg->stopping) {
		atomic_store(&bg->tick_idle, true);
		if (!dirty_pages(c) && !atomic_load(&c->mirror.held)) {
			cache_wait(c, &bg->lock, &bg->tick, 0);
			continue;
		}
		atomic_store(&bg->tick_idle, false);
		uint64_t start = env_now_ns(c->env);
		do {
			tick(c);
		} while (!bg->stopping && env_now_ns(c->env) - start < sweep_ns(c));
		bg->sweep_before = atomic_load(&bg->sweep);
		atomic_store(&bg->sweep, atomic_load(&c->super->generation));
		bg->exhausted = false;
		waitq_wake_all(&bg->destage_idle);
	}
	atomic_store(&bg->tick_idle, false);
	cache_task_ended(bg);
}

static int start_task(struct cache *c, task_fn *fn)
{
	c->bg.tasks++;
	int rc = task_start(fn, c);
	if (rc)
		c->bg.tasks--;
	return rc;
}

int cache_start(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_background *bg = &c->bg;
	int rc = 0;
	pthread_mutex_lock(&bg->lock);
	ASSERT(!bg->started);
	bg->started = true;
	rc = start_task(c, tick_task);
	if (rc == 0)
		rc = start_task(c, mirror_task);
	if (rc == 0 && c->mirror.remote)
		rc = start_task(c, mirror_clear_task);
	for (int i = 0; rc == 0 && i < DESTAGE_TASKS; i++)
		rc = start_task(c, destage_task);
	for (int i = 0; rc == 0 && i < AHEAD_TASKS; i++)
		rc = start_task(c, cache_ra_task);
	pthread_mutex_unlock(&bg->lock);
	return rc;
}

void cache_background_stop(struct cache *c)
{
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	bg->stopping = true;
	waitq_wake_all(&bg->destage_idle);
	waitq_wake_all(&bg->tick);
	waitq_wake_all(&bg->ra_idle);
	waitq_wake_all(&c->mirror.q);
	mirror_stop(c);
	while (bg->tasks)
		cache_wait(c, &bg->lock, &bg->ended, 0);
	pthread_mutex_unlock(&bg->lock);
}
