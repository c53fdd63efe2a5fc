/* Connections over the loopback: pings, text, logout, sessions and their ends. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "runtime/reactor.h"
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 4});
}

static void nop(uint32_t itt, const void *data, uint32_t len)
{
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, data, len);
}

START_TEST(pings_are_echoed)
{
	login((const char *[]){"MaxRecvDataSegmentLength=131072", NULL});
	nop(5, pattern, 100001);
	client_expect(c, OP_NOP_IN);
	ck_assert_uint_eq(be32_get(c->bhs.itt), 5);
	ck_assert_uint_eq(be32_get(c->bhs.ttt), PDU_NO_TAG);
	ck_assert_uint_eq(c->len, 100001);
	ck_assert_mem_eq(c->data, pattern, 100001);
	nop(PDU_NO_TAG, NULL, 0);
	ck_assert(client_quiet(c, 50));
}
END_TEST

START_TEST(unknown_opcodes_are_rejected)
{
	login(NULL);
	struct bhs b = {.opcode = 0x1f | PDU_IMMEDIATE};
	client_send(c, &b, pattern, 9000);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_UNSUPPORTED);
	b.opcode = OP_SNACK | PDU_IMMEDIATE;
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_SNACK);
	client_ready(c);
}
END_TEST

static void text_request(const char *text, uint32_t len)
{
	struct bhs b = {.opcode = OP_TEXT_REQ, .flags = PDU_FINAL};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn++);
	client_send(c, &b, text, len);
	client_expect(c, OP_TEXT_RSP);
}

START_TEST(discovery)
{
	static const uint8_t tur[16];
	char want[64];
	ck_assert_uint_eq(client_login(c, NULL, (const char *[]){"SessionType=Discovery", NULL}),
			  0);
	text_request("SendTargets=All", 16);
	ck_assert_uint_eq(c->bhs.flags, PDU_FINAL);
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_OPEN);
	snprintf(want, sizeof(want), "127.0.0.1:%u,1", target.port);
	ck_assert_str_eq(client_text(c, "TargetAddress"), want);
	ck_assert_ptr_null(memmem(c->data, c->len, TARGET_MASKED, strlen(TARGET_MASKED)));
	text_request("SendTargets=" TARGET_CHAP, sizeof("SendTargets=" TARGET_CHAP));
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_CHAP);
	text_request("SendTargets=", 13);
	ck_assert_str_eq(client_text(c, "SendTargets"), "Reject");
	client_command(c, 0x80, tur, 0, NULL, 0);
	client_expect(c, OP_REJECT);
}
END_TEST

START_TEST(text_in_a_normal_session)
{
	login(NULL);
	text_request("SendTargets=", 13);
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_OPEN);
	text_request("SendTargets=All", 16);
	ck_assert_str_eq(client_text(c, "SendTargets"), "Reject");
	text_request("MaxBurstLength=4096\0Odd=1", 26);
	ck_assert_str_eq(client_text(c, "MaxBurstLength"), "Reject");
	ck_assert_str_eq(client_text(c, "Odd"), "NotUnderstood");
}
END_TEST

/* RFC 7143 6.2: what only answers may say is not offered. */
START_TEST(answers_are_not_offered)
{
	static const char *const texts[] = {"MaxRecvDataSegmentLength=Reject",
					    "X-mine=NotUnderstood", "SendTargets=Irrelevant"};
	struct bhs b = {.opcode = OP_TEXT_REQ | PDU_IMMEDIATE, .flags = PDU_FINAL};
	login(NULL);
	be32_put(b.itt, 5);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, texts[_i], (uint32_t)strlen(texts[_i]) + 1);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_PROTOCOL);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(long_text_comes_in_pieces)
{
	static char all[8192];
	size_t n = 0;
	ck_assert_uint_eq(client_login(c, NULL,
				       (const char *[]){"SessionType=Discovery",
							"MaxRecvDataSegmentLength=512", NULL}),
			  0);
	char text[2048];
	uint32_t len = 0;
	for (int i = 0; i < 100; i++)
		len += (uint32_t)sprintf(text + len, "Unknown%d=x", i) + 1;
	struct bhs b = {.opcode = OP_TEXT_REQ | PDU_IMMEDIATE, .flags = PDU_CONTINUE};
	be32_put(b.itt, 77);
	be32_put(b.ttt, PDU_NO_TAG);
	client_send(c, &b, text, 700);
	client_expect(c, OP_TEXT_RSP);
	ck_assert_uint_eq(c->bhs.flags, 0);
	memcpy(b.ttt, c->bhs.ttt, 4);
	b.flags = PDU_FINAL;
	client_send(c, &b, text + 700, len - 700);
	for (;;) {
		client_expect(c, OP_TEXT_RSP);
		ck_assert_uint_le(c->len, 512);
		memcpy(all + n, c->data, c->len);
		n += c->len;
		if (c->bhs.flags & PDU_FINAL)
			break;
		ck_assert_uint_eq(c->bhs.flags, PDU_CONTINUE);
		memcpy(b.ttt, c->bhs.ttt, 4);
		client_send(c, &b, NULL, 0);
	}
	ck_assert_ptr_nonnull(memmem(all, n, "Unknown0=NotUnderstood", 23));
	ck_assert_ptr_nonnull(memmem(all, n, "Unknown99=NotUnderstood", 24));
}
END_TEST

