/* One request to the kernel and the ways to make it; private to the disk_ files. */
#ifndef ISTHMUS_RUNTIME_DISK_IO_H
#define ISTHMUS_RUNTIME_DISK_IO_H

#include "runtime/reactor_impl.h"
#include <sys/uio.h>

enum disk_op {
	DISK_OP_READ,
	DISK_OP_WRITE,
	DISK_OP_SYNC,  /* fdatasync */
	DISK_OP_PUNCH, /* fallocate: a hole that reads as zeros */
};

/* Lives on the stack of the task that waits for it. */
struct disk_io {
	enum disk_op op;
	int fd;
	const struct iovec *iov;
	int iovcnt; /* at most IOV_MAX */
	uint64_t off;
	uint64_t len;  /* DISK_OP_PUNCH */
	int rwf_flags; /* RWF_DSYNC */

	int res; /* bytes, 0, or -errno */
	bool done;
	struct task *task;
	uv_work_t work;
};

/* Makes the request in this thread, which waits for it; the answer is in io->res. */
void disk_execute(struct disk_io *io);

/* Wait; the answer is in io->res. On the calling task's reactor. */
void disk_uring_run(struct disk_uring *u, struct disk_io *io);
void disk_threads_run(struct reactor *r, struct disk_io *io);

/* The calling reactor's ring, made at the first call; NULL where there is none to be had. */
struct disk_uring *disk_uring_of(struct reactor *r);

#endif
