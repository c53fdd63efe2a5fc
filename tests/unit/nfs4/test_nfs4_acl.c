/* Access control lists as an attribute of NFSv4: set, read back, compared, refused, obeyed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

struct ace {
	uint32_t type, flags, mask;
	const char *who;
};

static struct nas nas;
static struct v4 a, b;
static struct v4_fh demo, fh;

#define ALL   0x1f01ff
#define READS 0x120081 /* data, attributes, the list, synchronize */

static void up(void)
{
	struct v4_stateid s;
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&a, "root");
	v4_client(&b, "user");
	b.uid = 1001;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

/* fattr4 of a list alone. */
static void put_list(struct v4 *c, const struct ace *l, uint32_t n)
{
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 1u << FATTR4_ACL);
	uint8_t *len = xdr_take(&c->x, 4);
	xdr_put_u32(&c->x, n);
	for (uint32_t i = 0; i < n; i++) {
		xdr_put_u32(&c->x, l[i].type);
		xdr_put_u32(&c->x, l[i].flags);
		xdr_put_u32(&c->x, l[i].mask);
		xdr_put_string(&c->x, l[i].who);
	}
	be32_put(len, (uint32_t)(c->x.p - len - 4));
}

static uint32_t set(struct v4 *c, const struct v4_fh *of, const struct ace *l, uint32_t n)
{
	static const struct v4_stateid none;
	v4_seq(c);
	v4_putfh(c, of);
	v4_op(c, OP_SETATTR);
	v4_stateid(c, &none);
	put_list(c, l, n);
	v4_send(c);
	/* Which were set is told whatever became of it. */
	v4_res(c, OP_PUTFH);
	ck_assert_uint_eq(v4_res(c, OP_SETATTR), c->status);
	if (c->status != NFS4ERR_BADXDR) {
		ck_assert_uint_eq(v4_u32(c), c->status == 0);
		if (c->status == 0)
			ck_assert_uint_eq(v4_u32(c), 1u << FATTR4_ACL);
	}
	return c->status;
}

/* The list is this one. Also by VERIFY, and by NVERIFY. */
static void expect(struct v4 *c, const struct v4_fh *of, const struct ace *l, uint32_t n)
{
	const uint8_t *p;
	v4_seq(c);
	v4_putfh(c, of);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 1u << FATTR4_ACL);
	v4_op(c, OP_VERIFY);
	put_list(c, l, n);
	v4_op(c, OP_NVERIFY);
	put_list(c, l, n);
	ck_assert_uint_eq(v4_send(c), NFS4ERR_SAME);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	ck_assert_uint_eq(v4_u32(c), 1);
	ck_assert_uint_eq(v4_u32(c), 1u << FATTR4_ACL);
	v4_u32(c);
	ck_assert_uint_eq(v4_u32(c), n);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(v4_u32(c), l[i].type);
		ck_assert_uint_eq(v4_u32(c), l[i].flags);
		ck_assert_uint_eq(v4_u32(c), l[i].mask);
		ck_assert_uint_eq(v4_opaque(c, &p), strlen(l[i].who));
		ck_assert_mem_eq(p, l[i].who, strlen(l[i].who));
	}
	ck_assert_uint_eq(v4_res(c, OP_VERIFY), 0);
	ck_assert_uint_eq(v4_res(c, OP_NVERIFY), NFS4ERR_SAME);
}

static uint32_t mode_of(struct v4 *c, const struct v4_fh *of)
{
	v4_seq(c);
	v4_putfh(c, of);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 1u << FATTR4_ACLSUPPORT);
	xdr_put_u32(&c->x, 1u << (FATTR4_MODE - 32));
	ck_assert_uint_eq(v4_send(c), 0);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	v4_take(c, (uint8_t[16]){0}, 16);
	ck_assert_uint_eq(v4_u32(c), 3);
	return v4_u32(c);
}

static uint32_t open_f(struct v4 *c, uint32_t access)
{
	struct v4_stateid s;
	struct v4_fh f;
	uint32_t st = v4_open_file(c, &demo, "f", "o", access, 0, 0, &s, &f);
	if (st == 0)
		ck_assert_uint_eq(v4_close_file(c, &f, &s), 0);
	return st;
}

START_TEST(lists_are_kept_and_obeyed)
{
	static const struct ace one_user[] = {
	    {0, 0, ALL, "OWNER@"},	{1, 0, 3, "77"},
	    {0, 0, READS | 6, "1001"},	{0, 0x40, READS, "2000"},
	    {0, 0x40, READS, "GROUP@"}, {0, 0, 0x120080, "EVERYONE@"},
	};
	ck_assert_uint_eq(open_f(&b, 2), NFS4ERR_ACCESS);
	ck_assert_uint_eq(set(&a, &fh, one_user, ARRAY_LEN(one_user)), 0);
	expect(&a, &fh, one_user, ARRAY_LEN(one_user));
	ck_assert_uint_eq(mode_of(&a, &fh) & 0707, 0700);
	ck_assert_uint_eq(open_f(&b, 3), 0);
	b.uid = 77;
	ck_assert_uint_eq(open_f(&b, 1), NFS4ERR_ACCESS);
	/* Another's list is not to be set; who may change it may. */
	ck_assert_uint_eq(set(&b, &fh, one_user, 1), NFS4ERR_PERM);
	ck_assert_uint_eq(set(&a, &fh, one_user, 0), 0);
	expect(&a, &fh, one_user, 0);
	ck_assert_uint_eq(mode_of(&a, &fh), 0);
	b.uid = 1001;
	ck_assert_uint_eq(open_f(&b, 1), NFS4ERR_ACCESS);
}
END_TEST

