/* CHAP (server/iscsi/chap.h); digests by OpenSSL. */
#include "server/iscsi/chap.h"
#include "server/iscsi/text.h"
#include "runtime/check.h"
#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

static const struct {
	unsigned number;
	size_t len;
	const EVP_MD *(*md)(void);
} algorithms[] = {
    {5, 16, EVP_md5},
    {6, 20, EVP_sha1},
    {7, 32, EVP_sha256},
    {8, 32, EVP_sha3_256},
};

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

static bool choose(void *arg, const char *member)
{
	struct chap *c = arg;
	uint32_t n;
	if (text_number(member, &n) < 0 || algorithm_find(n) < 0)
		return false;
	c->algorithm = n;
	return true;
}

int chap_begin(struct chap *c, const char *list)
{
	c->algorithm = 0;
	if (!text_list(list, choose, c))
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
