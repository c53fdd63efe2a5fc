/*
 * What a predecessor recorded, had again (record.c): clients go on with their sessions, stateids
 * and leases as if nothing had happened, and nobody has to reclaim anything.
 *
 * A record whose client, session or open is not there is dropped: a crash came between the two,
 * and the answer that depended on both had not left, or its client was ended by the loss of its own
 * record. One that says nothing sensible refuses them all.
 *
 * Stateids and client ids bear the number of the incarnation that gave them, so none that comes is
 * taken for one that was. Of a slot nothing is known behind the request that was recorded last:
 * its next one may have any number above.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"

struct restore {
	struct nfs4 *n;
	const struct store *store;
	int rc;
	bool locks; /* this time states of lock-owners: their opens are there */
	unsigned clients, sessions, states, held;
};

static void failed(struct restore *t, int rc)
{
	t->rc = t->rc ? t->rc : rc;
}

static void corrupt(struct restore *t)
{
	failed(t, -ERR_CORRUPT);
}

/* Nobody's. The key is as record.c makes it: of bytes, then of a number. */
static void orphan(struct restore *t, enum store_kind kind, const ProtobufCBinaryData *bytes,
		   const uint32_t *number)
{
	struct store_key k;
	store_key_begin(&k, kind);
	if (bytes)
		store_key_bytes(&k, bytes->data, bytes->len);
	if (number)
		store_key_u32(&k, *number);
	store_drop(t->store, &k, NULL);
}

static struct nfs4_client *client_by_id(struct nfs4 *n, uint64_t id)
{
	struct nfs4_client *c = nfs4_client_find(n, id, false);
	return c ? c : nfs4_client_find(n, id, true);
}

static void restore_server(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_SERVER ||
	    r->server->hash_key.len != sizeof(t->n->hash_key))
		corrupt(t);
	else
		memcpy(t->n->hash_key, r->server->hash_key.data, sizeof(t->n->hash_key));
}

/* ---- clients ---- */

static void restore_callback(struct nfs4_client *c, const Isthmus__StateClient *s)
{
	struct nfs4_callback *b = &c->callback;
	if (!s->callback_port || s->callback.len != sizeof(b->to) ||
	    s->callback_from.len != sizeof(b->from))
		return;
	memcpy(&b->to, s->callback.data, sizeof(b->to));
	memcpy(&b->from, s->callback_from.data, sizeof(b->from));
	b->port = (uint16_t)s->callback_port;
	b->program = s->callback_program;
	b->ident = s->callback_ident;
	nfs4_path_set(c, &c->path, PATH_UNKNOWN);
	nfs4_caller_start(c);
}

static void restore_client(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateClient *s = r->client;
	struct nfs4_client *c;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_CLIENT ||
	    s->owner.len > NFS4_OPAQUE_LIMIT || s->verifier.len != NFS4_VERIFIER ||
	    s->confirm.len != NFS4_VERIFIER || s->create_reply.len > NFS4_CREATE_REPLY ||
	    client_by_id(t->n, s->id)) {
		corrupt(t);
		return;
	}
	const struct nfs4_who w = {.owner = s->owner.data,
				   .len = (uint32_t)s->owner.len,
				   .verifier = s->verifier.data,
				   .v40 = s->v40};
	int rc = nfs4_client_make(&c, t->n, &w, s->id, s->who, s->address);
	if (rc) {
		failed(t, rc);
		return;
	}
	c->confirmed = c->recorded = true;
	*lock_client_account(c->locks) += bytes;
	c->reclaim_done = s->reclaim_done;
	memcpy(c->confirm, s->confirm.data, NFS4_VERIFIER);
	c->create_seq = s->create_seq;
	c->created = s->create_reply.len > 0;
	c->create_len = (uint32_t)s->create_reply.len;
	if (c->created)
		memcpy(c->create_reply, s->create_reply.data, c->create_len);
	restore_callback(c, s);
	t->clients++;
}

