/* Parts of the supervisor by themselves: back-off, pid files, cache segments. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/cache/cache_layout.h"
#include "blockcore/control/gcm.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "server/supervisor/child.h"
#include "server/supervisor/pid_file.h"
#include "server/supervisor/supervisor.h"

static char dir[64], path[128];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/isthmus-sup-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	unlink(path);
	rmdir(dir);
}

START_TEST(backoff_doubles_and_is_bounded)
{
	ck_assert_uint_eq(child_backoff_ns(0, false), 0);
	ck_assert_uint_eq(child_backoff_ns(1, false), 100 * NS_PER_MS);
	ck_assert_uint_eq(child_backoff_ns(2, false), 200 * NS_PER_MS);
	ck_assert_uint_eq(child_backoff_ns(7, false), 6400 * NS_PER_MS);
	for (unsigned n = 8; n < 10000; n++)
		ck_assert_uint_eq(child_backoff_ns(n, false), 10 * NS_PER_S);
	/* One that had been in service is back within two seconds. */
	for (unsigned n = 0; n < 10000; n++)
		ck_assert_uint_le(child_backoff_ns(n, true), NS_PER_S);
	ck_assert_uint_eq(child_backoff_ns(UINT32_MAX, false), 10 * NS_PER_S);
}
END_TEST

#define LOOK_NS (250 * NS_PER_MS)

/* `n` looks without a sign in between, each after `ns`, of which it waited `waited` for a
 * processor. */
static uint64_t silent(struct lease *l, unsigned n, uint64_t ns, uint64_t waited, char state)
{
	uint64_t ret = 0;
	for (unsigned i = 0; i < n; i++) {
		struct lease_sight s = {.now_ns = l->looked_ns + ns,
					.count = l->count,
					.waited_ns = l->waited_ns + waited,
					.state = state};
		ret = lease_look(l, &s);
	}
	return ret;
}

START_TEST(a_lease_is_lost_by_ones_own_fault)
{
	struct lease l = {.looked_ns = 1000 * NS_PER_S, .waited_ns = 77};
	/* Stopped, or asleep for ever, or in a loop. */
	ck_assert_uint_eq(silent(&l, 8, LOOK_NS, 0, 'T'), 2 * NS_PER_S);
	ck_assert_uint_eq(silent(&l, 4, LOOK_NS, 0, 'S'), 3 * NS_PER_S);
	ck_assert_uint_eq(silent(&l, 4, LOOK_NS, 0, 'R'), 4 * NS_PER_S);
	/* A sign: all is forgotten. */
	struct lease_sight s = {.now_ns = l.looked_ns + LOOK_NS,
				.count = l.count + 1,
				.waited_ns = l.waited_ns,
				.state = 'S'};
	ck_assert_uint_eq(lease_look(&l, &s), 0);
	/* Who looks was stopped for an hour. */
	ck_assert_uint_eq(silent(&l, 1, 3600 * NS_PER_S, 0, 'T'), 2 * LOOK_NS);
	l.silent_ns = 0;
	/* No processor for it; half of one; the kernel. */
	ck_assert_uint_eq(silent(&l, 1000, LOOK_NS, LOOK_NS, 'R'), 0);
	ck_assert_uint_eq(silent(&l, 1000, LOOK_NS, 3 * LOOK_NS, 'R'), 0);
	ck_assert_uint_eq(silent(&l, 8, LOOK_NS, LOOK_NS / 2, 'R'), NS_PER_S);
	ck_assert_uint_eq(silent(&l, 1000, LOOK_NS, 0, 'D'), NS_PER_S);
}
END_TEST

START_TEST(what_did_not_help_is_done_more_and_more_rarely)
{
	ck_assert_uint_eq(lease_limit_ns(2, true, 0), 2 * NS_PER_S);
	ck_assert_uint_eq(lease_limit_ns(2, true, 3), 16 * NS_PER_S);
	ck_assert_uint_eq(lease_limit_ns(2, true, 1000), 64 * NS_PER_S);
	ck_assert_uint_eq(lease_limit_ns(1, false, 0), 10 * NS_PER_S);
	ck_assert_uint_eq(lease_limit_ns(3600, false, 9), 32 * 5 * 3600 * NS_PER_S);
}
END_TEST

static void write_text(const char *text)
{
	FILE *f = fopen(path, "w");
	fputs(text, f);
	fclose(f);
}

