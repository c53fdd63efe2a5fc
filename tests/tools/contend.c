/*
 * contend A B SECONDS [nolock]: processes on two clients of one export (A and B are folders where
 * the clients of one machine mounted it) contend for locks and make, rename and remove files,
 * while somebody kills the server. All are of one machine, so memory that they share knows who
 * holds a lock and what was written under it: a lock that was stolen or lost, or a write that was,
 * is seen at once. Names are each process's own: a call that the server carries out twice fails
 * (EEXIST, ENOENT). One process writes a small file all the while: how long that takes, when it
 * takes long, is how long the server was away.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	WORKERS = 6,	/* of both clients, by turns */
	SLOTS = 3,	/* to be locked */
	PAUSES = 10000, /* that are remembered */
	PAUSE_MS = 250, /* from which on it is one */
	PATIENCE = 120, /* seconds for one lock, beyond which it counts as lost */
	FOLDER_MAX = 256,
};

static struct shared {
	_Atomic int holder[SLOTS];     /* the worker's number + 1; 0: nobody */
	_Atomic uint64_t count[SLOTS]; /* what the slot has to say */
	_Atomic unsigned locks, names, probes, npauses, failed;
	_Atomic bool stop;
	uint32_t pause_ms[PAUSES];
} * shared;

static unsigned seed;

static unsigned below(unsigned n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static bool failed(const char *what, const char *on)
{
	fprintf(stderr, "contend: %s %s: %s\n", what, on, strerror(errno));
	shared->failed++;
	return false;
}

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void nap_ms(unsigned ms)
{
	const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
	nanosleep(&t, NULL);
}

/* ---- locks ---- */

static int lock(int fd, int how, short type, unsigned slot)
{
	struct flock l = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)slot * 8, .l_len = 8};
	return fcntl(fd, how, &l);
}

/* By asking again and again, or by waiting in the server. */
static bool take(int fd, unsigned slot)
{
	uint64_t end = now_ms() + PATIENCE * 1000;
	int how = below(4) ? F_SETLK : F_SETLKW, rc;
	while ((rc = lock(fd, how, F_WRLCK, slot)) < 0 && (errno == EAGAIN || errno == EACCES) &&
	       now_ms() < end)
		nap_ms(5);
	return rc == 0 || failed("a lock", how == F_SETLK ? "asked for" : "waited for");
}

static bool count_up(int fd, unsigned slot)
{
	uint64_t v = 0, want = shared->count[slot];
	if (pread(fd, &v, sizeof(v), (off_t)slot * 8) != sizeof(v))
		return failed("reading", "a slot");
	if (v != want) {
		fprintf(stderr, "contend: slot %u says %llu, not %llu\n", slot,
			(unsigned long long)v, (unsigned long long)want);
		shared->failed++;
		return false;
	}
	v++;
	if (pwrite(fd, &v, sizeof(v), (off_t)slot * 8) != sizeof(v))
		return failed("writing", "a slot");
	shared->count[slot] = v;
	return true;
}

static bool locked_step(int fd, int me)
{
	unsigned slot = below(SLOTS);
	int nobody = 0, mine = me + 1;
	if (!take(fd, slot))
		return false;
	if (!atomic_compare_exchange_strong(&shared->holder[slot], &nobody, mine)) {
		fprintf(stderr, "contend: slot %u is held by %d, and given to %d\n", slot, nobody,
			mine);
		shared->failed++;
		return false;
	}
	bool good = count_up(fd, slot);
	if (below(4) == 0)
		nap_ms(below(200));
	if (!atomic_compare_exchange_strong(&shared->holder[slot], &mine, 0)) {
		shared->failed++;
		return false;
	}
	shared->locks++;
	return (lock(fd, F_SETLK, F_UNLCK, slot) == 0 || failed("unlocking", "a slot")) && good;
}

/* ---- names ---- */

static bool names_step(const char *folder, int me, unsigned n)
{
	char one[FOLDER_MAX * 2 + 64], two[FOLDER_MAX * 2 + 64], three[FOLDER_MAX * 2 + 64],
	    dir[FOLDER_MAX * 2 + 64];
	snprintf(one, sizeof(one), "%s/%d-%u", folder, me, n);
	snprintf(two, sizeof(two), "%s/%d-%u.moved", folder, me, n);
	snprintf(three, sizeof(three), "%s/%d-%u.linked", folder, me, n);
	snprintf(dir, sizeof(dir), "%s/%d-%u.folder", folder, me, n);
	int fd = open(one, O_CREAT | O_EXCL | O_WRONLY, 0644);
	if (fd < 0)
		return failed("making", one);
	if (write(fd, one, sizeof(one)) != sizeof(one) || close(fd) < 0)
		return failed("writing", one);
	if (link(one, three) < 0)
		return failed("linking", three);
	if (rename(one, two) < 0)
		return failed("renaming", one);
	if (unlink(three) < 0 || unlink(two) < 0)
		return failed("removing", two);
	if (mkdir(dir, 0755) < 0 || rmdir(dir) < 0)
		return failed("making or removing", dir);
	if (access(one, F_OK) == 0 || access(two, F_OK) == 0 || access(three, F_OK) == 0)
		return failed("still there:", one);
	shared->names += 7;
	return true;
}

