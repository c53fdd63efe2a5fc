/*
 * What the lock manager keeps for a successor (nasfront/nfs/store.h): hosts, their locks,
 * reservations and waits; and how it has them again. A wait is kept until its host knows that it
 * was granted, so that a successor tells it when we could not.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"

/* ---- keeping ---- */

static Isthmus__StateFile file_record(const struct lock_file_key *f)
{
	Isthmus__StateFile r = ISTHMUS__STATE_FILE__INIT;
	r.fs = f->fs;
	r.ino = f->ino;
	r.generation = f->generation;
	return r;
}

static ProtobufCBinaryData bytes_of(const void *p, size_t len)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)p, .len = len};
}

void nlm_record_host(struct nlm_client *c)
{
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateHost h = ISTHMUS__STATE_HOST__INIT;
	if (!c->nlm->store)
		return;
	h.name = c->name;
	h.address = c->address;
	h.peer = bytes_of(&c->peer, sizeof(c->peer));
	h.local = bytes_of(&c->local, sizeof(c->local));
	h.tcp = c->tcp;
	h.state = c->state;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_HOST;
	r.host = &h;
	c->recorded = true;
	store_put(c->nlm->store, &c->key, &r, lock_client_account(c->locks));
}

void nlm_unrecord_host(struct nlm_client *c)
{
	if (c->recorded)
		store_drop(c->nlm->store, &c->key, lock_client_account(c->locks));
	c->recorded = false;
}

static void put_share(const struct store *s, const struct store_key *k, const struct lock_kept *l,
		      ProtobufCBinaryData client)
{
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateShare h = ISTHMUS__STATE_SHARE__INIT;
	Isthmus__StateFile f = file_record(&l->lock.file);
	h.id = l->id;
	h.client = client;
	h.owner = bytes_of(l->lock.owner, l->lock.owner_len);
	h.file = &f;
	h.access = l->access;
	h.deny = l->deny;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_SHARE;
	r.share = &h;
	store_put(s, k, &r, lock_client_account(l->lock.client));
}

static void put_lock(const struct store *s, const struct store_key *k, const struct lock_kept *l,
		     ProtobufCBinaryData client)
{
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateLock h = ISTHMUS__STATE_LOCK__INIT;
	Isthmus__StateFile f = file_record(&l->lock.file);
	h.id = l->id;
	h.client = client;
	h.owner = bytes_of(l->lock.owner, l->lock.owner_len);
	h.file = &f;
	h.exclusive = l->lock.kind == LOCK_EXCLUSIVE;
	h.first = l->lock.range.first;
	h.last = l->lock.range.last;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_LOCK;
	r.lock = &h;
	store_put(s, k, &r, lock_client_account(l->lock.client));
}

/* Reservations of another protocol's clients are part of its own records. */
void nlm_lock_kept(void *arg, const struct lock_kept *l)
{
	struct nlm *n = arg;
	struct store_key k;
	uint32_t len;
	const uint8_t *client = lock_client_key(l->lock.client, &len);
	if (!n->store || !len || (l->share && client[0] != STORE_HOST))
		return;
	struct nlm_client *c = client[0] == STORE_HOST ? lock_client_user(l->lock.client) : NULL;
	store_key_begin(&k, l->share ? STORE_SHARE : STORE_LOCK);
	store_key_u64(&k, l->id);
	if (l->gone) {
		store_drop(n->store, &k, lock_client_account(l->lock.client));
		return;
	}
	if (c && !c->recorded) /* one that is not monitored */
		nlm_record_host(c);
	(l->share ? put_share : put_lock)(n->store, &k, l, bytes_of(client, len));
}

bool nlm_store_full(void *arg, struct lock_client *c)
{
	const struct nlm *n = arg;
	/* What is granted in the grace period was had before. */
	return nlm_phase(n) != NLM_GRACE && store_denies(n->store, *lock_client_account(c));
}

static struct store_key wait_key(uint64_t id)
{
	struct store_key k;
	store_key_begin(&k, STORE_WAIT);
	store_key_u64(&k, id);
	return k;
}

void nlm_record_wait(struct nlm_out *o)
{
	struct nlm *n = o->client->nlm;
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateWait w = ISTHMUS__STATE_WAIT__INIT;
	Isthmus__StateFile f = file_record(&o->file);
	if (!n->store)
		return;
	if (!o->record)
		o->record = ++n->next_wait;
	w.id = o->record;
	w.client = bytes_of(o->client->key.bytes, o->client->key.len);
	w.file = &f;
	w.vers = o->vers;
	w.msg = o->proc == NLM_PROC_GRANTED_MSG;
	w.fh = bytes_of(o->a.fh.p, o->a.fh.len);
	w.oh = bytes_of(o->a.oh.p, o->a.oh.len);
	w.svid = o->a.svid;
	w.exclusive = o->a.exclusive;
	w.off = o->a.off;
	w.len = o->a.len;
	w.first = o->a.range.first;
	w.last = o->a.range.last;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_WAIT;
	r.wait = &w;
	struct store_key k = wait_key(o->record);
	if (!o->client->recorded)
		nlm_record_host(o->client);
	store_put(n->store, &k, &r, lock_client_account(o->client->locks));
}

