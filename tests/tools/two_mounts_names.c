/* Names: who creates first, files that lose their name while open, folders that change. */
#include "tests/tools/two_mounts.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RACES = 21, ENTRIES = 120 };

static unsigned char *won; /* by both processes: RACES of one, then of the other */

static bool race(const struct two_mounts *t, int which)
{
	char name[32];
	bool good = true;
	for (int i = 0; i < RACES; i++) {
		snprintf(name, sizeof(name), "race%d", i);
		const char *path = tm_path(tm_mount(t, which), name);
		int r =
		    i % 3 == 0 ? mkdir(path, 0755) : open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (r >= 0)
			won[which * RACES + i] = 1;
		else
			good &= OK(errno == EEXIST);
		if (r > 0)
			close(r);
	}
	return good;
}

/* O_EXCL and mkdir: of two that create a name one does. */
static void exclusive(const struct two_mounts *t)
{
	char name[32];
	won = mmap(NULL, 2 * RACES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!OK(won != MAP_FAILED))
		return;
	for (int round = 0; round < t->rounds; round++) {
		memset(won, 0, 2 * RACES);
		OK(tm_both(t, race));
		for (int i = 0; i < RACES; i++) {
			OK(won[i] + won[RACES + i] == 1);
			snprintf(name, sizeof(name), "race%d", i);
			const char *p = tm_path(t->a, name);
			OK((i % 3 == 0 ? rmdir(p) : unlink(p)) == 0);
		}
	}
	munmap(won, 2 * RACES);
}

static bool reads(int fd, const char *text)
{
	char got[64] = "";
	ssize_t n = pread(fd, got, sizeof(got) - 1, 0);
	return n == (ssize_t)strlen(text) && strcmp(got, text) == 0;
}

static void make(const char *mount, const char *name, const char *text)
{
	int fd = tm_open(mount, name, O_CREAT | O_TRUNC | O_WRONLY);
	OK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	OK(close(fd) == 0);
}

static bool gone(const char *mount, const char *name)
{
	struct stat st;
	return lstat(tm_path(mount, name), &st) < 0 && errno == ENOENT;
}

/* Names in the folder, "." and ".." left out. */
static int entries(const char *mount)
{
	DIR *d = opendir(mount);
	int n = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	if (d)
		closedir(d);
	return n;
}

/* The client that has it open takes its name away: it stays usable, and leaves nothing. */
static void unlinked_while_open(const struct two_mounts *t)
{
	make(t->a, "open", "kept");
	int fd = tm_open(t->a, "open", O_RDWR);
	OK(unlink(tm_path(t->a, "open")) == 0);
	OK(gone(t->a, "open") && gone(t->b, "open"));
	OK(reads(fd, "kept"));
	OK(pwrite(fd, "more", 4, 4) == 4 && fsync(fd) == 0 && reads(fd, "keptmore"));
	make(t->b, "open", "new"); /* the name is free */
	OK(reads(fd, "keptmore"));
	OK(close(fd) == 0);
	OK(tm_holds(t->a, "open", "new", 3));
	OK(unlink(tm_path(t->a, "open")) == 0);
	OK(entries(t->a) == 0 && entries(t->b) == 0);
}

