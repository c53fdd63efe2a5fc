/* NFSACL version 3 as bytes against the whole service: lists set, read back, refused, obeyed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nfs_call.h"
#include "runtime/check.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

#define ACL   100227
#define DFLT  0x1000
#define UOBJ  1
#define USER  2
#define GOBJ  4
#define GROUP 8
#define MASK  16
#define OTHER 32

struct ent {
	uint32_t tag, id, perm;
};

static struct nas nas;
static struct raw r;
static uint8_t root[FH_SIZE], file[FH_SIZE], dir[FH_SIZE];

static void up(void)
{
	nas_up(&nas);
	raw_open(&r, nas.port);
	ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "f", false, 0640, file), 0);
	ck_assert_uint_eq(raw_make(&r, root, "d", true, 0750, dir), 0);
}

static void down(void)
{
	raw_close(&r);
	nas_down(&nas);
}

static void put(const struct ent *e, uint32_t n)
{
	xdr_put_u32(&r.out, n);
	xdr_put_u32(&r.out, n);
	for (uint32_t i = 0; i < n; i++) {
		xdr_put_u32(&r.out, e[i].tag);
		xdr_put_u32(&r.out, e[i].id);
		xdr_put_u32(&r.out, e[i].perm);
	}
}

static void skip_attr(void)
{
	const uint8_t *p;
	if (raw_u32(&r))
		ck_assert(xdr_fixed(&r.in, 84, &p));
}

static uint32_t set(const uint8_t *fh, uint32_t mask, const struct ent *a, uint32_t na,
		    const struct ent *d, uint32_t nd)
{
	raw_begin(&r, ACL, 3, 2);
	xdr_put_opaque(&r.out, fh, FH_SIZE);
	xdr_put_u32(&r.out, mask);
	put(a, na);
	put(d, nd);
	ck_assert_uint_eq(raw_end(&r), 0);
	uint32_t st = raw_u32(&r);
	skip_attr();
	ck_assert_uint_eq(xdr_left(&r.in), 0);
	return st;
}

/* GETACL of all gives exactly these. */
static void expect_list(const struct ent *e, uint32_t n)
{
	ck_assert_uint_eq(raw_u32(&r), n);
	ck_assert_uint_eq(raw_u32(&r), n);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(raw_u32(&r), e[i].tag);
		ck_assert_uint_eq(raw_u32(&r), e[i].id);
		ck_assert_msg(raw_u32(&r) == e[i].perm, "entry %u", i);
	}
}

static uint32_t get(const uint8_t *fh, uint32_t mask)
{
	raw_begin(&r, ACL, 3, 1);
	xdr_put_opaque(&r.out, fh, FH_SIZE);
	xdr_put_u32(&r.out, mask);
	ck_assert_uint_eq(raw_end(&r), 0);
	uint32_t st = raw_u32(&r);
	skip_attr();
	if (st == 0)
		ck_assert_uint_eq(raw_u32(&r), mask);
	return st;
}

static void expect(const uint8_t *fh, const struct ent *a, uint32_t na, const struct ent *d,
		   uint32_t nd)
{
	ck_assert_uint_eq(get(fh, 15), 0);
	expect_list(a, na);
	expect_list(d, nd);
	ck_assert_uint_eq(xdr_left(&r.in), 0);
}

static uint32_t mode_of(const uint8_t *fh)
{
	uint32_t m;
	ck_assert_uint_eq(raw_mode(&r, fh, &m), 0);
	return m;
}

static const struct ent full[] = {{UOBJ, 0, 6},	 {USER, 7, 7}, {USER, 1000, 4}, {GOBJ, 0, 6},
				  {GROUP, 5, 2}, {MASK, 0, 5}, {OTHER, 0, 1}};
static const struct ent dfl[] = {{DFLT | UOBJ, 0, 7},  {DFLT | USER, 8, 5}, {DFLT | GOBJ, 0, 5},
				 {DFLT | GROUP, 9, 7}, {DFLT | MASK, 0, 6}, {DFLT | OTHER, 0, 0}};

START_TEST(a_mode_is_a_list_of_four)
{
	const struct ent want[] = {{UOBJ, 0, 6}, {GOBJ, 0, 4}, {MASK, 0, 4}, {OTHER, 0, 0}};
	expect(file, want, 4, NULL, 0);
	/* counts without entries */
	ck_assert_uint_eq(get(file, 2), 0);
	ck_assert_uint_eq(raw_u32(&r), 4);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(xdr_left(&r.in), 0);
}
END_TEST

