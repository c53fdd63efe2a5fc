/*
 * Messages that came in, from their first byte to link_done() or to the acknowledgement of their
 * reply. There are as many as the windows of both paths allow at once, made at the start.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

#define DATA_ALIGN 64u

/* Its memory for head and data, or none when it has neither. NULL: no memory. */
struct link_msg *link_msg_new(struct link *l, const struct link_frame *f, enum link_path path)
{
	struct link_msg *m = TAILQ_FIRST(&l->free_msgs);
	struct link_buf *b = NULL;
	if (!m)
		return NULL;
	uint32_t at = ROUND_UP(f->data_len, DATA_ALIGN);
	if (f->head_len + f->data_len > 0 && !(b = link_buf_get(l->pool, at + f->head_len)))
		return NULL;
	TAILQ_REMOVE(&l->free_msgs, m, link);
	*m = (struct link_msg){.magic = LINK_MSG_MAGIC,
			       .l = l,
			       .f = *f,
			       .path = path,
			       .session = l->count,
			       .buf = b,
			       .head = b ? b->data + at : NULL};
	l->msgs_out++;
	return m;
}

static bool of_this_session(const struct link_msg *m)
{
	return m->l->peer_session && m->session == m->l->count;
}

void link_msg_free(struct link_msg *m)
{
	struct link *l = m->l;
	CHECK(m, LINK_MSG_MAGIC);
	link_buf_put(l->pool, m->buf);
	link_buf_put(l->pool, m->copy);
	link_buf_put(l->pool, m->iov_copy);
	m->magic = 0;
	TAILQ_INSERT_HEAD(&l->free_msgs, m, link);
	l->msgs_out--;
}

static void msg_over(struct link_msg *m)
{
	if (of_this_session(m))
		link_path_consumed(&m->l->paths[m->path], m->cost);
	link_msg_free(m);
}

static void msg_task(void *arg)
{
	struct link_msg *m = arg;
	m->fn(m->fn_arg, m);
}

static void refuse(struct link_msg *m, int rc)
{
	link_reply(m, rc, NULL, 0, NULL, 0, NULL, NULL);
}

static void start(struct link_msg *m)
{
	struct link *l = m->l;
	pthread_mutex_lock(&l->lock);
	m->fn = l->handlers[m->f.service].fn;
	m->fn_arg = l->handlers[m->f.service].arg;
	pthread_mutex_unlock(&l->lock);
	if (!m->fn)
		refuse(m, -EOPNOTSUPP);
	else if (task_start(msg_task, m))
		refuse(m, -ENOMEM);
}

/* Nothing is handled before up() has been called. */
void link_msg_deliver(struct link_msg *m)
{
	struct link *l = m->l;
	if (l->told == l->count && TAILQ_EMPTY(&l->held))
		start(m);
	else
		TAILQ_INSERT_TAIL(&l->held, m, link);
}

void link_msgs_release(struct link *l)
{
	struct link_msg *m;
	while ((m = TAILQ_FIRST(&l->held))) {
		TAILQ_REMOVE(&l->held, m, link);
		start(m);
	}
}

void link_msgs_drop_held(struct link *l)
{
	struct link_msg *m;
	while ((m = TAILQ_FIRST(&l->held))) {
		TAILQ_REMOVE(&l->held, m, link);
		link_msg_free(m);
	}
}

void link_serve(struct link *l, enum link_service s, link_handler *fn, void *arg)
{
	CHECK(l, LINK_MAGIC);
	ASSERT(s < LINK_SVC_MAX);
	pthread_mutex_lock(&l->lock);
	l->handlers[s].fn = fn;
	l->handlers[s].arg = arg;
	pthread_mutex_unlock(&l->lock);
}

uint16_t link_msg_type(const struct link_msg *m)
{
	CHECK(m, LINK_MSG_MAGIC);
	return m->f.type;
}

bool link_msg_is_call(const struct link_msg *m)
{
	CHECK(m, LINK_MSG_MAGIC);
	return m->f.kind == LINK_K_CALL;
}

bool link_msg_wanted(const struct link_msg *m)
{
	CHECK(m, LINK_MSG_MAGIC);
	return atomic_load(&m->l->session) == m->session;
}

const void *link_msg_head(const struct link_msg *m, uint32_t *ret_len)
{
	CHECK(m, LINK_MSG_MAGIC);
	*ret_len = m->f.head_len;
	return m->head;
}

const void *link_msg_data(const struct link_msg *m, uint32_t *ret_len)
{
	CHECK(m, LINK_MSG_MAGIC);
	*ret_len = m->f.data_len;
	return m->buf ? m->buf->data : NULL;
}

/* ---- replies ---- */

