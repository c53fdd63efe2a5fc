/*
 * Who may do what with locks: hosts that an export refuses, ports, handles that are none, words in
 * another host's name, hosts that ask for all there is; and each procedure's answers.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nlm_world.h"

/* ---- exports of its own: /demo and /ro again, for 127.0.0.1 to .9 by rules ---- */

static struct {
	const char *match;
	bool secure;
} demo_rules[4];
static unsigned ndemo;

static void set_rules(struct nas *n)
{
	Isthmus__NasExport e[2], *list[2] = {&e[0], &e[1]};
	Isthmus__NasExportClient c[5], *clients[5];
	for (unsigned i = 0; i < 5; i++) {
		isthmus__nas_export_client__init(&c[i]);
		clients[i] = &c[i];
		c[i].squash = "none";
		c[i].match = i < ndemo ? (char *)demo_rules[i].match : "127.0.0.2";
		c[i].secure_port = i < ndemo && demo_rules[i].secure;
		c[i].read_write = i < ndemo;
	}
	for (unsigned i = 0; i < 2; i++) {
		isthmus__nas_export__init(&e[i]);
		e[i].id = NAS_EXPORT_ID + i;
		e[i].path = i ? "/ro" : "/demo";
		e[i].fs = "fs0";
		e[i].subdir = "/";
		e[i].n_clients = i ? 1 : ndemo;
		e[i].clients = i ? &clients[ndemo] : clients;
	}
	ASSERT(nfs_exports_set(n->nfs, list, 2) == 0);
}

static void rule(unsigned at, const char *match, bool secure)
{
	demo_rules[at].match = match;
	demo_rules[at].secure = secure;
	ndemo = at + 1;
}

static void from(const char *address, bool privileged)
{
	nlm_from.address = address;
	nlm_from.privileged = privileged;
}

static unsigned clients(void)
{
	struct nlm_status st;
	nlm_status(nlm, &st); /* a look from beside: the calls before are answered */
	return st.clients;
}

static void notify(const char *name, uint32_t state)
{
	uint8_t buf[300];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	uint32_t accept;
	xdr_put_string(&x, name);
	xdr_put_u32(&x, state);
	struct xdr_in r = call(100024, 1, 6, &x, false, &accept);
	ck_assert_uint_eq(accept, 0);
	ck_assert_uint_eq(xdr_left(&r), 0);
}

static void free_all(const char *name)
{
	uint8_t buf[300];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	uint32_t accept;
	xdr_put_string(&x, name);
	xdr_put_u32(&x, 0);
	call(100021, 4, 23, &x, false, &accept);
	ck_assert_uint_eq(accept, 0);
}

static uint32_t share(uint32_t proc, const char *name, const uint8_t *fh, uint32_t mode,
		      uint32_t access, bool reclaim)
{
	uint8_t buf[512];
	uint32_t accept, seq;
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	xdr_put_string(&x, "cookie");
	xdr_put_string(&x, name);
	xdr_put_opaque(&x, fh, FH_SIZE);
	xdr_put_string(&x, "oh");
	xdr_put_u32(&x, mode);
	xdr_put_u32(&x, access);
	xdr_put_bool(&x, reclaim);
	struct xdr_in r = call(100021, 4, proc, &x, true, &accept);
	ck_assert_uint_eq(accept, 0);
	struct xdr_in all = r;
	ck_assert(xdr_left(&r) == 4 + 8 + 4 + 4);
	r.p += 16;
	ck_assert(xdr_u32(&r, &seq) && seq == 0);
	return stat_of(all);
}

/* Whether 127.0.0.1 still has its lock, asked by .2. */
static bool still_locked(void)
{
	from("127.0.0.2", false);
	return TEST(.name = "asks", .svid = 99, .exclusive = true, .off = 0) == DENIED;
}

static void lock_as_one(void)
{
	from("127.0.0.1", false);
	ck_assert_uint_eq(LOCK(.exclusive = true, .len = 10), GRANTED);
}

/* ---- others ---- */

