/* Extended attributes inside the file system: see xattr.c. All functions run in a body. */
#ifndef ISTHMUS_NASFRONT_FS_XATTR_H
#define ISTHMUS_NASFRONT_FS_XATTR_H

#include "nasfront/fs/impl.h"

#define X_INLINE 12 /* bytes before the name, in the inode */
#define X_HEAD	 6  /* in piece 0 of a tree */
#define X_SHIFT	 16
#define X_PIECES 0xffffu

enum { X_USER, X_SYSTEM };

struct xattr { /* points into blocks: valid until something changes */
	uint64_t cookie;
	unsigned space, namelen;
	uint32_t len; /* of the value */
	const char *name;
	const uint8_t *value; /* its first `here` bytes */
	uint32_t here;
	bool in_tree;
};

struct tree xattr_tree(struct inode *in);
uint64_t xattr_hash(const struct fs *fs, unsigned space, const char *name, unsigned len);
/* The first with a cookie >= `cookie`. -ENOENT. */
int xattr_next(struct inode *in, uint64_t cookie, struct xattr *ret);
/* -ENOENT, with the cookie it would get (0: no number is left). */
int xattr_find(struct inode *in, unsigned space, const char *name, unsigned len, struct xattr *ret);
/* All x->len bytes. */
int xattr_value(struct inode *in, const struct xattr *x, uint8_t *to);
/* -EEXIST, -ENODATA as `how` says. */
int xattr_put(struct inode *in, unsigned space, const char *name, unsigned namelen,
	      const uint8_t *value, uint32_t len, enum fs_xattr_how how);
int xattr_drop(struct inode *in, unsigned space, const char *name, unsigned len); /* -ENODATA */

/* What lies on the volume, for checks too: 0 or -ERR_CORRUPT. */
int xattr_inline_parse(const uint8_t *p, unsigned left, struct xattr *ret);
int xattr_head_parse(uint64_t key, const uint8_t *v, unsigned len, struct xattr *ret);

_Static_assert(X_HEAD + FS_NAME_MAX < TREE_VALUE_MAX, "a name fits piece 0");
_Static_assert(FS_XATTR_MAX / TREE_VALUE_MAX + 2 < X_PIECES, "pieces fit their number");

#endif
