/*
 * Clients whose lease ran out: what they have stays until somebody asks for what it is in the way
 * of, by whatever protocol, or there is no room; who comes back before that goes on.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/lock_table.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

static struct nas nas;
static struct v4 a, b, c; /* a and c go to sleep, b stays awake */
static struct v4_fh demo, fh;
static _Atomic unsigned nforgotten, asked;
static _Atomic int hold;   /* ms in which who is to be forgotten is not yet */
static _Atomic int answer; /* 0 or an error */

static int on_keep(void *arg, const char *name, bool gone)
{
	asked += gone;
	for (; gone && hold > 0; hold--)
		env_sleep_ns(env_real(), NS_PER_MS);
	if (gone && answer)
		return answer;
	nforgotten += gone;
	return 0;
}

static void up(void)
{
	nas.keep = on_keep;
	nforgotten = asked = 0;
	hold = answer = 0;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_open(&c, nas.port);
	v4_client(&a, "client a");
	v4_client(&b, "client b");
	v4_client(&c, "client c");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

static void setup(void)
{
	nas_up(&nas);
	nas.lease_ns = NS_PER_S;
	up();
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	v4_close(&c);
	nas_down(&nas);
}

/* Longer than a lease and until it was noticed; b is awake. */
static void leases_run_out(void)
{
	for (uint64_t i = 0; i < nas.lease_ns / NS_PER_S * 10 + 15; i++) {
		usleep(100000);
		v4_seq(&b);
		ck_assert_uint_eq(v4_send(&b), 0);
	}
}

static uint32_t open_f(struct v4 *by, const char *name, uint32_t access, uint32_t deny,
		       struct v4_stateid *ret)
{
	return v4_open_file(by, &demo, name, "o", access, deny, 1, ret, &fh);
}

/* Of a SEQUENCE; one that is refused does not count. */
static uint32_t status_of(struct v4 *by)
{
	uint32_t seq = by->seq;
	v4_seq(by);
	uint32_t st = v4_send(by);
	if (st)
		by->seq = seq;
	return st;
}

static void expect_forgotten(unsigned n)
{
	for (int i = 0; i < 50 && nforgotten < n; i++)
		usleep(100000);
	ck_assert_uint_eq(nforgotten, n);
}

START_TEST(who_comes_back_goes_on)
{
	struct v4_stateid s, l, t;
	ck_assert_uint_eq(open_f(&a, "f", 3, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, false, &l), 0);
	/* That somebody was refused while the lease ran does not count later. */
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &t), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &t, "l", WRITE_LT, 0, 1, false, &t), NFS4ERR_DENIED);
	for (int round = 0; round < 2; round++) {
		leases_run_out();
		ck_assert_uint_eq(v4_write(&a, &fh, &l, 0, "x", 1, 2), 0);
	}
	/* It is awake again: its lock is in the way as any. */
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &t), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &t, "l", WRITE_LT, 0, 1, false, &t), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 10, &l), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	/* c had nothing. */
	ck_assert_uint_eq(status_of(&c), NFS4ERR_BADSESSION);
	expect_forgotten(1);
}
END_TEST

/* ---- who is in the way goes ---- */

static uint32_t lockt(struct v4 *by)
{
	v4_seq(by);
	v4_putfh(by, &fh);
	v4_op(by, OP_LOCKT);
	xdr_put_u32(&by->x, WRITE_LT);
	xdr_put_u64(&by->x, 0);
	xdr_put_u64(&by->x, 5);
	xdr_put_u64(&by->x, by->client);
	xdr_put_string(&by->x, "t");
	return v4_send(by);
}

static uint32_t ask(int way)
{
	static const struct v4_stateid none;
	struct v4_stateid t;
	switch (way) {
	case 0:
		return open_f(&b, "f", 2, 0, &t);
	case 1:
		return v4_write(&b, &fh, &none, 0, "x", 1, 2);
	case 2:
		return lockt(&b);
	default:
		ck_assert_uint_eq(open_f(&b, "f", 1, 0, &t), 0);
		return v4_lock(&b, &fh, &t, "l", READ_LT, 3, 1, false, &t);
	}
}

