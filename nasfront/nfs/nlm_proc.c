/*
 * The procedures of NLM. Each asynchronous one (_MSG) does what its synchronous fellow does, is
 * answered with nothing, and its result goes to the client as a call (_RES) of our own.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/err.h"

/* One call while it is worked on. */
struct call {
	struct nlm *n;
	struct rpc_req *req;
	struct nlm_args a;
	struct nlm_client *client; /* held */
	struct lock_file_key file;
	struct lock_info by; /* TEST: in the way */
	bool found;
	uint8_t holder[LOCK_OWNER_MAX];
};

/* ---- which file ---- */

static enum nlm_stat stat_of_nfs(enum nfsstat3 st)
{
	switch (st) {
	case NFS3_OK:
		return NLM_GRANTED;
	case NFS3ERR_STALE:
	case NFS3ERR_BADHANDLE:
		return NLM_STALE_FH;
	case NFS3ERR_ROFS:
		return NLM_ROFS;
	case NFS3ERR_JUKEBOX: /* not mounted yet: the client is to ask again */
		return NLM_DENIED_GRACE_PERIOD;
	case NFS_FENCED:
		return NLM_FENCED;
	default:
		return NLM_FAILED;
	}
}

/* Who may neither read nor write a file may not stand in the way of those who do. */
static void may_lock(struct nfs_call *c)
{
	struct fs_attr at;
	unsigned have = 0;
	int rc = fs_getattr(c->mount->fs, &c->fid, &at);
	if (rc == 0)
		rc = fs_access(c->mount->fs, &c->cred, &c->fid, 6, &have);
	nfs_result(c, rc);
	if (rc == 0 && (at.type != FS_REG || (at.uid != c->cred.uid && !have)))
		c->status = at.type == FS_REG ? NFS3ERR_ACCES : NFS3ERR_INVAL;
}

static enum nlm_stat file_open(struct call *k, bool modifies)
{
	struct nfs_call *c = nfs_begin_handle(k->req, k->n->o.nfs, k->a.fh.p, k->a.fh.len,
					      NFS_ANY_FLAVOR | (modifies ? NFS_MODIFIES : 0));
	if (c->status == NFS3_OK)
		may_lock(c);
	if (c->status == NFS3_OK)
		k->file = (struct lock_file_key){
		    .fs = c->mount->id, .ino = c->fid.ino, .generation = c->fid.generation};
	enum nlm_stat st = stat_of_nfs(c->status);
	nfs_end(c);
	return st;
}

/* For giving up what the host itself holds: the file may have gone. */
static enum nlm_stat file_name(struct call *k)
{
	return stat_of_nfs(nfs_give_up(k->n->o.nfs, k->req, k->a.fh.p, k->a.fh.len, &k->file));
}

static struct lock_ask ask_of(struct call *k)
{
	return (struct lock_ask){.file = k->file,
				 .client = k->client->locks,
				 .owner = k->a.owner,
				 .owner_len = k->a.owner_len,
				 .kind = k->a.exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED,
				 .range = k->a.range};
}

/* A client of NFSv4 has the file, and may keep locks of its own in it: not yet. */
static bool lent(struct call *k, bool exclusive)
{
	return deleg_in_way(nfs_delegs(k->n->o.nfs), &k->file,
			    exclusive ? DELEG_USE_CHANGE : DELEG_USE_READ, NULL, false);
}

/* ---- the four ---- */

/* After a restart only what was held before is granted; later nobody can have held something. */
static bool not_now(const struct nlm *n, bool reclaim)
{
	return nlm_phase(n) != (reclaim ? NLM_GRACE : NLM_GRANTING);
}

static enum nlm_stat do_test(struct call *k)
{
	enum nlm_stat st = file_open(k, false);
	if (st)
		return st;
	if (not_now(k->n, false) || lent(k, k->a.exclusive))
		return NLM_DENIED_GRACE_PERIOD;
	struct lock_ask a = ask_of(k);
	if (lock_test(k->n->table, &a, &k->by) == 0)
		return NLM_GRANTED;
	/* A copy: the reply is written later. */
	memcpy(k->holder, k->by.owner, k->by.owner_len);
	k->by.owner = k->holder;
	k->found = true;
	return NLM_DENIED;
}

/* A later state number says that the client was restarted, if its SM_NOTIFY was lost. */
static void see_state(struct nlm_client *c, uint32_t state)
{
	if (!state || c->state == state)
		return;
	if (c->state && state > c->state)
		nlm_client_reboot(c, "a new state number");
	c->state = state;
	nlm_record_host(c);
}

