/* Watches of a reactor, and looking for work before it sleeps. */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/env.h"
#include "runtime/reactor_impl.h"

/* ---- the window, by a clock of the test's own ---- */

static uint64_t clock_ns, step_ns;

static uint64_t test_now(struct env *e)
{
	return clock_ns += step_ns;
}

static const struct env_ops test_ops = {.now_ns = test_now};
static struct env test_env = {.ops = &test_ops};

static int looks, found_at;

static bool look(void *arg)
{
	return ++looks == found_at;
}

/* Looks of one idle time that begins now; *ret_found: was something there. */
static int look_once(struct poll_state *p, bool *ret_found)
{
	looks = 0;
	*ret_found = poll_look(p, look, NULL);
	return looks;
}

static void sleep_for(struct poll_state *p, uint64_t ns)
{
	clock_ns += ns;
	poll_woken(p);
}

static void window_setup(void)
{
	clock_ns = 1000000;
	step_ns = 1000; /* a look takes a microsecond */
	found_at = 0;
}

START_TEST(the_window_opens_when_work_comes_soon)
{
	struct poll_state p = {.env = &test_env, .max_ns = 20000};
	bool found;
	ck_assert_int_eq(look_once(&p, &found), 1);
	ck_assert(!found);
	sleep_for(&p, 10000);
	ck_assert_int_eq(look_once(&p, &found), 20);
	ck_assert(!found);
	sleep_for(&p, 10000);
	found_at = 7;
	ck_assert_int_eq(look_once(&p, &found), 7);
	ck_assert(found);
	ck_assert_int_eq(look_once(&p, &found), 7); /* it did not sleep: still open */
	ck_assert_uint_eq(p.hits, 2);
	ck_assert_uint_eq(p.sleeps, 2);
}
END_TEST

START_TEST(an_idle_reactor_does_not_look)
{
	struct poll_state p = {.env = &test_env, .max_ns = 20000};
	bool found;
	look_once(&p, &found);
	sleep_for(&p, 10000);
	for (int i = 0; i < 10; i++) {
		int n = look_once(&p, &found);
		ck_assert_int_eq(n, i ? 1 : 20);
		sleep_for(&p, 1000000);
	}
	struct poll_state never = {.env = &test_env};
	ck_assert_int_eq(look_once(&never, &found), 0);
	ck_assert(!found);
}
END_TEST

/* Always a little too late: it gives up for a while. */
START_TEST(looking_in_vain_ends)
{
	struct poll_state p = {.env = &test_env, .max_ns = 20000};
	bool found;
	int sum = 0;
	for (int i = 0; i < 100; i++) {
		sum += look_once(&p, &found);
		sleep_for(&p, 1000);
	}
	ck_assert_int_lt(sum, 20 * 20);
	clock_ns += 1000000000;
	look_once(&p, &found);
	ck_assert_int_gt(looks, 1); /* and tries again */
}
END_TEST

/* ---- watches ---- */

static struct reactor *r;
static struct watch *w[2];
static int pair[2][2], called, last_status, last_events;

static void setup(unsigned poll_us)
{
	struct reactor_opts o = {.name = "test", .cpu = -1, .poll_us = poll_us};
	ck_assert_int_eq(reactor_new(&r, &o), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]), 0);
	called = 0;
}

static void sleeping_setup(void)
{
	setup(0);
}

static void polling_setup(void)
{
	setup(1000);
}

static void teardown(void)
{
	watch_free(w[0]);
	watch_free(w[1]);
	w[0] = w[1] = NULL;
	for (int i = 0; i < 4; i++)
		if (pair[i / 2][i % 2] >= 0)
			close(pair[i / 2][i % 2]);
	reactor_free(r);
}

static void watch(int i, watch_fn *fn, void *arg)
{
	ck_assert_int_eq(watch_new(&w[i], r, pair[i][0], fn, arg), 0);
	ck_assert_int_eq(watch_set(w[i], UV_READABLE), 0);
}

static void free_both(void *arg, int status, int events)
{
	called++;
	watch_free(w[0]);
	watch_free(w[1]);
	w[0] = w[1] = NULL;
	reactor_stop(r);
}

