/*
 * RPCSEC_GSS: credentials, verifiers, tokens and protected bodies into a server with a real
 * context, whose key the fuzzer has: so what is inside is reached too.
 *
 * Input: { how u8, length u16, bytes }*, at most CALLS. how & 7 chooses what the bytes are: a
 * credential; a verifier; a body as it is on the wire; arguments, protected rightly; a token of
 * INIT or of CONTINUE_INIT; a sequence number; a record behind its xid. how >> 3 chooses service
 * and procedure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/gss_impl.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "tests/unit/gss/gss_client.h"
#include "tests/unit/nfs/nas_world.h"

#define CALLS 8
#define BYTES 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct krb_world krb;
static struct nas nas;
static gss_ctx_id_t ctx;
static uint8_t handle[64];
static uint32_t handle_len, seq;

static int find(void *arg, const char *principal, const char *local, uint32_t *uid, uint32_t *gid)
{
	*uid = *gid = 1001;
	return 0;
}

static void leave(void)
{
	krb_down(&krb);
}

static void world_up(void)
{
	static struct rpc_gss_opts o;
	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_L_ERROR);
	krb_up(&krb);
	atexit(leave);
	o = (struct rpc_gss_opts){.keytab = krb.keytab, .find = find};
	nas_up_gss(&nas, &o, NULL);
	nas_serve4(&nas);
}

/* A machine that is busy with other tests may take longer than the server waits: then again. */
static void login(void)
{
	struct gss_client c;
	OM_uint32 minor;
	gss_delete_sec_context(&minor, &ctx, GSS_C_NO_BUFFER);
	for (int i = 0;; i++) {
		gc_open(&c, nas.port);
		if (gc_init(&c, &krb, "alice", "nfs@localhost") == GSS_S_COMPLETE)
			break;
		ASSERT(i < 5);
		gc_close(&c);
	}
	ctx = c.ctx;
	c.ctx = GSS_C_NO_CONTEXT;
	memcpy(handle, c.handle, c.handle_len);
	handle_len = c.handle_len;
	seq = 1;
	gc_close(&c);
}

/* ---- parts of a call ---- */

static void put_cred(struct xdr_out *x, uint32_t proc, uint32_t service)
{
	xdr_put_u32(x, 6);
	xdr_put_u32(x, 20 + handle_len + xdr_pad(handle_len));
	xdr_put_u32(x, 1);
	xdr_put_u32(x, proc);
	xdr_put_u32(x, seq);
	xdr_put_u32(x, service);
	xdr_put_opaque(x, handle, handle_len);
}

static void put_mic(struct xdr_out *x, const void *p, size_t len)
{
	gss_buffer_desc in = {.value = (void *)p, .length = len}, mic;
	OM_uint32 minor;
	ASSERT(gss_get_mic(&minor, ctx, GSS_C_QOP_DEFAULT, &in, &mic) == GSS_S_COMPLETE);
	xdr_put_opaque(x, mic.value, (uint32_t)mic.length);
	gss_release_buffer(&minor, &mic);
}

static void put_verf(struct xdr_out *x)
{
	size_t len = xdr_out_len(x);
	xdr_put_u32(x, 6);
	put_mic(x, x->base, len);
}

static void put_protected(struct xdr_out *x, uint32_t service, const uint8_t *p, uint32_t n)
{
	static uint8_t body[BYTES + 4];
	gss_buffer_desc in = {.value = body, .length = n + 4}, token;
	OM_uint32 minor;
	int conf;
	be32_put(body, seq);
	memcpy(body + 4, p, n);
	if (service == RPC_GSS_NONE) {
		xdr_put_fixed(x, p, n);
	} else if (service == RPC_GSS_INTEGRITY) {
		xdr_put_opaque(x, body, n + 4);
		put_mic(x, body, n + 4);
	} else {
		ASSERT(gss_wrap(&minor, ctx, 1, GSS_C_QOP_DEFAULT, &in, &conf, &token) ==
		       GSS_S_COMPLETE);
		xdr_put_opaque(x, token.value, (uint32_t)token.length);
		gss_release_buffer(&minor, &token);
	}
}

