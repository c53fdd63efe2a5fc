/*
 * Contexts are asked for: INIT and CONTINUE_INIT (RFC 2203 5.2.2, 5.2.3).
 *
 * A ticket is looked at with keytab and replay cache, which are files, and its principal is mapped
 * by nsswitch, where a directory service may be behind: that runs in libuv's thread pool, THREADS
 * at once, PENDING asked for at most, PENDING_HOST by one host; more are dropped, the client asks
 * again. A call that is not
 * through in WAIT_NS is dropped too, and what its thread finds then goes nowhere.
 */
#include "nasfront/rpc/gss_impl.h"
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include <uv.h>
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define THREADS	     2
#define PENDING	     256
#define PENDING_HOST 64 /* of one host */
#define WAIT_NS	     (4 * NS_PER_S)
#define PASSWD_BYTES (1u << 20)
#define NAME_MAX_LEN 1024

struct gss_work {
	uv_work_t work;
	LIST_ENTRY(gss_work) link;
	STAILQ_ENTRY(gss_work) queue_link;
	struct rpc_gss *g;    /* NULL: it has gone */
	struct rpc_req *call; /* NULL: given up */
	struct env_timer timer;
	struct gss_ctx *ctx; /* CONTINUE_INIT: held */
	char *keytab, *principal;
	rpc_gss_find_fn *find;
	void *arg;
	/* The thread's: */
	gss_ctx_id_t id;
	OM_uint32 major, minor, life;
	gss_buffer_desc out;
	bool mapped;
	uint32_t uid, gid;
	char name[NAME_MAX_LEN], why[GSS_TEXT];
	gss_buffer_desc token;
	uint8_t bytes[];
};

/* ---- on a thread ---- */

static int find_local(void *arg, const char *principal, const char *local, uint32_t *ret_uid,
		      uint32_t *ret_gid)
{
	struct passwd pw, *found = NULL;
	if (!*local)
		return -ENOENT;
	for (size_t size = 4096;; size *= 4) {
		char *buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		int rc = getpwnam_r(local, &pw, buf, size, &found);
		if (rc == 0 && found) {
			*ret_uid = pw.pw_uid;
			*ret_gid = pw.pw_gid;
		}
		free(buf);
		if (rc == ERANGE && size < PASSWD_BYTES)
			continue;
		if (rc && rc != ENOENT && rc != ESRCH) /* getpwnam(3) */
			return -rc;
		return found ? 0 : -ENOENT;
	}
}

static void name_copy(char *to, size_t size, gss_buffer_desc *from)
{
	OM_uint32 minor;
	snprintf(to, size, "%.*s", (int)MIN(from->length, size - 1), (char *)from->value);
	gss_release_buffer(&minor, from);
}

/* Who the principal is here. */
static void map(struct gss_work *w, gss_name_t src)
{
	gss_buffer_desc b;
	OM_uint32 minor;
	char local[NAME_MAX_LEN] = "";
	if (gss_display_name(&minor, src, &b, NULL) != GSS_S_COMPLETE) {
		w->major = GSS_S_FAILURE;
		snprintf(w->why, sizeof(w->why), "the principal has no name");
		return;
	}
	bool whole = b.length < sizeof(w->name);
	name_copy(w->name, sizeof(w->name), &b);
	if (whole && gss_localname(&minor, src, GSS_C_NO_OID, &b) == GSS_S_COMPLETE)
		name_copy(local, sizeof(local), &b);
	int rc = whole ? w->find(w->arg, w->name, local, &w->uid, &w->gid) : -ENAMETOOLONG;
	w->mapped = rc == 0;
	if (rc && rc != -ENOENT) {
		w->major = GSS_S_FAILURE;
		snprintf(w->why, sizeof(w->why),
			 "cannot find who %.100s is: %s; see nsswitch.conf(5)", w->name,
			 err_text(rc));
	}
}

