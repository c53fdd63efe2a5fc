/* Handles, access lists, squashing, status codes, and calls as bytes against the whole service. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/nfs3_xdr.h"
#include "runtime/err.h"
#include "runtime/siphash.h"
#include "tests/unit/nfs/nas_world.h"

/* ---- handles ---- */

START_TEST(siphash_as_published)
{
	/* Test vector of the SipHash paper, appendix A. */
	uint8_t data[15], key[16];
	for (int i = 0; i < 15; i++)
		data[i] = (uint8_t)i;
	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	uint64_t k[2] = {le64_get(key), le64_get(key + 8)};
	ck_assert_uint_eq(siphash(k, data, 15), 0xa129ca6149be45e5ull);
}
END_TEST

START_TEST(forged_handles_are_found_out)
{
	uint8_t uuid[16] = {1, 2, 3}, h[FH_SIZE];
	struct fh_key key, other;
	struct fh fh = {.fs_id = 9, .export_id = 8, .ino = 7, .generation = 6}, back;
	ck_assert_int_eq(fh_key_make(&key, uuid), 0);
	uuid[15] = 1;
	ck_assert_int_eq(fh_key_make(&other, uuid), 0);
	fh_encode(&fh, &key, h);
	ck_assert(fh_verify(h, &key));
	ck_assert(!fh_verify(h, &other));
	ck_assert_int_eq(fh_parse(h, FH_SIZE, &back), 0);
	ck_assert_mem_eq(&back.fs_id, &fh.fs_id, sizeof(uint64_t) * 3);
	ck_assert_uint_eq(back.generation, 6);
	for (int bit = 0; bit < FH_SIZE * 8; bit++) {
		h[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert(!fh_verify(h, &key));
		h[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_int_eq(fh_parse(h, FH_SIZE - 1, &back), -EBADMSG);
	ck_assert_int_eq(fh_parse(h, 0, &back), -EBADMSG);
}
END_TEST

/* ---- access lists ---- */

static struct sockaddr_storage addr(const char *text)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
		ss.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1)
		ss.ss_family = AF_INET6;
	return ss;
}

START_TEST(rules_match_addresses)
{
	static const struct {
		const char *rule, *address;
		bool match;
	} rows[] = {
	    {"*", "10.1.2.3", true},
	    {"*", "fd00::1", true},
	    {"10.0.0.0/8", "10.255.0.1", true},
	    {"10.0.0.0/8", "11.0.0.1", false},
	    {"10.0.0.0/255.0.0.0", "10.255.0.1", true},
	    {"192.0.2.128/25", "192.0.2.127", false},
	    {"192.0.2.128/25", "192.0.2.129", true},
	    {"192.0.2.1", "192.0.2.1", true},
	    {"192.0.2.1", "192.0.2.2", false},
	    {"0.0.0.0/0", "8.8.8.8", true},
	    {"0.0.0.0/0", "fd00::1", false},
	    {"fd00::/8", "fd12::1", true},
	    {"fd00::/8", "fe00::1", false},
	    {"::1", "::1", true},
	    {"192.0.2.1", "::ffff:192.0.2.1", true},
	    {"host.example", "192.0.2.1", false},
	    {"@builders", "192.0.2.1", false},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct export_rule r = {0};
		struct export e = {.rules = &r, .nrules = 1};
		struct sockaddr_storage ss = addr(rows[i].address);
		ck_assert_int_eq(export_rule_parse(&r, rows[i].rule), 0);
		ck_assert_msg((export_match_rule(&e, &ss, NULL) != NULL) == rows[i].match, "%s %s",
			      rows[i].rule, rows[i].address);
	}
	static const char *const wrong[] = {
	    "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/255.0.255.0", "fd00::/129", "",    "a b",
	    "host/8",	   "10.0.0.0/8x", "*.example;rm",	  "@",		"@@a", "@a/8",
	    "a@b"};
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		struct export_rule r = {0};
		ck_assert_msg(export_rule_parse(&r, wrong[i]) < 0, "%s", wrong[i]);
	}
}
END_TEST

