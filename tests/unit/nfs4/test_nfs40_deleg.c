/* Files lent to clients of version 4.0, and the calls that go to the address they gave. */
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
	settle(&c);
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
	skip(QUIET_S);
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
	skip(CALL_S);
	usleep(30000);
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
	settle(&c);
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
		skip(1);
	}
	ck_assert_uint_eq(renew, NFS4ERR_CB_PATH_DOWN);
	ck_assert_uint_ge(i, 8);
	ck_assert_uint_lt(i, 60);
	ck_assert_int_ge(forgotten, 1);
	ck_assert_uint_eq(v4_return(&c, &fh, &c.deleg), NFS4ERR_BAD_STATEID);
	v4_close(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs40_deleg");
	const TTest *t_v40[] = {version_40, version_40_no_way_back, version_40_taken_away};
	add(s, "v40", setup, t_v40, (const int[]){1, 4, 1}, 3);
	return run(s);
}
