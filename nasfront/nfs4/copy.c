/*
 * Copies that go on after their answer (RFC 7862 4.6, 15.2, 16.1).
 *
 *   started -> a task copies, piece by piece -> ended: CB_OFFLOAD until the client has heard ->
 * gone
 *           -> given up: OFFLOAD_CANCEL, the client's lease ran out, it goes  -> gone
 *
 * OFFLOAD_CANCEL is answered when the piece under way has ended: what is written behind the answer
 * nobody overwrites.
 *
 * A copy is a state of its client (state.c), so it goes with it; the task finds out between two
 * pieces. It goes on while what let it begin holds: the two stateids, the table of exports, both
 * file systems being served. When one of them ends, or something fails, behind the first piece,
 * what was copied is told, as when a copy is done at once: the next COPY meets the reason.
 *
 * What is written is unstable: the client is told the verifier of before the first write, commits,
 * and copies again if the verifier has changed.
 *
 * A successor does not go on with a copy. How far it was, as recorded at the end of each turn, is
 * its end there, a short count; DELAY where there is none: the client asks for the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/log.h"

#define COPY_STEP     (256u << 10)
#define COPY_TURN     (8u << 20) /* then whatever else there is has its turn */
#define COPIES_MAX    64	 /* tasks of the head */
#define COPIES_CLIENT 8		 /* of a client, with those whose end it has not heard of */

/* One of the two files, held. */
struct file {
	struct nfs_mount *mount;
	struct fs_cred cred;
	struct group_list *groups; /* cred's */
	struct fs_fid fid;
	struct stateid sid;
	uint64_t off;
};

struct nfs4_copy {
	struct nfs4 *n;
	struct nfs4_state *state; /* NULL: nobody waits for it */
	bool ended;		  /* there is no task */
	bool cancelled;
	unsigned waits; /* for its end */
	struct waitq over;
	enum nfs4_status status;
	uint64_t count, done, since, verifier, generation;
	struct deleg_change change;
	struct file from, to;
	uint8_t fh[FH_SIZE];
	struct fs_read read;
};

/* ---- pieces ---- */

int nfs4_copy_piece(const struct nfs4_copy_file *from, const struct nfs4_copy_file *to,
		    uint64_t len, struct fs_read *r)
{
	struct fs_attr a;
	int rc = fs_read(from->fs, from->cred, from->fid, from->off,
			 (uint32_t)MIN(len, (uint64_t)COPY_STEP), r, &a);
	if (rc < 0)
		return rc;
	uint32_t got = r->len;
	if (got)
		rc = fs_write(to->fs, to->cred, to->fid, to->off, r->iov, r->iovcnt,
			      FS_WRITE_UNSTABLE, NULL);
	fs_read_done(from->fs, r);
	return rc < 0 ? rc : (int)got;
}

static struct nfs4_copy_file place(const struct nfs4_copy *c, const struct file *f)
{
	return (struct nfs4_copy_file){
	    .fs = f->mount->fs, .cred = &f->cred, .fid = &f->fid, .off = f->off + c->done};
}

static struct lock_file_key key_of(const struct file *f)
{
	return (struct lock_file_key){
	    .fs = f->mount->id, .ino = f->fid.ino, .generation = f->fid.generation};
}

/* What let it begin holds no more: why. */
static enum nfs4_status stopped(const struct nfs4_copy *c)
{
	const struct nfs4_client *client = c->state->owner->client;
	const struct lock_file_key from = key_of(&c->from), to = key_of(&c->to);
	uint64_t generation;
	nfs_table(c->n->o.nfs, &generation);
	if (c->from.mount->leaving || c->to.mount->leaving || generation != c->generation)
		return NFS4ERR_DELAY;
	return nfs4_state_holds(client, &from, &c->from.sid, LOCK_SHARE_READ) &&
		       nfs4_state_holds(client, &to, &c->to.sid, LOCK_SHARE_WRITE)
		   ? NFS4_OK
		   : NFS4ERR_BAD_STATEID;
}

static enum nfs4_status status_of(int rc)
{
	enum nfsstat3 st = nfs3_status(rc);
	return st < NFS_AGAIN ? (enum nfs4_status)st : NFS4ERR_DELAY;
}

