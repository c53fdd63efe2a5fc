/*
 * The way back to clients: over connections they bound to a session (RFC 8881 2.10.3.1), or, in
 * version 4.0, over one that we make to the address they gave (RFC 7530 10.2.1) if that is where
 * they called from.
 *
 *   UNKNOWN   a connection was bound, an address confirmed: CB_NULL is tried
 *   UP        that was answered, or a call was: files may be lent
 *   DOWN      it was not; tried again after RETRY_NS, or when the client binds anew
 *
 * A connection is bound as what it is: one that goes over to TLS behind that is not bound any more,
 * for who bound it may have been anybody (RFC 9289 5). Calls have no protection of their own:
 * AUTH_SYS or AUTH_NONE, as the client said; a client that wants RPCSEC_GSS alone has no back
 * channel, and hears so in the answer to CREATE_SESSION.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/log.h"

#define RETRY_NS (30 * NS_PER_S)

/* ---- paths ---- */

void nfs4_path_set(struct nfs4_client *c, struct nfs4_path *p, enum nfs4_path_state state)
{
	static const char *const text[] = {"none", "unknown", "up", "down"};
	if (p->state != state && (state == PATH_DOWN || state == PATH_UP))
		log_info("nfs4: calls to client=%s %s", c->address, text[state]);
	p->state = state;
	p->next_ns = env_now_ns(c->nfs4->o.env) + RETRY_NS;
}

static bool bound(const struct nfs4_back_conn *c)
{
	return c->conn && rpc_conn_open(c->conn) && rpc_conn_xprt(c->conn) == c->xprt;
}

struct rpc_conn *nfs4_back_conn(const struct nfs4_back *b)
{
	for (unsigned i = 0; i < NFS4_CB_CONNS; i++)
		if (bound(&b->conns[i]))
			return b->conns[i].conn;
	return NULL;
}

static bool back_up(const struct nfs4_session *s)
{
	return s->back.path.state == PATH_UP && !s->back.fault && nfs4_back_conn(&s->back);
}

struct nfs4_session *nfs4_session_up(const struct nfs4_client *c)
{
	struct nfs4_session *s;
	LIST_FOREACH (s, &c->sessions, link)
		if (back_up(s))
			return s;
	return NULL;
}

struct nfs4_session *nfs4_session_unknown(const struct nfs4_client *c)
{
	struct nfs4_session *s;
	LIST_FOREACH (s, &c->sessions, link)
		if (s->back.path.state == PATH_UNKNOWN && nfs4_back_conn(&s->back))
			return s;
	return NULL;
}

bool nfs4_path_up(const struct nfs4_client *c)
{
	return c->v40 ? c->path.state == PATH_UP : nfs4_session_up(c) != NULL;
}

bool nfs4_path_hoped(const struct nfs4_client *c)
{
	return nfs4_path_up(c) || (c->v40 && c->path.state == PATH_UNKNOWN) ||
	       nfs4_session_unknown(c);
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
	if (s->back.path.state != PATH_DOWN && nfs4_back_conn(&s->back))
		return flags;
	flags |= SEQ4_STATUS_CB_PATH_DOWN_SESSION;
	return nfs4_session_up(c) ? flags : flags | SEQ4_STATUS_CB_PATH_DOWN;
}

/* ---- the connections of a back channel ---- */

static void conn_drop(struct nfs4_back_conn *at)
{
	if (at->conn)
		rpc_conn_put(at->conn);
	at->conn = NULL;
}

void nfs4_back_unbind(struct nfs4_session *s, struct rpc_conn *conn)
{
	for (unsigned i = 0; i < NFS4_CB_CONNS; i++)
		if (s->back.conns[i].conn == conn)
			conn_drop(&s->back.conns[i]);
}

/* The newest first; of too many the oldest goes. */
void nfs4_back_bind(struct nfs4_session *s, struct rpc_conn *conn)
{
	struct nfs4_back *b = &s->back;
	unsigned i;
	nfs4_back_unbind(s, conn);
	for (i = 0; i < NFS4_CB_CONNS - 1; i++)
		if (!bound(&b->conns[i]))
			break;
	conn_drop(&b->conns[i]);
	memmove(b->conns + 1, b->conns, i * sizeof(b->conns[0]));
	rpc_conn_get(conn);
	b->conns[0] = (struct nfs4_back_conn){.conn = conn, .xprt = rpc_conn_xprt(conn)};
	if (!b->wanted) {
		b->wanted = true;
		nfs4_record_session(s);
	}
	if (!b->fault && b->path.state != PATH_UP)
		nfs4_path_set(s->client, &b->path, PATH_UNKNOWN);
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
	nfs4_path_set(c, &c->path, can ? PATH_UNKNOWN : PATH_NONE);
	nfs4_caller_start(c);
}

/* A path that was down for a while may be up again. */
bool nfs4_path_retry(struct nfs4_client *c, uint64_t now)
{
	struct nfs4_session *s;
	bool due = false;
	if (c->v40 && c->path.state == PATH_DOWN && now >= c->path.next_ns)
		c->path.state = PATH_UNKNOWN;
	LIST_FOREACH (s, &c->sessions, link) {
		struct nfs4_path *p = &s->back.path;
		if (p->state == PATH_DOWN && !s->back.fault && now >= p->next_ns)
			p->state = PATH_UNKNOWN;
		due |= p->state == PATH_UNKNOWN && nfs4_back_conn(&s->back);
	}
	return due || (c->v40 && c->path.state == PATH_UNKNOWN);
}
