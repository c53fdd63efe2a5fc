/*
 * MOUNT version 3 (RFC 1813 appendix I): from a path to the first file handle, for those whom an
 * export's list admits. Paths below an export are walked through directories only, never through
 * symbolic links and never upwards.
 *
 * While a name of a rule is looked up MNT waits: mount.nfs gives up on any error, and MOUNT has
 * none that says "ask again". Some may wait at once, of a host a few; others are not answered, and
 * ask again by themselves.
 *
 * MNT and UMNT of what another head serves are relayed to it (nfs_relay()).
 *
 * The list of who mounted what (DUMP) is advisory, as the protocol says: bounded, in memory. A host
 * is told of its own part of it alone, and of the exports (EXPORT) that have a rule for its
 * address: what others have is not its business.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nfs3_xdr.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define MNTPATHLEN 1024
#define LOOK_NS	   (100 * NS_PER_MS)
#define WAIT_NS	   (25 * NS_PER_S) /* longer than any name is unsure */
#define WAITS	   256
#define WAITS_HOST 32

enum mountstat3 {
	MNT3_OK = 0,
	MNT3ERR_PERM = 1,
	MNT3ERR_NOENT = 2,
	MNT3ERR_IO = 5,
	MNT3ERR_ACCES = 13,
	MNT3ERR_NOTDIR = 20,
	MNT3ERR_INVAL = 22,
	MNT3ERR_NAMETOOLONG = 63,
	MNT3ERR_NOTSUPP = 10004,
	MNT3ERR_SERVERFAULT = 10006,
};

static enum mountstat3 mount_status(int rc)
{
	switch (-rc) {
	case 0:
		return MNT3_OK;
	case ENOENT:
	case ESTALE:
		return MNT3ERR_NOENT;
	case EACCES:
		return MNT3ERR_ACCES;
	case ENOTDIR:
		return MNT3ERR_NOTDIR;
	case ENAMETOOLONG:
		return MNT3ERR_NAMETOOLONG;
	case EINVAL:
		return MNT3ERR_INVAL;
	case EAGAIN:
		return MNT3ERR_SERVERFAULT;
	default:
		return MNT3ERR_IO;
	}
}

/* ---- the list ---- */

static void mounted_remove(struct nfs *n, struct nfs_mounted *m)
{
	TAILQ_REMOVE(&n->mounted, m, link);
	n->nmounted--;
	free(m->path);
	free(m);
}

static struct nfs_mounted *mounted_find(struct nfs *n, const char *host, const char *path)
{
	struct nfs_mounted *m;
	TAILQ_FOREACH (m, &n->mounted, link)
		if (strcmp(m->host, host) == 0 && strcmp(m->path, path) == 0)
			return m;
	return NULL;
}

static void mounted_add(struct nfs *n, const char *host, const char *path)
{
	if (mounted_find(n, host, path))
		return;
	while (n->nmounted >= NFS_MOUNT_LIST)
		mounted_remove(n, TAILQ_FIRST(&n->mounted));
	struct nfs_mounted *m = calloc(1, sizeof(*m));
	if (!m)
		return;
	strncpy(m->host, host, sizeof(m->host) - 1);
	m->path = strdup(path);
	if (!m->path) {
		free(m);
		return;
	}
	TAILQ_INSERT_TAIL(&n->mounted, m, link);
	n->nmounted++;
}

void mount3_free(struct nfs *n)
{
	struct nfs_mounted *m;
	while ((m = TAILQ_FIRST(&n->mounted)))
		mounted_remove(n, m);
}

/* ---- MNT ---- */

static bool get_path(struct rpc_req *req, char path[MNTPATHLEN + 1])
{
	const uint8_t *p;
	uint32_t len;
	if (!xdr_opaque(&req->args, MNTPATHLEN, &p, &len) || memchr(p, 0, len))
		return false;
	memcpy(path, p, len);
	path[len] = '\0';
	return true;
}

static void strip_slashes(char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
}

/* What a client gets: a handle and how to use it. */
struct mount_found {
	uint8_t fh[FH_SIZE];
	uint8_t sec[SEC_COUNT];
	unsigned nsec;
};

