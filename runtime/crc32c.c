#include "runtime/crc32c.h"
#include <isa-l/crc.h>

uint32_t crc32c_add(uint32_t state, const void *buf, size_t len)
{
	while (len > 0) {
		int n = len > (1 << 30) ? 1 << 30 : (int)len;
		state = crc32_iscsi((unsigned char *)buf, n, state);
		buf = (const char *)buf + n;
		len -= (size_t)n;
	}
	return state;
}

uint32_t crc32c(const void *buf, size_t len)
{
	return crc32c_end(crc32c_add(CRC32C_INIT, buf, len));
}
