#include "tests/unit/rpc/tls_certs.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "runtime/check.h"

#define DAY 86400L

struct issuer {
	X509 *cert;
	EVP_PKEY *key;
};

static void write_pair(const struct tls_pair *p, X509 *x, EVP_PKEY *key)
{
	FILE *f = fopen(p->cert, "w");
	ASSERT(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
	f = fopen(p->key, "w");
	ASSERT(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
}

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX v3;
	X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
	ASSERT(e && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

/* by NULL: signed by itself, an authority. from and to in seconds from now. */
static struct issuer make(struct tls_certs *c, struct tls_pair *p, const char *name,
			  const struct issuer *by, long from, long to)
{
	static long serial = 1;
	struct issuer r = {.cert = X509_new(), .key = EVP_EC_gen("P-256")};
	ASSERT(r.cert && r.key);
	snprintf(p->cert, sizeof(p->cert), "%s/%s.pem", c->dir, name);
	snprintf(p->key, sizeof(p->key), "%s/%s.key", c->dir, name);
	X509_set_version(r.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(r.cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(r.cert), from);
	X509_gmtime_adj(X509_getm_notAfter(r.cert), to);
	X509_set_pubkey(r.cert, r.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(r.cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)name, -1, -1, 0);
	X509 *issuer = by ? by->cert : r.cert;
	X509_set_issuer_name(r.cert, X509_get_subject_name(issuer));
	if (!by)
		add_extension(r.cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
	ASSERT(X509_sign(r.cert, by ? by->key : r.key, EVP_sha256()) > 0);
	write_pair(p, r.cert, r.key);
	return r;
}

static void drop(struct issuer i)
{
	X509_free(i.cert);
	EVP_PKEY_free(i.key);
}

void tls_certs_make(struct tls_certs *c)
{
	snprintf(c->dir, sizeof(c->dir), "/tmp/isthmus-certs.XXXXXX");
	ASSERT(mkdtemp(c->dir));
	struct issuer ca = make(c, &c->ca, "ca", NULL, -DAY, 10 * DAY);
	struct issuer other = make(c, &c->other_ca, "other_ca", NULL, -DAY, 10 * DAY);
	drop(make(c, &c->server, "server", &ca, -DAY, 10 * DAY));
	drop(make(c, &c->server2, "server2", &ca, -DAY, 10 * DAY));
	drop(make(c, &c->client, "client", &ca, -DAY, 10 * DAY));
	drop(make(c, &c->stranger, "stranger", &other, -DAY, 10 * DAY));
	drop(make(c, &c->expired, "expired", &ca, -5 * DAY, -DAY));
	drop(ca);
	drop(other);
}

void tls_certs_brief(struct tls_certs *c, long seconds)
{
	struct issuer ca = {0};
	FILE *cert = fopen(c->ca.cert, "r"), *key = fopen(c->ca.key, "r");
	ASSERT(cert && key);
	ca.cert = PEM_read_X509(cert, NULL, NULL, NULL);
	ca.key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
	ASSERT(ca.cert && ca.key && fclose(cert) == 0 && fclose(key) == 0);
	drop(make(c, &c->brief, "brief", &ca, -DAY, seconds));
	drop(ca);
}

void tls_certs_remove(struct tls_certs *c)
{
	const struct tls_pair *all[] = {&c->ca,	      &c->server,   &c->server2, &c->client,
					&c->other_ca, &c->stranger, &c->expired, &c->brief};
	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		if (!all[i]->cert[0])
			continue;
		unlink(all[i]->cert);
		unlink(all[i]->key);
	}
	rmdir(c->dir);
}
