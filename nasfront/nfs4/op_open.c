/*
 * OPEN, CLOSE, OPEN_DOWNGRADE (RFC 8881 18.16, 18.2, 18.18; RFC 7530 16.16, 16.2, 16.19).
 *
 * An OPEN finds or makes its file (which waits), then takes its share reservation and state in one
 * go (which does not). An existing file that is to be emptied is so after the reservation.
 * Last, the file may be lent to the client (deleg4.c); it hears so when that is stable.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

struct open_args {
	uint32_t seqid;
	uint64_t client;
	uint32_t access, deny, create, mode, claim;
	uint32_t want, previous;    /* of delegations: wished for, held before a restart */
	struct stateid deleg;	    /* CLAIM_DELEGATE_CUR, CLAIM_DELEG_CUR_FH */
	enum nfs4_status bad_deleg; /* of it */
	const uint8_t *owner;
	uint32_t owner_len;
	uint64_t verifier;
	struct nfs4_name name;
	enum nfs4_status bad; /* of a name or attributes that were read over */
	struct nfs4_bitmap got;
	struct nfs4_sattr attr; /* last: it is large */
};

/* What was found. */
struct target {
	struct fs_attr a;
	bool made;
	struct fs_wcc dir;
	struct fs_attr dir_post;
};

/* ---- arguments ---- */

static bool get_how(struct nfs4_call *k, struct open_args *o)
{
	struct xdr_in *x = k->in;
	const uint8_t *v;
	if (!xdr_u32(x, &o->create) || o->create > OPEN4_CREATE)
		return false;
	if (!o->create)
		return true;
	if (!xdr_u32(x, &o->mode) ||
	    o->mode > (k->minor ? CREATE4_EXCLUSIVE4_1 : CREATE4_EXCLUSIVE))
		return false;
	if (o->mode >= CREATE4_EXCLUSIVE) {
		if (!xdr_fixed(x, NFS4_VERIFIER, &v))
			return false;
		o->verifier = be64_get(v);
	}
	if (o->mode == CREATE4_EXCLUSIVE)
		return true;
	o->bad = nfs4_get_sattr(k, x, &o->attr, &o->got);
	return o->bad != NFS4ERR_BADXDR;
}

static bool get_claim(struct nfs4_call *k, struct open_args *o)
{
	struct xdr_in *x = k->in;
	enum nfs4_status st = NFS4_OK;
	if (!xdr_u32(x, &o->claim) ||
	    o->claim > (k->minor ? CLAIM_DELEG_PREV_FH : CLAIM_DELEGATE_PREV))
		return false;
	if (o->claim == CLAIM_PREVIOUS &&
	    (!xdr_u32(x, &o->previous) || o->previous > OPEN_DELEGATE_WRITE))
		return false;
	if (o->claim == CLAIM_DELEGATE_CUR || o->claim == CLAIM_DELEG_CUR_FH)
		o->bad_deleg = nfs4_arg_stateid(k, &o->deleg);
	if (o->bad_deleg == NFS4ERR_BADXDR)
		return false;
	if (o->claim == CLAIM_NULL || o->claim == CLAIM_DELEGATE_CUR ||
	    o->claim == CLAIM_DELEGATE_PREV)
		st = nfs4_get_name(x, &o->name);
	o->bad = o->bad ?: st;
	return st != NFS4ERR_BADXDR;
}

/* What is wrong with them comes second, in check_open(): in version 4.0 the owner has counted. */
static bool get_open(struct nfs4_call *k, struct open_args *o)
{
	memset(o, 0, offsetof(struct open_args, attr.acl));
	if (!xdr_u32(k->in, &o->seqid) || !xdr_u32(k->in, &o->access) ||
	    !xdr_u32(k->in, &o->deny) || !xdr_u64(k->in, &o->client) ||
	    !xdr_opaque(k->in, NFS4_OPAQUE_LIMIT, &o->owner, &o->owner_len) || !get_how(k, o) ||
	    !get_claim(k, o))
		return false;
	if (k->minor) {
		o->want = o->access & OPEN4_SHARE_WANT_MASK;
		o->access &= ~(uint32_t)OPEN4_SHARE_WANT_MASK;
	}
	return true;
}

