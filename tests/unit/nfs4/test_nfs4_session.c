/* NFSv4.1 over the wire against the whole service: clients, sessions, slots, compounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/check.h"
#include "tests/unit/nfs4/pair_world.h"

/* ---- clients ---- */

START_TEST(a_client_is_confirmed_by_its_session)
{
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	ck_assert(!(a.flags & EXCHGID4_FLAG_CONFIRMED_R));
	uint64_t first = a.client;
	/* Not confirmed: replaced (RFC 8881 18.35.4 case 4). */
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	ck_assert_uint_ne(a.client, first);
	ck_assert_uint_eq(v4_session(&a), 0);
	/* Confirmed: the same (case 2). */
	first = a.client;
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	ck_assert(a.flags & EXCHGID4_FLAG_CONFIRMED_R);
	ck_assert_uint_eq(a.client, first);
	/* Updates (cases 6 to 8). */
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A), 0);
	ck_assert_uint_eq(v4_exchange(&a, "me", 2, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A),
			  NFS4ERR_NOT_SAME);
	ck_assert_uint_eq(v4_exchange(&a, "you", 2, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A),
			  NFS4ERR_NOENT);
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0x8), NFS4ERR_INVAL);
	/* Another principal (cases 3 and 9). */
	b.uid = 5;
	ck_assert_uint_eq(v4_exchange(&b, "me", 1, 0), NFS4ERR_CLID_INUSE);
	ck_assert_uint_eq(v4_exchange(&b, "me", 1, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A),
			  NFS4ERR_PERM);
}
END_TEST

START_TEST(create_session_is_done_once)
{
	uint8_t first[NFS4_SESSIONID];
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	a.client_seq += 5;
	ck_assert_uint_eq(v4_session(&a), NFS4ERR_SEQ_MISORDERED);
	a.client_seq -= 5;
	ck_assert_uint_eq(v4_session(&a), 0);
	memcpy(first, a.session, sizeof(first));
	a.client_seq--;
	ck_assert_uint_eq(v4_session(&a), 0); /* again: the same answer */
	ck_assert_mem_eq(first, a.session, sizeof(first));
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_mem_ne(first, a.session, sizeof(first));
	a.client += 1000;
	ck_assert_uint_eq(v4_session(&a), NFS4ERR_STALE_CLIENTID);
}
END_TEST

START_TEST(sessions_have_limits)
{
	static const struct {
		uint32_t asked, got, status;
	} requests[] = {{1000, NFS4_SLOTS, 0}, {0, 0, NFS4ERR_TOOSMALL}};
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	for (unsigned i = 0; i < ARRAY_LEN(requests); i++) {
		const uint32_t fore[] = {0,	     UINT32_MAX,	UINT32_MAX, UINT32_MAX,
					 UINT32_MAX, requests[i].asked, 0};
		const uint32_t back[] = {0, 4096, 4096, 0, 2, 1, 0, 0x40000000, 1, 0};
		v4_begin(&b);
		v4_op(&b, OP_CREATE_SESSION);
		xdr_put_u64(&b.x, a.client);
		xdr_put_u32(&b.x, a.client_seq);
		xdr_put_u32(&b.x, 0);
		for (unsigned k = 0; k < ARRAY_LEN(fore); k++)
			xdr_put_u32(&b.x, fore[k]);
		for (unsigned k = 0; k < ARRAY_LEN(back); k++)
			xdr_put_u32(&b.x, back[k]);
		ck_assert_uint_eq(v4_send(&b), requests[i].status);
		if (requests[i].status)
			continue;
		a.client_seq++;
		v4_res(&b, OP_CREATE_SESSION);
		v4_take(&b, b.session, NFS4_SESSIONID);
		for (unsigned k = 0; k < 3; k++)
			v4_u32(&b);
		ck_assert_uint_eq(v4_u32(&b), NFS4_REQUEST_MAX);
		ck_assert_uint_eq(v4_u32(&b), NFS4_REPLY_MAX);
		ck_assert_uint_eq(v4_u32(&b), NFS4_KEPT_REPLY);
		ck_assert_uint_eq(v4_u32(&b), NFS4_OPS_MAX);
		ck_assert_uint_eq(v4_u32(&b), requests[i].got);
	}
}
END_TEST

static uint32_t destroy(struct v4 *c, uint32_t op);

static uint32_t bind_conn(struct v4 *c, uint32_t dir)
{
	v4_begin(c);
	v4_op(c, OP_BIND_CONN_TO_SESSION);
	xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	xdr_put_u32(&c->x, dir);
	xdr_put_bool(&c->x, false);
	return v4_send(c);
}

