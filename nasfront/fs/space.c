/*
 * Blocks of a file that are set aside, given back, or looked for; what they hold is not looked at.
 *
 * Setting aside goes on in rounds like a write without data: a body that chooses blocks for up to
 * MAPS holes, one that maps them as unwritten and moves the size behind them, so that no extent
 * lies past the size. Giving back zeroes the blocks of which only a part goes, then frees the
 * others in bodies of a bounded number of extents.
 *
 * Data is at its place before it is mapped, so the map alone says where data is: fs_seek() sees
 * what a read would, whether it has been flushed or not.
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define MAPS	    16
#define SEEK_STEP   64 /* extents looked at in one body */
#define SPACE_TRIES 8

struct space {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	uint64_t off, end;  /* bytes */
	uint64_t blk, last; /* blocks still to do */
	struct fs_wcc *wcc;
	int n;
	struct map maps[MAPS];
	bool fresh[MAPS];
	bool more, moved;
};

static int file_check(const struct space *s, const struct inode *in)
{
	if (IN_TYPE(in) != FS_REG)
		return IN_TYPE(in) == FS_DIR ? -EISDIR : -EINVAL;
	return inode_may_data(s->cred, in, 2);
}

static int check_body(struct fs *fs, struct space *s)
{
	struct inode in;
	int rc = inode_get_fid(fs, s->f, &in);
	if (rc)
		return rc;
	wcc_pre(s->wcc, &in);
	wcc_post(s->wcc, &in);
	return file_check(s, &in);
}

static int check_run(struct fs *fs, struct space *s)
{
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, check_body(fs, s));
	op_end(&op);
	return rc;
}

static void changed(struct space *s, struct inode *in)
{
	inode_stamp(in, STAMP_MTIME | STAMP_CTIME);
	inode_drop_setid(s->cred, in);
	wcc_post(s->wcc, in);
}

/* ---- setting aside ---- */

static int plan_body(struct fs *fs, struct space *s)
{
	struct inode in;
	int rc = inode_get_fid(fs, s->f, &in);
	if (!rc)
		rc = file_check(s, &in);
	if (rc)
		return rc;
	uint64_t blk = s->n ? s->maps[s->n - 1].fblk + s->maps[s->n - 1].len : s->blk;
	/* What is more than all there is need not be tried. */
	if (!s->n && s->last - s->blk > IN64(&in, I_BLOCKS) &&
	    s->last - s->blk - IN64(&in, I_BLOCKS) > fs->free_blocks)
		return -ENOSPC;
	while (s->n < MAPS && blk < s->last) {
		struct map *m = &s->maps[s->n];
		rc = ext_map(&in, blk, s->last - blk, m);
		if (rc)
			return rc;
		s->fresh[s->n] = !m->phys;
		if (!m->phys) {
			struct extent e;
			uint64_t goal = s->n ? m[-1].phys + m[-1].len : ext_goal(&in, blk);
			rc = alloc_reserve(fs, goal, m->len, &e);
			if (rc)
				return rc;
			m->phys = e.start;
			m->len = e.len;
		}
		blk += m->len;
		s->n++;
	}
	return 0;
}

static int map_body(struct fs *fs, struct space *s)
{
	struct inode in;
	int rc = inode_get_fid(fs, s->f, &in);
	fs->tx.unlimited = cred_root(s->cred);
	for (int i = 0; i < s->n && !rc; i++) {
		const struct map *m = &s->maps[i];
		if (!s->fresh[i])
			continue;
		rc = alloc_claim(fs, m->phys, m->len);
		if (!rc)
			rc = ext_insert(&in, m->fblk, m->phys, m->len, EXT_UNWRITTEN);
	}
	if (rc)
		return rc;
	const struct map *last = &s->maps[s->n - 1];
	uint64_t end = MIN(s->end, (last->fblk + last->len) * BS);
	changed(s, &in);
	if (end > IN64(&in, I_FILESIZE))
		IN_SET64(&in, I_FILESIZE, end);
	if (last->fblk + last->len >= s->last) /* all of it is there now */
		memo_note(s->cred, MEMO_ALLOCATE, &in);
	wcc_post(s->wcc, &in);
	return 0;
}