static enum nfs4_status check_open(const struct open_args *o)
{
	if (o->access < 1 || o->access > 3 || o->deny > 3 ||
	    (o->want & OPEN4_SHARE_WANT_WHAT) > OPEN4_SHARE_WANT_CANCEL)
		return NFS4ERR_INVAL;
	if (o->bad)
		return o->bad;
	if (o->claim != CLAIM_NULL && o->create)
		return NFS4ERR_INVAL;
	switch (o->claim) {
	case CLAIM_NULL:
	case CLAIM_FH:
	case CLAIM_PREVIOUS:
		return NFS4_OK;
	case CLAIM_DELEGATE_CUR:
	case CLAIM_DELEG_CUR_FH:
		return o->bad_deleg;
	default: /* RFC 8881 18.5.3: who does not support DELEGPURGE keeps nothing for these */
		return NFS4ERR_RECLAIM_BAD;
	}
}

/* ---- finding or making the file ---- */

static enum nfs4_status make_exclusive(struct nfs4_call *k, const struct open_args *o,
				       struct target *t)
{
	struct fs *fs = k->c.mount->fs;
	int rc = fs_create(fs, &k->c.cred, &k->c.fid, o->name.p, o->name.len, FS_CREATE_EXCLUSIVE,
			   &o->attr.set, o->verifier, &t->a, &t->dir);
	t->made = rc == 0;
	if (rc == 0 && o->attr.set.which) {
		struct fs_fid f = {.ino = t->a.ino, .generation = t->a.generation};
		rc = fs_setattr(fs, &k->c.cred, &f, &o->attr.set, NULL, NULL);
	}
	return nfs4_status_of(k, rc);
}

static enum nfs4_status find_or_make(struct nfs4_call *k, const struct open_args *o,
				     struct target *t)
{
	struct fs *fs = k->c.mount->fs;
	const struct fs_cred *cred = &k->c.cred;
	if (o->create && !k->c.rule->read_write && o->mode != CREATE4_UNCHECKED)
		return NFS4ERR_ROFS;
	if (o->create && o->mode >= CREATE4_EXCLUSIVE)
		return make_exclusive(k, o, t);
	bool done = o->create && fs_done_before(fs, cred);
	for (;;) {
		int rc = done ? -ENOENT
			      : fs_lookup(fs, cred, &k->c.fid, o->name.p, o->name.len, &t->a,
					  &t->dir_post);
		done = false;
		if (rc == 0 && o->create && o->mode == CREATE4_GUARDED)
			return NFS4ERR_EXIST;
		if (rc != -ENOENT || !o->create)
			return nfs4_status_of(k, rc);
		if (!k->c.rule->read_write)
			return NFS4ERR_ROFS;
		rc = fs_create(fs, cred, &k->c.fid, o->name.p, o->name.len, FS_CREATE_GUARDED,
			       &o->attr.set, 0, &t->a, &t->dir);
		t->made = rc == 0;
		/* Somebody else made it between the two: the next round finds it. */
		if (rc != -EEXIST || o->mode == CREATE4_GUARDED)
			return nfs4_status_of(k, rc);
	}
}

static bool by_name(const struct open_args *o)
{
	return o->claim == CLAIM_NULL || o->claim == CLAIM_DELEGATE_CUR;
}

static enum nfs4_status in_pseudo(struct nfs4_call *k, const struct open_args *o)
{
	if (!by_name(o))
		return NFS4ERR_ISDIR;
	const struct nfs4_pseudo *p = nfs4_pseudo_find(k->n, k->pseudo);
	p = p ? nfs4_pseudo_child(p, o->name.p, o->name.len) : NULL;
	enum nfs4_status st = p ? nfs4_pseudo_look(k, p) : NFS4ERR_NOENT;
	if (st != NFS4ERR_NOENT)
		return st ?: NFS4ERR_ISDIR;
	return o->create ? NFS4ERR_ROFS : NFS4ERR_NOENT;
}

