/* Stages, refusals and authentication of a login; test_login_table.c has the keys. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/err.h"
#include "server/iscsi/login.h"
#include "tests/unit/iscsi/target.h"

/* ---- keys ---- */

START_TEST(full_feature_only_declares_lengths)
{
	struct keys k;
	char buf[256];
	struct text_out out;
	keys_init(&k);
	text_out_init(&out, buf, sizeof(buf));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(
		    keys_offer(&k, KEYS_FULL_FEATURE, "MaxRecvDataSegmentLength", "4096", &out), 0);
	ck_assert_uint_eq(out.len, 0);
	ck_assert_uint_eq(k.v[KEY_MAX_RECV_DSL], 4096);
	ck_assert_int_eq(keys_offer(&k, KEYS_FULL_FEATURE, "MaxBurstLength", "4096", &out), 0);
	ck_assert_str_eq(buf, "MaxBurstLength=Reject");
	ck_assert_uint_eq(k.v[KEY_MAX_BURST], 262144);
}
END_TEST

/* ---- stages ---- */

static struct target target;
static struct login *l;
static struct bhs rsp;
static char reply[LOGIN_REPLY_MAX + 1];
static struct text_out answer;

static void setup(void)
{
	target_make(&target, 1 << 20);
	l = login_new(&(struct login_opts){
	    .registry = target.registry, .group = 1, .chap_allowed = CHAP_ALL});
	memset(&rsp, 0, sizeof(rsp));
}

static void teardown(void)
{
	login_free(l);
	target_free(&target);
}

/* text: pairs with their NULs; flags: T, C, CSG, NSG. */
static enum login_result step(unsigned flags, const char *text, size_t len)
{
	struct bhs req = {.opcode = OP_LOGIN_REQ | PDU_IMMEDIATE, .flags = (uint8_t)flags};
	text_out_init(&answer, reply, LOGIN_REPLY_MAX);
	memset(&rsp, 0, sizeof(rsp));
	enum login_result r = login_request(l, &req, text, (uint32_t)len, &rsp, &answer);
	reply[answer.len] = 0;
	return r;
}
#define STEP(flags, text) step(flags, text, sizeof(text))

static unsigned status(void)
{
	return (unsigned)rsp.status_class << 8 | rsp.status_detail;
}

static const char *answered(const char *key)
{
	size_t k = strlen(key);
	for (const char *p = reply; p < reply + answer.len; p += strlen(p) + 1)
		if (strncmp(p, key, k) == 0 && p[k] == '=')
			return p + k + 1;
	return NULL;
}

#define NAMES(target_name) "InitiatorName=" HOST "\0TargetName=" target_name "\0"
#define SEC		   0x00 /* security stage, stay */
#define SEC_TO_OP	   0x81
#define SEC_TO_FULL	   0x83
#define OP		   0x04
#define OP_TO_FULL	   0x87

START_TEST(straight_to_full_feature)
{
	ck_assert_int_eq(STEP(OP_TO_FULL, NAMES(TARGET_OPEN) "SessionType=Normal"), LOGIN_FINAL);
	ck_assert_uint_eq(rsp.flags, OP_TO_FULL);
	ck_assert_str_eq(answered("TargetPortalGroupTag"), "1");
	ck_assert_str_eq(answered("MaxRecvDataSegmentLength"), "262144");
}
END_TEST

START_TEST(security_then_operational)
{
	ck_assert_int_eq(STEP(SEC_TO_OP, NAMES(TARGET_OPEN) "AuthMethod=CHAP,None"), LOGIN_MORE);
	ck_assert_uint_eq(rsp.flags, SEC_TO_OP);
	ck_assert_str_eq(answered("AuthMethod"), "None");
	ck_assert_int_eq(STEP(OP, "InitialR2T=No\0X-strange=1"), LOGIN_MORE);
	ck_assert_uint_eq(rsp.flags, OP);
	ck_assert_str_eq(answered("InitialR2T"), "No");
	ck_assert_str_eq(answered("X-strange"), "NotUnderstood");
	ck_assert_int_eq(step(OP_TO_FULL, NULL, 0), LOGIN_FINAL);
	ck_assert_uint_eq(l->keys.v[KEY_INITIAL_R2T], 0);
}
END_TEST

