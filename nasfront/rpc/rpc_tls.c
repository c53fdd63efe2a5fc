/*
 * TLS of RPC connections (rpc_tls.h): only OpenSSL's part; when what happens is rpc_conn_tls.c's.
 *
 * Version 1.3 only; no resumption, no early data. A client has to name "sunrpc" by ALPN. With
 * authorities (ca) clients are asked for certificates; what they show must be signed by one.
 *
 * The socket (runtime/tls_socket.h) is read with a budget for each call: a peer that sends nothing
 * but records without data (KeyUpdate, empty ones) would keep the reactor. KEY_UPDATES in a row
 * end the connection.
 *
 * What goes out is gathered into records' worth of bytes first; OpenSSL wants the same bytes again
 * when it could not write them, so they stay here until they are gone.
 */
#include "nasfront/rpc/rpc_tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/tls_socket.h"

#define RECORD 16384 /* most that TLS puts in one */
#define OVERHEAD                                                                                   \
	(4 * 1024) /* read beyond the bytes asked for: heads of records, and some without data */
#define HANDSHAKE   (64 * 1024) /* bytes of a peer's handshake: certificates are some thousand */
#define KEY_UPDATES 16

static const unsigned char alpn[] = {6, 's', 'u', 'n', 'r', 'p', 'c'};

struct rpc_tls_ctx {
	SSL_CTX *ssl;
	BIO_METHOD *bio;
	unsigned refs;
	uint8_t ca[32]; /* of all authorities together: tells sets of them apart; zeros: none */
};

struct rpc_tls {
	SSL *ssl;
	struct rpc_tls_ctx *ctx;
	struct tls_socket socket;
	bool open, want_write, pending;
	bool ended; /* with `end`, which is told behind the data before it */
	int end;
	unsigned key_updates; /* since the last data */
	uint64_t peer_until;  /* seconds; its certificate's end */
	size_t out_len;	      /* handed over, not yet taken by OpenSSL */
	char why[120];
	uint8_t out[RECORD];
};

/* ---- contexts ---- */

static int told(char *ret, const char *what, const char *path, const char *why)
{
	snprintf(ret, RPC_TLS_WHY_MAX, "%s %.150s %s", what, path, why);
	return -ERR_CONFIG;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned in_len, void *arg)
{
	unsigned char *found;
	if (SSL_select_next_proto(&found, out_len, alpn, sizeof(alpn), in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

/* Counts what a peer may send without end. */
static void on_message(int write, int version, int type, const void *buf, size_t len, SSL *ssl,
		       void *arg)
{
	struct rpc_tls *t = arg;
	if (!write && type == SSL3_RT_HANDSHAKE && len &&
	    *(const uint8_t *)buf == SSL3_MT_KEY_UPDATE && ++t->key_updates >= KEY_UPDATES)
		t->socket.budget = 0;
}

static int use_files(SSL_CTX *ssl, const struct rpc_tls_files *f, char *why)
{
	if (SSL_CTX_use_certificate_chain_file(ssl, f->cert) != 1)
		return told(why, "tls_cert", f->cert,
			    "cannot be read as a certificate in PEM form");
	tls_refuse_passphrases(ssl);
	if (SSL_CTX_use_PrivateKey_file(ssl, f->key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ssl) != 1)
		return told(
		    why, "tls_key", f->key,
		    "cannot be read as the private key of tls_cert in PEM form, not encrypted");
	if (!f->ca)
		return f->mutual ? -EINVAL : 0;
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(f->ca);
	if (!names || SSL_CTX_load_verify_locations(ssl, f->ca, NULL) != 1) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return told(why, "tls_ca", f->ca, "cannot be read as certificates in PEM form");
	}
	SSL_CTX_set_client_CA_list(ssl, names);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (f->mutual ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
			   NULL);
	return 0;
}

/* The digests of all, whatever their order. */
static int digest_ca(struct rpc_tls_ctx *c)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c->ssl));
	for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
		X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
		uint8_t d[sizeof(c->ca)];
		unsigned n = 0;
		if (!x)
			continue;
		if (!X509_digest(x, EVP_sha256(), d, &n) || n != sizeof(d))
			return -ENOMEM;
		for (unsigned k = 0; k < sizeof(d); k++)
			c->ca[k] ^= d[k];
	}
	return 0;
}

