/* What the files of nasfront/nfs share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_NFS_IMPL_H
#define ISTHMUS_NASFRONT_NFS_IMPL_H

#include <bsd/sys/queue.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/export.h"
#include "nasfront/nfs/fh.h"
#include "nasfront/nfs/nfs.h"
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
#define NFS3_FHSIZE    64
#define NFS_CLIENTS    512
#define NFS_DIR_MAX    (64 * 1024) /* a READDIR reply, dtpref */
#define NFS_MOUNT_LIST 1024

enum nfsstat3 {
	NFS3_OK = 0,
	NFS3ERR_PERM = 1,
	NFS3ERR_NOENT = 2,
	NFS3ERR_IO = 5,
	NFS3ERR_NXIO = 6,
	NFS3ERR_ACCES = 13,
	NFS3ERR_EXIST = 17,
	NFS3ERR_XDEV = 18,
	NFS3ERR_NODEV = 19,
	NFS3ERR_NOTDIR = 20,
	NFS3ERR_ISDIR = 21,
	NFS3ERR_INVAL = 22,
	NFS3ERR_FBIG = 27,
	NFS3ERR_NOSPC = 28,
	NFS3ERR_ROFS = 30,
	NFS3ERR_MLINK = 31,
	NFS3ERR_NAMETOOLONG = 63,
	NFS3ERR_NOTEMPTY = 66,
	NFS3ERR_DQUOT = 69,
	NFS3ERR_STALE = 70,
	NFS3ERR_BADHANDLE = 10001,
	NFS3ERR_NOT_SYNC = 10002,
	NFS3ERR_BAD_COOKIE = 10003,
	NFS3ERR_NOTSUPP = 10004,
	NFS3ERR_TOOSMALL = 10005,
	NFS3ERR_SERVERFAULT = 10006,
	NFS3ERR_BADTYPE = 10007,
	NFS3ERR_JUKEBOX = 10008,
	/* Not on the wire: */
	NFS_AGAIN = 20001,  /* the fast path cannot say */
	NFS_FENCED = 20002, /* answer nothing */
};

/* A configured file system; `fs` is NULL while it is not mounted. */
struct nfs_mount {
	LIST_ENTRY(nfs_mount) link;
	uint64_t id;
	char name[64];
	struct fs *fs;
	struct fh_key key;
	struct fs_fid root;
	uint64_t dir_verifier; /* cookies never go stale: one for the life of the file system */
	unsigned busy;	       /* requests that use fs */
	bool leaving;	       /* no new ones */
	struct waitq idle;
};

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

/* What is kept with a connection: its client, and the access rule found last. */
struct nfs_peer {
	struct nfs *nfs;
	struct nfs_use *client;
	struct nfs_use *use; /* of export_id */
	uint64_t generation, export_id;
	const struct export *exp;
	const struct export_rule *rule;
};

/* An entry of the MOUNT protocol's list: advisory, as the protocol has it. */
struct nfs_mounted {
	TAILQ_ENTRY(nfs_mounted) link;
	char host[64];
	char *path;
};
TAILQ_HEAD(nfs_mounteds, nfs_mounted);

struct nfs {
	uint32_t magic;
	struct nfs_opts o;
	LIST_HEAD(, nfs_mount) mounts;
	struct export_table *table;
	uint64_t generation;
	struct env_timer resolve_timer;
	unsigned resolving; /* look-ups of host names under way */
	LIST_HEAD(, nfs_lookup) lookups;
	struct nfs_uses clients, exports;
	unsigned nclients;
	struct nfs_mounteds mounted;
	unsigned nmounted;
	struct rpc_program program, mount_program;
	struct nfs_op_stats ops[NFS3_PROCS + MOUNT3_PROCS];
};

/* One call, in rpc_req.area. Filled by nfs_begin(). */
struct nfs_call {
	struct nfs *nfs;
	struct rpc_req *req;
	struct nfs_peer *peer; /* until the handler first waits: it ends with the connection */
	enum nfsstat3 status;
	struct nfs_mount *mount; /* held while not NULL */
	struct export_table *table;
	const struct export *exp;
	const struct export_rule *rule;
	struct fs_cred cred;
	struct fs_fid fid;
	uint64_t read_bytes, write_bytes;
	bool reading;
	struct fs_read read;
};

