/* What the files of the lock manager share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_NLM_IMPL_H
#define ISTHMUS_NASFRONT_NLM_IMPL_H

#include "nasfront/nfs/nfs_impl.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/store.h"
#include "nasfront/rpc/rpc_out.h"

#define NLM_MAGIC	 0x6e6c6d34
#define NLM_PROGRAM	 100021
#define NLM_PROCS	 24
#define NSM_PROGRAM	 100024
#define NSM_PROCS	 7
#define NLM_OBJ_MAX	 1024 /* MAXNETOBJ_SZ */
#define NLM_OUT_MAX	 256  /* results queued for one client */
#define NLM_REPLY_MAX	 2304
#define NLM_ADDRESS_MAX	 256 /* clients of one address: some hundred behind a translator */
#define NSM_NOTIFY_TASKS 64
#define NLM_BUCKETS	 1024

enum nlm_stat {
	NLM_GRANTED = 0,
	NLM_DENIED = 1,
	NLM_DENIED_NOLOCKS = 2,
	NLM_BLOCKED = 3,
	NLM_DENIED_GRACE_PERIOD = 4,
	NLM_DEADLCK = 5,
	NLM_ROFS = 6,
	NLM_STALE_FH = 7,
	NLM_FBIG = 8,
	NLM_FAILED = 9,
	NLM_FENCED = 1000, /* not on the wire: answer nothing */
};

enum nlm_op { NLM_TEST = 1, NLM_LOCK, NLM_CANCEL, NLM_UNLOCK, NLM_NM_LOCK = 22 };
#define NLM_PROC_GRANTED     5
#define NLM_PROC_GRANTED_MSG 10

struct nlm_obj {
	const uint8_t *p;
	uint32_t len;
};

/* Arguments, in place. */
struct nlm_args {
	uint32_t vers;
	struct nlm_obj cookie, name, fh, oh;
	bool block, exclusive, reclaim;
	uint32_t state, svid;
	uint64_t off, len;
	uint32_t mode, access; /* SHARE */
	bool too_big;
	struct lock_range range;
	uint8_t owner[LOCK_OWNER_MAX]; /* svid and oh */
	uint32_t owner_len;
};

/* A call to a client: a result, or word of a lock that was waited for. */
struct nlm_out {
	TAILQ_ENTRY(nlm_out) link;
	uint32_t vers, proc;
	struct nlm_client *client;
	bool grant;    /* GRANTED or GRANTED_MSG */
	bool settled;  /* of grants: the client knows, or wants it no more */
	bool told;     /* the client may know, though nothing said so */
	bool answered; /* a GRANTED_RES came: */
	uint32_t answer;
	uint64_t cookie;
	struct lock_file_key file;
	uint64_t record;   /* of a wait in the store; 0: none */
	struct nlm_args a; /* its objects point into `bytes` */
	uint32_t len;	   /* of a result */
	uint8_t bytes[];
};
TAILQ_HEAD(nlm_outs, nlm_out);

/* A host under one name and address. */
struct nlm_client {
	TAILQ_ENTRY(nlm_client) link; /* least lately used first */
	LIST_ENTRY(nlm_client) chain;
	struct nlm *nlm;
	char name[NLM_NAME_MAX + 1], address[64];
	struct store_key key; /* of its record */
	bool recorded;
	struct sockaddr_storage peer, local;
	bool tcp; /* how it called us last */
	bool monitored, monitoring;
	uint32_t state;	   /* its NSM state, as it told us with a lock; 0: not */
	uint32_t notified; /* the last SM_NOTIFY of it */
	struct lock_client *locks;
	struct nlm_outs out; /* to be called */
	unsigned nout;
	bool calling;
	unsigned refs;
	struct waitq wake;
};
TAILQ_HEAD(nlm_clients, nlm_client);

/* Somebody who is told that we were restarted. */
struct nsm_peer {
	TAILQ_ENTRY(nsm_peer) link;
	struct nlm_monitored who;
	bool busy;
	unsigned tries;
	uint64_t due_ns, end_ns;
};
TAILQ_HEAD(nsm_peers, nsm_peer);

