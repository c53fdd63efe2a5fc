/* What the files of nasfront/nfs4 share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_NFS4_IMPL_H
#define ISTHMUS_NASFRONT_NFS4_IMPL_H

#include <bsd/sys/queue.h>
#include "nasfront/nfs/lock_table.h"
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/store.h"
#include "nasfront/nfs4/names.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/nfs4/nfs4_proto.h"
#include "nasfront/rpc/rpc_out.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/histogram.h"

#define NFS4_MAGIC	   0x6e667334
#define NFS_PROGRAM	   100003
#define NFS4_PROCS	   2
#define NFS4_OPS_MAX	   64	/* operations of a compound */
#define NFS4_TAG_MAX	   1024 /* of its tag */
#define NFS4_SLOTS	   64
#define NFS4_SESSIONS_MAX  32	/* of a client */
#define NFS4_KEPT_REPLY	   2048 /* bytes of a reply that a slot keeps */
#define NFS4_REPLY_MAX	   (FS_IO_MAX + 4096)
#define NFS4_REQUEST_MAX   (FS_IO_MAX + 4096)
#define NFS4_DIR_MAX	   (64 * 1024)
#define NFS4_OWNERS_MAX	   262144
#define NFS4_BUCKETS	   1024
#define NFS4_CREATE_REPLY  128
#define NFS4_STATE_BUCKETS 16384
#define NFS4_PSEUDO_FS	   0 /* the file system id of pseudo directories in handles */
#define NFS4_PSEUDO_MAX	   1024
#define NFS4_ATTRS_V40	   56  /* version 4.0 has the attributes below this one */
#define NFS4_CB_SYS	   340 /* the longest body of AUTH_SYS: RFC 5531 appendix A */
#define NFS4_CB_OP_MAX	   384 /* bytes of arguments of an operation of a client's */
#define NFS4_CB_OWNER	   256 /* bytes of a lock's owner that is told when to ask again */
#define NFS4_CB_MAX	   640 /* of a call to a client */
#define NFS4_CB_CONNS	   4   /* connections of a back channel that are kept */
#define NFS4_CALLERS_MAX   256 /* clients called at once; a quarter where nothing is lent */
#define NFS4_SEQ_REPLY	   80  /* bytes of a result kept with an owner; longer ones beside it */

/* ---- clients and sessions ---- */

struct nfs4_session;
struct nfs4_state;
struct nfs4_deleg;
struct nfs4_copy;
struct nfs4_caller;

/* Whether calls reach a client is found out by CB_NULL, and by what becomes of later ones. */
enum nfs4_path_state { PATH_NONE, PATH_UNKNOWN, PATH_UP, PATH_DOWN };
struct nfs4_path {
	enum nfs4_path_state state;
	uint64_t next_ns; /* down: it is tried again then */
};

/* Version 4.0: where SETCLIENTID says that calls go. */
struct nfs4_callback {
	struct sockaddr_storage to, from;
	uint16_t port;
	uint32_t program, ident;
};

/* Of an earlier incarnation: its clients may reclaim. */
struct nfs4_kept_client {
	LIST_ENTRY(nfs4_kept_client) link;
	LIST_ENTRY(nfs4_kept_client) chain; /* by name */
	char name[NFS4_KEEP_MAX + 1];
	bool again; /* it is here and kept anew */
	bool done;  /* and has reclaimed what it had */
};

