/* The lock table: cases by name, and random operations beside a model that knows every byte. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs/lock_model.h"

/* ---- the table against the model ---- */

static struct {
	char held[FILES][OWNERS][BYTES];
	unsigned locks, waits;
} found;

static unsigned owner_of(const struct lock_info *l)
{
	for (unsigned o = 0; o < OWNERS; o++) {
		struct lock_ask a = ask_of(&(struct want){.owner = o});
		if (a.client == l->client && a.owner_len == l->owner_len &&
		    memcmp(a.owner, l->owner, a.owner_len) == 0)
			return o;
	}
	ck_abort_msg("an owner nobody asked for");
	return 0;
}

static bool on_lock(void *arg, const struct lock_info *l)
{
	unsigned from = index_of(l->range.first), to = index_of(l->range.last);
	char kind = l->kind == LOCK_SHARED ? 'r' : 'w', *row;
	if (l->waits) {
		found.waits++;
		return true;
	}
	row = found.held[l->file.generation][owner_of(l)];
	for (unsigned i = from; i <= to; i++) {
		ck_assert(!row[i]); /* one owner's locks do not overlap */
		row[i] = kind;
	}
	found.locks++;
	return true;
}

/* As many as there are runs of one kind: neighbours were joined. */
static unsigned model_runs(void)
{
	unsigned n = 0;
	for (unsigned f = 0; f < FILES; f++)
		for (unsigned o = 0; o < OWNERS; o++)
			for (unsigned i = 0; i < BYTES; i++) {
				const char *row = m.held[f][o];
				bool apart = i == 0 || row[i - 1] != row[i];
				n += row[i] && apart;
			}
	return n;
}

static void check_same(void)
{
	struct lock_stats s;
	memset(&found, 0, sizeof(found));
	for (unsigned i = 0; i < CLIENTS; i++)
		lock_client_each(m.client[i], on_lock, NULL);
	ck_assert_mem_eq(found.held, m.held, sizeof(m.held));
	lock_stats(m.table, &s);
	ck_assert_uint_eq(s.locks, found.locks);
	ck_assert_uint_eq(s.waits, found.waits);
	ck_assert_uint_eq(found.locks, model_runs());
	for (unsigned i = 0; i < WAITS; i++) {
		const struct want *w = &m.waits[i];
		found.waits -= w->used;
		/* Who waits for nobody's lock waits for another's turn, and holds nothing. */
		if (w->used && !model_blocked(w))
			ck_assert(!model_holds(w->owner));
	}
	ck_assert_uint_eq(found.waits, 0);
}

/* ---- cases ---- */

START_TEST(locks_join_and_split)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 4, 6), 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 7, 9), 0);
	check_same();
	ck_assert_int_eq(set(0, LOCK_SHARED, 6, 7), 0);
	check_same();
	unset(0, 5, 5);
	check_same();
	ck_assert_int_eq(set(0, LOCK_SHARED, 0, BYTES - 1), 0);
	check_same();
	ck_assert_uint_eq(found.locks, 1);
	unset(0, 1, BYTES - 2);
	check_same();
	ck_assert_uint_eq(found.locks, 2);
	down();
}
END_TEST

START_TEST(the_end_of_a_file_is_locked)
{
	up(0, 0);
	struct lock_info by;
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, BYTES - 1, BYTES - 1), 0);
	ck_assert_int_eq(set(1, LOCK_EXCLUSIVE, 3, BYTES - 1), -EAGAIN);
	ck_assert_int_eq(set(1, LOCK_EXCLUSIVE, 3, BYTES - 2), 0);
	struct lock_ask a =
	    ask_of(&(struct want){.owner = 2, .kind = LOCK_SHARED, .to = BYTES - 1});
	ck_assert_int_eq(lock_test(m.table, &a, &by), -EAGAIN);
	ck_assert_uint_eq(by.range.first, 3);
	ck_assert_uint_eq(by.range.last, UINT64_MAX - 1);
	ck_assert_int_eq(by.kind, LOCK_EXCLUSIVE);
	/* Joined over the whole: nothing may overflow at either end. */
	unset(1, 0, BYTES - 1);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, BYTES - 2), 0);
	check_same();
	ck_assert_uint_eq(found.locks, 1);
	down();
}
END_TEST

