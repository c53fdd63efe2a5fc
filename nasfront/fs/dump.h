/* What the parts of a dump share (dump.c). */
#ifndef ISTHMUS_NASFRONT_FS_DUMP_H
#define ISTHMUS_NASFRONT_FS_DUMP_H

#include "nasfront/fs/acl.h"
#include "nasfront/fs/impl.h"

#define DUMP_NAME_ROOM (4 * FS_NAME_MAX + 1) /* a name with every byte escaped */

struct dumper {
	struct fs *fs;	  /* mounted: its journal counts; NULL: blocks as they lie on the device */
	struct fs *shape; /* where things lie: fs or `bare`; NULL: no superblock holds */
	struct fs *bare;
	struct bdev *dev;
	void (*say)(void *arg, const char *line);
	void *arg;
	uint64_t lines; /* that may still be said */
	bool full;	/* none may: who loops ends */
	bool damaged;	/* something did not hold */
	uint8_t *raw;	/* one block */
	uint8_t (*nodes)[BS];
	struct { /* the list gathered from the pieces of its attribute */
		uint8_t bytes[ACL_BYTES];
		uint32_t want, have;
		uint64_t next; /* key of the next piece */
		bool dir;
	} acl;
};

/* One line, `depth` steps to the right. */
void dump_say(struct dumper *d, unsigned depth, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same of what does not hold. */
void dump_bad(struct dumper *d, unsigned depth, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A block: NULL when it holds, else what is wrong; `to` is what lies there (zeros: unreadable).
 * type 0: any. */
const char *dump_fetch(struct dumper *d, uint64_t block, unsigned type, uint8_t *to);
const char *dump_type(unsigned type);
/* Bytes from the volume as text of one line. */
const char *dump_text(char to[DUMP_NAME_ROOM], const char *bytes, unsigned len);

void dump_journal(struct dumper *d);		/* dump_journal.c */
void dump_inodes(struct dumper *d, bool trees); /* dump_inode.c */
void dump_inode(struct dumper *d, uint64_t ino);
void dump_inode_block(struct dumper *d, uint64_t block, const uint8_t *bytes, bool trees);
/* The memos of a block that holds. */
void dump_memos(struct dumper *d, unsigned depth, const uint8_t *bytes);
/* A node that holds; what is below it, too, when `down`. */
void dump_node(struct dumper *d, unsigned depth, uint64_t block, const uint8_t *bytes, bool down);

#endif
