/* A client of RPC over TLS with OpenSSL's own socket code; fails by ck_assert. */
#ifndef ISTHMUS_TESTS_TLS_CLIENT_H
#define ISTHMUS_TESTS_TLS_CLIENT_H

#include <openssl/ssl.h>
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/rpc/tls_certs.h"

struct tls_opts {
	const char *ca;		     /* to check the server by; NULL: not checked */
	const struct tls_pair *pair; /* NULL: no certificate */
	const char *alpn;	     /* as on the wire; NULL: "\6sunrpc"; "": none */
	int max_version;	     /* 0: the newest */
};

/* A call with AUTH_TLS over an open connection; its reply: 0 STARTTLS, else 100 + auth_stat, or
 * 1 + accept_stat. -1: the connection ended. */
int tls_ask(struct raw *r, uint32_t proc, const void *cred, uint32_t cred_len, uint32_t verf_flavor,
	    uint32_t verf_len);
int tls_ask_plain(struct raw *r); /* as it should be */
/* The handshake on r's connection: r speaks TLS then. False: it failed. */
bool tls_shake(struct raw *r, const struct tls_opts *o);
/* All of it: dial, ask, handshake. The connection is closed when it fails. */
bool tls_open(struct raw *r, uint16_t port, const struct tls_opts *o);
void tls_close(struct raw *r);
SSL *tls_of(struct raw *r);
/* The peer ends the connection, or did (whatever is left to read). False: it did not in 20 s. */
bool tls_ended(int fd);

#endif
