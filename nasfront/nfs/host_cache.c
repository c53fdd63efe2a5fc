/*
 * Look-ups (a directory service may be behind nsswitch) run in libuv's thread pool, LOOKUPS at
 * once; callers with the same question wait for the same one.
 *
 * An entry is  looking -> known | unknown (no such thing) | failed  and, when its time is over,
 * looked up anew by the next who asks. Entries nobody waits for go least lately used first when
 * there are more of them, or larger answers, than there is room for; those without an answer before
 * the others while they are more than a quarter: callers may make up as many numbers as they like.
 */
#include "nasfront/nfs/host_cache.h"
#include <bsd/sys/queue.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "runtime/siphash.h"
#include "runtime/task.h"

#define BUCKETS	    1024
#define ENTRIES	    4096
#define LOOKUPS	    2	/* threads of the pool they may take */
#define PENDING	    256 /* looked up or waiting for it */
#define WAIT_NS	    (5 * NS_PER_S)
#define TTL_NS	    (300 * NS_PER_S)
#define NEGATIVE_NS (60 * NS_PER_S)

struct entry {
	int state; /* 0: answer; -EAGAIN: looking; else why there is none */
	unsigned waiting;
	uint64_t until_ns;
	struct host_answer *answer;
	struct waitq q;
	LIST_ENTRY(entry) hash_link;
	TAILQ_ENTRY(entry) link; /* least lately used first; in `vain` when there is no answer */
	struct host_key key;	 /* its name follows */
	char name[];
};

TAILQ_HEAD(entries, entry);

struct lookup {
	uv_work_t req;
	struct host_cache *h; /* NULL: it has gone */
	host_find_fn *find;
	void *arg;
	int rc;
	struct host_answer *answer;
	LIST_ENTRY(lookup) link;
	STAILQ_ENTRY(lookup) queue_link;
	struct host_key key;
	char name[];
};

struct host_cache {
	struct host_cache_opts o;
	uint64_t hash_key[2];
	LIST_HEAD(, entry) hash[BUCKETS];
	struct entries entries, vain;
	unsigned nvain;
	LIST_HEAD(, lookup) running;
	STAILQ_HEAD(, lookup) queue;
	unsigned nrunning, npending;
	uint64_t cost; /* of all answers kept */
	struct host_cache_stats st;
};

/* ---- answers and entries ---- */

void host_answer_put(struct host_answer *a)
{
	if (a && --a->refs == 0)
		free(a);
}

static unsigned bucket(const struct host_cache *h, const struct host_key *k)
{
	uint64_t v[3] = {k->kind, k->id, siphash(h->hash_key, k->len ? k->name : "", k->len)};
	return (unsigned)(siphash(h->hash_key, v, sizeof(v)) % BUCKETS);
}

static bool same(const struct host_key *a, const struct host_key *b)
{
	return a->kind == b->kind && a->id == b->id && a->len == b->len &&
	       (a->len == 0 || memcmp(a->name, b->name, a->len) == 0);
}

static struct entry *entry_find(struct host_cache *h, const struct host_key *k)
{
	struct entry *e;
	LIST_FOREACH (e, &h->hash[bucket(h, k)], hash_link)
		if (same(&e->key, k))
			return e;
	return NULL;
}

static bool is_vain(const struct entry *e)
{
	return e->state && e->state != -EAGAIN;
}

static void entry_unlink(struct host_cache *h, struct entry *e)
{
	TAILQ_REMOVE(is_vain(e) ? &h->vain : &h->entries, e, link);
	h->nvain -= is_vain(e);
}

/* As the one used last. */
static void entry_link(struct host_cache *h, struct entry *e, int state)
{
	e->state = state;
	TAILQ_INSERT_TAIL(is_vain(e) ? &h->vain : &h->entries, e, link);
	h->nvain += is_vain(e);
}

