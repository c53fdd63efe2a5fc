/*
 * What every NFS call begins and ends with: from the handle to file system, export, access rule
 * and credentials; from errors to nfsstat3.
 *
 * A call that begun holds its mount and the export table it was judged by; nfs_end(), nfs_again()
 * and nfs_garbage() let go, and a READ lets go when its reply has left (nfs3_op_io.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nfs_impl.h"
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/err.h"
#include "runtime/log.h"

enum nfsstat3 nfs3_status(int rc)
{
	switch (-rc) {
	case 0:
		return NFS3_OK;
	case EPERM:
		return NFS3ERR_PERM;
	case ENOENT:
		return NFS3ERR_NOENT;
	case ENXIO:
		return NFS3ERR_NXIO;
	case EACCES:
		return NFS3ERR_ACCES;
	case EEXIST:
		return NFS3ERR_EXIST;
	case EXDEV:
		return NFS3ERR_XDEV;
	case ENODEV:
		return NFS3ERR_NODEV;
	case ENOTDIR:
		return NFS3ERR_NOTDIR;
	case EISDIR:
		return NFS3ERR_ISDIR;
	case EINVAL:
	case ELOOP:
		return NFS3ERR_INVAL;
	case EFBIG:
	case EOVERFLOW:
		return NFS3ERR_FBIG;
	case ENOSPC:
		return NFS3ERR_NOSPC;
	case EROFS:
	case ERR_WRITE_PROTECT:
		return NFS3ERR_ROFS;
	case EMLINK:
		return NFS3ERR_MLINK;
	case ENAMETOOLONG:
		return NFS3ERR_NAMETOOLONG;
	case ENOTEMPTY:
		return NFS3ERR_NOTEMPTY;
	case EDQUOT:
		return NFS3ERR_DQUOT;
	case ESTALE:
		return NFS3ERR_STALE;
	case ERR_MISCOMPARE:
		return NFS3ERR_NOT_SYNC;
	case EBADMSG:
		return NFS3ERR_BADHANDLE;
	case EOPNOTSUPP:
		return NFS3ERR_NOTSUPP;
	case ENOMEM:
	case EAGAIN:
	case EBUSY:
	case ERR_SHUTDOWN:
	case ERR_DISCONNECTED:
		return NFS3ERR_JUKEBOX;
	case ERR_EPOCH_STALE:
		return NFS_FENCED;
	case EIO:
	case ERR_CORRUPT:
	case ERR_MEDIUM:
	default:
		return NFS3ERR_IO;
	}
}

void nfs_result(struct nfs_call *c, int rc)
{
	if (rc >= 0)
		return;
	c->status = nfs3_status(rc);
	if (c->status == NFS_FENCED && c->nfs->o.on_fenced)
		c->nfs->o.on_fenced(c->nfs->o.arg);
}

const struct export_table *nfs_table(const struct nfs *n, uint64_t *ret_generation)
{
	*ret_generation = n->generation;
	return n->table;
}

bool nfs_fenced(const struct nfs *n)
{
	return n->o.fenced && n->o.fenced(n->o.arg);
}

/* ---- who ---- */

static void peer_drop(void *data)
{
	struct nfs_peer *p = data;
	nfs_client_put(p->nfs, p->client);
	free(p);
}

struct nfs_peer *nfs_peer_of(struct nfs *n, struct rpc_req *req)
{
	struct nfs_peer *p = rpc_conn_data(req->conn);
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->nfs = n;
	p->client = nfs_client_get(n, rpc_conn_peer_text(req->conn));
	if (!p->client) {
		free(p);
		return NULL;
	}
	rpc_conn_set_data(req->conn, p, peer_drop);
	return p;
}

/* By address and port. */
static const struct export_rule *rule_match(struct rpc_req *req, const struct export *e)
{
	const struct export_rule *r = export_match_rule(e, rpc_conn_peer(req->conn), NULL);
	return r && r->secure_port && !rpc_conn_secure_port(req->conn) ? NULL : r;
}

const struct export_rule *nfs_rule_of(struct nfs *n, struct rpc_req *req, const struct export *e)
{
	const struct export_rule *r = rule_match(req, e);
	return r && export_rule_takes(r, rpc_conn_xprt(req->conn)) ? r : NULL;
}

bool nfs_rule_wants_xprt(struct nfs *n, struct rpc_req *req, const struct export *e)
{
	const struct export_rule *r = rule_match(req, e);
	return r && !export_rule_takes(r, rpc_conn_xprt(req->conn));
}

