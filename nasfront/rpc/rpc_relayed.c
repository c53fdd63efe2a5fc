/*
 * The side of a relay that answers. A connection on the relay's socket is a client's connection to
 * another server, as far as the calls for us go: the first call says whose, and all have the same.
 *
 * A relayed call is one of RPC whose credential has a flavour of our own:
 *
 *   version (1)
 *   the client's address, our address that it reached: family (4, 6, 0: not known), 16 bytes, port,
 * scope enum rpc_xprt of its connection flavour, service, principal (64 bits), whether it is a user
 * of here, uid, gid, gids<16>
 *
 * The flavour is taken on the relay's sockets alone, and no other is taken there.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define RELAY_VERSION 1
#define RELAY_BACKLOG 256

/* ---- the credential ---- */

static void put_address(struct xdr_out *x, const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	uint8_t a[16] = {0};
	bool v4 = ss->ss_family == AF_INET, v6 = ss->ss_family == AF_INET6;
	if (v4)
		memcpy(a, &in->sin_addr, 4);
	else if (v6)
		memcpy(a, &in6->sin6_addr, 16);
	xdr_put_u32(x, v4 ? 4 : v6 ? 6 : 0);
	xdr_put_fixed(x, a, sizeof(a));
	xdr_put_u32(x, v4 ? ntohs(in->sin_port) : v6 ? ntohs(in6->sin6_port) : 0);
	xdr_put_u32(x, v6 ? in6->sin6_scope_id : 0);
}

static bool get_address(struct xdr_in *x, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	uint32_t family, port, scope;
	const uint8_t *a;
	memset(ret, 0, sizeof(*ret));
	if (!xdr_u32(x, &family) || !xdr_fixed(x, 16, &a) || !xdr_u32(x, &port) || port > 65535 ||
	    !xdr_u32(x, &scope) || (family && family != 4 && family != 6))
		return false;
	if (family == 4) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		memcpy(&in->sin_addr, a, 4);
	} else if (family == 6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		in6->sin6_scope_id = scope;
		memcpy(&in6->sin6_addr, a, 16);
	}
	return true;
}

size_t rpc_relay_put(const struct rpc_relay_from *from, uint8_t *to, size_t size)
{
	const struct rpc_cred *c = &from->cred;
	struct xdr_out x = xdr_out_of(to, size);
	xdr_put_u32(&x, RELAY_VERSION);
	put_address(&x, &from->peer);
	put_address(&x, &from->local);
	xdr_put_u32(&x, from->xprt);
	xdr_put_u32(&x, c->flavor);
	xdr_put_u32(&x, c->service);
	xdr_put_u64(&x, c->principal);
	xdr_put_bool(&x, c->mapped);
	xdr_put_u32(&x, c->uid);
	xdr_put_u32(&x, c->gid);
	xdr_put_u32(&x, c->ngroups);
	for (uint32_t i = 0; i < c->ngroups; i++)
		xdr_put_u32(&x, c->groups[i]);
	ASSERT(!x.full);
	return xdr_out_len(&x);
}

bool rpc_relay_get(struct rpc_relay_from *ret, const void *body, size_t len)
{
	struct xdr_in x = xdr_in_of(body, len);
	struct rpc_cred *c = &ret->cred;
	uint32_t version, xprt, mapped;
	memset(ret, 0, sizeof(*ret));
	if (!xdr_u32(&x, &version) || version != RELAY_VERSION || !get_address(&x, &ret->peer) ||
	    ret->peer.ss_family == 0 || !get_address(&x, &ret->local) || !xdr_u32(&x, &xprt) ||
	    xprt > RPC_XPRT_MTLS || !xdr_u32(&x, &c->flavor) || !xdr_u32(&x, &c->service) ||
	    !xdr_u64(&x, &c->principal) || !xdr_u32(&x, &mapped) || mapped > 1 ||
	    !xdr_u32(&x, &c->uid) || !xdr_u32(&x, &c->gid) || !xdr_u32(&x, &c->ngroups) ||
	    c->ngroups > RPC_GROUPS_MAX)
		return false;
	if (c->flavor != RPC_FLAVOR_NONE && c->flavor != RPC_FLAVOR_SYS &&
	    c->flavor != RPC_FLAVOR_GSS)
		return false;
	if (c->flavor == RPC_FLAVOR_GSS ? c->service < 1 || c->service > 3 : c->service != 0)
		return false;
	ret->xprt = (enum rpc_xprt)xprt;
	c->mapped = mapped;
	for (uint32_t i = 0; i < c->ngroups; i++)
		if (!xdr_u32(&x, &c->groups[i]))
			return false;
	return xdr_left(&x) == 0;
}

/* ---- calls ---- */

/* From now on it counts as the client's. */
static void become(struct rpc_conn *c, const struct rpc_relay_from *from)
{
	rpc_room_leave(c);
	c->peer = from->peer;
	c->relay_local = from->local;
	c->xprt = from->xprt;
	c->relay_known = true;
	rpc_conn_describe(c);
	rpc_room_enter(c);
	rpc_room_called(c);
}

bool rpc_relayed_cred(struct rpc_req *req, const void *body, size_t len)
{
	struct rpc_conn *c = req->conn;
	struct rpc_relay_from from;
	if (!c->relayed || !rpc_relay_get(&from, body, len))
		return false;
	if (!c->relay_known)
		become(c, &from);
	else if (memcmp(&c->peer, &from.peer, sizeof(c->peer)) != 0 || c->xprt != from.xprt)
		return false;
	req->cred = from.cred;
	return true;
}

bool rpc_conn_relayed(const struct rpc_conn *c)
{
	return c->relayed;
}

/* ---- the socket ---- */

bool rpc_relayed_admits(const struct rpc_listener *l, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	bool may = cred.uid == 0 || cred.uid == geteuid();
	for (unsigned i = 0; i < l->nuids; i++)
		may |= l->uids[i] == cred.uid;
	if (!may)
		log_warn("rpc: relay refused uid=%d pid=%d", (int)cred.uid, (int)cred.pid);
	return may;
}

static int relay_socket(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(path, 0666) ||
	    listen(fd, RELAY_BACKLOG)) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

int rpc_server_listen_relay(struct rpc_server *s, const char *path, const uid_t *uids,
			    unsigned nuids)
{
	CHECK(s, RPC_SERVER_MAGIC);
	if (s->nlisteners == RPC_LISTENERS_MAX || nuids > RPC_RELAY_UIDS)
		return -E2BIG;
	int fd = relay_socket(path);
	if (fd < 0)
		return fd;
	struct rpc_listener *l = &s->listeners[s->nlisteners];
	*l = (struct rpc_listener){.server = s, .fd = fd, .relay = true, .nuids = nuids};
	if (nuids)
		memcpy(l->uids, uids, nuids * sizeof(*uids));
	int rc = watch_new(&l->watch, s->o.reactor, fd, rpc_listener_event, l);
	if (rc) {
		close(fd);
		return rc;
	}
	s->nlisteners++;
	if (s->accepting)
		watch_set(l->watch, UV_READABLE);
	return 0;
}
