/*
 * Receiving: bytes become PDUs.
 *
 *   RX_HEADER   48 bytes, additional segments, header digest: all in the buffer before any is used
 *   RX_DATA     the data segment, from the buffer first, then by recvmsg() straight into place:
 *               a command's memory, a control PDU's own, or the worker's scratch (discarded)
 *   RX_TRAILER  padding and data digest
 *
 * One wake-up receives at most RX_ROUNDS times; every whole PDU in the buffer is handled. What
 * may stop it: no free task (worker.starved), a command whose turn has not come (parked), too many
 * answers unsent, a login being finished.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool conn_rx_may_read(const struct conn *c)
{
	return c->fd >= 0 && !c->login_busy && !c->rx.starved && !c->rx.parked && !c->last_word &&
	       c->nctls < CTL_BACKLOG && c->ctl_bytes < CTL_BYTES;
}

void conn_rx_forget(struct conn *c, struct itask *t)
{
	if (c->rx.task != t)
		return;
	c->rx.task = NULL;
	c->rx.store = 0;
}

static void rx_starve(struct conn *c)
{
	c->rx.starved = true;
	c->rx.starved_ms = conn_now_ms(c);
	TAILQ_INSERT_TAIL(&c->worker->starved, c, starved);
}

/* Until session_resume(). */
static void rx_park(struct conn *c, const struct bhs *b)
{
	c->rx.parked_sn = be32_get(b->cmdsn);
	c->rx.parked = true;
	c->rx.parked_ms = conn_now_ms(c);
	session_check_parked(c->session);
}

/* ---- a PDU begins ---- */

/* Control PDUs bring their data into memory of their own, with a byte to spare. */
static bool begin_control(struct conn *c, uint32_t dsl)
{
	struct conn_rx *rx = &c->rx;
	rx->mem_at = 0;
	if (dsl == 0)
		return true;
	rx->mem = malloc(dsl + 1);
	if (!rx->mem) {
		conn_close(c, "no memory");
		return false;
	}
	rx->store = dsl;
	return true;
}

static uint32_t task_store(const struct itask *t, uint32_t dsl)
{
	if (t->fail || t->got >= t->want)
		return 0;
	return MIN(dsl, t->want - t->got);
}

static bool in_full_feature(const struct conn *c)
{
	return c->state == CONN_LOGGED_IN || c->state == CONN_LOGOUT_REQUESTED;
}

/* Is this opcode allowed now? Closes the connection when not. */
static bool begin_allowed(struct conn *c, const struct bhs *b)
{
	bool login = pdu_opcode(b) == OP_LOGIN_REQ;
	if (c->state == CONN_XPT_UP && !login) {
		conn_close(c, "the first PDU is no login"); /* RFC 7143 6.3.1 */
		return false;
	}
	if (c->state == CONN_IN_LOGIN && !login) {
		struct bhs rsp = {0};
		login_refuse(&rsp, b, LOGIN_INVALID_REQUEST);
		conn_tx_ctl(c, &rsp, NULL, 0);
		conn_event(c, EV_LOGIN_FAILED);
		conn_close_after_send(c);
		return false;
	}
	if (in_full_feature(c) && login) {
		conn_protocol_error(c, b, "login in the full feature phase");
		return false;
	}
	return true;
}

/* A further connection is served where the session's others are. */
static bool begin_elsewhere(struct conn *c, const struct bhs *b)
{
	uint16_t tsih = be16_get(b->tsih);
	if (c->state != CONN_XPT_UP || tsih == 0 || c->moved)
		return false;
	struct worker *w = session_worker(c->worker->server, tsih, b->isid);
	if (!w || w == c->worker)
		return false;
	conn_move(c, w);
	return true;
}

