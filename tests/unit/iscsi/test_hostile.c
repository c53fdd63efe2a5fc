/* Peers that mean harm: what they hold, for how long, and who else feels it. */
#include <check.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 8, .data_timeout_s = 2});
}

static void send_write(uint32_t lba, unsigned blocks, uint32_t immediate, uint32_t sent)
{
	struct bhs b = {.opcode = OP_SCSI_CMD, .flags = 0xa0};
	be32_put(b.itt, ++c->itt);
	be32_put(b.edtl, blocks * 512);
	be32_put(b.cmdsn, c->cmdsn++);
	be32_put(b.expstatsn, c->statsn);
	cdb_rw(b.cdb, true, lba, blocks);
	be24_put(b.dsl, immediate);
	client_send_raw(c, &b, sizeof(b));
	client_send_raw(c, pattern, sent);
}

static unsigned abort_set(struct client *by)
{
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = PDU_FINAL | TMF_CLEAR_TASK_SET};
	be32_put(b.itt, ++by->itt);
	be32_put(b.ref_tag, PDU_NO_TAG);
	be32_put(b.cmdsn, by->cmdsn);
	be32_put(b.expstatsn, by->statsn);
	client_send(by, &b, NULL, 0);
	client_expect(by, OP_TMF_RSP);
	return by->bhs.response;
}

static void sign_of_life(void)
{
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, PDU_NO_TAG);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
}

/* ---- a write whose start has waited to the end while half of its data is there ---- */

static void half_a_write_that_started(void)
{
	login(NULL);
	target.volume->miss = true;
	wait_ms = 50;
	send_write(0, 64, 32768, 10000);
	usleep(150000);
}

START_TEST(a_started_write_may_be_lost)
{
	half_a_write_that_started();
	close(c->fd);
	c->fd = dup(STDIN_FILENO);
	usleep(50000);
	ck_assert_int_eq(target.volume->writes, 0);
} /* teardown stops the target, which waits for the connection */
END_TEST

START_TEST(a_started_write_may_be_aborted)
{
	half_a_write_that_started();
	struct client *other = client_connect(target.port), *first = c;
	other->isid[5] = 2;
	c = other;
	login(NULL);
	ck_assert_uint_eq(abort_set(other), TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	client_free(other);
	c = first;
	client_send_raw(c, pattern, 32768 - 10000); /* the rest is discarded */
	client_expect(c, OP_NOP_IN);
	client_ready(c);
}
END_TEST

/* ---- a peer that asks and does not listen ---- */

/* As much as the socket takes within that time. */
static size_t send_unheard(const void *data, size_t len, int ms)
{
	const char *p = data;
	size_t sent = 0;
	struct pollfd f = {.fd = c->fd, .events = POLLOUT};
	while (sent < len && poll(&f, 1, ms) > 0) {
		ssize_t n = send(c->fd, p + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	return sent;
}

static void small_receive_buffer(void)
{
	int small = 4096;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
}

/* Pings of 256 KiB, 64 MiB of them; returns how much the target took. */
static size_t ping_unheard(void)
{
	size_t total = 0;
	for (unsigned i = 0; i < 256; i++) {
		struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
		be32_put(b.itt, 1000 + i);
		be32_put(b.ttt, PDU_NO_TAG);
		be32_put(b.cmdsn, c->cmdsn);
		be32_put(b.expstatsn, c->statsn);
		be24_put(b.dsl, 262144);
		size_t n = send_unheard(&b, sizeof(b), 300);
		if (n == sizeof(b))
			n += send_unheard(pattern, 262144, 300);
		total += n;
		if (n < sizeof(b) + 262144)
			break;
	}
	return total;
}

START_TEST(answers_nobody_takes_are_bounded)
{
	small_receive_buffer();
	login((const char *[]){"MaxRecvDataSegmentLength=262144", NULL});
	ck_assert_uint_lt(ping_unheard(),
			  14 << 20); /* what both sockets' buffers hold, and a little */
}
END_TEST

START_TEST(stop_does_not_wait_for_a_deaf_peer)
{
	small_receive_buffer();
	login((const char *[]){"MaxRecvDataSegmentLength=262144", NULL});
	ping_unheard();
	uint64_t t0 = env_now_ns(env_real());
	target_stop(&target);
	ck_assert_uint_lt(env_now_ns(env_real()) - t0, 6 * NS_PER_S);
	target_start(&target, 1, "127.0.0.1:0", NULL);
}
END_TEST

/* Reads whose data nobody takes pin the cache; signs of life do not keep them. */
START_TEST(a_deaf_reader_is_dropped)
{
	uint8_t cdb[16];
	small_receive_buffer();
	login((const char *[]){"MaxRecvDataSegmentLength=262144", NULL});
	cdb_rw(cdb, false, 0, 2048);
	for (int i = 0; i < 64; i++)
		client_command(c, 0xc0, cdb, 1 << 20, NULL, 0);
	usleep(200000);
	ck_assert_int_gt(target.volume->pins, 0);
	for (int i = 0; i < 80 && target.volume->pins; i++) {
		sign_of_life();
		usleep(100000);
	}
	ck_assert_int_eq(target.volume->pins, 0);
}
END_TEST

/* ---- a peer that says it will write, and does not ---- */

START_TEST(data_that_does_not_come_ends_the_connection)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	ck_assert_int_eq(target.volume->writes, 1);
	/* Pings keep the connection alive, but not the write. */
	for (int i = 0; i < 50 && target.volume->writes; i++) {
		sign_of_life();
		usleep(100000);
	}
	ck_assert_int_eq(target.volume->writes, 0);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(unsolicited_data_that_does_not_come_ends_the_connection)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0x20, cdb, 8192, NULL, 0);
	usleep(100000);
	ck_assert_int_eq(target.volume->writes, 1);
	ck_assert(!client_recv(c));
	for (int i = 0; i < 500 && target.volume->writes; i++)
		usleep(10000); /* it ends just after the connection */
	ck_assert_int_eq(target.volume->writes, 0);
}
END_TEST

START_TEST(data_may_come_slowly)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	for (unsigned i = 0; i < 8; i++) { /* four seconds in all */
		usleep(500000);
		client_data_out(c, itt, 0, i, i * 1024, pattern + i * 1024, 1024, i == 7);
	}
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, 0);
}
END_TEST

/* ---- connections that say nothing ---- */

START_TEST(silent_connections_keep_nobody_out)
{
	int fds[200];
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
		struct client *silent = client_connect(target.port);
		fds[i] = dup(silent->fd);
		client_free(silent);
	}
	usleep(200000);
	for (unsigned i = 0; i < 6; i++) {
		client_free(c);
		c = client_connect(target.port);
		login(NULL);
	}
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	client_ready(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi hostile peers");
	TCase *tc = tcase_create("peers");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_started_write_may_be_lost);
	tcase_add_test(tc, a_started_write_may_be_aborted);
	tcase_add_test(tc, answers_nobody_takes_are_bounded);
	tcase_add_test(tc, stop_does_not_wait_for_a_deaf_peer);
	tcase_add_test(tc, a_deaf_reader_is_dropped);
	tcase_add_test(tc, data_that_does_not_come_ends_the_connection);
	tcase_add_test(tc, unsolicited_data_that_does_not_come_ends_the_connection);
	tcase_add_test(tc, data_may_come_slowly);
	tcase_add_test(tc, silent_connections_keep_nobody_out);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