START_TEST(first_burst_never_exceeds_max_burst)
{
	ck_assert_int_eq(STEP(OP_TO_FULL, NAMES(TARGET_OPEN) "MaxBurstLength=4096"), LOGIN_FINAL);
	ck_assert_uint_eq(l->keys.v[KEY_FIRST_BURST], 4096);
}
END_TEST

START_TEST(text_in_pieces)
{
	ck_assert_int_eq(step(0x44, "InitiatorNa", 11), LOGIN_MORE);
	ck_assert_uint_eq(rsp.flags, OP);
	ck_assert_uint_eq(answer.len, 0);
	ck_assert_int_eq(STEP(OP_TO_FULL, "me=" HOST "\0TargetName=" TARGET_OPEN), LOGIN_FINAL);
}
END_TEST

#define REFUSED(name, flags, text, want)                                                           \
	START_TEST(name)                                                                           \
	{                                                                                          \
		ck_assert_int_eq(STEP(flags, text), LOGIN_REFUSE);                                 \
		ck_assert_uint_eq(status(), want);                                                 \
		ck_assert_uint_eq(answer.len, 0);                                                  \
	}                                                                                          \
	END_TEST

REFUSED(no_initiator_name, OP_TO_FULL, "TargetName=" TARGET_OPEN, LOGIN_MISSING_PARAMETER)
REFUSED(no_target_name, OP_TO_FULL, "InitiatorName=" HOST, LOGIN_MISSING_PARAMETER)
REFUSED(no_such_target, OP_TO_FULL, NAMES("iqn.x:none"), LOGIN_NOT_FOUND)
REFUSED(not_admitted, OP_TO_FULL, NAMES(TARGET_MASKED), LOGIN_FORBIDDEN)
REFUSED(security_skipped, OP_TO_FULL, NAMES(TARGET_CHAP), LOGIN_AUTH_FAILED)
REFUSED(only_none_offered, SEC, NAMES(TARGET_CHAP) "AuthMethod=None", LOGIN_AUTH_FAILED)
REFUSED(no_method_offered, SEC_TO_OP, NAMES(TARGET_CHAP), LOGIN_AUTH_FAILED)
REFUSED(strange_session_type, OP_TO_FULL, NAMES(TARGET_OPEN) "SessionType=Odd", LOGIN_SESSION_TYPE)
REFUSED(key_offered_twice, OP, NAMES(TARGET_OPEN) "MaxConnections=1\0MaxConnections=1",
	LOGIN_INITIATOR_ERROR)
REFUSED(name_given_twice, OP, NAMES(TARGET_OPEN) "InitiatorName=x", LOGIN_INITIATOR_ERROR)
REFUSED(auth_in_operational, OP, NAMES(TARGET_OPEN) "AuthMethod=None", LOGIN_INITIATOR_ERROR)
REFUSED(backwards, 0x84, NAMES(TARGET_OPEN), LOGIN_INITIATOR_ERROR)
REFUSED(reserved_stage, 0x08, NAMES(TARGET_OPEN), LOGIN_INITIATOR_ERROR)
REFUSED(reserved_next_stage, 0x82, NAMES(TARGET_OPEN), LOGIN_INITIATOR_ERROR)
REFUSED(transit_and_continue, 0xc7, NAMES(TARGET_OPEN), LOGIN_INITIATOR_ERROR)
REFUSED(garbage, OP, "garbage", LOGIN_INITIATOR_ERROR)

