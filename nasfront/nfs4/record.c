/*
 * What a successor must know of clients, sessions, owners and state (nasfront/nfs/store.h): each
 * record is put when what it says has changed, and dropped when that ends. Locks are told by their
 * table (nasfront/nfs/nlm_state.c). Nothing here waits: a compound does, before its answer.
 *
 * A record refers to others by what clients know them by: client ids, session ids, the index of a
 * stateid. Clients that are not confirmed have none: they have nothing, and are made again.
 */
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

static ProtobufCBinaryData bytes_of(const void *p, size_t len)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)p, .len = len};
}

void nfs4_record_server(struct nfs4 *n)
{
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateServer s = ISTHMUS__STATE_SERVER__INIT;
	struct store_key k;
	store_key_begin(&k, STORE_SERVER);
	s.hash_key = bytes_of(n->hash_key, sizeof(n->hash_key));
	r.body_case = ISTHMUS__STATE_RECORD__BODY_SERVER;
	r.server = &s;
	store_put(n->store, &k, &r, NULL);
}

/* ---- clients ---- */

static struct store_key client_key(const struct nfs4_client *c)
{
	struct store_key k = {.len = sizeof(c->key)};
	memcpy(k.bytes, c->key, sizeof(c->key));
	return k;
}

static void put_callback(Isthmus__StateClient *s, const struct nfs4_callback *b)
{
	if (!b->port)
		return;
	s->callback = bytes_of(&b->to, sizeof(b->to));
	s->callback_from = bytes_of(&b->from, sizeof(b->from));
	s->callback_port = b->port;
	s->callback_program = b->program;
	s->callback_ident = b->ident;
}

void nfs4_record_client(struct nfs4_client *c)
{
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateClient s = ISTHMUS__STATE_CLIENT__INIT;
	if (!c->nfs4->store || !c->confirmed)
		return;
	s.id = c->id;
	s.v40 = c->v40;
	s.owner = bytes_of(c->owner, c->owner_len);
	s.verifier = bytes_of(c->verifier, NFS4_VERIFIER);
	s.who = c->who;
	s.address = c->address;
	s.reclaim_done = c->reclaim_done;
	s.confirm = bytes_of(c->confirm, NFS4_VERIFIER);
	s.create_seq = c->create_seq;
	if (c->created)
		s.create_reply = bytes_of(c->create_reply, c->create_len);
	put_callback(&s, &c->callback);
	r.body_case = ISTHMUS__STATE_RECORD__BODY_CLIENT;
	r.client = &s;
	struct store_key k = client_key(c);
	store_put(c->nfs4->store, &k, &r, lock_client_account(c->locks));
	c->recorded = true;
}

void nfs4_unrecord_client(struct nfs4_client *c)
{
	struct store_key k = client_key(c);
	if (c->recorded)
		store_drop(c->nfs4->store, &k, lock_client_account(c->locks));
	c->recorded = false;
}

/* ---- sessions ---- */

static struct store_key session_key(const struct nfs4_session *s)
{
	struct store_key k;
	store_key_begin(&k, STORE_SESSION);
	store_key_bytes(&k, s->id, NFS4_SESSIONID);
	return k;
}

static struct store_key slot_key(const struct nfs4_session *s, uint32_t i)
{
	struct store_key k;
	store_key_begin(&k, STORE_SLOT);
	store_key_bytes(&k, s->id, NFS4_SESSIONID);
	store_key_u32(&k, i);
	return k;
}

void nfs4_record_session(struct nfs4_session *s)
{
	struct nfs4 *n = s->client->nfs4;
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateSession v = ISTHMUS__STATE_SESSION__INIT;
	if (!n->store)
		return;
	v.id = bytes_of(s->id, NFS4_SESSIONID);
	v.client = s->client->id;
	v.max_request = s->max_request;
	v.max_reply = s->max_reply;
	v.max_kept = s->max_kept;
	v.max_ops = s->max_ops;
	v.slots = s->nslots;
	v.back = s->back.usable;
	v.back_minor = s->back.minor;
	v.back_program = s->back.program;
	v.back_sys = bytes_of(s->back.sys, s->back.sys_len);
	v.back_wanted = s->back.wanted;
	v.back_seq = s->back.seq;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_SESSION;
	r.session = &v;
	struct store_key k = session_key(s);
	store_put(n->store, &k, &r, lock_client_account(s->client->locks));
}

void nfs4_unrecord_session(struct nfs4_session *s)
{
	const struct store *to = s->client->nfs4->store;
	uint64_t *account = lock_client_account(s->client->locks);
	struct store_key k = session_key(s);
	store_drop(to, &k, account);
	for (uint32_t i = 0; i < s->nslots; i++) {
		if (!s->slots[i].recorded)
			continue;
		k = slot_key(s, i);
		store_drop(to, &k, account);
	}
}

void nfs4_record_slot(struct nfs4_session *s, struct nfs4_slot *sl)
{
	struct nfs4 *n = s->client->nfs4;
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateSlot v = ISTHMUS__STATE_SLOT__INIT;
	uint64_t *account = lock_client_account(s->client->locks);
	if (!n->store)
		return;
	/* Who has more than there is to spare does without: it hears then that it is not known. Of
	 * a slot that is not recorded yet nothing is. */
	bool room = n->store->room(n->store->arg).spare > *account;
	if (!room && !sl->recorded)
		return;
	v.session = bytes_of(s->id, NFS4_SESSIONID);
	v.slot = (uint32_t)(sl - s->slots);
	v.seq = sl->seq;
	v.who = sl->who;
	v.kept = sl->kept && room;
	if (v.kept)
		v.reply = bytes_of(sl->reply, sl->len);
	r.body_case = ISTHMUS__STATE_RECORD__BODY_SLOT;
	r.slot = &v;
	struct store_key k = slot_key(s, v.slot);
	store_put(n->store, &k, &r, account);
	sl->recorded = true;
}

