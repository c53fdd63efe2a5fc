/*
 * A plain volume as the cache sees it: extents of a pool in order. Its size is
 * that of its extents (the cache reads whole pages), at least the volume's.
 */
#include "blockcore/volume/volume_impl.h"
#include "runtime/iov_cursor.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define IOV_MAX_PIECES 260 /* of one run: 1 MiB of 4 KiB pages and two cut ones */

static struct volume *volume_of(struct bdev *b)
{
	struct volume *v = container_of(b, struct volume, io);
	CHECK(v, VOLUME_MAGIC);
	return v;
}

struct volume_map *volume_map_new(const struct extent_run *runs, size_t nruns)
{
	struct volume_map *m = calloc(1, sizeof(*m) + nruns * sizeof(m->runs[0]));
	uint64_t logical = 0;
	if (!m)
		return NULL;
	for (size_t i = 0; i < nruns; i++) {
		m->runs[i] = (struct volume_run){logical, runs[i].first, runs[i].count};
		logical += runs[i].count;
	}
	m->n = nruns;
	return m;
}

/* The run that holds a logical extent; NULL past the end. */
static const struct volume_run *find_run(const struct volume_map *m, uint64_t extent)
{
	size_t lo = 0, hi = m->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct volume_run *r = &m->runs[mid];
		if (extent < r->logical)
			hi = mid;
		else if (extent >= r->logical + r->count)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* Where [off, off + len) starts in the pool, and how much of it lies there in one piece. */
static int map_piece(struct volume *v, uint64_t off, uint64_t len, uint64_t *ret_off,
		     uint64_t *ret_len)
{
	uint64_t es = pool_extent_size(v->pool);
	const struct volume_map *m = atomic_load_explicit(&v->map, memory_order_acquire);
	const struct volume_run *r = find_run(m, off / es);
	if (!r)
		return -EINVAL;
	uint64_t in = off - r->logical * es;
	*ret_off = r->first * es + in;
	*ret_len = MIN(len, r->count * es - in);
	return 0;
}

static int rw(struct volume *v, bool write, const struct iovec *iov, int iovcnt, uint64_t off,
	      unsigned flags)
{
	struct bdev *b = pool_bdev(v->pool);
	return write ? bdev_writev(b, iov, iovcnt, off, flags) : bdev_readv(b, iov, iovcnt, off);
}

static int io_rw(struct volume *v, bool write, const struct iovec *iov, int iovcnt, uint64_t off,
		 unsigned flags)
{
	uint64_t len = iov_bytes(iov, iovcnt), at, n;
	if (len == 0)
		return 0;
	int rc = map_piece(v, off, len, &at, &n);
	if (rc || n == len)
		return rc ? rc : rw(v, write, iov, iovcnt, at, flags);
	struct iovec part[IOV_MAX_PIECES];
	struct iov_cursor c = {iov, iovcnt, 0};
	while (len > 0 && rc == 0) {
		rc = map_piece(v, off, len, &at, &n);
		if (rc)
			return rc;
		n = iov_reach(c, IOV_MAX_PIECES - 1, n, v->io.block_size);
		if (n == 0)
			return -EINVAL;
		int cnt = iov_take(&c, n, part, IOV_MAX_PIECES);
		rc = rw(v, write, part, cnt, at, flags);
		off += n;
		len -= n;
	}
	return rc;
}

static int io_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return io_rw(volume_of(b), false, iov, iovcnt, off, 0);
}

static int io_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		     unsigned flags)
{
	return io_rw(volume_of(b), true, iov, iovcnt, off, flags);
}

static int io_flush(struct bdev *b)
{
	return bdev_flush(pool_bdev(volume_of(b)->pool));
}

static int io_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct volume *v = volume_of(b);
	int rc = 0;
	while (len > 0 && rc == 0) {
		uint64_t at, n;
		rc = map_piece(v, off, len, &at, &n);
		if (rc == 0)
			rc = bdev_discard(pool_bdev(v->pool), at, n);
		off += n;
		len -= n;
	}
	return rc;
}

static int io_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct volume *v = volume_of(b);
	char *p = buf;
	int rc = 0;
	while (len > 0 && rc == 0) {
		uint64_t at, n;
		rc = map_piece(v, off, len, &at, &n);
		if (rc)
			break;
		rc = bdev_read_copy(pool_bdev(v->pool), p, n, at, copy);
		p += n;
		off += n;
		len -= n;
	}
	return rc;
}

/* Goes with the volume. */
static void io_close(struct bdev *b)
{
}

static const struct bdev_ops volume_io_ops = {
    .readv = io_readv,
    .writev = io_writev,
    .flush = io_flush,
    .discard = io_discard,
    .read_copy = io_read_copy,
    .close = io_close,
};

void volume_io_set_size(struct volume *v)
{
	const struct volume_map *m = atomic_load(&v->map);
	uint64_t extents = 0;
	for (size_t i = 0; i < m->n; i++)
		extents += m->runs[i].count;
	__atomic_store_n(&v->io.size, extents * pool_extent_size(v->pool), __ATOMIC_RELAXED);
}

void volume_io_init(struct volume *v)
{
	const struct bdev *p = pool_bdev(v->pool);
	v->io.ops = &volume_io_ops;
	v->io.block_size = p->block_size;
	v->io.mem_align = p->mem_align;
	v->io.discard_zeroes = true;
	/* Rows lie in the volume as in the pool where extents are whole rows. */
	if (p->stripe && pool_extent_size(v->pool) % p->stripe == 0)
		v->io.stripe = p->stripe;
	snprintf(v->io.name, sizeof(v->io.name), "volume %s", v->name);
	volume_io_set_size(v);
}
