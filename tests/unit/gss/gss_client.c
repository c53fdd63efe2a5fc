#include "tests/unit/gss/gss_client.h"
#include <arpa/inet.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"

void gc_open(struct gss_client *c, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 8};
	memset(c, 0, sizeof(*c));
	c->fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT(connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	c->out = malloc(GC_BYTES);
	c->in = malloc(GC_BYTES);
	c->xid = 100;
	c->seq = 1;
	c->service = RPC_GSS_NONE;
	ASSERT(c->out && c->in);
}

void gc_close(struct gss_client *c)
{
	OM_uint32 minor;
	gss_delete_sec_context(&minor, &c->ctx, GSS_C_NO_BUFFER);
	close(c->fd);
	free(c->out);
	free(c->in);
}

/* ---- records ---- */

static void wire_send(struct gss_client *c)
{
	size_t at = 0;
	be32_put(c->out, 0x80000000u | (uint32_t)(c->out_len - 4));
	while (at < c->out_len) {
		ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* the answer tells */
		at += (size_t)n;
	}
}

static bool recv_all(int fd, uint8_t *to, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, to + at, len - at, 0);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static bool wire_recv(struct gss_client *c)
{
	uint8_t mark[4];
	if (!recv_all(c->fd, mark, 4))
		return false;
	c->in_len = be32_get(mark) & 0x7fffffff;
	ASSERT(c->in_len <= GC_BYTES && be32_get(mark) >> 31);
	return recv_all(c->fd, c->in, c->in_len);
}

static struct xdr_out call_begin(struct gss_client *c, uint32_t prog, uint32_t vers, uint32_t proc)
{
	struct xdr_out x = xdr_out_of(c->out + 4, GC_BYTES - 4);
	const uint32_t head[] = {++c->xid, 0, 2, prog, vers, proc};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	return x;
}

static void put_cred(struct gss_client *c, struct xdr_out *x, uint32_t proc)
{
	uint32_t len = 20 + c->handle_len + xdr_pad(c->handle_len);
	xdr_put_u32(x, 6);
	xdr_put_u32(x, len + (c->bad.trailing ? 4 : 0));
	xdr_put_u32(x, c->bad.version ? c->bad.version : 1);
	xdr_put_u32(x, c->bad.proc ? c->bad.proc : proc);
	xdr_put_u32(x, c->seq);
	xdr_put_u32(x, c->service);
	xdr_put_opaque(x, c->handle, c->handle_len);
	if (c->bad.trailing)
		xdr_put_u32(x, 0);
}

static void put_mic(struct gss_client *c, struct xdr_out *x, const void *p, size_t len, bool spoil)
{
	gss_buffer_desc in = {.value = (void *)p, .length = len}, mic;
	OM_uint32 minor;
	ASSERT(gss_get_mic(&minor, c->ctx, GSS_C_QOP_DEFAULT, &in, &mic) == GSS_S_COMPLETE);
	if (spoil)
		((uint8_t *)mic.value)[mic.length - 1] ^= 1;
	xdr_put_opaque(x, mic.value, (uint32_t)mic.length);
	gss_release_buffer(&minor, &mic);
}

static void put_secret(struct gss_client *c, struct xdr_out *x, const uint8_t *body, size_t len)
{
	gss_buffer_desc in = {.value = (void *)body, .length = len}, token;
	OM_uint32 minor;
	int conf;
	ASSERT(gss_wrap(&minor, c->ctx, !c->bad.no_conf, GSS_C_QOP_DEFAULT, &in, &conf, &token) ==
	       GSS_S_COMPLETE);
	if (c->bad.body)
		((uint8_t *)token.value)[token.length / 2] ^= 1;
	xdr_put_opaque(x, token.value, (uint32_t)token.length - (uint32_t)c->bad.cut);
	gss_release_buffer(&minor, &token);
}

static void put_args(struct gss_client *c, struct xdr_out *x, const struct xdr_out *args)
{
	size_t len = args ? xdr_out_len(args) : 0;
	if (c->service == RPC_GSS_NONE) {
		if (len)
			xdr_put_fixed(x, args->base, (uint32_t)len);
		return;
	}
	uint8_t *body = malloc(len + 4);
	be32_put(body, c->seq + c->bad.body_seq);
	if (len)
		memcpy(body + 4, args->base, len);
	if (c->service == RPC_GSS_PRIVACY) {
		put_secret(c, x, body, len + 4);
	} else {
		xdr_put_opaque(x, body, (uint32_t)(len + 4) - (uint32_t)c->bad.cut);
		put_mic(c, x, body, len + 4, c->bad.body);
	}
	free(body);
}

/* ---- calls ---- */

