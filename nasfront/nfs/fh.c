/* File handles and their keyed checksum (nasfront/nfs/fh.h). */
#include "nasfront/nfs/fh.h"
#include <errno.h>
#include <string.h>
#include <openssl/evp.h>
#include "runtime/bytes.h"

static inline uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t len)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
			 key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull};
	const uint8_t *p = data;
	size_t rest = len;
	for (; rest >= 8; rest -= 8, p += 8)
		sip_word(v, le64_get(p));
	uint64_t last = (uint64_t)len << 56;
	for (size_t i = 0; i < rest; i++)
		last |= (uint64_t)p[i] << (8 * i);
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int fh_key_make(struct fh_key *ret, const uint8_t uuid[16])
{
	static const char label[] = "isthmus nfs file handle";
	uint8_t text[sizeof(label) + 16], digest[EVP_MAX_MD_SIZE];
	unsigned n;
	memcpy(text, label, sizeof(label));
	memcpy(text + sizeof(label), uuid, 16);
	if (!EVP_Digest(text, sizeof(text), digest, &n, EVP_sha256(), NULL) || n < 16)
		return -EIO;
	ret->k[0] = le64_get(digest);
	ret->k[1] = le64_get(digest + 8);
	return 0;
}

void fh_encode(const struct fh *fh, const struct fh_key *key, uint8_t out[FH_SIZE])
{
	le32_put(out, FH_VERSION);
	le32_put(out + 4, fh->generation);
	le64_put(out + 8, fh->fs_id);
	le64_put(out + 16, fh->export_id);
	le64_put(out + 24, fh->ino);
	le64_put(out + 32, siphash(key->k, out, 32));
}

int fh_parse(const uint8_t *data, size_t len, struct fh *ret)
{
	if (len != FH_SIZE || le32_get(data) != FH_VERSION)
		return -EBADMSG;
	ret->generation = le32_get(data + 4);
	ret->fs_id = le64_get(data + 8);
	ret->export_id = le64_get(data + 16);
	ret->ino = le64_get(data + 24);
	return 0;
}

bool fh_verify(const uint8_t data[FH_SIZE], const struct fh_key *key)
{
	return le64_get(data + 32) == siphash(key->k, data, 32);
}
