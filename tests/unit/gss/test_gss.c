/* RPCSEC_GSS with a real KDC: contexts, services, replays, what is wrong, who one is. */
#include <check.h>
#include <errno.h>
#include <krb5.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "tests/unit/gss/gss_client.h"
#include "tests/unit/nfs/nas_world.h"

#define NFS   100003
#define MOUNT 100005
#define ALICE 1001
#define ANON  65534

enum { EXPORT_KRB, EXPORT_PRIVATE, EXPORT_BOTH, EXPORTS };

static struct krb_world krb;
static struct nas nas;
static struct gss_client c;
static struct rpc_gss_opts opts;

static _Atomic unsigned slow_ms, finds; /* what the host takes to say who alice is */

/* alice is a user, bob cannot be looked up, the others are nobody here. */
static int find(void *arg, const char *principal, const char *local, uint32_t *uid, uint32_t *gid)
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

static void world_up(void)
{
	static struct groups_opts groups = {.find = find_groups};
	opts.keytab = opts.keytab ? opts.keytab : krb.keytab;
	nas_up_gss(&nas, &opts, &groups);
	nas_serve4(&nas);
	nas_run(&nas, exports_step);
	gc_open(&c, nas.port);
}

static void world_down(void)
{
	gc_close(&c);
	nas_down(&nas);
	memset(&opts, 0, sizeof(opts));
}

static void setup(void)
{
	memset(&opts, 0, sizeof(opts));
	opts.find = find;
	world_up();
}

static void login(const char *user)
{
	ck_assert_int_eq(gc_init(&c, &krb, user, "nfs@localhost"), GSS_S_COMPLETE);
}

/* ---- calls ---- */

struct fh {
	uint8_t b[64];
	uint32_t len;
};

static uint8_t args_bytes[600000];

static struct xdr_out args_new(void)
{
	return xdr_out_of(args_bytes, sizeof(args_bytes));
}

static uint32_t u32(void)
{
	uint32_t v = 0;
	ck_assert(xdr_u32(&c.r, &v));
	return v;
}

static void take_fh(struct fh *f)
{
	const uint8_t *p;
	ck_assert(xdr_opaque(&c.r, 64, &p, &f->len));
	memcpy(f->b, p, f->len);
}

/* MNT; the flavours into list. */
static unsigned mnt(const char *path, struct fh *f, uint32_t list[4])
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

static void root_of(const char *path, struct fh *f)
{
	uint32_t list[4];
	mnt(path, f, list);
}

static struct xdr_out args_fh(const struct fh *f)
{
	struct xdr_out x = args_new();
	xdr_put_opaque(&x, f->b, f->len);
	return x;
}

/* CREATE UNCHECKED with mode 0640: status; the new handle and its owner. */
static uint32_t create(const struct fh *dir, const char *name, struct fh *f, uint32_t *uid)
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

static int getattr(const struct fh *f)
{
	struct xdr_out x = args_fh(f);
	return gc_call(&c, NFS, 3, 1, &x);
}

static uint32_t write_at(const struct fh *f, uint64_t off, const uint8_t *p, uint32_t n)
{
	struct xdr_out x = args_fh(f);
	xdr_put_u64(&x, off);
	xdr_put_u32(&x, n);
	xdr_put_u32(&x, 0);
	xdr_put_opaque(&x, p, n);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 7, &x), 0);
	return u32();
}

static void read_equals(const struct fh *f, uint64_t off, const uint8_t *p, uint32_t n)
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

static struct rpc_gss_stats stats;

static void stats_step(struct nas *n)
{
	rpc_gss_stats(n->gss, &stats);
}

static const struct rpc_gss_stats *stats_now(void)
{
	nas_run(&nas, stats_step);
	return &stats;
}

/* ---- what works ---- */