START_TEST(rules_want_connections)
{
	static const struct {
		const char *text;
		bool none, tls, mtls, wrong;
	} rows[] = {
	    {"", true, true, true, false},	     {"none", true, false, false, false},
	    {"tls", false, true, true, false},	     {"mtls", false, false, true, false},
	    {"none:mtls", true, false, true, false}, {"mtls:tls:none", true, true, true, false},
	    {"ssl", false, false, false, true},	     {"tls:", false, true, true, false},
	    {":tls", false, false, false, true},     {"tls,none", false, false, false, true},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		Isthmus__NasExportClient c = ISTHMUS__NAS_EXPORT_CLIENT__INIT, *cp = &c;
		Isthmus__NasExport e = ISTHMUS__NAS_EXPORT__INIT, *ep = &e;
		Isthmus__NasConfig cfg = ISTHMUS__NAS_CONFIG__INIT;
		struct export_table *t;
		unsigned bad;
		cfg.exports = &ep;
		cfg.n_exports = 1;
		c.match = *rows[i].text ? "" : "*";
		c.xprtsec = (char *)rows[i].text;
		c.xprtsec_match = "*";
		e.path = "/x";
		e.fs = "f";
		e.n_clients = 1;
		e.clients = &cp;
		ck_assert_int_eq(export_table_new(&t, &cfg, 1, &bad), 0);
		ck_assert_msg(bad == rows[i].wrong, "%s", rows[i].text);
		if (!bad) {
			const struct export_rule *r = &t->exports[0].rules[0];
			ck_assert_int_eq(export_rule_takes(r, RPC_XPRT_NONE), rows[i].none);
			ck_assert_int_eq(export_rule_takes(r, RPC_XPRT_TLS), rows[i].tls);
			ck_assert_int_eq(export_rule_takes(r, RPC_XPRT_MTLS), rows[i].mtls);
			ck_assert_str_eq(r->text, "*");
		}
		export_table_put(t);
	}
}
END_TEST

START_TEST(the_first_rule_counts)
{
	struct export_rule r[2] = {{.read_write = false}, {.read_write = true}};
	struct export e = {.rules = r, .nrules = 2};
	struct sockaddr_storage in = addr("10.1.1.1"), out = addr("11.1.1.1");
	ck_assert_int_eq(export_rule_parse(&r[0], "10.1.0.0/16"), 0);
	ck_assert_int_eq(export_rule_parse(&r[1], "*"), 0);
	ck_assert(!export_match_rule(&e, &in, NULL)->read_write);
	ck_assert(export_match_rule(&e, &out, NULL)->read_write);
}
END_TEST

START_TEST(squashing)
{
	struct rpc_cred root = {.flavor = RPC_FLAVOR_SYS, .ngroups = 2, .groups = {0, 7}};
	struct rpc_cred user = {.flavor = RPC_FLAVOR_SYS, .uid = 5, .gid = 6};
	struct rpc_cred none = {.flavor = RPC_FLAVOR_NONE};
	struct export_rule r = {.anon_uid = 100, .anon_gid = 200};
	struct fs_cred c;
	r.squash = SQUASH_ROOT;
	export_squash(&r, &root, &c);
	ck_assert(c.uid == 100 && c.gid == 200 && c.groups[0] == 200 && c.groups[1] == 7);
	export_squash(&r, &user, &c);
	ck_assert(c.uid == 5 && c.gid == 6);
	r.squash = SQUASH_NONE;
	export_squash(&r, &root, &c);
	ck_assert(c.uid == 0 && c.gid == 0 && c.ngroups == 2);
	export_squash(&r, &none, &c);
	ck_assert(c.uid == 100 && c.gid == 200);
	r.squash = SQUASH_ALL;
	export_squash(&r, &user, &c);
	ck_assert(c.uid == 100 && c.gid == 200 && c.ngroups == 0);
}
END_TEST

START_TEST(errors_have_their_status)
{
	ck_assert_int_eq(nfs3_status(0), NFS3_OK);
	ck_assert_int_eq(nfs3_status(-ENOENT), NFS3ERR_NOENT);
	ck_assert_int_eq(nfs3_status(-ENAMETOOLONG), NFS3ERR_NAMETOOLONG);
	ck_assert_int_eq(nfs3_status(-ENOTEMPTY), NFS3ERR_NOTEMPTY);
	ck_assert_int_eq(nfs3_status(-ERR_MISCOMPARE), NFS3ERR_NOT_SYNC);
	ck_assert_int_eq(nfs3_status(-ERR_CORRUPT), NFS3ERR_IO);
	ck_assert_int_eq(nfs3_status(-ERR_MEDIUM), NFS3ERR_IO);
	ck_assert_int_eq(nfs3_status(-ERR_SHUTDOWN), NFS3ERR_JUKEBOX);
	ck_assert_int_eq(nfs3_status(-ERR_EPOCH_STALE), NFS_FENCED);
	ck_assert_int_eq(nfs3_status(-12345), NFS3ERR_IO);
}
END_TEST

