/*
 * Simulated disks with a volatile write cache (tests/sim/sim_env.h).
 *
 *   current   what a read sees: every write that was completed
 *   stable    what surely survives: writes covered by a flush
 *   unstable  writes issued and not covered yet, each with its bytes
 *
 * A flush covers the writes completed before it was issued. A FUA write is
 * kept in the list as `fua` once completed, so that it is applied after older
 * unstable writes of the same sectors, but never lost.
 */
#include "tests/sim/sim_disk_impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sim_bad {
	TAILQ_ENTRY(sim_bad) link;
	uint64_t off, len;
};

/* A handle. Of a node that has died it lives on until its last call has ended, as the kernel's
 * does. */
struct sim_bdev {
	struct bdev b;
	LIST_ENTRY(sim_bdev) link;
	struct sim_disk *disk;
	struct sim_node *node; /* NULL: the world's */
	uint64_t life;
	unsigned calls; /* under way */
	bool claimed;
};

static bool handle_dead(const struct sim_bdev *h)
{
	return h->node && (sim_node_dead(h->node) || sim_node_life(h->node) != h->life);
}

/* ---- the path of a call ---- */

static bool chance(struct sim_disk *d, unsigned ppm)
{
	return ppm && sim_random_below(d->sim, 1000000) < ppm;
}

/* Waits the disk's latency. -EIO when the power is off, the disk dead, or the handle's process,
 * then or before. */
static int disk_wait(struct sim_disk *d, const struct sim_bdev *h)
{
	struct sim_power *p = sim_power(d->sim);
	if (p->off || d->faults.dead || handle_dead(h))
		return -EIO;
	uint64_t span = d->faults.latency_max_ns - d->faults.latency_min_ns;
	uint64_t ns = d->faults.latency_min_ns + sim_random_below(d->sim, span + 1);
	if (chance(d, d->faults.late_ppm))
		ns += sim_random_below(d->sim, d->faults.late_max_ns);
	env_sleep_ns(sim_env(d->sim), ns);
	while (d->faults.stuck && !p->off && !handle_dead(h))
		waitq_wait(&d->stuck);
	return p->off || d->faults.dead || handle_dead(h) ? -EIO : 0;
}

static bool range_bad(struct sim_disk *d, uint64_t off, uint64_t len)
{
	struct sim_bad *b;
	TAILQ_FOREACH (b, &d->bad, link) {
		if (off < b->off + b->len && b->off < off + len)
			return true;
	}
	return false;
}

/* A written sector is good again: cut it out of the bad ranges. */
static void range_heal(struct sim_disk *d, uint64_t off, uint64_t len)
{
	struct sim_bad *b, *tmp;
	TAILQ_FOREACH_SAFE (b, &d->bad, link, tmp) {
		if (off >= b->off + b->len || b->off >= off + len)
			continue;
		uint64_t end = b->off + b->len;
		if (b->off < off)
			sim_disk_bad_range(d, b->off, off - b->off);
		if (end > off + len)
			sim_disk_bad_range(d, off + len, end - off - len);
		TAILQ_REMOVE(&d->bad, b, link);
		free(b);
	}
}

/* A read that fails leaves anything in its memory. */
static int read_fails(const struct iovec *iov, int iovcnt)
{
	for (int i = 0; i < iovcnt; i++)
		memset(iov[i].iov_base, 0xdb, iov[i].iov_len);
	return -EIO;
}

static int disk_readv(struct sim_disk *d, const struct sim_bdev *h, const struct iovec *iov,
		      int iovcnt, uint64_t off)
{
	int rc = disk_wait(d, h);
	if (rc) /* what a dead process reads into may be another's */
		return handle_dead(h) ? rc : read_fails(iov, iovcnt);
	size_t len = iov_bytes(iov, iovcnt);
	d->stats.reads++;
	d->stats.read_bytes += len;
	if (range_bad(d, off, len) || chance(d, d->faults.read_error_ppm))
		return read_fails(iov, iovcnt);
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, d->current + off, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	return 0;
}

