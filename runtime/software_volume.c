/* The software volume on its device (software.h). */
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/software.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (256 * 1024u) /* of a program, between two looks at others */

static uint64_t copy_off(unsigned i)
{
	return (uint64_t)i * SOFTWARE_TABLE_LEN;
}

/* Both copies, as far as they can be had. The number of the newer one, or an error. */
static int newest(struct bdev *b, void *buf, struct software_table *two)
{
	int rc[2];
	for (unsigned i = 0; i < 2; i++) {
		rc[i] = bdev_read(b, buf, SOFTWARE_TABLE_LEN, copy_off(i));
		if (rc[i] == 0)
			rc[i] = software_decode(buf, SOFTWARE_TABLE_LEN, b->size, &two[i]);
	}
	if (rc[0] == 0 && rc[1] == 0)
		return two[1].seq > two[0].seq;
	if (rc[0] == 0 || rc[1] == 0)
		return rc[1] == 0;
	/* Copy 1 is written before anything is installed: without it there was nothing yet. */
	if (rc[1] == -ENODATA && rc[0] == -ERR_CORRUPT)
		return -ENODATA;
	return rc[0] == -ENODATA ? rc[1] : rc[0];
}

int software_load(struct bdev *b, struct software_table *ret)
{
	if (b->size < SOFTWARE_VOLUME_MIN)
		return -ERR_CORRUPT;
	struct software_table *two = malloc(2 * sizeof(*two));
	void *buf = malloc(SOFTWARE_TABLE_LEN);
	int rc = two && buf ? newest(b, buf, two) : -ENOMEM;
	if (rc >= 0) {
		*ret = two[rc];
		ret->volume_size = b->size;
		rc = 0;
	}
	free(two);
	free(buf);
	return rc;
}

/* The copy that may be overwritten: the one that is not the newest. */
static int older(struct bdev *b, void *buf)
{
	struct software_table *two = malloc(2 * sizeof(*two));
	int rc = two ? newest(b, buf, two) : -ENOMEM;
	free(two);
	return rc >= 0 ? !rc : rc == -ENODATA ? 0 : rc;
}

int software_store(struct bdev *b, struct software_table *t)
{
	void *buf = malloc(SOFTWARE_TABLE_LEN);
	int copy = buf ? older(b, buf) : -ENOMEM;
	int rc = MIN(copy, 0);
	if (rc == 0) {
		t->seq++;
		t->volume_size = b->size;
		software_encode(t, buf);
		FAULT("software.before_table");
		rc = bdev_write(b, buf, SOFTWARE_TABLE_LEN, copy_off((unsigned)copy), 0);
	}
	if (rc == 0)
		rc = bdev_flush(b);
	FAULT("software.after_table");
	free(buf);
	return rc;
}

int software_format(struct bdev *b, struct software_table *ret)
{
	if (b->size < SOFTWARE_VOLUME_MIN)
		return -EINVAL;
	software_init(ret, b->size);
	int rc = software_store(b, ret);
	return rc ? rc : software_store(b, ret);
}

/* ---- programs ---- */

/* What a piece takes of the device, whole blocks. */
static size_t whole(const struct bdev *b, size_t n)
{
	return (n + b->block_size - 1) / b->block_size * b->block_size;
}

int software_write(struct bdev *b, uint64_t off, const void *program, uint64_t size,
		   software_progress *progress, void *arg)
{
	uint8_t *buf = malloc(PIECE);
	int rc = buf ? 0 : -ENOMEM;
	for (uint64_t done = 0; done < size && rc == 0;) {
		size_t n = MIN(PIECE, size - done);
		memset(buf, 0, whole(b, n));
		memcpy(buf, (const uint8_t *)program + done, n);
		rc = bdev_write(b, buf, whole(b, n), off + done, 0);
		done += n;
		if (progress)
			progress(arg, done, size);
	}
	free(buf);
	return rc ? rc : bdev_flush(b);
}

int software_read(struct bdev *b, const struct software_program *p, void *buf,
		  software_progress *progress, void *arg)
{
	uint8_t *piece = malloc(PIECE), digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int rc = piece && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) ? 0 : -ENOMEM;
	for (uint64_t done = 0; done < p->size && rc == 0;) {
		size_t n = MIN(PIECE, p->size - done);
		rc = bdev_read(b, piece, whole(b, n), p->off + done);
		if (rc == 0 && !EVP_DigestUpdate(md, piece, n))
			rc = -ENOMEM;
		if (rc == 0 && buf)
			memcpy((uint8_t *)buf + done, piece, n);
		done += n;
		if (progress)
			progress(arg, done, p->size);
	}
	if (rc == 0 && !EVP_DigestFinal_ex(md, digest, NULL))
		rc = -ENOMEM;
	if (rc == 0 && memcmp(digest, p->sha256, sizeof(p->sha256)) != 0)
		rc = -ERR_CORRUPT;
	EVP_MD_CTX_free(md);
	free(piece);
	return rc;
}

int software_digest(const void *buf, size_t size, uint8_t ret[32])
{
	return EVP_Digest(buf, size, ret, NULL, EVP_sha256(), NULL) ? 0 : -ENOMEM;
}
