/* See fake_link.h. One lock for both ends. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/task.h"
#include "tests/unit/scsi/fake_link.h"

struct both {
	pthread_mutex_t lock;
	_Atomic uint64_t session; /* 0: down */
	uint64_t sessions;
};

struct call {
	struct task *task;
	struct link_answer *ans;
	int rc;
	bool done;
	LIST_ENTRY(call) link;
};

struct link {
	struct both *both;
	struct link *peer;
	struct sched *sched;
	link_handler *fn;
	void *arg;
	LIST_HEAD(, call) calls;
	_Atomic unsigned open, sent[32];
	_Atomic bool stalled;
};

struct link_msg {
	struct link *at;
	uint64_t session;
	struct call *call; /* NULL: one-way; with the lock */
	bool is_call;
	uint16_t type;
	uint32_t head_len, data_len;
	uint8_t bytes[];
};

void fake_link_pair(struct link **ra, struct link **rb, struct sched *sa, struct sched *sb)
{
	struct both *both = calloc(1, sizeof(*both));
	struct link *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	pthread_mutex_init(&both->lock, NULL);
	a->both = b->both = both;
	a->peer = b;
	b->peer = a;
	a->sched = sa;
	b->sched = sb;
	*ra = a;
	*rb = b;
}

void fake_link_free(struct link *a, struct link *b)
{
	ASSERT(LIST_EMPTY(&a->calls) && LIST_EMPTY(&b->calls) && !a->open && !b->open);
	pthread_mutex_destroy(&a->both->lock);
	free(a->both);
	free(a);
	free(b);
}

void fake_link_up(struct link *a)
{
	pthread_mutex_lock(&a->both->lock);
	a->both->session = ++a->both->sessions;
	pthread_mutex_unlock(&a->both->lock);
}

/* With the lock. */
static void call_end(struct call *c, int rc)
{
	LIST_REMOVE(c, link);
	c->rc = rc;
	c->done = true;
	task_wake(c->task);
}

void fake_link_down(struct link *a)
{
	struct link *ends[2] = {a, a->peer};
	pthread_mutex_lock(&a->both->lock);
	a->both->session = 0;
	for (int i = 0; i < 2; i++)
		while (!LIST_EMPTY(&ends[i]->calls))
			call_end(LIST_FIRST(&ends[i]->calls), -ERR_DISCONNECTED);
	pthread_mutex_unlock(&a->both->lock);
}

void fake_link_stall(struct link *a, bool stall)
{
	a->stalled = stall;
}

bool link_is_up(const struct link *l)
{
	return l->both->session != 0;
}

uint64_t link_session(const struct link *l)
{
	return l->both->session;
}

void link_serve(struct link *l, enum link_service s, link_handler *fn, void *arg)
{
	ASSERT(s == LINK_SVC_SCSI);
	pthread_mutex_lock(&l->both->lock);
	l->fn = fn;
	l->arg = arg;
	pthread_mutex_unlock(&l->both->lock);
}

/* ---- messages ---- */

