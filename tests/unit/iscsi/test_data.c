/* Data over the loopback in all its forms, what is wrong with it, order of commands. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 4});
}

static const char *const key_sets[][8] = {
    {"InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=65536", NULL},
    {"InitialR2T=Yes", "ImmediateData=Yes", "FirstBurstLength=8192", NULL},
    {"InitialR2T=No", "ImmediateData=No", "FirstBurstLength=16384", "MaxBurstLength=32768", NULL},
    {"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=65536", "MaxOutstandingR2T=4", NULL},
    {"InitialR2T=No", "ImmediateData=Yes", "HeaderDigest=CRC32C", "DataDigest=CRC32C",
     "MaxRecvDataSegmentLength=4096", NULL},
    {"InitialR2T=No", "ImmediateData=Yes", "DataDigest=CRC32C,None", "MaxBurstLength=512",
     "FirstBurstLength=512", NULL},
};

START_TEST(data_comes_back_in_all_forms)
{
	static uint8_t back[sizeof(pattern)];
	static const struct {
		uint32_t burst, first;
		bool immediate, unsolicited;
	} forms[] = {{65536, 0, false, false},	  {262144, 8192, true, false},
		     {32768, 16384, false, true}, {262144, 65536, true, true},
		     {262144, 65536, true, true}, {512, 512, true, true}};
	unsigned blocks = _i == 5 ? 40 : 700;
	uint32_t len = blocks * 512, dsl = _i == 1 ? 7001 : 16384;
	login(key_sets[_i]);
	target.volume->miss = _i & 1; /* with and without waiting */
	uint32_t immediate = forms[_i].immediate ? MIN(forms[_i].first, 4096u) : 0;
	uint32_t first = forms[_i].unsolicited ? forms[_i].first : immediate;
	unsigned r2ts = write_blocks(3, blocks, immediate, first, dsl);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	ck_assert_uint_eq(c->bhs.flags, PDU_FINAL);
	ck_assert_uint_eq(r2ts, (len - first + forms[_i].burst - 1) / forms[_i].burst);
	check_volume(3, len);
	ck_assert_uint_eq(read_blocks(3, blocks, len, back), len);
	ck_assert_mem_eq(back, pattern, len);
}
END_TEST

START_TEST(all_of_it_immediate)
{
	login((const char *[]){"InitialR2T=No", "ImmediateData=Yes", NULL});
	ck_assert_uint_eq(write_blocks(9, 8, 4096, 4096, 4096), 0);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	check_volume(9, 4096);
	target.volume->miss = true; /* the data comes before the pages */
	wait_ms = 30;
	ck_assert_uint_eq(write_blocks(19, 16, 4096, 8192, 2048), 0);
	check_volume(19, 8192);
}
END_TEST

START_TEST(residuals)
{
	static uint8_t back[65536];
	login(NULL);
	ck_assert_uint_eq(read_blocks(0, 1, 10000, back), 512);
	ck_assert_uint_eq(c->bhs.flags & (RSP_OVERFLOW | RSP_UNDERFLOW), RSP_UNDERFLOW);
	ck_assert_uint_eq(be32_get(c->bhs.residual), 10000 - 512);
	ck_assert_uint_eq(read_blocks(0, 2, 700, back), 700);
	ck_assert_uint_eq(c->bhs.flags & (RSP_OVERFLOW | RSP_UNDERFLOW), RSP_OVERFLOW);
	ck_assert_uint_eq(be32_get(c->bhs.residual), 1024 - 700);
	ck_assert_uint_eq(read_blocks(0, 1, 0, back), 0);
	ck_assert_uint_eq(c->bhs.flags & (RSP_OVERFLOW | RSP_UNDERFLOW), RSP_OVERFLOW);
	uint8_t cdb[16];
	cdb_rw(cdb, true, 0, 1);
	serve_r2ts(client_command(c, 0xa0, cdb, 2048, pattern, 2048), pattern, 512);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	ck_assert_uint_eq(c->bhs.flags & (RSP_OVERFLOW | RSP_UNDERFLOW), RSP_UNDERFLOW);
	ck_assert_uint_eq(be32_get(c->bhs.residual), 2048 - 512);
	cdb_rw(cdb, true, 0, 3);
	serve_r2ts(client_command(c, 0xa0, cdb, 1024, pattern, 1024), pattern, 512);
	ck_assert_uint_eq(c->bhs.flags & (RSP_OVERFLOW | RSP_UNDERFLOW), RSP_OVERFLOW);
	ck_assert_uint_eq(be32_get(c->bhs.residual), 512);
}
END_TEST

START_TEST(sense_comes_with_its_length)
{
	static uint8_t back[512];
	login(NULL);
	ck_assert_uint_eq(read_blocks(1 << 20, 1, 512, back), 0);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(be16_get(c->data) + 2u, c->len);
	ck_assert_uint_eq(c->data[2] & 0x7f, 0x70);
	ck_assert_uint_eq(c->data[2 + 2] & 0xf, 5); /* ILLEGAL REQUEST */
	ck_assert_uint_eq(c->data[2 + 12], 0x21);   /* LBA OUT OF RANGE */
}
END_TEST

