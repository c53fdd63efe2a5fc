/* RQUOTA as bytes against the whole service: who may ask, what is answered, garbage. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

#define RQUOTA 100011

enum { OK = 1, NOQUOTA, EPERM_ };

struct rquota {
	uint32_t bsize, active, bhard, bsoft, bused, fhard, fsoft, fused;
	int32_t bleft, fleft;
};

static struct nas nas;
static struct raw r;

static void limits_step(struct nas *n)
{
	struct fs_quota_limits user = {.set_soft = {true, true},
				       .set_hard = {true, true},
				       .soft = {1 << 20, 1},
				       .hard = {2 << 20, 20}};
	struct fs_quota_limits group = {.set_hard = {true}, .hard = {1ull << 50}};
	ASSERT(fs_quota_set(n->fs, FS_QUOTA_USER, 1000, &user) == 0);
	ASSERT(fs_quota_set(n->fs, FS_QUOTA_GROUP, 50, &group) == 0);
}

static void udp_step(struct nas *n)
{
	ASSERT(rpc_server_listen_udp(n->server, "127.0.0.1", n->port) == 0);
}

static void up(void)
{
	uint8_t root[FH_SIZE], fh[FH_SIZE];
	nas_up(&nas);
	nas_run(&nas, limits_step);
	nas_run(&nas, udp_step);
	raw_open(&r, nas.port);
	ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
	r.uid = 1000;
	r.gid = 50;
	ck_assert_uint_eq(raw_make(&r, root, "a", false, 0600, fh), 0);
	ck_assert_uint_eq(raw_make(&r, root, "b", false, 0600, fh), 0);
}

static void down(void)
{
	raw_close(&r);
	nas_down(&nas);
}

static void begin(uint32_t vers, uint32_t proc, const char *path, uint32_t type, uint32_t id)
{
	raw_begin(&r, RQUOTA, vers, proc);
	if (proc > 2)
		xdr_put_u32(&r.out, 0x800);
	xdr_put_string(&r.out, path);
	if (vers == 2)
		xdr_put_u32(&r.out, type);
	xdr_put_u32(&r.out, id);
	for (int i = 0; i < 8 && proc > 2; i++)
		xdr_put_u32(&r.out, 1);
}

static uint32_t result(struct rquota *q)
{
	uint32_t st = raw_u32(&r);
	uint32_t *v = &q->bsize;
	for (int i = 0; i < 8 && st == OK; i++)
		v[i] = raw_u32(&r);
	if (st == OK) {
		q->bleft = (int32_t)raw_u32(&r);
		q->fleft = (int32_t)raw_u32(&r);
	}
	ck_assert_uint_eq(xdr_left(&r.in), 0);
	return st;
}

static uint32_t ask(uint32_t vers, uint32_t proc, const char *path, uint32_t type, uint32_t id,
		    struct rquota *q)
{
	struct rquota none;
	begin(vers, proc, path, type, id);
	ck_assert_uint_eq(raw_end(&r), 0);
	return result(q ? q : &none);
}

static void expect_user(const struct rquota *q)
{
	ck_assert_uint_eq(q->bsize, 1024);
	ck_assert_uint_eq(q->active, 1);
	ck_assert_uint_eq(q->bhard, 2048);
	ck_assert_uint_eq(q->bsoft, 1024);
	ck_assert_uint_eq(q->fhard, 20);
	ck_assert_uint_eq(q->fsoft, 1);
	ck_assert_uint_eq(q->fused, 2);
	ck_assert_int_eq(q->bleft, 0);
	ck_assert_int_gt(q->fleft, 7 * 86400 - 100); /* over the soft limit of files */
	ck_assert_int_le(q->fleft, 7 * 86400);
}

START_TEST(limits_and_use)
{
	struct rquota q;
	for (uint32_t vers = 1; vers <= 2; vers++)
		for (uint32_t proc = 1; proc <= 2; proc++) {
			ck_assert_uint_eq(ask(vers, proc, "/demo", 0, 1000, &q), OK);
			expect_user(&q);
			begin(vers, proc, "/demo/below/it", 0, 1000);
			ck_assert_uint_eq(raw_end_udp(&r), 0);
			ck_assert_uint_eq(result(&q), OK);
			expect_user(&q);
		}
	/* a limit that has more than 32 bits of KiB counts larger blocks */
	ck_assert_uint_eq(ask(2, 1, "/demo", 1, 50, &q), OK);
	ck_assert_uint_eq((uint64_t)q.bsize * q.bhard, 1ull << 50);
	ck_assert_uint_eq(q.fused, 2);
	ck_assert_uint_eq(q.bsoft + q.fsoft + q.fhard, 0);
}
END_TEST

