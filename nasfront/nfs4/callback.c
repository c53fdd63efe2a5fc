/*
 * The way back to clients: over connections they bound to a session (RFC 8881 2.10.3.1), or, in
 * version 4.0, over one that we make to the address they gave (RFC 7530 10.2.1) if that is where
 * they called from.
 *
 *   UNKNOWN   a connection was bound, an address confirmed: CB_NULL is tried
 *   UP        that was answered, or a call was: files may be lent
 *   DOWN      it was not; tried again after RETRY_NS, or when the client binds anew
 *
 * Each client is called by a task of its own, that lives while there is something to say: one call
 * at a time. The task outlives its client and its sessions: they are looked for after every wait. A
 * client that does not answer holds up nobody but itself; what it was asked for is taken away when
 * a lease has passed (deleg4.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define RETRY_NS (30 * NS_PER_S)
#define AGAIN_NS                                                                                   \
	(1 * NS_PER_S) /* a client that asks to be asked later, or that did not know yet           \
			*/

struct nfs4_caller {
	struct nfs4 *n;
	struct nfs4_client *client; /* NULL: it is gone */
};

/* ---- paths ---- */

static void path_set(struct nfs4_client *c, struct nfs4_path *p, enum nfs4_path_state state)
{
	static const char *const text[] = {"none", "unknown", "up", "down"};
	if (p->state != state && (state == PATH_DOWN || state == PATH_UP))
		log_info("nfs4: calls to client=%s %s", c->address, text[state]);
	p->state = state;
	p->next_ns = env_now_ns(c->nfs4->o.env) + RETRY_NS;
}

static struct rpc_conn *live_conn(const struct nfs4_back *b)
{
	for (unsigned i = 0; i < NFS4_CB_CONNS; i++)
		if (b->conns[i] && rpc_conn_open(b->conns[i]))
			return b->conns[i];
	return NULL;
}

static bool back_up(const struct nfs4_session *s)
{
	return s->back.path.state == PATH_UP && !s->back.fault && live_conn(&s->back);
}

static struct nfs4_session *session_up(const struct nfs4_client *c)
{
	struct nfs4_session *s;
	LIST_FOREACH (s, &c->sessions, link)
		if (back_up(s))
			return s;
	return NULL;
}

static struct nfs4_session *session_unknown(const struct nfs4_client *c)
{
	struct nfs4_session *s;
	LIST_FOREACH (s, &c->sessions, link)
		if (s->back.path.state == PATH_UNKNOWN && live_conn(&s->back))
			return s;
	return NULL;
}

bool nfs4_path_up(const struct nfs4_client *c)
{
	return c->v40 ? c->path.state == PATH_UP : session_up(c) != NULL;
}

bool nfs4_path_hoped(const struct nfs4_client *c)
{
	return nfs4_path_up(c) || (c->v40 && c->path.state == PATH_UNKNOWN) || session_unknown(c);
}

const char *nfs4_path_text(const struct nfs4_client *c)
{
	const struct nfs4_session *s;
	bool wanted = c->v40 && c->path.state != PATH_NONE;
	if (nfs4_path_hoped(c))
		return nfs4_path_up(c) ? "up" : "unknown";
	LIST_FOREACH (s, &c->sessions, link)
		wanted |= s->back.wanted;
	return wanted ? "down" : "none";
}

uint32_t nfs4_seq_flags(const struct nfs4_session *s)
{
	const struct nfs4_client *c = s->client;
	uint32_t flags = c->nrevoked ? SEQ4_STATUS_RECALLABLE_STATE_REVOKED : 0;
	if (!s->back.wanted)
		return flags;
	if (s->back.fault)
		flags |= SEQ4_STATUS_BACKCHANNEL_FAULT;
	if (s->back.path.state != PATH_DOWN && live_conn(&s->back))
		return flags;
	flags |= SEQ4_STATUS_CB_PATH_DOWN_SESSION;
	return session_up(c) ? flags : flags | SEQ4_STATUS_CB_PATH_DOWN;
}

/* ---- the connections of a back channel ---- */

static void conn_drop(struct rpc_conn **at)
{
	if (*at)
		rpc_conn_put(*at);
	*at = NULL;
}

void nfs4_back_unbind(struct nfs4_session *s, struct rpc_conn *conn)
{
	for (unsigned i = 0; i < NFS4_CB_CONNS; i++)
		if (s->back.conns[i] == conn)
			conn_drop(&s->back.conns[i]);
}

/* The newest first; of too many the oldest goes. */
void nfs4_back_bind(struct nfs4_session *s, struct rpc_conn *conn)
{
	struct nfs4_back *b = &s->back;
	unsigned i;
	nfs4_back_unbind(s, conn);
	for (i = 0; i < NFS4_CB_CONNS - 1; i++)
		if (!b->conns[i] || !rpc_conn_open(b->conns[i]))
			break;
	conn_drop(&b->conns[i]);
	memmove(b->conns + 1, b->conns, i * sizeof(b->conns[0]));
	rpc_conn_get(conn);
	b->conns[0] = conn;
	b->wanted = true;
	if (!b->fault && b->path.state != PATH_UP)
		path_set(s->client, &b->path, PATH_UNKNOWN);
	nfs4_caller_start(s->client);
}

