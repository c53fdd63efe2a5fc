/*
 * One call: a socket, the message, waiting with a deadline. UDP sends again after 1, 2, 4 s. A
 * reply must come from where the call went (the socket is connected) and carry its xid.
 */
#include "nasfront/rpc/rpc_out.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bsd/sys/queue.h>
#include "nasfront/rpc/rpc_msg.h"
#include "nasfront/rpc/xdr.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"

#define PMAP_PROG    100000
#define PMAP_VERS    2
#define PMAP_GETPORT 3
#define PMAP_PORT    111
#define MESSAGE_MAX  (RPC_OUT_CALL_MAX + RPC_AUTH_MAX + RPC_CALL_HEAD + 4)

struct out_conn {
	LIST_ENTRY(out_conn) link;
	struct rpc_out *out;
	int fd;
	struct watch *watch;
	struct waitq ready;
	bool is_ready;
};

struct rpc_out {
	struct reactor *reactor;
	struct env *env;
	bool stopping;
	unsigned calls;
	struct waitq idle;
	LIST_HEAD(, out_conn) conns;
};

int rpc_out_new(struct rpc_out **ret, struct reactor *r, struct env *env)
{
	struct rpc_out *o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->reactor = r;
	o->env = env;
	waitq_init(&o->idle);
	LIST_INIT(&o->conns);
	*ret = o;
	return 0;
}

void rpc_out_free(struct rpc_out *o)
{
	struct out_conn *c;
	if (!o)
		return;
	o->stopping = true;
	LIST_FOREACH (c, &o->conns, link)
		waitq_wake_all(&c->ready);
	while (o->calls)
		waitq_wait(&o->idle);
	free(o);
}

/* ---- a socket that waits ---- */

static void out_event(void *arg, int status, int events)
{
	struct out_conn *c = arg;
	c->is_ready = true;
	watch_set(c->watch, 0);
	waitq_wake_all(&c->ready);
}

static int out_wait(struct out_conn *c, int events, uint64_t end)
{
	struct rpc_out *o = c->out;
	c->is_ready = false;
	watch_set(c->watch, events);
	while (!c->is_ready) {
		uint64_t now = env_now_ns(o->env);
		if (o->stopping)
			return -ERR_SHUTDOWN;
		if (now >= end)
			return -ETIMEDOUT;
		env_waitq_wait(o->env, &c->ready, end - now);
	}
	return 0;
}

static socklen_t with_port(struct sockaddr_storage *ss, uint16_t port)
{
	if (ss->ss_family == AF_INET) {
		((struct sockaddr_in *)ss)->sin_port = htons(port);
		return sizeof(struct sockaddr_in);
	}
	((struct sockaddr_in6 *)ss)->sin6_port = htons(port);
	return sizeof(struct sockaddr_in6);
}

static void out_close(struct out_conn *c)
{
	LIST_REMOVE(c, link);
	if (c->watch)
		watch_free(c->watch);
	if (c->fd >= 0)
		close(c->fd);
}

