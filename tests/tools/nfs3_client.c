/* One NFSv3 connection of a test (nfs3_client.h): connecting, and a call at a time. */
#include "tests/tools/nfs3_client_impl.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- connections ---- */

static void on_connect(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct nc *c = arg;
	c->done = true;
	c->res.rpc = status == RPC_STATUS_SUCCESS ? NC_OK : NC_LOST;
}

/* Until the call under way is answered. */
const struct nc_res *nc_run(struct nc *c, int rc)
{
	if (rc < 0) {
		c->dead = true;
		c->res.rpc = NC_LOST;
		return &c->res;
	}
	while (!c->done) {
		struct pollfd p = {.fd = rpc_get_fd(c->rpc),
				   .events = (short)rpc_which_events(c->rpc)};
		if (poll(&p, 1, NC_TIMEOUT) <= 0 || rpc_service(c->rpc, p.revents) < 0) {
			c->dead = true;
			c->done = true;
			c->res.rpc = NC_LOST;
		}
	}
	return &c->res;
}

/* From the first port of those that is free; 0: any. */
static int dial(struct nc *c, const char *source, int first, int last)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	int one = 1;
	inet_pton(AF_INET, c->server, &to.sin_addr);
	if (source)
		inet_pton(AF_INET, source, &from.sin_addr);
	for (int port = first; port <= last; port++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0)
			return -1;
		from.sin_port = htons((uint16_t)port);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
		    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			fcntl(fd, F_SETFL, O_NONBLOCK);
			return fd;
		}
		close(fd);
	}
	return -1;
}

