/* Copies past the processor's cache: every alignment and length, and nothing beside them. The
 * trees with sanitizers have a plain copy in their place: only others test the stores. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/copy.h"

#define SIZE 8192

static _Alignas(4096) unsigned char from[SIZE], to[SIZE], want[SIZE];

static void copy(size_t at, size_t src, size_t n)
{
	memset(to, 0xee, SIZE);
	memset(want, 0xee, SIZE);
	memcpy(want + at, from + src, n);
	copy_past_cache(to + at, from + src, n);
	ck_assert_msg(memcmp(to, want, SIZE) == 0, "to %zu from %zu length %zu", at, src, n);
}

START_TEST(all_alignments_and_lengths)
{
	static const size_t lengths[] = {0,    1,    63,   64,	 65,   511,  512, 1023,
					 1024, 1025, 1087, 1088, 4095, 4096, 4097};
	for (size_t i = 0; i < SIZE; i++)
		from[i] = (unsigned char)(i * 31 + i / 256);
	for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++)
		for (size_t at = 0; at < 130; at++)
			for (size_t src = 0; src < 70; src += 3)
				copy(at, src, lengths[k]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("copy");
	TCase *tc = tcase_create("copy");
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, all_alignments_and_lengths);
	suite_add_tcase(s, tc);
	SRunner *run = srunner_create(s);
	srunner_run_all(run, CK_ENV);
	int failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
