/*
 * A file system of an older format is brought up to date when it is mounted to be written.
 *
 * Formats since FORMAT_OLDEST differ only in fields that were zero before, and in the ring of
 * memos, which any mount makes where there is none (memo_ring.c). So nothing but the superblock's
 * version changes here: first in the last copy, then, in one body, in blocks 0 and 8. A crash
 * leaves copies of both formats; the mount after it does it again. Programs of before refuse the
 * new version.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>

static int last_copy(struct fs *fs)
{
	uint8_t *d;
	if (posix_memalign((void **)&d, BS, BS))
		return -ENOMEM;
	int rc = super_read(fs->dev, d, false);
	if (!rc) {
		le64_put(d + H_BLOCK, fs->blocks - 1);
		le32_put(d + SB_VERSION, FORMAT_VERSION);
		block_seal(d, 0);
		rc = bdev_write(fs->dev, d, BS, (fs->blocks - 1) * BS, 0);
	}
	free(d);
	return rc ? rc : journal_flush(fs);
}

static int version_body(struct fs *fs)
{
	const uint64_t blocks[] = {0, SB_COPY_BLOCK};
	for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
		struct buf *b;
		int rc = meta_get(fs, blocks[i], BT_SUPER, 0, &b);
		if (rc)
			return rc;
		txn_touch(fs, b, SB_VERSION, 4);
		le32_put(b->data + SB_VERSION, FORMAT_VERSION);
	}
	return 0;
}

int fs_upgrade(struct fs *fs)
{
	struct op op;
	uint32_t from = fs->version;
	if (from == FORMAT_VERSION || fs->read_only)
		return 0;
	int rc = last_copy(fs);
	if (rc)
		return rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, version_body(fs));
	rc = op_commit(&op, rc);
	if (rc)
		return rc;
	fs->version = FORMAT_VERSION;
	event_write(LOG_L_NOTICE, "fs.upgraded",
		    "%s: the file system is of format %u now (was %u): older programs refuse it",
		    fs->dev->name, FORMAT_VERSION, from);
	return 0;
}
