/*
 * NOP-Out and NOP-In: the initiator's pings are echoed; a connection that has
 * been silent for nop_interval is pinged, and dropped when it gives no sign of
 * life within nop_timeout.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include <string.h>

void conn_nop_out(struct conn *c, const struct bhs *b, const uint8_t *data, uint32_t len)
{
	uint32_t itt = be32_get(b->itt);
	if (!window_take_request(c, b))
		return;
	if (itt == PDU_NO_TAG) { /* the answer to our ping, or a mere sign of life */
		c->pinging = false;
		return;
	}
	struct bhs rsp = {.opcode = OP_NOP_IN, .flags = PDU_FINAL};
	memcpy(rsp.lun, b->lun, 8);
	be32_put(rsp.itt, itt);
	be32_put(rsp.ttt, PDU_NO_TAG);
	conn_tx_ctl(c, &rsp, data, MIN(len, c->keys.v[KEY_MAX_RECV_DSL]));
}

static void ping(struct conn *c, uint64_t now)
{
	struct bhs b = {.opcode = OP_NOP_IN, .flags = PDU_FINAL};
	be32_put(b.itt, PDU_NO_TAG);
	if (c->next_ttt == PDU_NO_TAG)
		c->next_ttt = 0;
	be32_put(b.ttt, c->next_ttt++);
	struct ctl *k = conn_tx_ctl(c, &b, NULL, 0);
	if (!k)
		return;
	k->keep_statsn = true; /* RFC 7143 11.19: StatSN is not advanced */
	c->pinging = true;
	c->ping_ms = now;
}

/* Tasks went without a response: the initiator may be waiting for a window it cannot see. */
void conn_nop_window(struct conn *c)
{
	struct bhs b = {.opcode = OP_NOP_IN, .flags = PDU_FINAL};
	be32_put(b.itt, PDU_NO_TAG);
	be32_put(b.ttt, PDU_NO_TAG);
	struct ctl *k = conn_tx_ctl(c, &b, NULL, 0);
	if (k)
		k->keep_statsn = true;
}

void conn_nop_tick(struct conn *c, uint64_t now)
{
	uint64_t interval = c->worker->server->nop_interval_s * 1000ull;
	uint64_t timeout = c->worker->server->nop_timeout_s * 1000ull;
	if (c->heard_ms > c->ping_ms)
		c->pinging = false; /* any word will do */
	if (now - c->heard_ms < interval)
		return;
	if (c->last_word || (c->pinging && now - c->ping_ms >= timeout))
		conn_close(c, "silent");
	else if (!c->pinging)
		ping(c, now);
}
