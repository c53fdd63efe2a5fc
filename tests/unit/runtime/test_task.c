/* Tasks: order, parking, wakes from other threads, locks, the start queue. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "runtime/task.h"

static struct sched *s;

static void setup(void)
{
	ck_assert_int_eq(sched_new(&s, 64, 0, NULL, NULL), 0);
	sched_set_current(s);
}

static void teardown(void)
{
	sched_set_current(NULL);
	sched_free(s);
}

static char trace[64];
static int trace_len;

static void tracer(void *arg)
{
	for (int i = 0; i < 3; i++) {
		trace[trace_len++] = *(char *)arg;
		task_yield();
	}
}

START_TEST(yield_takes_turns)
{
	trace_len = 0;
	char a = 'a', b = 'b';
	task_start(tracer, &a);
	task_start(tracer, &b);
	sched_run(s);
	ck_assert_mem_eq(trace, "ababab", 6);
	ck_assert_uint_eq(sched_count(s), 0);
}
END_TEST

static void count_up(void *arg)
{
	task_yield();
	++*(int *)arg;
}

START_TEST(starts_beyond_the_limit_wait_their_turn)
{
	int n = 0;
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(task_start(count_up, &n), 0);
	sched_run(s);
	ck_assert_int_eq(n, 1000);
}
END_TEST

static struct task *parked;
static _Atomic int wakes_seen;

static void park_many(void *arg)
{
	parked = task_self();
	for (int i = 0; i < *(int *)arg; i++) {
		task_park();
		wakes_seen++;
	}
	parked = NULL;
}

START_TEST(wake_before_park_is_kept)
{
	int n = 2;
	wakes_seen = 0;
	task_start(park_many, &n);
	sched_run(s);
	task_wake(parked);
	task_wake(parked);
	sched_run(s);
	ck_assert_int_eq(wakes_seen, 1);
	task_wake(parked);
	sched_run(s);
	ck_assert_int_eq(wakes_seen, 2);
}
END_TEST

static int pipe_fd[2];

static void notify(void *arg)
{
	ck_assert_int_eq(write(pipe_fd[1], "x", 1), 1);
}

struct pinger {
	_Atomic int turn;
	struct task *task;
	int rounds;
};

static void ping_task(void *arg)
{
	struct pinger *p = arg;
	for (int i = 0; i < p->rounds; i++) {
		p->turn = 1;
		while (p->turn == 1)
			task_park();
	}
	p->turn = 2;
}

static void *ping_thread(void *arg)
{
	struct pinger *p = arg;
	while (p->turn != 2) {
		if (p->turn == 1) {
			p->turn = 0;
			task_wake(p->task);
		}
	}
	return NULL;
}

static void ping_start(void *arg)
{
	struct pinger *p = arg;
	p->task = task_self();
	ping_task(p);
}

START_TEST(wakes_from_another_thread_are_not_lost)
{
	struct sched *r;
	ck_assert_int_eq(pipe(pipe_fd), 0);
	ck_assert_int_eq(sched_new(&r, 8, 0, notify, NULL), 0);
	sched_set_current(r);
	struct pinger p = {.turn = 0, .rounds = 20000};
	task_start(ping_start, &p);
	sched_run(r);
	pthread_t t;
	pthread_create(&t, NULL, ping_thread, &p);
	while (sched_count(r)) {
		char c;
		if (!sched_ready(r))
			ck_assert_int_eq(read(pipe_fd[0], &c, 1), 1);
		sched_run(r);
	}
	pthread_join(t, NULL);
	sched_set_current(s);
	sched_free(r);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}
END_TEST

static struct task_mutex mutex;
static int inside;

static void mutex_user(void *arg)
{
	for (int i = 0; i < 5; i++) {
		task_mutex_lock(&mutex);
		ck_assert_int_eq(inside++, 0);
		task_yield();
		inside--;
		task_mutex_unlock(&mutex);
	}
}

START_TEST(mutex_keeps_others_out_over_waits)
{
	task_mutex_init(&mutex);
	for (int i = 0; i < 10; i++)
		task_start(mutex_user, NULL);
	sched_run(s);
	ck_assert_uint_eq(sched_count(s), 0);
}
END_TEST

static struct task_rwlock rwlock;
static int readers_in, writers_in, most_readers;

static void rw_reader(void *arg)
{
	task_rwlock_rdlock(&rwlock);
	ck_assert_int_eq(writers_in, 0);
	if (++readers_in > most_readers)
		most_readers = readers_in;
	task_yield();
	readers_in--;
	task_rwlock_rdunlock(&rwlock);
}

static void rw_writer(void *arg)
{
	task_rwlock_wrlock(&rwlock);
	ck_assert_int_eq(readers_in, 0);
	ck_assert_int_eq(writers_in++, 0);
	task_yield();
	writers_in--;
	task_rwlock_wrunlock(&rwlock);
}

START_TEST(rwlock_shares_readers_only)
{
	task_rwlock_init(&rwlock);
	most_readers = 0;
	for (int i = 0; i < 30; i++)
		task_start(i % 5 == 4 ? rw_writer : rw_reader, NULL);
	sched_run(s);
	ck_assert_uint_eq(sched_count(s), 0);
	ck_assert_int_gt(most_readers, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("task");
	TCase *tc = tcase_create("task");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, yield_takes_turns);
	tcase_add_test(tc, starts_beyond_the_limit_wait_their_turn);
	tcase_add_test(tc, wake_before_park_is_kept);
	tcase_add_test(tc, wakes_from_another_thread_are_not_lost);
	tcase_add_test(tc, mutex_keeps_others_out_over_waits);
	tcase_add_test(tc, rwlock_shares_readers_only);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
