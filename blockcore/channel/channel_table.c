/*
 * The table of requests in flight, one for all controllers.
 *
 * A request keeps its place in the table from submission until its task has
 * taken the result, whatever happens to connections and owners meanwhile. It is
 * issued to the owner of its volume; when that is not known, it waits.
 *
 * It is issued again only when the issue before can do nothing any more:
 *
 *   it was answered -ERR_NOT_OWNER          nothing was carried out
 *   the same controller, a new connection   it welcomes only after everything of the
 *                                           earlier connection has ended
 *   the other controller, which owns the    ownership goes on only from a controller that
 *   volume under a higher epoch             has ended (fenced), or has waited for all that
 *                                           was under way; what it takes from the ring later
 *                                           bears the old epoch and is refused
 *
 * `issue` is counted up each time, so that an answer counts once.
 *
 * A WRITE with PREFLUSH is for the memory that its caller knew: where the volume's is another one
 * by now, what was to be flushed is lost, and the request ends with -ERR_MEDIUM instead.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>

struct req_waiter {
	struct waiter w;
	struct channel_req *got;
	int rc;
};

int channel_table_new(struct channel *c)
{
	waitq_init(&c->req_q);
	SLIST_INIT(&c->free_reqs);
	c->reqs = calloc(CHANNEL_ENTRIES, sizeof(*c->reqs));
	if (!c->reqs)
		return -ENOMEM;
	for (unsigned i = CHANNEL_ENTRIES; i-- > 0;)
		SLIST_INSERT_HEAD(&c->free_reqs, &c->reqs[i], link);
	return 0;
}

void channel_table_free(struct channel *c)
{
	free(c->reqs);
}

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
	struct channel_route *route = req->used ? req->route : NULL;
	req->used = false;
	if (w) {
		container_of(w, struct req_waiter, w)->got = req;
		waitq_wake_one(&c->req_q);
	} else {
		SLIST_INSERT_HEAD(&c->free_reqs, req, link);
	}
	if (route)
		channel_route_put(c, route);
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
	req->in_ring = false;
	if (req->task)
		task_wake(req->task);
	else
		req_put(c, req);
}

/* ---- issuing ---- */

static void req_issue(struct channel *c, struct channel_req *req)
{
	struct channel_end *e = req->route->owner;
	if ((req->sqe.flags & CHANNEL_PREFLUSH) && req->sqe.memory_id != req->route->memory_id) {
		req_done(c, req, -ERR_MEDIUM);
		return;
	}
	if (req->issued)
		c->stats.retries++;
	req->issue++;
	req->issued = req->in_ring = true;
	req->ended = false;
	req->end = e;
	req->serial = e->serial;
	req->sqe.epoch = c->epoch;
	req->sqe.owner_epoch = req->route->epoch;
	req->sqe.tag = (uint32_t)(req - c->reqs) | (uint32_t)req->issue << 16;
	e->requests++;
	channel_ring_put(e, &req->sqe);
}

/* Can the issue before do nothing any more? */
static bool may_issue(const struct channel_req *req)
{
	const struct channel_route *route = req->route;
	if (!route->owner || req->in_ring)
		return false;
	if (!req->issued || req->ended || req->end == route->owner)
		return true;
	return route->epoch > req->sqe.owner_epoch;
}

static int by_order(const void *a, const void *b)
{
	const struct channel_req *x = *(struct channel_req *const *)a;
	const struct channel_req *y = *(struct channel_req *const *)b;
	return x->order < y->order ? -1 : x->order > y->order;
}

void channel_table_issue(struct channel *c, struct channel_route *route)
{
	struct channel_req *again[CHANNEL_ENTRIES];
	unsigned n = 0;
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		struct channel_req *req = &c->reqs[i];
		if (req->used && !req->done && req->route == route && may_issue(req))
			again[n++] = req;
	}
	qsort(again, n, sizeof(again[0]), by_order);
	for (unsigned i = 0; i < n; i++)
		req_issue(c, again[i]);
}

