/*
 * two_mounts A B VERSION [nolock] [ROUNDS]: what programs on two clients of one export see of each
 * other. A and B are folders where the clients mounted it (without a cache of attributes), VERSION
 * is 3, 4.0, 4.1 or 4.2. Works in a folder of its own, which it removes. Counts its checks; exit 0
 * when all held.
 */
#include "tests/tools/two_mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEADLINE = 600 }; /* seconds for all of it */

static struct {
	int held, failed;
} * count; /* shared with children */

bool tm_check(bool holds, const char *file, int line, const char *what)
{
	int error = errno;
	if (holds) {
		__atomic_add_fetch(&count->held, 1, __ATOMIC_RELAXED);
		return true;
	}
	__atomic_add_fetch(&count->failed, 1, __ATOMIC_RELAXED);
	fprintf(stderr, "%s:%d: %s (%s)\n", file, line, what, strerror(error));
	return false;
}

const char *tm_path(const char *mount, const char *name)
{
	static char buf[8][512];
	static unsigned next;
	char *p = buf[next++ % 8];
	snprintf(p, sizeof(buf[0]), "%s/%s", mount, name);
	return p;
}

const char *tm_mount(const struct two_mounts *t, int which)
{
	return which ? t->b : t->a;
}

int tm_open(const char *mount, const char *name, int flags)
{
	int fd = open(tm_path(mount, name), flags, 0644);
	tm_check(fd >= 0, __FILE__, __LINE__, name);
	return fd;
}

bool tm_holds(const char *mount, const char *name, const void *data, size_t size)
{
	char *got = malloc(size + 1);
	int fd = open(tm_path(mount, name), O_RDONLY);
	size_t have = 0;
	ssize_t n = -1;
	while (got && fd >= 0 && (n = read(fd, got + have, size + 1 - have)) > 0)
		have += (size_t)n;
	bool same = n == 0 && have == size && (size == 0 || memcmp(got, data, size) == 0);
	for (size_t i = 0; n == 0 && !same && i < size && i <= have; i++)
		if (i == have || got[i] != ((const char *)data)[i]) {
			fprintf(stderr, "%s: %zu bytes of %zu, other at %zu\n", name, have, size,
				i);
			break;
		}
	if (fd >= 0)
		close(fd);
	free(got);
	return same;
}

void tm_fill(void *data, size_t size, unsigned seed)
{
	unsigned char *p = data;
	unsigned x = seed * 2654435761u + 1;
	for (size_t i = 0; i < size; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (unsigned char)(x >> 24);
	}
}

bool tm_both(const struct two_mounts *t, bool (*part)(const struct two_mounts *, int))
{
	int gate[2];
	pid_t child[2];
	bool good = true;
	if (pipe(gate) < 0)
		return false;
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			char go;
			close(gate[1]);
			(void)!read(gate[0], &go, 1); /* ends when the parent closes it */
			_exit(part(t, i) ? 0 : 1);
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (int i = 0; i < 2; i++) {
		int status = -1;
		if (child[i] < 0 || waitpid(child[i], &status, 0) != child[i] || status != 0)
			good = false;
	}
	return good;
}

bool tm_lock(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	const struct timespec later = {0, 1000 * 1000};
	int r;
	while ((r = fcntl(fd, F_SETLK, &l)) < 0 && (errno == EAGAIN || errno == EACCES))
		nanosleep(&later, NULL);
	return r == 0;
}

bool tm_unlock(int fd)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	return fcntl(fd, F_SETLK, &l) == 0;
}

static int version(const char *text)
{
	static const struct {
		const char *text;
		int version;
	} known[] = {{"3", 30}, {"4.0", 40}, {"4.1", 41}, {"4.2", 42}};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(text, known[i].text) == 0)
			return known[i].version;
	return 0;
}

/* A folder for all of it, as both mounts name it. */
static bool enter(struct two_mounts *t, char folder[2][400], char **argv)
{
	for (int i = 0; i < 2; i++)
		snprintf(folder[i], sizeof(folder[i]), "%s/two_mounts.%d", argv[1 + i],
			 (int)getpid());
	t->a = folder[0];
	t->b = folder[1];
	struct stat st;
	if (mkdir(t->a, 0755) < 0 || stat(t->b, &st) < 0) {
		perror("two_mounts: no folder that both mounts see");
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct two_mounts t = {.rounds = 1, .locks = true};
	char folder[2][400];
	static const struct {
		const char *name;
		void (*run)(const struct two_mounts *);
	} parts[] = {
	    {"names", tm_names}, {"data", tm_data}, {"space", tm_space}, {"locks", tm_locks}};
	if (argc < 4 || !(t.version = version(argv[3]))) {
		fprintf(stderr, "usage: two_mounts A B 3|4.0|4.1|4.2 [nolock] [ROUNDS]\n");
		return 2;
	}
	for (int i = 4; i < argc; i++)
		if (strcmp(argv[i], "nolock") == 0)
			t.locks = false;
		else if ((t.rounds = atoi(argv[i])) < 1)
			return 2;
	count =
	    mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED || !enter(&t, folder, argv))
		return 1;
	alarm(DEADLINE);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int held = count->held, failed = count->failed;
		parts[i].run(&t);
		printf("%s %s: %d checks held, %d failed\n", argv[3], parts[i].name,
		       count->held - held, count->failed - failed);
		fflush(stdout);
	}
	OK(rmdir(t.a) == 0);
	printf("%s: %d checks, %d failed\n", argv[3], count->held + count->failed, count->failed);
	return count->failed || count->held == 0;
}