START_TEST(waiters_are_served_in_order)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 9), 0);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 0, 9), -EINPROGRESS);
	ck_assert_int_eq(set_wait(2, LOCK_SHARED, 5, 5), -EINPROGRESS);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 0, 9), -EALREADY);
	unset(0, 0, 9);
	ck_assert_uint_eq(m.granted, 1);
	ck_assert_int_eq(m.held[0][1][5], 'w');
	check_same();
	unset(1, 0, 4);
	ck_assert_uint_eq(m.granted, 1);
	/* A write lock that becomes a read lock lets readers in. */
	ck_assert_int_eq(set(1, LOCK_SHARED, 5, 9), 0);
	ck_assert_uint_eq(m.granted, 2);
	check_same();
	down();
}
END_TEST

START_TEST(a_writer_is_not_starved)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_SHARED, 0, 9), 0);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 0, 0), -EINPROGRESS);
	ck_assert_int_eq(set_wait(2, LOCK_SHARED, 0, 9), -EINPROGRESS);
	/* One that would not wait cannot be told of a lock in its way: there is none. */
	ck_assert_int_eq(set(3, LOCK_SHARED, 0, 9), 0);
	/* Whoever holds a lock queues behind nobody. */
	ck_assert_int_eq(set(4, LOCK_SHARED, 20, 20), 0);
	ck_assert_int_eq(set_wait(4, LOCK_SHARED, 0, 0), 0);
	check_same();
	unset(0, 0, 9);
	unset(4, 0, 0);
	unset(3, 0, 9);
	ck_assert_int_eq(m.held[0][1][0], 'w');
	check_same();
	unset(1, 0, 0);
	ck_assert_int_eq(m.held[0][2][0], 'r');
	down();
}
END_TEST

START_TEST(a_first_lock_ends_the_queueing)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_SHARED, 0, 9), 0);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 0, 0), -EINPROGRESS);
	ck_assert_int_eq(set_wait(2, LOCK_SHARED, 0, 0), -EINPROGRESS);
	ck_assert_int_eq(set(2, LOCK_EXCLUSIVE, 20, 20), 0);
	ck_assert_int_eq(m.held[0][2][0], 'r');
	check_same();
	down();
}
END_TEST

START_TEST(deadlocks_are_found)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 0), 0);
	ck_assert_int_eq(set(4, LOCK_EXCLUSIVE, 1, 1), 0);
	ck_assert_int_eq(set(6, LOCK_EXCLUSIVE, 2, 2), 0);
	ck_assert_int_eq(set_wait(0, LOCK_EXCLUSIVE, 1, 1), -EINPROGRESS);
	ck_assert_int_eq(set_wait(4, LOCK_EXCLUSIVE, 2, 2), -EINPROGRESS);
	ck_assert_int_eq(set_wait(6, LOCK_SHARED, 0, 0), -EDEADLK);
	ck_assert_int_eq(set_wait(6, LOCK_SHARED, 3, 3), 0);
	/* Two readers that both want to write. */
	ck_assert_int_eq(set(1, LOCK_SHARED, 10, 10), 0);
	ck_assert_int_eq(set(2, LOCK_SHARED, 10, 10), 0);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 10, 10), -EINPROGRESS);
	ck_assert_int_eq(set_wait(2, LOCK_EXCLUSIVE, 10, 10), -EDEADLK);
	check_same();
	unset(6, 2, 2);
	ck_assert_int_eq(m.held[0][4][2], 'w');
	down();
}
END_TEST

