/*
 * RPC records into the whole service: record marking, call headers, NFS and MOUNT arguments, down
 * to a real file system in memory.
 *
 * Input: { how u8, proc u8, length u16, bytes }*. how & 3 chooses a raw stream without marks, a
 * raw record, a MOUNT call or an NFS call (how & 128: NSM and NLM instead); how & 12 the file
 * handle that is put in front of the bytes of an NFS call; how & 16 puts a second one behind the
 * first 8 of them (RENAME, LINK). proc & 128 makes NFSACL of NFS, and RQUOTA of MOUNT, and
 * of a raw record a call that asks for TLS, behind which everything is TLS's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/fh.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/rpc/tls_certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct nas nas;
static uint8_t handles[4][FH_SIZE];

static void make_handle(struct nas *n, const struct fs_attr *a, uint8_t *out)
{
	struct fs_statfs st;
	struct fh_key key;
	ASSERT(fs_statfs(n->fs, &st) == 0 && fh_key_make(&key, st.uuid) == 0);
	struct fh fh = {.fs_id = NAS_FS_ID,
			.export_id = NAS_EXPORT_ID,
			.ino = a->ino,
			.generation = a->generation};
	fh_encode(&fh, &key, out);
}

/* Granting from the start; calls back go to a port where nobody listens. */
static void lock_step(struct nas *n)
{
	struct nlm *m;
	struct nlm_opts o = {.reactor = n->reactor,
			     .env = env_real(),
			     .nfs = n->nfs,
			     .name = "server",
			     .pmap_port = 1};
	ASSERT(nlm_new(&m, &o) == 0 && nlm_serve(m, n->server) == 0);
	nlm_begin(m, 1, NULL, 0, false, false);
}

/* The files are read and gone again. */
static void tls_step(struct nas *n)
{
	struct tls_certs c;
	struct rpc_tls_ctx *ctx;
	char why[RPC_TLS_WHY_MAX];
	tls_certs_make(&c);
	struct rpc_tls_files f = {.cert = c.server.cert, .key = c.server.key, .ca = c.ca.cert};
	ASSERT(rpc_tls_ctx_new(&ctx, &f, why) == 0);
	rpc_server_set_tls(n->server, ctx);
	tls_certs_remove(&c);
}

/* A root with a directory of some names, a file and a link. */
static void fill_step(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0777};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr a;
	for (; fs_getattr(n->fs, &top, &a); top.generation++)
		ASSERT(top.generation < 4);
	make_handle(n, &a, handles[0]);
	ASSERT(fs_mkdir(n->fs, &root, &top, "dir", 3, &set, &a, NULL) == 0);
	make_handle(n, &a, handles[1]);
	ASSERT(fs_create(n->fs, &root, &top, "a", 1, FS_CREATE_UNCHECKED, &set, 0, &a, NULL) == 0);
	make_handle(n, &a, handles[2]);
	ASSERT(fs_symlink(n->fs, &root, &top, "l", 1, "a", 1, &set, &a, NULL) == 0);
	make_handle(n, &a, handles[3]);
}

