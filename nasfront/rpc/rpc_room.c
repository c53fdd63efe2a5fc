/*
 * Who gives way when there is no room: connections and TLS handshakes are bounded in number, and a
 * host that opens as many as there may be, and says nothing on them, must not keep others out.
 *
 * The first to go is one of the address that has the most, of these the oldest. Addresses are
 * counted in a table by a keyed hash, so that a look at all connections is enough; two that share a
 * place in it count as one, which makes a wrong choice now and then and nothing worse.
 */
#include <netinet/in.h>
#include "nasfront/rpc/rpc_conn.h"
#include "runtime/log.h"
#include "runtime/siphash.h"

#define PLACES	     2048
#define IDLE_NS	     (60 * NS_PER_S)
#define HANDSHAKE_NS (250 * NS_PER_MS) /* what one is given before a newcomer takes its place */

struct crowd {
	uint16_t count[PLACES];
};

static unsigned place(const struct rpc_server *s, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	uint64_t h = peer->ss_family == AF_INET6
			 ? siphash(s->crowd_key, &in6->sin6_addr, sizeof(in6->sin6_addr))
			 : siphash(s->crowd_key, &in->sin_addr, sizeof(in->sin_addr));
	return (unsigned)(h % PLACES);
}

static bool shakes(const struct rpc_conn *c)
{
	return c->tls && rpc_conn_tls_busy(c);
}

/* Said nothing so far that was answered. */
static bool silent(const struct rpc_conn *c)
{
	return !c->inflight && (!c->called || shakes(c));
}

static void count(const struct rpc_server *s, bool handshakes, struct crowd *ret)
{
	const struct rpc_conn *c;
	*ret = (struct crowd){0};
	TAILQ_FOREACH (c, &s->conns, link)
		if (!handshakes || shakes(c))
			ret->count[place(s, &c->peer)]++;
}

/* More in the way than the best so far. */
static bool worse(unsigned crowd, uint64_t since, unsigned best, uint64_t best_since)
{
	return crowd > best || (crowd == best && since < best_since);
}

bool rpc_room_conn(struct rpc_server *s, const struct sockaddr_storage *peer)
{
	struct rpc_conn *c, *quiet = NULL, *idle = NULL, *many = NULL;
	unsigned quiet_n = 0, many_n;
	struct crowd crowd;
	if (s->stats.connections < s->o.max_conns)
		return true;
	count(s, false, &crowd);
	many_n = crowd.count[place(s, peer)] + 1u; /* with it: who has no more does not yield */
	TAILQ_FOREACH (c, &s->conns, link) {
		unsigned n = crowd.count[place(s, &c->peer)];
		if (c->inflight)
			continue;
		if (silent(c)) {
			if (!quiet || worse(n, c->open_ns, quiet_n, quiet->open_ns))
				quiet = c, quiet_n = n;
			continue;
		}
		if (!rpc_conn_partial(c) && (!idle || c->in_ns < idle->in_ns))
			idle = c;
		if (n > many_n || (many && worse(n, c->in_ns, many_n, many->in_ns)))
			many = c, many_n = n;
	}
	if (idle && env_now_ns(s->o.env) - idle->in_ns < IDLE_NS)
		idle = NULL;
	c = quiet ? quiet : idle ? idle : many;
	if (!c)
		return false;
	rpc_conn_close(c, c == quiet ? "said nothing, and the limit of connections is reached"
			  : c == idle
			      ? "idle, and the limit of connections is reached"
			      : "the limit of connections is reached, and its host has most");
	return true;
}

bool rpc_room_handshake(struct rpc_server *s, const struct sockaddr_storage *peer)
{
	struct rpc_conn *c, *victim = NULL;
	unsigned victim_n = 0;
	struct crowd crowd;
	if (s->tls_begun < RPC_TLS_HANDSHAKES)
		return true;
	count(s, true, &crowd);
	TAILQ_FOREACH (c, &s->conns, link) {
		unsigned n = crowd.count[place(s, &c->peer)];
		if (shakes(c) && (!victim || worse(n, rpc_conn_tls_since(c), victim_n,
						   rpc_conn_tls_since(victim))))
			victim = c, victim_n = n;
	}
	if (!victim || (victim_n <= crowd.count[place(s, peer)] + 1u &&
			env_now_ns(s->o.env) - rpc_conn_tls_since(victim) < HANDSHAKE_NS))
		return false;
	rpc_conn_close(victim, "the TLS handshake stands still, and there are too many");
	return true;
}
