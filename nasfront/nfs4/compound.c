/*
 * COMPOUND: operations one after the other on a current file handle.
 *
 *   results: status, tag, number of results, { operation, status, body }*
 *
 * It begins inline, in the wake-up that read the call. An operation that would have to wait says
 * NFS4_AGAIN before it has changed anything; then a task goes on from that operation with what was
 * found so far (session, slot, file handles), so nothing is done twice. Between the two the
 * arguments stay where they were received, and the results in the request.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"

#define RPC_HEAD    24u /* of an accepted reply */
#define RESULT_HEAD 8	/* an operation's number and status */

/* ---- results ---- */

/* The sizes of a session count the header of the reply (RFC 8881 18.36.3). */
size_t nfs4_reply_max(const struct nfs4_call *k)
{
	size_t max = k->session ? k->session->max_reply - RPC_HEAD : NFS4_REPLY_MAX;
	if (!k->session || !k->cache_this)
		return max;
	return MIN(max, k->session->max_kept - MIN(k->session->max_kept, RPC_HEAD));
}

size_t nfs4_reply_left(const struct nfs4_call *k)
{
	size_t have = xdr_out_len(k->out) + RESULT_HEAD, max = nfs4_reply_max(k);
	return have < max ? max - have : 0;
}

/* What is behind it finds room for its number and status, at least: for REP_TOO_BIG. */
bool nfs4_room(struct nfs4_call *k, size_t size)
{
	size_t have = xdr_out_len(k->out);
	if (have + size + RESULT_HEAD > nfs4_reply_max(k))
		return false;
	if (size + RESULT_HEAD <= xdr_room(k->out))
		return true;
	/* Rounded up, so that several operations do not each make a buffer. */
	return rpc_reply_reserve(k->req, MIN(have + size + 4096, nfs4_reply_max(k)));
}

/* It would fit, were it not to be kept. */
static enum nfs4_status too_big(const struct nfs4_call *k)
{
	bool kept = k->session && k->cache_this && k->session->max_kept < k->session->max_reply;
	return kept ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4ERR_REP_TOO_BIG;
}

enum nfs4_status nfs4_status_of(struct nfs4_call *k, int rc)
{
	k->c.status = NFS3_OK;
	nfs_result(&k->c, rc);
	int st = k->c.status;
	k->c.status = NFS3_OK;
	return st == NFS_AGAIN ? NFS4_AGAIN : st == NFS_FENCED ? NFS4_FENCED : (enum nfs4_status)st;
}

static void patch_u32(struct nfs4_call *k, size_t at, uint32_t v)
{
	if (!k->out->full)
		be32_put(k->out->base + at, v);
}

/* ---- before an operation ---- */

static enum nfs4_status check_place(const struct nfs4_call *k, const struct nfs4_op_row *op)
{
	if (k->minor == 0)
		return NFS4_OK;
	if (op->flags & OP_V40)
		return NFS4ERR_NOTSUPP;
	if (op->flags & OP_ALONE) {
		if (k->session || k->nops == 1)
			return NFS4_OK;
		return NFS4ERR_NOT_ONLY_OP;
	}
	if (k->op == OP_SEQUENCE)
		return k->index == 0 ? NFS4_OK : NFS4ERR_SEQUENCE_POS;
	return k->session ? NFS4_OK : NFS4ERR_OP_NOT_IN_SESSION;
}

