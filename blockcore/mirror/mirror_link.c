/*
 * Mirroring to another host: a write's pages and CBEs go in one message, whose acknowledgement is
 * the only reply. README.md tells how order is kept.
 *
 * Clears are queued in the order of the versions they end and sent by one task, a batch at a time,
 * so they take effect in that order: never is a page's old copy left alone while a newer one, long
 * on disk, is cleared. A number goes back to the table when its clear was answered: so a copy that
 * reuses it cannot come before older copies were cleared, whichever thread sends it.
 */
#include "blockcore/cache/cache_priv.h"
#include "blockcore/link/link.h"
#include "blockcore/mirror/mirror_wire.h"
#include <errno.h>
#include <stdlib.h>

#define BUSY_POLL_NS (5 * NS_PER_MS)
#define SEND_POLL_NS NS_PER_MS

_Static_assert(sizeof(struct wire_put) + CACHE_IO_PAGES * sizeof(struct wire_page) <= LINK_HEAD_MAX,
	       "the largest write fits a message");
_Static_assert((uint64_t)CACHE_IO_PAGES * 4096 <= LINK_DATA_MAX, "and its data");
_Static_assert(sizeof(struct wire_clear) + WIRE_CLEAR_MAX * sizeof(struct wire_cleared) <=
		   LINK_HEAD_MAX,
	       "a batch of clears fits a message");

int mirror_link_join(struct cache *c, struct link *l, uint32_t epoch, uint32_t *ret_pages)
{
	struct wire_join j = {WIRE_VERSION, c->page_size, epoch, 0};
	struct wire_area area = {0};
	struct link_answer ans = {.head = &area, .head_max = sizeof(area)};
	uint32_t parts = atomic_load(&c->mirror.parts);
	int rc;
	/* Its area holds what it adopted, or it has just come and serves nothing yet. */
	while ((rc = link_call(l, LINK_DATA, LINK_SVC_MIRROR, WIRE_JOIN, &j, sizeof(j), NULL, 0,
			       &ans, 0)) == -EBUSY ||
	       rc == -EOPNOTSUPP) {
		if (atomic_load(&c->mirror.parts) != parts)
			return -ECANCELED;
		env_sleep_ns(c->env, BUSY_POLL_NS);
	}
	if (rc)
		return rc;
	if (ans.head_len != sizeof(area) || area.npages >= WIRE_FILLED)
		return -ERR_PROTO;
	*ret_pages = area.npages;
	return 0;
}

int mirror_link_init(struct mirror *m, uint32_t npages)
{
	free(m->generation);
	free(m->clears);
	m->generation = calloc(npages, sizeof(*m->generation));
	m->clears = calloc(npages, sizeof(*m->clears));
	m->clear_first = m->nclears = 0;
	return m->generation && m->clears ? 0 : -ENOMEM;
}

static int link_copy(struct mirror *m, const struct mirror_copy *k, unsigned n, bool atomic)
{
	union {
		struct wire_put put;
		uint8_t room[sizeof(struct wire_put) + CACHE_IO_PAGES * sizeof(struct wire_page)];
	} head;
	struct iovec iov[CACHE_IO_PAGES];
	int data = 0;
	head.put = (struct wire_put){.epoch = m->wire_epoch,
				     .n = (uint16_t)n,
				     .atomic = atomic,
				     .volume = k[0].volume,
				     .first = k[0].page,
				     .generation = k[0].generation};
	for (unsigned i = 0; i < n; i++) {
		uint64_t delta = k[i].generation - k[0].generation;
		ASSERT(delta <= UINT32_MAX && k[i].page == k[0].page + i);
		head.put.page[i] = (struct wire_page){k[i].to | (k[i].data ? 0 : WIRE_FILLED),
						      (uint32_t)delta, k[i].valid, k[i].dirty};
		m->generation[k[i].to] = k[i].generation;
		if (k[i].data)
			iov[data++] =
			    (struct iovec){(void *)k[i].data, (size_t)1 << m->c->page_shift};
	}
	FAULT("mirror.before_send");
	int rc = link_call(m->link, LINK_DATA, LINK_SVC_MIRROR, WIRE_PUT, &head,
			   (uint32_t)(sizeof(head.put) + n * sizeof(struct wire_page)), iov, data,
			   NULL, 0);
	FAULT("mirror.after_answer");
	if (rc && rc != -ERR_DISCONNECTED)
		event_write(LOG_L_ERROR, "mirror.refused",
			    "the partner does not take the copy of a write (%s); writes wait until "
			    "it is known to be away",
			    err_name(rc));
	return rc;
}

