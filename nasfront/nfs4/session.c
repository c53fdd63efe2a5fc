/*
 * Sessions (RFC 8881 2.10): slots, each with a sequence number and the last reply, so that a
 * request that comes again is answered again and not done again.
 *
 * A slot is busy from SEQUENCE to the end of its compound; a session with a busy slot is not freed,
 * nor is its client. Replies are kept when the client asked for it, in memory that the slot takes
 * once, when it first keeps one. Of the back channel here is what it may be; callback.c uses it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

/* ---- finding ---- */

static unsigned bucket(const uint8_t *id)
{
	return be32_get(id + 8) % NFS4_BUCKETS;
}

struct nfs4_session *nfs4_session_find(struct nfs4 *n, const uint8_t *id)
{
	struct nfs4_session *s;
	LIST_FOREACH (s, &n->sessions[bucket(id)], by_id)
		if (memcmp(s->id, id, NFS4_SESSIONID) == 0 && !s->client->ending)
			return s;
	return NULL;
}

void nfs4_session_free(struct nfs4_session *s)
{
	ASSERT(!s->busy);
	nfs4_unrecord_session(s);
	for (uint32_t i = 0; i < s->nslots; i++)
		free(s->slots[i].reply);
	nfs4_back_free(s);
	LIST_REMOVE(s, by_id);
	LIST_REMOVE(s, link);
	s->client->nsessions--;
	free(s);
}

/* ---- CREATE_SESSION ---- */

#define BACK_REQUEST 1024 /* bytes of a call, with credential and all */
#define BACK_REPLY   256

struct channel {
	uint32_t pad, request, reply, kept, ops, requests;
};

static bool get_channel(struct xdr_in *x, struct channel *c)
{
	uint32_t n, ird;
	return xdr_u32(x, &c->pad) && xdr_u32(x, &c->request) && xdr_u32(x, &c->reply) &&
	       xdr_u32(x, &c->kept) && xdr_u32(x, &c->ops) && xdr_u32(x, &c->requests) &&
	       xdr_u32(x, &n) && n <= 1 && (!n || xdr_u32(x, &ird));
}

static void put_channel(struct xdr_out *x, const struct channel *c)
{
	xdr_put_u32(x, 0);
	xdr_put_u32(x, c->request);
	xdr_put_u32(x, c->reply);
	xdr_put_u32(x, c->kept);
	xdr_put_u32(x, c->ops);
	xdr_put_u32(x, c->requests);
	xdr_put_u32(x, 0);
}

/*
 * The back channel's: our calls are small, one at a time, of two operations, and no reply is kept.
 * How large replies may be is the client's affair, and how many operations and calls is not to be
 * changed (RFC 8881 18.36.3). False: too small for a CB_RECALL.
 */
static bool back_fits(struct channel *b)
{
	bool fits = b->request >= BACK_REQUEST && b->reply >= BACK_REPLY && b->ops >= 2;
	b->request = MIN(b->request, (uint32_t)BACK_REQUEST);
	b->kept = 0;
	return fits;
}

struct nfs4_session *nfs4_session_make(struct nfs4_client *c, const uint8_t *id, uint32_t slots)
{
	struct nfs4_session *s = calloc(1, sizeof(*s) + slots * sizeof(s->slots[0]));
	if (!s)
		return NULL;
	s->client = c;
	s->nslots = slots;
	memcpy(s->id, id, NFS4_SESSIONID);
	LIST_INSERT_HEAD(&c->nfs4->sessions[bucket(s->id)], s, by_id);
	LIST_INSERT_HEAD(&c->sessions, s, link);
	c->nsessions++;
	return s;
}

static struct nfs4_session *session_new(struct nfs4_client *c, const struct channel *f,
					const struct nfs4_back *back)
{
	uint8_t id[NFS4_SESSIONID];
	do /* who does not hear it cannot know it */
		env_random(c->nfs4->o.env, id, NFS4_SESSIONID);
	while (nfs4_session_find(c->nfs4, id));
	struct nfs4_session *s = nfs4_session_make(c, id, f->requests);
	if (!s)
		return NULL;
	s->back = *back;
	s->max_reply = f->reply;
	s->max_request = f->request;
	s->max_kept = f->kept;
	s->max_ops = f->ops;
	return s;
}