START_TEST(a_later_version_is_not_spoken)
{
	struct bhs req = {.opcode = OP_LOGIN_REQ, .flags = OP_TO_FULL, .version_min = 1};
	text_out_init(&answer, reply, LOGIN_REPLY_MAX);
	ck_assert_int_eq(login_request(l, &req, NULL, 0, &rsp, &answer), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_BAD_VERSION);
}
END_TEST

START_TEST(identity_does_not_change)
{
	struct bhs req = {.opcode = OP_LOGIN_REQ, .flags = OP, .isid = {1}};
	ck_assert_int_eq(STEP(OP, NAMES(TARGET_OPEN)), LOGIN_MORE);
	ck_assert_int_eq(login_request(l, &req, NULL, 0, &rsp, &answer), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_INITIATOR_ERROR);
}
END_TEST

START_TEST(endless_text_is_cut_off)
{
	char piece[8192];
	memset(piece, 'x', sizeof(piece));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(step(0x44, piece, sizeof(piece)), LOGIN_MORE);
	ck_assert_int_eq(step(0x44, piece, sizeof(piece)), LOGIN_REFUSE);
}
END_TEST

START_TEST(endless_requests_are_cut_off)
{
	ck_assert_int_eq(STEP(OP, NAMES(TARGET_OPEN)), LOGIN_MORE);
	int n = 1;
	while (n <= LOGIN_REQUESTS_MAX + 1 && step(OP, NULL, 0) == LOGIN_MORE)
		n++;
	ck_assert_int_eq(n, LOGIN_REQUESTS_MAX);
}
END_TEST

/* As many small keys as a request holds: the answer is several times as long. */
static size_t many_keys(char *text, size_t size, size_t n, unsigned *ret_keys)
{
	unsigned i = 0;
	for (; n + 8 < size; i++)
		n += (size_t)sprintf(text + n, "k%u=", i) + 1;
	*ret_keys = i;
	return n;
}

START_TEST(long_answers_come_in_pieces)
{
	char text[8000], all[LOGIN_ANSWER_MAX];
	unsigned keys, pieces = 0, seen = 0;
	size_t len = 0;
	size_t n =
	    (size_t)snprintf(text, 400, "InitiatorName=" HOST "%cTargetName=" TARGET_OPEN, 0) + 1;
	n = many_keys(text, sizeof(text), n, &keys);
	ck_assert_int_eq(step(OP_TO_FULL, text, n), LOGIN_MORE);
	for (;; pieces++) {
		memcpy(all + len, reply, answer.len);
		len += answer.len;
		if (!(rsp.flags & PDU_CONTINUE))
			break;
		ck_assert_uint_eq(rsp.flags & PDU_FINAL, 0);
		ck_assert_uint_eq(answer.len, LOGIN_REPLY_MAX);
		step(OP_TO_FULL, NULL, 0);
	}
	ck_assert_uint_ge(pieces, 2);
	ck_assert_uint_eq(rsp.flags, OP_TO_FULL); /* the stage ends with the last piece */
	for (size_t at = 0; at < len; at += strlen(all + at) + 1)
		seen += strstr(all + at, "=NotUnderstood") != NULL;
	ck_assert_uint_eq(seen, keys);
}
END_TEST

START_TEST(nothing_is_said_between_pieces)
{
	char text[8000];
	unsigned keys;
	size_t n =
	    (size_t)snprintf(text, 400, "InitiatorName=" HOST "%cTargetName=" TARGET_OPEN, 0) + 1;
	n = many_keys(text, sizeof(text), n, &keys);
	ck_assert_int_eq(step(OP, text, n), LOGIN_MORE);
	ck_assert_uint_ne(rsp.flags & PDU_CONTINUE, 0);
	if (_i)
		ck_assert_int_eq(step(0x44, NULL, 0), LOGIN_REFUSE);
	else
		ck_assert_int_eq(STEP(OP, "HeaderDigest=None"), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_INITIATOR_ERROR);
}
END_TEST

