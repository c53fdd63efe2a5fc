/* What a connection has to say beside data: refusals, logout, asynchronous messages. */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <string.h>

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

void conn_ask_logout(struct conn *c, unsigned seconds)
{
	uint64_t by = conn_now_ms(c) + seconds * 1000ull;
	bool again = c->state == CONN_LOGOUT_REQUESTED;
	if ((c->state != CONN_LOGGED_IN && !again) || (again && c->logout_by_ms <= by))
		return; /* it has no more time than it was given first */
	conn_event(c, EV_ASK_LOGOUT);
	c->logout_by_ms = by;
	conn_async(c, ASYNC_LOGOUT_REQUESTED, 0, 0, (uint16_t)seconds); /* it may be gone now */
}

void conn_drop(struct conn *c)
{
	conn_hold(c);
	c->logout_by_ms = 0;
	task_abort_all(c, NULL, NULL);
	conn_async(c, ASYNC_DROP_SESSION, 0, (uint16_t)c->keys.v[KEY_TIME2WAIT], 0);
	conn_close_after_send(c);
	conn_release(c);
}

static void logout_answer(struct conn *c, const struct bhs *b, enum logout_response response)
{
	struct bhs r = {.opcode = OP_LOGOUT_RSP, .flags = PDU_FINAL, .response = (uint8_t)response};
	memcpy(r.itt, b->itt, 4);
	be16_put(r.time2wait, (uint16_t)c->keys.v[KEY_TIME2WAIT]);
	be16_put(r.time2retain, 0); /* no task survives: error recovery level 0 */
	conn_tx_ctl(c, &r, NULL, 0);
}

/* One connection of a session may log another out (RFC 7143 11.14). */
static enum logout_response logout_other(struct conn *c, uint16_t cid)
{
	struct conn *other = session_find_cid(c->session, cid, c);
	if (!other || other->fd < 0)
		return LOGOUT_NO_CID;
	if (other->state == CONN_LOGGED_IN || other->state == CONN_LOGOUT_REQUESTED)
		conn_event(other, EV_LOGOUT);
	conn_close(other, "logged out by another connection");
	return LOGOUT_OK;
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
		logout_answer(c, b, logout_other(c, be16_get(b->cid)));
		return;
	}
	log_info("iscsi: logged out initiator=%s target=%s peer=%s", c->session->initiator,
		 c->session->target_name, c->peer);
	conn_event(c, EV_LOGOUT);
	if (reason == LOGOUT_SESSION)
		session_close(c->session, c, "the session was logged out");
	task_abort_all(c, NULL, NULL);
	logout_answer(c, b, LOGOUT_OK);
	conn_close_after_send(c);
}