enum nfsstat3 nfs_rule_refused(struct rpc_req *req, const struct export *e)
{
	bool unsure;
	return !export_match_rule(e, rpc_conn_peer(req->conn), &unsure) && unsure ? NFS3ERR_JUKEBOX
										  : NFS3ERR_ACCES;
}

bool nfs_host_known(struct nfs *n, struct rpc_req *req, bool *ret_port)
{
	bool known = false;
	*ret_port = true;
	for (unsigned i = 0; i < n->table->count; i++) {
		bool unsure = false;
		const struct export_rule *r =
		    export_match_rule(&n->table->exports[i], rpc_conn_peer(req->conn), &unsure);
		known |= r || unsure;
		*ret_port &= !r || !r->secure_port || rpc_conn_secure_port(req->conn);
	}
	return known;
}

/* The export and rule, remembered with the connection while the table stays the same. */
static bool peer_find(struct nfs_call *c, uint64_t export_id)
{
	struct nfs *n = c->nfs;
	struct nfs_peer *p = c->peer;
	if (p->generation != n->generation || p->export_id != export_id || !p->exp) {
		p->exp = export_by_id(n->table, export_id);
		p->rule = p->exp ? nfs_rule_of(n, c->req, p->exp) : NULL;
		p->use = p->exp ? nfs_export_use(n, p->exp) : NULL;
		p->export_id = export_id;
		p->generation = n->generation;
	}
	c->exp = p->exp;
	c->rule = p->rule;
	return c->exp;
}

/* ---- what ---- */

static enum nfsstat3 handle_find(struct nfs_call *c, const uint8_t *data, uint32_t len,
				 struct fh *fh, struct nfs_mount **ret)
{
	struct nfs *n = c->nfs;
	if (fh_parse(data, len, fh))
		return NFS3ERR_BADHANDLE;
	struct nfs_mount *m = nfs_mount_by_id(n, fh->fs_id);
	if (!m)
		return export_elsewhere(n->table, fh) ? NFS_ELSEWHERE : NFS3ERR_STALE;
	/* Not mounted yet, or just now not: it will be, so the client is to ask again. */
	if (!m->fs || m->leaving)
		return NFS3ERR_JUKEBOX;
	if (!fh_verify(data, &m->key))
		return NFS3ERR_BADHANDLE;
	*ret = m;
	return NFS3_OK;
}

static void call_hold(struct nfs_call *c, struct nfs_mount *m)
{
	export_squash(c->rule, &c->req->cred, &c->cred);
	c->weak = !export_sec_allows(c->rule, &c->req->cred);
	c->mount = m;
	c->table = c->nfs->table;
	nfs_mount_hold(m);
	export_table_get(c->table);
}

/*
 * The server's own word on the caller's groups. A user it does not know keeps those of the call,
 * as has always been the custom; when it cannot say, the client is to ask again. May wait in a
 * task: c->peer may have gone then.
 */
static enum nfsstat3 groups_find(struct nfs_call *c)
{
	struct groups *g = c->nfs->o.groups;
	const struct rpc_cred *from = &c->req->cred;
	bool ask = from->flavor == RPC_FLAVOR_GSS
		       ? from->mapped
		       : from->flavor == RPC_FLAVOR_SYS && !c->nfs->o.groups_gss;
	if (!g || !ask || c->cred.uid != from->uid || c->rule->squash == SQUASH_ALL || !c->cred.uid)
		return NFS3_OK;
	int rc = groups_try(g, c->cred.uid, &c->groups);
	if (rc == -EAGAIN) {
		if (!task_self())
			return NFS_AGAIN;
		c->peer = NULL;
		rc = groups_get(g, c->cred.uid, &c->groups);
	}
	if (rc)
		return rc == -ENOENT ? NFS3_OK : NFS3ERR_JUKEBOX;
	c->cred.list = c->groups->gids;
	c->cred.nlist = c->groups->count;
	return NFS3_OK;
}

enum nfsstat3 nfs_call_open(struct nfs_call *c, const uint8_t *data, uint32_t len, unsigned flags)
{
	struct nfs_mount *m;
	struct fh fh;
	if (nfs_fenced(c->nfs))
		return NFS_FENCED;
	enum nfsstat3 st = handle_find(c, data, len, &fh, &m);
	if (st == NFS_ELSEWHERE)
		c->exp = export_elsewhere(c->nfs->table, &fh);
	if (st)
		return st;
	if (!peer_find(c, fh.export_id) || strcmp(c->exp->fs, m->name))
		return NFS3ERR_STALE;
	if (!c->rule)
		return nfs_rule_refused(c->req, c->exp);
	if ((flags & NFS_MODIFIES) && !c->rule->read_write)
		return NFS3ERR_ROFS;
	c->fid = (struct fs_fid){.ino = fh.ino, .generation = fh.generation};
	call_hold(c, m);
	if ((flags & NFS_MODIFIES) && rpc_is_once(c->req)) {
		rpc_identity(c->req, c->once.key);
		c->cred.once = &c->once;
	}
	return groups_find(c);
}

