/* A server dies in the middle of something: what its successor says then. Over the wire; what was
 * recorded and synced is all that it knows. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs4/deleg_world.h"

static struct mem_store store;
static const struct v4_stateid anonymous;

static void up_store(void)
{
	mem_store_init(&store);
	up();
	nas.store = &store;
	nas_serve4(&nas);
	clients();
}

static void end(void)
{
	store.hold = false;
	down();
	mem_store_free(&store);
}

static void replace(void)
{
	nas_replace(&nas);
	v4_reconnect(&a, nas.port);
	v4_reconnect(&b, nas.port);
}

static void until(const _Atomic unsigned *count, unsigned n)
{
	for (int i = 0; i < 10000 && *count < n; i++)
		usleep(1000);
	ck_assert_uint_ge(*count, n);
}

/* CLOSE (or LOCKU), then something that waits; meanwhile another's records become stable. */
static void begin_part(uint32_t op, const struct v4_stateid *s, const struct v4_fh *other)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, op);
	if (op == OP_LOCKU)
		xdr_put_u32(&a.x, WRITE_LT);
	if (op != OP_DELEGRETURN)
		xdr_put_u32(&a.x, 0); /* seqid */
	v4_stateid(&a, s);
	if (op == OP_LOCKU) {
		xdr_put_u64(&a.x, 0);
		xdr_put_u64(&a.x, 10);
	}
	v4_putfh(&a, other);
	v4_op(&a, OP_READ);
	v4_stateid(&a, &anonymous);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 4096);
	v4_put(&a);
}

static void expect_part(uint32_t op)
{
	uint8_t skip_bytes[36];
	ck_assert_uint_eq(v4_again(&a), NFS4ERR_DELAY);
	v4_res(&a, OP_SEQUENCE);
	v4_take(&a, skip_bytes, sizeof(skip_bytes));
	v4_res(&a, OP_PUTFH);
	ck_assert_uint_eq(v4_res(&a, op), 0);
}

static const uint32_t part_ops[] = {OP_CLOSE, OP_LOCKU, OP_DELEGRETURN};

START_TEST(what_was_done_of_a_compound_is_done)
{
	struct v4_stateid s, l, sb, lb, *of;
	struct v4_fh f, g;
	static char data[4096];
	uint32_t op = part_ops[_i];
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "g", "ob", BOTH, 0, 1 + CREATE4_UNCHECKED, &sb, &g), 0);
	ck_assert_uint_eq(v4_write(&b, &g, &sb, 0, data, sizeof(data), 2), 0);
	ck_assert_uint_eq(v4_return(&b, &g, &b.deleg), 0);
	ck_assert_uint_eq(open_as(&a, BOTH, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 10, false, &l), 0);
	f = fh;
	a.cache = true;
	nas.hold = true;
	unsigned puts = store.puts;
	of = op == OP_LOCKU ? &l : op == OP_CLOSE ? &s : &a.deleg;
	begin_part(op, of, &g);
	until(&store.puts, puts + 1);
	ck_assert_uint_eq(v4_lock(&b, &g, &sb, "lb", WRITE_LT, 0, 1, false, &lb), 0);
	store.sloppy = true; /* nothing later is stable */
	nas.hold = false;
	ck_assert_uint_eq(v4_get(&a), 0);
	replace();
	store.sloppy = false;
	fh = f;
	expect_part(op);
	/* It goes on behind it. */
	a.cache = false;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &f), 0);
	if (op == OP_CLOSE)
		ck_assert_uint_eq(v4_close_file(&a, &fh, &s), NFS4ERR_BAD_STATEID);
	else
		ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
}
END_TEST