START_TEST(each_service)
{
	static uint8_t data[300001];
	struct fh root, f;
	uint32_t uid, list[4];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
	login("alice");
	ck_assert_uint_eq(c.window, RPC_GSS_WINDOW);
	c.service = (uint32_t)_i;
	ck_assert_uint_eq(mnt("/krb", &root, list), 3);
	ck_assert(list[0] == 390003 && list[1] == 390004 && list[2] == 390005);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(getattr(&root), 0);
	ck_assert_uint_eq(create(&root, "f", &f, &uid), 0);
	ck_assert_uint_eq(uid, ALICE);
	/* Lengths that need padding and some that do not; more than one page and buffer. */
	static const uint32_t lengths[] = {1, 2, 3, 4, 4095, 4096, 4097, 65536, 300001};
	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		ck_assert_uint_eq(write_at(&f, 0, data, lengths[i]), 0);
		read_equals(&f, 0, data, lengths[i]);
	}
	/* MOUNT and locks by it. */
	struct xdr_out x = args_new();
	xdr_put_string(&x, "/private");
	ck_assert_int_eq(gc_call(&c, MOUNT, 3, 1, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	x = args_new();
	xdr_put_string(&x, "cookie");
	xdr_put_bool(&x, true);
	xdr_put_string(&x, "client");
	xdr_put_opaque(&x, f.b, f.len);
	xdr_put_string(&x, "owner");
	xdr_put_u32(&x, 1);
	xdr_put_u64(&x, 0);
	xdr_put_u64(&x, 0);
	ck_assert_int_eq(gc_call(&c, 100021, 4, 1, &x), 0); /* NLM TEST */
	ck_assert_uint_eq(u32(), 6);
	c.r.p += 8;
	ck_assert_uint_eq(u32(), 0); /* granted */
	/* Errors of RPC are answered with a verifier too. */
	ck_assert_int_eq(gc_call(&c, NFS, 3, 99, NULL), RPC_PROC_UNAVAIL);
	ck_assert_int_eq(gc_call(&c, NFS, 9, 0, NULL), RPC_PROG_MISMATCH);
	ck_assert_int_eq(gc_call(&c, 300000, 1, 0, NULL), RPC_PROG_UNAVAIL);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 1, NULL), RPC_GARBAGE_ARGS);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

/* The same call with a sequence number of its own is answered from the cache of duplicates. */
START_TEST(retransmitted_calls_are_done_once)
{
	struct fh root, f;
	uint32_t uid;
	login("alice");
	c.service = (uint32_t)_i;
	root_of("/krb", &root);
	ck_assert_uint_eq(create(&root, "once", &f, &uid), 0);
	struct xdr_out x = args_fh(&root);
	xdr_put_string(&x, "once");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	c.xid--;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 2);
}
END_TEST

/* What was kept for one is not another's: nor what he says by AUTH_SYS, or with less protection. */
START_TEST(kept_answers_are_the_callers)
{
	struct fh root, f;
	uint32_t uid;
	login("alice");
	c.service = RPC_GSS_PRIVACY;
	root_of("/private", &root);
	ck_assert_uint_eq(create(&root, "secret", &f, &uid), 0);
	struct xdr_out x = args_fh(&root);
	xdr_put_string(&x, "secret");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	c.xid--;
	ck_assert_int_eq(gc_sys(&c, 77, NFS, 3, 12, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.xid--;
	c.service = RPC_GSS_NONE;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.xid--;
	c.service = RPC_GSS_PRIVACY;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 12, &x), 0);
	ck_assert_uint_eq(u32(), 0);
}
END_TEST

/* ---- sequence numbers ---- */