/* Room for at least a SEQUENCE and something behind it. */
static bool channel_fits(struct channel *f)
{
	f->request = MIN(f->request, (uint32_t)NFS4_REQUEST_MAX);
	f->reply = MIN(f->reply, (uint32_t)NFS4_REPLY_MAX);
	f->kept = MIN(f->kept, (uint32_t)NFS4_KEPT_REPLY);
	f->ops = MIN(f->ops, (uint32_t)NFS4_OPS_MAX);
	f->requests = MIN(f->requests, (uint32_t)NFS4_SLOTS);
	return f->request >= 256 && f->reply >= 256 && f->ops >= 2 && f->requests;
}

static enum nfs4_status create(struct channel *fore, const struct channel *back)
{
	return channel_fits(fore) && back->requests ? NFS4_OK : NFS4ERR_TOOSMALL;
}

enum nfs4_status nfs4_op_create_session(struct nfs4_call *k)
{
	struct channel fore, back;
	uint64_t id;
	uint32_t seq, flags;
	struct nfs4_back b = {.minor = k->minor};
	if (!xdr_u64(k->in, &id) || !xdr_u32(k->in, &seq) || !xdr_u32(k->in, &flags) ||
	    !get_channel(k->in, &fore) || !get_channel(k->in, &back) ||
	    !xdr_u32(k->in, &b.program) || !nfs4_get_callback_sec(k->in, &b))
		return NFS4ERR_BADXDR;
	struct nfs4_client *c = nfs4_client_find(k->n, id, false);
	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	if (!nfs4_client_is_of(c, k->req)) /* also of one that is confirmed, also again */
		return NFS4ERR_CLID_INUSE;
	if (c->created && seq == c->create_seq - 1) {
		xdr_put_fixed(k->out, c->create_reply, c->create_len);
		return NFS4_OK;
	}
	if (seq != c->create_seq)
		return NFS4ERR_SEQ_MISORDERED;
	if (flags & ~7u)
		return NFS4ERR_INVAL;
	enum nfs4_status st = create(&fore, &back);
	if (!st && (c->nsessions >= NFS4_SESSIONS_MAX || !nfs4_client_room(c)))
		st = NFS4ERR_DELAY;
	st = st ?: nfs4_client_confirm(c);
	if (st)
		return st;
	b.usable &= back_fits(&back);
	struct nfs4_session *s = session_new(c, &fore, &b);
	if (!s)
		return NFS4ERR_DELAY;
	flags = b.usable ? flags & CREATE_SESSION4_CONN_BACK_CHAN : 0; /* nothing is persistent */
	struct xdr_out x = xdr_out_of(c->create_reply, sizeof(c->create_reply));
	xdr_put_fixed(&x, s->id, NFS4_SESSIONID);
	xdr_put_u32(&x, seq);
	xdr_put_u32(&x, flags);
	put_channel(&x, &fore);
	put_channel(&x, &back);
	ASSERT(!x.full);
	c->create_len = (uint32_t)xdr_out_len(&x);
	c->created = true;
	c->create_seq++;
	if (flags)
		nfs4_back_bind(s, k->req->conn);
	nfs4_client_renew(c, env_now_ns(k->n->o.env));
	nfs4_record_client(c);
	nfs4_record_session(s);
	xdr_put_fixed(k->out, c->create_reply, c->create_len);
	return NFS4_OK;
}

/* ---- DESTROY_SESSION, BIND_CONN_TO_SESSION ---- */