/* Who does not return a file loses it; others have it when a successor would not give it back. */
START_TEST(taken_away_when_that_is_stable)
{
	static const char data[4];
	lend(OPEN_DELEGATE_WRITE);
	a.manner = V4_SILENT;
	ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, data, 4, 2), NFS4ERR_DELAY);
	store.hold = true;
	unsigned held = store.held;
	for (int i = 0; i < 4 && store.held == held; i++) {
		skip(LEASE_S / 2 + 1);
		usleep(1200000);
		v4_lookup(&a, "/demo", &demo);
		v4_lookup(&b, "/demo", &demo);
	}
	until(&store.held, held + 1);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, data, 4, 2), NFS4ERR_DELAY);
	store.hold = false;
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 50 && st == NFS4ERR_DELAY; i++)
		st = v4_write(&b, &fh, &anonymous, 0, data, 4, 2);
	ck_assert_uint_eq(st, 0);
	store.sloppy = true;
	replace();
	store.sloppy = false;
	ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, data, 4, 2), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &a.deleg, 0, data, 4, 2), NFS4ERR_DELEG_REVOKED);
}
END_TEST

/* The same of all that a client had whose lease ran out. */
START_TEST(ended_when_that_is_stable)
{
	static const char data[4];
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "oa", BOTH, WRITE, 0, &s, &fh), 0);
	if (a.deleg_type == OPEN_DELEGATE_WRITE)
		ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
	for (int i = 0; i < 2; i++) {
		skip(LEASE_S / 2 + 1);
		v4_lookup(&b, "/demo", &demo);
	}
	usleep(1200000);
	store.hold = true;
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, data, 4, 2), NFS4ERR_DELAY);
		usleep(300000);
	}
	store.hold = false;
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 50 && st == NFS4ERR_DELAY; i++) {
		usleep(20000);
		st = v4_write(&b, &fh, &anonymous, 0, data, 4, 2);
	}
	ck_assert_uint_eq(st, 0);
	store.sloppy = true;
	replace();
	store.sloppy = false;
	ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, data, 4, 2), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(mem_store_count(&store, STORE_SESSION), 1);
	ck_assert_uint_eq(mem_store_count(&store, STORE_OPEN), 0);
}
END_TEST

/* ---- copies that go on ---- */

#define LONG (200u << 20)

static uint32_t offload(uint32_t op, const struct v4_fh *to, const struct v4_stateid *id)
{
	a.minor = 2;
	v4_seq(&a);
	v4_putfh(&a, to);
	v4_op(&a, op);
	v4_stateid(&a, id);
	uint32_t st = v4_send(&a);
	a.minor = 1;
	if (!st) {
		v4_res(&a, OP_PUTFH);
		v4_res(&a, op);
	}
	return st;
}

static struct v4_stateid copy_begin(const struct v4_fh *from_fh, const struct v4_stateid *from,
				    const struct v4_fh *to_fh, const struct v4_stateid *to)
{
	struct v4_stateid id;
	a.minor = 2;
	v4_seq(&a);
	v4_putfh(&a, from_fh);
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, to_fh);
	v4_op(&a, OP_COPY);
	v4_stateid(&a, from);
	v4_stateid(&a, to);
	xdr_put_u64(&a.x, 1);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, LONG);
	xdr_put_bool(&a.x, true);
	xdr_put_bool(&a.x, false);
	xdr_put_u32(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_SAVEFH);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_COPY);
	ck_assert_uint_eq(v4_u32(&a), 1);
	v4_get_stateid(&a, &id);
	a.minor = 1;
	return id;
}

static void bind_back(void)
{
	v4_begin(&a);
	v4_op(&a, OP_BIND_CONN_TO_SESSION);
	memcpy(xdr_take(&a.x, NFS4_SESSIONID), a.session, NFS4_SESSIONID);
	xdr_put_u32(&a.x, CDFC4_BACK_OR_BOTH);
	xdr_put_bool(&a.x, false);
	ck_assert_uint_eq(v4_send(&a), 0);
}

