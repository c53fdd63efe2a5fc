/* CRC32C (Castagnoli) as iSCSI, SCTP and our on-disk records use it; ISA-L underneath. */
#ifndef ISTHMUS_RUNTIME_CRC32C_H
#define ISTHMUS_RUNTIME_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#define CRC32C_INIT 0xffffffffu

/* crc32c(buf) == crc32c_end(crc32c_add(CRC32C_INIT, buf)) */
uint32_t crc32c_add(uint32_t state, const void *buf, size_t len);
static inline uint32_t crc32c_end(uint32_t state)
{
	return ~state;
}
uint32_t crc32c(const void *buf, size_t len);

#endif