struct nlm {
	uint32_t magic;
	struct nlm_opts o;
	char name[NLM_NAME_MAX + 1];
	struct sockaddr_storage from;
	struct lock_table *table;
	struct nlm_clients clients;
	LIST_HEAD(, nlm_client) by_name[NLM_BUCKETS];
	uint64_t hash_key[2];
	unsigned nclients;
	uint64_t next_wait; /* of their records */
	bool waits_due;	    /* they are yet to be restored */
	bool ready, stopping, full_told;
	bool grace_whole; /* nobody can know when all have reclaimed */
	uint32_t state;
	uint64_t grace_end;
	uint64_t cookie;
	const struct store *store; /* NULL: nothing is kept but who is monitored */
	struct rpc_out *out;
	unsigned tasks, notifiers;
	struct waitq ended, wake;
	struct nsm_peers peers;
	unsigned npeers;
	uint64_t callbacks, callbacks_failed;
	struct rpc_program programs[4];
};

/* nlm_xdr.c: false: garbage */
bool nlm_get_lock(struct xdr_in *x, struct nlm_args *a, enum nlm_op op);
/* The owner as the table has it, of svid and oh. */
void nlm_make_owner(struct nlm_args *a);
bool nlm_get_share(struct xdr_in *x, struct nlm_args *a);
bool nlm_get_obj(struct xdr_in *x, struct nlm_obj *o);
bool nlm_get_string(struct xdr_in *x, struct nlm_obj *o);
void nlm_put_obj(struct xdr_out *x, const struct nlm_obj *o);
/* nlm4_lock: as the client wrote it. */
void nlm_put_lock(struct xdr_out *x, const struct nlm_args *a);
void nlm_put_holder(struct xdr_out *x, uint32_t vers, const struct lock_info *by);
uint32_t nlm_wire_stat(uint32_t vers, enum nlm_stat st);

/* nlm_client.c */
struct nlm_client *nlm_client_find(struct nlm *n, const struct nlm_obj *name, const char *address);
/* It is the host that says it was restarted: from a privileged port, where some rule for it asks
 * for those, or where it has no rule any more. */
bool nlm_host_speaks(struct nlm *n, struct rpc_req *req);
/* Found or made; NULL: too many. */
struct nlm_client *nlm_client_get(struct nlm *n, struct rpc_req *req, const struct nlm_obj *name);
/* There is room for its record, or it has one; others that hold nothing give way. It is held.
 * Waits. */
bool nlm_client_room(struct nlm_client *c);
/* Before its first lock: kept for the next incarnation. Waits. */
int nlm_client_monitor(struct nlm_client *c);
void nlm_client_reboot(struct nlm_client *c, const char *why);
void nlm_client_forget(struct nlm_client *c);
/* A result for a client that asked by a _MSG procedure. */
void nlm_send_result(struct nlm_client *c, uint32_t vers, uint32_t proc, const void *args,
		     uint32_t len);
struct nlm_out *nlm_wait_new(struct nlm_client *c, const struct nlm_args *a,
			     const struct lock_file_key *file, bool msg);
void nlm_out_free(struct nlm_out *o);
/* The lock it waited for is its: the client is called. */
void nlm_granted(void *arg, void *user);
void nlm_dropped(void *arg, void *user);
/* A grant the client does not know of yet; NULL: none. */
/* It gives up some of the range: it knows that it has what it was about to be told of. */
void nlm_grants_known(struct nlm_client *c, const struct nlm_args *a,
		      const struct lock_file_key *file);
struct nlm_out *nlm_grant_find(struct nlm_client *c, const struct nlm_args *a,
			       const struct lock_file_key *file);
void nlm_granted_res(struct nlm *n, const char *address, uint64_t cookie, uint32_t stat);
void nlm_task_end(struct nlm *n);

/* Made as a host of this name and address that has not called yet. NULL: no memory. */
struct nlm_client *nlm_client_new(struct nlm *n, const struct nlm_obj *name, const char *address);
/* It is called, when nothing is said to it already. */
void nlm_out_queue(struct nlm_client *c, struct nlm_out *o);

/* nlm_state.c */
/* The table's: a lock was made, changed, dropped. */
void nlm_lock_kept(void *arg, const struct lock_kept *k);
bool nlm_store_full(void *arg, struct lock_client *c);
/* It waits, and is to be told by a successor. */
void nlm_record_wait(struct nlm_out *o);
void nlm_unrecord_wait(struct nlm_out *o);
/* Its host knows, or wants it no more. */
void nlm_settle(struct nlm_out *o);
void nlm_record_host(struct nlm_client *c);
void nlm_unrecord_host(struct nlm_client *c);

/* nlm_proc.c */
extern const struct rpc_proc nlm_procs[NLM_PROCS];
/* nsm.c */
extern const struct rpc_proc nsm_procs[NSM_PROCS];
void nsm_start(struct nlm *n);

#endif
