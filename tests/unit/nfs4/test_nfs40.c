/* NFSv4.0 over the wire: clients without sessions, owners with sequence numbers, what comes again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "tests/unit/nfs4/v40_world.h"

/* ---- clients ---- */

START_TEST(clients_are_confirmed)
{
	struct v4 c;
	uint32_t flags;
	struct v4_stateid s;
	v4_open(&c, nas.port);
	ck_assert_uint_eq(v4_set_client(&c, "new", 1), 0);
	ck_assert_uint_eq(renew(&c, c.client), NFS4ERR_STALE_CLIENTID);
	ck_assert_uint_eq(open_at(&c, "o", 1, "f", 1, 0, 1, &s, &flags), NFS4ERR_STALE_CLIENTID);
	c.confirm[0] ^= 1;
	ck_assert_uint_eq(v4_confirm_client(&c), NFS4ERR_STALE_CLIENTID);
	c.confirm[0] ^= 1;
	c.uid = 5;
	ck_assert_uint_eq(v4_confirm_client(&c), NFS4ERR_CLID_INUSE);
	c.uid = 0;
	ck_assert_uint_eq(v4_confirm_client(&c), 0);
	comes_again(&c);
	ck_assert_uint_eq(v4_confirm_client(&c), 0);
	ck_assert_uint_eq(renew(&c, c.client), 0);
	/* The same incarnation: the same client, confirmed once more. */
	uint64_t id = c.client;
	ck_assert_uint_eq(v4_set_client(&c, "new", 1), 0);
	ck_assert_uint_eq(c.client, id);
	ck_assert_uint_eq(renew(&c, id), 0);
	ck_assert_uint_eq(v4_confirm_client(&c), 0);
	/* Never given out; of another incarnation of the server; of version 4.1. */
	ck_assert_uint_eq(renew(&c, id + 1000), NFS4ERR_STALE_CLIENTID);
	ck_assert_uint_eq(renew(&c, id ^ 1ull << 40), NFS4ERR_STALE_CLIENTID);
	struct v4 one;
	v4_open(&one, nas.port);
	v4_client(&one, "new");
	ck_assert_uint_eq(renew(&c, one.client), NFS4ERR_STALE_CLIENTID);
	ck_assert_uint_eq(renew(&c, id), 0); /* the same name there is another client */
	one.client = id;
	ck_assert_uint_eq(v4_session(&one), NFS4ERR_STALE_CLIENTID);
	v4_close(&one);
	v4_close(&c);
}
END_TEST

START_TEST(a_client_that_was_restarted_loses_what_it_had)
{
	struct v4_stateid s, t;
	struct v4 c;
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	/* Another's name is not to be had while it has something. */
	v4_open(&c, nas.port);
	c.uid = 7;
	ck_assert_uint_eq(v4_set_client(&c, "client a", 9), NFS4ERR_CLID_INUSE);
	ck_assert_uint_eq(v4_res(&c, OP_SETCLIENTID), NFS4ERR_CLID_INUSE);
	const uint8_t *p;
	ck_assert_uint_eq(v4_opaque(&c, &p), 3);
	ck_assert_mem_eq(p, "tcp", 3);
	ck_assert_uint_eq(v4_opaque(&c, &p), 9);
	ck_assert_mem_eq(p, "127.0.0.1", 9);
	/* Until the new one is confirmed the old one goes on. */
	c.uid = 0;
	ck_assert_uint_eq(v4_set_client(&c, "client a", 2), 0);
	ck_assert_uint_ne(c.client, a.client);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	ck_assert_uint_eq(v4_confirm_client(&c), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(renew(&a, a.client), NFS4ERR_EXPIRED);
	open_f(&c, "o", 3, &t);
	v4_close(&c);
}
END_TEST

/* ---- opens ---- */

START_TEST(an_open_owner_is_confirmed_once)
{
	struct v4_stateid s, t, u;
	uint32_t flags, n;
	uint8_t buf[8];
	bool eof;
	ck_assert_uint_eq(open_at(&a, "o", 70, "f", 3, 0, 1, &s, &flags), 0);
	ck_assert_uint_eq(flags & OPEN4_RESULT_CONFIRM, OPEN4_RESULT_CONFIRM);
	/* Before that nothing is done under it. */
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 8, buf, &n, &eof), NFS4ERR_BAD_STATEID);
	t = s;
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 71, &t), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(with_number(&a, OP_OPEN_CONFIRM, 73, &t), NFS4ERR_BAD_SEQID);
	ck_assert_uint_eq(with_number(&a, OP_OPEN_CONFIRM, 71, &t), 0);
	asked_again(&a);
	ck_assert_uint_eq(v4_read(&a, &fh, &t, 0, 8, buf, &n, &eof), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 8, buf, &n, &eof), NFS4ERR_OLD_STATEID);
	u = t;
	ck_assert_uint_eq(with_number(&a, OP_OPEN_CONFIRM, 72, &u), NFS4ERR_BAD_STATEID);
	/* From then on it opens at once. */
	ck_assert_uint_eq(open_at(&a, "o", 72, "g", 1, 0, 1, &u, &flags), 0);
	ck_assert_uint_eq(flags, OPEN4_RESULT_LOCKTYPE_POSIX);
	/* One that was never confirmed begins again, with nothing. */
	ck_assert_uint_eq(open_at(&b, "o", 5, "h", 1, 2, 1, &s, &flags), 0);
	ck_assert_uint_eq(open_at(&a, "p", 1, "h", 2, 0, 0, &t, &flags), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_at(&b, "o", 50, "other", 1, 0, 1, &s, &flags), 0);
	ck_assert_uint_eq(flags & OPEN4_RESULT_CONFIRM, OPEN4_RESULT_CONFIRM);
	ck_assert_uint_eq(open_at(&a, "p", 9, "h", 2, 0, 0, &t, &flags), 0);
}
END_TEST

