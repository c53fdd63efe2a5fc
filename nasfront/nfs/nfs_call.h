/*
 * From a file handle to what it means for one caller: file system, export, access rule and
 * credentials as squashed. Every protocol that serves files begins here (NFSv3, NLM, NFSv4); see
 * nasfront/nfs/README.md.
 */
#ifndef ISTHMUS_NASFRONT_NFS_CALL_H
#define ISTHMUS_NASFRONT_NFS_CALL_H

#include <bsd/sys/queue.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/deleg.h"
#include "nasfront/nfs/export.h"
#include "nasfront/nfs/fh.h"
#include "nasfront/nfs/groups.h"
#include "nasfront/nfs/nfs.h"
#include "nasfront/rpc/rpc.h"
#include "runtime/task.h"

struct nfs_use;

#define NFS3_FHSIZE 64

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
	NFS_AGAIN = 20001,     /* the fast path cannot say */
	NFS_FENCED = 20002,    /* answer nothing */
	NFS_TOOWEAK = 20003,   /* not with this flavour: AUTH_TOOWEAK */
	NFS_ELSEWHERE = 20004, /* another head serves it */
};

/* A configured file system; `fs` is NULL while it is not mounted. */
struct nfs_mount {
	LIST_ENTRY(nfs_mount) link;
	uint64_t id;
	char name[64];
	struct nfs *nfs;
	struct fs *fs;
	struct fh_key key;
	struct fs_fid root;
	uint64_t dir_verifier; /* cookies never go stale: one for the life of the file system */
	unsigned busy;	       /* requests that use fs */
	bool leaving;	       /* no new ones */
	struct waitq idle;
};

/* What is kept with a connection: its client, and the access rule found last. */
struct nfs_peer {
	struct nfs *nfs;
	struct nfs_use *client;
	struct nfs_use *use; /* of export_id */
	uint64_t generation, export_id;
	const struct export *exp;
	const struct export_rule *rule;
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
	struct fs_once once;	   /* cred's: of what must not be done twice */
	struct group_list *groups; /* held: cred's */
	struct fs_fid fid;
	struct deleg_change change; /* until it is let go */
	uint64_t read_bytes, write_bytes;
	bool reading;
	int relay; /* with NFS_ELSEWHERE: what the handler returns */
	bool weak; /* the export does not take this flavour */
	struct fs_read read;
};