static bool work(const char *folder, int me, bool locks)
{
	char path[FOLDER_MAX * 2 + 64];
	snprintf(path, sizeof(path), "%s/slots", folder);
	int fd = open(path, O_RDWR);
	if (fd < 0)
		return failed("opening", path);
	seed = 7919u * ((unsigned)me + 1);
	for (unsigned n = 0; !shared->stop && !shared->failed; n++)
		if (!(locks && below(3) ? locked_step(fd, me) : names_step(folder, me, n)))
			return false;
	close(fd);
	return true;
}

/* ---- pauses ---- */

static bool probe(const char *folder)
{
	char path[FOLDER_MAX * 2 + 64];
	snprintf(path, sizeof(path), "%s/probe", folder);
	while (!shared->stop && !shared->failed) {
		uint64_t begun = now_ms();
		int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
		if (fd < 0 || write(fd, &begun, sizeof(begun)) != sizeof(begun) || close(fd) < 0)
			return failed("writing", path);
		uint64_t took = now_ms() - begun;
		shared->probes++;
		if (took >= PAUSE_MS && shared->npauses < PAUSES)
			shared->pause_ms[shared->npauses++] = (uint32_t)took;
		nap_ms(50);
	}
	return unlink(path) == 0 || failed("removing", path);
}

static int by_length(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void report(void)
{
	unsigned n = shared->npauses, over1 = 0, over2 = 0;
	qsort(shared->pause_ms, n, sizeof(shared->pause_ms[0]), by_length);
	for (unsigned i = 0; i < n; i++) {
		over1 += shared->pause_ms[i] > 1000;
		over2 += shared->pause_ms[i] > 2000;
	}
	printf("%u locks, %u calls on names, %u probes, %u failed\n", shared->locks, shared->names,
	       shared->probes, shared->failed);
	printf("%u pauses: median %u ms, longest %u ms, over 1 s %u, over 2 s %u\n", n,
	       n ? shared->pause_ms[n / 2] : 0, n ? shared->pause_ms[n - 1] : 0, over1, over2);
}

/* ---- all of it ---- */

static bool begin(char folders[2][FOLDER_MAX], char **argv)
{
	static const uint64_t zeros[SLOTS];
	char path[FOLDER_MAX * 2 + 64];
	for (int i = 0; i < 2; i++)
		if (snprintf(folders[i], FOLDER_MAX, "%s/contend", argv[1 + i]) >= FOLDER_MAX)
			return failed("too long a name:", argv[1 + i]);
	if (mkdir(folders[0], 0755) < 0)
		return failed("making", folders[0]);
	snprintf(path, sizeof(path), "%s/slots", folders[0]);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
	if (fd < 0 || write(fd, zeros, sizeof(zeros)) != sizeof(zeros) || close(fd) < 0)
		return failed("writing", path);
	return true;
}

static bool end(const char *folder)
{
	char path[FOLDER_MAX * 2 + 64];
	snprintf(path, sizeof(path), "%s/slots", folder);
	return (unlink(path) == 0 || failed("removing", path)) &&
	       (rmdir(folder) == 0 || failed("removing", folder));
}

int main(int argc, char **argv)
{
	char folders[2][FOLDER_MAX];
	pid_t pids[WORKERS + 1];
	int seconds = argc >= 4 ? atoi(argv[3]) : 0;
	if (seconds < 1) {
		fprintf(stderr, "usage: contend A B SECONDS [nolock]\n");
		return 2;
	}
	bool locks = argc < 5 || strcmp(argv[4], "nolock") != 0;
	shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || !begin(folders, argv))
		return 1;
	for (int i = 0; i <= WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(i == WORKERS ? !probe(folders[0]) : !work(folders[i % 2], i, locks));
	}
	for (int i = 0; i < seconds && !shared->failed; i++)
		nap_ms(1000);
	shared->stop = true;
	for (int i = 0; i <= WORKERS; i++) {
		int status = -1;
		if (pids[i] < 0 || waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			shared->failed++;
	}
	if (!shared->failed)
		end(folders[0]);
	report();
	return shared->failed || shared->probes == 0 || (locks && shared->locks == 0);
}
