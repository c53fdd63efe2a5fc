/*
 * Calls to a disk that can be left behind.
 *
 * A call that the system has taken cannot be taken back: until it returns, the system may write
 * to the memory of a read. So each call is made by a task of its own, its carrier, while the caller
 * waits; when disk_fail() gives the disk up, the caller goes on with -EIO and the carrier stays.
 *
 *   QUEUED   the carrier has not run: it sends nothing any more once the caller has left
 *   SENT     with the system -> done: the caller is woken, takes the result and frees the call
 *                            -> left: the caller has gone; the carrier frees the call when it is
 * back
 *
 *   reads    go straight to memory of a lender (struct disk_lender: pages of the cache), who is
 * told when it is left behind and does not use it until the call is back. What is anybody else's is
 * read into memory of the call, and from there goes to the caller who still waits. So nothing but
 * that is written late, and it is out of use until then. writes   are sent from the caller's
 * memory, where it suits the device (else from the call's). What is sent late from memory that is
 * another's by then lands on a disk that was given up, inside the range that was being written: it
 * holds old data there anyway, and is not labelled or filled before it has given all calls back
 * (disk_left()).
 *
 * Caller and carrier are tasks of one scheduler, so that what only they touch needs no lock. The
 * lock is of the lists, which disk_fail() walks from any thread, and of the memory. That is made
 * when it is first needed and then kept; who finds all of it in use waits, or leaves with the disk.
 *
 * Where no stack is to be had for a carrier, the caller makes the call itself, and cannot leave. So
 * it does where a call is prompt (bdev.prompt).
 */
#include "blockcore/disk/disk_impl.h"
#include "runtime/iov_cursor.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CALL_IOV     336 /* pieces that a pool sends at once, and some */
#define CALL_STEP    (1024 * 1024u)
#define CALL_MEM_MAX (16 * 1024 * 1024u) /* of a disk */

struct disk_call {
	TAILQ_ENTRY(disk_call) link;
	struct disk *disk;
	enum disk_call_op op;
	unsigned flags;
	uint64_t off, len;
	unsigned fails; /* of the disk, when it began */
	struct task *waiter;
	bool done, left;
	bool lent; /* the memory is the lender's */
	int rc;
	struct call_mem *mem; /* NULL: none is needed */
	int iovcnt;
	struct iovec iov[CALL_IOV];
};

/* ---- memory ---- */

struct call_mem {
	struct call_mem *next;
	unsigned cls;
	uint8_t *bytes;
};

static size_t class_bytes(unsigned cls)
{
	return (size_t)4096 << 2 * cls;
}

static unsigned class_of(size_t len)
{
	unsigned cls = 0;
	while (class_bytes(cls) < len)
		cls++;
	ASSERT(cls < CALL_CLASSES);
	return cls;
}

static void mem_free(struct call_mem *m)
{
	if (m)
		free(m->bytes);
	free(m);
}

static struct call_mem *mem_new(unsigned cls)
{
	struct call_mem *m = calloc(1, sizeof(*m));
	if (!m || posix_memalign((void **)&m->bytes, 4096, class_bytes(cls))) {
		free(m);
		return NULL;
	}
	m->cls = cls;
	return m;
}

/* With the lock: room for one more of this class, by freeing others that nobody uses. */
static bool mem_room(struct disk_calls *k, unsigned cls)
{
	for (unsigned i = 0; i < CALL_CLASSES; i++)
		while (k->mem_bytes + class_bytes(cls) > CALL_MEM_MAX && k->mem[i]) {
			struct call_mem *m = k->mem[i];
			k->mem[i] = m->next;
			k->mem_bytes -= class_bytes(i);
			mem_free(m);
		}
	return k->mem_bytes + class_bytes(cls) <= CALL_MEM_MAX;
}

static bool given_up(const struct disk *d, unsigned fails)
{
	return atomic_load_explicit(&d->calls.fails, memory_order_acquire) != fails;
}

