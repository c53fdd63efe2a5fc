/* What changes while fs_verify() looks (watch.c). */
#ifndef ISTHMUS_NASFRONT_FS_WATCH_H
#define ISTHMUS_NASFRONT_FS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct fs;

int watch_start(struct fs *fs); /* -EBUSY: another looks already */
void watch_stop(struct fs *fs);
/* Always false where no watch is on: offline. */
bool watch_block_changed(const struct fs *fs, uint64_t block);
bool watch_inode_changed(const struct fs *fs, uint64_t ino);

#endif