/* Directories that are no file system's: no stateid is of one, nor has it extended attributes. */
static enum nfs4_status check_pseudo(const struct nfs4_call *k, const struct nfs4_op_row *op)
{
	switch (k->op) {
	case OP_CLOSE:
	case OP_LOCKU:
	case OP_OPEN_CONFIRM:
	case OP_OPEN_DOWNGRADE:
	case OP_DELEGRETURN:
	case OP_OFFLOAD_CANCEL:
	case OP_OFFLOAD_STATUS:
		return NFS4ERR_BAD_STATEID;
	case OP_READLINK:
	case OP_ALLOCATE:
	case OP_DEALLOCATE:
	case OP_SEEK:
	case OP_IO_ADVISE:
	case OP_COPY:
	case OP_CLONE:
		return NFS4ERR_WRONG_TYPE;
	case OP_GETXATTR:
	case OP_SETXATTR:
	case OP_LISTXATTRS:
	case OP_REMOVEXATTR:
		return NFS4ERR_NOTSUPP;
	default:
		return op->flags & OP_MODIFIES	   ? NFS4ERR_ROFS
		       : op->flags & OP_NEEDS_FILE ? NFS4ERR_ISDIR
						   : NFS4_OK;
	}
}

static enum nfs4_status check_object(const struct nfs4_call *k, const struct nfs4_op_row *op)
{
	if (!(op->flags & (OP_NEEDS_FH | OP_NEEDS_FILE | OP_MODIFIES)))
		return NFS4_OK;
	if (k->kind == FH_NONE)
		return NFS4ERR_NOFILEHANDLE;
	if (k->kind == FH_PSEUDO)
		return check_pseudo(k, op);
	if (k->kind == FH_ABSENT)
		return nfs4_absent_check(k->op);
	if ((op->flags & OP_MODIFIES) && !k->c.rule->read_write)
		return NFS4ERR_ROFS;
	return NFS4_OK;
}

/* Version 4.0 has no slots: what must not be done twice goes through the cache of duplicates. */
static enum nfs4_status check_once(struct nfs4_call *k, const struct nfs4_op_row *op)
{
	if (k->minor || k->once || !(op->flags & OP_ONCE))
		return NFS4_OK;
	k->once = true;
	int rc = rpc_once(k->req);
	return rc == RPC_AGAIN ? NFS4_OK : rc == RPC_SUCCESS ? NFS4_REPLAY : NFS4_TAKEN;
}

/* ---- flavours ---- */

/*
 * Who says WRONGSEC, where an export does not take the call's flavour (RFC 8881 2.6.3.1): what puts
 * its handle, unless the next operation says it or need not: LOOKUP, LOOKUPP and OPEN say it of
 * themselves, SECINFO and SECINFO_NO_NAME are how a client finds out.
 */
static bool next_says_wrongsec(const struct nfs4_call *k)
{
	size_t left = xdr_left(k->in), n = 4;
	/* 2.6.3.1.1.1: as if SAVEFH were not there. */
	while (n <= left && k->index + n / 4 < k->nops && be32_get(k->in->p + n - 4) == OP_SAVEFH)
		n += 4;
	if (n > left || k->index + n / 4 >= k->nops)
		return true;
	switch (be32_get(k->in->p + n - 4)) {
	case OP_PUTFH:
	case OP_PUTROOTFH:
	case OP_PUTPUBFH:
	case OP_RESTOREFH:
	case OP_LOOKUP:
	case OP_LOOKUPP:
	case OP_OPEN:
	case OP_SECINFO:
	case OP_SECINFO_NO_NAME:
		return true;
	default:
		return false;
	}
}

/* The saved object is used as well. */
static bool uses_saved(uint32_t op)
{
	return op == OP_RENAME || op == OP_LINK || op == OP_COPY || op == OP_CLONE;
}

/* The RFCs let only these say so; what comes to others past what puts a handle is refused. */
static enum nfs4_status too_weak(uint32_t op)
{
	return op == OP_LINK || op == OP_RENAME || op == OP_OPEN ? NFS4ERR_WRONGSEC
								 : NFS4ERR_ACCESS;
}