void gc_send(struct gss_client *c, uint32_t prog, uint32_t vers, uint32_t proc,
	     const struct xdr_out *args)
{
	struct xdr_out x = call_begin(c, prog, vers, proc);
	put_cred(c, &x, 0);
	if (c->bad.plain_verf) {
		xdr_put_u32(&x, 0);
		xdr_put_u32(&x, 0);
	} else {
		size_t len = xdr_out_len(&x);
		xdr_put_u32(&x, 6);
		put_mic(c, &x, x.base, len, c->bad.verf);
	}
	put_args(c, &x, args);
	ASSERT(!x.full);
	c->out_len = 4 + xdr_out_len(&x);
	wire_send(c);
	c->seq++;
	memset(&c->bad, 0, sizeof(c->bad));
}

static bool mic_right(struct gss_client *c, const void *p, size_t len, const uint8_t *mic,
		      uint32_t mic_len)
{
	gss_buffer_desc d = {.value = (void *)p, .length = len};
	gss_buffer_desc m = {.value = (void *)mic, .length = mic_len};
	OM_uint32 minor;
	return gss_verify_mic(&minor, c->ctx, &d, &m, NULL) == GSS_S_COMPLETE;
}

static bool open_results(struct gss_client *c, uint32_t seq)
{
	const uint8_t *body, *mic;
	uint32_t len, mic_len, got;
	if (c->service == RPC_GSS_NONE)
		return true;
	if (!xdr_opaque(&c->r, UINT32_MAX, &body, &len))
		return false;
	if (c->service == RPC_GSS_INTEGRITY) {
		if (!xdr_opaque(&c->r, 400, &mic, &mic_len) || xdr_left(&c->r) ||
		    !mic_right(c, body, len, mic, mic_len))
			return false;
		c->r = xdr_in_of(body, len);
		return xdr_u32(&c->r, &got) && got == seq;
	}
	gss_buffer_desc in = {.value = (void *)body, .length = len}, plain;
	OM_uint32 minor;
	int conf = 0;
	if (xdr_left(&c->r) ||
	    gss_unwrap(&minor, c->ctx, &in, &plain, &conf, NULL) != GSS_S_COMPLETE)
		return false;
	ASSERT(plain.length <= len);
	memcpy((uint8_t *)body, plain.value, plain.length);
	c->r = xdr_in_of(body, plain.length);
	gss_release_buffer(&minor, &plain);
	return conf && xdr_u32(&c->r, &got) && got == seq;
}

/* The head of a reply: accept_stat or one of GC_*; its verifier. */
static int reply_head(struct gss_client *c, uint32_t *ret_flavor, const uint8_t **ret_verf,
		      uint32_t *ret_len)
{
	uint32_t v, stat;
	if (!wire_recv(c))
		return GC_CLOSED;
	c->r = xdr_in_of(c->in, c->in_len);
	ASSERT(xdr_u32(&c->r, &v) && xdr_u32(&c->r, &stat) && stat == 1);
	ASSERT(v == c->xid && xdr_u32(&c->r, &stat));
	if (stat == 1) {
		ASSERT(xdr_u32(&c->r, &v) && xdr_u32(&c->r, &stat));
		return v == 1 ? GC_DENIED - (int)stat : GC_BAD_BODY;
	}
	ASSERT(xdr_u32(&c->r, ret_flavor) && xdr_opaque(&c->r, 400, ret_verf, ret_len) &&
	       xdr_u32(&c->r, &stat));
	return (int)stat;
}

int gc_recv(struct gss_client *c, uint32_t seq)
{
	uint32_t flavor, len;
	const uint8_t *verf;
	uint8_t be[4];
	int stat = reply_head(c, &flavor, &verf, &len);
	if (stat < 0)
		return stat;
	be32_put(be, seq);
	if (flavor != 6 || !mic_right(c, be, 4, verf, len))
		return GC_BAD_VERF;
	if (stat == 0 && !open_results(c, seq))
		return GC_BAD_BODY;
	return stat;
}

int gc_call(struct gss_client *c, uint32_t prog, uint32_t vers, uint32_t proc,
	    const struct xdr_out *args)
{
	uint32_t seq = c->seq;
	gc_send(c, prog, vers, proc, args);
	return gc_recv(c, seq);
}

int gc_sys(struct gss_client *c, uint32_t uid, uint32_t prog, uint32_t vers, uint32_t proc,
	   const struct xdr_out *args)
{
	struct xdr_out x = call_begin(c, prog, vers, proc);
	const uint32_t cred[] = {1, 24, 0, 1, 0x61000000, uid, uid, 0, 0, 0};
	uint32_t flavor, len;
	const uint8_t *verf;
	for (unsigned i = 0; i < ARRAY_LEN(cred); i++)
		xdr_put_u32(&x, cred[i]);
	if (args)
		xdr_put_fixed(&x, args->base, (uint32_t)xdr_out_len(args));
	c->out_len = 4 + xdr_out_len(&x);
	wire_send(c);
	return reply_head(c, &flavor, &verf, &len);
}

int gc_again(struct gss_client *c)
{
	struct timeval tv = {.tv_usec = 200000}, back = {.tv_sec = 20};
	uint8_t b;
	wire_send(c);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ssize_t n = recv(c->fd, &b, 1, MSG_PEEK);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &back, sizeof(back));
	return n < 0 ? GC_NOTHING : n == 0 ? GC_CLOSED : 0;
}

