/* A COMPOUND and its operations. Inner header of nasfront/nfs4. */
#ifndef ISTHMUS_NASFRONT_NFS4_COMPOUND_H
#define ISTHMUS_NASFRONT_NFS4_COMPOUND_H

#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs4/nfs4_attrs.h"
#include "nasfront/nfs4/nfs4_client.h"

#define NFS4_PROCS   2
#define NFS4_OPS_MAX 64	  /* operations of a compound */
#define NFS4_TAG_MAX 1024 /* of its tag */
#define NFS4_DIR_MAX (64 * 1024)

/* FH_ABSENT: of a file system that another head serves (RFC 8881 11.3). It is never saved. */
enum nfs4_fh_kind { FH_NONE, FH_PSEUDO, FH_FILE, FH_ABSENT };

/* What SAVEFH puts aside. */
struct nfs4_saved {
	enum nfs4_fh_kind kind;
	uint64_t pseudo;
	struct nfs_mount *mount; /* held, as is the table */
	struct export_table *table;
	const struct export *exp;
	const struct export_rule *rule;
	struct fs_cred cred;
	struct group_list *groups; /* held: cred's */
	struct fs_fid fid;
	struct stateid sid;
	bool have_sid, weak;
};

/* An object of a file system that another head serves. */
struct nfs4_absent {
	struct export_table *table; /* held */
	const struct export *exp;
	bool root; /* where the export begins */
};

/* One COMPOUND, in rpc_req.area; it begins with what the other protocols' calls are. */
struct nfs4_call {
	struct nfs4 *n;
	struct rpc_req *req;
	struct xdr_in *in;
	struct xdr_out *out;
	bool running;  /* something is held */
	bool may_wait; /* in a task */
	uint32_t minor, nops, index;
	uint32_t op;	      /* the one under way */
	const uint8_t *op_in; /* its arguments, to begin again */
	size_t op_out;	      /* where its result begins, from out->base */
	size_t status_at, nres_at;
	bool keep_body; /* an error's result has a body */
	enum nfs4_status status;
	struct nfs4_session *session;
	struct nfs4_client *client; /* of the session, or whom the operation is about; held */
	struct nfs4_slot *slot;
	bool cache_this;
	bool keeps;		      /* it may have changed what is recorded */
	bool kept_op;		      /* an operation that may have done so has ended */
	bool ended;		      /* nothing but to wait for that is left, then `status` */
	bool uncached;		      /* a retry of a request whose reply was not kept */
	bool once;		      /* version 4.0: it is in the cache of duplicates */
	struct nfs4_owner *seq_owner; /* whose sequence number the operation takes */
	uint32_t seqid;
	uint64_t seq_args;
	enum nfs4_status replayed; /* the status of what is NFS4_REPLAYED */
	enum nfs4_fh_kind kind;
	uint64_t pseudo;
	struct nfs4_absent absent;
	struct stateid sid; /* the current stateid */
	bool have_sid;
	struct nfs4_saved saved;
	struct nfs_call c; /* the current file when kind is FH_FILE; last: it is large */
};

typedef enum nfs4_status nfs4_op_fn(struct nfs4_call *k);

enum nfs4_op_flags {
	OP_NEEDS_FH = 1,
	OP_NEEDS_FILE = 2, /* a real object: pseudo directories get what they must (ROFS) */
	OP_MODIFIES = 4,   /* refused on read-only exports, and in the pseudo file system */
	OP_WAITS = 8,	   /* only in a task */
	OP_ALONE = 16,	   /* without a session, then as the only operation */
	OP_V40 = 64,	   /* in version 4.0 only */
	OP_ONCE = 128,	   /* version 4.0: must not be done twice */
	OP_KEEPS = 256,	   /* changes what a successor must know */
};

struct nfs4_op_row {
	const char *name;
	nfs4_op_fn *fn;
	unsigned flags;
	uint32_t minor; /* the first that has it */
	uint32_t room;	/* bytes of result it is given at least */
};

/* compound.c */
extern const struct nfs4_op_row nfs4_ops[NFS4_OPS];
/* Makes room for size more bytes of results. False: the reply would be too big (also to be kept,
 * when it is to be: op_end() tells the two apart), or no memory. */
bool nfs4_room(struct nfs4_call *k, size_t size);
/* How large the results of all operations may be, and how many bytes of that are left. */
size_t nfs4_reply_max(const struct nfs4_call *k);
size_t nfs4_reply_left(const struct nfs4_call *k);
enum nfs4_status nfs4_status_of(struct nfs4_call *k, int rc);
void nfs4_finished(void *arg, struct rpc_req *req, int result);
extern const struct rpc_proc nfs4_procs[NFS4_PROCS];

