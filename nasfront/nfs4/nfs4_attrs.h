/* What is told of objects: pseudo directories, attributes, access control lists, owners. Inner
 * header of nasfront/nfs4. */
#ifndef ISTHMUS_NASFRONT_NFS4_ATTRS_H
#define ISTHMUS_NASFRONT_NFS4_ATTRS_H

#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs4/names.h"
#include "nasfront/nfs4/nfs4_proto.h"

struct nfs4;
struct nfs4_call;

#define NFS4_PSEUDO_FS	0 /* the file system id of pseudo directories in handles */
#define NFS4_PSEUDO_MAX 1024
#define NFS4_ATTRS_V40	56 /* version 4.0 has the attributes below this one */

struct nfs4_pseudo {
	uint64_t id; /* its fileid and what its handle says; of the root 1 */
	char *name;
	struct nfs4_pseudo *parent, *child, *next;
	const struct export *exp; /* an export begins here; it may have children all the same */
};

/* Rebuilt when the export table changes. */
struct nfs4_tree {
	unsigned refs;	     /* held across waits by who looks at nodes */
	uint64_t generation; /* of the table */
	struct export_table *table;
	struct nfs4_pseudo *root;
	unsigned count;
};

/* pseudo.c */
const struct nfs4_pseudo *nfs4_pseudo_root(struct nfs4 *n);
const struct nfs4_pseudo *nfs4_pseudo_find(struct nfs4 *n, uint64_t id);
const struct nfs4_pseudo *nfs4_pseudo_child(const struct nfs4_pseudo *p, const char *name,
					    uint32_t len);
/* The node an export is at. */
const struct nfs4_pseudo *nfs4_pseudo_of(struct nfs4 *n, const struct export *e);
/* An export at or below it admits the caller. */
bool nfs4_pseudo_visible(struct nfs4_call *k, const struct nfs4_pseudo *p);
/* It is an export that would admit the caller by another kind of connection. */
bool nfs4_pseudo_wants_xprt(struct nfs4_call *k, const struct nfs4_pseudo *p);
/* Its own: not below it. */
bool nfs4_pseudo_mine(struct nfs4_call *k, const struct export *e);
/* The same, or it cannot be said yet: entering it is NFS4ERR_DELAY then. */
bool nfs4_pseudo_may_be(struct nfs4_call *k, const struct export *e);
/* Whether it is visible: NFS4_OK, NFS4ERR_NOENT, or NFS4ERR_DELAY while that cannot be said. */
enum nfs4_status nfs4_pseudo_look(struct nfs4_call *k, const struct nfs4_pseudo *p);
void nfs4_pseudo_attr(struct nfs4 *n, const struct nfs4_pseudo *p, struct fs_attr *ret);
/* The tree in force, held; NULL: no memory. */
struct nfs4_tree *nfs4_tree_get(struct nfs4 *n);
void nfs4_tree_put(struct nfs4_tree *t);

/* attrs.c */
struct nfs4_bitmap {
	uint32_t w[NFS4_ATTR_WORDS];
};
/* acl4.c */
struct nfs4_acl {
	unsigned n;
	struct fs_ace aces[FS_ACL_ROOM];
};
/* With what those in it are called. */
struct nfs4_named_acl {
	struct nfs4_acl acl;
	struct name *names[FS_ACL_ROOM]; /* held; NULL: a number, or nobody's */
};
size_t nfs4_acl_bytes(const struct nfs4_call *k, const struct nfs4_named_acl *acl);
void nfs4_put_acl(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_named_acl *acl);
/* BADXDR; BADOWNER, DELAY, FBIG, ATTRNOTSUPP: it was not read to its end. Waits. */
enum nfs4_status nfs4_get_acl(struct nfs4_call *k, struct xdr_in *x, struct nfs4_acl *ret);
/* What pseudo directories have. */
void nfs4_acl_pseudo(struct nfs4_acl *ret);
/* Of the current file, with names. Waits. After an error too it is freed. */
enum nfs4_status nfs4_acl_load(struct nfs4_call *k, struct nfs4_named_acl *ret);
void nfs4_acl_free(struct nfs4_named_acl *acl); /* NULL is allowed */
/* Of a file of the current file's system. Waits. */
enum nfs4_status nfs4_acl_store(struct nfs4_call *k, const struct fs_fid *f,
				const struct nfs4_acl *acl);