static void work_run(uv_work_t *req)
{
	struct gss_work *w = req->data;
	gss_cred_id_t cred = GSS_C_NO_CREDENTIAL;
	gss_name_t src = GSS_C_NO_NAME;
	gss_OID mech = GSS_C_NO_OID;
	OM_uint32 minor;
	w->major = gss_acceptor(w->keytab, w->principal, &cred, &w->minor);
	if (w->major == GSS_S_COMPLETE)
		w->major = gss_accept_sec_context(&w->minor, &w->id, cred, &w->token,
						  GSS_C_NO_CHANNEL_BINDINGS, &src, &mech, &w->out,
						  NULL, &w->life, NULL);
	if (GSS_ERROR(w->major))
		gss_error_text(w->major, w->minor, w->keytab, w->why, sizeof(w->why));
	else if (w->major == GSS_S_COMPLETE)
		map(w, src);
	gss_release_name(&minor, &src);
	gss_release_cred(&minor, &cred);
}

/* ---- back on the reactor ---- */

static void work_free(struct gss_work *w)
{
	OM_uint32 minor;
	gss_delete_sec_context(&minor, &w->id, GSS_C_NO_BUFFER);
	gss_release_buffer(&minor, &w->out);
	free(w->keytab);
	free(w->principal);
	free(w);
}

/* The same for every process that serves, so that a successor knows whose sessions are whose. */
static bool principal_number(const char *name, uint64_t *ret)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;
	if (!EVP_Digest(name, strlen(name), digest, &len, EVP_sha256(), NULL) || len < 8)
		return false;
	*ret = be64_get(digest);
	return true;
}

/* The length of this context's signatures, which is one of its encryption type. */
static bool mic_length(struct gss_ctx *c)
{
	uint8_t four[4] = {0};
	gss_iov_buffer_desc iov[2] = {
	    {.type = GSS_IOV_BUFFER_TYPE_DATA, .buffer = {.value = four, .length = 4}},
	    {.type = GSS_IOV_BUFFER_TYPE_MIC_TOKEN}};
	OM_uint32 minor;
	if (gss_get_mic_iov_length(&minor, c->id, GSS_C_QOP_DEFAULT, iov, 2) != GSS_S_COMPLETE)
		return false;
	c->mic_len = (uint32_t)iov[1].buffer.length;
	return c->mic_len && c->mic_len <= RPC_GSS_MIC_MAX;
}

static bool establish(struct gss_work *w, struct gss_ctx *c)
{
	struct rpc_gss *g = w->g;
	if (!mic_length(c)) {
		snprintf(w->why, sizeof(w->why), "signatures of this encryption type are too long");
		return false;
	}
	if (!principal_number(w->name, &c->principal)) {
		snprintf(w->why, sizeof(w->why), "out of memory");
		return false;
	}
	c->established = true;
	c->mapped = w->mapped;
	c->uid = w->uid;
	c->gid = w->gid;
	c->until_ns = env_now_ns(g->o.env) + MIN(w->life * NS_PER_S, g->o.life_ns);
	log_info("rpc: kerberos context principal=%s %s=%u", w->name,
		 w->mapped ? "uid" : "unknown_here", w->mapped ? w->uid : 1);
	return true;
}

/* A new context, or the one that goes on; NULL: it cannot be. */
static struct gss_ctx *work_ctx(struct gss_work *w)
{
	struct gss_ctx *c = w->ctx;
	if (c)
		c->refs++;
	else
		c = gss_ctx_new(w->g);
	if (!c)
		return NULL;
	c->id = w->id;
	w->id = GSS_C_NO_CONTEXT;
	if (w->major == GSS_S_COMPLETE && !establish(w, c)) {
		gss_ctx_unlist(c);
		gss_ctx_put(c);
		return NULL;
	}
	return c;
}

