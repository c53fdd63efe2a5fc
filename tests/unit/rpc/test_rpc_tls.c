/*
 * RPC over TLS against the whole service: NFS of both versions under TLS, who is let in by rules
 * and certificates, certificates that change, and peers that break off, flood, lie or stand still.
 */
#include <check.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs4/nfs4_proto.h"
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/rpc/tls_client.h"

#define TIMEOUT (4 * NS_PER_S) /* of handshakes */

static struct tls_certs certs;
static struct nas nas;
static struct raw r, plain;
static struct rpc_tls_ctx *ctx;
static struct rpc_tls_files files;
static struct rpc_stats stats;

static void set_tls(struct nas *n)
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

static void stats_step(struct nas *n)
{
	rpc_server_stats(n->server, &stats);
}

static void up(void)
{
	nas_up_opts(&nas, &(struct nas_opts){.tls_timeout_ns = TIMEOUT});
	nas_serve4(&nas);
	ctx = NULL;
	files = (struct rpc_tls_files){.cert = certs.server.cert, .key = certs.server.key};
	nas_run(&nas, set_tls);
	nas_run(&nas, set_exports);
	raw_open(&plain, nas.port);
}

static void down(void)
{
	uint8_t fh[FH_SIZE];
	/* Whatever was done to it: others are served. */
	ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	raw_close(&plain);
	nas_down(&nas);
	rpc_tls_ctx_free(ctx);
}

static void ask_for_certificates(bool mutual)
{
	files.ca = certs.ca.cert;
	files.mutual = mutual;
	nas_run(&nas, set_tls);
}

/* ---- as it should be ---- */

static void write_block(const uint8_t *fh, uint64_t off, const uint8_t *data, uint32_t len)
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

static void read_block(const uint8_t *fh, uint64_t off, const uint8_t *want, uint32_t len)
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

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
}

START_TEST(nfs3_under_tls)
{
	static uint8_t data[60000];
	uint8_t root[FH_SIZE], fh[FH_SIZE];
	struct tls_opts o = {.ca = certs.ca.cert};
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_int_eq(SSL_version(tls_of(&r)), TLS1_3_VERSION);
	ck_assert_uint_eq(raw_mount(&r, "/x0", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "f", false, 0600, fh), 0);
	for (uint32_t i = 0; i < 20; i++) {
		fill(data, sizeof(data), i);
		write_block(fh, i * sizeof(data), data, sizeof(data));
	}
	for (uint32_t i = 0; i < 20; i++) {
		fill(data, sizeof(data), i);
		read_block(fh, i * sizeof(data), data, sizeof(data));
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.tls_opened, 1);
	ck_assert_uint_eq(stats.tls_failed, 0);
	tls_close(&r);
}
END_TEST

/* A compound of 4.0, which needs no session: PUTROOTFH, LOOKUP, GETFH. */
static uint32_t lookup4(struct raw *c, const char *name)
{
	raw_begin(c, 100003, 4, 1);
	xdr_put_string(&c->out, "");
	xdr_put_u32(&c->out, 0);
	xdr_put_u32(&c->out, 3);
	xdr_put_u32(&c->out, 24);
	xdr_put_u32(&c->out, 15);
	xdr_put_string(&c->out, name);
	xdr_put_u32(&c->out, 10);
	ck_assert_uint_eq(raw_end(c), 0);
	return raw_u32(c);
}

START_TEST(nfs4_under_tls)
{
	struct tls_opts o = {0};
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(lookup4(&r, "x0"), 0);
	ck_assert_uint_eq(lookup4(&r, "x2"), 0);
	ck_assert_uint_eq(lookup4(&r, "x1"), NFS4ERR_WRONGSEC);
	ck_assert_uint_eq(lookup4(&r, "x3"), NFS4ERR_WRONGSEC);
	ck_assert_uint_eq(lookup4(&r, "x9"), NFS4ERR_NOENT);
	tls_close(&r);
	ck_assert_uint_eq(lookup4(&plain, "x0"), 0);
	ck_assert_uint_eq(lookup4(&plain, "x1"), 0);
	ck_assert_uint_eq(lookup4(&plain, "x2"), NFS4ERR_WRONGSEC);
}
END_TEST