START_TEST(a_host_that_is_refused)
{
	up_granting();
	rule(0, "127.0.0.1", false);
	rule(1, "127.0.0.2", false);
	nas_run(&nas, set_rules);
	lock_as_one();
	unsigned before = clients();
	from("127.0.0.3", true);
	for (uint32_t proc = 1; proc <= 4; proc++)
		ck_assert_uint_eq(NLM(proc, .exclusive = true, .len = 10), FAILED);
	ck_assert_uint_eq(NLM(22, .exclusive = true, .len = 10), FAILED);
	ck_assert_uint_eq(share(20, "client", handle, 3, 3, false), FAILED);
	ck_assert_uint_eq(share(21, "client", handle, 0, 0, false), FAILED);
	ck_assert_uint_eq(LOCK(.vers = 1, .len = 10), NOLOCKS);
	/* It is not called back either. */
	for (uint32_t proc = 6; proc <= 9; proc++) {
		struct xdr_in r =
		    nlm_call(proc, &(struct args){.exclusive = true, .len = 3}, false);
		ck_assert_uint_eq(xdr_left(&r), 0);
	}
	struct nlm_status st;
	nlm_status(nlm, &st);
	ck_assert_uint_eq(st.callbacks, 0);
	free_all("client");
	notify("client", 5);
	notify("127.0.0.1", 7);
	ck_assert_uint_eq(clients(), before); /* nor does it take room */
	ck_assert(still_locked());
	down();
}
END_TEST

/* An admitted host speaks for itself alone, whatever name it gives. */
START_TEST(in_the_name_of_another)
{
	up_granting();
	rule(0, "*", false);
	nas_run(&nas, set_rules);
	lock_as_one();
	from("127.0.0.3", true);
	ck_assert_uint_eq(UNLOCK(.off = 0), GRANTED); /* of its own, which are none */
	ck_assert_uint_eq(CANCEL(.exclusive = true, .len = 10), DENIED);
	ck_assert_uint_eq(share(21, "client", handle, 0, 0, false), GRANTED);
	free_all("client");
	notify("client", 9);
	notify("127.0.0.1", 11);
	ck_assert(still_locked());
	from("127.0.0.1", false);
	notify("client", 13);
	ck_assert(!still_locked());
	/* By its name with a domain; and when it is alone at its address by any. */
	lock_as_one();
	notify("CLIENT.example.org", 15);
	ck_assert(!still_locked());
	lock_as_one();
	notify("something-else", 17);
	ck_assert(!still_locked());
	/* Two at one address (behind a translator): only who is meant. */
	lock_as_one();
	ck_assert_uint_eq(LOCK(.name = "clientele", .off = 50, .len = 1), GRANTED);
	notify("something-else", 19);
	notify("clientele", 21);
	notify("client.", 0x7fffffff);
	ck_assert(!still_locked());
	down();
}
END_TEST

START_TEST(a_neighbour_at_the_same_address)
{
	up_granting();
	rule(0, "*", false);
	nas_run(&nas, set_rules);
	lock_as_one();
	ck_assert_uint_eq(LOCK(.name = "clientele", .off = 50, .len = 1), GRANTED);
	notify("something-else", 19);
	notify("clientele", 21);
	notify("", 23);
	ck_assert(still_locked());
	down();
}
END_TEST

/* `secure`: the host speaks, not anybody on it. */
START_TEST(ports)
{
	up_granting();
	rule(0, "127.0.0.2", false);
	rule(1, "*", true);
	nas_run(&nas, set_rules);
	from("127.0.0.1", false);
	ck_assert_uint_eq(LOCK(.exclusive = true, .len = 10), FAILED);
	from("127.0.0.1", true);
	ck_assert_uint_eq(LOCK(.exclusive = true, .len = 10), GRANTED);
	from("127.0.0.1", false);
	ck_assert_uint_eq(UNLOCK(.len = 10), FAILED);
	ck_assert_uint_eq(CANCEL(.exclusive = true, .len = 10), FAILED);
	ck_assert_uint_eq(share(21, "client", handle, 0, 0, false), FAILED);
	free_all("client");
	notify("client", 5);
	ck_assert(still_locked());
	from("127.0.0.1", true);
	ck_assert_uint_eq(UNLOCK(.len = 10), GRANTED);
	ck_assert(!still_locked());
	from("127.0.0.1", true);
	ck_assert_uint_eq(LOCK(.exclusive = true, .len = 10), GRANTED);
	free_all("client");
	ck_assert(!still_locked());
	down();
}
END_TEST

/* Admitted no longer: it gives up what it has, and its reboot counts; its users may not. */
START_TEST(a_host_that_was_admitted)
{
	for (unsigned how = 0; how < 3; how++) {
		up_granting();
		rule(0, "*", false);
		nas_run(&nas, set_rules);
		lock_as_one();
		rule(0, "127.0.0.2", false);
		nas_run(&nas, set_rules);
		from("127.0.0.1", false);
		ck_assert_uint_eq(UNLOCK(.off = 0), FAILED);
		ck_assert_uint_eq(LOCK(.exclusive = true, .off = 20), FAILED);
		free_all("client");
		notify("client", 5);
		ck_assert(still_locked());
		from("127.0.0.1", true);
		if (how == 0)
			ck_assert_uint_eq(UNLOCK(.off = 0), GRANTED);
		else if (how == 1)
			free_all("client");
		else
			notify("client", 5);
		ck_assert(!still_locked());
		down();
	}
}
END_TEST