static enum nfs4_status check_flavor(const struct nfs4_call *k, const struct nfs4_op_row *op)
{
	if (uses_saved(k->op) && k->saved.kind == FH_FILE && k->saved.weak)
		return too_weak(k->op);
	if (k->kind != FH_FILE || !k->c.weak ||
	    !(op->flags & (OP_NEEDS_FH | OP_NEEDS_FILE | OP_MODIFIES)))
		return NFS4_OK;
	switch (k->op) {
	case OP_SAVEFH:
	case OP_SECINFO:
	case OP_SECINFO_NO_NAME:
	case OP_LOOKUP: /* it may lead into another export: what it finds counts */
	case OP_LOOKUPP:
		return NFS4_OK;
	default:
		return too_weak(k->op);
	}
}

static enum nfs4_status check_flavor_found(const struct nfs4_call *k)
{
	if (k->kind != FH_FILE || !k->c.weak)
		return NFS4_OK;
	switch (k->op) {
	case OP_LOOKUP:
	case OP_LOOKUPP:
		return NFS4ERR_WRONGSEC;
	case OP_PUTFH:
	case OP_PUTROOTFH:
	case OP_PUTPUBFH:
	case OP_RESTOREFH:
		return next_says_wrongsec(k) ? NFS4_OK : NFS4ERR_WRONGSEC;
	default:
		return NFS4_OK;
	}
}

/*
 * What must not be done twice, also when a successor is asked again: the file system knows it by
 * its slot and number, in version 4.0 as the cache of duplicates does, and by its place here.
 */
static void begin_once(struct nfs4_call *k, const struct nfs4_op_row *op)
{
	uint8_t *key = k->c.once.key;
	if (k->kind != FH_FILE || (!(op->flags & OP_MODIFIES) && k->op != OP_OPEN))
		return;
	if (k->slot) {
		memcpy(key, k->session->id, NFS4_SESSIONID);
		be32_put(key + 16, (uint32_t)(k->slot - k->session->slots));
		be32_put(key + 20, k->slot->seq);
		be32_put(key + 24, 0);
		be32_put(key + 28, 'S' << 8);
	} else if (rpc_is_once(k->req)) {
		rpc_identity(k->req, key);
	} else {
		return;
	}
	key[31] = (uint8_t)k->index;
	k->c.cred.once = &k->c.once;
}

static enum nfs4_status run_row(struct nfs4_call *k, const struct nfs4_op_row *op)
{
	enum nfs4_status st = k->uncached && k->index ? NFS4ERR_RETRY_UNCACHED_REP : NFS4_OK;
	st = st ?: check_place(k, op);
	st = st ?: check_flavor(k, op);
	st = st ?: check_object(k, op);
	st = st ?: check_once(k, op);
	if (st)
		return st;
	if (!k->may_wait && (op->flags & OP_WAITS))
		return NFS4_AGAIN;
	/* Version 4.0 has no error for what only puts a handle. */
	if ((op->room || k->minor) && !nfs4_room(k, op->room))
		return NFS4ERR_REP_TOO_BIG;
	k->keeps |= (op->flags & OP_KEEPS) != 0;
	begin_once(k, op);
	st = op->fn(k);
	k->c.cred.once = NULL;
	return st ?: check_flavor_found(k);
}

static const struct nfs4_op_row *row_of(const struct nfs4_call *k)
{
	if (k->op >= NFS4_OPS || !nfs4_ops[k->op].fn || nfs4_ops[k->op].minor > k->minor)
		return NULL;
	return &nfs4_ops[k->op];
}

/* Errors that version 4.0 does not know, or not of this operation. */
static enum nfs4_status status_of_minor(const struct nfs4_call *k, enum nfs4_status st)
{
	if (k->minor)
		return st == NFS4ERR_REP_TOO_BIG ? too_big(k) : st;
	switch (st) {
	case NFS4ERR_WRONG_TYPE:
		return NFS4ERR_INVAL;
	case NFS4ERR_NOFILEHANDLE:
		return k->op == OP_RESTOREFH ? NFS4ERR_RESTOREFH : st;
	case NFS4ERR_MLINK: /* of a directory's parent */
		return k->op == OP_LINK ? st : NFS4ERR_NOSPC;
	case NFS4ERR_REP_TOO_BIG:
	case NFS4ERR_TOO_MANY_OPS:
		return NFS4ERR_RESOURCE;
	default:
		return st;
	}
}

