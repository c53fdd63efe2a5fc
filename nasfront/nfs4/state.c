/*
 * State: what stateids name (RFC 8881 8.2). One for each file that an open-owner has open, and one
 * for each file that a lock-owner has locks in, under the open it came by.
 *
 *   other:  0  u32  this incarnation of the head
 *           4  u32  index of a slot in the table
 *           8  u32  number of the state in its slot: a slot is used again
 *
 * The reservations and locks themselves are in the lock table, under the client and the owner's
 * name with its kind before it: so opens and locks of one name are two owners, and NLM's locks
 * conflict with ours. Nothing here waits; pointers to states and owners are not kept across waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/siphash.h"

#define NO_SLOT UINT32_MAX

/* ---- owners ---- */

static unsigned owner_bucket(const struct nfs4_client *c, const uint8_t *name, uint32_t len)
{
	uint64_t h = siphash(c->nfs4->hash_key, name, len);
	return (unsigned)((h ^ c->id) % NFS4_STATE_BUCKETS);
}

/* The name as the table of locks has it. */
static uint32_t tag_name(uint8_t to[NFS4_OPAQUE_LIMIT + 1], enum nfs4_owner_kind kind,
			 const uint8_t *name, uint32_t len)
{
	to[0] = kind;
	if (len)
		memcpy(to + 1, name, len);
	return len + 1;
}

static struct nfs4_owner *find_tagged(struct nfs4_client *c, const uint8_t *tagged, uint32_t len)
{
	struct nfs4_owner *o;
	LIST_FOREACH (o, &c->nfs4->owners[owner_bucket(c, tagged, len)], chain)
		if (o->client == c && o->len == len && memcmp(o->name, tagged, len) == 0)
			return o;
	return NULL;
}

struct nfs4_owner *nfs4_owner_find(struct nfs4_client *c, enum nfs4_owner_kind kind,
				   const uint8_t *name, uint32_t len)
{
	uint8_t tagged[NFS4_OPAQUE_LIMIT + 1];
	len = tag_name(tagged, kind, name, len);
	return find_tagged(c, tagged, len);
}

struct nfs4_owner *nfs4_owner_get(struct nfs4_client *c, enum nfs4_owner_kind kind,
				  const uint8_t *name, uint32_t len)
{
	struct nfs4 *n = c->nfs4;
	uint8_t tagged[NFS4_OPAQUE_LIMIT + 1];
	len = tag_name(tagged, kind, name, len);
	struct nfs4_owner *o = find_tagged(c, tagged, len);
	if (o)
		return o;
	if (n->nowners >= NFS4_OWNERS_MAX)
		nfs4_idle_reap(n, true);
	if (n->nowners >= NFS4_OWNERS_MAX) {
		nfs4_client_make_way(n, true);
		return NULL;
	}
	o = calloc(1, sizeof(*o) + len);
	bool counts = c->v40 && kind != OWNER_DELEG && kind != OWNER_COPY;
	if (o && counts)
		o->seq = nfs4_seqid_new(kind);
	if (!o || (counts && !o->seq)) {
		free(o);
		return NULL;
	}
	o->client = c;
	o->len = len;
	memcpy(o->name, tagged, len);
	LIST_INIT(&o->states);
	LIST_INSERT_HEAD(&n->owners[owner_bucket(c, tagged, len)], o, chain);
	TAILQ_INSERT_TAIL(&c->owners, o, link);
	n->nowners++;
	return o;
}

static void owner_end(struct nfs4_owner *o)
{
	struct nfs4 *n = o->client->nfs4;
	if (o->seq) {
		if (o->seq->idle)
			TAILQ_REMOVE(&n->idle, o, seq->link);
		if (o->seq->closed)
			nfs4_state_free(o->seq->closed);
		nfs4_seqid_free(o->seq);
	}
	nfs4_unrecord_owner(o);
	LIST_REMOVE(o, chain);
	TAILQ_REMOVE(&o->client->owners, o, link);
	n->nowners--;
	free(o);
}

void nfs4_owner_check(struct nfs4_owner *o)
{
	if (!o || !LIST_EMPTY(&o->states))
		return;
	if (o->seq && o->name[0] == OWNER_OPEN)
		nfs4_idle_check(o);
	else
		owner_end(o);
}

