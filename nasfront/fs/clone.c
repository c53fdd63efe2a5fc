/*
 * Files that share blocks: making them share (fs_clone_range()). unshare.c parts them again.
 *
 * A clone is one body where that can be: for each run of blocks that lies in one extent of the
 * source, one extent or hole of the destination, and has one number of owners on either side: one
 * owner more for the run, the source's extent marked, the destination's old blocks given back, the
 * new ones mapped. Holes and what is only set aside become holes. What is too much for a body's
 * transaction a stand-in does (standin.c). Either way nobody sees a part, and an error or a crash
 * leaves none.
 *
 * The source's range is locked too: a write in flight that found a block not shared would change
 * both files. Who wants two range locks takes that of the lower inode number first, so nobody waits
 * in a circle.
 */
#include "nasfront/fs/clone.h"
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

static int file_check(const struct clone *c, const struct inode *in, unsigned want)
{
	if (IN_TYPE(in) != FS_REG)
		return IN_TYPE(in) == FS_DIR ? -EISDIR : -EINVAL;
	return inode_may_data(c->cred, in, want);
}

int clone_both(struct fs *fs, const struct clone *c, struct inode *from, struct inode *to)
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
	return clone_both(fs, c, &from, &to);
}

/* ---- in one body ---- */

/* One run costs less than half of what a body may change. */
bool clone_room(const struct fs *fs)
{
	const struct txn *tx = &fs->tx;
	return tx->nbufs <= fs->clone_bufs && tx->nfreed <= ARRAY_LEN(tx->freed) / 2 &&
	       tx->nrevokes <= ARRAY_LEN(tx->revokes) / 2;
}

/* Data of m's beginning to the destination's block `at`; how many blocks that did. */
static int run_clone(struct fs *fs, struct inode *from, struct inode *to, uint64_t at,
		     const struct map *m, uint64_t *ret)
{
	uint64_t n;
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
	*ret = n;
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

/* -E2BIG: it is too much for one. */
static int whole_body(struct fs *fs, const struct clone *c)
{
	struct inode from, to;
	uint64_t at = c->to_off / BS, done = 0;
	fs->tx.unlimited = cred_root(c->cred);
	int rc = clone_both(fs, c, &from, &to);
	while (!rc && done < c->blocks) {
		struct map m;
		if (!clone_room(fs))
			return -E2BIG;
		rc = ext_map(&from, c->from_off / BS + done, c->blocks - done, &m);
		if (rc)
			break;
		uint64_t n = m.len;
		if (m.phys && !m.unwritten)
			rc = run_clone(fs, &from, &to, at + done, &m, &n);
		else
			rc = ext_punch(&to, at + done, at + done + n);
		if (rc > 0) /* of that there is more */
			n = rc = 0;
		done += n;
	}
	if (!rc)
		clone_done(c, &to);
	return rc;
}

void clone_done(const struct clone *c, struct inode *to)
{
	to->fs->run.data_flush = true; /* what both lead to now */
	inode_stamp(to, STAMP_MTIME | STAMP_CTIME);
	if (c->to_off + c->len > IN64(to, I_FILESIZE))
		IN_SET64(to, I_FILESIZE, c->to_off + c->len);
	inode_drop_setid(c->cred, to);
	memo_note(c->cred, MEMO_CLONE, to);
	wcc_post(c->wcc, to);
}

/* What is zeroed lies behind an end, where nobody sees it. */
static int clone_run(struct fs *fs, struct clone *c, uint64_t size, bool whole)
{
	struct op op;
	int rc = c->blocks ? file_cut(fs, c->to) : 0;
	if (rc || !c->blocks)
		return rc;
	if (c->to_off > size)
		rc = file_zero_tail(fs, c->to, size);
	/* What is behind the source's end will lie inside the destination. */
	if (!rc && c->len % BS && c->to_off + c->len < size)
		rc = file_zero_tail(fs, c->from, c->from_size);
	if (rc || whole)
		return rc ? rc : clone_by_standin(fs, c);
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, whole_body(fs, c));
	op_end(&op);
	return rc;
}

/* ---- under locks ---- */

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

static int bounded_run(struct fs *fs, struct clone *c, uint64_t to_size, bool whole)
{
	int rc = bounds(fs, c);
	return rc ? rc : clone_run(fs, c, to_size, whole);
}

/* whole: of the destination, for a stand-in. */
static int clone_locked(struct fs *fs, struct clone *c, bool whole)
{
	struct range_lock a, b;
	bool same = c->from->ino == c->to->ino, first = c->from->ino < c->to->ino;
	uint64_t size, from_end = range_end(c->from_off, c->len),
		       to_end = whole ? UINT64_MAX : range_end(c->to_off, c->len),
		       start = whole  ? 0
			       : same ? MIN(c->from_off, c->to_off)
				      : c->to_off;
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
	rc = bounded_run(fs, c, size, whole);
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
	if (memo_find(fs, cred, MEMO_CLONE, NULL))
		return memo_wcc(fs, to, wcc);
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, check_body(fs, &c));
	if (!rc && (from_off % BS || to_off % BS || len > FS_SIZE_MAX))
		rc = -EINVAL;
	if (!rc && (from_off > FS_SIZE_MAX || to_off > FS_SIZE_MAX))
		rc = from_off > FS_SIZE_MAX ? -EINVAL : -EFBIG;
	if (!rc)
		rc = clone_locked(fs, &c, false);
	if (rc == -E2BIG) {
		c.len = len;
		rc = clone_locked(fs, &c, true);
	}
	return op_commit(&op, rc);
}