START_TEST(numbers_out_of_order)
{
	struct v4_stateid s, t;
	uint32_t flags;
	open_f(&a, "o", 3, &s);
	struct v4_fh f = fh;
	ck_assert_uint_eq(open_at(&a, "o", 5, "g", 1, 0, 1, &t, &flags), NFS4ERR_BAD_SEQID);
	ck_assert_uint_eq(open_at(&a, "o", 1, "g", 1, 0, 1, &t, &flags), NFS4ERR_BAD_SEQID);
	/* The last number, but something else. */
	ck_assert_uint_eq(open_at(&a, "o", 2, "g", 1, 0, 1, &t, &flags), NFS4ERR_BAD_SEQID);
	/* An error counts as well, but not those of requests that are nobody's. */
	ck_assert_uint_eq(open_at(&a, "o", 3, "none", 1, 0, 0, &t, &flags), NFS4ERR_NOENT);
	asked_again(&a);
	ck_assert_uint_eq(open_at(&a, "o", 4, "", 1, 0, 0, &t, &flags), NFS4ERR_INVAL);
	t = s;
	t.b[15] ^= 1;
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 5, &t), NFS4ERR_BAD_STATEID);
	t = s;
	t.b[3]++; /* the number of the state, not yet */
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 5, &t), NFS4ERR_BAD_STATEID);
	t = s;
	t.b[4] ^= 1; /* of another incarnation of the server */
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 5, &t), NFS4ERR_STALE_STATEID);
	ck_assert_uint_eq(open_at(&a, "o", 5, "g", 1, 0, 1, &t, &flags), 0);
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 6, &t), 0);
	/* Version 4.1 has no claim by handle here, no exclusive creation with attributes. */
	ck_assert_uint_eq(open_at(&a, "o", 7, "x", 1, 0, CREATE4_EXCLUSIVE4_1 + 1, &t, &flags),
			  NFS4ERR_BADXDR);
	ck_assert_uint_eq(open_at(&a, "o", 7, "x", 0x101, 0, 1, &t, &flags), NFS4ERR_INVAL);
	/* Not of this file: that does not count. */
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 8, &s), NFS4ERR_BAD_STATEID);
	fh = f;
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 8, &s), 0);
}
END_TEST

