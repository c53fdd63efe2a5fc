/*
 * The head's side of the rings: the table of requests in flight, submission
 * and completion.
 *
 * A request keeps its place in the table from submission until its task has
 * taken the result, whatever happens to the connection meanwhile. When a new
 * connection is made, all that have no result are issued again in their order,
 * with their `issue` counted up, so that an answer counts once.
 *
 * In every turn in which something was submitted or rung: ring the controller
 * if it sleeps, read completions, and when there are none declare ourselves
 * asleep (channel_layout.h).
 */
#include "blockcore/channel/channel_client_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct req_waiter {
	struct waiter w;
	struct channel_req *got;
	int rc;
};

static void ring_turn(void *arg);

int channel_ring_new(struct channel *c)
{
	c->event_in = c->event_out = -1;
	c->turn.fn = ring_turn;
	c->turn.arg = c;
	waitq_init(&c->req_q);
	SLIST_INIT(&c->free_reqs);
	c->reqs = calloc(CHANNEL_ENTRIES, sizeof(*c->reqs));
	if (!c->reqs)
		return -ENOMEM;
	for (unsigned i = CHANNEL_ENTRIES; i-- > 0;)
		SLIST_INSERT_HEAD(&c->free_reqs, &c->reqs[i], link);
	return 0;
}

void channel_ring_free(struct channel *c)
{
	channel_ring_disconnect(c);
	free(c->reqs);
}

static void on_bell(void *arg, int status, int events)
{
	struct channel *c = arg;
	uint64_t n;
	if (read(c->event_in, &n, sizeof(n)) == sizeof(n))
		reactor_defer(c->r, &c->turn);
}

int channel_ring_connect(struct channel *c, int event_out, int event_in)
{
	c->event_out = event_out;
	c->event_in = event_in;
	c->sq_tail = c->cq_head = 0;
	c->bell_due = false;
	int rc = watch_new(&c->watch, c->r, event_in, on_bell, c);
	if (rc == 0)
		rc = watch_set(c->watch, UV_READABLE);
	return rc;
}

void channel_ring_disconnect(struct channel *c)
{
	reactor_defer_cancel(c->r, &c->turn);
	watch_free(c->watch);
	c->watch = NULL;
	if (c->event_in >= 0)
		close(c->event_in);
	if (c->event_out >= 0)
		close(c->event_out);
	c->event_in = c->event_out = -1;
}

/* ---- the table ---- */

static struct channel_req *req_take(struct channel *c)
{
	struct channel_req *req = SLIST_FIRST(&c->free_reqs);
	if (req)
		SLIST_REMOVE_HEAD(&c->free_reqs, link);
	return req;
}

static void req_put(struct channel *c, struct channel_req *req)
{
	struct waiter *w = TAILQ_FIRST(&c->req_q);
	req->used = false;
	if (w) {
		container_of(w, struct req_waiter, w)->got = req;
		waitq_wake_one(&c->req_q);
		return;
	}
	SLIST_INSERT_HEAD(&c->free_reqs, req, link);
}

/* In arrival order. NULL: the channel ended meanwhile. */
static struct channel_req *req_wait(struct channel *c)
{
	struct channel_req *req = req_take(c);
	struct req_waiter me = {.got = NULL};
	if (req)
		return req;
	waitq_enter(&c->req_q, &me.w);
	while (!me.got && !me.rc)
		task_park();
	waitq_leave(&c->req_q, &me.w);
	return me.got;
}

static void req_done(struct channel *c, struct channel_req *req, int res)
{
	req->res = res;
	req->done = true;
	if (req->task)
		task_wake(req->task);
	else
		req_put(c, req);
}

/* ---- the rings ---- */

static void ring_put(struct channel *c, struct channel_req *req)
{
	req->issue++;
	req->issued = true;
	req->sqe.epoch = c->epoch;
	req->sqe.tag = (uint32_t)(req - c->reqs) | (uint32_t)req->issue << 16;
	c->sq[c->sq_tail % CHANNEL_ENTRIES] = req->sqe;
	atomic_store(&c->hdr->sq_tail, ++c->sq_tail);
	/* Awake until the end of this turn: no bell needed from the other side. */
	atomic_store_explicit(&c->hdr->client_sleeping, 0, memory_order_relaxed);
	c->bell_due = true;
	reactor_defer(c->r, &c->turn);
}

