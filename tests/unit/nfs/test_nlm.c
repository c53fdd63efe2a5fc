/*
 * The lock manager as clients see it: calls as bytes over UDP and TCP against the whole service,
 * and a client's end (portmapper and callbacks) played by the test. Who may do what:
 * test_nlm_access.c.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs/nlm_world.h"

/* ---- cases ---- */

START_TEST(locks_conflict_between_owners_and_hosts)
{
	up_granting();
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 10, .len = 10), GRANTED);
	ck_assert_int_eq(kept, 1);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 15, .len = 10), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .off = 24, .len = 1), DENIED);
	ck_assert_uint_eq(LOCK(.svid = 2, .off = 25, .len = 0), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 1, .oh = "x", .off = 10, .len = 1), DENIED);
	ck_assert_uint_eq(LOCK(.name = "other", .svid = 1, .off = 10, .len = 1), DENIED);
	ck_assert_int_eq(kept, 2);
	ck_assert_uint_eq(TEST(.svid = 2, .off = 0, .len = 10), GRANTED);
	struct xdr_in r =
	    nlm_call(1, &(struct args){.svid = 9, .exclusive = true, .off = 30, .len = 1}, true);
	const uint8_t *p;
	uint32_t n, v;
	uint64_t off, len;
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && xdr_u32(&r, &v) && v == DENIED);
	ck_assert(xdr_u32(&r, &v) && v == 0 && xdr_u32(&r, &v) && v == 2);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == 5 && !memcmp(p, "owner", 5));
	ck_assert(xdr_u64(&r, &off) && off == 25 && xdr_u64(&r, &len) && len == 0);
	ck_assert_uint_eq(xdr_left(&r), 0);
	ck_assert_uint_eq(UNLOCK(.svid = 1, .off = 12, .len = 2), GRANTED);
	ck_assert_uint_eq(LOCK(.name = "other", .svid = 1, .off = 12, .len = 2), GRANTED);
	ck_assert_uint_eq(LOCK(.name = "other", .svid = 1, .off = 11, .len = 2), DENIED);
	down();
}
END_TEST

START_TEST(errors_have_their_names)
{
	up_granting();
	ck_assert_uint_eq(LOCK(.off = UINT64_MAX, .len = 2), FBIG);
	ck_assert_uint_eq(LOCK(.off = UINT64_MAX, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.ro = true, .exclusive = true), ROFS);
	ck_assert_uint_eq(LOCK(.ro = true, .off = 5, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.reclaim = true), GRACE);
	handle[FH_SIZE - 1] ^= 1;
	ck_assert_uint_eq(LOCK(.len = 1), STALE);
	handle[FH_SIZE - 1] ^= 1;
	handle[0] = 9;
	ck_assert_uint_eq(UNLOCK(.len = 1), STALE);
	ck_assert_uint_eq(LOCK(.vers = 1, .len = 1), NOLOCKS); /* version 1 has no such word */
	handle[0] = FH_VERSION;
	fail_keep = true;
	ck_assert_uint_eq(LOCK(.name = "nobody", .off = 1, .len = 1), NOLOCKS);
	fail_keep = false;
	for (unsigned i = 0; i < 48; i++)
		ck_assert_uint_eq(LOCK(.off = 100 + 2 * i, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.off = 300, .len = 1), NOLOCKS);
	ck_assert_uint_eq(LOCK(.name = "other", .off = 300, .len = 1), GRANTED);
	/* Not what it says it is. */
	uint8_t junk[40] = {0, 0, 0, 200};
	struct xdr_out x = {.base = junk, .p = junk + sizeof(junk)};
	uint32_t accept;
	for (uint32_t proc = 1; proc < 24; proc++) {
		call(100021, 4, proc, &x, proc & 1, &accept);
		ck_assert_uint_eq(accept, proc > 15 && proc < 20 ? 3 : 4);
	}
	call(100021, 2, 0, NULL, false, &accept);
	ck_assert_uint_eq(accept, 2);
	call(100003, 3, 0, NULL, false, &accept); /* NFS itself does not take datagrams */
	ck_assert_uint_eq(accept, 1);
	call(100005, 3, 5, NULL, false, &accept);
	ck_assert_uint_eq(accept, 0);
	down();
}
END_TEST