/* rpc_gss_init_res; signed with the window's size when the context stands (5.2.3.1). */
static void answer(struct gss_work *w, struct gss_ctx *c)
{
	struct rpc_req *req = w->call;
	if (c && c->established) {
		c->refs++;
		req->gss = c;
		req->gss_seq = RPC_GSS_WINDOW;
		req->gss_service = RPC_GSS_NONE;
		req->head_room = RPC_REPLY_HEAD + RPC_GSS_ROOM;
		req->out = xdr_out_of(req->head + RPC_REPLY_HEAD + RPC_GSS_ROOM,
				      RPC_REPLY_INLINE - RPC_REPLY_HEAD);
	}
	if (!rpc_reply_reserve(req, 32 + GSS_HANDLE + w->out.length))
		req->out.full = true;
	xdr_put_opaque(&req->out, c ? c->handle : NULL, c ? GSS_HANDLE : 0);
	xdr_put_u32(&req->out, w->major);
	xdr_put_u32(&req->out, w->minor);
	xdr_put_u32(&req->out, RPC_GSS_WINDOW);
	xdr_put_opaque(&req->out, w->out.value, (uint32_t)w->out.length);
	if (req->out.full)
		rpc_msg_refuse(req, RPC_SYSTEM_ERR, 0, 0);
	else
		rpc_msg_accept(req);
}

static void work_end(struct gss_work *w)
{
	struct rpc_gss *g = w->g;
	struct gss_ctx *c = NULL;
	if (!GSS_ERROR(w->major))
		c = work_ctx(w);
	if (!GSS_ERROR(w->major) && !c)
		w->major = GSS_S_FAILURE;
	if (c)
		gss_ctx_list(c);
	if (c && c->established)
		g->st.accepted++;
	if (!c) {
		g->st.refused++;
		log_warn("rpc: kerberos context refused peer=%s why=\"%s\"",
			 rpc_conn_peer_text(w->call->conn), w->why);
	}
	answer(w, c);
	if (c)
		gss_ctx_put(c);
}

/* The call ends here; its connection may have ended meanwhile. */
static void work_done(uv_work_t *req, int status)
{
	struct gss_work *w = req->data;
	struct rpc_gss *g = w->g;
	if (!g) {
		work_free(w);
		return;
	}
	LIST_REMOVE(w, link);
	g->nrunning--;
	g->npending--;
	if (w->ctx) {
		w->ctx->busy = false;
		if (!w->call || status || GSS_ERROR(w->major))
			gss_ctx_unlist(w->ctx);
	}
	if (w->call && status == 0) {
		struct rpc_conn *conn = w->call->conn;
		env_timer_stop(g->o.env, &w->timer);
		work_end(w);
		rpc_conn_reply(conn, w->call);
		rpc_conn_put(conn);
	}
	if (w->ctx)
		gss_ctx_put(w->ctx);
	work_free(w);
	gss_init_next(g);
}

static void work_give_up(void *arg)
{
	struct gss_work *w = arg;
	struct rpc_conn *c = w->call->conn;
	log_warn(
	    "rpc: kerberos context dropped peer=%s why=\"keytab or user look-up takes longer than "
	    "%llu s; see nsswitch.conf(5)\"",
	    rpc_conn_peer_text(c), (unsigned long long)(WAIT_NS / NS_PER_S));
	c->server->stats.dropped++;
	rpc_conn_drop(c, w->call);
	rpc_conn_put(c);
	w->call = NULL;
}

/* Its call was given up while it waited: nobody hears what it would find. */
static void work_skip(struct gss_work *w)
{
	w->g->npending--;
	if (w->ctx) {
		w->ctx->busy = false;
		gss_ctx_unlist(w->ctx);
		gss_ctx_put(w->ctx);
	}
	work_free(w);
}

void gss_init_next(struct rpc_gss *g)
{
	struct gss_work *w;
	while (g->nrunning < THREADS && (w = STAILQ_FIRST(&g->queue))) {
		STAILQ_REMOVE_HEAD(&g->queue, queue_link);
		if (!w->call) {
			work_skip(w);
			continue;
		}
		LIST_INSERT_HEAD(&g->running, w, link);
		g->nrunning++;
		/* Fails only without a callback. */
		int rc = uv_queue_work(reactor_loop(g->o.reactor), &w->work, work_run, work_done);
		ASSERT(rc == 0);
	}
}

