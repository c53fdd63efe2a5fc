/*
 * Owners by name: told and understood as name@domain, in attributes, directories and lists; numbers
 * beside them; names nobody has; a host that is slow, or cannot say.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define OWNER (1u << (FATTR4_OWNER - 32))
#define GROUP (1u << (FATTR4_OWNER_GROUP - 32))
#define MODE  (1u << (FATTR4_MODE - 32))

static struct nas nas;
static struct v4 a, b;
static struct v4_fh demo, fh;
static _Atomic int lookups, slow_ms, answer; /* answer: 0 or an error */

static const struct {
	uint32_t id;
	const char *user, *group;
} known[] = {
    {0, "root", "wheel"}, {1001, "alice", "staff"}, {1002, "Bob-2", "a.b"}, {1003, "c@d", ""}};

static int fake_find(void *arg, const struct host_key *k, struct host_answer **ret)
{
	lookups++;
	usleep((useconds_t)slow_ms * 1000);
	if (answer)
		return answer;
	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		bool user = k->kind == NAMES_USER_OF_ID || k->kind == NAMES_USER_OF_NAME;
		bool by_id = k->kind == NAMES_USER_OF_ID || k->kind == NAMES_GROUP_OF_ID;
		const char *name = user ? known[i].user : known[i].group;
		if (by_id ? k->id == known[i].id
			  : k->len == strlen(name) && memcmp(k->name, name, k->len) == 0) {
			*ret = &name_new(known[i].id, name)->answer;
			return 0;
		}
	}
	return -ENOENT;
}

static void up(uint64_t negative_ns)
{
	static struct names_opts o;
	struct v4_stateid s;
	o = (struct names_opts){
	    .find = fake_find, .domain = "example.org", .negative_ns = negative_ns};
	lookups = slow_ms = answer = 0;
	nas_up(&nas);
	nas.names_want = &o;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&a, "first");
	v4_client(&b, "second");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

/* ---- attributes ---- */

/* fattr4 of owner and group; NULL: without. */
static void put_owners(struct v4 *c, const char *user, const char *group)
{
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, (user ? OWNER : 0) | (group ? GROUP : 0));
	uint8_t *len = xdr_take(&c->x, 4);
	if (user)
		xdr_put_string(&c->x, user);
	if (group)
		xdr_put_string(&c->x, group);
	be32_put(len, (uint32_t)(c->x.p - len - 4));
}

static uint32_t set(struct v4 *c, const char *user, const char *group)
{
	static const struct v4_stateid none;
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_SETATTR);
	v4_stateid(c, &none);
	put_owners(c, user, group);
	return v4_send(c);
}

static void expect_text(struct v4 *c, const char *want)
{
	const uint8_t *p;
	uint32_t len = v4_opaque(c, &p);
	ck_assert_msg(len == strlen(want) && memcmp(p, want, len) == 0, "%.*s in place of %s",
		      (int)len, (const char *)p, want);
}

/* Owner and group of f, by GETATTR; the same are said to be the same. */
static void expect(struct v4 *c, const char *user, const char *group)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, OWNER | GROUP);
	v4_op(c, OP_VERIFY);
	put_owners(c, user, group);
	ck_assert_uint_eq(v4_send(c), 0);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	v4_take(c, (uint8_t[16]){0}, 16); /* bitmap of two words, length */
	expect_text(c, user);
	expect_text(c, group);
}

static struct fs_fid top_of(struct nas *n)
{
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	return top;
}

static struct fs_attr seen;

static void look_step(struct nas *n)
{
	struct fs_fid root = top_of(n);
	ck_assert_int_eq(fs_lookup(n->fs, &(struct fs_cred){0}, &root, "f", 1, &seen, NULL), 0);
}

static void expect_numbers(uint32_t uid, uint32_t gid)
{
	nas_run(&nas, look_step);
	ck_assert_uint_eq(seen.uid, uid);
	ck_assert_uint_eq(seen.gid, gid);
}

START_TEST(owners_have_names)
{
	up(0);
	ck_assert_uint_eq(set(&a, "1001", "1002"), 0);
	expect(&a, "alice@example.org", "a.b@example.org");
	ck_assert_int_eq(lookups, 2);
	expect(&b, "alice@example.org", "a.b@example.org");
	ck_assert_int_eq(lookups, 2);
	/* Nobody's number, and a name that could not come back. */
	ck_assert_uint_eq(set(&a, "77", "4294967295"), 0);
	expect(&a, "77", "4294967295");
	ck_assert_uint_eq(set(&a, "1003", "1003"), 0);
	expect(&a, "1003", "1003");
	expect_numbers(1003, 1003);
	down();
}
END_TEST

