/* FSSTAT, FSINFO, PATHCONF (RFC 1813 3.3.18 to 3.3.20). */
#include "nasfront/nfs/nfs3_xdr.h"

enum { FSF3_LINK = 1, FSF3_SYMLINK = 2, FSF3_HOMOGENEOUS = 8, FSF3_CANSETTIME = 16 };

/* All three: status, then the object's attributes. True when the rest may follow. */
static bool info_head(struct nfs_call *c)
{
	struct fs_attr a;
	if (!c->status)
		nfs_result(c, fs_getattr(c->mount->fs, &c->fid, &a));
	xdr_put_u32(&c->req->out, c->status);
	nfs3_put_post_op(&c->req->out, c->status ? NULL : &a, c->mount ? c->mount->id : 0);
	return !c->status;
}

int nfs3_fsstat(struct rpc_req *req, void *arg)
{
	struct fs_statfs s;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MOUNTING);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!c->status)
		nfs_result(c, fs_statfs_at(c->mount->fs, &c->fid, &s));
	if (info_head(c)) {
		const uint64_t fields[] = {s.total_bytes, s.free_bytes, s.avail_bytes,
					   s.total_files, s.free_files, s.free_files};
		for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
			xdr_put_u64(&req->out, fields[i]);
		xdr_put_u32(&req->out, 0); /* invarsec: it may change at any time */
	}
	return nfs_end(c);
}

int nfs3_fsinfo(struct rpc_req *req, void *arg)
{
	struct nfs_call *c = nfs_begin(req, arg, NFS_MOUNTING);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (info_head(c)) {
		/* rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref */
		const uint32_t sizes[] = {FS_IO_MAX, FS_IO_MAX,	    FS_BLOCK_SIZE, FS_IO_MAX,
					  FS_IO_MAX, FS_BLOCK_SIZE, NFS_DIR_MAX};
		for (unsigned i = 0; i < ARRAY_LEN(sizes); i++)
			xdr_put_u32(&req->out, sizes[i]);
		xdr_put_u64(&req->out, FS_SIZE_MAX); /* maxfilesize */
		xdr_put_u32(&req->out, 0);	     /* time_delta: 1 ns */
		xdr_put_u32(&req->out, 1);
		xdr_put_u32(&req->out,
			    FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
	}
	return nfs_end(c);
}

int nfs3_pathconf(struct rpc_req *req, void *arg)
{
	struct nfs_call *c = nfs_begin(req, arg, NFS_MOUNTING);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (info_head(c)) {
		xdr_put_u32(&req->out, FS_LINK_MAX);
		xdr_put_u32(&req->out, FS_NAME_MAX);
		xdr_put_bool(&req->out, true);	/* no_trunc */
		xdr_put_bool(&req->out, true);	/* chown_restricted */
		xdr_put_bool(&req->out, false); /* case_insensitive */
		xdr_put_bool(&req->out, true);	/* case_preserving */
	}
	return nfs_end(c);
}
