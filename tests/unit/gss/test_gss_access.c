/* RPCSEC_GSS with a real KDC: who one is, keys, flavours of exports, principals of NFSv4, hosts
 * that flood. */
#include <check.h>
#include <errno.h>
#include <krb5.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/gss/gss_world.h"
#include "tests/unit/nfs/nas_raw.h"

/* ---- who one is ---- */

START_TEST(unknown_principals_are_squashed)
{
	static const char *const users[] = {"carol", "host/client"};
	struct gss_fh root, f;
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
	struct gss_fh root, f;
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

static uint32_t access_of(const struct gss_fh *root, const char *name)
{
	struct xdr_out x = args_fh(root);
	struct gss_fh f;
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
	struct gss_fh root;
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
	opts = (struct rpc_gss_opts){.keytab = none, .find = gss_find};
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
	struct gss_fh krb_root, private, both;
	uint32_t list[4], uid;
	struct gss_fh f;
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

static int quota(const char *path, bool sys)
{
	struct xdr_out x = args_new();
	xdr_put_string(&x, path);
	xdr_put_u32(&x, ALICE);
	int rc = sys ? gc_sys(&c, ALICE, 100011, 1, 1, &x) : gc_call(&c, 100011, 1, 1, &x);
	if (rc == 0)
		ck_assert_uint_eq(u32(), 1);
	return rc;
}

/* What one may not look at one is not told the use of. */
START_TEST(quotas_ask_for_flavours)
{
	login("alice");
	ck_assert_int_eq(quota("/both", true), 0);
	ck_assert_int_eq(quota("/krb", true), GC_DENIED - RPC_AUTH_TOOWEAK);
	ck_assert_int_eq(quota("/private", true), GC_DENIED - RPC_AUTH_TOOWEAK);
	ck_assert_int_eq(quota("/krb", false), 0);
	ck_assert_int_eq(quota("/private", false), GC_DENIED - RPC_AUTH_TOOWEAK);
	c.service = RPC_GSS_PRIVACY;
	ck_assert_int_eq(quota("/private", false), 0);
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
	struct gss_fh root;
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
	struct gss_fh both;
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

static uint32_t in_krb(const struct gss_fh *dir, uint32_t op, const char *name, bool sys)
{
	struct xdr_out x = compound(0, 2);
	xdr_put_u32(&x, 22);
	xdr_put_opaque(&x, dir->b, dir->len);
	xdr_put_u32(&x, op);
	if (op == 6) /* CREATE of a directory */
		xdr_put_u32(&x, 2);
	xdr_put_string(&x, name);
	if (op == 6) {
		xdr_put_u32(&x, 0);
		xdr_put_u32(&x, 0);
	}
	return run(&x, sys);
}

/* Whether there is such a name is not told to who comes with a flavour that does not do. */
START_TEST(names_are_not_told_to_other_flavours)
{
	struct gss_fh root;
	root_of("/krb", &root);
	login("alice");
	ck_assert_uint_eq(in_krb(&root, 6, "there", false), 0);
	ck_assert_uint_eq(in_krb(&root, 15, "there", false), 0);
	ck_assert_uint_eq(in_krb(&root, 15, "nothing", false), 2);
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "there" : "nothing";
		ck_assert_uint_eq(in_krb(&root, 15, name, true), 10016); /* LOOKUP */
		ck_assert_uint_eq(in_krb(&root, 33, name, true), 0);	 /* SECINFO */
		skip_results(2);
		ck_assert_uint_eq(u32(), 3);
	}
	/* PUTFH says it also when SAVEFH is between it and what uses the handle. */
	struct xdr_out x = compound(0, 3);
	xdr_put_u32(&x, 22);
	xdr_put_opaque(&x, root.b, root.len);
	xdr_put_u32(&x, 32);
	xdr_put_u32(&x, 9);
	xdr_put_u32(&x, 1);
	xdr_put_u32(&x, 2);
	ck_assert_uint_eq(run(&x, true), 10016);
	ck_assert_uint_eq(u32(), 22);
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

/* BACKCHANNEL_CTL in the session whose CREATE_SESSION was answered last. */
static uint32_t back_by(uint32_t flavor)
{
	const uint8_t *p;
	uint8_t id[16];
	skip_results(1);
	ck_assert(xdr_fixed(&c.r, 16, &p));
	memcpy(id, p, 16);
	struct xdr_out x = compound(1, 2);
	xdr_put_u32(&x, 53); /* SEQUENCE */
	xdr_put_fixed(&x, id, 16);
	xdr_put_u32(&x, 1);
	for (unsigned i = 0; i < 3; i++)
		xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 40);
	xdr_put_u32(&x, 0x40000077);
	xdr_put_u32(&x, 1);
	xdr_put_u32(&x, flavor);
	if (flavor)
		xdr_put_u32(&x, 0);
	if (flavor)
		xdr_put_string(&x, "machine");
	for (unsigned i = 0; flavor && i < 3; i++)
		xdr_put_u32(&x, 0);
	return run(&x, false);
}

/* Who made his session by Kerberos cannot have it called by less than that from then on. */
START_TEST(back_channels_of_principals)
{
	uint64_t id;
	uint32_t seq;
	login("carol");
	c.service = RPC_GSS_INTEGRITY;
	ck_assert_uint_eq(exchange("a client", &id, &seq), 0);
	ck_assert_uint_eq(session(id, seq), 0);
	ck_assert_uint_eq(back_by(1), 22); /* INVAL */
	ck_assert_uint_eq(session(id, seq + 1), 0);
	ck_assert_uint_eq(back_by(0), 22);
}
END_TEST

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

/* A host that floods has its part of those that wait, and no more: others get contexts. */
START_TEST(a_host_that_floods)
{
	enum { CONNS = 4, EACH = 100 };
	struct raw flood[CONNS];
	static uint8_t msg[200];
	pthread_t t[2];
	struct gss_client k[2];
	slow_ms = 1500; /* both threads are busy meanwhile */
	for (int i = 0; i < 2; i++) {
		gc_open(&k[i], nas.port);
		ck_assert_int_eq(pthread_create(&t[i], NULL, ask, &k[i]), 0);
	}
	for (unsigned i = 0; i < 400 && finds < 2; i++)
		usleep(10000);
	ck_assert_uint_ge(finds, 2);
	for (unsigned i = 0; i < CONNS; i++) {
		raw_open_from(&flood[i], nas.port, "127.0.0.5", false);
		for (uint32_t n = 0; n < EACH; n++) {
			struct xdr_out x = xdr_out_of(msg + 4, sizeof(msg) - 4);
			const uint32_t head[] = {n, 0, 2, NFS, 3, 0, 6, 20, 1, 1, 0, 1, 0, 0, 0};
			for (unsigned h = 0; h < ARRAY_LEN(head); h++)
				xdr_put_u32(&x, head[h]);
			xdr_put_string(&x, "not a token");
			be32_put(msg, 0x80000000u | (uint32_t)xdr_out_len(&x));
			ck_assert(flood[i].fd >= 0);
			ck_assert_int_eq(send(flood[i].fd, msg, 4 + xdr_out_len(&x), MSG_NOSIGNAL),
					 (ssize_t)(4 + xdr_out_len(&x)));
		}
	}
	for (unsigned i = 0; i < 200 && stats_now()->calls < CONNS * EACH; i++)
		usleep(10000);
	slow_ms = 0;
	login("alice");
	ck_assert_uint_le(stats_now()->refused, 64);
	for (unsigned i = 0; i < CONNS; i++)
		raw_close(&flood[i]);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		gc_close(&k[i]);
	}
}
END_TEST

static void add(TCase *t)
{
	tcase_add_loop_test(t, unknown_principals_are_squashed, 0, 2);
	tcase_add_test(t, who_cannot_be_looked_up_gets_no_context);
	tcase_add_test(t, users_of_the_host);
	tcase_add_test(t, groups_are_looked_up);
	tcase_add_test(t, keys_that_are_missing);
	tcase_add_test(t, remedies);
	tcase_add_test(t, flavours_of_exports);
	tcase_add_test(t, flavours_in_version_4);
	tcase_add_test(t, handles_keep_their_flavours);
	tcase_add_test(t, names_are_not_told_to_other_flavours);
	tcase_add_test(t, clients_are_their_principals);
	tcase_add_test(t, back_channels_of_principals);
	tcase_add_test(t, not_served);
	tcase_add_test(t, given_up_while_they_wait);
	tcase_add_test(t, clients_that_leave);
	tcase_add_test(t, quotas_ask_for_flavours);
	tcase_add_test(t, a_host_that_floods);
}

int main(void)
{
	return gss_suite("gss_access", add);
}
