/* CRC32C of a concatenation from the CRC32Cs of its parts, without reading them again. */
#ifndef ISTHMUS_BLOCKCORE_CRC_JOIN_H
#define ISTHMUS_BLOCKCORE_CRC_JOIN_H

#include <stdint.h>

/* What appending `len` bytes of zeros does to a checksum, as a matrix over GF(2): column i is
 * what bit i becomes. */
struct crc_shift {
	uint32_t column[32];
};
void crc_shift_init(struct crc_shift *s, uint64_t len);
/* crc32c(A B) from crc32c(A) and crc32c(B); s was made for the length of B. */
uint32_t crc_join(const struct crc_shift *s, uint32_t a, uint32_t b);

#endif
