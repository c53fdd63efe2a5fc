/*
 * Delegations (RFC 8881 10.4): files lent to clients, which then open, lock and cache them without
 * asking.
 *
 * To read: an OPEN that only reads gets it, while nobody has the file open to write. To write: an
 * OPEN that writes, of version 4.1 on, when nothing else has the file open. (In version 4.0 a
 * GETATTR does not say who asks, so nobody could be told the holder's size.) Never before calls to
 * the client are known to arrive, while others have locks in the file, within quiet_ns of its being
 * asked for, or while a change of it is under way. Who writes flushes at CLOSE: the space limit
 * says 0, so that an error of space or quota is close()'s.
 *
 *   lent -> asked for (a conflict: CB_RECALL, the other hears DELAY) -> returned (DELEGRETURN)
 *                                                                    -> taken away, a lease later
 *
 * A client that opens what it was lent, in a way that it could have without asking or that forbids
 * what it has, is asked too: it has mounted the same twice, and one of the two does not know of the
 * other's cache.
 *
 * Whose lease ran out loses all it has, as for opens (client.c). Who is alive and does not return
 * a file loses that file: its stateid says DELEG_REVOKED until FREE_STATEID (version 4.0: it
 * means nothing any more), and is lent nothing for BARRED_NS. Before others get it, it is stable
 * that it was taken away, for a successor would give it back, and that its client cannot reclaim,
 * for it would claim that very file (RFC 8881 8.4.3): the client is forgotten, and kept again with
 * the next OPEN after it has freed what was taken away.
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define BARRED_NS    (300 * NS_PER_S) /* who lost what it did not return is lent nothing */
#define CLIENT_SHARE 8		      /* one client has at most this part of all that can be lent */
#define GIVE_WAY     64		      /* files asked for at once where there is no room */
#define FEWER_NS     (10 * NS_PER_S)  /* how often a client is asked to keep less */

/* ---- uses by others ---- */

enum nfs4_status nfs4_use(struct nfs4_call *k, const struct lock_file_key *f, enum deleg_use use,
			  bool own)
{
	return deleg_in_way(k->n->delegs, f, use, k->client, own) ? NFS4ERR_DELAY : NFS4_OK;
}

enum nfs4_status nfs4_look(struct nfs4_call *k)
{
	if (k->kind != FH_FILE || !deleg_any(k->n->delegs))
		return NFS4_OK;
	struct lock_file_key f = nfs4_file_key(k);
	enum nfs4_status st = nfs4_use(k, &f, DELEG_USE_READ, false);
	return st && !k->may_wait ? NFS4_AGAIN : st;
}

static enum nfs4_status change_by(struct nfs4_call *k, const struct nfs4_client *who)
{
	if (k->kind != FH_FILE || k->c.change.slot)
		return NFS4_OK;
	struct lock_file_key f = nfs4_file_key(k);
	return deleg_change_begin(k->n->delegs, &k->c.change, &f, who) ? NFS4ERR_DELAY : NFS4_OK;
}

enum nfs4_status nfs4_change(struct nfs4_call *k)
{
	return change_by(k, k->client);
}

enum nfs4_status nfs4_change_unopened(struct nfs4_call *k)
{
	return change_by(k, NULL);
}

enum nfs4_status nfs4_change_name(struct nfs4_call *k, const struct fs_fid *dir,
				  const struct nfs4_name *name)
{
	struct lock_file_key f;
	if (!deleg_any(k->n->delegs) || !nfs_named_file(&k->c, dir, name->p, name->len, &f))
		return NFS4_OK;
	return nfs4_use(k, &f, DELEG_USE_CHANGE, false);
}

/* ---- granting ---- */

static void put_fh(struct nfs4_call *k, uint8_t to[FH_SIZE])
{
	uint8_t buf[4 + FH_SIZE];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	nfs4_put_fh(&x, k->c.mount, k->c.exp, &k->c.fid);
	ASSERT(!x.full && xdr_out_len(&x) == sizeof(buf));
	memcpy(to, buf + 4, FH_SIZE);
}

