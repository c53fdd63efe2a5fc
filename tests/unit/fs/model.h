/*
 * A file system in memory to compare with: a few directories and files with names, data and
 * attributes, driven by random operations that are done on both. model.c makes and chooses,
 * model_apply.c does an operation on the model, model_run.c on the file system, model_differs.c
 * compares.
 *
 * Promises for crash tests: what the model holds when an operation has returned must be there
 * after a crash; of the operation in flight either all or nothing.
 */
#ifndef ISTHMUS_TESTS_UNIT_FS_MODEL_H
#define ISTHMUS_TESTS_UNIT_FS_MODEL_H

#include "tests/unit/fs/fs_world.h"

#define M_NODES 96
#define M_NAMES 300
#define M_SIZE	(96 * 1024)
#define M_NEVER 0xee /* a byte no operation writes */

#define M_BLOCKS (M_SIZE / FS_BLOCK_SIZE)
#define M_NAMED	 7
#define M_XATTRS 6
struct m_xattr {
	bool used;
	uint32_t len;
	uint8_t fill;
};
enum m_block { M_HOLE, M_SET_ASIDE, M_DATA };

struct m_node {
	bool used, is_dir, is_link, is_special;
	bool open;
	int nlink;  /* of a file 0: it is kept, as somebody has it open */
	int parent; /* of a directory */
	uint32_t mode, uid, gid;
	uint32_t tree;	  /* of quotas, 0 none */
	uint8_t verifier; /* of an exclusive create, 0 none */
	uint8_t type;	  /* of a special file, with its numbers */
	uint32_t major, minor;
	int64_t atime;	/* as it was set, 0: never */
	char *target;	/* of a symbolic link */
	uint64_t limit; /* of the quota tree whose top this is, 0 none */
	uint64_t size;
	uint8_t *data;			 /* M_SIZE, files */
	uint8_t blocks[M_BLOCKS];	 /* enum m_block */
	struct m_xattr xattrs[M_XATTRS]; /* named by their number */
	bool acl;
	uint32_t named; /* rwx of M_NAMED in the list */
	struct fs_fid fid;
	bool loose;	   /* its last data was not promised: any byte ever written may stand */
	uint32_t fills[8]; /* bytes ever written: a bit a value */
	uint64_t fly_off, fly_end; /* a write in flight: old or new bytes may stand there */
	uint8_t fly_fill;
};

struct m_name {
	bool used;
	int dir, node;
	char name[32];
};

struct model {
	struct m_node nodes[M_NODES]; /* 0 is the root */
	struct m_name names[M_NAMES];
	uint64_t rnd;
	uint64_t ops;
	uint32_t limited; /* an owner and a group that have nothing, and one of quota.c's kinds */
	uint64_t limit, soft;
	unsigned grace_kind; /* 0: none is this model's alone */
	uint64_t grace;
	/* -ENOSPC and -EDQUOT are right whenever something wants room, and change nothing; data
	 * may be there in part, then: model_reload(). */
	bool tight;
	bool opens; /* files are opened; the file system asks m_is_open() */
};

struct model *model_new(uint64_t seed);
struct model *model_copy(const struct model *m);
void model_free(struct model *m);

/* One random operation: chosen by model_plan(), done on the file system by m_op_run(), on the
 * model by m_op_apply(). */
enum m_kind {
	M_CREATE,
	M_MKDIR,
	M_SYMLINK,
	M_MKNOD,
	M_REMOVE,
	M_RMDIR,
	M_RENAME,
	M_LINK,
	M_WRITE,
	M_RESIZE,
	M_ALLOCATE,
	M_PUNCH,
	M_CLONE, /* of node2's bytes from off2 on, to node's from off on */
	M_XATTR_SET,
	M_XATTR_DEL,
	M_ACL, /* the mode, and what user M_NAMED has */
	M_CHMOD,
	M_CHOWN,
	M_TIMES,
	M_LIMIT, /* a quota of an owner or a group no other model has */
	M_GRACE,
	M_TREE,	      /* an empty directory becomes the top of a quota tree */
	M_TREE_LIMIT, /* far away */
	M_OPEN,
	M_CLOSE, /* model_closed() follows */
	M_KINDS
};
struct m_op {
	enum m_kind kind;
	int dir, dir2, node, node2;
	struct fs_fid fid; /* of M_CLOSE */
	char name[32], name2[32];
	uint64_t off, off2, size;
	uint8_t fill;
	uint32_t mode, uid, gid;
	bool stable; /* writes */
	enum fs_xattr_how how;
	enum fs_create_how create;
	int xattr;
	uint64_t serial; /* no other has it */
	bool keyed;	 /* with a key made of it: it is done once, however often it is run */
};
#define M_TARGET_MAX 1400
/* The type of file that M_MKNOD makes. */
enum fs_type m_special(const struct m_op *op);
/* What a symbolic link of this operation leads to; its length. */
uint32_t m_target(const struct m_op *op, char to[M_TARGET_MAX + 1]);
uint32_t m_xattr_name(int n, char *to);
uint8_t m_xattr_byte(uint8_t fill, uint32_t i);
void m_tree_path(const struct m_op *op, char to[64]);
bool m_is_data(enum m_kind k);
/* All of it is done or nothing, whatever happens. */
bool m_is_whole(enum m_kind k);
/* Makes a node that it returns in `made`. */
bool m_makes(enum m_kind k);
/* It heeds a key. */
bool m_heeds_key(enum m_kind k);
/* With a key it is remembered, when it is done; the others may have nothing to change. */
bool m_is_remembered(enum m_kind k);
/* There may be no room for it. */
bool m_wants_room(enum m_kind k);
/* Bytes the operation may bring to its file are noted as written there. */
void m_fills(struct model *m, const struct m_op *op);
void model_plan(struct model *m, struct m_op *op);
/* What it should return; changes the model when that is 0. Of M_TREE made->ino is the tree. */
int model_apply(struct model *m, const struct m_op *op, const struct fs_fid *made);
/* The same of an operation that returned `rc`: whether that was right. */
bool model_applied(struct model *m, const struct m_op *op, const struct fs_fid *made, int rc);
/* fs_used_fn of one model. */
bool m_is_open(const struct model *m, const struct fs_fid *f);
/* After model_apply(): tells the file system. */
void model_closed(const struct m_op *op, struct fs *fs);
/* The mount has ended: nobody has anything open. */
void model_unmounted(struct model *m);
/* Files and directories, but the root: there should be, and are. */
unsigned model_files(const struct model *m);
unsigned files_in_use(struct fs *fs);
/* For tasks. */
int model_run(const struct model *m, struct fs *fs, const struct m_op *op, struct fs_fid *made);
/* Takes over what a file holds after an operation that was done in part. */
int model_reload(struct model *m, struct fs *fs, int node);
/* NULL when the file system holds exactly the model, else what differs. data: contents too. */
const char *model_differs(const struct model *m, struct fs *fs, bool data);

#endif
