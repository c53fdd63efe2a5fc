/*
 * Sending: at the end of a reactor's turn everything that is ready becomes one
 * batch: headers, digests and small data in the arena, larger data where it lies
 * (cache pages), one sendmsg(). The kernel has copied a batch when it has taken
 * it, so the tasks of the batch are then given back.
 *
 * Numbers (StatSN, ExpCmdSN, MaxCmdSN, DataSN) are put in as the batch is made,
 * so every answer carries the newest window.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES (1024 * 1024)

void conn_flush_soon(struct conn *c)
{
	if (c->fd >= 0 && !c->tx.blocked)
		reactor_defer(c->worker->reactor, &c->flush);
}

void conn_tx_task(struct conn *c, struct itask *t)
{
	if (t->queued)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&c->txq, t, tx);
	conn_flush_soon(c);
}

struct ctl *conn_tx_ctl(struct conn *c, const struct bhs *b, const void *data, uint32_t len)
{
	if (c->fd < 0)
		return NULL;
	struct ctl *k = malloc(sizeof(*k) + len);
	if (!k) {
		conn_close(c, "no memory");
		return NULL;
	}
	*k = (struct ctl){.bhs = *b, .len = len};
	be24_put(k->bhs.dsl, len);
	if (len)
		memcpy(k->data, data, len);
	STAILQ_INSERT_TAIL(&c->ctls, k, link);
	c->nctls++;
	c->ctl_bytes += len;
	conn_flush_soon(c);
	return k;
}

/* ---- making a batch ---- */

static bool tx_room(const struct conn_tx *tx)
{
	return tx->iov_n + TX_PDU_IOV <= TX_IOV && tx->arena_at + 1024 <= TX_ARENA &&
	       tx->left < BATCH_BYTES;
}