static void ring_answer(struct channel *c, const struct channel_cqe *cqe)
{
	unsigned i = cqe->tag & 0xffff;
	struct channel_req *req = i < CHANNEL_ENTRIES ? &c->reqs[i] : NULL;
	if (!req || !req->used || req->done || req->issue != cqe->tag >> 16) {
		log_warn("channel: answer to nothing tag=%x", cqe->tag);
		return;
	}
	if (cqe->res == -ERR_EPOCH_STALE)
		channel_fail(c, -ERR_EPOCH_STALE); /* this one ends with the rest */
	else
		req_done(c, req, cqe->res);
}

static unsigned ring_reap(struct channel *c)
{
	unsigned n = 0;
	uint32_t tail = atomic_load(&c->hdr->cq_tail);
	if (tail - c->cq_head > CHANNEL_ENTRIES) {
		log_error("channel: controller broke the ring, connecting anew");
		channel_sock_shutdown(c->sock);
		return 0;
	}
	for (; c->cq_head != tail && !c->failed; n++) {
		struct channel_cqe cqe = c->cq[c->cq_head % CHANNEL_ENTRIES];
		c->cq_head++;
		ring_answer(c, &cqe);
	}
	if (n)
		atomic_store(&c->hdr->cq_head, c->cq_head);
	return n;
}

static void ring_bell(struct channel *c)
{
	static const uint64_t one = 1;
	if (!c->bell_due)
		return;
	c->bell_due = false;
	if (!channel_must_ring(&c->hdr->server_sleeping))
		return;
	c->stats.doorbells++;
	if (write(c->event_out, &one, sizeof(one)) != sizeof(one))
		log_debug("channel: eventfd full"); /* then the controller is awake */
}

static void ring_turn(void *arg)
{
	struct channel *c = arg;
	if (!c->watch)
		return;
	ring_bell(c);
	if (ring_reap(c) == 0 && c->watch) {
		atomic_store(&c->hdr->client_sleeping, 1);
		if (atomic_load(&c->hdr->cq_tail) == c->cq_head)
			return;
		atomic_store(&c->hdr->client_sleeping, 0);
	}
	if (c->watch)
		reactor_defer(c->r, &c->turn);
}

static int by_order(const void *a, const void *b)
{
	const struct channel_req *x = *(struct channel_req *const *)a;
	const struct channel_req *y = *(struct channel_req *const *)b;
	return x->order < y->order ? -1 : x->order > y->order;
}

void channel_ring_reissue(struct channel *c)
{
	struct channel_req *again[CHANNEL_ENTRIES];
	unsigned n = 0;
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		struct channel_req *req = &c->reqs[i];
		if (!req->used || req->done)
			continue;
		if (req->task)
			again[n++] = req;
		else
			req_done(c, req, -ERR_DISCONNECTED); /* a hint: not worth it */
	}
	qsort(again, n, sizeof(again[0]), by_order);
	for (unsigned i = 0; i < n; i++) {
		if (again[i]->issued)
			c->stats.retries++;
		ring_put(c, again[i]);
	}
}

void channel_ring_fail_all(struct channel *c, int rc)
{
	struct waiter *w;
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++)
		if (c->reqs[i].used && !c->reqs[i].done)
			req_done(c, &c->reqs[i], rc);
	while ((w = TAILQ_FIRST(&c->req_q))) {
		container_of(w, struct req_waiter, w)->rc = rc;
		waitq_wake_one(&c->req_q);
	}
}

static void count_op(struct channel *c, unsigned op)
{
	if (op == CHANNEL_READ || op == CHANNEL_READ_COPY)
		c->stats.reads++;
	else if (op == CHANNEL_WRITE)
		c->stats.writes++;
	else if (op == CHANNEL_FLUSH)
		c->stats.flushes++;
}

static void req_start(struct channel *c, struct channel_req *req, const struct channel_sqe *q,
		      struct task *task)
{
	req->sqe = *q;
	req->task = task;
	req->order = c->next_order++;
	req->used = true;
	req->done = req->issued = false;
	count_op(c, q->op);
	if (c->up)
		ring_put(c, req);
}

int channel_request(struct channel *c, const struct channel_sqe *q)
{
	int rc = channel_refusal(c);
	if (rc)
		return rc;
	channel_ref(c);
	struct channel_req *req = req_wait(c);
	rc = channel_refusal(c);
	if (req && rc == 0) {
		req_start(c, req, q, task_self());
		while (!req->done)
			task_park();
		rc = req->res;
	}
	if (req)
		req_put(c, req);
	channel_unref(c);
	return rc;
}

void channel_request_hint(struct channel *c, const struct channel_sqe *q)
{
	struct channel_req *req = c->up && !channel_refusal(c) ? req_take(c) : NULL;
	if (req)
		req_start(c, req, q, NULL);
}
