/* Channels whose head or controller is replaced, killed or away. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/cache/cache_layout.h"
#include "blockcore/channel/channel_guard.h"
#include "blockcore/channel/channel_layout.h"
#include "blockcore/channel/channel_server_impl.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/channel_rig.h"

static void takeover(void *arg)
{
	struct channel *old = open_h1();
	struct bdev *b_old = open_vol(old, 1);
	static uint8_t data[64 * KIB], newer[64 * KIB];
	static struct bdev_ref ref;
	fill(data, sizeof(data), 5);
	fill(newer, sizeof(newer), 6);
	ck_assert_int_eq(bdev_write(b_old, data, sizeof(data), 0, 0), 0);
	ck_assert_int_eq(bdev_read_ref(b_old, 0, sizeof(data), &ref), 0);
	uint64_t old_epoch = channel_epoch(old);
	struct channel *new = open_h1();
	ck_assert_uint_gt(channel_epoch(new), old_epoch);
	struct bdev *b_new = open_vol(new, 1);
	ck_assert_int_eq(bdev_write(b_new, newer, sizeof(newer), 0, 0), 0);
	/* The old one is fenced, whatever it asks for; what it holds does not change. */
	static struct bdev_ref none;
	ck_assert_int_eq(bdev_read_ref(b_old, 0, 4096, &none), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_write(b_old, data, sizeof(data), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_flush(b_old), -ERR_EPOCH_STALE);
	size_t at = 0;
	for (int i = 0; i < ref.iovcnt; at += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, data + at, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b_old, &ref);
	env_sleep_ns(env_real(), 200 * NS_PER_MS);
	ck_assert(!channel_up(old)); /* and does not come back */
	ck_assert(channel_up(new));
	check_ref(b_new, newer, 0, sizeof(newer));
	bdev_close(b_old);
	bdev_close(b_new);
	channel_close(old);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(another_instance_fences_the_first)
{
	run_both(takeover);
}
END_TEST

struct fencing {
	pid_t pid;
	int rc;
};

static void fence_h1(struct channel_server *s, void *arg)
{
	struct fencing *f = arg;
	f->rc = channel_server_fence(s, "h1", f->pid);
}

/* Before there is another: it writes and reads nothing more, and is not welcomed again. */
static void fenced_alone(void *arg)
{
	struct fencing f = {.pid = getpid() + 1};
	fake_server_call(server, fence_h1, &f);
	ck_assert_int_eq(f.rc, -ENOENT);
	struct channel *old = open_h1();
	struct bdev *b = open_vol(old, 1);
	static uint8_t data[64 * KIB], newer[64 * KIB];
	fill(data, sizeof(data), 5);
	fill(newer, sizeof(newer), 6);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), 0, 0), 0);
	fake_server_call(server, fence_h1, &f);
	ck_assert_int_eq(f.rc, -ESRCH);
	ck_assert_int_eq(bdev_write(b, data, 4096, 0, 0), 0);
	f.pid = getpid();
	for (int i = 0; i < 2; i++) { /* again changes nothing */
		fake_server_call(server, fence_h1, &f);
		ck_assert_int_eq(f.rc, 0);
	}
	ck_assert(channel_fenced(old));
	static struct bdev_ref none;
	ck_assert_int_eq(bdev_write(b, newer, sizeof(newer), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_flush(b), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_read_ref(b, 0, 4096, &none), -ERR_EPOCH_STALE);
	env_sleep_ns(env_real(), 200 * NS_PER_MS);
	ck_assert(!channel_up(old));
	struct channel *new = open_h1();
	ck_assert_uint_gt(channel_epoch(new), channel_epoch(old));
	struct bdev *b_new = open_vol(new, 1);
	check_ref(b_new, data, 0, sizeof(data));
	ck_assert_int_eq(bdev_write(b_new, newer, sizeof(newer), 0, 0), 0);
	bdev_close(b);
	bdev_close(b_new);
	channel_close(old);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(one_is_fenced_before_there_is_another)
{
	run_both(fenced_alone);
}
END_TEST

START_TEST(one_is_fenced_where_nothing_is_recorded)
{
	fake_world_without_pools(&world);
	run_both(fenced_alone);
}
END_TEST

static void busy_writer(void *arg)
{
	struct bdev *b = arg;
	static struct bdev_ref ref;
	uint8_t *buf = calloc(1, 64 * KIB);
	bdev_read_ref(b, 0, 64 * KIB, &ref); /* held for ever */
	for (unsigned i = 0;; i++)
		bdev_write(b, buf, 64 * KIB, (i * 64 * KIB) % (4 * MIB), i % 8 ? 0 : BDEV_FUA);
}

static void doomed_head(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	for (int i = 0; i < 8; i++)
		task_start(busy_writer, b);
}

static bool exists(const char *name)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	return access(path, F_OK) == 0;
}