enum nfsstat3 nfs_call_open_export(struct nfs_call *c, const struct export *e)
{
	if (nfs_fenced(c->nfs))
		return NFS_FENCED;
	if (!peer_find(c, e->id))
		return NFS3ERR_ACCES;
	if (!c->rule)
		return nfs_rule_refused(c->req, c->exp);
	struct nfs_mount *m = nfs_mount_by_name(c->nfs, c->exp->fs);
	if (!m || !m->fs || m->leaving)
		return NFS3ERR_JUKEBOX;
	call_hold(c, m);
	return nfs3_status(nfs_export_find(m, c->exp, &c->fid));
}

/* The object is where its export begins, as far as that is known. */
static bool at_root(const struct nfs_call *c)
{
	return c->exp->root_known && c->fid.ino == c->exp->root.ino &&
	       c->fid.generation == c->exp->root.generation;
}

static enum nfsstat3 check_flavor(const struct nfs_call *c, unsigned flags)
{
	if (!c->weak || (flags & NFS_ANY_FLAVOR) || ((flags & NFS_MOUNTING) && at_root(c)))
		return NFS3_OK;
	return NFS_TOOWEAK;
}

/* The file need not be there any more, nor its file system, nor a rule for the host. */
enum nfsstat3 nfs_give_up(struct nfs *n, struct rpc_req *req, const uint8_t *data, uint32_t len,
			  struct lock_file_key *ret)
{
	struct fh fh;
	if (nfs_fenced(n))
		return NFS_FENCED;
	if (fh_parse(data, len, &fh))
		return NFS3ERR_BADHANDLE;
	const struct nfs_mount *m = nfs_mount_by_id(n, fh.fs_id);
	if (m && m->fs && !fh_verify(data, &m->key))
		return NFS3ERR_BADHANDLE;
	const struct export *e = export_by_id(n->table, fh.export_id);
	const struct export_rule *r =
	    e ? export_match_rule(e, rpc_conn_peer(req->conn), NULL) : NULL;
	if (r ? !nfs_rule_of(n, req, e) : !rpc_conn_secure_port(req->conn))
		return NFS3ERR_ACCES;
	*ret = (struct lock_file_key){.fs = fh.fs_id, .ino = fh.ino, .generation = fh.generation};
	return NFS3_OK;
}

/* ---- of other heads ---- */

int nfs_relay(struct nfs *n, struct rpc_req *req, const struct export *e)
{
	char path[RPC_RELAY_PATH_MAX];
	if (!n->o.relay_path || rpc_conn_relayed(req->conn))
		return -EREMOTE;
	n->o.relay_path(n->o.arg, e->head->name, path);
	return rpc_relay(req, path);
}

int nfs_relay_all(struct nfs *n, struct rpc_req *req)
{
	char path[RPC_RELAY_PATH_MAX];
	int rc = -ENOENT;
	if (!n->o.relay_path || rpc_conn_relayed(req->conn))
		return -EREMOTE;
	for (unsigned i = 0; i < n->table->nheads && rc != RPC_DROP; i++) {
		n->o.relay_path(n->o.arg, n->table->heads[i].name, path);
		rc = rpc_relay(req, path);
	}
	return rc;
}

int nfs_relay_handle(struct nfs *n, struct rpc_req *req, const uint8_t *data, uint32_t len)
{
	struct fh fh;
	if (nfs_fenced(n) || fh_parse(data, len, &fh) || nfs_mount_by_id(n, fh.fs_id))
		return -ENOENT;
	const struct export *e = export_elsewhere(n->table, &fh);
	return e ? nfs_relay(n, req, e) : -ENOENT;
}

static void call_elsewhere(struct nfs_call *c)
{
	c->relay = nfs_relay(c->nfs, c->req, c->exp);
	if (c->relay < 0)
		c->status = NFS3ERR_JUKEBOX;
	c->exp = NULL;
	/* It is not counted for the export of the call before. */
	c->peer->exp = NULL;
	c->peer->use = NULL;
}

