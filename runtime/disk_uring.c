/*
 * Disk requests by io_uring, one ring a reactor.
 *
 * A request takes a submission entry and parks its task; the reactor hands all
 * entries of a turn to the kernel in one call (disk_uring_submit). Completions
 * are read from the shared queue in every turn, without a system call. Only
 * before it sleeps does the reactor ask for signals on the eventfd that wakes
 * its loop (disk_uring_arm), and looks once more, so none is missed.
 *
 * In flight are at most as many requests as the completion queue holds; those
 * beyond wait in arrival order. So it never overflows.
 */
#include "runtime/disk_io.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define URING_SQ 256
#define URING_CQ 2048

struct disk_uring {
	struct reactor *reactor;
	struct io_uring ring;
	int event_fd;
	struct watch *watch;
	unsigned in_flight; /* with the kernel or queued for it */
	unsigned queued;    /* entries not yet submitted */
	struct waitq full;
};

static void on_event(void *arg, int status, int events)
{
	struct disk_uring *u = arg;
	uint64_t n;
	/* Only clears it: the turn that follows looks at the queue. */
	while (read(u->event_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static int ring_init(struct io_uring *ring)
{
	/* The later flags spare interrupts and locks; kernels before 6.0 do not know them all. */
	static const unsigned tries[] = {
	    IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
	    IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN,
	    IORING_SETUP_CQSIZE,
	};
	int rc = -EINVAL;
	for (unsigned i = 0; rc == -EINVAL && i < ARRAY_LEN(tries); i++) {
		struct io_uring_params p = {.flags = tries[i], .cq_entries = URING_CQ};
		rc = io_uring_queue_init_params(URING_SQ, ring, &p);
		if (rc == 0 && !(p.features & IORING_FEAT_NODROP)) {
			io_uring_queue_exit(ring);
			rc = -ENOSYS;
		}
	}
	return rc;
}

static int uring_new(struct disk_uring **ret, struct reactor *r)
{
	struct disk_uring *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->reactor = r;
	waitq_init(&u->full);
	int rc = ring_init(&u->ring);
	if (rc)
		goto fail_ring;
	u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = u->event_fd < 0 ? -errno : 0;
	if (rc)
		goto fail_event;
	rc = io_uring_register_eventfd(&u->ring, u->event_fd);
	if (rc == 0)
		rc = watch_new(&u->watch, r, u->event_fd, on_event, u);
	if (rc == 0)
		rc = watch_set(u->watch, UV_READABLE);
	if (rc)
		goto fail_watch;
	*ret = u;
	return 0;
fail_watch:
	watch_free(u->watch);
	close(u->event_fd);
fail_event:
	io_uring_queue_exit(&u->ring);
fail_ring:
	free(u);
	return rc;
}

void disk_uring_free(struct disk_uring *u)
{
	if (!u)
		return;
	ASSERT(u->in_flight == 0);
	watch_free(u->watch);
	io_uring_queue_exit(&u->ring);
	close(u->event_fd);
	free(u);
}

struct disk_uring *disk_uring_of(struct reactor *r)
{
	struct reactor_parts *parts = reactor_parts(r);
	if (parts->uring || parts->uring_refused)
		return parts->uring;
	int rc = uring_new(&parts->uring, r);
	if (rc) {
		parts->uring_refused = true;
		log_notice("disk: io_uring refused, using threads reactor=%s why=%s",
			   reactor_name(r), err_name(rc));
	}
	return parts->uring;
}

static void prepare(struct io_uring_sqe *sqe, struct disk_io *io)
{
	switch (io->op) {
	case DISK_OP_READ:
		io_uring_prep_readv(sqe, io->fd, io->iov, (unsigned)io->iovcnt, io->off);
		break;
	case DISK_OP_WRITE:
		io_uring_prep_writev(sqe, io->fd, io->iov, (unsigned)io->iovcnt, io->off);
		sqe->rw_flags = io->rwf_flags;
		break;
	case DISK_OP_SYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case DISK_OP_PUNCH:
		io_uring_prep_fallocate(sqe, io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)io->off, (off_t)io->len);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
}

void disk_uring_run(struct disk_uring *u, struct disk_io *io)
{
	while (u->in_flight >= URING_CQ || !waitq_empty(&u->full)) {
		waitq_wait(&u->full);
		if (u->in_flight < URING_CQ)
			break;
	}
	u->in_flight++;
	struct io_uring_sqe *sqe;
	while (!(sqe = io_uring_get_sqe(&u->ring))) {
		/* The turn's batch is a whole queue already. */
		if (!disk_uring_submit(u))
			task_yield();
	}
	io->task = task_self();
	io->done = false;
	prepare(sqe, io);
	u->queued++;
	while (!io->done)
		task_park();
}

bool disk_uring_submit(struct disk_uring *u)
{
	if (u->queued == 0)
		return true;
	int rc = io_uring_submit(&u->ring);
	if (rc < 0) {
		/* -EAGAIN: no memory this moment; -EBUSY, -EINTR: likewise pass. */
		ASSERT(rc == -EAGAIN || rc == -EBUSY || rc == -EINTR);
		return false;
	}
	u->queued -= MIN((unsigned)rc, u->queued);
	return u->queued == 0;
}

unsigned disk_uring_reap(struct disk_uring *u)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	if (u->in_flight == 0)
		return 0;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		struct disk_io *io = io_uring_cqe_get_data(cqe);
		io->res = cqe->res;
		io->done = true;
		task_wake(io->task);
		n++;
	}
	if (n == 0)
		return 0;
	io_uring_cq_advance(&u->ring, n);
	u->in_flight -= n;
	for (unsigned i = 0; i < n && waitq_wake_one(&u->full); i++)
		;
	return n;
}

bool disk_uring_ready(const struct disk_uring *u)
{
	return u->in_flight > 0 && io_uring_cq_ready(&u->ring) > 0;
}

bool disk_uring_arm(struct disk_uring *u)
{
	if (u->in_flight == 0)
		return true;
	io_uring_cq_eventfd_toggle(&u->ring, true);
	atomic_thread_fence(memory_order_seq_cst);
	return io_uring_cq_ready(&u->ring) == 0;
}

void disk_uring_disarm(struct disk_uring *u)
{
	io_uring_cq_eventfd_toggle(&u->ring, false);
}