START_TEST(a_killed_head_leaves_nothing_behind)
{
	pid_t controller = fake_server_fork(&world, 0);
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			run_client(doomed_head);
			_exit(0);
		}
		for (int i = 0; i < 500 && !exists("channel-a:h1.seg"); i++)
			usleep(10000);
		usleep(50000 + (unsigned)round * 30000);
		ck_assert(exists("channel-a:h1.seg"));
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		for (int i = 0; i < 500 && exists("channel-a:h1.seg"); i++)
			usleep(10000);
		ck_assert(!exists("channel-a:h1.seg"));
		run_client(survivor);
	}
	fake_server_kill(controller);
}
END_TEST

static pid_t controller_pid;
static bool killing_over;
static int deaths;
static uint64_t acknowledged;

/* Writes and reads back its own range while controllers die. */
static void persistent_user(void *arg)
{
	struct bdev *b = arg;
	unsigned id = (unsigned)users_left++;
	uint64_t off = id * 256ull * KIB;
	uint8_t *buf = malloc(256 * KIB);
	for (unsigned i = 0; !killing_over || i < 3; i++) {
		size_t len = i % 4 == 3 ? 128 * KIB : 4 * KIB;
		fill(buf, len, id * 1000 + i);
		ck_assert_int_eq(bdev_write(b, buf, len, off, i % 16 ? 0 : BDEV_FUA), 0);
		acknowledged++;
		memset(buf + 128 * KIB, 0, len);
		ck_assert_int_eq(bdev_read(b, buf + 128 * KIB, len, off), 0);
		ck_assert(memcmp(buf, buf + 128 * KIB, len) == 0);
	}
	free(buf);
	users_left--;
}

static void restarts(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static struct bdev_ref ref;
	static uint8_t data[32 * KIB];
	struct channel_stats st;
	fill(data, sizeof(data), 9);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), 7 * MIB, 0), 0);
	ck_assert_int_eq(bdev_read_ref(b, 7 * MIB, sizeof(data), &ref), 0);
	users_left = 0;
	for (int i = 0; i < 20; i++)
		task_start(persistent_user, b);
	for (int i = 0; i < deaths; i++) {
		env_sleep_ns(env_real(), (30 + (uint64_t)i * 17) * NS_PER_MS);
		fake_server_kill(controller_pid);
		controller_pid = fake_server_fork(&world, 0);
		do {
			env_sleep_ns(env_real(), NS_PER_MS);
			channel_stats(c, &st);
		} while (st.reconnects == (unsigned)i);
	}
	env_sleep_ns(env_real(), 100 * NS_PER_MS);
	killing_over = true;
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	/* What was held over all the deaths is as it was. */
	size_t at = 0;
	for (int i = 0; i < ref.iovcnt; at += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, data + at, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b, &ref);
	channel_stats(c, &st);
	ck_assert_uint_eq(st.reconnects, (unsigned)deaths);
	ck_assert_uint_gt(st.retries, 0);
	ck_assert_uint_gt(acknowledged, 100);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_killed_controller_is_waited_for)
{
	deaths = 5;
	killing_over = false;
	acknowledged = 0;
	controller_pid = fake_server_fork(&world, 0);
	run_client(restarts);
	fake_server_kill(controller_pid);
}
END_TEST
static void wait_for_nobody(void *arg)
{
	struct channel *c = NULL;
	struct channel_opts o = {.paths = {"/tmp/nobody/listens"}, .head = "h1", .group = "g1"};
	ck_assert_int_eq(channel_open((struct channel **)arg, &o), -ERR_SHUTDOWN);
	(void)c;
	users_left--;
}

static void open_and_close(void *arg)
{
	struct channel *c = NULL;
	users_left = 1;
	task_start(wait_for_nobody, &c);
	env_sleep_ns(env_real(), 120 * NS_PER_MS);
	ck_assert_ptr_nonnull(c);
	channel_close(c);
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	reactor_stop(client);
}

START_TEST(open_waits_until_closed)
{
	run_client(open_and_close);
}
END_TEST

#define OLD_SEG "channel-a:old.seg"

static uint8_t held_data[4 * KIB];
static uint32_t held; /* page of the cache */

