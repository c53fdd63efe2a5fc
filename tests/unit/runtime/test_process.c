/* Processes as numbers, and how many files one may open. */
#include <check.h>
#include <sys/resource.h>
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

int main(void)
{
	Suite *s = suite_create("process");
	TCase *t = tcase_create("process");
	tcase_add_test(t, open_files_up_to_the_hard_limit);
	tcase_add_test(t, who_has_started_and_who_not);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
