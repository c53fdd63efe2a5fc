/* The RPC server over real sockets: record marking, errors, duplicates, back-pressure, time-outs.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/rpc.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/reactor.h"

#define PROG 400100

static struct reactor *reactor;
static struct rpc_server *server;
static uint16_t port;
static _Atomic unsigned starts, runs, releases;
static _Atomic int buffers_left;
static _Atomic bool ready;
static char pattern[1 << 20];

/* ---- a toy program ---- */

static int toy_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

/* Gives back the sum and length of its opaque argument. */
static int toy_sum(struct rpc_req *req, void *arg)
{
	const uint8_t *p;
	uint32_t n, sum = 0;
	if (!xdr_opaque(&req->args, UINT32_MAX, &p, &n))
		return RPC_GARBAGE_ARGS;
	for (uint32_t i = 0; i < n; i++)
		sum += p[i];
	xdr_put_u32(&req->out, n);
	xdr_put_u32(&req->out, sum);
	return RPC_SUCCESS;
}

static int toy_decline(struct rpc_req *req, void *arg)
{
	uint32_t n;
	xdr_u32(&req->args, &n); /* what the slow handler must see again */
	xdr_put_u32(&req->out, 1);
	return RPC_AGAIN;
}

static int toy_count(struct rpc_req *req, void *arg)
{
	starts++;
	env_sleep_ns(env_real(), 20 * NS_PER_MS);
	xdr_put_u32(&req->out, ++runs);
	return RPC_SUCCESS;
}

/* Finds out while it runs that it must not run twice: inline, or in its task. What was read and
 * written before does not matter. */
static int toy_once(struct rpc_req *req, void *arg)
{
	uint32_t n;
	xdr_u32(&req->args, &n);
	xdr_put_u32(&req->out, 4711);
	return rpc_once(req);
}

static int toy_count_once(struct rpc_req *req, void *arg)
{
	int rc = toy_once(req, arg);
	if (rc != RPC_AGAIN)
		return rc;
	req->out.p = req->out.base;
	return toy_count(req, arg);
}

static void toy_release(struct rpc_req *req)
{
	releases++;
}

static int toy_body(struct rpc_req *req, void *arg)
{
	struct iovec *iov = (struct iovec *)req->area;
	uint32_t n;
	if (!xdr_u32(&req->args, &n) || n > sizeof(pattern))
		return RPC_GARBAGE_ARGS;
	xdr_put_u32(&req->out, n);
	iov[0] = (struct iovec){.iov_base = pattern, .iov_len = n / 3};
	iov[1] = (struct iovec){.iov_base = pattern + n / 3, .iov_len = n - n / 3};
	req->body = iov;
	req->body_n = 2;
	req->body_len = n;
	req->release = toy_release;
	return RPC_SUCCESS;
}

static const struct rpc_proc toy_procs[] = {
    {"NULL", toy_null, NULL, 0},       {"SUM", toy_sum, NULL, 0},
    {"SUM2", toy_decline, toy_sum, 0}, {"COUNT", NULL, toy_count, RPC_CACHED},
    {"BODY", toy_body, NULL, 0},       {"ONCE", toy_once, toy_count, 0},
    {"LATE", NULL, toy_count_once, 0},
};
/* That must not run twice. */
static const uint32_t counted[] = {3, 5, 6};
static const struct rpc_program toy = {
    .prog = PROG, .vers = 3, .procs = toy_procs, .nprocs = ARRAY_LEN(toy_procs)};

/* ---- the server's thread ---- */

static void *mem_get(void *arg, size_t size)
{
	if (buffers_left <= 0)
		return NULL;
	buffers_left--;
	return malloc(size);
}

static void mem_put(void *arg, void *buf)
{
	buffers_left++;
	free(buf);
}

static const struct rpc_memory memory = {.try_get = mem_get, .put = mem_put};

static uint64_t record_timeout_ns;

static void server_up(void *arg)
{
	struct rpc_server_opts o = {.reactor = reactor,
				    .env = env_real(),
				    .memory = &memory,
				    .area_size = 64,
				    .max_inflight = 8,
				    .record_timeout_ns = record_timeout_ns};
	ck_assert_int_eq(rpc_server_new(&server, &o), 0);
	ck_assert_int_eq(rpc_server_add(server, &toy), 0);
	ck_assert_int_eq(rpc_server_listen(server, "127.0.0.1", 0, &port), 0);
	ck_assert_int_eq(rpc_server_listen(server, "nonsense", 0, NULL), -EINVAL);
	ready = true;
}

