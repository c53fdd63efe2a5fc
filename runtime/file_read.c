/* Reading a file on a thread (file_read.h). */
#include "runtime/file_read.h"
#include "runtime/offload.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_read {
	const char *path;
	size_t max;
	uint8_t *data;
	size_t size;
	uint8_t *sha256;
	int rc;
};

static int read_all(int fd, uint8_t *to, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = read(fd, to + at, size - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO; /* it became shorter meanwhile */
		at += (size_t)n;
	}
	return 0;
}

static int read_open(struct file_read *f, int fd)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return -EINVAL;
	if ((uint64_t)st.st_size > f->max)
		return -EFBIG;
	f->size = (size_t)st.st_size;
	f->data = malloc(f->size);
	int rc = f->data ? read_all(fd, f->data, f->size) : -ENOMEM;
	if (rc == 0 && f->sha256 &&
	    !EVP_Digest(f->data, f->size, f->sha256, NULL, EVP_sha256(), NULL))
		rc = -ENOMEM;
	return rc;
}

static void work(void *arg)
{
	struct file_read *f = arg;
	/* A pipe without a writer would not open otherwise. */
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	f->rc = fd < 0 ? -errno : read_open(f, fd);
	if (fd >= 0)
		close(fd);
}

int file_read_whole(const char *path, size_t max, void **ret, size_t *ret_size, uint8_t *sha256)
{
	struct file_read f = {.path = path, .max = max, .sha256 = sha256};
	offload(work, &f);
	if (f.rc) {
		free(f.data);
		return f.rc;
	}
	*ret = f.data;
	*ret_size = f.size;
	return 0;
}
