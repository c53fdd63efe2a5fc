/*
 * A file or block device as a bdev (runtime/bdev.h).
 *
 * Two descriptors of one file: `direct` (O_DIRECT, -1 where the file system
 * refuses it) and `buffered`. A request goes
 *   - direct, when its offset and length suit the device; buffers that do not
 *     suit are bounced through aligned ones, BOUNCE_SIZE at a time;
 *   - buffered, otherwise (Linux keeps the two coherent: a direct write drops
 *     the cached pages, a direct read writes them back first).
 * One fdatasync covers both. Short transfers are continued.
 *
 * A file in memory (tmpfs, ramfs) has nothing to wait for: the kernel would hand the request to a
 * thread of its own that copies the bytes, and two switches to it and back cost more than the
 * copy. So short requests for one are made by the reactor's own thread; a task that makes many lets
 * the others run between. Long ones go the way of all, and are copied beside the reactor's work.
 *
 * A file that was cut short while in use is noticed by a read that meets its end, or by
 * file_check(); from then on the part that is gone cannot be read or written.
 *
 * What the kernel calls a disk error comes out as -EIO; -ENOSPC (a sparse file
 * on a full file system) stays, for it says what to do.
 */
#include "runtime/bdev.h"
#include "runtime/disk_io.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/mem_pool.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DISK_FILE_MAGIC 0x6466696c
#define BOUNCE_SIZE	(256 * 1024)
#define BOUNCE_COUNT	8
#define AGAIN_MAX	1000
#define MEMORY_MAX	(64 * 1024)  /* a request that is copied here; longer ones are not */
#define MEMORY_TURN	(256 * 1024) /* copied before others run */

struct disk_file {
	uint32_t magic;
	int direct, buffered;
	uint32_t offset_align; /* of direct requests */
	bool rdonly;
	bool in_memory;
	bool no_punch; /* refused once: not asked again */
	/* Where a file that was cut short ends now, else its size. Nothing is written past it: the
	 * file would grow again, and what was cut off read as zeros. */
	_Atomic uint64_t end;
	char *path;
	struct bdev b;
};

/* Notes where the file ends now. True: before its size. */
static bool file_is_cut(struct disk_file *f)
{
	struct stat st;
	if (fstat(f->buffered, &st) || !S_ISREG(st.st_mode))
		return false;
	uint64_t end = (uint64_t)st.st_size, before = atomic_load(&f->end);
	while (end < before && !atomic_compare_exchange_weak(&f->end, &before, end))
		;
	return atomic_load(&f->end) < f->b.size;
}

static int map_error(int err)
{
	return err == -ENOSPC || err == -EOPNOTSUPP ? err : -EIO;
}

/* A short request for a file in memory is made, and counts as a page at least. */
static bool request_here(const struct disk_file *f, struct reactor *r, struct disk_io *io)
{
	struct reactor_parts *parts = reactor_parts(r);
	if (!f->in_memory || io->op == DISK_OP_PUNCH)
		return false;
	size_t len = io->op == DISK_OP_SYNC ? 0 : iov_bytes(io->iov, io->iovcnt);
	if (len > MEMORY_MAX)
		return false;
	parts->memory_bytes += MAX(len, (size_t)4096);
	if (parts->memory_bytes > MEMORY_TURN) {
		parts->memory_bytes = 0;
		task_yield();
	}
	disk_execute(io);
	return true;
}

/* Makes one request and waits; interrupted ones are made again. Bytes or -errno of the kernel. */
static int request(const struct disk_file *f, struct disk_io *io)
{
	struct reactor *r = reactor_current();
	ASSERT(r && task_self());
	struct disk_uring *u = disk_uring_of(r);
	for (int i = 0; i < AGAIN_MAX; i++) {
		if (request_here(f, r, io))
			;
		else if (u)
			disk_uring_run(u, io);
		else
			disk_threads_run(r, io);
		if (io->res != -EINTR && io->res != -EAGAIN)
			return io->res;
		task_yield();
	}
	return io->res;
}