START_TEST(what_was_set_is_read_back)
{
	ck_assert_uint_eq(set(file, 1, full, 7, NULL, 0), 0);
	expect(file, full, 7, NULL, 0);
	ck_assert_uint_eq(mode_of(file), 0641); /* the group's rw under the mask r-x: r */
	ck_assert_uint_eq(set(dir, 5, full, 7, dfl, 6), 0);
	expect(dir, full, 7, dfl, 6);
	/* one of both: the other stays */
	const struct ent few[] = {{UOBJ, 0, 7}, {GOBJ, 0, 7}, {MASK, 0, 7}, {OTHER, 0, 7}};
	ck_assert_uint_eq(set(dir, 1, few, 4, NULL, 0), 0);
	expect(dir, few, 4, dfl, 6);
	ck_assert_uint_eq(set(dir, 4, NULL, 0, NULL, 0), 0);
	expect(dir, few, 4, NULL, 0);
	ck_assert_uint_eq(mode_of(dir), 0777);
}
END_TEST

START_TEST(order_and_ids_that_mean_nothing)
{
	const struct ent mixed[] = {{OTHER, 9, 1}, {USER, 1000, 4}, {MASK, 3, 5 | 8}, {GROUP, 5, 2},
				    {GOBJ, 77, 6}, {USER, 7, 7},    {UOBJ, 88, 6}};
	ck_assert_uint_eq(set(file, 1, mixed, 7, NULL, 0), 0);
	expect(file, full, 7, NULL, 0);
}
END_TEST

START_TEST(an_empty_list_leaves_the_mode)
{
	ck_assert_uint_eq(set(file, 1, full, 7, NULL, 0), 0);
	ck_assert_uint_eq(set(file, 1, NULL, 0, NULL, 0), 0);
	const struct ent want[] = {{UOBJ, 0, 6}, {GOBJ, 0, 4}, {MASK, 0, 4}, {OTHER, 0, 1}};
	expect(file, want, 4, NULL, 0);
}
END_TEST

/* Each is garbage as a list, and is refused without a change. */
START_TEST(what_is_no_list_is_refused)
{
	static const struct {
		struct ent e[6];
		uint32_t n;
	} rows[] = {
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}}, 2},				     /* no other */
	    {{{UOBJ, 0, 6}, {OTHER, 0, 4}}, 2},				     /* no group */
	    {{{GOBJ, 0, 6}, {OTHER, 0, 4}}, 2},				     /* no owner */
	    {{{UOBJ, 0, 6}, {USER, 5, 4}, {GOBJ, 0, 4}, {OTHER, 0, 4}}, 4},  /* no mask */
	    {{{UOBJ, 0, 6}, {GROUP, 5, 4}, {GOBJ, 0, 4}, {OTHER, 0, 4}}, 4}, /* no mask */
	    {{{UOBJ, 0, 6}, {UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER, 0, 4}}, 4},  /* twice */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 6}, {GOBJ, 1, 4}, {OTHER, 0, 4}}, 4},  /* twice */
	    {{{UOBJ, 0, 6}, {USER, 5, 4}, {USER, 5, 1}, {GOBJ, 0, 4}, {MASK, 0, 4}, {OTHER, 0, 4}},
	     6},							  /* twice */
	    {{{UOBJ, 0, 8}, {GOBJ, 0, 4}, {OTHER, 0, 4}}, 3},		  /* no rights */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER, 0, 4}, {0, 0, 4}}, 4},  /* no tag */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER, 0, 4}, {64, 0, 4}}, 4}, /* no tag */
	    {{{UOBJ | GOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER, 0, 4}}, 3},	  /* two tags */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER | DFLT, 0, 4}}, 3},	  /* of the other list */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER | 0x2000, 0, 4}}, 3},	  /* no tag */
	    {{{UOBJ, 0, 6}, {GOBJ, 0, 4}, {OTHER | 0x10000, 0, 4}}, 3},	  /* no tag */
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct ent d[6];
		for (unsigned k = 0; k < 6; k++) {
			d[k] = rows[i].e[k];
			d[k].tag ^= DFLT;
		}
		ck_assert_msg(set(file, 1, rows[i].e, rows[i].n, NULL, 0) == NFS3ERR_INVAL,
			      "row %u", i);
		ck_assert_msg(set(dir, 4, NULL, 0, d, rows[i].n) == NFS3ERR_INVAL, "default row %u",
			      i);
	}
	ck_assert_uint_eq(set(file, 5, full, 7, dfl, 6), NFS3ERR_INVAL); /* of a file */
	ck_assert_uint_eq(set(file, 16, full, 7, NULL, 0), NFS3ERR_INVAL);
	ck_assert_uint_eq(get(file, 16), NFS3ERR_INVAL);
	const struct ent want[] = {{UOBJ, 0, 6}, {GOBJ, 0, 4}, {MASK, 0, 4}, {OTHER, 0, 0}};
	expect(file, want, 4, NULL, 0);
	/* a count that is not that of the entries */
	raw_begin(&r, ACL, 3, 2);
	xdr_put_opaque(&r.out, file, FH_SIZE);
	xdr_put_u32(&r.out, 1);
	put(full, 7);
	be32_put(r.out.p - 7 * 12 - 8, 8);
	put(NULL, 0);
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), NFS3ERR_INVAL);
}
END_TEST