static void server_down(void *arg)
{
	ck_assert_int_eq(rpc_server_stop(server, 5 * NS_PER_S), 0);
	rpc_server_free(server);
	reactor_stop(reactor);
}

static void begin(uint64_t timeout_ns)
{
	record_timeout_ns = timeout_ns;
	struct reactor_opts o = {.name = "rpc", .cpu = -1};
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 7 + i / 251);
	buffers_left = 1000;
	ready = false;
	runs = releases = 0;
	ck_assert_int_eq(reactor_new(&reactor, &o), 0);
	ck_assert_int_eq(task_start_on(reactor_sched(reactor), server_up, NULL), 0);
	ck_assert_int_eq(reactor_start_thread(reactor), 0);
	while (!ready)
		usleep(1000);
}

static void setup(void)
{
	begin(300 * NS_PER_MS);
}

static void setup_patient(void)
{
	begin(0);
}

static void teardown(void)
{
	task_start_on(reactor_sched(reactor), server_down, NULL);
	reactor_join(reactor);
	reactor_free(reactor);
	ck_assert_int_eq(buffers_left, 1000);
}

/* ---- a client ---- */

struct stats_ask {
	struct rpc_stats stats;
	atomic_bool done;
};

static void stats_task(void *arg)
{
	struct stats_ask *a = arg;
	rpc_server_stats(server, &a->stats);
	a->done = true;
}

/* The counters belong to the server's thread. */
static void stats_get(struct rpc_stats *ret)
{
	struct stats_ask a = {.done = false};
	ck_assert_int_eq(task_start_on(reactor_sched(reactor), stats_task, &a), 0);
	while (!a.done)
		usleep(100);
	*ret = a.stats;
}

/* -1: that port is not to be had. */
static int dial_as(const char *address, uint16_t from)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	sa.sin_port = htons(from);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		ck_assert_int_eq(errno, EADDRINUSE);
		close(fd);
		return -1;
	}
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sa.sin_port = htons(port);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static int dial_from(uint16_t from)
{
	return dial_as("127.0.0.1", from);
}

/* From a port that the kernel gives to nobody who does not ask for it: after a reset it is to be
 * had again, whatever else connects to whom meanwhile. */
static int dial_own(void)
{
	static uint16_t next;
	int fd = -1;
	if (!next)
		next = (uint16_t)(12000 + getpid() % 15000);
	for (int i = 0; fd < 0 && i < 100; i++)
		fd = dial_from(next++);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* The port of a connection that was just reset is soon free. */
static int dial_again(uint16_t from)
{
	int fd = dial_from(from);
	for (int i = 0; fd < 0 && i < 500; i++) {
		usleep(10000);
		fd = dial_from(from);
	}
	ck_assert_int_ge(fd, 0);
	return fd;
}

static int dial(void)
{
	return dial_from(0);
}

/* A call without its record mark. */
static size_t call_make(uint8_t *buf, size_t size, uint32_t xid, uint32_t prog, uint32_t vers,
			uint32_t proc, const void *opaque, uint32_t n)
{
	struct xdr_out o = xdr_out_of(buf, size);
	const uint32_t head[] = {xid, 0, 2, prog, vers, proc, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&o, head[i]);
	if (opaque)
		xdr_put_opaque(&o, opaque, n);
	else
		xdr_put_u32(&o, n);
	ck_assert(!o.full);
	return xdr_out_len(&o);
}

static void write_all(int fd, const void *buf, size_t n)
{
	const char *p = buf;
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
		ck_assert_int_gt(k, 0);
		p += k;
		n -= (size_t)k;
	}
}

static void send_record(int fd, const uint8_t *msg, size_t n)
{
	uint8_t mark[4];
	be32_put(mark, 0x80000000u | (uint32_t)n);
	write_all(fd, mark, 4);
	write_all(fd, msg, n);
}

static bool read_all(int fd, void *buf, size_t n)
{
	char *p = buf;
	while (n) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		if (poll(&pfd, 1, 5000) <= 0)
			return false;
		ssize_t k = recv(fd, p, n, 0);
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static uint8_t reply[2 << 20];

/* The reply's length without the mark; 0 when the connection ended. */
static size_t read_reply(int fd)
{
	uint8_t mark[4];
	if (!read_all(fd, mark, 4))
		return 0;
	uint32_t n = be32_get(mark) & 0x7fffffff;
	ck_assert_uint_le(n, sizeof(reply));
	return read_all(fd, reply, n) ? n : 0;
}

static void expect_sum(int fd, uint32_t xid, const uint8_t *data, uint32_t len)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < len; i++)
		sum += data[i];
	ck_assert_uint_eq(read_reply(fd), 24 + 8);
	ck_assert_uint_eq(be32_get(reply), xid);
	ck_assert_uint_eq(be32_get(reply + 20), RPC_SUCCESS);
	ck_assert_uint_eq(be32_get(reply + 24), len);
	ck_assert_uint_eq(be32_get(reply + 28), sum);
}

