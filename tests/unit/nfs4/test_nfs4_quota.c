/* What quotas leave a file, as attributes: of its owner, its group, its tree; soft limits, their
 * end. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define HARD	    (1u << (FATTR4_QUOTA_AVAIL_HARD - 32))
#define SOFT	    (1u << (FATTR4_QUOTA_AVAIL_SOFT - 32))
#define USED	    (1u << (FATTR4_QUOTA_USED - 32))
#define SPACE_AVAIL (1u << (FATTR4_SPACE_AVAIL - 32))
#define KIB	    1024ull
#define DQUOT	    69 /* NFS4ERR_DQUOT */
#define OWNER	    1001
#define GROUP	    2002

struct room {
	uint64_t hard, soft, used, space;
};

static struct nas nas;
static struct v4 a, b;
static struct v4_fh demo, fh;
static struct v4_stateid opened;

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_client(&a, "user");
	a.uid = OWNER;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

static void down(void)
{
	v4_close(&a);
	nas_down(&nas);
}

static void open_in(const struct v4_fh *dir, const char *name)
{
	ck_assert_uint_eq(v4_open_file(&a, dir, name, "o", 3, 0, 1, &opened, &fh), 0);
}

/* Blocks of the file from `kib` on. */
static uint32_t fill(uint64_t kib, uint32_t n_kib)
{
	uint8_t *data = calloc(n_kib, KIB);
	uint32_t st = v4_write(&a, &fh, &opened, kib * KIB, data, (uint32_t)(n_kib * KIB), 2);
	free(data);
	return st;
}

static struct room room_of(struct v4 *c, const struct v4_fh *of)
{
	struct room r;
	v4_seq(c);
	v4_putfh(c, of);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, HARD | SOFT | USED | SPACE_AVAIL);
	ck_assert_uint_eq(v4_send(c), 0);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	ck_assert_uint_eq(v4_u32(c), 2);
	ck_assert_uint_eq(v4_u32(c), 0);
	ck_assert_uint_eq(v4_u32(c), HARD | SOFT | USED | SPACE_AVAIL);
	ck_assert_uint_eq(v4_u32(c), 32);
	r.hard = v4_u64(c);
	r.soft = v4_u64(c);
	r.used = v4_u64(c);
	r.space = v4_u64(c);
	return r;
}

static void expect(uint64_t hard_kib, uint64_t soft_kib, uint64_t used_kib)
{
	struct room r = room_of(&a, &fh);
	ck_assert_uint_eq(r.hard, hard_kib * KIB);
	ck_assert_uint_eq(r.soft, soft_kib * KIB);
	ck_assert_uint_eq(r.used, used_kib * KIB);
}

/* ---- limits ---- */

static struct {
	enum fs_quota_kind kind;
	uint32_t id;
	uint64_t soft, hard, grace;
} want;

static void limit_step(struct nas *n)
{
	struct fs_quota_limits l = {.set_soft = {true}, .set_hard = {true}};
	uint64_t grace[FS_QUOTA_UNITS] = {want.grace, want.grace};
	l.soft[FS_QUOTA_BYTES] = want.soft * KIB;
	l.hard[FS_QUOTA_BYTES] = want.hard * KIB;
	ck_assert_int_eq(fs_quota_set(n->fs, want.kind, want.id, &l), 0);
	if (want.grace)
		ck_assert_int_eq(fs_quota_grace_set(n->fs, want.kind, grace), 0);
}

static void limit(enum fs_quota_kind kind, uint32_t id, uint64_t soft_kib, uint64_t hard_kib,
		  uint64_t grace)
{
	want.kind = kind;
	want.id = id;
	want.soft = soft_kib;
	want.hard = hard_kib;
	want.grace = grace;
	nas_run(&nas, limit_step);
}

static void own_step(struct nas *n)
{
	const struct fs_setattr set = {.which = FS_SET_GID, .gid = GROUP};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(fs_lookup(n->fs, &(struct fs_cred){0}, &top, "f", 1, &at, NULL), 0);
	struct fs_fid f = {.ino = at.ino, .generation = at.generation};
	ck_assert_int_eq(fs_setattr(n->fs, &(struct fs_cred){0}, &f, &set, NULL, NULL), 0);
}

static void tree_step(struct nas *n)
{
	const struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0777};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(fs_mkdir(n->fs, &(struct fs_cred){0}, &top, "tree", 4, &set, &at, NULL),
			 0);
	struct fs_fid f = {.ino = at.ino, .generation = at.generation};
	ck_assert_int_eq(fs_quota_tree(n->fs, &f, "/tree", &want.id), 0);
}

/* ---- tests ---- */

START_TEST(without_limits_the_file_system_counts)
{
	up();
	open_in(&demo, "f");
	ck_assert_uint_eq(fill(0, 64), 0);
	struct room r = room_of(&a, &fh);
	ck_assert_uint_eq(r.hard, r.space);
	ck_assert_uint_eq(r.soft, r.space);
	ck_assert_uint_eq(r.used, 64 * KIB);
	down();
}
END_TEST

