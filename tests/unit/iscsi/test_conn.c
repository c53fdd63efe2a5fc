/* Connections over the loopback: data transfer in all its forms, task management, ends. */
#include <check.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "server/scsi/scsi.h"
#include "tests/unit/iscsi/client.h"
#include "tests/unit/iscsi/target.h"

static struct target target;
static struct client *c;
static uint8_t pattern[1 << 20];

/* Linked in place of the SCSI layer's: commands that wait can be made to wait long. */
static _Atomic unsigned wait_ms;
enum scsi_next __real_scsi_start_wait(struct scsi_cmd *cmd);
enum scsi_next __wrap_scsi_start_wait(struct scsi_cmd *cmd);
enum scsi_next __wrap_scsi_start_wait(struct scsi_cmd *cmd)
{
	if (wait_ms)
		env_sleep_ns(env_real(), wait_ms * NS_PER_MS);
	return __real_scsi_start_wait(cmd);
}

static void setup(void)
{
	wait_ms = 0;
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 512);
	target_make(&target, 4 << 20);
	target_start(&target, 2, "127.0.0.1:0", &(struct iscsi_opts){.max_connections = 4});
	c = client_connect(target.port);
}

static void teardown(void)
{
	client_free(c);
	target_stop(&target);
	ck_assert_int_eq(target.volume->pins, 0);
	ck_assert_int_eq(target.volume->writes, 0);
	target_free(&target);
}

static void login(const char *const *keys)
{
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, keys), 0);
	client_ready(c);
}

/* Takes Data-In up to the status; returns the bytes that came. */
static uint32_t take_data(uint32_t itt, uint8_t *to)
{
	uint32_t got = 0, sn = 0;
	for (;;) {
		ck_assert(client_recv(c));
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			return got;
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_DATA_IN);
		ck_assert_uint_eq(be32_get(c->bhs.datasn), sn++);
		ck_assert_uint_eq(be32_get(c->bhs.offset), got);
		memcpy(to + got, c->data, c->len);
		got += c->len;
		if (c->bhs.flags & DATA_IN_STATUS) {
			ck_assert_uint_ne(c->bhs.flags & PDU_FINAL, 0);
			return got;
		}
	}
}

static uint32_t read_blocks(uint32_t lba, unsigned blocks, uint32_t edtl, uint8_t *to)
{
	uint8_t cdb[16];
	cdb_rw(cdb, false, lba, blocks);
	return take_data(client_command(c, 0xc0, cdb, edtl, NULL, 0), to);
}

/* Sends the data of R2Ts, in PDUs of dsl bytes, until the response; R2Ts seen. */
static unsigned serve_r2ts(uint32_t itt, const uint8_t *data, uint32_t dsl)
{
	unsigned n = 0;
	for (;;) {
		ck_assert(client_recv(c));
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		if (pdu_opcode(&c->bhs) == OP_SCSI_RSP)
			return n;
		ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_R2T);
		ck_assert_uint_eq(be32_get(c->bhs.r2tsn), n++);
		uint32_t off = be32_get(c->bhs.offset), len = be32_get(c->bhs.desired);
		uint32_t ttt = be32_get(c->bhs.ttt), sn = 0;
		for (uint32_t at = 0; at < len; at += dsl) {
			uint32_t piece = MIN(dsl, len - at);
			client_data_out(c, itt, ttt, sn++, off + at, data + off + at, piece,
					at + piece == len);
		}
	}
}

/* A write of all forms: immediate bytes, unsolicited up to `first`, the rest asked for. */
static unsigned write_blocks(uint32_t lba, unsigned blocks, uint32_t immediate, uint32_t first,
			     uint32_t dsl)
{
	uint32_t len = blocks * 512, sn = 0;
	uint8_t cdb[16];
	cdb_rw(cdb, true, lba, blocks);
	bool more = first > immediate;
	uint32_t itt = client_command(c, more ? 0x20 : 0xa0, cdb, len, pattern, immediate);
	for (uint32_t at = immediate; at < first; at += dsl) {
		uint32_t piece = MIN(dsl, first - at);
		client_data_out(c, itt, PDU_NO_TAG, sn++, at, pattern + at, piece,
				at + piece == first);
	}
	return serve_r2ts(itt, pattern, dsl);
}

static void check_volume(uint32_t lba, uint32_t len)
{
	ck_assert_mem_eq(target.volume->data + lba * 512, pattern, len);
}

/* ---- data ---- */

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

/* ---- order ---- */

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

/* ---- task management ---- */

