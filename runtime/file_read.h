/* A file read whole, by a thread of the pool: the reactor does not wait for it. */
#ifndef ISTHMUS_RUNTIME_FILE_READ_H
#define ISTHMUS_RUNTIME_FILE_READ_H

#include <stddef.h>
#include <stdint.h>

/*
 * Waits; in a task of a reactor. To be freed. sha256 (32 bytes, may be NULL): digest of the bytes.
 * -errno; -EINVAL: it is no plain file, or empty; -EFBIG: it has more than `max` bytes.
 */
int file_read_whole(const char *path, size_t max, void **ret, size_t *ret_size, uint8_t *sha256);

#endif
