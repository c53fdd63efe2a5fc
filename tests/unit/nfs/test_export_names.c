/* Access lists by host name and netgroup: when they count, what happens while nobody knows, and
 * when what is known changes. */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/netgroup.h"
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs4/nfs4_proto.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

static struct nas nas;
static struct raw r, other, waits;

/* ---- a directory service ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *members[8]; /* NULL: any host, as in netgroup(5) */
static unsigned nmembers, asked;
static bool missing, stuck;
static bool away, hosts_only; /* it says that it cannot say; of hosts alone */

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
	if (away && !hosts_only)
		rc = -EAGAIN;
	for (unsigned i = 0; i < nmembers && !rc; i++)
		each(to, members[i]);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* Hosts too: "away..." cannot be said while the service is away, and is 127.0.0.1 then; of "h..."
 * (thousands) nobody is asked. */
static int addresses(void *arg, const char *name, struct addr_list *ret)
{
	pthread_mutex_lock(&lock);
	bool is_away = away;
	asked++;
	pthread_mutex_unlock(&lock);
	bool unknown = strncmp(name, "away", 4) == 0;
	if (unknown && is_away)
		return -EAGAIN;
	return host_addresses(arg, unknown || *name == 'h' ? "127.0.0.1" : name, ret);
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

enum { RULES = 4000 };
static const char *rules[RULES];
static unsigned nrules;
static bool one_export; /* of all rules, the first writable; else one each: /x0, /x1 */

static void set_exports(struct nas *n)
{
	static Isthmus__NasExport e[RULES], *list[RULES];
	static Isthmus__NasExportClient c[RULES], *clients[RULES];
	static char paths[RULES][16];
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
	away = hosts_only = false;
	nas_up_opts(&nas, &(struct nas_opts){.netgroup_hosts = find,
					     .host_addresses = addresses,
					     .resolve_ns = 20 * NS_PER_MS});
	nas_serve4(&nas);
	raw_open(&r, nas.port);
	raw_open(&waits, nas.port);
	raw_open_from(&other, nas.port, "127.0.0.77", false);
}

static void down(void)
{
	be(false, false, 0, NULL);
	raw_close(&r);
	raw_close(&waits);
	raw_close(&other);
	nas_down(&nas);
}

/* MNT without waiting for its answer; the call's number. */
static uint32_t ask_mount(struct raw *c, const char *path)
{
	raw_begin(c, 100005, 3, 1);
	xdr_put_string(&c->out, path);
	size_t n = xdr_out_len(&c->out);
	be32_put(c->call, 0x80000000u | (uint32_t)n);
	ck_assert_int_eq(send(c->fd, c->call, n + 4, MSG_NOSIGNAL), (ssize_t)(n + 4));
	return c->xid;
}

static uint32_t null_call(struct raw *c)
{
	raw_begin(c, 100003, 3, 0);
	return raw_end(c);
}

/* An answer comes, when it is known. */
static uint32_t mount_answer(struct raw *c, uint32_t xid)
{
	uint8_t b[256];
	ck_assert_int_eq(recv(c->fd, b, 4, MSG_WAITALL), 4);
	size_t n = be32_get(b) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(b));
	ck_assert_int_eq(recv(c->fd, b, n, MSG_WAITALL), (ssize_t)n);
	ck_assert_uint_eq(be32_get(b), xid);
	ck_assert_uint_ge(n, 28);
	return be32_get(b + 24);
}

/* It waits: what is asked behind it is answered before. */
static uint32_t mount_waits(struct raw *c, const char *path)
{
	uint32_t xid = ask_mount(c, path);
	ck_assert_uint_eq(null_call(c), 0);
	return xid;
}

/* By version 4.0: PUTROOTFH, LOOKUP of a name, GETFH; the status of the whole. */
static uint32_t look_up4(struct raw *c, const char *name)
{
	raw_begin(c, 100003, 4, 1);
	xdr_put_string(&c->out, "");
	xdr_put_u32(&c->out, 0);
	xdr_put_u32(&c->out, 3);
	xdr_put_u32(&c->out, OP_PUTROOTFH);
	xdr_put_u32(&c->out, OP_LOOKUP);
	xdr_put_string(&c->out, name);
	xdr_put_u32(&c->out, OP_GETFH);
	ck_assert_uint_eq(raw_end(c), 0);
	return raw_u32(c);
}

