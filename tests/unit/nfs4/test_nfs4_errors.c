/*
 * What every operation of NFSv4.0, 4.1 and 4.2 answers to what is wrong: tables of compounds and
 * their errors (errors_*.c), run in one world for each minor version; what any operation may say
 * (outside a session, with arguments cut off, without a handle, of a file that is gone, again,
 * where the reply would be too big); and at the end, that each operation has said every error that
 * the RFCs list for it, but for those with a reason why not (errors_never.c).
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/errors_rows.h"

#define SMALL 280 /* bytes of a reply, with the RPC's header */

static struct nas nas;
static struct v4 maker, a, b;
static uint32_t minor;

/* ---- the world ---- */

static uint32_t make_file(uint32_t uid, const char *dir, const char *name, const char *as)
{
	struct v4_stateid s;
	struct v4_fh fh;
	maker.uid = uid;
	uint32_t st = v4_open_file(&maker, v4_fh_of(dir), name, "maker", 3, 0, 1, &s, &fh);
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(v4_close_file(&maker, &fh, &s), 0);
	maker.uid = 0;
	v4_name_fh(as, &fh);
	return st;
}

static void set(const char *script)
{
	ck_assert_uint_eq(v4_script(script), 0);
}

static void limit(struct nas *n)
{
	struct fs_quota_limits l = {.set_hard = {true, true}};
	l.hard[FS_QUOTA_BYTES] = 4096;
	l.hard[!FS_QUOTA_BYTES] = 1;
	ck_assert_int_eq(fs_quota_set(n->fs, FS_QUOTA_USER, 9, &l), 0);
}

static void bend(const char *from, const char *to, unsigned byte)
{
	struct v4_fh fh = *v4_fh_of(from);
	fh.b[byte < fh.len ? byte : fh.len - 1] ^= 0x55;
	v4_name_fh(to, &fh);
}

static void make_objects(void)
{
	v4_script_fh("PUTROOTFH; GETFH", "root");
	v4_script_fh("PUTROOTFH; LOOKUP 'demo'; GETFH", "demo");
	v4_script_fh("PUTROOTFH; LOOKUP 'ro'; GETFH", "ro");
	make_file(0, "demo", "file", "file");
	make_file(0, "demo", "other", "other");
	make_file(0, "demo", "denied", "denied");
	make_file(0, "demo", "big", "big");
	make_file(0, "demo", "gone", "gone");
	make_file(7, "demo", "mine", "mine");
	make_file(9, "demo", "quota", "quota");
	set("PUTFH @file; WRITE $zero q0 2 'some text'");
	set("PUTFH @big; SETATTR $zero 1 0x10 8 q0x400000");
	set("PUTFH @mine; SETATTR $zero 2 0 2 4 0x180");
	set("PUTFH @mine; WRITE $zero q0 2 'mine'");
	v4_script_fh("PUTFH @ro; LOOKUP 'file'; GETFH", "rofile");
	set("PUTFH @demo; CREATE 2 'dir' 0 0");
	set("PUTFH @demo; CREATE 2 'full' 0 0");
	set("PUTFH @demo; LOOKUP 'full'; CREATE 2 'entry' 0 0");
	set("PUTFH @demo; CREATE 2 'goned' 0 0");
	set("PUTFH @demo; CREATE 2 'sticky' 2 0 2 4 0x3ff");
	set("PUTFH @demo; CREATE 5 'file' 'link' 0 0");
	set("PUTFH @demo; CREATE 7 'fifo' 0 0");
	set("uid=7 PUTFH @demo; CREATE 2 'locked' 2 0 2 4 0x1c0");
	static const char *const names[] = {"dir", "goned", "sticky", "link", "fifo", "locked"};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		char text[80];
		snprintf(text, sizeof(text), "PUTFH @demo; LOOKUP '%s'; GETFH", names[i]);
		v4_script_fh(text, names[i]);
	}
	make_file(7, "sticky", "theirs", "theirs");
	set("PUTFH @demo; REMOVE 'gone'");
	set("PUTFH @demo; REMOVE 'goned'");
	bend("file", "forged", 1000);
	bend("file", "nofs", 8);
	nas_run(&nas, limit);
}