static bool wanted(const struct nfs4_copy *c)
{
	return c->state && !c->cancelled && !c->n->stopping && !nfs_fenced(c->n->o.nfs);
}

/* ---- the task ---- */

static void let_go(struct nfs4_copy *c, struct file *f)
{
	group_list_put(f->groups);
	nfs_mount_release(f->mount);
}

/* Tells the client. Without memory it asks, in time (OFFLOAD_STATUS). */
static void tell(struct nfs4_copy *c)
{
	struct stateid sid = nfs4_stateid_of(c->state);
	struct nfs4_cb cb;
	nfs4_cb_offload(&cb, &sid, c->fh, c->status, c->done, c->verifier);
	if (!nfs4_note(c->state->owner->client, &cb, &sid))
		log_warn("nfs4: no memory to say that a copy has ended");
}

/* Where nothing is waited for, as with a volume in memory, a yield alone would let other tasks run
 * but not what comes from outside. */
static void others_first(struct nfs4_copy *c, int got)
{
	c->since += got > 0 ? (unsigned)got : 0;
	if (c->since < COPY_TURN) {
		task_yield();
		return;
	}
	c->since = 0;
	if (c->state)
		nfs4_record_state(c->state);
	env_sleep_ns(c->n->o.env, NS_PER_MS);
}

static void check_free(struct nfs4_copy *c)
{
	if (c->ended && !c->state && !c->waits)
		free(c);
}

static void copy_task(void *arg)
{
	struct nfs4_copy *c = arg;
	struct nfs4 *n = c->n;
	int rc = 1;
	while (c->done < c->count && rc > 0 && wanted(c) && !(c->status = stopped(c))) {
		struct nfs4_copy_file from = place(c, &c->from), to = place(c, &c->to);
		rc = nfs4_copy_piece(&from, &to, c->count - c->done, &c->read);
		c->done += rc > 0 ? (unsigned)rc : 0;
		others_first(c, rc);
	}
	if (rc < 0)
		c->status = status_of(rc);
	if (c->done)
		c->status = NFS4_OK;
	deleg_change_end(n->delegs, &c->change);
	let_go(c, &c->from);
	let_go(c, &c->to);
	c->ended = true;
	if (wanted(c)) {
		nfs4_record_state(c->state);
		tell(c);
	}
	waitq_wake_all(&c->over);
	check_free(c);
	if (--n->ncopying == 0)
		waitq_wake_all(&n->copied);
}

/* ---- beginning ---- */

static void hold(struct file *f, struct group_list *groups)
{
	f->groups = groups;
	if (groups)
		groups->answer.refs++;
	nfs_mount_hold(f->mount);
}

static void fill(struct nfs4_copy *c, struct nfs4_call *k, const struct nfs4_copy_args *a)
{
	const struct nfs4_saved *s = &k->saved;
	uint8_t fh[4 + FH_SIZE];
	struct xdr_out x = xdr_out_of(fh, sizeof(fh));
	c->n = k->n;
	waitq_init(&c->over);
	c->count = a->count;
	c->from = (struct file){
	    .mount = s->mount, .cred = s->cred, .fid = s->fid, .sid = a->from_id, .off = a->from};
	c->to = (struct file){
	    .mount = k->c.mount, .cred = k->c.cred, .fid = k->c.fid, .sid = a->to_id, .off = a->to};
	c->to.cred.once = NULL; /* it outlives the call */
	c->verifier = fs_write_verifier(k->c.mount->fs);
	nfs_table(k->n->o.nfs, &c->generation);
	nfs4_put_fh(&x, k->c.mount, k->c.exp, &k->c.fid);
	ASSERT(!x.full && xdr_out_len(&x) == sizeof(fh));
	memcpy(c->fh, fh + 4, FH_SIZE);
	hold(&c->from, s->groups);
	hold(&c->to, k->c.groups);
	/* Until it has ended the file is not lent. */
	c->change = k->c.change;
	k->c.change.slot = 0;
}