START_TEST(replays_are_dropped)
{
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	ck_assert_uint_eq(stats_now()->replayed, 1);
	/* Out of order inside the window. */
	c.seq = 5000;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	c.seq = 5000 - RPC_GSS_WINDOW + 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	c.seq = 5000 - RPC_GSS_WINDOW;
	gc_send(&c, NFS, 3, 0, NULL);
	ck_assert_int_eq(gc_again(&c), GC_NOTHING);
	ck_assert_uint_eq(stats_now()->replayed, 4);
	c.seq = 4999;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(the_last_number)
{
	login("alice");
	c.seq = GSS_MAXSEQ - 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	c.seq = GSS_MAXSEQ;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CTXPROBLEM);
	c.seq = UINT32_MAX;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CTXPROBLEM);
}
END_TEST

START_TEST(window)
{
	struct gss_ctx x = {0};
	for (uint32_t s = 1; s < 10; s++)
		ck_assert(gss_ctx_seq(&x, s) && !gss_ctx_seq(&x, s));
	ck_assert(gss_ctx_seq(&x, 0));
	/* A jump clears what lies between, also around the end of the bits. */
	for (uint32_t at = 9, k = 1; at < 40 * RPC_GSS_WINDOW; k = k * 3 % 1511 + 1) {
		at += k;
		ck_assert(gss_ctx_seq(&x, at) && !gss_ctx_seq(&x, at));
		for (uint32_t s = at - MIN(k, RPC_GSS_WINDOW) + 1; s < at; s++)
			ck_assert(gss_ctx_seq(&x, s) && !gss_ctx_seq(&x, s));
		ck_assert(at < RPC_GSS_WINDOW || !gss_ctx_seq(&x, at - RPC_GSS_WINDOW));
	}
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(wrong_verifiers)
{
	login("alice");
	c.bad.verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.bad.plain_verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	/* Who cannot sign moves no window. */
	uint32_t seq = c.seq;
	c.seq = 1000000;
	c.bad.verf = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.seq = seq;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(wrong_bodies)
{
	struct fh root;
	login("alice");
	root_of("/krb", &root);
	c.service = (uint32_t)_i;
	c.bad.body = true;
	ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	c.bad.body_seq = true;
	ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	for (int cut = 4; cut <= 16; cut += 4) {
		c.bad.cut = cut;
		ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	}
	if (c.service == RPC_GSS_PRIVACY) {
		c.bad.no_conf = true;
		ck_assert_int_eq(getattr(&root), RPC_GARBAGE_ARGS);
	}
	ck_assert_int_eq(getattr(&root), 0);
}
END_TEST

START_TEST(wrong_credentials)
{
	login("alice");
	c.bad.version = 2;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	c.bad.proc = 4;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	c.bad.trailing = true;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_AUTH_BADCRED);
	static const uint32_t services[] = {0, 4, UINT32_MAX};
	for (unsigned i = 0; i < 3; i++) {
		c.service = services[i];
		gc_send(&c, NFS, 3, 0, NULL);
		ck_assert_int_eq(gc_recv(&c, 0), GC_DENIED - RPC_AUTH_BADCRED);
	}
	c.service = RPC_GSS_NONE;
	/* Control messages are for the null procedure. */
	c.bad.nfs_proc = 1;
	ck_assert_int_eq(gc_destroy(&c), GC_DENIED - RPC_AUTH_BADCRED);
	c.handle[0] ^= 1;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle[0] ^= 1;
	c.handle_len--;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle_len++;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(garbage_tokens)
{
	static uint8_t bytes[GSS_TOKEN_MAX + 4];
	static const uint32_t lengths[] = {0, 1, 2, 17, 600, 5000, GSS_TOKEN_MAX};
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 0x60);
	for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
		ck_assert_int_gt(gc_init_raw(&c, 1, bytes, lengths[i]), 0);
		ck_assert_uint_eq(c.handle_len, 0);
		ck_assert(GSS_ERROR(c.major));
	}
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, sizeof(bytes)), -1000 - RPC_GARBAGE_ARGS);
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	c.handle_len = 16;
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, 4), GC_DENIED - RPC_AUTH_BADCRED);
	c.handle_len = 0;
	c.bad.nfs_proc = 1;
	ck_assert_int_eq(gc_init_raw(&c, 1, bytes, 4), GC_DENIED - RPC_AUTH_BADCRED);
	ck_assert_uint_eq(stats_now()->refused, ARRAY_LEN(lengths));
	ck_assert_uint_eq(stats.contexts, 0);
	login("alice");
	/* A context that stands goes on no more. */
	ck_assert_int_eq(gc_init_raw(&c, 2, bytes, 4), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

/* ---- the end of contexts ---- */

START_TEST(destroyed)
{
	login("alice");
	c.service = (uint32_t)_i;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_uint_eq(stats_now()->contexts, 1);
	ck_assert_int_eq(gc_destroy(&c), 0);
	ck_assert_uint_eq(stats_now()->contexts, 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_destroy(&c), GC_DENIED - RPC_GSS_CREDPROBLEM);
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(expired)
{
	world_down();
	opts.find = find;
	if (_i)
		opts.idle_ns = NS_PER_S;
	else
		opts.life_ns = NS_PER_S;
	world_up();
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	usleep(1300000);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

START_TEST(the_least_lately_used_gives_way)
{
	struct gss_client a, b;
	world_down();
	opts.find = find;
	opts.contexts = 2;
	world_up();
	gc_open(&a, nas.port);
	gc_open(&b, nas.port);
	login("alice");
	ck_assert_int_eq(gc_init(&a, &krb, "alice", "nfs@localhost"), 0);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_init(&b, &krb, "alice", "nfs@localhost"), 0);
	ck_assert_uint_eq(stats_now()->contexts, 2);
	ck_assert_uint_eq(stats.evicted, 1);
	ck_assert_int_eq(gc_call(&a, NFS, 3, 0, NULL), GC_DENIED - RPC_GSS_CREDPROBLEM);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	ck_assert_int_eq(gc_call(&b, NFS, 3, 0, NULL), 0);
	gc_close(&a);
	gc_close(&b);
}
END_TEST

/* ---- who one is ---- */

START_TEST(unknown_principals_are_squashed)
{
	static const char *const users[] = {"carol", "host/client"};
	struct fh root, f;
	uint32_t uid = 0;
	login(users[_i]);
	root_of("/krb", &root);
	ck_assert_uint_eq(create(&root, "theirs", &f, &uid), 0);
	ck_assert_uint_eq(uid, ANON);
}
END_TEST

START_TEST(who_cannot_be_looked_up_gets_no_context)
{
	ck_assert_int_gt(gc_init(&c, &krb, "bob", "nfs@localhost"), 0);
	ck_assert(GSS_ERROR(c.major));
	login("alice");
}
END_TEST

START_TEST(users_of_the_host)
{
	struct fh root, f;
	uint32_t uid = 0;
	world_down();
	world_up();
	login("daemon");
	root_of("/krb", &root);
	ck_assert_uint_eq(create(&root, "daemons", &f, &uid), 0);
	ck_assert_uint_eq(uid, 1);
	gc_close(&c);
	gc_open(&c, nas.port);
	login("carol");
	ck_assert_uint_eq(create(&root, "carols", &f, &uid), 0);
	ck_assert_uint_eq(uid, ANON);
}
END_TEST

static void shared_step(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE | FS_SET_GID, .mode = 0040, .gid = 77};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr a;
	for (; fs_getattr(n->fs, &top, &a); top.generation++)
		ASSERT(top.generation < 4);
	ASSERT(fs_create(n->fs, &root, &top, "shared", 6, FS_CREATE_UNCHECKED, &set, 0, &a, NULL) ==
	       0);
}

static uint32_t access_of(const struct fh *root, const char *name)
{
	struct xdr_out x = args_fh(root);
	struct fh f;
	xdr_put_string(&x, name);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 3, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	take_fh(&f);
	x = args_fh(&f);
	xdr_put_u32(&x, 1);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 4, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	if (u32())
		c.r.p += 84;
	return u32();
}

START_TEST(groups_are_looked_up)
{
	struct fh root;
	nas_run(&nas, shared_step);
	login("alice");
	root_of("/krb", &root);
	ck_assert_uint_eq(access_of(&root, "shared"), 1);
	gc_close(&c);
	gc_open(&c, nas.port);
	login("carol");
	ck_assert_uint_eq(access_of(&root, "shared"), 0);
}
END_TEST

/* ---- keys ---- */

START_TEST(keys_that_are_missing)
{
	char why[256] = "", none[160];
	ck_assert_int_gt(gc_init(&c, &krb, "alice", "nfs@other"), 0);
	ck_assert(GSS_ERROR(c.major));
	ck_assert_uint_eq(stats_now()->refused, 1);
	struct rpc_gss_opts o = {.keytab = krb.keytab};
	ck_assert_int_eq(rpc_gss_look(&o, why, sizeof(why)), 0);
	o.principal = "nfs/localhost";
	ck_assert_int_eq(rpc_gss_look(&o, why, sizeof(why)), 0);
	o.principal = "nfs/localhost@OTHER.REALM";
	ck_assert_int_lt(rpc_gss_look(&o, why, sizeof(why)), 0);
	ck_assert_msg(strstr(why, "ktadd"), "%s", why);
	snprintf(none, sizeof(none), "%s/none.keytab", krb.dir);
	o = (struct rpc_gss_opts){.keytab = none};
	ck_assert_int_lt(rpc_gss_look(&o, why, sizeof(why)), 0);
	ck_assert_msg(strstr(why, "none.keytab") && strstr(why, "ktadd"), "%s", why);
	/* It is used once it is there. */
	world_down();
	opts = (struct rpc_gss_opts){.keytab = none, .find = find};
	world_up();
	ck_assert_int_gt(gc_init(&c, &krb, "alice", "nfs@localhost"), 0);
	krb_shell(&krb, "cp nfs.keytab none.keytab");
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
	unlink(none);
}
END_TEST

START_TEST(remedies)
{
	char why[256];
	gss_error_text(GSS_S_FAILURE, (uint32_t)KRB5KRB_AP_ERR_SKEW, "/k", why, sizeof(why));
	ck_assert_msg(strstr(why, "NTP") && strstr(why, "/k"), "%s", why);
	gss_error_text(GSS_S_FAILURE, (uint32_t)KRB5KRB_AP_ERR_BAD_INTEGRITY, "/k", why,
		       sizeof(why));
	ck_assert_msg(strstr(why, "anew"), "%s", why);
	gss_error_text(GSS_S_DEFECTIVE_TOKEN, 0, "/k", why, 20);
	ck_assert_uint_lt(strlen(why), 20);
}
END_TEST

/* ---- exports ---- */

START_TEST(flavours_of_exports)
{
	struct fh krb_root, private, both;
	uint32_t list[4], uid;
	struct fh f;
	root_of("/krb", &krb_root);
	ck_assert_uint_eq(mnt("/private", &private, list), 1);
	ck_assert_uint_eq(list[0], 390005);
	ck_assert_uint_eq(mnt("/both", &both, list), 2);
	ck_assert(list[0] == 1 && list[1] == 390003);
	struct xdr_out x = args_fh(&krb_root);
	/* Mounting needs these, where the export begins. */
	ck_assert_int_eq(gc_sys(&c, 0, NFS, 3, 1, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	ck_assert_int_eq(gc_sys(&c, 0, NFS, 3, 19, &x), 0);
	ck_assert_uint_eq(u32(), 0);
	xdr_put_u32(&x, 1);
	ck_assert_int_eq(gc_sys(&c, 0, NFS, 3, 4, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	x = args_fh(&both);
	xdr_put_u32(&x, 1);
	ck_assert_int_eq(gc_sys(&c, 0, NFS, 3, 4, &x), 0);
	login("alice");
	ck_assert_uint_eq(create(&krb_root, "deep", &f, &uid), 0);
	x = args_fh(&f);
	ck_assert_int_eq(gc_sys(&c, 0, NFS, 3, 1, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	x = args_fh(&private);
	xdr_put_u32(&x, 1);
	ck_assert_int_eq(gc_call(&c, NFS, 3, 4, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.service = RPC_GSS_INTEGRITY;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 4, &x), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.service = RPC_GSS_PRIVACY;
	ck_assert_int_eq(gc_call(&c, NFS, 3, 4, &x), 0);
}
END_TEST

static struct xdr_out compound(uint32_t minor, uint32_t nops)
{
	struct xdr_out x = args_new();
	xdr_put_string(&x, "");
	xdr_put_u32(&x, minor);
	xdr_put_u32(&x, nops);
	return x;
}

/* The status of the whole; r is at the results. sys: by AUTH_SYS. */
static uint32_t run(const struct xdr_out *x, bool sys)
{
	const uint8_t *tag;
	uint32_t len;
	ck_assert_int_eq(sys ? gc_sys(&c, 0, NFS, 4, 1, x) : gc_call(&c, NFS, 4, 1, x), 0);
	uint32_t st = u32();
	ck_assert(xdr_opaque(&c.r, 64, &tag, &len));
	u32();
	return st;
}

static void lookup(struct xdr_out *x, const char *name)
{
	xdr_put_u32(x, 24);
	xdr_put_u32(x, 15);
	xdr_put_string(x, name);
}

static void skip_results(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		u32();
		ck_assert_uint_eq(u32(), 0);
	}
}

static void secinfo_is(const char *name, const uint32_t *services, unsigned n, bool sys)
{
	struct xdr_out x = compound(0, 2);
	const uint8_t *oid;
	uint32_t len;
	xdr_put_u32(&x, 24);
	xdr_put_u32(&x, 33);
	xdr_put_string(&x, name);
	ck_assert_uint_eq(run(&x, sys), 0);
	skip_results(2);
	ck_assert_uint_eq(u32(), n);
	for (unsigned i = 0; i < n; i++) {
		if (!services[i]) {
			ck_assert_uint_eq(u32(), 1);
			continue;
		}
		ck_assert_uint_eq(u32(), 6);
		ck_assert(xdr_opaque(&c.r, 32, &oid, &len));
		ck_assert(len == gss_mech_krb5->length &&
			  memcmp(oid, gss_mech_krb5->elements, len) == 0);
		ck_assert_uint_eq(u32(), 0);
		ck_assert_uint_eq(u32(), services[i]);
	}
	ck_assert_uint_eq(xdr_left(&c.r), 0);
}

START_TEST(flavours_in_version_4)
{
	static const uint32_t all[] = {1, 2, 3}, secret[] = {3}, both[] = {0, 1};
	for (int sys = 0; sys < 2; sys++) {
		if (!sys)
			login("alice");
		secinfo_is("krb", all, 3, sys);
		secinfo_is("private", secret, 1, sys);
		secinfo_is("both", both, 2, sys);
	}
	struct xdr_out x = compound(0, 2);
	lookup(&x, "krb");
	ck_assert_uint_eq(run(&x, true), 10016); /* WRONGSEC */
	ck_assert_uint_eq(run(&x, false), 0);
	x = compound(0, 2);
	lookup(&x, "private");
	ck_assert_uint_eq(run(&x, false), 10016);
	c.service = RPC_GSS_PRIVACY;
	ck_assert_uint_eq(run(&x, false), 0);
}
END_TEST

/* A handle got by one flavour is not used by another; what puts it says so, or what finds. */
START_TEST(handles_keep_their_flavours)
{
	struct fh root;
	root_of("/krb", &root);
	static const struct {
		uint32_t next; /* operation behind PUTFH; 0: none */
		uint32_t status, nres;
	} rows[] = {{10, 10016, 1}, {9, 10016, 1}, {32, 0, 2}, {0, 0, 1}, {24, 0, 2}, {16, 0, 2}};
	login("alice");
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct xdr_out x = compound(0, rows[i].next ? 2 : 1);
		xdr_put_u32(&x, 22);
		xdr_put_opaque(&x, root.b, root.len);
		if (rows[i].next)
			xdr_put_u32(&x, rows[i].next);
		if (rows[i].next == 9) {
			xdr_put_u32(&x, 1);
			xdr_put_u32(&x, 2);
		}
		ck_assert_msg(run(&x, true) == rows[i].status, "row %u", i);
		ck_assert_uint_eq(run(&x, false), 0);
	}
	/* By a saved handle: LINK of what may not be used into what may. */
	struct xdr_out x = compound(0, 5);
	struct fh both;
	root_of("/both", &both);
	x = compound(0, 4);
	xdr_put_u32(&x, 22);
	xdr_put_opaque(&x, root.b, root.len);
	xdr_put_u32(&x, 32);
	xdr_put_u32(&x, 22);
	xdr_put_opaque(&x, both.b, both.len);
	xdr_put_u32(&x, 11);
	xdr_put_string(&x, "stolen");
	ck_assert_uint_eq(run(&x, true), 10016);
}
END_TEST

static uint32_t exchange(const char *owner, uint64_t *ret_id, uint32_t *ret_seq)
{
	struct xdr_out x = compound(1, 1);
	xdr_put_u32(&x, 42);
	xdr_put_u64(&x, 7);
	xdr_put_string(&x, owner);
	xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 0);
	uint32_t st = run(&x, false);
	if (st)
		return st;
	skip_results(1);
	ck_assert(xdr_u64(&c.r, ret_id));
	*ret_seq = u32();
	u32();
	ck_assert_uint_eq(u32(), 0); /* SP4_NONE */
	return 0;
}

static uint32_t session(uint64_t id, uint32_t seq)
{
	struct xdr_out x = compound(1, 1);
	xdr_put_u32(&x, 43);
	xdr_put_u64(&x, id);
	xdr_put_u32(&x, seq);
	xdr_put_u32(&x, 0);
	for (unsigned i = 0; i < 2; i++) {
		const uint32_t channel[] = {0, 65536, 65536, 2048, 8, 8, 0};
		for (unsigned k = 0; k < ARRAY_LEN(channel); k++)
			xdr_put_u32(&x, channel[k]);
	}
	xdr_put_u32(&x, 0x40000000);
	xdr_put_u32(&x, 1);
	xdr_put_u32(&x, 0);
	return run(&x, false);
}

/* Two principals that are both nobody here are two all the same. */
START_TEST(clients_are_their_principals)
{
	uint64_t id, other;
	uint32_t seq, seq2;
	login("carol");
	c.service = RPC_GSS_INTEGRITY;
	ck_assert_uint_eq(exchange("a client", &id, &seq), 0);
	gc_close(&c);
	gc_open(&c, nas.port);
	login("host/client");
	ck_assert_uint_eq(session(id, seq), 10017); /* CLID_INUSE */
	gc_close(&c);
	gc_open(&c, nas.port);
	login("carol");
	ck_assert_uint_eq(session(id, seq), 0);
	gc_close(&c);
	gc_open(&c, nas.port);
	login("host/client");
	ck_assert_uint_eq(exchange("a client", &other, &seq2), 10017);
	ck_assert_uint_eq(exchange("another", &other, &seq2), 0);
}
END_TEST

/* Without a keytab nothing of this is spoken. */
START_TEST(not_served)
{
	struct gss_client k;
	world_down();
	nas_up(&nas);
	gc_open(&k, nas.port);
	ck_assert_int_eq(gc_init_raw(&k, 1, "x", 1), GC_DENIED - RPC_AUTH_REJECTEDCRED);
	gc_close(&k);
	nas_down(&nas);
	setup();
}
END_TEST

static void *ask(void *arg)
{
	struct gss_client *k = arg;
	gc_init(k, &krb, "alice", "nfs@localhost");
	return NULL;
}

/* While the host is slow contexts wait, and are given up: nothing is looked up for those. */
START_TEST(given_up_while_they_wait)
{
	enum { N = 10 };
	struct gss_client k[N];
	pthread_t t[N];
	finds = 0;
	slow_ms = 3000;
	for (int i = 0; i < N; i++) {
		gc_open(&k[i], nas.port);
		ck_assert_int_eq(pthread_create(&t[i], NULL, ask, &k[i]), 0);
	}
	usleep(5500 * 1000); /* two and two have begun, the others were given up */
	slow_ms = 0;
	login("alice");
	ck_assert_uint_le(finds, 5);
	for (int i = 0; i < N; i++) {
		shutdown(k[i].fd, SHUT_RDWR);
		pthread_join(t[i], NULL);
		gc_close(&k[i]);
	}
}
END_TEST

/* Connections that end while a context is being made. */
START_TEST(clients_that_leave)
{
	struct gss_client k;
	for (int i = 0; i < 40; i++) {
		gc_open(&k, nas.port);
		gss_buffer_desc b = {.value = (void *)"not a token", .length = 11};
		struct xdr_out x = xdr_out_of(k.out + 4, 400);
		const uint32_t head[] = {1, 0, 2, NFS, 3, 0, 6, 20, 1, 1, 0, 1, 0, 0, 0};
		for (unsigned n = 0; n < ARRAY_LEN(head); n++)
			xdr_put_u32(&x, head[n]);
		xdr_put_opaque(&x, b.value, 11);
		be32_put(k.out, 0x80000000u | (uint32_t)xdr_out_len(&x));
		ck_assert(write(k.fd, k.out, 4 + xdr_out_len(&x)) > 0);
		gc_close(&k);
	}
	login("alice");
	ck_assert_int_eq(gc_call(&c, NFS, 3, 0, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("gss");
	TCase *t = tcase_create("gss");
	log_set_level(LOG_L_ERROR);
	krb_up(&krb);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, world_down);
	tcase_add_loop_test(t, each_service, 1, 4);
	tcase_add_loop_test(t, retransmitted_calls_are_done_once, 1, 4);
	tcase_add_test(t, kept_answers_are_the_callers);
	tcase_add_test(t, replays_are_dropped);
	tcase_add_test(t, the_last_number);
	tcase_add_test(t, window);
	tcase_add_test(t, wrong_verifiers);
	tcase_add_loop_test(t, wrong_bodies, 2, 4);
	tcase_add_test(t, wrong_credentials);
	tcase_add_test(t, garbage_tokens);
	tcase_add_loop_test(t, destroyed, 1, 4);
	tcase_add_loop_test(t, expired, 0, 2);
	tcase_add_test(t, the_least_lately_used_gives_way);
	tcase_add_loop_test(t, unknown_principals_are_squashed, 0, 2);
	tcase_add_test(t, who_cannot_be_looked_up_gets_no_context);
	tcase_add_test(t, users_of_the_host);
	tcase_add_test(t, groups_are_looked_up);
	tcase_add_test(t, keys_that_are_missing);
	tcase_add_test(t, remedies);
	tcase_add_test(t, flavours_of_exports);
	tcase_add_test(t, flavours_in_version_4);
	tcase_add_test(t, handles_keep_their_flavours);
	tcase_add_test(t, clients_are_their_principals);
	tcase_add_test(t, not_served);
	tcase_add_test(t, given_up_while_they_wait);
	tcase_add_test(t, clients_that_leave);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	krb_down(&krb);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
