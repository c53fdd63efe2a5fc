/*
 * Who gives way when there is no room: connections, TLS handshakes, requests and the memory that
 * replies lie in are bounded, and a host that takes all there is must not keep others out.
 *
 * The first to go is one of the host that has the most, of one with many addresses one of the
 * address that has most. Connections are counted by keyed hashes of both as they come and go; two
 * that share a place in them count as one, which makes a wrong choice now and then and nothing
 * worse. A newcomer never displaces one of a host that has less than its own: it takes the place of
 * its own that said nothing, or is refused.
 *
 * A flood of newcomers must not cost a look at all connections each: of those that said nothing the
 * LOOKS oldest are looked at (OWN_LOOKS for one of its own); at all that are used only for a host
 * that has fewer than the most that was seen at the last such look, within a second.
 *
 * A connection that takes no replies is left alone until requests, or memory, are used up. Then
 * those that did not take one for RPC_STUCK_NS are closed, of the host that holds most; for memory
 * also those whose record has been on its way for so long. Requests of a host that takes replies,
 * but slowly, come free by themselves: nobody else is closed for them.
 */
#include <netinet/in.h>
#include <string.h>
#include "nasfront/rpc/rpc_conn.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/siphash.h"

#define LOOKS	     16
#define OWN_LOOKS    256
#define IDLE_NS	     (60 * NS_PER_S)
#define QUIET_NS     (5 * NS_PER_S) /* who says nothing for so long gives way to anybody */
#define SEEN_NS	     NS_PER_S
#define HANDSHAKE_NS (250 * NS_PER_MS) /* what one is given before a newcomer takes its place */
#define CLOSES	     64		       /* of connections that are stuck, at once */

/* ---- who is there ---- */

uint64_t rpc_host_of(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	if (peer->ss_family != AF_INET6)
		return 0xffff00000000 | ntohl(in->sin_addr.s_addr);
	return be64_get(in6->sin6_addr.s6_addr + (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ? 8 : 0));
}

static struct rpc_place place_of(const struct rpc_server *s, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	uint64_t host = rpc_host_of(peer), key[3] = {host};
	if (peer->ss_family == AF_INET6)
		memcpy(key + 1, &in6->sin6_addr, 16);
	return (struct rpc_place){
	    .host = (unsigned)(siphash(s->crowd_key, &host, sizeof(host)) % RPC_PLACES),
	    .address = (unsigned)(siphash(s->crowd_key, key, sizeof(key)) % RPC_PLACES)};
}

void rpc_room_enter(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	c->place = place_of(s, &c->peer);
	s->crowd[c->place.host]++;
	s->address[c->place.address]++;
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
	struct rpc_server *s = c->server;
	ASSERT(s->crowd[c->place.host] && s->address[c->place.address]);
	s->crowd[c->place.host]--;
	s->address[c->place.address]--;
	rpc_room_called(c);
}

/* ---- a connection for a newcomer ---- */

/* By how much the crowd of a is larger than b's: of hosts, or of the addresses of one host. */
static int64_t larger(const struct rpc_server *s, struct rpc_place a, struct rpc_place b)
{
	if (a.host != b.host)
		return (int64_t)s->crowd[a.host] - s->crowd[b.host];
	return (int64_t)s->address[a.address] - s->address[b.address];
}

static bool is_own(struct rpc_place a, struct rpc_place b)
{
	return a.host == b.host && a.address == b.address;
}

/*
 * One that said nothing so far: of the oldest one of the largest crowd, when that is larger than
 * the newcomer's or its own; else one of its own. NULL: none; then *ret_late may be one that others
 * have and that has been silent for long.
 */
static struct rpc_conn *quiet_one(const struct rpc_server *s, struct rpc_place newcomer,
				  uint64_t now, struct rpc_conn **ret_late)
{
	struct rpc_conn *c, *best = NULL, *own = NULL;
	unsigned looks = 0;
	TAILQ_FOREACH (c, &s->quiet, quiet_link) {
		if (looks < LOOKS && (!best || larger(s, c->place, best->place) > 0))
			best = c;
		if (!own && is_own(c->place, newcomer))
			own = c;
		if (++looks == OWN_LOOKS || (own && looks >= LOOKS))
			break;
	}
	*ret_late = best && now - best->begin_ns >= QUIET_NS ? best : NULL;
	return best && larger(s, best->place, newcomer) > 0 ? best : own;
}

/* What of a crowd goes first: who waits for nothing, who takes nothing, who works; the idlest. */
static bool goes_before(const struct rpc_conn *a, const struct rpc_conn *b, uint64_t now)
{
	int x = !a->inflight ? 0 : rpc_room_stuck(a, now) ? 1 : 2;
	int y = !b->inflight ? 0 : rpc_room_stuck(b, now) ? 1 : 2;
	return x != y ? x < y : a->in_ns < b->in_ns;
}

/* The one idle for longest, or else one of the largest crowd that is larger than the newcomer's
 * even with it. */