START_TEST(a_failed_write_still_takes_its_unsolicited_data)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=No", NULL});
	cdb_rw(cdb, true, 1 << 20, 16);
	uint32_t itt = client_command(c, 0x20, cdb, 8192, pattern, 1024);
	ck_assert(client_quiet(c, 100)); /* not before the F bit */
	client_data_out(c, itt, PDU_NO_TAG, 0, 1024, pattern, 7168, true);
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	client_ready(c);
}
END_TEST

START_TEST(wrong_data_ends_the_connection)
{
	static const struct {
		uint32_t ttt, sn, off, len;
	} wrong[] = {
	    {0, 0, 0, 8192 + 4},     /* more than asked for */
	    {1, 0, 0, 512},	     /* no such R2T */
	    {PDU_NO_TAG, 0, 0, 512}, /* unsolicited, and none is due */
	};
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	client_data_out(c, itt, wrong[_i].ttt, wrong[_i].sn, wrong[_i].off, pattern, wrong[_i].len,
			true);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_PROTOCOL);
	ck_assert_uint_eq(c->len, 48);
	ck_assert_uint_eq(c->data[0], OP_DATA_OUT);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(lost_data_fails_the_command)
{
	static const struct {
		uint32_t sn, off;
	} wrong[] = {{1, 0}, {0, 4096}, {-1u, 8192}};
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	client_data_out(c, itt, 0, wrong[_i].sn, wrong[_i].off, pattern, 8000, false);
	client_data_out(c, itt, 0, 1, 0, pattern, 8000, false); /* too much altogether */
	ck_assert(client_quiet(c, 50));
	client_data_out(c, itt, 0, 2, 0, pattern, 0, true);
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(be16_get(c->data + 2 + 12), 0x4705);
	ck_assert_uint_eq(target.volume->commits, 0);
	client_ready(c);
}
END_TEST

START_TEST(too_little_data_fails_the_command)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	client_data_out(c, itt, 0, 0, 0, pattern, 4096, true);
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(c->data[2 + 2] & 0xf, 0xb); /* ABORTED COMMAND */
	ck_assert_uint_eq(be16_get(c->data + 2 + 12), 0x0c0d);
	ck_assert_uint_eq(target.volume->commits, 0);
}
END_TEST

START_TEST(a_bad_data_digest_fails_the_command)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "DataDigest=CRC32C", NULL});
	cdb_rw(cdb, true, 0, 64);
	uint32_t itt = client_command(c, 0xa0, cdb, 32768, NULL, 0);
	client_expect(c, OP_R2T);
	struct bhs b = {.opcode = OP_DATA_OUT, .flags = PDU_FINAL};
	be32_put(b.itt, itt);
	be24_put(b.dsl, 32768);
	client_send_raw(c, &b, sizeof(b));
	client_send_raw(c, pattern, 32768);
	client_send_raw(c, "\1\2\3\4", 4);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_DATA_DIGEST);
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(be16_get(c->data + 2 + 12), 0x4705);
	ck_assert_uint_eq(target.volume->commits, 0);
	client_ready(c);
}
END_TEST

START_TEST(a_bad_header_digest_closes)
{
	static const uint8_t bad[52];
	login((const char *[]){"HeaderDigest=CRC32C", NULL});
	client_send_raw(c, bad, sizeof(bad));
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(command_numbers)
{
	static const uint8_t tur[16];
	login(NULL);
	uint32_t sn = c->cmdsn;
	c->cmdsn = sn - 1;
	client_command(c, 0x80, tur, 0, NULL, 0); /* a duplicate */
	c->cmdsn = c->maxcmdsn + 1;
	client_command(c, 0x80, tur, 0, NULL, 0); /* beyond the window */
	ck_assert(client_quiet(c, 100));
	c->cmdsn = sn;
	client_ready(c);
	c->cmdsn += 2; /* a hole */
	client_command(c, 0x80, tur, 0, NULL, 0);
	client_expect(c, OP_REJECT);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(the_window_closes_and_opens)
{
	uint8_t cdb[16];
	static uint8_t back[512];
	login(NULL);
	uint32_t depth = c->maxcmdsn - c->cmdsn + 1;
	ck_assert_uint_eq(depth, 128);
	target.volume->miss = true;
	wait_ms = 200;
	cdb_rw(cdb, false, 0, 1);
	for (unsigned i = 0; i < depth; i++)
		client_command(c, 0xc0, cdb, 512, NULL, 0);
	client_command(c, 0xc0, cdb, 512, NULL, 0); /* one too many: ignored */
	c->cmdsn--;
	uint32_t first = c->itt - depth;
	for (unsigned i = 0; i < depth; i++)
		take_data(first + i, back);
	ck_assert_uint_eq(c->maxcmdsn - c->cmdsn + 1, depth);
	ck_assert(client_quiet(c, 50));
}
END_TEST

START_TEST(a_task_tag_in_use_is_rejected)
{
	uint8_t cdb[16];
	static uint8_t back[512];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 100;
	cdb_rw(cdb, false, 0, 1);
	uint32_t itt = client_command(c, 0xc0, cdb, 512, NULL, 0);
	c->itt--;
	client_command(c, 0xc0, cdb, 512, NULL, 0);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_TASK_IN_PROGRESS);
	ck_assert_uint_eq(take_data(itt, back), 512);
	client_ready(c);
}
END_TEST

START_TEST(a_connection_lost_in_the_middle_leaves_nothing)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", NULL});
	cdb_rw(cdb, true, 0, 512);
	for (int i = 0; i < 20; i++)
		client_command(c, 0xa0, cdb, 512 * 512, pattern, 4096);
	client_expect(c, OP_R2T);
	uint32_t itt = be32_get(c->bhs.itt);
	struct bhs b = {.opcode = OP_DATA_OUT};
	be32_put(b.itt, itt);
	be32_put(b.offset, 4096);
	be24_put(b.dsl, 65536);
	client_send_raw(c, &b, sizeof(b));
	client_send_raw(c, pattern, 30000); /* half a PDU, into the pages */
	usleep(20000);
	ck_assert_int_gt(target.volume->writes, 0);
} /* teardown closes, and looks at what is held */
END_TEST

