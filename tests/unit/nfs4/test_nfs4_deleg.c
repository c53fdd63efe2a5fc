/*
 * Files lent to clients: when they are, who is asked to give them back and by what, what becomes of
 * who does not; and the way back to clients, of versions 4.0 and 4.1, with clients that lose it,
 * answer nonsense or nothing.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/deleg.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define READ	  OPEN4_SHARE_ACCESS_READ
#define WRITE	  OPEN4_SHARE_ACCESS_WRITE
#define BOTH	  OPEN4_SHARE_ACCESS_BOTH
#define QUIET_US  120000
#define NFS3_WAIT 10008 /* JUKEBOX */

static struct nas nas;
static struct v4 a, b; /* a is lent files, b comes in between */
static struct v4_fh demo, fh;
static struct v4_stateid open_a, open_b;
static _Atomic int kept, forgotten, refuse;

static int on_keep(void *arg, const char *name, bool gone)
{
	if (refuse)
		return -EIO;
	*(gone ? &forgotten : &kept) += 1;
	return 0;
}

/* ---- clients ---- */

static void settle(void)
{
	usleep(30000); /* the answer to a call is taken */
}

static void back_client(struct v4 *c, const char *name)
{
	v4_open(c, nas.port);
	c->back = true;
	v4_client(c, name);
	ck_assert_uint_eq(c->flags, CREATE_SESSION4_CONN_BACK_CHAN);
	ck_assert(v4_serve_until(c, &c->nulls, 1));
	settle();
}

static void up(void)
{
	nas_up(&nas);
	nas.keep = on_keep;
	nas.lend = true;
	nas.lease_ns = 2 * NS_PER_S;
	nas.quiet_ns = QUIET_US * 1000ull;
	nas.call_ns = 400 * NS_PER_MS;
	kept = forgotten = refuse = 0;
}

static void clients(void)
{
	back_client(&a, "client a");
	back_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "f", "o", BOTH, 0, 1 + CREATE4_UNCHECKED, &open_b, &fh), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(v4_write(&b, &fh, &open_b, 0, "hello", 5, 2), 0);
	ck_assert_uint_eq(v4_return(&b, &fh, &b.deleg), 0);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &open_b), 0);
}

static void setup(void)
{
	up();
	nas_serve4(&nas);
	clients();
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas); /* nothing may be lent any more then: the table asserts it */
}

static uint32_t open_as(struct v4 *c, uint32_t access, struct v4_stateid *ret)
{
	return v4_open_file(c, &demo, "f", "o", access, 0, OPEN4_NOCREATE, ret, &fh);
}

/* a has it now. */
static void lend(uint32_t kind)
{
	uint32_t access = kind == OPEN_DELEGATE_WRITE ? BOTH : READ;
	ck_assert_uint_eq(open_as(&a, access, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, kind);
	ck_assert(!a.deleg_recall);
}

static void expect_recall(struct v4 *c)
{
	ck_assert(v4_serve_until(c, &c->recalls, 1));
	ck_assert_mem_eq(c->recalled.b + 4, c->deleg.b + 4, 12);
	ck_assert_uint_eq(c->recalled_fh.len, fh.len);
	ck_assert_mem_eq(c->recalled_fh.b, fh.b, fh.len);
	settle();
}

static void give_back(struct v4 *c)
{
	expect_recall(c);
	ck_assert_uint_eq(v4_return(c, &fh, &c->deleg), 0);
	c->recalls = 0;
}

static uint32_t status_of(struct v4 *c)
{
	v4_seq(c);
	return v4_send(c);
}

static struct nfs4_deleg_stats stats;
static void stats_step(struct nas *n)
{
	nfs4_deleg_stats(n->nfs4, &stats);
}

/* ---- lending ---- */

START_TEST(lent_to_readers)
{
	struct v4_stateid s;
	uint32_t n;
	bool eof;
	char data[8];
	lend(OPEN_DELEGATE_READ);
	/* Another that reads gets it as well; none gets it twice. */
	ck_assert_uint_eq(open_as(&b, READ, &open_b), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_as(&a, READ, &s), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(v4_read(&a, &fh, &a.deleg, 0, 8, data, &n, &eof), 0);
	ck_assert(n == 5 && memcmp(data, "hello", 5) == 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &a.deleg, 0, "x", 1, 2), NFS4ERR_OPENMODE);
	/* A writer: all others give it back. */
	struct v4_stateid mine = a.deleg;
	ck_assert_uint_eq(v4_return(&b, &fh, &b.deleg), 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	a.deleg = mine;
	expect_recall(&a);
	/* Asked once; until it is back nobody writes, and the holder still reads. */
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_serve(&a, 200), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &mine, 0, 8, data, &n, &eof), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_NONE); /* a has it open */
	ck_assert_uint_eq(v4_close_file(&b, &fh, &s), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.lent + stats.recalled + stats.revoked, 0);
	ck_assert_uint_eq(stats.reads, 2);
	ck_assert_uint_eq(stats.returns, 3);
	ck_assert_uint_eq(stats.recalls, 1);
}
END_TEST

