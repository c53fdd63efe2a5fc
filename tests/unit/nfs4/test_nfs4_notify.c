/* What clients are told of without having to ask: that a lock they wait for may be free, that they
 * are lent too much. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs4/nfs4.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

static struct nas nas;
static struct v4 a, b; /* a holds what b waits for */
static struct v4_fh demo, fh;
static struct v4_stateid open_a, open_b, lock_a, lock_b;

static void back_client(struct v4 *c, const char *name)
{
	v4_open(c, nas.port);
	c->back = true;
	v4_client(c, name);
}

static uint32_t open_f(struct v4 *c, const char *name, struct v4_stateid *ret)
{
	return v4_open_file(c, &demo, name, "o", 3 | OPEN4_SHARE_WANT_NONE, 0, 1, ret, &fh);
}

static void up(void)
{
	nas_up(&nas);
	nas.call_ns = 300 * NS_PER_MS;
	nas_serve4(&nas);
	back_client(&a, "client a");
	back_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(open_f(&a, "f", &open_a), 0);
	ck_assert_uint_eq(open_f(&b, "f", &open_b), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &open_a, "la", WRITE_LT, 0, 10, false, &lock_a), 0);
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

static uint32_t wait_for(const char *owner, uint64_t off, uint64_t len)
{
	return v4_lock(&b, &fh, &open_b, owner, WRITEW_LT, off, len, false, &lock_b);
}

static void release(uint64_t off, uint64_t len)
{
	ck_assert_uint_eq(v4_unlock(&a, &fh, &lock_a, off, len, &lock_a), 0);
}

START_TEST(a_lock_may_be_free)
{
	ck_assert(b.open_flags & OPEN4_RESULT_MAY_NOTIFY_LOCK);
	/* It asks as often as it likes. */
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(wait_for("lb", 5, 100), NFS4ERR_DENIED);
	release(0, 9);
	v4_serve(&b, 200);
	ck_assert_uint_eq(b.notified, 0); /* its last byte is still held */
	release(9, 1);
	ck_assert(v4_serve_until(&b, &b.notified, 1));
	ck_assert_str_eq(b.notified_owner, "lb");
	ck_assert_uint_eq(b.notified_fh.len, fh.len);
	ck_assert_mem_eq(b.notified_fh.b, fh.b, fh.len);
	ck_assert_uint_eq(wait_for("lb", 5, 100), 0);
	v4_serve(&b, 200);
	ck_assert_uint_eq(b.notified, 1);
}
END_TEST

/* All who wait are told: the fastest gets it. */
START_TEST(all_who_wait)
{
	char name[16];
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		ck_assert_uint_eq(wait_for(name, 0, 1), NFS4ERR_DENIED);
	}
	ck_assert_uint_eq(v4_close_file(&a, &fh, &open_a), 0); /* gives up its locks */
	ck_assert(v4_serve_until(&b, &b.notified, 20));
	v4_serve(&b, 200);
	ck_assert_uint_eq(b.notified, 20);
	ck_assert_uint_eq(wait_for("l7", 0, 1), 0);
}
END_TEST

/* Not who asked for it without waiting, or has it meanwhile. */
START_TEST(not_who_does_not_wait)
{
	ck_assert_uint_eq(v4_lock(&b, &fh, &open_b, "lb", WRITE_LT, 0, 1, false, &lock_b),
			  NFS4ERR_DENIED);
	release(0, 1);
	v4_serve(&b, 200);
	ck_assert_uint_eq(b.notified, 0);
	/* So many as are kept of one client: those of long ago give way. */
	for (unsigned i = 0; i < 300; i++)
		ck_assert_uint_eq(wait_for("lb", 1, 1 + i), NFS4ERR_DENIED);
	release(1, 9);
	ck_assert(v4_serve_until(&b, &b.notified, 256));
	v4_serve(&b, 200);
	ck_assert_uint_eq(b.notified, 256);
}
END_TEST

