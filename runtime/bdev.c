/* Range checks and fall-backs in front of every block device (runtime/bdev.h). */
#include "runtime/bdev.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t iov_bytes(const struct iovec *iov, int iovcnt)
{
	size_t n = 0;
	for (int i = 0; i < iovcnt; i++)
		n += iov[i].iov_len;
	return n;
}

static int range_check(const struct bdev *b, uint64_t off, uint64_t len)
{
	if (off % b->block_size || len % b->block_size)
		return -EINVAL;
	uint64_t size = __atomic_load_n(&b->size, __ATOMIC_RELAXED);
	if (off > size || len > size - off)
		return -EINVAL;
	return 0;
}

int bdev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	int rc = range_check(b, off, iov_bytes(iov, iovcnt));
	return rc ? rc : b->ops->readv(b, iov, iovcnt, off);
}

static int flush_before(struct bdev *b)
{
	uint64_t memory = b->memory_id;
	int rc = bdev_flush(b);
	return rc == 0 && b->memory_id != memory ? -ERR_MEDIUM : rc;
}

int bdev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags)
{
	int rc = range_check(b, off, iov_bytes(iov, iovcnt));
	if (rc == 0 && (flags & BDEV_PREFLUSH) && !b->preflush) {
		flags &= ~(unsigned)BDEV_PREFLUSH;
		rc = flush_before(b);
	}
	return rc ? rc : b->ops->writev(b, iov, iovcnt, off, flags);
}

int bdev_read(struct bdev *b, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	return bdev_readv(b, &iov, 1, off);
}

int bdev_write(struct bdev *b, const void *buf, size_t len, uint64_t off, unsigned flags)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	return bdev_writev(b, &iov, 1, off, flags);
}

int bdev_flush(struct bdev *b)
{
	return b->ops->flush(b);
}

int bdev_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	int rc = range_check(b, off, len);
	if (rc)
		return rc;
	return b->ops->discard ? b->ops->discard(b, off, len) : -EOPNOTSUPP;
}

int bdev_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	int rc = range_check(b, off, len);
	if (rc)
		return rc;
	return b->ops->read_copy ? b->ops->read_copy(b, buf, len, off, copy) : -EOPNOTSUPP;
}

static int ref_by_copy(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	uint64_t first = off - off % b->block_size;
	uint64_t end = off + len;
	uint64_t last = (end + b->block_size - 1) / b->block_size * b->block_size;
	void *buf;
	if (end < off || last > b->size)
		return -EINVAL;
	if (posix_memalign(&buf, 4096, last - first ? last - first : 1))
		return -ENOMEM;
	int rc = bdev_read(b, buf, last - first, first);
	if (rc) {
		free(buf);
		return rc;
	}
	ret->iov[0] = (struct iovec){.iov_base = (char *)buf + (off - first), .iov_len = len};
	ret->iovcnt = 1;
	ret->impl = buf;
	return 0;
}

int bdev_read_ref(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	if (off > b->size || len > b->size - off)
		return -EINVAL;
	return b->ops->read_ref ? b->ops->read_ref(b, off, len, ret)
				: ref_by_copy(b, off, len, ret);
}

int bdev_read_ref_try(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	if (off > b->size || len > b->size - off)
		return -EINVAL;
	return b->ops->read_ref_try ? b->ops->read_ref_try(b, off, len, ret) : -EAGAIN;
}

void bdev_ref_put(struct bdev *b, struct bdev_ref *ref)
{
	if (b->ops->read_ref)
		b->ops->ref_put(b, ref);
	else
		free(ref->impl);
	ref->iovcnt = 0;
	ref->impl = NULL;
}

void bdev_prefetch(struct bdev *b, uint64_t off, uint64_t len)
{
	if (b->ops->prefetch)
		b->ops->prefetch(b, off, len);
}

int bdev_check(struct bdev *b, char *why)
{
	return b->ops->check ? b->ops->check(b, why) : 0;
}

int bdev_claim(struct bdev *b, bool want)
{
	return b->ops->claim ? b->ops->claim(b, want) : 0;
}

void bdev_close(struct bdev *b)
{
	if (b)
		b->ops->close(b);
}
