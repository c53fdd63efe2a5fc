/* Reactors: turns, posts from other threads, watches, timers, and sleeping when idle. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "runtime/env.h"
#include "runtime/mem_pool.h"
#include "runtime/reactor.h"

static struct reactor *r;

static void setup(void)
{
	struct reactor_opts o = {.name = "test", .cpu = -1};
	ck_assert_int_eq(reactor_new(&r, &o), 0);
}

static void teardown(void)
{
	reactor_free(r);
}

static char trace[64];
static unsigned trace_len;

static void put(char c)
{
	if (trace_len < sizeof(trace))
		trace[trace_len++] = c;
}

static struct deferred deferred_a, deferred_b;

static void deferred_fn(void *arg)
{
	put(*(char *)arg);
	if (arg == deferred_a.arg)
		reactor_defer(r, &deferred_b);
}

static void task_tracer(void *arg)
{
	put('t');
	reactor_defer(r, &deferred_a);
	reactor_defer(r, &deferred_a);
	task_yield();
	put('T');
	struct deferred cancelled = {.fn = deferred_fn, .arg = "x"};
	reactor_defer(r, &cancelled);
	reactor_defer_cancel(r, &cancelled);
	reactor_stop(r);
}

START_TEST(deferred_calls_run_once_after_tasks)
{
	trace_len = 0;
	deferred_a = (struct deferred){.fn = deferred_fn, .arg = "a"};
	deferred_b = (struct deferred){.fn = deferred_fn, .arg = "b"};
	ck_assert_int_eq(task_start_on(reactor_sched(r), task_tracer, NULL), 0);
	reactor_run(r);
	ck_assert_uint_eq(trace_len, 4);
	ck_assert_mem_eq(trace, "tTab", 4);
}
END_TEST

static _Atomic int posts_seen;

static void count_post(void *arg)
{
	ck_assert_ptr_eq(reactor_current(), r);
	posts_seen++;
}

static void stop_post(void *arg)
{
	reactor_stop(arg);
}

static void *poster(void *arg)
{
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(reactor_post(r, count_post, NULL), 0);
	return NULL;
}

START_TEST(posts_from_threads_all_run)
{
	pthread_t t[3];
	posts_seen = 0;
	ck_assert_int_eq(reactor_start_thread(r), 0);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, poster, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	reactor_post(r, stop_post, r);
	reactor_join(r);
	ck_assert_int_eq(posts_seen, 3000);
}
END_TEST

static void *waker(void *arg)
{
	usleep(20000);
	task_wake(arg);
	return NULL;
}

static void wait_for_waker(void *arg)
{
	pthread_t t;
	pthread_create(&t, NULL, waker, task_self());
	task_park();
	pthread_join(t, NULL);
	reactor_stop(r);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

START_TEST(sleeps_until_another_thread_wakes_a_task)
{
	uint64_t before = cpu_ns();
	task_start_on(reactor_sched(r), wait_for_waker, NULL);
	reactor_run(r);
	ck_assert_uint_lt(cpu_ns() - before, 15 * NS_PER_MS);
}
END_TEST

static void yield_for_ever(void *arg)
{
	while (!*(bool *)arg)
		task_yield();
}

static void timer_ends_it(void *arg)
{
	*(bool *)arg = true;
	reactor_stop(r);
}

static struct env_timer end_timer;

static void start_end_timer(void *arg)
{
	end_timer = (struct env_timer){.fn = timer_ends_it, .arg = arg};
	env_timer_start(env_real(), &end_timer, 5 * NS_PER_MS);
}

START_TEST(yielding_tasks_do_not_starve_timers)
{
	bool over = false;
	task_start_on(reactor_sched(r), yield_for_ever, &over);
	reactor_post(r, start_end_timer, &over);
	reactor_run(r);
	ck_assert(over);
}
END_TEST

static struct env_timer timers[8];
static char names[] = "01234567";

static void timer_fn(void *arg)
{
	put(*(char *)arg);
	if (*(char *)arg == '3')
		env_timer_stop(env_real(), &timers[5]);
}

static void timer_task(void *arg)
{
	struct env *e = env_real();
	static const unsigned ms[] = {9, 3, 30, 6, 3, 12, 0, 15};
	for (int i = 0; i < 8; i++) {
		timers[i] = (struct env_timer){.fn = timer_fn, .arg = &names[i]};
		env_timer_start(e, &timers[i], ms[i] * NS_PER_MS);
	}
	env_timer_start(e, &timers[2], 1 * NS_PER_MS); /* moved */
	env_timer_stop(e, &timers[7]);
	env_timer_stop(e, &timers[7]);
	uint64_t start = env_now_ns(e);
	env_sleep_ns(e, 20 * NS_PER_MS);
	ck_assert_uint_ge(env_now_ns(e) - start, 20 * NS_PER_MS);
	reactor_stop(r);
}