bool rpc_tls_same_ca(const struct rpc_tls *t, const struct rpc_tls_ctx *c)
{
	return memcmp(t->ctx->ca, c->ca, sizeof(c->ca)) == 0;
}

static int ctx_setup(struct rpc_tls_ctx *c, const struct rpc_tls_files *f, char *why)
{
	c->ssl = SSL_CTX_new(TLS_server_method());
	c->bio = tls_socket_method();
	if (!c->ssl || !c->bio || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION))
		return -ENOMEM;
	SSL_CTX_set_mode(c->ssl,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c->ssl, 0);
	SSL_CTX_set_read_ahead(c->ssl, 1);
	SSL_CTX_set_max_cert_list(c->ssl, HANDSHAKE / 2);
	SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, NULL);
	SSL_CTX_set_msg_callback(c->ssl, on_message);
	int rc = use_files(c->ssl, f, why);
	return rc || !f->ca ? rc : digest_ca(c);
}

static void ctx_put(struct rpc_tls_ctx *c)
{
	if (--c->refs)
		return;
	SSL_CTX_free(c->ssl);
	BIO_meth_free(c->bio);
	free(c);
}

int rpc_tls_ctx_new(struct rpc_tls_ctx **ret, const struct rpc_tls_files *f,
		    char why[RPC_TLS_WHY_MAX])
{
	struct rpc_tls_ctx *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->refs = 1;
	why[0] = '\0';
	int rc = ctx_setup(c, f, why);
	ERR_clear_error();
	if (rc)
		ctx_put(c);
	else
		*ret = c;
	return rc;
}

void rpc_tls_ctx_free(struct rpc_tls_ctx *c)
{
	if (c)
		ctx_put(c);
}

/* ---- connections ---- */

int rpc_tls_new(struct rpc_tls **ret, struct rpc_tls_ctx *ctx, int fd)
{
	struct rpc_tls *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->ssl = SSL_new(ctx->ssl);
	t->socket = (struct tls_socket){.fd = fd, .budget = HANDSHAKE};
	if (!t->ssl || !tls_socket_attach(t->ssl, ctx->bio, &t->socket)) {
		SSL_free(t->ssl);
		free(t);
		ERR_clear_error();
		return -ENOMEM;
	}
	t->ctx = ctx;
	SSL_set_msg_callback_arg(t->ssl, t);
	SSL_set_accept_state(t->ssl);
	ctx->refs++;
	*ret = t;
	return 0;
}

void rpc_tls_free(struct rpc_tls *t)
{
	if (!t)
		return;
	if (t->open && !t->out_len)
		SSL_shutdown(t->ssl);
	ERR_clear_error();
	SSL_free(t->ssl);
	ctx_put(t->ctx);
	free(t);
}

static int say_why(struct rpc_tls *t, const char *why)
{
	snprintf(t->why, sizeof(t->why), "TLS: %s", why);
	return -EPROTO;
}

