/* Where the services put what a successor must know: the service's ledger on the group's PIV. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/head.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/store.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

/*
 * The ledger's own record: the number of the status monitor under which it was written, and whether
 * some record could not be put. One that is of another number was not written by the head's last
 * process: what that had is not in it. Its size never changes, so there is always room for it.
 */
static const char MARK[] = {STORE_PARTIAL};

static int put_mark(struct head *h)
{
	uint8_t v[5];
	be32_put(v, h->ledger_number);
	v[4] = h->ledger_partial;
	return ledger_put(h->ledger, MARK, sizeof(MARK), v, sizeof(v));
}

/* Is what the ledger holds all that the last process of this head had? */
static bool is_whole(struct head *h, const struct ledger_stats *s)
{
	size_t len;
	const uint8_t *v = ledger_get(h->ledger, MARK, sizeof(MARK), &len);
	bool volumes = !h->piv_missing && !s->unsure;
	return volumes && v && len == 5 && be32_get(v) == piv_nsm_state(h->piv) && !v[4];
}

/* Said once, until it works again. */
static void tell_failing(struct head *h, int rc)
{
	if (rc == -ERR_EPOCH_STALE)
		head_on_fenced(h);
	if (rc && !h->ledger_failing)
		event_write(
		    LOG_L_ERROR, "ledger.failing",
		    "head %s cannot keep what its clients have: %s; a restart now would make "
		    "them reclaim it",
		    h->config->name, err_text(rc));
	if (!rc && h->ledger_failing)
		event_write(LOG_L_NOTICE, "ledger.kept",
			    "head %s keeps what its clients have again", h->config->name);
	h->ledger_failing = rc != 0;
}

static void store_put_record(void *arg, const void *key, size_t key_len, const void *value,
			     size_t len)
{
	struct head *h = arg;
	int rc = h->ledger ? ledger_put(h->ledger, key, key_len, value, len) : 0;
	if (rc == 0)
		return;
	tell_failing(h, rc);
	h->ledger_partial = true;
	put_mark(h);
}

static void store_drop_record(void *arg, const void *key, size_t key_len)
{
	struct head *h = arg;
	if (h->ledger)
		ledger_drop(h->ledger, key, key_len);
}

/* From three quarters on: what is there goes on changing, and its records grow. */
static bool store_is_full(void *arg)
{
	struct head *h = arg;
	struct ledger_stats s;
	if (!h->ledger)
		return false;
	ledger_get_stats(h->ledger, &s);
	bool full = s.live_bytes > s.live_max / 4 * 3;
	if (full && !h->ledger_full)
		event_write(
		    LOG_L_WARN, "ledger.full",
		    "head %s takes no more clients, opens and locks: what can be kept of them "
		    "is used up; a group with larger volumes keeps more (isthmus group create "
		    "--size)",
		    h->config->name);
	h->ledger_full = full;
	return full;
}

#define AGAIN_NS (500 * NS_PER_MS)
#define WHOLE_NS (10 * NS_PER_S)

static int attach(struct head *h);

/* There is room again: all that is here is put, and counts. */
static void make_whole(struct head *h)
{
	h->ledger_whole_ns = env_now_ns(h->env) + WHOLE_NS;
	h->ledger_partial = false;
	attach(h);
	put_mark(h);
}

static void store_sync_records(void *arg)
{
	struct head *h = arg;
	if (!h->ledger)
		return;
	if (h->ledger_partial && !store_is_full(h) && env_now_ns(h->env) >= h->ledger_whole_ns)
		make_whole(h);
	h->ledger_users++;
	/* Nobody is answered before it is stable: what it says would be forgotten by a restart. */
	struct ledger *l = h->ledger; /* it may be closed meanwhile: that waits for us */
	int rc;
	while ((rc = ledger_sync(l)) && !h->stopping && !h->fenced && h->ledger == l) {
		tell_failing(h, rc);
		env_sleep_ns(h->env, AGAIN_NS);
	}
	if (--h->ledger_users == 0)
		waitq_wake_all(&h->ledger_idle);
	tell_failing(h, rc ? rc : h->ledger_partial ? -ENOSPC : 0);
}

/* ---- reading them ---- */

struct picked {
	enum store_kind kind;
	Isthmus__StateRecord **list;
	size_t n, cap;
	int rc;
};

static int pick(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	struct picked *p = arg;
	if (*(const uint8_t *)key != (uint8_t)p->kind)
		return 0;
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 64;
		Isthmus__StateRecord **list = realloc(p->list, cap * sizeof(*list));
		if (!list)
			return -ENOMEM;
		p->list = list;
		p->cap = cap;
	}
	Isthmus__StateRecord *r = isthmus__state_record__unpack(NULL, vlen, value);
	if (!r)
		return -ERR_CORRUPT;
	p->list[p->n++] = r;
	return r->version == STORE_VERSION ? 0 : -ERR_VERSION;
}