void nlm_unrecord_wait(struct nlm_out *o)
{
	struct store_key k = wait_key(o->record);
	if (o->record)
		store_drop(o->client->nlm->store, &k, lock_client_account(o->client->locks));
	o->record = 0;
}

void nlm_settle(struct nlm_out *o)
{
	o->settled = true;
	nlm_unrecord_wait(o);
}

/* ---- having it again ---- */

struct restore {
	struct nlm *n;
	const struct store *store;
	int rc;
	unsigned hosts, locks;
};

/* A key as nlm_client_new() makes it. */
static struct nlm_client *client_of(struct nlm *n, const ProtobufCBinaryData *key)
{
	char text[STORE_KEY_MAX + 1];
	if (key->len < 2 || key->len > STORE_KEY_MAX || key->data[0] != STORE_HOST)
		return NULL;
	memcpy(text, key->data + 1, key->len - 1);
	text[key->len - 1] = '\0';
	struct nlm_obj name = {.p = (const uint8_t *)text, .len = (uint32_t)strlen(text)};
	return name.len + 2 <= key->len ? nlm_client_find(n, &name, text + name.len + 1) : NULL;
}

static bool is_file(const Isthmus__StateFile *r, struct lock_file_key *ret)
{
	if (!r)
		return false;
	*ret = (struct lock_file_key){.fs = r->fs, .ino = r->ino, .generation = r->generation};
	return true;
}

static void failed(struct restore *t, int rc)
{
	t->rc = t->rc ? t->rc : rc;
}

static void restore_host(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateHost *h = r->host;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_HOST ||
	    h->peer.len != sizeof(struct sockaddr_storage) ||
	    h->local.len != sizeof(struct sockaddr_storage) || strlen(h->name) > NLM_NAME_MAX) {
		failed(t, -ERR_CORRUPT);
		return;
	}
	struct nlm_obj name = {.p = (const uint8_t *)h->name, .len = (uint32_t)strlen(h->name)};
	struct nlm_client *c = nlm_client_find(t->n, &name, h->address);
	if (!c)
		c = nlm_client_new(t->n, &name, h->address);
	if (!c) {
		failed(t, -ENOMEM);
		return;
	}
	memcpy(&c->peer, h->peer.data, sizeof(c->peer));
	memcpy(&c->local, h->local.data, sizeof(c->local));
	c->tcp = h->tcp;
	c->state = h->state;
	c->recorded = true;
	*lock_client_account(c->locks) += bytes;
	t->hosts++;
}

static void restore_held(struct restore *t, const ProtobufCBinaryData *client,
			 const ProtobufCBinaryData *owner, struct lock_kept *k, uint64_t bytes)
{
	if (!client->len || client->data[0] != STORE_HOST)
		return; /* another protocol's */
	if (owner->len > LOCK_OWNER_MAX) {
		failed(t, -ERR_CORRUPT);
		return;
	}
	struct nlm_client *c = client_of(t->n, client);
	if (!c) { /* a crash kept one of two records: the answer had not left */
		struct store_key key;
		store_key_begin(&key, k->share ? STORE_SHARE : STORE_LOCK);
		store_key_u64(&key, k->id);
		store_drop(t->store, &key, NULL);
		return;
	}
	*lock_client_account(c->locks) += bytes;
	k->lock.client = c->locks;
	k->lock.owner = owner->data;
	k->lock.owner_len = (uint32_t)owner->len;
	int rc = lock_restore(t->n->table, k);
	failed(t, rc);
	t->locks += rc == 0;
}

static void restore_lock(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateLock *l = r->lock;
	struct lock_kept k = {.share = false};
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_LOCK || l->first > l->last ||
	    !is_file(l->file, &k.lock.file)) {
		failed(t, -ERR_CORRUPT);
		return;
	}
	k.id = l->id;
	lock_table_skip_ids(t->n->table, l->id);
	k.lock.kind = l->exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED;
	k.lock.range = (struct lock_range){.first = l->first, .last = l->last};
	restore_held(t, &l->client, &l->owner, &k, bytes);
}

static void restore_share(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateShare *l = r->share;
	struct lock_kept k = {.share = true};
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_SHARE || !is_file(l->file, &k.lock.file)) {
		failed(t, -ERR_CORRUPT);
		return;
	}
	k.id = l->id;
	k.access = l->access;
	k.deny = l->deny;
	restore_held(t, &l->client, &l->owner, &k, bytes);
}

