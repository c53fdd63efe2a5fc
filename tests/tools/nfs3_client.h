/*
 * One NFSv3 connection of a test, over libnfs's raw calls, one call at a time: every procedure of
 * RFC 1813 with all its results copied out, from any source address and port, as any user.
 */
#ifndef ISTHMUS_TESTS_NFS3_CLIENT_H
#define ISTHMUS_TESTS_NFS3_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#define NC_DATA	   (2u << 20)
#define NC_TIMEOUT 40000 /* ms without an answer: the connection is given up */

enum nc_rpc {
	NC_OK,
	NC_REFUSED, /* an RPC error: garbage arguments, authentication */
	NC_LOST,    /* no answer will come on this connection */
};

struct nc_fh {
	uint32_t len;
	char data[64];
};

struct nc_wcc {
	bool has_pre, has_post;
	wcc_attr pre;
	fattr3 post;
};

struct nc_entry {
	uint64_t fileid, cookie;
	char name[256];
	bool has_attr, has_fh;
	fattr3 attr;
	struct nc_fh fh;
};

struct nc_res {
	enum nc_rpc rpc;
	const char *call; /* "getattr", "mnt": which has a status; NULL: one without */
	int status;	  /* nfsstat3 or mountstat3; -1: none */
	bool has_fh, has_attr, has_dir, eof;
	struct nc_fh fh;
	fattr3 attr, dir; /* post_op_attr of the object, and of a directory beside it */
	struct nc_wcc wcc[2];
	uint32_t count, committed, access;
	uint64_t verf;
	FSINFO3resok fsinfo;
	FSSTAT3resok fsstat;
	PATHCONF3resok pathconf;
};

struct nc {
	struct rpc_context *rpc;
	const char *server;
	int port;
	uint32_t uid, gid;
	bool done, dead;
	bool raw_none; /* nc_raw(): AUTH_NONE */
	struct nc_res res;
	char *data; /* READ, READLINK (a string), lists of MOUNT (lines): res.count bytes */
	struct nc_entry *entries;
	unsigned nentries;
	/* Around every call that changes something: the objects its wcc_data speaks of. */
	void (*before)(struct nc *c, const struct nc_fh *const fh[2]);
	void (*after)(struct nc *c, const struct nc_fh *const fh[2], const char *call);
	fattr3 was[2];
	bool was_known[2];
};

/* source NULL: any; low: from a port below 1024. NULL when it could not connect. */
struct nc *nc_open(const char *server, int port, const char *source, bool low);
void nc_close(struct nc *c);
/* Resets the connection and makes another from the same address and port. */
bool nc_reconnect(struct nc *c);
void nc_user(struct nc *c, uint32_t uid, uint32_t gid, unsigned ngroups, const uint32_t *groups);

const struct nc_res *nc_null(struct nc *c);
const struct nc_res *nc_getattr(struct nc *c, const struct nc_fh *f);
const struct nc_res *nc_setattr(struct nc *c, const struct nc_fh *f, const sattr3 *s,
				const nfstime3 *guard);
const struct nc_res *nc_lookup(struct nc *c, const struct nc_fh *dir, const char *name);
const struct nc_res *nc_access(struct nc *c, const struct nc_fh *f, uint32_t want);
const struct nc_res *nc_readlink(struct nc *c, const struct nc_fh *f);
const struct nc_res *nc_read(struct nc *c, const struct nc_fh *f, uint64_t off, uint32_t count);
const struct nc_res *nc_write(struct nc *c, const struct nc_fh *f, uint64_t off, const void *data,
			      uint32_t count, stable_how stable);
const struct nc_res *nc_create(struct nc *c, const struct nc_fh *dir, const char *name,
			       createmode3 how, const sattr3 *s);
const struct nc_res *nc_exclusive(struct nc *c, const struct nc_fh *dir, const char *name,
				  uint64_t verifier);
const struct nc_res *nc_mkdir(struct nc *c, const struct nc_fh *dir, const char *name,
			      const sattr3 *s);