bool nc_reconnect(struct nc *c)
{
	struct sockaddr_in here;
	socklen_t len = sizeof(here);
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	char source[INET_ADDRSTRLEN];
	int old = rpc_get_fd(c->rpc);
	if (getsockname(old, (struct sockaddr *)&here, &len))
		return false;
	inet_ntop(AF_INET, &here.sin_addr, source, sizeof(source));
	/* Reset, so that the port is free at once. The number of the descriptor is libnfs's. */
	setsockopt(old, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	int keep = open("/dev/null", O_RDONLY);
	if (keep < 0 || dup2(keep, old) < 0)
		return false;
	close(keep);
	int fd = dial(c, source, ntohs(here.sin_port), ntohs(here.sin_port));
	bool ok = fd >= 0 && dup2(fd, old) >= 0;
	if (fd >= 0)
		close(fd);
	c->dead = !ok;
	return ok;
}

struct nc *nc_open(const char *server, int port, const char *source, bool low)
{
	struct nc *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->server = server;
	c->port = port;
	c->data = malloc(NC_DATA);
	c->rpc = rpc_init_context();
	if (!c->data || !c->rpc || rpc_connect_async(c->rpc, server, port, on_connect, c) < 0) {
		nc_close(c);
		return NULL;
	}
	nc_run(c, 0);
	/* libnfs chooses where it comes from; ours takes the place of its connection. */
	int first = low ? 600 + (int)getpid() % 300 : 0;
	int fd = c->res.rpc == NC_OK ? dial(c, source, first, first + (low ? 100 : 0)) : -1;
	if (fd < 0 || dup2(fd, rpc_get_fd(c->rpc)) < 0) {
		if (fd >= 0)
			close(fd);
		nc_close(c);
		return NULL;
	}
	close(fd);
	rpc_set_next_xid(c->rpc, (uint32_t)random());
	nc_user(c, 0, 0, 0, NULL);
	return c;
}

void nc_close(struct nc *c)
{
	if (!c)
		return;
	if (c->rpc)
		rpc_destroy_context(c->rpc);
	free(c->data);
	free(c->entries);
	free(c);
}

void nc_user(struct nc *c, uint32_t uid, uint32_t gid, unsigned ngroups, const uint32_t *groups)
{
	uint32_t copy[16];
	for (unsigned i = 0; i < ngroups && i < 16; i++)
		copy[i] = groups[i];
	c->uid = uid;
	c->gid = gid;
	rpc_set_auth(c->rpc, libnfs_authunix_create("test", uid, gid, ngroups, copy));
}

/* ---- results ---- */

bool nc_answered(struct nc *c, int status, int *stat)
{
	c->done = true;
	c->res.rpc = status == RPC_STATUS_SUCCESS ? NC_OK : NC_REFUSED;
	c->res.status = c->res.rpc == NC_OK && stat ? *stat : -1;
	return c->res.rpc == NC_OK;
}

void nc_take_fh(struct nc *c, const nfs_fh3 *f)
{
	c->res.has_fh = f->data.data_len <= sizeof(c->res.fh.data);
	if (!c->res.has_fh)
		return;
	c->res.fh.len = f->data.data_len;
	memcpy(c->res.fh.data, f->data.data_val, f->data.data_len);
}

static void take_post_fh(struct nc *c, const post_op_fh3 *f)
{
	if (f->handle_follows)
		nc_take_fh(c, &f->post_op_fh3_u.handle);
}

static void take(bool *has, fattr3 *to, const post_op_attr *from)
{
	*has = from->attributes_follow;
	if (*has)
		*to = from->post_op_attr_u.attributes;
}

static void take_attr(struct nc *c, const post_op_attr *a)
{
	take(&c->res.has_attr, &c->res.attr, a);
}

static void take_wcc(struct nc *c, int i, const wcc_data *w)
{
	struct nc_wcc *to = &c->res.wcc[i];
	to->has_pre = w->before.attributes_follow;
	if (to->has_pre)
		to->pre = w->before.pre_op_attr_u.attributes;
	take(&to->has_post, &to->post, &w->after);
}

static uint64_t verf_of(const char *v)
{
	uint64_t x;
	memcpy(&x, v, 8);
	return x;
}

/* The callback of a procedure: its body sees c, ok and r with its results. */
#define ON(NAME, TYPE)                                                                             \
	static void NAME##_result(struct nc *c, TYPE *r, bool ok);                                 \
	static void NAME(struct rpc_context *rpc, int status, void *data, void *arg)               \
	{                                                                                          \
		TYPE *r = data;                                                                    \
		int stat = status == RPC_STATUS_SUCCESS ? (int)r->status : -1;                     \
		((struct nc *)arg)->res.call = &#NAME[3];                                          \
		if (nc_answered(arg, status, &stat))                                               \
			NAME##_result(arg, r, stat == NFS3_OK);                                    \
	}                                                                                          \
	static void NAME##_result(struct nc *c, TYPE *r, bool ok)

static void on_nothing(struct rpc_context *rpc, int status, void *data, void *arg)
{
	int ok = 0;
	nc_answered(arg, status, &ok);
}

ON(on_getattr, GETATTR3res)
{
	c->res.has_attr = ok;
	if (ok)
		c->res.attr = r->GETATTR3res_u.resok.obj_attributes;
}

ON(on_setattr, SETATTR3res)
{
	take_wcc(c, 0, ok ? &r->SETATTR3res_u.resok.obj_wcc : &r->SETATTR3res_u.resfail.obj_wcc);
}

ON(on_lookup, LOOKUP3res)
{
	if (ok) {
		nc_take_fh(c, &r->LOOKUP3res_u.resok.object);
		take_attr(c, &r->LOOKUP3res_u.resok.obj_attributes);
	}
	take(&c->res.has_dir, &c->res.dir,
	     ok ? &r->LOOKUP3res_u.resok.dir_attributes : &r->LOOKUP3res_u.resfail.dir_attributes);
}

ON(on_access, ACCESS3res)
{
	take_attr(c, ok ? &r->ACCESS3res_u.resok.obj_attributes
			: &r->ACCESS3res_u.resfail.obj_attributes);
	if (ok)
		c->res.access = r->ACCESS3res_u.resok.access;
}

ON(on_readlink, READLINK3res)
{
	take_attr(c, ok ? &r->READLINK3res_u.resok.symlink_attributes
			: &r->READLINK3res_u.resfail.symlink_attributes);
	if (ok)
		c->res.count =
		    (uint32_t)snprintf(c->data, NC_DATA, "%s", r->READLINK3res_u.resok.data);
}

ON(on_read, READ3res)
{
	READ3resok *k = &r->READ3res_u.resok;
	take_attr(c, ok ? &k->file_attributes : &r->READ3res_u.resfail.file_attributes);
	if (!ok)
		return;
	c->res.eof = k->eof;
	c->res.count = k->count == k->data.data_len && k->count <= NC_DATA ? k->count : UINT32_MAX;
	if (c->res.count != UINT32_MAX)
		memcpy(c->data, k->data.data_val, k->count);
}

ON(on_write, WRITE3res)
{
	WRITE3resok *k = &r->WRITE3res_u.resok;
	take_wcc(c, 0, ok ? &k->file_wcc : &r->WRITE3res_u.resfail.file_wcc);
	if (!ok)
		return;
	c->res.count = k->count;
	c->res.committed = k->committed;
	c->res.verf = verf_of(k->verf);
}

ON(on_commit, COMMIT3res)
{
	take_wcc(c, 0, ok ? &r->COMMIT3res_u.resok.file_wcc : &r->COMMIT3res_u.resfail.file_wcc);
	if (ok)
		c->res.verf = verf_of(r->COMMIT3res_u.resok.verf);
}

/* CREATE, MKDIR, SYMLINK, MKNOD answer alike. */
#define ON_MADE(NAME, TYPE, U)                                                                     \
	ON(NAME, TYPE)                                                                             \
	{                                                                                          \
		if (ok) {                                                                          \
			take_post_fh(c, &r->U.resok.obj);                                          \
			take_attr(c, &r->U.resok.obj_attributes);                                  \
		}                                                                                  \
		take_wcc(c, 0, ok ? &r->U.resok.dir_wcc : &r->U.resfail.dir_wcc);                  \
	}
ON_MADE(on_create, CREATE3res, CREATE3res_u)
ON_MADE(on_mkdir, MKDIR3res, MKDIR3res_u)
ON_MADE(on_symlink, SYMLINK3res, SYMLINK3res_u)
ON_MADE(on_mknod, MKNOD3res, MKNOD3res_u)

ON(on_remove, REMOVE3res)
{
	take_wcc(c, 0, ok ? &r->REMOVE3res_u.resok.dir_wcc : &r->REMOVE3res_u.resfail.dir_wcc);
}

ON(on_rmdir, RMDIR3res)
{
	take_wcc(c, 0, ok ? &r->RMDIR3res_u.resok.dir_wcc : &r->RMDIR3res_u.resfail.dir_wcc);
}

ON(on_rename, RENAME3res)
{
	RENAME3resok *k = &r->RENAME3res_u.resok;
	RENAME3resfail *f = &r->RENAME3res_u.resfail;
	take_wcc(c, 0, ok ? &k->fromdir_wcc : &f->fromdir_wcc);
	take_wcc(c, 1, ok ? &k->todir_wcc : &f->todir_wcc);
}

ON(on_link, LINK3res)
{
	LINK3resok *k = &r->LINK3res_u.resok;
	LINK3resfail *f = &r->LINK3res_u.resfail;
	take_attr(c, ok ? &k->file_attributes : &f->file_attributes);
	take_wcc(c, 0, ok ? &k->linkdir_wcc : &f->linkdir_wcc);
}

static struct nc_entry *entry_add(struct nc *c, uint64_t fileid, uint64_t cookie, const char *name)
{
	if (c->nentries % 256 == 0)
		c->entries = realloc(c->entries, (c->nentries + 256) * sizeof(*c->entries));
	if (!c->entries)
		abort();
	struct nc_entry *e = &c->entries[c->nentries++];
	*e = (struct nc_entry){.fileid = fileid, .cookie = cookie};
	snprintf(e->name, sizeof(e->name), "%s", name);
	c->res.count++;
	return e;
}

ON(on_readdir, READDIR3res)
{
	READDIR3resok *k = &r->READDIR3res_u.resok;
	take_attr(c, ok ? &k->dir_attributes : &r->READDIR3res_u.resfail.dir_attributes);
	if (!ok)
		return;
	c->res.verf = verf_of(k->cookieverf);
	c->res.eof = k->reply.eof;
	for (entry3 *e = k->reply.entries; e; e = e->nextentry)
		entry_add(c, e->fileid, e->cookie, e->name);
}

ON(on_readdirplus, READDIRPLUS3res)
{
	READDIRPLUS3resok *k = &r->READDIRPLUS3res_u.resok;
	take_attr(c, ok ? &k->dir_attributes : &r->READDIRPLUS3res_u.resfail.dir_attributes);
	if (!ok)
		return;
	c->res.verf = verf_of(k->cookieverf);
	c->res.eof = k->reply.eof;
	for (entryplus3 *e = k->reply.entries; e; e = e->nextentry) {
		struct nc_entry *to = entry_add(c, e->fileid, e->cookie, e->name);
		const nfs_fh3 *f = &e->name_handle.post_op_fh3_u.handle;
		take(&to->has_attr, &to->attr, &e->name_attributes);
		to->has_fh = e->name_handle.handle_follows && f->data.data_len <= 64;
		to->fh.len = to->has_fh ? f->data.data_len : 0;
		memcpy(to->fh.data, f->data.data_val, to->fh.len);
	}
}

#define ON_INFO(NAME, TYPE, U, FIELD)                                                              \
	ON(NAME, TYPE)                                                                             \
	{                                                                                          \
		take_attr(c, ok ? &r->U.resok.obj_attributes : &r->U.resfail.obj_attributes);      \
		if (ok)                                                                            \
			c->res.FIELD = r->U.resok;                                                 \
	}
ON_INFO(on_fsstat, FSSTAT3res, FSSTAT3res_u, fsstat)
ON_INFO(on_fsinfo, FSINFO3res, FSINFO3res_u, fsinfo)
ON_INFO(on_pathconf, PATHCONF3res, PATHCONF3res_u, pathconf)

/* ---- calls ---- */

static nfs_fh3 wire(const struct nc_fh *f)
{
	return (nfs_fh3){.data = {f->len, (char *)f->data}};
}

void nc_begin(struct nc *c)
{
	c->done = false;
	memset(&c->res, 0, sizeof(c->res));
	c->res.status = -1;
}

static void hook_before(struct nc *c, const struct nc_fh *a, const struct nc_fh *b)
{
	if (c->before && !c->dead)
		c->before(c, (const struct nc_fh *const[2]){a, b});
	nc_begin(c);
}

static const struct nc_res *hook_after(struct nc *c, const struct nc_fh *a, const struct nc_fh *b,
				       const char *call)
{
	if (c->after && !c->dead) {
		struct nc_res kept = c->res;
		c->after(c, (const struct nc_fh *const[2]){a, b}, call);
		c->res = kept;
	}
	return &c->res;
}

#define CHANGE(c, a, b, proc, cb, args)                                                            \
	do {                                                                                       \
		DEAD(c)                                                                            \
		hook_before(c, a, b);                                                              \
		nc_run(c, rpc_##proc##_async((c)->rpc, cb, args, c));                              \
		return hook_after(c, a, b, #proc);                                                 \
	} while (0)

const struct nc_res *nc_null(struct nc *c)
{
	DEAD(c)
	nc_begin(c);
	return nc_run(c, rpc_nfs3_null_async(c->rpc, on_nothing, c));
}

const struct nc_res *nc_getattr(struct nc *c, const struct nc_fh *f)
{
	GETATTR3args a = {.object = wire(f)};
	CALL(c, nfs3_getattr, on_getattr, &a);
}

const struct nc_res *nc_setattr(struct nc *c, const struct nc_fh *f, const sattr3 *s,
				const nfstime3 *guard)
{
	SETATTR3args a = {.object = wire(f), .new_attributes = *s};
	a.guard.check = guard != NULL;
	if (guard)
		a.guard.sattrguard3_u.obj_ctime = *guard;
	CHANGE(c, f, NULL, nfs3_setattr, on_setattr, &a);
}

const struct nc_res *nc_lookup(struct nc *c, const struct nc_fh *dir, const char *name)
{
	LOOKUP3args a = {.what = {wire(dir), (char *)name}};
	CALL(c, nfs3_lookup, on_lookup, &a);
}

const struct nc_res *nc_access(struct nc *c, const struct nc_fh *f, uint32_t want)
{
	ACCESS3args a = {.object = wire(f), .access = want};
	CALL(c, nfs3_access, on_access, &a);
}

const struct nc_res *nc_readlink(struct nc *c, const struct nc_fh *f)
{
	READLINK3args a = {.symlink = wire(f)};
	CALL(c, nfs3_readlink, on_readlink, &a);
}

const struct nc_res *nc_read(struct nc *c, const struct nc_fh *f, uint64_t off, uint32_t count)
{
	READ3args a = {.file = wire(f), .offset = off, .count = count};
	CALL(c, nfs3_read, on_read, &a);
}

const struct nc_res *nc_write(struct nc *c, const struct nc_fh *f, uint64_t off, const void *data,
			      uint32_t count, stable_how stable)
{
	WRITE3args a = {.file = wire(f),
			.offset = off,
			.count = count,
			.stable = stable,
			.data = {count, (char *)data}};
	CHANGE(c, f, NULL, nfs3_write, on_write, &a);
}

const struct nc_res *nc_create(struct nc *c, const struct nc_fh *dir, const char *name,
			       createmode3 how, const sattr3 *s)
{
	CREATE3args a = {.where = {wire(dir), (char *)name}, .how = {.mode = how}};
	a.how.createhow3_u.obj_attributes = *s;
	CHANGE(c, dir, NULL, nfs3_create, on_create, &a);
}

const struct nc_res *nc_exclusive(struct nc *c, const struct nc_fh *dir, const char *name,
				  uint64_t verifier)
{
	CREATE3args a = {.where = {wire(dir), (char *)name}, .how = {.mode = EXCLUSIVE}};
	memcpy(a.how.createhow3_u.verf, &verifier, 8);
	CHANGE(c, dir, NULL, nfs3_create, on_create, &a);
}

const struct nc_res *nc_mkdir(struct nc *c, const struct nc_fh *dir, const char *name,
			      const sattr3 *s)
{
	MKDIR3args a = {.where = {wire(dir), (char *)name}, .attributes = *s};
	CHANGE(c, dir, NULL, nfs3_mkdir, on_mkdir, &a);
}

const struct nc_res *nc_symlink(struct nc *c, const struct nc_fh *dir, const char *name,
				const char *target, const sattr3 *s)
{
	SYMLINK3args a = {.where = {wire(dir), (char *)name}, .symlink = {*s, (char *)target}};
	CHANGE(c, dir, NULL, nfs3_symlink, on_symlink, &a);
}

const struct nc_res *nc_mknod(struct nc *c, const struct nc_fh *dir, const char *name, ftype3 type,
			      const sattr3 *s, uint32_t major, uint32_t minor)
{
	MKNOD3args a = {.where = {wire(dir), (char *)name}, .what = {.type = type}};
	/* Attributes come first in every arm. */
	a.what.mknoddata3_u.chr_device.dev_attributes = *s;
	a.what.mknoddata3_u.chr_device.spec = (specdata3){major, minor};
	CHANGE(c, dir, NULL, nfs3_mknod, on_mknod, &a);
}

const struct nc_res *nc_remove(struct nc *c, const struct nc_fh *dir, const char *name)
{
	REMOVE3args a = {.object = {wire(dir), (char *)name}};
	CHANGE(c, dir, NULL, nfs3_remove, on_remove, &a);
}

const struct nc_res *nc_rmdir(struct nc *c, const struct nc_fh *dir, const char *name)
{
	RMDIR3args a = {.object = {wire(dir), (char *)name}};
	CHANGE(c, dir, NULL, nfs3_rmdir, on_rmdir, &a);
}

const struct nc_res *nc_rename(struct nc *c, const struct nc_fh *from_dir, const char *from,
			       const struct nc_fh *to_dir, const char *to)
{
	RENAME3args a = {.from = {wire(from_dir), (char *)from}, .to = {wire(to_dir), (char *)to}};
	CHANGE(c, from_dir, to_dir, nfs3_rename, on_rename, &a);
}

const struct nc_res *nc_link(struct nc *c, const struct nc_fh *f, const struct nc_fh *dir,
			     const char *name)
{
	LINK3args a = {.file = wire(f), .link = {wire(dir), (char *)name}};
	CHANGE(c, dir, NULL, nfs3_link, on_link, &a);
}

const struct nc_res *nc_readdir(struct nc *c, const struct nc_fh *dir, uint64_t cookie,
				uint64_t verf, uint32_t count)
{
	READDIR3args a = {.dir = wire(dir), .cookie = cookie, .count = count};
	memcpy(a.cookieverf, &verf, 8);
	CALL(c, nfs3_readdir, on_readdir, &a);
}

const struct nc_res *nc_readdirplus(struct nc *c, const struct nc_fh *dir, uint64_t cookie,
				    uint64_t verf, uint32_t dircount, uint32_t maxcount)
{
	READDIRPLUS3args a = {
	    .dir = wire(dir), .cookie = cookie, .dircount = dircount, .maxcount = maxcount};
	memcpy(a.cookieverf, &verf, 8);
	CALL(c, nfs3_readdirplus, on_readdirplus, &a);
}

const struct nc_res *nc_fsstat(struct nc *c, const struct nc_fh *f)
{
	FSSTAT3args a = {.fsroot = wire(f)};
	CALL(c, nfs3_fsstat, on_fsstat, &a);
}

const struct nc_res *nc_fsinfo(struct nc *c, const struct nc_fh *f)
{
	FSINFO3args a = {.fsroot = wire(f)};
	CALL(c, nfs3_fsinfo, on_fsinfo, &a);
}

const struct nc_res *nc_pathconf(struct nc *c, const struct nc_fh *f)
{
	PATHCONF3args a = {.object = wire(f)};
	CALL(c, nfs3_pathconf, on_pathconf, &a);
}

const struct nc_res *nc_commit(struct nc *c, const struct nc_fh *f, uint64_t off, uint32_t count)
{
	COMMIT3args a = {.file = wire(f), .offset = off, .count = count};
	CHANGE(c, f, NULL, nfs3_commit, on_commit, &a);
}
