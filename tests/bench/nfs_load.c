/*
 * The NFS bench's data path. A pass over a connection: one recv() of whatever has come, every
 * reply in it handled in place, then one sendmsg() of all calls that follow from them. A call is a
 * template with xid and place patched in. What was read is not copied; what is written is one
 * buffer for all, but for its first word.
 */
#include "tests/bench/nfs_client_impl.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include "runtime/check.h"
#include "tests/bench/contest.h"

#define SAMPLE	     64u
#define SAMPLE_WHOLE 64u   /* every so many replies one is looked at wholly */
#define LATER_PAUSE  0.005 /* seconds */
#define LATER_MAX    1000  /* answers of a run that tell to come again; Ganesha gives a few */

static uint8_t plain[NFS_SIZE_MAX]; /* data of every write, after its first word */

/* What the connections of a run share. */
struct run {
	const struct nfs_load *load;
	uint64_t begun;
	bool more; /* calls may begin */
};

static bool writes(const struct nfs_load *l)
{
	return l->op == NFS_WRITE || l->op == NFS_WRITE_SYNC;
}

/* ---- what is sent ---- */

static uint64_t random_below(struct nfs_conn *c, uint64_t n)
{
	c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (c->seed >> 33) % n;
}

static uint64_t next_place(struct nfs_conn *c, struct run *r)
{
	const struct nfs_load *l = c->load;
	if (l->op == NFS_CREATE || l->op == NFS_REMOVE)
		return l->first + r->begun;
	if (l->op == NFS_LOOKUP)
		return random_below(c, l->files);
	if (l->op != NFS_READ && !writes(l))
		return 0;
	if (l->random)
		return random_below(c, l->region / l->size) * l->size;
	uint64_t at = c->next_off;
	c->next_off = at + 2 * (uint64_t)l->size <= l->region ? at + l->size : 0;
	return at;
}

/* The call of a slot, whose place is known. */
static void send_call(struct nfs_conn *c, uint8_t number)
{
	uint8_t *b = c->calls + c->ncalls++ * (CALL_MAX + STAMP);
	struct slot *s = &c->slots[number];
	uint32_t len = c->call.len;
	s->xid = ++c->sequence << 8 | number;
	s->busy = true;
	memcpy(b, c->call.bytes, len);
	be32_put(b + 4, s->xid);
	c->op->patch(s, b + c->call.at_place);
	if (writes(c->load)) {
		uint64_t word = wire_pattern_word(s->at);
		memcpy(b + len, &word, STAMP);
		wire_out_add(&c->out, b, len + STAMP);
		wire_out_add(&c->out, plain + STAMP, c->load->size - STAMP);
		return;
	}
	wire_out_add(&c->out, b, len);
}

static bool room(const struct nfs_conn *c)
{
	return c->ncalls < SEND_CALLS && c->out.unsent < SEND_BYTES;
}

static bool more(const struct nfs_conn *c, const struct run *r)
{
	const struct nfs_load *l = r->load;
	return r->more && (!l->ops || r->begun < l->ops) &&
	       (!l->list || (uint64_t)c->done < l->list);
}

static void batch_make(struct nfs_conn *c, struct run *r)
{
	wire_out_reset(&c->out);
	c->ncalls = 0;
	while (c->nagain && room(c) && contest_now() >= c->again_at)
		send_call(c, c->again[--c->nagain]);
	while (c->nfree && room(c) && more(c, r)) {
		uint8_t number = c->free[--c->nfree];
		c->slots[number].at = next_place(c, r);
		r->begun++;
		c->in_flight++;
		send_call(c, number);
	}
}

/* Sends until nothing is left or the socket takes no more. */
static int pump_send(struct nfs_conn *c, struct run *r)
{
	for (;;) {
		if (!c->out.unsent)
			batch_make(c, r);
		if (!c->out.unsent)
			return 0;
		if (wire_out_send(&c->out, c->fd))
			return nfs_fail(c, "cannot send: %s", strerror(errno));
		if (c->out.blocked)
			return 0;
	}
}

/* ---- what is received ---- */

static void end_reply(struct nfs_conn *c, struct slot *s, int counts)
{
	s->busy = false;
	c->free[c->nfree++] = (uint8_t)(s - c->slots);
	c->in_flight--;
	c->done += counts;
}

static bool word_holds(const uint8_t *p, uint64_t at)
{
	uint64_t word = wire_pattern_word(at);
	return memcmp(p, &word, STAMP) == 0;
}

