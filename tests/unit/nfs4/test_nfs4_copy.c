/* Copies that go on after their answer: what is told of them and when, what ends them, and how
 * many there may be. */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define LARGE (20u << 20) /* is not copied at once */
#define LONG  (200u << 20)

static struct nas nas;
static struct v4 a;
static struct v4_fh demo, from_fh, to_fh;
static struct v4_stateid from, to;
static uint8_t out[1 << 20], in[1 << 20];

/* What a COPY was answered. */
static struct {
	bool goes_on;
	struct v4_stateid id;
	uint64_t count, verifier;
} told;

static void up(void)
{
	nas_up(&nas);
	nas.lease_ns = 4 * NS_PER_S;
	nas.call_ns = 2 * NS_PER_S;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	a.minor = 2;
	a.back = true;
	v4_client(&a, "client a");
	ck_assert_uint_eq(a.flags, CREATE_SESSION4_CONN_BACK_CHAN);
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "from", "o", 3, 0, 1, &from, &from_fh), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "to", "o", 3, 0, 1, &to, &to_fh), 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 4096 + 1);
}

static void down(void)
{
	v4_close(&a);
	nas_down(&nas);
}

/* The source: one MiB at its beginning and at its end, a hole between. */
static void fill(uint64_t size)
{
	ck_assert_uint_eq(v4_write(&a, &from_fh, &from, 0, out, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_write(&a, &from_fh, &from, size - (1 << 20), out, 1 << 20, 0), 0);
}

/* From its second byte on: blocks cannot be shared. */
static uint32_t copy_to(const struct v4_fh *fh, const struct v4_stateid *id, uint64_t count,
			bool at_once)
{
	v4_seq(&a);
	v4_putfh(&a, &from_fh);
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, fh);
	v4_op(&a, OP_COPY);
	v4_stateid(&a, &from);
	v4_stateid(&a, id);
	xdr_put_u64(&a.x, 1);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, count);
	xdr_put_bool(&a.x, true);
	xdr_put_bool(&a.x, at_once);
	xdr_put_u32(&a.x, 0);
	if (v4_send(&a))
		return a.status;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_SAVEFH);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_COPY);
	told.goes_on = v4_u32(&a);
	if (told.goes_on)
		v4_take(&a, &told.id, 16);
	told.count = v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 0); /* unstable */
	told.verifier = v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), !told.goes_on);
	return 0;
}

static void copy(uint64_t count)
{
	ck_assert_uint_eq(copy_to(&to_fh, &to, count, false), 0);
	ck_assert(told.goes_on);
	ck_assert_uint_eq(told.count, 0);
}

static uint32_t status_of(const struct v4_fh *fh, const struct v4_stateid *id, uint64_t *ret_count,
			  int *ret_status)
{
	v4_seq(&a);
	v4_putfh(&a, fh);
	v4_op(&a, OP_OFFLOAD_STATUS);
	v4_stateid(&a, id);
	if (v4_send(&a))
		return a.status;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_OFFLOAD_STATUS);
	*ret_count = v4_u64(&a);
	uint32_t n = v4_u32(&a);
	ck_assert_uint_le(n, 1);
	*ret_status = n ? (int)v4_u32(&a) : -1;
	ck_assert_uint_eq(xdr_left(&a.r), 0);
	return 0;
}

static uint32_t under(uint32_t op, const struct v4_fh *fh, const struct v4_stateid *id)
{
	v4_seq(&a);
	v4_putfh(&a, fh);
	v4_op(&a, op);
	v4_stateid(&a, id);
	return v4_send(&a);
}

static void expect_end(uint32_t status)
{
	ck_assert(v4_serve_until(&a, &a.offloads, 1));
	ck_assert_mem_eq(a.offload.b, told.id.b, 16);
	ck_assert_uint_eq(a.offload_fh.len, to_fh.len);
	ck_assert_mem_eq(a.offload_fh.b, to_fh.b, to_fh.len);
	ck_assert_uint_eq(a.offload_status, status);
}

/* It is gone a moment after the client has heard. */
static void expect_gone(void)
{
	uint64_t count;
	int how;
	for (int i = 0; i < 100 && status_of(&to_fh, &told.id, &count, &how) == 0; i++)
		usleep(10000);
	ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), NFS4ERR_BAD_STATEID);
}

static void verify(uint64_t off, const uint8_t *want, uint32_t len)
{
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(v4_read(&a, &to_fh, &to, off, len, in, &n, &eof), 0);
	ck_assert_uint_eq(n, len);
	ck_assert_mem_eq(in, want, len);
}

START_TEST(large_ones_go_on)
{
	fill(LARGE + 1);
	copy(LARGE);
	expect_end(NFS4_OK);
	ck_assert_uint_eq(a.offload_count, LARGE);
	ck_assert_uint_eq(a.offload_verifier, told.verifier);
	expect_gone();
	verify(0, out + 1, (1 << 20) - 1);
	verify(LARGE - (1 << 20), out, 1 << 20);
	memset(out, 0, sizeof(out));
	verify(5 << 20, out, 1 << 20);
	/* What it says of durability: the COMMIT agrees. */
	v4_seq(&a);
	v4_putfh(&a, &to_fh);
	v4_op(&a, OP_COMMIT);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_COMMIT);
	ck_assert_uint_eq(v4_u64(&a), told.verifier);
	ck_assert_uint_eq(a.offloads, 1);
}
END_TEST