/* One client owner's record (RFC 8881 18.35.4; RFC 7530 16.33.5). */
struct nfs4_client {
	LIST_ENTRY(nfs4_client) by_id;
	LIST_ENTRY(nfs4_client) by_owner;
	TAILQ_ENTRY(nfs4_client) link; /* least lately renewed first */
	struct nfs4 *nfs4;
	uint64_t id;
	uint8_t key[9]; /* of its record */
	bool recorded;
	bool v40; /* made by SETCLIENTID: has no sessions, its owners have sequence numbers */
	bool confirmed, reclaim_done, kept;
	unsigned keeping;
	uint8_t verifier[NFS4_VERIFIER];
	uint8_t confirm[NFS4_VERIFIER]; /* what SETCLIENTID_CONFIRM has to say */
	uint64_t who;			/* made it: nfs4_who_calls() */
	uint32_t create_seq;		/* of the next CREATE_SESSION */
	bool created;			/* the last one's reply follows: it is answered again */
	uint32_t create_len;
	uint8_t create_reply[NFS4_CREATE_REPLY];
	uint64_t renewed_ns;
	bool ending;   /* its lease ran out and it goes: it is found no more */
	bool courtesy; /* its lease ran out; what it has is left to it until it is in the way */
	unsigned busy; /* compounds that use it */
	struct lock_client *locks;
	LIST_HEAD(, nfs4_session) sessions;
	unsigned nsessions, nopens, nlocks;
	unsigned ndelegs;		    /* with those that were taken away and not given up */
	unsigned nrecalled;		    /* of them asked for, and still lent */
	uint64_t barred_ns;		    /* nothing is lent to it until then */
	unsigned nrevoked;		    /* of them taken away */
	unsigned unkeeping;		    /* it is being forgotten for what was taken away */
	struct nfs4_caller *caller;	    /* a task that calls it */
	TAILQ_HEAD(, nfs4_deleg) asks;	    /* to be asked for */
	TAILQ_HEAD(, nfs4_note) notes;	    /* to be said to it */
	unsigned nhints;		    /* of notes that need no answer */
	TAILQ_HEAD(, nfs4_blocked) blocked; /* locks it waits for, asked for longest ago first */
	unsigned nblocked;
	uint64_t fewer_ns; /* it was asked to keep less of what it was lent */
	unsigned ncopies;  /* that go on, or whose end it has not heard of */
	struct nfs4_callback callback, callback_new; /* version 4.0; the new one not confirmed */
	struct nfs4_path path;			     /* of version 4.0 */
	TAILQ_HEAD(, nfs4_owner) owners;
	char address[64];
	char kept_name[NFS4_KEEP_MAX + 1];
	uint32_t owner_len;
	uint8_t owner[];
};

struct nfs4_slot {
	uint32_t seq;
	bool used, busy, kept;
	bool recorded;
	bool restored; /* any number above `seq` is the next */
	uint64_t who;  /* sent the request: another may not have its answer */
	uint32_t len, cap;
	uint8_t *reply; /* the results of the COMPOUND, whole */
};

/* A connection of a back channel, held; it may have ended, or be under TLS now. */
struct nfs4_back_conn {
	struct rpc_conn *conn; /* NULL: none */
	enum rpc_xprt xprt;    /* what it was when it was bound */
};

/*
 * The back channel: one slot. `seq` is the last number known to be used; when it is not known
 * whether the one behind it was, `unsure`, the next but one is tried.
 */
struct nfs4_back {
	bool usable; /* its limits suffice, and we have a credential of the client's liking */
	bool wanted; /* the client has bound a connection to it */
	bool unsure, fault;
	uint32_t minor, program, seq;
	struct nfs4_path path;
	uint32_t sys_len;
	uint8_t sys[NFS4_CB_SYS]; /* the body of AUTH_SYS; none: AUTH_NONE */
	struct nfs4_back_conn conns[NFS4_CB_CONNS];
};

struct nfs4_session {
	LIST_ENTRY(nfs4_session) by_id;
	LIST_ENTRY(nfs4_session) link; /* of its client */
	struct nfs4_client *client;
	uint8_t id[NFS4_SESSIONID];
	unsigned busy; /* compounds in its slots */
	struct nfs4_back back;
	uint32_t max_reply, max_kept, max_request, max_ops, nslots;
	struct nfs4_slot slots[];
};

/* ---- state ---- */

struct stateid {
	uint32_t seq;
	uint8_t other[NFS4_OTHER];
};

/* A client's files that are lent to it are states of an owner without a name, as are its copies
 * that go on. */
enum nfs4_owner_kind { OWNER_OPEN = 1, OWNER_LOCK = 2, OWNER_DELEG = 3, OWNER_COPY = 4 };

/*
 * What an owner of version 4.0 did last, and the answer (RFC 7530 9.1.7 to 9.1.9). An open-owner
 * goes on without states for a lease, and is idle then, as it is while it is not confirmed.
 */