static struct rpc_conn *used_one(struct rpc_server *s, uint64_t now, struct rpc_place newcomer,
				 const char **ret_why)
{
	struct rpc_conn *c, *idle = NULL, *many = NULL;
	s->crowd_most = s->address_most = 0;
	s->crowd_seen_ns = now;
	TAILQ_FOREACH (c, &s->conns, link) {
		s->crowd_most = MAX(s->crowd_most, s->crowd[c->place.host]);
		s->address_most = MAX(s->address_most, s->address[c->place.address]);
		if (!c->inflight && !rpc_conn_partial(c) && (!idle || c->in_ns < idle->in_ns))
			idle = c;
		if (larger(s, c->place, newcomer) < 2)
			continue;
		int64_t more = many ? larger(s, c->place, many->place) : 1;
		if (more > 0 || (more == 0 && goes_before(c, many, now)))
			many = c;
	}
	*ret_why = "idle, and the limit of connections is reached";
	if (idle && now - idle->in_ns >= IDLE_NS)
		return idle;
	*ret_why = "the limit of connections is reached, and its host has most";
	return many;
}

/* A look at all was in vain lately, for one that has no fewer than any other. */
static bool is_vain(const struct rpc_server *s, uint64_t now, struct rpc_place newcomer)
{
	return now - s->crowd_seen_ns < SEEN_NS && s->crowd[newcomer.host] + 1 >= s->crowd_most &&
	       s->address[newcomer.address] + 1 >= s->address_most;
}

bool rpc_room_conn(struct rpc_server *s, const struct sockaddr_storage *peer)
{
	static const char silent[] = "said nothing, and the limit of connections is reached";
	if (s->stats.connections < s->o.max_conns)
		return true;
	uint64_t now = env_now_ns(s->o.env);
	struct rpc_place newcomer = place_of(s, peer);
	struct rpc_conn *late, *c = quiet_one(s, newcomer, now, &late);
	const char *why = silent;
	if (!c && !late && !is_vain(s, now, newcomer))
		c = used_one(s, now, newcomer, &why);
	c = c ?: late;
	if (c)
		rpc_conn_close(c, why);
	return c;
}

/* ---- a handshake ---- */

static unsigned shaking_at(const struct rpc_server *s, unsigned host)
{
	const struct rpc_conn *c;
	unsigned n = 0;
	TAILQ_FOREACH (c, &s->shaking, shake_link)
		n += c->place.host == host;
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
		unsigned n = shaking_at(s, c->place.host);
		if (n > most) {
			victim = c;
			most = n;
		}
	}
	uint64_t age = env_now_ns(s->o.env) - rpc_conn_tls_since(victim);
	if (most <= shaking_at(s, newcomer->place.host) + 1 && age < HANDSHAKE_NS)
		return false;
	rpc_conn_close(victim, "the TLS handshake stands still, and there are too many");
	return true;
}

/* ---- requests and replies ---- */

/* The first of its replies has waited since then, or for longer. */
static bool is_blocked(const struct rpc_conn *c, uint64_t since)
{
	const struct rpc_req *req = STAILQ_FIRST(&c->out);
	return c->blocked && req && req->queued_ns <= since;
}

bool rpc_room_stuck(const struct rpc_conn *c, uint64_t now)
{
	return is_blocked(c, now - RPC_STUCK_NS);
}

/* Requests, or bytes, by replies that are not taken and a record that does not come, since then.
 * Who waits for us with a buffer is not slow himself. */
static uint64_t held_by(const struct rpc_conn *c, bool bytes, uint64_t since)
{
	const struct rpc_buf *b = c->buf;
	bool slow = b && b->refs == 1 && (b->spilled || !c->starved) && c->buf_ns <= since;
	uint64_t out = bytes ? c->pending : c->inflight;
	return (is_blocked(c, since) ? out : 0) + (bytes && slow ? b->cap : 0);
}

/* Of the host that holds most, by what has waited since then, the one that holds most by what is
 * stuck. NULL: nothing of that host's is. */
static struct rpc_conn *stuck_one(struct rpc_server *s, bool bytes, uint64_t since, uint64_t now)
{
	struct rpc_conn *c, *best = NULL;
	uint64_t stuck = now - RPC_STUCK_NS;
	memset(s->held, 0, sizeof(s->held));
	TAILQ_FOREACH (c, &s->conns, link)
		s->held[c->place.host] += held_by(c, bytes, since);
	TAILQ_FOREACH (c, &s->conns, link) {
		uint64_t host = s->held[c->place.host];
		uint64_t most = best ? s->held[best->place.host] : 0;
		if (host > most || (best && host == most &&
				    held_by(c, bytes, stuck) > held_by(best, bytes, stuck)))
			best = c;
	}
	return best && held_by(best, bytes, stuck) ? best : NULL;
}

/* What it held; 0: there is none. */
static uint64_t close_stuck(struct rpc_server *s, bool bytes, uint64_t now)
{
	struct rpc_conn *c = stuck_one(s, bytes, now, now);
	if (!c && bytes) /* memory cannot wait until those are */
		c = stuck_one(s, bytes, now - RPC_STUCK_NS, now);
	uint64_t held = c ? held_by(c, bytes, now) : 0;
	if (c)
		rpc_conn_close(c, bytes ? "too slow, and others wait for memory"
					: "peer takes no replies, and others wait for requests");
	return held;
}

void rpc_room_requests(struct rpc_server *s, unsigned count, uint64_t now)
{
	for (unsigned i = 0; i < CLOSES && s->stats.requests + count > s->o.max_requests; i++)
		if (!close_stuck(s, false, now))
			return;
}

void rpc_room_bytes(struct rpc_server *s, uint64_t bytes, uint64_t now)
{
	uint64_t free = 0, held = 1;
	for (unsigned i = 0; i < CLOSES && free < bytes && held; i++) {
		held = close_stuck(s, true, now);
		free += held;
	}
}