START_TEST(a_client_that_goes_leaves_nothing)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 9), 0);
	ck_assert_int_eq(set_wait(4, LOCK_EXCLUSIVE, 0, 5), -EINPROGRESS);
	ck_assert_int_eq(set_wait(6, LOCK_EXCLUSIVE, 0, 9), -EINPROGRESS);
	lock_client_release(m.client[1]);
	ck_assert_uint_eq(m.dropped, 1);
	memset(m.held[0][0], 0, BYTES);
	lock_client_release(m.client[0]);
	ck_assert_uint_eq(m.granted, 1);
	check_same();
	down();
}
END_TEST

START_TEST(cancelled_requests_let_others_by)
{
	up(0, 0);
	ck_assert_int_eq(set(0, LOCK_SHARED, 0, 9), 0);
	ck_assert_int_eq(set_wait(1, LOCK_EXCLUSIVE, 0, 9), -EINPROGRESS);
	ck_assert_int_eq(set_wait(2, LOCK_SHARED, 0, 9), -EINPROGRESS);
	struct lock_ask a = ask_of(&m.waits[0]);
	struct lock_wait *w = lock_wait_find(m.table, &a);
	ck_assert_ptr_eq(lock_wait_user(w), &m.waits[0]);
	m.waits[0].used = false;
	lock_wait_cancel(w);
	ck_assert_ptr_null(lock_wait_find(m.table, &a));
	ck_assert_int_eq(m.held[0][2][3], 'r');
	check_same();
	down();
}
END_TEST

START_TEST(limits_hold)
{
	struct lock_stats s;
	up(3, 2);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 4 * i, 4 * i), 0);
	ck_assert_int_eq(set(1, LOCK_EXCLUSIVE, 20, 20), -ENOLCK);
	ck_assert_int_eq(set(4, LOCK_EXCLUSIVE, 20, 20), 0);
	ck_assert_int_eq(set_wait(4, LOCK_SHARED, 0, 0), -EINPROGRESS);
	ck_assert_int_eq(set_wait(4, LOCK_SHARED, 4, 4), -EINPROGRESS);
	ck_assert_int_eq(set_wait(5, LOCK_SHARED, 8, 8), -ENOLCK);
	/* An unlock is not refused, but one that makes two of one where there may be no more. */
	unset(0, 0, 9);
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 10, 18), 0);
	unset(0, 12, 12);
	unset(0, 14, 14);
	struct lock_ask a = ask_of(&(struct want){.owner = 0, .from = 16, .to = 16});
	ck_assert_int_eq(lock_unset(m.table, &a), -ENOLCK);
	check_same();
	unset(0, 15, 15);
	unset(0, 18, 18);
	unset(0, 11, 17);
	check_same();
	lock_stats(m.table, &s);
	ck_assert_uint_eq(s.refused, 3);
	ck_assert_uint_eq(s.locks, 4); /* with two that waited */
	down();
}
END_TEST

START_TEST(who_waits_gets_no_more_than_others)
{
	struct lock_stats s;
	up(2, 5);
	ck_assert_int_eq(set(4, LOCK_EXCLUSIVE, 0, 9), 0);
	ck_assert_int_eq(set_wait(0, LOCK_EXCLUSIVE, 0, 0), -EINPROGRESS);
	ck_assert_int_eq(set_wait(0, LOCK_EXCLUSIVE, 2, 2), -EINPROGRESS);
	ck_assert_int_eq(set_wait(0, LOCK_EXCLUSIVE, 4, 4), -ENOLCK);
	unset(4, 0, 9);
	check_same();
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 20, 20), -ENOLCK);
	lock_stats(m.table, &s);
	ck_assert_uint_eq(s.locks, 2);
	down();
}
END_TEST