struct nfs4_seqid {
	uint32_t seq, op; /* op 0: nothing yet, any number is the next */
	uint64_t args;	  /* hash of what the operation was given */
	enum nfs4_status status;
	uint64_t fs; /* OPEN: what became the current file */
	struct fs_fid fid;
	bool confirmed;
	bool busy;	/* an operation that waits is under way */
	unsigned waits; /* others wait for its end */
	struct waitq done;
	struct nfs4_state *closed; /* by the last operation: answers a CLOSE that comes again */
	bool idle;
	TAILQ_ENTRY(nfs4_owner) link;
	uint64_t idle_ns; /* since */
	uint32_t len;
	uint8_t *more; /* in place of reply, when it is longer */
	uint8_t reply[NFS4_SEQ_REPLY];
};

/* Somebody who opens (or locks) at a client; lives while it has states. */
struct nfs4_owner {
	LIST_ENTRY(nfs4_owner) chain;
	TAILQ_ENTRY(nfs4_owner) link;
	struct nfs4_client *client;
	LIST_HEAD(, nfs4_state) states;
	struct nfs4_seqid *seq; /* of version 4.0 */
	bool recorded;
	uint32_t len; /* of name: its kind in one byte, then what the client gave */
	uint8_t name[];
};

/* What a stateid names: a file opened, or locked, by an owner. */
struct nfs4_state {
	LIST_ENTRY(nfs4_state) chain;
	LIST_ENTRY(nfs4_state) owned;
	LIST_ENTRY(nfs4_state) under; /* of locks: their open's list */
	enum nfs4_owner_kind kind;
	bool recorded;
	bool closed; /* nothing is left but the stateid, for an answer to be given again */
	struct nfs4_owner *owner;
	struct lock_file_key file;
	uint64_t who; /* of opens: who opened last (nfs4_who_calls()) */
	uint32_t index, number, seq;
	uint32_t boot;	       /* of the incarnation that made it */
	unsigned access, deny; /* of opens: all together */
	/* Of opens: each pair of access and deny that was opened, bit (access | deny << 2). */
	uint32_t opened;
	struct nfs4_state *open;  /* of locks */
	struct nfs4_deleg *deleg; /* of those */
	struct nfs4_copy *copy;	  /* of those */
	LIST_HEAD(, nfs4_state) locks;
};

/* A file that is lent. */
struct nfs4_deleg {
	struct deleg d; /* in the table, until it is taken away */
	struct nfs4_state *state;
	TAILQ_ENTRY(nfs4_deleg) link; /* n->lent, or n->recalled: asked for longest first */
	TAILQ_ENTRY(nfs4_deleg) ask;  /* of its client, until it has heard */
	bool asking;		      /* is in that list */
	bool revoked;		      /* its client is to hear so */
	bool gone;		      /* from the table: others have the file */
	uint64_t recall_ns, next_ns;  /* asked for since; to be asked again at */
	uint8_t fh[FH_SIZE];
};
TAILQ_HEAD(nfs4_delegs, nfs4_deleg);

/* A lock that was refused, whose owner waits for it: the client is told when to ask again. */
struct nfs4_blocked {
	struct lock_watch watch; /* first */
	TAILQ_ENTRY(nfs4_blocked) link;
	struct nfs4_client *client;
	uint8_t fh[FH_SIZE];
	uint8_t owner[]; /* as the table has it */
};

/* Something to be said to a client: an operation, ready for the wire. */
struct nfs4_note {
	TAILQ_ENTRY(nfs4_note) link;
	uint64_t id;	     /* it may be gone after a wait */
	uint64_t next_ns;    /* not before */
	struct stateid copy; /* CB_OFFLOAD */
	uint32_t op, len;
	uint8_t args[];
};

struct nfs4_state_slot {
	struct nfs4_state *state;
	uint32_t number; /* of the next state in it */
	uint32_t next;	 /* free ones */
};

/* ---- the pseudo file system ---- */

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

/* ---- a compound ---- */

