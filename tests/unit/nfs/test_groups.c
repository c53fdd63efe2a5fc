/*
 * Groups that the server finds: callers in more of them than a call can carry, through NFSv3; the
 * cache: one look-up for all who wait, times to live, users not known, errors, bounds.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <nfsc/libnfs.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/task.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define MANY 40

static struct nas nas;
static _Atomic int lookups, slow_ms, answer; /* answer: 0 or an error */

/* uid 1000 is in groups 500 ... 539 and in 0, downwards; 2000 and those from a million on are not
 * known; 3000 fails. */
static int fake_find(void *arg, const struct host_key *k, struct host_answer **ret)
{
	uint32_t gids[MANY + 1] = {0};
	lookups++;
	usleep((useconds_t)slow_ms * 1000);
	if (answer)
		return answer;
	if (k->id == 2000 || k->id >= 1000000)
		return -ENOENT;
	if (k->id == 3000)
		return -EIO;
	for (uint32_t i = 0; i < MANY; i++)
		gids[i] = 500 + MANY - 1 - i;
	*ret = &group_list_new(gids, MANY + 1)->answer;
	return 0;
}

static void up(uint64_t ttl_ns)
{
	static struct groups_opts o;
	o = (struct groups_opts){.find = fake_find, .ttl_ns = ttl_ns, .users = 8};
	lookups = slow_ms = answer = 0;
	nas_up_groups(&nas, &o);
}

/* ---- over the wire ---- */

static struct nfs_context *mount_as(const char *path, int uid)
{
	char url[256];
	struct nfs_context *c = nfs_init_context();
	snprintf(url, sizeof(url),
		 "nfs://127.0.0.1%s?version=3&nfsport=%u&mountport=%u&uid=%d&gid=%d", path,
		 nas.port, nas.port, uid, uid);
	struct nfs_url *u = nfs_parse_url_dir(c, url);
	ck_assert_ptr_nonnull(u);
	nfs_set_timeout(c, 20000);
	ck_assert_msg(nfs_mount(c, u->server, u->path) == 0, "%s", nfs_get_error(c));
	nfs_destroy_url(u);
	return c;
}

/* A file of root for each group, that its members may read. */
static void files_of_groups(void)
{
	struct nfs_context *c = mount_as("/demo", 0);
	for (int gid = 499; gid <= 500 + MANY; gid++) {
		char path[32];
		struct nfsfh *fh;
		snprintf(path, sizeof(path), "/g%d", gid);
		ck_assert_int_eq(nfs_create(c, path, O_RDWR, 0640, &fh), 0);
		ck_assert_int_eq(nfs_close(c, fh), 0);
		ck_assert_int_eq(nfs_chown(c, path, 0, gid), 0);
	}
	nfs_destroy_context(c);
}

static int can_read(struct nfs_context *c, int gid)
{
	char path[32], buf[4];
	struct nfsfh *fh;
	snprintf(path, sizeof(path), "/g%d", gid);
	int rc = nfs_open2(c, path, O_RDONLY, 0, &fh); /* nfs_open() is ours */
	if (rc)
		return rc;
	rc = nfs_read(c, fh, sizeof(buf), buf);
	nfs_close(c, fh);
	return rc;
}

START_TEST(a_caller_in_forty_groups)
{
	up(0);
	files_of_groups();
	ck_assert_int_eq(lookups, 0); /* root may all: nothing is looked up */
	struct nfs_context *c = mount_as("/demo", 1000);
	for (int gid = 500; gid < 500 + MANY; gid++)
		ck_assert_int_eq(can_read(c, gid), 0);
	ck_assert_int_eq(can_read(c, 499), -EACCES);
	ck_assert_int_eq(can_read(c, 500 + MANY), -EACCES);
	ck_assert_int_eq(nfs_access(c, "/g539", R_OK), 0);
	ck_assert_int_ne(nfs_access(c, "/g540", R_OK), 0);
	ck_assert_int_eq(lookups, 1);
	nfs_destroy_context(c);
	/* Not known: in no group here, but served. */
	c = mount_as("/demo", 2000);
	struct nfs_stat_64 st;
	ck_assert_int_eq(nfs_stat64(c, "/g500", &st), 0);
	ck_assert_int_eq(can_read(c, 500), -EACCES);
	ck_assert_int_eq(lookups, 2);
	nfs_destroy_context(c);
	/* Squashed: nobody's groups. */
	c = mount_as("/all", 1000);
	ck_assert_int_eq(can_read(c, 500), -EACCES);
	ck_assert_int_eq(lookups, 2);
	nfs_destroy_context(c);
	nas_down(&nas);
}
END_TEST

