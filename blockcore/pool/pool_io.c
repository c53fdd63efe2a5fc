/*
 * The data path of a pool: a request is cut into one range a column, the
 * columns run at once, and in a column a write goes to all copies at once.
 * Called from any reactor; nothing is allocated: what a request needs lies on the stacks of its
 * tasks. A write holds its range of the column shared (pool_lock.h).
 */
#include "blockcore/pool/pool_impl.h"
#include "runtime/iov_cursor.h"
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

#define IO_WINDOW  (1024 * 1024ull) /* logical bytes cut into columns at once */
#define IO_IOV_MAX 256		    /* pieces of the caller's buffers in a window */
/* The smallest chunk is 16 KiB: a window has at most 65 chunks, each splits a piece once more. */
#define IO_PIECES (IO_IOV_MAX + 66)

static struct raid *pool_of(struct bdev *b)
{
	struct raid *p = container_of(b, struct raid, io);
	CHECK(p, RAID_MAGIC);
	return p;
}

/* ---- one position ---- */

int pool_copy_readv(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		    uint64_t off)
{
	return bdev_readv(disk_bdev(p->disks[position]), iov, iovcnt, p->data_off + off);
}

int pool_copy_writev(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		     uint64_t off, unsigned flags)
{
	struct bdev *b = disk_bdev(p->disks[position]);
	if (!p->sums)
		return bdev_writev(b, iov, iovcnt, p->data_off + off, flags);
	unsigned gen = pool_sums_gen(p->sums, position);
	int rc = bdev_writev(b, iov, iovcnt, p->data_off + off, flags);
	return pool_sums_written(p, position, gen, iov, iovcnt, off, rc);
}

struct copy_io {
	struct raid *p;
	unsigned position;
	const struct iovec *iov;
	int iovcnt;
	uint64_t off, len;
	unsigned flags;
	int rc;
};

static void copy_write(void *item)
{
	struct copy_io *io = item;
	io->rc = pool_copy_writev(io->p, io->position, io->iov, io->iovcnt, io->off, io->flags);
}

static const uint8_t zeros[64 * 1024] __attribute__((aligned(4096)));

static int zero_range(struct bdev *b, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	int rc = b->discard_zeroes ? bdev_discard(b, off, len) : -EOPNOTSUPP;
	if (rc != -EOPNOTSUPP)
		return rc;
	struct iovec iov[16];
	for (rc = 0; off < end && rc == 0;) {
		int n = 0;
		uint64_t done = 0;
		for (; n < 16 && off + done < end; n++) {
			iov[n].iov_base = (void *)zeros;
			iov[n].iov_len = MIN(sizeof(zeros), end - off - done);
			done += iov[n].iov_len;
		}
		rc = bdev_writev(b, iov, n, off, 0);
		off += done;
	}
	return rc;
}

static void copy_zero(void *item)
{
	struct copy_io *io = item;
	struct raid *p = io->p;
	unsigned gen = p->sums ? pool_sums_gen(p->sums, io->position) : 0;
	io->rc = zero_range(disk_bdev(p->disks[io->position]), p->data_off + io->off, io->len);
	if (p->sums)
		io->rc = pool_sums_zeroed(p, io->position, gen, io->off, io->len, io->rc);
}

static void copy_flush(void *item)
{
	struct copy_io *io = item;
	io->rc = bdev_flush(disk_bdev(io->p->disks[io->position]));
}

/* Copies at once; one after the other where no disk is waited for: that spares the tasks. */
static void copies_start(struct raid *p, void (*fn)(void *), struct copy_io *io, unsigned n)
{
	bool prompt = true;
	for (unsigned i = 0; i < n; i++) {
		uint32_t max = disk_bdev(p->disks[io[i].position])->prompt;
		prompt &= max && io[i].len <= max;
	}
	if (!prompt)
		fan_run(fn, io, sizeof(*io), n);
	for (unsigned i = 0; prompt && i < n; i++)
		fn(&io[i]);
}

/*
 * Runs fn on copies at once and judges: a copy whose disk failed is dropped when another took the
 * call. 0 when at least one did and none failed for another reason than its disk.
 */
