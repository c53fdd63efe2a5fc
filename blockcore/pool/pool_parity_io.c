/*
 * The data path of a parity pool (RAID 5 and 6; geometry in pool_stripe.h).
 *
 * Read: each piece from its own disk, all at once and without a lock. Where a disk is out or
 * cannot read, the piece is decoded from the rest of its row, alone in the row; a disk that is
 * in use gets what it could not read written anew.
 *
 * Write: row by row, rows at once, alone in each. A row is cut into bands, and of a band parity is
 * made in the way that reads least:
 *
 *   full    every data element is written: encode, nothing is read
 *   update  old data of what is written and old parity are read; parity takes the change
 *   recode  the data elements that are not written are read (or decoded), then encode
 *
 * Update carries an error of the row on: it is not used where the row may not be consistent (a
 * resync is needed, somebody asked for another copy of it), nor for zeros: space is zeroed before
 * it is used, and what blank disks held had no parity.
 *
 * Called from any reactor. Allocates nothing: slices have memory made with the pool, and who waits
 * for it holds no memory yet.
 */
#include "runtime/iov_cursor.h"
#include "blockcore/pool/pool_log.h"
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

#define IO_WINDOW   (1024 * 1024ull) /* logical bytes worked on at once */
#define IO_IOV_MAX  256
#define IO_PIECES   (IO_IOV_MAX + FAN_MAX)
#define REPAIR_STEP 4096u

static struct raid *pool_of(struct bdev *b)
{
	struct raid *p = container_of(b, struct raid, io);
	CHECK(p, RAID_MAGIC);
	return p;
}

static void row_lock(struct raid *p, uint64_t row)
{
	pool_lock_alone(&p->locks, 0, row * p->chunk);
}

static void row_unlock(struct raid *p, uint64_t row)
{
	pool_unlock_alone(&p->locks, 0, row * p->chunk);
}

/* ---- rows whose parity is not to be trusted ---- */

void pool_suspect_row(struct raid *p, uint64_t row)
{
	unsigned i = atomic_fetch_add(&p->nsuspect, 1) % POOL_SUSPECTS;
	atomic_store(&p->suspect[i], row + 1);
}

static bool row_suspect(struct raid *p, uint64_t row)
{
	if (atomic_load_explicit(&p->resync_needed, memory_order_relaxed))
		return true;
	if (atomic_load_explicit(&p->nsuspect, memory_order_relaxed) == 0)
		return false;
	for (unsigned i = 0; i < POOL_SUSPECTS; i++)
		if (atomic_load_explicit(&p->suspect[i], memory_order_relaxed) == row + 1)
			return true;
	return false;
}

/* ---- read ---- */

struct piece {
	struct raid *p;
	uint64_t row;
	uint32_t lo, len;
	unsigned elem;
	const struct iovec *iov;
	int n, rc;
};

static void told_repair(struct raid *p, const struct stripe *s, unsigned elem)
{
	unsigned pos = stripe_position(p, s->row, elem);
	atomic_fetch_add(&p->read_repairs, 1);
	event_write(
	    LOG_L_WARN, "pool.read_repaired",
	    "pool %s: disk %s could not read %u bytes at byte %llu; rewritten from the rest "
	    "of its row",
	    p->name, disk_path(p->disks[pos]), s->len,
	    (unsigned long long)(p->data_off + s->row * p->chunk + s->lo));
}

/* Alone in the row. Gives the element's bytes, decoded where they cannot be read. */
static int decode_slice(const struct piece *io, uint32_t lo, uint32_t len, struct iov_cursor *c)
{
	struct stripe s;
	uint64_t bit = 1ull << io->elem;
	stripe_begin(&s, io->p, io->row, lo, len);
	int rc = stripe_load(&s, bit);
	if (rc == 0) {
		iov_scatter(c, s.buf[io->elem], len);
		if ((s.failed & bit) && stripe_write(&s, bit, NULL, BDEV_FUA) == 0)
			told_repair(io->p, &s, io->elem);
	}
	stripe_end(&s);
	return rc;
}