static void put_sid(const char *name, uint32_t seq, const char *from, int byte)
{
	struct v4_stateid s = {{0}};
	if (from)
		s = *v4_sid_of(from);
	be32_put(s.b, be32_get(s.b) + seq);
	if (byte >= 0)
		s.b[byte] ^= 0x55;
	v4_name_sid(name, &s);
}

static void open_one(const char *owner, const char *access, const char *dir, const char *name,
		     const char *as, bool again)
{
	char text[160];
	bool old = minor == 0;
	snprintf(text, sizeof(text), "PUTFH @%s; OPEN %c%s %s 0 &a '%s' 0 0 '%s'", dir,
		 old ? '+' : '0', old ? owner : "", access, owner, name);
	v4_script_sid(text, as);
	if (!old || again)
		return;
	snprintf(text, sizeof(text), "PUTFH @%s; OPEN_CONFIRM $%s +%s", name, as, owner);
	v4_script_sid(text, as);
}

/* What is open and locked, of the minor version. */
static void make_states(void)
{
	struct v4_stateid s, ones;
	struct v4_fh fh;
	open_one("o", "3", "demo", "file", "rw", false);
	open_one("r", "1", "demo", "file", "r", false);
	open_one("p", "1", "demo", "other", "rwo", false);
	open_one("p", "2", "demo", "other", "rwo", true);
	put_sid("old", 0, "rw", -1);
	open_one("o", "3", "demo", "file", "rw", true);
	put_sid("new", 5, "rw", -1);
	put_sid("boot", 0, "rw", 4);
	put_sid("none", 0, "rw", 15);
	put_sid("any", (uint32_t)-be32_get(v4_sid_of("rw")->b), "rw", -1);
	put_sid("current", 1, NULL, -1);
	memset(&ones, 0xff, sizeof(ones));
	v4_name_sid("ones", &ones);
	if (minor) {
		v4_script_sid("PUTFH @file; LOCK 2 0 q0 q10 1 0 $rw 0 &a 'k'", "lk");
		put_sid("oldlk", 0, "lk", -1);
		v4_script_sid("PUTFH @file; LOCK 2 0 q2 q2 0 $lk 0", "lk");
		v4_script_sid("PUTFH @file; LOCK 2 0 q100 q1 1 0 $rw 0 &a 'u'", "unlocked");
		v4_script_sid("PUTFH @file; LOCKU 2 0 $unlocked q100 q1", "unlocked");
	} else {
		v4_script_sid("PUTFH @file; LOCK 2 0 q0 q10 1 +o $rw 1 &a 'k'", "lk");
		put_sid("oldlk", 0, "lk", -1);
		v4_script_sid("PUTFH @file; LOCK 2 0 q2 q2 0 $lk 2", "lk");
		v4_script_seq("k", 2);
	}
	/* Of the other clients: a lock in the way, a file that nobody else may have. */
	ck_assert_uint_eq(v4_open_file(&maker, v4_fh_of("demo"), "file", "m", 3, 0, 0, &s, &fh), 0);
	v4_name_sid("bclient", &s);
	ck_assert_uint_eq(v4_lock(&maker, &fh, &s, "m", WRITE_LT, 1000, 10, false, &s), 0);
	ck_assert_uint_eq(v4_open_file(&maker, v4_fh_of("demo"), "denied", "m", 3, 3, 0, &s, &fh),
			  0);
}

static void connect_as(struct v4 *c, const char *name)
{
	v4_open(c, nas.port);
	if (minor == 0)
		v4_client0(c, name);
	else
		v4_client(c, name);
	c->minor = minor;
}

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&maker, nas.port);
	v4_client(&maker, "maker");
	v4_script_clients(&maker, &maker);
	put_sid("zero", 0, NULL, -1);
	make_objects();
	connect_as(&a, "client a");
	connect_as(&b, "client b");
	v4_script_clients(&a, &b);
	make_states();
}

static void up40(void)
{
	minor = 0;
	up();
}

