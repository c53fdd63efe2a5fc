/* What the passes of a check share (check.c). */
#ifndef ISTHMUS_NASFRONT_FS_CHECK_H
#define ISTHMUS_NASFRONT_FS_CHECK_H

#include "nasfront/fs/impl.h"

/* What is known of an inode in use. */
struct rec {
	uint64_t ino;
	uint64_t parent;    /* a directory's own word */
	uint64_t entry_dir; /* a directory: where its entry is */
	uint64_t entry_key;
	uint64_t entries, blocks;
	uint32_t nlink, refs, subdirs;
	uint32_t uid, gid, tree;
	uint8_t type, colour;
	bool orphan, damaged, standin;
	uint64_t map_owner; /* of the nodes of its trees */
};

/* One entry of a tree that is to be built anew. */
struct kept {
	uint64_t key;
	uint16_t len;
	bool xattr; /* of the tree of attributes */
	uint8_t v[];
};
struct rebuild {
	uint64_t ino;
	uint8_t *kept; /* struct kept, each padded to 8 */
	size_t size;
	struct rebuild *next;
};

/* An entry to be taken out, or to be given the right type. */
struct bad_entry {
	uint64_t dir, key, ino;
	uint8_t type; /* 0: out */
	struct bad_entry *next;
};

/* Blocks and how many own them. */
struct share_rec {
	uint64_t start, len;
	uint32_t owners;
};
struct share_list {
	struct share_rec *v;
	size_t n, room;
};

struct checker {
	struct fs *fs;
	bool repair, online;
	void (*say)(void *arg, const char *line);
	void *arg;
	struct fs_check_report *report;
	uint64_t errors, fixed; /* of this round */
	uint64_t fetched;	/* blocks */

	uint64_t *owned;  /* a bit a block: something leads to it */
	uint64_t *shared; /* a bit a block: an extent marked shared does; NULL: none yet */
	struct share_list shares, records; /* extents marked shared; what the tree says */
	uint64_t claimed;		   /* blocks, those that others have too among them */
	uint64_t *inode_blocks;
	struct rec *recs; /* by inode number */
	size_t nrecs, room;
	struct rebuild *rebuilds;
	struct bad_entry *bad;
	struct rec *cur;  /* the tree walked */
	uint64_t cur_end; /* of its last extent */
	uint8_t *kept;
	size_t kept_size, kept_room;
	bool keeping_xattrs;
	struct { /* the attribute walked: its next piece, bytes of it, where what is kept began */
		uint64_t next;
		uint32_t left;
		size_t mark;
	} xattr;
	uint8_t (*nodes)[BS]; /* one a level */
	uint8_t *block;
	struct quota_pass *quotas; /* check_quota.c */
};

void check_say(struct checker *c, uint64_t ino, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As check_say() and counts an error, unless it may be a change made meanwhile. True: counted. */
bool check_error(struct checker *c, uint64_t ino, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void check_fixed(struct checker *c, int rc, uint64_t ino);
struct rec *check_rec(struct checker *c, uint64_t ino);
/* A copy of a metadata block. */
int check_fetch(struct checker *c, uint64_t block, unsigned type, uint64_t owner, uint8_t *to);
typedef int check_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len);
/* Walks the tree of an inode (its bytes in `p`); claim: its nodes are entered as owned. */
int check_tree(struct checker *c, struct rec *r, const uint8_t *p, bool claim, check_entry *entry);
/* The same for one tree that is claimed. */
int check_tree_at(struct checker *c, struct rec *r, uint64_t root, unsigned level, unsigned type,
		  check_entry *entry);
/* Notes an entry for the tree's rebuilding. */
int check_keep(struct checker *c, uint64_t key, const uint8_t *v, unsigned len);
/* An error of an inode's trees: they are to be built anew. */
void check_damaged(struct checker *c, struct rec *r, const char *what, uint64_t block);
int check_inode_bytes(struct checker *c, uint64_t ino, uint8_t *to);

int check_inodes(struct checker *c); /* check_inodes.c */
/* An inode's tree is built anew from what check_keep() noted. */
int check_rebuild_later(struct checker *c, const struct rec *r);
/* check_share.c: enters blocks of a shared extent as owned; false: they are another's alone. */
int check_share_claim(struct checker *c, uint64_t start, uint64_t len, bool *ret_good);
int check_share_entry(struct checker *c, uint64_t key, const uint8_t *v, unsigned len);
/* After all inodes: the records against the extents. */
int check_shares(struct checker *c);
void check_shares_free(struct checker *c);
int check_rebuild(struct checker *c);
int check_xattrs(struct checker *c, struct rec *r, const uint8_t *p); /* check_xattr.c */
int check_acl(struct checker *c, struct rec *r, const uint8_t *p);
int check_memos(struct checker *c, const uint8_t *p); /* check_memo.c */
/* Of an inode's bytes: those in it are sound. */
bool check_xattrs_inline(const struct fs *fs, const uint8_t *p);
int check_dirs(struct checker *c);		      /* check_dirs.c */
int check_maps(struct checker *c, bool missing_only); /* check_maps.c */
int check_quotas(struct checker *c);		      /* check_quota.c */

#endif
