/*
 * READ, WRITE, COMMIT (RFC 8881 18.22, 18.32, 18.3).
 *
 * A READ that ends its compound sends the file system's own pages, held until the reply has left,
 * as version 3 does; one in the middle is copied. WRITE hands the payload on where it was received.
 */
#include <errno.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define READ_HEAD 8

static void read_release(struct rpc_req *req)
{
	struct nfs4_call *k = (struct nfs4_call *)req->area;
	fs_read_done(k->c.mount->fs, &k->c.read);
	k->c.reading = false;
	nfs_let_go(&k->c);
}

static enum nfs4_status not_regular(const struct fs_attr *a)
{
	return a->type == FS_DIR   ? NFS4ERR_ISDIR
	       : a->type == FS_LNK ? NFS4ERR_SYMLINK
				   : NFS4ERR_WRONG_TYPE;
}

/* Regular files only; the others have errors of their own. */
enum nfs4_status nfs4_io_status(struct nfs4_call *k, int rc)
{
	struct fs_attr a;
	if (rc == -EINVAL && fs_getattr_try(k->c.mount->fs, &k->c.fid, &a) == 0 && a.type != FS_REG)
		return not_regular(&a);
	return nfs4_status_of(k, rc);
}

void nfs4_put_read(struct nfs4_call *k, const struct fs_read *r)
{
	xdr_put_u32(k->out, r->len);
	for (int i = 0; i < r->iovcnt; i++) {
		uint8_t *p = xdr_take(k->out, r->iov[i].iov_len);
		if (p)
			memcpy(p, r->iov[i].iov_base, r->iov[i].iov_len);
	}
	uint8_t *pad = xdr_take(k->out, xdr_pad(r->len));
	if (pad)
		memset(pad, 0, xdr_pad(r->len));
}

static enum nfs4_status read_copy(struct nfs4_call *k)
{
	struct fs_read *r = &k->c.read;
	enum nfs4_status st = NFS4_OK;
	if (nfs4_room(k, READ_HEAD + r->len + 4)) {
		xdr_put_bool(k->out, r->eof);
		nfs4_put_read(k, r);
	} else {
		st = NFS4ERR_REP_TOO_BIG;
	}
	fs_read_done(k->c.mount->fs, r);
	return st;
}

void nfs4_read_body(struct nfs4_call *k)
{
	struct fs_read *r = &k->c.read;
	k->req->body = r->iov;
	k->req->body_n = r->iovcnt;
	k->req->body_len = r->len;
	k->req->release = read_release;
	k->c.reading = true;
}

/* A kept reply is one piece of memory. */
bool nfs4_read_may_body(const struct nfs4_call *k)
{
	return k->index + 1 == k->nops && !k->cache_this && !rpc_is_once(k->req);
}

enum nfs4_status nfs4_read_begin(struct nfs4_call *k, uint64_t *ret_off, uint32_t *ret_count)
{
	struct stateid sid;
	uint32_t count;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u64(k->in, ret_off) || !xdr_u32(k->in, &count))
		return NFS4ERR_BADXDR;
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_READ);
	if (st)
		return st;
	size_t left = nfs4_reply_left(k), head = READ_HEAD + 64;
	count = MIN(count, (uint32_t)FS_IO_MAX);
	if (count && left < head + 4)
		return NFS4ERR_REP_TOO_BIG;
	if (count && count > left - head)
		count = (uint32_t)(left - head) & ~3u;
	*ret_count = count;
	return NFS4_OK;
}

enum nfs4_status nfs4_op_read(struct nfs4_call *k)
{
	uint64_t off;
	uint32_t count;
	enum nfs4_status st = nfs4_read_begin(k, &off, &count);
	if (st)
		return st;
	struct fs_attr post;
	int rc = fs_read(k->c.mount->fs, &k->c.cred, &k->c.fid, off, count, &k->c.read, &post);
	if (rc < 0)
		return nfs4_io_status(k, rc);
	k->c.read_bytes += k->c.read.len;
	if (!nfs4_read_may_body(k))
		return read_copy(k);
	xdr_put_bool(k->out, k->c.read.eof);
	xdr_put_u32(k->out, k->c.read.len);
	nfs4_read_body(k);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_write(struct nfs4_call *k)
{
	struct stateid sid;
	uint64_t off;
	uint32_t stable, len;
	const uint8_t *data;
	enum nfs4_status st = nfs4_arg_stateid(k, &sid);
	if (st == NFS4ERR_BADXDR || !xdr_u64(k->in, &off) || !xdr_u32(k->in, &stable) ||
	    stable > FS_WRITE_FILE_SYNC || !xdr_opaque(k->in, UINT32_MAX, &data, &len))
		return NFS4ERR_BADXDR;
	st = st ?: nfs4_io_check(k, &sid, LOCK_SHARE_WRITE);
	if (st)
		return st;
	struct iovec iov = {.iov_base = (void *)data, .iov_len = MIN(len, (uint32_t)FS_IO_MAX)};
	int rc = fs_write(k->c.mount->fs, &k->c.cred, &k->c.fid, off, &iov, 1, stable, NULL);
	if (rc < 0)
		return nfs4_io_status(k, rc);
	k->c.write_bytes += iov.iov_len;
	xdr_put_u32(k->out, (uint32_t)iov.iov_len);
	xdr_put_u32(k->out, stable);
	xdr_put_u64(k->out, fs_write_verifier(k->c.mount->fs));
	return NFS4_OK;
}

enum nfs4_status nfs4_op_commit(struct nfs4_call *k)
{
	struct fs_attr a;
	uint64_t off;
	uint32_t count;
	if (!xdr_u64(k->in, &off) || !xdr_u32(k->in, &count))
		return NFS4ERR_BADXDR;
	/* Version 4.1 has no error for it: what is behind the end is to its end. */
	if (off + count < off && k->minor == 0)
		return NFS4ERR_INVAL;
	if (off + count < off)
		count = 0;
	int rc = fs_getattr(k->c.mount->fs, &k->c.fid, &a);
	if (!rc && a.type != FS_REG)
		return not_regular(&a);
	rc = rc ?: fs_commit(k->c.mount->fs, &k->c.fid, off, count ? count : UINT64_MAX, NULL);
	if (rc)
		return nfs4_io_status(k, rc);
	xdr_put_u64(k->out, fs_write_verifier(k->c.mount->fs));
	return NFS4_OK;
}