void nfs4_back_free(struct nfs4_session *s)
{
	for (unsigned i = 0; i < NFS4_CB_CONNS; i++)
		conn_drop(&s->back.conns[i]);
}

/* ---- what clients say of how they are to be called ---- */

static bool get_sys(struct xdr_in *x, uint8_t *to, uint32_t *ret_len)
{
	const uint8_t *begin = x->p, *p;
	uint32_t v, len, groups;
	if (!xdr_u32(x, &v) || !xdr_opaque(x, 255, &p, &len) || !xdr_u32(x, &v) ||
	    !xdr_u32(x, &v) || !xdr_u32(x, &groups) || groups > RPC_GROUPS_MAX ||
	    !xdr_fixed(x, groups * 4, &p))
		return false;
	*ret_len = (uint32_t)(x->p - begin);
	ASSERT(*ret_len <= NFS4_CB_SYS);
	memcpy(to, begin, *ret_len);
	return true;
}

bool nfs4_get_callback_sec(struct xdr_in *x, struct nfs4_back *b)
{
	uint32_t n, flavor, v, len;
	uint8_t sys[NFS4_CB_SYS];
	const uint8_t *p;
	b->usable = false;
	if (!xdr_u32(x, &n) || n > 16)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		bool take = !b->usable;
		if (!xdr_u32(x, &flavor))
			return false;
		if (flavor == RPC_FLAVOR_SYS) {
			if (!get_sys(x, sys, &len))
				return false;
			if (take)
				memcpy(b->sys, sys, b->sys_len = len);
		} else if (flavor == 6) { /* RPCSEC_GSS */
			if (!xdr_u32(x, &v) || !xdr_opaque(x, UINT32_MAX, &p, &len) ||
			    !xdr_opaque(x, UINT32_MAX, &p, &len))
				return false;
			continue;
		} else if (flavor != RPC_FLAVOR_NONE) {
			return false;
		} else if (take) {
			b->sys_len = 0;
		}
		b->usable = true;
	}
	return true;
}

/* RFC 5665: an address and, behind two more dots, the two bytes of a port. */
static bool parse_universal(char *text, struct sockaddr_storage *ret, uint16_t *ret_port)
{
	unsigned high, low;
	char end;
	char *b = strrchr(text, '.'), *a;
	if (!b)
		return false;
	*b = 0;
	a = strrchr(text, '.');
	if (!a)
		return false;
	*a = 0;
	if (sscanf(a + 1, "%3u%c", &high, &end) != 1 || sscanf(b + 1, "%3u%c", &low, &end) != 1 ||
	    high > 255 || low > 255)
		return false;
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		memcpy(ret, &in, sizeof(in));
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		memcpy(ret, &in6, sizeof(in6));
	else
		return false;
	*ret_port = (uint16_t)(high << 8 | low);
	return true;
}

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

/* Only the host that asks is called: else anybody could have us call anybody. */
bool nfs4_get_callback(struct xdr_in *x, const struct rpc_req *req, struct nfs4_callback *ret)
{
	const uint8_t *netid, *addr;
	uint32_t netid_len, len;
	char text[64];
	memset(ret, 0, sizeof(*ret));
	if (!xdr_u32(x, &ret->program) || !xdr_opaque(x, NFS4_OPAQUE_LIMIT, &netid, &netid_len) ||
	    !xdr_opaque(x, NFS4_OPAQUE_LIMIT, &addr, &len) || !xdr_u32(x, &ret->ident))
		return false;
	bool tcp = (netid_len == 3 && memcmp(netid, "tcp", 3) == 0) ||
		   (netid_len == 4 && memcmp(netid, "tcp6", 4) == 0);
	if (!tcp || len >= sizeof(text))
		return true;
	memcpy(text, addr, len);
	text[len] = 0;
	if (!parse_universal(text, &ret->to, &ret->port) ||
	    !same_host(&ret->to, rpc_conn_peer(req->conn))) {
		ret->port = 0;
		return true;
	}
	ret->to = *rpc_conn_peer(req->conn); /* with the scope of a link-local address */
	rpc_conn_local(req->conn, &ret->from);
	if (ret->from.ss_family != ret->to.ss_family)
		ret->from.ss_family = 0;
	return true;
}

void nfs4_caller_confirm(struct nfs4_client *c)
{
	c->callback = c->callback_new;
	bool can = c->callback.port && c->callback.program && c->nfs4->out && c->nfs4->o.lend;
	path_set(c, &c->path, can ? PATH_UNKNOWN : PATH_NONE);
	nfs4_caller_start(c);
}

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
	int rc =
	    call_back(n, s, live_conn(&s->back), CB_NULL_PROC, NULL, 0, reply, sizeof(reply), &len);
	count(n, rc);
	s = w->client ? nfs4_session_find(n, id) : NULL;
	if (s)
		path_set(w->client, &s->back.path, rc ? PATH_DOWN : PATH_UP);
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
		path_set(w->client, &w->client->path, rc ? PATH_DOWN : PATH_UP);
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