void nfs4_owner_free(struct nfs4_owner *o)
{
	struct nfs4_state *s, *next;
	bool stays = o->seq && o->name[0] == OWNER_OPEN;
	ASSERT(!o->seq || (!o->seq->busy && !o->seq->waits));
	LIST_FOREACH_SAFE (s, &o->states, owned, next) {
		bool last = !next;
		nfs4_state_free(s);
		if (last && !stays)
			return; /* it ended with its last state */
	}
	owner_end(o);
}

/* ---- states ---- */

static unsigned state_bucket(const struct nfs4_owner *o, const struct lock_file_key *f)
{
	uint64_t v[3] = {f->fs ^ (uintptr_t)o, f->ino, f->generation};
	return (unsigned)(siphash(o->client->nfs4->hash_key, v, sizeof(v)) % NFS4_STATE_BUCKETS);
}

bool nfs4_same_file(const struct lock_file_key *a, const struct lock_file_key *b)
{
	return a->ino == b->ino && a->fs == b->fs && a->generation == b->generation;
}

struct nfs4_state *nfs4_state_of(struct nfs4_owner *o, const struct lock_file_key *file)
{
	struct nfs4_state *s;
	LIST_FOREACH (s, &o->client->nfs4->states[state_bucket(o, file)], chain)
		if (s->owner == o && nfs4_same_file(&s->file, file))
			return s;
	return NULL;
}

/* The table grows by halves. */
static bool slots_grow(struct nfs4 *n, uint32_t want)
{
	if (want <= n->slots_cap)
		return true;
	uint32_t cap = MAX(n->slots_cap ? n->slots_cap + n->slots_cap / 2 : 256, want);
	struct nfs4_state_slot *p = realloc(n->slots, cap * sizeof(*p));
	if (!p)
		return false;
	memset(p + n->slots_cap, 0, (cap - n->slots_cap) * sizeof(*p));
	n->slots = p;
	n->slots_cap = cap;
	return true;
}

/* A free one. */
static uint32_t slot_take(struct nfs4 *n)
{
	if (n->slots_free != NO_SLOT) {
		uint32_t i = n->slots_free;
		n->slots_free = n->slots[i].next;
		return i;
	}
	return slots_grow(n, n->nslots + 1) ? n->nslots++ : NO_SLOT;
}

static void slot_give(struct nfs4 *n, uint32_t i)
{
	n->slots[i].next = n->slots_free;
	n->slots_free = i;
}

void nfs4_states_restored(struct nfs4 *n)
{
	n->slots_free = NO_SLOT; /* not behind what was given before: it would be there twice */
	for (uint32_t i = n->nslots; i-- > 0;)
		if (!n->slots[i].state)
			slot_give(n, i);
}

/* What hangs on it but its slot. */
static struct nfs4_state *state_alloc(const struct nfs4_owner *o)
{
	struct nfs4_state *s = calloc(1, sizeof(*s));
	if (s && o->name[0] == OWNER_DELEG)
		s->deleg = calloc(1, sizeof(*s->deleg));
	if (s && o->name[0] == OWNER_DELEG && !s->deleg) {
		free(s);
		return NULL;
	}
	return s;
}

static void state_link(struct nfs4_state *s, struct nfs4_owner *o, const struct lock_file_key *file,
		       struct nfs4_state *open, uint32_t i)
{
	struct nfs4 *n = o->client->nfs4;
	s->kind = (enum nfs4_owner_kind)o->name[0];
	s->owner = o;
	s->file = *file;
	s->index = i;
	s->number = n->slots[i].number;
	s->boot = n->boot;
	s->open = open;
	LIST_INIT(&s->locks);
	n->slots[i].state = s;
	n->nstates++;
	LIST_INSERT_HEAD(&n->states[state_bucket(o, file)], s, chain);
	LIST_INSERT_HEAD(&o->states, s, owned);
	if (s->deleg) {
		s->deleg->state = s;
		o->client->ndelegs++;
	} else if (s->kind == OWNER_COPY) {
		/* copy.c counts them */
	} else if (open) {
		LIST_INSERT_HEAD(&open->locks, s, under);
		o->client->nlocks++;
	} else {
		o->client->nopens++;
	}
}

