/*
 * The interconnect's end that meets a hostile peer: bytes on its pipes, before and after a true
 * handshake. The first byte chooses the end (listener or connector); then come steps, each a byte
 * and what it needs. Frames get a right checksum, so that what is behind it is reached as well.
 */
#include "blockcore/link/link_frame.h"
#include "blockcore/link/link_ops.h"
#include "proto/link.pb-c.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIPES	 8
#define QUEUE	 (1280 * 1024)
#define SESSION	 0x5e5510ull
#define CALLS	 4
#define HANDLERS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct link_pipe {
	bool used, closed, eof;
	unsigned route;
	link_pipe_fn *fn;
	void *arg;
	uint8_t *in;
	size_t in_from, in_to;
	uint8_t out[64 * 1024]; /* the start of what it says: the handshake */
	size_t out_n;
};

struct link_listener {
	link_accept_fn *fn;
	void *arg;
};

static struct {
	struct sim *sim;
	struct link *link;
	bool connector;
	struct link_pipe pipes[PIPES];
	struct link_listener listeners[4];
	unsigned now, calls;
	struct link_msg *kept[HANDLERS];
	unsigned nkept;
	uint64_t peer_session;
	const uint8_t *p, *end;
} f;

/* ---- the transport ---- */

static struct link_pipe *new_pipe(unsigned route)
{
	for (unsigned i = 0; i < PIPES; i++) {
		struct link_pipe *p = &f.pipes[i];
		if (p->used && !p->closed)
			continue;
		free(p->in);
		*p = (struct link_pipe){.used = true, .route = route};
		p->in = malloc(QUEUE);
		f.now = i;
		return p;
	}
	return NULL;
}

static unsigned route_of(const char *name)
{
	return (unsigned)(name[1] - '0');
}

static int fake_listen(void *arg, const struct link_route *r, const struct link_auth *auth,
		       const char *peer, link_accept_fn *fn, void *fn_arg,
		       struct link_listener **ret, char why[LINK_WHY_MAX])
{
	struct link_listener *l = &f.listeners[route_of(r->local)];
	*l = (struct link_listener){fn, fn_arg};
	*ret = l;
	return 0;
}

static void fake_unlisten(struct link_listener *l)
{
	l->fn = NULL;
}

static int fake_connect(void *arg, const struct link_route *r, const struct link_auth *auth,
			const char *peer, struct link_pipe **ret, char why[LINK_WHY_MAX])
{
	*ret = new_pipe(route_of(r->local));
	return *ret ? 0 : -ECONNREFUSED;
}

static void fake_watch(struct link_pipe *p, link_pipe_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
}

static ssize_t fake_recv(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	size_t got = 0, have = p->in_to - p->in_from;
	if (have == 0)
		return p->eof ? 0 : -EAGAIN;
	for (int i = 0; i < iovcnt && have > 0; i++) {
		size_t n = MIN(iov[i].iov_len, have);
		memcpy(iov[i].iov_base, p->in + p->in_from, n);
		p->in_from += n;
		have -= n;
		got += n;
	}
	return (ssize_t)got;
}

static ssize_t fake_send(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	size_t all = 0;
	for (int i = 0; i < iovcnt; i++) {
		size_t n = MIN(iov[i].iov_len, sizeof(p->out) - p->out_n);
		if (n)
			memcpy(p->out + p->out_n, iov[i].iov_base, n);
		p->out_n += n;
		all += iov[i].iov_len;
	}
	return (ssize_t)all;
}

static void fake_close(struct link_pipe *p)
{
	p->closed = true;
	p->fn = NULL;
}

static struct link_process *fake_process(struct link_pipe *p)
{
	return NULL;
}

static const struct link_ops fake_ops = {
    .listen = fake_listen,
    .unlisten = fake_unlisten,
    .connect = fake_connect,
    .watch = fake_watch,
    .recv = fake_recv,
    .send = fake_send,
    .close = fake_close,
    .process = fake_process,
};

/* ---- what it serves and calls ---- */

static void serve(void *arg, struct link_msg *m)
{
	uint32_t n, h;
	const void *data = link_msg_data(m, &n), *head = link_msg_head(m, &h);
	struct iovec iov = {(void *)data, n};
	if (arg) {
		link_done(m);
		return;
	}
	if (f.nkept < HANDLERS && (link_msg_type(m) & 1)) {
		f.kept[f.nkept++] = m;
		return;
	}
	link_reply(m, 0, head, h, &iov, 1, NULL, NULL);
}

