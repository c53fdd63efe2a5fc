/* What parts of two_mounts share: one export, mounted by two clients at the folders `a` and `b`. */
#ifndef TESTS_TOOLS_TWO_MOUNTS_H
#define TESTS_TOOLS_TWO_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct two_mounts {
	const char *a, *b;
	int version; /* 30, 40, 41 or 42 */
	bool locks;  /* the server hears of locks (version 3 without "nolock", all of version 4) */
	int rounds;  /* more of what is random or raced for */
};

/* One check: counted, and told on standard error with errno when it does not hold. */
bool tm_check(bool holds, const char *file, int line, const char *what);
#define OK(what) tm_check((what), __FILE__, __LINE__, #what)
/* The call gives -1 and this errno. */
#define REFUSED(call, error) tm_check((call) == -1 && errno == (error), __FILE__, __LINE__, #call)

/* Path of a name below a mount, in one of eight buffers used in turn. */
const char *tm_path(const char *mount, const char *name);
/* open() of a name with mode 0644; an open that fails counts as a failed check. */
int tm_open(const char *mount, const char *name, int flags);
/* The file's whole content is these bytes, read through an open of its own. */
bool tm_holds(const char *mount, const char *name, const void *data, size_t size);
/* Bytes that depend on seed and place only. */
void tm_fill(void *data, size_t size, unsigned seed);
/* Runs part(t, 0) and part(t, 1) in two processes that begin together; true when both gave true. */
bool tm_both(const struct two_mounts *t, bool (*part)(const struct two_mounts *, int));
const char *tm_mount(const struct two_mounts *t, int which);
/* The whole file's lock, tried again and again: who waits for one of version 4 may wait for
 * seconds. */
bool tm_lock(int fd);
bool tm_unlock(int fd);

void tm_names(const struct two_mounts *t); /* O_EXCL, unlink and rename of open files, folders */
void tm_data(const struct two_mounts *t);  /* append, mmap, O_DIRECT, random writes by turns */
void tm_space(const struct two_mounts *t); /* holes, blocks set aside, copies, clones, xattrs */
void tm_locks(const struct two_mounts *t); /* ranges, waits, deaths, counters under locks */

#endif
