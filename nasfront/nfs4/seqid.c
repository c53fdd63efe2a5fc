/*
 * Sequence numbers of owners (RFC 7530 9.1.7 to 9.1.11). Version 4.0 has no sessions: what opens
 * and locks is done once because each owner counts its requests, and is told again what was said to
 * the last one when that comes again.
 *
 *   the number of the last, the same arguments    the answer that was kept
 *   the one behind it                             done; its answer is kept in place of the other
 *   any other                                     BAD_SEQID
 *
 * Errors of a request that cannot be an owner's do not count (counts()). Only OPEN waits while it
 * has its owner: whoever comes then waits for it. A new open-owner may begin with any number and is
 * not confirmed before OPEN_CONFIRM; a LOCK that makes its lock-owner takes the open-owner's
 * number.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/siphash.h"

struct nfs4_seqid *nfs4_seqid_new(enum nfs4_owner_kind kind)
{
	struct nfs4_seqid *q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->confirmed = kind == OWNER_LOCK;
	waitq_init(&q->done);
	return q;
}

void nfs4_seqid_free(struct nfs4_seqid *q)
{
	free(q->more);
	free(q);
}

/* ---- idle owners ---- */

void nfs4_idle_check(struct nfs4_owner *o)
{
	struct nfs4_seqid *q = o->seq;
	struct nfs4 *n = o->client->nfs4;
	bool idle = o->name[0] == OWNER_OPEN && !q->busy && !q->waits &&
		    (!q->confirmed || LIST_EMPTY(&o->states));
	if (q->idle)
		TAILQ_REMOVE(&n->idle, o, seq->link);
	q->idle = idle;
	q->idle_ns = env_now_ns(n->o.env);
	if (idle)
		TAILQ_INSERT_TAIL(&n->idle, o, seq->link);
}

void nfs4_idle_reap(struct nfs4 *n, bool one)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_owner *o;
	while ((o = TAILQ_FIRST(&n->idle)) && (one || now > o->seq->idle_ns + n->o.lease_ns)) {
		nfs4_owner_free(o);
		one = false;
	}
}

/* ---- an operation with a number ---- */

enum nfs4_status nfs4_seq_wait(struct nfs4_call *k, struct nfs4_owner *o)
{
	if (!k->may_wait)
		return NFS4_AGAIN;
	o->seq->waits++;
	waitq_wait(&o->seq->done);
	o->seq->waits--;
	nfs4_idle_check(o);
	return NFS4_OK;
}

/* Of the arguments and the file they are about. */
static uint64_t hash_args(const struct nfs4_call *k)
{
	uint64_t v[3] = {siphash(k->n->hash_key, k->op_in, (size_t)(k->in->p - k->op_in))};
	if (k->kind == FH_FILE) {
		v[1] = k->c.fid.ino;
		v[2] = k->c.fid.generation;
	}
	return siphash(k->n->hash_key, v, sizeof(v));
}

/* The kept answer again, with what the operation did to the current file. */
static enum nfs4_status replay(struct nfs4_call *k, const struct nfs4_seqid *q)
{
	bool opened = q->op == OP_OPEN && !q->status;
	if (q->op != k->op || q->args != hash_args(k))
		return NFS4ERR_BAD_SEQID;
	if (opened && (k->kind != FH_FILE || k->c.mount->id != q->fs))
		return NFS4ERR_BAD_SEQID;
	if (!nfs4_room(k, q->len))
		return NFS4ERR_RESOURCE;
	xdr_put_fixed(k->out, q->more ? q->more : q->reply, q->len);
	if (opened)
		k->c.fid = q->fid;
	k->replayed = q->status;
	k->keep_body = true;
	return NFS4_REPLAYED;
}

enum nfs4_status nfs4_seq_begin(struct nfs4_call *k, struct nfs4_owner *o, uint32_t seqid)
{
	struct nfs4_seqid *q = o->seq;
	ASSERT(!q->busy && !k->seq_owner);
	if (q->op && seqid == q->seq)
		return replay(k, q);
	if (q->op && seqid != q->seq + 1)
		return NFS4ERR_BAD_SEQID;
	/* The one before will not come again. */
	if (q->closed)
		nfs4_state_free(q->closed);
	q->closed = NULL;
	q->busy = true;
	k->seq_owner = o;
	k->seqid = seqid;
	k->seq_args = hash_args(k);
	nfs4_idle_check(o);
	return NFS4_OK;
}