/* What the answer, or its absence, says of the slot. True: the client has heard. */
static bool slot_result(struct nfs4_session *s, uint32_t used, int rc,
			const struct nfs4_cb_result *r)
{
	struct nfs4_back *b = &s->back;
	if (rc == -EAGAIN || rc == -ERR_SHUTDOWN)
		return false; /* it was not sent */
	if (rc) {
		b->fault |= b->unsure;
		b->unsure = true;
		path_set(s->client, &b->path,
			 rc == -ECONNRESET && !b->fault ? PATH_UNKNOWN : PATH_DOWN);
		return false;
	}
	switch (r->seq) {
	case NFS4_OK:
		b->seq = used;
		b->unsure = false;
		return r->op == NFS4_OK;
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
		path_set(s->client, &b->path, PATH_DOWN);
		return false;
	}
}

static void recall_session(struct nfs4_caller *w, struct nfs4_session *s, struct nfs4_deleg *d)
{
	struct nfs4 *n = w->n;
	uint8_t args[NFS4_CB_MAX], reply[256];
	size_t len;
	struct nfs4_cb cb = {.minor = s->back.minor,
			     .seq = s->back.seq + 1 + s->back.unsure,
			     .sid = nfs4_stateid_of(d->state)};
	struct nfs4_cb_result r = {.seq = NFS4_OK};
	memcpy(cb.session, s->id, NFS4_SESSIONID);
	memcpy(cb.fh, d->fh, FH_SIZE);
	size_t n_args = nfs4_cb_recall(&cb, args, sizeof(args));
	int rc = call_back(n, s, live_conn(&s->back), CB_COMPOUND_PROC, args, n_args, reply,
			   sizeof(reply), &len);
	rc = rc ?: nfs4_cb_result(&cb, reply, len, &r);
	count(n, rc);
	s = w->client ? nfs4_session_find(n, cb.session) : NULL;
	bool unsure = s && s->back.unsure, heard = s && slot_result(s, cb.seq, rc, &r);
	/* Known again which number is the next: at once. */
	ask_end(w, &cb.sid, heard, unsure && !s->back.unsure ? 0 : AGAIN_NS);
}

static void recall_address(struct nfs4_caller *w, struct nfs4_deleg *d)
{
	struct nfs4_client *c = w->client;
	uint8_t args[NFS4_CB_MAX], reply[256];
	size_t len;
	struct nfs4_cb cb = {.ident = c->callback.ident, .sid = nfs4_stateid_of(d->state)};
	struct nfs4_cb_result r = {.seq = NFS4_OK};
	memcpy(cb.fh, d->fh, FH_SIZE);
	size_t n_args = nfs4_cb_recall(&cb, args, sizeof(args));
	int rc = call_out(c, CB_COMPOUND_PROC, args, n_args, reply, sizeof(reply), &len);
	rc = rc ?: nfs4_cb_result(&cb, reply, len, &r);
	count(w->n, rc);
	if (rc && rc != -ERR_SHUTDOWN && w->client)
		path_set(w->client, &w->client->path, PATH_DOWN);
	ask_end(w, &cb.sid, rc == 0 && r.op == NFS4_OK, AGAIN_NS);
}

/* ---- the task ---- */

/* Waits. False: there is nothing to be done now. */
static bool call_step(struct nfs4_caller *w)
{
	struct nfs4_client *c = w->client;
	struct nfs4_session *s = session_unknown(c);
	struct nfs4_deleg *d = ask_due(c);
	if (s)
		probe_session(w, s);
	else if (c->v40 && c->path.state == PATH_UNKNOWN)
		probe_address(w);
	else if (d && c->v40 && c->path.state == PATH_UP)
		recall_address(w, d);
	else if (d && !c->v40 && (s = session_up(c)))
		recall_session(w, s, d);
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
	if (!n->o.lend && !c->ndelegs)
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

/* A path that was down for a while may be up again. */
static bool retry_due(struct nfs4_client *c, uint64_t now)
{
	struct nfs4_session *s;
	bool due = false;
	if (c->v40 && c->path.state == PATH_DOWN && now >= c->path.next_ns)
		c->path.state = PATH_UNKNOWN;
	LIST_FOREACH (s, &c->sessions, link) {
		struct nfs4_path *p = &s->back.path;
		if (p->state == PATH_DOWN && !s->back.fault && now >= p->next_ns)
			p->state = PATH_UNKNOWN;
		due |= p->state == PATH_UNKNOWN && live_conn(&s->back);
	}
	return due || (c->v40 && c->path.state == PATH_UNKNOWN);
}

void nfs4_caller_tick(struct nfs4 *n)
{
	uint64_t now = env_now_ns(n->o.env);
	struct nfs4_client *c;
	TAILQ_FOREACH (c, &n->clients, link)
		if (!c->caller && !c->ending && c->confirmed && !nfs4_client_expired(c, now) &&
		    (retry_due(c, now) || (ask_due(c) && nfs4_path_up(c))))
			nfs4_caller_start(c);
}
