/* Memory of data on its way between the controllers (forward.h). */
#include <stdlib.h>
#include "server/scsi/forward.h"

void pool_blocks_init(struct forward_pool *p)
{
	pthread_mutex_init(&p->lock, NULL);
	TAILQ_INIT(&p->waiting);
}

void pool_blocks_fini(struct forward_pool *p)
{
	ASSERT(p->nfree == p->made && TAILQ_EMPTY(&p->waiting));
	while (p->free) {
		struct forward_block *b = p->free;
		p->free = b->next;
		free(b->data);
		free(b);
	}
	pthread_mutex_destroy(&p->lock);
}

/* With the lock. */
static bool block_make(struct forward_pool *p)
{
	struct forward_block *b = malloc(sizeof(*b));
	if (!b)
		return false;
	b->data = aligned_alloc(4096, FORWARD_BLOCK);
	if (!b->data) {
		free(b);
		return false;
	}
	b->next = p->free;
	p->free = b;
	p->made++;
	p->nfree++;
	return true;
}

/* With the lock. */
static struct forward_block *blocks_get(struct forward_pool *p, unsigned n)
{
	while (p->nfree < n && p->made < FORWARD_BLOCKS)
		if (!block_make(p))
			return NULL;
	if (p->nfree < n)
		return NULL;
	struct forward_block *first = p->free, *last = first;
	for (unsigned i = 1; i < n; i++)
		last = last->next;
	p->free = last->next;
	last->next = NULL;
	p->nfree -= n;
	return first;
}

struct forward_block *pool_blocks_try(struct forward_pool *p, unsigned n)
{
	pthread_mutex_lock(&p->lock);
	struct forward_block *b = TAILQ_EMPTY(&p->waiting) ? blocks_get(p, n) : NULL;
	pthread_mutex_unlock(&p->lock);
	return b;
}

static void wake_first(struct forward_pool *p)
{
	struct forward_waiter *w = TAILQ_FIRST(&p->waiting);
	if (w)
		task_wake(w->task);
}

struct forward_block *pool_blocks_take(struct forward_pool *p, unsigned n, const _Atomic bool *stop)
{
	struct forward_waiter w = {.task = task_self()};
	struct forward_block *b = NULL;
	ASSERT(n && n <= FORWARD_BLOCKS);
	pthread_mutex_lock(&p->lock);
	TAILQ_INSERT_TAIL(&p->waiting, &w, link);
	while (!atomic_load(stop)) {
		if (TAILQ_FIRST(&p->waiting) == &w && (b = blocks_get(p, n)))
			break;
		if (!b && p->nfree == p->made && p->made < n) /* and no more can be made */
			break;
		pthread_mutex_unlock(&p->lock);
		task_park();
		pthread_mutex_lock(&p->lock);
	}
	TAILQ_REMOVE(&p->waiting, &w, link);
	wake_first(p);
	pthread_mutex_unlock(&p->lock);
	return b;
}

void pool_blocks_wake(struct forward_pool *p)
{
	struct forward_waiter *w;
	pthread_mutex_lock(&p->lock);
	TAILQ_FOREACH (w, &p->waiting, link)
		task_wake(w->task);
	pthread_mutex_unlock(&p->lock);
}

void pool_blocks_give(struct forward_pool *p, struct forward_block *b)
{
	pthread_mutex_lock(&p->lock);
	while (b) {
		struct forward_block *next = b->next;
		b->next = p->free;
		p->free = b;
		p->nfree++;
		b = next;
	}
	wake_first(p);
	pthread_mutex_unlock(&p->lock);
}

/* ---- what is at the partner ---- */

void forward_window_init(struct forward_window *w, uint32_t size)
{
	pthread_mutex_init(&w->lock, NULL);
	TAILQ_INIT(&w->waiting);
	w->size = size;
	w->used = 0;
}

void forward_window_fini(struct forward_window *w)
{
	ASSERT(!w->used && TAILQ_EMPTY(&w->waiting));
	pthread_mutex_destroy(&w->lock);
}

static bool window_has_room(const struct forward_window *w, uint32_t cost)
{
	return !w->used || w->used + cost <= w->size;
}

bool forward_window_enter(struct forward_window *w, uint32_t cost, const _Atomic bool *stop)
{
	struct forward_waiter me = {.task = task_self()};
	pthread_mutex_lock(&w->lock);
	bool go = TAILQ_EMPTY(&w->waiting) && window_has_room(w, cost);
	if (!go) {
		TAILQ_INSERT_TAIL(&w->waiting, &me, link);
		while (!(go = TAILQ_FIRST(&w->waiting) == &me && window_has_room(w, cost)) &&
		       !atomic_load(stop)) {
			pthread_mutex_unlock(&w->lock);
			task_park();
			pthread_mutex_lock(&w->lock);
		}
		TAILQ_REMOVE(&w->waiting, &me, link);
		if (!TAILQ_EMPTY(&w->waiting))
			task_wake(TAILQ_FIRST(&w->waiting)->task);
	}
	if (go)
		w->used += cost;
	pthread_mutex_unlock(&w->lock);
	return go;
}

void forward_window_leave(struct forward_window *w, uint32_t cost)
{
	pthread_mutex_lock(&w->lock);
	w->used -= cost;
	if (!TAILQ_EMPTY(&w->waiting))
		task_wake(TAILQ_FIRST(&w->waiting)->task);
	pthread_mutex_unlock(&w->lock);
}

void forward_window_wake(struct forward_window *w)
{
	struct forward_waiter *x;
	pthread_mutex_lock(&w->lock);
	TAILQ_FOREACH (x, &w->waiting, link)
		task_wake(x->task);
	pthread_mutex_unlock(&w->lock);
}

/* ---- pieces ---- */

int blocks_iov(const struct forward_block *b, uint32_t len, struct iovec *iov, int max)
{
	int n = 0;
	for (; len && b && n < max; b = b->next) {
		uint32_t piece = MIN(len, FORWARD_BLOCK);
		iov[n++] = (struct iovec){.iov_base = b->data, .iov_len = piece};
		len -= piece;
	}
	ASSERT(!len);
	return n;
}

int iov_part(const struct iovec *iov, int n, uint32_t off, uint32_t len, struct iovec *out, int max)
{
	int k = 0;
	for (int i = 0; i < n && len; i++) {
		size_t have = iov[i].iov_len;
		if (off >= have) {
			off -= (uint32_t)have;
			continue;
		}
		size_t piece = MIN(have - off, (size_t)len);
		if (k == max)
			return -1;
		out[k++] =
		    (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + off, .iov_len = piece};
		len -= (uint32_t)piece;
		off = 0;
	}
	return len ? -1 : k;
}