/* ---- calls as bytes ---- */

static struct nas nas;
static int fd;
static uint8_t call[1 << 16], reply[1 << 21];
static struct xdr_out out;
static struct xdr_in in;
static uint8_t root_fh[FH_SIZE];
static uint32_t next_xid = 1;

static void call_begin(uint32_t prog, uint32_t proc)
{
	out = xdr_out_of(call + 4, sizeof(call) - 4);
	const uint32_t head[] = {++next_xid, 0, 2, prog, 3, proc, 1, 24};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&out, head[i]);
	const uint32_t sys[] = {1, 1, 0x61000000, 0, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(sys); i++)
		xdr_put_u32(&out, sys[i]);
}

static void read_all(void *buf, size_t n)
{
	for (char *p = buf; n;) {
		ssize_t k = recv(fd, p, n, 0);
		ck_assert_int_gt(k, 0);
		p += k;
		n -= (size_t)k;
	}
}

/* Sends what call_begin() began; gives the accept_stat back, `in` at the results. */
static uint32_t call_end(void)
{
	size_t n = xdr_out_len(&out);
	uint8_t mark[4];
	ck_assert(!out.full);
	be32_put(call, 0x80000000u | (uint32_t)n);
	ck_assert_int_eq(send(fd, call, n + 4, 0), (ssize_t)n + 4);
	read_all(mark, 4);
	n = be32_get(mark) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(reply));
	read_all(reply, n);
	ck_assert_uint_eq(be32_get(reply), next_xid);
	in = xdr_in_of(reply + 24, n - 24);
	return be32_get(reply + 20);
}

static uint32_t get32(void)
{
	uint32_t v;
	ck_assert(xdr_u32(&in, &v));
	return v;
}

static uint64_t get64(void)
{
	uint64_t v;
	ck_assert(xdr_u64(&in, &v));
	return v;
}

static void put_sattr(void)
{
	for (int i = 0; i < 6; i++)
		xdr_put_u32(&out, 0);
}

static void raw_setup(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const uint8_t *p;
	uint32_t n;
	nas_up(&nas);
	sa.sin_port = htons(nas.port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	call_begin(MOUNT_PROGRAM, 1);
	xdr_put_string(&out, "/demo/");
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), 0);
	ck_assert(xdr_opaque(&in, 64, &p, &n) && n == FH_SIZE);
	memcpy(root_fh, p, FH_SIZE);
}

static void raw_teardown(void)
{
	close(fd);
	nas_down(&nas);
}

static uint32_t getattr(const uint8_t *fh, uint32_t len)
{
	call_begin(NFS_PROGRAM, 1);
	xdr_put_opaque(&out, fh, len);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	return get32();
}

START_TEST(handles_on_the_wire)
{
	uint8_t fh[FH_SIZE];
	ck_assert_uint_eq(getattr(root_fh, FH_SIZE), NFS3_OK);
	ck_assert_uint_eq(xdr_left(&in), NFS3_FATTR_SIZE);
	ck_assert_uint_eq(get32(), FS_DIR);
	memcpy(fh, root_fh, FH_SIZE);
	fh[24] ^= 1; /* another inode */
	ck_assert_uint_eq(getattr(fh, FH_SIZE), NFS3ERR_BADHANDLE);
	memcpy(fh, root_fh, FH_SIZE);
	fh[16] ^= 3; /* another export */
	ck_assert_uint_eq(getattr(fh, FH_SIZE), NFS3ERR_BADHANDLE);
	memcpy(fh, root_fh, FH_SIZE);
	fh[8] ^= 1; /* another file system */
	ck_assert_uint_eq(getattr(fh, FH_SIZE), NFS3ERR_STALE);
	ck_assert_uint_eq(getattr(root_fh, 12), NFS3ERR_BADHANDLE);
	ck_assert_uint_eq(getattr(root_fh, 0), NFS3ERR_BADHANDLE);
	call_begin(NFS_PROGRAM, 1);
	xdr_put_u32(&out, 65); /* longer than a handle may be */
	ck_assert_uint_eq(call_end(), RPC_GARBAGE_ARGS);
}
END_TEST