START_TEST(the_least_of_owner_and_group)
{
	up();
	open_in(&demo, "f");
	nas_run(&nas, own_step);
	ck_assert_uint_eq(fill(0, 64), 0);
	limit(FS_QUOTA_USER, OWNER, 256, 512, 0);
	expect(512 - 64, 256 - 64, 64);
	limit(FS_QUOTA_GROUP, GROUP, 0, 128, 0);
	expect(128 - 64, 128 - 64, 64);
	/* Another file of the owner, in another group, counts as well. */
	open_in(&demo, "g");
	ck_assert_uint_eq(fill(0, 32), 0);
	expect(512 - 96, 256 - 96, 96);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	expect(128 - 64, 128 - 64, 64);
	/* VERIFY agrees. */
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_VERIFY);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, HARD);
	xdr_put_u32(&a.x, 8);
	xdr_put_u64(&a.x, 64 * KIB);
	ck_assert_uint_eq(v4_send(&a), 0);
	down();
}
END_TEST

START_TEST(up_to_the_hard_limit_and_no_more)
{
	up();
	limit(FS_QUOTA_USER, OWNER, 64, 128, 0);
	open_in(&demo, "f");
	ck_assert_uint_eq(fill(0, 96), 0);
	expect(32, 0, 96);
	ck_assert_uint_eq(fill(96, 32), 0);
	expect(0, 0, 128);
	ck_assert_uint_eq(fill(128, 32), DQUOT);
	expect(0, 0, 128);
	/* Lowered below what is used. */
	limit(FS_QUOTA_USER, OWNER, 0, 64, 0);
	expect(0, 0, 128);
	down();
}
END_TEST

START_TEST(a_soft_limit_holds_when_its_time_is_over)
{
	up();
	limit(FS_QUOTA_USER, OWNER, 64, 0, 1);
	open_in(&demo, "f");
	struct room r = room_of(&a, &fh);
	ck_assert_uint_eq(r.hard, r.space);
	ck_assert_uint_eq(r.soft, 64 * KIB);
	ck_assert_uint_eq(fill(0, 96), 0);
	r = room_of(&a, &fh);
	ck_assert_uint_eq(r.soft, 0);
	ck_assert_uint_eq(r.hard, r.space);
	sleep(2);
	expect(0, 0, 96);
	ck_assert_uint_eq(fill(96, 32), DQUOT);
	down();
}
END_TEST

START_TEST(in_a_tree_its_limit_counts)
{
	struct v4_fh tree;
	up();
	nas_run(&nas, tree_step);
	limit(FS_QUOTA_TREE, want.id, 0, 256, 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/tree", &tree), 0);
	open_in(&tree, "f");
	struct room before = room_of(&a, &fh); /* the directory's block */
	ck_assert_uint_eq(before.used, 4 * KIB);
	ck_assert_uint_eq(fill(0, 64), 0);
	struct room r = room_of(&a, &fh);
	ck_assert_uint_eq(r.used, before.used + 64 * KIB);
	ck_assert_uint_eq(r.hard, 256 * KIB - r.used);
	ck_assert_uint_eq(r.soft, r.hard);
	/* Beside it no limit does. */
	open_in(&demo, "f");
	r = room_of(&a, &fh);
	ck_assert_uint_eq(r.hard, r.space);
	ck_assert_uint_eq(r.used, 64 * KIB); /* the owner's */
	down();
}
END_TEST

/* Pseudo directories have none; version 4.0 has them too; READDIR leaves them out. */
START_TEST(where_they_are)
{
	const uint8_t *p;
	up();
	open_in(&demo, "f");
	ck_assert_uint_eq(fill(0, 64), 0);
	v4_open(&b, nas.port);
	v4_client0(&b, "old");
	ck_assert_uint_eq(room_of(&b, &fh).used, 64 * KIB);
	v4_close(&b);
	v4_seq(&a);
	v4_root(&a);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 1u << FATTR4_TYPE);
	xdr_put_u32(&a.x, HARD);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_READDIR);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 8192);
	xdr_put_u32(&a.x, 8192);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 1u << FATTR4_TYPE);
	xdr_put_u32(&a.x, USED);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTROOTFH);
	v4_res(&a, OP_GETATTR);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), 1u << FATTR4_TYPE);
	ck_assert_uint_eq(v4_u32(&a), 4);
	ck_assert_uint_eq(v4_u32(&a), FS_DIR);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_READDIR);
	v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 1);
	v4_u64(&a);
	v4_opaque(&a, &p);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), 1u << FATTR4_TYPE);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_quota");
	TCase *t = tcase_create("quota");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, without_limits_the_file_system_counts);
	tcase_add_test(t, the_least_of_owner_and_group);
	tcase_add_test(t, up_to_the_hard_limit_and_no_more);
	tcase_add_test(t, a_soft_limit_holds_when_its_time_is_over);
	tcase_add_test(t, in_a_tree_its_limit_counts);
	tcase_add_test(t, where_they_are);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