static struct sim_write *write_record(struct sim_disk *d, const struct iovec *iov, int iovcnt,
				      uint64_t off, bool fua)
{
	struct sim_power *p = sim_power(d->sim);
	struct sim_write *w = calloc(1, sizeof(*w));
	ASSERT(w);
	*w = (struct sim_write){.disk = d, .off = off, .fua = fua, .seq = p->issued};
	w->len = (uint32_t)iov_bytes(iov, iovcnt);
	w->data = malloc(w->len ? w->len : 1);
	ASSERT(w->data);
	size_t n = 0;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(w->data + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	TAILQ_INSERT_TAIL(&p->unstable, w, link);
	p->nunstable++;
	sim_disk_touch(d, off, w->len);
	return w;
}

static int disk_writev(struct sim_disk *d, const struct sim_bdev *h, const struct iovec *iov,
		       int iovcnt, uint64_t off, bool fua)
{
	struct sim_power *p = sim_power(d->sim);
	if (p->off || d->faults.dead || handle_dead(h))
		return -EIO;
	p->issued++;
	struct sim_write *w = write_record(d, iov, iovcnt, off, fua);
	if (p->off_at && p->issued >= p->off_at)
		sim_power_off(d->sim);
	int rc = disk_wait(d, h);
	bool died = handle_dead(h) && !d->faults.dead;
	if (died) { /* it was with the kernel: done, in part, or not */
		w->len = sim_write_survives(d->sim, w, SIM_KILL, 0, 0);
		w->fua = false;
		rc = w->len ? 0 : -EIO;
	}
	uint32_t len = w->len;
	if (rc == 0 && !died && chance(d, d->faults.write_error_ppm))
		rc = -EIO;
	if (p->off)
		return -EIO; /* w is part of the frozen state now */
	if (rc) {
		sim_write_free(p, w);
		return rc;
	}
	memcpy(d->current + off, w->data, len);
	w->completed = true;
	d->stats.writes++;
	d->stats.write_bytes += len;
	range_heal(d, off, len);
	return died ? -EIO : 0;
}

static int disk_flush(struct sim_disk *d, const struct sim_bdev *h)
{
	struct sim_power *p = sim_power(d->sim);
	struct sim_write *w, *tmp;
	uint64_t upto = p->issued;
	/* Only what was completed when the flush was issued is covered. */
	size_t n = 0;
	TAILQ_FOREACH (w, &p->unstable, link)
		n += w->disk == d && w->completed;
	struct sim_write **cover = calloc(n ? n : 1, sizeof(*cover));
	uint64_t *seqs = calloc(n ? n : 1, sizeof(*seqs));
	ASSERT(cover && seqs);
	n = 0;
	TAILQ_FOREACH (w, &p->unstable, link) {
		if (w->disk == d && w->completed) {
			cover[n] = w;
			seqs[n++] = w->seq;
		}
	}
	int rc = disk_wait(d, h);
	if (rc == 0 && chance(d, d->faults.flush_error_ppm))
		rc = -EIO;
	if (rc == 0) {
		size_t i = 0;
		TAILQ_FOREACH_SAFE (w, &p->unstable, link, tmp) {
			/* Another flush may have taken some meanwhile. */
			while (i < n && seqs[i] < w->seq)
				i++;
			if (i < n && w == cover[i] && w->seq == seqs[i] && w->seq <= upto) {
				memcpy(d->stable + w->off, w->data, w->len);
				sim_write_free(p, w);
			}
		}
		d->stats.flushes++;
	}
	free(cover);
	free(seqs);
	return rc;
}

/* ---- bdev ops: a disk with its twin, if any ---- */

static struct sim_bdev *begin(struct bdev *b)
{
	struct sim_bdev *h = container_of(b, struct sim_bdev, b);
	h->calls++;
	return h;
}

static int end(struct sim_bdev *h, int rc)
{
	h->calls--;
	return rc;
}

static int sim_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct sim_bdev *h = begin(b);
	struct sim_disk *d = h->disk;
	int rc = disk_readv(d, h, iov, iovcnt, off);
	if (rc && d->twin)
		rc = disk_readv(d->twin, h, iov, iovcnt, off);
	return end(h, rc);
}

static int sim_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		      unsigned flags)
{
	struct sim_bdev *h = begin(b);
	struct sim_disk *d = h->disk;
	int rc = disk_writev(d, h, iov, iovcnt, off, flags & BDEV_FUA);
	if (rc == 0 && d->twin)
		rc = disk_writev(d->twin, h, iov, iovcnt, off, flags & BDEV_FUA);
	return end(h, rc);
}

static int sim_flush(struct bdev *b)
{
	struct sim_bdev *h = begin(b);
	struct sim_disk *d = h->disk;
	int rc = disk_flush(d, h);
	if (rc == 0 && d->twin)
		rc = disk_flush(d->twin, h);
	return end(h, rc);
}

static int sim_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	while (len > 0) {
		uint64_t n = MIN(len, 1024 * 1024);
		void *zeros = calloc(1, n);
		ASSERT(zeros);
		struct iovec iov = {.iov_base = zeros, .iov_len = n};
		int rc = sim_writev(b, &iov, 1, off, 0);
		free(zeros);
		if (rc)
			return rc;
		off += n;
		len -= n;
	}
	return 0;
}

static int sim_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy)
{
	struct sim_bdev *h = begin(b);
	struct sim_disk *d = copy == 1 ? h->disk->twin : h->disk;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	return end(h, copy > 1 || !d ? -ENOENT : disk_readv(d, h, &iov, 1, off));
}

/* Whoever died keeps its claim while a call of its is with the kernel. */
static int sim_claim(struct bdev *b, bool want)
{
	struct sim_bdev *h = container_of(b, struct sim_bdev, b), *o;
	if (want)
		LIST_FOREACH (o, &h->disk->opened, link)
			if (o != h && o->claimed && (!handle_dead(o) || o->calls > 0))
				return -EBUSY;
	h->claimed = want;
	return 0;
}

