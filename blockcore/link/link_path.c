/*
 * A path: messages numbered from 1 in each session, kept until the peer has acknowledged them, and
 * sent again from the first that is not when another route takes over.
 *
 *   waiting   handed over; no number yet: the peer has no room for it, or no call number is free
 *   queue     numbered, in order; `next` is the first not wholly sent on the active route
 *
 * Invariants:
 * 1. A message leaves the queue when it is acknowledged, and not while a part of it is on its way
 *    on the active route: its memory is the caller's.
 * 2. The peer has room for every message in the queue: calls and one-way messages wait for credit
 *    (consumed + window, told in every frame), a reply has its place at the caller. So what comes
 *    in is always taken at once, and a slow handler delays no acknowledgement and no sign of life.
 * 3. Frames of one route carry rising numbers without a gap, beginning at or below the peer's
 *    `taken` + 1: what it has already is dropped there.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

static void on_ack_timer(void *arg)
{
	struct link_path_state *p = arg;
	p->beat_due = true;
	link_kick(p->l);
}

void link_path_init(struct link *l, enum link_path path)
{
	struct link_path_state *p = &l->paths[path];
	TAILQ_INIT(&p->waiting);
	TAILQ_INIT(&p->queue);
	p->window = path == LINK_DATA ? LINK_WINDOW_DATA : LINK_WINDOW_CTL;
	p->l = l;
	p->ack_timer = (struct env_timer){.fn = on_ack_timer, .arg = p};
}

static void txq_end(struct link *l, struct link_txq *q, int rc)
{
	struct link_tx *tx;
	while ((tx = TAILQ_FIRST(q))) {
		TAILQ_REMOVE(q, tx, link);
		tx->state = LINK_TX_IDLE;
		tx->done(l, tx, rc);
	}
}

/* All that was on its way ends with rc; everything counts from the start again. */
void link_path_reset(struct link_path_state *p, int rc)
{
	ASSERT(!p->active);
	p->next = NULL;
	p->seq = p->acked = p->begun = p->cost = p->peer_credit = 0;
	p->taken = p->ack_told = p->rx_cost = p->consumed = p->credit_told = 0;
	p->beat_due = false;
	env_timer_stop(p->l->o.env, &p->ack_timer);
	struct link_txq queue = TAILQ_HEAD_INITIALIZER(queue);
	struct link_txq waiting = TAILQ_HEAD_INITIALIZER(waiting);
	TAILQ_CONCAT(&queue, &p->queue, link);
	TAILQ_CONCAT(&waiting, &p->waiting, link);
	txq_end(p->l, &queue, rc);
	txq_end(p->l, &waiting, rc);
}

static void queue_add(struct link_path_state *p, struct link_tx *tx)
{
	tx->f.seq = ++p->seq;
	tx->state = LINK_TX_QUEUED;
	TAILQ_INSERT_TAIL(&p->queue, tx, link);
	if (!p->next)
		p->next = tx;
}

static bool has_room(struct link_path_state *p, struct link_tx *tx)
{
	if (p->cost + tx->cost > p->peer_credit)
		return false;
	return tx->verb != LINK_V_CALL ||
	       link_call_take_slot(p->l, container_of(tx, struct link_call, tx));
}

static void admit(struct link_path_state *p)
{
	struct link_tx *tx;
	while ((tx = TAILQ_FIRST(&p->waiting)) && has_room(p, tx)) {
		TAILQ_REMOVE(&p->waiting, tx, link);
		p->cost += tx->cost;
		queue_add(p, tx);
	}
}

void link_path_add(struct link_path_state *p, struct link_tx *tx)
{
	if (tx->verb == LINK_V_REPLY) {
		queue_add(p, tx);
	} else {
		tx->state = LINK_TX_WAITING;
		TAILQ_INSERT_TAIL(&p->waiting, tx, link);
	}
	link_kick(p->l);
}

void link_path_remove_waiting(struct link_path_state *p, struct link_tx *tx)
{
	ASSERT(tx->state == LINK_TX_WAITING);
	TAILQ_REMOVE(&p->waiting, tx, link);
	tx->state = LINK_TX_IDLE;
}

