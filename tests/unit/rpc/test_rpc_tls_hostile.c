/* RPC over TLS: peers that ask wrongly, break off, flood, lie or stand still. Others are served
 * meanwhile. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/rpc/tls_world.h"

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

/* Half a handshake holds nobody up, and ends: those that stand still give way to newcomers. */
START_TEST(handshakes_that_stop)
{
	enum { N = RPC_TLS_HANDSHAKES };
	static struct raw many[N];
	uint8_t buf[4096], fh[FH_SIZE];
	size_t n = hello(buf, sizeof(buf));
	struct tls_opts o = {0};
	uint64_t begin = env_now_ns(env_real());
	for (unsigned i = 0; i < N; i++) {
		raw_open_from(&many[i], nas.port, "127.0.0.5", false);
		ck_assert_int_eq(tls_ask_plain(&many[i]), 0);
		size_t part = i % 4 == 0 ? 0 : i % 4 == 1 ? 1 : i % 4 == 2 ? n / 2 : n;
		ck_assert_int_eq(send(many[i].fd, buf, part, 0), (ssize_t)part);
	}
	/* One of another host is let in at once, the oldest goes; plain ones are served. */
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(tls_open(&r, nas.port, &o));
		ck_assert_uint_eq(raw_mount(&r, "/x2", fh), 0);
		tls_close(&r);
	}
	ck_assert(tls_ended(many[0].fd));
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(raw_mount(&plain, "/x0", fh), 0);
	/* Of the same host too, when they do not move; the others end by their time. */
	usleep(300000);
	raw_open_from(&r, nas.port, "127.0.0.5", false);
	ck_assert_int_eq(tls_ask_plain(&r), 0);
	ck_assert(tls_shake(&r, &o));
	tls_close(&r);
	ck_assert(tls_ended(many[N - 1].fd));
	ck_assert_uint_gt(env_now_ns(env_real()) - begin, TIMEOUT);
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, 3 * TIMEOUT);
	for (unsigned i = 0; i < N; i++)
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

static void add(TCase *t)
{
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
}

int main(void)
{
	return tls_suite("rpc_tls_hostile", add);
}
