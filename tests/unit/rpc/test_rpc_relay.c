/*
 * Calls that another server answers: as if the client had called there; what becomes of them when
 * that one goes or was never there; who may relay, and what is taken as a relayed call.
 */
#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/reactor.h"

#define PROG 400100
#define BIG  (1024 * 1024)

enum { NULLP, WHO, SUM, BODY, HOLD, COUNT, WEAK, ALL, PROCS };

static struct reactor *reactor;
static struct rpc_server *front, *back;
static uint16_t port;
static char path[RPC_RELAY_PATH_MAX], path2[RPC_RELAY_PATH_MAX];
static uint8_t pattern[BIG];
static _Atomic bool busy, held;
static _Atomic unsigned runs, holds;

/* ---- the server that answers ---- */

static int back_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

static int back_who(struct rpc_req *req, void *arg)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)rpc_conn_peer(req->conn);
	struct sockaddr_storage local;
	rpc_conn_local(req->conn, &local);
	xdr_put_u32(&req->out, ntohl(in->sin_addr.s_addr));
	xdr_put_u32(&req->out, ntohs(in->sin_port));
	xdr_put_u32(&req->out, ntohs(((struct sockaddr_in *)&local)->sin_port));
	xdr_put_u32(&req->out, req->cred.flavor);
	xdr_put_u32(&req->out, req->cred.uid);
	xdr_put_u32(&req->out, req->cred.ngroups);
	xdr_put_u32(&req->out, req->cred.ngroups ? req->cred.groups[0] : 0);
	xdr_put_bool(&req->out, rpc_conn_relayed(req->conn));
	return RPC_SUCCESS;
}

static int back_sum(struct rpc_req *req, void *arg)
{
	const uint8_t *p;
	uint32_t n, sum = 0;
	if (!xdr_opaque(&req->args, BIG, &p, &n))
		return RPC_GARBAGE_ARGS;
	for (uint32_t i = 0; i < n; i++)
		sum += p[i];
	xdr_put_u32(&req->out, sum);
	return RPC_SUCCESS;
}

static int back_body(struct rpc_req *req, void *arg)
{
	static struct iovec iov = {.iov_base = pattern, .iov_len = BIG};
	xdr_put_u32(&req->out, BIG);
	req->body = &iov;
	req->body_n = 1;
	req->body_len = BIG;
	return RPC_SUCCESS;
}

static int back_hold(struct rpc_req *req, void *arg)
{
	holds++;
	while (held)
		env_sleep_ns(env_real(), NS_PER_MS);
	xdr_put_u32(&req->out, 7);
	return RPC_SUCCESS;
}

static int back_count(struct rpc_req *req, void *arg)
{
	env_sleep_ns(env_real(), 5 * NS_PER_MS);
	xdr_put_u32(&req->out, ++runs);
	return RPC_SUCCESS;
}

static int back_weak(struct rpc_req *req, void *arg)
{
	return RPC_TOO_WEAK;
}

static int back_all(struct rpc_req *req, void *arg)
{
	xdr_put_u32(&req->out, ++runs);
	return RPC_SUCCESS;
}

static const struct rpc_proc back_procs[PROCS] = {
    {"NULL", back_null, NULL, 0}, {"WHO", back_who, NULL, 0},
    {"SUM", back_sum, NULL, 0},	  {"BODY", back_body, NULL, 0},
    {"HOLD", NULL, back_hold, 0}, {"COUNT", NULL, back_count, RPC_CACHED},
    {"WEAK", back_weak, NULL, 0}, {"ALL", back_all, NULL, 0},
};
static const struct rpc_program back_program = {
    .prog = PROG, .vers = 3, .procs = back_procs, .nprocs = PROCS, .udp = true};

/* ---- the server that the client knows ---- */

static int pass(struct rpc_req *req, void *arg)
{
	uint32_t n;
	xdr_u32(&req->args, &n); /* what is read or written here does not matter */
	xdr_put_u32(&req->out, 4711);
	return rpc_relay(req, path);
}

static int pass_all(struct rpc_req *req, void *arg)
{
	int rc = rpc_relay(req, path2);
	return rc == RPC_RELAY ? rpc_relay(req, path) : rc;
}

static const struct rpc_proc front_procs[PROCS] = {
    {"NULL", back_null, NULL, 0},     {"WHO", pass, NULL, 0},	  {"SUM", NULL, pass, 0},
    {"BODY", pass, NULL, 0},	      {"HOLD", pass, NULL, 0},	  {"COUNT", NULL, pass, RPC_CACHED},
    {"WEAK", pass, NULL, RPC_CACHED}, {"ALL", NULL, pass_all, 0},
};
static const struct rpc_program front_program = {
    .prog = PROG, .vers = 3, .procs = front_procs, .nprocs = PROCS, .udp = true};