enum nfs4_fh_kind { FH_NONE, FH_PSEUDO, FH_FILE };

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
	bool ended;		      /* nothing but to wait for that is left, then `status` */
	bool uncached;		      /* a retry of a request whose reply was not kept */
	bool once;		      /* version 4.0: it is in the cache of duplicates */
	struct nfs4_owner *seq_owner; /* whose sequence number the operation takes */
	uint32_t seqid;
	uint64_t seq_args;
	enum nfs4_status replayed; /* the status of what is NFS4_REPLAYED */
	enum nfs4_fh_kind kind;
	uint64_t pseudo;
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

struct nfs4 {
	uint32_t magic;
	struct nfs4_opts o;
	uint32_t boot; /* of this incarnation, in client ids and stateids */
	uint32_t next_client;
	uint64_t hash_key[2];
	uint64_t born_s; /* real time: the times of pseudo directories */
	struct lock_table *locks;
	const struct store *store; /* NULL: nothing is recorded */
	bool restored;		   /* clients of an earlier incarnation are here */
	struct env_timer tick;
	LIST_HEAD(, nfs4_client) clients_by_id[NFS4_BUCKETS], clients_by_owner[NFS4_BUCKETS];
	TAILQ_HEAD(, nfs4_client) clients;
	unsigned nclients;
	LIST_HEAD(, nfs4_session) sessions[NFS4_BUCKETS];
	LIST_HEAD(, nfs4_owner) owners[NFS4_BUCKETS];
	unsigned nowners;
	TAILQ_HEAD(, nfs4_owner) idle; /* open-owners of version 4.0, idle longest first */
	LIST_HEAD(, nfs4_state) states[NFS4_STATE_BUCKETS];
	struct nfs4_state_slot *slots;
	uint32_t nslots, slots_cap, slots_free, nstates;
	LIST_HEAD(, nfs4_kept_client) kept, kept_by_name[NFS4_BUCKETS];
	unsigned nkept_done; /* of `kept`: who have reclaimed what they had */
	unsigned nkept;
	bool forgetting; /* tasks give up those who did not come back */
	unsigned nforgetters;
	struct waitq forgotten;
	bool ending; /* a task ends clients whose lease ran out */
	struct waitq ended;
	struct deleg_table *delegs; /* of all protocols */
	struct nfs4_delegs lent, recalled;
	struct nfs4_deleg_stats dstats;
	bool revoking; /* a task takes away what was not returned */
	struct waitq revoked;
	struct rpc_out *out; /* calls to clients of version 4.0; NULL: none */
	bool stopping;
	unsigned ncallers;
	struct waitq called;
	uint64_t next_note;
	unsigned nblocked; /* of all clients */
	uint64_t fewer_ns; /* somebody was looked for who is to keep less of what is lent */
	unsigned ncopying; /* tasks */
	struct waitq copied;
	struct nfs4_tree *tree;
	struct rpc_program program;
	struct nfs4_op_stats ops[NFS4_OPS], compounds;
	struct histogram compound_latency;
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
	const struct nfs_mount *mount; /* NULL: pseudo */
	const struct export *exp;
	uint64_t mounted_on; /* 0: its own number */
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

/* client.c */
struct nfs4_client *nfs4_client_find(struct nfs4 *n, uint64_t id, bool v40);
/* Of a client owner: who it is. */
struct nfs4_who {
	const uint8_t *owner, *verifier;
	uint32_t len;
	bool v40;
};
/* The owner's record that is confirmed, or the one that is not. */
struct nfs4_client *nfs4_client_by_owner(struct nfs4 *n, const struct nfs4_who *w, bool confirmed);
int nfs4_client_new(struct nfs4_client **ret, struct nfs4 *n, const struct nfs4_who *w,
		    const struct rpc_req *req);
/* The same of a predecessor's, with its id and principal. */
int nfs4_client_make(struct nfs4_client **ret, struct nfs4 *n, const struct nfs4_who *w,
		     uint64_t id, uint64_t who, const char *address);
/* A number of who sent a call. */
uint64_t nfs4_who_calls(const struct rpc_req *req);
/* The caller is who made it. */
bool nfs4_client_is_of(const struct nfs4_client *c, const struct rpc_req *req);
/* Another may have the name: it has nothing, or its lease ran out. */
bool nfs4_client_replaceable(const struct nfs4_client *c);
/* It is confirmed now, and replaces what it was before a restart. */
enum nfs4_status nfs4_client_confirm(struct nfs4_client *c);
/* Version 4.0: a client's id in an operation, and whom it is about from now on. */
enum nfs4_status nfs4_client_of(struct nfs4_call *k, uint64_t id);
void nfs4_client_use(struct nfs4_call *k, struct nfs4_client *c);
/* With all its sessions and state; nothing may be busy. */
void nfs4_client_free(struct nfs4_client *c);
/* Its sessions and state; it stays. */
void nfs4_client_clear(struct nfs4_client *c);
void nfs4_client_renew(struct nfs4_client *c, uint64_t now);
bool nfs4_client_expired(const struct nfs4_client *c, uint64_t now);
/*
 * Somebody was refused, for what another has: those whose lease ran out and who are in the way
 * begin to go. `full`: there is no room, and of them the one goes that was not heard of longest.
 * True: there is something to wait for, it is to be tried again later. Does not wait: they have
 * gone when it is stable that they cannot reclaim.
 */
bool nfs4_client_make_way(struct nfs4 *n, bool full);
/* What the table of locks said no with: is it DELAY, or who is in the way goes on? */
bool nfs4_lock_later(struct nfs4 *n, int rc);
/* Keeps it for the next incarnation. Waits. */
int nfs4_client_keep(struct nfs4_client *c);
/* It is kept no longer, by and by. */
void nfs4_client_forget(struct nfs4_client *c);
/* Whether a reclaim (or what is new) is to be granted now. */
enum nfs4_status nfs4_reclaim_check(const struct nfs4_client *c, bool reclaim);
/* It has reclaimed all; when all have that were kept, the grace period ends. */
void nfs4_client_reclaimed(struct nfs4_client *c);
void nfs4_tick(void *arg);
void nfs4_kept_free(struct nfs4 *n);

/* record.c: puts what a successor must know, as it is now; or that it is gone. */
void nfs4_record_server(struct nfs4 *n);
void nfs4_record_client(struct nfs4_client *c);
void nfs4_unrecord_client(struct nfs4_client *c);
void nfs4_record_session(struct nfs4_session *s);
void nfs4_unrecord_session(struct nfs4_session *s);
void nfs4_record_slot(struct nfs4_session *s, struct nfs4_slot *sl);
void nfs4_record_owner(struct nfs4_owner *o);
void nfs4_unrecord_owner(struct nfs4_owner *o);
void nfs4_record_state(struct nfs4_state *s);
void nfs4_unrecord_state(struct nfs4_state *s);
void nfs4_record_all(struct nfs4 *n);

/* session.c */
/* With this id, and slots that were not used. NULL: no memory. */
struct nfs4_session *nfs4_session_make(struct nfs4_client *c, const uint8_t *id, uint32_t slots);
/* The compound has its answer: the slot keeps it. */
void nfs4_slot_keep(struct nfs4_call *k);
struct nfs4_session *nfs4_session_find(struct nfs4 *n, const uint8_t *id);
void nfs4_session_free(struct nfs4_session *s);
void nfs4_slot_end(struct nfs4_call *k);

/* state.c */
bool nfs4_get_stateid(struct xdr_in *x, struct stateid *ret);
void nfs4_put_stateid(struct xdr_out *x, const struct stateid *s);
struct nfs4_owner *nfs4_owner_get(struct nfs4_client *c, enum nfs4_owner_kind kind,
				  const uint8_t *name, uint32_t len);
/* NULL: there is none. */
struct nfs4_owner *nfs4_owner_find(struct nfs4_client *c, enum nfs4_owner_kind kind,
				   const uint8_t *name, uint32_t len);
/* Frees it when it has nothing; an open-owner of version 4.0 is idle then. */
void nfs4_owner_check(struct nfs4_owner *o);
/* With all it has. */
void nfs4_owner_free(struct nfs4_owner *o);
/* Of this owner in this file; NULL: none. */
struct nfs4_state *nfs4_state_of(struct nfs4_owner *o, const struct lock_file_key *file);
/* The state of a predecessor's stateid; NULL as below, or it is there already. Before
 * nfs4_states_restored(), and nfs4_state_new() not before that. */
struct nfs4_state *nfs4_state_make(struct nfs4_owner *o, const struct lock_file_key *file,
				   struct nfs4_state *open, uint32_t index, uint32_t number);
void nfs4_states_restored(struct nfs4 *n);
/* NULL: too many or no memory. */
struct nfs4_state *nfs4_state_new(struct nfs4_owner *o, const struct lock_file_key *file,
				  struct nfs4_state *open);
/* With its locks or its reservation, and of an open with the locks under it. */
void nfs4_state_free(struct nfs4_state *s);
/* The same, but its stateid goes on until the owner's next operation. */
void nfs4_state_close(struct nfs4_state *s);
struct stateid nfs4_stateid_of(const struct nfs4_state *s);
/* The state a stateid of this client's means now. */
enum nfs4_status nfs4_state_find(struct nfs4_call *k, const struct stateid *id,
				 struct nfs4_state **ret);
/* The same where its number is not looked at, nor whether it is closed or confirmed. */
enum nfs4_status nfs4_state_locate(struct nfs4_call *k, const struct stateid *id,
				   struct nfs4_state **ret);
/* It still means something to the client, for the file, as when it was looked up. */
bool nfs4_state_holds(const struct nfs4_client *c, const struct lock_file_key *file,
		      const struct stateid *id, unsigned access);
/* What nfs4_state_find() looks at beyond that. */
enum nfs4_status nfs4_state_current(const struct nfs4_call *k, const struct stateid *id,
				    const struct nfs4_state *s);
/* Reads a stateid; the current one is put in its place. */
enum nfs4_status nfs4_arg_stateid(struct nfs4_call *k, struct stateid *ret);
/* May data of the current file be read (or written) under it? READ, WRITE, SETATTR of the size.
 * A write begins a change (nfs4_change()). */
enum nfs4_status nfs4_io_check(struct nfs4_call *k, const struct stateid *id, unsigned access);
/* The same of any file. */
enum nfs4_status nfs4_io_check_file(struct nfs4_call *k, const struct lock_file_key *file,
				    const struct stateid *id, unsigned access);
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
struct lock_ask nfs4_ask(const struct nfs4_state *s);
struct lock_file_key nfs4_file_key(const struct nfs4_call *k);
/* A state changed: its sequence number. Becomes the current stateid. */
void nfs4_state_step(struct nfs4_call *k, struct nfs4_state *s);
/* The table has the file under another key: the same file? */
bool nfs4_same_file(const struct lock_file_key *a, const struct lock_file_key *b);

/* deleg4.c */
/* What an OPEN says of a delegation. */
struct nfs4_offer {
	uint32_t type, why; /* why none, when type is NONE_EXT */
	bool recall;
	struct stateid sid;
};
/* After an OPEN of the current file with `access`; want: OPEN4_SHARE_WANT_…. Does not wait. */
void nfs4_deleg_offer(struct nfs4_call *k, uint32_t access, uint32_t want, struct nfs4_offer *ret);
/* It was held before a restart: CLAIM_PREVIOUS with this type. */
void nfs4_deleg_reclaim(struct nfs4_call *k, uint32_t type, struct nfs4_offer *ret);
void nfs4_put_offer(struct nfs4_call *k, const struct nfs4_offer *o);
/* It was lent by a predecessor, to a client that is here again: its file, kind and holder are
 * filled in. `revoked`: and taken away, as the client is yet to hear. */
void nfs4_deleg_restore(struct nfs4_state *s, bool revoked);
/* The table's: it is asked for. */
void nfs4_deleg_recall(void *arg, struct deleg *d);
/* Its state ends. */
void nfs4_deleg_end(struct nfs4_state *s);
/* As time goes by: what was not returned in time is taken away. */
void nfs4_deleg_tick(struct nfs4 *n);
/* The delegation a stateid means, of the current file, good for `access`. */
enum nfs4_status nfs4_deleg_check(struct nfs4_call *k, const struct stateid *id, uint32_t access);
/* Somebody (of the call's client) is about to look at the current file's data, or to change it:
 * DELAY while others have it (`own`: deleg.h). nfs4_change(): nothing is lent before the
 * operation's end. All wait in a task; nfs4_look() says AGAIN outside one. */
enum nfs4_status nfs4_look(struct nfs4_call *k);
enum nfs4_status nfs4_use(struct nfs4_call *k, const struct lock_file_key *f, enum deleg_use use,
			  bool own);
enum nfs4_status nfs4_change(struct nfs4_call *k);
/* The same without an open: what the client was lent itself is in the way as well. */
enum nfs4_status nfs4_change_unopened(struct nfs4_call *k);
/* The same of what a name of a directory leads to. Waits. */
enum nfs4_status nfs4_change_name(struct nfs4_call *k, const struct fs_fid *dir,
				  const struct nfs4_name *name);

/* back.c */
void nfs4_path_set(struct nfs4_client *c, struct nfs4_path *p, enum nfs4_path_state state);
/* The connection that calls of a session go by; NULL: none is there. */
struct rpc_conn *nfs4_back_conn(const struct nfs4_back *b);
/* A session by which calls arrive; one of which that is not known. */
struct nfs4_session *nfs4_session_up(const struct nfs4_client *c);
struct nfs4_session *nfs4_session_unknown(const struct nfs4_client *c);
/* Calls reach it: proven. */
bool nfs4_path_up(const struct nfs4_client *c);
/* Or it is about to be found out. */
bool nfs4_path_hoped(const struct nfs4_client *c);
const char *nfs4_path_text(const struct nfs4_client *c);
/* What was down for a while may be up again: true when it is to be found out. */
bool nfs4_path_retry(struct nfs4_client *c, uint64_t now);
/* The back channel of a session has a connection more, or this one not any more. */
void nfs4_back_bind(struct nfs4_session *s, struct rpc_conn *conn);
void nfs4_back_unbind(struct nfs4_session *s, struct rpc_conn *conn);
void nfs4_back_free(struct nfs4_session *s);
/* SEQ4_STATUS_… */
uint32_t nfs4_seq_flags(const struct nfs4_session *s);
/* callback_sec_parms4<>: the first we can use, into b. False: garbage; b->usable says whether. */
bool nfs4_get_callback_sec(struct xdr_in *x, struct nfs4_back *b);
/* cb_client4 and callback_ident of SETCLIENTID; an address we do not call leaves port 0. */
bool nfs4_get_callback(struct xdr_in *x, const struct rpc_req *req, struct nfs4_callback *ret);
void nfs4_caller_confirm(struct nfs4_client *c);

/* callback.c */
struct nfs4_cb;
/* Begins to call the client when there is something to say, or to find out. */
void nfs4_caller_start(struct nfs4_client *c);
/* The client goes: whoever calls it lets it be. */
void nfs4_caller_forget(struct nfs4_client *c);
void nfs4_caller_tick(struct nfs4 *n);
/* Says it to the client, of version 4.1 on; CB_OFFLOAD is of a copy. False: no memory. */
bool nfs4_note(struct nfs4_client *c, const struct nfs4_cb *cb, const struct stateid *copy);
/* The client need not hear of that copy any more. */
void nfs4_note_drop(struct nfs4_client *c, const struct stateid *copy);
void nfs4_notes_free(struct nfs4_client *c);

/* cb_xdr.c */
struct nfs4_cb {
	uint32_t minor, ident;
	uint8_t session[NFS4_SESSIONID]; /* from minor version 1 on: CB_SEQUENCE */
	uint32_t seq;
	uint32_t op, len;
	uint8_t args[NFS4_CB_OP_MAX];
};
size_t nfs4_cb_put(const struct nfs4_cb *cb, uint8_t *to, size_t size);
/* The operation and its arguments. */
void nfs4_cb_recall(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE]);
void nfs4_cb_offload(struct nfs4_cb *cb, const struct stateid *sid, const uint8_t fh[FH_SIZE],
		     enum nfs4_status status, uint64_t count, uint64_t verifier);
