/*
 * Checks for our own bugs; always compiled in. What a peer sends, a disk holds
 * or an admin types is never asserted: it is answered.
 */
#ifndef ISTHMUS_RUNTIME_CHECK_H
#define ISTHMUS_RUNTIME_CHECK_H

#include <sys/param.h> /* MIN, MAX: libuv brings them in, so there can be no others */

/* Logs file, line and expression, then aborts. */
_Noreturn void check_failed(const char *file, int line, const char *func, const char *expr);

#define ASSERT(expr)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!(expr), 0))                                                  \
			check_failed(__FILE__, __LINE__, __func__, #expr);                         \
	} while (0)

/* A long-lived struct starts with `uint32_t magic`. */
#define CHECK(ptr, MAGIC) ASSERT((ptr) && (ptr)->magic == (MAGIC))

#define ARRAY_LEN(a)			(sizeof(a) / sizeof((a)[0]))
#define ROUND_UP(n, to)			((((n) + (to)-1) / (to)) * (to))
#define ROUND_DOWN(n, to)		(((n) / (to)) * (to))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