START_TEST(a_waiting_client_is_called_back)
{
	struct xdr_in r;
	const uint8_t *p;
	uint32_t n;
	bool exclusive;
	up_granting();
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 3, .len = 4), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5), BLOCKED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5), BLOCKED);
	ck_assert_uint_eq(UNLOCK(.svid = 1, .off = 0), GRANTED);
	ck_assert_uint_eq(serve_back(&r, GRANTED), 5);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && xdr_bool(&r, &exclusive) && exclusive);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == 6 && !memcmp(p, "client", 6));
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == FH_SIZE && !memcmp(p, handle, n));
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && xdr_u32(&r, &n) && n == 2);
	ck_assert_uint_eq(LOCK(.svid = 1, .off = 6, .len = 1), DENIED);
	/* One that does not want it any more says so. */
	ck_assert_uint_eq(LOCK(.svid = 3, .block = true, .exclusive = true, .off = 5), BLOCKED);
	ck_assert_uint_eq(UNLOCK(.svid = 2), GRANTED);
	ck_assert_uint_eq(serve_back(&r, DENIED), 5);
	uint32_t st = DENIED;
	for (int i = 0; i < 500 && st == DENIED; i++, usleep(10000))
		st = LOCK(.svid = 1, .exclusive = true, .off = 5);
	ck_assert_uint_eq(st, GRANTED);
	/* Cancelled: the next in line is not held up. */
	ck_assert_uint_eq(LOCK(.svid = 4, .block = true, .exclusive = true, .off = 5), BLOCKED);
	ck_assert_uint_eq(CANCEL(.svid = 4, .block = true, .exclusive = true, .off = 5), GRANTED);
	ck_assert_uint_eq(CANCEL(.svid = 4, .block = true, .exclusive = true, .off = 5), DENIED);
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 5, .exclusive = true), GRANTED);
	down();
}
END_TEST

START_TEST(a_deadlock_is_told)
{
	up_granting();
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 0, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .exclusive = true, .off = 1, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 1, .block = true, .off = 1, .len = 1), BLOCKED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .off = 0, .len = 1), DEADLCK);
	down();
}
END_TEST

START_TEST(messages_are_answered_by_calls)
{
	static const uint32_t procs[] = {7, 6, 9, 8};
	static const uint32_t stats[] = {GRANTED, GRANTED, GRANTED, DENIED};
	struct xdr_in r;
	const uint8_t *p;
	uint32_t n, stat;
	up_granting();
	for (unsigned i = 0; i < ARRAY_LEN(procs); i++) {
		r = nlm_call(procs[i], &(struct args){.exclusive = true, .len = 3}, false);
		ck_assert_uint_eq(xdr_left(&r), 0);
		ck_assert_uint_eq(serve_back(&r, 0), procs[i] + 5);
		ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == 6 && xdr_u32(&r, &stat));
		ck_assert_uint_eq(stat, stats[i]);
	}
	/* Who waits by a message is told by one, and answers by one. */
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true), GRANTED);
	nlm_call(7, &(struct args){.svid = 2, .exclusive = true, .block = true}, false);
	ck_assert_uint_eq(serve_back(&r, 0), 12);
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	ck_assert_uint_eq(serve_back(&r, 0), 10);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == 8);
	uint8_t buf[64];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	xdr_put_opaque(&x, p, 8);
	xdr_put_u32(&x, DENIED);
	call(100021, 4, 15, &x, false, &stat);
	uint32_t st = DENIED;
	for (int i = 0; i < 500 && st == DENIED; i++, usleep(10000))
		st = LOCK(.svid = 1, .exclusive = true);
	ck_assert_uint_eq(st, GRANTED);
	down();
}
END_TEST

