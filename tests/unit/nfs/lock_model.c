#include "tests/unit/nfs/lock_model.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

struct lock_model m;

/* Place 21 stands for all between the low bytes and the very last two. */
static uint64_t place_first(unsigned i)
{
	return i <= BYTES - 3 ? i : UINT64_MAX - (BYTES - 1 - i);
}

static uint64_t place_last(unsigned i)
{
	return i < BYTES - 3 ? i : UINT64_MAX - (BYTES - 1 - i);
}

unsigned index_of(uint64_t v)
{
	return v <= BYTES - 3 ? (unsigned)v : BYTES - 1 - (unsigned)(UINT64_MAX - v);
}

void model_hold(const struct want *w, char what)
{
	memset(&m.held[w->file][w->owner][w->from], what, w->to - w->from + 1);
}

static bool model_conflict(const struct want *w, unsigned with)
{
	if (with == w->owner)
		return false;
	for (unsigned i = w->from; i <= w->to; i++) {
		char c = m.held[w->file][with][i];
		if (c == 'w' || (c && w->kind == LOCK_EXCLUSIVE))
			return true;
	}
	return false;
}

bool model_blocked(const struct want *w)
{
	for (unsigned o = 0; o < OWNERS; o++)
		if (model_conflict(w, o))
			return true;
	return false;
}

bool model_holds(unsigned owner)
{
	for (unsigned f = 0; f < FILES; f++)
		for (unsigned i = 0; i < BYTES; i++)
			if (m.held[f][owner][i])
				return true;
	return false;
}

bool model_reaches(const struct want *w, unsigned target, bool *seen)
{
	for (unsigned o = 0; o < OWNERS; o++) {
		if (seen[o] || !model_conflict(w, o))
			continue;
		if (o == target)
			return true;
		seen[o] = true;
		for (unsigned i = 0; i < WAITS; i++)
			if (m.waits[i].used && m.waits[i].owner == o &&
			    model_reaches(&m.waits[i], target, seen))
				return true;
	}
	return false;
}

void model_now(void)
{
	if (m.now)
		model_hold(m.now, m.now->kind == LOCK_SHARED ? 'r' : 'w');
	m.now = NULL;
}

void on_granted(void *arg, void *user)
{
	struct want *w = user;
	model_now();
	ck_assert(w->used);
	ck_assert(!model_blocked(w));
	model_hold(w, w->kind == LOCK_SHARED ? 'r' : 'w');
	w->used = false;
	m.granted++;
}

void on_dropped(void *arg, void *user)
{
	struct want *w = user;
	ck_assert(w->used);
	w->used = false;
	m.dropped++;
}

void up(unsigned max_client_locks, unsigned max_client_waits)
{
	struct lock_table_opts o = {.granted = on_granted,
				    .dropped = on_dropped,
				    .max_client_locks = max_client_locks,
				    .max_client_waits = max_client_waits,
				    .hash_key = {1, 2}};
	memset(&m, 0, sizeof(m));
	ck_assert_int_eq(lock_table_new(&m.table, &o), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(lock_client_new(&m.client[i], m.table, NULL), 0);
}

struct lock_ask ask_of(const struct want *w)
{
	static const char *const names[OWNERS] = {"a", "b", "", "cc", "a", "b", "a"};
	static const unsigned clients[OWNERS] = {0, 0, 0, 0, 1, 1, 2};
	return (struct lock_ask){.file = {.fs = 1, .ino = 100, .generation = w->file},
				 .client = m.client[clients[w->owner]],
				 .owner = names[w->owner],
				 .owner_len = (uint32_t)strlen(names[w->owner]),
				 .kind = w->kind,
				 .range = {place_first(w->from), place_last(w->to)}};
}

void model_client_ends(const struct lock_client *c)
{
	for (unsigned o = 0; o < OWNERS; o++)
		for (unsigned f = 0; f < FILES; f++)
			if (ask_of(&(struct want){.owner = o}).client == c)
				memset(m.held[f][o], 0, BYTES);
}

void down(void)
{
	struct lock_stats s;
	for (unsigned i = 0; i < CLIENTS; i++) {
		model_client_ends(m.client[i]);
		lock_client_free(m.client[i]);
	}
	lock_stats(m.table, &s);
	ck_assert(!s.locks && !s.waits && !s.shares && !s.files && !s.owners);
	lock_table_free(m.table);
}

int set(unsigned owner, enum lock_kind kind, unsigned from, unsigned to)
{
	struct want w = {.owner = owner, .kind = kind, .from = from, .to = to};
	struct lock_ask a = ask_of(&w);
	m.now = &w;
	int rc = lock_set(m.table, &a);
	if (rc == 0)
		model_now();
	m.now = NULL;
	return rc;
}

int set_wait_in(unsigned file, unsigned owner, enum lock_kind kind, unsigned from, unsigned to)
{
	struct want *w = m.waits;
	while (w->used)
		w++;
	*w = (struct want){.file = file, .owner = owner, .kind = kind, .from = from, .to = to};
	struct lock_ask a = ask_of(w);
	w->used = true;
	m.now = w;
	int rc = lock_set_wait(m.table, &a, w);
	if (rc == 0)
		model_now();
	m.now = NULL;
	if (rc != -EINPROGRESS)
		w->used = false;
	return rc;
}

int set_wait(unsigned owner, enum lock_kind kind, unsigned from, unsigned to)
{
	return set_wait_in(0, owner, kind, from, to);
}

void unset(unsigned owner, unsigned from, unsigned to)
{
	struct want w = {.owner = owner, .from = from, .to = to};
	struct lock_ask a = ask_of(&w);
	model_hold(&w, 0);
	ck_assert_int_eq(lock_unset(m.table, &a), 0);
}
