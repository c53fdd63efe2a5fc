/* Locks as ranges: conflicts, replacing, joining, splitting; and share reservations. */
#include <errno.h>
#include <stdlib.h>
#include "nasfront/nfs/lock_impl.h"
#include "runtime/check.h"

/* ---- the lists ---- */

static void lock_link(struct lock_file *f, struct lock *l)
{
	struct lock *at;
	TAILQ_FOREACH_REVERSE(at, &f->locks, lock_list, link)
	{
		if (at->range.first > l->range.first)
			continue;
		TAILQ_INSERT_AFTER(&f->locks, at, l, link);
		return;
	}
	TAILQ_INSERT_HEAD(&f->locks, l, link);
}

void lock_insert(struct lock_table *t, struct lock_file *f, struct lock_owner *o, struct lock *l)
{
	struct lock_wait *w;
	l->file = f;
	l->owner = o;
	lock_link(f, l);
	TAILQ_INSERT_TAIL(&o->locks, l, owned);
	o->client->nlocks++;
	t->stats.locks++;
	/* Who holds a lock queues behind nobody any more. */
	if (++o->nlocks == 1)
		TAILQ_FOREACH (w, &o->waits, owned)
			lock_file_dirty(t, w->file);
}

static void lock_insert_new(struct lock_table *t, struct lock_file *f, struct lock_owner *o,
			    struct lock *l)
{
	l->id = t->next_id++;
	lock_insert(t, f, o, l);
	lock_tell(t, l, false);
}

void lock_drop(struct lock_table *t, struct lock *l)
{
	lock_tell(t, l, true);
	TAILQ_REMOVE(&l->file->locks, l, link);
	TAILQ_REMOVE(&l->owner->locks, l, owned);
	lock_watches_loose(l->file, &l->watches);
	l->owner->nlocks--;
	l->owner->client->nlocks--;
	t->stats.locks--;
	lock_file_dirty(t, l->file);
	free(l);
}

struct lock *lock_conflict(struct lock_file *f, const struct lock_owner *owner, enum lock_kind kind,
			   const struct lock_range *r)
{
	struct lock *l;
	TAILQ_FOREACH (l, &f->locks, link) {
		if (l->range.first > r->last)
			break;
		if (l->owner != owner && lock_kinds_conflict(l->kind, kind) &&
		    lock_overlap(&l->range, r))
			return l;
	}
	return NULL;
}

struct lock *lock_refusal(struct lock_file *f, const struct lock_owner *owner, enum lock_kind kind,
			  const struct lock_range *r)
{
	struct lock *l = lock_conflict(f, owner, kind, r);
	if (l)
		l->owner->client->in_way = true;
	return l;
}

/* ---- changing what an owner holds ---- */

/* Takes [r] out of a lock of the owner's; *spare becomes the part behind it, when there are two. */
static void lock_cut(struct lock_table *t, struct lock *l, const struct lock_range *r,
		     struct lock **spare)
{
	struct lock_range was = l->range;
	lock_watches_loose(l->file, &l->watches);
	if (was.first < r->first && was.last > r->last) {
		struct lock *rest = *spare;
		*spare = NULL;
		rest->kind = l->kind;
		rest->range = (struct lock_range){.first = r->last + 1, .last = was.last};
		l->range.last = r->first - 1;
		lock_insert_new(t, l->file, l->owner, rest);
	} else if (was.first < r->first) {
		l->range.last = r->first - 1;
	} else if (was.last > r->last) {
		TAILQ_REMOVE(&l->file->locks, l, link);
		l->range.first = r->last + 1;
		lock_link(l->file, l);
	} else {
		lock_drop(t, l);
		return;
	}
	lock_tell(t, l, false);
	lock_file_dirty(t, l->file);
}

/* They overlap or are neighbours. */
static bool lock_touch(const struct lock_range *a, const struct lock_range *b)
{
	return lock_overlap(a, b) || (a->last != UINT64_MAX && a->last + 1 == b->first) ||
	       (b->last != UINT64_MAX && b->last + 1 == a->first);
}