/* Whoever has much may have one more. Not asked of what is reclaimed: that was had before. */
static bool state_room(const struct nfs4_owner *o)
{
	const struct nfs4 *n = o->client->nfs4;
	if (n->nstates >= n->o.max_states)
		return false;
	return (nlm_phase(n->o.nlm) == NLM_GRACE && o->name[0] != OWNER_COPY) ||
	       !store_denies(n->store, *lock_client_account(o->client->locks));
}

struct nfs4_state *nfs4_state_new(struct nfs4_owner *o, const struct lock_file_key *file,
				  struct nfs4_state *open)
{
	struct nfs4 *n = o->client->nfs4;
	if (!state_room(o)) {
		if (o->name[0] != OWNER_DELEG)
			nfs4_deleg_give_way(n);
		nfs4_client_make_way(n, true);
		return NULL;
	}
	struct nfs4_state *s = state_alloc(o);
	uint32_t i = s ? slot_take(n) : NO_SLOT;
	if (i != NO_SLOT) {
		state_link(s, o, file, open, i);
		return s;
	}
	if (s)
		free(s->deleg);
	free(s);
	return NULL;
}

struct nfs4_state *nfs4_state_make(struct nfs4_owner *o, const struct lock_file_key *file,
				   struct nfs4_state *open, uint32_t index, uint32_t number)
{
	struct nfs4 *n = o->client->nfs4;
	if (index >= 2 * n->o.max_states || !slots_grow(n, index + 1) || n->slots[index].state)
		return NULL;
	struct nfs4_state *s = state_alloc(o);
	if (!s)
		return NULL;
	n->nslots = MAX(n->nslots, index + 1);
	n->slots[index].number = number;
	state_link(s, o, file, open, index);
	return s;
}

struct lock_ask nfs4_ask(const struct nfs4_state *s)
{
	return (struct lock_ask){.file = s->file,
				 .client = s->owner->client->locks,
				 .owner = s->owner->name,
				 .owner_len = s->owner->len,
				 .kind = LOCK_EXCLUSIVE,
				 .range = {.first = 0, .last = UINT64_MAX}};
}

/* Nothing of it is left but the stateid. */
static void state_end(struct nfs4_state *s)
{
	struct nfs4_owner *o = s->owner;
	struct nfs4 *n = o->client->nfs4;
	struct nfs4_state *l;
	struct lock_ask a = nfs4_ask(s);
	while ((l = LIST_FIRST(&s->locks)))
		nfs4_state_free(l);
	if (s->kind == OWNER_DELEG) {
		nfs4_deleg_end(s);
	} else if (s->kind == OWNER_COPY) {
		if (s->copy)
			nfs4_copy_end(s);
	} else if (s->kind == OWNER_OPEN) {
		lock_unshare(n->locks, &a);
		o->client->nopens--;
	} else {
		/* The whole file: nothing is split, so no memory is needed. */
		ASSERT(lock_unset(n->locks, &a) == 0);
		LIST_REMOVE(s, under);
		o->client->nlocks--;
	}
	LIST_REMOVE(s, chain);
	LIST_REMOVE(s, owned);
	s->closed = true;
}

void nfs4_state_free(struct nfs4_state *s)
{
	struct nfs4_owner *o = s->owner;
	struct nfs4 *n = o->client->nfs4;
	bool was_closed = s->closed;
	if (!was_closed)
		state_end(s);
	nfs4_unrecord_state(s);
	n->slots[s->index].state = NULL;
	n->slots[s->index].number++;
	slot_give(n, s->index);
	n->nstates--;
	free(s->deleg);
	free(s);
	if (!was_closed)
		nfs4_owner_check(o);
}

void nfs4_state_close(struct nfs4_state *s)
{
	struct nfs4_seqid *q = s->owner->seq;
	if (q->closed)
		nfs4_state_free(q->closed);
	state_end(s);
	q->closed = s;
	nfs4_record_state(s);
}

/* ---- stateids ---- */

bool nfs4_get_stateid(struct xdr_in *x, struct stateid *ret)
{
	const uint8_t *p;
	if (!xdr_u32(x, &ret->seq) || !xdr_fixed(x, NFS4_OTHER, &p))
		return false;
	memcpy(ret->other, p, NFS4_OTHER);
	return true;
}

