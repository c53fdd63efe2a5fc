/*
 * RPC over UDP (RFC 5531 section 5), for programs that say they take it: one datagram one call, one
 * datagram its reply.
 *
 * Each call has a connection object of its own for as long as it runs, so that programs see a peer
 * as with TCP. At most RPC_UDP_CALLS run at once and a datagram is at most RPC_UDP_MAX long; what
 * is beyond is dropped, as the network may do: the client sends again, and the duplicate request
 * cache knows the call. A reply leaves from the address that its call came to.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>
#include "nasfront/rpc/rpc_conn.h"
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/log.h"

#define READS_A_TURN 64

union control {
	struct cmsghdr align;
	char b[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* The address a datagram came to, and back. */
static void local_get(struct msghdr *msg, struct sockaddr_storage *ret)
{
	struct cmsghdr *cm;
	for (cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		if (cm->cmsg_level == IPPROTO_IP && cm->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo pi;
			struct sockaddr_in in = {.sin_family = AF_INET};
			memcpy(&pi, CMSG_DATA(cm), sizeof(pi));
			in.sin_addr = pi.ipi_spec_dst;
			memcpy(ret, &in, sizeof(in));
		} else if (cm->cmsg_level == IPPROTO_IPV6 && cm->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo pi;
			struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
			memcpy(&pi, CMSG_DATA(cm), sizeof(pi));
			in6.sin6_addr = pi.ipi6_addr;
			memcpy(ret, &in6, sizeof(in6));
		}
	}
}

static void local_put(struct msghdr *msg, union control *u, const struct sockaddr_storage *from)
{
	struct in_pktinfo pi = {0};
	struct in6_pktinfo pi6 = {0};
	const void *data = &pi;
	size_t len = sizeof(pi);
	if (from->ss_family == AF_INET) {
		pi.ipi_spec_dst = ((const struct sockaddr_in *)from)->sin_addr;
	} else if (from->ss_family == AF_INET6) {
		pi6.ipi6_addr = ((const struct sockaddr_in6 *)from)->sin6_addr;
		data = &pi6;
		len = sizeof(pi6);
	} else {
		return;
	}
	memset(u, 0, sizeof(*u));
	msg->msg_control = u;
	msg->msg_controllen = CMSG_SPACE(len);
	struct cmsghdr *cm = CMSG_FIRSTHDR(msg);
	cm->cmsg_level = from->ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	cm->cmsg_type = from->ss_family == AF_INET ? IP_PKTINFO : IPV6_PKTINFO;
	cm->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cm), data, len);
}

void rpc_udp_reply(struct rpc_conn *c, struct rpc_req *req)
{
	struct rpc_server *s = c->server;
	uint8_t *wire = req->wire + 4; /* without the record mark */
	struct iovec iov = {.iov_base = wire, .iov_len = req->wire_len - 4};
	struct msghdr msg = {.msg_name = &c->udp_peer,
			     .msg_namelen = c->udp_peer_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1};
	union control u;
	/* No program here sends READ data or the like over UDP. */
	ASSERT(!req->body_n);
	if (c->dead || s->mute)
		return;
	local_put(&msg, &u, &c->udp_local);
	s->stats.sends++;
	/* What cannot be sent is lost, as datagrams are. */
	if (sendmsg(c->udp->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		s->stats.bytes_out += iov.iov_len;
}

void rpc_udp_end(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	if (c->ended)
		return;
	c->ended = c->dead = true;
	s->udp_calls--;
	rpc_relay_close(c);
	rpc_conn_put(c);
}

static struct rpc_conn *conn_of(struct rpc_listener *l, struct msghdr *msg)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = RPC_CONN_MAGIC;
	c->refs = 1;
	c->server = l->server;
	c->fd = -1;
	c->udp = l;
	STAILQ_INIT(&c->out);
	c->in_ns = c->out_ns = env_now_ns(l->server->o.env);
	memcpy(&c->peer, msg->msg_name, MIN(msg->msg_namelen, sizeof(c->peer)));
	memcpy(&c->udp_peer, &c->peer, sizeof(c->peer));
	c->udp_peer_len = msg->msg_namelen;
	local_get(msg, &c->udp_local);
	rpc_conn_describe(c);
	l->server->udp_calls++;
	return c;
}

static void datagram(struct rpc_listener *l, struct msghdr *msg, const uint8_t *data, uint32_t len)
{
	struct rpc_server *s = l->server;
	if (s->stopping || s->udp_calls >= RPC_UDP_CALLS || (msg->msg_flags & MSG_TRUNC))
		return;
	struct rpc_conn *c = conn_of(l, msg);
	struct rpc_req *req = c ? rpc_req_get(s) : NULL;
	if (req)
		req->buf = rpc_buf_spill(s, MAX(len, 1u));
	if (!req || !req->buf) {
		if (req)
			rpc_req_put(s, req);
		if (c)
			rpc_udp_end(c);
		return;
	}
	s->stats.bytes_in += len;
	memcpy(req->buf->data, data, len);
	req->buf->fill = len;
	req->conn = c;
	req->start_ns = c->in_ns;
	c->inflight++;
	rpc_conn_get(c);
	rpc_call_handle(c, req, req->buf->data, len);
	rpc_conn_put(c);
}

static void udp_event(void *arg, int status, int events)
{
	struct rpc_listener *l = arg;
	uint8_t data[RPC_UDP_MAX];
	for (int i = 0; i < READS_A_TURN; i++) {
		struct sockaddr_storage peer = {0};
		union control u;
		struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
		struct msghdr msg = {.msg_name = &peer,
				     .msg_namelen = sizeof(peer),
				     .msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &u,
				     .msg_controllen = sizeof(u)};
		ssize_t n = recvmsg(l->fd, &msg, MSG_DONTWAIT);
		l->server->stats.receives++;
		if (n >= 0)
			datagram(l, &msg, data, (uint32_t)n);
		else if (errno == EAGAIN)
			return;
	}
}

int rpc_server_listen_udp(struct rpc_server *s, const char *address, uint16_t port)
{
	CHECK(s, RPC_SERVER_MAGIC);
	int one = 1;
	if (s->nlisteners == RPC_LISTENERS_MAX)
		return -E2BIG;
	int fd = listen_udp(address, port);
	if (fd < 0)
		return fd;
	/* Where a datagram was sent to its answer comes from; the other family's option fails. */
	setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	struct rpc_listener *l = &s->listeners[s->nlisteners];
	*l = (struct rpc_listener){.server = s, .fd = fd};
	int rc = watch_new(&l->watch, s->o.reactor, fd, udp_event, l);
	if (rc) {
		close(fd);
		return rc;
	}
	s->nlisteners++;
	if (s->accepting)
		watch_set(l->watch, UV_READABLE);
	return 0;
}

void rpc_conn_local(const struct rpc_conn *c, struct sockaddr_storage *ret)
{
	socklen_t len = sizeof(*ret);
	memset(ret, 0, sizeof(*ret));
	if (c->udp)
		*ret = c->udp_local;
	else if (c->relayed)
		*ret = c->relay_local;
	else if (c->dead || getsockname(c->fd, (struct sockaddr *)ret, &len))
		memset(ret, 0, sizeof(*ret));
	rpc_address_unmap(ret);
}