int lock_take(struct lock_table *t, struct lock_file *f, struct lock_owner *o, enum lock_kind kind,
	      const struct lock_range *r)
{
	struct lock *mine = calloc(1, sizeof(*mine)), *spare = calloc(1, sizeof(*spare));
	struct lock *l, *next;
	if (!mine || !spare) {
		free(mine);
		free(spare);
		return -ENOMEM;
	}
	mine->kind = kind;
	mine->range = *r;
	/* In order of their first byte: of those before only one can be joined, and none that was
	 * passed touches what grew. */
	TAILQ_FOREACH_SAFE (l, &f->locks, link, next) {
		if (l->owner != o)
			continue;
		if (l->kind != kind) {
			if (lock_overlap(&l->range, r))
				lock_cut(t, l, r, &spare);
		} else if (lock_touch(&l->range, r)) {
			if (l->range.first < mine->range.first)
				mine->range.first = l->range.first;
			if (l->range.last > mine->range.last)
				mine->range.last = l->range.last;
			lock_watches_move(&mine->watches, &l->watches);
			lock_drop(t, l);
		}
	}
	lock_insert_new(t, f, o, mine);
	free(spare);
	return 0;
}

static bool lock_too_many(struct lock_table *t, struct lock_client *c)
{
	if (!lock_table_full(t) && c->nlocks < t->o.max_client_locks &&
	    !(t->o.full && t->o.full(t->o.arg, c)))
		return false;
	t->stats.refused++;
	return true;
}

/* One that goes on behind the range and before it: two are left of it. */
static bool lock_splits(const struct lock_owner *o, const struct lock_file *f,
			const struct lock_range *r)
{
	const struct lock *l;
	TAILQ_FOREACH (l, &o->locks, owned)
		if (l->file == f && l->range.first < r->first && l->range.last > r->last)
			return true;
	return false;
}

/* By what the owner has, which is mostly less than what is in the file. */
int lock_unset(struct lock_table *t, const struct lock_ask *a)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_file *f = lock_file_find(t, &a->file);
	struct lock_owner *o = f ? lock_owner_find(t, a) : NULL;
	struct lock *l, *next, *spare = NULL;
	if (!o)
		return 0;
	if (lock_splits(o, f, &a->range)) {
		if (lock_too_many(t, a->client))
			return -ENOLCK;
		spare = calloc(1, sizeof(*spare));
		if (!spare)
			return -ENOMEM;
	}
	TAILQ_FOREACH_SAFE (l, &o->locks, owned, next)
		if (l->file == f && lock_overlap(&l->range, &a->range))
			lock_cut(t, l, &a->range, &spare);
	free(spare);
	lock_owner_check(t, o);
	lock_settle(t);
	return 0;
}

/* ---- asking ---- */

int lock_test(struct lock_table *t, const struct lock_ask *a, struct lock_info *ret_by)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_file *f = lock_file_find(t, &a->file);
	struct lock *l = f ? lock_refusal(f, lock_owner_find(t, a), a->kind, &a->range) : NULL;
	if (!l)
		return 0;
	*ret_by = (struct lock_info){.file = f->key,
				     .client = l->owner->client,
				     .owner = l->owner->bytes,
				     .owner_len = l->owner->len,
				     .kind = l->kind,
				     .range = l->range};
	return -EAGAIN;
}

int lock_set(struct lock_table *t, const struct lock_ask *a)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	ASSERT(a->range.first <= a->range.last);
	struct lock_info by;
	if (lock_test(t, a, &by)) {
		t->stats.denials++;
		return -EAGAIN;
	}
	if (lock_too_many(t, a->client))
		return -ENOLCK;
	struct lock_file *f = lock_file_get(t, &a->file);
	struct lock_owner *o = f ? lock_owner_get(t, a) : NULL;
	int rc = o ? lock_take(t, f, o, a->kind, &a->range) : -ENOMEM;
	lock_owner_check(t, o);
	if (rc)
		lock_file_check(t, f);
	else
		t->stats.grants++;
	lock_settle(t);
	return rc ? -ENOLCK : 0;
}