START_TEST(every_procedure_refuses_garbage)
{
	for (uint32_t proc = 1; proc < NFS3_PROCS; proc++) {
		call_begin(NFS_PROGRAM, proc);
		ck_assert_uint_eq(call_end(), RPC_GARBAGE_ARGS);
		/* A good handle, then nothing: garbage too, where more is needed. */
		call_begin(NFS_PROGRAM, proc);
		xdr_put_opaque(&out, root_fh, FH_SIZE);
		bool alone = proc == 1 || proc == 5 || (proc >= 18 && proc <= 20);
		ck_assert_uint_eq(call_end(), alone ? RPC_SUCCESS : RPC_GARBAGE_ARGS);
	}
	call_begin(NFS_PROGRAM, NFS3_PROCS);
	ck_assert_uint_eq(call_end(), RPC_PROC_UNAVAIL);
}
END_TEST

static uint32_t create_exclusive(const char *name, uint64_t verifier, uint8_t fh[FH_SIZE])
{
	const uint8_t *p;
	uint32_t n;
	call_begin(NFS_PROGRAM, 8);
	xdr_put_opaque(&out, root_fh, FH_SIZE);
	xdr_put_string(&out, name);
	xdr_put_u32(&out, 2);
	xdr_put_u64(&out, verifier);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	uint32_t st = get32();
	if (st == 0) {
		ck_assert_uint_eq(get32(), 1);
		ck_assert(xdr_opaque(&in, 64, &p, &n) && n == FH_SIZE);
		memcpy(fh, p, FH_SIZE);
	}
	return st;
}

START_TEST(exclusive_create)
{
	uint8_t a[FH_SIZE], b[FH_SIZE];
	ck_assert_uint_eq(create_exclusive("ex", 0x1122334455667788, a), NFS3_OK);
	ck_assert_uint_eq(create_exclusive("ex", 0x1122334455667788, b), NFS3_OK);
	ck_assert_mem_eq(a, b, FH_SIZE);
	ck_assert_uint_eq(create_exclusive("ex", 0x99, b), NFS3ERR_EXIST);
}
END_TEST

static struct rpc_stats stats;

static void stats_step(struct nas *n)
{
	rpc_server_stats(n->server, &stats);
}

/* Returns the status; on 0 `in` stands at the length. */
static uint32_t read_call(const uint8_t *fh, uint64_t off, uint32_t count)
{
	call_begin(NFS_PROGRAM, 6);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, off);
	xdr_put_u32(&out, count);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	uint32_t st = get32();
	ck_assert_uint_eq(get32(), 1);
	in.p += NFS3_FATTR_SIZE;
	return st;
}

/* What needs no wait is answered without a task, byte for byte as otherwise. */
START_TEST(reads_that_wait_not_take_no_task)
{
	uint8_t fh[FH_SIZE], data[10000];
	ck_assert_uint_eq(create_exclusive("hit", 1, fh), NFS3_OK);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	call_begin(NFS_PROGRAM, 7);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, sizeof(data));
	xdr_put_u32(&out, 0);
	xdr_put_opaque(&out, data, sizeof(data));
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3_OK);
	nas_run(&nas, stats_step);
	uint64_t before = stats.tasks;
	for (uint32_t i = 0; i < 10 * NAS_MISSES; i++) {
		uint32_t off = i * 331 % 9000, want = MIN(1 + i * 777, 10000 - off);
		ck_assert_uint_eq(read_call(fh, off, 1 + i * 777), NFS3_OK);
		ck_assert_uint_eq(get32(), want);
		ck_assert_uint_eq(get32(), off + want == 10000);
		ck_assert_uint_eq(get32(), want);
		ck_assert_mem_eq(in.p, data + off, want);
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.tasks - before, 10);
	ck_assert_uint_eq(read_call(fh, 10000, 5), NFS3_OK); /* behind the end */
	ck_assert_uint_eq(get32(), 0);
	ck_assert_uint_eq(get32(), 1);
	ck_assert_uint_eq(read_call(fh, UINT64_MAX, 5), NFS3_OK);
	ck_assert_uint_eq(read_call(root_fh, 0, 5), NFS3ERR_ISDIR);
	fh[24] ^= 1;
	call_begin(NFS_PROGRAM, 6);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, 5);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3ERR_BADHANDLE);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.tasks - before, 10);
}
END_TEST

