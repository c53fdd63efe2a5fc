/* Content: appends, mapped files, O_DIRECT, and random work by turns against a model in memory. */
#include "tests/tools/two_mounts.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { APPENDS = 20, LINE = 16, MAPPED = 256 << 10, MODEL = 128 << 10, TURNS = 25 };

/* NFS has no append: a client writes where it believes the end is. A lock makes it ask anew. */
static bool append(const struct two_mounts *t, int which)
{
	char line[LINE + 1];
	int fd = tm_open(tm_mount(t, which), "log", O_WRONLY | O_APPEND);
	bool good = fd >= 0;
	for (int i = 0; good && i < APPENDS; i++) {
		snprintf(line, sizeof(line), "%c %013d\n", 'a' + which, i);
		good = OK(tm_lock(fd)) && OK(write(fd, line, LINE) == LINE) && OK(tm_unlock(fd));
	}
	close(fd);
	return good;
}

/* Without locks: one after the other, each with an open of its own. */
static void append_by_turns(const struct two_mounts *t)
{
	char line[LINE + 1];
	for (int i = 0; i < 2 * APPENDS; i++) {
		int fd = tm_open(tm_mount(t, i % 2), "log", O_WRONLY | O_APPEND);
		snprintf(line, sizeof(line), "%c %013d\n", 'a' + i % 2, i / 2);
		OK(write(fd, line, LINE) == LINE && close(fd) == 0);
	}
}

static void appends(const struct two_mounts *t)
{
	static char got[2 * APPENDS * LINE + 1];
	char line[LINE + 1];
	int next[2] = {0, 0};
	close(tm_open(t->a, "log", O_CREAT | O_EXCL | O_WRONLY));
	if (t->locks)
		OK(tm_both(t, append));
	else
		append_by_turns(t);
	int fd = tm_open(t->b, "log", O_RDONLY);
	OK(read(fd, got, sizeof(got)) == 2 * APPENDS * LINE);
	close(fd);
	for (int i = 0; i < 2 * APPENDS; i++) {
		const char *at = got + (size_t)i * LINE;
		int which = at[0] == 'b';
		snprintf(line, sizeof(line), "%c %013d\n", 'a' + which, next[which]++);
		if (!OK(memcmp(at, line, LINE) == 0))
			break;
	}
	OK(unlink(tm_path(t->a, "log")) == 0);
}

static void *map(int fd, int flags)
{
	void *p = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, flags, fd, 0);
	return OK(p != MAP_FAILED) ? p : NULL;
}

/* What one writes into a mapping the other reads, both ways, by read() and by a mapping. */
static void mapped(const struct two_mounts *t)
{
	static char model[MAPPED];
	int a = tm_open(t->a, "map", O_CREAT | O_EXCL | O_RDWR);
	OK(ftruncate(a, MAPPED - 100) == 0); /* its last page in part */
	char *p = map(a, MAP_SHARED);
	if (!p)
		return;
	memset(model, 0, MAPPED);
	for (size_t at = 1000; at < MAPPED - 9000; at += 20011) { /* across pages */
		tm_fill(model + at, 7000, (unsigned)at);
		memcpy(p + at, model + at, 7000);
	}
	OK(msync(p, MAPPED, MS_SYNC) == 0);
	OK(tm_holds(t->b, "map", model, MAPPED - 100));
	int b = tm_open(t->b, "map", O_RDWR);
	char *q = map(b, MAP_SHARED);
	OK(q && memcmp(q, model, MAPPED - 100) == 0);
	OK(q && q[MAPPED - 1] == 0);
	char *own = map(b, MAP_PRIVATE);
	if (!q || !own)
		return;
	memset(own, 'x', 5000); /* nobody else's */
	tm_fill(q + 50000, 30000, 7);
	tm_fill(model + 50000, 30000, 7);
	OK(munmap(q, MAPPED) == 0 && munmap(own, MAPPED) == 0 && close(b) == 0);
	OK(munmap(p, MAPPED) == 0 && close(a) == 0);
	OK(tm_holds(t->a, "map", model, MAPPED - 100));
	a = tm_open(t->a, "map", O_RDWR);
	p = map(a, MAP_SHARED);
	OK(p && memcmp(p, model, MAPPED - 100) == 0);
	/* Written through the mapping, read by read() of the same client, without msync. */
	char got[16];
	if (p)
		memcpy(p + 4090, "by the mapping", 14);
	OK(pread(a, got, 14, 4090) == 14 && memcmp(got, "by the mapping", 14) == 0);
	OK(pwrite(a, "by write", 8, 8190) == 8 && p && memcmp(p + 8190, "by write", 8) == 0);
	OK(p && munmap(p, MAPPED) == 0 && close(a) == 0);
	OK(unlink(tm_path(t->b, "map")) == 0);
}