static uint32_t ask_until_told(int way)
{
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 100 && st == NFS4ERR_DELAY; i++) {
		st = ask(way);
		usleep(20000);
	}
	return st;
}

START_TEST(a_conflict_ends_it)
{
	static const uint32_t refused[] = {NFS4ERR_SHARE_DENIED, NFS4ERR_LOCKED, NFS4ERR_DENIED,
					   NFS4ERR_DENIED};
	struct v4_stateid s, l;
	ck_assert_uint_eq(open_f(&a, "f", 3, 2, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, false, &l), 0);
	ck_assert_uint_eq(ask(_i), refused[_i]);
	/* c is in nobody's way. */
	struct v4_fh f = fh, g;
	ck_assert_uint_eq(v4_open_file(&c, &demo, "g", "o", 3, 3, 1, &s, &g), 0);
	ck_assert_uint_eq(v4_lock(&c, &g, &s, "l", WRITE_LT, 0, 10, false, &l), 0);
	fh = f;
	leases_run_out();
	ck_assert_uint_eq(nforgotten, 0);
	ck_assert_uint_eq(ask(_i), NFS4ERR_DELAY);
	expect_forgotten(1);
	ck_assert_uint_eq(ask_until_told(_i), 0);
	ck_assert_uint_eq(nforgotten, 1);
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(v4_write(&c, &g, &l, 0, "x", 1, 2), 0);
	/* It begins anew. */
	v4_client(&a, "client a");
	ck_assert_uint_eq(status_of(&a), 0);
}
END_TEST

/* At the very moment the lease is over, before anything has noticed. */
START_TEST(a_conflict_ends_it_at_once)
{
	struct v4_stateid s, t;
	ck_assert_uint_eq(open_f(&a, "f", 3, 3, &s), 0);
	uint32_t st = NFS4ERR_SHARE_DENIED;
	for (int i = 0; i < 60 && (st == NFS4ERR_SHARE_DENIED || st == NFS4ERR_DELAY); i++) {
		usleep(50000);
		ck_assert_uint_eq(status_of(&c), 0);
		st = open_f(&b, "f", 3, 0, &t);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	expect_forgotten(1);
}
END_TEST

/* Nobody gets it before it is stable that the other cannot reclaim it. */
START_TEST(it_is_forgotten_first)
{
	struct v4_stateid s, t;
	struct v4 again;
	ck_assert_uint_eq(open_f(&a, "f", 3, 2, &s), 0);
	ck_assert_uint_eq(open_f(&c, "g", 3, 2, &t), 0);
	leases_run_out();
	hold = 1000000;
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &t), NFS4ERR_DELAY);
	for (int i = 0; i < 50 && !asked; i++)
		usleep(100000);
	ck_assert_uint_eq(asked, 1);
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &t), NFS4ERR_DELAY);
	/* Meanwhile there is no such client any more, nor another of its name. */
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	v4_open(&again, nas.port);
	ck_assert_uint_eq(v4_exchange(&again, "client a", 1, 0), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_exchange(&again, "client a", 2, 0), NFS4ERR_DELAY);
	again.client = a.client;
	ck_assert_uint_eq(v4_session(&again), NFS4ERR_STALE_CLIENTID);
	/* It could not be written down: all is as it was. */
	answer = -EIO;
	hold = 0;
	for (int i = 0; i < 50 && status_of(&a); i++)
		usleep(100000);
	ck_assert_uint_eq(nforgotten, 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &t), NFS4ERR_SHARE_DENIED);
	/* And then it can. */
	answer = 0;
	leases_run_out();
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 50 && st == NFS4ERR_DELAY; i++) {
		st = open_f(&b, "f", 3, 0, &t);
		usleep(20000);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(nforgotten, 1);
	ck_assert_uint_eq(v4_exchange(&again, "client a", 2, 0), 0);
	v4_close(&again);
}
END_TEST