START_TEST(an_open_that_comes_again)
{
	struct v4_stateid s, t;
	uint32_t flags;
	struct v4_fh f;
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(open_at(&a, "o", 3, "new", 3, 0, CREATE4_GUARDED + 1, &t, &flags), 0);
	f = fh;
	/* It is not "exists", and the handle behind it is the file's. */
	asked_again(&a);
	struct v4_stateid u;
	be32_put(a.x.base, a.xid++);
	ck_assert_uint_eq(v4_again(&a), 0);
	take_open(&a, &u, &flags);
	ck_assert_mem_eq(&u, &t, sizeof(u));
	ck_assert_uint_eq(fh.len, f.len);
	ck_assert_mem_eq(fh.b, f.b, f.len);
	ck_assert_uint_eq(v4_write(&a, &fh, &t, 0, "x", 1, 2), 0);
	/* One that was not confirmed may come again, too. */
	ck_assert_uint_eq(open_at(&b, "o", 3, "new2", 3, 0, CREATE4_GUARDED + 1, &t, &flags), 0);
	asked_again(&b);
}
END_TEST

START_TEST(a_close_that_comes_again)
{
	struct v4_stateid s, t, u;
	uint32_t flags, n;
	uint8_t buf[8];
	bool eof;
	open_f(&a, "o", 3, &s);
	t = s;
	ck_assert_uint_eq(with_number(&a, OP_OPEN_DOWNGRADE, 3, &s), NFS4ERR_INVAL);
	ck_assert_uint_eq(open_at(&a, "o", 4, "f", 1, 0, 0, &s, &flags), 0);
	ck_assert_uint_eq(with_number(&a, OP_OPEN_DOWNGRADE, 5, &s), 0);
	asked_again(&a);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), NFS4ERR_OPENMODE);
	t = s;
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 6, &t), 0);
	asked_again(&a);
	ck_assert_uint_eq(v4_read(&a, &fh, &t, 0, 8, buf, &n, &eof), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 8, buf, &n, &eof), NFS4ERR_BAD_STATEID);
	/* After the next it is not known any more. */
	ck_assert_uint_eq(open_at(&a, "o", 7, "f", 1, 0, 0, &u, &flags), 0);
	ck_assert_uint_eq(flags, OPEN4_RESULT_LOCKTYPE_POSIX);
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 6, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 8, &u), 0);
	/* Nothing of it is in the way. */
	ck_assert_uint_eq(open_at(&b, "o", 1, "f", 3, 3, 0, &u, &flags), 0);
}
END_TEST

START_TEST(idle_owners_go_after_a_lease)
{
	struct v4_stateid s, t;
	uint32_t flags;
	open_f(&a, "o", 3, &s);
	open_f(&a, "stays", 3, &t);
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 3, &s), 0);
	ck_assert_uint_eq(open_at(&b, "never confirmed", 1, "g", 3, 3, 1, &s, &flags), 0);
	for (int i = 0; i < 17; i++) {
		usleep(200000);
		ck_assert_uint_eq(renew(&a, a.client), 0);
		ck_assert_uint_eq(renew(&b, b.client), 0);
	}
	/* Who has nothing is new; who has something is not; what was not confirmed is free. */
	ck_assert_uint_eq(open_at(&a, "o", 77, "g", 3, 3, 1, &s, &flags), 0);
	ck_assert_uint_eq(flags & OPEN4_RESULT_CONFIRM, OPEN4_RESULT_CONFIRM);
	ck_assert_uint_eq(open_at(&a, "stays", 77, "f", 3, 0, 1, &s, &flags), NFS4ERR_BAD_SEQID);
	ck_assert_uint_eq(open_at(&a, "stays", 3, "f", 3, 0, 1, &s, &flags), 0);
}
END_TEST

START_TEST(a_lease_that_runs_out)
{
	struct v4_stateid s;
	uint32_t flags;
	struct v4_stateid t;
	open_f(&a, "o", 3, &s);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 15; i++) {
			usleep(200000);
			ck_assert_uint_eq(renew(&b, b.client), 0);
		}
		/* Nobody wanted it: it is there. */
		if (round == 0)
			ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	}
	uint32_t st = NFS4ERR_DELAY;
	for (uint32_t i = 1; i < 40 && st == NFS4ERR_DELAY; i++) {
		st = open_at(&b, "o", i, "f", 3, 3, 0, &t, &flags);
		usleep(100000);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(renew(&a, a.client), NFS4ERR_EXPIRED);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), NFS4ERR_BAD_STATEID);
	v4_client0(&a, "client a");
	ck_assert_uint_eq(renew(&a, a.client), 0);
}
END_TEST

