/* What is kept of locks and reservations for a successor, and how it has them again. */
#include <errno.h>
#include <stdlib.h>
#include <sys/param.h>
#include "nasfront/nfs/lock_impl.h"
#include "runtime/check.h"

static struct lock_info info_of(const struct lock_file *f, const struct lock_owner *o)
{
	return (struct lock_info){
	    .file = f->key, .client = o->client, .owner = o->bytes, .owner_len = o->len};
}

void lock_tell(struct lock_table *t, const struct lock *l, bool gone)
{
	if (!t->o.kept)
		return;
	struct lock_kept k = {.id = l->id, .gone = gone, .lock = info_of(l->file, l->owner)};
	k.lock.kind = l->kind;
	k.lock.range = l->range;
	t->o.kept(t->o.arg, &k);
}

void lock_tell_share(struct lock_table *t, const struct share *s, bool gone)
{
	if (!t->o.kept)
		return;
	struct lock_kept k = {.id = s->id,
			      .gone = gone,
			      .share = true,
			      .lock = info_of(s->file, s->owner),
			      .access = s->access,
			      .deny = s->deny};
	t->o.kept(t->o.arg, &k);
}

void lock_table_tell(struct lock_table *t, void (*waits)(void *arg, void *user), void *arg)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	const struct lock_file *f;
	const struct lock *l;
	const struct share *s;
	const struct lock_wait *w;
	for (unsigned i = 0; i < LOCK_BUCKETS; i++)
		LIST_FOREACH (f, &t->files[i], chain) {
			TAILQ_FOREACH (l, &f->locks, link)
				lock_tell(t, l, false);
			LIST_FOREACH (s, &f->shares, link)
				lock_tell_share(t, s, false);
			TAILQ_FOREACH (w, &f->waits, link)
				waits(arg, w->user);
		}
}

void lock_table_leave(struct lock_table *t)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	t->o.kept = NULL;
}

void lock_table_skip_ids(struct lock_table *t, uint64_t id)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	t->next_id = MAX(t->next_id, id + 1);
}

static int restore_lock(struct lock_table *t, struct lock_file *f, struct lock_owner *o,
			const struct lock_kept *k)
{
	struct lock *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->id = k->id;
	l->kind = k->lock.kind;
	l->range = k->lock.range;
	lock_insert(t, f, o, l);
	return 0;
}

static int restore_share(struct lock_table *t, struct lock_file *f, struct lock_owner *o,
			 const struct lock_kept *k)
{
	struct share *s = lock_share_new(t, f, o);
	if (!s)
		return -ENOMEM;
	s->id = k->id;
	s->access = k->access;
	s->deny = k->deny;
	return 0;
}

int lock_restore(struct lock_table *t, const struct lock_kept *k)
{
	CHECK(t, LOCK_TABLE_MAGIC);
	const struct lock_ask a = {.file = k->lock.file,
				   .client = k->lock.client,
				   .owner = k->lock.owner,
				   .owner_len = k->lock.owner_len};
	struct lock_file *f = lock_file_get(t, &a.file);
	struct lock_owner *o = f ? lock_owner_get(t, &a) : NULL;
	int rc = -ENOMEM;
	if (o)
		rc = k->share ? restore_share(t, f, o, k) : restore_lock(t, f, o, k);
	lock_table_skip_ids(t, k->id);
	lock_owner_check(t, o);
	lock_file_check(t, f);
	return rc;
}