static int copies_run(struct raid *p, void (*fn)(void *), struct copy_io *io, unsigned n,
		      const char *what)
{
	int rc = n ? 0 : -EIO;
	bool any = false;
	copies_start(p, fn, io, n);
	for (unsigned i = 0; i < n; i++) {
		any |= io[i].rc == 0 && atomic_load(&p->in[io[i].position]);
		if (io[i].rc && (rc == 0 || !pool_disk_error(io[i].rc)))
			rc = io[i].rc;
	}
	if (!any || !pool_disk_error(rc))
		return rc;
	for (unsigned i = 0; i < n; i++)
		if (io[i].rc)
			pool_copy_failed(p, io[i].position, what, io[i].rc);
	return 0;
}

/* ---- one column ---- */

static unsigned column_copies(struct raid *p, const struct copy_io *like, unsigned column,
			      struct copy_io io[POOL_COPIES_MAX])
{
	unsigned n = 0;
	for (unsigned c = 0; c < p->copies; c++) {
		unsigned pos = pool_position(p, column, c);
		if (!pool_writable(p, pos))
			continue;
		io[n] = *like;
		io[n++].position = pos;
	}
	return n;
}

static int column_change(struct raid *p, unsigned column, const struct copy_io *like,
			 void (*fn)(void *), const char *what)
{
	struct copy_io io[POOL_COPIES_MAX];
	pool_lock_shared(&p->locks, column, like->off, like->len);
	unsigned n = column_copies(p, like, column, io);
	int rc = copies_run(p, fn, io, n, what);
	pool_unlock_shared(&p->locks, column, like->off, like->len);
	return rc ? rc : pool_write_done(p, like->flags & BDEV_FUA);
}

/* The copy to ask first. While copies may differ everybody reads the same one. */
static unsigned preferred_copy(struct raid *p, unsigned column, uint64_t off)
{
	if (p->copies == 1 || atomic_load_explicit(&p->resync_needed, memory_order_relaxed))
		return 0;
	unsigned best = (unsigned)(off / POOL_REGION % p->copies);
	const struct disk *b = p->disks[pool_position(p, column, best)];
	unsigned queue = b ? disk_in_flight(b) : UINT32_MAX;
	for (unsigned c = 0; c < p->copies; c++) {
		unsigned pos = pool_position(p, column, c);
		/* Four calls more: a stream stays where it is, a crowd spreads. */
		if (p->disks[pos] && disk_in_flight(p->disks[pos]) + 4 < queue) {
			best = c;
			queue = disk_in_flight(p->disks[pos]);
		}
	}
	return best;
}

/* Reads from `first` on round; ret_bad: copies that failed, ret_good: the one that did not. Wrong
 * data is one of a copy's ways to fail; only who is alone in the region can tell it from a write
 * that is half done. */
static int column_read_any(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			   uint64_t off, unsigned first, bool alone, unsigned *ret_bad,
			   unsigned *ret_good)
{
	int rc = -EIO;
	uint64_t len = iov_bytes(iov, iovcnt), end = off + len;
	*ret_bad = 0;
	for (unsigned i = 0; i < p->copies; i++) {
		unsigned c = (first + i) % p->copies, pos = pool_position(p, column, c);
		if (!pool_readable(p, pos, end))
			continue;
		rc = pool_copy_checked_readv(p, pos, iov, iovcnt, off);
		*ret_good = c;
		if (!pool_disk_error(rc))
			return rc;
		if (rc == -ERR_CORRUPT && alone)
			pool_wrong_told(p, pos, off, len);
		*ret_bad |= 1u << c;
	}
	return *ret_bad ? -ERR_MEDIUM : rc;
}

/* Writes what a good copy holds over the bad ones. Alone in the region. */
static void rewrite_bad(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			uint64_t off, unsigned bad, unsigned good)
{
	for (unsigned c = 0; c < p->copies; c++) {
		unsigned pos = pool_position(p, column, c);
		if (!(bad & (1u << c)) || c == good || !atomic_load(&p->in[pos]))
			continue;
		int w = pool_copy_writev(p, pos, iov, iovcnt, off, BDEV_FUA);
		if (pool_disk_error(w)) {
			pool_copy_failed(p, pos, "rewriting after a read error", w);
		} else if (w == 0) {
			atomic_fetch_add(&p->read_repairs, 1);
			event_write(LOG_L_WARN, "pool.read_repaired",
				    "pool %s: disk %s could not read %llu bytes at byte %llu; "
				    "rewritten from disk %s",
				    p->name, disk_path(p->disks[pos]),
				    (unsigned long long)iov_bytes(iov, iovcnt),
				    (unsigned long long)(p->data_off + off),
				    disk_path(p->disks[pool_position(p, column, good)]));
		}
	}
}

