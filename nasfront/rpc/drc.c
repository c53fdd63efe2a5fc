/*
 * The duplicate request cache: an array of entries, chained in hash buckets by number. An entry
 * is FREE (free list), BUSY (in a bucket only) or DONE (in a bucket and the age list).
 */
#include "nasfront/rpc/drc.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <bsd/sys/queue.h>
#include "nasfront/rpc/rpc.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"

#define DRC_MAGIC 0x64726331

enum drc_state { DRC_ENTRY_FREE, DRC_ENTRY_BUSY, DRC_ENTRY_DONE };

struct drc_entry {
	struct drc_key key;
	enum drc_state state;
	uint32_t bucket;
	LIST_ENTRY(drc_entry) chain;
	TAILQ_ENTRY(drc_entry) age;
	void *runner, *waiter; /* while BUSY */
	uint32_t len;
	uint8_t reply[DRC_REPLY_MAX];
};
LIST_HEAD(drc_chain, drc_entry);
TAILQ_HEAD(drc_list, drc_entry);

struct drc {
	uint32_t magic;
	unsigned nentries, nbuckets;
	struct drc_chain *buckets;
	struct drc_list done; /* oldest first */
	struct drc_list free;
	struct drc_entry *entries;
};

int drc_new(struct drc **ret, unsigned entries)
{
	struct drc *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->magic = DRC_MAGIC;
	d->nentries = entries;
	d->nbuckets = 64;
	/* Few chains of more than one: an entry looked at in vain is seldom in the processor's
	 * caches.*/
	while (d->nbuckets < 4 * entries)
		d->nbuckets *= 2;
	d->entries = calloc(entries, sizeof(*d->entries));
	d->buckets = calloc(d->nbuckets, sizeof(*d->buckets));
	TAILQ_INIT(&d->done);
	TAILQ_INIT(&d->free);
	if (!d->entries || !d->buckets) {
		drc_free(d);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < entries; i++)
		TAILQ_INSERT_TAIL(&d->free, &d->entries[i], age);
	*ret = d;
	return 0;
}

void drc_free(struct drc *d)
{
	if (!d)
		return;
	CHECK(d, DRC_MAGIC);
	free(d->entries);
	free(d->buckets);
	d->magic = 0;
	free(d);
}

void drc_key_fill(struct drc_key *k, const struct sockaddr_storage *peer,
		  const struct rpc_cred *cred, uint32_t xid, uint32_t prog, uint32_t proc,
		  const void *args, size_t len)
{
	memset(k, 0, sizeof(*k));
	k->xid = xid;
	k->prog = prog;
	k->proc = proc;
	k->len = (uint32_t)len;
	k->crc = crc32c(args, MIN(len, (size_t)DRC_CRC_BYTES));
	k->flavor = cred->flavor;
	k->service = cred->service;
	k->who = cred->flavor == RPC_FLAVOR_GSS ? cred->principal
						: (uint64_t)cred->uid << 32 | cred->gid;
	if (peer->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
		memcpy(k->addr, &in->sin_addr, sizeof(in->sin_addr));
		k->port = in->sin_port;
	} else if (peer->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
		memcpy(k->addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
		k->port = in6->sin6_port;
	}
}

static uint32_t key_bucket(const struct drc *d, const struct drc_key *k)
{
	uint64_t h = ((uint64_t)k->xid << 32 | k->crc) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(h >> 32) & (d->nbuckets - 1);
}

/* The one that comes next is fetched: it was last touched thousands of calls ago. */
static void entry_fetch(const struct drc_entry *e)
{
	if (!e)
		return;
	__builtin_prefetch(e, 1);
	__builtin_prefetch(&e->age, 1);
	__builtin_prefetch(e->reply, 1);
}

static struct drc_entry *entry_take(struct drc *d)
{
	struct drc_entry *e = TAILQ_FIRST(&d->free);
	if (e) {
		TAILQ_REMOVE(&d->free, e, age);
		return e;
	}
	e = TAILQ_FIRST(&d->done);
	if (e) {
		TAILQ_REMOVE(&d->done, e, age);
		LIST_REMOVE(e, chain);
		entry_fetch(TAILQ_FIRST(&d->done));
	}
	return e;
}

enum drc_found drc_begin(struct drc *d, const struct drc_key *k, struct drc_entry **ret)
{
	CHECK(d, DRC_MAGIC);
	uint32_t b = key_bucket(d, k);
	struct drc_entry *e;
	LIST_FOREACH (e, &d->buckets[b], chain) {
		if (memcmp(&e->key, k, sizeof(*k)) == 0) {
			*ret = e;
			return e->state == DRC_ENTRY_BUSY ? DRC_BUSY : DRC_REPLAY;
		}
	}
	e = entry_take(d);
	*ret = e;
	if (!e)
		return DRC_NEW;
	e->key = *k;
	e->state = DRC_ENTRY_BUSY;
	e->runner = e->waiter = NULL;
	e->bucket = b;
	LIST_INSERT_HEAD(&d->buckets[b], e, chain);
	return DRC_NEW;
}

void drc_done(struct drc *d, struct drc_entry *e, const void *reply, size_t len)
{
	ASSERT(e->state == DRC_ENTRY_BUSY && !e->waiter);
	if (len > DRC_REPLY_MAX) {
		drc_forget(d, e);
		return;
	}
	memcpy(e->reply, reply, len);
	e->len = (uint32_t)len;
	e->state = DRC_ENTRY_DONE;
	TAILQ_INSERT_TAIL(&d->done, e, age);
}

void drc_forget(struct drc *d, struct drc_entry *e)
{
	ASSERT(e->state == DRC_ENTRY_BUSY && !e->waiter);
	LIST_REMOVE(e, chain);
	e->state = DRC_ENTRY_FREE;
	TAILQ_INSERT_HEAD(&d->free, e, age);
}

void drc_set_runner(struct drc_entry *e, void *runner)
{
	e->runner = runner;
}

void *drc_runner(const struct drc_entry *e)
{
	return e->runner;
}

void *drc_swap_waiter(struct drc_entry *e, void *waiter)
{
	ASSERT(e->state == DRC_ENTRY_BUSY);
	void *old = e->waiter;
	e->waiter = waiter;
	return old;
}

const void *drc_reply(const struct drc_entry *e, size_t *ret_len)
{
	*ret_len = e->len;
	return e->reply;
}