enum nfs_begin_flags {
	NFS_MODIFIES = 1, /* refused on read-only exports */
	/* Part of mounting: with any flavour where an export begins (RFC 2623 2.3.2). */
	NFS_MOUNTING = 2,
	NFS_ANY_FLAVOR = 4, /* locks: clients ask for them with AUTH_SYS whatever the mount has */
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
/*
 * The call is the serving head's to answer, of an export that is another's: what the handler
 * returns, or negative: it cannot be relayed (it came by a relay, from a head that is told of
 * exports earlier or later than this one), and the client is to ask again. Of a handle: also when
 * it is not another's.
 */
int nfs_relay(struct nfs *n, struct rpc_req *req, const struct export *e);
/* The same to all other heads: what a host says of itself. Negative: there are none, or it came by
 * a relay. */
int nfs_relay_all(struct nfs *n, struct rpc_req *req);
int nfs_relay_handle(struct nfs *n, struct rpc_req *req, const uint8_t *data, uint32_t len);
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
/* The rule for this peer, its port and its kind of connection; NULL: no access. */
const struct export_rule *nfs_rule_of(struct nfs *n, struct rpc_req *req, const struct export *e);
/* How to say that there is no rule: NFS3ERR_ACCES, or NFS3ERR_JUKEBOX while a name is looked up. */
enum nfsstat3 nfs_rule_refused(struct rpc_req *req, const struct export *e);
/* Some export has a rule for its address, or may have. *ret_port: it called from a port that all of
 * these take.
 */
bool nfs_host_known(struct nfs *n, struct rpc_req *req, bool *ret_port);
/*
 * What a handle names, for a host that gives up what it itself holds there. ACCES: it calls from a
 * port or kind of connection that its rule does not take; without a rule (any more) the port has to
 * be a privileged one, so that it is the host that speaks and not anybody on it.
 */
enum nfsstat3 nfs_give_up(struct nfs *n, struct rpc_req *req, const uint8_t *data, uint32_t len,
			  struct lock_file_key *ret);
/* It would have one if its connection were another kind (TLS, with a certificate, without). */
bool nfs_rule_wants_xprt(struct nfs *n, struct rpc_req *req, const struct export *e);
/* The directory an export's path leads to now, where it begins. Waits. 0, -ENOENT, … */
int nfs_export_find(struct nfs_mount *m, const struct export *e, struct fs_fid *ret);
/* Walks from `from` along path ("a/b") as the superuser, directories only, no links. Waits. */
int nfs_walk(struct fs *fs, const struct fs_fid *from, const char *path, struct fs_fid *ret);
/* A directory lies in the call's export (0) or, moved by somebody, no longer (-ESTALE). *ret_top:
 * the export begins with it. Waits. */
int nfs_inside(const struct nfs_call *c, const struct fs_fid *dir, bool *ret_top);

/* Lets go of what the call holds of its object; it holds none then. */
void nfs_let_go(struct nfs_call *c);
/* Finds what a handle means, as nfs_begin_handle() does, into a call that holds nothing. After an
 * error nfs_let_go() too. NFS_AGAIN: not without waiting (a task). NFS_ELSEWHERE: ->exp is of
 * another head, in the table in force; nobody looked yet whether it is this peer's. */
enum nfsstat3 nfs_call_open(struct nfs_call *c, const uint8_t *data, uint32_t len, unsigned flags);
/* The same for the place where an export of this head begins. Waits. NFS3ERR_ACCES: it is not this
 * peer's. */
enum nfsstat3 nfs_call_open_export(struct nfs_call *c, const struct export *e);
/* The table in force, and a number that changes with every one. */
const struct export_table *nfs_table(const struct nfs *n, uint64_t *ret_generation);
/* Adds a call that took ns to the figures of its client and export. */
void nfs_count(struct nfs *n, const struct nfs_call *c, const struct rpc_req *req, bool error,
	       uint64_t ns);
/* True: nothing may be answered any more. */
bool nfs_fenced(const struct nfs *n);

/*
 * Files lent to clients: the call, of somebody none is lent to, is about to change its object, or
 * look at its data; or to change what a name of a directory leads to (waits). NFS3ERR_JUKEBOX in
 * ->status: not yet. Each may wait in a task; nfs_look() says NFS_AGAIN outside one.
 */
void nfs_change(struct nfs_call *c);
/* Any file is lent, and nothing is wrong yet: then a call is refused for what its caller may not
 * (fs_may_…()) before anybody is asked for a file. */
bool nfs_lent(const struct nfs_call *c);
/* The current file is, to write. */
bool nfs_lent_to_write(const struct nfs_call *c);
/* The same of data, into ->status. Wait. */
void nfs_check_data(struct nfs_call *c, bool write);
bool nfs_may_data(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, bool write);
void nfs_look(struct nfs_call *c);
void nfs_change_name(struct nfs_call *c, const struct fs_fid *dir, const char *name, uint32_t len);
/* The same of data of what the name leads to, by this call: until it is let go nothing is lent. */
void nfs_change_named(struct nfs_call *c, const char *name, uint32_t len);
/* The attributes are not for others: who has the file to write knows better. */
bool nfs_attr_stale(const struct nfs_call *c, const struct fs_attr *a);
struct deleg_table *nfs_delegs(const struct nfs *n);
/* The file a name of a directory leads to, for the table; waits. False: none. */
bool nfs_named_file(struct nfs_call *c, const struct fs_fid *dir, const char *name, uint32_t len,
		    struct lock_file_key *ret);

/* nfs_mount.c */
struct nfs_mount *nfs_mount_by_id(struct nfs *n, uint64_t id);
struct nfs_mount *nfs_mount_by_name(struct nfs *n, const char *name);
void nfs_mount_hold(struct nfs_mount *m);
void nfs_mount_release(struct nfs_mount *m);

#endif
