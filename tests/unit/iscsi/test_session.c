/* Several connections a session: joining, order of commands across them, ends, reinstatement. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

static struct client *second;

static const uint8_t tur[16];
static const char *const two[] = {"MaxConnections=2", "InitialR2T=Yes", "ImmediateData=No", NULL};

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 16, .data_timeout_s = 2});
	second = NULL;
}

static void teardown(void)
{
	if (second)
		client_free(second);
	peer_teardown();
}

/* A further connection of c's session; its status. Commands of both are numbered as one stream. */
static unsigned join(uint16_t cid)
{
	second = client_connect(target.port);
	memcpy(second->isid, c->isid, 6);
	second->tsih = c->tsih;
	second->cid = cid;
	second->cmdsn = c->cmdsn;
	second->itt = 1000u * (cid + 1u);
	return client_login(second, TARGET_OPEN, NULL);
}

static void login_both(void)
{
	login(two);
	ck_assert_uint_eq(join(1), 0);
	ck_assert_uint_eq(be16_get(second->bhs.tsih), c->tsih);
}

static uint32_t tur_on(struct client *on, uint32_t cmdsn)
{
	on->cmdsn = cmdsn;
	return client_command(on, 0x80, tur, 0, NULL, 0);
}

static void answered(struct client *on, uint32_t itt)
{
	client_expect(on, OP_SCSI_RSP);
	ck_assert_uint_eq(be32_get(on->bhs.itt), itt);
	ck_assert_uint_eq(on->bhs.status, SCSI_GOOD);
}

START_TEST(both_connections_serve)
{
	uint8_t cdb[16];
	login_both();
	uint32_t sn = c->cmdsn;
	for (unsigned i = 0; i < 20; i++) {
		struct client *on = i & 1 ? second : c;
		answered(on, tur_on(on, sn++));
	}
	/* Each keeps its own tasks: data goes where the command was. */
	cdb_rw(cdb, true, 0, 8);
	second->cmdsn = sn++;
	uint32_t itt = client_command(second, 0xa0, cdb, 4096, NULL, 0);
	client_expect(second, OP_R2T);
	client_data_out(second, itt, be32_get(second->bhs.ttt), 0, 0, pattern, 4096, true);
	answered(second, itt);
	check_volume(0, 4096);
	c->cmdsn = sn;
}
END_TEST

/* Also when they come to different reactors: joining is tried from many connections. */
START_TEST(a_connection_is_handed_to_its_session)
{
	struct client *idle[3];
	for (int i = 0; i < _i; i++)
		idle[i] = client_connect(target.port);
	login_both();
	uint32_t sn = c->cmdsn;
	answered(second, tur_on(second, sn));
	answered(c, tur_on(c, sn + 1));
	for (int i = 0; i < _i; i++)
		client_free(idle[i]);
}
END_TEST

START_TEST(commands_wait_for_those_before_them)
{
	login_both();
	uint32_t sn = c->cmdsn;
	uint32_t third = tur_on(second, sn + 2), fourth = tur_on(second, sn + 3);
	ck_assert(client_quiet(second, 100));
	uint32_t first = tur_on(c, sn);
	answered(c, first);
	ck_assert_uint_eq(be32_get(c->bhs.expcmdsn), sn + 1);
	ck_assert(client_quiet(second, 100));
	uint32_t next = tur_on(c, sn + 1);
	answered(c, next);
	answered(second, third);
	answered(second, fourth);
	ck_assert_uint_eq(be32_get(second->bhs.expcmdsn), sn + 4);
}
END_TEST

/* One stream of commands dealt out at random, sent at once; all are answered. */
START_TEST(a_stream_over_both_connections)
{
	uint32_t seed = 12345u + (unsigned)_i, n[2] = {0}, itts[2][100];
	login_both();
	uint32_t sn = c->cmdsn;
	for (unsigned i = 0; i < 100; i++) {
		seed = seed * 1664525 + 1013904223;
		unsigned which = seed >> 31;
		itts[which][n[which]++] = tur_on(which ? second : c, sn + i);
	}
	for (unsigned which = 0; which < 2; which++)
		for (unsigned i = 0; i < n[which]; i++)
			answered(which ? second : c, itts[which][i]);
	uint32_t itt = tur_on(c, sn + 100);
	answered(c, itt);
	ck_assert_uint_eq(be32_get(c->bhs.expcmdsn), sn + 101);
}
END_TEST

