/*
 * Calls and one-way messages: from a task of any reactor to the home reactor, which has all the
 * rest, and back. What is handed over is a list under a short lock, and a wake of the pump task
 * when the list was empty; nothing is allocated for it.
 *
 * A call lives on its caller's stack. It ends when its reply is whole *and* its own message is
 * acknowledged (so nobody looks at the caller's memory any more), or when the session does. One
 * that has timed out waits for the acknowledgement alone: the peer gives it without regard to
 * handlers, or counts as gone after dead_ns.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void call_end(struct link_call *c, int rc)
{
	struct link *l = c->link;
	CHECK(c, LINK_CALL_MAGIC);
	ASSERT(c->tx.state == LINK_TX_IDLE);
	env_timer_stop(l->o.env, &c->timer);
	if (c->rx_conn)
		link_conn_forget_call(c->rx_conn);
	if (c->has_slot) {
		unsigned slot = (unsigned)(c->tx.f.call & 0xffff);
		l->calls[slot].call = NULL;
		l->free_calls[l->nfree_calls++] = (uint16_t)slot;
	}
	struct task *t = c->task;
	c->rc = rc;
	c->magic = 0;
	atomic_store(&c->done, true); /* from here on it is the caller's */
	task_wake(t);
}

static void call_step(struct link_call *c)
{
	if (c->acked && c->replied)
		call_end(c, c->rc);
	else if (c->acked && c->timed_out)
		call_end(c, -ETIMEDOUT);
}

static void call_tx_done(struct link *l, struct link_tx *tx, int rc)
{
	struct link_call *c = container_of(tx, struct link_call, tx);
	c->acked = true;
	if (rc)
		call_end(c, rc);
	else
		call_step(c);
}

static void on_timeout(void *arg)
{
	struct link_call *c = arg;
	if (c->replied)
		return;
	c->timed_out = true;
	if (c->rx_conn)
		link_conn_forget_call(c->rx_conn);
	if (c->tx.state == LINK_TX_WAITING) {
		link_path_remove_waiting(&c->link->paths[c->tx.path], &c->tx);
		c->acked = true;
	}
	call_step(c);
}

bool link_call_take_slot(struct link *l, struct link_call *c)
{
	if (c->has_slot)
		return true;
	if (l->nfree_calls == 0)
		return false;
	unsigned slot = l->free_calls[--l->nfree_calls];
	c->has_slot = true;
	c->tx.f.call = ((uint64_t)++l->calls[slot].gen << 16 | slot) + (1ull << 48);
	l->calls[slot].call = c;
	return true;
}

struct link_call *link_call_find(struct link *l, uint64_t id)
{
	unsigned slot = (unsigned)(id & 0xffff);
	struct link_call *c = slot < LINK_CALLS_MAX ? l->calls[slot].call : NULL;
	return c && c->tx.f.call == id ? c : NULL;
}

void link_call_replied(struct link_call *c, const struct link_frame *f, int rc)
{
	c->replied = true;
	c->rc = rc;
	if (c->ans && rc != -ERR_PROTO) {
		c->ans->head_len = f->head_len;
		c->ans->data_len = f->data_len;
	}
	call_step(c);
}

/* Those whose message was taken and whose reply has not come. */
void link_calls_end(struct link *l, int rc)
{
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++) {
		struct link_call *c = l->calls[i].call;
		if (c && c->tx.state == LINK_TX_IDLE)
			call_end(c, rc);
	}
}

/* ---- from any reactor to home ---- */

static void run_send(struct link *l, struct link_tx *tx)
{
	uint64_t now = atomic_load(&l->session);
	if (tx->session != now || !now) {
		tx->done(l, tx, l->closing ? -ERR_SHUTDOWN : -ERR_DISCONNECTED);
		return;
	}
	if (tx->verb == LINK_V_CALL) {
		struct link_call *c = container_of(tx, struct link_call, tx);
		c->timer = (struct env_timer){.fn = on_timeout, .arg = c};
		if (c->timeout_ns)
			env_timer_start(l->o.env, &c->timer, c->timeout_ns);
	}
	link_path_add(&l->paths[tx->path], tx);
}

static void run(struct link *l, struct link_tx *tx)
{
	switch (tx->verb) {
	case LINK_V_CALL:
	case LINK_V_SEND:
		run_send(l, tx);
		break;
	case LINK_V_REPLY:
		link_reply_run(container_of(tx, struct link_msg, tx));
		break;
	case LINK_V_DONE:
		link_done_run(container_of(tx, struct link_msg, tx));
		break;
	}
}

