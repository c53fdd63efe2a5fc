/* RPC over TLS against the whole service: NFS of both versions under TLS, who is let in by rules
 * and certificates, certificates that change and end. What peers do that they should not:
 * test_rpc_tls_hostile.c. */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs4/nfs4_proto.h"
#include "runtime/check.h"
#include "tests/unit/rpc/tls_world.h"

/* ---- as it should be ---- */

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

/* ---- the back channel of a session ---- */

/* The head of a COMPOUND of 4.1. */
static void compound(uint32_t nops)
{
	raw_begin(&r, 100003, 4, 1);
	xdr_put_string(&r.out, "");
	xdr_put_u32(&r.out, 1);
	xdr_put_u32(&r.out, nops);
}

/* Sends it; what the first operation says. r.in is at its body. */
static void expect_ok(uint32_t op)
{
	ck_assert_uint_eq(raw_end(&r), 0);
	ck_assert_uint_eq(raw_u32(&r), 0);
	raw_u32(&r); /* tag */
	raw_u32(&r);
	ck_assert_uint_eq(raw_u32(&r), op);
	ck_assert_uint_eq(raw_u32(&r), 0);
}

static void create_session(uint8_t id[NFS4_SESSIONID])
{
	const uint8_t *p;
	compound(1);
	xdr_put_u32(&r.out, OP_EXCHANGE_ID);
	xdr_put_u64(&r.out, 1);
	xdr_put_string(&r.out, "client");
	for (unsigned i = 0; i < 3; i++) /* flags, SP4_NONE, nothing of its make */
		xdr_put_u32(&r.out, 0);
	expect_ok(OP_EXCHANGE_ID);
	uint64_t client = raw_u64(&r);
	uint32_t seq = raw_u32(&r);
	compound(1);
	xdr_put_u32(&r.out, OP_CREATE_SESSION);
	xdr_put_u64(&r.out, client);
	xdr_put_u32(&r.out, seq);
	xdr_put_u32(&r.out, CREATE_SESSION4_CONN_BACK_CHAN);
	for (unsigned i = 0; i < 2; i++) {
		const uint32_t channel[] = {0, 65536, 65536, 4096, 8, 8, 0};
		for (unsigned k = 0; k < ARRAY_LEN(channel); k++)
			xdr_put_u32(&r.out, channel[k]);
	}
	xdr_put_u32(&r.out, 0x40000000);
	xdr_put_u32(&r.out, 1);
	xdr_put_u32(&r.out, 0); /* AUTH_NONE */
	expect_ok(OP_CREATE_SESSION);
	ck_assert(xdr_fixed(&r.in, NFS4_SESSIONID, &p));
	memcpy(id, p, NFS4_SESSIONID);
	raw_u32(&r);
	ck_assert_uint_eq(raw_u32(&r), CREATE_SESSION4_CONN_BACK_CHAN);
}

/* sr_status_flags */
static uint32_t sequence(const uint8_t id[NFS4_SESSIONID], uint32_t seq)
{
	const uint8_t *p;
	compound(1);
	xdr_put_u32(&r.out, OP_SEQUENCE);
	xdr_put_fixed(&r.out, id, NFS4_SESSIONID);
	xdr_put_u32(&r.out, seq);
	for (unsigned i = 0; i < 3; i++) /* slot, highest, not kept */
		xdr_put_u32(&r.out, 0);
	expect_ok(OP_SEQUENCE);
	ck_assert(xdr_fixed(&r.in, NFS4_SESSIONID + 16, &p));
	return raw_u32(&r);
}

