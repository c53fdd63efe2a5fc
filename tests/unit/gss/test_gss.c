/* RPCSEC_GSS with a real KDC: contexts, services, replays, what is wrong with a call, the end of
 * contexts. */
#include <check.h>
#include <errno.h>
#include <krb5.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/gss/gss_world.h"

/* ---- what works ---- */

START_TEST(each_service)
{
	static uint8_t data[300001];
	struct gss_fh root, f;
	uint32_t uid, list[4];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
	login("alice");
	ck_assert_uint_eq(c.window, RPC_GSS_WINDOW);
	c.service = (uint32_t)_i;
	ck_assert_uint_eq(mnt("/krb", &root, list), 3);
	ck_assert(list[0] == 390003 && list[1] == 390004 && list[2] == 390005);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(getattr(&root), 0);
	ck_assert_uint_eq(create(&root, "f", &f, &uid), 0);
	ck_assert_uint_eq(uid, ALICE);
	/* Lengths that need padding and some that do not; more than one page and buffer. */
	static const uint32_t lengths[] = {1, 2, 3, 4, 4095, 4096, 4097, 65536, 300001};
	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		ck_assert_uint_eq(write_at(&f, 0, data, lengths[i]), 0);
		read_equals(&f, 0, data, lengths[i]);
	}
	/* MOUNT and locks by it. */
	struct xdr_out x = args_new();
	xdr_put_string(&x, "/private");
	ck_assert_int_eq(gc_call(&c, MOUNT, 3, 1, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	x = args_new();
	xdr_put_string(&x, "cookie");
	xdr_put_bool(&x, true);
	xdr_put_string(&x, "client");
	xdr_put_opaque(&x, f.b, f.len);
	xdr_put_string(&x, "owner");
	xdr_put_u32(&x, 1);
	xdr_put_u64(&x, 0);
	xdr_put_u64(&x, 0);
	ck_assert_int_eq(gc_call(&c, 100021, 4, 1, &x), 0); /* NLM TEST */
	ck_assert_uint_eq(u32(), 6);
	c.r.p += 8;
	ck_assert_uint_eq(u32(), 0); /* granted */
	/* Errors of RPC are answered with a verifier too. */
	ck_assert_int_eq(gc_call(&c, NFS, 3, 99, NULL), RPC_PROC_UNAVAIL);
	ck_assert_int_eq(gc_call(&c, NFS, 9, 0, NULL), RPC_PROG_MISMATCH);
	ck_assert_int_eq(gc_call(&c, 300000, 1, 0, NULL), RPC_PROG_UNAVAIL);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 1, NULL), RPC_GARBAGE_ARGS);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

/* The same call with a sequence number of its own is answered from the cache of duplicates. */
START_TEST(retransmitted_calls_are_done_once)
{
	struct gss_fh root, f;
	uint32_t uid;
	login("alice");
	c.service = (uint32_t)_i;
	root_of("/krb", &root);
	ck_assert_uint_eq(create(&root, "once", &f, &uid), 0);
	struct xdr_out x = args_fh(&root);
	xdr_put_string(&x, "once");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	c.xid--;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 2);
}
END_TEST

