/*
 * NFS file handles: opaque to clients, the same before and after a restart or takeover.
 *
 *   0  u8   version (1)
 *   1  3    zeros
 *   4  u32  generation of the inode number
 *   8  u64  file system id
 *  16  u64  export id
 *  24  u64  inode number
 *  32  u64  SipHash-2-4 of the first 32 bytes, under a key made from the file system's uuid
 *
 * All little endian. Without the key (the uuid never leaves the array) a client cannot make a
 * handle for what it was not given: not for another export, nor for a guessed inode.
 */
#ifndef ISTHMUS_NASFRONT_FH_H
#define ISTHMUS_NASFRONT_FH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FH_SIZE	   40
#define FH_VERSION 1

struct fh {
	uint64_t fs_id, export_id, ino;
	uint32_t generation;
};

struct fh_key {
	uint64_t k[2];
};

/* Makes the key of a file system. 0 or -EIO. */
int fh_key_make(struct fh_key *ret, const uint8_t uuid[16]);
void fh_encode(const struct fh *fh, const struct fh_key *key, uint8_t out[FH_SIZE]);
/* Reads the fields: -EBADMSG when length, version or zeros are not ours. Proves nothing yet. */
int fh_parse(const uint8_t *data, size_t len, struct fh *ret);
/* True when the checksum holds under the key of the file system it names. */
bool fh_verify(const uint8_t data[FH_SIZE], const struct fh_key *key);

#endif
