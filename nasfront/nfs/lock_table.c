/* The table itself: clients, owners and files, found by hash; who holds nothing is freed. */
#include "nasfront/nfs/lock_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/lock_impl.h"
#include "runtime/check.h"
#include "runtime/siphash.h"

/* ---- files ---- */

static unsigned file_bucket(const struct lock_table *t, const struct lock_file_key *k)
{
	uint64_t v[3] = {k->fs, k->ino, k->generation};
	return (unsigned)(siphash(t->o.hash_key, v, sizeof(v)) % LOCK_BUCKETS);
}

struct lock_file *lock_file_find(struct lock_table *t, const struct lock_file_key *k)
{
	struct lock_file *f;
	LIST_FOREACH (f, &t->files[file_bucket(t, k)], chain)
		if (f->key.ino == k->ino && f->key.fs == k->fs &&
		    f->key.generation == k->generation)
			return f;
	return NULL;
}

struct lock_file *lock_file_get(struct lock_table *t, const struct lock_file_key *k)
{
	struct lock_file *f = lock_file_find(t, k);
	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->key = *k;
	TAILQ_INIT(&f->locks);
	TAILQ_INIT(&f->waits);
	LIST_INIT(&f->watches);
	LIST_INIT(&f->shares);
	LIST_INSERT_HEAD(&t->files[file_bucket(t, k)], f, chain);
	t->stats.files++;
	return f;
}

void lock_file_check(struct lock_table *t, struct lock_file *f)
{
	if (!f || f->dirty || !TAILQ_EMPTY(&f->locks) || !TAILQ_EMPTY(&f->waits) ||
	    !LIST_EMPTY(&f->shares) || !LIST_EMPTY(&f->watches))
		return;
	LIST_REMOVE(f, chain);
	t->stats.files--;
	free(f);
}

/* ---- owners ---- */

static unsigned owner_bucket(const struct lock_table *t, const struct lock_ask *a)
{
	uint64_t h = siphash(t->o.hash_key, a->owner, a->owner_len);
	return (unsigned)((h ^ (uintptr_t)a->client >> 6) % LOCK_BUCKETS);
}

struct lock_owner *lock_owner_find(struct lock_table *t, const struct lock_ask *a)
{
	struct lock_owner *o;
	LIST_FOREACH (o, &t->owners[owner_bucket(t, a)], chain)
		if (o->client == a->client && o->len == a->owner_len &&
		    (o->len == 0 || memcmp(o->bytes, a->owner, o->len) == 0))
			return o;
	return NULL;
}

struct lock_owner *lock_owner_get(struct lock_table *t, const struct lock_ask *a)
{
	struct lock_owner *o = lock_owner_find(t, a);
	ASSERT(a->owner_len <= LOCK_OWNER_MAX);
	if (o)
		return o;
	o = calloc(1, sizeof(*o) + a->owner_len);
	if (!o)
		return NULL;
	o->client = a->client;
	o->len = a->owner_len;
	if (o->len)
		memcpy(o->bytes, a->owner, o->len);
	TAILQ_INIT(&o->locks);
	TAILQ_INIT(&o->waits);
	LIST_INIT(&o->shares);
	LIST_INSERT_HEAD(&t->owners[owner_bucket(t, a)], o, chain);
	TAILQ_INSERT_TAIL(&a->client->owners, o, link);
	t->stats.owners++;
	return o;
}

void lock_owner_check(struct lock_table *t, struct lock_owner *o)
{
	if (!o || o->nlocks || !TAILQ_EMPTY(&o->waits) || !LIST_EMPTY(&o->shares))
		return;
	LIST_REMOVE(o, chain);
	TAILQ_REMOVE(&o->client->owners, o, link);
	t->stats.owners--;
	free(o);
}

/* ---- what a change leads to ---- */

void lock_file_dirty(struct lock_table *t, struct lock_file *f)
{
	if (f->dirty)
		return;
	f->dirty = true;
	TAILQ_INSERT_TAIL(&t->dirty, f, dirty_link);
}

/* A grant may change a lock from write to read, or be its owner's first: other files follow. */
void lock_settle(struct lock_table *t)
{
	struct lock_file *f;
	while ((f = TAILQ_FIRST(&t->dirty))) {
		TAILQ_REMOVE(&t->dirty, f, dirty_link);
		f->dirty = false;
		lock_file_grant(t, f);
		lock_file_check(t, f);
	}
}

/* ---- clients ---- */

int lock_client_new(struct lock_client **ret, struct lock_table *t, void *user)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_client *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->magic = LOCK_CLIENT_MAGIC;
	c->table = t;
	c->user = user;
	TAILQ_INIT(&c->owners);
	t->nclients++;
	*ret = c;
	return 0;
}