/* The server dies while one waits: its successor has all of it, and calls. */
START_TEST(locks_and_waits_outlive_a_server)
{
	static struct mem_store store;
	struct xdr_in r;
	up_stored(&store);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 3, .len = 4), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 1, .off = 100, .len = 4), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5, .len = 1),
			  BLOCKED);
	replace();
	ck_assert_uint_eq(LOCK(.name = "other", .exclusive = true, .off = 100, .len = 1), DENIED);
	ck_assert_uint_eq(LOCK(.name = "other", .off = 100, .len = 1), GRANTED);
	ck_assert_uint_eq(UNLOCK(.svid = 1, .off = 0, .len = 90), GRANTED);
	ck_assert_uint_eq(serve_back(&r, GRANTED), 5);
	/* Granted, and the client had not heard so. */
	ck_assert_uint_eq(LOCK(.svid = 3, .block = true, .exclusive = true, .off = 5, .len = 1),
			  BLOCKED);
	/* The first one's goes when its answer was taken. */
	for (int i = 0; i < 500 && mem_store_count(&store, STORE_WAIT) > 1; i++)
		usleep(10000);
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 1);
	ck_assert_uint_eq(UNLOCK(.svid = 2), GRANTED);
	replace();
	ck_assert_uint_eq(serve_back(&r, GRANTED), 5);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), DENIED);
	for (int i = 0; i < 500 && mem_store_count(&store, STORE_WAIT); i++)
		usleep(10000);
	ck_assert_uint_eq(UNLOCK(.svid = 3), GRANTED);
	replace();
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_HOST), 2);
	down();
	mem_store_free(&store);
}
END_TEST

/* A client that has its lock, and is told again by a successor, knows nothing of such a wait; it is
 * its lock all the same. */
START_TEST(who_is_told_again_keeps_its_lock)
{
	static struct mem_store store;
	struct xdr_in r;
	up_stored(&store);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5, .len = 1),
			  BLOCKED);
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	replace();
	ck_assert_uint_eq(serve_back(&r, DENIED), 5);
	for (int i = 0; i < 500 && mem_store_count(&store, STORE_WAIT); i++)
		usleep(10000);
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 0);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), DENIED);
	ck_assert_uint_eq(UNLOCK(.svid = 2), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	down();
	mem_store_free(&store);
}
END_TEST

/* One that waits still was told nothing: it says that it wants the lock no more, and has it not. */
START_TEST(who_refuses_what_it_waited_for_has_it_not)
{
	static struct mem_store store;
	struct xdr_in r;
	up_stored(&store);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5, .len = 1),
			  BLOCKED);
	replace();
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	ck_assert_uint_eq(serve_back(&r, DENIED), 5);
	uint32_t st = DENIED;
	for (int i = 0; i < 500 && st == DENIED; i++, usleep(10000))
		st = LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1);
	ck_assert_uint_eq(st, GRANTED);
	down();
	mem_store_free(&store);
}
END_TEST

/* It unlocks what it was about to be told of: a successor does not give it that again. */
START_TEST(who_unlocks_knows_that_it_had_it)
{
	static struct mem_store store;
	up_stored(&store);
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .block = true, .exclusive = true, .off = 5, .len = 1),
			  BLOCKED);
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 1);
	ck_assert_uint_eq(UNLOCK(.svid = 2), GRANTED);
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 0);
	replace();
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true, .off = 5, .len = 1), GRANTED);
	ck_assert_int_eq(kept, 1); /* it was found among those who are */
	down();
	mem_store_free(&store);
}
END_TEST

static void put_notify(struct xdr_out *x, const char *name, uint32_t state)
{
	xdr_put_string(x, name);
	xdr_put_u32(x, state);
}

START_TEST(a_client_that_was_restarted_loses_its_locks)
{
	uint8_t buf[64];
	uint32_t accept;
	up_granting();
	ck_assert_uint_eq(LOCK(.exclusive = true, .state = 3), GRANTED);
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	put_notify(&x, "client", 5);
	call(100024, 1, 6, &x, false, &accept);
	ck_assert_uint_eq(LOCK(.name = "other", .exclusive = true), GRANTED);
	ck_assert_uint_eq(UNLOCK(.name = "other"), GRANTED);
	/* Told again of the same restart: what it locked since stays. */
	ck_assert_uint_eq(LOCK(.exclusive = true, .state = 5), GRANTED);
	call(100024, 1, 6, &x, false, &accept);
	ck_assert_uint_eq(LOCK(.name = "other", .exclusive = true), DENIED);
	/* The notice was lost, its number was not. */
	ck_assert_uint_eq(LOCK(.svid = 7, .exclusive = true, .state = 7), GRANTED);
	x = xdr_out_of(buf, sizeof(buf));
	put_notify(&x, "client", 0);
	call(100021, 4, 23, &x, true, &accept);
	ck_assert_uint_eq(accept, 0);
	ck_assert_uint_eq(LOCK(.name = "other", .exclusive = true), GRANTED);
	down();
}
END_TEST

