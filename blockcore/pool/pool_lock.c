/* See pool_lock.h. Each slot's mutex is held for a few instructions, never across a wait. */
#include "blockcore/pool/pool_lock.h"
#include "runtime/check.h"

void pool_locks_init(struct pool_locks *l, uint64_t region)
{
	l->region = region;
	for (unsigned i = 0; i < POOL_LOCK_SLOTS; i++) {
		struct pool_lock_slot *s = &l->slot[i];
		pthread_mutex_init(&s->m, NULL);
		s->writers = 0;
		s->alone = false;
		waitq_init(&s->q);
	}
}

void pool_locks_fini(struct pool_locks *l)
{
	for (unsigned i = 0; i < POOL_LOCK_SLOTS; i++)
		pthread_mutex_destroy(&l->slot[i].m);
}

static unsigned slot_of(unsigned column, uint64_t region)
{
	return (unsigned)((column * 37 + region) % POOL_LOCK_SLOTS);
}

/* A range covers a run of slots that may wrap; as two ascending runs [0, a) and [b, end). */
struct slot_runs {
	unsigned first[2], end[2];
};

static struct slot_runs runs_of(const struct pool_locks *l, unsigned column, uint64_t off,
				uint64_t len)
{
	uint64_t region = off / l->region;
	uint64_t n = len ? (off + len - 1) / l->region - region + 1 : 0;
	if (n >= POOL_LOCK_SLOTS)
		return (struct slot_runs){{0, 0}, {0, POOL_LOCK_SLOTS}};
	unsigned first = slot_of(column, region), end = first + (unsigned)n;
	if (end <= POOL_LOCK_SLOTS)
		return (struct slot_runs){{0, first}, {0, end}};
	return (struct slot_runs){{0, first}, {end - POOL_LOCK_SLOTS, POOL_LOCK_SLOTS}};
}

/* Leaves the slot's mutex for the wait and takes it again. */
static void slot_wait(struct pool_lock_slot *s)
{
	struct waiter w;
	waitq_enter(&s->q, &w);
	pthread_mutex_unlock(&s->m);
	task_park();
	pthread_mutex_lock(&s->m);
	waitq_leave(&s->q, &w);
}

static void slot_lock_shared(struct pool_lock_slot *s)
{
	pthread_mutex_lock(&s->m);
	while (s->alone)
		slot_wait(s);
	s->writers++;
	pthread_mutex_unlock(&s->m);
}

static void slot_unlock_shared(struct pool_lock_slot *s)
{
	pthread_mutex_lock(&s->m);
	ASSERT(s->writers > 0);
	if (--s->writers == 0)
		waitq_wake_all(&s->q);
	pthread_mutex_unlock(&s->m);
}

void pool_lock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len)
{
	struct slot_runs r = runs_of(l, column, off, len);
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = r.first[k]; i < r.end[k]; i++)
			slot_lock_shared(&l->slot[i]);
}

void pool_unlock_shared(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len)
{
	struct slot_runs r = runs_of(l, column, off, len);
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = r.first[k]; i < r.end[k]; i++)
			slot_unlock_shared(&l->slot[i]);
}

static void slot_lock_alone(struct pool_lock_slot *s)
{
	pthread_mutex_lock(&s->m);
	while (s->alone)
		slot_wait(s);
	s->alone = true;
	while (s->writers > 0)
		slot_wait(s);
	pthread_mutex_unlock(&s->m);
}

static void slot_unlock_alone(struct pool_lock_slot *s)
{
	pthread_mutex_lock(&s->m);
	ASSERT(s->alone);
	s->alone = false;
	waitq_wake_all(&s->q);
	pthread_mutex_unlock(&s->m);
}

void pool_lock_alone(struct pool_locks *l, unsigned column, uint64_t off)
{
	slot_lock_alone(&l->slot[slot_of(column, off / l->region)]);
}

void pool_unlock_alone(struct pool_locks *l, unsigned column, uint64_t off)
{
	slot_unlock_alone(&l->slot[slot_of(column, off / l->region)]);
}

void pool_lock_range(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len)
{
	struct slot_runs r = runs_of(l, column, off, len);
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = r.first[k]; i < r.end[k]; i++)
			slot_lock_alone(&l->slot[i]);
}

void pool_unlock_range(struct pool_locks *l, unsigned column, uint64_t off, uint64_t len)
{
	struct slot_runs r = runs_of(l, column, off, len);
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = r.first[k]; i < r.end[k]; i++)
			slot_unlock_alone(&l->slot[i]);
}