/* NULL: no room. */
static struct nfs4_deleg *lend(struct nfs4_call *k, enum deleg_kind kind)
{
	struct nfs4 *n = k->n;
	struct lock_file_key file = nfs4_file_key(k);
	struct nfs4_owner *o = nfs4_owner_get(k->client, OWNER_DELEG, NULL, 0);
	struct nfs4_state *s = o ? nfs4_state_new(o, &file, NULL) : NULL;
	if (!s) {
		nfs4_owner_check(o);
		return NULL;
	}
	struct nfs4_deleg *d = s->deleg;
	s->seq = 1;
	d->d.file = file;
	d->d.kind = kind;
	d->d.holder = k->client;
	put_fh(k, d->fh);
	deleg_lend(n->delegs, &d->d);
	TAILQ_INSERT_TAIL(&n->lent, d, link);
	n->dstats.lent++;
	*(kind == DELEG_READ ? &n->dstats.reads : &n->dstats.writes) += 1;
	nfs4_record_state(s);
	return d;
}

void nfs4_deleg_restore(struct nfs4_state *s, bool revoked)
{
	struct nfs4_client *c = s->owner->client;
	struct nfs4 *n = c->nfs4;
	struct nfs4_deleg *d = s->deleg;
	d->revoked = d->gone = revoked;
	if (revoked) {
		c->nrevoked++;
		n->dstats.revoked_now++;
		return;
	}
	deleg_lend(n->delegs, &d->d);
	TAILQ_INSERT_TAIL(&n->lent, d, link);
	n->dstats.lent++;
}

/*
 * Keep less (CB_RECALL_ANY, RFC 8881 20.6), of whatever it needs least. Version 4.0 has no such
 * call. Who does not heed it is lent no more, that is all.
 */
static void ask_for_fewer(struct nfs4_client *c)
{
	uint64_t now = env_now_ns(c->nfs4->o.env);
	struct nfs4_cb cb;
	if (c->v40 || now < c->fewer_ns || !nfs4_path_up(c))
		return;
	nfs4_cb_recall_any(&cb, c->ndelegs * 3 / 4,
			   1u << RCA4_TYPE_MASK_RDATA_DLG | 1u << RCA4_TYPE_MASK_WDATA_DLG);
	if (nfs4_note(c, &cb, NULL))
		c->fewer_ns = now + FEWER_NS;
}

/* Who has most of all that is lent. */
static struct nfs4_client *has_most(struct nfs4 *n)
{
	struct nfs4_client *c, *most = NULL;
	TAILQ_FOREACH (c, &n->clients, link)
		if (!c->v40 && !c->ending && (!most || c->ndelegs > most->ndelegs))
			most = c;
	return most;
}

/* As many as there may be are lent; of one client, or of all. */
static bool full(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	unsigned max = n->o.max_delegs;
	unsigned all = n->dstats.lent + n->dstats.recalled + n->dstats.revoked_now;
	bool own = c->ndelegs >= MAX(max / CLIENT_SHARE, 1u);
	struct nfs4_client *who = own ? c : NULL;
	uint64_t now = env_now_ns(n->o.env);
	if (!own && all < max)
		return false;
	/* Looked for no more often than it helps. */
	if (!own && now >= n->fewer_ns) {
		who = has_most(n);
		n->fewer_ns = now + NS_PER_S;
	}
	if (who)
		ask_for_fewer(who);
	return true;
}

/* What is lent can be done without: where there is no room for more some of it is asked for. */
void nfs4_deleg_give_way(struct nfs4 *n)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_deleg *d;
	if (now < n->give_way_ns)
		return;
	n->give_way_ns = now + NS_PER_S;
	for (unsigned i = 0; i < GIVE_WAY && (d = TAILQ_FIRST(&n->lent)); i++)
		deleg_recall(n->delegs, &d->d);
}

