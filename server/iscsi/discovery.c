/*
 * Text requests in the full feature phase: SendTargets, and the few keys that
 * may still be declared. Requests in pieces (C bit) are put together; an answer
 * longer than the initiator takes is given in pieces, asked for by our tag.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_IN_MAX  (16 * 1024)
#define TEXT_OUT_MAX (1024 * 1024)
#define TEXT_OUT_MIN (16 * 1024)

void conn_text_free(struct conn *c)
{
	free(c->text.in);
	free(c->text.out);
	c->text = (struct text_state){.ttt = PDU_NO_TAG};
}

/* ---- SendTargets ---- */

struct target_list {
	struct conn *c;
	struct text_out *out;
	const char *only; /* NULL: all */
	char address[96];
};

static bool wildcard(const struct sockaddr_storage *sa)
{
	const struct sockaddr_in6 *s6 = (const void *)sa;
	const struct sockaddr_in *s4 = (const void *)sa;
	return sa->ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&s6->sin6_addr)
					 : s4->sin_addr.s_addr == htonl(INADDR_ANY);
}

static void put_address(struct text_out *out, const char *address, uint16_t tpgt)
{
	char v[128];
	snprintf(v, sizeof(v), "%s,%u", address, tpgt);
	text_put(out, "TargetAddress", v);
}

/* A portal on all addresses is reached at the one the initiator used for us: on the same host. */
static bool far_address(const struct conn *c, const struct far_portal *p, char *ret, size_t size)
{
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	if (!wildcard(&p->addr)) {
		snprintf(ret, size, "%s", p->name);
		return true;
	}
	if (getsockname(c->fd, (struct sockaddr *)&sa, &len) || sa.ss_family != p->addr.ss_family)
		return false;
	if (sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&sa)->sin6_port =
		    ((const struct sockaddr_in6 *)&p->addr)->sin6_port;
	else
		((struct sockaddr_in *)&sa)->sin_port =
		    ((const struct sockaddr_in *)&p->addr)->sin_port;
	address_format(&sa, ret, size);
	return true;
}

/* The partner's, of which the target is reached through some. */
static void list_far(struct target_list *l, const struct scsi_target *t, bool named)
{
	const struct iscsi_server *s = l->c->worker->server;
	for (unsigned i = 0; i < s->nfar; i++) {
		char address[96];
		if (!scsi_target_in_group(t, s->far[i].group) ||
		    !far_address(l->c, &s->far[i], address, sizeof(address)))
			continue;
		if (!named)
			text_put(l->out, "TargetName", scsi_target_iqn(t));
		named = true;
		put_address(l->out, address, s->far[i].group);
	}
}

/* The address the initiator reached us at, then the other portals that have one of their own;
 * those of the target's portal groups; and the partner's. */
static void list_target(void *arg, const struct scsi_target *t)
{
	struct target_list *l = arg;
	struct iscsi_server *s = l->c->worker->server;
	const char *iqn = scsi_target_iqn(t);
	bool here = scsi_target_in_group(t, l->c->group), named = here;
	if (l->only && strcmp(l->only, iqn) != 0)
		return;
	if (here) {
		text_put(l->out, "TargetName", iqn);
		put_address(l->out, l->address, l->c->group);
	}
	for (unsigned i = 0; i < s->nlisteners; i++) {
		struct listener *p = &s->listeners[i];
		if (wildcard(&p->addr) || strcmp(p->name, l->address) == 0 ||
		    !scsi_target_in_group(t, p->group))
			continue;
		if (!named) /* one without an address would be taken for one that is here */
			text_put(l->out, "TargetName", iqn);
		named = true;
		put_address(l->out, p->name, p->group);
	}
	list_far(l, t, named);
}

static void send_targets(struct conn *c, const char *value, struct text_out *out)
{
	struct session *s = c->session;
	struct target_list l = {.c = c, .out = out};
	if (strcmp(value, "All") == 0) {
		if (!s->discovery) { /* RFC 7143 appendix C */
			text_put(out, "SendTargets", "Reject");
			return;
		}
	} else if (*value) {
		l.only = value;
	} else if (!s->discovery) {
		l.only = s->target_name;
	} else {
		text_put(out, "SendTargets", "Reject");
		return;
	}
	conn_local_address(c, l.address, sizeof(l.address));
	scsi_target_each(c->worker->server->registry, s->initiator, list_target, &l);
}

/* ---- requests and answers ---- */

static bool answer_text(struct conn *c, char *in, uint32_t len, struct text_out *out)
{
	struct text_in t;
	const char *key, *value;
	int rc;
	text_in_init(&t, in, len);
	while ((rc = text_next(&t, &key, &value)) > 0) {
		if (text_is_answer(value))
			return false;
		if (strcmp(key, "SendTargets") == 0)
			send_targets(c, value, out);
		else if (strcmp(key, "InitiatorAlias") != 0 &&
			 keys_offer(&c->keys, KEYS_FULL_FEATURE, key, value, out) == -ENOENT)
			text_put(out, key, "NotUnderstood");
	}
	return rc == 0;
}