/* owner: at most NFS4_CB_OWNER bytes. */
void nfs4_cb_notify_lock(struct nfs4_cb *cb, const uint8_t fh[FH_SIZE], uint64_t client,
			 const uint8_t *owner, uint32_t len);
/* mask: bits RCA4_… */
void nfs4_cb_recall_any(struct nfs4_cb *cb, uint32_t keep, uint32_t mask);
struct nfs4_cb_result {
	enum nfs4_status seq, op; /* op: when seq is NFS4_OK */
};
/* What a client answered to that. -ERR_PROTO: nothing of the kind. */
int nfs4_cb_result(const struct nfs4_cb *cb, const void *reply, size_t len,
		   struct nfs4_cb_result *ret);

/* blocked.c */
/* A LOCK of the current file that may wait was refused: the client is told when to ask again. */
void nfs4_blocked_add(struct nfs4_call *k, const struct lock_ask *a);
/* It was granted, or is not waited for any more. */
void nfs4_blocked_drop(struct nfs4_client *c, const struct lock_ask *a);
void nfs4_blocked_free(struct nfs4_client *c);

/* copy.c */
/* What a copy is of: the saved file and the current one. */
struct nfs4_copy_args {
	struct stateid from_id, to_id;
	uint64_t from, to, count;
};
/* Copies in the background. DELAY: it cannot; it is to be done at once, or a part of it. */
enum nfs4_status nfs4_copy_start(struct nfs4_call *k, const struct nfs4_copy_args *a,
				 struct stateid *ret, uint64_t *ret_verifier);