void channel_table_unring(struct channel_end *e)
{
	struct channel *c = e->c;
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		struct channel_req *req = &c->reqs[i];
		if (!req->used || req->done || !req->in_ring || req->end != e)
			continue;
		req->in_ring = false;
		if (!req->task)
			req_done(c, req, -ERR_DISCONNECTED); /* a hint: not worth it */
	}
}

/* Ownership changed on the way: nothing was done, it goes to whoever owns the volume now. */
static void req_elsewhere(struct channel *c, struct channel_req *req)
{
	struct channel_route *route = req->route;
	req->in_ring = false;
	req->ended = true;
	if (!req->task)
		req_done(c, req, -ERR_NOT_OWNER);
	else if (route->owner == req->end && route->epoch == req->sqe.owner_epoch)
		channel_route_doubt(c, route);
	else if (may_issue(req))
		req_issue(c, req);
}

void channel_table_answer(struct channel_end *e, const struct channel_cqe *cqe)
{
	struct channel *c = e->c;
	unsigned i = cqe->tag & 0xffff;
	struct channel_req *req = i < CHANNEL_ENTRIES ? &c->reqs[i] : NULL;
	if (!req || !req->used || req->done || !req->in_ring || req->end != e ||
	    req->issue != cqe->tag >> 16) {
		log_warn("channel: answer to nothing tag=%x", cqe->tag);
		return;
	}
	if (cqe->res == -ERR_EPOCH_STALE)
		channel_fail(c, -ERR_EPOCH_STALE); /* this one ends with the rest */
	else if (cqe->res == -ERR_NOT_OWNER)
		req_elsewhere(c, req);
	else
		req_done(c, req, cqe->res);
}

void channel_table_fail(struct channel *c, struct channel_route *route, int rc)
{
	struct waiter *w;
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		struct channel_req *req = &c->reqs[i];
		if (req->used && !req->done && (!route || (req->route == route && !req->in_ring)))
			req_done(c, req, rc);
	}
	while (!route && (w = TAILQ_FIRST(&c->req_q))) {
		container_of(w, struct req_waiter, w)->rc = rc;
		waitq_wake_one(&c->req_q);
	}
}

/* ---- requests ---- */

static void count_op(struct channel *c, unsigned op)
{
	if (op == CHANNEL_READ || op == CHANNEL_READ_COPY)
		c->stats.reads++;
	else if (op == CHANNEL_WRITE)
		c->stats.writes++;
	else if (op == CHANNEL_FLUSH)
		c->stats.flushes++;
}

static void req_start(struct channel *c, struct channel_req *req, struct channel_route *route,
		      const struct channel_sqe *q, struct task *task)
{
	req->sqe = *q;
	req->sqe.volume = route->volume;
	req->task = task;
	req->route = route;
	route->users++;
	req->order = c->next_order++;
	req->used = true;
	req->done = req->issued = req->in_ring = req->ended = false;
	count_op(c, q->op);
	if (route->owner)
		req_issue(c, req);
}

static int refusal(const struct channel *c, const struct channel_route *route)
{
	int rc = channel_refusal(c);
	return rc ? rc : route->gone;
}

int channel_request(struct channel *c, struct channel_route *route, const struct channel_sqe *q)
{
	int rc = refusal(c, route);
	if (rc)
		return rc;
	channel_ref(c);
	struct channel_req *req = req_wait(c);
	rc = refusal(c, route);
	if (req && rc == 0) {
		req_start(c, req, route, q, task_self());
		while (!req->done)
			task_park();
		rc = req->res;
	}
	if (req)
		req_put(c, req);
	channel_unref(c);
	return rc;
}

void channel_request_hint(struct channel *c, struct channel_route *route,
			  const struct channel_sqe *q)
{
	struct channel_req *req = NULL;
	if (route->owner && !refusal(c, route))
		req = req_take(c);
	if (req)
		req_start(c, req, route, q, NULL);
}