/* CLAIM_PREVIOUS of the directory itself is of no file; of a file it opens it, confirmed. */
static uint32_t reclaim(struct v4 *c, const struct v4_fh *of, uint32_t *flags)
{
	struct v4_stateid s;
	v4_begin(c);
	v4_putfh(c, of);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 3);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "o");
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_PREVIOUS);
	xdr_put_u32(&c->x, OPEN_DELEGATE_NONE);
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_OPEN);
	v4_get_stateid(c, &s);
	v4_take(c, (uint8_t[20]){0}, 20);
	*flags = v4_u32(c);
	return v4_write(c, of, &s, 0, "data", 4, 2);
}

START_TEST(who_was_kept_reclaims)
{
	struct v4_stateid s;
	struct v4_fh f;
	uint32_t flags;
	v4_begin(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, 6); /* a socket: no file, but a handle */
	xdr_put_string(&a.x, "s");
	xdr_put_u64(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/s", &f), 0);
	ck_assert_uint_eq(reclaim(&a, &f, &flags), NFS4ERR_INVAL);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/kept", &f), 0);
	ck_assert_uint_eq(reclaim(&b, &f, &flags), NFS4ERR_NO_GRACE);
	ck_assert_uint_eq(open_at(&a, "new", 1, "kept", 1, 0, 0, &s, &flags), NFS4ERR_GRACE);
	ck_assert_uint_eq(nkept, 0);
	/* The same number and arguments, but another file: nothing that was answered. */
	ck_assert_uint_eq(reclaim(&a, &f, &flags), 0);
	ck_assert_uint_eq(flags, OPEN4_RESULT_LOCKTYPE_POSIX);
	ck_assert_uint_eq(nkept, 1);
	for (int i = 0; i < 30; i++) {
		usleep(100000);
		ck_assert_uint_eq(renew(&a, a.client), 0);
		ck_assert_uint_eq(renew(&b, b.client), 0);
	}
	ck_assert_uint_eq(open_at(&b, "o", 2, "kept", 1, 2, 0, &s, &flags), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_at(&b, "o", 3, "kept", 1, 0, 0, &s, &flags), 0);
	ck_assert_uint_eq(nkept, 2);
}
END_TEST

START_TEST(kept_before_the_first_open)
{
	struct v4_stateid s, t;
	uint32_t flags;
	ck_assert_uint_eq(nkept, 0);
	ck_assert_uint_eq(open_at(&a, "o", 1, "none", 1, 0, 0, &s, &flags), NFS4ERR_NOENT);
	ck_assert_uint_eq(nkept, 0);
	ck_assert_uint_eq(open_at(&a, "o", 2, "f", 1, 0, 1, &s, &flags), 0);
	ck_assert_uint_eq(nkept, 1);
	ck_assert_uint_eq(open_at(&a, "p", 2, "f", 1, 0, 1, &t, &flags), 0);
	ck_assert_uint_eq(nkept, 1);
	ck_assert_uint_eq(nforgotten, 0);
}
END_TEST

/* ---- locks ---- */

START_TEST(lock_owners_count_too)
{
	struct v4_stateid s, l, m, t;
	struct lock first = {3, 1, "l", WRITE_LT, 0, 100}, more = {0, 2, NULL, WRITE_LT, 200, 10};
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(lock(&a, &s, &first, &l), 0);
	asked_again(&a);
	ck_assert_uint_eq(lock(&a, &l, &more, &m), 0);
	asked_again(&a);
	more.lock_seq = 4;
	ck_assert_uint_eq(lock(&a, &m, &more, &t), NFS4ERR_BAD_SEQID);
	more.lock_seq = 3;
	ck_assert_uint_eq(lock(&a, &l, &more, &t), NFS4ERR_OLD_STATEID); /* that counts */
	/* A lock-owner that exists, in another file: its number must be the next. */
	struct lock again = {4, 9, "l", READ_LT, 300, 1};
	ck_assert_uint_eq(lock(&a, &s, &again, &t), NFS4ERR_BAD_SEQID);
	again.lock_seq = 4;
	ck_assert_uint_eq(lock(&a, &s, &again, &m), 0);
	ck_assert_uint_eq(unlock(&a, 5, &m, 0, UINT64_MAX), 0);
	asked_again(&a);
	ck_assert_uint_eq(lockt(&b, "l", 0, UINT64_MAX), 0);
	/* Of another client's id: none of its owners. */
	struct lock wrong = {5, 1, "w", READ_LT, 300, 1};
	uint64_t id = a.client;
	a.client = b.client;
	ck_assert_uint_eq(lock(&a, &s, &wrong, &t), NFS4ERR_STALE_CLIENTID);
	a.client = id;
	ck_assert_uint_eq(lock(&a, &s, &wrong, &t), 0);
}
END_TEST

START_TEST(who_is_denied_hears_it_again)
{
	struct v4_stateid s, l, t, m;
	char name[600];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	struct lock first = {3, 1, name, WRITE_LT, 0, 100}, other = {3, 1, "l", READ_LT, 5, 1};
	open_f(&a, "o", 3, &s);
	open_f(&b, "o", 3, &t);
	ck_assert_uint_eq(lock(&a, &s, &first, &l), 0);
	ck_assert_uint_eq(lock(&b, &t, &other, &m), NFS4ERR_DENIED);
	asked_again(&b);
	/* Also when it could be granted by now: the client goes on from the answer it got. */
	ck_assert_uint_eq(unlock(&a, 2, &l, 0, 100), 0);
	be32_put(b.x.base, b.xid++);
	lock(&b, &t, &other, &m);
	ck_assert_uint_eq(b.status, NFS4ERR_DENIED);
	other.open_seq = 4;
	ck_assert_uint_eq(lock(&b, &t, &other, &m), 0);
}
END_TEST

START_TEST(lock_owners_are_released)
{
	struct v4_stateid s, l, t;
	struct lock first = {3, 1, "l", WRITE_LT, 0, 100};
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(release(&a, "l"), 0);
	ck_assert_uint_eq(lock(&a, &s, &first, &l), 0);
	ck_assert_uint_eq(release(&a, "l"), NFS4ERR_LOCKS_HELD);
	ck_assert_uint_eq(unlock(&a, 2, &l, 0, 100), 0);
	ck_assert_uint_eq(release(&a, "l"), 0);
	ck_assert_uint_eq(unlock(&a, 3, &l, 0, 100), NFS4ERR_BAD_STATEID);
	uint64_t id = a.client;
	a.client = 1;
	ck_assert_uint_eq(release(&a, "l"), NFS4ERR_STALE_CLIENTID);
	a.client = id;
	/* A close takes the locks under it along. */
	first.open_seq = 4;
	ck_assert_uint_eq(lock(&a, &s, &first, &l), 0);
	ck_assert_uint_eq(lockt(&b, "l", 0, 1), NFS4ERR_DENIED);
	ck_assert_uint_eq(with_number(&a, OP_CLOSE, 5, &s), 0);
	asked_again(&a);
	ck_assert_uint_eq(lockt(&b, "l", 0, 1), 0);
	t = l;
	ck_assert_uint_eq(unlock(&a, 2, &t, 0, 100), NFS4ERR_BAD_STATEID);
}
END_TEST

START_TEST(versions_share_the_locks_but_not_the_states)
{
	struct v4_stateid s, l, t;
	struct v4_fh f;
	struct v4 one;
	struct lock first = {3, 1, "l", WRITE_LT, 0, 100};
	uint8_t buf[8];
	uint32_t n;
	bool eof;
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(lock(&a, &s, &first, &l), 0);
	v4_open(&one, nas.port);
	v4_client(&one, "one");
	ck_assert_uint_eq(v4_open_file(&one, &demo, "f", "o", 3, 0, 0, &t, &f), 0);
	ck_assert_uint_eq(v4_lock(&one, &f, &t, "l", WRITE_LT, 5, 1, false, &l), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_read(&one, &f, &s, 0, 8, buf, &n, &eof), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_read(&a, &f, &t, 0, 8, buf, &n, &eof), NFS4ERR_BAD_STATEID);
	/* Operations of the one are not in the other. */
	v4_seq(&one);
	v4_op(&one, OP_RENEW);
	xdr_put_u64(&one.x, a.client);
	ck_assert_uint_eq(v4_send(&one), NFS4ERR_NOTSUPP);
	v4_begin(&a);
	v4_op(&a, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&a.x, false);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_OP_ILLEGAL);
	v4_close(&one);
}
END_TEST