static void up41(void)
{
	minor = 1;
	up();
}

static void up42(void)
{
	minor = 2;
	up();
}

static void down(void)
{
	v4_close(&maker);
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

/* ---- the tables ---- */

START_TEST(operations_answer_as_the_tables_say)
{
	const struct errors_table *tables[] = {&errors_sessions, &errors_handles, &errors_data,
					       &errors_attrs,	 &errors_names,	  &errors_locks};
	unsigned bad = 0;
	for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
		bad += v4_rows_run(tables[i]->rows, tables[i]->count);
	ck_assert_uint_eq(bad, 0);
}
END_TEST

/* ---- what any operation may say ---- */

static bool is_here(const struct errors_op *o)
{
	return o->minors >> minor & 1;
}

/* Without a session. */
static bool may_stand_alone(const struct errors_op *o)
{
	static const char *const names[] = {"BIND_CONN_TO_SESSION", "CREATE_SESSION",
					    "DESTROY_CLIENTID", "DESTROY_SESSION", "EXCHANGE_ID"};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], o->op) == 0)
			return true;
	return false;
}

static unsigned wrong(const struct errors_op *o, uint32_t got, uint32_t want)
{
	if (got == want)
		return 0;
	fprintf(stderr, "4.%u %s: %s instead of %s\n", minor, o->op, v4_status_name(got),
		v4_status_name(want));
	return 1;
}

static uint32_t script(const char *before, const struct errors_op *o, const char *args)
{
	char text[400];
	snprintf(text, sizeof(text), "%s%s%s %s", before ? before : "", before ? "; " : "", o->op,
		 args);
	return v4_script(text);
}

START_TEST(of_what_does_not_look_at_the_file_system)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < errors_ops_count; i++) {
		const struct errors_op *o = &errors_ops[i];
		char bare[400];
		if (!is_here(o))
			continue;
		snprintf(bare, sizeof(bare), "bare %s %s", o->op, o->args);
		if (minor && !may_stand_alone(o))
			bad += wrong(o, v4_script(bare), NFS4ERR_OP_NOT_IN_SESSION);
		if (*o->args)
			bad += wrong(o, script(o->fh, o, ""), NFS4ERR_BADXDR);
		if (o->fh && strcmp(o->op, "OPENATTR") && strcmp(o->op, "RESTOREFH"))
			bad += wrong(o, script(NULL, o, o->args), NFS4ERR_NOFILEHANDLE);
		if (o->gone)
			bad += wrong(o, script(o->gone, o, o->args), NFS4ERR_STALE);
	}
	ck_assert_uint_eq(bad, 0);
}
END_TEST

START_TEST(of_a_request_that_was_not_kept)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < errors_ops_count; i++) {
		if (!is_here(&errors_ops[i]))
			continue;
		script(NULL, &errors_ops[i], errors_ops[i].args);
		bad += wrong(&errors_ops[i], v4_again(&a), NFS4ERR_RETRY_UNCACHED_REP);
	}
	ck_assert_uint_eq(bad, 0);
}
END_TEST

/* As many SAVEFH as leave no room for what follows. */
static uint32_t fill(const struct errors_op *o, bool kept)
{
	char text[600];
	/* status, tag, count; SEQUENCE; PUTFH and what else is before; the last's own number. */
	size_t used = 16 + 44 + 8, max = SMALL - 24;
	size_t n = snprintf(text, sizeof(text), "%s%s", kept ? "cache " : "",
			    o->fh ? o->fh : "PUTFH @file");
	for (const char *p = text; (p = strchr(p, ';')); p++)
		used += 8;
	for (; used + 16 <= max; used += 8)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "; SAVEFH");
	snprintf(text + n, sizeof(text) - n, "; %s %s", o->op, o->args);
	return v4_script(text);
}

static unsigned fill_all(bool kept)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < errors_ops_count; i++)
		if (is_here(&errors_ops[i]))
			bad += wrong(&errors_ops[i], fill(&errors_ops[i], kept),
				     kept ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4ERR_REP_TOO_BIG);
	return bad;
}