/* n bytes of a READ's data: all of it or a sample is compared. */
static bool data_holds(struct nfs_conn *c, const uint8_t *p, uint32_t n)
{
	const struct slot *s = c->reader;
	uint32_t at = c->data_at;
	if (at == 0) {
		if (n < STAMP || !word_holds(p, s->at))
			return false;
		at = STAMP;
		p += STAMP;
		n -= STAMP;
	}
	if (!c->load->check_all && s->xid >> 8 & (SAMPLE_WHOLE - 1) && n > SAMPLE) {
		uint32_t skip = (uint32_t)((uint64_t)s->xid * 2654435761u % (n - SAMPLE));
		at += skip;
		p += skip;
		n = SAMPLE;
	}
	return wire_pattern_holds(p, at, n);
}

static int take_data(struct nfs_conn *c, const uint8_t *p, uint32_t n)
{
	if (n && c->load->check && !data_holds(c, p, n))
		return nfs_fail(c, "READ: wrong data at %llu, bytes %u + %u",
				(unsigned long long)c->reader->at, c->data_at, n);
	c->data_at += n;
	c->data_left -= n;
	if (c->data_left == 0) {
		end_reply(c, c->reader, 1);
		c->reader = NULL;
	}
	return 0;
}

/* A reply of len bytes, of which have are here: all, but for a long one of READ. */
static int take_reply(struct nfs_conn *c, const uint8_t *p, uint32_t have, uint32_t len)
{
	struct dec d = {.p = p, .left = have};
	uint32_t xid = dec_u32(&d);
	struct slot *s = &c->slots[xid & 0xff];
	if (d.bad || !s->busy || s->xid != xid)
		return nfs_fail(c, "a reply of %u bytes to no call of ours", len);
	if (nfs_reply_begin(c, &d))
		return -1;
	uint32_t status = dec_u32(&d);
	if (status == STATUS_LATER && c->later < LATER_MAX) {
		c->later++;
		c->again_at = contest_now() + LATER_PAUSE;
		s->busy = false;
		c->again[c->nagain++] = (uint8_t)xid;
		return 0;
	}
	if (d.bad || status)
		return nfs_fail(c, "%s: status %u", c->op->name, status);
	int counts = c->op->reply(c, s, &d);
	if (counts < 0)
		return -1;
	uint32_t rest = d.bad ? 0 : len - (uint32_t)(d.p - p);
	bool read = c->load->op == NFS_READ;
	if (d.bad || rest != (read ? c->load->size : 0))
		return nfs_fail(c, "%s: a reply of %u bytes cannot be", c->op->name, len);
	if (!read) {
		end_reply(c, s, counts);
		return 0;
	}
	c->reader = s;
	c->data_at = 0;
	c->data_left = rest;
	return take_data(c, d.p, (uint32_t)d.left);
}

/* Puts a record of several fragments together. */
static int take_fragment(struct nfs_conn *c)
{
	uint32_t n = (uint32_t)MIN(c->tail - c->head, (size_t)c->fragment_left);
	memcpy(c->record + c->record_len, c->rbuf + c->head, n);
	c->record_len += n;
	c->head += n;
	c->fragment_left -= n;
	if (c->fragment_left)
		return 0;
	c->in_fragment = false;
	if (!c->last_fragment)
		return 0;
	n = c->record_len;
	c->record_len = 0;
	return take_reply(c, c->record, n, n);
}

/* A record mark, and the reply if it is here. more: false when bytes are missing. */
static int take_record(struct nfs_conn *c, bool *ret_more)
{
	size_t have = c->tail - c->head;
	const uint8_t *p = c->rbuf + c->head;
	*ret_more = false;
	if (have < 4)
		return 0;
	uint32_t mark = be32_get(p), len = mark & ~LAST;
	if (len > RECORD_MAX - c->record_len)
		return nfs_fail(c, "a reply of more than %u bytes", RECORD_MAX);
	if (!(mark & LAST) || c->record_len) {
		*ret_more = true;
		c->head += 4;
		c->in_fragment = true;
		c->last_fragment = mark & LAST;
		c->fragment_left = len;
		return take_fragment(c);
	}
	uint32_t need = len;
	if (len > STREAM_MIN && c->load->op == NFS_READ)
		need = STREAM_HEAD;
	if (need > RECV_BUF - 4)
		return nfs_fail(c, "%s: a reply of %u bytes", c->op->name, len);
	if (have < 4 + (size_t)need)
		return 0;
	*ret_more = true;
	c->head += 4 + need;
	return take_reply(c, p + 4, need, len);
}

static int handle(struct nfs_conn *c)
{
	bool more = true;
	while (more && c->head < c->tail) {
		int rc;
		if (c->reader) {
			uint32_t n = (uint32_t)MIN(c->tail - c->head, (size_t)c->data_left);
			c->head += n;
			rc = take_data(c, c->rbuf + c->head - n, n);
		} else {
			rc = c->in_fragment ? take_fragment(c) : take_record(c, &more);
		}
		if (rc)
			return -1;
	}
	size_t rest = c->tail - c->head;
	if (rest)
		memmove(c->rbuf, c->rbuf + c->head, rest);
	c->head = 0;
	c->tail = rest;
	return 0;
}

