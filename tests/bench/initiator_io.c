/*
 * The bench initiator's data path. A pass over a connection: one recv() of whatever has come,
 * every PDU in it handled in place, then one sendmsg() of all commands and data that follow from
 * them. What was read is not copied; what is written is one buffer for all, unless it is checked.
 */
#include "tests/bench/initiator_impl.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "tests/bench/contest.h"

#define CONNECTIONS_MAX 64

static uint8_t plain[INITIATOR_SIZE_MAX]; /* data of writes that are not checked */

/* ---- what is sent ---- */

static bool room(const struct initiator *in)
{
	return in->nheaders < SEND_PDUS && in->out_batch.unsent < SEND_BYTES;
}

/* The header of the next PDU of the batch: add_pdu() puts it there. */
static uint8_t *next_header(struct initiator *in, uint8_t opcode, uint8_t flags)
{
	uint8_t *b = in->headers + (size_t)in->nheaders++ * SEND_HEADER;
	memset(b, 0, BHS);
	b[AT_OPCODE] = opcode;
	b[AT_FLAGS] = flags;
	memcpy(b + AT_LUN, in->lun, 8);
	be32_put(b + AT_EXPSTATSN, in->expstatsn);
	return b;
}

/* Data is whole blocks: there is no padding. */
static void add_pdu(struct initiator *in, uint8_t *b, void *data, uint32_t len)
{
	be24_put(b + AT_DSL, len);
	if (in->header_digest)
		le32_put(b + BHS, crc32c(b, BHS));
	wire_out_add(&in->out_batch, b, BHS + (in->header_digest ? 4 : 0));
	if (!len)
		return;
	wire_out_add(&in->out_batch, data, len);
	if (!in->data_digest)
		return;
	le32_put(b + BHS + 4, crc32c(data, len));
	wire_out_add(&in->out_batch, b + BHS + 4, 4);
}

static uint8_t *slot_data(const struct slot *s, uint32_t at)
{
	return (s->buf ? s->buf : plain) + at;
}

static uint64_t choose(struct initiator *in)
{
	const struct initiator_load *l = in->load;
	uint64_t places = l->region / l->size, off = in->next_off;
	if (l->random) {
		in->seed = in->seed * 6364136223846793005ull + 1442695040888963407ull;
		return (in->seed >> 33) % places * l->size;
	}
	in->next_off = off + l->size < places * l->size ? off + l->size : 0;
	return off;
}

static bool choose_write(struct initiator *in)
{
	unsigned percent = in->load->write_percent;
	if (percent == 0 || percent == 100)
		return percent;
	in->seed = in->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (in->seed >> 33) % 100 < percent;
}

static void add_command(struct initiator *in, struct slot *s)
{
	uint32_t size = in->load->size, blocks = size / in->block_size, now = 0, first = 0;
	s->off = choose(in);
	s->write = choose_write(in);
	s->busy = true;
	if (s->write) { /* RFC 7143 4.2.5.2: immediate, then unsolicited, up to the first burst */
		first = MIN(size, in->first_burst);
		now = in->immediate ? MIN(first, in->max_send) : 0;
		first = in->initial_r2t ? now : first;
		if (s->buf)
			wire_pattern_fill(s->buf, s->off, size);
	}
	uint8_t *b = next_header(in, OP_COMMAND, s->write ? FLAG_WRITE : FLAG_READ);
	b[AT_FLAGS] |= 1 | (now == first ? FLAG_FINAL : 0); /* simple task */
	be32_put(b + AT_ITT, (uint32_t)(s - in->slots));
	be32_put(b + AT_EDTL, size);
	be32_put(b + AT_CMDSN, in->cmdsn++);
	b[AT_CDB] = s->write ? 0x8a : 0x88; /* WRITE(16), READ(16) */
	be64_put(b + AT_CDB + 2, s->off / in->block_size);
	be32_put(b + AT_CDB + 10, blocks);
	add_pdu(in, b, slot_data(s, 0), now);
	in->in_flight++;
	if (now == first)
		return;
	s->ttt = NO_TAG;
	s->out_at = now;
	s->out_end = first;
	s->datasn = 0;
	STAILQ_INSERT_TAIL(&in->out, s, link);
}