/* ---- sessions ---- */

static void restore_session(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateSession *v = r->session;
	struct nfs4_client *c;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_SESSION || v->id.len != NFS4_SESSIONID ||
	    v->slots == 0 || v->slots > NFS4_SLOTS || v->back_sys.len > NFS4_CB_SYS) {
		corrupt(t);
		return;
	}
	c = nfs4_client_find(t->n, v->client, false);
	if (!c) {
		orphan(t, STORE_SESSION, &v->id, NULL);
		return;
	}
	struct nfs4_session *s = nfs4_session_make(c, v->id.data, v->slots);
	if (!s) {
		failed(t, -ENOMEM);
		return;
	}
	*lock_client_account(c->locks) += bytes;
	s->max_request = v->max_request;
	s->max_reply = v->max_reply;
	s->max_kept = v->max_kept;
	s->max_ops = v->max_ops;
	s->back.usable = v->back;
	s->back.minor = v->back_minor;
	s->back.program = v->back_program;
	s->back.sys_len = (uint32_t)v->back_sys.len;
	if (v->back_sys.len)
		memcpy(s->back.sys, v->back_sys.data, v->back_sys.len);
	/* Its connections are gone: the client hears so, and binds others. The call behind the last
	 * one that is known may have arrived. */
	s->back.wanted = v->back_wanted;
	s->back.seq = v->back_seq;
	s->back.unsure = true;
	if (s->back.wanted)
		nfs4_path_set(c, &s->back.path, PATH_DOWN);
	for (uint32_t i = 0; i < s->nslots; i++)
		s->slots[i].restored = true;
	t->sessions++;
}

static void restore_slot(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateSlot *v = r->slot;
	struct nfs4_session *s;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_SLOT || v->session.len != NFS4_SESSIONID ||
	    v->reply.len > NFS4_KEPT_REPLY) {
		corrupt(t);
		return;
	}
	s = nfs4_session_find(t->n, v->session.data);
	if (!s || v->slot >= s->nslots) {
		orphan(t, STORE_SLOT, &v->session, &v->slot);
		return;
	}
	struct nfs4_slot *sl = &s->slots[v->slot];
	*lock_client_account(s->client->locks) += bytes;
	sl->seq = v->seq;
	sl->used = sl->recorded = true;
	sl->who = v->who;
	if (!v->kept)
		return;
	sl->reply = malloc(NFS4_KEPT_REPLY);
	if (!sl->reply) {
		failed(t, -ENOMEM);
		return;
	}
	sl->cap = NFS4_KEPT_REPLY;
	sl->len = (uint32_t)v->reply.len;
	if (v->reply.len)
		memcpy(sl->reply, v->reply.data, v->reply.len);
	sl->kept = true;
}

/* ---- owners and states ---- */

static bool is_file(const Isthmus__StateFile *r, struct lock_file_key *ret)
{
	if (!r)
		return false;
	*ret = (struct lock_file_key){.fs = r->fs, .ino = r->ino, .generation = r->generation};
	return true;
}

/* By a name with its kind before it. */
static struct nfs4_owner *owner_of(struct nfs4_client *c, const ProtobufCBinaryData *name)
{
	if (name->len < 1 || name->len > NFS4_OPAQUE_LIMIT + 1 || name->data[0] < OWNER_OPEN ||
	    name->data[0] > OWNER_COPY)
		return NULL;
	return nfs4_owner_get(c, (enum nfs4_owner_kind)name->data[0], name->data + 1,
			      (uint32_t)name->len - 1);
}

static void orphan_owner(struct restore *t, const Isthmus__StateOwner *v)
{
	struct store_key k;
	if (v->name.len > NFS4_OPAQUE_LIMIT + 1)
		return;
	store_key_begin(&k, STORE_OWNER);
	store_key_u64(&k, v->client);
	store_key_bytes(&k, v->name.data, v->name.len);
	store_drop(t->store, &k, NULL);
}