/* Transfers all of one piece, from `done` bytes on: what is left of an iovec after a short one. */
static int finish_piece(struct disk_file *f, struct disk_io io, struct iovec rest)
{
	io.iov = &rest;
	io.iovcnt = 1;
	while (rest.iov_len > 0) {
		if ((io.off | rest.iov_len) % f->offset_align ||
		    (uintptr_t)rest.iov_base % f->b.mem_align)
			io.fd = f->buffered;
		int n = request(f, &io);
		if (n <= 0)
			return n < 0 ? n : -EIO;
		rest.iov_base = (char *)rest.iov_base + n;
		rest.iov_len -= (size_t)n;
		io.off += (uint64_t)n;
	}
	return 0;
}

/* Transfers everything; the iovecs are never copied, for that a short one ends inside a piece. */
static int transfer(struct disk_file *f, int fd, enum disk_op op, const struct iovec *iov,
		    int iovcnt, uint64_t off, int rwf)
{
	while (iovcnt > 0) {
		struct disk_io io = {.op = op, .fd = fd, .iov = iov, .off = off, .rwf_flags = rwf};
		io.iovcnt = MIN(iovcnt, IOV_MAX);
		size_t want = iov_bytes(iov, io.iovcnt);
		int n = want ? request(f, &io) : 0;
		if (n < 0 || (n == 0 && want))
			return n < 0 ? n : -EIO; /* the file ends before its size */
		off += (uint64_t)n;
		if ((size_t)n == want) {
			iov += io.iovcnt;
			iovcnt -= io.iovcnt;
			continue;
		}
		size_t left = (size_t)n;
		for (; left >= iov->iov_len; iov++, iovcnt--)
			left -= iov->iov_len;
		if (left == 0)
			continue;
		io.off = off;
		struct iovec rest = {.iov_base = (char *)iov->iov_base + left,
				     .iov_len = iov->iov_len - left};
		int rc = finish_piece(f, io, rest);
		if (rc)
			return rc;
		off += iov->iov_len - left;
		iov++;
		iovcnt--;
	}
	return 0;
}

static bool iov_aligned(const struct iovec *iov, int iovcnt, uint32_t align)
{
	uintptr_t all = 0;
	for (int i = 0; i < iovcnt; i++)
		all |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return all % align == 0;
}

/* Copies between a flat buffer and a place in iovecs, moving the place on. */
static void iov_copy(char *flat, size_t len, const struct iovec **iov, size_t *at, bool to_flat)
{
	while (len > 0) {
		size_t n = MIN(len, (*iov)->iov_len - *at);
		char *p = (char *)(*iov)->iov_base + *at;
		if (n)
			memcpy(to_flat ? flat : p, to_flat ? p : flat, n);
		flat += n;
		len -= n;
		*at += n;
		if (*at == (*iov)->iov_len && len > 0) {
			(*iov)++;
			*at = 0;
		}
	}
}

static struct mem_pool *bounce_pool(void)
{
	struct reactor_parts *parts = reactor_parts(reactor_current());
	if (!parts->bounce)
		mem_pool_new(&parts->bounce, "disk-bounce", BOUNCE_SIZE, 4096, BOUNCE_COUNT);
	return parts->bounce;
}

static int transfer_bounced(struct disk_file *f, enum disk_op op, const struct iovec *iov,
			    size_t len, uint64_t off, int rwf)
{
	struct mem_pool *pool = bounce_pool();
	if (!pool)
		return -ENOMEM;
	char *buf = mem_pool_get(pool);
	size_t at = 0;
	int rc = 0;
	while (len > 0 && rc == 0) {
		size_t n = MIN(len, (size_t)BOUNCE_SIZE);
		struct iovec flat = {.iov_base = buf, .iov_len = n};
		if (op == DISK_OP_WRITE)
			iov_copy(buf, n, &iov, &at, true);
		rc = transfer(f, f->direct, op, &flat, 1, off, rwf);
		if (rc == 0 && op == DISK_OP_READ)
			iov_copy(buf, n, &iov, &at, false);
		len -= n;
		off += n;
	}
	mem_pool_put(pool, buf);
	return rc;
}

