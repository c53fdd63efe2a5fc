/* The data types of NFS version 3 (RFC 1813 section 2.6) on the wire. */
#ifndef ISTHMUS_NASFRONT_NFS3_XDR_H
#define ISTHMUS_NASFRONT_NFS3_XDR_H

#include "nasfront/nfs/nfs_impl.h"

#define NFS3_FATTR_SIZE 84
#define NFS3_FH_WIRE	(4 + FH_SIZE)

void nfs3_put_fattr(struct xdr_out *x, const struct fs_attr *a, uint64_t fsid);
/* NULL: no attributes. */
void nfs3_put_post_op(struct xdr_out *x, const struct fs_attr *a, uint64_t fsid);
void nfs3_put_wcc(struct xdr_out *x, const struct fs_wcc *w, uint64_t fsid);
void nfs3_put_fh(struct xdr_out *x, const struct nfs_call *c, const struct fs_attr *a);

bool nfs3_get_time(struct xdr_in *x, struct fs_time *ret);
bool nfs3_get_sattr(struct xdr_in *x, struct fs_setattr *ret);

/* A name of a directory entry, in place. False: garbage. What is wrong with it as a name is put
 * into c->status when that is still NFS3_OK. make: "." and ".." are refused too. */
struct nfs_name {
	const char *p;
	uint32_t len;
};
bool nfs3_get_name(struct nfs_call *c, struct nfs_name *ret);
/* A name that is to be made or removed: not "." and not "..", which get `dots`. */
void nfs3_refuse_dots(struct nfs_call *c, const struct nfs_name *n, enum nfsstat3 dots);

/* The post_op_attr of an object after an error or success: `a` when `have`, else what is in
 * memory, else nothing. Never waits. */
void nfs3_put_attr_of(struct nfs_call *c, const struct fs_fid *f, const struct fs_attr *a,
		      bool have);
/* The same for a wcc: what the file system did not fill. */
void nfs3_put_wcc_of(struct nfs_call *c, const struct fs_fid *f, struct fs_wcc *w);

#endif