static void restore_owner(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateOwner *v = r->owner;
	struct nfs4_client *c;
	struct lock_file_key f;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_OWNER || !is_file(v->file, &f)) {
		corrupt(t);
		return;
	}
	c = nfs4_client_find(t->n, v->client, true);
	if (!c) {
		orphan_owner(t, v);
		return;
	}
	struct nfs4_owner *o = owner_of(c, &v->name);
	if (!o || !o->seq) {
		corrupt(t);
		return;
	}
	struct nfs4_seqid *q = o->seq;
	*lock_client_account(c->locks) += bytes;
	q->seq = v->seq;
	q->op = v->op;
	q->args = v->args;
	q->status = (enum nfs4_status)v->status;
	q->fs = f.fs;
	q->fid = (struct fs_fid){.ino = f.ino, .generation = f.generation};
	q->confirmed = v->confirmed;
	o->recorded = true;
	if (!nfs4_seqid_set_reply(q, v->reply.data, v->reply.len))
		failed(t, -ENOMEM);
	nfs4_idle_check(o);
}

/* The open that a lock-owner's state came by. */
static struct nfs4_state *open_of(const struct nfs4_client *c, const Isthmus__StateOpen *v,
				  const struct lock_file_key *file)
{
	const struct nfs4 *n = c->nfs4;
	struct nfs4_state *s = v->open < n->nslots ? n->slots[v->open].state : NULL;
	return s && s->kind == OWNER_OPEN && !s->closed && s->owner->client == c &&
		       nfs4_same_file(&s->file, file)
		   ? s
		   : NULL;
}

static bool lend_again(struct nfs4_state *s, const Isthmus__StateOpen *v)
{
	struct nfs4_deleg *d = s->deleg;
	if (v->fh.len != FH_SIZE)
		return false;
	memcpy(d->fh, v->fh.data, FH_SIZE);
	d->d.file = s->file;
	d->d.kind = v->write ? DELEG_WRITE : DELEG_READ;
	d->d.holder = s->owner->client;
	nfs4_deleg_restore(s, v->revoked);
	return true;
}

/* An open's reservation; locks come by themselves. Whatever room there is. */
static int share_again(struct nfs4 *n, struct nfs4_state *s)
{
	const struct lock_kept k = {.share = true,
				    .lock = {.file = s->file,
					     .client = s->owner->client->locks,
					     .owner = s->owner->name,
					     .owner_len = s->owner->len},
				    .access = s->access,
				    .deny = s->deny};
	return lock_restore(n->locks, &k);
}

/* What is behind a stateid, beyond itself. */
static int hold_again(struct nfs4 *n, struct nfs4_state *s, const Isthmus__StateOpen *v)
{
	switch (s->kind) {
	case OWNER_DELEG:
		return lend_again(s, v) ? 0 : -ERR_CORRUPT;
	case OWNER_COPY:
		return v->fh.len != FH_SIZE
			   ? -ERR_CORRUPT
			   : nfs4_copy_restore(s, v->fh.data, v->done, v->verifier, v->ended,
					       (enum nfs4_status)v->status);
	case OWNER_OPEN:
		if (!v->closed)
			return share_again(n, s);
		nfs4_state_close(s);
		return 0;
	default:
		return 0;
	}
}

static void state_again(struct restore *t, struct nfs4_client *c, const Isthmus__StateOpen *v,
			const struct lock_file_key *file, uint64_t bytes)
{
	struct nfs4 *n = t->n;
	struct nfs4_owner *o = owner_of(c, &v->owner);
	struct nfs4_state *open = v->locks ? open_of(c, v, file) : NULL;
	if (!o || (v->closed && !o->seq) || v->locks != (o->name[0] == OWNER_LOCK)) {
		corrupt(t);
		return;
	}
	if (v->locks && !open) {
		orphan(t, STORE_OPEN, NULL, &v->index);
		nfs4_owner_check(o);
		return;
	}
	struct nfs4_state *s = nfs4_state_make(o, file, open, v->index, v->number);
	if (!s) {
		failed(t, -ENOMEM);
		nfs4_owner_check(o);
		return;
	}
	s->boot = v->boot;
	s->seq = v->seq;
	s->who = v->who;
	s->access = v->access;
	s->deny = v->deny;
	s->opened = v->opened;
	s->recorded = true;
	*lock_client_account(c->locks) += bytes;
	t->states++;
	failed(t, hold_again(n, s, v));
	if (o->seq)
		nfs4_idle_check(o);
}