static int move(struct bdev *b, enum disk_op op, const struct iovec *iov, int iovcnt, uint64_t off,
		int rwf)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	CHECK(f, DISK_FILE_MAGIC);
	size_t len = iov_bytes(iov, iovcnt);
	int rc;
	if (off + len > atomic_load_explicit(&f->end, memory_order_relaxed))
		rc = -EIO;
	else if (f->direct < 0 || (off | len) % f->offset_align)
		rc = transfer(f, f->buffered, op, iov, iovcnt, off, rwf);
	else if (iov_aligned(iov, iovcnt, b->mem_align))
		rc = transfer(f, f->direct, op, iov, iovcnt, off, rwf);
	else
		rc = transfer_bounced(f, op, iov, len, off, rwf);
	if (rc == 0)
		return 0;
	if (op == DISK_OP_READ)
		file_is_cut(f);
	log_error("disk: %s failed path=%s off=%llu len=%zu why=%s",
		  op == DISK_OP_READ ? "read" : "write", b->name, (unsigned long long)off, len,
		  err_name(rc));
	return map_error(rc);
}

static int file_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return move(b, DISK_OP_READ, iov, iovcnt, off, 0);
}

static int file_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off,
		       unsigned flags)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	if (f->rdonly)
		return -ERR_WRITE_PROTECT;
	return move(b, DISK_OP_WRITE, iov, iovcnt, off, flags & BDEV_FUA ? RWF_DSYNC : 0);
}

static int file_flush(struct bdev *b)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	if (f->rdonly)
		return 0;
	struct disk_io io = {.op = DISK_OP_SYNC, .fd = f->buffered};
	int rc = request(f, &io);
	if (rc == 0)
		return 0;
	log_error("disk: flush failed path=%s why=%s", b->name, err_name(rc));
	return map_error(rc);
}

/*
 * Punching a hole makes the range read as zeros on files and block devices both (a device that
 * cannot do so refuses); BLKDISCARD would leave what is read afterwards to the device.
 */
static int file_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	struct disk_io io = {.op = DISK_OP_PUNCH, .fd = f->buffered, .off = off, .len = len};
	if (f->rdonly)
		return -ERR_WRITE_PROTECT;
	if (len == 0)
		return 0;
	if (off + len > atomic_load_explicit(&f->end, memory_order_relaxed))
		return -EIO;
	if (__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED))
		return -EOPNOTSUPP;
	int rc = request(f, &io);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL) {
		__atomic_store_n(&f->no_punch, true, __ATOMIC_RELAXED);
		return -EOPNOTSUPP;
	}
	return rc < 0 ? map_error(rc) : 0;
}

static void file_close(struct bdev *b)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	CHECK(f, DISK_FILE_MAGIC);
	f->magic = 0;
	if (f->direct >= 0)
		close(f->direct);
	close(f->buffered);
	free(f->path);
	free(f);
}

/* The name leads to the file that was opened, and that has all its bytes. */
static int file_check(struct bdev *b, char *why)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	struct stat open, named;
	CHECK(f, DISK_FILE_MAGIC);
	if (fstat(f->buffered, &open))
		return 0; /* says nothing about the disk */
	if (file_is_cut(f))
		snprintf(why, BDEV_WHY_LEN, "its file was cut from %llu to %llu bytes",
			 (unsigned long long)b->size, (unsigned long long)atomic_load(&f->end));
	else if (stat(f->path, &named))
		snprintf(why, BDEV_WHY_LEN, "its file was removed or renamed (%s)",
			 err_text(-errno));
	else if (named.st_dev != open.st_dev || named.st_ino != open.st_ino)
		snprintf(why, BDEV_WHY_LEN, "its name belongs to another file now");
	else
		return 0;
	return -ENODEV;
}