/* ---- tests ---- */

START_TEST(records_split_at_every_byte)
{
	uint8_t msg[128], wire[256];
	size_t n = call_make(msg, sizeof(msg), 5, PROG, 3, 1, "split me anywhere", 17);
	int fd = dial();
	/* Two fragments, the border at every byte. */
	for (size_t k = 1; k < n; k++) {
		be32_put(wire, (uint32_t)k);
		memcpy(wire + 4, msg, k);
		be32_put(wire + 4 + k, 0x80000000u | (uint32_t)(n - k));
		memcpy(wire + 8 + k, msg + k, n - k);
		write_all(fd, wire, n + 8);
		expect_sum(fd, 5, (const uint8_t *)"split me anywhere", 17);
	}
	/* One-byte fragments. */
	for (size_t k = 0; k < n; k++) {
		be32_put(wire, (k + 1 == n ? 0x80000000u : 0) | 1);
		wire[4] = msg[k];
		write_all(fd, wire, 5);
	}
	expect_sum(fd, 5, (const uint8_t *)"split me anywhere", 17);
	/* One record, sent in two pieces cut at every byte. */
	be32_put(wire, 0x80000000u | (uint32_t)n);
	memcpy(wire + 4, msg, n);
	for (size_t k = 1; k < n + 4; k++) {
		write_all(fd, wire, k);
		usleep(300);
		write_all(fd, wire + k, n + 4 - k);
		expect_sum(fd, 5, (const uint8_t *)"split me anywhere", 17);
	}
	close(fd);
}
END_TEST

START_TEST(many_records_in_one_write_and_large_ones)
{
	static uint8_t wire[3 << 20];
	size_t len = 0;
	static const uint32_t sizes[] = {0, 1, 3, 4000, 70000, 12, 1 << 20, 1 << 20, 65500, 8};
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = call_make(wire + len + 4, sizeof(wire) - len - 4, i, PROG, 3, 1 + i % 2,
				     pattern, sizes[i]);
		be32_put(wire + len, 0x80000000u | (uint32_t)n);
		len += 4 + n;
	}
	int fd = dial();
	for (int round = 0; round < 3; round++) {
		write_all(fd, wire, len);
		/* Replies may come in any order. */
		unsigned seen = 0;
		for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
			ck_assert_uint_eq(read_reply(fd), 32);
			uint32_t xid = be32_get(reply), sum = 0;
			ck_assert_uint_lt(xid, ARRAY_LEN(sizes));
			for (uint32_t k = 0; k < sizes[xid]; k++)
				sum += (uint8_t)pattern[k];
			ck_assert_uint_eq(be32_get(reply + 24), sizes[xid]);
			ck_assert_uint_eq(be32_get(reply + 28), sum);
			seen |= 1u << xid;
		}
		ck_assert_uint_eq(seen, (1u << ARRAY_LEN(sizes)) - 1);
	}
	close(fd);
}
END_TEST

static void expect_stat(int fd, uint32_t stat)
{
	ck_assert_uint_ge(read_reply(fd), 24);
	ck_assert_uint_eq(be32_get(reply + 8), 0);
	ck_assert_uint_eq(be32_get(reply + 20), stat);
}

START_TEST(errors_of_the_protocol)
{
	uint8_t msg[256];
	int fd = dial();
	send_record(fd, msg, call_make(msg, sizeof(msg), 1, PROG + 1, 3, 0, NULL, 0));
	expect_stat(fd, RPC_PROG_UNAVAIL);
	send_record(fd, msg, call_make(msg, sizeof(msg), 1, PROG, 4, 0, NULL, 0));
	expect_stat(fd, RPC_PROG_MISMATCH);
	ck_assert_uint_eq(be32_get(reply + 24), 3);
	ck_assert_uint_eq(be32_get(reply + 28), 3);
	send_record(fd, msg, call_make(msg, sizeof(msg), 1, PROG, 3, 7, NULL, 0));
	expect_stat(fd, RPC_PROC_UNAVAIL);
	send_record(fd, msg, call_make(msg, sizeof(msg), 1, PROG, 3, 1, NULL, 1000));
	expect_stat(fd, RPC_GARBAGE_ARGS);
	size_t n = call_make(msg, sizeof(msg), 1, PROG, 3, 0, NULL, 0);
	be32_put(msg + 8, 9); /* RPC version */
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 24);
	ck_assert_uint_eq(be32_get(reply + 8), 1);
	ck_assert_uint_eq(be32_get(reply + 12), 0);
	ck_assert_uint_eq(be32_get(reply + 16), 2);
	n = call_make(msg, sizeof(msg), 1, PROG, 3, 0, NULL, 0);
	be32_put(msg + 24, 7); /* flavour */
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 20);
	ck_assert_uint_eq(be32_get(reply + 8), 1);
	ck_assert_uint_eq(be32_get(reply + 12), 1);
	ck_assert_uint_eq(be32_get(reply + 16), RPC_AUTH_REJECTEDCRED);
	/* Not a call at all: the connection ends. */
	be32_put(msg + 4, 1);
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 0);
	close(fd);
}
END_TEST

