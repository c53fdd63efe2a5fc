/* See client.h. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/crc32c.h"
#include "tests/unit/iscsi/client.h"
#include "tests/unit/iscsi/target.h"

struct client *client_connect(unsigned port)
{
	return client_connect_at("127.0.0.1", port);
}

struct client *client_new(int fd)
{
	struct timeval tv = {.tv_sec = 5};
	int one = 1;
	struct client *c = calloc(1, sizeof(*c));
	c->fd = fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->cmdsn = 0xfffffffe; /* the numbers wrap at once */
	c->statsn = 7;
	c->isid[0] = 0x80;
	c->isid[5] = 1;
	return c;
}

struct client *client_connect_at(const char *address, unsigned port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
			*ai;
	char service[8];
	snprintf(service, sizeof(service), "%u", port);
	ck_assert_int_eq(getaddrinfo(address, service, &hints, &ai), 0);
	int fd = socket(ai->ai_family, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, ai->ai_addr, ai->ai_addrlen), 0);
	freeaddrinfo(ai);
	return client_new(fd);
}

void client_free(struct client *c)
{
	close(c->fd);
	free(c);
}

void client_send_raw(struct client *c, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);
		if (n < 0)
			return; /* closed by the target: seen when receiving */
		p += n;
		len -= (size_t)n;
	}
}

void client_send(struct client *c, struct bhs *b, const void *data, uint32_t len)
{
	uint8_t digest[4];
	uint32_t pad = pdu_pad(len);
	uint8_t *all = calloc(1, len + 8);
	if (len)
		memcpy(all, data, len);
	be24_put(b->dsl, len);
	client_send_raw(c, b, sizeof(*b));
	if (c->header_digest) {
		pdu_header_digest(b, sizeof(*b), digest);
		client_send_raw(c, digest, 4);
	}
	if (len && c->data_digest)
		pdu_digest_put(all + len + pad, crc32c(all, len + pad));
	client_send_raw(c, all, len + pad + (len && c->data_digest ? 4 : 0));
	free(all);
}

