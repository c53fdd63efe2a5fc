/* Locks of bytes between two clients. Locks of open files (OFD) where one process holds those of
 * both clients, locks of processes where one waits, dies, or counts. */
#include "tests/tools/two_mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNTS = 20, PATIENCE = 60 };

static int lock(int fd, int how, short type, off_t start, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	return fcntl(fd, how, &l);
}

static bool held_off(int fd, short type, off_t start, off_t len)
{
	return lock(fd, F_OFD_SETLK, type, start, len) == -1 &&
	       (errno == EAGAIN || errno == EACCES);
}

static void ranges(const struct two_mounts *t)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	int a = tm_open(t->a, "lock", O_CREAT | O_RDWR), b = tm_open(t->b, "lock", O_RDWR);
	OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 100) == 0);
	OK(held_off(b, F_WRLCK, 99, 1) && held_off(b, F_RDLCK, 0, 1));
	OK(fcntl(b, F_OFD_GETLK, &l) == 0 && l.l_type == F_WRLCK);
	OK(l.l_start == 0 && l.l_len == 100);
	OK(lock(b, F_OFD_SETLK, F_WRLCK, 100, 100) == 0 && held_off(a, F_WRLCK, 50, 100));
	OK(lock(a, F_OFD_SETLK, F_RDLCK, 300, 100) == 0 &&
	   lock(b, F_OFD_SETLK, F_RDLCK, 300, 100) == 0);
	OK(held_off(a, F_WRLCK, 300, 100)); /* not while both read */
	OK(lock(b, F_OFD_SETLK, F_UNLCK, 300, 100) == 0 &&
	   lock(a, F_OFD_SETLK, F_WRLCK, 300, 100) == 0);
	OK(held_off(b, F_RDLCK, 399, 1));
	OK(lock(a, F_OFD_SETLK, F_UNLCK, 20, 20) == 0); /* out of the middle */
	OK(lock(b, F_OFD_SETLK, F_WRLCK, 20, 20) == 0);
	OK(held_off(b, F_WRLCK, 19, 1) && held_off(b, F_WRLCK, 40, 1));
	OK(lock(a, F_OFD_SETLK, F_WRLCK, 1000, 0) == 0); /* to the end, wherever that comes */
	OK(held_off(b, F_WRLCK, (off_t)1 << 40, 1));
	OK(close(a) == 0); /* gives up all of its own */
	OK(lock(b, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
	OK(close(b) == 0);
}

/* A child that takes the whole file and says so through the pipe, then waits to be killed. */
static pid_t holder(const char *mount)
{
	int said[2];
	char c;
	if (pipe(said) < 0)
		return -1;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		int fd = open(tm_path(mount, "lock"), O_RDWR);
		if (fd < 0 || lock(fd, F_SETLKW, F_WRLCK, 0, 0) < 0 || write(said[1], "x", 1) != 1)
			_exit(1);
		alarm(PATIENCE);
		for (;;)
			pause();
	}
	close(said[1]);
	OK(read(said[0], &c, 1) == 1);
	close(said[0]);
	return pid;
}

/* Who waits gets it soon after the other gave it up, or died. */
static void waits(const struct two_mounts *t)
{
	for (int i = 0; i < 2; i++) {
		pid_t pid = holder(tm_mount(t, i));
		int fd = tm_open(tm_mount(t, !i), "lock", O_RDWR);
		REFUSED(lock(fd, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
		fflush(NULL);
		pid_t killer = fork();
		if (killer == 0) {
			struct timespec later = {0, 300 * 1000 * 1000};
			nanosleep(&later, NULL);
			_exit(kill(pid, SIGKILL) < 0);
		}
		time_t start = time(NULL);
		OK(lock(fd, F_SETLKW, F_WRLCK, 5, 1) == 0);
		OK(time(NULL) - start < PATIENCE / 2);
		int status;
		OK(waitpid(killer, &status, 0) == killer && status == 0);
		OK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		OK(close(fd) == 0);
	}
}

/* A number in a file, read and written under its lock. */
static bool counts(const struct two_mounts *t, int which)
{
	char text[16];
	int fd = tm_open(tm_mount(t, which), "lock", O_RDWR);
	bool good = fd >= 0;
	for (int i = 0; good && i < COUNTS * t->rounds; i++) {
		int n = -1;
		good = OK(tm_lock(fd)) && OK(pread(fd, text, 10, 0) == 10);
		text[10] = '\0';
		good = good && OK(sscanf(text, "%d", &n) == 1);
		snprintf(text, sizeof(text), "%010d", n + 1);
		good = good && OK(pwrite(fd, text, 10, 0) == 10) && OK(tm_unlock(fd));
	}
	close(fd);
	return good;
}

static void counter(const struct two_mounts *t)
{
	char want[16];
	int fd = tm_open(t->a, "lock", O_RDWR | O_TRUNC);
	OK(write(fd, "0000000000", 10) == 10 && close(fd) == 0);
	OK(tm_both(t, counts));
	snprintf(want, sizeof(want), "%010d", 2 * COUNTS * t->rounds);
	OK(tm_holds(t->a, "lock", want, 10) && tm_holds(t->b, "lock", want, 10));
}

void tm_locks(const struct two_mounts *t)
{
	if (!t->locks)
		return;
	ranges(t);
	waits(t);
	counter(t);
	OK(unlink(tm_path(t->b, "lock")) == 0);
}
