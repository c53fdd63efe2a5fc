/* Copying what nobody looks at soon. */
#ifndef ISTHMUS_RUNTIME_COPY_H
#define ISTHMUS_RUNTIME_COPY_H

#include <stddef.h>

/*
 * memcpy() past the processor's cache: the destination is neither fetched first nor kept. For data
 * that goes into a page and stays there, as half of the time of a plain copy is fetching what it
 * overwrites. Stores that follow are seen after it.
 */
void copy_past_cache(void *to, const void *from, size_t n);
/* The same to two places, which hold the same in the end whoever writes `from` meanwhile. */
void copy_twice_past_cache(void *to, void *also, const void *from, size_t n);

#endif
