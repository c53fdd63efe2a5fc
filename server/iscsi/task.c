/*
 * iSCSI tasks: a SCSI command from its PDU to the last byte of its response
 * (states in conn.h). All are from the worker's pool.
 */
#include "server/iscsi/conn.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include <stdlib.h>
#include <string.h>

static unsigned itt_bucket(uint32_t itt)
{
	return (itt * 2654435769u) >> 24;
}
_Static_assert(ITT_BUCKETS == 256, "itt_bucket() gives eight bits");

/* What every command touches of a task, up to the first page of its data. */
static void task_fetch(const struct itask *t)
{
	const char *p = (const char *)t;
	for (size_t i = 0; t && i < offsetof(struct itask, cmd.io) + 64; i += 64)
		__builtin_prefetch(p + i, 1);
	if (t)
		__builtin_prefetch(t->cmd.io.read.pages, 1);
}

static struct itask *task_get(struct conn *c)
{
	struct worker *w = c->worker;
	struct itask *t = mem_pool_try_get(w->pool);
	if (!t)
		return NULL;
	task_fetch(mem_pool_next(w->pool)); /* the next command's, meanwhile */
	memset(t, 0, offsetof(struct itask, cmd));
	t->conn = c;
	t->state = T_NEW;
	TAILQ_INSERT_TAIL(&c->tasks, t, all);
	return t;
}

static void task_put(struct itask *t)
{
	struct conn *c = t->conn;
	struct worker *w = c->worker;
	ASSERT(t->retired && !t->queued && c->rx.task != t);
	bounce_free(t);
	TAILQ_REMOVE(&c->tasks, t, all);
	mem_pool_put(w->pool, t);
	if (!TAILQ_EMPTY(&w->starved))
		reactor_defer(w->reactor, &w->feed);
}

static void task_hash(struct itask *t)
{
	LIST_INSERT_HEAD(&t->conn->itts[itt_bucket(t->itt)], t, hash);
}

struct itask *task_find(struct conn *c, uint32_t itt)
{
	struct itask *t;
	LIST_FOREACH (t, &c->itts[itt_bucket(itt)], hash)
		if (t->itt == itt)
			return t;
	return NULL;
}

void task_retire(struct itask *t)
{
	struct conn *c = t->conn;
	if (t->retired)
		return;
	t->retired = true;
	LIST_REMOVE(t, hash);
	if (t->r2t_out)
		c->r2t_bytes -= t->r2t_next - t->got;
	if (t->immediate)
		c->window->immediate--;
	else
		c->window->busy--;
}

/* The command's memory, once. */
static void task_release(struct itask *t)
{
	if (!t->released)
		scsi_release(&t->cmd);
	t->released = true;
}

void task_end(struct itask *t)
{
	task_release(t);
	task_put(t);
}

void task_abort(struct itask *t)
{
	struct conn *c = t->conn;
	if (t->retired)
		return; /* its response is on the way, or it was aborted before */
	conn_rx_forget(c, t);
	if (t->queued) {
		TAILQ_REMOVE(&c->txq, t, tx);
		t->queued = false;
	}
	task_retire(t);
	switch (t->state) {
	case T_WAIT_START:
	case T_WAIT_FINISH:
		if (t->started)
			break; /* its coroutine has ended */
		t->aborted = true;
		scsi_abort(&t->cmd);
		c->zombies++;
		return;
	case T_TX:
		if (c->tx.left > 0) { /* the batch may point at its data */
			t->state = T_SENT;
			t->cmd.trace.received_ns = 0; /* no response: not counted */
			TAILQ_INSERT_TAIL(&c->tx.sent, t, tx);
			return;
		}
		break;
	case T_SENT: /* of a part; ends with the batch */
		t->cmd.trace.received_ns = 0;
		return;
	default:
		break;
	}
	task_end(t);
}

static bool on_lun(const struct itask *t, const uint8_t lun[8])
{
	return scsi_lun_same(t->cmd.lun, lun);
}

static bool in_scope(const struct itask *t, const struct abort_scope *scope)
{
	return t->arrival <= scope->arrival || (!t->immediate && sn_before(t->cmdsn, scope->cmdsn));
}

void task_abort_all(struct conn *c, const uint8_t *lun, const struct abort_scope *scope)
{
	struct itask *t, *next;
	TAILQ_FOREACH_SAFE (t, &c->tasks, all, next)
		if ((!lun || on_lun(t, lun)) && (!scope || in_scope(t, scope)))
			task_abort(t);
}