/* CLAIM_DELEGATE_CUR with a name, or CLAIM_DELEG_CUR_FH. */
static uint32_t open_under(struct v4 *c, const char *name, uint32_t access,
			   const struct v4_stateid *under, struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, name ? &demo : &fh);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "under");
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, name ? CLAIM_DELEGATE_CUR : CLAIM_DELEG_CUR_FH);
	v4_stateid(c, under);
	if (name)
		xdr_put_string(&c->x, name);
	if (v4_send(c))
		return c->status;
	ck_assert_uint_eq(v4_res(c, OP_PUTFH), 0);
	ck_assert_uint_eq(v4_res(c, OP_OPEN), 0);
	v4_get_open(c, ret);
	return 0;
}

static uint32_t getattr(struct v4 *c, uint32_t word0)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, word0);
	return v4_send(c);
}

START_TEST(lent_to_a_writer)
{
	struct v4_stateid s, mine;
	lend(OPEN_DELEGATE_WRITE);
	mine = a.deleg;
	ck_assert_uint_eq(v4_write(&a, &fh, &mine, 0, "HELLO", 5, 2), 0);
	ck_assert_uint_eq(getattr(&a, 1u << FATTR4_SIZE), 0);
	/* What it cannot have changed is told to others, what it can is not. */
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_TYPE), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalls, 0);
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_SIZE), NFS4ERR_DELAY);
	expect_recall(&a);
	ck_assert_uint_eq(open_as(&b, READ, &s), NFS4ERR_DELAY);
	/* It opens what it had opened without asking, and gives it back. */
	ck_assert_uint_eq(open_under(&a, "f", BOTH, &mine, &s), 0);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &mine, &s), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(open_under(&b, NULL, READ, &mine, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &open_a, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), 0);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &mine, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_as(&b, READ, &s), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_NONE); /* there is a writer */
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_SIZE), 0);
}
END_TEST

/* A reader's is not good for an open to write. */
START_TEST(under_a_reader_s)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_under(&a, NULL, WRITE, &a.deleg, &s), NFS4ERR_INVAL);
	ck_assert_uint_eq(open_under(&a, "g", READ, &a.deleg, &s), NFS4ERR_NOENT);
	/* What changes no data the holder may do: it is nobody else. */
	ck_assert_uint_eq(getattr(&a, 1u << FATTR4_SIZE), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalls, 0);
	/* That it opens the file anew, to write, shows another mount of it. */
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", BOTH, 0, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", BOTH, 0, 0, &s, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE); /* it is open to read */
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &open_a), 0);
	/* Its own asking does not keep it from being lent. */
	lend(OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", READ, 0, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
}
END_TEST

