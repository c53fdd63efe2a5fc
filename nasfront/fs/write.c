/*
 * Writing file data. Under a lock of the blocks' range, in rounds of up to MAPS pieces:
 *
 *   1. plan (a body): which blocks are there, and for holes blocks set aside in memory;
 *   2. write the data, whole blocks; of a block written in part the rest is read first (zeros
 *      for a hole, and past the end of the file);
 *   3. one body maps the new blocks, moves the size and the times. Its batch flushes the device
 *      before its record is written, so no crash shows blocks without their data.
 *
 * Blocks that are there are overwritten in place; those that others share are copied first
 * (clone.c). Those of unwritten extents become data in round
 * 3, as new ones do.
 *
 * Unstable data waits until what round 3 changed (times apart) is in the device's memory as a soft
 * record, beside the data: neither goes with this process.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define MAPS	    16
#define IOVS_MAX    1000 /* of the caller */
#define SPACE_TRIES 8

struct piece {
	struct map m;
	bool fresh; /* set aside, not yet mapped */
};

struct write_ctx {
	struct write_ctx *next;
	uint8_t *edge; /* two blocks: the first and the last written in part */
	const struct fs_cred *cred;
	const struct fs_fid *f;
	uint64_t off, end, blk, last; /* bytes; blocks still to do */
	uint64_t size;
	struct fs_wcc *wcc;
	bool stable;
	bool shared;	/* what comes next belongs to others too */
	bool mapped;	/* the last round changed more than times */
	uint64_t batch; /* the last one that holds such a change */
	int n;
	struct piece pieces[MAPS];
	const struct iovec *iov; /* where the data goes on */
	size_t iov_skip;
	struct iovec out[IOVS_MAX + 4];
	int nout;
};

static struct write_ctx *ctx_get(struct fs *fs)
{
	struct write_ctx *w = fs->free_wctx;
	if (w) {
		fs->free_wctx = w->next;
		return w;
	}
	w = malloc(sizeof(*w));
	if (w && posix_memalign((void **)&w->edge, BS, 2 * BS)) {
		free(w);
		w = NULL;
	}
	return w;
}

static void ctx_put(struct fs *fs, struct write_ctx *w)
{
	w->next = fs->free_wctx;
	fs->free_wctx = w;
}

void write_free_pool(struct fs *fs)
{
	struct write_ctx *w;
	while ((w = fs->free_wctx)) {
		fs->free_wctx = w->next;
		free(w->edge);
		free(w);
	}
}

/* ---- plan ---- */

static int check_file(const struct write_ctx *w, const struct inode *in)
{
	if (IN_TYPE(in) != FS_REG)
		return IN_TYPE(in) == FS_DIR ? -EISDIR : -EINVAL;
	return inode_may_data(w->cred, in, 2);
}

static int check_body(struct fs *fs, struct write_ctx *w)
{
	struct inode in;
	int rc = inode_get_fid(fs, w->f, &in);
	if (rc)
		return rc;
	wcc_pre(w->wcc, &in);
	wcc_post(w->wcc, &in);
	w->size = IN64(&in, I_FILESIZE);
	return check_file(w, &in);
}

/* Goes on where it stopped when it had to wait: blocks set aside stay so. */
static int plan_body(struct fs *fs, struct write_ctx *w)
{
	struct inode in;
	int rc = inode_get_fid(fs, w->f, &in);
	if (!rc)
		rc = check_file(w, &in);
	if (rc)
		return rc;
	w->size = IN64(&in, I_FILESIZE);
	uint64_t blk = w->n ? w->pieces[w->n - 1].m.fblk + w->pieces[w->n - 1].m.len : w->blk;
	while (w->n < MAPS && blk < w->last) {
		struct piece *p = &w->pieces[w->n];
		rc = ext_map(&in, blk, w->last - blk, &p->m);
		if (rc)
			return rc;
		if (p->m.shared) { /* not in place: first it is copied */
			w->shared = true;
			return 0;
		}
		p->fresh = !p->m.phys;
		if (p->fresh) {
			struct extent e;
			struct piece *before = w->n ? p - 1 : NULL;
			uint64_t goal =
			    before ? before->m.phys + before->m.len : ext_goal(&in, blk);
			rc = alloc_reserve(fs, goal, p->m.len, &e);
			if (rc)
				return rc;
			p->m.phys = e.start;
			p->m.len = e.len;
		}
		blk += p->m.len;
		w->n++;
	}
	return 0;
}

