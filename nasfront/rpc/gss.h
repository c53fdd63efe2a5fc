/*
 * RPCSEC_GSS version 1 (RFC 2203) with Kerberos 5 (RFC 4121): who calls is proved by a ticket, and
 * calls and replies may be signed (krb5i) or encrypted (krb5p). See nasfront/rpc/README.md.
 *
 * One for a server; everything on its reactor but what looks into keytab, replay cache and
 * nsswitch, which runs on threads of its own.
 */
#ifndef ISTHMUS_NASFRONT_RPC_GSS_H
#define ISTHMUS_NASFRONT_RPC_GSS_H

#include <stdbool.h>
#include <stdint.h>

struct env;
struct reactor;
struct rpc_gss;

/* rpc_gss_service_t, as on the wire. */
enum rpc_gss_service { RPC_GSS_NONE = 1, RPC_GSS_INTEGRITY = 2, RPC_GSS_PRIVACY = 3 };

#define RPC_GSS_WINDOW 1024 /* sequence numbers that may be under way in a context */

/*
 * Whose calls a principal's are. On a thread of its own, may take its time. `local` is the local
 * name that krb5.conf gives the principal, "" when it has none. 0, or -ENOENT: nobody of here, the
 * call is the anonymous user's; other errors refuse the context for now.
 */
typedef int rpc_gss_find_fn(void *arg, const char *principal, const char *local, uint32_t *ret_uid,
			    uint32_t *ret_gid);

struct rpc_gss_opts {
	struct reactor *reactor;
	struct env *env;
	const char *keytab;    /* path; read anew for each context */
	const char *principal; /* nfs/host[@REALM]; "" or NULL: any nfs/... of the keytab */
	unsigned contexts;     /* at most; 0: 4096. The one used least lately gives way */
	uint64_t idle_ns;      /* unused for so long, a context goes; 0: an hour */
	uint64_t life_ns;      /* so old it goes, as with its ticket; 0: 12 hours */
	rpc_gss_find_fn *find; /* NULL: getpwnam() of the local name */
	void *arg;	       /* outlives what is under way: rpc_gss_free() does not wait */
};

/* 0 or -ENOMEM. Whether the keytab can be used is found at each context; see rpc_gss_look(). */
int rpc_gss_new(struct rpc_gss **ret, const struct rpc_gss_opts *o);
/* After the server. What runs on other threads ends by itself later. */
void rpc_gss_free(struct rpc_gss *g);
/* Can the keytab be used now? 0, or a negative error and why in a sentence of at most len bytes
 * with its remedy. Reads files: not on a reactor that serves. */
int rpc_gss_look(const struct rpc_gss_opts *o, char *why, unsigned len);

struct rpc_gss_stats {
	unsigned contexts;
	uint64_t accepted, refused; /* contexts asked for */
	uint64_t evicted;	    /* for others' room */
	uint64_t calls, replayed;   /* replayed: dropped, its sequence number was used or too old */
	uint64_t denied;	    /* unknown context, wrong verifier */
};
void rpc_gss_stats(const struct rpc_gss *g, struct rpc_gss_stats *ret);

#endif