static unsigned logout(unsigned reason, unsigned cid)
{
	struct bhs b = {.opcode = OP_LOGOUT_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | reason)};
	be32_put(b.itt, ++c->itt);
	be16_put(b.cid, (uint16_t)cid);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_LOGOUT_RSP);
	return c->bhs.response;
}

START_TEST(logout_ends_the_session)
{
	login(NULL);
	ck_assert_uint_eq(logout(LOGOUT_RECOVERY, 0), LOGOUT_NO_RECOVERY);
	ck_assert_uint_eq(logout(LOGOUT_CONNECTION, 99), LOGOUT_NO_CID);
	ck_assert_uint_eq(logout(_i ? LOGOUT_SESSION : LOGOUT_CONNECTION, 0), LOGOUT_OK);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(a_new_login_replaces_the_session)
{
	uint8_t cdb[16];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 200;
	cdb_rw(cdb, false, 0, 1);
	client_command(c, 0xc0, cdb, 512, NULL, 0);
	usleep(20000);
	struct client *old = c;
	c = client_connect(target.port);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL), 0);
	ck_assert_uint_ge(env_now_ns(env_real()) - t0, 100 * NS_PER_MS); /* its task ended first */
	wait_ms = 0;
	client_ready(c);
	struct client *fresh = c;
	c = old;
	ck_assert(!client_recv(c));
	client_free(old);
	c = fresh;
}
END_TEST

START_TEST(sessions_that_cannot_be_joined)
{
	login(NULL);
	struct client *first = c, *second = client_connect(target.port);
	second->tsih = c->tsih;
	second->cid = 1;
	ck_assert_uint_eq(client_login(second, TARGET_OPEN, NULL), LOGIN_TOO_MANY_CONNECTIONS);
	ck_assert(!client_recv(second));
	client_free(second);
	second = client_connect(target.port);
	second->tsih = 999;
	ck_assert_uint_eq(client_login(second, TARGET_OPEN, NULL), LOGIN_NO_SESSION);
	client_free(second);
	c = first;
	client_ready(c);
}
END_TEST

START_TEST(more_connections_than_allowed_are_told)
{
	struct client *more[4];
	unsigned refused = 0;
	login(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
		more[i] = client_connect(target.port);
		more[i]->isid[5] = (uint8_t)(10 + i);
		refused += client_login(more[i], TARGET_OPEN, NULL) == LOGIN_NO_RESOURCES;
	}
	ck_assert_uint_eq(refused, 1);
	for (unsigned i = 0; i < ARRAY_LEN(more); i++)
		client_free(more[i]);
	client_ready(c);
}
END_TEST

static void *stopper(void *arg)
{
	target_stop(&target);
	return arg;
}

