/*
 * Locks that were refused to a client whose LOCK may wait (READW_LT, WRITEW_LT), from version 4.1
 * on: when one might be granted the client is told (CB_NOTIFY_LOCK, RFC 8881 20.11) and asks again,
 * before its own time for that has come.
 *
 * It is a hint: nothing is set aside for it. It is said until the client has answered: one that was
 * not heard goes out by the next way back there is. Clients that can be called hear of it in every
 * OPEN (OPEN4_RESULT_MAY_NOTIFY_LOCK). One whose process gave up does not say so:
 * what it asked for longest ago gives way when a client has CLIENT_MAX of these, all else with it.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define CLIENT_MAX 256
#define HEAD_MAX   16384

static void blocked_free(struct nfs4_blocked *b)
{
	struct nfs4_client *c = b->client;
	lock_watch_end(c->nfs4->locks, &b->watch);
	TAILQ_REMOVE(&c->blocked, b, link);
	c->nblocked--;
	c->nfs4->nblocked--;
	free(b);
}

/* The table's: it might be granted now. */
static void told(struct lock_watch *w)
{
	struct nfs4_blocked *b = (struct nfs4_blocked *)w;
	struct nfs4_client *c = b->client;
	struct nfs4_cb cb;
	/* The owner's kind is the table's business. */
	nfs4_cb_notify_lock(&cb, b->fh, c->id, b->owner + 1, w->ask.owner_len - 1);
	nfs4_note(c, &cb, NULL);
	blocked_free(b);
}
_Static_assert(offsetof(struct nfs4_blocked, watch) == 0, "the table's is its beginning");

static bool same_ask(const struct lock_ask *a, const struct lock_ask *b)
{
	return a->kind == b->kind && a->range.first == b->range.first &&
	       a->range.last == b->range.last && a->owner_len == b->owner_len &&
	       nfs4_same_file(&a->file, &b->file) && memcmp(a->owner, b->owner, a->owner_len) == 0;
}

void nfs4_blocked_drop(struct nfs4_client *c, const struct lock_ask *a)
{
	struct nfs4_blocked *b;
	TAILQ_FOREACH (b, &c->blocked, link)
		if (same_ask(&b->watch.ask, a)) {
			blocked_free(b);
			return;
		}
}

void nfs4_blocked_free(struct nfs4_client *c)
{
	struct nfs4_blocked *b;
	while ((b = TAILQ_FIRST(&c->blocked)))
		blocked_free(b);
}

void nfs4_blocked_add(struct nfs4_call *k, const struct lock_ask *a)
{
	struct nfs4_client *c = k->client;
	uint8_t fh[4 + FH_SIZE];
	struct xdr_out x = xdr_out_of(fh, sizeof(fh));
	if (!k->minor || a->owner_len > NFS4_CB_OWNER + 1 || !nfs4_path_hoped(c))
		return;
	nfs4_blocked_drop(c, a); /* it asks again: not the longest ago any more */
	if (c->nblocked >= CLIENT_MAX)
		blocked_free(TAILQ_FIRST(&c->blocked));
	struct nfs4_blocked *b =
	    c->nfs4->nblocked < HEAD_MAX ? calloc(1, sizeof(*b) + a->owner_len) : NULL;
	if (!b)
		return;
	nfs4_put_fh(&x, k->c.mount, k->c.exp, &k->c.fid);
	ASSERT(!x.full && xdr_out_len(&x) == sizeof(fh));
	memcpy(b->fh, fh + 4, FH_SIZE);
	memcpy(b->owner, a->owner, a->owner_len);
	b->client = c;
	b->watch.ask = *a;
	b->watch.ask.owner = b->owner;
	b->watch.told = told;
	if (lock_watch_begin(c->nfs4->locks, &b->watch)) {
		free(b);
		return;
	}
	TAILQ_INSERT_TAIL(&c->blocked, b, link);
	c->nblocked++;
	c->nfs4->nblocked++;
}