/* One Data-Out of a sequence. */
static void add_data_out(struct initiator *in, struct slot *s)
{
	uint32_t len = MIN(s->out_end - s->out_at, in->max_send);
	bool last = s->out_at + len == s->out_end;
	uint8_t *b = next_header(in, OP_DATA_OUT, last ? FLAG_FINAL : 0);
	be32_put(b + AT_ITT, (uint32_t)(s - in->slots));
	be32_put(b + AT_TTT, s->ttt);
	be32_put(b + AT_DATASN, s->datasn++);
	be32_put(b + AT_OFFSET, s->out_at);
	add_pdu(in, b, slot_data(s, s->out_at), len);
	s->out_at += len;
	if (last)
		STAILQ_REMOVE_HEAD(&in->out, link);
}

static void add_pong(struct initiator *in)
{
	uint8_t *b = next_header(in, OP_NOP_OUT | OP_IMMEDIATE, FLAG_FINAL);
	memcpy(b + AT_LUN, in->ping_lun, 8);
	be32_put(b + AT_ITT, NO_TAG);
	memcpy(b + AT_TTT, in->ping_ttt, 4);
	be32_put(b + AT_CMDSN, in->cmdsn);
	add_pdu(in, b, NULL, 0);
	in->ping = false;
}

static void batch_make(struct initiator *in, bool more)
{
	struct slot *s;
	wire_out_reset(&in->out_batch);
	in->nheaders = 0;
	if (in->ping)
		add_pong(in);
	while (room(in) && (s = STAILQ_FIRST(&in->out)))
		add_data_out(in, s);
	while (more && room(in) && (int32_t)(in->maxcmdsn - in->cmdsn) >= 0 &&
	       (s = STAILQ_FIRST(&in->free))) {
		STAILQ_REMOVE_HEAD(&in->free, link);
		add_command(in, s);
		/* Its data follows at once: few targets wait patiently for it. */
		while (room(in) && (s = STAILQ_FIRST(&in->out)))
			add_data_out(in, s);
	}
}

/* Sends until nothing is left or the socket takes no more. more: new commands may begin. */
static int pump_send(struct initiator *in, bool more)
{
	for (;;) {
		if (!in->out_batch.unsent)
			batch_make(in, more);
		if (!in->out_batch.unsent)
			return 0;
		if (wire_out_send(&in->out_batch, in->fd))
			return initiator_fail(in, "cannot send: %s", strerror(errno));
		if (in->out_batch.blocked)
			return 0;
	}
}

/* ---- what is received ---- */

static struct slot *slot_of(struct initiator *in, const uint8_t *b)
{
	uint32_t itt = be32_get(b + AT_ITT);
	if (itt < in->load->depth && in->slots[itt].busy)
		return &in->slots[itt];
	initiator_fail(in, "PDU %02x for no command of ours", b[AT_OPCODE]);
	return NULL;
}

static int take_status(struct initiator *in, const uint8_t *b)
{
	struct slot *s = slot_of(in, b);
	if (!s)
		return -1;
	if (b[AT_STATUS] || (b[AT_OPCODE] == OP_RESPONSE && b[2]) || (b[AT_FLAGS] & 6))
		return initiator_fail(in, "status %02x response %02x flags %02x at byte %llu",
				      b[AT_STATUS], b[2], b[AT_FLAGS], (unsigned long long)s->off);
	in->expstatsn = be32_get(b + AT_STATSN) + 1;
	s->busy = false;
	in->in_flight--;
	in->done++;
	STAILQ_INSERT_TAIL(&in->free, s, link);
	return 0;
}

static int take_r2t(struct initiator *in, const uint8_t *b)
{
	struct slot *s = slot_of(in, b);
	uint32_t at = be32_get(b + AT_OFFSET), len = be32_get(b + AT_DESIRED);
	if (!s)
		return -1;
	if (!s->write || at > in->load->size || len > in->load->size - at || len == 0)
		return initiator_fail(in, "R2T for bytes %u + %u", at, len);
	s->ttt = be32_get(b + AT_TTT);
	s->out_at = at;
	s->out_end = at + len;
	s->datasn = 0;
	STAILQ_INSERT_TAIL(&in->out, s, link);
	return 0;
}