/* Asked to log out, then dropped when it has not: with word each time. */
START_TEST(stop_asks_for_logout)
{
	pthread_t t;
	login(NULL);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_int_eq(pthread_create(&t, NULL, stopper, NULL), 0);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_LOGOUT_REQUESTED);
	ck_assert_uint_eq(be16_get(c->bhs.parameter3), _i ? 30 : 2);
	client_ready(c); /* it is served meanwhile */
	if (_i) {
		ck_assert_uint_eq(logout(LOGOUT_SESSION, 0), LOGOUT_OK);
	} else {
		client_expect(c, OP_ASYNC);
		ck_assert_uint_eq(c->bhs.event, ASYNC_DROP_SESSION);
	}
	ck_assert(!client_recv(c));
	pthread_join(t, NULL);
	ck_assert_uint_lt(env_now_ns(env_real()) - t0, 20 * NS_PER_S);
	target_start(&target, 1, "[::1]:0", NULL);
}
END_TEST

START_TEST(kicked_sessions_end)
{
	uint8_t cdb[16];
	login(NULL);
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	ck_assert_uint_eq(iscsi_server_kick(target.server, "iqn.other", NULL), 0);
	ck_assert_uint_eq(iscsi_server_kick(target.server, TARGET_OPEN, HOST), 1);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_DROP_SESSION);
	ck_assert_int_eq(target.volume->writes, 0);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(an_initiator_is_asked_to_log_out)
{
	login(NULL);
	ck_assert_uint_eq(iscsi_server_ask_logout(target.server, NULL, "iqn.other", 1), 0);
	ck_assert_uint_eq(iscsi_server_ask_logout(target.server, NULL, HOST, 1), 1);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_LOGOUT_REQUESTED);
	ck_assert_uint_eq(be16_get(c->bhs.parameter3), 1);
	if (_i) {
		ck_assert_uint_eq(logout(LOGOUT_SESSION, 0), LOGOUT_OK);
		ck_assert(!client_recv(c));
		client_free(c);
		c = client_connect(target.port);
		login(NULL); /* it may come again */
		return;
	}
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_DROP_SESSION);
	ck_assert(!client_recv(c));
}
END_TEST

/* Who was given an hour is not waited for when the target stops. */
START_TEST(stop_does_not_wait_for_a_long_drain)
{
	pthread_t t;
	login(NULL);
	ck_assert_uint_eq(iscsi_server_ask_logout(target.server, NULL, HOST, 3600), 1);
	client_expect(c, OP_ASYNC);
	ck_assert_int_eq(pthread_create(&t, NULL, stopper, NULL), 0);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_LOGOUT_REQUESTED);
	ck_assert_uint_eq(be16_get(c->bhs.parameter3), 2);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_DROP_SESSION);
	pthread_join(t, NULL);
	target_start(&target, 1, "127.0.0.1:0", NULL);
}
END_TEST

static void setup_pings(void)
{
	peer_setup(&(struct iscsi_opts){.nop_interval_s = 1, .nop_timeout_s = 1, .logout_s = 30});
}

START_TEST(a_silent_peer_is_asked_and_dropped)
{
	login(NULL);
	client_expect(c, OP_NOP_IN);
	ck_assert_uint_eq(be32_get(c->bhs.itt), PDU_NO_TAG);
	uint32_t ttt = be32_get(c->bhs.ttt);
	ck_assert_uint_ne(ttt, PDU_NO_TAG);
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, PDU_NO_TAG);
	be32_put(b.ttt, ttt);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_NOP_IN); /* it lives on, and is asked again */
	ck_assert_uint_ne(be32_get(c->bhs.ttt), ttt);
	ck_assert(!client_recv(c));
}
END_TEST

static struct watch *still[8];

/* In the middle of a turn: what comes meanwhile is not seen before the timers of the next. */
static void stand_still(void *arg, int status, int events)
{
	struct watch **w = arg;
	usleep(3500 * 1000);
	watch_free(*w);
	*w = NULL;
}

static void stand_still_soon(void *arg)
{
	unsigned i = (unsigned)(uintptr_t)arg;
	int fd = eventfd(1, EFD_CLOEXEC); /* readable at once; ends with the process */
	ck_assert_int_eq(watch_new(&still[i], target.reactors[i], fd, stand_still, &still[i]), 0);
	watch_set(still[i], UV_READABLE);
}