/* Whose attributes: a file's or pseudo directory's. */
struct nfs4_object {
	struct fs_attr a;
	const struct nfs_mount *mount; /* NULL: pseudo, or absent */
	const struct export *exp;
	const struct export *absent; /* another head's; NULL: it is here */
	uint64_t mounted_on;	     /* 0: its own number */
	struct fs_statfs space;
	struct fs_quota_room quota;
	bool have_quota;
	uint32_t error;		    /* rdattr_error */
	struct nfs4_named_acl *acl; /* when it is wanted */
	struct name *owner, *group; /* held; NULL: not wanted, or numbers */
};
static inline bool bitmap_has(const struct nfs4_bitmap *b, unsigned bit)
{
	return b->w[bit / 32] >> bit % 32 & 1;
}
static inline void bitmap_set(struct nfs4_bitmap *b, unsigned bit)
{
	b->w[bit / 32] |= 1u << bit % 32;
}
bool nfs4_get_bitmap(struct xdr_in *x, struct nfs4_bitmap *ret);
void nfs4_put_bitmap(struct xdr_out *x, const struct nfs4_bitmap *b);
/* Attributes that need fs_statfs_at(). */
bool nfs4_attrs_need_space(const struct nfs4_bitmap *want);
/* Those that need fs_quota_at(). */
bool nfs4_attrs_need_quota(const struct nfs4_bitmap *want);
/* fattr4 with what is wanted and exists. */
void nfs4_put_fattr(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_bitmap *want,
		    const struct nfs4_object *o);
/* Attributes that can be asked for; without those that are only set. */
void nfs4_attrs_readable(struct nfs4_bitmap *ret);
struct nfs4_sattr {
	struct fs_setattr set;
	bool have_acl; /* set behind the others: RFC 8881 6.4.1.3 */
	struct nfs4_acl acl;
};
/* What a SETATTR or a creation is given. *ret_got: which of them. Waits. */
enum nfs4_status nfs4_get_sattr(struct nfs4_call *k, struct xdr_in *x, struct nfs4_sattr *ret,
				struct nfs4_bitmap *ret_got);
/* The current object with what `want` needs of it; nfs4_object_end() it. NFS4_AGAIN. */
enum nfs4_status nfs4_object(struct nfs4_call *k, const struct nfs4_bitmap *want,
			     struct nfs4_object *ret);
/* Lets go of what it holds; may be called again. */
void nfs4_object_end(struct nfs4_object *o);
/* The names of its owner and group, if `want` has them. Without `wait`: NFS4_AGAIN. */
enum nfs4_status nfs4_object_names(struct nfs4_call *k, const struct nfs4_bitmap *want,
				   struct nfs4_object *o, bool wait);

/* owner4.c */
/* What somebody is called; *ret NULL: he goes by his number. Without `wait`: NFS4_AGAIN. */
enum nfs4_status nfs4_owner_name(const struct nfs4_call *k, bool group, uint32_t id, bool wait,
				 struct name **ret);
/* Bytes of it on the wire, at most. */
uint32_t nfs4_owner_len(const struct nfs4_call *k, const struct name *name);
void nfs4_put_owner(const struct nfs4_call *k, struct xdr_out *x, const struct name *name,
		    uint32_t id);
/* A number in text, or a name. BADOWNER, DELAY. Waits. */
enum nfs4_status nfs4_get_owner(const struct nfs4_call *k, struct xdr_in *x, bool group,
				uint32_t *ret);

#endif
