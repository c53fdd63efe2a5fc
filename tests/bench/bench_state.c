/*
 * bench_state PORT EXPORT nlm|v40|v41 lock|open CLIENTS SECONDS: so many clients, each with a
 * connection and a file of its own, all lock and unlock it (or open and close it) again and again;
 * one thread, all calls of a round are in flight together. Prints operations a second. A wrong
 * answer ends it.
 *
 * tests/bench/state compares a head with durable state and one without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>
#include "nasfront/nfs4/nfs4_proto.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "tests/bench/nfs_client.h"
#include "tests/unit/nfs4/v4_client.h"

#define CLIENTS_MAX 256
#define BOTH	    3

struct peer {
	struct v4 c;
	int fd; /* of the lock manager's calls */
	uint32_t xid;
	uint8_t call[512], reply[64];
	char name[16];
	struct v4_fh fh;
	struct nfs_fh fh3;
	struct v4_stateid open, lock;
	uint32_t open_seq, lock_seq; /* version 4.0 */
};

static struct peer *peers;
static struct v4_fh dir;
static unsigned minor_v;

static void fail(const char *what, uint32_t st)
{
	fprintf(stderr, "bench_state: %s: %u\n", what, st);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- version 4 ---- */

static void begin4(struct peer *p, const struct v4_fh *fh)
{
	if (minor_v)
		v4_seq(&p->c);
	else
		v4_begin(&p->c);
	v4_putfh(&p->c, fh);
}

/* The results up to an operation's. */
static void results4(struct peer *p, uint32_t op, const char *what)
{
	uint8_t skip[36];
	uint32_t st = v4_get(&p->c);
	if (st)
		fail(what, st);
	if (minor_v) {
		v4_res(&p->c, OP_SEQUENCE);
		v4_take(&p->c, skip, sizeof(skip));
	}
	v4_res(&p->c, OP_PUTFH);
	v4_res(&p->c, op);
}

static void put_open(struct peer *p)
{
	struct xdr_out *x = &p->c.x;
	begin4(p, &dir);
	v4_op(&p->c, OP_OPEN);
	xdr_put_u32(x, p->open_seq++);
	xdr_put_u32(x, BOTH);
	xdr_put_u32(x, 0);
	xdr_put_u64(x, p->c.client);
	xdr_put_string(x, "owner");
	xdr_put_u32(x, OPEN4_CREATE);
	xdr_put_u32(x, CREATE4_UNCHECKED);
	xdr_put_u32(x, 0);
	xdr_put_u32(x, 0);
	xdr_put_u32(x, CLAIM_NULL);
	xdr_put_string(x, p->name);
	v4_op(&p->c, OP_GETFH);
	v4_put(&p->c);
}

static void got_open(struct peer *p)
{
	const uint8_t *fh;
	results4(p, OP_OPEN, "OPEN");
	v4_get_open(&p->c, &p->open);
	v4_res(&p->c, OP_GETFH);
	p->fh.len = v4_opaque(&p->c, &fh);
	memcpy(p->fh.b, fh, p->fh.len);
}

static void put_close(struct peer *p)
{
	begin4(p, &p->fh);
	v4_op(&p->c, OP_CLOSE);
	xdr_put_u32(&p->c.x, p->open_seq++);
	v4_stateid(&p->c, &p->open);
	v4_put(&p->c);
}

static void got_close(struct peer *p)
{
	results4(p, OP_CLOSE, "CLOSE");
}

static void put_lock(struct peer *p, bool fresh)
{
	struct xdr_out *x = &p->c.x;
	begin4(p, &p->fh);
	v4_op(&p->c, OP_LOCK);
	xdr_put_u32(x, WRITE_LT);
	xdr_put_bool(x, false);
	xdr_put_u64(x, 100);
	xdr_put_u64(x, 10);
	xdr_put_bool(x, fresh);
	if (fresh)
		xdr_put_u32(x, p->open_seq++);
	v4_stateid(&p->c, fresh ? &p->open : &p->lock);
	xdr_put_u32(x, p->lock_seq++);
	if (fresh) {
		xdr_put_u64(x, p->c.client);
		xdr_put_string(x, "locker");
	}
	v4_put(&p->c);
}

static void put_lock4(struct peer *p)
{
	put_lock(p, false);
}

static void got_lock4(struct peer *p)
{
	results4(p, OP_LOCK, "LOCK");
	v4_get_stateid(&p->c, &p->lock);
}

static void put_unlock4(struct peer *p)
{
	struct xdr_out *x = &p->c.x;
	begin4(p, &p->fh);
	v4_op(&p->c, OP_LOCKU);
	xdr_put_u32(x, WRITE_LT);
	xdr_put_u32(x, p->lock_seq++);
	v4_stateid(&p->c, &p->lock);
	xdr_put_u64(x, 100);
	xdr_put_u64(x, 10);
	v4_put(&p->c);
}

static void got_unlock4(struct peer *p)
{
	results4(p, OP_LOCKU, "LOCKU");
	v4_get_stateid(&p->c, &p->lock);
}

static void confirm(struct peer *p)
{
	begin4(p, &p->fh);
	v4_op(&p->c, OP_OPEN_CONFIRM);
	v4_stateid(&p->c, &p->open);
	xdr_put_u32(&p->c.x, p->open_seq++);
	v4_put(&p->c);
	results4(p, OP_OPEN_CONFIRM, "OPEN_CONFIRM");
	v4_get_stateid(&p->c, &p->open);
}

static void start4(struct peer *p, uint16_t port, const char *export, bool locks)
{
	char name[64];
	snprintf(name, sizeof(name), "bench %u %s", (unsigned)getpid(), p->name);
	v4_open(&p->c, port);
	p->c.cache = true;
	if (minor_v)
		v4_client(&p->c, name);
	else
		v4_client0(&p->c, name);
	if (!dir.len && v4_lookup(&p->c, export, &dir))
		fail("the export", p->c.status);
	p->open_seq = 1;
	put_open(p);
	got_open(p);
	if (!minor_v)
		confirm(p);
	if (!locks) {
		put_close(p);
		got_close(p);
		return;
	}
	put_lock(p, true);
	got_lock4(p);
	put_unlock4(p);
	got_unlock4(p);
}

/* ---- the lock manager ---- */

static void put3(struct peer *p, uint32_t proc)
{
	struct xdr_out x = xdr_out_of(p->call + 4, sizeof(p->call) - 4);
	const uint32_t head[] = {++p->xid, 0, 2,	  100021, 4, proc, 1, 24,
				 1,	   1, 0x61000000, 0,	  0, 0,	   0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_opaque(&x, (const uint8_t *)"cook", 4);
	if (proc == 2) {
		xdr_put_bool(&x, false);
		xdr_put_bool(&x, true);
	}
	xdr_put_string(&x, p->name);
	xdr_put_opaque(&x, p->fh3.data, p->fh3.len);
	xdr_put_opaque(&x, (const uint8_t *)"oh", 2);
	xdr_put_u32(&x, 7);
	xdr_put_u64(&x, 100);
	xdr_put_u64(&x, 10);
	if (proc == 2) {
		xdr_put_bool(&x, false);
		xdr_put_u32(&x, 3);
	}
	size_t n = xdr_out_len(&x);
	be32_put(p->call, 0x80000000u | (uint32_t)n);
	if (x.full || send(p->fd, p->call, n + 4, MSG_NOSIGNAL) != (ssize_t)n + 4)
		fail("send", 0);
}

static void put_lock3(struct peer *p)
{
	put3(p, 2);
}

static void put_unlock3(struct peer *p)
{
	put3(p, 4);
}

static void got3(struct peer *p)
{
	uint8_t mark[4];
	if (recv(p->fd, mark, 4, MSG_WAITALL) != 4)
		fail("no answer", 0);
	size_t n = be32_get(mark) & 0x7fffffff;
	if (n != 36 || recv(p->fd, p->reply, n, MSG_WAITALL) != (ssize_t)n)
		fail("its answer", (uint32_t)n);
	if (be32_get(p->reply) != p->xid || be32_get(p->reply + 32))
		fail("NLM", be32_get(p->reply + 32));
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		fail("connect", port);
	return fd;
}

static void start3(struct peer *p, uint16_t port, const char *export)
{
	char text[256];
	struct nfs_url url;
	struct nfs_conn *c = NULL;
	struct nfs_fh root;
	snprintf(text, sizeof(text), "nfs://127.0.0.1%s?nfsport=%u&mountport=%u", export, port,
		 port);
	if (nfs_url_parse(text, &url) || nfs_mount(&url, &root) || nfs_open(&c, &url) ||
	    nfs_create(c, &root, p->name, &p->fh3))
		fail("a file", 0);
	nfs_close(c);
	p->fd = dial(port);
}

/* ---- rounds ---- */

typedef void step_fn(struct peer *p);

static void round_of(unsigned n, step_fn *put, step_fn *got)
{
	for (unsigned i = 0; i < n; i++)
		put(&peers[i]);
	for (unsigned i = 0; i < n; i++)
		got(&peers[i]);
}

int main(int argc, char **argv)
{
	if (argc != 7)
		fail("usage: bench_state PORT EXPORT nlm|v40|v41 lock|open CLIENTS SECONDS", 0);
	uint16_t port = (uint16_t)atoi(argv[1]);
	bool nlm = strcmp(argv[3], "nlm") == 0, locks = strcmp(argv[4], "lock") == 0;
	unsigned n = (unsigned)atoi(argv[5]);
	double seconds = atof(argv[6]);
	minor_v = strcmp(argv[3], "v41") == 0;
	if (!n || n > CLIENTS_MAX || (nlm && !locks))
		fail("CLIENTS", n);
	peers = calloc(n, sizeof(*peers));
	for (unsigned i = 0; i < n; i++) {
		struct peer *p = &peers[i];
		snprintf(p->name, sizeof(p->name), "f%u", i);
		if (nlm)
			start3(p, port, argv[2]);
		else
			start4(p, port, argv[2], locks);
	}
	step_fn *put1 = nlm ? put_lock3 : locks ? put_lock4 : put_open;
	step_fn *got1 = nlm ? got3 : locks ? got_lock4 : got_open;
	step_fn *put2 = nlm ? put_unlock3 : locks ? put_unlock4 : put_close;
	step_fn *got2 = nlm ? got3 : locks ? got_unlock4 : got_close;
	double start = now_s(), end = start + seconds, now;
	unsigned long done = 0;
	do {
		round_of(n, put1, got1);
		round_of(n, put2, got2);
		done += 2ul * n;
		now = now_s();
	} while (now < end);
	printf("%.0f\n", (double)done / (now - start));
	return 0;
}