START_TEST(a_list_of_the_greatest_length)
{
	struct ace l[257];
	for (int i = 0; i < 257; i++)
		l[i] = (struct ace){0, i % 2 ? 0x40 : 0, READS, "4294967295"};
	ck_assert_uint_eq(set(&a, &fh, l, 257), NFS4ERR_FBIG);
	ck_assert_uint_eq(set(&a, &fh, l, 256), 0);
	expect(&a, &fh, l, 256);
}
END_TEST

START_TEST(what_cannot_be_kept_is_refused)
{
	static const struct {
		struct ace e;
		uint32_t st;
	} bad[] = {
	    {{2, 0x10, 1, "OWNER@"}, NFS4ERR_ATTRNOTSUPP}, /* an audit */
	    {{3, 0x20, 1, "OWNER@"}, NFS4ERR_ATTRNOTSUPP}, /* an alarm */
	    {{0, 0x10, 1, "OWNER@"}, NFS4ERR_ATTRNOTSUPP},
	    {{0, 0, 0x200, "OWNER@"}, NFS4ERR_ATTRNOTSUPP}, /* retention */
	    {{0, 0, 1, "INTERACTIVE@"}, NFS4ERR_BADOWNER},
	    {{0, 0, 1, ""}, NFS4ERR_BADOWNER},
	    {{0, 0, 1, "4294967296"}, NFS4ERR_BADOWNER},
	    {{0, 1, 1, "OWNER@"}, NFS4ERR_INVAL}, /* a file passes nothing on */
	};
	static const struct ace plain = {0, 0, READS, "OWNER@"};
	static const struct v4_stateid none;
	struct v4_fh link;
	ck_assert_uint_eq(set(&a, &fh, &plain, 1), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_uint_eq(set(&a, &fh, &bad[i].e, 1), bad[i].st);
	expect(&a, &fh, &plain, 1);
	/* Cut off, and with more behind it. */
	for (uint32_t n = 0; n < 24; n += 4) {
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, OP_SETATTR);
		v4_stateid(&a, &none);
		xdr_put_u32(&a.x, 1);
		xdr_put_u32(&a.x, 1u << FATTR4_ACL);
		xdr_put_u32(&a.x, n);
		const uint32_t words[] = {1, 0, 0, READS, 6, 0x4f574e45};
		for (uint32_t i = 0; i < n / 4; i++)
			xdr_put_u32(&a.x, words[i]);
		ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADXDR);
	}
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, 5);
	xdr_put_string(&a.x, "f");
	xdr_put_string(&a.x, "l");
	xdr_put_u64(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/l", &link), 0);
	ck_assert_uint_eq(set(&a, &link, &plain, 1), NFS4ERR_ATTRNOTSUPP);
	expect(&a, &fh, &plain, 1);
}
END_TEST

/* A directory made with a list passes it on; a file that is made with one has it. */
START_TEST(what_is_made_with_a_list)
{
	static const struct ace dir[] = {{0, 0, ALL, "OWNER@"}, {0, 3, READS | 0x20, "1001"}},
				file[] = {{0, 0, ALL, "OWNER@"}, {0, 0, READS, "1001"}},
				wrong = {0, 1, READS, "1001"};
	struct v4_fh d, g;
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, 2);
	xdr_put_string(&a.x, "d");
	put_list(&a, dir, 2);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/d", &d), 0);
	expect(&a, &d, dir, 2);
	for (int i = 0; i < 2; i++) {
		v4_seq(&a);
		v4_putfh(&a, &d);
		v4_op(&a, OP_OPEN);
		xdr_put_u32(&a.x, 0);
		xdr_put_u32(&a.x, 3);
		xdr_put_u32(&a.x, 0);
		xdr_put_u64(&a.x, a.client);
		xdr_put_string(&a.x, "o");
		xdr_put_u32(&a.x, OPEN4_CREATE);
		xdr_put_u32(&a.x, CREATE4_GUARDED);
		put_list(&a, i ? &wrong : file, i ? 1 : 2);
		xdr_put_u32(&a.x, CLAIM_NULL);
		xdr_put_string(&a.x, i ? "h" : "g");
		ck_assert_uint_eq(v4_send(&a), i ? NFS4ERR_INVAL : 0);
	}
	ck_assert_uint_eq(v4_lookup(&a, "/demo/d/g", &g), 0);
	expect(&a, &g, file, 2);
}
END_TEST

START_TEST(pseudo_directories_have_one)
{
	static const struct ace all = {0, 0, 0x1200a1, "EVERYONE@"};
	struct v4_fh root;
	ck_assert_uint_eq(v4_lookup(&a, "/", &root), 0);
	expect(&a, &root, &all, 1);
	v4_seq(&a);
	v4_putfh(&a, &root);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &(struct v4_stateid){{0}});
	put_list(&a, &all, 1);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_ROFS);
}
END_TEST

/* READDIR does not look lists up: it leaves them out, and says so in the bitmap. */
START_TEST(directories_are_listed_without)
{
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_READDIR);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 4096);
	xdr_put_u32(&a.x, 4096);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 1u << FATTR4_ACL | 1u << FATTR4_TYPE);
	ck_assert_uint_eq(v4_send(&a), 0);
	const uint8_t *p;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_READDIR);
	v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 1);
	v4_u64(&a);
	v4_opaque(&a, &p);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), 1u << FATTR4_TYPE);
	ck_assert_uint_eq(v4_opaque(&a, &p), 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4 acl");
	TCase *t = tcase_create("lists");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, lists_are_kept_and_obeyed);
	tcase_add_test(t, a_list_of_the_greatest_length);
	tcase_add_test(t, what_cannot_be_kept_is_refused);
	tcase_add_test(t, what_is_made_with_a_list);
	tcase_add_test(t, pseudo_directories_have_one);
	tcase_add_test(t, directories_are_listed_without);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