/* ---- their thread ---- */

static void run(task_fn *fn)
{
	busy = true;
	ck_assert_int_eq(task_start_on(reactor_sched(reactor), fn, NULL), 0);
	while (busy)
		usleep(200);
}

static struct rpc_server *server_new(const struct rpc_program *p)
{
	struct rpc_server_opts o = {.reactor = reactor, .env = env_real(), .area_size = 64};
	struct rpc_server *s;
	ck_assert_int_eq(rpc_server_new(&s, &o), 0);
	ck_assert_int_eq(rpc_server_add(s, p), 0);
	return s;
}

static void back_up(void *arg)
{
	back = server_new(&back_program);
	ck_assert_int_eq(rpc_server_listen_relay(back, path, NULL, 0), 0);
	ck_assert_int_eq(rpc_server_listen_relay(back, path2, NULL, 0), 0);
	busy = false;
}

/* As one that is killed: not a byte more is said. */
static void back_die(void *arg)
{
	rpc_server_mute(back);
	held = false;
	rpc_server_stop(back, 5 * NS_PER_S);
	rpc_server_free(back);
	back = NULL;
	busy = false;
}

static void front_up(void *arg)
{
	front = server_new(&front_program);
	ck_assert_int_eq(rpc_server_listen(front, "127.0.0.1", 0, &port), 0);
	ck_assert_int_eq(rpc_server_listen_udp(front, "127.0.0.1", port), 0);
	busy = false;
}

static void front_down(void *arg)
{
	ck_assert_int_eq(rpc_server_stop(front, 5 * NS_PER_S), 0);
	rpc_server_free(front);
	busy = false;
}

static void stop(void *arg)
{
	reactor_stop(reactor);
}

static void setup(void)
{
	struct reactor_opts o = {.name = "rpc", .cpu = -1};
	snprintf(path, sizeof(path), "/tmp/isthmus-relay.%d", (int)getpid());
	snprintf(path2, sizeof(path2), "/tmp/isthmus-relay2.%d", (int)getpid());
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	held = false;
	runs = holds = 0;
	ck_assert_int_eq(reactor_new(&reactor, &o), 0);
	ck_assert_int_eq(reactor_start_thread(reactor), 0);
	run(front_up);
	run(back_up);
}

static void teardown(void)
{
	run(front_down);
	if (back)
		run(back_die);
	task_start_on(reactor_sched(reactor), stop, NULL);
	reactor_join(reactor);
	reactor_free(reactor);
	unlink(path);
	unlink(path2);
}

/* ---- a client ---- */

static int dial(int type)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, type, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin_port);
}

static uint8_t message[BIG + 4096], reply[BIG + 4096];

/* With user 500 and group 600 by AUTH_SYS, and an opaque argument. Its length with the mark. */
static size_t call_make(uint32_t xid, uint32_t proc, uint32_t n)
{
	struct xdr_out x = xdr_out_of(message + 4, sizeof(message) - 4);
	const uint32_t head[] = {xid, 0, 2, PROG, 3, proc, 1, 24, 0, 0, 500, 1, 1, 600, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_opaque(&x, pattern, n);
	be32_put(message, 0x80000000u | (uint32_t)xdr_out_len(&x));
	return xdr_out_len(&x) + 4;
}

static void call(int fd, uint32_t xid, uint32_t proc, uint32_t n)
{
	size_t len = call_make(xid, proc, n);
	for (size_t at = 0; at < len;) {
		ssize_t k = send(fd, message + at, len - at, MSG_NOSIGNAL);
		ck_assert_int_gt(k, 0);
		at += (size_t)k;
	}
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, ms) > 0;
}

static bool read_all(int fd, uint8_t *to, size_t n)
{
	while (n) {
		ssize_t k = readable(fd, 20000) ? recv(fd, to, n, 0) : -1;
		if (k <= 0)
			return false;
		to += k;
		n -= (size_t)k;
	}
	return true;
}

/* The reply without its mark; 0: the connection ended. */
static size_t answer(int fd)
{
	uint8_t mark[4];
	if (!read_all(fd, mark, 4))
		return 0;
	size_t n = be32_get(mark) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(reply));
	return read_all(fd, reply, n) ? n : 0;
}

