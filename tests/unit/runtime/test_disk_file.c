/* Files as disks: both ways of asking the kernel, on a disk and in memory. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"

#define DISK_SIZE (8 * 1024 * 1024)

static const struct {
	bool no_uring;
	const char *dir;
} ways[] = {{false, "/tmp"}, {true, "/tmp"}, {false, "/dev/shm"}, {true, "/dev/shm"}};
#define NWAYS (sizeof(ways) / sizeof(ways[0]))

static struct reactor *r;
static char path[64];

static void run(int way, task_fn *fn)
{
	struct reactor_opts o = {.name = "test", .cpu = -1, .no_uring = ways[way].no_uring};
	ck_assert_int_eq(reactor_new(&r, &o), 0);
	snprintf(path, sizeof(path), "%s/isthmus-test-disk-XXXXXX", ways[way].dir);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, DISK_SIZE + 100), 0);
	close(fd);
	ck_assert_int_eq(task_start_on(reactor_sched(r), fn, NULL), 0);
	reactor_run(r);
	unlink(path);
	reactor_free(r);
}

static struct bdev *open_disk(void)
{
	struct bdev *b;
	ck_assert_int_eq(env_disk_open(env_real(), path, 0, &b), 0);
	ck_assert_uint_eq(b->size, DISK_SIZE);
	return b;
}

static void fill(char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (char)((seed = seed * 1103515245 + 12345) >> 16);
}

static void write_read(void *arg)
{
	struct bdev *b = open_disk();
	size_t len = 1024 * 1024;
	char *out, *in;
	ck_assert_int_eq(posix_memalign((void **)&out, 4096, len), 0);
	ck_assert_int_eq(posix_memalign((void **)&in, 4096, len), 0);
	fill(out, len, 1);
	ck_assert_int_eq(bdev_write(b, out, len, 65536, 0), 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	ck_assert_int_eq(bdev_read(b, in, len, 65536), 0);
	ck_assert(memcmp(in, out, len) == 0);
	ck_assert_int_eq(bdev_write(b, out, 512, 512, BDEV_FUA), 0);
	ck_assert_int_eq(bdev_read(b, in, 1024, 0), 0);
	ck_assert_int_eq(in[0], 0);
	ck_assert_mem_eq(in + 512, out, 512);
	ck_assert_int_eq(bdev_read(b, in, 512, DISK_SIZE), -EINVAL);
	ck_assert_int_eq(bdev_read(b, in, 100, 0), -EINVAL);
	free(out);
	free(in);
	bdev_close(b);
	reactor_stop(r);
}

START_TEST(writes_are_read_back)
{
	run(_i, write_read);
}
END_TEST

static unsigned others_ran;

static void other(void *arg)
{
	others_ran++;
}

/* What is copied at once waits for nothing; who goes on and on makes way for others. */
static void memory_waits_not(void *arg)
{
	struct bdev *b = open_disk();
	size_t len = 1024 * 1024;
	char *out, *in;
	ck_assert_int_eq(posix_memalign((void **)&out, 4096, len), 0);
	ck_assert_int_eq(posix_memalign((void **)&in, 4096, len), 0);
	fill(out, len, 2);
	others_ran = 0;
	ck_assert_int_eq(task_start(other, NULL), 0);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(bdev_write(b, out + i * 4096, 4096, (uint64_t)i * 8192, 0), 0);
		ck_assert_int_eq(bdev_read(b, in, 4096, (uint64_t)i * 8192), 0);
		ck_assert_mem_eq(in, out + i * 4096, 4096);
	}
	ck_assert_int_eq(bdev_flush(b), 0);
	ck_assert_uint_eq(others_ran, 0);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(bdev_write(b, out + i * 4096, 4096, (uint64_t)i * 4096, BDEV_FUA),
				 0);
	ck_assert_uint_eq(others_ran, 1);
	ck_assert_int_eq(task_start(other, NULL), 0); /* a long one is carried out elsewhere */
	ck_assert_int_eq(bdev_write(b, out, len, 0, 0), 0);
	ck_assert_uint_eq(others_ran, 2);
	ck_assert_int_eq(bdev_read(b, in, len, 0), 0);
	ck_assert(memcmp(in, out, len) == 0);
	free(out);
	free(in);
	bdev_close(b);
	reactor_stop(r);
}

START_TEST(short_requests_for_memory_are_made_at_once)
{
	run(_i, memory_waits_not);
}
END_TEST

/* /dev is in memory, what its nodes lead to is not: a device may take its time. */
static void device_waits(void *arg)
{
	struct bdev *b;
	char *in;
	ck_assert_int_eq(env_disk_open(env_real(), path, ENV_DISK_RDONLY, &b), 0);
	ck_assert_int_eq(posix_memalign((void **)&in, 4096, 4096), 0);
	others_ran = 0;
	ck_assert_int_eq(task_start(other, NULL), 0);
	ck_assert_int_eq(bdev_read(b, in, 4096, 0), 0);
	ck_assert_uint_eq(others_ran, 1);
	free(in);
	bdev_close(b);
	reactor_stop(r);
}

