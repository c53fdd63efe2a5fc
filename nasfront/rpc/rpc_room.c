/*
 * Who gives way when there is no room: connections and TLS handshakes are bounded in number, and a
 * host that opens as many as there may be, and says nothing on them, must not keep others out.
 *
 * The first to go is one of the address that has the most, of these the oldest. Connections are
 * counted by a keyed hash of their address as they come and go; two addresses that share a place in
 * it count as one, which makes a wrong choice now and then and nothing worse.
 *
 * A flood of newcomers must not cost a look at all connections each: of those that said nothing the
 * LOOKS oldest are looked at; at all that are used only for a host that has fewer than the most
 * that was seen at the last such look, within a second.
 */
#include <netinet/in.h>
#include "nasfront/rpc/rpc_conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/siphash.h"

#define LOOKS	     16
#define IDLE_NS	     (60 * NS_PER_S)
#define SEEN_NS	     NS_PER_S
#define HANDSHAKE_NS (250 * NS_PER_MS) /* what one is given before a newcomer takes its place */

static unsigned place_of(const struct rpc_server *s, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	uint64_t h = peer->ss_family == AF_INET6
			 ? siphash(s->crowd_key, &in6->sin6_addr, sizeof(in6->sin6_addr))
			 : siphash(s->crowd_key, &in->sin_addr, sizeof(in->sin_addr));
	return (unsigned)(h % RPC_PLACES);
}

/* ---- who is there ---- */

void rpc_room_enter(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	c->place = place_of(s, &c->peer);
	s->crowd[c->place]++;
	c->quiet = true;
	TAILQ_INSERT_TAIL(&s->quiet, c, quiet_link);
}

void rpc_room_called(struct rpc_conn *c)
{
	if (c->quiet)
		TAILQ_REMOVE(&c->server->quiet, c, quiet_link);
	c->quiet = false;
}

void rpc_room_shakes(struct rpc_conn *c, bool shakes)
{
	struct rpc_server *s = c->server;
	if (shakes) {
		TAILQ_INSERT_TAIL(&s->shaking, c, shake_link);
		s->tls_begun++;
	} else {
		TAILQ_REMOVE(&s->shaking, c, shake_link);
		s->tls_begun--;
	}
}

void rpc_room_leave(struct rpc_conn *c)
{
	ASSERT(c->server->crowd[c->place]);
	c->server->crowd[c->place]--;
	rpc_room_called(c);
}

/* ---- who goes ---- */

/* Of the oldest that said nothing so far one of the largest crowd; NULL: none. */
static struct rpc_conn *quiet_one(const struct rpc_server *s)
{
	struct rpc_conn *c, *best = NULL;
	unsigned looks = 0;
	TAILQ_FOREACH (c, &s->quiet, quiet_link) {
		if (!best || s->crowd[c->place] > s->crowd[best->place])
			best = c;
		if (++looks == LOOKS)
			break;
	}
	return best;
}

/* The one idle for longest, or else the idlest of the largest crowd that is larger than `than`. */
static struct rpc_conn *used_one(struct rpc_server *s, uint64_t now, uint32_t than,
				 const char **ret_why)
{
	struct rpc_conn *c, *idle = NULL, *many = NULL;
	s->crowd_most = 0;
	s->crowd_seen_ns = now;
	TAILQ_FOREACH (c, &s->conns, link) {
		uint32_t n = s->crowd[c->place];
		s->crowd_most = MAX(s->crowd_most, n);
		if (c->inflight)
			continue;
		if (!rpc_conn_partial(c) && (!idle || c->in_ns < idle->in_ns))
			idle = c;
		if (n > than && (!many || n > s->crowd[many->place] ||
				 (n == s->crowd[many->place] && c->in_ns < many->in_ns)))
			many = c;
	}
	*ret_why = "idle, and the limit of connections is reached";
	if (idle && now - idle->in_ns >= IDLE_NS)
		return idle;
	*ret_why = "the limit of connections is reached, and its host has most";
	return many;
}

bool rpc_room_conn(struct rpc_server *s, const struct sockaddr_storage *peer)
{
	const char *why = "said nothing, and the limit of connections is reached";
	if (s->stats.connections < s->o.max_conns)
		return true;
	struct rpc_conn *c = quiet_one(s);
	if (!c) {
		uint64_t now = env_now_ns(s->o.env);
		uint32_t with = s->crowd[place_of(s, peer)] + 1; /* no more than it: no gain */
		if (with >= s->crowd_most && now - s->crowd_seen_ns < SEEN_NS)
			return false;
		c = used_one(s, now, with, &why);
	}
	if (c)
		rpc_conn_close(c, why);
	return c;
}

static unsigned shaking_at(const struct rpc_server *s, unsigned place)
{
	const struct rpc_conn *c;
	unsigned n = 0;
	TAILQ_FOREACH (c, &s->shaking, shake_link)
		n += c->place == place;
	return n;
}

bool rpc_room_handshake(struct rpc_conn *newcomer)
{
	struct rpc_server *s = newcomer->server;
	struct rpc_conn *c, *victim = NULL;
	unsigned most = 0;
	if (s->tls_begun < RPC_TLS_HANDSHAKES)
		return true;
	TAILQ_FOREACH (c, &s->shaking, shake_link) { /* oldest first */
		unsigned n = shaking_at(s, c->place);
		if (n > most) {
			victim = c;
			most = n;
		}
	}
	uint64_t age = env_now_ns(s->o.env) - rpc_conn_tls_since(victim);
	if (most <= shaking_at(s, newcomer->place) + 1 && age < HANDSHAKE_NS)
		return false;
	rpc_conn_close(victim, "the TLS handshake stands still, and there are too many");
	return true;
}
