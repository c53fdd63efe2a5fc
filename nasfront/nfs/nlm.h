/*
 * The network lock manager (NLM versions 1, 3 and 4) and status monitor (NSM version 1) of the Open
 * Group's Protocols for Interworking: XNFS; see nasfront/nfs/README.md.
 *
 * Without a store (nlm_keep_in()) locks are in memory: they end with the head. What outlives it is
 * the list of clients that held some and the state number; the next incarnation tells those
 * clients, and grants for a grace period only what they say they held.
 */
#ifndef ISTHMUS_NASFRONT_NLM_H
#define ISTHMUS_NASFRONT_NLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nasfront/nfs/lock_table.h"

struct env;
struct nfs;
struct nlm;
struct reactor;
struct rpc_server;
struct store;

#define NLM_NAME_MAX	255
#define NLM_CLIENTS_MAX 4096

struct nlm_opts {
	struct reactor *reactor;
	struct env *env;
	struct nfs *nfs;
	const char *name;    /* what clients know us by, in SM_NOTIFY */
	const char *address; /* calls to clients come from it; NULL or a wildcard: any */
	uint64_t grace_ns;   /* 0: 45 s */
	uint16_t pmap_port;  /* of clients; 0: 111 */
	struct lock_table_opts limits;
	/*
	 * Keeps that a client may hold locks, or no longer; durable when it returns 0. Waits. NULL:
	 * nothing is kept.
	 */
	int (*monitor)(void *arg, const char *name, const char *address, bool gone);
	void *arg;
};

int nlm_new(struct nlm **ret, const struct nlm_opts *o);
int nlm_serve(struct nlm *n, struct rpc_server *s);
/*
 * What was kept is known now: the state number of this incarnation (odd) and whom to tell. Until
 * then every lock is answered with "grace period". Without anybody to tell the period ends at once,
 * unless `unsure`: what was kept could not be read; or `others`: clients of another protocol may
 * reclaim, and nlm_reclaimed() ends it. May be called again, when it was found late.
 */
struct nlm_monitored {
	char name[NLM_NAME_MAX + 1], address[64];
};
void nlm_begin(struct nlm *n, uint32_t state, const struct nlm_monitored *list, unsigned count,
	       bool unsure, bool others);
/*
 * From now on what a successor must know of hosts, their locks, reservations and waits is put into
 * the store (the caller's; until nlm_free()). Where nothing is held here, what a predecessor put
 * there is had again first, so that nobody has to reclaim anything. Those locks of other protocols'
 * clients are theirs to restore. -ENOMEM, -ERR_CORRUPT: not all of it could be,
 * so none of it is here.
 */
int nlm_keep_in(struct nlm *n, const struct store *s);
/* Then, when all protocols' locks are there: requests that waited wait again, or are granted now.
 * Waits are the last of all that is restored. */
void nlm_wait_again(struct nlm *n);
/* Is a host here again by nlm_keep_in()? It is monitored then. */
bool nlm_host_kept(struct nlm *n, const char *name, const char *address);
/* All of the other protocol's have reclaimed. The period ends, unless somebody else may be about
 * to: clients of this one do not say when they have. */
void nlm_reclaimed(struct nlm *n);
/* Ends calls to clients. Waits. The server has stopped. */
void nlm_free(struct nlm *n);

/* The table of all locks: other protocols' locks are in it as well. */
struct lock_table *nlm_locks(const struct nlm *n);
/* Whether locks are granted now. */
enum nlm_phase {
	NLM_STARTING, /* nothing: what was kept is not known yet */
	NLM_GRACE,    /* only what was held before the restart */
	NLM_GRANTING  /* only what is new */
};
enum nlm_phase nlm_phase(const struct nlm *n);

struct nlm_status {
	bool ready;
	uint32_t state;
	uint64_t grace_left_ns;
	unsigned clients, to_notify;
	uint64_t callbacks, callbacks_failed;
	struct lock_stats locks;
};
void nlm_status(const struct nlm *n, struct nlm_status *ret);

struct nlm_client_info {
	const char *name, *address;
	const struct lock_client *locks;
	bool monitored;
};
/* Until fn says false. fn must not wait. */
void nlm_each(const struct nlm *n, bool (*fn)(void *arg, const struct nlm_client_info *c),
	      void *arg);
/* The number by which a client tells its owners apart. */
uint32_t nlm_svid(const struct lock_info *l);

#endif