/* RFC 7530 9.1.7: the errors after which the number stays. */
static bool counts(enum nfs4_status st)
{
	switch (st) {
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_STALE_STATEID:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BAD_SEQID:
	case NFS4ERR_BADXDR:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_NOFILEHANDLE:
	case NFS4_FENCED:
		return false;
	default:
		return true;
	}
}

bool nfs4_seqid_set_reply(struct nfs4_seqid *q, const void *reply, size_t len)
{
	free(q->more);
	q->more = len > NFS4_SEQ_REPLY ? malloc(len) : NULL;
	q->len = 0;
	if (len > NFS4_SEQ_REPLY && !q->more)
		return false;
	q->len = (uint32_t)len;
	if (len)
		memcpy(q->more ? q->more : q->reply, reply, len);
	return true;
}

static void keep(const struct nfs4_call *k, struct nfs4_seqid *q, enum nfs4_status st)
{
	const uint8_t *body = k->out->base + k->op_out + 8;
	size_t len = (size_t)(k->out->p - body);
	q->seq = k->seqid;
	q->op = k->op;
	q->args = k->seq_args;
	q->status = st;
	if (k->op == OP_OPEN && !st) {
		q->fs = k->c.mount->id;
		q->fid = k->c.fid;
	}
	if (!nfs4_seqid_set_reply(q, body, len))
		q->op = OP_ILLEGAL; /* it cannot be said again: BAD_SEQID */
}

void nfs4_seq_end(struct nfs4_call *k, enum nfs4_status st)
{
	struct nfs4_owner *o = k->seq_owner;
	struct nfs4_seqid *q = o->seq;
	k->seq_owner = NULL;
	if (counts(st) && !k->out->full)
		keep(k, q, st);
	if (q->op)
		nfs4_record_owner(o);
	q->busy = false;
	waitq_wake_all(&q->done);
	nfs4_owner_check(o);
	/* With states too: one that is not confirmed. */
	if (!LIST_EMPTY(&o->states))
		nfs4_idle_check(o);
}

/* ---- whose number it is ---- */

enum nfs4_status nfs4_seq_state(struct nfs4_call *k, const struct stateid *id, uint32_t seqid,
				struct nfs4_state **ret)
{
	struct nfs4_state *s;
	if (k->minor)
		return nfs4_state_find(k, id, ret);
	for (;;) {
		enum nfs4_status st = nfs4_state_locate(k, id, &s);
		if (!st && !s->owner->seq)
			st = NFS4ERR_BAD_STATEID; /* a delegation's */
		else if (!st && s->owner->seq->busy)
			st = nfs4_seq_wait(k, s->owner);
		else if (!st)
			break;
		if (st)
			return st;
	}
	enum nfs4_status st = nfs4_seq_begin(k, s->owner, seqid);
	/* What was closed went with the request that is answered last. */
	st = st ?: nfs4_state_locate(k, id, &s);
	st = st ?: nfs4_state_current(k, id, s);
	if (!st)
		*ret = s;
	return st;
}

enum nfs4_status nfs4_seq_open(struct nfs4_call *k, const uint8_t *name, uint32_t len,
			       uint32_t seqid)
{
	struct nfs4_owner *o;
	struct nfs4_state *s;
	for (;;) {
		o = nfs4_owner_get(k->client, OWNER_OPEN, name, len);
		if (!o)
			return NFS4ERR_RESOURCE;
		if (!o->seq->busy)
			break;
		enum nfs4_status st = nfs4_seq_wait(k, o);
		if (st)
			return st;
	}
	struct nfs4_seqid *q = o->seq;
	/* RFC 7530 16.18.5: one that did not confirm begins again, unless it only asks again. */
	if (!q->confirmed && q->op && (q->seq != seqid || q->args != hash_args(k))) {
		q->busy = true; /* it stays */
		while ((s = LIST_FIRST(&o->states)))
			nfs4_state_free(s);
		q->busy = false;
		q->op = 0;
	}
	return nfs4_seq_begin(k, o, seqid);
}