START_TEST(owners_are_set_by_name)
{
	static const char *const nobody[] = {"alice@example.com",
					     "alice@example.org.",
					     "alice@xexample.org",
					     "alice@",
					     "alice",
					     "",
					     "@",
					     "@example.org",
					     "example.org",
					     "alice@example.org@example.org",
					     "zoe@example.org",
					     "Alice@example.org",
					     "wheel@example.org",
					     "01",
					     "1 ",
					     "-1",
					     "4294967296",
					     "c@d@example.org"};
	up(0);
	ck_assert_uint_eq(set(&a, "Bob-2@example.org", "staff@EXAMPLE.Org"), 0);
	expect_numbers(1002, 1001);
	expect(&b, "Bob-2@example.org", "staff@example.org");
	ck_assert_uint_eq(set(&a, "alice@example.org", NULL), 0);
	expect_numbers(1001, 1001);
	for (unsigned i = 0; i < ARRAY_LEN(nobody); i++)
		ck_assert_msg(set(&a, nobody[i], NULL) == NFS4ERR_BADOWNER, "%s", nobody[i]);
	ck_assert_uint_eq(set(&a, NULL, "alice@example.org"), NFS4ERR_BADOWNER);
	char *longest = calloc(1, 1025);
	memset(longest, 'x', 1024);
	ck_assert_uint_eq(set(&a, longest, NULL), NFS4ERR_BADOWNER);
	memcpy(longest + 1024 - 12, "@example.org", 12);
	ck_assert_uint_eq(set(&a, longest, NULL), NFS4ERR_BADOWNER);
	free(longest);
	expect_numbers(1001, 1001);
	/* Who may not give a file away may not by name either. */
	b.uid = 1002;
	ck_assert_uint_eq(set(&b, "Bob-2@example.org", NULL), NFS4ERR_PERM);
	down();
}
END_TEST

/* A zero inside would end the name for the host. */
START_TEST(a_zero_is_in_no_name)
{
	static const struct v4_stateid none;
	up(0);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &none);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OWNER);
	xdr_put_u32(&a.x, 4 + 20);
	xdr_put_opaque(&a.x, "root\0xx@example.org", 19);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADOWNER);
	down();
}
END_TEST

START_TEST(made_with_names)
{
	up(0);
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, FS_DIR);
	xdr_put_string(&a.x, "d");
	put_owners(&a, "alice@example.org", "staff@example.org");
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OWNER | GROUP);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_CREATE);
	v4_take(&a, (uint8_t[32]){0}, 20 + 12); /* change_info4, bitmap of two words */
	v4_res(&a, OP_GETATTR);
	v4_take(&a, (uint8_t[16]){0}, 16);
	expect_text(&a, "alice@example.org");
	expect_text(&a, "staff@example.org");
	/* Nobody's: nothing is made. */
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, FS_DIR);
	xdr_put_string(&a.x, "e");
	put_owners(&a, "zoe@example.org", NULL);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADOWNER);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/e", &fh), NFS4ERR_NOENT);
	down();
}
END_TEST

/* ---- directories ---- */

static void make_step(struct nas *n)
{
	struct fs_fid root = top_of(n);
	struct fs_attr at;
	struct fs_wcc w;
	char name[16];
	for (uint32_t i = 0; i < 100; i++) {
		struct fs_setattr s = {.which = FS_SET_UID | FS_SET_GID,
				       .uid = i % 3 ? 1001 + i % 2 : 5000 + i,
				       .gid = 1001 + i % 2};
		snprintf(name, sizeof(name), "n%03u", i);
		ck_assert_int_eq(fs_create(n->fs, &(struct fs_cred){0}, &root, name, 4,
					   FS_CREATE_GUARDED, &s, 0, &at, &w),
				 0);
	}
}

/* Where the export /sub begins. */
static void below_step(struct nas *n)
{
	static const struct fs_setattr none;
	static const struct fs_cred cred;
	struct fs_fid at = top_of(n);
	struct fs_attr a1;
	ck_assert_int_eq(fs_mkdir(n->fs, &cred, &at, "dir", 3, &none, &a1, NULL), 0);
	at = (struct fs_fid){.ino = a1.ino, .generation = a1.generation};
	ck_assert_int_eq(fs_mkdir(n->fs, &cred, &at, "below", 5, &none, &a1, NULL), 0);
}

