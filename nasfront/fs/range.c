/*
 * Range locks: writes and resizes of one file that touch the same blocks take turns, in order of
 * arrival. Reads take none. A task holds at most one, or two, taken in order of inode numbers
 * (clone.c).
 */
#include "nasfront/fs/impl.h"

static struct range_locks *bucket(struct fs *fs, uint64_t ino)
{
	return &fs->ranges[(ino * 0x9e3779b97f4a7c15ull >> 32) % RANGE_BUCKETS];
}

/* An older lock or waiter in the way. */
static struct range_lock *conflict(struct fs *fs, struct range_lock *l)
{
	for (struct range_lock *o = TAILQ_PREV(l, range_locks, link); o;
	     o = TAILQ_PREV(o, range_locks, link))
		if (o->ino == l->ino && o->start < l->end && l->start < o->end)
			return o;
	return NULL;
}

void range_lock(struct fs *fs, struct range_lock *l, uint64_t ino, uint64_t start, uint64_t end)
{
	struct range_lock *o;
	l->ino = ino;
	l->start = start;
	l->end = end;
	waitq_init(&l->q);
	TAILQ_INSERT_TAIL(bucket(fs, ino), l, link);
	while ((o = conflict(fs, l))) {
		struct waiter w;
		waitq_enter(&o->q, &w);
		while (w.queued) /* until its unlock, which takes us off: it is gone then */
			task_park();
	}
}

void range_unlock(struct fs *fs, struct range_lock *l)
{
	TAILQ_REMOVE(bucket(fs, l->ino), l, link);
	waitq_wake_all(&l->q);
}