/* Neighbours become one piece. */
static void tx_add(struct conn_tx *tx, void *base, size_t len)
{
	struct iovec *last = tx->iov_n > 0 ? &tx->iov[tx->iov_n - 1] : NULL;
	if (last && (char *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		tx->iov[tx->iov_n++] = (struct iovec){base, len};
	tx->left += len;
}

static void *tx_arena(struct conn_tx *tx, size_t len)
{
	uint8_t *p = tx->arena + tx->arena_at;
	ASSERT(tx->arena_at + len <= TX_ARENA);
	tx->arena_at += (unsigned)len;
	tx_add(tx, p, len);
	return p;
}

static void tx_header(struct conn *c, const struct bhs *b, bool digest)
{
	uint8_t *p = tx_arena(&c->tx, sizeof(*b) + (digest ? 4 : 0));
	memcpy(p, b, sizeof(*b));
	if (digest)
		pdu_header_digest(p, sizeof(*b), p + sizeof(*b));
}

/* Padding and digest behind `len` bytes whose running crc this is. */
static void tx_trailer(struct conn *c, uint32_t len, uint32_t crc, bool digest)
{
	static const uint8_t zeros[4];
	uint32_t pad = pdu_pad(len);
	if (len == 0 || (pad == 0 && !digest))
		return;
	uint8_t *p = tx_arena(&c->tx, pad + (digest ? 4 : 0));
	memset(p, 0, pad);
	if (digest)
		pdu_digest_put(p + pad, crc32c_end(crc32c_add(crc, zeros, pad)));
}

static void fill_sns(struct conn *c, struct bhs *b)
{
	be32_put(b->statsn, c->statsn);
	be32_put(b->expcmdsn, c->window->exp);
	be32_put(b->maxcmdsn, window_max(c));
}

static void build_ctl(struct conn *c, struct ctl *k)
{
	fill_sns(c, &k->bhs);
	if (!k->keep_statsn)
		c->statsn++;
	bool data_digest = c->data_digest && !k->plain;
	tx_header(c, &k->bhs, c->header_digest && !k->plain);
	if (k->len == 0)
		return;
	tx_add(&c->tx, k->data, k->len);
	tx_trailer(c, k->len, data_digest ? crc32c_add(CRC32C_INIT, k->data, k->len) : 0,
		   data_digest);
}

static void build_r2t(struct conn *c, struct itask *t)
{
	struct bhs b = {.opcode = OP_R2T, .flags = PDU_FINAL};
	uint32_t off, len;
	memcpy(b.lun, t->cmd.lun, 8);
	be32_put(b.itt, t->itt);
	be32_put(b.ttt, t->r2tsn);
	be32_put(b.r2tsn, t->r2tsn);
	data_r2t_take(t, &off, &len);
	be32_put(b.offset, off);
	be32_put(b.desired, len);
	fill_sns(c, &b);
	tx_header(c, &b, c->header_digest);
}

/* What was expected against what the command had to move (RFC 7143 11.4.5). */
static uint8_t residual(const struct itask *t, uint8_t ret[4])
{
	const struct scsi_cmd *cmd = &t->cmd;
	uint32_t moved = cmd->out_len ? cmd->out_len : MAX(cmd->in_len, t->sent);
	uint32_t expected = t->read || t->write ? t->edtl : 0;
	if (moved > expected) {
		be32_put(ret, moved - expected);
		return RSP_OVERFLOW;
	}
	be32_put(ret, expected - moved);
	return moved < expected ? RSP_UNDERFLOW : 0;
}

/* Appends n bytes of the task's data-in from where it stands. */
static uint32_t build_data(struct conn *c, struct itask *t, uint32_t n)
{
	uint32_t crc = CRC32C_INIT;
	uint8_t *copy = n <= TX_COPY ? tx_arena(&c->tx, n) : NULL;
	while (n > 0) {
		ASSERT(t->in_i < t->cmd.in_iovcnt);
		struct iovec *v = &t->cmd.in_iov[t->in_i];
		size_t piece = MIN(v->iov_len - t->in_off, (size_t)n);
		uint8_t *from = (uint8_t *)v->iov_base + t->in_off;
		if (copy) {
			memcpy(copy, from, piece);
			copy += piece;
		} else if (piece > 0) {
			tx_add(&c->tx, from, piece);
		}
		if (c->data_digest)
			crc = crc32c_add(crc, from, piece);
		n -= (uint32_t)piece;
		t->in_off += piece;
		if (t->in_off == v->iov_len) {
			t->in_i++;
			t->in_off = 0;
		}
	}
	return crc;
}

/* At most max bytes, and no more pieces than a PDU may have. */
static uint32_t data_in_len(const struct itask *t, uint32_t max)
{
	size_t len = 0, off = t->in_off;
	for (int i = t->in_i, k = 0; i < t->cmd.in_iovcnt && k < TX_PDU_IOV - 4 && len < max; i++) {
		len += t->cmd.in_iov[i].iov_len - off;
		off = 0;
		k++;
	}
	return (uint32_t)MIN(len, (size_t)max);
}

/* A status without sense needs no PDU of its own (RFC 7143 11.7.3). */
static bool collapses(const struct itask *t)
{
	return t->cmd.status == SCSI_GOOD && t->cmd.sense_len == 0;
}

/* True: it was the last, with status. */
static bool build_data_in(struct conn *c, struct itask *t)
{
	struct bhs b = {.opcode = OP_DATA_IN};
	uint32_t max = MIN(c->keys.v[KEY_MAX_RECV_DSL], (uint32_t)TX_PDU_MAX);
	uint32_t n = data_in_len(t, MIN(MIN(max, t->burst_left), t->in_end - t->sent));
	ASSERT(n > 0);
	bool last = t->sent + n == t->send_len, status = last && collapses(t);
	be24_put(b.dsl, n);
	be32_put(b.itt, t->itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.datasn, t->in_datasn++);
	be32_put(b.offset, t->sent);
	t->sent += n;
	t->burst_left -= n;
	if (t->sent == t->in_end || t->burst_left == 0) { /* a sequence ends with its part */
		b.flags |= PDU_FINAL;
		t->burst_left = c->keys.v[KEY_MAX_BURST];
	}
	if (status) {
		task_retire(t);
		b.flags |= DATA_IN_STATUS | residual(t, b.residual);
		b.status = t->cmd.status;
	}
	fill_sns(c, &b);
	if (status)
		c->statsn++;
	else
		memset(b.statsn, 0, 4);
	tx_header(c, &b, c->header_digest);
	uint32_t crc = build_data(c, t, n);
	tx_trailer(c, n, crc, c->data_digest);
	COUNT(c->session->bytes_in, n);
	COUNT(c->worker->bytes_in, n);
	return status;
}

static void build_response(struct conn *c, struct itask *t)
{
	struct bhs b = {.opcode = OP_SCSI_RSP, .flags = PDU_FINAL};
	const struct scsi_cmd *cmd = &t->cmd;
	uint32_t sense = MIN(cmd->sense_len, SCSI_SENSE_MAX);
	uint32_t len = sense ? sense + 2 : 0, crc = CRC32C_INIT;
	task_retire(t);
	b.status = cmd->status;
	b.flags |= residual(t, b.residual);
	if (t->bidi_len > 0) { /* RFC 7143 11.4.5: nothing of it was read */
		b.flags |= RSP_BIDI_UNDERFLOW;
		be32_put(b.offset, t->bidi_len);
	}
	be24_put(b.dsl, len);
	be32_put(b.itt, t->itt);
	be32_put(b.expdatasn, t->in_datasn + t->r2tsn);
	fill_sns(c, &b);
	c->statsn++;
	tx_header(c, &b, c->header_digest);
	if (len) { /* RFC 7143 11.4.7: SenseLength, then the sense */
		uint8_t *p = tx_arena(&c->tx, len);
		be16_put(p, (uint16_t)sense);
		memcpy(p + 2, cmd->sense, sense);
		crc = c->data_digest ? crc32c_add(crc, p, len) : crc;
	}
	tx_trailer(c, len, crc, c->data_digest);
	COUNT(c->session->bytes_out, t->got);
	COUNT(c->worker->bytes_out, t->got);
}

/* True: the task is through, or its part is, and goes (on) when the batch has left. */
static bool build_task(struct conn *c, struct itask *t)
{
	if (t->state == T_DATA) {
		while (data_r2t_due(t) && tx_room(&c->tx))
			build_r2t(c, t);
		return false;
	}
	while (t->sent < t->in_end) {
		if (!tx_room(&c->tx))
			return false;
		if (build_data_in(c, t))
			return true;
	}
	if (t->sent < t->send_len)
		return true;
	if (!tx_room(&c->tx))
		return false;
	build_response(c, t);
	return true;
}

static void build_tasks(struct conn *c)
{
	struct conn_tx *tx = &c->tx;
	struct itask *t;
	while (tx_room(tx) && (t = TAILQ_FIRST(&c->txq))) {
		bool done = build_task(c, t);
		if (!done && (t->state == T_TX || data_r2t_due(t)))
			return; /* the batch is full */
		TAILQ_REMOVE(&c->txq, t, tx);
		t->queued = false;
		if (!done)
			continue;
		t->state = T_SENT;
		TAILQ_INSERT_TAIL(&tx->sent, t, tx);
	}
}

static void build_batch(struct conn *c)
{
	struct conn_tx *tx = &c->tx;
	struct ctl *k;
	tx->iov_n = tx->iov_at = 0;
	tx->arena_at = 0;
	while (tx_room(tx) && (k = STAILQ_FIRST(&c->ctls))) {
		STAILQ_REMOVE_HEAD(&c->ctls, link);
		c->nctls--;
		c->ctl_bytes -= k->len;
		build_ctl(c, k);
		STAILQ_INSERT_TAIL(&tx->ctl_sent, k, link);
	}
	build_tasks(c);
}

/* ---- sending it ---- */

static void batch_left(struct conn_tx *tx, bool closing)
{
	struct itask *t;
	struct ctl *k;
	uint64_t now = TAILQ_EMPTY(&tx->sent) ? 0 : env_now_ns(env_real());
	while ((t = TAILQ_FIRST(&tx->sent))) {
		TAILQ_REMOVE(&tx->sent, t, tx);
		if (!t->retired && !closing) {
			task_next_part(t);
			continue;
		}
		task_retire(t);
		if (!t->released)
			scsi_sent(&t->cmd, now, t->sent + t->got);
		task_end(t);
	}
	while ((k = STAILQ_FIRST(&tx->ctl_sent))) {
		STAILQ_REMOVE_HEAD(&tx->ctl_sent, link);
		free(k);
	}
}

static void batch_advance(struct conn_tx *tx, size_t n)
{
	tx->left -= n;
	while (n > 0) {
		struct iovec *v = &tx->iov[tx->iov_at];
		if (n < v->iov_len) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= n;
			return;
		}
		n -= v->iov_len;
		tx->iov_at++;
	}
}

/* False: the socket takes no more for now, or is gone. */
static bool batch_send(struct conn *c)
{
	struct conn_tx *tx = &c->tx;
	struct msghdr m = {.msg_iov = tx->iov + tx->iov_at,
			   .msg_iovlen = (size_t)(tx->iov_n - tx->iov_at)};
	ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_close(c, strerror(errno));
		return false;
	}
	if (n > 0)
		batch_advance(tx, (size_t)n);
	if (n > 0 || !tx->blocked)
		tx->moved_ms = conn_now_ms(c);
	return tx->left == 0;
}