static void restore_state(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateOpen *v = r->open;
	struct lock_file_key f;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_OPEN || !is_file(v->file, &f)) {
		corrupt(t);
		return;
	}
	if (v->locks != t->locks)
		return; /* the other time */
	struct nfs4_client *c = client_by_id(t->n, v->client);
	/* Of version 4.0 nothing stays of what was taken away. */
	if (!c || (v->revoked && c->v40))
		orphan(t, STORE_OPEN, NULL, &v->index);
	else
		state_again(t, c, v, &f, bytes);
}

static void restore_lock(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateLock *l = r->lock;
	struct lock_kept k = {.share = false};
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_LOCK || l->first > l->last ||
	    l->owner.len > LOCK_OWNER_MAX || !is_file(l->file, &k.lock.file)) {
		corrupt(t);
		return;
	}
	if (l->client.len != 9 || l->client.data[0] != STORE_CLIENT)
		return; /* another protocol's */
	struct nfs4_client *c = client_by_id(t->n, be64_get(l->client.data + 1));
	lock_table_skip_ids(t->n->locks, l->id);
	if (!c) {
		struct store_key key;
		store_key_begin(&key, STORE_LOCK);
		store_key_u64(&key, l->id);
		store_drop(t->store, &key, NULL);
		return;
	}
	*lock_client_account(c->locks) += bytes;
	k.id = l->id;
	k.lock.client = c->locks;
	k.lock.owner = l->owner.data;
	k.lock.owner_len = (uint32_t)l->owner.len;
	k.lock.kind = l->exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED;
	k.lock.range = (struct lock_range){.first = l->first, .last = l->last};
	int rc = lock_restore(t->n->locks, &k);
	failed(t, rc);
	t->held += rc == 0;
}

int nfs4_keep_in(struct nfs4 *n, const struct store *store, unsigned *ret_clients)
{
	CHECK(n, NFS4_MAGIC);
	struct restore t = {.n = n, .store = store};
	*ret_clients = 0;
	if (n->nclients) {
		n->store = store;
		nfs4_record_all(n);
		return 0;
	}
	/* What is restored is recorded already. */
	store_each(store, STORE_SERVER, restore_server, &t);
	store_each(store, STORE_CLIENT, restore_client, &t);
	store_each(store, STORE_SESSION, restore_session, &t);
	store_each(store, STORE_SLOT, restore_slot, &t);
	store_each(store, STORE_OWNER, restore_owner, &t);
	store_each(store, STORE_OPEN, restore_state, &t);
	t.locks = true;
	store_each(store, STORE_OPEN, restore_state, &t);
	store_each(store, STORE_LOCK, restore_lock, &t);
	nfs4_states_restored(n);
	if (t.rc) { /* all or nothing: who missed a part of his would not know */
		struct nfs4_client *c;
		while ((c = TAILQ_FIRST(&n->clients)))
			nfs4_client_free(c);
		t.clients = 0;
	}
	n->restored = t.clients > 0;
	n->store = store;
	if (!n->restored)
		nfs4_record_server(n);
	if (t.clients)
		log_info("nfs4: has again what was held here clients=%u sessions=%u states=%u "
			 "locks=%u",
			 t.clients, t.sessions, t.states, t.held);
	*ret_clients = t.clients;
	return t.rc;
}
