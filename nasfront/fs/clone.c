/*
 * Files that share blocks: making them share (fs_clone_range()), and parting them before one is
 * written to (file_unshare()).
 *
 * A clone goes on in bodies, each for one run of blocks that lies in one extent of the source, one
 * extent or hole of the destination, and has one number of owners on either side: one owner more
 * for the run, the source's extent marked, the destination's old blocks given back, the new ones
 * mapped, its size moved behind them. So every block of the destination is the old one or the new
 * one. Holes and what is only set aside become holes.
 *
 * The source's range is locked too: a write in flight that found a block not shared would change
 * both files. Who wants two range locks takes that of the lower inode number first, so nobody waits
 * in a circle.
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

/* ---- parting ---- */

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

/* ---- sharing ---- */

struct clone {
	const struct fs_cred *cred;
	const struct fs_fid *from, *to;
	uint64_t from_off, to_off, len; /* bytes */
	uint64_t from_size;
	uint64_t done, blocks;
	uint64_t step; /* blocks the last body did */
	struct fs_wcc *wcc;
};

static int file_check(const struct clone *c, const struct inode *in, unsigned want)
{
	if (IN_TYPE(in) != FS_REG)
		return IN_TYPE(in) == FS_DIR ? -EISDIR : -EINVAL;
	return inode_may_data(c->cred, in, want);
}

static int both(struct fs *fs, const struct clone *c, struct inode *from, struct inode *to)
{
	int rc = inode_get_fid(fs, c->from, from);
	if (!rc)
		rc = inode_get_fid(fs, c->to, to);
	if (!rc)
		rc = file_check(c, from, 4);
	return rc ? rc : file_check(c, to, 2);
}

static int check_body(struct fs *fs, struct clone *c)
{
	struct inode from, to;
	int rc = inode_get_fid(fs, c->to, &to);
	if (rc)
		return rc;
	wcc_pre(c->wcc, &to);
	wcc_post(c->wcc, &to);
	return both(fs, c, &from, &to);
}

/* One run of data: how much of `m` fits one body, and that done. */
static int run_clone(struct fs *fs, struct clone *c, struct inode *from, struct inode *to,
		     const struct map *m)
{
	uint64_t n, at = c->to_off / BS + c->done;
	uint32_t owners;
	struct map old;
	int rc = share_run(fs, m->phys, m->len, &n, &owners);
	if (!rc)
		rc = ext_map(to, at, n, &old);
	n = old.len;
	if (!rc && old.shared)
		rc = share_run(fs, old.phys, n, &n, &owners);
	if (rc)
		return rc;
	c->step = n;
	if (old.phys == m->phys)
		return 0;		/* it is shared already */
	rc = share_add(fs, m->phys, n); /* first: the old blocks may be among them */
	if (!rc)
		rc = ext_share(from, m->fblk);
	if (!rc && old.phys)
		do
			rc = ext_punch(to, at, at + n);
		while (rc > 0);
	return rc ? rc : ext_insert(to, at, m->phys, n, EXT_SHARED);
}

static int step_body(struct fs *fs, struct clone *c)
{
	struct inode from, to;
	struct map m;
	uint64_t at = c->to_off / BS + c->done;
	fs->tx.unlimited = cred_root(c->cred);
	int rc = both(fs, c, &from, &to);
	if (!rc)
		rc = ext_map(&from, c->from_off / BS + c->done, c->blocks - c->done, &m);
	if (rc)
		return rc;
	if (m.phys && !m.unwritten) {
		rc = run_clone(fs, c, &from, &to, &m);
	} else {
		rc = ext_punch(&to, at, at + m.len);
		c->step = rc ? 0 : m.len;
	}
	if (rc < 0)
		return rc;
	fs->run.data_flush = true; /* what both lead to now */
	uint64_t end = MIN(c->to_off + c->len, (at + c->step) * BS);
	inode_stamp(&to, STAMP_MTIME | STAMP_CTIME);
	if (c->step && end > IN64(&to, I_FILESIZE))
		IN_SET64(&to, I_FILESIZE, end);
	inode_drop_setid(c->cred, &to);
	wcc_post(c->wcc, &to);
	return 0;
}