/* One host takes what one may have; others get locks all the same. */
START_TEST(all_there_is)
{
	char name[32];
	unsigned granted = 0;
	up_granting();
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "name%u", i);
		from("127.0.0.1", false);
		uint32_t st = LOCK(.name = name, .off = i, .len = 1);
		ck_assert(st == GRANTED || st == NOLOCKS);
		granted += st == GRANTED;
	}
	ck_assert_uint_eq(granted, 256);
	ck_assert_uint_eq(LOCK(.name = "name0", .off = 1000, .len = 1), GRANTED);
	from("127.0.0.2", false);
	ck_assert_uint_eq(LOCK(.off = 2000, .len = 1), GRANTED);
	/* Who holds nothing gives way. */
	from("127.0.0.1", false);
	ck_assert_uint_eq(UNLOCK(.name = "name7", .off = 0), GRANTED);
	ck_assert_uint_eq(LOCK(.name = "late", .off = 3000, .len = 1), GRANTED);
	down();
}
END_TEST

/* ---- each procedure's answers ---- */

START_TEST(handles_that_are_none)
{
	static const uint32_t procs[] = {1, 2, 3, 4, 22};
	up_granting();
	for (unsigned i = 0; i < FH_SIZE; i += 3) {
		handle[i] ^= 1;
		for (unsigned k = 0; k < ARRAY_LEN(procs); k++) {
			uint32_t st = NLM(procs[k], .len = 1);
			/* A file system that is not configured: giving up is allowed. */
			bool other_fs = i >= 8 && i < 16, gives_up = procs[k] == 3 || procs[k] == 4;
			if (!other_fs || !gives_up)
				ck_assert_msg(st == STALE, "byte %u procedure %u: %u", i, procs[k],
					      st);
		}
		if (i < 8 || i >= 16) {
			ck_assert_uint_eq(share(20, "client", handle, 0, 1, false), STALE);
			ck_assert_uint_eq(share(21, "client", handle, 0, 1, false), STALE);
		}
		handle[i] ^= 1;
	}
	ck_assert_uint_eq(LOCK(.len = 1), GRANTED);
	down();
}
END_TEST

static void squash_demo(struct nas *n)
{
	Isthmus__NasExport e = ISTHMUS__NAS_EXPORT__INIT, *list = &e;
	Isthmus__NasExportClient c = ISTHMUS__NAS_EXPORT_CLIENT__INIT, *client = &c;
	c.match = "*";
	c.squash = "all";
	c.read_write = true;
	c.anon_uid = c.anon_gid = 4711;
	e.id = NAS_EXPORT_ID;
	e.path = "/demo";
	e.fs = "fs0";
	e.subdir = "/";
	e.n_clients = 1;
	e.clients = &client;
	ASSERT(nfs_exports_set(n->nfs, &list, 1) == 0);
}

static struct fs *taken;

static void take_mount(struct nas *n)
{
	taken = nfs_mount_take(n->nfs, NAS_FS_ID);
	ASSERT(taken);
}

static void give_mount(struct nas *n)
{
	ASSERT(nfs_mount_add(n->nfs, NAS_FS_ID, "fs0", taken) == 0);
}

