/*
 * What a connection has to say beside data: refusals, logout, asynchronous
 * messages; and the window of command numbers.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <string.h>

/*
 * RFC 7143 4.2.2.1: outside the window is silently ignored. A gap cannot be filled any more: one
 * connection delivers in order, and at error recovery level 0 nothing is sent again.
 */
enum cmdsn_verdict window_check(const struct cmd_window *w, bool immediate, uint32_t cmdsn)
{
	if (immediate)
		return CMDSN_TAKE;
	if (sn_before(cmdsn, w->exp) || sn_before(w->max, cmdsn))
		return CMDSN_IGNORE;
	return cmdsn == w->exp ? CMDSN_TAKE : CMDSN_FATAL;
}

bool window_take_request(struct conn *c, const struct bhs *b)
{
	enum cmdsn_verdict v = window_check(&c->window, pdu_immediate(b), be32_get(b->cmdsn));
	if (v == CMDSN_FATAL)
		conn_protocol_error(c, b, "CmdSN out of order");
	if (v != CMDSN_TAKE)
		return false;
	if (!pdu_immediate(b))
		c->window.exp++;
	return true;
}

void conn_reject(struct conn *c, const struct bhs *b, enum reject_reason why)
{
	struct bhs r = {.opcode = OP_REJECT, .flags = PDU_FINAL, .reason = (uint8_t)why};
	be32_put(r.itt, PDU_NO_TAG);
	COUNT(c->worker->protocol_errors, 1);
	log_debug("iscsi: rejected what=%s reason=%u peer=%s", pdu_name(pdu_opcode(b)), why,
		  c->peer);
	conn_tx_ctl(c, &r, b, sizeof(*b));
}

void conn_protocol_error(struct conn *c, const struct bhs *b, const char *what)
{
	log_warn("iscsi: protocol error what=\"%s\" pdu=%s initiator=%s peer=%s", what,
		 pdu_name(pdu_opcode(b)), c->session ? c->session->initiator : "?", c->peer);
	conn_reject(c, b, REJECT_PROTOCOL);
	conn_close_after_send(c);
}

void conn_async(struct conn *c, enum async_event ev, uint16_t p1, uint16_t p2, uint16_t p3)
{
	struct bhs b = {.opcode = OP_ASYNC, .flags = PDU_FINAL, .event = (uint8_t)ev};
	be32_put(b.itt, PDU_NO_TAG);
	be16_put(b.parameter1, p1);
	be16_put(b.parameter2, p2);
	be16_put(b.parameter3, p3);
	conn_tx_ctl(c, &b, NULL, 0);
}

static void logout_answer(struct conn *c, const struct bhs *b, enum logout_response response)
{
	struct bhs r = {.opcode = OP_LOGOUT_RSP, .flags = PDU_FINAL, .response = (uint8_t)response};
	memcpy(r.itt, b->itt, 4);
	be16_put(r.time2wait, (uint16_t)c->keys.v[KEY_TIME2WAIT]);
	be16_put(r.time2retain, 0); /* no task survives: error recovery level 0 */
	conn_tx_ctl(c, &r, NULL, 0);
}

void conn_logout_request(struct conn *c, const struct bhs *b)
{
	unsigned reason = b->flags & 0x7f;
	if (!window_take_request(c, b))
		return;
	if (reason == LOGOUT_RECOVERY) {
		logout_answer(c, b, LOGOUT_NO_RECOVERY);
		return;
	}
	if (reason > LOGOUT_RECOVERY) {
		conn_reject(c, b, REJECT_INVALID_FIELD);
		return;
	}
	if (reason == LOGOUT_CONNECTION && be16_get(b->cid) != c->cid) {
		logout_answer(c, b, LOGOUT_NO_CID);
		return;
	}
	log_info("iscsi: logged out initiator=%s target=%s peer=%s", c->session->initiator,
		 c->session->target_name, c->peer);
	conn_event(c, EV_LOGOUT);
	task_abort_all(c, NULL);
	logout_answer(c, b, LOGOUT_OK);
	conn_close_after_send(c);
}