/* Where too much of a slice is bad, each block may still come from what is good there. */
static int decode_blocks(const struct piece *io, uint32_t lo, uint32_t len, struct iov_cursor *c)
{
	uint32_t step = MAX(REPAIR_STEP, io->p->io.block_size), end = lo + len;
	int rc = 0;
	while (lo < end && rc == 0) {
		uint32_t n = MIN(end - lo, step - lo % step);
		rc = decode_slice(io, lo, n, c);
		lo += n;
	}
	return rc;
}

static int decode_piece(const struct piece *io)
{
	struct iov_cursor c = {io->iov, io->n, 0};
	uint32_t end = io->lo + io->len;
	int rc = 0;
	row_lock(io->p, io->row);
	for (uint32_t lo = io->lo, n; lo < end && rc == 0; lo += n) {
		struct iov_cursor before = c;
		n = MIN(end - lo, STRIPE_SLICE);
		rc = decode_slice(io, lo, n, &c);
		if (rc == -ERR_MEDIUM && n > REPAIR_STEP) {
			c = before;
			rc = decode_blocks(io, lo, n, &c);
		}
	}
	row_unlock(io->p, io->row);
	return rc;
}

static void piece_read(void *item)
{
	struct piece *io = item;
	unsigned pos = stripe_position(io->p, io->row, io->elem);
	io->rc = -EIO;
	if (pool_readable(io->p, pos, io->row * io->p->chunk + io->lo + io->len))
		io->rc = pool_copy_checked_readv(io->p, pos, io->iov, io->n,
						 io->row * io->p->chunk + io->lo);
	if (pool_disk_error(io->rc))
		io->rc = decode_piece(io);
}

static struct piece piece_at(struct raid *p, uint64_t off, uint64_t len)
{
	uint64_t k = off / p->chunk, in = off % p->chunk;
	return (struct piece){.p = p,
			      .row = k / p->data,
			      .elem = (unsigned)(k % p->data),
			      .lo = (uint32_t)in,
			      .len = (uint32_t)MIN(len, p->chunk - in)};
}

