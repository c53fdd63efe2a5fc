/*
 * TLS of the interconnect (link_tls.h): version 1.3 only, and always both sides prove who they are.
 *
 * By key: the file holds one line "identity:hex", 16 to 64 bytes of key, the same on both sides;
 * the identity must be the same too. By certificate: each side's is signed by the authority in
 * ca_file and names the controller (common name or DNS name).
 *
 * What goes out is gathered into records' worth of bytes first, so that many small messages are
 * one record; OpenSSL wants the same bytes again when it could not write them, so they stay here
 * until they are gone.
 */
#include "blockcore/link/link_tls.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/tls_socket.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PSK_MAX	     64
#define ID_MAX	     64
#define KEY_LINE_MAX (ID_MAX + 2 * PSK_MAX + 4)
#define RECORD	     16384 /* most that TLS puts in one */
/* A client that gives the key of 32 bytes says with which hash: SHA-256 fits any length. */
static const unsigned char psk_cipher[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */

struct link_tls_ctx {
	unsigned refs;
	SSL_CTX *ssl;
	BIO_METHOD *bio;
	uint8_t key[PSK_MAX];
	size_t key_len;
	char identity[ID_MAX + 1];
	char peer[64];
};

struct link_tls {
	SSL *ssl;
	struct tls_socket socket;
	struct link_tls_ctx *ctx;
	bool ready, want_write, pending;
	uint8_t out[RECORD];
	size_t out_len; /* handed over by the caller, not yet taken by OpenSSL */
};

/* ---- the files ---- */

static void told(char *ret, const char *what, const char *path, const char *why)
{
	snprintf(ret, LINK_WHY_MAX, "%s %.90s %s", what, path, why);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool parse_key(struct link_tls_ctx *c, const char *line)
{
	const char *colon = strchr(line, ':');
	size_t n = colon ? (size_t)(colon - line) : 0;
	if (n == 0 || n > ID_MAX)
		return false;
	memcpy(c->identity, line, n);
	c->identity[n] = '\0';
	const char *p = colon + 1;
	for (; hex_digit(p[0]) >= 0 && hex_digit(p[1]) >= 0; p += 2) {
		if (c->key_len == PSK_MAX)
			return false;
		c->key[c->key_len++] = (uint8_t)(hex_digit(p[0]) << 4 | hex_digit(p[1]));
	}
	return c->key_len >= 16 && (*p == '\0' || *p == '\n');
}

static int read_key(struct link_tls_ctx *c, const char *path, char *why)
{
	char line[KEY_LINE_MAX + 1];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		int err = errno;
		told(why, "link_psk", path, err_text(err));
		if (fd >= 0)
			close(fd);
		return -err;
	}
	ssize_t n = S_ISREG(st.st_mode) ? read(fd, line, KEY_LINE_MAX) : -1;
	close(fd);
	line[MAX(n, 0)] = '\0';
	bool right = n > 0 && parse_key(c, line);
	OPENSSL_cleanse(line, sizeof(line));
	if (st.st_mode & (S_IRWXG | S_IRWXO)) {
		told(why, "link_psk", path, "may be read or written by others: chmod 600");
		return -ERR_CONFIG;
	}
	if (right)
		return 0;
	told(why, "link_psk", path, "must hold one line IDENTITY:HEX with 16 to 64 bytes of key");
	return -ERR_CONFIG;
}

/* ---- pre-shared key ---- */

static struct link_tls_ctx *ctx_of(SSL *ssl)
{
	return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static SSL_SESSION *key_session(SSL *ssl, const struct link_tls_ctx *c)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, psk_cipher);
	SSL_SESSION *s = cipher ? SSL_SESSION_new() : NULL;
	if (s && SSL_SESSION_set1_master_key(s, c->key, c->key_len) &&
	    SSL_SESSION_set_cipher(s, cipher) &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION))
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int use_key(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len,
		   SSL_SESSION **sess)
{
	struct link_tls_ctx *c = ctx_of(ssl);
	*sess = key_session(ssl, c);
	if (!*sess)
		return 0;
	*id = (const unsigned char *)c->identity;
	*id_len = strlen(c->identity);
	return 1;
}

