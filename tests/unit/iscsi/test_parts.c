/* Transfers longer than the cache lends at once: they go in parts, and hold no more than one. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/err.h"
#include "tests/unit/iscsi/peer.h"

#define BLOCKS 7000u
#define LEN    (BLOCKS * 512)
static uint8_t data[LEN], back[LEN];

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 64, .data_timeout_s = 20});
	for (size_t i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 11 + i / 4096);
}

static uint32_t send_cmd(bool write, unsigned blocks, uint32_t immediate)
{
	uint8_t cdb[16];
	cdb_rw(cdb, write, 0, blocks);
	return client_command(c, write ? 0xa0 : 0xc0, cdb, blocks * 512, data, immediate);
}

static const char *const key_sets[][8] = {
    {"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=65536", NULL},
    {"InitialR2T=No", "ImmediateData=Yes", "MaxBurstLength=16776192", "MaxOutstandingR2T=4",
     "FirstBurstLength=262144", "MaxRecvDataSegmentLength=262144", NULL},
    {"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=262144", "MaxBurstLength=300000",
     "HeaderDigest=CRC32C", "DataDigest=CRC32C", "MaxRecvDataSegmentLength=100000", NULL},
};

START_TEST(they_come_back_whole)
{
	static const uint32_t immediate[] = {0, 262144, 262144};
	login(key_sets[_i / 2]);
	target.volume->miss = _i & 1; /* with and without waiting */
	uint32_t itt = send_cmd(true, BLOCKS, immediate[_i / 2]);
	serve_r2ts(itt, data, 65536);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	ck_assert_uint_eq(c->bhs.flags, PDU_FINAL); /* no residual */
	ck_assert_mem_eq(target.volume->data, data, LEN);
	ck_assert_uint_eq(take_data(send_cmd(false, BLOCKS, 0), back), LEN);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	ck_assert_mem_eq(back, data, LEN);
	/* less is expected than the command has: the end lies within a part */
	memset(back, 0, LEN);
	ck_assert_uint_eq(read_blocks(0, BLOCKS, 1500000, back), 1500000);
	ck_assert_uint_eq(c->bhs.flags & 0x06, RSP_OVERFLOW);
	ck_assert_uint_eq(be32_get(c->bhs.residual), LEN - 1500000);
	ck_assert_mem_eq(back, data, 1500000);
}
END_TEST

/* RFC 7143 11.7.1: no sequence is longer than MaxBurstLength, each ends with F. */
START_TEST(sequences_keep_to_the_burst)
{
	uint32_t got = 0, sequence = 0;
	login((const char *[]){"MaxBurstLength=300000", "MaxRecvDataSegmentLength=70000", NULL});
	memcpy(target.volume->data, data, LEN);
	send_cmd(false, BLOCKS, 0);
	while (got < LEN) {
		client_expect(c, OP_DATA_IN);
		ck_assert_mem_eq(c->data, data + got, c->len);
		got += c->len;
		sequence += c->len;
		ck_assert_uint_le(sequence, 300000);
		if (c->bhs.flags & PDU_FINAL)
			sequence = 0;
	}
	ck_assert_uint_eq(sequence, 0);
	ck_assert_uint_ne(c->bhs.flags & DATA_IN_STATUS, 0);
}
END_TEST

START_TEST(a_later_part_may_fail)
{
	login(NULL);
	target.volume->miss = true;
	wait_ms = 0;
	uint32_t itt = send_cmd(true, BLOCKS, 0), at = 0;
	while (client_recv(c) && pdu_opcode(&c->bhs) == OP_R2T) {
		uint32_t ttt = be32_get(c->bhs.ttt), len = be32_get(c->bhs.desired);
		ck_assert_uint_eq(be32_get(c->bhs.offset), at);
		if (at >= 1 << 20)
			target.volume->write_err = -ERR_MEDIUM;
		client_data_out(c, itt, ttt, 0, at, data + at, len, true);
		at += len;
	}
	ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_lt(at, LEN);
	ck_assert_mem_eq(target.volume->data, data, 1 << 20);
	/* a read: what was sent counts */
	target.volume->write_err = 0;
	target.volume->read_err = 0;
	int small = 65536;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	send_cmd(false, BLOCKS, 0);
	client_expect(c, OP_DATA_IN);
	target.volume->read_err = -ERR_MEDIUM;
	uint32_t got = c->len;
	while (client_recv(c) && pdu_opcode(&c->bhs) == OP_DATA_IN && !(c->bhs.flags & 1))
		got += c->len;
	if (pdu_opcode(&c->bhs) == OP_SCSI_RSP) { /* all may have been sent before */
		ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(got % (1 << 20), 0);
		ck_assert_uint_eq(be32_get(c->bhs.residual), LEN - got);
	}
	target.volume->read_err = 0;
}
END_TEST