static int clone_run(struct fs *fs, struct clone *c, uint64_t size)
{
	int rc = file_cut(fs, c->to);
	if (!rc && c->to_off > size)
		rc = file_zero_tail(fs, c->to, size);
	/* What is behind the source's end will lie inside the destination. */
	if (!rc && c->len % BS && c->to_off + c->len < size)
		rc = file_zero_tail(fs, c->from, c->from_size);
	while (!rc && c->done < c->blocks) {
		struct op op;
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, step_body(fs, c));
		op_end(&op);
		c->done += rc ? 0 : c->step;
		task_yield();
	}
	return rc;
}

/* With both ranges locked: their bounds against the sizes. */
static int bounds(struct fs *fs, struct clone *c)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, c->from, &a);
	if (rc)
		return rc;
	if (c->from_off > a.size || c->len > a.size - c->from_off)
		return -EINVAL;
	if (!c->len)
		c->len = a.size - c->from_off;
	if (c->to_off > FS_SIZE_MAX - c->len)
		return -EFBIG;
	if (c->len % BS && c->from_off + c->len != a.size)
		return -EINVAL;
	c->from_size = a.size;
	c->blocks = (c->len + BS - 1) / BS;
	uint64_t gap = c->from_off > c->to_off ? c->from_off - c->to_off : c->to_off - c->from_off;
	return c->from->ino == c->to->ino && gap < c->blocks * BS ? -EINVAL : 0;
}

static uint64_t range_end(uint64_t off, uint64_t len)
{
	return len && len < FS_SIZE_MAX ? ROUND_UP(off + len, (uint64_t)BS) : UINT64_MAX;
}

static int bounded_run(struct fs *fs, struct clone *c, uint64_t to_size)
{
	int rc = bounds(fs, c);
	return rc ? rc : clone_run(fs, c, to_size);
}

static int clone_locked(struct fs *fs, struct clone *c)
{
	struct range_lock a, b;
	bool same = c->from->ino == c->to->ino, first = c->from->ino < c->to->ino;
	uint64_t size, from_end = range_end(c->from_off, c->len),
		       to_end = range_end(c->to_off, c->len),
		       start = same ? MIN(c->from_off, c->to_off) : c->to_off;
	if (first)
		range_lock(fs, &a, c->from->ino, c->from_off, from_end);
	int rc = file_lock(fs, c->to, start, same ? MAX(from_end, to_end) : to_end, &b, &size);
	if (rc) {
		if (first)
			range_unlock(fs, &a);
		return rc;
	}
	if (!first && !same)
		range_lock(fs, &a, c->from->ino, c->from_off, from_end);
	rc = bounded_run(fs, c, size);
	range_unlock(fs, &b);
	if (!same)
		range_unlock(fs, &a);
	return rc;
}

int fs_clone_range(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *from,
		   uint64_t from_off, const struct fs_fid *to, uint64_t to_off, uint64_t len,
		   struct fs_wcc *wcc)
{
	struct clone c = {.cred = cred,
			  .from = from,
			  .to = to,
			  .from_off = from_off,
			  .to_off = to_off,
			  .len = len,
			  .wcc = wcc};
	struct op op;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (fs->read_only)
		return -EROFS;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, check_body(fs, &c));
	if (!rc && (from_off % BS || to_off % BS || len > FS_SIZE_MAX))
		rc = -EINVAL;
	if (!rc && (from_off > FS_SIZE_MAX || to_off > FS_SIZE_MAX))
		rc = from_off > FS_SIZE_MAX ? -EINVAL : -EFBIG;
	if (!rc)
		rc = clone_locked(fs, &c);
	return op_commit(&op, rc);
}