static int take_data_in(struct initiator *in, const uint8_t *b)
{
	struct slot *s = slot_of(in, b);
	uint32_t at = be32_get(b + AT_OFFSET);
	if (!s)
		return -1;
	if (s->write || at > in->load->size || in->left > in->load->size - at)
		return initiator_fail(in, "data-in for bytes %u + %u", at, in->left);
	in->data_off = s->off + at;
	return 0;
}

/* A header is here. */
static int begin_pdu(struct initiator *in, const uint8_t *b)
{
	uint8_t op = b[AT_OPCODE];
	in->left = be24_get(b + AT_DSL);
	in->trailer_len = 0;
	in->trailer_need = in->left ? (-in->left & 3) + (in->data_digest ? 4 : 0) : 0;
	in->crc = CRC32C_INIT;
	uint32_t max = be32_get(b + AT_MAXCMDSN);
	if ((int32_t)(max - in->maxcmdsn) > 0)
		in->maxcmdsn = max;
	switch (op) {
	case OP_DATA_IN:
		return take_data_in(in, b);
	case OP_R2T:
		return take_r2t(in, b);
	case OP_RESPONSE:
	case OP_NOP_IN:
		return 0;
	}
	return initiator_fail(in, "unexpected PDU %02x reason %02x", op, b[2]);
}

/* All of it is here. */
static int end_pdu(struct initiator *in, const uint8_t *b)
{
	uint32_t pad = in->trailer_need & 3;
	if (in->trailer_need >= 4 &&
	    crc32c_end(crc32c_add(in->crc, in->trailer, pad)) != le32_get(in->trailer + pad))
		return initiator_fail(in, "data digest wrong");
	if (b[AT_OPCODE] == OP_RESPONSE ||
	    (b[AT_OPCODE] == OP_DATA_IN && (b[AT_FLAGS] & FLAG_STATUS)))
		return take_status(in, b);
	if (b[AT_OPCODE] == OP_NOP_IN && be32_get(b + AT_TTT) != NO_TAG) {
		in->ping = true;
		memcpy(in->ping_lun, b + AT_LUN, 8);
		memcpy(in->ping_ttt, b + AT_TTT, 4);
	}
	return 0;
}

/* False: not all of a header is here. */
static int header(struct initiator *in, bool *ret_more)
{
	const uint8_t *b = in->rbuf + in->head;
	size_t have = in->tail - in->head, need = BHS + (in->header_digest ? 4u : 0);
	*ret_more = have >= need;
	if (have < need)
		return 0;
	if (b[AT_AHS])
		return initiator_fail(in, "additional header segments");
	if (in->header_digest && crc32c(b, BHS) != le32_get(b + BHS))
		return initiator_fail(in, "header digest wrong");
	if (begin_pdu(in, b))
		return -1;
	in->head += need;
	if (in->left == 0 && in->trailer_need == 0)
		return end_pdu(in, b);
	memcpy(in->bhs, b, BHS);
	in->in_data = true;
	return 0;
}

static int data(struct initiator *in)
{
	uint8_t *p = in->rbuf + in->head;
	uint32_t n = (uint32_t)MIN(in->tail - in->head, (size_t)in->left);
	bool read = in->bhs[AT_OPCODE] == OP_DATA_IN;
	if (read && in->load->check && !wire_pattern_holds(p, in->data_off, n))
		return initiator_fail(in, "wrong data in bytes %llu + %u",
				      (unsigned long long)in->data_off, n);
	if (in->data_digest)
		in->crc = crc32c_add(in->crc, p, n);
	in->data_off += n;
	in->head += n;
	in->left -= n;
	if (in->left)
		return 0;
	n = (uint32_t)MIN(in->tail - in->head, (size_t)(in->trailer_need - in->trailer_len));
	memcpy(in->trailer + in->trailer_len, in->rbuf + in->head, n);
	in->trailer_len += n;
	in->head += n;
	if (in->trailer_len < in->trailer_need)
		return 0;
	in->in_data = false;
	return end_pdu(in, in->bhs);
}

static int handle(struct initiator *in)
{
	bool more = true;
	while (more && in->head < in->tail)
		if (in->in_data ? data(in) : header(in, &more))
			return -1;
	size_t rest = in->tail - in->head;
	if (rest)
		memmove(in->rbuf, in->rbuf + in->head, rest); /* less than a header */
	in->head = 0;
	in->tail = rest;
	return 0;
}

