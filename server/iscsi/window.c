/*
 * The window of command numbers (RFC 7143 4.2.2): one a session, whose connections all belong to
 * one worker. Commands are taken strictly in the order of CmdSN:
 *
 *   one connection        a gap cannot be filled any more: TCP delivers in order, and at error
 *                         recovery level 0 nothing is sent again
 *   several connections   a command whose predecessors are on another connection is left in its
 *                         buffer, and the connection is parked, until ExpCmdSN has come there
 *
 * A CmdSN may be voided: ABORT TASK named it before it came (11.6.1). It counts as received.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"

void window_init(struct cmd_window *w, uint32_t cmdsn)
{
	*w = (struct cmd_window){.exp = cmdsn, .max = cmdsn - 1};
}

/*
 * MaxCmdSN: how far the initiator may go. Never taken back (RFC 7143 4.2.2.1); it stands still
 * while more commands are outstanding than this session's share of the worker's tasks.
 */
uint32_t window_max(struct conn *c)
{
	struct cmd_window *w = c->window;
	unsigned all = atomic_load_explicit(&c->worker->nconns, memory_order_relaxed);
	unsigned loose = atomic_load_explicit(&c->worker->nloose, memory_order_relaxed);
	unsigned sessions = all > loose ? all - loose : 1;
	unsigned depth = MIN(MAX(WORKER_TASKS / sessions, WINDOW_DEPTH_MIN), WINDOW_DEPTH);
	uint32_t max = w->exp + (depth > w->busy ? depth - w->busy : 0) - 1;
	if (sn_before(w->max, max))
		w->max = max;
	return w->max;
}

static uint32_t *void_word(struct cmd_window *w, uint32_t cmdsn)
{
	return &w->voided[cmdsn % WINDOW_DEPTH / 32];
}

static bool is_voided(const struct cmd_window *w, uint32_t cmdsn)
{
	return w->nvoided && w->voided[cmdsn % WINDOW_DEPTH / 32] & 1u << cmdsn % 32;
}

/* RFC 7143 4.2.2.1: outside the window is silently ignored. */
enum cmdsn_verdict window_check(const struct cmd_window *w, bool immediate, uint32_t cmdsn)
{
	if (immediate)
		return CMDSN_TAKE;
	if (sn_before(cmdsn, w->exp) || sn_before(w->max, cmdsn) || is_voided(w, cmdsn))
		return CMDSN_IGNORE;
	return cmdsn == w->exp ? CMDSN_TAKE : CMDSN_FATAL;
}

static void skip_voided(struct cmd_window *w)
{
	while (is_voided(w, w->exp)) {
		*void_word(w, w->exp) &= ~(1u << w->exp % 32);
		w->nvoided--;
		w->exp++;
	}
}

void window_advance(struct conn *c)
{
	c->window->exp++;
	skip_voided(c->window);
	if (c->session && c->session->nconns > 1)
		session_resume(c->session);
}

bool window_take_request(struct conn *c, const struct bhs *b)
{
	enum cmdsn_verdict v = window_check(c->window, pdu_immediate(b), be32_get(b->cmdsn));
	if (v == CMDSN_FATAL)
		conn_protocol_error(c, b, "CmdSN out of order");
	if (v != CMDSN_TAKE)
		return false;
	if (!pdu_immediate(b))
		window_advance(c);
	return true;
}

bool window_must_wait(const struct conn *c, const struct bhs *b)
{
	if (!c->session || c->session->nconns < 2 || pdu_immediate(b) ||
	    pdu_opcode(b) == OP_DATA_OUT || pdu_opcode(b) == OP_SNACK)
		return false;
	return window_check(c->window, false, be32_get(b->cmdsn)) == CMDSN_FATAL;
}

bool window_void(struct conn *c, uint32_t cmdsn)
{
	struct cmd_window *w = c->window;
	if (sn_before(cmdsn, w->exp) || sn_before(w->max, cmdsn))
		return false;
	if (is_voided(w, cmdsn))
		return true;
	*void_word(w, cmdsn) |= 1u << cmdsn % 32;
	w->nvoided++;
	skip_voided(w);
	if (c->session->nconns > 1)
		session_resume(c->session);
	return true;
}