static enum nfs4_status check_target(struct nfs4_call *k, const struct open_args *o,
				     const struct target *t)
{
	if (t->a.type != FS_REG)
		return t->a.type == FS_DIR   ? NFS4ERR_ISDIR
		       : t->a.type == FS_LNK ? NFS4ERR_SYMLINK
					     : NFS4ERR_WRONG_TYPE;
	if ((o->access & OPEN4_SHARE_ACCESS_WRITE) && !k->c.rule->read_write)
		return NFS4ERR_ROFS;
	/* Who made it may use it, whatever mode it was given. */
	if (t->made)
		return NFS4_OK;
	struct fs_fid f = {.ino = t->a.ino, .generation = t->a.generation};
	unsigned have = 0;
	enum nfs4_status st =
	    nfs4_status_of(k, fs_access(k->c.mount->fs, &k->c.cred, &f, 7, &have));
	if (st)
		return st;
	/* To execute is to read (version 3 has it so as well). */
	if ((o->access & OPEN4_SHARE_ACCESS_READ) && !(have & 5))
		return NFS4ERR_ACCESS;
	return (o->access & OPEN4_SHARE_ACCESS_WRITE) && !(have & 2) ? NFS4ERR_ACCESS : NFS4_OK;
}

/* ---- the state ---- */

/* OPEN has no OPENMODE: the delegation it claims is not one for that. */
static enum nfs4_status deleg_status(enum nfs4_status st)
{
	return st == NFS4ERR_OPENMODE ? NFS4ERR_INVAL : st;
}

/* What others were lent: an OPEN to read goes with a file lent to read, but not one that denies
 * reading. */
static enum nfs4_status check_lent(struct nfs4_call *k, const struct open_args *o)
{
	struct lock_file_key file = nfs4_file_key(k);
	bool change = (o->access & OPEN4_SHARE_ACCESS_WRITE) ||
		      (o->deny & OPEN4_SHARE_ACCESS_READ) || (o->attr.set.which & FS_SET_SIZE);
	if (o->claim == CLAIM_DELEGATE_CUR || o->claim == CLAIM_DELEG_CUR_FH)
		return deleg_status(nfs4_deleg_check(k, &o->deleg, o->access));
	return nfs4_use(k, &file, change ? DELEG_USE_CHANGE : DELEG_USE_READ, true);
}

static uint32_t pair_bit(unsigned access, unsigned deny)
{
	return 1u << (access | deny << 2);
}

/* Takes the reservation. *ret_new: the state did not exist. Does not wait. */
static enum nfs4_status share(struct nfs4_call *k, const struct open_args *o, bool *ret_new)
{
	struct lock_file_key file = nfs4_file_key(k);
	struct nfs4_owner *w = nfs4_owner_get(k->client, OWNER_OPEN, o->owner, o->owner_len);
	struct nfs4_state *s = w ? nfs4_state_of(w, &file) : NULL;
	*ret_new = !s;
	if (w && !s)
		s = nfs4_state_new(w, &file, NULL);
	if (!s) {
		nfs4_owner_check(w);
		return NFS4ERR_DELAY;
	}
	struct lock_ask a = nfs4_ask(s);
	int rc = lock_share(k->n->locks, &a, s->access | o->access, s->deny | o->deny);
	if (rc) {
		if (*ret_new)
			nfs4_state_free(s);
		if (o->claim == CLAIM_PREVIOUS && rc == -EAGAIN)
			return NFS4ERR_RECLAIM_CONFLICT;
		return nfs4_lock_later(k->n, rc) ? NFS4ERR_DELAY : NFS4ERR_SHARE_DENIED;
	}
	s->who = nfs4_who_calls(k->req);
	s->access |= o->access;
	s->deny |= o->deny;
	s->opened |= pair_bit(o->access, o->deny);
	nfs4_state_step(k, s);
	return NFS4_OK;
}

/* Empties an existing file; when that fails a new open is taken back. */
static enum nfs4_status truncate_open(struct nfs4_call *k, const struct open_args *o, bool new)
{
	const struct fs_setattr set = {.which = FS_SET_SIZE, .size = o->attr.set.size};
	struct stateid sid = k->sid;
	struct nfs4_state *s;
	if (!k->c.rule->read_write)
		return NFS4ERR_ROFS;
	enum nfs4_status st = nfs4_change(k);
	int rc = st ? 0 : fs_setattr(k->c.mount->fs, &k->c.cred, &k->c.fid, &set, NULL, NULL);
	st = st ?: nfs4_status_of(k, rc);
	if (st && new &&nfs4_state_find(k, &sid, &s) == NFS4_OK)
		nfs4_state_free(s);
	return st;
}