/*
 * One byte for each descriptor that I/O goes through: the kernel gives a byte up when its open file
 * description is gone, and every request in flight holds on to the one it was made with. Who has
 * both bytes knows that nobody else's I/O of this claim is left.
 */
static int lock_byte(int fd, off_t byte, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static int file_claim(struct bdev *b, bool want)
{
	struct disk_file *f = container_of(b, struct disk_file, b);
	int direct = f->direct >= 0 ? f->direct : f->buffered;
	CHECK(f, DISK_FILE_MAGIC);
	if (f->rdonly)
		return want ? -ERR_WRITE_PROTECT : 0;
	int rc = lock_byte(direct, 0, want ? F_WRLCK : F_UNLCK);
	if (rc == 0)
		rc = lock_byte(f->buffered, 1, want ? F_WRLCK : F_UNLCK);
	if (rc && want)
		lock_byte(direct, 0, F_UNLCK);
	return rc;
}

static const struct bdev_ops file_ops = {
    .readv = file_readv,
    .writev = file_writev,
    .flush = file_flush,
    .discard = file_discard,
    .check = file_check,
    .claim = file_claim,
    .close = file_close,
};

/* Does the file take direct requests of this alignment? Asked by reading. */
static bool direct_goes(int fd, uint32_t align)
{
	void *buf;
	if (posix_memalign(&buf, 4096, 8192))
		return false;
	ssize_t n = pread(fd, (char *)buf + (align < 4096 ? align : 0), align, align);
	free(buf);
	return n >= 0;
}

static void find_direct(struct disk_file *f, int flags)
{
	char self[64];
	/* The very file that was opened, also when its name was given to another meanwhile. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->buffered);
	f->direct = open(self, flags | O_DIRECT);
	if (f->direct < 0)
		return;
	f->offset_align = 512;
	f->b.mem_align = 512;
	if (direct_goes(f->direct, 512))
		return;
	f->offset_align = f->b.mem_align = 4096;
	if (direct_goes(f->direct, 4096))
		return;
	close(f->direct);
	f->direct = -1;
}

/* A file of a file system in memory. /dev is one too, but what its devices are is not told so. */
static bool in_memory(int fd)
{
	struct statfs fs;
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int find_size(struct disk_file *f)
{
	struct stat st;
	uint64_t bytes;
	int sector = 512;
	if (fstat(f->buffered, &st))
		return -errno;
	if (S_ISREG(st.st_mode)) {
		f->b.size = ROUND_DOWN((uint64_t)st.st_size, 512);
		f->b.block_size = 512;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	if (ioctl(f->buffered, BLKGETSIZE64, &bytes) || ioctl(f->buffered, BLKSSZGET, &sector))
		return -errno;
	/* Smaller pieces of a 4 KiB sector go through the page cache. */
	f->b.size = ROUND_DOWN(bytes, 4096);
	f->b.block_size = 512;
	return 0;
}

int disk_file_open(const char *path, unsigned env_disk_flags, struct bdev **ret)
{
	bool rdonly = env_disk_flags & ENV_DISK_RDONLY;
	int flags = (rdonly ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	struct disk_file *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->magic = DISK_FILE_MAGIC;
	f->rdonly = rdonly;
	f->direct = -1;
	f->offset_align = 512;
	f->b.ops = &file_ops;
	f->b.mem_align = 1;
	f->b.discard_zeroes = true;
	snprintf(f->b.name, sizeof(f->b.name), "%s", path);
	f->path = strdup(path);
	f->buffered = open(path, flags);
	int rc = f->buffered < 0 ? -errno : f->path ? find_size(f) : -ENOMEM;
	if (rc) {
		if (f->buffered >= 0)
			close(f->buffered);
		free(f->path);
		free(f);
		return rc;
	}
	atomic_store(&f->end, f->b.size);
	f->in_memory = in_memory(f->buffered);
	f->b.prompt = f->in_memory ? MEMORY_MAX : 0;
	find_direct(f, flags);
	*ret = &f->b;
	return 0;
}