/* Finds the directory and makes its handle. With any flavour (RFC 2623 2.7): what is behind the
 * handle is protected where it is used. -EINPROGRESS: who may is being looked up. */
static int mount_find(struct nfs *n, struct rpc_req *req, const char *path, struct mount_found *ret)
{
	const char *rest;
	const struct export *e = export_by_path(n->table, path, &rest);
	/* Who may not mount it does not learn whether there is such an export. */
	const struct export_rule *r = e ? nfs_rule_of(n, req, e) : NULL;
	if (!r)
		return e && nfs_rule_refused(req, e) == NFS3ERR_JUKEBOX ? -EINPROGRESS : -EACCES;
	memcpy(ret->sec, r->sec, sizeof(ret->sec));
	ret->nsec = r->nsec;
	struct nfs_mount *m = nfs_mount_by_name(n, e->fs);
	if (!m || !m->fs || m->leaving)
		return -EAGAIN;
	struct export_table *t = n->table;
	struct fs_fid at;
	nfs_mount_hold(m);
	export_table_get(t);
	int rc = nfs_export_find(m, e, &at);
	if (rc == 0)
		rc = nfs_walk(m->fs, &at, rest, &at);
	if (rc == 0) {
		struct fh h = {
		    .fs_id = m->id, .export_id = e->id, .ino = at.ino, .generation = at.generation};
		fh_encode(&h, &m->key, ret->fh);
	}
	export_table_put(t);
	nfs_mount_release(m);
	return rc;
}

static bool may_wait(const struct nfs *n, const struct mount_wait *w)
{
	const struct mount_wait *o;
	unsigned all = 0, host = 0;
	LIST_FOREACH (o, &n->mount_waits, link) {
		all++;
		host += o->host == w->host;
	}
	return all < WAITS && host < WAITS_HOST;
}

static int find_or_fenced(struct nfs *n, struct rpc_req *req, const char *path,
			  struct mount_found *ret)
{
	return nfs_fenced(n) ? -ERR_EPOCH_STALE : mount_find(n, req, path, ret);
}

/* As mount_find(), when it is known who may; -EINPROGRESS: it is not, and there is no answer. */
static int mount_find_known(struct nfs *n, struct rpc_req *req, const char *path,
			    struct mount_found *ret)
{
	struct mount_wait w = {.host = rpc_host_of(rpc_conn_peer(req->conn))};
	uint64_t end = env_now_ns(n->o.env) + WAIT_NS;
	int rc = find_or_fenced(n, req, path, ret);
	if (rc != -EINPROGRESS || !may_wait(n, &w))
		return rc;
	LIST_INSERT_HEAD(&n->mount_waits, &w, link);
	while (rc == -EINPROGRESS && rpc_wait_on(req) && env_now_ns(n->o.env) < end) {
		env_sleep_ns(n->o.env, LOOK_NS);
		rc = find_or_fenced(n, req, path, ret);
	}
	LIST_REMOVE(&w, link);
	return rc;
}

/* Pseudo-flavours of RFC 2623 2.2. */
static void put_flavors(struct xdr_out *x, const struct mount_found *f)
{
	static const uint32_t numbers[SEC_COUNT] = {RPC_FLAVOR_SYS, 390003, 390004, 390005};
	xdr_put_u32(x, f->nsec);
	for (unsigned i = 0; i < f->nsec; i++)
		xdr_put_u32(x, numbers[f->sec[i]]);
}

/* As nfs_relay(), of an export's path. */
static int relay_path(struct nfs *n, struct rpc_req *req, const char *path)
{
	const char *rest;
	const struct export *e = nfs_fenced(n) ? NULL : export_by_path(n->table, path, &rest);
	return e && e->head ? nfs_relay(n, req, e) : -ENOENT;
}