/* ---- OPEN ---- */

static void put_open(struct nfs4_call *k, const struct open_args *o, const struct target *t,
		     const struct nfs4_offer *offer)
{
	static const struct nfs4_bitmap none, size = {{1u << FATTR4_SIZE}};
	struct xdr_out *x = k->out;
	bool whole = t->dir.have_pre && t->dir.have_post;
	bool confirm = k->seq_owner && !k->seq_owner->seq->confirmed;
	bool notify = k->minor && nfs4_path_hoped(k->client);
	nfs4_put_stateid(x, &k->sid);
	xdr_put_bool(x, true);
	xdr_put_u64(x, whole ? t->dir.pre.change : t->dir_post.change);
	xdr_put_u64(x, whole ? t->dir.post.change : t->dir_post.change);
	xdr_put_u32(x, OPEN4_RESULT_LOCKTYPE_POSIX | (confirm ? OPEN4_RESULT_CONFIRM : 0) |
			   (notify ? OPEN4_RESULT_MAY_NOTIFY_LOCK : 0));
	nfs4_put_bitmap(x, t->made ? &o->got : (o->attr.set.which & FS_SET_SIZE) ? &size : &none);
	nfs4_put_offer(k, offer);
}

/* Version 4.0: whose OPEN it is, and that it was not done before. */
static enum nfs4_status begin_v40(struct nfs4_call *k, const struct open_args *o)
{
	enum nfs4_status st = nfs4_client_of(k, o->client);
	return st ?: nfs4_seq_open(k, o->owner, o->owner_len, o->seqid);
}

/* Version 4.0: it is kept before it has its first open. A reclaim needs no confirmation. */
static enum nfs4_status ready_v40(struct nfs4_call *k, const struct open_args *o)
{
	if (k->client->unkeeping || nfs4_client_keep(k->client))
		return NFS4ERR_DELAY;
	k->seq_owner->seq->confirmed |= o->claim == CLAIM_PREVIOUS;
	return NFS4_OK;
}

/* From version 4.1 on: it is kept since RECLAIM_COMPLETE, but for one that lost what it was lent
 * and has acknowledged that. */
static enum nfs4_status ready_v41(struct nfs4_call *k)
{
	struct nfs4_client *c = k->client;
	if (c->unkeeping)
		return NFS4ERR_DELAY;
	if (c->kept || !c->reclaim_done || c->nrevoked)
		return NFS4_OK;
	return nfs4_client_keep(c) ? NFS4ERR_DELAY : NFS4_OK;
}

/* After all else: a client that has to confirm its owner yet is lent nothing. */
static void offer(struct nfs4_call *k, const struct open_args *o, struct nfs4_offer *ret)
{
	bool confirm = k->seq_owner && !k->seq_owner->seq->confirmed;
	uint32_t want = confirm ? OPEN4_SHARE_WANT_NONE : o->want;
	*ret = (struct nfs4_offer){.type = OPEN_DELEGATE_NONE};
	if (o->claim == CLAIM_PREVIOUS)
		nfs4_deleg_reclaim(k, o->previous, ret);
	else if (o->claim == CLAIM_NULL || o->claim == CLAIM_FH)
		nfs4_deleg_offer(k, o->access, want, ret);
}

/* The file, and that it may be opened; it is the current one then. */
static enum nfs4_status open_target(struct nfs4_call *k, const struct open_args *o,
				    struct target *t)
{
	enum nfs4_status st;
	if (k->kind == FH_PSEUDO)
		return in_pseudo(k, o);
	if (by_name(o)) {
		st = find_or_make(k, o, t);
	} else {
		st = nfs4_status_of(k, fs_getattr(k->c.mount->fs, &k->c.fid, &t->a));
		t->dir_post = t->a;
	}
	st = st ?: check_target(k, o, t);
	if (!st && t->made && o->attr.have_acl) {
		const struct fs_fid made = {.ino = t->a.ino, .generation = t->a.generation};
		st = nfs4_acl_store(k, &made, &o->attr.acl);
	}
	if (!st)
		nfs4_fh_file(k, &t->a);
	return st;
}

