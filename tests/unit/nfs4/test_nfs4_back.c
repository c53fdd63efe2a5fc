/* The way back to clients of version 4.1: sessions and connections that are lost, calls that are
 * answered with nonsense or not at all, what becomes of who does not return what it was lent. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/deleg_world.h"

static void put_zeros(struct xdr_out *x, unsigned n)
{
	while (n--)
		xdr_put_u32(x, 0);
}

/* Its time to answer a call has passed. */
static void late(void)
{
	skip(CALL_S);
	usleep(30000);
}

/* ---- who does not return it ---- */

static uint32_t test_stateid(struct v4 *c, const struct v4_stateid *s, uint32_t op)
{
	v4_seq(c);
	v4_op(c, op);
	if (op == OP_TEST_STATEID)
		xdr_put_u32(&c->x, 1);
	v4_stateid(c, s);
	uint32_t st = v4_send(c);
	if (st || op != OP_TEST_STATEID)
		return st;
	ck_assert_uint_eq(v4_res(c, op), 0);
	ck_assert_uint_eq(v4_u32(c), 1);
	return v4_u32(c);
}

/* With a awake; the task that takes the file away may need a moment. */
static void b_writes_at_last(void)
{
	struct v4_stateid s;
	unsigned i;
	for (i = 0; i < 100 && open_as(&b, WRITE | OPEN4_SHARE_WANT_NONE, &s) == NFS4ERR_DELAY;
	     i++) {
		ck_assert_uint_eq(status_of(&a), 0);
		skip(1);
	}
	ck_assert_uint_lt(i, 100);
}

/* 0: it heard and does nothing; 1: it does not answer; 2: it says DELAY, always; 3: nonsense. */
START_TEST(taken_away)
{
	static const enum v4_manner manners[] = {V4_ANSWER, V4_DEAF, V4_LATER, V4_GARBAGE};
	struct v4_stateid s;
	char data[8];
	uint32_t n;
	bool eof;
	lend(OPEN_DELEGATE_READ);
	a.manner = manners[_i];
	/* First it cannot be written down that a has nothing to reclaim: nobody gets it. */
	refuse = 1;
	for (int i = 0; i < 8; i++) {
		ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
		ck_assert_uint_eq(status_of(&a), 0);
		skip(LEASE_S / 5);
	}
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), NFS4ERR_DELAY);
	ck_assert_int_eq(forgotten, 0);
	refuse = 0;
	b_writes_at_last();
	ck_assert_int_eq(forgotten, 1);
	ck_assert_uint_ge(a.recalls, 1);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
	ck_assert_uint_eq(v4_read(&a, &fh, &a.deleg, 0, 8, data, &n, &eof), NFS4ERR_DELEG_REVOKED);
	ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), NFS4ERR_DELEG_REVOKED);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_TEST_STATEID), NFS4ERR_DELEG_REVOKED);
	/* What it opens meanwhile it could not reclaim, and nothing is lent to it. */
	int was = kept;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "h", "o", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_int_eq(kept, was);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), 0);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(!(a.seq_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED));
	a.manner = V4_ANSWER;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "i", "o", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_int_eq(kept, was + 1);
}
END_TEST

/* Its lease runs out first: all it has goes. */
START_TEST(courtesy_ends)
{
	struct v4_stateid s;
	unsigned i;
	lend(OPEN_DELEGATE_WRITE);
	for (i = 0; i < 4; i++) {
		skip(LEASE_S / 3);
		ck_assert_uint_eq(status_of(&b), 0);
	}
	/* A courtesy as long as nobody asks. */
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.lent, 1);
	for (i = 0; i < 40 && open_as(&b, WRITE, &s) == NFS4ERR_DELAY; i++)
		skip(1);
	ck_assert_uint_lt(i, 40);
	ck_assert_int_eq(forgotten, 1);
	uint32_t seq = a.seq;
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	a.seq = seq;
}
END_TEST

/* ---- the back channel ---- */

static uint32_t bind_conn(struct v4 *c, uint32_t dir)
{
	v4_begin(c);
	v4_op(c, OP_BIND_CONN_TO_SESSION);
	xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	xdr_put_u32(&c->x, dir);
	xdr_put_bool(&c->x, false);
	if (v4_send(c))
		return 1000 + c->status;
	uint8_t id[NFS4_SESSIONID];
	ck_assert_uint_eq(v4_res(c, OP_BIND_CONN_TO_SESSION), 0);
	v4_take(c, id, sizeof(id));
	return v4_u32(c);
}

/* The same client on a new connection. */
static void reconnect(struct v4 *c)
{
	struct v4 old = *c;
	v4_open(c, nas.port);
	close(old.fd);
	free(old.buf);
	free(old.reply);
	memcpy(c->session, old.session, NFS4_SESSIONID);
	c->client = old.client;
	c->seq = old.seq;
	c->cb_seq = old.cb_seq;
	c->deleg = old.deleg;
	c->back = true;
	usleep(50000);
}