/* Bytes received; 0: nothing there; -1. */
static ssize_t pump_recv(struct initiator *in)
{
	ssize_t n = recv(in->fd, in->rbuf + in->tail, RECV_BUF - in->tail, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return initiator_fail(in, "%s", n ? strerror(errno) : "the target hung up");
	in->tail += (size_t)n;
	return handle(in) ? -1 : n;
}

/* ---- the load ---- */

static int load_check(struct initiator **in, unsigned n, const struct initiator_load *l)
{
	for (unsigned i = 0; i < n; i++)
		if (l->size == 0 || l->size > INITIATOR_SIZE_MAX || l->size % in[i]->block_size ||
		    l->region < l->size || l->region > in[i]->capacity || l->depth == 0 ||
		    l->depth > INITIATOR_DEPTH_MAX || n > CONNECTIONS_MAX)
			return initiator_fail(in[i], "size, depth or region do not suit the LUN");
	return 0;
}

static int begin(struct initiator *in, unsigned number, unsigned of, const struct initiator_load *l)
{
	in->load = l;
	in->done = 0;
	in->next_off = l->region / l->size * number / of * l->size;
	STAILQ_INIT(&in->free);
	STAILQ_INIT(&in->out);
	for (unsigned i = 0; i < l->depth; i++) {
		struct slot *s = &in->slots[i];
		free(s->buf);
		*s = (struct slot){.buf = l->check ? malloc(l->size) : NULL};
		if (l->check && !s->buf)
			return initiator_fail(in, "no memory");
		STAILQ_INSERT_TAIL(&in->free, s, link);
	}
	return 0;
}

static int wait_any(struct initiator **in, unsigned n, struct pollfd *p)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){
		    .fd = in[i]->fd,
		    .events = (short)(POLLIN | (in[i]->out_batch.blocked ? POLLOUT : 0))};
	int rc = poll(p, n, WIRE_SILENCE_S * 1000);
	if (rc < 0 && errno == EINTR)
		return 0;
	return rc > 0 ? 0 : initiator_fail(in[0], "no answer in %d s", WIRE_SILENCE_S);
}

/* One pass over the connections. ret_any: did anything come. */
static int pass(struct initiator **in, unsigned n, const struct pollfd *p, bool more, bool *ret_any)
{
	*ret_any = false;
	for (unsigned i = 0; i < n; i++) {
		ssize_t got = p && !p[i].revents ? 0 : pump_recv(in[i]);
		if (got < 0 ||
		    (((got || in[i]->out_batch.blocked) || !p) && pump_send(in[i], more)))
			return -1;
		*ret_any = *ret_any || got;
	}
	return 0;
}

static bool finished(struct initiator **in, unsigned n, double now, double start)
{
	const struct initiator_load *l = in[0]->load;
	uint64_t begun = 0;
	if (l->seconds > 0 && now - start >= l->seconds)
		return true;
	for (unsigned i = 0; l->ops && i < n; i++)
		begun += (uint64_t)in[i]->done + in[i]->in_flight;
	return l->ops && begun >= l->ops;
}

int64_t initiator_run(struct initiator **in, unsigned n, const struct initiator_load *l)
{
	struct pollfd p[CONNECTIONS_MAX];
	double start = contest_now(), heard = start;
	bool more = true, any;
	if (load_check(in, n, l))
		return -1;
	for (unsigned i = 0; i < n; i++)
		if (begin(in[i], i, n, l) || pump_send(in[i], true))
			return -1;
	for (unsigned busy = n; busy;) {
		double now = contest_now();
		more = more && !finished(in, n, now, start);
		if (!l->spin && wait_any(in, n, p))
			return -1;
		if (pass(in, n, l->spin ? NULL : p, more, &any))
			return -1;
		heard = any ? now : heard;
		if (now - heard > WIRE_SILENCE_S)
			return initiator_fail(in[0], "no answer in %d s", WIRE_SILENCE_S);
		busy = 0;
		for (unsigned i = 0; i < n; i++)
			busy += in[i]->in_flight > 0 || in[i]->out_batch.unsent > 0;
	}
	int64_t sum = 0;
	for (unsigned i = 0; i < n; i++)
		sum += in[i]->done;
	return sum;
}