/* A loop device over a file of ours, where this user and machine have them. -1: they have not. */
static int loop_over(const char *file, char *to, size_t room)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), backing = -1, loop = -1;
	for (int try = 0; control >= 0 && loop < 0 && try < 8; try++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(to, room, "/dev/loop%d", n);
		loop = n < 0 ? -1 : open(to, O_RDWR | O_CLOEXEC);
		backing = loop < 0 ? -1 : open(file, O_RDWR | O_CLOEXEC);
		if (loop >= 0 && (backing < 0 || ioctl(loop, LOOP_SET_FD, backing))) {
			close(loop);
			loop = -1;
		}
		if (backing >= 0)
			close(backing);
	}
	if (control >= 0)
		close(control);
	return loop;
}

START_TEST(devices_are_no_memory)
{
	char file[] = "/tmp/isthmus-test-loop-XXXXXX";
	struct reactor_opts o = {.name = "test", .cpu = -1};
	int fd = mkstemp(file);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	int loop = loop_over(file, path, sizeof(path));
	unlink(file);
	if (loop < 0) {
		fprintf(stderr, "no loop devices here: not looked at\n");
		return;
	}
	ck_assert_int_eq(reactor_new(&r, &o), 0);
	ck_assert_int_eq(task_start_on(reactor_sched(r), device_waits, NULL), 0);
	reactor_run(r);
	reactor_free(r);
	ioctl(loop, LOOP_CLR_FD);
	close(loop);
}
END_TEST

/* As a container's profile does. */
static void refuse_uring(void)
{
	struct sock_filter f[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = f};
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

START_TEST(threads_serve_where_uring_is_refused)
{
	refuse_uring();
	run(0, write_read);
}
END_TEST

/* Pieces of odd lengths at odd addresses: bounced, in several rounds of the bounce buffer. */
static void unaligned(void *arg)
{
	struct bdev *b = open_disk();
	size_t len = 700 * 1024;
	char *out = malloc(len + 1), *in = malloc(len + 3);
	struct iovec iov[4] = {
	    {out + 1, 1000}, {out + 1001, 0}, {out + 1001, 300001}, {out + 301002, len - 301001}};
	fill(out, len + 1, 2);
	ck_assert_int_eq(bdev_writev(b, iov, 4, 512, 0), 0);
	struct iovec iov2[3] = {{in + 3, 77}, {in + 80, 500000}, {in + 500080, len - 500077}};
	ck_assert_int_eq(bdev_readv(b, iov2, 3, 512), 0);
	ck_assert(memcmp(in + 3, out + 1, len) == 0);
	free(in);
	free(out);
	bdev_close(b);
	reactor_stop(r);
}

START_TEST(unaligned_buffers_are_bounced)
{
	run(_i, unaligned);
}
END_TEST

/* More pieces than one system call takes. */
static void many_pieces(void *arg)
{
	static struct iovec iov[3000];
	struct bdev *b = open_disk();
	char *mem;
	ck_assert_int_eq(posix_memalign((void **)&mem, 4096, 3000 * 512), 0);
	fill(mem, 3000 * 512, 3);
	for (int i = 0; i < 3000; i++)
		iov[i] = (struct iovec){mem + (size_t)(2999 - i) * 512, 512};
	ck_assert_int_eq(bdev_writev(b, iov, 3000, 0, 0), 0);
	char *in = malloc(3000 * 512);
	ck_assert_int_eq(bdev_read(b, in, 3000 * 512, 0), 0);
	for (int i = 0; i < 3000; i++)
		ck_assert(memcmp(in + i * 512, mem + (2999 - i) * 512, 512) == 0);
	free(in);
	free(mem);
	bdev_close(b);
	reactor_stop(r);
}

START_TEST(many_pieces_are_split)
{
	run(_i, many_pieces);
}
END_TEST

static void discard(void *arg)
{
	struct bdev *b = open_disk();
	char buf[12288], zero[12288] = {0};
	fill(buf, sizeof(buf), 4);
	ck_assert_int_eq(bdev_write(b, buf, sizeof(buf), 0, 0), 0);
	ck_assert(b->discard_zeroes);
	ck_assert_int_eq(bdev_discard(b, 512, 8192), 0);
	ck_assert_int_eq(bdev_discard(b, 0, 0), 0);
	char in[12288];
	ck_assert_int_eq(bdev_read(b, in, sizeof(in), 0), 0);
	ck_assert_mem_eq(in, buf, 512);
	ck_assert_mem_eq(in + 512, zero, 8192);
	ck_assert_mem_eq(in + 8704, buf + 8704, sizeof(buf) - 8704);
	bdev_close(b);
	reactor_stop(r);
}

START_TEST(discarded_ranges_read_as_zeros)
{
	run(_i, discard);
}
END_TEST

static void errors(void *arg)
{
	struct bdev *b = open_disk();
	char *buf;
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, 8192), 0);
	/* The file shrinks behind our back: what is gone is an error, not zeros. */
	ck_assert_int_eq(truncate(path, 4096), 0);
	ck_assert_int_eq(bdev_read(b, buf, 8192, 0), -EIO);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 0), 0);
	bdev_close(b);
	ck_assert_int_eq(env_disk_open(env_real(), path, ENV_DISK_RDONLY, &b), 0);
	ck_assert_uint_eq(b->size, 4096);
	ck_assert_int_eq(bdev_write(b, buf, 512, 0, 0), -ERR_WRITE_PROTECT);
	ck_assert_int_eq(bdev_discard(b, 0, 512), -ERR_WRITE_PROTECT);
	ck_assert_int_eq(bdev_flush(b), 0);
	bdev_close(b);
	ck_assert_int_eq(env_disk_open(env_real(), "/tmp/not/there", 0, &b), -ENOENT);
	ck_assert_int_eq(env_disk_open(env_real(), "/dev/null", 0, &b), -ENOTBLK);
	free(buf);
	reactor_stop(r);
}