struct nfs_call *nfs_begin_handle(struct rpc_req *req, struct nfs *n, const uint8_t *data,
				  uint32_t len, unsigned flags)
{
	struct nfs_call *c = (struct nfs_call *)req->area;
	memset(c, 0, offsetof(struct nfs_call, read));
	c->nfs = n;
	c->req = req;
	c->peer = nfs_peer_of(n, req);
	c->status = c->peer ? nfs_call_open(c, data, len, flags) : NFS3ERR_JUKEBOX;
	if (c->status == NFS_ELSEWHERE)
		call_elsewhere(c);
	if (!c->status)
		c->status = check_flavor(c, flags);
	/* Who is not admitted, or names nothing, takes no room from answers that are kept. */
	req->forget = c->status && c->status != NFS_AGAIN;
	if (c->status)
		nfs_let_go(c);
	return c;
}

struct nfs_call *nfs_begin(struct rpc_req *req, void *arg, unsigned flags)
{
	const uint8_t *data;
	uint32_t len;
	if (!xdr_opaque(&req->args, NFS3_FHSIZE, &data, &len)) {
		memset(req->area, 0, offsetof(struct nfs_call, read));
		return NULL;
	}
	return nfs_begin_handle(req, arg, data, len, flags);
}

bool nfs_second(struct nfs_call *c, struct fs_fid *ret)
{
	const uint8_t *data;
	uint32_t len;
	struct nfs_mount *m;
	struct fh fh;
	if (!xdr_opaque(&c->req->args, NFS3_FHSIZE, &data, &len))
		return false;
	if (c->status)
		return true;
	c->status = handle_find(c, data, len, &fh, &m);
	if (c->status == NFS_ELSEWHERE)
		c->status = NFS3ERR_XDEV;
	if (c->status)
		return true;
	if (m != c->mount || fh.export_id != c->exp->id) {
		c->status =
		    NFS3ERR_XDEV; /* and *ret stays empty: the number means another object here */
		return true;
	}
	*ret = (struct fs_fid){.ino = fh.ino, .generation = fh.generation};
	return true;
}

/* ---- where ---- */

int nfs_walk(struct fs *fs, const struct fs_fid *from, const char *path, struct fs_fid *ret)
{
	static const struct fs_cred root;
	struct fs_fid at = *from;
	while (*path) {
		size_t n = strcspn(path, "/");
		struct fs_attr a;
		if (n > FS_NAME_MAX)
			return -ENAMETOOLONG;
		if (n == 2 && path[0] == '.' && path[1] == '.')
			return -EACCES;
		if (n) {
			int rc = fs_lookup(fs, &root, &at, path, (uint32_t)n, &a, NULL);
			if (rc)
				return rc;
			if (a.type != FS_DIR)
				return -ENOTDIR;
			at = (struct fs_fid){.ino = a.ino, .generation = a.generation};
		}
		path += n + (path[n] == '/');
	}
	*ret = at;
	return 0;
}

int nfs_export_find(struct nfs_mount *m, const struct export *e, struct fs_fid *ret)
{
	struct fs_fid root;
	int rc = nfs_walk(m->fs, &m->root, e->subdir, &root);
	if (rc)
		return rc;
	/* The one thing of a table that is found out late, and again at every MNT. */
	((struct export *)e)->root = *ret = root;
	((struct export *)e)->root_known = true;
	return 0;
}

static int export_root(const struct nfs_call *c, struct fs_fid *ret)
{
	if (!c->exp->root_known)
		return nfs_export_find(c->mount, c->exp, ret);
	*ret = c->exp->root;
	return 0;
}

static bool fid_same(const struct fs_fid *a, const struct fs_fid *b)
{
	return a->ino == b->ino && a->generation == b->generation;
}

int nfs_inside(const struct nfs_call *c, const struct fs_fid *dir, bool *ret_top)
{
	static const struct fs_cred super;
	struct fs_fid at = *dir, root;
	if (strcmp(c->exp->subdir, "/") == 0) {
		*ret_top = fid_same(dir, &c->mount->root);
		return 0;
	}
	int rc = export_root(c, &root);
	*ret_top = !rc && fid_same(dir, &root);
	while (!rc && !fid_same(&at, &root)) {
		struct fs_attr a;
		if (at.ino == c->mount->root.ino)
			return -ESTALE;
		rc = fs_lookup(c->mount->fs, &super, &at, "..", 2, &a, NULL);
		if (!rc)
			at = (struct fs_fid){.ino = a.ino, .generation = a.generation};
	}
	return rc;
}

/* ---- files lent to clients ---- */

struct deleg_table *nfs_delegs(const struct nfs *n)
{
	return n->delegs;
}

static struct lock_file_key key_of(const struct nfs_call *c, uint64_t ino, uint32_t generation)
{
	return (struct lock_file_key){.fs = c->mount->id, .ino = ino, .generation = generation};
}

bool nfs_lent(const struct nfs_call *c)
{
	return !c->status && deleg_any(c->nfs->delegs);
}