/* What was kept for one is not another's: nor what he says by AUTH_SYS, or with less protection. */
START_TEST(kept_answers_are_the_callers)
{
	struct gss_fh root, f;
	uint32_t uid;
	login("alice");
	c.service = RPC_GSS_PRIVACY;
	root_of("/private", &root);
	ck_assert_uint_eq(create(&root, "secret", &f, &uid), 0);
	struct xdr_out x = args_fh(&root);
	xdr_put_string(&x, "secret");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	c.xid--;
	ck_assert_int_eq(gc_sys(&c, 77, NFS, 3, 12, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.xid--;
	c.service = RPC_GSS_NONE;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.xid--;
	c.service = RPC_GSS_PRIVACY;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
}
END_TEST

/* ---- sequence numbers ---- */

START_TEST(replays_are_dropped)
{
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	ck_assert_uint_eq(stats_now()->replayed, 1);
	/* Out of order inside the window. */
	c.seq = 5000;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	c.seq = 5000 - RPC_GSS_WINDOW + 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	c.seq = 5000 - RPC_GSS_WINDOW;
	gc_send(&c, NFS, 3, 0, NULL);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	ck_assert_uint_eq(stats_now()->replayed, 4);
	c.seq = 4999;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(the_last_number)
{
	login("alice");
	c.seq = GSS_MAXSEQ - 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	c.seq = GSS_MAXSEQ;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CTXPROBLEM);
	c.seq = UINT32_MAX;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CTXPROBLEM);
}
END_TEST

START_TEST(window)
{
	struct gss_ctx x = {0};
	for (uint32_t s = 1; s < 10; s++)
		ck_assert(gss_ctx_seq(&x, s) && !gss_ctx_seq(&x, s));
	ck_assert(gss_ctx_seq(&x, 0));
	/* A jump clears what lies between, also around the end of the bits. */
	for (uint32_t at = 9, k = 1; at < 40 * RPC_GSS_WINDOW; k = k * 3 % 1511 + 1) {
		at += k;
		ck_assert(gss_ctx_seq(&x, at) && !gss_ctx_seq(&x, at));
		for (uint32_t s = at - MIN(k, RPC_GSS_WINDOW) + 1; s < at; s++)
			ck_assert(gss_ctx_seq(&x, s) && !gss_ctx_seq(&x, s));
		ck_assert(at < RPC_GSS_WINDOW || !gss_ctx_seq(&x, at - RPC_GSS_WINDOW));
	}
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(wrong_verifiers)
{
	login("alice");
	c.bad.verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.bad.plain_verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	/* Who cannot sign moves no window. */
	uint32_t seq = c.seq;
	c.seq = 1000000;
	c.bad.verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.seq = seq;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(wrong_bodies)
{
	struct gss_fh root;
	login("alice");
	root_of("/krb", &root);
	c.service = (uint32_t)_i;
	c.bad.body = true;
	ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	c.bad.body_seq = true;
	ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	for (int cut = 4; cut <= 16; cut += 4) {
		c.bad.cut = cut;
		ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	}
	if (c.service == RPC_GSS_PRIVACY) {
		c.bad.no_conf = true;
		ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	}
	ck_assert_int_eq(getattr(&root), 0);
}
END_TEST

START_TEST(wrong_credentials)
{
	login("alice");
	c.bad.version = 2;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	c.bad.proc = 4;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	c.bad.trailing = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	static const uint32_t services[] = {0, 4, UINT32_MAX};
	for (unsigned i = 0; i < 3; i++) {
		c.service = services[i];
		gc_send(&c, NFS, 3, 0, NULL);
		ck_assert_int_eq(gc_recv(&c, 0), GC_DENIED - RPC_AUTH_BADCRED);
	}
	c.service = RPC_GSS_NONE;
	/* Control messages are for the null procedure. */
	c.bad.nfs_proc = 1;
	ck_assert_int_eq(gc_destroy(&c), GC_DENIED - RPC_AUTH_BADCRED);
	c.handle[0] ^= 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle[0] ^= 1;
	c.handle_len--;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle_len++;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(garbage_tokens)
{
	static uint8_t bytes[GSS_TOKEN_MAX + 4];
	static const uint32_t lengths[] = {0, 1, 2, 17, 600, 5000, GSS_TOKEN_MAX};
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 0x60);
	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		ck_assert_int_gt(gc_init_raw(&c, 1, bytes, lengths[i]), 0);
		ck_assert_uint_eq(c.handle_len, 0);
		ck_assert(GSS_ERROR(c.major));
	}
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, sizeof(bytes)), -1000 - RPC_GARBAGE_ARGS);
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle_len = 16;
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, 4), GC_DENIED - RPC_AUTH_BADCRED);
	c.handle_len = 0;
	c.bad.nfs_proc = 1;
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, 4), GC_DENIED - RPC_AUTH_BADCRED);
	ck_assert_uint_eq(stats_now()->refused, ARRAY_LEN(lengths));
	ck_assert_uint_eq(stats.contexts, 0);
	login("alice");
	/* A context that stands goes on no more. */
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

/* ---- the end of contexts ---- */

START_TEST(destroyed)
{
	login("alice");
	c.service = (uint32_t)_i;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_uint_eq(stats_now()->contexts, 1);
	ck_assert_int_eq(gc_destroy(&c), 0);
	ck_assert_uint_eq(stats_now()->contexts, 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_destroy(&c), GC_DENIED - RPC_GSS_CREDPROBLEM);
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(expired)
{
	world_down();
	opts.find = gss_find;
	if (_i)
		opts.idle_ns = NS_PER_S;
	else
		opts.life_ns = NS_PER_S;
	world_up();
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	usleep(1300000);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(the_least_lately_used_gives_way)
{
	struct gss_client a, b;
	world_down();
	opts.find = gss_find;
	opts.contexts = 2;
	world_up();
	gc_open(&a, nas.port);
	gc_open(&b, nas.port);
	login("alice");
	ck_assert_int_eq(gc_init(&a, &krb, "alice", "nfs@localhost"), 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_init(&b, &krb, "alice", "nfs@localhost"), 0);
	ck_assert_uint_eq(stats_now()->contexts, 2);
	ck_assert_uint_eq(stats.evicted, 1);
	ck_assert_int_eq(gc_call(&a, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_call(&b, NFS, 3, 0, NULL), 0);
	gc_close(&a);
	gc_close(&b);
}
END_TEST

/* Who asks for contexts again and again takes the place of its own, not of others. */
START_TEST(one_principal_has_its_part)
{
	struct gss_client many;
	world_down();
	opts.find = gss_find;
	opts.contexts = 16;
	world_up();
	gc_open(&many, nas.port);
	login("alice");
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(gc_init(&many, &krb, "carol", "nfs@localhost"), 0);
	ck_assert_uint_eq(stats_now()->contexts, 16);
	ck_assert_uint_eq(stats.evicted, 25);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_call(&many, NFS, 3, 0, NULL), 0);
	gc_close(&many);
}
END_TEST

static void add(TCase *t)
{
	tcase_add_loop_test(t, each_service, 1, 4);
	tcase_add_loop_test(t, retransmitted_calls_are_done_once, 1, 4);
	tcase_add_test(t, kept_answers_are_the_callers);
	tcase_add_test(t, replays_are_dropped);
	tcase_add_test(t, the_last_number);
	tcase_add_test(t, window);
	tcase_add_test(t, wrong_verifiers);
	tcase_add_loop_test(t, wrong_bodies, 2, 4);
	tcase_add_test(t, wrong_credentials);
	tcase_add_test(t, garbage_tokens);
	tcase_add_loop_test(t, destroyed, 1, 4);
	tcase_add_loop_test(t, expired, 0, 2);
	tcase_add_test(t, the_least_lately_used_gives_way);
	tcase_add_test(t, one_principal_has_its_part);
}

int main(void)
{
	return gss_suite("gss", add);
}
