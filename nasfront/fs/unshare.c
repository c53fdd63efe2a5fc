/*
 * Parting files that share blocks, before one of them is written to (clone.c makes them share).
 *
 * Parting copies: blocks set aside in memory, the data read and written to them, then one body maps
 * them and takes the file off the old ones. The batch flushes the data before its record is
 * written.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define COPY_BLOCKS 64 /* copied at a time */
#define LOOK_STEP   64 /* extents looked at in one body */
#define SPACE_TRIES 8
#define DROP_RUNS   3 /* runs of shared blocks given up in one body */

struct unshare {
	const struct fs_fid *f;
	uint64_t blk, last;
	struct map m;	  /* the shared part found */
	struct extent to; /* where it is copied */
	bool alone;	  /* the others have gone: only the mark is to go */
	uint8_t *data;
};

/* Finds the next shared part and blocks to copy it to. m.len 0: none among those looked at. */
static int look_body(struct fs *fs, struct unshare *u)
{
	struct inode in;
	uint32_t owners;
	int rc = inode_get_fid(fs, u->f, &in);
	u->m.len = 0;
	for (int i = 0; i < LOOK_STEP && !rc && u->blk < u->last; i++) {
		struct map m;
		rc = ext_map(&in, u->blk, u->last - u->blk, &m);
		if (!rc && !m.shared) {
			u->blk += m.len;
			continue;
		}
		if (!rc)
			rc = share_run(fs, m.phys, m.len, &m.len, &owners);
		if (rc)
			return rc;
		u->alone = owners == 1;
		if (!u->alone) {
			m.len = MIN(m.len, (uint64_t)COPY_BLOCKS);
			rc = alloc_reserve(fs, m.phys + m.len, m.len, &u->to);
			if (rc)
				return rc;
			m.len = u->to.len;
		}
		u->m = m;
		return 0;
	}
	return rc;
}

/* What was found is there still? */
static int found_again(struct fs *fs, struct unshare *u, struct inode *in, struct map *m)
{
	int rc = inode_get_fid(fs, u->f, in);
	if (!rc)
		rc = ext_map(in, u->m.fblk, u->m.len, m);
	if (!rc && (!m->shared || m->phys != u->m.phys))
		m->len = 0;
	return rc;
}

static int unmark_body(struct fs *fs, struct unshare *u)
{
	struct inode in;
	struct map m;
	uint32_t owners;
	int rc = found_again(fs, u, &in, &m);
	if (rc || !m.len)
		return rc;
	rc = ext_map(&in, m.fblk, FILE_BLOCKS_MAX, &m); /* as far as it goes */
	if (!rc)
		rc = share_run(fs, m.phys, m.len, &m.len, &owners);
	fs->tx.unlimited = true;
	return rc || owners != 1 ? rc : ext_alone(&in, m.fblk, m.len, m.phys);
}

static int move_body(struct fs *fs, struct unshare *u)
{
	struct inode in;
	struct map m;
	uint64_t done = 0;
	int rc = found_again(fs, u, &in, &m);
	fs->tx.unlimited = true;
	for (int i = 0; i < DROP_RUNS && !rc && done < m.len; i++) {
		uint64_t n;
		rc = share_drop(fs, m.phys + done, m.len - done, &n);
		done += rc ? 0 : n;
	}
	if (!rc && done)
		rc = alloc_claim(fs, u->to.start, done);
	if (!rc && done)
		rc = ext_alone(&in, m.fblk, done, u->to.start);
	fs->run.data_flush = true;
	return rc;
}

static int copy(struct fs *fs, struct unshare *u)
{
	struct io_hold hold;
	io_hold_begin(fs, &hold);
	int rc = bdev_read(fs->dev, u->data, u->m.len * BS, u->m.phys * BS);
	if (!rc)
		rc = bdev_write(fs->dev, u->data, u->m.len * BS, u->to.start * BS, 0);
	io_hold_end(fs, &hold);
	return rc;
}

static int unshare_step(struct fs *fs, struct unshare *u)
{
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, look_body(fs, u));
	op_end(&op);
	if (rc || !u->m.len)
		return rc;
	if (u->alone) {
		rc = share_settle(fs);
		if (rc)
			return rc;
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, unmark_body(fs, u));
		op_end(&op);
		return rc;
	}
	if (!u->data && posix_memalign((void **)&u->data, BS, COPY_BLOCKS * BS))
		rc = -ENOMEM;
	if (!rc)
		rc = copy(fs, u);
	if (!rc) {
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, move_body(fs, u));
		op_end(&op);
	}
	alloc_unreserve(fs, u->to.start, u->to.len);
	return rc;
}

int file_unshare(struct fs *fs, const struct fs_fid *f, uint64_t from, uint64_t to)
{
	struct unshare u = {.f = f, .blk = from, .last = to};
	int rc = 0, tries = 0;
	while (!rc && u.blk < u.last) {
		rc = unshare_step(fs, &u);
		if (rc == -ENOSPC && tries++ < SPACE_TRIES && space_wait(fs))
			rc = 0;
	}
	free(u.data);
	return rc;
}