START_TEST(pid_files_are_checked)
{
	char text[64];
	int pid;
	unsigned long long start;
	snprintf(path, sizeof(path), "%s/x.pid", dir);
	ck_assert_int_eq(pid_file_find(path), 0);
	ck_assert_int_eq(pid_file_write(path, "isthmus-x"), 0);
	FILE *f = fopen(path, "r");
	ck_assert_int_eq(fscanf(f, "%d %llu %60s", &pid, &start, text), 3);
	fclose(f);
	ck_assert_int_eq(pid, getpid());
	ck_assert_str_eq(text, "isthmus-x");
	/* This program is not one of ours, so even a true file names nobody. */
	ck_assert_int_eq(pid_file_find(path), 0);
	static const char *const junk[] = {
	    "",	   "x",	 "1 1 init",	       "-5 3", "99999999999999999999 1",
	    "0 0", "12", "4194305 77 isthmusd"};
	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		write_text(junk[i]);
		ck_assert_int_eq(pid_file_find(path), 0);
	}
}
END_TEST

/* A process with a name of ours is found by the right start time, and only while it lives. */
START_TEST(pid_files_find_the_living)
{
	snprintf(path, sizeof(path), "%s/x.pid", dir);
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	pid_t child = fork();
	if (child == 0) {
		pid_file_write(path, "isthmus-sleep");
		dup2(fds[0], 0);
		close(fds[0]);
		close(fds[1]);
		execl("/bin/cat", "isthmus-cat", (char *)NULL);
		_exit(127);
	}
	pid_t found = 0;
	for (int i = 0; i < 500 && !found; i++) {
		found = pid_file_find(path);
		usleep(10000);
	}
	ck_assert_int_eq(found, child);
	char other[64];
	snprintf(other, sizeof(other), "%d 1 isthmus-cat\n", (int)child);
	ck_assert_int_eq(pid_file_write(path, "x"), 0);
	write_text(other); /* the same pid, started at another time */
	ck_assert_int_eq(pid_file_find(path), 0);
	kill(child, SIGKILL);
	siginfo_t si;
	waitid(P_PID, (id_t)child, &si, WEXITED | WNOWAIT);
	ck_assert_int_eq(pid_file_find(path), 0); /* a zombie does not serve */
	waitpid(child, NULL, 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A watch's call is not yet a death: a second controller would be started beside the first. */
START_TEST(only_an_end_is_taken_for_death)
{
	struct child *c;
	pid_t pid = fork();
	if (pid == 0) {
		for (;;)
			pause();
	}
	ck_assert_int_eq(child_new(&c, NULL, "controller", "a", ""), 0);
	c->pidfd = pidfd_open(pid, 0);
	ck_assert_int_ge(c->pidfd, 0);
	child_look(c);
	ck_assert(!c->dead);
	kill(pid, SIGSTOP);
	child_look(c);
	ck_assert(!c->dead);
	kill(pid, SIGKILL);
	siginfo_t si;
	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
	child_look(c);
	ck_assert(c->dead);
	waitpid(pid, NULL, 0);
	close(c->pidfd);
	child_free(c);
}
END_TEST

/* ---- segments ---- */

static struct config_controller controller = {.name = "a"};
static struct config_file config = {.controllers = &controller, .controllers_count = 1};

static void use_dir(uint64_t bytes)
{
	config.array.memory_dir = dir;
	controller.cache_bytes = bytes;
	config_path_segment(&config, "a", path);
}

static uint64_t size_of_file(void)
{
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

static void put_version(uint32_t version, enum cbe_state state, uint64_t bytes, uint64_t cbe_off)
{
	int fd = open(path, O_RDWR);
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	struct cache_super *sb = (void *)p;
	memcpy(sb->magic, CACHE_MAGIC, sizeof(sb->magic));
	sb->version = version;
	sb->npages = 100;
	sb->cbe_off = cbe_off;
	if (cbe_off == 4096)
		((struct cbe *)(p + cbe_off))[99].state = state;
	munmap(p, bytes);
	close(fd);
}

static void put_segment(enum cbe_state state, uint64_t bytes, uint64_t cbe_off)
{
	put_version(CACHE_VERSION, state, bytes, cbe_off);
}

START_TEST(segments_are_made_and_kept)
{
	char why[256] = "";
	use_dir(1 << 20);
	ck_assert_msg(segment_prepare(&config, "a", why) == 0, "%s", why);
	ck_assert_uint_eq(size_of_file(), 1 << 20);
	put_segment(CBE_DIRTY, 1 << 20, 4096);
	ck_assert_int_eq(segment_prepare(&config, "a", why), 0); /* same size: not touched */
	use_dir(2 << 20);
	ck_assert_int_eq(segment_prepare(&config, "a", why), -EBUSY);
	ck_assert_uint_eq(size_of_file(), 1 << 20);
	ck_assert_ptr_nonnull(strstr(why, "holds 1 pages"));
	ck_assert_ptr_nonnull(strstr(why, "set `cache` back"));
	put_segment(CBE_CLEAN, 1 << 20, 4096);
	ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
	ck_assert_uint_eq(size_of_file(), 2 << 20);
}
END_TEST

/* What an older (or newer) isthmus left has pages that only it can write: it is not thrown away. */
START_TEST(segments_of_other_versions_are_kept)
{
	char why[256] = "";
	static const enum cbe_state unwritten[] = {CBE_DIRTY, CBE_STAGED};
	for (uint32_t version = 1; version <= CACHE_VERSION + 1; version++) {
		for (size_t i = 0; i < sizeof(unwritten) / sizeof(unwritten[0]); i++) {
			unlink(path);
			use_dir(1 << 20);
			ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
			put_version(version, unwritten[i], 1 << 20, 4096);
			use_dir(2 << 20);
			ck_assert_int_eq(segment_prepare(&config, "a", why), -EBUSY);
			ck_assert_uint_eq(size_of_file(), 1 << 20);
			ck_assert_ptr_nonnull(strstr(why, "holds 1 pages"));
		}
		put_version(version, CBE_CLEAN, 1 << 20, 4096);
		ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
		ck_assert_uint_eq(size_of_file(), 2 << 20);
	}
}
END_TEST

START_TEST(what_is_no_segment_is_told)
{
	char why[256] = "";
	use_dir(1 << 20);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(segment_prepare(&config, "a", why), -EISDIR);
	ck_assert_ptr_nonnull(strstr(why, path));
	ck_assert_ptr_nonnull(strstr(why, "move it away"));
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	ck_assert_int_eq(segment_prepare(&config, "a", why), -ELOOP);
	ck_assert_ptr_nonnull(strstr(why, "move it away"));
}
END_TEST

START_TEST(damaged_segments_do_not_crash)
{
	char why[256] = "";
	static const uint64_t offsets[] = {0,	    4096,	(1 << 20) - 64,
					   1 << 20, UINT64_MAX, UINT64_MAX - 63};
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		unlink(path);
		use_dir(1 << 20);
		ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
		put_segment(CBE_FREE, 1 << 20, offsets[i]);
		use_dir(2 << 20);
		ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
	}
	ck_assert_int_eq(segment_prepare(&config, "gone", why), -ENOENT);
}
END_TEST

/* A process with a name of ours, and its pid file; it ends with its input's last end. */
static pid_t run_one(const char *pid_file, int *ret_input)
{
	int fds[2];
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();
	if (child == 0) {
		pid_file_write(pid_file, "isthmus-sleep");
		dup2(fds[0], 0);
		execl("/bin/cat", "isthmus-cat", (char *)NULL);
		_exit(127);
	}
	close(fds[0]);
	*ret_input = fds[1];
	for (int i = 0; i < 500 && pid_file_find(pid_file) != child; i++)
		usleep(10000);
	return child;
}

START_TEST(control_segment)
{
	char why[256] = "", control[108];
	struct stat st;
	use_dir(1 << 20);
	config_path_control(&config, control);
	unlink(control);
	ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
	ck_assert_int_ne(stat(control, &st), 0); /* nobody needs it */
	controller.partner = "b";
	ck_assert_msg(segment_prepare(&config, "a", why) == 0, "%s", why);
	ck_assert_int_eq(stat(control, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, gcm_shared_size());
	ino_t ino = st.st_ino;
	/* It is never replaced: it says who owns what. */
	ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
	ck_assert_int_eq(stat(control, &st), 0);
	ck_assert_uint_eq(st.st_ino, ino);
	ck_assert_int_eq(truncate(control, 100), 0);
	ck_assert_int_eq(segment_prepare(&config, "a", why), -ERR_VERSION);
	ck_assert_ptr_nonnull(strstr(why, "stop all controllers"));
	/* Nor is there a second one while the partner runs with the first. */
	char running[256];
	unlink(control);
	config.array.run_dir = dir;
	pid_file_path(dir, "controller", "b", running);
	int input;
	pid_t b = run_one(running, &input);
	ck_assert_int_eq(segment_prepare(&config, "a", why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "is gone while controller b"));
	ck_assert_ptr_nonnull(strstr(why, "stop isthmusd in order"));
	ck_assert_int_ne(stat(control, &st), 0);
	close(input);
	waitpid(b, NULL, 0);
	unlink(running);
	ck_assert_int_eq(segment_prepare(&config, "a", why), 0);
	unlink(control);
	controller.partner = NULL;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("supervisor");
	TCase *t = tcase_create("supervisor");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 20);
	tcase_add_test(t, backoff_doubles_and_is_bounded);
	tcase_add_test(t, a_lease_is_lost_by_ones_own_fault);
	tcase_add_test(t, what_did_not_help_is_done_more_and_more_rarely);
	tcase_add_test(t, pid_files_are_checked);
	tcase_add_test(t, pid_files_find_the_living);
	tcase_add_test(t, only_an_end_is_taken_for_death);
	tcase_add_test(t, segments_are_made_and_kept);
	tcase_add_test(t, segments_of_other_versions_are_kept);
	tcase_add_test(t, what_is_no_segment_is_told);
	tcase_add_test(t, damaged_segments_do_not_crash);
	tcase_add_test(t, control_segment);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
