/* XDR cursors: every truncation refused, padding, bounds, the encoder's end; call headers; the DRC.
 */
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/rpc/drc.h"
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpc_msg.h"
#include "nasfront/rpc/xdr.h"
#include "runtime/check.h"

static bool take_all(struct xdr_in *x)
{
	uint32_t a, n;
	uint64_t b;
	bool c;
	const uint8_t *p;
	return xdr_u32(x, &a) && xdr_u64(x, &b) && xdr_bool(x, &c) && xdr_opaque(x, 10, &p, &n) &&
	       xdr_fixed(x, 3, &p) && a == 7 && b == 1ull << 40 && c && n == 5;
}

START_TEST(every_truncation_is_refused)
{
	uint8_t buf[64];
	struct xdr_out o = xdr_out_of(buf, sizeof(buf));
	xdr_put_u32(&o, 7);
	xdr_put_u64(&o, 1ull << 40);
	xdr_put_bool(&o, true);
	xdr_put_opaque(&o, "hello", 5);
	xdr_put_fixed(&o, "abc", 3);
	ck_assert(!o.full);
	size_t len = xdr_out_len(&o);
	ck_assert_uint_eq(len, 4 + 8 + 4 + 12 + 4);
	for (size_t n = 0; n <= len; n++) {
		/* An exact allocation: the sanitizer sees one byte too far. */
		uint8_t *copy = malloc(n ? n : 1);
		memcpy(copy, buf, n);
		struct xdr_in x = xdr_in_of(copy, n);
		ck_assert_int_eq(take_all(&x), n == len);
		free(copy);
	}
}
END_TEST

START_TEST(lengths_beyond_the_limit_are_refused)
{
	uint8_t buf[16] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8};
	struct xdr_in x = xdr_in_of(buf, sizeof(buf));
	const uint8_t *p;
	uint32_t n;
	bool b;
	ck_assert(!xdr_opaque(&x, UINT32_MAX, &p, &n));
	x = xdr_in_of(buf, sizeof(buf));
	ck_assert(!xdr_fixed(&x, 0xfffffffe, &p));
	x = xdr_in_of(buf, sizeof(buf));
	ck_assert(!xdr_bool(&x, &b));
	be32_put(buf, 5);
	x = xdr_in_of(buf, sizeof(buf));
	ck_assert(!xdr_opaque(&x, 4, &p, &n));
	x = xdr_in_of(buf, sizeof(buf));
	ck_assert(xdr_opaque(&x, 5, &p, &n));
	ck_assert_ptr_eq(x.p, buf + 12);
}
END_TEST

START_TEST(the_encoder_stops_at_its_end)
{
	uint8_t buf[12];
	memset(buf, 0xaa, sizeof(buf));
	struct xdr_out o = xdr_out_of(buf, 10);
	xdr_put_opaque(&o, "abcde", 5);
	ck_assert(o.full);
	xdr_put_u32(&o, 1);
	ck_assert_uint_eq(buf[10], 0xaa);
	ck_assert_uint_eq(xdr_out_len(&o), 4);
}
END_TEST

/* ---- call headers ---- */

static size_t make_call(uint8_t *buf, size_t size, uint32_t flavor, uint32_t ngroups)
{
	struct xdr_out o = xdr_out_of(buf, size);
	const uint32_t head[] = {77, 0, 2, 100003, 3, 1, flavor};
	for (unsigned i = 0; i < 7; i++)
		xdr_put_u32(&o, head[i]);
	xdr_put_u32(&o, flavor == 1 ? 4 + 8 + 8 + 4 + 4 * ngroups : 0);
	if (flavor == 1) {
		xdr_put_u32(&o, 1);
		xdr_put_string(&o, "host");
		xdr_put_u32(&o, 1000);
		xdr_put_u32(&o, 100);
		xdr_put_u32(&o, ngroups);
		for (uint32_t i = 0; i < ngroups; i++)
			xdr_put_u32(&o, i + 5);
	}
	xdr_put_u32(&o, 0);
	xdr_put_u32(&o, 0);
	xdr_put_u32(&o, 0xdeadbeef);
	ck_assert(!o.full);
	return xdr_out_len(&o);
}

START_TEST(call_headers)
{
	uint8_t buf[512];
	struct rpc_req *req = calloc(1, sizeof(*req));
	enum rpc_auth_stat why;
	uint32_t v;
	size_t n = make_call(buf, sizeof(buf), 1, 16);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_OK);
	ck_assert_uint_eq(req->cred.uid, 1000);
	ck_assert_uint_eq(req->cred.gid, 100);
	ck_assert_uint_eq(req->cred.ngroups, 16);
	ck_assert_uint_eq(req->cred.groups[15], 20);
	ck_assert(xdr_u32(&req->args, &v) && v == 0xdeadbeef);
	n = make_call(buf, sizeof(buf), 1, 17);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_AUTH);
	ck_assert_int_eq(why, RPC_AUTH_BADCRED);
	n = make_call(buf, sizeof(buf), 0, 0);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_OK);
	n = make_call(buf, sizeof(buf), 6, 0);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_GSS);
	n = make_call(buf, sizeof(buf), 3, 0); /* AUTH_DH */
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_AUTH);
	ck_assert_int_eq(why, RPC_AUTH_REJECTEDCRED);
	n = make_call(buf, sizeof(buf), 1, 3);
	be32_put(buf + 8, 3);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_VERSION);
	be32_put(buf + 4, 1);
	ck_assert_int_eq(rpc_msg_decode(req, buf, n, &why), RPC_CALL_BROKEN);
	n = make_call(buf, sizeof(buf), 1, 3);
	for (size_t k = 0; k < n - 4; k++)
		ck_assert_int_ne(rpc_msg_decode(req, buf, k, &why), RPC_CALL_OK);
	free(req);
}
END_TEST

