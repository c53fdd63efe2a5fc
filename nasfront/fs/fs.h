/*
 * The file system: one per volume, mounted by one head at a time, owned by one
 * reactor; see nasfront/fs/README.md. Every function may wait (call from a
 * task) unless said otherwise, and returns 0 or a negative error (errno, or
 * -ERR_CORRUPT, -ERR_MEDIUM, -ERR_SHUTDOWN).
 *
 * Durability: a metadata operation is stable when its function returns (its
 * journal commit is flushed; commits of operations in flight are shared).
 * Data written with FS_WRITE_UNSTABLE is stable after fs_commit(), with
 * FS_WRITE_DATA_SYNC or FS_WRITE_FILE_SYNC when fs_write() returns. Where the device's memory has
 * an identity (bdev.memory_id), unstable data outlives this process as soon as fs_write() returns:
 * only the loss of that memory takes it (and then the size and the blocks it was mapped by).
 *
 * Permissions are checked here against the caller's credentials, as POSIX says.
 */
#ifndef ISTHMUS_NASFRONT_FS_H
#define ISTHMUS_NASFRONT_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/bdev.h"

struct env;
struct fs;

#define FS_NAME_MAX	  255
#define FS_SYMLINK_MAX	  4095
#define FS_ROOT_INO	  2
#define FS_GROUPS_MAX	  16
#define FS_BLOCK_SIZE	  4096
#define FS_LINK_MAX	  65000
#define FS_IO_MAX	  (1024 * 1024)
#define FS_SIZE_MAX	  (1ull << 62) /* of a file */
#define FS_QUOTA_PATH_MAX 200
#define FS_ACL_MAX	  256	/* entries that can be set */
#define FS_ACL_ROOM	  264	/* that there may be: a mode set later adds some */
#define FS_XATTR_MAX	  65536 /* bytes of a value */

/*
 * The identity of a call that changes something, for who may ask again after a crash or a takeover:
 * a key that no other call ever has (a digest of who asks and its number; two calls for one request
 * have two). The key becomes stable with the change, never without it. A call whose key was in the
 * file system when that was mounted has been carried out: it changes nothing, and answers 0 with
 * the object it made and with attributes as they are now (of a struct fs_wcc only post, not even
 * that when the object has gone). -ESTALE: what it made, or fs_link() gave a name, has gone since.
 *
 * Calls that fail or find nothing to change leave no key. Keys are known for five minutes after the
 * mount. Those of the last 65,000 calls are kept (in a file system of less than 4 GiB of fewer, of
 * 189 at least). fs_create(), fs_mkdir(), fs_symlink(), fs_mknod(), fs_link(), fs_remove(),
 * fs_rmdir(), fs_rename(), fs_setattr(), fs_xattr_set(), fs_xattr_remove(), fs_acl_set(),
 * fs_posix_acl_set(), fs_clone_range(), fs_allocate() and fs_deallocate() heed them.
 */
struct fs_once {
	uint8_t key[32];
};

struct fs_cred {
	uint32_t uid, gid;
	uint32_t ngroups;
	uint32_t groups[FS_GROUPS_MAX];
	/* Instead of groups[] where not NULL: any number of them, sorted; the caller's as long as
	 * the call lasts. */
	const uint32_t *list;
	uint32_t nlist;
	bool no_gid0;		    /* group 0 in the list does not count (squashed) */
	const struct fs_once *once; /* NULL: none */
};

/* Has a call that came with this key been carried out before the mount? What it found and looked up
 * then says nothing now: it is to be made again as it was. Never waits. */
bool fs_done_before(const struct fs *fs, const struct fs_cred *cred);

struct fs_time {
	int64_t sec;
	uint32_t nsec;
};

enum fs_type { FS_REG = 1, FS_DIR, FS_BLK, FS_CHR, FS_LNK, FS_SOCK, FS_FIFO };