/* One READDIR of everything; how many entries had the owner they should have. */
static unsigned read_owners(struct v4 *c, bool named)
{
	unsigned n = 0, i;
	const uint8_t *p;
	char want[32];
	v4_seq(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_READDIR);
	xdr_put_u64(&c->x, 0);
	xdr_put_u64(&c->x, 0);
	xdr_put_u32(&c->x, 32768);
	xdr_put_u32(&c->x, 32768);
	xdr_put_u32(&c->x, 2);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, OWNER | GROUP);
	ck_assert_uint_eq(v4_send(c), 0);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_READDIR);
	v4_u64(c);
	while (v4_u32(c)) {
		v4_u64(c);
		uint32_t len = v4_opaque(c, &p);
		bool ours = len == 4 && sscanf((const char *)p, "n%03u", &i) == 1;
		v4_take(c, (uint8_t[16]){0}, 16);
		if (!ours) { /* f */
			v4_opaque(c, &p);
			v4_opaque(c, &p);
			continue;
		}
		if (i % 3 && named)
			expect_text(c, i % 2 ? "Bob-2@example.org" : "alice@example.org");
		else {
			snprintf(want, sizeof(want), "%u", i % 3 ? 1001 + i % 2 : 5000 + i);
			expect_text(c, want);
		}
		if (named)
			expect_text(c, i % 2 ? "a.b@example.org" : "staff@example.org");
		else
			v4_opaque(c, &p);
		n++;
	}
	ck_assert_uint_eq(v4_u32(c), 1); /* the end */
	return n;
}

START_TEST(directories_have_names)
{
	up(0);
	nas_run(&nas, make_step);
	ck_assert_uint_eq(read_owners(&a, true), 100);
	/* Each user and group once: 2 + 34 users of entries, 2 groups, f's two. */
	ck_assert_int_le(lookups, 40);
	int before = lookups;
	ck_assert_uint_eq(read_owners(&b, true), 100);
	ck_assert_int_eq(lookups, before);
	nas_run(&nas, below_step);
	/* The root of all exports: a pseudo directory, and what is mounted there. */
	v4_seq(&a);
	v4_root(&a);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OWNER | GROUP);
	v4_op(&a, OP_READDIR);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 8192);
	xdr_put_u32(&a.x, 8192);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OWNER | GROUP);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTROOTFH);
	v4_res(&a, OP_GETATTR);
	v4_take(&a, (uint8_t[16]){0}, 16);
	expect_text(&a, "root@example.org");
	expect_text(&a, "wheel@example.org");
	v4_res(&a, OP_READDIR);
	v4_u64(&a);
	unsigned n = 0;
	const uint8_t *p;
	for (; v4_u32(&a); n++) {
		v4_u64(&a);
		v4_opaque(&a, &p);
		v4_take(&a, (uint8_t[16]){0}, 16);
		expect_text(&a, "root@example.org");
		expect_text(&a, "wheel@example.org");
	}
	ck_assert_uint_ge(n, 3);
	down();
}
END_TEST

/* ---- lists ---- */

static void put_acl(struct v4 *c, const char *user, const char *group)
{
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 1u << FATTR4_ACL);
	uint8_t *len = xdr_take(&c->x, 4);
	xdr_put_u32(&c->x, 2);
	for (int i = 0; i < 2; i++) {
		xdr_put_u32(&c->x, 0);
		xdr_put_u32(&c->x, i ? 0x40 : 0);
		xdr_put_u32(&c->x, 1);
		xdr_put_string(&c->x, i ? group : user);
	}
	be32_put(len, (uint32_t)(c->x.p - len - 4));
}

static uint32_t set_acl(const char *user, const char *group)
{
	static const struct v4_stateid none;
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &none);
	put_acl(&a, user, group);
	return v4_send(&a);
}

START_TEST(lists_have_names)
{
	up(0);
	ck_assert_uint_eq(set_acl("alice@example.org", "a.b@example.org"), 0);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_VERIFY);
	put_acl(&a, "alice@example.org", "a.b@example.org");
	v4_op(&a, OP_NVERIFY);
	put_acl(&a, "1001", "1002");
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(set_acl("1001", "88"), 0);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_VERIFY);
	put_acl(&a, "alice@example.org", "88");
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(set_acl("alice@example.org", "alice@example.org"), NFS4ERR_BADOWNER);
	ck_assert_uint_eq(set_acl("staff@example.org", "staff@example.org"), NFS4ERR_BADOWNER);
	answer = -EIO;
	ck_assert_uint_eq(set_acl("Bob-2@example.org", "1"), NFS4ERR_DELAY);
	down();
}
END_TEST