START_TEST(answers_of_each_procedure)
{
	up_granting();
	/* Beyond the end of 64 bits. */
	for (uint32_t proc = 1; proc <= 4; proc++)
		ck_assert_uint_eq(NLM(proc, .off = UINT64_MAX, .len = 2), FBIG);
	ck_assert_uint_eq(NLM(22, .off = 1ull << 63, .len = (1ull << 63) + 1), FBIG);
	ck_assert_uint_eq(TEST(.off = UINT64_MAX, .len = 1), GRANTED);
	ck_assert_uint_eq(NLM(22, .off = 5, .len = UINT64_MAX - 4, .exclusive = true), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .off = UINT64_MAX), DENIED);
	ck_assert_uint_eq(UNLOCK(.off = 5), GRANTED);
	/* Read-only. */
	ck_assert_uint_eq(TEST(.ro = true, .exclusive = true), GRANTED);
	ck_assert_uint_eq(LOCK(.ro = true, .exclusive = true), ROFS);
	ck_assert_uint_eq(NLM(22, .ro = true, .exclusive = true), ROFS);
	ck_assert_uint_eq(share(20, "client", handle_ro, 0, 2, false), ROFS);
	ck_assert_uint_eq(share(20, "client", handle_ro, 0, 1, false), GRANTED);
	ck_assert_uint_eq(share(21, "client", handle_ro, 0, 0, false), GRANTED);
	/* After the grace period nothing is reclaimed. */
	ck_assert_uint_eq(LOCK(.reclaim = true, .len = 1), GRACE);
	ck_assert_uint_eq(NLM(22, .reclaim = true, .len = 1), GRACE);
	ck_assert_uint_eq(share(20, "client", handle, 0, 1, true), GRACE);
	/* CANCEL of what does not wait; UNLOCK of what is not locked. */
	ck_assert_uint_eq(CANCEL(.exclusive = true), DENIED);
	ck_assert_uint_eq(UNLOCK(.off = 0), GRANTED);
	/* A wait is cancelled by the same arguments only. */
	ck_assert_uint_eq(LOCK(.svid = 1, .exclusive = true), GRANTED);
	ck_assert_uint_eq(LOCK(.svid = 2, .exclusive = true, .block = true), BLOCKED);
	ck_assert_uint_eq(CANCEL(.svid = 3, .exclusive = true, .block = true), DENIED);
	ck_assert_uint_eq(CANCEL(.svid = 2, .exclusive = true, .block = true, .len = 1), DENIED);
	ck_assert_uint_eq(CANCEL(.svid = 2, .name = "x", .exclusive = true, .block = true), DENIED);
	ck_assert_uint_eq(CANCEL(.svid = 2, .exclusive = true, .block = true), GRANTED);
	ck_assert_uint_eq(UNLOCK(.svid = 1), GRANTED);
	/* Who may neither read nor write (the file is 0600 of root). */
	nas_run(&nas, squash_demo);
	ck_assert_uint_eq(TEST(.len = 1), FAILED);
	ck_assert_uint_eq(LOCK(.len = 1), FAILED);
	ck_assert_uint_eq(NLM(22, .len = 1), FAILED);
	ck_assert_uint_eq(share(20, "client", handle, 0, 1, false), FAILED);
	/* Not mounted just now: ask again; giving up goes. */
	nas_run(&nas, take_mount);
	ck_assert_uint_eq(TEST(.len = 1), GRACE);
	ck_assert_uint_eq(LOCK(.len = 1), GRACE);
	ck_assert_uint_eq(share(20, "client", handle, 0, 1, false), GRACE);
	ck_assert_uint_eq(UNLOCK(.len = 1), GRANTED);
	nas_run(&nas, give_mount);
	down();
}
END_TEST

/* What only clients serve, results of calls that were never made, and procedures there are not. */
START_TEST(procedures_of_clients)
{
	static const uint32_t versions[] = {1, 3, 4};
	uint8_t buf[64];
	uint32_t accept;
	up_granting();
	lock_as_one();
	for (unsigned i = 0; i < ARRAY_LEN(versions); i++) {
		uint32_t vers = versions[i];
		for (unsigned tcp = 0; tcp < 2; tcp++) {
			struct xdr_in r = call(100021, vers, 0, NULL, tcp, &accept);
			ck_assert(accept == 0 && !xdr_left(&r));
			ck_assert_uint_eq(stat_of(nlm_call(5, &(struct args){.vers = vers}, tcp)),
					  DENIED);
			r = nlm_call(10, &(struct args){.vers = vers}, tcp);
			ck_assert_uint_eq(xdr_left(&r), 0);
		}
		for (uint32_t proc = 11; proc <= 15; proc++) {
			struct xdr_out x = xdr_out_of(buf, sizeof(buf));
			xdr_put_string(&x, "12345678");
			xdr_put_u32(&x, DENIED);
			struct xdr_in r = call(100021, vers, proc, &x, proc & 1, &accept);
			ck_assert(accept == 0 && !xdr_left(&r));
		}
		for (uint32_t proc = 16; proc < 26; proc++) {
			bool there = vers != 1 && proc >= 20 && proc <= 23;
			call(100021, vers, proc, NULL, proc & 1, &accept);
			ck_assert_uint_eq(accept, there ? 4 : 3);
		}
	}
	ck_assert(still_locked());
	down();
}
END_TEST