START_TEST(errors_are_told)
{
	run(_i, errors);
}
END_TEST

/* A file that is not what it was: cut short, renamed, replaced, removed. */
static void goes_away(void *arg)
{
	char why[BDEV_WHY_LEN] = "", *buf, other[80];
	struct bdev *b = open_disk();
	struct stat st;
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, 8192), 0);
	memset(buf, 7, 8192);
	snprintf(other, sizeof(other), "%s-other", path);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, 0), 0);
	ck_assert_int_eq(bdev_check(b, why), 0);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(bdev_check(b, why), -ENODEV);
	ck_assert_ptr_nonnull(strstr(why, "removed or renamed"));
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(bdev_check(b, why), -ENODEV);
	ck_assert_ptr_nonnull(strstr(why, "another file"));
	close(fd);
	ck_assert_int_eq(rename(other, path), 0);
	ck_assert_int_eq(bdev_check(b, why), 0);
	/* Cut: a write past the end does not make it grow again with zeros where data was. */
	ck_assert_int_eq(truncate(path, 1024 * 1024), 0);
	if (arg)
		ck_assert_int_eq(bdev_check(b, why), -ENODEV);
	else
		ck_assert_int_eq(bdev_read(b, buf + 4096, 4096, 2 * 1024 * 1024), -EIO);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 4 * 1024 * 1024, 0), -EIO);
	ck_assert_int_eq(bdev_discard(b, 4 * 1024 * 1024, 4096), -EIO);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 1024 * 1024);
	ck_assert_int_eq(bdev_check(b, why), -ENODEV);
	ck_assert_ptr_nonnull(strstr(why, "cut from 8388608 to 1048576"));
	ck_assert_int_eq(bdev_write(b, buf, 4096, 8192, 0), 0);
	ck_assert_int_eq(bdev_read(b, buf + 4096, 4096, 0), 0);
	ck_assert_int_eq(buf[4096], 7);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(bdev_check(b, why), -ENODEV);
	bdev_close(b);
	free(buf);
	reactor_stop(r);
}

static void told_by_a_read(void *arg)
{
	goes_away(NULL);
}

static void told_by_a_check(void *arg)
{
	goes_away(path);
}

START_TEST(a_file_that_goes_away_is_noticed)
{
	run(_i, told_by_a_read);
	run(_i, told_by_a_check);
}
END_TEST

static struct bdev *shared;
static int users_left;

static void one_user(void *arg)
{
	unsigned id = *(unsigned *)arg;
	char *buf, *in;
	ck_assert_int_eq(posix_memalign((void **)&buf, 4096, 8192), 0);
	in = buf + 4096;
	for (unsigned i = 0; i < 8; i++) {
		fill(buf, 4096, id * 100 + i);
		ck_assert_int_eq(bdev_write(shared, buf, 4096, id * 4096ull, 0), 0);
		if (i == 3)
			ck_assert_int_eq(bdev_flush(shared), 0);
		ck_assert_int_eq(bdev_read(shared, in, 4096, id * 4096ull), 0);
		ck_assert(memcmp(in, buf, 4096) == 0);
	}
	free(buf);
	if (--users_left == 0)
		reactor_stop(r);
}

/* More requests at once than the submission queue has entries. */
static void many(void *arg)
{
	static unsigned id[600];
	shared = open_disk();
	users_left = 600;
	for (unsigned i = 0; i < 600; i++) {
		id[i] = i;
		ck_assert_int_eq(task_start(one_user, &id[i]), 0);
	}
}

