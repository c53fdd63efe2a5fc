/* PDU layouts, text, CHAP, serial numbers: what needs no connection. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/err.h"
#include "server/iscsi/chap.h"
#include "server/iscsi/conn.h"
#include "server/iscsi/pdu.h"
#include "server/iscsi/text.h"

START_TEST(pairs_are_cut_and_bounded)
{
	char buf[] = "a=1\0\0key=va=lue\0empty=\0last=end";
	struct text_in t;
	const char *k, *v;
	static const char *const want[][2] = {
	    {"a", "1"}, {"key", "va=lue"}, {"empty", ""}, {"last", "end"}};
	text_in_init(&t, buf, sizeof(buf) - 1);
	for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert_int_eq(text_next(&t, &k, &v), 1);
		ck_assert_str_eq(k, want[i][0]);
		ck_assert_str_eq(v, want[i][1]);
	}
	ck_assert_int_eq(text_next(&t, &k, &v), 0);
}
END_TEST

START_TEST(malformed_pairs_are_refused)
{
	char long_key[80 + 3], long_value[TEXT_VALUE_MAX + 10];
	memset(long_key, 'k', sizeof(long_key));
	memcpy(long_key + 80, "=v", 3);
	memset(long_value, 'v', sizeof(long_value));
	long_value[1] = '=';
	long_value[sizeof(long_value) - 1] = 0;
	char none[] = "novalue", empty[] = "=x";
	char *bad[] = {none, empty, long_key, long_value};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct text_in t;
		const char *k, *v;
		text_in_init(&t, bad[i], strlen(bad[i]));
		ck_assert_int_eq(text_next(&t, &k, &v), -ERR_PROTO);
	}
}
END_TEST

START_TEST(output_stops_at_its_end)
{
	char buf[16];
	struct text_out t;
	text_out_init(&t, buf, sizeof(buf));
	text_put(&t, "abc", "defg");
	ck_assert_uint_eq(t.len, 9);
	text_put_u32(&t, "n", 4294967295u);
	ck_assert(t.overflow);
	ck_assert_uint_eq(t.len, 9);
	text_put(&t, "a", "b"); /* nothing is put after a gap */
	ck_assert_uint_eq(t.len, 9);
}
END_TEST

START_TEST(numbers_and_binary_values)
{
	static const struct {
		const char *text;
		int rc;
		uint32_t value;
	} numbers[] = {{"0", 0, 0},
		       {"8192", 0, 8192},
		       {"0x2000", 0, 8192},
		       {"0XfF", 0, 255},
		       {"4294967295", 0, -1u},
		       {"4294967296", -EINVAL, 0},
		       {"", -EINVAL, 0},
		       {"-1", -EINVAL, 0},
		       {" 1", -EINVAL, 0},
		       {"1x", -EINVAL, 0},
		       {"0x", -EINVAL, 0},
		       {"12a", -EINVAL, 0},
		       {"0x1ffffffff", -EINVAL, 0}};
	for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
		uint32_t n = 0;
		ck_assert_int_eq(text_number(numbers[i].text, &n), numbers[i].rc);
		ck_assert_uint_eq(n, numbers[i].value);
	}
	uint8_t b[4];
	ck_assert_int_eq(text_binary("0x0102ff", b, 4), 3);
	ck_assert_mem_eq(b, "\x01\x02\xff", 3);
	ck_assert_int_eq(text_binary("0x123", b, 4), 2);
	ck_assert_mem_eq(b, "\x01\x23", 2);
	ck_assert_int_eq(text_binary("0bAQL/", b, 4), 3);
	ck_assert_mem_eq(b, "\x01\x02\xff", 3);
	ck_assert_int_eq(text_binary("0bAQ==", b, 4), 1);
	static const char *const bad[] = {"0x",	    "0x0102030405", "0xzz", "0bAQ=",  "0b",
					  "0bAQ*=", "0bAQIDBAU=",   "12",   "0bA===", "0b=AAA"};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(text_binary(bad[i], b, 4) == -EINVAL, "%s", bad[i]);
}
END_TEST