static enum nlm_stat lock_now(struct call *k, bool block, bool msg)
{
	struct nlm *n = k->n;
	struct lock_ask a = ask_of(k);
	struct nlm_out *o = nlm_grant_find(k->client, &k->a, &k->file), *wait;
	if (o) /* it asks again, and we were about to tell it */
		nlm_settle(o);
	if (!block) {
		switch (lock_set(n->table, &a)) {
		case 0:
			return NLM_GRANTED;
		case -EAGAIN:
			return NLM_DENIED;
		default:
			return NLM_DENIED_NOLOCKS;
		}
	}
	wait = nlm_wait_new(k->client, &k->a, &k->file, msg);
	if (!wait)
		return NLM_DENIED_NOLOCKS;
	int rc = lock_set_wait(n->table, &a, wait);
	if (rc == -EINPROGRESS && nlm_store_full(n, k->client->locks)) {
		lock_wait_cancel(lock_wait_find(n->table, &a));
		rc = -ENOLCK;
	}
	if (rc == -EINPROGRESS) {
		nlm_record_wait(wait);
		return NLM_BLOCKED;
	}
	nlm_out_free(wait);
	switch (rc) {
	case 0:
		return NLM_GRANTED;
	case -EALREADY:
		return NLM_BLOCKED;
	case -EDEADLK:
		return k->a.vers == 1 ? NLM_DENIED : NLM_DEADLCK;
	default:
		return NLM_DENIED_NOLOCKS;
	}
}

static enum nlm_stat do_lock(struct call *k, bool monitored, bool msg)
{
	enum nlm_stat st = file_open(k, k->a.exclusive);
	if (st)
		return st;
	if (not_now(k->n, k->a.reclaim))
		return NLM_DENIED_GRACE_PERIOD;
	if (!nlm_client_room(k->client) || (monitored && nlm_client_monitor(k->client)))
		return NLM_DENIED_NOLOCKS;
	if (monitored)
		see_state(k->client, k->a.state);
	if (lent(k, k->a.exclusive))
		return NLM_DENIED_GRACE_PERIOD;
	return lock_now(k, monitored && k->a.block && !k->a.reclaim, msg);
}

static enum nlm_stat do_unlock(struct call *k)
{
	enum nlm_stat st = file_name(k);
	if (st)
		return st;
	struct lock_ask a = ask_of(k);
	nlm_grants_known(k->client, &k->a, &k->file);
	return lock_unset(k->n->table, &a) ? NLM_DENIED_NOLOCKS : NLM_GRANTED;
}

/* Also of what was granted and the client does not know of yet. */
static enum nlm_stat do_cancel(struct call *k)
{
	enum nlm_stat st = file_name(k);
	if (st)
		return st;
	struct lock_ask a = ask_of(k);
	struct lock_wait *w = lock_wait_find(k->n->table, &a);
	struct nlm_out *o = nlm_grant_find(k->client, &k->a, &k->file);
	if (w) {
		nlm_out_free(lock_wait_user(w));
		lock_wait_cancel(w);
		return NLM_GRANTED;
	}
	if (!o)
		return NLM_DENIED;
	nlm_settle(o);
	return lock_unset(k->n->table, &a) ? NLM_DENIED_NOLOCKS : NLM_GRANTED;
}

/* ---- around them ---- */

/* Who calls, held. A host that no export admits is nobody: it takes no room, and is not called. */
static enum nlm_stat client_hold(struct call *k)
{
	bool port, known = nfs_host_known(k->n->o.nfs, k->req, &port);
	k->client = known ? nlm_client_get(k->n, k->req, &k->a.name)
			  : nlm_client_find(k->n, &k->a.name, rpc_conn_peer_text(k->req->conn));
	k->req->forget = !k->client;
	if (!k->client)
		return known ? NLM_DENIED_NOLOCKS : NLM_FAILED;
	k->client->refs++;
	return NLM_GRANTED;
}

static enum nlm_stat do_op(struct call *k, enum nlm_op op, bool msg)
{
	if (k->a.too_big)
		return NLM_FBIG;
	switch (op) {
	case NLM_TEST:
		return do_test(k);
	case NLM_LOCK:
	case NLM_NM_LOCK:
		return do_lock(k, op == NLM_LOCK, msg);
	case NLM_CANCEL:
		return do_cancel(k);
	case NLM_UNLOCK:
		return do_unlock(k);
	}
	return NLM_FAILED;
}

static enum nlm_stat run(struct call *k, enum nlm_op op, bool msg)
{
	enum nlm_stat st = client_hold(k);
	if (st)
		return st;
	st = do_op(k, op, msg);
	if (op != NLM_TEST)
		store_sync(k->n->store);
	k->client->refs--;
	/* What failed because of that is not the answer: whoever took over has it. */
	return nfs_fenced(k->n->o.nfs) ? NLM_FENCED : st;
}

