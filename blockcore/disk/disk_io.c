/*
 * The bdev of a disk: passes calls on to what is underneath, counts them, and
 * refuses them once the disk has failed. Called from any reactor; holds no lock.
 */
#include "blockcore/disk/disk_impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

static struct disk *disk_of(struct bdev *b)
{
	struct disk *d = container_of(b, struct disk, io);
	CHECK(d, DISK_MAGIC);
	return d;
}

static void count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* A blank disk is written too: it is being labelled. */
static int enter(struct disk *d)
{
	int state = atomic_load_explicit(&d->state, memory_order_acquire);
	if (state != DISK_ONLINE && state != DISK_BLANK)
		return -EIO;
	atomic_fetch_add_explicit(&d->in_flight, 1, memory_order_relaxed);
	return 0;
}

static int leave(struct disk *d, int rc, _Atomic uint64_t *errors)
{
	atomic_fetch_sub_explicit(&d->in_flight, 1, memory_order_relaxed);
	if (rc)
		count(errors, 1);
	return rc;
}

static int io_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	count(&d->reads, 1);
	count(&d->read_bytes, iov_bytes(iov, iovcnt));
	return leave(d, bdev_readv(d->under, iov, iovcnt, off), &d->read_errors);
}

static int io_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		     unsigned flags)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	count(&d->writes, 1);
	count(&d->write_bytes, iov_bytes(iov, iovcnt));
	return leave(d, bdev_writev(d->under, iov, iovcnt, off, flags), &d->write_errors);
}

static int io_flush(struct bdev *b)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	count(&d->flushes, 1);
	return leave(d, bdev_flush(d->under), &d->write_errors);
}

static int io_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	rc = bdev_discard(d->under, off, len);
	atomic_fetch_sub_explicit(&d->in_flight, 1, memory_order_relaxed);
	return rc;
}

/* Closed with the disk. */
static void io_close(struct bdev *b)
{
}

static const struct bdev_ops disk_io_ops = {
    .readv = io_readv,
    .writev = io_writev,
    .flush = io_flush,
    .discard = io_discard,
    .close = io_close,
};

void disk_io_init(struct disk *d)
{
	d->io.ops = &disk_io_ops;
	d->io.block_size = 512;
	d->io.mem_align = 512;
	snprintf(d->io.name, sizeof(d->io.name), "%.*s", (int)sizeof(d->io.name) - 1, d->path);
	if (!d->under)
		return;
	d->io.size = d->under->size;
	d->io.block_size = d->under->block_size;
	d->io.mem_align = d->under->mem_align;
	d->io.discard_zeroes = d->under->discard_zeroes && d->under->ops->discard;
}
