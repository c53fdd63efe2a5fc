/* Files lent to clients: who asks for them back by what, of any protocol, and who does not. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/deleg_world.h"

#define NFS3_WAIT 10008 /* JUKEBOX */

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

int main(void)
{
	Suite *s = suite_create("nfs4_deleg_use");
	const TTest *t_in_between[] = {in_between, attributes_left_out};
	const TTest *t_refused[] = {not_for_who_may_not};
	add(s, "in between", setup, t_in_between, (const int[]){2 * WAYS, 1}, 2);
	add(s, "refused", setup, t_refused, (const int[]){2}, 1);
	return run(s);
}
