#include "tests/unit/nfs/nlm_world.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs/nas_raw.h"

struct nas nas;
struct nlm *nlm;
uint8_t handle[FH_SIZE], handle_ro[FH_SIZE];
int kept, kept_gone;
bool fail_keep;
unsigned begin_count;
struct nlm_from nlm_from;

static struct mem_store *nlm_store;
static int back;
static uint16_t back_port;

static int on_monitor(void *arg, const char *name, const char *address, bool gone)
{
	if (fail_keep)
		return -5;
	*(gone ? &kept_gone : &kept) += 1;
	ck_assert_int_eq(strncmp(address, "127.0.0.", 8), 0);
	return 0;
}

static int udp_socket(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	struct timeval tv = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	getsockname(fd, (struct sockaddr *)&sa, &len);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

static void serve(struct nas *n);

static void make_file(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0600};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_statfs st;
	struct fs_attr a;
	struct fh_key key;
	for (; fs_getattr(n->fs, &top, &a); top.generation++)
		ASSERT(top.generation < 4);
	ASSERT(fs_create(n->fs, &root, &top, "a", 1, FS_CREATE_UNCHECKED, &set, 0, &a, NULL) == 0);
	ASSERT(fs_statfs(n->fs, &st) == 0 && fh_key_make(&key, st.uuid) == 0);
	struct fh fh = {.fs_id = NAS_FS_ID,
			.export_id = NAS_EXPORT_ID,
			.ino = a.ino,
			.generation = a.generation};
	fh_encode(&fh, &key, handle);
	fh.export_id++;
	fh_encode(&fh, &key, handle_ro);
	serve(n);
}

static void serve_again(struct nas *n)
{
	ASSERT(rpc_server_stop(n->server, 5 * NS_PER_S) == 0);
	nlm_free(nlm);
	nas_listen_again(n);
	serve(n);
	mem_store_crash(nlm_store);
	ASSERT(nlm_keep_in(nlm, &nlm_store->store) == 0);
	nlm_wait_again(nlm);
	nlm_host_kept(nlm, "client", "127.0.0.1");
	nlm_begin(nlm, 7, NULL, 0, false, false);
}

void replace(void)
{
	nas_run(&nas, serve_again);
}

static void keep_in(struct nas *n)
{
	ASSERT(nlm_keep_in(nlm, &nlm_store->store) == 0);
}

void up_stored(struct mem_store *store)
{
	nlm_store = store;
	mem_store_init(store);
	up();
	nas_run(&nas, keep_in);
	begin_count = 0;
	nas_run(&nas, begin);
}

static void serve(struct nas *n)
{
	struct nlm_opts o = {.reactor = n->reactor,
			     .env = env_real(),
			     .nfs = n->nfs,
			     .name = "server",
			     .grace_ns = 1 * NS_PER_S,
			     .pmap_port = back_port,
			     .limits = {.max_client_locks = 50},
			     .monitor = on_monitor};
	ASSERT(nlm_new(&nlm, &o) == 0 && nlm_serve(nlm, n->server) == 0);
	ASSERT(rpc_server_listen_udp(n->server, "127.0.0.1", n->port) == 0);
}

void begin(struct nas *n)
{
	static const struct nlm_monitored old[] = {{"old", "127.0.0.1"}};
	nlm_begin(nlm, 7, old, begin_count, false, false);
}

void up(void)
{
	kept = kept_gone = 0;
	nlm_from = (struct nlm_from){0};
	fail_keep = false;
	back = udp_socket(&back_port);
	nas_up(&nas);
	nas_run(&nas, make_file);
}

void up_granting(void)
{
	up();
	begin_count = 0;
	nas_run(&nas, begin);
}

static void end_nlm(struct nas *n)
{
	ASSERT(rpc_server_stop(n->server, 5 * NS_PER_S) == 0);
	nlm_free(nlm);
}

void down(void)
{
	nas_run(&nas, end_nlm);
	nas_down(&nas);
	close(back);
}

/* ---- calls ---- */