/* NULL: no room. */
static struct nfs4_state *state_new(struct nfs4_call *k)
{
	struct lock_file_key file = nfs4_file_key(k);
	struct nfs4_owner *o = nfs4_owner_get(k->client, OWNER_COPY, NULL, 0);
	struct nfs4_state *s = o ? nfs4_state_new(o, &file, NULL) : NULL;
	if (!s)
		nfs4_owner_check(o);
	else
		s->seq = 1;
	return s;
}

enum nfs4_status nfs4_copy_start(struct nfs4_call *k, const struct nfs4_copy_args *a,
				 struct stateid *ret, uint64_t *ret_verifier)
{
	struct nfs4 *n = k->n;
	if (n->stopping || n->ncopying >= COPIES_MAX || k->client->ncopies >= COPIES_CLIENT ||
	    !nfs4_path_hoped(k->client))
		return NFS4ERR_DELAY;
	struct nfs4_copy *c = calloc(1, sizeof(*c));
	struct nfs4_state *s = c ? state_new(k) : NULL;
	if (!s) {
		free(c);
		return NFS4ERR_DELAY;
	}
	fill(c, k, a);
	c->state = s;
	s->copy = c;
	k->client->ncopies++;
	*ret = nfs4_stateid_of(s);
	*ret_verifier = c->verifier;
	n->ncopying++;
	if (task_start(copy_task, c) == 0) {
		nfs4_record_state(s);
		k->keeps = k->kept_op = true;
		return NFS4_OK;
	}
	n->ncopying--;
	k->c.change = c->change;
	let_go(c, &c->from);
	let_go(c, &c->to);
	c->ended = true;
	nfs4_state_free(s);
	return NFS4ERR_DELAY;
}

int nfs4_copy_restore(struct nfs4_state *s, const uint8_t fh[FH_SIZE], uint64_t done,
		      uint64_t verifier, bool ended, enum nfs4_status status)
{
	struct nfs4_copy *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->n = s->owner->client->nfs4;
	c->state = s;
	waitq_init(&c->over);
	c->ended = true;
	c->done = done;
	c->verifier = verifier;
	c->status = ended ? status : done ? NFS4_OK : NFS4ERR_DELAY;
	memcpy(c->fh, fh, FH_SIZE);
	s->copy = c;
	s->owner->client->ncopies++;
	tell(c);
	return 0;
}

/* ---- its state ---- */

const uint8_t *nfs4_copy_fh(const struct nfs4_copy *c, uint64_t *ret_verifier)
{
	*ret_verifier = c->verifier;
	return c->fh;
}

uint64_t nfs4_copy_progress(const struct nfs4_copy *c, bool *ret_ended,
			    enum nfs4_status *ret_status)
{
	*ret_ended = c->ended;
	*ret_status = c->status;
	return c->done;
}

void nfs4_copy_end(struct nfs4_state *s)
{
	struct nfs4_copy *c = s->copy;
	struct stateid sid = nfs4_stateid_of(s);
	struct nfs4_client *client = s->owner->client;
	client->ncopies--;
	nfs4_note_drop(client, &sid);
	c->state = NULL;
	check_free(c);
}

void nfs4_copy_cancel(struct nfs4_state *s)
{
	struct nfs4_copy *c = s->copy;
	c->cancelled = true;
	c->waits++;
	while (!c->ended)
		waitq_wait(&c->over);
	c->waits--;
	if (c->state) /* it may have gone meanwhile */
		nfs4_state_free(c->state);
	else
		check_free(c);
}

static struct nfs4_owner *owner_of(struct nfs4_client *c)
{
	return nfs4_owner_find(c, OWNER_COPY, NULL, 0);
}

void nfs4_copy_heard(struct nfs4_client *c, const struct stateid *sid)
{
	struct nfs4_owner *o = owner_of(c);
	struct nfs4_state *s;
	if (!o)
		return;
	LIST_FOREACH (s, &o->states, owned) {
		struct stateid have = nfs4_stateid_of(s);
		if (memcmp(have.other, sid->other, NFS4_OTHER) == 0) {
			nfs4_state_free(s);
			return;
		}
	}
}

void nfs4_copies_end(struct nfs4_client *c)
{
	struct nfs4_owner *o = owner_of(c);
	if (o)
		nfs4_owner_free(o);
}
