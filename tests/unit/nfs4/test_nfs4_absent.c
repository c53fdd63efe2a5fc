/*
 * File systems that other heads serve, in versions 4.0, 4.1 and 4.2: the way into them, what every
 * operation says there, attributes and directories (RFC 7530 8.3, RFC 8881 11.3).
 *
 *   /far       of head two, at 192.0.2.7 port 2049 and 192.0.2.8 port 2050
 *   /all/near  of head three, which serves on all addresses of this host, port 20490
 *   /mute      of head four, which has not said where it serves
 *   /hidden    of head two, not for this client
 */
#include <check.h>
#include <string.h>
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"
#include "tests/unit/nfs4/v4_script.h"

#define FAR_FS	     88
#define FAR_EXPORT   50
#define LOCATIONS    "0x1000000" /* fs_locations, in the first word */
#define MOVED_STATUS 10019
#define LOC_BIT	     (1u << FATTR4_FS_LOCATIONS)
#define FSID_BIT     (1u << FATTR4_FSID)
#define ERROR_BIT    (1u << FATTR4_RDATTR_ERROR)
#define TYPE_BIT     (1u << FATTR4_TYPE)
#define MOUNTED_BIT  (1u << (FATTR4_MOUNTED_ON_FILEID - 32))
#define INFO_BIT     (1u << (FATTR4_FS_LOCATIONS_INFO - 64))

static struct nas nas;
static struct v4 a, b;
static uint32_t minor;

/* ---- the world ---- */

static bool spread; /* the configuration has other heads */

static void namespace_step(struct nas *n)
{
	static char *two[] = {"192.0.2.7.8.1", "192.0.2.8.8.2"}, *three[] = {"0.0.0.0.80.10"};
	static const struct {
		const char *path, *head, *match;
	} rows[] = {{"/demo", "", "*"},
		    {"/far", "two", "127.0.0.1"},
		    {"/all/near", "three", "*"},
		    {"/mute", "four", "*"},
		    {"/hidden", "two", "192.0.2.0/24"}};
	enum { N = ARRAY_LEN(rows) };
	Isthmus__NasExport e[N], *list[N];
	Isthmus__NasExportClient c[N], *clients[N];
	Isthmus__NasHead h[3], *heads[3];
	Isthmus__NasConfig cfg = ISTHMUS__NAS_CONFIG__INIT;
	for (unsigned i = 0; i < N; i++) {
		isthmus__nas_export_client__init(&c[i]);
		c[i].match = (char *)rows[i].match;
		c[i].read_write = true;
		c[i].squash = (char *)"none";
		clients[i] = &c[i];
		isthmus__nas_export__init(&e[i]);
		e[i].id = i ? FAR_EXPORT + i - 1 : NAS_EXPORT_ID;
		e[i].path = (char *)rows[i].path;
		e[i].fs = (char *)(i ? "elsewhere" : "fs0");
		e[i].subdir = (char *)"/";
		e[i].head = (char *)rows[i].head;
		e[i].fs_id = i ? FAR_FS + i - 1 : 0;
		e[i].n_clients = 1;
		e[i].clients = &clients[i];
		list[i] = &e[i];
	}
	for (unsigned i = 0; i < ARRAY_LEN(h); i++) {
		isthmus__nas_head__init(&h[i]);
		heads[i] = &h[i];
	}
	h[0].name = (char *)"two";
	h[0].addresses = two;
	h[0].n_addresses = ARRAY_LEN(two);
	h[1].name = (char *)"three";
	h[1].addresses = three;
	h[1].n_addresses = 1;
	h[2].name = (char *)"four";
	cfg.exports = list;
	cfg.n_exports = 1;
	cfg.elsewhere = list + 1;
	cfg.n_elsewhere = spread ? N - 1 : 0;
	cfg.heads = heads;
	cfg.n_heads = ARRAY_LEN(h);
	ASSERT(nfs_namespace_set(n->nfs, &cfg) == 0);
}

