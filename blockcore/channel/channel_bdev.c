/*
 * A volume behind a channel as a bdev (runtime/bdev.h).
 *
 *   read_ref   cache pages under hazard slots (these alone: read_ref_try); else a staging
 *              buffer of the users' share filled by a READ; else private memory
 *   readv      copied from cache pages; else through own staging buffers
 *   writev     pieces that lie in staging memory are not copied by the head; others
 *              are copied into own staging buffers
 *
 * Transfers go in pieces of at most CHANNEL_IO_MAX, one after the other.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOL_MAGIC 0x63766f6c
#define SECTOR	  CACHE_SECTOR

/* A place in a list of buffers. */
struct place {
	const struct iovec *iov;
	size_t at;
};

static struct channel_vol *vol_of(struct bdev *b)
{
	struct channel_vol *v = container_of(b, struct channel_vol, b);
	CHECK(v, VOL_MAGIC);
	return v;
}

static size_t place_run(struct place *p, uint8_t **ret)
{
	while (p->at == p->iov->iov_len) {
		p->iov++;
		p->at = 0;
	}
	*ret = (uint8_t *)p->iov->iov_base + p->at;
	return p->iov->iov_len - p->at;
}

static void place_copy(struct place *p, uint8_t *flat, size_t len, bool to_flat)
{
	while (len > 0) {
		uint8_t *run;
		size_t n = MIN(len, place_run(p, &run));
		memcpy(to_flat ? flat : run, to_flat ? run : flat, n);
		flat += n;
		len -= n;
		p->at += n;
	}
}

static int staged(struct channel_vol *v, unsigned op, uint8_t *buf, uint64_t off, size_t len,
		  unsigned copy)
{
	struct channel_sqe q = {.op = (uint8_t)op,
				.copy = (uint16_t)copy,
				.off = off,
				.len = len,
				.staging = (uint32_t)(buf - v->c->staging)};
	return channel_request(v->c, v->route, &q);
}

static int unstaged(struct channel_vol *v, unsigned op, uint64_t off, uint64_t len)
{
	struct channel_sqe q = {.op = (uint8_t)op, .off = off, .len = len};
	return channel_request(v->c, v->route, &q);
}

/* The next piece at the place: how long, and where when it lies in staging memory as a whole. */
static size_t next_piece(struct channel *c, struct place *p, size_t left, uint8_t **ret_staged)
{
	uint8_t *run;
	size_t n = MIN(left, (size_t)CHANNEL_IO_MAX);
	size_t whole = MIN(place_run(p, &run), n) / SECTOR * SECTOR;
	*ret_staged = NULL;
	if (whole && channel_in_staging(c, run, whole)) {
		*ret_staged = run;
		return whole;
	}
	return n;
}

/* ---- reads ---- */

/* True when the piece was in the cache and has been copied. */
static bool read_hit(struct channel_vol *v, struct place *p, uint64_t off, size_t len)
{
	struct bdev_ref ref;
	if (channel_hit(v->c, v->route, off, (uint32_t)len, &ref))
		return false;
	for (int i = 0; i < ref.iovcnt; i++)
		place_copy(p, ref.iov[i].iov_base, ref.iov[i].iov_len, false);
	channel_hit_put(v->c, &ref);
	return true;
}

static int read_copied(struct channel_vol *v, unsigned op, struct place *p, uint64_t off,
		       size_t len, unsigned copy)
{
	uint8_t *buf = channel_staging_own(v->c, len);
	if (!buf)
		return channel_refusal(v->c);
	int rc = staged(v, op, buf, off, len, copy);
	if (rc == 0)
		place_copy(p, buf, len, false);
	channel_staging_put(v->c, buf);
	return rc;
}

static int vol_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct channel_vol *v = vol_of(b);
	struct place p = {.iov = iov};
	size_t left = iov_bytes(iov, iovcnt), n;
	int rc = channel_refusal(v->c);
	for (; left > 0 && rc == 0; left -= n, off += n) {
		uint8_t *direct;
		n = next_piece(v->c, &p, left, &direct);
		if (read_hit(v, &p, off, n))
			continue;
		if (direct) {
			rc = staged(v, CHANNEL_READ, direct, off, n, 0);
			p.at += n;
		} else {
			rc = read_copied(v, CHANNEL_READ, &p, off, n, 0);
		}
	}
	return rc;
}

static int vol_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct channel_vol *v = vol_of(b);
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct place p = {.iov = &iov};
	int rc = 0;
	if (copy > UINT16_MAX)
		return -ENOENT;
	while (len > 0 && rc == 0) {
		size_t n = MIN(len, (size_t)CHANNEL_IO_MAX);
		rc = read_copied(v, CHANNEL_READ_COPY, &p, off, n, copy);
		len -= n;
		off += n;
	}
	return rc;
}

/* Whole sectors around the range into a staging buffer of the users' share. */
static int ref_staged(struct channel_vol *v, uint64_t first, size_t len, uint8_t *buf)
{
	int rc = 0;
	while (len > 0 && rc == 0) {
		size_t n = MIN(len, (size_t)CHANNEL_IO_MAX);
		rc = staged(v, CHANNEL_READ, buf, first, n, 0);
		buf += n;
		first += n;
		len -= n;
	}
	return rc;
}

/* impl_n of references that are no cache pages. */
enum { REF_STAGING = UINT32_MAX, REF_PRIVATE = REF_STAGING - 1 };