/* The next piece of the answer. */
static void send_piece(struct conn *c, const struct bhs *req)
{
	struct text_state *t = &c->text;
	struct bhs b = {.opcode = OP_TEXT_RSP};
	size_t n = MIN(t->out_len - t->out_at, (size_t)MIN(c->keys.v[KEY_MAX_RECV_DSL], 65536u));
	bool last = t->out_at + n == t->out_len;
	memcpy(b.lun, req->lun, 8);
	memcpy(b.itt, req->itt, 4);
	b.flags = last ? PDU_FINAL : PDU_CONTINUE;
	if (last)
		t->ttt = PDU_NO_TAG;
	else
		t->ttt = c->next_ttt == PDU_NO_TAG ? c->next_ttt = 0 : c->next_ttt++;
	be32_put(b.ttt, t->ttt);
	conn_tx_ctl(c, &b, t->out + t->out_at, (uint32_t)n);
	t->out_at += n;
	if (last)
		conn_text_free(c);
}

/* Makes the whole answer; the list of targets has no length known before. */
static void make_answer(struct conn *c, const struct bhs *b, const char *in, uint32_t len)
{
	for (size_t cap = TEXT_OUT_MIN; cap <= TEXT_OUT_MAX; cap *= 4) {
		struct text_out out;
		char *copy = malloc(len + 1), *buf = malloc(cap);
		if (!copy || !buf) {
			free(copy);
			free(buf);
			break;
		}
		if (len)
			memcpy(copy, in, len);
		text_out_init(&out, buf, cap);
		bool ok = answer_text(c, copy, len, &out);
		free(copy);
		if (!ok) {
			free(buf);
			conn_text_free(c);
			conn_protocol_error(c, b, "malformed text");
			return;
		}
		if (!out.overflow) {
			free(c->text.out);
			c->text.out = buf;
			c->text.out_len = out.len;
			c->text.out_at = 0;
			send_piece(c, b);
			return;
		}
		free(buf);
	}
	conn_text_free(c);
	conn_reject(c, b, REJECT_LONG_OPERATION);
}

/* Adds a piece of a request. False: too long. */
static bool collect(struct conn *c, const char *data, uint32_t len)
{
	struct text_state *t = &c->text;
	if (len > TEXT_IN_MAX - t->in_len)
		return false;
	if (!t->in && !(t->in = malloc(TEXT_IN_MAX)))
		return false;
	if (len)
		memcpy(t->in + t->in_len, data, len);
	t->in_len += len;
	return true;
}

static void take_text(struct conn *c, const struct bhs *b, const char *data, uint32_t len)
{
	struct text_state *t = &c->text;
	uint32_t ttt = be32_get(b->ttt);
	if (ttt == PDU_NO_TAG && t->ttt != PDU_NO_TAG)
		conn_text_free(c); /* RFC 7143 11.10.4: a new exchange drops the old one */
	else if (ttt != t->ttt || (ttt != PDU_NO_TAG && memcmp(b->itt, t->itt, 4) != 0)) {
		conn_reject(c, b, REJECT_INVALID_FIELD);
		return;
	}
	memcpy(t->itt, b->itt, 4);
	if (t->out && ttt != PDU_NO_TAG) {
		send_piece(c, b);
		return;
	}
	if (!collect(c, data, len)) {
		conn_text_free(c);
		conn_reject(c, b, REJECT_PROTOCOL);
		return;
	}
	if (b->flags & PDU_CONTINUE) { /* an empty answer asks for the rest */
		struct bhs r = {.opcode = OP_TEXT_RSP};
		memcpy(r.itt, b->itt, 4);
		t->ttt = c->next_ttt == PDU_NO_TAG ? c->next_ttt = 0 : c->next_ttt++;
		be32_put(r.ttt, t->ttt);
		conn_tx_ctl(c, &r, NULL, 0);
		return;
	}
	char *in = t->in;
	len = t->in_len;
	t->in = NULL;
	t->in_len = 0;
	make_answer(c, b, in, len);
	free(in);
}

void conn_text_request(struct conn *c, const struct bhs *b, char *data, uint32_t len)
{
	bool final = b->flags & PDU_FINAL, more = b->flags & PDU_CONTINUE;
	if (!window_take_request(c, b))
		return;
	if ((final && more) || be32_get(b->itt) == PDU_NO_TAG) {
		conn_protocol_error(c, b, "text flags");
		return;
	}
	take_text(c, b, data, len);
}