/* Whoever is told may change the ledger: so all are taken first. */
static void store_each_record(void *arg, enum store_kind kind,
			      void (*fn)(void *fn_arg, const Isthmus__StateRecord *r), void *fn_arg)
{
	struct head *h = arg;
	struct picked p = {.kind = kind};
	int rc = h->ledger ? ledger_walk(h->ledger, pick, &p) : 0;
	if (rc) {
		h->ledger_loaded = false;
		event_write(LOG_L_ERROR, "ledger.unreadable",
			    "head %s cannot read all that its predecessor left of its clients: %s",
			    h->config->name, err_text(rc));
	}
	for (size_t i = 0; i < p.n; i++) {
		if (p.list[i]->version == STORE_VERSION)
			fn(fn_arg, p.list[i]);
		isthmus__state_record__free_unpacked(p.list[i], NULL);
	}
	free(p.list);
}

/* ---- life ---- */

struct dropper {
	uint8_t (*keys)[LEDGER_KEY_MAX + 2];
	size_t n, cap;
};

static int pick_key(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	struct dropper *d = arg;
	if (d->n == d->cap)
		return 1;
	d->keys[d->n][0] = (uint8_t)(klen >> 8);
	d->keys[d->n][1] = (uint8_t)klen;
	memcpy(d->keys[d->n++] + 2, key, klen);
	return 0;
}

/* What somebody left there is not what the clients have now. */
static int clear(struct ledger *l)
{
	struct dropper d = {.cap = 256};
	d.keys = calloc(d.cap, sizeof(*d.keys));
	if (!d.keys)
		return -ENOMEM;
	do {
		d.n = 0;
		ledger_walk(l, pick_key, &d);
		for (size_t i = 0; i < d.n; i++)
			ledger_drop(l, d.keys[i] + 2, (size_t)d.keys[i][0] << 8 | d.keys[i][1]);
	} while (d.n);
	free(d.keys);
	return 0;
}

static int attach(struct head *h)
{
	unsigned clients = 0;
	int rc = nlm_keep_in(h->nlm, &h->store);
	int rc4 = h->nfs4 ? nfs4_keep_in(h->nfs4, &h->store, &clients) : 0;
	nlm_wait_again(h->nlm);
	return rc ? rc : rc4;
}

int head_store_open(struct head *h)
{
	struct ledger_opts o = {.env = h->env,
				.main = h->piv_main,
				.backup = h->piv_backup,
				.group_id = h->group_id,
				.service = h->config->name};
	h->store = (struct store){.put = store_put_record,
				  .drop = store_drop_record,
				  .sync = store_sync_records,
				  .full = store_is_full,
				  .each = store_each_record,
				  .arg = h};
	waitq_init(&h->ledger_idle);
	int rc = ledger_open(&h->ledger, &o);
	if (rc == -ERR_CORRUPT) {
		event_write(
		    LOG_L_ERROR, "ledger.damaged",
		    "what head %s kept of its clients is damaged on both volumes: they have "
		    "to reclaim it",
		    h->config->name);
		o.anew = true;
		rc = ledger_open(&h->ledger, &o);
	}
	if (rc) {
		h->ledger = NULL;
		if (rc != -ENODEV) /* that was told */
			event_write(LOG_L_ERROR, "ledger.unusable",
				    "head %s cannot keep what its clients have: %s",
				    h->config->name, err_text(rc));
		return rc;
	}
	struct ledger_stats s;
	ledger_get_stats(h->ledger, &s);
	h->ledger_loaded = !(h->kept || h->locking) && is_whole(h, &s);
	h->ledger_partial = false;
	/* What cannot be trusted is nobody's; where clients are here all of theirs is put anew. */
	if (!h->ledger_loaded)
		rc = clear(h->ledger);
	rc = rc ? rc : attach(h);
	if (rc) {
		h->ledger_loaded = false;
		clear(h->ledger);
		attach(h);
		event_write(
		    LOG_L_ERROR, "ledger.partial",
		    "head %s cannot use what its predecessor left of its clients, who have to "
		    "reclaim it: %s",
		    h->config->name, err_text(rc));
	}
	return 0;
}

void head_store_begin(struct head *h, uint32_t number)
{
	h->ledger_number = number;
	if (!h->ledger)
		return;
	put_mark(h);
	store_sync_records(h);
}

void head_store_close(struct head *h, bool write)
{
	struct ledger *l = h->ledger;
	if (!l)
		return;
	h->ledger = NULL;
	while (h->ledger_users)
		waitq_wait(&h->ledger_idle);
	if (write)
		tell_failing(h, ledger_close(l));
	else
		ledger_abandon(l);
}