static void unreserve(struct fs *fs, struct space *s)
{
	for (int i = 0; i < s->n; i++)
		if (s->fresh[i])
			alloc_unreserve(fs, s->maps[i].phys, s->maps[i].len);
	s->n = 0;
}

static int allocate_round(struct fs *fs, struct space *s)
{
	struct op op;
	int rc;
	s->n = 0;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, plan_body(fs, s));
	op_end(&op);
	if (rc == -ENOSPC && s->n) /* what there is, then try again */
		rc = 0;
	if (!rc) {
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, map_body(fs, s));
		op_end(&op);
	}
	if (!rc) {
		s->moved = true;
		s->blk = s->maps[s->n - 1].fblk + s->maps[s->n - 1].len;
	}
	unreserve(fs, s);
	return rc;
}

static int size_back_body(struct fs *fs, struct space *s, uint64_t size)
{
	struct inode in;
	s->more = false;
	int rc = inode_get_fid(fs, s->f, &in);
	if (rc)
		return rc;
	changed(s, &in);
	IN_SET64(&in, I_FILESIZE, size);
	fs->tx.last_blocks = true;
	rc = ext_cut(&in, (size + BS - 1) / BS);
	if (rc <= 0)
		return rc;
	s->more = true;
	in.p[I_FLAGS] |= IF_CUT;
	return IN32(&in, I_NLINK) ? orphan_add(fs, in.ino, ORPHAN_CUT) : 0;
}

/* It did not fit: what was set aside past the old end goes. */
static int size_back(struct fs *fs, struct space *s, uint64_t size)
{
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, size_back_body(fs, s, size));
	op_end(&op);
	return rc || !s->more ? rc : file_cut(fs, s->f);
}

static int allocate_locked(struct fs *fs, struct space *s, uint64_t size)
{
	int rc = 0, tries = 0;
	if (s->end > size) {
		rc = file_cut(fs, s->f);
		if (!rc)
			rc = file_zero_tail(fs, s->f, size);
	}
	if (!rc)
		rc = file_unshare(fs, s->f, s->blk, s->last);
	while (!rc && s->blk < s->last) {
		rc = allocate_round(fs, s);
		if (rc == -ENOSPC && tries++ < SPACE_TRIES && space_wait(fs))
			rc = 0;
		task_yield();
	}
	if (!rc || !s->moved || s->end <= size || fs->dead)
		return rc;
	int back = size_back(fs, s, size);
	return back ? back : rc;
}

static int range_check(struct fs *fs, uint64_t off, uint64_t len, struct fs_wcc *wcc)
{
	CHECK(fs, FS_MAGIC);
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (fs->read_only)
		return -EROFS;
	return len > FS_SIZE_MAX || off > FS_SIZE_MAX - len ? -EFBIG : 0;
}

int fs_allocate(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		uint64_t len, struct fs_wcc *wcc)
{
	struct space s = {.cred = cred,
			  .f = f,
			  .off = off,
			  .end = off + len,
			  .blk = off / BS,
			  .last = (off + len + BS - 1) / BS,
			  .wcc = wcc};
	struct range_lock l;
	struct op op;
	uint64_t size;
	int rc = range_check(fs, off, len, wcc);
	if (!rc && memo_find(fs, cred, MEMO_ALLOCATE, NULL))
		return memo_wcc(fs, f, wcc);
	if (!rc)
		rc = check_run(fs, &s);
	if (rc || !len)
		return rc;
	op_begin(&op, fs, false);
	rc = file_lock(fs, f, off, s.last * BS, &l, &size);
	if (!rc) {
		rc = allocate_locked(fs, &s, size);
		range_unlock(fs, &l);
	}
	return op_commit(&op, rc);
}

/* ---- giving back ---- */

static int punch_body(struct fs *fs, struct space *s)
{
	struct inode in;
	s->more = false;
	int rc = inode_get_fid(fs, s->f, &in);
	if (!rc)
		rc = file_check(s, &in);
	if (rc)
		return rc;
	fs->tx.last_blocks = true;
	fs->run.data_flush = true; /* blocks zeroed in part */
	changed(s, &in);
	rc = s->blk < s->last ? ext_punch(&in, s->blk, s->last) : 0;
	s->more = rc > 0;
	if (!rc) /* the last of it is gone now */
		memo_note(s->cred, MEMO_DEALLOCATE, &in);
	wcc_post(s->wcc, &in);
	return MIN(rc, 0);
}