struct fs_attr {
	uint64_t ino;
	uint32_t generation; /* of the inode number: handles of a removed file go stale */
	enum fs_type type;
	uint32_t mode; /* 07777 */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size;
	uint64_t used; /* bytes of blocks */
	uint32_t rdev_major, rdev_minor;
	struct fs_time atime, mtime, ctime, btime;
	uint64_t change; /* strictly increases with every change of data or attributes */
	bool acl;	 /* rights are not what the mode says alone: fs_access_rights() */
};

/* What names an object for ever: the body of an NFS file handle. */
struct fs_fid {
	uint64_t ino;
	uint32_t generation;
};

/* ---- life ---- */

struct fs_mkfs_opts {
	const char *label;			/* at most 63 bytes */
	uint8_t uuid[16];			/* zeros: random */
	uint64_t journal;			/* bytes, 0: chosen from the size */
	uint32_t root_uid, root_gid, root_mode; /* mode 0: 0755 */
};
int fs_mkfs(struct env *env, struct bdev *dev, const struct fs_mkfs_opts *o);

struct fs_opts {
	uint64_t metadata_memory; /* bytes of metadata kept in memory, 0: 256 MiB */
	bool read_only;
	bool quiet; /* no events of why it cannot be mounted: they were written when it was tried
		       before */
};
/* Replays the journal. -ERR_VERSION, -ERR_CORRUPT (an event says which block). The bdev stays the
 * caller's and must outlive the mount. */
int fs_mount(struct fs **ret, struct env *env, struct bdev *dev, const struct fs_opts *o);
/* Writes everything back; a later mount has nothing to replay. */
int fs_unmount(struct fs *fs);
/* Drops the mount without writing (the device is gone or fenced). Never waits. */
void fs_abandon(struct fs *fs);

/* Another bound for metadata in memory (fs_opts.metadata_memory); memory beyond it is given back by
 * and by, as what is in it is written. Call from a task; never waits. */
void fs_set_memory(struct fs *fs, uint64_t bytes);

/*
 * Is the file in use (opened) by its identity alone? Then it stays, without a name, when its last
 * one goes, until fs_unused() was called and it is not; and no longer than the mount. `used` is
 * asked about regular files, does not wait and calls nothing here. NULL: none is. Without memory to
 * keep it the name stays: what takes it says -ENOMEM.
 */
typedef bool fs_used_fn(void *arg, const struct fs_fid *f);
void fs_set_used(struct fs *fs, fs_used_fn *used, void *arg);
/* The file is in use no longer. Does not wait. */
void fs_unused(struct fs *fs, const struct fs_fid *f);

/* Takes what the device has grown by, while in use. Waits until that is stable; a crash before
 * leaves the old size. -EBUSY while fs_verify() looks. A file system can grow to four times its
 * size at mkfs, at least to 2 TiB. */
int fs_grow(struct fs *fs, uint64_t *ret_added);

struct fs_statfs {
	uint64_t total_bytes, free_bytes, avail_bytes;
	uint64_t total_files, free_files;
	uint8_t uuid[16];
};
int fs_statfs(struct fs *fs, struct fs_statfs *ret);
/* The same as seen at an object: of a directory tree with a limit, what it leaves. */
int fs_statfs_at(struct fs *fs, const struct fs_fid *f, struct fs_statfs *ret);

/* ---- objects; every *_pre / *_post may be NULL: the attributes before and after ---- */

/* Attributes just before and after a change (NFS wcc). */
struct fs_wcc {
	struct fs_attr pre, post;
	bool have_pre, have_post;
};

/* -ESTALE when the object is gone or the generation differs. */
int fs_getattr(struct fs *fs, const struct fs_fid *f, struct fs_attr *ret);
/* Never waits: -EAGAIN when the inode is not in memory. */
int fs_getattr_try(struct fs *fs, const struct fs_fid *f, struct fs_attr *ret);

