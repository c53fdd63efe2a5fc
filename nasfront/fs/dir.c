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
#include <errno.h>

#define COLLISIONS 256

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

uint64_t dir_hash(const struct fs *fs, const char *name, uint32_t len)
{
	uint64_t k0 = le64_get(fs->hash_key), k1 = le64_get(fs->hash_key + 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull,
			 k0 ^ 0x6c7967656e657261ull, k1 ^ 0x7465646279746573ull};
	uint32_t i = 0;
	for (; i + 8 <= len; i += 8)
		sip_word(v, le64_get(name + i));
	uint64_t last = (uint64_t)len << 56;
	for (uint32_t j = 0; i + j < len; j++)
		last |= (uint64_t)(uint8_t)name[i + j] << (8 * j);
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int r = 0; r < 4; r++)
		sip_round(v);
	uint64_t h = (v[0] ^ v[1] ^ v[2] ^ v[3]) >> 9;
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

int dir_add(struct inode *dir, const char *name, uint32_t len, uint64_t ino, enum fs_type type)
{
	struct tree t = tree_of(dir);
	struct dirent_ref e;
	uint8_t v[TREE_VALUE_MAX];
	int rc = dir_find(dir, name, len, &e);
	if (rc != -ENOENT)
		return rc ? rc : -EEXIST;
	if (!e.key)
		return -ENOSPC;
	le64_put(v, ino);
	v[8] = (uint8_t)type;
	memcpy(v + DIR_VALUE, name, len);
	rc = tree_insert(&t, e.key, v, DIR_VALUE + len);
	if (rc)
		return rc;
	inode_stamp(dir, STAMP_MTIME | STAMP_CTIME);
	IN_SET64(dir, I_ENTRIES, IN64(dir, I_ENTRIES) + 1);
	return 0;
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