static void sim_close(struct bdev *b)
{
	struct sim_bdev *sb = container_of(b, struct sim_bdev, b);
	LIST_REMOVE(sb, link);
	free(sb);
}

static const struct bdev_ops sim_disk_ops = {
    .readv = sim_readv,
    .writev = sim_writev,
    .flush = sim_flush,
    .discard = sim_discard,
    .read_copy = sim_read_copy,
    .claim = sim_claim,
    .close = sim_close,
};

/* ---- making and damaging ---- */

struct sim_disk *sim_disk_new(struct sim *s, const char *path, uint64_t size)
{
	struct sim_disk *d = calloc(1, sizeof(*d));
	ASSERT(d && size % SECTOR == 0 && strlen(path) < sizeof(d->path));
	d->sim = s;
	strcpy(d->path, path);
	d->size = size;
	d->current = calloc(1, size);
	d->stable = calloc(1, size);
	ASSERT(d->current && d->stable);
	d->faults.latency_min_ns = 10000;
	d->faults.latency_max_ns = 200000;
	TAILQ_INIT(&d->bad);
	waitq_init(&d->stuck);
	TAILQ_INSERT_TAIL(sim_disks(s), d, link);
	return d;
}

void sim_disks_free(struct sim *s)
{
	sim_frozen_drop(s);
	struct sim_power *p = sim_power(s);
	struct sim_disk *d;
	while (!TAILQ_EMPTY(&p->unstable))
		sim_write_free(p, TAILQ_FIRST(&p->unstable));
	while ((d = TAILQ_FIRST(sim_disks(s)))) {
		struct sim_bad *b;
		TAILQ_REMOVE(sim_disks(s), d, link);
		while ((b = TAILQ_FIRST(&d->bad))) {
			TAILQ_REMOVE(&d->bad, b, link);
			free(b);
		}
		free(d->current);
		free(d->stable);
		free(d->frozen);
		free(d->touched);
		free(d);
	}
}

struct sim_disk *sim_disk_find(struct sim *s, const char *path)
{
	struct sim_disk *d;
	TAILQ_FOREACH (d, sim_disks(s), link) {
		if (strcmp(d->path, path) == 0)
			return d;
	}
	return NULL;
}

struct bdev *sim_disk_open(struct sim_disk *d)
{
	return sim_disk_open_by(d, NULL);
}

struct bdev *sim_disk_open_by(struct sim_disk *d, struct sim_node *n)
{
	struct sim_bdev *sb = calloc(1, sizeof(*sb));
	ASSERT(sb);
	sb->disk = d;
	sb->node = n;
	sb->life = n ? sim_node_life(n) : 0;
	sb->b.ops = &sim_disk_ops;
	sb->b.size = d->size;
	sb->b.block_size = SECTOR;
	sb->b.mem_align = 1;
	strcpy(sb->b.name, d->path);
	sb->b.memory_id = d->memory_id;
	LIST_INSERT_HEAD(&d->opened, sb, link);
	return &sb->b;
}

void sim_disks_wake(struct sim *s)
{
	struct sim_disk *d;
	TAILQ_FOREACH (d, sim_disks(s), link)
		waitq_wake_all(&d->stuck);
}

void sim_disk_memory_set(struct sim_disk *d, uint64_t id)
{
	struct sim_bdev *sb;
	d->memory_id = id;
	LIST_FOREACH (sb, &d->opened, link)
		sb->b.memory_id = id;
}

void sim_disk_memory_known(struct sim_disk *d)
{
	sim_disk_memory_set(d, sim_random(d->sim) | 1);
}

void sim_disk_set_twin(struct sim_disk *d, struct sim_disk *twin)
{
	ASSERT(d->size == twin->size);
	d->twin = twin;
}

uint8_t *sim_disk_bytes(struct sim_disk *d)
{
	return d->current;
}

uint64_t sim_disk_size(const struct sim_disk *d)
{
	return d->size;
}

void sim_disk_bytes_changed(struct sim_disk *d, uint64_t off, uint64_t len)
{
	ASSERT(off + len <= d->size);
	memcpy(d->stable + off, d->current + off, len);
	sim_disk_touch(d, off, len);
}

void sim_disk_set_faults(struct sim_disk *d, const struct sim_disk_faults *f)
{
	d->faults = *f;
	if (d->faults.latency_max_ns < d->faults.latency_min_ns)
		d->faults.latency_max_ns = d->faults.latency_min_ns;
	waitq_wake_all(&d->stuck);
}

void sim_disk_get_faults(const struct sim_disk *d, struct sim_disk_faults *ret)
{
	*ret = d->faults;
}

void sim_disk_bad_range(struct sim_disk *d, uint64_t off, uint64_t len)
{
	struct sim_bad *b = calloc(1, sizeof(*b));
	ASSERT(b);
	b->off = off;
	b->len = len;
	TAILQ_INSERT_HEAD(&d->bad, b, link);
}

void sim_disk_stats(const struct sim_disk *d, struct sim_disk_stats *ret)
{
	*ret = d->stats;
}
