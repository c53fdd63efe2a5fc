/*
 * Inodes, read and changed in place in their blocks; there is no other copy.
 *
 * A number from outside (a file handle) is checked against the inode bitmap before its block is
 * read as an inode block: the block may long be data.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

uint64_t ino_block(const struct fs *fs, uint64_t ino)
{
	return ino < INODES_PER_BLOCK ? fs->root_block : ino / INODES_PER_BLOCK;
}

uint64_t block_ino(const struct fs *fs, uint64_t block, unsigned slot)
{
	return block == fs->root_block ? slot : block * INODES_PER_BLOCK + slot;
}

static bool area_sound(const uint8_t *p, unsigned type)
{
	uint32_t n = le32_get(p + I_INLINE), x = le32_get(p + I_XINLINE);
	if (x > I_AREA_SIZE || (x && le64_get(p + I_XROOT)))
		return false;
	if (type == FS_REG || type == MEMO_TYPE)
		return n <= (I_AREA_SIZE - x) / EXT_INLINE_SIZE && (!n || !le64_get(p + I_ROOT));
	if (type == FS_LNK)
		return n <= I_AREA_SIZE - x;
	return n == 0;
}

const char *inode_block_verify(const uint8_t *d)
{
	for (unsigned i = 0; i < INODES_PER_BLOCK; i++) {
		const uint8_t *p = d + H_SIZE + i * INODE_SIZE;
		unsigned type = p[I_TYPE];
		if (le16_get(p + I_MAGIC) != INODE_MAGIC)
			return "inode without its magic number";
		if (type > FS_FIFO && type != ORPHAN_TYPE && type != QUOTA_TYPE &&
		    type != SHARE_TYPE && type != MEMO_TYPE)
			return "inode of no known type";
		if (type && !area_sound(p, type))
			return "inode with a wrong inline area";
		if (le64_get(p + I_FILESIZE) > FS_SIZE_MAX)
			return "inode of impossible size";
		if (le32_get(p + I_LEVEL) > TREE_MAX_LEVEL ||
		    le32_get(p + I_XLEVEL) > TREE_MAX_LEVEL)
			return "inode with an impossible tree";
	}
	return NULL;
}

/* The block of an inode number, once it is known to be an inode block. */
static int inode_buf(struct fs *fs, uint64_t ino, struct buf **ret)
{
	uint64_t block = ino_block(fs, ino);
	struct buf *b = meta_find(fs, block);
	int rc;
	if (ino >= INODES_PER_BLOCK && block == fs->root_block)
		return -ESTALE;
	if (b && !b->reading && b->type == BT_INODES) {
		b->referenced = true;
		fs->st.metadata_hits++;
		*ret = b;
		return 0;
	}
	if (!alloc_is_inode_block(fs, block, &rc))
		return rc ? rc : -ESTALE;
	return meta_get(fs, block, BT_INODES, 0, ret);
}

int inode_get(struct fs *fs, uint64_t ino, struct inode *ret)
{
	struct buf *b;
	int rc = inode_buf(fs, ino, &b);
	if (rc)
		return rc;
	uint8_t *p = b->data + H_SIZE + ino % INODES_PER_BLOCK * INODE_SIZE;
	if (!p[I_TYPE])
		return -ESTALE;
	*ret = (struct inode){.fs = fs, .ino = ino, .b = b, .p = p};
	return 0;
}

int inode_get_fid(struct fs *fs, const struct fs_fid *f, struct inode *ret)
{
	if (f->ino < INODES_PER_BLOCK && f->ino != FS_ROOT_INO) /* the file system's own */
		return -ESTALE;
	int rc = inode_get(fs, f->ino, ret);
	if (rc)
		return rc;
	if (IN32(ret, I_GENERATION) != f->generation)
		return -ESTALE;
	if (!IN32(ret, I_NLINK) && !kept_has(ret))
		return -ESTALE;
	return 0;
}

int inode_get_dir(struct fs *fs, const struct fs_fid *f, struct inode *ret)
{
	int rc = inode_get_fid(fs, f, ret);
	return rc ? rc : IN_TYPE(ret) == FS_DIR ? 0 : -ENOTDIR;
}

static unsigned inode_off(const struct inode *in)
{
	return (unsigned)(in->p - in->b->data);
}

void inode_touch(struct inode *in)
{
	txn_touch(in->fs, in->b, inode_off(in), I_FIXED);
	if (in->fs->watch)
		watch_inode(in->fs, in->ino);
}

void inode_touch_area(struct inode *in)
{
	txn_touch(in->fs, in->b, inode_off(in) + I_AREA, I_AREA_SIZE);
}

void inode_time_get(const struct inode *in, unsigned sec, unsigned nsec, struct fs_time *ret)
{
	ret->sec = (int64_t)IN64(in, sec);
	ret->nsec = IN32(in, nsec);
}

void inode_time_set(struct inode *in, unsigned sec, unsigned nsec, const struct fs_time *t)
{
	IN_SET64(in, sec, (uint64_t)t->sec);
	IN_SET32(in, nsec, t->nsec);
}