/* Who is let in where: the rows are connections, the columns the exports of set_exports(). */
START_TEST(rules_ask_for_connections)
{
	static const uint32_t want[3][5] = {
	    {0, 0, 13, 13, 0}, {0, 13, 0, 13, 13}, {0, 13, 0, 0, 0}};
	uint8_t handles[5][FH_SIZE];
	ask_for_certificates(false);
	for (unsigned kind = 0; kind < 3; kind++) {
		struct tls_opts o = {.pair = kind == 2 ? &certs.client : NULL};
		if (kind)
			ck_assert(tls_open(&r, nas.port, &o));
		else
			raw_open(&r, nas.port);
		for (unsigned i = 0; i < 5; i++) {
			char path[8];
			snprintf(path, sizeof(path), "/x%u", i);
			ck_assert_msg(raw_mount(&r, path, handles[i]) == want[kind][i], "%u %u",
				      kind, i);
		}
		if (kind)
			tls_close(&r);
		else
			raw_close(&r);
	}
	/* A handle is no way around it. */
	struct tls_opts o = {0};
	uint32_t mode;
	ck_assert_uint_eq(raw_mode(&plain, handles[2], &mode), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&plain, handles[3], &mode), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&plain, handles[4], &mode), 0);
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(raw_mode(&r, handles[2], &mode), 0);
	ck_assert_uint_eq(raw_mode(&r, handles[3], &mode), NFS3ERR_ACCES);
	tls_close(&r);
}
END_TEST

/* What was found out of the connection before it went over does not count. */
START_TEST(rules_are_asked_again_under_tls)
{
	uint8_t none[FH_SIZE], tls[FH_SIZE];
	uint32_t mode;
	struct tls_opts o = {0};
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(raw_mount(&r, "/x2", tls), 0);
	tls_close(&r);
	raw_open(&r, nas.port);
	ck_assert_uint_eq(raw_mount(&r, "/x1", none), 0);
	ck_assert_uint_eq(raw_mode(&r, tls, &mode), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&r, none, &mode), 0);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	ck_assert(tls_shake(&r, &o));
	ck_assert_uint_eq(raw_mode(&r, none, &mode), NFS3ERR_ACCES);
	ck_assert_uint_eq(raw_mode(&r, tls, &mode), 0);
	tls_close(&r);
}
END_TEST

START_TEST(certificates_of_clients)
{
	const struct tls_opts none = {0}, good = {.pair = &certs.client},
			      strange = {.pair = &certs.stranger}, old = {.pair = &certs.expired},
			      own = {.pair = &certs.other_ca};
	for (unsigned mutual = 0; mutual < 2; mutual++) {
		ask_for_certificates(mutual);
		ck_assert_int_eq(tls_open(&r, nas.port, &none), !mutual);
		if (!mutual)
			tls_close(&r);
		ck_assert(tls_open(&r, nas.port, &good));
		tls_close(&r);
		ck_assert(!tls_open(&r, nas.port, &strange));
		ck_assert(!tls_open(&r, nas.port, &old));
		ck_assert(!tls_open(&r, nas.port, &own));
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.tls_opened, 3);
	ck_assert_uint_eq(stats.tls_failed, 7);
}
END_TEST

START_TEST(versions_and_names_of_protocols)
{
	const struct tls_opts old = {.max_version = TLS1_2_VERSION}, none = {.alpn = ""},
			      other = {.alpn = "\2h2\10http/1.1"}, both = {.alpn = "\2h2\6sunrpc"};
	ck_assert(!tls_open(&r, nas.port, &old));
	ck_assert(!tls_open(&r, nas.port, &none));
	ck_assert(!tls_open(&r, nas.port, &other));
	ck_assert(tls_open(&r, nas.port, &both));
	const unsigned char *name;
	unsigned len;
	SSL_get0_alpn_selected(tls_of(&r), &name, &len);
	ck_assert_uint_eq(len, 6);
	ck_assert_mem_eq(name, "sunrpc", 6);
	tls_close(&r);
}
END_TEST

static void name_of_server(char *to, size_t size)
{
	X509 *x = SSL_get1_peer_certificate(tls_of(&r));
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, to, (int)size);
	X509_free(x);
}

static void set_none(struct nas *n)
{
	rpc_server_set_tls(n->server, NULL);
}