static void reply_tx_done(struct link *l, struct link_tx *tx, int rc)
{
	struct link_msg *m = container_of(tx, struct link_msg, tx);
	void (*sent)(void *) = m->sent;
	void *arg = m->sent_arg;
	if (m->copy)
		atomic_fetch_sub(&l->copies, m->copy->size);
	msg_over(m);
	if (sent)
		sent(arg);
}

static bool copy_reply(struct link_msg *m, const void *head, const struct iovec *iov, int iovcnt)
{
	struct link *l = m->l;
	uint32_t size = m->tx.f.head_len + m->tx.f.data_len;
	m->tx.iovcnt = 0;
	if (size == 0)
		return true;
	m->copy = link_buf_get(l->pool, size);
	if (!m->copy)
		return false;
	atomic_fetch_add(&l->copies, m->copy->size);
	uint8_t *p = m->copy->data;
	if (m->tx.f.head_len)
		memcpy(p, head, m->tx.f.head_len);
	p += m->tx.f.head_len;
	m->iovs[0] = (struct iovec){p, m->tx.f.data_len};
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len)
			memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
	m->tx.head = m->copy->data;
	m->tx.iov = m->iovs;
	m->tx.iovcnt = 1;
	return true;
}

/* The list itself may be on the caller's stack. */
static bool copy_iov(struct link_msg *m, const struct iovec *iov, int iovcnt)
{
	struct iovec *to = m->iovs;
	size_t size = (size_t)iovcnt * sizeof(*iov);
	if (iovcnt > LINK_REPLY_IOVS) {
		m->iov_copy = link_buf_get(m->l->pool, (uint32_t)size);
		if (!m->iov_copy)
			return false;
		to = (struct iovec *)m->iov_copy->data;
	}
	if (size)
		memcpy(to, iov, size);
	m->tx.iov = to;
	return true;
}

void link_reply(struct link_msg *m, int rc, const void *head, uint32_t head_len,
		const struct iovec *iov, int iovcnt, void (*sent)(void *arg), void *arg)
{
	CHECK(m, LINK_MSG_MAGIC);
	size_t data_len = 0;
	for (int i = 0; i < iovcnt; i++)
		data_len += iov[i].iov_len;
	ASSERT(!m->answered && rc <= 0);
	ASSERT(head_len <= LINK_HEAD_MAX && data_len <= LINK_DATA_MAX && iovcnt <= LINK_IOV_MAX);
	m->answered = true;
	m->sent = sent;
	m->sent_arg = arg;
	if (m->f.kind == LINK_K_SEND) { /* its sender wants none */
		m->tx = (struct link_tx){.verb = LINK_V_DONE};
		link_submit(m->l, &m->tx);
		return;
	}
	m->tx = (struct link_tx){
	    .verb = LINK_V_REPLY,
	    .path = m->path,
	    .session = m->session,
	    .f = {.kind = LINK_K_REPLY,
		  .service = m->f.service,
		  .type = m->f.type,
		  .call = m->f.call,
		  .head_len = head_len,
		  .data_len = (uint32_t)data_len,
		  .rc = rc},
	    .head = head,
	    .iovcnt = iovcnt,
	    .done = reply_tx_done,
	};
	if (sent ? !copy_iov(m, iov, iovcnt) : !copy_reply(m, head, iov, iovcnt)) {
		m->tx.f.rc = -ENOMEM;
		m->tx.f.head_len = m->tx.f.data_len = 0;
		m->tx.iovcnt = 0;
	}
	atomic_fetch_add_explicit(&m->l->sent_by[m->f.service], 1, memory_order_relaxed);
	link_submit(m->l, &m->tx);
}

void link_reply_run(struct link_msg *m)
{
	struct link *l = m->l;
	if (!of_this_session(m)) {
		m->tx.done(l, &m->tx, -ERR_DISCONNECTED);
		return;
	}
	link_path_add(&l->paths[m->path], &m->tx);
	if (atomic_load(&l->copies) > LINK_COPIES_MAX)
		link_session_end(l, false, "the peer does not take its replies");
}

void link_done(struct link_msg *m)
{
	CHECK(m, LINK_MSG_MAGIC);
	ASSERT(!m->answered);
	if (m->f.kind == LINK_K_CALL) { /* its sender waits */
		link_reply(m, -ERR_PROTO, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	m->answered = true;
	m->tx = (struct link_tx){.verb = LINK_V_DONE};
	link_submit(m->l, &m->tx);
}

void link_done_run(struct link_msg *m)
{
	void (*sent)(void *) = m->sent;
	void *arg = m->sent_arg;
	msg_over(m);
	if (sent)
		sent(arg);
}
