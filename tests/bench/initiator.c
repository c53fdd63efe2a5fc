/*
 * The bench initiator's connection: URL, login, capacity. All of it waits on a blocking socket;
 * speed is initiator_io.c's.
 */
#include "tests/bench/initiator_impl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/crc32c.h"

#define INITIATOR_NAME "iqn.2026-01.org.isthmus:bench"
#define TEXT_MAX       8192
#define LOGIN_ROUNDS   8
#define ATTENTIONS     8 /* unit attentions of a new session */

int initiator_fail(struct initiator *in, const char *fmt, ...)
{
	va_list ap;
	if (!in->failed) {
		fprintf(stderr, "%s: ", in->name);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	in->failed = true;
	return -1;
}

/* ---- URL ---- */

struct url {
	char host[128], port[8], target[224];
	unsigned lun;
};

static int url_parse(const char *text, struct url *u)
{
	char where[160];
	*u = (struct url){.port = "3260"};
	if (sscanf(text, "iscsi://%159[^/]/%223[^/]/%u", where, u->target, &u->lun) != 3 ||
	    u->lun > 255 || strchr(where, '@'))
		return -1;
	const char *port = NULL, *host = where;
	char *end = where[0] == '[' ? strchr(where, ']') : strchr(where, ':');
	if (where[0] == '[') {
		if (!end)
			return -1;
		host++;
		*end++ = '\0';
	}
	if (end && *end == ':') {
		*end = '\0';
		port = end + 1;
	}
	if (port && (strlen(port) == 0 || strlen(port) >= sizeof(u->port)))
		return -1;
	if (port)
		strcpy(u->port, port);
	return snprintf(u->host, sizeof(u->host), "%s", host) < (int)sizeof(u->host) ? 0 : -1;
}

static int connect_to(struct initiator *in, const struct url *u)
{
	const char *why;
	in->fd = wire_connect(u->host, u->port, &why);
	return in->fd >= 0 ? 0 : initiator_fail(in, "cannot connect: %s", why);
}

/* ---- PDUs that are waited for ---- */

struct pdu {
	uint8_t bhs[BHS];
	uint32_t len;
	uint8_t data[TEXT_MAX];
};

static int send_pdu(struct initiator *in, struct pdu *p)
{
	uint8_t crc[4], pad[4] = {0};
	struct iovec iov[4] = {{p->bhs, BHS}};
	int n = 1;
	be24_put(p->bhs + AT_DSL, p->len);
	if (in->header_digest) {
		le32_put(crc, crc32c(p->bhs, BHS));
		iov[n++] = (struct iovec){crc, 4};
	}
	if (p->len)
		iov[n++] = (struct iovec){p->data, p->len};
	if (p->len % 4)
		iov[n++] = (struct iovec){pad, -p->len & 3};
	size_t want = 0;
	for (int i = 0; i < n; i++)
		want += iov[i].iov_len;
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t sent = sendmsg(in->fd, &m, MSG_NOSIGNAL);
	return sent == (ssize_t)want ? 0 : initiator_fail(in, "cannot send: %s", strerror(errno));
}

static int read_all(struct initiator *in, void *to, size_t len)
{
	ssize_t n = len ? recv(in->fd, to, len, MSG_WAITALL) : 0;
	return n == (ssize_t)len ? 0
				 : initiator_fail(in, "cannot receive: %s",
						  n < 0 ? strerror(errno) : "connection closed");
}

/* Digests are read over here: the data path checks them. */
static int read_pdu(struct initiator *in, struct pdu *p)
{
	uint8_t rest[8];
	if (read_all(in, p->bhs, BHS) || read_all(in, rest, in->header_digest ? 4 : 0))
		return -1;
	p->len = be24_get(p->bhs + AT_DSL);
	if (p->len > sizeof(p->data) || p->bhs[AT_AHS])
		return initiator_fail(in, "unexpected PDU %02x with %u bytes", p->bhs[AT_OPCODE],
				      p->len);
	uint32_t tail = p->len ? (-p->len & 3) + (in->data_digest ? 4 : 0) : 0;
	if (read_all(in, p->data, p->len) || read_all(in, rest, tail))
		return -1;
	in->expstatsn = be32_get(p->bhs + AT_STATSN) + 1;
	return 0;
}

/* ---- login ---- */

static void add_key(struct pdu *p, const char *key, const char *value)
{
	int n = snprintf((char *)p->data + p->len, sizeof(p->data) - p->len, "%s=%s", key, value);
	p->len += (uint32_t)n + 1;
}

static void add_number(struct pdu *p, const char *key, unsigned value)
{
	char text[16];
	snprintf(text, sizeof(text), "%u", value);
	add_key(p, key, text);
}

static void take_key(struct initiator *in, const char *key, const char *value)
{
	uint32_t number = (uint32_t)strtoul(value, NULL, 0);
	if (strcmp(key, "MaxRecvDataSegmentLength") == 0)
		in->max_send = number;
	else if (strcmp(key, "FirstBurstLength") == 0)
		in->first_burst = number;
	else if (strcmp(key, "ImmediateData") == 0)
		in->immediate = strcmp(value, "Yes") == 0;
	else if (strcmp(key, "InitialR2T") == 0)
		in->initial_r2t = strcmp(value, "Yes") == 0;
	else if (strcmp(key, "HeaderDigest") == 0 && strcmp(value, "CRC32C") != 0)
		in->header_digest = false;
	else if (strcmp(key, "DataDigest") == 0 && strcmp(value, "CRC32C") != 0)
		in->data_digest = false;
}

static void take_keys(struct initiator *in, struct pdu *p)
{
	char *at = (char *)p->data, *end = at + p->len;
	while (at < end && memchr(at, 0, (size_t)(end - at))) {
		char *next = at + strlen(at) + 1, *eq = strchr(at, '=');
		if (eq) {
			*eq = '\0';
			take_key(in, at, eq + 1);
		}
		at = next;
	}
}

static void security_keys(struct pdu *p, const struct url *u)
{
	add_key(p, "InitiatorName", INITIATOR_NAME);
	add_key(p, "TargetName", u->target);
	add_key(p, "SessionType", "Normal");
	add_key(p, "AuthMethod", "None");
}

/* What Linux's initiator asks for. */
static void operational_keys(struct pdu *p, const struct initiator_opts *o)
{
	add_key(p, "HeaderDigest", o->header_digest ? "CRC32C" : "None");
	add_key(p, "DataDigest", o->data_digest ? "CRC32C" : "None");
	add_number(p, "MaxRecvDataSegmentLength", RECV_DSL);
	add_number(p, "MaxBurstLength", 16776192);
	add_number(p, "FirstBurstLength", 262144);
	add_key(p, "InitialR2T", "No");
	add_key(p, "ImmediateData", "Yes");
	add_number(p, "MaxOutstandingR2T", 1);
	add_number(p, "MaxConnections", 1);
	add_number(p, "ErrorRecoveryLevel", 0);
	add_number(p, "DefaultTime2Wait", 0);
	add_number(p, "DefaultTime2Retain", 0);
	add_key(p, "DataPDUInOrder", "Yes");
	add_key(p, "DataSequenceInOrder", "Yes");
}

static void login_header(struct pdu *p, const struct initiator *in, unsigned number, unsigned stage)
{
	memset(p->bhs, 0, BHS);
	p->bhs[AT_OPCODE] = OP_LOGIN | OP_IMMEDIATE;
	p->bhs[AT_FLAGS] = (uint8_t)(FLAG_FINAL | stage << 2 | (stage ? 3 : 1));
	p->bhs[8] = 0x80; /* ISID: random */
	be16_put(p->bhs + 10, (uint16_t)getpid());
	be16_put(p->bhs + 12, (uint16_t)number);
	be32_put(p->bhs + AT_CMDSN, in->cmdsn);
	be32_put(p->bhs + AT_EXPSTATSN, in->expstatsn);
}

/* RFC 7143 6.3: security, then operational, then the full feature phase. */
static int login(struct initiator *in, const struct url *u, const struct initiator_opts *o)
{
	struct pdu p;
	unsigned stage = 0;
	bool told[2] = {false, false}, header = in->header_digest, data = in->data_digest;
	in->header_digest = in->data_digest = false;
	for (int i = 0; i < LOGIN_ROUNDS; i++) {
		login_header(&p, in, o->number, stage);
		p.len = 0;
		if (!told[stage])
			stage ? operational_keys(&p, o) : security_keys(&p, u);
		told[stage] = true;
		if (send_pdu(in, &p) || read_pdu(in, &p))
			return -1;
		if (p.bhs[AT_OPCODE] != OP_LOGIN_RESPONSE || p.bhs[36])
			return initiator_fail(in, "login refused: status %02x%02x", p.bhs[36],
					      p.bhs[37]);
		if (stage == 1) { /* answers about digests count when the phase ends */
			in->header_digest = header;
			in->data_digest = data;
			take_keys(in, &p);
			header = in->header_digest;
			data = in->data_digest;
			in->header_digest = in->data_digest = false;
		}
		bool on = p.bhs[AT_FLAGS] & FLAG_FINAL;
		if (on && (p.bhs[AT_FLAGS] & 3) == 3) {
			in->maxcmdsn = be32_get(p.bhs + AT_MAXCMDSN);
			in->header_digest = header;
			in->data_digest = data;
			if (header == o->header_digest && data == o->data_digest)
				return 0;
			return initiator_fail(in, "the target refused digests");
		}
		stage = on ? 1 : stage;
	}
	return initiator_fail(in, "login does not end");
}

/* ---- the LUN ---- */

/* A command with data-in of at most len bytes. Its status, -1 when the connection failed. */
static int command(struct initiator *in, const uint8_t cdb[16], void *ret, uint32_t len)
{
	struct pdu p = {.len = 0};
	memset(p.bhs, 0, BHS);
	p.bhs[AT_OPCODE] = OP_COMMAND;
	p.bhs[AT_FLAGS] = FLAG_FINAL | (len ? FLAG_READ : 0);
	memcpy(p.bhs + AT_LUN, in->lun, 8);
	be32_put(p.bhs + AT_EDTL, len);
	be32_put(p.bhs + AT_CMDSN, in->cmdsn++);
	be32_put(p.bhs + AT_EXPSTATSN, in->expstatsn);
	memcpy(p.bhs + AT_CDB, cdb, 16);
	if (send_pdu(in, &p))
		return -1;
	for (;;) {
		uint32_t statsn = in->expstatsn;
		if (read_pdu(in, &p))
			return -1;
		in->maxcmdsn = be32_get(p.bhs + AT_MAXCMDSN);
		uint8_t op = p.bhs[AT_OPCODE];
		if (op == OP_RESPONSE)
			return p.bhs[AT_STATUS];
		if (op != OP_DATA_IN)
			return initiator_fail(in, "unexpected PDU %02x", op);
		memcpy(ret, p.data, p.len < len ? p.len : len);
		if (p.bhs[AT_FLAGS] & FLAG_STATUS)
			return p.bhs[AT_STATUS];
		in->expstatsn = statsn; /* without status there is no StatSN */
	}
}

static int capacity(struct initiator *in)
{
	static const uint8_t ready[16] = {0x00}, read[16] = {0x9e, 0x10, [13] = 32};
	uint8_t data[32] = {0};
	int rc = -1;
	for (int i = 0; i < ATTENTIONS && rc; i++)
		if ((rc = command(in, ready, NULL, 0)) < 0)
			return -1;
	if (rc == 0)
		rc = command(in, read, data, sizeof(data));
	if (rc)
		return initiator_fail(in, "LUN not ready: status %d", rc);
	in->block_size = be32_get(data + 8);
	in->capacity = (be64_get(data) + 1) * in->block_size;
	return in->block_size ? 0 : initiator_fail(in, "block size 0");
}

/* ---- life ---- */

int initiator_open(struct initiator **ret, const struct initiator_opts *o)
{
	struct initiator *in = calloc(1, sizeof(*in));
	struct url u;
	if (!in)
		return -1;
	snprintf(in->name, sizeof(in->name), "%s", o->url);
	in->fd = -1;
	in->header_digest = o->header_digest;
	in->data_digest = o->data_digest;
	in->max_send = 8192; /* RFC 7143 13: what holds when nothing is said */
	in->first_burst = 65536;
	in->immediate = in->initial_r2t = true;
	in->cmdsn = in->maxcmdsn = 1;
	in->seed = o->number + 1;
	in->rbuf = malloc(RECV_BUF);
	in->headers = malloc(SEND_PDUS * SEND_HEADER);
	int rc = in->rbuf && in->headers ? 0 : initiator_fail(in, "no memory");
	if (rc == 0)
		rc = url_parse(o->url, &u) ? initiator_fail(in, "not an iSCSI URL") : 0;
	if (rc == 0) {
		in->lun[1] = (uint8_t)u.lun;
		rc = connect_to(in, &u) || login(in, &u, o) || capacity(in) ? -1 : 0;
	}
	if (rc) {
		initiator_close(in);
		return -1;
	}
	*ret = in;
	return 0;
}

void initiator_close(struct initiator *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		close(in->fd);
	for (unsigned i = 0; i < INITIATOR_DEPTH_MAX; i++)
		free(in->slots[i].buf);
	free(in->rbuf);
	free(in->headers);
	free(in);
}

uint64_t initiator_capacity(const struct initiator *in)
{
	return in->capacity;
}