static bool recv_all(struct client *c, void *buf, size_t len)
{
	char *p = buf;
	while (len > 0) {
		ssize_t n = recv(c->fd, p, len, 0);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			ck_abort_msg("the target is silent");
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool client_recv(struct client *c)
{
	uint8_t digest[4];
	if (!recv_all(c, &c->bhs, sizeof(c->bhs)))
		return false;
	if (c->header_digest) {
		ck_assert(recv_all(c, digest, 4));
		ck_assert(pdu_header_digest_ok(&c->bhs, sizeof(c->bhs), digest));
	}
	c->len = pdu_dsl(&c->bhs);
	ck_assert_uint_le(c->len, CLIENT_DATA);
	uint32_t pad = pdu_pad(c->len), extra = c->len && c->data_digest ? 4 : 0;
	if (!recv_all(c, c->data, c->len + pad + extra))
		return false;
	if (extra)
		ck_assert_uint_eq(crc32c(c->data, c->len + pad),
				  pdu_digest_get(c->data + c->len + pad));
	c->data[c->len] = 0;
	c->maxcmdsn = be32_get(c->bhs.maxcmdsn);
	unsigned op = pdu_opcode(&c->bhs);
	bool counts = op != OP_R2T && !(op == OP_DATA_IN && !(c->bhs.flags & DATA_IN_STATUS)) &&
		      !(op == OP_NOP_IN && be32_get(c->bhs.itt) == PDU_NO_TAG);
	if (counts) {
		ck_assert_uint_eq(be32_get(c->bhs.statsn), c->statsn);
		c->statsn++;
	}
	return true;
}

void client_expect(struct client *c, unsigned opcode)
{
	ck_assert_msg(client_recv(c), "closed, not opcode %02x", opcode);
	ck_assert_msg(pdu_opcode(&c->bhs) == opcode, "opcode %02x, not %02x (reason %02x)",
		      pdu_opcode(&c->bhs), opcode, c->bhs.reason);
}

bool client_quiet(struct client *c, int ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	return poll(&p, 1, ms) == 0;
}

unsigned client_login_step(struct client *c, unsigned flags, const char *const *text)
{
	struct bhs b = {.opcode = OP_LOGIN_REQ | PDU_IMMEDIATE, .flags = (uint8_t)flags};
	char buf[65536];
	uint32_t len = 0;
	for (unsigned i = 0; text && text[i]; i++) {
		if (text[i][0] == 0)
			continue;
		size_t n = strlen(text[i]) + 1;
		memcpy(buf + len, text[i], n);
		len += (uint32_t)n;
	}
	memcpy(b.isid, c->isid, 6);
	be16_put(b.tsih, c->tsih);
	be16_put(b.cid, c->cid);
	be32_put(b.itt, 1);
	be32_put(b.cmdsn, c->cmdsn);
	be32_put(b.expstatsn, c->statsn);
	client_send(c, &b, buf, len);
	client_expect(c, OP_LOGIN_RSP);
	return (unsigned)c->bhs.status_class << 8 | c->bhs.status_detail;
}

unsigned client_login(struct client *c, const char *target, const char *const *extra)
{
	const char *text[32] = {"InitiatorName=" HOST};
	char name[300];
	unsigned n = 1;
	if (target) {
		snprintf(name, sizeof(name), "TargetName=%s", target);
		text[n++] = name;
	}
	for (unsigned i = 0; extra && extra[i]; i++)
		text[n++] = extra[i];
	unsigned status = client_login_step(c, 0x87, text); /* T, operational to full feature */
	if (status)
		return status;
	ck_assert_uint_eq(c->bhs.flags, 0x87);
	c->tsih = be16_get(c->bhs.tsih);
	const char *digest = client_text(c, "HeaderDigest");
	c->header_digest = digest && strcmp(digest, "CRC32C") == 0;
	digest = client_text(c, "DataDigest");
	c->data_digest = digest && strcmp(digest, "CRC32C") == 0;
	return 0;
}

const char *client_text(const struct client *c, const char *key)
{
	const char *p = (const char *)c->data, *end = p + c->len;
	size_t k = strlen(key);
	for (; p < end; p += strlen(p) + 1)
		if (strncmp(p, key, k) == 0 && p[k] == '=')
			return p + k + 1;
	return NULL;
}

uint32_t client_command(struct client *c, unsigned flags, const uint8_t cdb[16], uint32_t edtl,
			const void *data, uint32_t len)
{
	struct bhs b = {.opcode = OP_SCSI_CMD, .flags = (uint8_t)flags};
	be32_put(b.itt, ++c->itt);
	be32_put(b.edtl, edtl);
	be32_put(b.cmdsn, c->cmdsn++);
	be32_put(b.expstatsn, c->statsn);
	memcpy(b.cdb, cdb, 16);
	client_send(c, &b, data, len);
	return c->itt;
}

void client_data_out(struct client *c, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset,
		     const void *data, uint32_t len, bool final)
{
	struct bhs b = {.opcode = OP_DATA_OUT, .flags = final ? PDU_FINAL : 0};
	be32_put(b.itt, itt);
	be32_put(b.ttt, ttt);
	be32_put(b.expstatsn, c->statsn);
	be32_put(b.datasn, datasn);
	be32_put(b.offset, offset);
	client_send(c, &b, data, len);
}

void cdb_rw(uint8_t cdb[16], bool write, uint32_t lba, unsigned blocks)
{
	memset(cdb, 0, 16);
	cdb[0] = write ? 0x2a : 0x28;
	be32_put(cdb + 2, lba);
	be16_put(cdb + 7, (uint16_t)blocks);
}

void client_ready(struct client *c)
{
	static const uint8_t tur[16];
	for (int i = 0; i < 10; i++) {
		client_command(c, 0x80, tur, 0, NULL, 0);
		client_expect(c, OP_SCSI_RSP);
		if (c->bhs.status == 0)
			return;
	}
	ck_abort_msg("the unit does not become ready");
}