/* New connections get the new one, those there are go on. */
START_TEST(certificates_change)
{
	struct tls_opts o = {.ca = certs.ca.cert};
	char name[64];
	uint8_t fh[FH_SIZE];
	ck_assert(tls_open(&r, nas.port, &o));
	name_of_server(name, sizeof(name));
	ck_assert_str_eq(name, "server");
	files.cert = certs.server2.cert;
	files.key = certs.server2.key;
	nas_run(&nas, set_tls);
	ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
	tls_close(&r);
	ck_assert(tls_open(&r, nas.port, &o));
	name_of_server(name, sizeof(name));
	ck_assert_str_eq(name, "server2");
	nas_run(&nas, set_none);
	ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
	tls_close(&r);
	raw_open(&r, nas.port);
	ck_assert_int_eq(tls_ask_plain(&r), 100 + RPC_AUTH_REJECTEDCRED);
	ck_assert_uint_eq(raw_mount(&r, "/x0", fh), 0);
	raw_close(&r);
}
END_TEST

START_TEST(files_that_are_none)
{
	char why[RPC_TLS_WHY_MAX];
	const struct {
		struct rpc_tls_files f;
		const char *why;
	} rows[] = {
	    {{.cert = "/nowhere", .key = certs.server.key}, "tls_cert /nowhere"},
	    {{.cert = certs.server.key, .key = certs.server.key}, "tls_cert"},
	    {{.cert = certs.server.cert, .key = "/nowhere"}, "tls_key /nowhere"},
	    {{.cert = certs.server.cert, .key = certs.client.key}, "tls_key"},
	    {{.cert = certs.server.cert, .key = certs.server.cert}, "tls_key"},
	    {{.cert = certs.server.cert, .key = certs.server.key, .ca = "/nowhere"}, "tls_ca"},
	    {{.cert = certs.server.cert, .key = certs.server.key, .ca = certs.server.key},
	     "tls_ca"},
	    {{.cert = certs.server.cert, .key = certs.server.key, .mutual = true}, ""},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct rpc_tls_ctx *c = NULL;
		ck_assert_int_lt(rpc_tls_ctx_new(&c, &rows[i].f, why), 0);
		ck_assert_ptr_null(c);
		ck_assert_msg(strncmp(why, rows[i].why, strlen(rows[i].why)) == 0, "%s", why);
	}
}
END_TEST

/* Nobody is asked for its passphrase, which waits at the terminal here. */
START_TEST(an_encrypted_key)
{
	char path[256], line[16], why[RPC_TLS_WHY_MAX];
	struct rpc_tls_files f = {.cert = certs.server.cert, .key = path};
	struct rpc_tls_ctx *c = NULL;
	int in[2];
	snprintf(path, sizeof(path), "%s/encrypted", certs.dir);
	FILE *from = fopen(certs.server.key, "r"), *to = fopen(path, "w");
	ck_assert(from && to);
	EVP_PKEY *key = PEM_read_PrivateKey(from, NULL, NULL, NULL);
	ck_assert_int_eq(PEM_write_PrivateKey(to, key, EVP_aes_256_cbc(),
					      (const unsigned char *)"secret", 6, NULL, NULL),
			 1);
	EVP_PKEY_free(key);
	fclose(from);
	fclose(to);
	ck_assert(pipe(in) == 0 && write(in[1], "secret\n", 7) == 7 && dup2(in[0], 0) == 0);
	ck_assert_int_lt(rpc_tls_ctx_new(&c, &f, why), 0);
	ck_assert_ptr_nonnull(strstr(why, "not encrypted"));
	ck_assert_int_eq(read(0, line, sizeof(line)), 7); /* it was not taken */
	ck_assert_int_eq(unlink(path), 0);
	close(in[0]);
	close(in[1]);
}
END_TEST

/* ---- asking ---- */

START_TEST(calls_that_ask_wrongly)
{
	struct tls_opts o = {0};
	uint8_t fh[FH_SIZE];
	raw_open(&r, nas.port);
	ck_assert_int_eq(tls_ask(&r, 1, NULL, 0, 0, 0), 100 + RPC_AUTH_BADCRED);
	ck_assert_int_eq(tls_ask(&r, 0, "body", 4, 0, 0), 100 + RPC_AUTH_BADCRED);
	ck_assert_int_eq(tls_ask(&r, 0, NULL, 0, 0, 8), 100 + RPC_AUTH_BADVERF);
	ck_assert_int_eq(tls_ask(&r, 0, NULL, 0, 1, 0), 100 + RPC_AUTH_BADVERF);
	/* and goes on as before */
	ck_assert_uint_eq(raw_mount(&r, "/x1", fh), 0);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	ck_assert(tls_shake(&r, &o));
	ck_assert_int_eq(tls_ask_plain(&r), 100 + RPC_AUTH_BADCRED);
	ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
	tls_close(&r);
}
END_TEST

