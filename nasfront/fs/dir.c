/*
 * Directory entries: a tree keyed by cookie.
 *
 * cookie = (SipHash-2-4 of the name under the file system's key, 55 bits, not 0) << 8 | number,
 * the number telling apart names of equal hash. An entry keeps its cookie for life, so a reader
 * that goes on from a cookie meets every entry that stays exactly once. 63 bits: clients that take
 * cookies as signed are served too. Cookies 1 and 2 are "." and "..", which are not stored.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/siphash.h"
#include <errno.h>

#define COLLISIONS 256

uint64_t dir_hash(const struct fs *fs, const char *name, uint32_t len)
{
	const uint64_t key[2] = {le64_get(fs->hash_key), le64_get(fs->hash_key + 8)};
	uint64_t h = siphash(key, name, len) >> 9;
	return (h ? h : 1) << 8;
}

int name_check(const char *name, uint32_t len)
{
	if (!len)
		return -EINVAL;
	if (len > FS_NAME_MAX)
		return -ENAMETOOLONG;
	return memchr(name, '/', len) || memchr(name, 0, len) ? -EINVAL : 0;
}

int dirent_parse(const uint8_t *v, unsigned vlen, struct dirent_ref *ret)
{
	ret->ino = le64_get(v);
	ret->type = v[8];
	ret->name = (const char *)v + DIR_VALUE;
	ret->namelen = vlen - DIR_VALUE;
	return ret->type < FS_REG || ret->type > FS_FIFO ? -ERR_CORRUPT : 0;
}

/* The entry, or -ENOENT with ret->key the cookie it would get (0: no number is left). */
int dir_find(struct inode *dir, const char *name, uint32_t len, struct dirent_ref *ret)
{
	struct tree t = tree_of(dir);
	struct tree_pos pos;
	uint64_t h = dir_hash(dir->fs, name, len), next = h;
	int rc = tree_seek(&t, h, &pos);
	for (; !rc; rc = tree_next(&t, &pos)) {
		uint64_t key = tree_key(&pos);
		unsigned vlen;
		const uint8_t *v = tree_value(&pos, &vlen);
		if (key >= h + COLLISIONS)
			break;
		if (key == next)
			next++;
		if (vlen - DIR_VALUE == len && !memcmp(v + DIR_VALUE, name, len)) {
			ret->key = key;
			return dirent_parse(v, vlen, ret);
		}
	}
	if (rc && rc != -ENOENT)
		return rc;
	ret->key = next < h + COLLISIONS ? next : 0;
	return -ENOENT;
}

int dir_add_new(struct inode *dir, uint64_t key, const char *name, uint32_t len, uint64_t ino,
		enum fs_type type)
{
	struct tree t = tree_of(dir);
	uint8_t v[TREE_VALUE_MAX];
	if (!key)
		return -ENOSPC;
	le64_put(v, ino);
	v[8] = (uint8_t)type;
	memcpy(v + DIR_VALUE, name, len);
	int rc = tree_insert(&t, key, v, DIR_VALUE + len);
	if (rc)
		return rc;
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	IN_SET64(dir, I_ENTRIES, IN64(dir, I_ENTRIES) + 1);
	return 0;
}

int dir_add(struct inode *dir, const char *name, uint32_t len, uint64_t ino, enum fs_type type)
{
	struct dirent_ref e;
	int rc = dir_find(dir, name, len, &e);
	if (rc != -ENOENT)
		return rc ? rc : -EEXIST;
	return dir_add_new(dir, e.key, name, len, ino, type);
}

int dir_del(struct inode *dir, uint64_t key)
{
	struct tree t = tree_of(dir);
	int rc = tree_delete(&t, key);
	if (rc)
		return rc;
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	IN_SET64(dir, I_ENTRIES, IN64(dir, I_ENTRIES) - 1);
	return 0;
}

int dir_set(struct inode *dir, uint64_t key, uint64_t ino, enum fs_type type)
{
	struct tree t = tree_of(dir);
	struct tree_pos pos;
	unsigned len;
	int rc = tree_seek(&t, key, &pos);
	if (rc || tree_key(&pos) != key)
		return rc ? rc : -ENOENT;
	tree_touch_value(&t, &pos);
	uint8_t *v = tree_value(&pos, &len);
	le64_put(v, ino);
	v[8] = (uint8_t)type;
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	return 0;
}