START_TEST(timers_fire_in_order_and_never_early)
{
	trace_len = 0;
	task_start_on(reactor_sched(r), timer_task, NULL);
	reactor_run(r);
	ck_assert_uint_eq(trace_len, 6);
	ck_assert_mem_eq(trace, "621430", 6);
}
END_TEST

static void many_sleeps(void *arg)
{
	struct env *e = env_real();
	for (int i = 0; i < 20; i++) {
		uint64_t want = env_random_u64(e) % (3 * NS_PER_MS);
		uint64_t start = env_now_ns(e);
		env_sleep_ns(e, want);
		ck_assert_uint_ge(env_now_ns(e) - start, want);
	}
	if (--*(int *)arg == 0)
		reactor_stop(r);
}

START_TEST(many_sleepers)
{
	int left = 200;
	for (int i = 0; i < 200; i++)
		task_start_on(reactor_sched(r), many_sleeps, &left);
	reactor_run(r);
	ck_assert_int_eq(left, 0);
}
END_TEST

static void timeout_task(void *arg)
{
	struct waitq q;
	waitq_init(&q);
	ck_assert_int_eq(env_waitq_wait(env_real(), &q, 3 * NS_PER_MS), -ETIMEDOUT);
	ck_assert(waitq_empty(&q));
	reactor_stop(r);
}

START_TEST(wait_with_a_limit_gives_up)
{
	task_start_on(reactor_sched(r), timeout_task, NULL);
	reactor_run(r);
}
END_TEST

static int fds[2];
static struct watch *w;
static int watched;

static void on_readable(void *arg, int status, int events)
{
	char c[8];
	ck_assert_int_eq(status, 0);
	ck_assert_int_ne(events & UV_READABLE, 0);
	ck_assert_int_eq(read(fds[0], c, sizeof(c)), 1);
	if (++watched < 3) {
		ck_assert_int_eq(write(fds[1], "x", 1), 1);
		return;
	}
	watch_set(w, 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	start_end_timer(arg);
}

START_TEST(watch_tells_and_stops)
{
	bool over = false;
	watched = 0;
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(watch_new(&w, r, fds[0], on_readable, &over), 0);
	ck_assert_int_eq(watch_set(w, UV_READABLE), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	reactor_run(r);
	ck_assert_int_eq(watched, 3);
	watch_free(w);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(stop_before_run_and_run_again)
{
	reactor_stop(r);
	reactor_run(r);
	bool over = false;
	reactor_post(r, start_end_timer, &over);
	reactor_run(r);
	ck_assert(over);
}
END_TEST

static struct mem_pool *pool;
static int got_order[4], ngot;

static void pool_user(void *arg)
{
	int me = *(int *)arg;
	void *obj = mem_pool_get(pool);
	got_order[ngot++] = me;
	memset(obj, me, 100);
	task_yield();
	mem_pool_put(pool, obj);
	if (ngot == 4)
		reactor_stop(r);
}

START_TEST(pool_waits_in_arrival_order)
{
	int id[4] = {0, 1, 2, 3};
	ngot = 0;
	ck_assert_int_eq(mem_pool_new(&pool, "test", 100, 64, 1), 0);
	for (int i = 0; i < 4; i++)
		task_start_on(reactor_sched(r), pool_user, &id[i]);
	reactor_run(r);
	reactor_stop(r); /* the last one may still hold its object */
	reactor_run(r);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(got_order[i], i);
	ck_assert_uint_eq(mem_pool_available(pool), 1);
	mem_pool_free(pool);
}
END_TEST

START_TEST(pool_objects_are_aligned_and_apart)
{
	void *obj[5];
	ck_assert_int_eq(mem_pool_new(&pool, "test", 1000, 512, 5), 0);
	for (int i = 0; i < 5; i++) {
		obj[i] = mem_pool_try_get(pool);
		ck_assert_ptr_nonnull(obj[i]);
		ck_assert_uint_eq((uintptr_t)obj[i] % 512, 0);
		memset(obj[i], i, 1000);
	}
	ck_assert_ptr_null(mem_pool_try_get(pool));
	for (int i = 0; i < 5; i++) {
		for (int j = 0; j < 1000; j++)
			ck_assert_int_eq(((char *)obj[i])[j], i);
		mem_pool_put(pool, obj[i]);
	}
	mem_pool_free(pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reactor");
	TCase *tc = tcase_create("reactor");
	tcase_set_timeout(tc, 20);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, deferred_calls_run_once_after_tasks);
	tcase_add_test(tc, posts_from_threads_all_run);
	tcase_add_test(tc, sleeps_until_another_thread_wakes_a_task);
	tcase_add_test(tc, yielding_tasks_do_not_starve_timers);
	tcase_add_test(tc, timers_fire_in_order_and_never_early);
	tcase_add_test(tc, many_sleepers);
	tcase_add_test(tc, wait_with_a_limit_gives_up);
	tcase_add_test(tc, watch_tells_and_stops);
	tcase_add_test(tc, stop_before_run_and_run_again);
	tcase_add_test(tc, pool_waits_in_arrival_order);
	tcase_add_test(tc, pool_objects_are_aligned_and_apart);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