void link_submit(struct link *l, struct link_tx *tx)
{
	if (link_at_home(l)) {
		run(l, tx);
		return;
	}
	/* What is handed over may be done, and the link closed, before this thread is out of here.
	 */
	atomic_fetch_add(&l->inside, 1);
	pthread_mutex_lock(&l->lock);
	bool first = STAILQ_EMPTY(&l->submitq);
	STAILQ_INSERT_TAIL(&l->submitq, tx, submitted);
	if (first)
		task_wake(l->pump);
	pthread_mutex_unlock(&l->lock);
	atomic_fetch_sub(&l->inside, 1);
}

void link_submitted_run(struct link *l)
{
	struct link_submitq q = STAILQ_HEAD_INITIALIZER(q);
	struct link_tx *tx;
	pthread_mutex_lock(&l->lock);
	STAILQ_CONCAT(&q, &l->submitq);
	pthread_mutex_unlock(&l->lock);
	while ((tx = STAILQ_FIRST(&q))) {
		STAILQ_REMOVE_HEAD(&q, submitted);
		run(l, tx);
	}
}

/* ---- what users call ---- */

static size_t iov_bytes(const struct iovec *iov, int n)
{
	size_t sum = 0;
	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

int link_call(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const struct iovec *iov, int iovcnt,
	      struct link_answer *ans, uint64_t timeout_ns)
{
	CHECK(l, LINK_MAGIC);
	size_t data_len = iov_bytes(iov, iovcnt);
	ASSERT(task_self() && path < LINK_PATHS && s < LINK_SVC_MAX);
	ASSERT(head_len <= LINK_HEAD_MAX && data_len <= LINK_DATA_MAX && iovcnt <= LINK_IOV_MAX);
	ASSERT(!ans || ans->iovcnt <= LINK_IOV_MAX);
	uint64_t session = atomic_load(&l->session);
	if (!session)
		return -ERR_DISCONNECTED;
	struct link_call c = {
	    .magic = LINK_CALL_MAGIC,
	    .tx = {.verb = LINK_V_CALL,
		   .path = path,
		   .session = session,
		   .f = {.kind = LINK_K_CALL,
			 .service = (uint8_t)s,
			 .type = type,
			 .head_len = head_len,
			 .data_len = (uint32_t)data_len},
		   .cost = link_cost(head_len, (uint32_t)data_len),
		   .head = head,
		   .iov = iov,
		   .iovcnt = iovcnt,
		   .done = call_tx_done},
	    .task = task_self(),
	    .ans = ans,
	    .timeout_ns = timeout_ns,
	    .link = l,
	};
	if (ans)
		ans->head_len = ans->data_len = 0;
	atomic_fetch_add(&l->inside, 1);
	atomic_fetch_add_explicit(&l->sent_by[s], 1, memory_order_relaxed);
	link_submit(l, &c.tx);
	while (!atomic_load(&c.done))
		task_park();
	int rc = c.rc;
	atomic_fetch_sub(&l->inside, 1);
	return rc;
}

static void send_tx_done(struct link *l, struct link_tx *tx, int rc)
{
	struct link_send *s = container_of(tx, struct link_send, tx);
	atomic_fetch_sub(&l->sends, s->buf->size);
	link_buf_put(l->pool, s->buf);
}

/* The message and its description share one buffer. */
int link_send(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const void *data, uint32_t data_len)
{
	CHECK(l, LINK_MAGIC);
	ASSERT(path < LINK_PATHS && s < LINK_SVC_MAX);
	ASSERT(head_len <= LINK_HEAD_MAX && data_len <= LINK_DATA_MAX);
	uint64_t session = atomic_load(&l->session);
	if (!session)
		return -ERR_DISCONNECTED;
	if (atomic_load(&l->sends) > LINK_SENDS_MAX)
		return -ENOBUFS;
	struct link_buf *b =
	    link_buf_get(l->pool, (uint32_t)sizeof(struct link_send) + head_len + data_len);
	if (!b)
		return -ENOMEM;
	atomic_fetch_add(&l->sends, b->size);
	struct link_send *m = (struct link_send *)b->data;
	uint8_t *body = b->data + sizeof(*m);
	if (head_len)
		memcpy(body, head, head_len);
	if (data_len)
		memcpy(body + head_len, data, data_len);
	*m = (struct link_send){
	    .tx = {.verb = LINK_V_SEND,
		   .path = path,
		   .session = session,
		   .f = {.kind = LINK_K_SEND,
			 .service = (uint8_t)s,
			 .type = type,
			 .head_len = head_len,
			 .data_len = data_len},
		   .cost = link_cost(head_len, data_len),
		   .head = body,
		   .iovcnt = 1,
		   .done = send_tx_done},
	    .buf = b,
	    .iov = {body + head_len, data_len},
	};
	m->tx.iov = &m->iov;
	atomic_fetch_add_explicit(&l->sent_by[s], 1, memory_order_relaxed);
	link_submit(l, &m->tx);
	return 0;
}