enum nfs4_status nfs4_op_open(struct nfs4_call *k)
{
	struct open_args o;
	struct target t = {.made = false};
	struct nfs4_offer lent;
	bool new;
	if (!get_open(k, &o))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = k->minor ? NFS4_OK : begin_v40(k, &o);
	st = st ?: check_open(&o);
	st = st ?: nfs4_reclaim_check(k->client, o.claim == CLAIM_PREVIOUS);
	st = st ?: open_target(k, &o, &t);
	st = st ?: k->minor ? ready_v41(k) : ready_v40(k, &o);
	st = st ?: check_lent(k, &o);
	st = st ?: share(k, &o, &new);
	if (!st && !t.made && (o.attr.set.which & FS_SET_SIZE))
		st = truncate_open(k, &o, new);
	if (st)
		return st;
	offer(k, &o, &lent);
	put_open(k, &o, &t, &lent);
	return NFS4_OK;
}

/* ---- CLOSE, OPEN_DOWNGRADE ---- */

/* The open a stateid means, of the current file. */
static enum nfs4_status find_open(struct nfs4_call *k, const struct stateid *sid, uint32_t seqid,
				  struct nfs4_state **ret)
{
	enum nfs4_status st = nfs4_seq_state(k, sid, seqid, ret);
	struct lock_file_key f = nfs4_file_key(k);
	if (st)
		return st;
	if ((*ret)->kind != OWNER_OPEN || (*ret)->file.ino != f.ino || (*ret)->file.fs != f.fs)
		return NFS4ERR_BAD_STATEID;
	return NFS4_OK;
}

enum nfs4_status nfs4_op_close(struct nfs4_call *k)
{
	static const struct stateid closed = {.seq = UINT32_MAX};
	struct nfs4_state *s;
	struct stateid sid;
	uint32_t seqid;
	if (!xdr_u32(k->in, &seqid))
		return NFS4ERR_BADXDR;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	st = st ?: find_open(k, &sid, seqid, &s);
	if (st)
		return st;
	if (k->minor == 0) {
		nfs4_state_step(k, s);
		nfs4_put_stateid(k->out, &k->sid);
		nfs4_state_close(s);
		return NFS4_OK;
	}
	nfs4_state_free(s);
	/* RFC 8881 18.2.4: one that is never valid. */
	k->sid = closed;
	k->have_sid = true;
	nfs4_put_stateid(k->out, &closed);
	return NFS4_OK;
}

/* Only to what was opened: the union of such pairs as lie within it. */
static bool was_opened(const struct nfs4_state *s, unsigned access, unsigned deny, uint32_t *ret)
{
	unsigned a = 0, d = 0;
	*ret = 0;
	for (unsigned i = 0; i < 16; i++) {
		if (!(s->opened >> i & 1) || (i & 3 & ~access) || (i >> 2 & ~deny))
			continue;
		a |= i & 3;
		d |= i >> 2;
		*ret |= 1u << i;
	}
	return a == access && d == deny;
}

enum nfs4_status nfs4_op_open_downgrade(struct nfs4_call *k)
{
	struct nfs4_state *s;
	struct stateid sid;
	uint32_t seqid, access, deny, opened;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u32(k->in, &seqid) || !xdr_u32(k->in, &access) ||
	    !xdr_u32(k->in, &deny))
		return NFS4ERR_BADXDR;
	if (k->minor)
		access &= ~(uint32_t)OPEN4_SHARE_WANT_MASK;
	st = st ?: find_open(k, &sid, seqid, &s);
	if (st)
		return st;
	if (access < 1 || access > 3 || deny > 3 || !was_opened(s, access, deny, &opened))
		return NFS4ERR_INVAL;
	struct lock_ask a = nfs4_ask(s);
	if (lock_share(k->n->locks, &a, access, deny))
		return NFS4ERR_SERVERFAULT; /* less than it had conflicts with nothing */
	s->access = access;
	s->deny = deny;
	s->opened = opened;
	nfs4_state_step(k, s);
	nfs4_put_stateid(k->out, &k->sid);
	return NFS4_OK;
}