START_TEST(immediate_requests_do_not_wait)
{
	login_both();
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, 5);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn + 9);
	client_send(second, &b, NULL, 0);
	client_expect(second, OP_NOP_IN);
}
END_TEST

START_TEST(a_command_that_never_comes_ends_the_session)
{
	login_both();
	tur_on(second, c->cmdsn + 1);
	ck_assert(!client_recv(second)); /* after data_timeout_s */
	ck_assert(!client_recv(c));
}
END_TEST

/* Nobody can bring the missing one any more: it is not waited for. */
START_TEST(a_gap_on_all_connections_ends_the_session)
{
	login_both();
	uint64_t t0 = env_now_ns(env_real());
	tur_on(second, c->cmdsn + 1);
	ck_assert(client_quiet(second, 50));
	tur_on(c, c->cmdsn + 2);
	ck_assert(!client_recv(second));
	ck_assert(!client_recv(c));
	ck_assert_uint_lt(env_now_ns(env_real()) - t0, 1900 * NS_PER_MS); /* data_timeout_s is 2 */
}
END_TEST

START_TEST(a_lost_connection_ends_the_session)
{
	login_both();
	if (_i) {
		client_free(second);
		second = NULL;
		ck_assert(!client_recv(c));
	} else {
		struct client *first = c;
		c = client_connect(target.port); /* for the teardown */
		client_free(first);
		ck_assert(!client_recv(second));
	}
	/* The handle is gone with it. */
	struct client *late = client_connect(target.port);
	late->tsih = c->tsih ? c->tsih : 1;
	ck_assert_uint_eq(client_login(late, TARGET_OPEN, NULL), LOGIN_NO_SESSION);
	client_free(late);
}
END_TEST

/* ---- who may join ---- */

START_TEST(no_more_than_negotiated)
{
	login_both();
	struct client *third = client_connect(target.port);
	memcpy(third->isid, c->isid, 6);
	third->tsih = c->tsih;
	third->cid = 2;
	ck_assert_uint_eq(client_login(third, TARGET_OPEN, NULL), LOGIN_TOO_MANY_CONNECTIONS);
	client_free(third);
	answered(second, tur_on(second, c->cmdsn));
}
END_TEST

START_TEST(only_the_same_initiator_and_target)
{
	login(two);
	struct client *other = client_connect(target.port);
	memcpy(other->isid, c->isid, 6);
	other->tsih = c->tsih;
	other->cid = 1;
	unsigned status;
	switch (_i) {
	case 0:
		other->isid[5] ^= 1;
		status = client_login(other, TARGET_OPEN, NULL);
		ck_assert_uint_eq(status, LOGIN_NO_SESSION);
		break;
	case 1:
		status = client_login_step(
		    other, 0x87,
		    (const char *[]){"InitiatorName=iqn.x:other", "TargetName=" TARGET_OPEN, NULL});
		ck_assert_uint_eq(status, LOGIN_NO_SESSION);
		break;
	case 2:
		status = client_login_step(
		    other, 0x87,
		    (const char *[]){"InitiatorName=" HOST, "SessionType=Discovery", NULL});
		ck_assert_uint_eq(status, LOGIN_SESSION_TYPE);
		break;
	default:
		other->tsih++;
		status = client_login(other, TARGET_OPEN, NULL);
		ck_assert_uint_eq(status, LOGIN_NO_SESSION);
	}
	client_free(other);
	client_ready(c);
}
END_TEST