/* One piece of files, from pages to pages; r is room. How much, 0 at the source's end. */
struct nfs4_copy_file {
	struct fs *fs;
	const struct fs_cred *cred;
	const struct fs_fid *fid;
	uint64_t off;
};
int nfs4_copy_piece(const struct nfs4_copy_file *from, const struct nfs4_copy_file *to,
		    uint64_t len, struct fs_read *r);
/* How far it is; *ret_ended: that is all, with *ret_status. */
uint64_t nfs4_copy_progress(const struct nfs4_copy *c, bool *ret_ended,
			    enum nfs4_status *ret_status);
/* Its state ends: it stops, and nobody is told. */
void nfs4_copy_end(struct nfs4_state *s);
/* The same, and what is under way of it has ended: nothing of it is written any more. Waits. */
void nfs4_copy_cancel(struct nfs4_state *s);
/* The client was told of its end. */
void nfs4_copy_heard(struct nfs4_client *c, const struct stateid *sid);
/* All of a client's, for its lease ran out. */
void nfs4_copies_end(struct nfs4_client *c);

/* seqid.c */
struct nfs4_seqid *nfs4_seqid_new(enum nfs4_owner_kind kind);
void nfs4_seqid_free(struct nfs4_seqid *q);
/* What was answered to the last one. False: no memory. */
bool nfs4_seqid_set_reply(struct nfs4_seqid *q, const void *reply, size_t len);
/*
 * The operation takes this number of the owner; version 4.0. NFS4_OK: it is to be done.
 * NFS4_REPLAYED: it was. Nothing of the owner may be under way: nfs4_seq_wait() before.
 */
enum nfs4_status nfs4_seq_begin(struct nfs4_call *k, struct nfs4_owner *o, uint32_t seqid);
/* The end of an operation: what it said is kept with the owner. */
void nfs4_seq_end(struct nfs4_call *k, enum nfs4_status st);
/* Waits for the end of what the owner has under way; it may be gone then. NFS4_AGAIN. */
enum nfs4_status nfs4_seq_wait(struct nfs4_call *k, struct nfs4_owner *o);
/* The state a stateid means, of an operation that has a number; every version. NFS4_REPLAYED. */
enum nfs4_status nfs4_seq_state(struct nfs4_call *k, const struct stateid *id, uint32_t seqid,
				struct nfs4_state **ret);
/* The owner of an OPEN; no longer one that was never confirmed. NFS4_REPLAYED. */
enum nfs4_status nfs4_seq_open(struct nfs4_call *k, const uint8_t *name, uint32_t len,
			       uint32_t seqid);
/* Frees owners that were idle for a lease; one, however short, when `one`. */
void nfs4_idle_reap(struct nfs4 *n, bool one);
/* Puts an owner among the idle ones, or takes it out. */
void nfs4_idle_check(struct nfs4_owner *o);

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