START_TEST(write_read_and_wcc)
{
	uint8_t fh[FH_SIZE];
	ck_assert_uint_eq(create_exclusive("wr", 1, fh), NFS3_OK);
	call_begin(NFS_PROGRAM, 7);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 3);
	xdr_put_u32(&out, 5);
	xdr_put_u32(&out, 2);
	xdr_put_opaque(&out, "hello", 5);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3_OK);
	ck_assert_uint_eq(get32(), 1); /* before */
	ck_assert_uint_eq(get64(), 0);
	in.p += 16;
	ck_assert_uint_eq(get32(), 1); /* after */
	in.p += 20;
	ck_assert_uint_eq(get64(), 8);
	in.p += NFS3_FATTR_SIZE - 28;
	ck_assert_uint_eq(get32(), 5);
	ck_assert_uint_eq(get32(), 2); /* FILE_SYNC */
	uint64_t verifier = get64();
	call_begin(NFS_PROGRAM, 21);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, 0);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3_OK);
	in.p = in.end - 8;
	ck_assert_uint_eq(get64(), verifier);
	call_begin(NFS_PROGRAM, 6);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, 100);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3_OK);
	ck_assert_uint_eq(get32(), 1);
	in.p += NFS3_FATTR_SIZE;
	ck_assert_uint_eq(get32(), 8);
	ck_assert_uint_eq(get32(), 1); /* eof */
	ck_assert_uint_eq(get32(), 8);
	ck_assert_mem_eq(in.p, "\0\0\0hello", 8);
	/* sattrguard3 with another ctime. */
	call_begin(NFS_PROGRAM, 2);
	xdr_put_opaque(&out, fh, FH_SIZE);
	put_sattr();
	xdr_put_u32(&out, 1);
	xdr_put_u32(&out, 12345);
	xdr_put_u32(&out, 0);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3ERR_NOT_SYNC);
	/* A count larger than the data is garbage; an offset past all is FBIG. */
	call_begin(NFS_PROGRAM, 7);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, 0);
	xdr_put_u32(&out, 6);
	xdr_put_u32(&out, 0);
	xdr_put_opaque(&out, "hello", 5);
	ck_assert_uint_eq(call_end(), RPC_GARBAGE_ARGS);
	call_begin(NFS_PROGRAM, 7);
	xdr_put_opaque(&out, fh, FH_SIZE);
	xdr_put_u64(&out, UINT64_MAX - 2);
	xdr_put_u32(&out, 5);
	xdr_put_u32(&out, 0);
	xdr_put_opaque(&out, "hello", 5);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	ck_assert_uint_eq(get32(), NFS3ERR_FBIG);
}
END_TEST

static uint32_t mkdir_name(const char *name, uint32_t len)
{
	call_begin(NFS_PROGRAM, 9);
	xdr_put_opaque(&out, root_fh, FH_SIZE);
	xdr_put_opaque(&out, name, len);
	put_sattr();
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	return get32();
}

START_TEST(names_that_are_none)
{
	static char longest[300];
	memset(longest, 'n', sizeof(longest));
	ck_assert_uint_eq(mkdir_name("", 0), NFS3ERR_INVAL);
	ck_assert_uint_eq(mkdir_name(".", 1), NFS3ERR_EXIST);
	ck_assert_uint_eq(mkdir_name("..", 2), NFS3ERR_EXIST);
	ck_assert_uint_eq(mkdir_name("a/b", 3), NFS3ERR_INVAL);
	ck_assert_uint_eq(mkdir_name("a\0b", 3), NFS3ERR_INVAL);
	ck_assert_uint_eq(mkdir_name(longest, 256), NFS3ERR_NAMETOOLONG);
	ck_assert_uint_eq(mkdir_name(longest, 255), NFS3_OK);
	ck_assert_uint_eq(mkdir_name(longest, 255), NFS3ERR_EXIST);
}
END_TEST

