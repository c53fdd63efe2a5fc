/* The main() of a check program whose tests all use the fixture. */
#ifndef ISTHMUS_TESTS_SCSI_SUITE_H
#define ISTHMUS_TESTS_SCSI_SUITE_H

#include <stdlib.h>
#include <check.h>
#include "tests/unit/scsi/fixture.h"

static inline int suite_run(const char *name, const TTest *const *tests)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define SUITE(name, ...)                                                                           \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__, NULL};                                  \
		return suite_run(name, tests);                                                     \
	}

#endif