START_TEST(bad_marks_end_the_connection)
{
	static const uint32_t marks[] = {0x7fffffff, 0xffffffff, 0x80000000u + RPC_RECORD_MAX + 1,
					 0};
	for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
		uint8_t mark[4];
		int fd = dial();
		be32_put(mark, marks[i]);
		write_all(fd, mark, 4);
		ck_assert_uint_eq(read_reply(fd), 0);
		close(fd);
	}
}
END_TEST

START_TEST(half_a_record_times_out)
{
	uint8_t wire[6] = {0x80, 0, 0, 100, 1, 2}, msg[128];
	int fd = dial(), idle = dial();
	write_all(fd, wire, sizeof(wire));
	ck_assert_uint_eq(read_reply(fd), 0);
	/* An idle connection stays. */
	send_record(idle, msg, call_make(msg, sizeof(msg), 9, PROG, 3, 0, NULL, 0));
	ck_assert_uint_eq(read_reply(idle), 24);
	close(fd);
	close(idle);
}
END_TEST

static uint16_t hang_up(int fd)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct linger hard = {.l_onoff = 1};
	getsockname(fd, (struct sockaddr *)&sa, &len);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	return ntohs(sa.sin_port);
}

START_TEST(duplicates_run_once)
{
	uint8_t msg[128];
	size_t n = call_make(msg, sizeof(msg), 42, PROG, 3, counted[_i], "x", 1);
	int fd = dial_own();
	/* Two at once: the second is dropped while the first runs. */
	send_record(fd, msg, n);
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 28);
	ck_assert_uint_eq(be32_get(reply + 24), 1);
	/* After that: the same reply again. */
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 28);
	ck_assert_uint_eq(be32_get(reply + 24), 1);
	ck_assert_uint_eq(runs, 1);
	/* Also over a new connection from the same port. */
	fd = dial_again(hang_up(fd));
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 28);
	ck_assert_uint_eq(runs, 1);
	n = call_make(msg, sizeof(msg), 43, PROG, 3, counted[_i], "x", 1);
	send_record(fd, msg, n);
	ck_assert_uint_eq(read_reply(fd), 28);
	ck_assert_uint_eq(be32_get(reply + 24), 2);
	close(fd);
}
END_TEST

/* The connection breaks while the call runs: who sends it again over a new one gets the answer. */
START_TEST(a_duplicate_after_reconnecting_is_answered)
{
	uint8_t msg[128];
	for (unsigned i = 1; i <= 10; i++) {
		size_t n = call_make(msg, sizeof(msg), 100 + i, PROG, 3, counted[_i], "x", 1);
		unsigned before = starts;
		int fd = dial_own();
		send_record(fd, msg, n);
		while (starts == before)
			usleep(100);
		/* Twice, so that one that waits gives way to a later one. */
		for (int k = 0; k < 2; k++) {
			fd = dial_again(hang_up(fd));
			send_record(fd, msg, n);
			usleep(1000);
		}
		ck_assert_uint_eq(read_reply(fd), 28);
		ck_assert_uint_eq(be32_get(reply), 100 + i);
		ck_assert_uint_eq(be32_get(reply + 24), i);
		ck_assert_uint_eq(runs, i);
		close(fd);
	}
}
END_TEST

