/*
 * Calls and replies under a context.
 *
 *   credential   version 1, procedure, sequence number, service, handle
 *   verifier     signature over the call from the xid to the end of the credential
 *   arguments    plain (krb5), or
 *                opaque { sequence number, arguments }, opaque signature over it (krb5i), or
 *                opaque encrypted { sequence number, arguments }                (krb5p)
 *
 *   reply        its verifier signs the sequence number; results as the arguments
 *
 * A call: context found, verifier right, sequence number new, in this order (5.3.3.3): who cannot
 * sign moves no window. Arguments are verified and decrypted where they were received. What is
 * wrong with a verifier is CREDPROBLEM, with arguments GARBAGE_ARGS (5.3.3.4).
 *
 * A reply is put together around its results: room for the longest verifier lies before them.
 * krb5i signs results and READ data where they are; krb5p encrypts into a token of GSSAPI's, from
 * one piece: where a reply has a body it is copied together in `scratch` before.
 */
#include "nasfront/rpc/gss_impl.h"
#include <string.h>
#include "nasfront/rpc/rpc_msg.h"
#include "runtime/check.h"

#define CALL_CRED 24 /* where the credential begins */
#define MSG_REPLY 1
#define PARTS_MAX 512

bool gss_cred_decode(struct gss_cred *c, const void *body, size_t len)
{
	struct xdr_in x = xdr_in_of(body, len);
	uint32_t version;
	return xdr_u32(&x, &version) && version == GSS_VERSION && xdr_u32(&x, &c->proc) &&
	       xdr_u32(&x, &c->seq) && xdr_u32(&x, &c->service) &&
	       xdr_opaque(&x, RPC_AUTH_MAX, &c->handle, &c->handle_len) && !xdr_left(&x);
}

static gss_buffer_desc buffer(const void *p, size_t len)
{
	return (gss_buffer_desc){.value = (void *)p, .length = len};
}

/* ---- calls ---- */

static bool verify(const struct gss_ctx *c, const void *data, size_t len, const void *mic,
		   size_t mic_len)
{
	gss_buffer_desc d = buffer(data, len), m = buffer(mic, mic_len);
	OM_uint32 minor;
	return gss_verify_mic(&minor, c->id, &d, &m, NULL) == GSS_S_COMPLETE;
}

/* In place: what is encrypted becomes, further back, what it says. */
static bool decrypt(const struct gss_ctx *c, uint8_t *token, size_t len, struct xdr_in *ret)
{
	gss_iov_buffer_desc iov[2] = {
	    {.type = GSS_IOV_BUFFER_TYPE_STREAM, .buffer = {.value = token, .length = len}},
	    {.type = GSS_IOV_BUFFER_TYPE_DATA}};
	OM_uint32 minor;
	int secret = 0;
	if (gss_unwrap_iov(&minor, c->id, &secret, NULL, iov, 2) != GSS_S_COMPLETE || !secret)
		return false;
	*ret = xdr_in_of(iov[1].buffer.value, iov[1].buffer.length);
	return true;
}

/* Leaves the arguments in req->args. */
static bool open_args(const struct gss_ctx *c, struct rpc_req *req, const struct gss_cred *cred)
{
	struct xdr_in *x = &req->args, in;
	const uint8_t *body, *mic;
	uint32_t len, mic_len, seq;
	if (cred->service == RPC_GSS_NONE)
		return true;
	if (!xdr_opaque(x, UINT32_MAX, &body, &len))
		return false;
	if (cred->service == RPC_GSS_PRIVACY) {
		if (xdr_left(x) || !decrypt(c, (uint8_t *)body, len, &in))
			return false;
	} else {
		if (!xdr_opaque(x, RPC_AUTH_MAX, &mic, &mic_len) || xdr_left(x) ||
		    !verify(c, body, len, mic, mic_len))
			return false;
		in = xdr_in_of(body, len);
	}
	if (!xdr_u32(&in, &seq) || seq != cred->seq)
		return false;
	req->args = req->args_begin = in;
	return true;
}

static void fill_cred(struct rpc_req *req, const struct gss_ctx *c, uint32_t service)
{
	req->cred = (struct rpc_cred){.flavor = RPC_FLAVOR_GSS,
				      .service = service,
				      .mapped = c->mapped,
				      .principal = c->principal,
				      .uid = c->uid,
				      .gid = c->gid};
}