/* ---- cases ---- */

START_TEST(members_of_a_netgroup)
{
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	MEMBERS("192.0.2.9", "127.0.0.1", "::ffff:127.0.0.3", "no such host.invalid");
	EXPORTS("@ours", "@nobody");
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), NFS3ERR_ACCES);
	/* Not found may mean that nobody who knows answers: after a while it means none. */
	wait_round();
	uint32_t xid = mount_waits(&waits, "/x1");
	nas_skip(&nas, 20 * NS_PER_S);
	ck_assert_uint_eq(mount_answer(&waits, xid), NFS3ERR_ACCES);
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
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), 0);
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
	uint32_t xid = mount_waits(&waits, "/x0");
	/* What needs it not is served meanwhile, and no thread of the pool is taken twice. */
	static const char *const more[] = {"*", "@slow", "localhost"};
	exports(3, more, false);
	uint8_t other_fh[FH_SIZE];
	ck_assert_uint_eq(mount_answer(&waits, xid), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x2", other_fh), 0);
	xid = mount_waits(&waits, "/x1");
	exports(2, ask, true);
	ck_assert_uint_eq(mount_answer(&waits, xid), NFS3ERR_ACCES);
	xid = mount_waits(&waits, "/x0");
	MEMBERS("127.0.0.77");
	ck_assert_uint_eq(mount_answer(&waits, xid), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
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
	uint32_t xid = mount_waits(&waits, "/x0");
	MEMBERS("127.0.0.77");
	be_away(false);
	ck_assert_uint_eq(mount_answer(&waits, xid), 0);
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&other, fh, "a", false, 0600, fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh),
			  0); /* by the looser rule, now that it is known */
	be_away(true);
	wait_round();
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), 0);
	be_away(false);
}
END_TEST

/* One of a netgroup's hosts cannot be found yet: the others are let in, nobody is turned away. */
START_TEST(a_part_is_found)
{
	static const char *const ask[] = {"@ours", "*"};
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	be_away(true);
	MEMBERS("127.0.0.77", "away7");
	EXPORTS("*");
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	/* A netgroup "ours" that answers while a host of it does not. */
	pthread_mutex_lock(&lock);
	hosts_only = true;
	pthread_mutex_unlock(&lock);
	exports(2, ask, true);
	ck_assert_uint_eq(raw_mount(&other, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&other, fh, "a", false, 0600, fh), 0);
	wait_round();
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_JUKEBOX);
	uint32_t xid = mount_waits(&waits, "/x0");
	/* A new table changes nothing of it. */
	exports(2, ask, true);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_JUKEBOX);
	ck_assert_uint_eq(raw_mode(&other, fh, &mode), 0);
	be_away(false);
	ck_assert_uint_eq(mount_answer(&waits, xid), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	ck_assert_uint_eq(raw_make(&r, fh, "b", false, 0600, fh), 0);
}
END_TEST

/* Nobody waits for ever. */
START_TEST(it_is_never_said)
{
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	EXPORTS("*");
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	be_away(true);
	EXPORTS("@ours");
	uint32_t xid = mount_waits(&waits, "/x0");
	nas_skip(&nas, 12 * NS_PER_S);
	EXPORTS("@ours", "*"); /* the same name, and it is not new */
	wait_round();
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_JUKEBOX);
	nas_skip(&nas, 12 * NS_PER_S);
	ck_assert_uint_eq(mount_answer(&waits, xid), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&r, fh, &mode), NFS3ERR_ACCES);
}
END_TEST