static bool room(struct nfs4_client *c)
{
	const struct nfs4 *n = c->nfs4;
	return n->o.lend && !store_denies_extra(n->store, *lock_client_account(c->locks)) &&
	       env_now_ns(n->o.env) >= c->barred_ns && !c->nrevoked && !c->unkeeping &&
	       nfs4_path_up(c) && !full(c);
}

/* 0, or why not: WND4_… */
static uint32_t judge(const struct nfs4_call *k, uint32_t access, uint32_t want,
		      enum deleg_kind *ret)
{
	struct lock_file_key file = nfs4_file_key(k);
	struct lock_use use;
	bool write = access & OPEN4_SHARE_ACCESS_WRITE;
	if (nlm_phase(k->n->o.nlm) != NLM_GRANTING || !room(k->client) || (write && !k->minor))
		return WND4_RESOURCE;
	if (write && want == OPEN4_SHARE_WANT_READ)
		return WND4_CONTENTION;
	lock_use_of(k->n->locks, &file, k->client->locks, &use);
	*ret = write ? DELEG_WRITE : DELEG_READ;
	if (use.locks || (write && use.opens > 1) ||
	    ((use.own | use.others) & LOCK_SHARE_WRITE && !write))
		return WND4_CONTENTION;
	return deleg_may_lend(k->n->delegs, &file, *ret, k->client) ? 0 : WND4_CONTENTION;
}

static void give(struct nfs4_offer *o, const struct nfs4_deleg *d)
{
	o->type = d->d.kind == DELEG_READ ? OPEN_DELEGATE_READ : OPEN_DELEGATE_WRITE;
	o->sid = nfs4_stateid_of(d->state);
}

void nfs4_deleg_offer(struct nfs4_call *k, uint32_t access, uint32_t want, struct nfs4_offer *ret)
{
	enum deleg_kind kind;
	*ret = (struct nfs4_offer){.type = OPEN_DELEGATE_NONE};
	/* Only who says what it wants is told why it does not get it. */
	if (want && k->minor)
		ret->type = OPEN_DELEGATE_NONE_EXT;
	want &= OPEN4_SHARE_WANT_WHAT;
	if (want == OPEN4_SHARE_WANT_NONE || want == OPEN4_SHARE_WANT_CANCEL) {
		ret->why =
		    want == OPEN4_SHARE_WANT_NONE ? WND4_NOT_WANTED : (uint32_t)WND4_CANCELLED;
		return;
	}
	ret->why = judge(k, access, want, &kind);
	if (ret->why)
		return;
	const struct nfs4_deleg *d = lend(k, kind);
	if (d)
		give(ret, d);
	else
		ret->why = WND4_RESOURCE;
}

void nfs4_deleg_reclaim(struct nfs4_call *k, uint32_t type, struct nfs4_offer *ret)
{
	struct lock_file_key file = nfs4_file_key(k);
	enum deleg_kind kind = type == OPEN_DELEGATE_WRITE ? DELEG_WRITE : DELEG_READ;
	struct lock_use use;
	*ret = (struct nfs4_offer){.type = OPEN_DELEGATE_NONE};
	if (type == OPEN_DELEGATE_NONE || k->client->ndelegs >= k->n->o.max_delegs / CLIENT_SHARE)
		return;
	lock_use_of(k->n->locks, &file, k->client->locks, &use);
	/* Others that reclaimed what does not go with it had it before, so this one had not. */
	if ((kind == DELEG_WRITE && use.others) || (use.others & LOCK_SHARE_WRITE) ||
	    !deleg_may_lend(k->n->delegs, &file, kind, k->client))
		return;
	struct nfs4_deleg *d = lend(k, kind);
	if (!d)
		return;
	give(ret, d);
	/* It has what it writes back, and returns it: RFC 8881 18.16.3. */
	if (!k->n->o.lend || !nfs4_path_hoped(k->client)) {
		ret->recall = true;
		deleg_recall(k->n->delegs, &d->d);
	}
}