START_TEST(session_keys_are_the_leading_connections)
{
	login(two);
	second = client_connect(target.port);
	memcpy(second->isid, c->isid, 6);
	second->tsih = c->tsih;
	second->cid = 1;
	ck_assert_uint_eq(
	    client_login(second, TARGET_OPEN,
			 (const char *[]){"ImmediateData=Yes", "MaxConnections=8",
					  "HeaderDigest=CRC32C", "MaxBurstLength=512", NULL}),
	    0);
	ck_assert_str_eq(client_text(second, "ImmediateData"), "Reject");
	ck_assert_str_eq(client_text(second, "MaxConnections"), "Reject");
	ck_assert_str_eq(client_text(second, "MaxBurstLength"), "Reject");
	ck_assert_str_eq(client_text(second, "HeaderDigest"), "CRC32C");
	uint8_t cdb[16];
	cdb_rw(cdb, true, 0, 16);
	second->cmdsn = c->cmdsn;
	second->itt = 500;
	client_command(second, 0xa0, cdb, 8192, NULL, 0);
	client_expect(second, OP_R2T);
	ck_assert_uint_eq(be32_get(second->bhs.desired), 8192); /* not 512 */
}
END_TEST

/* ---- reinstatement and logout ---- */

START_TEST(a_connection_is_reinstated)
{
	uint8_t cdb[16];
	login(two);
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	ck_assert_int_eq(target.volume->writes, 1);
	c->cmdsn += 3; /* three commands were lost with the old connection */
	ck_assert_uint_eq(join(0), 0);
	ck_assert_int_eq(target.volume->writes, 0); /* its task is gone */
	ck_assert(!client_recv(c));
	answered(second, tur_on(second, c->cmdsn));
}
END_TEST

START_TEST(reinstatement_waits_for_tasks)
{
	uint8_t cdb[16];
	login(two);
	target.volume->miss = true;
	wait_ms = 300;
	cdb_rw(cdb, false, 0, 1);
	client_command(c, 0xc0, cdb, 512, NULL, 0);
	usleep(20000);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_uint_eq(join(0), 0);
	ck_assert_uint_ge(env_now_ns(env_real()) - t0, 100 * NS_PER_MS);
}
END_TEST

static unsigned logout(struct client *on, unsigned reason, uint16_t cid)
{
	struct bhs b = {.opcode = OP_LOGOUT_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | reason)};
	be32_put(b.itt, ++on->itt);
	be16_put(b.cid, cid);
	be32_put(b.cmdsn, on->cmdsn);
	client_send(on, &b, NULL, 0);
	client_expect(on, OP_LOGOUT_RSP);
	return on->bhs.response;
}

START_TEST(a_connection_may_be_logged_out)
{
	login_both();
	uint32_t sn = c->cmdsn;
	if (_i) { /* by the other one */
		ck_assert_uint_eq(logout(c, LOGOUT_CONNECTION, 7), LOGOUT_NO_CID);
		ck_assert_uint_eq(logout(c, LOGOUT_CONNECTION, 1), LOGOUT_OK);
	} else {
		ck_assert_uint_eq(logout(second, LOGOUT_CONNECTION, 1), LOGOUT_OK);
	}
	ck_assert(!client_recv(second));
	answered(c, tur_on(c, sn)); /* the session goes on */
	client_free(second);
	ck_assert_uint_eq(join(1), 0); /* the CID is free again */
	answered(second, tur_on(second, sn + 1));
}
END_TEST

START_TEST(a_session_is_logged_out_whole)
{
	login_both();
	ck_assert_uint_eq(logout(second, LOGOUT_SESSION, 0), LOGOUT_OK);
	ck_assert(!client_recv(second));
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(session_reinstatement_ends_both)
{
	login_both();
	struct client *fresh = client_connect(target.port);
	ck_assert_uint_eq(client_login(fresh, TARGET_OPEN, NULL), 0);
	ck_assert(!client_recv(second));
	ck_assert(!client_recv(c));
	client_ready(fresh);
	client_free(fresh);
}
END_TEST

/* ---- task management ---- */

static unsigned manage(struct client *on, unsigned function, uint32_t ref, uint32_t refsn,
		       uint32_t cmdsn)
{
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | function)};
	be32_put(b.itt, ++on->itt);
	be32_put(b.ref_tag, ref);
	be32_put(b.cmdsn, cmdsn);
	be32_put(b.refcmdsn, refsn);
	client_send(on, &b, NULL, 0);
	client_expect(on, OP_TMF_RSP);
	return on->bhs.response;
}