/* What OpenSSL said to a call that did not do it all. */
static int failed(struct rpc_tls *t, int rc)
{
	int e = SSL_get_error(t->ssl, rc);
	unsigned long code = ERR_peek_error();
	long verify = SSL_get_verify_result(t->ssl);
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	t->want_write = e == SSL_ERROR_WANT_WRITE;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	if (e == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (!t->open && verify != X509_V_OK)
		reason = X509_verify_cert_error_string(verify);
	else if (e == SSL_ERROR_SYSCALL || !reason)
		reason = t->open ? "the connection ended" : "the connection ended in the handshake";
	return say_why(t, reason);
}

static uint64_t seconds_of(const ASN1_TIME *at)
{
	struct tm tm;
	time_t s = ASN1_TIME_to_tm(at, &tm) ? timegm(&tm) : 0;
	return s > 0 ? (uint64_t)s : 0;
}

/* The first of the certificates that ends ends it. */
static uint64_t chain_end(const SSL *ssl)
{
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	uint64_t end = UINT64_MAX;
	for (int i = 0; i < sk_X509_num(chain); i++)
		end = MIN(end, seconds_of(X509_get0_notAfter(sk_X509_value(chain, i))));
	return end;
}

uint64_t rpc_tls_peer_until(const struct rpc_tls *t)
{
	return t->peer_until;
}

int rpc_tls_handshake(struct rpc_tls *t)
{
	const unsigned char *name;
	unsigned len;
	ASSERT(!t->open);
	ERR_clear_error();
	int rc = SSL_do_handshake(t->ssl);
	if (rc != 1) {
		rc = failed(t, rc);
		if (rc == -EAGAIN && !t->socket.budget)
			return say_why(t, "the handshake is too long");
		return rc ? rc : say_why(t, "the connection ended in the handshake");
	}
	SSL_get0_alpn_selected(t->ssl, &name, &len);
	t->peer_until = chain_end(t->ssl);
	if (!len)
		return say_why(t, "the client does not say that it speaks sunrpc");
	t->open = true;
	t->want_write = false;
	t->pending = true; /* data may have come with the handshake's end */
	return 0;
}

bool rpc_tls_is_open(const struct rpc_tls *t)
{
	return t->open;
}

bool rpc_tls_has_peer(const struct rpc_tls *t)
{
	return SSL_get0_peer_certificate(t->ssl) && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

ssize_t rpc_tls_recv(struct rpc_tls *t, void *buf, size_t size)
{
	size_t got = 0;
	if (t->ended)
		return t->end;
	t->socket.budget = size + OVERHEAD;
	ERR_clear_error();
	while (got < size) {
		size_t n;
		int rc = SSL_read_ex(t->ssl, (char *)buf + got, size - got, &n);
		if (rc != 1) {
			rc = failed(t, rc);
			t->pending = t->want_write; /* it goes on when that was written */
			if (rc == -EAGAIN && t->key_updates >= KEY_UPDATES)
				rc = say_why(t, "too many key updates");
			t->ended = rc != -EAGAIN;
			t->end = rc;
			t->pending |= t->ended;
			return got ? (ssize_t)got : rc;
		}
		got += n;
		t->key_updates = 0;
	}
	t->pending = true;
	return (ssize_t)got;
}

bool rpc_tls_pending(const struct rpc_tls *t)
{
	return t->pending;
}

/* 0 when nothing is left over. */
static int flush(struct rpc_tls *t)
{
	while (t->out_len > 0) {
		size_t n;
		int rc = SSL_write_ex(t->ssl, t->out, t->out_len, &n);
		if (rc != 1) {
			rc = failed(t, rc);
			return rc ? rc : -EPIPE;
		}
		memmove(t->out, t->out + n, t->out_len - n);
		t->out_len -= n;
	}
	t->want_write = false;
	return 0;
}

ssize_t rpc_tls_send(struct rpc_tls *t, const struct iovec *iov, size_t iovcnt)
{
	size_t taken = 0;
	ERR_clear_error();
	int rc = flush(t);
	for (size_t i = 0; i < iovcnt && !rc; i++) {
		for (size_t at = 0; at < iov[i].iov_len && !rc;) {
			size_t n = MIN(iov[i].iov_len - at, RECORD - t->out_len);
			memcpy(t->out + t->out_len, (char *)iov[i].iov_base + at, n);
			t->out_len += n;
			at += n;
			taken += n;
			if (t->out_len == RECORD)
				rc = flush(t);
		}
	}
	rc = rc ? rc : flush(t);
	if (rc && rc != -EAGAIN)
		return rc;
	return taken || !rc ? (ssize_t)taken : rc;
}

bool rpc_tls_left(const struct rpc_tls *t)
{
	return t->out_len > 0;
}

bool rpc_tls_wants_write(const struct rpc_tls *t)
{
	return t->want_write;
}

const char *rpc_tls_why(const struct rpc_tls *t)
{
	return t->why[0] ? t->why : "TLS failed";
}
