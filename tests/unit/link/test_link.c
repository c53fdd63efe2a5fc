/* The interconnect on unix sockets: calls, order, big data, many callers, the peer's end. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/bytes.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "tests/unit/link/link_rig.h"

#define MIB (1024 * 1024)

static void setup(void)
{
	rig_setup(LINK_UNIX, 0);
}

static void open_both(void)
{
	rig_open(&rig.a);
	rig_open(&rig.b);
	rig_both_up();
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 9));
}

/* One call with `n` bytes of data there and back. */
static void echo(struct link *l, enum link_path path, size_t n, uint64_t seed)
{
	uint8_t *out = malloc(n + 1), *in = malloc(n + 1), head[8], back[8];
	fill(out, n, seed);
	memset(in, 0, n + 1);
	le64_put(head, seed);
	struct iovec to[2] = {{out, n / 3}, {out + n / 3, n - n / 3}};
	struct iovec from[3] = {{in, n / 2}, {in + n / 2, 0}, {in + n / 2, n - n / 2}};
	struct link_answer ans = {.head = back, .head_max = 8, .iov = from, .iovcnt = 3};
	int rc = link_call(l, path, LINK_SVC_ADMIN, RIG_ECHO, head, 8, to, 2, &ans, 0);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(ans.head_len, 8);
	ck_assert_uint_eq(ans.data_len, n);
	ck_assert_uint_eq(le64_get(back), seed);
	ck_assert_int_eq(memcmp(in, out, n), 0);
	free(in);
	free(out);
}

static void all_sizes(void *arg)
{
	static const size_t sizes[] = {0,	   1,	  511,	      4096,	 4097,
				       65536 - 56, 65536, 200 * 1024, MIB + 4096};
	struct link *l = arg;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		echo(l, LINK_CONTROL, sizes[i], i);
		echo(l, LINK_DATA, sizes[i], i + 100);
	}
}

START_TEST(comes_up_and_carries)
{
	open_both();
	RIG_WAIT(rig.a.ups == 1 && rig.b.ups == 1);
	ck_assert_uint_eq(rig.a.peer.pages, 110);
	ck_assert_uint_eq(rig.b.peer.pages, 100);
	ck_assert_str_eq(rig.b.peer.controller, "a");
	ck_assert_str_eq(rig.b.peer.segment, "/dev/shm/x");
	ck_assert_uint_eq(link_session(rig.a.link), 1);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
	rig_run(rig.b.reactor, all_sizes, rig.b.link);
	rig_run(rig.callers[0], all_sizes, rig.a.link);
	ck_assert_uint_gt(link_sent(rig.a.link, LINK_SVC_ADMIN), 20);
	struct link_route_stats st;
	link_stats(rig.a.link, 1, &st);
	ck_assert(st.up && st.messages > 20 && st.bytes > 2 * MIB && st.failovers == 0);
	link_stats(rig.a.link, 3, &st);
	ck_assert(st.up && st.messages == 0);
}
END_TEST

static void errors(void *arg)
{
	struct link *l = arg;
	uint8_t buf[64] = {0};
	struct iovec iov = {buf, sizeof(buf)}, small = {buf, 10};
	struct link_answer ans = {.iov = &small, .iovcnt = 1};
	/* Nobody serves it. */
	ck_assert_int_eq(link_call(l, LINK_CONTROL, LINK_SVC_META, 1, NULL, 0, NULL, 0, NULL, 0),
			 -EOPNOTSUPP);
	/* The reply does not fit. */
	ck_assert_int_eq(
	    link_call(l, LINK_DATA, LINK_SVC_ADMIN, RIG_ECHO, NULL, 0, &iov, 1, &ans, 0),
	    -ERR_PROTO);
	ck_assert_int_eq(
	    link_call(l, LINK_DATA, LINK_SVC_ADMIN, RIG_ECHO, buf, 4, NULL, 0, NULL, 0),
	    -ERR_PROTO);
	/* Nor in time. */
	ck_assert_int_eq(link_call(l, LINK_CONTROL, LINK_SVC_ADMIN, RIG_NEVER, NULL, 0, NULL, 0,
				   NULL, 50 * NS_PER_MS),
			 -ETIMEDOUT);
	ck_assert_int_eq(
	    link_call(l, LINK_CONTROL, LINK_SVC_ADMIN, RIG_ECHO, NULL, 0, NULL, 0, NULL, NS_PER_S),
	    0);
}

