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
struct nfs;
struct nfs4;
struct names;
struct nlm;
struct rpc_server;

#define NFS4_CLIENTS_MAX 1024
#define NFS4_STATES_MAX	 1000000 /* opens and locks of all clients */
#define NFS4_KEEP_MAX	 64	 /* a kept client's name: SHA-256 in hexadecimal */

struct nfs4_opts {
	struct env *env;
	struct nfs *nfs;     /* file systems and exports */
	struct nlm *nlm;     /* the table of locks, and whether it is the grace period */
	struct names *names; /* of users and groups; NULL: they are numbers in text */
	const char *name;    /* of this server among all: for clients that see several addresses */
	uint64_t lease_ns;   /* 0: 45 s. Whole seconds; not above the grace period */
	unsigned max_clients, max_states; /* 0: NFS4_CLIENTS_MAX, NFS4_STATES_MAX */
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
/* A client that was kept by an earlier incarnation: it may reclaim in the grace period. */
int nfs4_kept(struct nfs4 *n, const char *name);

struct nfs4_op_stats {
	const char *name;
	uint64_t count, errors;
};
/* Calls fn for each operation that exists. */
void nfs4_stats_ops(const struct nfs4 *n, void (*fn)(void *arg, const struct nfs4_op_stats *s),
		    void *arg);

struct nfs4_client_info {
	const char *address;
	const uint8_t *owner; /* what the client calls itself */
	uint32_t owner_len;
	unsigned sessions, opens, locks;
	uint64_t idle_ns; /* since its lease was renewed */
};
/* Until fn says false. fn must not wait. */
void nfs4_each(const struct nfs4 *n, bool (*fn)(void *arg, const struct nfs4_client_info *c),
	       void *arg);

#endif
