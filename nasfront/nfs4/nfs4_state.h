/* What clients hold: owners, opens, locks, files lent, copies that go on. Inner header of
 * nasfront/nfs4. */
#ifndef ISTHMUS_NASFRONT_NFS4_STATE_H
#define ISTHMUS_NASFRONT_NFS4_STATE_H

#include <bsd/sys/queue.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/deleg.h"
#include "nasfront/nfs/fh.h"
#include "nasfront/nfs/lock_table.h"
#include "nasfront/nfs4/nfs4_proto.h"
#include "nasfront/rpc/xdr.h"
#include "runtime/task.h"

struct nfs4;
struct nfs4_call;
struct nfs4_client;
struct nfs4_copy;
struct nfs4_name;

#define NFS4_OWNERS_MAX	   262144
#define NFS4_STATE_BUCKETS 16384
#define NFS4_SEQ_REPLY	   80 /* bytes of a result kept with an owner; longer ones beside it */

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

struct nfs4_state_slot {
	struct nfs4_state *state;
	uint32_t number; /* of the next state in it */
	uint32_t next;	 /* free ones */
};

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
struct lock_ask nfs4_ask(const struct nfs4_state *s);
struct lock_file_key nfs4_file_key(const struct nfs4_call *k);
/* A state changed: its sequence number. Becomes the current stateid. */
void nfs4_state_step(struct nfs4_call *k, struct nfs4_state *s);
/* The table has the file under another key: the same file? */
bool nfs4_same_file(const struct lock_file_key *a, const struct lock_file_key *b);

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

/* deleg4.c */
/* Asks for some of the files that are lent, for there is no room; once a second. */
void nfs4_deleg_give_way(struct nfs4 *n);
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
/* A predecessor's, that went on or whose end was not heard of: it has ended, and its client is told
 * so. -ENOMEM. */
int nfs4_copy_restore(struct nfs4_state *s, const uint8_t fh[FH_SIZE], uint64_t done,
		      uint64_t verifier, bool ended, enum nfs4_status status);
/* The handle written to, and the verifier of before the first write. */
const uint8_t *nfs4_copy_fh(const struct nfs4_copy *c, uint64_t *ret_verifier);
/* Its state ends: it stops, and nobody is told. */
void nfs4_copy_end(struct nfs4_state *s);
/* The same, and what is under way of it has ended: nothing of it is written any more. Waits. */
void nfs4_copy_cancel(struct nfs4_state *s);
/* The client was told of its end. */
void nfs4_copy_heard(struct nfs4_client *c, const struct stateid *sid);
/* All of a client's, for its lease ran out. */
void nfs4_copies_end(struct nfs4_client *c);

#endif
