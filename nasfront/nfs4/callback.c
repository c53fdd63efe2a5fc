/*
 * Calls to clients: give a file back (CB_RECALL), a copy has ended (CB_OFFLOAD), a lock may be free
 * (CB_NOTIFY_LOCK), keep less of what was lent (CB_RECALL_ANY); the way they go is back.c's.
 *
 * Each client is called by a task of its own, that lives while there is something to say: one call
 * at a time. The task outlives its client and its sessions: they are looked for after every wait. A
 * client that does not answer holds up nobody but itself; what it was asked for is taken away when
 * a lease has passed (deleg4.c).
 *
 * What is said otherwise is a note: an operation made ready, in the order of its making. It is said
 * until the client has answered, by whatever way there is then; CB_RECALL_ANY once, for it is asked
 * again in time. A lock that may be free, and to keep less, are but hints: of too many the oldest
 * goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"

/* A client that asks to be asked later, or that did not know yet. */
#define AGAIN_NS (1 * NS_PER_S)

struct nfs4_caller {
	struct nfs4 *n;
	struct nfs4_client *client; /* NULL: it is gone */
};

/* ---- calls ---- */

static uint64_t call_time(const struct nfs4 *n)
{
	return MIN(n->o.call_ns ? n->o.call_ns : 10 * NS_PER_S, n->o.lease_ns / 2);
}

static int call_back(struct nfs4 *n, struct nfs4_session *s, struct rpc_conn *conn, uint32_t proc,
		     const void *args, size_t len, uint8_t *reply, size_t size, size_t *ret_len)
{
	const struct rpc_back_call call = {.prog = s->back.program,
					   .vers = 1,
					   .proc = proc,
					   .sys = s->back.sys,
					   .sys_len = s->back.sys_len,
					   .args = args,
					   .args_len = len,
					   .timeout_ns = call_time(n)};
	return rpc_conn_call(conn, &call, reply, size, ret_len);
}

/* Linux takes no AUTH_NONE here; nobody cares who we say we are. */
static int call_out(struct nfs4_client *c, uint32_t proc, const void *args, size_t len,
		    uint8_t *reply, size_t size, size_t *ret_len)
{
	struct nfs4 *n = c->nfs4;
	uint8_t sys[NFS4_CB_SYS];
	struct xdr_out x = xdr_out_of(sys, sizeof(sys));
	xdr_put_u32(&x, 0);
	xdr_put_string(&x, "isthmus");
	for (unsigned i = 0; i < 3; i++) /* uid, gid, groups */
		xdr_put_u32(&x, 0);
	const struct rpc_out_call call = {.to = c->callback.to,
					  .from = c->callback.from,
					  .port = c->callback.port,
					  .tcp = true,
					  .prog = c->callback.program,
					  .vers = 1,
					  .proc = proc,
					  .sys = sys,
					  .sys_len = xdr_out_len(&x),
					  .args = args,
					  .args_len = len,
					  .timeout_ns = call_time(n)};
	return rpc_out_call(n->out, &call, reply, size, ret_len);
}

static void count(struct nfs4 *n, int rc)
{
	n->dstats.calls++;
	n->dstats.calls_failed += rc != 0;
}

/* ---- is it there? ---- */

static void probe_session(struct nfs4_caller *w, struct nfs4_session *s)
{
	struct nfs4 *n = w->n;
	uint8_t id[NFS4_SESSIONID], reply[64];
	size_t len;
	memcpy(id, s->id, sizeof(id));
	int rc = call_back(n, s, nfs4_back_conn(&s->back), CB_NULL_PROC, NULL, 0, reply,
			   sizeof(reply), &len);
	count(n, rc);
	s = w->client ? nfs4_session_find(n, id) : NULL;
	if (s)
		nfs4_path_set(w->client, &s->back.path, rc ? PATH_DOWN : PATH_UP);
}

