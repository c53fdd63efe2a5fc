/*
 * The NFS version 3 service (RFC 1813) over mounted file systems, with its MOUNT protocol; see
 * nasfront/nfs/README.md. Everything on one reactor.
 */
#ifndef ISTHMUS_NASFRONT_NFS_H
#define ISTHMUS_NASFRONT_NFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/channel.pb-c.h"
#include "runtime/histogram.h"

struct addr_list;
struct env;
struct fs;
struct lock_file_key;
struct lock_table;
struct groups;
struct nfs;
struct reactor;
struct rpc_server;

struct nfs_opts {
	struct reactor *reactor;
	struct env *env;
	/* True when this head was fenced: nothing may be answered any more. May be NULL. */
	bool (*fenced)(void *arg);
	/* A file system call ended with -ERR_EPOCH_STALE. May be NULL. */
	void (*on_fenced)(void *arg);
	/* A client used an export; at most once a second a client. May be NULL. */
	void (*client_seen)(void *arg, const char *address, const char *export_path);
	void *arg;
	/* Where the groups of AUTH_SYS callers come from; NULL: from their calls (16 at most). The
	 * caller's, and must outlive the service. */
	struct groups *groups;
	bool groups_gss; /* of callers by RPCSEC_GSS alone, whose calls carry none */
	/* Members of a netgroup, on a thread; see netgroup.h. NULL: as this host says. */
	int (*netgroup_hosts)(void *arg, const char *netgroup,
			      void (*each)(void *to, const char *host), void *to);
	/* Addresses of a host, the same. */
	int (*host_addresses)(void *arg, const char *name, struct addr_list *ret);
	/* Where another head takes calls for what it serves (rpc_relay.h). NULL: nowhere. */
	void (*relay_path)(void *arg, const char *head, char ret[108]);
	uint64_t resolve_ns; /* names in access lists are looked up so often; 0: 60 s */
};

int nfs_new(struct nfs **ret, const struct nfs_opts *o);
/* No mount may be busy (the RPC server has stopped). */
void nfs_free(struct nfs *n);
/* rpc_server_opts.area_size for a server with these programs. */
size_t nfs_area_size(void);
/* Adds NFS, MOUNT, NFSACL and RQUOTA to the server; n must outlive it. */
int nfs_serve(struct nfs *n, struct rpc_server *s);

/* Where reservations are: a file that has one stays when its last name goes, until that is given up
 * (nfs_file_unused()). NULL: the table goes. */
void nfs_set_opens(struct nfs *n, struct lock_table *t);
void nfs_file_unused(struct nfs *n, const struct lock_file_key *file);

/* A file system that is configured but not (yet) mounted: its handles get NFS3ERR_JUKEBOX. */
int nfs_mount_expect(struct nfs *n, uint64_t id, const char *name);
/* Serves it from now on. Waits. */
int nfs_mount_add(struct nfs *n, uint64_t id, const char *name, struct fs *fs);
/* Stops serving and waits until no request uses it; its handles get NFS3ERR_JUKEBOX. NULL when it
 * was not mounted. The caller unmounts what is returned. */
struct fs *nfs_mount_take(struct nfs *n, uint64_t id);
/* No longer configured: its handles get NFS3ERR_STALE. Must not be mounted. */
void nfs_mount_forget(struct nfs *n, uint64_t id);
struct fs *nfs_mount_get(struct nfs *n, const char *name); /* NULL; valid until the caller waits */
/* Keeps a mount from being taken while fn works on it (waits). -ENOENT when not mounted. */
int nfs_mount_use(struct nfs *n, const char *name, int (*fn)(void *arg, struct fs *fs), void *arg);

/* Replaces the export table: by a configuration's own exports and those of other heads. Wrong
 * entries are logged and left out: how many. */
unsigned nfs_namespace_set(struct nfs *n, const Isthmus__NasConfig *cfg);
/* The same where there is one head. */
unsigned nfs_exports_set(struct nfs *n, Isthmus__NasExport **exports, size_t count);

/* ---- figures ---- */

struct nfs_op_stats {
	const char *name;
	uint64_t count, errors;
	struct histogram latency; /* from the call's receipt to its answer */
};
/* Calls fn for each procedure: NFS's, MOUNT's, NFSACL's, RQUOTA's. */
void nfs_stats_ops(const struct nfs *n, void (*fn)(void *arg, const struct nfs_op_stats *s),
		   void *arg);

struct nfs_use_stats {
	const char *name; /* export path, or client address */
	uint64_t ops, errors, read_bytes, write_bytes;
	const struct histogram *latency;
	uint64_t first_ns, last_ns; /* real time */
	unsigned connections;	    /* of clients */
};
void nfs_stats_exports(const struct nfs *n, void (*fn)(void *arg, const struct nfs_use_stats *s),
		       void *arg);
void nfs_stats_clients(const struct nfs *n, void (*fn)(void *arg, const struct nfs_use_stats *s),
		       void *arg);

#endif