static enum rx_verdict begin_pdu(struct conn *c, const struct bhs *b, const uint8_t *ahs)
{
	struct conn_rx *rx = &c->rx;
	uint32_t dsl = pdu_dsl(b);
	enum rx_verdict v = RX_OK;
	if (dsl > (in_full_feature(c) ? ISCSI_MAX_RECV_DSL : PDU_DSL_DEFAULT)) {
		if (in_full_feature(c))
			conn_protocol_error(c, b, "data segment longer than we take");
		else
			conn_close(c, "login request too long");
		return RX_FATAL;
	}
	if (!begin_allowed(c, b) || begin_elsewhere(c, b))
		return RX_FATAL;
	if (window_must_wait(c, b))
		return RX_PARK;
	rx->store = 0;
	rx->task = NULL;
	switch (pdu_opcode(b)) {
	case OP_SCSI_CMD:
		v = task_command(c, b, ahs);
		break;
	case OP_DATA_OUT:
		v = data_out(c, b);
		break;
	default:
		if (!begin_control(c, dsl))
			return RX_FATAL;
	}
	if (v != RX_OK)
		return v;
	if (rx->task)
		rx->store = task_store(rx->task, dsl);
	rx->bhs = *b;
	rx->left = dsl;
	rx->crc = CRC32C_INIT;
	rx->trailer_len = 0;
	rx->trailer_need = dsl ? pdu_pad(dsl) + (c->data_digest ? 4 : 0) : 0;
	return RX_OK;
}

/* ---- a PDU is whole ---- */

static void end_control(struct conn *c, const struct bhs *b, uint8_t *data, uint32_t len)
{
	switch (pdu_opcode(b)) {
	case OP_LOGIN_REQ:
		conn_login_request(c, b, (char *)data, len);
		break;
	case OP_NOP_OUT:
		conn_nop_out(c, b, data, len);
		break;
	case OP_TMF_REQ:
		conn_tmf_request(c, b);
		break;
	case OP_TEXT_REQ:
		conn_text_request(c, b, (char *)data, len);
		break;
	case OP_LOGOUT_REQ:
		conn_logout_request(c, b);
		break;
	case OP_SNACK:
		conn_reject(c, b, REJECT_SNACK); /* ErrorRecoveryLevel=0 */
		break;
	default:
		conn_reject(c, b, REJECT_UNSUPPORTED);
	}
}

static bool digest_matches(struct conn_rx *rx)
{
	unsigned pad = rx->trailer_need - 4;
	rx->crc = crc32c_add(rx->crc, rx->trailer, pad);
	return crc32c_end(rx->crc) == pdu_digest_get(rx->trailer + pad);
}

/*
 * RFC 7143 7.8: a PDU whose data digest is wrong is rejected and dropped. A Data-Out ends its task
 * with a sense; any other leaves a hole in CmdSN that error recovery level 0 cannot fill.
 */
static void end_bad_digest(struct conn *c, const struct bhs *b)
{
	struct itask *t = c->rx.task;
	COUNT(c->worker->digest_errors, 1);
	conn_reject(c, b, REJECT_DATA_DIGEST);
	if (pdu_opcode(b) != OP_DATA_OUT)
		conn_close_after_send(c);
	else if (t)
		data_received(t, b, false);
}

static void end_pdu(struct conn *c)
{
	struct conn_rx *rx = &c->rx;
	struct bhs b = rx->bhs;
	struct itask *t = rx->task;
	uint8_t *mem = rx->mem;
	rx->mem = NULL;
	rx->state = RX_HEADER;
	unsigned op = pdu_opcode(&b);
	if (rx->trailer_need >= 4 && !digest_matches(rx))
		end_bad_digest(c, &b);
	else if (t)
		data_received(t, &b, true);
	else if (op != OP_SCSI_CMD && op != OP_DATA_OUT)
		end_control(c, &b, mem, pdu_dsl(&b));
	free(mem);
}

/* ---- bytes ---- */

static uint32_t rx_buffered(const struct conn_rx *rx)
{
	return rx->tail - rx->head;
}

/* n bytes of the data segment are in place (or discarded). */
static void rx_stored(struct conn *c, uint32_t n)
{
	struct conn_rx *rx = &c->rx;
	uint32_t keep = MIN(n, rx->store);
	uint32_t *crc = c->data_digest ? &rx->crc : NULL;
	if (rx->task && keep) {
		data_sink_advance(rx->task, keep, crc);
		if (rx->task->sink == rx->task->cmd.out_iov)
			scsi_data_received(&rx->task->cmd, rx->task->sink_i);
	} else if (keep) {
		if (crc)
			*crc = crc32c_add(*crc, rx->mem + rx->mem_at, keep);
		rx->mem_at += keep;
	}
	if (crc && n > keep)
		*crc = crc32c_add(*crc, c->worker->scratch, n - keep);
	rx->store -= keep;
	rx->left -= n;
}

