#include "tests/unit/gss/gss_world.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/log.h"

enum { EXPORT_KRB, EXPORT_PRIVATE, EXPORT_BOTH, EXPORTS };

struct krb_world krb;
struct nas nas;
struct gss_client c;
struct rpc_gss_opts opts;
struct rpc_gss_stats stats;
_Atomic unsigned slow_ms, finds;

/* alice is a user, bob cannot be looked up, the others are nobody here. */
int gss_find(void *arg, const char *principal, const char *local, uint32_t *uid, uint32_t *gid)
{
	if (strcmp(principal, "alice@" KRB_REALM) == 0 && strcmp(local, "alice") == 0) {
		finds++;
		usleep(slow_ms * 1000);
		*uid = ALICE;
		*gid = ALICE;
		return 0;
	}
	return strcmp(local, "bob") == 0 ? -EIO : -ENOENT;
}

static int find_groups(void *arg, const struct host_key *k, struct host_answer **ret)
{
	static const uint32_t gids[] = {ALICE, 77};
	if (k->id != ALICE)
		return -ENOENT;
	*ret = &group_list_new(gids, 2)->answer;
	return 0;
}

static void exports_step(struct nas *n)
{
	static const struct {
		const char *path, *sec;
	} rows[EXPORTS] = {
	    {"/krb", "krb5:krb5i:krb5p"}, {"/private", "krb5p"}, {"/both", "sys:krb5"}};
	Isthmus__NasExport e[EXPORTS], *list[EXPORTS];
	Isthmus__NasExportClient k[EXPORTS], *clients[EXPORTS];
	for (unsigned i = 0; i < EXPORTS; i++) {
		isthmus__nas_export_client__init(&k[i]);
		k[i].sec = (char *)rows[i].sec;
		k[i].sec_match = (char *)"*";
		k[i].read_write = true;
		k[i].squash = (char *)"root";
		k[i].anon_uid = k[i].anon_gid = ANON;
		clients[i] = &k[i];
		isthmus__nas_export__init(&e[i]);
		e[i].id = 5 + i;
		e[i].path = (char *)rows[i].path;
		e[i].fs = (char *)"fs0";
		e[i].subdir = (char *)"/";
		e[i].n_clients = 1;
		e[i].clients = &clients[i];
		list[i] = &e[i];
	}
	ASSERT(nfs_exports_set(n->nfs, list, EXPORTS) == 0);
}

void world_up(void)
{
	static struct groups_opts groups = {.find = find_groups};
	opts.keytab = opts.keytab ? opts.keytab : krb.keytab;
	nas_up_gss(&nas, &opts, &groups);
	nas_serve4(&nas);
	nas_run(&nas, exports_step);
	gc_open(&c, nas.port);
}

void world_down(void)
{
	gc_close(&c);
	nas_down(&nas);
	memset(&opts, 0, sizeof(opts));
}

void setup(void)
{
	memset(&opts, 0, sizeof(opts));
	opts.find = gss_find;
	world_up();
}

void login(const char *user)
{
	ck_assert_int_eq(gc_init(&c, &krb, user, "nfs@localhost"), GSS_S_COMPLETE);
}

/* ---- calls ---- */

static uint8_t args_bytes[600000];

struct xdr_out args_new(void)
{
	return xdr_out_of(args_bytes, sizeof(args_bytes));
}

uint32_t u32(void)
{
	uint32_t v = 0;
	ck_assert(xdr_u32(&c.r, &v));
	return v;
}

void take_fh(struct gss_fh *f)
{
	const uint8_t *p;
	ck_assert(xdr_opaque(&c.r, 64, &p, &f->len));
	memcpy(f->b, p, f->len);
}

/* MNT; the flavours into list. */
unsigned mnt(const char *path, struct gss_fh *f, uint32_t list[4])
{
	struct xdr_out x = args_new();
	xdr_put_string(&x, path);
	ck_assert_int_eq(gc_sys(&c, 0, MOUNT, 3, 1, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	take_fh(f);
	uint32_t n = u32();
	ck_assert_uint_le(n, 4);
	for (unsigned i = 0; i < n; i++)
		list[i] = u32();
	return n;
}

void root_of(const char *path, struct gss_fh *f)
{
	uint32_t list[4];
	mnt(path, f, list);
}

struct xdr_out args_fh(const struct gss_fh *f)
{
	struct xdr_out x = args_new();
	xdr_put_opaque(&x, f->b, f->len);
	return x;
}

/* CREATE UNCHECKED with mode 0640: status; the new handle and its owner. */
uint32_t create(const struct gss_fh *dir, const char *name, struct gss_fh *f, uint32_t *uid)
{
	struct xdr_out x = args_fh(dir);
	const uint32_t rest[] = {0, 1, 0640, 0, 0, 0, 0, 0};
	xdr_put_string(&x, name);
	for (unsigned i = 0; i < ARRAY_LEN(rest); i++)
		xdr_put_u32(&x, rest[i]);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 8, &x), 0);
	uint32_t st = u32();
	if (st)
		return st;
	ck_assert_uint_eq(u32(), 1);
	take_fh(f);
	ck_assert_uint_eq(u32(), 1);
	u32();
	u32();
	u32();
	*uid = u32();
	return 0;
}

int getattr(const struct gss_fh *f)
{
	struct xdr_out x = args_fh(f);
	return gc_call(&c, NFS, 3, 1, &x);
}

uint32_t write_at(const struct gss_fh *f, uint64_t off, const uint8_t *p, uint32_t n)
{
	struct xdr_out x = args_fh(f);
	xdr_put_u64(&x, off);
	xdr_put_u32(&x, n);
	xdr_put_u32(&x, 0);
	xdr_put_opaque(&x, p, n);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 7, &x), 0);
	return u32();
}

void read_equals(const struct gss_fh *f, uint64_t off, const uint8_t *p, uint32_t n)
{
	struct xdr_out x = args_fh(f);
	const uint8_t *got;
	uint32_t len;
	xdr_put_u64(&x, off);
	xdr_put_u32(&x, n);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 6, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	if (u32())
		c.r.p += 84;
	ck_assert_uint_eq(u32(), n);
	u32();
	ck_assert(xdr_opaque(&c.r, n, &got, &len) && len == n);
	ck_assert(memcmp(got, p, n) == 0);
	ck_assert_uint_eq(xdr_left(&c.r), 0);
}

static void stats_step(struct nas *n)
{
	rpc_gss_stats(n->gss, &stats);
}

const struct rpc_gss_stats *stats_now(void)
{
	nas_run(&nas, stats_step);
	return &stats;
}

int gss_suite(const char *name, void (*add)(TCase *t))
{
	Suite *s = suite_create(name);
	TCase *t = tcase_create(name);
	log_set_level(LOG_L_ERROR);
	krb_up(&krb);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, world_down);
	add(t);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	krb_down(&krb);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
