/* Holes, blocks set aside, copies and clones by the server, extended attributes: version 4.2 has
 * them, the others are to say that they do not. */
#include "tests/tools/two_mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB, PIECE = 64 * KIB, SIZE = 2 * MIB };

static char model[SIZE];

/* Data at 0 and at 1 MiB, nothing between them nor after. */
static void sparse(const struct two_mounts *t)
{
	struct stat st;
	int fd = tm_open(t->a, "sparse", O_CREAT | O_EXCL | O_RDWR);
	memset(model, 0, SIZE);
	tm_fill(model, PIECE, 1);
	tm_fill(model + MIB, PIECE, 2);
	OK(pwrite(fd, model, PIECE, 0) == PIECE && pwrite(fd, model + MIB, PIECE, MIB) == PIECE);
	OK(ftruncate(fd, SIZE) == 0 && fsync(fd) == 0);
	OK(tm_holds(t->b, "sparse", model, SIZE));
	OK(stat(tm_path(t->b, "sparse"), &st) == 0 && st.st_blocks * 512 < MIB);
	OK(lseek(fd, 0, SEEK_DATA) == 0);
	if (t->version == 42) {
		int b = tm_open(t->b, "sparse", O_RDONLY);
		OK(lseek(b, 0, SEEK_HOLE) == PIECE && lseek(b, PIECE, SEEK_DATA) == MIB);
		OK(lseek(b, MIB, SEEK_HOLE) == MIB + PIECE);
		REFUSED(lseek(b, MIB + PIECE, SEEK_DATA), ENXIO);
		REFUSED(lseek(b, SIZE, SEEK_HOLE), ENXIO);
		close(b);
		const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		OK(fallocate(fd, punch, 10000, 30000) == 0); /* blocks, and parts of two */
		memset(model + 10000, 0, 30000);
		OK(tm_holds(t->b, "sparse", model, SIZE));
		OK(lseek(fd, 0, SEEK_HOLE) > 10000 && lseek(fd, 20000, SEEK_DATA) <= 40000);
		OK(fallocate(fd, punch, SIZE - 10, 20) == 0);
		OK(fallocate(fd, 0, SIZE, MIB) == 0); /* set aside beyond the end: it is longer */
		OK(stat(tm_path(t->b, "sparse"), &st) == 0 && st.st_size == SIZE + MIB);
		OK(st.st_blocks * 512 >= MIB);
		OK(ftruncate(fd, SIZE) == 0);
	} else {
		OK(lseek(fd, 0, SEEK_HOLE) == SIZE);
		REFUSED(fallocate(fd, 0, 0, MIB), EOPNOTSUPP);
		REFUSED(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB),
			EOPNOTSUPP);
	}
	OK(tm_holds(t->b, "sparse", model, SIZE));
	OK(close(fd) == 0);
}

/* The whole range, by as many calls as it takes. */
static bool copied(int from, off_t in, int to, off_t out, size_t n)
{
	while (n > 0) {
		ssize_t k = copy_file_range(from, &in, to, &out, n, 0);
		if (k <= 0)
			return false;
		n -= (size_t)k;
	}
	return true;
}

/* Copies: of odd places, of a file into itself, beyond its end; dirty data goes along. */
static void copies(const struct two_mounts *t)
{
	static char want[SIZE];
	int from = tm_open(t->a, "sparse", O_RDWR);
	int to = tm_open(t->a, "copy", O_CREAT | O_EXCL | O_RDWR);
	tm_fill(model + 100, 5000, 3);
	OK(pwrite(from, model + 100, 5000, 100) == 5000); /* not at the server yet */
	if (t->version < 42 && !copied(from, 0, to, 0, SIZE)) {
		OK(errno == EOPNOTSUPP || errno == EXDEV);
		OK(pwrite(to, model, SIZE, 0) == SIZE);
	} else if (t->version == 42) {
		OK(copied(from, 0, to, 0, SIZE));
	}
	OK(tm_holds(t->a, "copy", model, SIZE));
	memcpy(want, model, SIZE);
	if (t->version == 42) {
		OK(copied(from, MIB + 1, to, 12345, 50000));
		memcpy(want + 12345, model + MIB + 1, 50000);
		OK(copied(to, 12345, to, MIB + 777, 40000)); /* within one file */
		memcpy(want + MIB + 777, want + 12345, 40000);
		off_t in = SIZE - 1000, out = SIZE - 5000;
		OK(copy_file_range(from, &in, to, &out, 9000, 0) == 1000); /* as far as there is */
		memcpy(want + SIZE - 5000, model + SIZE - 1000, 1000);
		in = out = 0;
		REFUSED(copy_file_range(to, &in, to, &out, 100, 0), EINVAL);
	}
	OK(close(to) == 0 && close(from) == 0);
	OK(tm_holds(t->b, "copy", want, SIZE) && tm_holds(t->b, "sparse", model, SIZE));
	OK(unlink(tm_path(t->b, "copy")) == 0);
}

