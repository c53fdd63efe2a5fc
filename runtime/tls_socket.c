/* Sockets under OpenSSL; see tls_socket.h. */
#include "runtime/tls_socket.h"
#include <errno.h>
#include <sys/socket.h>
#include "runtime/check.h"

static int on_read(BIO *b, char *buf, int len)
{
	struct tls_socket *s = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (!s->budget) {
		BIO_set_retry_read(b);
		return -1;
	}
	int n = (int)recv(s->fd, buf, MIN((size_t)len, s->budget), MSG_DONTWAIT);
	if (n > 0 && s->budget != TLS_SOCKET_UNBOUNDED)
		s->budget -= (size_t)n;
	else if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(b);
	return n;
}

static int on_write(BIO *b, const char *buf, int len)
{
	struct tls_socket *s = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	int n = (int)send(s->fd, buf, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return n;
}

/* OpenSSL flushes at the end of a handshake; nothing is held back here. */
static long on_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_socket_method(void)
{
	/* No index of its own: there are 127 in a process, and files of keys are read again and
	 * again. Nobody looks for a BIO by it. */
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "isthmus socket");
	if (m && BIO_meth_set_read(m, on_read) && BIO_meth_set_write(m, on_write) &&
	    BIO_meth_set_ctrl(m, on_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

bool tls_socket_attach(SSL *ssl, BIO_METHOD *method, struct tls_socket *s)
{
	BIO *b = BIO_new(method);
	if (!b)
		return false;
	BIO_set_data(b, s);
	BIO_set_init(b, 1);
	SSL_set_bio(ssl, b, b);
	return true;
}

static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

void tls_refuse_passphrases(SSL_CTX *ctx)
{
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
}