static void probe_address(struct nfs4_caller *w)
{
	struct nfs4_callback at = w->client->callback;
	uint8_t reply[64];
	size_t len;
	int rc = call_out(w->client, CB_NULL_PROC, NULL, 0, reply, sizeof(reply), &len);
	count(w->n, rc);
	/* Another address may have been confirmed meanwhile. */
	if (w->client && at.port == w->client->callback.port &&
	    at.program == w->client->callback.program)
		nfs4_path_set(w->client, &w->client->path, rc ? PATH_DOWN : PATH_UP);
}

/* ---- give it back ---- */

static struct nfs4_deleg *ask_due(const struct nfs4_client *c)
{
	uint64_t now = env_now_ns(c->nfs4->o.env);
	struct nfs4_deleg *d;
	TAILQ_FOREACH (d, &c->asks, ask)
		if (d->next_ns <= now)
			return d;
	return NULL;
}

/* It may be gone: found by its stateid. */
static struct nfs4_deleg *ask_find(struct nfs4_caller *w, const struct stateid *sid)
{
	struct nfs4_deleg *d;
	if (w->client)
		TAILQ_FOREACH (d, &w->client->asks, ask) {
			struct stateid have = nfs4_stateid_of(d->state);
			if (memcmp(have.other, sid->other, NFS4_OTHER) == 0)
				return d;
		}
	return NULL;
}

/* Heard, or not: then it is asked again, behind others. */
static void ask_end(struct nfs4_caller *w, const struct stateid *sid, bool heard, uint64_t wait_ns)
{
	struct nfs4_deleg *d = ask_find(w, sid);
	if (!d)
		return;
	TAILQ_REMOVE(&w->client->asks, d, ask);
	d->asking = !heard;
	d->next_ns = env_now_ns(w->n->o.env) + wait_ns;
	if (!heard)
		TAILQ_INSERT_TAIL(&w->client->asks, d, ask);
}

/* What the answer, or its absence, says of the slot. True: the client has done the operation, or
 * said why not. */
static bool slot_result(struct nfs4_session *s, uint32_t used, int rc,
			const struct nfs4_cb_result *r)
{
	struct nfs4_back *b = &s->back;
	if (rc == -EAGAIN || rc == -ERR_SHUTDOWN)
		return false; /* it was not sent */
	if (rc) {
		b->fault |= b->unsure;
		b->unsure = true;
		nfs4_path_set(s->client, &b->path,
			      rc == -ECONNRESET && !b->fault ? PATH_UNKNOWN : PATH_DOWN);
		return false;
	}
	switch (r->seq) {
	case NFS4_OK:
		b->seq = used;
		b->unsure = false;
		return true;
	case NFS4ERR_DELAY:
		return false;
	case NFS4ERR_SEQ_MISORDERED:
		if (b->unsure) { /* the one that was lost never arrived */
			b->unsure = false;
			return false;
		}
		/* fall through */
	default:
		b->fault = true;
		nfs4_path_set(s->client, &b->path, PATH_DOWN);
		return false;
	}
}

/* What became of a call. */
struct said {
	bool answered;
	enum nfs4_status op; /* then */
	uint64_t wait_ns;    /* until the next try */
};

static void say_session(struct nfs4_caller *w, struct nfs4_session *s, struct nfs4_cb *cb,
			struct said *ret)
{
	struct nfs4 *n = w->n;
	uint8_t args[NFS4_CB_MAX], reply[256];
	struct nfs4_cb_result r = {.seq = NFS4_OK};
	size_t len;
	cb->minor = s->back.minor;
	cb->seq = s->back.seq + 1 + s->back.unsure;
	memcpy(cb->session, s->id, NFS4_SESSIONID);
	size_t n_args = nfs4_cb_put(cb, args, sizeof(args));
	int rc = call_back(n, s, nfs4_back_conn(&s->back), CB_COMPOUND_PROC, args, n_args, reply,
			   sizeof(reply), &len);
	rc = rc ?: nfs4_cb_result(cb, reply, len, &r);
	count(n, rc);
	s = w->client ? nfs4_session_find(n, cb->session) : NULL;
	bool unsure = s && s->back.unsure;
	ret->answered = s && slot_result(s, cb->seq, rc, &r);
	ret->op = r.op;
	/* Known again which number is the next: at once. */
	ret->wait_ns = unsure && !s->back.unsure ? 0 : AGAIN_NS;
	if (!ret->answered || !n->store)
		return;
	nfs4_record_session(s);
	store_sync(n->store); /* a successor knows which number was used */
}

