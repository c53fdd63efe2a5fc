/*
 * The logical space of a pool: requests go to the group they lie in; one that crosses from a group
 * to the next is cut there. Called from any reactor; allocates nothing.
 */
#include "runtime/iov_cursor.h"
#include "blockcore/pool/pool_groups.h"
#include "runtime/fan.h"
#include <errno.h>
#include <stdio.h>

#define PIECES 258 /* of a caller's buffers that are passed on at once, one of them cut in two */

static struct pool *pool_of(struct bdev *b)
{
	struct pool *p = container_of(b, struct pool, io);
	CHECK(p, POOL_MAGIC);
	return p;
}

struct place {
	struct bdev *b;
	uint64_t off, len; /* in it */
};

/* Where `off` lies, and how much of len is there with it. The range is the pool's: bdev.h. */
static struct place find(const struct pool *p, uint64_t off, uint64_t len)
{
	unsigned g = 0, n = pool_groups(p);
	uint64_t extent = off / p->extent_size;
	while (g + 1 < n && extent >= p->first[g + 1])
		g++;
	uint64_t begin = p->first[g] * p->extent_size, end = p->first[g + 1] * p->extent_size;
	return (struct place){raid_bdev(p->group[g]), off - begin, MIN(len, end - off)};
}

static int rw(bool write, const struct place *at, const struct iovec *iov, int n, unsigned flags)
{
	return write ? bdev_writev(at->b, iov, n, at->off, flags)
		     : bdev_readv(at->b, iov, n, at->off);
}

static int space_rw(struct pool *p, bool write, const struct iovec *iov, int iovcnt, uint64_t off,
		    unsigned flags)
{
	uint64_t len = iov_bytes(iov, iovcnt);
	struct place at = find(p, off, len);
	if (at.len == len)
		return rw(write, &at, iov, iovcnt, flags);
	struct iov_cursor c = {iov, iovcnt, 0};
	struct iovec part[PIECES];
	int rc = 0;
	while (len > 0 && rc == 0) {
		at = find(p, off, len);
		at.len = iov_reach(c, PIECES - 1, at.len, p->io.block_size);
		if (at.len == 0)
			return -EINVAL; /* so many pieces that hold not even one block */
		int n = iov_take(&c, at.len, part, PIECES);
		rc = rw(write, &at, part, n, flags);
		off += at.len;
		len -= at.len;
	}
	return rc;
}

static int space_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return space_rw(pool_of(b), false, iov, iovcnt, off, 0);
}

static int space_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
			unsigned flags)
{
	return space_rw(pool_of(b), true, iov, iovcnt, off, flags);
}

static int space_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct pool *p = pool_of(b);
	int rc = 0;
	while (len > 0 && rc == 0) {
		struct place at = find(p, off, len);
		rc = bdev_discard(at.b, at.off, at.len);
		off += at.len;
		len -= at.len;
	}
	return rc;
}

static int space_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct pool *p = pool_of(b);
	uint8_t *to = buf;
	int rc = copy < pool_copies(p) ? 0 : -ENOENT;
	while (len > 0 && rc == 0) {
		struct place at = find(p, off, len);
		rc = bdev_read_copy(at.b, to, at.len, at.off, copy);
		to += at.len;
		off += at.len;
		len -= at.len;
	}
	return rc;
}

struct flush {
	struct raid *r;
	int rc;
};

static void flush_group(void *item)
{
	struct flush *f = item;
	f->rc = bdev_flush(raid_bdev(f->r));
}

static int space_flush(struct bdev *b)
{
	struct pool *p = pool_of(b);
	struct flush f[POOL_GROUPS_MAX];
	unsigned n = pool_groups(p);
	int rc = 0;
	for (unsigned i = 0; i < n; i++)
		f[i] = (struct flush){.r = p->group[i]};
	fan_run(flush_group, f, sizeof(f[0]), n);
	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = f[i].rc;
	return rc;
}

/* Freed with the pool. */
static void space_close(struct bdev *b)
{
}

static const struct bdev_ops space_ops = {
    .readv = space_readv,
    .writev = space_writev,
    .flush = space_flush,
    .discard = space_discard,
    .read_copy = space_read_copy,
    .close = space_close,
};

void pool_space_resize(struct pool *p)
{
	__atomic_store_n(&p->io.size, pool_extents(p) * p->extent_size, __ATOMIC_RELAXED);
}

void pool_space_init(struct pool *p)
{
	struct bdev *b = &p->io;
	const struct bdev *first = raid_bdev(p->group[0]);
	b->ops = &space_ops;
	b->block_size = first->block_size;
	b->mem_align = first->mem_align;
	b->discard_zeroes = true;
	b->stripe = first->stripe; /* all groups have the same shape */
	for (unsigned i = 1; i < pool_groups(p); i++) {
		const struct bdev *g = raid_bdev(p->group[i]);
		b->block_size = MAX(b->block_size, g->block_size);
		b->mem_align = MAX(b->mem_align, g->mem_align);
	}
	snprintf(b->name, sizeof(b->name), "pool %s", p->name);
	pool_space_resize(p);
}

struct bdev *pool_bdev(struct pool *p)
{
	return &p->io;
}
