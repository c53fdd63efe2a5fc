/*
 * Range locks: writes and resizes of one file that touch the same blocks take turns, in order of
 * arrival. Reads take none. A task holds at most one, or two, taken in order of inode numbers
 * (clone.c).
 *
 * A *short* lock touches at most RANGE_PARTS grains of its file (RANGE_GRAIN bytes each) and stands
 * in the bucket of each of them: so it is compared with what is near it, however many are in
 * flight. Others are *wide* (resizes lock to the end of all that could be): they stand in a list
 * that everybody looks through, and look at everybody. `seq` is the order of arrival; in each
 * bucket and in the list it only grows.
 */
#include "nasfront/fs/impl.h"

#define RANGE_GRAIN (256 * 1024)

static unsigned bucket_of(uint64_t ino, uint64_t grain)
{
	uint64_t h = (ino * 0x9e3779b97f4a7c15ull ^ grain) * 0xbf58476d1ce4e5b9ull;
	return (unsigned)(h >> 40) % RANGE_BUCKETS;
}

void ranges_init(struct ranges *r)
{
	for (int i = 0; i < RANGE_BUCKETS; i++)
		TAILQ_INIT(&r->buckets[i]);
	TAILQ_INIT(&r->wide);
	r->nshort = 0;
	r->seq = 0;
}

static bool in_the_way(const struct range_lock *o, const struct range_lock *l)
{
	return o->ino == l->ino && o->start < l->end && l->start < o->end && o->seq < l->seq;
}

static struct range_lock *short_conflict(struct range_lock *l)
{
	for (unsigned i = 0; i < l->nparts; i++)
		for (struct range_part *p = TAILQ_PREV(&l->parts[i], range_bucket, link); p;
		     p = TAILQ_PREV(p, range_bucket, link))
			if (in_the_way(p->lock, l))
				return p->lock;
	return NULL;
}

/* A wide one in the way; the list begins with those that came first. */
static struct range_lock *wide_conflict(struct ranges *r, struct range_lock *l)
{
	struct range_lock *o;
	TAILQ_FOREACH (o, &r->wide, wide_link) {
		if (o->seq >= l->seq)
			return NULL;
		if (in_the_way(o, l))
			return o;
	}
	return NULL;
}

static struct range_lock *any_short_conflict(struct ranges *r, struct range_lock *l)
{
	struct range_part *p;
	for (int i = 0; i < RANGE_BUCKETS && r->nshort; i++)
		TAILQ_FOREACH (p, &r->buckets[i], link)
			if (in_the_way(p->lock, l))
				return p->lock;
	return NULL;
}

/* An older lock or waiter in the way. */
static struct range_lock *conflict(struct ranges *r, struct range_lock *l)
{
	struct range_lock *o = wide_conflict(r, l);
	if (o)
		return o;
	return l->nparts ? short_conflict(l) : any_short_conflict(r, l);
}

static void enter(struct ranges *r, struct range_lock *l)
{
	uint64_t first = l->start / RANGE_GRAIN;
	uint64_t last = l->end > l->start ? (l->end - 1) / RANGE_GRAIN : first;
	l->seq = ++r->seq;
	l->nparts = 0;
	if (last - first >= RANGE_PARTS) {
		TAILQ_INSERT_TAIL(&r->wide, l, wide_link);
		return;
	}
	r->nshort++;
	for (uint64_t g = first; g <= last; g++) {
		struct range_part *p = &l->parts[l->nparts++];
		p->lock = l;
		TAILQ_INSERT_TAIL(&r->buckets[bucket_of(l->ino, g)], p, link);
	}
}

bool range_lock(struct fs *fs, struct range_lock *l, uint64_t ino, uint64_t start, uint64_t end)
{
	struct range_lock *o;
	bool waited = false;
	l->ino = ino;
	l->start = start;
	l->end = end;
	waitq_init(&l->q);
	enter(&fs->ranges, l);
	while ((o = conflict(&fs->ranges, l))) {
		struct waiter w;
		waited = true;
		waitq_enter(&o->q, &w);
		while (w.queued) /* until its unlock, which takes us off: it is gone then */
			task_park();
	}
	return waited;
}

void range_unlock(struct fs *fs, struct range_lock *l)
{
	struct ranges *r = &fs->ranges;
	if (l->nparts)
		r->nshort--;
	else
		TAILQ_REMOVE(&r->wide, l, wide_link);
	for (unsigned i = 0; i < l->nparts; i++)
		TAILQ_REMOVE(&r->buckets[bucket_of(l->ino, l->start / RANGE_GRAIN + i)],
			     &l->parts[i], link);
	waitq_wake_all(&l->q);
}