static void answer_drop(struct host_cache *h, struct entry *e)
{
	if (e->answer)
		h->cost -= e->answer->cost;
	host_answer_put(e->answer);
	e->answer = NULL;
}

static void entry_drop(struct host_cache *h, struct entry *e)
{
	answer_drop(h, e);
	LIST_REMOVE(e, hash_link);
	entry_unlink(h, e);
	h->st.entries--;
	free(e);
}

static void room_of(struct host_cache *h, struct entries *list, unsigned keep_vain)
{
	struct entry *e, *next;
	TAILQ_FOREACH_SAFE (e, list, link, next) {
		if ((h->st.entries <= h->o.entries && h->cost <= h->o.max_cost) ||
		    h->nvain < keep_vain)
			return;
		if (e->state != -EAGAIN && !e->waiting)
			entry_drop(h, e);
	}
}

static void room_make(struct host_cache *h)
{
	room_of(h, &h->vain, h->o.entries / 4 + 1);
	room_of(h, &h->entries, 0);
	room_of(h, &h->vain, 0); /* the others may all be looked up just now */
}

/* Its own copy of the key, the name's bytes and a zero behind them at `name`. */
static void key_copy(struct host_key *to, char *name, const struct host_key *from)
{
	*to = *from;
	to->name = name;
	if (from->len)
		memcpy(name, from->name, from->len);
	name[from->len] = 0;
}

static struct entry *entry_new(struct host_cache *h, const struct host_key *k)
{
	struct entry *e = calloc(1, sizeof(*e) + k->len + 1);
	if (!e)
		return NULL;
	key_copy(&e->key, e->name, k);
	waitq_init(&e->q);
	LIST_INSERT_HEAD(&h->hash[bucket(h, k)], e, hash_link);
	entry_link(h, e, 0);
	h->st.entries++;
	return e;
}

/* ---- looking up ---- */

static void lookup_next(struct host_cache *h);

static void entry_answer(struct host_cache *h, struct lookup *l)
{
	struct entry *e = entry_find(h, &l->key);
	if (l->rc == 0) {
		e->answer = l->answer;
		e->answer->refs = 1;
		h->cost += e->answer->cost;
		l->answer = NULL;
	} else if (l->rc != -ENOENT) {
		h->st.failures++;
		log_warn("nfs: %s cannot be found id=%u why=%s", h->o.what, l->key.id,
			 err_text(l->rc));
	}
	entry_unlink(h, e);
	entry_link(h, e, l->rc);
	e->until_ns = env_now_ns(h->o.env) + (l->rc ? h->o.negative_ns : h->o.ttl_ns);
	waitq_wake_all(&e->q);
}

static void lookup_work(uv_work_t *req)
{
	struct lookup *l = req->data;
	l->rc = l->find(l->arg, &l->key, &l->answer);
}

static void lookup_done(uv_work_t *req, int status)
{
	struct lookup *l = req->data;
	struct host_cache *h = l->h;
	if (status)
		l->rc = -ECANCELED;
	if (h) {
		LIST_REMOVE(l, link);
		h->nrunning--;
		h->npending--;
		entry_answer(h, l);
		room_make(h);
		lookup_next(h);
	}
	free(l->answer);
	free(l);
}

static void lookup_next(struct host_cache *h)
{
	struct lookup *l;
	while (h->nrunning < LOOKUPS && (l = STAILQ_FIRST(&h->queue))) {
		STAILQ_REMOVE_HEAD(&h->queue, queue_link);
		LIST_INSERT_HEAD(&h->running, l, link);
		h->nrunning++;
		/* Fails only without a callback. */
		int rc =
		    uv_queue_work(reactor_loop(h->o.reactor), &l->req, lookup_work, lookup_done);
		ASSERT(rc == 0);
	}
}