static bool link_fill(struct mirror *m, uint32_t to, const void *data)
{
	struct wire_fill f = {m->wire_epoch, to};
	return link_send(m->link, LINK_DATA, LINK_SVC_MIRROR, WIRE_FILL, &f, sizeof(f), data,
			 1u << m->c->page_shift) == 0;
}

static bool link_clear(struct mirror *m, uint32_t page)
{
	pthread_mutex_lock(&m->clear_lock);
	ASSERT(m->nclears < m->table.npages); /* a number is queued once, and not in the table */
	m->clears[(m->clear_first + m->nclears++) % m->table.npages] = page;
	if (m->nclears == 1)
		waitq_wake_all(&m->clear_q);
	pthread_mutex_unlock(&m->clear_lock);
	return false;
}

/* One message of those that wait. Clear lock held, let go of. */
static void send_clears(struct cache *c)
{
	struct mirror *m = &c->mirror;
	union {
		struct wire_clear clear;
		uint8_t
		    room[sizeof(struct wire_clear) + WIRE_CLEAR_MAX * sizeof(struct wire_cleared)];
	} head;
	uint32_t pages[WIRE_CLEAR_MAX], n = MIN(m->nclears, WIRE_CLEAR_MAX);
	uint32_t epoch = m->wire_epoch;
	head.clear = (struct wire_clear){epoch, n};
	for (uint32_t i = 0; i < n; i++) {
		pages[i] = m->clears[(m->clear_first + i) % m->table.npages];
		head.clear.page[i] = (struct wire_cleared){pages[i], 0, m->generation[pages[i]]};
	}
	m->clear_first = (m->clear_first + n) % m->table.npages;
	m->nclears -= n;
	pthread_mutex_unlock(&m->clear_lock);
	/* An error: the link is down, and the epoch is going to end. */
	int rc = link_call(m->link, LINK_DATA, LINK_SVC_MIRROR, WIRE_CLEAR, &head,
			   (uint32_t)(sizeof(head.clear) + n * sizeof(struct wire_cleared)), NULL,
			   0, NULL, 0);
	FAULT("mirror.clears_sent");
	struct page_batch b;
	page_batch_init(&b);
	b.epoch = epoch;
	b.nmirror = rc ? 0 : n;
	memcpy(b.mirror, pages, n * sizeof(pages[0]));
	page_batch_flush(c, &b);
	pthread_mutex_lock(&m->clear_lock);
}
_Static_assert(WIRE_CLEAR_MAX <= CACHE_IO_PAGES, "a batch");

void mirror_clear_task(void *arg)
{
	struct cache *c = arg;
	struct mirror *m = &c->mirror;
	pthread_mutex_lock(&m->clear_lock);
	while (!m->stopping) {
		if (m->nclears) {
			m->sending = true;
			send_clears(c);
			m->sending = false;
		} else {
			cache_wait(c, &m->clear_lock, &m->clear_q, 0);
		}
	}
	pthread_mutex_unlock(&m->clear_lock);
	pthread_mutex_lock(&c->bg.lock);
	cache_task_ended(&c->bg);
}

/* The epoch has ended: what waits to be sent is of no use. Waits until nobody sends. */
static void link_leave(struct mirror *m)
{
	pthread_mutex_lock(&m->clear_lock);
	m->nclears = 0;
	while (m->sending) {
		pthread_mutex_unlock(&m->clear_lock);
		env_sleep_ns(m->c->env, SEND_POLL_NS);
		pthread_mutex_lock(&m->clear_lock);
	}
	pthread_mutex_unlock(&m->clear_lock);
}

const struct mirror_ops mirror_link_ops = {
    .waits = true,
    .copy = link_copy,
    .fill = link_fill,
    .clear = link_clear,
    .leave = link_leave,
};