/* The call's context, its verifier having been found right and its number taken. */
static enum gss_verdict check_data(struct rpc_gss *g, struct rpc_req *req, const uint8_t *record,
				   size_t header, const struct gss_cred *cred,
				   const struct xdr_in *verf, enum rpc_auth_stat *ret_why,
				   struct gss_ctx **ret)
{
	struct xdr_in v = *verf;
	uint32_t flavor, len;
	const uint8_t *mic;
	struct gss_ctx *c = gss_ctx_find(g, cred->handle, cred->handle_len, req->start_ns);
	*ret_why = RPC_GSS_CREDPROBLEM;
	if (!c || !c->established)
		return GSS_DENIED;
	if (!xdr_u32(&v, &flavor) || !xdr_opaque(&v, RPC_AUTH_MAX, &mic, &len) ||
	    flavor != RPC_FLAVOR_GSS || !verify(c, record, header, mic, len))
		return GSS_DENIED;
	*ret_why = RPC_GSS_CTXPROBLEM;
	if (cred->seq >= GSS_MAXSEQ)
		return GSS_DENIED;
	if (!gss_ctx_seq(c, cred->seq)) {
		g->st.replayed++;
		return GSS_DROPPED;
	}
	*ret = c;
	return GSS_RUN;
}

static void use(struct rpc_req *req, struct gss_ctx *c, const struct gss_cred *cred)
{
	c->refs++;
	req->gss = c;
	req->gss_seq = cred->seq;
	req->gss_service = cred->service;
	req->head_room = RPC_REPLY_HEAD + RPC_GSS_ROOM;
	req->out = xdr_out_of(req->head + RPC_REPLY_HEAD + RPC_GSS_ROOM,
			      RPC_REPLY_INLINE - RPC_REPLY_HEAD);
}

static enum gss_verdict begin(struct rpc_gss *g, struct rpc_req *req, const uint8_t *record,
			      size_t len, enum rpc_auth_stat *ret_why)
{
	struct xdr_in x = xdr_in_of(record + CALL_CRED, len - CALL_CRED);
	struct gss_ctx *c;
	struct gss_cred cred;
	const uint8_t *body;
	uint32_t flavor, n;
	*ret_why = RPC_AUTH_BADCRED;
	if (!xdr_u32(&x, &flavor) || !xdr_opaque(&x, RPC_AUTH_MAX, &body, &n) ||
	    !gss_cred_decode(&cred, body, n) || cred.proc > GSS_DESTROY ||
	    (cred.proc != GSS_DATA && req->proc != 0))
		return GSS_DENIED;
	if (cred.proc == GSS_INIT || cred.proc == GSS_CONTINUE_INIT) {
		c = cred.proc == GSS_INIT
			? NULL
			: gss_ctx_find(g, cred.handle, cred.handle_len, req->start_ns);
		return gss_init_begin(g, req, &cred, c, ret_why);
	}
	if (cred.service < RPC_GSS_NONE || cred.service > RPC_GSS_PRIVACY)
		return GSS_DENIED;
	enum gss_verdict v =
	    check_data(g, req, record, (size_t)(x.p - record), &cred, &x, ret_why, &c);
	if (v != GSS_RUN)
		return v;
	use(req, c, &cred);
	if (!open_args(c, req, &cred))
		return GSS_GARBAGE;
	fill_cred(req, c, cred.service);
	if (cred.proc == GSS_DATA)
		return GSS_RUN;
	gss_ctx_unlist(c);
	return GSS_ANSWERED;
}

enum gss_verdict gss_call_begin(struct rpc_gss *g, struct rpc_req *req, const uint8_t *record,
				size_t len, enum rpc_auth_stat *ret_why)
{
	CHECK(g, GSS_MAGIC);
	g->st.calls++;
	enum gss_verdict v = begin(g, req, record, len, ret_why);
	g->st.denied += v == GSS_DENIED;
	return v;
}

/* ---- replies ---- */

static bool sign(const struct gss_ctx *c, gss_iov_buffer_desc *iov, int n, uint8_t *to)
{
	OM_uint32 minor;
	iov[n].type = GSS_IOV_BUFFER_TYPE_MIC_TOKEN;
	iov[n].buffer = buffer(to, c->mic_len);
	memset(to + c->mic_len, 0, xdr_pad(c->mic_len));
	return gss_get_mic_iov(&minor, c->id, GSS_C_QOP_DEFAULT, iov, n + 1) == GSS_S_COMPLETE &&
	       iov[n].buffer.length == c->mic_len;
}

static gss_iov_buffer_desc part(const void *p, size_t len)
{
	return (gss_iov_buffer_desc){.type = GSS_IOV_BUFFER_TYPE_DATA, .buffer = buffer(p, len)};
}

/* Signs { sequence number, results, body } where they are; the signature follows them. */
static bool seal_integrity(struct rpc_req *req)
{
	static const uint8_t zeros[4];
	gss_iov_buffer_desc iov[PARTS_MAX + 3];
	const struct gss_ctx *c = req->gss;
	size_t len = 4 + xdr_out_len(&req->out);
	uint32_t pad = xdr_pad(req->body_len);
	int n = 0;
	if (req->body_n > PARTS_MAX)
		return false;
	iov[n++] = part(req->out.base - 4, len);
	for (int i = 0; i < req->body_n; i++)
		iov[n++] = part(req->body[i].iov_base, req->body[i].iov_len);
	if (pad)
		iov[n++] = part(zeros, pad);
	be32_put(req->out.base - 4, req->gss_seq);
	be32_put(req->out.base - 8, (uint32_t)len + req->body_len + pad);
	be32_put(req->gss_tail, c->mic_len);
	if (!sign(c, iov, n, req->gss_tail + 4))
		return false;
	req->tail = (struct iovec){.iov_base = req->gss_tail,
				   .iov_len = 4 + c->mic_len + xdr_pad(c->mic_len)};
	return true;
}