/* ---- owners of version 4.0 ---- */

static Isthmus__StateFile file_of(uint64_t fs, uint64_t ino, uint32_t generation)
{
	Isthmus__StateFile f = ISTHMUS__STATE_FILE__INIT;
	f.fs = fs;
	f.ino = ino;
	f.generation = generation;
	return f;
}

static struct store_key owner_key(const struct nfs4_owner *o)
{
	struct store_key k;
	store_key_begin(&k, STORE_OWNER);
	store_key_u64(&k, o->client->id);
	store_key_bytes(&k, o->name, o->len);
	return k;
}

void nfs4_record_owner(struct nfs4_owner *o)
{
	const struct nfs4_seqid *q = o->seq;
	struct nfs4 *n = o->client->nfs4;
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateOwner v = ISTHMUS__STATE_OWNER__INIT;
	Isthmus__StateFile f = file_of(q->fs, q->fid.ino, q->fid.generation);
	/* One that has opened nothing yet begins again: there is none of its opens to take room. */
	if (!n->store || !(o->recorded || q->closed || !LIST_EMPTY(&o->states)))
		return;
	v.client = o->client->id;
	v.name = bytes_of(o->name, o->len);
	v.seq = q->seq;
	v.op = q->op;
	v.args = q->args;
	v.status = q->status;
	v.file = &f;
	v.confirmed = q->confirmed;
	v.reply = bytes_of(q->more ? q->more : q->reply, q->len);
	r.body_case = ISTHMUS__STATE_RECORD__BODY_OWNER;
	r.owner = &v;
	struct store_key k = owner_key(o);
	store_put(n->store, &k, &r, lock_client_account(o->client->locks));
	o->recorded = true;
}

void nfs4_unrecord_owner(struct nfs4_owner *o)
{
	struct store_key k;
	if (!o->recorded)
		return;
	k = owner_key(o);
	store_drop(o->client->nfs4->store, &k, lock_client_account(o->client->locks));
}

/* ---- states ---- */

static struct store_key state_key(const struct nfs4_state *s)
{
	struct store_key k;
	store_key_begin(&k, STORE_OPEN);
	store_key_u32(&k, s->index);
	return k;
}

void nfs4_record_state(struct nfs4_state *s)
{
	struct nfs4 *n = s->owner->client->nfs4;
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateOpen v = ISTHMUS__STATE_OPEN__INIT;
	Isthmus__StateFile f = file_of(s->file.fs, s->file.ino, s->file.generation);
	if (!n->store)
		return;
	v.index = s->index;
	v.number = s->number;
	v.boot = s->boot;
	v.seq = s->seq;
	v.client = s->owner->client->id;
	v.owner = bytes_of(s->owner->name, s->owner->len);
	v.file = &f;
	v.closed = s->closed;
	v.who = s->who;
	v.access = s->access;
	v.deny = s->deny;
	v.opened = s->opened;
	v.locks = s->kind == OWNER_LOCK;
	if (s->open && !s->closed)
		v.open = s->open->index;
	if (s->deleg) {
		v.fh = bytes_of(s->deleg->fh, FH_SIZE);
		v.write = s->deleg->d.kind == DELEG_WRITE;
		v.revoked = s->deleg->revoked;
	}
	if (s->copy) {
		enum nfs4_status status;
		bool ended;
		v.fh = bytes_of(nfs4_copy_fh(s->copy, &v.verifier), FH_SIZE);
		v.done = nfs4_copy_progress(s->copy, &ended, &status);
		v.ended = ended;
		v.status = status;
	}
	r.body_case = ISTHMUS__STATE_RECORD__BODY_OPEN;
	r.open = &v;
	struct store_key k = state_key(s);
	store_put(n->store, &k, &r, lock_client_account(s->owner->client->locks));
	s->recorded = true;
}

void nfs4_unrecord_state(struct nfs4_state *s)
{
	struct nfs4_client *c = s->owner->client;
	struct store_key k = state_key(s);
	if (s->recorded)
		store_drop(c->nfs4->store, &k, lock_client_account(c->locks));
}

/* ---- all there is, when the store comes late ---- */

void nfs4_record_all(struct nfs4 *n)
{
	struct nfs4_client *c;
	struct nfs4_session *s;
	struct nfs4_owner *o;
	nfs4_record_server(n);
	TAILQ_FOREACH (c, &n->clients, link) {
		if (c->ending)
			continue;
		nfs4_record_client(c);
		LIST_FOREACH (s, &c->sessions, link) {
			nfs4_record_session(s);
			for (uint32_t i = 0; i < s->nslots; i++)
				if (s->slots[i].used && !s->slots[i].busy)
					nfs4_record_slot(s, &s->slots[i]);
		}
		TAILQ_FOREACH (o, &c->owners, link)
			if (o->seq && o->seq->op)
				nfs4_record_owner(o);
	}
	for (uint32_t i = 0; i < n->nslots; i++)
		if (n->slots[i].state)
			nfs4_record_state(n->slots[i].state);
}