/* ---- what is not done twice ---- */

START_TEST(calls_that_come_again)
{
	struct v4_stateid s;
	struct v4 c;
	open_f(&a, "o", 3, &s);
	ck_assert_uint_eq(named(&a, OP_REMOVE, "f"), 0);
	comes_again(&a);
	ck_assert_uint_eq(named(&a, OP_REMOVE, "f"), NFS4ERR_NOENT);
	comes_again(&a);
	/* From another port it is another's. */
	v4_begin(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, 2);
	xdr_put_string(&a.x, "dir");
	xdr_put_u64(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	comes_again(&a);
	v4_open(&c, nas.port);
	int fd = a.fd;
	a.fd = c.fd;
	ck_assert_uint_eq(v4_again(&a), NFS4ERR_EXIST);
	a.fd = fd;
	v4_close(&c);
}
END_TEST

/* While an OPEN is under way: it again, and what comes next of its owner. */
START_TEST(an_owner_does_one_thing_at_a_time)
{
	struct v4_stateid s, t;
	uint32_t flags;
	struct v4 c;
	v4_open(&c, nas.port);
	c.minor = 0;
	c.client = a.client;
	c.xid = 1000;
	hold = true;
	put_open(&a, "o", 1, "f", 3, 0, CREATE4_GUARDED + 1);
	v4_put(&a);
	v4_put(&a); /* the same call: answered once */
	usleep(100000);
	put_open(&c, "o", 1, "f", 3, 0, CREATE4_GUARDED + 1);
	v4_put(&c); /* the same request as another call: the same answer */
	ck_assert_uint_eq(v4_get(&a), 0);
	hold = false;
	take_open(&a, &s, &flags);
	ck_assert_uint_eq(v4_get(&c), 0);
	take_open(&c, &t, &flags);
	ck_assert_mem_eq(&s, &t, sizeof(s));
	ck_assert_uint_eq(nkept, 1);
	ck_assert_uint_eq(with_number(&a, OP_OPEN_CONFIRM, 2, &s), 0);
	v4_close(&c);
}
END_TEST

/* A client that goes on while it is asked to be another. */
START_TEST(a_busy_client_is_not_replaced)
{
	struct v4 c;
	v4_open(&c, nas.port);
	hold = true;
	put_open(&a, "o", 1, "f", 3, 0, 1);
	v4_put(&a);
	usleep(100000);
	ck_assert_uint_eq(v4_set_client(&c, "client a", 2), 0);
	ck_assert_uint_eq(v4_confirm_client(&c), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_get(&a), 0);
	hold = false;
	ck_assert_uint_eq(v4_confirm_client(&c), 0);
	ck_assert_uint_eq(renew(&a, a.client), NFS4ERR_EXPIRED);
	v4_close(&c);
}
END_TEST

/* Data behind something that is kept is in one piece with it. */
START_TEST(data_behind_a_change)
{
	static const char text[] = "some data, a little more";
	struct v4_stateid s;
	const uint8_t *p;
	open_f(&a, "o", 3, &s);
	for (int i = 0; i < 2; i++) {
		v4_begin(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, OP_WRITE);
		v4_stateid(&a, &s);
		xdr_put_u64(&a.x, 0);
		xdr_put_u32(&a.x, 2);
		xdr_put_string(&a.x, text);
		v4_op(&a, OP_READ);
		v4_stateid(&a, &s);
		xdr_put_u64(&a.x, 0);
		xdr_put_u32(&a.x, 100);
		ck_assert_uint_eq(v4_send(&a), 0);
		comes_again(&a);
		ck_assert_uint_eq(v4_res(&a, OP_PUTFH), 0);
		ck_assert_uint_eq(v4_res(&a, OP_WRITE), 0);
		v4_take(&a, (uint8_t[16]){0}, 16);
		ck_assert_uint_eq(v4_res(&a, OP_READ), 0);
		ck_assert_uint_eq(v4_u32(&a), 1);
		ck_assert_uint_eq(v4_opaque(&a, &p), strlen(text));
		ck_assert_mem_eq(p, text, strlen(text));
	}
}
END_TEST

/* ---- the rest ---- */

START_TEST(attributes_end_with_mounted_on_fileid)
{
	v4_begin(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 3);
	xdr_put_u32(&a.x, 1u << FATTR4_SUPPORTED_ATTRS);
	xdr_put_u32(&a.x, 1u << (FATTR4_MODE - 32));
	xdr_put_u32(&a.x, 1u << (FATTR4_XATTR_SUPPORT - 64));
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_GETATTR);
	ck_assert_uint_eq(v4_u32(&a), 2);
	ck_assert_uint_eq(v4_u32(&a), 1u << FATTR4_SUPPORTED_ATTRS);
	ck_assert_uint_eq(v4_u32(&a), 1u << (FATTR4_MODE - 32));
	v4_u32(&a);
	ck_assert_uint_eq(v4_u32(&a), 2);
	v4_u32(&a);
	ck_assert_uint_eq(v4_u32(&a) >> (FATTR4_MOUNTED_ON_FILEID - 32), 1);
}
END_TEST

