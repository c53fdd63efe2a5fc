/* What the files of nasfront/nfs share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_NFS_IMPL_H
#define ISTHMUS_NASFRONT_NFS_IMPL_H

#include <bsd/sys/queue.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/rpc/rpc.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/task.h"

#define NFS_MAGIC      0x6e667333
#define NFS_PROGRAM    100003
#define NFS_V3	       3
#define NFS3_PROCS     22
#define MOUNT_PROGRAM  100005
#define MOUNT_V3       3
#define MOUNT3_PROCS   6
#define ACL_PROGRAM    100227
#define ACL_V3	       3
#define ACL3_PROCS     3
#define RQUOTA_PROGRAM 100011
#define RQUOTA_PROCS   5
#define NFS_PROCS_ALL  (NFS3_PROCS + MOUNT3_PROCS + ACL3_PROCS + RQUOTA_PROCS)
#define NFS_CLIENTS    512
#define NFS_DIR_MAX    (64 * 1024) /* a READDIR reply, dtpref */
#define NFS_MOUNT_LIST 1024

/* Counters of a client address or an export. */
struct nfs_use {
	TAILQ_ENTRY(nfs_use) link; /* clients: least lately used first */
	char *name;
	uint64_t id;   /* of exports */
	unsigned refs; /* connections, of clients */
	uint64_t ops, errors, read_bytes, write_bytes, first_ns, last_ns;
	struct histogram latency;
	uint64_t told_ns; /* client_seen was called */
};
TAILQ_HEAD(nfs_uses, nfs_use);

/* An entry of the MOUNT protocol's list: advisory, as the protocol has it. */
struct nfs_mounted {
	TAILQ_ENTRY(nfs_mounted) link;
	char host[64];
	char *path;
};
TAILQ_HEAD(nfs_mounteds, nfs_mounted);

/* A call of MNT that waits for a rule to be known. */
struct mount_wait {
	LIST_ENTRY(mount_wait) link;
	uint64_t host;
};

struct nfs {
	uint32_t magic;
	struct nfs_opts o;
	LIST_HEAD(, nfs_mount) mounts;
	struct export_table *table;
	struct deleg_table *delegs;
	struct lock_table *opens; /* NULL: nobody tells what is open */
	uint64_t generation;
	struct resolver *resolver;
	struct nfs_uses clients, exports;
	unsigned nclients;
	struct nfs_mounteds mounted;
	unsigned nmounted;
	LIST_HEAD(, mount_wait) mount_waits;
	struct rpc_program program, mount_program, acl_program;
	struct rpc_program rquota_programs[2]; /* versions 1 and 2 */
	struct nfs_op_stats ops[NFS_PROCS_ALL];
};

/* nfs_stats.c */
struct nfs_use *nfs_client_get(struct nfs *n, const char *address);
void nfs_client_put(struct nfs *n, struct nfs_use *u);
struct nfs_use *nfs_export_use(struct nfs *n, const struct export *e);
void nfs_stats_free(struct nfs *n);
void nfs_finished(void *arg, struct rpc_req *req, int result);
void mount3_finished(void *arg, struct rpc_req *req, int result);
void acl3_finished(void *arg, struct rpc_req *req, int result);
void rquota_finished(void *arg, struct rpc_req *req, int result);

/* export_resolve.c */
int nfs_resolve_new(struct nfs *n);
/* n->table is new: its names and netgroups are looked up, now and every minute. */
void nfs_resolve_table(struct nfs *n, const struct export_table *before);
void nfs_resolve_free(struct nfs *n);

/* mount3.c */
extern const struct rpc_proc mount3_procs[MOUNT3_PROCS];
void mount3_free(struct nfs *n);

/* rquota.c */
extern const struct rpc_proc rquota_procs[RQUOTA_PROCS];

/* acl3.c */
extern const struct rpc_proc acl3_procs[ACL3_PROCS];

/* nfs3_op_*.c */
rpc_handler nfs3_null, nfs3_getattr_fast, nfs3_getattr, nfs3_setattr, nfs3_access_fast, nfs3_access,
    nfs3_lookup_fast, nfs3_lookup, nfs3_readlink, nfs3_read, nfs3_write, nfs3_commit, nfs3_create,
    nfs3_mkdir, nfs3_symlink, nfs3_mknod, nfs3_remove, nfs3_rmdir, nfs3_rename, nfs3_link,
    nfs3_readdir, nfs3_readdirplus, nfs3_fsstat, nfs3_fsinfo, nfs3_pathconf;
extern const struct rpc_proc nfs3_procs[NFS3_PROCS];

#endif