/* Small, or not to go on, or for who cannot be called: as much as is copied at once. */
START_TEST(others_do_not)
{
	fill(LARGE + 1);
	ck_assert_uint_eq(copy_to(&to_fh, &to, 16 << 20, false), 0);
	ck_assert(!told.goes_on && told.count == 16 << 20);
	ck_assert_uint_eq(copy_to(&to_fh, &to, LARGE, true), 0);
	ck_assert(!told.goes_on && told.count == 16 << 20);
	struct v4 b = a;
	v4_open(&a, nas.port);
	a.minor = 2;
	v4_client(&a, "client b");
	struct v4_stateid from_a = from, to_a = to;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "from", "p", 3, 0, 0, &from, &from_fh), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "to", "p", 3, 0, 0, &to, &to_fh), 0);
	ck_assert_uint_eq(copy_to(&to_fh, &to, LARGE, false), 0);
	ck_assert(!told.goes_on && told.count == 16 << 20);
	v4_close(&a);
	a = b;
	from = from_a;
	to = to_a;
}
END_TEST

/* Until it has heard of the end the client may ask, and is told again. */
START_TEST(until_the_client_has_heard)
{
	uint64_t count;
	int how = -1;
	fill(LARGE + 1);
	a.manner = _i ? V4_DEAF : V4_LATER;
	copy(LARGE);
	for (int i = 0; i < 500 && how < 0; i++) {
		ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), 0);
		ck_assert_uint_le(count, LARGE);
		usleep(10000);
	}
	ck_assert_int_eq(how, NFS4_OK);
	ck_assert_uint_eq(count, LARGE);
	if (!_i)
		ck_assert(v4_serve_until(&a, &a.offloads, 1));
	ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), 0);
	a.manner = V4_ANSWER;
	if (_i) { /* it hears no more than this */
		usleep(500000);
		ck_assert_uint_eq(under(OP_OFFLOAD_CANCEL, &to_fh, &told.id), 0);
	} else {
		a.offloads = 0;
		expect_end(NFS4_OK);
	}
	expect_gone();
}
END_TEST

START_TEST(cancelled)
{
	fill(LONG + 1);
	copy(LONG);
	ck_assert_uint_eq(under(OP_OFFLOAD_CANCEL, &to_fh, &told.id), 0);
	ck_assert_uint_eq(under(OP_OFFLOAD_CANCEL, &to_fh, &told.id), NFS4ERR_BAD_STATEID);
	expect_gone();
	v4_serve(&a, 300);
	ck_assert_uint_eq(a.offloads, 0);
	/* Nothing of it holds the file. */
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_name(&a, OP_REMOVE, "to");
	ck_assert_uint_eq(v4_send(&a), 0);
}
END_TEST

/* Nothing of it is written behind the answer: that waits for the piece under way. */
START_TEST(cancelled_in_the_middle)
{
	fill(LONG + 1);
	nas.hold = true;
	copy(LONG);
	v4_seq(&a);
	v4_putfh(&a, &to_fh);
	v4_op(&a, OP_OFFLOAD_CANCEL);
	v4_stateid(&a, &told.id);
	v4_put(&a);
	struct pollfd p = {.fd = a.fd, .events = POLLIN};
	ck_assert_int_eq(poll(&p, 1, 300), 0);
	if (_i) { /* and the client gives it up altogether */
		struct v4 c;
		v4_open(&c, nas.port);
		c.minor = 2;
		ck_assert_uint_eq(v4_exchange(&c, "client a", 2, 0), 0);
		v4_close(&c);
	}
	nas.hold = false;
	ck_assert_uint_eq(v4_get(&a), 0);
	expect_gone();
	ck_assert_uint_eq(a.offloads, 0);
}
END_TEST

/* Its stateid names the copy, and nothing else. */
START_TEST(its_stateid)
{
	struct v4_stateid any, bad;
	uint64_t count;
	uint32_t n;
	int how;
	bool eof;
	fill(LONG + 1);
	a.manner = V4_DEAF; /* it stays */
	copy(LONG);
	any = bad = told.id;
	memset(any.b, 0, 4); /* "the most recent" */
	bad.b[15] ^= 1;
	ck_assert_uint_eq(status_of(&to_fh, &any, &count, &how), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(under(OP_OFFLOAD_CANCEL, &to_fh, &any), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&to_fh, &bad, &count, &how), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&from_fh, &told.id, &count, &how), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&to_fh, &to, &count, &how), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(under(OP_OFFLOAD_CANCEL, &to_fh, &to), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&demo, &told.id, &count, &how), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_read(&a, &to_fh, &told.id, 0, 1, in, &n, &eof), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_write(&a, &to_fh, &told.id, 0, in, 1, 2), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_close_file(&a, &to_fh, &told.id), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_return(&a, &to_fh, &told.id), NFS4ERR_BAD_STATEID);
	v4_seq(&a);
	v4_op(&a, OP_FREE_STATEID);
	v4_stateid(&a, &told.id);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_LOCKS_HELD);
	ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), 0);
	a.minor = 1;
	ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), NFS4ERR_OP_ILLEGAL);
	a.minor = 2;
}
END_TEST