/* Invariant 1. */
static void release(struct link_path_state *p)
{
	struct link_tx *tx;
	while ((tx = TAILQ_FIRST(&p->queue)) && tx->f.seq <= p->acked) {
		if (p->next == tx && p->active && p->active->off > 0)
			return;
		if (p->next == tx)
			p->next = TAILQ_NEXT(tx, link);
		TAILQ_REMOVE(&p->queue, tx, link);
		tx->state = LINK_TX_IDLE;
		tx->done(p->l, tx, 0);
	}
}

int link_path_told(struct link_path_state *p, uint64_t ack, uint64_t credit)
{
	if (ack > p->begun)
		return -ERR_PROTO;
	if (credit > p->peer_credit) {
		p->peer_credit = credit;
		if (!TAILQ_EMPTY(&p->waiting))
			link_kick(p->l);
	}
	if (ack > p->acked) {
		p->acked = ack;
		release(p);
	}
	return 0;
}

void link_path_stamp(struct link_path_state *p, struct link_frame *f)
{
	f->ack = p->ack_told = p->taken;
	f->credit = p->credit_told = p->consumed + p->window;
}

/* One more message was taken: the peer is told with what goes there anyway, soon, or now. */
void link_path_took(struct link_path_state *p)
{
	if (p->taken - p->ack_told >= LINK_ACK_MSGS) {
		p->beat_due = true;
		link_kick(p->l);
	} else if (!p->ack_timer.impl) {
		env_timer_start(p->l->o.env, &p->ack_timer, LINK_ACK_NS);
	}
}

void link_path_consumed(struct link_path_state *p, uint32_t cost)
{
	p->consumed += cost;
	if (p->consumed + p->window - p->credit_told >= p->window / 4) {
		p->beat_due = true;
		link_kick(p->l);
	}
}

/* ---- routes ---- */

static struct link_conn *best_conn(struct link *l, enum link_path path, unsigned *ret)
{
	for (unsigned i = 0; i < l->o.nroutes; i++)
		if (l->routes[i].path == path && l->rs[i].conn) {
			*ret = i;
			return l->rs[i].conn;
		}
	return NULL;
}

static uint64_t count_sent(struct link_path_state *p)
{
	uint64_t n = 0;
	struct link_tx *tx;
	TAILQ_FOREACH (tx, &p->queue, link) {
		if (tx == p->next)
			break;
		n++;
	}
	return n;
}

/* The active route is gone, or there was none: the first that is up carries on. */
void link_path_pick(struct link *l, enum link_path path)
{
	struct link_path_state *p = &l->paths[path];
	unsigned route = 0;
	if (p->active)
		return;
	p->active = best_conn(l, path, &route);
	if (!p->active)
		return;
	ASSERT(p->active->off == 0);
	if (p->begun > 0) {
		atomic_fetch_add(&l->rs[route].failovers, 1);
		atomic_fetch_add(&l->rs[route].resent, count_sent(p));
	}
	release(p);
	p->next = TAILQ_FIRST(&p->queue);
	p->beat_due = true;
	link_kick(l);
}

/* ---- sending ---- */

static uint32_t tx_size(const struct link_tx *tx)
{
	return LINK_FRAME_SIZE + tx->f.head_len + tx->f.data_len;
}

struct gather {
	struct iovec *iov;
	int n;
	size_t bytes;
	uint32_t skip; /* bytes of what follows that were sent before */
};

static void gather_add(struct gather *g, const void *p, size_t len)
{
	if (g->skip >= len) {
		g->skip -= (uint32_t)len;
		return;
	}
	g->iov[g->n++] = (struct iovec){(char *)p + g->skip, len - g->skip};
	g->bytes += len - g->skip;
	g->skip = 0;
}

static void gather_tx(struct gather *g, const struct link_tx *tx, const uint8_t *hdr)
{
	size_t left = tx->f.data_len;
	gather_add(g, hdr, LINK_FRAME_SIZE);
	if (tx->f.head_len)
		gather_add(g, tx->head, tx->f.head_len);
	for (int i = 0; i < tx->iovcnt && left > 0; i++) {
		size_t n = MIN(left, tx->iov[i].iov_len);
		if (n)
			gather_add(g, tx->iov[i].iov_base, n);
		left -= n;
	}
}