static int mount3_mnt(struct rpc_req *req, void *arg)
{
	struct nfs *n = arg;
	char path[MNTPATHLEN + 1];
	struct mount_found found;
	if (!get_path(req, path))
		return RPC_GARBAGE_ARGS;
	strip_slashes(path);
	int relayed = relay_path(n, req, path);
	if (relayed >= 0)
		return relayed;
	int rc = mount_find_known(n, req, path, &found);
	if (rc == -ERR_EPOCH_STALE || rc == -EINPROGRESS)
		return RPC_DROP;
	const char *host = rpc_conn_peer_text(req->conn);
	log_info("nfs: mount client=%s path=%s result=%s", host, path, rc ? err_name(rc) : "ok");
	xdr_put_u32(&req->out, mount_status(rc));
	if (rc == 0) {
		xdr_put_opaque(&req->out, found.fh, FH_SIZE);
		put_flavors(&req->out, &found);
		mounted_add(n, host, path);
	}
	return RPC_SUCCESS;
}

/* ---- the others ---- */

static int mount3_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

static int mount3_umnt(struct rpc_req *req, void *arg)
{
	struct nfs *n = arg;
	char path[MNTPATHLEN + 1];
	if (!get_path(req, path))
		return RPC_GARBAGE_ARGS;
	strip_slashes(path);
	int relayed = relay_path(n, req, path);
	if (relayed >= 0)
		return relayed;
	struct nfs_mounted *m = mounted_find(n, rpc_conn_peer_text(req->conn), path);
	if (m)
		mounted_remove(n, m);
	return RPC_SUCCESS;
}

static int mount3_umntall(struct rpc_req *req, void *arg)
{
	struct nfs *n = arg;
	const char *host = rpc_conn_peer_text(req->conn);
	struct nfs_mounted *m, *next;
	TAILQ_FOREACH_SAFE (m, &n->mounted, link, next)
		if (strcmp(m->host, host) == 0)
			mounted_remove(n, m);
	return RPC_SUCCESS;
}

static size_t string_size(const char *s)
{
	size_t n = strlen(s);
	return 4 + ROUND_UP(n, 4);
}

static int mount3_dump(struct rpc_req *req, void *arg)
{
	struct nfs *n = arg;
	const char *host = rpc_conn_peer_text(req->conn);
	struct nfs_mounted *m;
	size_t size = 4;
	TAILQ_FOREACH (m, &n->mounted, link)
		size += 4 + string_size(m->host) + string_size(m->path);
	if (!rpc_reply_reserve(req, size))
		return RPC_SYSTEM_ERR;
	TAILQ_FOREACH (m, &n->mounted, link) {
		if (strcmp(m->host, host) != 0)
			continue;
		xdr_put_bool(&req->out, true);
		xdr_put_string(&req->out, m->host);
		xdr_put_string(&req->out, m->path);
	}
	xdr_put_bool(&req->out, false);
	return RPC_SUCCESS;
}

/* Groups are the rules, as configured. */
static void put_export(struct xdr_out *x, const struct export *e)
{
	xdr_put_bool(x, true);
	xdr_put_string(x, e->path);
	for (unsigned i = 0; i < e->nrules; i++) {
		xdr_put_bool(x, true);
		xdr_put_string(x, e->rules[i].text);
	}
	xdr_put_bool(x, false);
}

static int mount3_export(struct rpc_req *req, void *arg)
{
	struct nfs *n = arg;
	size_t size = 4;
	for (unsigned i = 0; i < n->table->count; i++) {
		const struct export *e = &n->table->exports[i];
		size += 8 + string_size(e->path);
		for (unsigned k = 0; k < e->nrules; k++)
			size += 4 + string_size(e->rules[k].text);
	}
	if (!rpc_reply_reserve(req, size))
		return RPC_SYSTEM_ERR;
	for (unsigned i = 0; i < n->table->count; i++)
		if (export_match_rule(&n->table->exports[i], rpc_conn_peer(req->conn), NULL))
			put_export(&req->out, &n->table->exports[i]);
	xdr_put_bool(&req->out, false);
	return RPC_SUCCESS;
}

const struct rpc_proc mount3_procs[MOUNT3_PROCS] = {
    [0] = {"MNT NULL", mount3_null, NULL, 0},	[1] = {"MNT", NULL, mount3_mnt, 0},
    [2] = {"DUMP", mount3_dump, NULL, 0},	[3] = {"UMNT", mount3_umnt, NULL, 0},
    [4] = {"UMNTALL", mount3_umntall, NULL, 0}, [5] = {"EXPORT", mount3_export, NULL, 0},
};