static unsigned tmf(unsigned function, uint32_t ref, uint8_t lun)
{
	struct bhs b = {.opcode = OP_TMF_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | function),
			.lun = {0, lun}};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ref_tag, ref);
	be32_put(b.cmdsn, c->cmdsn);
	be32_put(b.expstatsn, c->statsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_TMF_RSP);
	ck_assert_uint_eq(be32_get(c->bhs.itt), c->itt);
	return c->bhs.response;
}

START_TEST(tasks_are_aborted)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	uint32_t itt = client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	ck_assert_int_eq(target.volume->writes, 1);
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	client_data_out(c, itt, 0, 0, 0, pattern, 8192, true); /* comes too late */
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_NO_TASK);
	client_ready(c);
	ck_assert_uint_eq(target.volume->commits, 0);
}
END_TEST

START_TEST(an_abort_waits_for_what_is_running)
{
	uint8_t cdb[16];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 300;
	cdb_rw(cdb, false, 0, 1);
	uint32_t itt = client_command(c, 0xc0, cdb, 512, NULL, 0);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, itt, 0), TMF_COMPLETE);
	ck_assert_uint_ge(env_now_ns(env_real()) - t0, 200 * NS_PER_MS);
	ck_assert(client_quiet(c, 100)); /* no response of the aborted one */
	client_ready(c);
}
END_TEST

