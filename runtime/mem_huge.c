#include "runtime/mem_huge.h"
#include <stdlib.h>
#include <sys/mman.h>

void *mem_huge_alloc(size_t size)
{
	void *p;
	size = (size + MEM_HUGE_SIZE - 1) & ~(MEM_HUGE_SIZE - 1);
	if (posix_memalign(&p, MEM_HUGE_SIZE, size))
		return NULL;
	/* Advice only: without huge pages it works the same. */
	(void)madvise(p, size, MADV_HUGEPAGE);
	return p;
}

void mem_huge_drop(void *p, size_t len)
{
	(void)madvise(p, len, MADV_DONTNEED);
}