/* No call waits any more: the server has gone. */
void gss_init_free(struct rpc_gss *g)
{
	struct gss_work *w;
	while ((w = LIST_FIRST(&g->running))) {
		LIST_REMOVE(w, link);
		ASSERT(!w->call);
		if (w->ctx) {
			w->ctx->busy = false;
			gss_ctx_put(w->ctx);
		}
		w->ctx = NULL;
		w->g = NULL;
	}
	while ((w = STAILQ_FIRST(&g->queue))) {
		STAILQ_REMOVE_HEAD(&g->queue, queue_link);
		ASSERT(!w->call);
		if (w->ctx) {
			w->ctx->busy = false;
			gss_ctx_put(w->ctx);
		}
		work_free(w);
	}
}

static struct gss_work *work_new(struct rpc_gss *g, const uint8_t *token, uint32_t len)
{
	struct gss_work *w = calloc(1, sizeof(*w) + len);
	if (!w)
		return NULL;
	w->work.data = w;
	w->g = g;
	w->id = GSS_C_NO_CONTEXT;
	w->find = g->o.find ? g->o.find : find_local;
	w->arg = g->o.arg;
	memcpy(w->bytes, token, len);
	w->token = (gss_buffer_desc){.value = w->bytes, .length = len};
	w->keytab = strdup(g->o.keytab);
	w->principal = strdup(g->o.principal);
	if (w->keytab && w->principal)
		return w;
	work_free(w);
	return NULL;
}

static unsigned calls_from(const struct gss_work *w, uint64_t host)
{
	return w->call && rpc_host_of(rpc_conn_peer(w->call->conn)) == host;
}

/* A host has no more of what is looked at, or waits for it, than its part: others have theirs. */
static bool too_many(const struct rpc_gss *g, const struct rpc_conn *c)
{
	uint64_t host = rpc_host_of(rpc_conn_peer(c));
	const struct gss_work *w;
	unsigned n = 0;
	if (g->npending < PENDING_HOST)
		return false;
	LIST_FOREACH (w, &g->running, link)
		n += calls_from(w, host);
	STAILQ_FOREACH (w, &g->queue, queue_link)
		n += calls_from(w, host);
	return n >= PENDING_HOST;
}

enum gss_verdict gss_init_begin(struct rpc_gss *g, struct rpc_req *req, const struct gss_cred *cred,
				struct gss_ctx *c, enum rpc_auth_stat *ret_why)
{
	const uint8_t *token;
	uint32_t len;
	if (cred->proc == GSS_INIT && cred->handle_len)
		return GSS_DENIED; /* BADCRED */
	*ret_why = RPC_GSS_CREDPROBLEM;
	if (cred->proc == GSS_CONTINUE_INIT && (!c || c->established))
		return GSS_DENIED;
	if (!xdr_opaque(&req->args, GSS_TOKEN_MAX, &token, &len) || xdr_left(&req->args))
		return GSS_GARBAGE;
	if (g->npending >= PENDING || too_many(g, req->conn) || (c && c->busy))
		return GSS_DROPPED;
	struct gss_work *w = work_new(g, token, len);
	if (!w)
		return GSS_DROPPED;
	w->call = req;
	rpc_conn_get(req->conn);
	if (c) {
		w->ctx = c;
		w->id = c->id;
		c->id = GSS_C_NO_CONTEXT;
		c->busy = true;
		c->refs++;
	}
	w->timer = (struct env_timer){.fn = work_give_up, .arg = w};
	env_timer_start(g->o.env, &w->timer, WAIT_NS);
	g->npending++;
	STAILQ_INSERT_TAIL(&g->queue, w, queue_link);
	gss_init_next(g);
	return GSS_TAKEN;
}