/* Locks are kept where the file is. */
static int relay(const struct call *k)
{
	return nfs_relay_handle(k->n->o.nfs, k->req, k->a.fh.p, k->a.fh.len);
}

static void put_result(struct xdr_out *x, const struct call *k, enum nlm_stat st)
{
	nlm_put_obj(x, &k->a.cookie);
	xdr_put_u32(x, nlm_wire_stat(k->a.vers, st));
	if (k->found)
		nlm_put_holder(x, k->a.vers, &k->by);
}

static int answer(struct rpc_req *req, void *arg, enum nlm_op op)
{
	struct call k = {.n = arg, .req = req, .a = {.vers = req->vers}};
	if (!nlm_get_lock(&req->args, &k.a, op))
		return RPC_GARBAGE_ARGS;
	int relayed = relay(&k);
	if (relayed >= 0)
		return relayed;
	if (!rpc_reply_reserve(req, NLM_REPLY_MAX))
		return RPC_SYSTEM_ERR;
	enum nlm_stat st = run(&k, op, false);
	if (st == NLM_FENCED)
		return RPC_DROP;
	put_result(&req->out, &k, st);
	return RPC_SUCCESS;
}

static int answer_msg(struct rpc_req *req, void *arg, enum nlm_op op)
{
	struct call k = {.n = arg, .req = req, .a = {.vers = req->vers}};
	uint8_t res[NLM_REPLY_MAX];
	struct xdr_out x = xdr_out_of(res, sizeof(res));
	if (!nlm_get_lock(&req->args, &k.a, op))
		return RPC_GARBAGE_ARGS;
	int relayed = relay(&k);
	if (relayed >= 0)
		return relayed;
	enum nlm_stat st = run(&k, op, true);
	if (st == NLM_FENCED)
		return RPC_DROP;
	put_result(&x, &k, st);
	if (k.client) /* TEST_RES is 11, LOCK_RES 12, … */
		nlm_send_result(k.client, req->vers, 10 + op, res, (uint32_t)xdr_out_len(&x));
	return RPC_SUCCESS;
}

static int nlm_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

#define PROCEDURE(name, how, op)                                                                   \
	static int name(struct rpc_req *req, void *arg)                                            \
	{                                                                                          \
		return how(req, arg, op);                                                          \
	}
PROCEDURE(nlm_test, answer, NLM_TEST)
PROCEDURE(nlm_lock, answer, NLM_LOCK)
PROCEDURE(nlm_cancel, answer, NLM_CANCEL)
PROCEDURE(nlm_unlock, answer, NLM_UNLOCK)
PROCEDURE(nlm_nm_lock, answer, NLM_NM_LOCK)
PROCEDURE(nlm_test_msg, answer_msg, NLM_TEST)
PROCEDURE(nlm_lock_msg, answer_msg, NLM_LOCK)
PROCEDURE(nlm_cancel_msg, answer_msg, NLM_CANCEL)
PROCEDURE(nlm_unlock_msg, answer_msg, NLM_UNLOCK)

/* GRANTED is for clients; we wait for nobody's lock. */
static int nlm_granted_here(struct rpc_req *req, void *arg)
{
	struct nlm_args a = {.vers = req->vers};
	if (!nlm_get_lock(&req->args, &a, NLM_TEST))
		return RPC_GARBAGE_ARGS;
	if (req->proc == NLM_PROC_GRANTED_MSG)
		return RPC_SUCCESS;
	if (!rpc_reply_reserve(req, NLM_REPLY_MAX))
		return RPC_SYSTEM_ERR;
	nlm_put_obj(&req->out, &a.cookie);
	xdr_put_u32(&req->out, NLM_DENIED);
	return RPC_SUCCESS;
}

/* Results of what we asked by _MSG: only GRANTED. */
static int nlm_res(struct rpc_req *req, void *arg)
{
	struct nlm_obj cookie;
	uint32_t stat;
	if (!nlm_get_obj(&req->args, &cookie) || !xdr_u32(&req->args, &stat))
		return RPC_GARBAGE_ARGS;
	if (req->proc == 15 && cookie.len == 8)
		nlm_granted_res(arg, rpc_conn_peer_text(req->conn), be64_get(cookie.p), stat);
	return RPC_SUCCESS;
}

/* ---- share reservations ---- */