START_TEST(after_a_restart_only_reclaims_are_granted)
{
	struct xdr_in r;
	const uint8_t *p;
	uint32_t n, state;
	up();
	ck_assert_uint_eq(LOCK(.reclaim = true), GRACE); /* what was kept is not known yet */
	begin_count = 1;
	nas_run(&nas, begin);
	/* The old client is told, once. */
	ck_assert_uint_eq(serve_back(&r, 0), 6);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && n == 6 && !memcmp(p, "server", 6));
	ck_assert(xdr_u32(&r, &state) && state == 7);
	uint32_t st = LOCK(.svid = 1, .exclusive = true);
	ck_assert(st == GRACE || st == GRANTED); /* a slow machine may be past it */
	if (LOCK(.svid = 2, .exclusive = true, .reclaim = true) == GRANTED)
		for (int i = 0; i < 100 && (st = TEST(.svid = 1)) == GRACE; i++)
			usleep(50000);
	down();
	ck_assert_int_eq(kept_gone, 1);
}
END_TEST

START_TEST(share_reservations_and_old_versions)
{
	uint8_t buf[512];
	uint32_t accept;
	up_granting();
	static const struct {
		const char *name;
		uint32_t proc, mode, access, stat;
	} rows[] = {{"a", 20, 2, 1, GRANTED}, {"b", 20, 0, 2, DENIED},	{"b", 20, 0, 1, GRANTED},
		    {"a", 21, 0, 0, GRANTED}, {"b", 20, 0, 3, GRANTED}, {"a", 20, 2, 1, DENIED}};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct xdr_out x = xdr_out_of(buf, sizeof(buf));
		xdr_put_string(&x, "cookie");
		xdr_put_string(&x, rows[i].name);
		xdr_put_opaque(&x, handle, FH_SIZE);
		xdr_put_string(&x, "oh");
		xdr_put_u32(&x, rows[i].mode);
		xdr_put_u32(&x, rows[i].access);
		xdr_put_bool(&x, false);
		struct xdr_in r = call(100021, i & 1 ? 3 : 4, rows[i].proc, &x, i & 1, &accept);
		ck_assert_uint_eq(accept, 0);
		ck_assert_msg(stat_of(r) == rows[i].stat, "row %u", i);
	}
	ck_assert_uint_eq(LOCK(.vers = 1, .exclusive = true, .off = 0xfffffff0u), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 1, .off = 1ull << 40, .len = 1), DENIED);
	ck_assert_uint_eq(NLM(22, .svid = 1, .off = 3, .len = 1, .block = true), GRANTED);
	ck_assert_uint_eq(NLM(22, .svid = 1, .off = 1ull << 40, .block = true), DENIED);
	/* Offsets that 32 bits cannot say: as far as they go. */
	ck_assert_uint_eq(LOCK(.svid = 3, .off = 100, .len = 1ull << 33), DENIED);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nlm");
	TCase *c = tcase_create("nlm");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, locks_conflict_between_owners_and_hosts);
	tcase_add_test(c, errors_have_their_names);
	tcase_add_test(c, a_waiting_client_is_called_back);
	tcase_add_test(c, a_deadlock_is_told);
	tcase_add_test(c, messages_are_answered_by_calls);
	tcase_add_test(c, locks_and_waits_outlive_a_server);
	tcase_add_test(c, who_is_told_again_keeps_its_lock);
	tcase_add_test(c, who_refuses_what_it_waited_for_has_it_not);
	tcase_add_test(c, who_unlocks_knows_that_it_had_it);
	tcase_add_test(c, a_client_that_was_restarted_loses_its_locks);
	tcase_add_test(c, after_a_restart_only_reclaims_are_granted);
	tcase_add_test(c, share_reservations_and_old_versions);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