void conn_flush(void *arg)
{
	struct conn *c = arg;
	struct conn_tx *tx = &c->tx;
	bool more = true;
	conn_hold(c);
	for (int i = 0; i < TX_ROUNDS && c->fd >= 0 && more; i++) {
		if (tx->left == 0) {
			batch_left(tx, false);
			build_batch(c);
		}
		if (tx->left == 0) {
			more = false;
			break;
		}
		if (!batch_send(c))
			break;
	}
	if (c->fd >= 0 && tx->left == 0)
		batch_left(tx, false);
	tx->blocked = c->fd >= 0 && more;
	if (c->fd >= 0 && !more && c->last_word && !c->linger && TAILQ_EMPTY(&c->tx.sent)) {
		shutdown(c->fd, SHUT_WR);
		c->linger = true;
		c->linger_ms = conn_now_ms(c);
	}
	if (conn_rx_may_read(c) && c->rx.head != c->rx.tail)
		conn_rx_process(c); /* it may have stopped for want of room */
	conn_watch(c);
	conn_release(c);
}

void conn_tx_drop(struct conn *c)
{
	struct ctl *k;
	batch_left(&c->tx, true);
	c->tx.left = 0;
	while ((k = STAILQ_FIRST(&c->ctls))) {
		STAILQ_REMOVE_HEAD(&c->ctls, link);
		free(k);
	}
	c->nctls = 0;
	c->ctl_bytes = 0;
}
