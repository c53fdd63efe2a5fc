/*
 * What comes in on a connection. One call of recv fills the rest of the body that is being
 * received, straight in its place, and then the staging buffer with whatever follows: so a read
 * takes many small messages, or one large without a copy.
 *
 * A body's place is: for a call or a one-way message a buffer of its own; for a reply the memory
 * that its caller gave; nowhere for what is not wanted (it was taken over another route, or its
 * caller has given up). Nothing here waits for anybody (invariant 2 of link_path.c).
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

#define READ_AT_ONCE (1024u * 1024) /* then others have their turn */

/* ---- where the body goes ---- */

static void sink_add(struct link_conn *c, void *p, size_t len)
{
	if (len)
		c->sink[c->sink_n++] = (struct iovec){p, len};
}

static void sink_nowhere(struct link_conn *c)
{
	c->sink_at = c->sink_n = 0;
}

void link_conn_forget_call(struct link_conn *c)
{
	if (c->rx_call)
		c->rx_call->rx_conn = NULL;
	c->rx_call = NULL;
	sink_nowhere(c);
}

/* n bytes of the sink are filled. */
static void sink_advance(struct link_conn *c, size_t n)
{
	while (n > 0 && c->sink_at < c->sink_n) {
		struct iovec *v = &c->sink[c->sink_at];
		size_t m = MIN(n, v->iov_len);
		v->iov_base = (char *)v->iov_base + m;
		v->iov_len -= m;
		n -= m;
		if (v->iov_len == 0)
			c->sink_at++;
	}
}

static void sink_copy(struct link_conn *c, const uint8_t *p, size_t n)
{
	while (n > 0 && c->sink_at < c->sink_n) {
		size_t m = MIN(n, c->sink[c->sink_at].iov_len);
		memcpy(c->sink[c->sink_at].iov_base, p, m);
		sink_advance(c, m);
		p += m;
		n -= m;
	}
}

/* ---- a message begins ---- */

static int begin_request(struct link_conn *c, struct link_path_state *p)
{
	const struct link_frame *f = &c->f;
	struct link *l = c->l;
	uint32_t cost = link_cost(f->head_len, f->data_len);
	if (p->rx_cost + cost > p->consumed + p->window)
		return -ERR_PROTO; /* more than it was allowed */
	struct link_msg *m = link_msg_new(l, f, c->path);
	if (!m)
		return -ENOMEM;
	m->cost = cost;
	c->rx_msg = m;
	if (m->buf) {
		sink_add(c, m->head, f->head_len);
		sink_add(c, m->buf->data, f->data_len);
	}
	return 0;
}

static size_t iov_room(const struct link_answer *a)
{
	size_t n = 0;
	for (int i = 0; i < a->iovcnt; i++)
		n += a->iov[i].iov_len;
	return n;
}

static int begin_reply(struct link_conn *c)
{
	struct link_call *call = link_call_find(c->l, c->f.call);
	if (!call || call->timed_out || call->replied)
		return 0;
	/* An answer to what is not acknowledged: the peer is confused. */
	if (!call->acked && call->tx.f.seq > c->l->paths[c->path].acked)
		return -ERR_PROTO;
	const struct link_answer *a = call->ans;
	if (c->f.head_len > (a ? a->head_max : 0) || c->f.data_len > (a ? iov_room(a) : 0)) {
		call->rc = -ERR_PROTO;
		return 0;
	}
	/* Two routes bring it: the later one has the caller's memory. */
	if (call->rx_conn)
		link_conn_forget_call(call->rx_conn);
	call->rx_conn = c;
	c->rx_call = call;
	if (!a)
		return 0;
	sink_add(c, a->head, c->f.head_len);
	size_t left = c->f.data_len;
	for (int i = 0; i < a->iovcnt && left > 0; i++) {
		size_t n = MIN(left, a->iov[i].iov_len);
		sink_add(c, a->iov[i].iov_base, n);
		left -= n;
	}
	return 0;
}

static int begin_message(struct link_conn *c)
{
	struct link_path_state *p = &c->l->paths[c->path];
	int rc = link_path_told(p, c->f.ack, c->f.credit);
	if (rc)
		return rc;
	if (c->f.seq <= p->taken)
		return 0; /* came over another route */
	if (c->f.seq != p->taken + 1)
		return -ERR_PROTO;
	return c->f.kind == LINK_K_REPLY ? begin_reply(c) : begin_request(c, p);
}