START_TEST(group_0_is_squashed_with_root)
{
	up(0);
	struct nfs_context *c = mount_as("/demo", 0);
	struct nfsfh *fh;
	ck_assert_int_eq(nfs_create(c, "/g0", O_RDWR, 0640, &fh), 0);
	ck_assert_int_eq(nfs_close(c, fh), 0);
	nfs_destroy_context(c);
	c = mount_as("/demo", 1000);
	ck_assert_int_eq(can_read(c, 0), 0);
	nfs_destroy_context(c);
	c = mount_as("/squash", 1000);
	ck_assert_int_eq(can_read(c, 0), -EACCES);
	nfs_destroy_context(c);
	nas_down(&nas);
}
END_TEST

START_TEST(version_4_finds_them_too)
{
	struct v4 c;
	struct v4_fh demo, fh;
	struct v4_stateid st;
	up(0);
	files_of_groups();
	nas_serve4(&nas);
	v4_open(&c, nas.port);
	v4_client(&c, "a caller");
	c.uid = 1000;
	ck_assert_uint_eq(v4_lookup(&c, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&c, &demo, "g539", "o", 1, 0, 0, &st, &fh), 0);
	ck_assert_uint_eq(v4_open_file(&c, &demo, "g540", "o", 1, 0, 0, &st, &fh), NFS4ERR_ACCESS);
	ck_assert_int_eq(lookups, 1);
	v4_close(&c);
	nas_down(&nas);
}
END_TEST

/* ---- the cache ---- */

static int got[20];
static int waiting;

static void get_task(void *arg)
{
	struct group_list *l = NULL;
	int *to = arg;
	*to = groups_get(nas.groups, 1000, &l);
	if (!*to)
		ck_assert_uint_eq(l->count, MANY + 1);
	group_list_put(l);
	waiting--;
}

static void crowd_step(struct nas *n)
{
	slow_ms = 50;
	waiting = 20;
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(task_start(get_task, &got[i]), 0);
	while (waiting)
		env_sleep_ns(env_real(), NS_PER_MS);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(got[i], 0);
	ck_assert_int_eq(lookups, 1);
}

START_TEST(all_wait_for_one_look_up)
{
	up(0);
	nas_run(&nas, crowd_step);
	nas_down(&nas);
}
END_TEST

static void ttl_step(struct nas *n)
{
	struct group_list *l = NULL, *kept;
	ck_assert_int_eq(groups_try(n->groups, 1000, &l), -EAGAIN);
	ck_assert_int_eq(groups_get(n->groups, 1000, &kept), 0);
	for (uint32_t i = 1; i < kept->count; i++)
		ck_assert_uint_lt(kept->gids[i - 1], kept->gids[i]);
	ck_assert_int_eq(groups_get(n->groups, 1000, &l), 0);
	ck_assert_ptr_eq(l, kept);
	group_list_put(l);
	ck_assert_int_eq(groups_get(n->groups, 2000, &l), -ENOENT);
	ck_assert_int_eq(groups_try(n->groups, 2000, &l), -ENOENT);
	ck_assert_int_eq(groups_get(n->groups, 3000, &l), -EIO);
	ck_assert_int_eq(groups_try(n->groups, 3000, &l), -EIO);
	ck_assert_int_eq(lookups, 3);
	env_sleep_ns(env_real(), 600 * NS_PER_MS);
	ck_assert_int_eq(groups_try(n->groups, 2000, &l), -EAGAIN);
	answer = -ENOENT; /* removed meanwhile; who holds the old list keeps it */
	ck_assert_int_eq(groups_get(n->groups, 1000, &l), -ENOENT);
	ck_assert_int_eq(lookups, 4);
	ck_assert_uint_eq(kept->count, MANY + 1);
	group_list_put(kept);
}