START_TEST(as_wanted)
{
	static const struct {
		uint32_t access, want, type, why;
	} rows[] = {
	    {READ, OPEN4_SHARE_WANT_NONE, OPEN_DELEGATE_NONE_EXT, WND4_NOT_WANTED},
	    {READ, OPEN4_SHARE_WANT_CANCEL, OPEN_DELEGATE_NONE_EXT, WND4_CANCELLED},
	    {BOTH, OPEN4_SHARE_WANT_READ, OPEN_DELEGATE_NONE_EXT, WND4_CONTENTION},
	    {READ, OPEN4_SHARE_WANT_READ, OPEN_DELEGATE_READ, 0},
	    {READ, OPEN4_SHARE_WANT_ANY, OPEN_DELEGATE_READ, 0},
	    {BOTH, OPEN4_SHARE_WANT_WRITE, OPEN_DELEGATE_WRITE, 0},
	    {BOTH, OPEN4_SHARE_WANT_ANY, OPEN_DELEGATE_WRITE, 0},
	    {WRITE, 0, OPEN_DELEGATE_WRITE, 0},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct v4_stateid s;
		a.deleg_why = 0;
		ck_assert_uint_eq(open_as(&a, rows[i].access | rows[i].want, &s), 0);
		ck_assert_uint_eq(a.deleg_type, rows[i].type);
		ck_assert_uint_eq(a.deleg_why, rows[i].why);
		if (a.deleg_type != OPEN_DELEGATE_NONE_EXT)
			ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
		ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	}
	ck_assert_uint_eq(open_as(&a, READ | 0x600, &open_a), NFS4ERR_INVAL);
	/* Somebody else has it open to write. */
	ck_assert_uint_eq(open_as(&b, WRITE | OPEN4_SHARE_WANT_NONE, &open_b), 0);
	ck_assert_uint_eq(open_as(&a, READ | OPEN4_SHARE_WANT_ANY, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(a.deleg_why, WND4_CONTENTION);
}
END_TEST

START_TEST(not_while_locked_nor_soon_again)
{
	struct v4_stateid l, s;
	ck_assert_uint_eq(open_as(&b, READ | OPEN4_SHARE_WANT_NONE, &open_b), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &open_b, "l", READ_LT, 0, 1, false, &l), 0);
	ck_assert_uint_eq(open_as(&a, READ, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(v4_unlock(&b, &fh, &l, 0, 1, &l), 0);
	lend(OPEN_DELEGATE_READ);
	/* b denies reading: that is no reader. */
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "p", READ, READ, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(open_as(&a, READ, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	usleep(QUIET_US);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

/* ---- whoever comes in between ---- */

static int v3_fd;
static uint32_t v3_uid;

static uint32_t v3_call(uint32_t prog, uint32_t vers, uint32_t proc, struct xdr_out *args)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(nas.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static uint32_t xid = 5;
	uint8_t msg[1024], reply[1024];
	const uint32_t head[] = {++xid, 0, 2, prog, vers, proc, 1, 20, 0, 0, v3_uid, 0, 0, 0, 0};
	struct xdr_out x = xdr_out_of(msg, sizeof(msg));
	xdr_put_u32(&x, 0);
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&x, head[i]);
	xdr_put_fixed(&x, args->base, (uint32_t)xdr_out_len(args));
	be32_put(msg, 0x80000000u | (uint32_t)(xdr_out_len(&x) - 4));
	v3_fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(v3_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(send(v3_fd, msg, xdr_out_len(&x), 0), (ssize_t)xdr_out_len(&x));
	ssize_t n = recv(v3_fd, reply, sizeof(reply), 0);
	close(v3_fd);
	ck_assert_int_ge(n, 32);
	ck_assert_uint_eq(be32_get(reply + 24), 0);
	/* NLM's results begin with the cookie. */
	return be32_get(reply + 28 + (prog == 100021 ? 4 + (be32_get(reply + 28) + 3) / 4 * 4 : 0));
}

static void put_fh(struct xdr_out *x, const struct v4_fh *f)
{
	xdr_put_opaque(x, f->b, f->len);
}

static void put_zeros(struct xdr_out *x, unsigned n)
{
	while (n--)
		xdr_put_u32(x, 0);
}

static uint32_t v3_op(unsigned proc)
{
	uint8_t buf[512];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	bool dir = proc == 8 || proc == 12 || proc == 14;
	put_fh(&x, dir ? &demo : &fh);
	switch (proc) {
	case 2: /* SETATTR: mode 0600 */
		xdr_put_u32(&x, 1);
		xdr_put_u32(&x, 0600);
		put_zeros(&x, 6);
		break;
	case 6: /* READ */
		xdr_put_u64(&x, 0);
		xdr_put_u32(&x, 5);
		break;
	case 7: /* WRITE */
		xdr_put_u64(&x, 0);
		xdr_put_u32(&x, 4);
		xdr_put_u32(&x, 2);
		xdr_put_opaque(&x, "abcd", 4);
		break;
	case 8: /* CREATE, unchecked, of size 0 */
		xdr_put_string(&x, "f");
		put_zeros(&x, 4);
		xdr_put_u32(&x, 1);
		put_zeros(&x, 4);
		break;
	case 12: /* REMOVE */
		xdr_put_string(&x, "f");
		break;
	case 14: /* RENAME */
		xdr_put_string(&x, "f");
		put_fh(&x, &demo);
		xdr_put_string(&x, "moved");
		break;
	case 15: /* LINK */
		put_fh(&x, &demo);
		xdr_put_string(&x, "linked");
		break;
	default: /* GETATTR */
		break;
	}
	ASSERT(!x.full);
	return v3_call(100003, 3, proc, &x);
}

static uint32_t nlm_lock(bool exclusive)
{
	uint8_t buf[512];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	xdr_put_string(&x, "cook");
	xdr_put_bool(&x, false);
	xdr_put_bool(&x, exclusive);
	xdr_put_string(&x, "host");
	put_fh(&x, &fh);
	xdr_put_string(&x, "owner");
	xdr_put_u32(&x, 7);
	xdr_put_u64(&x, 0);
	xdr_put_u64(&x, 1);
	xdr_put_bool(&x, false);
	xdr_put_u32(&x, 0);
	return v3_call(100021, 4, 22, &x); /* NM_LOCK */
}

static uint32_t named(const char *from, const char *to)
{
	v4_seq(&b);
	v4_putfh(&b, &demo);
	if (!to) {
		v4_name(&b, OP_REMOVE, from);
		return v4_send(&b);
	}
	v4_op(&b, OP_SAVEFH);
	v4_name(&b, OP_RENAME, from);
	xdr_put_string(&b.x, to);
	return v4_send(&b);
}

static uint32_t linked(void)
{
	v4_seq(&b);
	v4_putfh(&b, &fh);
	v4_op(&b, OP_SAVEFH);
	v4_putfh(&b, &demo);
	v4_name(&b, OP_LINK, "linked");
	return v4_send(&b);
}

static uint32_t set_mode_of(const struct v4_fh *f, uint32_t mode)
{
	static const struct v4_stateid none;
	v4_seq(&b);
	v4_putfh(&b, f);
	v4_op(&b, OP_SETATTR);
	v4_stateid(&b, &none);
	xdr_put_u32(&b.x, 2);
	xdr_put_u32(&b.x, 0);
	xdr_put_u32(&b.x, 2);
	xdr_put_u32(&b.x, 4);
	xdr_put_u32(&b.x, mode);
	return v4_send(&b);
}

static uint32_t set_mode(void)
{
	return set_mode_of(&fh, 0600);
}

/* COPY to the file, or from it. */
static uint32_t copied(const struct v4_fh *from, const struct v4_fh *to)
{
	static const struct v4_stateid none;
	b.minor = 2;
	v4_seq(&b);
	v4_putfh(&b, from);
	v4_op(&b, OP_SAVEFH);
	v4_putfh(&b, to);
	v4_op(&b, OP_COPY);
	v4_stateid(&b, &none);
	v4_stateid(&b, &none);
	put_zeros(&b.x, 6);
	xdr_put_bool(&b.x, true);
	xdr_put_bool(&b.x, true);
	xdr_put_u32(&b.x, 0);
	uint32_t st = v4_send(&b);
	b.minor = 1;
	return st;
}

static uint32_t set_xattr(void)
{
	b.minor = 2;
	v4_seq(&b);
	v4_putfh(&b, &fh);
	v4_op(&b, OP_SETXATTR);
	xdr_put_u32(&b.x, 0);
	xdr_put_string(&b.x, "k");
	xdr_put_string(&b.x, "v");
	uint32_t st = v4_send(&b);
	b.minor = 1;
	return st;
}

static uint32_t other(unsigned way)
{
	static const struct v4_stateid none;
	char data[8];
	uint32_t n;
	bool eof;
	struct v4_fh f;
	switch (way) {
	case 0:
		return v4_write(&b, &fh, &none, 0, "x", 1, 2);
	case 1:
		return set_mode();
	case 2:
		return named("f", NULL);
	case 3:
		return named("f", "moved");
	case 4:
		return named("g", "f");
	case 5:
		return linked();
	case 6:
		return set_xattr();
	case 7: /* emptied by who may only read it meanwhile */
		v4_seq(&b);
		v4_putfh(&b, &demo);
		v4_op(&b, OP_OPEN);
		xdr_put_u32(&b.x, 0);
		xdr_put_u32(&b.x, READ);
		xdr_put_u32(&b.x, 0);
		xdr_put_u64(&b.x, b.client);
		xdr_put_string(&b.x, "e");
		xdr_put_u32(&b.x, OPEN4_CREATE);
		xdr_put_u32(&b.x, CREATE4_UNCHECKED);
		xdr_put_u32(&b.x, 1);
		xdr_put_u32(&b.x, 1u << FATTR4_SIZE);
		xdr_put_u32(&b.x, 8);
		xdr_put_u64(&b.x, 0);
		xdr_put_u32(&b.x, CLAIM_NULL);
		xdr_put_string(&b.x, "f");
		return v4_send(&b);
	case 8:
		return v3_op(2);
	case 9:
		return v3_op(7);
	case 10:
		return v3_op(8);
	case 11:
		return v3_op(12);
	case 12:
		return v3_op(14);
	case 13:
		return v3_op(15);
	case 14:
		return nlm_lock(true);
	/* From here on only a writer is in the way. */
	case 15:
		return v3_op(6);
	case 16:
		return v3_op(1);
	case 17:
		return nlm_lock(false);
	case 18:
		return v4_read(&b, &fh, &none, 0, 8, data, &n, &eof);
	default:
		return v4_open_file(&b, &demo, "f", "r", READ, 0, 0, &open_b, &f);
	}
}
#define WAYS_OF_READING 15
#define WAYS		20

static bool is_wait(unsigned way, uint32_t st)
{
	return st == (way == 14 || way == 17 ? 4 : NFS3_WAIT); /* DENIED_GRACE_PERIOD; DELAY too */
}
_Static_assert(NFS4ERR_DELAY == NFS3_WAIT, "one number");

START_TEST(in_between)
{
	unsigned way = (unsigned)_i % WAYS;
	bool writer = _i >= WAYS;
	struct v4_fh f;
	struct v4_stateid s;
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "g", "o", BOTH | OPEN4_SHARE_WANT_NONE, 0, 1, &s, &f), 0);
	lend(writer ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ);
	uint32_t st = other(way);
	if (!writer && way >= WAYS_OF_READING) {
		ck_assert_uint_eq(st, 0);
		ck_assert_uint_eq(v4_serve(&a, 50), 0);
		return;
	}
	ck_assert_msg(is_wait(way, st), "way %u: %u", way, st);
	give_back(&a);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &open_a), 0);
	ck_assert_uint_eq(other(way), 0);
}
END_TEST

/* Who may not do it hears so, by either protocol, and nobody is asked for the file. (Attributes
 * anybody may ask for; NLM: test_nlm.c.) */
START_TEST(not_for_who_may_not)
{
	static const uint32_t says[WAYS] = {[1] = NFS4ERR_PERM, [8] = NFS4ERR_PERM};
	struct v4_fh g;
	struct v4_stateid s;
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "g", "o", BOTH | OPEN4_SHARE_WANT_NONE, 0, 1, &s, &g), 0);
	ck_assert_uint_eq(v4_write(&b, &g, &s, 0, "data", 4, 2), 0);
	ck_assert_uint_eq(set_mode_of(&g, 0666), 0);
	ck_assert_uint_eq(set_mode(), 0);
	ck_assert_uint_eq(set_mode_of(&demo, 0755), 0);
	lend(_i ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ);
	b.uid = v3_uid = 9;
	for (unsigned way = 0; way < WAYS; way++) {
		if (way == 14 || way == 16 || way == 17)
			continue;
		uint32_t st = other(way);
		ck_assert_msg(st == (says[way] ?: (uint32_t)NFS4ERR_ACCESS), "way %u: %u", way, st);
	}
	ck_assert_uint_eq(copied(&g, &fh), NFS4ERR_ACCESS);
	ck_assert_uint_eq(copied(&fh, &g), NFS4ERR_ACCESS);
	ck_assert_uint_eq(v4_serve(&a, 50), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
	v3_uid = 0;
}
END_TEST

/* Version 3 leaves out attributes that the writer knows better. */
START_TEST(attributes_left_out)
{
	uint8_t buf[256];
	struct xdr_out x = xdr_out_of(buf, sizeof(buf));
	lend(OPEN_DELEGATE_WRITE);
	put_fh(&x, &demo);
	xdr_put_string(&x, "f");
	ck_assert_uint_eq(v3_call(100003, 3, 3, &x), 0); /* LOOKUP asks nobody */
	ck_assert_uint_eq(v4_serve(&a, 50), 0);
}
END_TEST

/* ---- what is told of it ---- */

static unsigned nlisted, nrecalled, nup;

static bool list_deleg(void *arg, const struct nfs4_deleg_info *d)
{
	nlisted +=
	    d->write && d->fs == NAS_FS_ID && !d->revoked && strcmp(d->address, "127.0.0.1") == 0;
	nrecalled += d->recall_ns != 0;
	return true;
}

static bool list_client(void *arg, const struct nfs4_client_info *c)
{
	nup += strcmp(c->path, "up") == 0 && c->delegations == (c->opens ? 1 : 0);
	return true;
}

static void list_step(struct nas *n)
{
	nlisted = nrecalled = nup = 0;
	nfs4_each_deleg(n->nfs4, list_deleg, NULL);
	nfs4_each(n->nfs4, list_client, NULL);
}

START_TEST(listed)
{
	lend(OPEN_DELEGATE_WRITE);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 1 && nrecalled == 0 && nup == 2);
	ck_assert_uint_eq(open_as(&b, READ, &open_b), NFS4ERR_DELAY);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 1 && nrecalled == 1 && nup == 2);
	give_back(&a);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 0 && nrecalled == 0 && nup == 1);
}
END_TEST

