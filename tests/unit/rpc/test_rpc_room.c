/* Hosts that take all the connections there are, say nothing on them, or hardly anything: others
 * are served. */
#include <check.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

enum { MAX = 24 };

static struct nas nas;
static struct raw mine, many[MAX + 8], r;

static void up(void)
{
	nas_up_opts(&nas, &(struct nas_opts){.max_conns = MAX,
					     .drc_entries = 4,
					     .record_timeout_ns = NS_PER_S / 2});
	raw_open(&mine, nas.port);
}

static void down(void)
{
	raw_close(&mine);
	nas_down(&nas);
}

static uint32_t null_call(struct raw *c)
{
	raw_begin(c, 100003, 3, 0);
	return raw_end(c);
}

static bool ended(const struct raw *c, int ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	char b;
	return poll(&p, 1, ms) == 1 && recv(c->fd, &b, 1, MSG_DONTWAIT) <= 0;
}

/* As many as there may be, from 127.0.0.5, with n bytes of a record each. */
static void crowd(size_t n)
{
	static const uint8_t part[64] = {0x80, 0, 1, 0};
	for (unsigned i = 0; i < MAX; i++) {
		raw_open_from(&many[i], nas.port, "127.0.0.5", false);
		ck_assert_int_eq(send(many[i].fd, part, n, MSG_NOSIGNAL), (ssize_t)n);
	}
}

static void disperse(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		raw_close(&many[i]);
}

/* Newcomers are served at once, and who was here before goes on. */
static void others_are_served(void)
{
	uint8_t fh[FH_SIZE];
	uint64_t begin = env_now_ns(env_real());
	for (unsigned i = 0; i < 4; i++) {
		raw_open(&r, nas.port);
		ck_assert_uint_eq(raw_mount(&r, "/demo", fh), 0);
		raw_close(&r);
	}
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, 10 * NS_PER_S);
	ck_assert_uint_eq(null_call(&mine), 0);
}

START_TEST(silent_connections)
{
	ck_assert_uint_eq(null_call(&mine), 0);
	crowd(0);
	others_are_served();
	ck_assert(ended(&many[0], 5000));
	ck_assert(!ended(&many[MAX - 1], 0));
	disperse(MAX);
}
END_TEST

START_TEST(half_a_record)
{
	ck_assert_uint_eq(null_call(&mine), 0);
	crowd(1);
	others_are_served();
	disperse(MAX);
	crowd(40);
	others_are_served();
	disperse(MAX);
}
END_TEST

/* Connections that are used: the host with the most gives one, to others and not to itself. */
START_TEST(a_host_with_all_connections)
{
	uint8_t fh[FH_SIZE];
	ck_assert_uint_eq(null_call(&mine), 0);
	for (unsigned i = 0; i < MAX - 1; i++) {
		raw_open_from(&many[i], nas.port, "127.0.0.5", false);
		ck_assert_uint_eq(null_call(&many[i]), 0);
	}
	raw_open_from(&many[MAX], nas.port, "127.0.0.5", false);
	ck_assert(ended(&many[MAX], 5000));
	raw_open(&r, nas.port);
	ck_assert_uint_eq(raw_mount(&r, "/demo", fh), 0);
	ck_assert_uint_eq(null_call(&mine), 0);
	ck_assert(ended(&many[0], 5000));
	for (unsigned i = 1; i < MAX - 1; i++)
		ck_assert_uint_eq(null_call(&many[i]), 0);
	raw_close(&r);
	raw_close(&many[MAX]);
	disperse(MAX - 1);
}
END_TEST

/* A byte now and then is progress, but not for ever; a record in many parts is served. */
START_TEST(a_record_byte_by_byte)
{
	uint64_t begin = env_now_ns(env_real()), took;
	ssize_t n = 1;
	raw_open(&r, nas.port);
	raw_begin(&r, 100003, 3, 0);
	size_t len = xdr_out_len(&r.out);
	be32_put(r.call, 0x80000000u | (uint32_t)len);
	for (size_t i = 0; i < len + 4; i++) {
		ck_assert_int_eq(send(r.fd, r.call + i, 1, MSG_NOSIGNAL), 1);
		usleep(5000);
	}
	ck_assert_int_eq(recv(r.fd, r.reply, 28, MSG_WAITALL), 28);
	be32_put(r.call, 0x80000000u | 60000);
	do {
		n = send(r.fd, r.call, 1, MSG_NOSIGNAL);
		took = env_now_ns(env_real()) - begin;
	} while (n == 1 && took < 20 * NS_PER_S && !ended(&r, 100));
	ck_assert_uint_lt(took, 20 * NS_PER_S);
	raw_close(&r);
}
END_TEST

/* Calls that come to nothing (handles that are none) put out no answer that is kept: a call that is
 * sent again is not done again. */
START_TEST(calls_of_no_account)
{
	uint8_t root[FH_SIZE], fh[FH_SIZE], none[FH_SIZE];
	ck_assert_uint_eq(raw_mount(&mine, "/demo", root), 0);
	memcpy(none, root, FH_SIZE);
	none[FH_SIZE - 1] ^= 1;
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), 0);
	uint32_t xid = mine.xid;
	raw_open_from(&r, nas.port, "127.0.0.5", false);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(raw_make(&r, none, "junk", true, 0700, fh), NFS3ERR_BADHANDLE);
	mine.xid = xid - 1;
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), 0);
	ck_assert_uint_eq(mine.xid, xid);
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), NFS3ERR_EXIST);
	raw_close(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc_room");
	TCase *c = tcase_create("room");
	tcase_add_checked_fixture(c, up, down);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, silent_connections);
	tcase_add_test(c, half_a_record);
	tcase_add_test(c, a_host_with_all_connections);
	tcase_add_test(c, a_record_byte_by_byte);
	tcase_add_test(c, calls_of_no_account);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