static int out_open(struct out_conn *c, const struct rpc_out_call *call, uint16_t port,
		    uint64_t end)
{
	struct sockaddr_storage to = call->to, from = call->from;
	socklen_t len = with_port(&to, port), error_len = sizeof(int);
	int type = call->tcp ? SOCK_STREAM : SOCK_DGRAM, error = 0;
	waitq_init(&c->ready);
	LIST_INSERT_HEAD(&c->out->conns, c, link);
	c->fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	int rc = watch_new(&c->watch, c->out->reactor, c->fd, out_event, c);
	if (rc)
		return rc;
	/* Clients look whether the answer comes from the address they know. */
	if (from.ss_family == to.ss_family &&
	    bind(c->fd, (struct sockaddr *)&from, with_port(&from, 0)))
		return -errno;
	if (connect(c->fd, (struct sockaddr *)&to, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	rc = out_wait(c, UV_WRITABLE, end);
	if (rc == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &error_len))
		rc = -errno;
	return rc ? rc : -error;
}

/* ---- messages ---- */

/* A mark is put in front; UDP leaves it out. */
static size_t message_make(uint8_t *msg, const struct rpc_out_call *call, uint32_t xid)
{
	const struct rpc_back_call m = {.prog = call->prog,
					.vers = call->vers,
					.proc = call->proc,
					.sys = call->sys,
					.sys_len = call->sys_len,
					.args = call->args,
					.args_len = call->args_len};
	return rpc_msg_call(msg, MESSAGE_MAX, &m, xid);
}

static int call_udp(struct out_conn *c, const uint8_t *msg, size_t len, uint32_t xid, uint64_t end,
		    void *ret, size_t size, size_t *ret_len)
{
	uint8_t reply[RPC_OUT_REPLY_MAX + 512];
	uint64_t step = NS_PER_S;
	int rc = -ETIMEDOUT;
	while (rc == -ETIMEDOUT && env_now_ns(c->out->env) < end) {
		uint64_t until = MIN(end, env_now_ns(c->out->env) + step);
		step *= 2;
		if (send(c->fd, msg + 4, len - 4, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		    errno != EAGAIN)
			return -errno;
		do {
			rc = out_wait(c, UV_READABLE, until);
			ssize_t n = rc ? 0 : recv(c->fd, reply, sizeof(reply), MSG_DONTWAIT);
			if (n < 0 && errno != EAGAIN)
				return -errno; /* nobody listens there */
			if (rc == 0)
				rc = rpc_msg_reply(reply, n > 0 ? (size_t)n : 0, xid, ret, size,
						   ret_len);
		} while (rc == -EAGAIN);
	}
	return rc;
}

static int send_all(struct out_conn *c, const uint8_t *msg, size_t len, uint64_t end)
{
	while (len) {
		ssize_t n = send(c->fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			msg += n;
			len -= (size_t)n;
			continue;
		}
		int rc = out_wait(c, UV_WRITABLE, end);
		if (rc)
			return rc;
	}
	return 0;
}

static int recv_all(struct out_conn *c, uint8_t *buf, size_t len, uint64_t end)
{
	while (len) {
		ssize_t n = recv(c->fd, buf, len, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
			continue;
		}
		int rc = out_wait(c, UV_READABLE, end);
		if (rc)
			return rc;
	}
	return 0;
}

static int call_tcp(struct out_conn *c, const uint8_t *msg, size_t len, uint32_t xid, uint64_t end,
		    void *ret, size_t size, size_t *ret_len)
{
	uint8_t reply[RPC_OUT_REPLY_MAX + 512], mark[4];
	int rc = send_all(c, msg, len, end);
	if (rc == 0)
		rc = recv_all(c, mark, 4, end);
	if (rc)
		return rc;
	/* Such a short reply comes in one fragment. */
	uint32_t n = be32_get(mark) & 0x7fffffff;
	if (!(be32_get(mark) >> 31) || n > sizeof(reply))
		return -ERR_PROTO;
	rc = recv_all(c, reply, n, end);
	if (rc == 0)
		rc = rpc_msg_reply(reply, n, xid, ret, size, ret_len);
	return rc == -EAGAIN ? -ERR_PROTO : rc;
}

static int call_at(struct rpc_out *o, const struct rpc_out_call *call, uint16_t port, uint64_t end,
		   void *ret, size_t size, size_t *ret_len)
{
	uint8_t msg[MESSAGE_MAX];
	struct out_conn c = {.out = o, .fd = -1};
	uint32_t xid = (uint32_t)env_random_u64(o->env);
	size_t len = message_make(msg, call, xid);
	int rc = out_open(&c, call, port, end);
	if (rc == 0)
		rc = (call->tcp ? call_tcp : call_udp)(&c, msg, len, xid, end, ret, size, ret_len);
	out_close(&c);
	return rc;
}

/* Portmap version 2 knows v4 and v6 alike: one number a program, version and transport. */
static int ask_port(struct rpc_out *o, const struct rpc_out_call *call, uint64_t end, uint16_t *ret)
{
	uint8_t args[16], reply[4];
	size_t n;
	be32_put(args, call->prog);
	be32_put(args + 4, call->vers);
	be32_put(args + 8, call->tcp ? IPPROTO_TCP : IPPROTO_UDP);
	be32_put(args + 12, 0);
	struct rpc_out_call ask = {.to = call->to,
				   .from = call->from,
				   .prog = PMAP_PROG,
				   .vers = PMAP_VERS,
				   .proc = PMAP_GETPORT,
				   .args = args,
				   .args_len = sizeof(args)};
	uint16_t at = call->pmap_port ? call->pmap_port : PMAP_PORT;
	int rc = call_at(o, &ask, at, MIN(end, env_now_ns(o->env) + 3 * NS_PER_S), reply,
			 sizeof(reply), &n);
	if (rc && rc != -ERR_SHUTDOWN) {
		ask.tcp = true;
		rc = call_at(o, &ask, at, end, reply, sizeof(reply), &n);
	}
	if (rc)
		return rc;
	uint32_t port = n == 4 ? be32_get(reply) : 0;
	if (!port || port > UINT16_MAX)
		return -ENOENT;
	*ret = (uint16_t)port;
	return 0;
}

int rpc_out_call(struct rpc_out *o, const struct rpc_out_call *call, void *ret, size_t size,
		 size_t *ret_len)
{
	uint64_t end = env_now_ns(o->env) + (call->timeout_ns ? call->timeout_ns : 10 * NS_PER_S);
	uint16_t port = call->port;
	int rc = 0;
	if (o->stopping)
		return -ERR_SHUTDOWN;
	if (call->to.ss_family != AF_INET && call->to.ss_family != AF_INET6)
		return -EAFNOSUPPORT;
	if (call->args_len > RPC_OUT_CALL_MAX || call->sys_len > RPC_AUTH_MAX)
		return -E2BIG;
	o->calls++;
	*ret_len = 0;
	if (!port)
		rc = ask_port(o, call, end, &port);
	if (rc == 0)
		rc = call_at(o, call, port, end, ret, size, ret_len);
	if (--o->calls == 0)
		waitq_wake_all(&o->idle);
	return rc;
}
