/*
 * READDIR and READDIRPLUS (RFC 1813 3.3.16, 3.3.17).
 *
 * Cookies are the file system's and never go stale, so the cookie verifier is one value a file
 * system. Entries are put into the reply while the file system walks, until the next would pass
 * one of the client's limits; the reply always has room for its end.
 *
 *   reply: status, dir attributes, verifier, { 1, entry }*, 0, eof
 */
#include <string.h>
#include "nasfront/nfs/nfs3_xdr.h"

#define DIR_HEAD (4 + 4 + NFS3_FATTR_SIZE + 8) /* what stands before the entries */
#define DIR_TAIL (4 + 4)

struct dir_fill {
	struct nfs_call *c;
	struct xdr_out x; /* the entries */
	bool plus;
	uint32_t names; /* READDIRPLUS: bytes left of dircount */
	unsigned entries;
	bool closed; /* its ".." is shown as itself: it begins the export, or lies outside */
};

static size_t entry_size(const struct dir_fill *d, uint32_t namelen)
{
	size_t n = 4 + 8 + 4 + namelen + xdr_pad(namelen) + 8;
	return d->plus ? n + 4 + NFS3_FATTR_SIZE + 4 + NFS3_FH_WIRE : n;
}

static void put_plus(struct dir_fill *d, const struct fs_attr *a, bool up)
{
	/* This ".." names a place outside the export: no attributes, no handle. */
	bool show = a && !(up && d->closed);
	nfs3_put_post_op(&d->x, show && !nfs_attr_stale(d->c, a) ? a : NULL, d->c->mount->id);
	xdr_put_bool(&d->x, show);
	if (show)
		nfs3_put_fh(&d->x, d->c, a);
}

static bool dir_emit(void *arg, const char *name, uint32_t namelen, uint64_t ino, uint64_t cookie,
		     const struct fs_attr *attr)
{
	struct dir_fill *d = arg;
	bool up = namelen == 2 && name[0] == '.' && name[1] == '.';
	/* dircount limits what names, file ids and cookies take; it is a hint for the first. */
	uint32_t hint = 8 + 4 + namelen + xdr_pad(namelen) + 8;
	if (xdr_room(&d->x) < entry_size(d, namelen) + DIR_TAIL)
		return false;
	if (d->plus && d->entries && d->names < hint)
		return false;
	d->names -= MIN(d->names, hint);
	xdr_put_bool(&d->x, true);
	xdr_put_u64(&d->x, up && d->closed ? d->c->fid.ino : ino);
	xdr_put_opaque(&d->x, name, namelen);
	xdr_put_u64(&d->x, cookie);
	if (d->plus)
		put_plus(d, attr, up);
	d->entries++;
	return true;
}

static void dir_run(struct dir_fill *d, uint64_t cookie, struct fs_attr *dir, bool *eof)
{
	struct nfs_call *c = d->c;
	bool top;
	d->closed = nfs_inside(c, &c->fid, &top) || top;
	nfs_result(
	    c, fs_readdir(c->mount->fs, &c->cred, &c->fid, cookie, d->plus, dir_emit, d, eof, dir));
	if (!c->status && !d->entries && !*eof)
		c->status = NFS3ERR_TOOSMALL;
}

static int dir_fail(struct nfs_call *c)
{
	xdr_put_u32(&c->req->out, c->status);
	nfs3_put_attr_of(c, &c->fid, NULL, false);
	return nfs_end(c);
}

/* The entries were written behind the room of the head; now the head is known. */
static int dir_reply(struct dir_fill *d, const struct fs_attr *dir, bool eof)
{
	struct nfs_call *c = d->c;
	struct xdr_out *x = &c->req->out;
	xdr_put_u32(x, NFS3_OK);
	nfs3_put_post_op(x, dir, c->mount->id);
	xdr_put_u64(x, c->mount->dir_verifier);
	ASSERT(x->p == d->x.base);
	x->p = d->x.p;
	xdr_put_bool(x, false);
	xdr_put_bool(x, eof);
	return nfs_end(c);
}

static int dir_read(struct rpc_req *req, void *arg, bool plus)
{
	struct dir_fill d = {.plus = plus};
	struct fs_attr dir;
	uint64_t cookie, verifier;
	uint32_t count;
	bool eof = false;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u64(&req->args, &cookie) || !xdr_u64(&req->args, &verifier) ||
	    (plus && !xdr_u32(&req->args, &d.names)) || !xdr_u32(&req->args, &count))
		return nfs_garbage(c);
	if (!c->status && cookie && verifier && verifier != c->mount->dir_verifier)
		c->status = NFS3ERR_BAD_COOKIE;
	if (!c->status && count < DIR_HEAD + DIR_TAIL)
		c->status = NFS3ERR_TOOSMALL;
	count = MIN(count, (uint32_t)NFS_DIR_MAX);
	if (!c->status && !rpc_reply_reserve(req, count))
		c->status = NFS3ERR_JUKEBOX;
	if (c->status)
		return dir_fail(c);
	d.c = c;
	d.x = xdr_out_of(req->out.base + DIR_HEAD, count - DIR_HEAD);
	dir_run(&d, cookie, &dir, &eof);
	return c->status ? dir_fail(c) : dir_reply(&d, &dir, eof);
}

int nfs3_readdir(struct rpc_req *req, void *arg)
{
	return dir_read(req, arg, false);
}

int nfs3_readdirplus(struct rpc_req *req, void *arg)
{
	return dir_read(req, arg, true);
}
