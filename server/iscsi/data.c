/*
 * Data-out of a task: immediate, unsolicited and solicited data, which all come
 * in order (DataPDUInOrder = DataSequenceInOrder = Yes), so that one offset,
 * `got`, says where a task is.
 *
 *   0 ........ got ........... r2t_next ........ want
 *   received   | asked for: r2t_out sequences  | to be asked for
 *
 * A target transfer tag is r2tsn: it names the sequence within the task, and
 * the task tag names the task.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/copy.h"
#include "runtime/crc32c.h"
#include <string.h>

/* ---- where data goes ---- */

void data_sink_set(struct itask *t, struct iovec *iov, int n)
{
	t->sink = iov;
	t->sink_n = n;
	t->sink_i = 0;
	t->sink_off = 0;
}

int data_sink_iov(struct itask *t, struct iovec *iov, int max, uint32_t n, uint32_t *ret_bytes)
{
	int i = t->sink_i, k = 0;
	size_t off = t->sink_off;
	uint32_t left = n;
	while (left > 0 && k < max && i < t->sink_n) {
		size_t piece = MIN(t->sink[i].iov_len - off, (size_t)left);
		if (piece > 0)
			iov[k++] = (struct iovec){(char *)t->sink[i].iov_base + off, piece};
		left -= (uint32_t)piece;
		i++;
		off = 0;
	}
	*ret_bytes = n - left;
	return k;
}

void data_sink_advance(struct itask *t, uint32_t n, uint32_t *crc)
{
	while (n > 0) {
		ASSERT(t->sink_i < t->sink_n);
		struct iovec *v = &t->sink[t->sink_i];
		size_t piece = MIN(v->iov_len - t->sink_off, (size_t)n);
		if (crc)
			*crc = crc32c_add(*crc, (char *)v->iov_base + t->sink_off, piece);
		t->sink_off += piece;
		n -= (uint32_t)piece;
		if (t->sink_off == v->iov_len) {
			t->sink_i++;
			t->sink_off = 0;
		}
	}
}

void data_sink_copy(struct itask *t, const uint8_t *src, uint32_t n, uint32_t *crc)
{
	while (n > 0) {
		ASSERT(t->sink_i < t->sink_n);
		struct iovec *v = &t->sink[t->sink_i];
		size_t piece = MIN(v->iov_len - t->sink_off, (size_t)n);
		if (crc)
			*crc = crc32c_add(*crc, src, piece);
		if (t->sink == t->cmd.out_iov)
			scsi_data_copy(&t->cmd, t->sink_i, t->sink_off, src, piece);
		else
			copy_past_cache((char *)v->iov_base + t->sink_off, src, piece);
		src += piece;
		data_sink_advance(t, (uint32_t)piece, NULL);
		n -= (uint32_t)piece;
	}
}

/* ---- asking for data ---- */

bool data_r2t_due(const struct itask *t)
{
	uint32_t next = t->r2t_out ? t->r2t_next : t->got;
	return t->state == T_DATA && !t->unsolicited && !t->fail && next < t->want &&
	       t->r2t_out < t->conn->keys.v[KEY_MAX_R2T];
}

void data_r2t_take(struct itask *t, uint32_t *ret_off, uint32_t *ret_len)
{
	struct conn *c = t->conn;
	if (t->r2t_out == 0)
		t->r2t_next = t->got;
	t->data_ms = conn_now_ms(c);
	uint32_t len = MIN(t->want - t->r2t_next, c->keys.v[KEY_MAX_BURST]);
	*ret_off = t->r2t_next;
	*ret_len = len;
	t->r2t_next += len;
	t->r2t_end[t->r2tsn++ % ISCSI_MAX_R2T] = t->r2t_next;
	if (t->r2t_out++ == 0)
		t->datasn = 0;
	c->r2t_bytes += len;
}

/* ---- data that comes ---- */

static uint32_t first_r2t(const struct itask *t)
{
	return t->r2tsn - t->r2t_out;
}

/* End of the sequence that this PDU must belong to; 0: none is open, or not this one. */
static uint32_t sequence_end(const struct itask *t, uint32_t ttt)
{
	if (ttt == PDU_NO_TAG)
		return t->unsolicited ? t->first : 0;
	if (t->r2t_out == 0 || t->unsolicited || ttt != first_r2t(t))
		return 0;
	return t->r2t_end[ttt % ISCSI_MAX_R2T];
}

enum rx_verdict data_out(struct conn *c, const struct bhs *b)
{
	struct itask *t = task_find(c, be32_get(b->itt));
	if (!t)
		return RX_OK; /* was aborted: what is still on the way is discarded */
	uint32_t end = sequence_end(t, be32_get(b->ttt)), len = pdu_dsl(b);
	/* RFC 7143 7.9: a gap is data lost as by a wrong digest; the command fails at its end */
	bool in_order = be32_get(b->datasn) == t->datasn && be32_get(b->offset) == t->got;
	if (end > 0 && !in_order && !t->fail)
		t->fail = SENSE_DATA_DIGEST;
	if (end == 0 || (!t->fail && len > end - t->got)) {
		conn_protocol_error(c, b, end ? "more data than asked for" : "data not asked for");
		return RX_FATAL;
	}
	t->datasn++;
	c->rx.task = t;
	return RX_OK;
}

static void sequence_done(struct itask *t, bool solicited)
{
	uint32_t end;
	t->datasn = 0;
	if (!solicited) {
		t->unsolicited = false;
		return;
	}
	end = t->r2t_end[first_r2t(t) % ISCSI_MAX_R2T];
	t->r2t_out--;
	if (t->got < end) { /* RFC 7143 11.4.7.2: incorrect amount of data */
		if (!t->fail)
			t->fail = SENSE_NOT_ENOUGH_DATA;
		t->conn->r2t_bytes -= end - t->got;
		t->got = end;
	}
}

void data_received(struct itask *t, const struct bhs *b, bool digest_ok)
{
	struct conn *c = t->conn;
	uint32_t len = pdu_dsl(b);
	bool data_pdu = pdu_opcode(b) == OP_DATA_OUT;
	bool solicited = data_pdu && be32_get(b->ttt) != PDU_NO_TAG;
	if (data_pdu) /* only a failed sequence can exceed its end */
		len = MIN(len, sequence_end(t, be32_get(b->ttt)) - t->got);
	c->rx.task = NULL;
	t->data_ms = c->data_ms = conn_now_ms(c);
	if (!digest_ok && !t->fail)
		t->fail = SENSE_DATA_DIGEST;
	t->got += len;
	if (solicited)
		c->r2t_bytes -= len;
	if (data_pdu && b->flags & PDU_FINAL)
		sequence_done(t, solicited);
	task_data_received(t);
}

static bool waits_for_data(const struct itask *t)
{
	return !t->retired &&
	       (t->state == T_DATA || t->unsolicited || t->r2t_out > 0 || t->conn->rx.task == t);
}

/*
 * A slow peer sends the data of many writes one after the other: while any comes, one write may
 * wait DATA_PATIENCE times as long. Only whole PDUs count.
 */
bool data_overdue(struct conn *c, uint64_t now)
{
	uint64_t limit = c->worker->server->data_timeout_s * 1000ull;
	struct itask *t;
	TAILQ_FOREACH (t, &c->tasks, all)
		if (waits_for_data(t) && (now - t->data_ms > DATA_PATIENCE * limit ||
					  (now - t->data_ms > limit && now - c->data_ms > limit)))
			return true;
	return false;
}
