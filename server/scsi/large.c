/*
 * Transfers of more than the cache lends at once (CACHE_IO_MAX): they go by memory of their own,
 * piece by piece to and from the cache, for a command that waits for cache pages may hold none.
 *
 * That memory is bounded for all together (LARGE_BUDGET); who finds it used up waits, holding
 * nothing. What a command took is given back when it is released.
 */
#include <errno.h>
#include <stdlib.h>
#include "server/scsi/scsi_priv.h"

static int large_take(struct scsi_cmd *c, uint32_t len)
{
	struct large_budget *b = &c->nexus->registry->large;
	struct waiter w;
	pthread_mutex_lock(&b->lock);
	while (b->used + len > LARGE_BUDGET && !atomic_load(&c->aborted)) {
		waitq_enter(&b->wait, &w);
		pthread_mutex_unlock(&b->lock);
		task_park();
		pthread_mutex_lock(&b->lock);
		waitq_leave(&b->wait, &w);
	}
	bool aborted = atomic_load(&c->aborted);
	if (!aborted) {
		b->used += len;
		c->large = len;
	}
	pthread_mutex_unlock(&b->lock);
	if (aborted)
		return -EBUSY;
	return cmd_heap(c, len) ? 0 : -ENOMEM;
}

void large_give(struct scsi_cmd *c)
{
	struct large_budget *b = &c->nexus->registry->large;
	if (!c->large)
		return;
	pthread_mutex_lock(&b->lock);
	b->used -= c->large;
	waitq_wake_all(&b->wait);
	pthread_mutex_unlock(&b->lock);
	c->large = 0;
}

void large_wake(struct scsi_registry *r)
{
	pthread_mutex_lock(&r->large.lock);
	waitq_wake_all(&r->large.wait);
	pthread_mutex_unlock(&r->large.lock);
}

enum scsi_next large_data_out(struct scsi_cmd *c)
{
	int err = large_take(c, c->len);
	if (err)
		return cmd_error(c, err);
	c->inline_iov = (struct iovec){.iov_base = c->heap, .iov_len = c->len};
	c->out_iov = &c->inline_iov;
	c->out_iovcnt = 1;
	return SCSI_DATA_OUT;
}

/* The error's piece is what c->off then says. */
static int large_each(struct scsi_cmd *c,
		      int (*piece)(struct scsi_cmd *c, uint8_t *data, uint64_t off, uint32_t len))
{
	uint64_t start = c->off;
	int err = 0;
	for (uint32_t done = 0; !err && done < c->len; done += CACHE_IO_MAX) {
		c->off = start + done;
		err = atomic_load(&c->aborted) ? -EBUSY
					       : piece(c, (uint8_t *)c->heap + done, c->off,
						       MIN(c->len - done, CACHE_IO_MAX));
	}
	if (!err)
		c->off = start;
	return err;
}

static int read_piece(struct scsi_cmd *c, uint8_t *data, uint64_t off, uint32_t len)
{
	struct volume *v = lu_volume(c->lu);
	int err = volume_read(v, off, len, &c->io.read);
	if (err)
		return err;
	for (int i = 0; i < c->io.read.n; i++) {
		memcpy(data, c->io.read.iov[i].iov_base, c->io.read.iov[i].iov_len);
		data += c->io.read.iov[i].iov_len;
	}
	volume_read_done(v, &c->io.read);
	return 0;
}

static int write_piece(struct scsi_cmd *c, uint8_t *data, uint64_t off, uint32_t len)
{
	struct volume *v = lu_volume(c->lu);
	if (atomic_load(&c->lu->conditions) & COND_WIPING)
		return -EBUSY;
	int err = volume_write_begin(v, off, len, &c->io.write);
	if (err)
		return err;
	for (int i = 0; i < c->io.write.n; i++) {
		memcpy(c->io.write.iov[i].iov_base, data, c->io.write.iov[i].iov_len);
		data += c->io.write.iov[i].iov_len;
	}
	return volume_write_commit(v, &c->io.write, c->fua);
}

enum scsi_next large_read(struct scsi_cmd *c)
{
	int err = large_take(c, c->len);
	if (!err)
		err = large_each(c, read_piece);
	return err ? cmd_error(c, err) : cmd_data_in(c, c->heap, c->len, c->len);
}

int large_write(struct scsi_cmd *c)
{
	return large_each(c, write_piece);
}
