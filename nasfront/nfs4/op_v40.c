/*
 * What only version 4.0 has: SETCLIENTID, SETCLIENTID_CONFIRM, RENEW, OPEN_CONFIRM,
 * RELEASE_LOCKOWNER (RFC 7530 16.33, 16.34, 16.28, 16.18, 16.37).
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

/* ---- clients ---- */

/* Whose name it is: clientaddr4. */
static enum nfs4_status in_use(struct nfs4_call *k, const struct nfs4_client *c)
{
	xdr_put_string(k->out, strchr(c->address, ':') ? "tcp6" : "tcp");
	xdr_put_string(k->out, c->address);
	k->keep_body = true;
	return NFS4ERR_CLID_INUSE;
}

/* 16.33.5: a record that is confirmed and of the same incarnation goes on; else a new one. */
static enum nfs4_status set_client(struct nfs4_call *k, const struct nfs4_who *w,
				   struct nfs4_client **ret)
{
	struct nfs4_client *c = nfs4_client_by_owner(k->n, w, true), *old;
	if (c && c->ending)
		return NFS4ERR_DELAY;
	if (c && !nfs4_client_is_of(c, k->req)) {
		if (!nfs4_client_replaceable(c))
			return in_use(k, c);
		nfs4_client_forget(c);
		nfs4_client_free(c);
		c = NULL;
	}
	old = nfs4_client_by_owner(k->n, w, false);
	if (old)
		nfs4_client_free(old);
	*ret = c;
	if (c && memcmp(c->verifier, w->verifier, NFS4_VERIFIER) == 0)
		return NFS4_OK;
	return nfs4_client_new(ret, k->n, w, k->req) ? NFS4ERR_RESOURCE : NFS4_OK;
}

enum nfs4_status nfs4_op_setclientid(struct nfs4_call *k)
{
	struct nfs4_who w = {.v40 = true};
	struct nfs4_callback back;
	struct nfs4_client *c;
	if (!xdr_fixed(k->in, NFS4_VERIFIER, &w.verifier) ||
	    !xdr_opaque(k->in, NFS4_OPAQUE_LIMIT, &w.owner, &w.len) ||
	    !nfs4_get_callback(k->in, k->req, &back))
		return NFS4ERR_BADXDR;
	if (w.len == 0)
		return NFS4ERR_INVAL;
	enum nfs4_status st = set_client(k, &w, &c);
	if (st)
		return st;
	c->callback_new = back;
	env_random(k->n->o.env, c->confirm, NFS4_VERIFIER);
	xdr_put_u64(k->out, c->id);
	xdr_put_fixed(k->out, c->confirm, NFS4_VERIFIER);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_setclientid_confirm(struct nfs4_call *k)
{
	const uint8_t *confirm;
	uint64_t id;
	if (!xdr_u64(k->in, &id) || !xdr_fixed(k->in, NFS4_VERIFIER, &confirm))
		return NFS4ERR_BADXDR;
	struct nfs4_client *c = nfs4_client_find(k->n, id, true);
	if (!c || memcmp(c->confirm, confirm, NFS4_VERIFIER))
		return NFS4ERR_STALE_CLIENTID;
	if (!nfs4_client_is_of(c, k->req))
		return NFS4ERR_CLID_INUSE;
	if (!c->confirmed && !nfs4_client_room(c))
		return NFS4ERR_DELAY;
	enum nfs4_status st = nfs4_client_confirm(c);
	if (st)
		return st;
	nfs4_client_renew(c, env_now_ns(k->n->o.env));
	nfs4_caller_confirm(c);
	nfs4_record_client(c);
	return NFS4_OK;
}

/* Somebody's, who has a file open there. */
static bool has_opened(const struct nfs4_client *c, uint64_t who)
{
	const struct nfs4_owner *o;
	const struct nfs4_state *s;
	TAILQ_FOREACH (o, &c->owners, link)
		LIST_FOREACH (s, &o->states, owned)
			if (s->kind == OWNER_OPEN && s->who == who)
				return true;
	return false;
}

/* 16.28.5: by who made the client, or has a file open there. */
static bool may_renew(struct nfs4_call *k, uint64_t id)
{
	const struct nfs4_client *c = nfs4_client_find(k->n, id, true);
	return !c || nfs4_client_is_of(c, k->req) || has_opened(c, nfs4_who_calls(k->req));
}

enum nfs4_status nfs4_op_renew(struct nfs4_call *k)
{
	uint64_t id;
	if (!xdr_u64(k->in, &id))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = may_renew(k, id) ? nfs4_client_of(k, id) : NFS4ERR_ACCESS;
	/* RFC 7530 16.28.5: it learns so that it cannot be asked for what it has. */
	return !st && k->client->ndelegs && k->client->path.state == PATH_DOWN
		   ? NFS4ERR_CB_PATH_DOWN
		   : st;
}

/* ---- owners ---- */

enum nfs4_status nfs4_op_open_confirm(struct nfs4_call *k)
{
	struct lock_file_key f = nfs4_file_key(k);
	struct nfs4_state *s;
	struct stateid sid;
	uint32_t seqid;
	if (!nfs4_get_stateid(k->in, &sid) || !xdr_u32(k->in, &seqid))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_seq_state(k, &sid, seqid, &s);
	if (st)
		return st;
	if (s->kind != OWNER_OPEN || s->owner->seq->confirmed || s->file.ino != f.ino ||
	    s->file.fs != f.fs)
		return NFS4ERR_BAD_STATEID;
	s->owner->seq->confirmed = true;
	nfs4_state_step(k, s);
	nfs4_put_stateid(k->out, &k->sid);
	return NFS4_OK;
}

static bool holds(struct nfs4 *n, const struct nfs4_owner *o)
{
	const struct nfs4_state *s;
	LIST_FOREACH (s, &o->states, owned) {
		struct lock_ask a = nfs4_ask(s);
		if (lock_held(n->locks, &a))
			return true;
	}
	return false;
}

enum nfs4_status nfs4_op_release_lockowner(struct nfs4_call *k)
{
	const uint8_t *name;
	uint32_t len;
	uint64_t id;
	if (!xdr_u64(k->in, &id) || !xdr_opaque(k->in, NFS4_OPAQUE_LIMIT, &name, &len))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_client_of(k, id);
	if (st)
		return st;
	struct nfs4_owner *o = nfs4_owner_find(k->client, OWNER_LOCK, name, len);
	if (!o)
		return NFS4_OK;
	if (holds(k->n, o))
		return NFS4ERR_LOCKS_HELD;
	nfs4_owner_free(o);
	return NFS4_OK;
}