/* As the head that serves it makes them; its checksum is not for others to know. */
static void name_far(const char *name, uint64_t fs, uint64_t export)
{
	struct v4_fh fh = {.len = 40};
	le32_put(fh.b, 1);
	le64_put(fh.b + 8, fs);
	le64_put(fh.b + 16, export);
	le64_put(fh.b + 24, 4711);
	v4_name_fh(name, &fh);
}

static void connect_as(struct v4 *c, const char *owner)
{
	v4_open(c, nas.port);
	c->minor = minor;
	if (minor)
		v4_client(c, owner);
	else
		v4_client0(c, owner);
}

static void up(unsigned m)
{
	minor = m;
	spread = true;
	nas_up(&nas);
	nas_serve4(&nas);
	nas_run(&nas, namespace_step);
	connect_as(&a, "one");
	connect_as(&b, "other");
	v4_script_clients(&a, &b);
	v4_script_fh("PUTROOTFH; LOOKUP 'demo'; GETFH", "demo");
	name_far("far", FAR_FS, FAR_EXPORT);
	name_far("hidden", FAR_FS + 3, FAR_EXPORT + 3);
	name_far("mute", FAR_FS + 2, FAR_EXPORT + 2);
	name_far("nofs", FAR_FS + 1, FAR_EXPORT);
	name_far("noexport", FAR_FS, FAR_EXPORT + 77);
	v4_name_sid("zero", &(struct v4_stateid){{0}});
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

/* ---- operations ---- */

#define ALL   (V40 | V41 | V42)
#define LATER (V41 | V42)

static const struct v4_row_test rows[] = {
    /* Names lead there, and no further. */
    {ALL, "PUTROOTFH; LOOKUP 'far'", "OK"},
    {ALL, "PUTROOTFH; LOOKUP 'all'; LOOKUP 'near'", "OK"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; GETFH", "MOVED"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; LOOKUP 'x'", "MOVED"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; LOOKUPP", "MOVED"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; SAVEFH", "MOVED"},
    {ALL, "PUTROOTFH; LOOKUP 'hidden'", "NOENT"},
    {ALL, "PUTROOTFH; LOOKUP 'mute'", "DELAY"},
    {ALL, "PUTROOTFH; SECINFO 'far'", "OK"},
    {ALL, "PUTROOTFH; SECINFO 'hidden'", "NOENT"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; SECINFO 'x'", "MOVED"},
    {LATER, "PUTROOTFH; LOOKUP 'far'; SECINFO_NO_NAME 0", "MOVED"},
    {ALL, "PUTROOTFH; LOOKUP 'far'; PUTROOTFH; GETFH", "OK"},
    /* Handles. */
    {ALL, "PUTFH @far", "OK"},
    {ALL, "PUTFH @hidden", "STALE"},
    {ALL, "PUTFH @mute", "DELAY"},
    {ALL, "PUTFH @nofs", "STALE"},
    {ALL, "PUTFH @noexport", "STALE"},
    {ALL, "PUTFH @demo; SAVEFH; PUTFH @far; RESTOREFH; GETFH", "OK"},
    /* Operations. */
    {ALL, "PUTFH @far; ACCESS 63", "MOVED"},
    {ALL, "PUTFH @far; CLOSE 1 $zero", "MOVED"},
    {ALL, "PUTFH @far; COMMIT q0 0", "MOVED"},
    {ALL, "PUTFH @far; CREATE 2 'x' 0 0", "MOVED"},
    {ALL, "PUTFH @far; DELEGRETURN $zero", "MOVED"},
    {ALL, "PUTFH @far; GETFH", "MOVED"},
    {ALL, "PUTFH @demo; SAVEFH; PUTFH @far; LINK 'x'", "MOVED"},
    {ALL, "PUTFH @far; LOCK 2 0 q0 q1 0 $zero 1", "MOVED"},
    {ALL, "PUTFH @far; LOCKT 2 q0 q1 &a 'l'", "MOVED"},
    {ALL, "PUTFH @far; LOCKU 2 1 $zero q0 q1", "MOVED"},
    {ALL, "PUTFH @far; LOOKUP 'x'", "MOVED"},
    {ALL, "PUTFH @far; LOOKUPP", "MOVED"},
    {V40, "PUTFH @far; OPEN 1 1 0 &a 'o' 0 0 'x'", "MOVED"},
    {LATER, "PUTFH @far; OPEN 1 1 0 &a 'o' 0 0 'x'", "MOVED"},
    {V40, "PUTFH @far; OPEN_CONFIRM $zero 1", "MOVED"},
    {ALL, "PUTFH @far; OPEN_DOWNGRADE $zero 1 1 0", "MOVED"},
    {ALL, "PUTFH @far; READ $zero q0 10", "MOVED"},
    {ALL, "PUTFH @far; READDIR q0 q0 1000 8000 1 0x100000", "MOVED"},
    {ALL, "PUTFH @far; READLINK", "MOVED"},
    {ALL, "PUTFH @far; REMOVE 'x'", "MOVED"},
    {ALL, "PUTFH @demo; SAVEFH; PUTFH @far; RENAME 'x' 'y'", "MOVED"},
    {ALL, "PUTFH @far; SAVEFH", "MOVED"},
    {ALL, "PUTFH @far; SECINFO 'x'", "MOVED"},
    {ALL, "PUTFH @far; SETATTR $zero 2 0 2 4 0x1a4", "MOVED"},
    {ALL, "PUTFH @far; WRITE $zero q0 2 'text'", "MOVED"},
    {V42, "PUTFH @far; ALLOCATE $zero q0 q100", "MOVED"},
    {V42, "PUTFH @demo; SAVEFH; PUTFH @far; CLONE $zero $zero q0 q0 q0", "MOVED"},
    {V42, "PUTFH @demo; SAVEFH; PUTFH @far; COPY $zero $zero q0 q0 q0 1 1 0", "MOVED"},
    {V42, "PUTFH @far; DEALLOCATE $zero q0 q100", "MOVED"},
    {V42, "PUTFH @far; IO_ADVISE $zero q0 q0 1 1", "MOVED"},
    {V42, "PUTFH @far; OFFLOAD_CANCEL $zero", "BAD_STATEID"},
    {V42, "PUTFH @far; OFFLOAD_STATUS $zero", "BAD_STATEID"},
    {V42, "PUTFH @far; READ_PLUS $zero q0 10", "MOVED"},
    {V42, "PUTFH @far; SEEK $zero q0 0", "MOVED"},
    {V42, "PUTFH @far; GETXATTR 'user'", "MOVED"},
    {V42, "PUTFH @far; SETXATTR 0 'user' 'value'", "MOVED"},
    {V42, "PUTFH @far; LISTXATTRS q0 1000", "MOVED"},
    {V42, "PUTFH @far; REMOVEXATTR 'user'", "MOVED"},
    /* Attributes: who asks where it is is told. */
    {ALL, "PUTFH @far; GETATTR 1 2", "MOVED"},
    {ALL, "PUTFH @far; GETATTR 1 0x100", "MOVED"},
    {ALL, "PUTFH @far; GETATTR 1 0x800", "MOVED"},
    {ALL, "PUTFH @far; GETATTR 1 " LOCATIONS, "OK"},
    {ALL, "PUTFH @far; GETATTR 2 0xffffffff 0x00ffffff", "INVAL"}, /* only for setting */
    {V40, "PUTFH @far; GETATTR 3 0 0 8", "MOVED"},
    {LATER, "PUTFH @far; GETATTR 3 0 0 8", "OK"},
    {ALL, "PUTFH @far; VERIFY 1 2 4 1", "MOVED"},
    {ALL, "PUTFH @far; NVERIFY 1 2 4 1", "MOVED"},
    {ALL, "PUTFH @far; NVERIFY 1 0x1000002 4 1", "MOVED"},
    {ALL, "PUTFH @far; NVERIFY 1 " LOCATIONS " 4 1", "OK"},
    {ALL, "PUTFH @far; VERIFY 1 " LOCATIONS " 4 1", "NOT_SAME"},
    /* Of what is here: its path, and no other place. */
    {ALL, "PUTFH @demo; GETATTR 1 " LOCATIONS, "OK"},
    {ALL, "PUTFH @demo; VERIFY 1 " LOCATIONS " 16 1 'demo' 0", "OK"},
    {ALL, "PUTROOTFH; VERIFY 1 " LOCATIONS " 8 0 0", "OK"},
};

START_TEST(operations)
{
	up((unsigned)_i);
	ck_assert_uint_eq(v4_rows_run(rows, ARRAY_LEN(rows)), 0);
	down();
}
END_TEST

/* ---- where it is ---- */

static void take_text(const char *want)
{
	const uint8_t *p;
	uint32_t n = v4_opaque(&a, &p);
	ck_assert_msg(n == strlen(want) && memcmp(p, want, n) == 0, "%.*s, not %s", (int)n, p,
		      want);
}

static void take_locations(const char *path[], const char *servers[])
{
	for (int twice = 0; twice < 2; twice++) {
		unsigned n = 0, s = 0;
		while (path[n])
			n++;
		ck_assert_uint_eq(v4_u32(&a), n);
		for (unsigned i = 0; i < n; i++)
			take_text(path[i]);
		if (twice)
			return;
		while (servers[s])
			s++;
		ck_assert_uint_eq(v4_u32(&a), 1);
		ck_assert_uint_eq(v4_u32(&a), s);
		for (unsigned i = 0; i < s; i++)
			take_text(servers[i]);
	}
}

static void ask(const char *path, uint32_t w0, uint32_t w1, uint32_t w2)
{
	if (minor)
		v4_seq(&a);
	else
		v4_begin(&a);
	v4_path(&a, path);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 3);
	xdr_put_u32(&a.x, w0);
	xdr_put_u32(&a.x, w1);
	xdr_put_u32(&a.x, w2);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_path_res(&a, path);
	ck_assert_uint_eq(v4_res(&a, OP_GETATTR), 0);
}

START_TEST(locations)
{
	const char *far[] = {"far", NULL}, *near[] = {"all", "near", NULL};
	const char *two[] = {"192.0.2.7", "192.0.2.8.8.2", NULL};
	const char *three[] = {"127.0.0.1.80.10", NULL};
	up((unsigned)_i);
	/* All that is asked for; all that is told. */
	ask("/far", LOC_BIT | FSID_BIT | TYPE_BIT | ERROR_BIT | 1u << FATTR4_FILEHANDLE,
	    MOUNTED_BIT | 1u << (FATTR4_MODE - 32), 0);
	ck_assert_uint_eq(v4_u32(&a), 2);
	ck_assert_uint_eq(v4_u32(&a), LOC_BIT | FSID_BIT | ERROR_BIT);
	ck_assert_uint_eq(v4_u32(&a), MOUNTED_BIT);
	v4_u32(&a);
	ck_assert_uint_eq(v4_u64(&a), FAR_FS);
	ck_assert_uint_eq(v4_u64(&a), FAR_EXPORT);
	ck_assert_uint_eq(v4_u32(&a), 0);
	take_locations(far, two);
	ck_assert_uint_ne(v4_u64(&a), 0);
	/* On all addresses: the one that the client reached. */
	ask("/all/near", LOC_BIT, 0, 0);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), LOC_BIT);
	v4_u32(&a);
	take_locations(near, three);
	down();
}
END_TEST

