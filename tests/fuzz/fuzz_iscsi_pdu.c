/*
 * Bytes into a connection of a whole target over the loopback of a socket pair, before and after
 * login. The reactor is turned in this thread. When the bytes are through, the connection is
 * closed and nothing may be held: no page, no task, no connection.
 *
 * First byte: bit 0 login before; bits 1-2 which keys; bit 3 pages miss; bits 4-7 size of the
 * pieces. With the third set of keys the session has two connections: each takes half of the bytes,
 * piece by piece in turn.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/log.h"
#include "server/iscsi/conn.h"
#include "tests/unit/iscsi/target.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct target target;
static struct reactor *reactor;
static struct worker *worker;

static const char *const logins[] = {
    "InitiatorName=" HOST "\0TargetName=" TARGET_OPEN "\0InitialR2T=No\0",
    "InitiatorName=" HOST "\0TargetName=" TARGET_OPEN "\0HeaderDigest=None\0",
    "InitiatorName=" HOST "\0TargetName=" TARGET_OPEN "\0MaxConnections=2\0MaxBurstLength=512\0",
    "InitiatorName=" HOST "\0SessionType=Discovery\0DataDigest=None\0ImmediateData=No\0",
};
static const size_t login_len[] = {
    sizeof("InitiatorName=" HOST "\0TargetName=" TARGET_OPEN "\0InitialR2T=No"),
    sizeof("InitiatorName=" HOST "\0TargetName=" TARGET_OPEN "\0HeaderDigest=None"),
    sizeof("InitiatorName=" HOST "\0TargetName=" TARGET_OPEN
	   "\0MaxConnections=2\0MaxBurstLength=512"),
    sizeof("InitiatorName=" HOST "\0SessionType=Discovery\0DataDigest=None\0ImmediateData=No"),
};

static void turn(void)
{
	reactor_stop(reactor); /* after one turn */
	reactor_run(reactor);
}

static void drain(int fd)
{
	static char buf[1 << 16];
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct reactor_opts ro = {.name = "fuzz", .cpu = -1, .no_uring = true};
	log_set_level(LOG_L_ERROR);
	target_make(&target, 1 << 20);
	ASSERT(reactor_new(&reactor, &ro) == 0);
	struct iscsi_opts o = {.registry = target.registry, .reactors = &reactor, .nreactors = 1};
	ASSERT(iscsi_server_start(&target.server, &o) == 0);
	turn();
	worker = &target.server->workers[0];
	return 0;
}

static void send_login(int fd, unsigned which, uint16_t tsih)
{
	struct bhs b = {.opcode = OP_LOGIN_REQ | PDU_IMMEDIATE, .flags = 0x87};
	be16_put(b.tsih, tsih);
	be16_put(b.cid, tsih ? 1 : 0);
	char pad[4] = {0};
	uint32_t len = (uint32_t)login_len[which];
	be24_put(b.dsl, len);
	ASSERT(send(fd, &b, sizeof(b), 0) == sizeof(b));
	ASSERT(send(fd, logins[which], len, 0) == (ssize_t)len);
	ASSERT(send(fd, pad, pdu_pad(len), 0) == pdu_pad(len));
	for (int i = 0; i < 4; i++)
		turn();
	drain(fd);
}

struct stream {
	int fd;
	const uint8_t *data;
	size_t size;
};

static void feed_piece(struct stream *s, size_t piece)
{
	ssize_t n = send(s->fd, s->data, MIN(s->size, piece), MSG_DONTWAIT | MSG_NOSIGNAL);
	turn();
	turn();
	drain(s->fd);
	s->data += n > 0 ? n : 0;
	s->size = n > 0 ? s->size - (size_t)n : 0;
}

/* Its other end, after the target has taken it. */
static int come(void)
{
	int fd[2];
	ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	atomic_fetch_add(&target.server->nconns, 1);
	atomic_fetch_add(&worker->nconns, 1);
	atomic_fetch_add(&worker->nloose, 1);
	conn_adopt(worker, &(struct accepted){.fd = fd[0], .group = 1});
	return fd[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 65536)
		return 0;
	unsigned how = *data, keys = how >> 1 & 3;
	size_t piece = (size_t)16 << (how >> 4);
	struct stream a = {.fd = come(), .data = data + 1, .size = size - 1}, b = {.fd = -1};
	target.volume->miss = how & 8;
	if (how & 1)
		send_login(a.fd, keys, 0);
	struct session *s = TAILQ_FIRST(&target.server->sessions);
	if (how & 1 && keys == 2 && s) {
		b = (struct stream){
		    .fd = come(), .data = a.data + a.size / 2, .size = a.size - a.size / 2};
		a.size /= 2;
		send_login(b.fd, keys, s->tsih);
	}
	while (a.size > 0 || b.size > 0) {
		if (a.size > 0)
			feed_piece(&a, piece);
		if (b.size > 0)
			feed_piece(&b, piece);
	}
	close(a.fd);
	if (b.fd >= 0)
		close(b.fd);
	for (int i = 0; i < 100 && atomic_load(&worker->nconns) > 0; i++)
		turn();
	ASSERT(atomic_load(&worker->nconns) == 0);
	ASSERT(atomic_load(&worker->nloose) == 0);
	ASSERT(mem_pool_available(worker->pool) == WORKER_TASKS);
	ASSERT(TAILQ_EMPTY(&target.server->sessions));
	ASSERT(target.volume->pins == 0 && target.volume->writes == 0);
	turn();
	return 0;
}