static int window_read(struct raid *p, struct iov_cursor *c, uint64_t off, uint64_t len)
{
	struct iovec iov[IO_PIECES];
	struct piece io[FAN_MAX];
	unsigned n = 0;
	int used = 0, rc = 0;
	for (uint64_t end = off + len; off < end; off += io[n++].len) {
		io[n] = piece_at(p, off, end - off);
		io[n].iov = iov + used;
		io[n].n = iov_take(c, io[n].len, iov + used, IO_PIECES - used);
		used += io[n].n;
	}
	fan_run(piece_read, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = io[i].rc;
	return rc;
}

/* ---- write ---- */

struct row_write {
	struct raid *p;
	uint64_t row, off, len; /* of the bytes written, in the row */
	struct iov_cursor c;	/* at them; NULL iov: zeros */
	unsigned flags;
	int rc;
};

static void encode(struct stripe *s, const struct stripe_source *src)
{
	struct raid *p = s->p;
	struct iov_cursor c[PARITY_ELEMS];
	struct iovec own[PARITY_ELEMS];
	uint8_t *from[PARITY_ELEMS], *to[PARITY_MAX];
	for (unsigned i = 0; i < p->data; i++) {
		own[i] = (struct iovec){s->buf[i], s->len};
		c[i] = src[i].n ? (struct iov_cursor){src[i].iov, src[i].n, 0}
				: (struct iov_cursor){&own[i], 1, 0};
	}
	for (size_t done = 0, step; done < s->len; done += step) {
		step = s->len - done;
		for (unsigned i = 0; i < p->data; i++) {
			from[i] = (uint8_t *)c[i].iov->iov_base + c[i].skip;
			step = MIN(step, c[i].iov->iov_len - c[i].skip);
		}
		for (unsigned j = 0; j < p->parity; j++)
			to[j] = s->buf[p->data + j] + done;
		parity_encode(p->code, step, from, to);
		for (unsigned i = 0; i < p->data; i++)
			iov_skip(&c[i], step);
	}
	s->loaded |= stripe_parity(p);
}

/* buf[] of what is written holds what is there now, and becomes the change. */
static void update(struct stripe *s, uint64_t written, const struct stripe_source *src)
{
	for (; written; written &= written - 1) {
		unsigned e = (unsigned)__builtin_ctzll(written);
		uint8_t *at = s->buf[e];
		for (int i = 0; i < src[e].n; i++) {
			parity_xor(at, src[e].iov[i].iov_base, src[e].iov[i].iov_len);
			at += src[e].iov[i].iov_len;
		}
		parity_update(s->p->code, s->len, e, s->buf[e], &s->buf[s->p->data]);
	}
}

static int try_update(struct stripe *s, uint64_t written, const struct stripe_source *src)
{
	uint64_t need = written | (stripe_parity(s->p) & ~s->out);
	int rc = stripe_read(s, need);
	if (rc)
		return rc;
	if (need & ~s->loaded)
		return -EAGAIN; /* some of it could not be read */
	update(s, written, src);
	return 0;
}

/*
 * The parity elements of the slice as they are with what is written; in their bufs. fresh: what is
 * there was never written by anybody, and parity need not belong to it.
 */
static int make_parity(struct stripe *s, uint64_t written, const struct stripe_source *src,
		       bool fresh)
{
	struct raid *p = s->p;
	uint64_t rest = stripe_data(p) & ~written, parity = stripe_parity(p) & ~s->out;
	bool may = !((written | parity) & s->bad) && !fresh && !row_suspect(p, s->row);
	int rc = -EAGAIN;
	if (parity == 0)
		return 0;
	if (rest == 0) {
		encode(s, src);
		return 0;
	}
	if (may && ((rest & s->bad) ||
		    __builtin_popcountll(written | parity) < __builtin_popcountll(rest)))
		rc = try_update(s, written, src);
	if (rc != -EAGAIN)
		return rc;
	rc = stripe_load(s, rest);
	if (rc == 0)
		encode(s, src);
	else if (rc == -ERR_MEDIUM && may)
		rc = try_update(s, written, src);
	return rc == -EAGAIN ? -ERR_MEDIUM : rc;
}

/* ---- a row ---- */

static const uint8_t zeros[STRIPE_SLICE] __attribute__((aligned(4096)));

/* Where the new bytes of the elements of a slice lie: the caller's buffers from `c` on, which
 * stands at byte `off` of the row; what is in too many pieces is brought together. */
static void find_sources(struct stripe *s, const struct stripe_band *b, struct iov_cursor c,
			 uint64_t off, struct stripe_source src[PARITY_ELEMS])
{
	for (unsigned e = 0; e < s->p->data; e++) {
		struct iovec *iov = stripe_iov(s, e);
		struct iov_cursor at = c;
		src[e] = (struct stripe_source){iov, 0};
		if (e < b->first || e >= b->end)
			continue;
		if (!c.iov) {
			iov[0] = (struct iovec){(void *)zeros, s->len};
			src[e].n = 1;
			continue;
		}
		iov_skip(&at, (uint64_t)e * s->p->chunk + s->lo - off);
		if (iov_reach(at, STRIPE_IOV, s->len, 1) == s->len) {
			src[e].n = iov_take(&at, s->len, iov, STRIPE_IOV);
		} else {
			iov[0] = (struct iovec){stripe_fresh(s, e), s->len};
			iov_gather(&at, iov[0].iov_base, s->len);
			src[e].n = 1;
		}
	}
}

static int write_slice(struct row_write *w, const struct stripe_band *b, uint32_t lo, uint32_t len)
{
	struct stripe_source src[PARITY_ELEMS];
	struct stripe s;
	uint64_t written = (1ull << b->end) - (1ull << b->first);
	stripe_begin(&s, w->p, w->row, lo, len);
	find_sources(&s, b, w->c, w->off, src);
	for (unsigned j = w->p->data; j < w->p->ndisks; j++)
		src[j] = (struct stripe_source){NULL, 0};
	int rc = make_parity(&s, written, src, !w->c.iov);
	/* What had to be decoded for a disk that is being filled goes there as well: parity counts
	 * on it. */
	uint64_t elems = written | stripe_parity(w->p) | (s.bad & s.loaded);
	if (rc == 0)
		rc = pool_log_begin(&s, elems, src);
	if (rc == 0)
		rc = stripe_write(&s, elems, src, w->flags);
	if (s.logged)
		pool_log_end(w->p);
	stripe_end(&s);
	return rc;
}

static uint32_t slice_width(const struct row_write *w)
{
	return pool_log_wanted(w->p, w->row) ? pool_log_slice(w->p) : STRIPE_SLICE;
}

static void row_write(void *item)
{
	struct row_write *w = item;
	struct stripe_band band[3];
	unsigned n = stripe_bands(w->p, w->off, w->len, band);
	w->rc = 0;
	row_lock(w->p, w->row);
	for (unsigned i = 0; i < n && w->rc == 0; i++)
		for (uint32_t lo = band[i].lo, len; lo < band[i].hi && w->rc == 0; lo += len) {
			len = MIN(band[i].hi - lo, slice_width(w));
			w->rc = write_slice(w, &band[i], lo, len);
			if (w->rc == -E2BIG) { /* to be logged from just now on */
				len = MIN(len, pool_log_slice(w->p));
				w->rc = write_slice(w, &band[i], lo, len);
			}
		}
	row_unlock(w->p, w->row);
}

/* c: the caller's buffers; iov NULL: zeros. */
static int window_write(struct raid *p, struct iov_cursor *c, uint64_t off, uint64_t len,
			unsigned flags)
{
	struct row_write w[FAN_MAX];
	unsigned n = 0;
	int rc = 0;
	for (uint64_t end = off + len, in; off < end; off += w[n++].len) {
		in = off % stripe_row_bytes(p);
		w[n] = (struct row_write){.p = p,
					  .row = off / stripe_row_bytes(p),
					  .off = in,
					  .len = MIN(end - off, stripe_row_bytes(p) - in),
					  .c = *c,
					  .flags = flags};
		iov_skip(c, w[n].len);
	}
	fan_run(row_write, w, sizeof(w[0]), n);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = w[i].rc;
	return rc;
}

/* ---- the whole pool ---- */

/* No more pieces than a fan takes. */
static uint64_t window(const struct raid *p, uint64_t len)
{
	return MIN(len, MIN(IO_WINDOW, (uint64_t)(FAN_MAX - 1) * p->chunk));
}

static int io_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct raid *p = pool_of(b);
	struct iov_cursor c = {iov, iovcnt, 0};
	uint64_t len = iov_bytes(iov, iovcnt);
	struct piece one = piece_at(p, off, len);
	if (one.len == len) {
		one.iov = iov;
		one.n = iovcnt;
		piece_read(&one);
		return one.rc;
	}
	while (len > 0) {
		uint64_t n = iov_reach(c, IO_IOV_MAX, window(p, len), b->block_size);
		if (n == 0)
			return -EINVAL; /* 256 pieces that hold not even one block */
		int rc = window_read(p, &c, off, n);
		if (rc)
			return rc;
		off += n;
		len -= n;
	}
	return 0;
}