START_TEST(answers_that_do_not_fit_end_the_login)
{
	char text[8000];
	unsigned keys;
	ck_assert_int_eq(STEP(OP, NAMES(TARGET_OPEN)), LOGIN_MORE);
	size_t n = many_keys(text, sizeof(text), 0, &keys);
	ck_assert_int_eq(step(0x44, text, n), LOGIN_MORE);
	ck_assert_int_eq(step(0x44, text, n), LOGIN_MORE);
	ck_assert_int_eq(step(OP, text, n), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_INITIATOR_ERROR);
	ck_assert_uint_eq(answer.len, 0);
}
END_TEST

/* ---- CHAP ---- */

static const char *chap_text(const char *user, const char *secret, const char *extra)
{
	static char text[4096];
	uint8_t challenge[64], digest[CHAP_DIGEST_MAX];
	uint32_t id, alg;
	ck_assert_int_eq(text_number(answered("CHAP_I"), &id), 0);
	ck_assert_int_eq(text_number(answered("CHAP_A"), &alg), 0);
	int n = text_binary(answered("CHAP_C"), challenge, sizeof(challenge));
	ck_assert_int_ge(n, 16);
	size_t d = chap_response(alg, (uint8_t)id, secret, challenge, (size_t)n, digest);
	struct text_out out;
	text_out_init(&out, text, sizeof(text));
	text_put(&out, "CHAP_N", user);
	text_put_hex(&out, "CHAP_R", digest, d);
	if (extra && *extra == '=') /* reflect the challenge */
		text_put(&out, "CHAP_I", "9"), text_put(&out, "CHAP_C", answered("CHAP_C"));
	else if (extra)
		text_put(&out, "CHAP_I", "9"), text_put(&out, "CHAP_C", extra);
	ck_assert(!out.overflow);
	text[out.len] = 0;
	return text;
}

static size_t pairs_len(const char *text)
{
	size_t n = 0;
	while (text[n])
		n += strlen(text + n) + 1;
	return n;
}

static enum login_result chap(const char *user, const char *secret, const char *extra)
{
	ck_assert_int_eq(STEP(SEC, NAMES(TARGET_CHAP) "AuthMethod=CHAP,None"), LOGIN_MORE);
	ck_assert_str_eq(answered("AuthMethod"), "CHAP");
	ck_assert_int_eq(STEP(SEC, "CHAP_A=99,8,5"), LOGIN_MORE);
	ck_assert_str_eq(answered("CHAP_A"), "8");
	const char *text = chap_text(user, secret, extra);
	return step(SEC_TO_OP, text, pairs_len(text));
}

START_TEST(chap_one_way)
{
	ck_assert_int_eq(chap("user", CHAP_SECRET, NULL), LOGIN_MORE);
	ck_assert_uint_eq(rsp.flags, SEC_TO_OP);
	ck_assert_int_eq(step(OP_TO_FULL, NULL, 0), LOGIN_FINAL);
}
END_TEST