/* Who bound it in plain may have been anybody: it is not bound any more. */
START_TEST(a_back_channel_of_before)
{
	const uint32_t down = SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION;
	struct tls_opts o = {0};
	uint8_t id[NFS4_SESSIONID];
	raw_open(&r, nas.port);
	create_session(id);
	ck_assert_uint_eq(sequence(id, 1), 0);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	ck_assert(tls_shake(&r, &o));
	ck_assert_uint_eq(sequence(id, 2), down);
	/* Bound again, under TLS. */
	compound(1);
	xdr_put_u32(&r.out, OP_BIND_CONN_TO_SESSION);
	xdr_put_fixed(&r.out, id, NFS4_SESSIONID);
	xdr_put_u32(&r.out, CDFC4_FORE_OR_BOTH);
	xdr_put_bool(&r.out, false);
	expect_ok(OP_BIND_CONN_TO_SESSION);
	ck_assert_uint_eq(sequence(id, 3), 0);
	tls_close(&r);
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

/* A connection ends with what proved who is at its other end. */
START_TEST(a_certificate_ends)
{
	struct tls_opts o = {.pair = &certs.brief}, none = {0};
	static struct raw other;
	uint8_t fh[FH_SIZE];
	ask_for_certificates(false);
	ck_assert(tls_open(&other, nas.port, &none));
	tls_certs_brief(&certs, 3);
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(raw_mount(&r, "/x3", fh), 0);
	ck_assert(tls_ended(r.fd));
	tls_close(&r);
	ck_assert(!tls_open(&r, nas.port, &o));
	ck_assert_uint_eq(raw_mount(&other, "/x2", fh), 0); /* who showed none goes on */
	tls_close(&other);
}
END_TEST

/* Other authorities: who was let in by those of before has to come again; a new certificate of the
 * server's changes nothing for them. */
START_TEST(authorities_change)
{
	struct tls_opts o = {.pair = &certs.client}, none = {0},
			strange = {.pair = &certs.stranger};
	static struct raw other;
	uint8_t fh[FH_SIZE];
	ask_for_certificates(false);
	ck_assert(tls_open(&r, nas.port, &o));
	ck_assert(tls_open(&other, nas.port, &none));
	files.cert = certs.server2.cert;
	files.key = certs.server2.key;
	nas_run(&nas, set_tls);
	ck_assert_uint_eq(raw_mount(&r, "/x3", fh), 0);
	files.ca = certs.other_ca.cert;
	nas_run(&nas, set_tls);
	ck_assert(tls_ended(r.fd));
	tls_close(&r);
	ck_assert_uint_eq(raw_mount(&other, "/x2", fh), 0);
	ck_assert(!tls_open(&r, nas.port, &o));
	ck_assert(tls_open(&r, nas.port, &strange));
	ck_assert_uint_eq(raw_mount(&r, "/x3", fh), 0);
	files.ca = NULL; /* nobody is asked any more */
	nas_run(&nas, set_tls);
	ck_assert(tls_ended(r.fd));
	tls_close(&r);
	tls_close(&other);
}
END_TEST

/* Who is on his way while certificates or authorities change begins again, by the new ones. */
START_TEST(changes_in_a_handshake)
{
	struct tls_opts o = {.pair = &certs.client}, strange = {.pair = &certs.stranger};
	uint8_t fh[FH_SIZE];
	ask_for_certificates(true);
	raw_open(&r, nas.port);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	files.ca = certs.other_ca.cert;
	nas_run(&nas, set_tls);
	ck_assert(!tls_shake(&r, &o));
	raw_close(&r);
	ck_assert(tls_open(&r, nas.port, &strange));
	/* Those let in before there was TLS for nobody, too. */
	nas_run(&nas, set_none);
	ck_assert_uint_eq(raw_mount(&r, "/x3", fh), 0);
	files.ca = certs.ca.cert;
	nas_run(&nas, set_tls);
	ck_assert(tls_ended(r.fd));
	tls_close(&r);
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, nfs3_under_tls);
	tcase_add_test(t, nfs4_under_tls);
	tcase_add_test(t, a_back_channel_of_before);
	tcase_add_test(t, rules_ask_for_connections);
	tcase_add_test(t, rules_are_asked_again_under_tls);
	tcase_add_test(t, certificates_of_clients);
	tcase_add_test(t, versions_and_names_of_protocols);
	tcase_add_test(t, certificates_change);
	tcase_add_test(t, files_that_are_none);
	tcase_add_test(t, an_encrypted_key);
	tcase_add_test(t, a_certificate_ends);
	tcase_add_test(t, authorities_change);
	tcase_add_test(t, changes_in_a_handshake);
}

int main(void)
{
	return tls_suite("rpc_tls", add);
}