/* The blocks of which only a part goes; s->blk .. s->last are the others. */
static int edges_zero(struct fs *fs, struct space *s, uint64_t size)
{
	uint64_t end = MIN(s->end, size);
	uint64_t head = ROUND_UP(s->off, (uint64_t)BS), tail = ROUND_DOWN(end, (uint64_t)BS);
	int rc = 0;
	if (end == size) /* what is past the end goes with the last block */
		tail = ROUND_UP(end, (uint64_t)BS);
	s->blk = head / BS;
	s->last = tail / BS;
	if (s->off < head)
		rc = file_zero(fs, s->f, s->off, MIN(head, end));
	if (!rc && tail >= head && tail < end)
		rc = file_zero(fs, s->f, tail, end);
	return rc;
}

static int deallocate_locked(struct fs *fs, struct space *s, uint64_t size)
{
	struct op op;
	int rc;
	if (s->off >= size)
		return 0;
	rc = edges_zero(fs, s, size);
	s->more = true;
	while (!rc && s->more) {
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, punch_body(fs, s));
		op_end(&op);
		task_yield();
	}
	return rc;
}

int fs_deallocate(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		  uint64_t len, struct fs_wcc *wcc)
{
	struct space s = {.cred = cred, .f = f, .off = off, .end = off + len, .wcc = wcc};
	struct range_lock l;
	struct op op;
	uint64_t size;
	int rc = range_check(fs, off, len, wcc);
	if (!rc && memo_find(fs, cred, MEMO_DEALLOCATE, NULL))
		return memo_wcc(fs, f, wcc);
	if (!rc)
		rc = check_run(fs, &s);
	if (rc || !len)
		return rc;
	op_begin(&op, fs, false);
	rc = file_lock(fs, f, off, ROUND_UP(off + len, (uint64_t)BS), &l, &size);
	if (!rc) {
		rc = deallocate_locked(fs, &s, size);
		range_unlock(fs, &l);
	}
	return op_commit(&op, rc);
}

/* ---- looking ---- */

struct seek_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	uint64_t at, end; /* bytes; not beyond end */
	enum fs_seek_what what;
	bool found;
};

static int seek_body(struct fs *fs, struct seek_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	if (IN_TYPE(&in) != FS_REG)
		return IN_TYPE(&in) == FS_DIR ? -EISDIR : -EINVAL;
	rc = inode_may_data(a->cred, &in, 4);
	uint64_t size = IN64(&in, I_FILESIZE), last = (size + BS - 1) / BS;
	if (rc || a->at >= size)
		return rc ? rc : -ENXIO;
	for (int i = 0; i < SEEK_STEP; i++) {
		struct map m;
		uint64_t blk = a->at / BS;
		rc = ext_map(&in, blk, last - blk, &m);
		if (rc)
			return rc;
		a->found = (m.phys && !m.unwritten) == (a->what == FS_SEEK_DATA);
		if (a->found)
			return 0;
		a->at = (m.fblk + m.len) * BS;
		if (a->at >= a->end && a->end < size) {
			a->at = a->end;
			a->found = true;
			return 0;
		}
		if (a->at < size)
			continue;
		a->at = size; /* the end is a hole */
		a->found = a->what == FS_SEEK_HOLE;
		return a->found ? 0 : -ENXIO;
	}
	return 0;
}

int fs_seek(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	    enum fs_seek_what what, uint64_t *ret)
{
	return fs_seek_below(fs, cred, f, off, UINT64_MAX, what, ret);
}

int fs_seek_below(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		  uint64_t end, enum fs_seek_what what, uint64_t *ret)
{
	struct seek_args a = {.cred = cred, .f = f, .at = off, .end = end, .what = what};
	int rc = 0;
	while (!rc && !a.found) {
		struct op op;
		op_begin(&op, fs, false);
		OP_LOOP(&op, rc, seek_body(fs, &a));
		op_end(&op);
		if (!rc && !a.found)
			task_yield();
	}
	if (!rc)
		*ret = a.at;
	return rc;
}
