#include "runtime/copy.h"
#include <stdint.h>
#include <string.h>

/* The sanitizers do not see such stores. */
#if defined(__SSE2__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>

#define LINE  64
#define WORTH 1024 /* bytes from which the processor's cache is left alone */

static void copy_line(__m128i *to, const __m128i *from)
{
	__m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
	__m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
	_mm_stream_si128(to, a);
	_mm_stream_si128(to + 1, b);
	_mm_stream_si128(to + 2, c);
	_mm_stream_si128(to + 3, d);
}

static void copy_line_twice(__m128i *to, __m128i *also, const __m128i *from)
{
	__m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
	__m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
	__asm__("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d)); /* read once: who sends may write it */
	_mm_stream_si128(to, a);
	_mm_stream_si128(to + 1, b);
	_mm_stream_si128(to + 2, c);
	_mm_stream_si128(to + 3, d);
	_mm_stream_si128(also, a);
	_mm_stream_si128(also + 1, b);
	_mm_stream_si128(also + 2, c);
	_mm_stream_si128(also + 3, d);
}

void copy_past_cache(void *to, const void *from, size_t n)
{
	char *d = to;
	const char *s = from;
	if (n < WORTH || (uintptr_t)d % LINE) {
		memcpy(d, s, n);
		return;
	}
	for (; n >= LINE; n -= LINE, d += LINE, s += LINE)
		copy_line((__m128i *)d, (const __m128i *)s);
	/* Streamed stores are weakly ordered: who is told of the data next shall find it. */
	_mm_sfence();
	memcpy(d, s, n);
}

void copy_twice_past_cache(void *to, void *also, const void *from, size_t n)
{
	char *d = to, *e = also;
	const char *s = from;
	if (n < WORTH || (uintptr_t)d % LINE || (uintptr_t)e % LINE) {
		memcpy(d, s, n);
		memcpy(e, d, n);
		return;
	}
	for (; n >= LINE; n -= LINE, d += LINE, e += LINE, s += LINE)
		copy_line_twice((__m128i *)d, (__m128i *)e, (const __m128i *)s);
	_mm_sfence();
	memcpy(d, s, n);
	memcpy(e, d, n);
}
#else
void copy_twice_past_cache(void *to, void *also, const void *from, size_t n)
{
	memcpy(to, from, n);
	memcpy(also, to, n);
}

void copy_past_cache(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}
#endif
