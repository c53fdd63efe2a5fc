/*
 * Buffers for what comes in and for copies of what goes out: three sizes, from memory taken at the
 * start (touched only when used). An empty class falls back on the heap: what is asked for is
 * bounded by the windows of the two paths and by LINK_COPIES_MAX, so this bounds nothing, it
 * spares the common case an allocation.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>

#define ALIGN 64u
#define HEAP  0xffu

static const struct {
	uint32_t size, count;
} classes[] = {
    {8 * 1024, 512},
    {64 * 1024 + LINK_HEAD_MAX + ALIGN, 64},
    {LINK_DATA_MAX + LINK_HEAD_MAX + ALIGN, 8},
};
#define CLASSES ARRAY_LEN(classes)

struct link_pool {
	pthread_mutex_t lock;
	struct link_buf *free[CLASSES];
	uint8_t *memory[CLASSES];
	struct link_buf *bufs[CLASSES];
};

int link_pool_new(struct link_pool **ret)
{
	struct link_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	for (unsigned k = 0; k < CLASSES; k++) {
		size_t step = ROUND_UP(classes[k].size, ALIGN);
		p->bufs[k] = calloc(classes[k].count, sizeof(*p->bufs[k]));
		if (!p->bufs[k] ||
		    posix_memalign((void **)&p->memory[k], 4096, step * classes[k].count)) {
			p->memory[k] = NULL;
			link_pool_free(p);
			return -ENOMEM;
		}
		for (unsigned i = classes[k].count; i-- > 0;) {
			struct link_buf *b = &p->bufs[k][i];
			*b = (struct link_buf){.next = p->free[k],
					       .class = k,
					       .size = classes[k].size,
					       .data = p->memory[k] + i * step};
			p->free[k] = b;
		}
	}
	*ret = p;
	return 0;
}

void link_pool_free(struct link_pool *p)
{
	if (!p)
		return;
	for (unsigned k = 0; k < CLASSES; k++) {
		free(p->memory[k]);
		free(p->bufs[k]);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static struct link_buf *heap_get(uint32_t size)
{
	struct link_buf *b = malloc(sizeof(*b));
	if (!b)
		return NULL;
	*b = (struct link_buf){.class = HEAP, .size = size};
	if (posix_memalign((void **)&b->data, ALIGN, MAX(size, ALIGN))) {
		free(b);
		return NULL;
	}
	return b;
}

struct link_buf *link_buf_get(struct link_pool *p, uint32_t size)
{
	struct link_buf *b = NULL;
	pthread_mutex_lock(&p->lock);
	for (unsigned k = 0; k < CLASSES && !b; k++) {
		if (size > classes[k].size)
			continue;
		b = p->free[k];
		if (b)
			p->free[k] = b->next;
		break; /* a bigger one is for who needs it */
	}
	pthread_mutex_unlock(&p->lock);
	return b ? b : heap_get(size);
}

void link_buf_put(struct link_pool *p, struct link_buf *b)
{
	if (!b)
		return;
	if (b->class == HEAP) {
		free(b->data);
		free(b);
		return;
	}
	pthread_mutex_lock(&p->lock);
	b->next = p->free[b->class];
	p->free[b->class] = b;
	pthread_mutex_unlock(&p->lock);
}