START_TEST(of_a_reply_that_is_too_big)
{
	a.max_reply = SMALL;
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(fill_all(false), 0);
	a.max_reply = 0;
	a.max_kept = SMALL;
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(fill_all(true), 0);
	ck_assert_uint_eq(v4_script("PUTFH @file; GETATTR 1 2"), 0);
}
END_TEST

/* These have nothing to say but how it went. */
static const char no_result[] =
    " DELEGRETURN LOOKUP LOOKUPP NVERIFY OPENATTR RESTOREFH SAVEFH VERIFY ";

/* Version 4.0: the reply has the server's limit. READs fill it, SAVEFH the rest. */
START_TEST(of_a_reply_that_is_too_big_for_version_4_0)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < errors_ops_count; i++) {
		const struct errors_op *o = &errors_ops[i];
		char text[600];
		if (!is_here(o) || !o->fh)
			continue;
		snprintf(text, sizeof(text),
			 "PUTFH @big; READ $zero q0 0x100000; READ $zero q0 0x100000; %s; SAVEFH; "
			 "SAVEFH; SAVEFH; SAVEFH; SAVEFH; SAVEFH; SAVEFH; SAVEFH; %s %s",
			 o->fh, o->op, o->args);
		uint32_t got = v4_script(text);
		char name[40];
		snprintf(name, sizeof(name), " %s ", o->op);
		bool empty = strstr(no_result, name);
		if ((got == NFS4ERR_RESOURCE) == empty) {
			fprintf(stderr, "%s: %s\n", o->op, v4_status_name(got));
			bad++;
		}
	}
	ck_assert_uint_eq(bad, 0);
}
END_TEST

/* ---- sessions ---- */

static uint32_t sequence(uint32_t seq, uint32_t slot, uint32_t highest, bool other)
{
	v4_begin(&a);
	v4_op(&a, OP_SEQUENCE);
	xdr_put_fixed(&a.x, a.session, NFS4_SESSIONID);
	if (other)
		a.x.p[-1] ^= 1;
	xdr_put_u32(&a.x, seq);
	xdr_put_u32(&a.x, slot);
	xdr_put_u32(&a.x, highest);
	xdr_put_bool(&a.x, false);
	return v4_send(&a);
}

START_TEST(of_slots)
{
	ck_assert_uint_eq(v4_script("PUTROOTFH"), 0);
	ck_assert_uint_eq(sequence(a.seq + 1, 0, 0, true), NFS4ERR_BADSESSION);
	ck_assert_uint_eq(sequence(1, 16, 16, false), NFS4ERR_BADSLOT);
	ck_assert_uint_eq(sequence(1, 1, 16, false), NFS4ERR_BAD_HIGH_SLOT);
	ck_assert_uint_eq(sequence(a.seq + 2, 0, 0, false), NFS4ERR_SEQ_MISORDERED);
	ck_assert_uint_eq(sequence(a.seq - 1, 0, 0, false), NFS4ERR_SEQ_MISORDERED);
	ck_assert_uint_eq(sequence(0, 1, 1, false), NFS4ERR_SEQ_MISORDERED); /* not used yet */
	ck_assert_uint_eq(sequence(2, 1, 1, false), NFS4ERR_SEQ_MISORDERED);
	a.uid = 8; /* another's request under the same number */
	ck_assert_uint_eq(sequence(a.seq, 0, 0, false), NFS4ERR_SEQ_FALSE_RETRY);
	a.uid = 0;
	v4_begin(&a);
	v4_op(&a, OP_SEQUENCE);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADXDR);
	/* None of that was counted. */
	ck_assert_uint_eq(v4_script("PUTROOTFH"), 0);
	char text[400] = "early PUTROOTFH";
	for (unsigned i = 0; i < 32; i++)
		strcat(text, "; SAVEFH");
	ck_assert_uint_eq(v4_script(text), NFS4ERR_TOO_MANY_OPS);
	a.max_request = 512;
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_script("early PUTFH @demo; LOOKUP %600"), NFS4ERR_REQ_TOO_BIG);
	ck_assert_uint_eq(v4_script("PUTFH @demo; LOOKUP 'file'"), 0);
}
END_TEST