static void rx_copy(struct conn *c)
{
	struct conn_rx *rx = &c->rx;
	const uint8_t *p = rx->buf + rx->head;
	uint32_t n = MIN(rx_buffered(rx), rx->left), keep = MIN(n, rx->store), summed = 0;
	if (rx->task && keep) {
		data_sink_copy(rx->task, p, keep, c->data_digest ? &rx->crc : NULL);
		summed = keep;
	} else if (keep) {
		memcpy(rx->mem + rx->mem_at, p, keep);
	}
	if (!rx->task)
		rx->mem_at += keep;
	if (c->data_digest)
		rx->crc = crc32c_add(rx->crc, p + summed, n - summed);
	rx->store -= keep;
	rx->left -= n;
	rx->head += n;
}

static void rx_trailer(struct conn_rx *rx)
{
	unsigned n = MIN(rx->trailer_need - rx->trailer_len, rx_buffered(rx));
	memcpy(rx->trailer + rx->trailer_len, rx->buf + rx->head, n);
	rx->trailer_len += n;
	rx->head += n;
}

#define HINT_FAR  8 /* commands ahead */
#define HINT_NEAR 4

/*
 * Commands of one kind follow each other at equal distances: what those behind this one (at b,
 * `all` bytes) will need is fetched. Where something else lies there, nothing is lost but a little
 * time.
 */
static void rx_hint(struct conn *c, const struct bhs *b, uint32_t all)
{
	const struct conn_rx *rx = &c->rx;
	const struct scsi_cmd *cmd = &rx->task->cmd;
	uint32_t dsl = pdu_dsl(b), left = rx_buffered(rx);
	uint32_t step = all + dsl + pdu_pad(dsl) + (dsl && c->data_digest ? 4 : 0);
	const struct bhs *far = (const void *)((const uint8_t *)b + HINT_FAR * step);
	const struct bhs *near = (const void *)((const uint8_t *)b + HINT_NEAR * step);
	if (left >= HINT_FAR * step + sizeof(*b) && pdu_opcode(far) == OP_SCSI_CMD)
		scsi_hint(cmd, far->lun, far->cdb, false);
	if (left >= HINT_NEAR * step + sizeof(*b) && pdu_opcode(near) == OP_SCSI_CMD)
		scsi_hint(cmd, near->lun, near->cdb, true);
}

/* A header is taken when all of it is there. False: not yet, or nothing more to do. */
static bool rx_header(struct conn *c)
{
	struct conn_rx *rx = &c->rx;
	struct bhs *b = (struct bhs *)(rx->buf + rx->head);
	if (rx_buffered(rx) < sizeof(*b))
		return false;
	uint32_t len = sizeof(*b) + b->ahs_words * 4u, all = len + (c->header_digest ? 4 : 0);
	if (rx_buffered(rx) < all)
		return false;
	if (c->header_digest && !pdu_header_digest_ok(b, len, (uint8_t *)b + len)) {
		COUNT(c->worker->digest_errors, 1);
		conn_close(c, "header digest"); /* RFC 7143 7.8: the stream's framing is lost */
		return false;
	}
	switch (begin_pdu(c, b, (uint8_t *)(b + 1))) {
	case RX_STALL:
		rx_starve(c);
		return false;
	case RX_PARK:
		rx_park(c, b);
		return false;
	case RX_FATAL:
		return false;
	case RX_OK:
		break;
	}
	if (rx->task && pdu_opcode(b) == OP_SCSI_CMD)
		rx_hint(c, b, all);
	rx->head += all;
	rx->state = RX_DATA;
	return true;
}

static bool rx_step(struct conn *c)
{
	struct conn_rx *rx = &c->rx;
	switch (rx->state) {
	case RX_HEADER:
		return rx_header(c);
	case RX_DATA:
		rx_copy(c);
		if (rx->left > 0)
			return false;
		rx->state = RX_TRAILER;
		return true;
	case RX_TRAILER:
		rx_trailer(rx);
		if (rx->trailer_len < rx->trailer_need)
			return false;
		end_pdu(c);
		return true;
	}
	return false;
}

void conn_rx_process(struct conn *c)
{
	struct conn_rx *rx = &c->rx;
	conn_hold(c);
	while (conn_rx_may_read(c) && rx_step(c))
		;
	if (rx->head == rx->tail) {
		rx->head = rx->tail = 0;
	} else if (rx->head > RX_BUF / 2 && rx->buf) {
		memmove(rx->buf, rx->buf + rx->head, rx_buffered(rx));
		rx->tail -= rx->head;
		rx->head = 0;
	}
	conn_watch(c);
	conn_release(c);
}