/* An accepted one; its results. */
static size_t results(int fd, uint32_t xid)
{
	size_t n = answer(fd);
	ck_assert_uint_ge(n, 24);
	ck_assert_uint_eq(be32_get(reply), xid);
	ck_assert_uint_eq(be32_get(reply + 4), 1);
	ck_assert_uint_eq(be32_get(reply + 8), 0);
	ck_assert_uint_eq(be32_get(reply + 20), 0);
	return n - 24;
}

static uint32_t word(unsigned i)
{
	return be32_get(reply + 24 + 4 * i);
}

/* Of a datagram the address it reached is known, not the port. */
static void expect_who(uint16_t from, uint16_t to)
{
	ck_assert_uint_eq(word(0), INADDR_LOOPBACK);
	ck_assert_uint_eq(word(1), from);
	ck_assert_uint_eq(word(2), to);
	ck_assert_uint_eq(word(3), RPC_FLAVOR_SYS);
	ck_assert_uint_eq(word(4), 500);
	ck_assert_uint_eq(word(5), 1);
	ck_assert_uint_eq(word(6), 600);
	ck_assert_uint_eq(word(7), 1);
}

/* ---- tests ---- */

START_TEST(as_if_called_there)
{
	int fd = dial(SOCK_STREAM), other = dial(SOCK_STREAM);
	call(fd, 1, WHO, 0);
	ck_assert_uint_eq(results(fd, 1), 32);
	expect_who(port_of(fd), port);
	call(other, 1, WHO, 0);
	ck_assert_uint_eq(results(other, 1), 32);
	expect_who(port_of(other), port);
	call(fd, 2, NULLP, 0); /* one of its own between */
	ck_assert_uint_eq(results(fd, 2), 0);
	close(fd);
	close(other);
}
END_TEST

START_TEST(large_both_ways)
{
	uint32_t sum = 0;
	int fd = dial(SOCK_STREAM);
	for (size_t i = 0; i < BIG; i++)
		sum += pattern[i];
	for (uint32_t i = 0; i < 8; i++)
		call(fd, 10 + i, SUM, BIG);
	for (uint32_t i = 0; i < 8; i++) {
		ck_assert_uint_eq(results(fd, 10 + i), 4);
		ck_assert_uint_eq(word(0), sum);
	}
	for (uint32_t i = 0; i < 20; i++)
		call(fd, 30 + i, BODY, 0);
	for (uint32_t i = 0; i < 20; i++) {
		ck_assert_uint_eq(results(fd, 30 + i), BIG + 4);
		ck_assert_mem_eq(reply + 28, pattern, BIG);
	}
	close(fd);
}
END_TEST

START_TEST(refusals_come_back)
{
	int fd = dial(SOCK_STREAM);
	size_t len = call_make(1, SUM, 0);
	be32_put(message + len - 4, 100); /* an opaque that is not there */
	ck_assert_int_eq(send(fd, message, len, 0), (ssize_t)len);
	ck_assert_uint_eq(answer(fd), 24);
	ck_assert_uint_eq(be32_get(reply + 20), RPC_GARBAGE_ARGS);
	call(fd, 2, WEAK, 0);
	ck_assert_uint_eq(answer(fd), 20);
	ck_assert_uint_eq(be32_get(reply + 8), 1);
	ck_assert_uint_eq(be32_get(reply + 16), RPC_AUTH_TOOWEAK);
	close(fd);
}
END_TEST

/* To two servers, which are one here: answered when both have; while one is away it waits. */
START_TEST(to_all)
{
	int fd = dial(SOCK_STREAM);
	for (uint32_t i = 0; i < 10; i++) {
		call(fd, i, ALL, 0);
		ck_assert_uint_eq(results(fd, i), 4);
		ck_assert_uint_eq(word(0), 2 * i + 2);
		call(fd, 100 + i, WHO, 0);
		ck_assert_uint_eq(results(fd, 100 + i), 32);
	}
	run(back_die);
	call(fd, 50, ALL, 0);
	ck_assert(!readable(fd, 50));
	run(back_up);
	ck_assert_uint_eq(results(fd, 50), 4);
	ck_assert_uint_eq(runs, 22);
	close(fd);
	fd = dial(SOCK_DGRAM);
	size_t len = call_make(9, ALL, 0);
	ck_assert_int_eq(send(fd, message + 4, len - 4, 0), (ssize_t)len - 4);
	ck_assert(readable(fd, 20000));
	ck_assert_int_eq(recv(fd, reply, sizeof(reply), 0), 28);
	close(fd);
}
END_TEST

