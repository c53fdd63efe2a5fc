/* Certificates for tests, made anew in a directory of their own. */
#ifndef ISTHMUS_TESTS_TLS_CERTS_H
#define ISTHMUS_TESTS_TLS_CERTS_H

#include <stdbool.h>

#define TLS_PATH_MAX 128

struct tls_pair {
	char cert[TLS_PATH_MAX], key[TLS_PATH_MAX];
};

struct tls_certs {
	char dir[64];
	struct tls_pair ca, server, server2, client; /* signed by ca */
	struct tls_pair other_ca, stranger;	     /* stranger is signed by other_ca */
	struct tls_pair expired;		     /* of a client, by ca */
	struct tls_pair brief;			     /* the same, of tls_certs_brief() */
};

void tls_certs_make(struct tls_certs *c);
/* One that ends as many seconds from now. */
void tls_certs_brief(struct tls_certs *c, long seconds);
void tls_certs_remove(struct tls_certs *c);

#endif