/* ---- who does not return it ---- */

static uint32_t test_stateid(struct v4 *c, const struct v4_stateid *s, uint32_t op)
{
	v4_seq(c);
	v4_op(c, op);
	if (op == OP_TEST_STATEID)
		xdr_put_u32(&c->x, 1);
	v4_stateid(c, s);
	uint32_t st = v4_send(c);
	if (st || op != OP_TEST_STATEID)
		return st;
	ck_assert_uint_eq(v4_res(c, op), 0);
	ck_assert_uint_eq(v4_u32(c), 1);
	return v4_u32(c);
}

/* How often until it is done, with a awake; at most so many times 100 ms. */
static unsigned b_writes_at_last(unsigned max)
{
	struct v4_stateid s;
	unsigned i;
	for (i = 0; i < max && open_as(&b, WRITE | OPEN4_SHARE_WANT_NONE, &s) == NFS4ERR_DELAY;
	     i++) {
		ck_assert_uint_eq(status_of(&a), 0);
		usleep(100000);
	}
	ck_assert_uint_lt(i, max);
	return i;
}

/* 0: it heard and does nothing; 1: it does not answer; 2: it says DELAY, always; 3: nonsense. */
START_TEST(taken_away)
{
	static const enum v4_manner manners[] = {V4_ANSWER, V4_DEAF, V4_LATER, V4_GARBAGE};
	struct v4_stateid s;
	char data[8];
	uint32_t n;
	bool eof;
	lend(OPEN_DELEGATE_READ);
	a.manner = manners[_i];
	/* First it cannot be written down that a has nothing to reclaim: nobody gets it. */
	refuse = 1;
	for (int i = 0; i < 35; i++) {
		ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
		ck_assert_uint_eq(status_of(&a), 0);
		usleep(100000);
	}
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), NFS4ERR_DELAY);
	ck_assert_int_eq(forgotten, 0);
	refuse = 0;
	b_writes_at_last(30);
	ck_assert_int_eq(forgotten, 1);
	ck_assert_uint_ge(a.recalls, 1);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
	ck_assert_uint_eq(v4_read(&a, &fh, &a.deleg, 0, 8, data, &n, &eof), NFS4ERR_DELEG_REVOKED);
	ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), NFS4ERR_DELEG_REVOKED);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_TEST_STATEID), NFS4ERR_DELEG_REVOKED);
	/* What it opens meanwhile it could not reclaim, and nothing is lent to it. */
	int was = kept;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "h", "o", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_int_eq(kept, was);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), 0);
	ck_assert_uint_eq(test_stateid(&a, &a.deleg, OP_FREE_STATEID), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(!(a.seq_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED));
	a.manner = V4_ANSWER;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "i", "o", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_int_eq(kept, was + 1);
}
END_TEST

