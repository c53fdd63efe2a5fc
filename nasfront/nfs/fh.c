/* File handles and their keyed checksum (nasfront/nfs/fh.h). */
#include "nasfront/nfs/fh.h"
#include <errno.h>
#include <string.h>
#include <openssl/evp.h>
#include "runtime/bytes.h"
#include "runtime/siphash.h"

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
