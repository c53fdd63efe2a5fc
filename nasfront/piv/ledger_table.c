/*
 * The ledger's records in memory: a hash table by key, and what changes
 * (nasfront/piv/ledger_layout.h). A record that is dropped stays while a ring may hold a value of
 * it, so that its end is written too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/siphash.h"

#define BUCKET_BYTES 512 /* of the ring, for each bucket */

static struct record **bucket_of(const struct ledger *l, const void *key, size_t klen)
{
	return &l->buckets[siphash(l->hash_key, key, klen) & (l->nbuckets - 1)];
}

struct record *ledger_find(const struct ledger *l, const void *key, size_t klen)
{
	struct record *e = *bucket_of(l, key, klen);
	while (e && (e->klen != klen || memcmp(e->key, key, klen)))
		e = e->next;
	return e;
}

struct record *ledger_record_new(struct ledger *l, const void *key, size_t klen)
{
	struct record *e = calloc(1, sizeof(*e) + klen), **b = bucket_of(l, key, klen);
	if (!e)
		return NULL;
	memcpy(e->key, key, klen);
	e->klen = (uint16_t)klen;
	e->gone = true;
	e->next = *b;
	*b = e;
	return e;
}

bool ledger_record_grow(struct record *e, size_t vlen)
{
	if (e->value && vlen <= e->vsize)
		return true;
	uint8_t *p = malloc(vlen ? vlen : 1);
	if (!p)
		return false;
	free(e->value);
	e->value = p;
	e->vsize = (uint32_t)vlen;
	return true;
}

void ledger_record_set(struct record *e, const void *value, size_t vlen)
{
	if (vlen)
		memcpy(e->value, value, vlen);
	e->vlen = (uint32_t)vlen;
	e->gone = false;
}

static void record_free(struct record *e)
{
	free(e->value);
	free(e);
}

void ledger_record_settle(struct ledger *l, struct record *e)
{
	struct record **p;
	if (!e->gone)
		return;
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		if (e->at[i].seq || e->at[i].dirty)
			return;
	for (p = bucket_of(l, e->key, e->klen); *p != e; p = &(*p)->next)
		;
	*p = e->next;
	record_free(e);
}

int ledger_table_init(struct ledger *l, uint64_t ring_bytes)
{
	for (l->nbuckets = 64; l->nbuckets < ring_bytes / BUCKET_BYTES;)
		l->nbuckets *= 2;
	l->buckets = calloc(l->nbuckets, sizeof(*l->buckets));
	if (!l->buckets)
		return -ENOMEM;
	/* Nobody is told the regions' ids either. */
	for (unsigned i = 0; i < 2; i++)
		l->hash_key[i] = l->env ? env_random_u64(l->env) : l->rings[i].id;
	return 0;
}

void ledger_table_free(struct ledger *l)
{
	for (size_t i = 0; l->buckets && i < l->nbuckets; i++) {
		struct record *e;
		while ((e = l->buckets[i])) {
			l->buckets[i] = e->next;
			record_free(e);
		}
	}
	free(l->buckets);
	l->buckets = NULL;
}

/* ---- changes ---- */

/* A record's size changes between these two, and it is to be written. */
static void change_begin(struct ledger *l, struct record *e)
{
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		if (e->at[i].dirty)
			l->rings[i].dirty_bytes -= record_bytes(e);
	if (!e->gone) {
		l->live_bytes -= record_bytes(e);
		l->records--;
	}
}

static void change_end(struct ledger *l, struct record *e)
{
	l->changes++;
	if (!e->gone) {
		l->live_bytes += record_bytes(e);
		l->records++;
	}
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		struct ring *r = &l->rings[i];
		if (e->at[i].dirty)
			r->dirty_bytes += record_bytes(e);
		/* What a ring never had need not be taken from it. */
		if (e->gone && !e->at[i].seq)
			ring_clean(r, e);
		else if (r->state != RING_OFF)
			ring_dirty(r, e, l->changes);
	}
	ledger_record_settle(l, e);
}

int ledger_put(struct ledger *l, const void *key, size_t klen, const void *value, size_t vlen)
{
	CHECK(l, LEDGER_MAGIC);
	if (!klen || klen > LEDGER_KEY_MAX || vlen > LEDGER_VALUE_MAX)
		return -EINVAL;
	struct record *e = ledger_find(l, key, klen);
	size_t was = e && !e->gone ? record_bytes(e) : 0;
	size_t is = LEDGER_RECORD_HEAD + klen + vlen;
	if (was && e->vlen == vlen && (!vlen || memcmp(e->value, value, vlen) == 0))
		return 0;
	if (is > was && l->live_bytes - was + is > l->live_max)
		return -ENOSPC;
	if (!e && !(e = ledger_record_new(l, key, klen)))
		return -ENOMEM;
	if (!ledger_record_grow(e, vlen)) {
		ledger_record_settle(l, e);
		return -ENOMEM;
	}
	change_begin(l, e);
	ledger_record_set(e, value, vlen);
	change_end(l, e);
	return 0;
}

int ledger_drop(struct ledger *l, const void *key, size_t klen)
{
	CHECK(l, LEDGER_MAGIC);
	struct record *e = ledger_find(l, key, klen);
	if (!e || e->gone)
		return -ENOENT;
	change_begin(l, e);
	free(e->value);
	e->value = NULL;
	e->vlen = e->vsize = 0;
	e->gone = true;
	change_end(l, e);
	return 0;
}

const void *ledger_get(const struct ledger *l, const void *key, size_t klen, size_t *ret_vlen)
{
	CHECK(l, LEDGER_MAGIC);
	const struct record *e = ledger_find(l, key, klen);
	if (!e || e->gone)
		return NULL;
	*ret_vlen = e->vlen;
	return e->value;
}

int ledger_walk(const struct ledger *l, ledger_fn *fn, void *arg)
{
	int rc = 0;
	for (size_t i = 0; i < l->nbuckets; i++)
		for (const struct record *e = l->buckets[i]; e && rc == 0; e = e->next)
			if (!e->gone)
				rc = fn(arg, e->key, e->klen, e->value, e->vlen);
	return rc;
}