START_TEST(without_limits)
{
	struct rquota q;
	r.uid = 0;
	ck_assert_uint_eq(ask(2, 1, "/demo", 0, 4242, &q), OK);
	ck_assert_uint_eq(q.active, 0);
	ck_assert_uint_eq(q.bhard + q.bsoft + q.fhard + q.fsoft + q.fused + q.bused, 0);
	ck_assert_uint_eq(ask(2, 2, "/demo", 0, 4242, NULL), NOQUOTA);
	ck_assert_uint_eq(ask(2, 1, "/nowhere", 0, 1000, NULL), EPERM_);
	ck_assert_uint_eq(ask(2, 1, "/demolition", 0, 1000, NULL), EPERM_);
	ck_assert_uint_eq(ask(2, 1, "", 0, 1000, NULL), EPERM_);
	ck_assert_uint_eq(ask(2, 1, "/demo", 2, 1000, NULL), NOQUOTA);
	ck_assert_uint_eq(ask(2, 1, "/demo", 0xffffffff, 1000, NULL), NOQUOTA);
}
END_TEST

START_TEST(who_may_ask)
{
	static const struct {
		const char *path;
		uint32_t uid, gid, type, id, want;
	} rows[] = {
	    {"/demo", 1000, 50, 0, 1000, OK},	    {"/demo", 1001, 50, 0, 1000, EPERM_},
	    {"/demo", 0, 0, 0, 1000, OK},	    {"/demo", 1000, 50, 1, 50, OK},
	    {"/demo", 1000, 51, 1, 50, EPERM_},	    {"/ro", 1000, 50, 0, 1000, OK},
	    {"/squash", 0, 0, 0, 1000, EPERM_},	    {"/squash", 1000, 50, 0, 1000, OK},
	    {"/all", 1000, 50, 0, 1000, EPERM_},    {"/all", 1000, 50, 0, 1234, OK},
	    {"/secret", 1000, 50, 0, 1000, EPERM_}, {"/secret", 0, 0, 0, 1000, EPERM_},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		r.uid = rows[i].uid;
		r.gid = rows[i].gid;
		ck_assert_msg(ask(2, 1, rows[i].path, rows[i].type, rows[i].id, NULL) ==
				  rows[i].want,
			      "row %u", i);
	}
	/* without credentials */
	begin(2, 1, "/demo", 0, 1000);
	uint8_t *cred = r.call + 4 + 24;
	size_t rest = (size_t)(r.out.p - cred - 40);
	memmove(cred + 16, cred + 40, rest);
	memset(cred, 0, 16);
	r.out.p -= 24;
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), EPERM_);
}
END_TEST

START_TEST(nobody_sets)
{
	r.uid = 0;
	for (uint32_t vers = 1; vers <= 2; vers++)
		for (uint32_t proc = 3; proc <= 4; proc++)
			ck_assert_uint_eq(ask(vers, proc, "/demo", 0, 1000, NULL), EPERM_);
}
END_TEST

START_TEST(garbage_is_refused)
{
	static char path[1026];
	memset(path, 'a', 1025);
	for (uint32_t vers = 1; vers <= 2; vers++)
		for (uint32_t proc = 1; proc <= 4; proc++) {
			for (uint32_t cut = 4; cut <= 12; cut += 4) {
				begin(vers, proc, "/demo", 0, 1000);
				r.out.p -= cut;
				ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
			}
			begin(vers, proc, path, 0, 1000);
			ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
			raw_begin(&r, RQUOTA, vers, proc);
			ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
		}
	begin(2, 1, "/de.mo", 0, 1000);
	memset(r.call + 4 + 64 + 4 + 3, 0, 1);
	ck_assert_uint_eq(raw_end(&r), RPC_GARBAGE_ARGS);
	raw_begin(&r, RQUOTA, 1, 0);
	ck_assert_uint_eq(raw_end(&r), RPC_SUCCESS);
	raw_begin(&r, RQUOTA, 2, 5);
	ck_assert_uint_eq(raw_end(&r), RPC_PROC_UNAVAIL);
	raw_begin(&r, RQUOTA, 3, 1);
	ck_assert_uint_eq(raw_end(&r), RPC_PROG_MISMATCH);
	ck_assert_uint_eq(raw_u32(&r), 1);
	ck_assert_uint_eq(raw_u32(&r), 2);
}
END_TEST

static void away_step(struct nas *n)
{
	ASSERT(fs_unmount(nfs_mount_take(n->nfs, NAS_FS_ID)) == 0);
}

START_TEST(while_it_is_not_mounted)
{
	nas_run(&nas, away_step);
	begin(2, 1, "/demo", 0, 1000);
	ck_assert_uint_eq(raw_end(&r), RPC_SYSTEM_ERR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rquota");
	TCase *t = tcase_create("wire");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, limits_and_use);
	tcase_add_test(t, without_limits);
	tcase_add_test(t, who_may_ask);
	tcase_add_test(t, nobody_sets);
	tcase_add_test(t, garbage_is_refused);
	tcase_add_test(t, while_it_is_not_mounted);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