void nfs4_put_stateid(struct xdr_out *x, const struct stateid *s)
{
	xdr_put_u32(x, s->seq);
	xdr_put_fixed(x, s->other, NFS4_OTHER);
}

struct stateid nfs4_stateid_of(const struct nfs4_state *s)
{
	struct stateid id = {.seq = s->seq};
	be32_put(id.other, s->boot);
	be32_put(id.other + 4, s->index);
	be32_put(id.other + 8, s->number);
	return id;
}

static bool is_filled(const struct stateid *id, uint8_t with)
{
	for (unsigned i = 0; i < NFS4_OTHER; i++)
		if (id->other[i] != with)
			return false;
	return true;
}

/* RFC 8881 8.2.3: "read bypass" and "anonymous". */
static bool is_special(const struct stateid *id)
{
	return (id->seq == 0 && is_filled(id, 0)) || (id->seq == UINT32_MAX && is_filled(id, 0xff));
}

enum nfs4_status nfs4_arg_stateid(struct nfs4_call *k, struct stateid *ret)
{
	if (!nfs4_get_stateid(k->in, ret))
		return NFS4ERR_BADXDR;
	if (k->minor == 0 || ret->seq != 1 || !is_filled(ret, 0))
		return NFS4_OK;
	if (!k->have_sid)
		return NFS4ERR_BAD_STATEID;
	*ret = k->sid;
	return NFS4_OK;
}

static struct nfs4_state *state_at(const struct nfs4 *n, const struct stateid *id)
{
	uint32_t i = be32_get(id->other + 4);
	struct nfs4_state *s = i < n->nslots ? n->slots[i].state : NULL;
	return s && s->boot == be32_get(id->other) && s->number == be32_get(id->other + 8) ? s
											   : NULL;
}

enum nfs4_status nfs4_state_locate(struct nfs4_call *k, const struct stateid *id,
				   struct nfs4_state **ret)
{
	struct nfs4 *n = k->n;
	/* Of one that is unknown to us: it may be what a predecessor gave and took back. */
	if (be32_get(id->other) != n->boot && !n->restored)
		return k->minor || is_special(id) ? NFS4ERR_BAD_STATEID : NFS4ERR_STALE_STATEID;
	struct nfs4_state *s = state_at(n, id);
	if (!s)
		return NFS4ERR_BAD_STATEID;
	struct nfs4_client *c = s->owner->client;
	if (c->ending || (k->minor ? c != k->client : !c->v40))
		return NFS4ERR_BAD_STATEID;
	if (k->minor == 0)
		nfs4_client_use(k, c); /* RFC 7530 9.5: it shows that its client lives */
	*ret = s;
	return NFS4_OK;
}

/* What was lent and was taken away: those that take an open's or a lock's know no such error. */
static enum nfs4_status revoked_status(const struct nfs4_call *k)
{
	switch (k->op) {
	case OP_CLOSE:
	case OP_LOCK:
	case OP_LOCKU:
	case OP_OPEN_DOWNGRADE:
	case OP_OFFLOAD_STATUS:
	case OP_OFFLOAD_CANCEL:
		return NFS4ERR_BAD_STATEID;
	default:
		return k->minor ? NFS4ERR_DELEG_REVOKED : NFS4ERR_BAD_STATEID;
	}
}

enum nfs4_status nfs4_state_current(const struct nfs4_call *k, const struct stateid *id,
				    const struct nfs4_state *s)
{
	if (s->closed)
		return NFS4ERR_BAD_STATEID;
	if (s->deleg && s->deleg->revoked)
		return revoked_status(k);
	if (s->owner->seq && !s->owner->seq->confirmed && k->op != OP_OPEN_CONFIRM)
		return NFS4ERR_BAD_STATEID;
	/* Zero: whatever it is now (RFC 8881 8.2.2). */
	if (id->seq == s->seq || (id->seq == 0 && k->minor))
		return NFS4_OK;
	return id->seq < s->seq ? NFS4ERR_OLD_STATEID : NFS4ERR_BAD_STATEID;
}