static void gather_ctl(struct gather *g, const struct link_conn *c)
{
	if (c->ctl_to > c->ctl_from)
		gather_add(g, c->ctl + c->ctl_from, c->ctl_to - c->ctl_from);
}

#define GATHER_BYTES (512u * 1024)

/* A message of which a part is sent goes on first; then what the link itself has to say. */
static void gather_all(struct link_conn *c, struct link_path_state *p, struct gather *g)
{
	unsigned k = 0;
	struct link_tx *tx = p ? p->next : NULL;
	if (tx && c->off > 0) {
		g->skip = c->off;
		gather_tx(g, tx, c->hdrs[0]);
		tx = TAILQ_NEXT(tx, link);
		k = 1;
	}
	gather_ctl(g, c);
	for (; tx && k < LINK_BATCH && g->n + tx->iovcnt + 2 < LINK_SCRATCH &&
	       g->bytes < GATHER_BYTES;
	     tx = TAILQ_NEXT(tx, link), k++) {
		link_path_stamp(p, &tx->f);
		link_frame_encode(c->hdrs[k], &tx->f);
		gather_tx(g, tx, c->hdrs[k]);
	}
}

static void ctl_sent(struct link_conn *c, size_t *n)
{
	size_t m = MIN(*n, c->ctl_to - c->ctl_from);
	c->ctl_from += (uint32_t)m;
	*n -= m;
	if (c->ctl_from == c->ctl_to)
		c->ctl_from = c->ctl_to = 0;
}

/* n bytes of what gather_all() listed are gone. */
static void sent(struct link_conn *c, struct link_path_state *p, size_t n)
{
	struct link_route_state *rs = &c->l->rs[c->route];
	bool ctl = c->off == 0;
	atomic_fetch_add_explicit(&rs->bytes, n, memory_order_relaxed);
	if (ctl)
		ctl_sent(c, &n);
	for (unsigned k = 0; n > 0 && p && p->next; k++) {
		struct link_tx *tx = p->next;
		size_t m = MIN(n, tx_size(tx) - c->off);
		p->begun = MAX(p->begun, tx->f.seq);
		n -= m;
		c->off += (uint32_t)m;
		if (c->off < tx_size(tx)) {
			if (k > 0)
				memcpy(c->hdrs[0], c->hdrs[k], LINK_FRAME_SIZE);
			break;
		}
		c->off = 0;
		p->next = TAILQ_NEXT(tx, link);
		atomic_fetch_add_explicit(&rs->messages, 1, memory_order_relaxed);
		if (!ctl)
			ctl_sent(c, &n);
		ctl = true;
	}
	if (p && c->off == 0)
		release(p);
}

void link_conn_flush(struct link_conn *c)
{
	struct link *l = c->l;
	struct link_path_state *p = &l->paths[c->path];
	if (p->active != c)
		p = NULL;
	while (!c->dead && c->writable) {
		struct gather g = {.iov = l->scratch};
		gather_all(c, p, &g);
		if (g.n == 0)
			return;
		ssize_t n = l->o.ops->send(c->pipe, g.iov, g.n);
		if (n == -EAGAIN) {
			c->writable = false;
			return;
		}
		if (n < 0) {
			link_conn_close(c, err_text((int)n));
			return;
		}
		ASSERT((size_t)n <= g.bytes);
		c->sent = link_now(l);
		sent(c, p, (size_t)n);
	}
}

void link_path_flush(struct link *l, enum link_path path)
{
	struct link_path_state *p = &l->paths[path];
	struct link_conn *c = p->active;
	admit(p);
	if (!c)
		return;
	link_conn_flush(c);
	if (c->dead || !p->beat_due)
		return;
	/* What just went out may have told it all. */
	p->beat_due = false;
	if (p->ack_told != p->taken || p->credit_told != p->consumed + p->window)
		link_conn_beat(c);
}
