/* Hosts that take all the connections there are, say nothing on them, or hardly anything: others
 * are served. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/nfs/nfs_call.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs/nas_world.h"

enum { MAX = 24, READS = 16 };

static struct nas nas;
static struct raw mine, many[MAX + 8], r;

static void up(void)
{
	nas_up_opts(&nas, &(struct nas_opts){.max_conns = MAX,
					     .drc_entries = 4,
					     .record_timeout_ns = NS_PER_S / 2});
	raw_open(&mine, nas.port);
}

/* With requests for fewer than there are connections. */
static void up_requests(void)
{
	nas_up_opts(&nas, &(struct nas_opts){.max_conns = MAX + 8, .max_requests = READS});
	raw_open(&mine, nas.port);
}

static void down(void)
{
	raw_close(&mine);
	nas_down(&nas);
}

static uint32_t null_call(struct raw *c)
{
	raw_begin(c, 100003, 3, 0);
	return raw_end(c);
}

static bool ended(const struct raw *c, int ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	char b;
	return poll(&p, 1, ms) == 1 && recv(c->fd, &b, 1, MSG_DONTWAIT) <= 0;
}

/* As many as there may be, from 127.0.0.5, with n bytes of a record each. */
static void crowd(size_t n)
{
	static const uint8_t part[64] = {0x80, 0, 1, 0};
	for (unsigned i = 0; i < MAX; i++) {
		raw_open_from(&many[i], nas.port, "127.0.0.5", false);
		ck_assert_int_eq(send(many[i].fd, part, n, MSG_NOSIGNAL), (ssize_t)n);
	}
}

static void disperse(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		raw_close(&many[i]);
}

/* Newcomers are served at once, and who was here before goes on. */
static void others_are_served(void)
{
	uint8_t fh[FH_SIZE];
	uint64_t begin = env_now_ns(env_real());
	for (unsigned i = 0; i < 4; i++) {
		raw_open(&r, nas.port);
		ck_assert_uint_eq(raw_mount(&r, "/demo", fh), 0);
		raw_close(&r);
	}
	ck_assert_uint_lt(env_now_ns(env_real()) - begin, 10 * NS_PER_S);
	ck_assert_uint_eq(null_call(&mine), 0);
}

START_TEST(silent_connections)
{
	ck_assert_uint_eq(null_call(&mine), 0);
	crowd(0);
	others_are_served();
	ck_assert(ended(&many[0], 5000));
	ck_assert(!ended(&many[MAX - 1], 0));
	disperse(MAX);
}
END_TEST

START_TEST(half_a_record)
{
	ck_assert_uint_eq(null_call(&mine), 0);
	crowd(1);
	others_are_served();
	disperse(MAX);
	crowd(40);
	others_are_served();
	disperse(MAX);
}
END_TEST

/* Connections that are used: the host with the most gives one, to others and not to itself. */
START_TEST(a_host_with_all_connections)
{
	uint8_t fh[FH_SIZE];
	ck_assert_uint_eq(null_call(&mine), 0);
	for (unsigned i = 0; i < MAX - 1; i++) {
		raw_open_from(&many[i], nas.port, "127.0.0.5", false);
		ck_assert_uint_eq(null_call(&many[i]), 0);
	}
	raw_open_from(&many[MAX], nas.port, "127.0.0.5", false);
	ck_assert(ended(&many[MAX], 5000));
	raw_open(&r, nas.port);
	ck_assert_uint_eq(raw_mount(&r, "/demo", fh), 0);
	ck_assert_uint_eq(null_call(&mine), 0);
	ck_assert(ended(&many[0], 5000));
	for (unsigned i = 1; i < MAX - 1; i++)
		ck_assert_uint_eq(null_call(&many[i]), 0);
	raw_close(&r);
	raw_close(&many[MAX]);
	disperse(MAX - 1);
}
END_TEST

/* A byte now and then is progress, but not for ever; a record in many parts is served. */
START_TEST(a_record_byte_by_byte)
{
	uint64_t begin = env_now_ns(env_real()), took;
	ssize_t n = 1;
	raw_open(&r, nas.port);
	raw_begin(&r, 100003, 3, 0);
	size_t len = xdr_out_len(&r.out);
	be32_put(r.call, 0x80000000u | (uint32_t)len);
	for (size_t i = 0; i < len + 4; i++) {
		ck_assert_int_eq(send(r.fd, r.call + i, 1, MSG_NOSIGNAL), 1);
		usleep(5000);
	}
	ck_assert_int_eq(recv(r.fd, r.reply, 28, MSG_WAITALL), 28);
	be32_put(r.call, 0x80000000u | 60000);
	do {
		n = send(r.fd, r.call, 1, MSG_NOSIGNAL);
		took = env_now_ns(env_real()) - begin;
	} while (n == 1 && took < 20 * NS_PER_S && !ended(&r, 100));
	ck_assert_uint_lt(took, 20 * NS_PER_S);
	raw_close(&r);
}
END_TEST

