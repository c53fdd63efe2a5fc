/* Opening and closing the cache, and the one way its tasks wait. */
#include "blockcore/cache/cache_priv.h"
#include <errno.h>
#include <stdlib.h>

struct wait_timer {
	struct env_timer timer;
	struct task *task;
	bool fired;
};

static void wait_fire(void *arg)
{
	struct wait_timer *t = arg;
	t->fired = true;
	task_wake(t->task);
}

void cache_wait(struct cache *c, pthread_mutex_t *lock, struct waitq *q, uint64_t ns)
{
	struct waiter w;
	struct wait_timer t = {.task = task_self()};
	t.timer = (struct env_timer){.fn = wait_fire, .arg = &t};
	waitq_enter(q, &w);
	pthread_mutex_unlock(lock);
	if (ns)
		env_timer_start(c->env, &t.timer, ns);
	task_park();
	if (ns && !t.fired)
		env_timer_stop(c->env, &t.timer);
	pthread_mutex_lock(lock);
	waitq_leave(q, &w);
}

static int shards_init(struct cache *c)
{
	c->nshards = 1;
	while (c->nshards < CACHE_SHARDS_MAX && c->nown / c->nshards >= 1024)
		c->nshards *= 2;
	size_t size = c->nshards * sizeof(*c->shard);
	if (posix_memalign((void **)&c->shard, CACHE_LINE, size))
		return -ENOMEM;
	memset(c->shard, 0, size);
	for (uint32_t i = 0; i < c->nshards; i++) {
		struct cache_shard *s = &c->shard[i];
		pthread_mutex_init(&s->lock, NULL);
		RB_INIT(&s->dirty);
		waitq_init(&s->fills);
		waitq_init(&s->destages);
	}
	return 0;
}

/* What may be dirty: a share of the own pages; and while it is mirrored, of the partner's area. */
void cache_limits_set(struct cache *c)
{
	uint32_t room = mirror_epoch_joined(atomic_load(&c->mirror.epoch)) ? c->mirror.table.npages
									   : UINT32_MAX;
	uint32_t budget = c->nown - MAX(c->nown / 16, 2 * c->pool.reserve);
	uint32_t high = MIN((uint32_t)((uint64_t)c->nown * c->high_share / 100), budget);
	high = MIN(high, room - room / 4);
	uint32_t low = MIN((uint32_t)((uint64_t)c->nown * c->low_share / 100), high);
	low = MIN(low, room / 2);
	atomic_store(&c->budget, budget);
	atomic_store(&c->high, high);
	atomic_store(&c->low, low);
	atomic_store(&c->urgent, low + (high - low) / 2);
}

static void cache_free(struct cache *c)
{
	struct cache_vol *v;
	struct cache_hazard *h;
	while ((v = TAILQ_FIRST(&c->vols))) {
		TAILQ_REMOVE(&c->vols, v, link);
		cache_vol_free(v);
	}
	while ((h = TAILQ_FIRST(&c->hazards))) {
		TAILQ_REMOVE(&c->hazards, h, link);
		free(h);
	}
	if (c->shard)
		cache_evict_fini(c);
	mirror_fini(c);
	cache_dirty_fini(c);
	cache_pool_fini(c);
	free(c->shard);
	free(c->page);
	c->magic = 0;
	free(c);
}

static int private_init(struct cache *c, const struct cache_opts *o)
{
	int rc;
	c->page = mem_huge_alloc(c->npages * sizeof(*c->page));
	if (!c->page)
		return -ENOMEM;
	memset(c->page, 0, c->npages * sizeof(*c->page));
	if ((rc = shards_init(c)) || (rc = cache_pool_init(c)) || (rc = cache_evict_init(c)) ||
	    (rc = cache_dirty_init(c)))
		return rc;
	c->low_share = o->dirty_low ? o->dirty_low : 25;
	c->high_share = o->dirty_high ? o->dirty_high : 60;
	c->sweep_ns = o->sweep_ns ? o->sweep_ns : NS_PER_S;
	cache_limits_set(c);
	return mirror_init(c, o);
}

int cache_open(struct cache **ret, const struct cache_opts *o, uint32_t *ret_adopted)
{
	uint32_t adopted;
	struct cache *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->magic = CACHE_PRIV_MAGIC;
	c->env = o->env;
	c->battery = o->battery;
	TAILQ_INIT(&c->vols);
	TAILQ_INIT(&c->hazards);
	pthread_mutex_init(&c->vols_lock, NULL);
	pthread_mutex_init(&c->atomic_lock, NULL);
	pthread_mutex_init(&c->hazard_lock, NULL);
	cache_background_init(c);
	int rc = cache_segment_open(c, o);
	if (rc == 0)
		rc = private_init(c, o);
	if (rc == 0)
		rc = cache_adopt(c, o->heads, &adopted);
	if (rc) {
		cache_free(c);
		return rc;
	}
	log_info("cache open pages=%u area=%u adopted=%u dirty=%u promise=%s", c->nown,
		 c->npages - c->nown, adopted, atomic_load(&c->ndirty),
		 c->battery ? "battery" : "volatile");
	if (ret_adopted)
		*ret_adopted = adopted;
	*ret = c;
	return 0;
}

void cache_stop(struct cache *c)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	cache_background_stop(c);
}

int cache_close(struct cache *c, bool abandon)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	struct cache_vol *v;
	int rc = 0;
	TAILQ_FOREACH (v, &c->vols, link) {
		if (abandon || !v->backing)
			continue;
		int one = cache_destage_range(v, 0, cache_vol_pages(v), UINT64_MAX);
		if (one == 0)
			one = cache_flush_backing(v);
		rc = rc ? rc : one;
	}
	cache_background_stop(c);
	cache_free(c);
	return rc;
}