START_TEST(a_freed_watch_is_not_called)
{
	for (int i = 0; i < 2; i++) {
		watch(i, free_both, NULL);
		ck_assert_int_eq(write(pair[i][1], "x", 1), 1);
	}
	reactor_run(r);
	ck_assert_int_eq(called, 1);
}
END_TEST

static void note(void *arg, int status, int events)
{
	called++;
	watch_set(*(struct watch **)arg, 0);
	last_status = status;
	last_events = events;
	reactor_stop(r);
}

START_TEST(errors_and_hang_ups_are_told)
{
	char c;
	watch(0, note, &w[0]);
	ck_assert_int_eq(write(pair[0][0], "x", 1), 1);
	close(pair[0][1]); /* with unread data: a reset */
	pair[0][1] = -1;
	reactor_run(r);
	ck_assert_int_eq(last_status, -ECONNRESET);
	watch(1, note, &w[1]);
	close(pair[1][1]);
	pair[1][1] = -1;
	reactor_run(r);
	ck_assert_int_eq(last_status, 0);
	ck_assert_int_eq(last_events, UV_READABLE);
	ck_assert_int_eq(read(pair[1][0], &c, 1), 0);
	/* Who asks for nothing hears nothing, whatever happened. */
	called = 0;
	reactor_stop(r);
	reactor_run(r);
	ck_assert_int_eq(called, 0);
}
END_TEST

START_TEST(what_cannot_be_watched_is_refused)
{
	struct watch *x = NULL;
	ck_assert_int_eq(watch_new(&x, r, -1, note, NULL), -EBADF);
	ck_assert_ptr_null(x);
	watch(0, note, &w[0]);
}
END_TEST

#define ROUNDS 2000

struct player {
	struct reactor *r;
	struct watch *w;
	int fd, left;
};

static void play(void *arg, int status, int events)
{
	struct player *p = arg;
	char c;
	ck_assert_int_eq(status, 0);
	if (read(p->fd, &c, 1) == 1 && p->left-- > 0)
		ck_assert_int_eq(write(p->fd, "x", 1), 1);
	if (p->left <= 0)
		reactor_stop(p->r);
}

/* Two reactors that answer each other, each the other's soon coming work. */
START_TEST(two_reactors_answer_each_other)
{
	struct reactor_opts o = {.name = "other", .cpu = -1, .poll_us = 1000};
	struct player p[2] = {{.r = r, .fd = pair[0][0], .left = ROUNDS},
			      {.fd = pair[0][1], .left = ROUNDS}};
	ck_assert_int_eq(reactor_new(&p[1].r, &o), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(watch_new(&p[i].w, p[i].r, p[i].fd, play, &p[i]), 0);
		ck_assert_int_eq(watch_set(p[i].w, UV_READABLE), 0);
		watch_allow_try(p[i].w);
	}
	ck_assert_int_eq(write(p[0].fd, "x", 1), 1);
	ck_assert_int_eq(reactor_start_thread(p[1].r), 0);
	reactor_run(r);
	reactor_join(p[1].r);
	ck_assert_int_le(p[0].left, 0);
	ck_assert_int_le(p[1].left, 0);
	for (int i = 0; i < 2; i++)
		watch_free(p[i].w);
	reactor_free(p[1].r);
}
END_TEST

static void watch_cases(Suite *s, const char *name, void (*set_up)(void))
{
	TCase *tc = tcase_create(name);
	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_freed_watch_is_not_called);
	tcase_add_test(tc, errors_and_hang_ups_are_told);
	tcase_add_test(tc, what_cannot_be_watched_is_refused);
	tcase_add_test(tc, two_reactors_answer_each_other);
	suite_add_tcase(s, tc);
}

int main(void)
{
	Suite *s = suite_create("reactor_watch");
	TCase *tc = tcase_create("window");
	tcase_add_checked_fixture(tc, window_setup, NULL);
	tcase_add_test(tc, the_window_opens_when_work_comes_soon);
	tcase_add_test(tc, an_idle_reactor_does_not_look);
	tcase_add_test(tc, looking_in_vain_ends);
	suite_add_tcase(s, tc);
	watch_cases(s, "sleeping", sleeping_setup);
	watch_cases(s, "polling", polling_setup);
	SRunner *run = srunner_create(s);
	srunner_run_all(run, CK_ENV);
	int failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