/* A client that cannot be called is promised nothing, and polls. */
START_TEST(nor_who_cannot_be_called)
{
	struct v4 c;
	struct v4_stateid s, l;
	v4_open(&c, nas.port);
	v4_client(&c, "client c");
	ck_assert_uint_eq(open_f(&c, "f", &s), 0);
	ck_assert(!(c.open_flags & OPEN4_RESULT_MAY_NOTIFY_LOCK));
	ck_assert_uint_eq(v4_lock(&c, &fh, &s, "lc", READW_LT, 0, 1, false, &l), NFS4ERR_DENIED);
	release(0, 10);
	ck_assert_uint_eq(v4_lock(&c, &fh, &s, "lc", READW_LT, 0, 1, false, &l), 0);
	v4_close(&c);
}
END_TEST

/* So long a call is waited for. */
static void call_is_lost(void)
{
	ck_assert(v4_serve_until(&b, &b.recalls, 1)); /* CB_COMPOUND */
	for (int i = 0; i < 100 && !(b.seq_flags & SEQ4_STATUS_CB_PATH_DOWN); i++) {
		usleep(20000);
		v4_seq(&b);
		ck_assert_uint_eq(v4_send(&b), 0);
	}
	ck_assert(b.seq_flags & SEQ4_STATUS_CB_PATH_DOWN);
}

/* A hint that was lost is said again: 0 by the same session, bound again; 1 by the next one; 2 to
 * who asked to be asked later. */
START_TEST(hints_are_not_lost)
{
	uint8_t id[NFS4_SESSIONID];
	ck_assert_uint_eq(wait_for("lb", 0, 1), NFS4ERR_DENIED);
	b.manner = _i == 2 ? V4_LATER : V4_DEAF;
	release(0, 1);
	if (_i == 2)
		ck_assert(v4_serve_until(&b, &b.notified, 2));
	else
		call_is_lost();
	b.manner = V4_ANSWER;
	b.notified = 0;
	if (_i == 0) {
		v4_begin(&b);
		v4_op(&b, OP_BIND_CONN_TO_SESSION);
		xdr_put_fixed(&b.x, b.session, sizeof(id));
		xdr_put_u32(&b.x, CDFC4_FORE_OR_BOTH);
		xdr_put_bool(&b.x, false);
		ck_assert_uint_eq(v4_send(&b), 0);
	} else if (_i == 1) {
		ck_assert_uint_eq(v4_session(&b), 0);
	}
	ck_assert(v4_serve_until(&b, &b.notified, 1));
	ck_assert_str_eq(b.notified_owner, "lb");
	v4_serve(&b, 1200);
	ck_assert_uint_eq(b.notified, 1);
}
END_TEST

/* So many as a client has not heard are kept; of more the oldest go. */
START_TEST(hints_are_bounded)
{
	char name[16];
	b.manner = V4_LATER;
	for (unsigned i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		ck_assert_uint_eq(wait_for(name, 0, 1), NFS4ERR_DENIED);
		if (i % 200 < 199)
			continue;
		release(0, 1);
		ck_assert_uint_eq(v4_lock(&a, &fh, &lock_a, NULL, WRITE_LT, 0, 1, false, &lock_a),
				  0);
	}
	b.manner = V4_ANSWER;
	b.notified = 0;
	ck_assert(v4_serve_until(&b, &b.notified, 256));
	v4_serve(&b, 1200);
	ck_assert_uint_le(b.notified, 257); /* one may be under way when it gives way */
}
END_TEST

/* Who waits goes: 0 with its session's end, 1 it was restarted, 2 with the server. */
START_TEST(who_waits_goes)
{
	ck_assert_uint_eq(wait_for("lb", 0, 1), NFS4ERR_DENIED);
	b.manner = V4_DEAF;
	if (_i == 0) {
		release(0, 1);
		ck_assert(v4_serve_until(&b, &b.recalls, 1)); /* CB_COMPOUND */
		v4_serve(&b, 1000);
		ck_assert_uint_eq(b.recalls, 1);
	} else if (_i == 1) {
		ck_assert_uint_eq(v4_exchange(&b, "client b", 2, 0), 0);
		ck_assert_uint_eq(v4_session(&b), 0);
		release(0, 10);
		v4_serve(&b, 200);
		ck_assert_uint_eq(b.notified, 0);
	}
}
END_TEST