static int dial(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(nas.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger hard = {.l_onoff = 1};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int rc;
	do /* libFuzzer's alarm interrupts it */
		rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	while (rc && errno == EINTR);
	ASSERT(rc == 0 || errno == EISCONN);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	return fd;
}

static void put_args(struct xdr_out *o, uint8_t how, const uint8_t *p, size_t n)
{
	size_t first = MIN(n, 8u);
	if ((how & 3) == 3)
		xdr_put_opaque(o, handles[how >> 2 & 3], FH_SIZE);
	if (!(how & 16))
		first = n;
	if (first)
		xdr_put_fixed(o, p, (uint32_t)first);
	if (how & 16)
		xdr_put_opaque(o, handles[how >> 5 & 3], FH_SIZE);
	if (n > first)
		xdr_put_fixed(o, p + first, (uint32_t)(n - first));
}

static uint32_t program_of(uint8_t how, uint8_t proc)
{
	if (how & 128)
		return (how & 3) == 2 ? 100024 : 100021;
	if ((how & 3) == 2)
		return proc & 128 ? 100011 : 100005;
	return proc & 128 ? 100227 : 100003;
}

static uint32_t version_of(uint8_t how, uint8_t proc)
{
	if ((how & 131) == 2 && proc & 128)
		return how & 64 ? 1 : 2;
	return how & 128 ? ((how & 3) == 2 ? 1 : (how & 64 ? 4 : 3)) : 3;
}

/* NLM has the handle behind the cookie and the name: both are short here. */
static void put_lock_args(struct xdr_out *o, uint8_t how, const uint8_t *p, size_t n)
{
	uint32_t first = n > 4 ? p[0] % 13 * 4u : 0;
	xdr_put_opaque(o, "c", 1);
	if (first < n)
		xdr_put_fixed(o, p + n - first, first);
	xdr_put_opaque(o, "host", 4);
	xdr_put_opaque(o, handles[how >> 2 & 3], FH_SIZE);
	if (n)
		xdr_put_fixed(o, p, (uint32_t)n);
}

/* One record into buf; its length. */
static size_t make_record(uint8_t *buf, size_t size, uint8_t how, uint8_t proc, const uint8_t *p,
			  size_t n)
{
	static uint32_t xid;
	struct xdr_out o = xdr_out_of(buf + 4, size - 4);
	if ((how & 3) == 0) {
		memcpy(buf, p, n);
		return n;
	}
	if ((how & 3) > 1) {
		const uint32_t head[] = {xid++,
					 0,
					 2,
					 program_of(how, proc),
					 version_of(how, proc),
					 proc & 128 ? proc % 6 : proc % 24,
					 1,
					 24,
					 0,
					 1,
					 0x61000000,
					 0,
					 0,
					 0,
					 0,
					 0};
		for (unsigned i = 0; i < ARRAY_LEN(head); i++)
			xdr_put_u32(&o, head[i]);
		if ((how & 128) && (how & 3) == 3 && (how & 16))
			put_lock_args(&o, how, p, n);
		else
			put_args(&o, how, p, n);
	} else if (proc & 128) {
		const uint32_t head[] = {xid++, 0, 2, 100003, 3, 0, 7, 0, 0, 0};
		for (unsigned i = 0; i < ARRAY_LEN(head); i++)
			xdr_put_u32(&o, head[i]);
	} else {
		xdr_put_fixed(&o, p, (uint32_t)n);
	}
	be32_put(buf, 0x80000000u | (uint32_t)xdr_out_len(&o));
	return 4 + xdr_out_len(&o);
}

/*
 * Behind the input goes an FSSTAT with an xid of its own: when it is answered the others mostly
 * are. A connection that the input broke or left in the middle of a record ends by itself.
 */
static void drain(int fd)
{
	static const uint8_t last[4] = {0xf1, 0xf2, 0xf3, 0xf4};
	static uint8_t buf[1 << 20];
	uint8_t call[256];
	struct timeval tv = {.tv_usec = 2000};
	size_t n = make_record(call, sizeof(call), 3, 18, NULL, 0);
	memcpy(call + 4, last, 4);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (send(fd, call, n, MSG_NOSIGNAL) < 0)
		return;
	for (int i = 0; i < 64; i++) {
		ssize_t got = recv(fd, buf, sizeof(buf), 0);
		if (got <= 0 || memmem(buf, (size_t)got, last, 4))
			break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t wire[80000];
	if (!nas.server) {
		signal(SIGPIPE, SIG_IGN);
		log_set_level(LOG_L_ERROR);
		nas_up(&nas);
		nas_run(&nas, fill_step);
		nas_run(&nas, lock_step);
		nas_run(&nas, tls_step);
	}
	int fd = dial();
	size_t sent = 0;
	while (size >= 4) {
		size_t n = MIN((size_t)(data[2] | data[3] << 8), size - 4);
		size_t len = make_record(wire, sizeof(wire), data[0], data[1], data + 4, n);
		if (send(fd, wire, len, MSG_NOSIGNAL) < 0)
			break;
		sent += len;
		data += 4 + n;
		size -= 4 + n;
	}
	if (sent)
		drain(fd);
	close(fd);
	return 0;
}