/* Bytes received; 0: nothing there; -1. */
static ssize_t pump_recv(struct nfs_conn *c)
{
	ssize_t n = recv(c->fd, c->rbuf + c->tail, RECV_BUF - c->tail, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return nfs_fail(c, "%s", n ? strerror(errno) : "the server hung up");
	c->tail += (size_t)n;
	return handle(c) ? -1 : n;
}

/* ---- the load ---- */

static int load_check(struct nfs_conn **c, unsigned n, const struct nfs_load *l)
{
	bool data = l->op == NFS_READ || writes(l);
	if (n == 0 || n > NFS_CONNECTIONS_MAX || l->depth == 0 || l->depth > NFS_DEPTH_MAX ||
	    (!l->ops && !l->list && l->seconds <= 0) || (l->op == NFS_LOOKUP && !l->files) ||
	    ((l->op == NFS_CREATE || l->op == NFS_REMOVE) && !l->ops) ||
	    (data &&
	     (l->size < STAMP || l->size > NFS_SIZE_MAX || l->size % 8 || l->region < l->size)))
		return nfs_fail(c[0], "not a load: depth, size, region or end");
	return 0;
}

static void begin(struct nfs_conn *c, unsigned number, unsigned of, const struct nfs_load *l)
{
	struct enc e = {c->call.bytes, 0};
	c->load = l;
	c->op = nfs_op_get(l->op);
	c->done = 0;
	c->nagain = c->later = 0;
	c->call.at_place = 0;
	nfs_call_begin(&e, NFS_PROGRAM, c->op->proc);
	c->op->encode(l, &c->call, &e);
	nfs_call_end(&e, writes(l) ? l->size : 0);
	c->call.len = e.len;
	ASSERT(e.len <= CALL_MAX);
	c->next_off = l->size ? l->region / l->size * number / of * l->size : 0;
	memset(c->slots, 0, sizeof(c->slots));
	c->nfree = l->depth;
	for (unsigned i = 0; i < l->depth; i++)
		c->free[i] = (uint8_t)(l->depth - 1 - i);
	wire_out_reset(&c->out);
}

static bool any_again(struct nfs_conn **c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i]->nagain)
			return true;
	return false;
}

static int wait_any(struct nfs_conn **c, unsigned n, struct pollfd *p)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){
		    .fd = c[i]->fd, .events = (short)(POLLIN | (c[i]->out.blocked ? POLLOUT : 0))};
	bool again = any_again(c, n);
	int rc = poll(p, n, again ? 1 : WIRE_SILENCE_S * 1000);
	if ((rc < 0 && errno == EINTR) || (rc == 0 && again))
		return 0;
	return rc > 0 ? 0 : nfs_fail(c[0], "no answer in %d s", WIRE_SILENCE_S);
}

/* One pass over the connections. ret_any: did anything come. */
static int pass(struct nfs_conn **c, unsigned n, const struct pollfd *p, struct run *r,
		bool *ret_any)
{
	*ret_any = false;
	for (unsigned i = 0; i < n; i++) {
		ssize_t got = p && !p[i].revents ? 0 : pump_recv(c[i]);
		if (got < 0 || ((got || c[i]->out.blocked || c[i]->nagain) && pump_send(c[i], r)))
			return -1;
		*ret_any = *ret_any || got;
	}
	return 0;
}

static bool busy(struct nfs_conn **c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i]->in_flight || c[i]->out.unsent)
			return true;
	return false;
}

int64_t nfs_load_run(struct nfs_conn **c, unsigned n, const struct nfs_load *l)
{
	struct run r = {.load = l, .more = true};
	struct pollfd p[NFS_CONNECTIONS_MAX];
	double start = contest_now(), heard = start;
	bool any;
	if (load_check(c, n, l))
		return -1;
	wire_pattern_fill(plain, 0, writes(l) ? l->size : 0);
	for (unsigned i = 0; i < n; i++)
		begin(c[i], i, n, l);
	for (unsigned i = 0; i < n; i++)
		if (pump_send(c[i], &r))
			return -1;
	while (busy(c, n)) {
		double now = contest_now();
		r.more = r.more && (l->seconds <= 0 || now - start < l->seconds);
		if (!l->spin && wait_any(c, n, p))
			return -1;
		if (pass(c, n, l->spin ? NULL : p, &r, &any))
			return -1;
		heard = any ? now : heard;
		if (now - heard > WIRE_SILENCE_S)
			return nfs_fail(c[0], "no answer in %d s", WIRE_SILENCE_S);
	}
	int64_t sum = 0;
	unsigned later = 0;
	for (unsigned i = 0; i < n; i++) {
		sum += c[i]->done;
		later += c[i]->later;
	}
	if (later)
		fprintf(stderr, "%s: %s: %u answers to come again later\n", c[0]->name,
			c[0]->op->name, later);
	return sum;
}