static void owner_release(struct lock_table *t, struct lock_owner *o)
{
	struct lock_wait *w, *wnext;
	struct lock *l, *lnext;
	struct share *s, *snext;
	TAILQ_FOREACH_SAFE (w, &o->waits, owned, wnext) {
		void *user = w->user;
		lock_wait_remove(t, w);
		if (t->o.dropped)
			t->o.dropped(t->o.arg, user);
	}
	TAILQ_FOREACH_SAFE (l, &o->locks, owned, lnext)
		lock_drop(t, l);
	LIST_FOREACH_SAFE (s, &o->shares, owned, snext)
		lock_share_drop(t, s);
}

void lock_client_release(struct lock_client *c)
{
	CHECK(c, LOCK_CLIENT_MAGIC);
	struct lock_table *t = c->table;
	struct lock_owner *o;
	while ((o = TAILQ_FIRST(&c->owners))) {
		owner_release(t, o);
		lock_owner_check(t, o);
	}
	lock_settle(t);
}

void lock_client_free(struct lock_client *c)
{
	if (!c)
		return;
	lock_client_release(c);
	ASSERT(!c->nlocks && !c->nwaits);
	c->table->nclients--;
	c->magic = 0;
	free(c);
}

void *lock_client_user(const struct lock_client *c)
{
	return c->user;
}

void lock_client_set_key(struct lock_client *c, const void *key, uint32_t len)
{
	CHECK(c, LOCK_CLIENT_MAGIC);
	c->key = key;
	c->key_len = len;
}

const void *lock_client_key(const struct lock_client *c, uint32_t *ret_len)
{
	*ret_len = c->key_len;
	return c->key;
}

uint64_t *lock_client_account(struct lock_client *c)
{
	return &c->account;
}

unsigned lock_client_locks(const struct lock_client *c)
{
	return c->nlocks;
}

unsigned lock_client_waits(const struct lock_client *c)
{
	return c->nwaits;
}

void lock_client_yield(struct lock_client *c)
{
	CHECK(c, LOCK_CLIENT_MAGIC);
	c->in_way = false;
}

bool lock_client_in_way(const struct lock_client *c)
{
	const struct lock_owner *o;
	const struct lock *l;
	CHECK(c, LOCK_CLIENT_MAGIC);
	if (c->in_way)
		return true;
	TAILQ_FOREACH (o, &c->owners, link)
		TAILQ_FOREACH (l, &o->locks, owned)
			if (!TAILQ_EMPTY(&l->file->waits))
				return true;
	return false;
}

void lock_client_each(const struct lock_client *c, bool (*fn)(void *arg, const struct lock_info *l),
		      void *arg)
{
	const struct lock_owner *o;
	const struct lock *l;
	const struct lock_wait *w;
	TAILQ_FOREACH (o, &c->owners, link) {
		struct lock_info i = {
		    .client = (struct lock_client *)c, .owner = o->bytes, .owner_len = o->len};
		TAILQ_FOREACH (l, &o->locks, owned) {
			i.file = l->file->key;
			i.kind = l->kind;
			i.range = l->range;
			if (!fn(arg, &i))
				return;
		}
		i.waits = true;
		TAILQ_FOREACH (w, &o->waits, owned) {
			i.file = w->file->key;
			i.kind = w->kind;
			i.range = w->range;
			if (!fn(arg, &i))
				return;
		}
	}
}

/* ---- life ---- */

int lock_table_new(struct lock_table **ret, const struct lock_table_opts *o)
{
	struct lock_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->magic = LOCK_TABLE_MAGIC;
	t->o = *o;
	if (!t->o.max_locks)
		t->o.max_locks = 262144;
	if (!t->o.max_client_locks)
		t->o.max_client_locks = 65536;
	if (!t->o.max_waits)
		t->o.max_waits = 16384;
	if (!t->o.max_client_waits)
		t->o.max_client_waits = 4096;
	TAILQ_INIT(&t->dirty);
	*ret = t;
	return 0;
}

void lock_table_free(struct lock_table *t)
{
	if (!t)
		return;
	CHECK(t, LOCK_TABLE_MAGIC);
	ASSERT(!t->nclients && !t->stats.files && !t->stats.owners);
	t->magic = 0;
	free(t);
}

bool lock_table_full(const struct lock_table *t)
{
	return t->stats.locks + t->stats.shares >= t->o.max_locks;
}

void lock_stats(const struct lock_table *t, struct lock_stats *ret)
{
	*ret = t->stats;
}
