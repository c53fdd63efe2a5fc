/*
 * Checksum of a whole volume, and whether what is on the disks agrees with it.
 * The cache's word is taken for the content (it may be newer than the disks);
 * where the cache promises that a flush reaches the disks, each redundancy
 * copy must then hold the same bytes.
 */
#include "blockcore/volume/volume_impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct verify {
	struct volume *v;
	struct cache_read r;
	uint8_t *disk; /* one chunk as a disk has it */
	bool disks;    /* compare them */
	uint32_t crc;
	unsigned differing;
};

/* Each copy of a chunk against what was read. -ENODEV: the copy's disk is out; not a difference. */
static void compare_copies(struct verify *k, uint64_t off, uint32_t len)
{
	for (unsigned copy = 0; copy < POOL_COPIES_MAX; copy++) {
		int rc = volume_read_copy(k->v, k->disk, len, off, copy);
		if (rc == -ENOENT)
			return;
		if (rc == -ENODEV)
			continue;
		size_t at = 0;
		for (int i = 0; i < k->r.n && rc == 0; i++) {
			if (memcmp(k->disk + at, k->r.iov[i].iov_base, k->r.iov[i].iov_len) != 0)
				rc = -ERR_MISCOMPARE;
			at += k->r.iov[i].iov_len;
		}
		if (rc == 0)
			continue;
		k->differing++;
		event_write(LOG_L_ERROR, "volume.copy_damaged",
			    "volume %s: copy %u of %u bytes at byte %llu: %s", volume_name(k->v),
			    copy, len, (unsigned long long)off, err_text(rc));
	}
}

static int verify_chunk(struct verify *k, uint64_t off, uint32_t len)
{
	int rc = volume_read(k->v, off, len, &k->r);
	if (rc)
		return rc;
	for (int i = 0; i < k->r.n; i++)
		k->crc = crc32c_add(k->crc, k->r.iov[i].iov_base, k->r.iov[i].iov_len);
	if (k->disks)
		compare_copies(k, off, len);
	volume_read_done(k->v, &k->r);
	return 0;
}

int volume_checksum(struct volume *v, uint32_t *ret)
{
	struct verify *k = calloc(1, sizeof(*k));
	int rc = k ? 0 : -ENOMEM;
	if (rc == 0 && posix_memalign((void **)&k->disk, 4096, VOLUME_BACKUP_CHUNK))
		rc = -ENOMEM;
	if (rc)
		goto out;
	k->v = v;
	k->crc = CRC32C_INIT;
	k->disks = !v->battery;
	rc = volume_flush(v, 0, volume_size(v));
	for (uint64_t off = 0; off < volume_size(v) && rc == 0; off += VOLUME_BACKUP_CHUNK)
		rc = verify_chunk(k, off, (uint32_t)MIN(VOLUME_BACKUP_CHUNK, volume_size(v) - off));
	if (rc == 0 && k->differing)
		rc = -ERR_CORRUPT;
	if (rc == 0)
		*ret = crc32c_end(k->crc);
out:
	if (k)
		free(k->disk);
	free(k);
	return rc;
}