enum fs_set {
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_ATIME_NOW = 64,
	FS_SET_MTIME_NOW = 128,
};
struct fs_setattr {
	unsigned which; /* enum fs_set */
	uint32_t mode, uid, gid;
	uint64_t size;
	struct fs_time atime, mtime;
};
/* guard (may be NULL): -ERR_MISCOMPARE unless ctime equals it (NFSv3 sattrguard3). */
int fs_setattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	       const struct fs_setattr *set, const struct fs_time *guard, struct fs_wcc *wcc);

/*
 * What the call of that name refuses this caller, for want of a right or because it cannot be done;
 * 0: nothing, also when it has been carried out before (fs_done_before()). Changes nothing; only
 * space, quotas and what others do meanwhile may yet refuse it. fs_may_remove(): of what is no
 * directory (-EISDIR). Wait.
 */
int fs_may_setattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		   const struct fs_setattr *set);
int fs_may_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
		  const char *name, uint32_t namelen);
int fs_may_rename(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from_dir,
		  const char *from, uint32_t fromlen, const struct fs_fid *to_dir, const char *to,
		  uint32_t tolen);
int fs_may_link(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		const struct fs_fid *dir, const char *name, uint32_t namelen);
int fs_may_set_xattr(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f);
int fs_may_set_acl(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f);

/* Which of want (R=4 W=2 X=1) this caller has; never an error for lacking rights. */
int fs_access(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, unsigned want,
	      unsigned *ret_have);
/* The same from attributes already at hand, of an object without a list (fs_attr.acl). Pure. */
unsigned fs_access_attr(const struct fs_cred *cred, const struct fs_attr *a, unsigned want);

/* "." and ".." work. -ENOENT, -ENOTDIR, -EACCES, -ENAMETOOLONG. dir_post may be NULL. */
int fs_lookup(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t namelen, struct fs_attr *ret, struct fs_attr *dir_post);
/* Never waits: -EAGAIN when something needed is not in memory. */
int fs_lookup_try(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
		  const char *name, uint32_t namelen, struct fs_attr *ret,
		  struct fs_attr *dir_post);

enum fs_create_how {
	FS_CREATE_UNCHECKED, /* an existing file is opened; size applied if it is set */
	FS_CREATE_GUARDED,   /* -EEXIST */
	FS_CREATE_EXCLUSIVE, /* -EEXIST unless it was made with the same verifier */
};
int fs_create(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t namelen, enum fs_create_how how, const struct fs_setattr *set,
	      uint64_t verifier, struct fs_attr *ret, struct fs_wcc *dir_wcc);
int fs_mkdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t namelen, const struct fs_setattr *set, struct fs_attr *ret,
	     struct fs_wcc *dir_wcc);
int fs_symlink(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir,
	       const char *name, uint32_t namelen, const char *target, uint32_t targetlen,
	       const struct fs_setattr *set, struct fs_attr *ret, struct fs_wcc *dir_wcc);
int fs_mknod(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t namelen, enum fs_type type, uint32_t major, uint32_t minor,
	     const struct fs_setattr *set, struct fs_attr *ret, struct fs_wcc *dir_wcc);
int fs_readlink(struct fs *fs, const struct fs_fid *f, char *buf, uint32_t size, uint32_t *ret_len,
		struct fs_attr *post);
/* Not a directory. -EISDIR for directories. */
int fs_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	      uint32_t namelen, struct fs_wcc *dir_wcc);
int fs_rmdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, const char *name,
	     uint32_t namelen, struct fs_wcc *dir_wcc);
int fs_rename(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from_dir,
	      const char *from, uint32_t fromlen, const struct fs_fid *to_dir, const char *to,
	      uint32_t tolen, struct fs_wcc *from_wcc, struct fs_wcc *to_wcc);
int fs_link(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	    const struct fs_fid *dir, const char *name, uint32_t namelen, struct fs_attr *post,
	    struct fs_wcc *dir_wcc);

/*
 * Calls emit() for entries after `cookie` (0: start; "." and ".." come first) until it returns
 * false or the end. Cookies stay valid whatever else is created or removed: an entry that exists
 * throughout is given exactly once. emit() must not wait. attr is NULL unless want_attr.
 */