static struct link_msg *msg_new(struct link *at, uint16_t type, const void *head, uint32_t head_len,
				const struct iovec *iov, int iovcnt)
{
	size_t data_len = iov_bytes(iov, iovcnt), n = head_len;
	ASSERT(head_len <= LINK_HEAD_MAX && data_len <= LINK_DATA_MAX && iovcnt <= LINK_IOV_MAX);
	struct link_msg *m = malloc(sizeof(*m) + head_len + data_len);
	*m = (struct link_msg){
	    .at = at, .type = type, .head_len = head_len, .data_len = (uint32_t)data_len};
	if (head_len)
		memcpy(m->bytes, head, head_len);
	for (int i = 0; i < iovcnt; i++) {
		memcpy(m->bytes + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	return m;
}

static void run(void *arg)
{
	struct link_msg *m = arg;
	m->at->fn(m->at->arg, m);
}

/* With the lock. */
static void deliver(struct link_msg *m)
{
	struct link *at = m->at;
	m->session = at->both->session;
	m->is_call = m->call;
	at->open++;
	at->peer->sent[m->type % 32]++;
	ASSERT(at->fn);
	ASSERT(!task_start_on(at->sched, run, m));
}

int link_call(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const struct iovec *iov, int iovcnt,
	      struct link_answer *ans, uint64_t timeout_ns)
{
	struct call c = {.task = task_self(), .ans = ans};
	ASSERT(c.task && s == LINK_SVC_SCSI);
	struct link_msg *m = msg_new(l->peer, type, head, head_len, iov, iovcnt);
	m->call = &c;
	while (l->stalled)
		task_yield();
	pthread_mutex_lock(&l->both->lock);
	if (!l->both->session) {
		pthread_mutex_unlock(&l->both->lock);
		free(m);
		return -ERR_DISCONNECTED;
	}
	LIST_INSERT_HEAD(&l->calls, &c, link);
	deliver(m);
	while (!c.done) {
		pthread_mutex_unlock(&l->both->lock);
		task_park();
		pthread_mutex_lock(&l->both->lock);
	}
	pthread_mutex_unlock(&l->both->lock);
	return c.rc;
}

int link_send(struct link *l, enum link_path path, enum link_service s, uint16_t type,
	      const void *head, uint32_t head_len, const void *data, uint32_t data_len)
{
	struct iovec iov = {(void *)(uintptr_t)data, data_len};
	struct link_msg *m = msg_new(l->peer, type, head, head_len, &iov, data_len ? 1 : 0);
	pthread_mutex_lock(&l->both->lock);
	bool up = l->both->session;
	if (up)
		deliver(m);
	else
		free(m);
	pthread_mutex_unlock(&l->both->lock);
	return up ? 0 : -ERR_DISCONNECTED;
}

uint16_t link_msg_type(const struct link_msg *m)
{
	return m->type;
}

bool link_msg_is_call(const struct link_msg *m)
{
	return m->is_call;
}

bool link_msg_wanted(const struct link_msg *m)
{
	return m->session == m->at->both->session;
}

const void *link_msg_head(const struct link_msg *m, uint32_t *ret_len)
{
	*ret_len = m->head_len;
	return m->bytes;
}

const void *link_msg_data(const struct link_msg *m, uint32_t *ret_len)
{
	*ret_len = m->data_len;
	return m->bytes + m->head_len;
}

/* ---- replies ---- */

static int answer(struct link_answer *ans, const void *head, uint32_t head_len,
		  const struct iovec *iov, int iovcnt)
{
	size_t len = iov_bytes(iov, iovcnt), room = ans ? iov_bytes(ans->iov, ans->iovcnt) : 0;
	if (head_len > (ans ? ans->head_max : 0) || len > room)
		return -ERR_PROTO;
	if (!ans)
		return 0;
	if (head_len)
		memcpy(ans->head, head, head_len);
	ans->head_len = head_len;
	ans->data_len = (uint32_t)len;
	int k = 0;
	size_t at = 0;
	for (int i = 0; i < iovcnt; i++) {
		const uint8_t *from = iov[i].iov_base;
		for (size_t left = iov[i].iov_len; left;) {
			size_t n = ans->iov[k].iov_len - at;
			n = n < left ? n : left;
			memcpy((uint8_t *)ans->iov[k].iov_base + at, from, n);
			from += n;
			left -= n;
			at += n;
			if (at == ans->iov[k].iov_len) {
				k++;
				at = 0;
			}
		}
	}
	return 0;
}

static bool call_waits(struct link *l, const struct call *c)
{
	struct call *x;
	LIST_FOREACH (x, &l->calls, link)
		if (x == c)
			return true;
	return false;
}

struct after {
	void (*sent)(void *arg);
	void *arg;
};

static void run_sent(void *arg)
{
	struct after a = *(struct after *)arg;
	free(arg);
	a.sent(a.arg);
}

void link_reply(struct link_msg *m, int rc, const void *head, uint32_t head_len,
		const struct iovec *iov, int iovcnt, void (*sent)(void *arg), void *arg)
{
	struct link *at = m->at;
	ASSERT(rc <= 0 && m->is_call);
	pthread_mutex_lock(&at->both->lock);
	/* a call that ended with its session is another's memory by now */
	if (m->call && m->session == at->both->session && call_waits(at->peer, m->call)) {
		int err = rc ? rc : answer(m->call->ans, head, head_len, iov, iovcnt);
		call_end(m->call, err);
	}
	at->open--;
	pthread_mutex_unlock(&at->both->lock);
	struct sched *home = at->sched;
	free(m);
	if (!sent)
		return;
	struct after *a = malloc(sizeof(*a));
	*a = (struct after){sent, arg};
	ASSERT(!task_start_on(home, run_sent, a));
}

void link_done(struct link_msg *m)
{
	ASSERT(!m->is_call);
	m->at->open--;
	free(m);
}

/* ---- for tests ---- */

int fake_link_inject(struct link *at, enum link_path path, uint16_t type, bool call,
		     const void *head, uint32_t head_len, const void *data, uint32_t data_len)
{
	struct iovec iov = {(void *)(uintptr_t)data, data_len};
	static _Thread_local uint8_t answer_head[LINK_HEAD_MAX], answer_data[LINK_DATA_MAX];
	struct iovec in = {answer_data, sizeof(answer_data)};
	struct link_answer ans = {
	    .head = answer_head, .head_max = sizeof(answer_head), .iov = &in, .iovcnt = 1};
	if (call)
		return link_call(at->peer, path, LINK_SVC_SCSI, type, head, head_len, &iov,
				 data_len ? 1 : 0, &ans, 0);
	return link_send(at->peer, path, LINK_SVC_SCSI, type, head, head_len, data, data_len);
}

unsigned fake_link_calls(const struct link *l, uint16_t type)
{
	return l->sent[type % 32];
}

unsigned fake_link_open(const struct link *l)
{
	return l->open;
}