START_TEST(a_connection_is_lost)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	reconnect(&a);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_serve(&a, 200), 0); /* it is not bound */
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE_OR_BOTH), CDFS4_BOTH);
	give_back(&a);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	/* All directions, and what makes no sense. */
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE), CDFS4_FORE);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_ne(a.seq_flags, 0);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_BACK), CDFS4_BACK);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_BACK_OR_BOTH), CDFS4_BOTH);
	ck_assert_uint_eq(bind_conn(&a, 4), 1000 + NFS4ERR_INVAL);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
}
END_TEST

START_TEST(another_program)
{
	struct v4_stateid s;
	ck_assert_uint_eq(a.cb_flavor, 0);
	v4_seq(&a);
	v4_op(&a, OP_BACKCHANNEL_CTL);
	xdr_put_u32(&a.x, 0x40000077);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 1); /* AUTH_SYS */
	xdr_put_u32(&a.x, 0);
	xdr_put_string(&a.x, "machine");
	put_zeros(&a.x, 3);
	ck_assert_uint_eq(v4_send(&a), 0);
	lend(OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(a.cb_program, 0x40000077);
	ck_assert_uint_eq(a.cb_flavor, 1);
	/* RPCSEC_GSS alone is of no use. */
	v4_seq(&a);
	v4_op(&a, OP_BACKCHANNEL_CTL);
	xdr_put_u32(&a.x, 0x40000077);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 6);
	xdr_put_u32(&a.x, 1);
	xdr_put_string(&a.x, "x");
	xdr_put_string(&a.x, "y");
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOENT);
}
END_TEST

/* A call that was lost: the client has seen it, or it has not. */
START_TEST(a_call_is_lost)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_DEAF;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert(v4_serve_until(&a, &a.recalls, 1));
	late();
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_CB_PATH_DOWN_SESSION);
	if (_i)
		a.cb_seq++;
	a.manner = V4_ANSWER;
	a.recalls = a.nulls = 0;
	reconnect(&a);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE_OR_BOTH), CDFS4_BOTH);
	skip(1); /* asked for again then */
	give_back(&a);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
}
END_TEST

START_TEST(a_session_that_does_not_work)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_BAD_SESSION;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	v4_serve(&a, 1000);
	settle(&a);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_BACKCHANNEL_FAULT);
	ck_assert(a.seq_flags & SEQ4_STATUS_CB_PATH_DOWN);
	/* Another session of the client's will do. */
	a.manner = V4_ANSWER;
	ck_assert_uint_eq(v4_session(&a), 0);
	skip(1);
	give_back(&a);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
}
END_TEST

/* Nothing is lent to who does not answer CB_NULL, or has no back channel. */
START_TEST(no_way_back)
{
	static const enum v4_manner manners[] = {V4_SILENT, V4_DENY};
	struct v4 c;
	struct v4_stateid s;
	v4_open(&c, nas.port);
	c.back = _i < 2;
	c.manner = _i < 2 ? manners[_i] : V4_ANSWER;
	v4_client(&c, "client c");
	if (c.back)
		ck_assert(v4_serve_until(&c, &c.nulls, 1));
	late();
	ck_assert_uint_eq(open_as(&c, READ | OPEN4_SHARE_WANT_ANY, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(c.deleg_why, WND4_RESOURCE);
	ck_assert_uint_eq(c.seq_flags,
			  c.back ? SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION : 0);
	v4_close(&c);
}
END_TEST

/* A reply that nobody waits for, of any kind, harms nobody. */
START_TEST(stray_replies)
{
	for (uint32_t i = 0; i < 200; i++) {
		uint8_t msg[64] = {0};
		uint32_t len = i % 50 + 8;
		be32_put(msg, 0x80000000u | len);
		be32_put(msg + 4, i * 7919);
		be32_put(msg + 8, 1);
		ck_assert_int_eq(send(a.fd, msg, 4 + len, MSG_NOSIGNAL), (ssize_t)(4 + len));
	}
	ck_assert_uint_eq(status_of(&a), 0);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

/* The client goes while it is called. */
START_TEST(gone_while_called)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_DEAF;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert(v4_serve_until(&a, &a.recalls, 1));
	if (_i == 0) {
		/* It was restarted: the same name, another verifier. */
		ck_assert_uint_eq(v4_exchange(&a, "client a", 2, 0), 0);
		ck_assert_uint_eq(v4_session(&a), 0);
		ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
		late();
	} else if (_i == 1) {
		ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
		ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	} /* else the server ends */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_back");
	const TTest *t_away[] = {taken_away, courtesy_ends};
	const TTest *t_back[] = {
	    a_connection_is_lost, another_program, a_call_is_lost,   a_session_that_does_not_work,
	    no_way_back,	  stray_replies,   gone_while_called};
	add(s, "away", setup, t_away, (const int[]){4, 1}, 2);
	add(s, "back", setup, t_back, (const int[]){1, 1, 2, 1, 3, 1, 3}, 7);
	return run(s);
}