/* Another client does: version 4's open keeps the file, version 3 knows of none. */
static void unlinked_by_another(const struct two_mounts *t)
{
	char got[8];
	make(t->a, "open", "kept");
	int fd = tm_open(t->a, "open", O_RDWR);
	OK(reads(fd, "kept"));
	OK(unlink(tm_path(t->b, "open")) == 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (t->version >= 40) {
		OK(reads(fd, "kept"));
		OK(pwrite(fd, "more", 4, 4) == 4 && fsync(fd) == 0 && reads(fd, "keptmore"));
		OK(close(fd) == 0);
	} else {
		ssize_t n = pread(fd, got, sizeof(got), 0);
		OK(n == 4 ? memcmp(got, "kept", 4) == 0 : n < 0 && errno == ESTALE);
		close(fd);
	}
	OK(gone(t->a, "open") && entries(t->b) == 0);
}

static void renamed_over_open(const struct two_mounts *t)
{
	for (int by = 0; by < 2; by++) { /* the client that has it open, then another */
		const char *m = tm_mount(t, by);
		make(t->a, "target", "old");
		make(m, "source", "new one");
		int fd = tm_open(t->a, "target", O_RDONLY);
		int moved = tm_open(m, "source", O_RDONLY);
		OK(reads(fd, "old"));
		OK(rename(tm_path(m, "source"), tm_path(m, "target")) == 0);
		OK(gone(t->a, "source") && gone(t->b, "source"));
		OK(tm_holds(t->a, "target", "new one", 7) &&
		   tm_holds(t->b, "target", "new one", 7));
		if (by == 0 || t->version >= 40)
			OK(reads(fd, "old"));
		OK(reads(moved, "new one"));
		close(fd);
		close(moved);
		OK(unlink(tm_path(t->b, "target")) == 0);
		OK(entries(t->a) == 0 && entries(t->b) == 0);
	}
}

/* A folder that another client renames while one works in it. */
static void folders(const struct two_mounts *t)
{
	struct stat st, st2;
	OK(mkdir(tm_path(t->a, "d"), 0755) == 0);
	int dir = tm_open(t->a, "d", O_RDONLY | O_DIRECTORY);
	OK(rename(tm_path(t->b, "d"), tm_path(t->b, "e")) == 0);
	int fd = openat(dir, "inside", O_CREAT | O_EXCL | O_WRONLY, 0640);
	OK(fd >= 0 && close(fd) == 0);
	OK(stat(tm_path(t->b, "e/inside"), &st) == 0 && (st.st_mode & 07777) == 0640);
	REFUSED(rmdir(tm_path(t->b, "e")), ENOTEMPTY);
	OK(mkdir(tm_path(t->b, "f"), 0755) == 0);
	OK(rename(tm_path(t->b, "e"), tm_path(t->b, "f")) == 0); /* onto an empty one */
	OK(mkdir(tm_path(t->b, "g"), 0755) == 0);
	int e = rename(tm_path(t->a, "g"), tm_path(t->a, "f")) < 0 ? errno : 0;
	OK(e == ENOTEMPTY || e == EEXIST);
	REFUSED(rename(tm_path(t->a, "f"), tm_path(t->a, "f/below")), EINVAL);
	OK(link(tm_path(t->a, "f/inside"), tm_path(t->a, "second")) == 0);
	OK(stat(tm_path(t->b, "second"), &st) == 0 && stat(tm_path(t->a, "f/inside"), &st2) == 0);
	OK(st.st_nlink == 2 && st.st_ino == st2.st_ino);
	OK(symlink("f/inside", tm_path(t->a, "soft")) == 0);
	OK(stat(tm_path(t->b, "soft"), &st2) == 0 && st2.st_ino == st.st_ino);
	struct timespec times[2] = {{981173106, 123456789}, {1981173106, 987654321}};
	OK(utimensat(AT_FDCWD, tm_path(t->a, "second"), times, 0) == 0);
	OK(chmod(tm_path(t->a, "second"), 04751) == 0);
	OK(stat(tm_path(t->b, "second"), &st) == 0 && (st.st_mode & 07777) == 04751);
	OK(st.st_mtim.tv_sec == 1981173106 && st.st_mtim.tv_nsec == 987654321);
	close(dir);
	OK(unlink(tm_path(t->b, "soft")) == 0 && unlink(tm_path(t->b, "second")) == 0);
	OK(unlink(tm_path(t->b, "f/inside")) == 0 && rmdir(tm_path(t->b, "f")) == 0);
	OK(rmdir(tm_path(t->a, "g")) == 0 && entries(t->a) == 0);
}

/* One lists while the other removes every second name: none twice, none missed that stays. */
static void list_while_removing(const struct two_mounts *t)
{
	static unsigned char seen[ENTRIES];
	char name[32];
	int i, first = 0;
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		int fd = open(tm_path(t->a, name), O_CREAT | O_EXCL | O_WRONLY, 0600);
		OK(fd >= 0);
		close(fd);
	}
	DIR *d = opendir(t->b);
	if (!OK(d))
		return;
	for (struct dirent *e; (e = readdir(d));) {
		if (sscanf(e->d_name, "n%d", &i) == 1 && i >= 0 && i < ENTRIES)
			OK(!seen[i]++);
		for (; first < ENTRIES; first += 2) {
			snprintf(name, sizeof(name), "n%d", first);
			OK(unlink(tm_path(t->a, name)) == 0);
		}
	}
	closedir(d);
	for (i = 1; i < ENTRIES; i += 2) {
		OK(seen[i]);
		snprintf(name, sizeof(name), "n%d", i);
		OK(unlink(tm_path(t->b, name)) == 0);
	}
	OK(entries(t->a) == 0);
}

void tm_names(const struct two_mounts *t)
{
	exclusive(t);
	unlinked_while_open(t);
	unlinked_by_another(t);
	renamed_over_open(t);
	folders(t);
	list_while_removing(t);
}