enum nfs4_status nfs4_op_destroy_session(struct nfs4_call *k)
{
	const uint8_t *id;
	if (!xdr_fixed(k->in, NFS4_SESSIONID, &id))
		return NFS4ERR_BADXDR;
	struct nfs4_session *s = nfs4_session_find(k->n, id);
	if (!s)
		return NFS4ERR_BADSESSION;
	if (!nfs4_client_is_of(s->client, k->req))
		return NFS4ERR_WRONG_CRED;
	bool own = s == k->session;
	/* RFC 8881 18.37.3: its own only as the last operation. */
	if (own && k->index + 1 != k->nops)
		return NFS4ERR_NOT_ONLY_OP;
	if (s->busy > own)
		return NFS4ERR_DELAY;
	if (own) {
		k->slot = NULL;
		k->session = NULL;
		s->busy = 0;
	}
	nfs4_session_free(s);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_bind_conn(struct nfs4_call *k)
{
	const uint8_t *id;
	uint32_t dir;
	bool rdma;
	if (!xdr_fixed(k->in, NFS4_SESSIONID, &id) || !xdr_u32(k->in, &dir) ||
	    !xdr_bool(k->in, &rdma))
		return NFS4ERR_BADXDR;
	if (k->nops != 1)
		return NFS4ERR_NOT_ONLY_OP;
	/* It knows no WRONG_CRED: to another there is no such session. */
	struct nfs4_session *s = nfs4_session_find(k->n, id);
	if (!s || !nfs4_client_is_of(s->client, k->req))
		return NFS4ERR_BADSESSION;
	if (dir != CDFC4_FORE && dir != CDFC4_BACK && dir != CDFC4_FORE_OR_BOTH &&
	    dir != CDFC4_BACK_OR_BOTH)
		return NFS4ERR_INVAL;
	if (dir == CDFC4_BACK && !s->back.usable)
		return NFS4ERR_INVAL;
	/* Any connection may be used with any session; only calls back have those bound to them. */
	bool back = dir != CDFC4_FORE && s->back.usable;
	if (back)
		nfs4_back_bind(s, k->req->conn);
	else
		nfs4_back_unbind(s, k->req->conn);
	nfs4_client_renew(s->client, k->req->start_ns);
	xdr_put_fixed(k->out, id, NFS4_SESSIONID);
	xdr_put_u32(k->out, !back ? CDFS4_FORE : dir == CDFC4_BACK ? CDFS4_BACK : CDFS4_BOTH);
	xdr_put_bool(k->out, false);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_backchannel_ctl(struct nfs4_call *k)
{
	struct nfs4_back *b = &k->session->back, got = {.usable = false};
	if (!xdr_u32(k->in, &got.program) || !nfs4_get_callback_sec(k->in, &got))
		return NFS4ERR_BADXDR;
	if (!nfs4_client_is_of(k->client, k->req))
		return NFS4ERR_INVAL; /* nor this */
	if (!got.usable)
		return NFS4ERR_NOENT; /* RPCSEC_GSS alone: none of its handles is ours */
	/* It adds handles of RPCSEC_GSS (RFC 8881 18.33.3): who has proved who he is does not turn
	 * his calls over to what proves nothing. */
	if (k->req->cred.flavor == RPC_FLAVOR_GSS)
		return NFS4ERR_INVAL;
	b->program = got.program;
	b->sys_len = got.sys_len;
	memcpy(b->sys, got.sys, got.sys_len);
	nfs4_record_session(k->session);
	return NFS4_OK;
}

/* ---- SEQUENCE ---- */

struct sequence {
	const uint8_t *id;
	uint32_t seq, slot, highest;
	bool cache;
};

static void put_result(struct nfs4_call *k, const struct nfs4_session *s, const struct sequence *q)
{
	xdr_put_fixed(k->out, s->id, NFS4_SESSIONID);
	xdr_put_u32(k->out, q->seq);
	xdr_put_u32(k->out, q->slot);
	xdr_put_u32(k->out, s->nslots - 1);
	xdr_put_u32(k->out, s->nslots - 1);
	xdr_put_u32(k->out, nfs4_seq_flags(s));
}

/* The last request of the slot again. */
static enum nfs4_status retry(struct nfs4_call *k, struct nfs4_session *s, struct nfs4_slot *sl,
			      const struct sequence *q)
{
	if (sl->who != nfs4_who_calls(k->req))
		return NFS4ERR_SEQ_FALSE_RETRY;
	if (!sl->kept) {
		k->session = s;
		s->busy++;
		k->uncached = true;
		put_result(k, s, q);
		return NFS4_OK;
	}
	if (!rpc_reply_reserve(k->req, sl->len))
		return NFS4ERR_DELAY;
	k->out->p = k->out->base;
	xdr_put_fixed(k->out, sl->reply, sl->len);
	return NFS4_REPLAY;
}

static enum nfs4_status check_sequence(const struct nfs4_call *k, const struct nfs4_session *s,
				       const struct sequence *q)
{
	if (q->slot >= s->nslots)
		return NFS4ERR_BADSLOT;
	if (q->highest >= s->nslots)
		return NFS4ERR_BAD_HIGH_SLOT;
	if (k->nops > s->max_ops)
		return NFS4ERR_TOO_MANY_OPS;
	if ((size_t)(k->in->end - k->req->args_begin.p) > s->max_request)
		return NFS4ERR_REQ_TOO_BIG;
	return NFS4_OK;
}

enum nfs4_status nfs4_op_sequence(struct nfs4_call *k)
{
	struct sequence q;
	if (!xdr_fixed(k->in, NFS4_SESSIONID, &q.id) || !xdr_u32(k->in, &q.seq) ||
	    !xdr_u32(k->in, &q.slot) || !xdr_u32(k->in, &q.highest) || !xdr_bool(k->in, &q.cache))
		return NFS4ERR_BADXDR;
	if (k->index)
		return NFS4ERR_SEQUENCE_POS;
	struct nfs4_session *s = nfs4_session_find(k->n, q.id);
	if (!s)
		return NFS4ERR_BADSESSION;
	enum nfs4_status st = check_sequence(k, s, &q);
	if (st)
		return st;
	struct nfs4_slot *sl = &s->slots[q.slot];
	if (sl->used && q.seq == sl->seq)
		return sl->busy ? NFS4ERR_DELAY : retry(k, s, sl, &q);
	bool next =
	    sl->restored ? !sl->used || (int32_t)(q.seq - sl->seq) > 0 : q.seq == sl->seq + 1;
	if (!next || sl->busy)
		return NFS4ERR_SEQ_MISORDERED;
	sl->restored = false;
	sl->seq = q.seq;
	sl->used = sl->busy = true;
	sl->kept = false;
	sl->who = nfs4_who_calls(k->req);
	k->session = s;
	k->slot = sl;
	k->client = s->client;
	k->client->busy++;
	s->busy++;
	k->cache_this = q.cache;
	nfs4_client_renew(s->client, k->req->start_ns);
	put_result(k, s, &q);
	return NFS4_OK;
}

/* ---- the end of a compound ---- */

/* Room for a reply of that length: once, for the most a slot of this session keeps. */
static bool reply_room(struct nfs4_slot *sl, size_t len)
{
	if (len > NFS4_KEPT_REPLY)
		return false;
	if (sl->cap >= len)
		return true;
	uint8_t *p = realloc(sl->reply, NFS4_KEPT_REPLY);
	if (!p)
		return false;
	sl->reply = p;
	sl->cap = NFS4_KEPT_REPLY;
	return true;
}

static void keep_reply(struct nfs4_call *k, struct nfs4_slot *sl)
{
	size_t len = xdr_out_len(k->out);
	if (!k->cache_this || k->req->body_n || k->out->full || !reply_room(sl, len))
		return;
	memcpy(sl->reply, k->out->base, len);
	sl->len = (uint32_t)len;
	sl->kept = true;
}

void nfs4_slot_keep_part(struct nfs4_call *k)
{
	struct nfs4_slot *sl = k->slot;
	size_t len = xdr_out_len(k->out) + 8;
	if (!sl || !k->n->store)
		return;
	sl->kept = k->cache_this && !k->out->full && reply_room(sl, len);
	if (sl->kept) {
		memcpy(sl->reply, k->out->base, len - 8);
		be32_put(sl->reply + len - 8, k->op);
		be32_put(sl->reply + len - 4, NFS4ERR_DELAY);
		be32_put(sl->reply + k->status_at, NFS4ERR_DELAY);
		be32_put(sl->reply + k->nres_at, k->index + 1);
		sl->len = (uint32_t)len;
	}
	nfs4_record_slot(k->session, sl);
	sl->kept = false; /* of the request under way there is no answer yet */
}

void nfs4_slot_keep(struct nfs4_call *k)
{
	if (!k->slot)
		return;
	keep_reply(k, k->slot);
	if (k->keeps)
		nfs4_record_slot(k->session, k->slot);
}

void nfs4_slot_end(struct nfs4_call *k)
{
	if (k->slot)
		k->slot->busy = false;
	if (k->session)
		k->session->busy--;
	k->slot = NULL;
	k->session = NULL;
}
