/*
 * A block device as a task sees it: something that reads, writes and flushes
 * byte ranges aligned to its block size. Files and block devices (io_uring or
 * thread pool), simulated disks, and a head's volumes behind a channel are all
 * this one interface.
 *
 * Ordering: a write is done when the call returns, and readable from then on;
 * it is stable when a later flush has returned (or the write carried BDEV_FUA).
 * Calls in flight at once are not ordered among each other.
 */
#ifndef ISTHMUS_RUNTIME_BDEV_H
#define ISTHMUS_RUNTIME_BDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bdev;

enum bdev_flags {
	BDEV_FUA = 1, /* stable when the call returns */
	/* All writes that returned before the call are stable before anything of this one is
	 * written. -ERR_MEDIUM, nothing is written: memory_id has changed since the call. */
	BDEV_PREFLUSH = 2,
};

#define BDEV_WHY_LEN 128
#define BDEV_REF_IOV 257 /* pieces of one reference: 1 MiB of 4 KiB pages, unaligned */

/* Data held in place for sending; see read_ref. */
struct bdev_ref {
	struct iovec iov[BDEV_REF_IOV];
	int iovcnt;
	void *impl; /* the device's own */
	uint64_t impl_n;
};

struct bdev_ops {
	/* Required. Waits. Any iovec alignment; off and total length in block_size units. 0 or
	 * negative error (-EIO, -ERR_MEDIUM, -ERR_SHUTDOWN, -EINVAL past the end). */
	int (*readv)(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
	/* Required. Waits. The buffers may be reused when it returns. */
	int (*writev)(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		      unsigned flags);
	/* Required. Waits. All writes that returned before the call are stable after it. */
	int (*flush)(struct bdev *b);
	/* Optional. Waits. The range's content may become zeros; space may be given back. */
	int (*discard)(struct bdev *b, uint64_t off, uint64_t len);
	/* Optional. Waits. Reads redundancy copy `copy` (0..) past every cache.
	 * -ENOENT when there is no such copy. */
	int (*read_copy)(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy);
	/* Optional. May wait. Gives the bytes in place without a copy; they neither change nor go
	 * away until ref_put. len at most 1 MiB, any alignment. */
	int (*read_ref)(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret);
	void (*ref_put)(struct bdev *b, struct bdev_ref *ref);
	/* Optional, beside read_ref. Never waits, needs no task: -EAGAIN where read_ref would have
	 * to wait for the bytes. */
	int (*read_ref_try)(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret);
	/* Optional. Hint: will be read soon. Never waits. */
	void (*prefetch)(struct bdev *b, uint64_t off, uint64_t len);
	/* Optional. Is it still what was opened? Short system calls, no I/O. 0, or -ENODEV and
	 * a clause in `why` (BDEV_WHY_LEN): "its file was removed". */
	int (*check)(struct bdev *b, char *why);
	/* Optional. Never waits. Exclusive use of the device for the process, until close() or
	 * until the process has ended and the last of its I/O with it. 0; -EBUSY: another has it.
	 */
	int (*claim)(struct bdev *b, bool want);
	/* Required. Nothing may be in flight. */
	void (*close)(struct bdev *b);
};

struct bdev {
	const struct bdev_ops *ops;
	uint64_t size;	     /* bytes; may grow while in use: stored and loaded atomically then */
	uint32_t block_size; /* bytes: unit of off and len, 512 or 4096 */
	uint32_t mem_align;  /* buffers aligned so are not bounced */
	uint32_t stripe;     /* bytes: aligned ranges of it are written best whole; 0: no matter */
	/* Flushes, and transfers of up to so many bytes, end without waiting for a device (a file
	 * in memory): nobody need be able to leave them behind. 0: none. */
	uint32_t prompt;
	bool preflush;	     /* its writev knows BDEV_PREFLUSH; for others bdev_writev() flushes */
	bool discard_zeroes; /* a discarded range reads as zeros (a hole punched in a file) */
	/* Identity of the volatile memory that keeps what was written and not flushed: while it is
	 * the same as before, nothing that was written is lost. 0: none, or not known. Changes only
	 * while no call is in flight, or before a call reaches the new memory. */
	uint64_t memory_id;
	char name[96];
};

/* Each waits unless said otherwise, and checks range and alignment before calling the device. */
int bdev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off);
int bdev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off, unsigned flags);
int bdev_read(struct bdev *b, void *buf, size_t len, uint64_t off);
int bdev_write(struct bdev *b, const void *buf, size_t len, uint64_t off, unsigned flags);
int bdev_flush(struct bdev *b);
/* -EOPNOTSUPP where the device has no such op. */
int bdev_discard(struct bdev *b, uint64_t off, uint64_t len);
int bdev_read_copy(struct bdev *b, void *buf, size_t len, uint64_t off, unsigned copy);
/* Falls back to a private buffer and readv where the device cannot lend its memory. */
int bdev_read_ref(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret);
/* Never waits. -EAGAIN: bdev_read_ref() is to be asked, also where the device has no such op. */
int bdev_read_ref_try(struct bdev *b, uint64_t off, uint32_t len, struct bdev_ref *ret);
void bdev_ref_put(struct bdev *b, struct bdev_ref *ref);
void bdev_prefetch(struct bdev *b, uint64_t off, uint64_t len);
/* 0 where the device cannot tell. */
int bdev_check(struct bdev *b, char *why);
/* 0 where the device knows no claims. want false: gives it up. */
int bdev_claim(struct bdev *b, bool want);
void bdev_close(struct bdev *b);

/* Sum of the lengths. */
size_t iov_bytes(const struct iovec *iov, int iovcnt);

#endif