static size_t put_call(struct xdr_out *x, uint32_t prog, uint32_t vers, uint32_t proc)
{
	static uint32_t xid = 1000;
	const uint32_t head[] = {++xid, 0, 2, prog, vers, proc, 1, 20, 0, 0, 0, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(x, head[i]);
	return xid;
}

static void put_num(struct xdr_out *x, uint32_t vers, uint64_t v)
{
	if (vers == 4)
		xdr_put_u64(x, v);
	else
		xdr_put_u32(x, (uint32_t)v);
}

static void put_args(struct xdr_out *x, uint32_t proc, const struct args *a)
{
	uint32_t vers = a->vers ? a->vers : 4, op = proc == 22 ? 2 : proc > 5 ? proc - 5 : proc;
	xdr_put_string(x, "cookie");
	if (op == 2 || op == 3)
		xdr_put_bool(x, a->block);
	if (op != 4)
		xdr_put_bool(x, a->exclusive);
	xdr_put_string(x, a->name ? a->name : "client");
	xdr_put_opaque(x, a->ro ? handle_ro : handle, FH_SIZE);
	xdr_put_string(x, a->oh ? a->oh : "owner");
	xdr_put_u32(x, a->svid);
	put_num(x, vers, a->off);
	put_num(x, vers, a->len);
	if (op == 2) {
		xdr_put_bool(x, a->reclaim);
		xdr_put_u32(x, a->state);
	}
}

static size_t exchange(const uint8_t *msg, size_t len, bool tcp, uint8_t *reply, size_t size)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(nas.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 10};
	int fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	if (nlm_from.address)
		raw_bind(fd, nlm_from.address, nlm_from.privileged);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	uint8_t mark[4];
	be32_put(mark, 0x80000000u | (uint32_t)len);
	if (tcp)
		ck_assert_int_eq(send(fd, mark, 4, MSG_MORE), 4);
	ck_assert_int_eq(send(fd, msg, len, 0), (ssize_t)len);
	if (tcp)
		ck_assert_int_eq(recv(fd, mark, 4, MSG_WAITALL), 4);
	ssize_t n = recv(fd, reply, size, 0);
	close(fd);
	ck_assert_int_ge(n, 24);
	ck_assert_uint_eq(be32_get(reply), be32_get(msg));
	return (size_t)n;
}

/* The results; *ret_accept as told. */
struct xdr_in call(uint32_t prog, uint32_t vers, uint32_t proc, struct xdr_out *args, bool tcp,
		   uint32_t *ret_accept)
{
	static uint8_t msg[4096], reply[4096];
	struct xdr_out x = xdr_out_of(msg, sizeof(msg));
	put_call(&x, prog, vers, proc);
	if (args)
		xdr_put_fixed(&x, args->base, (uint32_t)xdr_out_len(args));
	size_t n = exchange(msg, xdr_out_len(&x), tcp, reply, sizeof(reply));
	*ret_accept = be32_get(reply + 20);
	return xdr_in_of(reply + 24, n - 24);
}

struct xdr_in nlm_call(uint32_t proc, const struct args *a, bool tcp)
{
	static uint8_t buf[4096];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	uint32_t accept;
	put_args(&x, proc, a);
	struct xdr_in r = call(100021, a->vers ? a->vers : 4, proc, &x, tcp, &accept);
	ck_assert_uint_eq(accept, 0);
	return r;
}

uint32_t stat_of(struct xdr_in r)
{
	const uint8_t *cookie;
	uint32_t n, stat;
	ck_assert(xdr_opaque(&r, 1024, &cookie, &n) && n == 6 && !memcmp(cookie, "cookie", 6));
	ck_assert(xdr_u32(&r, &stat));
	return stat;
}

/* ---- the client's end ---- */

/* Takes one call; answers GETPORT itself. The procedure, its arguments in *ret. */
uint32_t serve_back(struct xdr_in *ret, uint32_t answer)
{
	static uint8_t msg[4096];
	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		uint8_t reply[256];
		ssize_t n = recvfrom(back, msg, sizeof(msg), 0, (struct sockaddr *)&from, &len);
		ck_assert_msg(n >= 40, "nobody called back");
		struct xdr_out x = xdr_out_of(reply, sizeof(reply));
		const uint32_t head[] = {be32_get(msg), 1, 0, 0, 0, 0};
		for (unsigned i = 0; i < ARRAY_LEN(head); i++)
			xdr_put_u32(&x, head[i]);
		bool portmap = be32_get(msg + 12) == 100000;
		if (portmap) {
			ck_assert_uint_eq(be32_get(msg + 20), 3);
			xdr_put_u32(&x, be32_get(msg + 48) == IPPROTO_UDP ? back_port : 0);
		} else if (be32_get(msg + 20) == 5) {
			xdr_put_opaque(&x, msg + 44, be32_get(msg + 40));
			xdr_put_u32(&x, answer);
		}
		sendto(back, reply, xdr_out_len(&x), 0, (struct sockaddr *)&from, len);
		if (portmap)
			continue;
		*ret = xdr_in_of(msg + 40, (size_t)n - 40);
		return be32_get(msg + 20);
	}
}