/* open_delegation4. The entry for permissions allows nothing: the client asks ACCESS. */
void nfs4_put_offer(struct nfs4_call *k, const struct nfs4_offer *o)
{
	struct xdr_out *x = k->out;
	xdr_put_u32(x, o->type);
	if (o->type == OPEN_DELEGATE_NONE)
		return;
	if (o->type == OPEN_DELEGATE_NONE_EXT) {
		xdr_put_u32(x, o->why);
		if (o->why == WND4_CONTENTION || o->why == WND4_RESOURCE)
			xdr_put_bool(x, false); /* nobody is told later */
		return;
	}
	nfs4_put_stateid(x, &o->sid);
	xdr_put_bool(x, o->recall);
	if (o->type == OPEN_DELEGATE_WRITE) {
		xdr_put_u32(x, 1); /* NFS_LIMIT_SIZE */
		xdr_put_u64(x, 0);
	}
	for (unsigned i = 0; i < 4; i++) /* nfsace4: type, flags, mask, who */
		xdr_put_u32(x, 0);
}

/* ---- asking for it ---- */

void nfs4_deleg_recall(void *arg, struct deleg *l)
{
	struct nfs4 *n = arg;
	struct nfs4_deleg *d = (struct nfs4_deleg *)l;
	struct nfs4_client *c = d->state->owner->client;
	d->recall_ns = d->next_ns = env_now_ns(n->o.env);
	d->asking = true;
	TAILQ_REMOVE(&n->lent, d, link);
	TAILQ_INSERT_TAIL(&n->recalled, d, link);
	TAILQ_INSERT_TAIL(&c->asks, d, ask);
	c->nrecalled++;
	n->dstats.lent--;
	n->dstats.recalled++;
	n->dstats.recalls++;
	nfs4_caller_start(c);
}
_Static_assert(offsetof(struct nfs4_deleg, d) == 0, "the table's is its beginning");

static void ask_stop(struct nfs4_client *c, struct nfs4_deleg *d)
{
	if (d->asking)
		TAILQ_REMOVE(&c->asks, d, ask);
	d->asking = false;
}

/* Others may have the file. */
static void let_go(struct nfs4_client *c, struct nfs4_deleg *d)
{
	struct nfs4 *n = c->nfs4;
	if (d->gone)
		return;
	d->gone = true;
	ask_stop(c, d);
	TAILQ_REMOVE(d->d.recalled ? &n->recalled : &n->lent, d, link);
	*(d->d.recalled ? &n->dstats.recalled : &n->dstats.lent) -= 1;
	c->nrecalled -= d->d.recalled;
	deleg_return(n->delegs, &d->d);
}

void nfs4_deleg_end(struct nfs4_state *s)
{
	struct nfs4_client *c = s->owner->client;
	struct nfs4_deleg *d = s->deleg;
	bool taken = d->gone;
	let_go(c, d);
	if (taken)
		c->nfs4->dstats.revoked_now--;
	c->nrevoked -= d->revoked;
	c->ndelegs--;
}

/* ---- taking it away ---- */

static struct nfs4_deleg *overdue(struct nfs4 *n)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_deleg *d;
	TAILQ_FOREACH (d, &n->recalled, link) {
		if (now <= d->recall_ns + n->o.lease_ns)
			return NULL;
		if (!d->state->owner->client->ending)
			return d;
	}
	return NULL;
}

static bool overdue_of(const struct nfs4_deleg *d, const struct nfs4_client *c)
{
	return d->state->owner->client == c &&
	       env_now_ns(c->nfs4->o.env) > d->recall_ns + c->nfs4->o.lease_ns;
}

/* The client is to hear that it has it no more; of version 4.0 nothing stays. */
static void take_away(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	struct nfs4_deleg *d, *next;
	unsigned files = 0;
	c->barred_ns = env_now_ns(n->o.env) + BARRED_NS;
	TAILQ_FOREACH_SAFE (d, &n->recalled, link, next) {
		if (!overdue_of(d, c))
			continue;
		files++;
		n->dstats.revoked++;
		if (c->v40) {
			nfs4_state_free(d->state);
			continue;
		}
		let_go(c, d);
		n->dstats.revoked_now++;
	}
	log_warn("nfs4: not returned in a lease, taken away client=%s files=%u", c->address, files);
}

