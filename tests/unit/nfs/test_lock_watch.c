/* Who watches in the table of locks: told in time, by looks at few, and in nobody's way. */
#include <errno.h>
#include <stdlib.h>
#include "tests/unit/nfs/lock_model.h"

static unsigned told;
static void on_told(struct lock_watch *w)
{
	told++;
}

static struct lock_watch watch_of(unsigned owner, enum lock_kind kind, unsigned from, unsigned to)
{
	const struct want w = {.owner = owner, .kind = kind, .from = from, .to = to};
	return (struct lock_watch){.ask = ask_of(&w), .told = on_told};
}

/* Who watches is told when nothing is in the way, and is in nobody's. */
START_TEST(who_watches_is_told)
{
	up(0, 0);
	told = 0;
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 2, 3), 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 6, 7), 0);
	struct lock_watch w = watch_of(1, LOCK_SHARED, 0, 9), gone = watch_of(2, LOCK_SHARED, 0, 9);
	ck_assert_int_eq(lock_watch_begin(m.table, &w), 0);
	ck_assert_int_eq(lock_watch_begin(m.table, &gone), 0);
	unset(0, 2, 3);
	ck_assert_uint_eq(told, 0); /* the other is still held */
	lock_watch_end(m.table, &gone);
	lock_watch_end(m.table, &gone);
	/* One that waits has it first. */
	ck_assert_int_eq(set_wait(3, LOCK_EXCLUSIVE, 6, 6), -EINPROGRESS);
	unset(0, 6, 7);
	ck_assert_uint_eq(told, 0);
	unset(3, 6, 6);
	ck_assert_uint_eq(told, 1);
	ck_assert_ptr_null(w.file);
	/* Once; and nothing is held for it. */
	ck_assert_int_eq(set(2, LOCK_EXCLUSIVE, 0, 9), 0);
	unset(2, 0, 9);
	ck_assert_uint_eq(told, 1);
	/* What one holds is not in one's own way. */
	ck_assert_int_eq(set(1, LOCK_SHARED, 0, 1), 0);
	ck_assert_int_eq(set(2, LOCK_SHARED, 0, 1), 0);
	w = watch_of(1, LOCK_EXCLUSIVE, 0, 1);
	ck_assert_int_eq(lock_watch_begin(m.table, &w), 0);
	unset(2, 0, 1);
	ck_assert_uint_eq(told, 2);
	unset(1, 0, 1);
	down();
}
END_TEST

static uint64_t looks(void)
{
	struct lock_stats st;
	lock_stats(m.table, &st);
	return st.watch_looks;
}

/* A change looks at those it was in the way of, not at all who watch in the file. */
START_TEST(watches_of_others_cost_nothing)
{
	enum { N = 200 };
	static struct lock_watch w[N], one;
	up(0, 0);
	told = 0;
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 3), 0);
	ck_assert_int_eq(set(3, LOCK_EXCLUSIVE, 10, 12), 0);
	for (unsigned i = 0; i < N; i++) {
		w[i] = watch_of(1, LOCK_SHARED, i % 4, 6);
		ck_assert_int_eq(lock_watch_begin(m.table, &w[i]), 0);
	}
	one = watch_of(2, LOCK_SHARED, 10, 20);
	ck_assert_int_eq(lock_watch_begin(m.table, &one), 0);
	uint64_t before = looks();
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(set(3, LOCK_EXCLUSIVE, 14, 15), 0);
		unset(3, 14, 15);
	}
	ck_assert_uint_eq(looks(), before);
	unset(3, 11, 12); /* the one is looked at, and hangs on */
	ck_assert_uint_eq(looks(), before + 1);
	unset(3, 10, 10);
	ck_assert_uint_eq(looks(), before + 2);
	ck_assert_uint_eq(told, 1);
	/* The holder locks more beside it: they hang on what it became. */
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 4, 5), 0);
	ck_assert_uint_eq(looks(), before + 2);
	lock_watch_end(m.table, &w[0]);
	unset(0, 0, 3);
	ck_assert_uint_eq(told, 1); /* what it locked last is still in their way */
	unset(0, 4, 5);
	ck_assert_uint_eq(told, N);
	down();
}
END_TEST

/* A watch is no request: who is hung on for it alone is in nobody's way. */
START_TEST(watches_end_no_courtesy)
{
	up(0, 0);
	struct lock_client *holder = ask_of(&(struct want){.owner = 0}).client;
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 3), 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 8, 9), 0);
	struct lock_watch w = watch_of(4, LOCK_SHARED, 0, 20);
	ck_assert_int_eq(set(4, LOCK_SHARED, 0, 20), -EAGAIN);
	ck_assert_int_eq(lock_watch_begin(m.table, &w), 0);
	ck_assert_int_eq(set(4, LOCK_EXCLUSIVE, 12, 13), 0);
	lock_client_yield(holder);
	unset(4, 12, 13);
	ck_assert(!lock_client_in_way(holder));
	unset(0, 0, 3); /* it hangs on the other now */
	ck_assert(!lock_client_in_way(holder));
	ck_assert_int_eq(set(4, LOCK_SHARED, 0, 20), -EAGAIN);
	ck_assert(lock_client_in_way(holder));
	lock_watch_end(m.table, &w);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lock_watch");
	TCase *c = tcase_create("watches");
	tcase_add_test(c, who_watches_is_told);
	tcase_add_test(c, watches_of_others_cost_nothing);
	tcase_add_test(c, watches_end_no_courtesy);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
