/*
 * A connection: one pipe, of one route, from its making to its end. What comes in is read by
 * link_recv.c, what goes out is gathered by link_path.c, the handshake is link_session.c's.
 *
 * A connection that ends is marked dead and freed by the pump task: whoever has it in hand looks
 * at the mark after each step.
 */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <stdlib.h>
#include <string.h>

static void on_pipe(void *arg, int events)
{
	struct link_conn *c = arg;
	CHECK(c, LINK_CONN_MAGIC);
	if (c->dead)
		return;
	if (events & LINK_EV_WRITABLE) {
		c->writable = true;
		link_kick(c->l);
	}
	if (events & LINK_EV_READABLE)
		link_conn_read(c);
}

struct link_conn *link_conn_new(struct link *l, unsigned route, struct link_pipe *pipe,
				bool connector)
{
	struct link_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = LINK_CONN_MAGIC;
	c->l = l;
	c->route = route;
	c->path = l->routes[route].path;
	c->pipe = pipe;
	c->connector = connector;
	c->state = connector ? LINK_C_CONNECTING : LINK_C_ACCEPTED;
	c->my_session = l->my_session;
	c->heard = c->sent = link_now(l);
	c->writable = !connector; /* a connector is told when it is connected */
	c->deadline = c->heard + l->o.dead_ns;
	TAILQ_INSERT_TAIL(&l->conns, c, link);
	l->o.ops->watch(pipe, on_pipe, c);
	return c;
}

static void route_down(struct link_conn *c, const char *why)
{
	struct link *l = c->l;
	struct link_path_state *p = &l->paths[c->path];
	struct link_route_state *rs = &l->rs[c->route];
	rs->conn = NULL;
	atomic_store(&rs->up, false);
	/* One that breaks as soon as it is up is not tried at once, for ever. */
	uint64_t now = link_now(l);
	rs->retry_at = now - c->up_since < l->o.heartbeat_ns ? now + l->o.heartbeat_ns : now;
	if (p->active == c) {
		p->active = NULL;
		link_path_pick(l, c->path);
	}
	event_write(LOG_L_WARN, "link.route_down", "%s route %u to controller %s is down: %s; %s",
		    c->path == LINK_DATA ? "data" : "control", c->route, l->peer, why,
		    p->active ? "another carries on" : "the path has no other");
}

void link_conn_close(struct link_conn *c, const char *why)
{
	struct link *l = c->l;
	CHECK(c, LINK_CONN_MAGIC);
	if (c->dead)
		return;
	c->dead = true;
	if (c->rx_call)
		link_conn_forget_call(c);
	if (c->rx_msg)
		link_msg_free(c->rx_msg);
	c->rx_msg = NULL;
	l->o.ops->close(c->pipe);
	c->pipe = NULL;
	TAILQ_REMOVE(&l->conns, c, link);
	TAILQ_INSERT_TAIL(&l->graves, c, link);
	if (l->rs[c->route].conn == c)
		route_down(c, why);
	link_kick(l);
}

void link_conns_bury(struct link *l)
{
	struct link_conn *c;
	while ((c = TAILQ_FIRST(&l->graves))) {
		TAILQ_REMOVE(&l->graves, c, link);
		c->magic = 0;
		free(c);
	}
}

/* One of the link's own frames; sent by the pump. What finds no room is not sent: there is room for
 * all of a handshake, and beats say again what the last one said. */
void link_conn_control(struct link_conn *c, uint8_t kind, const void *head, uint32_t len)
{
	struct link_frame f = {.kind = kind, .head_len = len};
	if (c->dead || c->ctl_to + LINK_FRAME_SIZE + len > sizeof(c->ctl))
		return;
	if (c->state == LINK_C_UP)
		link_path_stamp(&c->l->paths[c->path], &f);
	link_frame_encode(c->ctl + c->ctl_to, &f);
	if (len)
		memcpy(c->ctl + c->ctl_to + LINK_FRAME_SIZE, head, len);
	c->ctl_to += LINK_FRAME_SIZE + len;
	link_kick(c->l);
}

void link_conn_beat(struct link_conn *c)
{
	if (c->ctl_to == 0) {
		link_conn_control(c, LINK_K_BEAT, NULL, 0);
		link_conn_flush(c);
	}
}