/* Alone in the region, and read once more: a write may have come since. The range lies in one
 * region. What the buffers hold is what was read last: an error of it is the read's. */
static int column_repair(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			 uint64_t off, unsigned bad)
{
	unsigned good, bad_now, first = 0;
	while (bad & (1u << first))
		first++;
	pool_lock_alone(&p->locks, column, off);
	int rc = column_read_any(p, column, iov, iovcnt, off, first, true, &bad_now, &good);
	if (rc == 0)
		rewrite_bad(p, column, iov, iovcnt, off, bad | bad_now, good);
	pool_unlock_alone(&p->locks, column, off);
	return rc;
}

/* Repairs region by region, so that at most one is locked. */
static int column_repair_range(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			       uint64_t off, unsigned bad)
{
	struct iovec part[IO_PIECES];
	struct iov_cursor c = {iov, iovcnt, 0};
	uint64_t end = off + iov_bytes(iov, iovcnt);
	while (off < end) {
		size_t len = MIN(end, ROUND_DOWN(off, POOL_REGION) + POOL_REGION) - off;
		len = iov_reach(c, IO_IOV_MAX, len, p->io.block_size);
		if (len == 0)
			return 0;
		int n = iov_take(&c, len, part, IO_PIECES);
		int rc = column_repair(p, column, part, n, off, bad);
		if (rc)
			return rc;
		off += len;
	}
	return 0;
}

/* A page that did not fit its checksum, or could not be read: alone in its region, so that no write
 * is under way. What is bad then is rewritten. */
static int column_read_alone(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			     uint64_t off, unsigned first)
{
	unsigned bad, good;
	pool_lock_alone(&p->locks, column, off);
	int rc = column_read_any(p, column, iov, iovcnt, off, first, true, &bad, &good);
	if (rc == 0 && bad)
		rewrite_bad(p, column, iov, iovcnt, off, bad, good);
	pool_unlock_alone(&p->locks, column, off);
	return rc;
}

static int column_read_piece(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			     uint64_t off, unsigned first)
{
	unsigned bad, good;
	if (p->sums)
		return column_read_alone(p, column, iov, iovcnt, off, first);
	int rc = column_read_any(p, column, iov, iovcnt, off, first, false, &bad, &good);
	return rc == 0 && bad ? column_repair(p, column, iov, iovcnt, off, bad) : rc;
}

/* Piece by piece, each from `first` or the next copy that can: each may have lost another part of a
 * range. */
static int column_read_pieces(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
			      uint64_t off, unsigned first)
{
	struct iovec part[IO_PIECES];
	struct iov_cursor c = {iov, iovcnt, 0};
	uint64_t end = off + iov_bytes(iov, iovcnt);
	while (off < end) {
		size_t len = MIN(end - off, MAX(4096, p->io.block_size) - off % 4096);
		len = iov_reach(c, IO_IOV_MAX, len, p->io.block_size);
		int n = iov_take(&c, len, part, IO_PIECES);
		int rc = len ? column_read_piece(p, column, part, n, off, first) : -EINVAL;
		if (rc)
			return rc;
		off += len;
	}
	return 0;
}

int pool_column_read(struct raid *p, unsigned column, uint8_t *buf, uint64_t off, uint64_t len)
{
	struct iovec iov = {buf, len};
	unsigned bad, good;
	int rc = column_read_any(p, column, &iov, 1, off, 0, false, &bad, &good);
	if (rc == 0 && bad && p->sums)
		rc = -ERR_MEDIUM; /* to say which page was wrong */
	for (uint64_t at = 0, n; rc == -ERR_MEDIUM && at < len; at += n) {
		n = MIN(len - at, MAX(4096, p->io.block_size));
		iov = (struct iovec){buf + at, n};
		int one = column_read_any(p, column, &iov, 1, off + at, 0, true, &bad, &good);
		if (one)
			return one;
		if (at + n == len)
			return 0;
	}
	return rc;
}