/* Made with openssl dgst over id || secret || challenge. */
START_TEST(chap_digests_match_known_values)
{
	static const uint8_t challenge[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	static const struct {
		unsigned algorithm;
		const char *hex;
	} vectors[] = {{5, "0x6860e6413319f4060917c4289b8c943a"},
		       {6, "0xbf98ac633b986a5bcb7ddcbcfb2517e93e3ede1d"},
		       {7, "0xfb681593ce3d9bffaeb152108d4717e80117cdc860aeef378167e5e4548e267b"},
		       {8, "0x7e8c488630f2e81a7f0ba06663100a89de16cbc8c31888516b7ae72256a3ee48"}};
	for (unsigned i = 0; i < ARRAY_LEN(vectors); i++) {
		uint8_t got[CHAP_DIGEST_MAX], want[CHAP_DIGEST_MAX];
		int n = text_binary(vectors[i].hex, want, sizeof(want));
		ck_assert_int_gt(n, 0);
		ck_assert_uint_eq(chap_digest_len(vectors[i].algorithm), (size_t)n);
		ck_assert_uint_eq(
		    chap_response(vectors[i].algorithm, 0x5a, "secretsecret", challenge, 16, got),
		    (size_t)n);
		ck_assert_mem_eq(got, want, n);
	}
	uint8_t out[CHAP_DIGEST_MAX];
	ck_assert_uint_eq(chap_response(9, 1, "s", challenge, 16, out), 0);
}
END_TEST

START_TEST(chap_takes_only_the_right_answer)
{
	struct chap c;
	uint8_t r[CHAP_DIGEST_MAX];
	ck_assert_int_eq(chap_begin(&c, "99,5,7,6", CHAP_ALL), 0);
	ck_assert_uint_eq(c.algorithm, 7);
	size_t n = chap_response(7, c.id, "secret", c.challenge, CHAP_CHALLENGE, r);
	ck_assert(chap_verify(&c, "u", "secret", "u", r, n));
	ck_assert(!chap_verify(&c, "u", "secret", "v", r, n));
	ck_assert(!chap_verify(&c, "u", "Secret", "u", r, n));
	ck_assert(!chap_verify(&c, "u", "secret", "u", r, n - 1));
	r[0] ^= 1;
	ck_assert(!chap_verify(&c, "u", "secret", "u", r, n));
	ck_assert(!chap_challenge_ok(&c, c.challenge, CHAP_CHALLENGE));
	ck_assert(chap_challenge_ok(&c, c.challenge, CHAP_CHALLENGE - 1));
	ck_assert_int_eq(chap_begin(&c, "1,2", CHAP_ALL), -EOPNOTSUPP);
	struct chap d;
	ck_assert_int_eq(chap_begin(&c, "5", CHAP_ALL), 0);
	ck_assert_int_eq(chap_begin(&d, "5", CHAP_ALL), 0);
	ck_assert_mem_ne(c.challenge, d.challenge, CHAP_CHALLENGE);
}
END_TEST

START_TEST(extended_cdbs_come_from_the_segments)
{
	struct bhs b = {.ahs_words = 0};
	uint8_t cdb[PDU_CDB_MAX], ahs[PDU_AHS_MAX] = {0};
	memset(b.cdb, 0x7f, 16);
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 16);
	/* a 32-byte CDB: 17 bytes after the type (one reserved), padded to 20 */
	b.ahs_words = 5;
	be16_put(ahs, 17);
	ahs[2] = 1;
	memset(ahs + 4, 0xab, 16);
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 32);
	ck_assert_uint_eq(cdb[15], 0x7f);
	ck_assert_uint_eq(cdb[16], 0xab);
	ck_assert_uint_eq(cdb[31], 0xab);
	ahs[2] = 2; /* another type: skipped */
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 16);
	ahs[2] = 1;
	be16_put(ahs, 18); /* reaches past the end of all */
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 0);
	be16_put(ahs, 0);
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 0);
	b.ahs_words = 255;
	be16_put(ahs, 400); /* longer than any CDB */
	ck_assert_uint_eq(pdu_cdb(&b, ahs, cdb), 0);
}
END_TEST

START_TEST(digest_is_the_rfc_one)
{
	uint8_t zeros[32] = {0}, d[4];
	pdu_header_digest(zeros, 32, d); /* RFC 7143 A.4: 32 bytes of zeros */
	ck_assert_mem_eq(d, "\xaa\x36\x91\x8a", 4);
	ck_assert(pdu_header_digest_ok(zeros, 32, d));
	zeros[9] = 1;
	ck_assert(!pdu_header_digest_ok(zeros, 32, d));
}
END_TEST

START_TEST(window_takes_ignores_and_refuses)
{
	static const struct {
		uint32_t exp, max;
		bool immediate;
		uint32_t sn;
		enum cmdsn_verdict want;
	} cases[] = {
	    {10, 20, false, 10, CMDSN_TAKE},
	    {10, 20, false, 9, CMDSN_IGNORE},
	    {10, 20, false, 21, CMDSN_IGNORE},
	    {10, 20, false, 11, CMDSN_FATAL},
	    {10, 20, false, 20, CMDSN_FATAL},
	    {10, 20, true, 99, CMDSN_TAKE},
	    {10, 9, false, 10, CMDSN_IGNORE}, /* closed */
	    {0xffffffff, 5, false, 0xffffffff, CMDSN_TAKE},
	    {0xffffffff, 5, false, 0, CMDSN_FATAL},
	    {0xffffffff, 5, false, 6, CMDSN_IGNORE},
	    {0xffffffff, 5, false, 0xfffffffe, CMDSN_IGNORE},
	    {0, 0xffffffff, false, 0, CMDSN_IGNORE}, /* closed at the wrap */
	    {0, 0, false, 0, CMDSN_TAKE},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct cmd_window w = {.exp = cases[i].exp, .max = cases[i].max};
		ck_assert_msg(window_check(&w, cases[i].immediate, cases[i].sn) == cases[i].want,
			      "case %u", i);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi text");
	TCase *tc = tcase_create("text");
	tcase_add_test(tc, pairs_are_cut_and_bounded);
	tcase_add_test(tc, malformed_pairs_are_refused);
	tcase_add_test(tc, output_stops_at_its_end);
	tcase_add_test(tc, numbers_and_binary_values);
	tcase_add_test(tc, chap_digests_match_known_values);
	tcase_add_test(tc, chap_takes_only_the_right_answer);
	tcase_add_test(tc, extended_cdbs_come_from_the_segments);
	tcase_add_test(tc, digest_is_the_rfc_one);
	tcase_add_test(tc, window_takes_ignores_and_refuses);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