/* 32 bits: what reaches beyond them reaches to the end. */
START_TEST(ranges_of_old_versions)
{
	static const struct {
		uint64_t off, len, probe, probe_len;
		uint32_t stat;
	} rows[] = {
	    {0xffffffff, 1, 1ull << 32, 1, GRANTED},
	    {0xffffffff, 2, 1ull << 40, 1, DENIED},
	    {0xffffffff, 0, 1ull << 40, 1, DENIED},
	    {0x80000000, 0x80000000, 1ull << 32, 1, GRANTED},
	    {0x80000000, 0x80000001, 1ull << 32, 1, DENIED},
	    {1, 0xffffffff, 1ull << 32, 1, GRANTED},
	    {2, 0xffffffff, 1ull << 33, 1, DENIED},
	    {0x7fffffff, 1, 0x80000000, 0, GRANTED},
	    {0x7fffffff, 1, 0x7ffffffe, 2, DENIED},
	};
	up_granting();
	for (uint32_t vers = 1; vers <= 3; vers += 2)
		for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
			ck_assert_uint_eq(LOCK(.vers = vers, .exclusive = true, .off = rows[i].off,
					       .len = rows[i].len),
					  GRANTED);
			ck_assert_msg(TEST(.svid = 5, .off = rows[i].probe,
					   .len = rows[i].probe_len) == rows[i].stat,
				      "row %u", i);
			ck_assert_uint_eq(
			    UNLOCK(.vers = vers, .off = rows[i].off, .len = rows[i].len), GRANTED);
			ck_assert_uint_eq(TEST(.svid = 5, .exclusive = true, .off = 0), GRANTED);
		}
	/* The holder's range as 32 bits can say it. */
	ck_assert_uint_eq(LOCK(.exclusive = true, .off = 1ull << 40, .len = 5), GRANTED);
	struct xdr_in r =
	    nlm_call(1, &(struct args){.vers = 3, .svid = 9, .exclusive = true, .off = 7}, true);
	const uint8_t *p;
	uint32_t n, v[5];
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && xdr_u32(&r, &v[0]) && v[0] == DENIED);
	ck_assert(xdr_u32(&r, &v[0]) && v[0] == 1 && xdr_u32(&r, &v[1]) && v[1] == 0);
	ck_assert(xdr_opaque(&r, 1024, &p, &n) && xdr_u32(&r, &v[2]) && xdr_u32(&r, &v[3]));
	ck_assert(v[2] == UINT32_MAX && v[3] == 0 && !xdr_left(&r));
	down();
}
END_TEST

/* The state monitor serves nobody else; it tells its number and nothing of clients. */
START_TEST(state_monitor)
{
	uint8_t buf[2000];
	uint32_t accept, v;
	up_granting();
	lock_as_one();
	for (uint32_t proc = 0; proc < 8; proc++) {
		struct xdr_out x = xdr_out_of(buf, sizeof(buf));
		xdr_put_string(&x, "client");
		xdr_put_u32(&x, 4);
		if (proc == 6)
			continue;
		struct xdr_in r = call(100024, 1, proc, &x, proc & 1, &accept);
		ck_assert_uint_eq(accept, proc == 7 ? 3 : 0);
		if (proc == 1 || proc == 2)
			ck_assert(xdr_u32(&r, &v) && v == 1 && xdr_u32(&r, &v) && v == 7);
		if (proc == 3 || proc == 4)
			ck_assert(xdr_u32(&r, &v) && v == 7);
		ck_assert_uint_eq(proc == 7 ? 0 : xdr_left(&r), 0);
	}
	ck_assert(still_locked());
	/* Names that are too long, arguments that are cut off. */
	from("127.0.0.1", false);
	for (size_t len = 0; len < 12; len++) {
		memset(buf, 0, sizeof(buf));
		buf[3] = 6;
		struct xdr_out x = {.base = buf, .p = buf + len, .end = buf + len};
		call(100024, 1, 6, &x, true, &accept);
		ck_assert_uint_eq(accept, 4);
	}
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	memset(buf, 'x', sizeof(buf));
	xdr_put_u32(&x, 1028);
	x.p += 1028;
	xdr_put_u32(&x, 5);
	call(100024, 1, 6, &x, true, &accept);
	ck_assert_uint_eq(accept, 4);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nlm_access");
	TCase *c = tcase_create("access");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_host_that_is_refused);
	tcase_add_test(c, in_the_name_of_another);
	tcase_add_test(c, a_neighbour_at_the_same_address);
	tcase_add_test(c, ports);
	tcase_add_test(c, a_host_that_was_admitted);
	tcase_add_test(c, all_there_is);
	tcase_add_test(c, handles_that_are_none);
	tcase_add_test(c, answers_of_each_procedure);
	tcase_add_test(c, procedures_of_clients);
	tcase_add_test(c, ranges_of_old_versions);
	tcase_add_test(c, state_monitor);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