START_TEST(chap_mutual)
{
	static const uint8_t challenge[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	uint8_t want[CHAP_DIGEST_MAX], got[CHAP_DIGEST_MAX];
	ck_assert_int_eq(chap("user", CHAP_SECRET, "0x0102030405060708090a0b0c0d0e0f10"),
			 LOGIN_MORE);
	ck_assert_str_eq(answered("CHAP_N"), "target");
	size_t n = chap_response(8, 9, CHAP_MUTUAL, challenge, 16, want);
	ck_assert_int_eq(text_binary(answered("CHAP_R"), got, sizeof(got)), (int)n);
	ck_assert_mem_eq(got, want, n);
}
END_TEST

START_TEST(chap_wrong)
{
	static const struct {
		const char *user, *secret, *extra;
	} wrong[] = {
	    {"user", "wrong", NULL},
	    {"other", CHAP_SECRET, NULL},
	    {"user", CHAP_SECRET, "="}, /* our own challenge sent back */
	};
	ck_assert_int_eq(chap(wrong[_i].user, wrong[_i].secret, wrong[_i].extra), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_AUTH_FAILED);
}
END_TEST

START_TEST(chap_same_secret_both_ways)
{
	ck_assert_int_eq(STEP(SEC, NAMES(TARGET_CHAP) "AuthMethod=CHAP\0CHAP_A=5"), LOGIN_MORE);
	strcpy(l->auth.mutual_secret, CHAP_SECRET);
	const char *text = chap_text("user", CHAP_SECRET, "0x0102030405060708090a0b0c0d0e0f10");
	ck_assert_int_eq(step(SEC_TO_OP, text, pairs_len(text)), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_AUTH_FAILED);
}
END_TEST

START_TEST(chap_out_of_order)
{
	ck_assert_int_eq(STEP(SEC, NAMES(TARGET_CHAP) "AuthMethod=CHAP"), LOGIN_MORE);
	ck_assert_int_eq(STEP(SEC, "CHAP_N=user\0CHAP_R=0x00"), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_INITIATOR_ERROR);
}
END_TEST

START_TEST(chap_without_known_algorithm)
{
	ck_assert_int_eq(STEP(SEC, NAMES(TARGET_CHAP) "AuthMethod=CHAP\0CHAP_A=1,2"), LOGIN_REFUSE);
	ck_assert_uint_eq(status(), LOGIN_AUTH_FAILED);
}
END_TEST

START_TEST(chap_cannot_be_left_out)
{
	ck_assert_int_eq(STEP(SEC_TO_FULL, NAMES(TARGET_CHAP) "AuthMethod=CHAP"), LOGIN_MORE);
	ck_assert_uint_eq(rsp.flags & PDU_FINAL, 0);
	ck_assert_int_eq(step(OP_TO_FULL, NULL, 0), LOGIN_REFUSE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi login");
	TCase *keys = tcase_create("keys");
	tcase_add_test(keys, full_feature_only_declares_lengths);
	suite_add_tcase(suite, keys);
	TCase *tc = tcase_create("stages");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, straight_to_full_feature);
	tcase_add_test(tc, security_then_operational);
	tcase_add_test(tc, first_burst_never_exceeds_max_burst);
	tcase_add_test(tc, text_in_pieces);
	tcase_add_test(tc, no_initiator_name);
	tcase_add_test(tc, no_target_name);
	tcase_add_test(tc, no_such_target);
	tcase_add_test(tc, not_admitted);
	tcase_add_test(tc, security_skipped);
	tcase_add_test(tc, only_none_offered);
	tcase_add_test(tc, no_method_offered);
	tcase_add_test(tc, strange_session_type);
	tcase_add_test(tc, key_offered_twice);
	tcase_add_test(tc, name_given_twice);
	tcase_add_test(tc, auth_in_operational);
	tcase_add_test(tc, backwards);
	tcase_add_test(tc, reserved_stage);
	tcase_add_test(tc, reserved_next_stage);
	tcase_add_test(tc, transit_and_continue);
	tcase_add_test(tc, garbage);
	tcase_add_test(tc, a_later_version_is_not_spoken);
	tcase_add_test(tc, identity_does_not_change);
	tcase_add_test(tc, endless_text_is_cut_off);
	tcase_add_test(tc, endless_requests_are_cut_off);
	tcase_add_test(tc, long_answers_come_in_pieces);
	tcase_add_loop_test(tc, nothing_is_said_between_pieces, 0, 2);
	tcase_add_test(tc, answers_that_do_not_fit_end_the_login);
	tcase_add_test(tc, chap_one_way);
	tcase_add_test(tc, chap_mutual);
	tcase_add_loop_test(tc, chap_wrong, 0, 3);
	tcase_add_test(tc, chap_same_secret_both_ways);
	tcase_add_test(tc, chap_out_of_order);
	tcase_add_test(tc, chap_without_known_algorithm);
	tcase_add_test(tc, chap_cannot_be_left_out);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