/* Clones part when either is written to. */
static void clones(const struct two_mounts *t)
{
	static char want[SIZE];
	int from = tm_open(t->a, "sparse", O_RDWR);
	int to = tm_open(t->a, "clone", O_CREAT | O_EXCL | O_RDWR);
	if (t->version < 42) {
		OK(ioctl(to, FICLONE, from) < 0 && (errno == EOPNOTSUPP || errno == EXDEV));
	} else {
		OK(ioctl(to, FICLONE, from) == 0);
		OK(tm_holds(t->b, "clone", model, SIZE));
		memcpy(want, model, SIZE);
		tm_fill(want + 3000, 70000, 4);
		OK(pwrite(to, want + 3000, 70000, 3000) == 70000 && fsync(to) == 0);
		tm_fill(model + MIB, 1000, 5);
		OK(pwrite(from, model + MIB, 1000, MIB) == 1000 && fsync(from) == 0);
		OK(tm_holds(t->b, "clone", want, SIZE) && tm_holds(t->b, "sparse", model, SIZE));
		struct file_clone_range part = {from, MIB, PIECE, 4 * PIECE};
		OK(ioctl(to, FICLONERANGE, &part) == 0);
		memcpy(want + 4 * PIECE, model + MIB, PIECE);
		part.src_offset = 100;
		REFUSED(ioctl(to, FICLONERANGE, &part), EINVAL);
		OK(tm_holds(t->b, "clone", want, SIZE));
	}
	OK(close(to) == 0 && close(from) == 0);
	OK(unlink(tm_path(t->b, "clone")) == 0 && unlink(tm_path(t->b, "sparse")) == 0);
}

static void attributes(const struct two_mounts *t)
{
	static char big[32 * KIB], got[64 * KIB];
	close(tm_open(t->a, "x", O_CREAT | O_EXCL | O_WRONLY));
	const char *a = tm_path(t->a, "x"), *b = tm_path(t->b, "x");
	tm_fill(big, sizeof(big), 6);
	if (t->version < 42) {
		REFUSED(setxattr(a, "user.one", "1", 1, 0), EOPNOTSUPP);
		OK(unlink(a) == 0);
		return;
	}
	REFUSED(getxattr(a, "user.one", got, sizeof(got)), ENODATA);
	OK(setxattr(a, "user.one", "first", 5, XATTR_CREATE) == 0);
	OK(getxattr(b, "user.one", got, sizeof(got)) == 5 && memcmp(got, "first", 5) == 0);
	REFUSED(setxattr(b, "user.one", "2", 1, XATTR_CREATE), EEXIST);
	REFUSED(setxattr(b, "user.two", "2", 1, XATTR_REPLACE), ENODATA);
	OK(setxattr(b, "user.one", "", 0, XATTR_REPLACE) == 0);
	OK(getxattr(a, "user.one", got, sizeof(got)) == 0);
	OK(setxattr(b, "user.big", big, sizeof(big), 0) == 0);
	OK(getxattr(a, "user.big", NULL, 0) == sizeof(big));
	REFUSED(getxattr(a, "user.big", got, 100), ERANGE);
	OK(getxattr(a, "user.big", got, sizeof(got)) == sizeof(big) &&
	   memcmp(got, big, sizeof(big)) == 0);
	ssize_t n = listxattr(a, got, sizeof(got));
	OK(n > 0 && memmem(got, (size_t)n, "user.one", 9) && memmem(got, (size_t)n, "user.big", 9));
	OK(removexattr(a, "user.one") == 0 && removexattr(b, "user.big") == 0);
	REFUSED(removexattr(b, "user.one"), ENODATA);
	REFUSED(getxattr(b, "user.big", got, sizeof(got)), ENODATA);
	OK(unlink(b) == 0);
}

void tm_space(const struct two_mounts *t)
{
	sparse(t);
	copies(t);
	clones(t);
	attributes(t);
}