/* op_fh.c: file handles and the current object */
void nfs4_fh_drop(struct nfs4_call *k);
void nfs4_saved_drop(struct nfs4_call *k);
/* The current file becomes another of the same export. */
void nfs4_fh_file(struct nfs4_call *k, const struct fs_attr *a);
/* A handle; of a pseudo directory (m and e NULL) f holds its number. */
void nfs4_put_fh(struct xdr_out *x, const struct nfs_mount *m, const struct export *e,
		 const struct fs_fid *f);
/* Enters the place where an export begins; k holds nothing after an error. Waits. */
enum nfs4_status nfs4_fh_export(struct nfs4_call *k, const struct export *e);
/* Makes a pseudo directory the current object. */
void nfs4_fh_pseudo(struct nfs4_call *k, const struct nfs4_pseudo *p);
/* A component of a path, checked. */
struct nfs4_name {
	const char *p;
	uint32_t len;
};
enum nfs4_status nfs4_get_name(struct xdr_in *x, struct nfs4_name *ret);

/* absent.c */
/* Makes an object of another head's export current; root: where the export begins. */
enum nfs4_status nfs4_fh_absent(struct nfs4_call *k, const struct export *e, bool root);
void nfs4_absent_drop(struct nfs4_call *k);
/* What may be done with it: NFS4_OK or MOVED. */
enum nfs4_status nfs4_absent_check(uint32_t op);
/* The attributes asked for say so themselves: GETATTR and READDIR tell what there is. */
bool nfs4_absent_asked(const struct nfs4_call *k, const struct nfs4_bitmap *want);
/* The current object, with what can be told of it. */
void nfs4_absent_object(struct nfs4_call *k, struct nfs4_object *ret);
/* What of *want there is of such an object; the rest is taken out. */
void nfs4_absent_attrs(const struct nfs4_object *o, struct nfs4_bitmap *want);
/* fs_locations4 and fs_locations_info4; of a file system of this head no locations are listed. */
void nfs4_put_locations(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_object *o);
void nfs4_put_locations_info(const struct nfs4_call *k, struct xdr_out *x,
			     const struct nfs4_object *o);

/* op_io.c */
/* Arguments and check of a READ; *ret_count is what the reply has room for. */
enum nfs4_status nfs4_read_begin(struct nfs4_call *k, uint64_t *ret_off, uint32_t *ret_count);
/* The reply may end with k->c.read as it lies in the file system; then it does. */
bool nfs4_read_may_body(const struct nfs4_call *k);
void nfs4_read_body(struct nfs4_call *k);
/* opaque<>: what was read, copied; there is room. */
void nfs4_put_read(struct nfs4_call *k, const struct fs_read *r);
/* nfs4_status_of() of a call that sets attributes. */
enum nfs4_status nfs4_set_status(struct nfs4_call *k, int rc);
/* nfs4_status_of() of a call on data of the current object, which may be no file. */
enum nfs4_status nfs4_io_status(struct nfs4_call *k, int rc);
/* WRONG_TYPE: it is no file (RFC 7862 has that of all its operations on data). Waits. */
enum nfs4_status nfs4_check_regular(struct nfs4_call *k, struct fs *fs, const struct fs_fid *f);

/* op_*.c */
nfs4_op_fn nfs4_op_access, nfs4_op_close, nfs4_op_commit, nfs4_op_create, nfs4_op_getattr,
    nfs4_op_getfh, nfs4_op_link, nfs4_op_lock, nfs4_op_lockt, nfs4_op_locku, nfs4_op_lookup,
    nfs4_op_lookupp, nfs4_op_nverify, nfs4_op_open, nfs4_op_open_downgrade, nfs4_op_putfh,
    nfs4_op_putrootfh, nfs4_op_read, nfs4_op_readdir, nfs4_op_readlink, nfs4_op_remove,
    nfs4_op_rename, nfs4_op_restorefh, nfs4_op_savefh, nfs4_op_secinfo, nfs4_op_secinfo_no_name,
    nfs4_op_setattr, nfs4_op_verify, nfs4_op_write, nfs4_op_read_plus, nfs4_op_bind_conn,
    nfs4_op_exchange_id, nfs4_op_create_session, nfs4_op_destroy_session, nfs4_op_destroy_clientid,
    nfs4_op_sequence, nfs4_op_test_stateid, nfs4_op_free_stateid, nfs4_op_reclaim_complete,
    nfs4_op_notsupp, nfs4_op_allocate, nfs4_op_deallocate, nfs4_op_seek, nfs4_op_io_advise,
    nfs4_op_copy, nfs4_op_clone, nfs4_op_offload_cancel, nfs4_op_offload_status,
    nfs4_op_setclientid, nfs4_op_setclientid_confirm, nfs4_op_renew, nfs4_op_open_confirm,
    nfs4_op_release_lockowner, nfs4_op_getxattr, nfs4_op_setxattr, nfs4_op_listxattrs,
    nfs4_op_removexattr, nfs4_op_delegreturn, nfs4_op_backchannel_ctl, nfs4_op_set_ssv;

#endif