START_TEST(garbage_is_refused)
{
	for (uint32_t proc = 1; proc < 3; proc++) {
		raw_begin(&r, ACL, 3, proc);
		ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
		raw_begin(&r, ACL, 3, proc);
		xdr_put_opaque(&r.out, file, FH_SIZE);
		ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
	}
	for (uint32_t n = 1; n < 6; n++) { /* cut off in a list */
		raw_begin(&r, ACL, 3, 2);
		xdr_put_opaque(&r.out, file, FH_SIZE);
		xdr_put_u32(&r.out, 5);
		put(full, 7);
		put(dfl, 6);
		r.out.p -= 17 * n;
		r.out.p -= (r.out.p - r.out.base) % 4;
		ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
	}
	raw_begin(&r, ACL, 3, 2); /* more than there may be */
	xdr_put_opaque(&r.out, file, FH_SIZE);
	xdr_put_u32(&r.out, 1);
	xdr_put_u32(&r.out, 1025);
	xdr_put_u32(&r.out, 1025);
	for (unsigned i = 0; i < 1025 * 3 + 2; i++)
		xdr_put_u32(&r.out, 1);
	ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
	raw_begin(&r, ACL, 3, 3);
	ck_assert_uint_eq(raw_end(&r), RPC_PROC_UNAVAIL);
	raw_begin(&r, ACL, 3, 0);
	ck_assert_uint_eq(raw_end(&r), RPC_SUCCESS);
	raw_begin(&r, ACL, 2, 1);
	ck_assert_uint_eq(raw_end(&r), RPC_PROG_MISMATCH);
	ck_assert_uint_eq(raw_u32(&r), 3);
	ck_assert_uint_eq(raw_u32(&r), 3);
}
END_TEST

/* As many as fit can be set and read; more are refused, however many. */
START_TEST(long_lists)
{
	static struct ent e[1024];
	uint32_t most = 0;
	for (uint32_t names = 40; names <= 1020; names += names < 100 ? 1 : 230) {
		uint32_t n = 0;
		e[n++] = (struct ent){UOBJ, 0, 7};
		for (uint32_t i = 0; i < names; i++)
			e[n++] = (struct ent){USER, 100 + i, i % 8};
		e[n++] = (struct ent){GOBJ, 0, 5};
		e[n++] = (struct ent){MASK, 0, 3};
		e[n++] = (struct ent){OTHER, 0, 0};
		uint32_t st = set(file, 1, e, n, NULL, 0);
		ck_assert_msg(st == 0 || st == NFS3ERR_NOSPC, "%u", st);
		ck_assert(st == 0 || names > most);
		if (st == 0) {
			ck_assert_uint_eq(most, names == 40 ? 0 : names - 1);
			expect(file, e, n, NULL, 0);
			most = names;
		}
	}
	ck_assert_uint_ge(most, 80);
}
END_TEST

START_TEST(handles_and_callers)
{
	uint8_t bad[FH_SIZE], ro[FH_SIZE], link[FH_SIZE];
	const uint8_t *p;
	uint32_t n;
	memcpy(bad, file, FH_SIZE);
	bad[24] ^= 1;
	ck_assert_uint_eq(get(bad, 15), NFS3ERR_BADHANDLE);
	ck_assert_uint_eq(set(bad, 1, full, 7, NULL, 0), NFS3ERR_BADHANDLE);
	memcpy(bad, file, FH_SIZE);
	bad[8] ^= 1;
	ck_assert_uint_eq(get(bad, 15), NFS3ERR_STALE);
	ck_assert_uint_eq(raw_mount(&r, "/ro", ro), 0);
	ck_assert_uint_eq(get(ro, 15), 0);
	ck_assert_uint_eq(set(ro, 1, full, 7, NULL, 0), NFS3ERR_ROFS);
	r.uid = 1001;
	ck_assert_uint_eq(set(file, 1, full, 7, NULL, 0), NFS3ERR_PERM);
	ck_assert_uint_eq(get(file, 15), 0);
	r.uid = 0;
	raw_begin(&r, 100003, 3, 10);
	xdr_put_opaque(&r.out, root, FH_SIZE);
	xdr_put_string(&r.out, "l");
	for (int i = 0; i < 6; i++)
		xdr_put_u32(&r.out, 0);
	xdr_put_string(&r.out, "f");
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 1);
	ck_assert(xdr_opaque(&r.in, 64, &p, &n) && n == FH_SIZE);
	memcpy(link, p, FH_SIZE);
	ck_assert_uint_eq(set(link, 1, full, 7, NULL, 0), NFS3ERR_NOTSUPP);
	raw_begin(&r, 100003, 3, 12);
	xdr_put_opaque(&r.out, root, FH_SIZE);
	xdr_put_string(&r.out, "f");
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(get(file, 15), NFS3ERR_STALE);
	ck_assert_uint_eq(set(file, 1, full, 7, NULL, 0), NFS3ERR_STALE);
}
END_TEST