/* ---- a host in trouble ---- */

START_TEST(a_host_that_cannot_say)
{
	up(200 * NS_PER_MS);
	nas_run(&nas, make_step);
	answer = -EIO;
	ck_assert_uint_eq(set(&a, "alice@example.org", NULL), NFS4ERR_DELAY);
	ck_assert_uint_eq(set(&a, "1001", "1001"), 0);
	expect(&a, "1001", "1001"); /* told by number until it can */
	answer = 0;
	usleep(300 * 1000);
	expect(&a, "alice@example.org", "staff@example.org");
	ck_assert_uint_eq(set(&a, "Bob-2@example.org", NULL), 0);
	expect_numbers(1002, 1001);
	down();
}
END_TEST

START_TEST(a_directory_of_a_host_that_cannot_say)
{
	up(0);
	nas_run(&nas, make_step);
	answer = -EIO;
	ck_assert_uint_eq(read_owners(&a, false), 100);
	down();
}
END_TEST

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* While one waits for a name others are served. */
START_TEST(nobody_else_waits)
{
	up(0);
	slow_ms = 1500;
	uint64_t t0 = now_ms();
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, OWNER);
	v4_put(&a);
	for (int i = 0; i < 20; i++) {
		v4_seq(&b);
		v4_putfh(&b, &fh);
		v4_op(&b, OP_GETATTR);
		xdr_put_u32(&b.x, 2);
		xdr_put_u32(&b.x, 0);
		xdr_put_u32(&b.x, MODE);
		ck_assert_uint_eq(v4_send(&b), 0);
	}
	uint64_t t1 = now_ms();
	ck_assert_uint_eq(v4_get(&a), 0);
	ck_assert_uint_ge(now_ms() - t0, 1500);
	ck_assert_uint_lt(t1 - t0, 1400);
	v4_res(&a, OP_SEQUENCE);
	v4_take(&a, (uint8_t[36]){0}, 36);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_GETATTR);
	v4_take(&a, (uint8_t[16]){0}, 16);
	expect_text(&a, "root@example.org");
	down();
}
END_TEST

/* The real thing: every host has root. */
static void host_step(struct nas *n)
{
	struct names_opts o = {.reactor = n->reactor, .env = env_real(), .domain = "d"};
	struct names *names;
	struct name *name;
	uint32_t id = 1;
	ck_assert_int_eq(names_new(&names, &o), 0);
	ck_assert_int_eq(names_of_id(names, false, 0, false, &name), -EAGAIN);
	ck_assert_int_eq(names_of_id(names, false, 0, true, &name), 0);
	ck_assert_str_eq(name->text, "root");
	name_put(name);
	ck_assert_int_eq(names_of_id(names, true, 0, true, &name), 0);
	ck_assert_str_eq(name->text, "root");
	name_put(name);
	ck_assert_int_eq(names_to_id(names, false, "root@D", 6, &id), 0);
	ck_assert_uint_eq(id, 0);
	ck_assert_int_eq(names_to_id(names, true, "root@d", 6, &id), 0);
	ck_assert_int_eq(names_to_id(names, false, "nobody-of-that-name@d", 21, &id), -ENOENT);
	ck_assert_int_eq(names_of_id(names, true, 3999999999u, true, &name), -ENOENT);
	names_free(names);
	o.domain = "";
	ck_assert_int_eq(names_new(&names, &o), -EINVAL);
}

START_TEST(the_host_is_asked)
{
	up(0);
	nas_run(&nas, host_step);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_names");
	TCase *t = tcase_create("names");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, owners_have_names);
	tcase_add_test(t, owners_are_set_by_name);
	tcase_add_test(t, a_zero_is_in_no_name);
	tcase_add_test(t, made_with_names);
	tcase_add_test(t, directories_have_names);
	tcase_add_test(t, lists_have_names);
	tcase_add_test(t, a_host_that_cannot_say);
	tcase_add_test(t, a_directory_of_a_host_that_cannot_say);
	tcase_add_test(t, nobody_else_waits);
	tcase_add_test(t, the_host_is_asked);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