/* The command is ready to take its data in the middle of the PDU that brings it. */
START_TEST(a_connection_lost_while_a_start_waits_leaves_nothing)
{
	login((const char *[]){"InitialR2T=No", NULL});
	target.volume->miss = true;
	wait_ms = _i ? 0 : 50;
	struct bhs b = {.opcode = OP_SCSI_CMD, .flags = 0xa0};
	be32_put(b.itt, 99);
	be32_put(b.edtl, 8192);
	be32_put(b.cmdsn, c->cmdsn);
	cdb_rw(b.cdb, true, 0, 16);
	be24_put(b.dsl, 8192);
	client_send_raw(c, &b, sizeof(b));
	client_send_raw(c, pattern, 4000);
	usleep(_i == 1 ? 100000 : 10000);
	if (_i != 2)
		return;
	usleep(50000);
	client_send_raw(c, pattern + 4000, 4192);
	client_expect(c, OP_SCSI_RSP);
	ck_assert_uint_eq(c->bhs.status, SCSI_GOOD);
	check_volume(0, 8192);
}
END_TEST

/* Much at once, byte by byte: PDUs cut anywhere. */
START_TEST(pdus_come_in_any_pieces)
{
	static uint8_t back[4096];
	uint8_t all[48 * 40];
	login(NULL);
	uint32_t first = c->itt + 1;
	for (unsigned i = 0; i < 40; i++) {
		struct bhs b = {.opcode = OP_SCSI_CMD, .flags = 0xc0};
		be32_put(b.itt, ++c->itt);
		be32_put(b.edtl, 4096);
		be32_put(b.cmdsn, c->cmdsn++);
		cdb_rw(b.cdb, false, i, 8);
		memcpy(all + 48 * i, &b, 48);
	}
	for (size_t at = 0; at < sizeof(all);) {
		size_t n = MIN((size_t)(1 + at % 61), sizeof(all) - at);
		client_send_raw(c, all + at, n);
		at += n;
	}
	for (unsigned i = 0; i < 40; i++) {
		ck_assert_uint_eq(take_data(first + i, back), 4096);
		ck_assert_mem_eq(back, target.volume->data + 512 * i, 4096);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi data");
	TCase *tc = tcase_create("data");
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, data_comes_back_in_all_forms, 0, (int)ARRAY_LEN(key_sets));
	tcase_add_test(tc, all_of_it_immediate);
	tcase_add_test(tc, residuals);
	tcase_add_test(tc, sense_comes_with_its_length);
	tcase_add_test(tc, a_failed_write_still_takes_its_unsolicited_data);
	tcase_add_loop_test(tc, wrong_data_ends_the_connection, 0, 3);
	tcase_add_loop_test(tc, lost_data_fails_the_command, 0, 3);
	tcase_add_test(tc, too_little_data_fails_the_command);
	tcase_add_test(tc, a_bad_data_digest_fails_the_command);
	tcase_add_test(tc, a_bad_header_digest_closes);
	tcase_add_test(tc, command_numbers);
	tcase_add_test(tc, the_window_closes_and_opens);
	tcase_add_test(tc, a_task_tag_in_use_is_rejected);
	tcase_add_test(tc, a_connection_lost_in_the_middle_leaves_nothing);
	tcase_add_loop_test(tc, a_connection_lost_while_a_start_waits_leaves_nothing, 0, 3);
	tcase_add_test(tc, pdus_come_in_any_pieces);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