START_TEST(errors_are_told)
{
	open_both();
	rig_run(rig.a.reactor, errors, rig.a.link);
	rig_run(rig.callers[1], errors, rig.b.link);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
}
END_TEST

#define ONE_WAYS 20000

static void one_ways(void *arg)
{
	struct link *l = arg;
	uint8_t data[3000] = {0}, head[8];
	for (uint64_t i = 1; i <= ONE_WAYS; i++) {
		int rc;
		le64_put(head, i);
		while ((rc = link_send(l, LINK_DATA, LINK_SVC_ADMIN, RIG_COUNT, head, 8, data,
				       (uint32_t)(i % 3000))) == -ENOBUFS)
			rig_nap();
		ck_assert_int_eq(rc, 0);
	}
}

START_TEST(one_way_in_order)
{
	open_both();
	rig_run(rig.callers[0], one_ways, rig.a.link);
	RIG_WAIT(rig.b.count == ONE_WAYS);
	ck_assert_uint_eq(rig.b.broken, 0);
}
END_TEST

struct crowd {
	struct link *link;
	_Atomic unsigned left;
	_Atomic uint64_t next;
	unsigned each;
};

static void crowd_member(void *arg)
{
	struct crowd *c = arg;
	for (unsigned i = 0; i < c->each; i++) {
		uint64_t n = atomic_fetch_add(&c->next, 1);
		echo(c->link, n % 3 ? LINK_DATA : LINK_CONTROL, n % 7 ? 4096 : n % 300000, n);
	}
	c->left--;
}

static void crowd_start(void *arg)
{
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(task_start(crowd_member, arg), 0);
}

START_TEST(many_callers)
{
	struct crowd a = {.left = 120, .each = 20}, b = {.left = 40, .each = 20};
	open_both();
	a.link = rig.a.link;
	b.link = rig.b.link;
	rig_run(rig.a.reactor, crowd_start, &a);
	rig_run(rig.callers[0], crowd_start, &a);
	rig_run(rig.callers[1], crowd_start, &a);
	rig_run(rig.b.reactor, crowd_start, &b);
	RIG_WAIT(a.left == 0 && b.left == 0);
}
END_TEST

struct pending {
	struct link *link;
	_Atomic int rc;
};

static void pending_call(void *arg)
{
	struct pending *p = arg;
	p->rc = link_call(p->link, LINK_DATA, LINK_SVC_ADMIN, RIG_NEVER, NULL, 0, NULL, 0, NULL, 0);
}

START_TEST(calls_end_when_the_peer_closes)
{
	struct pending p[2];
	open_both();
	p[0] = p[1] = (struct pending){rig.a.link, 1};
	task_start_on(reactor_sched(rig.a.reactor), pending_call, &p[0]);
	task_start_on(reactor_sched(rig.callers[0]), pending_call, &p[1]);
	RIG_WAIT(rig.b.held == 2);
	rig.b.held = 0; /* answered too late */
	struct link_msg *late[2] = {rig.b.never[0], rig.b.never[1]};
	rig_run(rig.a.reactor, errors, rig.a.link);
	rig.b.never[rig.b.held++] = late[0];
	rig.b.never[rig.b.held++] = late[1];
	rig_close(&rig.b);
	RIG_WAIT(p[0].rc != 1 && p[1].rc != 1);
	RIG_WAIT(rig.a.downs == 1);
	/* Both said it: answered before the goodbye, or ended by it. */
	for (int i = 0; i < 2; i++)
		ck_assert_msg(p[i].rc == 0 || p[i].rc == -ERR_DISCONNECTED, "%d", p[i].rc);
	ck_assert(!rig.a.died);
	ck_assert_int_eq(link_send(rig.a.link, LINK_DATA, LINK_SVC_ADMIN, 1, NULL, 0, NULL, 0),
			 -ERR_DISCONNECTED);
	/* It comes back as another. */
	rig_options(&rig.b, "b", "a", LINK_UNIX, 0);
	rig_open(&rig.b);
	RIG_WAIT(rig.a.ups == 2);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
}
END_TEST