static bool in_scsi(const struct itask *t)
{
	return (t->state == T_WAIT_START || t->state == T_WAIT_FINISH) && !t->started;
}

bool task_aborted_left(const struct conn *c, const uint8_t lun[8])
{
	const struct itask *t;
	TAILQ_FOREACH (t, &c->tasks, all)
		if (on_lun(t, lun) && in_scsi(t) && (t->aborted || t->fail == FAIL_TASK_ABORTED))
			return true;
	return false;
}

void task_end_all(struct conn *c, const uint8_t lun[8])
{
	struct itask *t, *next;
	conn_hold(c);
	TAILQ_FOREACH_SAFE (t, &c->tasks, all, next) {
		bool part = (t->state == T_TX || t->state == T_SENT) && t->in_end < t->send_len;
		if (!on_lun(t, lun) || t->retired ||
		    (t->state != T_DATA && t->state != T_WAIT_START && t->state != T_WAIT_FINISH &&
		     !part))
			continue;
		t->fail = FAIL_TASK_ABORTED; /* data that is on its way is received first */
		if (in_scsi(t))		     /* a limit, a wipe, a long copy are not waited for */
			scsi_abort(&t->cmd);
		task_progress(t);
	}
	conn_release(c);
}

/* Status, sense and data-in are known. */
static void task_respond(struct itask *t)
{
	struct scsi_cmd *cmd = &t->cmd;
	bool good = cmd->status == SCSI_GOOD || cmd->status == SCSI_CONDITION_MET;
	t->state = T_TX;
	t->send_len = t->read && good ? MIN(cmd->in_len, t->edtl) : 0;
	t->in_end = t->send_len;
	if (cmd->in_more)
		t->in_end = (uint32_t)MIN((size_t)t->send_len,
					  cmd->part_at + iov_bytes(cmd->in_iov, cmd->in_iovcnt));
	t->in_i = 0;
	t->in_off = 0;
	t->burst_left = t->conn->keys.v[KEY_MAX_BURST];
	scsi_responding(cmd);
	conn_tx_task(t->conn, t);
}

/* No memory or no coroutine for it: the initiator tries again. */
static void task_refuse(struct itask *t, unsigned status)
{
	if (!t->released)
		scsi_told(&t->cmd, (uint8_t)status);
	task_release(t);
	t->cmd.status = (uint8_t)status;
	t->cmd.sense_len = 0;
	t->cmd.in_len = t->cmd.out_len = 0;
	t->cmd.in_iovcnt = t->cmd.out_iovcnt = 0;
	t->cmd.in_more = false;
	t->want = 0;
	t->state = T_DRAIN;
}

/* Moves what came while the command waited into its place. */
static void task_unbounce(struct itask *t)
{
	data_sink_set(t, t->cmd.out_iov, t->cmd.out_iovcnt);
	if (t->got > 0 && t->want > 0 && !t->fail) {
		if (t->nbounce)
			bounce_move(t, MIN(t->got, t->want));
		else
			task_refuse(t, SCSI_TASK_SET_FULL);
	}
	bounce_free(t);
}

/* Unsolicited data may come before the command can say where it goes. */
static void task_bounce(struct itask *t)
{
	t->want = 0;
	if (t->first == 0 || !bounce_take(t, t->first))
		return; /* discarded; task_unbounce() sees it */
	t->want = t->first;
	data_sink_set(t, t->bounce, (int)t->nbounce);
}

static void task_start_waiting(void *arg);

/* The command lends memory for (the next part of) its data-out. */
static void task_lent(struct itask *t)
{
	const struct scsi_cmd *cmd = &t->cmd;
	size_t end = cmd->part_at + iov_bytes(cmd->out_iov, cmd->out_iovcnt);
	t->state = T_DATA;
	t->want = (uint32_t)MIN((size_t)MIN(cmd->out_len, cmd->out_expected), end);
}
/* So unsolicited data, of which part_at is zero, always has its place. */
_Static_assert(ISCSI_FIRST_BURST <= SCSI_PART_MIN, "the first part takes all unsolicited data");