static void say_address(struct nfs4_caller *w, struct nfs4_cb *cb, struct said *ret)
{
	struct nfs4_client *c = w->client;
	uint8_t args[NFS4_CB_MAX], reply[256];
	struct nfs4_cb_result r = {.seq = NFS4_OK};
	size_t len;
	cb->ident = c->callback.ident;
	size_t n_args = nfs4_cb_put(cb, args, sizeof(args));
	int rc = call_out(c, CB_COMPOUND_PROC, args, n_args, reply, sizeof(reply), &len);
	rc = rc ?: nfs4_cb_result(cb, reply, len, &r);
	count(w->n, rc);
	if (rc && rc != -ERR_SHUTDOWN && w->client)
		nfs4_path_set(w->client, &w->client->path, PATH_DOWN);
	*ret = (struct said){.answered = rc == 0, .op = r.op, .wait_ns = AGAIN_NS};
}

/* s NULL: of version 4.0. */
static void recall(struct nfs4_caller *w, struct nfs4_session *s, struct nfs4_deleg *d)
{
	struct stateid sid = nfs4_stateid_of(d->state);
	struct nfs4_cb cb = {.op = OP_CB_RECALL};
	struct said said;
	nfs4_cb_recall(&cb, &sid, d->fh);
	if (s)
		say_session(w, s, &cb, &said);
	else
		say_address(w, &cb, &said);
	ask_end(w, &sid, said.answered && said.op == NFS4_OK, said.wait_ns);
}

/* ---- notes ---- */

#define HINTS_MAX 256 /* of a client, not said yet: the oldest goes */

static bool is_hint(const struct nfs4_note *o)
{
	return o->op != OP_CB_OFFLOAD;
}

static void note_free(struct nfs4_client *c, struct nfs4_note *o)
{
	c->nhints -= is_hint(o);
	TAILQ_REMOVE(&c->notes, o, link);
	free(o);
}

static void hint_room(struct nfs4_client *c)
{
	struct nfs4_note *o;
	if (c->nhints < HINTS_MAX)
		return;
	TAILQ_FOREACH (o, &c->notes, link)
		if (is_hint(o)) {
			note_free(c, o);
			return;
		}
}

bool nfs4_note(struct nfs4_client *c, const struct nfs4_cb *cb, const struct stateid *copy)
{
	struct nfs4_note *o = calloc(1, sizeof(*o) + cb->len);
	if (!o)
		return false;
	o->id = ++c->nfs4->next_note;
	o->op = cb->op;
	o->len = cb->len;
	memcpy(o->args, cb->args, cb->len);
	if (copy)
		o->copy = *copy;
	if (is_hint(o))
		hint_room(c);
	c->nhints += is_hint(o);
	TAILQ_INSERT_TAIL(&c->notes, o, link);
	nfs4_caller_start(c);
	return true;
}

void nfs4_notes_free(struct nfs4_client *c)
{
	struct nfs4_note *o;
	while ((o = TAILQ_FIRST(&c->notes)))
		note_free(c, o);
}

void nfs4_note_drop(struct nfs4_client *c, const struct stateid *copy)
{
	struct nfs4_note *o, *next;
	TAILQ_FOREACH_SAFE (o, &c->notes, link, next)
		if (o->op == OP_CB_OFFLOAD && memcmp(o->copy.other, copy->other, NFS4_OTHER) == 0)
			note_free(c, o);
}

