/*
 * What comes over the sockets on which servers relay calls to each other (rpc_relay.h), both ways.
 *
 * Input: how u8, length u8, bytes. how & 1: the bytes are what the other server says to a call that
 * was relayed to it, with how & 2 behind the mark and the number that its answer has. Else they are
 * what comes to relay a call: as they are, or with how & 2 a call whose credential the first
 * `length` of them are, with how & 4 twice, with a good credential before.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "nasfront/rpc/rpc_relay.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define PROG	400100
#define WAIT_MS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct reactor *reactor;
static struct rpc_server *server;
static uint16_t port;
static char ours[RPC_RELAY_PATH_MAX], others[RPC_RELAY_PATH_MAX];
static int other_fd;
static _Atomic bool up;

/* ---- the server ---- */

static int answer(struct rpc_req *req, void *arg)
{
	ASSERT(req->cred.ngroups <= RPC_GROUPS_MAX);
	ASSERT(rpc_conn_xprt(req->conn) <= RPC_XPRT_MTLS);
	xdr_put_string(&req->out, rpc_conn_peer_text(req->conn));
	return RPC_SUCCESS;
}

static int pass(struct rpc_req *req, void *arg)
{
	return rpc_relay(req, others);
}

static const struct rpc_proc procs[] = {{"ANSWER", answer, NULL, 0}, {"PASS", pass, NULL, 0}};
static const struct rpc_program program = {
    .prog = PROG, .vers = 1, .procs = procs, .nprocs = ARRAY_LEN(procs)};

static void server_up(void *arg)
{
	struct rpc_server_opts o = {.reactor = reactor, .env = env_real(), .area_size = 64};
	ASSERT(rpc_server_new(&server, &o) == 0 && rpc_server_add(server, &program) == 0);
	ASSERT(rpc_server_listen(server, "127.0.0.1", 0, &port) == 0);
	ASSERT(rpc_server_listen_relay(server, ours, NULL, 0) == 0);
	up = true;
}

static void remove_paths(void)
{
	unlink(ours);
	unlink(others);
}

static void begin(void)
{
	struct reactor_opts o = {.name = "rpc", .cpu = -1};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_L_ERROR);
	snprintf(ours, sizeof(ours), "/tmp/isthmus-fuzz-relay.%d", (int)getpid());
	snprintf(others, sizeof(others), "/tmp/isthmus-fuzz-relay-other.%d", (int)getpid());
	atexit(remove_paths);
	unlink(others);
	strcpy(sa.sun_path, others);
	other_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT(bind(other_fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	       listen(other_fd, 64) == 0);
	ASSERT(reactor_new(&reactor, &o) == 0);
	ASSERT(task_start_on(reactor_sched(reactor), server_up, NULL) == 0);
	ASSERT(reactor_start_thread(reactor) == 0);
	while (!up)
		usleep(1000);
}

/* ---- who talks to it ---- */

static int dial(const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family, SOCK_STREAM, 0), rc;
	do
		rc = connect(fd, sa, len);
	while (rc && errno == EINTR);
	ASSERT(rc == 0 || errno == EISCONN);
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, ms) > 0;
}

/* Until it ends, or says nothing more. */
static void drain(int fd, int ms)
{
	uint8_t buf[4096];
	while (readable(fd, ms) && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static size_t put_call(uint8_t *to, size_t size, uint32_t proc, uint32_t flavor,
		       const uint8_t *cred, size_t n)
{
	struct xdr_out x = xdr_out_of(to + 4, size - 4);
	const uint32_t head[] = {1, 0, 2, PROG, 1, proc, flavor};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_opaque(&x, cred, (uint32_t)n);
	xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 0);
	be32_put(to, 0x80000000u | (uint32_t)xdr_out_len(&x));
	return 4 + xdr_out_len(&x);
}

static size_t good(uint8_t cred[RPC_RELAY_CRED])
{
	struct rpc_relay_from f = {.cred = {.flavor = RPC_FLAVOR_SYS, .ngroups = 2}};
	f.peer.ss_family = AF_INET;
	return rpc_relay_put(&f, cred, RPC_RELAY_CRED);
}

static void call_in(uint8_t how, size_t n, const uint8_t *data, size_t size)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	uint8_t call[512], cred[RPC_RELAY_CRED];
	strcpy(sa.sun_path, ours);
	int fd = dial((struct sockaddr *)&sa, sizeof(sa));
	n = MIN(n, size);
	if (how & 4) {
		size_t len = put_call(call, sizeof(call), 0, RPC_FLAVOR_RELAY, cred, good(cred));
		send(fd, call, len, MSG_NOSIGNAL);
	}
	if (how & 2) {
		size_t len = put_call(call, sizeof(call), how >> 7, RPC_FLAVOR_RELAY, data, n);
		send(fd, call, len, MSG_NOSIGNAL);
	} else {
		send(fd, data, size, MSG_NOSIGNAL);
	}
	shutdown(fd, SHUT_WR);
	drain(fd, WAIT_MS);
	close(fd);
}

static void reply_to(uint8_t how, const uint8_t *data, size_t size)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct linger hard = {.l_onoff = 1};
	uint8_t call[512], head[12];
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = dial((struct sockaddr *)&sa, sizeof(sa)), relay;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	send(fd, call, put_call(call, sizeof(call), 1, RPC_FLAVOR_NONE, NULL, 0), MSG_NOSIGNAL);
	if (readable(other_fd, 5000) && (relay = accept(other_fd, NULL, NULL)) >= 0) {
		readable(relay, 5000); /* the call */
		be32_put(head, 0x80000000u | (uint32_t)(size + 8));
		be32_put(head + 4, 1);
		be32_put(head + 8, 1);
		if (how & 2)
			send(relay, head, sizeof(head), MSG_NOSIGNAL);
		send(relay, data, size, MSG_NOSIGNAL);
		shutdown(relay, SHUT_WR);
		drain(fd, 2); /* what the client hears */
		close(relay);
	}
	close(fd);
	while ((relay = accept(other_fd, NULL, NULL)) >= 0) /* it came again meanwhile */
		close(relay);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!server)
		begin();
	if (size < 2)
		return 0;
	if (data[0] & 1)
		reply_to(data[0], data + 2, size - 2);
	else
		call_in(data[0], data[1], data + 2, size - 2);
	return 0;
}