static void unreserve(struct fs *fs, struct write_ctx *w)
{
	for (int i = 0; i < w->n; i++)
		if (w->pieces[i].fresh)
			alloc_unreserve(fs, w->pieces[i].m.phys, w->pieces[i].m.len);
	w->n = 0;
}

/* ---- data ---- */

static void out_add(struct write_ctx *w, void *p, size_t n)
{
	w->out[w->nout++] = (struct iovec){p, n};
}

/* The next n bytes of the caller's data: to `copy`, or where that is NULL into the out vector. */
static void take(struct write_ctx *w, uint64_t n, uint8_t *copy)
{
	while (n) {
		size_t k = MIN(w->iov->iov_len - w->iov_skip, n);
		uint8_t *p = (uint8_t *)w->iov->iov_base + w->iov_skip;
		if (copy) {
			memcpy(copy, p, k);
			copy += k;
		} else if (k) {
			out_add(w, p, k);
		}
		n -= k;
		w->iov_skip += k;
		if (w->iov_skip == w->iov->iov_len) {
			w->iov++;
			w->iov_skip = 0;
		}
	}
}

/* A block written in part: what surrounds the new bytes comes from the volume, or is zeros. */
static int edge_fill(struct fs *fs, struct write_ctx *w, const struct piece *p, uint64_t blk,
		     uint64_t from, uint64_t to, uint8_t *d)
{
	uint64_t start = blk * BS;
	if (p->fresh || p->m.unwritten || start >= w->size) {
		memset(d, 0, BS);
	} else {
		int rc = bdev_read(fs->dev, d, BS, (p->m.phys + (blk - p->m.fblk)) * BS);
		if (rc)
			return rc;
		if (w->size < start + BS)
			memset(d + (w->size - start), 0, BS - (w->size - start));
	}
	take(w, to - from, d + (from - start));
	return 0;
}

static int piece_write(struct fs *fs, struct write_ctx *w, const struct piece *p)
{
	uint64_t blk = p->m.fblk, end = blk + p->m.len;
	w->nout = 0;
	while (blk < end) {
		uint64_t from = MAX(blk * BS, w->off), to = MIN((blk + 1) * BS, w->end);
		if (to - from < BS) {
			uint8_t *d = w->edge + (from == w->off ? 0 : BS);
			int rc = edge_fill(fs, w, p, blk, from, to, d);
			if (rc)
				return rc;
			out_add(w, d, BS);
			blk++;
			continue;
		}
		uint64_t whole = MIN(end * BS, ROUND_DOWN(w->end, (uint64_t)BS)) - from;
		take(w, whole, NULL);
		blk += whole / BS;
	}
	return bdev_writev(fs->dev, w->out, w->nout, p->m.phys * BS, 0);
}

/* ---- metadata ---- */

static int map_body(struct fs *fs, struct write_ctx *w)
{
	struct inode in;
	int rc = inode_get_fid(fs, w->f, &in);
	fs->tx.unlimited = cred_root(w->cred);
	w->mapped = false;
	for (int i = 0; i < w->n && !rc; i++) {
		const struct piece *p = &w->pieces[i];
		if (!p->fresh && !p->m.unwritten)
			continue;
		fs->run.data_flush = w->mapped = true;
		if (p->m.unwritten) {
			rc = ext_written(&in, p->m.fblk, p->m.len);
			continue;
		}
		rc = alloc_claim(fs, p->m.phys, p->m.len);
		if (!rc)
			rc = ext_insert(&in, p->m.fblk, p->m.phys, p->m.len, 0);
	}
	if (rc)
		return rc;
	const struct map *last = &w->pieces[w->n - 1].m;
	uint64_t end = MIN(w->end, (last->fblk + last->len) * BS);
	inode_stamp(&in, STAMP_MTIME | STAMP_CTIME);
	if (end > IN64(&in, I_FILESIZE)) {
		IN_SET64(&in, I_FILESIZE, end);
		w->mapped = true;
	}
	if (inode_drop_setid(w->cred, &in))
		w->mapped = true;
	if (w->stable)
		fs->run.data_flush = true;
	wcc_post(w->wcc, &in);
	return 0;
}