int gc_destroy(struct gss_client *c)
{
	c->bad.proc = 3;
	return gc_call(c, 100003, 3, c->bad.nfs_proc, NULL);
}

/* ---- contexts ---- */

static int64_t init_result(struct gss_client *c, const uint8_t **ret_token, uint32_t *ret_len,
			   const uint8_t **ret_verf, uint32_t *ret_verf_len)
{
	uint32_t flavor;
	const uint8_t *handle;
	int stat = reply_head(c, &flavor, ret_verf, ret_verf_len);
	if (stat)
		return stat < 0 ? stat : -1000 - stat;
	ASSERT(xdr_opaque(&c->r, sizeof(c->handle), &handle, &c->handle_len) &&
	       xdr_u32(&c->r, &c->major) && xdr_u32(&c->r, &c->minor) &&
	       xdr_u32(&c->r, &c->window) && xdr_opaque(&c->r, 4096, ret_token, ret_len) &&
	       !xdr_left(&c->r));
	memcpy(c->handle, handle, c->handle_len);
	if (c->major == GSS_S_COMPLETE)
		ASSERT(flavor == 6);
	return c->major;
}

static void init_send(struct gss_client *c, uint32_t proc, const void *token, uint32_t len)
{
	struct xdr_out x = call_begin(c, 100003, 3, c->bad.nfs_proc);
	uint32_t seq = c->seq;
	c->seq = 0;
	put_cred(c, &x, proc);
	c->seq = seq;
	xdr_put_u32(&x, 0);
	xdr_put_u32(&x, 0);
	xdr_put_opaque(&x, token, len);
	c->out_len = 4 + xdr_out_len(&x);
	wire_send(c);
	memset(&c->bad, 0, sizeof(c->bad));
}

int64_t gc_init_raw(struct gss_client *c, uint32_t proc, const void *token, uint32_t len)
{
	const uint8_t *back, *verf;
	uint32_t back_len, verf_len;
	init_send(c, proc, token, len);
	return init_result(c, &back, &back_len, &verf, &verf_len);
}

static gss_cred_id_t acquire(const struct krb_world *w, const char *user)
{
	char cc[64];
	gss_key_value_element_desc e[2] = {{.key = "client_keytab", .value = w->clients},
					   {.key = "ccache", .value = cc}};
	gss_key_value_set_desc store = {.count = 2, .elements = e};
	gss_buffer_desc b = {.value = (void *)user, .length = strlen(user)};
	gss_cred_id_t cred;
	gss_name_t name;
	OM_uint32 minor;
	snprintf(cc, sizeof(cc), "MEMORY:%.40s", user);
	ASSERT(gss_import_name(&minor, &b, (gss_OID)GSS_KRB5_NT_PRINCIPAL_NAME, &name) ==
	       GSS_S_COMPLETE);
	ASSERT(gss_acquire_cred_from(&minor, name, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
				     GSS_C_INITIATE, &store, &cred, NULL, NULL) == GSS_S_COMPLETE);
	gss_release_name(&minor, &name);
	return cred;
}

int64_t gc_init(struct gss_client *c, const struct krb_world *w, const char *user,
		const char *service)
{
	gss_buffer_desc b = {.value = (void *)service, .length = strlen(service)}, out, in;
	gss_cred_id_t cred = acquire(w, user);
	gss_name_t target;
	OM_uint32 minor, flags = GSS_C_MUTUAL_FLAG;
	const uint8_t *verf, *token;
	uint32_t verf_len, len;
	uint8_t be[4];
	ASSERT(gss_import_name(&minor, &b, GSS_C_NT_HOSTBASED_SERVICE, &target) == GSS_S_COMPLETE);
	c->handle_len = 0;
	gss_delete_sec_context(&minor, &c->ctx, GSS_C_NO_BUFFER);
	OM_uint32 major =
	    gss_init_sec_context(&minor, cred, &c->ctx, target, (gss_OID)gss_mech_krb5, flags, 0,
				 NULL, GSS_C_NO_BUFFER, NULL, &out, NULL, NULL);
	ASSERT(major == GSS_S_CONTINUE_NEEDED);
	init_send(c, 1, out.value, (uint32_t)out.length);
	gss_release_buffer(&minor, &out);
	int64_t rc = init_result(c, &token, &len, &verf, &verf_len);
	if (rc == GSS_S_COMPLETE) {
		in = (gss_buffer_desc){.value = (void *)token, .length = len};
		ASSERT(gss_init_sec_context(&minor, cred, &c->ctx, target, (gss_OID)gss_mech_krb5,
					    flags, 0, NULL, &in, NULL, &out, NULL,
					    NULL) == GSS_S_COMPLETE);
		gss_release_buffer(&minor, &out);
		be32_put(be, c->window);
		if (!mic_right(c, be, 4, verf, verf_len))
			rc = GC_BAD_VERF;
	}
	gss_release_name(&minor, &target);
	gss_release_cred(&minor, &cred);
	return rc;
}
