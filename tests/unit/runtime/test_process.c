/* Processes as numbers, and how many files one may open. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include "runtime/beat.h"
#include "runtime/process.h"

START_TEST(open_files_up_to_the_hard_limit)
{
	struct rlimit l = {.rlim_cur = 100, .rlim_max = 300}, now;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	ck_assert_uint_eq(process_open_files(50), 100); /* never fewer */
	ck_assert_uint_eq(process_open_files(200), 200);
	ck_assert_uint_eq(process_open_files(1000), 300);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	ck_assert_uint_eq(now.rlim_cur, 300);
	ck_assert_uint_eq(now.rlim_max, 300);
}
END_TEST

START_TEST(who_has_started_and_who_not)
{
	ck_assert(process_started(process_self()));
	ck_assert(!process_started(-1));
	ck_assert(!process_started(INT32_MAX));
}
END_TEST

START_TEST(how_a_process_is)
{
	char state = 0;
	uint64_t waited = UINT64_MAX;
	ck_assert_int_eq(process_look(process_self(), &state, &waited), 0);
	ck_assert_int_eq(state, 'R');
	ck_assert_uint_ne(waited, UINT64_MAX);
	ck_assert_int_lt(process_look(-1, &state, &waited), 0);
	ck_assert_int_lt(process_look(INT32_MAX, &state, &waited), 0);
}
END_TEST

START_TEST(signs_of_life)
{
	char path[64];
	struct beat *b, *next;
	struct beat_seen s;
	snprintf(path, sizeof(path), "/dev/shm/isthmus-beat-%d", (int)process_self());
	ck_assert_int_eq(beat_look(path, &s), -ENOENT);
	ck_assert_int_eq(beat_begin(&b, path), 0);
	ck_assert_int_eq(beat_look(path, &s), 0);
	ck_assert(s.pid == process_self() && !s.serving && s.count == 0);
	beat_give(b, false);
	beat_give(b, true);
	ck_assert_int_eq(beat_look(path, &s), 0);
	ck_assert(s.serving && s.count == 2);
	/* What comes after it begins anew; the older one can no longer be heard. */
	ck_assert_int_eq(beat_begin(&next, path), 0);
	beat_give(b, true);
	ck_assert_int_eq(beat_look(path, &s), 0);
	ck_assert(!s.serving && s.count == 0);
	beat_end(b);
	beat_end(next);
	ck_assert_int_eq(truncate(path, 10), 0);
	ck_assert_int_eq(beat_look(path, &s), -EINVAL);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("process");
	TCase *t = tcase_create("process");
	tcase_add_test(t, open_files_up_to_the_hard_limit);
	tcase_add_test(t, who_has_started_and_who_not);
	tcase_add_test(t, how_a_process_is);
	tcase_add_test(t, signs_of_life);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