/* The client asks, or is told: it ended. */
START_TEST(copies_end_with_the_head)
{
	struct v4_stateid from, to, id;
	struct v4_fh from_fh, to_fh;
	static char data[1 << 20];
	ck_assert_uint_eq(v4_open_file(&a, &demo, "from", "o", BOTH, 0, 1, &from, &from_fh), 0);
	ck_assert_uint_eq(v4_write(&a, &from_fh, &from, 0, data, sizeof(data), 2), 0);
	ck_assert_uint_eq(v4_write(&a, &from_fh, &from, LONG, data, sizeof(data), 2), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "to", "o", BOTH, 0, 1, &to, &to_fh), 0);
	nas.hold = true;
	id = copy_begin(&from_fh, &from, &to_fh, &to);
	store.sloppy = true;
	nas.hold = false;
	replace();
	store.sloppy = false;
	ck_assert_uint_eq(offload(OP_OFFLOAD_STATUS, &to_fh, &id), 0);
	ck_assert_uint_eq(v4_u64(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), NFS4ERR_DELAY);
	bind_back();
	ck_assert(v4_serve_until(&a, &a.offloads, 1));
	ck_assert_mem_eq(a.offload.b, id.b, sizeof(id.b));
	ck_assert_uint_eq(a.offload_status, NFS4ERR_DELAY);
	settle(&a);
	uint32_t st = 0;
	for (int i = 0; i < 100 && !st; i++)
		st = offload(OP_OFFLOAD_STATUS, &to_fh, &id);
	ck_assert_uint_eq(st, NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_close_file(&a, &to_fh, &to), 0); /* stable now */
	replace();
	ck_assert_uint_eq(offload(OP_OFFLOAD_STATUS, &to_fh, &id), NFS4ERR_BAD_STATEID);
}
END_TEST

/* ---- room ---- */

static uint32_t open_nth(struct v4 *c, unsigned i, struct v4_stateid *s)
{
	char owner[32];
	snprintf(owner, sizeof(owner), "owner %u", i);
	return v4_open_file(c, &demo, "f", owner, READ | OPEN4_SHARE_WANT_NONE, 0, 0, s, &fh);
}

static unsigned open_many(struct v4 *c)
{
	struct v4_stateid s;
	unsigned n = 0;
	uint32_t st = 0;
	for (; n < 5000 && !st; n++)
		st = open_nth(c, n, &s);
	ck_assert_uint_eq(st, NFS4ERR_DELAY);
	return n - 1;
}

/* Who takes all he can leaves as much to others. */
START_TEST(nobody_takes_all_the_room)
{
	struct v4_stateid s, l;
	store.all = 40000;
	unsigned na = open_many(&a), nb = open_many(&b);
	ck_assert_uint_ge(na, 20);
	ck_assert_uint_ge(nb, na / 3);
	ck_assert_uint_ge(na, nb);
	struct v4 c = {.fd = -1};
	back_client(&c, "client c");
	ck_assert_uint_eq(open_nth(&c, 1, &s), 0);
	ck_assert_uint_eq(v4_lock(&c, &fh, &s, "l", READ_LT, 0, 1, false, &l), 0);
	v4_close(&c);
	/* So it is for a successor. */
	replace();
	ck_assert_uint_eq(open_nth(&a, 9999, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(open_nth(&b, 0, &s), 0);
	/* A client that was restarted takes the place of what it was. */
	store.full = true;
	v4_exchange(&a, "client a", 99, 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	store.full = false;
	ck_assert_uint_eq(open_nth(&a, 1, &s), 0);
}
END_TEST

/* What is lent gives way. */
START_TEST(no_room_for_what_is_lent)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	store.full = true;
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "ob", READ, 0, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
	store.full = false;
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "ob", READ, 0, 0, &s, &fh), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4 crash");
	TCase *t = tcase_create("crash");
	tcase_add_checked_fixture(t, up_store, end);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, what_was_done_of_a_compound_is_done, 0, 3);
	tcase_add_test(t, taken_away_when_that_is_stable);
	tcase_add_test(t, ended_when_that_is_stable);
	tcase_add_test(t, copies_end_with_the_head);
	tcase_add_test(t, nobody_takes_all_the_room);
	tcase_add_test(t, no_room_for_what_is_lent);
	suite_add_tcase(s, t);
	return run(s);
}