/* Calls that come to nothing (handles that are none) put out no answer that is kept: a call that is
 * sent again is not done again. */
START_TEST(calls_of_no_account)
{
	uint8_t root[FH_SIZE], fh[FH_SIZE], none[FH_SIZE];
	ck_assert_uint_eq(raw_mount(&mine, "/demo", root), 0);
	memcpy(none, root, FH_SIZE);
	none[FH_SIZE - 1] ^= 1;
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), 0);
	uint32_t xid = mine.xid;
	raw_open_from(&r, nas.port, "127.0.0.5", false);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(raw_make(&r, none, "junk", true, 0700, fh), NFS3ERR_BADHANDLE);
	mine.xid = xid - 1;
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), 0);
	ck_assert_uint_eq(mine.xid, xid);
	ck_assert_uint_eq(raw_make(&mine, root, "dir", true, 0700, fh), NFS3ERR_EXIST);
	raw_close(&r);
}
END_TEST

/* ---- who takes no replies ---- */

/* A file of 1 MiB. */
static void big_file(uint8_t fh[FH_SIZE])
{
	uint8_t root[FH_SIZE];
	ck_assert_uint_eq(raw_mount(&mine, "/demo", root), 0);
	ck_assert_uint_eq(raw_make(&mine, root, "big", false, 0600, fh), 0);
	raw_begin(&mine, 100003, 3, 7); /* WRITE, FILE_SYNC */
	xdr_put_opaque(&mine.out, fh, FH_SIZE);
	xdr_put_u64(&mine.out, (1 << 20) - 1);
	xdr_put_u32(&mine.out, 1);
	xdr_put_u32(&mine.out, 2);
	xdr_put_opaque(&mine.out, "x", 1);
	ck_assert_uint_eq(raw_end(&mine), 0);
	ck_assert_uint_eq(raw_u32(&mine), 0);
}

/* Calls for more than sockets hold, of which nothing is read. */
static void read_nothing(struct raw *c, const char *address, const uint8_t fh[FH_SIZE])
{
	int small = 64 * 1024;
	raw_open_from(c, nas.port, address, false);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (unsigned i = 0; i < READS; i++) {
		raw_begin(c, 100003, 3, 6);
		xdr_put_opaque(&c->out, fh, FH_SIZE);
		xdr_put_u64(&c->out, 0);
		xdr_put_u32(&c->out, 1 << 20);
		size_t n = xdr_out_len(&c->out);
		be32_put(c->call, 0x80000000u | (uint32_t)n);
		ck_assert_int_eq(send(c->fd, c->call, n + 4, MSG_NOSIGNAL), (ssize_t)(n + 4));
	}
}

/* What it did not read before. */
static bool all_replies_come(struct raw *c)
{
	size_t n = 0;
	ssize_t k;
	while (n < (size_t)READS << 20 && (k = recv(c->fd, c->reply, sizeof(c->reply), 0)) > 0)
		n += (size_t)k;
	return n >= (size_t)READS << 20;
}

static struct rpc_stats stats;

static void stats_step(struct nas *n)
{
	rpc_server_stats(n->server, &stats);
}

static void wait_for_requests(unsigned n)
{
	for (int i = 0; i < 4000 && stats.requests < n; i++, usleep(5000))
		nas_run(&nas, stats_step);
	ck_assert_uint_ge(stats.requests, n);
}

/* All requests there are: others wait a little, and those of who has most by such give way. Who is
 * as slow, but alone, stays. */
START_TEST(all_requests_by_a_host_that_reads_nothing)
{
	static struct raw slow;
	uint8_t fh[FH_SIZE], root[FH_SIZE];
	big_file(fh);
	read_nothing(&slow, "127.0.0.6", fh);
	wait_for_requests(1);
	usleep(1200000); /* it has been for longer than any other */
	for (unsigned i = 0; i < READS + 4; i++)
		read_nothing(&many[i], "127.0.0.5", fh);
	wait_for_requests(READS);
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_uint_eq(null_call(&mine), 0);
		raw_open(&r, nas.port);
		ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
		raw_close(&r);
	}
	disperse(READS + 4);
	ck_assert(all_replies_come(&slow));
	raw_close(&slow);
}
END_TEST

