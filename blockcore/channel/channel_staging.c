/*
 * Staging buffers of the head (channel_client.h): two classes, each divided
 * between users, who may hold buffers for as long as they like, and the
 * channel's own transfers, which never wait for anything but the controller.
 * So a head whose receive buffers take all of the users' share still writes
 * its journal. A buffer put back goes to the first waiter.
 *
 * The memory is the head's own, one for both controllers: a payload is received before it is known
 * whose volume it is for, and a request that is issued to the other controller finds its data
 * there. It is sealed against resizing, so that neither controller's mapping can lose a page.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct staging_waiter {
	struct waiter w;
	int got; /* buffer number; -1: none yet */
	bool failed;
};

static void pool_fill(struct staging_pool *p, unsigned from, unsigned to)
{
	p->nfree = 0;
	waitq_init(&p->q);
	while (to > from)
		p->free[p->nfree++] = (uint16_t)--to;
}

static int memory_make(struct channel *c)
{
	c->staging_fd = memfd_create("isthmus-staging", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->staging_fd < 0)
		return -errno;
	/* All of it now: memory that runs out later would be a signal, not an error. */
	int rc = -posix_fallocate(c->staging_fd, 0, CHANNEL_STAGING);
	if (rc)
		return rc;
	if (fcntl(c->staging_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	void *p = mmap(NULL, CHANNEL_STAGING, PROT_READ | PROT_WRITE, MAP_SHARED, c->staging_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->staging = p;
	return 0;
}

/* Buffers are numbered through: small ones first. */
int channel_staging_new(struct channel *c)
{
	int rc = memory_make(c);
	if (rc)
		return rc;
	unsigned all = CHANNEL_SMALL + CHANNEL_LARGE;
	pool_fill(&c->own_small, 0, CHANNEL_OWN_SMALL);
	pool_fill(&c->small, CHANNEL_OWN_SMALL, CHANNEL_SMALL);
	pool_fill(&c->own_large, CHANNEL_SMALL, CHANNEL_SMALL + CHANNEL_OWN_LARGE);
	pool_fill(&c->large, CHANNEL_SMALL + CHANNEL_OWN_LARGE, all);
	return 0;
}

void channel_staging_free(struct channel *c)
{
	if (c->staging)
		munmap(c->staging, CHANNEL_STAGING);
	if (c->staging_fd >= 0)
		close(c->staging_fd);
}

static uint8_t *buffer(struct channel *c, unsigned n)
{
	if (n < CHANNEL_SMALL)
		return c->staging + (size_t)n * CHANNEL_SMALL_SIZE;
	return c->staging + (size_t)CHANNEL_SMALL * CHANNEL_SMALL_SIZE +
	       (size_t)(n - CHANNEL_SMALL) * CHANNEL_LARGE_SIZE;
}

static unsigned number(const struct channel *c, const uint8_t *buf)
{
	size_t off = (size_t)(buf - c->staging), large = (size_t)CHANNEL_SMALL * CHANNEL_SMALL_SIZE;
	ASSERT(buf >= c->staging && off < CHANNEL_STAGING);
	if (off < large)
		return (unsigned)(off / CHANNEL_SMALL_SIZE);
	return CHANNEL_SMALL + (unsigned)((off - large) / CHANNEL_LARGE_SIZE);
}

static struct staging_pool *pool_of(struct channel *c, unsigned n)
{
	if (n < CHANNEL_SMALL)
		return n < CHANNEL_OWN_SMALL ? &c->own_small : &c->small;
	return n < CHANNEL_SMALL + CHANNEL_OWN_LARGE ? &c->own_large : &c->large;
}

static void *pool_get(struct channel *c, struct staging_pool *p)
{
	if (p->nfree)
		return buffer(c, p->free[--p->nfree]);
	if (channel_refusal(c))
		return NULL;
	struct staging_waiter me = {.got = -1};
	channel_ref(c);
	waitq_enter(&p->q, &me.w);
	while (me.got < 0 && !me.failed)
		task_park();
	waitq_leave(&p->q, &me.w);
	void *buf = me.got < 0 ? NULL : buffer(c, (unsigned)me.got);
	channel_unref(c);
	return buf;
}

void *channel_staging_try_get(struct channel *c, size_t size)
{
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	struct staging_pool *p = size <= CHANNEL_SMALL_SIZE ? &c->small : &c->large;
	return size > CHANNEL_LARGE_SIZE || !p->nfree ? NULL : pool_get(c, p);
}

void *channel_staging_get(struct channel *c, size_t size)
{
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	if (size > CHANNEL_LARGE_SIZE)
		return NULL;
	return pool_get(c, size <= CHANNEL_SMALL_SIZE ? &c->small : &c->large);
}

uint8_t *channel_staging_own(struct channel *c, size_t size)
{
	ASSERT(size <= CHANNEL_LARGE_SIZE);
	return pool_get(c, size <= CHANNEL_SMALL_SIZE ? &c->own_small : &c->own_large);
}

void channel_staging_put(struct channel *c, void *buf)
{
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	unsigned n = number(c, buf);
	ASSERT(buffer(c, n) == buf);
	struct staging_pool *p = pool_of(c, n);
	struct waiter *w = TAILQ_FIRST(&p->q);
	if (w) {
		container_of(w, struct staging_waiter, w)->got = (int)n;
		waitq_wake_one(&p->q);
		return;
	}
	ASSERT(p->nfree < CHANNEL_SMALL);
	p->free[p->nfree++] = (uint16_t)n;
}

static void pool_fail(struct staging_pool *p)
{
	struct waiter *w;
	while ((w = TAILQ_FIRST(&p->q))) {
		container_of(w, struct staging_waiter, w)->failed = true;
		waitq_wake_one(&p->q);
	}
}

void channel_staging_fail_all(struct channel *c)
{
	pool_fail(&c->small);
	pool_fail(&c->large);
	pool_fail(&c->own_small);
	pool_fail(&c->own_large);
}

bool channel_in_staging(const struct channel *c, const void *p, size_t len)
{
	const uint8_t *b = p;
	return b >= c->staging && len <= CHANNEL_STAGING &&
	       (size_t)(b - c->staging) <= CHANNEL_STAGING - len;
}