START_TEST(functions_and_their_answers)
{
	static const struct {
		unsigned function;
		uint8_t lun, want;
	} cases[] = {
	    {TMF_ABORT_TASK_SET, 0, TMF_COMPLETE}, {TMF_ABORT_TASK_SET, 9, TMF_NO_LUN},
	    {TMF_CLEAR_TASK_SET, 0, TMF_COMPLETE}, {TMF_CLEAR_TASK_SET, 9, TMF_NO_LUN},
	    {TMF_LU_RESET, 0, TMF_COMPLETE},	   {TMF_LU_RESET, 9, TMF_NO_LUN},
	    {TMF_WARM_RESET, 0, TMF_COMPLETE},	   {TMF_TASK_REASSIGN, 0, TMF_NO_REASSIGN},
	    {TMF_CLEAR_ACA, 0, TMF_UNSUPPORTED},   {99, 0, TMF_UNSUPPORTED},
	};
	login(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		ck_assert_uint_eq(tmf(cases[i].function, PDU_NO_TAG, cases[i].lun), cases[i].want);
	client_ready(c);
	ck_assert_uint_eq(tmf(TMF_COLD_RESET, PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(clear_task_set_reaches_other_sessions)
{
	uint8_t cdb[16];
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	cdb_rw(cdb, true, 0, 16);
	client_command(c, 0xa0, cdb, 8192, NULL, 0);
	client_expect(c, OP_R2T);
	struct client *first = c;
	c = client_connect(target.port);
	c->isid[5] = 2;
	login(NULL);
	ck_assert_uint_eq(tmf(TMF_CLEAR_TASK_SET, PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert_int_eq(target.volume->writes, 0);
	client_free(c);
	c = first;
	client_expect(c, OP_NOP_IN); /* the window, as no response will tell it */
	client_ready(c);
}
END_TEST

/* ---- the rest ---- */

static void nop(uint32_t itt, const void *data, uint32_t len)
{
	struct bhs b = {.opcode = OP_NOP_OUT | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, data, len);
}

START_TEST(pings_are_echoed)
{
	login((const char *[]){"MaxRecvDataSegmentLength=131072", NULL});
	nop(5, pattern, 100001);
	client_expect(c, OP_NOP_IN);
	ck_assert_uint_eq(be32_get(c->bhs.itt), 5);
	ck_assert_uint_eq(be32_get(c->bhs.ttt), PDU_NO_TAG);
	ck_assert_uint_eq(c->len, 100001);
	ck_assert_mem_eq(c->data, pattern, 100001);
	nop(PDU_NO_TAG, NULL, 0);
	ck_assert(client_quiet(c, 50));
}
END_TEST

START_TEST(unknown_opcodes_are_rejected)
{
	login(NULL);
	struct bhs b = {.opcode = 0x1f | PDU_IMMEDIATE};
	client_send(c, &b, pattern, 9000);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_UNSUPPORTED);
	b.opcode = OP_SNACK | PDU_IMMEDIATE;
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_REJECT);
	ck_assert_uint_eq(c->bhs.reason, REJECT_SNACK);
	client_ready(c);
}
END_TEST

static void text_request(const char *text, uint32_t len)
{
	struct bhs b = {.opcode = OP_TEXT_REQ, .flags = PDU_FINAL};
	be32_put(b.itt, ++c->itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn++);
	client_send(c, &b, text, len);
	client_expect(c, OP_TEXT_RSP);
}

START_TEST(discovery)
{
	static const uint8_t tur[16];
	char want[64];
	ck_assert_uint_eq(client_login(c, NULL, (const char *[]){"SessionType=Discovery", NULL}),
			  0);
	text_request("SendTargets=All", 16);
	ck_assert_uint_eq(c->bhs.flags, PDU_FINAL);
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_OPEN);
	snprintf(want, sizeof(want), "127.0.0.1:%u,1", target.port);
	ck_assert_str_eq(client_text(c, "TargetAddress"), want);
	ck_assert_ptr_null(memmem(c->data, c->len, TARGET_MASKED, strlen(TARGET_MASKED)));
	text_request("SendTargets=" TARGET_CHAP, sizeof("SendTargets=" TARGET_CHAP));
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_CHAP);
	text_request("SendTargets=", 13);
	ck_assert_str_eq(client_text(c, "SendTargets"), "Reject");
	client_command(c, 0x80, tur, 0, NULL, 0);
	client_expect(c, OP_REJECT);
}
END_TEST

START_TEST(text_in_a_normal_session)
{
	login(NULL);
	text_request("SendTargets=", 13);
	ck_assert_str_eq(client_text(c, "TargetName"), TARGET_OPEN);
	text_request("SendTargets=All", 16);
	ck_assert_str_eq(client_text(c, "SendTargets"), "Reject");
	text_request("MaxBurstLength=4096\0Odd=1", 26);
	ck_assert_str_eq(client_text(c, "MaxBurstLength"), "Reject");
	ck_assert_str_eq(client_text(c, "Odd"), "NotUnderstood");
}
END_TEST

START_TEST(long_text_comes_in_pieces)
{
	static char all[8192];
	size_t n = 0;
	ck_assert_uint_eq(client_login(c, NULL,
				       (const char *[]){"SessionType=Discovery",
							"MaxRecvDataSegmentLength=512", NULL}),
			  0);
	char text[2048];
	uint32_t len = 0;
	for (int i = 0; i < 100; i++)
		len += (uint32_t)sprintf(text + len, "Unknown%d=x", i) + 1;
	struct bhs b = {.opcode = OP_TEXT_REQ | PDU_IMMEDIATE, .flags = PDU_CONTINUE};
	be32_put(b.itt, 77);
	be32_put(b.ttt, PDU_NO_TAG);
	client_send(c, &b, text, 700);
	client_expect(c, OP_TEXT_RSP);
	ck_assert_uint_eq(c->bhs.flags, 0);
	memcpy(b.ttt, c->bhs.ttt, 4);
	b.flags = PDU_FINAL;
	client_send(c, &b, text + 700, len - 700);
	for (;;) {
		client_expect(c, OP_TEXT_RSP);
		ck_assert_uint_le(c->len, 512);
		memcpy(all + n, c->data, c->len);
		n += c->len;
		if (c->bhs.flags & PDU_FINAL)
			break;
		ck_assert_uint_eq(c->bhs.flags, PDU_CONTINUE);
		memcpy(b.ttt, c->bhs.ttt, 4);
		client_send(c, &b, NULL, 0);
	}
	ck_assert_ptr_nonnull(memmem(all, n, "Unknown0=NotUnderstood", 23));
	ck_assert_ptr_nonnull(memmem(all, n, "Unknown99=NotUnderstood", 24));
}
END_TEST

static unsigned logout(unsigned reason, unsigned cid)
{
	struct bhs b = {.opcode = OP_LOGOUT_REQ | PDU_IMMEDIATE,
			.flags = (uint8_t)(PDU_FINAL | reason)};
	be32_put(b.itt, ++c->itt);
	be16_put(b.cid, (uint16_t)cid);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_LOGOUT_RSP);
	return c->bhs.response;
}

START_TEST(logout_ends_the_session)
{
	login(NULL);
	ck_assert_uint_eq(logout(LOGOUT_RECOVERY, 0), LOGOUT_NO_RECOVERY);
	ck_assert_uint_eq(logout(LOGOUT_CONNECTION, 99), LOGOUT_NO_CID);
	ck_assert_uint_eq(logout(_i ? LOGOUT_SESSION : LOGOUT_CONNECTION, 0), LOGOUT_OK);
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(a_new_login_replaces_the_session)
{
	uint8_t cdb[16];
	login(NULL);
	target.volume->miss = true;
	wait_ms = 200;
	cdb_rw(cdb, false, 0, 1);
	client_command(c, 0xc0, cdb, 512, NULL, 0);
	usleep(20000);
	struct client *old = c;
	c = client_connect(target.port);
	uint64_t t0 = env_now_ns(env_real());
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL), 0);
	ck_assert_uint_ge(env_now_ns(env_real()) - t0, 100 * NS_PER_MS); /* its task ended first */
	wait_ms = 0;
	client_ready(c);
	struct client *fresh = c;
	c = old;
	ck_assert(!client_recv(c));
	client_free(old);
	c = fresh;
}
END_TEST