START_TEST(share_reservations)
{
	up(0, 0);
	struct lock_ask a = ask_of(&(struct want){.owner = 0}),
			b = ask_of(&(struct want){.owner = 4}),
			c = ask_of(&(struct want){.owner = 6});
	ck_assert_int_eq(lock_share(m.table, &a, LOCK_SHARE_READ, LOCK_SHARE_WRITE), 0);
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_WRITE, 0), -EAGAIN);
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_READ, LOCK_SHARE_READ), -EAGAIN);
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_READ, 0), 0);
	/* The same owner again: replaced. */
	ck_assert_int_eq(lock_share(m.table, &a, LOCK_SHARE_READ, 0), 0);
	ck_assert_int_eq(lock_share(m.table, &c, LOCK_SHARE_WRITE, 0), 0);
	lock_unshare(m.table, &c);
	lock_unshare(m.table, &c);
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_READ, LOCK_SHARE_WRITE), 0);
	ck_assert_int_eq(lock_share(m.table, &c, LOCK_SHARE_WRITE, 0), -EAGAIN);
	down(); /* the clients' end takes the rest */
}
END_TEST

START_TEST(who_is_in_the_way)
{
	up(0, 0);
	struct lock_ask a = ask_of(&(struct want){.owner = 0}),
			b = ask_of(&(struct want){.owner = 4});
	struct lock_client *holder = a.client, *other = b.client;
	struct lock_info by;
	ck_assert_int_eq(set(0, LOCK_EXCLUSIVE, 0, 5), 0);
	ck_assert_int_eq(set(4, LOCK_EXCLUSIVE, 6, 7), 0);
	ck_assert(!lock_client_in_way(holder));
	/* Each way to be refused; of the asker nothing is. */
	ck_assert_int_eq(set(4, LOCK_SHARED, 5, 6), -EAGAIN);
	ck_assert(lock_client_in_way(holder) && !lock_client_in_way(other));
	lock_client_yield(holder);
	ck_assert(!lock_client_in_way(holder));
	b.range = (struct lock_range){0, 0};
	ck_assert_int_eq(lock_test(m.table, &b, &by), -EAGAIN);
	ck_assert(lock_client_in_way(holder));
	lock_client_yield(holder);
	ck_assert_int_eq(lock_share(m.table, &a, LOCK_SHARE_READ, LOCK_SHARE_WRITE), 0);
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_READ, 0), 0);
	ck_assert(!lock_share_denied(m.table, &a.file, LOCK_SHARE_READ));
	ck_assert(!lock_client_in_way(holder) && !lock_client_in_way(other));
	ck_assert_int_eq(lock_share(m.table, &b, LOCK_SHARE_WRITE, 0), -EAGAIN);
	ck_assert(lock_client_in_way(holder));
	lock_client_yield(holder);
	ck_assert(lock_share_denied(m.table, &a.file, LOCK_SHARE_WRITE));
	ck_assert(lock_client_in_way(holder));
	/* Who waits does not ask again. */
	ck_assert_int_eq(set_wait(4, LOCK_SHARED, 5, 5), -EINPROGRESS);
	lock_client_yield(holder);
	ck_assert(lock_client_in_way(holder));
	down();
}
END_TEST

START_TEST(full)
{
	up(0, 0);
	ck_assert(!lock_table_full(m.table));
	down();
	struct lock_table_opts o = {.max_locks = 1, .granted = on_granted, .dropped = on_dropped};
	struct lock_table *t;
	struct lock_client *c;
	ck_assert_int_eq(lock_table_new(&t, &o), 0);
	ck_assert_int_eq(lock_client_new(&c, t, NULL), 0);
	struct lock_ask a = {.client = c, .owner = "", .range = {0, 1}};
	ck_assert_int_eq(lock_set(t, &a), 0);
	ck_assert(lock_table_full(t));
	a.range = (struct lock_range){5, 6};
	ck_assert_int_eq(lock_set(t, &a), -ENOLCK);
	lock_client_free(c);
	ck_assert(!lock_table_full(t));
	lock_table_free(t);
}
END_TEST

/* ---- anything ---- */

static unsigned rnd(unsigned n)
{
	return (unsigned)random() % n;
}

