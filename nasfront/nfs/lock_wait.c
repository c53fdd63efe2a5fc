/* Requests that wait for a lock: their order, and the search for cycles. */
#include <errno.h>
#include <stdlib.h>
#include "nasfront/nfs/lock_impl.h"
#include "runtime/check.h"

/* ---- in whose way ---- */

/* The first request of another owner, earlier than `before` (NULL: any), that conflicts. */
static struct lock_wait *wait_in_way(const struct lock_file *f, const struct lock_owner *owner,
				     enum lock_kind kind, const struct lock_range *r,
				     const struct lock_wait *before)
{
	struct lock_wait *w;
	if (owner && owner->nlocks)
		return NULL; /* see lock_table.h */
	TAILQ_FOREACH (w, &f->waits, link) {
		if (w == before)
			return NULL;
		if (w->owner != owner && lock_kinds_conflict(w->kind, kind) &&
		    lock_overlap(&w->range, r))
			return w;
	}
	return NULL;
}

/* Puts the owners whose locks are in the way of a request on the list of those to be looked at. */
static void visit_holders(struct lock_table *t, struct lock_file *f, const struct lock_owner *of,
			  enum lock_kind kind, const struct lock_range *r, struct lock_owner **list)
{
	struct lock *l;
	TAILQ_FOREACH (l, &f->locks, link) {
		if (l->owner == of || l->owner->seen == t->search ||
		    !lock_kinds_conflict(l->kind, kind) || !lock_overlap(&l->range, r))
			continue;
		l->owner->seen = t->search;
		l->owner->next_seen = *list;
		*list = l->owner;
	}
}

/* Would `o`, waiting in f, wait for itself? */
static bool closes_cycle(struct lock_table *t, struct lock_file *f, const struct lock_owner *o,
			 enum lock_kind kind, const struct lock_range *r)
{
	struct lock_owner *list = NULL;
	const struct lock_wait *w;
	t->search++;
	visit_holders(t, f, o, kind, r, &list);
	while (list) {
		struct lock_owner *at = list;
		list = at->next_seen;
		if (at == o)
			return true;
		TAILQ_FOREACH (w, &at->waits, owned)
			visit_holders(t, w->file, at, w->kind, &w->range, &list);
	}
	return false;
}

/* ---- the queue ---- */

void lock_wait_remove(struct lock_table *t, struct lock_wait *w)
{
	TAILQ_REMOVE(&w->file->waits, w, link);
	TAILQ_REMOVE(&w->owner->waits, w, owned);
	lock_watches_loose(w->file, &w->watches);
	w->owner->client->nwaits--;
	t->stats.waits--;
	lock_file_dirty(t, w->file);
	free(w);
}

static int wait_add(struct lock_table *t, struct lock_file *f, struct lock_owner *o,
		    const struct lock_ask *a, void *user)
{
	struct lock_wait *w;
	const struct lock_client *c = o->client;
	/* What is waited for is a lock then, and nobody is asked again. */
	if (t->stats.waits >= t->o.max_waits || c->nwaits >= t->o.max_client_waits ||
	    lock_table_full(t) || c->nlocks + c->nwaits >= t->o.max_client_locks) {
		t->stats.refused++;
		return -ENOLCK;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOLCK;
	*w = (struct lock_wait){
	    .file = f, .owner = o, .kind = a->kind, .range = a->range, .user = user};
	TAILQ_INSERT_TAIL(&f->waits, w, link);
	TAILQ_INSERT_TAIL(&o->waits, w, owned);
	o->client->nwaits++;
	t->stats.waits++;
	return -EINPROGRESS;
}

int lock_set_wait(struct lock_table *t, const struct lock_ask *a, void *user)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	ASSERT(a->range.first <= a->range.last);
	if (lock_wait_find(t, a))
		return -EALREADY;
	struct lock_file *f = lock_file_find(t, &a->file);
	struct lock_owner *o = lock_owner_find(t, a);
	bool held = f && lock_refusal(f, o, a->kind, &a->range);
	if (!held && !(f && wait_in_way(f, o, a->kind, &a->range, NULL)))
		return lock_set(t, a);
	if (held && o && closes_cycle(t, f, o, a->kind, &a->range)) {
		t->stats.deadlocks++;
		return -EDEADLK;
	}
	o = lock_owner_get(t, a);
	if (!o)
		return -ENOLCK;
	int rc = wait_add(t, f, o, a, user);
	lock_owner_check(t, o);
	return rc;
}