/* While there is room nobody is closed for it. */
START_TEST(a_slow_reader_with_room)
{
	static struct raw slow;
	uint8_t fh[FH_SIZE];
	big_file(fh);
	read_nothing(&slow, "127.0.0.6", fh);
	wait_for_requests(1);
	for (unsigned i = 0; i < 20; i++, usleep(100000))
		ck_assert_uint_eq(null_call(&mine), 0);
	ck_assert(all_replies_come(&slow));
	raw_close(&slow);
}
END_TEST

/* Connections that are never without a call are closed for others as well. */
START_TEST(all_connections_have_calls)
{
	uint8_t fh[FH_SIZE];
	big_file(fh);
	for (unsigned i = 0; i < MAX - 1; i++)
		read_nothing(&many[i], "127.0.0.5", fh);
	wait_for_requests(MAX - 1);
	others_are_served();
	disperse(MAX - 1);
}
END_TEST

/* ---- whose connections go ---- */

static void open_used(struct raw *c, const char *address)
{
	raw_open_from(c, nas.port, address, false);
	ck_assert_uint_eq(null_call(c), 0);
}

/* Others that have just come keep their place: the newcomer takes one of its own, or none. */
START_TEST(newcomers_of_the_largest_crowd)
{
	static struct raw new, later;
	ck_assert_uint_eq(null_call(&mine), 0);
	for (unsigned i = 0; i < MAX - 2; i++)
		open_used(&many[i], "127.0.0.5");
	raw_open_from(&r, nas.port, "127.0.0.7", false);
	raw_open_from(&new, nas.port, "127.0.0.5", false);
	ck_assert(ended(&new, 5000));
	raw_close(&new);
	ck_assert(!ended(&r, 0));
	/* One of its own said nothing. */
	raw_close(&many[0]);
	raw_open_from(&new, nas.port, "127.0.0.5", false);
	ck_assert_uint_eq(null_call(&mine), 0);
	open_used(&later, "127.0.0.5");
	ck_assert(ended(&new, 5000));
	ck_assert_uint_eq(null_call(&r), 0);
	for (unsigned i = 1; i < MAX - 2; i++)
		ck_assert_uint_eq(null_call(&many[i]), 0);
	raw_close(&new);
	raw_close(&later);
	raw_close(&r);
}
END_TEST

/* One host may have all addresses of a network of 64 bits. */
START_TEST(hosts_by_address)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
	    {"192.0.2.1", "192.0.2.1", true},
	    {"192.0.2.1", "192.0.2.2", false},
	    {"2001:db8::1", "2001:db8::ffff:1:2:3", true},
	    {"2001:db8::1", "2001:db8:0:1::1", false},
	    {"fd00::1", "fd00::2", true},
	    {"fe80::1", "fe80::1", true},
	    {"fe80::1", "fe80::2", false},
	};
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const text[2] = {rows[i].a, rows[i].b};
		struct sockaddr_storage ss[2] = {0};
		for (unsigned k = 0; k < 2; k++) {
			struct sockaddr_in *in = (struct sockaddr_in *)&ss[k];
			struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss[k];
			bool v6 = strchr(text[k], ':');
			ss[k].ss_family = v6 ? AF_INET6 : AF_INET;
			in->sin_port = (in_port_t)(k + 1);
			ck_assert_int_eq(
			    inet_pton(ss[k].ss_family, text[k],
				      v6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr),
			    1);
		}
		ck_assert_msg((rpc_host_of(&ss[0]) == rpc_host_of(&ss[1])) == rows[i].same, "%s %s",
			      rows[i].a, rows[i].b);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpc_room");
	TCase *c = tcase_create("room");
	tcase_add_checked_fixture(c, up, down);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, silent_connections);
	tcase_add_test(c, half_a_record);
	tcase_add_test(c, a_host_with_all_connections);
	tcase_add_test(c, a_record_byte_by_byte);
	tcase_add_test(c, calls_of_no_account);
	tcase_add_test(c, all_connections_have_calls);
	tcase_add_test(c, newcomers_of_the_largest_crowd);
	suite_add_tcase(s, c);
	c = tcase_create("requests");
	tcase_add_checked_fixture(c, up_requests, down);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, all_requests_by_a_host_that_reads_nothing);
	tcase_add_test(c, a_slow_reader_with_room);
	suite_add_tcase(s, c);
	c = tcase_create("hosts");
	tcase_add_test(c, hosts_by_address);
	suite_add_tcase(s, c);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