static size_t put_ask(uint8_t *buf)
{
	const uint32_t head[] = {0x80000028, 1, 0, 2, 100003, 3, 0, 7, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		be32_put(buf + 4 * i, head[i]);
	return sizeof(head);
}

/* Bytes that came before TLS must not count under it. */
START_TEST(bytes_behind_the_asking)
{
	uint8_t buf[256];
	uint64_t begin = env_now_ns(env_real());
	size_t n = put_ask(buf);
	n += put_ask(buf + n); /* a whole call behind it */
	raw_open(&r, nas.port);
	ck_assert_int_eq(send(r.fd, buf, n, 0), (ssize_t)n);
	ck_assert(tls_ended(r.fd));
	raw_close(&r);
	n = put_ask(buf);
	buf[n++] = 0x80; /* a part of one */
	raw_open(&r, nas.port);
	ck_assert_int_eq(send(r.fd, buf, n, 0), (ssize_t)n);
	ck_assert(tls_ended(r.fd));
	raw_close(&r);
	/* at once, not when the handshake did not come */
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, TIMEOUT);
}
END_TEST

/* ---- handshakes ---- */

START_TEST(what_is_no_handshake)
{
	static uint8_t junk[100000];
	uint8_t fh[FH_SIZE], call[64];
	for (uint32_t i = 0; i < 24; i++) {
		raw_open(&r, nas.port);
		ck_assert_int_eq(tls_ask_plain(&r), 0);
		size_t n = i < 4 ? put_ask(call) : (size_t)1 << (i % 17);
		fill(junk, sizeof(junk), i);
		if (i < 4) /* plain RPC goes on */
			memcpy(junk, call, n);
		else if (i % 2) /* as a record of a handshake */
			memcpy(junk, "\x16\x03\x01\x40", 4);
		if (i == 5) /* in a length that is none */
			memcpy(junk + 3, "\xff\xff", 2);
		ck_assert_int_ge(send(r.fd, junk, n, MSG_NOSIGNAL), 0);
		shutdown(r.fd, SHUT_WR);
		ck_assert(tls_ended(r.fd));
		raw_close(&r);
		ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.tls_failed, 24);
	ck_assert_uint_eq(stats.connections, 1);
}
END_TEST

/* Records of bytes of our own making, read from a client's handshake in memory. */
static size_t hello(uint8_t *buf, size_t size)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_alpn_protos(c, (const unsigned char *)"\6sunrpc", 7);
	SSL *ssl = SSL_new(c);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL_set_bio(ssl, in, out);
	SSL_connect(ssl);
	int n = BIO_read(out, buf, (int)size);
	SSL_free(ssl);
	SSL_CTX_free(c);
	ERR_clear_error();
	ck_assert_int_gt(n, 100);
	return (size_t)n;
}

/* Half a handshake holds nobody up, and ends. */
START_TEST(handshakes_that_stop)
{
	enum { N = RPC_TLS_HANDSHAKES };
	static struct raw many[N];
	uint8_t buf[4096], fh[FH_SIZE];
	size_t n = hello(buf, sizeof(buf));
	struct tls_opts o = {0};
	uint64_t begin = env_now_ns(env_real());
	for (unsigned i = 0; i < N; i++) {
		raw_open(&many[i], nas.port);
		ck_assert_int_eq(tls_ask_plain(&many[i]), 0);
		size_t part = i % 4 == 0 ? 0 : i % 4 == 1 ? 1 : i % 4 == 2 ? n / 2 : n;
		ck_assert_int_eq(send(many[i].fd, buf, part, 0), (ssize_t)part);
	}
	/* No more of them; plain ones are served. */
	raw_open(&r, nas.port);
	ck_assert_int_eq(tls_ask_plain(&r), -1);
	raw_close(&r);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, TIMEOUT);
	raw_close(&many[0]);
	ck_assert(tls_ended(many[1].fd));
	ck_assert(tls_ended(many[N - 1].fd));
	ck_assert_uint_gt(env_now_ns(env_real()) - begin, TIMEOUT);
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, 3 * TIMEOUT);
	ck_assert(tls_open(&r, nas.port, &o));
	tls_close(&r);
	for (unsigned i = 1; i < N; i++)
		raw_close(&many[i]);
}
END_TEST