enum nfs4_status nfs4_state_find(struct nfs4_call *k, const struct stateid *id,
				 struct nfs4_state **ret)
{
	struct nfs4_state *s;
	enum nfs4_status st = nfs4_state_locate(k, id, &s);
	st = st ?: nfs4_state_current(k, id, s);
	if (!st)
		*ret = s;
	return st;
}

void nfs4_state_step(struct nfs4_call *k, struct nfs4_state *s)
{
	if (++s->seq == 0)
		s->seq = 1;
	nfs4_record_state(s);
	k->sid = nfs4_stateid_of(s);
	k->have_sid = true;
}

struct lock_file_key nfs4_file_key(const struct nfs4_call *k)
{
	return (struct lock_file_key){
	    .fs = k->c.mount->id, .ino = k->c.fid.ino, .generation = k->c.fid.generation};
}

/* ---- data under a stateid ---- */

enum nfs4_status nfs4_io_check(struct nfs4_call *k, const struct stateid *id, unsigned access)
{
	struct lock_file_key file = nfs4_file_key(k);
	bool write = access == LOCK_SHARE_WRITE;
	/* Before anybody is asked for the file. */
	if ((write || is_special(id)) && nfs_lent(&k->c) &&
	    !nfs_may_data(k->c.mount->fs, &k->c.cred, &k->c.fid, write))
		return NFS4ERR_ACCESS;
	enum nfs4_status st = nfs4_io_check_file(k, &file, id, access);
	if (st || !write)
		return st;
	return is_special(id) ? nfs4_change_unopened(k) : nfs4_change(k);
}

/* Of somebody who has not opened the file. */
static enum nfs4_status io_special(struct nfs4_call *k, const struct lock_file_key *file,
				   const struct stateid *id, unsigned access)
{
	/* In the grace period somebody may yet reclaim what forbids it. */
	if (nlm_phase(k->n->o.nlm) != NLM_GRANTING)
		return NFS4ERR_GRACE;
	/* "Read bypass" goes past reservations, to read. */
	if (id->seq && access == LOCK_SHARE_READ)
		return nfs4_use(k, file, DELEG_USE_READ, true);
	if (lock_share_denied(k->n->locks, file, access))
		return nfs4_client_make_way(k->n, false) ? NFS4ERR_DELAY : NFS4ERR_LOCKED;
	return access == LOCK_SHARE_WRITE ? NFS4_OK : nfs4_use(k, file, DELEG_USE_READ, true);
}

enum nfs4_status nfs4_io_check_file(struct nfs4_call *k, const struct lock_file_key *file,
				    const struct stateid *id, unsigned access)
{
	struct nfs4_state *s;
	if (is_special(id))
		return io_special(k, file, id, access);
	enum nfs4_status st = nfs4_state_find(k, id, &s);
	if (st)
		return st;
	if (!nfs4_same_file(&s->file, file))
		return NFS4ERR_BAD_STATEID;
	if (s->copy)
		return NFS4ERR_BAD_STATEID;
	if (s->deleg)
		return access == LOCK_SHARE_WRITE && s->deleg->d.kind == DELEG_READ
			   ? NFS4ERR_OPENMODE
			   : NFS4_OK;
	const struct nfs4_state *open = s->kind == OWNER_LOCK ? s->open : s;
	/* RFC 8881 9.1.2: reading under an open for writing may be allowed; clients that read
	 * around what they write depend on it. */
	if (access == LOCK_SHARE_WRITE && !(open->access & LOCK_SHARE_WRITE))
		return NFS4ERR_OPENMODE;
	return NFS4_OK;
}

bool nfs4_state_holds(const struct nfs4_client *c, const struct lock_file_key *file,
		      const struct stateid *id, unsigned access)
{
	const struct nfs4 *n = c->nfs4;
	if (is_special(id))
		return (id->seq && access == LOCK_SHARE_READ) ||
		       !lock_share_denied(n->locks, file, access);
	const struct nfs4_state *s = state_at(n, id);
	if (!s || s->owner->client != c || s->closed)
		return false;
	if (s->deleg)
		return !s->deleg->revoked;
	const struct nfs4_state *open = s->kind == OWNER_LOCK ? s->open : s;
	return access != LOCK_SHARE_WRITE || (open->access & LOCK_SHARE_WRITE);
}
