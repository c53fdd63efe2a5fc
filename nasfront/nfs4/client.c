/*
 * Clients: records made by EXCHANGE_ID and confirmed by CREATE_SESSION (RFC 8881 18.35, 18.36), or
 * by SETCLIENTID and SETCLIENTID_CONFIRM (RFC 7530 16.33, 16.34), their leases, and what is kept of
 * them for the next incarnation of the head.
 *
 * An owner (what a client calls itself) has at most one confirmed record and one that is not: a
 * client that was restarted has the old one until it confirms the new.
 *
 * What is kept is the SHA-256 of the owner. A client is kept, stable, when it says that it has
 * reclaimed what there was to reclaim: before that it is granted nothing new. (In version 4.0,
 * where nobody says so, before its first open is granted.) It is forgotten when
 * it ends, when it says good-bye, or when it did not come back in the grace period.
 *
 * When its lease runs out a client that has nothing ends. One that has opens or locks keeps them,
 * as a courtesy (RFC 8881 8.4.3; it may only have been away), until somebody asks for what they
 * are in the way of, there is no room, or a day has passed; a request of its own before that makes
 * all good again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/siphash.h"

#define FORGETTERS  64u			   /* clients forgotten at once: they share writes */
#define COURTESY_NS (24 * 3600 * NS_PER_S) /* behind the end of a lease; then it goes anyway */

/* ---- finding ---- */

static unsigned id_bucket(uint64_t id)
{
	return (unsigned)(id % NFS4_STATE_BUCKETS);
}

static unsigned owner_bucket(const struct nfs4 *n, const uint8_t *owner, uint32_t len)
{
	return (unsigned)(siphash(n->hash_key, owner, len) % NFS4_BUCKETS);
}

static unsigned kept_bucket(const struct nfs4 *n, const char *name)
{
	return (unsigned)(siphash(n->hash_key, name, strlen(name)) % NFS4_BUCKETS);
}

struct nfs4_client *nfs4_client_find(struct nfs4 *n, uint64_t id, bool v40)
{
	struct nfs4_client *c;
	LIST_FOREACH (c, &n->clients_by_id[id_bucket(id)], by_id)
		if (c->id == id && c->v40 == v40 && !c->ending)
			return c;
	return NULL;
}

struct nfs4_client *nfs4_client_by_owner(struct nfs4 *n, const struct nfs4_who *w, bool confirmed)
{
	struct nfs4_client *c;
	LIST_FOREACH (c, &n->clients_by_owner[owner_bucket(n, w->owner, w->len)], by_owner)
		if (c->confirmed == confirmed && c->v40 == w->v40 && c->owner_len == w->len &&
		    memcmp(c->owner, w->owner, w->len) == 0)
			return c;
	return NULL;
}

/* A principal, not the user it is mapped to: all that are unknown here are one user. */
uint64_t nfs4_who_calls(const struct rpc_req *req)
{
	const struct rpc_cred *c = &req->cred;
	return c->flavor == RPC_FLAVOR_GSS ? c->principal | 1ull << 63
					   : (uint64_t)c->flavor << 32 | c->uid;
}

bool nfs4_client_is_of(const struct nfs4_client *c, const struct rpc_req *req)
{
	return c->who == nfs4_who_calls(req);
}

bool nfs4_client_replaceable(const struct nfs4_client *c)
{
	if (c->busy)
		return false;
	return !(c->nopens || c->nlocks || c->ndelegs || c->nsessions) ||
	       nfs4_client_expired(c, env_now_ns(c->nfs4->o.env));
}

void nfs4_client_use(struct nfs4_call *k, struct nfs4_client *c)
{
	if (k->client != c) {
		if (k->client)
			k->client->busy--;
		k->client = c;
		c->busy++;
	}
	nfs4_client_renew(c, k->req->start_ns);
}

enum nfs4_status nfs4_client_of(struct nfs4_call *k, uint64_t id)
{
	struct nfs4_client *c = nfs4_client_find(k->n, id, true);
	if (c && c->confirmed) {
		nfs4_client_use(k, c);
		return NFS4_OK;
	}
	/* One of ours that is no more was let go of: nothing of it is to be reclaimed. */
	bool ours = !c && !nfs4_client_find(k->n, id, false) && id >> 32 == k->n->boot &&
		    (uint32_t)id < k->n->next_client;
	return ours ? NFS4ERR_EXPIRED : NFS4ERR_STALE_CLIENTID;
}