/* Its lease runs out first: all it has goes. */
START_TEST(courtesy_ends)
{
	struct v4_stateid s;
	unsigned i;
	lend(OPEN_DELEGATE_WRITE);
	for (i = 0; i < 35; i++) {
		usleep(100000);
		ck_assert_uint_eq(status_of(&b), 0);
	}
	/* A courtesy as long as nobody asks. */
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.lent, 1);
	for (i = 0; i < 40 && open_as(&b, WRITE, &s) == NFS4ERR_DELAY; i++)
		usleep(100000);
	ck_assert_uint_lt(i, 40);
	ck_assert_int_eq(forgotten, 1);
	uint32_t seq = a.seq;
	ck_assert_uint_eq(status_of(&a), NFS4ERR_BADSESSION);
	a.seq = seq;
}
END_TEST

/* ---- the back channel ---- */

static uint32_t bind_conn(struct v4 *c, uint32_t dir)
{
	v4_begin(c);
	v4_op(c, OP_BIND_CONN_TO_SESSION);
	xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	xdr_put_u32(&c->x, dir);
	xdr_put_bool(&c->x, false);
	if (v4_send(c))
		return 1000 + c->status;
	uint8_t id[NFS4_SESSIONID];
	ck_assert_uint_eq(v4_res(c, OP_BIND_CONN_TO_SESSION), 0);
	v4_take(c, id, sizeof(id));
	return v4_u32(c);
}