static uint32_t access_of(uint32_t uid, uint32_t gid)
{
	const uint8_t *p;
	r.uid = uid;
	r.gid = gid;
	raw_begin(&r, 100003, 3, 4);
	xdr_put_opaque(&r.out, file, FH_SIZE);
	xdr_put_u32(&r.out, 63);
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 1);
	ck_assert(xdr_fixed(&r.in, 84, &p));
	r.uid = r.gid = 0;
	uint32_t bits = raw_u32(&r);
	return (bits & 1 ? 4 : 0) | (bits & 4 ? 2 : 0) | (bits & 32 ? 1 : 0);
}

START_TEST(lists_are_obeyed)
{
	ck_assert_uint_eq(set(file, 1, full, 7, NULL, 0), 0);
	ck_assert_uint_eq(access_of(7, 99), 5);	   /* rwx under r-x */
	ck_assert_uint_eq(access_of(1000, 99), 4); /* r */
	ck_assert_uint_eq(access_of(1000, 0), 4);  /* the name counts, not the group */
	ck_assert_uint_eq(access_of(50, 0), 4);	   /* rw under r-x */
	ck_assert_uint_eq(access_of(50, 5), 0);	   /* w under r-x, and not the others' x */
	ck_assert_uint_eq(access_of(50, 51), 1);   /* others */
}
END_TEST

/* A mode that is set later holds for all; the default goes on as it was. */
START_TEST(chmod_of_a_list)
{
	ck_assert_uint_eq(set(dir, 5, full, 7, dfl, 6), 0);
	raw_begin(&r, 100003, 3, 2);
	xdr_put_opaque(&r.out, dir, FH_SIZE);
	xdr_put_u32(&r.out, 1);
	xdr_put_u32(&r.out, 0740);
	for (int i = 0; i < 6; i++)
		xdr_put_u32(&r.out, 0);
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	const struct ent want[] = {{UOBJ, 0, 7},  {USER, 7, 4}, {USER, 1000, 4}, {GOBJ, 0, 4},
				   {GROUP, 5, 0}, {MASK, 0, 4}, {OTHER, 0, 0}};
	expect(dir, want, 7, dfl, 6);
}
END_TEST

/* What is made below takes the default, under the mode it was made with. */
START_TEST(defaults_are_passed_on)
{
	uint8_t made[FH_SIZE], sub[FH_SIZE];
	ck_assert_uint_eq(set(dir, 5, full, 7, dfl, 6), 0);
	ck_assert_uint_eq(raw_make(&r, dir, "x", false, 0777, made), 0);
	const struct ent want[] = {{UOBJ, 0, 7},  {USER, 8, 4}, {GOBJ, 0, 7},
				   {GROUP, 9, 6}, {MASK, 0, 7}, {OTHER, 0, 7}};
	expect(made, want, 6, NULL, 0);
	ck_assert_uint_eq(raw_make(&r, dir, "y", true, 0777, sub), 0);
	expect(sub, want, 6, dfl, 6);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl3");
	TCase *t = tcase_create("wire");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_mode_is_a_list_of_four);
	tcase_add_test(t, what_was_set_is_read_back);
	tcase_add_test(t, order_and_ids_that_mean_nothing);
	tcase_add_test(t, an_empty_list_leaves_the_mode);
	tcase_add_test(t, what_is_no_list_is_refused);
	tcase_add_test(t, garbage_is_refused);
	tcase_add_test(t, long_lists);
	tcase_add_test(t, handles_and_callers);
	tcase_add_test(t, lists_are_obeyed);
	tcase_add_test(t, chmod_of_a_list);
	tcase_add_test(t, defaults_are_passed_on);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
