/*
 * A socket as OpenSSL sees it, in place of OpenSSL's own: it never waits, a write never raises
 * SIGPIPE, and a reader may be given a budget of bytes, since OpenSSL takes records without data
 * for as long as a peer sends them.
 */
#ifndef ISTHMUS_RUNTIME_TLS_SOCKET_H
#define ISTHMUS_RUNTIME_TLS_SOCKET_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_SOCKET_UNBOUNDED SIZE_MAX

/* Embedded by whoever has the connection; lives as long as its SSL. */
struct tls_socket {
	int fd;
	size_t budget; /* bytes that may still be read; at 0 OpenSSL is told that none are there */
};

/* Of any number of sockets; NULL: no memory. BIO_meth_free() when the last of them is gone. */
BIO_METHOD *tls_socket_method(void);
/* ssl reads and writes through s from now on. False: no memory. */
bool tls_socket_attach(SSL *ssl, BIO_METHOD *method, struct tls_socket *s);

/*
 * Key files of a context may not be encrypted: without this OpenSSL asks for the passphrase at the
 * terminal and waits.
 */
void tls_refuse_passphrases(SSL_CTX *ctx);

#endif