enum nfs_begin_flags {
	NFS_MODIFIES = 1, /* refused on read-only exports */
};

/* nfs_call.c */

/*
 * Reads a file handle from the arguments and finds file system, export, rule and credentials.
 * NULL: garbage. A refusal is in ->status (then nothing is held but the call must still end).
 */
struct nfs_call *nfs_begin(struct rpc_req *req, void *arg, unsigned flags);
/* The same for a handle that was read already: never NULL. */
struct nfs_call *nfs_begin_handle(struct rpc_req *req, struct nfs *n, const uint8_t *data,
				  uint32_t len, unsigned flags);
/* A second handle of the same call (RENAME, LINK): false: garbage. Sets ->status; *ret is written
 * on success only. */
bool nfs_second(struct nfs_call *c, struct fs_fid *ret);
/* Puts a negative result of the file system into ->status (0 keeps it). */
void nfs_result(struct nfs_call *c, int rc);
/* Ends the call; what a handler returns. */
int nfs_end(struct nfs_call *c);
/* Ends the fast handler without an answer. */
int nfs_again(struct nfs_call *c);
/* Ends a call whose arguments were not what they should be. */
int nfs_garbage(struct nfs_call *c);
enum nfsstat3 nfs3_status(int rc);
struct nfs_peer *nfs_peer_of(struct nfs *n, struct rpc_req *req);
/* The rule for this peer, or NULL and *ret_why. */
const struct export_rule *nfs_rule_of(struct nfs *n, struct rpc_req *req, const struct export *e);
/* The directory an export's path leads to now, where it begins. Waits. 0, -ENOENT, … */
int nfs_export_find(struct nfs_mount *m, const struct export *e, struct fs_fid *ret);
/* Walks from `from` along path ("a/b") as the superuser, directories only, no links. Waits. */
int nfs_walk(struct fs *fs, const struct fs_fid *from, const char *path, struct fs_fid *ret);
/* A directory lies in the call's export (0) or, moved by somebody, no longer (-ESTALE). *ret_top:
 * the export begins with it. Waits. */
int nfs_inside(const struct nfs_call *c, const struct fs_fid *dir, bool *ret_top);

/* nfs_mount.c */
struct nfs_mount *nfs_mount_by_id(struct nfs *n, uint64_t id);
struct nfs_mount *nfs_mount_by_name(struct nfs *n, const char *name);
void nfs_mount_hold(struct nfs_mount *m);
void nfs_mount_release(struct nfs_mount *m);

/* nfs_stats.c */
struct nfs_use *nfs_client_get(struct nfs *n, const char *address);
void nfs_client_put(struct nfs *n, struct nfs_use *u);
struct nfs_use *nfs_export_use(struct nfs *n, const struct export *e);
void nfs_stats_free(struct nfs *n);
void nfs_finished(void *arg, struct rpc_req *req, int result);
void mount3_finished(void *arg, struct rpc_req *req, int result);

/* export_resolve.c: looks up the host names of the table in force, again every minute. */
void nfs_resolve_start(struct nfs *n);
void nfs_resolve_stop(struct nfs *n);

/* mount3.c */
extern const struct rpc_proc mount3_procs[MOUNT3_PROCS];
void mount3_free(struct nfs *n);

/* nfs3_op_*.c */
rpc_handler nfs3_null, nfs3_getattr_fast, nfs3_getattr, nfs3_setattr, nfs3_access_fast, nfs3_access,
    nfs3_lookup_fast, nfs3_lookup, nfs3_readlink, nfs3_read, nfs3_write, nfs3_commit, nfs3_create,
    nfs3_mkdir, nfs3_symlink, nfs3_mknod, nfs3_remove, nfs3_rmdir, nfs3_rename, nfs3_link,
    nfs3_readdir, nfs3_readdirplus, nfs3_fsstat, nfs3_fsinfo, nfs3_pathconf;
extern const struct rpc_proc nfs3_procs[NFS3_PROCS];

#endif
