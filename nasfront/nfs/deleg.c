/* The table of files lent to clients; see deleg.h. */
#include "nasfront/nfs/deleg.h"
#include <errno.h>
#include <stdlib.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/siphash.h"
#include "runtime/task.h"

#define DELEG_MAGIC 0x64656c67
#define SLOTS	    8192
#define WAIT_NS	    (50 * NS_PER_MS)

struct slot {
	LIST_HEAD(, deleg) lent;
	uint32_t changes;
	uint64_t quiet_ns; /* until then nothing is lent */
};

struct deleg_table {
	uint32_t magic;
	unsigned count;
	struct env *env;
	uint64_t hash_key[2], quiet_ns;
	void (*recall)(void *arg, struct deleg *d);
	void *arg;
	struct waitq returned;
	struct slot slots[SLOTS];
};

int deleg_table_new(struct deleg_table **ret, struct env *env)
{
	struct deleg_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->magic = DELEG_MAGIC;
	t->env = env;
	waitq_init(&t->returned);
	env_random(env, t->hash_key, sizeof(t->hash_key));
	*ret = t;
	return 0;
}

void deleg_table_free(struct deleg_table *t)
{
	if (!t)
		return;
	CHECK(t, DELEG_MAGIC);
	ASSERT(!t->count);
	t->magic = 0;
	free(t);
}

void deleg_table_serve(struct deleg_table *t, void (*recall)(void *arg, struct deleg *d), void *arg,
		       uint64_t quiet_ns)
{
	CHECK(t, DELEG_MAGIC);
	t->recall = recall;
	t->arg = arg;
	t->quiet_ns = quiet_ns;
}

static uint32_t slot_of(const struct deleg_table *t, const struct lock_file_key *f)
{
	const uint64_t v[3] = {f->fs, f->ino, f->generation};
	return (uint32_t)(siphash(t->hash_key, v, sizeof(v)) % SLOTS);
}

static bool same_file(const struct deleg *d, const struct lock_file_key *f)
{
	return d->file.ino == f->ino && d->file.fs == f->fs && d->file.generation == f->generation;
}

/* One that is lent goes with a use by another, or with another that is lent. */
static bool goes_with(const struct deleg *d, enum deleg_use use)
{
	return d->kind == DELEG_READ && use == DELEG_USE_READ;
}

bool deleg_may_lend(const struct deleg_table *t, const struct lock_file_key *file,
		    enum deleg_kind kind, const void *holder)
{
	const struct slot *s = &t->slots[slot_of(t, file)];
	enum deleg_use use = kind == DELEG_READ ? DELEG_USE_READ : DELEG_USE_CHANGE;
	const struct deleg *d;
	CHECK(t, DELEG_MAGIC);
	if (!t->recall || s->changes || env_now_ns(t->env) < s->quiet_ns)
		return false;
	LIST_FOREACH (d, &s->lent, chain)
		if (same_file(d, file) && (d->holder == holder || !goes_with(d, use)))
			return false;
	return true;
}

void deleg_lend(struct deleg_table *t, struct deleg *d)
{
	CHECK(t, DELEG_MAGIC);
	d->recalled = false;
	LIST_INSERT_HEAD(&t->slots[slot_of(t, &d->file)].lent, d, chain);
	t->count++;
}

void deleg_return(struct deleg_table *t, struct deleg *d)
{
	CHECK(t, DELEG_MAGIC);
	ASSERT(t->count);
	LIST_REMOVE(d, chain);
	t->count--;
	waitq_wake_all(&t->returned);
}

void deleg_recall(struct deleg_table *t, struct deleg *d)
{
	CHECK(t, DELEG_MAGIC);
	if (d->recalled)
		return;
	d->recalled = true;
	t->recall(t->arg, d);
}

/* Asks all that are in the way. A file that only its own client asked for may be lent again. */
static bool ask(struct deleg_table *t, const struct lock_file_key *file, enum deleg_use use,
		const void *who, bool own)
{
	struct slot *s = &t->slots[slot_of(t, file)];
	struct deleg *d;
	bool in_way = false;
	LIST_FOREACH (d, &s->lent, chain) {
		bool mine = who && d->holder == who;
		if (!same_file(d, file) || goes_with(d, use) || (mine && !own))
			continue;
		in_way = true;
		if (!mine)
			s->quiet_ns = env_now_ns(t->env) + t->quiet_ns;
		deleg_recall(t, d);
	}
	return in_way;
}

bool deleg_in_way(struct deleg_table *t, const struct lock_file_key *file, enum deleg_use use,
		  const void *who, bool own)
{
	uint64_t end = 0;
	CHECK(t, DELEG_MAGIC);
	while (t->count && ask(t, file, use, who, own)) {
		uint64_t now = env_now_ns(t->env);
		end = end ? end : now + WAIT_NS;
		if (now >= end || !task_self())
			return true;
		env_waitq_wait(t->env, &t->returned, end - now);
	}
	return false;
}

bool deleg_written(const struct deleg_table *t, const struct lock_file_key *file)
{
	const struct deleg *d;
	CHECK(t, DELEG_MAGIC);
	if (t->count)
		LIST_FOREACH (d, &t->slots[slot_of(t, file)].lent, chain)
			if (same_file(d, file) && d->kind == DELEG_WRITE)
				return true;
	return false;
}

bool deleg_any(const struct deleg_table *t)
{
	return t->count;
}

bool deleg_change_begin(struct deleg_table *t, struct deleg_change *c,
			const struct lock_file_key *file, const void *who)
{
	ASSERT(!c->slot);
	if (deleg_in_way(t, file, DELEG_USE_CHANGE, who, false))
		return true;
	if (t->recall) {
		c->slot = slot_of(t, file) + 1;
		t->slots[c->slot - 1].changes++;
	}
	return false;
}

void deleg_change_end(struct deleg_table *t, struct deleg_change *c)
{
	if (!c->slot)
		return;
	ASSERT(t->slots[c->slot - 1].changes);
	t->slots[c->slot - 1].changes--;
	c->slot = 0;
}