/* ---- one after the other ---- */

/* The end of one: its status, and no body behind an error's. */
static enum nfs4_status op_end(struct nfs4_call *k, enum nfs4_status st)
{
	struct xdr_out *x = k->out;
	st = status_of_minor(k, st);
	/* x may have moved to a larger buffer meanwhile. */
	if (st && !k->keep_body) {
		x->p = x->base + k->op_out + 8;
		x->full = false;
	}
	if (k->seq_owner)
		nfs4_seq_end(k, st);
	if (st == NFS4_REPLAYED)
		st = k->replayed;
	patch_u32(k, k->op_out + 4, st);
	return st;
}

static enum nfs4_status run_one(struct nfs4_call *k)
{
	struct xdr_out *x = k->out;
	/* What nfs4_room() leaves; in version 4.0, and without a session, a little more than the
	 * most. */
	if (xdr_room(x) < RESULT_HEAD && !rpc_reply_reserve(k->req, xdr_out_len(x) + 4096))
		return NFS4_FENCED;
	k->op_in = k->in->p;
	k->op_out = xdr_out_len(x);
	if (!xdr_u32(k->in, &k->op))
		k->op = OP_ILLEGAL;
	const struct nfs4_op_row *op = row_of(k);
	k->keep_body = false;
	if (k->kept_op && k->may_wait)
		nfs4_slot_keep_part(k);
	xdr_put_u32(x, op ? k->op : OP_ILLEGAL);
	xdr_put_u32(x, 0);
	enum nfs4_status st = op ? run_row(k, op) : NFS4ERR_OP_ILLEGAL;
	if (k->c.change.slot)
		deleg_change_end(k->n->delegs, &k->c.change);
	if (st == NFS4_AGAIN) {
		k->in->p = k->op_in;
		x->p = x->base + k->op_out;
		if (k->kept_op)
			nfs4_slot_keep_part(k);
		return st;
	}
	/* The results are those of the first time, whole: nothing of this time goes into them. */
	if (st == NFS4_REPLAY || st == NFS4_TAKEN)
		return st;
	st = op_end(k, st);
	if (op) {
		k->kept_op |= (op->flags & OP_KEEPS) != 0;
		k->n->ops[k->op].count++;
		k->n->ops[k->op].errors += st != NFS4_OK;
	}
	return st;
}

/* Lets go of all that a compound holds. */
static void compound_end(struct nfs4_call *k)
{
	if (!k->running)
		return;
	k->running = false;
	nfs4_slot_end(k);
	nfs4_saved_drop(k);
	if (!k->c.reading)
		nfs4_fh_drop(k);
	if (k->client)
		k->client->busy--;
	k->client = NULL;
}

/* Its answer is whole. False: not before what it depends on is stable, and that is waited for in
 * a task. */
static bool compound_settle(struct nfs4_call *k)
{
	if (!k->ended)
		nfs4_slot_keep(k);
	k->ended = true;
	if (!k->keeps || !k->n->store)
		return true;
	if (!k->may_wait) {
		k->op_in = k->in->p;
		k->op_out = xdr_out_len(k->out);
		return false;
	}
	store_sync(k->n->store);
	return true;
}