/* It is open to read only from now on. */
static void downgrade(void)
{
	v4_seq(&a);
	v4_putfh(&a, &to_fh);
	v4_op(&a, OP_OPEN_DOWNGRADE);
	v4_stateid(&a, &to);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OPEN4_SHARE_ACCESS_READ);
	xdr_put_u32(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
}

/* What let it begin ends: what was done until then is told. 0: the file is closed; 1: exports; 2:
 * it is not open to write any more. */
START_TEST(stopped)
{
	fill(LONG + 1);
	if (_i == 2)
		ck_assert_uint_eq(v4_open_file(&a, &demo, "to", "o", 1, 0, 0, &to, &to_fh), 0);
	copy(LONG);
	if (_i == 2)
		downgrade();
	else if (_i == 0)
		ck_assert_uint_eq(v4_close_file(&a, &to_fh, &to), 0);
	else
		nas_run(&nas, nas_exports);
	ck_assert(v4_serve_until(&a, &a.offloads, 1));
	if (a.offload_status)
		ck_assert_uint_eq(a.offload_status, _i == 1 ? NFS4ERR_DELAY : NFS4ERR_BAD_STATEID);
	else
		ck_assert_uint_lt(a.offload_count, LONG);
}
END_TEST

static uint64_t limit;
static void limit_user(struct nas *n)
{
	const struct fs_quota_limits l = {.hard = {limit}, .set_hard = {true}};
	ck_assert_int_eq(fs_quota_set(n->fs, FS_QUOTA_USER, 1000, &l), 0);
}

/* No room from the first piece on; or later: then the next COPY says so. */
START_TEST(no_room)
{
	struct v4_stateid t;
	limit = _i ? 2 << 20 : 4096;
	nas_run(&nas, limit_user);
	fill(LARGE + 1);
	a.uid = 1000;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "mine", "o", 3, 0, 1, &t, &to_fh), 0);
	ck_assert_uint_eq(copy_to(&to_fh, &t, LARGE, false), 0);
	ck_assert(told.goes_on);
	expect_end(_i ? NFS4_OK : 69u); /* DQUOT */
	ck_assert(_i ? a.offload_count > 0 && a.offload_count < LARGE : a.offload_count == 0);
}
END_TEST

/* Of one client no more than so many: what is asked for behind them is copied at once. */
START_TEST(so_many)
{
	struct v4_fh fh[12];
	struct v4_stateid t[12];
	unsigned on = 0;
	char name[8];
	fill(LARGE + 1);
	a.manner = V4_LATER;
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert_uint_eq(v4_open_file(&a, &demo, name, "o", 3, 0, 1, &t[i], &fh[i]), 0);
		ck_assert_uint_eq(copy_to(&fh[i], &t[i], LARGE, false), 0);
		ck_assert(told.goes_on || told.count == 16 << 20);
		on += told.goes_on;
	}
	ck_assert_uint_eq(on, 8);
}
END_TEST

/* The client goes while it is copied for: 0 its lease runs out; 1 it was restarted; 2 all ends. */
START_TEST(the_client_goes)
{
	uint64_t count;
	int how;
	a.manner = V4_DEAF;
	fill(LONG + 1);
	copy(LONG);
	if (_i == 0) {
		sleep(6);
		ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), NFS4ERR_BAD_STATEID);
		/* What it has open stayed. */
		ck_assert_uint_eq(v4_write(&a, &to_fh, &to, 0, out, 1, 2), 0);
	} else if (_i == 1) {
		ck_assert_uint_eq(v4_exchange(&a, "client a", 2, 0), 0);
		ck_assert_uint_eq(v4_session(&a), 0);
		ck_assert_uint_eq(status_of(&to_fh, &told.id, &count, &how), NFS4ERR_BAD_STATEID);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs4 copies");
	TCase *t = tcase_create("copies");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, large_ones_go_on);
	tcase_add_test(t, others_do_not);
	tcase_add_loop_test(t, until_the_client_has_heard, 0, 2);
	tcase_add_test(t, cancelled);
	tcase_add_loop_test(t, cancelled_in_the_middle, 0, 2);
	tcase_add_test(t, its_stateid);
	tcase_add_loop_test(t, stopped, 0, 3);
	tcase_add_loop_test(t, no_room, 0, 2);
	tcase_add_test(t, so_many);
	tcase_add_loop_test(t, the_client_goes, 0, 3);
	suite_add_tcase(suite, t);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