static int world_open(const char *name, int flags)
{
	char path[192];
	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	int fd = open(path, flags, 0600);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* A segment of version 2, as a controller of that time left it: this process's, holding the page.
 */
static void old_segment_make(uint32_t slot)
{
	static struct channel_head h;
	int from = world_open("channel-a:h1.seg", O_RDONLY);
	ck_assert_int_eq(pread(from, &h, sizeof(h), 0), sizeof(h));
	close(from);
	struct channel_geometry g = channel_geometry_of(h.npages, CHANNEL_HAZARDS_V2);
	h.version = 2;
	h.size = g.size;
	strcpy(h.head, "old");
	uint32_t value = held + 1;
	int fd = world_open(OLD_SEG, O_RDWR | O_CREAT);
	ck_assert_int_eq(ftruncate(fd, (off_t)g.size), 0);
	ck_assert_int_eq(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	ck_assert_int_eq(pwrite(fd, &value, 4, (off_t)(g.hazard_off + slot * 4)), 4);
	close(fd);
}

static void hold_a_page(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static struct bdev_ref ref;
	uint32_t slots[CHANNEL_HAZARDS];
	fill(held_data, sizeof(held_data), 77);
	ck_assert_int_eq(bdev_write(b, held_data, sizeof(held_data), 5 * MIB, 0), 0);
	ck_assert_int_eq(bdev_read_ref(b, 5 * MIB, sizeof(held_data), &ref), 0);
	int fd = world_open("channel-a:h1.seg", O_RDONLY);
	off_t at = (off_t)channel_geometry(0).hazard_off;
	ck_assert_int_eq(pread(fd, slots, sizeof(slots), at), sizeof(slots));
	close(fd);
	held = 0;
	for (unsigned i = 0; i < CHANNEL_HAZARDS; i++)
		held = slots[i] ? slots[i] - 1 : held;
	old_segment_make(CHANNEL_HAZARDS_V2 - 1);
	bdev_ref_put(b, &ref);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

/* The data in the page, whoever the index says it is of. */
static void held_check(void)
{
	struct cache_super s;
	uint8_t data[sizeof(held_data)];
	int fd = open(world.cache_path[0], O_RDONLY);
	ck_assert_int_eq(pread(fd, &s, sizeof(s), 0), sizeof(s));
	off_t at = (off_t)(s.page_off + (uint64_t)held * s.page_size);
	ck_assert_int_eq(pread(fd, data, sizeof(data), at), sizeof(data));
	close(fd);
	ck_assert(memcmp(data, held_data, sizeof(data)) == 0);
}

static void write_over(void *arg)
{
	survivor(arg);
	held_check();
}

/* After an upgrade the head of before is not let in, but what it sends lies in pages that it held.
 */
START_TEST(pages_held_by_an_older_version_stay)
{
	run_both(hold_a_page);
	held_check();
	for (int i = 0; i < 2; i++)
		run_both(write_over);
	close(world_open(OLD_SEG, O_RDONLY)); /* it is kept while the process lives */
}
END_TEST

#define RANGES_MAX 4096

/* No room for one segment more in the guard's table. */
static void restore_in_vain(struct channel_server *s, void *arg)
{
	static uint8_t at[RANGES_MAX];
	_Atomic bool lost;
	int n = 0;
	while (n < RANGES_MAX && channel_guard_enter(at + n, 1, &lost) == 0)
		n++;
	ck_assert_int_lt(n, RANGES_MAX);
	ck_assert_int_eq(channel_peer_restore(s), -ENFILE);
	while (n > 0)
		channel_guard_leave(at + --n);
	ck_assert(exists(OLD_SEG));
	ck_assert_int_eq(channel_peer_restore(s), 0);
	ck_assert(exists(OLD_SEG));
}

static void restore_twice(void *arg)
{
	fake_server_call(server, restore_in_vain, NULL);
	write_over(arg);
}

/* What a living head holds is not forgotten because it could not be looked at. */
START_TEST(a_segment_that_cannot_be_opened_now_stays)
{
	run_both(hold_a_page);
	run_both(restore_twice);
}
END_TEST

static void restore_ours(struct channel_server *s, void *arg)
{
	ck_assert_int_eq(channel_peer_restore(s), 0);
}

static void restore_junk(void *arg)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/channel-a:link.seg", world.dir);
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	close(world_open("channel-a:short.seg", O_RDWR | O_CREAT));
	fake_server_call(server, restore_ours, NULL);
	ck_assert(!exists("channel-a:link.seg"));
	ck_assert(!exists("channel-a:short.seg"));
	reactor_stop(client);
}

START_TEST(what_is_no_segment_goes)
{
	run_both(restore_junk);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_segment_that_cannot_be_opened_now_stays);
	tcase_add_test(tc, what_is_no_segment_goes);
	tcase_add_test(tc, pages_held_by_an_older_version_stay);
	tcase_add_test(tc, another_instance_fences_the_first);
	tcase_add_test(tc, one_is_fenced_before_there_is_another);
	tcase_add_test(tc, one_is_fenced_where_nothing_is_recorded);
	if (FORKS) {
		tcase_add_test(tc, a_killed_head_leaves_nothing_behind);
		tcase_add_test(tc, a_killed_controller_is_waited_for);
	}
	tcase_add_test(tc, open_waits_until_closed);
}

int main(void)
{
	return run_suite("channel_death", add);
}