/* A handshake a byte at a time. */
START_TEST(a_slow_handshake)
{
	struct tls_opts o = {.ca = certs.ca.cert};
	int one = 1;
	raw_open(&r, nas.port);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_alpn_protos(c, (const unsigned char *)"\6sunrpc", 7);
	SSL *ssl = SSL_new(c);
	SSL_CTX_free(c);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	setsockopt(r.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (SSL_do_handshake(ssl) != 1) {
		uint8_t buf[8192];
		int n = BIO_read(out, buf, sizeof(buf));
		for (int i = 0; i < n; i++)
			ck_assert_int_eq(send(r.fd, buf + i, 1, 0), 1);
		ssize_t got = recv(r.fd, buf, sizeof(buf), 0);
		ck_assert_int_gt(got, 0);
		BIO_write(in, buf, (int)got);
	}
	ERR_clear_error();
	SSL_free(ssl);
	raw_close(&r);
	ck_assert(tls_open(&r, nas.port, &o));
	tls_close(&r);
}
END_TEST

/* ---- under TLS ---- */

START_TEST(ends_in_the_middle)
{
	struct tls_opts o = {0};
	static uint8_t part[5000] = {0x80, 0x01, 0x00, 0x00};
	for (unsigned how = 0; how < 4; how++) {
		ck_assert(tls_open(&r, nas.port, &o));
		ck_assert_int_eq(SSL_write(tls_of(&r), part, sizeof(part)), (int)sizeof(part));
		if (how == 0) { /* a goodbye in a record of RPC */
			SSL_shutdown(tls_of(&r));
			ck_assert(tls_ended(r.fd));
		} else if (how == 1) { /* bytes that are no TLS any more */
			ck_assert_int_eq(send(r.fd, part, sizeof(part), MSG_NOSIGNAL),
					 sizeof(part));
			ck_assert(tls_ended(r.fd));
		} else if (how == 2) { /* half a record */
			ck_assert_int_eq(send(r.fd, "\x17\x03\x03\x10\x00junk", 9, 0), 9);
			shutdown(r.fd, SHUT_WR);
			ck_assert(tls_ended(r.fd));
		}
		SSL_free(tls_of(&r));
		r.arg = NULL;
		raw_close(&r);
	}
	for (int i = 0; i < 1000; i++) {
		nas_run(&nas, stats_step);
		if (stats.connections == 1)
			break;
		usleep(10000);
	}
	ck_assert_uint_eq(stats.connections, 1);
	ck_assert_uint_eq(stats.requests, 0);
}
END_TEST

START_TEST(key_updates)
{
	struct tls_opts o = {0};
	uint8_t fh[FH_SIZE];
	ck_assert(tls_open(&r, nas.port, &o));
	for (int i = 0; i < 100; i++) { /* with calls between, as many as wanted */
		ck_assert(SSL_key_update(tls_of(&r), i & 1 ? SSL_KEY_UPDATE_REQUESTED
							   : SSL_KEY_UPDATE_NOT_REQUESTED));
		ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
	}
	/* without end and nothing else: the end */
	int sent = 0;
	while (sent < 100000 &&
	       SSL_key_update(tls_of(&r),
			      sent & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) &&
	       SSL_do_handshake(tls_of(&r)) == 1)
		sent++;
	ck_assert_int_lt(sent, 100000);
	ERR_clear_error();
	ck_assert(tls_ended(r.fd));
	SSL_free(tls_of(&r));
	r.arg = NULL;
	raw_close(&r);
}
END_TEST

/* The same where they are taken in one go, out of what was read ahead. */
START_TEST(records_without_data)
{
	struct tls_opts o = {0};
	uint8_t fh[FH_SIZE];
	ck_assert(tls_open(&r, nas.port, &o));
	for (int i = 0; i < 3000; i++) {
		size_t n;
		SSL_write_ex(tls_of(&r), "", 0, &n);
	}
	ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
	tls_close(&r);
}
END_TEST

/* Calls in records of a byte, and many calls in one record. */
START_TEST(records_of_any_size)
{
	struct tls_opts o = {0};
	static uint8_t buf[16384];
	size_t n = 0;
	unsigned calls = 0;
	ck_assert(tls_open(&r, nas.port, &o));
	raw_begin(&r, 100003, 3, 0);
	size_t len = xdr_out_len(&r.out);
	be32_put(r.call, 0x80000000u | (uint32_t)len);
	for (size_t i = 0; i < len + 4; i++)
		ck_assert_int_eq(SSL_write(tls_of(&r), r.call + i, 1), 1);
	ck_assert(r.recv(&r, buf, 28));
	ck_assert_uint_eq(be32_get(buf + 4), r.xid);
	while (n + len + 4 <= sizeof(buf)) {
		be32_put(r.call + 4, ++r.xid);
		memcpy(buf + n, r.call, len + 4);
		n += len + 4;
		calls++;
	}
	uint32_t first = r.xid - calls + 1;
	ck_assert_uint_gt(calls, 150); /* more than may be in flight */
	ck_assert_int_eq(SSL_write(tls_of(&r), buf, (int)n), (int)n);
	for (unsigned i = 0; i < calls; i++) {
		ck_assert(r.recv(&r, buf, 28));
		ck_assert_uint_eq(be32_get(buf + 4), first + i);
	}
	tls_close(&r);
}
END_TEST

/* Many replies that are read late: all of them come, whole and in order. */
START_TEST(replies_that_are_read_late)
{
	enum { LEN = 50000, CALLS = 400 };
	static uint8_t data[LEN], got[LEN + 200];
	uint8_t root[FH_SIZE], fh[FH_SIZE], mark[4];
	struct tls_opts o = {0};
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(raw_mount(&r, "/x0", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "f", false, 0600, fh), 0);
	fill(data, LEN, 1);
	write_block(fh, 0, data, LEN);
	uint32_t first = r.xid + 1, seen = 0;
	for (unsigned i = 0; i < CALLS; i++) {
		raw_begin(&r, 100003, 3, 6);
		xdr_put_opaque(&r.out, fh, FH_SIZE);
		xdr_put_u64(&r.out, 0);
		xdr_put_u32(&r.out, LEN);
		size_t n = xdr_out_len(&r.out);
		be32_put(r.call, 0x80000000u | (uint32_t)n);
		ck_assert(r.send(&r, r.call, n + 4));
	}
	usleep(500000);
	for (unsigned i = 0; i < CALLS; i++) {
		ck_assert(r.recv(&r, mark, 4));
		size_t n = be32_get(mark) & 0x7fffffff;
		ck_assert_uint_eq(n, 24 + 4 + 4 + 84 + 8 + 4 + LEN);
		ck_assert(r.recv(&r, got, n));
		ck_assert_uint_lt(be32_get(got) - first, CALLS);
		ck_assert_mem_eq(got + n - LEN, data, LEN);
		seen++;
	}
	ck_assert_uint_eq(seen, CALLS);
	tls_close(&r);
}
END_TEST

/* Who reads nothing and asks for keys at that. */
START_TEST(a_peer_that_reads_nothing)
{
	struct tls_opts o = {0};
	struct timeval tv = {.tv_usec = 200000};
	uint8_t fh[FH_SIZE];
	ck_assert(tls_open(&r, nas.port, &o));
	setsockopt(r.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	for (unsigned i = 0; i < 200000; i++) {
		raw_begin(&r, 100005, 3, 5);
		size_t n = xdr_out_len(&r.out);
		be32_put(r.call, 0x80000000u | (uint32_t)n);
		if (i % 8 == 0)
			SSL_key_update(tls_of(&r), SSL_KEY_UPDATE_REQUESTED);
		if (SSL_write(tls_of(&r), r.call, (int)n + 4) <= 0)
			break;
	}
	ERR_clear_error();
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	SSL_free(tls_of(&r));
	r.arg = NULL;
	raw_close(&r);
}
END_TEST

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	tls_certs_make(&certs);
	Suite *s = suite_create("rpc_tls");
	TCase *t = tcase_create("tls");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, nfs3_under_tls);
	tcase_add_test(t, nfs4_under_tls);
	tcase_add_test(t, rules_ask_for_connections);
	tcase_add_test(t, rules_are_asked_again_under_tls);
	tcase_add_test(t, certificates_of_clients);
	tcase_add_test(t, versions_and_names_of_protocols);
	tcase_add_test(t, certificates_change);
	tcase_add_test(t, files_that_are_none);
	tcase_add_test(t, an_encrypted_key);
	tcase_add_test(t, calls_that_ask_wrongly);
	tcase_add_test(t, bytes_behind_the_asking);
	tcase_add_test(t, what_is_no_handshake);
	tcase_add_test(t, handshakes_that_stop);
	tcase_add_test(t, a_slow_handshake);
	tcase_add_test(t, ends_in_the_middle);
	tcase_add_test(t, key_updates);
	tcase_add_test(t, records_without_data);
	tcase_add_test(t, records_of_any_size);
	tcase_add_test(t, replies_that_are_read_late);
	tcase_add_test(t, a_peer_that_reads_nothing);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	tls_certs_remove(&certs);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