void inode_attr(const struct inode *in, struct fs_attr *a)
{
	*a = (struct fs_attr){
	    .ino = in->ino,
	    .generation = IN32(in, I_GENERATION),
	    .type = IN_TYPE(in),
	    .mode = IN32(in, I_MODE),
	    .nlink = IN32(in, I_NLINK),
	    .uid = IN32(in, I_UID),
	    .gid = IN32(in, I_GID),
	    .size = IN64(in, I_FILESIZE),
	    .used = IN64(in, I_BLOCKS) * BS,
	    .rdev_major = IN32(in, I_RMAJOR),
	    .rdev_minor = IN32(in, I_RMINOR),
	    .change = IN64(in, I_CHANGE),
	    .acl = in->p[I_FLAGS] & IF_ACL,
	};
	if (a->type == FS_DIR)
		a->size = MAX(a->used, (uint64_t)BS);
	inode_time_get(in, I_ATIME, I_ATIME_NS, &a->atime);
	inode_time_get(in, I_MTIME, I_MTIME_NS, &a->mtime);
	inode_time_get(in, I_CTIME, I_CTIME_NS, &a->ctime);
	inode_time_get(in, I_BTIME, I_BTIME_NS, &a->btime);
}

void inode_stamp(struct inode *in, unsigned which)
{
	uint64_t ns = env_realtime_ns(in->fs->env);
	struct fs_time now = {(int64_t)(ns / NS_PER_S), (uint32_t)(ns % NS_PER_S)};
	inode_touch(in);
	if (which & STAMP_ATIME)
		inode_time_set(in, I_ATIME, I_ATIME_NS, &now);
	if (which & STAMP_MTIME)
		inode_time_set(in, I_MTIME, I_MTIME_NS, &now);
	if (which & STAMP_CTIME)
		inode_time_set(in, I_CTIME, I_CTIME_NS, &now);
	if (which & (STAMP_MTIME | STAMP_CTIME))
		IN_SET64(in, I_CHANGE, IN64(in, I_CHANGE) + 1);
}

int inode_new(struct fs *fs, uint64_t ag, enum fs_type type, uint32_t mode, uint32_t uid,
	      uint32_t gid, uint32_t tree, struct inode *ret)
{
	uint64_t ino;
	uint32_t gen;
	int rc = alloc_inode(fs, ag, &ino, &gen);
	if (rc)
		return rc;
	struct buf *b = meta_find(fs, ino_block(fs, ino));
	struct inode in = {.fs = fs, .ino = ino, .b = b};
	in.p = b->data + H_SIZE + ino % INODES_PER_BLOCK * INODE_SIZE;
	inode_touch(&in);
	memset(in.p, 0, I_FIXED);
	le16_put(in.p + I_MAGIC, INODE_MAGIC);
	in.p[I_TYPE] = (uint8_t)type;
	IN_SET32(&in, I_GENERATION, gen);
	IN_SET32(&in, I_MODE, mode & 07777);
	IN_SET32(&in, I_NLINK, type == FS_DIR ? 2 : 1);
	IN_SET32(&in, I_UID, uid);
	IN_SET32(&in, I_GID, gid);
	IN_SET32(&in, I_TREE, tree);
	quota_add(&in, 0, 1);
	inode_stamp(&in, STAMP_ATIME | STAMP_MTIME | STAMP_CTIME);
	IN_SET64(&in, I_BTIME, IN64(&in, I_CTIME));
	IN_SET32(&in, I_BTIME_NS, IN32(&in, I_CTIME_NS));
	*ret = in;
	return 0;
}

int inode_holder(struct fs *fs, uint64_t ino, unsigned type, struct inode *ret)
{
	struct buf *b;
	int rc = inode_get(fs, ino, ret);
	if (rc != -ESTALE)
		return rc;
	rc = meta_get(fs, fs->root_block, BT_INODES, 0, &b);
	if (rc)
		return rc;
	*ret =
	    (struct inode){.fs = fs, .ino = ino, .b = b, .p = b->data + H_SIZE + ino * INODE_SIZE};
	inode_touch(ret);
	memset(ret->p, 0, I_FIXED);
	le16_put(ret->p + I_MAGIC, INODE_MAGIC);
	ret->p[I_TYPE] = (uint8_t)type;
	IN_SET32(ret, I_GENERATION, 1);
	IN_SET32(ret, I_NLINK, 1);
	alloc_holder(fs);
	return 0;
}

int inode_free(struct inode *in)
{
	int rc = alloc_free_inode(in->fs, in->ino);
	if (rc)
		return rc;
	quota_add(in, 0, -1);
	inode_touch(in);
	uint32_t gen = IN32(in, I_GENERATION);
	memset(in->p, 0, I_FIXED);
	le16_put(in->p + I_MAGIC, INODE_MAGIC);
	IN_SET32(in, I_GENERATION, gen);
	return 0;
}