/* Sent again on the connection, and from a new one with its port: done once, answered each. */
START_TEST(once)
{
	int fd = dial(SOCK_STREAM);
	call(fd, 5, COUNT, 0);
	call(fd, 5, COUNT, 0);
	ck_assert_uint_eq(results(fd, 5), 4);
	ck_assert_uint_eq(word(0), 1);
	call(fd, 5, COUNT, 0);
	ck_assert_uint_eq(results(fd, 5), 4);
	ck_assert_uint_eq(word(0), 1);
	ck_assert_uint_eq(runs, 1);
	call(fd, 6, HOLD, 0);
	call(fd, 6, HOLD, 0);
	ck_assert_uint_eq(results(fd, 6), 4);
	close(fd);
}
END_TEST

START_TEST(the_successor_answers)
{
	int fd = dial(SOCK_STREAM);
	held = true;
	call(fd, 1, HOLD, 0);
	while (!holds)
		usleep(1000);
	call(fd, 2, COUNT, 0);
	run(back_die);
	ck_assert(!readable(fd, 100)); /* nobody knows what became of it */
	call(fd, 3, SUM, BIG);
	call(fd, 4, NULLP, 0); /* its own go on */
	ck_assert_uint_eq(results(fd, 4), 0);
	run(back_up);
	bool got[4] = {0};
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(answer(fd), 28);
		ck_assert_uint_eq(be32_get(reply + 20), 0);
		got[be32_get(reply) & 3] = true;
	}
	ck_assert(got[1] && got[2] && got[3]);
	close(fd);
}
END_TEST

START_TEST(who_leaves_is_not_answered)
{
	held = true;
	for (int i = 0; i < 5; i++) {
		int fd = dial(SOCK_STREAM);
		call(fd, 1, HOLD, 0);
		call(fd, 2, SUM, BIG);
		while (holds == (unsigned)i)
			usleep(1000);
		close(fd);
	}
	run(back_die);
	int fd = dial(SOCK_STREAM);
	call(fd, 1, WHO, 0);
	usleep(100000);
	close(fd);
	fd = dial(SOCK_STREAM); /* is there when the server stops */
	call(fd, 1, WHO, 0);
	call(fd, 2, NULLP, 0);
	ck_assert_uint_eq(results(fd, 2), 0);
	run(front_down);
	run(front_up);
	close(fd);
}
END_TEST

START_TEST(datagrams)
{
	int fd = dial(SOCK_DGRAM);
	size_t len = call_make(9, WHO, 0);
	ck_assert_int_eq(send(fd, message + 4, len - 4, 0), (ssize_t)len - 4);
	ck_assert(readable(fd, 20000));
	ck_assert_int_eq(recv(fd, reply, sizeof(reply), 0), 24 + 32);
	expect_who(port_of(fd), 0);
	run(back_die);
	ck_assert_int_eq(send(fd, message + 4, len - 4, 0), (ssize_t)len - 4);
	ck_assert(!readable(fd, 100));
	close(fd);
}
END_TEST

/* ---- what is taken as a relayed call ---- */

static int dial_back(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sa.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static struct rpc_relay_from somebody(void)
{
	struct rpc_relay_from f = {
	    .cred = {.flavor = RPC_FLAVOR_SYS, .uid = 1, .gid = 2, .ngroups = 16}};
	struct sockaddr_in *in = (struct sockaddr_in *)&f.peer;
	in->sin_family = AF_INET;
	in->sin_port = htons(700);
	in->sin_addr.s_addr = htonl(0xc0000201);
	return f;
}

static void call_relayed(int fd, uint32_t flavor, const uint8_t *cred, size_t n)
{
	struct xdr_out x = xdr_out_of(message + 4, sizeof(message) - 4);
	const uint32_t head[] = {77, 0, 2, PROG, 3, WHO, flavor};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_opaque(&x, cred, (uint32_t)n);
	xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 0);
	be32_put(message, 0x80000000u | (uint32_t)xdr_out_len(&x));
	ck_assert_int_gt(send(fd, message, xdr_out_len(&x) + 4, MSG_NOSIGNAL), 0);
}

static void expect_denied(int fd)
{
	ck_assert_uint_eq(answer(fd), 20);
	ck_assert_uint_eq(be32_get(reply + 8), 1);
	ck_assert_uint_eq(be32_get(reply + 12), 1);
}