static enum nlm_stat do_share(struct call *k)
{
	enum nlm_stat st = file_open(k, k->a.access & LOCK_SHARE_WRITE);
	if (st)
		return st;
	if (not_now(k->n, k->a.reclaim))
		return NLM_DENIED_GRACE_PERIOD;
	/* PC clients have no state monitor, but others send SHARE too. */
	if (!nlm_client_room(k->client) || nlm_client_monitor(k->client))
		return NLM_DENIED_NOLOCKS;
	if (lent(k, (k->a.access & LOCK_SHARE_WRITE) || (k->a.mode & LOCK_SHARE_READ)))
		return NLM_DENIED_GRACE_PERIOD;
	struct lock_ask a = ask_of(k);
	int rc = lock_share(k->n->table, &a, k->a.access, k->a.mode);
	return rc == 0 ? NLM_GRANTED : rc == -EAGAIN ? NLM_DENIED : NLM_DENIED_NOLOCKS;
}

static enum nlm_stat do_unshare(struct call *k)
{
	enum nlm_stat st = file_name(k);
	if (st)
		return st;
	struct lock_ask a = ask_of(k);
	lock_unshare(k->n->table, &a);
	return NLM_GRANTED;
}

static int nlm_share(struct rpc_req *req, void *arg)
{
	struct call k = {.n = arg, .req = req, .a = {.vers = req->vers}};
	if (!nlm_get_share(&req->args, &k.a))
		return RPC_GARBAGE_ARGS;
	int relayed = relay(&k);
	if (relayed >= 0)
		return relayed;
	if (!rpc_reply_reserve(req, NLM_REPLY_MAX))
		return RPC_SYSTEM_ERR;
	enum nlm_stat st = client_hold(&k);
	if (!st) {
		st = req->proc == 20 ? do_share(&k) : do_unshare(&k);
		store_sync(k.n->store);
		k.client->refs--;
		st = nfs_fenced(k.n->o.nfs) ? NLM_FENCED : st;
	}
	if (st == NLM_FENCED)
		return RPC_DROP;
	nlm_put_obj(&req->out, &k.a.cookie);
	xdr_put_u32(&req->out, nlm_wire_stat(k.a.vers, st));
	xdr_put_u32(&req->out, 0); /* sequence: nobody uses it */
	return RPC_SUCCESS;
}

/* A client that was restarted and has no state monitor: the host itself, not anybody on it. */
static int nlm_free_all(struct rpc_req *req, void *arg)
{
	struct nlm *n = arg;
	struct nlm_obj name;
	uint32_t state;
	if (!nlm_get_string(&req->args, &name) || !xdr_u32(&req->args, &state))
		return RPC_GARBAGE_ARGS;
	struct nlm_client *c = nlm_client_find(n, &name, rpc_conn_peer_text(req->conn));
	if (c && nlm_host_speaks(n, req))
		nlm_client_reboot(c, "FREE_ALL");
	store_sync(n->store);
	int relayed = nfs_relay_all(n->o.nfs, req);
	return relayed >= 0 ? relayed : RPC_SUCCESS;
}

const struct rpc_proc nlm_procs[NLM_PROCS] = {
    [0] = {"NLM NULL", nlm_null, NULL, 0},
    [1] = {"TEST", NULL, nlm_test, 0},
    [2] = {"LOCK", NULL, nlm_lock, RPC_CACHED},
    [3] = {"CANCEL", NULL, nlm_cancel, RPC_CACHED},
    [4] = {"UNLOCK", NULL, nlm_unlock, RPC_CACHED},
    [5] = {"GRANTED", NULL, nlm_granted_here, 0},
    [6] = {"TEST_MSG", NULL, nlm_test_msg, 0},
    [7] = {"LOCK_MSG", NULL, nlm_lock_msg, RPC_CACHED},
    [8] = {"CANCEL_MSG", NULL, nlm_cancel_msg, RPC_CACHED},
    [9] = {"UNLOCK_MSG", NULL, nlm_unlock_msg, RPC_CACHED},
    [10] = {"GRANTED_MSG", NULL, nlm_granted_here, 0},
    [11] = {"TEST_RES", nlm_res, NULL, 0},
    [12] = {"LOCK_RES", nlm_res, NULL, 0},
    [13] = {"CANCEL_RES", nlm_res, NULL, 0},
    [14] = {"UNLOCK_RES", nlm_res, NULL, 0},
    [15] = {"GRANTED_RES", nlm_res, NULL, 0},
    [20] = {"SHARE", NULL, nlm_share, RPC_CACHED},
    [21] = {"UNSHARE", NULL, nlm_share, RPC_CACHED},
    [22] = {"NM_LOCK", NULL, nlm_nm_lock, RPC_CACHED},
    [23] = {"FREE_ALL", NULL, nlm_free_all, 0},
};
