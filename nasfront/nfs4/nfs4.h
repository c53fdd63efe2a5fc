/*
 * NFS version 4, minor versions 0 (RFC 7530), 1 (RFC 8881) and 2 (RFC 7862), over the file systems
 * and exports of nasfront/nfs; see nasfront/nfs4/README.md. Everything on one reactor.
 */
#ifndef ISTHMUS_NASFRONT_NFS4_H
#define ISTHMUS_NASFRONT_NFS4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct env;
struct histogram;
struct nfs;
struct nfs4;
struct names;
struct nlm;
struct reactor;
struct rpc_server;
struct store;

#define NFS4_CLIENTS_MAX 4096
#define NFS4_STATES_MAX	 1000000 /* opens and locks of all clients */
#define NFS4_DELEGS_MAX	 65536	 /* files lent to all clients; to one an eighth */
#define NFS4_KEEP_MAX	 64	 /* a kept client's name: SHA-256 in hexadecimal */

struct nfs4_opts {
	struct env *env;
	struct reactor *reactor; /* NULL: clients of version 4.0 are not called */
	struct nfs *nfs;	 /* file systems and exports */
	struct nlm *nlm;	 /* the table of locks, and whether it is the grace period */
	struct names *names;	 /* of users and groups; NULL: they are numbers in text */
	const char *name;  /* of this server among all: for clients that see several addresses */
	uint64_t lease_ns; /* 0: 45 s. Whole seconds; not above the grace period */
	unsigned max_clients, max_states; /* 0: NFS4_CLIENTS_MAX, NFS4_STATES_MAX */
	bool lend;			  /* delegations are granted */
	unsigned max_delegs;		  /* 0: NFS4_DELEGS_MAX */
	uint64_t quiet_ns; /* a file that was asked for is not lent meanwhile; 0: 30 s */
	uint64_t call_ns;  /* a client's time to answer a call; 0: 10 s, at most half a lease */
	/*
	 * Keeps that a client may hold state, or no longer; durable when it returns 0. Waits. NULL:
	 * nothing is kept.
	 */
	int (*keep)(void *arg, const char *name, bool gone);
	void *arg;
};

int nfs4_new(struct nfs4 **ret, const struct nfs4_opts *o);
/* Before nlm_free(). The server has stopped. */
void nfs4_free(struct nfs4 *n);
/* rpc_server_opts.area_size for a server with this program. */
size_t nfs4_area_size(void);
int nfs4_serve(struct nfs4 *n, struct rpc_server *s);
/*
 * From now on what a successor must know is put into the store (the caller's; until nfs4_free()).
 * Where no client is here, those a predecessor put there are had again first: *ret_clients of
 * them. -ENOMEM, -ERR_CORRUPT: not all of it could
 * be, so none of it is here.
 */
int nfs4_keep_in(struct nfs4 *n, const struct store *s, unsigned *ret_clients);
/* Is a client of this kept name here again by nfs4_keep_in()? It is kept then. */
bool nfs4_kept_here(struct nfs4 *n, const char *name);
/* One is, and has not said that it has reclaimed all that was its. */
bool nfs4_reclaims(struct nfs4 *n, const char *name);
/* A client that was kept by an earlier incarnation: it may reclaim in the grace period. */
int nfs4_kept(struct nfs4 *n, const char *name);

struct nfs4_op_stats {
	const char *name;
	uint64_t count, errors;
	const struct histogram *latency; /* of COMPOUNDs, which are timed as a whole; else NULL */
};
/* Calls fn for COMPOUND, and each operation that exists. */
void nfs4_stats_ops(const struct nfs4 *n, void (*fn)(void *arg, const struct nfs4_op_stats *s),
		    void *arg);

struct nfs4_client_info {
	const char *address;
	const uint8_t *owner; /* what the client calls itself */
	uint32_t owner_len;
	bool v40, confirmed, courtesy; /* courtesy: its lease ran out */
	unsigned sessions, opens, locks, delegations;
	const char *path; /* the way back to it: none, unknown, up, down */
	uint64_t idle_ns; /* since its lease was renewed */
};
/* Until fn says false. fn must not wait. */
void nfs4_each(const struct nfs4 *n, bool (*fn)(void *arg, const struct nfs4_client_info *c),
	       void *arg);

struct nfs4_deleg_info {
	const char *address; /* of its client */
	uint64_t fs, ino;
	bool write, revoked;
	uint64_t recall_ns; /* since it was asked for; 0: it was not */
};
/* The files that are lent. Until fn says false. fn must not wait. */
void nfs4_each_deleg(const struct nfs4 *n, bool (*fn)(void *arg, const struct nfs4_deleg_info *d),
		     void *arg);

struct nfs4_deleg_stats {
	unsigned lent, recalled, revoked_now;
	uint64_t reads, writes; /* granted, by kind */
	uint64_t recalls, returns, revoked, calls, calls_failed;
};
void nfs4_deleg_stats(const struct nfs4 *n, struct nfs4_deleg_stats *ret);

#endif