/* Who knows the numbers of another's client and session can neither have nor end them. */
START_TEST(a_client_belongs_to_who_made_it)
{
	uint8_t session[NFS4_SESSIONID];
	v4_client(&a, "me");
	memcpy(session, a.session, sizeof(session));
	b = (struct v4){.fd = b.fd,
			.buf = b.buf,
			.reply = b.reply,
			.listen_fd = -1,
			.minor = 1,
			.xid = 1,
			.client = a.client,
			.uid = 5};
	memcpy(b.session, session, sizeof(session));
	b.client_seq = a.client_seq - 1; /* the last one again: its reply has the session in it */
	ck_assert_uint_eq(v4_session(&b), NFS4ERR_CLID_INUSE);
	b.client_seq = a.client_seq;
	ck_assert_uint_eq(v4_session(&b), NFS4ERR_CLID_INUSE);
	ck_assert_uint_eq(bind_conn(&b, CDFC4_BACK_OR_BOTH), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(destroy(&b, OP_DESTROY_SESSION), NFS4ERR_WRONG_CRED);
	ck_assert_uint_eq(destroy(&b, OP_DESTROY_CLIENTID), NFS4ERR_WRONG_CRED);
	b.seq = a.seq; /* its users share it */
	v4_seq(&b);
	v4_op(&b, OP_BACKCHANNEL_CTL);
	xdr_put_u32(&b.x, 0x40000000);
	xdr_put_u32(&b.x, 1);
	xdr_put_u32(&b.x, 0);
	ck_assert_uint_eq(v4_send(&b), NFS4ERR_INVAL);
	a.seq = b.seq;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), 0);
	/* Nor is a session's number to be guessed from another's. */
	ck_assert_uint_eq(v4_session(&a), 0);
	unsigned same = 0;
	for (unsigned i = 0; i < sizeof(session); i++)
		same += session[i] == a.session[i];
	ck_assert_uint_lt(same, 8);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_SESSION), 0);
}
END_TEST

START_TEST(a_client_that_was_restarted_loses_what_it_had)
{
	struct v4_fh demo = at(&a, "/demo"), fh;
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 3, 1, &s, &fh), 0);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 1, 0, 0, &s, &fh),
			  NFS4ERR_SHARE_DENIED);
	/* The new incarnation; the old one holds until the new is confirmed. */
	struct v4 again;
	v4_open(&again, nas.port);
	ck_assert_uint_eq(v4_exchange(&again, "client a", 2, 0), 0);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 1, 0, 0, &s, &fh),
			  NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(v4_session(&again), 0);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 1, 0, 0, &s, &fh), 0);
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_BADSESSION);
	v4_close(&again);
}
END_TEST

static uint32_t destroy(struct v4 *c, uint32_t op)
{
	v4_begin(c);
	v4_op(c, op);
	if (op == OP_DESTROY_SESSION)
		xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	else
		xdr_put_u64(&c->x, c->client);
	return v4_send(c);
}

START_TEST(clients_and_sessions_end)
{
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_CLIENTID), NFS4ERR_CLIENTID_BUSY);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_SESSION), 0);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_SESSION), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_CLIENTID), 0);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_CLIENTID), NFS4ERR_STALE_CLIENTID);
	/* Its own session, as the last operation only. */
	v4_seq(&b);
	v4_op(&b, OP_DESTROY_SESSION);
	xdr_put_fixed(&b.x, b.session, NFS4_SESSIONID);
	v4_op(&b, OP_PUTROOTFH);
	ck_assert_uint_eq(v4_send(&b), NFS4ERR_NOT_ONLY_OP);
	v4_seq(&b);
	v4_op(&b, OP_DESTROY_SESSION);
	xdr_put_fixed(&b.x, b.session, NFS4_SESSIONID);
	ck_assert_uint_eq(v4_send(&b), 0);
	ck_assert_uint_eq(bare(&b, OP_PUTROOTFH), NFS4ERR_BADSESSION);
}
END_TEST

START_TEST(nothing_is_granted_before_reclaim_complete)
{
	struct v4_fh fh, demo;
	struct v4_stateid s;
	ck_assert_uint_eq(v4_exchange(&a, "me", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	demo = at(&a, "/demo");
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), NFS4ERR_GRACE);
	v4_client(&b, "you");
	v4_seq(&b);
	v4_op(&b, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&b.x, false);
	ck_assert_uint_eq(v4_send(&b), NFS4ERR_COMPLETE_ALREADY);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
}
END_TEST

/* ---- slots ---- */

