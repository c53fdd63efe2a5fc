/*
 * Read-ahead: a few sequential streams a volume, and tasks that read for them.
 *
 * A stream is found by where the next read is expected. Its window starts at 128 KiB and doubles
 * to 1 MiB; the first page of each window carries PG_MARK, and the read that reaches it asks for
 * the next window: so a stream that only meets hits still moves on, and one window is always on
 * its way.
 */
#include "blockcore/cache/cache_priv.h"

static struct ra_stream *stream_find(struct cache_vol *v, uint64_t first)
{
	for (int i = 0; i < RA_STREAMS; i++) {
		struct ra_stream *s = &v->ra[i];
		if (s->used && first + 1 >= s->next && first <= MAX(s->ahead, s->next))
			return s;
	}
	return NULL;
}

static void stream_new(struct cache_vol *v, uint64_t next)
{
	struct ra_stream *oldest = &v->ra[0];
	for (int i = 1; i < RA_STREAMS; i++)
		if (v->ra[i].used < oldest->used)
			oldest = &v->ra[i];
	*oldest = (struct ra_stream){.next = next, .ahead = next, .used = ++v->ra_clock};
}

void cache_ra_note(struct cache_vol *v, uint64_t first, uint32_t n)
{
	uint64_t pages = cache_vol_pages(v), start = 0;
	uint32_t count = 0;
	pthread_mutex_lock(&v->ra_lock);
	struct ra_stream *s = stream_find(v, first);
	if (!s) {
		stream_new(v, first + n);
	} else {
		s->used = ++v->ra_clock;
		s->next = first + n;
		start = MAX(s->ahead, s->next);
		if (start < pages && start - s->next <= CACHE_RUN_PAGES) {
			s->window = s->window ? MIN(s->window * 2, CACHE_RUN_PAGES) : RA_WINDOW_MIN;
			count = (uint32_t)MIN(s->window, pages - start);
			s->ahead = start + count;
		}
	}
	pthread_mutex_unlock(&v->ra_lock);
	if (count)
		cache_ra_push(v, start, count, true);
}

/* False: too many are waiting already; it was only a hint. */
bool cache_ra_push(struct cache_vol *v, uint64_t page, uint32_t n, bool mark)
{
	struct cache_background *bg = &v->c->bg;
	pthread_mutex_lock(&bg->lock);
	bool room = bg->started && !bg->stopping && bg->ra_count < RA_QUEUE;
	if (room) {
		unsigned at = (bg->ra_first + bg->ra_count++) % RA_QUEUE;
		bg->ra[at] = (struct ra_request){v, page, n, mark};
		waitq_wake_one(&bg->ra_idle);
	}
	pthread_mutex_unlock(&bg->lock);
	return room;
}

void cache_ra_purge(struct cache_vol *v)
{
	struct cache_background *bg = &v->c->bg;
	pthread_mutex_lock(&bg->lock);
	unsigned kept = 0;
	for (unsigned i = 0; i < bg->ra_count; i++) {
		struct ra_request r = bg->ra[(bg->ra_first + i) % RA_QUEUE];
		if (r.vol != v)
			bg->ra[(bg->ra_first + kept++) % RA_QUEUE] = r;
	}
	bg->ra_count = kept;
	pthread_mutex_unlock(&bg->lock);
}

void cache_ra_task(void *arg)
{
	struct cache *c = arg;
	struct cache_background *bg = &c->bg;
	pthread_mutex_lock(&bg->lock);
	while (!bg->stopping) {
		if (!bg->ra_count) {
			cache_wait(c, &bg->lock, &bg->ra_idle, 0);
			continue;
		}
		struct ra_request r = bg->ra[bg->ra_first];
		bg->ra_first = (bg->ra_first + 1) % RA_QUEUE;
		bg->ra_count--;
		bool held = cache_vol_hold(r.vol);
		pthread_mutex_unlock(&bg->lock);
		if (held) {
			/* Errors are for those who need the data: they will meet them. */
			cache_fill_range(r.vol, r.page, MIN(r.n, c->nown / 8), r.mark, TAKE_READ);
			cache_vol_unhold(r.vol);
		}
		pthread_mutex_lock(&bg->lock);
	}
	if (--bg->tasks == 0)
		waitq_wake_all(&bg->ended);
	pthread_mutex_unlock(&bg->lock);
}

void cache_prefetch(struct cache_vol *v, uint64_t off, uint64_t len)
{
	CHECK(v, CACHE_VOL_MAGIC);
	struct cache *c = v->c;
	if (off >= cache_vol_size(v) || !len)
		return;
	len = MIN(len, cache_vol_size(v) - off);
	uint64_t page = off >> c->page_shift, end = ((off + len - 1) >> c->page_shift) + 1;
	end = MIN(end, page + c->nown / 4); /* more would push itself out */
	while (page < end) {
		uint32_t n = (uint32_t)MIN(end - page, MIN(CACHE_RUN_PAGES, c->nown / 8));
		if (!cache_ra_push(v, page, n, false))
			return;
		page += n;
	}
}