static int column_read(struct raid *p, unsigned column, const struct iovec *iov, int iovcnt,
		       uint64_t off)
{
	unsigned bad, good;
	unsigned first = preferred_copy(p, column, off);
	int rc = column_read_any(p, column, iov, iovcnt, off, first, false, &bad, &good);
	/* The same one first: it is that which is to be looked at again. */
	if (bad && p->sums && (rc == 0 || rc == -ERR_MEDIUM))
		return column_read_pieces(p, column, iov, iovcnt, off, first);
	/* Copies may differ: what the first can read was perhaps read before, and comes from it. */
	bool differ = rc == 0 && bad && atomic_load(&p->resync_needed);
	if (differ || (rc == -ERR_MEDIUM && (bad & (bad - 1))))
		return column_read_pieces(p, column, iov, iovcnt, off, 0);
	if (rc == 0 && bad)
		return column_repair_range(p, column, iov, iovcnt, off, bad);
	return rc;
}

/* ---- the whole pool ---- */

struct column_io {
	struct raid *p;
	unsigned column;
	bool write;
	unsigned flags;
	struct iovec *iov;
	int iovcnt;
	uint64_t off, len;
	int rc;
};

static int column_rw(struct raid *p, bool write, unsigned column, const struct iovec *iov,
		     int iovcnt, uint64_t off, uint64_t len, unsigned flags)
{
	if (!write)
		return column_read(p, column, iov, iovcnt, off);
	struct copy_io like = {
	    .p = p, .iov = iov, .iovcnt = iovcnt, .off = off, .len = len, .flags = flags};
	return column_change(p, column, &like, copy_write, "write error");
}

static void column_io_run(void *item)
{
	struct column_io *io = item;
	io->rc = column_rw(io->p, io->write, io->column, io->iov, io->iovcnt, io->off, io->len,
			   io->flags);
}

/* The pieces of [off, off + len) that lie in a column, in order. */
static int gather(const struct raid *p, unsigned column, struct iov_cursor c, uint64_t off,
		  uint64_t len, struct iovec *out, int max)
{
	int n = 0;
	for (uint64_t end = off + len; off < end;) {
		struct column_range r = pool_map_piece(p, off, end - off);
		if (r.column == column)
			n += iov_take(&c, r.len, out + n, max - n);
		else
			iov_skip(&c, r.len);
		off += r.len;
	}
	return n;
}

/* One window over several columns: all at once. */
static int window_rw(struct raid *p, bool write, struct iov_cursor c, uint64_t off, uint64_t len,
		     unsigned flags)
{
	struct iovec pieces[IO_PIECES];
	struct column_io io[FAN_MAX];
	unsigned n = 0;
	int used = 0, rc = 0;
	for (unsigned col = 0; col < p->columns; col++) {
		struct column_range r = pool_map_column(p, col, off, len);
		if (r.len == 0)
			continue;
		struct column_io *x = &io[n++];
		*x = (struct column_io){.p = p, .column = col, .write = write, .flags = flags};
		x->iov = pieces + used;
		x->iovcnt = gather(p, col, c, off, len, x->iov, IO_PIECES - used);
		x->off = r.off;
		x->len = r.len;
		used += x->iovcnt;
	}
	fan_run(column_io_run, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = io[i].rc;
	return rc;
}

static int pool_rw(struct raid *p, bool write, const struct iovec *iov, int iovcnt, uint64_t off,
		   unsigned flags)
{
	uint64_t len = iov_bytes(iov, iovcnt);
	struct column_range r = pool_map_piece(p, off, len);
	if (r.len == len) /* all of it in one chunk */
		return len ? column_rw(p, write, r.column, iov, iovcnt, r.off, len, flags) : 0;
	struct iov_cursor c = {iov, iovcnt, 0};
	while (len > 0) {
		uint64_t n = iov_reach(c, IO_IOV_MAX, MIN(len, IO_WINDOW), p->io.block_size);
		if (n == 0)
			return -EINVAL; /* 256 pieces that hold not even one block */
		int rc = window_rw(p, write, c, off, n, flags);
		if (rc)
			return rc;
		iov_skip(&c, n);
		off += n;
		len -= n;
	}
	return 0;
}

static int io_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return pool_rw(pool_of(b), false, iov, iovcnt, off, 0);
}

int pool_write_enter(struct raid *p, uint64_t off, uint64_t len)
{
	return p->intent && len ? pool_intent_enter(p->intent, off, len) : 0;
}

void pool_write_leave(struct raid *p, uint64_t off, uint64_t len)
{
	if (p->intent && len)
		pool_intent_leave(p->intent, off, len);
}