/* A host has a few calls that wait; others are not answered. */
START_TEST(many_wait)
{
	enum { ASKED = 36, WAIT = 32 };
	uint32_t xid[ASKED];
	uint8_t fh[FH_SIZE];
	be(false, true, 0, NULL);
	EXPORTS("@slow");
	for (unsigned i = 0; i < ASKED; i++)
		xid[i] = mount_waits(&waits, "/x0");
	uint32_t mine = mount_waits(&other, "/x0");
	MEMBERS("127.0.0.1");
	ck_assert_uint_eq(mount_answer(&other, mine), NFS3ERR_ACCES);
	bool answered[ASKED] = {0};
	for (unsigned i = 0; i < WAIT; i++) {
		uint8_t b[256];
		ck_assert_int_eq(recv(waits.fd, b, 4, MSG_WAITALL), 4);
		size_t n = be32_get(b) & 0x7fffffff;
		ck_assert_int_eq(recv(waits.fd, b, n, MSG_WAITALL), (ssize_t)n);
		ck_assert_uint_eq(be32_get(b + 24), 0);
		for (unsigned k = 0; k < ASKED; k++)
			answered[k] |= be32_get(b) == xid[k];
	}
	for (unsigned k = 0; k < ASKED; k++)
		ck_assert(answered[k] == (k < WAIT));
	ck_assert_uint_eq(raw_mount(&waits, "/x0", fh), 0);
}
END_TEST

/* By version 4: DELAY, and only what is not known yet. */
START_TEST(version_4)
{
	be(false, true, 0, NULL);
	EXPORTS("@slow", "*");
	ck_assert_uint_eq(look_up4(&r, "x0"), NFS4ERR_DELAY);
	ck_assert_uint_eq(look_up4(&r, "x1"), 0);
	ck_assert_uint_eq(look_up4(&r, "x2"), NFS4ERR_NOENT);
	MEMBERS("127.0.0.77");
	for (int i = 0; i < 2000 && look_up4(&r, "x0") == NFS4ERR_DELAY; i++)
		usleep(5000);
	ck_assert_uint_eq(look_up4(&r, "x0"), NFS4ERR_NOENT);
	ck_assert_uint_eq(look_up4(&other, "x0"), 0);
}
END_TEST

/* A new table with the same words: they mean the same from its first moment on. */
START_TEST(a_table_is_replaced)
{
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	MEMBERS("127.0.0.1");
	EXPORTS("@slow", "localhost");
	ck_assert_uint_eq(raw_mount(&r, "/x1", fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
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
	ck_assert_uint_eq(raw_mount(&r, "/x99", fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	EXPORTS("no-such-host.invalid");
	uint32_t st = raw_mount(&r, "/x0", fh);
	ck_assert_uint_eq(st, NFS3ERR_ACCES);
}
END_TEST

/* Tables of thousands, with a name each, are set as fast as small ones. */
START_TEST(thousands_of_exports)
{
	static char text[RULES][16];
	static const char *many[RULES];
	uint8_t fh[FH_SIZE];
	uint32_t mode;
	for (unsigned i = 0; i < RULES; i++) {
		snprintf(text[i], sizeof(text[i]), "h%u.invalid", i * 7919 % RULES);
		many[i] = text[i];
	}
	exports(RULES, many, false);
	ck_assert_uint_eq(raw_mount(&r, "/x3999", fh), 0);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	for (unsigned i = 0; i < 3; i++) {
		exports(RULES, many, false);
		ck_assert_uint_eq(raw_mode(&r, fh, &mode), 0);
	}
	ck_assert_uint_eq(raw_mount(&r, "/x1234", fh), 0);
	ck_assert_uint_eq(raw_mount(&other, "/x1234", fh), NFS3ERR_ACCES);
}
END_TEST

/* The service ends while somebody is being asked; with ASan. */
START_TEST(the_end_while_somebody_is_asked)
{
	be(false, true, 0, NULL);
	EXPORTS("@slow");
	mount_waits(&waits, "/x0");
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
	ck_assert_int_eq(host_addresses(NULL, "127.0.0.9", &l), 0);
	ck_assert_int_eq(host_addresses(NULL, "127.0.0.9", &l), 0);
	ck_assert_uint_eq(l.count, 1);
	ck_assert_int_eq(host_addresses(NULL, "fd00::7", &l), 0);
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
	tcase_add_test(c, a_part_is_found);
	tcase_add_test(c, it_is_never_said);
	tcase_add_test(c, many_wait);
	tcase_add_test(c, version_4);
	tcase_add_test(c, a_table_is_replaced);
	tcase_add_test(c, many_names);
	tcase_add_test(c, thousands_of_exports);
	tcase_add_test(c, the_end_while_somebody_is_asked);
	tcase_add_test(c, the_host_has_no_such_netgroup);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
