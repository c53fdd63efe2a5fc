/*
 * RQUOTA versions 1 and 2 (program 100011): what quota(1) of a client asks. There is no RFC; it is
 * rquota.x of SunRPC with the type of version 2 that Linux added:
 *
 *	GETQUOTA, GETACTIVEQUOTA  { string path, [u32 type,] u32 id } -> { status, [rquota] }
 *	SETQUOTA, SETACTIVEQUOTA  { u32 command, string path, … } -> { status }: always EPERM
 *
 * The path is what was mounted: an export's, or below it. Who may ask is who may use that export,
 * by its flavours too: root (not squashed) for anybody, others for themselves and their groups. Use
 *is counted of everybody, so GETQUOTA always has an answer; an active quota is one with a limit.
 *Limits are set by the array's administrator alone.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs/nfs_impl.h"
#include "runtime/err.h"

#define PATH_LEN  1024
#define BLOCK_MIN 1024

enum {
	STATUS_OK = 1,
	STATUS_NOQUOTA = 2,
	STATUS_EPERM = 3,
	STATUS_TOOWEAK = 100 /* not on the wire: AUTH_TOOWEAK, as of NFS calls */
};
enum { TYPE_USER = 0, TYPE_GROUP = 1 };

struct ask {
	char path[PATH_LEN + 1];
	uint32_t type, id;
};

static bool get_ask(struct rpc_req *req, struct ask *a)
{
	const uint8_t *p;
	uint32_t len;
	a->type = TYPE_USER;
	if (!xdr_opaque(&req->args, PATH_LEN, &p, &len) || memchr(p, 0, len) ||
	    (req->vers == 2 && !xdr_u32(&req->args, &a->type)) || !xdr_u32(&req->args, &a->id))
		return false;
	memcpy(a->path, p, len);
	a->path[len] = '\0';
	return true;
}

static bool may_ask(const struct ask *a, const struct rpc_cred *cred, const struct export_rule *r)
{
	struct fs_cred c;
	if (cred->flavor != RPC_FLAVOR_SYS && !cred->mapped)
		return false;
	export_squash(r, cred, &c);
	if (c.uid == 0)
		return true;
	if (a->type == TYPE_USER)
		return c.uid == a->id;
	bool in = c.gid == a->id;
	for (uint32_t i = 0; i < c.ngroups; i++)
		in |= c.groups[i] == a->id;
	return in;
}

/* STATUS_…, or a negative error: it cannot be said now. */
static int find(struct nfs *n, struct rpc_req *req, const struct ask *a, struct fs_quota *ret)
{
	const char *rest;
	if (nfs_fenced(n))
		return -ERR_EPOCH_STALE;
	const struct export *e = export_by_path(n->table, a->path, &rest);
	const struct export_rule *r = e ? nfs_rule_of(n, req, e) : NULL;
	if (a->type > TYPE_GROUP)
		return STATUS_NOQUOTA;
	if (r && !export_sec_allows(r, &req->cred))
		return STATUS_TOOWEAK;
	if (!r || !may_ask(a, &req->cred, r))
		return STATUS_EPERM;
	struct nfs_mount *m = nfs_mount_by_name(n, e->fs);
	if (!m || !m->fs || m->leaving)
		return -EAGAIN;
	nfs_mount_hold(m);
	int rc =
	    fs_quota_get(m->fs, a->type == TYPE_USER ? FS_QUOTA_USER : FS_QUOTA_GROUP, a->id, ret);
	nfs_mount_release(m);
	return rc ? rc : STATUS_OK;
}

static bool limited(const struct fs_quota *q)
{
	for (unsigned u = 0; u < FS_QUOTA_UNITS; u++)
		if (q->soft[u] || q->hard[u])
			return true;
	return false;
}

static void put_u32(struct xdr_out *x, uint64_t v)
{
	xdr_put_u32(x, (uint32_t)MIN(v, (uint64_t)UINT32_MAX));
}

/* Seconds; negative when it is over, as clients understand it. */
static void put_left(struct xdr_out *x, uint64_t until, uint64_t now)
{
	int64_t left = until ? (int64_t)(until - now) : 0;
	left = MIN(MAX(left, (int64_t)INT32_MIN), (int64_t)INT32_MAX);
	xdr_put_u32(x, (uint32_t)(int32_t)left);
}

/* Numbers have 32 bits: the larger they are the larger the block they count. */
static void put_quota(struct xdr_out *x, const struct fs_quota *q, uint64_t now)
{
	const uint64_t most = MAX(MAX(q->used[0], q->soft[0]), q->hard[0]);
	uint32_t size = BLOCK_MIN;
	while (most / size >= UINT32_MAX && size < 1u << 30)
		size *= 2;
	xdr_put_u32(x, size);
	xdr_put_bool(x, limited(q));
	put_u32(x, q->hard[0] / size + (q->hard[0] && q->hard[0] < size));
	put_u32(x, q->soft[0] / size + (q->soft[0] && q->soft[0] < size));
	put_u32(x, (q->used[0] + size - 1) / size);
	put_u32(x, q->hard[1]);
	put_u32(x, q->soft[1]);
	put_u32(x, q->used[1]);
	put_left(x, q->until[0], now);
	put_left(x, q->until[1], now);
}

static int answer(struct nfs *n, struct rpc_req *req, bool active)
{
	struct ask a;
	struct fs_quota q;
	if (!get_ask(req, &a))
		return RPC_GARBAGE_ARGS;
	const char *rest;
	const struct export *e = nfs_fenced(n) ? NULL : export_by_path(n->table, a.path, &rest);
	int relayed = e && e->head ? nfs_relay(n, req, e) : -ENOENT;
	if (relayed >= 0)
		return relayed;
	int st = find(n, req, &a, &q);
	if (st == -ERR_EPOCH_STALE && n->o.on_fenced)
		n->o.on_fenced(n->o.arg);
	if (st < 0)
		return st == -ERR_EPOCH_STALE ? RPC_DROP : RPC_SYSTEM_ERR;
	if (st == STATUS_TOOWEAK)
		return RPC_TOO_WEAK;
	if (st == STATUS_OK && active && !limited(&q))
		st = STATUS_NOQUOTA;
	xdr_put_u32(&req->out, (uint32_t)st);
	if (st == STATUS_OK)
		put_quota(&req->out, &q, env_realtime_ns(n->o.env) / NS_PER_S);
	return RPC_SUCCESS;
}

static int rquota_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

static int rquota_get(struct rpc_req *req, void *arg)
{
	return answer(arg, req, false);
}

static int rquota_get_active(struct rpc_req *req, void *arg)
{
	return answer(arg, req, true);
}

static int rquota_set(struct rpc_req *req, void *arg)
{
	struct ask a;
	uint32_t command;
	const uint8_t *limits;
	if (!xdr_u32(&req->args, &command) || !get_ask(req, &a) ||
	    !xdr_fixed(&req->args, 8 * 4, &limits))
		return RPC_GARBAGE_ARGS;
	xdr_put_u32(&req->out, STATUS_EPERM);
	return RPC_SUCCESS;
}

const struct rpc_proc rquota_procs[RQUOTA_PROCS] = {
    [0] = {"RQUOTA NULL", rquota_null, NULL, 0},
    [1] = {"RQUOTA GETQUOTA", NULL, rquota_get, 0},
    [2] = {"RQUOTA GETACTIVEQUOTA", NULL, rquota_get_active, 0},
    [3] = {"RQUOTA SETQUOTA", rquota_set, NULL, 0},
    [4] = {"RQUOTA SETACTIVEQUOTA", rquota_set, NULL, 0},
};
