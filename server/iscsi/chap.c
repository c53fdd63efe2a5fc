/* CHAP (server/iscsi/chap.h); digests by OpenSSL. */
#include "server/iscsi/chap.h"
#include "server/iscsi/text.h"
#include "runtime/check.h"
#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

/* By strength. */
static const struct {
	unsigned number;
	const char *name;
	size_t len;
	const EVP_MD *(*md)(void);
} algorithms[] = {
    {5, "md5", 16, EVP_md5},
    {6, "sha1", 20, EVP_sha1},
    {7, "sha256", 32, EVP_sha256},
    {8, "sha3-256", 32, EVP_sha3_256},
};

unsigned chap_algorithm_bit(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(algorithms); i++)
		if (strcmp(algorithms[i].name, name) == 0)
			return 1u << algorithms[i].number;
	return 0;
}

static int algorithm_find(unsigned number)
{
	for (unsigned i = 0; i < ARRAY_LEN(algorithms); i++)
		if (algorithms[i].number == number)
			return (int)i;
	return -1;
}

size_t chap_digest_len(unsigned algorithm)
{
	int i = algorithm_find(algorithm);
	return i < 0 ? 0 : algorithms[i].len;
}

static bool note_offer(void *arg, const char *member)
{
	unsigned *offered = arg;
	uint32_t n;
	if (text_number(member, &n) == 0 && algorithm_find(n) >= 0)
		*offered |= 1u << n;
	return false;
}

int chap_begin(struct chap *c, const char *list, unsigned allowed)
{
	unsigned offered = 0;
	c->algorithm = 0;
	text_list(list, note_offer, &offered);
	for (unsigned i = 0; i < ARRAY_LEN(algorithms); i++)
		if (offered & allowed & 1u << algorithms[i].number)
			c->algorithm = algorithms[i].number;
	if (c->algorithm == 0)
		return -EOPNOTSUPP;
	if (RAND_bytes(&c->id, 1) != 1 || RAND_bytes(c->challenge, sizeof(c->challenge)) != 1)
		return -EIO;
	return 0;
}

size_t chap_response(unsigned algorithm, uint8_t id, const char *secret, const uint8_t *challenge,
		     size_t challenge_len, uint8_t ret[CHAP_DIGEST_MAX])
{
	int i = algorithm_find(algorithm);
	if (i < 0)
		return 0;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned len = 0;
	bool ok = ctx && EVP_DigestInit_ex(ctx, algorithms[i].md(), NULL) == 1 &&
		  EVP_DigestUpdate(ctx, &id, 1) == 1 &&
		  EVP_DigestUpdate(ctx, secret, strlen(secret)) == 1 &&
		  EVP_DigestUpdate(ctx, challenge, challenge_len) == 1 &&
		  EVP_DigestFinal_ex(ctx, ret, &len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? len : 0;
}

bool chap_verify(const struct chap *c, const char *want_user, const char *secret, const char *user,
		 const uint8_t *response, size_t len)
{
	uint8_t want[CHAP_DIGEST_MAX];
	size_t n = chap_response(c->algorithm, c->id, secret, c->challenge, CHAP_CHALLENGE, want);
	bool ok = n > 0 && n == len && CRYPTO_memcmp(want, response, n) == 0;
	ok &= strcmp(want_user, user) == 0;
	OPENSSL_cleanse(want, sizeof(want));
	return ok;
}

bool chap_challenge_ok(const struct chap *c, const uint8_t *challenge, size_t len)
{
	return len > 0 &&
	       (len != CHAP_CHALLENGE || CRYPTO_memcmp(challenge, c->challenge, len) != 0);
}
