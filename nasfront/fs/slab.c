/*
 * Memory of metadata buffers: slabs of one huge page, buffers in front, their blocks behind. Where
 * a block lies follows from where its buffer lies, so that both are fetched at once (meta_get). A
 * slab stays until the unmount; the metadata cache uses its buffers again.
 *
 * Under ASan a poisoned block lies behind every block.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/mem_huge.h"
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define STEP (2 * BS)
#else
#define ASAN_POISON_MEMORY_REGION(p, n)	  ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define STEP				  BS
#endif

#define FRONT	  (32 * BS)
#define SLAB_BUFS ((MEM_HUGE_SIZE - FRONT) / STEP)

struct slab {
	STAILQ_ENTRY(slab) link;
	unsigned used;
	struct buf bufs[SLAB_BUFS];
};
_Static_assert(sizeof(struct slab) <= FRONT, "the buffers fit in front");

const uint8_t *slab_data(const struct buf *b)
{
	const struct slab *s = (const void *)((uintptr_t)b & ~(MEM_HUGE_SIZE - 1));
	return (const uint8_t *)s + FRONT + (size_t)(b - s->bufs) * STEP;
}

static struct slab *slab_new(struct fs *fs)
{
	struct slab *s = mem_huge_alloc(MEM_HUGE_SIZE);
	if (!s)
		return NULL;
	s->used = 0;
	ASAN_POISON_MEMORY_REGION((uint8_t *)s + FRONT, MEM_HUGE_SIZE - FRONT);
	STAILQ_INSERT_HEAD(&fs->slabs, s, link);
	return s;
}

struct buf *slab_take(struct fs *fs)
{
	struct slab *s = STAILQ_FIRST(&fs->slabs);
	if (!s || s->used == SLAB_BUFS)
		s = slab_new(fs);
	if (!s)
		return NULL;
	struct buf *b = &s->bufs[s->used];
	uint8_t *data = (uint8_t *)s + FRONT + s->used * STEP;
	s->used++;
	ASAN_UNPOISON_MEMORY_REGION(data, BS);
	*b = (struct buf){.data = data};
	fs->st.blocks_held++;
	return b;
}

void slab_free_all(struct fs *fs)
{
	struct slab *s;
	while ((s = STAILQ_FIRST(&fs->slabs))) {
		STAILQ_REMOVE_HEAD(&fs->slabs, link);
		ASAN_UNPOISON_MEMORY_REGION(s, MEM_HUGE_SIZE);
		free(s);
	}
}
