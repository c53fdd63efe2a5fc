/*
 * iscsi_storm PORT IQN SECONDS WORKERS [SEED]: initiators that send whatever comes to their mind:
 * commands with wrong lengths and flags, data nobody asked for, task management, text, pings,
 * noise, half PDUs, some over several connections of a session; and vanish in the middle of it.
 * Ends with 0 when every worker could log in all the time. What became of the target is for others
 * to find out.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "server/iscsi/pdu.h"

#define NAMES	    6 /* initiator ports that all workers share: logins replace each other's sessions */
#define KNOWN	    64
#define CONNECTIONS 3

struct peer {
	int fd;
	int fds[CONNECTIONS]; /* of its session; fd is one of them */
	unsigned nfds;
	uint8_t isid[6];
	uint16_t tsih; /* of the session; 0: there is none yet */
	uint64_t rng;
	uint32_t cmdsn, itt;
	uint32_t known[KNOWN]; /* task tags used */
	unsigned nknown;
};

static uint8_t noise[65536];

static uint32_t any(struct peer *p, uint32_t below)
{
	p->rng = p->rng * 6364136223846793005ull + 1442695040888963407ull;
	return below ? (uint32_t)(p->rng >> 33) % below : 0;
}

static uint32_t pick(struct peer *p, const uint32_t *of, unsigned n)
{
	return of[any(p, n)];
}
#define PICK(p, ...)                                                                               \
	pick((p), (const uint32_t[]){__VA_ARGS__},                                                 \
	     sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void put(struct peer *p, const void *data, size_t len)
{
	const char *at = data;
	while (len > 0) {
		ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		at += n;
		len -= (size_t)n;
	}
}

static void put_pdu(struct peer *p, struct bhs *b, const void *data, uint32_t len)
{
	static const uint8_t zeros[4];
	be24_put(b->dsl, len);
	put(p, b, sizeof(*b));
	put(p, data, len);
	put(p, zeros, pdu_pad(len));
}

/* Whatever is there, or comes within that time, is taken and not looked at. */
static void drain(struct peer *p, int ms)
{
	static uint8_t sink[65536];
	struct pollfd f = {.fd = p->fd, .events = POLLIN};
	while (poll(&f, 1, ms) > 0 && recv(p->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

static bool get(struct peer *p, void *to, size_t len)
{
	return recv(p->fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

static int peer_connect(unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 15};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* 1: logged in; 0: lost to another login from the same port; -1: no answer. */
static int peer_login(struct peer *p, const char *iqn)
{
	static const char *const yes[] = {"No", "Yes"};
	char text[1024], data[8192];
	struct bhs b = {.opcode = OP_LOGIN_REQ | PDU_IMMEDIATE, .flags = 0x87}, rsp;
	int len = snprintf(text, sizeof(text),
			   "InitiatorName=iqn.2026-01.org.isthmus:storm%cTargetName=%s%c"
			   "InitialR2T=%s%cImmediateData=%s%cFirstBurstLength=%u%c"
			   "MaxBurstLength=%u%cMaxRecvDataSegmentLength=%u%cMaxOutstandingR2T=%u%c"
			   "MaxConnections=%u%c",
			   0, iqn, 0, yes[any(p, 2)], 0, yes[any(p, 2)], 0,
			   PICK(p, 512, 4096, 65536), 0, PICK(p, 512, 8192, 262144), 0,
			   PICK(p, 512, 8192, 262144), 0, PICK(p, 1, 4, 16), 0, CONNECTIONS, 0);
	memcpy(b.isid, p->isid, 6);
	be16_put(b.tsih, p->tsih);
	be16_put(b.cid, (uint16_t)p->nfds);
	be32_put(b.cmdsn, p->cmdsn);
	put_pdu(p, &b, text, (uint32_t)len);
	struct pollfd f = {.fd = p->fd, .events = POLLIN};
	if (poll(&f, 1, 15000) <= 0)
		return -1;
	if (!get(p, &rsp, sizeof(rsp)) || pdu_dsl(&rsp) > sizeof(data) ||
	    !get(p, data, pdu_dsl(&rsp) + pdu_pad(pdu_dsl(&rsp))))
		return 0;
	if (rsp.status_class == 0)
		p->tsih = be16_get(rsp.tsih);
	return rsp.status_class == 0;
}

/* A connection more, of the session or with a new one. As peer_login(). */
static int peer_come(struct peer *p, unsigned port, const char *iqn)
{
	p->fd = peer_connect(port);
	if (p->fd < 0)
		return -1;
	int rc = peer_login(p, iqn);
	if (rc > 0)
		p->fds[p->nfds++] = p->fd;
	else
		close(p->fd);
	return rc;
}

/* ---- what it sends ---- */

static uint32_t new_tag(struct peer *p)
{
	p->known[p->nknown++ % KNOWN] = ++p->itt;
	return p->itt;
}

static uint32_t old_tag(struct peer *p)
{
	if (p->nknown == 0 || any(p, 10) == 0)
		return any(p, UINT32_MAX);
	return p->known[any(p, p->nknown < KNOWN ? p->nknown : KNOWN)];
}

static void command(struct peer *p, struct bhs *b, uint32_t edtl, uint32_t len)
{
	b->opcode = OP_SCSI_CMD | (any(p, 20) ? 0 : PDU_IMMEDIATE);
	b->flags |= (uint8_t)PICK(p, 0, 1, 1, 1, 1, 1, 2, 2, 3, 4, 7); /* task attribute */
	be32_put(b->itt, any(p, 20) ? new_tag(p) : old_tag(p));
	be32_put(b->edtl, edtl);
	be32_put(b->cmdsn, p->cmdsn);
	p->cmdsn += !(b->opcode & PDU_IMMEDIATE);
	put_pdu(p, b, noise, len);
}

static void send_rw(struct peer *p)
{
	uint32_t blocks = PICK(p, 0, 1, 8, 64, 512, 2048, 65535), bytes = blocks * 512;
	struct bhs b = {.flags = (uint8_t)PICK(p, 0xa0, 0xa0, 0x20, 0xc0, 0xc0, 0xe0, 0x80)};
	b.cdb[0] = any(p, 2) ? 0x2a : 0x28;
	be32_put(b.cdb + 2, PICK(p, 0, 8, 100, 1000, 100000, UINT32_MAX));
	be16_put(b.cdb + 7, (uint16_t)blocks);
	command(p, &b, PICK(p, bytes, bytes, bytes, 512, 1, UINT32_MAX), PICK(p, 0, 0, 512, 8192));
}

static void send_other(struct peer *p)
{
	static const uint8_t ops[] = {0x12, 0x1a, 0x5a, 0xa0, 0x9e, 0xa3, 0x41, 0x93,
				      0x42, 0x89, 0x8a, 0x2e, 0x15, 0x55, 0x5f, 0x03,
				      0x91, 0x35, 0x34, 0x1b, 0x2f, 0x8f, 0x4d, 0x7f};
	struct bhs b = {.flags = (uint8_t)PICK(p, 0xa0, 0xc0, 0xe0, 0x80)};
	memcpy(b.cdb, noise + any(p, 60000), 16);
	if (any(p, 3)) {
		for (unsigned i = 1; i < 16; i++)
			b.cdb[i] = (uint8_t)PICK(p, 0, 0, 0, 1, 2, 8, 16, 255);
		b.cdb[0] = ops[any(p, sizeof(ops))];
	}
	be16_put(b.lun, (uint16_t)PICK(p, 0, 0, 1, 0x4000, UINT16_MAX));
	command(p, &b, PICK(p, 0, 24, 512, 4096, 65536), PICK(p, 0, 0, 24, 512));
}

static void send_data(struct peer *p)
{
	struct bhs b = {.opcode = OP_DATA_OUT, .flags = (uint8_t)PICK(p, 0, 0x80, 0x80)};
	be32_put(b.itt, old_tag(p));
	be32_put(b.ttt, PICK(p, 0, 0, 0, 1, 2, PDU_NO_TAG));
	be32_put(b.datasn, PICK(p, 0, 0, 0, 1, 2));
	be32_put(b.offset, PICK(p, 0, 0, 512, 4096));
	put_pdu(p, &b, noise, PICK(p, 0, 512, 4096, 8192));
}

static void send_tmf(struct peer *p)
{
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags =
			    (uint8_t)(PDU_FINAL | PICK(p, 1, 1, 1, 2, 2, 3, 4, 5, 5, 6, 8, 99))};
	be32_put(b.itt, new_tag(p));
	be32_put(b.ref_tag, old_tag(p));
	be32_put(b.cmdsn, p->cmdsn);
	put_pdu(p, &b, NULL, 0);
}

static void send_text(struct peer *p)
{
	static const struct {
		const char *text;
		uint32_t len;
	} texts[] = {{"SendTargets=All", 16},
		     {"SendTargets=", 13},
		     {"=", 2},
		     {"a", 2},
		     {"MaxRecvDataSegmentLength=777", 29},
		     {"MaxRecvDataSegmentLength=1", 27}};
	struct bhs b = {.opcode = OP_TEXT_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)PICK(p, 0x80, 0x80, 0x40, 0xc0, 0)};
	unsigned i = any(p, sizeof(texts) / sizeof(texts[0]) + 1);
	bool raw = i == sizeof(texts) / sizeof(texts[0]);
	be32_put(b.itt, new_tag(p));
	be32_put(b.ttt, PICK(p, PDU_NO_TAG, PDU_NO_TAG, 0, 1));
	be32_put(b.cmdsn, p->cmdsn);
	put_pdu(p, &b, raw ? (const char *)noise : texts[i].text, raw ? 3000 : texts[i].len);
}

static void send_ping(struct peer *p)
{
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, PICK(p, p->itt, PDU_NO_TAG));
	be32_put(b.ttt, PICK(p, PDU_NO_TAG, 5));
	be32_put(b.cmdsn, p->cmdsn);
	put_pdu(p, &b, noise, PICK(p, 0, 300, 60000));
}

static void send_noise(struct peer *p)
{
	struct bhs b;
	memcpy(&b, noise + any(p, 60000), sizeof(b));
	b.ahs_words = (uint8_t)PICK(p, 0, 0, 1, 255);
	be32_put(b.cmdsn, PICK(p, p->cmdsn, p->cmdsn + 1, p->cmdsn + 10000, 0));
	put_pdu(p, &b, noise, PICK(p, 0, 100, 1024));
}

static void send_half(struct peer *p)
{
	put(p, noise + any(p, 60000), 1 + any(p, 200));
}

static void (*const sends[])(struct peer *) = {
    send_rw,   send_rw,	  send_rw,  send_rw,  send_other, send_other, send_data,  send_data,
    send_data, send_data, send_tmf, send_tmf, send_text,  send_ping,  send_noise, send_half};

/* True: it could log in. */
static bool round_of(struct peer *p, unsigned port, const char *iqn)
{
	p->cmdsn = PICK(p, 1, 1, UINT32_MAX);
	p->itt = p->nknown = p->nfds = p->tsih = 0;
	p->isid[0] = 0x80;
	p->isid[5] = (uint8_t)any(p, NAMES);
	int rc = peer_come(p, port, iqn);
	for (unsigned i = 0, more = any(p, 4); rc > 0 && i < more && i + 1 < CONNECTIONS; i++)
		rc = peer_come(p, port, iqn);
	for (unsigned i = 0, n = 5 + any(p, 150); p->nfds > 0 && i < n; i++) {
		p->fd = p->fds[any(p, p->nfds)];
		sends[any(p, sizeof(sends) / sizeof(sends[0]))](p);
		if (any(p, 3) == 0)
			drain(p, 1);
	}
	struct linger reset = {.l_onoff = 1};
	for (unsigned i = 0; i < p->nfds; i++) {
		if (any(p, 3) == 0)
			setsockopt(p->fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(p->fds[i]);
	}
	return rc >= 0;
}

static int worker(unsigned port, const char *iqn, time_t end, uint64_t seed)
{
	struct peer p = {.rng = seed};
	unsigned rounds = 0, failed = 0;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)any(&p, 256);
	while (time(NULL) < end && failed == 0) {
		failed += !round_of(&p, port, iqn);
		rounds++;
	}
	printf("seed %llu: %u rounds%s\n", (unsigned long long)seed, rounds,
	       failed ? ", the last without an answer" : "");
	return failed || rounds == 0;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: iscsi_storm PORT IQN SECONDS WORKERS [SEED]\n");
		return 2;
	}
	unsigned port = (unsigned)atoi(argv[1]), workers = (unsigned)atoi(argv[4]);
	time_t end = time(NULL) + atoi(argv[3]);
	uint64_t seed = argc > 5 ? strtoull(argv[5], NULL, 0) : 1;
	int bad = 0, status;
	for (unsigned i = 0; i < workers; i++)
		if (fork() == 0)
			exit(worker(port, argv[2], end, seed + i));
	while (wait(&status) > 0)
		bad |= status != 0;
	return bad;
}