START_TEST(of_clients_that_end)
{
	struct v4 c;
	v4_open(&c, nas.port);
	v4_client(&c, "short");
	c.minor = minor;
	v4_begin(&c);
	v4_op(&c, OP_DESTROY_SESSION);
	xdr_put_fixed(&c.x, c.session, NFS4_SESSIONID);
	ck_assert_uint_eq(v4_send(&c), 0);
	v4_begin(&c);
	v4_op(&c, OP_DESTROY_CLIENTID);
	xdr_put_u64(&c.x, c.client);
	ck_assert_uint_eq(v4_send(&c), 0);
	/* Its maker's session in version 4.2, and the end of what there is to reclaim. */
	ck_assert_uint_eq(v4_exchange(&c, "short", 2, 0), 0);
	ck_assert_uint_eq(v4_session(&c), 0);
	ck_assert_uint_eq(v4_reclaim_done(&c), 0);
	v4_close(&c);
}
END_TEST

/* ---- at the end ---- */

static const char *const all_ops[V4_MINORS] = {
    "ACCESS CLOSE COMMIT CREATE DELEGPURGE DELEGRETURN GETATTR GETFH ILLEGAL LINK LOCK LOCKT LOCKU "
    "LOOKUP LOOKUPP NVERIFY OPEN OPENATTR OPEN_CONFIRM OPEN_DOWNGRADE PUTFH PUTPUBFH PUTROOTFH "
    "READ "
    "READDIR READLINK RELEASE_LOCKOWNER REMOVE RENAME RENEW RESTOREFH SAVEFH SECINFO SETATTR "
    "SETCLIENTID SETCLIENTID_CONFIRM VERIFY WRITE",
    "BIND_CONN_TO_SESSION CREATE_SESSION DESTROY_CLIENTID DESTROY_SESSION EXCHANGE_ID SEQUENCE "
    "BACKCHANNEL_CTL FREE_STATEID GET_DIR_DELEGATION GETDEVICEINFO GETDEVICELIST LAYOUTCOMMIT "
    "LAYOUTGET LAYOUTRETURN SECINFO_NO_NAME SET_SSV TEST_STATEID RECLAIM_COMPLETE",
    "ALLOCATE DEALLOCATE SEEK IO_ADVISE COPY CLONE READ_PLUS OFFLOAD_CANCEL OFFLOAD_STATUS "
    "COPY_NOTIFY LAYOUTERROR LAYOUTSTATS WRITE_SAME GETXATTR SETXATTR LISTXATTRS REMOVEXATTR",
};

static bool complete(void)
{
	bool good = true;
	for (unsigned i = 0; i < V4_MINORS; i++)
		good &= v4_seen_check(all_ops[i], errors_never, errors_never_count);
	return good;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*up)(void);
	} worlds[] = {{"4.0", up40}, {"4.1", up41}, {"4.2", up42}};
	Suite *s = suite_create("nfs4_errors");
	for (unsigned i = 0; i < ARRAY_LEN(worlds); i++) {
		TCase *t = tcase_create(worlds[i].name);
		tcase_add_checked_fixture(t, worlds[i].up, down);
		tcase_add_test(t, operations_answer_as_the_tables_say);
		tcase_add_test(t, of_what_does_not_look_at_the_file_system);
		if (i) {
			tcase_add_test(t, of_a_request_that_was_not_kept);
			tcase_add_test(t, of_a_reply_that_is_too_big);
			tcase_add_test(t, of_slots);
			tcase_add_test(t, of_clients_that_end);
		} else {
			tcase_add_test(t, of_a_reply_that_is_too_big_for_version_4_0);
		}
		tcase_set_timeout(t, 60);
		suite_add_tcase(s, t);
	}
	v4_seen_begin();
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	bool failed = srunner_ntests_failed(r), whole = failed || complete();
	srunner_free(r);
	return failed || !whole ? EXIT_FAILURE : EXIT_SUCCESS;
}