/* It waits again; or it has its lock, and its host is told so now. */
static int wait_again(struct nlm *n, struct nlm_client *c, const Isthmus__StateWait *w,
		      const struct lock_file_key *file)
{
	struct nlm_args a = {
	    .vers = w->vers,
	    .name = {.p = (const uint8_t *)c->name, .len = (uint32_t)strlen(c->name)},
	    .fh = {.p = w->fh.data, .len = (uint32_t)w->fh.len},
	    .oh = {.p = w->oh.data, .len = (uint32_t)w->oh.len},
	    .svid = w->svid,
	    .exclusive = w->exclusive,
	    .off = w->off,
	    .len = w->len,
	    .range = {.first = w->first, .last = w->last}};
	nlm_make_owner(&a);
	struct nlm_out *o = nlm_wait_new(c, &a, file, w->msg);
	if (!o)
		return -ENOMEM;
	o->record = w->id;
	struct lock_ask ask = {.file = *file,
			       .client = c->locks,
			       .owner = o->a.owner,
			       .owner_len = o->a.owner_len,
			       .kind = a.exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED,
			       .range = a.range};
	int rc = lock_set_wait(n->table, &ask, o);
	o->told = rc == 0; /* by the predecessor, maybe */
	if (rc == 0)
		nlm_out_queue(c, o);
	else if (rc != -EINPROGRESS)
		nlm_out_free(o); /* its host asks again */
	return 0;
}

static void restore_wait(void *arg, const Isthmus__StateRecord *r, uint64_t bytes)
{
	struct restore *t = arg;
	const Isthmus__StateWait *w = r->wait;
	struct lock_file_key file;
	if (r->body_case != ISTHMUS__STATE_RECORD__BODY_WAIT || w->first > w->last ||
	    w->fh.len > NLM_OBJ_MAX || w->oh.len > NLM_OBJ_MAX || !is_file(w->file, &file)) {
		failed(t, -ERR_CORRUPT);
		return;
	}
	struct nlm_client *c = client_of(t->n, &w->client);
	t->n->next_wait = MAX(t->n->next_wait, w->id);
	if (c) {
		*lock_client_account(c->locks) += bytes;
		failed(t, wait_again(t->n, c, w, &file));
	} else {
		struct store_key key = wait_key(w->id);
		store_drop(t->store, &key, NULL);
	}
}

static void record_user(void *arg, void *user)
{
	nlm_record_wait(user);
}

/* What is here already, when the store comes late. */
static void record_all(struct nlm *n)
{
	struct nlm_client *c;
	struct nlm_out *o;
	TAILQ_FOREACH (c, &n->clients, link) {
		nlm_record_host(c);
		TAILQ_FOREACH (o, &c->out, link)
			if (o->grant && !o->settled)
				nlm_record_wait(o);
	}
	lock_table_tell(n->table, record_user, n);
}

bool nlm_host_kept(struct nlm *n, const char *name, const char *address)
{
	struct nlm_obj o = {.p = (const uint8_t *)name, .len = (uint32_t)strlen(name)};
	struct nlm_client *c = nlm_client_find(n, &o, address);
	if (c)
		c->monitored = true;
	return c;
}

/* All or nothing: who missed a part of his would not know. Whoever put the records drops them. */
static void forget_all(struct nlm *n)
{
	struct nlm_client *c;
	const struct store *s = n->store;
	n->store = NULL;
	while ((c = TAILQ_FIRST(&n->clients)))
		nlm_client_forget(c);
	n->store = s;
}

int nlm_keep_in(struct nlm *n, const struct store *s)
{
	CHECK(n, NLM_MAGIC);
	struct restore t = {.n = n, .store = s};
	struct lock_stats held;
	lock_stats(n->table, &held);
	if (!TAILQ_EMPTY(&n->clients) || held.locks || held.shares) {
		n->store = s;
		record_all(n);
		return 0;
	}
	store_each(s, STORE_HOST, restore_host, &t);
	store_each(s, STORE_LOCK, restore_lock, &t);
	store_each(s, STORE_SHARE, restore_share, &t);
	n->store = s;
	n->waits_due = t.rc == 0;
	if (t.rc)
		forget_all(n);
	if (t.hosts)
		log_info("nlm: has again what was held here hosts=%u locks=%u", t.hosts, t.locks);
	return t.rc;
}

void nlm_wait_again(struct nlm *n)
{
	CHECK(n, NLM_MAGIC);
	struct restore t = {.n = n, .store = n->store};
	if (n->waits_due)
		store_each(n->store, STORE_WAIT, restore_wait, &t);
	n->waits_due = false;
}