static void task_started(struct itask *t, enum scsi_next next)
{
	switch (next) {
	case SCSI_DONE:
		if (t->fail == FAIL_TASK_ABORTED)
			task_refuse(t, SCSI_TASK_ABORTED);
		t->state = T_DRAIN;
		t->want = 0;
		return;
	case SCSI_DATA_OUT:
		task_lent(t);
		task_unbounce(t);
		return;
	case SCSI_WAIT:
		t->state = T_WAIT_START;
		if (task_start(task_start_waiting, t) == 0)
			task_bounce(t);
		else
			task_refuse(t, SCSI_BUSY);
		return;
	}
}

/* Every part's end: its response is known, or the next part is to come. */
static void task_finished(struct itask *t, enum scsi_next next)
{
	if (t->fail == FAIL_TASK_ABORTED)
		task_refuse(t, SCSI_TASK_ABORTED);
	else if (next == SCSI_DATA_OUT) {
		task_lent(t);
		data_sink_set(t, t->cmd.out_iov, t->cmd.out_iovcnt);
		task_progress(t);
		return;
	}
	task_respond(t);
}

/* The coroutine's end, for start and finish alike. */
static void task_waited(struct itask *t, enum scsi_next next)
{
	struct conn *c = t->conn;
	conn_hold(c);
	if (t->aborted) {
		task_end(t);
		c->zombies--;
		waitq_wake_all(&c->zombie_wait);
		conn_release(c);
		return;
	}
	if (t->fail == FAIL_TASK_ABORTED)
		waitq_wake_all(&c->zombie_wait);
	if (t->state == T_WAIT_FINISH) {
		task_finished(t, next);
	} else if (c->rx.task == t) {
		t->started = true; /* in the middle of a PDU: data_received() goes on */
		t->next = next;
	} else {
		task_started(t, next);
		task_progress(t);
	}
	conn_release(c);
}

static void task_start_waiting(void *arg)
{
	struct itask *t = arg;
	task_waited(t, scsi_start_wait(&t->cmd));
}

static void task_finish_waiting(void *arg)
{
	struct itask *t = arg;
	task_waited(t, scsi_finish_wait(&t->cmd));
}

static void task_finish(struct itask *t)
{
	if (t->fail == FAIL_TASK_ABORTED) {
		task_refuse(t, SCSI_TASK_ABORTED);
		task_respond(t);
		return;
	}
	if (t->fail) {
		scsi_fail(&t->cmd, (uint8_t)(t->fail >> 16), (uint8_t)(t->fail >> 8),
			  (uint8_t)t->fail);
		task_respond(t);
		return;
	}
	task_next_part(t);
}

void task_next_part(struct itask *t)
{
	enum scsi_next next = scsi_finish(&t->cmd);
	if (next != SCSI_WAIT) {
		task_finished(t, next);
		return;
	}
	t->state = T_WAIT_FINISH;
	if (task_start(task_finish_waiting, t) < 0) {
		task_refuse(t, SCSI_BUSY);
		task_respond(t);
	}
}

void task_progress(struct itask *t)
{
	if (t->conn->rx.task == t || t->unsolicited)
		return; /* more data belongs to it, whatever became of it */
	switch (t->state) {
	case T_DATA:
		if (t->r2t_out == 0 && (t->fail || t->got >= t->want))
			task_finish(t);
		else if (data_r2t_due(t))
			conn_tx_task(t->conn, t);
		return;
	case T_DRAIN:
		/* RFC 7143 11.4.7.2: not before the last expected sequence has ended */
		if (t->r2t_out == 0)
			task_respond(t);
		return;
	default:
		return;
	}
}

/* ---- a SCSI command PDU ---- */

/* RFC 7143 11.3.1: untagged, simple, ordered, head of queue, ACA; the rest is reserved. */
static const uint8_t attrs[CMD_ATTR + 1] = {SCSI_SIMPLE,     SCSI_SIMPLE,     SCSI_ORDERED,
					    SCSI_HEAD,	     SCSI_ATTR_OTHER, SCSI_ATTR_OTHER,
					    SCSI_ATTR_OTHER, SCSI_ATTR_OTHER};

