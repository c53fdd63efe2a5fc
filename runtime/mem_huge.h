/*
 * Big pieces of memory that the kernel is asked to map with huge pages: for tables of which random
 * places are read. With small pages each such place costs a walk of the page tables besides.
 */
#ifndef ISTHMUS_RUNTIME_MEM_HUGE_H
#define ISTHMUS_RUNTIME_MEM_HUGE_H

#include <stddef.h>

#define MEM_HUGE_SIZE ((size_t)2 << 20)

/* Aligned to MEM_HUGE_SIZE; contents undefined. NULL when there is no memory; give back by free().
 * Memory is taken as it is touched, a huge page at a time. */
void *mem_huge_alloc(size_t size);
/* Part of it, whole pages of 4 KiB: the kernel gets the memory back, what was in it is lost; it may
 * be used again. */
void mem_huge_drop(void *p, size_t len);

#endif