static int lookup_start(struct host_cache *h, struct entry *e)
{
	if (h->npending >= PENDING)
		return -EBUSY;
	struct lookup *l = calloc(1, sizeof(*l) + e->key.len + 1);
	if (!l)
		return -ENOMEM;
	l->req.data = l;
	l->h = h;
	key_copy(&l->key, l->name, &e->key);
	l->find = h->o.find;
	l->arg = h->o.arg;
	answer_drop(h, e);
	entry_unlink(h, e);
	entry_link(h, e, -EAGAIN);
	h->npending++;
	h->st.lookups++;
	STAILQ_INSERT_TAIL(&h->queue, l, queue_link);
	lookup_next(h);
	return 0;
}

/* ---- calls ---- */

static int entry_state(struct host_cache *h, struct entry *e, struct host_answer **ret)
{
	entry_unlink(h, e);
	entry_link(h, e, e->state);
	if (e->state)
		return e->state;
	e->answer->refs++;
	*ret = e->answer;
	return 0;
}

static bool is_fresh(const struct host_cache *h, const struct entry *e)
{
	return e->state != -EAGAIN && env_now_ns(h->o.env) < e->until_ns;
}

int host_cache_try(struct host_cache *h, const struct host_key *k, struct host_answer **ret)
{
	struct entry *e = entry_find(h, k);
	if (!e || !is_fresh(h, e))
		return -EAGAIN;
	h->st.hits++;
	return entry_state(h, e, ret);
}

struct waiting {
	struct entry *e;
	bool over;
};

static void wait_over(void *arg)
{
	struct waiting *w = arg;
	w->over = true;
	waitq_wake_all(&w->e->q); /* the others look and wait on */
}

int host_cache_get(struct host_cache *h, const struct host_key *k, struct host_answer **ret)
{
	if (k->len > HOST_NAME_BYTES)
		return -EINVAL;
	struct entry *e = entry_find(h, k);
	if (e && is_fresh(h, e))
		return host_cache_try(h, k, ret);
	if (!e && !(e = entry_new(h, k)))
		return -ENOMEM;
	e->waiting++;
	int rc = e->state == -EAGAIN ? 0 : lookup_start(h, e);
	struct waiting w = {.e = e};
	struct env_timer timer = {.fn = wait_over, .arg = &w};
	if (!rc)
		env_timer_start(h->o.env, &timer, WAIT_NS);
	while (!rc && e->state == -EAGAIN && !w.over)
		waitq_wait(&e->q);
	if (!rc)
		env_timer_stop(h->o.env, &timer);
	e->waiting--;
	if (!rc)
		rc = entry_state(h, e, ret);
	else if (!e->waiting && !e->until_ns) /* never asked for */
		entry_drop(h, e);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

int host_cache_new(struct host_cache **ret, const struct host_cache_opts *o)
{
	struct host_cache *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->o = *o;
	if (!h->o.ttl_ns)
		h->o.ttl_ns = TTL_NS;
	if (!h->o.negative_ns)
		h->o.negative_ns = MIN(h->o.ttl_ns, NEGATIVE_NS);
	if (!h->o.entries)
		h->o.entries = ENTRIES;
	env_random(h->o.env, h->hash_key, sizeof(h->hash_key));
	TAILQ_INIT(&h->entries);
	TAILQ_INIT(&h->vain);
	STAILQ_INIT(&h->queue);
	*ret = h;
	return 0;
}

void host_cache_free(struct host_cache *h)
{
	struct lookup *l;
	struct entry *e;
	if (!h)
		return;
	while ((l = LIST_FIRST(&h->running))) {
		LIST_REMOVE(l, link);
		l->h = NULL;
	}
	while ((l = STAILQ_FIRST(&h->queue))) {
		STAILQ_REMOVE_HEAD(&h->queue, queue_link);
		free(l);
	}
	while ((e = TAILQ_FIRST(&h->entries)) || (e = TAILQ_FIRST(&h->vain))) {
		ASSERT(!e->waiting);
		entry_drop(h, e);
	}
	free(h);
}

void host_cache_stats(const struct host_cache *h, struct host_cache_stats *ret)
{
	*ret = h->st;
}