/*
 * ---- who is told ----
 *
 * A watch hangs on one thing that is in its way: a lock, or a request that waits. It is looked at
 * again only when that has gone or become less: then it hangs on the next, or is told. So a change
 * costs by those it was in the way of, not by all who watch in the file.
 */

void lock_watches_move(struct lock_watches *to, struct lock_watches *from)
{
	struct lock_watch *w;
	if (LIST_EMPTY(to)) {
		LIST_SWAP(to, from, lock_watch, link);
		return;
	}
	while ((w = LIST_FIRST(from))) {
		LIST_REMOVE(w, link);
		LIST_INSERT_HEAD(to, w, link);
	}
}

void lock_watches_loose(struct lock_file *f, struct lock_watches *of)
{
	struct lock_watch *w;
	while ((w = LIST_FIRST(of))) {
		LIST_REMOVE(w, link);
		LIST_INSERT_HEAD(&f->watches, w, link);
	}
}

/* False: nothing is in its way. */
static bool watch_hang(struct lock_table *t, struct lock_file *f, struct lock_watch *w)
{
	const struct lock_owner *o = lock_owner_find(t, &w->ask);
	struct lock *l = lock_conflict(f, o, w->ask.kind, &w->ask.range);
	struct lock_wait *q = l ? NULL : wait_in_way(f, o, w->ask.kind, &w->ask.range, NULL);
	t->stats.watch_looks++;
	if (!l && !q)
		return false;
	LIST_INSERT_HEAD(l ? &l->watches : &q->watches, w, link);
	return true;
}

int lock_watch_begin(struct lock_table *t, struct lock_watch *w)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	w->file = lock_file_get(t, &w->ask.file);
	if (!w->file)
		return -ENOMEM;
	if (!watch_hang(t, w->file, w))
		LIST_INSERT_HEAD(&w->file->watches, w, link);
	return 0;
}

void lock_watch_end(struct lock_table *t, struct lock_watch *w)
{
	struct lock_file *f = w->file;
	if (!f)
		return;
	LIST_REMOVE(w, link);
	w->file = NULL;
	lock_file_check(t, f);
}

/* After those who wait: what they were given is in the way of who watches. */
static void tell_watches(struct lock_table *t, struct lock_file *f)
{
	struct lock_watch *w, *next;
	LIST_FOREACH_SAFE (w, &f->watches, link, next) {
		LIST_REMOVE(w, link);
		if (watch_hang(t, f, w))
			continue;
		w->file = NULL;
		w->told(w);
	}
}

/* ---- grants ---- */

/* Those who can be served, first come first. A grant takes the file's place in the list of dirty
 * ones again when it changes more. */
void lock_file_grant(struct lock_table *t, struct lock_file *f)
{
	struct lock_wait *w, *next;
	TAILQ_FOREACH_SAFE (w, &f->waits, link, next) {
		struct lock_owner *o = w->owner;
		void *user = w->user;
		if (lock_refusal(f, o, w->kind, &w->range) ||
		    wait_in_way(f, o, w->kind, &w->range, w) ||
		    lock_take(t, f, o, w->kind, &w->range))
			continue;
		t->stats.grants++;
		lock_wait_remove(t, w);
		t->o.granted(t->o.arg, user);
	}
	tell_watches(t, f);
}

struct lock_wait *lock_wait_find(struct lock_table *t, const struct lock_ask *a)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_owner *o = lock_owner_find(t, a);
	struct lock_wait *w;
	struct lock_file *f = o ? lock_file_find(t, &a->file) : NULL;
	if (f)
		TAILQ_FOREACH (w, &o->waits, owned)
			if (w->file == f && w->kind == a->kind &&
			    w->range.first == a->range.first && w->range.last == a->range.last)
				return w;
	return NULL;
}

void *lock_wait_user(const struct lock_wait *w)
{
	return w->user;
}

void lock_wait_cancel(struct lock_wait *w)
{
	struct lock_owner *o = w->owner;
	struct lock_table *t = o->client->table;
	lock_wait_remove(t, w);
	lock_owner_check(t, o);
	lock_settle(t);
}