/* One READDIR(PLUS) reply: entries in it, or -status. */
static int read_dir(bool plus, uint64_t *cookie, uint64_t *verifier, uint32_t dircount,
		    uint32_t count, bool *eof)
{
	const uint8_t *name;
	uint32_t len;
	int n = 0;
	call_begin(NFS_PROGRAM, plus ? 17 : 16);
	xdr_put_opaque(&out, root_fh, FH_SIZE);
	xdr_put_u64(&out, *cookie);
	xdr_put_u64(&out, *verifier);
	if (plus)
		xdr_put_u32(&out, dircount);
	xdr_put_u32(&out, count);
	ck_assert_uint_eq(call_end(), RPC_SUCCESS);
	uint32_t st = get32();
	if (st)
		return -(int)st;
	ck_assert_uint_le(xdr_left(&in), count);
	ck_assert_uint_eq(get32(), 1);
	in.p += NFS3_FATTR_SIZE;
	*verifier = get64();
	for (; get32(); n++) {
		get64();
		ck_assert(xdr_opaque(&in, 255, &name, &len));
		*cookie = get64();
		if (plus && get32())
			in.p += NFS3_FATTR_SIZE;
		if (plus && get32())
			ck_assert(xdr_opaque(&in, 64, &name, &len));
	}
	*eof = get32();
	ck_assert_uint_eq(xdr_left(&in), 0);
	return n;
}

START_TEST(directories_within_limits)
{
	char name[24];
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "entry%d", i);
		ck_assert_uint_eq(mkdir_name(name, (uint32_t)strlen(name)), NFS3_OK);
	}
	for (int plus = 0; plus < 2; plus++) {
		static const uint32_t counts[] = {340, 512, 1000, 4096, 1 << 20};
		for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
			uint64_t cookie = 0, verifier = 0;
			bool eof = false;
			int sum = 0;
			while (!eof) {
				int n =
				    read_dir(plus, &cookie, &verifier, counts[i], counts[i], &eof);
				ck_assert_int_gt(n, 0);
				sum += n;
			}
			ck_assert_int_eq(sum, 102);
		}
	}
	uint64_t cookie = 0, verifier = 0;
	bool eof;
	ck_assert_int_eq(read_dir(false, &cookie, &verifier, 0, 50, &eof), -NFS3ERR_TOOSMALL);
	ck_assert_int_eq(read_dir(true, &cookie, &verifier, 0, 120, &eof), -NFS3ERR_TOOSMALL);
	/* dircount alone limits READDIRPLUS as well, but never to nothing. */
	ck_assert_int_eq(read_dir(true, &cookie, &verifier, 1, 8192, &eof), 1);
	verifier = 0xbad;
	ck_assert_int_eq(read_dir(true, &cookie, &verifier, 999, 8192, &eof), -NFS3ERR_BAD_COOKIE);
}
END_TEST

static void forget_step(struct nas *n)
{
	struct fs *fs = nfs_mount_take(n->nfs, NAS_FS_ID);
	ck_assert_int_eq(fs_unmount(fs), 0);
}

static void gone_step(struct nas *n)
{
	nfs_mount_forget(n->nfs, NAS_FS_ID);
}

START_TEST(mounts_come_and_go)
{
	nas_run(&nas, forget_step);
	ck_assert_uint_eq(getattr(root_fh, FH_SIZE), NFS3ERR_JUKEBOX);
	nas_run(&nas, gone_step);
	ck_assert_uint_eq(getattr(root_fh, FH_SIZE), NFS3ERR_STALE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs");
	TCase *tc = tcase_create("pure");
	tcase_add_test(tc, siphash_as_published);
	tcase_add_test(tc, forged_handles_are_found_out);
	tcase_add_test(tc, rules_match_addresses);
	tcase_add_test(tc, the_first_rule_counts);
	tcase_add_test(tc, rules_want_connections);
	tcase_add_test(tc, squashing);
	tcase_add_test(tc, errors_have_their_status);
	suite_add_tcase(suite, tc);
	TCase *raw = tcase_create("raw");
	tcase_set_timeout(raw, 60);
	tcase_add_checked_fixture(raw, raw_setup, raw_teardown);
	tcase_add_test(raw, handles_on_the_wire);
	tcase_add_test(raw, every_procedure_refuses_garbage);
	tcase_add_test(raw, exclusive_create);
	tcase_add_test(raw, reads_that_wait_not_take_no_task);
	tcase_add_test(raw, write_read_and_wcc);
	tcase_add_test(raw, names_that_are_none);
	tcase_add_test(raw, directories_within_limits);
	tcase_add_test(raw, mounts_come_and_go);
	suite_add_tcase(suite, raw);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