START_TEST(locations_info)
{
	const uint8_t *info;
	up((unsigned)_i);
	ask("/far", TYPE_BIT, 0, INFO_BIT);
	ck_assert_uint_eq(v4_u32(&a), 3);
	ck_assert_uint_eq(v4_u32(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), INFO_BIT);
	v4_u32(&a);
	ck_assert_uint_eq(v4_u32(&a), 0);
	ck_assert_uint_gt(v4_u32(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), 1);
	take_text("far");
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), 2);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(v4_u32(&a), 0);
		ck_assert_uint_eq(v4_opaque(&a, &info), 12);
		ck_assert_uint_eq(info[0], 1);
		take_text(i ? "192.0.2.8.8.2" : "192.0.2.7");
	}
	ck_assert_uint_eq(v4_u32(&a), 1);
	take_text("far");
	down();
}
END_TEST

/* ---- directories ---- */

static uint32_t read_root(uint32_t w0, uint32_t w1)
{
	if (minor)
		v4_seq(&a);
	else
		v4_begin(&a);
	v4_root(&a);
	v4_op(&a, OP_READDIR);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 4096);
	xdr_put_u32(&a.x, 16384);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, w0);
	xdr_put_u32(&a.x, w1);
	uint32_t st = v4_send(&a);
	v4_res(&a, OP_PUTROOTFH);
	if (v4_res(&a, OP_READDIR) == 0)
		v4_u64(&a);
	return st;
}