/* ---- coming and going ---- */

/* In version 4.0 a zero stands before what is digested: who reclaims is of the same version. */
static bool kept_name(const struct nfs4_client *c, char ret[NFS4_KEEP_MAX + 1])
{
	uint8_t name[NFS4_OPAQUE_LIMIT + 1] = {0}, digest[EVP_MAX_MD_SIZE];
	unsigned len;
	memcpy(name + c->v40, c->owner, c->owner_len);
	if (!EVP_Digest(name, c->owner_len + c->v40, digest, &len, EVP_sha256(), NULL) || len != 32)
		return false;
	for (unsigned i = 0; i < len; i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return true;
}

/* The one that was idle longest and has nothing gives way. */
static bool make_room(struct nfs4 *n)
{
	struct nfs4_client *c, *next;
	TAILQ_FOREACH_SAFE (c, &n->clients, link, next) {
		if (n->nclients < n->o.max_clients)
			break;
		if (c->busy || c->nopens || c->nlocks || c->ndelegs || c->nsessions)
			continue;
		nfs4_client_forget(c);
		nfs4_client_free(c);
	}
	if (n->nclients >= n->o.max_clients)
		nfs4_client_make_way(n, true); /* there is room when it is tried again */
	return n->nclients < n->o.max_clients;
}

int nfs4_client_new(struct nfs4_client **ret, struct nfs4 *n, const struct nfs4_who *w,
		    const struct rpc_req *req)
{
	if (!make_room(n))
		return -ENOSPC;
	return nfs4_client_make(ret, n, w, (uint64_t)n->boot << 32 | n->next_client++,
				nfs4_who_calls(req), rpc_conn_peer_text(req->conn));
}

int nfs4_client_make(struct nfs4_client **ret, struct nfs4 *n, const struct nfs4_who *w,
		     uint64_t id, uint64_t who, const char *address)
{
	struct nfs4_client *c = calloc(1, sizeof(*c) + w->len);
	if (!c)
		return -ENOMEM;
	c->nfs4 = n;
	c->id = id;
	c->key[0] = STORE_CLIENT;
	be64_put(c->key + 1, id);
	c->v40 = w->v40;
	memcpy(c->verifier, w->verifier, NFS4_VERIFIER);
	memcpy(c->owner, w->owner, w->len);
	c->owner_len = w->len;
	c->who = who;
	c->create_seq = 1;
	c->renewed_ns = env_now_ns(n->o.env);
	strncpy(c->address, address, sizeof(c->address) - 1);
	LIST_INIT(&c->sessions);
	TAILQ_INIT(&c->owners);
	TAILQ_INIT(&c->asks);
	TAILQ_INIT(&c->notes);
	TAILQ_INIT(&c->blocked);
	if (!kept_name(c, c->kept_name) || lock_client_new(&c->locks, n->locks, c)) {
		free(c);
		return -ENOMEM;
	}
	lock_client_set_key(c->locks, c->key, sizeof(c->key));
	LIST_INSERT_HEAD(&n->clients_by_id[id_bucket(c->id)], c, by_id);
	LIST_INSERT_HEAD(&n->clients_by_owner[owner_bucket(n, w->owner, w->len)], c, by_owner);
	LIST_INSERT_HEAD(&n->clients_by_kept[kept_bucket(n, c->kept_name)], c, by_kept);
	TAILQ_INSERT_TAIL(&n->clients, c, link);
	n->nclients++;
	*ret = c;
	return 0;
}

void nfs4_client_clear(struct nfs4_client *c)
{
	struct nfs4_session *s;
	struct nfs4_owner *o;
	nfs4_blocked_free(c); /* it is not told of locks that go with it */
	/* At once: owner by owner each would be looked for. */
	lock_client_release(c->locks);
	while ((s = LIST_FIRST(&c->sessions)))
		nfs4_session_free(s);
	while ((o = TAILQ_FIRST(&c->owners)))
		nfs4_owner_free(o);
	nfs4_notes_free(c);
}

void nfs4_client_free(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	ASSERT(!c->busy);
	nfs4_client_clear(c);
	nfs4_unrecord_client(c);
	nfs4_caller_forget(c);
	lock_client_free(c->locks);
	LIST_REMOVE(c, by_id);
	LIST_REMOVE(c, by_owner);
	LIST_REMOVE(c, by_kept);
	TAILQ_REMOVE(&n->clients, c, link);
	n->nclients--;
	free(c);
}

bool nfs4_client_room(const struct nfs4_client *c)
{
	const struct nfs4_who w = {.owner = c->owner, .len = c->owner_len, .v40 = c->v40};
	const struct nfs4_client *old = nfs4_client_by_owner(c->nfs4, &w, true);
	uint64_t has = *lock_client_account(c->locks);
	if (old && old != c && *lock_client_account(old->locks))
		return true;
	/* It is here, and needs one to go on, and to give up what it has. */
	if (c->confirmed && !c->nsessions)
		return true;
	if (!store_denies(c->nfs4->store, has))
		return true;
	nfs4_client_make_way(c->nfs4, true);
	return false;
}

enum nfs4_status nfs4_client_confirm(struct nfs4_client *c)
{
	const struct nfs4_who w = {.owner = c->owner, .len = c->owner_len, .v40 = c->v40};
	struct nfs4_client *old = nfs4_client_by_owner(c->nfs4, &w, true);
	if (c->confirmed)
		return NFS4_OK;
	if (old && old->busy)
		return NFS4ERR_DELAY;
	if (old) {
		nfs4_client_forget(old);
		nfs4_client_free(old);
	}
	c->confirmed = true;
	return NFS4_OK;
}

/* ---- leases ---- */

void nfs4_client_renew(struct nfs4_client *c, uint64_t now)
{
	if (c->courtesy)
		log_info("nfs4: back after its lease ran out client=%s", c->address);
	c->courtesy = false;
	c->renewed_ns = now;
	if (TAILQ_NEXT(c, link)) {
		TAILQ_REMOVE(&c->nfs4->clients, c, link);
		TAILQ_INSERT_TAIL(&c->nfs4->clients, c, link);
	}
}

bool nfs4_client_expired(const struct nfs4_client *c, uint64_t now)
{
	return now > c->renewed_ns + c->nfs4->o.lease_ns;
}

/* ---- for the next incarnation ---- */

static struct nfs4_kept_client *kept_find(struct nfs4 *n, const char *name)
{
	struct nfs4_kept_client *k;
	LIST_FOREACH (k, &n->kept_by_name[kept_bucket(n, name)], chain)
		if (strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

/* Out of the list; the caller frees it. */
static void kept_take(struct nfs4 *n, struct nfs4_kept_client *k)
{
	LIST_REMOVE(k, link);
	LIST_REMOVE(k, chain);
	n->nkept--;
	n->nkept_done -= k->done;
}

int nfs4_kept(struct nfs4 *n, const char *name)
{
	if (strlen(name) > NFS4_KEEP_MAX)
		return -EINVAL;
	if (kept_find(n, name))
		return 0;
	struct nfs4_kept_client *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	strcpy(k->name, name);
	LIST_INSERT_HEAD(&n->kept, k, link);
	LIST_INSERT_HEAD(&n->kept_by_name[kept_bucket(n, name)], k, chain);
	n->nkept++;
	return 0;
}

void nfs4_kept_free(struct nfs4 *n)
{
	struct nfs4_kept_client *k;
	while ((k = LIST_FIRST(&n->kept))) {
		kept_take(n, k);
		free(k);
	}
}

int nfs4_client_keep(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	if (c->kept)
		return 0;
	struct nfs4_kept_client *k = kept_find(n, c->kept_name);
	if (k)
		k->again = true;
	c->keeping++;
	int rc = n->o.keep ? n->o.keep(n->o.arg, c->kept_name, false) : 0;
	c->keeping--;
	c->kept |= rc == 0;
	return rc;
}

enum nfs4_status nfs4_reclaim_check(const struct nfs4_client *c, bool reclaim)
{
	enum nlm_phase phase = nlm_phase(c->nfs4->o.nlm);
	/* Whether it was kept is not known yet. GRACE would tell a client that it comes too early
	 * with what is new; Linux gives up what it wants to reclaim then. */
	if (phase == NLM_STARTING)
		return reclaim ? NFS4ERR_DELAY : NFS4ERR_GRACE;
	if (!reclaim)
		return phase == NLM_GRACE || !(c->reclaim_done || c->v40) ? NFS4ERR_GRACE : NFS4_OK;
	if (phase != NLM_GRACE || c->reclaim_done || !kept_find(c->nfs4, c->kept_name))
		return NFS4ERR_NO_GRACE;
	return NFS4_OK;
}

/* It has nothing to reclaim any more. The last one ends the grace period. */
static void kept_done(struct nfs4 *n, struct nfs4_kept_client *k)
{
	n->nkept_done += !k->done;
	k->done = true;
	if (n->nkept_done == n->nkept && nlm_phase(n->o.nlm) == NLM_GRACE)
		nlm_reclaimed(n->o.nlm);
}

void nfs4_client_reclaimed(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	struct nfs4_kept_client *k = kept_find(n, c->kept_name);
	c->reclaim_done = true;
	nfs4_record_client(c);
	if (k)
		kept_done(n, k);
}

bool nfs4_kept_here(struct nfs4 *n, const char *name)
{
	struct nfs4_client *c;
	LIST_FOREACH (c, &n->clients_by_kept[kept_bucket(n, name)], by_kept) {
		if (strcmp(c->kept_name, name))
			continue;
		c->kept = true;
		return true;
	}
	return false;
}

bool nfs4_reclaims(struct nfs4 *n, const char *name)
{
	const struct nfs4_client *c;
	LIST_FOREACH (c, &n->clients_by_kept[kept_bucket(n, name)], by_kept)
		if (!c->reclaim_done && strcmp(c->kept_name, name) == 0)
			return true;
	return false;
}

/* ---- as time goes by ---- */

/* A client of this name is here and kept. */
static bool kept_here(struct nfs4 *n, const char *name)
{
	const struct nfs4_client *c;
	LIST_FOREACH (c, &n->clients_by_kept[kept_bucket(n, name)], by_kept)
		if ((c->kept || c->keeping) && strcmp(c->kept_name, name) == 0)
			return true;
	return false;
}

/* Waits. Those who did not come back are kept no longer. */
static void forget_task(void *arg)
{
	struct nfs4 *n = arg;
	struct nfs4_kept_client *k;
	while (n->forgetting && (k = LIST_FIRST(&n->kept))) {
		kept_take(n, k);
		if (n->o.keep && !k->again && !kept_here(n, k->name)) {
			log_info("nfs4: client=%s did not come back", k->name);
			n->o.keep(n->o.arg, k->name, true);
		}
		free(k);
	}
	if (--n->nforgetters)
		return;
	n->forgetting = false;
	waitq_wake_all(&n->forgotten);
}

void nfs4_client_forget(struct nfs4_client *c)
{
	struct nfs4_kept_client *k;
	/* In the list until a task has told the keeper; it reclaims nothing. */
	if (c->kept && nfs4_kept(c->nfs4, c->kept_name))
		log_warn("nfs4: no memory to forget client=%s", c->address);
	else if (c->kept && (k = kept_find(c->nfs4, c->kept_name)))
		kept_done(c->nfs4, k);
	c->kept = false;
}

static void forget_begin(struct nfs4 *n)
{
	if (LIST_EMPTY(&n->kept) || nlm_phase(n->o.nlm) != NLM_GRANTING || n->nforgetters)
		return;
	n->forgetting = true;
	for (unsigned i = MIN(n->nkept, FORGETTERS); i; i--)
		n->nforgetters += task_start(forget_task, n) == 0;
}

/* ---- leases that ran out ---- */

static struct nfs4_client *ending_first(struct nfs4 *n)
{
	struct nfs4_client *c;
	TAILQ_FOREACH (c, &n->clients, link)
		if (c->ending)
			return c;
	return NULL;
}

/* Waits. Nobody gets what one had before it is forgotten, by a successor too: else both could have
 * it. Without a client's own record those of what it had count for nothing. */
static void end_task(void *arg)
{
	struct nfs4 *n = arg;
	struct nfs4_client *c;
	while ((c = ending_first(n))) {
		bool forget = n->ending && c->kept && n->o.keep;
		int rc = forget ? n->o.keep(n->o.arg, c->kept_name, true) : 0;
		if (!rc && n->ending) {
			nfs4_unrecord_client(c);
			store_sync(n->store);
		}
		c->ending = false;
		c->busy--;
		if (rc) { /* it stays; who asks again finds it in the way again */
			log_warn("nfs4: client=%s cannot be forgotten: %s", c->address,
				 err_text(rc));
			lock_client_yield(c->locks);
		} else if (n->ending) {
			c->kept = false;
			nfs4_client_free(c);
		}
	}
	n->ending = false;
	waitq_wake_all(&n->ended);
}

static void end_begin(struct nfs4 *n)
{
	if (n->ending)
		return;
	n->ending = true;
	if (task_start(end_task, n)) {
		n->ending = false;
		log_warn("nfs4: no memory to end clients whose lease ran out");
	}
}

static bool has_recorded(const struct nfs4_client *c)
{
	return c->recorded && c->nfs4->store && (c->nopens || c->nlocks || c->ndelegs);
}

/* From now on it is as if it were not there. One of whom something is kept the task frees. */
static void end(struct nfs4_client *c, const char *why)
{
	log_info("nfs4: lease ran out, %s client=%s opens=%u locks=%u", why, c->address, c->nopens,
		 c->nlocks);
	if (!c->kept && !has_recorded(c)) {
		nfs4_client_free(c);
		return;
	}
	c->ending = true;
	c->busy++;
}

/* Its lease ran out. True: it was not known before, and in whose way it is counts from now on. */
static bool courtesy_begin(struct nfs4_client *c)
{
	if (c->courtesy)
		return false;
	c->courtesy = true;
	nfs4_copies_end(c);
	lock_client_yield(c->locks);
	return true;
}

static bool in_way(const struct nfs4_client *c)
{
	return c->nrecalled || lock_client_in_way(c->locks);
}

static void expire(struct nfs4 *n, uint64_t now)
{
	struct nfs4_client *c, *next;
	TAILQ_FOREACH_SAFE (c, &n->clients, link, next) {
		if (!nfs4_client_expired(c, now))
			break; /* in order of renewal */
		if (c->busy)
			continue;
		if (courtesy_begin(c) && (c->nopens || c->nlocks || c->ndelegs))
			log_info("nfs4: lease ran out, what it has stays until it is in the way "
				 "client=%s opens=%u locks=%u",
				 c->address, c->nopens, c->nlocks);
		if (!c->nopens && !c->nlocks && !c->ndelegs)
			end(c, "it has nothing");
		else if (in_way(c))
			end(c, "what it had was asked for");
		else if (now > c->renewed_ns + n->o.lease_ns + COURTESY_NS)
			end(c, "a day ago");
	}
	if (ending_first(n))
		end_begin(n);
}

bool nfs4_client_make_way(struct nfs4 *n, bool full)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_client *c, *next;
	bool later = false;
	TAILQ_FOREACH_SAFE (c, &n->clients, link, next) {
		if (!nfs4_client_expired(c, now) || (full && later))
			break;
		if (c->ending) {
			later = true;
		} else if (!c->busy && full) {
			end(c, "its room is needed");
			later = true;
		} else if (!c->busy && courtesy_begin(c)) {
			later = true;
		} else if (!c->busy && in_way(c)) {
			end(c, "what it had is asked for");
			later = true;
		}
	}
	if (ending_first(n))
		end_begin(n);
	return later;
}

bool nfs4_lock_later(struct nfs4 *n, int rc)
{
	if (rc == -EAGAIN)
		return nfs4_client_make_way(n, false);
	if (lock_table_full(n->locks))
		nfs4_client_make_way(n, true);
	return true;
}

void nfs4_tick(void *arg)
{
	struct nfs4 *n = arg;
	expire(n, env_now_ns(n->o.env));
	nfs4_deleg_tick(n);
	nfs4_caller_tick(n);
	nfs4_idle_reap(n, false);
	forget_begin(n);
	env_timer_start(n->o.env, &n->tick, NS_PER_S);
}
