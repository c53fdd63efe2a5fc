/*
 * The bdev of a disk: passes calls on to what is underneath, counts them, and
 * refuses them once the disk has failed. Called from any reactor.
 */
#include "blockcore/disk/disk_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
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

unsigned disk_call_begin(struct disk *d)
{
	uint64_t now = MAX(env_now_ns(d->env), 1);
	unsigned at = atomic_fetch_add_explicit(&d->next_call, 1, memory_order_relaxed);
	for (unsigned i = 0; i < DISK_CALLS; i++) {
		_Atomic uint64_t *slot = &d->began[(at + i) % DISK_CALLS];
		uint64_t none = 0;
		if (atomic_load_explicit(slot, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong(slot, &none, now))
			return (at + i) % DISK_CALLS;
	}
	return DISK_CALLS;
}

void disk_call_end(struct disk *d, unsigned slot)
{
	if (slot < DISK_CALLS)
		atomic_store_explicit(&d->began[slot], 0, memory_order_relaxed);
}

uint64_t disk_waits_ns(const struct disk *d)
{
	uint64_t oldest = UINT64_MAX, now = env_now_ns(d->env);
	for (unsigned i = 0; i < DISK_CALLS; i++) {
		uint64_t t = atomic_load_explicit(&d->began[i], memory_order_relaxed);
		oldest = t ? MIN(oldest, t) : oldest;
	}
	return oldest < now ? now - oldest : 0;
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
	rc = disk_call_rw(d, DISK_CALL_READ, iov, iovcnt, off, 0);
	return leave(d, rc, &d->read_errors);
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
	rc = disk_call_rw(d, DISK_CALL_WRITE, iov, iovcnt, off, flags);
	return leave(d, rc, &d->write_errors);
}

static int io_flush(struct bdev *b)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	count(&d->flushes, 1);
	rc = disk_call_plain(d, DISK_CALL_FLUSH, 0, 0);
	return leave(d, rc, &d->write_errors);
}

static int io_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct disk *d = disk_of(b);
	int rc = enter(d);
	if (rc)
		return rc;
	rc = disk_call_plain(d, DISK_CALL_DISCARD, off, len);
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
	d->io.prompt = d->under->prompt;
	d->io.discard_zeroes = d->under->discard_zeroes && d->under->ops->discard;
}