/* ---- the socket ---- */

struct rx_plan {
	struct iovec iov[RX_IOV];
	int n;
	uint32_t data;	  /* of the iov, bytes of the data segment */
	uint32_t trailer; /* then of the trailer */
	uint32_t total;
};

static void plan_add(struct rx_plan *p, void *base, uint32_t len)
{
	if (len == 0)
		return;
	p->iov[p->n++] = (struct iovec){base, len};
	p->total += len;
}

/* The rest of a long data segment goes to its place, then the trailer, then the buffer. */
static void plan_data(struct conn *c, struct rx_plan *p)
{
	struct conn_rx *rx = &c->rx;
	uint32_t n = rx->store;
	if (rx->task && n > 0) {
		p->n = data_sink_iov(rx->task, p->iov, RX_IOV - 4, rx->store, &n);
		p->total = n;
	} else {
		plan_add(p, rx->mem ? rx->mem + rx->mem_at : NULL, n);
	}
	p->data = n;
	if (n == rx->store && rx->left > n) {
		uint32_t drop = MIN(rx->left - n, (uint32_t)RX_BUF);
		plan_add(p, c->worker->scratch, drop);
		p->data += drop;
	}
	if (p->data < rx->left)
		return;
	p->trailer = rx->trailer_need;
	plan_add(p, rx->trailer, p->trailer);
	plan_add(p, rx->buf, RX_TAIL);
}

static void plan_make(struct conn *c, struct rx_plan *p)
{
	struct conn_rx *rx = &c->rx;
	p->n = 0;
	p->data = p->trailer = p->total = 0;
	if (rx->state == RX_DATA && rx->left >= RX_DIRECT && rx->tail == 0) {
		plan_data(c, p);
		return;
	}
	/* Much data is coming for R2Ts: take its header, and the data where it belongs. */
	uint32_t room = RX_BUF - rx->tail;
	if (c->r2t_bytes >= RX_BUF && rx->state == RX_HEADER)
		room = MIN(room, (uint32_t)RX_TAIL);
	plan_add(p, rx->buf + rx->tail, room);
}

/* n bytes came, in the order of the plan. */
static void plan_done(struct conn *c, const struct rx_plan *p, uint32_t n)
{
	struct conn_rx *rx = &c->rx;
	uint32_t data = MIN(n, p->data);
	if (data)
		rx_stored(c, data);
	n -= data;
	uint32_t trailer = MIN(n, p->trailer);
	rx->trailer_len += trailer;
	n -= trailer;
	rx->tail += n;
	if (rx->state == RX_DATA && rx->left == 0)
		rx->state = RX_TRAILER;
}

/* Our side is done: only the peer's closing is waited for. */
static void rx_linger(struct conn *c)
{
	for (int i = 0; i < RX_ROUNDS; i++) {
		ssize_t n = recv(c->fd, c->worker->scratch, RX_BUF, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			conn_close(c, NULL);
		if (n <= 0)
			return;
	}
}

/* One receive. False: nothing more for now. */
static bool rx_receive(struct conn *c)
{
	struct rx_plan p;
	if (c->rx.tail == RX_BUF) { /* what stopped it before may be over */
		conn_rx_process(c);
		if (c->rx.tail == RX_BUF || !conn_rx_may_read(c))
			return false;
	}
	plan_make(c, &p);
	ASSERT(p.total > 0);
	struct msghdr m = {.msg_iov = p.iov, .msg_iovlen = (size_t)p.n};
	ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_close(c, strerror(errno));
		return false;
	}
	if (n == 0) {
		conn_close(c, "closed by the peer");
		return false;
	}
	c->heard_ms = conn_now_ms(c);
	c->rx.at_ns = env_now_ns(env_real());
	plan_done(c, &p, (uint32_t)n);
	conn_rx_process(c);
	return (uint32_t)n == p.total;
}

void conn_rx_readable(struct conn *c)
{
	conn_hold(c);
	for (int i = 0; i < RX_ROUNDS && (c->linger || conn_rx_may_read(c)); i++) {
		if (c->linger) {
			rx_linger(c);
			break;
		}
		if (!rx_receive(c))
			break;
	}
	conn_release(c);
}