int pool_io_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		   unsigned flags)
{
	struct raid *p = pool_of(b);
	uint64_t len = iov_bytes(iov, iovcnt);
	int rc = pool_write_enter(p, off, len);
	if (rc)
		return rc;
	rc = p->parity ? pool_parity_write(p, iov, iovcnt, off, len, flags)
		       : pool_rw(p, true, iov, iovcnt, off, flags);
	pool_write_leave(p, off, len);
	return rc;
}

int pool_io_flush(struct bdev *b)
{
	struct raid *p = pool_of(b);
	struct copy_io io[POOL_DISKS_MAX];
	unsigned n = 0;
	int rc = 0;
	for (unsigned i = 0; i < p->ndisks; i++)
		if (pool_writable(p, i))
			io[n++] = (struct copy_io){.p = p, .position = i};
	if (raid_state(p) == POOL_OFFLINE)
		return -EIO;
	copies_start(p, copy_flush, io, n);
	for (unsigned i = 0; i < n; i++) {
		if (!io[i].rc)
			continue;
		if (pool_disk_error(io[i].rc))
			pool_copy_failed(p, io[i].position, "flush error", io[i].rc);
		/* Still in use: it is the only copy, and its writes may be lost. */
		if (atomic_load(&p->in[io[i].position]))
			rc = io[i].rc;
	}
	return rc ? rc : pool_wait_recorded(p);
}

int pool_zero_copies(struct raid *p, uint64_t off, uint64_t len)
{
	struct copy_io io[POOL_DISKS_MAX];
	unsigned n = 0;
	int rc = 0;
	for (unsigned i = 0; i < p->ndisks; i++)
		if (pool_writable(p, i))
			io[n++] = (struct copy_io){.p = p, .position = i, .off = off, .len = len};
	fan_run(copy_zero, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n; i++) {
		if (!io[i].rc)
			continue;
		if (pool_disk_error(io[i].rc))
			pool_copy_failed(p, io[i].position, "discard error", io[i].rc);
		if (atomic_load(&p->in[io[i].position]))
			rc = io[i].rc;
	}
	return rc;
}

static int discard_columns(struct raid *p, uint64_t off, uint64_t len)
{
	for (unsigned col = 0; col < p->columns; col++) {
		struct column_range r = pool_map_column(p, col, off, len);
		struct copy_io like = {.p = p, .off = r.off, .len = r.len};
		int rc = r.len ? column_change(p, col, &like, copy_zero, "discard error") : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int pool_io_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct raid *p = pool_of(b);
	int rc = pool_write_enter(p, off, len);
	if (rc)
		return rc;
	rc = p->parity ? pool_parity_zero(p, off, len) : discard_columns(p, off, len);
	pool_write_leave(p, off, len);
	return rc;
}

/* One copy, which a write may be under way to. */
static int read_one_copy(struct raid *p, unsigned column, unsigned pos, const struct iovec *iov,
			 uint64_t off)
{
	int rc = pool_copy_checked_readv(p, pos, iov, 1, off);
	for (uint64_t at = 0; rc == -ERR_CORRUPT && at < iov->iov_len; at += SUM_PAGE) {
		struct iovec page = {(char *)iov->iov_base + at, SUM_PAGE};
		pool_lock_alone(&p->locks, column, off + at);
		int one = pool_copy_checked_readv(p, pos, &page, 1, off + at);
		if (one == -ERR_CORRUPT)
			pool_wrong_told(p, pos, off + at, SUM_PAGE);
		pool_unlock_alone(&p->locks, column, off + at);
		if (one)
			return one == -ERR_CORRUPT ? -ERR_MEDIUM : one;
	}
	return rc == -ERR_CORRUPT ? 0 : rc; /* each page fits by itself */
}

static int io_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct raid *p = pool_of(b);
	if (copy >= p->copies)
		return -ENOENT;
	for (uint64_t done = 0; done < len;) {
		struct column_range r = pool_map_piece(p, off + done, len - done);
		unsigned pos = pool_position(p, r.column, copy);
		if (!atomic_load(&p->in[pos]))
			return -ENODEV;
		struct iovec iov = {(char *)buf + done, r.len};
		int rc = read_one_copy(p, r.column, pos, &iov, r.off);
		if (rc)
			return rc;
		done += r.len;
	}
	return 0;
}

/* Freed with the pool. */
static void io_close(struct bdev *b)
{
}

const struct bdev_ops pool_io_ops = {
    .readv = io_readv,
    .writev = pool_io_writev,
    .flush = pool_io_flush,
    .discard = pool_io_discard,
    .read_copy = io_read_copy,
    .close = io_close,
};