static int ref_by_request(struct channel_vol *v, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	uint64_t first = ROUND_DOWN(off, SECTOR), last = ROUND_UP(off + len, (uint64_t)SECTOR);
	size_t n = last - first;
	int rc;
	if (last > v->b.size)
		return -EINVAL;
	void *buf = channel_staging_try_get(v->c, n);
	ret->impl_n = REF_STAGING;
	if (buf) {
		rc = ref_staged(v, first, n, buf);
	} else if (posix_memalign(&buf, 4096, n)) {
		return -ENOMEM;
	} else {
		struct iovec iov = {.iov_base = buf, .iov_len = n};
		ret->impl_n = REF_PRIVATE;
		rc = vol_readv(&v->b, &iov, 1, first);
	}
	ret->impl = buf;
	ret->iov[0] = (struct iovec){.iov_base = (uint8_t *)buf + (off - first), .iov_len = len};
	ret->iovcnt = 1;
	if (rc)
		v->b.ops->ref_put(&v->b, ret);
	return rc;
}

static int vol_read_ref_try(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	struct channel_vol *v = vol_of(b);
	int rc = channel_refusal(v->c);
	if (rc)
		return rc;
	if (len > CHANNEL_IO_MAX)
		return -EINVAL;
	if (len == 0) {
		*ret = (struct bdev_ref){.impl_n = 0};
		return 0;
	}
	return channel_hit(v->c, v->route, off, len, ret);
}

static int vol_read_ref(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret)
{
	int rc = vol_read_ref_try(b, off, len, ret);
	return rc == -EAGAIN ? ref_by_request(vol_of(b), off, len, ret) : rc;
}

static void vol_ref_put(struct bdev *b, struct bdev_ref *ref)
{
	struct channel_vol *v = vol_of(b);
	if (ref->impl_n == REF_STAGING)
		channel_staging_put(v->c, ref->impl);
	else if (ref->impl_n == REF_PRIVATE)
		free(ref->impl);
	else
		channel_hit_put(v->c, ref);
}

/* ---- writes and the rest ---- */

struct write_how {
	unsigned flags;
	uint64_t memory_id; /* when the write was called */
};

static int write_staged(struct channel_vol *v, const uint8_t *buf, uint64_t off, size_t len,
			struct write_how how)
{
	struct channel_sqe q = {.op = CHANNEL_WRITE,
				.flags = (uint8_t)how.flags,
				.off = off,
				.len = len,
				.staging = (uint32_t)(buf - v->c->staging),
				.memory_id = how.memory_id};
	return channel_request(v->c, v->route, &q);
}

static int write_copied(struct channel_vol *v, struct place *p, uint64_t off, size_t len,
			struct write_how how)
{
	uint8_t *buf = channel_staging_own(v->c, len);
	if (!buf)
		return channel_refusal(v->c);
	place_copy(p, buf, len, true);
	int rc = write_staged(v, buf, off, len, how);
	channel_staging_put(v->c, buf);
	return rc;
}

static int vol_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		      unsigned bdev_flags)
{
	struct channel_vol *v = vol_of(b);
	struct place p = {.iov = iov};
	size_t left = iov_bytes(iov, iovcnt), n;
	unsigned fua = bdev_flags & BDEV_FUA ? CHANNEL_FUA : 0;
	struct write_how how = {.flags = fua, .memory_id = b->memory_id};
	if (bdev_flags & BDEV_PREFLUSH)
		how.flags |= CHANNEL_PREFLUSH;
	int rc = 0;
	for (; left > 0 && rc == 0; left -= n, off += n, how.flags = fua) {
		uint8_t *direct;
		n = next_piece(v->c, &p, left, &direct);
		if (direct) {
			rc = write_staged(v, direct, off, n, how);
			p.at += n;
		} else {
			rc = write_copied(v, &p, off, n, how);
		}
	}
	return rc;
}

static int vol_flush(struct bdev *b)
{
	return unstaged(vol_of(b), CHANNEL_FLUSH, 0, 0);
}

static int vol_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	return len ? unstaged(vol_of(b), CHANNEL_DISCARD, off, len) : 0;
}

static void vol_prefetch(struct bdev *b, uint64_t off, uint64_t len)
{
	struct channel_vol *v = vol_of(b);
	uint64_t first = ROUND_DOWN(off, SECTOR);
	struct channel_sqe q = {.op = CHANNEL_PREFETCH, .off = first};
	if (off >= b->size || len == 0)
		return;
	q.len = ROUND_UP(MIN(len, b->size - off) + (off - first), (uint64_t)SECTOR);
	channel_request_hint(v->c, v->route, &q);
}

static void vol_close(struct bdev *b)
{
	struct channel_vol *v = vol_of(b);
	struct channel *c = v->c;
	v->magic = 0;
	TAILQ_REMOVE(&c->vols, v, link);
	channel_volume_closed(c, v->route);
	channel_route_put(c, v->route);
	free(v);
	channel_unref(c);
}

static const struct bdev_ops vol_ops = {
    .readv = vol_readv,
    .writev = vol_writev,
    .flush = vol_flush,
    .discard = vol_discard,
    .read_copy = vol_read_copy,
    .read_ref = vol_read_ref,
    .read_ref_try = vol_read_ref_try,
    .ref_put = vol_ref_put,
    .prefetch = vol_prefetch,
    .close = vol_close,
};

int channel_vol_new(struct channel *c, struct channel_route *route, const char *name, uint64_t size,
		    struct channel_vol **ret)
{
	struct channel_vol *v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->magic = VOL_MAGIC;
	v->c = c;
	v->route = route;
	v->b.ops = &vol_ops;
	v->b.size = size;
	v->b.block_size = SECTOR;
	v->b.mem_align = 1;
	v->b.memory_id = route->memory_id;
	v->b.preflush = true;
	v->b.discard_zeroes = true; /* volume_discard(): reads as zeros from then on */
	snprintf(v->b.name, sizeof(v->b.name), "%s", name);
	channel_ref(c);
	TAILQ_INSERT_TAIL(&c->vols, v, link);
	*ret = v;
	return 0;
}