START_TEST(nothing_else_is_believed)
{
	uint8_t cred[RPC_RELAY_CRED];
	struct rpc_relay_from f = somebody(), g;
	size_t n = rpc_relay_put(&f, cred, sizeof(cred));
	ck_assert_uint_eq(n, RPC_RELAY_CRED);
	ck_assert(rpc_relay_get(&g, cred, n));
	ck_assert_mem_eq(&g, &f, sizeof(f));
	int fd = dial_back();
	call(fd, 1, WHO, 0); /* who calls by AUTH_SYS is nobody there */
	expect_denied(fd);
	call_relayed(fd, RPC_FLAVOR_RELAY, cred, n);
	ck_assert_uint_eq(results(fd, 77), 32);
	ck_assert_uint_eq(word(0), 0xc0000201);
	ck_assert_uint_eq(word(1), 700);
	((struct sockaddr_in *)&f.peer)->sin_port = htons(701);
	rpc_relay_put(&f, cred, sizeof(cred));
	call_relayed(fd, RPC_FLAVOR_RELAY, cred, n); /* another client by its connection */
	expect_denied(fd);
	close(fd);
	fd = dial(SOCK_STREAM); /* a client cannot say who it is */
	call_relayed(fd, RPC_FLAVOR_RELAY, cred, n);
	expect_denied(fd);
	close(fd);
}
END_TEST

/* Every byte of it changed, every length of it. */
START_TEST(credentials_that_are_none)
{
	uint8_t cred[RPC_RELAY_CRED + 4] = {0};
	struct rpc_relay_from f = somebody(), g;
	size_t n = rpc_relay_put(&f, cred, RPC_RELAY_CRED);
	for (size_t k = 0; k < n + 4; k++)
		ck_assert(rpc_relay_get(&g, cred, k) == (k == n));
	for (size_t k = 0; k < n; k++)
		for (unsigned v = 1; v < 256; v++) {
			cred[k] ^= (uint8_t)v;
			if (rpc_relay_get(&g, cred, n)) {
				ck_assert_uint_le(g.cred.ngroups, RPC_GROUPS_MAX);
				ck_assert_uint_le(g.xprt, RPC_XPRT_MTLS);
				ck_assert(g.peer.ss_family == AF_INET ||
					  g.peer.ss_family == AF_INET6);
			}
			cred[k] ^= (uint8_t)v;
		}
}
END_TEST

/* A server that answers with what is no reply: the relay begins anew, the client waits. */
START_TEST(replies_that_are_none)
{
	static const uint32_t bad[][8] = {
	    {0x80000000u | 4, 1},		  /* too short */
	    {0x7fffffff},			  /* in fragments */
	    {0xffffffff},			  /* too long */
	    {0x80000000u | 24, 1, 0, 0, 0, 0, 0}, /* a call */
	    {0x80000000u | 24, 1, 1, 7, 0, 0, 0}, /* neither accepted nor denied */
	    {0x80000000u | 20, 1, 1, 0, 0, 0},	  /* accepted, and ends before its status */
	    {0x80000000u | 24, 1, 1, 0, 6, 0, 0}, /* a verifier */
	};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	run(back_die);
	unlink(path);
	int l = socket(AF_UNIX, SOCK_STREAM, 0), fd = dial(SOCK_STREAM);
	strcpy(sa.sun_path, path);
	ck_assert_int_eq(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(l, 8), 0);
	call(fd, 1, WHO, 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t bytes[32];
		int c = accept(l, NULL, NULL);
		ck_assert(readable(c, 20000)); /* the call, again */
		for (unsigned k = 0; k < 8; k++)
			be32_put(bytes + 4 * k, bad[i][k]);
		ck_assert_int_eq(send(c, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
		close(accept(l, NULL, NULL)); /* it comes again at once; this one just ends */
		close(c);
	}
	ck_assert(!readable(fd, 0));
	close(l);
	run(back_up);
	ck_assert_uint_eq(results(fd, 1), 32);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc_relay");
	TCase *tc = tcase_create("relay");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, as_if_called_there);
	tcase_add_test(tc, large_both_ways);
	tcase_add_test(tc, refusals_come_back);
	tcase_add_test(tc, to_all);
	tcase_add_test(tc, once);
	tcase_add_test(tc, the_successor_answers);
	tcase_add_test(tc, who_leaves_is_not_answered);
	tcase_add_test(tc, datagrams);
	tcase_add_test(tc, nothing_else_is_believed);
	tcase_add_test(tc, credentials_that_are_none);
	tcase_add_test(tc, replies_that_are_none);
	suite_add_tcase(s, tc);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