static void random_set(void)
{
	unsigned file = rnd(FILES), owner = rnd(OWNERS), from = rnd(BYTES);
	struct want w = {.file = file,
			 .owner = owner,
			 .kind = rnd(2) ? LOCK_EXCLUSIVE : LOCK_SHARED,
			 .from = from,
			 .to = from + rnd(MIN(BYTES - from, 6u))};
	struct lock_ask a = ask_of(&w);
	bool blocked = model_blocked(&w);
	m.now = &w;
	int rc = lock_set(m.table, &a);
	if (rc == 0)
		model_now();
	m.now = NULL;
	ck_assert_int_eq(rc, blocked ? -EAGAIN : 0);
}

static void random_wait(void)
{
	unsigned from = rnd(BYTES), used = 0, owner = rnd(OWNERS);
	for (unsigned i = 0; i < WAITS; i++)
		used += m.waits[i].used;
	if (used > 20)
		return;
	struct want w = {.file = rnd(FILES),
			 .owner = owner,
			 .kind = rnd(2) ? LOCK_EXCLUSIVE : LOCK_SHARED,
			 .from = from,
			 .to = from + rnd(MIN(BYTES - from, 6u))};
	bool blocked = model_blocked(&w), seen[OWNERS] = {false};
	bool cycle = blocked && model_reaches(&w, owner, seen), holds = model_holds(owner);
	int rc = set_wait_in(w.file, owner, w.kind, w.from, w.to);
	if (rc == -EALREADY)
		return;
	if (cycle)
		ck_assert_int_eq(rc, -EDEADLK);
	else if (blocked)
		ck_assert_int_eq(rc, -EINPROGRESS);
	else if (holds)
		ck_assert_int_eq(rc, 0);
	else
		ck_assert(rc == 0 || rc == -EINPROGRESS);
}

static void random_cancel(void)
{
	struct want *w = &m.waits[rnd(WAITS)];
	if (!w->used)
		return;
	struct lock_ask a = ask_of(w);
	struct lock_wait *q = lock_wait_find(m.table, &a);
	ck_assert_ptr_nonnull(q);
	ck_assert_ptr_eq(lock_wait_user(q), w);
	w->used = false;
	lock_wait_cancel(q);
}

static void random_unset(void)
{
	unsigned from = rnd(BYTES);
	struct want w = {
	    .file = rnd(FILES), .owner = rnd(OWNERS), .from = from, .to = from + rnd(BYTES - from)};
	struct lock_ask a = ask_of(&w);
	model_hold(&w, 0);
	ck_assert_int_eq(lock_unset(m.table, &a), 0);
}

START_TEST(random_operations_agree_with_the_model)
{
	srandom(4711 + (unsigned)_i);
	up(0, 0);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned what = rnd(100);
		if (what < 35)
			random_set();
		else if (what < 60)
			random_wait();
		else if (what < 65)
			random_cancel();
		else if (what < 99)
			random_unset();
		else if (rnd(10) == 0) {
			model_client_ends(m.client[2]);
			lock_client_release(m.client[2]);
		}
		check_same();
	}
	ck_assert_uint_gt(m.granted, 20);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lock_table");
	TCase *c = tcase_create("cases");
	TCase *r = tcase_create("random");
	tcase_add_test(c, locks_join_and_split);
	tcase_add_test(c, the_end_of_a_file_is_locked);
	tcase_add_test(c, waiters_are_served_in_order);
	tcase_add_test(c, a_writer_is_not_starved);
	tcase_add_test(c, a_first_lock_ends_the_queueing);
	tcase_add_test(c, deadlocks_are_found);
	tcase_add_test(c, a_client_that_goes_leaves_nothing);
	tcase_add_test(c, cancelled_requests_let_others_by);
	tcase_add_test(c, limits_hold);
	tcase_add_test(c, who_waits_gets_no_more_than_others);
	tcase_add_test(c, share_reservations);
	tcase_add_test(c, who_is_in_the_way);
	tcase_add_test(c, full);
	tcase_add_loop_test(r, random_operations_agree_with_the_model, 0, 5);
	tcase_set_timeout(r, 120);
	suite_add_tcase(s, c);
	suite_add_tcase(s, r);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