START_TEST(bodies_arrive_whole_however_slowly_read)
{
	uint8_t msg[128];
	int fd = dial(), small = 64 * 1024;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	static const uint32_t sizes[] = {1, 2, 3, 4, 4097, 1 << 20, 777777};
	unsigned calls = 0;
	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < ARRAY_LEN(sizes); i++, calls++)
			send_record(fd, msg,
				    call_make(msg, sizeof(msg), i, PROG, 3, 4, NULL, sizes[i]));
	usleep(50000);
	for (unsigned k = 0; k < calls; k++) {
		size_t n = read_reply(fd);
		uint32_t want = sizes[be32_get(reply)];
		ck_assert_uint_eq(n, 28 + ROUND_UP(want, 4));
		ck_assert_mem_eq(reply + 28, pattern, want);
	}
	/* Released when sent. A connection that breaks releases the rest. */
	for (unsigned k = 0; k < 20; k++)
		send_record(fd, msg, call_make(msg, sizeof(msg), 5, PROG, 3, 4, NULL, 1 << 20));
	close(fd);
	struct rpc_stats s;
	for (int i = 0; i < 2000; i++) {
		stats_get(&s);
		if (!s.requests && !s.connections)
			break;
		usleep(1000);
	}
	ck_assert_uint_eq(s.requests, 0);
	ck_assert_uint_ge(releases, calls);
}
END_TEST

START_TEST(without_buffers_connections_wait)
{
	uint8_t msg[128];
	int fds[8];
	buffers_left = 0;
	for (int i = 0; i < 8; i++) {
		fds[i] = dial();
		send_record(fds[i], msg, call_make(msg, sizeof(msg), 1, PROG, 3, 1, "abc", 3));
	}
	usleep(30000);
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	buffers_left = 1;
	for (int i = 0; i < 8; i++) {
		expect_sum(fds[i], 1, (const uint8_t *)"abc", 3);
		close(fds[i]);
	}
	usleep(20000);
	buffers_left = 1000;
}
END_TEST

START_TEST(more_calls_than_the_limit_of_a_connection)
{
	uint8_t msg[128];
	int fd = dial();
	for (uint32_t i = 0; i < 100; i++)
		send_record(fd, msg, call_make(msg, sizeof(msg), i, PROG, 3, 3, "n", 1));
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(read_reply(fd), 28);
	ck_assert_uint_eq(runs, 100);
	close(fd);
}
END_TEST

static bool ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

/* Halves of records fill the memory for what is slow: a host that is slow as well, but holds
 * little, does not pay for it. */
START_TEST(halves_of_records_fill_the_memory)
{
	enum { HOGS = 90, HALF = 1200 * 1024, REPLIES = 6 };
	static uint8_t half[HALF];
	int hogs[HOGS], slow, small = 64 * 1024;
	size_t sent[HOGS] = {0};
	unsigned closed = 0;
	uint8_t msg[128];
	be32_put(half, 0x80000000u | (HALF + 4096));
	for (int i = 0; i < HOGS; i++)
		hogs[i] = dial();
	buffers_left = 4; /* somebody always waits for one: so what is slow is moved */
	for (int round = 0; round < 5000 && !closed; round++, usleep(2000))
		for (int i = 0; i < HOGS && !closed; i++) {
			ssize_t n = send(hogs[i], half + sent[i], HALF - sent[i],
					 MSG_NOSIGNAL | MSG_DONTWAIT);
			sent[i] += n > 0 ? (size_t)n : 0;
			closed += ended(hogs[i]);
		}
	ck_assert_uint_eq(closed, 1);
	buffers_left += 1000 - 4;
	slow = dial_as("127.0.0.2", 0);
	setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (uint32_t i = 0; i < REPLIES; i++)
		send_record(slow, msg, call_make(msg, sizeof(msg), i, PROG, 3, 4, NULL, 1 << 20));
	usleep(2500000);
	for (uint32_t i = 0; i < REPLIES; i++)
		ck_assert_uint_eq(read_reply(slow), 28 + (1 << 20));
	close(slow);
	for (int i = 0; i < HOGS; i++)
		close(hogs[i]);
	for (int i = 0; i < 4000 && buffers_left != 1000; i++)
		usleep(1000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rpc");
	TCase *tc = tcase_create("rpc");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, records_split_at_every_byte);
	tcase_add_test(tc, many_records_in_one_write_and_large_ones);
	tcase_add_test(tc, errors_of_the_protocol);
	tcase_add_test(tc, bad_marks_end_the_connection);
	tcase_add_test(tc, half_a_record_times_out);
	tcase_add_loop_test(tc, duplicates_run_once, 0, ARRAY_LEN(counted));
	tcase_add_loop_test(tc, a_duplicate_after_reconnecting_is_answered, 0, ARRAY_LEN(counted));
	tcase_add_test(tc, bodies_arrive_whole_however_slowly_read);
	tcase_add_test(tc, without_buffers_connections_wait);
	tcase_add_test(tc, more_calls_than_the_limit_of_a_connection);
	suite_add_tcase(suite, tc);
	tc = tcase_create("patient");
	tcase_add_checked_fixture(tc, setup_patient, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, halves_of_records_fill_the_memory);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