START_TEST(what_was_found_is_used_for_its_time)
{
	up(500 * NS_PER_MS);
	nas_run(&nas, ttl_step);
	nas_down(&nas);
}
END_TEST

static void bounds_step(struct nas *n)
{
	struct host_cache_stats st;
	struct group_list *l;
	for (uint32_t uid = 10000; uid < 10100; uid++) {
		ck_assert_int_eq(groups_get(n->groups, uid, &l), 0);
		group_list_put(l);
	}
	groups_stats(n->groups, &st);
	ck_assert_uint_le(st.entries, 8);
	ck_assert_uint_eq(st.lookups, 100);
	ck_assert_int_eq(groups_try(n->groups, 10099, &l), 0);
	group_list_put(l);
	ck_assert_int_eq(groups_try(n->groups, 10000, &l), -EAGAIN);
	/* One that takes too long is not waited for for ever; it is there later. */
	slow_ms = 6500;
	ck_assert_int_eq(groups_get(n->groups, 1, &l), -ETIMEDOUT);
	while (groups_try(n->groups, 1, &l))
		env_sleep_ns(env_real(), 50 * NS_PER_MS);
	group_list_put(l);
}

START_TEST(the_cache_is_bounded)
{
	up(0);
	nas_run(&nas, bounds_step);
	nas_down(&nas);
}
END_TEST

/* Whoever makes up numbers of users puts out no others. */
static void made_up_step(struct nas *n)
{
	struct host_cache_stats st;
	struct group_list *l;
	for (uint32_t uid = 1; uid <= 5; uid++) {
		ck_assert_int_eq(groups_get(n->groups, uid, &l), 0);
		group_list_put(l);
	}
	for (uint32_t uid = 1000000; uid < 1000100; uid++)
		ck_assert_int_eq(groups_get(n->groups, uid, &l), -ENOENT);
	for (uint32_t uid = 1; uid <= 5; uid++) {
		ck_assert_int_eq(groups_try(n->groups, uid, &l), 0);
		group_list_put(l);
	}
	ck_assert_int_eq(groups_try(n->groups, 1000099, &l), -ENOENT);
	/* A few of them are kept, however many others there are. */
	for (uint32_t uid = 10; uid <= 50; uid++) {
		ck_assert_int_eq(groups_get(n->groups, uid, &l), 0);
		group_list_put(l);
	}
	ck_assert_int_eq(groups_try(n->groups, 1000099, &l), -ENOENT);
	groups_stats(n->groups, &st);
	ck_assert_uint_le(st.entries, 8);
}

START_TEST(users_made_up)
{
	up(0);
	nas_run(&nas, made_up_step);
	nas_down(&nas);
}
END_TEST

/* The real thing, as far as a host without a directory service goes. */
static void host_step(struct nas *n)
{
	struct groups_opts o = {.reactor = n->reactor, .env = env_real()};
	struct groups *g;
	struct group_list *l;
	ck_assert_int_eq(groups_new(&g, &o), 0);
	ck_assert_int_eq(groups_get(g, 0, &l), 0);
	ck_assert_uint_ge(l->count, 1);
	ck_assert_uint_eq(l->gids[0], 0);
	group_list_put(l);
	ck_assert_int_eq(groups_get(g, 3999999999u, &l), -ENOENT);
	groups_free(g);
}

START_TEST(the_host_is_asked)
{
	up(0);
	nas_run(&nas, host_step);
	nas_down(&nas);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("groups");
	TCase *t = tcase_create("groups");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_caller_in_forty_groups);
	tcase_add_test(t, group_0_is_squashed_with_root);
	tcase_add_test(t, version_4_finds_them_too);
	tcase_add_test(t, all_wait_for_one_look_up);
	tcase_add_test(t, what_was_found_is_used_for_its_time);
	tcase_add_test(t, the_cache_is_bounded);
	tcase_add_test(t, users_made_up);
	tcase_add_test(t, the_host_is_asked);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