/* The same client on a new connection. */
static void reconnect(struct v4 *c)
{
	struct v4 old = *c;
	v4_open(c, nas.port);
	close(old.fd);
	free(old.buf);
	free(old.reply);
	memcpy(c->session, old.session, NFS4_SESSIONID);
	c->client = old.client;
	c->seq = old.seq;
	c->cb_seq = old.cb_seq;
	c->deleg = old.deleg;
	c->back = true;
	usleep(50000);
}

START_TEST(a_connection_is_lost)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	reconnect(&a);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_serve(&a, 200), 0); /* it is not bound */
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE_OR_BOTH), CDFS4_BOTH);
	give_back(&a);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	/* All directions, and what makes no sense. */
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE), CDFS4_FORE);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_ne(a.seq_flags, 0);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_BACK), CDFS4_BACK);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_BACK_OR_BOTH), CDFS4_BOTH);
	ck_assert_uint_eq(bind_conn(&a, 4), 1000 + NFS4ERR_INVAL);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
}
END_TEST

START_TEST(another_program)
{
	struct v4_stateid s;
	ck_assert_uint_eq(a.cb_flavor, 0);
	v4_seq(&a);
	v4_op(&a, OP_BACKCHANNEL_CTL);
	xdr_put_u32(&a.x, 0x40000077);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 1); /* AUTH_SYS */
	xdr_put_u32(&a.x, 0);
	xdr_put_string(&a.x, "machine");
	put_zeros(&a.x, 3);
	ck_assert_uint_eq(v4_send(&a), 0);
	lend(OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(a.cb_program, 0x40000077);
	ck_assert_uint_eq(a.cb_flavor, 1);
	/* RPCSEC_GSS alone is of no use. */
	v4_seq(&a);
	v4_op(&a, OP_BACKCHANNEL_CTL);
	xdr_put_u32(&a.x, 0x40000077);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 6);
	xdr_put_u32(&a.x, 1);
	xdr_put_string(&a.x, "x");
	xdr_put_string(&a.x, "y");
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOENT);
}
END_TEST

/* A call that was lost: the client has seen it, or it has not. */
START_TEST(a_call_is_lost)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_DEAF;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert(v4_serve_until(&a, &a.recalls, 1));
	usleep(600000);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_CB_PATH_DOWN_SESSION);
	if (_i)
		a.cb_seq++;
	a.manner = V4_ANSWER;
	a.recalls = a.nulls = 0;
	reconnect(&a);
	ck_assert_uint_eq(bind_conn(&a, CDFC4_FORE_OR_BOTH), CDFS4_BOTH);
	give_back(&a);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
}
END_TEST

START_TEST(a_session_that_does_not_work)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_BAD_SESSION;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	v4_serve(&a, 1000);
	settle();
	ck_assert_uint_eq(status_of(&a), 0);
	ck_assert(a.seq_flags & SEQ4_STATUS_BACKCHANNEL_FAULT);
	ck_assert(a.seq_flags & SEQ4_STATUS_CB_PATH_DOWN);
	/* Another session of the client's will do. */
	a.manner = V4_ANSWER;
	ck_assert_uint_eq(v4_session(&a), 0);
	give_back(&a);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
}
END_TEST

/* Nothing is lent to who does not answer CB_NULL, or has no back channel. */
START_TEST(no_way_back)
{
	static const enum v4_manner manners[] = {V4_SILENT, V4_DENY};
	struct v4 c;
	struct v4_stateid s;
	v4_open(&c, nas.port);
	c.back = _i < 2;
	c.manner = _i < 2 ? manners[_i] : V4_ANSWER;
	v4_client(&c, "client c");
	if (c.back)
		ck_assert(v4_serve_until(&c, &c.nulls, 1));
	usleep(600000);
	ck_assert_uint_eq(open_as(&c, READ | OPEN4_SHARE_WANT_ANY, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(c.deleg_why, WND4_RESOURCE);
	ck_assert_uint_eq(c.seq_flags,
			  c.back ? SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION : 0);
	v4_close(&c);
}
END_TEST

/* A reply that nobody waits for, of any kind, harms nobody. */
START_TEST(stray_replies)
{
	for (uint32_t i = 0; i < 200; i++) {
		uint8_t msg[64] = {0};
		uint32_t len = i % 50 + 8;
		be32_put(msg, 0x80000000u | len);
		be32_put(msg + 4, i * 7919);
		be32_put(msg + 8, 1);
		ck_assert_int_eq(send(a.fd, msg, 4 + len, MSG_NOSIGNAL), (ssize_t)(4 + len));
	}
	ck_assert_uint_eq(status_of(&a), 0);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

/* The client goes while it is called. */
START_TEST(gone_while_called)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	a.manner = V4_DEAF;
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert(v4_serve_until(&a, &a.recalls, 1));
	if (_i == 0) {
		/* It was restarted: the same name, another verifier. */
		ck_assert_uint_eq(v4_exchange(&a, "client a", 2, 0), 0);
		ck_assert_uint_eq(v4_session(&a), 0);
		ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
		usleep(600000);
	} else if (_i == 1) {
		ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
		ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	} /* else the server ends */
}
END_TEST

/* ---- version 4.0 ---- */

static void listen_on(struct v4 *c)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	c->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(c->listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(c->listen_fd, 10), 0);
}

static uint32_t confirm_open(struct v4 *c, uint32_t seqid, const struct v4_stateid *s)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_OPEN_CONFIRM);
	v4_stateid(c, s);
	xdr_put_u32(&c->x, seqid);
	return v4_send(c);
}