/* ---- duplicate request cache ---- */

static struct drc_key key_by(const struct rpc_cred *cred, uint32_t xid, uint16_t port,
			     const char *args)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	struct drc_key k;
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	in->sin_addr.s_addr = htonl(0x7f000001);
	drc_key_fill(&k, &ss, cred, xid, 100003, 9, args, strlen(args));
	return k;
}

static struct drc_key key(uint32_t xid, uint16_t port, const char *args)
{
	static const struct rpc_cred sys = {.flavor = RPC_FLAVOR_SYS, .uid = 7, .gid = 7};
	return key_by(&sys, xid, port, args);
}

START_TEST(drc_tells_duplicates)
{
	struct drc *d;
	struct drc_entry *e, *f;
	size_t n;
	ck_assert_int_eq(drc_new(&d, 4), 0);
	struct drc_key k = key(1, 900, "mkdir a");
	ck_assert_int_eq(drc_begin(d, &k, &e), DRC_NEW);
	ck_assert_int_eq(drc_begin(d, &k, &f), DRC_BUSY);
	drc_done(d, e, "reply", 5);
	ck_assert_int_eq(drc_begin(d, &k, &f), DRC_REPLAY);
	ck_assert_mem_eq(drc_reply(f, &n), "reply", 5);
	ck_assert_uint_eq(n, 5);
	/* The same xid with another body, port, xid or caller is another call. */
	static const struct rpc_cred who[] = {
	    {.flavor = RPC_FLAVOR_SYS, .uid = 8, .gid = 7},
	    {.flavor = RPC_FLAVOR_SYS, .uid = 7, .gid = 8},
	    {.flavor = RPC_FLAVOR_NONE, .uid = 7, .gid = 7},
	    {.flavor = RPC_FLAVOR_GSS, .service = 1, .principal = 7ull << 32 | 7},
	    {.flavor = RPC_FLAVOR_GSS, .service = 3, .principal = 7ull << 32 | 7}};
	struct drc_key other[3 + ARRAY_LEN(who)] = {key(1, 900, "mkdir b"), key(1, 901, "mkdir a"),
						    key(2, 900, "mkdir a")};
	for (unsigned i = 0; i < ARRAY_LEN(who); i++)
		other[3 + i] = key_by(&who[i], 1, 900, "mkdir a");
	for (unsigned i = 0; i < ARRAY_LEN(other); i++) {
		ck_assert_int_eq(drc_begin(d, &other[i], &f), DRC_NEW);
		ck_assert_ptr_nonnull(f);
		drc_forget(d, f);
	}
	drc_free(d);
}
END_TEST

START_TEST(drc_is_bounded_and_keeps_what_runs)
{
	struct drc *d;
	struct drc_entry *e[4], *f;
	ck_assert_int_eq(drc_new(&d, 4), 0);
	for (uint32_t i = 0; i < 4; i++) {
		struct drc_key k = key(i, 1, "x");
		ck_assert_int_eq(drc_begin(d, &k, &e[i]), DRC_NEW);
	}
	struct drc_key k9 = key(9, 1, "x"), k2 = key(2, 1, "x"), k3 = key(3, 1, "x");
	ck_assert_int_eq(drc_begin(d, &k9, &f), DRC_NEW);
	ck_assert_ptr_null(f); /* all busy: runs uncached */
	drc_done(d, e[2], "2", 1);
	drc_done(d, e[3], "3", 1);
	ck_assert_int_eq(drc_begin(d, &k9, &f), DRC_NEW);
	ck_assert_ptr_nonnull(f); /* the oldest finished gave way */
	ck_assert_int_eq(drc_begin(d, &k3, &e[3]), DRC_REPLAY);
	ck_assert_int_eq(drc_begin(d, &k2, &e[2]), DRC_NEW);
	char big[DRC_REPLY_MAX + 1] = {0};
	drc_done(d, f, big, sizeof(big)); /* not kept */
	ck_assert_int_eq(drc_begin(d, &k9, &f), DRC_NEW);
	drc_free(d);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xdr");
	TCase *tc = tcase_create("xdr");
	tcase_add_test(tc, every_truncation_is_refused);
	tcase_add_test(tc, lengths_beyond_the_limit_are_refused);
	tcase_add_test(tc, the_encoder_stops_at_its_end);
	tcase_add_test(tc, call_headers);
	tcase_add_test(tc, drc_tells_duplicates);
	tcase_add_test(tc, drc_is_bounded_and_keeps_what_runs);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
