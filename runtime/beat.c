/* See beat.h. */
#include "runtime/beat.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "runtime/process.h"

static const char MAGIC[8] = "isthbt1";

struct beat {
	char magic[8];
	int32_t pid;
	_Atomic uint32_t serving;
	_Atomic uint64_t count;
};

int beat_begin(struct beat **ret, const char *path)
{
	struct beat first = {.pid = process_self()};
	memcpy(first.magic, MAGIC, sizeof(MAGIC));
	unlink(path);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* Written, so that there is memory for it. */
	ssize_t n = pwrite(fd, &first, sizeof(first), 0);
	struct beat *b = MAP_FAILED;
	if (n == (ssize_t)sizeof(first))
		b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int rc = b != MAP_FAILED ? 0 : errno ? -errno : -EIO;
	close(fd);
	if (rc == 0)
		*ret = b;
	return rc;
}

void beat_give(struct beat *b, bool serving)
{
	atomic_store_explicit(&b->serving, serving, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->count, 1, memory_order_relaxed);
}

void beat_end(struct beat *b)
{
	if (b)
		munmap(b, sizeof(*b));
}

int beat_look(const char *path, struct beat_seen *ret)
{
	struct beat b;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = pread(fd, &b, sizeof(b), 0);
	int rc = n < 0 ? -errno : n != (ssize_t)sizeof(b) ? -EINVAL : 0;
	close(fd);
	if (rc == 0 && memcmp(b.magic, MAGIC, sizeof(MAGIC)) != 0)
		rc = -EINVAL;
	if (rc)
		return rc;
	ret->pid = b.pid;
	ret->serving = atomic_load(&b.serving) != 0;
	ret->count = atomic_load(&b.count);
	return 0;
}