/* It waits for a lock of its own, and starts again: nobody is left to be told. */
START_TEST(who_waits_for_itself_goes)
{
	struct v4_stateid own;
	ck_assert_uint_eq(v4_lock(&b, &fh, &open_b, "own", WRITE_LT, 20, 1, false, &own), 0);
	ck_assert_uint_eq(wait_for("lb", 20, 1), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_exchange(&b, "client b", 2, 0), 0);
	ck_assert_uint_eq(v4_session(&b), 0);
	v4_serve(&b, 300);
	ck_assert_uint_eq(b.notified, 0);
	ck_assert_uint_eq(v4_lookup(&b, "/demo", &demo), 0);
}
END_TEST

/* ---- too much is lent ---- */

static void up_lend(void)
{
	nas_up(&nas);
	nas.lend = true;
	nas.max_delegs = 16; /* two to one client */
	nas.call_ns = 300 * NS_PER_MS;
	nas_serve4(&nas);
	back_client(&a, "client a");
	back_client(&b, "client b");
	ck_assert(v4_serve_until(&a, &a.nulls, 1));
	ck_assert(v4_serve_until(&b, &b.nulls, 1));
	usleep(30000);
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

static uint32_t lent(struct v4 *c, unsigned i)
{
	struct v4_stateid s;
	char name[16];
	snprintf(name, sizeof(name), "n%u", i);
	ck_assert_uint_eq(v4_open_file(c, &demo, name, "o", 3, 0, 1, &s, &fh), 0);
	return c->deleg_type;
}

START_TEST(a_client_has_its_share)
{
	struct v4_fh first;
	ck_assert_uint_eq(lent(&a, 0), OPEN_DELEGATE_WRITE);
	first = fh;
	struct v4_stateid d = a.deleg;
	ck_assert_uint_eq(lent(&a, 1), OPEN_DELEGATE_WRITE);
	for (unsigned i = 2; i < 6; i++)
		ck_assert_uint_eq(lent(&a, i), OPEN_DELEGATE_NONE);
	ck_assert(v4_serve_until(&a, &a.fewer, 1));
	ck_assert_uint_eq(a.keep, 1);
	ck_assert_uint_eq(a.keep_mask, 3); /* of those to read and to write */
	/* Not time and again; and others have theirs. */
	v4_serve(&a, 200);
	ck_assert_uint_eq(a.fewer, 1);
	ck_assert_uint_eq(lent(&b, 9), OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(b.fewer, 0);
	/* It heeds it. */
	ck_assert_uint_eq(v4_return(&a, &first, &d), 0);
	ck_assert_uint_eq(lent(&a, 7), OPEN_DELEGATE_WRITE);
}
END_TEST

/* All that can be lent is: who has most is asked, not who comes last. */
START_TEST(all_is_lent)
{
	struct v4 c[16];
	for (unsigned i = 0; i < 7; i++) {
		char name[16];
		snprintf(name, sizeof(name), "crowd %u", i);
		back_client(&c[i], name);
		ck_assert(v4_serve_until(&c[i], &c[i].nulls, 1));
		usleep(30000);
		ck_assert_uint_eq(lent(&c[i], 20 + 2 * i), OPEN_DELEGATE_WRITE);
		ck_assert_uint_eq(lent(&c[i], 21 + 2 * i), OPEN_DELEGATE_WRITE);
	}
	ck_assert_uint_eq(lent(&a, 0), OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(lent(&b, 1), OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(lent(&b, 2), OPEN_DELEGATE_NONE);
	unsigned asked = 0;
	for (unsigned i = 0; i < 7; i++) {
		v4_serve(&c[i], 100);
		asked += c[i].fewer;
		v4_close(&c[i]);
	}
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(b.fewer, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs4 notes");
	TCase *t = tcase_create("locks");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_lock_may_be_free);
	tcase_add_test(t, all_who_wait);
	tcase_add_test(t, not_who_does_not_wait);
	tcase_add_test(t, nor_who_cannot_be_called);
	tcase_add_loop_test(t, hints_are_not_lost, 0, 3);
	tcase_add_test(t, hints_are_bounded);
	tcase_add_loop_test(t, who_waits_goes, 0, 3);
	tcase_add_test(t, who_waits_for_itself_goes);
	suite_add_tcase(suite, t);
	t = tcase_create("lent");
	tcase_add_checked_fixture(t, up_lend, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_client_has_its_share);
	tcase_add_test(t, all_is_lent);
	suite_add_tcase(suite, t);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