typedef bool fs_emit(void *arg, const char *name, uint32_t namelen, uint64_t ino, uint64_t cookie,
		     const struct fs_attr *attr);
int fs_readdir(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *dir, uint64_t cookie,
	       bool want_attr, fs_emit *emit, void *arg, bool *ret_eof, struct fs_attr *dir_post);

/* ---- data ---- */

/*
 * Gives up to len bytes (at most FS_IO_MAX) in place: cache pages, or zeros for holes. Short at
 * the end of the file. Put back with fs_read_done() when sent.
 */
struct fs_read {
	struct iovec iov[2 * BDEV_REF_IOV];
	int iovcnt;
	uint32_t len;
	bool eof;
	struct fs_read_part *parts; /* the file system's own */
	void *impl;
};
int fs_read(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	    uint32_t len, struct fs_read *ret, struct fs_attr *post);
/* Never waits, needs no task: -EAGAIN where fs_read() would have to wait. */
int fs_read_try(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		uint32_t len, struct fs_read *ret, struct fs_attr *post);
void fs_read_done(struct fs *fs, struct fs_read *r);

enum fs_stable { FS_WRITE_UNSTABLE = 0, FS_WRITE_DATA_SYNC = 1, FS_WRITE_FILE_SYNC = 2 };
/* All of it or an error. The buffers may lie in channel staging memory (then not copied here). */
int fs_write(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	     const struct iovec *iov, int iovcnt, enum fs_stable stable, struct fs_wcc *wcc);
int fs_commit(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len,
	      struct fs_wcc *wcc);

/*
 * What of a file has blocks. Blocks set aside (fs_allocate()) read as zeros until they are written
 * and count as a hole for fs_seek().
 */

/* Sees to it that writes to these bytes need no more blocks for data; the size grows to their end.
 * Stable when it returns. On an error (-ENOSPC, -EDQUOT, -EFBIG) the size is as before; some blocks
 * below it may have been set aside. */
int fs_allocate(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		uint64_t len, struct fs_wcc *wcc);
/* These bytes become zeros and what whole blocks they fill are given back; the size stays. Stable
 * when it returns; a crash before may leave part of it done. */
int fs_deallocate(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		  uint64_t len, struct fs_wcc *wcc);
enum fs_seek_what { FS_SEEK_DATA, FS_SEEK_HOLE };
/* The first byte of data, or of a hole, at or after off; the end of the file is a hole. -ENXIO:
 * off is not inside the file, or no data follows. */
int fs_seek(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	    enum fs_seek_what what, uint64_t *ret);
/* The same, but nobody looks beyond `end` (above off): *ret is that when nothing was found below
 * it, in a file that is larger. */
int fs_seek_below(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		  uint64_t end, enum fs_seek_what what, uint64_t *ret);

/*
 * Bytes of one file become those of another (or of another place in it) without being copied: both
 * lead to the same blocks until one is written to. Offsets and len are multiples of 4096; len may
 * also end at the source's end, then zeros follow up to the block's end; 0: all up to there. The
 * destination's owner, group and tree are charged for all of it, as for a copy. Stable
 * when it returns, and so is then what was written to that part of the source. It is atomic: on an
 * error, or a crash before, nothing is done, and nobody sees a part.
 * -EINVAL: not aligned, overlapping, or past the source's end; -EMLINK: too many share them.
 */
int fs_clone_range(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from,
		   uint64_t from_off, const struct fs_fid *to, uint64_t to_off, uint64_t len,
		   struct fs_wcc *to_wcc);

/* Changes when unstable writes may have been lost since it was last seen: the NFS write verifier.
 * With data in the block core's cache it survives a restart of the head; it changes when the
 * volume lost unflushed data. Never waits. */
uint64_t fs_write_verifier(struct fs *fs);

/* ---- extended attributes ---- */

/*
 * Of files and directories (RFC 8276; names as on the wire, without "user."). Who may read the
 * object reads and lists them, who may write it changes them (in a sticky directory's case its
 * owner). A change is atomic and stable when its function returns, moves ctime and the change
 * counter, and its blocks count for quotas.
 */