/* Two handles shut each other out, whoever has them; what a handle claimed goes with it. */
static void claim_task(void *arg)
{
	struct bdev *a = open_disk(), *b = open_disk();
	ck_assert_int_eq(bdev_claim(a, true), 0);
	ck_assert_int_eq(bdev_claim(a, true), 0);
	ck_assert_int_eq(bdev_claim(b, true), -EBUSY);
	ck_assert_int_eq(bdev_claim(a, false), 0);
	ck_assert_int_eq(bdev_claim(b, true), 0);
	ck_assert_int_eq(bdev_claim(a, true), -EBUSY);
	bdev_close(b);
	ck_assert_int_eq(bdev_claim(a, true), 0);
	int ends[2], told[2];
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(pipe(told), 0);
	/* A process that is killed gives up its claim, and only then. */
	bdev_close(a);
	pid_t child = fork();
	if (child == 0) {
		char x = 0;
		int fd = open(path, O_RDWR);
		struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 2};
		x = (char)fcntl(fd, F_OFD_SETLK, &l);
		if (write(told[1], &x, 1) == 1 && read(ends[0], &x, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	char x = 1;
	ck_assert_int_eq(read(told[0], &x, 1), 1);
	ck_assert_int_eq(x, 0);
	a = open_disk();
	ck_assert_int_eq(bdev_claim(a, true), -EBUSY);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	ck_assert_int_eq(bdev_claim(a, true), 0);
	bdev_close(a);
	for (unsigned i = 0; i < 2; i++) {
		close(ends[i]);
		close(told[i]);
	}
	reactor_stop(r);
}

START_TEST(claims)
{
	run(_i, claim_task);
}
END_TEST

START_TEST(many_requests_in_flight)
{
	run(_i, many);
	bdev_close(shared);
}
END_TEST

static struct reactor *pair[2];
static _Atomic int pair_left;

static void pair_user(void *arg)
{
	unsigned id = *(unsigned *)arg;
	char buf[1024], in[1024];
	for (unsigned i = 0; i < 100; i++) {
		fill(buf, sizeof(buf), id + i * 8);
		ck_assert_int_eq(bdev_write(shared, buf, sizeof(buf), id * 1024ull, 0), 0);
		ck_assert_int_eq(bdev_read(shared, in, sizeof(in), id * 1024ull), 0);
		ck_assert_mem_eq(buf, in, sizeof(in));
	}
	if (--pair_left == 0) {
		reactor_stop(pair[0]);
		reactor_stop(pair[1]);
	}
}

/* One disk used from two reactors, each by its own ring. */
START_TEST(reactors_share_a_disk)
{
	static unsigned id[8] = {0, 1, 2, 3, 4, 5, 6, 7};
	snprintf(path, sizeof(path), "%s/isthmus-test-disk-XXXXXX", ways[_i].dir);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, DISK_SIZE), 0);
	close(fd);
	ck_assert_int_eq(disk_file_open(path, 0, &shared), 0);
	pair_left = 8;
	for (int i = 0; i < 2; i++) {
		struct reactor_opts o = {.name = "pair", .cpu = -1, .no_uring = ways[_i].no_uring};
		ck_assert_int_eq(reactor_new(&pair[i], &o), 0);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(reactor_start_thread(pair[i]), 0);
	for (int i = 0; i < 8; i++)
		task_start_on(reactor_sched(pair[i % 2]), pair_user, &id[i]);
	for (int i = 0; i < 2; i++) {
		reactor_join(pair[i]);
		reactor_free(pair[i]);
	}
	bdev_close(shared);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("disk_file");
	TCase *tc = tcase_create("disk_file");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, writes_are_read_back, 0, NWAYS);
	tcase_add_loop_test(tc, short_requests_for_memory_are_made_at_once, 2, NWAYS);
	tcase_add_test(tc, devices_are_no_memory);
	tcase_add_test(tc, threads_serve_where_uring_is_refused);
	tcase_add_loop_test(tc, unaligned_buffers_are_bounced, 0, NWAYS);
	tcase_add_loop_test(tc, many_pieces_are_split, 0, NWAYS);
	tcase_add_loop_test(tc, discarded_ranges_read_as_zeros, 0, NWAYS);
	tcase_add_loop_test(tc, errors_are_told, 0, NWAYS);
	tcase_add_loop_test(tc, a_file_that_goes_away_is_noticed, 0, NWAYS);
	tcase_add_loop_test(tc, claims, 0, NWAYS);
	tcase_add_loop_test(tc, many_requests_in_flight, 0, NWAYS);
	tcase_add_loop_test(tc, reactors_share_a_disk, 0, NWAYS);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