START_TEST(a_request_that_comes_again_is_not_done_again)
{
	struct v4_fh demo = at(&a, "/demo");
	uint8_t first[1024];
	a.cache = true;
	ck_assert_uint_eq(make_dir(&a, &demo, "d"), 0);
	size_t len = a.reply_len;
	ck_assert_uint_le(len, sizeof(first));
	memcpy(first, a.reply, len);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(v4_again(&a), 0);
		ck_assert_uint_eq(a.nres, 3);
		ck_assert_uint_eq(a.reply_len, len);
		ck_assert_mem_eq(a.reply, first, len);
	}
	/* From another connection too. */
	struct v4 other;
	v4_open(&other, nas.port);
	int fd = a.fd;
	a.fd = other.fd;
	ck_assert_uint_eq(v4_again(&a), 0);
	a.fd = fd;
	v4_close(&other);
	/* Another user's "again" is none. */
	a.uid = 9;
	a.seq--;
	ck_assert_uint_eq(make_dir(&a, &demo, "d"), NFS4ERR_SEQ_FALSE_RETRY);
	a.uid = 0;
	/* Not kept: the answer says so, and nothing is done. */
	a.cache = false;
	ck_assert_uint_eq(make_dir(&a, &demo, "e"), 0);
	ck_assert_uint_eq(v4_again(&a), NFS4ERR_RETRY_UNCACHED_REP);
	ck_assert_uint_eq(make_dir(&a, &demo, "e"), NFS4ERR_EXIST);
	/* A SEQUENCE alone may always come again. */
	v4_seq(&a);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(v4_again(&a), 0);
}
END_TEST

START_TEST(sequences_out_of_order)
{
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), 0);
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), 0);
	a.seq++;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_SEQ_MISORDERED);
	a.seq -= 4;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_SEQ_MISORDERED);
	a.seq++;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), 0);
	uint32_t seq = a.seq;
	a.slot = 16;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_BADSLOT);
	a.slot = 15; /* has seen nothing: a retry of nothing */
	a.seq = UINT32_MAX;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_SEQ_MISORDERED);
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), 0);
	a.slot = 0;
	a.seq = seq;
	a.session[3] ^= 1;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_BADSESSION);
}
END_TEST

START_TEST(what_a_compound_may_be)
{
	v4_begin(&a);
	v4_op(&a, OP_PUTROOTFH);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_OP_NOT_IN_SESSION);
	v4_begin(&a);
	v4_op(&a, OP_DESTROY_CLIENTID);
	xdr_put_u64(&a.x, 1);
	v4_op(&a, OP_PUTROOTFH);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOT_ONLY_OP);
	ck_assert_uint_eq(bare(&a, 2), NFS4ERR_OP_ILLEGAL);
	ck_assert_uint_eq(v4_res(&a, OP_ILLEGAL), NFS4ERR_OP_ILLEGAL);
	ck_assert_uint_eq(bare(&a, 76), NFS4ERR_OP_ILLEGAL);
	ck_assert_uint_eq(bare(&a, OP_ALLOCATE), NFS4ERR_OP_ILLEGAL);
	ck_assert_uint_eq(bare(&a, OP_LAYOUTGET), NFS4ERR_NOTSUPP);
	a.minor = 2;
	ck_assert_uint_eq(bare(&a, OP_CLONE), NFS4ERR_NOFILEHANDLE);
	ck_assert_uint_eq(bare(&a, 70), NFS4ERR_NOTSUPP); /* WRITE_SAME */
	a.minor = 3;
	ck_assert_uint_eq(bare(&a, OP_PUTROOTFH), NFS4ERR_MINOR_VERS_MISMATCH);
	a.seq--;
	a.minor = 1;
	v4_seq(&a);
	for (int i = 0; i < 32; i++)
		v4_op(&a, OP_PUTROOTFH);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_TOO_MANY_OPS);
	a.seq--;
	ck_assert_uint_eq(bare(&a, OP_GETFH), NFS4ERR_NOFILEHANDLE);
	ck_assert_uint_eq(bare(&a, OP_RESTOREFH), NFS4ERR_NOFILEHANDLE);
	ck_assert_uint_eq(bare(&a, OP_LOOKUP), NFS4ERR_NOFILEHANDLE);
	v4_seq(&a);
	v4_root(&a);
	v4_op(&a, OP_LOOKUP); /* without a name */
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADXDR);
	ck_assert_uint_eq(a.nres, 3);
	v4_begin(&a);
	ck_assert_uint_eq(v4_send(&a), 0); /* of nothing */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_session");
	TCase *raw = tcase_create("clients"), *t = tcase_create("sessions");
	tcase_add_checked_fixture(raw, up, down);
	tcase_add_checked_fixture(t, up_clients, down);
	tcase_set_timeout(raw, 30);
	tcase_set_timeout(t, 60);
	tcase_add_test(raw, a_client_is_confirmed_by_its_session);
	tcase_add_test(raw, create_session_is_done_once);
	tcase_add_test(raw, sessions_have_limits);
	tcase_add_test(t, a_client_belongs_to_who_made_it);
	tcase_add_test(raw, nothing_is_granted_before_reclaim_complete);
	tcase_add_test(t, a_client_that_was_restarted_loses_what_it_had);
	tcase_add_test(t, clients_and_sessions_end);
	tcase_add_test(t, a_request_that_comes_again_is_not_done_again);
	tcase_add_test(t, sequences_out_of_order);
	tcase_add_test(t, what_a_compound_may_be);
	suite_add_tcase(s, raw);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