START_TEST(secinfo_leaves_the_directory)
{
	static const char *const names[] = {"none", "f"};
	struct v4_stateid s;
	open_f(&a, "o", 3, &s);
	for (int i = 0; i < 2; i++) {
		v4_begin(&a);
		v4_putfh(&a, &demo);
		v4_name(&a, OP_SECINFO, names[i]);
		v4_name(&a, OP_LOOKUP, "f");
		ck_assert_uint_eq(v4_send(&a), i ? 0 : NFS4ERR_NOENT);
		ck_assert_uint_eq(a.nres, i ? 3 : 2);
	}
	v4_begin(&a);
	v4_root(&a);
	v4_name(&a, OP_SECINFO, "demo");
	v4_name(&a, OP_LOOKUP, "demo");
	v4_name(&a, OP_LOOKUP, "f");
	v4_op(&a, OP_READLINK);
	/* WRONG_TYPE is of 4.1. */
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_INVAL);
	ck_assert_uint_eq(a.nres, 5);
}
END_TEST

/* Many clients and owners that never come back cost no more than their bounds; nothing leaks. */
START_TEST(many_clients)
{
	char name[32];
	struct v4_stateid s;
	uint32_t flags;
	struct v4 c;
	v4_open(&c, nas.port);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "client %d", i);
		v4_client0(&c, name);
		if (i % 100 == 0)
			ck_assert_uint_eq(open_at(&c, "o", 1, "f", 1, 0, 1, &s, &flags), 0);
	}
	ck_assert_uint_eq(renew(&c, c.client), 0);
	v4_close(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs40");
	TCase *t = tcase_create("wire"), *leases = tcase_create("leases"),
	      *restart = tcase_create("restart");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, clients_are_confirmed);
	tcase_add_test(t, a_client_that_was_restarted_loses_what_it_had);
	tcase_add_test(t, an_open_owner_is_confirmed_once);
	tcase_add_test(t, numbers_out_of_order);
	tcase_add_test(t, an_open_that_comes_again);
	tcase_add_test(t, a_close_that_comes_again);
	tcase_add_test(t, kept_before_the_first_open);
	tcase_add_test(t, lock_owners_count_too);
	tcase_add_test(t, who_is_denied_hears_it_again);
	tcase_add_test(t, lock_owners_are_released);
	tcase_add_test(t, versions_share_the_locks_but_not_the_states);
	tcase_add_test(t, calls_that_come_again);
	tcase_add_test(t, an_owner_does_one_thing_at_a_time);
	tcase_add_test(t, a_busy_client_is_not_replaced);
	tcase_add_test(t, data_behind_a_change);
	tcase_add_test(t, attributes_end_with_mounted_on_fileid);
	tcase_add_test(t, secinfo_leaves_the_directory);
	tcase_add_test(t, many_clients);
	suite_add_tcase(suite, t);
	tcase_add_checked_fixture(leases, up_short, down);
	tcase_set_timeout(leases, 60);
	tcase_add_test(leases, idle_owners_go_after_a_lease);
	tcase_add_test(leases, a_lease_that_runs_out);
	suite_add_tcase(suite, leases);
	tcase_add_checked_fixture(restart, up_again, down);
	tcase_set_timeout(restart, 60);
	tcase_add_test(restart, who_was_kept_reclaims);
	suite_add_tcase(suite, restart);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
