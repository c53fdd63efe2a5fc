/*
 * What changes while fs_verify() looks: blocks allocated or freed, and inodes changed, since it
 * began. It must not take such a change for a fault.
 */
#include "nasfront/fs/watch.h"
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>

#define INODE_BITS (1u << 20)

struct verify_watch {
	uint64_t nblocks;
	uint64_t *blocks; /* a bit a block */
	uint64_t *inodes; /* a bit a hash of a number: more may seem changed than were */
};

int watch_start(struct fs *fs)
{
	if (fs->watch || fs->growing)
		return -EBUSY;
	struct verify_watch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->nblocks = fs->blocks;
	w->blocks = calloc(fs->blocks / 64 + 1, sizeof(uint64_t));
	w->inodes = calloc(INODE_BITS / 64, sizeof(uint64_t));
	fs->watch = w;
	if (w->blocks && w->inodes)
		return 0;
	watch_stop(fs);
	return -ENOMEM;
}

void watch_stop(struct fs *fs)
{
	if (!fs->watch)
		return;
	free(fs->watch->blocks);
	free(fs->watch->inodes);
	free(fs->watch);
	fs->watch = NULL;
}

static uint64_t inode_bit(uint64_t ino)
{
	return ino * 0x9e3779b97f4a7c15ull >> 44;
}

void watch_block(struct fs *fs, uint64_t start, uint64_t len)
{
	for (uint64_t i = start; i < start + len && i < fs->watch->nblocks; i++)
		fs->watch->blocks[i / 64] |= 1ull << (i % 64);
}

void watch_inode(struct fs *fs, uint64_t ino)
{
	uint64_t i = inode_bit(ino);
	fs->watch->inodes[i / 64] |= 1ull << (i % 64);
}

bool watch_block_changed(const struct fs *fs, uint64_t block)
{
	return fs->watch && fs->watch->blocks[block / 64] >> (block % 64) & 1;
}

bool watch_inode_changed(const struct fs *fs, uint64_t ino)
{
	uint64_t i = inode_bit(ino);
	return fs->watch && fs->watch->inodes[i / 64] >> (i % 64) & 1;
}