START_TEST(sessions_that_cannot_be_joined)
{
	login(NULL);
	struct client *first = c, *second = client_connect(target.port);
	second->tsih = be16_get(c->bhs.tsih) ? 1 : 1;
	ck_assert_uint_eq(client_login(second, TARGET_OPEN, NULL), LOGIN_TOO_MANY_CONNECTIONS);
	ck_assert(!client_recv(second));
	client_free(second);
	second = client_connect(target.port);
	second->tsih = 999;
	ck_assert_uint_eq(client_login(second, TARGET_OPEN, NULL), LOGIN_NO_SESSION);
	client_free(second);
	c = first;
	client_ready(c);
}
END_TEST

START_TEST(more_connections_than_allowed_are_told)
{
	struct client *more[4];
	unsigned refused = 0;
	login(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
		more[i] = client_connect(target.port);
		more[i]->isid[5] = (uint8_t)(10 + i);
		refused += client_login(more[i], TARGET_OPEN, NULL) == LOGIN_NO_RESOURCES;
	}
	ck_assert_uint_eq(refused, 1);
	for (unsigned i = 0; i < ARRAY_LEN(more); i++)
		client_free(more[i]);
	client_ready(c);
}
END_TEST

START_TEST(stop_tells_the_initiator)
{
	login(NULL);
	target_stop(&target);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, 3);
	ck_assert(!client_recv(c));
	target_start(&target, 1, "[::1]:0", NULL);
}
END_TEST

START_TEST(kicked_sessions_end)
{
	login(NULL);
	ck_assert_uint_eq(iscsi_server_kick(target.server, "iqn.other", NULL), 0);
	ck_assert_uint_eq(iscsi_server_kick(target.server, TARGET_OPEN, HOST), 1);
	ck_assert(!client_recv(c));
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

START_TEST(garbage_first_closes)
{
	static const uint8_t junk[100] = {1, 2, 3};
	client_send_raw(c, junk, sizeof(junk));
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(commands_during_login_are_refused)
{
	static const uint8_t tur[16];
	ck_assert_uint_eq(
	    client_login_step(
		c, 0x04, (const char *[]){"InitiatorName=" HOST, "TargetName=" TARGET_OPEN, NULL}),
	    0);
	client_command(c, 0x80, tur, 0, NULL, 0);
	client_expect(c, OP_LOGIN_RSP);
	ck_assert_uint_eq(c->bhs.status_class << 8 | c->bhs.status_detail, LOGIN_INVALID_REQUEST);
	ck_assert(!client_recv(c));
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
	Suite *suite = suite_create("iscsi connection");
	TCase *tc = tcase_create("connection");
	tcase_add_checked_fixture(tc, setup, teardown);
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
	tcase_add_test(tc, tasks_are_aborted);
	tcase_add_test(tc, an_abort_waits_for_what_is_running);
	tcase_add_test(tc, functions_and_their_answers);
	tcase_add_test(tc, clear_task_set_reaches_other_sessions);
	tcase_add_test(tc, pings_are_echoed);
	tcase_add_test(tc, unknown_opcodes_are_rejected);
	tcase_add_test(tc, discovery);
	tcase_add_test(tc, text_in_a_normal_session);
	tcase_add_test(tc, long_text_comes_in_pieces);
	tcase_add_loop_test(tc, logout_ends_the_session, 0, 2);
	tcase_add_test(tc, a_new_login_replaces_the_session);
	tcase_add_test(tc, sessions_that_cannot_be_joined);
	tcase_add_test(tc, more_connections_than_allowed_are_told);
	tcase_add_test(tc, stop_tells_the_initiator);
	tcase_add_test(tc, kicked_sessions_end);
	tcase_add_test(tc, a_connection_lost_in_the_middle_leaves_nothing);
	tcase_add_loop_test(tc, a_connection_lost_while_a_start_waits_leaves_nothing, 0, 3);
	tcase_add_test(tc, garbage_first_closes);
	tcase_add_test(tc, commands_during_login_are_refused);
	tcase_add_test(tc, pdus_come_in_any_pieces);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