static void put_null(struct xdr_out *x)
{
	xdr_put_u32(x, 0);
	xdr_put_u32(x, 0);
}

/* The context is destroyed: rarely, for making one takes long. */
static bool is_bye(uint8_t how, const uint8_t *p, uint32_t n)
{
	return (how & 7) == 3 && n == 4 && memcmp(p, "bye!", 4) == 0;
}

static void make_call(struct xdr_out *x, uint8_t how, const uint8_t *p, uint32_t n)
{
	static uint32_t xid;
	uint32_t service = 1 + (how >> 3) % 3, kind = how & 7;
	bool control = kind == 4 || kind == 5, bye = is_bye(how, p, n);
	const uint32_t head[] = {++xid, 0, 2, 100003, 3, control || bye ? 0u : (how >> 3)};
	if (kind == 7) {
		xdr_put_u32(x, xid);
		xdr_put_fixed(x, p, n);
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(x, head[i]);
	if (kind == 0) {
		xdr_put_u32(x, 6);
		xdr_put_opaque(x, p, n);
		put_null(x);
		return;
	}
	if (kind == 6)
		seq += n >= 4 ? be32_get(p) >> (p[0] & 31) : 0;
	put_cred(x, control ? kind - 3 : (bye ? GSS_DESTROY : GSS_DATA), service);
	if (control || kind == 1) {
		xdr_put_u32(x, kind == 1 ? 6 : 0);
		xdr_put_opaque(x, p, kind == 1 ? n : 0);
		if (control)
			xdr_put_opaque(x, p, n);
		return;
	}
	put_verf(x);
	if (kind == 2)
		xdr_put_fixed(x, p, n);
	else
		put_protected(x, service, p, bye ? 0 : n);
	seq++;
}

/* ---- the connection ---- */

static int dial(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(nas.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger hard = {.l_onoff = 1};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int rc;
	do /* libFuzzer's alarm interrupts it */
		rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	while (rc && errno == EINTR);
	ASSERT(rc == 0 || errno == EISCONN);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* several calls, no answers */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	return fd;
}

/* Behind the input goes a call of the null procedure: when it is answered the others mostly are. */
static void drain(int fd)
{
	static const uint32_t last[] = {0x80000028, 0xf1f2f3f4, 0, 2, 100003, 3, 0, 0, 0, 0, 0};
	static uint8_t buf[1 << 18];
	uint8_t call[sizeof(last)];
	struct timeval tv = {.tv_usec = 3000};
	for (unsigned i = 0; i < ARRAY_LEN(last); i++)
		be32_put(call + 4 * i, last[i]);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (send(fd, call, sizeof(call), MSG_NOSIGNAL) < 0)
		return;
	for (int i = 0; i < 64; i++) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		if (got <= 0 || memmem(buf, (size_t)got, call + 4, 4))
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t wire[2 * BYTES + 2048];
	if (!nas.server)
		world_up();
	if (!ctx || seq > GSS_MAXSEQ / 2)
		login();
	int fd = dial();
	for (unsigned i = 0; i < CALLS && size >= 3; i++) {
		uint32_t n = MIN((uint32_t)(data[1] | data[2] << 8), (uint32_t)(size - 3));
		n = MIN(n, (uint32_t)BYTES);
		struct xdr_out x = xdr_out_of(wire + 4, sizeof(wire) - 4);
		make_call(&x, data[0], data + 3, n);
		if (is_bye(data[0], data + 3, n))
			seq = UINT32_MAX; /* the next input has another */
		be32_put(wire, 0x80000000u | (uint32_t)xdr_out_len(&x));
		if (send(fd, wire, 4 + xdr_out_len(&x), MSG_NOSIGNAL) < 0 || seq > GSS_MAXSEQ)
			break;
		data += 3 + n;
		size -= 3 + n;
	}
	drain(fd);
	close(fd);
	return 0;
}