static void release(void)
{
	while (f.nkept > 0)
		link_reply(f.kept[--f.nkept], -EIO, NULL, 0, NULL, 0, NULL, NULL);
}

static void dispatch(void *arg, struct link_msg *m)
{
	uint32_t n;
	(void)link_msg_head(m, &n);
	serve(NULL, m);
}

static void call_task(void *arg)
{
	uint8_t head[16], data[3000], out[5000] = {0};
	struct iovec to = {out, sizeof(out)}, from[2] = {{data, 1000}, {data + 1000, 2000}};
	struct link_answer a = {.head = head, .head_max = 16, .iov = from, .iovcnt = 2};
	int rc = link_call(f.link, LINK_DATA, LINK_SVC_SCSI, 1, out, 8, &to, 1, &a, NS_PER_S);
	ASSERT(rc <= 0 && a.data_len <= 3000 && a.head_len <= 16);
	f.calls--;
}

/* ---- steps ---- */

static uint64_t take(unsigned n)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < n && f.p < f.end; i++)
		v |= (uint64_t)*f.p++ << (8 * i);
	return v;
}

static void push(struct link_pipe *p, const void *bytes, size_t n)
{
	if (!p->used || p->closed)
		return;
	if (p->in_from == p->in_to)
		p->in_from = p->in_to = 0;
	n = MIN(n, QUEUE - p->in_to);
	if (n)
		memcpy(p->in + p->in_to, bytes, n);
	p->in_to += n;
	if (p->fn)
		p->fn(p->arg, LINK_EV_READABLE);
}

static void push_frame(struct link_pipe *p, struct link_frame *fr, const void *head, size_t n)
{
	uint8_t buf[LINK_FRAME_SIZE];
	fr->head_len = (uint32_t)n;
	link_frame_encode(buf, fr);
	push(p, buf, sizeof(buf));
	push(p, head, n);
}

/* The last challenge and session number that the link said on this pipe. */
static void look(struct link_pipe *p, uint64_t *challenge)
{
	struct link_frame fr;
	*challenge = 0;
	for (size_t at = 0; at + LINK_FRAME_SIZE <= p->out_n;) {
		if (link_frame_decode(p->out + at, &fr))
			return;
		at += LINK_FRAME_SIZE;
		size_t len = fr.head_len + fr.data_len;
		if (at + len > p->out_n)
			return;
		if (fr.kind == LINK_K_HELLO || fr.kind == LINK_K_WELCOME) {
			Isthmus__LinkHello *h = isthmus__link_hello__unpack(NULL, len, p->out + at);
			ASSERT(h);
			*challenge = h->challenge;
			f.peer_session = h->session;
			isthmus__link_hello__free_unpacked(h, NULL);
		}
		at += len;
	}
}

static void settle(void)
{
	sim_run_for(f.sim, NS_PER_MS);
}

static void push_hello(struct link_pipe *p, uint8_t kind)
{
	uint8_t buf[512];
	static uint8_t uuid[16];
	Isthmus__LinkHello h = ISTHMUS__LINK_HELLO__INIT;
	struct link_frame fr = {.kind = kind};
	h.version = LINK_VERSION;
	h.controller = "b";
	h.peer = f.connector ? "c" : "a";
	h.array_uuid.data = uuid;
	h.array_uuid.len = 16;
	h.incarnation = 77;
	h.path = p->route % 2;
	h.session = SESSION;
	h.credit = 4096;
	h.segment = "";
	size_t n = isthmus__link_hello__pack(&h, buf);
	push_frame(p, &fr, buf, n);
}

static void handshake(struct link_pipe *p)
{
	uint8_t buf[32];
	uint64_t challenge;
	if (p->closed)
		return;
	settle();
	push_hello(p, f.connector ? LINK_K_WELCOME : LINK_K_HELLO);
	settle();
	look(p, &challenge);
	if (f.connector)
		return;
	Isthmus__LinkConfirm k = ISTHMUS__LINK_CONFIRM__INIT;
	struct link_frame fr = {.kind = LINK_K_CONFIRM};
	k.challenge = challenge;
	push_frame(p, &fr, buf, isthmus__link_confirm__pack(&k, buf));
	settle();
}

static void open_pipe(unsigned route)
{
	struct link_listener *l = &f.listeners[route];
	if (f.connector || !l->fn)
		return;
	struct link_pipe *p = new_pipe(route);
	if (p)
		l->fn(l->arg, p);
}