/* Waits for memory. -EIO: the disk was given up meanwhile. */
static int mem_take(struct disk *d, size_t len, unsigned fails, struct call_mem **ret)
{
	struct disk_calls *k = &d->calls;
	unsigned cls = class_of(len);
	pthread_mutex_lock(&k->lock);
	while (!k->mem[cls] && !mem_room(k, cls)) {
		struct waiter w;
		if (given_up(d, fails)) {
			pthread_mutex_unlock(&k->lock);
			return -EIO;
		}
		waitq_enter(&k->mem_wait, &w);
		pthread_mutex_unlock(&k->lock);
		task_park();
		pthread_mutex_lock(&k->lock);
		waitq_leave(&k->mem_wait, &w);
	}
	struct call_mem *m = k->mem[cls];
	if (m)
		k->mem[cls] = m->next;
	else
		k->mem_bytes += class_bytes(cls);
	pthread_mutex_unlock(&k->lock);
	if (!m && !(m = mem_new(cls))) {
		pthread_mutex_lock(&k->lock);
		k->mem_bytes -= class_bytes(cls);
		pthread_mutex_unlock(&k->lock);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

/* With the lock. */
static void mem_put(struct disk_calls *k, struct call_mem *m)
{
	m->next = k->mem[m->cls];
	k->mem[m->cls] = m;
	waitq_wake_all(&k->mem_wait);
}

/* ---- one call ---- */

static struct disk_call *call_take(struct disk *d)
{
	struct disk_calls *k = &d->calls;
	pthread_mutex_lock(&k->lock);
	struct disk_call *c = TAILQ_FIRST(&k->free);
	if (c)
		TAILQ_REMOVE(&k->free, c, link);
	pthread_mutex_unlock(&k->lock);
	return c ? c : malloc(sizeof(*c));
}

/* With the lock. */
static void call_put(struct disk_calls *k, struct disk_call *c)
{
	if (c->mem)
		mem_put(k, c->mem);
	c->mem = NULL;
	TAILQ_INSERT_HEAD(&k->free, c, link);
}

static int call_send(struct disk *d, enum disk_call_op op, const struct iovec *iov, int iovcnt,
		     uint64_t off, uint64_t len, unsigned flags)
{
	int rc = -EINVAL;
	unsigned slot = disk_call_begin(d);
	switch (op) {
	case DISK_CALL_READ:
		rc = bdev_readv(d->under, iov, iovcnt, off);
		break;
	case DISK_CALL_WRITE:
		rc = bdev_writev(d->under, iov, iovcnt, off, flags);
		break;
	case DISK_CALL_FLUSH:
		rc = bdev_flush(d->under);
		break;
	case DISK_CALL_DISCARD:
		rc = bdev_discard(d->under, off, len);
		break;
	}
	disk_call_end(d, slot);
	return rc;
}

/* With the lock, when a call has ended: the last one lets the disk be used for something else. */
static void one_less(struct disk *d)
{
	struct disk_calls *k = &d->calls;
	if (!disk_calls_none(k))
		return;
	if (k->unclaim) /* disk_unclaim() */
		bdev_claim(d->under, false);
	k->unclaim = false;
	waitq_wake_all(&k->returned);
}

static void came_back(struct disk_call *c)
{
	struct disk *d = c->disk;
	struct disk_calls *k = &d->calls;
	pthread_mutex_lock(&k->lock);
	const struct disk_lender *l = atomic_load(&k->lender);
	if (c->lent && l)
		l->back(l->arg, c->iov, c->iovcnt);
	call_put(k, c);
	atomic_fetch_sub(&k->left, 1);
	one_less(d);
	pthread_mutex_unlock(&k->lock);
}

static void carrier(void *arg)
{
	struct disk_call *c = arg;
	struct disk *d = c->disk;
	c->rc = -EIO;
	if (!c->left && !given_up(d, c->fails))
		c->rc = call_send(d, c->op, c->iov, c->iovcnt, c->off, c->len, c->flags);
	c->done = true;
	if (c->left)
		came_back(c);
	else
		task_wake(c->waiter);
}

/* Waits for the call or for the disk's end. False: the call is left behind, and not the caller's
 * any more. */
static bool call_wait(struct disk *d, struct disk_call *c)
{
	struct disk_calls *k = &d->calls;
	while (!c->done && !given_up(d, c->fails))
		task_park();
	const struct disk_lender *l = atomic_load(&k->lender);
	if (!c->done && c->lent)
		l->left(l->arg, c->iov, c->iovcnt);
	pthread_mutex_lock(&k->lock);
	TAILQ_REMOVE(&k->waited, c, link);
	if (!c->done) {
		c->left = true;
		atomic_fetch_add(&k->left, 1);
	}
	one_less(d);
	pthread_mutex_unlock(&k->lock);
	return c->done;
}

/* Makes the call that is prepared. `from`: the caller's buffers, when the call has its own memory.
 */
static int call_run(struct disk *d, struct disk_call *c, struct iov_cursor *from)
{
	struct disk_calls *k = &d->calls;
	c->disk = d;
	c->waiter = task_self();
	c->done = c->left = false;
	if (c->mem) {
		c->iov[0] = (struct iovec){c->mem->bytes, c->len};
		c->iovcnt = 1;
		if (c->op == DISK_CALL_WRITE)
			iov_gather(from, c->mem->bytes, c->len);
	}
	pthread_mutex_lock(&k->lock);
	TAILQ_INSERT_TAIL(&k->waited, c, link);
	pthread_mutex_unlock(&k->lock);
	if (task_try_start(carrier, c)) {
		c->rc = call_send(d, c->op, c->iov, c->iovcnt, c->off, c->len, c->flags);
		c->done = true;
	}
	bool lent = c->lent;
	if (!call_wait(d, c))
		return lent ? -ERR_LEFT : -EIO;
	int rc = c->rc;
	if (rc == 0 && c->mem && c->op == DISK_CALL_READ)
		iov_scatter(from, c->mem->bytes, c->len);
	pthread_mutex_lock(&k->lock);
	call_put(k, c);
	pthread_mutex_unlock(&k->lock);
	return rc;
}

/* ---- what the others call ---- */

static int call_new(struct disk *d, struct disk_call like, struct disk_call **ret)
{
	struct disk_call *c = call_take(d);
	if (!c)
		return -ENOMEM;
	c->op = like.op;
	c->flags = like.flags;
	c->off = like.off;
	c->len = like.len;
	c->fails = like.fails;
	c->lent = like.lent;
	c->mem = NULL;
	c->iovcnt = 0;
	*ret = c;
	return 0;
}

static bool suits(const struct disk *d, const struct iovec *iov, int iovcnt)
{
	uintptr_t all = 0;
	for (int i = 0; i < iovcnt; i++)
		all |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return iovcnt <= CALL_IOV && all % d->under->mem_align == 0;
}

static bool is_lent(const struct disk *d, const struct iovec *iov, int iovcnt)
{
	const struct disk_lender *l = atomic_load_explicit(&d->calls.lender, memory_order_acquire);
	bool all = l != NULL;
	for (int i = 0; all && i < iovcnt; i++)
		all = (uintptr_t)iov[i].iov_base >= (uintptr_t)l->from &&
		      (uintptr_t)iov[i].iov_base + iov[i].iov_len <= (uintptr_t)l->to;
	return all;
}

static int send_as_it_is(struct disk *d, struct disk_call like, const struct iovec *iov, int iovcnt)
{
	struct disk_call *c;
	int rc = call_new(d, like, &c);
	if (rc)
		return rc;
	for (int i = 0; i < iovcnt; i++)
		c->iov[i] = iov[i];
	c->iovcnt = iovcnt;
	return call_run(d, c, NULL);
}

/* One step by memory of the call. */
static int step(struct disk *d, struct disk_call like, struct iov_cursor *at)
{
	struct disk_call *c;
	struct call_mem *mem;
	int rc = mem_take(d, like.len, like.fails, &mem);
	if (rc)
		return rc;
	rc = call_new(d, like, &c);
	if (rc) {
		pthread_mutex_lock(&d->calls.lock);
		mem_put(&d->calls, mem);
		pthread_mutex_unlock(&d->calls.lock);
		return rc;
	}
	c->mem = mem;
	return call_run(d, c, at);
}

/* A prompt call is back before anybody could leave it. */
static bool may_leave(const struct disk *d, bool prompt)
{
	return !prompt && atomic_load_explicit(&d->calls.may_leave, memory_order_relaxed);
}

int disk_call_rw(struct disk *d, enum disk_call_op op, const struct iovec *iov, int iovcnt,
		 uint64_t off, unsigned flags)
{
	uint64_t len = iov_bytes(iov, iovcnt);
	struct disk_call like = {.op = op, .off = off, .len = len, .flags = flags};
	struct iov_cursor at = {iov, iovcnt, 0};
	int rc = 0;
	like.fails = atomic_load_explicit(&d->calls.fails, memory_order_acquire);
	if (!may_leave(d, len <= d->under->prompt))
		return call_send(d, op, iov, iovcnt, off, len, flags);
	like.lent = op == DISK_CALL_READ && is_lent(d, iov, iovcnt);
	bool here = op == DISK_CALL_WRITE || like.lent;
	if (here && suits(d, iov, iovcnt))
		return send_as_it_is(d, like, iov, iovcnt);
	like.lent = false;
	for (; len > 0 && rc == 0; len -= like.len, like.off += like.len) {
		like.len = MIN(len, CALL_STEP);
		rc = step(d, like, &at);
	}
	return rc;
}

int disk_call_plain(struct disk *d, enum disk_call_op op, uint64_t off, uint64_t len)
{
	struct disk_call like = {.op = op, .off = off, .len = len};
	like.fails = atomic_load_explicit(&d->calls.fails, memory_order_acquire);
	if (!may_leave(d, op == DISK_CALL_FLUSH && d->under->prompt))
		return call_send(d, op, NULL, 0, off, len, 0);
	return send_as_it_is(d, like, NULL, 0);
}

void disk_leave_calls(struct disk *d)
{
	struct disk_calls *k = &d->calls;
	struct disk_call *c;
	pthread_mutex_lock(&k->lock);
	atomic_fetch_add_explicit(&k->fails, 1, memory_order_release);
	TAILQ_FOREACH (c, &k->waited, link)
		task_wake(c->waiter);
	waitq_wake_all(&k->mem_wait);
	pthread_mutex_unlock(&k->lock);
}

unsigned disk_left(const struct disk *d)
{
	return atomic_load(&d->calls.left);
}

void disk_set_may_leave(struct disk *d, bool may)
{
	atomic_store(&d->calls.may_leave, may);
}

void disk_set_lender(struct disk *d, const struct disk_lender *l)
{
	CHECK(d, DISK_MAGIC);
	pthread_mutex_lock(&d->calls.lock);
	atomic_store(&d->calls.lender, l);
	pthread_mutex_unlock(&d->calls.lock);
}

void disk_calls_init(struct disk *d)
{
	struct disk_calls *k = &d->calls;
	pthread_mutex_init(&k->lock, NULL);
	TAILQ_INIT(&k->waited);
	TAILQ_INIT(&k->free);
	waitq_init(&k->mem_wait);
	waitq_init(&k->returned);
	atomic_init(&k->may_leave, true);
}

void disk_calls_fini(struct disk *d)
{
	struct disk_calls *k = &d->calls;
	struct disk_call *c;
	pthread_mutex_lock(&k->lock);
	while (!disk_calls_none(k)) {
		struct waiter w;
		waitq_enter(&k->returned, &w);
		pthread_mutex_unlock(&k->lock);
		task_park();
		pthread_mutex_lock(&k->lock);
		waitq_leave(&k->returned, &w);
	}
	pthread_mutex_unlock(&k->lock);
	while ((c = TAILQ_FIRST(&k->free))) {
		TAILQ_REMOVE(&k->free, c, link);
		free(c);
	}
	for (unsigned i = 0; i < CALL_CLASSES; i++)
		for (struct call_mem *m; (m = k->mem[i]);) {
			k->mem[i] = m->next;
			mem_free(m);
		}
	pthread_mutex_destroy(&k->lock);
}