static int compound_run(struct nfs4_call *k)
{
	enum nfs4_status st = k->ended ? k->status : NFS4_OK;
	for (; k->index < k->nops && !st && !k->ended; k->index++) {
		st = run_one(k);
		if (st == NFS4_AGAIN)
			return RPC_AGAIN;
		if (st == NFS4_FENCED || st == NFS4_REPLAY || st == NFS4_TAKEN)
			break;
	}
	if (st == NFS4_TAKEN) {
		compound_end(k);
		return RPC_TAKEN;
	}
	if (st == NFS4_FENCED) {
		compound_end(k);
		return RPC_DROP;
	}
	k->status = st == NFS4_REPLAY ? NFS4_OK : st;
	if (st != NFS4_REPLAY && !k->ended) {
		patch_u32(k, k->status_at, st);
		patch_u32(k, k->nres_at, k->index);
	}
	if (st != NFS4_REPLAY && !compound_settle(k))
		return RPC_AGAIN;
	compound_end(k);
	return RPC_SUCCESS;
}

/* ---- the procedure ---- */

static enum nfs4_status check_head(const struct nfs4_call *k)
{
	if (k->minor > 2)
		return NFS4ERR_MINOR_VERS_MISMATCH;
	return k->nops > NFS4_OPS_MAX ? status_of_minor(k, NFS4ERR_TOO_MANY_OPS) : NFS4_OK;
}

/* Reads the head. False: garbage. */
static bool compound_begin(struct nfs4_call *k, struct rpc_req *req, struct nfs4 *n)
{
	const uint8_t *tag;
	uint32_t len;
	memset(k, 0, offsetof(struct nfs4_call, c) + offsetof(struct nfs_call, read));
	k->n = n;
	k->req = req;
	k->in = &req->args;
	k->out = &req->out;
	k->c.nfs = n->o.nfs;
	k->c.req = req;
	if (!xdr_opaque(k->in, NFS4_TAG_MAX, &tag, &len) || !xdr_u32(k->in, &k->minor) ||
	    !xdr_u32(k->in, &k->nops))
		return false;
	if (len > 256 && !rpc_reply_reserve(req, RPC_REPLY_INLINE + len))
		return false;
	k->status_at = xdr_out_len(k->out);
	xdr_put_u32(k->out, 0);
	xdr_put_opaque(k->out, tag, len);
	k->nres_at = xdr_out_len(k->out);
	xdr_put_u32(k->out, 0);
	return true;
}

static int compound_fast(struct rpc_req *req, void *arg)
{
	struct nfs4_call *k = (struct nfs4_call *)req->area;
	struct nfs4 *n = arg;
	k->running = false;
	if (nfs_fenced(n->o.nfs))
		return RPC_DROP;
	if (!compound_begin(k, req, n))
		return RPC_GARBAGE_ARGS;
	k->running = true;
	k->status = check_head(k);
	if (k->status) {
		patch_u32(k, k->status_at, k->status);
		compound_end(k);
		return RPC_SUCCESS;
	}
	return compound_run(k);
}

/* Goes on where the other stopped: the RPC layer has begun arguments and results anew. */
static int compound_slow(struct rpc_req *req, void *arg)
{
	struct nfs4_call *k = (struct nfs4_call *)req->area;
	k->in->p = k->op_in;
	k->out->p = k->out->base + k->op_out;
	k->may_wait = true;
	return compound_run(k);
}

static int null_proc(struct rpc_req *req, void *arg)
{
	((struct nfs4_call *)req->area)->running = false;
	return RPC_SUCCESS;
}

void nfs4_finished(void *arg, struct rpc_req *req, int result)
{
	struct nfs4 *n = arg;
	struct nfs4_call *k = (struct nfs4_call *)req->area;
	if (req->proc == 0 || result == RPC_GARBAGE_ARGS || result == RPC_DROP)
		return;
	/* No memory for the task that was to go on. */
	compound_end(k);
	uint64_t now = env_now_ns(n->o.env);
	uint64_t ns = now > req->start_ns ? now - req->start_ns : 0;
	bool error = result != RPC_SUCCESS || k->status;
	n->compounds.count++;
	n->compounds.errors += error;
	histogram_add(&n->compound_latency, ns);
	nfs_count(n->o.nfs, &k->c, req, error, ns);
}