/* OPEN of a 4.0 owner, with its number. */
static uint32_t open40(struct v4 *c, uint32_t seqid, uint32_t access, struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, seqid);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "o40");
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_NULL);
	xdr_put_string(&c->x, "f");
	if (v4_send(c))
		return c->status;
	ck_assert_uint_eq(v4_res(c, OP_PUTFH), 0);
	ck_assert_uint_eq(v4_res(c, OP_OPEN), 0);
	v4_get_open(c, ret);
	return 0;
}

START_TEST(version_40)
{
	struct v4 c;
	struct v4_stateid s, t;
	v4_open(&c, nas.port);
	listen_on(&c);
	v4_client0(&c, "client c");
	ck_assert(v4_serve_until(&c, &c.nulls, 1));
	settle();
	/* Not with an owner that has yet to confirm. */
	ck_assert_uint_eq(open40(&c, 1, READ, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(confirm_open(&c, 2, &s), 0);
	ck_assert_uint_eq(open40(&c, 3, READ, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_READ);
	/* The same number again: the same answer. */
	t = c.deleg;
	ck_assert_uint_eq(open40(&c, 3, READ, &s), 0);
	ck_assert_mem_eq(t.b, c.deleg.b, 16);
	/* It is no open: CLOSE and LOCK do not take it. */
	v4_seq(&c);
	v4_putfh(&c, &fh);
	v4_op(&c, OP_CLOSE);
	xdr_put_u32(&c.x, 4);
	v4_stateid(&c, &t);
	ck_assert_uint_eq(v4_send(&c), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), NFS4ERR_DELAY);
	give_back(&c);
	ck_assert_uint_eq(c.cb_flavor, 1);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), 0);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &open_b), 0);
	usleep(QUIET_US);
	/* A writer of this version is lent nothing. */
	ck_assert_uint_eq(open40(&c, 4, BOTH, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_NONE);
	v4_close(&c);
}
END_TEST

/* 0: nobody listens; 1: the address is ours; 2: who listens says nothing; 3: nonsense. */
START_TEST(version_40_no_way_back)
{
	struct v4 c;
	struct v4_stateid s;
	v4_open(&c, nas.port);
	if (_i == 1)
		c.cb_port = nas.port;
	if (_i >= 2)
		listen_on(&c);
	c.manner = _i == 2 ? V4_SILENT : V4_DENY;
	v4_client0(&c, "client c");
	if (_i >= 2)
		ck_assert(v4_serve_until(&c, &c.nulls, 1));
	usleep(500000);
	ck_assert_uint_eq(open40(&c, 1, READ, &s), 0);
	ck_assert_uint_eq(confirm_open(&c, 2, &s), 0);
	ck_assert_uint_eq(open40(&c, 3, READ, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_NONE);
	nas_run(&nas, stats_step);
	ck_assert_uint_ge(stats.calls_failed, 1);
	v4_close(&c);
}
END_TEST

/* What it does not return is gone; RENEW says when it cannot be called. */
START_TEST(version_40_taken_away)
{
	struct v4 c;
	struct v4_stateid s;
	unsigned i;
	v4_open(&c, nas.port);
	listen_on(&c);
	v4_client0(&c, "client c");
	ck_assert(v4_serve_until(&c, &c.nulls, 1));
	settle();
	ck_assert_uint_eq(open40(&c, 1, READ, &s), 0);
	ck_assert_uint_eq(confirm_open(&c, 2, &s), 0);
	ck_assert_uint_eq(open40(&c, 3, READ, &s), 0);
	ck_assert_uint_eq(c.deleg_type, OPEN_DELEGATE_READ);
	close(c.listen_fd);
	c.listen_fd = -1;
	uint32_t renew = 0;
	for (i = 0; i < 60 && open_as(&b, WRITE, &open_b) == NFS4ERR_DELAY; i++) {
		v4_begin(&c);
		v4_op(&c, OP_RENEW);
		xdr_put_u64(&c.x, c.client);
		uint32_t st = v4_send(&c);
		renew = st ? st : renew;
		usleep(100000);
	}
	ck_assert_uint_eq(renew, NFS4ERR_CB_PATH_DOWN);
	ck_assert_uint_ge(i, 8);
	ck_assert_uint_lt(i, 60);
	ck_assert_int_ge(forgotten, 1);
	ck_assert_uint_eq(v4_return(&c, &fh, &c.deleg), NFS4ERR_BAD_STATEID);
	v4_close(&c);
}
END_TEST

/* ---- a restart ---- */

static void make_f(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0644};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ASSERT(top.generation < 4);
	ASSERT(fs_create(n->fs, &root, &top, "f", 1, FS_CREATE_UNCHECKED, &set, 0, &at, NULL) == 0);
}

static void setup_restarted(void)
{
	up();
	/* SHA-256 of "client a" */
	nas.kept_name = "47ea62826f7f2d7e7460c8b099fb43715faedefab9a8d630a5e3a6a813f964a5";
	nas.lease_ns = nas.grace_ns = 600 * NS_PER_S;
	nas_run(&nas, make_f);
	nas_serve4(&nas);
}

