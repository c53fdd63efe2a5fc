/*
 * Disk requests by libuv's thread pool: where io_uring is refused (containers
 * with a seccomp profile) or not wanted. Same requests, same answers.
 */
#include "runtime/disk_io.h"
#include "runtime/check.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static ssize_t execute(const struct disk_io *io)
{
	/* One piece without flags: the plain call is the cheaper one. */
	bool plain = io->iovcnt == 1 && !io->rwf_flags;
	switch (io->op) {
	case DISK_OP_READ:
		return preadv(io->fd, io->iov, io->iovcnt, (off_t)io->off);
	case DISK_OP_WRITE:
		if (plain)
			return pwrite(io->fd, io->iov->iov_base, io->iov->iov_len, (off_t)io->off);
		return pwritev2(io->fd, io->iov, io->iovcnt, (off_t)io->off, io->rwf_flags);
	case DISK_OP_SYNC:
		return fdatasync(io->fd);
	case DISK_OP_PUNCH:
		return fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)io->off,
				 (off_t)io->len);
	}
	errno = EINVAL;
	return -1;
}

void disk_execute(struct disk_io *io)
{
	ssize_t n = execute(io);
	io->res = n < 0 ? -errno : (int)n;
}

static void work(uv_work_t *w)
{
	disk_execute(w->data);
}

static void work_done(uv_work_t *w, int status)
{
	struct disk_io *io = w->data;
	if (status < 0)
		io->res = status;
	io->done = true;
	task_wake(io->task);
}

void disk_threads_run(struct reactor *r, struct disk_io *io)
{
	io->task = task_self();
	io->done = false;
	io->work.data = io;
	int rc = uv_queue_work(reactor_loop(r), &io->work, work, work_done);
	ASSERT(rc == 0); /* fails only without a work function */
	while (!io->done)
		task_park();
}
