#include "tests/unit/rpc/tls_client.h"
#include <check.h>
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"

int tls_ask(struct raw *r, uint32_t proc, const void *cred, uint32_t cred_len, uint32_t verf_flavor,
	    uint32_t verf_len)
{
	uint8_t call[512], mark[4], reply[512], zeros[400] = {0};
	struct xdr_out x = xdr_out_of(call + 4, sizeof(call) - 4);
	const uint32_t head[] = {++r->xid, 0, 2, 100003, 3, proc, 7};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_opaque(&x, cred, cred_len);
	xdr_put_u32(&x, verf_flavor);
	xdr_put_opaque(&x, zeros, verf_len);
	size_t n = xdr_out_len(&x);
	be32_put(call, 0x80000000u | (uint32_t)n);
	bool sent = r->send ? r->send(r, call, n + 4)
			    : send(r->fd, call, n + 4, MSG_NOSIGNAL) == (ssize_t)n + 4;
	bool got = sent && (r->recv ? r->recv(r, mark, 4) : recv(r->fd, mark, 4, MSG_WAITALL) == 4);
	if (!got)
		return -1;
	n = be32_get(mark) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(reply));
	ck_assert(r->recv ? r->recv(r, reply, n)
			  : recv(r->fd, reply, n, MSG_WAITALL) == (ssize_t)n);
	ck_assert_uint_eq(be32_get(reply), r->xid);
	if (be32_get(reply + 8) == 1) {
		ck_assert_uint_eq(be32_get(reply + 12), 1);
		return 100 + (int)be32_get(reply + 16);
	}
	ck_assert_uint_eq(be32_get(reply + 12), 0); /* AUTH_NONE */
	if (be32_get(reply + 16) == 0)
		return 1 + (int)be32_get(reply + 20);
	ck_assert_uint_eq(be32_get(reply + 16), 8);
	ck_assert_mem_eq(reply + 20, "STARTTLS", 8);
	ck_assert_uint_eq(be32_get(reply + 28), 0);
	ck_assert_uint_eq(n, 32);
	return 0;
}

int tls_ask_plain(struct raw *r)
{
	return tls_ask(r, 0, NULL, 0, 0, 0);
}

static bool ssl_send(struct raw *r, const void *p, size_t n)
{
	return SSL_write(r->arg, p, (int)n) == (int)n;
}

static bool ssl_recv(struct raw *r, void *p, size_t n)
{
	size_t at = 0;
	while (at < n) {
		int k = SSL_read(r->arg, (char *)p + at, (int)(n - at));
		if (k <= 0)
			return false;
		at += (size_t)k;
	}
	return true;
}

bool tls_shake(struct raw *r, const struct tls_opts *o)
{
	const char *alpn = o->alpn ? o->alpn : "\6sunrpc";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (o->max_version)
		SSL_CTX_set_max_proto_version(ctx, o->max_version);
	if (*alpn)
		SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	if (o->pair)
		ck_assert(SSL_CTX_use_certificate_file(ctx, o->pair->cert, SSL_FILETYPE_PEM) == 1 &&
			  SSL_CTX_use_PrivateKey_file(ctx, o->pair->key, SSL_FILETYPE_PEM) == 1);
	if (o->ca) {
		ck_assert(SSL_CTX_load_verify_locations(ctx, o->ca, NULL) == 1);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	}
	SSL *ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(ssl, r->fd);
	bool ok = SSL_connect(ssl) == 1;
	/* Of version 1.3 a client hears only now that its certificate was refused. */
	r->arg = ssl;
	r->send = ssl_send;
	r->recv = ssl_recv;
	if (ok)
		return true;
	ERR_clear_error();
	SSL_free(ssl);
	r->arg = NULL;
	r->send = NULL;
	r->recv = NULL;
	return false;
}

static bool null_call(struct raw *r)
{
	uint8_t mark[4], reply[24];
	raw_begin(r, 100003, 3, 0);
	size_t n = xdr_out_len(&r->out);
	be32_put(r->call, 0x80000000u | (uint32_t)n);
	return r->send(r, r->call, n + 4) && r->recv(r, mark, 4) && r->recv(r, reply, 24) &&
	       be32_get(reply) == r->xid;
}

bool tls_open(struct raw *r, uint16_t port, const struct tls_opts *o)
{
	raw_open(r, port);
	ck_assert_int_eq(tls_ask_plain(r), 0);
	if (tls_shake(r, o) && null_call(r))
		return true;
	tls_close(r);
	return false;
}

void tls_close(struct raw *r)
{
	if (r->arg)
		SSL_shutdown(r->arg);
	ERR_clear_error();
	SSL_free(r->arg);
	r->arg = NULL;
	raw_close(r);
}

SSL *tls_of(struct raw *r)
{
	return r->arg;
}

bool tls_ended(int fd)
{
	char buf[4096];
	ssize_t n;
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}
