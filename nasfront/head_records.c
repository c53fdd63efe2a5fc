/*
 * Reading what a predecessor left in the ledger: one walk takes all, by kind; then the services are
 * told kind by kind. Whoever is told may change the ledger, so all are taken first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/head.h"
#include "nasfront/piv/ledger.h"
#include "runtime/check.h"
#include "runtime/err.h"

struct picked {
	Isthmus__StateRecord *r;
	uint64_t bytes;
};

struct pile {
	struct picked *list;
	size_t n, cap;
};

struct head_records {
	struct pile kinds[128]; /* by letter */
};

static int pick(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	struct head_records *a = arg;
	uint8_t kind = *(const uint8_t *)key;
	if (kind >= ARRAY_LEN(a->kinds))
		return -ERR_CORRUPT;
	if (kind == STORE_PARTIAL)
		return 0;
	struct pile *p = &a->kinds[kind];
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 64;
		struct picked *list = realloc(p->list, cap * sizeof(*list));
		if (!list)
			return -ENOMEM;
		p->list = list;
		p->cap = cap;
	}
	Isthmus__StateRecord *r = isthmus__state_record__unpack(NULL, vlen, value);
	if (!r)
		return -ERR_CORRUPT;
	p->list[p->n++] = (struct picked){r, LEDGER_RECORD_BYTES + klen + vlen};
	return r->version == STORE_VERSION ? 0 : -ERR_VERSION;
}

/* Of one file each goes behind the one before: so none looks for its place. */
static int by_first(const void *a, const void *b)
{
	const struct picked *x = a, *y = b;
	uint64_t p = x->r->lock ? x->r->lock->first : 0, q = y->r->lock ? y->r->lock->first : 0;
	return p < q ? -1 : p > q;
}

void head_records_free(struct head *h)
{
	struct head_records *a = h->records;
	h->records = NULL;
	for (size_t i = 0; a && i < ARRAY_LEN(a->kinds); i++) {
		for (size_t j = 0; j < a->kinds[i].n; j++)
			isthmus__state_record__free_unpacked(a->kinds[i].list[j].r, NULL);
		free(a->kinds[i].list);
	}
	free(a);
}

int head_records_read(struct head *h)
{
	h->records = calloc(1, sizeof(*h->records));
	int rc = h->records ? ledger_walk(h->ledger, pick, h->records) : -ENOMEM;
	if (rc) {
		head_records_free(h);
		return rc;
	}
	struct pile *locks = &h->records->kinds[STORE_LOCK];
	for (size_t i = 0; i < locks->n; i++)
		if (locks->list[i].r->body_case != ISTHMUS__STATE_RECORD__BODY_LOCK)
			rc = -ERR_CORRUPT;
	if (locks->n && rc == 0)
		qsort(locks->list, locks->n, sizeof(*locks->list), by_first);
	return rc;
}

void head_records_each(void *arg, enum store_kind kind, store_fn *fn, void *fn_arg)
{
	struct head *h = arg;
	const struct pile *p = h->records ? &h->records->kinds[kind] : NULL;
	for (size_t i = 0; p && i < p->n; i++)
		fn(fn_arg, p->list[i].r, p->list[i].bytes);
}

/* ---- those that are nobody's ---- */

static bool is_nfs4(const uint8_t *key, const void *value, size_t vlen)
{
	Isthmus__StateRecord *r;
	if (memchr("VCSROT", key[0], 6))
		return true;
	if (key[0] != STORE_LOCK)
		return false;
	r = isthmus__state_record__unpack(NULL, vlen, value);
	bool is = r && r->body_case == ISTHMUS__STATE_RECORD__BODY_LOCK && r->lock->client.len &&
		  r->lock->client.data[0] == STORE_CLIENT;
	if (r)
		isthmus__state_record__free_unpacked(r, NULL);
	return is;
}

struct dropper {
	bool nfs4; /* of version 4 alone */
	uint8_t (*keys)[LEDGER_KEY_MAX + 2];
	size_t n, cap;
};

static int pick_key(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	struct dropper *d = arg;
	if (d->n == d->cap)
		return 1;
	if (d->nfs4 && !is_nfs4(key, value, vlen))
		return 0;
	d->keys[d->n][0] = (uint8_t)(klen >> 8);
	d->keys[d->n][1] = (uint8_t)klen;
	memcpy(d->keys[d->n++] + 2, key, klen);
	return 0;
}

int head_records_clear(struct head *h, bool nfs4)
{
	struct dropper d = {.nfs4 = nfs4, .cap = 4096};
	d.keys = calloc(d.cap, sizeof(*d.keys));
	if (!d.keys)
		return -ENOMEM;
	do {
		d.n = 0;
		ledger_walk(h->ledger, pick_key, &d);
		for (size_t i = 0; i < d.n; i++)
			ledger_drop(h->ledger, d.keys[i] + 2,
				    (size_t)d.keys[i][0] << 8 | d.keys[i][1]);
	} while (d.n);
	free(d.keys);
	return 0;
}
