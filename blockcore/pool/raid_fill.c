/*
 * Rebuilding a position onto a disk that takes its place (pool.h).
 *
 * From raid_fill_begin() on the disk gets every write, so what is behind the mark `filled` stays
 * right. The mark goes through the used space once, alone in each region or row: a write that began
 * before the disk was there has ended when its region is reached. Space that comes into use
 * meanwhile is zeroed on all disks first, this one too. At the end the disk is flushed, the stripe
 * log emptied and the position IN; until the metadata says so a restart takes it for OUT and fills
 * again.
 */
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_log.h"
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>

bool raid_disk_fits(const struct raid *p, const struct disk *d)
{
	return pool_disk_large(p, d) && disk_bdev((struct disk *)d)->block_size <= p->io.block_size;
}

int raid_fill_begin(struct raid *p, unsigned position, struct disk *d)
{
	CHECK(p, RAID_MAGIC);
	if (!raid_disk_fits(p, d))
		return -ENOSPC;
	pthread_mutex_lock(&p->lock);
	bool free = position < p->ndisks && !pool_writable(p, position);
	for (unsigned i = 0; i < p->ndisks; i++) /* one disk, one place */
		free = free && !(atomic_load(&p->disks[i]) == d && pool_writable(p, i));
	if (free) {
		disk_set_may_leave(d, true);
		/* Before, for whoever would write the old one's sums to the new one; after, for
		 * whoever read them between. */
		if (p->sums)
			pool_sums_forget(p->sums, position);
		atomic_store(&p->disks[position], d);
		if (p->sums)
			pool_sums_forget(p->sums, position);
		atomic_store(&p->filled[position], 0);
		atomic_store(&p->filling[position], true);
	}
	pthread_mutex_unlock(&p->lock);
	return free ? 0 : -EBUSY;
}

void raid_fill_cancel(struct raid *p, unsigned position)
{
	atomic_store(&p->filling[position], false);
}

bool raid_filling(const struct raid *p, unsigned position)
{
	return position < p->ndisks && atomic_load(&p->filling[position]);
}

void raid_fill_progress(const struct raid *p, uint64_t *ret_done, uint64_t *ret_total)
{
	*ret_done = atomic_load(&p->fill_done);
	*ret_total = atomic_load(&p->fill_total);
}

struct fill {
	struct raid *p;
	unsigned position;
	bool missed;  /* only what stands in the write-intent map */
	uint8_t *buf; /* POOL_REGION */
	uint64_t since;
};

static int write_region(struct fill *f, uint64_t off, uint64_t len)
{
	struct iovec iov = {f->buf, len};
	int rc = pool_copy_writev(f->p, f->position, &iov, 1, off, 0);
	if (pool_disk_error(rc))
		pool_copy_failed(f->p, f->position, "write error", rc);
	return rc;
}

static int fill_region(struct fill *f, unsigned column, uint64_t off, uint64_t len)
{
	struct raid *p = f->p;
	pool_lock_alone(&p->locks, column, off);
	int rc = pool_column_read(p, column, f->buf, off, len);
	if (rc == 0)
		rc = write_region(f, off, len);
	if (rc == 0)
		atomic_store(&p->filled[f->position], off + len);
	pool_unlock_alone(&p->locks, column, off);
	return rc;
}

static int fill_row(struct fill *f, uint64_t row)
{
	struct raid *p = f->p;
	int rc = pool_fill_row(p, row, f->position);
	if (rc == 0)
		atomic_store(&p->filled[f->position], (row + 1) * p->chunk);
	return rc;
}

static bool stopped(const struct fill *f)
{
	return atomic_load(&f->p->resync_stop);
}

/* [off, off + len) of the pool's space. */
static int fill_run(void *arg, uint64_t off, uint64_t len)
{
	struct fill *f = arg;
	struct raid *p = f->p;
	unsigned column = f->position / p->copies;
	struct column_range r = pool_map_column(p, column, off, len);
	uint64_t first = p->parity ? off / stripe_row_bytes(p) * p->chunk : r.off;
	uint64_t end = p->parity
			   ? (off + len + stripe_row_bytes(p) - 1) / stripe_row_bytes(p) * p->chunk
			   : r.off + r.len;
	uint64_t step = p->parity ? p->chunk : POOL_REGION;
	for (uint64_t at = first, n; at < end; at += n) {
		n = MIN(end, ROUND_DOWN(at, step) + step) - at;
		if (stopped(f))
			return -ERR_SHUTDOWN;
		if (!raid_filling(p, f->position))
			return -EIO; /* a write to it failed */
		int rc = p->parity ? fill_row(f, at / p->chunk) : fill_region(f, column, at, n);
		if (rc)
			return rc;
		atomic_fetch_add(&p->fill_done, n);
		pool_pace(p, n, &f->since);
	}
	return 0;
}

static int count_part(void *arg, uint64_t off, uint64_t len)
{
	struct fill *f = arg;
	atomic_fetch_add(&f->p->fill_total, len / f->p->data);
	return 0;
}

static int fill_used(struct fill *f, const struct extent_run *used, size_t nused)
{
	struct raid *p = f->p;
	atomic_store(&p->fill_total, 0);
	atomic_store(&p->fill_done, 0);
	pool_each_part(p, used, nused, !f->missed, count_part, f);
	int rc = pool_each_part(p, used, nused, !f->missed, fill_run, f);
	if (rc == 0 && p->sums)
		rc = pool_sums_write(p->sums, NULL, 0);
	if (rc == 0)
		rc = bdev_flush(disk_bdev(p->disks[f->position]));
	/* Entries of before stand on as many disks as could be lost then. Could one more be lost
	 * with them, a replay would bring back what the entries of other disks say. */
	return rc || !p->log ? rc : pool_log_empty(p, 0);
}

/* The position is IN, and its next loss will have to be recorded again. */
static int fill_end(struct raid *p, unsigned position)
{
	int rc = 0;
	pthread_mutex_lock(&p->lock);
	if (!atomic_load(&p->filling[position])) {
		rc = -EIO;
	} else {
		p->recorded_mask &= ~(1ull << position);
		atomic_store(&p->in[position], true);
		atomic_store(&p->filling[position], false);
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

int raid_fill(struct raid *p, unsigned position, const struct extent_run *used, size_t nused,
	      bool missed)
{
	CHECK(p, RAID_MAGIC);
	struct fill f = {
	    .p = p, .position = position, .missed = missed, .since = env_now_ns(p->env)};
	int rc = posix_memalign((void **)&f.buf, 4096, POOL_REGION) ? -ENOMEM : 0;
	if (rc == 0)
		rc = fill_used(&f, used, nused);
	free(f.buf);
	if (rc == 0)
		rc = fill_end(p, position);
	if (rc == 0)
		atomic_fetch_add(&p->nfilled, 1);
	else
		atomic_store(&p->filling[position], false);
	return rc;
}
