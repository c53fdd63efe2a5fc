/*
 * The environment of a real process (runtime/env.h): the kernel's clocks and
 * randomness, disks by runtime/disk_file.c, and timers of the calling reactor.
 *
 * An env_timer may vanish the moment it was stopped or has fired, which libuv's
 * handles may not. So each reactor keeps its timers in a tree by deadline, with
 * one uv_timer armed for the earliest. Tree nodes are recycled: arming allocates
 * only while the most timers ever armed at once grows. libuv counts in
 * milliseconds from the turn's start; deadlines are kept in nanoseconds and
 * compared with the clock, so a timer never fires early.
 */
#include "runtime/env.h"
#include "runtime/check.h"
#include "runtime/reactor_impl.h"
#include <bsd/sys/tree.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define TIMER_MAGIC 0x74696d72

struct timer_node {
	uint32_t magic;
	uint64_t deadline;
	uint64_t seq; /* equal deadlines fire in the order they were armed */
	struct env_timer *timer;
	struct timer_heap *heap;
	RB_ENTRY(timer_node) tree;
	SLIST_ENTRY(timer_node) free;
};
RB_HEAD(timer_tree, timer_node);

struct timer_heap {
	struct reactor *reactor;
	uv_timer_t uv;
	uint64_t armed_for; /* deadline libuv's timer stands for; 0: not armed */
	uint64_t next_seq;
	bool firing;
	struct timer_tree tree;
	SLIST_HEAD(, timer_node) free_nodes;
};

static int timer_cmp(const struct timer_node *a, const struct timer_node *b)
{
	if (a->deadline != b->deadline)
		return a->deadline < b->deadline ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

RB_GENERATE_INTERNAL(timer_tree, timer_node, tree, timer_cmp, static __attribute__((unused)))

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t real_now(struct env *e)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t real_realtime(struct env *e)
{
	return clock_ns(CLOCK_REALTIME);
}

static void real_random(struct env *e, void *buf, size_t len)
{
	char *p = buf;
	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);
		ASSERT(n > 0 || errno == EINTR);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void heap_fire(uv_timer_t *uv);

/* Points libuv's timer at the earliest deadline, in as few calls as can be. */
static void heap_arm(struct timer_heap *h)
{
	struct timer_node *n = RB_MIN(timer_tree, &h->tree);
	if (h->firing || (n && h->armed_for && h->armed_for <= n->deadline))
		return; /* fires first anyway, and looks again */
	if (!n)
		return; /* let it fire for nothing: cheaper than stopping it each time */
	uint64_t ms = (n->deadline + NS_PER_MS - 1) / NS_PER_MS;
	uint64_t now = uv_now(reactor_loop(h->reactor));
	uv_timer_start(&h->uv, heap_fire, ms > now ? ms - now : 0, 0);
	h->armed_for = n->deadline;
}

static void node_remove(struct timer_heap *h, struct timer_node *n)
{
	RB_REMOVE(timer_tree, &h->tree, n);
	n->timer->impl = NULL;
	n->timer = NULL;
	SLIST_INSERT_HEAD(&h->free_nodes, n, free);
}

static void heap_fire(uv_timer_t *uv)
{
	struct timer_heap *h = uv->data;
	struct timer_node *n;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t last = h->next_seq; /* those armed by the callbacks wait for the next turn */
	h->armed_for = 0;
	h->firing = true;
	while ((n = RB_MIN(timer_tree, &h->tree)) && n->deadline <= now && n->seq < last) {
		struct env_timer *t = n->timer;
		node_remove(h, n);
		t->fn(t->arg);
	}
	h->firing = false;
	heap_arm(h);
}

static struct timer_heap *heap_of(struct reactor *r)
{
	struct reactor_parts *parts = reactor_parts(r);
	if (parts->timers)
		return parts->timers;
	struct timer_heap *h = calloc(1, sizeof(*h));
	ASSERT(h);
	h->reactor = r;
	RB_INIT(&h->tree);
	SLIST_INIT(&h->free_nodes);
	uv_timer_init(reactor_loop(r), &h->uv);
	h->uv.data = h;
	parts->timers = h;
	return h;
}

static void heap_closed(uv_handle_t *uv)
{
	struct timer_heap *h = uv->data;
	struct timer_node *n;
	while ((n = RB_MIN(timer_tree, &h->tree)))
		node_remove(h, n);
	while ((n = SLIST_FIRST(&h->free_nodes))) {
		SLIST_REMOVE_HEAD(&h->free_nodes, free);
		free(n);
	}
	free(h);
}

void timer_heap_free(struct timer_heap *h)
{
	if (h)
		uv_close((uv_handle_t *)&h->uv, heap_closed);
}

static void real_timer_stop(struct env *e, struct env_timer *t)
{
	struct timer_node *n = t->impl;
	if (!n)
		return;
	CHECK(n, TIMER_MAGIC);
	ASSERT(n->heap->reactor == reactor_current());
	node_remove(n->heap, n);
}

static void real_timer_start(struct env *e, struct env_timer *t, uint64_t after_ns)
{
	struct reactor *r = reactor_current();
	ASSERT(r && t->fn);
	real_timer_stop(e, t);
	struct timer_heap *h = heap_of(r);
	struct timer_node *n = SLIST_FIRST(&h->free_nodes);
	if (n) {
		SLIST_REMOVE_HEAD(&h->free_nodes, free);
	} else {
		n = calloc(1, sizeof(*n));
		ASSERT(n);
		n->magic = TIMER_MAGIC;
		n->heap = h;
	}
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	n->deadline = after_ns > UINT64_MAX / 2 - now ? UINT64_MAX / 2 : now + after_ns;
	n->seq = h->next_seq++;
	n->timer = t;
	t->impl = n;
	RB_INSERT(timer_tree, &h->tree, n);
	heap_arm(h);
}

static int real_disk_open(struct env *e, const char *path, unsigned flags, struct bdev **ret)
{
	return disk_file_open(path, flags, ret);
}

static const struct env_ops real_ops = {
    .now_ns = real_now,
    .realtime_ns = real_realtime,
    .random = real_random,
    .timer_start = real_timer_start,
    .timer_stop = real_timer_stop,
    .disk_open = real_disk_open,
};

struct env *env_real(void)
{
	static struct env real = {.ops = &real_ops};
	return &real;
}
