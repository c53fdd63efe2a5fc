/* Clients and their sessions. Inner header of nasfront/nfs4. */
#ifndef ISTHMUS_NASFRONT_NFS4_CLIENT_H
#define ISTHMUS_NASFRONT_NFS4_CLIENT_H

#include "nasfront/nfs4/nfs4.h"
#include "nasfront/nfs4/nfs4_back.h"

struct nfs4_caller;

#define NFS4_SLOTS	  64
#define NFS4_SESSIONS_MAX 32   /* of a client */
#define NFS4_KEPT_REPLY	  2048 /* bytes of a reply that a slot keeps */
#define NFS4_REPLY_MAX	  (FS_IO_MAX + 4096)
#define NFS4_REQUEST_MAX  (FS_IO_MAX + 4096)
#define NFS4_CREATE_REPLY 128

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
	LIST_ENTRY(nfs4_client) by_kept; /* by kept_name */
	TAILQ_ENTRY(nfs4_client) link;	 /* least lately renewed first */
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
/* There is room for its records: those of what it was before a restart count as gone. */
bool nfs4_client_room(const struct nfs4_client *c);
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
/*
 * The compound is about to wait with its operation k->op, and what those before it changed may
 * become stable meanwhile: what a successor says to the request when it comes again, for which what
 * was done is done. That operation is to be asked for anew (DELAY).
 */
void nfs4_slot_keep_part(struct nfs4_call *k);
struct nfs4_session *nfs4_session_find(struct nfs4 *n, const uint8_t *id);
void nfs4_session_free(struct nfs4_session *s);
void nfs4_slot_end(struct nfs4_call *k);

#endif
