/* A small file system with something of every kind on it, for fuzz_fs_image. */
#ifndef ISTHMUS_TESTS_FUZZ_FS_IMAGE_H
#define ISTHMUS_TESTS_FUZZ_FS_IMAGE_H

#include "nasfront/fs/impl.h"

#define FS_IMAGE_BLOCKS 2304u
#define FS_IMAGE_DISK	(FS_IMAGE_BLOCKS * BS)

/* Objects that a target goes to by number. The first FS_IMAGE_FILES are files of the root
 * directory, "file0" and so on. */
enum fs_image_fid {
	IMG_HOLES,	/* a tree of extents: data, holes, blocks set aside */
	IMG_SMALL,	/* nothing yet */
	IMG_ASIDE,	/* blocks set aside only */
	IMG_XATTRS = 4, /* attributes in the inode */
	IMG_XTREE,	/* attributes in a tree of their own */
	IMG_ACL,
	IMG_SHARE_A, /* shares with IMG_HOLES */
	IMG_SHARE_B,
	IMG_SHARE_MANY = 10, /* one block again and again: two levels of extents */
	IMG_SHARE_SOME,	     /* every second block of it is shared: two levels of records */
	IMG_SHARE_OTHER,     /* by this one */
	FS_IMAGE_FILES = 60,
	IMG_DIR = FS_IMAGE_FILES, /* of one leaf */
	IMG_LINK,		  /* a long target: a tree */
	IMG_LINK_SHORT,
	IMG_DIR_EMPTY,
	IMG_DIR_LONG, /* long names: many leaves */
	IMG_TREE,     /* the top of a quota tree */
	IMG_GONE,     /* removed in the image with a journal, and being freed */
	FS_IMAGE_FIDS
};

struct fs_image {
	uint8_t *bytes; /* FS_IMAGE_DISK */
	struct fs_fid fids[FS_IMAGE_FIDS];
	uint32_t used[FS_IMAGE_BLOCKS], nused; /* blocks that are not all zeros */
	/* metadata blocks by type; 0: of the journal */
	uint32_t blocks[BT_LAST][FS_IMAGE_BLOCKS], n[BT_LAST];
};

/* Makes it: unmounted, or abandoned with changes that are only in its journal. Aborts when that
 * fails, or when a type of block is missing. */
void fs_image_make(struct fs_image *m, bool unmounted);
/* A block of that type, both modulo what there is; of the one before when there is none. */
uint32_t fs_image_block(const struct fs_image *m, unsigned type, unsigned nth);

#endif