/* The server ends while somebody is being forgotten. */
START_TEST(the_end_meanwhile)
{
	struct v4_stateid s, t;
	ck_assert_uint_eq(open_f(&a, "f", 3, 2, &s), 0);
	ck_assert_uint_eq(open_f(&c, "f", 1, 0, &s), 0);
	leases_run_out();
	hold = 2000;
	ck_assert_uint_eq(open_f(&b, "f", 3, 1, &t), NFS4ERR_DELAY);
	for (int i = 0; i < 50 && !asked; i++)
		usleep(10000);
	ck_assert_int_gt(hold, 0);
}
END_TEST

/* ---- another protocol ---- */

static struct lock_client *other;
static int other_got;

static void other_step(struct nas *n)
{
	struct lock_table *t = nlm_locks(n->nlm);
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(fs_lookup(n->fs, &(struct fs_cred){0}, &top, "f", 1, &at, NULL), 0);
	struct lock_ask q = {.file = {NAS_FS_ID, at.ino, at.generation},
			     .owner = "o",
			     .owner_len = 1,
			     .kind = LOCK_EXCLUSIVE,
			     .range = {0, 100}};
	ck_assert_int_eq(lock_client_new(&other, t, NULL), 0);
	q.client = other;
	other_got = lock_set(t, &q);
	lock_client_free(other);
}

START_TEST(another_protocol_finds_it_gone_soon)
{
	struct v4_stateid s, l;
	ck_assert_uint_eq(open_f(&a, "f", 3, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, false, &l), 0);
	leases_run_out();
	nas_run(&nas, other_step);
	ck_assert_int_eq(other_got, -EAGAIN);
	for (int i = 0; i < 50 && other_got; i++) {
		usleep(100000);
		nas_run(&nas, other_step);
	}
	ck_assert_int_eq(other_got, 0);
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
}
END_TEST

/* ---- no room ---- */

static void setup_small(void)
{
	nas_up(&nas);
	nas.lease_ns = 2 * NS_PER_S;
	nas.max_clients = 3;
	nas.max_states = 3;
	up();
}

START_TEST(room_for_clients)
{
	struct v4_stateid s, t;
	struct v4 d;
	v4_open(&d, nas.port);
	ck_assert_uint_eq(open_f(&a, "f", 3, 0, &s), 0);
	ck_assert_uint_eq(open_f(&c, "g", 3, 0, &t), 0);
	ck_assert_uint_eq(v4_exchange(&d, "client d", 1, 0), NFS4ERR_DELAY);
	usleep(300000);
	ck_assert_uint_eq(status_of(&c), 0);
	leases_run_out();
	/* The one that slept longest, and only that one. */
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 50 && st == NFS4ERR_DELAY; i++) {
		st = v4_exchange(&d, "client d", 1, 0);
		usleep(20000);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(v4_session(&d), 0);
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(status_of(&c), 0);
	expect_forgotten(1);
	v4_close(&d);
}
END_TEST

START_TEST(room_for_states)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open_f(&a, "f", 3, 0, &s), 0);
	ck_assert_uint_eq(open_f(&b, "f", 3, 0, &s), 0);
	ck_assert_uint_eq(open_f(&b, "g", 3, 0, &s), 0);
	ck_assert_uint_eq(open_f(&b, "h", 3, 0, &s), NFS4ERR_DELAY);
	leases_run_out();
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 50 && st == NFS4ERR_DELAY; i++) {
		st = open_f(&b, "h", 3, 0, &s);
		usleep(20000);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(open_f(&b, "i", 3, 0, &s), NFS4ERR_DELAY);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_courtesy");
	TCase *t = tcase_create("courtesy"), *r = tcase_create("room");
	tcase_set_timeout(t, 60);
	tcase_set_timeout(r, 60);
	tcase_add_checked_fixture(t, setup, down);
	tcase_add_checked_fixture(r, setup_small, down);
	tcase_add_test(t, who_comes_back_goes_on);
	tcase_add_loop_test(t, a_conflict_ends_it, 0, 4);
	tcase_add_test(t, a_conflict_ends_it_at_once);
	tcase_add_test(t, it_is_forgotten_first);
	tcase_add_test(t, the_end_meanwhile);
	tcase_add_test(t, another_protocol_finds_it_gone_soon);
	tcase_add_test(r, room_for_clients);
	tcase_add_test(r, room_for_states);
	suite_add_tcase(s, t);
	suite_add_tcase(s, r);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