/* A target that was stopped for a while reads what came meanwhile before it judges. */
START_TEST(a_pause_of_the_target_drops_nobody)
{
	login(NULL);
	client_expect(c, OP_NOP_IN);
	uint32_t ttt = be32_get(c->bhs.ttt);
	for (uintptr_t i = 0; i < target.nreactors; i++)
		ck_assert_int_eq(
		    task_start_on(reactor_sched(target.reactors[i]), stand_still_soon, (void *)i),
		    0);
	usleep(200 * 1000);
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, PDU_NO_TAG);
	be32_put(b.ttt, ttt);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_NOP_IN); /* asked again, not dropped */
	ck_assert_uint_ne(be32_get(c->bhs.ttt), ttt);
}
END_TEST

START_TEST(too_many_immediate_commands_are_rejected)
{
	uint8_t cdb[16];
	static uint8_t back[512];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 300;
	cdb_rw(cdb, false, 0, 1);
	uint32_t first = c->itt + 1;
	for (unsigned i = 0; i < 65; i++) {
		struct bhs b = {.opcode = OP_SCSI_CMD | PDU_IMMEDIATE, .flags = 0xc0};
		be32_put(b.itt, ++c->itt);
		be32_put(b.edtl, 512);
		be32_put(b.cmdsn, c->cmdsn);
		memcpy(b.cdb, cdb, 16);
		client_send(c, &b, NULL, 0);
	}
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_IMMEDIATE);
	ck_assert_uint_eq(be32_get(c->data + 16), c->itt);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_uint_eq(take_data(first + i, back), 512);
	wait_ms = 0;
	client_ready(c);
}
END_TEST

START_TEST(garbage_first_closes)
{
	static const uint8_t junk[100] = {1, 2, 3};
	client_send_raw(c, junk, sizeof(junk));
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(commands_during_login_are_refused)
{
	static const uint8_t tur[16];
	ck_assert_uint_eq(
	    client_login_step(
		c, 0x04, (const char *[]){"InitiatorName=" HOST, "TargetName=" TARGET_OPEN, NULL}),
	    0);
	client_command(c, 0x80, tur, 0, NULL, 0);
	client_expect(c, OP_LOGIN_RSP);
	ck_assert_uint_eq(c->bhs.status_class << 8 | c->bhs.status_detail, LOGIN_INVALID_REQUEST);
	ck_assert(!client_recv(c));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi connection");
	TCase *tc = tcase_create("connection");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, pings_are_echoed);
	tcase_add_test(tc, unknown_opcodes_are_rejected);
	tcase_add_test(tc, discovery);
	tcase_add_test(tc, text_in_a_normal_session);
	tcase_add_loop_test(tc, answers_are_not_offered, 0, 3);
	tcase_add_test(tc, long_text_comes_in_pieces);
	tcase_add_loop_test(tc, logout_ends_the_session, 0, 2);
	tcase_add_test(tc, a_new_login_replaces_the_session);
	tcase_add_test(tc, sessions_that_cannot_be_joined);
	tcase_add_test(tc, more_connections_than_allowed_are_told);
	tcase_add_test(tc, kicked_sessions_end);
	tcase_add_loop_test(tc, an_initiator_is_asked_to_log_out, 0, 2);
	tcase_add_test(tc, too_many_immediate_commands_are_rejected);
	tcase_add_loop_test(tc, stop_asks_for_logout, 0, 1);
	tcase_add_test(tc, stop_does_not_wait_for_a_long_drain);
	tcase_add_test(tc, garbage_first_closes);
	tcase_add_test(tc, commands_during_login_are_refused);
	suite_add_tcase(suite, tc);
	TCase *pings = tcase_create("pings");
	tcase_add_checked_fixture(pings, setup_pings, peer_teardown);
	tcase_set_timeout(pings, 30);
	tcase_add_test(pings, a_silent_peer_is_asked_and_dropped);
	tcase_add_test(pings, a_pause_of_the_target_drops_nobody);
	tcase_add_loop_test(pings, stop_asks_for_logout, 1, 2);
	suite_add_tcase(suite, pings);
	return peer_run(suite);
}