const struct rpc_proc nfs4_procs[NFS4_PROCS] = {
    [0] = {"v4 NULL", null_proc, NULL, 0},
    /* Sessions keep the answers, not the cache of duplicates; version 4.0: check_once(). */
    [1] = {"COMPOUND", compound_fast, compound_slow, 0},
};

/* ---- the table ---- */

enum nfs4_status nfs4_op_notsupp(struct nfs4_call *k)
{
	return NFS4ERR_NOTSUPP;
}

#define ROOM_SMALL   64
#define ROOM_CINFO   64
#define ROOM_FLAVORS 128

const struct nfs4_op_row nfs4_ops[NFS4_OPS] = {
    [OP_ACCESS] = {"ACCESS", nfs4_op_access, OP_NEEDS_FH, 0, ROOM_SMALL},
    [OP_CLOSE] = {"CLOSE", nfs4_op_close, OP_NEEDS_FILE | OP_ONCE | OP_KEEPS, 0, ROOM_SMALL},
    [OP_COMMIT] = {"COMMIT", nfs4_op_commit, OP_NEEDS_FILE | OP_WAITS, 0, ROOM_SMALL},
    [OP_CREATE] = {"CREATE", nfs4_op_create, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_CINFO},
    [OP_DELEGPURGE] = {"DELEGPURGE", nfs4_op_notsupp, 0, 0, 0},
    [OP_DELEGRETURN] = {"DELEGRETURN", nfs4_op_delegreturn, OP_NEEDS_FILE | OP_ONCE | OP_KEEPS, 0,
			0},
    [OP_GETATTR] = {"GETATTR", nfs4_op_getattr, OP_NEEDS_FH, 0, 0},
    [OP_GETFH] = {"GETFH", nfs4_op_getfh, OP_NEEDS_FH, 0, 4 + FH_SIZE},
    [OP_LINK] = {"LINK", nfs4_op_link, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_CINFO},
    [OP_LOCK] = {"LOCK", nfs4_op_lock, OP_NEEDS_FILE | OP_WAITS | OP_ONCE | OP_KEEPS, 0,
		 ROOM_SMALL},
    [OP_LOCKT] = {"LOCKT", nfs4_op_lockt, OP_NEEDS_FILE | OP_WAITS, 0, ROOM_SMALL},
    [OP_LOCKU] = {"LOCKU", nfs4_op_locku, OP_NEEDS_FILE | OP_ONCE | OP_KEEPS, 0, ROOM_SMALL},
    [OP_LOOKUP] = {"LOOKUP", nfs4_op_lookup, OP_NEEDS_FH, 0, 0},
    [OP_LOOKUPP] = {"LOOKUPP", nfs4_op_lookupp, OP_NEEDS_FH, 0, 0},
    [OP_NVERIFY] = {"NVERIFY", nfs4_op_nverify, OP_NEEDS_FH, 0, 0},
    [OP_OPEN] = {"OPEN", nfs4_op_open, OP_NEEDS_FH | OP_WAITS | OP_ONCE | OP_KEEPS, 0, 160},
    [OP_OPENATTR] = {"OPENATTR", nfs4_op_notsupp, 0, 0, 0},
    [OP_OPEN_DOWNGRADE] = {"OPEN_DOWNGRADE", nfs4_op_open_downgrade,
			   OP_NEEDS_FILE | OP_ONCE | OP_KEEPS, 0, ROOM_SMALL},
    [OP_PUTFH] = {"PUTFH", nfs4_op_putfh, 0, 0, 0},
    [OP_PUTPUBFH] = {"PUTPUBFH", nfs4_op_putrootfh, 0, 0, 0},
    [OP_PUTROOTFH] = {"PUTROOTFH", nfs4_op_putrootfh, 0, 0, 0},
    [OP_READ] = {"READ", nfs4_op_read, OP_NEEDS_FILE | OP_WAITS, 0, ROOM_SMALL},
    [OP_READDIR] = {"READDIR", nfs4_op_readdir, OP_NEEDS_FH | OP_WAITS, 0, 0},
    [OP_READLINK] = {"READLINK", nfs4_op_readlink, OP_NEEDS_FILE | OP_WAITS, 0, 0},
    [OP_REMOVE] = {"REMOVE", nfs4_op_remove, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_CINFO},
    [OP_RENAME] = {"RENAME", nfs4_op_rename, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_CINFO},
    [OP_RESTOREFH] = {"RESTOREFH", nfs4_op_restorefh, 0, 0, 0},
    [OP_SAVEFH] = {"SAVEFH", nfs4_op_savefh, OP_NEEDS_FH, 0, 0},
    [OP_SECINFO] = {"SECINFO", nfs4_op_secinfo, OP_NEEDS_FH, 0, ROOM_FLAVORS},
    [OP_SETATTR] = {"SETATTR", nfs4_op_setattr, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_SMALL},
    [OP_VERIFY] = {"VERIFY", nfs4_op_verify, OP_NEEDS_FH, 0, 0},
    [OP_WRITE] = {"WRITE", nfs4_op_write, OP_MODIFIES | OP_WAITS | OP_ONCE, 0, ROOM_SMALL},
    [OP_SETCLIENTID] = {"SETCLIENTID", nfs4_op_setclientid, OP_V40 | OP_ONCE | OP_KEEPS, 0, 256},
    [OP_SETCLIENTID_CONFIRM] = {"SETCLIENTID_CONFIRM", nfs4_op_setclientid_confirm,
				OP_V40 | OP_ONCE | OP_KEEPS, 0, 0},
    [OP_RENEW] = {"RENEW", nfs4_op_renew, OP_V40, 0, 0},
    [OP_OPEN_CONFIRM] = {"OPEN_CONFIRM", nfs4_op_open_confirm,
			 OP_V40 | OP_NEEDS_FILE | OP_ONCE | OP_KEEPS, 0, ROOM_SMALL},
    [OP_RELEASE_LOCKOWNER] = {"RELEASE_LOCKOWNER", nfs4_op_release_lockowner,
			      OP_V40 | OP_ONCE | OP_KEEPS, 0, 0},
    [OP_BIND_CONN_TO_SESSION] = {"BIND_CONN_TO_SESSION", nfs4_op_bind_conn, OP_ALONE | OP_KEEPS, 1,
				 ROOM_SMALL},
    [OP_EXCHANGE_ID] = {"EXCHANGE_ID", nfs4_op_exchange_id, OP_ALONE | OP_KEEPS, 1, 256},
    [OP_CREATE_SESSION] = {"CREATE_SESSION", nfs4_op_create_session, OP_ALONE | OP_KEEPS, 1, 128},
    [OP_DESTROY_SESSION] = {"DESTROY_SESSION", nfs4_op_destroy_session, OP_ALONE | OP_KEEPS, 1, 0},
    [OP_FREE_STATEID] = {"FREE_STATEID", nfs4_op_free_stateid, OP_KEEPS, 1, 0},
    [OP_GET_DIR_DELEGATION] = {"GET_DIR_DELEGATION", nfs4_op_notsupp, 0, 1, 0},
    [OP_GETDEVICEINFO] = {"GETDEVICEINFO", nfs4_op_notsupp, 0, 1, 0},
    [OP_GETDEVICELIST] = {"GETDEVICELIST", nfs4_op_notsupp, 0, 1, 0},
    [OP_LAYOUTCOMMIT] = {"LAYOUTCOMMIT", nfs4_op_notsupp, 0, 1, 0},
    [OP_LAYOUTGET] = {"LAYOUTGET", nfs4_op_notsupp, 0, 1, 0},
    [OP_LAYOUTRETURN] = {"LAYOUTRETURN", nfs4_op_notsupp, 0, 1, 0},
    [OP_SECINFO_NO_NAME] = {"SECINFO_NO_NAME", nfs4_op_secinfo_no_name, OP_NEEDS_FH, 1,
			    ROOM_FLAVORS},
    [OP_SEQUENCE] = {"SEQUENCE", nfs4_op_sequence, 0, 1, ROOM_SMALL},
    [OP_SET_SSV] = {"SET_SSV", nfs4_op_set_ssv, 0, 1, 0},
    [OP_TEST_STATEID] = {"TEST_STATEID", nfs4_op_test_stateid, 0, 1, 0},
    [OP_WANT_DELEGATION] = {"WANT_DELEGATION", nfs4_op_notsupp, 0, 1, 0},
    [OP_DESTROY_CLIENTID] = {"DESTROY_CLIENTID", nfs4_op_destroy_clientid, OP_ALONE | OP_KEEPS, 1,
			     0},
    [OP_RECLAIM_COMPLETE] = {"RECLAIM_COMPLETE", nfs4_op_reclaim_complete, OP_WAITS | OP_KEEPS, 1,
			     0},
    [OP_BACKCHANNEL_CTL] = {"BACKCHANNEL_CTL", nfs4_op_backchannel_ctl, OP_KEEPS, 1, 0},
    [OP_ALLOCATE] = {"ALLOCATE", nfs4_op_allocate, OP_MODIFIES | OP_WAITS, 2, 0},
    [OP_COPY] = {"COPY", nfs4_op_copy, OP_MODIFIES | OP_WAITS, 2, ROOM_SMALL},
    [61] = {"COPY_NOTIFY", nfs4_op_notsupp, 0, 2, 0},
    [OP_DEALLOCATE] = {"DEALLOCATE", nfs4_op_deallocate, OP_MODIFIES | OP_WAITS, 2, 0},
    [OP_IO_ADVISE] = {"IO_ADVISE", nfs4_op_io_advise, OP_NEEDS_FILE | OP_WAITS, 2, ROOM_SMALL},
    [64] = {"LAYOUTERROR", nfs4_op_notsupp, 0, 2, 0},
    [65] = {"LAYOUTSTATS", nfs4_op_notsupp, 0, 2, 0},
    [OP_OFFLOAD_CANCEL] = {"OFFLOAD_CANCEL", nfs4_op_offload_cancel, OP_NEEDS_FILE | OP_WAITS, 2,
			   0},
    [OP_OFFLOAD_STATUS] = {"OFFLOAD_STATUS", nfs4_op_offload_status, OP_NEEDS_FILE, 2, ROOM_SMALL},
    [OP_READ_PLUS] = {"READ_PLUS", nfs4_op_read_plus, OP_NEEDS_FILE | OP_WAITS, 2, ROOM_SMALL},
    [OP_SEEK] = {"SEEK", nfs4_op_seek, OP_NEEDS_FILE | OP_WAITS, 2, ROOM_SMALL},
    [70] = {"WRITE_SAME", nfs4_op_notsupp, 0, 2, 0},
    [OP_CLONE] = {"CLONE", nfs4_op_clone, OP_MODIFIES | OP_WAITS, 2, 0},
    [OP_GETXATTR] = {"GETXATTR", nfs4_op_getxattr, OP_NEEDS_FILE | OP_WAITS, 2, 0},
    [OP_SETXATTR] = {"SETXATTR", nfs4_op_setxattr, OP_MODIFIES | OP_WAITS, 2, ROOM_SMALL},
    [OP_LISTXATTRS] = {"LISTXATTRS", nfs4_op_listxattrs, OP_NEEDS_FILE | OP_WAITS, 2, 0},
    [OP_REMOVEXATTR] = {"REMOVEXATTR", nfs4_op_removexattr, OP_MODIFIES | OP_WAITS, 2, ROOM_SMALL},
};
