/*
 * The head's side of the rings to one controller: submission and completion.
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
#include <unistd.h>

static void ring_turn(void *arg);

void channel_ring_init(struct channel_end *e)
{
	e->event_in = e->event_out = -1;
	e->turn.fn = ring_turn;
	e->turn.arg = e;
}

static void on_bell(void *arg, int status, int events)
{
	struct channel_end *e = arg;
	uint64_t n;
	if (read(e->event_in, &n, sizeof(n)) == sizeof(n))
		reactor_defer(e->c->r, &e->turn);
}

int channel_ring_connect(struct channel_end *e, int event_out, int event_in)
{
	e->event_out = event_out;
	e->event_in = event_in;
	e->sq_tail = e->cq_head = 0;
	e->bell_due = false;
	int rc = watch_new(&e->watch, e->c->r, event_in, on_bell, e);
	if (rc == 0)
		rc = watch_set(e->watch, UV_READABLE);
	return rc;
}

void channel_ring_disconnect(struct channel_end *e)
{
	reactor_defer_cancel(e->c->r, &e->turn);
	watch_free(e->watch);
	e->watch = NULL;
	if (e->event_in >= 0)
		close(e->event_in);
	if (e->event_out >= 0)
		close(e->event_out);
	e->event_in = e->event_out = -1;
}

void channel_ring_put(struct channel_end *e, const struct channel_sqe *q)
{
	e->sq[e->sq_tail % CHANNEL_ENTRIES] = *q;
	atomic_store(&e->hdr->sq_tail, ++e->sq_tail);
	/* Awake until the end of this turn: no bell needed from the other side. */
	atomic_store_explicit(&e->hdr->client_sleeping, 0, memory_order_relaxed);
	e->bell_due = true;
	reactor_defer(e->c->r, &e->turn);
}

static unsigned ring_reap(struct channel_end *e)
{
	unsigned n = 0;
	uint32_t tail = atomic_load(&e->hdr->cq_tail);
	if (tail - e->cq_head > CHANNEL_ENTRIES) {
		log_error("channel: controller broke the ring, connecting anew controller=%s",
			  e->controller);
		channel_sock_shutdown(e->sock);
		return 0;
	}
	for (; e->cq_head != tail && !e->c->failed; n++) {
		struct channel_cqe cqe = e->cq[e->cq_head % CHANNEL_ENTRIES];
		e->cq_head++;
		channel_table_answer(e, &cqe);
	}
	if (n)
		atomic_store(&e->hdr->cq_head, e->cq_head);
	return n;
}

static void ring_bell(struct channel_end *e)
{
	static const uint64_t one = 1;
	if (!e->bell_due)
		return;
	e->bell_due = false;
	if (!channel_must_ring(&e->hdr->server_sleeping))
		return;
	e->c->stats.doorbells++;
	if (write(e->event_out, &one, sizeof(one)) != sizeof(one))
		log_debug("channel: eventfd full"); /* then the controller is awake */
}

static void ring_turn(void *arg)
{
	struct channel_end *e = arg;
	if (!e->watch)
		return;
	ring_bell(e);
	if (ring_reap(e) == 0 && e->watch) {
		atomic_store(&e->hdr->client_sleeping, 1);
		if (atomic_load(&e->hdr->cq_tail) == e->cq_head)
			return;
		atomic_store(&e->hdr->client_sleeping, 0);
	}
	if (e->watch)
		reactor_defer(e->c->r, &e->turn);
}