bool nfs_lent_to_write(const struct nfs_call *c)
{
	if (!nfs_lent(c))
		return false;
	struct lock_file_key f = key_of(c, c->fid.ino, c->fid.generation);
	return deleg_written(c->nfs->delegs, &f);
}

/* As the file system has it: a file's owner keeps what an open gave, to execute is to read. */
bool nfs_may_data(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, bool write)
{
	struct fs_attr a;
	unsigned have = 0;
	if (fs_getattr(fs, f, &a) || a.type != FS_REG || a.uid == cred->uid)
		return true;
	return fs_access(fs, cred, f, write ? 2 : 5, &have) || have;
}

void nfs_check_data(struct nfs_call *c, bool write)
{
	if (nfs_lent(c) && !nfs_may_data(c->mount->fs, &c->cred, &c->fid, write))
		c->status = NFS3ERR_ACCES;
}

void nfs_change(struct nfs_call *c)
{
	if (c->status)
		return;
	struct lock_file_key f = key_of(c, c->fid.ino, c->fid.generation);
	if (deleg_change_begin(c->nfs->delegs, &c->change, &f, NULL))
		c->status = NFS3ERR_JUKEBOX;
}

void nfs_look(struct nfs_call *c)
{
	if (c->status || !deleg_any(c->nfs->delegs))
		return;
	struct lock_file_key f = key_of(c, c->fid.ino, c->fid.generation);
	if (deleg_in_way(c->nfs->delegs, &f, DELEG_USE_READ, NULL, false))
		c->status = task_self() ? NFS3ERR_JUKEBOX : NFS_AGAIN;
}

bool nfs_named_file(struct nfs_call *c, const struct fs_fid *dir, const char *name, uint32_t len,
		    struct lock_file_key *ret)
{
	struct fs_attr a;
	if (fs_lookup(c->mount->fs, &c->cred, dir, name, len, &a, NULL) || a.type != FS_REG)
		return false;
	*ret = key_of(c, a.ino, a.generation);
	return true;
}

void nfs_change_name(struct nfs_call *c, const struct fs_fid *dir, const char *name, uint32_t len)
{
	struct lock_file_key f;
	if (nfs_lent(c) && nfs_named_file(c, dir, name, len, &f) &&
	    deleg_in_way(c->nfs->delegs, &f, DELEG_USE_CHANGE, NULL, false))
		c->status = NFS3ERR_JUKEBOX;
}

void nfs_change_named(struct nfs_call *c, const char *name, uint32_t len)
{
	struct lock_file_key f;
	if (c->status || !nfs_named_file(c, &c->fid, name, len, &f))
		return;
	const struct fs_fid fid = {.ino = f.ino, .generation = f.generation};
	if (nfs_lent(c) && !nfs_may_data(c->mount->fs, &c->cred, &fid, true))
		c->status = NFS3ERR_ACCES;
	else if (deleg_change_begin(c->nfs->delegs, &c->change, &f, NULL))
		c->status = NFS3ERR_JUKEBOX;
}

bool nfs_attr_stale(const struct nfs_call *c, const struct fs_attr *a)
{
	if (!deleg_any(c->nfs->delegs) || a->type != FS_REG)
		return false;
	struct lock_file_key f = key_of(c, a->ino, a->generation);
	return deleg_written(c->nfs->delegs, &f);
}

/* ---- the end ---- */

void nfs_let_go(struct nfs_call *c)
{
	if (c->change.slot)
		deleg_change_end(c->nfs->delegs, &c->change);
	if (c->mount)
		nfs_mount_release(c->mount);
	c->mount = NULL;
	export_table_put(c->table);
	group_list_put(c->groups);
	c->groups = NULL;
	c->table = NULL;
	c->exp = NULL;
	c->rule = NULL;
	c->weak = false;
}

int nfs_end(struct nfs_call *c)
{
	if (c->status == NFS_AGAIN)
		return nfs_again(c);
	if (c->status == NFS_ELSEWHERE) {
		nfs_let_go(c);
		c->status = NFS3_OK;
		return c->relay;
	}
	bool fenced = c->status == NFS_FENCED, weak = c->status == NFS_TOOWEAK;
	if (!c->reading)
		nfs_let_go(c);
	return fenced ? RPC_DROP : weak ? RPC_TOO_WEAK : RPC_SUCCESS;
}

int nfs_again(struct nfs_call *c)
{
	nfs_let_go(c);
	return RPC_AGAIN;
}

int nfs_garbage(struct nfs_call *c)
{
	nfs_let_go(c);
	return RPC_GARBAGE_ARGS;
}