/* ---- share reservations ---- */

void lock_share_drop(struct lock_table *t, struct share *s)
{
	lock_tell_share(t, s, true);
	LIST_REMOVE(s, link);
	LIST_REMOVE(s, owned);
	s->owner->client->nlocks--;
	t->stats.shares--;
	if (t->o.unused && LIST_EMPTY(&s->file->shares))
		t->o.unused(t->o.arg, &s->file->key);
	lock_file_dirty(t, s->file);
	free(s);
}

static struct share *share_find(struct lock_file *f, const struct lock_owner *o)
{
	struct share *s;
	LIST_FOREACH (s, &f->shares, link)
		if (s->owner == o)
			return s;
	return NULL;
}

struct share *lock_share_new(struct lock_table *t, struct lock_file *f, struct lock_owner *o)
{
	struct share *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->file = f;
	s->owner = o;
	s->id = t->next_id++;
	LIST_INSERT_HEAD(&f->shares, s, link);
	LIST_INSERT_HEAD(&o->shares, s, owned);
	o->client->nlocks++;
	t->stats.shares++;
	return s;
}

int lock_share(struct lock_table *t, const struct lock_ask *a, unsigned access, unsigned deny)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_file *f = lock_file_get(t, &a->file);
	struct lock_owner *o = f ? lock_owner_get(t, a) : NULL;
	struct share *s;
	int rc = o ? 0 : -ENOLCK;
	if (rc == 0)
		LIST_FOREACH (s, &f->shares, link)
			if (s->owner != o && ((s->access & deny) || (s->deny & access))) {
				s->owner->client->in_way = true;
				rc = -EAGAIN;
			}
	if (rc == 0) {
		s = share_find(f, o);
		if (!s && !lock_too_many(t, a->client))
			s = lock_share_new(t, f, o);
		if (s) {
			s->access = access;
			s->deny = deny;
			lock_tell_share(t, s, false);
		}
		rc = s ? 0 : -ENOLCK;
	}
	lock_owner_check(t, o);
	lock_file_check(t, f);
	return rc;
}

void lock_unshare(struct lock_table *t, const struct lock_ask *a)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	struct lock_file *f = lock_file_find(t, &a->file);
	struct lock_owner *o = lock_owner_find(t, a);
	struct share *s = f && o ? share_find(f, o) : NULL;
	if (!s)
		return;
	lock_share_drop(t, s);
	lock_owner_check(t, o);
	lock_settle(t);
}

bool lock_share_denied(struct lock_table *t, const struct lock_file_key *file, unsigned access)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	const struct share *s;
	const struct lock_file *f = t->stats.shares ? lock_file_find(t, file) : NULL;
	if (f)
		LIST_FOREACH (s, &f->shares, link)
			if (s->deny & access) {
				s->owner->client->in_way = true;
				return true;
			}
	return false;
}

bool lock_held(struct lock_table *t, const struct lock_ask *a)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	const struct lock *l;
	const struct lock_file *f = lock_file_find(t, &a->file);
	const struct lock_owner *o = f ? lock_owner_find(t, a) : NULL;
	if (o)
		TAILQ_FOREACH (l, &o->locks, owned)
			if (l->file == f)
				return true;
	return false;
}

void lock_use_of(struct lock_table *t, const struct lock_file_key *file,
		 const struct lock_client *who, struct lock_use *ret)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	const struct lock_file *f = lock_file_find(t, file);
	const struct share *s;
	const struct lock *l;
	*ret = (struct lock_use){0};
	if (!f)
		return;
	LIST_FOREACH (s, &f->shares, link) {
		*(s->owner->client == who ? &ret->own : &ret->others) |= s->access;
		ret->opens++;
	}
	ret->locks = !TAILQ_EMPTY(&f->waits);
	TAILQ_FOREACH (l, &f->locks, link)
		ret->locks |= l->owner->client != who;
}
