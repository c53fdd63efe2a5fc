/* See pool_stripe.h. */
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- geometry ---- */

unsigned stripe_position(const struct raid *p, uint64_t row, unsigned elem)
{
	unsigned first = p->ndisks - 1 - (unsigned)(row % p->ndisks); /* P */
	unsigned after = elem < p->data ? p->parity + elem : elem - p->data;
	return (first + after) % p->ndisks;
}

unsigned stripe_bands(const struct raid *p, uint64_t off, uint64_t len, struct stripe_band ret[3])
{
	unsigned a = (unsigned)(off / p->chunk), b = (unsigned)((off + len - 1) / p->chunk);
	uint32_t lo = (uint32_t)(off % p->chunk), hi = (uint32_t)((off + len - 1) % p->chunk) + 1;
	unsigned n = 0;
	if (a == b) {
		ret[n++] = (struct stripe_band){lo, hi, a, a + 1};
		return n;
	}
	/* Element a is written from lo on, b up to hi, what is between them whole. */
	uint32_t low = MIN(lo, hi), high = MAX(lo, hi);
	if (low > 0)
		ret[n++] = (struct stripe_band){0, low, a + 1, b + 1};
	if (lo < hi)
		ret[n++] = (struct stripe_band){lo, hi, a, b + 1};
	else if (lo > hi && a + 1 < b)
		ret[n++] = (struct stripe_band){hi, lo, a + 1, b};
	if (high < p->chunk)
		ret[n++] = (struct stripe_band){high, p->chunk, a, b};
	return n;
}

/* ---- memory ---- */

struct stripe_buf {
	struct stripe_buf *next;
	struct parity_work work;
	uint8_t *bytes; /* ndisks slices, and as many for new bytes */
	struct iovec *iov;
};

struct stripe_bufs {
	pthread_mutex_t lock;
	struct waitq q;
	struct stripe_buf *free, *all;
	unsigned count;
};

int stripe_bufs_new(struct stripe_bufs **ret, unsigned ndisks, unsigned count)
{
	struct stripe_bufs *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	pthread_mutex_init(&b->lock, NULL);
	waitq_init(&b->q);
	if (posix_memalign((void **)&b->all, 64, count * sizeof(*b->all)))
		goto fail;
	for (; b->count < count; b->count++) {
		struct stripe_buf *m = &b->all[b->count];
		m->iov = calloc((size_t)ndisks * STRIPE_IOV, sizeof(*m->iov));
		if (!m->iov)
			goto fail;
		if (posix_memalign((void **)&m->bytes, 4096, 2ull * ndisks * STRIPE_SLICE)) {
			free(m->iov);
			goto fail;
		}
		m->next = b->free;
		b->free = m;
	}
	*ret = b;
	return 0;
fail:
	stripe_bufs_free(b);
	return -ENOMEM;
}

void stripe_bufs_free(struct stripe_bufs *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->count; i++) {
		free(b->all[i].bytes);
		free(b->all[i].iov);
	}
	free(b->all);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static struct stripe_buf *buf_take(struct stripe_bufs *b)
{
	pthread_mutex_lock(&b->lock);
	while (!b->free) {
		struct waiter w;
		waitq_enter(&b->q, &w);
		pthread_mutex_unlock(&b->lock);
		task_park();
		pthread_mutex_lock(&b->lock);
		waitq_leave(&b->q, &w);
	}
	struct stripe_buf *m = b->free;
	b->free = m->next;
	pthread_mutex_unlock(&b->lock);
	return m;
}

static void buf_put(struct stripe_bufs *b, struct stripe_buf *m)
{
	pthread_mutex_lock(&b->lock);
	m->next = b->free;
	b->free = m;
	waitq_wake_one(&b->q);
	pthread_mutex_unlock(&b->lock);
}

/* ---- a slice ---- */

static uint64_t at(const struct stripe *s)
{
	return s->row * s->p->chunk + s->lo;
}

void stripe_begin(struct stripe *s, struct raid *p, uint64_t row, uint32_t lo, uint32_t len)
{
	ASSERT(len <= STRIPE_SLICE && lo + len <= p->chunk);
	s->p = p;
	s->row = row;
	s->lo = lo;
	s->len = len;
	s->bad = s->out = s->failed = s->loaded = 0;
	s->logged = false;
	s->mem = buf_take(p->bufs);
	for (unsigned e = 0; e < p->ndisks; e++) {
		s->buf[e] = s->mem->bytes + (size_t)e * STRIPE_SLICE;
		unsigned pos = stripe_position(p, row, e);
		if (!pool_readable(p, pos, row * p->chunk + lo + len))
			s->bad |= 1ull << e;
		if (!pool_writable(p, pos))
			s->out |= 1ull << e;
	}
}

