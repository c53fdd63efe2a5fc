/* What the two ways of a clone share: clone.c, standin.c. */
#ifndef ISTHMUS_NASFRONT_FS_CLONE_H
#define ISTHMUS_NASFRONT_FS_CLONE_H

#include "nasfront/fs/impl.h"

struct clone {
	const struct fs_cred *cred;
	const struct fs_fid *from, *to;
	uint64_t from_off, to_off, len; /* bytes */
	uint64_t from_size;
	uint64_t blocks;
	struct fs_wcc *wcc;
};

/* In a body: the two files, which the caller may read and write. */
int clone_both(struct fs *fs, const struct clone *c, struct inode *from, struct inode *to);
/* In a body that has done some runs: one more fits. */
bool clone_room(const struct fs *fs);
/* In a body: the destination's attributes, when its map is the new one. */
void clone_done(const struct clone *c, struct inode *to);
/* standin.c: all of the clone, whatever it takes. The caller holds all of the destination. */
int clone_by_standin(struct fs *fs, const struct clone *c);

#endif