START_TEST(a_task_of_the_other_connection_is_aborted)
{
	uint8_t cdb[16];
	login_both();
	cdb_rw(cdb, true, 0, 16);
	uint32_t sn = c->cmdsn, itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	if (_i)
		ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, itt, sn, sn + 1), TMF_COMPLETE);
	else
		ck_assert_uint_eq(manage(second, TMF_ABORT_TASK_SET, PDU_NO_TAG, 0, sn + 1),
				  TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	answered(c, tur_on(c, sn + 1));
}
END_TEST

START_TEST(a_command_is_aborted_before_it_comes)
{
	login_both();
	uint32_t sn = c->cmdsn;
	ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, 77, sn + 500, sn + 1), TMF_NO_TASK);
	ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, 77, sn - 1, sn + 1), TMF_NO_TASK);
	ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, 77, sn, sn + 1), TMF_COMPLETE);
	ck_assert_uint_eq(be32_get(second->bhs.expcmdsn), sn + 1);
	tur_on(c, sn); /* comes too late */
	ck_assert(client_quiet(c, 50));
	answered(c, tur_on(c, sn + 1));
	/* One that is not next in turn. */
	ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, 78, sn + 3, sn + 4), TMF_COMPLETE);
	ck_assert_uint_eq(manage(second, TMF_ABORT_TASK, 78, sn + 3, sn + 4), TMF_COMPLETE);
	uint32_t after = tur_on(second, sn + 4);
	answered(c, tur_on(c, sn + 2));
	answered(second, after);
	ck_assert_uint_eq(be32_get(second->bhs.expcmdsn), sn + 5);
}
END_TEST

START_TEST(an_abort_set_waits_for_commands_before_it)
{
	uint8_t cdb[16];
	login_both();
	uint32_t sn = c->cmdsn;
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = PDU_FINAL | TMF_ABORT_TASK_SET};
	be32_put(b.itt, 4711);
	be32_put(b.ref_tag, PDU_NO_TAG);
	be32_put(b.cmdsn, sn + 1);
	client_send(second, &b, NULL, 0);
	ck_assert(client_quiet(second, 100));
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(second, OP_TMF_RSP);
	ck_assert_uint_eq(second->bhs.response, TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
}
END_TEST

START_TEST(an_abort_set_does_not_wait_for_ever)
{
	login_both();
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = PDU_FINAL | TMF_ABORT_TASK_SET};
	be32_put(b.itt, 4711);
	be32_put(b.ref_tag, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn + 1);
	client_send(second, &b, NULL, 0);
	ck_assert(!client_recv(second));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi session");
	TCase *tc = tcase_create("session");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, both_connections_serve);
	tcase_add_loop_test(tc, a_connection_is_handed_to_its_session, 0, 4);
	tcase_add_test(tc, commands_wait_for_those_before_them);
	tcase_add_loop_test(tc, a_stream_over_both_connections, 0, 8);
	tcase_add_test(tc, immediate_requests_do_not_wait);
	tcase_add_test(tc, a_command_that_never_comes_ends_the_session);
	tcase_add_test(tc, a_gap_on_all_connections_ends_the_session);
	tcase_add_loop_test(tc, a_lost_connection_ends_the_session, 0, 2);
	tcase_add_test(tc, no_more_than_negotiated);
	tcase_add_loop_test(tc, only_the_same_initiator_and_target, 0, 4);
	tcase_add_test(tc, session_keys_are_the_leading_connections);
	tcase_add_test(tc, a_connection_is_reinstated);
	tcase_add_test(tc, reinstatement_waits_for_tasks);
	tcase_add_loop_test(tc, a_connection_may_be_logged_out, 0, 2);
	tcase_add_test(tc, a_session_is_logged_out_whole);
	tcase_add_test(tc, session_reinstatement_ends_both);
	tcase_add_loop_test(tc, a_task_of_the_other_connection_is_aborted, 0, 2);
	tcase_add_test(tc, a_command_is_aborted_before_it_comes);
	tcase_add_test(tc, an_abort_set_waits_for_commands_before_it);
	tcase_add_test(tc, an_abort_set_does_not_wait_for_ever);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
