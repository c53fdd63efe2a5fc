/* Access lists by host name and netgroup: when they count, what happens while nobody knows, and
 * when what is known changes. */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs/netgroup.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

#define SERVERFAULT 10006

static struct nas nas;
static struct raw r, other;

/* ---- a directory service ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *members[8]; /* NULL: any host, as in netgroup(5) */
static unsigned nmembers, asked;
static bool missing, stuck, away; /* away: it says that it cannot say */

static int find(void *arg, const char *netgroup, void (*each)(void *to, const char *host), void *to)
{
	int rc = 0;
	pthread_mutex_lock(&lock);
	while (stuck && strcmp(netgroup, "slow") == 0) {
		pthread_mutex_unlock(&lock);
		usleep(1000);
		pthread_mutex_lock(&lock);
	}
	asked++;
	if (missing || (strcmp(netgroup, "ours") != 0 && strcmp(netgroup, "slow") != 0))
		rc = -ENOENT;
	if (away)
		rc = -EAGAIN;
	for (unsigned i = 0; i < nmembers && !rc; i++)
		each(to, members[i]);
	pthread_mutex_unlock(&lock);
	return rc;
}

static unsigned times_asked(void)
{
	pthread_mutex_lock(&lock);
	unsigned n = asked;
	pthread_mutex_unlock(&lock);
	return n;
}

static void be(bool is_missing, bool is_stuck, unsigned n, const char *const *who)
{
	pthread_mutex_lock(&lock);
	missing = is_missing;
	stuck = is_stuck;
	nmembers = n;
	for (unsigned i = 0; i < n; i++)
		members[i] = who[i];
	pthread_mutex_unlock(&lock);
}
#define MEMBERS(...)                                                                               \
	be(false, false, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),              \
	   (const char *const[]){__VA_ARGS__})

/* Two look-ups later: what was found counts. */
static void wait_round(void)
{
	unsigned from = times_asked();
	for (int i = 0; i < 2000 && times_asked() < from + 2; i++)
		usleep(5000);
	ck_assert_uint_ge(times_asked(), from + 2);
}

/* ---- exports ---- */

static const char *rules[128];
static unsigned nrules;
static bool one_export; /* of all rules, the first writable; else one each: /x0, /x1 */

static void set_exports(struct nas *n)
{
	static Isthmus__NasExport e[128], *list[128];
	static Isthmus__NasExportClient c[128], *clients[128];
	static char paths[128][16];
	for (unsigned i = 0; i < nrules; i++) {
		isthmus__nas_export_client__init(&c[i]);
		c[i].match = (char *)rules[i];
		c[i].squash = "none";
		c[i].read_write = i == 0;
		clients[i] = &c[i];
	}
	unsigned count = one_export ? 1 : nrules;
	for (unsigned i = 0; i < count; i++) {
		isthmus__nas_export__init(&e[i]);
		snprintf(paths[i], sizeof(paths[i]), "/x%u", i);
		e[i].id = 100 + i;
		e[i].path = paths[i];
		e[i].fs = "fs0";
		e[i].subdir = "/";
		e[i].n_clients = one_export ? nrules : 1;
		e[i].clients = &clients[i];
		list[i] = &e[i];
	}
	ASSERT(nfs_exports_set(n->nfs, list, count) == 0);
}

static void exports(unsigned n, const char *const *of, bool one)
{
	memcpy(rules, of, n * sizeof(*of));
	nrules = n;
	one_export = one;
	nas_run(&nas, set_exports);
}
#define EXPORTS(...)                                                                               \
	exports(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),                       \
		(const char *const[]){__VA_ARGS__}, false)

static void up(void)
{
	be(false, false, 0, NULL);
	nas_up_opts(&nas, &(struct nas_opts){.netgroup_hosts = find, .resolve_ns = 20 * NS_PER_MS});
	raw_open(&r, nas.port);
	raw_open_from(&other, nas.port, "127.0.0.77", false);
}

static void down(void)
{
	be(false, false, 0, NULL);
	raw_close(&r);
	raw_close(&other);
	nas_down(&nas);
}

/* MNT, when it is not "ask again" any more. */
static uint32_t mount_when_known(struct raw *c, const char *path, uint8_t fh[FH_SIZE])
{
	uint32_t st = SERVERFAULT;
	for (int i = 0; i < 2000 && st == SERVERFAULT; i++, usleep(5000))
		st = raw_mount(c, path, fh);
	return st;
}

/* ---- cases ---- */

START_TEST(members_of_a_netgroup)
{
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	MEMBERS("192.0.2.9", "127.0.0.1", "::ffff:127.0.0.3", "no such host.invalid");
	EXPORTS("@ours", "@nobody");
	ck_assert_uint_eq(mount_when_known(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), NFS3ERR_ACCES);
	ck_assert_uint_eq(mount_when_known(&r, "/x1", fh), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), 0);
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), NFS3ERR_ACCES);
	/* Others are members now: handles and connections of before count for nothing. */
	MEMBERS("127.0.0.77");
	wait_round();
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), 0);
	/* A service that does not know it any more, or is away: as it was. */
	be(true, false, 0, NULL);
	wait_round();
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), 0);
	/* It says that there is nobody. */
	be(false, false, 0, NULL);
	wait_round();
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), NFS3ERR_ACCES);
}
END_TEST