static void token_release(struct rpc_req *req)
{
	gss_buffer_desc t = buffer(req->gss_token.iov_base, req->gss_token.iov_len);
	OM_uint32 minor;
	gss_release_buffer(&minor, &t);
}

/* Sequence number and results in one piece; NULL: they are larger than any reply may be. */
static const uint8_t *gather(struct rpc_req *req, size_t *ret_len)
{
	size_t len = 4 + xdr_out_len(&req->out), n = len;
	uint32_t pad = xdr_pad(req->body_len);
	uint8_t *s = ((struct gss_ctx *)req->gss)->gss->scratch;
	be32_put(req->out.base - 4, req->gss_seq);
	*ret_len = len + req->body_len + pad;
	if (!req->body_n)
		return req->out.base - 4;
	if (*ret_len > RPC_LARGE_BUF)
		return NULL;
	memcpy(s, req->out.base - 4, len);
	for (int i = 0; i < req->body_n; n += req->body[i++].iov_len)
		memcpy(s + n, req->body[i].iov_base, req->body[i].iov_len);
	memset(s + n, 0, pad);
	return s;
}

/* What is sent in place of the results is the token. */
static bool seal_privacy(struct rpc_req *req)
{
	const struct gss_ctx *c = req->gss;
	gss_buffer_desc token;
	OM_uint32 minor;
	int secret = 0;
	size_t len;
	const uint8_t *plain = gather(req, &len);
	gss_buffer_desc in = buffer(plain, len);
	if (!plain ||
	    gss_wrap(&minor, c->id, 1, GSS_C_QOP_DEFAULT, &in, &secret, &token) != GSS_S_COMPLETE)
		return false;
	if (req->release)
		req->release(req);
	req->gss_token = (struct iovec){.iov_base = token.value, .iov_len = token.length};
	req->release = token_release;
	req->body = &req->gss_token;
	req->body_n = 1;
	req->body_len = (uint32_t)token.length;
	be32_put(req->out.base - 8, req->body_len);
	return secret;
}

/* The verifier's room, from `at` on. */
static bool put_verifier(const struct rpc_req *req, uint8_t *at)
{
	const struct gss_ctx *c = req->gss;
	uint8_t seq[4];
	gss_iov_buffer_desc iov[2] = {part(seq, 4)};
	be32_put(seq, req->gss_seq);
	be32_put(at, RPC_FLAVOR_GSS);
	be32_put(at + 4, c->mic_len);
	return sign(c, iov, 1, at + 8);
}

/* The record from the mark on; sealed: what lies in the eight bytes before the results is theirs,
 * of an encrypted one the length alone. */
static void put_head(struct rpc_req *req, uint32_t stat, bool sealed)
{
	const struct gss_ctx *c = req->gss;
	size_t verf = c->mic_len + xdr_pad(c->mic_len), head = RPC_REPLY_HEAD + verf;
	uint8_t *end = req->out.base - (sealed ? 8 : 0), *h = end - head;
	size_t inner = xdr_out_len(&req->out);
	if (sealed)
		inner = req->gss_service == RPC_GSS_PRIVACY ? 4 : inner + 8;
	req->wire = h;
	req->wire_len = head + inner + req->body_len + xdr_pad(req->body_len) + req->tail.iov_len;
	be32_put(h, 0x80000000u | (uint32_t)(req->wire_len - 4));
	be32_put(h + 4, req->xid);
	be32_put(h + 8, MSG_REPLY);
	be32_put(h + 12, 0); /* accepted */
	be32_put(end - 4, stat);
	if (!put_verifier(req, h + 16))
		rpc_msg_deny_auth(req, RPC_GSS_CTXPROBLEM); /* 5.3.3.4.1 */
}

void gss_reply(struct rpc_req *req, uint32_t stat)
{
	bool seal = stat == RPC_SUCCESS && req->gss_service != RPC_GSS_NONE;
	if (seal &&
	    !(req->gss_service == RPC_GSS_INTEGRITY ? seal_integrity(req) : seal_privacy(req))) {
		stat = RPC_SYSTEM_ERR;
		seal = false;
		req->out.p = req->out.base;
		req->body_n = 0;
		req->body_len = 0;
		req->tail.iov_len = 0;
	}
	put_head(req, stat, seal);
}