/* The entry with this name: its bitmap; the values come next. */
static void find(const char *name, uint32_t *w0, uint32_t *w1)
{
	const uint8_t *p;
	for (;;) {
		ck_assert_uint_eq(v4_u32(&a), 1);
		v4_u64(&a);
		uint32_t n = v4_opaque(&a, &p), words;
		bool it = n == strlen(name) && memcmp(p, name, n) == 0;
		words = v4_u32(&a);
		*w0 = words > 0 ? v4_u32(&a) : 0;
		*w1 = words > 1 ? v4_u32(&a) : 0;
		if (it) {
			v4_u32(&a);
			return;
		}
		v4_opaque(&a, &p);
	}
}

START_TEST(directories)
{
	uint32_t w0, w1;
	const char *far[] = {"far", NULL}, *two[] = {"192.0.2.7", "192.0.2.8.8.2", NULL};
	up((unsigned)_i);
	/* Nothing asked of where it is, nor whether all is well: all of it fails. */
	ck_assert_uint_eq(read_root(TYPE_BIT, 0), MOVED_STATUS);
	/* The entry says so. */
	ck_assert_uint_eq(read_root(TYPE_BIT | FSID_BIT | ERROR_BIT, MOUNTED_BIT), 0);
	find("demo", &w0, &w1);
	ck_assert_uint_eq(w0, TYPE_BIT | FSID_BIT | ERROR_BIT);
	v4_u32(&a);
	v4_u64(&a);
	v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 0);
	v4_u64(&a);
	find("far", &w0, &w1);
	ck_assert_uint_eq(w0, FSID_BIT | ERROR_BIT);
	ck_assert_uint_eq(w1, MOUNTED_BIT);
	ck_assert_uint_eq(v4_u64(&a), FAR_FS);
	ck_assert_uint_eq(v4_u64(&a), FAR_EXPORT);
	ck_assert_uint_eq(v4_u32(&a), MOVED_STATUS);
	v4_u64(&a);
	/* It is asked where it is: no error. */
	ck_assert_uint_eq(read_root(LOC_BIT | TYPE_BIT | ERROR_BIT, 0), 0);
	find("far", &w0, &w1);
	ck_assert_uint_eq(w0, LOC_BIT | ERROR_BIT);
	ck_assert_uint_eq(v4_u32(&a), 0);
	take_locations(far, two);
	down();
}
END_TEST

/* What comes back is here: the same handle means a file again, or nothing. */
START_TEST(changes)
{
	up((unsigned)_i);
	ck_assert_uint_eq(v4_script("PUTFH @far; GETATTR 1 " LOCATIONS), 0);
	spread = false;
	nas_run(&nas, namespace_step);
	ck_assert_uint_eq(v4_script("PUTFH @far"), 70);
	ck_assert_uint_eq(v4_script("PUTROOTFH; LOOKUP 'far'"), 2);
	ck_assert_uint_eq(v4_script("PUTFH @demo; GETATTR 1 2"), 0);
	down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_absent");
	TCase *tc = tcase_create("absent");
	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, operations, 0, 3);
	tcase_add_loop_test(tc, locations, 0, 3);
	tcase_add_loop_test(tc, locations_info, 1, 3);
	tcase_add_loop_test(tc, directories, 0, 3);
	tcase_add_loop_test(tc, changes, 0, 3);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
