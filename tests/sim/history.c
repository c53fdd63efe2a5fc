/*
 * A list of writes a sector (tests/sim/history.h). A write has an interval
 * [begin, end]; end is ENDLESS until it is acknowledged or was seen by a read
 * (then it has happened, whatever its answer). Write w surely comes after v when
 * w.begin > v.end, so v is out of the question for reads that begin after w.end.
 */
#include "tests/sim/history.h"
#include "runtime/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDLESS	  UINT64_MAX
#define LONG_LIST 4 /* of writes of a sector: worth a look for what nobody can read any more */

struct entry {
	uint64_t id, begin, end;
	uint64_t limit; /* it cannot happen later: its sender is dead since */
	bool durable;	/* acknowledged, and a later flush or FUA too */
	bool acked;
	bool old; /* from before the last power loss */
};

struct sector {
	struct entry *list;
	unsigned n, cap;
};

struct history {
	uint64_t nsectors, clock, last_id;
	uint64_t horizon; /* no reader that has begun before it is left; 0: not told */
	struct sector *sectors;
	uint64_t *unflushed; /* a bit a sector: not all in it are durable */
};

struct history *history_new(uint64_t nsectors)
{
	struct history *h = calloc(1, sizeof(*h));
	ASSERT(h);
	h->nsectors = nsectors;
	h->sectors = calloc(nsectors, sizeof(*h->sectors));
	h->unflushed = calloc(nsectors / 64 + 1, sizeof(*h->unflushed));
	ASSERT(h->sectors && h->unflushed);
	return h;
}

void history_free(struct history *h)
{
	for (uint64_t i = 0; i < h->nsectors; i++)
		free(h->sectors[i].list);
	free(h->sectors);
	free(h->unflushed);
	free(h);
}

uint64_t history_next_id(struct history *h)
{
	return ++h->last_id;
}

uint64_t history_now(struct history *h)
{
	return ++h->clock;
}

static void fill_sector(uint8_t *buf, uint64_t sector, uint64_t id)
{
	uint64_t words[3] = {sector, id, (sector + 1) * 0x9e3779b97f4a7c15ull ^ id};
	size_t i = 0;
	for (; i + sizeof(words) <= HISTORY_SECTOR; i += sizeof(words))
		memcpy(buf + i, words, sizeof(words));
	memcpy(buf + i, words, HISTORY_SECTOR - i);
}

void history_fill(uint8_t *buf, uint64_t first, uint64_t n, uint64_t id)
{
	for (uint64_t i = 0; i < n; i++)
		fill_sector(buf + i * HISTORY_SECTOR, first + i, id);
}

static struct entry *find(struct sector *s, uint64_t id)
{
	for (unsigned i = s->n; i-- > 0;)
		if (s->list[i].id == id)
			return &s->list[i];
	return NULL;
}

void history_horizon(struct history *h, uint64_t oldest)
{
	h->horizon = oldest;
}

/* Forgets writes that an acknowledged, durable one surely replaced for every reader to come. Where
 * no horizon is told the margin is wider than any read lasts. */
static void prune(struct history *h, struct sector *s)
{
	uint64_t newest = 0;
	uint64_t horizon = h->horizon ? h->horizon : h->clock > 100000 ? h->clock - 100000 : 0;
	for (unsigned i = 0; i < s->n; i++)
		if (s->list[i].durable && s->list[i].end < horizon)
			newest = MAX(newest, s->list[i].begin);
	unsigned k = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (MIN(s->list[i].end, s->list[i].limit) >= newest)
			s->list[k++] = s->list[i];
	s->n = k;
}

void history_begin(struct history *h, uint64_t first, uint64_t n, uint64_t id)
{
	uint64_t t = history_now(h);
	for (uint64_t i = first; i < first + n; i++) {
		struct sector *s = &h->sectors[i];
		if (s->n == s->cap) {
			prune(h, s);
			if (s->n * 2 > s->cap || !s->cap)
				s->cap = s->cap ? 2 * s->cap : 8;
			s->list = realloc(s->list, s->cap * sizeof(*s->list));
			ASSERT(s->list);
		}
		h->unflushed[i / 64] |= 1ull << i % 64;
		s->list[s->n++] =
		    (struct entry){.id = id, .begin = t, .end = ENDLESS, .limit = ENDLESS};
	}
}

void history_ack(struct history *h, uint64_t first, uint64_t n, uint64_t id)
{
	uint64_t t = history_now(h);
	for (uint64_t i = first; i < first + n; i++) {
		struct entry *e = find(&h->sectors[i], id);
		if (!e)
			continue;
		e->acked = true;
		e->end = MIN(e->end, t);
	}
}