static void forged_frame(struct link_pipe *p)
{
	static const uint8_t zeros[8192];
	struct link_frame fr = {.kind = (uint8_t)take(1)};
	uint8_t which = (uint8_t)take(1), buf[LINK_FRAME_SIZE];
	fr.service = which & 1 ? (uint8_t)take(1) : 0;
	fr.type = which & 2 ? (uint16_t)take(2) : 0;
	fr.seq = which & 4 ? take(1) : 0;
	fr.ack = which & 8 ? take(1) : 0;
	fr.credit = which & 16 ? take(4) : 0;
	/* A call's number as the link gives it: slot, generation and a bit. */
	fr.call = which & 32 ? (1ull << 48) + (take(1) << 16) + 4095 - take(1) : 0;
	fr.head_len = which & 64 ? (uint32_t)take(2) : 0;
	fr.data_len = which & 128 ? (uint32_t)take(3) : 0;
	fr.rc = fr.kind == LINK_K_REPLY ? -(int32_t)take(1) : 0;
	link_frame_encode(buf, &fr);
	push(p, buf, sizeof(buf));
	uint64_t left = MIN((uint64_t)fr.head_len + fr.data_len, 2u << 20);
	if (take(1) & 1)
		left = left * take(1) / 255; /* not all of it */
	while (left > 0) {
		size_t n = MIN(left, sizeof(zeros));
		push(p, zeros, n);
		left -= n;
	}
}

static void step(void)
{
	uint8_t op = (uint8_t)take(1);
	struct link_pipe *p = &f.pipes[f.now];
	switch (op % 12) {
	case 0:
		open_pipe(op / 12 % 4);
		break;
	case 1:
		f.now = op / 12 % PIPES;
		break;
	case 2:
	case 3:
		if (p->used)
			handshake(p);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		if (p->used)
			forged_frame(p);
		break;
	case 8: { /* bytes as they are */
		size_t n = (size_t)take(1), left = (size_t)(f.end - f.p);
		n = MIN(n, left);
		if (p->used)
			push(p, f.p, n);
		f.p += n;
		break;
	}
	case 9:
		p->eof = true;
		push(p, NULL, 0);
		break;
	case 10:
		if (f.calls < CALLS && task_start(call_task, NULL) == 0)
			f.calls++;
		link_send(f.link, LINK_CONTROL, LINK_SVC_OWNER, 1, "hello", 5, "data", 4);
		break;
	case 11:
		release();
		sim_run_for(f.sim, (uint64_t)(op / 12) * 50 * NS_PER_MS);
		break;
	}
	settle();
	for (unsigned i = 0; i < PIPES; i++) /* connectors are told that they are connected */
		if (f.pipes[i].used && !f.pipes[i].closed && f.pipes[i].fn)
			f.pipes[i].fn(f.pipes[i].arg, LINK_EV_WRITABLE);
}

static void one_way(void *arg, struct link_msg *m)
{
	link_done(m);
}

static void open_link(void *arg)
{
	static const char *const names[] = {"r0", "r1", "r2", "r3"};
	struct link_opts o = {.env = sim_env(f.sim),
			      .ops = &fake_ops,
			      .self = f.connector ? "c" : "a",
			      .peer = "b",
			      .nroutes = 4,
			      .hello = {.incarnation = 5}};
	for (unsigned i = 0; i < 4; i++)
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, LINK_SIM,
						  names[i], names[i]};
	ASSERT(link_open(&f.link, &o) == 0);
	link_serve(f.link, LINK_SVC_SCSI, dispatch, NULL);
	link_serve(f.link, LINK_SVC_OWNER, one_way, NULL);
}

static void close_link(void *arg)
{
	release();
	link_close(f.link);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_set_level((enum log_level)(LOG_L_ERROR + 1));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&f, 0, sizeof(f));
	f.p = data;
	f.end = data + size;
	f.connector = take(1) & 1;
	f.sim = sim_new(1);
	ASSERT(sim_run(f.sim, open_link, NULL) == 0);
	settle();
	for (unsigned n = 0; f.p < f.end && n < 200; n++)
		step();
	ASSERT(sim_run(f.sim, close_link, NULL) == 0);
	sim_run_for(f.sim, NS_PER_MS);
	sim_free(f.sim);
	for (unsigned i = 0; i < PIPES; i++)
		free(f.pipes[i].in);
	return 0;
}