static void fill_command(struct itask *t, const struct bhs *b, unsigned cdb_len)
{
	struct scsi_cmd *cmd = &t->cmd;
	cmd->nexus = t->conn->session->nexus;
	cmd->trace.received_ns = t->conn->rx.at_ns;
	memcpy(cmd->lun, b->lun, 8);
	cmd->cdb_len = (uint16_t)cdb_len;
	cmd->attr = attrs[b->flags & CMD_ATTR];
	cmd->out_expected = t->write ? t->edtl : 0;
	cmd->transport = t;
	cmd->status = SCSI_GOOD;
	cmd->sense_len = 0;
	cmd->in_iov = cmd->out_iov = NULL;
	cmd->in_iovcnt = cmd->out_iovcnt = 0;
	cmd->in_len = cmd->out_len = 0;
	cmd->lu = NULL;
	cmd->op = NULL;
	cmd->holds_read = cmd->holds_write = false;
}

/* Flags and lengths that no later check would catch. */
static const char *command_wrong(const struct conn *c, const struct bhs *b)
{
	uint32_t dsl = pdu_dsl(b);
	bool write = b->flags & CMD_WRITE, final = b->flags & PDU_FINAL;
	if (be32_get(b->itt) == PDU_NO_TAG)
		return "command without a task tag";
	if (!write && (dsl > 0 || !final))
		return "data with a command that writes nothing";
	if (dsl > be32_get(b->edtl))
		return "more immediate data than expected";
	if (!final && c->keys.v[KEY_INITIAL_R2T])
		return "unsolicited data with InitialR2T=Yes";
	if (dsl > c->keys.v[KEY_FIRST_BURST])
		return "immediate data beyond FirstBurstLength";
	return NULL;
}

/* Its number in the window is used up, whatever becomes of it. */
static void window_take(struct conn *c, struct itask *t, bool immediate)
{
	t->immediate = immediate;
	if (immediate) {
		c->window->immediate++;
	} else {
		c->window->busy++;
		window_advance(c);
	}
	task_hash(t);
}

enum rx_verdict task_command(struct conn *c, const struct bhs *b, const uint8_t *ahs)
{
	bool immediate = pdu_immediate(b);
	uint32_t itt = be32_get(b->itt), dsl = pdu_dsl(b);
	const char *wrong = command_wrong(c, b);
	enum cmdsn_verdict v = window_check(c->window, immediate, be32_get(b->cmdsn));
	if (v == CMDSN_IGNORE)
		return RX_OK;
	if (wrong || v == CMDSN_FATAL) {
		conn_protocol_error(c, b, wrong ? wrong : "CmdSN out of order");
		return RX_FATAL;
	}
	bool running = session_find_task(c->session, itt);
	if (running || (immediate && c->window->immediate >= IMMEDIATE_MAX) || !c->session->nexus) {
		if (!immediate)
			window_advance(c);
		conn_reject(c, b,
			    running	? REJECT_TASK_IN_PROGRESS
			    : immediate ? REJECT_IMMEDIATE
					: REJECT_PROTOCOL);
		return RX_OK;
	}
	struct itask *t = task_get(c);
	if (!t)
		return RX_STALL;
	t->itt = itt;
	t->edtl = be32_get(b->edtl);
	t->cmdsn = be32_get(b->cmdsn);
	t->arrival = ++c->session->arrivals;
	t->data_ms = c->data_ms = conn_now_ms(c);
	t->read = b->flags & CMD_READ;
	t->write = b->flags & CMD_WRITE;
	t->unsolicited = !(b->flags & PDU_FINAL);
	t->first = t->unsolicited ? MIN(t->edtl, c->keys.v[KEY_FIRST_BURST]) : dsl;
	window_take(c, t, immediate);
	COUNT(c->session->commands, 1);
	COUNT(c->worker->commands, 1);
	if (dsl > 0 && !c->keys.v[KEY_IMMEDIATE_DATA])
		t->fail = SENSE_UNEXPECTED_DATA;
	unsigned cdb_len = pdu_cdb(b, ahs, t->cmd.cdb);
	fill_command(t, b, cdb_len);
	c->rx.task = t; /* until its immediate data is whole */
	if (cdb_len == 0 || (t->read && t->write)) {
		/* ILLEGAL REQUEST, INVALID FIELD IN CDB; no operation here is bidirectional */
		scsi_fail(&t->cmd, 0x05, cdb_len ? 0x20 : 0x24, 0x00);
		t->bidi_len = pdu_bidi_len(b, ahs);
		t->released = true;
		task_started(t, SCSI_DONE);
	} else {
		task_started(t, scsi_start(&t->cmd));
	}
	return RX_OK;
}

void task_data_received(struct itask *t)
{
	if (t->started) {
		t->started = false;
		task_started(t, t->next);
	}
	task_progress(t);
}