void history_lost(struct history *h, uint64_t first, uint64_t n, uint64_t id)
{
	uint64_t t = history_now(h);
	for (uint64_t i = first; i < first + n; i++) {
		struct entry *e = find(&h->sectors[i], id);
		if (e)
			e->limit = MIN(e->limit, t);
	}
}

void history_forget(struct history *h, uint64_t first, uint64_t n, uint64_t id)
{
	for (uint64_t i = first; i < first + n; i++) {
		struct sector *s = &h->sectors[i];
		struct entry *e = find(s, id);
		if (e)
			memmove(e, e + 1, (size_t)(s->list + --s->n - e) * sizeof(*e));
	}
}

/* True: all in it are durable. */
static bool sector_flushed(struct history *h, struct sector *s, uint64_t sent)
{
	bool all = true;
	for (unsigned i = 0; i < s->n; i++) {
		s->list[i].durable |= s->list[i].end < sent;
		all &= s->list[i].durable;
	}
	if (s->n > LONG_LIST)
		prune(h, s);
	return all;
}

void history_flushed(struct history *h, uint64_t first, uint64_t n, uint64_t sent)
{
	for (uint64_t i = first; i < first + n; i++) {
		if (!h->unflushed[i / 64]) {
			i |= 63;
			continue;
		}
		uint64_t bit = 1ull << i % 64;
		if ((h->unflushed[i / 64] & bit) && sector_flushed(h, &h->sectors[i], sent))
			h->unflushed[i / 64] &= ~bit;
	}
}

void history_durable(struct history *h, uint64_t first, uint64_t n, uint64_t id)
{
	for (uint64_t i = first; i < first + n; i++) {
		struct entry *e = find(&h->sectors[i], id);
		if (e)
			e->durable = true;
	}
}

/* Does a write surely lie between v and a read that began at `began`? */
static const struct entry *replaced(const struct sector *s, const struct entry *v, uint64_t began)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->list[i].begin > MIN(v->end, v->limit) && s->list[i].end < began)
			return &s->list[i];
	return NULL;
}

/* The first read after a power loss settles which of the old writes it was (0: none of them). */
static void settle(struct sector *s, uint64_t id)
{
	unsigned k = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (!s->list[i].old || s->list[i].id == id)
			s->list[k++] = s->list[i];
	s->n = k;
}

static int read_sector(struct history *h, uint64_t sector, uint64_t began, uint64_t ended,
		       const uint8_t *buf, char *why, size_t why_size)
{
	static const struct entry never = {.id = 0};
	struct sector *s = &h->sectors[sector];
	uint8_t want[HISTORY_SECTOR];
	uint64_t id;
	memcpy(&id, buf + 8, 8);
	struct entry *e = find(s, id);
	if (id == 0)
		memset(want, 0, sizeof(want));
	else
		fill_sector(want, sector, id);
	if (memcmp(want, buf, sizeof(want)) != 0 || (id != 0 && !e)) {
		snprintf(why, why_size, "sector %llu holds %s (write %llu)",
			 (unsigned long long)sector,
			 id && !e ? "a write that was replaced or never made" : "torn data",
			 (unsigned long long)id);
		return -1;
	}
	const struct entry *r = replaced(s, e ? e : &never, began);
	if (r) {
		snprintf(why, why_size,
			 "sector %llu reads write %llu, but write %llu was %s after it",
			 (unsigned long long)sector, (unsigned long long)id,
			 (unsigned long long)r->id, r->acked ? "acknowledged" : "seen");
		return -1;
	}
	if (e)
		e->end = MIN(e->end, ended);
	if (!e || e->old)
		settle(s, id);
	return 0;
}

int history_read(struct history *h, uint64_t first, uint64_t n, uint64_t began, const uint8_t *buf,
		 char *why, size_t why_size)
{
	uint64_t ended = history_now(h);
	for (uint64_t i = 0; i < n; i++)
		if (read_sector(h, first + i, began, ended, buf + i * HISTORY_SECTOR, why,
				why_size))
			return -1;
	return 0;
}

/*
 * A power loss takes back what was not durable: such a write no longer surely replaces others
 * (its end becomes endless again, for a read to fix).
 */
void history_crash(struct history *h, bool power)
{
	uint64_t t = history_now(h);
	for (uint64_t i = 0; i < h->nsectors; i++) {
		struct sector *s = &h->sectors[i];
		for (unsigned k = 0; k < s->n; k++) {
			struct entry *e = &s->list[k];
			e->limit = MIN(e->limit, t);
			if (!power)
				continue;
			e->old = true;
			if (!e->durable)
				e->end = ENDLESS;
		}
	}
}