static int write_round(struct fs *fs, struct write_ctx *w)
{
	struct op plan, map;
	struct io_hold hold;
	int rc;
	w->n = 0;
	w->shared = false;
	op_begin(&plan, fs, false);
	io_hold_begin(fs, &hold);
	OP_LOOP(&plan, rc, plan_body(fs, w));
	if (rc == -ENOSPC && w->n) /* what there is, then try again */
		rc = 0;
	for (int i = 0; i < w->n && !rc; i++)
		rc = piece_write(fs, w, &w->pieces[i]);
	io_hold_end(fs, &hold);
	op_end(&plan);
	if (!rc && !w->n && w->shared) {
		rc = file_unshare(fs, w->f, w->blk, w->last);
		w->batch = fs->run.seq; /* what is written goes where that put it */
		return rc;
	}
	if (!rc) {
		op_begin(&map, fs, true);
		OP_LOOP(&map, rc, map_body(fs, w));
		if (!rc && w->mapped)
			w->batch = fs->run.seq;
		op_end(&map);
	}
	if (!rc)
		w->blk = w->pieces[w->n - 1].m.fblk + w->pieces[w->n - 1].m.len;
	unreserve(fs, w);
	return rc;
}

/* The file may grow from an end that was never zeroed behind, or be one whose cut was left. */
static int extend(struct fs *fs, struct write_ctx *w, uint64_t size)
{
	if (w->end <= size)
		return 0;
	int rc = file_cut(fs, w->f);
	if (!rc && w->off > size && w->off / BS > size / BS)
		rc = file_zero_tail(fs, w->f, size);
	return rc;
}

static int write_locked(struct fs *fs, struct write_ctx *w, uint64_t size)
{
	int rc = extend(fs, w, size), tries = 0;
	while (!rc && w->blk < w->last) {
		rc = write_round(fs, w);
		if (rc == -ENOSPC && tries++ < SPACE_TRIES && space_wait(fs))
			rc = 0;
	}
	return rc;
}

static int write_run(struct fs *fs, struct write_ctx *w, enum fs_stable stable)
{
	struct range_lock l;
	struct op op;
	int rc;
	op_begin(&op, fs, false);
	OP_LOOP(&op, rc, check_body(fs, w));
	if (!rc && w->off < w->end)
		rc =
		    file_lock_sized(fs, w->f, w->off, ROUND_UP(w->end, (uint64_t)BS), &l, &w->size);
	if (!rc && w->off < w->end) {
		rc = write_locked(fs, w, w->size);
		range_unlock(fs, &l);
	}
	if (!rc && stable)
		return op_commit(&op, 0);
	if (!rc)
		return op_commit_soft(&op, w->batch);
	op_end(&op);
	return rc;
}

int fs_write(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	     const struct iovec *iov, int iovcnt, enum fs_stable stable, struct fs_wcc *wcc)
{
	size_t len = iov_bytes(iov, iovcnt);
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (fs->read_only)
		return -EROFS;
	if (iovcnt > IOVS_MAX || len > FS_IO_MAX)
		return -EINVAL;
	if (off > FS_SIZE_MAX - len)
		return -EFBIG;
	struct write_ctx *w = ctx_get(fs);
	if (!w)
		return -ENOMEM;
	w->cred = cred;
	w->f = f;
	w->off = off;
	w->end = off + len;
	w->blk = off / BS;
	w->last = (w->end + BS - 1) / BS;
	w->wcc = wcc;
	w->stable = stable != FS_WRITE_UNSTABLE;
	w->batch = 0;
	w->iov = iov;
	w->iov_skip = 0;
	int rc = write_run(fs, w, stable);
	ctx_put(fs, w);
	return rc;
}

int fs_commit(struct fs *fs, const struct fs_fid *f, uint64_t off, uint64_t len, struct fs_wcc *wcc)
{
	struct fs_attr a;
	int rc = fs_getattr(fs, f, &a);
	if (wcc)
		wcc->have_pre = wcc->have_post = false;
	if (rc)
		return rc;
	if (wcc) {
		wcc->pre = wcc->post = a;
		wcc->have_pre = wcc->have_post = true;
	}
	if (fs->read_only)
		return 0;
	fs_ref(fs);
	fs->run.data_flush = true;
	rc = journal_wait(fs, fs->run.seq);
	fs_unref(fs);
	return rc;
}

uint64_t fs_write_verifier(struct fs *fs)
{
	return fs->verifier;
}