enum fs_xattr_how { FS_XATTR_EITHER, FS_XATTR_CREATE, FS_XATTR_REPLACE };
/* size 0: only the length. -ENODATA, -ERANGE: longer than size (ret_len tells). */
int fs_xattr_get(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		 const char *name, uint32_t namelen, void *buf, uint32_t size, uint32_t *ret_len);
/* -EEXIST (CREATE), -ENODATA (REPLACE), -E2BIG, -EPERM: neither file nor directory. */
int fs_xattr_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		 const char *name, uint32_t namelen, const void *value, uint32_t len,
		 enum fs_xattr_how how, struct fs_wcc *wcc);
int fs_xattr_remove(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		    const char *name, uint32_t namelen, struct fs_wcc *wcc); /* -ENODATA */
/*
 * Calls emit() for those after `cookie` (0: from the start) until it returns false or the end.
 * Cookies stay valid as those of fs_readdir() do. emit() must not wait; len is the value's.
 */
typedef bool fs_xattr_emit(void *arg, const char *name, uint32_t namelen, uint32_t len,
			   uint64_t cookie);
int fs_xattr_list(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		  uint64_t cookie, fs_xattr_emit *emit, void *arg, bool *ret_eof);

/* ---- access control lists: NFSv4's (RFC 8881 6) ---- */

enum fs_ace_type { FS_ACE_ALLOW, FS_ACE_DENY };
enum fs_ace_who { FS_WHO_USER, FS_WHO_GROUP, FS_WHO_OWNER, FS_WHO_OWNER_GROUP, FS_WHO_EVERYONE };
enum fs_ace_flags { /* as on the wire; of directories only */
		    FS_ACE_FILE_INHERIT = 1,
		    FS_ACE_DIR_INHERIT = 2,
		    FS_ACE_NO_PROPAGATE = 4,
		    FS_ACE_INHERIT_ONLY = 8,
		    FS_ACE_INHERIT = FS_ACE_FILE_INHERIT | FS_ACE_DIR_INHERIT,
		    FS_ACE_FLAGS = 15,
};
enum fs_ace_mask { /* as on the wire; of directories: list, add file, add directory, ... search */
		   FS_ACE_READ = 1,
		   FS_ACE_WRITE = 2,
		   FS_ACE_APPEND = 4,
		   FS_ACE_READ_XATTRS = 8,
		   FS_ACE_WRITE_XATTRS = 0x10,
		   FS_ACE_EXECUTE = 0x20,
		   FS_ACE_DELETE_CHILD = 0x40,
		   FS_ACE_READ_ATTRS = 0x80,
		   FS_ACE_WRITE_ATTRS = 0x100,
		   FS_ACE_DELETE = 0x10000,
		   FS_ACE_READ_ACL = 0x20000,
		   FS_ACE_WRITE_ACL = 0x40000,
		   FS_ACE_WRITE_OWNER = 0x80000,
		   FS_ACE_SYNCHRONIZE = 0x100000,
		   FS_ACE_MASK = 0x1f01ff,
};
struct fs_ace {
	uint8_t type, who;
	uint16_t flags;
	uint32_t mask;
	uint32_t id; /* of a user or group */
};
/* The list; of an object without one what its mode says (*ret_stored false). Anybody may ask. */
int fs_acl_get(struct fs *fs, const struct fs_fid *f, struct fs_ace to[FS_ACL_ROOM],
	       unsigned *ret_count, bool *ret_stored);
/*
 * Sets the list, and the mode's nine bits to what it says (6.3.2). Setting the mode later changes
 * the list (6.4.1.1); when it says no more than the mode it goes. What is made in a directory takes
 * the entries that are passed on, under the mode it is made with. -EPERM, -E2BIG, -EINVAL: an entry
 * makes no sense, -EOPNOTSUPP: a symbolic link.
 */
int fs_acl_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
	       const struct fs_ace *aces, unsigned count, struct fs_wcc *wcc);

