/*
 * NFSACL version 3 (program 100227): POSIX access control lists beside NFSv3, as Solaris began it
 * and Linux speaks it. There is no RFC; on the wire:
 *
 *	GETACL  { handle, u32 mask } -> { status, post_op_attr, u32 mask, list, list }
 *	SETACL  { handle, u32 mask, list, list } -> { status, post_op_attr }
 *	list    { u32 count, u32 entries, { u32 tag, u32 id, u32 perm } * entries }
 *
 * The first list is of access, the second of defaults (tags with 0x1000); mask says which of lists
 * and counts are meant. Entries are none or as many as the count. A list of a mode alone has four:
 * a mask like the group's is put in, as clients expect. What a list means: fs/acl_posix.c.
 *
 * A list that is not meant by SETACL's mask stays as it is.
 */
#include <string.h>
#include "nasfront/nfs/nfs3_xdr.h"

#define ENTRIES_MAX 1024 /* on the wire */
#define TAG_DEFAULT 0x1000u
#define ENTRY_WIRE  12

enum { MASK_ACL = 1, MASK_ACL_COUNT = 2, MASK_DEFAULT = 4, MASK_DEFAULT_COUNT = 8, MASK_ALL = 15 };

static int acl3_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

/* ---- GETACL ---- */

static void mask_add(struct fs_posix_acl *l)
{
	if (l->n != 3)
		return;
	l->e[3] = l->e[2];
	l->e[2] = (struct fs_posix_ace){.tag = FS_POSIX_MASK, .perm = l->e[1].perm};
	l->n = 4;
}

static void put_list(struct xdr_out *x, const struct fs_posix_acl *l, const struct fs_attr *a,
		     uint32_t tag, bool entries)
{
	xdr_put_u32(x, l->n);
	xdr_put_u32(x, entries ? l->n : 0);
	for (unsigned i = 0; entries && i < l->n; i++) {
		const struct fs_posix_ace *e = &l->e[i];
		uint32_t id = e->tag == FS_POSIX_USER_OBJ    ? a->uid
			      : e->tag == FS_POSIX_GROUP_OBJ ? a->gid
							     : e->id;
		xdr_put_u32(x, e->tag | tag);
		xdr_put_u32(x, id);
		xdr_put_u32(x, e->perm);
	}
}

static void getacl_read(struct nfs_call *c, struct fs_attr *a, struct fs_posix_acl l[2])
{
	nfs_result(c, fs_getattr(c->mount->fs, &c->fid, a));
	if (!c->status)
		nfs_result(c, fs_posix_acl_get(c->mount->fs, &c->fid, &l[0], &l[1]));
	if (c->status)
		return;
	mask_add(&l[0]);
	mask_add(&l[1]);
}

static int acl3_getacl(struct rpc_req *req, void *arg)
{
	struct fs_posix_acl l[2];
	struct fs_attr a;
	uint32_t mask;
	struct nfs_call *c = nfs_begin(req, arg, 0);
	struct xdr_out *x = &req->out;
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u32(&req->args, &mask))
		return nfs_garbage(c);
	if (!c->status && mask & ~(uint32_t)MASK_ALL)
		c->status = NFS3ERR_INVAL;
	if (!c->status)
		getacl_read(c, &a, l);
	if (!c->status && !rpc_reply_reserve(req, 128 + (l[0].n + l[1].n) * ENTRY_WIRE))
		c->status = NFS3ERR_JUKEBOX;
	xdr_put_u32(x, c->status);
	nfs3_put_attr_of(c, &c->fid, &a, !c->status);
	if (!c->status) {
		xdr_put_u32(x, mask);
		put_list(x, &l[0], &a, 0, mask & MASK_ACL);
		put_list(x, &l[1], &a, TAG_DEFAULT, mask & MASK_DEFAULT);
	}
	return nfs_end(c);
}

/* ---- SETACL ---- */

static bool get_entry(struct xdr_in *x, uint32_t dflt, struct fs_posix_ace *ret, bool *ret_sound)
{
	uint32_t tag, id, perm;
	if (!xdr_u32(x, &tag) || !xdr_u32(x, &id) || !xdr_u32(x, &perm))
		return false;
	if (tag == (FS_POSIX_MASK | dflt))
		perm &= 7; /* Solaris sets more bits in a mask, and means none */
	if ((tag & TAG_DEFAULT) != dflt || (tag & ~TAG_DEFAULT) > FS_POSIX_OTHER || perm > 7)
		*ret_sound = false;
	*ret = (struct fs_posix_ace){.tag = (uint8_t)tag, .perm = (uint8_t)perm, .id = id};
	return true;
}

/* False: garbage. *ret_why is written when it is no list that can be set. */
static bool get_list(struct xdr_in *x, uint32_t dflt, struct fs_posix_acl *l,
		     enum nfsstat3 *ret_why)
{
	uint32_t count, n;
	bool sound = true;
	if (!xdr_u32(x, &count) || !xdr_u32(x, &n) || n > ENTRIES_MAX)
		return false;
	l->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct fs_posix_ace e;
		if (!get_entry(x, dflt, &e, &sound))
			return false;
		if (i < FS_POSIX_ROOM)
			l->e[l->n++] = e;
	}
	if (n && n != count)
		sound = false;
	if (!sound)
		*ret_why = NFS3ERR_INVAL;
	else if (n > FS_POSIX_ROOM)
		*ret_why = NFS3ERR_NOSPC;
	return true;
}

static int acl3_setacl(struct rpc_req *req, void *arg)
{
	struct fs_posix_acl l[2];
	struct fs_wcc wcc = {0};
	enum nfsstat3 why = NFS3_OK;
	uint32_t mask;
	struct nfs_call *c = nfs_begin(req, arg, NFS_MODIFIES);
	if (!c)
		return RPC_GARBAGE_ARGS;
	if (!xdr_u32(&req->args, &mask) || !get_list(&req->args, 0, &l[0], &why) ||
	    !get_list(&req->args, TAG_DEFAULT, &l[1], &why))
		return nfs_garbage(c);
	if (mask & ~(uint32_t)MASK_ALL)
		why = NFS3ERR_INVAL;
	if (!c->status)
		c->status = why;
	if (nfs_lent(c))
		nfs_result(c, fs_may_set_acl(c->mount->fs, &c->cred, &c->fid));
	nfs_change(c);
	if (!c->status)
		nfs_result(c, fs_posix_acl_set(c->mount->fs, &c->cred, &c->fid,
					       mask & MASK_ACL ? &l[0] : NULL,
					       mask & MASK_DEFAULT ? &l[1] : NULL, &wcc));
	xdr_put_u32(&req->out, c->status);
	nfs3_put_attr_of(c, &c->fid, &wcc.post, wcc.have_post);
	return nfs_end(c);
}

const struct rpc_proc acl3_procs[ACL3_PROCS] = {
    [0] = {"ACL NULL", acl3_null, NULL, 0},
    [1] = {"ACL GETACL", NULL, acl3_getacl, 0},
    [2] = {"ACL SETACL", NULL, acl3_setacl, RPC_CACHED},
};
