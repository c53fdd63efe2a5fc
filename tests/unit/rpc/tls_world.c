#include "tests/unit/rpc/tls_world.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

struct tls_certs certs;
struct nas nas;
struct raw r, plain;
struct rpc_tls_files files;
struct rpc_stats stats;

static struct rpc_tls_ctx *ctx;

void set_tls(struct nas *n)
{
	struct rpc_tls_ctx *old = ctx;
	char why[RPC_TLS_WHY_MAX];
	ASSERT(rpc_tls_ctx_new(&ctx, &files, why) == 0);
	rpc_server_set_tls(n->server, ctx);
	rpc_tls_ctx_free(old);
}

static void set_exports(struct nas *n)
{
	static const char *const kinds[] = {"", "none", "tls", "mtls", "none:mtls"};
	enum { N = sizeof(kinds) / sizeof(*kinds) };
	Isthmus__NasExport e[N], *list[N];
	Isthmus__NasExportClient c[N], *clients[N];
	char paths[N][16];
	for (unsigned i = 0; i < N; i++) {
		isthmus__nas_export_client__init(&c[i]);
		isthmus__nas_export__init(&e[i]);
		c[i].read_write = true;
		c[i].squash = "none";
		*(i ? &c[i].xprtsec_match : &c[i].match) = "*";
		c[i].xprtsec = (char *)kinds[i];
		snprintf(paths[i], sizeof(paths[i]), "/x%u", i);
		e[i].id = 100 + i;
		e[i].path = paths[i];
		e[i].fs = "fs0";
		e[i].subdir = "/";
		e[i].n_clients = 1;
		clients[i] = &c[i];
		e[i].clients = &clients[i];
		list[i] = &e[i];
	}
	ASSERT(nfs_exports_set(n->nfs, list, N) == 0);
}

void stats_step(struct nas *n)
{
	rpc_server_stats(n->server, &stats);
}

static void tls_up(void)
{
	nas_up_opts(&nas, &(struct nas_opts){.tls_timeout_ns = TIMEOUT});
	nas_serve4(&nas);
	ctx = NULL;
	files = (struct rpc_tls_files){.cert = certs.server.cert, .key = certs.server.key};
	nas_run(&nas, set_tls);
	nas_run(&nas, set_exports);
	raw_open(&plain, nas.port);
}

static void tls_down(void)
{
	uint8_t fh[FH_SIZE];
	/* Whatever was done to it: others are served. */
	ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	raw_close(&plain);
	nas_down(&nas);
	rpc_tls_ctx_free(ctx);
}

void ask_for_certificates(bool mutual)
{
	files.ca = certs.ca.cert;
	files.mutual = mutual;
	nas_run(&nas, set_tls);
}

void write_block(const uint8_t *fh, uint64_t off, const uint8_t *data, uint32_t len)
{
	raw_begin(&r, 100003, 3, 7);
	xdr_put_opaque(&r.out, fh, FH_SIZE);
	xdr_put_u64(&r.out, off);
	xdr_put_u32(&r.out, len);
	xdr_put_u32(&r.out, 0);
	xdr_put_opaque(&r.out, data, len);
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
}

void read_block(const uint8_t *fh, uint64_t off, const uint8_t *want, uint32_t len)
{
	const uint8_t *p;
	uint32_t n;
	raw_begin(&r, 100003, 3, 6);
	xdr_put_opaque(&r.out, fh, FH_SIZE);
	xdr_put_u64(&r.out, off);
	xdr_put_u32(&r.out, len);
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 1);
	ck_assert(xdr_fixed(&r.in, 84, &p));
	ck_assert_uint_eq(raw_u32(&r), len);
	raw_u32(&r);
	ck_assert(xdr_opaque(&r.in, len, &p, &n) && n == len);
	ck_assert_mem_eq(p, want, len);
}

void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
}

int tls_suite(const char *name, void (*add)(TCase *t))
{
	signal(SIGPIPE, SIG_IGN);
	tls_certs_make(&certs);
	Suite *s = suite_create(name);
	TCase *t = tcase_create(name);
	tcase_add_checked_fixture(t, tls_up, tls_down);
	tcase_set_timeout(t, 120);
	add(t);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	tls_certs_remove(&certs);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
