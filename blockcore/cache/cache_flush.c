/*
 * Making data stable: dirty pages of a range to disk, then one flush of the
 * backing, shared by all who wait for one.
 *
 * A flush writes its own pages at once, it never queues behind background destage; it waits for
 * another's write only where that write holds one of its pages. A long one is helped by the
 * destage tasks.
 */
#include "blockcore/cache/cache_priv.h"
#include "runtime/err.h"
#include <errno.h>

/* A page that must be read before it can be written (blocks larger than sectors). */
static int complete_page(struct cache_vol *v, uint64_t page)
{
	int rc = cache_fill_range(v, page, 1, false, TAKE_DESTAGE);
	if (rc == -EAGAIN)
		env_sleep_ns(v->c->env, NS_PER_MS);
	else if (rc == 0)
		cache_fill_wait(v, page);
	return rc == -EAGAIN || rc == -ERR_LEFT ? 0 : rc;
}

int cache_run_finish(struct cache_run *run)
{
	if (run->n)
		return cache_run_write(run);
	return run->partial != UINT64_MAX ? complete_page(run->v, run->partial) : 0;
}

static int range_alone(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit,
		       uint64_t *ret_busy)
{
	struct cache_run run;
	int rc = 0;
	while (rc == 0 && first < end) {
		cache_run_claim(v, &first, end, limit, UINT64_MAX, true, &run);
		*ret_busy = MIN(*ret_busy, run.busy);
		rc = cache_run_finish(&run);
	}
	return rc;
}

/* Background lock held; lets go of it for the I/O. False: nothing left to claim. */
bool cache_help_step(struct cache *c, struct flush_help *h)
{
	if (!cache_help_claimable(h))
		return false;
	struct cache_run run;
	cache_run_claim(h->vol, &h->cursor, h->end, h->limit, UINT64_MAX, true, &run);
	h->busy = MIN(h->busy, run.busy);
	if (!run.n && run.partial == UINT64_MAX)
		return false;
	h->running++;
	pthread_mutex_unlock(&c->bg.lock);
	int rc = cache_run_finish(&run);
	pthread_mutex_lock(&c->bg.lock);
	h->rc = h->rc ? h->rc : rc;
	if (--h->running == 0)
		waitq_wake_all(&c->bg.help_done);
	return true;
}

static int range_helped(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit,
			uint64_t *ret_busy)
{
	struct cache *c = v->c;
	struct flush_help h = {
	    .vol = v, .cursor = first, .end = end, .limit = limit, .busy = UINT64_MAX};
	pthread_mutex_lock(&c->bg.lock);
	TAILQ_INSERT_TAIL(&c->bg.helps, &h, link);
	waitq_wake_all(&c->bg.destage_idle);
	while (cache_help_step(c, &h))
		;
	TAILQ_REMOVE(&c->bg.helps, &h, link);
	while (h.running)
		cache_wait(c, &c->bg.lock, &c->bg.help_done, 0);
	pthread_mutex_unlock(&c->bg.lock);
	*ret_busy = MIN(*ret_busy, h.busy);
	return h.rc;
}

/* Waits until nobody is writing an older version of the page, or it is no longer wanted. */
static void wait_busy(struct cache_vol *v, uint64_t page, uint64_t limit)
{
	struct cache *c = v->c;
	struct cache_place p = cache_place_of(c, v->id, page);
	pthread_mutex_lock(&p.shard->lock);
	for (;;) {
		uint32_t pg = cache_index_find(c, p.bucket, v->id, page).cur;
		if (pg == CACHE_NO_PAGE || CBE_GET(&c->cbe[pg], state) != CBE_DIRTY)
			break;
		struct cache_page *m = &c->page[pg];
		if (m->since > limit || !(m->flags & (PG_DESTAGING | PG_HELD)))
			break;
		cache_wait(c, &p.shard->lock, &p.shard->destages, 0);
	}
	pthread_mutex_unlock(&p.shard->lock);
}

/*
 * It ends although writers go on: a page is wanted while its oldest unwritten data is not newer
 * than `limit`, and each write of it that ends leaves only newer data.
 */
int cache_destage_range(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit)
{
	end = MIN(end, cache_vol_pages(v));
	while (first < end) {
		uint64_t busy = UINT64_MAX;
		int rc = end - first > CACHE_RUN_PAGES ? range_helped(v, first, end, limit, &busy)
						       : range_alone(v, first, end, limit, &busy);
		if (rc)
			return rc;
		if (busy == UINT64_MAX)
			return 0;
		wait_busy(v, busy, limit);
		first = busy;
	}
	return 0;
}

/* The volume's lock is held: one flush, for all who came before it. */
static void flush_once(struct cache_vol *v)
{
	struct flush_waiter *w, *next;
	uint64_t number = ++v->flush_started;
	uint64_t written = atomic_load(&v->written);
	v->flushing = true;
	pthread_mutex_unlock(&v->lock);
	FAULT("cache.flush.before");
	int rc = bdev_flush(v->backing);
	FAULT("cache.flush.after");
	pthread_mutex_lock(&v->lock);
	v->flushing = false;
	if (rc == 0)
		v->flushed = written;
	TAILQ_FOREACH_SAFE (w, &v->flush_waiters, link, next) {
		if (w->want <= number) {
			TAILQ_REMOVE(&v->flush_waiters, w, link);
			w->rc = rc;
			w->done = true;
		}
		task_wake(w->task); /* the others: one of them starts the next */
	}
}

int cache_flush_backing(struct cache_vol *v)
{
	struct flush_waiter w = {.task = task_self()};
	pthread_mutex_lock(&v->lock);
	if (v->flushed == atomic_load(&v->written)) {
		pthread_mutex_unlock(&v->lock);
		return 0;
	}
	w.want = v->flush_started + 1;
	TAILQ_INSERT_TAIL(&v->flush_waiters, &w, link);
	while (!w.done) {
		if (!v->flushing) {
			flush_once(v);
			continue;
		}
		pthread_mutex_unlock(&v->lock);
		task_park();
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return w.rc;
}

int cache_flush(struct cache_vol *v, uint64_t off, uint64_t len)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	atomic_fetch_add(&v->nflushes, 1);
	if (c->battery)
		return 0;
	uint64_t limit = atomic_load(&c->super->generation), size = cache_vol_size(v);
	if (off > size)
		return -EINVAL;
	uint64_t end = len == 0 || len > size - off ? size : off + len;
	int rc = cache_destage_range(v, off >> c->page_shift,
				     (end + c->page_size - 1) >> c->page_shift, limit);
	return rc ? rc : cache_flush_backing(v);
}