/* The same list as POSIX has them (acl_posix.c says how), for clients of version 3. */
enum fs_posix_tag { /* as NFSACL has them on the wire */
		    FS_POSIX_USER_OBJ = 1,
		    FS_POSIX_USER = 2,
		    FS_POSIX_GROUP_OBJ = 4,
		    FS_POSIX_GROUP = 8,
		    FS_POSIX_MASK = 16,
		    FS_POSIX_OTHER = 32,
};
struct fs_posix_ace {
	uint8_t tag, perm; /* rwx */
	uint32_t id;	   /* of a named user or group */
};
#define FS_POSIX_ROOM (FS_ACL_ROOM + 4)
struct fs_posix_acl {
	unsigned n; /* 0: none */
	struct fs_posix_ace e[FS_POSIX_ROOM];
};
/* Sorted by tag and id; of an object without a list what its mode says. dflt: of directories. */
int fs_posix_acl_get(struct fs *fs, const struct fs_fid *f, struct fs_posix_acl *access,
		     struct fs_posix_acl *dflt);
/*
 * Sets them, and the mode; NULL stays as it is. An empty access list becomes what the mode says, an
 * empty default goes. -EPERM, -ENOSPC: too many entries, -EINVAL: it is no list, or a default of
 * what is no directory, -EOPNOTSUPP: a symbolic link.
 */
int fs_posix_acl_set(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		     const struct fs_posix_acl *access, const struct fs_posix_acl *dflt,
		     struct fs_wcc *wcc);
/* Which of `want` (enum fs_ace_mask) this caller has, by list or mode; never an error for lacking
 * rights. */
int fs_access_rights(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f,
		     uint32_t want, uint32_t *ret_have);

/* ---- quotas: use is always counted, limits hold where they are set ---- */

/*
 * By owner, by group, and by directory tree. A tree is a directory made one while it was empty, and
 * all that is made below it; nothing but the top itself is moved or linked across its edge
 * (-EXDEV). -EDQUOT: over a hard limit, or over a soft one for longer than the grace time. Limits
 * of owners and groups do not hold for root; those of trees do. The root directory is not counted.
 */
enum fs_quota_kind { FS_QUOTA_USER = 1, FS_QUOTA_GROUP, FS_QUOTA_TREE };
enum fs_quota_unit { FS_QUOTA_BYTES, FS_QUOTA_FILES, FS_QUOTA_UNITS };
struct fs_quota {
	uint32_t id;
	uint64_t used[FS_QUOTA_UNITS];
	uint64_t soft[FS_QUOTA_UNITS], hard[FS_QUOTA_UNITS]; /* 0: no limit */
	uint64_t until[FS_QUOTA_UNITS];	  /* s since 1970 the grace time ends, 0: it does not run */
	char path[FS_QUOTA_PATH_MAX + 1]; /* of a tree's top, when it was made */
};
struct fs_quota_limits {
	bool set_soft[FS_QUOTA_UNITS], set_hard[FS_QUOTA_UNITS]; /* else it stays */
	uint64_t soft[FS_QUOTA_UNITS], hard[FS_QUOTA_UNITS];
};
/* All zeros when nothing is used and limited. A tree that is none: -ENOENT. */
int fs_quota_get(struct fs *fs, enum fs_quota_kind kind, uint32_t id, struct fs_quota *ret);
/* The first with an id >= `id`. -ENOENT: there is none. */
int fs_quota_next(struct fs *fs, enum fs_quota_kind kind, uint32_t id, struct fs_quota *ret);
/* Bytes count in whole blocks. -EINVAL: a soft limit above the hard one. -ENOENT as above. */
int fs_quota_set(struct fs *fs, enum fs_quota_kind kind, uint32_t id,
		 const struct fs_quota_limits *l);