/* 0: its body follows; else the connection has to go. */
static int frame_begin(struct link_conn *c)
{
	int rc = link_frame_decode(c->staging + c->from, &c->f);
	if (rc)
		return rc;
	c->from += LINK_FRAME_SIZE;
	c->body_left = c->f.head_len + c->f.data_len;
	c->in_body = true;
	sink_nowhere(c);
	if (link_kind_is_message(c->f.kind))
		return c->state == LINK_C_UP ? begin_message(c) : -ERR_PROTO;
	if (c->f.kind == LINK_K_BEAT || c->f.kind == LINK_K_BYE)
		return c->state == LINK_C_UP
			   ? link_path_told(&c->l->paths[c->path], c->f.ack, c->f.credit)
			   : -ERR_PROTO;
	sink_add(c, c->head, c->f.head_len);
	return 0;
}

/* ---- a message is whole ---- */

static void end_message(struct link_conn *c)
{
	struct link_path_state *p = &c->l->paths[c->path];
	struct link_msg *m = c->rx_msg;
	struct link_call *call = c->rx_call;
	c->rx_msg = NULL;
	c->rx_call = NULL;
	if (call)
		call->rx_conn = NULL;
	if (c->f.seq != p->taken + 1) { /* the other route was faster */
		if (m)
			link_msg_free(m);
		return;
	}
	p->taken++;
	if (m) {
		p->rx_cost += m->cost;
		link_msg_deliver(m);
	} else {
		/* Also when its body did not fit. */
		if (!call && (call = link_call_find(c->l, c->f.call)) && call->rc != -ERR_PROTO)
			call = NULL;
		if (call)
			link_call_replied(call, &c->f, call->rc ? call->rc : c->f.rc);
	}
	link_path_took(p);
}

static void frame_end(struct link_conn *c)
{
	c->in_body = false;
	if (link_kind_is_message(c->f.kind))
		end_message(c);
	else if (c->f.kind == LINK_K_BYE)
		link_session_end(c->l, false, "the peer says goodbye");
	else if (c->f.kind != LINK_K_BEAT)
		link_session_frame(c);
}

/* ---- bytes ---- */

/* What stands in the staging buffer. */
static int parse(struct link_conn *c)
{
	for (;;) {
		uint32_t have = c->to - c->from;
		if (!c->in_body) {
			if (have < LINK_FRAME_SIZE)
				return 0;
			int rc = frame_begin(c);
			if (rc || c->dead)
				return rc;
			continue;
		}
		uint32_t n = MIN(have, c->body_left);
		sink_copy(c, c->staging + c->from, n);
		c->from += n;
		c->body_left -= n;
		if (c->body_left > 0)
			return 0;
		frame_end(c);
		if (c->dead)
			return 0;
	}
}

static ssize_t receive(struct link_conn *c)
{
	struct iovec *iov = c->l->scratch;
	size_t direct = 0;
	int n = 0;
	if (c->from == c->to)
		c->from = c->to = 0;
	if (c->from > 0 && c->to == LINK_STAGING) {
		memmove(c->staging, c->staging + c->from, c->to - c->from);
		c->to -= c->from;
		c->from = 0;
	}
	for (int i = c->sink_at; c->in_body && i < c->sink_n; i++) {
		iov[n++] = c->sink[i];
		direct += c->sink[i].iov_len;
	}
	iov[n++] = (struct iovec){c->staging + c->to, LINK_STAGING - c->to};
	ssize_t got = c->l->o.ops->recv(c->pipe, iov, n);
	if (got <= 0)
		return got;
	size_t m = MIN((size_t)got, direct);
	sink_advance(c, m);
	c->body_left -= (uint32_t)m;
	c->to += (uint32_t)((size_t)got - m);
	return got;
}

static const char *why_text(const struct link_conn *c, int rc)
{
	return rc == -ERR_PROTO ? "it sent what is not a message of the interconnect"
	       : rc == -ENOMEM	? "no memory for a message"
				: err_text(rc);
}

void link_conn_read(struct link_conn *c)
{
	uint32_t total = 0;
	while (!c->dead && total < READ_AT_ONCE) {
		ssize_t n = receive(c);
		if (n == -EAGAIN)
			return;
		if (n == -EACCES)
			link_refused(c->l, c->route,
				     "the peer has not proved who it is: give both controllers the "
				     "same link_psk, or certificates of one authority in their "
				     "names");
		if (n <= 0) {
			link_conn_close(c, n == 0 ? "the peer closed it" : err_text((int)n));
			return;
		}
		c->heard = link_now(c->l);
		if (c->state == LINK_C_UP) {
			c->l->paths[c->path].heard = c->heard;
			atomic_store_explicit(&c->l->rs[c->route].heard, c->heard,
					      memory_order_relaxed);
		}
		total += (uint32_t)n;
		int rc = parse(c);
		if (rc && !c->dead) {
			if (rc == -ERR_PROTO)
				link_refused(c->l, c->route, why_text(c, rc));
			link_conn_close(c, why_text(c, rc));
			return;
		}
	}
}