int pool_parity_write(struct raid *p, const struct iovec *iov, int iovcnt, uint64_t off,
		      uint64_t len, unsigned flags)
{
	struct iov_cursor c = {iov, iovcnt, 0};
	int rc = 0;
	for (uint64_t n; len > 0 && rc == 0; off += n, len -= n) {
		n = window(p, len);
		rc = window_write(p, &c, off, n, flags);
	}
	return rc ? rc : pool_write_done(p, flags & BDEV_FUA);
}

/* Rows of zeros have zeros for parity, so that whole rows are discarded on every disk alike. */
static int discard_rows(struct raid *p, uint64_t row, uint64_t nrows)
{
	bool logged;
	pool_lock_range(&p->locks, 0, row * p->chunk, nrows * p->chunk);
	int rc = pool_log_begin_zeros(p, row, (uint32_t)nrows, &logged);
	if (rc == 0)
		rc = pool_zero_copies(p, row * p->chunk, nrows * p->chunk);
	if (logged)
		pool_log_end(p);
	pool_unlock_range(&p->locks, 0, row * p->chunk, nrows * p->chunk);
	return rc;
}

int pool_parity_zero(struct raid *p, uint64_t off, uint64_t len)
{
	uint64_t bytes = stripe_row_bytes(p), first = ROUND_UP(off, bytes);
	uint64_t end = ROUND_DOWN(off + len, bytes);
	if (raid_state(p) == POOL_OFFLINE)
		return -EIO;
	if (first >= end)
		return pool_parity_write(p, NULL, 0, off, len, 0);
	int rc = pool_parity_write(p, NULL, 0, off, first - off, 0);
	for (uint64_t n; first < end && rc == 0; first += n * bytes) {
		n = MIN((end - first) / bytes, POOL_LOCK_SLOTS / 4);
		rc = discard_rows(p, first / bytes, n);
	}
	return rc ? rc : pool_parity_write(p, NULL, 0, end, off + len - end, 0);
}

