/* Access control lists inside the file system: acl.c and acl_posix.c (pure), acl_store.c (in
 * bodies). */
#ifndef ISTHMUS_NASFRONT_FS_ACL_H
#define ISTHMUS_NASFRONT_FS_ACL_H

#include "nasfront/fs/impl.h"

#define ACL_VERSION 1u
#define ACL_HEAD    4
#define ACL_ENTRY   12
#define ACL_BYTES   (ACL_HEAD + FS_ACL_ROOM * ACL_ENTRY)
#define ACL_CHMOD   6 /* entries acl_chmod() may add */
#define ACL_WORK    (FS_ACL_ROOM + ACL_CHMOD)

/* What everybody has of what a mode cannot say, and what an owner has. */
#define ACL_RIGHTS_ALL                                                                             \
	(FS_ACE_READ_XATTRS | FS_ACE_READ_ATTRS | FS_ACE_READ_ACL | FS_ACE_SYNCHRONIZE)
#define ACL_RIGHTS_OWNER (FS_ACE_WRITE_XATTRS | FS_ACE_WRITE_ATTRS | FS_ACE_WRITE_ACL)

/* ---- acl.c ---- */

/* The rights of rwx, and back (w: both of its rights). */
uint32_t acl_rights(unsigned rwx, bool dir);
unsigned acl_rwx(uint32_t rights);
/* Which of `want` a caller has (not root: it has all) where owner and group are these. */
uint32_t acl_grants(const struct fs_ace *a, unsigned n, const struct fs_cred *c, uint32_t uid,
		    uint32_t gid, uint32_t want);
/* The nine bits (RFC 8881 6.3.2). */
uint32_t acl_mode(const struct fs_ace *a, unsigned n);
/* The list after the mode was set (6.4.1.1): how many are in `to`, which has ACL_WORK. */
unsigned acl_chmod(const struct fs_ace *a, unsigned n, uint32_t mode, bool dir, struct fs_ace *to);
/* It says no more than a mode does. */
bool acl_is_mode(const struct fs_ace *a, unsigned n);
/* What a new object takes of its directory's list: at most n. */
unsigned acl_inherit(const struct fs_ace *a, unsigned n, bool dir, struct fs_ace *to);
bool acl_sound(const struct fs_ace *a, unsigned n, bool dir);
unsigned acl_encode(const struct fs_ace *a, unsigned n, uint8_t *to); /* bytes */
int acl_decode(const uint8_t *p, uint32_t len, bool dir, struct fs_ace *to, unsigned *ret_n);

/* ---- acl_posix.c ---- */

/* Sorts the entries; false: they are no list (a tag twice or missing, no mask and names). */
bool acl_posix_sort(struct fs_posix_acl *l);
/* Both sorted; dflt may be empty. -ENOSPC: more than `room`. */
int acl_from_posix(const struct fs_posix_acl *access, const struct fs_posix_acl *dflt, bool dir,
		   struct fs_ace *to, unsigned room, unsigned *ret_n);
void acl_to_posix(const struct fs_ace *a, unsigned n, struct fs_posix_acl *access,
		  struct fs_posix_acl *dflt);

/* ---- acl_store.c: in a body ---- */

/* The list stored with the inode; -ENODATA: none. `to` has room for FS_ACL_ROOM. */
int acl_load(struct inode *in, struct fs_ace *to, unsigned *ret_n);
static inline bool acl_has(const struct inode *in)
{
	return in->p[I_FLAGS] & IF_ACL;
}
/* After the inode's mode was set. */
int acl_follow_mode(struct inode *in);
/* A new inode, its mode as asked for. */
int acl_new(struct inode *in, struct inode *dir);
/* Takes out a list that cannot be read; makes the flag say whether there is one. */
int acl_mend(struct inode *in);

#endif