/* A key that is not ours: no session, and without certificates the handshake fails. */
static int find_key(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **sess)
{
	struct link_tls_ctx *c = ctx_of(ssl);
	*sess = NULL;
	if (id_len != strlen(c->identity) || memcmp(id, c->identity, id_len) != 0)
		return 1;
	*sess = key_session(ssl, c);
	return *sess != NULL;
}

/* ---- contexts ---- */

static bool use_certificates(struct link_tls_ctx *c, const struct link_auth *a, char *why)
{
	if (SSL_CTX_use_certificate_chain_file(c->ssl, a->cert_file) != 1) {
		told(why, "link_cert", a->cert_file, "is not a certificate in PEM form");
		return false;
	}
	tls_refuse_passphrases(c->ssl);
	if (SSL_CTX_use_PrivateKey_file(c->ssl, a->key_file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(c->ssl) != 1) {
		told(why, "link_key", a->key_file,
		     "is not the private key of link_cert in PEM form");
		return false;
	}
	if (SSL_CTX_load_verify_locations(c->ssl, a->ca_file, NULL) != 1) {
		told(why, "link_ca", a->ca_file, "holds no certificate in PEM form");
		return false;
	}
	SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return true;
}

static int ctx_setup(struct link_tls_ctx *c, const struct link_auth *a, char *why)
{
	c->ssl = SSL_CTX_new(TLS_method());
	c->bio = tls_socket_method();
	if (!c->ssl || !c->bio || !SSL_CTX_set_min_proto_version(c->ssl, TLS1_3_VERSION))
		return -ENOMEM;
	SSL_CTX_set_app_data(c->ssl, c);
	SSL_CTX_set_mode(c->ssl,
			 SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c->ssl, 0);
	SSL_CTX_set_read_ahead(c->ssl, 1);
	if (!a->psk_file)
		return use_certificates(c, a, why) ? 0 : -ERR_CONFIG;
	int rc = read_key(c, a->psk_file, why);
	if (rc)
		return rc;
	if (!SSL_CTX_set_ciphersuites(c->ssl, "TLS_AES_128_GCM_SHA256"))
		return -ENOMEM;
	SSL_CTX_set_psk_use_session_callback(c->ssl, use_key);
	SSL_CTX_set_psk_find_session_callback(c->ssl, find_key);
	return 0;
}

int link_tls_ctx_new(struct link_tls_ctx **ret, const struct link_auth *auth, const char *peer,
		     char why[LINK_WHY_MAX])
{
	*ret = NULL;
	if (!auth->psk_file && !auth->cert_file)
		return 0;
	if (auth->cert_file && (!auth->key_file || !auth->ca_file))
		return -EINVAL;
	struct link_tls_ctx *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->refs = 1;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	int rc = ctx_setup(c, auth, why);
	ERR_clear_error();
	if (rc)
		link_tls_ctx_put(c);
	else
		*ret = c;
	return rc;
}

void link_tls_ctx_put(struct link_tls_ctx *c)
{
	if (!c || --c->refs > 0)
		return;
	SSL_CTX_free(c->ssl);
	BIO_meth_free(c->bio);
	OPENSSL_cleanse(c->key, sizeof(c->key));
	free(c);
}

/* ---- connections ---- */

int link_tls_new(struct link_tls **ret, struct link_tls_ctx *ctx, int fd, bool client)
{
	struct link_tls *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->ctx = ctx;
	t->ssl = SSL_new(ctx->ssl);
	t->socket = (struct tls_socket){.fd = fd, .budget = TLS_SOCKET_UNBOUNDED};
	if (!t->ssl || !tls_socket_attach(t->ssl, ctx->bio, &t->socket) ||
	    (ctx->key_len == 0 && !SSL_set1_host(t->ssl, ctx->peer))) {
		SSL_free(t->ssl);
		free(t);
		return -ENOMEM;
	}
	if (client)
		SSL_set_connect_state(t->ssl);
	else
		SSL_set_accept_state(t->ssl);
	ctx->refs++;
	*ret = t;
	return 0;
}

void link_tls_free(struct link_tls *t)
{
	if (!t)
		return;
	if (t->ready)
		SSL_shutdown(t->ssl);
	ERR_clear_error();
	SSL_free(t->ssl);
	link_tls_ctx_put(t->ctx);
	free(t);
}

static void told_failure(struct link_tls *t)
{
	char why[160] = "the connection ended";
	long verify = SSL_get_verify_result(t->ssl);
	unsigned long e = ERR_peek_error();
	if (verify != X509_V_OK)
		snprintf(why, sizeof(why), "%s", X509_verify_cert_error_string(verify));
	else if (e)
		snprintf(why, sizeof(why), "%s", ERR_reason_error_string(e));
	log_warn("link: TLS with controller %s failed why=\"%s\"", t->ctx->peer, why);
}

/* What OpenSSL said to a call that did not do it all. */
static int failed(struct link_tls *t, int rc)
{
	int e = SSL_get_error(t->ssl, rc);
	int ret = -EIO;
	t->want_write = e == SSL_ERROR_WANT_WRITE;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		ret = -EAGAIN;
	else if (e == SSL_ERROR_ZERO_RETURN)
		ret = 0;
	else if (!t->ready)
		ret = -EACCES;
	else if (e == SSL_ERROR_SYSCALL)
		ret = -ECONNRESET;
	if (ret == -EACCES)
		told_failure(t);
	ERR_clear_error();
	return ret;
}

static int handshake(struct link_tls *t)
{
	if (t->ready)
		return 0;
	ERR_clear_error();
	int rc = SSL_do_handshake(t->ssl);
	if (rc != 1) {
		rc = failed(t, rc);
		return rc ? rc : -EACCES;
	}
	/* Without certificates a connection that used no key proved nothing. */
	if (t->ctx->key_len > 0 && !SSL_session_reused(t->ssl)) {
		told_failure(t);
		return -EACCES;
	}
	t->ready = true;
	t->want_write = false;
	return 0;
}

ssize_t link_tls_recv(struct link_tls *t, const struct iovec *iov, int iovcnt)
{
	int rc = handshake(t);
	size_t got = 0;
	if (rc)
		return rc;
	ERR_clear_error();
	for (int i = 0; i < iovcnt; i++) {
		for (size_t at = 0; at < iov[i].iov_len;) {
			size_t n;
			rc = SSL_read_ex(t->ssl, (char *)iov[i].iov_base + at, iov[i].iov_len - at,
					 &n);
			if (rc != 1) {
				rc = failed(t, rc);
				t->pending = false;
				return got ? (ssize_t)got : rc;
			}
			at += n;
			got += n;
		}
	}
	t->pending = true; /* it may hold more than there was room for */
	return (ssize_t)got;
}

/* 0 when nothing is left over. */
static int flush(struct link_tls *t)
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
	return 0;
}

/* Taken is what was copied: it is on its way even when the socket has no room this moment. */
ssize_t link_tls_send(struct link_tls *t, const struct iovec *iov, int iovcnt)
{
	size_t taken = 0;
	int rc = handshake(t);
	ERR_clear_error();
	rc = rc ? rc : flush(t);
	for (int i = 0; i < iovcnt && !rc; i++) {
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
	return taken ? (ssize_t)taken : -EAGAIN;
}

bool link_tls_ready(const struct link_tls *t)
{
	return t->ready;
}

bool link_tls_wants_write(const struct link_tls *t)
{
	return t->ready ? t->out_len > 0 : t->want_write;
}

/* Errors are found by whoever receives next. */
void link_tls_push(struct link_tls *t)
{
	ERR_clear_error();
	if (handshake(t) == 0)
		(void)flush(t);
}

bool link_tls_pending(const struct link_tls *t)
{
	return t->pending;
}