/* From now on it means nothing to its client: what it does with it comes too late. */
static void mark(struct nfs4_client *c)
{
	struct nfs4_deleg *d;
	TAILQ_FOREACH (d, &c->nfs4->recalled, link)
		if (overdue_of(d, c) && !d->revoked) {
			d->revoked = true;
			c->nrevoked++;
			nfs4_record_state(d->state);
		}
}

/* Waits. */
static void revoke_task(void *arg)
{
	struct nfs4 *n = arg;
	struct nfs4_deleg *d;
	int rc = 0;
	while (n->revoking && !rc && (d = overdue(n))) {
		struct nfs4_client *c = d->state->owner->client;
		mark(c);
		c->busy++;
		c->unkeeping++;
		if (c->kept && n->o.keep)
			rc = n->o.keep(n->o.arg, c->kept_name, true);
		store_sync(n->store);
		c->unkeeping--;
		c->busy--;
		if (rc) { /* it is tried again a second later */
			log_warn("nfs4: client=%s cannot be forgotten: %s", c->address,
				 err_text(rc));
		} else if (n->revoking) {
			c->kept = false;
			take_away(c);
		}
	}
	n->revoking = false;
	waitq_wake_all(&n->revoked);
}

void nfs4_deleg_tick(struct nfs4 *n)
{
	if (n->revoking || !overdue(n))
		return;
	n->revoking = true;
	if (task_start(revoke_task, n)) {
		n->revoking = false;
		log_warn("nfs4: no memory to take away what was not returned");
	}
}

/* ---- under its stateid ---- */

enum nfs4_status nfs4_deleg_check(struct nfs4_call *k, const struct stateid *id, uint32_t access)
{
	struct lock_file_key f = nfs4_file_key(k);
	struct nfs4_state *s;
	enum nfs4_status st = nfs4_state_find(k, id, &s);
	if (st)
		return st;
	if (s->kind != OWNER_DELEG || !nfs4_same_file(&s->file, &f))
		return NFS4ERR_BAD_STATEID;
	bool may = s->deleg->d.kind == DELEG_WRITE || !(access & OPEN4_SHARE_ACCESS_WRITE);
	return may ? NFS4_OK : NFS4ERR_OPENMODE;
}

enum nfs4_status nfs4_op_delegreturn(struct nfs4_call *k)
{
	struct lock_file_key f = nfs4_file_key(k);
	struct nfs4_state *s;
	struct stateid sid;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	st = st ?: nfs4_state_find(k, &sid, &s);
	if (st)
		return st;
	if (s->kind != OWNER_DELEG || !nfs4_same_file(&s->file, &f))
		return NFS4ERR_BAD_STATEID;
	k->n->dstats.returns++;
	nfs4_state_free(s);
	return NFS4_OK;
}

/* ---- figures ---- */

void nfs4_deleg_stats(const struct nfs4 *n, struct nfs4_deleg_stats *ret)
{
	*ret = n->dstats;
}

void nfs4_each_deleg(const struct nfs4 *n, bool (*fn)(void *arg, const struct nfs4_deleg_info *d),
		     void *arg)
{
	const struct nfs4_delegs *lists[] = {&n->recalled, &n->lent};
	uint64_t now = env_now_ns(n->o.env);
	const struct nfs4_deleg *d;
	for (unsigned i = 0; i < ARRAY_LEN(lists); i++)
		TAILQ_FOREACH (d, lists[i], link) {
			struct nfs4_deleg_info info = {
			    .address = d->state->owner->client->address,
			    .fs = d->d.file.fs,
			    .ino = d->d.file.ino,
			    .write = d->d.kind == DELEG_WRITE,
			    .revoked = d->revoked,
			    .recall_ns = d->d.recalled ? MAX(now - d->recall_ns, 1u) : 0};
			if (!fn(arg, &info))
				return;
		}
}