const struct nc_res *nc_symlink(struct nc *c, const struct nc_fh *dir, const char *name,
				const char *target, const sattr3 *s);
const struct nc_res *nc_mknod(struct nc *c, const struct nc_fh *dir, const char *name, ftype3 type,
			      const sattr3 *s, uint32_t major, uint32_t minor);
const struct nc_res *nc_remove(struct nc *c, const struct nc_fh *dir, const char *name);
const struct nc_res *nc_rmdir(struct nc *c, const struct nc_fh *dir, const char *name);
const struct nc_res *nc_rename(struct nc *c, const struct nc_fh *from_dir, const char *from,
			       const struct nc_fh *to_dir, const char *to);
const struct nc_res *nc_link(struct nc *c, const struct nc_fh *f, const struct nc_fh *dir,
			     const char *name);
/* Entries are appended to c->entries; nc_entries_clear() empties it. */
const struct nc_res *nc_readdir(struct nc *c, const struct nc_fh *dir, uint64_t cookie,
				uint64_t verf, uint32_t count);
const struct nc_res *nc_readdirplus(struct nc *c, const struct nc_fh *dir, uint64_t cookie,
				    uint64_t verf, uint32_t dircount, uint32_t maxcount);
void nc_entries_clear(struct nc *c);
/* All of a directory, in buffers of `count` bytes; false: an error, in c->res. */
bool nc_readdir_all(struct nc *c, const struct nc_fh *dir, uint32_t count, bool plus);
const struct nc_res *nc_fsstat(struct nc *c, const struct nc_fh *f);
const struct nc_res *nc_fsinfo(struct nc *c, const struct nc_fh *f);
const struct nc_res *nc_pathconf(struct nc *c, const struct nc_fh *f);
const struct nc_res *nc_commit(struct nc *c, const struct nc_fh *f, uint64_t off, uint32_t count);

const struct nc_res *nc_mnt(struct nc *c, const char *path);
const struct nc_res *nc_mount_null(struct nc *c);
const struct nc_res *nc_umnt(struct nc *c, const char *path);
const struct nc_res *nc_umntall(struct nc *c);
const struct nc_res *nc_dump(struct nc *c);    /* lines "host path" */
const struct nc_res *nc_exports(struct nc *c); /* lines "path group group" */

/*
 * What libnfs cannot say: a call made by hand on the same connection, as user 0 or nobody. The
 * reply's words after the RPC header are put into c->data (host order), their number into
 * res.count; *ret_bytes is the length of the whole record.
 */
const struct nc_res *nc_raw(struct nc *c, uint32_t xid, uint32_t prog, uint32_t proc,
			    const void *args, size_t len, size_t *ret_bytes);

/* Its halves. */
bool nc_raw_send(struct nc *c, uint32_t xid, uint32_t prog, uint32_t proc, const void *args,
		 size_t len);
const struct nc_res *nc_raw_receive(struct nc *c, uint32_t xid, size_t *ret_bytes);

/* Arguments for nc_raw(). */
struct nc_args {
	size_t n;
	uint8_t b[8192];
};
void nc_put32(struct nc_args *a, uint32_t v);
void nc_put64(struct nc_args *a, uint64_t v);
void nc_put_opaque(struct nc_args *a, const void *p, size_t n);
void nc_put_fh(struct nc_args *a, const struct nc_fh *f);

/* sattr3 that sets one thing; they may be combined with the functions that take one. */
sattr3 sa_none(void);
sattr3 sa_mode(uint32_t mode);
sattr3 sa_size(uint64_t size);
sattr3 sa_uid(uint32_t uid);
sattr3 sa_gid(uint32_t gid);
sattr3 sa_times(time_how how, nfstime3 atime, nfstime3 mtime);

bool fh_same(const struct nc_fh *a, const struct nc_fh *b);
bool attr_same(const fattr3 *a, const fattr3 *b);

#endif