/* ---- a peer that is another process ---- */

static pid_t child;

/* Before any thread of ours is started. */
static void fork_b(void)
{
	child = fork();
	if (child)
		return;
	alarm(60);
	rig_setup(LINK_UNIX, 0);
	rmdir(rig.dir);
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/isthmus-link-%d", (int)getppid());
	rig_options(&rig.b, "b", "a", LINK_UNIX, 0);
	rig_open(&rig.b);
	for (;;)
		pause();
}

static void setup_two(void)
{
	fork_b();
	rig_setup(LINK_UNIX, 0);
	ck_assert_int_eq(rmdir(rig.dir), 0);
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/isthmus-link-%d", (int)getpid());
	mkdir(rig.dir, 0700);
	rig_options(&rig.a, "a", "b", LINK_UNIX, 0);
	rig.a.opts.dead_ns = 0; /* as usual */
	rig_open(&rig.a);
	RIG_WAIT(rig.a.ups == 1);
}

static void teardown_two(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	rig_teardown();
}

static uint64_t now_ms(void)
{
	return env_now_ns(env_real()) / NS_PER_MS;
}

START_TEST(a_killed_peer_is_noticed_at_once)
{
	struct pending p = {rig.a.link, 1};
	task_start_on(reactor_sched(rig.a.reactor), pending_call, &p);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
	uint64_t t = now_ms();
	kill(child, SIGKILL);
	RIG_WAIT(rig.a.downs == 1);
	ck_assert_uint_lt(now_ms() - t, 300);
	ck_assert(rig.a.died);
	RIG_WAIT(p.rc == -ERR_DISCONNECTED);
}
END_TEST

START_TEST(a_stopped_peer_counts_as_gone)
{
	struct pending p = {rig.a.link, 1};
	task_start_on(reactor_sched(rig.a.reactor), pending_call, &p);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
	uint64_t t = now_ms();
	kill(child, SIGSTOP);
	RIG_WAIT(rig.a.downs == 1);
	uint64_t took = now_ms() - t;
	ck_assert_msg(took >= 800 && took < 2500, "%u ms", (unsigned)took);
	ck_assert(!rig.a.died);
	ck_assert_int_eq(p.rc, -ERR_DISCONNECTED);
	kill(child, SIGCONT);
	RIG_WAIT(rig.a.ups == 2);
	rig_run(rig.a.reactor, all_sizes, rig.a.link);
}
END_TEST

static void fence(void *arg)
{
	*(int *)arg = link_fence(rig.a.link);
}

START_TEST(fenced)
{
	int rc = 1, status;
	kill(child, SIGSTOP);
	RIG_WAIT(rig.a.downs == 1);
	ck_assert(!rig.a.died);
	rig_run(_i ? rig.callers[0] : rig.a.reactor, fence, &rc);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(waitpid(child, &status, WNOHANG), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	rig_run(rig.a.reactor, fence, &rc);
	ck_assert_int_eq(rc, 0);
}
END_TEST

START_TEST(no_fence_without_a_process)
{
	int rc = 1;
	open_both(); /* both ends are this process, which is not to be killed */
	rig_run(rig.a.reactor, fence, &rc);
	ck_assert_int_eq(rc, -EHOSTUNREACH);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link");
	TCase *t = tcase_create("one_process");
	tcase_add_checked_fixture(t, setup, rig_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, comes_up_and_carries);
	tcase_add_test(t, errors_are_told);
	tcase_add_test(t, one_way_in_order);
	tcase_add_test(t, many_callers);
	tcase_add_test(t, calls_end_when_the_peer_closes);
	tcase_add_test(t, no_fence_without_a_process);
	suite_add_tcase(s, t);
	t = tcase_create("two_processes");
	tcase_add_checked_fixture(t, setup_two, teardown_two);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_killed_peer_is_noticed_at_once);
	tcase_add_test(t, a_stopped_peer_counts_as_gone);
	tcase_add_loop_test(t, fenced, 0, 2);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
