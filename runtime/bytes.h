/* Fixed-width integers at byte addresses: be = big endian (wire), le = little endian (disk). */
#ifndef ISTHMUS_RUNTIME_BYTES_H
#define ISTHMUS_RUNTIME_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_RW(bits)                                                                             \
	static inline uint##bits##_t be##bits##_get(const void *p)                                 \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return be##bits##toh(v);                                                           \
	}                                                                                          \
	static inline void be##bits##_put(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		v = htobe##bits(v);                                                                \
		memcpy(p, &v, sizeof(v));                                                          \
	}                                                                                          \
	static inline uint##bits##_t le##bits##_get(const void *p)                                 \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return le##bits##toh(v);                                                           \
	}                                                                                          \
	static inline void le##bits##_put(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		v = htole##bits(v);                                                                \
		memcpy(p, &v, sizeof(v));                                                          \
	}
BYTES_RW(16)
BYTES_RW(32)
BYTES_RW(64)
#undef BYTES_RW

static inline uint32_t be24_get(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
}
static inline void be24_put(void *p, uint32_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)(v >> 16);
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)v;
}

#endif