static struct nfs4_note *note_due(const struct nfs4_client *c)
{
	uint64_t now = env_now_ns(c->nfs4->o.env);
	struct nfs4_note *o;
	TAILQ_FOREACH (o, &c->notes, link)
		if (o->next_ns <= now)
			return o;
	return NULL;
}

static void say_note(struct nfs4_caller *w, struct nfs4_session *s, struct nfs4_note *o)
{
	struct nfs4_cb cb = {.op = o->op, .len = o->len};
	uint64_t id = o->id;
	struct said said;
	memcpy(cb.args, o->args, o->len);
	say_session(w, s, &cb, &said);
	if (!w->client)
		return;
	TAILQ_FOREACH (o, &w->client->notes, link)
		if (o->id == id)
			break;
	if (!o)
		return; /* nobody needs to hear it any more */
	bool heard = said.answered && said.op != NFS4ERR_DELAY;
	if (!heard && o->op != OP_CB_RECALL_ANY)
		o->next_ns = env_now_ns(w->n->o.env) + said.wait_ns;
	else if (o->op == OP_CB_OFFLOAD)
		nfs4_copy_heard(w->client, &o->copy); /* and its note goes */
	else
		note_free(w->client, o);
}

/* ---- the task ---- */

/* Waits. False: there is nothing to be done now. */
static bool call_step(struct nfs4_caller *w)
{
	struct nfs4_client *c = w->client;
	struct nfs4_session *s = nfs4_session_unknown(c);
	struct nfs4_deleg *d = ask_due(c);
	struct nfs4_note *o = note_due(c);
	if (s)
		probe_session(w, s);
	else if (c->v40 && c->path.state == PATH_UNKNOWN)
		probe_address(w);
	else if (d && c->v40 && c->path.state == PATH_UP)
		recall(w, NULL, d);
	else if (d && !c->v40 && (s = nfs4_session_up(c)))
		recall(w, s, d);
	else if (o && (s = nfs4_session_up(c)))
		say_note(w, s, o);
	else
		return false;
	return true;
}

static void call_task(void *arg)
{
	struct nfs4_caller *w = arg;
	struct nfs4 *n = w->n;
	while (w->client && !n->stopping && !nfs_fenced(n->o.nfs) && call_step(w))
		;
	if (w->client)
		w->client->caller = NULL;
	free(w);
	if (--n->ncallers == 0)
		waitq_wake_all(&n->called);
}

void nfs4_caller_start(struct nfs4_client *c)
{
	struct nfs4 *n = c->nfs4;
	/* So many that say nothing do not keep others from being asked. */
	unsigned max = c->ndelegs ? NFS4_CALLERS_MAX : NFS4_CALLERS_MAX / 4;
	if (!n->o.lend && !c->ndelegs && TAILQ_EMPTY(&c->notes))
		return; /* there is nothing it could be called for */
	if (c->caller || n->stopping || n->ncallers >= max)
		return; /* nfs4_caller_tick() */
	struct nfs4_caller *w = calloc(1, sizeof(*w));
	if (!w)
		return;
	*w = (struct nfs4_caller){.n = n, .client = c};
	c->caller = w;
	n->ncallers++;
	if (task_start(call_task, w) == 0)
		return;
	c->caller = NULL;
	n->ncallers--;
	free(w);
}

void nfs4_caller_forget(struct nfs4_client *c)
{
	if (c->caller)
		c->caller->client = NULL;
	c->caller = NULL;
}

void nfs4_caller_tick(struct nfs4 *n)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_client *c;
	TAILQ_FOREACH (c, &n->clients, link)
		if (!c->caller && !c->ending && c->confirmed && !nfs4_client_expired(c, now) &&
		    (nfs4_path_retry(c, now) || ((ask_due(c) || note_due(c)) && nfs4_path_up(c))))
			nfs4_caller_start(c);
}