/* In the middle: by task management, and by the loss of the connection. */
START_TEST(they_may_be_aborted)
{
	int small = 65536;
	login(NULL);
	target.volume->miss = _i & 1;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	uint32_t itt = send_cmd(_i & 2, BLOCKS, 0);
	client_expect(c, _i & 2 ? OP_R2T : OP_DATA_IN);
	if (_i & 4) {
		close(c->fd);
		c->fd = dup(STDIN_FILENO);
		return; /* teardown looks what is held */
	}
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE, .flags = PDU_FINAL | TMF_ABORT_TASK};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ref_tag, itt);
	be32_put(b.refcmdsn, c->cmdsn - 1);
	be32_put(b.cmdsn, c->cmdsn);
	be32_put(b.expstatsn, c->statsn);
	client_send(c, &b, NULL, 0);
	do
		ck_assert(client_recv(c));
	while (pdu_opcode(&c->bhs) == OP_DATA_IN && !(c->bhs.flags & DATA_IN_STATUS));
	if (pdu_opcode(&c->bhs) != OP_TMF_RSP) /* it was through before */
		client_expect(c, OP_TMF_RSP);
	/* the connection works on */
	target.volume->miss = false;
	serve_r2ts(send_cmd(true, 64, 0), data, 65536);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
}
END_TEST

/*
 * Many announce as much as one command may move, and move nothing: what they keep is a part each,
 * and others are served.
 */
START_TEST(announcing_much_keeps_nobody_out)
{
	struct client *crowd[40], *first = c;
	for (unsigned i = 0; i < ARRAY_LEN(crowd); i++) {
		c = crowd[i] = client_connect(target.port);
		c->isid[5] = (uint8_t)(i + 2);
		login(NULL);
		send_cmd(true, BLOCKS, 0);
		client_expect(c, OP_R2T);
		int small = 65536;
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		send_cmd(false, BLOCKS, 0); /* and takes nothing of this */
	}
	c = first;
	login(NULL);
	serve_r2ts(send_cmd(true, BLOCKS, 0), data, 65536);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	ck_assert_uint_eq(take_data(send_cmd(false, BLOCKS, 0), back), LEN);
	ck_assert_mem_eq(back, data, LEN);
	ck_assert_int_eq(target.volume->writes, (int)ARRAY_LEN(crowd));
	ck_assert_int_le(target.volume->pins, (int)ARRAY_LEN(crowd));
	for (unsigned i = 0; i < ARRAY_LEN(crowd); i++)
		client_free(crowd[i]);
}
END_TEST

/* Data that comes before its pages is kept in a pool; beyond that the initiator tries again. */
START_TEST(early_data_is_bounded)
{
	enum { CLIENTS = 10, EACH = 30, SIZE = 262144 }; /* 37 MiB a reactor, whose pool has 32 */
	struct client *all[CLIENTS], *first = c;
	unsigned good = 0, full = 0;
	for (unsigned k = 0; k < CLIENTS; k++) {
		all[k] = c = k ? client_connect(target.port) : first;
		c->isid[5] = (uint8_t)(k + 1);
		login((const char *[]){"InitialR2T=No", "ImmediateData=Yes",
				       "FirstBurstLength=262144", NULL});
	}
	target.volume->miss = true;
	wait_ms = 4000;
	for (unsigned i = 0; i < CLIENTS * EACH; i++) {
		c = all[i % CLIENTS];
		send_cmd(true, SIZE / 512, SIZE);
	}
	for (unsigned i = 0; i < CLIENTS * EACH; i++) {
		c = all[i % CLIENTS];
		client_expect(c, OP_SCSI_RSP);
		good += c->bhs.status == SCSI_GOOD;
		full += c->bhs.status == SCSI_TASK_SET_FULL;
	}
	ck_assert_uint_eq(good + full, CLIENTS * EACH);
	ck_assert_uint_ge(good, 128); /* a whole pool at least */
	ck_assert_uint_gt(full, 0);
	target.volume->miss = false;
	for (unsigned k = 0; k < CLIENTS; k++) {
		c = all[k];
		serve_r2ts(send_cmd(true, 512, SIZE), data, 65536);
		ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
		if (k)
			client_free(c);
	}
	c = first;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi_parts");
	TCase *tc = tcase_create("parts");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, they_come_back_whole, 0, 2 * (int)ARRAY_LEN(key_sets));
	tcase_add_test(tc, sequences_keep_to_the_burst);
	tcase_add_test(tc, a_later_part_may_fail);
	tcase_add_loop_test(tc, they_may_be_aborted, 0, 8);
	tcase_add_test(tc, announcing_much_keeps_nobody_out);
	tcase_add_test(tc, early_data_is_bounded);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