/* s from crossing a soft limit until it holds as a hard one does; at first 7 days. */
int fs_quota_grace(struct fs *fs, enum fs_quota_kind kind, uint64_t ret[FS_QUOTA_UNITS]);
int fs_quota_grace_set(struct fs *fs, enum fs_quota_kind kind,
		       const uint64_t grace[FS_QUOTA_UNITS]);
/*
 * What a file's owner, group and tree leave it: bytes that may be allocated to it before growth is
 * refused, and before a soft limit is passed; and the use that counts against the limit that is
 * nearest. Without limits what the file system has free, and the owner's use.
 */
struct fs_quota_room {
	uint64_t hard, soft, used;
};
int fs_quota_at(struct fs *fs, const struct fs_fid *f, struct fs_quota_room *ret);
/* The directory becomes the top of a new tree. `path` is kept for fs_quota_get(). -ENOTEMPTY;
 * -EEXIST: it is one already; -EINVAL: it is the root. */
int fs_quota_tree(struct fs *fs, const struct fs_fid *dir, const char *path, uint32_t *ret_id);

/* ---- check ---- */

struct fs_check_report {
	uint64_t inodes, directories, files, blocks_used, errors, repaired, mirror_repairs;
};
/*
 * Offline: verifies every structure of an unmounted file system (journal replayed first; read-only
 * when !repair: then the journal is replayed in memory). say() gets one line for each finding,
 * with block, inode and what was done. 0 when sound or all repaired, -ERR_CORRUPT otherwise.
 */
int fs_check(struct env *env, struct bdev *dev, bool repair,
	     void (*say)(void *arg, const char *line), void *arg, struct fs_check_report *ret);
/* Online: the same verification of a mounted file system while it serves; reports only. */
int fs_verify(struct fs *fs, void (*say)(void *arg, const char *line), void *arg,
	      struct fs_check_report *ret);

/* ---- dump ---- */

enum fs_dump_what {
	FS_DUMP_SUPER = 1,
	FS_DUMP_JOURNAL = 2, /* headers and records */
	FS_DUMP_GROUPS = 4,  /* summary and maps */
	FS_DUMP_INODES = 8,  /* all of them, without what hangs from them */
	FS_DUMP_TREES = 16,  /* the same with extents, entries, attributes, access control lists */
	FS_DUMP_INODE = 32,  /* one, with its trees */
	FS_DUMP_BLOCK = 64,
};
#define FS_DUMP_LINES 100000
struct fs_dump_opts {
	unsigned what;	       /* enum fs_dump_what */
	uint64_t inode, block; /* that FS_DUMP_INODE and FS_DUMP_BLOCK mean */
	uint64_t lines;	       /* at most this many; 0: FS_DUMP_LINES */
};
/*
 * Prints structures of an unmounted file system for debugging, one line a call of say(). Writes
 * nothing. The journal counts as at a mount; when there can be none blocks are shown as they lie on
 * the device. What does not hold is named and not followed. 0, -ERR_CORRUPT when something shown
 * does not hold, -ENOMEM.
 */
int fs_dump(struct env *env, struct bdev *dev, const struct fs_dump_opts *o,
	    void (*say)(void *arg, const char *line), void *arg);
/* super, journal, groups, inodes, trees, all, inode=N, block=N; sets what, inode and block of
 * *ret. -EINVAL. */
int fs_dump_parse(const char *word, struct fs_dump_opts *ret);

struct fs_stats {
	uint64_t ops, commits, journal_bytes, commit_ops; /* commit_ops: operations per commits */
	uint64_t journal_images;			  /* blocks logged whole */
	uint64_t blocks_written;			  /* to their places */
	uint64_t metadata_hits, metadata_reads, metadata_repaired;
	uint64_t blocks_cached;
	uint64_t blocks_held;		     /* most blocks there was ever memory for */
	uint64_t blocks_resident;	     /* that there is memory for */
	uint64_t blocks_max;		     /* that there may be */
	uint64_t blocks_dirty;		     /* changed since they were written to their places */
	uint64_t journal_used, journal_size; /* bytes of the log */
};
void fs_stats(const struct fs *fs, struct fs_stats *ret);

#endif