/* O_DIRECT at odd places, beside the cache of the other. */
static void direct(const struct two_mounts *t)
{
	static char model[MODEL] __attribute__((aligned(4096)));
	static char got[MODEL] __attribute__((aligned(4096)));
	tm_fill(model, MODEL, 99);
	int a = tm_open(t->a, "direct", O_CREAT | O_EXCL | O_RDWR | O_DIRECT);
	OK(pwrite(a, model, MODEL, 0) == MODEL);
	OK(tm_holds(t->b, "direct", model, MODEL));
	for (size_t at = 512; at + 12345 < MODEL; at += 30001) {
		tm_fill(model + at, 12345, (unsigned)at);
		OK(pwrite(a, model + at, 12345, (off_t)at) == 12345);
	}
	int b = tm_open(t->b, "direct", O_RDONLY | O_DIRECT);
	OK(pread(b, got, MODEL, 0) == MODEL && memcmp(got, model, MODEL) == 0);
	OK(pread(b, got, 5000, 777) == 5000 && memcmp(got, model + 777, 5000) == 0);
	OK(pread(b, got, 4096, MODEL - 10) == 10 && pread(b, got, 4096, MODEL) == 0);
	close(a);
	close(b);
	OK(tm_holds(t->b, "direct", model, MODEL));
	OK(unlink(tm_path(t->b, "direct")) == 0);
}

static char model[MODEL];
static size_t model_size;

static void change(int fd, bool append_open)
{
	static char data[MODEL];
	size_t at = (size_t)rand() % (MODEL - 1), n = 1 + (size_t)rand() % 9000;
	if (append_open)
		at = model_size;
	if (at + n > MODEL)
		n = MODEL - at;
	if (n == 0)
		return;
	tm_fill(data, n, (unsigned)rand());
	OK((append_open ? write(fd, data, n) : pwrite(fd, data, n, (off_t)at)) == (ssize_t)n);
	memcpy(model + at, data, n);
	if (at + n > model_size)
		model_size = at + n;
}

static void resize(int fd)
{
	size_t size = (size_t)rand() % MODEL;
	OK(ftruncate(fd, (off_t)size) == 0);
	if (size < model_size)
		memset(model + size, 0, model_size - size);
	model_size = size;
}

static void change_mapped(int fd)
{
	if (model_size == 0)
		return;
	size_t at = (size_t)rand() % model_size, n = 1 + (size_t)rand() % (model_size - at);
	char *p = mmap(NULL, model_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!OK(p != MAP_FAILED))
		return;
	tm_fill(p + at, n, (unsigned)rand());
	memcpy(model + at, p + at, n);
	OK(munmap(p, model_size) == 0);
}

static void look(int fd)
{
	static char got[MODEL];
	size_t at = (size_t)rand() % MODEL, n = (size_t)rand() % 20000;
	size_t want = at >= model_size ? 0 : model_size - at < n ? model_size - at : n;
	OK(pread(fd, got, n, (off_t)at) == (ssize_t)want && memcmp(got, model + at, want) == 0);
}

/* Close to open: who opens after the other closed sees all that it did. */
static void by_turns(const struct two_mounts *t)
{
	memset(model, 0, sizeof(model));
	model_size = 0;
	srand(17);
	close(tm_open(t->a, "turns", O_CREAT | O_EXCL | O_WRONLY));
	for (int i = 0; i < TURNS * t->rounds; i++) {
		const char *m = tm_mount(t, rand() % 2);
		bool append_open = rand() % 4 == 0;
		int fd = tm_open(m, "turns", O_RDWR | (append_open ? O_APPEND : 0));
		for (int k = rand() % 6; k > 0; k--)
			switch (rand() % 5) {
			case 0:
				look(fd);
				break;
			case 1:
				resize(fd);
				break;
			case 2:
				change_mapped(fd);
				break;
			default:
				change(fd, append_open);
			}
		OK(close(fd) == 0);
		struct stat st;
		const char *other = m == t->a ? t->b : t->a;
		OK(stat(tm_path(other, "turns"), &st) == 0 && (size_t)st.st_size == model_size);
		if (!OK(tm_holds(other, "turns", model, model_size)))
			break;
	}
	OK(unlink(tm_path(t->a, "turns")) == 0);
}

void tm_data(const struct two_mounts *t)
{
	appends(t);
	mapped(t);
	direct(t);
	by_turns(t);
}