/* What it had it has again; without a way back to it, it is asked for it in the same answer. */
START_TEST(reclaimed)
{
	bool back = _i < 2;
	uint32_t type = _i % 2 ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ;
	struct v4_stateid s;
	v4_open(&a, nas.port);
	a.back = back;
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	if (back)
		ck_assert(v4_serve_until(&a, &a.nulls, 1));
	back_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	a.deleg_type = type;
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", _i % 2 ? BOTH : READ, &s), 0);
	ck_assert_uint_eq(a.deleg_type, type);
	ck_assert(a.deleg_recall == !back);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), NFS4ERR_GRACE);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	/* It was not kept for b: that the grace period ends takes a's word alone. */
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), NFS4ERR_DELAY);
	if (back)
		expect_recall(&a);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &a.deleg, &s), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), 0);
}
END_TEST

/* ---- bounds ---- */

static void setup_few(void)
{
	up();
	nas.max_delegs = 16;
	nas_serve4(&nas);
	clients();
}

START_TEST(no_more_than)
{
	struct v4_stateid s, d[4];
	struct v4_fh f[4];
	unsigned lent = 0;
	for (unsigned i = 0; i < 4; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%u", i);
		ck_assert_uint_eq(v4_open_file(&a, &demo, name, "o", BOTH | OPEN4_SHARE_WANT_ANY, 0,
					       1, &s, &f[i]),
				  0);
		d[i] = a.deleg;
		if (a.deleg_type == OPEN_DELEGATE_WRITE)
			lent++;
		else
			ck_assert_uint_eq(a.deleg_why, WND4_RESOURCE);
	}
	ck_assert_uint_eq(lent, 2); /* an eighth */
	ck_assert_uint_eq(v4_return(&a, &f[0], &d[0]), 0);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

static void setup_many(void)
{
	up();
	nas.lease_ns = 60 * NS_PER_S;
	nas_serve4(&nas);
	clients();
}

/* Thousands, many asked for, of a client that hears nothing, and then the end. */
START_TEST(thousands)
{
	enum { N = 3000, ASKED = 200 };
	struct v4_stateid s;
	struct v4_fh f;
	char name[16];
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert_uint_eq(v4_open_file(&a, &demo, name, "o", BOTH, 0, 1, &s, &f), 0);
		ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_WRITE);
	}
	a.manner = V4_DEAF;
	for (unsigned i = 0; i < ASKED; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert_uint_eq(named(name, NULL), NFS4ERR_DELAY);
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalled, ASKED);
	ck_assert_uint_eq(stats.lent, N - ASKED);
	ck_assert_uint_le(stats.calls, 10);
}
END_TEST

static void setup_off(void)
{
	up();
	nas.lend = false;
	nas_serve4(&nas);
}

START_TEST(turned_off)
{
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	a.back = true;
	v4_client(&a, "client a");
	ck_assert_uint_eq(v4_serve(&a, 200), 0); /* nobody needs to know whether calls arrive */
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
	ck_assert_uint_eq(
	    v4_open_file(&a, &demo, "f", "o", BOTH | OPEN4_SHARE_WANT_ANY, 0, 1, &open_a, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(a.deleg_why, WND4_RESOURCE);
}
END_TEST

static void add(Suite *s, const char *name, void (*up_fn)(void), const TTest *const *tests,
		const int *loops, unsigned n)
{
	TCase *t = tcase_create(name);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, up_fn, down);
	for (unsigned i = 0; i < n; i++)
		tcase_add_loop_test(t, tests[i], 0, loops[i]);
	suite_add_tcase(s, t);
}

int main(void)
{
	Suite *s = suite_create("nfs4_deleg");
	const TTest *lent[] = {lent_to_readers,
			       lent_to_a_writer,
			       under_a_reader_s,
			       as_wanted,
			       not_while_locked_nor_soon_again,
			       in_between,
			       attributes_left_out,
			       listed};
	const TTest *refused[] = {not_for_who_may_not};
	const TTest *away[] = {taken_away, courtesy_ends};
	const TTest *back[] = {
	    a_connection_is_lost, another_program, a_call_is_lost,   a_session_that_does_not_work,
	    no_way_back,	  stray_replies,   gone_while_called};
	const TTest *v40[] = {version_40, version_40_no_way_back, version_40_taken_away};
	const TTest *again[] = {reclaimed};
	const TTest *few[] = {no_more_than};
	const TTest *many[] = {thousands};
	const TTest *off[] = {turned_off};
	add(s, "lent", setup, lent, (const int[]){1, 1, 1, 1, 1, 2 * WAYS, 1, 1}, ARRAY_LEN(lent));
	add(s, "refused", setup, refused, (const int[]){2}, 1);
	add(s, "away", setup, away, (const int[]){4, 1}, ARRAY_LEN(away));
	add(s, "back", setup, back, (const int[]){1, 1, 2, 1, 3, 1, 3}, ARRAY_LEN(back));
	add(s, "v40", setup, v40, (const int[]){1, 4, 1}, ARRAY_LEN(v40));
	add(s, "restarted", setup_restarted, again, (const int[]){4}, 1);
	add(s, "few", setup_few, few, (const int[]){1}, 1);
	add(s, "many", setup_many, many, (const int[]){1}, 1);
	add(s, "off", setup_off, off, (const int[]){1}, 1);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