/* Copy 0 is what lies in its place; 1 what P, 2 what Q and the rest of the row make of it. Who asks
 * doubts the row: parity is made anew when it is written next. */
static int read_other(struct piece *io, uint8_t *to, unsigned copy)
{
	struct raid *p = io->p;
	struct stripe s;
	uint64_t bit = 1ull << io->elem;
	stripe_begin(&s, p, io->row, io->lo, io->len);
	s.bad |= bit;
	for (unsigned j = 0; j < p->parity; j++)
		if (j != copy - 1)
			s.bad |= 1ull << (p->data + j);
	int rc = stripe_load(&s, bit);
	if (rc == -ERR_MEDIUM && !s.failed)
		rc = -ENODEV; /* not for a bad block: too many disks are out */
	if (rc == 0)
		memcpy(to, s.buf[io->elem], io->len);
	stripe_end(&s);
	return rc;
}

/* Alone in the row. */
static int read_in_place(struct raid *p, unsigned pos, const struct iovec *iov, uint64_t off)
{
	int rc = pool_copy_checked_readv(p, pos, iov, 1, off);
	if (rc != -ERR_CORRUPT)
		return rc;
	pool_wrong_told(p, pos, off, iov->iov_len);
	return -ERR_MEDIUM;
}

static int io_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct raid *p = pool_of(b);
	int rc = copy > p->parity ? -ENOENT : 0;
	for (size_t done = 0; done < len && rc == 0;) {
		struct piece io = piece_at(p, off + done, MIN(len - done, STRIPE_SLICE));
		unsigned pos = stripe_position(p, io.row, io.elem);
		struct iovec iov = {(char *)buf + done, io.len};
		row_lock(p, io.row);
		if (copy > 0) {
			pool_suspect_row(p, io.row);
			rc = read_other(&io, iov.iov_base, copy);
		} else {
			rc = !atomic_load(&p->in[pos])
				 ? -ENODEV
				 : read_in_place(p, pos, &iov, io.row * p->chunk + io.lo);
		}
		row_unlock(p, io.row);
		done += io.len;
	}
	return rc;
}

/* Freed with the pool. */
static void io_close(struct bdev *b)
{
}

const struct bdev_ops pool_parity_io_ops = {
    .readv = io_readv,
    .writev = pool_io_writev,
    .flush = pool_io_flush,
    .discard = pool_io_discard,
    .read_copy = io_read_copy,
    .close = io_close,
};