/* "(,user,domain)" is an entry of a user, and for innetgr(3) one of any host. */
START_TEST(entries_without_a_host)
{
	uint8_t fh[FH_SIZE];
	MEMBERS(NULL, "", "-", "127.0.0.77");
	EXPORTS("@ours");
	ck_assert_uint_eq(mount_when_known(&other, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), NFS3ERR_ACCES);
}
END_TEST

/* Nobody is refused, or let in by a later rule, for what is not known yet. */
START_TEST(while_nobody_knows)
{
	static const char *const ask[] = {"@slow", "*"};
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	EXPORTS("*");
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	be(false, true, 0, NULL);
	exports(2, ask, true);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_JUKEBOX);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), SERVERFAULT);
	/* What needs it not is served meanwhile, and no thread of the pool is taken twice. */
	static const char *const more[] = {"*", "@slow", "localhost"};
	exports(3, more, false);
	uint8_t other_fh[FH_SIZE];
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), 0);
	ck_assert_uint_eq(mount_when_known(&r, "/x2", other_fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x1", fh), SERVERFAULT);
	exports(2, ask, true);
	MEMBERS("127.0.0.77");
	ck_assert_uint_eq(mount_when_known(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&r, fh, "a", false, 0600, fh), NFS3ERR_ROFS);
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&other, fh, "a", false, 0600, fh), 0);
}
END_TEST

static void be_away(bool is)
{
	pthread_mutex_lock(&lock);
	away = is;
	pthread_mutex_unlock(&lock);
}

/* A service that cannot be reached yet: nobody is known to be no member. */
START_TEST(it_cannot_be_said_yet)
{
	static const char *const ask[] = {"@ours", "*"};
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	be_away(true);
	exports(2, ask, true);
	wait_round();
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), SERVERFAULT);
	MEMBERS("127.0.0.77");
	be_away(false);
	ck_assert_uint_eq(mount_when_known(&other, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&other, fh, "a", false, 0600, fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh),
			  0); /* by the looser rule, now that it is known */
	be_away(true);
	wait_round();
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), 0);
	be_away(false);
}
END_TEST

/* A new table with the same words: they mean the same from its first moment on. */
START_TEST(a_table_is_replaced)
{
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	MEMBERS("127.0.0.1");
	EXPORTS("@slow", "localhost");
	ck_assert_uint_eq(mount_when_known(&r, "/x1", fh), 0);
	ck_assert_uint_eq(mount_when_known(&r, "/x0", fh), 0);
	static const char *const hosts[] = {"127.0.0.1"};
	be(false, true, 1, hosts);
	for (int i = 0; i < 20; i++) {
		if (i & 1)
			EXPORTS("@slow", "localhost", "@other");
		else
			EXPORTS("@slow", "localhost");
		ck_assert_uint_eq(raw_mode(&r, fh, &mode), 0);
	}
}
END_TEST

/* Each of many names has its turn. */
START_TEST(many_names)
{
	static const char *many[100];
	uint8_t fh[FH_SIZE];
	for (unsigned i = 0; i < 100; i++)
		many[i] = "localhost";
	exports(100, many, false);
	ck_assert_uint_eq(mount_when_known(&r, "/x99", fh), 0);
	ck_assert_uint_eq(mount_when_known(&r, "/x0", fh), 0);
	EXPORTS("no-such-host.invalid");
	uint32_t st = mount_when_known(&r, "/x0", fh);
	ck_assert_uint_eq(st, NFS3ERR_ACCES);
}
END_TEST

/* The service ends while somebody is being asked; with ASan. */
START_TEST(the_end_while_somebody_is_asked)
{
	be(false, true, 0, NULL);
	EXPORTS("@slow");
}
END_TEST

static void count_hosts(void *to, const char *host)
{
	++*(unsigned *)to;
}

/* What the C library says of netgroups that are not there. */
START_TEST(the_host_has_no_such_netgroup)
{
	unsigned n = 0;
	struct addr_list l = {0};
	ck_assert_int_eq(netgroup_hosts(NULL, "isthmus-no-such-netgroup", count_hosts, &n),
			 -ENOENT);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(host_addresses("127.0.0.9", &l), 0);
	ck_assert_int_eq(host_addresses("127.0.0.9", &l), 0);
	ck_assert_uint_eq(l.count, 1);
	ck_assert_int_eq(host_addresses("fd00::7", &l), 0);
	ck_assert_uint_eq(l.count, 2);
	addr_list_sort(&l);
	ck_assert_int_lt(memcmp(&l.at[0], &l.at[1], sizeof(l.at[0])), 0);
	free(l.at);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("export_names");
	TCase *c = tcase_create("names");
	tcase_add_checked_fixture(c, up, down);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, members_of_a_netgroup);
	tcase_add_test(c, entries_without_a_host);
	tcase_add_test(c, while_nobody_knows);
	tcase_add_test(c, it_cannot_be_said_yet);
	tcase_add_test(c, a_table_is_replaced);
	tcase_add_test(c, many_names);
	tcase_add_test(c, the_end_while_somebody_is_asked);
	tcase_add_test(c, the_host_has_no_such_netgroup);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