void stripe_end(struct stripe *s)
{
	buf_put(s->p->bufs, s->mem);
	s->mem = NULL;
}

uint8_t *stripe_fresh(struct stripe *s, unsigned elem)
{
	return s->mem->bytes + (size_t)(s->p->ndisks + elem) * STRIPE_SLICE;
}

struct iovec *stripe_iov(struct stripe *s, unsigned elem)
{
	return s->mem->iov + (size_t)elem * STRIPE_IOV;
}

struct elem_io {
	struct stripe *s;
	unsigned elem, flags;
	struct stripe_source src;
	int rc;
};

static void elem_read(void *item)
{
	struct elem_io *io = item;
	struct stripe *s = io->s;
	struct iovec iov = {s->buf[io->elem], s->len};
	unsigned pos = stripe_position(s->p, s->row, io->elem);
	io->rc = pool_copy_checked_readv(s->p, pos, &iov, 1, at(s));
	if (io->rc == -ERR_CORRUPT)
		pool_wrong_told(s->p, pos, at(s), s->len);
}

static void elem_write(void *item)
{
	struct elem_io *io = item;
	struct stripe *s = io->s;
	struct iovec iov = {s->buf[io->elem], s->len};
	bool own = io->src.n == 0;
	io->rc = pool_copy_writev(s->p, stripe_position(s->p, s->row, io->elem),
				  own ? &iov : io->src.iov, own ? 1 : io->src.n, at(s), io->flags);
}

static unsigned list_elems(struct stripe *s, uint64_t elems, struct elem_io io[PARITY_ELEMS])
{
	unsigned n = 0;
	for (; elems; elems &= elems - 1)
		io[n++] = (struct elem_io){.s = s, .elem = (unsigned)__builtin_ctzll(elems)};
	return n;
}

int stripe_read(struct stripe *s, uint64_t elems)
{
	struct elem_io io[PARITY_ELEMS];
	unsigned n = list_elems(s, elems & ~s->loaded & ~s->bad, io);
	int rc = 0;
	fan_run(elem_read, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n; i++) {
		uint64_t bit = 1ull << io[i].elem;
		if (io[i].rc == 0) {
			s->loaded |= bit;
		} else if (pool_disk_error(io[i].rc)) {
			s->bad |= bit;
			s->failed |= bit;
		} else {
			rc = io[i].rc;
		}
	}
	return rc;
}

int stripe_load(struct stripe *s, uint64_t elems)
{
	int rc = stripe_read(s, elems);
	if (rc || !(elems & ~s->loaded))
		return rc;
	rc = stripe_read(s, stripe_all(s->p));
	if (rc)
		return rc;
	uint64_t want = elems & ~s->loaded;
	if (want && parity_decode(s->p->code, &s->mem->work, s->len, s->loaded, want, s->buf))
		return -ERR_MEDIUM;
	s->loaded |= want;
	return 0;
}

int stripe_write(struct stripe *s, uint64_t elems, const struct stripe_source *src, unsigned flags)
{
	struct elem_io io[PARITY_ELEMS];
	struct raid *p = s->p;
	int rc = 0;
	unsigned n = list_elems(s, elems & ~s->out, io);
	for (unsigned i = 0; i < n; i++) {
		io[i].flags = flags;
		if (src)
			io[i].src = src[io[i].elem];
	}
	fan_run(elem_write, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n; i++) {
		if (io[i].rc == 0)
			continue;
		unsigned pos = stripe_position(p, s->row, io[i].elem);
		if (!pool_disk_error(io[i].rc))
			rc = io[i].rc;
		else
			pool_copy_failed(p, pos, "write error", io[i].rc);
		/* Still in use: the pool cannot spare it, and its part was not written. */
		if (rc == 0 && atomic_load(&p->in[pos]))
			rc = -EIO;
	}
	if (rc == 0 && raid_state(p) == POOL_OFFLINE)
		rc = -EIO;
	return rc;
}
