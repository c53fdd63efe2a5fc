/*
 * A round: one SET call datagram an entry, xid = round * RPCBIND_ENTRIES_MAX +
 * entry. Replies that match the round
 * mark their entry done. A SET of what is already set answers false: so each is preceded by UNSET
 * when the last round did not succeed (a killed head left its registration behind).
 */
#include "nasfront/rpc/rpcbind.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/xdr.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define PMAP_PROG  100000
#define PMAP_VERS  2
#define PMAP_SET   1
#define PMAP_UNSET 2
#define PMAP_PORT  111

struct rpcbind {
	struct rpcbind_opts o;
	int fd;
	struct watch *watch;
	struct env_timer timer;
	uint32_t round;
	bool ok[RPCBIND_ENTRIES_MAX];
	bool told;
};

static void send_call(struct rpcbind *b, uint32_t xid, uint32_t proc, const struct rpcbind_entry *e)
{
	uint8_t msg[64];
	struct xdr_out x = xdr_out_of(msg, sizeof(msg));
	const uint32_t head[] = {xid, 0, 2, PMAP_PROG, PMAP_VERS, proc, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_u32(&x, e->prog);
	xdr_put_u32(&x, e->vers);
	xdr_put_u32(&x, e->udp ? IPPROTO_UDP : IPPROTO_TCP);
	xdr_put_u32(&x, e->port);
	/* Nobody listening is found out by the socket's error, or by silence. */
	if (send(b->fd, msg, xdr_out_len(&x), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("rpcbind: not reachable");
}

static void round_start(void *arg)
{
	struct rpcbind *b = arg;
	bool again = rpcbind_registered(b);
	b->round++;
	/* UNSET takes a program from all transports (RFC 1833 3.2): all of them before any SET. */
	for (unsigned i = 0; i < b->o.nentries && !again; i++)
		send_call(b, 0, PMAP_UNSET, &b->o.entries[i]);
	for (unsigned i = 0; i < b->o.nentries; i++) {
		b->ok[i] = false;
		send_call(b, b->round * RPCBIND_ENTRIES_MAX + i, PMAP_SET, &b->o.entries[i]);
	}
	env_timer_start(b->o.env, &b->timer, b->o.refresh_ns);
}

static void reply_take(struct rpcbind *b, const uint8_t *msg, size_t len)
{
	struct xdr_in x = xdr_in_of(msg, len);
	uint32_t xid, type, stat, flavor, n, accept, done;
	const uint8_t *verf;
	if (!xdr_u32(&x, &xid) || !xdr_u32(&x, &type) || type != 1 || !xdr_u32(&x, &stat) ||
	    stat != 0 || !xdr_u32(&x, &flavor) || !xdr_opaque(&x, 400, &verf, &n) ||
	    !xdr_u32(&x, &accept) || accept != 0 || !xdr_u32(&x, &done))
		return;
	if (xid / RPCBIND_ENTRIES_MAX != b->round || xid % RPCBIND_ENTRIES_MAX >= b->o.nentries)
		return;
	/* "false" in a refresh says that it is still registered. */
	b->ok[xid % RPCBIND_ENTRIES_MAX] = done || b->told;
	if (rpcbind_registered(b) && !b->told) {
		b->told = true;
		log_info("rpcbind: registered entries=%u", b->o.nentries);
	}
}

static void socket_event(void *arg, int status, int events)
{
	struct rpcbind *b = arg;
	uint8_t msg[512];
	for (unsigned i = 0; i < 4 * RPCBIND_ENTRIES_MAX; i++) {
		ssize_t n = recv(b->fd, msg, sizeof(msg), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n >= 0)
			reply_take(b, msg, (size_t)n);
	}
}

int rpcbind_start(struct rpcbind **ret, const struct rpcbind_opts *o)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons(o->rpcbind_port ? o->rpcbind_port : PMAP_PORT)};
	ASSERT(o->nentries <= RPCBIND_ENTRIES_MAX);
	struct rpcbind *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->o = *o;
	if (!b->o.refresh_ns)
		b->o.refresh_ns = 60 * NS_PER_S;
	b->timer = (struct env_timer){.fn = round_start, .arg = b};
	b->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc = b->fd < 0 ? -errno : 0;
	if (rc == 0 && connect(b->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = watch_new(&b->watch, o->reactor, b->fd, socket_event, b);
	if (rc) {
		if (b->fd >= 0)
			close(b->fd);
		free(b);
		return rc;
	}
	watch_set(b->watch, UV_READABLE);
	round_start(b);
	*ret = b;
	return 0;
}

bool rpcbind_registered(const struct rpcbind *b)
{
	for (unsigned i = 0; i < b->o.nentries; i++)
		if (!b->ok[i])
			return false;
	return b->o.nentries > 0;
}

void rpcbind_stop(struct rpcbind *b)
{
	if (!b)
		return;
	if (b->told)
		for (unsigned i = 0; i < b->o.nentries; i++)
			send_call(b, 0, PMAP_UNSET, &b->o.entries[i]);
	env_timer_stop(b->o.env, &b->timer);
	watch_free(b->watch);
	close(b->fd);
	free(b);
}
